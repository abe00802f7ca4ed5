//! Sections 4.4 to 4.6: retransmission, acknowledgement and their order.

use super::*;

/// [5.0: MQTT-4.4.0-1]
#[test]
fn mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers() {
    let mut wire = Wire::connected(v5());
    for payload in ["1", "2", "3", "4"] {
        wire.publish(payload, QOS_2);
    }
    wire.receive(&[PubAck::new(id(50)).into(), PubRec::new(id(2)).into(), PubRec::new(id(4)).into()]);
    wire.take();
    // While the connection lasts nothing is sent again, however long no answer arrives.
    for _ in 0..10 {
        wire.later(59_000);
        wire.poll();
        wire.assert_sent(&[Packet::PingReq]);
        wire.receive(&[Packet::PingResp]);
    }
    wire.resume();
    wire.assert_sent(&[
        PubRel::new(id(2)).into(),
        PubRel::new(id(4)).into(),
        published("1", again(QOS_2, 1)),
        published("3", again(QOS_2, 3)),
    ]);
    // Nothing is sent again if the server has no session.
    wire.lose();
    wire.connect(connack());
    wire.assert_silent();
}

/// [5.0: MQTT-4.4.0-2]
#[test]
fn mqtt_4_4_0_2_a_refusal_ends_the_delivery() {
    let mut wire = Wire::connected(v5());
    let tokens = [wire.publish("1", QOS_1), wire.publish("2", QOS_2)];
    wire.take();
    let reason_code = PubAckReasonCode::NotAuthorized;
    let events = wire.receive(&[
        PubAck { reason_code, ..PubAck::new(id(1)) }.into(),
        PubRec { reason_code, ..PubRec::new(id(2)) }.into(),
    ]);
    let refused = Done::Acknowledged(ReasonCode::NotAuthorized);
    assert_eq!(events, tokens.map(|token| Event::Done(token, refused.clone())));
    assert_eq!(wire.client.operations_in_flight(), 0);
    wire.resume();
    wire.assert_silent();
}

/// [5.0: MQTT-4.5.0-2]
#[test]
fn mqtt_4_5_0_2_ignored_messages_are_acknowledged() {
    let mut wire = Wire::connected(v5());
    // The client has no subscription, and the application ignores the messages.
    wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2)), PubRel::new(id(2)).into()]);
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into(), PubComp::new(id(2)).into()]);
}

/// [5.0: MQTT-4.6.0-1]
#[test]
fn mqtt_4_6_0_1_publishes_are_sent_again_in_order() {
    let mut wire = Wire::connected(v5());
    // Free identifiers are reused in between, so that their order is not the order of the messages.
    for payload in ["1", "2", "3", "4", "5"] {
        wire.publish(payload, QOS_1);
    }
    wire.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(4)).into(), PubAck::new(id(2)).into()]);
    wire.later(60_000);
    wire.poll();
    for payload in ["6", "7", "8", "9"] {
        wire.publish(payload, if payload == "7" { QOS_2 } else { QOS_1 });
    }
    wire.take();
    for _ in 0..2 {
        wire.resume();
        assert_eq!(sent_payloads(&mut wire), ["3", "5", "6", "7", "8", "9"]);
    }
}

/// Packet identifiers that have become free are used again, so that they are not in the order of the messages.
/// [5.0: MQTT-4.6.0-1]
#[test]
fn mqtt_4_6_0_1_publishes_are_sent_again_in_order_whatever_their_identifiers_are() {
    let mut wire = Wire::connected(v5());
    for _ in 0..20 {
        wire.publish("before", QOS_1);
        let [number] = sent_ids(&mut wire)[..] else { panic!("one message") };
        wire.receive(&[PubAck::new(id(number)).into()]);
    }
    let payloads: Vec<_> = (0..15).map(|number| number.to_string()).collect();
    for (payload, qos) in payloads.iter().zip([QOS_1, QOS_2].into_iter().cycle()) {
        wire.publish(payload, qos);
    }
    let ids = sent_ids(&mut wire);
    assert!(!ids.is_sorted(), "{ids:?}");
    for _ in 0..2 {
        wire.resume();
        let sent = wire.take();
        let packets = decode(&sent, wire.version);
        assert!(packets.iter().map(|packet| packet.packet_id().unwrap().get()).eq(ids.iter().copied()), "{packets:?}");
        let payload = |packet: &Packet<'_>| match packet {
            Packet::Publish(publish) => String::from_utf8(publish.payload.into()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(packets.iter().map(payload).eq(payloads.iter().cloned()), "{packets:?}");
    }
}

/// Acknowledgements given in the wrong order are sent in the right one.
fn acks_in_order(qos: QoS) -> Vec<u16> {
    let mut wire = Wire::connected(manual());
    let order = [5, 3, 9, 1, 7];
    wire.receive(&order.map(|number| published("x", delivery(qos, number))));
    let mut sent = Vec::new();
    for place in [2, 0, 4, 3, 1] {
        wire.client.ack(wire.now, wire.ack_handles[place], PubAckReasonCode::Success).unwrap();
        sent.extend(sent_ids(&mut wire));
    }
    assert_eq!(sent, order);
    // Automatic acknowledgements.
    let mut wire = Wire::connected(v5());
    wire.receive(&order.map(|number| published("x", delivery(qos, number))));
    sent_ids(&mut wire)
}

/// [5.0: MQTT-4.6.0-2]
#[test]
fn mqtt_4_6_0_2_pubacks_go_in_order() {
    assert_eq!(acks_in_order(QOS_1), [5, 3, 9, 1, 7]);
}

/// [5.0: MQTT-4.6.0-3]
#[test]
fn mqtt_4_6_0_3_pubrecs_go_in_order() {
    assert_eq!(acks_in_order(QOS_2), [5, 3, 9, 1, 7]);
}

/// Some are given at once, some later and in any order, while further messages arrive.
#[test]
fn acknowledgements_go_in_order_whenever_they_are_given() {
    for seed in 0..200_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut wire = Wire::connected(manual());
        let (mut owed, mut arrived, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=30 {
            let qos = if random(2) == 0 { QOS_1 } else { QOS_2 };
            wire.receive(&[published("x", delivery(qos, number))]);
            owed.push(wire.ack_handles.pop().unwrap());
            arrived.push(number);
            while !owed.is_empty() && random(3) != 0 {
                // The last one as often as all others.
                let place = if random(2) == 0 { owed.len() - 1 } else { random(owed.len()) };
                let ack_handle = owed.remove(place);
                wire.client.ack(wire.now, ack_handle, PubAckReasonCode::Success).unwrap();
                let again = wire.client.ack(wire.now, ack_handle, PubAckReasonCode::Success);
                assert_eq!(again, Err(AckError::AlreadyAcknowledged), "seed {seed}");
            }
            sent.extend(sent_ids(&mut wire));
            assert!(arrived.starts_with(&sent), "seed {seed}: {sent:?}");
            assert!(!owed.is_empty() || sent.len() == arrived.len(), "seed {seed}: nothing waits for nothing");
        }
        for ack_handle in owed {
            wire.client.ack(wire.now, ack_handle, PubAckReasonCode::Success).unwrap();
        }
        sent.extend(sent_ids(&mut wire));
        assert_eq!(sent, arrived, "seed {seed}");
    }
}

/// [5.0: MQTT-4.6.0-4]
#[test]
fn mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
    let mut wire = Wire::connected(v5());
    for _ in 0..5 {
        wire.publish("x", QOS_2);
    }
    wire.take();
    let order = [3, 1, 5, 2, 4];
    wire.receive(&order.map(|number| PubRec::new(id(number)).into()));
    assert_eq!(sent_ids(&mut wire), order);
    for _ in 0..2 {
        wire.resume();
        assert_eq!(sent_ids(&mut wire), order);
    }
}
