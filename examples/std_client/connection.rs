//! A session, a socket, a clock, and something to do.
//!
//! The session belongs to one thread alone. Others wait for input, hand over what they get by a channel, and wake it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::{Buf, BytesMut};
use mqtt_sansio::client::{Action, ClientSession, Close, Connected, Outcome};
use mqtt_sansio::codec::{Disconnect, ReasonCode};
use mqtt_sansio::{Instant, ReceivedMessage, StdClock, Token, Transmit};

use crate::arguments::ConnectionArguments;

/// What a client is there for.
pub(crate) trait Task {
    /// Gives the client what there is to do now. Whoever has more later wakes this thread by `unpark`.
    fn advance(&mut self, client: &mut ClientSession) -> Result<()>;
    /// A connection has begun.
    fn connected(&mut self, client: &mut ClientSession, connected: &Connected<'_>) -> Result<()>;
    fn message(&mut self, message: &ReceivedMessage<'_>) -> Result<()>;
    fn done(&mut self, token: Token, outcome: &Outcome<'_>) -> Result<()>;
    /// Whether the client may leave.
    fn is_done(&self) -> bool;
}

/// How a connection has ended.
enum End {
    /// As was asked for.
    Left,
    /// There may be another one.
    Lost(String),
    /// Another one would end in the same way.
    Final(String),
}

/// Keeps the client connected until its task is done: one turn for each connection.
pub(crate) fn run(arguments: &ConnectionArguments, client: &mut ClientSession, task: &mut impl Task) -> Result<()> {
    let clock = StdClock::new();
    loop {
        thread::sleep(client.backoff()); // not at all before the first connection
        // CONNECT is ready before there is a socket: so an attempt that does not come that far counts as a failure.
        client.open(clock.now())?;
        let end = converse(arguments, &clock, client, task);
        client.closed(clock.now());
        take_actions(client, &clock, &mut &[][..], task)?; // what came to its end with the connection
        match end? {
            End::Left => return Ok(()),
            End::Lost(_) if task.is_done() => return Ok(()),
            End::Lost(why) if arguments.reconnect => eprintln!("{why}; connecting again"),
            End::Lost(why) | End::Final(why) => bail!(why),
        }
    }
}

/// One connection, from its beginning to its end.
fn converse(
    arguments: &ConnectionArguments,
    clock: &StdClock,
    client: &mut ClientSession,
    task: &mut impl Task,
) -> Result<End> {
    let patience = client.deadline().map_or(Duration::from_secs(30), |deadline| clock.until(deadline));
    let mut socket = match connect(&arguments.host, arguments.port, patience) {
        Ok(socket) => socket,
        Err(error) => return Ok(End::Lost(format!("{}:{}: {error}", arguments.host, arguments.port))),
    };
    let received = read_in_background(socket.try_clone()?);
    let end = exchange(&mut socket, &received, clock, client, task);
    if !matches!(end, Ok(End::Lost(_))) {
        // To close a socket with something unread in it resets the connection, and DISCONNECT might never be read. So
        // this end stops writing, and waits a little for the other end to close.
        let _ = socket.shutdown(Shutdown::Write);
        while let Ok(Ok(_)) = received.recv_timeout(Duration::from_secs(1)) {}
    }
    let _ = socket.shutdown(Shutdown::Both); // lets the reading thread end as well
    end
}

fn connect(host: &str, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let mut result = Err(ErrorKind::AddrNotAvailable.into());
    for address in (host, port).to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, patience);
        if result.is_ok() {
            break;
        }
    }
    let socket = result?;
    socket.set_nodelay(true)?; // what belongs together is written together
    socket.set_write_timeout(Some(Duration::from_secs(1)))?; // see `exchange`
    Ok(socket)
}

/// Reads for the calling thread, and wakes it for each piece. The last one is an error: the end is one too.
///
/// Few pieces are held: if they are not taken, the reading stops, and so does the server after a while.
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

/// How much is read at a time.
const PIECE: usize = 16 * 1024;

/// Does what there is to do, writes, reads and waits, until the connection is over.
fn exchange(
    socket: &mut TcpStream,
    received: &Receiver<io::Result<Vec<u8>>>,
    clock: &StdClock,
    client: &mut ClientSession,
    task: &mut impl Task,
) -> Result<End> {
    let mut input = BytesMut::new();
    let mut is_writable = true;
    loop {
        task.advance(client)?;
        let mut rest = &input[..];
        let end = take_actions(client, clock, &mut rest, task)?;
        let used = input.len() - rest.len();
        input.advance(used);
        if is_writable && write(socket, client.transmit()).is_err() {
            // The reader will find out too, but reads first what the server has said before: perhaps why.
            is_writable = false;
        }
        if let Some(end) = end {
            return Ok(end); // DISCONNECT, and acknowledgements before it, have been written
        }
        // A client that takes no input, because too much waits to be written, is given no more.
        let piece = if input.len() > 2 * PIECE && client.transmit().has_remaining() {
            Err(TryRecvError::Empty)
        } else {
            received.try_recv()
        };
        match piece {
            Ok(Ok(piece)) => input.extend_from_slice(&piece),
            Ok(Err(error)) => return Ok(End::Lost(error.to_string())),
            // A server that takes nothing may be waiting for us to read. `write` has waited for a second.
            Err(TryRecvError::Empty) if is_writable && client.transmit().has_remaining() => {}
            Err(TryRecvError::Empty) => wait(clock, client.deadline()),
            Err(TryRecvError::Disconnected) => return Ok(End::Lost("nobody reads any more".into())),
        }
    }
}

/// Sleeps until there is something to do or to read.
fn wait(clock: &StdClock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => thread::park_timeout(clock.until(deadline)),
        None => thread::park(),
    }
}

/// Writes all there is; less if the server takes nothing for as long as the write timeout of the socket.
fn write(socket: &mut TcpStream, transmit: &mut Transmit) -> io::Result<()> {
    while transmit.has_remaining() {
        let mut chunks = [IoSlice::new(&[]); 16];
        let count = transmit.chunks_vectored(&mut chunks);
        match socket.write_vectored(&chunks[..count]) {
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

/// Does what the client says about what was received, and about the time.
fn take_actions(
    client: &mut ClientSession,
    clock: &StdClock,
    input: &mut &[u8],
    task: &mut impl Task,
) -> Result<Option<End>> {
    loop {
        if task.is_done() && client.is_connected() {
            // What was received after that is not acknowledged, and stays with the server.
            client.disconnect(&Disconnect::default())?;
        }
        let Some(action) = client.poll(clock.now(), input) else { return Ok(None) };
        match action {
            Action::Connected(connected) => {
                eprintln!("connected: {} session", connected.session);
                task.connected(client, &connected)?;
            }
            Action::Message(message) => task.message(&message)?,
            Action::Done { token, outcome } => task.done(token, &outcome)?,
            Action::Close(Close::Requested) => return Ok(Some(End::Left)),
            Action::Close(why) if is_passing(&why) => return Ok(Some(End::Lost(why.to_string()))),
            Action::Close(why) => return Ok(Some(End::Final(why.to_string()))),
            _ => {} // AUTH does not come to a client without an authentication method
        }
    }
}

/// Whether it makes sense to connect again after that. It does not if the server has refused what it will refuse again,
/// or if another client has taken over the session: they would take it from each other for ever.
fn is_passing(why: &Close<'_>) -> bool {
    match why {
        Close::ConnectTimeout | Close::PingTimeout => true,
        Close::Refused(_) | Close::Disconnected(_) => matches!(
            why.reason_code(),
            Some(
                ReasonCode::ServerUnavailable
                    | ReasonCode::ServerBusy
                    | ReasonCode::ServerShuttingDown
                    | ReasonCode::KeepAliveTimeout
                    | ReasonCode::ConnectionRateExceeded
                    | ReasonCode::MaximumConnectTime
            )
        ),
        _ => false,
    }
}
