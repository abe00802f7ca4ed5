//! What survives a crash of a durable broker, and what waits for that.

mod changes;
pub(super) mod commits;
pub(super) mod publication;
pub(super) mod records;
pub(super) mod release;
pub(super) mod restore;
