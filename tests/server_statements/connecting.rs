//! Sections 3.1 and 3.2: CONNECT and CONNACK.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt_sansio::codec::{
    AckProperties, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect, ConnectProperties,
    Disconnect, DisconnectProperties, DisconnectReasonCode, MaximumQoS, Packet, PubAck, PubAckReasonCode, PubRec,
    PublishProperties, SubAck, SubAckReasonCode, UnsubAck, UnsubAckReasonCode, UserProperty, Will,
};
use mqtt_sansio::server::{Accept, AcceptError, RefuseError, ServerConfig};
use mqtt_sansio::{AbandonReason, Instant, Message, ProtocolError, PublishError, Version};

use crate::server::{
    Door, Event, QOS_0, QOS_1, QOS_2, Why, Wire, abandoned, accepted, again, at, auth, authenticating, config, connack,
    decode, delivered, delivery, disconnect, encoded, id, lasting, protocol_error, publish, published, refused,
    success, text, v5, v5_with, will,
};

/// [5.0: MQTT-3.1.0-2]
#[test]
fn mqtt_3_1_0_2_a_second_connect_closes() {
    let mut wire = Wire::connected(config(), &v5());
    assert_eq!(
        wire.receive(&[v5().into(), published("x", delivery(QOS_0, 0))]),
        [protocol_error(ProtocolError::SecondConnect)]
    );
    wire.assert_sent(&[disconnect(DisconnectReasonCode::ProtocolError)]);
    assert!(!wire.server.is_connected());
    // The second CONNECT arrives before the first one is answered.
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.challenge(door.now, b"1").unwrap();
    assert_eq!(door.receive(&[authenticating().into()]), [protocol_error(ProtocolError::SecondConnect)]);
}

/// [5.0: MQTT-3.1.2-2]
#[test]
fn mqtt_3_1_2_2_an_unsupported_version_is_refused() {
    let mut door = Door::asked(config(), &v5());
    door.acceptor.refuse(door.now, ConnAckReasonCode::UnsupportedProtocolVersion).unwrap();
    assert_eq!(door.poll(), [Event::Close(Why::Refused(ConnAckReasonCode::UnsupportedProtocolVersion.into()))]);
    door.assert_sent(&[refused(ConnAckReasonCode::UnsupportedProtocolVersion)]);
    // A protocol level that does not exist is answered by the acceptor itself.
    let mut door = Door::new(config(), Version::V5);
    let (events, _) = door.receive_bytes(b"\x10\x0E\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01c");
    assert!(matches!(events[..], [Event::Close(Why::Malformed(_))]), "{events:?}");
}

/// A session without a connection, with a message in each stage of delivery.
fn interrupted() -> (Wire, [mqtt_sansio::Token; 2]) {
    let mut wire = Wire::lasting(Version::V5);
    let tokens = [wire.publish("1", QOS_1), wire.publish("2", QOS_2)];
    wire.receive(&[PubRec::new(id(2)).into(), published("in", delivery(QOS_2, 9))]);
    wire.take();
    assert_eq!(wire.lose(), []);
    (wire, tokens)
}

/// [5.0: MQTT-3.1.2-4]
#[test]
fn mqtt_3_1_2_4_clean_start_begins_anew() {
    let (mut wire, tokens) = interrupted();
    wire.reconnect(&Connect { clean_start: true, ..v5() });
    let mut events = wire.poll();
    events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events, tokens.map(|token| abandoned(token, AbandonReason::Session)));
    wire.assert_sent(&[connack(false)]);
    assert_eq!(wire.receive(&[published("new", delivery(QOS_2, 9))]), [delivered("new", QOS_2)]);
}

/// [5.0: MQTT-3.1.2-5]
#[test]
fn mqtt_3_1_2_5_without_clean_start_a_session_is_resumed() {
    let (mut wire, tokens) = interrupted();
    wire.reconnect(&v5());
    assert_eq!(wire.poll(), []);
    wire.assert_sent(&[connack(true), mqtt_sansio::codec::PubRel::new(id(2)).into(), published("1", again(QOS_1, 1))]);
    assert_eq!(wire.receive(&[published("in", again(QOS_2, 9))]), []);
    let events = wire.receive(&[PubAck::new(id(1)).into(), mqtt_sansio::codec::PubComp::new(id(2)).into()]);
    assert_eq!(events, tokens.map(success));
}

/// [5.0: MQTT-3.1.2-6]
#[test]
fn mqtt_3_1_2_6_without_a_session_there_is_a_new_one() {
    let mut wire = Wire::open(config(), &v5());
    wire.assert_sent(&[connack(false)]);
    assert_eq!(wire.receive(&[published("x", delivery(QOS_2, 9))]), [delivered("x", QOS_2)]);
}

/// [5.0: MQTT-3.1.2-7]
#[test]
fn mqtt_3_1_2_7_a_will_is_stored_with_the_session() {
    let all = Will {
        qos: QOS_2,
        retain: true,
        properties: mqtt_sansio::codec::WillProperties {
            content_type: Some(text("type")),
            correlation_data: Some(b"data"),
            message_expiry_interval: Some(7),
            ..Default::default()
        },
        ..will("gone", 0)
    };
    let mut wire = Wire::connected(config(), &Connect { will: Some(all), ..v5() });
    wire.later(1_000_000_000);
    assert_eq!(wire.poll(), [], "as long as there is a connection it stays");
    wire.server.closed(wire.now);
    let Some(mqtt_sansio::server::Action::Will(reported)) = wire.server.poll_timeout(wire.now) else { panic!() };
    assert_eq!(
        (reported.topic.as_str(), &reported.payload[..], reported.qos, reported.retain),
        ("will", &b"gone"[..], QOS_2, true)
    );
    assert_eq!(reported.content_type.as_deref(), Some("type"));
    assert_eq!(reported.correlation_data.as_deref(), Some(&b"data"[..]));
    assert_eq!(reported.message_expiry_interval, Some(7));
}

/// [5.0: MQTT-3.1.2-10]
#[test]
fn mqtt_3_1_2_10_a_will_is_dropped_when_it_was_published_or_discarded() {
    let connect = Connect { will: Some(will("w", 0)), ..v5() };
    let mut wire = Wire::connected(config(), &connect);
    assert_eq!(wire.lose(), [Event::Will("w".into())]);
    // The will is published once, also if the session is resumed without a will or ends.
    wire.reconnect(&v5());
    assert_eq!((wire.poll(), wire.lose()), (vec![], vec![]));
    wire.later(3_600_000);
    assert_eq!(wire.poll(), [Event::Expired]);
    let mut wire = Wire::connected(config(), &connect);
    wire.receive(&[disconnect(DisconnectReasonCode::NormalDisconnection)]);
    assert_eq!(wire.lose(), []);
    wire.later(3_600_000);
    assert_eq!(wire.poll(), [Event::Expired]);
}

/// [5.0: MQTT-3.1.2-22]
#[test]
fn mqtt_3_1_2_22_silence_for_one_and_a_half_intervals_closes() {
    for seconds in [1, 2, 7, 60, u16::MAX] {
        let connect = Connect { keep_alive: seconds, will: Some(will("w", 0)), ..v5() };
        let mut wire = Wire::connected(config(), &connect);
        let limit = u64::from(seconds) * 1500;
        wire.later(limit - 1);
        assert_eq!(wire.poll(), []);
        // Any packet shows that the client is alive and restarts the interval.
        for packet in [Packet::PingReq, PubAck::new(id(77)).into(), published("x", delivery(QOS_0, 0))] {
            wire.receive(&[packet]);
            wire.take();
            wire.later(limit - 1);
            assert_eq!(wire.poll(), []);
        }
        // Packets that have arrived count before the deadline.
        wire.later(1_000_000);
        assert_eq!(wire.receive(&[Packet::PingReq]), []);
        wire.take();
        let deadline = wire.server.deadline().unwrap();
        assert_eq!(deadline.since(wire.now).as_millis(), u128::from(limit));
        wire.now = deadline;
        assert_eq!(wire.poll(), [Event::Close(Why::KeepAliveTimeout)]);
        wire.assert_sent(&[disconnect(DisconnectReasonCode::KeepAliveTimeout)]);
        assert_eq!(wire.lose(), [Event::Will("w".into())], "as if the network had failed");
    }
    let mut wire = Wire::connected(config(), &Connect { keep_alive: 0, ..v5() });
    assert_eq!(wire.server.deadline(), None);
    wire.later(1_000_000_000);
    assert_eq!(wire.poll(), []);
}

/// Input that waits because too many answers are to be written has arrived: a client that reads slowly is not silent.
/// [5.0: MQTT-3.1.2-22]
#[test]
fn mqtt_3_1_2_22_waiting_input_counts_as_received() {
    let config = ServerConfig { answer_limit: NonZeroU32::new(6).unwrap(), ..config() };
    let mut wire = Wire::connected(config, &Connect { keep_alive: 10, ..v5() });
    let pings = encoded(&Packet::PingReq, Version::V5).repeat(5);
    wire.receive_bytes(&pings[..6]);
    assert!(!wire.server.takes_input());
    for came in [2, 4, 6] {
        wire.later(14_000);
        let mut input = &pings[..came];
        assert_eq!(wire.server.poll(wire.now, &mut input), None, "{came} bytes are there, and wait");
        assert_eq!(input.len(), came);
    }
    // The waiting input is taken now. Then the client is silent.
    wire.take();
    assert_eq!(wire.receive_bytes(&pings[..6]), []);
    wire.assert_sent(&[Packet::PingResp; 3]);
    wire.later(15_000);
    assert_eq!(wire.poll(), [Event::Close(Why::KeepAliveTimeout)]);
}

/// [5.0: MQTT-3.1.2-23]
#[test]
fn mqtt_3_1_2_23_an_expiry_interval_keeps_the_session() {
    for interval in [1, 100, u32::MAX] {
        let connect = v5_with(ConnectProperties { session_expiry_interval: Some(interval), ..Default::default() });
        let mut wire = Wire::connected(config(), &connect);
        let token = wire.publish("x", QOS_1);
        wire.take();
        assert_eq!(wire.lose(), []);
        wire.now = wire.now + core::time::Duration::from_micros(u64::from(interval) * 1_000_000 - 1);
        assert_eq!(wire.poll(), []);
        wire.reconnect(&connect);
        assert_eq!(wire.poll(), []);
        wire.assert_sent(&[connack(true), published("x", again(QOS_1, 1))]);
        assert_eq!(wire.receive(&[PubAck::new(id(1)).into()]), [success(token)]);
    }
    // The interval 0xFFFFFFFF never passes.
    let connect = v5_with(ConnectProperties { session_expiry_interval: Some(u32::MAX), ..Default::default() });
    let mut wire = Wire::connected(config(), &connect);
    wire.lose();
    assert_eq!(wire.server.deadline(), None);
    wire.now = Instant::from_micros(u64::MAX / 2);
    assert_eq!(wire.poll(), []);
    wire.reconnect(&connect);
    wire.assert_sent(&[connack(true)]);
}

/// A CONNECT with this Maximum Packet Size.
fn small(bytes: u32) -> Connect<'static> {
    v5_with(ConnectProperties { maximum_packet_size: bytes.try_into().ok(), ..Default::default() })
}

/// [5.0: MQTT-3.1.2-24]
#[test]
fn mqtt_3_1_2_24_nothing_above_the_maximum_packet_size() {
    let long = "x".repeat(60);
    let pairs = [UserProperty::new("key", &long).unwrap()];
    let ack = AckProperties { reason_string: Some(text(&long)), user_properties: (&pairs).into() };
    for limit in [12, 20, 40] {
        let connect = Connect { keep_alive: 10, ..small(limit) };
        let accept = Accept { reason_string: Some(long.clone()), ..Accept::default() };
        let mut wire = Wire::accepted(ServerConfig { manual_acks: true, ..config() }, &connect, accept);
        for qos in [QOS_0, QOS_1, QOS_2] {
            assert!(wire.server.publish(wire.now, &Message::new("t", &long).qos(qos)).is_err());
        }
        wire.receive(&[published("a", delivery(QOS_1, 1)), published("b", delivery(QOS_2, 2))]);
        wire.server.ack_with(wire.now, wire.ack_handles[0], PubAckReasonCode::QuotaExceeded, &ack).unwrap();
        wire.server.ack_with(wire.now, wire.ack_handles[1], PubAckReasonCode::QuotaExceeded, &ack).unwrap();
        let (first, second) = (wire.subscribe(3, &["a"]), wire.unsubscribe(4, &["a"]));
        wire.server.suback_with(wire.now, first, &[SubAckReasonCode::GrantedQoS0], &ack).unwrap();
        wire.server.unsuback_with(wire.now, second, &[UnsubAckReasonCode::Success], &ack).unwrap();
        wire.receive(&[Packet::PingReq]);
        let properties = DisconnectProperties { reason_string: Some(text(&long)), ..Default::default() };
        let reason_code = DisconnectReasonCode::ServerBusy;
        wire.server.disconnect(wire.now, &Disconnect { reason_code, properties }).unwrap();
        let sent = wire.take();
        let packets = decode(&sent, Version::V5);
        assert_eq!(packets.len(), 7, "{packets:?}");
        for packet in packets {
            assert!(packet.encoded_len(Version::V5).unwrap() <= limit as usize, "{packet:?}");
        }
    }
}

/// The caller may ignore that the message was not sent: the session does not store it, and later messages are
/// delivered.
/// [5.0: MQTT-3.1.2-25]
#[test]
fn mqtt_3_1_2_25_a_message_that_is_too_large_is_dropped() {
    let long = "x".repeat(60);
    let mut wire = Wire::connected(config(), &small(40));
    for qos in [QOS_0, QOS_1, QOS_2] {
        let result = wire.server.publish(wire.now, &Message::new("t", &long).qos(qos));
        assert_eq!(result, Err(PublishError::TooLarge { limit: 40 }));
    }
    assert_eq!((wire.server.packet_ids_in_use(), wire.server.queued()), (0, 0));
    wire.publish("fits", QOS_1);
    wire.assert_sent(&[published("fits", delivery(QOS_1, 1))]);
    // The same for a message that was queued for, or sent on, a connection with a larger limit.
    let mut wire = Wire::lasting(Version::V5);
    let sent = wire.publish(&long, QOS_1);
    wire.take();
    wire.lose();
    let queued = wire.publish(&long, QOS_2);
    wire.publish("fits", QOS_1);
    wire.reconnect(&small(40));
    let mut events = wire.poll();
    events.sort_by_key(|event| format!("{event:?}"));
    let too_large = AbandonReason::NotSupported(mqtt_sansio::codec::ReasonCode::PacketTooLarge);
    assert_eq!(events, [abandoned(sent, too_large), abandoned(queued, too_large)]);
    let bytes = wire.take();
    let [connack, Packet::Publish(message)] = decode(&bytes, Version::V5)[..] else { panic!("one message") };
    assert_eq!((connack, message.payload), (self::connack(true), &b"fits"[..]));
}

/// The topic aliases of the messages that were sent.
fn aliases(wire: &mut Wire) -> Vec<Option<u16>> {
    let sent = wire.take();
    let alias = |packet: &Packet<'_>| match packet {
        Packet::Publish(publish) => publish.properties.topic_alias.map(|alias| alias.get()),
        other => panic!("{other:?}"),
    };
    decode(&sent, Version::V5).iter().map(alias).collect()
}

/// [5.0: MQTT-3.1.2-26, MQTT-3.3.2-11]
#[test]
fn mqtt_3_1_2_26_and_mqtt_3_3_2_11_aliases_stay_within_the_maximum() {
    for (ours, theirs) in [(2, 10), (10, 2), (3, 3), (u16::MAX, 1)] {
        let properties = ConnectProperties { topic_alias_maximum: Some(theirs), ..Default::default() };
        let mut wire = Wire::connected(ServerConfig { topic_aliases: ours, ..config() }, &v5_with(properties));
        for round in 0..3 {
            for topic in ["a", "b", "c", "d", "e"] {
                wire.server.publish(wire.now, &Message::new(topic, "x").qos(QOS_1)).unwrap();
                wire.server.publish(wire.now, &Message::new(topic, "x")).unwrap();
            }
            let used = aliases(&mut wire);
            assert!(used.iter().flatten().all(|&alias| alias >= 1 && alias <= ours.min(theirs)), "{used:?}");
            assert!(used.iter().any(Option::is_some), "round {round}");
        }
    }
}

/// [5.0: MQTT-3.1.2-27]
#[test]
fn mqtt_3_1_2_27_no_aliases_unless_the_client_announces_them() {
    for maximum in [None, Some(0)] {
        let properties = ConnectProperties { topic_alias_maximum: maximum, ..Default::default() };
        let mut wire = Wire::connected(ServerConfig { topic_aliases: 10, ..config() }, &v5_with(properties));
        for _ in 0..3 {
            wire.publish("x", QOS_1);
        }
        assert_eq!(aliases(&mut wire), [None; 3]);
    }
}

/// [5.0: MQTT-3.1.2-28]
#[test]
fn mqtt_3_1_2_28_response_information_only_on_request() {
    let accept = || Accept { response_information: Some("base".into()), ..Accept::default() };
    for asked in [None, Some(false), Some(true)] {
        let connect = v5_with(ConnectProperties { request_response_information: asked, ..Default::default() });
        let mut wire = Wire::accepted(config(), &connect, accept());
        let response_information = Some(text("base")).filter(|_| asked == Some(true));
        wire.assert_sent(&[accepted(ConnAckProperties { response_information, ..Default::default() })]);
    }
}

/// [5.0: MQTT-3.1.2-29]
#[test]
fn mqtt_3_1_2_29_problem_information_unless_declined() {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let full = AckProperties { reason_string: Some(text("because")), user_properties: (&pairs).into() };
    for wanted in [None, Some(true), Some(false)] {
        let connect = v5_with(ConnectProperties { request_problem_information: wanted, ..Default::default() });
        let accept = Accept { reason_string: Some("welcome".into()), ..Accept::default() };
        let mut wire = Wire::accepted(ServerConfig { manual_acks: true, ..config() }, &connect, accept);
        // CONNACK, PUBLISH and DISCONNECT may carry it all the same.
        let reason_string = Some(text("welcome"));
        wire.assert_sent(&[accepted(ConnAckProperties { reason_string, ..Default::default() })]);
        wire.receive(&[published("a", delivery(QOS_1, 1)), published("b", delivery(QOS_2, 2))]);
        let (first, second) = (wire.subscribe(3, &["a"]), wire.unsubscribe(4, &["a"]));
        wire.server.ack_with(wire.now, wire.ack_handles[0], PubAckReasonCode::NotAuthorized, &full).unwrap();
        wire.server.ack_with(wire.now, wire.ack_handles[1], PubAckReasonCode::NotAuthorized, &full).unwrap();
        wire.server.suback_with(wire.now, first, &[SubAckReasonCode::NotAuthorized], &full).unwrap();
        wire.server.unsuback_with(wire.now, second, &[UnsubAckReasonCode::NotAuthorized], &full).unwrap();
        let properties = PublishProperties { user_properties: (&pairs).into(), ..Default::default() };
        wire.server.publish(wire.now, &Message::new("t", "x").properties(properties)).unwrap();
        let of_disconnect = DisconnectProperties {
            reason_string: full.reason_string,
            user_properties: full.user_properties,
            ..Default::default()
        };
        wire.server.disconnect(wire.now, &Disconnect { properties: of_disconnect, ..Disconnect::default() }).unwrap();
        let properties_of_acks = if wanted == Some(false) { AckProperties::default() } else { full };
        let reason_code = PubAckReasonCode::NotAuthorized;
        wire.assert_sent(&[
            PubAck { id: id(1), reason_code, properties: properties_of_acks }.into(),
            PubRec { id: id(2), reason_code, properties: properties_of_acks }.into(),
            SubAck { properties: properties_of_acks, ..SubAck::new(id(3), &[SubAckReasonCode::NotAuthorized]) }.into(),
            UnsubAck { properties: properties_of_acks, ..UnsubAck::new(id(4), &[UnsubAckReasonCode::NotAuthorized]) }
                .into(),
            mqtt_sansio::codec::Publish { properties, ..publish("x", delivery(QOS_0, 0)) }.into(),
            Disconnect { properties: of_disconnect, ..Disconnect::default() }.into(),
        ]);
    }
}

/// [5.0: MQTT-3.1.3-2]
#[test]
fn mqtt_3_1_3_2_the_client_identifier_keys_the_session() {
    // The client identifier is reported with the request, and the session has it.
    for name in ["c", "another", "ü/+#"] {
        let mut door = Door::new(config(), Version::V5);
        let connect = Connect { client_identifier: text(name), ..v5() };
        assert_eq!(door.receive(&[connect.into()]), [Event::Connect(name.into())]);
        let server = door.acceptor.accept(door.now, None, Accept::default()).unwrap();
        assert_eq!(server.client_id(), name);
    }
}

/// [5.0: MQTT-3.1.3-5]
#[test]
fn mqtt_3_1_3_5_every_usual_client_identifier_is_accepted() {
    const LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (start, len) in (0..LETTERS.len() - 23).flat_map(|start| (1..=23).map(move |len| (start, len))) {
        let name = &LETTERS[start..start + len];
        let mut door = Door::new(config(), Version::V5);
        let connect = Connect { client_identifier: text(name), ..v5() };
        assert_eq!(door.receive(&[connect.into()]), [Event::Connect(name.into())]);
    }
}

/// [5.0: MQTT-3.1.3-6, MQTT-3.1.3-7]
#[test]
fn mqtt_3_1_3_6_and_mqtt_3_1_3_7_an_empty_client_identifier_is_assigned_one() {
    let connect = Connect { client_identifier: text(""), clean_start: true, ..v5() };
    let mut door = Door::asked(config(), &connect);
    // A client identifier must be assigned, and CONNACK carries it.
    assert_eq!(
        door.acceptor.accept(door.now, None, Accept::default()).err().map(|it| it.reason),
        Some(AcceptError::NoClientIdentifier)
    );
    let accept = Accept { assigned_client_id: Some("unique".into()), ..Accept::default() };
    let mut server = door.acceptor.accept(door.now, None, accept).unwrap();
    assert_eq!(server.client_id(), "unique");
    let properties = ConnAckProperties { assigned_client_identifier: Some(text("unique")), ..Default::default() };
    let sent = crate::server::take(server.transmit());
    assert_eq!(decode(&sent, Version::V5), [accepted(properties)]);
    // The client reconnects with that identifier, and its session is resumed.
    let mut wire = Wire { server, ..Wire::connected(config(), &v5()) };
    wire.publish("x", QOS_1);
    wire.lose();
    wire.reconnect(&Connect { client_identifier: text("unique"), ..v5() });
    wire.poll();
    let sent = wire.take();
    assert!(matches!(decode(&sent, Version::V5)[..], [first, Packet::Publish(_)] if first == connack(true)));
}

/// An assigned client identifier may be refused later like any other.
/// [5.0: MQTT-3.1.3-8]
#[test]
fn mqtt_3_1_3_8_a_client_identifier_can_be_refused() {
    for name in ["", "not you"] {
        let connect = Connect { client_identifier: text(name), clean_start: true, ..v5() };
        let mut door = Door::asked(config(), &connect);
        door.acceptor.refuse(door.now, ConnAckReasonCode::ClientIdentifierNotValid).unwrap();
        assert_eq!(door.poll(), [Event::Close(Why::Refused(ConnAckReasonCode::ClientIdentifierNotValid.into()))]);
        assert_eq!(door.take(), [0x20, 3, 0, 0x85, 0]);
    }
}

/// [5.0: MQTT-3.1.4-2]
#[test]
fn mqtt_3_1_4_2_the_connection_of_an_unauthorized_client_is_closed() {
    for code in [ConnAckReasonCode::NotAuthorized, ConnAckReasonCode::BadUserNameOrPassword, ConnAckReasonCode::Banned]
    {
        let mut door = Door::asked(config(), &v5());
        door.acceptor.refuse(door.now, code).unwrap();
        assert_eq!(door.poll(), [Event::Close(Why::Refused(code.into()))]);
        door.assert_sent(&[refused(code)]);
    }
}

/// [5.0: MQTT-3.1.4-4]
#[test]
fn mqtt_3_1_4_4_clean_start_is_applied() {
    for (clean_start, kept) in [(false, false), (false, true), (true, false), (true, true)] {
        let connect = Connect { clean_start, ..v5() };
        let mut wire = if kept {
            let (mut wire, _) = interrupted();
            wire.reconnect(&connect);
            wire
        } else {
            Wire::open(config(), &connect)
        };
        let continues = kept && !clean_start;
        assert_eq!(wire.poll().len(), if kept && clean_start { 2 } else { 0 });
        assert_eq!(wire.server.packet_ids_in_use(), if continues { 2 } else { 0 });
        let sent = wire.take();
        assert_eq!(decode(&sent, Version::V5)[0], connack(continues));
    }
}

/// [5.0: MQTT-3.1.4-5]
#[test]
fn mqtt_3_1_4_5_an_accepted_connect_is_acknowledged() {
    let mut wire = Wire::open(config(), &v5());
    assert_eq!(wire.take(), [0x20, 3, 0, 0, 0]);
    assert!(wire.server.is_connected());
}

/// [5.0: MQTT-3.1.4-6]
#[test]
fn mqtt_3_1_4_6_nothing_is_processed_after_a_rejection() {
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.refuse(door.now, ConnAckReasonCode::NotAuthorized).unwrap();
    let behind = [
        published("x", delivery(QOS_1, 1)),
        Packet::PingReq,
        auth(AuthReasonCode::ContinueAuthentication, "M", b""),
        authenticating().into(),
    ];
    assert_eq!(door.receive(&behind), [Event::Close(Why::Refused(ConnAckReasonCode::NotAuthorized.into()))]);
    assert_eq!(door.receive(&behind), []);
    door.assert_sent(&[refused(ConnAckReasonCode::NotAuthorized)]);
}

/// [5.0: MQTT-3.2.0-1]
#[test]
fn mqtt_3_2_0_1_connack_comes_first() {
    let (mut wire, _) = interrupted();
    wire.publish("queued", QOS_1);
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.challenge(door.now, b"1").unwrap();
    door.receive(&[auth(AuthReasonCode::ContinueAuthentication, "M", b"")]);
    wire.server = door.acceptor.accept(door.now, wire.server.clone(), Accept::default()).unwrap();
    wire.publish("more", QOS_0);
    wire.receive(&[Packet::PingReq]);
    let sent = wire.take();
    let kinds: Vec<_> = decode(&sent, Version::V5).iter().map(Packet::packet_type).collect();
    use mqtt_sansio::codec::PacketType::{Auth, ConnAck};
    assert_eq!(kinds[..2], [Auth, ConnAck]);
    assert!(!kinds[2..].contains(&Auth) && kinds.len() > 4, "{kinds:?}");
}

/// [5.0: MQTT-3.2.0-2]
#[test]
fn mqtt_3_2_0_2_there_is_one_connack() {
    let mut wire = Wire::open(config(), &v5());
    wire.receive(&[Packet::PingReq, v5().into()]);
    wire.later(100_000);
    wire.poll();
    let sent = wire.take();
    let is_connack = |packet: &&Packet<'_>| matches!(packet, Packet::ConnAck(_));
    assert_eq!(decode(&sent, Version::V5).iter().filter(is_connack).count(), 1);
    let mut door = Door::asked(config(), &v5());
    door.acceptor.refuse(door.now, ConnAckReasonCode::ServerBusy).unwrap();
    assert_eq!(door.acceptor.refuse(door.now, ConnAckReasonCode::Banned), Err(RefuseError::NoPendingConnect));
    assert_eq!(
        door.acceptor.accept(door.now, None, Accept::default()).err().map(|it| it.reason),
        Some(AcceptError::NoPendingConnect)
    );
    door.assert_sent(&[refused(ConnAckReasonCode::ServerBusy)]);
}

/// [5.0: MQTT-3.2.2-2]
#[test]
fn mqtt_3_2_2_2_with_clean_start_no_session_is_present() {
    let clean = Connect { clean_start: true, ..v5() };
    let mut wire = Wire::open(config(), &clean);
    wire.assert_sent(&[connack(false)]);
    let (mut wire, _) = interrupted();
    wire.reconnect(&clean);
    wire.assert_sent(&[connack(false)]);
}

/// [5.0: MQTT-3.2.2-3]
#[test]
fn mqtt_3_2_2_3_session_present_if_the_session_is_resumed() {
    let mut wire = Wire::open(config(), &v5());
    wire.assert_sent(&[connack(false)]);
    for _ in 0..3 {
        wire.lose();
        wire.later(3_599_000);
        wire.reconnect(&v5());
        wire.assert_sent(&[connack(true)]);
    }
    // The session has expired, whether it was polled or not.
    for looked in [false, true] {
        wire.server.closed(wire.now);
        wire.later(3_600_000);
        if looked {
            assert_eq!(wire.poll(), [Event::Expired]);
        }
        wire.reconnect(&v5());
        wire.assert_sent(&[connack(false)]);
    }
}

/// [5.0: MQTT-3.2.2-7]
#[test]
fn mqtt_3_2_2_7_a_refusal_closes() {
    for &code in ConnAckReasonCode::ALL.iter().filter(|code| code.is_error()) {
        let mut door = Door::asked(config(), &v5());
        door.acceptor.refuse(door.now, code).unwrap();
        assert_eq!(door.acceptor.deadline(), Some(Instant::EPOCH));
        assert_eq!(door.poll(), [Event::Close(Why::Refused(code.into()))]);
        door.assert_sent(&[refused(code)]);
    }
}

/// [5.0: MQTT-3.2.2-9]
#[test]
fn mqtt_3_2_2_9_a_limited_qos_is_announced() {
    for (maximum_qos, announced) in
        [(QOS_0, Some(MaximumQoS::AtMostOnce)), (QOS_1, Some(MaximumQoS::AtLeastOnce)), (QOS_2, None)]
    {
        let mut wire = Wire::open(ServerConfig { maximum_qos, ..config() }, &v5());
        wire.assert_sent(&[accepted(ConnAckProperties { maximum_qos: announced, ..Default::default() })]);
    }
}

/// [5.0: MQTT-3.2.2-10]
#[test]
fn mqtt_3_2_2_10_subscriptions_of_every_qos_are_accepted() {
    for maximum_qos in [QOS_0, QOS_1, QOS_2] {
        let mut wire = Wire::connected(ServerConfig { maximum_qos, ..config() }, &v5());
        for (number, qos) in [(1, QOS_0), (2, QOS_1), (3, QOS_2)] {
            let subscriptions = [mqtt_sansio::codec::Subscription::new("t", qos).unwrap()];
            let events = wire.receive(&[crate::server::subscribe(number, &subscriptions)]);
            let [Event::Subscribe(request, _)] = events[..] else { panic!("{events:?}") };
            wire.server.suback(wire.now, request, &[qos.min(maximum_qos).into()]).unwrap();
            wire.assert_sent(&[SubAck::new(id(number), &[qos.min(maximum_qos).into()]).into()]);
        }
    }
}

/// [5.0: MQTT-3.2.2-12]
#[test]
fn mqtt_3_2_2_12_a_will_above_the_maximum_qos_is_rejected() {
    for (maximum_qos, qos) in [(QOS_0, QOS_1), (QOS_0, QOS_2), (QOS_1, QOS_2)] {
        let mut door = Door::new(ServerConfig { maximum_qos, ..config() }, Version::V5);
        let connect = Connect { will: Some(Will { qos, ..will("w", 0) }), ..v5() };
        let code = mqtt_sansio::codec::ReasonCode::QoSNotSupported;
        assert_eq!(door.receive(&[connect.into()]), [Event::Close(Why::Refused(code))]);
        door.assert_sent(&[refused(ConnAckReasonCode::QoSNotSupported)]);
    }
}

/// [5.0: MQTT-3.2.2-13]
#[test]
fn mqtt_3_2_2_13_a_retained_will_is_rejected_without_retain_available() {
    let mut door = Door::new(ServerConfig { retain_available: false, ..config() }, Version::V5);
    let connect = Connect { will: Some(Will { retain: true, ..will("w", 0) }), ..v5() };
    let code = mqtt_sansio::codec::ReasonCode::RetainNotSupported;
    assert_eq!(door.receive(&[connect.into()]), [Event::Close(Why::Refused(code))]);
    door.assert_sent(&[refused(ConnAckReasonCode::RetainNotSupported)]);
}

/// [5.0: MQTT-3.2.2-19, MQTT-3.2.2-20]
#[test]
fn mqtt_3_2_2_19_and_mqtt_3_2_2_20_connack_leaves_out_what_is_too_large() {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(text("because"));
    let full = ConnAckProperties { reason_string, user_properties: (&pairs).into(), ..Default::default() };
    let size = |properties| ConnAck { properties, ..ConnAck::default() }.encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let accept = Accept {
            reason_string: Some("because".into()),
            user_properties: vec![("key".into(), "value".into())],
            ..Accept::default()
        };
        let mut wire = Wire::accepted(config(), &small(limit), accept);
        let allowed: Vec<_> = [
            full,
            ConnAckProperties { reason_string, ..Default::default() },
            ConnAckProperties { user_properties: (&pairs).into(), ..Default::default() },
            ConnAckProperties::default(),
        ]
        .into_iter()
        .filter(|&properties| size(properties) <= limit)
        .map(accepted)
        .collect();
        let sent = wire.take();
        let [sent] = decode(&sent, Version::V5)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == accepted(full), "{limit}: {sent:?}");
    }
}

/// [5.0: MQTT-3.2.2-22]
#[test]
fn mqtt_3_2_2_22_without_a_server_keep_alive_the_client_value_counts() {
    let connect = Connect { keep_alive: 20, ..v5() };
    let mut wire = Wire::open(config(), &connect);
    wire.assert_sent(&[connack(false)]);
    assert_eq!((wire.server.keep_alive(), wire.server.deadline()), (NonZeroU16::new(20), Some(at(30))));
    // With one, the Server Keep Alive counts.
    let accept = Accept { server_keep_alive: Some(100), ..Accept::default() };
    let mut wire = Wire::accepted(config(), &connect, accept);
    wire.assert_sent(&[accepted(ConnAckProperties { server_keep_alive: Some(100), ..Default::default() })]);
    assert_eq!((wire.server.keep_alive(), wire.server.deadline()), (NonZeroU16::new(100), Some(at(150))));
    let wire = Wire::accepted(config(), &connect, Accept { server_keep_alive: Some(0), ..Accept::default() });
    assert_eq!(wire.server.deadline(), None);
    assert_eq!(lasting(Version::V5).keep_alive, 0);
}
