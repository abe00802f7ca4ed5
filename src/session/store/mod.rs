//! Stored packets, and the journal of the state that must survive a crash.

pub(super) mod journal;
pub(super) mod payload;
pub(super) mod restore;
pub(super) mod stored;
