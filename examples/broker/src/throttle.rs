//! A TCP stream below TLS that is read from in turns.
//!
//! TLS reads until it has something for its user, or until nothing comes: a client that sends records without content as
//! fast as they are read would never let go of the thread.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::READ;

/// Maximum number of bytes until the client is accepted: a handshake with certificates, and the largest CONNECT in small
/// records.
const MAX_UNACCEPTED: usize = 2 << 20;

/// A stream that is pending for once when as much was read as one turn allows.
pub(crate) struct Throttle<S> {
    stream: S,
    /// How many bytes are left in this turn, and until the client has to be accepted.
    turn: usize,
    unaccepted: Option<usize>,
}

impl<S> Throttle<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, turn: READ, unaccepted: Some(MAX_UNACCEPTED) }
    }

    /// Ends the limit of what comes before the client is accepted.
    pub(crate) const fn lift_limits(&mut self) {
        self.unaccepted = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Throttle<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let turn = std::mem::replace(&mut this.turn, READ);
        if turn == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.unaccepted == Some(0) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too much before CONNECT")));
        }
        let size = buffer.remaining().min(turn).min(this.unaccepted.unwrap_or(turn));
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(size));
        ready!(Pin::new(&mut this.stream).poll_read(context, &mut part))?;
        let count = part.filled().len();
        buffer.advance(count);
        this.turn = turn - count;
        this.unaccepted = this.unaccepted.map(|left| left - count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Throttle<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A stream that never ends.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let size = buffer.remaining().min(1000);
            buffer.put_slice(&[b'x'; 1000][..size]);
            Poll::Ready(Ok(()))
        }
    }

    /// Reads until the stream is pending, and returns how much that was.
    fn turn(stream: &mut Throttle<Endless>) -> io::Result<usize> {
        let mut count = 0;
        loop {
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer)? {
                Poll::Pending => return Ok(count),
                Poll::Ready(()) => {
                    assert!(buffer.filled().iter().all(|&byte| byte == b'x'));
                    count += buffer.filled().len();
                }
            }
        }
    }

    #[test]
    fn a_turn_ends_although_more_is_there() {
        let mut stream = Throttle::new(Endless);
        stream.lift_limits();
        for _ in 0..100 {
            assert_eq!(turn(&mut stream).unwrap(), READ);
        }
    }

    #[test]
    fn a_stranger_is_not_read_from_for_ever() {
        let mut stream = Throttle::new(Endless);
        for _ in 0..MAX_UNACCEPTED / READ {
            assert_eq!(turn(&mut stream).unwrap(), READ);
        }
        assert_eq!(turn(&mut stream).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        stream.lift_limits();
        assert_eq!(turn(&mut stream).unwrap(), READ);
    }
}
