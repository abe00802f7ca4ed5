//! The server of a pair.

use bytes::Buf;
use mqtt_sansio::Instant;

/// The server's endpoint of a connection, with the state that it stores between connections.
pub trait Server {
    /// Whether its packets are checked against the rules as well.
    const IS_CHECKED: bool = false;

    /// Opens a connection. If the last one was not [closed](Self::closed), the client has reconnected before its end
    /// was noticed: nothing written to the old connection arrives.
    fn open(&mut self, now: Instant);

    /// Takes received bytes, or runs the timers of the [`deadline`](Self::deadline), or both. Bytes left in `input` are
    /// given again with the next ones. Returns whether there may be more to do at once.
    fn receive(&mut self, now: Instant, input: &mut &[u8]) -> bool;

    /// Returns the bytes to write.
    fn transmit(&mut self) -> &mut impl Buf;

    /// Returns whether the connection is to be closed once those bytes are written.
    fn is_over(&self) -> bool;

    /// Reports that the connection has ended.
    fn closed(&mut self, now: Instant);

    /// Returns when [`receive`](Self::receive) must be called at the latest, with or without a connection.
    fn deadline(&self) -> Option<Instant>;

    /// Returns whether the server only waits for the client.
    fn is_idle(&self, _now: Instant) -> bool {
        self.deadline().is_none()
    }

    /// Returns the number of the session. Another number means another session, and 0 means none.
    fn session_number(&self) -> u32 {
        0
    }

    /// Returns how many packet identifiers are in use according to the packets written, if everything was written and
    /// nothing is queued; `None` otherwise.
    fn packet_ids_in_use(&self) -> Option<usize> {
        None
    }

    /// Panics if its parts are inconsistent.
    fn assert_consistent(&self) {}
}
