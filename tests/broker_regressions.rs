//! Regression tests of the broker.

#![cfg(feature = "broker")]

use std::num::NonZeroU32;

use mqtt_sansio::broker::{BrokerConfig, Decision, SharedStrategy};
use mqtt_sansio::codec::{Connect, Subscribe, Subscription, Will};
use mqtt_sansio::{Message, PublishError, Version};

#[path = "common/broker.rs"]
mod broker;
#[path = "common/counting.rs"]
mod counting;
#[path = "common/server.rs"]
mod server;

use self::broker::{Net, config, message, named, with_server};
use self::server::{QOS_0, QOS_1, id, will};

#[test]
fn retained_messages_wait_for_room_in_bytes() {
    let mut net = Net::new(with_server(|server| server.max_stored_bytes = 150));
    let a = net.client(Version::V5, "a");
    for n in 0..5 {
        net.retain(a, &format!("t/{n}"), &"x".repeat(90), QOS_1);
    }
    let b = net.client(Version::V5, "b");
    net.subscribe(b, "t/+", QOS_1); // the subscriber acknowledges at once
    let got = net.received(b);
    assert_eq!((got.len(), net.broker.counters().dropped.total()), (5, 0), "{got:?}");
}

#[test]
fn repeated_filters_in_one_packet_cost_little_memory() {
    let mut net = Net::plain();
    for n in 0..2000 {
        net.publish_own(&Message::new(&format!("t/{n}"), "x").retain(true));
    }
    let b = net.client(Version::V5, "b");
    net.set_reading(b, false);
    let subscriptions = vec![Subscription::new("#", QOS_0).unwrap(); 5000];
    let before = counting::LIVE.get();
    net.send(b, &[Subscribe::new(id(1), &subscriptions).into()]);
    let grown = counting::LIVE.get() - before;
    assert!(grown < 10_000_000, "{grown} bytes");
}

#[test]
fn the_least_loaded_member_is_a_connected_one() {
    let mut net = Net::new(BrokerConfig { shared_strategy: SharedStrategy::LeastLoaded, ..config() });
    let a = net.client(Version::V5, "a");
    let b = net.client(Version::V5, "b");
    let c = net.client(Version::V5, "c");
    net.hold_acks(b);
    net.subscribe(b, "b", QOS_1);
    for n in 0..20 {
        net.publish_own(&Message::new("b", &format!("{n}")[..]).qos(QOS_1));
    }
    net.received(b);
    net.subscribe(a, "$share/g/t", QOS_1);
    net.subscribe(b, "$share/g/t", QOS_1);
    net.subscribe(c, "$share/g/t", QOS_1);
    net.lose(a);
    for n in 0..10 {
        net.publish_own(&Message::new("t", &format!("{n}")[..]).qos(QOS_1));
    }
    let (b, c) = (net.received(b).len(), net.received(c).len());
    assert_eq!((b, c), (0, 10), "b has 20 under way, c none");
}

#[test]
fn a_message_another_member_receives_is_not_dropped() {
    let mut net = Net::new(with_server(|server| server.max_stored = 1));
    let a = net.client(Version::V5, "a");
    let b = net.client(Version::V5, "b");
    net.hold_acks(a);
    net.subscribe(a, "$share/g/t", QOS_1);
    net.subscribe(b, "$share/g/t", QOS_1);
    let mut delivered = 0;
    for n in 0..6 {
        delivered += net.publish_own(&Message::new("t", &format!("{n}")[..]).qos(QOS_1));
    }
    assert_eq!((delivered, net.broker.counters().dropped.total()), (6, 0));
}

#[test]
fn a_subscriber_with_a_full_queue_is_a_matching_subscriber() {
    let mut net = Net::new(with_server(|server| server.max_stored = 1));
    let a = net.client(Version::V5, "a");
    let b = net.client(Version::V5, "b");
    net.hold_acks(b);
    net.subscribe(b, "t", QOS_1);
    net.publish(a, "t", "1", QOS_1);
    net.send(a, &[message("t", "2", QOS_1).into()]);
    assert_eq!(net.received(a), ["PUBACK 1 97"], "0x10 says that there are no subscribers");
}

#[test]
fn a_will_that_cannot_be_retained_is_published() {
    let mut net = Net::new(BrokerConfig { max_retained: 0, ..config() });
    let a = net.client(Version::V5, "a");
    net.subscribe(a, "will", QOS_1);
    let will = Will { topic: mqtt_sansio::TopicName::new("will").unwrap(), retain: true, ..will("bye", 0) };
    let b = net.connect(&Connect { will: Some(will), ..named(Version::V5, "b") });
    net.lose(b);
    let got = net.received(a);
    assert_eq!(got.len(), 1, "{got:?}");
}

#[test]
fn a_topic_with_too_many_levels_is_not_a_full_queue() {
    let mut net = Net::new(BrokerConfig { max_topic_levels: 2, ..config() });
    let error = net.broker.publish(net.now, &Message::new("a/b/c", "x"));
    assert!(!matches!(error, Err(PublishError::QueueFull)), "{error:?}");
}

#[test]
fn next_ready_returns_a_connection_that_takes_input_again() {
    use bytes::Buf;
    let mut net = Net::new(with_server(|server| server.answer_limit = NonZeroU32::new(8).unwrap()));
    let a = net.client(Version::V5, "a");
    let conn = net.id(a);
    net.set_reading(a, false);
    let pings = [0xC0, 0].repeat(100);
    let mut input = &pings[..];
    net.broker.receive(net.now, conn, &mut input);
    assert!(!net.broker.takes_input(conn) && !input.is_empty());
    while net.broker.next_ready().is_some() {}
    let transmit = net.broker.transmit(conn);
    transmit.advance(transmit.remaining());
    assert!(!net.broker.transmit(conn).has_remaining() && net.broker.takes_input(conn));
    assert_eq!(net.broker.next_ready(), Some(conn), "`takes_input`: when it does again, `next_ready` tells");
}

#[test]
fn a_session_replaced_by_clean_start_has_ended() {
    let mut net = Net::plain();
    let a = net.client(Version::V5, "a");
    net.lose(a);
    net.notices();
    net.connect(&Connect { clean_start: true, ..named(Version::V5, "a") });
    let notices = net.notices();
    assert_eq!(net.broker.counters().sessions_ended, 1, "{notices:?}");
}

#[test]
fn a_refused_client_does_not_take_the_session_over() {
    let mut net = Net::plain();
    let a = net.client(Version::V5, "a");
    let accept = mqtt_sansio::server::Accept { reason_string: Some("\0".into()), ..Default::default() };
    net.broker.policy_mut().admissions.push_back(Decision::Now(accept.into()));
    net.try_connect(&named(Version::V5, "a"));
    assert!(!net.is_over(a), "the new client was refused");
}

#[test]
fn a_protocol_error_before_connect_is_counted() {
    let mut net = Net::plain();
    let a = net.open(Version::V5);
    net.send_bytes(a, &[0xC0, 0]);
    assert!(net.is_over(a));
    assert_eq!(net.broker.counters().protocol_errors, 1);
}

/// A topic with many levels uses more memory than its message, and counts with it.
#[test]
fn limits_hold_in_bytes() {
    let mut net = Net::new(BrokerConfig { max_memory: 400_000, ..config() });
    let before = counting::LIVE.get();
    let mut retained = 0;
    for number in 0..1000 {
        let topic = format!("{number}{}", "/a".repeat(127));
        retained += u32::from(net.broker.publish(net.now, &Message::new(&topic, "x").retain(true)).is_ok());
    }
    let (reported, grown) = (net.broker.status().retained_bytes, counting::LIVE.get() - before);
    assert!(retained > 10 && reported <= 400_000, "{retained} of {reported} bytes");
    assert!((grown as u64) < reported * 3, "{grown} bytes instead of {reported}");
}

/// A retained message is delivered before a newer one of its topic, however slowly its subscriber reads
/// [3.1.1: MQTT-4.6.0-6; 5.0: MQTT-4.6.0-5].
#[test]
fn a_retained_message_is_not_delivered_after_a_newer_one() {
    for filters in [&["t/+"][..], &["x/#", "t/+"], &["t/+", "t/1"]] {
        let mut net = Net::new(with_server(|server| server.max_in_flight = 1.try_into().unwrap()));
        let client = net.client(Version::V5, "client");
        for topic in ["t/0", "t/1", "t/2", "x/0", "x/1"] {
            net.retain(client, topic, "older", QOS_1);
        }
        let watcher = net.client(Version::V5, "watcher");
        net.set_reading(watcher, false);
        let subscriptions: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, QOS_1).unwrap()).collect();
        net.send(watcher, &[Subscribe::new(id(1), &subscriptions).into()]);
        for topic in ["t/1", "t/2", "t/0"] {
            net.publish(client, topic, "newer", QOS_1);
        }
        net.set_reading(watcher, true);
        let received = net.received(watcher);
        for topic in ["t/0", "t/1", "t/2"] {
            let of: Vec<_> = received.iter().filter(|line| line.starts_with(topic)).collect();
            let older = if topic == "t/1" && filters.contains(&"t/1") { 2 } else { 1 };
            assert_eq!(of.len(), older + 1, "{received:?}");
            assert_eq!(of[older], &format!("{topic}: newer q1"), "{received:?}");
        }
    }
}
