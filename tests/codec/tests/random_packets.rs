//! Properties of the codec that hold for every packet, tested with random packets.
//!
//! The generators in `mqtt_sansio::generators` make packets of bytes. The bytes come from proptest, so that shrinking them
//! shrinks the packets, or from a fixed sequence in tests that must cover each type and version.

#![cfg(feature = "arbitrary")]

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use mqtt_sansio::codec::DisallowedCodePoints;
use mqtt_sansio::codec::{
    self, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect, ConnectProperties, DecodeError, Decoded,
    EncodeError, Field, Limits, List, MAX_PACKET_SIZE, MAX_REMAINING_LENGTH, Packet, PacketType, PropertyId, Publish,
    PublishProperties, Sender, UserProperty, Violation, Will, WillProperties,
};
use mqtt_sansio::generators::Lists;
use mqtt_sansio::{TextErrorKind, TopicFilter, TopicName, Utf8Str, Version};
use proptest::prelude::*;

/// A packet type, a version, and an endpoint that may send such packets in this version.
type Case = (PacketType, Version, Sender);

/// Number of packets of each type and version in the tests that go through all of them.
const SEEDS: u32 = 150;

/// All packet types with their senders (5.0, section 2.1.2; 3.1.1, section 2.2.1): 15 in 5.0, all but AUTH before.
fn cases() -> Vec<Case> {
    use PacketType as P;
    const BOTH: &[Sender] = &[Sender::Client, Sender::Server];
    let mut cases = Vec::new();
    for version in Version::ALL {
        let is_v5 = version == Version::V5;
        for (packet_type, senders) in [
            (P::Connect, &BOTH[..1]),
            (P::ConnAck, &BOTH[1..]),
            (P::Publish, BOTH),
            (P::PubAck, BOTH),
            (P::PubRec, BOTH),
            (P::PubRel, BOTH),
            (P::PubComp, BOTH),
            (P::Subscribe, &BOTH[..1]),
            (P::SubAck, &BOTH[1..]),
            (P::Unsubscribe, &BOTH[..1]),
            (P::UnsubAck, &BOTH[1..]),
            (P::PingReq, &BOTH[..1]),
            (P::PingResp, &BOTH[1..]),
            (P::Disconnect, if is_v5 { BOTH } else { &BOTH[..1] }),
            (P::Auth, if is_v5 { BOTH } else { &[] }),
        ] {
            cases.extend(senders.iter().map(|&sender| (packet_type, version, sender)));
        }
    }
    cases
}

/// Pseudo-random bytes, the same in each run.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Calls `check` with `seeds` packets of each type, version and sender.
fn for_each_packet(seeds: u32, mut check: impl FnMut(Case, &Packet<'_>)) {
    for (number, case) in cases().into_iter().enumerate() {
        let (packet_type, version, sender) = case;
        for seed in 0..seeds {
            let data = noise(seed * 64 + number as u32, 60 + 16 * seed as usize);
            let mut lists = Lists::default();
            let packet =
                lists.packet_of(packet_type, &mut Unstructured::new(&data), version, sender).expect("a packet");
            check(case, &packet);
        }
    }
}

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = packet.encode(version, &mut bytes).unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    assert_eq!(size, bytes.len());
    bytes
}

fn decode(bytes: &[u8], version: Version) -> Result<Decoded<'_>, DecodeError> {
    codec::decode(bytes, version, Limits::default())
}

fn whole<'a>(packet: Packet<'a>, bytes: &[u8]) -> Result<Decoded<'a>, DecodeError> {
    Ok(Decoded::Packet { packet, size: bytes.len() })
}

/// The bytes after the fixed header.
fn body(frame: &[u8]) -> &[u8] {
    let length_len = frame[1..].iter().position(|&byte| byte < 128).expect("a whole length") + 1;
    &frame[1 + length_len..]
}

/// The generator leaves no part of a packet out: a property test is worth what its packets have in them.
#[test]
fn random_packets_have_everything_in_them() {
    let mut seen = BTreeSet::new();
    let mut see = |what: &'static str, is_there: bool| {
        if is_there {
            seen.insert(what);
        }
    };
    for_each_packet(SEEDS, |_, packet| match packet {
        Packet::Connect(connect) => {
            see(
                "a large Receive Maximum",
                connect.properties.receive_maximum.is_some_and(|maximum| maximum.get() > 256),
            );
            let Some(will) = &connect.will else { return see("no will", true) };
            see("a will with a Content Type", will.properties.content_type.is_some());
            see("a will with a delay", will.properties.will_delay_interval.is_some());
            see("a will with User Properties", !will.properties.user_properties.is_empty());
            let data = will.properties.correlation_data;
            see("a will without Correlation Data", data.is_none());
            see("a will with Correlation Data", data.is_some_and(|data| !data.is_empty()));
        }
        Packet::Subscribe(subscribe) => {
            see("one subscription", subscribe.subscriptions.len() == 1);
            see("several subscriptions", subscribe.subscriptions.len() > 1);
            see("a long filter", subscribe.subscriptions.iter().any(|it| it.filter.as_str().len() > 2));
        }
        Packet::Publish(publish) => {
            see("no User Property", publish.properties.user_properties.is_empty());
            see("several User Properties", publish.properties.user_properties.len() > 1);
            see("a payload", !publish.payload.is_empty());
        }
        _ => {}
    });
    assert_eq!(seen.len(), 13, "only {seen:?}");
}

/// A packet of a fixed header and a body.
fn frame(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    let mut length = body.len();
    while length > 127 {
        frame.push(length as u8 | 128);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(body);
    frame
}

/// Checks that a packet is encoded and decoded to the same packet.
fn check_identity(packet: &Packet<'_>, version: Version, sender: Sender) {
    let bytes = encode(packet, version);
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    assert_eq!(decode(&bytes, version), whole(*packet, &bytes));
    // The generators follow the rules about senders too.
    let limits = Limits { sender: Some(sender), ..Limits::default() };
    assert_eq!(codec::decode(&bytes, version, limits), whole(*packet, &bytes));
    let Ok(Decoded::Packet { packet: decoded, .. }) = decode(&bytes, version) else { unreachable!() };
    assert_eq!(encode(&decoded, version), bytes);
    let mut slice = vec![0; bytes.len()];
    assert_eq!(decoded.encode_to_slice(version, &mut slice), Ok(bytes.len()));
    assert_eq!(slice, bytes);
}

/// Checks that a packet is either refused by the encoder in another version, or the same packet there.
fn check_other_versions(packet: &Packet<'_>, version: Version) -> [bool; 2] {
    let others: Vec<_> = Version::ALL.into_iter().filter(|&other| other != version).collect();
    [others[0], others[1]].map(|other| {
        let mut bytes = vec![7];
        match packet.encode(other, &mut bytes) {
            Ok(size) => {
                assert_eq!(size, bytes.len() - 1);
                assert_eq!(decode(&bytes[1..], other), whole(*packet, &bytes[1..]), "in {other}");
                true
            }
            Err(error) => {
                assert!(matches!(error, EncodeError::NotInVersion { .. } | EncodeError::Invalid { .. }), "{error}");
                assert_eq!(bytes, [7], "nothing has been written");
                false
            }
        }
    })
}

/// Checks that decoding does not panic, and that an accepted packet can be encoded again.
fn check_any_bytes(bytes: &[u8], version: Version) {
    match decode(bytes, version) {
        Ok(Decoded::Packet { packet, size }) => {
            assert!(size <= bytes.len());
            let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
            let again = encode(&packet, version);
            assert!(again.len() <= size, "nothing can be shorter than the canonical form");
            assert_eq!(decode(&again, version), whole(packet, &again));
        }
        Ok(Decoded::Incomplete { needs }) => assert!(needs > 0),
        Err(error) => {
            assert!(error.offset() <= bytes.len());
            assert!(!error.clause().is_empty() && !error.to_string().is_empty());
        }
    }
}

#[test]
fn every_type_and_version_is_the_same_after_a_round_trip() {
    let mut seen = BTreeSet::new();
    for_each_packet(SEEDS, |(packet_type, version, sender), packet| {
        assert_eq!(packet.packet_type(), packet_type);
        seen.insert((packet_type, version));
        check_identity(packet, version, sender);
    });
    assert_eq!(seen.len(), 15 + 14 + 14);
}

/// The bits of a packet that 3.1 does not use, with their offsets.
fn unused_in_v31(packet: &Packet<'_>, bytes: &[u8]) -> Vec<(usize, u8)> {
    let start = bytes.len() - body(bytes).len();
    let first = match packet.packet_type() {
        PacketType::Publish => 0,
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b1001, // DUP is used, but has no meaning here
        _ => 0b1111,
    };
    let mut unused = vec![(0, first)];
    match packet {
        Packet::Connect(connect) => {
            unused.push((start + 9, if connect.will.is_some() { 1 } else { 0b0011_1001 }));
        }
        Packet::ConnAck(_) => unused.push((start, 0xFF)),
        Packet::Subscribe(subscribe) => {
            let mut at = start + 2;
            for subscription in subscribe.subscriptions {
                at += 2 + subscription.filter.as_bytes().len();
                unused.push((at, 0b1111_1100));
                at += 1;
            }
        }
        Packet::SubAck(suback) => {
            let codes = suback.reason_codes.iter().enumerate();
            let granted = codes.filter(|(_, code)| code.value() < 3).map(|(place, _)| place);
            // Not all of these bits: 0x80 alone is a failure.
            unused.extend(granted.map(|place| (start + 2 + place, 0b0111_1100)));
        }
        _ => {}
    }
    unused
}

/// Bits that 3.1 does not use are ignored on decode and encoded as 0. 3.1.1 refuses the same bits, except DUP in a
/// PUBLISH.
#[test]
fn pitfall_30_unused_bits_are_ignored_in_3_1() {
    for_each_packet(SEEDS, |(_, version, _), packet| {
        if version != Version::V31 {
            return;
        }
        let bytes = encode(packet, version);
        for (at, mask) in unused_in_v31(packet, &bytes) {
            for bits in [mask, mask & 0b0101_0101, mask & 0b1010_1010].into_iter().filter(|&bits| bits != 0) {
                let mut changed = bytes.clone();
                changed[at] |= bits;
                let Ok(Decoded::Packet { packet: got, size }) = decode(&changed, version) else {
                    panic!("{bits:08b} in byte {at}: {:?}", decode(&changed, version))
                };
                assert_eq!((&got, size), (packet, bytes.len()));
                assert_eq!(encode(&got, version), bytes);
                if !matches!(packet, Packet::Connect(_)) {
                    assert!(decode(&changed, Version::V311).is_err(), "{bits:08b} in byte {at}");
                }
            }
        }
    });
}

/// The generators must produce every case the other tests are about.
#[test]
fn generator_reaches_everything() {
    let mut printed = String::new();
    let mut length_sizes = BTreeSet::new();
    let mut empty_topics = 0;
    let mut passwords_alone = 0;
    for_each_packet(SEEDS, |(_, version, _), packet| {
        let bytes = encode(packet, version);
        length_sizes.insert(bytes.len() - 1 - body(&bytes).len());
        match packet {
            Packet::Publish(publish) if publish.topic.is_empty() => empty_topics += 1,
            Packet::Connect(Connect { user_name: None, password: Some(_), .. }) => passwords_alone += 1,
            _ => {}
        }
        if bytes.len() < 2000 {
            printed.push_str(&format!("{packet:?}\n"));
        }
    });
    assert_eq!(length_sizes, BTreeSet::from([1, 2, 3]));
    assert!(empty_topics > 0 && passwords_alone > 0);
    for id in PropertyId::ALL {
        let name = Field::Property(*id).name();
        let printed_as = match id {
            PropertyId::UserProperty => "user_properties: [UserProperty".to_owned(),
            _ => format!("{name}: Some("),
        };
        assert!(printed.contains(&printed_as), "{name}");
    }
    let features = [
        "subscription_identifiers: [Sub",
        "will: Some(",
        "$share/",
        "no_local: true",
        "session_present: true",
        "dup: true",
    ];
    for feature in features {
        assert!(printed.contains(feature), "{feature}");
    }
    assert!(printed.chars().map(char::len_utf8).collect::<BTreeSet<_>>().len() == 4, "characters of all sizes");
}

#[test]
fn generator_refuses_packets_that_are_never_sent() {
    let existing = cases();
    for packet_type in PacketType::ALL {
        for version in Version::ALL {
            for sender in [Sender::Client, Sender::Server] {
                let made =
                    Lists::default().packet_of(packet_type, &mut Unstructured::new(&[]), version, sender).is_ok();
                assert_eq!(made, existing.contains(&(packet_type, version, sender)));
            }
        }
    }
}

#[test]
fn nothing_is_lost_between_versions() {
    let mut kept = 0;
    let mut refused = 0;
    for_each_packet(SEEDS, |(packet_type, version, _), packet| {
        for fits in check_other_versions(packet, version) {
            *if fits { &mut kept } else { &mut refused } += 1;
            assert!(!(fits && matches!(packet_type, PacketType::Connect | PacketType::Auth)));
        }
    });
    assert!(kept > 1000 && refused > 1000, "{kept} and {refused}");
}

/// Changes every byte of a small packet to every other value, and some bytes of a large one to some values.
#[test]
fn every_mutation_is_a_packet_or_an_error() {
    let mut small = BTreeSet::new();
    for_each_packet(8, |(packet_type, version, _), packet| {
        let mut bytes = encode(packet, version);
        if bytes.len() <= 40 {
            small.insert((packet_type, version));
            mutate_everywhere(&mut bytes, version);
        } else {
            mutate_somewhere(&mut bytes, version);
        }
    });
    assert!(small.len() >= 40, "{small:?}");
}

fn mutate_everywhere(bytes: &mut [u8], version: Version) {
    for at in 0..bytes.len() {
        let good = bytes[at];
        for value in (0..=u8::MAX).filter(|value| *value != good) {
            bytes[at] = value;
            check_any_bytes(bytes, version);
        }
        bytes[at] = good;
    }
}

fn mutate_somewhere(bytes: &mut [u8], version: Version) {
    let samples = if bytes.len() > 4000 { 20 } else { 300 };
    for choice in noise(bytes.len() as u32, 5 * samples).chunks_exact(5) {
        let at = u32::from_le_bytes([choice[0], choice[1], choice[2], choice[3]]) as usize % bytes.len();
        let good = bytes[at];
        bytes[at] = choice[4];
        check_any_bytes(bytes, version);
        bytes[at] = good;
    }
}

#[test]
fn every_prefix_is_incomplete() {
    for_each_packet(20, |(_, version, _), packet| {
        let bytes = encode(packet, version);
        let header = bytes.len() - body(&bytes).len();
        for cut in (0..bytes.len()).filter(|cut| *cut < 300 || bytes.len() - cut < 50) {
            let needs = match cut {
                0 => 2,
                _ if cut < header => 1,
                _ => bytes.len() - cut,
            };
            assert_eq!(decode(&bytes[..cut], version), Ok(Decoded::Incomplete { needs }));
        }
    });
}

/// A packet that is cut, with a Remaining Length that fits, is never incomplete: it is a shorter packet if the
/// specification allows that, and an error otherwise.
#[test]
fn every_truncated_body_is_an_error() {
    for_each_packet(40, |(_, version, _), packet| {
        let bytes = encode(packet, version);
        let body = body(&bytes);
        let legal = legal_cuts(packet, version, body.len());
        for cut in (0..body.len()).filter(|cut| *cut < 300 || body.len() - cut < 50) {
            let shorter = frame(bytes[0], &body[..cut]);
            match decode(&shorter, version) {
                Ok(Decoded::Packet { packet: other, size }) => {
                    assert!(legal.contains(&cut), "{cut} bytes of {packet:?}");
                    assert!(size == shorter.len() && other != *packet);
                }
                Ok(Decoded::Incomplete { .. }) => panic!("{cut} bytes of {packet:?} are called incomplete"),
                Err(error) => {
                    assert!(!legal.contains(&cut), "{cut} bytes of {packet:?}: {error}");
                    assert!(error.offset() <= shorter.len());
                }
            }
        }
    });
}

/// The lengths at which a body can be cut to give a valid shorter packet.
fn legal_cuts(packet: &Packet<'_>, version: Version, len: usize) -> BTreeSet<usize> {
    let is_v5 = version == Version::V5;
    // A list may be cut after any of its entries.
    let without_last = |sizes: Vec<usize>| {
        let others = sizes.into_iter().skip(1).rev();
        others.scan(len, |end, size| {
            *end -= size;
            Some(*end)
        })
    };
    match packet {
        // In 3.1 user name and password may be missing in spite of their flags.
        Packet::Connect(Connect { user_name: Some(user_name), password, .. }) if version == Version::V31 => {
            let password = password.map_or(0, |password| 2 + password.len());
            let user_name = 2 + user_name.len();
            BTreeSet::from([len - password, len - password - user_name])
        }
        Packet::Publish(publish) => (len - publish.payload.len()..len).collect(),
        Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) if is_v5 => {
            BTreeSet::from([2, 3])
        }
        Packet::Subscribe(subscribe) => {
            let sizes = subscribe.subscriptions.iter().map(|it| 3 + it.filter.as_bytes().len());
            without_last(sizes.collect()).collect()
        }
        Packet::Unsubscribe(unsubscribe) => {
            let sizes = unsubscribe.filters.iter().map(|filter| 2 + filter.as_bytes().len());
            without_last(sizes.collect()).collect()
        }
        Packet::SubAck(ack) => without_last(vec![1; ack.reason_codes.len()]).collect(),
        Packet::UnsubAck(ack) => without_last(vec![1; ack.reason_codes.len()]).collect(),
        Packet::Disconnect(_) if is_v5 => BTreeSet::from([0, 1]),
        Packet::Auth(_) => BTreeSet::from([0]),
        _ => BTreeSet::new(),
    }
}

/// Feeds pieces to a buffer, and collects the packets, encoded, and the rest.
fn drive(pieces: &[&[u8]], mut version: Version) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut buffer = Vec::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Decoded::Packet { packet, size } = decode(&buffer, version).expect("a good stream") {
            if let Packet::Connect(connect) = &packet {
                version = connect.version;
            }
            packets.push(encode(&packet, version));
            buffer.drain(..size);
        }
    }
    (packets, buffer)
}

#[test]
fn every_split_gives_the_same_packets() {
    for version in Version::ALL {
        for seed in 0..6 {
            let packets = small_packets(version, seed);
            let stream = packets.concat();
            for cut in 0..=stream.len() {
                let (first, second) = stream.split_at(cut);
                assert_eq!(drive(&[first, second], version), (packets.clone(), Vec::new()), "cut at {cut}");
            }
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(drive(&bytes, version), (packets.clone(), Vec::new()));
            let whole: Result<Vec<_>, _> = codec::packets(&stream, version, Limits::default()).collect();
            assert_eq!(whole.expect("a good stream").len(), packets.len());
        }
    }
}

/// One packet of each type, if it is small.
fn small_packets(version: Version, seed: u32) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (packet_type, _, sender) in cases().into_iter().filter(|case| case.1 == version) {
        let small = (0..50).find_map(|attempt| {
            let data = noise(seed * 1000 + attempt * 20 + packet_type as u32, 80);
            let mut lists = Lists::default();
            let packet =
                lists.packet_of(packet_type, &mut Unstructured::new(&data), version, sender).expect("a packet");
            let bytes = encode(&packet, version);
            (bytes.len() < 60).then_some(bytes)
        });
        packets.push(small.expect("a small packet"));
    }
    packets
}

fn long_bytes() -> Vec<u8> {
    vec![b'a'; 65_536]
}

#[test]
fn texts_above_65_535_bytes_are_refused() {
    let long = long_bytes();
    let too_long = std::str::from_utf8(&long).expect("ASCII");
    let error = Utf8Str::new(too_long).expect_err("too long");
    assert_eq!((error.at, error.kind), (65_535, TextErrorKind::TooLong));
    assert_eq!(TopicName::new(too_long), Err(error.into()));
    assert_eq!(TopicFilter::new(too_long), Err(error.into()));
    assert!(UserProperty::new("name", too_long).is_err() && UserProperty::new(too_long, "value").is_err());
    assert_eq!(Utf8Str::new(&too_long[1..]).map(Utf8Str::len), Ok(65_535));
    // A character that crosses the limit.
    let crossing = format!("{}\u{e9}", &too_long[2..]);
    assert_eq!(Utf8Str::new(&crossing), Err(error));
}

/// All fields for binary data with a two-byte length.
fn with_binary(data: &[u8]) -> [(Packet<'_>, Field); 8] {
    let property = Field::Property;
    let topic = TopicName::new("t").expect("a topic");
    let method = Some(Utf8Str::new("m").expect("a text"));
    let authentication_data = Some(data);
    let will = Will { topic, ..Will::default() };
    let will_properties = WillProperties { correlation_data: Some(data), ..WillProperties::default() };
    let connect = Connect::default();
    let connect_properties =
        ConnectProperties { authentication_method: method, authentication_data, ..ConnectProperties::default() };
    let conn_ack_properties =
        ConnAckProperties { authentication_method: method, authentication_data, ..ConnAckProperties::default() };
    let auth_properties =
        AuthProperties { authentication_method: method, authentication_data, ..AuthProperties::default() };
    let publish_properties = PublishProperties { correlation_data: Some(data), ..PublishProperties::default() };
    [
        (Connect { password: Some(data), ..connect }.into(), Field::Password),
        (Connect { will: Some(Will { payload: data, ..will }), ..connect }.into(), Field::WillPayload),
        (
            Connect { will: Some(Will { properties: will_properties, ..will }), ..connect }.into(),
            property(PropertyId::CorrelationData),
        ),
        (Connect { properties: connect_properties, ..connect }.into(), property(PropertyId::AuthenticationData)),
        (
            ConnAck { properties: conn_ack_properties, ..ConnAck::default() }.into(),
            property(PropertyId::AuthenticationData),
        ),
        (Auth { properties: auth_properties, ..Auth::default() }.into(), property(PropertyId::AuthenticationData)),
        (
            Publish { topic, properties: publish_properties, ..Publish::default() }.into(),
            property(PropertyId::CorrelationData),
        ),
        // The payload of a message has no length prefix, so it may be longer.
        (Publish { topic, payload: data, ..Publish::default() }.into(), Field::Payload),
    ]
}

#[test]
fn binary_data_above_65_535_bytes_is_refused() {
    let long = long_bytes();
    for (packet, field) in with_binary(&long) {
        let mut bytes = vec![7];
        let encoded = packet.encode(Version::V5, &mut bytes);
        if field == Field::Payload {
            assert_eq!(encoded, Ok(bytes.len() - 1));
            continue;
        }
        let expected = EncodeError::FieldTooLong { packet: packet.packet_type(), field };
        assert_eq!(encoded, Err(expected));
        assert_eq!(bytes, [7], "nothing has been written");
        let mut slice = vec![7; 70_000];
        assert_eq!(packet.encode_to_slice(Version::V5, &mut slice), Err(expected));
        assert!(slice.iter().all(|&byte| byte == 7), "nothing has been written");
        assert_eq!(packet.encoded_len(Version::V5), Err(expected));
    }
    for (packet, _) in with_binary(&long[1..]) {
        let sender = if matches!(packet, Packet::ConnAck(_)) { Sender::Server } else { Sender::Client };
        check_identity(&packet, Version::V5, sender);
    }
}

/// 2,047 user properties that share one text come near the limit, and a short payload reaches it.
#[test]
fn packets_above_the_largest_remaining_length_are_refused() {
    let long = long_bytes();
    let text = Utf8Str::new(std::str::from_utf8(&long[1..]).expect("ASCII")).expect("a text");
    let entries = vec![UserProperty { name: text, value: text }; 2_048];
    let publish = |count: usize, payload| Publish {
        topic: TopicName::new("t").expect("a topic"),
        payload,
        properties: PublishProperties { user_properties: List::from(&entries[..count]), ..Default::default() },
        ..Publish::default()
    };
    let payload = vec![0; 124_924];
    let just_right = publish(2_047, &payload[1..]);
    assert_eq!(just_right.encoded_len(Version::V5), Ok(MAX_PACKET_SIZE as usize));
    assert_eq!(MAX_REMAINING_LENGTH, 268_435_455);
    for too_large in [publish(2_047, &payload), publish(2_048, &[])] {
        let error = EncodeError::PacketTooLarge { packet: PacketType::Publish };
        let mut bytes = Vec::new();
        assert_eq!(too_large.encode(Version::V5, &mut bytes), Err(error));
        assert_eq!(too_large.encode_head(Version::V5, &mut bytes), Err(error));
        assert_eq!(bytes.capacity(), 0, "nothing has been reserved");
        assert_eq!(too_large.encode_to_slice(Version::V5, &mut [0; 8]), Err(error));
        assert_eq!(too_large.encoded_len(Version::V5), Err(error));
    }
}

#[test]
fn a_buffer_that_is_too_small_is_not_changed() {
    for_each_packet(10, |(_, version, _), packet| {
        let size = encode(packet, version).len();
        for room in [0, 1, size / 2, size - 1].into_iter().filter(|room| *room < size) {
            let mut out = vec![7; room];
            let refused = packet.encode_to_slice(version, &mut out);
            assert!(matches!(refused, Err(EncodeError::BufferTooSmall { needed }) if needed as usize == size));
            assert_eq!(packet.encode(version, &mut out.as_mut_slice()), refused);
            assert!(out.iter().all(|&byte| byte == 7));
        }
    });
}

#[test]
fn a_large_packet_is_refused_by_its_header() {
    let limits = Limits { max_packet_size: 1 << 20, ..Limits::default() };
    for version in Version::ALL {
        let error = codec::decode(b"\x30\xFF\xFF\xFF\x7F", version, limits).expect_err("256 MB are announced");
        assert_eq!(
            (error.violation(), error.field(), error.offset()),
            (Violation::PacketTooLarge, Field::RemainingLength, 1)
        );
        let needs = 268_435_455;
        assert_eq!(decode(b"\x30\xFF\xFF\xFF\x7F", version), Ok(Decoded::Incomplete { needs }));
    }
}

#[test]
fn the_limit_of_packet_size_is_exact() {
    for_each_packet(20, |(_, version, _), packet| {
        let bytes = encode(packet, version);
        let limits = |max_packet_size: usize| Limits { max_packet_size: max_packet_size as u32, ..Limits::default() };
        assert_eq!(codec::decode(&bytes, version, limits(bytes.len())), whole(*packet, &bytes));
        let header = bytes.len() - body(&bytes).len();
        for known in [header, bytes.len()] {
            let refused = codec::decode(&bytes[..known], version, limits(bytes.len() - 1));
            assert_eq!(refused.map_err(|error| error.violation()), Err(Violation::PacketTooLarge));
        }
    });
}

/// A PUBLISH is limited in its properties alone, and refused when their length has arrived.
#[test]
fn the_limit_of_control_size_is_exact() {
    let mut types = BTreeSet::new();
    for_each_packet(20, |(packet_type, version, _), packet| {
        let bytes = encode(packet, version);
        let limits = |max: usize| Limits { max_control_size: max as u32, ..Limits::default() };
        let (limit, known) = match packet {
            Packet::Publish(publish) => {
                let head = bytes.len() - publish.payload.len();
                let at = bytes.len() - body(&bytes).len()
                    + 2
                    + publish.topic.as_bytes().len()
                    + publish.delivery.packet_id().map_or(0, |_| 2);
                // The length is behind `at`, in one or two bytes: those of these packets are short.
                let size = if version != Version::V5 { 0 } else { 1 + usize::from(bytes[at] >= 0x80) };
                (head - at - size, at + size)
            }
            _ => (bytes.len(), bytes.len() - body(&bytes).len()),
        };
        assert_eq!(codec::decode(&bytes, version, limits(limit)), whole(*packet, &bytes));
        if limit != 0 {
            for known in [known, bytes.len()] {
                let refused = codec::decode(&bytes[..known], version, limits(limit - 1));
                assert_eq!(refused.map_err(|error| error.violation()), Err(Violation::ControlTooLarge));
            }
            types.insert(packet_type);
        }
    });
    assert_eq!(types.len(), 15, "all types are met");
}

/// The user properties of a packet, and of its will.
fn user_properties(packet: &Packet<'_>) -> (usize, usize) {
    let list = match packet {
        Packet::Connect(connect) => {
            let will = connect.will.map_or(0, |will| will.properties.user_properties.len());
            return (connect.properties.user_properties.len(), will);
        }
        Packet::ConnAck(ack) => ack.properties.user_properties,
        Packet::Publish(publish) => publish.properties.user_properties,
        Packet::PubAck(ack) => ack.properties.user_properties,
        Packet::PubRec(ack) => ack.properties.user_properties,
        Packet::PubRel(ack) => ack.properties.user_properties,
        Packet::PubComp(ack) => ack.properties.user_properties,
        Packet::Subscribe(subscribe) => subscribe.properties.user_properties,
        Packet::SubAck(ack) => ack.properties.user_properties,
        Packet::Unsubscribe(unsubscribe) => unsubscribe.properties.user_properties,
        Packet::UnsubAck(ack) => ack.properties.user_properties,
        Packet::Disconnect(disconnect) => disconnect.properties.user_properties,
        Packet::Auth(auth) => auth.properties.user_properties,
        Packet::PingReq | Packet::PingResp => List::EMPTY,
    };
    (list.len(), 0)
}

#[test]
fn the_limit_of_user_properties_is_exact() {
    let mut refusals = BTreeSet::new();
    for_each_packet(SEEDS, |(packet_type, version, _), packet| {
        let (own, wills) = user_properties(packet);
        let bytes = encode(packet, version);
        let limits = |max: usize| Limits { max_user_properties: max as u16, ..Limits::default() };
        assert_eq!(codec::decode(&bytes, version, limits(own.max(wills))), whole(*packet, &bytes));
        if let Some(too_few) = own.max(wills).checked_sub(1) {
            let error = codec::decode(&bytes, version, limits(too_few)).expect_err("one too many");
            assert_eq!(error.violation(), Violation::TooManyUserProperties);
            assert_eq!(error.field(), Field::Property(PropertyId::UserProperty));
            refusals.insert(packet_type);
        }
    });
    assert_eq!(refusals.len(), 13, "all but PINGREQ and PINGRESP");
}

/// Section 1.5.4: the code points at the edges of what a receiver may refuse, and their neighbours.
/// [5.0: U-1.5.4]
#[test]
fn code_points_are_refused_only_on_demand() {
    const CONTROL: &str = "\u{1}\u{9}\u{1f}\u{7f}\u{80}\u{9f}";
    const NON_CHARACTERS: &str = "\u{fdd0}\u{fdef}\u{fffe}\u{ffff}\u{1fffe}\u{1ffff}\u{10fffe}\u{10ffff}";
    const GOOD: &str = " ~\u{a0}\u{fdcf}\u{fdf0}\u{fffd}\u{10000}\u{1fffd}\u{10fffd}\u{feff}";
    for character in [CONTROL, NON_CHARACTERS, GOOD].concat().chars() {
        let is_disallowed = CONTROL.contains(character) || NON_CHARACTERS.contains(character);
        for padding in 0..18 {
            check_code_point(character, padding, DisallowedCodePoints::Accept, false);
            check_code_point(character, padding, DisallowedCodePoints::Refuse, is_disallowed);
        }
    }
}

/// Puts a character after `padding` others, in a topic name, a property and a topic filter.
fn check_code_point(character: char, padding: usize, disallowed_code_points: DisallowedCodePoints, refused: bool) {
    let text = format!("{}{character}xyz", "a".repeat(padding));
    let length = (text.len() as u16).to_be_bytes();
    let property_length = [text.len() as u8 + 3];
    let frames = [
        (0x30, [&length, text.as_bytes(), b"\0"].concat(), Field::TopicName),
        (0x82, [b"\0\x01\0", &length[..], text.as_bytes(), b"\0"].concat(), Field::TopicFilter),
        (
            0x40,
            [b"\0\x01\0", &property_length[..], b"\x1F", &length, text.as_bytes()].concat(),
            Field::Property(PropertyId::ReasonString),
        ),
    ];
    for (first_byte, body, field) in frames {
        let bytes = frame(first_byte, &body);
        let limits = Limits { disallowed_code_points, ..Limits::default() };
        let error = codec::decode(&bytes, Version::V5, limits).err();
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("the text");
        let expected = refused.then_some((field, at + padding));
        assert_eq!(error.map(|error| (error.field(), error.offset())), expected, "{character:?} behind {padding}");
    }
}

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::ALL.to_vec())
}

fn any_sender() -> impl Strategy<Value = Sender> {
    prop::sample::select(vec![Sender::Client, Sender::Server])
}

fn any_data(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..len)
}

/// Failures are not persisted in files: a failure that is worth keeping becomes a test.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// [5.0: MQTT-1.5.5-1, MQTT-2.2.2-1]
    #[test]
    fn packets_are_the_same_after_a_round_trip(data in any_data(600), version in any_version(), sender in any_sender()) {
        let mut lists = Lists::default();
        let packet = lists.packet(&mut Unstructured::new(&data), version, sender).expect("a packet");
        check_identity(&packet, version, sender);
        check_other_versions(&packet, version);
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(data in any_data(200), version in any_version()) {
        check_any_bytes(&data, version);
    }

    /// Random bytes seldom have a valid fixed header; these have one.
    #[test]
    fn any_body_is_a_packet_or_an_error(
        first_byte in any::<u8>(), data in any_data(200), version in any_version(),
    ) {
        let bytes = frame(first_byte, &data);
        check_any_bytes(&bytes, version);
        let incomplete = matches!(decode(&bytes, version), Ok(Decoded::Incomplete { .. }));
        prop_assert!(!incomplete, "all of it is there");
    }

    #[test]
    fn streams_are_the_same_in_any_pieces(
        data in any_data(800), version in any_version(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut u = Unstructured::new(&data);
        let mut packets = Vec::new();
        while !u.is_empty() && packets.len() < 5 {
            let mut lists = Lists::default();
            packets.push(encode(&lists.packet(&mut u, version, Sender::Client).expect("a packet"), version));
        }
        let stream = packets.concat();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([stream.len()]).collect();
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let pieces: Vec<_> = starts.zip(&ends).map(|(start, &end)| &stream[start..end]).collect();
        prop_assert_eq!(drive(&pieces, version), (packets, Vec::new()));
    }
}
