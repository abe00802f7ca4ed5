//! Every order in which a few messages, in both directions, can be exchanged, interrupted and resumed: the client and
//! the server are copied at each branch, and every possible step is tried.
//!
//! A packet is written, and arrives, as a whole: other tests show that splitting packets changes nothing. No time
//! passes.

#![cfg(feature = "std")]

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Buf;
use mqtt_sansio::client::{self, ClientConfig, ClientSession};
use mqtt_sansio::codec::{
    self, ConnAck, Connect, ConnectProperties, Decoded, Delivery, Limits, Packet, PubAckReasonCode, Publish,
};
use mqtt_sansio::server::{self, Accept, Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::store::{Batch, Change, Pairs};
use mqtt_sansio::{AckHandle, Instant, Message, PacketId, QoS, SessionExpiry, Token, TopicName, Version};

const NOW: Instant = Instant::from_micros(1);

/// The packet identifiers in use are below this one: both engines reuse the first sixteen.
const IDS: u16 = 8;

/// The messages to exchange, and the interruptions that may happen.
#[derive(Clone, Copy, Debug)]
struct Plan {
    version: Version,
    from_client: &'static [(&'static str, QoS)],
    from_server: &'static [(&'static str, QoS)],
    /// The Receive Maximum of both endpoints.
    receive_maximum: u16,
    /// Whether the applications acknowledge messages manually, as a step of its own.
    manual_acks: bool,
    /// How many interruptions happen: lost connections and crashes of the programs.
    accidents: u8,
    /// Whether the program of either endpoint may crash. Its session is durable then.
    client_crashes: bool,
    server_crashes: bool,
    /// Whether the server may learn of a lost connection only when the client reconnects.
    takeovers: bool,
}

/// A possible next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// An endpoint writes all of its output.
    ClientWrites,
    ServerWrites,
    /// The next packet arrives.
    AtServer,
    AtClient,
    /// An application acknowledges the message that has waited longest.
    ClientAcks,
    ServerAcks,
    /// The connection is lost, with all packets on their way. The server session continues as a clone, as a stored
    /// session would: no difference must be visible.
    Cut,
    /// The same, but the server does not notice.
    CutUnnoticed,
    /// A program hands out a batch of changes to its store; at most one is under way.
    ClientHandsOut,
    ServerHandsOut,
    /// The batch is stored, and confirmed.
    ClientCommitted,
    ServerCommitted,
    /// A program crashes, and restarts from its store: the batch under way is lost, or it is stored and was not confirmed.
    ClientCrash {
        stored: bool,
    },
    ServerCrash {
        stored: bool,
    },
    Open,
}

const STEPS: [Step; 17] = [
    Step::ClientWrites,
    Step::ServerWrites,
    Step::AtServer,
    Step::AtClient,
    Step::ClientAcks,
    Step::ServerAcks,
    Step::Cut,
    Step::CutUnnoticed,
    Step::ClientHandsOut,
    Step::ServerHandsOut,
    Step::ClientCommitted,
    Step::ServerCommitted,
    Step::ClientCrash { stored: false },
    Step::ClientCrash { stored: true },
    Step::ServerCrash { stored: false },
    Step::ServerCrash { stored: true },
    Step::Open,
];

/// The state of the application of an endpoint. It stores its state in one transaction with the changes of the session.
#[derive(Clone, Default, Hash)]
struct Application {
    /// The messages of the peer, in the order in which they were published, and whether each has QoS 2.
    expected: &'static [(&'static str, QoS)],
    /// How often the application has accepted ownership of each message.
    delivered: BTreeMap<String, u8>,
    /// Received messages that are not acknowledged, with their QoS.
    open: VecDeque<(String, bool, AckHandle)>,
    /// The number of outcomes of each published message.
    outcomes: BTreeMap<Token, u8>,
    /// What happened since the last batch was handed out, and what is stored with the batch under way: a crash undoes it.
    news: News,
    under_way: News,
}

/// Messages accepted and outcomes reported.
#[derive(Clone, Default, Hash)]
struct News {
    delivered: BTreeSet<String>,
    outcomes: BTreeSet<Token>,
}

impl Application {
    fn message(&mut self, payload: &[u8], qos: QoS, ack_handle: Option<AckHandle>) {
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        match ack_handle {
            Some(ack_handle) => self.open.push_back((payload, qos == QoS::ExactlyOnce, ack_handle)),
            None => self.take_over(payload, qos == QoS::ExactlyOnce),
        }
    }

    fn take_over(&mut self, payload: String, exactly_once: bool) {
        // Messages of one QoS come in their order.
        let before = self.expected.iter().take_while(|(other, _)| *other != payload);
        for (other, _) in before.filter(|(_, qos)| (*qos == QoS::ExactlyOnce) == exactly_once) {
            assert!(self.delivered.contains_key(*other), "{payload} is delivered before {other} [MQTT-4.6.0-6]");
        }
        let times = self.delivered.entry(payload.clone()).or_default();
        *times += 1;
        assert!(*times == 1 || !exactly_once, "{payload} is delivered a second time [MQTT-4.3.3-10]");
        self.news.delivered.insert(payload);
    }

    fn done(&mut self, token: Token, is_success: bool) {
        assert!(is_success, "{token} has come to a bad end");
        let times = self.outcomes.entry(token).or_default();
        *times += 1;
        assert_eq!(*times, 1, "{token} has a second outcome");
        self.news.outcomes.insert(token);
    }

    /// Returns whether something has happened since the last batch.
    fn has_news(&self) -> bool {
        !self.news.delivered.is_empty() || !self.news.outcomes.is_empty()
    }

    fn undo(&mut self, news: News) {
        for payload in news.delivered {
            let times = self.delivered.get_mut(&payload).unwrap();
            *times -= 1;
            if *times == 0 {
                self.delivered.remove(&payload);
            }
        }
        for token in news.outcomes {
            self.outcomes.remove(&token);
        }
    }

    /// The program has crashed; the batch under way is stored or lost.
    fn crash(&mut self, is_stored: bool) {
        let (news, under_way) = (std::mem::take(&mut self.news), std::mem::take(&mut self.under_way));
        self.undo(news);
        if !is_stored {
            self.undo(under_way);
        }
        self.open.clear();
    }
}

/// A session that is durable, or not.
trait Durable: Clone {
    fn next_batch(&mut self) -> Option<Batch>;
    fn confirm(&mut self, number: u64);
}

impl Durable for ClientSession {
    fn next_batch(&mut self) -> Option<Batch> {
        self.changes()
    }

    fn confirm(&mut self, number: u64) {
        self.committed(NOW, number);
    }
}

impl Durable for ServerSession {
    fn next_batch(&mut self) -> Option<Batch> {
        self.changes()
    }

    fn confirm(&mut self, number: u64) {
        self.committed(NOW, number);
    }
}

/// The store of an endpoint.
#[derive(Clone, Default)]
struct Store {
    pairs: Pairs,
    under_way: Option<Batch>,
}

impl Store {
    fn hand_out(&mut self, session: &mut impl Durable, app: &mut Application) -> bool {
        if self.under_way.is_none() {
            self.under_way = session.next_batch();
            if self.under_way.is_some() {
                app.under_way = std::mem::take(&mut app.news);
                return true;
            }
        }
        false
    }

    fn commit(&mut self, session: &mut impl Durable, app: &mut Application) -> bool {
        let Some(batch) = self.under_way.take() else { return false };
        self.pairs.apply(&batch);
        session.confirm(batch.number());
        app.under_way = News::default();
        true
    }

    /// Stores everything.
    fn settle(&mut self, session: &mut impl Durable, app: &mut Application) {
        while self.commit(session, app) || self.hand_out(session, app) {}
    }

    /// A crash: returns whether it is possible, with the batch under way stored or not.
    fn crash(&mut self, stored: bool) -> bool {
        match self.under_way.take() {
            None => !stored,
            Some(batch) => {
                if stored {
                    self.pairs.apply(&batch);
                }
                true
            }
        }
    }

    /// What is stored, what is under way, and the changes that are open, without numbers of batches and times.
    fn fingerprint<S: Durable>(&self, session: &mut S) -> impl Hash + use<S> {
        let mut open = Pairs::default();
        let mut removed = BTreeSet::new();
        let mut batches: Vec<_> = self.under_way.iter().cloned().collect();
        batches.extend(std::iter::from_fn(|| session.next_batch()));
        for batch in &batches {
            open.apply(batch);
            removed.extend(batch.changes().filter_map(|change| match change {
                Change::Remove { key } => Some(key.to_vec()),
                Change::Put { .. } => None,
            }));
            session.confirm(batch.number());
        }
        let known = |pairs: &Pairs| -> Vec<_> {
            let pairs = pairs.iter().filter(|(key, _)| *key != [1]);
            pairs.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
        };
        (known(&self.pairs), known(&open), removed, self.under_way.is_some(), batches.len())
    }
}

/// The complete state at one moment.
#[derive(Clone)]
struct World {
    plan: Plan,
    config: Arc<ServerConfig>,
    client: ClientSession,
    server: ServerSession,
    at_client: Application,
    at_server: Application,
    client_store: Store,
    server_store: Store,
    /// Whether the client has a transport, and whether it is the same connection as the server's.
    is_open: bool,
    is_joined: bool,
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<Vec<u8>>,
    accidents: u8,
    trail: Option<Rc<Trail>>,
}

/// The steps that led to a state.
struct Trail {
    step: Step,
    before: Option<Rc<Trail>>,
}

/// Prints the steps when a check fails.
struct OnPanic<'w>(&'w World, Step);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut steps = vec![self.1];
            let mut trail = &self.0.trail;
            while let Some(last) = trail {
                steps.push(last.step);
                trail = &last.before;
            }
            steps.reverse();
            eprintln!("{:?}\n{steps:?}", self.0.plan);
        }
    }
}

fn client_config(plan: Plan) -> ClientConfig {
    ClientConfig {
        version: plan.version,
        client_id: "c".into(),
        clean_start: false,
        session_expiry_interval: SessionExpiry::after(if plan.version == Version::V5 { u32::MAX } else { 0 }),
        keep_alive: None,
        connect_timeout: None,
        max_in_flight: NonZeroU16::new(plan.receive_maximum).unwrap(),
        receive_maximum: NonZeroU16::new(plan.receive_maximum).unwrap(),
        manual_acks: plan.manual_acks,
        durable: plan.client_crashes,
        ..ClientConfig::default()
    }
}

impl World {
    /// A connected client and server, with the commands to publish given.
    fn new(plan: Plan) -> Self {
        let maximum = NonZeroU16::new(plan.receive_maximum).unwrap();
        let config = Arc::new(ServerConfig {
            receive_maximum: maximum,
            max_in_flight: maximum,
            manual_acks: plan.manual_acks,
            durable: plan.server_crashes,
            ..ServerConfig::default()
        });
        let mut client = ClientSession::new(client_config(plan));
        client.open(NOW).unwrap();
        let connect = take(client.transmit());
        let server = accept(config.clone(), None, &connect);
        let mut world = Self {
            plan,
            config,
            client,
            server,
            at_client: Application { expected: plan.from_server, ..Application::default() },
            at_server: Application { expected: plan.from_client, ..Application::default() },
            client_store: Store::default(),
            server_store: Store::default(),
            is_open: true,
            is_joined: true,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            accidents: plan.accidents,
            trail: None,
        };
        world.settle();
        for step in [Step::ServerWrites, Step::AtClient] {
            assert!(world.happens(step));
        }
        for (payload, qos) in plan.from_client {
            world.client.publish(NOW, &Message::new("a", *payload).qos(*qos)).unwrap();
        }
        for (payload, qos) in plan.from_server {
            world.server.publish(NOW, &Message::new("b", *payload).qos(*qos)).unwrap();
        }
        // Accepted messages are stored, because a crash would lose them otherwise.
        world.settle();
        world.look();
        world
    }

    /// Executes a step. Returns `false` if the step is not possible.
    fn happens(&mut self, step: Step) -> bool {
        match step {
            Step::ClientWrites => {
                let bytes = take(self.client.transmit());
                self.to_server.extend(packets(&bytes, self.plan.version).into_iter().filter(|_| self.is_open));
                !bytes.is_empty()
            }
            Step::ServerWrites => {
                let bytes = take(self.server.transmit());
                // Packets to a client that has lost the connection do not arrive.
                self.to_client.extend(packets(&bytes, self.plan.version).into_iter().filter(|_| self.is_joined));
                !bytes.is_empty()
            }
            Step::AtServer => {
                let Some(packet) = self.to_server.pop_front() else { return false };
                if packet[0] == 0x10 {
                    self.take_over(&packet);
                } else {
                    assert!(self.is_joined, "what is lost does not arrive");
                    poll_server(&mut self.server, &packet, &mut self.at_server);
                }
                true
            }
            Step::AtClient => {
                let Some(packet) = self.to_client.pop_front() else { return false };
                poll_client(&mut self.client, &packet, &mut self.at_client);
                true
            }
            Step::ClientAcks => {
                let Some((payload, exactly_once, ack_handle)) = self.at_client.open.pop_front() else { return false };
                self.client.ack(NOW, ack_handle, PubAckReasonCode::Success).unwrap();
                self.at_client.take_over(payload, exactly_once);
                true
            }
            Step::ServerAcks => {
                let Some((payload, exactly_once, ack_handle)) = self.at_server.open.pop_front() else { return false };
                self.server.ack(NOW, ack_handle, PubAckReasonCode::Success).unwrap();
                self.at_server.take_over(payload, exactly_once);
                true
            }
            Step::Cut => self.is_accident(self.is_open) && self.cut(true),
            Step::CutUnnoticed => self.is_accident(self.plan.takeovers && self.is_joined) && self.cut(false),
            Step::ClientHandsOut => self.client_store.hand_out(&mut self.client, &mut self.at_client),
            Step::ServerHandsOut => self.server_store.hand_out(&mut self.server, &mut self.at_server),
            Step::ClientCommitted => self.client_store.commit(&mut self.client, &mut self.at_client),
            Step::ServerCommitted => self.server_store.commit(&mut self.server, &mut self.at_server),
            Step::ClientCrash { stored } => {
                let is_possible = self.plan.client_crashes && self.client_store.crash(stored);
                if !self.is_accident(is_possible) {
                    return false;
                }
                self.cut(true);
                let pairs = self.client_store.pairs.iter();
                self.client = ClientSession::restore(client_config(self.plan), NOW, pairs).unwrap();
                self.at_client.crash(stored);
                true
            }
            Step::ServerCrash { stored } => {
                let is_possible = self.plan.server_crashes && self.server_store.crash(stored);
                if !self.is_accident(is_possible) {
                    return false;
                }
                self.cut(true);
                let pairs = self.server_store.pairs.iter();
                let restored = ServerSession::restore(self.config.clone(), NOW, pairs).unwrap();
                self.server = restored.expect("CONNACK has waited for the session");
                self.at_server.crash(stored);
                true
            }
            Step::Open => {
                if self.is_open {
                    return false;
                }
                self.client.open(NOW).unwrap();
                self.is_open = true;
                true
            }
        }
    }

    /// Stores the state of both endpoints.
    fn settle(&mut self) {
        self.client_store.settle(&mut self.client, &mut self.at_client);
        self.server_store.settle(&mut self.server, &mut self.at_server);
    }

    /// Whether another interruption may happen, which is then counted.
    fn is_accident(&mut self, is_possible: bool) -> bool {
        let happens = is_possible && self.accidents > 0;
        self.accidents -= u8::from(happens);
        happens
    }

    fn cut(&mut self, is_noticed: bool) -> bool {
        self.to_server.clear();
        self.to_client.clear();
        self.client.closed(NOW);
        self.at_client.open.clear();
        if is_noticed {
            self.server.closed(NOW);
            self.at_server.open.clear();
        }
        (self.is_open, self.is_joined) = (false, false);
        true
    }

    /// CONNECT has arrived. The server may still hold the last connection: it is taken over.
    fn take_over(&mut self, connect: &[u8]) {
        if self.server.take_over(NOW).is_ok() {
            while let Some(action) = self.server.poll_timeout(NOW) {
                assert!(matches!(action, server::Action::Close(server::Close::Requested)), "{action:?}");
            }
        }
        self.server.closed(NOW);
        self.at_server.open.clear();
        self.server = accept(self.config.clone(), Some(self.server.clone()), connect);
        self.is_joined = true;
    }

    /// Checks the invariants of every state.
    fn look(&mut self) {
        self.client.assert_consistent();
        self.server.assert_consistent();
        let maximum = usize::from(self.plan.receive_maximum);
        assert!(self.client.in_flight() <= maximum && self.server.in_flight() <= maximum, "[MQTT-3.3.4-7]");
        // What an application has to store is stored with a batch.
        assert!(!self.plan.client_crashes || !self.at_client.has_news() || self.client.clone().changes().is_some());
        assert!(!self.plan.server_crashes || !self.at_server.has_news() || self.server.clone().changes().is_some());
        // A program that does not crash loses nothing.
        if !self.plan.client_crashes {
            self.at_client.news = News::default();
        }
        if !self.plan.server_crashes {
            self.at_server.news = News::default();
        }
    }

    /// After a cut, an endpoint that is restored behaves like one that was never restarted.
    fn check_stored(&self) {
        let mut world = self.clone();
        world.client.closed(NOW);
        world.server.closed(NOW);
        world.settle();
        if self.plan.client_crashes {
            let pairs = world.client_store.pairs.iter();
            let restored = ClientSession::restore(client_config(self.plan), NOW, pairs).expect("the pairs can be read");
            let counts = |client: &ClientSession| (client.operations_in_flight(), client.queued(), client.unreleased());
            assert_eq!(counts(&restored), counts(&world.client), "the pairs say how much there is");
            assert!(self.resumed(restored, false) == self.resumed(world.client, false), "the pairs say what there is");
        }
        if self.plan.server_crashes {
            let pairs = world.server_store.pairs.iter();
            let restored = ServerSession::restore(self.config.clone(), NOW, pairs).expect("the pairs can be read");
            let restored = restored.expect("there is a session");
            let counts = |server: &ServerSession| (server.packet_ids_in_use(), server.queued());
            assert_eq!(counts(&restored), counts(&world.server), "the pairs say how much there is");
            assert!(
                self.server_resumed(restored, false) == self.server_resumed(world.server, false),
                "the pairs say what there is"
            );
        }
    }

    /// The packets a client writes on its next connection, and for each packet identifier whether a QoS 2 message with
    /// it would be a new one.
    fn resumed(&self, mut client: ClientSession, with_new_ids: bool) -> (Vec<u8>, Vec<bool>) {
        client.closed(NOW);
        client.open(NOW).unwrap();
        let session_present = self.plan.version != Version::V31;
        let mut app = Application::default();
        poll_client(&mut client, &encode(ConnAck { session_present, ..ConnAck::default() }, self.plan), &mut app);
        store(&mut client);
        let mut written = take(client.transmit());
        if !with_new_ids {
            written = packets(&written, self.plan.version).into_iter().map(without_new_id).collect::<Vec<_>>().concat();
        }
        let is_new = self.probes(|packet, app| poll_client(&mut client.clone(), packet, app));
        (written, is_new)
    }

    /// For each packet identifier that may be in use, whether a QoS 2 message with it is a new one.
    fn probes(&self, mut receive: impl FnMut(&[u8], &mut Application)) -> Vec<bool> {
        let is_new = |id| {
            let delivery = Delivery::ExactlyOnce { id: PacketId::new(id).unwrap(), dup: true };
            let publish = Publish { delivery, topic: TopicName::new("a").unwrap(), ..Publish::default() };
            let mut app = Application::default();
            receive(&encode(publish, self.plan), &mut app);
            !app.delivered.is_empty() || !app.open.is_empty()
        };
        (1..=IDS).map(is_new).collect()
    }

    /// Checks a state in which no packet is on its way and nothing is left to do.
    fn check_end(&self) {
        assert!(self.is_joined && self.client.is_connected() && self.server.is_connected(), "they are connected");
        let client = (self.client.operations_in_flight(), self.client.queued(), self.client.unreleased());
        let server = (self.server.packet_ids_in_use(), self.server.queued());
        assert_eq!((client, server), ((0, 0, 0), (0, 0)), "nothing is open");
        for (sent, taken, reported) in [
            (self.plan.from_client, &self.at_server.delivered, &self.at_client.outcomes),
            (self.plan.from_server, &self.at_client.delivered, &self.at_server.outcomes),
        ] {
            for (payload, qos) in sent {
                let times = taken.get(*payload).copied().unwrap_or(0);
                let is_right = if *qos == QoS::ExactlyOnce { times == 1 } else { times >= 1 };
                assert!(is_right, "{payload}, {qos:?}, was delivered {times} times");
            }
            assert_eq!(reported.len(), sent.len(), "each token has an outcome");
        }
    }

    /// The properties in which states differ: packets on their way, the state of the applications, and for either
    /// endpoint its output, its next packets, and its behaviour after a cut.
    fn fingerprint(&self) -> u128 {
        let [mut one, mut two] = [DefaultHasher::new(), DefaultHasher::new()];
        1.hash(&mut two);
        let client = self.client_fingerprint();
        let server = self.server_fingerprint();
        for hasher in [&mut one, &mut two] {
            (self.is_open, self.is_joined, self.accidents, &self.to_server, &self.to_client).hash(hasher);
            (&self.at_client, &self.at_server, &client, &server).hash(hasher);
        }
        u128::from(one.finish()) << 64 | u128::from(two.finish())
    }

    fn client_fingerprint(&self) -> impl Hash + use<> {
        let mut client = self.client.clone();
        let counts = (client.is_connected(), client.operations_in_flight(), client.in_flight(), client.queued());
        let output = take(client.transmit());
        let changes = self.client_store.fingerprint(&mut client);
        (counts, changes, output, take(client.transmit()), self.resumed(client, true))
    }

    fn server_fingerprint(&self) -> impl Hash + use<> {
        let mut server = self.server.clone();
        let counts = (server.is_connected(), server.packet_ids_in_use(), server.in_flight(), server.queued());
        let output = take(server.transmit());
        let changes = self.server_store.fingerprint(&mut server);
        (counts, changes, output, take(server.transmit()), self.server_resumed(server, true))
    }

    /// As [`resumed`](Self::resumed), for a server.
    fn server_resumed(&self, mut server: ServerSession, with_new_ids: bool) -> (Vec<u8>, Vec<bool>) {
        server.closed(NOW);
        let session_expiry_interval = Some(u32::MAX).filter(|_| self.plan.version == Version::V5);
        let connect = Connect {
            version: self.plan.version,
            client_identifier: "c".try_into().unwrap(),
            properties: ConnectProperties { session_expiry_interval, ..ConnectProperties::default() },
            ..Connect::default()
        };
        let mut server = accept(self.config.clone(), Some(server), &encode(connect, self.plan));
        store(&mut server);
        let mut written = take(server.transmit());
        if !with_new_ids {
            written = packets(&written, self.plan.version).into_iter().map(without_new_id).collect::<Vec<_>>().concat();
        }
        let is_new = self.probes(|packet, app| poll_server(&mut server.clone(), packet, app));
        (written, is_new)
    }
}

fn encode<'p>(packet: impl Into<Packet<'p>>, plan: Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.into().encode(plan.version, &mut bytes).unwrap();
    bytes
}

/// Confirms the changes of a session, which nobody stores.
fn store(session: &mut impl Durable) {
    while let Some(batch) = session.next_batch() {
        session.confirm(batch.number());
    }
}

/// Takes all bytes.
fn take(buf: &mut impl Buf) -> Vec<u8> {
    buf.copy_to_bytes(buf.remaining()).to_vec()
}

/// The first transmission of a message may use any free packet identifier, so the identifier is removed for the
/// comparison.
fn without_new_id(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] & 0xF8 == 0x30 {
        // The identifier follows the fixed header of two bytes and the topic.
        packet[5..7].fill(0);
    }
    packet
}

/// Splits a stream into packets.
fn packets(mut stream: &[u8], version: Version) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while !stream.is_empty() {
        match codec::decode(stream, version, Limits::default()) {
            Ok(Decoded::Packet { size, .. }) => {
                packets.push(stream[..size].to_vec());
                stream = &stream[size..];
            }
            other => panic!("whole packets are written, and not {other:?}"),
        }
    }
    packets
}

fn accept(config: Arc<ServerConfig>, kept: Option<ServerSession>, connect: &[u8]) -> ServerSession {
    let mut acceptor = Acceptor::new(config, NOW);
    let mut input = connect;
    let action = acceptor.poll(NOW, &mut input);
    assert!(matches!(action, Some(server::AcceptorAction::Connect(_))), "{action:?}");
    let mut session = acceptor.accept(NOW, kept, Accept::default()).unwrap();
    assert_eq!(session.poll(NOW, &mut input), None, "there is nothing to tell");
    session
}

fn poll_server(server: &mut ServerSession, mut input: &[u8], app: &mut Application) {
    while let Some(action) = server.poll(NOW, &mut input) {
        match action {
            server::Action::Message(message) => app.message(message.payload, message.qos, message.ack_handle),
            server::Action::Done { token, outcome } => app.done(token, outcome.is_success()),
            other => panic!("the server says {other:?}"),
        }
    }
    assert!(input.is_empty(), "the packet is taken");
}

fn poll_client(client: &mut ClientSession, mut input: &[u8], app: &mut Application) {
    while let Some(action) = client.poll(NOW, &mut input) {
        match action {
            client::Action::Connected(_) => {}
            client::Action::Message(message) => app.message(message.payload, message.qos, message.ack_handle),
            client::Action::Done { token, outcome } => app.done(token, outcome.is_success()),
            other => panic!("the client says {other:?}"),
        }
    }
    assert!(input.is_empty(), "the packet is taken");
}

/// Tries every sequence of steps.
fn explore(plan: Plan) {
    let first = World::new(plan);
    let mut known = HashSet::from([first.fingerprint()]);
    let mut next = VecDeque::from([first]);
    let (mut transitions, mut ends) = (0_u64, 0_u64);
    while let Some(world) = next.pop_front() {
        let mut is_end = true;
        for step in STEPS {
            let on_panic = OnPanic(&world, step);
            let mut after = world.clone();
            if !after.happens(step) {
                continue;
            }
            after.look();
            transitions += 1;
            // An interruption need not happen, so a state without other steps is an end.
            is_end &=
                matches!(step, Step::Cut | Step::CutUnnoticed | Step::ClientCrash { .. } | Step::ServerCrash { .. });
            if known.insert(after.fingerprint()) {
                after.check_stored();
                after.trail = Some(Rc::new(Trail { step, before: world.trail.clone() }));
                next.push_back(after);
            }
            drop(on_panic);
        }
        if is_end {
            let _on_panic = OnPanic(&world, Step::Open);
            world.check_end();
            ends += 1;
        }
    }
    println!("{plan:?}: {} states, {transitions} transitions, {ends} ends", known.len());
    assert!(ends > 0, "it comes to an end");
}

const PLAN: Plan = Plan {
    version: Version::V5,
    from_client: &[("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)],
    from_server: &[("3", QoS::AtLeastOnce), ("4", QoS::ExactlyOnce)],
    receive_maximum: 10,
    manual_acks: false,
    accidents: 2,
    client_crashes: false,
    server_crashes: false,
    takeovers: false,
};

/// Two messages of one kind must keep their order, and with a small Receive Maximum they must wait for each other.
const PAIRS: Plan = Plan {
    from_client: &[("1", QoS::ExactlyOnce), ("2", QoS::ExactlyOnce)],
    from_server: &[("3", QoS::ExactlyOnce), ("4", QoS::ExactlyOnce)],
    ..PLAN
};

/// [3.1.1: MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.3-1, MQTT-4.3.3-2, MQTT-4.4.0-1; 5.0: MQTT-4.3.2-3, MQTT-4.3.2-4,
/// MQTT-4.3.3-3, MQTT-4.3.3-5, MQTT-4.3.3-10, MQTT-4.4.0-1]
#[test]
fn lost_connections() {
    for version in Version::ALL {
        explore(Plan { version, ..PLAN });
    }
}

#[test]
fn lost_connections_that_the_server_does_not_notice() {
    for version in [Version::V311, Version::V5] {
        explore(Plan { version, takeovers: true, ..PLAN });
    }
    explore(Plan { takeovers: true, accidents: 1, ..PAIRS });
}

/// Few messages, so that the endpoints can be in many states.
const FEW: Plan =
    Plan { from_client: &[("1", QoS::ExactlyOnce)], from_server: &[("2", QoS::ExactlyOnce)], accidents: 2, ..PLAN };

/// Messages in one direction only.
const UP: Plan = Plan { from_server: &[], ..PLAN };
const DOWN: Plan = Plan { from_client: &[], ..PLAN };
const UP_IN_ORDER: Plan = Plan { from_server: &[], ..PAIRS };
const DOWN_IN_ORDER: Plan = Plan { from_client: &[], ..PAIRS };

#[test]
fn crashes_of_the_client() {
    explore(Plan { version: Version::V311, client_crashes: true, accidents: 1, ..PLAN });
    explore(Plan { client_crashes: true, ..FEW });
    for plan in [UP, DOWN, UP_IN_ORDER, DOWN_IN_ORDER] {
        explore(Plan { client_crashes: true, ..plan });
        explore(Plan { client_crashes: true, receive_maximum: 1, ..plan });
    }
}

#[test]
fn crashes_of_the_server() {
    explore(Plan { version: Version::V311, server_crashes: true, accidents: 1, ..PLAN });
    explore(Plan { server_crashes: true, ..FEW });
    for plan in [UP, DOWN, UP_IN_ORDER, DOWN_IN_ORDER] {
        explore(Plan { server_crashes: true, ..plan });
        explore(Plan { server_crashes: true, receive_maximum: 1, ..plan });
    }
}

#[test]
fn crashes_of_both() {
    for plan in [Plan { from_server: &[], ..FEW }, Plan { from_client: &[], ..FEW }] {
        explore(Plan { client_crashes: true, server_crashes: true, takeovers: true, ..plan });
    }
    for plan in [UP, DOWN] {
        explore(Plan { client_crashes: true, server_crashes: true, accidents: 1, ..plan });
    }
}

/// [5.0: MQTT-3.3.4-7, MQTT-3.3.4-9, MQTT-4.9.0-2]
#[test]
fn receive_maximum_of_one() {
    for version in Version::ALL {
        explore(Plan { version, receive_maximum: 1, takeovers: true, ..PAIRS });
    }
    explore(Plan { receive_maximum: 1, accidents: 3, ..PLAN });
}

/// [5.0: MQTT-4.3.2-4, MQTT-4.3.3-8]
#[test]
fn manual_acknowledgements() {
    explore(Plan { manual_acks: true, takeovers: true, accidents: 1, ..PLAN });
    for plan in [UP, DOWN] {
        explore(Plan { manual_acks: true, client_crashes: true, receive_maximum: 1, ..plan });
        explore(Plan { manual_acks: true, server_crashes: true, receive_maximum: 1, ..plan });
    }
}
