//! Messages that the broker keeps.

use bytes::Bytes;

use crate::codec::{EncodeError, QoS, Version};
use crate::session::{MessageRef, Stored};
use crate::time::Instant;

/// A message that is kept: encoded, with its properties, in 5.0.
#[derive(Clone)]
pub(super) struct Kept {
    stored: Stored,
    since: Instant,
    /// How long it is of use, in seconds; `u32::MAX` for ever.
    expires_after: u32,
    /// The hash of the name of the client that has published it; 0 if it is the broker's own.
    publisher: u64,
}

impl Kept {
    pub(super) fn new(
        publish: &MessageRef<'_>,
        shared: Option<&Bytes>,
        expires_after: u32,
        publisher: u64,
        now: Instant,
    ) -> Result<Self, EncodeError> {
        let stored = Stored::message(publish, shared, Version::V5)?;
        Ok(Self { stored, since: now, expires_after, publisher })
    }

    /// The hash of the name of its publisher.
    pub(super) const fn publisher(&self) -> u64 {
        self.publisher
    }

    /// The QoS with which it was published.
    pub(super) fn qos(&self) -> QoS {
        self.stored.as_message(Version::V5).map_or(QoS::AtMostOnce, |message| message.qos) // what is kept can be read
    }

    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.stored.len()
    }

    /// How many of them are those of a payload that is shared.
    pub(super) fn shared_len(&self) -> usize {
        self.stored.payload().map_or(0, Bytes::len)
    }

    /// When it is not of use any more.
    pub(super) fn expires_at(&self) -> Instant {
        match self.expires_after {
            u32::MAX => Instant::NEVER,
            seconds => self.since.after_seconds(seconds),
        }
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires_at() <= now
    }

    /// The message with what is left of its expiry interval \[MQTT-3.3.2-6\], its payload if that is a shared one, and the
    /// seconds that are left.
    pub(super) fn publish(&self, now: Instant) -> Option<(MessageRef<'_>, Option<&Bytes>, u32)> {
        let mut publish = self.stored.as_message(Version::V5)?;
        let waited = u32::try_from(now.since(self.since).as_secs()).unwrap_or(u32::MAX);
        let left = match self.expires_after {
            u32::MAX => u32::MAX,
            seconds => seconds.saturating_sub(waited),
        };
        if let Some(interval) = &mut publish.properties.message_expiry_interval {
            *interval = left;
        }
        Some((publish, self.stored.payload(), left))
    }
}
