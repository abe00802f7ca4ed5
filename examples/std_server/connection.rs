//! A connection: a socket with an acceptor, and then with a session.
//!
//! One thread alone uses both. Another thread waits for input, sends it through a channel, and wakes that thread.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use bytes::{Buf, BytesMut};
use mqtt_sansio::codec::{ConnAckReasonCode, Disconnect, DisconnectReasonCode};
use mqtt_sansio::server::{Acceptor, AcceptorAction};
use mqtt_sansio::{Instant, StdClock, Transmit};

use crate::other_protocol::{OtherProtocol, RECOGNISABLE};
use crate::service::{Client, State};
use crate::sessions::{Seat, Sessions};
use crate::text::log;

/// Runs one connection from its beginning to its end.
pub(crate) fn serve(socket: TcpStream, sessions: &Sessions) -> Result<()> {
    let _visit = sessions.visit(); // dropped when the socket is closed
    let mut link = Link::new(socket)?;
    if let Some((seat, client)) = greet(&mut link, sessions)? {
        converse(&mut link, sessions, seat, client);
    }
    link.close(&sessions.clock);
    Ok(())
}

/// Waits for CONNECT, and accepts or refuses the client.
fn greet<'s>(link: &mut Link, sessions: &'s Sessions) -> Result<Option<(Seat<'s>, Client)>> {
    let clock = &sessions.clock;
    let mut acceptor = Acceptor::new(Arc::clone(&sessions.config), clock.now());
    while !sessions.is_shutting_down() {
        let mut rest = &link.input[..];
        let action = acceptor.poll(clock.now(), &mut rest);
        let used = link.input.len() - rest.len();
        match action {
            Some(AcceptorAction::Connect(connect)) if !sessions.arguments.lets_in(&connect) => {
                acceptor.refuse(clock.now(), ConnAckReasonCode::BadUserNameOrPassword)?;
            }
            Some(AcceptorAction::Connect(connect)) if connect.properties.authentication_method.is_some() => {
                acceptor.refuse(clock.now(), ConnAckReasonCode::BadAuthenticationMethod)?;
            }
            Some(AcceptorAction::Connect(connect)) => {
                let accepted = sessions.accept(&mut acceptor, &connect)?;
                link.input.advance(used);
                return Ok(Some(accepted));
            }
            Some(AcceptorAction::Close(why)) => {
                log(format_args!("{}: not connected: {}", link.peer, link.explain(&why.to_string())));
                link.write(acceptor.transmit());
                return Ok(None);
            }
            _ => {
                let has_more = link.write(acceptor.transmit());
                link.wait(has_more, acceptor.deadline(), clock)?;
            }
        }
        link.input.advance(used);
    }
    Ok(None)
}

/// Runs the session, writes, reads and waits, until the connection has ended.
fn converse(link: &mut Link, sessions: &Sessions, seat: Seat<'_>, mut client: Client) {
    let why = loop {
        if seat.has_to_leave() {
            let _ = client.session.take_over(sessions.clock.now()); // fails if the connection is about to end
        }
        if sessions.is_shutting_down() {
            let reason_code = DisconnectReasonCode::ServerShuttingDown;
            let _ =
                client.session.disconnect(sessions.clock.now(), &Disconnect { reason_code, ..Disconnect::default() }); // as above
        }
        let mut rest = &link.input[..];
        let state = client.advance(sessions.clock.now(), &mut rest, &sessions.arguments);
        let used = link.input.len() - rest.len();
        link.input.advance(used);
        let has_more = link.write(client.session.transmit());
        match state {
            Ok(State::Open) => {}
            Ok(State::Closed(why)) => break why,
            Ok(State::Expired) => break "the session is at its end".into(), // cannot happen with a connection
            Err(error) => break error.to_string(),
        }
        if let Err(error) = link.wait(has_more, client.deadline(), &sessions.clock) {
            break error.to_string();
        }
    };
    log(format_args!("{}: {why}", seat.client_id()));
    seat.leave(client);
}

/// A socket and the bytes received from it.
struct Link {
    socket: TcpStream,
    peer: String,
    received: Receiver<io::Result<Vec<u8>>>,
    /// Bytes that were not taken.
    input: BytesMut,
    /// The first bytes of the connection, for [`OtherProtocol::recognise`].
    first: Vec<u8>,
    is_writable: bool,
}

/// The size of a read.
const PIECE: usize = 16 * 1024;

impl Link {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?; // the session coalesces its output
        // A client that does not read is not waited for longer, because there may be input or a deadline.
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        let peer = socket.peer_addr()?.to_string();
        let received = read_in_background(socket.try_clone()?)?;
        Ok(Self { socket, peer, received, input: BytesMut::new(), first: Vec::new(), is_writable: true })
    }

    /// Writes all output, or less if the client takes nothing for as long as the write timeout of the socket. Returns
    /// whether there is more to write.
    fn write(&mut self, transmit: &mut Transmit) -> bool {
        while self.is_writable && transmit.has_remaining() {
            let mut chunks = [IoSlice::new(&[]); 16];
            let count = transmit.chunks_vectored(&mut chunks);
            match self.socket.write_vectored(&chunks[..count]) {
                Ok(written) if written > 0 => transmit.advance(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return true,
                // The reader will notice as well, but it first reads bytes that the client has sent before, perhaps
                // DISCONNECT.
                _ => self.is_writable = false,
            }
        }
        false
    }

    /// Waits for input, for the deadline, or until this thread is woken; returns at once if there is more to write. An
    /// error means the end of the connection.
    fn wait(&mut self, has_more: bool, deadline: Option<Instant>, clock: &StdClock) -> io::Result<()> {
        // A session that takes no input, because too much output waits, is given no more.
        let piece =
            if self.input.len() > 2 * PIECE && has_more { Err(TryRecvError::Empty) } else { self.received.try_recv() };
        match piece {
            Ok(piece) => {
                let piece = piece?;
                let room = RECOGNISABLE.saturating_sub(self.first.len());
                self.first.extend_from_slice(piece.get(..room).unwrap_or(&piece));
                self.input.extend_from_slice(&piece);
            }
            Err(TryRecvError::Empty) if has_more => {} // `write` has waited
            Err(TryRecvError::Empty) => match deadline {
                Some(deadline) => thread::park_timeout(clock.until(deadline)),
                None => thread::park(),
            },
            Err(TryRecvError::Disconnected) => return Err(ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    /// The reason why a client was not connected: it may speak another protocol.
    fn explain(&self, why: &str) -> String {
        match OtherProtocol::recognise(&self.first) {
            None => why.into(),
            Some(OtherProtocol::Tls) => "the client speaks TLS, and this server does not".into(),
            Some(OtherProtocol::Http(line)) => {
                format!("the client speaks HTTP or WebSocket, and this server does not: {line:?}")
            }
            Some(OtherProtocol::Text(line)) => format!("the client does not speak MQTT: {line:?}"),
        }
    }

    /// Closes the connection so that the client can read everything that was written. Closing a socket with unread
    /// input resets the connection, so this function stops writing, and waits a short time for the client to close.
    fn close(self, clock: &StdClock) {
        let patience = clock.now() + Duration::from_secs(1);
        let _ = self.socket.shutdown(Shutdown::Write);
        while clock.now() < patience && matches!(self.received.recv_timeout(clock.until(patience)), Ok(Ok(_))) {}
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
/// Few pieces are buffered: if they are not taken, the reading stops, and so does the client after a while.
fn read_in_background(mut socket: TcpStream) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = sync_channel(4);
    let owner = thread::current();
    thread::Builder::new().spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match socket.read(&mut buffer) {
                Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the client has closed the connection")),
                Ok(count) => Ok(buffer[..count].to_vec()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = piece.is_err();
            if sender.send(piece).is_err() || is_last {
                break;
            }
            owner.unpark();
        }
        owner.unpark();
    })?;
    Ok(receiver)
}
