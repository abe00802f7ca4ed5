//! The layout of keys.

use core::ops::Deref;

use crate::codec::PacketId;

/// A key: a kind and at most two numbers. Keys are ordered as their bytes are.
// The order of the fields is that of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    kind: Kind,
    first: u64,
    second: u64,
}

/// The bytes of a key: the kind and the big-endian numbers.
pub(crate) struct KeyBytes {
    bytes: [u8; Self::SIZE],
    len: u8,
}

/// The kind of a pair. A message comes before its parts, and before the deliveries that refer to it; a session comes
/// before what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    const fn of(kind: Kind, first: u64, second: u64) -> Self {
        Self { kind, first, second }
    }

    pub(crate) const FORMAT: Self = Self::of(Kind::Format, 0, 0);
    pub(crate) const CLOCK: Self = Self::of(Kind::Clock, 0, 0);

    pub(crate) const fn high_water(counter: Counter) -> Self {
        Self::of(Kind::HighWater, counter as u64, 0)
    }

    pub(crate) const fn message(message: u64) -> Self {
        Self::of(Kind::Message, message, 0)
    }

    pub(crate) const fn part(message: u64, part: u32) -> Self {
        Self::of(Kind::Part, message, part as u64)
    }

    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) const fn retained(message: u64) -> Self {
        Self::of(Kind::Retained, message, 0)
    }

    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) const fn subscription(session: u64, subscription: u64) -> Self {
        Self::of(Kind::Subscription, session, subscription)
    }

    pub(crate) const fn session(session: u64) -> Self {
        Self::of(Kind::Session, session, 0)
    }

    pub(crate) const fn will(session: u64, will: u64) -> Self {
        Self::of(Kind::Will, session, will)
    }

    pub(crate) const fn received(session: u64, id: PacketId) -> Self {
        Self::of(Kind::Received, session, id.get() as u64)
    }

    pub(crate) const fn delivery(session: u64, delivery: u64) -> Self {
        Self::of(Kind::Delivery, session, delivery)
    }

    /// Returns a hash of the key. Some numbers follow from what peers choose, so that peers can choose keys with the same hash.
    #[inline]
    pub(super) const fn hash(self) -> u64 {
        // Odd numbers without a pattern in their bits: the fractional parts of the golden ratio and of the root of 3.
        const FIRST: u64 = 0xBB67_AE85_84CA_A73B;
        const ALL: u64 = 0x9E37_79B9_7F4A_7C15;
        let mixed = (self.first.wrapping_mul(FIRST).wrapping_add(self.kind as u64)) ^ self.second.rotate_left(32);
        let hash = mixed.wrapping_mul(ALL);
        (hash ^ hash >> 32).wrapping_mul(ALL)
    }

    /// Returns the bytes of the key.
    pub(crate) fn bytes(self) -> KeyBytes {
        let (first_size, second_size) = self.kind.sizes();
        let mut bytes = [0; KeyBytes::SIZE];
        let [kind, numbers @ ..] = &mut bytes;
        *kind = self.kind as u8;
        // What is behind a short number is zero, and not a part of the key.
        for (bytes, (number, size)) in
            numbers.as_chunks_mut::<8>().0.iter_mut().zip([(self.first, first_size), (self.second, second_size)])
        {
            *bytes =
                number.checked_shl(64_u32.saturating_sub(size.saturating_mul(8))).unwrap_or_default().to_be_bytes();
        }
        KeyBytes { bytes, len: first_size.saturating_add(second_size).saturating_add(1) as u8 }
    }
}

impl KeyBytes {
    /// Size of the longest key, in bytes; less than the 32 bytes that are documented.
    pub(super) const SIZE: usize = 17;
}

impl Kind {
    /// Returns the sizes of the numbers in a key of this kind, in bytes.
    const fn sizes(self) -> (u32, u32) {
        match self {
            Self::Format | Self::Clock => (0, 0),
            Self::HighWater => (1, 0),
            Self::Message | Self::Retained | Self::Session => (8, 0),
            Self::Part => (8, 4),
            Self::Received => (8, 2),
            Self::Will | Self::Subscription | Self::Delivery => (8, 8),
        }
    }

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

impl Deref for KeyBytes {
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
            assert!(a.bytes().len() <= 32 && Kind::split(&a.bytes()).is_some());
            for b in &keys {
                assert_eq!(a.cmp(b), a.bytes()[..].cmp(&b.bytes()[..]));
            }
        }
        assert!(Key::message(u64::MAX) < Key::part(0, 0) && Key::part(u64::MAX, u32::MAX) < Key::session(0));
        assert!(Key::session(1) < Key::delivery(0, 0));
    }

    /// The bytes of a key are those that are documented.
    #[test]
    fn the_bytes_of_keys() {
        let id = PacketId::new(0x1234).unwrap_or(PacketId::MIN);
        assert_eq!(Key::CLOCK.bytes()[..], [1]);
        assert_eq!(Key::high_water(Counter::Session).bytes()[..], [2, 2]);
        assert_eq!(Key::message(0x0102).bytes()[..], [0x10, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(Key::part(3, 4).bytes()[..], [0x11, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4]);
        assert_eq!(Key::received(5, id).bytes()[..], [0x23, 0, 0, 0, 0, 0, 0, 0, 5, 0x12, 0x34]);
        assert_eq!(Key::delivery(6, 7).bytes()[..], [0x24, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7]);
    }
}
