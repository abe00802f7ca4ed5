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
use mqtt_sansio::store::Pairs;
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
    /// How many interruptions happen: lost connections and crashes of the client's program.
    accidents: u8,
    /// Whether the client's program may crash.
    crashes: bool,
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
    /// The client's program crashes, and restarts from what was stored.
    Crash,
    Open,
}

const STEPS: [Step; 10] = [
    Step::ClientWrites,
    Step::ServerWrites,
    Step::AtServer,
    Step::AtClient,
    Step::ClientAcks,
    Step::ServerAcks,
    Step::Cut,
    Step::CutUnnoticed,
    Step::Crash,
    Step::Open,
];

/// The state of the application of an endpoint.
#[derive(Clone, Default, Hash)]
struct Application {
    /// How often the application has accepted ownership of each message.
    delivered: BTreeMap<String, u8>,
    /// Received messages that are not acknowledged, with their QoS.
    open: VecDeque<(String, bool, AckHandle)>,
    /// The number of outcomes of each published message.
    outcomes: BTreeMap<Token, u8>,
    /// Messages accepted and outcomes reported since the changes were last stored: a crash undoes both, because they are
    /// stored in one transaction with the changes.
    unstored: BTreeSet<String>,
    untold: BTreeSet<Token>,
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
        let times = self.delivered.entry(payload.clone()).or_default();
        *times += 1;
        assert!(*times == 1 || !exactly_once, "{payload} is delivered a second time [MQTT-4.3.3-10]");
        self.unstored.insert(payload);
    }

    fn done(&mut self, token: Token, is_success: bool) {
        assert!(is_success, "{token} has come to a bad end");
        let times = self.outcomes.entry(token).or_default();
        *times += 1;
        assert_eq!(*times, 1, "{token} has a second outcome");
        self.untold.insert(token);
    }

    fn stored(&mut self) {
        self.unstored.clear();
        self.untold.clear();
    }

    fn crash(&mut self) {
        for payload in std::mem::take(&mut self.unstored) {
            *self.delivered.get_mut(&payload).unwrap() -= 1;
        }
        for token in std::mem::take(&mut self.untold) {
            self.outcomes.remove(&token);
        }
        self.open.clear();
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
    stored: Pairs,
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
        durable: true,
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
            at_client: Application::default(),
            at_server: Application::default(),
            stored: Pairs::default(),
            is_open: true,
            is_joined: true,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            accidents: plan.accidents,
            trail: None,
        };
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
        world.store();
        world.look();
        world
    }

    /// Executes a step. Returns `false` if the step is not possible.
    fn happens(&mut self, step: Step) -> bool {
        match step {
            Step::ClientWrites => {
                self.store();
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
            Step::Crash => {
                if !self.is_accident(self.plan.crashes) {
                    return false;
                }
                self.cut(true);
                self.client = ClientSession::restore(client_config(self.plan), NOW, self.stored.iter()).unwrap();
                self.at_client.crash();
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

    /// Stores the changes of the client, and the state of its application with them.
    fn store(&mut self) {
        store(&mut self.client, &mut self.stored);
        self.at_client.stored();
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

    /// CONNECT has arrived. The server may still hold the last connection [MQTT-3.1.4-3].
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
        // The server's program does not crash, so its application loses nothing.
        self.at_server.stored();
        if !self.plan.crashes {
            self.at_client.stored();
        }
    }

    /// After a cut, a client that is restored behaves like the client that was never restarted.
    fn check_stored(&self) {
        let (mut client, mut stored) = (self.client.clone(), self.stored.clone());
        client.closed(NOW);
        store(&mut client, &mut stored);
        let restored =
            ClientSession::restore(client_config(self.plan), NOW, stored.iter()).expect("the pairs can be read");
        let counts = |client: &ClientSession| (client.operations_in_flight(), client.queued(), client.unreleased());
        assert_eq!(counts(&restored), counts(&client), "the pairs say how much there is");
        assert!(self.resumed(restored, false) == self.resumed(client, false), "the pairs say what there is");
    }

    /// The packets a client writes on its next connection, and for each packet identifier whether a QoS 2 message with
    /// it would be a new one.
    fn resumed(&self, mut client: ClientSession, with_new_ids: bool) -> (Vec<u8>, Vec<bool>) {
        client.closed(NOW);
        client.open(NOW).unwrap();
        let session_present = self.plan.version != Version::V31;
        let mut app = Application::default();
        poll_client(&mut client, &encode(ConnAck { session_present, ..ConnAck::default() }, self.plan), &mut app);
        store(&mut client, &mut Pairs::default());
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
        let mut changes = Pairs::default();
        let output = take(client.transmit());
        store(&mut client, &mut changes);
        // The time and the number of the last batch are not a difference.
        let changes: Vec<_> =
            changes.iter().filter(|(key, _)| *key != [1]).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        (counts, changes, output, take(client.transmit()), self.resumed(client, true))
    }

    fn server_fingerprint(&self) -> impl Hash + use<> {
        let mut server = self.server.clone();
        let counts = (server.is_connected(), server.packet_ids_in_use(), server.in_flight(), server.queued());
        let output = take(server.transmit());
        server.closed(NOW);
        let session_expiry_interval = Some(u32::MAX).filter(|_| self.plan.version == Version::V5);
        let connect = Connect {
            version: self.plan.version,
            client_identifier: "c".try_into().unwrap(),
            properties: ConnectProperties { session_expiry_interval, ..ConnectProperties::default() },
            ..Connect::default()
        };
        let mut server = accept(self.config.clone(), Some(server), &encode(connect, self.plan));
        let written = take(server.transmit());
        let is_new = self.probes(|packet, app| poll_server(&mut server.clone(), packet, app));
        (counts, output, written, is_new)
    }
}

fn encode<'p>(packet: impl Into<Packet<'p>>, plan: Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.into().encode(plan.version, &mut bytes).unwrap();
    bytes
}

/// Stores the changes of a client.
fn store(client: &mut ClientSession, pairs: &mut Pairs) {
    while let Some(batch) = client.changes() {
        pairs.apply(&batch);
        client.committed(NOW, batch.number());
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
            is_end &= matches!(step, Step::Cut | Step::CutUnnoticed | Step::Crash);
            if known.insert(after.fingerprint()) {
                if plan.crashes {
                    after.check_stored();
                }
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
    crashes: false,
    takeovers: false,
};

/// Two messages of one kind must keep their order, and with a small Receive Maximum they must wait for each other.
const PAIRS: Plan = Plan {
    from_client: &[("1", QoS::ExactlyOnce), ("2", QoS::ExactlyOnce)],
    from_server: &[("3", QoS::ExactlyOnce), ("4", QoS::ExactlyOnce)],
    ..PLAN
};

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

#[test]
fn crashes_of_the_client() {
    for version in [Version::V311, Version::V5] {
        explore(Plan { version, crashes: true, ..PLAN });
    }
    explore(Plan { crashes: true, accidents: 1, ..PAIRS });
    explore(Plan { crashes: true, receive_maximum: 1, ..PAIRS });
}

#[test]
fn receive_maximum_of_one() {
    for version in Version::ALL {
        explore(Plan { version, receive_maximum: 1, takeovers: true, ..PAIRS });
    }
    explore(Plan { receive_maximum: 1, accidents: 3, ..PLAN });
}

#[test]
fn manual_acknowledgements() {
    explore(Plan { manual_acks: true, takeovers: true, accidents: 1, ..PLAN });
    explore(Plan { manual_acks: true, crashes: true, receive_maximum: 1, ..PLAN });
}
