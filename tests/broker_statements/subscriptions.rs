//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 and 3.10), and topics (section 4.7).

use mqtt_sansio::codec::{Connect, Subscribe, Subscription, Unsubscribe};
use mqtt_sansio::{QoS, Version};

use crate::broker::{BOTH, Net, named, with_server};
use crate::server::{filter, id, will};

/// [3.1.1: MQTT-3.3.2-3, MQTT-4.7.2-1, MQTT-4.7.3-4; 5.0: MQTT-3.3.2-3, MQTT-4.7.2-1, MQTT-4.7.3-4]
#[test]
fn mqtt_3_3_2_3_mqtt_4_7_2_1_and_mqtt_4_7_3_4_a_delivered_topic_matches_the_filter() {
    for version in BOTH {
        let mut net = Net::plain();
        let client = net.client(version, "client");
        let table = [
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a//c", true),
            ("a/+/c", "a/b/d", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a", "A", false),
            ("/a", "a", false),
            ("#", "$x/a", false),
            ("+/a", "$x/a", false),
            ("$x/#", "$x/a", true),
            ("\u{e9}", "e\u{301}", false),
        ];
        for (place, (wanted, topic, expected)) in table.into_iter().enumerate() {
            let name = format!("watcher-{place}");
            let watcher = net.client(version, &name);
            net.subscribe(watcher, wanted, QoS::AtMostOnce);
            net.publish(client, topic, "1", QoS::AtMostOnce);
            let line = format!("{topic}: 1");
            let lines: &[String] = if expected { &[line] } else { &[] };
            assert_eq!(net.received(watcher), lines, "{wanted} {topic}");
        }
    }
}

/// [3.1.1: MQTT-3.8.3-2]
#[test]
fn mqtt_3_8_3_2_a_server_without_wildcards_rejects_them() {
    let mut net = Net::new(with_server(|server| server.wildcard_subscription_available = false));
    let client = net.client(Version::V311, "client");
    net.subscribe_all(client, &[("a/+", QoS::AtMostOnce), ("a", QoS::AtLeastOnce), ("#", QoS::AtMostOnce)]);
    assert_eq!(net.received(client), ["SUBACK 1 80 01 80"]);
    assert_eq!(net.broker.status().subscriptions, 1);
}

/// [5.0: MQTT-3.8.3-3]
#[test]
fn mqtt_3_8_3_3_no_local_excludes_the_publisher() {
    let mut net = Net::plain();
    let (client, other) = (net.client(Version::V5, "client"), net.client(Version::V5, "other"));
    let subscription = Subscription { no_local: true, ..Subscription::new("a", QoS::AtMostOnce).unwrap() };
    net.subscribe_on(client, &subscription, 0);
    net.subscribe_on(other, &subscription, 0);
    net.publish(client, "a", "1", QoS::AtMostOnce);
    assert!(net.received(client).is_empty());
    assert_eq!(net.received(other), ["a: 1"]);
    // Nor as a retained message, in whichever session of the client it was published.
    net.retain(client, "a", "2", QoS::AtMostOnce);
    net.received(other);
    net.lose(client);
    net.broker.end_session(net.now, "client");
    let client = net.client(Version::V5, "client");
    for (peer, expected) in [(client, &[][..]), (other, &["a: 2 retained"])] {
        net.subscribe_on(peer, &subscription, 0);
        assert_eq!(net.received(peer), expected);
    }
}

/// [3.1.1: MQTT-3.8.4-3; 5.0: MQTT-3.8.4-3, MQTT-3.8.4-4]
#[test]
fn mqtt_3_8_4_3_and_mqtt_3_8_4_4_a_second_subscribe_replaces_and_loses_nothing() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.retain(client, "a", "0", QoS::ExactlyOnce);
        net.subscribe(watcher, "a", QoS::AtMostOnce);
        assert_eq!(net.received(watcher), ["a: 0 retained"]);
        net.hold_acks(watcher);
        net.subscribe(watcher, "a", QoS::AtLeastOnce);
        assert_eq!(net.received(watcher), ["a: 0 q1 retained"]);
        net.publish(client, "a", "1", QoS::ExactlyOnce);
        assert_eq!(net.received(watcher), ["a: 1 q1"]);
        assert_eq!(net.broker.status().subscriptions, 1);
        // Another filter that matches the same topics is another subscription.
        net.subscribe(watcher, "+", QoS::AtMostOnce);
        assert_eq!(net.broker.status().subscriptions, 2);
    }
}

/// [3.1.1: MQTT-3.8.4-4, MQTT-3.9.3-1; 5.0: MQTT-3.8.4-5, MQTT-3.9.3-1]
#[test]
fn mqtt_3_8_4_4_and_mqtt_3_8_4_5_several_filters_are_as_several_subscribe_packets() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.subscribe_all(watcher, &[("a", QoS::AtMostOnce), ("b", QoS::ExactlyOnce), ("a", QoS::AtLeastOnce)]);
        assert_eq!(net.received(watcher), ["SUBACK 1 00 02 01"]);
        net.publish(client, "a", "1", QoS::ExactlyOnce);
        net.publish(client, "b", "2", QoS::ExactlyOnce);
        let received = net.received(watcher);
        assert_eq!(received[..2], ["a: 1 q1", "b: 2 q2"], "{received:?}");
    }
}

/// [3.1.1: MQTT-3.8.4-6; 5.0: MQTT-3.8.4-8]
#[test]
fn mqtt_3_8_4_6_and_mqtt_3_8_4_8_the_lower_qos_applies() {
    const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for version in BOTH {
        for (granted, published) in ALL.into_iter().flat_map(|granted| ALL.map(|published| (granted, published))) {
            let mut net = Net::plain();
            let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
            net.subscribe(watcher, "a", granted);
            net.hold_acks(watcher);
            net.publish(client, "a", "1", published);
            let expected = match granted.min(published) {
                QoS::AtMostOnce => "a: 1",
                QoS::AtLeastOnce => "a: 1 q1",
                QoS::ExactlyOnce => "a: 1 q2",
            };
            assert_eq!(net.received(watcher), [expected]);
        }
    }
}

/// [3.1.1: MQTT-3.10.4-1, MQTT-3.10.4-5; 5.0: MQTT-3.10.4-1, MQTT-3.10.4-5]
#[test]
fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.subscribe(watcher, "a/+", QoS::AtMostOnce);
        net.unsubscribe(watcher, &["a/b", "a/#", "A/+", "+/+"]);
        let codes = if version == Version::V5 { " 11 11 11 11" } else { "" };
        assert_eq!(net.received(watcher), [format!("UNSUBACK 1{codes}")]);
        net.publish(client, "a/b", "1", QoS::AtMostOnce);
        assert_eq!(net.received(watcher), ["a/b: 1"]);
        net.unsubscribe(watcher, &["a/+"]);
        let codes = if version == Version::V5 { " 00" } else { "" };
        assert_eq!(net.received(watcher), [format!("UNSUBACK 1{codes}")]);
        net.publish(client, "a/b", "2", QoS::AtMostOnce);
        assert!(net.received(watcher).is_empty());
    }
}

/// [3.1.1: MQTT-3.10.4-2, MQTT-3.10.4-3; 5.0: MQTT-3.10.4-2, MQTT-3.10.4-3]
#[test]
fn mqtt_3_10_4_2_and_mqtt_3_10_4_3_started_deliveries_complete_and_none_is_added() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.subscribe(watcher, "a", QoS::ExactlyOnce);
        net.hold_acks(watcher);
        net.publish(client, "a", "1", QoS::ExactlyOnce);
        assert_eq!(net.received(watcher), ["a: 1 q2"]);
        net.send(watcher, &[Unsubscribe::new(id(9), &[filter("a")]).into()]);
        net.received(watcher);
        net.publish(client, "a", "2", QoS::ExactlyOnce);
        assert!(net.received(watcher).is_empty());
        net.send_bytes(watcher, b"\x50\x02\x00\x01"); // PUBREC
        assert_eq!(net.received(watcher), ["PUBREL 1 00"]);
        net.send_bytes(watcher, b"\x70\x02\x00\x01"); // PUBCOMP
        assert_eq!(net.broker.status().stored, 0);
    }
}

/// A delivery that has begun is completed after UNSUBSCRIBE, even on another connection.
/// [3.1.1: MQTT-3.10.4-3; 5.0: MQTT-3.10.4-3]
#[test]
fn mqtt_3_10_4_3_started_deliveries_complete_on_another_connection() {
    for (version, qos) in BOTH.into_iter().flat_map(|version| [(version, "q1"), (version, "q2")]) {
        let granted = if qos == "q1" { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.subscribe(watcher, "a", granted);
        net.hold_acks(watcher);
        net.publish(client, "a", "1", granted);
        assert_eq!(net.received(watcher), [format!("a: 1 {qos}")]);
        net.send(watcher, &[Unsubscribe::new(id(9), &[filter("a")]).into()]);
        net.lose(watcher);
        let watcher = net.resume(&named(version, "watcher"));
        assert_eq!(net.received(watcher)[0], format!("a: 1 {qos} again"));
        net.publish(client, "a", "2", granted);
        net.received(watcher); // PUBREL
        assert_eq!(net.broker.status().stored, 0, "it is acknowledged, and the second one is for nobody");
    }
}

/// [5.0: MQTT-3.2.2-10]
#[test]
fn mqtt_3_2_2_10_a_broker_of_qos_0_accepts_subscriptions_of_every_qos() {
    let mut net = Net::new(with_server(|server| server.maximum_qos = QoS::AtMostOnce));
    let client = net.try_connect(&named(Version::V5, "client"));
    net.received(client);
    net.subscribe_all(client, &[("a", QoS::AtMostOnce), ("b", QoS::AtLeastOnce), ("c", QoS::ExactlyOnce)]);
    assert_eq!(net.received(client), ["SUBACK 1 00 00 00"]);
    net.publish(client, "c", "1", QoS::AtMostOnce);
    assert_eq!(net.received(client), ["c: 1"]);
}

/// [3.1.1: MQTT-3.10.4-6; 5.0: MQTT-3.10.4-6]
#[test]
fn mqtt_3_10_4_6_several_filters_are_as_several_unsubscribe_packets() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.subscribe_all(watcher, &[("a", QoS::AtMostOnce), ("b", QoS::AtMostOnce), ("c", QoS::AtMostOnce)]);
        net.unsubscribe(watcher, &["a", "x", "c", "a"]);
        let codes = if version == Version::V5 { " 00 11 00 11" } else { "" };
        assert_eq!(net.received(watcher)[1..], [format!("UNSUBACK 1{codes}")]);
        for topic in ["a", "b", "c"] {
            net.publish(client, topic, "1", QoS::AtMostOnce);
        }
        assert_eq!(net.received(watcher), ["b: 1"]);
    }
}

/// No Local applies to the client, on whichever of its connections and in whatever way it has published.
/// [5.0: MQTT-3.8.3-3]
#[test]
fn mqtt_3_8_3_3_no_local_applies_to_the_client_and_not_the_connection() {
    let mut net = Net::plain();
    let client = net.connect(&Connect { will: Some(will("gone", 0)), ..named(Version::V5, "client") });
    let other = net.client(Version::V5, "other");
    let subscription = Subscription { no_local: true, ..Subscription::new("+", QoS::AtLeastOnce).unwrap() };
    net.subscribe_on(client, &subscription, 0);
    net.lose(client);
    net.publish(other, "a", "other's", QoS::AtLeastOnce);
    let client = net.resume(&named(Version::V5, "client"));
    net.publish(client, "a", "own", QoS::AtLeastOnce);
    assert_eq!(net.received(client), ["a: other's q1"]);
    // Another subscription of the client may receive it.
    net.subscribe(client, "#", QoS::AtMostOnce);
    net.publish(client, "a", "own", QoS::AtLeastOnce);
    assert_eq!(net.received(client), ["a: own"]);
}

/// Queued messages, and messages published meanwhile, are delivered in order with the answer.
/// [3.1.1: MQTT-3.8.4-3; 5.0: MQTT-3.8.4-4]
#[test]
fn mqtt_3_8_4_4_a_second_subscribe_loses_no_queued_message() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.retain(client, "a", "kept", QoS::AtLeastOnce);
        net.subscribe(watcher, "a", QoS::AtLeastOnce);
        net.received(watcher);
        net.hold_acks(watcher);
        net.publish(client, "a", "under way", QoS::AtLeastOnce);
        net.set_reading(watcher, false);
        net.publish(client, "a", "not read", QoS::AtLeastOnce);
        let again = [Subscription::new("a", QoS::ExactlyOnce).unwrap()];
        net.send(watcher, &[Subscribe::new(id(9), &again).into()]);
        net.publish(client, "a", "behind", QoS::ExactlyOnce);
        net.set_reading(watcher, true);
        let expected = ["a: under way q1", "a: not read q1", "SUBACK 9 02", "a: kept q1 retained", "a: behind q2"];
        assert_eq!(net.received(watcher), expected);
    }
}
