//! A call of the broker does a bounded amount of work, and nobody notices where a message was interrupted: whatever happens
//! between two calls, each subscriber gets it once, and in order.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{
    self, Connect, ConnectProperties, Decoded, Delivery, Limits, Packet, PacketId, PubRel, Publish, Subscribe,
    Subscription, Unsubscribe, Will,
};
use mqtt_sansio::{Instant, Message, PublishError, QoS, TopicFilter, TopicName, Version};

const NOW: Instant = Instant::from_micros(1);

/// A broker, and how much a call of it has done at most.
struct Stage {
    broker: Broker<AllowAll>,
    longest: u64,
    /// How many calls there were.
    calls: u64,
}

impl Stage {
    fn new(work_per_call: u32) -> Self {
        Self::with(BrokerConfig {
            work_per_call: NonZeroU32::new(work_per_call).unwrap(),
            ..BrokerConfig::new(Secret::new([7; 16]))
        })
    }

    fn with(config: BrokerConfig) -> Self {
        Self { broker: Broker::new(config, AllowAll), longest: 0, calls: 0 }
    }

    /// One call, the work of which is counted.
    fn call<T>(&mut self, call: impl FnOnce(&mut Broker<AllowAll>) -> T) -> T {
        self.calls += 1;
        let before = self.broker.work_done();
        let done = call(&mut self.broker);
        self.longest = self.longest.max(self.broker.work_done() - before);
        done
    }

    /// Does one budget of what is left; returns whether there was something.
    fn poll(&mut self) -> bool {
        let is_due = self.broker.deadline().is_some_and(|at| at <= NOW);
        if is_due {
            self.call(|broker| broker.poll(NOW));
        }
        is_due
    }

    /// Does all that is left; returns how many calls that took.
    fn finish(&mut self) -> u32 {
        let mut calls = 0;
        while self.poll() {
            calls += 1;
            assert!(calls < 1_000_000, "it comes to an end");
        }
        calls
    }

    /// A client sends a packet; returns whether it was taken at once.
    fn give<'p>(&mut self, id: ConnectionId, packet: impl Into<Packet<'p>>) -> bool {
        let mut bytes = Vec::new();
        packet.into().encode(Version::V5, &mut bytes).unwrap();
        let mut input = &bytes[..];
        self.call(|broker| broker.receive(NOW, id, &mut input));
        input.is_empty()
    }

    /// A client sends a packet, which is taken when it is its turn.
    fn begin<'p>(&mut self, id: ConnectionId, packet: impl Into<Packet<'p>>) {
        let packet = packet.into();
        while !self.give(id, packet) {
            assert!(self.poll(), "it is the turn of others");
        }
    }

    /// A client sends a packet, and all work that is left is done.
    fn send<'p>(&mut self, id: ConnectionId, packet: impl Into<Packet<'p>>) {
        let packet = packet.into();
        self.finish();
        while !self.give(id, packet) {
            self.finish();
        }
        self.finish();
    }

    fn connect_with(&mut self, name: &str, origin: u128, will: Option<Will<'_>>) -> ConnectionId {
        let id = self.broker.open(NOW, Origin::new(origin));
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            client_identifier: name.try_into().unwrap(),
            will,
            properties: ConnectProperties { session_expiry_interval: Some(1000), ..ConnectProperties::default() },
            ..Connect::default()
        };
        self.send(id, connect);
        self.take(id);
        id
    }

    fn connect(&mut self, name: &str) -> ConnectionId {
        self.connect_with(name, 0, None)
    }

    fn subscribe_with(&mut self, id: ConnectionId, filter: &str, qos: QoS, no_local: bool) {
        let subscriptions = [Subscription { no_local, ..Subscription::new(filter, qos).unwrap() }];
        let packet =
            Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties: Default::default() };
        self.begin(id, packet);
        self.take(id);
    }

    fn subscribe(&mut self, id: ConnectionId, filter: &str, qos: QoS) {
        self.subscribe_with(id, filter, qos, false);
    }

    fn unsubscribe(&mut self, id: ConnectionId, filter: &str) {
        let filters = [TopicFilter::new(filter).unwrap()];
        let properties = Default::default();
        self.begin(id, Unsubscribe { id: PacketId::MIN, filters: (&filters).into(), properties });
    }

    /// What there is for a client, one word a packet: the payload of a message, or the name of an acknowledgement.
    fn take(&mut self, id: ConnectionId) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let transmit = self.broker.transmit(id);
            let bytes = transmit.copy_to_bytes(transmit.remaining());
            if bytes.is_empty() {
                return words;
            }
            let mut rest = &bytes[..];
            while let Ok(Decoded::Packet { packet, size }) = codec::decode(rest, Version::V5, Limits::from_server()) {
                rest = &rest[size..];
                match packet {
                    Packet::Publish(publish) => words.push(String::from_utf8_lossy(publish.payload).into_owned()),
                    Packet::PubAck(_) => words.push("PUBACK".into()),
                    Packet::PubRec(_) => words.push("PUBREC".into()),
                    Packet::PubComp(_) => words.push("PUBCOMP".into()),
                    _ => {}
                }
            }
        }
    }

    /// Subscribers of a filter, in the order of their sessions.
    fn crowd(&mut self, count: usize, filter: &str) -> Vec<ConnectionId> {
        (0..count)
            .map(|number| {
                let id = self.connect(&format!("crowd-{number}"));
                self.subscribe(id, filter, QoS::AtMostOnce);
                id
            })
            .collect()
    }
}

fn message<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> Publish<'a> {
    let delivery = Delivery::new(qos, PacketId::MIN, false);
    Publish { delivery, topic: TopicName::new(topic).unwrap(), payload: payload.as_bytes(), ..Publish::default() }
}

/// What an item may be more than the budget: the packet itself, or the copy for one session with all its identifiers.
const ITEM: u64 = 300;

/// Every filter that matches a topic of so many levels, with the level itself or `+` for each.
fn combinations(topic: &str) -> Vec<String> {
    let levels: Vec<_> = topic.split('/').collect();
    let filter = |choices: usize| {
        let level = |(at, level): (usize, &&str)| if choices >> at & 1 == 0 { (*level).to_owned() } else { "+".into() };
        levels.iter().enumerate().map(level).collect::<Vec<_>>().join("/")
    };
    (0..1 << levels.len()).map(filter).collect()
}

/// The work of one small packet grows with the number of filters that overlap, and is done in budgets.
#[test]
fn a_topic_that_all_combinations_of_wildcards_match() {
    let topic = "a/b/c/d/e/f/g/h/i/j/k";
    let mut stage = Stage::new(100);
    let ids: Vec<_> = (0..4).map(|number| stage.connect(&format!("subscriber-{number}"))).collect();
    for (number, filter) in combinations(topic).iter().enumerate() {
        stage.subscribe(ids[number % 4], filter, QoS::AtLeastOnce);
        stage.finish();
    }
    let (publisher, innocent) = (stage.connect("publisher"), stage.connect_with("innocent", 1, None));
    stage.subscribe(innocent, "innocent", QoS::AtMostOnce);
    stage.finish();
    stage.longest = 0;
    assert!(stage.give(publisher, message(topic, "x", QoS::AtLeastOnce)));
    let mut calls = 0;
    while stage.poll() {
        calls += 1;
        // Another client is served in between, each time at once.
        let before = stage.broker.work_done();
        assert!(stage.give(innocent, message("innocent", "y", QoS::AtMostOnce)), "after {calls} calls");
        assert_eq!(stage.take(innocent), ["y"]);
        assert!(stage.broker.work_done() - before < 100);
    }
    assert!(calls > 20, "it takes many calls: {calls}");
    assert!(stage.longest <= 100 + ITEM, "{} units in one call", stage.longest);
    for id in ids {
        assert_eq!(stage.take(id), ["x"], "one copy for all filters of a session");
    }
    assert_eq!(stage.take(publisher), ["PUBACK"]);
}

/// The same with many subscribers, and with many groups of one filter.
#[test]
fn ten_thousand_subscribers_and_groups() {
    let mut stage = Stage::new(200);
    let ids = stage.crowd(2000, "a/+");
    for (number, &id) in ids.iter().enumerate() {
        for group in 0..4 {
            stage.subscribe(id, &format!("$share/{}/a/#", number * 4 + group), QoS::AtMostOnce);
        }
    }
    let publisher = stage.connect("publisher");
    stage.finish();
    stage.longest = 0;
    stage.give(publisher, message("a/b", "x", QoS::AtMostOnce));
    assert!(stage.finish() > 40, "it takes many calls");
    assert!(stage.longest <= 200 + ITEM, "{} units in one call", stage.longest);
    for id in ids {
        assert_eq!(stage.take(id).len(), 5, "one copy, and one for each group");
    }
}

/// A call gives a message to as many groups as its budget allows, and not to one alone.
#[test]
fn many_groups_in_few_calls() {
    let mut stage = Stage::new(1000);
    let ids: Vec<_> = (0..1000)
        .map(|number| {
            let id = stage.connect(&format!("member-{number}"));
            stage.subscribe(id, &format!("$share/{number}/a"), QoS::AtMostOnce);
            id
        })
        .collect();
    let publisher = stage.connect("publisher");
    stage.finish();
    let before = stage.broker.work_done();
    stage.give(publisher, message("a", "x", QoS::AtMostOnce));
    let calls = stage.finish();
    let units = stage.broker.work_done() - before;
    assert!((2..=2 * units.div_ceil(1000) as u32).contains(&calls), "{calls} calls for {units} units");
    assert!(ids.into_iter().all(|id| stage.take(id) == ["x"]));
}

/// One UNSUBSCRIBE with many filters is done in budgets too.
#[test]
fn an_unsubscribe_of_many_filters() {
    let mut stage = Stage::new(50);
    let client = stage.connect("client");
    let filters: Vec<_> = (0..2000).map(|number| format!("a/{number}")).collect();
    for filter in &filters {
        stage.subscribe(client, filter, QoS::AtMostOnce);
        stage.finish();
    }
    let filters: Vec<_> = filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect();
    stage.take(client);
    stage.longest = 0;
    stage.begin(client, Unsubscribe::new(PacketId::MIN, &filters));
    assert!(!stage.broker.takes_input(client), "the filters are worked on");
    assert!(stage.finish() > 40, "it takes many calls");
    assert!(stage.longest <= 50 + ITEM, "{} units in one call", stage.longest);
    assert_eq!(stage.broker.status().subscriptions, 0);
    assert!(stage.broker.takes_input(client));
}

/// Others subscribe and unsubscribe between any two calls: nobody misses anything, or gets it twice.
#[test]
fn third_parties_miss_nothing_while_others_come_and_go() {
    for work_per_call in [1, 3, 20] {
        let mut stage = Stage::new(work_per_call);
        let crowd = stage.crowd(100, "a/+");
        let both: Vec<_> = crowd.iter().copied().step_by(3).collect();
        both.iter().for_each(|&id| stage.subscribe(id, "#", QoS::AtMostOnce));
        let (publisher, restless) = (stage.connect("publisher"), stage.connect_with("restless", 1, None));
        stage.finish();
        for round in 0..5 {
            let payload = format!("{round}");
            stage.begin(publisher, message("a/b", &payload, QoS::AtMostOnce));
            let (mut step, calls) = (0, stage.calls);
            // The restless client itself always leaves something to do: the message has gone to all once its publisher goes on.
            while !stage.broker.takes_input(publisher) {
                assert!(step < 10_000 && stage.poll(), "the message gets to all");
                // Lists grow, shrink, begin and end: also those that are gone through.
                let filter = ["a/+", "a/b", "+/+", "#", "a/#", "a/b/c"][step % 6];
                if step % 12 < 6 {
                    stage.subscribe(restless, filter, QoS::AtMostOnce);
                } else {
                    stage.unsubscribe(restless, filter);
                }
                step += 1;
                stage.broker.assert_consistent();
            }
            stage.finish();
            assert!(stage.calls > calls + 5, "it takes several calls");
            for &id in &crowd {
                assert_eq!(stage.take(id), [payload.as_str()], "round {round}, in steps of {work_per_call}");
            }
            let copies = stage.take(restless).iter().filter(|word| **word == payload).count();
            assert!(copies <= 1, "each session is met once");
        }
    }
}

#[test]
fn a_subscriber_that_unsubscribes_before_its_turn_gets_nothing() {
    let mut stage = Stage::new(1);
    let crowd = stage.crowd(20, "a");
    let last = crowd[19];
    let publisher = stage.connect_with("publisher", 1, None);
    stage.finish();
    stage.begin(publisher, message("a", "x", QoS::AtMostOnce));
    assert!(stage.poll());
    stage.unsubscribe(last, "a");
    assert_eq!(stage.take(last), [""; 0]);
    stage.finish();
    assert_eq!(stage.take(last), [""; 0], "it is no subscriber any more");
    assert!(crowd[..19].iter().all(|&id| stage.take(id) == ["x"]));
}

/// The input of a client waits until its message has gone to all [3.1.1: MQTT-4.6.0-6; 5.0: MQTT-4.6.0-5],
/// and `next_ready` tells when it is taken again.
#[test]
fn messages_of_one_client_come_in_order() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut stage = Stage::new(2);
        let crowd = stage.crowd(30, "a");
        let publisher = stage.connect_with("publisher", 1, None);
        stage.finish();
        while stage.broker.next_ready().is_some() {}
        stage.begin(publisher, message("a", "1", qos));
        assert!(!stage.broker.takes_input(publisher), "its message is on its way");
        assert!(!stage.give(publisher, message("a", "2", qos)), "it is not taken");
        let mut is_told = false;
        while !is_told && stage.poll() {
            while let Some(id) = stage.broker.next_ready() {
                is_told |= id == publisher && stage.broker.takes_input(publisher);
            }
        }
        assert!(is_told, "next_ready tells that its input is taken again");
        let last = message("a", "2", qos);
        let delivery = Delivery::new(qos, PacketId::try_from(2).unwrap(), false);
        stage.send(publisher, Publish { delivery, ..last });
        for &id in &crowd {
            assert_eq!(stage.take(id), ["1", "2"]);
        }
    }
}

/// A message that was accepted goes to all, and its identifier counts as received, whatever becomes of the connection.
#[test]
fn a_message_outlives_its_connection() {
    let mut stage = Stage::new(40);
    let crowd = stage.crowd(200, "a");
    let publisher = stage.connect_with("publisher", 1, None);
    stage.finish();
    stage.begin(publisher, message("a", "x", QoS::ExactlyOnce));
    stage.poll();
    stage.call(|broker| broker.closed(NOW, publisher));
    // The client comes back, and repeats the message: its input waits for the first one.
    let again = stage.broker.open(NOW, Origin::new(2));
    let connect = Connect {
        version: Version::V5,
        clean_start: false,
        client_identifier: "publisher".try_into().unwrap(),
        properties: ConnectProperties { session_expiry_interval: Some(1000), ..ConnectProperties::default() },
        ..Connect::default()
    };
    let mut polls = 0;
    while !stage.give(again, connect) {
        stage.poll();
        polls += 1;
        assert!(polls < 20, "CONNECT does not wait for the message");
    }
    assert!(!stage.broker.takes_input(again), "the message is on its way");
    stage.take(again);
    let repeated = Publish {
        delivery: Delivery::new(QoS::ExactlyOnce, PacketId::MIN, true),
        ..message("a", "x", QoS::ExactlyOnce)
    };
    assert!(!stage.give(again, repeated));
    stage.send(again, repeated);
    assert_eq!(stage.take(again), ["PUBREC"]);
    stage.send(again, PubRel::new(PacketId::MIN));
    assert_eq!(stage.take(again), ["PUBCOMP"]);
    for &id in &crowd {
        assert_eq!(stage.take(id), ["x"], "once");
    }
}

/// Even the end of the session does not stop a message. Its index is used again at once, by a session that the message is for,
/// though it is one with No Local: another client has published it.
#[test]
fn a_message_outlives_its_session() {
    let mut stage = Stage::new(1);
    let crowd = stage.crowd(30, "a");
    let publisher = stage.connect_with("publisher", 1, None);
    stage.finish();
    stage.begin(publisher, message("a", "x", QoS::AtLeastOnce));
    stage.poll();
    assert!(stage.call(|broker| broker.end_session(NOW, "publisher")));
    let id = stage.broker.open(NOW, Origin::new(2));
    let connect =
        Connect { version: Version::V5, client_identifier: "other".try_into().unwrap(), ..Connect::default() };
    stage.begin(id, connect);
    let subscriptions = [Subscription { no_local: true, ..Subscription::new("a", QoS::AtMostOnce).unwrap() }];
    let packet =
        Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties: Default::default() };
    stage.begin(id, packet);
    assert!(crowd.last().is_some_and(|&last| stage.take(last).is_empty()), "the message is still on its way");
    stage.finish();
    assert!(crowd.iter().all(|&id| stage.take(id) == ["x"]));
    assert_eq!(stage.take(id), ["x"], "No Local is about another session");
}

/// Though the will would go out in one call, and the message before it does not.
#[test]
fn a_will_comes_after_the_last_message() {
    let mut stage = Stage::new(40);
    let crowd = stage.crowd(100, "a");
    let last = crowd[99];
    stage.subscribe(last, "b", QoS::AtMostOnce);
    let will = Will { topic: TopicName::new("b").unwrap(), payload: b"will", ..Will::default() };
    let publisher = stage.connect_with("publisher", 1, Some(will));
    stage.finish();
    stage.begin(publisher, message("a", "last", QoS::AtMostOnce));
    stage.call(|broker| broker.closed(NOW, publisher));
    assert_eq!(stage.take(last), [""; 0], "the message is still on its way");
    stage.finish();
    assert_eq!(stage.take(last), ["last", "will"]);
    assert!(crowd[..99].iter().all(|&id| stage.take(id) == ["last"]));
}

/// A filter that ends while a message is on its way to its subscribers leaves its place in the tree, which no other filter takes
/// meanwhile.
#[test]
fn a_message_does_not_come_by_a_filter_that_took_the_place_of_another() {
    let mut stage = Stage::new(1);
    stage.crowd(60, "a");
    let last = stage.connect_with("last", 1, None);
    stage.subscribe(last, "+", QoS::AtMostOnce);
    let publisher = stage.connect_with("publisher", 2, None);
    stage.finish();
    stage.begin(publisher, message("a", "x", QoS::AtMostOnce));
    (0..20).for_each(|_| assert!(stage.poll()));
    stage.unsubscribe(last, "+");
    stage.subscribe(last, "other", QoS::AtMostOnce);
    assert!(stage.poll(), "the message is still on its way");
    stage.finish();
    assert_eq!(stage.take(last), [""; 0]);
}

/// Retained messages of one topic go out one after the other, so that the one that is retained is the last that came.
#[test]
fn retained_messages_of_a_topic_come_in_one_order_for_all() {
    let mut stage = Stage::new(1);
    let crowd = stage.crowd(40, "a");
    let publishers: Vec<_> =
        (1..4).map(|number| stage.connect_with(&format!("publisher-{number}"), number, None)).collect();
    stage.finish();
    for (number, &id) in publishers.iter().enumerate() {
        let payload = number.to_string();
        stage.begin(id, Publish { retain: true, ..message("a", &payload, QoS::AtMostOnce) });
        stage.poll();
    }
    // One that is not retained does not wait.
    stage.call(|broker| broker.publish(NOW, &Message::new("b", "own"))).unwrap();
    stage.finish();
    for &id in &crowd {
        assert_eq!(stage.take(id), ["0", "1", "2"]);
    }
    let late = stage.connect("late");
    stage.subscribe(late, "b", QoS::AtMostOnce);
    let subscriptions = [Subscription::new("a", QoS::AtMostOnce).unwrap()];
    let packet =
        Subscribe { id: PacketId::MIN, subscriptions: (&subscriptions).into(), properties: Default::default() };
    stage.send(late, packet);
    assert_eq!(stage.take(late), ["2"], "the last one is retained");
}

/// The embedding program is reported whether a message is accepted. It can be ahead of the broker by a limited number.
#[test]
fn messages_of_the_embedding_program_wait_in_order() {
    let mut stage = Stage::new(1);
    let crowd = stage.crowd(10, "a");
    stage.subscribe(crowd[9], "b", QoS::AtMostOnce);
    stage.finish();
    let mut accepted = 0_usize;
    let refused = loop {
        let payload = accepted.to_string();
        match stage.call(|broker| broker.publish(NOW, &Message::new("a", &payload))) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, PublishError::QueueFull) && accepted == 1000, "{refused:?} after {accepted}");
    stage.finish();
    let expected: Vec<_> = (0..accepted).map(|number| number.to_string()).collect();
    for &id in &crowd {
        assert_eq!(stage.take(id), expected);
    }
    assert!(stage.call(|broker| broker.publish(NOW, &Message::new("a", "more"))).is_ok());
}

/// Input that a connection has, and how much of it was taken.
struct Busy {
    id: ConnectionId,
    taken: usize,
}

/// Serves whoever is ready, as a driver does, and counts the bytes that were taken of each.
fn serve(stage: &mut Stage, busy: &mut BTreeMap<usize, Busy>, input: &[u8]) {
    while let Some(id) = stage.broker.next_ready() {
        if let Some(busy) = busy.get_mut(&id.index()) {
            let mut rest = input;
            stage.call(|broker| broker.receive(NOW, id, &mut rest));
            busy.taken += input.len() - rest.len();
        }
    }
}

/// Two parties that are busy have equal shares, though one has a hundred connections; and a third one that says little does not
/// wait for them.
#[test]
fn work_is_shared_between_principals() {
    let mut stage = Stage::new(50);
    let mut input = Vec::new();
    for _ in 0..1000 {
        message("nobody", "x", QoS::AtMostOnce).encode(Version::V5, &mut input).unwrap();
    }
    let mut ids = vec![stage.connect_with("alone", 1, None)];
    ids.extend((0..100).map(|number| stage.connect_with(&format!("many-{number}"), 2, None)));
    let quiet = stage.connect_with("quiet", 3, None);
    stage.finish();
    while stage.broker.next_ready().is_some() {}
    stage.longest = 0;
    let mut busy: BTreeMap<_, _> = ids.iter().map(|&id| (id.index(), Busy { id, taken: 0 })).collect();
    for busy in busy.values_mut() {
        let mut rest = &input[..];
        stage.call(|broker| broker.receive(NOW, busy.id, &mut rest));
        busy.taken += input.len() - rest.len();
    }
    for round in 0..400 {
        assert!(stage.poll(), "input waits");
        serve(&mut stage, &mut busy, &input);
        if round % 7 == 0 {
            assert!(stage.give(quiet, message("nobody", "y", QoS::AtMostOnce)), "one that says little is not held up");
        }
    }
    let alone = busy[&ids[0].index()].taken as f64;
    let many: usize = ids[1..].iter().map(|id| busy[&id.index()].taken).sum();
    let (many, most) = (many as f64, ids[1..].iter().map(|id| busy[&id.index()].taken).max().unwrap());
    assert!(alone / many > 0.7 && many / alone > 0.7, "{alone} bytes of one connection, {many} of a hundred");
    assert!((most as f64) < many / 20.0, "and the hundred share theirs");
    assert!(stage.longest <= 50 + ITEM, "{} units in one call", stage.longest);
}

/// What a client that said nothing lately begins is gone on with before those that wait for their next round.
#[test]
fn a_quiet_client_joins_in_front() {
    let mut stage = Stage::new(50);
    let crowd = stage.crowd(16, "a");
    let mut input = Vec::new();
    for _ in 0..1000 {
        message("nobody", "x", QoS::AtMostOnce).encode(Version::V5, &mut input).unwrap();
    }
    let ids: Vec<_> = (0..30).map(|number| stage.connect_with(&format!("busy-{number}"), 10 + number, None)).collect();
    let quiet = stage.connect_with("quiet", 1, None);
    stage.finish();
    while stage.broker.next_ready().is_some() {}
    // Time passes, so that nobody has to wait for what was done before.
    let later = Instant::from_micros(1_000_000);
    let mut busy: BTreeMap<_, _> = ids.iter().map(|&id| (id.index(), Busy { id, taken: 0 })).collect();
    for busy in busy.values() {
        stage.call(|broker| broker.receive(later, busy.id, &mut &input[..]));
    }
    for _ in 0..100 {
        stage.broker.poll(later);
        serve(&mut stage, &mut busy, &input);
    }
    // Its copies may be more than the budget, so they are a job.
    assert!(stage.give(quiet, message("a", "x", QoS::AtMostOnce)));
    assert!(stage.take(crowd[15]).is_empty());
    let mut calls = 0;
    while stage.take(crowd[15]).is_empty() {
        stage.call(|broker| broker.poll(later));
        serve(&mut stage, &mut busy, &input);
        calls += 1;
    }
    assert!(calls <= 2, "it did not wait for thirty others: {calls}");
}

/// Subscriptions that come and go while a message is on its way take no more memory than those that are there: places in the
/// tree are used again, but for those that the message is still to go to.
#[test]
fn subscriptions_that_come_and_go_beside_an_open_message_take_no_memory() {
    let mut stage = Stage::new(1);
    stage.crowd(400, "a");
    let (publisher, restless) = (stage.connect("publisher"), stage.connect("restless"));
    stage.finish();
    stage.begin(publisher, message("a", "x", QoS::AtMostOnce));
    let (mut rounds, mut most) = (0_u32, 0);
    let before = stage.broker.status().memory.subscriptions;
    while !stage.broker.takes_input(publisher) {
        assert!(rounds < 100_000, "the message gets to all");
        let filter = format!("b/{rounds}");
        stage.subscribe(restless, &filter, QoS::AtMostOnce);
        stage.unsubscribe(restless, &filter);
        (rounds, most) = (rounds + 1, most.max(stage.broker.status().memory.subscriptions));
    }
    stage.finish();
    stage.broker.assert_consistent();
    assert!(rounds > 50, "{rounds} filters come and go meanwhile");
    assert!(most <= before + 2_000, "{before} bytes before, {most} at most in {rounds} rounds");
}

/// Filters that end while a message is on its way to their subscribers are given back when it has arrived.
#[test]
fn filters_that_end_beside_an_open_message_are_given_back() {
    let mut stage = Stage::new(1);
    let memory = |stage: &Stage| stage.broker.status().memory.subscriptions;
    let ids: Vec<_> = (0..20).map(|number| stage.connect(&format!("client-{number}"))).collect();
    let publisher = stage.connect("publisher");
    stage.finish();
    let mut after = Vec::new();
    for round in 0..40 {
        let topic = format!("{round}/long enough to have a place of its own in memory/{round}");
        let filters = [topic.clone(), format!("{round}/+/{round}"), format!("{round}/#"), format!("$share/g/{topic}")];
        for (&id, filter) in ids.iter().zip(filters.iter().cycle()) {
            stage.subscribe(id, filter, QoS::AtMostOnce);
        }
        stage.finish();
        stage.begin(publisher, message(&topic, "x", QoS::AtMostOnce));
        assert!(!stage.broker.takes_input(publisher), "the message is on its way");
        for (&id, filter) in ids.iter().zip(filters.iter().cycle()) {
            stage.unsubscribe(id, filter);
        }
        stage.finish();
        stage.broker.assert_consistent();
        assert_eq!(stage.broker.status().subscriptions, 0);
        after.push(memory(&stage));
    }
    assert!(after[39] <= after[4], "{after:?} bytes after each round");
}

/// A filter that ends while a message is on its way to its subscribers, and comes again, is the same filter.
#[test]
fn a_filter_that_ends_and_comes_again_is_met_once() {
    let mut stage = Stage::new(1);
    let crowd = stage.crowd(30, "a/+");
    let (publisher, one, other) = (stage.connect("publisher"), stage.connect("one"), stage.connect("other"));
    stage.subscribe(one, "a/b", QoS::AtMostOnce);
    stage.finish();
    stage.begin(publisher, message("a/b", "x", QoS::AtMostOnce));
    stage.unsubscribe(one, "a/b");
    stage.subscribe(other, "c/d", QoS::AtMostOnce);
    stage.subscribe(one, "a/b", QoS::AtMostOnce);
    assert!(!stage.broker.takes_input(publisher), "the message is on its way");
    stage.finish();
    stage.broker.assert_consistent();
    assert!(crowd.iter().all(|&id| stage.take(id) == ["x"]));
    assert!(stage.take(one).len() <= 1 && stage.take(other).is_empty());
}

/// What many sessions have taken is given back when they have ended.
#[test]
fn the_memory_of_sessions_that_have_ended_is_given_back() {
    let mut stage = Stage::new(2000);
    let total = |stage: &Stage| {
        let memory = stage.broker.status().memory;
        memory.connections + memory.sessions + memory.subscriptions
    };
    let before = total(&stage);
    let ids: Vec<_> = (0..3000)
        .map(|number| {
            let id = stage.connect(&format!("client-{number}"));
            stage.subscribe(id, &format!("site/{number}/+"), QoS::AtMostOnce);
            id
        })
        .collect();
    stage.finish();
    let most = total(&stage);
    for (number, id) in ids.into_iter().enumerate() {
        stage.call(|broker| broker.closed(NOW, id));
        stage.call(|broker| broker.end_session(NOW, &format!("client-{number}")));
    }
    stage.finish();
    stage.broker.assert_consistent();
    let after = total(&stage);
    assert!(
        after - before < (most - before) / 4,
        "{before} bytes before, {most} at most, {after} after all have ended"
    );
}

/// A packet that is longer than what a session is given at once is taken, however little a call may do.
#[test]
fn a_long_packet_is_taken_by_calls_that_do_little() {
    for work in [1, 2, 3, 50] {
        let mut stage = Stage::new(work);
        let id = stage.broker.open(NOW, Origin::UNKNOWN);
        let connect = Connect { client_identifier: mqtt_sansio::Utf8Str::new("c").unwrap(), ..Connect::default() };
        stage.give(id, connect);
        stage.finish();
        let payload = [7; 70_000];
        let topic = TopicName::new("a").unwrap();
        let (mut bytes, publish) = (Vec::new(), Publish { topic, payload: &payload, ..Publish::default() });
        Packet::from(publish).encode(Version::V5, &mut bytes).unwrap();
        let mut input = &bytes[..];
        for _ in 0..100 {
            if stage.broker.takes_input(id) && !input.is_empty() {
                stage.call(|broker| broker.receive(NOW, id, &mut input));
            }
            stage.poll();
        }
        assert!(input.is_empty(), "{} bytes are left with {work} units a call", input.len());
        assert_eq!(stage.broker.counters().messages_received, 1);
    }
}
