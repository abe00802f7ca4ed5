//! A retained message.

use bytes::Bytes;

use crate::codec::{EncodeError, Publish, QoS, Version};
use crate::session::{MessageRef, Stored};
use crate::time::Instant;

/// A retained message: encoded, with its properties, in 5.0.
#[derive(Clone)]
pub(in crate::broker) struct RetainedMessage {
    stored: Stored,
    since: Instant,
    /// The Message Expiry Interval in seconds; `u32::MAX` for none.
    expires_after: u32,
    publisher: Publisher,
}

/// The client that has published a message, as the keyed hash of its client identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Publisher(u64);

impl Publisher {
    /// The broker itself: the embedding program has published the message.
    pub(in crate::broker) const BROKER: Self = Self(0);

    /// A client whose session has ended.
    pub(super) const UNKNOWN: Self = Self(2);

    /// A client; never equal to the others.
    pub(super) const fn client(hash: u64) -> Self {
        Self(hash | 1)
    }
}

impl RetainedMessage {
    pub(in crate::broker) fn new(
        message: &MessageRef<'_>,
        shared: Option<&Bytes>,
        expires_after: u32,
        publisher: Publisher,
        now: Instant,
    ) -> Result<Self, EncodeError> {
        let stored = Stored::message(message, shared, Version::V5)?;
        Ok(Self { stored, since: now, expires_after, publisher })
    }

    /// The number of the message in the store of a durable broker; 0 if it is not there.
    pub(super) fn number(&self) -> u64 {
        self.stored.in_store().number
    }

    /// Sets the number of the message in the store of a durable broker.
    pub(super) fn set_number(&mut self, number: u64) {
        self.stored.set_number(number);
    }

    /// The message as it was accepted, its payload if that is shared, when it was accepted, and its Message Expiry Interval in
    /// seconds; `u32::MAX` for none.
    pub(in crate::broker) fn original(&self) -> Option<(Publish<'_>, Option<&Bytes>, Instant, u32)> {
        let publish = self.stored.as_publish(Version::V5);
        if publish.is_none() {
            bug!("a retained message is a PUBLISH packet");
        }
        Some((publish?, self.stored.payload(), self.since, self.expires_after))
    }

    /// The PUBLISH packet in 5.0, without the payload if that is shared, and the shared payload.
    pub(in crate::broker) fn packet(&self) -> (&[u8], Option<&Bytes>) {
        (self.stored.bytes(), self.stored.payload())
    }

    /// What is left of the Message Expiry Interval, in seconds; `None` for none.
    pub(in crate::broker) fn expires_after(&self, now: Instant) -> Option<u32> {
        let waited = u32::try_from(now.since(self.since).as_secs()).unwrap_or(u32::MAX);
        (self.expires_after != u32::MAX).then(|| self.expires_after.saturating_sub(waited))
    }

    pub(super) const fn publisher(&self) -> Publisher {
        self.publisher
    }

    /// The QoS with which the message was published.
    pub(super) fn qos(&self) -> QoS {
        // It is in the first byte of the packet (section 3.3.1): the properties, which can be long, need not be decoded.
        match self.stored.bytes().first().map_or(0, |&byte| byte >> 1 & 3) {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// The size of the message in bytes.
    pub(super) fn len(&self) -> usize {
        self.stored.len()
    }

    /// The size on the heap, in bytes, without a shared payload.
    pub(in crate::broker) fn heap(&self) -> usize {
        self.stored.heap()
    }

    /// The part of the size on the heap that is there for a shared payload, and for a number in a durable store.
    pub(super) fn heap_of_rare(&self) -> usize {
        self.stored.heap_of_rare()
    }

    /// The size of the message without a shared payload, in bytes.
    #[inline]
    pub(in crate::broker) fn own_len(&self) -> usize {
        self.stored.bytes().len()
    }

    /// The size of the payload if that is shared, else 0.
    pub(super) fn shared_len(&self) -> usize {
        self.stored.payload().map_or(0, Bytes::len)
    }

    /// The time when the Message Expiry Interval has passed.
    pub(super) fn expires_at(&self) -> Instant {
        match self.expires_after {
            u32::MAX => Instant::NEVER,
            seconds => self.since.after_seconds(seconds),
        }
    }

    pub(in crate::broker) fn is_expired(&self, now: Instant) -> bool {
        self.expires_at() <= now
    }

    /// The message with what is left of its Message Expiry Interval \[MQTT-3.3.2-6\], its payload if that is shared, and the
    /// seconds that are left.
    pub(in crate::broker) fn message(&self, now: Instant) -> Option<(Publish<'_>, Option<&Bytes>, u32)> {
        let Some(mut message) = self.stored.as_publish(Version::V5) else {
            bug!("a retained message is a PUBLISH packet");
            return None;
        };
        let left = self.expires_after(now).unwrap_or(u32::MAX);
        if let Some(interval) = &mut message.properties.message_expiry_interval {
            *interval = left;
        }
        Some((message, self.stored.payload(), left))
    }
}
