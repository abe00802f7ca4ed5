//! The operations whose instructions are counted. Each prepares its input, and then runs the given number of times.

use std::hint::black_box;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
use mqtt_sansio::codec::{
    self, Connect, ConnectProperties, Limits, Packet, PacketId, Publish, PublishProperties, Subscribe, Subscription,
    Unsubscribe, UserProperty,
};
use mqtt_sansio::server::{Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::{Instant, Message, QoS, TopicFilter, TopicName, Transmit, Utf8Str, Version};

/// The name of an operation, and the function that runs it that many times.
pub type Operation = (&'static str, fn(u64));

pub const OPERATIONS: &[Operation] = &[
    ("decode PUBLISH small 3.1.1", |times| decode(&publish(Version::V311), Version::V311, times)),
    ("decode PUBLISH small 5.0", |times| decode(&publish(Version::V5), Version::V5, times)),
    ("decode PUBLISH with properties 5.0", |times| decode(&publish_with_properties(), Version::V5, times)),
    ("decode CONNECT full 5.0", |times| decode(&connect("thermo-0007"), Version::V5, times)),
    ("decode SUBSCRIBE of 8 5.0", |times| decode(&subscribe(&FILTERS), Version::V5, times)),
    ("decode PUBACK 3.1.1", |times| decode(&[0x40, 2, 0, 1], Version::V311, times)),
    ("encode PUBLISH small 3.1.1", |times| encode_publish(Version::V311, times)),
    ("encode PUBLISH small 5.0", |times| encode_publish(Version::V5, times)),
    ("match a filter with wildcards", match_filter),
    ("client publishes QoS 0", |times| exchange(QoS::AtMostOnce, true, times)),
    ("client publishes QoS 1", |times| exchange(QoS::AtLeastOnce, true, times)),
    ("client publishes QoS 2", |times| exchange(QoS::ExactlyOnce, true, times)),
    ("server publishes QoS 1", |times| exchange(QoS::AtLeastOnce, false, times)),
    ("server publishes QoS 2", |times| exchange(QoS::ExactlyOnce, false, times)),
    ("poll of an idle client", poll_idle),
    ("broker, one to one QoS 0", |times| route(QoS::AtMostOnce, 1, times)),
    ("broker, one to one QoS 1", |times| route(QoS::AtLeastOnce, 1, times)),
    ("broker, one to one QoS 2", |times| route(QoS::ExactlyOnce, 1, times)),
    ("broker, one to a hundred QoS 0", |times| route(QoS::AtMostOnce, 100, times)),
    ("broker, one to a hundred QoS 1", |times| route(QoS::AtLeastOnce, 100, times)),
    ("durable broker, one to one QoS 1", |times| route_stored(QoS::AtLeastOnce, true, times)),
    ("durable broker, one to one QoS 2", |times| route_stored(QoS::ExactlyOnce, true, times)),
    ("durable broker that does not wait, one to one QoS 1", |times| route_stored(QoS::AtLeastOnce, false, times)),
    ("durable broker that does not wait, one to one QoS 2", |times| route_stored(QoS::ExactlyOnce, false, times)),
    ("broker, PINGREQ", ping),
    ("broker, SUBSCRIBE and UNSUBSCRIBE", subscriptions),
    ("broker, a retained message replaced", retained),
    ("broker, a client comes and goes", connections),
];

/// The time given to the engines, which stands still.
const NOW: Instant = Instant::from_micros(1);
const TOPIC: &str = "site/12/device/7/reading";
const PAYLOAD: [u8; 64] = [b'x'; 64];
const FILTERS: [&str; 8] = ["a/b/c", "a/+/c", "a/#", "b/1", "b/2", "b/3", "b/4", "home/+/set/#"];

fn publish(version: Version) -> Vec<u8> {
    encoded(&Publish { topic: TopicName::new(TOPIC).unwrap(), payload: &PAYLOAD, ..Publish::default() }.into(), version)
}

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    bytes
}

fn text(text: &str) -> Utf8Str<'_> {
    Utf8Str::new(text).unwrap()
}

fn publish_with_properties() -> Vec<u8> {
    let user = [
        UserProperty { name: text("origin"), value: text("plant-3") },
        UserProperty { name: text("unit"), value: text("celsius") },
    ];
    let properties = PublishProperties {
        message_expiry_interval: Some(60),
        response_topic: Some(TopicName::new("answers/7").unwrap()),
        correlation_data: Some(&[1, 2, 3, 4]),
        content_type: Some(text("text/plain")),
        user_properties: (&user[..]).into(),
        ..PublishProperties::default()
    };
    let topic = TopicName::new(TOPIC).unwrap();
    encoded(&Publish { topic, payload: &PAYLOAD, properties, ..Publish::default() }.into(), Version::V5)
}

fn connect(name: &str) -> Vec<u8> {
    let connect = Connect {
        version: Version::V5,
        client_identifier: name.try_into().unwrap(),
        keep_alive: 60,
        user_name: Some(text("user")),
        password: Some(b"password"),
        properties: ConnectProperties { session_expiry_interval: Some(60), ..ConnectProperties::default() },
        ..Connect::default()
    };
    encoded(&connect.into(), Version::V5)
}

fn subscribe(filters: &[&str]) -> Vec<u8> {
    let all: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, QoS::ExactlyOnce).unwrap()).collect();
    let packet = Subscribe { id: PacketId::MIN, subscriptions: (&all).into(), properties: Default::default() };
    encoded(&packet.into(), Version::V5)
}

fn decode(bytes: &[u8], version: Version, times: u64) {
    for _ in 0..times {
        let _ = black_box(codec::decode(black_box(bytes), version, Limits::default()));
    }
}

fn encode_publish(version: Version, times: u64) {
    let publish = Publish { topic: TopicName::new(TOPIC).unwrap(), payload: &PAYLOAD, ..Publish::default() };
    let mut out = [0_u8; 256];
    for _ in 0..times {
        let packet = Packet::Publish(black_box(publish));
        black_box(packet.encode_to_slice(version, &mut out).unwrap());
    }
}

fn match_filter(times: u64) {
    let (filter, topic) = (TopicFilter::new("site/+/device/+/#").unwrap(), TopicName::new(TOPIC).unwrap());
    for _ in 0..times {
        black_box(black_box(filter).matches(black_box(topic)));
    }
}

/// A connected client and server session.
struct Link {
    client: ClientSession,
    server: ServerSession,
    bytes: Vec<u8>,
}

impl Link {
    fn new() -> Self {
        let mut client =
            ClientSession::new(ClientConfig { client_id: "client-0001".into(), ..ClientConfig::default() });
        client.open(NOW).unwrap();
        let mut bytes = Vec::with_capacity(4096);
        take(client.transmit(), &mut bytes);
        let mut acceptor = Acceptor::new(ServerConfig::default(), NOW);
        acceptor.poll(NOW, &mut &bytes[..]).map(drop).unwrap();
        let server = acceptor.accept(NOW, None, Accept::default()).unwrap();
        let mut link = Self { client, server, bytes };
        link.settle();
        link
    }

    /// Moves bytes in both directions until none are left.
    fn settle(&mut self) {
        loop {
            take(self.client.transmit(), &mut self.bytes);
            let sent = self.bytes.len();
            let mut input = &self.bytes[..];
            while let Some(action) = self.server.poll(NOW, &mut input) {
                black_box(&action);
            }
            take(self.server.transmit(), &mut self.bytes);
            let answered = self.bytes.len();
            let mut input = &self.bytes[..];
            while let Some(action) = self.client.poll(NOW, &mut input) {
                black_box::<&Action<'_>>(&action);
            }
            if sent == 0 && answered == 0 {
                return;
            }
        }
    }
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

fn exchange(qos: QoS, from_client: bool, times: u64) {
    let mut link = Link::new();
    for _ in 0..times {
        let message = Message::new(TOPIC, &PAYLOAD).qos(qos);
        if from_client {
            link.client.publish(NOW, &message).unwrap();
        } else {
            link.server.publish(NOW, &message).unwrap();
        }
        link.settle();
    }
}

fn poll_idle(times: u64) {
    let mut link = Link::new();
    for _ in 0..times {
        drop(black_box(link.client.poll_timeout(black_box(NOW))));
        black_box(link.client.deadline());
    }
}

/// A broker and the packets of its clients.
struct Stage {
    broker: Broker<AllowAll>,
    /// The acknowledgements of each client: the clients are connections only.
    answers: Vec<(ConnectionId, Vec<u8>)>,
}

impl Stage {
    fn new() -> Self {
        Self::with(BrokerConfig::new(Secret::new([7; 16])))
    }

    fn with(config: BrokerConfig) -> Self {
        Self { broker: Broker::new(config, AllowAll), answers: Vec::new() }
    }

    /// Commits the changes of a durable broker, and lets all that has waited for that be done.
    fn commit(&mut self) {
        while let Some(batch) = self.broker.changes() {
            self.broker.committed(NOW, black_box(batch).number());
        }
        self.settle();
    }

    fn open(&mut self, name: &str) -> ConnectionId {
        let id = self.broker.open(NOW, Origin::UNKNOWN);
        self.receive(id, &connect(name));
        id
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.give(id, bytes);
        self.settle();
    }

    /// Gives the broker what a client has sent, and polls it for what does not finish at once.
    fn give(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut input = bytes;
        self.broker.receive(NOW, id, &mut input);
        while self.broker.deadline().is_some_and(|at| at <= NOW) {
            self.broker.poll(NOW);
            self.broker.receive(NOW, id, &mut input);
        }
    }

    /// Takes all output and acknowledges it, until none is left.
    fn settle(&mut self) {
        loop {
            while let Some(id) = self.broker.next_ready() {
                let transmit = self.broker.transmit(id);
                let mut answer = Vec::new();
                while transmit.has_remaining() {
                    acknowledge(transmit.chunk(), &mut answer);
                    let count = transmit.chunk().len();
                    transmit.advance(count);
                }
                if !answer.is_empty() {
                    self.answers.push((id, answer));
                }
            }
            if self.answers.is_empty() {
                return;
            }
            for (id, answer) in core::mem::take(&mut self.answers) {
                self.give(id, &answer);
            }
        }
    }
}

/// Answers as a client does. Each chunk holds whole packets, because no packet here is large.
fn acknowledge(bytes: &[u8], answer: &mut Vec<u8>) {
    let mut rest = bytes;
    while let [first, len, body @ ..] = rest {
        let (body, others) = body.split_at(usize::from(*len));
        rest = others;
        match first >> 4 {
            3 if first & 6 != 0 => {
                let topic = usize::from(body[0]) << 8 | usize::from(body[1]);
                let acknowledgement = if first & 6 == 2 { 0x40 } else { 0x50 };
                answer.extend([acknowledgement, 2, body[2 + topic], body[3 + topic]]);
            }
            5 => answer.extend([0x62, 2, body[0], body[1]]), // PUBREC: PUBREL
            6 => answer.extend([0x70, 2, body[0], body[1]]), // PUBREL: PUBCOMP
            _ => {}
        }
    }
}

fn route(qos: QoS, subscribers: u32, times: u64) {
    let mut stage = Stage::new();
    for number in 0..subscribers {
        let id = stage.open(&format!("subscriber-{number}"));
        stage.receive(id, &subscribe(&["site/+/device/+/reading"]));
    }
    let publisher = stage.open("publisher");
    let topic = TopicName::new(TOPIC).unwrap();
    let delivery = codec::Delivery::new(qos, PacketId::MIN, false);
    let packet = encoded(&Publish { delivery, topic, payload: &PAYLOAD, ..Publish::default() }.into(), Version::V5);
    for _ in 0..times {
        stage.receive(publisher, &packet);
    }
}

/// Routes a message through a durable broker. Subscribers answer after each twenty messages, and changes are committed then, so
/// that a message and its acknowledgement are in different batches; or, if no packet waits for that, after each thousand.
fn route_stored(qos: QoS, waits_for_commits: bool, times: u64) {
    let config = BrokerConfig::new(Secret::new([7; 16]));
    let mut stage = Stage::with(BrokerConfig { durable: true, waits_for_commits, ..config });
    let subscriber = stage.open("subscriber");
    stage.commit();
    stage.receive(subscriber, &subscribe(&["site/+/device/+/reading"]));
    let publisher = stage.open("publisher");
    stage.commit();
    let topic = TopicName::new(TOPIC).unwrap();
    let packets: Vec<Vec<u8>> = (1..=20)
        .map(|id| {
            let delivery = codec::Delivery::new(qos, PacketId::new(id).unwrap(), false);
            encoded(&Publish { delivery, topic, payload: &PAYLOAD, ..Publish::default() }.into(), Version::V5)
        })
        .collect();
    for (number, packet) in (1..=times).zip(packets.iter().cycle()) {
        stage.give(publisher, packet);
        if number % 20 == 0 && (waits_for_commits || number % 1000 == 0) {
            stage.commit();
        } else if number % 20 == 0 {
            stage.settle();
        }
    }
}

fn ping(times: u64) {
    let mut stage = Stage::new();
    let id = stage.open("client");
    for _ in 0..times {
        stage.receive(id, &[0xC0, 0]);
    }
}

fn subscriptions(times: u64) {
    let mut stage = Stage::new();
    let id = stage.open("client");
    let there = subscribe(&FILTERS);
    let filters = FILTERS.map(|filter| TopicFilter::new(filter).unwrap());
    let back = Unsubscribe { id: PacketId::MIN, filters: (&filters[..]).into(), properties: Default::default() };
    let back = encoded(&back.into(), Version::V5);
    for _ in 0..times {
        stage.receive(id, &there);
        stage.receive(id, &back);
    }
}

fn retained(times: u64) {
    let mut stage = Stage::new();
    let id = stage.open("client");
    let topic = TopicName::new(TOPIC).unwrap();
    let packet = encoded(&Publish { topic, payload: &PAYLOAD, retain: true, ..Publish::default() }.into(), Version::V5);
    for _ in 0..times {
        stage.receive(id, &packet);
    }
}

fn connections(times: u64) {
    let mut stage = Stage::new();
    for _ in 0..times {
        let id = stage.open("client");
        stage.receive(id, &[0xE0, 0]);
        stage.broker.closed(NOW, id);
        stage.settle();
    }
}
