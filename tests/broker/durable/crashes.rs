//! Each kind of state is there after a crash, as it was.

use std::collections::BTreeSet;
use std::time::Duration;

use mqtt_sansio::broker::{Admission, BrokerConfig, Decision};
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Disconnect, DisconnectReasonCode, Packet, PubComp, PubRec, PubRel, Publish,
    PublishProperties, Subscription, Will, WillProperties,
};
use mqtt_sansio::store::Pairs;
use mqtt_sansio::{Instant, Message, QoS, Version};

use crate::broker::{BOTH, Net, config, message, named};
use crate::server::{again, delivery, id, will};

fn net() -> Net {
    Net::new(BrokerConfig { durable: true, ..config() })
}

/// A CONNECT whose session outlives its connection by this number of seconds.
fn lasting(name: &str, seconds: u32) -> Connect<'_> {
    let properties = ConnectProperties { session_expiry_interval: Some(seconds), ..ConnectProperties::default() };
    Connect { properties, ..named(Version::V5, name) }
}

/// The kinds of the pairs that are stored, without those that are always there.
fn kinds(stored: &Pairs) -> Vec<u8> {
    stored.iter().map(|(key, _)| key[0]).filter(|&kind| kind >= 0x10).collect()
}

/// The time when a session expires does not change by a crash; that of a session which was connected counts from the restart.
#[test]
fn sessions_expire_when_they_would_have() {
    let mut net = net();
    let gone = net.connect(&lasting("gone", 100));
    net.lose(gone);
    net.connect(&lasting("cut", 100));
    net.connect(&lasting("stays", u32::MAX));
    net.wait(60);
    net.crash(net.now);
    assert_eq!(net.broker.status().sessions, 3);
    net.wait(40);
    assert_eq!(net.notices(), ["gone session ended"]);
    net.wait(59);
    assert!(net.notices().is_empty());
    // Another crash does not begin the interval anew.
    net.crash(net.now);
    net.wait(1);
    assert_eq!(net.notices(), ["cut session ended"]);
    net.wait(1_000_000);
    assert_eq!(net.broker.status().sessions, 1);
    net.crash(net.now);
    assert_eq!(net.broker.status().sessions, 1);
    assert_eq!(kinds(&net.stored), [0x20]);
    // Time goes on while the broker is down.
    let mut net = self::net();
    net.connect(&lasting("gone", 100));
    net.end_all_connections();
    net.crash(net.now + Duration::from_secs(101));
    net.wait(0);
    assert_eq!(net.broker.status().sessions, 0);
}

/// A clock that was set back does not make time stand still, and one that was set forward lets things expire.
#[test]
fn time_goes_on_from_where_it_was() {
    const YEARS: Duration = Duration::from_secs(56 * 31_556_952);
    for back in [false, true] {
        let mut net = net();
        net.wait_until(Instant::EPOCH + YEARS + YEARS);
        let gone = net.connect(&lasting("gone", 100));
        net.lose(gone);
        net.crash(if back { Instant::EPOCH + YEARS } else { net.now + YEARS });
        net.wait(if back { 99 } else { 0 });
        assert_eq!(net.broker.status().sessions, u32::from(back));
        net.wait(u64::from(back));
        assert_eq!(net.broker.status().sessions, 0);
    }
}

/// A session belongs to the user who has begun it, also after a crash.
#[test]
fn sessions_have_their_users() {
    let mut net = net();
    let user = |name: &str| Decision::Now(Admission::AcceptAs { user_name: Some(name.into()), accept: Box::default() });
    net.broker.policy_mut().admissions.push_back(user("alice"));
    net.client(Version::V5, "c");
    net.crash(net.now);
    for (name, expected) in [("mallory", "CONNACK 87"), ("alice", "CONNACK 00 present")] {
        net.broker.policy_mut().admissions.push_back(user(name));
        let peer = net.try_connect(&named(Version::V5, "c"));
        assert_eq!(net.received(peer), [expected]);
    }
    assert!(net.broker.policy().asked.iter().any(|(_, asked)| asked.contains("take over c of alice by mallory")));
}

/// Subscriptions go on with their options.
#[test]
fn subscriptions_go_on() {
    let mut net = net();
    let peer = net.client(Version::V5, "c");
    let subscription = |filter, qos| Subscription::new(filter, qos).unwrap();
    net.subscribe_on(peer, &subscription("a/+", QoS::AtLeastOnce), 7);
    net.subscribe_on(peer, &Subscription { no_local: true, ..subscription("b", QoS::AtLeastOnce) }, 0);
    net.subscribe_on(peer, &Subscription { retain_as_published: true, ..subscription("c", QoS::AtLeastOnce) }, 9);
    net.subscribe(peer, "$share/group/d", QoS::AtLeastOnce);
    net.subscribe(peer, "gone", QoS::AtLeastOnce);
    net.unsubscribe(peer, &["gone"]);
    // The second of two subscriptions to the same filter counts.
    net.received(peer);
    net.subscribe_on(peer, &subscription("a/+", QoS::ExactlyOnce), 8);
    let old = net.client(Version::V311, "old");
    net.subscribe(old, "a/#", QoS::AtMostOnce);
    net.crash(net.now);
    assert_eq!(net.broker.status().subscriptions, 5);
    assert_eq!(net.broker.status().shared_subscriptions, 1);
    let (peer, old) = (net.resume(&named(Version::V5, "c")), net.resume(&named(Version::V311, "old")));
    for topic in ["a/1", "b", "c", "d", "gone"] {
        net.publish_own(&Message::new(topic, "1").qos(QoS::ExactlyOnce).retain(true));
    }
    net.publish(peer, "b", "its own", QoS::AtMostOnce);
    let received: BTreeSet<_> = net.received(peer).into_iter().collect();
    let expected = ["a/1: 1 q2 #8", "b: 1 q1", "c: 1 q1 retained #9", "d: 1 q1", "PUBREL 1 00"];
    assert_eq!(received, expected.map(String::from).into());
    assert_eq!(net.received(old), ["a/1: 1"]);
}

/// No Local holds for messages that come after a crash, and for retained messages from before it.
#[test]
fn the_publisher_of_a_retained_message_is_known() {
    let mut net = net();
    let [peer, other] = ["c", "other"].map(|name| net.client(Version::V5, name));
    net.retain(peer, "r/own", "1", QoS::AtMostOnce);
    net.retain(other, "r/other", "1", QoS::AtMostOnce);
    net.publish_own(&Message::new("r/broker", "1").retain(true));
    net.crash(net.now);
    let peer = net.resume(&named(Version::V5, "c"));
    let subscription = Subscription { no_local: true, ..Subscription::new("r/#", QoS::AtMostOnce).unwrap() };
    net.subscribe_on(peer, &subscription, 0);
    let received: BTreeSet<_> = net.received(peer).into_iter().collect();
    assert_eq!(received, ["r/other: 1 retained", "r/broker: 1 retained"].map(String::from).into());
}

/// Retained messages go on with their QoS, their properties and their lifetimes; what was removed or replaced is gone.
#[test]
fn retained_messages_go_on() {
    let large = "x".repeat(200_000);
    let mut net = net();
    let peer = net.client(Version::V5, "c");
    let expiring = PublishProperties { message_expiry_interval: Some(100), ..PublishProperties::default() };
    let retained = |topic, payload, qos| Publish { retain: true, ..message(topic, payload, qos) };
    net.publish_packet(peer, &retained("r/1", "old", QoS::AtLeastOnce));
    net.publish_packet(peer, &retained("r/1", "new", QoS::ExactlyOnce));
    net.publish_packet(peer, &retained("r/2", "removed", QoS::AtLeastOnce));
    net.publish_packet(peer, &retained("r/2", "", QoS::AtLeastOnce));
    net.publish_packet(peer, &retained("r/3", &large, QoS::AtMostOnce));
    net.publish_packet(peer, &Publish { properties: expiring, ..retained("r/4", "expires", QoS::AtLeastOnce) });
    net.publish_packet(peer, &Publish { properties: expiring, ..retained("r/5", "", QoS::AtLeastOnce) });
    net.wait(60);
    net.crash(net.now);
    assert_eq!(net.broker.status().retained, 3);
    let reader = net.client(Version::V5, "reader");
    net.subscribe_all(reader, &[("r/#", QoS::ExactlyOnce)]);
    let bytes = net.received_bytes(reader);
    let packets = crate::server::decode(&bytes, Version::V5);
    let mut lines = BTreeSet::new();
    for packet in &packets {
        if let Packet::Publish(publish) = packet {
            let interval = publish.properties.message_expiry_interval.unwrap_or(0);
            lines.insert((publish.topic.as_str(), publish.payload.len(), publish.delivery.qos() as u8, interval));
        }
    }
    assert_eq!(lines, [("r/1", 3, 2, 0), ("r/3", large.len(), 0, 0), ("r/4", 7, 1, 40)].into());
    net.wait(40);
    assert_eq!(net.broker.status().retained, 2);
    assert_eq!(net.restored(net.now).status().retained, 2);
    // Two messages: one with parts.
    let count = |kind| kinds(&net.stored).into_iter().filter(|&it| it == kind).count();
    assert_eq!((count(0x18), count(0x10), count(0x11)), (2, 2, 4));
}

/// What the broker says about itself is not stored.
#[test]
fn the_values_of_the_broker_are_not_stored() {
    let mut net = Net::new(BrokerConfig { durable: true, sys_interval: Some(10.try_into().unwrap()), ..config() });
    net.wait(30);
    assert!(net.broker.status().retained > 10);
    assert!(kinds(&net.stored).is_empty());
}

/// Messages to a client are there in each of their stages: queued, sent (and sent again with DUP), released; in order, and a
/// message that goes to several sessions is stored once.
#[test]
fn messages_are_there_in_each_stage() {
    let large = "y".repeat(100_000);
    for version in BOTH {
        let mut net = net();
        let [peer, other] = ["c", "other"].map(|name| net.client(version, name));
        for peer in [peer, other] {
            net.subscribe(peer, "#", QoS::ExactlyOnce);
        }
        net.lose(other);
        net.hold_acks(peer);
        for (payload, qos) in
            [("1", QoS::ExactlyOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce), ("4", QoS::ExactlyOnce)]
        {
            net.publish_own(&Message::new("a", payload).qos(qos));
        }
        assert_eq!(net.received(peer), ["a: 1 q2", "a: 2 q2", "a: 3 q1", "a: 4 q2"]);
        // PUBRELs go on in the order of PUBRECs.
        net.send(peer, &[PubRec::new(id(2)).into(), PubRec::new(id(1)).into()]);
        assert_eq!(net.received(peer), ["PUBREL 2 00", "PUBREL 1 00"]);
        net.lose(peer);
        net.publish_own(&Message::new("a", &large).qos(QoS::AtLeastOnce));
        net.publish_own(&Message::new("a", "gone"));
        assert_eq!(net.broker.status().stored, 10);
        assert_eq!(kinds(&net.stored).iter().filter(|&&kind| kind == 0x10).count(), 5, "each message is stored once");
        for _ in 0..2 {
            net.crash(net.now);
            assert_eq!(net.broker.status().stored, 10);
        }
        let peer = net.try_connect(&named(version, "c"));
        let received = net.received(peer);
        let of = |kind: &str| -> Vec<_> {
            received
                .iter()
                .filter(|line| line.starts_with(kind))
                .map(|line| line[..line.len().min(20)].to_owned())
                .collect()
        };
        assert_eq!(received[0], "CONNACK 00 present");
        assert_eq!(of("PUBREL")[..2], ["PUBREL 2 00", "PUBREL 1 00"]);
        let last = format!("a: {}", &large[..17]);
        assert_eq!(of("a:"), ["a: 3 q1 again", "a: 4 q2 again", &last]);
        let other = net.try_connect(&named(version, "other"));
        let received = net.received(other);
        let messages = received.iter().filter(|line| line.starts_with("a:"));
        let messages: Vec<_> = messages.map(|line| line[..line.len().min(20)].to_owned()).collect();
        assert_eq!(messages, ["a: 1 q2", "a: 2 q2", "a: 3 q1", "a: 4 q2", &last]);
        net.lose(peer);
        net.lose(other);
        net.crash(net.now);
        assert_eq!(net.broker.status().stored, 0, "all was acknowledged");
        assert!(!kinds(&net.stored).contains(&0x10));
    }
}

/// Messages expire when they would have, and their time in the queue counts.
#[test]
fn messages_expire_when_they_would_have() {
    let mut net = net();
    let peer = net.client(Version::V5, "c");
    net.subscribe(peer, "a", QoS::AtLeastOnce);
    net.lose(peer);
    let properties =
        |seconds| PublishProperties { message_expiry_interval: Some(seconds), ..PublishProperties::default() };
    net.publish_own(&Message::new("a", "1").qos(QoS::AtLeastOnce).properties(properties(50)));
    net.publish_own(&Message::new("a", "2").qos(QoS::AtLeastOnce).properties(properties(100)));
    net.wait(20);
    net.crash(net.now + Duration::from_secs(40));
    let peer = net.try_connect(&named(Version::V5, "c"));
    let bytes = net.received_bytes(peer);
    let packets = crate::server::decode(&bytes, Version::V5);
    let [Packet::ConnAck(_), Packet::Publish(publish)] = packets[..] else { panic!("{packets:?}") };
    assert_eq!((publish.payload, publish.properties.message_expiry_interval), (&b"2"[..], Some(40)));
}

/// A message of QoS 2 that was received does not come twice: neither when it is sent again after a crash, nor when its
/// publication was on its way.
#[test]
fn received_messages_do_not_come_twice() {
    let mut net = net();
    let [peer, publisher] = ["c", "publisher"].map(|name| net.client(Version::V5, name));
    net.subscribe(peer, "a", QoS::ExactlyOnce);
    net.hold_acks(publisher);
    net.send(publisher, &[message("a", "1", QoS::ExactlyOnce).into()]);
    net.crash(net.now);
    let publisher = net.resume(&named(Version::V5, "publisher"));
    net.hold_acks(publisher);
    net.send(
        publisher,
        &[Publish { delivery: again(QoS::ExactlyOnce, 1), ..message("a", "1", QoS::ExactlyOnce) }.into()],
    );
    assert_eq!(net.received(publisher), ["PUBREC 1 00"]);
    net.crash(net.now);
    let publisher = net.resume(&named(Version::V5, "publisher"));
    net.send(publisher, &[PubRel::new(id(1)).into()]);
    assert_eq!(net.received(publisher), ["PUBCOMP 1 00"]);
    // The identifier is free for another message.
    net.send(publisher, &[message("a", "2", QoS::ExactlyOnce).into()]);
    net.crash(net.now);
    let peer = net.try_connect(&named(Version::V5, "c"));
    let received: Vec<_> = net.received(peer).into_iter().filter(|line| line.starts_with("a:")).collect();
    assert_eq!(received, ["a: 2 q2"], "the first one was acknowledged before the crash");
}

/// The will of a client that was connected is published after the restart, when its delay has passed; a will that was on its
/// way to be due keeps its time.
#[test]
fn wills_are_published() {
    let mut net = net();
    let reader = net.client(Version::V5, "reader");
    net.subscribe(reader, "#", QoS::ExactlyOnce);
    let with_will = |name, delay| Connect {
        will: Some(Will { topic: mqtt_sansio::TopicName::new(name).unwrap(), ..will("gone", delay) }),
        ..lasting(name, 1000)
    };
    let gone = net.connect(&with_will("gone", 100));
    net.lose(gone);
    net.connect(&with_will("cut", 100));
    let left = net.connect(&with_will("left", 100));
    net.leave(left, DisconnectReasonCode::NormalDisconnection);
    net.wait(60);
    net.crash(net.now);
    let reader = net.resume(&named(Version::V5, "reader"));
    net.wait(39);
    assert!(net.received(reader).is_empty());
    net.wait(1);
    assert_eq!(net.received(reader).first().map(|line| line.starts_with("gone: gone")), Some(true));
    net.crash(net.now);
    let reader = net.try_connect(&named(Version::V5, "reader"));
    net.received(reader);
    net.wait(60);
    assert_eq!(net.received(reader).first().map(|line| line.starts_with("cut: gone")), Some(true));
    net.wait(10_000);
    assert!(!kinds(&net.stored).contains(&0x21));
    assert_eq!(net.restored(net.now).status().stored, 0);
}

/// The will of a session that has ended is not lost while the will is on its way, whatever crashes.
#[test]
fn a_will_on_its_way_is_not_lost() {
    let config = || BrokerConfig { durable: true, work_per_call: 1.try_into().unwrap(), ..config() };
    let mut crashes = 0;
    for calls in 0.. {
        let mut net = Net::new(config());
        for number in 0..3 {
            let peer = net.client(Version::V5, &format!("reader {number}"));
            net.subscribe(peer, "#", QoS::AtLeastOnce);
            net.lose(peer);
        }
        let will = Will { qos: QoS::AtLeastOnce, properties: WillProperties::default(), ..will("gone", 0) };
        let peer = net.connect(&Connect { will: Some(will), ..lasting("c", 1) });
        let connection = net.id(peer);
        net.broker.closed(net.now, connection);
        net.store();
        let end = net.now + Duration::from_secs(2);
        let mut done = 0;
        while done < calls && net.broker.deadline().is_some_and(|deadline| deadline <= end) {
            net.broker.poll(end);
            net.store();
            done += 1;
        }
        let is_over = done < calls;
        net.crash(end);
        net.poll();
        let stored = net.broker.status().stored;
        assert!((3..=6).contains(&stored), "{stored} copies after {calls} calls");
        assert_eq!(net.broker.status().sessions, 3);
        crashes += 1;
        if is_over {
            assert_eq!(stored, 3);
            break;
        }
    }
    assert!(crashes > 5, "{crashes} crashes");
}

/// A session ends by one removal; what was stored of it is removed bit by bit, and after a crash by the next batches.
#[test]
fn a_session_that_ends_leaves_nothing() {
    let config = || BrokerConfig { durable: true, work_per_call: 1.try_into().unwrap(), ..config() };
    for calls in 0..40 {
        let mut net = Net::new(config());
        let [peer, other] = ["c", "other"].map(|name| net.client(Version::V5, name));
        for number in 0..5 {
            net.subscribe(peer, &format!("a/{number}"), QoS::ExactlyOnce);
        }
        net.subscribe(other, "a/1", QoS::ExactlyOnce);
        net.hold_acks(peer);
        net.send(
            peer,
            &[Publish { delivery: delivery(QoS::ExactlyOnce, 5), ..message("b", "", QoS::ExactlyOnce) }.into()],
        );
        net.lose(peer);
        net.lose(other);
        for number in 0..5 {
            net.publish_own(&Message::new(&format!("a/{number}"), "1").qos(QoS::ExactlyOnce));
            net.poll();
        }
        net.broker.end_session(net.now, "c");
        net.store();
        for _ in 0..calls {
            net.broker.poll(net.now);
            net.store();
        }
        net.crash(net.now);
        net.poll();
        assert_eq!(net.broker.status().sessions, 1);
        assert_eq!(kinds(&net.stored), [0x10, 0x20, 0x22, 0x24], "after {calls} calls");
    }
}

/// A client that comes back with another version, or with a session that ends with the connection, changes what is stored.
#[test]
fn a_session_that_is_not_stored_any_more_is_gone() {
    let mut net = net();
    let peer = net.connect(&lasting("c", 1000));
    net.subscribe(peer, "a", QoS::AtLeastOnce);
    net.lose(peer);
    net.publish_own(&Message::new("a", "1").qos(QoS::AtLeastOnce));
    let again = Connect { properties: ConnectProperties::default(), ..named(Version::V5, "c") };
    let peer = net.try_connect(&again);
    assert_eq!(net.received(peer), ["CONNACK 00 present", "a: 1 q1"]);
    net.publish_own(&Message::new("a", "2").qos(QoS::AtLeastOnce));
    assert_eq!(net.received(peer), ["a: 2 q1"]);
    assert_eq!(net.restored(net.now).status().sessions, 0);
    net.lose(peer);
    assert!(kinds(&net.stored).is_empty(), "{:02x?}", kinds(&net.stored));
}

/// Whatever was given to a client before a crash, no number is used again: neither that of a message nor that of a session.
#[test]
fn numbers_are_not_used_again() {
    let mut net = net();
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        let peer = net.client(Version::V5, "c");
        net.subscribe(peer, "a", QoS::AtLeastOnce);
        net.lose(peer);
        net.publish_own(&Message::new("a", "1").qos(QoS::AtLeastOnce));
        for (key, _) in net.stored.iter().filter(|(key, _)| matches!(key[0], 0x10 | 0x20)) {
            assert!(seen.insert(key.to_vec()), "{key:02x?} is used again in round {round}");
        }
        net.broker.end_session(net.now, "c");
        net.poll();
        assert!(kinds(&net.stored).is_empty());
        net.crash(net.now);
    }
}

/// Completing a delivery after a crash leaves nothing behind.
#[test]
fn deliveries_are_completed_after_a_crash() {
    let mut net = net();
    let peer = net.client(Version::V5, "c");
    net.subscribe(peer, "a", QoS::ExactlyOnce);
    net.hold_acks(peer);
    net.publish_own(&Message::new("a", "1").qos(QoS::ExactlyOnce));
    net.send(peer, &[PubRec::new(id(1)).into()]);
    net.crash(net.now);
    let peer = net.try_connect(&named(Version::V5, "c"));
    net.hold_acks(peer);
    assert_eq!(net.received(peer), ["CONNACK 00 present", "PUBREL 1 00"]);
    net.send(peer, &[PubComp::new(id(1)).into()]);
    net.send(peer, &[Disconnect::default().into()]);
    assert_eq!(kinds(&net.stored), [0x20, 0x22]);
}

/// A broker that does one item of work a call, with sessions that are subscribed to a topic, and a publisher.
fn slow() -> (Net, usize) {
    let mut net = Net::new(BrokerConfig { durable: true, work_per_call: 1.try_into().unwrap(), ..config() });
    for number in 0..4 {
        let peer = net.client(Version::V5, &format!("subscriber {number}"));
        net.subscribe(peer, "a", QoS::ExactlyOnce);
        net.lose(peer);
    }
    let publisher = net.client(Version::V5, "publisher");
    net.hold_acks(publisher);
    (net, publisher)
}

/// Gives the broker a message, and lets it do some calls; returns whether it is done.
fn do_calls(net: &mut Net, publisher: usize, publish: &Publish<'_>, calls: usize) -> bool {
    let bytes = crate::server::encoded(&(*publish).into(), Version::V5);
    let (connection, mut input) = (net.id(publisher), &bytes[..]);
    for _ in 0..calls {
        if input.is_empty() && net.broker.deadline() != Some(net.now) {
            return true;
        }
        if !input.is_empty() {
            net.broker.receive(net.now, connection, &mut input);
        }
        net.broker.poll(net.now);
        net.store();
    }
    false
}

/// A message that is on its way goes to all subscribers when the connection of its publisher is lost. If it has gone to all
/// it does not come again, and if not it does.
#[test]
fn a_message_on_its_way_comes_once() {
    let message = message("a", "1", QoS::ExactlyOnce);
    for (calls, crashes) in (2..30).flat_map(|calls| [(calls, false), (calls, true)]) {
        let (mut net, publisher) = slow();
        do_calls(&mut net, publisher, &message, calls);
        if !crashes {
            net.lose(publisher);
            net.poll();
        }
        net.crash(net.now);
        let publisher = net.resume(&named(Version::V5, "publisher"));
        net.send(publisher, &[Publish { delivery: again(QoS::ExactlyOnce, 1), ..message }.into()]);
        net.poll();
        assert_eq!(net.received(publisher), ["PUBREC 1 00", "PUBCOMP 1 00"], "{calls} calls");
        assert_eq!(net.broker.status().stored, 4, "{calls} calls, {crashes}");
        net.crash(net.now);
        assert_eq!(net.broker.status().stored, 4);
    }
}

/// A retained message is there until the one that replaces it has gone to all subscribers, or the one that removes it.
#[test]
fn a_retained_message_is_replaced_at_once() {
    for payload in ["new", ""] {
        let (mut before, mut after) = (0, 0);
        for calls in 0..40 {
            let (mut net, publisher) = slow();
            net.publish_own(&Message::new("a", "old").retain(true));
            let publish = Publish { retain: true, ..message("a", payload, QoS::AtLeastOnce) };
            do_calls(&mut net, publisher, &publish, calls);
            net.crash(net.now);
            let stored = net.broker.status().stored;
            let reader = net.client(Version::V5, "reader");
            net.subscribe(reader, "a", QoS::AtMostOnce);
            let retained = net.received(reader);
            if retained == ["a: old retained"] {
                (before, _) = (before + 1, assert_eq!((stored, after), (0, 0), "{calls} calls"));
            } else {
                let expected = if payload.is_empty() { vec![] } else { vec!["a: new retained".to_owned()] };
                assert_eq!(retained, expected);
                (after, _) = (after + 1, assert_eq!(stored, 4, "{calls} calls"));
            }
        }
        assert!(before > 3 && after > 3, "{before} before, {after} after");
    }
}
