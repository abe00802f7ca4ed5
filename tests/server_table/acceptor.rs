//! The first packet of a client, and all packets before it is accepted or refused.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use mqtt_sansio::codec::{
    Auth, AuthProperties, AuthReasonCode, ConnAckProperties, ConnAckReasonCode, Connect, ConnectProperties,
    DisconnectReasonCode, Field, MaximumQoS, Packet, PropertyId, PubAck, PubComp, PubRec, PubRel, ReasonCode,
    UserProperty, Will,
};
use mqtt_sansio::server::{
    Accept, AcceptError, Acceptor, AcceptorAction, Action, AnswerError, RefuseError, ServerConfig,
};
use mqtt_sansio::{AuthenticateError, ProtocolError, SessionExpiry, Version};

use super::server::{
    Door, Event, QOS_0, QOS_1, QOS_2, Why, Wire, accepted, at, auth, authenticating, config, connack, decode,
    delivered, delivery, disconnect, disconnected, encoded, encoded_all, filter, lasting, protocol_error, publish,
    published, refused, subscribe, subscription, take, text, unsubscribe, v5, v5_with, will,
};

const CONTINUE: AuthReasonCode = AuthReasonCode::ContinueAuthentication;

fn assert_over(door: &mut Door) {
    assert_eq!(door.acceptor.deadline(), None);
    door.later(1_000_000);
    let another = encoded(&v5().into(), Version::V5);
    assert_eq!(door.receive_bytes(&another).0, [], "it is told once");
    assert_eq!(door.acceptor.refuse(door.now, ConnAckReasonCode::Banned), Err(RefuseError::NoPendingConnect));
    assert_eq!(
        door.acceptor.accept(door.now, None, Accept::default()).err().map(|it| it.reason),
        Some(AcceptError::NoPendingConnect)
    );
    assert_eq!(door.acceptor.challenge(door.now, b"x"), Err(AuthenticateError::NoPendingConnect));
    assert_eq!(door.take(), b"");
}

/// The connection is closed after the first byte, however long the packet claims to be, and no answer is sent: a peer
/// that speaks another protocol would not understand it. [3.1.1: MQTT-3.1.0-1; 5.0: MQTT-3.1.0-1]
#[test]
fn any_first_packet_but_connect_closes_without_an_answer() {
    for first in (0..=255).filter(|&first| first >> 4 != 1) {
        for rest in [&b""[..], b"\xFF\xFF\xFF\x7F", b"\x00", b"\xFF\xFF\xFF\xFF\xFF\xFF"] {
            let mut door = Door::new(config(), Version::V5);
            let bytes: Vec<u8> = [&[first], rest].concat();
            let (events, _) = door.receive_bytes(&bytes);
            assert_eq!(events, [protocol_error(ProtocolError::NotConnect)], "{first:#04x}");
            assert_eq!(door.take(), b"");
            assert_over(&mut door);
        }
    }
    let subscriptions = [subscription("t")];
    let filters = [filter("t")];
    let packets: [Packet<'_>; 11] = [
        published("x", delivery(QOS_0, 0)),
        published("x", delivery(QOS_1, 1)),
        published("x", delivery(QOS_2, 1)),
        PubAck::new(super::id(1)).into(),
        PubRec::new(super::id(1)).into(),
        PubRel::new(super::id(1)).into(),
        PubComp::new(super::id(1)).into(),
        subscribe(1, &subscriptions),
        unsubscribe(1, &filters),
        Packet::PingReq,
        disconnect(DisconnectReasonCode::NormalDisconnection),
    ];
    for (packet, version) in packets.iter().flat_map(|packet| Version::ALL.map(|version| (packet, version))) {
        let mut door = Door::new(config(), version);
        assert_eq!(door.receive(&[*packet]), [protocol_error(ProtocolError::NotConnect)], "{packet:?}");
        assert_over(&mut door);
    }
}

/// A CONNECT of this version with every field that the version has.
fn full(version: Version) -> Vec<u8> {
    let connect = Connect {
        keep_alive: 77,
        will: Some(will("gone", if version == Version::V5 { 9 } else { 0 })),
        user_name: Some(text("user")),
        password: Some(b"password"),
        ..lasting(version)
    };
    encoded(&connect.into(), version)
}

#[test]
fn connect_byte_by_byte() {
    for version in Version::ALL {
        let bytes = full(version);
        let more = encoded_all(&[Packet::PingReq], version);
        let all = [&bytes[..], &more].concat();
        for split in 0..all.len() {
            // Once cut in two, and once byte by byte. Bytes that are not taken are offered again.
            let ends = [vec![split, all.len()], (1..=all.len()).collect()];
            for ends in ends {
                let mut door = Door::new(config(), version);
                let (mut reported, mut start) = (Vec::new(), 0);
                for end in ends {
                    let (events, rest) = door.receive_bytes(&all[start..end]);
                    assert!(events.is_empty() || rest.len() == end - bytes.len(), "CONNECT is taken, and nothing else");
                    assert!(!events.is_empty() || !reported.is_empty() || rest.len() == end - start, "nothing is kept");
                    start = end - rest.len();
                    reported.extend(events);
                    assert_eq!(reported.len(), usize::from(end >= bytes.len()));
                }
                assert_eq!(reported, [Event::Connect("c".into())]);
                assert_eq!(start, bytes.len());
            }
        }
    }
}

/// All fields of CONNECT are reported unchanged for the decision.
#[test]
fn a_connect_is_reported_unchanged() {
    for version in Version::ALL {
        let bytes = full(version);
        let mut acceptor = Acceptor::new(config(), at(0));
        let Some(AcceptorAction::Connect(connect)) = acceptor.poll(at(0), &mut &bytes[..]) else { panic!("a request") };
        assert_eq!(encoded(&(*connect).into(), version), bytes);
    }
}

#[test]
fn packets_after_connect_wait_for_the_decision() {
    for version in Version::ALL {
        let subscriptions = [subscription("t")];
        let behind = encoded_all(
            &[
                subscribe(1, &subscriptions),
                published("1", delivery(QOS_1, 5)),
                published("2", delivery(QOS_2, 6)),
                published("3", delivery(QOS_0, 0)),
                Packet::PingReq,
                disconnect(DisconnectReasonCode::NormalDisconnection),
            ],
            version,
        );
        let all = [full(version), behind.clone()].concat();
        // While the decision is pending, no further input is taken and no error in it is reported.
        let mut door = Door::new(config(), version);
        let (events, rest) = door.receive_bytes(&all);
        assert_eq!((events, rest), (vec![Event::Connect("c".into())], &behind[..]));
        door.later(1_000_000);
        assert_eq!(door.receive_bytes(&behind), (vec![], &behind[..]));
        door.assert_silent();
        let mut wire = Wire {
            server: door.acceptor.accept(door.now, None, Accept::default()).unwrap(),
            ..Wire::connected(config(), &lasting(version))
        };
        let events = wire.receive_bytes(&behind);
        let [Event::Subscribe(request, _), rest @ ..] = &events[..] else { panic!("{events:?}") };
        let normal = disconnected(DisconnectReasonCode::NormalDisconnection);
        assert_eq!(rest, [delivered("1", QOS_1), delivered("2", QOS_2), delivered("3", QOS_0), normal]);
        assert_eq!(wire.server.suback(wire.now, *request, &[]), Err(AnswerError::NotConnected));
        wire.assert_sent(&[
            connack(false),
            PubAck::new(super::id(5)).into(),
            PubRec::new(super::id(6)).into(),
            Packet::PingResp,
        ]);
        // After a refusal no further input is looked at [MQTT-3.1.4-6].
        let mut door = Door::new(config(), version);
        let (_, rest) = door.receive_bytes(&all);
        door.acceptor.refuse(door.now, ConnAckReasonCode::NotAuthorized).unwrap();
        assert_eq!(door.receive_bytes(rest).0, [Event::Close(Why::Refused(ConnAckReasonCode::NotAuthorized.into()))]);
        assert_eq!(door.receive_bytes(rest).0, []);
        door.assert_sent(&[refused(ConnAckReasonCode::NotAuthorized)]);
    }
}

#[test]
fn connect_must_arrive_within_the_timeout() {
    for (timeout, last) in [(1, 1), (10, 10), (u16::MAX, 65_535)] {
        let config = ServerConfig { connect_timeout: NonZeroU16::new(timeout), ..config() };
        let mut door = Door::new(config.clone(), Version::V5);
        assert_eq!(door.acceptor.deadline(), Some(at(last)));
        let bytes = full(Version::V5);
        // A partial CONNECT does not extend the timeout: a client that sends a byte now and then must not hold a
        // connection for ever.
        assert_eq!(door.receive_bytes(&bytes[..20]).0, []);
        door.now = at(last);
        assert_eq!(door.receive_bytes(&bytes[..21]).0, [Event::Close(Why::ConnectTimeout)]);
        door.assert_silent();
        assert_over(&mut door);
        // Input that arrives at the last moment counts before the deadline.
        let mut door = Door::new(config, Version::V5);
        door.now = at(last + 100);
        assert_eq!(door.receive_bytes(&bytes).0, [Event::Connect("c".into())]);
        // The decision of the embedding program has no timeout.
        assert_eq!(door.acceptor.deadline(), None);
        door.later(1_000_000_000);
        assert_eq!(door.poll(), []);
        door.acceptor.accept(door.now, None, Accept::default()).unwrap();
    }
    let mut door = Door::new(ServerConfig { connect_timeout: None, ..config() }, Version::V5);
    assert_eq!(door.acceptor.deadline(), None);
    door.later(1_000_000_000);
    assert_eq!(door.poll(), []);
}

/// The limit applies once the protocol level, which tells the form of the answer, is known, and only to CONNECT.
#[test]
fn connect_has_a_maximum_size() {
    let bytes = full(Version::V5);
    let size = bytes.len() as u32;
    for (limit, fits) in [(size - 1, false), (size, true), (size + 1, true)] {
        let config = ServerConfig { max_connect_size: NonZeroU32::new(limit).unwrap(), ..config() };
        let mut door = Door::new(config, Version::V5);
        let (events, _) = door.receive_bytes(&bytes[..if fits { bytes.len() } else { 9 }]);
        let expected =
            if fits { Event::Connect("c".into()) } else { Event::Close(Why::Malformed(ReasonCode::PacketTooLarge)) };
        assert_eq!(events, [expected], "{limit}");
        if fits {
            let mut server = door.acceptor.accept(door.now, None, Accept::default()).unwrap();
            let large = "x".repeat(4 * size as usize);
            let packet = encoded(&published(&large, delivery(QOS_0, 0)), Version::V5);
            assert!(matches!(server.poll(at(0), &mut &packet[..]), Some(Action::Message(_))));
        } else {
            assert_over_after_answer(&mut door);
        }
    }
    // A fixed header that claims 256 MiB, and a protocol level.
    let mut door = Door::new(config(), Version::V5);
    let (events, _) = door.receive_bytes(b"\x10\xFF\xFF\xFF\x7F\x00\x04MQTT\x05");
    assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::PacketTooLarge))]);
    // A malformed Remaining Length.
    let mut door = Door::new(config(), Version::V5);
    let (events, _) = door.receive_bytes(b"\x10\xFF\xFF\xFF\xFF\x01");
    assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::MalformedPacket))]);
}

/// Checks that the connection is closed, after at most one CONNACK with an error.
fn assert_over_after_answer(door: &mut Door) {
    let sent = door.take();
    match decode(&sent, Version::V5)[..] {
        [] => {}
        [Packet::ConnAck(connack)] => assert!(connack.reason_code.is_error() && !connack.session_present),
        ref other => panic!("{other:?}"),
    }
    assert_over(door);
}

/// [3.1.1: MQTT-3.1.2-2; 5.0: MQTT-3.1.2-2]: the embedding program may support fewer versions than the acceptor.
#[test]
fn the_embedding_program_may_refuse_a_version() {
    for (version, answer) in [
        (Version::V31, &b"\x20\x02\x00\x01"[..]),
        (Version::V311, b"\x20\x02\x00\x01"),
        (Version::V5, b"\x20\x03\x00\x84\x00"),
    ] {
        let mut door = Door::asked(config(), &lasting(version));
        door.acceptor.refuse(door.now, ConnAckReasonCode::UnsupportedProtocolVersion).unwrap();
        assert_eq!(door.poll(), [Event::Close(Why::Refused(ConnAckReasonCode::UnsupportedProtocolVersion.into()))]);
        assert_eq!(door.take(), answer);
    }
}

/// The return code that a client of 3.1 or 3.1.1 gets for a reason code, if one applies.
fn return_code(code: ConnAckReasonCode) -> Option<u8> {
    match code {
        ConnAckReasonCode::UnsupportedProtocolVersion => Some(1),
        ConnAckReasonCode::ClientIdentifierNotValid => Some(2),
        ConnAckReasonCode::ServerUnavailable
        | ConnAckReasonCode::ServerBusy
        | ConnAckReasonCode::QuotaExceeded
        | ConnAckReasonCode::ConnectionRateExceeded => Some(3),
        ConnAckReasonCode::BadUserNameOrPassword => Some(4),
        ConnAckReasonCode::NotAuthorized | ConnAckReasonCode::Banned => Some(5),
        _ => None,
    }
}

/// [3.1.1: MQTT-3.2.2-4, MQTT-3.2.2-5, MQTT-3.2.2-6; 5.0: MQTT-3.2.2-6, MQTT-3.2.2-7]
#[test]
fn refused_in_every_version_with_every_reason_code() {
    for version in Version::ALL {
        for &code in ConnAckReasonCode::ALL.iter().filter(|code| code.is_error()) {
            let mut door = Door::asked(config(), &lasting(version));
            door.acceptor.refuse(door.now, code).unwrap();
            assert_eq!(door.acceptor.deadline(), Some(mqtt_sansio::Instant::EPOCH), "the caller is to be told at once");
            // The client's names remain available after the refusal.
            assert_eq!((door.acceptor.client_id(), door.acceptor.user_name()), (Some("c"), None));
            assert_eq!(door.poll(), [Event::Close(Why::Refused(code.into()))]);
            let expected = match (version, return_code(code)) {
                (Version::V5, _) => vec![0x20, 3, 0, code.value(), 0],
                (_, Some(code)) => vec![0x20, 2, 0, code],
                (_, None) => vec![],
            };
            assert_eq!(door.take(), expected, "{version}, {code}");
            assert_over(&mut door);
        }
    }
}

/// A refusal cannot have the reason code Success: the client would take it for an acceptance.
#[test]
fn a_refusal_with_success_is_an_error() {
    for version in Version::ALL {
        let mut door = Door::asked(config(), &lasting(version));
        let result = door.acceptor.refuse(door.now, ConnAckReasonCode::Success);
        let sent = door.take();
        assert!(result.is_err() && sent.is_empty(), "{result:?}, and this was sent: {sent:?}");
    }
}

/// The two reason codes that name another server (section 4.11). Before 5.0 they do not exist.
#[test]
fn refusals_that_name_another_server() {
    for version in Version::ALL {
        for reason_code in [ConnAckReasonCode::UseAnotherServer, ConnAckReasonCode::ServerMoved] {
            let properties = ConnAckProperties {
                server_reference: Some(text("other.example:1883")),
                reason_string: Some(text("full")),
                ..Default::default()
            };
            let mut door = Door::asked(config(), &lasting(version));
            door.acceptor.refuse_with(door.now, reason_code, &properties).unwrap();
            assert_eq!(door.poll(), [Event::Close(Why::Refused(reason_code.into()))]);
            if version == Version::V5 {
                let connack = mqtt_sansio::codec::ConnAck { reason_code, properties, ..Default::default() };
                door.assert_sent(&[connack.into()]);
            } else {
                assert_eq!(door.take(), b"");
            }
        }
    }
    // The reference to another server may be too large for the client. It is not silently left out: the caller decides.
    let small = v5_with(ConnectProperties { maximum_packet_size: 20.try_into().ok(), ..Default::default() });
    let mut door = Door::asked(config(), &small);
    let properties = ConnAckProperties { server_reference: Some(text("other.example:1883")), ..Default::default() };
    let result = door.acceptor.refuse_with(door.now, ConnAckReasonCode::ServerMoved, &properties);
    assert_eq!(result, Err(RefuseError::TooLarge { limit: 20 }));
    door.assert_silent();
    door.acceptor.refuse(door.now, ConnAckReasonCode::ServerMoved).unwrap();
    assert_eq!(door.poll(), [Event::Close(Why::Refused(ConnAckReasonCode::ServerMoved.into()))]);
    door.assert_sent(&[refused(ConnAckReasonCode::ServerMoved)]);
}

/// [5.0: MQTT-3.2.2-19, MQTT-3.2.2-20]
#[test]
fn a_refusal_obeys_the_maximum_packet_size() {
    let pairs = [UserProperty::new("key", "value").unwrap()];
    let full = ConnAckProperties {
        reason_string: Some(text("because")),
        user_properties: (&pairs).into(),
        ..Default::default()
    };
    let size = |properties| {
        let reason_code = ConnAckReasonCode::Banned;
        encoded(&mqtt_sansio::codec::ConnAck { reason_code, properties, ..Default::default() }.into(), Version::V5)
            .len()
    };
    for limit in 5..=size(full) + 1 {
        let maximum_packet_size = u32::try_from(limit).unwrap().try_into().ok();
        let connect = v5_with(ConnectProperties { maximum_packet_size, ..Default::default() });
        let mut door = Door::asked(config(), &connect);
        door.acceptor.refuse_with(door.now, ConnAckReasonCode::Banned, &full).unwrap();
        let sent = door.take();
        assert!(sent.len() <= limit && (limit < size(full) || sent.len() == size(full)), "{limit}: {}", sent.len());
        let [Packet::ConnAck(connack)] = decode(&sent, Version::V5)[..] else { panic!("one CONNACK") };
        assert_eq!(connack.reason_code, ConnAckReasonCode::Banned);
    }
}

/// A Maximum Packet Size below the size of every acknowledgement: the server refuses the client, with a reason code if
/// CONNACK fits.
#[test]
fn a_maximum_packet_size_below_every_acknowledgement() {
    for size in 1..=5 {
        let connect = v5_with(ConnectProperties { maximum_packet_size: size.try_into().ok(), ..Default::default() });
        let mut door = Door::new(config(), Version::V5);
        let events = door.receive(&[connect.into()]);
        if size == 5 {
            assert_eq!(events, [Event::Connect("c".into())]);
        } else {
            let code = ReasonCode::ImplementationSpecificError;
            assert_eq!(events, [Event::Close(Why::Refused(code))], "{size}");
            assert_eq!(door.take(), b"", "CONNACK is larger than that as well [MQTT-3.1.2-24]");
            assert_over(&mut door);
        }
    }
}

/// [5.0: MQTT-3.2.2-12, MQTT-3.2.2-13]: the acceptor refuses the client without a decision. A client of 3.1.1 cannot know
/// what a server does not support, so its will is accepted, as its messages are.
#[test]
fn a_will_that_the_server_does_not_support() {
    let qos = |maximum_qos| ServerConfig { maximum_qos, ..config() };
    let cases = [
        (qos(QOS_0), QOS_1, false, Some(ReasonCode::QoSNotSupported)),
        (qos(QOS_0), QOS_2, false, Some(ReasonCode::QoSNotSupported)),
        (qos(QOS_1), QOS_2, false, Some(ReasonCode::QoSNotSupported)),
        (qos(QOS_1), QOS_1, true, None),
        (ServerConfig { retain_available: false, ..config() }, QOS_0, true, Some(ReasonCode::RetainNotSupported)),
        (ServerConfig { retain_available: false, ..config() }, QOS_2, false, None),
    ];
    for ((config, qos, retain, refusal), version) in
        cases.into_iter().flat_map(|case| Version::ALL.map(|version| (case.clone(), version)))
    {
        let connect = Connect { will: Some(Will { qos, retain, ..will("w", 0) }), ..lasting(version) };
        let mut door = Door::new(config, version);
        let events = door.receive(&[connect.into()]);
        match refusal.filter(|_| version == Version::V5) {
            None => assert_eq!(events, [Event::Connect("c".into())], "{version}, {qos}, {retain}"),
            Some(code) => {
                assert_eq!(events, [Event::Close(Why::Refused(code))]);
                door.assert_sent(&[refused(code.try_into().unwrap())]);
                assert_over(&mut door);
            }
        }
    }
}

#[test]
fn an_authentication_of_several_steps() {
    let mut door = Door::asked(config(), &authenticating());
    for step in [&b"1"[..], b"2", b""] {
        door.acceptor.challenge(door.now, step).unwrap();
        assert_eq!(
            door.acceptor.challenge(door.now, step),
            Err(AuthenticateError::NoPendingConnect),
            "it is the client's turn"
        );
        assert_eq!(door.acceptor.refuse(door.now, ConnAckReasonCode::Banned), Err(RefuseError::NoPendingConnect));
        assert_eq!(
            door.acceptor.accept(door.now, None, Accept::default()).err().map(|it| it.reason),
            Some(AcceptError::NoPendingConnect)
        );
        door.assert_sent(&[auth(CONTINUE, "M", step)]);
        door.later(9_999);
        assert_eq!(door.poll(), [], "each step has its own time");
        assert_eq!(door.receive(&[auth(CONTINUE, "M", step)]), [Event::Auth(CONTINUE, step.to_vec())]);
        assert_eq!(door.acceptor.deadline(), None, "it is the caller's turn");
        door.later(1_000_000);
    }
    door.acceptor.challenge(door.now, b"unwritten").unwrap();
    door.receive(&[auth(CONTINUE, "M", b"x")]);
    let accept = Accept { authentication_data: Some(b"done".to_vec()), ..Accept::default() };
    let mut server = door.acceptor.accept(door.now, None, accept).unwrap();
    let sent = take(server.transmit());
    let properties = ConnAckProperties {
        authentication_method: Some(text("M")),
        authentication_data: Some(b"done"),
        ..Default::default()
    };
    assert_eq!(decode(&sent, Version::V5), [auth(CONTINUE, "M", b"unwritten"), accepted(properties)]);
    assert_over(&mut door);
}

#[test]
fn an_authentication_step_times_out() {
    let mut door = Door::asked(config(), &authenticating());
    door.later(100_000);
    door.poll();
    door.acceptor.challenge(door.now, b"1").unwrap();
    assert_eq!(door.poll(), [], "its time begins when the time is told");
    assert_eq!(door.acceptor.deadline(), Some(at(110)));
    door.now = at(110);
    assert_eq!(door.poll(), [Event::Close(Why::ConnectTimeout)]);
    door.take();
    assert_over(&mut door);
}

/// After a challenge only AUTH with Continue authentication and the same method, or DISCONNECT, is allowed
/// [5.0: MQTT-3.1.2-30, MQTT-4.12.0-3, MQTT-4.12.0-5]. The error is sent in CONNACK: a server sends no DISCONNECT before
/// that [5.0: MQTT-3.14.0-1].
#[test]
fn packets_not_allowed_after_a_challenge() {
    let subscriptions = [subscription("t")];
    let cases: [(Packet<'_>, ProtocolError); 8] = [
        (auth(CONTINUE, "other", b"x"), ProtocolError::AuthenticationMethodChanged),
        (auth(CONTINUE, "m", b"x"), ProtocolError::AuthenticationMethodChanged),
        (auth(AuthReasonCode::Success, "M", b"x"), ProtocolError::UnexpectedAuth),
        (auth(AuthReasonCode::ReAuthenticate, "M", b"x"), ProtocolError::UnexpectedAuth),
        (authenticating().into(), ProtocolError::SecondConnect),
        (Packet::PingReq, ProtocolError::UnexpectedAuth),
        (published("x", delivery(QOS_0, 0)), ProtocolError::UnexpectedAuth),
        (subscribe(1, &subscriptions), ProtocolError::UnexpectedAuth),
    ];
    for (packet, expected) in cases {
        let mut door = Door::asked(config(), &authenticating());
        door.acceptor.challenge(door.now, b"1").unwrap();
        door.take();
        assert_eq!(door.receive(&[packet]), [protocol_error(expected)], "{packet:?}");
        door.assert_sent(&[refused(expected.reason_code().try_into().unwrap())]);
        assert_over(&mut door);
    }
    // An AUTH without a method is malformed, or a Protocol Error.
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.challenge(door.now, b"1").unwrap();
    door.take();
    let (events, _) = door.receive_bytes(b"\xF0\x02\x18\x00");
    assert!(matches!(events[..], [Event::Close(_)]), "{events:?}");
    assert_over_after_answer(&mut door);
    // So are bytes that are not a packet.
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.challenge(door.now, b"1").unwrap();
    door.take();
    let (events, _) = door.receive_bytes(b"\x00\x00");
    assert_eq!(events, [Event::Close(Why::Malformed(ReasonCode::MalformedPacket))]);
    assert_over_after_answer(&mut door);
}

/// A malformed packet of a challenged client, of whatever type, is answered with a CONNACK of 5.0 and a reason code
/// that CONNACK has.
#[test]
fn malformed_packets_after_a_challenge() {
    for (bytes, code) in [
        (&b"\xF0\x02\x18\x05"[..], 0x81),
        (b"\x82\x08\x00\x01\x00\x00\x02#a\x00", 0x81),
        (b"\x30\x08\x00\x01t\x03\x23\x00\x00x", 0x82),
        (b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x0a\x00\x00", 0x85),
        (b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x0a\x00\x01c", 0x84),
    ] {
        let mut door = Door::asked(config(), &authenticating());
        door.acceptor.challenge(door.now, b"x").unwrap();
        door.take();
        let (events, _) = door.receive_bytes(bytes);
        assert!(matches!(events[..], [Event::Close(Why::Malformed(_))]), "{bytes:02x?}: {events:?}");
        assert_eq!(door.take(), [0x20, 3, 0, code, 0], "{bytes:02x?}");
        assert_over(&mut door);
    }
}

#[test]
fn a_challenged_client_disconnects() {
    let mut door = Door::asked(config(), &authenticating());
    door.acceptor.challenge(door.now, b"1").unwrap();
    door.take();
    let reason_code = DisconnectReasonCode::NormalDisconnection;
    assert_eq!(door.receive(&[disconnect(reason_code)]), [disconnected(reason_code)]);
    door.assert_silent();
    assert_over(&mut door);
}

/// An AUTH out of turn: while the decision is pending no input is taken, even if the packet is the expected one.
#[test]
fn auth_before_the_challenge_waits_for_the_decision() {
    let mut door = Door::asked(config(), &authenticating());
    let answer = encoded(&auth(CONTINUE, "M", b"early"), Version::V5);
    assert_eq!(door.receive_bytes(&answer), (vec![], &answer[..]));
    door.acceptor.challenge(door.now, b"1").unwrap();
    assert_eq!(door.receive_bytes(&answer), (vec![Event::Auth(CONTINUE, b"early".to_vec())], &b""[..]));
}

/// [5.0: MQTT-4.12.0-6]
#[test]
fn a_client_without_a_method_cannot_be_challenged() {
    for version in Version::ALL {
        let mut door = Door::asked(config(), &lasting(version));
        assert_eq!(door.acceptor.challenge(door.now, b"x"), Err(AuthenticateError::NoAuthentication));
        door.assert_silent();
        door.acceptor.accept(door.now, None, Accept::default()).unwrap();
    }
}

/// A challenge that is too large for the client is not sent, and another decision is possible.
#[test]
fn a_challenge_too_large_for_the_client_is_an_error() {
    let connect = v5_with(ConnectProperties {
        authentication_method: Some(text("M")),
        maximum_packet_size: 30.try_into().ok(),
        ..Default::default()
    });
    let mut door = Door::asked(config(), &connect);
    assert_eq!(door.acceptor.challenge(door.now, &[7; 30]), Err(AuthenticateError::TooLarge { limit: 30 }));
    door.assert_silent();
    door.acceptor.challenge(door.now, &[7; 10]).unwrap();
    let properties = AuthProperties {
        authentication_method: Some(text("M")),
        authentication_data: Some(&[7; 10]),
        ..AuthProperties::default()
    };
    door.assert_sent(&[Auth { reason_code: CONTINUE, properties }.into()]);
}

/// An acceptance that fails changes nothing: the caller can try again, and one CONNACK is sent.
#[test]
fn an_acceptance_that_cannot_be_sent_changes_nothing() {
    let connect = v5_with(ConnectProperties { maximum_packet_size: 40.try_into().ok(), ..Default::default() });
    let mut door = Door::asked(config(), &connect);
    let long = Some("x".repeat(50));
    let invalid = |id, text: &str| {
        let error = mqtt_sansio::Utf8Str::new(text).unwrap_err().into();
        AcceptError::Text { field: Field::Property(id), error }
    };
    let refusals = [
        (Accept { server_reference: long.clone(), ..Accept::default() }, AcceptError::TooLarge { limit: 40 }),
        (
            Accept { server_reference: Some("x".repeat(70_000)), ..Accept::default() },
            invalid(PropertyId::ServerReference, &"x".repeat(70_000)),
        ),
        (Accept { reason_string: Some("\0".into()), ..Accept::default() }, invalid(PropertyId::ReasonString, "\0")),
        (
            Accept { user_properties: vec![("\0".into(), "x".into())], ..Accept::default() },
            invalid(PropertyId::UserProperty, "\0"),
        ),
    ];
    for (accept, expected) in refusals {
        assert_eq!(door.acceptor.accept(door.now, None, accept).err().map(|it| it.reason), Some(expected));
        door.assert_silent();
        assert_eq!(door.acceptor.deadline(), None);
    }
    // Optional properties are left out instead [MQTT-3.2.2-19, MQTT-3.2.2-20].
    let accept = Accept {
        reason_string: long.clone(),
        user_properties: vec![("k".into(), "x".repeat(50))],
        ..Accept::default()
    };
    let mut server = door.acceptor.accept(door.now, None, accept).unwrap();
    let sent = take(server.transmit());
    assert_eq!(decode(&sent, Version::V5), [connack(false)]);
}

/// The session that was handed in is returned with the error and unchanged: connected if it had a connection, with its
/// messages and its will.
#[test]
fn an_acceptance_that_fails_returns_the_session() {
    for is_connected in [true, false] {
        let mut wire = Wire::connected(config(), &Connect { will: Some(will("w", 50)), ..v5() });
        wire.publish("x", QOS_1);
        if !is_connected {
            wire.lose();
        }
        let before = (format!("{:?}", wire.server), wire.server.deadline());
        let accept = Accept { reason_string: Some("\0".into()), ..Accept::default() };
        // One CONNACK does not fit, and one acceptor has no client to accept.
        let doors = [Door::asked(config(), &Connect { clean_start: true, ..v5() }), Door::new(config(), Version::V5)];
        for mut door in doors {
            door.later(10_000);
            door.poll();
            let Err(error) = door.acceptor.accept(door.now, wire.server, accept.clone()) else {
                panic!("it cannot be sent")
            };
            wire.server = *error.session.expect("it was handed in");
            assert_eq!((format!("{:?}", wire.server), wire.server.deadline()), before);
            assert_eq!(wire.server.is_connected(), is_connected);
            door.assert_silent();
        }
        assert_eq!(wire.poll(), []);
        if is_connected {
            wire.assert_sent(&[published("x", delivery(QOS_1, 1))]);
            wire.lose();
        }
        wire.later(50_000);
        assert_eq!(wire.poll(), [Event::Will("w".into())]);
    }
}

#[test]
fn an_empty_client_identifier_is_assigned_one() {
    for version in Version::ALL.into_iter().filter(|&version| version != Version::V31) {
        let connect = Connect { client_identifier: text(""), clean_start: true, ..lasting(version) };
        let mut door = Door::asked(config(), &connect);
        let accept = Accept { assigned_client_id: Some("given".into()), ..Accept::default() };
        if version == Version::V5 {
            let result = door.acceptor.accept(door.now, None, Accept::default());
            assert_eq!(result.err().map(|it| it.reason), Some(AcceptError::NoClientIdentifier));
        }
        let mut server = door.acceptor.accept(door.now, None, accept).unwrap();
        assert_eq!(server.client_id(), "given");
        let sent = take(server.transmit());
        let assigned_client_identifier = Some(text("given")).filter(|_| version == Version::V5);
        let properties = ConnAckProperties { assigned_client_identifier, ..Default::default() };
        assert_eq!(decode(&sent, version), [accepted(properties)]);
    }
    // In 3.1.1 the client has no session that could be resumed, so it needs no client identifier.
    let connect = Connect { client_identifier: text(""), clean_start: true, ..lasting(Version::V311) };
    assert_eq!(Wire::connected(config(), &connect).server.client_id(), "");
    // A client with an identifier of its own keeps it, and CONNACK carries none [MQTT-3.2.2-16].
    let accept = Accept { assigned_client_id: Some("given".into()), ..Accept::default() };
    let mut wire = Wire::accepted(config(), &v5(), accept);
    assert_eq!(wire.server.client_id(), "c");
    wire.assert_sent(&[connack(false)]);
}

/// All limits of a server are announced in 5.0, and none before.
#[test]
fn limits_are_announced_in_connack() {
    let config = Arc::new(ServerConfig {
        receive_maximum: 5.try_into().unwrap(),
        maximum_qos: QOS_1,
        retain_available: false,
        maximum_packet_size: NonZeroU32::new(1000),
        topic_alias_maximum: 3,
        wildcard_subscription_available: false,
        subscription_identifiers_available: false,
        shared_subscription_available: false,
        max_keep_alive: NonZeroU16::new(60),
        max_session_expiry_interval: SessionExpiry::after(500),
        ..ServerConfig::default()
    });
    for version in Version::ALL {
        let is_v5 = version == Version::V5;
        let connect = Connect { keep_alive: if is_v5 { 100 } else { 60 }, ..lasting(version) };
        let mut wire = Wire::open(Arc::clone(&config), &connect);
        assert_eq!(wire.server.keep_alive(), NonZeroU16::new(60));
        assert_eq!(wire.server.session_expiry_interval(), SessionExpiry::after(500));
        let announced = ConnAckProperties {
            receive_maximum: 5.try_into().ok(),
            maximum_qos: Some(MaximumQoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: 1000.try_into().ok(),
            topic_alias_maximum: Some(3),
            wildcard_subscription_available: Some(false),
            subscription_identifiers_available: Some(false),
            shared_subscription_available: Some(false),
            server_keep_alive: Some(60),
            session_expiry_interval: Some(500),
            ..Default::default()
        };
        wire.assert_sent(&[accepted(if is_v5 { announced } else { Default::default() })]);
    }
    // Without a Keep Alive counts as longer than any.
    for (asked, granted) in [(0, Some(60)), (60, None), (59, None), (61, Some(60))] {
        let mut wire = Wire::open(
            ServerConfig { max_keep_alive: NonZeroU16::new(60), ..super::server::config() },
            &Connect { keep_alive: asked, ..v5() },
        );
        assert_eq!(wire.server.keep_alive(), NonZeroU16::new(granted.unwrap_or(asked)));
        wire.assert_sent(&[accepted(ConnAckProperties { server_keep_alive: granted, ..Default::default() })]);
    }
}

/// Unsupported features are announced in 5.0 only, and earlier clients may use them.
#[test]
fn earlier_versions_may_use_unsupported_features() {
    let config = Arc::new(ServerConfig {
        receive_maximum: 1.try_into().unwrap(),
        maximum_qos: QOS_0,
        retain_available: false,
        wildcard_subscription_available: false,
        shared_subscription_available: false,
        ..config()
    });
    for version in [Version::V311, Version::V31] {
        let mut wire = Wire::connected(Arc::clone(&config), &lasting(version));
        let retained = mqtt_sansio::codec::Publish { retain: true, ..publish("3", delivery(QOS_1, 3)) };
        let events =
            wire.receive(&[published("1", delivery(QOS_2, 1)), published("2", delivery(QOS_2, 2)), retained.into()]);
        assert_eq!(events, [delivered("1", QOS_2), delivered("2", QOS_2), delivered("3", QOS_1)]);
        wire.subscribe(4, &["a/#", "$share/g/b"]);
    }
}

/// The limits announced on this connection apply, also to a session stored under other limits.
#[test]
fn the_limits_of_the_current_connection_apply() {
    let mut wire = Wire::lasting(Version::V5);
    wire.lose();
    wire.config = Arc::new(ServerConfig { maximum_qos: QOS_0, topic_alias_maximum: 7, ..config() });
    wire.reconnect(&v5());
    let announced = ConnAckProperties {
        maximum_qos: Some(MaximumQoS::AtMostOnce),
        topic_alias_maximum: Some(7),
        ..Default::default()
    };
    wire.assert_sent(&[mqtt_sansio::codec::ConnAck {
        session_present: true,
        properties: announced,
        ..Default::default()
    }
    .into()]);
    let properties = mqtt_sansio::codec::PublishProperties { topic_alias: 7.try_into().ok(), ..Default::default() };
    let aliased = mqtt_sansio::codec::Publish { properties, ..publish("x", delivery(QOS_0, 0)) };
    assert_eq!(wire.receive(&[aliased.into()]), [delivered("x", QOS_0)]);
    assert_eq!(wire.receive(&[published("x", delivery(QOS_1, 1))]), [protocol_error(ProtocolError::QoSNotSupported)]);
}

/// The time of a pending decision does not count against the Keep Alive: a client with an authentication method may
/// send nothing before CONNACK (section 3.1.2.11.9).
#[test]
fn a_late_decision_does_not_count_against_keep_alive() {
    let connect = Connect { keep_alive: 2, ..authenticating() };
    let mut door = Door::asked(config(), &connect);
    let mut server = door.acceptor.accept(at(10), None, Accept::default()).unwrap();
    let reported = server.poll_timeout(at(10));
    assert_eq!(reported, None, "nobody was silent");
    assert_eq!(server.deadline(), Some(at(13)));
}
