//! The engines of this repository, joined in the same way, and what only they are asked.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant as Clock;

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::{Instant, Message, QoS};

use super::{PAY, Pair, TOPIC};
use crate::alloc;
use crate::frames::Version;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A client that publishes and a client that receives, as with the other engines that are clients only.
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

/// A client that is connected.
pub fn client(version: mqtt_sansio::Version) -> ClientSession {
    let config = ClientConfig {
        version,
        client_id: "client-0001".into(),
        max_kept: u32::MAX,
        transmit_limit: u32::MAX,
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

fn take(client: &mut ClientSession, to: &mut Vec<u8>) {
    to.clear();
    let transmit = client.transmit();
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
            self.publisher.publish(&Message::new(TOPIC, &PAY).qos(QOS[usize::from(qos)])).unwrap();
        }
        loop {
            take(&mut self.publisher, &mut self.there);
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
            take(&mut self.receiver, &mut self.back);
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

/// Memory of a connected client: name, size of the struct, heap when idle, heap with 20 messages of QoS 1 open.
pub fn memory() -> Vec<(String, usize, i64, i64)> {
    [Version::V311, Version::V5]
        .map(|of| {
            alloc::track();
            let mut client = client(version(of));
            let idle = alloc::live();
            for _ in 0..20 {
                client.publish(&Message::new(TOPIC, &PAY).qos(QoS::AtLeastOnce)).unwrap();
            }
            let len = client.transmit().remaining();
            client.transmit().advance(len);
            let busy = alloc::live();
            alloc::stop();
            black_box(&client);
            (format!("mqtt-sansio ClientSession {of}"), size_of::<ClientSession>(), idle, busy)
        })
        .into()
}

/// The cost of a publish and its PUBACK with many messages in flight, and of a large payload.
pub fn report() -> String {
    let mut report = String::from("| open messages | ns for one more of QoS 1 and its PUBACK |\n|---:|---:|\n");
    for open in [10_u16, 1_000, 60_000] {
        let mut client = client(mqtt_sansio::Version::V5);
        for _ in 0..open {
            client.publish(&Message::new(TOPIC, &PAY).qos(QoS::AtLeastOnce)).unwrap();
        }
        let mut times: Vec<f64> = (0..21).map(|_| round(&mut client, open)).collect();
        times.sort_by(f64::total_cmp);
        let _ = writeln!(report, "| {open} | {:.0} |", times[times.len() / 2]);
    }
    let payload = Bytes::from(vec![7; 1 << 20]);
    let second_handle = payload.clone(); // the first clone of a vector's bytes makes them shared
    let mut client = client(mqtt_sansio::Version::V5);
    let mut publish = |qos| {
        client.publish(&Message::new(TOPIC, payload.clone()).qos(qos)).unwrap();
        let transmit = client.transmit();
        let head = transmit.chunk().len();
        transmit.advance(head);
        assert_eq!(transmit.chunk().as_ptr(), payload.as_ptr(), "the payload was copied");
        transmit.advance(payload.len());
        while client.poll(Instant::EPOCH, &mut &[][..]).is_some() {}
    };
    publish(QoS::AtMostOnce);
    report += "\n| 1 MiB given as `Bytes` | allocations / bytes |\n|---|---:|\n";
    for (name, qos) in [("QoS 0", QoS::AtMostOnce), ("QoS 1", QoS::AtLeastOnce)] {
        let _ = writeln!(report, "| {name} | {} |", alloc::per(32, || publish(qos)));
    }
    drop(second_handle);
    report
}

/// Publishes a thousand messages more, each acknowledged at once.
fn round(client: &mut ClientSession, open: u16) -> f64 {
    let start = Clock::now();
    for _ in 0..1000 {
        let len = client.transmit().remaining();
        client.transmit().advance(len);
        client.publish(&Message::new(TOPIC, &PAY).qos(QoS::AtLeastOnce)).unwrap();
        // Its packet identifier stands behind the topic.
        let transmit = client.transmit();
        let chunk = transmit.chunk();
        let at = 2 + 2 + TOPIC.len();
        let puback = [0x40, 2, chunk[at], chunk[at + 1]];
        let mut input = &puback[..];
        while let Some(action) = client.poll(Instant::EPOCH, &mut input) {
            black_box(&action);
        }
    }
    assert_eq!(client.open_operations(), usize::from(open));
    start.elapsed().as_nanos() as f64 / 1000.0
}
