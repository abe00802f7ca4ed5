//! One connection of a session: its output, its topic aliases, its keep-alive.

pub(super) mod alias;
pub(super) mod keep_alive;
pub(super) mod transmit;
