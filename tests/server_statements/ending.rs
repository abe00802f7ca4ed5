//! Sections 3.14, 3.15, 4.1, 4.12 and 4.13: the end of connections and sessions, and authentication.

use mqtt_sansio::codec::{
    AuthReasonCode, ConnAckProperties, ConnAckReasonCode, Connect, ConnectProperties, Disconnect, DisconnectProperties,
    DisconnectReasonCode, Packet, PubAck, PubAckReasonCode, PubComp, PubRec, PubRel, ReasonCode, SubAckReasonCode,
    UserProperty,
};
use mqtt_sansio::server::{Accept, ServerConfig};
use mqtt_sansio::{AbandonReason, AuthenticateError, DisconnectError, Instant, Message, ProtocolError, Version};

use crate::server::{
    Door, Event, QOS_1, QOS_2, Why, Wire, abandoned, accepted, again, auth, authenticating, config, connack, decode,
    delivery, disconnect, disconnected, id, lasting, protocol_error, published, refused, subscribe, subscription, text,
    v5, v5_with, will,
};

const CONTINUE: AuthReasonCode = AuthReasonCode::ContinueAuthentication;

// Section 3.14: DISCONNECT.

/// [5.0: MQTT-3.14.0-1]
#[test]
fn mqtt_3_14_0_1_no_disconnect_before_a_successful_connack() {
    // Whatever first bytes arrive.
    for bytes in [&b"\x10\x02\x00\x00"[..], b"\x10\xFF\xFF\xFF\xFF\x7F", b"\x30\x00", b"\x00", b"\xE0\x00"] {
        let mut door = Door::new(config(), Version::V5);
        let (events, _) = door.receive_bytes(bytes);
        assert!(matches!(events[..], [Event::Close(_)]), "{events:?}");
        assert!(!matches!(door.take()[..], [0xE0, ..]));
    }
    let mut door = Door::new(config(), Version::V5);
    door.later(60_000);
    assert_eq!(door.poll(), [Event::Close(Why::ConnectTimeout)]);
    assert!(!matches!(door.take()[..], [0xE0, ..]));
    for packet in [Packet::PingReq, auth(CONTINUE, "other", b""), authenticating().into()] {
        let mut door = Door::asked(config(), &authenticating());
        door.acceptor.challenge(door.now, b"").unwrap();
        door.take();
        door.receive(&[packet]);
        assert!(!matches!(door.take()[..], [0xE0, ..]), "{packet:?}");
    }
    let mut door = Door::asked(config(), &v5());
    door.acceptor.refuse(door.now, ConnAckReasonCode::ServerBusy).unwrap();
    door.poll();
    door.assert_sent(&[refused(ConnAckReasonCode::ServerBusy)]);
}

/// [5.0: MQTT-3.14.2-2]
#[test]
fn mqtt_3_14_2_2_a_server_sends_no_expiry_interval() {
    let mut wire = Wire::lasting(Version::V5);
    for seconds in [0, 1, u32::MAX] {
        let properties = DisconnectProperties { session_expiry_interval: Some(seconds), ..Default::default() };
        let result = wire.server.disconnect(wire.now, &Disconnect { properties, ..Disconnect::default() });
        assert_eq!(result, Err(DisconnectError::SessionExpiry));
    }
    wire.assert_silent();
    assert!(wire.server.is_connected());
}

/// [5.0: MQTT-3.14.2-3, MQTT-3.14.2-4]
#[test]
fn mqtt_3_14_2_3_and_mqtt_3_14_2_4_disconnect_leaves_out_what_is_too_large() {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let reason_string = Some(text("because"));
    let full = DisconnectProperties { reason_string, user_properties: (&pairs).into(), ..Default::default() };
    let reason_only = DisconnectProperties { reason_string, ..Default::default() };
    let user_only = DisconnectProperties { user_properties: (&pairs).into(), ..Default::default() };
    let with = |properties| Disconnect { reason_code: DisconnectReasonCode::ServerShuttingDown, properties };
    let size = |properties| with(properties).encoded_len(Version::V5).unwrap() as u32;
    for limit in 5..=size(full) + 1 {
        let connect = v5_with(ConnectProperties { maximum_packet_size: limit.try_into().ok(), ..Default::default() });
        let mut wire = Wire::connected(config(), &connect);
        wire.server.disconnect(wire.now, &with(full)).unwrap();
        let candidates = [full, reason_only, user_only, Default::default()];
        let allowed: Vec<_> =
            candidates.into_iter().filter(|&it| size(it) <= limit).map(|it| with(it).into()).collect();
        let sent = wire.take();
        let [sent] = decode(&sent, Version::V5)[..] else { panic!("one packet") };
        assert!(allowed.contains(&sent), "{limit}: {sent:?}");
        assert!(limit < size(full) || sent == with(full).into(), "{limit}: {sent:?}");
    }
}

/// Gives every stimulus that would make a connected server send a packet, and lets a long time pass.
fn tempt(wire: &mut Wire, request: mqtt_sansio::server::RequestId) {
    let _ = wire.server.publish(wire.now, &Message::new("t", "0"));
    wire.publish("1", QOS_1);
    let _ = wire.server.suback(wire.now, request, &[SubAckReasonCode::GrantedQoS0]);
    for ack_handle in wire.ack_handles.clone() {
        let _ = wire.server.ack(wire.now, ack_handle, PubAckReasonCode::Success);
    }
    let _ = wire.server.challenge(wire.now, b"x");
    let _ = wire.server.authenticated(wire.now, b"x");
    let _ = wire.server.disconnect(wire.now, &Disconnect::default());
    let _ = wire.server.take_over(wire.now);
    wire.poll();
    let subscriptions = [subscription("t")];
    wire.receive(&[
        published("m", delivery(QOS_1, 90)),
        published("n", delivery(QOS_2, 91)),
        PubRel::new(id(92)).into(),
        PubRec::new(id(93)).into(),
        subscribe(94, &subscriptions),
        Packet::PingReq,
        v5().into(),
    ]);
    wire.later(1_000_000);
    wire.poll();
}

/// [5.0: MQTT-3.14.4-1]
#[test]
fn mqtt_3_14_4_1_nothing_follows_disconnect() {
    // By a command, by a Protocol Error, by a Keep Alive timeout, by a session takeover.
    for reason in 0..4 {
        let mut wire =
            Wire::connected(ServerConfig { manual_acks: true, ..config() }, &Connect { keep_alive: 10, ..v5() });
        wire.receive(&[published("x", delivery(QOS_1, 1)), published("y", delivery(QOS_2, 2))]);
        let request = wire.subscribe(3, &["t"]);
        match reason {
            0 => wire.server.disconnect(wire.now, &Disconnect::default()).unwrap(),
            1 => drop(wire.receive(&[v5().into()])),
            2 => {
                wire.later(60_000);
                wire.poll();
            }
            _ => wire.server.take_over(wire.now).unwrap(),
        }
        let sent = wire.take();
        assert!(matches!(decode(&sent, Version::V5)[..], [Packet::Disconnect(_)]), "{reason}");
        tempt(&mut wire, request);
        wire.assert_silent();
    }
}

/// [5.0: MQTT-3.14.4-2]
#[test]
fn mqtt_3_14_4_2_the_connection_is_closed_after_disconnect() {
    let mut wire = Wire::lasting(Version::V5);
    wire.server.disconnect(wire.now, &Disconnect::default()).unwrap();
    assert_eq!(wire.server.deadline(), Some(Instant::EPOCH), "the caller is to be told at once");
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    assert!(!wire.server.is_connected());
    // The end of the connection is reported once.
    wire.later(100_000);
    assert_eq!(wire.receive(&[published("late", delivery(QOS_1, 1))]), []);
    let mut wire = Wire::lasting(Version::V5);
    assert_eq!(wire.receive(&[v5().into()]), [protocol_error(ProtocolError::SecondConnect)]);
    assert_eq!(wire.receive(&[v5().into()]), []);
}

/// [5.0: MQTT-3.14.4-3]
#[test]
fn mqtt_3_14_4_3_a_normal_disconnection_discards_the_will() {
    for &reason_code in DisconnectReasonCode::ALL {
        let mut wire = Wire::connected(config(), &Connect { will: Some(will("w", 0)), ..v5() });
        let events = wire.receive(&[disconnect(reason_code)]);
        if reason_code == DisconnectReasonCode::NormalDisconnection {
            assert_eq!((events, wire.lose()), (vec![disconnected(reason_code)], vec![]));
        } else {
            // With any other reason code the will is published (section 3.1.2.5).
            assert!(matches!(events[..], [Event::Close(_)]), "{events:?}");
            assert_eq!(wire.lose(), [Event::Will("w".into())], "{reason_code}");
        }
    }
}

// Section 3.15: AUTH.

/// AUTH packets of the server have a method and data, and never a Reason String or User Properties.
/// [5.0: MQTT-3.15.2-2, MQTT-3.15.2-3]
#[test]
fn mqtt_3_15_2_2_and_mqtt_3_15_2_3_auth_is_bare() {
    let mut wire = reauthenticating();
    wire.server.challenge(wire.now, b"1").unwrap();
    wire.receive(&[auth(CONTINUE, "M", b"2")]);
    wire.server.authenticated(wire.now, b"3").unwrap();
    wire.assert_sent(&[auth(CONTINUE, "M", b"1"), auth(AuthReasonCode::Success, "M", b"3")]);
}

// Section 4.1: session state.

/// [5.0: MQTT-4.1.0-1]
#[test]
fn mqtt_4_1_0_1_the_session_lasts_as_long_as_the_connection() {
    let mut wire = Wire::connected(config(), &Connect { properties: ConnectProperties::default(), ..v5() });
    let tokens = [wire.publish("1", QOS_1), wire.publish("2", QOS_2)];
    wire.receive(&[published("half", delivery(QOS_2, 5)), PubRec::new(id(2)).into()]);
    wire.take();
    wire.later(10_000_000_000);
    assert_eq!(wire.poll(), []);
    assert_eq!(wire.server.packet_ids_in_use(), 2);
    assert_eq!(wire.receive(&[published("half", again(QOS_2, 5))]), []);
    wire.assert_sent(&[PubRec::new(id(5)).into()]);
    let events = wire.receive(&[PubAck::new(id(1)).into(), PubComp::new(id(2)).into()]);
    assert_eq!(events, tokens.map(crate::server::success));
}

/// [5.0: MQTT-4.1.0-2]
#[test]
fn mqtt_4_1_0_2_the_session_is_discarded_once_closed_and_expired() {
    for interval in [0, 1, 100] {
        let connect = v5_with(ConnectProperties { session_expiry_interval: Some(interval), ..Default::default() });
        let mut wire = Wire::connected(config(), &connect);
        let sent = wire.publish("1", QOS_2);
        wire.receive(&[published("in", delivery(QOS_2, 5))]);
        wire.take();
        wire.server.closed(wire.now);
        let queued = wire.publish("2", QOS_1);
        wire.now = wire.server.deadline().unwrap().max(wire.now);
        let events = wire.poll();
        assert_eq!(wire.server.deadline(), None);
        let expected =
            [abandoned(sent, AbandonReason::Session), abandoned(queued, AbandonReason::Session), Event::Expired];
        assert_eq!(events, expected, "{interval}");
        assert_eq!((wire.server.packet_ids_in_use(), wire.server.queued()), (0, 0));
    }
}

// Section 4.12: enhanced authentication.

/// [5.0: MQTT-4.12.0-1]
#[test]
fn mqtt_4_12_0_1_an_unsupported_method_is_refused() {
    for code in [ConnAckReasonCode::BadAuthenticationMethod, ConnAckReasonCode::NotAuthorized] {
        let mut door = Door::asked(config(), &authenticating());
        door.acceptor.refuse(door.now, code).unwrap();
        assert_eq!(door.poll(), [Event::Close(Why::Refused(code.into()))]);
        door.assert_sent(&[refused(code)]);
    }
}

/// A client that was accepted after one step and has started a re-authentication.
fn reauthenticating() -> Wire {
    let mut wire = Wire::connected(config(), &authenticating());
    let events = wire.receive(&[auth(AuthReasonCode::ReAuthenticate, "M", b"again")]);
    assert_eq!(events, [Event::Auth(AuthReasonCode::ReAuthenticate, b"again".to_vec())]);
    wire
}

/// [5.0: MQTT-4.12.0-2]
#[test]
fn mqtt_4_12_0_2_a_challenge_has_continue_authentication() {
    let mut door = Door::asked(config(), &authenticating());
    for step in [&b"1"[..], b"2", b""] {
        door.acceptor.challenge(door.now, step).unwrap();
        door.assert_sent(&[auth(CONTINUE, "M", step)]);
        assert_eq!(door.receive(&[auth(CONTINUE, "M", b"x")]), [Event::Auth(CONTINUE, b"x".to_vec())]);
    }
    let mut wire = reauthenticating();
    for step in [&b"1"[..], b"2", b""] {
        wire.server.challenge(wire.now, step).unwrap();
        wire.assert_sent(&[auth(CONTINUE, "M", step)]);
        assert_eq!(wire.receive(&[auth(CONTINUE, "M", b"x")]), [Event::Auth(CONTINUE, b"x".to_vec())]);
    }
}

/// [5.0: MQTT-4.12.0-4]
#[test]
fn mqtt_4_12_0_4_a_rejected_authentication_closes() {
    for steps in 0..3 {
        let mut door = Door::asked(config(), &authenticating());
        for _ in 0..steps {
            door.acceptor.challenge(door.now, b"?").unwrap();
            door.receive(&[auth(CONTINUE, "M", b"wrong")]);
        }
        door.take();
        door.acceptor.refuse(door.now, ConnAckReasonCode::NotAuthorized).unwrap();
        assert_eq!(door.poll(), [Event::Close(Why::Refused(ConnAckReasonCode::NotAuthorized.into()))]);
        door.assert_sent(&[refused(ConnAckReasonCode::NotAuthorized)]);
    }
}

/// [5.0: MQTT-4.12.0-5]
#[test]
fn mqtt_4_12_0_5_the_method_stays_the_same() {
    let changed = [protocol_error(ProtocolError::AuthenticationMethodChanged)];
    // The client's method, before CONNACK and after it.
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.challenge(door.now, b"1").unwrap();
    assert_eq!(door.receive(&[auth(CONTINUE, "other", b"")]), changed);
    let mut wire = Wire::connected(config(), &authenticating());
    assert_eq!(wire.receive(&[auth(AuthReasonCode::ReAuthenticate, "other", b"")]), changed);
    wire.assert_sent(&[disconnect(DisconnectReasonCode::BadAuthenticationMethod)]);
    let mut wire = reauthenticating();
    wire.server.challenge(wire.now, b"1").unwrap();
    wire.take();
    assert_eq!(wire.receive(&[auth(CONTINUE, "other", b"")]), changed);
    // The server's method, in every AUTH and in CONNACK, with and without intermediate steps.
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.challenge(door.now, b"1").unwrap();
    door.assert_sent(&[auth(CONTINUE, "M", b"1")]);
    let method = ConnAckProperties { authentication_method: Some(text("M")), ..Default::default() };
    let mut wire = Wire::open(config(), &authenticating());
    wire.assert_sent(&[accepted(method)]);
    let mut wire = reauthenticating();
    wire.server.authenticated(wire.now, b"").unwrap();
    wire.assert_sent(&[auth(AuthReasonCode::Success, "M", b"")]);
}

/// [5.0: MQTT-4.12.0-6]
#[test]
fn mqtt_4_12_0_6_without_a_method_there_is_no_auth() {
    let mut door = Door::asked(config(), &v5());
    assert_eq!(door.acceptor.challenge(door.now, b"x"), Err(AuthenticateError::NoAuthentication));
    let accept = Accept { authentication_data: Some(b"x".to_vec()), ..Accept::default() };
    let mut wire = Wire::accepted(config(), &v5(), accept);
    wire.assert_sent(&[connack(false)]);
    assert_eq!(wire.server.challenge(wire.now, b"x"), Err(AuthenticateError::NoAuthentication));
    assert_eq!(wire.server.authenticated(wire.now, b"x"), Err(AuthenticateError::NoAuthentication));
    wire.assert_silent();
}

/// The embedding program disconnects, which is the only command possible then.
/// [5.0: MQTT-4.12.1-2]
#[test]
fn mqtt_4_12_1_2_a_failed_re_authentication_closes() {
    let mut wire = reauthenticating();
    let reason_code = DisconnectReasonCode::NotAuthorized;
    wire.server.disconnect(wire.now, &Disconnect { reason_code, ..Disconnect::default() }).unwrap();
    wire.assert_sent(&[disconnect(reason_code)]);
    assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
    assert_eq!(wire.server.authenticated(wire.now, b""), Err(AuthenticateError::NoAuthentication));
    // Until re-authentication has succeeded or failed, messages are exchanged as before (section 4.12.1).
    let mut wire = reauthenticating();
    wire.publish("x", QOS_1);
    wire.receive(&[published("y", delivery(QOS_1, 1))]);
    wire.assert_sent(&[published("x", delivery(QOS_1, 1)), PubAck::new(id(1)).into()]);
    // The exchange does not continue on the next connection.
    wire.lose();
    wire.reconnect(&authenticating());
    assert_eq!(wire.server.authenticated(wire.now, b""), Err(AuthenticateError::NoAuthentication));
}

// Section 4.13: errors.

/// [5.0: MQTT-4.13.1-1]
#[test]
fn mqtt_4_13_1_1_malformed_packets_and_protocol_errors_close() {
    let cases: [&[u8]; 12] = [
        b"\x00\x00",                     // packet type 0
        b"\x60\x02\x00\x01",             // PUBREL without its flag
        b"\x36\x03\x00\x01t",            // QoS 3
        b"\x82\x05\x00\x01\x00\x00\x00", // SUBSCRIBE with half a filter
        b"\x82\x03\x00\x01\x00",         // SUBSCRIBE without a filter
        b"\x32\x05\x00\x01t\x00\x00",    // PUBLISH with the identifier 0, and cut off
        b"\xC0\xFF\xFF\xFF\xFF\x01",     // a malformed Remaining Length
        b"\x20\x03\x00\x00\x00",         // CONNACK from a client
        b"\x90\x04\x00\x01\x00\x00",     // SUBACK from a client
        b"\xB0\x04\x00\x01\x00\x00",     // UNSUBACK from a client
        b"\xD0\x00",                     // PINGRESP from a client
        b"\xF0\x00",                     // AUTH without a method
    ];
    for version in Version::ALL {
        for bytes in cases {
            let mut wire = Wire::lasting(version);
            let behind = [bytes, b"\xC0\x00"].concat();
            let events = wire.receive_bytes(&behind);
            assert!(
                matches!(events[..], [Event::Close(Why::Malformed(_) | Why::ProtocolError(_))]),
                "{bytes:?}: {events:?}"
            );
            let Event::Close(Why::Malformed(code) | Why::ProtocolError(ProtocolError::NotAvailable(code))) = events[0]
            else {
                continue;
            };
            // In 5.0 the client receives a reason code, before 5.0 nothing.
            let sent = wire.take();
            match decode(&sent, version)[..] {
                [Packet::Disconnect(reported)] if version == Version::V5 => {
                    assert_eq!(ReasonCode::from(reported.reason_code), code);
                }
                [] if version != Version::V5 => {}
                ref other => panic!("{other:?}"),
            }
            assert_eq!(wire.receive(&[Packet::PingReq]), []);
        }
    }
}

/// [5.0: MQTT-4.13.2-1]
#[test]
fn mqtt_4_13_2_1_an_error_code_ends_the_connection() {
    for &reason_code in DisconnectReasonCode::ALL.iter().filter(|code| code.is_error()) {
        // From the server, whether it can be sent or not.
        for version in Version::ALL {
            let mut wire = Wire::lasting(version);
            wire.server.disconnect(wire.now, &Disconnect { reason_code, ..Disconnect::default() }).unwrap();
            assert!(!wire.server.is_connected());
            assert_eq!(wire.poll(), [Event::Close(Why::Requested)]);
            assert_eq!(wire.sent_count(), usize::from(version == Version::V5));
        }
        // From the client.
        let mut wire = Wire::lasting(Version::V5);
        let events = wire.receive(&[disconnect(reason_code)]);
        assert!(matches!(events[..], [Event::Close(_)]), "{events:?}");
        assert!(!wire.server.is_connected());
    }
    for version in Version::ALL {
        for &code in ConnAckReasonCode::ALL.iter().filter(|code| code.is_error()) {
            let mut door = Door::asked(config(), &lasting(version));
            door.acceptor.refuse(door.now, code).unwrap();
            assert_eq!(door.poll(), [Event::Close(Why::Refused(code.into()))]);
        }
    }
}
