//! A TCP stream below TLS that limits the bytes of one turn.
//!
//! TLS reads until it has plaintext, or until the stream is pending: a client that sends records without content as fast as
//! they are read would hold the thread for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::READ;

/// Maximum number of bytes that are read before the client is accepted: enough for a handshake with certificates, and for the
/// largest CONNECT in small records.
const MAX_UNACCEPTED: usize = 2 << 20;

/// A stream that is pending once after each [`READ`] bytes.
pub(crate) struct Throttle<S> {
    stream: S,
    /// Number of bytes that may still be read in this turn.
    turn: usize,
    /// Number of bytes that may still be read before the client is accepted; `None` afterwards.
    unaccepted: Option<usize>,
}

impl<S> Throttle<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, turn: READ, unaccepted: Some(MAX_UNACCEPTED) }
    }

    /// Ends the limit for the time before the client is accepted.
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
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many bytes before CONNECT")));
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

    /// Reads until the stream is pending, and returns the number of bytes.
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
    fn a_turn_ends_although_there_is_more_to_read() {
        let mut stream = Throttle::new(Endless);
        stream.lift_limits();
        for _ in 0..100 {
            assert_eq!(turn(&mut stream).unwrap(), READ);
        }
    }

    #[test]
    fn bytes_before_the_client_is_accepted_are_limited() {
        let mut stream = Throttle::new(Endless);
        for _ in 0..MAX_UNACCEPTED / READ {
            assert_eq!(turn(&mut stream).unwrap(), READ);
        }
        assert_eq!(turn(&mut stream).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        stream.lift_limits();
        assert_eq!(turn(&mut stream).unwrap(), READ);
    }
}
