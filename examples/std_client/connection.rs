//! Connects a session with a socket, a clock and a task.
//!
//! One thread alone uses the session. Two others read and write for it, and wake it, as further threads with work for it do.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use mqtt_sansio::client::{Action, ClientSession, Close, Connected};
use mqtt_sansio::codec::Disconnect;
use mqtt_sansio::{DisconnectError, Instant, Outcome, ReceivedMessage, StdClock, Token};
use mqtt_sansio_std::{FileStore, Link, Store};

use crate::arguments::ConnectionArguments;
use crate::other_protocol::{FirstBytes, OtherProtocol};
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
    store: Option<&'a mut FileStore>,
    task: &'a mut T,
    /// Set by another thread, which then wakes this one with `unpark`.
    leave: &'a AtomicBool,
    clock: StdClock,
}

impl<'a, T: Task> Driver<'a, T> {
    pub(crate) fn new(
        arguments: &'a ConnectionArguments,
        client: &'a mut ClientSession,
        store: Option<&'a mut FileStore>,
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
        let first = FirstBytes::default();
        let connected = match self.connect() {
            None => return Ok(End::Left), // no byte was sent to the server
            Some(connected) => connected,
        };
        let link = connected.and_then(|socket| Link::new(first.transport(socket)?, self.clock));
        let mut link = match link {
            Ok(link) => link,
            Err(error) => return Ok(End::Lost(format!("{address}: {error}"))),
        };
        let end = self.exchange(&mut link, &first);
        if end.is_err() {
            // The program gives up, and not the network: without DISCONNECT the will would be published.
            let _ = self.client.disconnect(self.clock.now(), &Disconnect::default());
        }
        if !matches!(end, Ok(End::Lost(_))) {
            link.flush(|link| link.write(self.client.transmit()));
            link.finish();
        }
        let end = end?;
        if matches!(end, End::Left) {
            return Ok(end);
        }
        Ok(match (first.recognise(), end) {
            (Some(other), _) => End::Final(wrong_port(&address, &other)),
            (None, End::Lost(why)) if first.is_empty() => {
                End::Lost(format!("{address}: {why}. Nothing was received: is this a port for MQTT without TLS?"))
            }
            (None, end) => end,
        })
    }

    /// Connects to the server. `None` if this client is asked to leave before that is done.
    ///
    /// Another thread connects, because waiting for a name server or a silent host cannot be interrupted.
    fn connect(&self) -> Option<io::Result<TcpStream>> {
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
                Ok(connected) => return Some(connected),
                Err(TryRecvError::Disconnected) => return Some(Err(ErrorKind::Other.into())),
                Err(TryRecvError::Empty) if self.has_to_leave() => return None,
                Err(TryRecvError::Empty) => thread::park(),
            }
        }
    }

    /// Runs the task, writes, reads and waits, until the connection has ended.
    fn exchange(&mut self, link: &mut Link, first: &FirstBytes) -> Result<End> {
        loop {
            self.task.advance(self.clock.now(), self.client)?;
            // Input that is left has its turn before more is received.
            let (mut end, mut lost) = (self.take_input(link)?, None);
            if end.is_none() && self.client.takes_input() {
                lost = link.receive();
                end = self.take_input(link)?;
            } else if end.is_none() {
                lost = link.write_error();
            }
            self.commit()?; // before what depends on it is written
            link.write(self.client.transmit());
            if let Some(end) = end {
                return Ok(end);
            }
            if first.recognise().is_some() {
                return Ok(End::Final("the answer is not MQTT".into())); // `converse` finds a better reason
            }
            match lost {
                None => link.wait(self.client.deadline()),
                Some(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(End::Lost("the server has closed the connection".into()));
                }
                Some(error) => return Ok(End::Lost(error.to_string())),
            }
        }
    }

    /// Stores the changes of the session, if it is durable.
    fn commit(&mut self) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        while let Some(batch) = self.client.changes() {
            store.commit(&batch)?;
            self.client.committed(self.clock.now(), batch.number());
        }
        if store.is_long()
            && let Some(snapshot) = self.client.snapshot()
        {
            store.replace(&snapshot)?;
            self.client.committed(self.clock.now(), snapshot.number());
        }
        Ok(())
    }

    /// Handles the client's actions on received bytes, and on the time.
    fn take_input(&mut self, link: &mut Link) -> Result<Option<End>> {
        let mut input = link.input();
        let end = self.take_actions(&mut input);
        let left = input.len();
        link.keep(left);
        end
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
