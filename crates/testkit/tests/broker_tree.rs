//! The recipients of a message, and the retained messages of a subscriber, compared with a linear search through all
//! subscriptions and topics. Repeat a run with `SEED=… cargo test --all-features --test broker_tree`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{
    self, Connect, Decoded, Delivery, Limits, Packet, PacketId, PubAck, PubComp, PubRec, PubRel, Publish, Subscribe,
    SubscribeProperties, Subscription, Unsubscribe,
};
use mqtt_sansio::{Instant, QoS, TopicFilter, TopicName, Version};
use mqtt_sansio_testkit::Random;

const NOW: Instant = Instant::from_micros(1);
const CLIENTS: usize = 5;
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Matching by section 4.7, level by level.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) | (None, None) => true,
        (Some((level, filter)), Some((wanted, topic))) => (level == &"+" || level == wanted) && matches(filter, topic),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn is_for(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    matches(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
}

/// A subscription of the model.
#[derive(Clone, Debug)]
struct Options {
    identifier: u32,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
}

/// A copy that a client has received: the identifiers of its subscriptions, QoS, RETAIN, topic.
type Copy = (BTreeSet<u32>, QoS, bool, String);

struct World {
    random: Random,
    broker: Broker<AllowAll>,
    connections: Vec<ConnectionId>,
    /// By client and filter.
    subscriptions: BTreeMap<(usize, String), Options>,
    /// The QoS and the publisher of the retained message of each topic.
    retained: BTreeMap<String, (QoS, usize)>,
    last_identifier: u32,
}

impl World {
    fn new(seed: u64, work_per_call: u32) -> Self {
        let work_per_call = work_per_call.try_into().unwrap();
        let mut world = Self {
            random: Random::new(seed),
            broker: Broker::new(
                BrokerConfig { work_per_call, ..BrokerConfig::new(Secret::new(u128::from(seed).to_le_bytes())) },
                AllowAll,
            ),
            connections: Vec::new(),
            subscriptions: BTreeMap::new(),
            retained: BTreeMap::new(),
            last_identifier: 0,
        };
        for client in 0..CLIENTS {
            let id = world.connect(client);
            world.connections.push(id);
        }
        world
    }

    /// Connects with Clean Start, which ends an earlier session.
    fn connect(&mut self, client: usize) -> ConnectionId {
        let name = format!("client-{client}");
        let client_identifier = name.as_str().try_into().unwrap();
        let connect = Connect { version: Version::V5, clean_start: true, client_identifier, ..Connect::default() };
        let id = self.broker.open(NOW, Origin::UNKNOWN);
        self.send(id, connect);
        let packets = self.take(id);
        assert!(packets.is_empty(), "CONNACK and nothing else");
        id
    }

    fn send<'p>(&mut self, id: ConnectionId, packet: impl Into<Packet<'p>>) {
        let mut bytes = Vec::new();
        packet.into().encode(Version::V5, &mut bytes).unwrap();
        let mut input = &bytes[..];
        self.broker.receive(NOW, id, &mut input);
        while self.broker.deadline().is_some_and(|at| at <= NOW) {
            self.broker.poll(NOW);
            self.broker.receive(NOW, id, &mut input);
        }
        assert!(input.is_empty());
    }

    /// Returns the messages that have arrived at a client, which acknowledges them.
    fn take(&mut self, id: ConnectionId) -> Vec<Copy> {
        let mut copies = Vec::new();
        loop {
            let transmit = self.broker.transmit(id);
            let bytes = transmit.copy_to_bytes(transmit.remaining());
            if bytes.is_empty() {
                return copies;
            }
            let mut rest = &bytes[..];
            while let Ok(Decoded::Packet { packet, size }) = codec::decode(rest, Version::V5, Limits::from_server()) {
                rest = &rest[size..];
                match packet {
                    Packet::Publish(publish) => {
                        let identifiers = publish.properties.subscription_identifiers;
                        let identifiers: Vec<_> = identifiers.into_iter().map(|identifier| identifier.get()).collect();
                        let set: BTreeSet<_> = identifiers.iter().copied().collect();
                        assert_eq!(set.len(), identifiers.len(), "an identifier twice: {identifiers:?}");
                        let topic = publish.topic.as_str().to_owned();
                        copies.push((set, publish.delivery.qos(), publish.retain, topic));
                        match publish.delivery {
                            Delivery::AtMostOnce => {}
                            Delivery::AtLeastOnce { id: packet_id, .. } => self.send(id, PubAck::new(packet_id)),
                            Delivery::ExactlyOnce { id: packet_id, .. } => self.send(id, PubRec::new(packet_id)),
                        }
                    }
                    Packet::PubRec(rec) => self.send(id, PubRel::new(rec.id)),
                    Packet::PubRel(rel) => self.send(id, PubComp::new(rel.id)),
                    _ => {}
                }
            }
            assert!(rest.is_empty(), "only whole packets");
        }
    }

    fn level(&mut self) -> &'static str {
        const LEVELS: [&str; 8] = ["a", "b", "a", "", "$SYS2", "ü", "a level that is longer than most", "c"];
        LEVELS[self.random.index(LEVELS.len())]
    }

    fn topic(&mut self) -> String {
        loop {
            let levels: Vec<_> = (0..=self.random.index(5)).map(|_| self.level()).collect();
            let topic = levels.join("/");
            if !topic.is_empty() {
                return topic;
            }
        }
    }

    fn filter(&mut self) -> String {
        loop {
            let count = self.random.index(5);
            let mut levels: Vec<_> =
                (0..=count).map(|_| if self.random.index(4) == 0 { "+" } else { self.level() }).collect();
            if self.random.index(4) == 0 {
                levels.push("#");
            }
            if self.random.index(12) == 0 {
                levels = vec!["#"];
            }
            let filter = levels.join("/");
            if !filter.is_empty() {
                let group = ["$share/one/", "$share/two/", "", "", "", ""][self.random.index(6)];
                return format!("{group}{filter}");
            }
        }
    }

    fn subscribe(&mut self) {
        let (client, filter) = (self.random.index(CLIENTS), self.filter());
        let is_shared = filter.starts_with("$share/");
        self.last_identifier += 1;
        let terms = Options {
            identifier: self.last_identifier,
            qos: QOS[self.random.index(3)],
            no_local: !is_shared && self.random.index(3) == 0,
            retain_as_published: self.random.index(2) == 0,
        };
        let subscriptions = [Subscription {
            no_local: terms.no_local,
            retain_as_published: terms.retain_as_published,
            ..Subscription::new(&filter, terms.qos).unwrap()
        }];
        let properties = SubscribeProperties {
            subscription_identifier: Some(terms.identifier.try_into().unwrap()),
            ..SubscribeProperties::default()
        };
        let id = self.connections[client];
        self.send(id, Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties });
        let mut got = self.take(id);
        got.sort();
        let mut expected = Vec::new();
        if !is_shared {
            for (topic, (qos, from)) in self.retained.iter().filter(|(topic, _)| is_for(&filter, topic)) {
                if terms.no_local && *from == client {
                    continue;
                }
                expected.push((BTreeSet::from([terms.identifier]), terms.qos.min(*qos), true, topic.clone()));
            }
        }
        expected.sort();
        assert_eq!(got, expected, "retained messages for {filter:?}");
        self.subscriptions.insert((client, filter), terms);
    }

    fn unsubscribe(&mut self) {
        let Some(((client, filter), _)) = self.any_subscription() else { return };
        // Sometimes of a client without this subscription.
        let client = if self.random.index(4) == 0 { self.random.index(CLIENTS) } else { client };
        let filters = [TopicFilter::new(&filter).unwrap()];
        let id = self.connections[client];
        self.send(id, Unsubscribe { id: PacketId::MIN, filters: (&filters).into(), properties: Default::default() });
        assert!(self.take(id).is_empty());
        self.subscriptions.remove(&(client, filter));
    }

    fn any_subscription(&mut self) -> Option<((usize, String), Options)> {
        let count = self.subscriptions.len();
        let place = if count == 0 { 0 } else { self.random.index(count) };
        self.subscriptions.iter().nth(place).map(|(key, terms)| (key.clone(), terms.clone()))
    }

    /// A session ends, and its client reconnects without it.
    fn restart(&mut self) {
        let client = self.random.index(CLIENTS);
        if self.random.index(2) == 0 {
            self.broker.closed(NOW, self.connections[client]);
        }
        self.connections[client] = self.connect(client);
        self.subscriptions.retain(|&(of, _), _| of != client);
    }

    fn publish(&mut self) {
        let (client, topic) = (self.random.index(CLIENTS), self.topic());
        let (qos, retain) = (QOS[self.random.index(3)], self.random.index(3) == 0);
        let payload: &[u8] = if self.random.index(4) == 0 { b"" } else { b"payload" };
        let name = TopicName::new(&topic).unwrap();
        let delivery = Delivery::new(qos, PacketId::MIN, false);
        let publish = Publish { delivery, retain, topic: name, payload, ..Publish::default() };
        self.send(self.connections[client], publish);
        if retain {
            if payload.is_empty() {
                self.retained.remove(&topic);
            } else {
                self.retained.insert(topic.clone(), (qos, client));
            }
        }
        let mut groups: BTreeMap<String, Vec<(usize, Options)>> = BTreeMap::new();
        let mut expected: BTreeMap<usize, Copy> = BTreeMap::new();
        for ((of, filter), terms) in &self.subscriptions {
            if let Some(shared) = filter.strip_prefix("$share/") {
                let (_, plain) = shared.split_once('/').unwrap();
                if is_for(plain, &topic) {
                    groups.entry(filter.clone()).or_default().push((*of, terms.clone()));
                }
            } else if is_for(filter, &topic) && !(terms.no_local && *of == client) {
                let nothing = || (BTreeSet::new(), QoS::AtMostOnce, false, topic.clone());
                let copy = expected.entry(*of).or_insert_with(nothing);
                copy.0.insert(terms.identifier);
                copy.1 = copy.1.max(terms.qos.min(qos));
                copy.2 |= retain && terms.retain_as_published;
            }
        }
        for of in 0..CLIENTS {
            for copy in self.take(self.connections[of]) {
                if expected.get(&of) == Some(&copy) {
                    expected.remove(&of);
                    continue;
                }
                // Then the copy is that of a share, of which one member receives it.
                let is_it = |(member, terms): &(usize, Options)| {
                    let flag = retain && terms.retain_as_published;
                    *member == of
                        && (BTreeSet::from([terms.identifier]), terms.qos.min(qos), flag, topic.clone()) == copy
                };
                let group =
                    groups.iter().find(|(_, members)| members.iter().any(is_it)).map(|(group, _)| group.clone());
                let Some(group) = group else { panic!("client {of} has got {copy:?}, by {:?}", self.subscriptions) };
                groups.remove(&group);
            }
        }
        assert!(expected.is_empty(), "{topic:?} is missing: {expected:?}, by {:?}", self.subscriptions);
        assert!(groups.is_empty(), "{topic:?} is missing in groups: {groups:?}");
    }
}

fn run(seed: u64, work_per_call: u32) {
    let mut world = World::new(seed, work_per_call);
    for _ in 0..120 {
        match world.random.index(16) {
            0..=5 => world.subscribe(),
            6..=7 => world.unsubscribe(),
            8 => world.restart(),
            _ => world.publish(),
        }
        world.broker.assert_consistent();
        let status = world.broker.status();
        assert_eq!(status.subscriptions as usize, world.subscriptions.len());
        assert_eq!(status.retained as usize, world.retained.len());
    }
}

/// [5.0: MQTT-3.3.2-3, MQTT-3.3.1-12, MQTT-3.3.1-13, MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4, MQTT-3.8.3-3,
/// MQTT-3.8.4-8, MQTT-4.7.2-1, MQTT-4.7.3-4]
#[test]
fn messages_reach_the_subscribers_found_by_a_linear_search() {
    run_all(0..300, u32::MAX);
}

#[test]
fn messages_reach_them_in_steps_of_one_item_too() {
    run_all(1000..1200, 1);
    run_all(1200..1250, 7);
}

fn run_all(seeds: std::ops::Range<u64>, work_per_call: u32) {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse().expect("a number"));
    for seed in only.map_or(seeds, |seed| seed..seed + 1) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed, work_per_call)) {
            eprintln!("seed {seed}: SEED={seed} cargo test --all-features --test broker_tree");
            std::panic::resume_unwind(panic);
        }
    }
}
