//! Worlds in which events happen one after the other, on a virtual clock.

use core::time::Duration;

use mqtt_sansio::Instant;

/// A world that consists of events, and does nothing between two of them.
pub(crate) trait Timeline {
    /// An event.
    type Event;

    /// Returns the next event and its time, after all that has no time of its own; `None` if there is none.
    fn next(&mut self) -> Option<(Instant, Self::Event)>;

    /// Executes an event, at the current time.
    fn execute(&mut self, event: Self::Event);

    /// Returns whether nothing is on its way, and nothing is to be done now. [`next`](Self::next) was called since the last event.
    fn is_at_rest(&mut self) -> bool;

    /// Returns the clock.
    fn clock(&mut self) -> &mut Instant;
}

/// Executes an event that happens at this time, or has been due since then.
fn happen<T: Timeline>(world: &mut T, at: Instant, event: T::Event) {
    let clock = world.clock();
    *clock = at.max(*clock);
    world.execute(event);
}

/// Executes the next event. Returns `false` if there is none.
pub(crate) fn step(world: &mut impl Timeline) -> bool {
    let Some((at, event)) = world.next() else { return false };
    happen(world, at, event);
    true
}

/// Executes the next event if it happens until this time. Otherwise advances the clock to `end` and returns `false`.
pub(crate) fn step_until(world: &mut impl Timeline, end: Instant) -> bool {
    match world.next() {
        Some((at, event)) if at <= end => {
            happen(world, at, event);
            true
        }
        _ => {
            let clock = world.clock();
            *clock = end.max(*clock);
            false
        }
    }
}

/// Executes all events within this time.
pub(crate) fn run_for(world: &mut impl Timeline, time: Duration) {
    let end = *world.clock() + time;
    while step_until(world, end) {}
}

/// Executes events until the world is at rest, or there is none. Returns `false` if that takes more events than `most`.
pub(crate) fn run_until_quiet(world: &mut impl Timeline, most: u32) -> bool {
    for _ in 0..most {
        let next = world.next();
        match next {
            Some((at, event)) if !world.is_at_rest() => happen(world, at, event),
            _ => return true,
        }
    }
    false
}
