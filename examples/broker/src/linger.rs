//! How a stream is closed so that the peer gets the last bytes.
//!
//! A TCP connection that is closed while the peer still sends is reset, and what the peer has not read yet, a CONNACK or
//! DISCONNECT with the reason, is lost. So the sending half is shut down first, and what still comes is read and thrown
//! away until the peer has closed its half as well.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a peer has to take what is still to be written, and after that to close its half.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum number of bytes of an accepted client that are thrown away: the largest packet that there can be, as a client that
/// is told that its packet is too large may be in the middle of it.
pub(crate) const LARGEST_PACKET: usize = 256 << 20;

/// Maximum number of bytes of others that are thrown away.
pub(crate) const STRANGER: usize = 16 << 20;

/// A stream that is being closed.
pub(crate) struct Linger {
    is_shut: bool,
    has_ended: bool,
    /// How many bytes more are thrown away.
    room: usize,
    give_up: Pin<Box<Sleep>>,
}

impl Linger {
    /// Throws away as many bytes as there is room for.
    pub(crate) fn new(room: usize) -> Self {
        Self { is_shut: false, has_ended: false, room, give_up: Box::pin(tokio::time::sleep(PATIENCE)) }
    }

    /// Goes on with it: shuts the sending half down once all is written, reads what comes, and is ready when the peer has
    /// closed its half, or when that takes too long.
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
        // Also before all is written: a peer that only writes takes nothing until that is read.
        // One read is one turn.
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

    /// Reads something; false at the end of the stream.
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

/// Closes a stream to which nothing is to be written any more.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &std::cell::RefCell<Box<[u8]>>,
    room: usize,
) {
    let mut linger = Linger::new(room);
    poll_fn(|context| linger.poll(stream, &mut buffer.borrow_mut(), true, context)).await;
}
