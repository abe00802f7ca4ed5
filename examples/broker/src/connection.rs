//! A connection: moves bytes between a stream and the broker.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use mqtt_sansio::broker::ConnectionId;
use mqtt_sansio::codec::DisconnectReasonCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::access::{PasswordCheck, Peer};
use crate::checks::QueuePosition;
use crate::driver::{Driver, Opened, READ};
use crate::linger::{self, Linger};
use crate::origin::{Guest, Principal, Stage};
use crate::rate::Meter;
use crate::throttle::Throttle;

/// Maximum number of pieces in one write.
const PIECES: usize = 64;

/// Maximum number of bytes that are written in one turn.
const WRITE: usize = 128 * 1024;

/// Maximum number of reads in one turn. The second one usually finds nothing.
const READS: usize = 2;

/// A stream of bytes that carries MQTT.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Ends the limits of the protocols below MQTT, because the client is accepted, or because the stream is being closed: that
    /// has limits of its own.
    fn lift_limits(&mut self) {}
}

impl Stream for TcpStream {}

impl Stream for TlsStream<Throttle<TcpStream>> {
    fn lift_limits(&mut self) {
        self.get_mut().0.lift_limits();
    }
}

/// A stream and its connection.
struct Connection<S> {
    driver: Rc<Driver>,
    id: ConnectionId,
    stream: S,
    guest: Guest,
    /// Received bytes that the broker has not taken, usually the beginning of a packet.
    rest: Vec<u8>,
    /// The rate limit of the client, if there is one.
    held: Option<Box<HeldBack>>,
    /// The password of the client, until the check begins.
    check: Option<Box<Queued>>,
    /// Whether anything was written. Otherwise nothing can be lost when the stream is closed.
    has_written: bool,
    /// Whether writing has failed for good.
    is_lost: bool,
    /// The time for which input is still read after writing has failed.
    farewell: Option<Pin<Box<Sleep>>>,
    /// The closing of the stream, once the connection is over.
    linger: Option<Linger>,
}

/// The input that a rate limit holds back.
struct HeldBack {
    meter: Meter,
    /// Number of bytes at the start of [`Connection::rest`] that are released.
    released: usize,
    more: Pin<Box<Sleep>>,
}

/// A password whose check has not begun.
struct Queued {
    check: Box<PasswordCheck>,
    position: QueuePosition,
    give_up: Pin<Box<Sleep>>,
}

/// The reason why the connection moves no more bytes.
enum End {
    /// The connection is over, and the stream is closed as far as possible.
    Over,
    /// The client has closed the stream.
    Closed,
}

/// The result of writing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// All output is written.
    All,
    /// The stream takes no more for now.
    Blocked,
    /// There is more output, which has to wait for another turn.
    Enough,
}

/// The result of a step of a turn.
enum Step {
    /// The connection may have more to do.
    Again,
    /// The connection has nothing to do until its task is woken.
    Wait,
    End(End),
}

/// Returns the pieces that fit into a number of bytes, and at least the first one.
fn within<'a, 'b>(pieces: &'a [io::IoSlice<'b>], mut room: usize) -> &'a [io::IoSlice<'b>] {
    let fits = |piece: &&io::IoSlice<'_>| {
        let left = room.checked_sub(piece.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    let count = pieces.iter().take_while(fits).count();
    &pieces[..count.max(1).min(pieces.len())]
}

/// Moves bytes until the connection or the stream has ended.
pub(crate) async fn run<S: Stream>(driver: Rc<Driver>, stream: S, guest: Guest, peer: Peer) {
    let opened = Opened::new(Rc::clone(&driver), peer);
    let id = opened.id();
    let held = driver
        .meter()
        .map(|meter| Box::new(HeldBack { meter, released: 0, more: Box::pin(tokio::time::sleep(Duration::ZERO)) }));
    let mut connection = Connection {
        driver: Rc::clone(&driver),
        id,
        stream,
        guest,
        rest: Vec::new(),
        held,
        check: None,
        has_written: false,
        is_lost: false,
        farewell: None,
        linger: None,
    };
    match poll_fn(|context| connection.poll(context)).await {
        Ok(End::Over) => return,
        Ok(End::Closed) => {}
        Err(error) => debug!(%id, %error, "the transport was lost"),
    }
    // The broker is informed at once. TLS and WebSocket may still have output: an alert, or a CLOSE frame.
    driver.detach(id);
    connection.rest = Vec::new();
    connection.check = None;
    if !connection.is_lost {
        let room = connection.may_discard();
        connection.stream.lift_limits();
        linger::close(&mut connection.stream, &driver.buffer, room).await;
    }
}

impl<S: Stream> Connection<S> {
    /// Runs one turn, which writes and reads a bounded number of bytes. Ready when the connection or the stream has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<End>> {
        let mut room = READ;
        for _ in 0..READS {
            match self.step(context, &mut room)? {
                Step::Again => {}
                Step::Wait => return Poll::Pending,
                Step::End(end) => return Poll::Ready(Ok(end)),
            }
        }
        // Others have their turns first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes, and reads at most `room` bytes.
    fn step(&mut self, context: &mut Context<'_>, room: &mut usize) -> io::Result<Step> {
        let written = self.write(context);
        // The last read, or the write, may have made other connections ready.
        self.driver.wake(Some(self.id));
        if written == Written::Enough {
            context.waker().wake_by_ref();
        }
        if self.driver.broker.borrow().is_over(self.id) {
            self.check = None;
            return Ok(match self.poll_end(context, written) {
                Poll::Ready(()) => Step::End(End::Over),
                Poll::Pending => Step::Wait,
            });
        }
        if !self.guest.is_accepted() {
            self.look_after_newcomer(context);
        }
        if self.is_lost && self.poll_farewell(context).is_ready() {
            return Ok(Step::End(End::Closed));
        }
        if !self.driver.broker.borrow().takes_input(self.id) {
            return self.await_check(context);
        }
        if !self.rest.is_empty() {
            if self.take_rest() {
                return Ok(Step::Again);
            }
            if self.is_held_back(context) {
                return Ok(Step::Wait);
            }
        }
        if *room == 0 {
            return Ok(Step::Again);
        }
        match self.poll_read(context, room) {
            Poll::Ready(Ok(true)) => Ok(Step::Again),
            Poll::Ready(Ok(false)) => Ok(Step::End(End::Closed)),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Step::Wait),
        }
    }

    /// Looks after a connection without an accepted client: its limits, and the check of the password.
    fn look_after_newcomer(&mut self, context: &mut Context<'_>) {
        let origin = self.guest.origin();
        let broker = self.driver.broker.borrow();
        if broker.client_id(self.id).is_some() {
            self.guest.advance(Stage::Accepted);
            self.stream.lift_limits();
            if let Some(user) = broker.policy().user(self.id) {
                self.driver.belongs_to(Principal::User(Rc::clone(user)));
            }
            return;
        }
        drop(broker);
        let check = self.driver.broker.borrow_mut().policy_mut().take_check(self.id);
        if let Some(check) = check {
            let checks = &self.driver.checks;
            let give_up = Box::pin(tokio::time::sleep(checks.max_wait()));
            self.check = Some(Box::new(Queued { check, position: checks.enqueue(origin), give_up }));
            self.count_rest();
        }
        let Some(queued) = &mut self.check else { return };
        if let Poll::Ready(turn) = queued.position.poll(context) {
            if let Some(queued) = self.check.take() {
                self.driver.check_password(*queued.check, Principal::Origin(origin), turn);
            }
        } else if queued.give_up.as_mut().poll(context).is_ready() {
            let id = queued.check.id;
            self.check = None;
            self.driver.give_up_check(id);
        }
    }

    /// Waits while the broker takes no input. If the reason is a password that waits to be checked, some input is read
    /// nevertheless, in order to detect that the client has left.
    fn await_check(&mut self, context: &mut Context<'_>) -> io::Result<Step> {
        let mut room = READ.saturating_sub(self.rest.len());
        if self.check.is_none() || room == 0 {
            return Ok(Step::Wait);
        }
        let driver = Rc::clone(&self.driver);
        let mut buffer = driver.buffer.borrow_mut();
        match self.poll_fill(context, &mut buffer, &mut room) {
            Poll::Ready(Ok([])) => Ok(Step::End(End::Closed)),
            Poll::Ready(Ok(read)) => {
                self.rest.extend_from_slice(read);
                self.count_rest();
                Ok(Step::Again)
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Step::Wait),
        }
    }

    /// Returns whether the bytes that were read have to wait because of the rate limit.
    fn is_held_back(&mut self, context: &mut Context<'_>) -> bool {
        let Some(held) = &mut self.held else { return false };
        if held.released == self.rest.len() {
            return false;
        }
        held.more.set(self.driver.sleep_until(held.meter.next()));
        if held.more.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        true
    }

    /// Returns the maximum number of bytes of the client that are discarded while the stream is being closed.
    fn may_discard(&self) -> usize {
        if self.guest.is_accepted() { linger::LARGEST_PACKET } else { linger::STRANGER }
    }

    /// Closes the stream of a connection that is over, once its output is written or a timeout has passed.
    fn poll_end(&mut self, context: &mut Context<'_>, written: Written) -> Poll<()> {
        let is_written = written == Written::All;
        if self.is_lost || (is_written && !self.has_written) {
            return Poll::Ready(());
        }
        self.rest = Vec::new();
        let driver = Rc::clone(&self.driver);
        let room = self.may_discard();
        let stream = &mut self.stream;
        let linger = self.linger.get_or_insert_with(|| {
            stream.lift_limits();
            Linger::new(room)
        });
        linger.poll(stream, &mut driver.buffer.borrow_mut(), is_written, context)
    }

    /// Ends the time for which input is still read after writing has failed.
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(linger::PATIENCE)));
        farewell.as_mut().poll(context)
    }

    /// Writes the output, as far as the stream takes it and one turn allows.
    ///
    /// A write error does not end the connection: packets that the client has sent before, such as DISCONNECT, can still be
    /// read. The output is then discarded, so that it does not stop the input.
    fn write(&mut self, context: &mut Context<'_>) -> Written {
        if !self.is_lost {
            match self.poll_write_pieces(context) {
                Poll::Ready(Ok(written)) => return written,
                Poll::Ready(Err(error)) => debug!(id = %self.id, %error, "the stream takes no more output"),
                Poll::Pending => return Written::Blocked,
            }
            self.is_lost = true;
        }
        let mut broker = self.driver.broker.borrow_mut();
        let mut discarded = 0;
        while let count @ 1.. = broker.transmit(self.id).remaining() {
            if discarded > WRITE {
                return Written::Enough;
            }
            broker.transmit(self.id).advance(count);
            discarded += count;
        }
        Written::All
    }

    fn poll_write_pieces(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Written>> {
        let mut broker = self.driver.broker.borrow_mut();
        let mut count = 0;
        loop {
            let transmit = broker.transmit(self.id);
            if !transmit.has_remaining() {
                ready!(Pin::new(&mut self.stream).poll_flush(context))?;
                return Poll::Ready(Ok(Written::All));
            }
            if count >= WRITE {
                return Poll::Ready(Ok(Written::Enough));
            }
            let stream = Pin::new(&mut self.stream);
            // A single piece, which is the usual case, costs the system less than a list of one.
            let (chunk, room) = (transmit.chunk(), WRITE - count);
            let written = if chunk.len() == transmit.remaining() || chunk.len() >= room {
                ready!(stream.poll_write(context, &chunk[..chunk.len().min(room)]))?
            } else {
                let mut pieces = [io::IoSlice::new(&[]); PIECES];
                let found = transmit.chunks_vectored(&mut pieces);
                ready!(stream.poll_write_vectored(context, within(&pieces[..found], room)))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            transmit.advance(written);
            count += written;
            self.has_written = true;
        }
    }

    /// Reads once, and gives the bytes to the broker. Returns false at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>, room: &mut usize) -> Poll<io::Result<bool>> {
        let driver = Rc::clone(&self.driver);
        let mut buffer = driver.buffer.borrow_mut();
        let read = ready!(self.poll_fill(context, &mut buffer, room))?;
        if read.is_empty() {
            return Poll::Ready(Ok(false));
        }
        if self.rest.is_empty() && self.held.is_none() {
            let mut input = read;
            driver.broker.borrow_mut().receive(driver.now(), self.id, &mut input);
            if !input.is_empty() {
                self.rest.extend_from_slice(input);
                self.count_rest();
            }
        } else {
            self.rest.extend_from_slice(read);
            self.take_rest();
        }
        Poll::Ready(Ok(true))
    }

    /// Reads at most `room` bytes into a buffer. Returns an empty slice at the end of the stream.
    fn poll_fill<'b>(
        &mut self,
        context: &mut Context<'_>,
        buffer: &'b mut [u8],
        room: &mut usize,
    ) -> Poll<io::Result<&'b [u8]>> {
        let size = buffer.len().min(*room);
        let mut read = ReadBuf::new(&mut buffer[..size]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        let count = read.filled().len();
        *room -= count;
        Poll::Ready(Ok(&buffer[..count]))
    }

    /// Passes the released part of `rest` to the broker. Returns whether the broker has taken some of these bytes.
    fn take_rest(&mut self) -> bool {
        let now = self.driver.now();
        let size = match &mut self.held {
            None => self.rest.len(),
            Some(held) => {
                held.released += held.meter.release(now, &self.rest[held.released..]);
                held.released
            }
        };
        let mut input = &self.rest[..size];
        if input.is_empty() {
            return false;
        }
        self.driver.broker.borrow_mut().receive(now, self.id, &mut input);
        let taken = size - input.len();
        self.rest.drain(..taken);
        if let Some(held) = &mut self.held {
            held.released -= taken;
        }
        if self.rest.is_empty() {
            self.rest = Vec::new(); // an idle connection has no buffer
        }
        self.count_rest();
        taken != 0
    }

    /// Counts the bytes that wait for the rest of their packet, or for the check of a password. A client whose origin holds more
    /// than its share is disconnected.
    fn count_rest(&mut self) {
        let password = self.check.as_ref().map_or(0, |queued| queued.check.password.capacity());
        if !self.guest.hold(self.rest.capacity() + password) {
            let now = self.driver.now();
            self.driver.broker.borrow_mut().disconnect(now, self.id, DisconnectReasonCode::QuotaExceeded);
            self.driver.wake(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::net::SocketAddr;

    use mqtt_sansio::StdClock;
    use mqtt_sansio::broker::{Broker, BrokerConfig};
    use mqtt_sansio::server::ServerConfig;
    use tokio::task::LocalSet;

    use super::*;
    use crate::access::{Access, Identity, Rights};
    use crate::tests::{limits, with};

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
        /// The sizes of the writes.
        writes: Rc<RefCell<Vec<usize>>>,
    }

    impl Scripted {
        fn new(input: &[&'static [u8]], after: After) -> Self {
            Self { input: input.iter().copied().collect(), is_broken: false, after, writes: Rc::default() }
        }
    }

    impl AsyncRead for Scripted {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match (self.input.pop_front(), self.after) {
                (Some(input), _) => {
                    let (now, later) = input.split_at(input.len().min(buffer.remaining()));
                    buffer.put_slice(now);
                    if !later.is_empty() {
                        self.input.push_front(later);
                    }
                }
                (None, After::End) => {}
                (None, After::Panic) => panic!("a fault of the transport"),
            }
            Poll::Ready(Ok(()))
        }
    }

    impl Stream for Scripted {}

    impl AsyncWrite for Scripted {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let size = pieces.iter().map(|piece| piece.len()).sum();
            self.writes.borrow_mut().push(size);
            Poll::Ready(Ok(size))
        }

        fn is_write_vectored(&self) -> bool {
            true
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
        let guest = driver.origins.enter(address.ip(), Stage::Connecting).unwrap();
        let connection = run(Rc::clone(driver), stream, guest, Peer::new(address, Identity::Unproven));
        runtime.block_on(LocalSet::new().run_until(async { tokio::task::spawn_local(connection).await.is_err() }))
    }

    fn driver() -> Rc<Driver> {
        let broker = Broker::new(BrokerConfig::default(), Access::new(Rights::default()));
        Rc::new(Driver::new(broker, limits(), StdClock::new()))
    }

    #[test]
    fn a_disconnect_is_read_after_a_write_has_failed() {
        for (input, wills) in [(vec![CONNECT, DISCONNECT], 0), (vec![CONNECT, &DISCONNECT[..1]], 1), (vec![CONNECT], 1)]
        {
            let driver = driver();
            let stream = Scripted { is_broken: true, ..Scripted::new(&input, After::End) };
            assert!(!has_panicked(&driver, stream));
            assert_eq!(driver.broker.borrow().counters().wills, wills, "{input:?}");
            assert_eq!(driver.broker.borrow().status().connections, 0, "{input:?}");
        }
    }

    /// The stream would take a large message at once, which takes the system milliseconds to copy.
    #[test]
    fn a_write_is_limited_however_large_a_message_is() {
        const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01t\0";
        // A message of 1 MiB.
        const HEADER: &[u8] = b"\x30\x83\x80\x40\0\x01t";
        const PAYLOAD: &[u8] = &[b'x'; 1 << 16];
        let input = [&[CONNECT, SUBSCRIBE, HEADER][..], &[PAYLOAD; 16]].concat();
        let stream = Scripted::new(&input, After::End);
        let writes = Rc::clone(&stream.writes);
        with(ServerConfig::default(), Rights::default(), async |driver| {
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            let guest = driver.origins.enter(address.ip(), Stage::Connecting).unwrap();
            let peer = Peer::new(address, Identity::Unproven);
            driver.spawn(Principal::Origin(guest.origin()), run(Rc::clone(&driver), stream, guest, peer));
            while driver.origins.len() != 0 {
                tokio::task::yield_now().await;
            }
        });
        let writes = writes.borrow();
        assert!(writes.iter().sum::<usize>() > WRITE && writes.iter().all(|&size| size <= WRITE), "{writes:?}");
    }

    #[test]
    fn a_panic_ends_one_connection_only() {
        let driver = driver();
        let stream = Scripted::new(&[CONNECT], After::Panic);
        assert!(has_panicked(&driver, stream));
        assert_eq!(driver.broker.borrow().status().connections, 0, "the broker knows that the connection is gone");
        assert_eq!(driver.broker.borrow().counters().wills, 1, "the will is published");
        assert_eq!(driver.streams(), 0);
        let stream = Scripted::new(&[CONNECT, DISCONNECT], After::End);
        assert!(!has_panicked(&driver, stream), "others go on");
        assert_eq!(driver.broker.borrow().counters().clients_accepted, 2);
    }
}
