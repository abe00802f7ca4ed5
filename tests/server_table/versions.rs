//! A session whose client reconnects with another protocol version.

use std::num::NonZeroU32;

use bytes::Bytes;
use mqtt_sansio::codec::{
    Connect, ConnectProperties, Packet, PubAck, PubComp, PubRec, PubRel, Publish, PublishProperties, UserProperty,
};
use mqtt_sansio::server::{AnswerError, ServerConfig};
use mqtt_sansio::{AbandonReason, Message, SessionExpiry, Version};

use super::server::{
    Event, QOS_0, QOS_1, QOS_2, Wire, abandoned, again, config, connack, delivered, delivery, id, lasting, publish,
    published, subscribe, subscription, success, text, will,
};

const PAIRS: [(Version, Version); 6] = [
    (Version::V5, Version::V311),
    (Version::V311, Version::V5),
    (Version::V5, Version::V31),
    (Version::V31, Version::V5),
    (Version::V311, Version::V31),
    (Version::V31, Version::V311),
];

/// The client reconnects with this version.
#[track_caller]
fn change(wire: &mut Wire, version: Version) {
    assert_eq!(wire.lose(), []);
    wire.reconnect(&lasting(version));
    assert_eq!(wire.server.version(), version);
    assert_eq!(wire.poll(), []);
}

/// A CONNACK with Session Present, if the version has it.
fn present(version: Version) -> Packet<'static> {
    connack(version != Version::V31)
}

#[test]
fn in_flight_and_queued_messages_continue() {
    for (first, second) in PAIRS {
        let config = ServerConfig { max_in_flight: 3.try_into().unwrap(), ..config() };
        let mut wire = Wire::connected(config, &lasting(first));
        let tokens = [("1", QOS_1), ("2", QOS_2), ("3", QOS_2), ("4", QOS_1), ("5", QOS_2)]
            .map(|(payload, qos)| wire.publish(payload, qos));
        wire.receive(&[PubRec::new(id(3)).into()]);
        wire.take();
        for version in [second, first, second] {
            change(&mut wire, version);
            wire.assert_sent(&[
                present(version),
                PubRel::new(id(3)).into(),
                published("1", again(QOS_1, 1)),
                published("2", again(QOS_2, 2)),
            ]);
            assert_eq!((wire.server.in_flight(), wire.server.queued(), wire.server.packet_ids_in_use()), (3, 2, 3));
        }
        assert_eq!(wire.receive(&[PubComp::new(id(3)).into()]), [success(tokens[2])]);
        assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(tokens[0])]);
        wire.assert_sent(&[published("4", delivery(QOS_1, 4)), published("5", delivery(QOS_2, 5))]);
        change(&mut wire, first);
        wire.assert_sent(&[
            present(first),
            published("2", again(QOS_2, 2)),
            published("4", again(QOS_1, 4)),
            published("5", again(QOS_2, 5)),
        ]);
        assert_eq!(wire.receive(&[PubRec::new(id(2)).into(), PubRec::new(id(5)).into()]), []);
        let events = wire.receive(&[PubAck::new(id(4)).into(), PubComp::new(id(5)).into(), PubComp::new(id(2)).into()]);
        assert_eq!(events, [success(tokens[3]), success(tokens[4]), success(tokens[1])]);
        assert_eq!((wire.server.packet_ids_in_use(), wire.server.queued()), (0, 0));
    }
}

/// Properties exist in 5.0 only: a client that reconnects with an earlier version gets the message without them.
#[test]
fn properties_are_left_out_before_5_0() {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let properties = PublishProperties {
        content_type: Some(text("type")),
        correlation_data: Some(b"data"),
        user_properties: (&pairs).into(),
        message_expiry_interval: Some(500),
        ..Default::default()
    };
    for version in [Version::V311, Version::V31] {
        let mut wire = Wire::connected(ServerConfig { store_qos_0: true, ..config() }, &lasting(Version::V5));
        let message = |payload, qos| Message::new("t", payload).qos(qos).retain(true).properties(properties);
        wire.server.publish(wire.now, &message("1", QOS_1)).unwrap();
        wire.poll();
        wire.take();
        wire.lose();
        wire.server.publish(wire.now, &message("2", QOS_2)).unwrap();
        wire.server.publish(wire.now, &message("3", QOS_0)).unwrap();
        wire.later(10_000);
        wire.reconnect(&lasting(version));
        wire.poll();
        let bare = |payload, delivery| Publish { retain: true, ..publish(payload, delivery) }.into();
        wire.assert_sent(&[
            present(version),
            bare("1", again(QOS_1, 1)),
            bare("2", delivery(QOS_2, 2)),
            bare("3", delivery(QOS_0, 0)),
        ]);
        // In the other direction no properties are added.
        wire.poll();
        change(&mut wire, Version::V5);
        wire.assert_sent(&[present(Version::V5), bare("1", again(QOS_1, 1)), bare("2", again(QOS_2, 2))]);
    }
}

/// A large payload is stored by reference in every version.
#[test]
fn large_payloads_are_not_copied() {
    for (first, second) in PAIRS {
        let payload = Bytes::from("x".repeat(100_000));
        let large = String::from_utf8(payload.to_vec()).unwrap();
        let mut wire = Wire::connected(ServerConfig { transmit_limit: NonZeroU32::MAX, ..config() }, &lasting(first));
        wire.server.publish(wire.now, &Message::new("t", payload.clone()).qos(QOS_1)).unwrap();
        wire.poll();
        wire.take();
        wire.lose();
        wire.server.publish(wire.now, &Message::new("t", payload).qos(QOS_2)).unwrap();
        change(&mut wire, second);
        wire.assert_sent(&[present(second), published(&large, again(QOS_1, 1)), published(&large, delivery(QOS_2, 2))]);
        change(&mut wire, first);
        wire.assert_sent(&[present(first), published(&large, again(QOS_1, 1)), published(&large, again(QOS_2, 2))]);
    }
}

/// An expired message is not delivered [5.0: MQTT-3.3.2-5], whether the version has the interval or not.
#[test]
fn a_message_expires_in_every_version() {
    for version in Version::ALL {
        let mut wire = Wire::lasting(Version::V5);
        wire.lose();
        let properties = PublishProperties { message_expiry_interval: Some(5), ..Default::default() };
        let message = Message::new("t", "x").qos(QOS_1).properties(properties);
        let token = wire.server.publish(wire.now, &message).unwrap();
        wire.poll();
        // The client reconnects, and its connection is lost before a byte of the message has left.
        wire.reconnect(&lasting(version));
        wire.poll();
        wire.server.closed(wire.now);
        assert_eq!(wire.poll(), []);
        wire.later(6_000);
        wire.reconnect(&lasting(Version::V5));
        assert_eq!(wire.poll(), [abandoned(token, AbandonReason::Expired)], "{version}");
        wire.assert_sent(&[connack(true)]);
    }
}

/// The identifiers of received messages are known in the other version [3.1.1: MQTT-4.3.3-2; 5.0: MQTT-4.3.3-10].
#[test]
fn identifiers_of_received_messages_are_known() {
    for (first, second) in PAIRS {
        let mut wire = Wire::lasting(first);
        assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 5))]), [delivered("x", QOS_2)]);
        change(&mut wire, second);
        wire.assert_sent(&[present(second)]);
        assert_eq!(wire.receive(&[published("x", again(QOS_2, 5)), PubRel::new(id(5)).into()]), []);
        wire.assert_sent(&[PubRec::new(id(5)).into(), PubComp::new(id(5)).into()]);
        assert_eq!(wire.receive(&[published("y", delivery(QOS_2, 5))]), [delivered("y", QOS_2)]);
    }
}

/// The limits announced by a client of 5.0 hold for that connection, and a client of 3.1.1 announces none.
#[test]
fn limits_belong_to_the_connection() {
    let small = Connect {
        properties: ConnectProperties {
            session_expiry_interval: Some(3600),
            receive_maximum: 1.try_into().ok(),
            maximum_packet_size: 50.try_into().ok(),
            topic_alias_maximum: Some(5),
            ..Default::default()
        },
        ..lasting(Version::V5)
    };
    let mut wire = Wire::connected(ServerConfig { topic_aliases: 5, ..config() }, &small);
    let large = "x".repeat(60);
    assert!(wire.server.publish(wire.now, &Message::new("t", &large).qos(QOS_1)).is_err());
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_1);
    wire.poll();
    wire.take();
    change(&mut wire, Version::V311);
    wire.publish(&large, QOS_1);
    wire.assert_sent(&[
        present(Version::V311),
        published("1", again(QOS_1, 1)),
        published("2", delivery(QOS_1, 2)),
        published(&large, delivery(QOS_1, 3)),
    ]);
    wire.lose();
    // Messages above the new limit are dropped [MQTT-3.1.2-24, MQTT-3.1.2-25] and reported.
    wire.reconnect(&small);
    let acks = |number| -> Packet<'static> { PubAck::new(id(number)).into() };
    wire.poll();
    let mut events = Vec::new();
    for number in [1, 2] {
        assert_eq!(wire.server.in_flight(), 1);
        events.extend(wire.receive(&[acks(number)]));
    }
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!((wire.server.packet_ids_in_use(), wire.server.queued()), (0, 0));
    let sent = wire.take();
    assert!(!sent.windows(60).any(|window| window == large.as_bytes()));
}

/// The will, its delay and the expiry of the session are those of the last connection.
#[test]
fn the_will_is_that_of_the_last_connection() {
    let of_v5 = Connect { will: Some(will("late", 100)), ..lasting(Version::V5) };
    let of_v311 = Connect { will: Some(will("at once", 0)), ..lasting(Version::V311) };
    let mut wire = Wire::connected(config(), &of_v5);
    assert_eq!(wire.lose(), []);
    wire.reconnect(&of_v311);
    assert_eq!(wire.poll(), [], "it is back before the delay has passed [MQTT-3.1.3-9]");
    assert_eq!(wire.server.session_expiry_interval(), SessionExpiry::NEVER);
    assert_eq!(wire.lose(), [Event::Will("at once".into())]);
    wire.later(1_000_000_000);
    assert_eq!(wire.poll(), []);
    wire.reconnect(&of_v5);
    wire.assert_sent(&[connack(true)]);
    wire.lose();
    wire.later(100_000);
    assert_eq!(wire.poll(), [Event::Will("late".into())]);
    wire.later(3_500_000);
    assert_eq!(wire.poll(), [Event::Expired]);
}

/// A request belongs to its connection.
#[test]
fn requests_are_not_carried_over() {
    for (first, second) in PAIRS {
        let mut wire = Wire::lasting(first);
        let request = wire.subscribe(1, &["t"]);
        change(&mut wire, second);
        let code = mqtt_sansio::codec::SubAckReasonCode::GrantedQoS0;
        let result = wire.server.suback(wire.now, request, &[code]);
        assert_eq!(result, Err(AnswerError::EarlierConnection));
        wire.assert_sent(&[present(second)]);
        let subscriptions = [subscription("t")];
        assert!(matches!(wire.receive(&[subscribe(1, &subscriptions)])[..], [Event::Subscribe(..)]));
    }
}

/// A new session starts empty, whatever the version.
#[test]
fn a_new_session_in_another_version() {
    for (first, second) in PAIRS {
        let mut wire = Wire::lasting(first);
        let token = wire.publish("1", QOS_2);
        wire.receive(&[published("x", delivery(QOS_2, 5))]);
        wire.lose();
        wire.reconnect(&Connect { clean_start: true, ..lasting(second) });
        assert_eq!(wire.poll(), [abandoned(token, AbandonReason::Session)]);
        wire.assert_sent(&[connack(false)]);
        assert_eq!(wire.receive(&[published("y", delivery(QOS_2, 5))]), [delivered("y", QOS_2)]);
        wire.take();
        wire.publish("2", QOS_1);
        assert_eq!(wire.sent_payloads(), ["2"]);
    }
}
