//! A connection: moves bytes between a stream and the broker.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use mqtt_sansio::broker::ConnectionId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tracing::debug;

use crate::access::Identity;
use crate::driver::{Driver, Opened};
use crate::linger::{self, Linger};

/// The number of pieces in one write.
const PIECES: usize = 64;

/// The number of reads in a row, after which other tasks have their turn.
const TURNS: usize = 16;

/// A stream and its connection.
struct Connection<S> {
    driver: Rc<Driver>,
    id: ConnectionId,
    stream: S,
    /// Received bytes that the broker has not taken, usually the beginning of a packet.
    rest: Vec<u8>,
    /// Whether anything was written: otherwise closing the stream cannot lose anything.
    has_written: bool,
    /// Whether writing has failed for good.
    is_lost: bool,
    /// How long input is still read after writing has failed.
    farewell: Option<Pin<Box<Sleep>>>,
    /// The closing of the stream, once the connection is over.
    linger: Option<Linger>,
}

/// The reason why no more bytes are moved.
enum End {
    /// The connection is over, and the stream is closed as far as possible.
    Over,
    /// The client has closed the stream.
    Closed,
}

/// Moves bytes until the connection or the stream has ended.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    driver: Rc<Driver>,
    stream: S,
    address: SocketAddr,
    identity: Identity,
) {
    let opened = Opened::new(Rc::clone(&driver), address, identity);
    let id = opened.id();
    let mut connection = Connection {
        driver: Rc::clone(&driver),
        id,
        stream,
        rest: Vec::new(),
        has_written: false,
        is_lost: false,
        farewell: None,
        linger: None,
    };
    match std::future::poll_fn(|context| connection.poll(context)).await {
        Ok(End::Over) => return,
        Ok(End::Closed) => {}
        Err(error) => debug!(%id, %error, "the transport was lost"),
    }
    // The broker is told at once. TLS and WebSocket may still have output: an alert, or a CLOSE frame.
    driver.detach(id);
    if !connection.is_lost {
        linger::close(&mut connection.stream, &driver.buffer).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Writes and reads until the stream is not ready for more. Ready when the connection or stream has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<End>> {
        self.driver.wait(self.id, context);
        for _ in 0..TURNS {
            let is_written = self.poll_write(context).is_ready();
            // For other connections that the last read, or the writing, has made ready.
            self.driver.wake(Some(self.id));
            if self.driver.broker.borrow().is_over(self.id) {
                return self.poll_end(context, is_written).map(|()| Ok(End::Over));
            }
            if self.is_lost && self.poll_farewell(context).is_ready() {
                return Poll::Ready(Ok(End::Closed));
            }
            if !self.rest.is_empty() && self.take_rest() {
                continue;
            }
            if !self.driver.broker.borrow().takes_input(self.id) {
                return Poll::Pending;
            }
            if !ready!(self.poll_read(context))? {
                return Poll::Ready(Ok(End::Closed));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Closes the stream of a connection that is over, once its output is written or a timeout has passed.
    fn poll_end(&mut self, context: &mut Context<'_>, is_written: bool) -> Poll<()> {
        if self.is_lost || (is_written && !self.has_written) {
            return Poll::Ready(());
        }
        self.rest = Vec::new();
        let driver = Rc::clone(&self.driver);
        let linger = self.linger.get_or_insert_with(Linger::new);
        linger.poll(&mut self.stream, &mut driver.buffer.borrow_mut(), is_written, context)
    }

    /// Ends the time for which input is still read after writing has failed.
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(linger::PATIENCE)));
        farewell.as_mut().poll(context)
    }

    /// Writes the output; pending if the stream takes no more for now.
    ///
    /// A write error does not end the connection: packets that the client has sent before, such as DISCONNECT, can
    /// still be read. The output is then discarded, so that it does not stop the input.
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
            // A single piece, which is the usual case, costs the system less than a list of one.
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
            self.has_written = true;
        }
    }

    /// Reads once, and gives the bytes to the broker. Returns false at the end of the stream.
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

    /// Gives the broker the bytes that it has not taken. Returns whether it takes some of them now.
    fn take_rest(&mut self) -> bool {
        let mut input = &self.rest[..];
        self.driver.broker.borrow_mut().receive(self.driver.now(), self.id, &mut input);
        let taken = self.rest.len() - input.len();
        self.rest.drain(..taken);
        if self.rest.is_empty() {
            self.rest = Vec::new(); // an idle connection has no buffer
        }
        taken != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use mqtt_sansio::broker::{Broker, BrokerConfig};
    use tokio::task::LocalSet;

    use super::*;
    use crate::access::{Access, Rights};

    /// A CONNECT of 3.1.1 with a will.
    const CONNECT: &[u8] = b"\x10\x14\x00\x04MQTT\x04\x06\x00\x3c\x00\x01c\x00\x01w\x00\x02!!";
    const DISCONNECT: &[u8] = b"\xe0\x00";

    /// The result of a read after the scripted bytes.
    #[derive(Clone, Copy)]
    enum After {
        End,
        Panic,
    }

    /// A stream whose writes fail or succeed, with scripted bytes to read.
    struct Scripted {
        input: VecDeque<&'static [u8]>,
        is_broken: bool,
        after: After,
    }

    impl AsyncRead for Scripted {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match (self.input.pop_front(), self.after) {
                (Some(input), _) => buffer.put_slice(input),
                (None, After::End) => {}
                (None, After::Panic) => panic!("a fault of the transport"),
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Scripted {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(if self.is_broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) })
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Runs a connection over a scripted stream in a task of its own. Returns whether it has panicked.
    fn has_panicked(driver: &Rc<Driver>, stream: Scripted) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = run(Rc::clone(driver), stream, address, Identity::Unproven);
        runtime.block_on(LocalSet::new().run_until(async { tokio::task::spawn_local(connection).await.is_err() }))
    }

    fn driver() -> Rc<Driver> {
        Rc::new(Driver::new(Broker::new(BrokerConfig::default(), Access::new(Rights::default()).0)))
    }

    #[test]
    fn a_disconnect_is_read_after_a_write_has_failed() {
        for (input, wills) in [(vec![CONNECT, DISCONNECT], 0), (vec![CONNECT, &DISCONNECT[..1]], 1), (vec![CONNECT], 1)]
        {
            let driver = driver();
            let stream = Scripted { input: input.iter().copied().collect(), is_broken: true, after: After::End };
            assert!(!has_panicked(&driver, stream));
            assert_eq!(driver.broker.borrow().counters().wills, wills, "{input:?}");
            assert_eq!(driver.broker.borrow().status().connections, 0, "{input:?}");
        }
    }

    #[test]
    fn a_panic_ends_one_connection_only() {
        let driver = driver();
        let stream = Scripted { input: [CONNECT].into(), is_broken: false, after: After::Panic };
        assert!(has_panicked(&driver, stream));
        assert_eq!(driver.broker.borrow().status().connections, 0, "the broker knows that the connection is gone");
        assert_eq!(driver.broker.borrow().counters().wills, 1, "the will is published");
        assert_eq!(driver.streams(), 0);
        let stream = Scripted { input: [CONNECT, DISCONNECT].into(), is_broken: false, after: After::End };
        assert!(!has_panicked(&driver, stream), "others go on");
        assert_eq!(driver.broker.borrow().counters().clients_accepted, 2);
    }
}
