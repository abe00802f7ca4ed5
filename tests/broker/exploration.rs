//! Every order in which a durable broker and a few honest clients can exchange a few messages, store batches, lose
//! connections and crash: at each state every possible step is tried.
//!
//! A broker cannot be copied, so a state is the state after the last crash, which the pairs describe, and the steps since
//! then, which are repeated. Packets arrive as a whole, and no time passes. Clients do not crash.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::rc::Rc;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Resumption};
use mqtt_sansio::codec::{self, Decoded, Limits};
use mqtt_sansio::store::{Batch, Change, Pairs};
use mqtt_sansio::{Instant, Message, QoS, SessionExpiry, Subscription, Token, TopicFilter, Transmit, Version, Will};

const NOW: Instant = Instant::from_micros(1_780_000_000_000_000);

use Command::{CleanStart, Leave, Publish, Retain, Subscribe, Unsubscribe};
use QoS::{AtLeastOnce as Q1, ExactlyOnce as Q2};

/// What a client does, in this order; at any time after what it did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// Publishes a message with this payload to this topic.
    Publish(&'static str, &'static str, QoS),
    /// The same, and the message is retained.
    Retain(&'static str, &'static str, QoS),
    Subscribe(&'static str, QoS),
    Unsubscribe(&'static str),
    /// Connects again, with Clean Start.
    CleanStart,
    /// Has no connection until the exploration begins.
    Leave,
}

/// A client: what it does before the exploration begins, with everything stored, and what it does then.
#[derive(Clone, Copy, Debug)]
struct Role {
    before: &'static [Command],
    commands: &'static [Command],
    /// The payload of its will, which it publishes to the topic "w" with QoS 1.
    will: Option<&'static str>,
    version: Version,
    /// Whether the client has no connection until the end.
    is_away: bool,
}

const ROLE: Role = Role { before: &[], commands: &[], will: None, version: Version::V5, is_away: false };

#[derive(Clone, Copy, Debug)]
struct Plan {
    roles: &'static [Role],
    work_per_call: u32,
    /// How many crashes of the broker and lost connections happen at most.
    crashes: u8,
    cuts: u8,
    /// Whether the broker learns of a lost connection only when the client connects again.
    takeovers: bool,
    /// How many batches are under way at most; 0 if each is stored at once.
    under_way: usize,
    /// Whether the clients are connected when the exploration begins.
    is_connected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Everything is done, and stored, that is to be done without a command.
    Settle,
    /// A client gives its next command.
    Do(usize),
    /// A client without a connection opens one.
    Open(usize),
    /// The next packet of a client arrives.
    ToBroker(usize),
    /// The next packet to a client arrives.
    ToClient(usize),
    /// The broker works.
    Work,
    /// The broker hands out a batch. If none are under way, it is stored.
    HandOut,
    /// The first batch under way is stored, and the broker is told so.
    Commit,
    /// The connection of a client is lost.
    Cut(usize),
    /// The broker crashes after this number of the batches under way were stored.
    Crash(usize),
}

/// A client, and what its application knows.
#[derive(Clone)]
struct Peer {
    session: ClientSession,
    version: Version,
    connection: Option<ConnectionId>,
    /// The last connection, if the broker has not learnt that it is lost.
    old: Option<ConnectionId>,
    /// The packet that has arrived at the broker, and is not taken yet.
    to_broker: Vec<u8>,
    app: Application,
}

#[derive(Clone, Default)]
struct Application {
    /// The number of commands given.
    given: usize,
    /// The tokens of operations without outcome: the command, and whether it belongs to those before the exploration.
    open: BTreeMap<Token, Command>,
    /// The filters of which SUBACK, or UNSUBACK, has told last.
    subscribed: BTreeMap<&'static str, bool>,
    /// The filters of which the next answer decides.
    asked: BTreeSet<&'static str>,
    /// Messages that have to come: at least once.
    expected: BTreeSet<&'static str>,
    /// Messages that must not come.
    excluded: BTreeSet<&'static str>,
    /// How often each message has come, and the order of the first arrivals.
    got: BTreeMap<String, u8>,
    order: Vec<String>,
    /// Whether CONNACK has told of the session.
    has_session: bool,
    /// How often a connection was accepted, and was lost.
    connected: u8,
    wills: u8,
    /// Whether a SUBSCRIBE was not answered when a connection was lost: it is repeated, and retained messages come again for that.
    asks_again: bool,
}

/// The state after a crash.
struct Checkpoint {
    pairs: Pairs,
    peers: Vec<Peer>,
    crashes: u8,
    cuts: u8,
}

/// The broker and its clients.
struct World {
    plan: Plan,
    broker: Broker<AllowAll>,
    committed: Pairs,
    under_way: VecDeque<Batch>,
    peers: Vec<Peer>,
    crashes: u8,
    cuts: u8,
    /// The clients that do not connect.
    away: BTreeSet<usize>,
}

/// A state, and how it is reached.
#[derive(Clone)]
struct State {
    checkpoint: Rc<Checkpoint>,
    steps: Option<Rc<Trail>>,
    /// The steps before the last crash.
    before: Option<Rc<Trail>>,
}

struct Trail {
    step: Step,
    before: Option<Rc<Trail>>,
}

fn steps(trail: &Option<Rc<Trail>>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut next = trail;
    while let Some(trail) = next {
        steps.push(trail.step);
        next = &trail.before;
    }
    steps.reverse();
    steps
}

fn broker_config(plan: Plan) -> BrokerConfig {
    let work_per_call = NonZeroU32::new(plan.work_per_call).unwrap();
    BrokerConfig { durable: true, work_per_call, ..BrokerConfig::new(Secret::new([7; 16])) }
}

fn client_config(role: &Role, number: usize) -> ClientConfig {
    let will = role.will.map(|payload| {
        Box::new(Will { topic: "w".into(), payload: payload.as_bytes().into(), qos: Q1, ..Will::default() })
    });
    let expiry = if role.version == Version::V5 { 86_400 } else { 0 };
    ClientConfig {
        version: role.version,
        client_id: format!("{number}"),
        clean_start: false,
        session_expiry_interval: SessionExpiry::after(expiry),
        keep_alive: None,
        connect_timeout: None,
        will,
        ..ClientConfig::default()
    }
}

fn take(transmit: &mut Transmit) -> Vec<u8> {
    transmit.copy_to_bytes(transmit.remaining()).to_vec()
}

/// Takes the next packet.
fn take_packet(transmit: &mut Transmit, version: Version) -> Option<Vec<u8>> {
    if !transmit.has_remaining() {
        return None;
    }
    // The buffer may have several pieces: a packet is found in a copy.
    let mut bytes = Vec::new();
    loop {
        match codec::decode(&bytes, version, Limits::default()) {
            Ok(Decoded::Packet { size, .. }) => {
                assert_eq!(size, bytes.len());
                return Some(bytes);
            }
            Ok(Decoded::Incomplete { .. }) => {
                assert!(transmit.has_remaining(), "packets are written as a whole");
                bytes.push(transmit.get_u8());
            }
            other => panic!("{other:?}"),
        }
    }
}

impl World {
    fn of(plan: Plan, checkpoint: &Checkpoint) -> Self {
        let Checkpoint { ref pairs, ref peers, crashes, cuts } = *checkpoint;
        let broker = Broker::restore(broker_config(plan), AllowAll, NOW, pairs.iter()).unwrap();
        let (committed, peers) = (pairs.clone(), peers.clone());
        let away = (0..plan.roles.len()).filter(|index| plan.roles[*index].is_away).collect();
        Self { plan, broker, committed, under_way: VecDeque::new(), peers, crashes, cuts, away }
    }

    fn after(plan: Plan, state: &State) -> Self {
        let mut world = Self::of(plan, &state.checkpoint);
        for step in steps(&state.steps) {
            assert!(world.happens(step), "{step:?} is possible again");
        }
        world
    }

    /// Returns `false` if a step is certainly not possible.
    fn may_happen(&mut self, step: Step) -> bool {
        match step {
            Step::Settle | Step::Crash(_) => true,
            Step::Do(peer) => self.peers[peer].app.given < self.plan.roles[peer].commands.len(),
            Step::Open(peer) => self.peers[peer].connection.is_none() && !self.away.contains(&peer),
            Step::ToBroker(peer) => {
                let Peer { session, connection, to_broker, .. } = &mut self.peers[peer];
                let has_more = !to_broker.is_empty() || session.transmit().has_remaining();
                has_more && connection.is_some_and(|id| self.broker.takes_input(id))
            }
            Step::ToClient(peer) => {
                self.peers[peer].connection.is_some_and(|id| self.broker.transmit(id).has_remaining())
            }
            Step::Work => self.broker.deadline().is_some_and(|deadline| deadline <= NOW),
            Step::HandOut => self.plan.under_way == 0 || self.under_way.len() < self.plan.under_way,
            Step::Commit => !self.under_way.is_empty(),
            Step::Cut(peer) => self.cuts != 0 && self.peers[peer].connection.is_some(),
        }
    }

    /// Executes a step. Returns `false` if it is not possible.
    fn happens(&mut self, step: Step) -> bool {
        match step {
            Step::Settle => {
                self.settle();
                true
            }
            Step::Do(peer) => self.command(peer),
            Step::Open(peer) => self.open(peer),
            Step::ToBroker(peer) => self.arrive_at_broker(peer),
            Step::ToClient(peer) => self.arrive_at_client(peer),
            Step::Work => {
                let is_due = self.broker.deadline().is_some_and(|deadline| deadline <= NOW);
                if is_due {
                    self.broker.poll(NOW);
                }
                is_due
            }
            Step::HandOut if self.plan.under_way == 0 => self.hand_out() && self.commit(),
            Step::HandOut => self.under_way.len() < self.plan.under_way && self.hand_out(),
            Step::Commit => self.commit(),
            Step::Cut(peer) => {
                let is_possible = self.cuts != 0 && self.peers[peer].connection.is_some();
                if is_possible {
                    self.cuts -= 1;
                    self.cut(peer);
                }
                is_possible
            }
            Step::Crash(_) => unreachable!("a crash begins a new world"),
        }
    }

    /// The broker crashes. Returns `None` if that is not possible.
    fn crash(&self, stored: usize) -> Option<Checkpoint> {
        if self.crashes == 0 || stored > self.under_way.len() {
            return None;
        }
        let (mut pairs, mut peers) = (self.committed.clone(), self.peers.clone());
        self.under_way.iter().take(stored).for_each(|batch| pairs.apply(batch));
        for peer in &mut peers {
            peer.old = None;
            if peer.connection.is_some() {
                peer.lose();
            }
        }
        Some(Checkpoint { pairs, peers, crashes: self.crashes - 1, cuts: self.cuts })
    }

    fn hand_out(&mut self) -> bool {
        let Some(batch) = self.broker.changes() else { return false };
        self.under_way.push_back(batch);
        true
    }

    fn commit(&mut self) -> bool {
        let Some(batch) = self.under_way.pop_front() else { return false };
        self.committed.apply(&batch);
        self.broker.committed(NOW, batch.number());
        true
    }

    fn command(&mut self, index: usize) -> bool {
        let commands = self.plan.roles[index].commands;
        let Some(&command) = commands.get(self.peers[index].app.given) else { return false };
        if !self.give(index, command) {
            return false;
        }
        self.peers[index].app.given += 1;
        true
    }

    fn give(&mut self, index: usize, command: Command) -> bool {
        let peer = &mut self.peers[index];
        let token = match command {
            Publish(payload, topic, qos) | Retain(payload, topic, qos) => {
                let retain = matches!(command, Retain(..));
                let message = Message::new(topic, payload).qos(qos).retain(retain);
                let token = peer.session.publish(NOW, &message).unwrap();
                for other in &mut self.peers {
                    other.app.published(payload, topic);
                }
                token
            }
            Subscribe(filter, qos) => {
                // What was published may arrive after the subscription.
                peer.app.excluded.clear();
                peer.app.asked.insert(filter);
                peer.app.subscribed.remove(filter);
                peer.session.subscribe(NOW, &[Subscription::new(filter, qos).unwrap()]).unwrap()
            }
            Unsubscribe(filter) => {
                let app = &mut peer.app;
                app.expected.retain(|payload| app.got.contains_key(*payload));
                peer.app.asked.insert(filter);
                peer.app.subscribed.remove(filter);
                peer.session.unsubscribe(NOW, &[TopicFilter::new(filter).unwrap()]).unwrap()
            }
            CleanStart => {
                // Only with all answers: what is open would be lost with the session.
                if peer.session.operations_in_flight() != 0 || peer.session.queued() != 0 {
                    return false;
                }
                self.cut(index);
                let Peer { session, app, .. } = &mut self.peers[index];
                session.discard_session().unwrap();
                app.has_session = false;
                app.subscribed.clear();
                app.expected.retain(|payload| app.got.contains_key(*payload));
                return true;
            }
            Leave => {
                self.cut(index);
                self.away.insert(index);
                return true;
            }
        };
        self.peers[index].app.open.insert(token, command);
        true
    }

    fn open(&mut self, index: usize) -> bool {
        let peer = &mut self.peers[index];
        if self.away.contains(&index) || peer.connection.is_some() {
            return false;
        }
        peer.connection = Some(self.broker.open(NOW, Origin::UNKNOWN));
        peer.session.open(NOW).unwrap();
        true
    }

    /// The connection of a client is lost.
    fn cut(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(id) = peer.connection else { return };
        peer.lose();
        if self.plan.takeovers && peer.old.is_none() && !self.broker.is_over(id) {
            peer.old = Some(id);
        } else {
            self.broker.closed(NOW, id);
        }
    }

    fn arrive_at_broker(&mut self, index: usize) -> bool {
        let peer = &mut self.peers[index];
        let Some(id) = peer.connection else { return false };
        if !self.broker.takes_input(id) {
            return false;
        }
        if peer.to_broker.is_empty() {
            let Some(packet) = take_packet(peer.session.transmit(), peer.version) else {
                return false;
            };
            peer.to_broker = packet;
        }
        let mut input = &peer.to_broker[..];
        self.broker.receive(NOW, id, &mut input);
        let taken = peer.to_broker.len() - input.len();
        peer.to_broker.drain(..taken);
        self.end(index);
        true
    }

    fn arrive_at_client(&mut self, index: usize) -> bool {
        let peer = &mut self.peers[index];
        let Some(id) = peer.connection else { return false };
        let Some(packet) = take_packet(self.broker.transmit(id), peer.version) else {
            return false;
        };
        peer.receive(&packet);
        self.end(index);
        true
    }

    /// Closes a connection that is over and has nothing left to write.
    fn end(&mut self, index: usize) {
        if let Some(id) = self.peers[index].old
            && self.broker.is_over(id)
        {
            self.peers[index].old = None;
            self.broker.closed(NOW, id);
        }
        if let Some(id) = self.peers[index].connection
            && self.broker.is_over(id)
            && !self.broker.transmit(id).has_remaining()
        {
            self.cut(index);
        }
    }

    /// Everything is done, and stored, that is to be done without a command.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "the work comes to an end");
            let mut is_busy = false;
            for peer in 0..self.peers.len() {
                is_busy |= self.open(peer);
                while self.arrive_at_broker(peer) | self.arrive_at_client(peer) {
                    is_busy = true;
                }
            }
            is_busy |= self.happens(Step::Work);
            while self.hand_out() | self.commit() {
                is_busy = true;
            }
            self.broker.assert_consistent();
            if !is_busy {
                return;
            }
        }
    }

    /// Checks a state in which nothing is left to do.
    fn check_end(mut self) {
        self.away.clear();
        self.settle();
        for (index, peer) in self.peers.iter().enumerate() {
            let session = &peer.session;
            assert_eq!((session.operations_in_flight(), session.queued()), (0, 0), "client {index} has all answers");
            assert!(peer.app.open.is_empty(), "client {index} has all answers");
            for payload in &peer.app.expected {
                assert!(peer.app.got.contains_key(*payload), "{payload} is lost for client {index}");
            }
        }
        let lost: Vec<_> = self
            .peers
            .iter()
            .enumerate()
            .filter_map(|(index, peer)| {
                let will = self.plan.roles[index].will?;
                (peer.app.wills != 0).then_some((will, peer.app.wills))
            })
            .collect();
        for (will, _) in lost {
            for (index, peer) in self.peers.iter().enumerate() {
                let is_subscribed = self.plan.roles[index].before.iter().any(|it| matches!(it, Subscribe("w", _)));
                assert!(!is_subscribed || peer.app.got.contains_key(will), "{will} is lost for client {index}");
            }
        }
        // A message to a group reaches a member if there is one throughout, whoever leaves meanwhile.
        let is_in_group = |role: &Role| role.before.contains(&Subscribe(GROUP, Q1));
        if self.plan.roles.iter().any(|role| is_in_group(role) && role.commands.is_empty()) {
            for command in self.plan.roles.iter().flat_map(|role| role.before.iter().chain(role.commands)) {
                if let Publish(payload, "a", _) = command {
                    let is_there = self.peers.iter().any(|peer| peer.app.got.contains_key(*payload));
                    assert!(is_there, "{payload} is lost for the group");
                }
            }
        }
        // What was retained before the exploration comes to all who have subscribed since then.
        for command in self.plan.roles.iter().flat_map(|role| role.before) {
            let Retain(payload, topic, _) = command else { continue };
            for (index, peer) in self.peers.iter().enumerate() {
                let asks = |it: &Command| matches!(it, Subscribe(filter, _) if filter == topic);
                let has_asked = self.plan.roles[index].commands.iter().any(asks);
                let is_subscribed = has_asked && peer.app.subscribed.get(topic) == Some(&true);
                assert!(!is_subscribed || peer.app.got.contains_key(*payload), "{payload} is lost for client {index}");
            }
        }
        // The last retained message of each topic is there, for all who ask.
        let mut retained = BTreeMap::new();
        for role in self.plan.roles {
            for command in role.before.iter().chain(role.commands) {
                if let Retain(payload, topic, _) = command {
                    retained.insert(*topic, *payload);
                }
            }
        }
        retained.retain(|_, payload| !payload.is_empty());
        let subscriptions: usize =
            self.peers.iter().map(|peer| peer.app.subscribed.values().filter(|is_there| **is_there).count()).sum();
        let status = self.broker.status();
        assert_eq!(status.subscriptions as usize, subscriptions, "what SUBACK and UNSUBACK have said is true");
        assert_eq!(status.retained as usize, retained.len());
        assert_eq!(status.stored, 0, "all is delivered");
        let unused: Vec<_> =
            self.committed.iter().filter(|(key, _)| matches!(key[0], 0x11 | 0x21 | 0x23 | 0x24)).collect();
        let wills = self.peers.iter().enumerate().filter(|(index, _)| self.plan.roles[*index].will.is_some()).count();
        assert_eq!(unused.len(), wills, "nothing is left in the store: {unused:02x?}");
        let sessions = self.committed.iter().filter(|(key, _)| key[0] == 0x20).count();
        assert_eq!(sessions, self.peers.len(), "no session is left in the store that has ended");
        let messages = self.committed.iter().filter(|(key, _)| key[0] == 0x10).count();
        assert_eq!(messages, retained.len() + wills, "no message is left in the store");
        // A message reaches everyone who has subscribed, and a new subscriber gets what is retained.
        let topics = ["a", "b", "w"];
        for topic in topics {
            self.broker.publish(NOW, &Message::new(topic, format!("probe {topic}").as_bytes()).qos(Q1)).unwrap();
        }
        self.settle(); // before there is another subscriber
        let probe = self.peers.len();
        self.peers.push(Peer::new(&ROLE, probe));
        assert!(self.give(probe, Subscribe("#", Q1)));
        self.settle();
        for (index, peer) in self.peers[..probe].iter().enumerate() {
            for topic in topics {
                let count = peer.app.got.get(&format!("probe {topic}")).copied().unwrap_or(0);
                let is_subscribed = peer.app.subscribed.iter().any(|(filter, is_there)| *filter == topic && *is_there);
                assert!(!is_subscribed || count == 1, "client {index} is subscribed to {topic}");
                let may_be = peer.app.subscribed.iter().any(|(filter, is_there)| filter.ends_with(topic) && *is_there);
                assert!(may_be || count == 0, "client {index} is not subscribed to {topic}");
            }
        }
        for (topic, payload) in &retained {
            assert!(self.peers[probe].app.got.contains_key(*payload), "{payload} is retained for {topic}");
        }
        assert_eq!(self.peers[probe].app.got.len(), retained.len(), "{:?}", self.peers[probe].app.got);
    }
}

impl Peer {
    fn new(role: &Role, number: usize) -> Self {
        let session = ClientSession::new(client_config(role, number));
        Self {
            session,
            version: role.version,
            connection: None,
            old: None,
            to_broker: Vec::new(),
            app: Application::default(),
        }
    }

    fn lose(&mut self) {
        self.connection = None;
        self.session.closed(NOW);
        self.to_broker.clear();
        self.app.asks_again |= self.app.open.values().any(|command| matches!(command, Subscribe(..)));
        if self.app.connected != 0 {
            self.app.connected = 0;
            self.app.wills += 1;
        }
    }

    fn receive(&mut self, packet: &[u8]) {
        let Self { session, app, .. } = self;
        let mut input = packet;
        while let Some(action) = session.poll(NOW, &mut input) {
            match action {
                Action::Connected(connected) => app.connected(connected.session),
                Action::Message(message) => app.message(message.payload, message.qos, message.retain),
                Action::Done { token, outcome } => {
                    assert!(outcome.is_success(), "{token}: {outcome:?}");
                    app.done(token);
                }
                other => panic!("the client says {other:?}"),
            }
        }
        assert!(input.is_empty());
    }
}

impl Application {
    fn connected(&mut self, session: Resumption) {
        let expected = if self.has_session { Resumption::Resumed } else { Resumption::New };
        assert_eq!(session, expected, "what CONNACK has said is true");
        (self.has_session, self.connected) = (true, 1);
    }

    /// Any client publishes a message.
    fn published(&mut self, payload: &'static str, topic: &str) {
        let matches = |filter: &str| filter == topic;
        for (filter, is_there) in &self.subscribed {
            if matches(filter) && *is_there {
                self.expected.insert(payload);
            }
        }
        let is_known = self.subscribed.keys().chain(&self.asked).any(|filter| filter.ends_with(topic));
        let is_there = self.subscribed.iter().any(|(filter, is_there)| filter.ends_with(topic) && *is_there);
        if !is_known || (self.subscribed.keys().any(|filter| matches(filter)) && !is_there) {
            self.excluded.insert(payload);
        }
    }

    fn message(&mut self, payload: &[u8], qos: QoS, retain: bool) {
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        assert!(!self.excluded.contains(&*payload), "{payload} comes without a subscription");
        let times = self.got.entry(payload.clone()).or_default();
        *times += 1;
        // More often makes no difference.
        *times = (*times).min(2);
        let may_repeat = qos != Q2 || (retain && self.asks_again);
        assert!(*times == 1 || may_repeat, "{payload} comes a second time [MQTT-4.3.3-10]");
        if *times == 1 {
            // The payload says the publisher and the number.
            if let Some(number) = payload.strip_prefix(|first: char| first.is_ascii_uppercase()) {
                let publisher = &payload[..1];
                for later in self.order.iter().filter(|it| it.starts_with(publisher)) {
                    assert!(later[1..] < *number, "{later} comes before {payload} [MQTT-4.6.0-6]");
                }
                self.order.push(payload);
            }
        }
    }

    fn done(&mut self, token: Token) {
        let command = self.open.remove(&token).expect("each token has one outcome");
        match command {
            // A later request to the same filter decides.
            Subscribe(filter, _) | Unsubscribe(filter) => {
                let is_it = |it: &Command| matches!(it, Subscribe(it, _) | Unsubscribe(it) if *it == filter);
                if !self.open.values().any(is_it) {
                    self.asked.remove(filter);
                    self.subscribed.insert(filter, matches!(command, Subscribe(..)));
                }
            }
            Publish(..) | Retain(..) | CleanStart | Leave => {}
        }
    }
}

fn content(pairs: &Pairs) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.iter().filter(|(key, _)| *key != [1]).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn changes(batch: &Batch) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let change = |change| match change {
        Change::Put { key, value, .. } => (key.to_vec(), Some(value.to_vec())),
        Change::Remove { key } => (key.to_vec(), None),
    };
    let mut changes: Vec<_> = batch.changes().map(change).filter(|(key, _)| *key != [1]).collect();
    changes.sort_unstable(); // their order means nothing
    changes
}

fn hash(value: impl Hash) -> u128 {
    let [mut one, mut two] = [DefaultHasher::new(), DefaultHasher::new()];
    1.hash(&mut two);
    value.hash(&mut one);
    value.hash(&mut two);
    u128::from(one.finish()) << 64 | u128::from(two.finish())
}

impl Peer {
    fn fingerprint(&self) -> impl Hash + use<> {
        let mut session = self.session.clone();
        let counts = (session.is_connected(), session.operations_in_flight(), session.in_flight(), session.queued());
        let output = take(session.transmit());
        // What it does on its next connection.
        if self.connection.is_some() {
            session.closed(NOW);
        }
        session.open(NOW).unwrap();
        let connect = take(session.transmit());
        let mut connack: &[u8] =
            if session.config().version == Version::V5 { b"\x20\x03\x01\x00\x00" } else { b"\x20\x02\x01\x00" };
        while session.poll(NOW, &mut connack).is_some() {}
        let resumed = take(session.transmit());
        // The packet identifiers of QoS 2 that it has received: a released one is confirmed in another way.
        let unreleased = session.unreleased();
        let app = &self.app;
        let open: Vec<_> =
            app.open.iter().map(|(token, command)| (token.to_string(), format!("{command:?}"))).collect();
        let known = (app.given, open, app.subscribed.clone(), app.asked.clone(), app.expected.clone(), app.asks_again);
        let got =
            (app.excluded.clone(), app.got.clone(), app.order.clone(), app.has_session, app.connected, app.wills != 0);
        (
            counts,
            output,
            connect,
            resumed,
            unreleased,
            known,
            got,
            self.to_broker.clone(),
            self.connection.is_some(),
            self.old.is_some(),
        )
    }
}

impl World {
    /// The properties in which states differ. The broker is used up.
    fn fingerprint(mut self) -> (u128, Self) {
        let peers: Vec<_> = self.peers.iter().map(Peer::fingerprint).collect();
        let ids: Vec<_> = self.peers.iter().map(|peer| peer.connection).collect();
        let mut seen = Vec::new();
        let look = |broker: &mut Broker<AllowAll>| -> Vec<_> {
            ids.iter()
                .map(|id| id.map(|id| (broker.takes_input(id), broker.is_over(id), take(broker.transmit(id)))))
                .collect()
        };
        let before = (content(&self.committed), self.under_way.iter().map(changes).collect::<Vec<_>>());
        seen.push(look(&mut self.broker));
        let mut batches = Vec::new();
        let under_way = std::mem::take(&mut self.under_way);
        for batch in under_way {
            self.committed.apply(&batch);
            self.broker.committed(NOW, batch.number());
            seen.push(look(&mut self.broker));
        }
        // Then what the broker does with the changes that are open, and with its work.
        for _ in 0..1000 {
            let mut is_busy = false;
            while let Some(batch) = self.broker.changes() {
                batches.push(changes(&batch));
                self.committed.apply(&batch);
                self.broker.committed(NOW, batch.number());
                seen.push(look(&mut self.broker));
                is_busy = true;
            }
            if self.broker.deadline().is_some_and(|deadline| deadline <= NOW) {
                self.broker.poll(NOW);
                seen.push(look(&mut self.broker));
                is_busy = true;
            }
            if !is_busy {
                break;
            }
        }
        (hash((self.crashes, self.cuts, peers, before, seen, batches)), self)
    }

    /// A broker that is restored is like one that was never restarted.
    fn check_stored(mut self) {
        for id in self.peers.iter().flat_map(|peer| [peer.connection, peer.old]).flatten() {
            self.broker.closed(NOW, id);
        }
        for _ in 0..1000 {
            while let Some(batch) = self.broker.changes() {
                self.committed.apply(&batch);
                self.broker.committed(NOW, batch.number());
            }
            if self.broker.deadline().is_none_or(|deadline| deadline > NOW) {
                break;
            }
            self.broker.poll(NOW);
        }
        self.broker.assert_consistent();
        let restored = Broker::restore(broker_config(self.plan), AllowAll, NOW, self.committed.iter()).unwrap();
        restored.assert_consistent();
        let (one, two) = (self.broker.status(), restored.status());
        assert_eq!(
            (one.sessions, one.subscriptions, one.shared_subscriptions, one.retained, one.stored, one.stored_bytes),
            (two.sessions, two.subscriptions, two.shared_subscriptions, two.retained, two.stored, two.stored_bytes),
            "the pairs say what there is"
        );
    }
}

/// Prints the steps when a check fails.
struct OnPanic<'w>(Plan, &'w State, Step);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}\n{:?}\n{:?} {:?}", self.0, steps(&self.1.before), steps(&self.1.steps), self.2);
        }
    }
}

/// All clients have subscribed and published what comes before, and everything is stored.
fn first(plan: Plan) -> State {
    let peers = plan.roles.iter().enumerate().map(|(index, role)| Peer::new(role, index)).collect();
    let begin = Checkpoint { pairs: Pairs::default(), peers, crashes: plan.crashes + 1, cuts: plan.cuts };
    let mut world = World::of(plan, &begin);
    world.away.clear();
    world.settle();
    for (index, role) in plan.roles.iter().enumerate() {
        for &command in role.before {
            assert!(world.give(index, command));
            world.settle();
        }
    }
    let mut checkpoint = world.crash(0).unwrap();
    for peer in &mut checkpoint.peers {
        peer.app.wills = 0;
    }
    let step = plan.is_connected.then(|| Rc::new(Trail { step: Step::Settle, before: None }));
    State { checkpoint: Rc::new(checkpoint), steps: step, before: None }
}

/// Tries every sequence of steps. Returns the number of states.
fn explore(plan: Plan) -> usize {
    let start = first(plan);
    let mut known = HashSet::from([World::after(plan, &start).fingerprint().0]);
    let mut next = VecDeque::from([start]);
    let (mut transitions, mut ends) = (0_u64, 0_u64);
    let clients = 0..plan.roles.len();
    let all: Vec<Step> = [Step::Work, Step::HandOut, Step::Commit]
        .into_iter()
        .chain(clients.clone().flat_map(|it| [Step::Do(it), Step::Open(it), Step::ToBroker(it), Step::ToClient(it)]))
        .chain(clients.map(Step::Cut))
        .collect();
    while let Some(state) = next.pop_front() {
        let mut is_end = true;
        let mut here = World::after(plan, &state);
        let crashes: Vec<_> = (0..=plan.under_way).map_while(|stored| Some((stored, here.crash(stored)?))).collect();
        let possible: Vec<_> = all.iter().copied().filter(|&step| here.may_happen(step)).collect();
        let mut here = Some(here);
        for step in possible {
            let on_panic = OnPanic(plan, &state, step);
            let mut world = here.take().unwrap_or_else(|| World::after(plan, &state));
            if !world.happens(step) {
                continue;
            }
            world.broker.assert_consistent();
            transitions += 1;
            is_end &= matches!(step, Step::Cut(_));
            let (fingerprint, world) = world.fingerprint();
            if known.insert(fingerprint) {
                world.check_stored();
                let steps = Some(Rc::new(Trail { step, before: state.steps.clone() }));
                next.push_back(State { steps, ..state.clone() });
            }
            drop(on_panic);
        }
        for (stored, checkpoint) in crashes {
            let on_panic = OnPanic(plan, &state, Step::Crash(stored));
            transitions += 1;
            let world = World::of(plan, &checkpoint);
            world.broker.assert_consistent();
            if known.insert(world.fingerprint().0) {
                let mut before = state.before.clone();
                for step in steps(&state.steps).into_iter().chain([Step::Crash(stored)]) {
                    before = Some(Rc::new(Trail { step, before }));
                }
                next.push_back(State { checkpoint: Rc::new(checkpoint), steps: None, before });
            }
            drop(on_panic);
        }
        if is_end {
            let _on_panic = OnPanic(plan, &state, Step::Settle);
            World::after(plan, &state).check_end();
            ends += 1;
        }
    }
    println!("{plan:?}: {} states, {transitions} transitions, {ends} ends", known.len());
    assert!(ends > 0, "it comes to an end");
    known.len()
}

const PLAN: Plan =
    Plan { roles: &[], work_per_call: 2000, crashes: 1, cuts: 0, takeovers: false, under_way: 0, is_connected: true };

const SUBSCRIBED: Role = Role { before: &[Subscribe("a", Q2)], ..ROLE };
const SUBSCRIBED_1: Role = Role { before: &[Subscribe("a", Q1)], ..ROLE };
const AWAY: Role = Role { is_away: true, ..SUBSCRIBED };
/// A client that publishes to itself, too.
const MEMBER: Role = Role { commands: &[Publish("A1", "a", Q1)], ..SHARED };
const GROUP: &str = "$share/g/a";
const SHARED: Role = Role { before: &[Subscribe(GROUP, Q1)], ..ROLE };
const PUBLISHER: Role = Role { commands: &[Publish("A1", "a", Q2)], ..ROLE };
const PUBLISHER_1: Role = Role { commands: &[Publish("A1", "a", Q1)], ..ROLE };

/// One message, with up to two batches under way, or with each call doing one item of work.
#[test]
fn a_message() {
    assert!(explore(Plan { roles: &[PUBLISHER, SUBSCRIBED], under_way: 2, ..PLAN }) > 1500);
    assert!(explore(Plan { roles: &[PUBLISHER_1, SUBSCRIBED_1], under_way: 2, ..PLAN }) > 500);
    assert!(explore(Plan { roles: &[PUBLISHER, SUBSCRIBED], work_per_call: 1, ..PLAN }) > 1500);
}

/// Two crashes, with clients of 3.1.1 that are not connected at first.
#[test]
fn two_crashes() {
    const V311: Version = Version::V311;
    let roles = &[Role { version: V311, ..PUBLISHER }, Role { version: V311, ..SUBSCRIBED }];
    assert!(explore(Plan { roles, crashes: 2, is_connected: false, ..PLAN }) > 3000);
}

/// A lost connection besides, of which the broker learns when the client connects again.
#[test]
fn a_lost_connection() {
    assert!(explore(Plan { roles: &[PUBLISHER, SUBSCRIBED], cuts: 1, takeovers: true, ..PLAN }) > 4000);
}

/// Two messages come in their order, and those of two publishers beside each other.
#[test]
fn several_messages() {
    const TWO: Role = Role { commands: &[Publish("A1", "a", Q1), Publish("A2", "a", Q1)], ..ROLE };
    const OTHER: Role = Role { commands: &[Publish("B1", "a", Q1)], ..ROLE };
    assert!(explore(Plan { roles: &[TWO, SUBSCRIBED_1], ..PLAN }) > 500);
    assert!(explore(Plan { roles: &[PUBLISHER_1, OTHER, AWAY], ..PLAN }) > 500);
}

/// A message goes to two subscribers, or to one of a group.
#[test]
fn two_subscribers() {
    assert!(explore(Plan { roles: &[PUBLISHER, SUBSCRIBED, AWAY, AWAY], work_per_call: 1, ..PLAN }) > 500);
    assert!(explore(Plan { roles: &[MEMBER, SHARED], ..PLAN }) > 500);
}

/// A retained message is replaced, and removed.
/// [5.0: MQTT-3.3.1-5, MQTT-3.3.1-6]
#[test]
fn retained_messages() {
    const REPLACES: Role = Role { before: &[Retain("A1", "a", Q1)], commands: &[Retain("A2", "a", Q2)], ..ROLE };
    const REMOVES: Role =
        Role { before: &[Retain("A1", "a", Q1)], commands: &[Retain("A2", "a", Q1), Retain("", "a", Q1)], ..ROLE };
    assert!(explore(Plan { roles: &[REPLACES, SUBSCRIBED], ..PLAN }) > 500);
    assert!(explore(Plan { roles: &[REMOVES], work_per_call: 1, under_way: 1, ..PLAN }) > 200);
}

/// A new subscriber gets what is retained: of QoS 2 once where one call sends all of it.
#[test]
fn new_subscribers_get_retained_messages() {
    const RETAINS: Role = Role { before: &[Retain("A1", "a", Q2), Retain("B1", "b", Q2)], is_away: true, ..ROLE };
    const ONCE: Role = Role { commands: &[Subscribe("a", Q2)], ..ROLE };
    const AGAIN: Role = Role { commands: &[Subscribe("a", Q1)], ..ROLE };
    assert!(explore(Plan { roles: &[RETAINS, ONCE], crashes: 2, under_way: 2, ..PLAN }) > 1500);
    assert!(explore(Plan { roles: &[RETAINS, AGAIN], work_per_call: 1, ..PLAN }) > 500);
}

/// A subscription begins, and ends, while a message is published.
/// [5.0: MQTT-3.10.4-2]
#[test]
fn subscriptions() {
    const BEGINS: Role = Role { commands: &[Subscribe("a", Q2)], ..ROLE };
    const ENDS: Role = Role { commands: &[Unsubscribe("a")], ..SUBSCRIBED_1 };
    const CHANGES: Role = Role { commands: &[Subscribe("a", Q2), Unsubscribe("a")], ..ROLE };
    assert!(explore(Plan { roles: &[PUBLISHER_1, BEGINS], ..PLAN }) > 500);
    assert!(explore(Plan { roles: &[PUBLISHER_1, ENDS], ..PLAN }) > 500);
    assert!(explore(Plan { roles: &[CHANGES], under_way: 2, work_per_call: 1, ..PLAN }) > 200);
}

/// A client connects with Clean Start while a message is published.
#[test]
fn sessions_end() {
    const CLEAN: Role = Role { commands: &[CleanStart], ..SUBSCRIBED };
    assert!(explore(Plan { roles: &[PUBLISHER_1, CLEAN], ..PLAN }) > 1500);
}

/// A member of a group that has a message leaves with Clean Start: another member gets what it has not taken. The members are
/// absent while the message is published.
#[test]
fn members_leave() {
    const LEAVES: Role = Role { before: &[Subscribe(GROUP, Q1), Leave], commands: &[CleanStart], ..ROLE };
    const ABSENT: Role = Role { before: &[Subscribe(GROUP, Q1), Leave], is_away: true, ..ROLE };
    const BOTH: Role = Role { before: &[Publish("A1", "a", Q1), Publish("A2", "a", Q1)], is_away: true, ..ROLE };
    let roles = &[ABSENT, LEAVES, BOTH];
    assert!(explore(Plan { roles, work_per_call: 1, under_way: 2, is_connected: false, ..PLAN }) > 4000);
    assert!(explore(Plan { roles, work_per_call: 1, crashes: 2, is_connected: false, ..PLAN }) > 2000);
}

/// A client with a will loses its connection.
/// [5.0: MQTT-3.1.2-8]
#[test]
fn wills() {
    const WILL: Role = Role { will: Some("will"), ..ROLE };
    const HEIR: Role = Role { before: &[Subscribe("w", Q1)], ..ROLE };
    assert!(explore(Plan { roles: &[WILL, HEIR], cuts: 1, ..PLAN }) > 800);
}
