//! The client against a model server, over links that delay, split and lose: its guarantees must hold for every
//! schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, Bytes};
use mqtt_sansio::client::{ClientConfig, ClientSession, Resumption, SubscribeError};
use mqtt_sansio::codec::{
    ConnAck, Delivery, Disconnect, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, Publish, SubAck,
    SubAckReasonCode, Subscription,
};
use mqtt_sansio::{
    AbandonReason, AckError, AckHandle, Instant, Message, Overflow, PacketId, PublishError, QoS, SessionExpiry, Token,
    TopicFilter, TopicName, Version,
};
use mqtt_sansio_testkit::{Event, Fate, Log, ModelServer, Pair, Random, Reconnect};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A client configuration with a session that outlives its connections.
fn keeping(version: Version) -> ClientConfig {
    ClientConfig {
        version,
        client_id: "c".into(),
        clean_start: version == Version::V5,
        session_expiry_interval: SessionExpiry::after(if version == Version::V5 { 3600 } else { 0 }),
        ..ClientConfig::default()
    }
}

#[test]
fn a_message_survives_a_cut() -> Result<(), PublishError> {
    let mut net = Pair::seeded(42).client(keeping(Version::V5)).server(ModelServer::default());
    let now = net.now();
    net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    net.cut_after(23);
    net.run_until_quiet();
    assert_eq!(net.server().delivered(), ["1"]);
    Ok(())
}

/// The application of the client: it accepts messages and acknowledges them.
#[derive(Default)]
struct Application {
    looked_at: usize,
    seen: BTreeSet<String>,
    /// Messages of QoS 2 that the application has accepted ownership of: they must not arrive again.
    taken_over: BTreeSet<String>,
    /// Those of them whose record is not stored yet: they may arrive again after a crash.
    unstored: Vec<String>,
    /// Messages still to be acknowledged.
    open: Vec<(String, QoS, AckHandle)>,
}

impl Application {
    /// Looks at the messages that have arrived since the last call.
    fn take(&mut self, net: &mut Pair<ModelServer>) {
        let new: Vec<_> = net.messages().skip(self.looked_at).cloned().collect();
        for message in new {
            self.looked_at += 1;
            let payload = String::from_utf8(message.payload).unwrap();
            self.seen.insert(payload.clone());
            assert!(!self.taken_over.contains(&payload), "{payload} has come again [MQTT-4.3.3-10]");
            match message.ack_handle {
                Some(ack_handle) => self.open.push((payload, message.qos, ack_handle)),
                None if message.qos == QoS::ExactlyOnce => self.take_over(payload),
                None => {}
            }
        }
        if net.is_stored() {
            self.unstored.clear();
        }
    }

    fn take_over(&mut self, payload: String) {
        self.unstored.push(payload.clone());
        assert!(self.taken_over.insert(payload), "it was not taken over before");
    }

    /// The program has crashed.
    fn crash(&mut self) {
        self.unstored.drain(..).for_each(|payload| assert!(self.taken_over.remove(&payload)));
        self.open.clear();
    }

    /// Acknowledges one message. If its connection has ended, the message arrives again, or may.
    fn acknowledge(&mut self, net: &mut Pair<ModelServer>, place: usize, code: PubAckReasonCode) {
        let (payload, qos, ack_handle) = self.open.remove(place);
        let now = net.now();
        match net.client().ack(now, ack_handle, code) {
            Ok(()) => {
                assert_eq!(net.client().ack(now, ack_handle, code), Err(AckError::AlreadyAcknowledged));
                if qos == QoS::ExactlyOnce && !code.is_error() {
                    self.take_over(payload);
                }
            }
            Err(error) => {
                assert!(matches!(error, AckError::EarlierConnection | AckError::NotConnected), "{error}")
            }
        }
    }

    fn acknowledge_all(&mut self, net: &mut Pair<ModelServer>) {
        while !self.open.is_empty() {
            self.acknowledge(net, 0, PubAckReasonCode::Success);
        }
    }
}

/// An exchange with messages of QoS 1 and 2 in both directions, whose link is cut after each of these numbers of bytes.
/// Returns whether there were as many bytes to cut.
fn exchange(version: Version, seed: u64, manual: bool, cuts: &[usize]) -> bool {
    let config = ClientConfig { manual_acks: manual, ..keeping(version) };
    let mut net = Pair::seeded(seed).client(config).server(ModelServer::default()).reconnect(Reconnect::AtOnce);
    let filters = [Subscription::new("s/#", QoS::ExactlyOnce).unwrap()];
    let now = net.now();
    let mut tokens = vec![net.client().subscribe(now, &filters).unwrap()];
    for (payload, qos) in [("1", QoS::ExactlyOnce), ("2", QoS::AtLeastOnce), ("3", QoS::ExactlyOnce)] {
        let now = net.now();
        tokens.push(net.client().publish(now, &Message::new("c", payload).qos(qos)).unwrap());
    }
    let (mut cuts, mut app, mut has_published) = (cuts.iter(), Application::default(), false);
    loop {
        if !net.is_cut_pending()
            && let Some(&next) = cuts.next()
        {
            net.cut_after(next);
        }
        if net.is_quiet() {
            break;
        }
        net.step();
        // Before CONNACK a client of 5.0 does not know of a session, and asks for a new one.
        if !has_published && net.client().is_connected() {
            has_published = true;
            for (payload, qos) in [("4", QoS::ExactlyOnce), ("5", QoS::AtLeastOnce), ("6", QoS::ExactlyOnce)] {
                net.server().publish("s/1", payload, qos);
            }
        }
        app.take(&mut net);
        app.acknowledge_all(&mut net);
    }
    let context = format!("{version:?}, seed {seed}, manual {manual}");
    for token in tokens {
        assert!(net.fate(token).is_some_and(Fate::is_success), "{context}: {token} has come to a good end");
    }
    let delivered = net.server().delivered();
    let count = |payload: &str| delivered.iter().filter(|it| **it == payload).count();
    assert_eq!((count("1"), count("3")), (1, 1), "{context}: QoS 2 is delivered to the server once");
    assert!(count("2") >= 1, "{context}: QoS 1 is delivered to the server");
    assert!(["4", "5", "6"].iter().all(|payload| app.seen.contains(*payload)), "{context}: all has come");
    assert_eq!(net.server().acknowledged().len(), 3, "{context}");
    assert_eq!((net.client().operations_in_flight(), net.client().queued(), net.client().in_flight()), (0, 0, 0));
    assert!(!net.events().contains(&Event::Connected(Resumption::Lost)), "{context}: the session is kept");
    !net.is_cut_pending()
}

/// The whole exchange, cut at every byte.
#[test]
fn cut_at_every_byte() {
    for version in Version::ALL {
        for manual in [false, true] {
            let mut cut = 1;
            while exchange(version, cut as u64, manual, &[cut]) {
                cut += 1;
            }
            assert!(cut > 100, "there was something to cut: {cut}");
        }
    }
}

/// The exchange, cut at every byte, and cut again soon after.
#[test]
fn cut_at_every_byte_and_soon_after() {
    for first in 1..150 {
        for second in (1..150).step_by(5) {
            exchange(Version::ALL[1 + second % 2], (first * 1000 + second) as u64, false, &[first, second, 40]);
        }
    }
}

/// Acknowledgements that wait for an earlier one when the connection ends: their messages arrive again, and count once
/// against the Receive Maximum.
#[test]
fn acknowledgements_waiting_when_the_connection_ends() {
    let receive_maximum = NonZeroU16::new(3).unwrap();
    let config = ClientConfig { manual_acks: true, receive_maximum, ..keeping(Version::V5) };
    let mut net = Pair::seeded(7).client(config).server(ModelServer::default()).reconnect(Reconnect::AtOnce);
    net.run_until_quiet();
    for (payload, qos) in [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce), ("3", QoS::ExactlyOnce)] {
        net.server().publish("s", payload, qos);
    }
    net.run_until_quiet();
    let mut app = Application::default();
    app.take(&mut net);
    app.acknowledge(&mut net, 1, PubAckReasonCode::Success);
    app.acknowledge(&mut net, 1, PubAckReasonCode::Success);
    net.cut();
    for _ in 0..3 {
        net.run_until_quiet();
        app.take(&mut net);
        app.acknowledge_all(&mut net);
    }
    assert_eq!(net.server().acknowledged(), ["1", "2", "3"]);
    let closes = net.events().iter().filter(|event| matches!(event, Event::Close(_))).count();
    assert_eq!((net.messages().count(), closes), (4, 0), "only the first one has come again");
}

/// A message given to the client.
struct Published {
    token: Token,
    topic: &'static str,
    payload: String,
    qos: QoS,
    /// Whether the message is stored, so that a crash does not lose it, and whether a crash may have
    /// lost it.
    is_stored: bool,
    is_lost: bool,
}

/// One random schedule, and the guarantees checked at its end.
struct Schedule {
    random: Random,
    net: Pair<ModelServer>,
    app: Application,
    version: Version,
    /// The messages and requests given to the client.
    published: Vec<Published>,
    names: u32,
    requested: Vec<(Token, bool, String)>,
    /// The messages given to the server.
    from_server: Vec<(&'static str, String, QoS)>,
    /// Whether the session outlives connections, and was never lost by the server.
    keeps: bool,
    loses: bool,
    /// Whether the server's Receive Maximum differs from connection to connection.
    varies: bool,
    /// Whether the client's program crashes now and then.
    crashes: bool,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let version = [Version::V31, Version::V311, Version::V5, Version::V5][random.index(4)];
        let keeps = random.percent(85);
        let limit = |random: &mut Random| NonZeroU16::new(1 + random.below(4) as u16).unwrap();
        let mut config = ClientConfig {
            keep_alive: NonZeroU16::new([0, 5, 60][random.index(3)]),
            manual_acks: random.percent(40),
            max_in_flight: if random.percent(20) { limit(&mut random) } else { NonZeroU16::MAX },
            transmit_limit: NonZeroU32::new(if random.percent(20) { 300 } else { 64 * 1024 }).unwrap(),
            max_stored: if random.percent(15) { 6 } else { 10_000 },
            max_stored_bytes: if random.percent(30) { 20_000 } else { 64 * 1024 * 1024 },
            overflow: if random.percent(50) { Overflow::Refuse } else { Overflow::DropOldest },
            deliver_in_parts: if random.percent(30) { NonZeroU32::new(50) } else { None },
            answer_limit: NonZeroU32::new(if random.percent(20) { 300 } else { 64 * 1024 }).unwrap(),
            min_backoff: 0,
            max_backoff: 1,
            seed: seed as u32,
            ..keeping(version)
        };
        let mut server = ModelServer::seeded(seed);
        if version == Version::V5 {
            config.receive_maximum = if random.percent(50) { limit(&mut random) } else { NonZeroU16::MAX };
            config.topic_alias_maximum = if random.percent(50) { 2 } else { 0 };
            config.topic_aliases = 2;
            server.receive_maximum = random.percent(60).then(|| limit(&mut random));
            server.maximum_packet_size = if random.percent(20) { NonZeroU32::new(200) } else { None };
            server.topic_alias_maximum = random.below(4) as u16;
            server.refuses = if random.percent(20) { 20 } else { 0 };
        }
        if !keeps {
            config.clean_start = true;
            config.session_expiry_interval = SessionExpiry::WITH_CONNECTION;
        }
        if random.percent(50) {
            server.ack_delay = Duration::from_millis(30);
            server.shuffles_acks = random.percent(30);
        }
        let loses = random.percent(15);
        let varies = version == Version::V5 && random.percent(20);
        let reconnect = if random.percent(50) { Reconnect::AtOnce } else { Reconnect::Backoff };
        let net = Pair::seeded(seed).client(config).server(server).reconnect(reconnect);
        let net = if random.percent(30) { net.unsplit() } else { net };
        Self {
            random,
            net,
            app: Application::default(),
            version,
            published: Vec::new(),
            names: 0,
            requested: Vec::new(),
            from_server: Vec::new(),
            keeps,
            loses,
            varies,
            crashes: false,
        }
    }

    /// A schedule in which only a crash can lose messages.
    fn crashing(seed: u64) -> Self {
        let mut random = Random::new(!seed);
        let version = Version::ALL[random.index(3)];
        let config = ClientConfig {
            durable: true,
            manual_acks: random.percent(40),
            topic_aliases: if version == Version::V5 { 2 } else { 0 },
            min_backoff: 0,
            max_backoff: 1,
            ..keeping(version)
        };
        let mut server = ModelServer::seeded(seed);
        server.receive_maximum = NonZeroU16::new(random.below(5) as u16).filter(|_| version == Version::V5);
        server.topic_alias_maximum = 2;
        server.ack_delay = Duration::from_millis(random.below(2) * 30);
        let net = Pair::seeded(seed).client(config).server(server).reconnect(Reconnect::AtOnce);
        let (app, keeps) = (Application::default(), true);
        let (published, requested, from_server) = (Vec::new(), Vec::new(), Vec::new());
        let (names, loses, varies, crashes) = (0, false, false, true);
        Self { random, net, app, version, published, names, requested, from_server, keeps, loses, varies, crashes }
    }

    fn crash(&mut self) {
        self.net.crash();
        self.app.crash();
        self.published.iter_mut().for_each(|it| it.is_lost |= !it.is_stored);
    }

    fn run(mut self) {
        for _ in 0..10 + self.random.below(40) {
            self.act();
            self.look();
            if self.crashes && self.random.percent(8) {
                self.crash();
            }
        }
        // All operations come to their end.
        for _ in 0..1000 {
            self.net.run_until_quiet();
            self.look();
            if self.app.open.is_empty() && self.net.server().is_settled() {
                return self.check();
            }
            self.app.acknowledge_all(&mut self.net);
        }
        panic!("the server's messages do not come to their end");
    }

    /// Executes a random action.
    fn act(&mut self) {
        match self.random.below(100) {
            0..30 => self.publish(),
            30..36 => self.request(),
            36..50 => self.publish_from_server(),
            50..56 if !self.app.open.is_empty() => self.acknowledge(),
            50..80 => (0..self.random.below(12)).for_each(|_| self.step()),
            80..87 => self.net.run_for(Duration::from_micros(self.random.below(60_000))),
            87..92 => self.net.cut_after(self.random.index(400)),
            92..94 => self.net.cut(),
            94..95 => self.net.run_for(Duration::from_secs(self.random.below(200))),
            95..96 => {
                let now = self.net.now();
                let _ = self.net.client().disconnect(now, &Disconnect::default());
            }
            96..97 => self.net.server().refused_connections += 1,
            97..98 if self.loses => self.net.server().lose_session(),
            98..99 if self.varies => {
                // The limit announced on the next connection.
                self.net.server().receive_maximum = NonZeroU16::new(self.random.below(5) as u16);
            }
            _ => self.step(),
        }
    }

    fn step(&mut self) {
        self.net.step();
        self.look();
    }

    /// Checks the invariants of every state.
    fn look(&mut self) {
        self.app.take(&mut self.net);
        if self.net.is_stored() {
            self.published.iter_mut().for_each(|it| it.is_stored = true);
        }
        let client = self.net.client();
        client.assert_consistent();
        let maximum = usize::from(client.server().receive_maximum);
        // More messages may wait for PUBCOMP if an earlier connection had a higher maximum.
        let is_kept = self.varies || !client.is_connected() || client.in_flight() <= maximum;
        assert!(is_kept, "the Receive Maximum is kept");
    }

    fn publish(&mut self) {
        let qos = QOS[self.random.index(3)];
        let size = [0, 0, 10, 150, 3000, 4096][self.random.index(6)];
        self.names += 1;
        let payload = format!("c{}:{}", self.names, "x".repeat(size));
        let topic = ["a", "a/b", "a/b/c", "d"][self.random.index(4)];
        let message = match self.random.below(2) {
            0 => Message::new(topic, &payload),
            _ => Message::new(topic, Bytes::from(payload.clone())),
        };
        let now = self.net.now();
        match self.net.client().publish(now, &message.qos(qos)) {
            Ok(token) => {
                self.published.push(Published { token, topic, payload, qos, is_stored: false, is_lost: false })
            }
            Err(PublishError::TooLarge { .. } | PublishError::QueueFull) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn request(&mut self) {
        let now = self.net.now();
        let filter = ["f/1", "f/2", "f/+"][self.random.index(3)];
        let subscribes = self.random.percent(60);
        let result = if subscribes {
            self.net.client().subscribe(now, &[Subscription::new(filter, QoS::AtLeastOnce).unwrap()])
        } else {
            self.net.client().unsubscribe(now, &[TopicFilter::new(filter).unwrap()])
        };
        match result {
            Ok(token) => self.requested.push((token, subscribes, filter.into())),
            Err(error) => assert_eq!(error, SubscribeError::QueueFull),
        }
    }

    fn publish_from_server(&mut self) {
        // A session with no stored record is lost in a crash.
        if self.net.client().is_connected() && self.net.is_stored() && self.net.server().has_session() {
            let qos = QOS[self.random.index(3)];
            let size = [0, 0, 0, 300][self.random.index(4)];
            let payload = format!("s{}:{}", self.from_server.len(), "x".repeat(size));
            let topic = ["g", "g/h", "g/h/i"][self.random.index(3)];
            self.net.server().publish(topic, &payload, qos);
            self.from_server.push((topic, payload, qos));
        }
    }

    fn acknowledge(&mut self) {
        let place = self.random.index(self.app.open.len());
        let code = if self.random.percent(80) { PubAckReasonCode::Success } else { PubAckReasonCode::QuotaExceeded };
        // Before 5.0 a message cannot be refused, so it is acknowledged.
        let code = if self.version == Version::V5 { code } else { PubAckReasonCode::Success };
        self.app.acknowledge(&mut self.net, place, code);
    }

    fn check(mut self) {
        let client = self.net.client();
        assert_eq!((client.operations_in_flight(), client.queued(), client.in_flight()), (0, 0, 0), "nothing is open");
        self.check_topics();
        self.check_received();
        if self.crashes {
            return self.check_after_crashes();
        }
        let fates: BTreeMap<Token, Fate> = self.fates();
        self.check_published(&fates);
        self.check_subscriptions(&fates);
        self.check_capacity();
    }

    /// Each message has its own topic, whatever aliases were used.
    fn check_topics(&mut self) {
        let topics: BTreeMap<_, _> = self.published.iter().map(|it| (it.payload.as_bytes(), it.topic)).collect();
        for delivered in self.net.server().deliveries() {
            assert_eq!(topics.get(&delivered.payload[..]), Some(&&delivered.topic[..]), "the topic is what it was");
        }
        let topics: BTreeMap<_, _> = self.from_server.iter().map(|it| (it.1.as_bytes(), it.0)).collect();
        for message in self.net.messages() {
            assert_eq!(topics.get(&message.payload[..]), Some(&&message.topic[..]), "the topic is what it was");
        }
    }

    /// No stored message is lost.
    fn check_after_crashes(&mut self) {
        let delivered: Vec<_> = self.net.server().delivered().into_iter().map(String::from).collect();
        for Published { payload, qos, is_lost, .. } in &self.published {
            let times = delivered.iter().filter(|it| *it == payload).count();
            let context = format!("{payload:.10}, {qos:?}, delivered {times} times");
            match qos {
                QoS::AtMostOnce => assert!(times <= 1, "{context}"),
                QoS::AtLeastOnce => assert!(times >= 1 || *is_lost, "{context}"),
                QoS::ExactlyOnce => assert!(times == 1 || (times == 0 && *is_lost), "{context}"),
            }
        }
    }

    /// No operation is in flight, so the full capacity is available.
    fn check_capacity(&mut self) {
        let maximum = self.net.server().maximum_packet_size;
        let now = self.net.now();
        let client = self.net.client();
        let all = client.config().max_stored_bytes as usize;
        if all < 64 * 1024 && maximum.is_none() {
            let message = Message::new("a", vec![b'x'; all - 10]).qos(QoS::ExactlyOnce);
            assert!(client.publish(now, &message).is_ok(), "nothing is kept any more");
        }
    }

    /// Every token has exactly one outcome.
    fn fates(&self) -> BTreeMap<Token, Fate> {
        let mut fates = BTreeMap::new();
        for event in self.net.events() {
            if let Event::Done(token, fate) = event {
                assert_eq!(fates.insert(*token, fate.clone()), None, "token {token} has one outcome");
            }
        }
        let tokens = self.published.iter().map(|it| &it.token).chain(self.requested.iter().map(|it| &it.0));
        tokens.for_each(|token| assert!(fates.contains_key(token), "token {token} has an outcome"));
        assert_eq!(fates.len(), self.published.len() + self.requested.len());
        fates
    }

    fn check_published(&mut self, fates: &BTreeMap<Token, Fate>) {
        let keeps = self.keeps && !self.loses;
        let delivered: Vec<_> = self.net.server().delivered().into_iter().map(String::from).collect();
        let mut order = [Vec::new(), Vec::new()];
        for Published { token, payload, qos, .. } in &self.published {
            let times = delivered.iter().filter(|it| *it == payload).count();
            let context = format!("{token}, {qos:?}: {:?}, delivered {times} times", fates[token]);
            match (qos, &fates[token]) {
                (_, Fate::Abandoned(AbandonReason::Session)) => assert!(!keeps, "{context}"),
                (_, Fate::Abandoned(_)) => assert_eq!(times, 0, "{context}"),
                (QoS::AtMostOnce, _) => assert!(times <= 1, "{context}"),
                (QoS::AtLeastOnce, fate) => assert!(times >= 1 || !fate.is_success(), "{context}"),
                (QoS::ExactlyOnce, fate) if fate.is_success() => {
                    // Only CONNACK tells that the session was lost, but not in 3.1, and CONNACK itself may be lost.
                    assert!(times == 1 || (times > 1 && self.loses), "{context}");
                }
                (QoS::ExactlyOnce, _) => assert_eq!(times, 0, "{context}"),
            }
            order[usize::from(*qos != QoS::AtMostOnce)].extend(delivered.iter().position(|it| it == payload));
        }
        // A refused message may be accepted later.
        if self.net.server().refuses == 0 {
            assert!(order.iter().all(|places| places.is_sorted()), "messages come in the order of their publishing");
        }
    }

    fn check_received(&mut self) {
        let messages: Vec<_> = self.net.messages().map(|it| String::from_utf8(it.payload.clone()).unwrap()).collect();
        let mut order = [Vec::new(), Vec::new()];
        for (_, payload, qos) in &self.from_server {
            // Duplicates of QoS 2 were checked when the messages arrived.
            let has_come = messages.contains(payload);
            assert!(has_come || *qos == QoS::AtMostOnce || !self.keeps || self.loses, "{payload} has come");
            order[usize::from(*qos != QoS::AtMostOnce)].extend(messages.iter().position(|it| it == payload));
        }
        assert!(order.iter().all(|places| places.is_sorted()), "messages come in the order of their publishing");
        // A client that was not told of a lost session may take a new message for a duplicate.
        let acknowledged = self.net.server().acknowledged().to_vec();
        let all_have_come = acknowledged.iter().all(|it| messages.contains(it));
        assert!(all_have_come || self.loses, "what is acknowledged has come");
    }

    /// The last request for each filter decides.
    fn check_subscriptions(&mut self, fates: &BTreeMap<Token, Fate>) {
        let server = self.net.server();
        if !self.keeps || self.loses || server.shuffles_acks || server.refuses > 0 {
            return;
        }
        let mut expected = BTreeSet::new();
        for (token, subscribes, filter) in &self.requested {
            if matches!(fates[token], Fate::Answered(_)) {
                if *subscribes {
                    expected.insert(&filter[..])
                } else {
                    expected.remove(&filter[..])
                };
            }
        }
        assert!(server.subscriptions().into_iter().eq(expected), "the subscriptions are what was asked for");
    }
}

/// The seeds to run: this many, unless the environment says otherwise.
fn seeds(count: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first = number("FIRST_SEED").unwrap_or(0);
    first..first + number("SEEDS").unwrap_or(count)
}

#[test]
fn random_schedules() {
    seeds(4_000).for_each(|seed| Schedule::new(seed).run());
}

/// Gives a client a stream in these pieces, and takes a part of its output after each. Returns its events and output.
fn feed(
    version: Version,
    stream: &[u8],
    cuts: impl Iterator<Item = usize>,
    takes: &mut Random,
) -> (Vec<Event>, Vec<u8>) {
    let mut client = ClientSession::new(ClientConfig { deliver_in_parts: NonZeroU32::new(40), ..keeping(version) });
    client.subscribe(Instant::EPOCH, &[Subscription::new("s/#", QoS::ExactlyOnce).unwrap()]).unwrap();
    for (payload, qos) in [("1", QoS::ExactlyOnce), ("2", QoS::AtLeastOnce), ("3", QoS::ExactlyOnce)] {
        client.publish(Instant::EPOCH, &Message::new("c", payload).qos(qos)).unwrap();
    }
    let large = Bytes::from(vec![b'x'; 4096]);
    client.publish(Instant::EPOCH, &Message::new("c", large).qos(QoS::AtLeastOnce)).unwrap();
    client.open(Instant::EPOCH).unwrap();
    let (mut log, mut written) = (Log::default(), Vec::new());
    let mut start = 0;
    for end in cuts.chain([stream.len()]) {
        let mut input = &stream[start..end];
        while let Some(action) = client.poll(Instant::EPOCH, &mut input) {
            log.add(&action);
            client.assert_consistent();
        }
        start = end - input.len();
        let count = takes.index(client.transmit().remaining() + 1);
        written.extend_from_slice(&client.transmit().copy_to_bytes(count));
    }
    assert_eq!(start, stream.len(), "all was taken");
    let rest = client.transmit().remaining();
    written.extend_from_slice(&client.transmit().copy_to_bytes(rest));
    (log.events().to_vec(), written)
}

/// Packets that a server could send to the client of [`feed`], in an order that follows from the seed.
fn stream(version: Version, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = |number: u16| PacketId::new(number).unwrap();
    let mut put = |packet: Packet<'_>| packet.encode(version, &mut bytes).map(drop).unwrap();
    put(ConnAck::default().into());
    let granted = [SubAckReasonCode::GrantedQoS2];
    let publish =
        |delivery| Publish { delivery, topic: TopicName::new("s/1").unwrap(), payload: b"x", ..Publish::default() };
    let long = Publish { payload: &[b'y'; 100], ..publish(Delivery::AtLeastOnce { id: id(9), dup: false }) };
    let exactly = |number, dup| publish(Delivery::ExactlyOnce { id: id(number), dup }).into();
    // The order within each of these lists is fixed.
    let threads: [&[Packet<'_>]; 6] = [
        &[PubRec::new(id(2)).into(), long.into(), PubComp::new(id(2)).into()],
        &[PubAck::new(id(3)).into(), PubAck::new(id(5)).into()],
        &[SubAck::new(id(1), &granted).into(), Packet::PingResp, PubRel::new(id(900)).into()],
        &[exactly(7, false), exactly(7, true), PubRel::new(id(7)).into(), exactly(7, false)],
        &[publish(Delivery::AtMostOnce).into(), publish(Delivery::AtLeastOnce { id: id(8), dup: false }).into()],
        &[PubRec::new(id(4)).into(), PubRec::new(id(4)).into(), PubComp::new(id(4)).into()],
    ];
    let mut places = [0; 6];
    while places.iter().zip(threads).any(|(place, thread)| *place < thread.len()) {
        let chosen = random.index(6);
        if let Some(packet) = threads[chosen].get(places[chosen]) {
            put(*packet);
            places[chosen] += 1;
        }
    }
    bytes
}

/// Output and events are the same however the input and the output are split.
#[test]
fn splits_change_nothing() {
    for (seed, version) in (0..60).flat_map(|seed| Version::ALL.map(|version| (seed, version))) {
        let mut random = Random::new(seed);
        let stream = stream(version, &mut random);
        let whole = feed(version, &stream, [].into_iter(), &mut random);
        assert!(whole.0.len() >= 10 && whole.1.len() > 4096, "a good deal has happened");
        assert!(feed(version, &stream, 1..stream.len(), &mut random) == whole, "byte by byte, seed {seed}");
        for cut in 1..stream.len() {
            let halves = feed(version, &stream, [cut].into_iter(), &mut random);
            assert!(halves == whole, "cut at {cut}, seed {seed}");
        }
        for _ in 0..20 {
            let cuts: BTreeSet<_> = (0..random.below(9)).map(|_| random.index(stream.len())).collect();
            assert!(feed(version, &stream, cuts.iter().copied(), &mut random) == whole, "{cuts:?}, seed {seed}");
        }
    }
}

/// A crash at any time loses no stored message of a durable client.
#[test]
fn crashes() {
    seeds(600).for_each(|seed| Schedule::crashing(seed).run());
}
