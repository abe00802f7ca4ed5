//! Connects a session with a socket, a clock and a task.
//!
//! One thread alone uses the session. Other threads wait for input, send it through a channel, and wake that thread.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::{Buf, BytesMut};
use mqtt_sansio::client::{Action, ClientSession, Close, Connected};
use mqtt_sansio::codec::Disconnect;
use mqtt_sansio::{DisconnectError, Instant, Outcome, ReceivedMessage, StdClock, Token, Transmit};

use crate::arguments::ConnectionArguments;
use crate::other_protocol::{OtherProtocol, RECOGNISABLE};
use crate::store::Store;
use crate::text::log;

/// The work of a client. After an error the client disconnects with DISCONNECT.
pub(crate) trait Task {
    /// Gives the client its next commands. A task with later commands wakes this thread with `unpark`.
    fn advance(&mut self, now: Instant, client: &mut ClientSession) -> Result<()>;
    /// Handles a new connection.
    fn connected(&mut self, now: Instant, client: &mut ClientSession, connected: &Connected<'_>) -> Result<()>;
    fn message(&mut self, message: &ReceivedMessage<'_>) -> Result<()>;
    fn done(&mut self, token: Token, outcome: &Outcome<'_>) -> Result<()>;
    /// Returns whether the client may disconnect.
    fn is_done(&self) -> bool;
}

/// How a connection has ended.
enum End {
    /// The client has disconnected as requested.
    Left,
    /// The connection was lost. A new one may succeed.
    Lost(String),
    /// The connection was closed. A new one would end in the same way.
    Final(String),
}

/// Keeps a client connected until its task is done, or until it is asked to leave.
pub(crate) struct Driver<'a, T> {
    arguments: &'a ConnectionArguments,
    client: &'a mut ClientSession,
    /// Where the session is stored, if it is durable.
    store: Option<&'a mut Store>,
    task: &'a mut T,
    /// Set by another thread, which then wakes this one with `unpark`.
    leave: &'a AtomicBool,
    clock: StdClock,
}

impl<'a, T: Task> Driver<'a, T> {
    pub(crate) fn new(
        arguments: &'a ConnectionArguments,
        client: &'a mut ClientSession,
        store: Option<&'a mut Store>,
        task: &'a mut T,
        leave: &'a AtomicBool,
    ) -> Self {
        Self { arguments, client, store, task, leave, clock: StdClock::new() }
    }

    /// Opens one connection after another, until no further one is needed.
    ///
    /// # Errors
    ///
    /// The reason why the task could not be completed.
    pub(crate) fn run(mut self) -> Result<()> {
        loop {
            self.pause(self.client.backoff()); // zero before the first connection
            if self.has_to_leave() {
                return Ok(());
            }
            // CONNECT is written before there is a socket: an attempt that fails earlier counts as a failure.
            self.client.open(self.clock.now())?;
            let end = self.converse();
            let was_done = self.task.is_done();
            self.client.closed(self.clock.now());
            self.take_actions(&mut &[][..])?; // outcomes caused by the end of the connection
            if end.is_ok() {
                self.commit()?;
            }
            match end? {
                End::Left => return Ok(()),
                End::Lost(_) if was_done || self.has_to_leave() => return Ok(()),
                // The task is done because all its operations were lost: this is the reason.
                End::Lost(why) if self.task.is_done() => {
                    log(format_args!("{why}"));
                    return Ok(());
                }
                End::Lost(why) if self.arguments.reconnect => log(format_args!("{why}; connecting again")),
                End::Lost(why) | End::Final(why) => bail!(why),
            }
        }
    }

    fn has_to_leave(&self) -> bool {
        self.leave.load(Ordering::Acquire)
    }

    /// Waits before the next connection.
    fn pause(&self, duration: Duration) {
        let end = self.clock.now() + duration;
        while !self.has_to_leave() && self.clock.now() < end {
            thread::park_timeout(self.clock.until(end));
        }
    }

    /// Runs one connection from its beginning to its end.
    fn converse(&mut self) -> Result<End> {
        let address = self.arguments.address();
        let mut link = match self.connect() {
            None => return Ok(End::Left), // no byte was sent to the server
            Some(Ok(link)) => link,
            Some(Err(error)) => return Ok(End::Lost(format!("{address}: {error}"))),
        };
        let end = self.exchange(&mut link);
        if end.is_err() {
            // The program gives up, and not the network: without DISCONNECT the will would be published.
            let _ = self.client.disconnect(self.clock.now(), &Disconnect::default());
            let _ = link.write(self.client.transmit());
        }
        if !matches!(end, Ok(End::Lost(_))) {
            link.finish(&self.clock);
        }
        let end = end?;
        if matches!(end, End::Left) {
            return Ok(end);
        }
        Ok(match (OtherProtocol::recognise(&link.first), end) {
            (Some(other), _) => End::Final(wrong_port(&address, &other)),
            (None, End::Lost(why)) if link.first.is_empty() => {
                End::Lost(format!("{address}: {why}. Nothing was received: is this a port for MQTT without TLS?"))
            }
            (None, end) => end,
        })
    }

    /// Connects to the server. `None` if this client is asked to leave before that is done.
    ///
    /// Another thread connects, because waiting for a name server or a silent host cannot be interrupted.
    fn connect(&self) -> Option<io::Result<Link>> {
        let patience = self.client.deadline().map_or(Duration::from_secs(30), |deadline| self.clock.until(deadline));
        let (host, port) = (self.arguments.host.clone(), self.arguments.port);
        let (sender, receiver) = sync_channel(1);
        let waiting = thread::current();
        thread::spawn(move || {
            let _ = sender.send(connect(&host, port, patience)); // ignored if this client leaves
            waiting.unpark();
        });
        loop {
            match receiver.try_recv() {
                Ok(connected) => return Some(connected.and_then(Link::new)),
                Err(TryRecvError::Disconnected) => return Some(Err(ErrorKind::Other.into())),
                Err(TryRecvError::Empty) if self.has_to_leave() => return None,
                Err(TryRecvError::Empty) => thread::park(),
            }
        }
    }

    /// Runs the task, writes, reads and waits, until the connection has ended.
    fn exchange(&mut self, link: &mut Link) -> Result<End> {
        let mut is_writable = true;
        loop {
            self.task.advance(self.clock.now(), self.client)?;
            let mut rest = &link.input[..];
            let end = self.take_actions(&mut rest);
            let used = link.input.len() - rest.len();
            link.input.advance(used);
            let end = end?;
            self.commit()?; // before what depends on it is written
            if is_writable && link.write(self.client.transmit()).is_err() {
                // The reader will notice as well, but it first reads bytes that the server has sent before, perhaps
                // with the reason.
                is_writable = false;
            }
            if let Some(end) = end {
                return Ok(end); // DISCONNECT, and acknowledgements before it, were written
            }
            let has_more = self.client.transmit().has_remaining();
            // A client that takes no input, because too much output waits, is given no more.
            let piece = if link.input.len() > 2 * PIECE && has_more {
                Err(TryRecvError::Empty)
            } else {
                link.received.try_recv()
            };
            match piece {
                Ok(Ok(piece)) => {
                    link.receive(&piece);
                    if OtherProtocol::recognise(&link.first).is_some() {
                        return Ok(End::Final("the answer is not MQTT".into())); // `converse` finds a better reason
                    }
                }
                Ok(Err(error)) => return Ok(End::Lost(error.to_string())),
                // A server that takes no output may be waiting for this client to read. `write` has waited for a
                // second.
                Err(TryRecvError::Empty) if is_writable && has_more => {}
                Err(TryRecvError::Empty) => wait(&self.clock, self.client.deadline()),
                Err(TryRecvError::Disconnected) => return Ok(End::Lost("nobody reads any more".into())),
            }
        }
    }

    /// Stores the changes of the session, if it is durable.
    fn commit(&mut self) -> Result<()> {
        match &mut self.store {
            Some(store) => store.commit(self.client, self.clock.now()),
            None => Ok(()),
        }
    }

    /// Handles the client's actions on received bytes and on the time.
    fn take_actions(&mut self, input: &mut &[u8]) -> Result<Option<End>> {
        loop {
            if self.has_to_leave() || (self.task.is_done() && self.client.is_connected()) {
                // Messages received after DISCONNECT are not acknowledged, and stay with the server.
                match self.client.disconnect(self.clock.now(), &Disconnect::default()) {
                    Ok(()) | Err(DisconnectError::NotConnected) => {} // or the connection has ended
                    Err(error) => return Err(error.into()),
                }
            }
            let Some(action) = self.client.poll(self.clock.now(), input) else { return Ok(None) };
            match action {
                Action::Connected(connected) => {
                    log(format_args!("connected: {} session", connected.session));
                    self.task.connected(self.clock.now(), self.client, &connected)?;
                }
                Action::Message(message) => self.task.message(&message)?,
                Action::Done { token, outcome } => self.task.done(token, &outcome)?,
                Action::Close(Close::Requested) => return Ok(Some(End::Left)),
                Action::Close(why) if why.may_retry() => return Ok(Some(End::Lost(why.to_string()))),
                Action::Close(why) => return Ok(Some(End::Final(why.to_string()))),
                _ => {} // no AUTH without an authentication method
            }
        }
    }
}

/// The message for a port of another protocol.
fn wrong_port(address: &str, other: &OtherProtocol) -> String {
    match other {
        OtherProtocol::Tls => format!(
            "{address}: this looks like a TLS port: the answer is a TLS record and not an MQTT packet. This client \
             speaks MQTT without TLS; the usual port for that is 1883"
        ),
        OtherProtocol::Http(line) => format!(
            "{address}: this looks like an HTTP port: the answer is {line:?}. This client speaks MQTT over TCP and not \
             over WebSocket; the usual port for that is 1883"
        ),
        OtherProtocol::Text(line) => format!("{address}: this is not an MQTT port: the answer is {line:?}"),
    }
}

fn connect(host: &str, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let mut result = Err(ErrorKind::AddrNotAvailable.into());
    for address in (host, port).to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, patience);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The size of a read.
const PIECE: usize = 16 * 1024;

/// A socket and the bytes received from it.
struct Link {
    socket: TcpStream,
    received: Receiver<io::Result<Vec<u8>>>,
    /// Bytes that the client has not taken.
    input: BytesMut,
    /// The first bytes of the connection, for [`OtherProtocol::recognise`].
    first: Vec<u8>,
}

impl Link {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?; // the client coalesces its output
        socket.set_write_timeout(Some(Duration::from_secs(1)))?; // see `exchange`
        let received = read_in_background(socket.try_clone()?);
        Ok(Self { socket, received, input: BytesMut::new(), first: Vec::new() })
    }

    fn receive(&mut self, piece: &[u8]) {
        self.note_first(piece);
        self.input.extend_from_slice(piece);
    }

    fn note_first(&mut self, piece: &[u8]) {
        let room = RECOGNISABLE.saturating_sub(self.first.len());
        self.first.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    /// Writes all output, or less if the server takes nothing for as long as the write timeout of the socket.
    fn write(&mut self, transmit: &mut Transmit) -> io::Result<()> {
        while transmit.has_remaining() {
            let mut chunks = [IoSlice::new(&[]); 16];
            let count = transmit.chunks_vectored(&mut chunks);
            match self.socket.write_vectored(&chunks[..count]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => transmit.advance(written),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => break,
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Stops writing, and waits a short time for the server to close.
    ///
    /// Closing a socket with unread input resets the connection, and DISCONNECT might never be read.
    fn finish(&mut self, clock: &StdClock) {
        let patience = clock.now() + Duration::from_secs(1);
        let _ = self.socket.shutdown(Shutdown::Write);
        while clock.now() < patience
            && let Ok(Ok(piece)) = self.received.recv_timeout(clock.until(patience))
        {
            self.note_first(&piece);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both); // lets the reading thread end as well
    }
}

/// Reads for the calling thread, and wakes it for each piece. The last piece is an error, also at the end of the
/// stream.
///
/// Few pieces are buffered: if they are not taken, the reading stops, and so does the server after a while.
fn read_in_background(mut socket: TcpStream) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(4);
    let reader = thread::current();
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match socket.read(&mut buffer) {
                Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server has closed the connection")),
                Ok(count) => Ok(buffer[..count].to_vec()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = piece.is_err();
            if sender.send(piece).is_err() || is_last {
                break;
            }
            reader.unpark();
        }
        reader.unpark();
    });
    receiver
}

/// Sleeps until the deadline, or until this thread is woken.
fn wait(clock: &StdClock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => thread::park_timeout(clock.until(deadline)),
        None => thread::park(),
    }
}
