//! The client: over a socket and over pipes, with a server that follows a script.

mod peer;

use std::io::{self, Read};
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use mqtt_sansio::client::{Authentication, ClientConfig, ReconfigureError, Resumption};
use mqtt_sansio::codec::PubAckReasonCode;
use mqtt_sansio::{AbandonReason, Message, Outcome, PublishError, QoS, ReasonCode};
use mqtt_sansio_std::{Builder, Client, Ended, Error, Event, Events, Transport, connect, tcp};
use peer::{NEW, Peer, RESUMED, config, piped, scripts};

/// The time after which a test that hangs is given up. A test on a busy machine takes far less.
const PATIENCE: Duration = Duration::from_secs(120);

fn message(payload: &str, qos: QoS) -> Message<'_> {
    Message::new("t", payload).qos(qos)
}

#[track_caller]
fn next(events: &mut Events) -> Event {
    events.next_within(PATIENCE).expect("an event")
}

#[track_caller]
fn connected(events: &mut Events) -> Resumption {
    match next(events) {
        Event::Connected(connected) => connected.session,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn closed(events: &mut Events) -> mqtt_sansio_std::Closed {
    match next(events) {
        Event::Closed(closed) => closed,
        other => panic!("{other:?}"),
    }
}

/// The commands over TCP, with one outcome for each, and DISCONNECT with the end of the stream after it.
#[test]
fn commands_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (client, mut events) = connect(config(), tcp(listener.local_addr().unwrap())).unwrap();
    let script = thread::spawn(move || {
        let mut peer = Peer::over(listener.accept().unwrap().0);
        peer.accept("CONNECT clean=true", NEW);
        peer.expect(&["SUBSCRIBE 1 a/+"]);
        peer.write(b"\x90\x04\x00\x01\x00\x01");
        peer.expect(&["PUBLISH 2 two dup=false"]);
        peer.write(b"\x50\x02\x00\x02");
        peer.expect(&["PUBREL 2"]);
        peer.write(b"\x70\x02\x00\x02");
        peer.expect(&["PUBLISH 0 zero dup=false", "UNSUBSCRIBE 3"]);
        peer.write(b"\xB0\x04\x00\x03\x00\x00");
        peer.write(b"\x30\x05\x00\x01q\x007");
        peer.expect(&["DISCONNECT NormalDisconnection", "the end"]);
    });
    let outcome = client.subscribe("a/+", QoS::AtLeastOnce).unwrap();
    assert_eq!(outcome.outcome().codes().collect::<Vec<_>>(), [ReasonCode::GrantedQoS1]);
    let outcome = client.publish(&message("two", QoS::ExactlyOnce)).unwrap();
    assert!(matches!(outcome.outcome(), Outcome::Acknowledged { reason_code: ReasonCode::Success, .. }));
    assert_eq!(client.publish(&message("zero", QoS::AtMostOnce)).unwrap().outcome(), Outcome::Sent);
    assert!(client.unsubscribe(&["a/+"]).unwrap().is_success());
    assert_eq!(connected(&mut events), Resumption::New);
    match next(&mut events) {
        Event::Message(message) => assert_eq!((message.topic().as_str(), &message.payload()[..]), ("q", &b"7"[..])),
        other => panic!("{other:?}"),
    }
    assert!(client.is_connected());
    client.disconnect();
    assert_eq!(closed(&mut events).retry_after, None);
    assert!(events.next().is_none(), "the client has ended");
    assert_eq!(client.publish(&message("late", QoS::AtMostOnce)).unwrap_err(), Error::Ended(Ended));
    script.join().unwrap();
}

/// The report of a connection that could not be made names the address.
#[test]
fn an_error_of_a_connection_names_the_address() {
    let address = "127.0.0.1:0"; // nothing can listen there
    let (_client, mut events) = Builder::new(config()).reconnect(false).connect(tcp(address)).unwrap();
    let closed = closed(&mut events);
    assert!(closed.reason.starts_with(&format!("{address}: ")), "{closed}");
}

/// A message of QoS 2 whose delivery is cut after PUBREC goes on with PUBREL, and nothing is sent twice.
#[test]
fn a_lost_connection_is_resumed() {
    let (sender, transports) = scripts();
    let (client, mut events) = connect(config(), transports).unwrap();
    let pending = client.try_publish(&message("1", QoS::ExactlyOnce)).unwrap();

    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    peer.expect(&["PUBLISH 1 1 dup=false"]);
    peer.write(b"\x50\x02\x00\x01");
    peer.expect(&["PUBREL 1"]);
    drop(peer);

    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=false", RESUMED);
    peer.expect(&["PUBREL 1"]);
    peer.write(b"\x70\x02\x00\x01");
    assert!(pending.wait().unwrap().is_success());

    assert_eq!(connected(&mut events), Resumption::New);
    assert_eq!(closed(&mut events).retry_after, Some(Duration::ZERO));
    assert_eq!(connected(&mut events), Resumption::Resumed);
    thread::scope(|scope| {
        scope.spawn(|| client.disconnect());
        peer.expect(&["DISCONNECT NormalDisconnection"]);
        drop(peer);
    });
}

/// When the server has lost the session, the client subscribes again, to what it has not unsubscribed.
#[test]
fn a_lost_session_is_subscribed_again() {
    let (sender, transports) = scripts();
    let (client, mut events) = connect(config(), transports).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    thread::scope(|scope| {
        scope.spawn(|| {
            client.subscribe("a", QoS::AtLeastOnce).unwrap();
            client.subscribe("b", QoS::AtLeastOnce).unwrap();
            assert!(!client.subscribe("refused", QoS::AtLeastOnce).unwrap().is_success());
            client.unsubscribe(&["a"]).unwrap();
        });
        peer.expect(&["SUBSCRIBE 1 a"]);
        peer.write(b"\x90\x04\x00\x01\x00\x01");
        peer.expect(&["SUBSCRIBE 2 b"]);
        peer.write(b"\x90\x04\x00\x02\x00\x01");
        peer.expect(&["SUBSCRIBE 3 refused"]);
        peer.write(b"\x90\x04\x00\x03\x00\x87");
        peer.expect(&["UNSUBSCRIBE 4"]);
        peer.write(b"\xB0\x04\x00\x04\x00\x00");
    });
    drop(peer);
    for id in [5, 6] {
        let (transport, mut peer) = piped();
        sender.send(transport).unwrap();
        peer.accept("CONNECT clean=false", NEW);
        peer.expect(&[&format!("SUBSCRIBE {id} b")]);
        peer.write(&[0x90, 4, 0, id, 0, 1]);
        let resubscribed = events.find(|event| matches!(event, Event::Resubscribed(_))).unwrap();
        assert!(matches!(resubscribed, Event::Resubscribed(Ok(outcome)) if outcome.is_success()));
    }
    drop(sender);
}

/// Grants the next SUBSCRIBE, which is this one.
fn grant(peer: &mut Peer, id: u8, filter: &str) {
    peer.expect(&[&format!("SUBSCRIBE {id} {filter}")]);
    peer.write(&[0x90, 4, 0, id, 0, 1]);
}

/// A client with two subscriptions, whose connection is lost.
fn lost_session(config: ClientConfig) -> (Client, Events, Sender<Transport>) {
    let (sender, transports) = scripts();
    let (client, mut events) = connect(config, transports).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    thread::scope(|scope| {
        scope.spawn(|| ["a", "b"].map(|filter| client.subscribe(filter, QoS::AtLeastOnce).unwrap()));
        grant(&mut peer, 1, "a");
        grant(&mut peer, 2, "b");
    });
    drop(peer);
    assert_eq!(connected(&mut events), Resumption::New);
    closed(&mut events);
    (client, events, sender)
}

/// All requests come before the first message, also if the queue is full.
#[test]
fn a_lost_session_is_subscribed_again_before_queued_messages_are_sent() {
    let (client, _events, sender) = lost_session(ClientConfig { max_stored: 3, ..config() });
    let _pending = ["1", "2", "3"].map(|payload| client.try_publish(&message(payload, QoS::AtLeastOnce)).unwrap());
    let full = client.try_publish(&message("4", QoS::AtLeastOnce)).unwrap_err();
    assert_eq!(full, Error::Publish(PublishError::QueueFull));
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=false", NEW);
    peer.expect(&["SUBSCRIBE 3 a", "SUBSCRIBE 4 b"]);
    peer.expect(&["PUBLISH 5 1 dup=false", "PUBLISH 6 2 dup=false", "PUBLISH 7 3 dup=false"]);
}

/// A session that has room for one request at a time sends one after the other, on the same connection.
#[test]
fn subscriptions_that_find_no_room_are_requested_again_later() {
    let (_client, mut events, sender) = lost_session(ClientConfig { max_stored: 1, ..config() });
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=false", NEW);
    grant(&mut peer, 3, "a");
    grant(&mut peer, 4, "b");
    assert_eq!(connected(&mut events), Resumption::Lost);
    for _ in ["a", "b"] {
        let event = next(&mut events);
        assert!(matches!(&event, Event::Resubscribed(Ok(outcome)) if outcome.is_success()), "{event:?}");
    }
}

/// Messages that never end: a reader that counts the bytes that were read.
struct Flood {
    read: Arc<AtomicUsize>,
    packet: Vec<u8>,
}

impl Read for Flood {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let before = self.read.load(Ordering::Relaxed);
        for (index, byte) in buffer.iter_mut().enumerate() {
            let at = before + index;
            *byte = match NEW.get(at) {
                Some(byte) => *byte,
                None => self.packet[(at - NEW.len()) % self.packet.len()],
            };
        }
        self.read.store(before + buffer.len(), Ordering::Relaxed);
        Ok(buffer.len())
    }
}

/// An application that does not take its events is sent no more: what was read stays within a limit. A message of QoS 0
/// is published meanwhile.
#[test]
fn events_that_are_not_taken_stop_the_reading() {
    const EVENTS: usize = 10;
    /// The buffers of the link, one piece that is being read, and one packet.
    const BUFFERS: usize = 2 * 64 * 1024 + 2 * 16 * 1024 + 1024;
    let packet = [b"\x30\x84\x08\x00\x01a\x00".as_slice(), &[b'x'; 1024]].concat();
    let size = packet.len();
    let read = Arc::new(AtomicUsize::new(0));
    let flood = Flood { read: Arc::clone(&read), packet };
    let mut transport = Some(Transport::new(flood, io::sink()));
    let (client, mut events) = Builder::new(config())
        .max_events(EVENTS)
        .connect(move || transport.take().ok_or_else(|| io::ErrorKind::ConnectionRefused.into()))
        .unwrap();
    assert_eq!(connected(&mut events), Resumption::New);
    let check = |taken: usize| {
        let most = NEW.len() + (taken + EVENTS) * size + BUFFERS;
        let read = read.load(Ordering::Relaxed);
        assert!(read <= most, "{read} bytes were read, and {most} are the most");
    };
    // The client is busy, and has every occasion to read.
    for _ in 0..1000 {
        assert_eq!(client.publish(&message("out", QoS::AtMostOnce)).unwrap().outcome(), Outcome::Sent);
        check(0);
    }
    for taken in 1..3000 {
        assert!(matches!(next(&mut events), Event::Message(message) if message.payload().len() == 1024));
        check(taken);
    }
    client.disconnect();
    assert!(events.count() <= EVENTS + 1);
}

/// A refusal ends the client; operations without an outcome say so.
#[test]
fn a_refusal_ends_the_client() {
    let (sender, transports) = scripts();
    let (client, mut events) = connect(config(), transports).unwrap();
    let pending = client.try_publish(&message("1", QoS::AtLeastOnce)).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", b"\x20\x03\x00\x87\x00");
    peer.expect(&["the end"]);
    drop(peer);
    let closed = closed(&mut events);
    assert_eq!((closed.reason_code, closed.retry_after), (Some(ReasonCode::NotAuthorized), None));
    assert_eq!(closed.to_string(), "the server refuses the connection: 0x87 (Not authorized)");
    assert!(events.next().is_none());
    assert_eq!(pending.wait(), Err(Ended));
    assert_eq!(client.check(), Err(Ended));
}

/// A refusal that may pass, and a transport that cannot be connected, are followed by another connection, unless the
/// application does not want one.
#[test]
fn passing_reasons_are_tried_again() {
    for reconnects in [true, false] {
        let (sender, transports) = scripts();
        let (_client, mut events) = Builder::new(config()).reconnect(reconnects).connect(transports).unwrap();
        let (transport, mut peer) = piped();
        sender.send(transport).unwrap();
        peer.accept("CONNECT clean=true", b"\x20\x03\x00\x89\x00");
        drop(peer);
        let closed = closed(&mut events);
        assert_eq!(closed.reason_code, Some(ReasonCode::ServerBusy));
        assert_eq!(closed.retry_after.is_some(), reconnects);
        if reconnects {
            let (transport, mut peer) = piped();
            sender.send(transport).unwrap();
            peer.accept("CONNECT clean=true", NEW);
            assert_eq!(connected(&mut events), Resumption::New);
        } else {
            assert!(events.next().is_none());
        }
    }
}

/// `publish` waits for room, and `try_publish` does not.
#[test]
fn a_full_queue_makes_publishers_wait() {
    let (sender, transports) = scripts();
    let (client, _events) = connect(ClientConfig { max_stored: 1, ..config() }, transports).unwrap();
    let first = client.try_publish(&message("1", QoS::AtLeastOnce)).unwrap();
    let full = client.try_publish(&message("2", QoS::AtLeastOnce)).unwrap_err();
    assert_eq!(full, Error::Publish(PublishError::QueueFull));
    thread::scope(|scope| {
        let second = scope.spawn(|| client.publish(&message("2", QoS::AtLeastOnce)));
        let (transport, mut peer) = piped();
        sender.send(transport).unwrap();
        peer.accept("CONNECT clean=true", NEW);
        peer.expect(&["PUBLISH 1 1 dup=false"]);
        peer.write(b"\x40\x02\x00\x01");
        peer.expect(&["PUBLISH 2 2 dup=false"]);
        peer.write(b"\x40\x02\x00\x02");
        assert!(first.wait().unwrap().is_success());
        assert!(second.join().unwrap().unwrap().is_success());
    });
}

/// With manual acknowledgements the application acknowledges, once.
#[test]
fn manual_acknowledgements() {
    let (sender, transports) = scripts();
    let (client, mut events) = connect(ClientConfig { manual_acks: true, ..config() }, transports).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    peer.write(b"\x32\x07\x00\x01q\x00\x09\x007");
    assert_eq!(connected(&mut events), Resumption::New);
    let Event::Message(message) = next(&mut events) else { panic!("a message") };
    let handle = message.ack_handle().unwrap();
    client.ack(handle, PubAckReasonCode::QuotaExceeded).unwrap();
    peer.expect(&["PUBACK 9 QuotaExceeded"]);
    assert!(matches!(client.ack(handle, PubAckReasonCode::Success), Err(Error::Ack(_))));
}

/// A withdrawn message has an outcome.
#[test]
fn a_message_can_be_withdrawn() {
    let (sender, transports) = scripts();
    let (client, _events) = connect(config(), transports).unwrap();
    let mut pending = client.try_publish(&message("1", QoS::AtLeastOnce)).unwrap();
    assert_eq!(pending.try_outcome(), Ok(None));
    assert_eq!(pending.wait_within(Duration::ZERO), Ok(None));
    assert_eq!(client.operations(), [pending.token()]);
    client.withdraw(pending.token()).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    assert_eq!(pending.wait().unwrap().outcome(), Outcome::Abandoned(AbandonReason::Withdrawn));
    assert_eq!(client.operations(), []);
}

/// The steps of an enhanced authentication are answered; without an answer the connection ends.
#[test]
fn enhanced_authentication() {
    let authentication = Authentication { method: "m".into(), data: None };
    let config = ClientConfig { authentication: Some(Box::new(authentication)), ..config() };
    for answers in [true, false] {
        let (sender, transports) = scripts();
        let builder = Builder::new(config.clone());
        let builder = if answers { builder.authenticator(|data| [data, b"!"].concat()) } else { builder };
        let (client, mut events) = builder.connect(transports).unwrap();
        let (transport, mut peer) = piped();
        sender.send(transport).unwrap();
        peer.accept("CONNECT clean=true", b"\xF0\x0A\x18\x08\x15\x00\x01m\x16\x00\x01?");
        if answers {
            peer.accept("AUTH [63, 33]", b"\x20\x0B\x00\x00\x08\x15\x00\x01m\x16\x00\x01!");
            let Event::Connected(connected) = next(&mut events) else { panic!("not accepted") };
            assert_eq!(connected.properties().authentication_data, Some(&b"!"[..]));
            client.reauthenticate(b"again").unwrap();
            peer.expect(&["AUTH [97, 103, 97, 105, 110]"]);
        } else {
            peer.expect(&["DISCONNECT NormalDisconnection", "the end"]);
            drop(peer);
            assert_eq!(closed(&mut events).to_string(), "there is no authenticator");
        }
    }
}

/// Between two connections the client gets a new password, with which the next one begins.
#[test]
fn a_client_is_reconfigured_between_connections() {
    let with = |password: &str| ClientConfig { password: Some(password.as_bytes().into()), ..config() };
    let (sender, transports) = scripts();
    let (client, mut events) = connect(with("old"), transports).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true password=old", NEW);
    assert_eq!(connected(&mut events), Resumption::New);
    assert_eq!(client.reconfigure(with("new")), Err(ReconfigureError::AlreadyConnected));
    drop(peer);
    assert!(closed(&mut events).retry_after.is_some());
    client.reconfigure(with("new")).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=false password=new", RESUMED);
    assert_eq!(connected(&mut events), Resumption::Resumed);
}

/// A client that is not used any more disconnects; one whose events are dropped goes on.
#[test]
fn a_client_that_nobody_uses_disconnects() {
    let (sender, transports) = scripts();
    let (client, events) = connect(config(), transports).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    drop(events);
    peer.write(b"\x30\x05\x00\x01q\x007");
    let other = client.clone();
    drop(client);
    thread::scope(|scope| {
        let published = scope.spawn(|| other.publish(&message("1", QoS::AtLeastOnce)));
        peer.expect(&["PUBLISH 1 1 dup=false"]);
        peer.write(b"\x40\x02\x00\x01");
        assert!(published.join().unwrap().unwrap().is_success());
    });
    drop(other);
    peer.expect(&["DISCONNECT NormalDisconnection", "the end"]);
}

/// `disconnect` does not wait for a transport that does not connect, and ends the pause before the next connection.
#[test]
fn disconnect_without_a_connection() {
    let (_sender, transports) = scripts();
    let (client, _events) = connect(config(), transports).unwrap();
    client.disconnect();
    assert_eq!(client.check(), Err(Ended));

    let config = ClientConfig { min_backoff: u16::MAX, ..config() };
    let (client, mut events) = connect(config, || Err(io::ErrorKind::ConnectionRefused.into())).unwrap();
    assert!(closed(&mut events).retry_after.is_some());
    client.disconnect();
    assert_eq!(closed(&mut events).retry_after, None);
    assert!(events.next().is_none());
}

/// `disconnect` comes at any time in a client that tries one connection after another: it never waits for an attempt that
/// goes on for ever.
#[test]
fn disconnect_between_two_attempts() {
    for _ in 0..300 {
        let (is_leaving, (attempt, attempts), (end, ends)) = (Arc::new(AtomicBool::new(false)), channel(), channel());
        let hangs = Arc::clone(&is_leaving);
        let transports = move || {
            let _ = attempt.send(());
            if hangs.load(Ordering::SeqCst) {
                let _: Result<(), _> = ends.recv();
            }
            Err(io::ErrorKind::ConnectionRefused.into())
        };
        let (client, events) = connect(config(), transports).unwrap();
        drop(events);
        attempts.iter().take(3).for_each(drop);
        is_leaving.store(true, Ordering::SeqCst);
        client.disconnect();
        assert_eq!(client.check(), Err(Ended));
        drop(end);
    }
}

/// Pieces of any size arrive in order, in both directions.
#[test]
fn large_messages_pass() {
    let (sender, transports) = scripts();
    let config = ClientConfig { keep_alive: NonZeroU16::new(10), ..config() };
    let (client, mut events) = connect(config, transports).unwrap();
    let (transport, mut peer) = piped();
    sender.send(transport).unwrap();
    peer.accept("CONNECT clean=true", NEW);
    assert_eq!(connected(&mut events), Resumption::New);
    let large: Vec<u8> = (0..1_000_000_u32).map(|number| b'a' + (number % 23) as u8).collect();
    thread::scope(|scope| {
        let published = scope.spawn(|| client.publish(&Message::new("t", &large[..]).qos(QoS::AtLeastOnce)));
        let text = peer.next();
        assert!(text == format!("PUBLISH 1 {} dup=false", String::from_utf8_lossy(&large)));
        peer.write(b"\x40\x02\x00\x01");
        assert!(published.join().unwrap().unwrap().is_success());
    });
    let mut packet = Vec::new();
    packet.extend_from_slice(b"\x30\xC4\x84\x3D\x00\x01q\x00");
    packet.extend_from_slice(&large);
    peer.write(&packet);
    let Event::Message(message) = next(&mut events) else { panic!("a message") };
    assert!(message.payload()[..] == large[..]);
}
