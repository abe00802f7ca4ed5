//! How long to wait before the next connection.

use core::time::Duration;

/// Pauses that double from attempt to attempt, with a random half so that the clients of a server that comes back do
/// not come all at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// The number of connections in a row that were not established, or did not last.
    failures: u8,
    /// The number of connections in all.
    ends: u8,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { failures: 0, ends: 0 }
    }

    /// A connection is gone, or never was. One that has lasted is the first failure of a new row.
    pub(super) const fn failed(&mut self, has_lasted: bool) {
        self.failures = if has_lasted { 1 } else { self.failures.saturating_add(1) };
        self.ends = self.ends.wrapping_add(1);
    }

    /// From half of the pause that is due to all of it; nothing as long as nothing has failed. What the random part is made
    /// from is the client identifier, so that no two clients of a server wait equally long, and the seed.
    pub(super) fn pause(self, (shortest, longest): (u16, u16), client_id: &str, seed: u64) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else { return Duration::ZERO };
        let longest = u64::from(longest.max(shortest)).saturating_mul(1_000_000);
        let pause = u64::from(shortest).saturating_mul(1_000_000).saturating_mul(1 << doublings.min(16)).min(longest);
        let half = pause / 2;
        // FNV-1a.
        let hash = client_id.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        // SplitMix64: the state counts, the output is the state well mixed.
        let state = (hash ^ seed).wrapping_add(u64::from(self.ends).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let jitter = (mixed ^ (mixed >> 31)).checked_rem(half.saturating_add(1)).unwrap_or_default();
        Duration::from_micros(half.saturating_add(jitter))
    }
}
