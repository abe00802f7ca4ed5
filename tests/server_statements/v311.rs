//! The statements of 3.1.1. They hold for 3.1 as well, as far as it has the same rules.

use mqtt_sansio::codec::{
    ConnAckReasonCode, Connect, Packet, PacketType, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, SubAck,
    SubAckReasonCode, UnsubAckReasonCode,
};
use mqtt_sansio::server::{Accept, AnswerError, ServerConfig};
use mqtt_sansio::{AbandonReason, ProtocolError, Version};

use crate::ends;
use crate::server::{
    Door, Event, QOS_0, QOS_1, QOS_2, Why, Wire, abandoned, again, config, connack, decode, delivery, disconnect,
    disconnected, id, lasting, protocol_error, published, success, text, will,
};

const VERSIONS: [Version; 2] = [Version::V311, Version::V31];

/// A CONNECT with Clean Session.
fn clean(version: Version) -> Connect<'static> {
    Connect { clean_start: true, ..lasting(version) }
}

/// [3.1.1: MQTT-2.3.1-4]
#[test]
fn mqtt_2_3_1_4_new_messages_take_an_unused_identifier() {
    ends::new_messages_take_an_unused_identifier::<Wire>(Version::V311);
}

/// [3.1.1: MQTT-2.3.1-6]
#[test]
fn mqtt_2_3_1_6_acknowledgements_repeat_the_identifier() {
    for version in VERSIONS {
        ends::acknowledgements_repeat_the_identifier::<Wire>(version);
    }
}

/// UNSUBACK consists of its packet identifier alone.
fn unsuback(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [0xB0, 2, high, low]
}

/// [3.1.1: MQTT-2.3.1-7]
#[test]
fn mqtt_2_3_1_7_suback_and_unsuback_repeat_the_identifier() {
    for version in VERSIONS {
        let mut wire = Wire::lasting(version);
        for number in [1, 0x00FF, 0x0100, 0xFFFF] {
            let request = wire.subscribe(number, &["t"]);
            wire.server.suback(wire.now, request, &[SubAckReasonCode::GrantedQoS2]).unwrap();
            wire.assert_sent(&[SubAck::new(id(number), &[SubAckReasonCode::GrantedQoS2]).into()]);
            let request = wire.unsubscribe(number, &["t"]);
            wire.server.unsuback(wire.now, request, &[UnsubAckReasonCode::Success]).unwrap();
            assert_eq!(wire.take(), unsuback(number));
        }
    }
}

/// [3.1.1: MQTT-3.1.0-2]
#[test]
fn mqtt_3_1_0_2_a_second_connect_closes() {
    for version in VERSIONS {
        let mut wire = Wire::lasting(version);
        assert_eq!(wire.receive(&[lasting(version).into()]), [protocol_error(ProtocolError::SecondConnect)]);
        wire.assert_silent(); // before 5.0 a server has no DISCONNECT
        assert!(!wire.server.is_connected());
    }
}

/// [3.1.1: MQTT-3.1.2-2]
#[test]
fn mqtt_3_1_2_2_an_unsupported_protocol_level_is_refused() {
    for version in VERSIONS {
        let mut door = Door::asked(config(), &lasting(version));
        door.acceptor.refuse(door.now, ConnAckReasonCode::UnsupportedProtocolVersion).unwrap();
        assert_eq!(door.poll(), [Event::Close(Why::Refused(ConnAckReasonCode::UnsupportedProtocolVersion.into()))]);
        assert_eq!(door.take(), [0x20, 2, 0, 1]);
    }
}

/// [3.1.1: MQTT-3.1.2-4]
#[test]
fn mqtt_3_1_2_4_without_clean_session_the_session_is_resumed() {
    for version in VERSIONS {
        let mut wire = Wire::lasting(version);
        let token = wire.publish("1", QOS_1);
        wire.receive(&[published("in", delivery(QOS_2, 9))]);
        wire.take();
        wire.receive(&[disconnect(Default::default())]);
        wire.lose();
        wire.later(1_000_000_000);
        assert_eq!(wire.poll(), []);
        wire.reconnect(&lasting(version));
        wire.poll();
        wire.assert_sent(&[connack(version == Version::V311), published("1", again(QOS_1, 1))]);
        assert_eq!(wire.receive(&[published("in", again(QOS_2, 9))]), []);
        assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    }
}

/// [3.1.1: MQTT-3.1.2-6]
#[test]
fn mqtt_3_1_2_6_a_clean_session_ends_with_its_connection() {
    for version in VERSIONS {
        let mut wire = Wire::connected(config(), &clean(version));
        let token = wire.publish("1", QOS_1);
        wire.take();
        assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Session), Event::Expired]);
        // Clean Session also discards an earlier session.
        let mut wire = Wire::lasting(version);
        let token = wire.publish("1", QOS_1);
        wire.lose();
        wire.reconnect(&clean(version));
        assert_eq!(wire.poll(), [abandoned(token, AbandonReason::Session)]);
        wire.assert_sent(&[connack(false)]);
        assert_eq!(wire.lose(), [Event::Expired]);
    }
}

/// [3.1.1: MQTT-3.1.2-10, MQTT-3.14.4-3]
#[test]
fn mqtt_3_1_2_10_and_mqtt_3_14_4_3_a_will_is_discarded() {
    for version in VERSIONS {
        let connect = Connect { will: Some(will("w", 0)), ..lasting(version) };
        let mut wire = Wire::connected(config(), &connect);
        assert_eq!(wire.lose(), [Event::Will("w".into())]);
        wire.later(1_000_000);
        assert_eq!(wire.poll(), []);
        let mut wire = Wire::connected(config(), &connect);
        assert_eq!(wire.receive(&[disconnect(Default::default())]), [disconnected(Default::default())]);
        assert_eq!(wire.lose(), []);
        wire.later(1_000_000);
        assert_eq!(wire.poll(), []);
    }
}

/// [3.1.1: MQTT-3.1.2-24]
#[test]
fn mqtt_3_1_2_24_silence_for_one_and_a_half_intervals_closes() {
    for version in VERSIONS {
        let connect = Connect { keep_alive: 10, will: Some(will("w", 0)), ..lasting(version) };
        let mut wire = Wire::connected(config(), &connect);
        wire.later(14_999);
        assert_eq!(wire.poll(), []);
        wire.receive(&[Packet::PingReq]);
        wire.take();
        wire.later(14_999);
        assert_eq!(wire.poll(), []);
        wire.later(1);
        assert_eq!(wire.poll(), [Event::Close(Why::KeepAliveTimeout)]);
        wire.assert_silent();
        assert_eq!(wire.lose(), [Event::Will("w".into())]);
        let wire = Wire::connected(config(), &lasting(version));
        assert_eq!(wire.server.deadline(), None);
    }
}

/// [3.1.1: MQTT-3.1.3-2]
#[test]
fn mqtt_3_1_3_2_the_client_identifier_keys_the_session() {
    for version in VERSIONS {
        let connect = Connect { client_identifier: text("name"), ..lasting(version) };
        assert_eq!(Wire::connected(config(), &connect).server.client_id(), "name");
    }
}

/// [3.1.1: MQTT-3.1.3-5]
#[test]
fn mqtt_3_1_3_5_every_usual_client_identifier_is_accepted() {
    for version in VERSIONS {
        for name in ["0", "z", "0123456789abcdefghijklm", "ABCDEFGHIJKLMNOPQRSTUVW", "nopqrstuvwxyzXYZ"] {
            Door::asked(config(), &Connect { client_identifier: text(name), ..lasting(version) });
        }
    }
}

/// The assigned identifier cannot be sent to the client, so its session must be a clean one.
/// [3.1.1: MQTT-3.1.3-6]
#[test]
fn mqtt_3_1_3_6_an_empty_client_identifier_is_assigned_one() {
    let connect = Connect { client_identifier: text(""), ..clean(Version::V311) };
    let accept = Accept { assigned_client_id: Some("unique".into()), ..Accept::default() };
    let mut wire = Wire::accepted(config(), &connect, accept);
    assert_eq!(wire.server.client_id(), "unique");
    assert_eq!(wire.take(), [0x20, 2, 0, 0]);
}

/// [3.1.1: MQTT-3.1.3-8]
#[test]
fn mqtt_3_1_3_8_an_empty_client_identifier_without_clean_session_is_refused() {
    let mut door = Door::new(config(), Version::V311);
    let (events, _) = door.receive_bytes(b"\x10\x0C\x00\x04MQTT\x04\x00\x00\x00\x00\x00");
    assert!(matches!(events[..], [Event::Close(Why::Malformed(_))]), "{events:?}");
    assert_eq!(door.take(), [0x20, 2, 0, 2]);
}

/// [3.1.1: MQTT-3.1.3-9]
#[test]
fn mqtt_3_1_3_9_a_client_identifier_can_be_refused() {
    for version in VERSIONS {
        let mut door = Door::asked(config(), &lasting(version));
        door.acceptor.refuse(door.now, ConnAckReasonCode::ClientIdentifierNotValid).unwrap();
        assert_eq!(door.poll(), [Event::Close(Why::Refused(ConnAckReasonCode::ClientIdentifierNotValid.into()))]);
        assert_eq!(door.take(), [0x20, 2, 0, 2]);
    }
}

/// [3.1.1: MQTT-3.1.4-3]
#[test]
fn mqtt_3_1_4_3_clean_session_is_applied() {
    for (version, clean_start, kept) in
        VERSIONS.into_iter().flat_map(|version| [0, 1, 2, 3].map(|bits| (version, bits & 1 != 0, bits & 2 != 0)))
    {
        let connect = Connect { clean_start, ..lasting(version) };
        let mut wire = Wire::lasting(version);
        wire.publish("1", QOS_1);
        wire.lose();
        if kept {
            wire.reconnect(&connect);
        } else {
            wire = Wire::open(config(), &connect);
        }
        wire.poll();
        let continues = kept && !clean_start;
        let sent = wire.take();
        assert_eq!(decode(&sent, version)[0], connack(continues && version == Version::V311));
        assert_eq!(wire.server.packet_ids_in_use(), usize::from(continues));
    }
}

/// [3.1.1: MQTT-3.1.4-4]
#[test]
fn mqtt_3_1_4_4_an_accepted_connect_is_acknowledged() {
    for version in VERSIONS {
        assert_eq!(Wire::open(config(), &lasting(version)).take(), [0x20, 2, 0, 0]);
    }
}

/// [3.1.1: MQTT-3.1.4-5]
#[test]
fn mqtt_3_1_4_5_nothing_is_processed_after_a_refusal() {
    for version in VERSIONS {
        let mut door = Door::asked(config(), &lasting(version));
        door.acceptor.refuse(door.now, ConnAckReasonCode::NotAuthorized).unwrap();
        assert_eq!(
            door.receive(&[published("x", delivery(QOS_1, 1))]),
            [Event::Close(Why::Refused(ConnAckReasonCode::NotAuthorized.into()))]
        );
        assert_eq!(door.receive(&[published("x", delivery(QOS_1, 1)), Packet::PingReq]), []);
        assert_eq!(door.take(), [0x20, 2, 0, 5]);
    }
}

/// [3.1.1: MQTT-3.2.0-1]
#[test]
fn mqtt_3_2_0_1_connack_comes_first() {
    for version in VERSIONS {
        let mut wire = Wire::lasting(version);
        wire.publish("1", QOS_2);
        wire.receive(&[PubRec::new(id(1)).into()]);
        wire.publish("2", QOS_1);
        wire.lose();
        wire.reconnect(&lasting(version));
        wire.publish("3", QOS_0);
        wire.poll();
        let sent = wire.take();
        let packets = decode(&sent, version);
        assert!(matches!(packets[..], [Packet::ConnAck(_), _, _, _]), "{packets:?}");
    }
}

/// [3.1.1: MQTT-3.2.2-1, MQTT-3.2.2-2, MQTT-3.2.2-3]
#[test]
fn mqtt_3_2_2_1_mqtt_3_2_2_2_and_mqtt_3_2_2_3_session_present_if_resumed() {
    let mut wire = Wire::open(config(), &lasting(Version::V311));
    assert_eq!(wire.take(), [0x20, 2, 0, 0], "there is none");
    wire.lose();
    wire.reconnect(&lasting(Version::V311));
    assert_eq!(wire.take(), [0x20, 2, 1, 0]);
    wire.lose();
    wire.reconnect(&clean(Version::V311));
    assert_eq!(wire.take(), [0x20, 2, 0, 0], "with Clean Session");
    assert_eq!(wire.lose(), [Event::Expired]);
    wire.reconnect(&lasting(Version::V311));
    assert_eq!(wire.take(), [0x20, 2, 0, 0], "there is none any more");
}

/// [3.1.1: MQTT-3.2.2-5, MQTT-3.2.2-6]
#[test]
fn mqtt_3_2_2_5_and_mqtt_3_2_2_6_a_refusal_closes_with_a_fitting_code_or_none() {
    for version in VERSIONS {
        for &code in ConnAckReasonCode::ALL.iter().filter(|code| code.is_error()) {
            let mut door = Door::asked(config(), &lasting(version));
            door.acceptor.refuse(door.now, code).unwrap();
            assert_eq!(door.poll(), [Event::Close(Why::Refused(code.into()))]);
            let fitting = match code {
                ConnAckReasonCode::ServerBusy
                | ConnAckReasonCode::QuotaExceeded
                | ConnAckReasonCode::ConnectionRateExceeded => Some(3),
                ConnAckReasonCode::Banned => Some(5),
                code => code.return_code(),
            };
            let expected = fitting.map_or(vec![], |code| vec![0x20, 2, 0, code]);
            assert_eq!(door.take(), expected, "{code}");
        }
    }
}

/// [3.1.1: MQTT-3.3.1-1]
#[test]
fn mqtt_3_3_1_1_a_retransmission_has_dup() {
    for version in VERSIONS {
        ends::a_retransmission_has_dup::<Wire>(version);
    }
}

/// [3.1.1: MQTT-3.3.4-1]
#[test]
fn mqtt_3_3_4_1_each_qos_has_its_acknowledgement() {
    for version in VERSIONS {
        ends::each_qos_has_its_acknowledgement::<Wire>(version);
    }
}

/// The message is acknowledged like any other, or the embedding program disconnects the client.
/// [3.1.1: MQTT-3.3.5-2]
#[test]
fn mqtt_3_3_5_2_an_unauthorized_message_is_acknowledged_or_closes() {
    for version in VERSIONS {
        let mut wire = Wire::connected(ServerConfig { manual_acks: true, ..config() }, &lasting(version));
        wire.receive(&[published("x", delivery(QOS_1, 1)), published("y", delivery(QOS_2, 2))]);
        for ack_handle in wire.ack_handles.clone() {
            wire.server.ack(wire.now, ack_handle, PubAckReasonCode::NotAuthorized).unwrap();
        }
        assert_eq!(wire.take(), [0x40, 2, 0, 1, 0x50, 2, 0, 2]);
        // The delivery of the second one completes like any other.
        assert_eq!(wire.receive(&[published("y", again(QOS_2, 2)), PubRel::new(id(2)).into()]), []);
        wire.assert_sent(&[PubRec::new(id(2)).into(), PubComp::new(id(2)).into()]);
        wire.server.disconnect(wire.now, &mqtt_sansio::codec::Disconnect::default()).unwrap();
        assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
        wire.assert_silent();
    }
}

/// [3.1.1: MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-5, MQTT-3.9.3-1]
#[test]
fn mqtt_3_8_4_1_mqtt_3_8_4_2_mqtt_3_8_4_5_and_mqtt_3_9_3_1_suback_answers_each_filter_in_order() {
    use SubAckReasonCode::{GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError};
    for version in VERSIONS {
        let mut wire = Wire::lasting(version);
        let request = wire.subscribe(7, &["d", "a", "c", "b"]);
        let codes = [GrantedQoS2, UnspecifiedError, GrantedQoS0, GrantedQoS1];
        for count in 0..4 {
            assert_eq!(wire.server.suback(wire.now, request, &codes[..count]), Err(AnswerError::WrongReasonCodeCount));
        }
        // 3.1.1 does not have the reason codes of 5.0.
        assert!(wire.server.suback(wire.now, request, &[SubAckReasonCode::NotAuthorized; 4]).is_err());
        wire.server.suback(wire.now, request, &codes).unwrap();
        assert_eq!(wire.take(), [0x90, 6, 0, 7, 2, 0x80, 0, 1]);
    }
}

/// [3.1.1: MQTT-3.10.4-4, MQTT-3.10.4-5]
#[test]
fn mqtt_3_10_4_4_and_mqtt_3_10_4_5_every_unsubscribe_has_its_unsuback() {
    for version in VERSIONS {
        let mut wire = Wire::lasting(version);
        for code in [UnsubAckReasonCode::Success, UnsubAckReasonCode::NoSubscriptionExisted] {
            let request = wire.unsubscribe(9, &["t"]);
            wire.server.unsuback(wire.now, request, &[code]).unwrap();
            assert_eq!(wire.take(), unsuback(9));
        }
    }
}

/// [3.1.1: MQTT-3.12.4-1]
#[test]
fn mqtt_3_12_4_1_pingreq_is_answered() {
    for version in VERSIONS {
        let mut wire = Wire::lasting(version);
        wire.receive(&[Packet::PingReq]);
        wire.assert_sent(&[Packet::PingResp]);
    }
}

/// [3.1.1: MQTT-4.1.0-1, MQTT-4.1.0-2]
#[test]
fn mqtt_4_1_0_1_and_mqtt_4_1_0_2_the_session_lasts_as_long_as_the_connection() {
    for connect in VERSIONS.into_iter().flat_map(|version| [lasting(version), clean(version)]) {
        ends::the_session_lasts_as_long_as_the_connection(&mut Wire::connected(config(), &connect));
    }
}

/// [3.1.1: MQTT-4.3.1-1]
#[test]
fn mqtt_4_3_1_1_qos_0_has_no_dup() {
    for version in VERSIONS {
        ends::qos_0_has_no_dup::<Wire>(version);
    }
}

/// [3.1.1: MQTT-4.3.2-1]
#[test]
fn mqtt_4_3_2_1_the_sender_of_qos_1() {
    for version in VERSIONS {
        ends::qos_1_begins_with_an_unused_identifier_and_without_dup::<Wire>(version);
        ends::qos_1_is_unacknowledged_until_puback::<Wire>(version);
    }
}

/// [3.1.1: MQTT-4.3.2-2]
#[test]
fn mqtt_4_3_2_2_the_receiver_of_qos_1() {
    for version in VERSIONS {
        ends::a_message_is_acknowledged_after_ownership_is_accepted::<Wire>(version, QOS_1);
        ends::after_puback_the_identifier_is_a_new_message::<Wire>(version);
    }
}

/// [3.1.1: MQTT-4.3.3-1]
#[test]
fn mqtt_4_3_3_1_the_sender_of_qos_2() {
    for version in VERSIONS {
        ends::qos_2_begins_with_an_unused_identifier_and_without_dup::<Wire>(version);
        ends::qos_2_is_unacknowledged_until_pubrec::<Wire>(version);
        ends::pubrel_is_unacknowledged_until_pubcomp::<Wire>(version);
        ends::no_publish_follows_pubrel::<Wire>(version);
    }
}

/// [3.1.1: MQTT-4.3.3-2]
#[test]
fn mqtt_4_3_3_2_the_receiver_of_qos_2() {
    for version in VERSIONS {
        ends::a_message_is_acknowledged_after_ownership_is_accepted::<Wire>(version, QOS_2);
        ends::before_pubrel_a_duplicate_is_acknowledged_and_not_delivered::<Wire>(version);
        ends::an_acknowledged_message_is_not_delivered_again::<Wire>(version);
        ends::pubrel_is_answered_by_pubcomp::<Wire>(version);
        ends::after_pubcomp_the_identifier_is_a_new_message::<Wire>(version);
        ends::an_unknown_identifier_is_no_error::<Wire>(version);
    }
}

/// [3.1.1: MQTT-4.4.0-1]
#[test]
fn mqtt_4_4_0_1_unacknowledged_packets_are_sent_again() {
    for version in VERSIONS {
        ends::resent_on_resumption_alone_and_with_the_same_identifiers::<Wire>(version);
    }
}

/// [3.1.1: MQTT-4.8.0-1]
#[test]
fn mqtt_4_8_0_1_a_violation_closes_the_connection() {
    let cases: [&[u8]; 6] =
        [b"\x00\x00", b"\x60\x02\x00\x01", b"\x36\x03\x00\x01t", b"\x20\x02\x00\x00", b"\xD0\x00", b"\xF0\x00"];
    for (version, bytes) in VERSIONS.into_iter().flat_map(|version| cases.map(|bytes| (version, bytes))) {
        let mut wire = Wire::lasting(version);
        let events = wire.receive_bytes(bytes);
        assert!(matches!(events[..], [Event::Close(_)]), "{bytes:?}: {events:?}");
        wire.assert_silent();
        assert!(!wire.server.is_connected());
    }
    // A PUBREC for a message of QoS 1.
    let mut wire = Wire::lasting(Version::V311);
    let token = wire.publish("x", QOS_1);
    let events = wire.receive(&[PubRec::new(id(1)).into()]);
    let pubrec = PacketType::PubRec;
    assert_eq!(
        events,
        [protocol_error(ProtocolError::MismatchedAck(pubrec)), abandoned(token, AbandonReason::Mismatched(pubrec))]
    );
}

/// The configuration limits the packet size.
/// [3.1.1: MQTT-4.8.0-2]
#[test]
fn mqtt_4_8_0_2_a_packet_above_the_size_limit_closes_the_connection() {
    let config = ServerConfig { max_requests: 2, ..config() };
    for version in VERSIONS {
        ends::a_packet_above_the_own_maximum_closes::<Wire>(version);
        let mut wire = Wire::connected(config.clone(), &lasting(version));
        wire.subscribe(1, &["a"]);
        wire.subscribe(2, &["a"]);
        let subscriptions = [crate::server::subscription("a")];
        let events = wire.receive(&[crate::server::subscribe(3, &subscriptions)]);
        assert_eq!(events, [protocol_error(ProtocolError::TooManyRequests)]);
        wire.assert_silent();
    }
}
