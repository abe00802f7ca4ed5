//! The clock of tokio, as the clock of a session.

use mqtt_sansio::{Instant, StdClock};
use tokio::time;

/// Converts the time of tokio, which a test can pause and advance, to the time of a session: Unix time, so that sessions go
/// on after another connection or a restart of the program.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    base: time::Instant,
    unix: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let (base, unix) = (time::Instant::now(), StdClock::new().now());
        // A paused clock has its own distance from that of the system: two clocks of one runtime have to agree.
        #[allow(clippy::disallowed_types, reason = "to find the distance of the two")]
        let system = std::time::Instant::now();
        let ahead = base.into_std().saturating_duration_since(system);
        let behind = system.saturating_duration_since(base.into_std());
        let behind = u64::try_from(behind.as_micros()).unwrap_or(u64::MAX);
        Self { base, unix: Instant::from_micros(unix.as_micros().saturating_sub(behind)) + ahead }
    }

    pub(crate) fn now(&self) -> Instant {
        self.unix + self.base.elapsed()
    }

    /// Returns the time of tokio at which the session's time is `at`; `None` if it is too far away to be represented.
    pub(crate) fn at(&self, at: Instant) -> Option<time::Instant> {
        self.base.checked_add(at.since(self.unix))
    }
}
