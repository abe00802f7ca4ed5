//! The client against the server, over links that delay, split and lose: their guarantees must hold for every schedule,
//! in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::Range;
use std::time::Duration;

use mqtt_sansio::client::{Authentication, ClientConfig, Resumption, SubscribeError};
use mqtt_sansio::codec::{Disconnect, PubAckReasonCode, Subscription};
use mqtt_sansio::server::ServerConfig;
use mqtt_sansio::{
    AbandonReason, AckError, AckHandle, Message, Overflow, PublishError, QoS, SessionExpiry, Token, TopicFilter,
    Version, Will,
};
use mqtt_sansio_testkit::{EngineServer, Event, Fate, Pair, Random, Received, Reconnect, Ticket, accept_all};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

type Net = Pair<EngineServer>;

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

/// The application of one endpoint: it accepts messages and acknowledges them.
#[derive(Default)]
struct Application {
    looked_at: usize,
    /// Every message that has arrived, in order, as often as it has.
    seen: Vec<String>,
    /// Messages of QoS 2 that the application has accepted ownership of: they must not arrive again.
    taken_over: BTreeSet<String>,
    /// Messages still to be acknowledged.
    open: Vec<(String, QoS, AckHandle)>,
    /// Whether the peer may have been told that the session is resumed when it is not: then a message may arrive again.
    loses: bool,
}

impl Application {
    /// Looks at the messages that have arrived since the last call.
    fn take<'m>(&mut self, messages: impl Iterator<Item = &'m Received>) {
        for message in messages.skip(self.looked_at) {
            self.looked_at += 1;
            let payload = String::from_utf8(message.payload.clone()).unwrap();
            let is_taken_over = self.taken_over.contains(&payload);
            assert!(self.loses || !is_taken_over, "{payload:.10} has come again [MQTT-4.3.3-10]");
            self.seen.push(payload.clone());
            match message.ack_handle {
                Some(ack_handle) => self.open.push((payload, message.qos, ack_handle)),
                None if message.qos == QoS::ExactlyOnce => _ = self.taken_over.insert(payload),
                None => {}
            }
        }
    }

    /// Acknowledges one message. If its connection has ended, the message arrives again, or may.
    fn acknowledge(
        &mut self,
        place: usize,
        code: PubAckReasonCode,
        mut ack: impl FnMut(AckHandle) -> Result<(), AckError>,
    ) {
        let (payload, qos, ack_handle) = self.open.remove(place);
        match ack(ack_handle) {
            Ok(()) => {
                assert_eq!(ack(ack_handle), Err(AckError::AlreadyAcknowledged));
                if qos == QoS::ExactlyOnce && !code.is_error() {
                    self.taken_over.insert(payload);
                }
            }
            Err(error) => {
                assert!(matches!(error, AckError::EarlierConnection | AckError::NotConnected), "{error}")
            }
        }
    }

    /// How often a message has arrived.
    fn times(&self, payload: &str) -> usize {
        self.seen.iter().filter(|it| *it == payload).count()
    }
}

/// The applications of both endpoints.
#[derive(Default)]
struct Applications {
    client: Application,
    server: Application,
    /// The number of sessions the server has had.
    sessions: u32,
}

impl Applications {
    fn take(&mut self, net: &mut Net) {
        self.client.take(net.messages());
        if self.sessions != net.server().sessions() {
            // A handle of an earlier session is invalid, and could be mistaken for one of this session.
            self.sessions = net.server().sessions();
            self.server.open.clear();
        }
        self.server.take(net.server().messages());
    }

    fn acknowledge_at_client(&mut self, net: &mut Net, place: usize, code: PubAckReasonCode) {
        let now = net.now();
        self.client.acknowledge(place, code, |ack_handle| net.client().ack(now, ack_handle, code));
    }

    fn acknowledge_at_server(&mut self, net: &mut Net, place: usize, code: PubAckReasonCode) {
        let now = net.now();
        let Some(session) = net.server().session() else {
            self.server.open.remove(place);
            return;
        };
        self.server.acknowledge(place, code, |ack_handle| session.ack(now, ack_handle, code));
    }

    fn acknowledge_all(&mut self, net: &mut Net) {
        while !self.client.open.is_empty() {
            self.acknowledge_at_client(net, 0, PubAckReasonCode::Success);
        }
        while !self.server.open.is_empty() {
            self.acknowledge_at_server(net, 0, PubAckReasonCode::Success);
        }
    }
}

#[test]
fn a_message_survives_a_cut() -> Result<(), PublishError> {
    let mut net = Pair::seeded(42).client(keeping(Version::V5)).server(accept_all());
    let now = net.now();
    net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    net.cut_after(23);
    net.run_until_quiet();
    assert_eq!(net.delivered_to_server(), ["1"]);
    Ok(())
}

/// The endpoint at which bytes are counted.
#[derive(Clone, Copy, Debug)]
enum Cut {
    AtServer(usize),
    AtClient(usize),
    Anywhere(usize),
}

/// An exchange with messages of QoS 1 and 2 in both directions, whose link is cut there. Returns whether there were as
/// many bytes to cut.
fn exchange(version: Version, seed: u64, manual_acks: bool, cuts: &[Cut]) -> bool {
    let config = ClientConfig { manual_acks, ..keeping(version) };
    let server = EngineServer::new(ServerConfig { manual_acks, ..ServerConfig::default() });
    let mut net = Pair::seeded(seed).client(config).server(server).reconnect(Reconnect::AtOnce);
    let filters = [Subscription::new("s/#", QoS::ExactlyOnce).unwrap()];
    let now = net.now();
    let mut tokens = vec![net.client().subscribe(now, &filters).unwrap()];
    for (payload, qos) in [("1", QoS::ExactlyOnce), ("2", QoS::AtLeastOnce), ("3", QoS::ExactlyOnce)] {
        let now = net.now();
        tokens.push(net.client().publish(now, &Message::new("c", payload).qos(qos)).unwrap());
    }
    let (mut cuts, mut apps, mut tickets) = (cuts.iter(), Applications::default(), Vec::new());
    loop {
        if !net.is_cut_pending()
            && let Some(&next) = cuts.next()
        {
            match next {
                Cut::AtServer(bytes) => net.cut_after_at_server(bytes),
                Cut::AtClient(bytes) => net.cut_after_at_client(bytes),
                Cut::Anywhere(bytes) => net.cut_after(bytes),
            }
        }
        if net.is_quiet() {
            break;
        }
        net.step();
        // Before CONNACK a client of 5.0 does not know of a session, and asks for a new one.
        if tickets.is_empty() && net.client().is_connected() {
            for (payload, qos) in [("4", QoS::ExactlyOnce), ("5", QoS::AtLeastOnce), ("6", QoS::ExactlyOnce)] {
                let now = net.now();
                tickets.push(net.server().publish(now, &Message::new("s/1", payload).qos(qos)).unwrap());
            }
        }
        apps.take(&mut net);
        apps.acknowledge_all(&mut net);
    }
    let context = format!("{version:?}, seed {seed}, manual {manual_acks}, {cuts:?}");
    for token in tokens {
        assert!(net.fate(token).is_some_and(Fate::is_success), "{context}: {token} has come to a good end");
    }
    for ticket in tickets {
        assert!(
            net.server().fate(ticket).is_some_and(Fate::is_success),
            "{context}: {ticket:?} has come to a good end"
        );
    }
    let exactly_once = apps.server.taken_over.iter().eq(["1", "3"]) && apps.client.taken_over.iter().eq(["4", "6"]);
    assert!(exactly_once, "{context}: QoS 2 has arrived");
    assert!(apps.server.times("2") >= 1 && apps.client.times("5") >= 1, "{context}: QoS 1 has arrived");
    assert_nothing_in_flight(&mut net, &context);
    assert!(!net.events().contains(&Event::Connected(Resumption::Lost)), "{context}: the session is kept");
    !net.is_cut_pending()
}

/// Checks that no operation is in flight at either endpoint.
fn assert_nothing_in_flight(net: &mut Net, context: &str) {
    let client = net.client();
    let open = (client.operations_in_flight(), client.queued(), client.in_flight());
    assert_eq!(open, (0, 0, 0), "{context}: nothing is open at the client");
    let session = net.server().session().expect("there is a session");
    let open = (session.packet_ids_in_use(), session.queued(), session.in_flight());
    assert_eq!(open, (0, 0, 0), "{context}: nothing is open at the server");
}

/// The whole exchange, cut at every byte of either direction.
#[test]
fn cut_at_every_byte() {
    for version in Version::ALL {
        for (manual, cut) in [
            (false, Cut::AtServer as fn(usize) -> Cut),
            (true, Cut::AtServer),
            (false, Cut::AtClient),
            (true, Cut::AtClient),
        ] {
            let mut bytes = 1;
            while exchange(version, bytes as u64, manual, &[cut(bytes)]) {
                bytes += 1;
            }
            assert!(bytes > 50, "there was something to cut: {bytes}");
        }
    }
}

/// The exchange, cut at every byte, and cut again soon after.
#[test]
fn cut_at_every_byte_and_soon_after() {
    for first in 1..150 {
        for second in (1..150).step_by(5) {
            let (version, seed) = (Version::ALL[second / 5 % 3], (first * 1000 + second) as u64);
            exchange(version, seed, false, &[first, second, 40].map(Cut::Anywhere));
        }
    }
}

/// A published message and its expected fate.
struct Published<T> {
    name: T,
    topic: &'static str,
    payload: String,
    qos: QoS,
}

/// One random schedule, and the guarantees checked at its end.
struct Schedule {
    random: Random,
    net: Net,
    apps: Applications,
    version: Version,
    from_client: Vec<Published<Token>>,
    from_server: Vec<Published<Ticket>>,
    /// The requests given to the client.
    requested: Vec<(Token, bool, String)>,
    names: u32,
    /// The number of the client's events that were looked at.
    looked_at: usize,
    /// The client has been connected and knows of a session.
    knows_session: bool,
    /// Whether the session outlives connections, and was never lost by the server.
    keeps: bool,
    loses: bool,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let version = [Version::V31, Version::V311, Version::V5, Version::V5][random.index(4)];
        let (keeps, loses) = (random.percent(85), random.percent(15));
        let mut config = client_config(version, &mut random);
        config.seed = seed as u32;
        if !keeps {
            config.clean_start = true;
            config.session_expiry_interval = SessionExpiry::WITH_CONNECTION;
        } else if loses && config.session_expiry_interval.outlives_connection() && random.percent(50) {
            config.session_expiry_interval = SessionExpiry::after(1);
        }
        let authenticates = config.authentication.is_some();
        let mut server = EngineServer::new(server_config(version, &mut random)).seeded(seed);
        server.refuses = if random.percent(20) { 20 } else { 0 };
        server.challenges = if authenticates { random.below(3) as u32 } else { 0 };
        let reconnect = if random.percent(50) { Reconnect::AtOnce } else { Reconnect::Backoff };
        let overlooks = [0, 30, 100][random.index(3)];
        let net = Pair::seeded(seed).client(config).server(server).reconnect(reconnect).overlooking(overlooks);
        let net = if random.percent(30) { net.unsplit() } else { net };
        let mut apps = Applications::default();
        (apps.client.loses, apps.server.loses) = (loses, loses);
        let (from_client, from_server, requested) = (Vec::new(), Vec::new(), Vec::new());
        let (names, looked_at, knows_session) = (0, 0, false);
        Self {
            random,
            net,
            apps,
            version,
            from_client,
            from_server,
            requested,
            names,
            looked_at,
            knows_session,
            keeps,
            loses,
        }
    }

    fn run(mut self) {
        for _ in 0..10 + self.random.below(40) {
            self.act();
            self.look();
        }
        // All operations come to their end.
        for _ in 0..1000 {
            for _ in 0..100_000 {
                if self.net.is_quiet() {
                    break;
                }
                self.step();
            }
            let is_done = self.apps.client.open.is_empty() && self.apps.server.open.is_empty();
            if is_done && self.net.server().is_settled() {
                return self.check();
            }
            self.apps.acknowledge_all(&mut self.net);
        }
        panic!("the messages do not come to their end");
    }

    /// Executes a random action.
    fn act(&mut self) {
        match self.random.below(100) {
            0..22 => self.publish_from_client(),
            22..44 => self.publish_from_server(),
            44..48 => self.request(),
            48..56 => self.acknowledge(),
            56..80 => (0..self.random.below(12)).for_each(|_| self.step()),
            80..86 => self.run_for(Duration::from_micros(1), 60_000),
            86..91 => self.net.cut_after(self.random.index(400)),
            91..93 => self.net.cut(),
            93..94 => self.run_for(Duration::from_secs(1), 200),
            94..95 => {
                let now = self.net.now();
                _ = self.net.client().disconnect(now, &Disconnect::default());
            }
            95..96 => {
                let now = self.net.now();
                _ = self.net.server().session().map(|session| session.disconnect(now, &Disconnect::default()));
            }
            96..97 => self.net.server().refused_connections += 1,
            97..98 if self.loses => self.net.server().lose_session(),
            _ => self.step(),
        }
    }

    fn step(&mut self) {
        self.net.step();
        self.look();
    }

    /// Lets some time pass.
    fn run_for(&mut self, unit: Duration, most: u64) {
        let end = self.net.now() + unit * self.random.below(most) as u32;
        while self.net.step_until(end) {
            self.look();
        }
    }

    /// Checks the invariants of every state.
    fn look(&mut self) {
        self.apps.take(&mut self.net);
        self.knows_session |= self.net.client().is_connected();
        let events = &self.net.events()[self.looked_at..];
        let is_challenged = events.contains(&Event::Auth);
        self.looked_at += events.len();
        if is_challenged {
            // It is not the client's turn if the connection has ended since.
            let now = self.net.now();
            _ = self.net.client().authenticate(now, b"me");
        }
        self.net.client().assert_consistent();
        if let Some(session) = self.net.server().session() {
            session.assert_consistent();
        }
    }

    /// A message to publish.
    fn message(&mut self, end: char) -> (&'static str, String, QoS) {
        let size = [0, 0, 10, 150, 3000][self.random.index(5)];
        self.names += 1;
        let payload = format!("{end}{}:{}", self.names, "x".repeat(size));
        (["a", "a/b", "a/b/c", "d"][self.random.index(4)], payload, QOS[self.random.index(3)])
    }

    fn publish_from_client(&mut self) {
        let (topic, payload, qos) = self.message('c');
        let now = self.net.now();
        match self.net.client().publish(now, &Message::new(topic, &payload).qos(qos)) {
            Ok(name) => self.from_client.push(Published { name, topic, payload, qos }),
            Err(PublishError::TooLarge { .. } | PublishError::QueueFull | PublishError::QoSNotSupported { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn publish_from_server(&mut self) {
        if !self.knows_session {
            return;
        }
        let (topic, payload, qos) = self.message('s');
        let now = self.net.now();
        let error = match self.net.server().publish(now, &Message::new(topic, payload.clone()).qos(qos)) {
            Ok(name) => return self.from_server.push(Published { name, topic, payload, qos }),
            Err(error) => error,
        };
        let has_session = self.net.server().has_session();
        match error {
            PublishError::TooLarge { .. } | PublishError::QueueFull => {}
            PublishError::NotConnected => assert!(qos == QoS::AtMostOnce || !has_session, "it can be kept"),
            error => panic!("{error}"),
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

    fn acknowledge(&mut self) {
        let code = if self.random.percent(80) { PubAckReasonCode::Success } else { PubAckReasonCode::QuotaExceeded };
        // Before 5.0 a message cannot be refused, so it is acknowledged.
        let code = if self.version == Version::V5 { code } else { PubAckReasonCode::Success };
        let (at_client, at_server) = (self.apps.client.open.len(), self.apps.server.open.len());
        match self.random.index(at_client + at_server) {
            _ if at_client + at_server == 0 => self.step(),
            place if place < at_client => self.apps.acknowledge_at_client(&mut self.net, place, code),
            place => self.apps.acknowledge_at_server(&mut self.net, place - at_client, code),
        }
    }

    fn check(mut self) {
        assert_nothing_in_flight(&mut self.net, "in the end");
        let fates = self.fates();
        let from_client = self.from_client.iter().map(|it| (it, &fates[&it.name]));
        check_messages(from_client, &self.apps.server, self.keeps && !self.loses);
        check_topics(&self.from_client, self.net.server().messages());
        let server = self.net.server();
        let fates: Vec<_> = self.from_server.iter().map(|it| server.fate(it.name).cloned()).collect();
        let fates = fates.iter().map(|fate| fate.as_ref().expect("each message has an outcome"));
        check_messages(self.from_server.iter().zip(fates), &self.apps.client, self.keeps && !self.loses);
        check_topics(&self.from_server, self.net.messages());
        self.check_subscriptions();
        let count = |wanted: fn(&Event) -> bool, net: &mut Net| {
            net.server().events().iter().filter(|event| wanted(event)).count()
        };
        let wills = count(|event| matches!(event, Event::Will(_)), &mut self.net);
        let connects = count(|event| *event == Event::Connect, &mut self.net);
        assert!(wills <= connects, "a will is published once [MQTT-3.1.2-8]");
    }

    /// Every token of the client has exactly one outcome.
    fn fates(&self) -> BTreeMap<Token, Fate> {
        let mut fates = BTreeMap::new();
        for event in self.net.events() {
            if let Event::Done(token, fate) = event {
                assert_eq!(fates.insert(*token, fate.clone()), None, "token {token} has one outcome");
            }
        }
        let tokens = self.from_client.iter().map(|it| &it.name).chain(self.requested.iter().map(|it| &it.0));
        tokens.for_each(|token| assert!(fates.contains_key(token), "token {token} has an outcome"));
        assert_eq!(fates.len(), self.from_client.len() + self.requested.len());
        fates
    }

    /// The last request for each filter decides.
    fn check_subscriptions(&mut self) {
        if !self.keeps || self.loses || self.net.server().refuses > 0 {
            return;
        }
        let mut expected = BTreeSet::new();
        for (token, subscribes, filter) in &self.requested {
            if matches!(self.net.fate(*token), Some(Fate::Answered(_))) {
                if *subscribes {
                    expected.insert(&filter[..])
                } else {
                    expected.remove(&filter[..])
                };
            }
        }
        assert!(self.net.server().subscriptions().into_iter().eq(expected), "the subscriptions are what was asked for");
    }
}

fn limit(random: &mut Random) -> NonZeroU16 {
    NonZeroU16::new(1 + random.below(4) as u16).unwrap()
}

fn client_config(version: Version, random: &mut Random) -> ClientConfig {
    let is_v5 = version == Version::V5;
    let will = Will { delay_interval: if is_v5 { random.below(3) as u32 } else { 0 }, ..Will::new("w", "gone") };
    ClientConfig {
        keep_alive: NonZeroU16::new([0, 5, 60][random.index(3)]),
        manual_acks: random.percent(40),
        max_in_flight: if random.percent(20) { limit(random) } else { NonZeroU16::MAX },
        transmit_limit: NonZeroU32::new(if random.percent(20) { 300 } else { 64 * 1024 }).unwrap(),
        max_stored: if random.percent(15) { 6 } else { 10_000 },
        max_stored_bytes: if random.percent(30) { 20_000 } else { 64 * 1024 * 1024 },
        overflow: if random.percent(50) { Overflow::Refuse } else { Overflow::DropOldest },
        deliver_in_parts: if random.percent(30) { NonZeroU32::new(50) } else { None },
        will: random.percent(40).then(|| Box::new(will)),
        authentication: (is_v5 && random.percent(20)).then(|| Authentication { method: "m".into(), data: None }.into()),
        receive_maximum: if is_v5 && random.percent(50) { limit(random) } else { NonZeroU16::MAX },
        maximum_packet_size: NonZeroU32::new(if is_v5 && random.percent(20) { 200 } else { 16 * 1024 * 1024 }),
        topic_alias_maximum: if is_v5 && random.percent(50) { 2 } else { 0 },
        topic_aliases: if is_v5 { 2 } else { 0 },
        request_problem_information: !is_v5 || random.percent(70),
        answer_limit: NonZeroU32::new(if random.percent(20) { 300 } else { 64 * 1024 }).unwrap(),
        min_backoff: 0,
        max_backoff: 1,
        ..keeping(version)
    }
}

fn server_config(version: Version, random: &mut Random) -> ServerConfig {
    ServerConfig {
        receive_maximum: if random.percent(60) { limit(random) } else { NonZeroU16::MAX },
        maximum_packet_size: NonZeroU32::new(if random.percent(20) { 5000 } else { 16 * 1024 * 1024 }),
        maximum_qos: if random.percent(10) { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
        topic_alias_maximum: random.below(4) as u16,
        topic_aliases: 2,
        // Before 5.0 a client that asks for a longer Keep Alive would be refused each time.
        max_keep_alive: if random.percent(20) && version == Version::V5 { NonZeroU16::new(10) } else { None },
        deliver_in_parts: if random.percent(30) { NonZeroU32::new(50) } else { None },
        manual_acks: random.percent(40),
        max_in_flight: if random.percent(20) { limit(random) } else { NonZeroU16::MAX },
        max_stored: if random.percent(15) { 6 } else { 1000 },
        max_stored_bytes: if random.percent(30) { 20_000 } else { 16 * 1024 * 1024 },
        overflow: if random.percent(50) { Overflow::Refuse } else { Overflow::DropOldest },
        store_qos_0: random.percent(30),
        transmit_limit: NonZeroU32::new(if random.percent(20) { 300 } else { 64 * 1024 }).unwrap(),
        answer_limit: NonZeroU32::new(if random.percent(20) { 300 } else { 64 * 1024 }).unwrap(),
        ..ServerConfig::default()
    }
}

/// Checks the outcomes of one endpoint's messages against the messages that the peer has received.
fn check_messages<'p, T: 'p>(
    published: impl Iterator<Item = (&'p Published<T>, &'p Fate)>,
    other: &Application,
    keeps: bool,
) {
    let mut order = [Vec::new(), Vec::new()];
    for (Published { payload, qos, .. }, fate) in published {
        let (times, is_taken_over) = (other.times(payload), other.taken_over.contains(payload));
        let context = format!("{payload:.10}, {qos:?}: {fate:?}, has come {times} times");
        match (qos, fate) {
            (_, Fate::Abandoned(AbandonReason::Session)) => assert!(!keeps, "{context}"),
            (_, Fate::Abandoned(_)) => assert_eq!(times, 0, "{context}"),
            (QoS::AtMostOnce, _) => assert!(times <= 1, "{context}"),
            (QoS::AtLeastOnce, fate) => assert!(times >= 1 || !fate.is_success() || other.loses, "{context}"),
            // Duplicates of QoS 2 were checked when the messages arrived.
            (QoS::ExactlyOnce, fate) => assert!(is_taken_over == fate.is_success() || other.loses, "{context}"),
        }
        order[usize::from(*qos != QoS::AtMostOnce)].extend(other.seen.iter().position(|it| it == payload));
    }
    assert!(order.iter().all(|places| places.is_sorted()), "messages come in the order of their publishing");
}

/// Each message has its own topic, whatever aliases were used.
fn check_topics<'m, T>(published: &[Published<T>], messages: impl Iterator<Item = &'m Received>) {
    let topics: BTreeMap<_, _> = published.iter().map(|it| (it.payload.as_bytes(), it.topic)).collect();
    for message in messages {
        assert_eq!(topics.get(&message.payload[..]), Some(&&message.topic[..]), "the topic is what it was");
    }
}

/// The seeds to run: this many, unless the environment says otherwise.
fn seeds(count: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let first = number("FIRST_SEED").unwrap_or(0);
    first..first + number("SEEDS").unwrap_or(count)
}

/// The test kit checks every packet of both endpoints: what a sender must do and must not do. [3.1.1: MQTT-2.2.2-1,
/// MQTT-2.3.1-1, MQTT-2.3.1-2, MQTT-2.3.1-3, MQTT-2.3.1-4, MQTT-2.3.1-5, MQTT-2.3.1-6, MQTT-2.3.1-7, MQTT-3.1.0-1,
/// MQTT-3.1.2-23, MQTT-3.2.0-1, MQTT-3.2.2-1, MQTT-3.3.1-1, MQTT-3.3.1-2, MQTT-3.3.4-1, MQTT-3.8.4-1, MQTT-3.8.4-2,
/// MQTT-3.10.4-4, MQTT-3.12.4-1, MQTT-3.14.4-2, MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.3-1, MQTT-4.3.3-2,
/// MQTT-4.4.0-1, MQTT-4.6.0-1, MQTT-4.6.0-2, MQTT-4.6.0-3, MQTT-4.6.0-4, MQTT-4.6.0-6; 5.0: MQTT-1.5.5-1, MQTT-2.1.3-1,
/// MQTT-2.2.1-2, MQTT-2.2.1-3, MQTT-2.2.1-4, MQTT-2.2.1-5, MQTT-2.2.1-6, MQTT-2.2.2-1, MQTT-3.1.0-1, MQTT-3.1.2-20,
/// MQTT-3.1.2-24, MQTT-3.1.2-26, MQTT-3.1.2-27, MQTT-3.1.2-29, MQTT-3.1.2-30, MQTT-3.2.0-1, MQTT-3.2.0-2, MQTT-3.2.2-2,
/// MQTT-3.2.2-11, MQTT-3.2.2-15, MQTT-3.2.2-17, MQTT-3.2.2-18, MQTT-3.2.2-21, MQTT-3.3.1-1, MQTT-3.3.1-2, MQTT-3.3.2-7,
/// MQTT-3.3.2-8, MQTT-3.3.2-9, MQTT-3.3.2-11, MQTT-3.3.4-1, MQTT-3.3.4-7, MQTT-3.3.4-9, MQTT-3.4.2-1, MQTT-3.5.2-1,
/// MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.10.4-4, MQTT-3.12.4-1, MQTT-3.14.0-1, MQTT-3.14.2-1,
/// MQTT-3.14.4-1, MQTT-3.15.2-1, MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.2-4, MQTT-4.3.3-1, MQTT-4.3.3-2,
/// MQTT-4.3.3-4, MQTT-4.3.3-6, MQTT-4.3.3-8, MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.4.0-1, MQTT-4.6.0-1, MQTT-4.6.0-2,
/// MQTT-4.6.0-3, MQTT-4.6.0-4, MQTT-4.9.0-1, MQTT-4.9.0-2, MQTT-4.12.0-2, MQTT-4.12.0-3, MQTT-4.12.0-5, MQTT-4.12.0-6,
/// MQTT-4.12.0-7, U-4.9, U-4.9-b]
#[test]
fn random_schedules() {
    seeds(4_000).for_each(|seed| Schedule::new(seed).run());
}
