//! Retained messages for a new subscription: those that are not sent yet when the broker crashes come after it is restored.

use std::collections::BTreeMap;

use mqtt_sansio::broker::BrokerConfig;
use mqtt_sansio::client::ClientConfig;
use mqtt_sansio::codec::{Connect, ConnectProperties, RetainHandling, Version};
use mqtt_sansio::{Message, QoS, Subscription};

use super::world::World;
use crate::broker::{Net, config, named};

const COUNT: usize = 8;
/// The QoS of the retained messages by their numbers.
const QOS: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

fn topic(number: usize) -> String {
    format!("r/{}/{number}", number % 3)
}

/// A broker with retained messages that does this much work in a call, and a client that has at most this many messages in flight.
fn world(work_per_call: u32, receive_maximum: u16) -> World {
    let work_per_call = work_per_call.try_into().unwrap();
    let mut world = World::new(BrokerConfig { work_per_call, ..config() });
    let receive_maximum = receive_maximum.try_into().unwrap();
    world.add(ClientConfig { client_id: "c".into(), receive_maximum, ..ClientConfig::default() });
    for number in 0..COUNT {
        let (topic, payload) = (topic(number), format!("old {number}"));
        let message = Message::new(&topic, payload.as_bytes()).qos(QOS[number % 2]).retain(true);
        world.broker.publish(world.now, &message).unwrap();
        world.settle();
    }
    world.connect(0);
    world.settle();
    subscribe(&mut world);
    world
}

fn subscribe(world: &mut World) {
    let subscription = [Subscription::new("r/#", QoS::ExactlyOnce).unwrap()];
    world.peers[0].session.subscribe(world.now, &subscription).unwrap();
}

fn has_suback(world: &World) -> bool {
    world.peers[0].done.iter().any(|&(_, is_success)| is_success)
}

/// How often each payload has come.
fn got(world: &World) -> BTreeMap<String, usize> {
    let mut got = BTreeMap::new();
    for message in &world.peers[0].got {
        *got.entry(message.payload.clone()).or_default() += 1;
    }
    got
}

/// Takes and commits a batch, or lets the broker and the client work a little; returns whether something happened. After SUBACK a
/// message in place of a retained one is published, and one to a new topic.
fn tick(world: &mut World, commits: bool) -> bool {
    if commits {
        let is_any = world.changes();
        world.commit(1);
        return is_any || !world.under_way.is_empty();
    }
    let had_suback = has_suback(world);
    let mut is_busy = world.serve(0, 40);
    if world.broker.deadline().is_some_and(|deadline| deadline <= world.now) {
        world.broker.poll(world.now);
        is_busy = true;
    }
    if has_suback(world) && !had_suback {
        for topic in [&topic(3), "r/new"] {
            let message = Message::new(topic, topic.as_bytes()).qos(QoS::ExactlyOnce).retain(true);
            world.broker.publish(world.now, &message).unwrap();
        }
    }
    world.broker.assert_consistent();
    is_busy
}

/// Crashes the broker after this many ticks, and lets all be done then. Returns the world, whether the client had SUBACK before
/// the crash, and whether all was done before it.
fn crash_after(world: World, ticks: usize, stored: usize) -> (World, bool, bool) {
    let mut world = world;
    let (mut idle, mut is_done) = (0, false);
    for number in 0..ticks {
        idle = if tick(&mut world, number % 2 == 1) { 0 } else { idle + 1 };
        is_done |= idle == 2;
    }
    let had_suback = has_suback(&world);
    world.changes();
    world.crash(stored);
    world.connect(0);
    world.settle();
    if !had_suback && !has_suback(&world) {
        subscribe(&mut world);
        world.settle();
    }
    (world, had_suback, is_done)
}

/// Tries a crash at each point of a walk; `check` gets how often each payload has come.
fn crash_at_each_point(make: impl Fn() -> World, check: impl Fn(&BTreeMap<String, usize>)) {
    let mut in_walk = 0;
    for ticks in 0.. {
        let mut is_done = false;
        for stored in 0..2 {
            let (mut world, had_suback, is_last) = crash_after(make(), ticks, stored);
            let got_all = got(&world);
            for number in 0..COUNT {
                // The newer message may have come in place of this one.
                let payloads = [format!("old {number}"), topic(number)];
                let has_come = payloads.iter().any(|payload| got_all.contains_key(payload));
                assert!(has_come, "{number} is lost after {ticks} ticks and {stored} batches: {got_all:?}");
            }
            if had_suback {
                for payload in [topic(3), "r/new".into()] {
                    // The embedding program's message is stored, or was published in the tick of the crash.
                    let count = got_all.get(&payload).copied().unwrap_or_default();
                    assert!(count <= 1, "{payload} comes once, not {count} times: {ticks} ticks, {stored} batches");
                }
                check(&got_all);
            }
            // The walk is at its end: nothing comes again.
            world.crash(0);
            world.connect(0);
            world.settle();
            assert_eq!(got(&world), got_all, "{ticks} ticks");
            assert_eq!(world.broker.status().stored, 0);
            in_walk += usize::from(had_suback && !is_last);
            is_done = is_last;
        }
        if is_done {
            break;
        }
    }
    assert!(in_walk > 2 * COUNT, "{in_walk} crashes while the messages come");
}

/// A walk that is held up by the budget of the calls, and by a client with few messages in flight.
#[test]
fn a_walk_goes_on_after_a_crash() {
    for receive_maximum in [1, 3, u16::MAX] {
        crash_at_each_point(|| world(1, receive_maximum), |_| {});
    }
}

/// The deliveries of a walk that ends within a call are stored with its end: a message of QoS 2 comes once.
#[test]
fn a_walk_that_ends_at_once_comes_once() {
    let check = |got: &BTreeMap<String, usize>| {
        for number in (1..COUNT).step_by(2) {
            let count = got.get(&format!("old {number}")).copied().unwrap_or_default();
            assert!(count <= 1, "{number} of QoS 2 came {count} times");
        }
    };
    crash_at_each_point(|| world(2000, u16::MAX), check);
}

/// A durable broker with retained messages of QoS 2, and a client that acknowledges nothing and has at most two messages in
/// flight, which it has got of a new subscription.
fn held_up() -> (Net, usize) {
    let mut net = Net::new(BrokerConfig { durable: true, ..config() });
    for number in 0..COUNT {
        net.publish_own(&Message::new(&topic(number), "1").qos(QoS::ExactlyOnce).retain(true));
    }
    let peer = net.connect(&few());
    net.hold_acks(peer);
    net.subscribe(peer, "r/#", QoS::ExactlyOnce);
    assert_eq!(net.received(peer).len(), 2);
    (net, peer)
}

fn few() -> Connect<'static> {
    let connect = named(Version::V5, "c");
    let receive_maximum = Some(2.try_into().unwrap());
    Connect { properties: ConnectProperties { receive_maximum, ..connect.properties }, ..connect }
}

/// What the client gets after a crash and all acknowledgements: the topics, sorted, and the number of packets with QoS 2.
fn after_crash(net: &mut Net) -> (Vec<String>, usize) {
    net.crash(net.now);
    let peer = net.resume(&few());
    net.poll();
    let received = net.received(peer);
    let mut topics: Vec<String> = received.iter().filter_map(|it| Some(it.split_once(": ")?.0.to_owned())).collect();
    topics.sort();
    (topics, received.iter().filter(|it| it.contains(" q2")).count())
}

fn all_topics() -> Vec<String> {
    let mut topics: Vec<String> = (0..COUNT).map(topic).collect();
    topics.sort();
    topics
}

/// A message of QoS 2 to which a delivery refers comes by that alone, and not by the walk that begins again.
#[test]
fn messages_in_flight_come_once() {
    let (mut net, _) = held_up();
    assert_eq!(after_crash(&mut net), (all_topics(), COUNT));
    assert_eq!(after_crash(&mut net).0, [""; 0], "the walk is at its end");
}

/// New options hold for what comes after a crash, and what the client asks for anew comes again.
#[test]
fn options_are_those_of_the_last_subscribe() {
    for (retain_handling, again) in [(RetainHandling::DoNotSend, 0), (RetainHandling::SendAtSubscribe, 2)] {
        let (mut net, peer) = held_up();
        let subscription = Subscription::new("r/#", QoS::AtLeastOnce).unwrap();
        net.subscribe_on(peer, &Subscription { retain_handling, ..subscription }, 0);
        let (topics, of_qos_2) = after_crash(&mut net);
        assert_eq!(of_qos_2, 2, "those in flight");
        let mut different = topics.clone();
        different.dedup();
        assert_eq!(different, all_topics());
        // Those in flight have come by deliveries already, of a QoS that is not lower.
        assert!(topics.len() <= COUNT + again, "{topics:?}");
    }
    let (mut net, peer) = held_up();
    let subscription = Subscription::new("r/#", QoS::AtMostOnce).unwrap();
    net.subscribe_on(peer, &Subscription { retain_handling: RetainHandling::DoNotSend, ..subscription }, 0);
    assert_eq!(after_crash(&mut net).0.len(), 2, "what has QoS 0 does not come after a crash");
}

/// A subscription that has ended gets nothing more.
#[test]
fn nothing_comes_after_unsubscribe() {
    let (mut net, peer) = held_up();
    net.unsubscribe(peer, &["r/#"]);
    assert_eq!(after_crash(&mut net).0.len(), 2, "those in flight");
}

/// A retained message comes before a newer message to its topic that is published after the crash; one that is replaced by then
/// does not come, but for those in flight.
#[test]
fn newer_messages_come_after_older_ones() {
    for retain in [false, true] {
        let (mut net, _) = held_up();
        net.crash(net.now);
        for number in 0..COUNT {
            net.publish_own(&Message::new(&topic(number), "2").qos(QoS::ExactlyOnce).retain(retain));
        }
        let peer = net.resume(&few());
        net.poll();
        let received = net.received(peer);
        let of = |number, payload| {
            let start = format!("{}: {payload}", topic(number));
            received.iter().enumerate().filter(|(_, it)| it.starts_with(&start)).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let mut old = 0;
        for number in 0..COUNT {
            let (older, newer) = (of(number, 1), of(number, 2));
            assert!(older.len() <= 1 && newer.len() == 1 && older < newer, "{number}: {received:?}");
            old += older.len();
        }
        assert_eq!(old, if retain { 2 } else { COUNT }, "{received:?}");
    }
}
