//! Time, as the engines are told it.

use core::fmt;
use core::time::Duration;

/// A point in time: microseconds since an epoch that the caller chooses, and keeps for as long as the engine lives.
///
/// An engine never asks for the time: whoever calls it says what time it is. In a program that is a monotonic clock,
/// [`StdClock`] for one; in a test or a simulation it is a number.
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

    /// Later than anything.
    #[cfg(feature = "alloc")]
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The instant so many microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; nothing if it was not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    const fn after(self, later: Duration) -> Self {
        // Longer than half a million years is for ever.
        let micros = later.as_micros();
        Self(self.0.saturating_add(if micros > u64::MAX as u128 { u64::MAX } else { micros as u64 }))
    }

    /// The instant so many seconds later.
    #[cfg(feature = "alloc")]
    pub(crate) const fn after_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add((seconds as u64).saturating_mul(1_000_000)))
    }

    /// The instant, if it comes.
    #[cfg(feature = "alloc")]
    pub(crate) fn unless_never(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }
}

/// An instant too far away to be expressed is the last one that can be.
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

/// The clock of the standard library; its epoch is the moment when it was made.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
// The one clock in the crate, and it runs only for who asks it.
#[allow(clippy::disallowed_types)]
pub struct StdClock(std::time::Instant);

#[cfg(feature = "std")]
#[allow(clippy::disallowed_types)]
impl StdClock {
    /// A clock that starts at [`Instant::EPOCH`].
    #[expect(clippy::new_without_default, reason = "two clocks that are made alike do not show the same time")]
    pub fn new() -> Self {
        Self(std::time::Instant::now())
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        Instant::EPOCH.after(self.0.elapsed())
    }

    /// How long it is from now until `deadline`; zero if that has passed.
    pub fn until(&self, deadline: Instant) -> Duration {
        deadline.since(self.now())
    }
}
