//! The loop of a server, with this crate's own client at the other end.

use std::io::{self, ErrorKind, Read, Write, pipe};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use mqtt_sansio::client::{Authentication, ClientConfig};
use mqtt_sansio::codec::{Auth, ConnAckReasonCode, Connect, Disconnect, DisconnectReasonCode, SubAckReasonCode};
use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, Message, QoS, ReasonCode, SessionExpiry, StdClock};
use mqtt_sansio_std::{Builder, Event, Served, Service, Transport, connect, serve, tcp};

/// Sends each client its own messages, and a greeting to each client that subscribes.
#[derive(Default)]
struct Echo {
    stored: Option<ServerSession>,
    greets: bool,
}

impl Service for Echo {
    fn connect(&mut self, now: Instant, acceptor: &mut Acceptor, request: &Connect<'_>) -> Option<ServerSession> {
        match request.client_identifier.as_str() {
            "undecided" => return None,
            "refused" => acceptor.refuse(now, ConnAckReasonCode::Banned).unwrap(),
            _ if request.properties.authentication_method.is_some() => acceptor.challenge(now, b"1+1").unwrap(),
            _ => return acceptor.accept(now, self.stored.take(), Accept::default()).ok(),
        }
        None
    }

    fn authenticate(&mut self, now: Instant, acceptor: &mut Acceptor, answer: &Auth<'_>) -> Option<ServerSession> {
        let is_right = answer.properties.authentication_data == Some(b"2");
        is_right.then(|| acceptor.accept(now, None, Accept::default()).unwrap())
    }

    fn action(&mut self, now: Instant, session: &mut ServerSession, action: Action<'_>) {
        match action {
            Action::Subscribe(request) => {
                let codes: Vec<_> = request.subscriptions.iter().map(|it| SubAckReasonCode::from(it.qos)).collect();
                session.suback(now, request.id, &codes).unwrap();
                self.greets = true;
            }
            Action::Message(message) => drop(session.publish(now, &Message::from(&message)).unwrap()),
            _ => {}
        }
    }

    fn advance(&mut self, now: Instant, session: &mut ServerSession) -> Option<Instant> {
        if std::mem::take(&mut self.greets) {
            session.publish(now, &Message::new("greetings", "hello").qos(QoS::AtLeastOnce)).unwrap();
        }
        None
    }
}

fn config(client_id: &str) -> ClientConfig {
    ClientConfig {
        client_id: client_id.into(),
        session_expiry_interval: SessionExpiry::after(1000),
        min_backoff: 0,
        ..ClientConfig::default()
    }
}

/// A message of each QoS goes there and back over TCP; the session is stored, and resumed over pipes.
#[test]
fn a_session_on_two_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (clock, server) = (StdClock::new(), Arc::new(ServerConfig::default()));
    let first = thread::spawn({
        let server = Arc::clone(&server);
        move || serve(listener.accept().unwrap().0.try_into().unwrap(), server, &clock, &mut Echo::default()).unwrap()
    });
    let (client, mut events) = connect(config("c"), tcp(address)).unwrap();
    assert!(client.subscribe("#", QoS::ExactlyOnce).unwrap().is_success());
    let mut messages = events.by_ref().filter_map(|event| match event {
        Event::Message(message) => Some((String::from_utf8_lossy(message.payload()).into_owned(), message.qos())),
        _ => None,
    });
    assert_eq!(messages.next(), Some(("hello".into(), QoS::AtLeastOnce)));
    for (payload, qos) in [("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
        assert!(client.publish(&Message::new("t", payload).qos(qos)).unwrap().is_success());
        assert_eq!(messages.next(), Some((payload.into(), qos)));
    }
    client.disconnect();
    let Served { session, reason, .. } = first.join().unwrap();
    assert_eq!(reason, "the client disconnects: 0x00 (Normal disconnection)");
    let mut session = session.unwrap();
    assert!(!session.is_connected());
    session.publish(clock.now(), &Message::new("t", "later").qos(QoS::AtLeastOnce)).unwrap();

    let (server_reader, client_writer) = pipe().unwrap();
    let (client_reader, server_writer) = pipe().unwrap();
    let second = thread::spawn(move || {
        let mut echo = Echo { stored: Some(session), greets: false };
        serve(Transport::new(server_reader, server_writer), server, &clock, &mut echo).unwrap()
    });
    let mut transport = Some(Transport::new(client_reader, client_writer));
    let transport = move || transport.take().ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into());
    let (client, mut events) = connect(ClientConfig { clean_start: false, ..config("c") }, transport).unwrap();
    let later = events.find_map(|event| match event {
        Event::Message(message) => Some(message.into_payload()),
        _ => None,
    });
    assert_eq!(later.as_deref(), Some(&b"later"[..]));
    client.disconnect();
    assert!(second.join().unwrap().session.is_some());
}

/// A client that asks and asks.
struct Asking(Vec<u8>);

impl Read for Asking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.0.len());
        buffer[..count].copy_from_slice(&self.0.drain(..count).collect::<Vec<_>>());
        Ok(count)
    }
}

/// A transport that takes so many bytes.
struct Breaking(usize);

impl Write for Breaking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        if count == 0 { Err(ErrorKind::BrokenPipe.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client is gone whose answers have grown so many that its input is not taken any more: the connection ends.
#[test]
fn a_client_that_does_not_take_its_answers_and_is_gone() {
    const PATIENCE: Duration = Duration::from_secs(120);
    let connect = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a";
    let pings = b"\xc0\x00".repeat(1 << 20);
    let transport = Transport::new(Asking([&connect[..], &pings].concat()), Breaking(1));
    let (done, is_done) = channel();
    thread::spawn(move || drop(done.send(serve(transport, Arc::default(), &StdClock::new(), &mut Echo::default()))));
    let served = is_done.recv_timeout(PATIENCE).expect("the connection ends").unwrap();
    assert_eq!(served.reason, io::Error::from(ErrorKind::BrokenPipe).to_string());
    assert!(served.session.is_some());
}

/// The decisions about a client: refused, undecided, and challenged.
#[test]
fn decisions_about_a_client() {
    let cases = [
        ("refused", None, Some(ReasonCode::Banned)),
        ("undecided", None, Some(ReasonCode::NotAuthorized)),
        ("right", Some("2"), None),
        ("wrong", Some("3"), Some(ReasonCode::NotAuthorized)),
    ];
    for (client_id, answer, refusal) in cases {
        let (server_reader, client_writer) = pipe().unwrap();
        let (client_reader, server_writer) = pipe().unwrap();
        let server = thread::spawn(move || {
            let transport = Transport::new(server_reader, server_writer);
            serve(transport, Arc::default(), &StdClock::new(), &mut Echo::default()).unwrap()
        });
        let mut transport = Some(Transport::new(client_reader, client_writer));
        let transport = move || transport.take().ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into());
        let authentication = answer.map(|_| Box::new(Authentication { method: "sum".into(), data: None }));
        let config = ClientConfig { authentication, ..config(client_id) };
        let builder = Builder::new(config).authenticator(move |_| answer.unwrap_or_default().into());
        let (client, mut events) = builder.connect(transport).unwrap();
        match events.next().unwrap() {
            Event::Connected(_) => assert_eq!(refusal, None),
            Event::Closed(closed) => assert_eq!(closed.reason_code, refusal),
            other => panic!("{other:?}"),
        }
        client.disconnect();
        assert_eq!(server.join().unwrap().session.is_some(), refusal.is_none(), "{client_id}");
    }
}

/// A client and a server in one process, over channels; each sees the end of the other.
#[test]
fn over_channels() {
    for client_ends in [true, false] {
        let ((to_server, from_client), (to_client, from_server)) = (channel::<Bytes>(), channel::<Bytes>());
        let server = thread::spawn(move || {
            let to_client = move |bytes: Option<Bytes>| {
                bytes.map_or(Ok(()), |bytes| to_client.send(bytes)).map_err(std::io::Error::other)
            };
            let transport = Transport::of_channels(from_client, to_client);
            let mut service = Leaving { echo: Echo::default(), leaves: !client_ends };
            serve(transport, Arc::default(), &StdClock::new(), &mut service).unwrap()
        });
        let (end, has_ended) = channel();
        let to_server = move |bytes: Option<Bytes>| match bytes {
            Some(bytes) => to_server.send(bytes).map_err(std::io::Error::other),
            None => end.send(()).map_err(std::io::Error::other),
        };
        let mut transport = Some(Transport::of_channels(from_server, to_server));
        let transport = move || transport.take().ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into());
        let (client, mut events) = Builder::new(config("c")).reconnect(false).connect(transport).unwrap();
        if client_ends {
            assert!(client.subscribe("#", QoS::ExactlyOnce).unwrap().is_success());
            let payload = vec![7; 100_000]; // more than one read takes
            assert!(client.publish(&Message::new("t", payload.clone()).qos(QoS::ExactlyOnce)).unwrap().is_success());
            let echoed = events.by_ref().find_map(|event| match event {
                Event::Message(message) if message.topic() == "t" => Some(message.into_payload()),
                _ => None,
            });
            assert_eq!(echoed.as_deref(), Some(&payload[..]));
            client.disconnect();
        }
        let closed = events.find_map(|event| match event {
            Event::Closed(closed) => Some(closed.reason_code),
            _ => None,
        });
        assert_eq!(closed, Some((!client_ends).then_some(ReasonCode::ServerShuttingDown)));
        has_ended.recv().unwrap();
        assert!(has_ended.recv().is_err()); // told once
        assert!(server.join().unwrap().session.is_some());
    }
}

/// An echo that may disconnect its client at once.
struct Leaving {
    echo: Echo,
    leaves: bool,
}

impl Service for Leaving {
    fn connect(&mut self, now: Instant, acceptor: &mut Acceptor, request: &Connect<'_>) -> Option<ServerSession> {
        self.echo.connect(now, acceptor, request)
    }

    fn action(&mut self, now: Instant, session: &mut ServerSession, action: Action<'_>) {
        self.echo.action(now, session, action);
    }

    fn advance(&mut self, now: Instant, session: &mut ServerSession) -> Option<Instant> {
        if std::mem::take(&mut self.leaves) {
            let reason_code = DisconnectReasonCode::ServerShuttingDown;
            let disconnect = Disconnect { reason_code, ..Disconnect::default() };
            session.disconnect(now, &disconnect).unwrap();
        }
        None
    }
}

/// The ready-made connector to a Unix socket: it talks, and an error names the path.
#[cfg(unix)]
#[test]
fn over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("mqtt-sansio-std-{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let transport = listener.accept().unwrap().0.try_into().unwrap();
        serve(transport, Arc::default(), &StdClock::new(), &mut Echo::default()).unwrap()
    });
    let (client, _events) = connect(config("c"), mqtt_sansio_std::unix(&path)).unwrap();
    assert!(client.publish(&Message::new("t", "1").qos(QoS::ExactlyOnce)).unwrap().is_success());
    client.disconnect();
    assert!(server.join().unwrap().session.is_some());
    std::fs::remove_file(&path).unwrap();

    let error = mqtt_sansio_std::unix(&path)().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
}
