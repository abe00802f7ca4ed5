//! The secret of a broker, and the keyed hashes that follow from it.

use core::fmt;
use core::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use siphasher::sip::{SipHasher13, SipHasher24};

use crate::redacted::Redacted;

/// The secret of a [`Broker`](super::Broker): 128 bits, which no client may be able to guess. A client that knows them can
/// choose client identifiers, share names and topics that collide in the broker's hash tables (hash flooding), and can tell
/// which client identifiers the broker assigns.
///
/// `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

/// The uses of a secret. Each has a key of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    ClientIds = 1,
    Subscriptions,
    Retained,
    AssignedIds,
    ShareNames,
    GroupMembers,
    Publishers,
}

/// A keyed hash of a text of any length, by SipHash-1-3. It is for what is looked up once for a connection or subscription.
#[derive(Clone)]
pub(super) struct KeyedHash(SipHasher13);

/// A keyed hash of topic levels. A message has several, so the hash has to be as fast as can be: it is that of `foldhash`,
/// whose seeds all come from the secret. (The fixed state of `foldhash` has a constant besides its seed: a text that cancels
/// the constant out collides with others like it, whatever the seed is.)
#[derive(Clone)]
pub(super) struct LevelHash {
    seed: u64,
    shared: SharedSeed,
}

impl Secret {
    /// Makes a secret from 16 random bytes.
    ///
    /// ```
    /// use mqtt_sansio::broker::Secret;
    ///
    /// let secret = Secret::new([7; 16]); // of a simulation: a broker on a network takes random ones
    /// # let _ = secret;
    /// ```
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Makes a secret from random numbers of the operating system, by way of
    /// [`RandomState`](std::collections::hash_map::RandomState).
    ///
    /// ```
    /// use mqtt_sansio::broker::{BrokerConfig, Secret};
    ///
    /// let config = BrokerConfig::new(Secret::from_system());
    /// # let _ = config;
    /// ```
    #[cfg(feature = "std")]
    pub fn from_system() -> Self {
        use core::hash::BuildHasher;
        let random = std::collections::hash_map::RandomState::new();
        let halves = (u128::from(random.hash_one(0_u8)) << 64) | u128::from(random.hash_one(1_u8));
        Self(halves.to_ne_bytes())
    }

    /// A number for this use. It tells nothing of the secret, nor of the numbers for other uses.
    pub(super) fn number(&self, which: Use) -> u64 {
        self.half(which, 0)
    }

    /// The hash for this use.
    pub(super) fn keyed_hash(&self, which: Use) -> KeyedHash {
        KeyedHash(SipHasher13::new_with_keys(self.half(which, 0), self.half(which, 1)))
    }

    /// The hash of topic levels for this use.
    pub(super) fn level_hash(&self, which: Use) -> LevelHash {
        LevelHash { seed: self.half(which, 0), shared: SharedSeed::from_u64(self.half(which, 1)) }
    }

    fn half(&self, which: Use, half: u8) -> u64 {
        SipHasher24::new_with_key(&self.0).hash(&[which as u8, half])
    }
}

impl KeyedHash {
    pub(super) fn hash(&self, text: &[u8]) -> u64 {
        self.0.hash(text)
    }

    /// The hash of a text and a number.
    pub(super) fn hash_with(&self, text: &[u8], number: u32) -> u64 {
        let mut hasher = self.0;
        hasher.write(text);
        hasher.write_u32(number);
        hasher.finish()
    }
}

impl LevelHash {
    #[inline]
    pub(super) fn hash(&self, level: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(level);
        hasher.finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&Redacted(&self.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    /// Texts of 16 bytes that end in the bytes of a constant that is in each fixed state of `foldhash` (with one changed, so
    /// that they are UTF-8): there the low bits of all hashes are the same, whatever the seed is.
    fn colliding() -> impl Iterator<Item = Vec<u8>> {
        (0..4096).map(|number| {
            let mut text = format!("{number:04}same").into_bytes();
            text.extend([0x17, 0x09, 0xe7, 0xb5, 0xb5, 0xd5, 0x84, 0x3f]);
            assert!(String::from_utf8(text.clone()).is_ok(), "a client identifier can be such a text");
            text
        })
    }

    /// The most hashes that share their lowest 12 bits.
    fn most_in_one_place(hashes: impl Iterator<Item = u64>) -> usize {
        let mut counts = [0_usize; 4096];
        for hash in hashes {
            if let Some(count) = counts.get_mut((hash % 4096) as usize) {
                *count = count.saturating_add(1);
            }
        }
        counts.into_iter().max().unwrap_or_default()
    }

    #[test]
    fn texts_that_collide_in_a_fixed_state_do_not_collide() {
        for byte in 0..20 {
            let secret = Secret::new([byte; 16]);
            let (keyed, levels) = (secret.keyed_hash(Use::ClientIds), secret.level_hash(Use::Subscriptions));
            for most in [
                most_in_one_place(colliding().map(|text| keyed.hash(&text))),
                most_in_one_place(colliding().map(|text| keyed.hash_with(&text, 7))),
                most_in_one_place(colliding().map(|text| levels.hash(&text))),
            ] {
                // 4096 random numbers in 4096 places: more than a dozen in one is next to impossible.
                assert!(most <= 12, "{most} texts have one place");
            }
        }
    }

    #[test]
    fn each_use_has_numbers_of_its_own() {
        let secrets = [Secret::new([0; 16]), Secret::new([1; 16])];
        let uses = [
            Use::ClientIds,
            Use::Subscriptions,
            Use::Retained,
            Use::AssignedIds,
            Use::ShareNames,
            Use::GroupMembers,
            Use::Publishers,
        ];
        let halves = secrets.iter().flat_map(|secret| uses.map(|which| [secret.half(which, 0), secret.half(which, 1)]));
        assert_eq!(halves.flatten().collect::<BTreeSet<_>>().len(), 28);
    }

    #[test]
    fn debug_does_not_print_it() {
        assert_eq!(format!("{:?}", Secret::new([7; 16])), "Secret(<16 bytes>)");
    }

    #[cfg(feature = "std")]
    #[test]
    fn the_system_gives_another_secret_each_time() {
        assert!(Secret::from_system() != Secret::from_system());
    }
}
