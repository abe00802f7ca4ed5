//! Section 3.14: DISCONNECT.

use super::*;

/// [5.0: MQTT-3.14.2-3, MQTT-3.14.2-4]
#[test]
fn mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large() {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(Utf8Str::new("because").unwrap());
    let full = DisconnectProperties { reason_string, user_properties: List::from(&pairs), ..Default::default() };
    let reason_only = DisconnectProperties { reason_string, ..Default::default() };
    let user_only = DisconnectProperties { user_properties: List::from(&pairs), ..Default::default() };
    let with = |properties| Disconnect { reason_code: DisconnectReasonCode::DisconnectWithWillMessage, properties };
    let size = |properties| with(properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let mut wire = Wire::connected_by(v5(), connack_with(packet_size(limit)));
        wire.client.disconnect(wire.now, &with(full)).unwrap();
        let candidates = [full, reason_only, user_only, Default::default()];
        let allowed: Vec<_> =
            candidates.into_iter().filter(|&it| size(it) <= limit).map(|it| with(it).into()).collect();
        let sent = wire.take();
        let [sent] = decode(&sent, Version::V5)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == with(full).into(), "{limit}: {sent:?}");
    }
}

/// Gives every stimulus that would make a connected client send a packet, and lets a long time pass.
pub(crate) fn tempt(wire: &mut Wire) {
    wire.publish("0", QOS_0);
    wire.publish("1", QOS_1);
    wire.subscribe();
    wire.unsubscribe();
    for ack_handle in wire.ack_handles.clone() {
        let _ = wire.client.ack(wire.now, ack_handle, PubAckReasonCode::Success);
    }
    let _ = wire.client.reauthenticate(wire.now, b"x");
    let _ = wire.client.authenticate(wire.now, b"x");
    let _ = wire.client.disconnect(wire.now, &Disconnect::default());
    wire.poll();
    wire.receive(&[
        published("m", delivery(QOS_1, 90)),
        published("n", delivery(QOS_2, 91)),
        PubRel::new(id(92)).into(),
        PubRec::new(id(93)).into(),
        Packet::PingResp,
    ]);
    wire.later(1_000_000);
    wire.poll();
}

/// [5.0: MQTT-3.14.4-1]
#[test]
fn mqtt_3_14_4_1_nothing_follows_disconnect() {
    // After a command to disconnect, or after an error of the server.
    for by_error in [false, true] {
        let mut wire = Wire::connected(manual());
        wire.receive(&[published("x", delivery(QOS_1, 1)), published("y", delivery(QOS_2, 2))]);
        if by_error {
            wire.receive(&[connack().into()]);
        } else {
            wire.client.disconnect(wire.now, &Disconnect::default()).unwrap();
        }
        let sent = wire.take();
        assert!(matches!(decode(&sent, Version::V5)[..], [Packet::Disconnect(_)]));
        tempt(&mut wire);
        wire.assert_silent();
    }
}

/// [5.0: MQTT-3.14.4-2]
#[test]
fn mqtt_3_14_4_2_the_connection_is_closed_after_disconnect() {
    let mut wire = Wire::connected(v5());
    wire.client.disconnect(wire.now, &Disconnect::default()).unwrap();
    assert_eq!(wire.client.deadline(), Some(mqtt_sansio::Instant::EPOCH), "the caller is to be told at once");
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    assert!(!wire.client.is_connected());
    // The end of the connection is reported once.
    wire.later(100_000);
    assert_eq!(wire.receive(&[published("late", delivery(QOS_1, 1))]), []);
    let mut wire = Wire::connected(v5());
    assert_eq!(wire.receive(&[connack().into()]), [protocol_error(ProtocolError::SecondConnAck)]);
    assert_eq!(wire.receive(&[connack().into()]), []);
}
