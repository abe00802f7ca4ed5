//! The units of a call are as many as its work: what is validated, hashed, compared, encoded or copied is counted by its bytes,
//! and each node that is made or removed as one unit. So no call takes much longer than its budget says.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Buf;
use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Origin, Secret};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Delivery, DisconnectReasonCode, Packet, PacketId, Publish, PublishProperties,
    RetainHandling, Subscribe, Subscription, Unsubscribe, UserProperty, Will, WillProperties,
};
use mqtt_sansio::{Instant, QoS, TopicFilter, TopicName, Version};

/// The bytes that make up a unit.
const UNIT: usize = 256;

/// The length of what is long in these tests, in bytes.
const LONG: usize = 60_000;

/// The units of something that is long.
const OF_LONG: u64 = (LONG / UNIT) as u64;

/// The largest number of topic levels.
const LEVELS: usize = 128;

/// The budget of a call.
const BUDGET: u64 = 2000;

/// A broker, and how much a call of it has done at most.
struct Stage {
    broker: Broker<AllowAll>,
    now: Instant,
    longest: u64,
}

impl Stage {
    fn new() -> Self {
        Self::with(BrokerConfig::new(Secret::new([7; 16])))
    }

    fn with(config: BrokerConfig) -> Self {
        let mut config = config;
        config.server.topic_alias_maximum = 1;
        Self { broker: Broker::new(config, AllowAll), now: Instant::from_micros(1), longest: 0 }
    }

    /// One call, the work of which is counted.
    fn call<T>(&mut self, call: impl FnOnce(&mut Broker<AllowAll>, Instant) -> T) -> T {
        let before = self.broker.work_done();
        let done = call(&mut self.broker, self.now);
        self.longest = self.longest.max(self.broker.work_done() - before);
        done
    }

    /// Does all that is left.
    fn finish(&mut self) {
        while self.broker.deadline().is_some_and(|at| at <= self.now) {
            self.call(|broker, now| broker.poll(now));
        }
    }

    /// A client sends packets, and all work that follows is done.
    fn send_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut input = bytes;
        while !input.is_empty() {
            self.call(|broker, now| broker.receive(now, id, &mut input));
            self.finish();
        }
    }

    fn send<'p>(&mut self, id: ConnectionId, packet: impl Into<Packet<'p>>) {
        self.send_bytes(id, &encoded(packet));
    }

    fn connect_with(&mut self, client_id: &str, origin: u128, will: Option<Will<'_>>) -> ConnectionId {
        let id = self.broker.open(self.now, Origin::new(origin));
        let properties = ConnectProperties {
            session_expiry_interval: Some(100),
            receive_maximum: NonZeroU16::new(1),
            ..ConnectProperties::default()
        };
        let client_identifier = client_id.try_into().unwrap();
        let connect = Connect {
            version: Version::V5,
            clean_start: false,
            client_identifier,
            will,
            properties,
            ..Connect::default()
        };
        self.send(id, connect);
        self.read(id);
        id
    }

    fn connect(&mut self, client_id: &str) -> ConnectionId {
        self.connect_with(client_id, 0, None)
    }

    fn close(&mut self, id: ConnectionId) {
        self.call(|broker, now| broker.closed(now, id));
        self.finish();
    }

    /// A client reads all there is; returns the number of bytes.
    fn read(&mut self, id: ConnectionId) -> usize {
        let mut count = 0;
        loop {
            let left = self.call(|broker, _| broker.transmit(id).remaining());
            if left == 0 {
                return count;
            }
            self.broker.transmit(id).advance(left);
            count += left;
            self.finish();
        }
    }

    fn subscribe(&mut self, id: ConnectionId, filters: &[String], qos: QoS, no_local: bool) {
        for filter in filters {
            let subscription = Subscription { no_local, ..Subscription::new(filter, qos).unwrap() };
            self.send(id, Subscribe::new(PacketId::MIN, &[subscription]));
            self.read(id);
        }
    }

    fn unsubscribe(&mut self, id: ConnectionId, filters: &[String]) {
        for filter in filters {
            self.send(id, Unsubscribe::new(PacketId::MIN, &[TopicFilter::new(filter).unwrap()]));
            self.read(id);
        }
    }

    fn end_session(&mut self, client_id: &str) {
        assert!(self.call(|broker, now| broker.end_session(now, client_id)));
        self.finish();
    }

    /// The units that something takes.
    fn units(&mut self, work: impl FnOnce(&mut Self)) -> u64 {
        let before = self.broker.work_done();
        work(self);
        self.broker.assert_consistent();
        self.broker.work_done() - before
    }
}

fn encoded<'p>(packet: impl Into<Packet<'p>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.into().encode(Version::V5, &mut bytes).unwrap();
    bytes
}

fn message<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> Publish<'a> {
    let delivery = Delivery::new(qos, PacketId::MIN, false);
    Publish { delivery, topic: TopicName::new(topic).unwrap(), payload: payload.as_bytes(), ..Publish::default() }
}

fn retained<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { retain: true, ..message(topic, payload, QoS::AtMostOnce) }
}

/// A text that is long, with a number in front.
fn long(number: usize) -> String {
    format!("{number}-{}", "x".repeat(LONG))
}

/// A name that is followed by so many levels of one letter.
fn deep(name: usize, levels: usize) -> String {
    format!("{name}{}", "/a".repeat(levels))
}

/// So many levels that are long together.
fn long_levels(count: usize) -> String {
    vec!["x".repeat(LONG / count); count].join("/")
}

#[track_caller]
fn assert_at_least(units: u64, wanted: u64) {
    assert!(units >= wanted, "{units} units for the work of {wanted}");
}

/// A topic alias is short, and stands for a topic that may be long.
#[test]
fn a_topic_that_is_sent_as_an_alias() {
    for topic in [long(0), long_levels(LEVELS - 1)] {
        let mut stage = Stage::new();
        let publisher = stage.connect("publisher");
        let alias = |topic| Publish {
            properties: PublishProperties { topic_alias: NonZeroU16::new(1), ..PublishProperties::default() },
            ..message(topic, "x", QoS::AtMostOnce)
        };
        stage.send(publisher, alias(&topic));
        let packet = encoded(Publish { topic: TopicName::default(), ..alias("x") });
        let packets = packet.repeat(50);
        let units = stage.units(|stage| stage.send_bytes(publisher, &packets));
        assert_at_least(units, 50 * (topic.len() / UNIT) as u64);
        let packets = encoded(Publish { retain: true, topic: TopicName::default(), ..alias("x") }).repeat(50);
        let units = stage.units(|stage| stage.send_bytes(publisher, &packets));
        // The topic is looked up to be retained, and is a part of the message that is stored.
        assert_at_least(units, 3 * 50 * (topic.len() / UNIT) as u64);
        assert!(stage.longest < BUDGET + 5 * OF_LONG, "a call stops: {}", stage.longest);
    }
}

/// The share name is hashed when a group begins, and when it ends.
#[test]
fn share_names_of_subscriptions_that_end() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let filters: Vec<_> = (0..50).map(|number| format!("$share/{}/x", long(number))).collect();
    stage.subscribe(id, &filters, QoS::AtMostOnce, false);
    let units = stage.units(|stage| stage.end_session("client"));
    assert_at_least(units, 50 * OF_LONG);
    assert!(stage.longest < BUDGET + 3 * OF_LONG, "a call stops: {}", stage.longest);
}

/// A will is checked when it is due, and copied where it waits or is retained.
#[test]
fn wills_with_long_properties() {
    let value = "p".repeat(LONG);
    let properties = [UserProperty::new("", &value).unwrap()];
    for retain in [false, true] {
        let mut stage = Stage::new();
        for number in 0..50 {
            let properties = WillProperties {
                will_delay_interval: Some(5),
                user_properties: (&properties).into(),
                ..WillProperties::default()
            };
            let topic = TopicName::new("w").unwrap();
            let will = Will { topic, payload: b"x", qos: QoS::AtMostOnce, retain, properties };
            let id = stage.connect_with(&format!("{number}"), 0, Some(will));
            stage.close(id);
        }
        stage.longest = 0;
        let units = stage.units(|stage| {
            stage.now = stage.now + Duration::from_secs(6);
            stage.finish();
        });
        assert_eq!(stage.broker.counters().wills, 50);
        assert_at_least(units, if retain { 2 } else { 1 } * 50 * OF_LONG);
        assert!(stage.longest < BUDGET + 5 * OF_LONG, "a call stops: {}", stage.longest);
    }
}

/// Retained wills to one topic wait for the first, which is on its way to many: each is copied, and copied again in its turn.
#[test]
fn wills_with_long_properties_that_wait_for_each_other() {
    let mut stage = Stage::new();
    for number in 0..200 {
        let id = stage.connect(&format!("subscriber-{number}"));
        stage.subscribe(id, &["w".into()], QoS::AtMostOnce, false);
    }
    let value = "p".repeat(LONG);
    let properties = [UserProperty::new("", &value).unwrap()];
    for number in 0..20 {
        let properties = WillProperties {
            will_delay_interval: Some(5),
            user_properties: (&properties).into(),
            ..WillProperties::default()
        };
        let topic = TopicName::new("w").unwrap();
        let will = Will { topic, payload: b"x", qos: QoS::AtMostOnce, retain: true, properties };
        let id = stage.connect_with(&format!("{number}"), 0, Some(will));
        stage.close(id);
    }
    stage.longest = 0;
    stage.now = stage.now + Duration::from_secs(6);
    // The first call begins with all of them, as far as the budget goes.
    let units = stage.units(|stage| stage.call(|broker, now| broker.poll(now)));
    let wills = stage.broker.counters().wills;
    assert!(wills >= 2, "several are due");
    assert_at_least(units, 2 * (wills - 1) * OF_LONG);
    stage.finish();
    assert_eq!(stage.broker.counters().wills, 20);
    assert!(stage.longest < BUDGET + 5 * OF_LONG, "a call stops: {}", stage.longest);
}

/// Filters that differ from a topic in their last byte alone are compared to their ends.
#[test]
fn filters_that_nearly_match() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let begin = |number: usize| (0..5).map(|at| if number >> at & 1 == 0 { "a/" } else { "+/" }).collect::<String>();
    let end = "x".repeat(LONG);
    let filters: Vec<_> = (0..32).map(|number| format!("{}{end}y", begin(number))).collect();
    stage.subscribe(id, &filters, QoS::AtMostOnce, false);
    let topic = format!("{}{end}z", begin(0));
    let units = stage.units(|stage| stage.send(id, message(&topic, "", QoS::AtMostOnce)));
    assert_at_least(units, 32 * OF_LONG);
    assert!(stage.longest < BUDGET + 3 * OF_LONG, "a call stops: {}", stage.longest);
    // Nor does it matter whether the long level has a node of its own.
    let filters: Vec<_> =
        (0..32).flat_map(|number| ["1", "2"].map(|it| format!("{}{end}z/{it}", begin(number)))).collect();
    stage.subscribe(id, &filters, QoS::AtMostOnce, false);
    let units = stage.units(|stage| stage.send(id, message(&format!("{topic}/3"), "", QoS::AtMostOnce)));
    assert_at_least(units, 32 * OF_LONG);
    // Whoever publishes to a short topic does not bear it.
    let units = stage.units(|stage| stage.send(id, message("a/a/a/a/a/x", "", QoS::AtMostOnce)));
    assert!(units < 100, "{units} units for a short topic");
}

/// A filter for the first level of another divides its text: what is behind that is copied.
#[test]
fn a_filter_that_divides_a_long_one() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let filters: Vec<_> = (0..20).map(|number| format!("{number}/{}", long(number))).collect();
    stage.subscribe(id, &filters, QoS::AtMostOnce, false);
    let firsts: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let units = stage.units(|stage| stage.subscribe(id, &firsts, QoS::AtMostOnce, false));
    assert_at_least(units, 20 * OF_LONG);
    assert!(stage.longest < BUDGET + 3 * OF_LONG, "a call stops: {}", stage.longest);
}

/// Who is still to get retained messages gets that of the topic before a newer message, which may be much smaller.
#[test]
fn retained_messages_that_go_before_small_messages() {
    let mut stage = Stage::new();
    let publisher = stage.connect("publisher");
    let value = "p".repeat(LONG);
    let user_properties = [UserProperty::new("", &value).unwrap()];
    for topic in ["r/0", "r/1", "r/2"] {
        let properties =
            PublishProperties { user_properties: (&user_properties).into(), ..PublishProperties::default() };
        let message = Publish { retain: true, properties, ..message(topic, "x", QoS::AtLeastOnce) };
        stage.send(publisher, message);
        stage.read(publisher);
    }
    for number in 0..50 {
        // One message is in flight, and never acknowledged: two have to wait.
        let id = stage.connect(&format!("subscriber-{number}"));
        stage.subscribe(id, &["r/+".into()], QoS::AtLeastOnce, false);
        assert!(stage.read(id) < 2 * LONG);
    }
    stage.longest = 0;
    let units = stage.units(|stage| {
        for topic in ["r/0", "r/1", "r/2"] {
            stage.send(publisher, message(topic, "y", QoS::AtMostOnce));
        }
    });
    assert_at_least(units, 2 * 50 * OF_LONG);
    assert!(stage.longest < BUDGET + 5 * OF_LONG, "a call stops: {}", stage.longest);
}

/// Each level of a topic has a node, which is made with the retained message and removed with it.
#[test]
fn retained_messages_of_deep_topics() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let topics: Vec<_> = (0..100).map(|number| deep(number, LEVELS - 1)).collect();
    let levels = (topics.len() * (LEVELS - 1)) as u64;
    for round in 0..2 {
        stage.longest = 0;
        let expiry = PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() };
        let packets: Vec<u8> =
            topics.iter().flat_map(|topic| encoded(Publish { properties: expiry, ..retained(topic, "x") })).collect();
        let units = stage.units(|stage| stage.send_bytes(id, &packets));
        assert_eq!(stage.broker.status().retained, 100);
        assert_at_least(units, levels);
        let units = stage.units(|stage| {
            if round == 0 {
                let packets: Vec<u8> = topics.iter().flat_map(|topic| encoded(retained(topic, ""))).collect();
                stage.send_bytes(id, &packets);
            } else {
                stage.now = stage.now + Duration::from_secs(11);
                stage.finish();
            }
        });
        assert_eq!(stage.broker.status().retained, 0);
        assert_at_least(units, levels);
        assert!(stage.longest < BUDGET + 6 * LEVELS as u64, "a call stops: {}", stage.longest);
    }
}

/// Nodes of a topic that is gone stay while a walk stands there, and go with the walk.
#[test]
fn nodes_that_walks_stand_at() {
    let mut stage = Stage::new();
    let (id, publisher) = (stage.connect("client"), stage.connect("publisher"));
    let topic = deep(0, LEVELS - 1);
    for topic in ["first", &topic] {
        let delivery = Delivery::new(QoS::AtLeastOnce, PacketId::MIN, false);
        stage.send(publisher, Publish { delivery, ..retained(topic, "x") });
    }
    // The first message is in flight, and there is no room for another: the walk waits at the second one.
    let subscriptions = ["first", &topic].map(|filter| Subscription::new(filter, QoS::AtLeastOnce).unwrap());
    stage.send(id, Subscribe::new(PacketId::MIN, &subscriptions));
    stage.send(publisher, retained(&topic, ""));
    let units = stage.units(|stage| stage.end_session("client"));
    assert_at_least(units, LEVELS as u64 - 1);
}

/// Filters with a common beginning: a node with several levels is split into nodes with one level each.
#[test]
fn filters_that_share_many_levels() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let pair = |number| ["1", "2"].map(|it| format!("{}/{it}", deep(number, LEVELS - 2)));
    let filters: Vec<_> = (0..50).flat_map(pair).collect();
    let nodes = (filters.len() / 2 * (LEVELS - 2)) as u64;
    for round in 0..2 {
        let units = stage.units(|stage| stage.subscribe(id, &filters, QoS::AtMostOnce, false));
        assert_at_least(units, nodes);
        let units = stage.units(|stage| match round {
            0 => stage.unsubscribe(id, &filters),
            _ => stage.end_session("client"),
        });
        assert_at_least(units, nodes);
        assert!(stage.longest < BUDGET + 3 * LEVELS as u64, "a call stops: {}", stage.longest);
    }
}

/// To split a node of many long levels is one item, and takes no more than to copy the levels once.
#[test]
fn filters_that_share_many_long_levels() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let levels = long_levels(LEVELS - 2);
    let pair = ["1", "2"].map(|it| format!("{levels}/{it}"));
    stage.subscribe(id, &pair[..1], QoS::AtMostOnce, false);
    let units = stage.units(|stage| stage.subscribe(id, &pair[1..], QoS::AtMostOnce, false));
    // The packet, the filter, and the levels of the nodes that are made.
    assert_at_least(units, 3 * OF_LONG);
    assert!(units < 6 * OF_LONG + 3 * LEVELS as u64, "{units} units for one filter");
    for filter in &pair {
        assert!(stage.units(|stage| stage.unsubscribe(id, std::slice::from_ref(filter))) > OF_LONG);
    }
}

/// A walk over retained messages reads the filter of each subscription.
#[test]
fn walks_of_long_filters() {
    let mut stage = Stage::new();
    let (id, publisher) = (stage.connect("client"), stage.connect("publisher"));
    stage.send(publisher, retained("a", "x"));
    let filters: Vec<_> = (0..20).map(|number| format!("+/{}", long(number))).collect();
    let subscriptions: Vec<_> = filters
        .iter()
        .map(|filter| Subscription {
            retain_handling: RetainHandling::DoNotSend,
            ..Subscription::new(filter, QoS::AtMostOnce).unwrap()
        })
        .collect();
    let mut units = [0, 0, 0];
    let never = RetainHandling::DoNotSend;
    for (units, handling) in units.iter_mut().zip([never, never, RetainHandling::SendAtSubscribe]) {
        *units = stage.units(|stage| {
            for &subscription in &subscriptions {
                let subscription = Subscription { retain_handling: handling, ..subscription };
                stage.send(id, Subscribe::new(PacketId::MIN, &[subscription]));
                stage.read(id);
            }
        });
    }
    // The last time nothing is new but the walk.
    assert_at_least(units[2] - units[1], 20 * OF_LONG);
    assert!(stage.longest < BUDGET + 4 * OF_LONG, "a call stops: {}", stage.longest);
}

/// A message that is passed on to another member of a group is read and written.
#[test]
fn long_messages_that_are_passed_on() {
    let mut stage = Stage::new();
    let value = "p".repeat(LONG);
    let properties = [UserProperty::new("", &value).unwrap()];
    let properties = PublishProperties { user_properties: (&properties).into(), ..PublishProperties::default() };
    let filter = ["$share/g/t".to_owned()];
    let first = stage.connect("first");
    stage.subscribe(first, &filter, QoS::AtLeastOnce, false);
    stage.close(first);
    let publisher = stage.connect("publisher");
    for _ in 0..20 {
        stage.send(publisher, Publish { properties, ..message("t", "", QoS::AtLeastOnce) });
    }
    let second = stage.connect("second");
    stage.subscribe(second, &filter, QoS::AtLeastOnce, false);
    stage.longest = 0;
    let units = stage.units(|stage| stage.end_session("first"));
    assert_at_least(units, 2 * 20 * OF_LONG);
    assert!(stage.longest < BUDGET + 4 * OF_LONG, "a call stops: {}", stage.longest);
}

/// The client identifier is hashed for No Local, and compared where jobs are open.
#[test]
fn a_long_client_identifier() {
    let mut stage = Stage::new();
    let id = stage.connect(&long(0));
    let other = stage.connect_with("other", 1, None);
    let packets: Vec<u8> = (0..50).flat_map(|number| encoded(retained(&format!("t/{number}"), "x"))).collect();
    let units = stage.units(|stage| stage.send_bytes(id, &packets));
    assert_at_least(units, 50 * OF_LONG);
    // None of them is sent.
    let units = stage.units(|stage| stage.subscribe(id, &["#".into()], QoS::AtMostOnce, true));
    assert_at_least(units, 50 * OF_LONG);
    // While any job is open, the jobs of the client are looked for.
    let filters: Vec<_> = (0..2000).map(|number| format!("f{number}")).collect();
    let subscriptions: Vec<_> =
        filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce).unwrap()).collect();
    let bytes = encoded(Subscribe::new(PacketId::MIN, &subscriptions));
    stage.call(|broker, now| broker.receive(now, other, &mut &bytes[..]));
    let packets = encoded(message("nobody", "x", QoS::AtMostOnce)).repeat(5);
    let before = stage.broker.work_done();
    stage.now = stage.now + Duration::from_secs(1);
    let mut input = &packets[..];
    stage.call(|broker, now| broker.receive(now, id, &mut input));
    let count = 5 - (input.len() * 5 / packets.len()) as u64;
    assert!(count > 0, "a message is taken");
    assert_at_least(stage.broker.work_done() - before, count * OF_LONG);
    stage.finish();
    let units = stage.units(|stage| stage.end_session(&long(0)));
    assert_at_least(units, OF_LONG);
}

/// What is looked up in vain is looked up level by level too.
#[test]
fn deep_filters_and_topics_that_are_not_there() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let topic = deep(0, LEVELS - 3);
    stage.subscribe(id, &["1", "2"].map(|it| format!("{topic}/{it}")), QoS::AtMostOnce, false);
    stage.send(id, retained(&format!("{topic}/1"), "x"));
    let filters: Vec<_> = (3..103).map(|number| format!("{topic}/{number}")).collect();
    let units = stage.units(|stage| stage.unsubscribe(id, &filters));
    assert_at_least(units, 100 * LEVELS as u64 / 8);
    let units = stage.units(|stage| filters.iter().for_each(|topic| stage.send(id, retained(topic, ""))));
    assert_at_least(units, 2 * 100 * LEVELS as u64 / 8);
    let units = stage.units(|stage| stage.send(id, retained("a/b/c", "")));
    assert!(units < 10, "{units} units for a short topic");
}

/// Each step of a message on its way reads the message again.
#[test]
fn steps_of_a_message_with_long_properties() {
    let mut config = BrokerConfig::new(Secret::new([7; 16]));
    config.work_per_call = 20.try_into().unwrap();
    let mut stage = Stage::with(config);
    for number in 0..20 {
        let id = stage.connect(&format!("{number}"));
        stage.subscribe(id, &["+".into(), "#".into()], QoS::AtMostOnce, false);
    }
    let value = "p".repeat(LONG);
    let properties = [UserProperty::new("", &value).unwrap()];
    let properties = PublishProperties { user_properties: (&properties).into(), ..PublishProperties::default() };
    let publisher = stage.connect("publisher");
    let bytes = encoded(Publish { properties, ..message("t", "", QoS::AtMostOnce) });
    let mut input = &bytes[..];
    stage.call(|broker, now| broker.receive(now, publisher, &mut input));
    while !input.is_empty() {
        // To connect took more than one budget.
        stage.call(|broker, now| broker.poll(now));
        stage.call(|broker, now| broker.receive(now, publisher, &mut input));
    }
    let mut polls = 0;
    let units = stage.units(|stage| {
        while stage.broker.deadline().is_some_and(|at| at <= stage.now) {
            stage.call(|broker, now| broker.poll(now));
            polls += 1;
        }
    });
    assert!(polls >= 20, "each copy is a step: {polls}");
    assert_at_least(units, (20 + polls - 2) * OF_LONG);
    assert!(stage.longest < 4 * OF_LONG, "a call stops: {}", stage.longest);
}

/// Properties are short, and can be many.
#[test]
fn many_short_properties() {
    let mut stage = Stage::new();
    let (id, publisher) = (stage.connect("client"), stage.connect("publisher"));
    stage.subscribe(id, &["t".into()], QoS::AtMostOnce, false);
    let properties = vec![UserProperty::new("", "").unwrap(); 256];
    let properties = PublishProperties { user_properties: (&properties[..]).into(), ..PublishProperties::default() };
    let packets = encoded(Publish { properties, ..message("t", "", QoS::AtMostOnce) }).repeat(10);
    let units = stage.units(|stage| stage.send_bytes(publisher, &packets));
    // They are validated, and written for the subscriber.
    assert_at_least(units, 2 * 10 * 256 / 8);
}

/// A call is work even if it brings no whole packet.
#[test]
fn input_that_comes_byte_by_byte() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let packet = encoded(message("a/b/c", "x", QoS::AtMostOnce));
    let units = stage.units(|stage| {
        for len in 1..packet.len() {
            stage.call(|broker, now| broker.receive(now, id, &mut &packet[..len]));
        }
    });
    assert_at_least(units, packet.len() as u64 - 1);
    let units = stage.units(|stage| (0..100).for_each(|_| stage.send_bytes(id, &[0xC0, 0])));
    assert_at_least(units, 100);
}

/// Connections and sessions are items too.
#[test]
fn connections_that_come_and_go() {
    let mut stage = Stage::new();
    let units = stage.units(|stage| {
        for _ in 0..100 {
            let id = stage.call(|broker, now| broker.open(now, Origin::UNKNOWN));
            stage.close(id);
        }
    });
    assert_at_least(units, 2 * 100);
    let mut ids = Vec::new();
    let units = stage.units(|stage| ids.extend((0..100).map(|number| stage.connect(&number.to_string()))));
    // A connection, an input, a packet, and a session that is entered.
    assert_at_least(units, 7 * 100);
    let (lost, others) = ids.split_at(50);
    let units = stage.units(|stage| lost.iter().for_each(|&id| stage.close(id)));
    assert_at_least(units, 50);
    let units = stage.units(|stage| {
        let reason_code = DisconnectReasonCode::AdministrativeAction;
        others.iter().for_each(|&id| stage.call(|broker, now| broker.disconnect(now, id, reason_code)));
    });
    assert_at_least(units, 50);
}

/// Messages in flight are marked when their connection is lost.
#[test]
fn messages_in_flight_of_connections_that_are_lost() {
    const COUNT: u64 = 800;
    let mut stage = Stage::new();
    let publisher = stage.connect("publisher");
    let connect = Connect {
        version: Version::V5,
        clean_start: false,
        client_identifier: "client".try_into().unwrap(),
        properties: ConnectProperties { session_expiry_interval: Some(100), ..ConnectProperties::default() },
        ..Connect::default()
    };
    let open = |stage: &mut Stage| {
        let id = stage.broker.open(stage.now, Origin::UNKNOWN);
        stage.send(id, connect);
        id
    };
    let id = open(&mut stage);
    stage.subscribe(id, &["t".into()], QoS::AtLeastOnce, false);
    for _ in 0..COUNT {
        stage.send(publisher, message("t", "x", QoS::AtLeastOnce));
    }
    stage.read(id);
    let units = stage.units(|stage| stage.close(id));
    assert_at_least(units, COUNT / 8);
    let id = open(&mut stage);
    stage.read(id);
    let units = stage.units(|stage| {
        let reason_code = DisconnectReasonCode::AdministrativeAction;
        stage.call(|broker, now| broker.disconnect(now, id, reason_code));
    });
    assert_at_least(units, COUNT / 8);
}

/// The filters of a session are put together level by level when it is resumed.
#[test]
fn deep_subscriptions_of_a_session_that_goes_on() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let topic = deep(0, LEVELS - 2);
    let filters: Vec<_> = (0..50).map(|number| format!("{topic}/{number}")).collect();
    stage.subscribe(id, &filters, QoS::AtMostOnce, false);
    stage.close(id);
    stage.longest = 0;
    let units = stage.units(|stage| _ = stage.connect("client"));
    // The policy is asked about each, and then each is looked at again.
    assert_at_least(units, 2 * 50 * (LEVELS as u64 / 8 - 1));
    assert!(stage.longest < BUDGET + LEVELS as u64, "a call stops: {}", stage.longest);
}

/// A large payload is not copied for those who share it.
#[test]
fn large_payloads_that_wait() {
    let mut stage = Stage::new();
    for number in 0..20 {
        let id = stage.connect(&format!("{number}"));
        stage.subscribe(id, &["t".into()], QoS::AtLeastOnce, false);
        stage.close(id);
    }
    let publisher = stage.connect("publisher");
    let payload = "x".repeat(LONG);
    // The packet is read, and the payload copied once.
    let units = stage.units(|stage| stage.send(publisher, message("t", &payload, QoS::AtLeastOnce)));
    assert_at_least(units, 2 * OF_LONG);
    assert!(units < 2 * OF_LONG + 20 * 20, "{units} units to store the message");
    for number in 0..20 {
        let mut read = 0;
        let units = stage.units(|stage| {
            let id = stage.broker.open(stage.now, Origin::UNKNOWN);
            let properties = ConnectProperties { session_expiry_interval: Some(100), ..ConnectProperties::default() };
            let name = format!("{number}");
            let client_identifier = name.as_str().try_into().unwrap();
            let connect = Connect {
                version: Version::V5,
                clean_start: false,
                client_identifier,
                properties,
                ..Connect::default()
            };
            stage.send(id, connect);
            read = stage.read(id);
        });
        assert!(read > LONG, "the message is sent");
        assert!(units < 40, "{units} units for one copy");
    }
}

/// Properties are short, and can be many, also where a message waits, is retained, or comes with CONNECT.
#[test]
fn many_short_properties_elsewhere() {
    const PAIRS: u64 = 256;
    let mut stage = Stage::new();
    let id = stage.connect("client");
    stage.subscribe(id, &["t".into()], QoS::AtMostOnce, false);
    let pairs = vec![UserProperty::new("", "").unwrap(); PAIRS as usize];
    let properties = PublishProperties { user_properties: (&pairs[..]).into(), ..PublishProperties::default() };
    let publisher = stage.connect("publisher");
    // The window is one message: the others wait.
    stage.subscribe(id, &["t".into()], QoS::AtLeastOnce, false);
    for _ in 0..10 {
        stage.send(publisher, Publish { properties, ..message("t", "", QoS::AtLeastOnce) });
    }
    stage.read(id);
    let units = stage.units(|stage| {
        for number in 1..10 {
            stage.send_bytes(id, &[0x40, 2, 0, number]);
            assert!(stage.read(id) > 5 * PAIRS as usize, "the next message is sent");
        }
    });
    assert_at_least(units, 9 * (PAIRS / 8 + 5 * PAIRS / UNIT as u64));
    for number in 0..10 {
        stage.send(publisher, Publish { properties, ..retained(&format!("r/{number}"), "x") });
    }
    let units = stage.units(|stage| stage.subscribe(id, &["r/#".into()], QoS::AtMostOnce, false));
    // They are read, and written.
    assert_at_least(units, 2 * 10 * (PAIRS / 8));
    let connect = Connect {
        version: Version::V5,
        client_identifier: "other".try_into().unwrap(),
        properties: ConnectProperties { user_properties: (&pairs[..]).into(), ..ConnectProperties::default() },
        ..Connect::default()
    };
    let open = |stage: &mut Stage, connect: Connect<'_>| {
        let id = stage.broker.open(stage.now, Origin::UNKNOWN);
        stage.send(id, connect);
    };
    let units = stage.units(|stage| open(stage, connect));
    assert_at_least(units, PAIRS / 8 + 5 * PAIRS / UNIT as u64);
    let will = Will {
        topic: TopicName::new("w").unwrap(),
        payload: b"",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: WillProperties { user_properties: (&pairs[..]).into(), ..WillProperties::default() },
    };
    let units = stage.units(|stage| open(stage, Connect { will: Some(will), ..connect }));
    assert_at_least(units, PAIRS / 8 + PAIRS);
}

/// Members of a group expire together: their messages go from one to the next, each of which is found to have expired.
#[test]
fn members_of_a_group_that_expire_together() {
    let mut config = BrokerConfig::new(Secret::new([7; 16]));
    config.work_per_call = 200.try_into().unwrap();
    let mut stage = Stage::with(config);
    for number in 0..100 {
        let id = stage.connect(&format!("{number}"));
        stage.subscribe(id, &["$share/g/t".into()], QoS::AtLeastOnce, false);
        stage.close(id);
    }
    let publisher = stage.connect("publisher");
    for _ in 0..2000 {
        stage.send(publisher, message("t", "", QoS::AtLeastOnce));
    }
    assert_eq!(stage.broker.status().stored, 2000);
    stage.longest = 0;
    stage.now = stage.now + Duration::from_secs(200);
    stage.finish();
    stage.broker.assert_consistent();
    assert_eq!((stage.broker.status().stored, stage.broker.status().sessions), (0, 1));
    assert!(stage.longest < 230, "a call stops: {}", stage.longest);
}

/// Queues are full of messages that have expired, and one more message goes to all of them.
#[test]
fn a_message_for_many_queues_that_have_expired() {
    const QUEUES: u64 = 40;
    const EACH: u32 = 100;
    let mut config = BrokerConfig::new(Secret::new([7; 16]));
    config.server.max_stored = EACH;
    let mut stage = Stage::with(config);
    for number in 0..QUEUES {
        let id = stage.connect(&format!("{number}"));
        stage.subscribe(id, &["t".into()], QoS::AtLeastOnce, false);
        stage.close(id);
    }
    let publisher = stage.connect("publisher");
    let properties = PublishProperties { message_expiry_interval: Some(1), ..PublishProperties::default() };
    for _ in 0..EACH {
        stage.send(publisher, Publish { properties, ..message("t", "", QoS::AtLeastOnce) });
    }
    stage.now = stage.now + Duration::from_secs(2);
    stage.longest = 0;
    // What has expired goes as far as the budget of each call allows. The new messages find room.
    let units = stage.units(|stage| {
        (0..4).for_each(|_| stage.send(publisher, message("t", "", QoS::AtLeastOnce)));
    });
    assert_eq!(stage.broker.status().stored, 4 * QUEUES);
    assert_eq!(stage.broker.counters().dropped.queue_full, 0);
    assert_at_least(units, QUEUES * u64::from(EACH));
    assert!(stage.longest < BUDGET + 100, "a call stops: {}", stage.longest);
}

/// A session with many subscriptions: one more moves the others.
#[test]
fn one_of_many_subscriptions() {
    let mut stage = Stage::new();
    let id = stage.connect("client");
    let filters: Vec<_> = (0..9000).map(|number| format!("f{number}/#")).collect();
    let subscriptions: Vec<_> =
        filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce).unwrap()).collect();
    stage.send(id, Subscribe::new(PacketId::MIN, &subscriptions));
    stage.read(id);
    let others: Vec<_> = (0..100).map(|number| format!("g{number}")).collect();
    let units = stage.units(|stage| stage.subscribe(id, &others, QoS::AtMostOnce, false));
    assert_at_least(units, 100 * 8);
    let units = stage.units(|stage| stage.unsubscribe(id, &others));
    assert_at_least(units, 100 * 8);
}
