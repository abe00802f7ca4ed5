//! Rows 11 to 15: packet sizes, topic aliases, manual acknowledgements, unexpected acknowledgements, limits.

use super::*;
use mqtt_sansio::client::SubscribeError;
use mqtt_sansio::{AckError, PublishError};

/// A message that is too large for the server takes no packet identifier and is not retried on each connection.
#[test]
fn pitfall_11_messages_too_large_for_the_server() {
    let too_large = AbandonReason::NotSupported(ReasonCode::PacketTooLarge);
    let mut wire = Wire::connected_by(v5(), connack_with(packet_size(30)));
    let long = "x".repeat(100);
    let refused = wire.client.publish(wire.now, &Message::new("t", &long).qos(QOS_1));
    assert_eq!(refused, Err(PublishError::TooLarge { limit: 30 }));
    wire.publish("x", QOS_1);
    wire.assert_sent(&[published("x", delivery(QOS_1, 1))]);
    wire.receive(&[PubAck::new(id(1)).into()]);
    // Without a connection the limit is not known.
    wire.lose();
    let [first, second] = [QOS_1, QOS_0].map(|qos| wire.publish(&long, qos));
    let small = wire.publish("small", QOS_1);
    let events = wire.connect(present_with(packet_size(30)));
    assert_eq!(events[1..], [abandoned(first, too_large), abandoned(second, too_large)]);
    let [number] = sent_ids(&mut wire)[..] else { panic!("one message") };
    assert_eq!(wire.receive(&[PubAck::new(id(number)).into()]), [success(small)]);
    wire.resume();
    wire.assert_silent();
    assert_eq!(wire.client.queued(), 0);
}

/// An incoming packet that is too large closes the connection as soon as its size is known.
#[test]
fn pitfall_11_incoming_packets_are_refused_by_their_fixed_header() {
    for version in BOTH {
        let mut wire = Wire::connected(ClientConfig { maximum_packet_size: NonZeroU32::new(1000), ..lasting(version) });
        // 3 + 997 bytes are 1000; 998 are too many.
        assert_eq!(wire.poll_with(&mut &b"\x30\xe5\x07"[..]), []);
        let events = wire.receive_bytes_and_close(b"\x30\xe6\x07");
        assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::PacketTooLarge))]);
        let reason_code = DisconnectReasonCode::PacketTooLarge;
        match version {
            Version::V5 => wire.assert_sent(&[Disconnect { reason_code, ..Disconnect::default() }.into()]),
            _ => wire.assert_silent(),
        }
    }
}

/// A queued message and a retransmission have their full topic, because a topic alias belongs to a connection.
#[test]
fn pitfall_12_aliases_do_not_outlive_a_connection() {
    let aliases = ConnAckProperties { topic_alias_maximum: Some(1), ..Default::default() };
    let mut wire = Wire::connected_by(ClientConfig { topic_aliases: 1, ..v5() }, connack_with(aliases));
    wire.publish("1", QOS_1);
    wire.publish("2", QOS_2);
    let alias = |topic, payload, delivery| {
        let properties = PublishProperties { topic_alias: NonZeroU16::new(1), ..Default::default() };
        Packet::from(Publish { topic, properties, ..publish(payload, delivery) })
    };
    let (topic, none) = (TopicName::new("t").unwrap(), TopicName::default());
    wire.assert_sent(&[alias(topic, "1", delivery(QOS_1, 1)), alias(none, "2", delivery(QOS_2, 2))]);
    wire.lose();
    // Queued without a connection.
    wire.publish("3", QOS_1);
    wire.connect(present());
    wire.assert_sent(&[
        published("1", again(QOS_1, 1)),
        published("2", again(QOS_2, 2)),
        published("3", delivery(QOS_1, 3)),
    ]);
    wire.lose();
    wire.connect(present_with(aliases));
    wire.assert_sent(&[
        alias(topic, "1", again(QOS_1, 1)),
        alias(none, "2", again(QOS_2, 2)),
        alias(none, "3", again(QOS_1, 3)),
    ]);
    // An alias whose PUBLISH was not sent is not set.
    wire.publish("4", QOS_0);
    wire.lose();
    wire.connect(connack_with(aliases));
    wire.publish("5", QOS_0);
    wire.assert_sent(&[alias(topic, "5", delivery(QOS_0, 0))]);
}

#[test]
fn pitfall_13_manual_acknowledgements() {
    let mut wire = Wire::connected(manual(Version::V5));
    let packets = [(QOS_1, 1), (QOS_2, 2), (QOS_1, 3), (QOS_2, 4)];
    wire.receive(&packets.map(|(qos, number)| published("x", delivery(qos, number))));
    let ack_handles = wire.ack_handles.clone();
    // QoS 0 needs no acknowledgement.
    wire.receive(&[published("0", delivery(QOS_0, 0))]);
    assert_eq!(wire.ack_handles.len(), 4);
    let (refused, fine) = (PubAckReasonCode::NotAuthorized, PubAckReasonCode::NoMatchingSubscribers);
    wire.client.ack(wire.now, ack_handles[3], refused).unwrap();
    wire.client.ack(wire.now, ack_handles[1], fine).unwrap();
    wire.assert_silent();
    assert_eq!(wire.client.ack(wire.now, ack_handles[1], fine), Err(AckError::AlreadyAcknowledged));
    wire.client.ack(wire.now, ack_handles[0], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec { reason_code: fine, ..PubRec::new(id(2)) }.into()]);
    wire.client.ack(wire.now, ack_handles[2], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(3)).into(), PubRec { reason_code: refused, ..PubRec::new(id(4)) }.into()]);
    for &ack_handle in &ack_handles {
        assert_eq!(wire.client.ack(wire.now, ack_handle, fine), Err(AckError::AlreadyAcknowledged));
    }
    // A handle of an earlier connection is refused, and the server sends the message again.
    wire.receive(&[published("late", delivery(QOS_1, 9))]);
    let late = wire.ack_handles[4];
    wire.lose();
    assert_eq!(wire.client.ack(wire.now, late, fine), Err(AckError::EarlierConnection));
    wire.connect(present());
    assert_eq!(wire.receive(&[published("late", again(QOS_1, 9))]).len(), 1);
    assert_eq!(wire.client.ack(wire.now, late, fine), Err(AckError::EarlierConnection));
    wire.assert_silent();
    wire.client.ack(wire.now, wire.ack_handles[5], PubAckReasonCode::Success).unwrap();
    wire.assert_sent(&[PubAck::new(id(9)).into()]);
    // Before 5.0 PUBREC has no reason code.
    let mut wire = Wire::connected(manual(Version::V311));
    wire.receive(&[published("1", delivery(QOS_1, 1)), published("2", delivery(QOS_2, 2))]);
    for ack_handle in wire.ack_handles.clone() {
        wire.client.ack(wire.now, ack_handle, refused).unwrap();
    }
    wire.assert_sent(&[PubAck::new(id(1)).into(), PubRec::new(id(2)).into()]);
    // So ownership of the message is accepted.
    assert_eq!(wire.receive(&[published("2", again(QOS_2, 2))]), []);
    wire.receive(&[PubRel::new(id(2)).into()]);
    wire.assert_sent(&[PubRec::new(id(2)).into(), PubComp::new(id(2)).into()]);
}

#[test]
fn pitfall_14_unexpected_acknowledgements() {
    for version in BOTH {
        let reason_code = match version {
            Version::V5 => PubRelReasonCode::PacketIdentifierNotFound,
            _ => PubRelReasonCode::Success,
        };
        let mut wire = Wire::connected(lasting(version));
        let strays = [
            PubRel::new(id(1)).into(),
            PubAck::new(id(1)).into(),
            PubComp::new(id(1)).into(),
            PubRec::new(id(1)).into(),
            suback(1),
            unsuback(1, version),
            Packet::PingResp,
        ];
        assert_eq!(wire.receive(&strays), []);
        assert!(wire.client.is_connected());
        let comp = PubComp { reason_code, ..PubComp::new(id(1)) };
        let rel = PubRel { reason_code, ..PubRel::new(id(1)) };
        wire.assert_sent(&[comp.into(), rel.into()]);
    }
}

#[test]
fn pitfall_15_limits_by_count_and_by_bytes() {
    // By number: queued and in-flight messages together.
    let mut wire = Wire::connected_by(ClientConfig { max_stored: 4, ..v5() }, connack_with(receive_maximum(2)));
    for payload in ["1", "2", "3", "4"] {
        wire.publish(payload, QOS_1);
    }
    assert_eq!((wire.client.operations_in_flight(), wire.client.queued()), (2, 2));
    assert_eq!(wire.client.publish(wire.now, &Message::new("t", "5").qos(QOS_1)), Err(PublishError::QueueFull));
    assert_eq!(
        wire.client.subscribe(wire.now, &[Subscription::new("t", QOS_0).unwrap()]),
        Err(SubscribeError::QueueFull)
    );
    assert_eq!(wire.client.unsubscribe(wire.now, &[filter("t")]), Err(SubscribeError::QueueFull));
    // A QoS 0 message on a connection is not stored, so it is sent.
    wire.publish("0", QOS_0);
    // By bytes, with a payload that is copied and one that is shared.
    for shared in [false, true] {
        let payload = Bytes::from(vec![b'x'; 4000]);
        let message = || match shared {
            true => Message::new("t", payload.clone()).qos(QOS_1),
            false => Message::new("t", &payload[..]).qos(QOS_1),
        };
        let mut wire = Wire::connected(ClientConfig { max_stored_bytes: 10_000, ..v5() });
        wire.client.publish(wire.now, &message()).unwrap();
        wire.lose();
        wire.client.publish(wire.now, &message()).unwrap();
        assert_eq!(wire.client.publish(wire.now, &message()), Err(PublishError::QueueFull));
        wire.publish("small", QOS_1);
        wire.connect(connack());
    }
}

#[test]
fn pitfall_15_every_drop_is_reported() {
    let config = ClientConfig { max_stored: 3, overflow: Overflow::DropOldest, ..v5() };
    let mut wire = Wire::connected(config.clone());
    let in_flight = wire.publish("1", QOS_1);
    wire.take();
    wire.lose();
    let tokens: Vec<_> = (0..10).map(|_| wire.publish("x", QOS_1)).collect();
    // A message that may have been sent is not dropped, and the newest one is stored at last.
    let dropped = tokens[..8].iter().map(|&token| abandoned(token, AbandonReason::Overflow));
    assert_eq!(wire.poll(), dropped.collect::<Vec<_>>());
    wire.connect(present());
    let ids = sent_ids(&mut wire);
    assert_eq!(ids.len(), 3);
    let events = wire.receive(&[1, 2, 3].map(|place| PubAck::new(id(ids[place - 1])).into()));
    assert_eq!(events, [in_flight, tokens[8], tokens[9]].map(success));
    // If dropping cannot make enough room, the message is refused and nothing is dropped.
    let mut wire = Wire::connected(config.clone());
    for _ in 0..3 {
        wire.publish("sent", QOS_1);
    }
    assert_eq!(wire.client.publish(wire.now, &Message::new("t", "x").qos(QOS_1)), Err(PublishError::QueueFull));
    let mut wire = Wire::new(ClientConfig { max_stored_bytes: 100, ..config });
    wire.publish("stays", QOS_1);
    let too_large = Message::new("t", vec![0; 200]).qos(QOS_1);
    assert_eq!(wire.client.publish(wire.now, &too_large), Err(PublishError::QueueFull));
    assert_eq!((wire.poll(), wire.client.queued()), (vec![], 1));
    // The oldest message is dropped, whatever its QoS is and that of the others.
    for kinds in [[QOS_0, QOS_1], [QOS_1, QOS_0]] {
        let mut wire = Wire::new(ClientConfig { max_stored: 2, overflow: Overflow::DropOldest, ..v5() });
        let [oldest, next] = kinds.map(|qos| wire.publish("x", qos));
        for dropped in [oldest, next] {
            wire.publish("x", QOS_1);
            assert_eq!(wire.poll(), [abandoned(dropped, AbandonReason::Overflow)], "{kinds:?}");
        }
    }
    // Requests are not dropped to make room for messages.
    let mut wire = Wire::new(ClientConfig { max_stored: 2, overflow: Overflow::DropOldest, ..v5() });
    let asked = wire.subscribe();
    let first = wire.publish("1", QOS_0);
    wire.publish("2", QOS_0);
    assert_eq!(wire.poll(), [abandoned(first, AbandonReason::Overflow)]);
    wire.connect(connack());
    assert_eq!(wire.receive(&[suback(1)])[..1], [Event::Done(asked, Done::Subscribed(vec![0]))]);
}
