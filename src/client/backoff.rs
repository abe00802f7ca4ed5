//! The pause before the next connection.

use core::time::Duration;

/// Pauses that double from attempt to attempt. Half of each pause is random, so that the clients of a restarted server
/// do not all connect at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// Number of consecutive connections that were not established or did not last.
    failures: u8,
    /// Number of all connections that have ended or failed; wraps.
    ends: u8,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { failures: 0, ends: 0 }
    }

    /// Counts a connection that has ended or could not be established. A connection that has lasted starts a new
    /// series, as its first failure.
    pub(super) const fn failed(&mut self, has_lasted: bool) {
        self.failures = if has_lasted { 1 } else { self.failures.saturating_add(1) };
        self.ends = self.ends.wrapping_add(1);
    }

    /// Returns a pause between half of the doubled duration and all of it; zero if no connection has failed. The random
    /// part depends on the client identifier, so that the clients of a server wait for different durations, and on the
    /// seed.
    pub(super) fn pause(self, shortest: u16, longest: u16, client_id: &str, seed: u64) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else { return Duration::ZERO };
        let longest = u64::from(longest.max(shortest)).saturating_mul(1_000_000);
        let pause = u64::from(shortest).saturating_mul(1_000_000).saturating_mul(1 << doublings.min(16)).min(longest);
        let half = pause / 2;
        // FNV-1a.
        let hash = client_id.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        // SplitMix64: the state is a counter, the output is the mixed state.
        let state = (hash ^ seed).wrapping_add(u64::from(self.ends).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let jitter = (mixed ^ (mixed >> 31)).checked_rem(half.saturating_add(1)).unwrap_or_default();
        Duration::from_micros(half.saturating_add(jitter))
    }
}
