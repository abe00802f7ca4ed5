//! A durable client and a durable server session over a link that splits and loses bytes: whatever is cut, and whichever side
//! crashes, at any moment and with any part of the batches stored, the applications see what they see without crashes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{self, ClientConfig, ClientSession};
use mqtt_sansio::codec::PubAckReasonCode;
use mqtt_sansio::server::{self, Accept, Acceptor, AcceptorAction, ServerConfig, ServerSession};
use mqtt_sansio::store::{Batch, Pairs};
use mqtt_sansio::{AckHandle, Instant, Message, Outcome, QoS, SessionExpiry, Token, Version};
use mqtt_sansio_testkit::Random;

/// What an application has seen and done. It is stored in one transaction with the changes of its session.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
struct Seen {
    /// The received messages, in order.
    messages: Vec<(String, QoS)>,
    /// The published messages without an outcome, and the number of those with one.
    open: BTreeMap<Token, String>,
    done: usize,
    published: usize,
}

/// One endpoint's program: its state in memory, and what is stored.
struct Program<S> {
    session: S,
    seen: Seen,
    /// Messages to be acknowledged by the application.
    unacknowledged: Vec<(String, QoS, AckHandle)>,
    stored: (Pairs, Seen),
    /// The transactions that are under way, in order.
    under_way: Vec<(Batch, Seen)>,
    received: Vec<u8>,
    crashes: bool,
}

impl<S> Program<S> {
    fn new(session: S, crashes: bool) -> Self {
        Self {
            session,
            seen: Seen::default(),
            unacknowledged: Vec::new(),
            stored: (Pairs::default(), Seen::default()),
            under_way: Vec::new(),
            received: Vec::new(),
            crashes,
        }
    }

    fn done(&mut self, token: Token, outcome: Outcome<'_>) {
        assert!(outcome.is_success(), "{outcome:?}");
        assert!(self.seen.open.remove(&token).is_some(), "{token} has one outcome");
        self.seen.done += 1;
    }

    fn message(&mut self, payload: &[u8], qos: QoS, ack_handle: Option<AckHandle>) {
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        match ack_handle {
            Some(ack_handle) => self.unacknowledged.push((payload, qos, ack_handle)),
            None => self.seen.messages.push((payload, qos)),
        }
    }

    /// Some of the transactions under way are stored.
    fn commit(&mut self, count: usize) -> Option<u64> {
        let last = self.under_way.drain(..count).last()?;
        // Later transactions contain all that the earlier ones contain of the application.
        self.stored.1 = last.1;
        Some(last.0.number())
    }

    fn store(&mut self, count: usize) -> Option<u64> {
        for (batch, _) in &self.under_way[..count] {
            self.stored.0.apply(batch);
        }
        self.commit(count)
    }

    fn crash(&mut self, count: usize) {
        self.store(count);
        self.under_way.clear();
        self.unacknowledged.clear();
        self.received.clear();
        self.seen = self.stored.1.clone();
    }
}

struct World {
    random: Random,
    now: Instant,
    client_config: ClientConfig,
    server_config: ServerConfig,
    client: Program<ClientSession>,
    server: Program<Option<ServerSession>>,
    acceptor: Option<Acceptor>,
    is_open: bool,
    /// How many messages each endpoint publishes.
    goal: usize,
}

impl World {
    fn new(seed: u64, crashes: (bool, bool)) -> Self {
        let mut random = Random::new(seed);
        let version = if random.percent(70) { Version::V5 } else { Version::V311 };
        let manual_acks = (random.percent(30), random.percent(30));
        let receive_maximum = [u16::MAX, 3, 1][random.index(3)].try_into().unwrap();
        let client_config = ClientConfig {
            version,
            client_id: "c".into(),
            clean_start: false,
            session_expiry_interval: SessionExpiry::after(if version == Version::V5 { 1 << 30 } else { 0 }),
            keep_alive: None,
            durable: true,
            manual_acks: manual_acks.0,
            receive_maximum,
            max_uncommitted: [1 << 20, 600][random.index(2)].try_into().unwrap(),
            topic_aliases: 2,
            ..ClientConfig::default()
        };
        let server_config = ServerConfig {
            durable: true,
            manual_acks: manual_acks.1,
            receive_maximum,
            max_uncommitted: [1 << 20, 600][random.index(2)].try_into().unwrap(),
            topic_alias_maximum: 2,
            ..ServerConfig::default()
        };
        Self {
            client: Program::new(ClientSession::new(client_config.clone()), crashes.0),
            server: Program::new(None, crashes.1),
            random,
            now: Instant::from_micros(1_000_000_000),
            client_config,
            server_config,
            acceptor: None,
            is_open: false,
            goal: 12,
        }
    }

    fn message(&mut self, name: char, number: usize) -> (String, QoS) {
        let size = [1, 20, 3000, 70_000][[0, 0, 0, 1, 1, 2, 3][self.random.index(7)]];
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce][number % 3];
        (format!("{name}{number:03}{}", "x".repeat(size)), qos)
    }

    fn publish(&mut self, from_client: bool) {
        let number = if from_client { self.client.seen.published } else { self.server.seen.published };
        if number >= self.goal {
            return;
        }
        let (payload, qos) = self.message(if from_client { 'c' } else { 's' }, number);
        let message = Message::new("t", Bytes::from(payload.clone())).qos(qos);
        let name = payload[..4].to_owned();
        if from_client {
            let token = self.client.session.publish(self.now, &message).unwrap();
            self.client.seen.open.insert(token, name);
            self.client.seen.published += 1;
        } else if let Some(session) = &mut self.server.session {
            let token = session.publish(self.now, &message).unwrap();
            self.server.seen.open.insert(token, name);
            self.server.seen.published += 1;
        }
    }

    /// Opens a connection, or carries some bytes, or stores something.
    fn step(&mut self, accidents: bool) {
        self.now = self.now + Duration::from_millis(self.random.below(50));
        match self.random.below(100) {
            0..6 => self.publish(true),
            6..12 => self.publish(false),
            12..20 => self.acknowledge(),
            20..22 if accidents => self.cut(),
            22..24 if accidents && self.client.crashes => self.crash_client(),
            24..26 if accidents && self.server.crashes => self.crash_server(),
            26..40 if !self.is_open => self.open(),
            26..50 => self.carry(true),
            50..70 => self.carry(false),
            70..85 => self.hand_out(),
            _ => self.commit(),
        }
        self.client.session.assert_consistent();
    }

    fn open(&mut self) {
        self.client.session.open(self.now).unwrap();
        self.acceptor = Some(Acceptor::new(self.server_config.clone(), self.now));
        self.is_open = true;
    }

    fn cut(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.client.session.closed(self.now);
            self.client.unacknowledged.clear();
            self.client.received.clear();
            self.acceptor = None;
            if let Some(session) = &mut self.server.session {
                session.closed(self.now);
            }
            self.server.unacknowledged.clear();
            self.server.received.clear();
            self.poll_client();
            self.poll_server();
        }
    }

    fn crash_client(&mut self) {
        self.cut();
        self.hand_out_client();
        let count = self.random.index(self.client.under_way.len() + 1);
        self.client.crash(count);
        let pairs = self.client.stored.0.iter();
        self.client.session = ClientSession::restore(self.client_config.clone(), self.now, pairs).unwrap();
        let open: BTreeMap<_, _> = self.client.session.operations().map(|operation| (operation.token, ())).collect();
        assert!(open.keys().eq(self.client.seen.open.keys()), "the open tokens are known");
    }

    fn crash_server(&mut self) {
        self.cut();
        self.hand_out_server();
        let count = self.random.index(self.server.under_way.len() + 1);
        self.server.crash(count);
        let pairs = self.server.stored.0.iter();
        self.server.session = ServerSession::restore(self.server_config.clone(), self.now, pairs).unwrap();
    }

    fn acknowledge(&mut self) {
        if !self.client.unacknowledged.is_empty() {
            let (payload, qos, ack_handle) = self.client.unacknowledged.remove(0);
            self.client.session.ack(self.now, ack_handle, PubAckReasonCode::Success).unwrap();
            self.client.seen.messages.push((payload, qos));
        }
        if let (false, Some(session)) = (self.server.unacknowledged.is_empty(), &mut self.server.session) {
            let (payload, qos, ack_handle) = self.server.unacknowledged.remove(0);
            session.ack(self.now, ack_handle, PubAckReasonCode::Success).unwrap();
            self.server.seen.messages.push((payload, qos));
        }
    }

    fn hand_out(&mut self) {
        self.hand_out_client();
        self.hand_out_server();
    }

    fn hand_out_client(&mut self) {
        while let Some(batch) = self.client.session.changes() {
            self.client.under_way.push((batch, self.client.seen.clone()));
        }
    }

    fn hand_out_server(&mut self) {
        while let Some(batch) = self.server.session.as_mut().and_then(ServerSession::changes) {
            self.server.under_way.push((batch, self.server.seen.clone()));
        }
    }

    fn commit(&mut self) {
        let count = self.random.index(self.client.under_way.len() + 1);
        if let Some(number) = self.client.store(count) {
            self.client.session.committed(self.now, number);
        }
        let count = self.random.index(self.server.under_way.len() + 1);
        if let (Some(number), Some(session)) = (self.server.store(count), &mut self.server.session) {
            session.committed(self.now, number);
        }
        self.poll_client();
        self.poll_server();
    }

    /// Carries some of the output of an endpoint to the other one.
    fn carry(&mut self, to_server: bool) {
        if !self.is_open {
            return;
        }
        if to_server {
            let transmit = self.client.session.transmit();
            let count = if self.random.percent(60) {
                transmit.remaining()
            } else {
                self.random.index(transmit.remaining() + 1)
            };
            self.server.received.extend_from_slice(&transmit.copy_to_bytes(count));
        } else if let (None, Some(session)) = (&self.acceptor, &mut self.server.session) {
            let transmit = session.transmit();
            let count = if self.random.percent(60) {
                transmit.remaining()
            } else {
                self.random.index(transmit.remaining() + 1)
            };
            self.client.received.extend_from_slice(&transmit.copy_to_bytes(count));
        }
        self.poll_client();
        self.poll_server();
    }

    fn poll_client(&mut self) {
        let received = std::mem::take(&mut self.client.received);
        let mut input = &received[..];
        while let Some(action) = self.client.session.poll(self.now, &mut input) {
            match action {
                client::Action::Connected(_) => {}
                client::Action::Message(message) => {
                    self.client.message(message.payload, message.qos, message.ack_handle)
                }
                client::Action::Done { token, outcome } => self.client.done(token, outcome),
                other => panic!("{other:?}"),
            }
        }
        self.client.received = input.to_vec();
    }

    fn poll_server(&mut self) {
        let received = std::mem::take(&mut self.server.received);
        let mut input = &received[..];
        if let Some(acceptor) = &mut self.acceptor {
            match acceptor.poll(self.now, &mut input) {
                None => return self.server.received = input.to_vec(),
                Some(AcceptorAction::Connect(_)) => {}
                Some(other) => panic!("{other:?}"),
            }
            let stored = self.server.session.take();
            self.server.session = Some(acceptor.accept(self.now, stored, Accept::default()).unwrap());
            self.acceptor = None;
        }
        while let Some(session) = &mut self.server.session
            && let Some(action) = session.poll(self.now, &mut input)
        {
            match action {
                server::Action::Message(message) => {
                    self.server.message(message.payload, message.qos, message.ack_handle)
                }
                server::Action::Done { token, outcome } => self.server.done(token, outcome),
                other => panic!("{other:?}"),
            }
        }
        if let Some(session) = &self.server.session {
            session.assert_consistent();
        }
        self.server.received = input.to_vec();
    }

    /// Runs to the end. Returns what both applications have seen, without repetitions of QoS 1.
    fn run(mut self) -> [Vec<String>; 4] {
        for _ in 0..self.random.below(1500) {
            self.step(true);
        }
        let is_over = |world: &Self| {
            let is_done = |seen: &Seen| seen.done == world.goal;
            let is_stored = world.client.under_way.is_empty() && world.server.under_way.is_empty();
            is_done(&world.client.seen) && is_done(&world.server.seen) && is_stored
        };
        for _ in 0..100_000 {
            if is_over(&self) {
                break;
            }
            self.step(false);
        }
        assert!(is_over(&self), "it comes to an end: {:?} {:?}", self.client.session, self.server.session);
        assert!(self.client.seen.open.is_empty() && self.server.seen.open.is_empty());
        let [a, b] = [&self.client.seen, &self.server.seen].map(|seen| {
            [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|wanted| {
                let mut names: Vec<String> = Vec::new();
                for (payload, _) in seen.messages.iter().filter(|(_, qos)| *qos == wanted) {
                    // A message of QoS 1 may come again; the first copies are in order [MQTT-4.6.0-6].
                    let name = payload[..4].to_owned();
                    if wanted == QoS::ExactlyOnce || !names.contains(&name) {
                        names.push(name);
                    }
                }
                names
            })
        });
        let ([a1, a2], [b1, b2]) = (a, b);
        [a1, a2, b1, b2]
    }
}

/// The seeds to run: this many, unless the environment says otherwise.
fn seeds(count: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first = number("FIRST_SEED").unwrap_or(0);
    first..first + number("SEEDS").unwrap_or(count)
}

/// Every schedule with crashes ends as one without: each message of QoS 2 once, each of QoS 1, all in order, and each
/// token with one outcome.
#[test]
fn schedules_with_crashes_end_as_those_without() {
    let without = World::new(0, (false, false)).run();
    assert_eq!(without.each_ref().map(Vec::len), [4, 8, 4, 8]);
    for seed in seeds(60) {
        struct Seed(u64);
        impl Drop for Seed {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("the seed was {}", self.0);
                }
            }
        }
        let _seed = Seed(seed);
        for crashes in [(true, false), (false, true), (true, true)] {
            assert_eq!(World::new(seed, crashes).run(), without, "{crashes:?}");
        }
    }
}
