//! Retained messages on their way to new subscribers, with little work in each call: publishers, new subscribers and those
//! that unsubscribe go on between any two items of work.

use std::collections::BTreeMap;

use bytes::Buf;
use mqtt_sansio::broker::{
    Answer, Broker, BrokerConfig, Client as Who, ConnectionId, Decision, DecisionId, Origin, Policy, Secret,
};
use mqtt_sansio::codec::{
    Connect, Decoded, Delivery, Disconnect, Limits, Packet, PubAck, Publish, PublishProperties, SubAckReasonCode,
    Subscribe, Subscription, Unsubscribe, decode,
};
use mqtt_sansio::{Instant, Message, PacketId, QoS, TopicFilter, TopicName, Utf8Str, Version};

const NOW: Instant = Instant::from_micros(1_000_000);
const V: Version = Version::V5;

/// Random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

fn encoded(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(V, &mut bytes).unwrap();
    }
    bytes
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// Allows all; decisions about filters that end with `later` come later.
#[derive(Default)]
struct Patient {
    waiting: Vec<DecisionId>,
    asked: usize,
}

impl Policy for Patient {
    fn subscribe(&mut self, id: DecisionId, _: Who<'_>, subscription: &Subscription<'_>) -> Decision<SubAckReasonCode> {
        self.asked += 1;
        if subscription.filter.as_str().ends_with("later") {
            self.waiting.push(id);
            return Decision::Later;
        }
        Decision::Now(subscription.qos.into())
    }
}

fn broker(work: u32) -> Broker<Patient> {
    let config = BrokerConfig { work_per_call: work.try_into().unwrap(), ..BrokerConfig::new(Secret::new([7; 16])) };
    Broker::new(config, Patient::default())
}

/// A client at the other end of a connection.
struct Client {
    connection: ConnectionId,
    unsent: Vec<u8>,
    /// What was read, and is not a whole packet yet.
    unread: Vec<u8>,
}

impl Client {
    fn connect(broker: &mut Broker<Patient>, name: &str) -> Self {
        // Each comes from elsewhere.
        let address = name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let connection = broker.open(NOW, Origin::new(address.into()));
        let connect = Connect {
            version: V,
            client_identifier: Utf8Str::new(name).unwrap(),
            clean_start: true,
            ..Connect::default()
        };
        let mut client = Self { connection, unsent: encoded(&[connect.into()]), unread: Vec::new() };
        client.give(broker);
        client
    }

    fn send(&mut self, packets: &[Packet<'_>]) {
        self.unsent.extend(encoded(packets));
    }

    fn give(&mut self, broker: &mut Broker<Patient>) {
        let mut input = &self.unsent[..];
        broker.receive(NOW, self.connection, &mut input);
        let taken = self.unsent.len() - input.len();
        self.unsent.drain(..taken);
        broker.assert_consistent();
    }

    /// Reads all output; calls `see` with each packet, and acknowledges messages.
    fn read(&mut self, broker: &mut Broker<Patient>, see: &mut dyn FnMut(&Packet<'_>)) {
        loop {
            let transmit = broker.transmit(self.connection);
            if !transmit.has_remaining() {
                break;
            }
            while transmit.has_remaining() {
                let chunk = transmit.chunk().len();
                self.unread.extend_from_slice(&transmit.chunk()[..chunk]);
                transmit.advance(chunk);
            }
        }
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        while let Ok(Decoded::Packet { packet, size }) = decode(rest, V, Limits::DEFAULT) {
            if let Packet::Publish(Publish { delivery: Delivery::AtLeastOnce { id, .. }, .. }) = &packet {
                self.send(&[PubAck::new(*id).into()]);
            }
            see(&packet);
            rest = &rest[size..];
        }
        self.unread = rest.to_vec();
    }
}

fn settle(broker: &mut Broker<Patient>, clients: &mut [&mut Client], see: &mut dyn FnMut(usize, &Packet<'_>)) {
    for turn in 0..30_000 {
        let mut is_quiet = true;
        for (index, client) in clients.iter_mut().enumerate() {
            client.read(broker, &mut |packet| see(index, packet));
            if broker.is_over(client.connection) {
                client.unsent.clear();
            } else if !client.unsent.is_empty() && broker.takes_input(client.connection) {
                client.give(broker);
                is_quiet = false;
            }
        }
        while broker.next_ready().is_some() {}
        let is_empty = clients.iter().all(|client| client.unsent.is_empty());
        if is_quiet && is_empty && broker.deadline().is_none_or(|at| at > NOW) {
            return;
        }
        broker.poll(NOW);
        if turn % 16 == 0 {
            broker.assert_consistent();
        }
    }
    panic!("unfinished work does not come to an end");
}

/// What happened on a topic, in order: whether each message is retained, or removes the one that was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Plain,
    Retained,
    Removed,
}

/// Somebody who subscribes once.
#[derive(Default)]
struct Watcher {
    filter: String,
    is_subscribed: bool,
    is_unsubscribed: bool,
    has_asked_to_end: bool,
    /// The last message of each topic, and whether it came as a retained one.
    last: BTreeMap<String, (usize, bool)>,
}

impl Watcher {
    fn see(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::SubAck(_) => self.is_subscribed = true,
            Packet::UnsubAck(_) => self.is_unsubscribed = true,
            Packet::Publish(publish) => {
                let number: usize = publish.properties.content_type.unwrap().as_str().parse().unwrap();
                let topic = publish.topic.as_str().to_owned();
                assert!(!self.is_unsubscribed, "{topic} {number} comes after UNSUBACK");
                assert!(self.is_subscribed || !publish.retain, "{topic} {number} is retained, and comes before SUBACK");
                let old = self.last.insert(topic.clone(), (number, publish.retain));
                match old {
                    None => {}
                    Some((last, false)) => {
                        assert!(!publish.retain, "{topic}: the retained {number} comes after {last}");
                        assert_eq!(number, last + 1, "{topic}: each message comes once, in order");
                    }
                    Some((last, true)) => {
                        assert!(!publish.retain, "{topic}: {number} is retained, and so was {last}");
                        assert!(number > last, "{topic}: {number} comes after the retained {last}");
                    }
                }
            }
            _ => {}
        }
    }

    /// Everything has arrived.
    fn check(&self, events: &BTreeMap<String, Vec<Event>>) {
        if !self.is_subscribed || self.has_asked_to_end {
            return;
        }
        for (topic, events) in events {
            if !TopicFilter::new(&self.filter).unwrap().matches(TopicName::new(topic).unwrap()) {
                continue;
            }
            let newest = events.len().checked_sub(1);
            let removed = events.iter().rposition(|&event| event == Event::Removed);
            let retained = events.iter().rposition(|&event| event == Event::Retained);
            let retained = retained.filter(|&at| removed.is_none_or(|removed| removed < at));
            match self.last.get(topic) {
                Some(&(number, false)) => assert_eq!(Some(number), newest, "{topic}: a message is lost"),
                Some(&(number, true)) => assert_eq!(Some(number), retained, "{topic}: a retained message is stale"),
                None => assert_eq!(retained, None, "{topic}: a retained message is lost"),
            }
        }
    }
}

const TOPICS: usize = 8;

fn run(seed: u64, work: u32, qos: QoS) {
    let random = &mut Random(seed * 7919 + u64::from(work) + 1);
    let broker = &mut broker(work);
    let mut publishers = [Client::connect(broker, "p0"), Client::connect(broker, "p1")];
    // Others, so that a message needs several calls.
    let mut crowd: Vec<_> = (0..5).map(|number| Client::connect(broker, &format!("c{number}"))).collect();
    for client in &mut crowd {
        client.send(&[Subscribe::new(id(1), &[Subscription::new("#", qos).unwrap()]).into()]);
    }
    let mut events: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    let mut watchers: Vec<(Client, Watcher)> = Vec::new();
    let mut names = 0;
    for _ in 0..250 {
        match random.below(10) {
            0..4 => {
                let topic = random.below(TOPICS);
                let event = [Event::Plain, Event::Retained, Event::Retained, Event::Removed][random.below(4)];
                let name = ["a", "a/b", "a/b/c", "a/d", "a/d/e", "b", "b/c", "b/d"][topic];
                let events = events.entry(name.to_owned()).or_default();
                let number = events.len().to_string();
                events.push(event);
                let content_type = Some(Utf8Str::new(&number).unwrap());
                let properties = PublishProperties { content_type, ..PublishProperties::default() };
                let delivery = match qos {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    _ => Delivery::AtLeastOnce { id: id(1 + random.below(60_000) as u16), dup: false },
                };
                let payload: &[u8] = if event == Event::Removed { b"" } else { b"x" };
                let publish = Publish {
                    delivery,
                    properties,
                    retain: event != Event::Plain,
                    topic: TopicName::new(name).unwrap(),
                    payload,
                };
                publishers[topic % 2].send(&[publish.into()]);
            }
            4..6 if watchers.len() < 8 => {
                names += 1;
                let mut client = Client::connect(broker, &format!("w{names}"));
                let filter = ["#", "a/#", "a/+", "+/b/#", "+/d", "b", "a/b/c", "+", "+/+/+"][random.below(9)];
                client.send(&[Subscribe::new(id(1), &[Subscription::new(filter, qos).unwrap()]).into()]);
                watchers.push((client, Watcher { filter: filter.to_owned(), ..Watcher::default() }));
            }
            6 if !watchers.is_empty() => {
                let at = random.below(watchers.len());
                let (client, watcher) = &mut watchers[at];
                if watcher.has_asked_to_end {
                    let (mut client, _) = watchers.swap_remove(at);
                    client.send(&[Disconnect::default().into()]);
                    settle(broker, &mut [&mut client], &mut |_, _| {});
                    broker.closed(NOW, client.connection);
                } else {
                    watcher.has_asked_to_end = true;
                    let filters = [TopicFilter::new(&watcher.filter).unwrap()];
                    client.send(&[Unsubscribe::new(id(2), &filters).into()]);
                }
            }
            _ => {}
        }
        for client in publishers.iter_mut().chain(&mut crowd).chain(watchers.iter_mut().map(|(client, _)| client)) {
            if random.below(2) == 0 && !client.unsent.is_empty() {
                client.give(broker);
            }
        }
        for _ in 0..random.below(6) {
            broker.poll(NOW);
            broker.assert_consistent();
        }
        for (client, watcher) in &mut watchers {
            if random.below(3) > 0 {
                client.read(broker, &mut |packet| watcher.see(packet));
            }
        }
    }
    let mut seen: Vec<_> = watchers.iter_mut().map(|(_, watcher)| std::mem::take(watcher)).collect();
    let mut clients: Vec<_> = watchers.iter_mut().map(|(client, _)| client).collect();
    let count = clients.len();
    clients.extend(&mut publishers);
    clients.extend(&mut crowd);
    settle(broker, &mut clients, &mut |index, packet| {
        if index < count {
            seen[index].see(packet);
        }
    });
    seen.iter().for_each(|watcher| watcher.check(&events));
}

fn run_all(seeds: std::ops::Range<u64>, work: u32, qos: QoS) {
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed, work, qos)) {
            eprintln!("seed {seed}, work {work}, {qos:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn each_retained_message_comes_once_and_the_last_one_is_the_newest() {
    run_all(0..15, 1, QoS::AtMostOnce);
    run_all(200..215, 1, QoS::AtLeastOnce);
    run_all(300..315, 3, QoS::AtMostOnce);
    run_all(400..410, 10, QoS::AtLeastOnce);
    run_all(500..505, 2000, QoS::AtMostOnce);
}

fn retain(broker: &mut Broker<Patient>, topics: impl Iterator<Item = String>) {
    for topic in topics {
        let message = Message::new(&topic, "old").retain(true);
        broker.publish(NOW, &message).unwrap();
        while broker.deadline().is_some_and(|at| at <= NOW) {
            broker.poll(NOW);
        }
    }
}

/// The work between the request of an honest client, which publishes to itself, and its answer; `before` is a limit for the
/// other clients' part.
fn assert_served(broker: &mut Broker<Patient>, honest: &mut Client, limit: u64) {
    let before = broker.work_done();
    let delivery = Delivery::AtLeastOnce { id: id(7), dup: false };
    let topic = TopicName::new("own/topic").unwrap();
    honest.send(&[Publish { delivery, topic, payload: b"x", ..Publish::default() }.into()]);
    let (mut acks, mut messages) = (0, 0);
    while acks == 0 || messages == 0 {
        if !honest.unsent.is_empty() && broker.takes_input(honest.connection) {
            honest.give(broker);
        }
        honest.read(broker, &mut |packet| match packet {
            Packet::PubAck(_) => acks += 1,
            Packet::Publish(_) => messages += 1,
            _ => {}
        });
        let done = broker.work_done() - before;
        assert!(done <= limit, "an honest client waits while {done} units are done");
        if acks == 0 || messages == 0 {
            broker.poll(NOW);
            broker.assert_consistent();
        }
    }
}

fn honest(broker: &mut Broker<Patient>) -> Client {
    let mut honest = Client::connect(broker, "honest");
    honest.send(&[Subscribe::new(id(1), &[Subscription::new("own/topic", QoS::AtMostOnce).unwrap()]).into()]);
    settle(broker, &mut [&mut honest], &mut |_, _| {});
    honest
}

/// What was minutes of work in one call.
#[test]
fn filters_that_match_nothing_stop_nobody() {
    let broker = &mut broker(500);
    retain(broker, (0..3000).map(|number| format!("t/{number}/x")));
    let mut honest = honest(broker);
    let mut nasty = Client::connect(broker, "nasty");
    let filters: Vec<_> = (0..2000).map(|number| format!("t/+/nothing{number}")).collect();
    let subscriptions: Vec<_> =
        filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce).unwrap()).collect();
    nasty.send(&[Subscribe::new(id(1), &subscriptions).into()]);
    for _ in 0..300 {
        if broker.takes_input(nasty.connection) && !nasty.unsent.is_empty() {
            nasty.give(broker);
        }
        broker.poll(NOW);
        broker.assert_consistent();
        assert_served(broker, &mut honest, 3 * 500);
    }
    let mut answers = 0;
    nasty.read(broker, &mut |packet| answers += usize::from(matches!(packet, Packet::SubAck(_))));
    assert_eq!(answers, 1, "SUBACK does not wait for retained messages");
    assert!(broker.deadline().is_some_and(|at| at <= NOW), "the walk goes on");
    // It ends with its connection.
    nasty.send(&[Disconnect::default().into()]);
    settle(broker, &mut [&mut nasty], &mut |_, _| {});
}

#[test]
fn all_topics_for_many_at_once_stop_nobody() {
    const TOPICS: usize = 1500;
    let broker = &mut broker(500);
    retain(broker, (0..TOPICS).map(|number| format!("t/{}/{number}", number % 7)));
    let mut honest = honest(broker);
    let mut others: Vec<_> = (0..20).map(|number| Client::connect(broker, &format!("all{number}"))).collect();
    let mut got = vec![0; others.len()];
    for client in &mut others {
        client.send(&[Subscribe::new(id(1), &[Subscription::new("#", QoS::AtMostOnce).unwrap()]).into()]);
        client.give(broker);
    }
    let before = broker.work_done();
    while broker.deadline().is_some_and(|at| at <= NOW) {
        broker.poll(NOW);
        broker.assert_consistent();
        assert_served(broker, &mut honest, 30 * 500);
        for (client, got) in others.iter_mut().zip(&mut got) {
            client.read(broker, &mut |packet| *got += usize::from(matches!(packet, Packet::Publish(it) if it.retain)));
        }
    }
    assert_eq!(got, [TOPICS; 20], "each gets each message once");
    let each = (broker.work_done() - before) / (20 * TOPICS as u64);
    assert!(each <= 12, "{each} units a message");
}

/// [3.1.1: MQTT-3.8.4-4; 5.0: MQTT-3.8.4-5].
#[test]
fn a_subscribe_is_worked_on_filter_by_filter() {
    let broker = &mut broker(1);
    retain(broker, (0..10).map(|number| format!("t/{number}")));
    let mut client = Client::connect(broker, "client");
    settle(broker, &mut [&mut client], &mut |_, _| {});
    let filters: Vec<_> = (0..40).map(|number| format!("t/{number}")).collect();
    let subscriptions: Vec<_> =
        filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce).unwrap()).collect();
    client.send(&[Subscribe::new(id(1), &subscriptions).into(), Packet::PingReq]);
    let mut counts = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..1000 {
        let note = &mut |packet: &Packet<'_>| seen.push(packet.packet_type());
        client.read(broker, note);
        if !client.unsent.is_empty() && broker.takes_input(client.connection) {
            client.give(broker);
        }
        broker.poll(NOW);
        broker.assert_consistent();
        counts.push(broker.status().subscriptions);
    }
    assert_eq!(broker.policy().asked, 40);
    assert!(counts.windows(2).all(|pair| pair[1] <= pair[0] + 1), "one after the other: {counts:?}");
    assert_eq!(counts.last(), Some(&40));
    use mqtt_sansio::codec::PacketType::{PingResp, Publish, SubAck, UnsubAck};
    assert_eq!(seen[0], SubAck, "{seen:?}");
    assert_eq!(seen.iter().filter(|&&it| it == Publish).count(), 10);
    assert_eq!(seen.iter().filter(|&&it| it == PingResp).count(), 1);

    let filters: Vec<_> = filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
    client.send(&[Unsubscribe::new(id(2), &filters).into(), Packet::PingReq]);
    (counts, seen) = Default::default();
    for _ in 0..1000 {
        client.read(broker, &mut |packet| seen.push(packet.packet_type()));
        if !client.unsent.is_empty() && broker.takes_input(client.connection) {
            client.give(broker);
        }
        broker.poll(NOW);
        broker.assert_consistent();
        counts.push(broker.status().subscriptions);
    }
    assert!(counts.windows(2).all(|pair| pair[1] + 1 >= pair[0]), "one after the other: {counts:?}");
    assert_eq!((counts.last(), &seen[..]), (Some(&0), &[UnsubAck, PingResp][..]));
}

#[test]
fn decisions_come_while_others_are_still_asked_for() {
    for early in [false, true] {
        let broker = &mut broker(1);
        let mut client = Client::connect(broker, "client");
        settle(broker, &mut [&mut client], &mut |_, _| {});
        let filters: Vec<_> = (0..12).map(|it| format!("{it}/{}", if it % 3 == 0 { "later" } else { "now" })).collect();
        let subscriptions: Vec<_> =
            filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce).unwrap()).collect();
        client.send(&[Subscribe::new(id(1), &subscriptions).into()]);
        let mut codes = Vec::new();
        for round in 0..400 {
            if !client.unsent.is_empty() && broker.takes_input(client.connection) {
                client.give(broker);
            }
            broker.poll(NOW);
            broker.assert_consistent();
            if early || round > 200 {
                for decision in std::mem::take(&mut broker.policy_mut().waiting) {
                    broker.answer(NOW, decision, Answer::Subscribe(SubAckReasonCode::NotAuthorized)).unwrap();
                    broker.assert_consistent();
                }
            }
            client.read(broker, &mut |packet| {
                if let Packet::SubAck(suback) = packet {
                    codes.extend(suback.reason_codes.iter());
                }
            });
        }
        let expected: Vec<_> = (0..12)
            .map(|it| if it % 3 == 0 { SubAckReasonCode::NotAuthorized } else { SubAckReasonCode::GrantedQoS0 })
            .collect();
        assert_eq!(codes, expected);
        assert_eq!(broker.status().subscriptions, 8);
    }
}

/// A client that is gone in the middle of its request gets no answer, and its session goes on.
#[test]
fn a_request_ends_with_its_connection() {
    let broker = &mut broker(1);
    let mut client = Client::connect(broker, "client");
    settle(broker, &mut [&mut client], &mut |_, _| {});
    let filters: Vec<_> = (0..40).map(|number| format!("t/{number}")).collect();
    let subscriptions: Vec<_> =
        filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce).unwrap()).collect();
    client.send(&[Subscribe::new(id(1), &subscriptions).into()]);
    while broker.status().subscriptions < 10 {
        if !client.unsent.is_empty() && broker.takes_input(client.connection) {
            client.give(broker);
        }
        broker.poll(NOW);
    }
    broker.closed(NOW, client.connection);
    for _ in 0..1000 {
        broker.poll(NOW);
        broker.assert_consistent();
    }
    assert!(broker.deadline().is_none_or(|at| at > NOW));
    assert_eq!(broker.status().subscriptions, 0, "a session without an expiry interval ends with its connection");
}
