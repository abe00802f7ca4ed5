//! The state of one connection of a session: output, topic aliases, keep-alive.

pub(super) mod alias;
pub(super) mod keep_alive;
pub(super) mod transmit;
