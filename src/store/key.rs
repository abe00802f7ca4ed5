//! The layout of keys.

use core::ops::Deref;

use crate::codec::PacketId;

/// A key: a kind and big-endian numbers. Keys are ordered as their bytes are.
// The padding is zero, so that the order of the fields is the order of the slices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    bytes: [u8; Self::SIZE],
    len: u8,
}

/// The kind of a pair. A message comes before its parts, and before the deliveries that refer to it; a session comes
/// before what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Format = 0x00,
    Clock = 0x01,
    HighWater = 0x02,
    Message = 0x10,
    Part = 0x11,
    Retained = 0x18,
    Session = 0x20,
    Will = 0x21,
    Subscription = 0x22,
    Received = 0x23,
    Delivery = 0x24,
}

/// A counter of which a high-water mark is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Counter {
    /// The tokens of a session.
    Token = 0,
    /// The messages in the store of a broker.
    Message = 1,
    /// The sessions in the store of a broker.
    Session = 2,
}

impl Key {
    /// Size of the longest key, in bytes; less than the 32 bytes that are documented.
    const SIZE: usize = 23;

    const fn of(kind: Kind) -> Self {
        let mut bytes = [0; Self::SIZE];
        let [first, ..] = &mut bytes;
        *first = kind as u8;
        Self { bytes, len: 1 }
    }

    fn then<const N: usize>(mut self, number: [u8; N]) -> Self {
        let start = usize::from(self.len);
        match self.bytes.get_mut(start..start.saturating_add(N)) {
            Some(bytes) => bytes.copy_from_slice(&number),
            None => bug!("a key is too long"),
        }
        self.len = self.len.saturating_add(N as u8);
        self
    }

    pub(crate) const FORMAT: Self = Self::of(Kind::Format);
    pub(crate) const CLOCK: Self = Self::of(Kind::Clock);

    pub(crate) fn high_water(counter: Counter) -> Self {
        Self::of(Kind::HighWater).then([counter as u8])
    }

    pub(crate) fn message(message: u64) -> Self {
        Self::of(Kind::Message).then(message.to_be_bytes())
    }

    pub(crate) fn part(message: u64, part: u32) -> Self {
        Self::of(Kind::Part).then(message.to_be_bytes()).then(part.to_be_bytes())
    }

    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn retained(message: u64) -> Self {
        Self::of(Kind::Retained).then(message.to_be_bytes())
    }

    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn subscription(session: u64, subscription: u64) -> Self {
        Self::of(Kind::Subscription).then(session.to_be_bytes()).then(subscription.to_be_bytes())
    }

    pub(crate) fn session(session: u64) -> Self {
        Self::of(Kind::Session).then(session.to_be_bytes())
    }

    pub(crate) fn will(session: u64, will: u64) -> Self {
        Self::of(Kind::Will).then(session.to_be_bytes()).then(will.to_be_bytes())
    }

    pub(crate) fn received(session: u64, id: PacketId) -> Self {
        Self::of(Kind::Received).then(session.to_be_bytes()).then(id.get().to_be_bytes())
    }

    pub(crate) fn delivery(session: u64, delivery: u64) -> Self {
        Self::of(Kind::Delivery).then(session.to_be_bytes()).then(delivery.to_be_bytes())
    }
}

impl Kind {
    /// Splits a key into its kind and the bytes of its numbers.
    pub(crate) fn split(key: &[u8]) -> Option<(Self, &[u8])> {
        let (&kind, numbers) = key.split_first()?;
        let all = [
            Self::Format,
            Self::Clock,
            Self::HighWater,
            Self::Message,
            Self::Part,
            Self::Retained,
            Self::Session,
            Self::Will,
            Self::Subscription,
            Self::Received,
            Self::Delivery,
        ];
        all.into_iter().find(|it| *it as u8 == kind).map(|kind| (kind, numbers))
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Keys are ordered as their bytes are, and a message comes before its parts and its deliveries.
    #[test]
    fn keys_are_ordered_as_their_bytes() {
        let id = |id| PacketId::new(id).unwrap_or(PacketId::MIN);
        let keys: Vec<Key> = [0, 1, 255, 256, 1 << 40, u64::MAX]
            .into_iter()
            .flat_map(|n| {
                [
                    Key::FORMAT,
                    Key::CLOCK,
                    Key::high_water(Counter::Token),
                    Key::message(n),
                    Key::part(n, 0),
                    Key::part(n, 256),
                    Key::retained(n),
                    Key::session(n),
                    Key::will(n, 3),
                    Key::subscription(n, n),
                    Key::received(n, id(1)),
                    Key::received(n, id(0x1234)),
                    Key::delivery(n, 7),
                    Key::delivery(n, n),
                ]
            })
            .collect();
        for a in &keys {
            assert!(a.len() <= 32 && Kind::split(a).is_some());
            for b in &keys {
                assert_eq!(a.cmp(b), a[..].cmp(&b[..]));
            }
        }
        assert!(Key::message(u64::MAX) < Key::part(0, 0) && Key::part(u64::MAX, u32::MAX) < Key::session(0));
        assert!(Key::session(1) < Key::delivery(0, 0));
    }
}
