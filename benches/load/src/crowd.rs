//! Many clients in one thread with one event queue, so that the load costs little.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, bail, ensure};
use bytes::Buf;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
use mqtt_sansio::codec::Disconnect;
use mqtt_sansio::{Instant, StdClock};
use socket2::{Domain, Protocol, Socket, Type};

/// The maximum time a broker may take for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The size of a read.
const PIECE: usize = 256 * 1024;

/// The interval at which the clients' timers are run.
const TICK: Duration = Duration::from_secs(1);

/// How many clients connect at a time: fewer than can wait to be accepted (mosquitto lets 100 wait), because a connection
/// that finds no room there is only tried again after a second.
const CONNECTING: usize = 50;

/// There are about 28,000 local ports per source address. Loopback has many addresses.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// Handles the actions of the clients.
pub(crate) trait Task {
    /// Handles an action of a client. It is never [`Action::Close`].
    fn act(&mut self, index: usize, client: &mut ClientSession, action: Action<'_>) -> Result<()>;
}

/// Ignores all actions.
struct Nothing;

impl Task for Nothing {
    fn act(&mut self, _: usize, _: &mut ClientSession, _: Action<'_>) -> Result<()> {
        Ok(())
    }
}

/// The clients of one broker.
pub(crate) struct Crowd {
    broker: SocketAddr,
    poll: Poll,
    events: Events,
    clock: StdClock,
    now: Instant,
    ticked: Instant,
    members: Vec<Member>,
    /// The number of clients that were not accepted yet.
    connecting: usize,
    /// The number of clients that have not left.
    present: usize,
    /// The clients that may have output.
    unwritten: Vec<usize>,
    /// The clients with unread input, which waits for their output to be written.
    unread: Vec<usize>,
    piece: Box<[u8]>,
}

struct Member {
    client: ClientSession,
    socket: TcpStream,
    /// The bytes of an incomplete packet.
    rest: Vec<u8>,
    is_unwritten: bool,
    is_leaving: bool,
    has_left: bool,
}

impl Crowd {
    pub(crate) fn new(broker: SocketAddr) -> Result<Self> {
        let clock = StdClock::new();
        Ok(Self {
            broker,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clock,
            now: clock.now(),
            ticked: clock.now(),
            members: Vec::new(),
            connecting: 0,
            present: 0,
            unwritten: Vec::new(),
            unread: Vec::new(),
            piece: vec![0; PIECE].into(),
        })
    }

    /// Starts to connect another client, once few enough others are connecting. Its index is the number of clients
    /// before it.
    pub(crate) fn connect(&mut self, config: ClientConfig, task: &mut impl Task) -> Result<&mut ClientSession> {
        let begin = Clock::now();
        while self.connecting >= CONNECTING {
            self.turn(PATIENCE / 10, task)?;
            ensure!(begin.elapsed() < PATIENCE, "the broker accepts no more than {} connections", self.members.len());
        }
        let index = self.members.len();
        let mut socket = self.socket(index / CONNECTIONS_PER_SOURCE).context("cannot connect")?;
        self.poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        let mut client = ClientSession::new(config);
        client.open(self.now)?;
        let (is_unwritten, is_leaving, has_left) = (false, false, false);
        self.members.push(Member { client, socket, rest: Vec::new(), is_unwritten, is_leaving, has_left });
        self.connecting += 1;
        self.present += 1;
        Ok(self.client(index))
    }

    fn socket(&self, source: usize) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.broker), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if source > 0 && self.broker.is_ipv4() {
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, u8::try_from(source + 1)?));
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&self.broker.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error.into()),
            _ => {}
        }
        Ok(TcpStream::from_std(socket.into()))
    }

    /// Returns a client, for commands. Its output is written in the next [`turn`](Self::turn).
    pub(crate) fn client(&mut self, index: usize) -> &mut ClientSession {
        let member = &mut self.members[index];
        if !member.is_unwritten {
            member.is_unwritten = true;
            self.unwritten.push(index);
        }
        &mut member.client
    }

    /// Returns all clients.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &ClientSession> {
        self.members.iter().map(|member| &member.client)
    }

    /// Writes all output, waits for input, at most for `patience`, and handles it.
    ///
    /// Each client writes once per turn, so all input of a turn is answered by one write.
    pub(crate) fn turn(&mut self, patience: Duration, task: &mut impl Task) -> Result<()> {
        self.write(task)?;
        let patience = if self.unread.is_empty() { patience } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        self.now = self.clock.now();
        for index in std::mem::take(&mut self.unread) {
            self.read(index, task)?;
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.read(event.token().0, task)?;
        }
        self.events = events;
        if self.now.since(self.ticked) >= TICK {
            self.ticked = self.now;
            self.tick(task)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize, task: &mut impl Task) -> Result<()> {
        // After any event there may be output: an acknowledgement, or bytes that did not fit before.
        self.client(index);
        let member = &mut self.members[index];
        if member.has_left {
            return Ok(());
        }
        let was_connected = member.client.is_connected();
        let reading = member.read(&mut self.piece, self.now, index, task);
        self.connecting -= usize::from(!was_connected && member.client.is_connected());
        match reading {
            Ok(Reading::Drained) => {}
            Ok(Reading::Postponed) => self.unread.push(index),
            Ok(Reading::Ended) if member.is_leaving => {
                member.has_left = true;
                self.present -= 1;
            }
            Ok(Reading::Ended) => bail!("{}: the broker has closed the connection", member.client.config().client_id),
            Err(error) => {
                return Err(error).with_context(|| member.client.config().client_id.clone());
            }
        }
        Ok(())
    }

    fn write(&mut self, task: &mut impl Task) -> Result<()> {
        let mut unwritten = std::mem::take(&mut self.unwritten);
        for index in unwritten.drain(..) {
            let member = &mut self.members[index];
            member.is_unwritten = false;
            if !member.has_left {
                member.write(self.now, index, task).with_context(|| member.client.config().client_id.clone())?;
            }
        }
        self.unwritten = unwritten;
        Ok(())
    }

    /// Runs the timers of all clients: Keep Alive, and brokers that do not answer.
    fn tick(&mut self, task: &mut impl Task) -> Result<()> {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if !member.has_left && member.client.deadline().is_some_and(|deadline| deadline <= self.now) {
                member.take_again(self.now, index, task)?;
                self.client(index);
            }
        }
        Ok(())
    }

    /// The time last given to the clients.
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    /// Disconnects all clients. Returns when the broker has closed all connections.
    pub(crate) fn leave(mut self) -> Result<()> {
        for index in 0..self.members.len() {
            let now = self.now;
            self.client(index).disconnect(now, &Disconnect::default())?;
            self.members[index].is_leaving = true;
        }
        let begin = Clock::now();
        while self.present > 0 {
            self.turn(Duration::from_millis(50), &mut Nothing)?;
            if begin.elapsed() > PATIENCE {
                bail!("the broker does not close {} connections after DISCONNECT", self.present);
            }
        }
        Ok(())
    }
}

/// The state of a socket after a read.
enum Reading {
    /// All input was read. An event will announce more.
    Drained,
    /// There may be more input, but output must be written first.
    Postponed,
    /// The broker has closed the connection.
    Ended,
}

impl Member {
    fn read(&mut self, piece: &mut [u8], now: Instant, index: usize, task: &mut impl Task) -> Result<Reading> {
        loop {
            let kept = self.rest.len();
            if kept > piece.len() / 2 {
                return Ok(Reading::Postponed);
            }
            piece[..kept].copy_from_slice(&self.rest);
            let room = piece.len() - kept;
            let count = match self.socket.read(&mut piece[kept..]) {
                Ok(0) => return Ok(Reading::Ended),
                Ok(count) => count,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(Reading::Drained),
                    ErrorKind::Interrupted => continue,
                    ErrorKind::ConnectionReset if self.is_leaving => return Ok(Reading::Ended),
                    _ => return Err(error.into()),
                },
            };
            let mut input = &piece[..kept + count];
            take(&mut self.client, now, &mut input, index, task)?;
            self.rest.clear();
            self.rest.extend_from_slice(input);
            if count < room {
                return Ok(Reading::Drained); // an edge-triggered queue reports all later input
            }
        }
    }

    /// Runs the timers, and handles input that was left until output was written.
    fn take_again(&mut self, now: Instant, index: usize, task: &mut impl Task) -> Result<()> {
        let mut input = &self.rest[..];
        take(&mut self.client, now, &mut input, index, task)?;
        let used = self.rest.len() - input.len();
        self.rest.drain(..used);
        Ok(())
    }

    /// Writes as much as the socket takes. An event will announce when it takes more.
    fn write(&mut self, now: Instant, index: usize, task: &mut impl Task) -> Result<()> {
        while self.client.transmit().has_remaining() {
            match self.write_once() {
                Ok(()) => self.take_again(now, index, task)?,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted => {}
                    // The broker's reason for closing is read before the end of the stream.
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => return Ok(()),
                    _ => return Err(error.into()),
                },
            }
        }
        if self.is_leaving {
            // DISCONNECT was written. Closing before the broker does could reset the connection and lose DISCONNECT.
            match self.socket.shutdown(Shutdown::Write) {
                Err(error) if error.kind() != ErrorKind::NotConnected => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn write_once(&mut self) -> io::Result<()> {
        let transmit = self.client.transmit();
        let mut chunks = [IoSlice::new(&[]); 16];
        let count = transmit.chunks_vectored(&mut chunks);
        let written = match &chunks[..count] {
            [chunk] => self.socket.write(chunk)?,
            chunks => self.socket.write_vectored(chunks)?,
        };
        transmit.advance(written);
        Ok(())
    }
}

fn take(client: &mut ClientSession, now: Instant, input: &mut &[u8], index: usize, task: &mut impl Task) -> Result<()> {
    while let Some(action) = client.poll(now, input) {
        match action {
            Action::Close(Close::Requested) => {}
            Action::Close(why) => bail!("{why}"),
            action => task.act(index, client, action)?,
        }
    }
    Ok(())
}
