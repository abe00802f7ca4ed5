//! The codec against tables of the specification, value by value: the packets, wire types and legal values of each
//! property (section 2.2.2.2), and the reason codes of each packet (section 2.4 and the sections it refers to).

#![cfg(feature = "alloc")]

use mqtt_sansio::Version;
use mqtt_sansio::codec::{
    self, AuthReasonCode, ConnAckReasonCode, DecodeError, Decoded, DisconnectReasonCode, EncodeError, Field, Limits,
    Packet, PropertyId, PubAckReasonCode, PubRelReasonCode, ReasonCode, Sender, SubAckReasonCode, UnsubAckReasonCode,
    Violation, WireType,
};

/// The part of a packet that has properties: the packet itself, or the will of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

use Place::{
    Auth, ConnAck, Connect, Disconnect, PubAck, PubComp, PubRec, PubRel, Publish, SubAck, Subscribe, UnsubAck,
    Unsubscribe, Will,
};

const PLACES: [Place; 14] = [
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
];

/// The legal values of a property.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Any,
    /// 0 and 1.
    Flag,
    NotZero,
    /// A text without wildcards, and not empty.
    Name,
}

use Values::{Any, Flag, Name, NotZero};

struct Row {
    id: u8,
    name: &'static str,
    wire_type: WireType,
    values: Values,
    places: &'static [Place],
    /// The packets in which the property may be repeated.
    repeatable: &'static [Place],
    /// The packets in which only one endpoint may send the property.
    one_way: &'static [(Place, Sender)],
}

const fn row(
    id: u8,
    name: &'static str,
    wire_type: WireType,
    values: Values,
    places: &'static [Place],
    repeatable: &'static [Place],
    one_way: &'static [(Place, Sender)],
) -> Row {
    Row { id, name, wire_type, values, places, repeatable, one_way }
}

const REASON_STRING: &[Place] = &[ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth];

#[rustfmt::skip]
const PROPERTIES: [Row; 27] = {
    use WireType::{
        BinaryData, Byte, FourByteInteger, TwoByteInteger, Utf8String, Utf8StringPair, VariableByteInteger,
    };
    const ONE_WAY: &[(Place, Sender)] = &[];
    [
        row(0x01, "payload_format_indicator", Byte, Flag, &[Publish, Will], &[], ONE_WAY),
        row(0x02, "message_expiry_interval", FourByteInteger, Any, &[Publish, Will], &[], ONE_WAY),
        row(0x03, "content_type", Utf8String, Any, &[Publish, Will], &[], ONE_WAY),
        row(0x08, "response_topic", Utf8String, Name, &[Publish, Will], &[], ONE_WAY),
        row(0x09, "correlation_data", BinaryData, Any, &[Publish, Will], &[], ONE_WAY),
        row(0x0B, "subscription_identifier", VariableByteInteger, NotZero, &[Publish, Subscribe], &[Publish],
            &[(Publish, Sender::Server)]),
        row(0x11, "session_expiry_interval", FourByteInteger, Any, &[Connect, ConnAck, Disconnect], &[],
            &[(Disconnect, Sender::Client)]),
        row(0x12, "assigned_client_identifier", Utf8String, Any, &[ConnAck], &[], ONE_WAY),
        row(0x13, "server_keep_alive", TwoByteInteger, Any, &[ConnAck], &[], ONE_WAY),
        row(0x15, "authentication_method", Utf8String, Any, &[Connect, ConnAck, Auth], &[], ONE_WAY),
        row(0x16, "authentication_data", BinaryData, Any, &[Connect, ConnAck, Auth], &[], ONE_WAY),
        row(0x17, "request_problem_information", Byte, Flag, &[Connect], &[], ONE_WAY),
        row(0x18, "will_delay_interval", FourByteInteger, Any, &[Will], &[], ONE_WAY),
        row(0x19, "request_response_information", Byte, Flag, &[Connect], &[], ONE_WAY),
        row(0x1A, "response_information", Utf8String, Any, &[ConnAck], &[], ONE_WAY),
        row(0x1C, "server_reference", Utf8String, Any, &[ConnAck, Disconnect], &[], &[(Disconnect, Sender::Server)]),
        row(0x1F, "reason_string", Utf8String, Any, REASON_STRING, &[], ONE_WAY),
        row(0x21, "receive_maximum", TwoByteInteger, NotZero, &[Connect, ConnAck], &[], ONE_WAY),
        row(0x22, "topic_alias_maximum", TwoByteInteger, Any, &[Connect, ConnAck], &[], ONE_WAY),
        row(0x23, "topic_alias", TwoByteInteger, NotZero, &[Publish], &[], ONE_WAY),
        row(0x24, "maximum_qos", Byte, Flag, &[ConnAck], &[], ONE_WAY),
        row(0x25, "retain_available", Byte, Flag, &[ConnAck], &[], ONE_WAY),
        row(0x26, "user_property", Utf8StringPair, Any, &PLACES, &PLACES, ONE_WAY),
        row(0x27, "maximum_packet_size", FourByteInteger, NotZero, &[Connect, ConnAck], &[], ONE_WAY),
        row(0x28, "wildcard_subscription_available", Byte, Flag, &[ConnAck], &[], ONE_WAY),
        row(0x29, "subscription_identifiers_available", Byte, Flag, &[ConnAck], &[], ONE_WAY),
        row(0x2A, "shared_subscription_available", Byte, Flag, &[ConnAck], &[], ONE_WAY),
    ]
};

/// The first byte of a packet, and the bytes before and after its properties.
fn surroundings(place: Place) -> (u8, &'static [u8], &'static [u8]) {
    match place {
        Connect => (0x10, b"\0\x04MQTT\x05\x02\0\x3C", b"\0\0"),
        Will => (0x10, b"\0\x04MQTT\x05\x06\0\x3C\0\0\0", b"\0\x01t\0\0"),
        ConnAck => (0x20, b"\0\0", b""),
        Publish => (0x30, b"\0\x01t", b"payload"),
        PubAck => (0x40, b"\0\x01\0", b""),
        PubRec => (0x50, b"\0\x01\0", b""),
        PubRel => (0x62, b"\0\x01\0", b""),
        PubComp => (0x70, b"\0\x01\0", b""),
        Subscribe => (0x82, b"\0\x01", b"\0\x01a\0"),
        SubAck => (0x90, b"\0\x01", b"\0"),
        Unsubscribe => (0xA2, b"\0\x01", b"\0\x01a"),
        UnsubAck => (0xB0, b"\0\x01", b"\0"),
        Disconnect => (0xE0, b"\0", b""),
        Auth => (0xF0, b"\0", b""),
    }
}

/// A packet with these properties, and the offset of the first of them.
fn packet(place: Place, properties: &[u8]) -> (Vec<u8>, usize) {
    let (first_byte, before, behind) = surroundings(place);
    let length = before.len() + 1 + properties.len() + behind.len();
    assert!(length < 128 && properties.len() < 128);
    let frame = [&[first_byte, length as u8], before, &[properties.len() as u8], properties, behind].concat();
    (frame, 3 + before.len())
}

/// The property that another one requires: an Authentication Method.
fn required_with(place: Place, id: u8) -> &'static [u8] {
    match (place, id) {
        (Auth, 0x15) => b"",
        (Auth, _) | (Connect | ConnAck, 0x16) => b"\x15\0\x01m",
        _ => b"",
    }
}

/// The identifier of a property and a legal value.
fn property(row: &Row) -> Vec<u8> {
    with_value(row.id, good_value(row.wire_type))
}

fn with_value(id: u8, value: &[u8]) -> Vec<u8> {
    [&[id], value].concat()
}

fn good_value(wire_type: WireType) -> &'static [u8] {
    match wire_type {
        WireType::Byte => b"\x01",
        WireType::TwoByteInteger => b"\x01\x02",
        WireType::FourByteInteger => b"\x01\x02\x03\x04",
        WireType::VariableByteInteger => b"\xFF\x7F",
        WireType::Utf8String => b"\0\x02\xC3\xA9",
        WireType::Utf8StringPair => b"\0\x01n\0\x02\xC3\xA9",
        // Not UTF-8.
        WireType::BinaryData => b"\0\x03\xFF\0\xC3",
    }
}

fn decode(frame: &[u8], version: Version, sender: Option<Sender>) -> Result<Packet<'_>, DecodeError> {
    match codec::decode(frame, version, Limits { sender, ..Limits::default() })? {
        Decoded::Packet { packet, size } => {
            assert_eq!(size, frame.len());
            Ok(packet)
        }
        Decoded::Incomplete { .. } => panic!("the frame is complete"),
    }
}

fn found(error: DecodeError) -> (Field, Violation, usize) {
    (error.field(), error.violation(), error.offset())
}

fn field(row: &Row) -> Field {
    Field::Property(PropertyId::from_value(row.id).expect("a property"))
}

/// The member as `Debug` prints it if it is present.
fn member(place: Place, row: &Row) -> String {
    match (row.id, place) {
        (0x26, _) => "user_properties: [UserProperty".to_owned(),
        (0x0B, Publish) => "subscription_identifiers: [SubscriptionIdentifier".to_owned(),
        _ => format!("{}: Some(", row.name),
    }
}

#[test]
fn properties_have_numbers_names_and_wire_types() {
    let ids = PropertyId::ALL.iter().map(|id| id.value());
    assert!(ids.eq(PROPERTIES.iter().map(|row| row.id)), "all 27, in ascending order");
    for value in 0..=u8::MAX {
        let row = PROPERTIES.iter().find(|row| row.id == value);
        let id = PropertyId::from_value(value);
        assert_eq!(id.map(PropertyId::wire_type), row.map(|row| row.wire_type));
        assert_eq!(id.map(|id| Field::Property(id).name()), row.map(|row| row.name));
        assert_eq!(id.map(|id| id.to_string()), row.map(|row| row.name.replace('_', " ")));
    }
}

/// [5.0: U-2.2.2.2-a]
#[test]
fn properties_are_accepted_in_their_packets() {
    for row in &PROPERTIES {
        for place in PLACES {
            let required = required_with(place, row.id);
            let (frame, start) = packet(place, &[required, &property(row)].concat());
            match decode(&frame, Version::V5, None) {
                Ok(decoded) => {
                    assert!(row.places.contains(&place), "{} in {place:?}", row.name);
                    assert!(format!("{decoded:?}").contains(&member(place, row)), "{} in {place:?}", row.name);
                    encodes_in_v5_only(&decoded, &frame);
                }
                Err(error) => {
                    assert!(!row.places.contains(&place), "{} in {place:?}: {error}", row.name);
                    let expected = (field(row), Violation::MisplacedProperty, start + required.len());
                    assert_eq!(found(error), expected, "{place:?}");
                }
            }
        }
    }
}

/// The properties are in ascending order, so the bytes are canonical; no version before 5.0 has properties.
fn encodes_in_v5_only(packet: &Packet<'_>, frame: &[u8]) {
    let mut bytes = Vec::new();
    assert_eq!(packet.encode(Version::V5, &mut bytes), Ok(frame.len()));
    assert_eq!(bytes, frame);
    for version in [Version::V31, Version::V311] {
        let refused = packet.encode(version, &mut bytes);
        assert!(matches!(refused, Err(EncodeError::NotInVersion { .. })), "{packet:?} in {version}");
    }
}

/// [5.0: U-2.2.2.2-a]
#[test]
fn unknown_identifiers_are_refused() {
    for place in PLACES {
        for id in (0..=u8::MAX).filter(|id| PROPERTIES.iter().all(|row| row.id != *id)) {
            let (frame, start) = packet(place, &[id, 1, 0, 0, 0]);
            let error = decode(&frame, Version::V5, None).expect_err("there is no such property");
            assert_eq!(found(error), (Field::PropertyIdentifier, Violation::UnknownProperty, start), "{id:#x}");
        }
    }
}

/// [5.0: U-2.2.2.2-b]
#[test]
fn properties_are_repeated_only_where_allowed() {
    for row in &PROPERTIES {
        for &place in row.places {
            let required = required_with(place, row.id);
            let one = property(row);
            let (frame, start) = packet(place, &[required, &one, &one].concat());
            match decode(&frame, Version::V5, None) {
                Ok(decoded) => {
                    assert!(row.repeatable.contains(&place), "{} in {place:?}", row.name);
                    encodes_in_v5_only(&decoded, &frame);
                }
                Err(error) => {
                    assert!(!row.repeatable.contains(&place), "{} in {place:?}", row.name);
                    let second = start + required.len() + one.len();
                    assert_eq!(found(error), (field(row), Violation::RepeatedProperty, second));
                }
            }
        }
    }
}

/// [5.0: MQTT-3.3.4-6, MQTT-3.14.2-2]
#[test]
fn some_properties_go_one_way_only() {
    for row in &PROPERTIES {
        for &place in row.places {
            let required = required_with(place, row.id);
            let (frame, start) = packet(place, &[required, &property(row)].concat());
            for sender in [Sender::Client, Sender::Server] {
                let error = decode(&frame, Version::V5, Some(sender)).err();
                let error = error.filter(|error| error.violation() != Violation::WrongSender);
                let other_way = row.one_way.iter().any(|way| way.0 == place && way.1 != sender);
                let expected = (field(row), Violation::PropertyFromWrongSender, start + required.len());
                assert_eq!(error.map(found), other_way.then_some(expected), "{} in {place:?}", row.name);
            }
        }
    }
}

/// Checks that the value is accepted, or refused at its offset or (in a string) at that of the first wrong character.
fn check_value(place: Place, row: &Row, value: &[u8], error: Option<usize>) {
    let required = required_with(place, row.id);
    let (frame, start) = packet(place, &[required, &with_value(row.id, value)].concat());
    let wrong_at = decode(&frame, Version::V5, None).err().map(|error| {
        assert_eq!(error.field(), field(row));
        error.offset()
    });
    let value_at = start + required.len() + 1;
    assert_eq!(wrong_at, error.map(|at| value_at + at), "{} {value:02x?} in {place:?}", row.name);
}

/// [5.0: MQTT-3.3.2-8, MQTT-3.3.2-13, MQTT-3.3.2-14, MQTT-3.3.2-19, U-3.1.2.11.3, U-3.1.2.11.4, U-3.1.2.11.6,
/// U-3.1.2.11.7, U-3.2.2.3.4, U-3.2.2.3.5, U-3.3.2.3.8-a, U-3.8.2.1.2]
#[test]
fn properties_have_legal_values() {
    for row in &PROPERTIES {
        for &place in row.places {
            match row.values {
                Any => {}
                Flag => (0..=u8::MAX).for_each(|value| check_value(place, row, &[value], (value > 1).then_some(0))),
                NotZero => {
                    let good = good_value(row.wire_type);
                    let zero = if row.wire_type == WireType::VariableByteInteger { 1 } else { good.len() };
                    check_value(place, row, &vec![0; zero], Some(0));
                    check_value(place, row, good, None);
                }
                Name => {
                    check_value(place, row, b"\0\0", Some(0));
                    check_value(place, row, b"\0\x03a/+", Some(4));
                    check_value(place, row, b"\0\x02a#", Some(3));
                    check_value(place, row, b"\0\x03a/b", None);
                }
            }
            match row.wire_type {
                // Zero and the highest value.
                WireType::TwoByteInteger if row.values == Any => check_value(place, row, &[0; 2], None),
                WireType::FourByteInteger if row.values == Any => check_value(place, row, &[0; 4], None),
                WireType::VariableByteInteger => {
                    check_value(place, row, b"\xFF\xFF\xFF\x7F", None);
                    check_value(place, row, b"\xFF\xFF\xFF\xFF\x01", Some(3));
                    check_value(place, row, b"\x81\x00", Some(1));
                }
                WireType::Utf8String | WireType::Utf8StringPair => {
                    check_value(place, row, b"\0\x02a\0\0\0", Some(3));
                    check_value(place, row, b"\0\x02a\xC3\0\0", Some(3));
                }
                _ => {}
            }
        }
    }
}

/// A value that exceeds its block is refused at its offset, also if the packet continues after the block.
#[test]
fn no_property_runs_past_its_block() {
    for row in &PROPERTIES {
        for &place in row.places {
            let required = required_with(place, row.id);
            let good = property(row);
            for cut in 1..good.len() {
                let (frame, start) = packet(place, &[required, &good[..cut]].concat());
                let error = decode(&frame, Version::V5, None).expect_err("the value is cut");
                assert_eq!(error.field(), field(row));
                assert!(matches!(error.violation(), Violation::Missing | Violation::Truncated));
                let value_at = start + required.len() + 1;
                assert!((value_at..value_at + cut).contains(&error.offset()), "{error}");
            }
        }
    }
}

const CONN_ACK: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
    0x9C, 0x9D, 0x9F,
];
const PUB_ACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUB_REL: &[u8] = &[0x00, 0x92];
const SUB_ACK: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUB_ACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECT: &[u8] = &[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
const AUTH: &[u8] = &[0x00, 0x18, 0x19];

/// A packet, and the conversion of a byte to the type of its reason codes.
type Codes = (&'static [u8], fn(u8) -> Option<ReasonCode>);

/// Checks all 256 values as the reason code of a packet.
fn check_reason_codes(before: &[u8], behind: &[u8], version: Version, legal: &[u8]) {
    for code in 0..=u8::MAX {
        let frame = [before, &[code], behind].concat();
        match decode(&frame, version, None) {
            Ok(packet) => {
                assert!(legal.contains(&code), "{packet:?}");
                let mut bytes = Vec::new();
                packet.encode(version, &mut bytes).expect("what was decoded can be encoded");
                let again = decode(&bytes, version, None).expect("and decoded again");
                assert_eq!(again, packet);
            }
            Err(error) => {
                assert!(!legal.contains(&code), "{code:#04x}: {error}");
                assert_eq!(found(error), (Field::ReasonCode, Violation::IllegalReasonCode, before.len()));
            }
        }
    }
}

/// [5.0: MQTT-3.2.2-8, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2,
/// MQTT-3.14.2-1, MQTT-3.15.2-1]
#[test]
fn packets_carry_their_reason_codes() {
    let check = |before: &[u8], behind: &[u8], legal| check_reason_codes(before, behind, Version::V5, legal);
    check(b"\x20\x03\0", b"\0", CONN_ACK);
    for (first_byte, legal) in [(0x40, PUB_ACK), (0x50, PUB_ACK), (0x62, PUB_REL), (0x70, PUB_REL)] {
        check(&[first_byte, 3, 0, 1], b"", legal);
        check(&[first_byte, 4, 0, 1], b"\0", legal);
        check(&[first_byte, 8, 0, 1], b"\x04\x1F\0\x01r", legal);
    }
    check(b"\x90\x04\0\x01\0", b"", SUB_ACK);
    check(b"\x90\x05\0\x01\0\x01", b"", SUB_ACK);
    check(b"\x90\x05\0\x01\0", b"\x02", SUB_ACK);
    check(b"\xB0\x04\0\x01\0", b"", UNSUB_ACK);
    check(b"\xB0\x05\0\x01\0\x11", b"", UNSUB_ACK);
    check(b"\xE0\x01", b"", DISCONNECT);
    check(b"\xE0\x02", b"\0", DISCONNECT);
    check(b"\xF0\x06", b"\x04\x15\0\x01m", AUTH);
}

/// [3.1.1: MQTT-3.9.3-2]
#[test]
fn packets_before_5_0_carry_their_return_codes() {
    // 3.1 does not use the upper six bits of a granted QoS.
    let of_v31: Vec<u8> = (0..=u8::MAX).filter(|code| code & 3 != 3).collect();
    for (version, subacks) in [(Version::V31, &of_v31[..]), (Version::V311, &[0x00, 0x01, 0x02, 0x80])] {
        check_reason_codes(b"\x20\x02\0", b"", version, &[0, 1, 2, 3, 4, 5]);
        check_reason_codes(b"\x90\x03\0\x01", b"", version, subacks);
        check_reason_codes(b"\x90\x04\0\x01", b"\x80", version, subacks);
    }
}

#[test]
fn reason_code_types_hold_the_same_codes() {
    let types: [Codes; 7] = [
        (CONN_ACK, |it| ConnAckReasonCode::from_value(it).map(ReasonCode::from)),
        (PUB_ACK, |it| PubAckReasonCode::from_value(it).map(ReasonCode::from)),
        (PUB_REL, |it| PubRelReasonCode::from_value(it).map(ReasonCode::from)),
        (SUB_ACK, |it| SubAckReasonCode::from_value(it).map(ReasonCode::from)),
        (UNSUB_ACK, |it| UnsubAckReasonCode::from_value(it).map(ReasonCode::from)),
        (DISCONNECT, |it| DisconnectReasonCode::from_value(it).map(ReasonCode::from)),
        (AUTH, |it| AuthReasonCode::from_value(it).map(ReasonCode::from)),
    ];
    for value in 0..=u8::MAX {
        for (legal, from_value) in types {
            assert_eq!(from_value(value).map(ReasonCode::value), legal.contains(&value).then_some(value));
        }
        let in_any = types.iter().any(|(legal, ..)| legal.contains(&value));
        assert_eq!(ReasonCode::from_value(value).map(ReasonCode::value), in_any.then_some(value));
        assert_eq!(ReasonCode::from_value(value).is_some_and(ReasonCode::is_error), in_any && value >= 0x80);
    }
}

/// The return codes of 3.1.1, section 3.2.2.3, and the reason codes of the same meaning in 5.0, section 3.2.2.2.
#[test]
fn return_codes_have_reason_codes() {
    const MEANINGS: [(u8, u8); 6] = [(0, 0x00), (1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87)];
    for value in 0..=u8::MAX {
        let meaning =
            MEANINGS.iter().find(|(return_code, _)| *return_code == value).map(|(_, reason_code)| *reason_code);
        assert_eq!(ConnAckReasonCode::from_return_code(value).map(ConnAckReasonCode::value), meaning);
        let code = MEANINGS.iter().find(|(_, reason_code)| *reason_code == value).map(|(return_code, _)| *return_code);
        assert_eq!(ConnAckReasonCode::from_value(value).and_then(ConnAckReasonCode::return_code), code);
    }
}
