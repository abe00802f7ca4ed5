//! The memory a broker uses, measured with a counting allocator.

#![cfg(feature = "broker")]

use std::num::NonZeroU64;

use bytes::Buf;
use mqtt_sansio::broker::{
    Admission, Broker, BrokerConfig, Client, ConnectionId, Decision, DecisionId, Origin, Policy, Principal, Secret,
};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Delivery, DisconnectReasonCode, Packet, PacketId, PubAck, PubAckReasonCode, Publish,
    PublishProperties, SubAckReasonCode, Subscribe, Subscription, Will,
};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{Instant, QoS, ReceivedMessage, TopicName, Version};

#[path = "common/counting.rs"]
mod counting;

use self::counting::{CALLS, LARGEST, LIVE};

const NOW: Instant = Instant::from_micros(1);

/// Allows everything, now or never.
#[derive(Default)]
struct Decider {
    is_late: bool,
    /// Whether the decisions about subscriptions of resumed sessions never come.
    resubscribes_late: bool,
}

impl Decider {
    fn decide<T>(&self, decision: T) -> Decision<T> {
        if self.is_late { Decision::Later } else { Decision::Now(decision) }
    }
}

impl Policy for Decider {
    fn connect(&mut self, _: DecisionId, _: &Connect<'_>) -> Decision<Admission> {
        self.decide(Admission::accept())
    }

    fn publish(&mut self, _: DecisionId, _: Client<'_>, _: &ReceivedMessage<'_>) -> Decision<PubAckReasonCode> {
        self.decide(PubAckReasonCode::Success)
    }

    fn subscribe(&mut self, _: DecisionId, _: Client<'_>, it: &Subscription<'_>) -> Decision<SubAckReasonCode> {
        self.decide(it.qos.into())
    }

    fn resubscribe(&mut self, _: DecisionId, _: Client<'_>, it: &Subscription<'_>) -> Decision<SubAckReasonCode> {
        if self.resubscribes_late { Decision::Later } else { Decision::Now(it.qos.into()) }
    }

    fn principal(&mut self, _: Client<'_>) -> Principal {
        Principal::Origin
    }
}

struct Stage {
    broker: Broker<Decider>,
    version: Version,
    /// The origin of new connections.
    origin: u32,
    /// Whether nothing is written.
    is_deaf: bool,
}

fn config() -> BrokerConfig {
    let server = ServerConfig { topic_alias_maximum: 100, topic_aliases: 100, ..ServerConfig::default() };
    BrokerConfig { server, ..BrokerConfig::new(Secret::new([7; 16])) }
}

impl Stage {
    fn new(version: Version) -> Self {
        Self::with(config(), version)
    }

    fn with(config: BrokerConfig, version: Version) -> Self {
        Self { broker: Broker::new(config, Decider::default()), version, origin: 0, is_deaf: false }
    }

    fn connect(&mut self, name: &str, lasts: bool) -> ConnectionId {
        self.connect_as(name, lasts, ConnectProperties::default(), None)
    }

    fn connect_as<'a>(
        &mut self,
        name: &'a str,
        lasts: bool,
        properties: ConnectProperties<'a>,
        will: Option<Will<'a>>,
    ) -> ConnectionId {
        let session_expiry_interval = (self.version == Version::V5 && lasts).then_some(u32::MAX);
        let connect = Connect {
            version: self.version,
            clean_start: !lasts,
            client_identifier: name.try_into().unwrap(),
            properties: ConnectProperties { session_expiry_interval, ..properties },
            will,
            ..Connect::default()
        };
        let id = self.broker.open(NOW, Origin::new(self.origin.into()));
        self.receive(id, &self.encoded(connect));
        id
    }

    /// The subscriber of the origin, which has one session.
    fn subscriber(&mut self) -> ConnectionId {
        let name = format!("subscriber {}", self.origin);
        self.broker.connection(&name).unwrap_or_else(|| self.connect(&name, true))
    }

    fn subscribe(&mut self, id: ConnectionId, filter: &str, qos: QoS) {
        let subscriptions = [Subscription::new(filter, qos).unwrap()];
        let packet =
            Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties: Default::default() };
        self.receive(id, &self.encoded(packet));
    }

    fn message(&self, topic: &str, payload: &[u8], qos: QoS) -> Vec<u8> {
        let topic = TopicName::new(topic).unwrap();
        let delivery = Delivery::new(qos, PacketId::MIN, false);
        self.encoded(Publish { topic, payload, delivery, retain: false, properties: PublishProperties::default() })
    }

    fn encoded<'p>(&self, packet: impl Into<Packet<'p>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.into().encode(self.version, &mut bytes).unwrap();
        bytes
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut input = bytes;
        self.broker.receive(NOW, id, &mut input);
        while self.broker.deadline().is_some_and(|at| at <= NOW) {
            self.broker.poll(NOW);
            self.broker.receive(NOW, id, &mut input);
        }
        assert!(input.is_empty());
    }

    /// Writes, and closes the connections that are over.
    fn close_those_that_are_over(&mut self) {
        while let Some(id) = self.broker.next_ready() {
            if !self.is_deaf {
                let transmit = self.broker.transmit(id);
                transmit.advance(transmit.remaining());
            }
            if self.broker.is_over(id) {
                self.broker.closed(NOW, id);
            }
        }
    }

    /// Stores the changes of a durable broker.
    fn commit(&mut self) {
        while let Some(batch) = self.broker.changes() {
            self.broker.committed(NOW, batch.number());
        }
    }

    /// Takes all bytes that are to be written and returns their number.
    fn write(&mut self) -> usize {
        self.commit();
        let mut written = 0;
        while !self.is_deaf
            && let Some(id) = self.broker.next_ready()
        {
            while self.broker.transmit(id).has_remaining() {
                let transmit = self.broker.transmit(id);
                let len = transmit.chunk().len();
                transmit.advance(len);
                written += len;
            }
        }
        written
    }
}

/// A million such sessions fit into a GiB.
#[test]
fn an_idle_session_with_a_subscription_uses_about_a_kibibyte() {
    for version in [Version::V311, Version::V5] {
        let (sessions, before) = (20_000, LIVE.get());
        let mut stage = Stage::new(version);
        for number in 0..sessions {
            let id = stage.connect(&format!("device-{number:08}"), true);
            stage.subscribe(id, &format!("site/{}/device/{}/set", number / 1000, number % 1000), QoS::AtLeastOnce);
            stage.write();
            stage.broker.closed(NOW, id);
        }
        assert_eq!(stage.broker.status().sessions, sessions);
        let each = (LIVE.get() - before) / sessions as isize;
        assert!(each <= (1 << 30) / 1_000_000, "MQTT {version}: {each} bytes");
        drop(stage);
        assert_eq!(LIVE.get(), before, "everything is given back");
    }
}

/// Nothing that grows with the number of clients is moved as a whole: no allocation is larger than a piece. All tables are in
/// it: client identifiers, sessions, connections, topics and filters, groups, retained messages, timers.
#[test]
fn many_clients_take_memory_in_small_pieces() {
    let mut stage = Stage::new(Version::V5);
    LARGEST.set(0);
    for number in 0..30_000 {
        let id = stage.connect(&format!("device-{number:08}"), true);
        stage.subscribe(id, &format!("site/{}/device/{}/set", number / 1000, number % 1000), QoS::AtLeastOnce);
        let member = format!("$share/{number}/shared/{}", number % 1000);
        stage.subscribe(id, &member, QoS::AtMostOnce);
        let properties =
            PublishProperties { message_expiry_interval: Some(1000 + number), ..PublishProperties::default() };
        let topic = format!("state/{number}");
        let topic = TopicName::new(&topic).unwrap();
        let retained = stage.encoded(Publish { topic, payload: b"on", retain: true, properties, ..Publish::default() });
        stage.receive(id, &retained);
        stage.write();
        if number % 2 == 0 {
            stage.broker.closed(NOW, id);
        }
    }
    let largest = LARGEST.get();
    assert!(largest <= 160 * 1024, "an allocation of {largest} bytes");
    stage.broker.poll(Instant::from_micros(2_000_000_000));
    assert_eq!(stage.broker.status().retained, 30_000 - 1000);
}

type Kind = (&'static str, fn(&mut Stage, u32));

/// What clients can make a broker hold, one more with each call.
const KINDS: [Kind; 8] = [
    ("connections before CONNECT", |stage, _| {
        stage.broker.open(NOW, Origin::new(stage.origin.into()));
    }),
    ("connected clients", |stage, number| {
        stage.connect(&format!("device-{number:08}"), false);
    }),
    ("sessions without a connection", |stage, number| {
        let id = stage.connect(&format!("device-{number:08}"), true);
        stage.write();
        stage.broker.closed(NOW, id);
    }),
    ("long client identifiers", |stage, number| {
        stage.connect(&format!("{number:05}{}", "x".repeat(20_000)), false);
    }),
    ("subscriptions of one session", |stage, number| {
        let id = stage.subscriber();
        stage.subscribe(id, &format!("site/{}/device/{number}/set", number % 100), QoS::AtLeastOnce);
    }),
    ("long filters", |stage, number| {
        let id = stage.subscriber();
        stage.subscribe(id, &format!("{number}/{}", "x".repeat(1000)), QoS::AtLeastOnce);
    }),
    ("members of groups", |stage, number| {
        let id = stage.subscriber();
        stage.subscribe(id, &format!("$share/group-{number}/a/{}", number % 10), QoS::AtLeastOnce);
    }),
    ("retained messages", |stage, number| {
        let id = stage.broker.connection("publisher").unwrap_or_else(|| stage.connect("publisher", true));
        let topic = format!("state/{number}");
        let topic = TopicName::new(&topic).unwrap();
        let properties = PublishProperties { message_expiry_interval: Some(100), ..PublishProperties::default() };
        let retained = Publish { topic, payload: b"on", retain: true, properties, ..Publish::default() };
        stage.receive(id, &stage.encoded(retained));
    }),
];

/// More of what clients can make a broker hold: prepared by the first, one more with each call of the second.
type Another = (&'static str, fn(&mut Stage), fn(&mut Stage, u32));

/// Publishes to a client that does not acknowledge; each thirty messages go to another. Every second session ends with its
/// connection.
fn keep_in_flight(stage: &mut Stage, number: u32, payload: &[u8]) {
    if number.is_multiple_of(30) {
        let id = stage.connect(&format!("present {number}"), number.is_multiple_of(60));
        stage.subscribe(id, &format!("{}", number / 30), QoS::AtLeastOnce);
    }
    let message = stage.message(&format!("{}", number / 30), payload, QoS::AtLeastOnce);
    stage.receive(stage.broker.connection("publisher").unwrap(), &message);
}

const OTHERS: [Another; 24] = [
    (
        "wills",
        |_| {},
        |stage, number| {
            let payload = [b'w'; 300];
            let will = Will { topic: TopicName::new("last/will").unwrap(), payload: &payload, ..Will::default() };
            stage.connect_as(&format!("device-{number:08}"), false, ConnectProperties::default(), Some(will));
        },
    ),
    (
        "topic aliases of clients",
        |_| {},
        |stage, number| {
            let name = format!("publisher {}", number / 50);
            let id = stage.broker.connection(&name).unwrap_or_else(|| stage.connect(&name, false));
            let properties = PublishProperties {
                topic_alias: (number as u16 % 50 + 1).try_into().ok(),
                ..PublishProperties::default()
            };
            let topic = format!("{number}/{}", "t".repeat(100));
            let topic = TopicName::new(&topic).unwrap();
            stage.receive(id, &stage.encoded(Publish { topic, properties, ..Publish::default() }));
        },
    ),
    (
        "topic aliases for clients",
        |stage| _ = stage.connect("publisher", false),
        |stage, number| {
            let name = format!("subscriber {}", number / 50);
            if stage.broker.connection(&name).is_none() {
                let properties = ConnectProperties { topic_alias_maximum: Some(100), ..ConnectProperties::default() };
                let id = stage.connect_as(&name, false, properties, None);
                stage.subscribe(id, &format!("{}/+", number / 50), QoS::AtMostOnce);
            }
            let message = stage.message(&format!("{}/{number}{}", number / 50, "t".repeat(100)), b"", QoS::AtMostOnce);
            stage.receive(stage.broker.connection("publisher").unwrap(), &message);
        },
    ),
    (
        "queued messages",
        |stage| _ = stage.connect("publisher", false),
        |stage, number| {
            if number % 100 == 0 {
                let id = stage.connect(&format!("absent {number}"), true);
                stage.subscribe(id, &format!("{}", number / 100), QoS::AtLeastOnce);
                stage.write();
                stage.broker.closed(NOW, id);
            }
            let message = stage.message(&format!("{}", number / 100), &[b'q'; 50], QoS::AtLeastOnce);
            stage.receive(stage.broker.connection("publisher").unwrap(), &message);
        },
    ),
    (
        "messages in flight",
        |stage| _ = stage.connect("publisher", false),
        |stage, number| keep_in_flight(stage, number, &[b'f'; 50]),
    ),
    (
        "large messages in flight",
        |stage| _ = stage.connect("publisher", false),
        |stage, number| keep_in_flight(stage, number, &[b'f'; 3000]),
    ),
    (
        "clients that have acknowledged messages",
        |stage| _ = stage.connect("publisher", false),
        |stage, number| {
            let id = stage.connect(&format!("present {number}"), true);
            stage.subscribe(id, &format!("{number}"), QoS::AtLeastOnce);
            for packet_id in 1..=20 {
                let message = stage.message(&format!("{number}"), &vec![b'a'; 2 * packet_id], QoS::AtLeastOnce);
                stage.receive(stage.broker.connection("publisher").unwrap(), &message);
                stage.write();
                let packet_id = (packet_id as u16 - 1) % 16 + 1;
                stage.receive(id, &stage.encoded(PubAck::new(PacketId::new(packet_id).unwrap())));
            }
        },
    ),
    (
        "messages of QoS 2 that are not released",
        |_| {},
        |stage, number| {
            let id = stage.connect(&format!("publisher {number}"), true);
            for packet_id in 1..=10 {
                let delivery = Delivery::new(QoS::ExactlyOnce, PacketId::new(packet_id).unwrap(), false);
                let topic = TopicName::new("nobody").unwrap();
                stage.receive(id, &stage.encoded(Publish { topic, delivery, ..Publish::default() }));
            }
        },
    ),
    (
        "retained messages on their way",
        |stage| {
            let id = stage.connect("publisher", false);
            for number in 0..20 {
                let topic = format!("state/{number}");
                let topic = TopicName::new(&topic).unwrap();
                let delivery = Delivery::new(QoS::AtLeastOnce, PacketId::MIN, false);
                let retained = Publish { topic, payload: b"on", retain: true, delivery, ..Publish::default() };
                stage.receive(id, &stage.encoded(retained));
            }
        },
        |stage, number| {
            let properties = ConnectProperties { receive_maximum: 1.try_into().ok(), ..ConnectProperties::default() };
            let id = stage.connect_as(&format!("subscriber {number}"), true, properties, None);
            for filter in ["state/#", "#", "+/1"] {
                stage.subscribe(id, filter, QoS::AtLeastOnce);
            }
        },
    ),
    (
        "decisions about clients",
        |stage| stage.broker.policy_mut().is_late = true,
        |stage, number| {
            let payload = [b'w'; 300];
            let will = Will { topic: TopicName::new("last/will").unwrap(), payload: &payload, ..Will::default() };
            stage.connect_as(&format!("device-{number:08}"), false, ConnectProperties::default(), Some(will));
        },
    ),
    (
        "decisions about messages",
        |_| {},
        |stage, number| {
            stage.broker.policy_mut().is_late = false;
            let id = stage.connect(&format!("device-{number:08}"), false);
            stage.broker.policy_mut().is_late = true;
            stage.receive(id, &stage.message("later", &[b'l'; 500], QoS::AtLeastOnce));
        },
    ),
    (
        "decisions about subscriptions",
        |_| {},
        |stage, number| {
            stage.broker.policy_mut().is_late = false;
            let id = stage.connect(&format!("device-{number:08}"), false);
            stage.broker.policy_mut().is_late = true;
            stage.subscribe(id, &format!("later/{}", "l".repeat(500)), QoS::AtLeastOnce);
        },
    ),
    (
        "output that is not read",
        |stage| stage.is_deaf = true,
        |stage, number| {
            let id = stage.connect(&format!("deaf {number}"), false);
            stage.subscribe(id, &format!("{number}"), QoS::AtMostOnce);
            for _ in 0..10 {
                stage.receive(id, &stage.message(&format!("{number}"), &[b'o'; 100], QoS::AtMostOnce));
            }
        },
    ),
    (
        "output of connections that are over",
        |stage| stage.is_deaf = true,
        |stage, number| {
            let id = stage.connect(&format!("deaf {number}"), false);
            stage.subscribe(id, &format!("{number}"), QoS::AtMostOnce);
            for _ in 0..10 {
                stage.receive(id, &stage.message(&format!("{number}"), &[b'o'; 100], QoS::AtMostOnce));
            }
            stage.broker.disconnect(NOW, id, DisconnectReasonCode::AdministrativeAction);
        },
    ),
    (
        "principals",
        |_| {},
        |stage, number| {
            stage.broker.open(NOW, Origin::new(u128::from(number) << 64));
        },
    ),
    (
        "publications",
        |stage| {
            for number in 0..1000 {
                let id = stage.connect(&format!("subscriber {number}"), false);
                stage.subscribe(id, "all", QoS::AtMostOnce);
            }
            for number in 0..3000 {
                stage.origin = number;
                stage.connect(&format!("publisher {number}"), false);
            }
        },
        |stage, number| {
            let id = stage.broker.connection(&format!("publisher {number}")).unwrap();
            stage.broker.receive(NOW, id, &mut &stage.message("all", &[b'p'; 500], QoS::AtMostOnce)[..]);
        },
    ),
    (
        "messages behind publications",
        |stage| {
            OTHERS[15].1(stage);
            stage.connect("first", false);
        },
        |stage, number| {
            let topic = TopicName::new("all").unwrap();
            let message = Publish { topic, payload: &[b'p'; 500], retain: true, ..Publish::default() };
            let id = stage.broker.connection(&format!("publisher {number}")).unwrap();
            stage.broker.receive(NOW, id, &mut &stage.encoded(message)[..]);
        },
    ),
    (
        "output that others cause, and that is not read",
        |stage| {
            stage.is_deaf = true;
            stage.connect("publisher", false);
        },
        |stage, number| {
            let id = stage.connect(&format!("deaf {number}"), false);
            stage.subscribe(id, &format!("{number}"), QoS::AtMostOnce);
            for _ in 0..10 {
                let message = stage.message(&format!("{number}"), &[b'o'; 100], QoS::AtMostOnce);
                stage.receive(stage.broker.connection("publisher").unwrap(), &message);
            }
        },
    ),
    (
        "subscriptions of many sessions to the same filters",
        |_| {},
        |stage, number| {
            let name = format!("subscriber {}", number % 100);
            let id = stage.broker.connection(&name).unwrap_or_else(|| stage.connect(&name, true));
            for filter in 0..10 {
                stage.subscribe(id, &(number / 100 * 10 + filter).to_string(), QoS::AtMostOnce);
            }
        },
    ),
    (
        "decisions about many subscriptions",
        |_| {},
        |stage, number| {
            if number % 10 == 0 {
                stage.broker.policy_mut().is_late = false;
                let id = stage.connect(&format!("device-{number:08}"), false);
                stage.broker.policy_mut().is_late = true;
                let subscriptions = [Subscription::new("l", QoS::AtMostOnce).unwrap(); 1000];
                stage.receive(id, &stage.encoded(Subscribe::new(PacketId::MIN, &subscriptions)));
            }
        },
    ),
    (
        "resumed sessions with messages of QoS 2 that are not released",
        |_| {},
        |stage, number| {
            let name = format!("publisher {number}");
            let id = stage.connect(&name, true);
            for packet_id in 1..=10 {
                let delivery = Delivery::new(QoS::ExactlyOnce, PacketId::new(packet_id).unwrap(), false);
                let topic = TopicName::new("nobody").unwrap();
                stage.receive(id, &stage.encoded(Publish { topic, delivery, ..Publish::default() }));
            }
            stage.write();
            stage.broker.closed(NOW, id);
            stage.connect(&name, true);
        },
    ),
    (
        "decisions about the subscriptions of resumed sessions",
        |stage| stage.broker.policy_mut().resubscribes_late = true,
        |stage, number| {
            let name = format!("device-{number:08}");
            let id = stage.connect(&name, true);
            stage.subscribe(id, "a", QoS::AtMostOnce);
            stage.write();
            stage.broker.closed(NOW, id);
            let id = stage.connect(&name, true);
            assert!(!stage.broker.transmit(id).has_remaining(), "CONNACK waits");
        },
    ),
    (
        "methods of authentication",
        |_| {},
        |stage, number| {
            let method = "m".repeat(1000);
            let properties =
                ConnectProperties { authentication_method: (&*method).try_into().ok(), ..ConnectProperties::default() };
            stage.connect_as(&format!("device-{number:08}"), false, properties, None);
        },
    ),
    (
        "topic aliases of clients with a method of authentication",
        |_| {},
        |stage, number| {
            let properties =
                ConnectProperties { authentication_method: "PLAIN".try_into().ok(), ..ConnectProperties::default() };
            let id = stage.connect_as(&format!("publisher {number}"), false, properties, None);
            let properties = PublishProperties { topic_alias: 1.try_into().ok(), ..PublishProperties::default() };
            let topic = format!("{number}/{}", "t".repeat(1000));
            let topic = TopicName::new(&topic).unwrap();
            stage.receive(id, &stage.encoded(Publish { topic, properties, ..Publish::default() }));
        },
    ),
];

/// What is counted is what is allocated, for each kind of thing that clients can make a broker hold.
#[test]
fn the_account_is_what_is_allocated() {
    let kinds = KINDS.into_iter().map(|(kind, add)| -> Another { (kind, |_| {}, add) });
    // How full the nodes of a `BTreeMap` are is estimated.
    let kinds = kinds.zip(std::iter::repeat(103)).chain(OTHERS.into_iter().zip(std::iter::repeat(108)));
    for (((kind, prepare, add), most), durable) in kinds.flat_map(|it| [(it, false), (it, true)]) {
        let mut stage = Stage::with(BrokerConfig { durable, ..config() }, Version::V5);
        prepare(&mut stage);
        stage.write();
        let (live, counted) = (LIVE.get(), stage.broker.status().memory.total());
        for number in 0..3000 {
            add(&mut stage, number);
            stage.write();
        }
        stage.broker.assert_consistent();
        let (live, counted) = ((LIVE.get() - live) as u64, stage.broker.status().memory.total() - counted);
        let what = format!("{kind}, durable {durable}: {counted} bytes are counted, {live} are allocated");
        assert!(counted * 100 >= live * 92, "{what}");
        assert!(counted * 100 <= live * most, "{what}");
    }
}

/// Whatever clients do, connections, sessions and subscriptions take no more than they may, all of them and those of one
/// principal; retained messages have a limit of their own.
#[test]
fn the_memory_of_a_broker_is_limited() {
    let limit = 1_500_000;
    let kinds = KINDS.into_iter().filter(|&(kind, _)| kind != "retained messages");
    // One takes half, many take all.
    for ((kind, add), (origins, share)) in kinds.flat_map(|it| [(it, (1, 50)), (it, (60, 90))]) {
        let limits = BrokerConfig {
            max_state_memory: NonZeroU64::new(limit),
            max_subscriptions_per_session: u32::MAX,
            ..config()
        };
        let mut stage = Stage::with(limits, Version::V5);
        let before = LIVE.get();
        for number in 0..22_000 {
            stage.origin = number % origins;
            add(&mut stage, number);
            stage.close_those_that_are_over();
        }
        stage.broker.assert_consistent();
        let live = (LIVE.get() - before) as u64;
        assert!(live <= limit * 11 / 10, "{kind}: {live} bytes are allocated");
        assert!(live * 100 <= limit * (share + 20), "{kind}: {live} bytes are allocated by {origins}");
        assert!(live * 100 >= limit * share * 8 / 10, "{kind}: the limit is reached by {origins}: {live} bytes");
        let counters = stage.broker.counters();
        let refused = [counters.connections_refused, counters.clients_refused, counters.subscriptions_refused];
        assert_ne!(refused, [0; 3], "{kind}");
    }
}

/// Many filters in one packet, and many messages in flight to one client: what grows by steps stays within the limits too.
#[test]
fn what_grows_by_steps_is_limited() {
    let limit = 100_000;
    let state = |stage: &Stage| {
        let memory = stage.broker.status().memory;
        memory.connections + memory.sessions + memory.subscriptions
    };
    let limits = BrokerConfig { max_state_memory: NonZeroU64::new(limit), ..config() };
    let mut stage = Stage::with(limits.clone(), Version::V5);
    let id = stage.connect("subscriber", true);
    let filters: Vec<_> = (0..300).map(|number| format!("{number}/{}", "x".repeat(100))).collect();
    let subscriptions: Vec<_> =
        filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce).unwrap()).collect();
    stage.receive(id, &stage.encoded(Subscribe::new(PacketId::MIN, &subscriptions)));
    assert!(state(&stage) <= limit, "{} bytes for {} filters", state(&stage), stage.broker.status().subscriptions);
    assert!(state(&stage) >= limit / 3 && stage.broker.counters().subscriptions_refused > 0);

    let server = ServerConfig { max_stored: u32::MAX, ..limits.server.clone() };
    let mut stage = Stage::with(BrokerConfig { server, ..limits }, Version::V5);
    let id = stage.connect("subscriber", true);
    stage.subscribe(id, "a", QoS::AtLeastOnce);
    let publisher = stage.connect("publisher", true);
    for number in 0..20_000 {
        let delivery = Delivery::new(QoS::AtLeastOnce, PacketId::new(number % 100 + 1).unwrap(), false);
        let topic = TopicName::new("a").unwrap();
        stage.receive(publisher, &stage.encoded(Publish { topic, delivery, ..Publish::default() }));
        stage.write();
    }
    assert!(state(&stage) <= limit, "{} bytes for {} messages", state(&stage), stage.broker.status().stored);
    assert!(state(&stage) >= limit / 3 && stage.broker.counters().dropped.total() > 0);
}

/// A client that holds less than before stays, although others have taken the rest of the memory meanwhile; one that takes
/// more does not.
#[test]
fn a_client_that_takes_less_is_not_disconnected() {
    let limits = BrokerConfig { max_state_memory: NonZeroU64::new(300_000), ..config() };
    let mut stage = Stage::with(limits, Version::V5);
    stage.origin = 1000;
    let id = stage.connect("client", false);
    let aliases = |stage: &mut Stage, size: usize| {
        for alias in 1..=40_u16 {
            let properties = PublishProperties { topic_alias: alias.try_into().ok(), ..PublishProperties::default() };
            let topic = "t".repeat(size);
            let topic = TopicName::new(&topic).unwrap();
            let bytes = stage.encoded(Publish { topic, properties, ..Publish::default() });
            stage.broker.receive(NOW, id, &mut &bytes[..]);
            stage.close_those_that_are_over();
        }
    };
    aliases(&mut stage, 2000);
    let mut number = 0;
    while stage.broker.counters().connections_refused + stage.broker.counters().clients_refused < 60 {
        stage.origin = number % 60;
        stage.connect(&format!("device-{number:08}"), false);
        stage.close_those_that_are_over();
        number += 1;
    }
    aliases(&mut stage, 1000);
    assert_eq!(stage.broker.connection("client"), Some(id), "{number} clients take the rest");
    aliases(&mut stage, 3000);
    assert_eq!(stage.broker.connection("client"), None);
}

/// Whatever clients do, all that a broker holds is no more than its limits allow.
#[test]
fn all_memory_of_a_broker_is_limited() {
    let limit = 1_000_000;
    // Not those that need thousands of clients, nor those that wait for a decision alone.
    let kinds = OTHERS.into_iter().take(14);
    for ((kind, prepare, add), origins) in kinds.flat_map(|it| [(it, 1), (it, 60)]) {
        let limits = BrokerConfig {
            max_memory: limit,
            reserved_memory: limit / 4,
            max_state_memory: NonZeroU64::new(limit),
            ..config()
        };
        let mut stage = Stage::with(limits, Version::V5);
        let before = LIVE.get();
        stage.origin = 1000;
        prepare(&mut stage);
        for number in 0..6000 {
            stage.origin = number % origins;
            add(&mut stage, number);
            stage.close_those_that_are_over();
        }
        stage.broker.assert_consistent();
        let live = (LIVE.get() - before) as u64;
        let all = 2 * limit + limit / 4;
        assert!(live <= all * 11 / 10, "{kind}: {live} bytes are allocated by {origins}");
    }
}

/// Ended sessions and subscriptions free their memory, except for slots that are reused.
#[test]
fn ended_sessions_use_no_memory() {
    let mut stage = Stage::new(Version::V5);
    let mut run = |round: u32| {
        let ids: Vec<_> = (0..100).map(|number| stage.connect(&format!("client-{number}"), false)).collect();
        for (number, &id) in ids.iter().enumerate() {
            stage.subscribe(id, "all/#", QoS::AtMostOnce);
            stage.subscribe(id, &format!("own/{round}/{number}/+"), QoS::ExactlyOnce);
            stage.subscribe(id, &format!("$share/{round}/shared/{}", number % 7), QoS::AtLeastOnce);
        }
        let message = stage.message("all/things", &[b'x'; 100], QoS::AtLeastOnce);
        stage.receive(ids[0], &message);
        stage.write();
        for id in ids {
            stage.broker.closed(NOW, id);
        }
        // What is left of many ends is done by jobs.
        while stage.broker.deadline().is_some_and(|at| at <= NOW) {
            stage.broker.poll(NOW);
        }
        stage.broker.assert_consistent();
        let status = stage.broker.status();
        assert_eq!((status.sessions, status.subscriptions, status.stored_bytes), (0, 0, 0));
        LIVE.get()
    };
    let first = (0..30).map(&mut run).max().unwrap();
    let later = (30..60).map(&mut run).max().unwrap();
    assert!(later - first < 1024, "{} bytes more than in the first rounds", later - first);
}

#[test]
fn a_message_of_qos_0_allocates_nothing_after_the_first_ones() {
    for version in [Version::V311, Version::V5] {
        let mut stage = Stage::new(version);
        for number in 0..100 {
            let id = stage.connect(&format!("subscriber-{number}"), false);
            stage.subscribe(id, "news/+", QoS::AtMostOnce);
        }
        let publisher = stage.connect("publisher", false);
        let message = stage.message("news/weather", &[b'x'; 64], QoS::AtMostOnce);
        let mut publish = || {
            stage.receive(publisher, &message);
            assert!(stage.write() >= 100 * 64);
        };
        // Also the queue of input that waits for its turn.
        (0..30).for_each(|_| publish());
        let before = CALLS.get();
        (0..10).for_each(|_| publish());
        assert_eq!(CALLS.get() - before, 0, "MQTT {version}");
    }
}

/// The payload is stored once for connected and absent subscribers and for the retained message.
#[test]
fn a_large_payload_is_shared() {
    let size = 1 << 20;
    for version in [Version::V311, Version::V5] {
        let mut stage = Stage::new(version);
        for number in 0..50 {
            let id = stage.connect(&format!("there-{number}"), true);
            stage.subscribe(id, "film", QoS::AtLeastOnce);
            let id = stage.connect(&format!("away-{number}"), true);
            stage.subscribe(id, "film", QoS::AtLeastOnce);
            stage.write();
            stage.broker.closed(NOW, id);
        }
        let publisher = stage.connect("publisher", false);
        stage.write();
        let message = stage.message("film", &vec![b'x'; size], QoS::AtLeastOnce);
        let before = LIVE.get();
        stage.receive(publisher, &message);
        let taken = LIVE.get() - before;
        assert!(taken < size as isize * 5 / 4, "MQTT {version}: {taken} bytes for a hundred subscribers");
        assert!(stage.write() >= 50 * size);
    }
}

/// A connection that claims a large packet and does not send it buffers nothing.
#[test]
fn before_connect_a_connection_buffers_almost_nothing() {
    let mut stage = Stage::new(Version::V5);
    let before = LIVE.get();
    let ids: Vec<_> = (0..1000)
        .map(|_| {
            let id = stage.broker.open(NOW, Origin::UNKNOWN);
            let mut input = &b"\x10\xFF\xFF\xFF\x7F\0\x04MQTT\x05"[..];
            stage.broker.receive(NOW, id, &mut input);
            id
        })
        .collect();
    assert!(ids.iter().all(|&id| stage.broker.is_over(id)), "it is larger than any CONNECT may be");
    let each = (LIVE.get() - before) / 1000;
    assert!(each < 512, "{each} bytes");
}

/// An idle session of a durable broker takes at most a fifth more than one of a broker that is not.
#[test]
fn a_durable_session_takes_little_more() {
    const SESSIONS: usize = 4096;
    let [plain, durable] = [false, true].map(|durable| {
        let before = LIVE.get();
        let mut stage = Stage::with(BrokerConfig { durable, ..config() }, Version::V5);
        let mut of_each = LIVE.get() - before;
        for number in 0..SESSIONS {
            stage.origin = number as u32 % 16;
            let id = stage.connect(&format!("client {number:07}"), true);
            stage.subscribe(id, &format!("device/{number:07}"), QoS::AtLeastOnce);
            stage.commit();
            stage.broker.poll(NOW);
            let transmit = stage.broker.transmit(id);
            transmit.advance(transmit.remaining());
        }
        assert_eq!(stage.broker.status().subscriptions as usize, SESSIONS);
        of_each = LIVE.get() - before - of_each;
        of_each / SESSIONS as isize
    });
    assert!(durable * 5 <= plain * 6, "{durable} bytes instead of {plain}");
}

/// Answers that wait for changes to be stored are counted too.
#[test]
fn answers_that_wait_are_counted() {
    let mut stage = Stage::with(BrokerConfig { durable: true, ..config() }, Version::V5);
    let ids: Vec<_> = (0..50).map(|number| stage.connect(&format!("publisher {number}"), true)).collect();
    stage.write();
    let (live, counted) = (LIVE.get(), stage.broker.status().memory.total());
    for &id in &ids {
        for packet_id in 1..=200 {
            let delivery = Delivery::new(QoS::ExactlyOnce, PacketId::new(packet_id).unwrap(), false);
            let topic = TopicName::new("nobody").unwrap();
            stage.receive(id, &stage.encoded(Publish { topic, delivery, ..Publish::default() }));
        }
    }
    assert!(ids.iter().all(|&id| !stage.broker.transmit(id).has_remaining()), "nothing is stored yet");
    stage.broker.assert_consistent();
    let (live, counted) = ((LIVE.get() - live) as u64, stage.broker.status().memory.total() - counted);
    let what = format!("{counted} bytes are counted, {live} are allocated");
    assert!(counted * 100 >= live * 92, "{what}");
    assert!(counted * 100 <= live * 108, "{what}");
}

/// What nobody gets and what everybody has acknowledged leaves nothing in a durable broker.
#[test]
fn messages_that_are_over_leave_nothing_in_a_durable_broker() {
    let mut stage = Stage::with(BrokerConfig { durable: true, ..config() }, Version::V5);
    let (publisher, subscriber) = (stage.connect("publisher", true), stage.connect("subscriber", true));
    stage.subscribe(subscriber, "somebody", QoS::AtLeastOnce);
    let mut early = 0;
    for round in 0..2000 {
        for topic in ["nobody", "somebody"] {
            stage.receive(publisher, &stage.message(topic, b"x", QoS::AtLeastOnce));
            stage.write();
        }
        let id = PacketId::new(round % 16 + 1).unwrap();
        stage.receive(subscriber, &stage.encoded(PubAck { id, ..PubAck::new(id) }));
        stage.write();
        stage.broker.assert_consistent();
        assert_eq!(stage.broker.status().stored, 0);
        if round == 200 {
            early = LIVE.get();
        }
    }
    assert!(LIVE.get() <= early + 2048, "{early} bytes, then {}", LIVE.get());
}
