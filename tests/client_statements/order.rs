//! Sections 4.4 to 4.6: retransmission, acknowledgement and their order.

use super::*;

/// [5.0: MQTT-4.4.0-1]
#[test]
fn mqtt_4_4_0_1_resent_on_resumption_alone_and_with_the_same_identifiers() {
    ends::resent_on_resumption_alone_and_with_the_same_identifiers::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.4.0-2]
#[test]
fn mqtt_4_4_0_2_a_refusal_ends_the_delivery() {
    ends::a_refusal_ends_the_delivery::<Wire>();
}

/// [5.0: MQTT-4.5.0-2]
#[test]
fn mqtt_4_5_0_2_ignored_messages_are_acknowledged() {
    ends::ignored_messages_are_acknowledged::<Wire>(Version::V5);
}

/// [5.0: MQTT-4.6.0-1]
#[test]
fn mqtt_4_6_0_1_publishes_are_sent_again_in_order() {
    ends::publishes_are_sent_again_in_order::<Wire>(Version::V5);
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

/// [5.0: MQTT-4.6.0-2]
#[test]
fn mqtt_4_6_0_2_pubacks_go_in_order() {
    ends::acknowledgements_go_in_order::<Wire>(Version::V5, QOS_1);
}

/// [5.0: MQTT-4.6.0-3]
#[test]
fn mqtt_4_6_0_3_pubrecs_go_in_order() {
    ends::acknowledgements_go_in_order::<Wire>(Version::V5, QOS_2);
}

/// Some are given at once, some later and in any order, while further messages arrive.
#[test]
fn acknowledgements_go_in_order_whenever_they_are_given() {
    ends::acknowledgements_go_in_order_whenever_they_are_given::<Wire>();
}

/// [5.0: MQTT-4.6.0-4]
#[test]
fn mqtt_4_6_0_4_pubrels_go_in_the_order_of_the_pubrecs() {
    ends::pubrels_go_in_the_order_of_the_pubrecs::<Wire>(Version::V5);
}
