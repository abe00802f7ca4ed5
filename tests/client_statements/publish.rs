//! Section 3.3: PUBLISH.

use super::*;

/// [5.0: MQTT-3.3.1-1]
#[test]
fn mqtt_3_3_1_1_a_retransmission_has_dup() {
    let mut wire = Wire::connected(v5());
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    wire.take();
    for _ in 0..3 {
        wire.resume();
        wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2))]);
    }
    // No byte of this one has left, so it is sent for the first time.
    wire.publish("3", QOS_1);
    wire.resume();
    let first_time = published("3", delivery(QOS_1, 4)); // 3 is not reused at once
    wire.assert_sent(&[published("1", again(QOS_1, 1)), published("2", again(QOS_2, 2)), first_time]);
}

/// [5.0: MQTT-3.3.2-7]
#[test]
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    // The server's aliases.
    let config = ClientConfig { topic_alias_maximum: 5, topic_aliases: 5, ..v5() };
    let mut wire = Wire::connected_by(config, connack_with(alias_maximum(5)));
    let events = wire
        .receive(&[aliased("t", "1", 5, delivery(QOS_0, 0)).into(), aliased("", "2", 5, delivery(QOS_0, 0)).into()]);
    assert_eq!(events, [delivered("1", QOS_0), delivered("2", QOS_0)]);
    // The client's aliases.
    wire.publish("a", QOS_1);
    wire.publish("b", QOS_1);
    wire.assert_sent(&[
        aliased("t", "a", 1, delivery(QOS_1, 1)).into(),
        aliased("", "b", 1, delivery(QOS_1, 2)).into(),
    ]);
    wire.lose();
    wire.connect(present_with(alias_maximum(5)));
    wire.assert_sent(&[aliased("t", "a", 1, again(QOS_1, 1)).into(), aliased("", "b", 1, again(QOS_1, 2)).into()]);
    wire.lose();
    wire.connect(present());
    wire.assert_sent(&[published("a", again(QOS_1, 1)), published("b", again(QOS_1, 2))]);
    let events = wire.receive(&[aliased("", "3", 5, delivery(QOS_0, 0)).into()]);
    assert_eq!(events, [protocol_error(ProtocolError::UnknownTopicAlias)]);
}

/// [5.0: MQTT-3.3.2-10]
#[test]
fn mqtt_3_3_2_10_every_alias_up_to_the_maximum_is_accepted() {
    const MAXIMUM: u16 = 300;
    let mut wire = Wire::connected(ClientConfig { topic_alias_maximum: MAXIMUM, ..v5() });
    for alias in 1..=MAXIMUM {
        let topic = format!("topic/{alias}");
        wire.receive(&[aliased(&topic, "", alias, delivery(QOS_0, 0)).into()]);
    }
    for alias in 1..=MAXIMUM {
        let events = wire.receive(&[aliased("", "", alias, delivery(QOS_0, 0)).into()]);
        assert!(
            matches!(&events[..], [Event::Message { topic, .. }] if *topic == format!("topic/{alias}")),
            "{events:?}"
        );
    }
    wire.assert_silent();
}

/// [5.0: MQTT-3.3.4-1]
#[test]
fn mqtt_3_3_4_1_each_qos_has_its_acknowledgement() {
    let mut wire = Wire::connected(v5());
    assert_eq!(wire.receive(&[published("0", delivery(QOS_0, 0))]), [delivered("0", QOS_0)]);
    wire.assert_silent();
    assert_eq!(wire.receive(&[published("1", delivery(QOS_1, 1))]), [delivered("1", QOS_1)]);
    wire.assert_sent(&[PubAck::new(id(1)).into()]);
    assert_eq!(wire.receive(&[published("2", delivery(QOS_2, 2))]), [delivered("2", QOS_2)]);
    wire.assert_sent(&[PubRec::new(id(2)).into()]);
}

/// [5.0: MQTT-3.3.4-7]
#[test]
fn mqtt_3_3_4_7_at_most_receive_maximum() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(3)));
    for payload in ["1", "2", "3", "4", "5", "6"] {
        wire.publish(payload, if payload == "2" { QOS_2 } else { QOS_1 });
    }
    assert_eq!(sent_payloads(&mut wire), ["1", "2", "3"]);
    assert_eq!((wire.client.in_flight(), wire.client.queued()), (3, 3));
    // PUBREC alone does not free quota, and time does not either.
    wire.receive(&[PubRec::new(id(2)).into()]);
    wire.assert_sent(&[PubRel::new(id(2)).into()]);
    wire.later(1000);
    wire.poll();
    wire.assert_silent();
    wire.receive(&[PubComp::new(id(2)).into()]);
    assert_eq!(sent_payloads(&mut wire), ["4"]);
    wire.receive(&[PubAck::new(id(1)).into(), PubAck::new(id(3)).into()]);
    assert_eq!(sent_payloads(&mut wire), ["5", "6"]);
    // 65,535 messages if CONNACK has no Receive Maximum.
    let mut wire = Wire::connected(ClientConfig { max_stored: 70_000, transmit_limit: NonZeroU32::MAX, ..v5() });
    for _ in 0..65_535 {
        wire.publish("", QOS_1);
    }
    assert_eq!(wire.client.in_flight(), 65_535);
}

/// [5.0: MQTT-3.3.4-8]
#[test]
fn mqtt_3_3_4_8_a_full_window_delays_messages_alone() {
    let mut wire = Wire::connected_by(v5(), connack_with(receive_maximum(1)));
    wire.publish("1", QOS_1);
    wire.publish("waits", QOS_1);
    wire.take();
    wire.subscribe();
    wire.unsubscribe();
    wire.receive(&[published("a", delivery(QOS_1, 7)), published("b", delivery(QOS_2, 8)), PubRel::new(id(8)).into()]);
    wire.publish("0", QOS_0);
    let filters = [filter("t")];
    let subscriptions = [Subscription::new("t", QOS_0).unwrap()];
    wire.assert_sent(&[
        Subscribe::new(id(2), &subscriptions).into(),
        Unsubscribe::new(id(3), &filters).into(),
        PubAck::new(id(7)).into(),
        PubRec::new(id(8)).into(),
        PubComp::new(id(8)).into(),
        published("0", delivery(QOS_0, 0)),
    ]);
    wire.poll();
    wire.later(60_000);
    wire.poll();
    wire.assert_sent(&[Packet::PingReq]);
    wire.client.disconnect(wire.now, &Disconnect::default()).unwrap();
    wire.assert_sent(&[Disconnect::default().into()]);
}
