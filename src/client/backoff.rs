//! How long to wait before the next connection.

use core::time::Duration;

/// Pauses that double from attempt to attempt, with a random half so that the clients of a server that comes back do
/// not come all at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    failures: u8,
    /// How many there have been in all, mixed with the seed.
    random: u32,
}

impl Backoff {
    pub(super) const fn new(seed: u64) -> Self {
        Self { failures: 0, random: (seed ^ (seed >> 32)) as u32 }
    }

    /// Takes another seed.
    pub(super) const fn reseed(&mut self, seed: u64) {
        self.random = Self::new(seed).random;
    }

    /// A connection was established.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A connection is gone, or never was.
    pub(super) const fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.random = self.random.wrapping_add(0x9E37_79B9);
    }

    /// From half of the pause that is due to all of it; nothing as long as nothing has failed.
    pub(super) fn pause(self, (shortest, longest): (u16, u16)) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else { return Duration::ZERO };
        let longest = u64::from(longest.max(shortest)).saturating_mul(1000);
        let pause = u64::from(shortest).saturating_mul(1000).saturating_mul(1 << doublings.min(16)).min(longest);
        let half = pause / 2;
        // SplitMix64: the state counts, the output is the state well mixed.
        let state = u64::from(self.random).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let jitter = (mixed ^ (mixed >> 31)).checked_rem(half.saturating_add(1)).unwrap_or_default();
        Duration::from_millis(half.saturating_add(jitter))
    }
}
