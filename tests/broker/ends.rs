//! Sessions that end with much in them: they are taken apart some items at a time, and no client waits for that.

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Decoded, Delivery, Disconnect, Limits, Packet, PacketType, Publish, PublishProperties,
    Subscribe, Subscription, decode,
};
use mqtt_sansio::{Instant, Message, PacketId, QoS, TopicName, Utf8Str, Version};

const NOW: Instant = Instant::from_micros(1_000_000);
const WORK: u32 = 100;

struct Stage {
    broker: Broker<AllowAll>,
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

impl Stage {
    fn new() -> Self {
        let config =
            BrokerConfig { work_per_call: WORK.try_into().unwrap(), ..BrokerConfig::new(Secret::new([7; 16])) };
        Self { broker: Broker::new(config, AllowAll) }
    }

    fn connect(&mut self, name: &str, clean_start: bool) -> (ConnectionId, bool) {
        let connection = self.broker.open(NOW, Origin::UNKNOWN);
        let properties = ConnectProperties { session_expiry_interval: Some(3600), ..ConnectProperties::default() };
        let client_identifier = Utf8Str::new(name).unwrap();
        let connect =
            Connect { version: Version::V5, client_identifier, clean_start, properties, ..Connect::default() };
        let answers = self.send(connection, &[connect.into()]);
        let Some(Packet::ConnAck(connack)) = decode_one(&answers) else { panic!("{answers:?} is not CONNACK") };
        (connection, connack.session_present)
    }

    /// Sends packets; returns the output, once all work is done that the answers need.
    fn send(&mut self, connection: ConnectionId, packets: &[Packet<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for packet in packets {
            packet.encode(Version::V5, &mut bytes).unwrap();
        }
        let (mut input, mut output) = (&bytes[..], Vec::new());
        loop {
            self.broker.receive(NOW, connection, &mut input);
            self.broker.assert_consistent();
            output.extend(self.read(connection));
            if input.is_empty() && (self.broker.takes_input(connection) || self.broker.is_over(connection)) {
                return output;
            }
            self.poll();
        }
    }

    fn poll(&mut self) {
        let before = self.broker.work_done();
        self.broker.poll(NOW);
        self.broker.assert_consistent();
        assert!(self.broker.work_done() - before <= 2 * u64::from(WORK), "a call is bounded");
    }

    fn read(&mut self, connection: ConnectionId) -> Vec<u8> {
        let mut output = Vec::new();
        loop {
            let transmit = self.broker.transmit(connection);
            let chunk = transmit.chunk().to_vec();
            if chunk.is_empty() {
                return output;
            }
            transmit.advance(chunk.len());
            output.extend(chunk);
        }
    }

    fn finish(&mut self) -> usize {
        let mut polls = 0;
        while self.broker.deadline().is_some_and(|at| at <= NOW) {
            self.poll();
            polls += 1;
            assert!(polls < 100_000, "unfinished work comes to an end");
        }
        polls
    }

    fn publish(&mut self, topic: &str, count: usize) {
        for _ in 0..count {
            self.broker.publish(NOW, &Message::new(topic, "payload").qos(QoS::AtLeastOnce)).unwrap();
            self.finish();
        }
    }

    fn subscribe(&mut self, connection: ConnectionId, filters: impl Iterator<Item = String>) {
        let filters: Vec<_> = filters.collect();
        let subscriptions: Vec<_> =
            filters.iter().map(|filter| Subscription::new(filter, QoS::AtLeastOnce).unwrap()).collect();
        self.send(connection, &[Subscribe::new(id(1), &subscriptions).into()]);
    }
}

fn decode_one(bytes: &[u8]) -> Option<Packet<'_>> {
    match decode(bytes, Version::V5, Limits::DEFAULT) {
        Ok(Decoded::Packet { packet, .. }) => Some(packet),
        _ => None,
    }
}

fn packet_types(bytes: &[u8]) -> Vec<PacketType> {
    let (mut rest, mut types) = (bytes, Vec::new());
    while let Ok(Decoded::Packet { packet, size }) = decode(rest, Version::V5, Limits::DEFAULT) {
        types.push(packet.packet_type());
        rest = &rest[size..];
    }
    types
}

/// A session with subscriptions and messages, without its connection.
fn laden(stage: &mut Stage, filters: usize, messages: usize) {
    let (connection, _) = stage.connect("laden", true);
    stage.subscribe(connection, (0..filters).map(|number| format!("t/{number}")));
    stage.broker.closed(NOW, connection);
    stage.publish("t/0", messages);
    assert_eq!((stage.broker.status().subscriptions, stage.broker.status().stored), (filters as u32, messages as u64));
}

#[test]
fn a_session_is_taken_apart_in_steps() {
    let mut stage = Stage::new();
    laden(&mut stage, 1500, 700);
    let (honest, _) = stage.connect("honest", true);
    stage.subscribe(honest, core::iter::once("own".to_owned()));
    let before = stage.broker.work_done();
    assert!(stage.broker.end_session(NOW, "laden"));
    assert!(stage.broker.work_done() - before <= 2 * u64::from(WORK), "a call is bounded");
    stage.broker.assert_consistent();
    // The client identifier is free at once, and messages go to the session no more.
    assert_eq!(stage.broker.status().sessions, 1);
    assert!(stage.broker.status().subscriptions > 1000, "much is left");
    let dropped = stage.broker.counters().dropped.session_ended;
    stage.broker.publish(NOW, &Message::new("t/0", "late").qos(QoS::AtLeastOnce)).unwrap();
    assert_eq!(stage.broker.counters().messages_forwarded, 700);
    assert!(!stage.broker.end_session(NOW, "laden"), "it has ended");
    // Others go on meanwhile.
    let delivery = Delivery::AtLeastOnce { id: id(1), dup: false };
    let publish = Publish { delivery, topic: TopicName::new("own").unwrap(), payload: b"x", ..Publish::default() };
    let output = stage.send(honest, &[publish.into()]);
    assert_eq!(packet_types(&output), [PacketType::Publish, PacketType::PubAck]);
    assert!(stage.broker.status().subscriptions > 1000, "much is left");
    assert!(stage.finish() > 10);
    assert_eq!((stage.broker.status().subscriptions, stage.broker.status().stored), (1, 1));
    assert_eq!(stage.broker.counters().dropped.session_ended - dropped, 700, "each message is counted once");
}

#[test]
fn a_clean_start_does_not_wait_for_the_old_session() {
    let mut stage = Stage::new();
    laden(&mut stage, 1500, 700);
    for round in 0..3 {
        let before = stage.broker.work_done();
        let (connection, session_present) = stage.connect("laden", true);
        assert!(stage.broker.work_done() - before <= 4 * u64::from(WORK), "the client is accepted at once");
        assert!(!session_present);
        assert_eq!(stage.broker.status().sessions, 1);
        assert_eq!(stage.broker.connection("laden"), Some(connection));
        // What is new is the new session's alone.
        stage.subscribe(connection, core::iter::once("t/0".to_owned()));
        stage.broker.publish(NOW, &Message::new("t/0", "new").qos(QoS::AtLeastOnce)).unwrap();
        let mut output = stage.read(connection);
        while output.is_empty() {
            stage.poll();
            output = stage.read(connection);
        }
        assert_eq!(packet_types(&output), [PacketType::Publish], "round {round}");
        stage.send(connection, &[Disconnect::default().into()]);
        stage.broker.closed(NOW, connection);
    }
    stage.finish();
    let (_, session_present) = stage.connect("laden", false);
    assert!(session_present);
    assert_eq!((stage.broker.status().subscriptions, stage.broker.status().stored), (1, 1));
}

/// Many sessions that expire at the same moment.
#[test]
fn expiries_are_spread_over_calls() {
    let mut stage = Stage::new();
    for number in 0..300 {
        let (connection, _) = stage.connect(&format!("c{number}"), true);
        stage.subscribe(connection, (0..5).map(|it| format!("{it}/{number}")));
        stage.broker.closed(NOW, connection);
    }
    for number in 0..300 {
        let topic = format!("r/{number}");
        let properties = PublishProperties { message_expiry_interval: Some(3600), ..PublishProperties::default() };
        let message = Message::new(&topic, "x").retain(true).properties(properties);
        stage.broker.publish(NOW, &message).unwrap();
        stage.finish();
    }
    let later = Instant::from_micros(NOW.as_micros() + 3_600_000_000);
    let mut polls = 0;
    while stage.broker.deadline().is_some_and(|at| at <= later) {
        let before = stage.broker.work_done();
        stage.broker.poll(later);
        stage.broker.assert_consistent();
        assert!(stage.broker.work_done() - before <= 2 * u64::from(WORK), "a call is bounded");
        polls += 1;
        assert!(polls < 10_000);
    }
    assert!(polls > 10, "{polls} calls");
    let status = stage.broker.status();
    assert_eq!((status.sessions, status.subscriptions, status.retained), (0, 0, 0));
}
