//! Section 3.2: CONNACK.

use super::*;
use mqtt_sansio::client::SubscribeError;
use mqtt_sansio::{AuthenticateError, PublishError};

/// [5.0: MQTT-3.2.2-4]
#[test]
fn mqtt_3_2_2_4_session_present_without_a_local_session_closes() {
    for config in [v5(), ClientConfig { version: Version::V311, ..v5() }] {
        let mut wire = Wire::new(config);
        let connect = wire.open();
        assert!(connect_of(&connect, wire.version).clean_start);
        assert_eq!(wire.receive(&[present().into()]), [protocol_error(ProtocolError::UnexpectedSession)]);
        assert!(!wire.client.is_connected());
    }
}

/// [5.0: MQTT-3.2.2-5]
#[test]
fn mqtt_3_2_2_5_without_a_session_the_state_is_discarded() {
    let mut wire = Wire::connected(v5());
    let (first, second) = (wire.publish("1", QOS_1), wire.publish("2", QOS_2));
    let third = wire.publish("3", QOS_2);
    wire.receive(&[published("half", delivery(QOS_2, 9)), PubRec::new(id(3)).into()]);
    wire.take();
    wire.lose();
    let mut events = wire.connect(connack());
    assert_eq!(events.remove(0), Event::Connected(Resumption::Lost));
    events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events, [first, second, third].map(|token| abandoned(token, AbandonReason::Session)));
    wire.assert_silent();
    assert_eq!((wire.client.operations_in_flight(), wire.client.queued()), (0, 0));
    // The identifiers of received messages are discarded as well.
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 9))]), [delivered("new", QOS_2)]);
}

/// [5.0: MQTT-3.2.2-11]
#[test]
fn mqtt_3_2_2_11_no_qos_above_the_maximum() {
    for maximum in [MaximumQoS::AtMostOnce, MaximumQoS::AtLeastOnce] {
        let limit = ConnAckProperties { maximum_qos: Some(maximum), ..Default::default() };
        let allowed = |qos: QoS| qos <= QoS::from(maximum);
        let mut wire = Wire::new(v5());
        // Before the maximum is known: messages above it are abandoned once it is known.
        let waiting = [QOS_0, QOS_1, QOS_2].map(|qos| (qos, wire.publish("waiting", qos)));
        let events = wire.connect(connack_with(limit));
        for (qos, token) in waiting {
            let refused = events.contains(&abandoned(token, AbandonReason::NotSupported(ReasonCode::QoSNotSupported)));
            assert_eq!(refused, !allowed(qos), "{qos}");
        }
        // Once the maximum is known: messages above it are refused.
        for qos in [QOS_0, QOS_1, QOS_2] {
            let result = wire.client.publish(wire.now, &Message::new("t", "x").qos(qos));
            let expected = PublishError::QoSNotSupported { maximum };
            assert_eq!(result.err(), (!allowed(qos)).then_some(expected), "{qos}");
        }
        let sent = wire.take();
        for packet in decode(&sent, Version::V5) {
            assert!(matches!(packet, Packet::Publish(publish) if allowed(publish.delivery.qos())), "{packet:?}");
        }
        // A message accepted by an earlier server is not sent again to a server that does not support its QoS.
        let mut wire = Wire::connected(v5());
        let token = wire.publish("in flight", QOS_2);
        wire.take();
        wire.lose();
        let events = wire.connect(present_with(limit));
        assert_eq!(events[1..], [abandoned(token, AbandonReason::NotSupported(ReasonCode::QoSNotSupported))]);
        wire.assert_silent();
    }
}

/// [5.0: MQTT-3.2.2-14]
#[test]
fn mqtt_3_2_2_14_no_retain_where_it_is_not_available() {
    let limit = ConnAckProperties { retain_available: Some(false), ..Default::default() };
    let retained = Message::new("t", "r").qos(QOS_1).retain(true);
    let mut wire = Wire::new(v5());
    let waiting = wire.client.publish(wire.now, &retained).unwrap();
    let events = wire.connect(connack_with(limit));
    assert_eq!(events[1..], [abandoned(waiting, AbandonReason::NotSupported(ReasonCode::RetainNotSupported))]);
    assert_eq!(wire.client.publish(wire.now, &retained), Err(PublishError::RetainNotSupported));
    assert_eq!(
        wire.client.publish(wire.now, &Message::new("t", "r").retain(true)),
        Err(PublishError::RetainNotSupported)
    );
    wire.assert_silent();

    let mut wire = Wire::connected(v5());
    let token = wire.client.publish(wire.now, &retained).unwrap();
    wire.take();
    wire.lose();
    let events = wire.connect(present_with(limit));
    assert_eq!(events[1..], [abandoned(token, AbandonReason::NotSupported(ReasonCode::RetainNotSupported))]);
    wire.assert_silent();
}

/// [5.0: MQTT-3.2.2-15]
#[test]
fn mqtt_3_2_2_15_nothing_above_the_maximum_packet_size() {
    const LIMIT: u32 = 40;
    let too_large = AbandonReason::NotSupported(ReasonCode::PacketTooLarge);
    let long = "x".repeat(60);
    let long_filter = filter(&long);
    let long_subscription = Subscription::with_filter(long_filter, QOS_0);
    let long_pair = [UserProperty::new("k", &long).unwrap()];
    let mut wire = Wire::new(ClientConfig { manual_acks: true, topic_aliases: 8, ..authenticating() });
    // Commands given before the limit is known.
    let waiting = [
        wire.publish(&long, QOS_0),
        wire.publish(&long, QOS_1),
        wire.publish(&long, QOS_2),
        wire.client.subscribe(wire.now, &[long_subscription]).unwrap(),
        wire.client.unsubscribe(wire.now, &[long_filter]).unwrap(),
    ];
    let properties = ConnAckProperties { topic_alias_maximum: Some(8), ..packet_size(LIMIT) };
    let method = authenticated().properties.authentication_method;
    let properties = ConnAckProperties { authentication_method: method, ..properties };
    let mut events = wire.connect(connack_with(properties));
    events.remove(0);
    events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events, waiting.map(|token| abandoned(token, too_large)));
    assert_eq!(wire.client.operations_in_flight(), 0);
    // Commands given once it is known.
    let refused = Err(PublishError::TooLarge { limit: LIMIT });
    for qos in [QOS_0, QOS_1, QOS_2] {
        assert_eq!(wire.client.publish(wire.now, &Message::new("t", &long).qos(qos)), refused);
        assert_eq!(wire.client.publish(wire.now, &Message::new(&long, "t").qos(qos)), refused);
    }
    assert_eq!(wire.client.subscribe(wire.now, &[long_subscription]), Err(SubscribeError::TooLarge { limit: LIMIT }));
    assert_eq!(wire.client.unsubscribe(wire.now, &[long_filter]), Err(SubscribeError::TooLarge { limit: LIMIT }));
    assert_eq!(
        wire.client.reauthenticate(wire.now, long.as_bytes()),
        Err(AuthenticateError::TooLarge { limit: LIMIT })
    );
    wire.assert_silent();
    assert_eq!((wire.client.operations_in_flight(), wire.client.queued()), (0, 0));
    // Every size around the limit, with a topic alias that makes the packet larger and one that makes it smaller.
    for size in 20..45 {
        for topic in ["a topic", "another", "a topic"] {
            let taken = wire.client.publish(wire.now, &Message::new(topic, &long[..size])).is_ok();
            let sent = wire.take();
            assert!(sent.len() <= LIMIT as usize && taken != sent.is_empty(), "{size}: {} bytes", sent.len());
        }
    }
    wire.poll();
    // Packets the client sends by itself.
    wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
    let properties = AckProperties { user_properties: List::from(&long_pair), ..Default::default() };
    for ack_handle in wire.ack_handles.clone() {
        wire.client.ack_with(wire.now, ack_handle, PubAckReasonCode::Success, &properties).unwrap();
    }
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into()]);
    let properties = DisconnectProperties { user_properties: List::from(&long_pair), ..Default::default() };
    wire.client.disconnect(wire.now, &Disconnect { properties, ..Disconnect::default() }).unwrap();
    wire.assert_sent(&[Disconnect::default().into()]);
}

/// A message sent to a server with a larger limit is not sent again to one with a smaller limit.
/// [5.0: MQTT-3.2.2-15]
#[test]
fn mqtt_3_2_2_15_nothing_above_the_maximum_packet_size_is_sent_again() {
    let mut wire = Wire::connected(v5());
    let tokens = [QOS_1, QOS_2].map(|qos| wire.publish("a payload of some length", qos));
    let short = wire.publish("short", QOS_1);
    wire.take();
    wire.lose();
    let mut events = wire.connect(present_with(packet_size(20)));
    events.remove(0);
    let too_large = AbandonReason::NotSupported(ReasonCode::PacketTooLarge);
    assert_eq!(events, tokens.map(|token| abandoned(token, too_large)));
    wire.assert_sent(&[published("short", again(QOS_1, 3))]);
    assert_eq!(wire.receive(&[PubAck::new(id(3)).into()]), [success(short)]);
}

/// A limit so small that only PINGREQ and the shortest DISCONNECT fit: even the last packet obeys it.
/// [5.0: MQTT-3.2.2-15]
#[test]
fn mqtt_3_2_2_15_disconnect_obeys_the_maximum_packet_size() {
    for limit in 1..=8 {
        let mut wire = Wire::new(v5());
        wire.open();
        wire.receive(&[connack_with(packet_size(limit)).into()]);
        if wire.client.is_connected() {
            wire.receive(&[connack().into()]); // a second CONNACK
        }
        let sent = wire.take();
        assert!(sent.len() <= limit as usize, "{limit}: {sent:x?}");
    }
}

/// [5.0: MQTT-3.2.2-17, MQTT-3.3.2-9]
#[test]
fn mqtt_3_2_2_17_and_mqtt_3_3_2_9_aliases_stay_within_the_maximum() {
    for (ours, theirs) in [(10, 3), (3, 10), (0, 10), (65_535, 1)] {
        let mut wire =
            Wire::connected_by(ClientConfig { topic_aliases: ours, ..v5() }, connack_with(alias_maximum(theirs)));
        let mut topics: Vec<Option<String>> = vec![None; 16];
        let mut used = 0;
        for round in 0..200 {
            let topic = format!("topic {}", round * 7 % 11 * (round % 3));
            wire.client.publish(wire.now, &Message::new(&topic, "x")).unwrap();
            let sent = wire.take();
            let [Packet::Publish(sent)] = decode(&sent, Version::V5)[..] else { panic!("one message") };
            let Some(alias) = sent.properties.topic_alias else {
                assert_eq!(sent.topic, topic[..]);
                continue;
            };
            assert!(alias.get() <= ours.min(theirs), "{alias}");
            used += 1;
            // The server can tell the topic with and without an alias.
            let entry = &mut topics[usize::from(alias.get())];
            if !sent.topic.is_empty() {
                *entry = Some(sent.topic.as_str().into());
            }
            assert_eq!(entry.as_deref(), Some(&topic[..]));
        }
        assert_eq!(used, if ours == 0 { 0 } else { 200 });
        wire.poll();
    }
}

/// [5.0: MQTT-3.2.2-18]
#[test]
fn mqtt_3_2_2_18_no_aliases_unless_the_server_announces_them() {
    let mut wire = Wire::connected(ClientConfig { topic_aliases: 10, ..v5() });
    for qos in [QOS_0, QOS_1, QOS_2, QOS_0] {
        wire.publish("x", qos);
    }
    wire.assert_sent(&[
        published("x", delivery(QOS_0, 0)),
        published("x", delivery(QOS_1, 1)),
        published("x", delivery(QOS_2, 2)),
        published("x", delivery(QOS_0, 0)),
    ]);
}
