//! Time, from the program.

use core::time::Duration;

use mqtt_sansio::Instant;

/// A monotonic clock with a timer. Its epoch is the program's choice: a session that is not stored can begin at 0.
///
/// ```
/// # use core::future::ready;
/// # use mqtt_sansio::Instant;
/// # use mqtt_sansio_embedded::Clock;
/// # fn ticks() -> u64 { 0 }
/// # async fn sleep_until_tick(tick: u64) {}
/// /// A timer with 32,768 ticks per second.
/// struct Rtc;
///
/// impl Clock for Rtc {
///     fn now(&self) -> Instant {
///         Instant::from_micros(ticks() * 1_000_000 / 32_768)
///     }
///
///     async fn wait_until(&self, at: Instant) {
///         sleep_until_tick(at.as_micros() * 32_768 / 1_000_000 + 1).await;
///     }
/// }
/// ```
#[allow(async_fn_in_trait)] // the futures stay on their thread
pub trait Clock {
    /// Returns the present time.
    fn now(&self) -> Instant;

    /// Waits until this time; returns at once if it has passed. The future may be dropped at any time.
    async fn wait_until(&self, at: Instant);
}

/// Returns the time after this duration from now, or the last instant.
#[allow(clippy::arithmetic_side_effects)] // saturates
pub(crate) fn after(clock: &impl Clock, duration: Duration) -> Instant {
    clock.now() + duration
}
