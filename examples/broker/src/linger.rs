//! Closing a stream so that the peer receives the last bytes.
//!
//! A TCP connection that is closed while the peer still sends is reset, and the peer loses the bytes that it has not
//! read yet, for example a CONNACK or DISCONNECT with the reason. Therefore the sending half is shut down first, and
//! received bytes are discarded until the peer has closed its half as well.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The time that the peer has to read the last bytes, and then again to close its half.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum number of discarded bytes of an accepted client: the size of the largest packet, because a client may be in the
/// middle of sending the packet that was too large.
pub(crate) const LARGEST_PACKET: usize = 256 << 20;

/// Maximum number of discarded bytes of a peer that is not accepted.
pub(crate) const STRANGER: usize = 16 << 20;

/// A stream that is being closed.
pub(crate) struct Linger {
    is_shut: bool,
    has_ended: bool,
    /// Number of bytes that may still be discarded.
    room: usize,
    give_up: Pin<Box<Sleep>>,
}

impl Linger {
    /// Starts to close a stream. At most `room` bytes are discarded.
    pub(crate) fn new(room: usize) -> Self {
        Self { is_shut: false, has_ended: false, room, give_up: Box::pin(tokio::time::sleep(PATIENCE)) }
    }

    /// Continues to close: shuts the sending half down once all output is written, reads, and is ready when the peer
    /// has closed its half or the time has passed.
    pub(crate) fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        buffer: &mut [u8],
        is_written: bool,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if is_written && !self.is_shut {
            match Pin::new(&mut *stream).poll_shutdown(context) {
                Poll::Ready(Ok(())) => {
                    self.is_shut = true;
                    self.give_up.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        // Input is read also before all output is written: otherwise a peer that only writes would take no output.
        // There is one read in each turn.
        if !self.has_ended {
            match self.poll_discard(stream, buffer, context) {
                Poll::Ready(Ok(true)) => context.waker().wake_by_ref(),
                Poll::Ready(Ok(false)) => self.has_ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if self.is_shut && self.has_ended {
            return Poll::Ready(());
        }
        self.give_up.as_mut().poll(context)
    }

    /// Reads once. Returns false at the end of the stream.
    fn poll_discard<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        let Some(room) = self.room.checked_sub(count) else {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        };
        self.room = room;
        Poll::Ready(Ok(count != 0))
    }
}

/// Closes a stream that has no output left.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &std::cell::RefCell<Box<[u8]>>,
    room: usize,
) {
    let mut linger = Linger::new(room);
    poll_fn(|context| linger.poll(stream, &mut buffer.borrow_mut(), true, context)).await;
}
