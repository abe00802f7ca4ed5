//! A durable broker: what waits for which changes, what is there after a crash, and what damage does.

mod bytes;
mod crashes;
mod early;
mod restored;
mod schedules;
mod shared;
mod waiting;
mod walks;
pub(crate) mod world;
