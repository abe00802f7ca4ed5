//! Retained messages (section 3.3.1.3).

use mqtt_sansio::codec::{DisconnectReasonCode, Publish, PublishProperties, RetainHandling, Subscription};
use mqtt_sansio::{QoS, Version};

use crate::broker::{BOTH, Net, message};

/// The retained messages that a new subscriber receives.
fn retained(net: &mut Net, version: Version, filter: &str) -> Vec<String> {
    let late = net.client(version, "late");
    net.subscribe(late, filter, QoS::ExactlyOnce);
    let received = net.received(late);
    net.leave(late, DisconnectReasonCode::NormalDisconnection);
    net.broker.end_session(net.now, "late");
    received
}

/// [3.1.1: MQTT-3.3.1-5, MQTT-3.3.1-7; 5.0: MQTT-3.3.1-5]
#[test]
fn mqtt_3_3_1_5_and_mqtt_3_3_1_7_the_last_retained_message_is_stored_with_its_qos() {
    for version in BOTH {
        let mut net = Net::plain();
        let client = net.client(version, "client");
        net.retain(client, "a", "1", QoS::ExactlyOnce);
        net.retain(client, "b", "2", QoS::AtMostOnce);
        net.retain(client, "a", "3", QoS::AtLeastOnce);
        assert_eq!(retained(&mut net, version, "a"), ["a: 3 q1 retained"]);
        net.retain(client, "a", "4", QoS::AtMostOnce);
        assert_eq!(retained(&mut net, version, "a"), ["a: 4 retained"], "what was before is gone");
        assert_eq!(retained(&mut net, version, "b"), ["b: 2 retained"]);
    }
}

/// [3.1.1: MQTT-3.3.1-10, MQTT-3.3.1-11; 5.0: MQTT-3.3.1-6, MQTT-3.3.1-7]
#[test]
fn mqtt_3_3_1_6_mqtt_3_3_1_7_mqtt_3_3_1_10_and_mqtt_3_3_1_11_an_empty_payload_removes_it_and_is_forwarded() {
    for version in BOTH {
        let mut net = Net::plain();
        let (client, watcher) = (net.client(version, "client"), net.client(version, "watcher"));
        net.retain(client, "a", "1", QoS::AtLeastOnce);
        net.subscribe(watcher, "a", QoS::ExactlyOnce);
        assert_eq!(net.received(watcher), ["a: 1 q1 retained"]);
        net.retain(client, "a", "", QoS::AtLeastOnce);
        assert_eq!(net.received(watcher), ["a:  q1"]);
        assert_eq!(net.broker.status().retained, 0);
        assert!(retained(&mut net, version, "#").is_empty());
        net.retain(client, "never", "", QoS::AtMostOnce);
        assert_eq!(net.broker.status().retained, 0, "an empty one is never kept");
    }
}

/// [3.1.1: MQTT-3.3.1-12; 5.0: MQTT-3.3.1-8]
#[test]
fn mqtt_3_3_1_8_and_mqtt_3_3_1_12_messages_without_retain_do_not_change_it() {
    for version in BOTH {
        let mut net = Net::plain();
        let client = net.client(version, "client");
        net.retain(client, "a", "1", QoS::AtLeastOnce);
        net.publish(client, "a", "2", QoS::AtLeastOnce);
        net.publish(client, "a", "", QoS::AtLeastOnce);
        assert_eq!(retained(&mut net, version, "a"), ["a: 1 q1 retained"]);
    }
}

/// [3.1.1: MQTT-3.3.1-6, MQTT-3.3.1-8, MQTT-3.3.1-9; 5.0: MQTT-3.3.1-9, MQTT-3.3.1-12]
#[test]
fn mqtt_3_3_1_6_mqtt_3_3_1_8_and_mqtt_3_3_1_9_a_new_subscription_receives_them_with_retain() {
    for version in BOTH {
        let mut net = Net::plain();
        let client = net.client(version, "client");
        for (topic, payload) in [("a/b", "1"), ("a", "2"), ("b", "3"), ("$x/b", "4")] {
            net.retain(client, topic, payload, QoS::AtLeastOnce);
        }
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        assert_eq!(sorted(retained(&mut net, version, "a/#")), ["a/b: 1 q1 retained", "a: 2 q1 retained"]);
        assert_eq!(sorted(retained(&mut net, version, "+")), ["a: 2 q1 retained", "b: 3 q1 retained"]);
        assert_eq!(retained(&mut net, version, "$x/+"), ["$x/b: 4 q1 retained"]);
        assert_eq!(retained(&mut net, version, "+/b"), ["a/b: 1 q1 retained"]);
        let watcher = net.client(version, "watcher");
        net.subscribe(watcher, "b", QoS::AtMostOnce);
        assert_eq!(net.received(watcher), ["b: 3 retained"], "not above what was granted");
        net.retain(client, "b", "5", QoS::AtLeastOnce);
        assert_eq!(net.received(watcher), ["b: 5"], "it was not retained when it was subscribed to");
    }
}

/// Subscribes twice with this Retain Handling and returns the messages received each time.
fn twice(handling: RetainHandling) -> [Vec<String>; 2] {
    let mut net = Net::plain();
    let (client, watcher) = (net.client(Version::V5, "client"), net.client(Version::V5, "watcher"));
    net.retain(client, "a", "1", QoS::AtMostOnce);
    let subscription = Subscription { retain_handling: handling, ..Subscription::new("a", QoS::AtMostOnce).unwrap() };
    [(); 2].map(|()| {
        net.subscribe_on(watcher, &subscription, 0);
        net.received(watcher)
    })
}

/// [5.0: MQTT-3.3.1-9]
#[test]
fn mqtt_3_3_1_9_retain_handling_0_sends_them_each_time() {
    assert_eq!(twice(RetainHandling::SendAtSubscribe), [["a: 1 retained"], ["a: 1 retained"]]);
}

/// [5.0: MQTT-3.3.1-10]
#[test]
fn mqtt_3_3_1_10_retain_handling_1_sends_them_for_a_new_subscription() {
    assert_eq!(twice(RetainHandling::SendIfNew), [vec!["a: 1 retained".to_owned()], vec![]]);
}

/// [5.0: MQTT-3.3.1-11]
#[test]
fn mqtt_3_3_1_11_retain_handling_2_sends_none() {
    assert_eq!(twice(RetainHandling::DoNotSend), [const { Vec::<String>::new() }; 2]);
}

/// [5.0: MQTT-3.3.1-12, MQTT-3.3.1-13]
#[test]
fn mqtt_3_3_1_12_and_mqtt_3_3_1_13_retain_as_published() {
    let mut net = Net::plain();
    let (client, usual, keeping) =
        (net.client(Version::V5, "client"), net.client(Version::V5, "usual"), net.client(Version::V5, "keeping"));
    let subscription = Subscription::new("a", QoS::AtMostOnce).unwrap();
    net.subscribe_on(usual, &subscription, 0);
    net.subscribe_on(keeping, &Subscription { retain_as_published: true, ..subscription }, 0);
    net.retain(client, "a", "1", QoS::AtMostOnce);
    net.publish(client, "a", "2", QoS::AtMostOnce);
    assert_eq!(net.received(usual), ["a: 1", "a: 2"]);
    assert_eq!(net.received(keeping), ["a: 1 retained", "a: 2"]);
}

/// [3.1.1: MQTT-3.1.2-7]
#[test]
fn mqtt_3_1_2_7_retained_messages_are_not_part_of_a_session() {
    for version in BOTH {
        let mut net = Net::plain();
        let client = net.client(version, "client");
        net.retain(client, "a", "1", QoS::AtMostOnce);
        net.leave(client, DisconnectReasonCode::NormalDisconnection);
        assert!(net.broker.end_session(net.now, "client"));
        net.wait(100_000);
        assert_eq!(retained(&mut net, version, "a"), ["a: 1 retained"]);
    }
}

/// [5.0: MQTT-3.3.2-5, MQTT-3.3.2-6]
#[test]
fn mqtt_3_3_2_5_and_mqtt_3_3_2_6_a_retained_message_expires() {
    let mut net = Net::plain();
    let client = net.client(Version::V5, "client");
    let properties = PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() };
    net.publish_packet(client, &Publish { retain: true, properties, ..message("a", "1", QoS::AtMostOnce) });
    net.wait(4);
    let late = net.client(Version::V5, "not so late");
    net.subscribe(late, "a", QoS::AtMostOnce);
    let properties = PublishProperties { message_expiry_interval: Some(6), ..PublishProperties::default() };
    net.assert_received(late, &[Publish { retain: true, properties, ..message("a", "1", QoS::AtMostOnce) }.into()]);
    net.wait(6);
    assert_eq!(net.broker.status().retained, 0);
    assert!(retained(&mut net, Version::V311, "a").is_empty());
}
