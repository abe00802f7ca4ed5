//! A client that says little is served soon, whatever number of connections another principal keeps busy: the work between
//! two services of it is counted in units.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{
    self, Connect, ConnectProperties, Decoded, Delivery, Limits, Packet, PacketId, PubAck, Publish, Subscribe,
    Subscription, Will,
};
use mqtt_sansio::{Instant, Message, QoS, TopicName, Version};

/// The work of a call in these tests.
const BUDGET: u64 = 300;

/// What an honest client may have to wait for: a few calls, and a few items that go beyond their budgets.
const SOON: u64 = 6 * BUDGET;

/// A client, as a driver sees it.
struct Client {
    id: ConnectionId,
    /// What was read from the transport, and is not taken yet.
    input: Vec<u8>,
    /// What the client sends again and again, as fast as it is taken.
    repeats: Vec<u8>,
    /// Number of bytes that were taken.
    taken: usize,
    /// Whether the client acknowledges what it gets.
    acknowledges: bool,
    output: Vec<u8>,
    /// What the client has got, one word a packet: the payload of a message, or the name of another packet.
    words: Vec<String>,
    is_open: bool,
}

/// A driver that gives each connection one turn a round.
struct Driver {
    broker: Broker<AllowAll>,
    now: u64,
    clients: Vec<Client>,
    numbers: HashMap<ConnectionId, usize>,
}

fn encoded<'p>(packet: impl Into<Packet<'p>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.into().encode(Version::V5, &mut bytes).unwrap();
    bytes
}

fn message(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Vec<u8> {
    let delivery = Delivery::new(qos, PacketId::MIN, false);
    encoded(Publish { delivery, retain, topic: TopicName::new(topic).unwrap(), payload, ..Publish::default() })
}

fn subscribe(filters: &[String], qos: QoS) -> Vec<u8> {
    let subscriptions: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, qos).unwrap()).collect();
    let properties = Default::default();
    encoded(Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions[..]).into(), properties })
}

fn connect(name: &str, will: Option<Will<'_>>, expiry: u32) -> Vec<u8> {
    let properties = ConnectProperties { session_expiry_interval: Some(expiry), ..ConnectProperties::default() };
    let client_identifier = name.try_into().unwrap();
    encoded(Connect { version: Version::V5, client_identifier, will, properties, ..Connect::default() })
}

impl Driver {
    fn new() -> Self {
        let work_per_call = NonZeroU32::new(BUDGET as u32).unwrap();
        let broker = Broker::new(BrokerConfig { work_per_call, ..BrokerConfig::new(Secret::new([7; 16])) }, AllowAll);
        Self { broker, now: 1_000_000, clients: Vec::new(), numbers: HashMap::new() }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    fn open(&mut self, origin: u128) -> usize {
        let id = self.broker.open(self.now(), Origin::new(origin));
        let number = self.clients.len();
        self.clients.push(Client {
            id,
            input: Vec::new(),
            repeats: Vec::new(),
            taken: 0,
            acknowledges: true,
            output: Vec::new(),
            words: Vec::new(),
            is_open: true,
        });
        self.numbers.insert(id, number);
        number
    }

    fn connect_with(&mut self, origin: u128, name: &str, will: Option<Will<'_>>, expiry: u32) -> usize {
        let number = self.open(origin);
        self.send(number, &connect(name, will, expiry));
        self.settle();
        number
    }

    fn connect(&mut self, origin: u128, name: &str) -> usize {
        self.connect_with(origin, name, None, 0)
    }

    fn subscribe(&mut self, number: usize, filter: &str, qos: QoS) {
        self.send(number, &subscribe(&[filter.into()], qos));
        self.settle();
    }

    fn close(&mut self, number: usize) {
        if std::mem::take(&mut self.clients[number].is_open) {
            self.broker.closed(self.now(), self.clients[number].id);
        }
    }

    fn send(&mut self, number: usize, bytes: &[u8]) {
        self.clients[number].input.extend_from_slice(bytes);
        self.give(number);
    }

    fn give(&mut self, number: usize) {
        let (now, client) = (self.now(), &mut self.clients[number]);
        if !client.is_open || !self.broker.takes_input(client.id) {
            return;
        }
        if client.input.is_empty() {
            client.input.extend_from_slice(&client.repeats);
        }
        if !client.input.is_empty() {
            let mut rest = &client.input[..];
            self.broker.receive(now, client.id, &mut rest);
            let taken = client.input.len() - rest.len();
            client.taken += taken;
            client.input.drain(..taken);
        }
    }

    /// Writes what there is for a client, 64 KiB at most; returns whether there was something.
    fn take(&mut self, number: usize) -> bool {
        let client = &mut self.clients[number];
        let transmit = self.broker.transmit(client.id);
        let bytes = transmit.copy_to_bytes(transmit.remaining().min(1 << 16));
        client.output.extend_from_slice(&bytes);
        let mut at = 0;
        while let Ok(Decoded::Packet { packet, size }) =
            codec::decode(&client.output[at..], Version::V5, Limits::from_server())
        {
            at += size;
            match packet {
                Packet::Publish(publish) => {
                    client.words.push(String::from_utf8_lossy(publish.payload).into_owned());
                    if let Some(id) = publish.delivery.packet_id().filter(|_| client.acknowledges) {
                        client.input.extend(encoded(PubAck::new(id)));
                    }
                }
                packet => client.words.push(format!("{:?}", packet.packet_type())),
            }
        }
        client.output.drain(..at);
        !bytes.is_empty()
    }

    /// One round of the driver: each connection that is ready has one turn, then the broker has one.
    fn round(&mut self) -> bool {
        let mut numbers = Vec::new();
        while let Some(id) = self.broker.next_ready() {
            numbers.push(self.numbers[&id]);
        }
        let mut is_busy = !numbers.is_empty();
        let is_first = |client: &Client| client.input.is_empty() && !client.repeats.is_empty();
        numbers.extend((0..self.clients.len()).filter(|&number| is_first(&self.clients[number])));
        for number in numbers {
            if !self.clients[number].is_open {
                continue;
            }
            while self.take(number) && self.clients[number].repeats.is_empty() {}
            if self.broker.is_over(self.clients[number].id) {
                self.close(number);
            }
            self.give(number);
        }
        if self.broker.deadline().is_some_and(|at| at <= self.now()) {
            self.broker.poll(self.now());
            is_busy = true;
        }
        self.now += 20;
        is_busy
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.round() {
                return;
            }
        }
        panic!("it comes to an end");
    }

    /// Goes on until a client has got this word, and takes it out; returns the units that this took.
    fn wait_for(&mut self, number: usize, word: &str) -> u64 {
        let before = self.broker.work_done();
        for _ in 0..20_000 {
            if let Some(at) = self.clients[number].words.iter().position(|it| it == word) {
                self.clients[number].words.remove(at);
                return self.broker.work_done() - before;
            }
            self.round();
        }
        panic!("client {number} gets {word}: {:?}", self.clients[number].words);
    }

    /// An honest client publishes to itself again and again; returns the most units that this takes.
    fn echo(&mut self, samples: usize) -> u64 {
        let honest = self.clients.len() - 1;
        let mut most = 0;
        for sample in 0..samples {
            let payload = sample.to_string();
            let before = self.broker.work_done();
            self.send(honest, &message("echo", payload.as_bytes(), QoS::AtMostOnce, false));
            self.wait_for(honest, &payload);
            most = most.max(self.broker.work_done() - before);
        }
        most
    }

    /// The honest client of [`echo`](Self::echo).
    fn honest(&mut self) -> usize {
        let honest = self.connect(99, "honest");
        self.subscribe(honest, "echo", QoS::AtMostOnce);
        honest
    }

    fn repeat(&mut self, clients: &[usize], bytes: &[u8]) {
        clients.iter().for_each(|&number| self.clients[number].repeats = bytes.to_vec());
        (0..30).for_each(|_| {
            self.round();
        });
    }

    fn stop(&mut self) {
        self.clients.iter_mut().for_each(|client| client.repeats.clear());
        self.settle();
        self.broker.assert_consistent();
    }

    fn crowd(&mut self, origin: u128, count: usize, filter: &str) -> Vec<usize> {
        (0..count)
            .map(|number| {
                let client = self.connect(origin, &format!("{filter}-{number}"));
                self.subscribe(client, filter, QoS::AtMostOnce);
                client
            })
            .collect()
    }
}

/// Inputs that fit into a budget, inputs of one message, and inputs of more than a budget.
/// An address is an origin by itself, of IPv6 the network of 64 bits that it is in. One party cannot have many origins by
/// addresses of its own, nor the origin of connections that nothing is known about.
#[test]
fn addresses_are_origins() {
    let origin = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
    assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db9:1:2::1"));
    assert_eq!(origin("192.0.2.1"), origin("::ffff:192.0.2.1"), "a socket for both versions reports the second");
    assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
    assert_ne!(origin("0.0.0.0"), Origin::UNKNOWN);
}

#[test]
fn input_of_many_connections_of_one_principal() {
    for messages in [1, 60, 400] {
        let input = message("nobody", b"x", QoS::AtMostOnce, false).repeat(messages);
        for busy in [3, 150] {
            let mut driver = Driver::new();
            let clients: Vec<_> = (0..busy).map(|number| driver.connect(1, &format!("busy-{number}"))).collect();
            driver.honest();
            driver.repeat(&clients, &input);
            let most = driver.echo(30);
            assert!(most <= SOON, "{most} units beside {busy} connections with {messages} messages each");
            // A client that comes from elsewhere is served as soon.
            for number in 0..10 {
                let before = driver.broker.work_done();
                let newcomer = driver.open(1000 + number);
                driver.send(newcomer, &connect(&format!("newcomer-{number}"), None, 0));
                driver.wait_for(newcomer, "ConnAck");
                let units = driver.broker.work_done() - before;
                assert!(units <= SOON, "{units} units for a newcomer beside {busy} connections");
            }
            driver.stop();
        }
    }
}

/// Connections that have said little say much all at once: what they were before is no licence.
#[test]
fn inputs_that_grow_all_at_once() {
    let mut driver = Driver::new();
    let clients: Vec<_> = (0..150).map(|number| driver.connect(1, &format!("busy-{number}"))).collect();
    driver.honest();
    let small = message("nobody", b"x", QoS::AtMostOnce, false);
    for _ in 0..3 {
        driver.repeat(&clients, &small);
        driver.repeat(&clients, &[]);
        driver.repeat(&clients, &small.repeat(90));
        let most = driver.echo(10);
        assert!(most <= SOON, "{most} units");
    }
    driver.stop();
}

/// Two principals that are busy have equal shares, whatever their inputs and the number of their connections.
#[test]
fn shares_do_not_depend_on_the_size_of_inputs() {
    for (messages, busy) in [(20, 5), (20, 100), (90, 100), (300, 100)] {
        let mut driver = Driver::new();
        let clients: Vec<_> = (0..busy).map(|number| driver.connect(1, &format!("busy-{number}"))).collect();
        let alone = driver.connect(2, "alone");
        let one = message("nobody", b"x", QoS::AtMostOnce, false);
        driver.clients[alone].repeats = one.repeat(500);
        driver.repeat(&clients, &one.repeat(messages));
        let taken = |driver: &Driver| {
            let many: usize = clients.iter().map(|&number| driver.clients[number].taken).sum();
            (many as f64, driver.clients[alone].taken as f64)
        };
        let before = taken(&driver);
        (0..2000).for_each(|_| {
            driver.round();
        });
        let after = taken(&driver);
        let (many, one) = (after.0 - before.0, after.1 - before.1);
        assert!(one > 0.8 * many, "{one} bytes of one connection, {many} of {busy} with {messages} messages each");
        driver.stop();
    }
}

/// New subscribers that meet a retained message on its way get it at once, and only once; they cost its way nothing.
#[test]
fn walks_meet_a_message_on_its_way() {
    let payload = "x".repeat(1500);
    let mut units = Vec::new();
    for walkers in [0, 60] {
        let mut driver = Driver::new();
        // Some of the walkers have sessions before those of the crowd, and some behind.
        let mut walks: Vec<_> =
            (0..walkers / 2).map(|number| driver.connect(100 + number, &format!("first-{number}"))).collect();
        let crowd = driver.crowd(1, 200, "board");
        walks.extend((0..walkers / 2).map(|number| driver.connect(500 + number, &format!("last-{number}"))));
        let publisher = driver.connect(1, "publisher");
        driver.send(publisher, &message("z", b"before", QoS::AtMostOnce, true));
        driver.settle();
        crowd.iter().chain(&walks).for_each(|&number| driver.clients[number].words.clear());
        driver.send(publisher, &message("board", payload.as_bytes(), QoS::AtLeastOnce, true));
        assert!(!driver.broker.takes_input(driver.clients[publisher].id), "the message is on its way");
        for &walker in &walks {
            driver.send(walker, &subscribe(&["#".into(), "+".into()], QoS::AtMostOnce));
        }
        let before = driver.broker.work_done();
        driver.clients[publisher].words.clear();
        driver.wait_for(publisher, "PubAck");
        units.push(driver.broker.work_done() - before);
        driver.settle();
        driver.broker.assert_consistent();
        for &number in &crowd {
            assert_eq!(driver.clients[number].words, [payload.as_str()]);
        }
        for &walker in &walks {
            let words = &driver.clients[walker].words;
            let count = |word: &str| words.iter().filter(|it| *it == word).count();
            // Each of the two subscriptions has got each retained message.
            assert_eq!((count(&payload), count("before")), (2, 2), "{:?}", words.len());
        }
    }
    assert!(units[1] < 3 * units[0], "{units:?} units");
}

/// A walk stands at a message on its way: its session ends, it unsubscribes, or the message expires. Nothing is left.
#[test]
fn a_walk_that_waits_for_a_message_ends_with_its_session() {
    let mut driver = Driver::new();
    driver.crowd(1, 300, "board");
    let publisher = driver.connect(1, "publisher");
    let payload = "x".repeat(1500);
    for round in 0..3 {
        let walkers: Vec<_> =
            (0..5).map(|number| driver.connect(10 + number, &format!("walker-{round}-{number}"))).collect();
        driver.clients[publisher].words.clear();
        driver.send(publisher, &message("board", payload.as_bytes(), QoS::AtLeastOnce, true));
        for &walker in &walkers {
            driver.send(walker, &subscribe(&["#".into()], QoS::AtMostOnce));
            driver.wait_for(walker, &payload);
        }
        assert!(!driver.broker.takes_input(driver.clients[publisher].id), "the message is on its way");
        match round {
            0 => walkers.iter().for_each(|&walker| driver.close(walker)),
            1 => driver.close(publisher),
            _ => {}
        }
        driver.settle();
        driver.broker.assert_consistent();
        assert_eq!(driver.broker.deadline().filter(|&at| at <= driver.now()), None);
        if round == 1 {
            walkers
                .iter()
                .for_each(|&walker| assert!(!driver.clients[walker].words.contains(&payload), "it came once"));
            return;
        }
    }
}

/// Principals that come and go leave nothing behind: neither memory nor work for those who wait.
#[test]
fn principals_that_are_gone() {
    let mut units = Vec::new();
    for origins in [0, 3000] {
        let mut driver = Driver::new();
        for origin in 0..origins {
            let id = driver.broker.open(driver.now(), Origin::new(1000 + origin));
            driver.broker.receive(driver.now(), id, &mut &b"\x10"[..]);
            driver.broker.closed(driver.now(), id);
        }
        while driver.broker.next_ready().is_some() {}
        driver.broker.assert_consistent();
        assert_eq!(driver.broker.deadline(), None, "nothing is left to do");
        let honest = driver.connect(1, "honest");
        let before = driver.broker.work_done();
        let filters: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        driver.send(honest, &subscribe(&filters, QoS::AtMostOnce));
        driver.wait_for(honest, "SubAck");
        units.push(driver.broker.work_done() - before);
    }
    assert!(units[1] < units[0] + 50, "{units:?} units");
}

/// Principals that owe nothing are forgotten at once, even while others wait.
#[test]
fn principals_that_are_gone_while_others_wait() {
    let mut driver = Driver::new();
    let crowd = driver.crowd(1, 3000, "all");
    driver.settle();
    let publisher = driver.broker.open(driver.now(), Origin::new(2));
    for bytes in [connect("publisher", None, 0), message("all", b"x", QoS::AtMostOnce, false)] {
        driver.broker.receive(driver.now(), publisher, &mut &bytes[..]);
    }
    let is_waiting = |driver: &Driver| driver.broker.deadline() == Some(driver.now());
    assert!(is_waiting(&driver), "a message is on its way to {} clients", crowd.len());
    let before = driver.broker.status().memory.total();
    for origin in 0..1000 {
        let id = driver.broker.open(driver.now(), Origin::new(1000 + origin));
        driver.broker.closed(driver.now(), id);
    }
    assert!(is_waiting(&driver));
    let more = driver.broker.status().memory.total().saturating_sub(before);
    assert!(more < 10_000, "{more} bytes");
}

/// Principals that are there, and have nothing to do, are not in the way either.
#[test]
fn principals_that_are_idle() {
    let mut units = Vec::new();
    for origins in [0, 2000] {
        let mut driver = Driver::new();
        for origin in 0..origins {
            let id = driver.broker.open(driver.now(), Origin::new(1000 + origin));
            driver.broker.receive(driver.now(), id, &mut &b"\x10"[..]);
        }
        let honest = driver.honest();
        let before = driver.broker.work_done();
        let filters: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        driver.clients[honest].words.clear();
        driver.send(honest, &subscribe(&filters, QoS::AtMostOnce));
        driver.wait_for(honest, "SubAck");
        units.push(driver.broker.work_done() - before);
    }
    assert!(units[1] < units[0] + 50, "{units:?} units");
}

/// A message that is retained waits for others of its topic, but not for all connections of another principal; and it is not
/// as slow as that principal.
#[test]
fn retained_messages_of_a_topic_by_principals_in_turn() {
    let mut units = Vec::new();
    for attackers in [3, 60] {
        let mut driver = Driver::new();
        driver.crowd(1, 400, "board");
        let clients: Vec<_> = (0..attackers).map(|number| driver.connect(1, &format!("attacker-{number}"))).collect();
        let honest = driver.connect(99, "publisher");
        driver.repeat(&clients, &message("board", b"spam", QoS::AtMostOnce, true));
        driver.clients[honest].words.clear();
        let before = driver.broker.work_done();
        driver.send(honest, &message("board", b"honest", QoS::AtLeastOnce, true));
        driver.wait_for(honest, "PubAck");
        units.push(driver.broker.work_done() - before);
        driver.stop();
    }
    // Its own four hundred copies, those of two others, and as much for the principal of those.
    assert!(units.iter().all(|&units| units < 6 * 400), "{units:?} units");
}

/// The principal of a message on its way is slow, because it has much to do; those who wait for the message help it.
#[test]
fn a_message_that_others_wait_for_is_not_slow() {
    let mut units = Vec::new();
    for busy in [2, 100] {
        let mut driver = Driver::new();
        driver.crowd(1, 1000, "board");
        let first = driver.connect(1, "first");
        let clients: Vec<_> = (0..busy).map(|number| driver.connect(1, &format!("busy-{number}"))).collect();
        let honest = driver.connect(99, "publisher");
        driver.repeat(&clients, &message("nobody", b"x", QoS::AtMostOnce, false).repeat(400));
        driver.send(first, &message("board", b"spam", QoS::AtMostOnce, true));
        (0..2 * busy + 10).for_each(|_| {
            driver.round();
        });
        driver.clients[honest].words.clear();
        let before = driver.broker.work_done();
        driver.send(honest, &message("board", b"honest", QoS::AtLeastOnce, true));
        driver.wait_for(honest, "PubAck");
        units.push(driver.broker.work_done() - before);
        driver.stop();
    }
    assert!(units.iter().all(|&units| units < 6 * 1000), "{units:?} units");
}

/// Subscribers of one principal whose queues are full, and who read as fast as they can.
#[test]
fn output_of_many_connections_of_one_principal() {
    for readers in [2, 60] {
        let mut driver = Driver::new();
        for number in 0..readers {
            let reader = driver.connect_with(1, &format!("reader-{number}"), None, 1000);
            driver.subscribe(reader, "flood", QoS::AtLeastOnce);
            driver.close(reader);
        }
        let publisher = driver.connect(1, "publisher");
        let payload = vec![b'x'; 1800];
        for _ in 0..100 {
            driver.send(publisher, &message("flood", &payload, QoS::AtLeastOnce, false));
            driver.settle();
        }
        driver.honest();
        // They come back, and all that waits for them goes out.
        for number in 0..readers {
            let reader = driver.open(1);
            driver.clients[reader].acknowledges = false;
            driver.clients[reader].input = connect(&format!("reader-{number}"), None, 1000);
            driver.give(reader);
        }
        let honest = driver.clients.len() - 1 - readers;
        let mut most = 0;
        for sample in 0..40 {
            let payload = sample.to_string();
            let before = driver.broker.work_done();
            driver.send(honest, &message("echo", payload.as_bytes(), QoS::AtMostOnce, false));
            driver.wait_for(honest, &payload);
            most = most.max(driver.broker.work_done() - before);
        }
        driver.settle();
        driver.broker.assert_consistent();
        let got = driver.clients[honest + 1..].iter().map(|reader| reader.words.len() - 1);
        assert_eq!(got.collect::<Vec<_>>(), vec![100; readers], "each has got all");
        assert!(most <= SOON, "{most} units beside {readers} readers");
    }
}

/// Connections of one principal are lost all at once, each with a will for many: the driver tells the broker about one after
/// the other.
#[test]
fn wills_of_many_connections_of_one_principal() {
    for lost in [2, 100] {
        let mut driver = Driver::new();
        let crowd = driver.crowd(1, 80, "will");
        let topic = TopicName::new("will").unwrap();
        let will = Will { topic, payload: b"lost", ..Will::default() };
        let clients: Vec<_> =
            (0..lost).map(|number| driver.connect_with(1, &format!("lost-{number}"), Some(will), 0)).collect();
        let before = driver.broker.work_done();
        clients.iter().for_each(|&number| driver.close(number));
        let units = driver.broker.work_done() - before;
        assert!(units <= SOON + 20 * lost, "{units} units while {lost} connections are lost");
        driver.settle();
        for number in crowd {
            let wills = driver.clients[number].words.iter().filter(|word| *word == "lost").count();
            assert_eq!(wills as u64, lost, "each will comes");
        }
        driver.broker.assert_consistent();
    }
}

/// The embedding program's own messages do not wait until sessions are taken apart.
#[test]
fn own_messages_beside_sessions_that_end() {
    let mut units = Vec::new();
    for ends in [0, 30] {
        let mut driver = Driver::new();
        let honest = driver.honest();
        driver.crowd(2, 350, "ech/+");
        driver.subscribe(honest, "ech/+", QoS::AtMostOnce);
        for number in 0..ends {
            let client = driver.connect_with(1, &format!("end-{number}"), None, 5);
            let filters: Vec<_> = (0..1000).map(|number| format!("end/{number}")).collect();
            driver.send(client, &subscribe(&filters, QoS::AtMostOnce));
            driver.settle();
            driver.close(client);
        }
        driver.now += 6_000_000;
        driver.round();
        let before = driver.broker.work_done();
        for payload in ["1", "2", "3"] {
            driver.broker.publish(driver.now(), &Message::new("ech/o", payload)).unwrap();
        }
        driver.wait_for(honest, "3");
        units.push(driver.broker.work_done() - before);
        driver.settle();
        driver.broker.assert_consistent();
    }
    assert!(units[1] < 3 * units[0] + SOON, "{units:?} units");
}
