//! Sections 3.4 to 3.7: acknowledgements.

use super::*;

/// A manual acknowledgement under every Maximum Packet Size around its own size: properties are left out, the packet is
/// not. Its sizes are `bare` bytes without properties, and more with them.
fn acks_fit(qos: QoS, packet: impl for<'a> Fn(PubAckReasonCode, AckProperties<'a>) -> Packet<'a>) {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(Utf8Str::new("because").unwrap());
    let full = AckProperties { reason_string, user_properties: List::from(&pairs) };
    let reason_only = AckProperties { reason_string, ..AckProperties::default() };
    let user_only = AckProperties { user_properties: List::from(&pairs), ..AckProperties::default() };
    let code = PubAckReasonCode::NotAuthorized;
    let size = |properties| packet(code, properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let mut wire = Wire::connected_by(manual(), connack_with(packet_size(limit)));
        wire.receive(&[published("x", delivery(qos, 7))]);
        wire.client.ack_with(wire.now, wire.ack_handles[0], code, &full).unwrap();
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
    for limit in [5, 8, 1000] {
        let mut wire = Wire::connected_by(v5(), connack_with(packet_size(limit)));
        if limit >= 8 {
            wire.publish("", QOS_2);
            wire.publish("", QOS_2);
            wire.take();
            for _ in 0..2 {
                wire.receive(&[PubRec::new(id(1)).into()]);
                wire.assert_sent(&[PubRel::new(id(1)).into()]);
            }
            wire.lose();
            wire.connect(present_with(packet_size(limit)));
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
