//! A connection: a link with an acceptor, and then with a session.
//!
//! One thread alone uses both. Two others read and write for it, and wake it.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use mqtt_sansio::codec::{ConnAckReasonCode, Disconnect, DisconnectReasonCode};
use mqtt_sansio::server::{Acceptor, AcceptorAction, AnswerError};
use mqtt_sansio_std::Link;

use crate::other_protocol::{FirstBytes, OtherProtocol};
use crate::service::{Client, State};
use crate::sessions::{Seat, Sessions};
use crate::text::log;

/// The interval in which input is received from a client that does not read.
const SLOW: Duration = Duration::from_secs(1);

/// Runs one connection from its beginning to its end.
pub(crate) fn serve(socket: TcpStream, sessions: &Sessions) -> Result<()> {
    let _visit = sessions.visit(); // dropped when the socket is closed
    let (peer, first) = (socket.peer_addr()?, FirstBytes::default());
    let mut link = Link::new(first.transport(socket)?, sessions.clock)?;
    let mut acceptor = Acceptor::new(Arc::clone(&sessions.config), sessions.clock.now());
    match greet(&mut link, &mut acceptor, sessions) {
        Ok(Some((seat, client))) => converse(&mut link, sessions, seat, client),
        Ok(None) => link.flush(|link| link.write(acceptor.transmit())),
        Err(why) => {
            log(format_args!("{peer}: not connected: {}", explain(&first, &why.to_string())));
            link.flush(|link| link.write(acceptor.transmit()));
        }
    }
    link.finish();
    Ok(())
}

/// Waits for CONNECT, and accepts or refuses the client. An error is the reason why it is not connected; `None` if the
/// program ends.
fn greet<'s>(link: &mut Link, acceptor: &mut Acceptor, sessions: &'s Sessions) -> Result<Option<(Seat<'s>, Client)>> {
    let clock = &sessions.clock;
    while !sessions.is_shutting_down() {
        let lost = link.receive();
        let mut input = link.input();
        let accepted = loop {
            match acceptor.poll(clock.now(), &mut input) {
                None => break None,
                Some(AcceptorAction::Connect(connect)) if !sessions.arguments.lets_in(&connect) => {
                    acceptor.refuse(clock.now(), ConnAckReasonCode::BadUserNameOrPassword)?;
                }
                Some(AcceptorAction::Connect(connect)) if connect.properties.authentication_method.is_some() => {
                    acceptor.refuse(clock.now(), ConnAckReasonCode::BadAuthenticationMethod)?;
                }
                Some(AcceptorAction::Connect(connect)) => break Some(sessions.accept(acceptor, &connect)?),
                Some(AcceptorAction::Close(why)) => bail!(why.to_string()),
                Some(AcceptorAction::Auth(_)) => {} // no client is challenged
            }
        };
        let left = input.len();
        link.keep(left);
        if accepted.is_some() {
            return Ok(accepted);
        }
        link.write(acceptor.transmit());
        if let Some(error) = lost {
            return Err(error.into());
        }
        link.wait(acceptor.deadline());
    }
    Ok(None)
}

/// Runs the session, writes, reads and waits, until the connection has ended.
fn converse(link: &mut Link, sessions: &Sessions, seat: Seat<'_>, mut client: Client) {
    let mut receives_at = sessions.clock.now();
    let why = loop {
        if seat.has_to_leave() {
            let _ = client.session.take_over(sessions.clock.now()); // fails if the connection is about to end
        }
        if sessions.is_shutting_down() {
            let reason_code = DisconnectReasonCode::ServerShuttingDown;
            let _ =
                client.session.disconnect(sessions.clock.now(), &Disconnect { reason_code, ..Disconnect::default() }); // as above
        }
        // Input that is left has its turn before more is received.
        let (mut state, mut lost) = (advance(link, sessions, &mut client), None);
        // A client that does not read is read slowly: it may be waiting for this server to read.
        let now = sessions.clock.now();
        let receives = !link.write(client.session.transmit()) || now >= receives_at;
        if matches!(state, Ok(State::Open)) && client.session.takes_input() && receives {
            receives_at = now + SLOW;
            lost = link.receive();
            state = advance(link, sessions, &mut client);
        } else if matches!(state, Ok(State::Open)) && !client.session.takes_input() {
            lost = link.write_error();
        }
        link.write(client.session.transmit());
        match state {
            Ok(State::Open) => {}
            Ok(State::Closed(why)) => break why,
            Ok(State::Expired) => break "the session is at its end".into(), // cannot happen with a connection
            Err(error) => break error.to_string(),
        }
        match lost {
            Some(error) => break error.to_string(),
            None => link.wait([client.deadline(), (!receives).then_some(receives_at)].into_iter().flatten().min()),
        }
    };
    log(format_args!("{}: {why}", seat.client_id()));
    link.flush(|link| link.write(client.session.transmit()));
    seat.leave(client);
}

/// Lets the client handle the received bytes and the time.
fn advance(link: &mut Link, sessions: &Sessions, client: &mut Client) -> Result<State, AnswerError> {
    let mut input = link.input();
    let state = client.advance(sessions.clock.now(), &mut input, &sessions.arguments);
    let left = input.len();
    link.keep(left);
    state
}

/// The reason why a client was not connected: it may speak another protocol.
fn explain(first: &FirstBytes, why: &str) -> String {
    match first.recognise() {
        None => why.into(),
        Some(OtherProtocol::Tls) => "the client speaks TLS, and this server does not".into(),
        Some(OtherProtocol::Http(line)) => {
            format!("the client speaks HTTP or WebSocket, and this server does not: {line:?}")
        }
        Some(OtherProtocol::Text(line)) => format!("the client does not speak MQTT: {line:?}"),
    }
}
