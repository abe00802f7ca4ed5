//! A broker with `--data`: whichever way it ends, the next one goes on where it was.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mqtt_sansio::codec::{
    self, Connect, ConnectProperties, Decoded, Delivery, Limits, Packet, PubAck, PubComp, PubRec, PubRel, Publish,
    Subscribe, Subscription, Will, WillProperties,
};
use mqtt_sansio::{PacketId, QoS, TopicName, Utf8Str, Version};

use crate::broker::Broker;

/// A directory that is removed with all its files.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // A process that was killed may have had the same identifier, and may have left a directory.
        loop {
            let name = format!("mqtt-sansio-broker-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => break created.map(|()| Self(path)).unwrap(),
            }
        }
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn start(&self) -> Broker {
        Broker::start(&["--data", self.name()], "warn")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A client of 5.0 that a test controls packet by packet. Its session expires an hour after its connection.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

impl Client {
    fn open(broker: &Broker, client_id: &str, will: Option<Will<'_>>) -> Self {
        let mut client = Self { stream: broker.connect(), input: Vec::new() };
        client.send(Connect {
            version: Version::V5,
            client_identifier: Utf8Str::new(client_id).unwrap(),
            will,
            properties: ConnectProperties { session_expiry_interval: Some(3600), ..Default::default() },
            ..Default::default()
        });
        client
    }

    #[track_caller]
    fn connect(broker: &Broker, client_id: &str, expected: &str) -> Self {
        let mut client = Self::open(broker, client_id, None);
        client.expect(&[expected]);
        client
    }

    fn send<'a>(&mut self, packet: impl Into<Packet<'a>>) {
        let mut bytes = Vec::new();
        packet.into().encode(Version::V5, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    fn publish(&mut self, topic: &str, payload: &str, qos: QoS, packet_id: u16, dup: bool, retain: bool) {
        self.send(Publish {
            delivery: Delivery::new(qos, id(packet_id), dup),
            topic: TopicName::new(topic).unwrap(),
            payload: payload.as_bytes(),
            retain,
            ..Default::default()
        });
    }

    fn subscribe(&mut self, filter: &str) {
        let subscriptions = [Subscription::new(filter, QoS::ExactlyOnce).unwrap()];
        self.send(Subscribe { id: id(1), subscriptions: (&subscriptions).into(), properties: Default::default() });
        self.expect(&["SUBACK"]);
    }

    /// The text of the next packet.
    #[track_caller]
    fn next(&mut self) -> String {
        loop {
            let decoded = codec::decode(&self.input, Version::V5, Limits::from_server()).unwrap();
            if let Decoded::Packet { packet, size } = decoded {
                let text = match packet {
                    Packet::ConnAck(connack) if connack.session_present => "CONNACK with session".into(),
                    Packet::Publish(publish) => {
                        let payload = String::from_utf8_lossy(publish.payload);
                        let id = publish.delivery.packet_id().map_or(0, PacketId::get);
                        let dup = if publish.delivery.dup() { " again" } else { "" };
                        let retained = if publish.retain { " retained" } else { "" };
                        format!("{payload} {} {id}{dup}{retained}", publish.delivery.qos().value())
                    }
                    Packet::PubAck(puback) => format!("PUBACK {} {}", puback.id, puback.reason_code),
                    Packet::PubRec(pubrec) => format!("PUBREC {} {}", pubrec.id, pubrec.reason_code),
                    Packet::PubRel(pubrel) => format!("PUBREL {} {}", pubrel.id, pubrel.reason_code),
                    Packet::PubComp(pubcomp) => format!("PUBCOMP {} {}", pubcomp.id, pubcomp.reason_code),
                    other => other.packet_type().to_string(),
                };
                self.input.drain(..size);
                return text;
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return "the end".into(),
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                // A read with a timeout is not restarted after a signal, for example when the process is stopped and continued.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing arrives from the broker: {error}"),
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        for text in expected {
            assert_eq!(self.next(), *text);
        }
    }

    /// Nothing more has been sent to the client.
    #[track_caller]
    fn expect_no_more(&mut self) {
        self.send(Packet::PingReq);
        self.expect(&["PINGRESP"]);
    }
}

/// Deliveries of QoS 1 and 2 in each stage in both directions, retained messages, and a will with a delay survive an end. The
/// delay begins when `end` ends the connection, at the earliest at the time that it returns, or else when the next broker starts.
fn survives(end: impl Fn(&mut Broker) -> Option<Instant>) {
    let directory = Directory::new();
    let mut broker = directory.start();
    let mut sub = Client::connect(&broker, "sub", "CONNACK");
    sub.subscribe("load/#");
    let mut publisher = Client::connect(&broker, "publisher", "CONNACK");
    publisher.publish("kept/1", "kept", QoS::AtLeastOnce, 1, false, true);
    publisher.publish("kept/2", "removed", QoS::AtLeastOnce, 2, false, true);
    publisher.publish("kept/2", "", QoS::AtLeastOnce, 3, false, true);
    for packet_id in 1..=3 {
        let text = publisher.next();
        assert!(text.starts_with(&format!("PUBACK {packet_id} ")), "{text}");
    }
    // The subscriber acknowledges the first message, accepts ownership of the second, and leaves the others.
    for (packet_id, qos) in (4..=8).zip([1, 2, 2, 1, 2]) {
        let (qos, topic) = (QoS::from_value(qos).unwrap(), format!("load/{packet_id}"));
        publisher.publish(&topic, &packet_id.to_string(), qos, packet_id, false, false);
    }
    let expected = ["PUBACK 4", "PUBREC 5", "PUBREC 6", "PUBACK 7", "PUBREC 8"];
    publisher.expect(&expected.map(|text| format!("{text} 0x00 (Success)")).each_ref().map(|text| &**text));
    sub.expect(&["4 1 1", "5 2 2", "6 2 3", "7 1 4", "8 2 5"]);
    sub.send(PubAck { id: id(1), reason_code: Default::default(), properties: Default::default() });
    sub.send(PubRec { id: id(2), reason_code: Default::default(), properties: Default::default() });
    sub.expect(&["PUBREL 2 0x00 (Success)"]);
    publisher.send(PubRel { id: id(5), reason_code: Default::default(), properties: Default::default() });
    publisher.expect(&["PUBCOMP 5 0x00 (Success)"]);
    // A message for a client that is not there.
    Client::connect(&broker, "away", "CONNACK").subscribe("load/6");
    publisher.publish("load/6", "9", QoS::ExactlyOnce, 9, false, false);
    publisher.expect(&["PUBREC 9 0x00 (Success)"]);
    sub.expect(&["9 2 6"]);
    let properties = WillProperties { will_delay_interval: Some(1), ..Default::default() };
    let topic = TopicName::new("load/will").unwrap();
    let will = Will { topic, payload: b"will", qos: QoS::AtLeastOnce, retain: false, properties };
    let mut leaving = Client::open(&broker, "leaving", Some(will));
    leaving.expect(&["CONNACK"]);
    let begin = end(&mut broker); // which ends the connection: otherwise the delay might be over before
    drop(broker);

    let begin = begin.unwrap_or_else(Instant::now);
    let broker = directory.start();
    let mut sub = Client::connect(&broker, "sub", "CONNACK with session");
    let mut again: Vec<_> = (0..5).map(|_| sub.next()).collect();
    again.sort();
    assert_eq!(again, ["6 2 3 again", "7 1 4 again", "8 2 5 again", "9 2 6 again", "PUBREL 2 0x00 (Success)"]);
    sub.send(PubComp { id: id(2), reason_code: Default::default(), properties: Default::default() });
    let will = sub.next();
    assert!(will.starts_with("will 1 "), "{will}");
    let late = begin.elapsed();
    assert!(late >= Duration::from_millis(900), "{late:?}");
    sub.expect_no_more();
    Client::connect(&broker, "away", "CONNACK with session").expect(&["9 2 1"]);

    // The publisher has not seen the last answer to each.
    let mut publisher = Client::connect(&broker, "publisher", "CONNACK with session");
    publisher.publish("load/8", "8", QoS::ExactlyOnce, 8, true, false);
    publisher.send(PubRel { id: id(6), reason_code: Default::default(), properties: Default::default() });
    publisher.send(PubRel { id: id(9), reason_code: Default::default(), properties: Default::default() });
    publisher.expect(&["PUBREC 8 0x00 (Success)", "PUBCOMP 6 0x00 (Success)", "PUBCOMP 9 0x00 (Success)"]);
    publisher.publish("load/10", "10", QoS::ExactlyOnce, 6, false, false);
    publisher.expect(&["PUBREC 6 0x00 (Success)"]);
    let text = sub.next();
    assert!(text.starts_with("10 2 "), "no message of QoS 2 comes twice: {text}");
    let mut reader = Client::connect(&broker, "reader", "CONNACK");
    reader.subscribe("kept/#");
    reader.expect(&["kept 1 1 retained"]);
    reader.expect_no_more();
}

#[test]
fn acknowledged_state_survives_the_end() {
    survives(|broker| {
        let begin = Instant::now();
        broker.signal("TERM");
        assert!(broker.child.wait().unwrap().success());
        Some(begin)
    });
}

#[test]
fn acknowledged_state_survives_a_kill() {
    survives(|broker| {
        broker.child.kill().unwrap();
        None
    });
}

/// With a sync that is late, a clean end loses nothing.
#[test]
fn changes_that_may_be_late_are_stored_at_the_end() {
    let directory = Directory::new();
    let mut broker = Broker::start(&["--data", directory.name(), "--sync", "3600"], "warn");
    let mut client = Client::connect(&broker, "c", "CONNACK");
    client.subscribe("t");
    broker.signal("INT");
    client.expect(&["DISCONNECT", "the end"]);
    assert!(broker.child.wait().unwrap().success());
    let broker = directory.start();
    let mut client = Client::connect(&broker, "c", "CONNACK with session");
    client.publish("t", "1", QoS::ExactlyOnce, 1, false, false);
    let mut got = [client.next(), client.next()];
    got.sort();
    assert_eq!(got, ["1 2 1", "PUBREC 1 0x00 (Success)"]);
}

fn run(directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_broker"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(directory)
        .env("RUST_LOG", "warn")
        .output()
        .unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, expected: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("error: ") && text.contains(expected), "{text}");
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "it does not listen");
}

#[test]
fn a_second_process_is_refused() {
    let directory = Directory::new();
    let broker = directory.start();
    assert_refused(&run(&directory.0), 3, "is in use by another process");
    broker.assert_serves();
}

#[test]
fn a_damaged_database_is_refused() {
    let directory = Directory::new();
    std::fs::write(directory.0.join("state.redb"), "something else").unwrap();
    assert_refused(&run(&directory.0), 4, "state.redb is damaged: ");
    let text = std::fs::read_to_string(directory.0.join("state.redb")).unwrap();
    assert_eq!(text, "something else", "it is as it was");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    // Not even the superuser can write here.
    assert_refused(&run(Path::new("/proc/self/data")), 5, "cannot read and write /proc/self/data");
}

/// The disk is full: an error in the log, the broker goes on, and acknowledges nothing more. At the end there is an error with
/// its exit code. Nothing that was acknowledged is lost, and the next broker goes on when there is room.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    const MESSAGES: u16 = 60;
    let directory = Directory::new();
    let broker = directory.start();
    Client::connect(&broker, "sub", "CONNACK").subscribe("t");
    drop(broker);
    let size = std::fs::metadata(directory.0.join("state.redb")).unwrap().len();

    let mut broker = Broker::start_with_file_limit(size / 1024 + 1024, &["--data", directory.name()], "warn");
    let mut log = BufReader::new(broker.stderr()).lines().map(Result::unwrap);
    let mut publisher = Client::connect(&broker, "publisher", "CONNACK");
    let payload = |packet_id: u16| format!("{packet_id:>60000}");
    for packet_id in 1..=MESSAGES {
        publisher.publish("t", &payload(packet_id), QoS::AtLeastOnce, packet_id, false, false);
    }
    let error = log.find(|line| line.contains("changes cannot be committed yet")).unwrap();
    assert!(error.contains("state.redb") && error.contains("too large"), "{error}");
    broker.assert_serves();
    broker.signal("TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(5));
    let rest: Vec<_> = log.collect();
    assert!(rest.iter().any(|line| line.starts_with("error: ") && line.contains("state.redb")), "{rest:#?}");
    let acknowledged = std::iter::from_fn(|| Some(publisher.next()).filter(|text| text.starts_with("PUBACK"))).count();
    assert!((1..usize::from(MESSAGES)).contains(&acknowledged), "{acknowledged} had room");

    let broker = directory.start();
    let mut sub = Client::connect(&broker, "sub", "CONNACK with session");
    for packet_id in 1..=acknowledged as u16 {
        let text = sub.next();
        assert!(text.trim_start().starts_with(&format!("{packet_id} 1 ")), "{}", text.trim_start());
    }
    let mut publisher = Client::open(&broker, "publisher", None);
    publisher.next();
    publisher.publish("t", "more", QoS::AtLeastOnce, 1, false, false);
    let text = publisher.next();
    assert!(text.starts_with("PUBACK 1 "), "{text}");
}
