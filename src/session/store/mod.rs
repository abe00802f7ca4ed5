//! Packets that are stored, and the records of what must survive a crash.

pub(super) mod journal;
pub(super) mod payload;
pub(super) mod restore;
pub(super) mod stored;
