//! The loop around a client session, with the server's loop of this crate at the other end.

use std::io::{self, ErrorKind, pipe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Resumption};
use mqtt_sansio::codec::{Connect, Disconnect, SubAckReasonCode, Subscription};
use mqtt_sansio::server::{self, Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::store::{Batch, Pairs};
use mqtt_sansio::{Instant, Message, OperationStage, QoS, SessionExpiry, StdClock};
use mqtt_sansio_std::{Program, Served, Service, Transport, run, serve};

/// A server that sends a message of QoS 2 to each client that subscribes, and messages back.
struct Echo(Option<ServerSession>);

impl Service for Echo {
    fn connect(&mut self, now: Instant, acceptor: &mut Acceptor, _: &Connect<'_>) -> Option<ServerSession> {
        acceptor.accept(now, self.0.take(), Accept::default()).ok()
    }

    fn action(&mut self, now: Instant, session: &mut ServerSession, action: server::Action<'_>) {
        match action {
            server::Action::Subscribe(request) => {
                session.suback(now, request.id, &[SubAckReasonCode::GrantedQoS2]).unwrap();
                session.publish(now, &Message::new("t", "first").qos(QoS::ExactlyOnce)).unwrap();
            }
            server::Action::Message(message) => drop(session.publish(now, &Message::from(&message)).unwrap()),
            _ => {}
        }
    }
}

/// A server in another thread, and the client's end of a transport to it.
fn server(stored: Option<ServerSession>) -> (JoinHandle<Served>, Transport) {
    let (server_reader, client_writer) = pipe().unwrap();
    let (client_reader, server_writer) = pipe().unwrap();
    let server = thread::spawn(move || {
        let (transport, config) = (Transport::new(server_reader, server_writer), Arc::new(ServerConfig::default()));
        serve(transport, config, &StdClock::new(), &mut Echo(stored)).unwrap()
    });
    (server, Transport::new(client_reader, client_writer))
}

/// Notes the messages, and stores them in one transaction with the session. Sends the first one back, and disconnects after
/// the second one.
#[derive(Default)]
struct Notes {
    noted: Vec<String>,
    stored: (Pairs, Vec<String>),
    /// Whether nothing can be stored that has a message in it.
    is_full: bool,
    /// Whether the connection had ended already when the program was asked for commands, each time.
    was_closed: Vec<bool>,
}

impl Program for Notes {
    fn action(&mut self, now: Instant, session: &mut ClientSession, action: Action<'_>) {
        match action {
            Action::Connected(connected) if connected.session != Resumption::Resumed => {
                session.subscribe(now, &[Subscription::new("t", QoS::ExactlyOnce).unwrap()]).unwrap();
            }
            Action::Message(message) => {
                self.noted.push(String::from_utf8_lossy(message.payload).into_owned());
                match self.noted.len() {
                    1 => drop(session.publish(now, &Message::new("t", "second").qos(QoS::ExactlyOnce)).unwrap()),
                    _ => session.disconnect(now, &Disconnect::default()).unwrap(),
                }
            }
            _ => {}
        }
    }

    fn advance(&mut self, now: Instant, session: &mut ClientSession) -> io::Result<Option<Instant>> {
        self.was_closed.push(!session.backoff().is_zero()); // there is no pause before the first connection
        let batches: Vec<Batch> = std::iter::from_fn(|| session.changes()).collect();
        if self.is_full && !self.noted.is_empty() {
            return Err(io::Error::other("the disk is full"));
        }
        if let Some(last) = batches.last() {
            batches.iter().for_each(|batch| self.stored.0.apply(batch));
            self.stored.1.clone_from(&self.noted);
            session.committed(now, last.number());
        }
        Ok(None)
    }
}

fn config() -> ClientConfig {
    ClientConfig {
        client_id: "c".into(),
        session_expiry_interval: SessionExpiry::after(1000),
        durable: true,
        ..ClientConfig::default()
    }
}

/// The program crashes with a message that is not stored: it was not acknowledged, comes again, and is noted once. What was
/// stored with the session is all that there is afterwards.
#[test]
fn a_program_with_its_own_store_goes_on_after_a_crash() {
    let clock = StdClock::new();
    let (peer, transport) = server(None);
    let mut crashed = Notes { is_full: true, ..Notes::default() };
    let mut session = ClientSession::new(config());
    let error = run(transport, &mut session, &clock, &mut crashed).unwrap_err();
    assert_eq!((error.to_string().as_str(), session.is_connected()), ("the disk is full", false));
    assert_eq!(crashed.noted, ["first"]);
    drop(session);
    let served = peer.join().unwrap();
    let stages: Vec<_> = served.session.as_ref().unwrap().operations().map(|it| it.stage).collect();
    assert_eq!(stages, [OperationStage::Sent], "acknowledged before it was stored");

    let (pairs, noted) = crashed.stored;
    assert!(noted.is_empty());
    let mut session = ClientSession::restore(config(), clock.now(), pairs.iter()).unwrap();
    let (peer, transport) = server(served.session);
    let mut notes = Notes { stored: (pairs, noted), ..Notes::default() };
    let reason = run(transport, &mut session, &clock, &mut notes).unwrap();
    assert_eq!(reason, "disconnected");
    let (last, before) = notes.was_closed.split_last().unwrap();
    assert!(*last && !before.contains(&true)); // what has ended with the connection can be stored
    assert_eq!((&notes.noted[..], &notes.stored.1[..]), (&["first".into(), "second".into()][..], &notes.noted[..]));
    assert_eq!(peer.join().unwrap().reason, "the client disconnects: 0x00 (Normal disconnection)");
}

/// The server's end is reported, and a configuration without a CONNECT is an error.
#[test]
fn ends_of_a_connection() {
    let clock = StdClock::new();
    let (reader, _) = pipe().unwrap();
    let (_reader, writer) = pipe().unwrap();
    let mut session = ClientSession::new(config());
    let reason = run(Transport::new(reader, writer), &mut session, &clock, &mut Notes::default()).unwrap();
    assert_eq!(reason, "the peer has closed the connection");
    assert!(!session.backoff().is_zero());

    let mut session = ClientSession::new(ClientConfig { client_id: "\0".into(), ..config() });
    let (peer, transport) = server(None);
    let error = run(transport, &mut session, &clock, &mut Notes::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(peer.join().unwrap().session.is_none());
}
