//! Time, which the callers of the engines pass to them.

use core::fmt;
use core::time::Duration;

/// A point in time, in microseconds since an epoch that the caller chooses. All instants that are passed to one engine
/// must have the same epoch.
///
/// An engine reads no clock: its caller passes the time. A program takes it from a monotonic clock such as
/// [`StdClock`]; a test or a simulation chooses it. Instants that are stored, and compared after a restart, need an epoch
/// that is the same then: 1970-01-01 00:00 UTC, as that of `StdClock`.
///
/// ```
/// # use {core::time::Duration, mqtt_sansio::Instant};
/// let start = Instant::from_micros(5);
/// assert_eq!((start + Duration::from_secs(2)).as_micros(), 2_000_005);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The epoch.
    pub const EPOCH: Self = Self(0);

    /// Later than any other instant.
    #[cfg(feature = "alloc")]
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Creates the instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to this instant; zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    const fn after(self, later: Duration) -> Self {
        // Saturates at the last instant, more than half a million years after the epoch.
        let micros = later.as_micros();
        Self(self.0.saturating_add(if micros > u64::MAX as u128 { u64::MAX } else { micros as u64 }))
    }

    /// Returns the instant `seconds` later.
    #[cfg(feature = "alloc")]
    pub(crate) const fn after_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add((seconds as u64).saturating_mul(1_000_000)))
    }

    /// Returns the instant; `None` if it is `NEVER`.
    #[cfg(feature = "alloc")]
    pub(crate) fn unless_never(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }
}

/// Saturates at the last instant that can be represented.
impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        self.after(later)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The clock of the standard library: Unix time when the clock is created, monotonic from there on.
///
/// Its epoch is 1970-01-01 00:00 UTC, so that instants can be stored and compared after a restart. Within the process it
/// does not follow changes of the system's time.
///
/// ```
/// # use mqtt_sansio::StdClock;
/// let clock = StdClock::new();
/// let deadline = clock.now();
/// std::thread::sleep(clock.until(deadline)); // not at all, here
/// ```
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
// The only clock in the crate. No engine uses it.
#[allow(clippy::disallowed_types)]
pub struct StdClock {
    started: std::time::Instant,
    started_at: Instant,
}

#[cfg(feature = "std")]
#[allow(clippy::disallowed_types)]
impl StdClock {
    /// Creates a clock that starts at the system's time. A time before 1970 counts as 1970.
    #[expect(clippy::new_without_default, reason = "two clocks that are made alike do not show the same time")]
    pub fn new() -> Self {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { started: std::time::Instant::now(), started_at: Instant::EPOCH.after(unix) }
    }

    /// Returns the current time.
    pub fn now(&self) -> Instant {
        self.started_at.after(self.started.elapsed())
    }

    /// Returns the time from now to `deadline`, or zero if it has passed.
    pub fn until(&self, deadline: Instant) -> Duration {
        deadline.since(self.now())
    }
}
