//! Stored packets, and the state of a session that must survive a crash: its changes, and how it is restored.

pub(super) mod durable;
pub(super) mod journal;
mod messages;
mod pairs;
pub(super) mod payload;
pub(super) mod records;
pub(super) mod restore;
pub(super) mod stored;
