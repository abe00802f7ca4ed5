//! Messages on their way from publisher to subscriber (sections 3.3, 4.5 and 4.6), and takeover.

use mqtt_sansio::codec::{
    Connect, Delivery, Packet, PayloadFormat, Publish, PublishProperties, Subscription, UserProperty,
};
use mqtt_sansio::{QoS, TopicName, Version};

use crate::broker::{BOTH, Net, message, named};
use crate::server::{again, decode, text};

/// A session is found by the client identifier alone, and by all of its characters.
/// [3.1.1: MQTT-3.1.3-2; 5.0: MQTT-3.1.3-2]
#[test]
fn mqtt_3_1_3_2_a_session_is_found_by_its_client_identifier() {
    for version in BOTH {
        let mut net = Net::plain();
        let (one, other) = (net.client(version, "client"), net.client(version, "publisher"));
        net.subscribe(one, "a", QoS::AtLeastOnce);
        net.lose(one);
        net.publish(other, "a", "for client", QoS::AtLeastOnce);
        for name in ["Client", "clien", "client ", "client2", "\u{feff}client"] {
            let stranger = net.client(version, name);
            assert!(net.received(stranger).is_empty(), "{name:?} has a session of its own");
        }
        let back = net.resume(&named(version, "client"));
        assert_eq!(net.received(back), ["a: for client q1"]);
    }
}

/// [3.1.1: MQTT-3.1.4-2; 5.0: MQTT-3.1.4-3]
#[test]
fn mqtt_3_1_4_2_and_mqtt_3_1_4_3_a_newer_connection_takes_over() {
    for version in BOTH {
        let mut net = Net::plain();
        let older = net.client(version, "client");
        net.subscribe(older, "a", QoS::AtLeastOnce);
        let newer = net.resume(&named(version, "client"));
        let reported: &[&str] = if version == Version::V5 { &["DISCONNECT 8e"] } else { &[] };
        assert_eq!(net.received(older), reported);
        assert!(net.is_over(older) && !net.is_over(newer));
        let client = net.client(version, "other");
        net.publish(client, "a", "1", QoS::AtLeastOnce);
        assert_eq!(net.received(newer), ["a: 1 q1"]);
        assert_eq!(net.broker.counters().sessions_taken_over, 1);
    }
}

/// [3.1.1: MQTT-3.1.3-6; 5.0: MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16]
#[test]
fn mqtt_3_2_2_16_an_empty_client_identifier_is_assigned_an_unused_one() {
    let mut net = Net::plain();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let peer = net.try_connect(&Connect { client_identifier: text(""), ..named(Version::V5, "") });
        let bytes = net.received_bytes(peer);
        let packets = decode(&bytes, Version::V5);
        let [Packet::ConnAck(connack)] = &packets[..] else { panic!("{packets:?}") };
        let name = connack.properties.assigned_client_identifier.unwrap().as_str().to_owned();
        assert_eq!(net.broker.client_id(net.id(peer)), Some(&*name));
        assert!(names.insert(name));
    }
    assert_eq!(net.broker.status().sessions, 100);
    // 3.1.1 cannot tell the client.
    let mut peers = Vec::new();
    for _ in 0..20 {
        let clean = Connect { client_identifier: text(""), clean_start: true, ..named(Version::V311, "") };
        let peer = net.try_connect(&clean);
        assert_eq!(net.received_bytes(peer), [0x20, 2, 0, 0]);
        assert!(names.insert(net.broker.client_id(net.id(peer)).unwrap().to_owned()));
        peers.push(peer);
    }
    assert!(peers.into_iter().all(|peer| !net.is_over(peer)), "none has taken over another");
}

/// A client that has found out which identifier is assigned next, and uses it: two brokers with one secret assign the
/// same ones. [5.0: MQTT-3.2.2-16]
#[test]
fn mqtt_3_2_2_16_an_identifier_in_use_is_not_assigned() {
    let assigned = |net: &mut Net| {
        let peer = net.try_connect(&Connect { client_identifier: text(""), ..named(Version::V5, "") });
        net.broker.client_id(net.id(peer)).unwrap().to_owned()
    };
    let mut first = Net::plain();
    let names = [assigned(&mut first), assigned(&mut first)];
    let mut second = Net::plain();
    let clever = names.clone().map(|name| second.client(Version::V5, &name));
    second.lose(clever[1]);
    let name = assigned(&mut second);
    assert!(!names.contains(&name), "{name} is the identifier of a session");
    assert_eq!(second.broker.status().sessions, 3);
    assert!(!second.is_over(clever[0]));
}

/// [3.1.1: MQTT-3.3.1-3; 5.0: MQTT-3.3.1-3]
#[test]
fn mqtt_3_3_1_3_dup_is_not_propagated() {
    for (version, qos) in
        BOTH.into_iter().flat_map(|version| [(version, QoS::AtLeastOnce), (version, QoS::ExactlyOnce)])
    {
        let line = format!("a: 1 q{}", qos.value());
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.subscribe(watcher, "a", qos);
        net.hold_acks(watcher);
        net.publish_packet(client, &Publish { delivery: again(qos, 1), ..message("a", "1", qos) });
        assert_eq!(net.received(watcher), [&*line], "it was sent again by its publisher, not to this subscriber");
        net.lose(watcher);
        let watcher = net.resume(&named(version, "watcher"));
        assert_eq!(net.received(watcher)[0], format!("{line} again"));
    }
}

/// [5.0: MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20]
#[test]
fn mqtt_3_3_2_4_mqtt_3_3_2_15_mqtt_3_3_2_16_mqtt_3_3_2_17_mqtt_3_3_2_18_and_mqtt_3_3_2_20_properties_are_forwarded() {
    let user_properties =
        [("b", "1"), ("a", "2"), ("b", "1")].map(|(name, value)| UserProperty::new(name, value).unwrap());
    let properties = PublishProperties {
        payload_format_indicator: Some(PayloadFormat::Utf8),
        response_topic: Some(TopicName::new("answers/here").unwrap()),
        correlation_data: Some(b"\0\xFFdata"),
        content_type: Some(text("text/plain")),
        user_properties: (&user_properties).into(),
        ..PublishProperties::default()
    };
    for (payload, qos) in [("1", QoS::AtMostOnce), ("2", QoS::AtLeastOnce), ("3", QoS::ExactlyOnce)] {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(Version::V5, "client"), net.client(Version::V5, "watcher"));
        let old = net.client(Version::V311, "old");
        for peer in [watcher, old] {
            net.subscribe(peer, "a", QoS::ExactlyOnce);
            net.hold_acks(peer);
        }
        let publish = Publish { properties, ..message("a", payload, qos) };
        net.publish_packet(client, &publish);
        net.assert_received(watcher, &[publish.into()]);
        // Before 5.0 there are no properties.
        net.assert_received(old, &[message("a", payload, qos).into()]);
    }
}

/// [5.0: MQTT-3.3.2-5, MQTT-3.3.2-6]
#[test]
fn mqtt_3_3_2_5_and_mqtt_3_3_2_6_a_stored_message_expires() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(Version::V5, "client"), net.client(version, "watcher"));
        net.subscribe(watcher, "a", QoS::AtLeastOnce);
        net.lose(watcher);
        let expiring = |payload, seconds| {
            let properties = PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
            Publish { properties, ..message("a", payload, QoS::AtLeastOnce) }
        };
        net.publish_packet(client, &expiring("1", 5));
        net.publish_packet(client, &expiring("2", 60));
        net.publish(client, "a", "3", QoS::AtLeastOnce);
        net.wait(20);
        let watcher = net.resume(&named(version, "watcher"));
        let bytes = net.received_bytes(watcher);
        let left: Vec<_> = decode(&bytes, version)
            .into_iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => (publish.payload.to_vec(), publish.properties.message_expiry_interval),
                other => panic!("{other:?}"),
            })
            .collect();
        let rest = if version == Version::V5 { Some(40) } else { None };
        assert_eq!(left, [(b"2".to_vec(), rest), (b"3".to_vec(), None)]);
        assert_eq!(net.broker.counters().dropped.expired, 1);
    }
}

/// [3.1.1: MQTT-3.3.5-1; 5.0: MQTT-3.3.4-2]
#[test]
fn mqtt_3_3_4_2_mqtt_3_3_5_1_overlapping_subscriptions_deliver_the_highest_qos() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        for (filter, qos) in [("a/#", QoS::AtMostOnce), ("a/+", QoS::ExactlyOnce), ("a/b", QoS::AtLeastOnce)] {
            net.subscribe(watcher, filter, qos);
        }
        net.hold_acks(watcher);
        net.publish(client, "a/b", "1", QoS::ExactlyOnce);
        assert_eq!(net.received(watcher), ["a/b: 1 q2"]);
    }
}

/// [5.0: MQTT-3.3.4-3, MQTT-3.3.4-4]
#[test]
fn mqtt_3_3_4_3_and_mqtt_3_3_4_4_one_copy_has_all_identifiers() {
    let mut net = Net::plain();
    let (client, watcher) = (net.client(Version::V5, "client"), net.client(Version::V5, "watcher"));
    for (filter, identifier) in [("a/#", 7), ("a/+", 0), ("a/b", 268_435_455), ("b", 9), ("#", 7)] {
        net.subscribe_on(watcher, &Subscription::new(filter, QoS::AtMostOnce).unwrap(), identifier);
    }
    net.publish(client, "a/b", "1", QoS::AtMostOnce);
    assert_eq!(net.received(watcher), ["a/b: 1 #7 #7 #268435455"]);
    net.publish(client, "b", "2", QoS::AtMostOnce);
    assert_eq!(net.received(watcher), ["b: 2 #7 #9"]);
}

/// The subscriptions of one client share one copy, so only a share beside them leads to a copy of its own.
/// [5.0: MQTT-3.3.4-5]
#[test]
fn mqtt_3_3_4_5_a_copy_of_its_own_has_its_own_identifier() {
    let mut net = Net::plain();
    let (client, watcher) = (net.client(Version::V5, "client"), net.client(Version::V5, "watcher"));
    net.subscribe_on(watcher, &Subscription::new("a", QoS::AtMostOnce).unwrap(), 1);
    net.subscribe_on(watcher, &Subscription::new("$share/g/a", QoS::AtMostOnce).unwrap(), 2);
    net.publish(client, "a", "1", QoS::AtMostOnce);
    assert_eq!(net.received(watcher), ["a: 1 #1", "a: 1 #2"]);
}

/// [3.1.1: MQTT-3.1.2-5, MQTT-4.5.0-1; 5.0: MQTT-4.5.0-1]
#[test]
fn mqtt_3_1_2_5_and_mqtt_4_5_0_1_messages_are_stored_for_absent_clients() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.subscribe(watcher, "#", QoS::ExactlyOnce);
        net.lose(watcher);
        net.publish(client, "a", "0", QoS::AtMostOnce);
        net.publish(client, "a", "1", QoS::AtLeastOnce);
        net.publish(client, "b", "2", QoS::ExactlyOnce);
        let watcher = net.resume(&named(version, "watcher"));
        let received = net.received(watcher);
        assert_eq!(received[..2], ["a: 1 q1", "b: 2 q2"], "{received:?}");
        assert_eq!(net.broker.status().stored, 0, "all is settled");
    }
}

/// [3.1.1: MQTT-4.6.0-5, MQTT-4.6.0-6; 5.0: MQTT-4.6.0-5, MQTT-4.6.0-6]
#[test]
fn mqtt_4_6_0_5_and_mqtt_4_6_0_6_every_topic_is_ordered() {
    for version in BOTH {
        let mut net = Net::plain();
        let watcher = net.client(version, "watcher");
        let clients = ["one", "two"].map(|name| net.client(version, name));
        net.subscribe(watcher, "#", QoS::ExactlyOnce);
        for round in 0..20 {
            // The subscriber is connected, absent or slow.
            match round {
                5 => net.set_reading(watcher, false),
                10 => net.set_reading(watcher, true),
                _ => {}
            }
            for (place, &client) in clients.iter().enumerate() {
                for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    net.publish(client, &format!("{place}/{}", qos.value()), &format!("{round:02}"), qos);
                }
            }
        }
        let bytes = net.received_bytes(watcher);
        let mut last = std::collections::BTreeMap::new();
        let mut count = 0;
        for packet in decode(&bytes, version) {
            if let Packet::Publish(Publish { topic, payload, delivery, .. }) = packet {
                assert!(!delivery.dup() || delivery == Delivery::AtMostOnce);
                let before = last.insert(topic.as_str().to_owned(), payload.to_vec());
                assert!(before.is_none_or(|before| before < payload.to_vec()), "{topic} is out of order");
                count += 1;
            }
        }
        assert_eq!(count, 20 * 2 * 3);
    }
}

/// A message is stored with all properties, both as a retained message and for an absent client.
/// [5.0: MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20]
#[test]
fn mqtt_3_3_2_4_and_mqtt_3_3_2_15_to_mqtt_3_3_2_20_properties_are_stored() {
    let user_properties =
        [("b", "1"), ("a", "2"), ("", "")].map(|(name, value)| UserProperty::new(name, value).unwrap());
    let none = PublishProperties::default();
    for properties in [
        PublishProperties { payload_format_indicator: Some(PayloadFormat::Unspecified), ..none },
        PublishProperties { payload_format_indicator: Some(PayloadFormat::Utf8), ..none },
        PublishProperties { response_topic: Some(TopicName::new("answers").unwrap()), ..none },
        PublishProperties { correlation_data: Some(b""), ..none },
        PublishProperties { correlation_data: Some(&[0, 255]), ..none },
        PublishProperties { content_type: Some(text("")), ..none },
        PublishProperties { user_properties: (&user_properties).into(), ..none },
    ] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            // A large payload is stored separately.
            for payload in ["x", &"x".repeat(10_000)] {
                let mut net = Net::plain();
                let (client, away) = (net.client(Version::V5, "client"), net.client(Version::V5, "away"));
                net.subscribe(away, "a", QoS::ExactlyOnce);
                net.lose(away);
                let publish = Publish { properties, ..message("a", payload, qos) };
                net.publish_packet(client, &Publish { retain: true, ..publish });
                let late = net.client(Version::V5, "late");
                net.hold_acks(late);
                net.subscribe(late, "a", QoS::ExactlyOnce);
                net.assert_received(late, &[Publish { retain: true, ..publish }.into()]);
                let back = net.try_connect(&named(Version::V5, "away"));
                let bytes = net.received_bytes(back);
                assert_eq!(decode(&bytes, Version::V5)[1], publish.into());
            }
        }
    }
}

/// Order is preserved for each QoS of message and subscription: for clients that read at once, that have a Receive
/// Maximum of two and read late, and that were absent.
/// [3.1.1: MQTT-4.6.0-6; 5.0: MQTT-4.6.0-6]
#[test]
fn mqtt_4_6_0_6_order_is_preserved_for_slow_and_absent_clients() {
    let numbers: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for version in BOTH {
        for (qos, granted) in all.into_iter().flat_map(|qos| all.map(|granted| (qos, granted))) {
            let mut net = Net::plain();
            let client = net.client(version, "client");
            let mut slow = named(version, "slow");
            if version == Version::V5 {
                slow.properties.receive_maximum = 2.try_into().ok();
            }
            let slow = net.connect(&slow);
            let (quick, away) = (net.client(version, "quick"), net.client(version, "away"));
            for peer in [quick, slow, away] {
                net.subscribe(peer, "a", granted);
            }
            net.lose(away);
            net.set_reading(slow, false);
            numbers.iter().for_each(|number| net.publish(client, "a", number, qos));
            net.set_reading(slow, true);
            let away = net.resume(&named(version, "away"));
            for (peer, is_away) in [(quick, false), (slow, false), (away, true)] {
                let received = net.received(peer);
                let payloads = received.iter().filter_map(|line| line.strip_prefix("a: ")?.split(' ').next());
                let expected = if is_away && qos.min(granted) == QoS::AtMostOnce { &[][..] } else { &numbers };
                assert!(payloads.eq(expected), "published with {qos}, granted {granted}: {received:?}");
            }
        }
    }
}
