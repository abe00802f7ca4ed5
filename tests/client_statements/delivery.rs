//! Section 4.3: delivery.

use super::*;

/// [5.0: MQTT-4.3.1-1]
#[test]
fn mqtt_4_3_1_1_qos_0_has_no_dup() {
    let mut wire = Wire::new(v5());
    wire.publish("waits", QOS_0);
    wire.connect(connack());
    wire.publish("now", QOS_0);
    wire.assert_sent(&[published("waits", delivery(QOS_0, 0)), published("now", delivery(QOS_0, 0))]);
    // A message of QoS 0 that was not written is lost and never sent again.
    let token = wire.publish("lost", QOS_0);
    let events = wire.lose();
    assert!(events.contains(&abandoned(token, AbandonReason::Connection)), "{events:?}");
    wire.connect(present());
    wire.assert_silent();
}

/// [5.0: MQTT-4.3.2-1, MQTT-4.3.2-2]
#[test]
fn mqtt_4_3_2_1_and_mqtt_4_3_2_2_qos_1_begins_with_an_unused_identifier_and_without_dup() {
    let mut wire = Wire::new(v5());
    wire.publish("a", QOS_1);
    wire.connect(connack());
    wire.publish("b", QOS_1);
    wire.assert_sent(&[published("a", delivery(QOS_1, 1)), published("b", delivery(QOS_1, 2))]);
    // `a` is in flight and `b` is not any more, so the third message shows which identifiers are unused.
    wire.receive(&[PubAck::new(id(2)).into()]);
    wire.publish("c", QOS_1);
    wire.publish("d", QOS_1);
    let ids = sent_ids(&mut wire);
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1), "{ids:?}");
}

/// [5.0: MQTT-4.3.2-3]
#[test]
fn mqtt_4_3_2_3_qos_1_is_unacknowledged_until_puback() {
    let mut wire = Wire::connected(v5());
    let token = wire.publish("x", QOS_1);
    wire.take();
    for _ in 0..3 {
        wire.later(10_000);
        assert_eq!((wire.poll(), wire.client.operations_in_flight()), (vec![], 1));
        wire.resume();
        wire.assert_sent(&[published("x", again(QOS_1, 1))]);
    }
    assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    assert_eq!(wire.client.operations_in_flight(), 0);
    wire.resume();
    wire.assert_silent();
}

/// [5.0: MQTT-4.3.2-4]
#[test]
fn mqtt_4_3_2_4_qos_1_is_acknowledged_after_ownership_is_accepted() {
    let mut wire = Wire::connected(manual());
    assert_eq!(wire.receive(&[published("x", delivery(QOS_1, 77))]), [delivered("x", QOS_1)]);
    wire.later(10_000);
    wire.poll();
    wire.assert_silent();
    wire.client.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(77)).into()]);
}

/// [5.0: MQTT-4.3.2-5]
#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message() {
    for config in [v5(), manual()] {
        let mut wire = Wire::connected(config);
        for (payload, dup) in [("1", false), ("2", true), ("3", false)] {
            let how = if dup { again(QOS_1, 5) } else { delivery(QOS_1, 5) };
            let reported = Event::Message { topic: "t".into(), payload: payload.into(), qos: QOS_1, dup };
            assert_eq!(wire.receive(&[published(payload, how)]), [reported]);
            if let Some(ack_handle) = wire.ack_handles.pop() {
                wire.client.ack(wire.now, ack_handle, PubAckReasonCode::Success).unwrap();
            }
            wire.assert_sent(&[PubAck::new(id(5)).into()]);
        }
    }
}

/// [5.0: MQTT-4.3.3-1, MQTT-4.3.3-2]
#[test]
fn mqtt_4_3_3_1_and_mqtt_4_3_3_2_qos_2_begins_with_an_unused_identifier_and_without_dup() {
    let mut wire = Wire::new(v5());
    wire.publish("a", QOS_2);
    wire.connect(connack());
    wire.publish("b", QOS_2);
    wire.publish("c", QOS_2);
    let first_times = [("a", 1), ("b", 2), ("c", 3)].map(|(payload, at)| published(payload, delivery(QOS_2, at)));
    wire.assert_sent(&first_times);
    // One message is unacknowledged, one is released, one is complete: two identifiers are in use.
    wire.receive(&[PubRec::new(id(2)).into(), PubRec::new(id(3)).into(), PubComp::new(id(3)).into()]);
    wire.take();
    wire.publish("d", QOS_2);
    wire.publish("e", QOS_2);
    let ids = sent_ids(&mut wire);
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids.contains(&1) && !ids.contains(&2), "{ids:?}");
}

/// [5.0: MQTT-4.3.3-3]
#[test]
fn mqtt_4_3_3_3_qos_2_is_unacknowledged_until_pubrec() {
    let mut wire = Wire::connected(v5());
    wire.publish("x", QOS_2);
    wire.take();
    for _ in 0..3 {
        wire.resume();
        wire.assert_sent(&[published("x", again(QOS_2, 1))]);
        assert_eq!(wire.client.operations_in_flight(), 1);
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
        let mut wire = Wire::connected(v5());
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
    let mut wire = Wire::connected(v5());
    let token = wire.publish("x", QOS_2);
    wire.receive(&[PubRec::new(id(1)).into()]);
    wire.take();
    for _ in 0..3 {
        wire.later(10_000);
        assert_eq!((wire.poll(), wire.client.operations_in_flight()), (vec![], 1));
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
    let mut wire = Wire::connected(v5());
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
    let mut wire = Wire::connected(v5());
    let token = wire.client.publish(wire.now, &expiring("x", QOS_2, 5)).unwrap();
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
    let mut wire = Wire::connected(manual());
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 77))]), [delivered("x", QOS_2)]);
    wire.later(10_000);
    wire.poll();
    wire.assert_silent();
    wire.client.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(77)).into()]);
}

/// [5.0: MQTT-4.3.3-9]
#[test]
fn mqtt_4_3_3_9_after_a_refusal_the_identifier_is_a_new_message() {
    let mut wire = Wire::connected(manual());
    for payload in ["1", "2"] {
        assert_eq!(wire.receive(&[published(payload, delivery(QOS_2, 5))]), [delivered(payload, QOS_2)]);
        let reason_code = PubAckReasonCode::QuotaExceeded;
        wire.client.ack(wire.now, wire.ack_handles.pop().unwrap(), reason_code).unwrap();
        wire.assert_sent(&[PubRec { reason_code, ..PubRec::new(id(5)) }.into()]);
    }
}

/// [5.0: MQTT-4.3.3-10]
#[test]
fn mqtt_4_3_3_10_before_pubrel_a_duplicate_is_acknowledged_and_not_delivered() {
    let mut wire = Wire::connected(v5());
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 5))]), [delivered("x", QOS_2)]);
    assert_eq!(wire.receive(&[published("x", again(QOS_2, 5)), published("x", delivery(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into(), PubRec::new(id(5)).into(), PubRec::new(id(5)).into()]);
    wire.resume();
    assert_eq!(wire.receive(&[published("x", again(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
}

/// A message that the client has accepted ownership of is not delivered again, even if PUBREC had to wait for its turn
/// and the connection ended before it was sent.
/// [5.0: MQTT-4.3.3-10]
#[test]
fn mqtt_4_3_3_10_an_acknowledged_message_is_not_delivered_again() {
    let mut wire = Wire::connected(manual());
    wire.receive(&[published("1", delivery(QOS_2, 1)), published("2", delivery(QOS_2, 2))]);
    wire.client.ack(wire.now, wire.ack_handles[1], PubAckReasonCode::Success).unwrap();
    wire.assert_silent();
    wire.resume();
    let events = wire.receive(&[published("1", again(QOS_2, 1)), published("2", again(QOS_2, 2))]);
    let first = Event::Message { topic: "t".into(), payload: "1".into(), qos: QOS_2, dup: true };
    assert_eq!(events, [first]);
    wire.client.ack(wire.now, wire.ack_handles[2], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(1)).into(), PubRec::new(id(2)).into()]);
}

/// [5.0: MQTT-4.3.3-11]
#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp() {
    let mut wire = Wire::connected(v5());
    wire.receive(&[published("x", delivery(QOS_2, 4000))]);
    wire.take();
    assert_eq!(wire.receive(&[PubRel::new(id(4000)).into()]), []);
    wire.assert_sent(&[PubComp::new(id(4000)).into()]);
}

/// [5.0: MQTT-4.3.3-12]
#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_identifier_is_a_new_message() {
    let mut wire = Wire::connected(v5());
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
    let mut wire = Wire::connected(manual());
    wire.receive(&[Publish { properties, ..publish("x", delivery(QOS_2, 5)) }.into()]);
    wire.later(30_000);
    wire.client.ack(wire.now, wire.ack_handles[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
    wire.receive(&[PubRel::new(id(5)).into()]);
    wire.assert_sent(&[PubComp::new(id(5)).into()]);
}
