//! The engines of this repository, connected in the same way, and measurements that only they have.

use std::fmt::Write as _;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant as Clock;

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{self as client_end, Action, ClientConfig, ClientSession};
use mqtt_sansio::server::{self as server_end, Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, Message, QoS, Transmit};

use super::{PAY, Pair, TOPIC};
use crate::alloc;
use crate::frames::Version;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A publishing and a receiving client, as with the other engines that are clients only.
pub struct Ours {
    publisher: ClientSession,
    receiver: ClientSession,
    there: Vec<u8>,
    back: Vec<u8>,
}

pub const fn version(version: Version) -> mqtt_sansio::Version {
    match version {
        Version::V311 => mqtt_sansio::Version::V311,
        Version::V5 => mqtt_sansio::Version::V5,
    }
}

/// A connected client.
pub fn client(version: mqtt_sansio::Version) -> ClientSession {
    let config = ClientConfig {
        version,
        client_id: "client-0001".into(),
        max_stored: u32::MAX,
        transmit_limit: NonZeroU32::MAX,
        answer_limit: NonZeroU32::MAX,
        ..ClientConfig::default()
    };
    let mut client = ClientSession::new(config);
    client.open(Instant::EPOCH).unwrap();
    let connect = client.transmit().remaining();
    client.transmit().advance(connect);
    let connack: &[u8] = if version == mqtt_sansio::Version::V5 { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" };
    let mut input = connack;
    assert!(matches!(client.poll(Instant::EPOCH, &mut input), Some(Action::Connected(_))));
    assert!(client.poll(Instant::EPOCH, &mut input).is_none());
    client
}

fn take(transmit: &mut Transmit, to: &mut Vec<u8>) {
    to.clear();
    while transmit.has_remaining() {
        let chunk = transmit.chunk();
        let len = chunk.len();
        to.extend_from_slice(chunk);
        transmit.advance(len);
    }
}

impl Ours {
    pub fn new(of: Version) -> Self {
        let (publisher, receiver) = (client(version(of)), client(version(of)));
        Self { publisher, receiver, there: Vec::with_capacity(65536), back: Vec::with_capacity(65536) }
    }
}

impl Pair for Ours {
    fn name(&self) -> &'static str {
        "mqtt-sansio ClientSession (both ends)"
    }

    fn dir(&self) -> &'static str {
        "client->client session"
    }

    fn step(&mut self, qos: u8, window: usize) -> usize {
        let (mut received, mut done) = (0, 0);
        for _ in 0..window {
            self.publisher.publish(Instant::EPOCH, &Message::new(TOPIC, &PAY).qos(QOS[usize::from(qos)])).unwrap();
        }
        loop {
            take(self.publisher.transmit(), &mut self.there);
            if self.there.is_empty() {
                break;
            }
            let mut input = &self.there[..];
            while let Some(action) = self.receiver.poll(Instant::EPOCH, &mut input) {
                if let Action::Message(message) = &action {
                    black_box(message);
                    received += 1;
                }
            }
            take(self.receiver.transmit(), &mut self.back);
            let mut input = &self.back[..];
            while let Some(action) = self.publisher.poll(Instant::EPOCH, &mut input) {
                if let Action::Done { .. } = &action {
                    done += 1;
                }
            }
        }
        assert_eq!(done, window);
        received
    }
}

/// A client and a server, and which of them publishes.
pub struct ClientAndServer {
    client: ClientSession,
    server: ServerSession,
    is_up: bool,
    there: Vec<u8>,
    back: Vec<u8>,
}

/// A session that was just accepted, and its client, which has not received CONNACK yet.
pub fn server(version: mqtt_sansio::Version, config: Arc<ServerConfig>) -> (ClientSession, ServerSession) {
    let config_of_client = ClientConfig {
        version,
        client_id: "client-0001".into(),
        max_stored: u32::MAX,
        transmit_limit: NonZeroU32::MAX,
        answer_limit: NonZeroU32::MAX,
        ..ClientConfig::default()
    };
    let mut client = ClientSession::new(config_of_client);
    client.open(Instant::EPOCH).unwrap();
    let mut connect = Vec::new();
    take(client.transmit(), &mut connect);
    let mut acceptor = Acceptor::new(config, Instant::EPOCH);
    let request = acceptor.poll(Instant::EPOCH, &mut &connect[..]).map(drop);
    request.expect("a CONNECT");
    let session = acceptor.accept(Instant::EPOCH, None, Accept::default()).unwrap();
    (client, session)
}

impl ClientAndServer {
    pub fn new(of: Version, is_up: bool) -> Self {
        let (mut client, mut server) = server(version(of), ServerConfig::default().into());
        let mut connack = Vec::new();
        take(server.transmit(), &mut connack);
        let mut input = &connack[..];
        while client.poll(Instant::EPOCH, &mut input).is_some() {}
        Self { client, server, is_up, there: Vec::with_capacity(65536), back: Vec::with_capacity(65536) }
    }
}

macro_rules! exchange {
    ($self:ident, $from:ident $from_action:ident, $to:ident $to_action:ident, $qos:ident, $window:ident) => {{
        let (mut received, mut done) = (0, 0);
        for _ in 0..$window {
            $self.$from.publish(Instant::EPOCH, &Message::new(TOPIC, &PAY).qos(QOS[usize::from($qos)])).unwrap();
        }
        loop {
            take($self.$from.transmit(), &mut $self.there);
            if $self.there.is_empty() {
                break;
            }
            let mut input = &$self.there[..];
            while let Some(action) = $self.$to.poll(Instant::EPOCH, &mut input) {
                if let $to_action::Action::Message(message) = &action {
                    black_box(message);
                    received += 1;
                }
            }
            take($self.$to.transmit(), &mut $self.back);
            let mut input = &$self.back[..];
            while let Some(action) = $self.$from.poll(Instant::EPOCH, &mut input) {
                if let $from_action::Action::Done { .. } = &action {
                    done += 1;
                }
            }
        }
        assert_eq!(done, $window);
        received
    }};
}

impl Pair for ClientAndServer {
    fn name(&self) -> &'static str {
        "mqtt-sansio ClientSession and ServerSession"
    }

    fn dir(&self) -> &'static str {
        if self.is_up { "client->server" } else { "server->client" }
    }

    fn step(&mut self, qos: u8, window: usize) -> usize {
        if self.is_up {
            exchange!(self, client client_end, server server_end, qos, window)
        } else {
            exchange!(self, server server_end, client client_end, qos, window)
        }
    }
}

/// Memory of a connected endpoint: name, size of the struct, heap when idle, heap with 20 messages of QoS 1 in flight.
pub fn memory() -> Vec<(String, usize, i64, i64)> {
    [Version::V311, Version::V5]
        .map(|of| {
            alloc::track();
            let mut client = client(version(of));
            let idle = alloc::live();
            for _ in 0..20 {
                client.publish(Instant::EPOCH, &Message::new(TOPIC, &PAY).qos(QoS::AtLeastOnce)).unwrap();
            }
            let len = client.transmit().remaining();
            client.transmit().advance(len);
            let busy = alloc::live();
            alloc::stop();
            black_box(&client);
            (format!("mqtt-sansio ClientSession {of}"), size_of::<ClientSession>(), idle, busy)
        })
        .into_iter()
        .chain([Version::V311, Version::V5].map(server_memory))
        .collect()
}

fn server_memory(of: Version) -> (String, usize, i64, i64) {
    // All sessions share the configuration.
    let config = Arc::new(ServerConfig { max_stored: u32::MAX, ..ServerConfig::default() });
    let (mut client, mut session) = (None, None);
    alloc::track();
    let before = {
        let pair = server(version(of), Arc::clone(&config));
        client.replace(pair.0);
        session.replace(pair.1);
        drop(client.take());
        alloc::live()
    };
    let mut session = session.expect("a session");
    let connack = session.transmit().remaining();
    session.transmit().advance(connack);
    while session.poll_timeout(Instant::EPOCH).is_some() {}
    for _ in 0..20 {
        session.publish(Instant::EPOCH, &Message::new(TOPIC, &PAY).qos(QoS::AtLeastOnce)).unwrap();
    }
    let len = session.transmit().remaining();
    session.transmit().advance(len);
    let busy = alloc::live();
    alloc::stop();
    black_box(&session);
    (format!("mqtt-sansio ServerSession {of}"), size_of::<ServerSession>(), before, busy)
}

/// The time of a poll of sessions that have nothing to do.
fn idle_polls() -> String {
    const SESSIONS: usize = 100_000;
    let config = Arc::new(ServerConfig::default());
    let mut sessions: Vec<ServerSession> = (0..SESSIONS)
        .map(|_| {
            let (_, mut session) = server(mqtt_sansio::Version::V311, Arc::clone(&config));
            session.closed(Instant::EPOCH);
            while session.poll_timeout(Instant::EPOCH).is_some() {}
            session
        })
        .collect();
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let start = Clock::now();
            for session in &mut sessions {
                assert!(black_box(session.poll_timeout(Instant::EPOCH)).is_none());
            }
            start.elapsed().as_nanos() as f64 / SESSIONS as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    format!("| sessions without a connection | ns to poll one |\n|---:|---:|\n| {SESSIONS} | {:.1} |\n", times[10])
}

/// The time of a publish and its PUBACK with many messages in flight, and of a large payload.
pub fn report() -> String {
    let mut report = String::from("| open messages | ns for one more of QoS 1 and its PUBACK |\n|---:|---:|\n");
    for open in [10_u16, 1_000, 60_000] {
        let mut client = client(mqtt_sansio::Version::V5);
        for _ in 0..open {
            client.publish(Instant::EPOCH, &Message::new(TOPIC, &PAY).qos(QoS::AtLeastOnce)).unwrap();
        }
        let mut times: Vec<f64> = (0..21).map(|_| round(&mut client, open)).collect();
        times.sort_by(f64::total_cmp);
        let _ = writeln!(report, "| {open} | {:.0} |", times[times.len() / 2]);
    }
    let payload = Bytes::from(vec![7; 1 << 20]);
    let second_handle = payload.clone(); // the first clone of a vector's bytes makes them shared
    let mut client = client(mqtt_sansio::Version::V5);
    let mut publish = |qos| {
        client.publish(Instant::EPOCH, &Message::new(TOPIC, payload.clone()).qos(qos)).unwrap();
        let transmit = client.transmit();
        let head = transmit.chunk().len();
        transmit.advance(head);
        assert_eq!(transmit.chunk().as_ptr(), payload.as_ptr(), "the payload was copied");
        transmit.advance(payload.len());
        while client.poll_timeout(Instant::EPOCH).is_some() {}
    };
    publish(QoS::AtMostOnce);
    report += "\n| 1 MiB given as `Bytes` | allocations / bytes |\n|---|---:|\n";
    for (name, qos) in [("QoS 0", QoS::AtMostOnce), ("QoS 1", QoS::AtLeastOnce)] {
        let _ = writeln!(report, "| {name} | {} |", alloc::per(32, || publish(qos)));
    }
    drop(second_handle);
    let _ = write!(report, "\n{}", idle_polls());
    report
}

/// Publishes a thousand more messages, each acknowledged at once.
fn round(client: &mut ClientSession, open: u16) -> f64 {
    let start = Clock::now();
    for _ in 0..1000 {
        let len = client.transmit().remaining();
        client.transmit().advance(len);
        client.publish(Instant::EPOCH, &Message::new(TOPIC, &PAY).qos(QoS::AtLeastOnce)).unwrap();
        // The packet identifier follows the topic.
        let transmit = client.transmit();
        let chunk = transmit.chunk();
        let at = 2 + 2 + TOPIC.len();
        let puback = [0x40, 2, chunk[at], chunk[at + 1]];
        let mut input = &puback[..];
        while let Some(action) = client.poll(Instant::EPOCH, &mut input) {
            black_box(&action);
        }
    }
    assert_eq!(client.operations_in_flight(), usize::from(open));
    start.elapsed().as_nanos() as f64 / 1000.0
}
