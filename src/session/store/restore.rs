//! Restoring a session from its pairs.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::num::NonZeroU32;

use bytes::Bytes;

use super::durable::{Durable, Garbage, SESSION, StoredWill};
use super::records::{DeliveryRecord, MessageHead, StoredStage, WillRecord, read_content};
use super::stored::Stored;
use crate::codec::{PacketId, Publish, PublishProperties, Version};
use crate::session::deliveries::Deliveries;
use crate::session::deliveries::outbound::Flow;
use crate::session::deliveries::queue::{Kind as Queued, Waiting};
use crate::session::deliveries::stage::Stage;
use crate::session::engine::Engine;
use crate::session::link::transmit::LARGE;
use crate::session::message_ref::MessageRef;
use crate::session::token::Token;
use crate::session::will::Will;
use crate::store::{ChangeLog, Counter, FORMAT, Fields, Key, Kind, RestoreError, RestoreErrorKind, content_of};
use crate::time::Instant;

/// The session that the pairs of a store of one session describe.
#[derive(Default)]
pub(crate) struct Restored {
    /// The value of the session's record.
    session: Option<Vec<u8>>,
    clock: StoredClock,
    high_water: u64,
    messages: Contents,
    wills: Vec<(u64, WillRecord)>,
    received: Vec<PacketId>,
    deliveries: Vec<(Token, DeliveryRecord)>,
}

/// The number and the time of the last batch.
#[derive(Clone, Copy, Default)]
pub(crate) struct StoredClock {
    pub(crate) batch: u64,
    pub(crate) time: Instant,
}

/// The messages of a store, by number.
#[derive(Default)]
pub(crate) struct Contents(BTreeMap<u64, Content>);

/// The encoded content of a message, of which parts may be missing.
pub(crate) struct Content {
    pub(crate) head: MessageHead,
    parts: u32,
    bytes: Vec<u8>,
    /// The payload, if it is large: the deliveries share it.
    large: Option<Bytes>,
}

/// Numbers above this one are not valid: there is room for as many again, below the numbers with which packets wait for a
/// message. So many are never used.
pub(crate) const MAX_NUMBER: u64 = u64::MAX / 4;

/// Times above this one, in microseconds, are not valid: there is room for as many again.
const MAX_TIME: u64 = u64::MAX / 2;

/// Reads the pairs of a store, which are in the order of their keys: `take` gets the kind of each, the first number of the
/// key, the numbers behind it, and the value. Returns whether there are pairs.
pub(crate) fn read_pairs<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    pairs: impl IntoIterator<Item = (K, V)>,
    mut take: impl FnMut(Kind, u64, Fields<'_>, &[u8]) -> Result<(), RestoreErrorKind>,
) -> Result<bool, RestoreError> {
    let mut last: Option<K> = None;
    for (key, value) in pairs {
        let (bytes, value) = (key.as_ref(), value.as_ref());
        let error = |kind| RestoreError::new(bytes, kind);
        if last.as_ref().is_some_and(|last| last.as_ref() >= bytes) {
            return Err(error(RestoreErrorKind::Order));
        }
        if last.is_none() && bytes != &*Key::FORMAT.bytes() {
            return Err(RestoreError::of(Key::FORMAT, RestoreErrorKind::Format));
        }
        let (kind, numbers) = Kind::split(bytes).ok_or_else(|| error(RestoreErrorKind::UnknownKey))?;
        let content = content_of(bytes, value).ok_or_else(|| error(RestoreErrorKind::Value))?;
        let mut fields = Fields::new(numbers);
        let first = match kind {
            Kind::Format | Kind::Clock => Some(0),
            Kind::HighWater => fields.u8().map(u64::from),
            _ => fields.u64(),
        };
        let first = first.filter(|&first| first <= MAX_NUMBER).ok_or_else(|| error(RestoreErrorKind::UnknownKey))?;
        if matches!(kind, Kind::Format | Kind::Clock | Kind::HighWater | Kind::Message | Kind::Retained | Kind::Session)
        {
            fields.at_end().ok_or_else(|| error(RestoreErrorKind::UnknownKey))?;
        }
        if kind == Kind::Format && content != [FORMAT] {
            return Err(error(RestoreErrorKind::Format));
        }
        take(kind, first, fields, content).map_err(error)?;
        last = Some(key);
    }
    Ok(last.is_some())
}

impl StoredClock {
    /// Reads the value of [`Key::CLOCK`].
    pub(crate) fn read(value: &[u8]) -> Result<Self, RestoreErrorKind> {
        let mut fields = Fields::new(value);
        let read = fields.u64().zip(fields.u64()).and_then(|read| fields.end(read));
        let (time, batch) =
            read.filter(|&(time, batch)| time <= MAX_TIME && batch <= MAX_NUMBER).ok_or(RestoreErrorKind::Value)?;
        Ok(Self { batch, time: Instant::from_micros(time) })
    }
}

impl Contents {
    /// Takes the head of a message.
    pub(crate) fn take_head(&mut self, number: u64, value: &[u8]) -> Result<(), RestoreErrorKind> {
        let (head, bytes) = MessageHead::read(value).ok_or(RestoreErrorKind::Value)?;
        self.0.insert(number, Content { head, parts: 0, bytes: bytes.into(), large: None });
        Ok(())
    }

    /// Takes a part of a message. Returns whether it has a head; without one it means nothing.
    pub(crate) fn take_part(&mut self, number: u64, part: u32, value: &[u8]) -> Result<bool, RestoreErrorKind> {
        let Some(content) = self.0.get_mut(&number) else { return Ok(false) };
        if part != content.parts {
            return Err(RestoreErrorKind::Incomplete);
        }
        content.parts = content.parts.saturating_add(1);
        content.bytes.extend_from_slice(value);
        Ok(true)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.contains_key(&number)
    }

    /// Returns all messages, with the sizes of their contents in bytes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (u64, usize)> {
        self.0.iter().map(|(&number, content)| (number, content.bytes.len()))
    }

    /// Returns the message with this number.
    pub(crate) fn message(&self, number: u64) -> Result<(MessageHead, Publish<'_>), RestoreError> {
        let error = |kind| RestoreError::of(Key::message(number), kind);
        let content = self.0.get(&number).ok_or_else(|| error(RestoreErrorKind::Incomplete))?;
        if content.head.size as usize != content.bytes.len() {
            return Err(error(RestoreErrorKind::Incomplete));
        }
        let publish = read_content(&content.bytes).ok_or_else(|| error(RestoreErrorKind::Value))?;
        Ok((content.head, publish))
    }

    /// Returns the payload of a message, if it is large, for all who share it. `share` makes it the first time.
    pub(crate) fn large(
        &mut self,
        number: u64,
        share: impl FnOnce(Bytes) -> Bytes,
    ) -> Result<Option<Bytes>, RestoreError> {
        let (_, publish) = self.message(number)?;
        if publish.payload.len() < LARGE {
            return Ok(None);
        }
        let known = self.0.get(&number).and_then(|content| content.large.clone());
        let large = known.unwrap_or_else(|| share(Bytes::copy_from_slice(publish.payload)));
        if let Some(content) = self.0.get_mut(&number) {
            content.large = Some(large.clone());
        }
        Ok(Some(large))
    }

    /// Returns a will that was stored beside a message.
    pub(crate) fn will(&self, number: u64, will: WillRecord) -> Result<Will, RestoreError> {
        let (_, publish) = self.message(number)?;
        let WillRecord { qos, retain, delay_interval } = will;
        Ok(Will { qos, retain, delay_interval, ..Will::of_message(&publish) })
    }

    /// Returns the message of a delivery to a peer of this version: when it was accepted, its lifetime in seconds, and the
    /// packet.
    pub(crate) fn of_delivery(
        &mut self,
        record: &DeliveryRecord,
        version: Version,
        share: impl FnOnce(Bytes) -> Bytes,
    ) -> Result<(Instant, u32, Stored), RestoreError> {
        let large = self.large(record.message, share)?;
        let (MessageHead { since, expires_after, .. }, publish) = self.message(record.message)?;
        let properties = match version {
            Version::V5 => {
                PublishProperties { subscription_identifiers: record.identifiers[..].into(), ..publish.properties }
            }
            Version::V31 | Version::V311 => PublishProperties::default(),
        };
        let message =
            MessageRef { qos: record.qos, retain: record.retain, properties: &properties, ..MessageRef::of(&publish) };
        let error = |_| RestoreError::of(Key::message(record.message), RestoreErrorKind::Value);
        Ok((since, expires_after, Stored::message(&message, large.as_ref(), version).map_err(error)?))
    }
}

/// The deliveries of a session, in the order of their tokens, to be put together.
#[derive(Default)]
pub(crate) struct RestoredDeliveries {
    sent: Vec<(PacketId, Flow)>,
    released: Vec<(u32, (PacketId, Flow))>,
    queued: Vec<Waiting>,
    ids: BTreeSet<PacketId>,
    /// The number above those of all deliveries.
    next: u64,
}

impl RestoredDeliveries {
    /// Adds a delivery, with its message: when that was accepted, its lifetime in seconds, and the packet. In the stages
    /// after PUBREC there is no message.
    pub(crate) fn add(
        &mut self,
        token: Token,
        record: &DeliveryRecord,
        (since, expires_after, stored): (Instant, u32, Stored),
    ) -> Result<(), RestoreErrorKind> {
        self.next = self.next.max(token.get().saturating_add(1));
        let (id, stage) = match record.stage {
            StoredStage::Queued => {
                let kind = Queued::Message(record.qos);
                self.queued.push(Waiting { token, since, kind, expires_after, mark: record.mark, tries: 0, stored });
                return Ok(());
            }
            StoredStage::Sent(id) => (id, Stage::of(record.qos)),
            StoredStage::Released { id, code, order } => (id, Stage::PubComp { code, order }),
            StoredStage::GivenUp(id) => (id, Stage::GivenUp),
        };
        if !self.ids.insert(id) {
            return Err(RestoreErrorKind::PacketIdInUse);
        }
        let mut flow = Flow::new(token, stage, since, 0, stored);
        (flow.expires_after, flow.is_reported, flow.mark) = (expires_after, record.is_reported, record.mark);
        match record.stage {
            StoredStage::Released { order, .. } => self.released.push((order, (id, flow))),
            _ => self.sent.push((id, flow)),
        }
        Ok(())
    }

    /// Returns whether a message has a mark.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn has_marked(&self) -> bool {
        let in_flight = self.sent.iter().any(|(_, flow)| flow.mark != 0);
        in_flight || self.queued.iter().any(|waiting| waiting.mark != 0)
    }

    /// Returns the deliveries, with received messages of QoS 2, and the order of the next PUBREL. The next token has at
    /// least this number.
    pub(crate) fn finish(self, received: Vec<PacketId>, next_token: u64) -> (Deliveries, u32) {
        let Self { sent, mut released, queued, next, .. } = self;
        // The orders wrap, and are close together: they ascend from half of their range below any of them.
        let base = released.first().map_or(0, |&(order, _)| order).wrapping_sub(u32::MAX / 2);
        released.sort_by_key(|&(order, _)| order.wrapping_sub(base));
        let next_order = released.last().map_or(0, |&(order, _)| order.wrapping_add(1));
        let in_flight = released.into_iter().map(|(_, flow)| flow).chain(sent);
        let next_token = Token::from_number(next_token.max(next)).unwrap_or(Token::FIRST);
        (Deliveries::restored(in_flight, queued, received, next_token), next_order)
    }
}

impl Restored {
    /// Reads pairs, which are in the order of their keys; `None` if there are none.
    pub(crate) fn read<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreError> {
        let mut restored = Self { high_water: 1, ..Self::default() };
        let is_any = read_pairs(pairs, |kind, first, fields, value| restored.take(kind, first, fields, value))?;
        Ok(is_any.then_some(restored))
    }

    fn take(&mut self, kind: Kind, first: u64, mut fields: Fields<'_>, value: &[u8]) -> Result<(), RestoreErrorKind> {
        let of_session = first == SESSION;
        match kind {
            Kind::Format => {}
            Kind::Clock => self.clock = StoredClock::read(value)?,
            Kind::HighWater if first == Counter::Token as u64 => {
                self.high_water = read_number(value).ok_or(RestoreErrorKind::Value)?.max(1);
            }
            Kind::Message => self.messages.take_head(first, value)?,
            Kind::Part => {
                let part = fields.u32().and_then(|part| fields.end(part)).ok_or(RestoreErrorKind::UnknownKey)?;
                self.messages.take_part(first, part, value)?;
            }
            Kind::Session if of_session => self.session = Some(value.into()),
            Kind::Will => {
                let (number, will) = read_will(fields, value)?;
                if of_session {
                    self.wills.push((number, will));
                }
            }
            Kind::Received => {
                let id = read_received(fields, value)?;
                if of_session {
                    self.received.push(id);
                }
            }
            Kind::Delivery => {
                let (token, delivery) = read_delivery(fields, value)?;
                if of_session {
                    self.deliveries.push((token, delivery));
                }
            }
            Kind::HighWater | Kind::Session | Kind::Retained | Kind::Subscription => {
                return Err(RestoreErrorKind::UnknownKey);
            }
        }
        Ok(())
    }

    /// Returns the value of the session's record; `None` if there is no session.
    pub(crate) fn session(&self) -> Option<&[u8]> {
        self.session.as_deref()
    }

    /// Returns the error of a session's record that cannot be read.
    pub(crate) fn session_error(kind: RestoreErrorKind) -> RestoreError {
        RestoreError::of(Key::session(SESSION), kind)
    }

    /// Creates the engine of the session, at the present time `now` of the caller, and its wills in the order in which
    /// they are due.
    pub(crate) fn into_engine(
        self,
        version: Version,
        max_uncommitted: NonZeroU32,
        is_server: bool,
        now: Instant,
    ) -> Result<(Engine, Vec<Will>), RestoreError> {
        let Self { session, clock, high_water, mut messages, wills, received, deliveries } = self;
        // What belongs to a session without a record means nothing.
        let is_there = session.is_some();
        let mut garbage = Garbage::default();
        let (mut restored, mut used) = (RestoredDeliveries::default(), BTreeSet::new());
        for (token, record) in deliveries {
            let key = Key::delivery(SESSION, token.get());
            let has_message = record.has_message();
            if !is_there || (has_message && !messages.contains(record.message)) {
                garbage.keys.push(key); // a delivery without its message means nothing
                continue;
            }
            // Only a server sends subscription identifiers, and only sessions of a router have marked messages.
            if (!is_server && !record.identifiers.is_empty()) || record.mark != 0 {
                return Err(RestoreError::of(key, RestoreErrorKind::Value));
            }
            let message = if has_message {
                used.insert(record.message);
                messages.of_delivery(&record, version, |large| large)?
            } else {
                (now, u32::MAX, Stored::default())
            };
            restored.add(token, &record, message).map_err(|kind| RestoreError::of(key, kind))?;
        }
        let (mut restored_wills, mut stored_wills, mut last) = (Vec::new(), Vec::new(), high_water);
        for (number, will) in wills {
            if is_there {
                let will = messages.will(number, will)?;
                stored_wills.push(StoredWill::new(number, &will));
                restored_wills.push(will);
                used.insert(number);
                last = last.max(number.saturating_add(1));
            } else {
                garbage.keys.push(Key::will(SESSION, number));
            }
        }
        let (received, lost) = if is_there { (received, Vec::new()) } else { (Vec::new(), received) };
        garbage.keys.extend(lost.into_iter().map(|id| Key::received(SESSION, id)));
        garbage.messages.extend(messages.sizes().filter(|(number, _)| !used.contains(number)));
        let (deliveries, next_order) = restored.finish(received, last);
        let log = ChangeLog::after(clock.batch);
        let mut durable =
            Durable::restored(log, version, max_uncommitted, (clock.time, now), &session.unwrap_or_default());
        durable.set_counters(high_water, next_order, stored_wills);
        durable.remove_garbage(&garbage);
        Ok((Engine::restored(version, durable.inside(now), durable, deliveries), restored_wills))
    }
}

/// Reads the rest of the key, and the value, of a will: its number, and the record.
pub(crate) fn read_will(mut fields: Fields<'_>, value: &[u8]) -> Result<(u64, WillRecord), RestoreErrorKind> {
    let number = fields.u64().and_then(|number| fields.end(number)).ok_or(RestoreErrorKind::UnknownKey)?;
    Ok((number, WillRecord::read(value).ok_or(RestoreErrorKind::Value)?))
}

/// Reads the rest of the key, and the value, of a received message: its packet identifier.
pub(crate) fn read_received(mut fields: Fields<'_>, value: &[u8]) -> Result<PacketId, RestoreErrorKind> {
    let id = fields.u16().and_then(|id| fields.end(id)).and_then(|id| PacketId::new(id).ok());
    let id = id.ok_or(RestoreErrorKind::UnknownKey)?;
    if value.is_empty() { Ok(id) } else { Err(RestoreErrorKind::Value) }
}

/// Reads the rest of the key, and the value, of a delivery: its token, and the record.
pub(crate) fn read_delivery(mut fields: Fields<'_>, value: &[u8]) -> Result<(Token, DeliveryRecord), RestoreErrorKind> {
    let number = fields.u64().and_then(|number| fields.end(number)).filter(|&number| number <= MAX_NUMBER);
    let token = number.and_then(Token::from_number).ok_or(RestoreErrorKind::UnknownKey)?;
    Ok((token, DeliveryRecord::read(value).ok_or(RestoreErrorKind::Value)?))
}

/// Reads a number that is a high-water mark.
pub(crate) fn read_number(value: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(value);
    let number = fields.u64()?;
    fields.end(number).filter(|&number| number <= MAX_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time or a number to which nothing could be added is not read.
    #[test]
    fn times_and_numbers_of_batches_have_limits() {
        let read = |time: u64, batch: u64| {
            let value = [time.to_be_bytes(), batch.to_be_bytes()].concat();
            StoredClock::read(&value).map(|clock| (clock.time.as_micros(), clock.batch))
        };
        assert_eq!(read(MAX_TIME, MAX_NUMBER), Ok((MAX_TIME, MAX_NUMBER)));
        assert_eq!(read(MAX_TIME + 1, 1), Err(RestoreErrorKind::Value));
        assert_eq!(read(1, MAX_NUMBER + 1), Err(RestoreErrorKind::Value));
        for value in [&[][..], &[0; 15], &[0; 17]] {
            assert!(StoredClock::read(value).is_err());
        }
    }
}
