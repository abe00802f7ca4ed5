//! A connection: bytes from a stream to the broker, and back.

use std::io;
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

/// So long a connection that is over has for what is still to be written.
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
    /// When nobody waits any longer, once it is over.
    farewell: Option<Pin<Box<Sleep>>>,
}

/// Moves bytes until the connection is over, or the stream is.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(driver: Rc<Driver>, stream: S) {
    let id = driver.broker.borrow_mut().open(driver.now());
    let mut connection = Connection { driver: Rc::clone(&driver), id, stream, rest: Vec::new(), farewell: None };
    driver.wake(Some(id));
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
            let is_written = self.poll_write(context)?.is_ready();
            if self.driver.broker.borrow().is_over(self.id) {
                return self.poll_end(context, is_written);
            }
            if !self.rest.is_empty() && is_written {
                self.take_rest();
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
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        farewell.as_mut().poll(context).map(Ok)
    }

    /// Writes what there is; pending if the stream takes no more for now.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut broker = self.driver.broker.borrow_mut();
        loop {
            let transmit = broker.transmit(self.id);
            if !transmit.has_remaining() {
                return Pin::new(&mut self.stream).poll_flush(context);
            }
            let mut pieces = [io::IoSlice::new(&[]); PIECES];
            let count = transmit.chunks_vectored(&mut pieces);
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &pieces[..count]))?;
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
            driver.wake(Some(self.id));
        } else {
            self.rest.extend_from_slice(read);
            self.take_rest();
        }
        Poll::Ready(Ok(true))
    }

    /// Gives the broker again what it has not taken.
    fn take_rest(&mut self) {
        let mut input = &self.rest[..];
        self.driver.broker.borrow_mut().receive(self.driver.now(), self.id, &mut input);
        let taken = self.rest.len() - input.len();
        self.rest.drain(..taken);
        if self.rest.is_empty() {
            self.rest = Vec::new(); // an idle connection holds nothing
        }
        self.driver.wake(Some(self.id));
    }
}
