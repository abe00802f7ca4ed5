//! The values of a broker's pairs: how retained messages and subscriptions are stored.

use alloc::vec::Vec;

use siphasher::sip::SipHasher13;

use crate::broker::router::list_id::MAX_GROUP_NUMBER;
use crate::broker::router::subscribers::{Subscriber, SubscriptionOptions};
use crate::codec::QoS;
use crate::session::MAX_NUMBER;
use crate::store::Fields;
use crate::text::DisallowedCodePoints;
use crate::topic::{TopicFilter, check_filter};

/// A retained message, as it is stored: beside the message with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct RetainedRecord<'a> {
    /// The QoS with which the message was published.
    pub(in crate::broker) qos: QoS,
    /// The client identifier of the publisher; `None` for the broker itself.
    pub(in crate::broker) publisher: Option<&'a str>,
}

const CLIENT: u8 = 0x04;

impl<'a> RetainedRecord<'a> {
    pub(in crate::broker) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.qos as u8 | if self.publisher.is_some() { CLIENT } else { 0 });
        out.extend(self.publisher.unwrap_or_default().as_bytes());
    }

    /// Reads a value; `None` if it is not one of these.
    pub(in crate::broker) fn read(value: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let flags = fields.u8()?;
        let qos = QoS::try_from(flags & !CLIENT).ok()?;
        let client_id = core::str::from_utf8(fields.rest()).ok()?;
        match flags & CLIENT {
            0 if client_id.is_empty() => Some(Self { qos, publisher: None }),
            0 => None,
            _ => Some(Self { qos, publisher: Some(client_id) }),
        }
    }
}

/// A subscription, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct SubscriptionRecord<'a> {
    pub(in crate::broker) options: SubscriptionOptions,
    /// The subscription identifier, or 0.
    pub(in crate::broker) identifier: u32,
    /// The number of the group that shares the subscription, by which its messages are marked; 0 if it is not shared.
    pub(in crate::broker) group: u32,
    /// The number that the next message would have got when the client asked for the retained messages, as long as some of them
    /// are not sent; 0 after that, and if none of them has to come after a crash.
    pub(in crate::broker) walk: u64,
    /// The filter, with its share name.
    pub(in crate::broker) filter: TopicFilter<'a>,
}

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const SHARED: u8 = 0x10;
const WALK: u8 = 0x40;

/// The largest subscription identifier \[MQTT-3.8.2.1.2\].
const MAX_IDENTIFIER: u32 = 268_435_455;

impl<'a> SubscriptionRecord<'a> {
    pub(in crate::broker) const fn new(
        filter: TopicFilter<'a>,
        subscriber: &Subscriber,
        group: u32,
        walk: u64,
    ) -> Self {
        let Subscriber { identifier, options, .. } = *subscriber;
        Self { options, identifier, group, walk, filter }
    }

    pub(in crate::broker) fn write(&self, out: &mut Vec<u8>) {
        let SubscriptionOptions { qos, no_local, retain_as_published } = self.options;
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let options = flag(no_local, NO_LOCAL) | flag(retain_as_published, RETAIN_AS_PUBLISHED);
        let fields = flag(self.group != 0, SHARED) | flag(self.walk != 0, WALK);
        out.push(qos as u8 | options | fields);
        out.extend(self.identifier.to_be_bytes());
        if self.group != 0 {
            out.extend(self.group.to_be_bytes());
        }
        if self.walk != 0 {
            out.extend(self.walk.to_be_bytes());
        }
        out.extend(self.filter.as_bytes());
    }

    /// Reads a value; `None` if it is not one of these.
    pub(in crate::broker) fn read(value: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        let (flags, identifier) = (fields.u8()?, fields.u32()?);
        let qos = QoS::try_from(flags & !(NO_LOCAL | RETAIN_AS_PUBLISHED | SHARED | WALK)).ok()?;
        let group = if flags & SHARED == 0 { 0 } else { fields.u32()? };
        let walk = if flags & WALK == 0 { 0 } else { fields.u64()? };
        // Earlier versions allow more filters than 5.0.
        let filter = fields.rest();
        if check_filter(filter, DisallowedCodePoints::Accept, false).is_some() {
            return None;
        }
        let filter = TopicFilter::validated(filter);
        let (no_local, retain_as_published) = (flags & NO_LOCAL != 0, flags & RETAIN_AS_PUBLISHED != 0);
        let options = SubscriptionOptions { qos, no_local, retain_as_published };
        let is_possible = match filter.share_name() {
            Some(_) => (1..=MAX_GROUP_NUMBER).contains(&group),
            None => flags & SHARED == 0,
        };
        let record = Self { options, identifier, group, walk, filter };
        // A shared subscription gets no retained messages (section 4.8.2), and of QoS 0 none is stored.
        let can_walk = flags & SHARED == 0 && qos != QoS::AtMostOnce && (1..=MAX_NUMBER).contains(&walk);
        let is_possible = is_possible && identifier <= MAX_IDENTIFIER && (flags & WALK == 0 || can_walk);
        is_possible.then_some(record)
    }
}

/// The number of a subscription in keys: a hash of its filter, the same in every process. A client that chooses filters
/// that collide loses subscriptions of its own by that, and no others, since the key begins with the session.
pub(in crate::broker) fn number_of(filter: TopicFilter<'_>) -> u64 {
    SipHasher13::new().hash(filter.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record is read as it was written.
    #[test]
    #[allow(clippy::unwrap_used)]
    fn records_are_read_as_they_were_written() {
        for publisher in [None, Some(""), Some("client")] {
            let record = RetainedRecord { qos: QoS::ExactlyOnce, publisher };
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            assert_eq!(RetainedRecord::read(&bytes), Some(record));
        }
        assert_eq!(RetainedRecord::read(b"\x01client"), None);
        for (no_local, retain_as_published) in [(false, false), (true, false), (false, true)] {
            let options = SubscriptionOptions { qos: QoS::AtLeastOnce, no_local, retain_as_published };
            for (filter, group, walk) in
                [("$share/group/a/+/#", 0x0ABC_DEF0, 0), ("a/+/#", 0, 0), ("a/+/#", 0, 1 << 40)]
            {
                let filter = TopicFilter::new(filter).unwrap();
                let record = SubscriptionRecord { options, identifier: MAX_IDENTIFIER, group, walk, filter };
                let mut bytes = Vec::new();
                record.write(&mut bytes);
                assert_eq!(SubscriptionRecord::read(&bytes), Some(record));
                let mut bytes = Vec::new();
                SubscriptionRecord { group: 0x0ABC_DEF0 - group, ..record }.write(&mut bytes);
                assert_eq!(
                    SubscriptionRecord::read(&bytes),
                    None,
                    "a group shares a shared subscription, and no other"
                );
            }
            let filter = TopicFilter::new("$share/group/a").unwrap();
            let shared = SubscriptionRecord { options, identifier: 0, group: 1, walk: 1, filter };
            let filter = TopicFilter::new("a").unwrap();
            let of_qos_0 = SubscriptionOptions { qos: QoS::AtMostOnce, ..options };
            let of_qos_0 = SubscriptionRecord { options: of_qos_0, group: 0, filter, ..shared };
            let too_far = SubscriptionRecord { options, walk: MAX_NUMBER + 1, ..of_qos_0 };
            for record in [shared, of_qos_0, too_far] {
                let mut bytes = Vec::new();
                record.write(&mut bytes);
                assert_eq!(SubscriptionRecord::read(&bytes), None, "{record:?} has no walk");
            }
        }
        assert_eq!(SubscriptionRecord::read(b"\x41\0\0\0\0\0\0\0\0\0\0\0\0a"), None, "no message has the number 0");
        assert_eq!(SubscriptionRecord::read(b"\x01\0\0\0\0"), None);
    }
}
