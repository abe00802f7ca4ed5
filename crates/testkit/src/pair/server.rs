//! What can stand at the other end of the link.

use bytes::Buf;
use mqtt_sansio::Instant;

/// A server's end of a connection, and all that it keeps between connections.
pub trait Server {
    /// Whether what it writes is held against the rules as well.
    const IS_CHECKED: bool = false;

    /// A connection begins. If the last one was not [closed](Self::closed), the client is back before that was noticed:
    /// nothing that is written to the old connection arrives.
    fn open(&mut self, now: Instant);

    /// Bytes have arrived, or the [`deadline`](Self::deadline) has come, or both. What is left of `input` is given
    /// again with what comes next. Whether there may be more to do at once.
    fn receive(&mut self, now: Instant, input: &mut &[u8]) -> bool;

    /// What is to be written.
    fn transmit(&mut self) -> &mut impl Buf;

    /// Whether the connection is to be closed once that is written.
    fn is_over(&self) -> bool;

    /// The connection is gone.
    fn closed(&mut self, now: Instant);

    /// When [`receive`](Self::receive) has to be called at the latest, with a connection or without one.
    fn deadline(&self) -> Option<Instant>;

    /// Whether it has nothing to do but to wait for the client.
    fn is_idle(&self, _now: Instant) -> bool {
        self.deadline().is_none()
    }

    /// The number of the session: another number is another session, and 0 is none.
    fn session_number(&self) -> u32 {
        0
    }

    /// How many identifiers are in use that its packets show, when everything has been written and nothing waits;
    /// `None` if that is not so.
    fn operations_in_flight(&self) -> Option<usize> {
        None
    }

    /// Panics if its parts contradict each other.
    fn assert_consistent(&self) {}
}
