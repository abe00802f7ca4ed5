//! The values of a session's pairs: how messages, deliveries, wills and sessions are stored.

use alloc::vec::Vec;

use crate::codec::{
    self, Decoded, EncodeError, Limits, List, Packet, PacketId, Publish, PublishProperties, QoS,
    SubscriptionIdentifier, Version,
};
use crate::session::message_ref::MessageRef;
use crate::store::{Fields, put_bytes};
use crate::time::Instant;

/// A message on its way to the peer, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryRecord {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Whether the outcome of the delivery was reported.
    pub(crate) is_reported: bool,
    pub(crate) stage: StoredStage,
    /// The number of the message; 0 if the message is no longer stored.
    pub(crate) message: u64,
    /// The mark of the message, 0 for none: see [`Waiting::mark`](crate::session::deliveries::queue::Waiting::mark).
    pub(crate) mark: u32,
    pub(crate) identifiers: Vec<SubscriptionIdentifier>,
}

/// The stage of a delivery, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredStage {
    /// The message is not sent.
    Queued,
    /// The message may have been sent.
    Sent(PacketId),
    /// PUBREC has arrived, with this reason code. PUBRELs are sent in ascending `order`, which wraps.
    Released { id: PacketId, code: u8, order: u32 },
    /// The message was given up after it was sent. Its packet identifier stays in use.
    GivenUp(PacketId),
}

const RETAIN: u8 = 0x04;
const REPORTED: u8 = 0x08;
const MARKED: u8 = 0x10;

impl DeliveryRecord {
    /// Returns whether the delivery needs its message, which it does until PUBREC arrives or it is given up.
    pub(crate) const fn has_message(&self) -> bool {
        matches!(self.stage, StoredStage::Queued | StoredStage::Sent(_))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let is_marked = self.mark != 0;
        out.push(
            self.qos as u8 | flag(self.retain, RETAIN) | flag(self.is_reported, REPORTED) | flag(is_marked, MARKED),
        );
        let (stage, id) = match self.stage {
            StoredStage::Queued => (0, 0),
            StoredStage::Sent(id) => (1, id.get()),
            StoredStage::Released { id, .. } => (2, id.get()),
            StoredStage::GivenUp(id) => (3, id.get()),
        };
        out.push(stage);
        out.extend(id.to_be_bytes());
        out.extend(self.message.to_be_bytes());
        if is_marked {
            out.extend(self.mark.to_be_bytes());
        }
        if let StoredStage::Released { code, order, .. } = self.stage {
            out.push(code);
            out.extend(order.to_be_bytes());
        }
        for identifier in &self.identifiers {
            out.extend(identifier.get().to_be_bytes());
        }
    }

    /// Reads a value; `None` if it is not one of these.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let (flags, stage, id, message) = (fields.u8()?, fields.u8()?, fields.u16()?, fields.u64()?);
        let qos = QoS::try_from(flags & 0x03).ok().filter(|&qos| qos != QoS::AtMostOnce)?;
        let mark = if flags & MARKED == 0 { 0 } else { fields.u32().filter(|&mark| mark != 0)? };
        let (id, is_reported) = (PacketId::new(id), flags & REPORTED != 0);
        let stage = match stage {
            0 => StoredStage::Queued,
            1 => StoredStage::Sent(id.ok()?),
            2 => StoredStage::Released { id: id.ok()?, code: fields.u8()?, order: fields.u32()? },
            3 => StoredStage::GivenUp(id.ok()?),
            _ => return None,
        };
        let is_possible = match stage {
            StoredStage::Queued | StoredStage::Sent(_) => !is_reported && message != 0,
            StoredStage::Released { code, .. } => mark == 0 && qos == QoS::ExactlyOnce && code < 0x80,
            StoredStage::GivenUp(_) => mark == 0 && is_reported,
        };
        if !is_possible || flags & !(0x03 | RETAIN | REPORTED | MARKED) != 0 {
            return None;
        }
        let mut identifiers = Vec::new();
        let (chunks, rest) = fields.rest().as_chunks::<4>();
        for chunk in chunks {
            identifiers.push(SubscriptionIdentifier::try_from(u32::from_be_bytes(*chunk)).ok()?);
        }
        let retain = flags & RETAIN != 0;
        rest.is_empty().then_some(Self { qos, retain, is_reported, stage, message, mark, identifiers })
    }
}

/// A message, as it is stored: the value of its head, before the encoded PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHead {
    /// The time at which the message was accepted.
    pub(crate) since: Instant,
    /// Time that the message may be queued, in seconds; `u32::MAX` for no limit.
    pub(crate) expires_after: u32,
    /// Size of the encoded PUBLISH, in bytes. It follows the head if there is room for it, and is in parts otherwise.
    pub(crate) size: u32,
}

impl MessageHead {
    /// Size of a head, in bytes.
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.since.as_micros().to_be_bytes());
        out.extend(self.expires_after.to_be_bytes());
        out.extend(self.size.to_be_bytes());
    }

    /// Reads a head. Returns it with the bytes that follow it.
    pub(crate) fn read(value: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields::new(value);
        let since = Instant::from_micros(fields.u64()?);
        let head = Self { since, expires_after: fields.u32()?, size: fields.u32()? };
        Some((head, fields.rest()))
    }
}

/// Encodes the content of a message: without its QoS, RETAIN flag and subscription identifiers, which belong to a
/// delivery.
pub(crate) fn write_content(message: &MessageRef<'_>, payload: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let without;
    let properties = if message.properties.subscription_identifiers.is_empty() {
        message.properties
    } else {
        without = PublishProperties { subscription_identifiers: List::EMPTY, ..*message.properties };
        &without
    };
    let content = MessageRef { retain: false, properties, ..*message };
    content.as_publish(codec::Delivery::AtMostOnce, payload).encode(Version::V5, out).map(drop)
}

/// Reads the content of a message; `None` if the bytes are not exactly that.
pub(crate) fn read_content(content: &[u8]) -> Option<Publish<'_>> {
    match codec::decode(content, Version::V5, Limits::DEFAULT) {
        Ok(Decoded::Packet { packet: Packet::Publish(publish), size }) if size == content.len() => {
            let is_content = publish.delivery == codec::Delivery::AtMostOnce
                && !publish.retain
                && publish.properties.topic_alias.is_none()
                && publish.properties.subscription_identifiers.is_empty();
            is_content.then_some(publish)
        }
        _ => None,
    }
}

/// A will, as it is stored: beside the message with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WillRecord {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) delay_interval: u32,
}

impl WillRecord {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.qos as u8 | if self.retain { RETAIN } else { 0 });
        out.extend(self.delay_interval.to_be_bytes());
    }

    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let (flags, delay_interval) = (fields.u8()?, fields.u32()?);
        let qos = QoS::try_from(flags & !RETAIN).ok()?;
        fields.end(Self { qos, retain: flags & RETAIN != 0, delay_interval })
    }
}

/// A session of a client, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientRecord<'a> {
    pub(crate) version: Version,
    /// Whether there is a session that the next connection can resume.
    pub(crate) has_session: bool,
    pub(crate) client_id: &'a str,
}

/// The first byte of the record of a session.
const CLIENT: u8 = 1;
const SERVER: u8 = 2;

impl<'a> ClientRecord<'a> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend([CLIENT, self.version.level(), u8::from(self.has_session)]);
        out.extend(self.client_id.as_bytes());
    }

    pub(crate) fn read(value: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let (role, level, has_session) = (fields.u8()?, fields.u8()?, fields.u8()?);
        let version = version(level)?;
        let client_id = core::str::from_utf8(fields.rest()).ok()?;
        (role == CLIENT && has_session <= 1).then_some(Self { version, has_session: has_session == 1, client_id })
    }
}

/// A session of a server, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerRecord<'a> {
    pub(crate) version: Version,
    pub(crate) is_bridge: bool,
    /// Whether the last will belongs to the last connection; the wills before it are due.
    pub(crate) has_will: bool,
    /// Whether the session has ended, and its messages are on their way to other sessions.
    pub(crate) has_ended: bool,
    /// The times when the session expires and when its will is due; `None` while there is a connection.
    pub(crate) ends: Option<(Instant, Instant)>,
    pub(crate) session_expiry_interval: u32,
    pub(crate) max_session_expiry_interval: u32,
    /// The user who has begun the session, with a router.
    pub(crate) owner: Option<&'a str>,
    /// What the topics of the client begin with for the router, and not for the client.
    pub(crate) mount_point: Option<&'a [u8]>,
    pub(crate) client_id: &'a str,
}

const BRIDGE: u8 = 0x01;
const HAS_WILL: u8 = 0x02;
const CONNECTED: u8 = 0x04;
const HAS_OWNER: u8 = 0x08;
const HAS_ENDED: u8 = 0x10;
const MOUNTED: u8 = 0x20;

impl<'a> ServerRecord<'a> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let connected = flag(self.ends.is_none(), CONNECTED);
        out.extend([
            SERVER,
            self.version.level(),
            flag(self.is_bridge, BRIDGE)
                | flag(self.has_will, HAS_WILL)
                | flag(self.owner.is_some(), HAS_OWNER)
                | flag(self.has_ended, HAS_ENDED)
                | flag(self.mount_point.is_some(), MOUNTED)
                | connected,
        ]);
        out.extend(self.session_expiry_interval.to_be_bytes());
        out.extend(self.max_session_expiry_interval.to_be_bytes());
        let (expires_at, will_at) = self.ends.unwrap_or_default();
        out.extend(expires_at.as_micros().to_be_bytes());
        out.extend(will_at.as_micros().to_be_bytes());
        if let Some(owner) = self.owner {
            put_bytes(out, owner.as_bytes());
        }
        if let Some(mount_point) = self.mount_point {
            put_bytes(out, mount_point);
        }
        out.extend(self.client_id.as_bytes());
    }

    pub(crate) fn read(value: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let (role, level, flags) = (fields.u8()?, fields.u8()?, fields.u8()?);
        let version = version(level)?;
        let (session_expiry_interval, max_session_expiry_interval) = (fields.u32()?, fields.u32()?);
        let ends = (Instant::from_micros(fields.u64()?), Instant::from_micros(fields.u64()?));
        // A will is due when the session expires, at the latest.
        if ends.1 > ends.0 {
            return None;
        }
        let owner = match flags & HAS_OWNER {
            0 => None,
            _ => Some(core::str::from_utf8(fields.bytes()?).ok()?),
        };
        let mount_point = match flags & MOUNTED {
            0 => None,
            _ => Some(fields.bytes()?),
        };
        let client_id = core::str::from_utf8(fields.rest()).ok()?;
        let known = BRIDGE | HAS_WILL | CONNECTED | HAS_OWNER | HAS_ENDED | MOUNTED;
        (role == SERVER && flags & !known == 0).then_some(Self {
            version,
            is_bridge: flags & BRIDGE != 0,
            has_will: flags & HAS_WILL != 0,
            has_ended: flags & HAS_ENDED != 0,
            ends: (flags & CONNECTED == 0).then_some(ends),
            session_expiry_interval,
            max_session_expiry_interval,
            owner,
            mount_point,
            client_id,
        })
    }
}

fn version(level: u8) -> Option<Version> {
    Version::ALL.into_iter().find(|version| version.level() == level)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Every record is read as it was written, and no other bytes are read as the same record.
    #[test]
    #[allow(clippy::unwrap_used)]
    fn records_are_read_as_they_were_written() {
        let id = PacketId::new(0x1234).unwrap();
        let stages = [
            StoredStage::Queued,
            StoredStage::Sent(id),
            StoredStage::Released { id, code: 0x10, order: 0xABCD_EF01 },
            StoredStage::GivenUp(id),
        ];
        for stage in stages {
            let is_reported = matches!(stage, StoredStage::GivenUp(_));
            let mark = if matches!(stage, StoredStage::Queued) { 0x89AB_CDEF } else { 0 };
            let identifiers = vec![SubscriptionIdentifier::try_from(7).unwrap()];
            let (qos, retain, message) = (QoS::ExactlyOnce, true, 9);
            let record = DeliveryRecord { qos, retain, is_reported, stage, message, mark, identifiers };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            assert_eq!(DeliveryRecord::read(&bytes), Some(record.clone()));
            while bytes.pop().is_some() {
                assert_ne!(DeliveryRecord::read(&bytes), Some(record.clone()));
            }
        }
        let will = WillRecord { qos: QoS::AtLeastOnce, retain: true, delay_interval: 5 };
        let mut bytes = Vec::new();
        will.write(&mut bytes);
        assert_eq!(WillRecord::read(&bytes), Some(will));
        bytes.push(0);
        assert_eq!(WillRecord::read(&bytes), None);
    }

    /// A delivery that cannot be is not read.
    #[test]
    #[allow(clippy::unwrap_used)]
    fn impossible_deliveries_are_refused() {
        let id = PacketId::MIN;
        let (queued, sent, given_up) = (StoredStage::Queued, StoredStage::Sent(id), StoredStage::GivenUp(id));
        let released = |code| StoredStage::Released { id, code, order: 1 };
        let cases = [
            (true, QoS::AtLeastOnce, false, queued, 9, 0),
            (true, QoS::AtLeastOnce, false, sent, 9, 7),
            (true, QoS::ExactlyOnce, false, released(0x10), 9, 0),
            (true, QoS::ExactlyOnce, false, released(0x7F), 0, 0),
            (true, QoS::AtLeastOnce, true, given_up, 0, 0),
            // What has an outcome is not to be sent any more, and what is to be sent has a message.
            (false, QoS::AtLeastOnce, true, queued, 9, 0),
            (false, QoS::AtLeastOnce, true, sent, 9, 0),
            (false, QoS::AtLeastOnce, false, queued, 0, 0),
            (false, QoS::AtLeastOnce, false, sent, 0, 0),
            // PUBREL follows a message of QoS 2 alone, and no error; who is to get it does not change any more.
            (false, QoS::AtLeastOnce, false, released(0x10), 9, 0),
            (false, QoS::ExactlyOnce, false, released(0x80), 9, 0),
            (false, QoS::ExactlyOnce, false, released(0x10), 9, 7),
            (false, QoS::AtLeastOnce, false, given_up, 0, 0),
            (false, QoS::AtLeastOnce, true, given_up, 0, 7),
        ];
        for (is_possible, qos, is_reported, stage, message, mark) in cases {
            let identifiers = Vec::new();
            let record = DeliveryRecord { qos, retain: false, is_reported, stage, message, mark, identifiers };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            assert_eq!(DeliveryRecord::read(&bytes), is_possible.then_some(record));
        }
    }
}
