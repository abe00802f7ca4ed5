//! Wills (sections 3.1.2.5 and 3.1.3.2).

use mqtt_sansio::codec::{Connect, DisconnectReasonCode, UserProperty, Will, WillProperties};
use mqtt_sansio::{QoS, Version};

use crate::broker::{BOTH, Net, named};
use crate::server::will;

const DELAY: u32 = 5;

/// A subscriber to all wills, and a client with this will.
fn with_will(version: Version, last: Will<'_>) -> (Net, usize, usize) {
    let mut net = Net::plain();
    let watcher = net.client(version, "watcher");
    net.subscribe(watcher, "#", QoS::ExactlyOnce);
    let client = net.connect(&Connect { will: Some(last), ..named(version, "client") });
    (net, watcher, client)
}

/// [3.1.1: MQTT-3.1.2-8; 5.0: MQTT-3.1.2-8]
#[test]
fn mqtt_3_1_2_8_a_will_is_published_unless_disconnect_removes_it() {
    for version in BOTH {
        let (mut net, watcher, client) = with_will(version, will("gone", 0));
        net.lose(client);
        assert_eq!(net.received(watcher), ["will: gone"]);
        let (mut net, watcher, client) = with_will(version, will("gone", 0));
        net.send_bytes(client, b"\x00\x00"); // packet type 0
        assert_eq!(net.received(watcher), ["will: gone"]);
        let (mut net, watcher, client) = with_will(version, will("gone", 0));
        net.leave(client, DisconnectReasonCode::NormalDisconnection);
        net.wait(100);
        assert!(net.received(watcher).is_empty());
    }
    let (mut net, watcher, client) = with_will(Version::V5, will("gone", DELAY));
    net.leave(client, DisconnectReasonCode::DisconnectWithWillMessage);
    assert!(net.received(watcher).is_empty());
    net.wait(DELAY.into());
    assert_eq!(net.received(watcher), ["will: gone"]);
    net.wait(10_000);
    assert!(net.received(watcher).is_empty(), "once");
}

/// [3.1.1: MQTT-3.1.2-12]
#[test]
fn mqtt_3_1_2_12_without_a_will_nothing_is_published() {
    for version in BOTH {
        let mut net = Net::plain();
        let watcher = net.client(version, "watcher");
        net.subscribe(watcher, "#", QoS::AtMostOnce);
        let client = net.client(version, "client");
        net.lose(client);
        net.wait(10_000);
        assert!(net.received(watcher).is_empty());
    }
}

/// [3.1.1: MQTT-3.1.2-16, MQTT-3.1.2-17; 5.0: MQTT-3.1.2-14, MQTT-3.1.2-15]
#[test]
fn mqtt_3_1_2_14_mqtt_3_1_2_15_mqtt_3_1_2_16_and_mqtt_3_1_2_17_will_retain_decides() {
    for version in BOTH {
        for retain in [false, true] {
            let (mut net, watcher, client) = with_will(version, Will { retain, ..will("gone", 0) });
            net.lose(client);
            assert_eq!(net.received(watcher), ["will: gone"]);
            let late = net.client(version, "late");
            net.subscribe(late, "will", QoS::AtMostOnce);
            let expected: &[&str] = if retain { &["will: gone retained"] } else { &[] };
            assert_eq!(net.received(late), expected);
        }
    }
}

/// [5.0: MQTT-3.1.3-9]
#[test]
fn mqtt_3_1_3_9_no_will_if_the_client_reconnects_within_the_delay() {
    let (mut net, watcher, client) = with_will(Version::V5, will("gone", DELAY));
    net.lose(client);
    net.wait(u64::from(DELAY) - 1);
    net.resume(&named(Version::V5, "client"));
    net.wait(10_000);
    assert!(net.received(watcher).is_empty());
}

/// [5.0: MQTT-3.1.3-10]
#[test]
fn mqtt_3_1_3_10_user_properties_of_a_will_keep_their_order() {
    let user_properties = [UserProperty::new("b", "1").unwrap(), UserProperty::new("a", "2").unwrap()];
    let properties = WillProperties { user_properties: (&user_properties).into(), ..WillProperties::default() };
    let (mut net, watcher, client) = with_will(Version::V5, Will { properties, ..will("gone", 0) });
    net.lose(client);
    let bytes = net.received_bytes(watcher);
    let packets = crate::server::decode(&bytes, Version::V5);
    let [mqtt_sansio::codec::Packet::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
    assert!(publish.properties.user_properties.iter().eq(user_properties));
}
