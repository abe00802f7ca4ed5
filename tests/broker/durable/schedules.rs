//! Any schedule of clients with crashes of the broker keeps what an acknowledgement promises.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_sansio::broker::BrokerConfig;
use mqtt_sansio::client::{ClientConfig, Resumption};
use mqtt_sansio::{Message, QoS, Subscription, Token};

use super::world::{Random, World};
use crate::broker::SECRET;

const PUBLISHERS: usize = 2;
const SUBSCRIBERS: usize = 3;

/// A message that was published: by whom, with which token, to which topic, with which QoS.
struct Published {
    publisher: usize,
    token: Token,
    topic: String,
    qos: QoS,
    payload: String,
    /// The subscribers that had SUBACK for the topic when the message was published.
    subscribers: BTreeSet<usize>,
}

struct Schedule {
    world: World,
    random: Random,
    published: Vec<Published>,
    /// The subscriptions of each subscriber that are acknowledged, by topic, with the QoS.
    subscribed: Vec<BTreeMap<String, QoS>>,
    /// The SUBSCRIBEs that are not acknowledged.
    asked: Vec<BTreeMap<Token, (String, QoS)>>,
    crashes: usize,
}

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

impl Schedule {
    fn new(seed: u64, work_per_call: u32) -> Self {
        let config = BrokerConfig { work_per_call: work_per_call.try_into().unwrap(), ..BrokerConfig::new(SECRET) };
        let mut world = World::new(config);
        for peer in 0..PUBLISHERS + SUBSCRIBERS {
            world.add(ClientConfig { client_id: format!("client {peer}"), ..ClientConfig::default() });
        }
        let (subscribed, asked) = (vec![BTreeMap::new(); SUBSCRIBERS], vec![BTreeMap::new(); SUBSCRIBERS]);
        Self { world, random: Random(seed), published: Vec::new(), subscribed, asked, crashes: 0 }
    }

    fn step(&mut self) {
        let peer = self.random.below((PUBLISHERS + SUBSCRIBERS) as u64) as usize;
        match self.random.below(100) {
            0..3 => self.world.lose(peer),
            3..15 => {
                if self.world.peers[peer].connection.is_none() {
                    self.world.connect(peer);
                }
            }
            15..25 if peer < PUBLISHERS => self.publish(peer),
            15..20 => self.subscribe(peer - PUBLISHERS),
            25..35 => {
                self.world.changes();
            }
            35..50 => {
                let count = self.random.below(3) as usize;
                self.world.commit(count);
            }
            50 => {
                let stored = self.random.below(self.world.under_way.len() as u64 + 1) as usize;
                self.world.crash(stored);
                self.crashes += 1;
            }
            51..60 => {
                self.world.broker.poll(self.world.now);
            }
            _ => {
                let most = 1 + self.random.below(60) as usize;
                self.world.serve(peer, most);
            }
        }
        self.note_subscribed();
        self.world.broker.assert_consistent();
    }

    fn publish(&mut self, publisher: usize) {
        // Each publisher has topics of its own, so that the order of retained messages is known.
        let topic = format!("t/{publisher}/{}", self.random.below(2));
        let (qos, retain) = (QOS[self.random.below(3) as usize], self.random.below(4) == 0);
        let size = if self.random.below(20) == 0 { 70_000 } else { self.random.below(30) as usize };
        let payload = format!("{:05}{}", self.published.len(), "x".repeat(size));
        let message = Message::new(&topic, payload.as_bytes()).qos(qos).retain(retain);
        let Ok(token) = self.world.peers[publisher].session.publish(self.world.now, &message) else { return };
        let subscribers = (0..SUBSCRIBERS).filter(|&it| self.subscribed[it].contains_key(&topic)).collect();
        self.published.push(Published { publisher, token, topic, qos, payload, subscribers });
    }

    fn subscribe(&mut self, subscriber: usize) {
        let topic = format!("t/{}/{}", self.random.below(2), self.random.below(2));
        // A subscription is not changed: a message would have the QoS of one or the other.
        let is_known = |(known, _): &(String, QoS)| *known == topic;
        if self.subscribed[subscriber].contains_key(&topic) || self.asked[subscriber].values().any(is_known) {
            return;
        }
        let qos = QOS[1 + self.random.below(2) as usize];
        let session = &mut self.world.peers[PUBLISHERS + subscriber].session;
        let subscription = [Subscription::new(&topic, qos).unwrap()];
        let token = session.subscribe(self.world.now, &subscription).unwrap();
        self.asked[subscriber].insert(token, (topic, qos));
    }

    fn note_subscribed(&mut self) {
        for subscriber in 0..SUBSCRIBERS {
            let asked = &mut self.asked[subscriber];
            for (token, is_success) in &self.world.peers[PUBLISHERS + subscriber].done {
                if let Some((topic, qos)) = asked.remove(token) {
                    assert!(is_success);
                    self.subscribed[subscriber].insert(topic, qos);
                }
            }
        }
    }

    /// Lets all clients connect, and all work be done; then checks the promises.
    fn finish(&mut self) {
        for peer in 0..self.world.peers.len() {
            if self.world.peers[peer].connection.is_none() {
                self.world.connect(peer);
            }
        }
        self.world.settle();
        self.note_subscribed();
        for peer in &self.world.peers {
            assert!(!peer.resumptions.contains(&Resumption::Lost), "a session that CONNACK has told of is there");
            assert_eq!((peer.session.queued(), peer.session.operations_in_flight()), (0, 0), "all is acknowledged");
        }
        for subscriber in 0..SUBSCRIBERS {
            self.check(subscriber);
        }
        // After another crash the same is there.
        let before = self.world.broker.status();
        self.world.crash(0);
        let after = self.world.broker.status();
        assert_eq!(
            (before.sessions, before.subscriptions, before.retained, before.stored),
            (after.sessions, after.subscriptions, after.retained, after.stored)
        );
    }

    fn check(&self, subscriber: usize) {
        let got = &self.world.peers[PUBLISHERS + subscriber].got;
        let mut last = BTreeMap::new();
        for message in got {
            let published = self.published.iter().find(|it| it.payload == message.payload);
            let Some(published) = published else { panic!("{message:?} was not published") };
            assert_eq!(message.topic, published.topic);
            assert!(self.subscribed[subscriber].contains_key(&message.topic), "it has subscribed to {}", message.topic);
        }
        for published in &self.published {
            let Published { publisher, token, topic, qos, payload, subscribers } = published;
            let copies: Vec<_> = got.iter().filter(|it| it.payload == *payload && !it.retain).collect();
            let granted = self.subscribed[subscriber].get(topic).map(|granted| *qos.min(granted));
            if granted == Some(QoS::ExactlyOnce) {
                assert!(copies.len() <= 1, "{} of QoS 2 came {} times", &payload[..5], copies.len());
            }
            let is_acknowledged =
                self.world.peers[*publisher].done.iter().any(|(done, is_success)| done == token && *is_success);
            if *qos != QoS::AtMostOnce && is_acknowledged && subscribers.contains(&subscriber) {
                assert!(!copies.is_empty(), "{} of QoS {qos} is lost for {subscriber}", &payload[..5]);
            }
            // Messages of a publisher to a topic come in order, the first time that they come [MQTT-4.6.0-6].
            if granted.is_some_and(|granted| granted != QoS::AtMostOnce)
                && let Some(at) = got.iter().position(|it| it.payload == *payload && !it.retain)
            {
                let before = last.insert((topic, granted), at);
                assert!(before.is_none_or(|before| before < at), "{} comes before an earlier one", &payload[..5]);
            }
        }
    }
}

fn run(seed: u64, work_per_call: u32) -> usize {
    let mut schedule = Schedule::new(seed, work_per_call);
    for _ in 0..600 {
        schedule.step();
    }
    schedule.finish();
    schedule.crashes
}

/// What is acknowledged is not lost, what has QoS 2 comes once, and messages come in order, whatever crashes and whenever.
#[test]
fn crashes_break_no_promise() {
    let mut crashes = 0;
    for seed in 0..40 {
        let result = std::panic::catch_unwind(|| run(seed, 2000));
        crashes += result.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(crashes > 40, "{crashes} crashes");
}

/// The same where each call does one item of work, so that nearly all is jobs, and batches end in the middle of them.
#[test]
fn crashes_between_items_of_work_break_no_promise() {
    let mut crashes = 0;
    for seed in 1000..1040 {
        let result = std::panic::catch_unwind(|| run(seed, 1));
        crashes += result.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(crashes > 40, "{crashes} crashes");
}
