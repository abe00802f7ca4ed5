//! Answers to a first packet that is not a well-formed CONNECT of a supported version.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt_sansio::codec::{Connect, ConnectProperties, Packet, ReasonCode, UserProperty, WillProperties};
use mqtt_sansio::server::{AcceptorAction, Close, ServerConfig};
use mqtt_sansio::{ProtocolError, Version};

use super::server::{Door, Event, Why, at, config, encoded, lasting, protocol_error, text, will};

const OLD_REFUSAL: &[u8] = b"\x20\x02\x00\x01";
const NEW_REFUSAL: &[u8] = b"\x20\x03\x00\x84\x00";

/// A CONNECT with this protocol name and level, and the fields that the level requires.
fn connect(name: &[u8], level: u8) -> Vec<u8> {
    let mut body = [&(name.len() as u16).to_be_bytes()[..], name, &[level, 2, 0, 60]].concat();
    body.extend(if level & 0x7F == 5 { &b"\x00\x00\x01c"[..] } else { b"\x00\x01c" });
    [&[0x10, body.len() as u8][..], &body].concat()
}

/// The events and packets of a server whose client begins with these bytes.
#[track_caller]
fn answer(config: ServerConfig, bytes: &[u8]) -> (Vec<Event>, Vec<u8>) {
    let mut door = Door::new(config, Version::V5);
    let (events, _) = door.receive_bytes(bytes);
    (events, door.take())
}

/// A client with an old protocol level, or with the bridge bit, is refused in the form of its version, so that it can
/// try another level. [3.1.1: MQTT-3.1.2-1, MQTT-3.1.2-2; 5.0: MQTT-3.1.2-1, MQTT-3.1.2-2]
#[test]
fn pitfall_28_every_protocol_level_is_answered_in_its_own_form() {
    for level in 0..=255_u8 {
        for (name, supported) in [(&b"MQTT"[..], &[4, 5, 0x84, 0x85][..]), (b"MQIsdp", &[3, 0x83])] {
            let (events, sent) = answer(config(), &connect(name, level));
            if supported.contains(&level) {
                assert_eq!((events, sent), (vec![Event::Connect("c".into())], vec![]), "{name:?} {level:#04x}");
                continue;
            }
            let is_new = name == b"MQTT" && (6..0x80).contains(&level);
            let unsupported = Event::Close(Why::Malformed(ReasonCode::UnsupportedProtocolVersion));
            assert_eq!(events, [unsupported], "{name:?} {level:#04x}");
            assert_eq!(sent, if is_new { NEW_REFUSAL } else { OLD_REFUSAL }, "{name:?} {level:#04x}");
        }
        // A protocol name that MQTT does not have: the level alone decides the form.
        for name in [&b"mqtt"[..], b"", b"MQTTX", b"HTTP"] {
            let (_, sent) = answer(config(), &connect(name, level));
            let is_new = (5..0x80).contains(&level);
            assert_eq!(sent, if is_new { NEW_REFUSAL } else { OLD_REFUSAL }, "{name:?} {level:#04x}");
        }
    }
    // As sent by mosquitto.
    let (events, sent) = answer(config(), b"\x10\x0e\x00\x04MQTT\x84\x02\x00\x3c\x00\x02br");
    assert_eq!((events, sent), (vec![Event::Connect("br".into())], vec![]));
}

/// A bridge is reported as one with the request and by the session, until the client reconnects without the bridge bit.
#[test]
fn pitfall_28_a_bridge_is_reported() {
    for version in Version::ALL {
        for is_bridge in [true, false] {
            let bytes = encoded(&Connect { is_bridge, ..lasting(version) }.into(), version);
            let level = bytes[if version == Version::V31 { 10 } else { 8 }];
            assert_eq!(level, version.level() | if is_bridge { 0x80 } else { 0 });
            let mut door = Door::new(config(), version);
            let mut input = &bytes[..];
            let Some(AcceptorAction::Connect(connect)) = door.acceptor.poll(at(0), &mut input) else {
                panic!("a request")
            };
            assert_eq!((connect.is_bridge, connect.version), (is_bridge, version));
            let server = door.acceptor.accept(door.now, None, Default::default()).unwrap();
            assert_eq!(server.is_bridge(), is_bridge);
            let mut door = Door::asked(config(), &Connect { is_bridge: !is_bridge, ..lasting(version) });
            let server = door.acceptor.accept(door.now, server, Default::default()).unwrap();
            assert_eq!(server.is_bridge(), !is_bridge);
        }
    }
}

/// Bits that 3.1 calls unused or disregarded are ignored for 3.1 and violate all other versions.
#[test]
fn pitfall_30_unused_bits_of_3_1_are_ignored() {
    let (events, sent) = answer(config(), b"\x10\x11\x00\x06MQIsdp\x03\x0a\x00\x3c\x00\x03vms");
    assert_eq!((events, sent), (vec![Event::Connect("vms".into())], vec![]));
    for flags in 0..=0xFF_u8 {
        let has_will = flags & 0b100 != 0;
        // The other flags concern other fields, and a Will QoS is one only if there is a will.
        if flags & 0b1100_0000 != 0 || has_will {
            continue;
        }
        for first in 0x10..=0x1F {
            let bytes = |name: &[u8], level, behind: &[u8]| {
                let body = [&[0, name.len() as u8][..], name, &[level, flags | 2, 0, 60], behind].concat();
                [&[first, body.len() as u8][..], &body].concat()
            };
            let connects = [Event::Connect("c".into())];
            let is_plain = first == 0x10 && (flags | 2) == 2;
            let malformed = [Event::Close(Why::Malformed(ReasonCode::MalformedPacket))];
            let expected = if is_plain { &connects } else { &malformed };
            assert_eq!(answer(config(), &bytes(b"MQIsdp", 3, b"\x00\x01c")), (connects.to_vec(), vec![]));
            assert_eq!(answer(config(), &bytes(b"MQTT", 4, b"\x00\x01c")), (expected.to_vec(), vec![]));
            let sent = if is_plain { &b""[..] } else { b"\x20\x03\x00\x81\x00" };
            assert_eq!(answer(config(), &bytes(b"MQTT", 5, b"\x00\x00\x01c")), (expected.to_vec(), sent.to_vec()));
        }
    }
}

/// A CONNECT of 5.0 with every field.
fn full() -> Vec<u8> {
    let pairs = [UserProperty::new("k", "v").unwrap()];
    let properties = ConnectProperties {
        session_expiry_interval: Some(3600),
        receive_maximum: 20.try_into().ok(),
        // CONNACK fits whichever bit is flipped.
        maximum_packet_size: 0x0101_0100.try_into().ok(),
        topic_alias_maximum: Some(5),
        request_problem_information: Some(true),
        request_response_information: Some(false),
        user_properties: (&pairs).into(),
        authentication_method: Some(text("M")),
        authentication_data: Some(b"d"),
    };
    let will_properties = WillProperties { content_type: Some(text("t")), ..WillProperties::default() };
    let connect = Connect {
        keep_alive: 77,
        will: Some(mqtt_sansio::codec::Will { properties: will_properties, ..will("gone", 9) }),
        user_name: Some(text("user")),
        password: Some(b"password"),
        properties,
        ..lasting(Version::V5)
    };
    encoded(&connect.into(), Version::V5)
}

/// The protocol level of a CONNECT, if it can be read. It decides the version of the answer.
fn level_of(bytes: &[u8]) -> Option<u8> {
    let body = bytes.get(2..)?;
    let name_len = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let length = usize::from(bytes[1]);
    assert!(length < 0x80, "one byte of length");
    body.get(..length.min(body.len()))?.get(2 + name_len).copied()
}

/// Section 4.13: an error in a CONNECT of 5.0 is answered with a CONNACK that carries the error, if the
/// protocol level could be read. Nothing else is sent.
#[track_caller]
fn check(bytes: &[u8], what: &str) {
    let mut door = Door::new(config(), Version::V5);
    let (events, _) = door.receive_bytes(bytes);
    let sent = door.take();
    let level = level_of(bytes);
    match (&events[..], level) {
        ([Event::Connect(_)], _) => assert_eq!(sent, b"", "{what}"),
        ([Event::Close(_)], Some(level)) if (5..0x80).contains(&level) || level == 0x85 => {
            let [0x20, 3, 0, code, 0] = sent[..] else { panic!("{what}: {sent:02x?} for {events:?}") };
            assert!(code >= 0x80, "{what}: {code:#04x}");
            let reported = match events[0] {
                Event::Close(Why::Malformed(code) | Why::Refused(code)) => code.value(),
                ref other => panic!("{what}: {other:?}"),
            };
            assert_eq!(code, reported, "{what}");
        }
        // Before 5.0 there are return codes for the version and the client identifier only.
        ([Event::Close(_)], Some(_)) => {
            assert!([&b""[..], OLD_REFUSAL, b"\x20\x02\x00\x02"].contains(&&sent[..]), "{what}: {sent:02x?}");
        }
        ([Event::Close(_)], None) => assert_eq!(sent, b"", "{what}"),
        ([], _) => {
            assert!(bytes.len() < 2 || usize::from(bytes[1]) > bytes.len() - 2, "{what}: it is complete");
            assert_eq!(sent, b"", "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

/// [5.0: MQTT-3.1.4-1]
#[test]
fn a_malformed_connect_of_5_0_is_answered() {
    let whole = full();
    check(&whole, "unchanged");
    for length in 0..whole.len() - 2 {
        let mut cut = whole[..2 + length].to_vec();
        cut[1] = length as u8;
        check(&cut, &format!("cut to {length} bytes"));
        cut[0] = 0x13;
        check(&cut, &format!("cut to {length} bytes, with flags"));
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let what = format!("bit {bit} of byte {at}");
            match (at, bit) {
                (0, 4..) => {
                    assert_eq!(
                        answer(config(), &changed),
                        (vec![protocol_error(ProtocolError::NotConnect)], vec![]),
                        "{what}"
                    )
                }
                (1, 7) => assert_eq!(answer(config(), &changed).1, b"", "{what}: the length is another"),
                _ => check(&changed, &what),
            }
        }
        for byte in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut changed = whole.clone();
            changed[at] = byte;
            if at > 1 {
                check(&changed, &format!("byte {at} is {byte:#04x}"));
            }
            if at > 1 && changed[1] < 0x7F {
                let mut longer = whole.clone();
                longer.insert(at, byte);
                longer[1] += 1;
                check(&longer, &format!("{byte:#04x} before byte {at}"));
            }
        }
    }
}

/// A CONNECT of 3.1.1 that is cut anywhere, or continues after its last field: no CONNACK is sent. [3.1.1: MQTT-3.1.4-1]
#[test]
fn a_malformed_connect_of_3_1_1_is_not_answered() {
    let connect = Connect {
        keep_alive: 77,
        will: Some(will("gone", 0)),
        user_name: Some(text("user")),
        password: Some(b"password"),
        ..lasting(Version::V311)
    };
    let whole = encoded(&connect.into(), Version::V311);
    assert_eq!(answer(config(), &whole), (vec![Event::Connect("c".into())], vec![]));
    let protocol_end = 2 + 7;
    for length in protocol_end - 2..whole.len() - 2 {
        let mut cut = whole[..2 + length].to_vec();
        cut[1] = length as u8;
        let (events, sent) = answer(config(), &cut);
        assert!(matches!(events[..], [Event::Close(Why::Malformed(_))]), "cut to {length} bytes: {events:?}");
        assert_eq!(sent, b"", "cut to {length} bytes");
    }
    for more in 1..4 {
        let mut longer = [&whole[..], &[0; 4][..more]].concat();
        longer[1] += more as u8;
        let (events, sent) = answer(config(), &longer);
        assert!(matches!(events[..], [Event::Close(Why::Malformed(_))]), "{more} bytes more: {events:?}");
        assert_eq!(sent, b"", "{more} bytes more");
    }
}

/// [3.1.1: MQTT-3.1.3-8, MQTT-3.1.4-1; 5.0: MQTT-3.1.4-1]
#[test]
fn answers_to_malformed_connects() {
    let cases: [(&str, &[u8], &[u8]); 14] = [
        ("trailing bytes", b"\x10\x11\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01q\x00\x01q", b"\x20\x03\x00\x81\x00"),
        ("reserved flag", b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x0a\x00\x00\x01q", b"\x20\x03\x00\x81\x00"),
        ("flags of the first byte", b"\x11\x0e\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01q", b"\x20\x03\x00\x81\x00"),
        (
            "length with a byte too many",
            b"\x10\x8e\x00\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01q",
            b"\x20\x03\x00\x81\x00",
        ),
        ("client identifier no text", b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01\xff", b"\x20\x03\x00\x81\x00"),
        (
            "property twice",
            b"\x10\x14\x00\x04MQTT\x05\x02\x00\x0a\x06\x21\x00\x01\x21\x00\x01\x00\x01q",
            b"\x20\x03\x00\x82\x00",
        ),
        (
            "receive maximum 0",
            b"\x10\x11\x00\x04MQTT\x05\x02\x00\x0a\x03\x21\x00\x00\x00\x01q",
            b"\x20\x03\x00\x82\x00",
        ),
        (
            "property of others",
            b"\x10\x11\x00\x04MQTT\x05\x02\x00\x0a\x03\x23\x00\x01\x00\x01q",
            b"\x20\x03\x00\x81\x00",
        ),
        (
            "will topic with a wildcard",
            b"\x10\x15\x00\x04MQTT\x05\x06\x00\x0a\x00\x00\x01q\x00\x00\x01#\x00\x01x",
            b"\x20\x03\x00\x90\x00",
        ),
        ("no level", b"\x10\x06\x00\x04MQTT", b""),
        ("no name", b"\x10\x00", b""),
        ("a length without end", b"\x10\xff\xff\xff\xff\x01", b""),
        ("3.1.1, trailing bytes", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x0a\x00\x01q\x00\x01q", b""),
        ("3.1.1, no client identifier", b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x0a\x00\x00", b"\x20\x02\x00\x02"),
    ];
    for (what, bytes, expected) in cases {
        let (events, sent) = answer(config(), bytes);
        assert!(matches!(events[..], [Event::Close(Why::Malformed(_))]), "{what}: {events:?}");
        assert_eq!(sent, expected, "{what}");
        // The answer is the same however the packet is split.
        let mut door = Door::new(config(), Version::V5);
        let mut reported = Vec::new();
        for end in 1..=bytes.len() {
            reported.extend(door.receive_bytes(&bytes[..end]).0);
        }
        assert_eq!((reported, door.take()), (events, expected.to_vec()), "{what}");
    }
}

/// A CONNECT above the maximum size is refused as soon as its protocol level is known, with the reason code for that,
/// or at the limit at the latest.
#[test]
fn a_connect_above_the_maximum_size_is_answered() {
    let too_large = [Event::Close(Why::Malformed(ReasonCode::PacketTooLarge))];
    for version in Version::ALL {
        let bytes = encoded(&Connect { keep_alive: 7, ..lasting(version) }.into(), version);
        let level = if version == Version::V31 { 11 } else { 9 };
        let config = ServerConfig { max_connect_size: NonZeroU32::new(bytes.len() as u32 - 1).unwrap(), ..config() };
        for end in 0..bytes.len() {
            let (events, sent) = answer(config.clone(), &bytes[..end]);
            let expected: &[u8] = if version == Version::V5 { b"\x20\x03\x00\x95\x00" } else { b"" };
            if end < level {
                assert_eq!((events, sent), (vec![], vec![]), "{version}, {end} bytes");
            } else {
                assert_eq!((events, sent), (too_large.to_vec(), expected.to_vec()), "{version}, {end} bytes");
            }
        }
        // A limit below the position of the protocol level: nothing beyond the limit is buffered.
        let tiny = ServerConfig { max_connect_size: NonZeroU32::new(5).unwrap(), ..config.clone() };
        assert_eq!(answer(tiny.clone(), &bytes[..4]), (vec![], vec![]));
        assert_eq!(answer(tiny, &bytes[..5]), (too_large.to_vec(), vec![]));
        // Without the rest of the packet the connect timeout closes the connection.
        let mut door = Door::new(config, version);
        assert_eq!(door.receive_bytes(&bytes[..5]).0, []);
        door.later(10_000);
        assert_eq!(door.receive_bytes(&bytes[..5]).0, [Event::Close(Why::ConnectTimeout)]);
        assert_eq!(door.take(), b"");
    }
}

/// The error of a malformed CONNECT carries the version it was decoded as, so that its clause and field are those of
/// that version.
#[test]
fn an_error_names_the_version_of_the_answer() {
    let cases: [(&[u8], Version); 4] = [
        (b"\x10\x80\x80\x80\x01\x00\x04MQTT\x04", Version::V311),
        (b"\x10\x80\x80\x80\x01\x00\x06MQIsdp\x03", Version::V31),
        (b"\x10\x80\x80\x80\x01\x00\x04MQTT\x05", Version::V5),
        (b"\x11\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01q", Version::V311),
    ];
    for (bytes, version) in cases {
        let mut door = Door::new(config(), Version::V5);
        let Some(AcceptorAction::Close(Close::Malformed(error))) = door.acceptor.poll(at(0), &mut &bytes[..]) else {
            panic!("{bytes:02x?}")
        };
        assert_eq!(error.version(), version);
        assert_eq!(error.to_string().ends_with(", close"), version != Version::V5, "{error}");
    }
}

/// A client of 3.1 or 3.1.1 whose Keep Alive is longer than allowed, or zero, is refused, because CONNACK cannot give
/// it another one.
#[test]
fn a_keep_alive_that_is_too_long_is_refused_before_5_0() {
    let refused = [Event::Close(Why::Refused(ReasonCode::ClientIdentifierNotValid))];
    for version in [Version::V31, Version::V311] {
        for (max, asked, is_accepted) in [
            (0, 0, true),
            (0, u16::MAX, true),
            (60, 0, false),
            (60, 1, true),
            (60, 59, true),
            (60, 60, true),
            (60, 61, false),
            (60, u16::MAX, false),
            (1, 1, true),
            (1, 2, false),
            (u16::MAX, u16::MAX, true),
            (u16::MAX, 0, false),
        ] {
            let config = ServerConfig { max_keep_alive: NonZeroU16::new(max), ..config() };
            let connect: Packet<'_> = Connect { keep_alive: asked, ..lasting(version) }.into();
            let mut door = Door::new(config, version);
            let events = door.receive_bytes(&encoded(&connect, version)).0;
            let what = format!("{version}, at most {max}, asked {asked}");
            if is_accepted {
                assert_eq!(events, [Event::Connect("c".into())], "{what}");
                assert_eq!(
                    door.acceptor.accept(door.now, None, Default::default()).unwrap().keep_alive(),
                    NonZeroU16::new(asked),
                    "{what}"
                );
            } else {
                assert_eq!(events, refused, "{what}");
                assert_eq!(door.take(), b"\x20\x02\x00\x02", "{what}");
                assert_eq!(door.poll(), [], "{what}");
            }
        }
    }
}
