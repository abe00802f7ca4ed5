//! What can stand at the other end of the link.

use bytes::Buf;

use crate::time::Instant;

/// A server's end of a connection, and all that it keeps between connections.
pub trait Server {
    /// A connection begins.
    fn open(&mut self, now: Instant);

    /// Bytes have arrived, or the [`deadline`](Self::deadline) has come, or both. What is left of `input` is given
    /// again with what comes next.
    fn receive(&mut self, now: Instant, input: &mut &[u8]);

    /// What is to be written.
    fn transmit(&mut self) -> &mut impl Buf;

    /// Whether the connection is to be closed once that is written.
    fn is_over(&self) -> bool;

    /// The connection is gone.
    fn closed(&mut self, now: Instant);

    /// When [`receive`](Self::receive) has to be called at the latest.
    fn deadline(&self) -> Option<Instant>;
}
