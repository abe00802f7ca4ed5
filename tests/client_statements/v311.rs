//! The statements of 3.1.1, by their numbers in that version.

use super::client::v311;
use super::connect::pings;
use super::disconnect::tempt;
use super::*;
use bytes::Buf;
use mqtt_sansio::Instant;
use mqtt_sansio::client::ClientSession;

/// Clean Session, in contrast to `v311()`.
fn clean() -> ClientConfig {
    ClientConfig { clean_start: true, ..v311() }
}

/// [3.1.1: MQTT-2.3.1-2]
#[test]
fn mqtt_2_3_1_2_new_operations_take_an_unused_identifier() {
    let mut wire = Wire::connected(v311());
    for qos in [QOS_1, QOS_2] {
        wire.publish("x", qos);
    }
    wire.subscribe();
    wire.unsubscribe();
    let ids: BTreeSet<_> = sent_ids(&mut wire).into_iter().collect();
    assert!(ids.len() == 4 && !ids.contains(&0), "{ids:?}");
}

/// [3.1.1: MQTT-2.3.1-3]
#[test]
fn mqtt_2_3_1_3_an_identifier_is_in_use_until_the_last_acknowledgement() {
    let mut wire = Wire::connected(v311());
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.take();
    wire.resume();
    wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
    wire.receive(&[PubRec::new(id(2)).into()]);
    assert_eq!(wire.client.operations_in_flight(), 2);
    wire.receive(&[PubAck::new(id(1)).into(), PubComp::new(id(2)).into()]);
    assert_eq!(wire.client.operations_in_flight(), 0);
    wire.take();
    let asked = wire.subscribe();
    let ended = wire.unsubscribe();
    let [subscribe, unsubscribe] = sent_ids(&mut wire)[..] else { panic!("two requests") };
    assert_eq!(wire.client.operations_in_flight(), 2);
    let events = wire.receive(&[suback(subscribe), unsuback(unsubscribe, Version::V311)]);
    let expected = [(asked, Done::Subscribed(vec![0])), (ended, Done::Unsubscribed(vec![]))];
    assert_eq!(events, expected.map(|(token, done)| Event::Done(token, done)));
    assert_eq!(wire.client.operations_in_flight(), 0);
}

/// [3.1.1: MQTT-2.3.1-6]
#[test]
fn mqtt_2_3_1_6_acknowledgements_repeat_the_identifier() {
    ends::acknowledgements_repeat_the_identifier::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-3.1.0-1]
#[test]
fn mqtt_3_1_0_1_the_first_packet_is_connect() {
    let mut wire = Wire::new(v311());
    wire.publish("0", QOS_0);
    wire.subscribe();
    wire.assert_silent();
    let sent = wire.open();
    assert_eq!(&sent[..9], b"\x10\x0d\x00\x04MQTT\x04");
    wire.poll();
    wire.assert_silent();
}

/// [3.1.1: MQTT-3.1.2-4]
#[test]
fn mqtt_3_1_2_4_without_clean_session_the_session_is_resumed() {
    let mut wire = Wire::new(v311());
    let connect = wire.open();
    assert!(!connect_of(&connect, Version::V311).clean_start);
    wire.receive(&[connack().into()]);
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.take();
    wire.receive(&[published("half", delivery(QOS_2, 9)), PubRec::new(id(2)).into()]);
    wire.client.disconnect(wire.now, &Disconnect::default()).unwrap();
    wire.poll();
    wire.take();
    // Even after DISCONNECT.
    assert_eq!(wire.lose(), []);
    let connect = wire.open();
    assert!(!connect_of(&connect, Version::V311).clean_start);
    assert_eq!(wire.receive(&[present().into()]), [Event::Connected(Resumption::Resumed)]);
    wire.assert_sent(&[PubRel::new(id(2)).into(), published("1", again(QOS_1, 1))]);
    assert_eq!(wire.receive(&[published("half", again(QOS_2, 9))]), []);
}

/// [3.1.1: MQTT-3.1.2-6]
#[test]
fn mqtt_3_1_2_6_a_clean_session_ends_with_its_connection() {
    let mut wire = Wire::new(clean());
    for _ in 0..2 {
        let connect = wire.open();
        assert!(connect_of(&connect, Version::V311).clean_start);
        assert_eq!(wire.receive(&[connack().into()]), [Event::Connected(Resumption::New)]);
        wire.assert_silent();
        let token = wire.publish("1", QOS_1);
        assert_eq!(wire.receive(&[published("half", delivery(QOS_2, 9))]), [delivered("half", QOS_2)]);
        wire.take();
        assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Session)]);
        assert_eq!(wire.client.operations_in_flight(), 0);
    }
}

/// [3.1.1: MQTT-3.1.2-23]
#[test]
fn mqtt_3_1_2_23_an_idle_client_sends_pingreq() {
    let mut wire = Wire::connected(ClientConfig { keep_alive: NonZeroU16::new(20), ..v311() });
    let pings = pings(&mut wire, 200_000);
    let mut before = 0;
    for &at in &pings {
        assert!(at - before <= 20_000, "{pings:?}");
        before = at;
    }
    assert!(pings.len() >= 10, "{pings:?}");
}

/// A password without a user name exists in 5.0 only. [3.1.1: MQTT-3.1.2-22]
#[test]
fn mqtt_3_1_2_22_no_password_without_a_user_name() {
    let with = |version, user_name: Option<&str>| ClientConfig {
        version,
        user_name: user_name.map(Into::into),
        password: Some((*b"secret").into()),
        ..v311()
    };
    for (version, user_name, is_valid) in [
        (Version::V311, None, false),
        (Version::V311, Some(""), true),
        (Version::V311, Some("user"), true),
        (Version::V5, None, true),
    ] {
        let mut client = ClientSession::new(with(version, user_name));
        let result = client.open(Instant::EPOCH);
        assert_eq!(result.is_ok(), is_valid, "{version}, {user_name:?}: {result:?}");
        assert_eq!(client.transmit().has_remaining(), is_valid);
    }
}

/// [3.1.1: MQTT-3.1.3-7]
#[test]
fn mqtt_3_1_3_7_an_empty_client_identifier_needs_a_clean_session() {
    for clean_start in [false, true] {
        let mut client = ClientSession::new(ClientConfig { client_id: String::new(), clean_start, ..v311() });
        let result = client.open(Instant::EPOCH);
        assert_eq!(result.is_ok(), clean_start, "{result:?}");
        assert_eq!(client.transmit().has_remaining(), clean_start);
    }
}

/// [3.1.1: MQTT-3.1.3-2]
#[test]
fn mqtt_3_1_3_2_the_client_identifier_keys_the_session() {
    let mut wire = Wire::new(v311());
    for connack in [connack(), present(), present()] {
        let connect = wire.open();
        assert_eq!(connect_of(&connect, Version::V311).client_identifier, "c");
        wire.receive(&[connack.into()]);
        wire.lose();
    }
}

/// [3.1.1: MQTT-3.3.1-1]
#[test]
fn mqtt_3_3_1_1_a_retransmission_has_dup() {
    ends::a_retransmission_has_dup::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-3.3.4-1]
#[test]
fn mqtt_3_3_4_1_each_qos_has_its_acknowledgement() {
    ends::each_qos_has_its_acknowledgement::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-3.14.4-1, MQTT-3.14.4-2]
#[test]
fn mqtt_3_14_4_1_and_mqtt_3_14_4_2_nothing_follows_disconnect() {
    let mut wire = Wire::connected(ClientConfig { manual_acks: true, ..v311() });
    wire.receive(&[published("x", delivery(QOS_1, 1))]);
    wire.client.disconnect(wire.now, &Disconnect::default()).unwrap();
    wire.assert_sent(&[Disconnect::default().into()]);
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    tempt(&mut wire);
    wire.assert_silent();
}

/// [3.1.1: MQTT-4.1.0-1, MQTT-4.1.0-2]
#[test]
fn mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection() {
    for config in [v311(), clean()] {
        let mut wire = Wire::connected(ClientConfig { keep_alive: None, ..config });
        ends::the_session_lasts_as_long_as_the_connection(&mut wire);
    }
}

/// [3.1.1: MQTT-4.3.1-1]
#[test]
fn mqtt_4_3_1_1_qos_0_has_no_dup() {
    ends::qos_0_has_no_dup::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.3.2-1]
#[test]
fn mqtt_4_3_2_1_the_sender_of_qos_1() {
    ends::qos_1_begins_with_an_unused_identifier_and_without_dup::<Wire>(Version::V311);
    ends::qos_1_is_unacknowledged_until_puback::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.3.2-2]
#[test]
fn mqtt_4_3_2_2_the_receiver_of_qos_1() {
    ends::a_message_is_acknowledged_after_ownership_is_accepted::<Wire>(Version::V311, QOS_1);
    ends::after_puback_the_identifier_is_a_new_message::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.3.3-1]
#[test]
fn mqtt_4_3_3_1_the_sender_of_qos_2() {
    ends::qos_2_begins_with_an_unused_identifier_and_without_dup::<Wire>(Version::V311);
    ends::qos_2_is_unacknowledged_until_pubrec::<Wire>(Version::V311);
    ends::pubrel_is_unacknowledged_until_pubcomp::<Wire>(Version::V311);
    ends::no_publish_follows_pubrel::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.3.3-2]
#[test]
fn mqtt_4_3_3_2_the_receiver_of_qos_2() {
    ends::a_message_is_acknowledged_after_ownership_is_accepted::<Wire>(Version::V311, QOS_2);
    ends::before_pubrel_a_duplicate_is_acknowledged_and_not_delivered::<Wire>(Version::V311);
    ends::an_acknowledged_message_is_not_delivered_again::<Wire>(Version::V311);
    ends::pubrel_is_answered_by_pubcomp::<Wire>(Version::V311);
    ends::after_pubcomp_the_identifier_is_a_new_message::<Wire>(Version::V311);
    ends::an_unknown_identifier_is_no_error::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.4.0-1]
#[test]
fn mqtt_4_4_0_1_unacknowledged_packets_are_sent_again() {
    ends::resent_on_resumption_alone_and_with_the_same_identifiers::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.5.0-2]
#[test]
fn mqtt_4_5_0_2_ignored_messages_are_acknowledged() {
    ends::ignored_messages_are_acknowledged::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.6.0-1]
#[test]
fn mqtt_4_6_0_1_publishes_are_sent_again_in_order() {
    ends::publishes_are_sent_again_in_order::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-4.6.0-2]
#[test]
fn mqtt_4_6_0_2_pubacks_go_in_order() {
    ends::acknowledgements_go_in_order::<Wire>(Version::V311, QOS_1);
}

/// [3.1.1: MQTT-4.6.0-3]
#[test]
fn mqtt_4_6_0_3_pubrecs_go_in_order() {
    ends::acknowledgements_go_in_order::<Wire>(Version::V311, QOS_2);
}

/// [3.1.1: MQTT-4.6.0-4]
#[test]
fn mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
    ends::pubrels_go_in_the_order_of_the_pubrecs::<Wire>(Version::V311);
}

/// 3.1.1 has no packet that could carry a reason.
/// [3.1.1: MQTT-4.8.0-1]
#[test]
fn mqtt_4_8_0_1_a_violation_closes_the_connection() {
    let cases: [&[u8]; 6] = [
        b"\x00\x00",                  // a packet that does not exist
        b"\xe0\x00",                  // DISCONNECT, which only a client sends
        b"\xf0\x00",                  // AUTH, which this version does not have
        b"\x20\x02\x00\x00",          // a second CONNACK
        b"\x36\x05\x00\x01t\x00\x01", // QoS 3
        b"\x30\x03\x00\x01\x00",      // U+0000 in a topic
    ];
    for bytes in cases {
        let mut wire = Wire::connected(v311());
        let events = wire.receive_bytes(bytes);
        assert!(matches!(events[..], [Event::Close(_)]), "{bytes:x?}: {events:?}");
        assert!(!wire.client.is_connected());
        wire.assert_silent();
    }
    let mut wire = Wire::new(v311());
    wire.open();
    let events = wire.receive(&[Packet::PingResp]);
    assert!(matches!(events[..], [Event::Close(Why::ProtocolError(ProtocolError::BeforeConnAck(_)))]), "{events:?}");
}

/// Lack of memory is the only transient error an engine can detect: the size of an incoming packet is limited, and one
/// beyond the limit closes the connection.
/// [3.1.1: MQTT-4.8.0-2]
#[test]
fn mqtt_4_8_0_2_a_packet_above_the_size_limit_closes_the_connection() {
    ends::a_packet_above_the_own_maximum_closes::<Wire>(Version::V311);
}
