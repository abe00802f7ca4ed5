//! Sections 2.2, 3.3 to 3.7, 4.3, 4.4 and 4.9: messages in both directions.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use mqtt_sansio::codec::{
    AckProperties, Connect, ConnectProperties, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel,
    PubRelReasonCode, Publish, PublishProperties, ReasonCode, UserProperty,
};
use mqtt_sansio::server::{Accept, ServerConfig};
use mqtt_sansio::{AbandonReason, Message, ProtocolError, QoS, TopicName, Version};

use crate::server::{
    Done, Event, QOS_0, QOS_1, QOS_2, Wire, abandoned, again, config, connack, decode, delivered, delivered_again,
    delivery, id, lasting, protocol_error, publish, published, success, text, v5, v5_with,
};

/// A CONNECT with this Receive Maximum.
fn receive_maximum(number: u16) -> Connect<'static> {
    v5_with(ConnectProperties { receive_maximum: number.try_into().ok(), ..Default::default() })
}

/// A session of 5.0 with manual acknowledgements.
fn manual() -> Wire {
    Wire::connected(ServerConfig { manual_acks: true, ..config() }, &v5())
}

fn connected() -> Wire {
    Wire::lasting(Version::V5)
}

// Section 2.2: packet identifiers.

/// A message that is not acknowledged comes again with the same packet identifier after a cut, by which the application
/// recognises it.
#[test]
fn section_4_4_an_unacknowledged_message_is_recognised_by_its_packet_identifier() {
    for (version, qos) in
        [Version::V311, Version::V5].into_iter().flat_map(|version| [(version, QOS_1), (version, QOS_2)])
    {
        let mut wire = Wire::connected(ServerConfig { manual_acks: true, ..config() }, &lasting(version));
        wire.receive(&[published("x", delivery(qos, 7))]);
        let of = |wire: &Wire, index: usize| wire.server.packet_id(wire.ack_handles[index]);
        assert_eq!(of(&wire, 0), Some(id(7)));
        wire.resume();
        wire.receive(&[published("x", again(qos, 7))]);
        assert_eq!([of(&wire, 0), of(&wire, 1)], [None, Some(id(7))]);
        wire.server.ack(wire.now, wire.ack_handles[1], PubAckReasonCode::Success).unwrap();
        assert_eq!(of(&wire, 1), None);
    }
}

/// [5.0: MQTT-2.2.1-4]
#[test]
fn mqtt_2_2_1_4_new_messages_take_an_unused_identifier() {
    let mut wire = connected();
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.publish("3", QOS_2);
    wire.receive(&[PubRec::new(id(3)).into()]);
    wire.take();
    let open = BTreeSet::from([1, 2, 3]);
    // More than all 65,535 identifiers: those in use are skipped.
    for _ in 0..70_000 {
        let token = wire.publish("more", QOS_1);
        let [number] = wire.sent_ids()[..] else { panic!("one packet") };
        assert!(number != 0 && !open.contains(&number), "{number} is in use");
        assert_eq!(wire.receive(&[PubAck::new(id(number)).into()]), [success(token)]);
    }
    assert_eq!(wire.server.packet_ids_in_use(), 3);
}

/// [5.0: MQTT-2.2.1-5]
#[test]
fn mqtt_2_2_1_5_acknowledgements_repeat_the_identifier() {
    let mut wire = connected();
    for number in [1, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        let at = id(number);
        wire.receive(&[published("a", delivery(QOS_1, number))]);
        wire.assert_sent(&[PubAck::new(at).into()]);
        wire.receive(&[published("b", delivery(QOS_2, number))]);
        wire.assert_sent(&[PubRec::new(at).into()]);
        wire.receive(&[PubRel::new(at).into()]);
        wire.assert_sent(&[PubComp::new(at).into()]);
    }
    wire.publish("c", QOS_1);
    wire.publish("d", QOS_2);
    let [_, second] = wire.sent_ids()[..] else { panic!("two packets") };
    wire.receive(&[PubRec::new(id(second)).into()]);
    wire.assert_sent(&[PubRel::new(id(second)).into()]);
}

// Section 3.3: PUBLISH.

/// [5.0: MQTT-3.3.1-1]
#[test]
fn mqtt_3_3_1_1_a_retransmission_has_dup() {
    let mut wire = connected();
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.assert_sent(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
    for _ in 0..2 {
        wire.resume();
        wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
    }
}

/// A PUBLISH that uses a topic alias, or sets it.
fn aliased<'a>(topic: &'a str, payload: &'a str, alias: u16, qos: QoS, number: u16) -> Packet<'a> {
    let properties = PublishProperties { topic_alias: alias.try_into().ok(), ..Default::default() };
    let topic = if topic.is_empty() { TopicName::default() } else { TopicName::new(topic).unwrap() };
    Publish { topic, properties, ..publish(payload, delivery(qos, number)) }.into()
}

/// [5.0: MQTT-3.3.2-7]
#[test]
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    let config = ServerConfig { topic_alias_maximum: 5, topic_aliases: 5, ..config() };
    let takes = v5_with(ConnectProperties { topic_alias_maximum: Some(5), ..Default::default() });
    let mut wire = Wire::connected(config, &takes);
    assert_eq!(wire.receive(&[aliased("t", "1", 1, QOS_0, 0), aliased("", "2", 1, QOS_1, 1)]).len(), 2);
    wire.publish("a", QOS_1);
    wire.publish("b", QOS_1);
    wire.take();
    wire.lose();
    wire.reconnect(&takes);
    wire.poll();
    // In the retransmission the alias is set again before it is used.
    let sent = wire.take();
    let [_, Packet::Publish(first), Packet::Publish(second)] = decode(&sent, Version::V5)[..] else { panic!("two") };
    assert_eq!((first.topic.as_str(), first.payload), ("t", &b"a"[..]));
    assert_eq!((second.topic.is_empty(), second.properties.topic_alias), (true, first.properties.topic_alias));
    // The client's aliases are not set any more.
    assert_eq!(wire.receive(&[aliased("", "3", 1, QOS_0, 0)]), [protocol_error(ProtocolError::UnknownTopicAlias)]);
}

/// [5.0: MQTT-3.3.2-12]
#[test]
fn mqtt_3_3_2_12_every_alias_up_to_the_maximum_is_accepted() {
    for maximum in [1, 10, u16::MAX] {
        let mut wire = Wire::connected(ServerConfig { topic_alias_maximum: maximum, ..config() }, &v5());
        for alias in [1, maximum / 2 + 1, maximum] {
            assert_eq!(wire.receive(&[aliased("t", "x", alias, QOS_0, 0)]), [delivered("x", QOS_0)]);
            assert_eq!(wire.receive(&[aliased("", "y", alias, QOS_2, alias)]), [delivered("y", QOS_2)]);
            wire.receive(&[PubRel::new(id(alias)).into()]);
        }
    }
}

/// [5.0: MQTT-3.3.4-1]
#[test]
fn mqtt_3_3_4_1_each_qos_has_its_acknowledgement() {
    let mut wire = connected();
    wire.receive(&[published("0", delivery(QOS_0, 0))]);
    wire.assert_silent();
    wire.receive(&[published("1", delivery(QOS_1, 1))]);
    wire.assert_sent(&[PubAck::new(id(1)).into()]);
    wire.receive(&[published("2", delivery(QOS_2, 2))]);
    wire.assert_sent(&[PubRec::new(id(2)).into()]);
}

/// [5.0: MQTT-3.3.4-9]
#[test]
fn mqtt_3_3_4_9_at_most_receive_maximum() {
    let mut wire = Wire::connected(config(), &receive_maximum(3));
    for payload in ["1", "2", "3", "4", "5", "6"] {
        wire.publish(payload, if payload == "2" { QOS_2 } else { QOS_1 });
    }
    assert_eq!(wire.sent_payloads(), ["1", "2", "3"]);
    // PUBREC alone does not free quota, and time does not either.
    wire.receive(&[PubRec::new(id(2)).into()]);
    wire.assert_sent(&[PubRel::new(id(2)).into()]);
    wire.later(1000);
    wire.poll();
    wire.assert_silent();
    wire.receive(&[PubComp::new(id(2)).into()]);
    assert_eq!(wire.sent_payloads(), ["4"]);
    wire.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(3)).into()]);
    assert_eq!(wire.sent_payloads(), ["5", "6"]);
    // 65,535 messages if CONNECT has no Receive Maximum.
    let config = ServerConfig { max_stored: 70_000, transmit_limit: NonZeroU32::MAX, ..config() };
    let mut wire = Wire::connected(config, &v5());
    for _ in 0..65_535 {
        wire.publish("", QOS_1);
    }
    assert_eq!(wire.server.in_flight(), 65_535);
}

/// [5.0: MQTT-3.3.4-10]
#[test]
fn mqtt_3_3_4_10_a_full_window_delays_messages_alone() {
    let mut wire = Wire::connected(config(), &receive_maximum(1));
    wire.publish("1", QOS_1);
    wire.publish("waits", QOS_1);
    wire.take();
    wire.receive(&[published("a", delivery(QOS_1, 7)), published("b", delivery(QOS_2, 8)), PubRel::new(id(8)).into()]);
    wire.publish("0", QOS_0);
    wire.receive(&[Packet::PingReq]);
    let (first, second) = (wire.subscribe(9, &["t"]), wire.unsubscribe(10, &["t"]));
    wire.server.suback(wire.now, first, &[mqtt_sansio::codec::SubAckReasonCode::GrantedQoS0]).unwrap();
    wire.server.unsuback(wire.now, second, &[mqtt_sansio::codec::UnsubAckReasonCode::Success]).unwrap();
    wire.assert_sent(&[
        PubAck::new(id(7)).into(),
        PubRec::new(id(8)).into(),
        PubComp::new(id(8)).into(),
        published("0", delivery(QOS_0, 0)),
        Packet::PingResp,
        mqtt_sansio::codec::SubAck::new(id(9), &[mqtt_sansio::codec::SubAckReasonCode::GrantedQoS0]).into(),
        mqtt_sansio::codec::UnsubAck::new(id(10), &[mqtt_sansio::codec::UnsubAckReasonCode::Success]).into(),
    ]);
    wire.server.take_over(wire.now).unwrap();
    assert_eq!(wire.sent_count(), 1);
}

// Sections 3.4 to 3.7: acknowledgements.

/// A manual acknowledgement under every Maximum Packet Size around its own size: properties are left out, the packet is
/// not.
fn acks_fit(qos: QoS, packet: impl for<'a> Fn(PubAckReasonCode, AckProperties<'a>) -> Packet<'a>) {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(text("because"));
    let full = AckProperties { reason_string, user_properties: (&pairs).into() };
    let reason_only = AckProperties { reason_string, ..AckProperties::default() };
    let user_only = AckProperties { user_properties: (&pairs).into(), ..AckProperties::default() };
    let code = PubAckReasonCode::NotAuthorized;
    let size = |properties| packet(code, properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let connect = v5_with(ConnectProperties { maximum_packet_size: limit.try_into().ok(), ..Default::default() });
        let mut wire = Wire::connected(ServerConfig { manual_acks: true, ..config() }, &connect);
        wire.receive(&[published("x", delivery(qos, 7))]);
        wire.server.ack_with(wire.now, wire.ack_handles[0], code, &full).unwrap();
        // No property is sent that makes the packet too large. A property that fits may be left out.
        let allowed: Vec<_> = [full, reason_only, user_only, AckProperties::default()]
            .into_iter()
            .filter(|&properties| size(properties) <= limit)
            .map(|properties| packet(code, properties))
            .collect();
        let sent = wire.take();
        let [sent] = decode(&sent, Version::V5)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == packet(code, full), "{limit}: {sent:?}");
    }
}

/// [5.0: MQTT-3.4.2-2, MQTT-3.4.2-3]
#[test]
fn mqtt_3_4_2_2_and_mqtt_3_4_2_3_puback_leaves_out_what_is_too_large() {
    acks_fit(QOS_1, |reason_code, properties| PubAck { id: id(7), reason_code, properties }.into());
}

/// [5.0: MQTT-3.5.2-2, MQTT-3.5.2-3]
#[test]
fn mqtt_3_5_2_2_and_mqtt_3_5_2_3_pubrec_leaves_out_what_is_too_large() {
    acks_fit(QOS_2, |reason_code, properties| PubRec { id: id(7), reason_code, properties }.into());
}

/// PUBREL and PUBCOMP never have a Reason String or User Properties: not on success, not for an unknown identifier, not
/// when sent again.
/// [5.0: MQTT-3.6.2-2, MQTT-3.6.2-3, MQTT-3.7.2-2, MQTT-3.7.2-3]
#[test]
fn mqtt_3_6_2_2_mqtt_3_6_2_3_mqtt_3_7_2_2_and_mqtt_3_7_2_3_pubrel_and_pubcomp_are_bare() {
    for limit in [5, 8, 1000_u32] {
        let connect = v5_with(ConnectProperties { maximum_packet_size: limit.try_into().ok(), ..Default::default() });
        let mut wire = Wire::connected(config(), &connect);
        if limit >= 8 {
            wire.publish("", QOS_2);
            wire.publish("", QOS_2);
            wire.take();
            for _ in 0..2 {
                wire.receive(&[PubRec::new(id(1)).into()]);
                wire.assert_sent(&[PubRel::new(id(1)).into()]);
            }
            wire.resume();
            wire.assert_sent(&[PubRel::new(id(1)).into(), published("", again(QOS_2, 2))]);
        }
        let (reason_code, properties) = (PubRelReasonCode::PacketIdentifierNotFound, AckProperties::default());
        wire.receive(&[PubRec::new(id(50)).into(), PubRel::new(id(60)).into()]);
        wire.assert_sent(&[
            PubRel { id: id(50), reason_code, properties }.into(),
            PubComp { id: id(60), reason_code, properties }.into(),
        ]);
        wire.receive(&[published("x", delivery(QOS_2, 9)), PubRel::new(id(9)).into()]);
        wire.assert_sent(&[PubRec::new(id(9)).into(), PubComp::new(id(9)).into()]);
    }
}

// Section 4.3: delivery.

/// [5.0: MQTT-4.3.1-1]
#[test]
fn mqtt_4_3_1_1_qos_0_has_no_dup() {
    let mut wire = Wire::connected(ServerConfig { store_qos_0: true, ..config() }, &v5());
    wire.lose();
    wire.publish("waits", QOS_0);
    wire.reconnect(&v5());
    wire.poll();
    wire.publish("now", QOS_0);
    wire.assert_sent(&[connack(true), published("waits", delivery(QOS_0, 0)), published("now", delivery(QOS_0, 0))]);
    // A message of QoS 0 that was not written is lost and never sent again.
    wire.poll();
    let token = wire.publish("lost", QOS_0);
    assert_eq!(wire.lose(), [abandoned(token, AbandonReason::Connection)]);
    wire.reconnect(&v5());
    wire.poll();
    wire.assert_sent(&[connack(true)]);
}

/// [5.0: MQTT-4.3.2-1, MQTT-4.3.2-2]
#[test]
fn mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup() {
    let mut wire = connected();
    wire.publish("a", QOS_1);
    wire.publish("b", QOS_1);
    wire.assert_sent(&[published("a", delivery(QOS_1, 1)), published("b", delivery(QOS_1, 2))]);
    // `a` is in flight and `b` is not any more, so the third message shows which identifiers are unused.
    wire.receive(&[PubAck::new(id(2)).into()]);
    wire.publish("c", QOS_1);
    wire.publish("d", QOS_1);
    let ids = wire.sent_ids();
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1), "{ids:?}");
    // A message published without a connection is sent for the first time as well.
    let mut wire = connected();
    wire.lose();
    wire.publish("waited", QOS_1);
    wire.reconnect(&v5());
    wire.poll();
    wire.assert_sent(&[connack(true), published("waited", delivery(QOS_1, 1))]);
}

/// [5.0: MQTT-4.3.2-3]
#[test]
fn mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback() {
    let mut wire = connected();
    let token = wire.publish("x", QOS_1);
    wire.take();
    for _ in 0..3 {
        wire.later(10_000);
        assert_eq!((wire.poll(), wire.server.packet_ids_in_use()), (vec![], 1));
        wire.resume();
        wire.assert_sent(&[published("x", again(QOS_1, 1))]);
    }
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    assert_eq!(wire.server.packet_ids_in_use(), 0);
    wire.resume();
    wire.assert_silent();
}

/// [5.0: MQTT-4.3.2-4]
#[test]
fn mqtt_4_3_2_4_qos_1_is_acknowledged_after_ownership_is_accepted() {
    let mut wire = manual();
    assert_eq!(wire.receive(&[published("x", delivery(QOS_1, 77))]), [delivered("x", QOS_1)]);
    wire.later(10_000);
    wire.poll();
    wire.assert_silent();
    wire.server.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(77)).into()]);
}

/// [5.0: MQTT-4.3.2-5]
#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message() {
    for mut wire in [connected(), manual()] {
        for (payload, dup) in [("1", false), ("2", true), ("3", false)] {
            let how = if dup { again(QOS_1, 5) } else { delivery(QOS_1, 5) };
            let reported = if dup { delivered_again(payload, QOS_1) } else { delivered(payload, QOS_1) };
            assert_eq!(wire.receive(&[published(payload, how)]), [reported]);
            if let Some(ack_handle) = wire.ack_handles.pop() {
                wire.server.ack(wire.now, ack_handle, PubAckReasonCode::Success).unwrap();
            }
            wire.assert_sent(&[PubAck::new(id(5)).into()]);
        }
    }
}

/// [5.0: MQTT-4.3.3-1, MQTT-4.3.3-2]
#[test]
fn mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup() {
    let mut wire = connected();
    for payload in ["a", "b", "c"] {
        wire.publish(payload, QOS_2);
    }
    let first_times = [("a", 1), ("b", 2), ("c", 3)].map(|(payload, at)| published(payload, delivery(QOS_2, at)));
    wire.assert_sent(&first_times);
    // One message is unacknowledged, one is released, one is complete: two identifiers are in use.
    wire.receive(&[PubRec::new(id(2)).into(), PubRec::new(id(3)).into(), PubComp::new(id(3)).into()]);
    wire.take();
    wire.publish("d", QOS_2);
    wire.publish("e", QOS_2);
    let ids = wire.sent_ids();
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1) && !ids.contains(&2), "{ids:?}");
}

/// [5.0: MQTT-4.3.3-3]
#[test]
fn mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec() {
    let mut wire = connected();
    wire.publish("x", QOS_2);
    wire.take();
    for _ in 0..3 {
        wire.resume();
        wire.assert_sent(&[published("x", again(QOS_2, 1))]);
        assert_eq!(wire.server.packet_ids_in_use(), 1);
    }
    assert_eq!(wire.receive(&[PubRec::new(id(1)).into()]), []);
    wire.take();
    wire.resume();
    wire.assert_sent(&[PubRel::new(id(1)).into()]);
}

/// [5.0: MQTT-4.3.3-4]
#[test]
fn mqtt_4_3_3_4_pubrec_without_an_error_is_answered_by_pubrel() {
    for &reason_code in PubAckReasonCode::ALL {
        let mut wire = connected();
        let token = wire.publish("x", QOS_2);
        wire.take();
        let events = wire.receive(&[PubRec { reason_code, ..PubRec::new(id(1)) }.into()]);
        if reason_code.is_error() {
            assert_eq!(events, [Event::Done(token, Done::Acknowledged(reason_code.into()))]);
            wire.assert_silent();
        } else {
            assert_eq!(events, []);
            wire.assert_sent(&[PubRel::new(id(1)).into()]);
        }
    }
}

/// [5.0: MQTT-4.3.3-5]
#[test]
fn mqtt_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp() {
    let mut wire = connected();
    let token = wire.publish("x", QOS_2);
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.take();
    for _ in 0..3 {
        wire.later(10_000);
        assert_eq!((wire.poll(), wire.server.packet_ids_in_use()), (vec![], 1));
        wire.resume();
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
    }
    assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
    wire.resume();
    wire.assert_silent();
}

/// [5.0: MQTT-4.3.3-6]
#[test]
fn mqtt_4_3_3_6_no_publish_after_pubrel() {
    let mut wire = connected();
    wire.publish("x", QOS_2);
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.assert_sent(&[published("x", delivery(QOS_2, 1)), PubRel::new(id(1)).into()]);
    for _ in 0..3 {
        wire.resume();
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
        wire.receive(&[PubRec::new(id(1)).into()]);
        wire.assert_sent(&[PubRel::new(id(1)).into()]);
    }
}

/// [5.0: MQTT-4.3.3-7]
#[test]
fn mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    let mut wire = connected();
    let properties = PublishProperties { message_expiry_interval: Some(5), ..Default::default() };
    let token = wire.server.publish(wire.now, &Message::new("t", "x").qos(QOS_2).properties(properties)).unwrap();
    wire.poll();
    wire.take();
    wire.later(60_000);
    wire.resume();
    let sent = wire.take();
    let [Packet::Publish(sent)] = decode(&sent, Version::V5)[..] else { panic!("one message") };
    assert_eq!((sent.delivery, sent.payload), (again(QOS_2, 1), &b"x"[..]));
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.later(60_000);
    wire.assert_sent(&[PubRel::new(id(1)).into()]);
    assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
}

/// [5.0: MQTT-4.3.3-8]
#[test]
fn mqtt_4_3_3_8_qos_2_is_acknowledged_after_ownership_is_accepted() {
    let mut wire = manual();
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 77))]), [delivered("x", QOS_2)]);
    wire.later(10_000);
    wire.poll();
    wire.assert_silent();
    wire.server.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(77)).into()]);
}

/// [5.0: MQTT-4.3.3-9]
#[test]
fn mqtt_4_3_3_9_after_a_refusal_the_identifier_is_a_new_message() {
    let mut wire = manual();
    for payload in ["1", "2"] {
        assert_eq!(wire.receive(&[published(payload, delivery(QOS_2, 5))]), [delivered(payload, QOS_2)]);
        let reason_code = PubAckReasonCode::QuotaExceeded;
        wire.server.ack(wire.now, wire.ack_handles.pop().unwrap(), reason_code).unwrap();
        wire.assert_sent(&[PubRec { reason_code, ..PubRec::new(id(5)) }.into()]);
    }
}

/// [5.0: MQTT-4.3.3-10]
#[test]
fn mqtt_4_3_3_10_before_pubrel_a_duplicate_is_acknowledged_and_not_delivered() {
    let mut wire = connected();
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 5))]), [delivered("x", QOS_2)]);
    assert_eq!(wire.receive(&[published("x", again(QOS_2, 5)), published("x", delivery(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into(), PubRec::new(id(5)).into(), PubRec::new(id(5)).into()]);
    wire.resume();
    assert_eq!(wire.receive(&[published("x", again(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
}

/// [5.0: MQTT-4.3.3-11]
#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp() {
    let mut wire = connected();
    wire.receive(&[published("x", delivery(QOS_2, 4000))]);
    wire.take();
    assert_eq!(wire.receive(&[PubRel::new(id(4000)).into()]), []);
    wire.assert_sent(&[PubComp::new(id(4000)).into()]);
}

/// [5.0: MQTT-4.3.3-12]
#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_identifier_is_a_new_message() {
    let mut wire = connected();
    for payload in ["1", "2", "3"] {
        assert_eq!(wire.receive(&[published(payload, delivery(QOS_2, 5))]), [delivered(payload, QOS_2)]);
        wire.receive(&[PubRel::new(id(5)).into()]);
        wire.assert_sent(&[PubRec::new(id(5)).into(), PubComp::new(id(5)).into()]);
    }
}

/// [5.0: MQTT-4.3.3-13]
#[test]
fn mqtt_4_3_3_13_the_delivery_of_an_expired_message_is_completed() {
    let properties = PublishProperties { message_expiry_interval: Some(1), ..Default::default() };
    let mut wire = manual();
    wire.receive(&[Publish { properties, ..publish("x", delivery(QOS_2, 5)) }.into()]);
    wire.later(30_000);
    wire.server.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
    wire.receive(&[PubRel::new(id(5)).into()]);
    wire.assert_sent(&[PubComp::new(id(5)).into()]);
}

// Section 4.4: retransmission.

/// [5.0: MQTT-4.4.0-1]
#[test]
fn mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers() {
    let mut wire = connected();
    for payload in ["1", "2", "3", "4"] {
        wire.publish(payload, QOS_2);
    }
    wire.receive(&[PubAck::new(id(50)).into(), PubRec::new(id(2)).into(), PubRec::new(id(4)).into()]);
    wire.take();
    // While the connection lasts nothing is sent again, however long no answer arrives.
    for _ in 0..10 {
        wire.later(1_000_000);
        wire.receive(&[Packet::PingReq]);
        wire.assert_sent(&[Packet::PingResp]);
    }
    wire.resume();
    wire.assert_sent(&[
        PubRel::new(id(2)).into(),
        PubRel::new(id(4)).into(),
        published("1", again(QOS_2, 1)),
        published("3", again(QOS_2, 3)),
    ]);
    // Nothing is sent again if the client asks for a new session.
    wire.lose();
    wire.reconnect(&Connect { clean_start: true, ..v5() });
    wire.poll();
    wire.assert_sent(&[connack(false)]);
}

/// [5.0: MQTT-4.4.0-2]
#[test]
fn mqtt_4_4_0_2_a_refusal_ends_the_delivery() {
    let mut wire = connected();
    let tokens = [wire.publish("1", QOS_1), wire.publish("2", QOS_2)];
    wire.take();
    let reason_code = PubAckReasonCode::NotAuthorized;
    let events = wire.receive(&[
        PubAck { reason_code, ..PubAck::new(id(1)) }.into(),
        PubRec { reason_code, ..PubRec::new(id(2)) }.into(),
    ]);
    let refused = Done::Acknowledged(ReasonCode::NotAuthorized);
    assert_eq!(events, tokens.map(|token| Event::Done(token, refused.clone())));
    assert_eq!(wire.server.packet_ids_in_use(), 0);
    wire.resume();
    wire.assert_silent();
}

// Section 4.6: order.

/// The output was full and has been written. The session has not been polled since, so that messages still wait.
/// [5.0: MQTT-4.6.0-6]
#[test]
fn mqtt_4_6_0_6_a_message_does_not_overtake_those_that_wait_for_output() {
    for (version, qos) in
        [Version::V311, Version::V5].into_iter().flat_map(|version| [QOS_0, QOS_1, QOS_2].map(|qos| (version, qos)))
    {
        let config = ServerConfig { transmit_limit: NonZeroU32::MIN, ..config() };
        let mut wire = Wire::connected(config, &lasting(version));
        for payload in ["1", "2", "3"] {
            wire.publish(payload, qos);
        }
        let mut sent = wire.sent_payloads();
        assert_eq!(sent, ["1"]);
        wire.publish("4", qos);
        for _ in 0..4 {
            sent.extend(wire.sent_payloads());
            wire.poll();
        }
        assert_eq!(sent, ["1", "2", "3", "4"], "{version}, {qos}");
    }
}

// Section 4.9: flow control.

/// [5.0: MQTT-4.9.0-1]
#[test]
fn mqtt_4_9_0_1_the_quota_is_at_most_the_receive_maximum() {
    for (ours, theirs) in [(10, 1), (1, 10), (3, 3), (65_535, 65_535)] {
        let config = ServerConfig {
            max_in_flight: ours.try_into().unwrap(),
            transmit_limit: NonZeroU32::MAX,
            max_stored: 70_000,
            ..config()
        };
        let mut wire = Wire::accepted(config, &receive_maximum(theirs), Accept::default());
        wire.take();
        for _ in 0..u32::from(theirs) + 1 {
            wire.publish("", QOS_1);
        }
        let sent = wire.sent_ids().len();
        assert!(sent > 0 && sent == usize::from(ours.min(theirs)), "{ours}, {theirs}: {sent}");
    }
}

/// [5.0: MQTT-4.9.0-2]
#[test]
fn mqtt_4_9_0_2_each_publish_takes_quota() {
    let mut wire = Wire::connected(config(), &receive_maximum(2));
    let mut open: Vec<u16> = Vec::new();
    let mut done = 0;
    for _ in 0..20 {
        wire.publish("x", QOS_1);
        wire.publish("0", QOS_0); // takes no quota
    }
    for _ in 0..100 {
        let sent = wire.take();
        open.extend(decode(&sent, Version::V5).iter().filter_map(Packet::packet_id).map(|id| id.get()));
        assert!(open.len() <= 2 && wire.server.in_flight() == open.len(), "{open:?}");
        let Some(number) = open.pop() else { break };
        wire.receive(&[PubAck::new(id(number)).into()]);
        done += 1;
    }
    assert_eq!((done, wire.server.queued()), (20, 0));
}

/// [5.0: MQTT-4.9.0-3]
#[test]
fn mqtt_4_9_0_3_without_quota_all_else_is_handled() {
    let mut wire = Wire::connected(config(), &receive_maximum(1));
    let token = wire.publish("1", QOS_2);
    wire.publish("waits", QOS_2);
    wire.take();
    let events = wire.receive(&[
        published("in", delivery(QOS_1, 1)),
        PubRec::new(id(1)).into(),
        PubRel::new(id(9)).into(),
        Packet::PingReq,
    ]);
    assert_eq!(events, [delivered("in", QOS_1)]);
    let comp = PubComp { reason_code: PubRelReasonCode::PacketIdentifierNotFound, ..PubComp::new(id(9)) };
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRel::new(id(1)).into(), comp.into(), Packet::PingResp]);
    assert_eq!(wire.receive(&[PubComp::new(id(1)).into()]), [success(token)]);
    assert_eq!(wire.sent_payloads(), ["waits"]);
}
