//! A connection: bytes from a stream to the broker, and back.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use mqtt_sansio::broker::ConnectionId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tracing::debug;

use crate::driver::Driver;

/// As many pieces are written at a time.
const PIECES: usize = 64;

/// So long a connection that is over has for what is still to be written, and one that is lost for what is still to be read.
const FAREWELL: Duration = Duration::from_secs(5);

/// After so many reads in a row, others have their turn.
const TURNS: usize = 16;

/// A stream, and the connection that it is.
struct Connection<S> {
    driver: Rc<Driver>,
    id: ConnectionId,
    stream: S,
    /// What was read and not taken: the beginning of a packet, as a rule.
    rest: Vec<u8>,
    /// Whether nothing can be written any more.
    is_lost: bool,
    /// When nobody waits any longer, once it is over or lost.
    farewell: Option<Pin<Box<Sleep>>>,
}

/// Moves bytes until the connection is over, or the stream is.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(driver: Rc<Driver>, stream: S, address: SocketAddr) {
    let id = driver.open(address);
    let mut connection =
        Connection { driver: Rc::clone(&driver), id, stream, rest: Vec::new(), is_lost: false, farewell: None };
    if let Err(error) = std::future::poll_fn(|context| connection.poll(context)).await {
        debug!(%id, %error, "the transport was lost");
    }
    driver.closed(id);
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Writes and reads until the stream is not ready for more; done when it is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.driver.wait(self.id, context);
        for _ in 0..TURNS {
            let is_written = self.poll_write(context).is_ready();
            // After what was read in the last turn, and what has become possible by writing.
            self.driver.wake(Some(self.id));
            if self.driver.broker.borrow().is_over(self.id) {
                return self.poll_end(context, is_written);
            }
            if self.is_lost && self.poll_farewell(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if !self.rest.is_empty() && self.take_rest() {
                continue;
            }
            if !self.driver.broker.borrow().takes_input(self.id) {
                return Poll::Pending;
            }
            if !ready!(self.poll_read(context))? {
                return Poll::Ready(Ok(())); // the client has closed it
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends the stream when all is written, or after a while.
    fn poll_end(&mut self, context: &mut Context<'_>, is_written: bool) -> Poll<io::Result<()>> {
        if is_written && Pin::new(&mut self.stream).poll_shutdown(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_farewell(context).map(Ok)
    }

    /// Waits as long as anybody would.
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        farewell.as_mut().poll(context)
    }

    /// Writes what there is; pending if the stream takes no more for now.
    ///
    /// When it takes nothing ever again, that is not the end: what the client has said before can still be read, its
    /// DISCONNECT perhaps. What was to be written is thrown away then, so that it does not keep input from being taken.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_lost {
            match ready!(self.poll_write_pieces(context)) {
                Ok(()) => return Poll::Ready(()),
                Err(error) => debug!(id = %self.id, %error, "nothing can be written any more"),
            }
            self.is_lost = true;
        }
        let mut broker = self.driver.broker.borrow_mut();
        while let count @ 1.. = broker.transmit(self.id).remaining() {
            broker.transmit(self.id).advance(count);
        }
        Poll::Ready(())
    }

    fn poll_write_pieces(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut broker = self.driver.broker.borrow_mut();
        loop {
            let transmit = broker.transmit(self.id);
            if !transmit.has_remaining() {
                return Pin::new(&mut self.stream).poll_flush(context);
            }
            let stream = Pin::new(&mut self.stream);
            // One piece, as nearly always, costs the system less than a list of one.
            let written = if transmit.chunk().len() == transmit.remaining() {
                ready!(stream.poll_write(context, transmit.chunk()))?
            } else {
                let mut pieces = [io::IoSlice::new(&[]); PIECES];
                let count = transmit.chunks_vectored(&mut pieces);
                ready!(stream.poll_write_vectored(context, &pieces[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            transmit.advance(written);
        }
    }

    /// Reads something, and gives it to the broker; false at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let driver = Rc::clone(&self.driver);
        let mut buffer = driver.buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(false));
        }
        if self.rest.is_empty() {
            let mut input = read;
            driver.broker.borrow_mut().receive(driver.now(), self.id, &mut input);
            self.rest.extend_from_slice(input);
        } else {
            self.rest.extend_from_slice(read);
            self.take_rest();
        }
        Poll::Ready(Ok(true))
    }

    /// Gives the broker again what it has not taken; whether it takes some of it now.
    fn take_rest(&mut self) -> bool {
        let mut input = &self.rest[..];
        self.driver.broker.borrow_mut().receive(self.driver.now(), self.id, &mut input);
        let taken = self.rest.len() - input.len();
        self.rest.drain(..taken);
        if self.rest.is_empty() {
            self.rest = Vec::new(); // an idle connection holds nothing
        }
        taken != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use mqtt_sansio::broker::{Broker, BrokerConfig};

    use super::*;
    use crate::access::Access;

    /// CONNECT of 3.1.1, with a will.
    const CONNECT: &[u8] = b"\x10\x14\x00\x04MQTT\x04\x06\x00\x3c\x00\x01c\x00\x01w\x00\x02!!";
    const DISCONNECT: &[u8] = b"\xe0\x00";

    /// A stream that nobody listens to any more. What was said before is still to be read.
    struct Broken(VecDeque<&'static [u8]>);

    impl AsyncRead for Broken {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buffer.put_slice(self.0.pop_front().unwrap_or_default());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_disconnect_is_read_after_a_write_has_failed() {
        for (input, wills) in [(vec![CONNECT, DISCONNECT], 0), (vec![CONNECT, &DISCONNECT[..1]], 1), (vec![CONNECT], 1)]
        {
            let broker = Broker::new(BrokerConfig::default(), Access::new(None, None, Vec::new()));
            let driver = Rc::new(Driver::new(broker));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let stream = Broken(input.iter().copied().collect());
            runtime.block_on(run(Rc::clone(&driver), stream, SocketAddr::from(([127, 0, 0, 1], 1))));
            assert_eq!(driver.broker.borrow().counters().wills, wills, "{input:?}");
            assert_eq!(driver.broker.borrow().status().connections, 0, "{input:?}");
        }
    }
}
