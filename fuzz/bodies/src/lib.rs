//! The bodies of the fuzz targets: each takes any bytes, and panics if the crate violates one of its guarantees.
//!
//! This package needs no fuzzer, so an ordinary test runs the bodies over vectors, captures and regressions too. The
//! results of the codec are compared with plain and slow implementations of the same rules that share no code with it.

#![forbid(unsafe_code)]

mod broker;
mod client;
mod from_client;
mod from_server;
mod pair;
mod restore;
mod server;

use core::num::NonZeroU32;

use arbitrary::Unstructured;
use mqtt_sansio::codec::DisallowedCodePoints;
use mqtt_sansio::codec::{
    self, Connect, DecodeError, Decoded, EncodeError, Field, Limits, List, MAX_PACKET_SIZE, Packet, Publish, Sender,
    UserProperty, Violation,
};
use mqtt_sansio::generators::with_packet;
use mqtt_sansio::{TopicError, TopicErrorKind, TopicFilter, TopicName, Utf8Str, Version};

pub use self::broker::broker_ops;
pub use self::client::client_ops;
pub use self::pair::pair_ops;
pub use self::restore::restore;
pub use self::server::server_ops;

/// Decodes the bytes after a first byte that selects version and limits.
pub fn decode(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let (version, limits) = settings(choice);
    match codec::decode(input, version, limits) {
        Ok(Decoded::Packet { packet, size }) => {
            let frame = &input[..size];
            assert_eq!(Some(size), frame_size(input), "the size is what the fixed header says");
            assert!(size <= limits.max_packet_size as usize);
            assert!(is_shortest_length(frame), "the Remaining Length has no bytes that it does not need");
            assert_eq!(codec::decode(frame, version, limits), Ok(Decoded::Packet { packet, size }));
            check_prefixes(frame, version, limits);
            check_texts(&packet, limits.disallowed_code_points);
            check_senders(&packet, frame, version, limits);
            let canonical = check_encode(&packet, own_version(&packet, version));
            assert!(canonical.len() <= size, "the canonical form is a shortest one");
            check_other_versions(&packet, own_version(&packet, version));
        }
        Ok(Decoded::Incomplete { needs }) => assert_eq!(needs, missing(input)),
        Err(error) => check_error(&error, input, version, limits),
    }
}

/// Encodes a generated packet and decodes it again.
pub fn roundtrip(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let version = settings(choice).0;
    let sender = if choice & 0x80 == 0 { Sender::Client } else { Sender::Server };
    let mut u = Unstructured::new(rest);
    // Exhausted data would yield packets without end.
    for _ in 0..4 {
        let checked = with_packet(&mut u, version, sender, |packet| {
            let bytes = check_encode(&packet, version);
            let limits = Limits { sender: Some(sender), ..Limits::default() };
            let size = bytes.len();
            assert_eq!(codec::decode(&bytes, version, limits), Ok(Decoded::Packet { packet, size }));
            check_prefixes(&bytes, version, limits);
            check_texts(&packet, DisallowedCodePoints::default());
            check_other_versions(&packet, version);
        });
        if checked.is_err() || u.is_empty() {
            return;
        }
    }
}

/// Splits a stream of packets anywhere and gives the pieces to a driver with a buffer, which must find the same packets
/// as a decoder of the whole stream.
pub fn split(data: &[u8]) {
    let &[choice, mode, seed, ref rest @ ..] = data else { return };
    let (version, limits) = settings(choice);
    let generated = mode & 1 != 0;
    let mut stream = if generated { generated_stream(rest, version) } else { rest.to_vec() };
    if generated && mode & 2 != 0 && !stream.is_empty() {
        let at = usize::from(seed) * stream.len() / 256;
        stream[at] ^= seed | 1;
    }
    let exact = mode & 4 != 0;
    drive(&stream, version, limits, exact, u32::from(seed));
}

/// Makes topic names, topic filters and strings from the data, both from `&str` and by decoding, and matches filters
/// against names.
pub fn topic(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let mut halves = rest.splitn(2, |&byte| byte == 0xFF);
    let [filter, name] = [halves.next(), halves.next()].map(Option::unwrap_or_default);
    let long = mode & 2 != 0;
    if mode & 1 == 0 {
        check_topics(&stretch(spell(filter), long), &stretch(spell(name), long));
        return;
    }
    for bytes in [filter, name] {
        check_text_on_wire(bytes);
    }
    if let (Ok(filter), Ok(name)) = (core::str::from_utf8(filter), core::str::from_utf8(name)) {
        check_topics(&stretch(filter.to_string(), long), &stretch(name.to_string(), long));
    }
}

/// A limit that cannot be 0: 0 counts as 1.
fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// The number of PUBRECs at the beginning of the received bytes.
fn pubrecs(received: &[u8], version: Version) -> usize {
    let packets = codec::packets(received, version, Limits::default()).map_while(Result::ok);
    packets.filter(|packet| matches!(packet, Packet::PubRec(_))).count()
}

/// The version and the limits that a byte selects.
fn settings(choice: u8) -> (Version, Limits) {
    let version = Version::ALL[usize::from(choice % 3)];
    let sender = [None, Some(Sender::Client), Some(Sender::Server)][usize::from(choice / 3 % 3)];
    let bits = choice / 9;
    let set = |bit: u8| bits & bit != 0;
    let limits = Limits {
        max_packet_size: if set(8) { 300 } else { MAX_PACKET_SIZE },
        max_control_size: if set(2) { 100 } else { MAX_PACKET_SIZE },
        max_user_properties: if set(4) { 1 } else { u16::MAX },
        disallowed_code_points: if set(1) { DisallowedCodePoints::Refuse } else { DisallowedCodePoints::Accept },
        sender,
    };
    (version, limits)
}

/// The version to encode a packet in again: a CONNECT has its own.
fn own_version(packet: &Packet<'_>, version: Version) -> Version {
    match packet {
        Packet::Connect(Connect { version, .. }) => *version,
        _ => version,
    }
}

/// The size of the frame at the beginning of `input`, once its fixed header is complete: a plain implementation of
/// section 2.1.4.
fn frame_size(input: &[u8]) -> Option<usize> {
    let digits = input.get(1..)?;
    let last = digits.iter().take(4).position(|&byte| byte < 128)?;
    let value = digits[..=last].iter().rev().fold(0, |value, &digit| value * 128 + usize::from(digit & 127));
    Some(1 + last + 1 + value)
}

/// Whether the Remaining Length has its minimum number of bytes [MQTT-1.5.5-1].
fn is_shortest_length(frame: &[u8]) -> bool {
    let last = frame.iter().skip(1).position(|&byte| byte < 128);
    last == Some(0) || last.is_some_and(|last| frame[1 + last] != 0)
}

/// The number of bytes missing from an incomplete packet.
fn missing(input: &[u8]) -> usize {
    match frame_size(input) {
        Some(size) => size.checked_sub(input.len()).filter(|&missing| missing > 0).expect("the packet is all there"),
        None if input.is_empty() => 2,
        None => 1,
    }
}

/// Checks that every prefix of a valid packet asks for the right number of bytes.
fn check_prefixes(frame: &[u8], version: Version, limits: Limits) {
    let near_start = 0..frame.len().min(8);
    let near_end = frame.len().saturating_sub(4).max(8)..frame.len();
    for cut in near_start.chain(near_end) {
        let prefix = &frame[..cut];
        assert_eq!(codec::decode(prefix, version, limits), Ok(Decoded::Incomplete { needs: missing(prefix) }));
    }
}

/// Checks that a packet valid from one endpoint is refused from the other only if a rule of direction says so.
fn check_senders(packet: &Packet<'_>, frame: &[u8], version: Version, limits: Limits) {
    let any = Limits { sender: None, ..limits };
    assert_eq!(codec::decode(frame, version, any), Ok(Decoded::Packet { packet: *packet, size: frame.len() }));
    for sender in [Sender::Client, Sender::Server] {
        let from = Limits { sender: Some(sender), ..limits };
        match codec::decode(frame, version, from) {
            Ok(decoded) => {
                assert_eq!(decoded, Decoded::Packet { packet: *packet, size: frame.len() });
                assert!(may_come_from(packet, sender, own_version(packet, version)));
            }
            Err(error) => {
                assert!(!may_come_from(packet, sender, own_version(packet, version)), "{error}");
                assert!(matches!(error.violation(), Violation::WrongSender | Violation::PropertyFromWrongSender));
            }
        }
    }
}

/// The rules of direction (sections 2.1.2, 3.3.4, 3.14.2.2).
fn may_come_from(packet: &Packet<'_>, sender: Sender, version: Version) -> bool {
    let from_client = sender == Sender::Client;
    match packet {
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => from_client,
        Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => !from_client,
        Packet::Publish(publish) => !from_client || publish.properties.subscription_identifiers.is_empty(),
        Packet::Disconnect(disconnect) if from_client => disconnect.properties.server_reference.is_none(),
        Packet::Disconnect(disconnect) => {
            version == Version::V5 && disconnect.properties.session_expiry_interval.is_none()
        }
        _ => true,
    }
}

/// Checks that an error names an existing byte and a reason, and does not depend on the bytes that follow.
fn check_error(error: &DecodeError, input: &[u8], version: Version, limits: Limits) {
    let size = frame_size(input).unwrap_or(input.len()).min(input.len());
    assert!(error.offset() <= size, "{error:?}");
    assert!(error.clause().starts_with("MQTT-") || error.clause().starts_with("section "), "{error:?}");
    assert!(error.reason_code().is_error());
    assert!(matches!(error.return_code(), None | Some(1 | 2)));
    let (text, clause) = (error.to_string(), format!("{}]", error.clause()));
    assert!(text.contains(&clause) && text.contains(&format!(" at byte {}: ", error.offset())), "{text}");
    assert!(!error.violation().to_string().is_empty() && !error.field().to_string().is_empty());
    let followed = [input, b"\xFF\x00\xFF"].concat();
    assert_eq!(codec::decode(&followed, version, limits), Err(*error), "what follows is not looked at");
}

/// Encodes a packet in all ways, and checks that they agree and that the bytes decode to the same packet.
fn check_encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    let size = packet.encode(version, &mut bytes).unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    assert!(bytes.starts_with(b"before"));
    let bytes = bytes.split_off(6);
    assert_eq!(size, bytes.len());
    assert_eq!(packet.encoded_len(version), Ok(size));
    assert_eq!(frame_size(&bytes), Some(size));
    check_encode_to_slice(packet, version, &bytes);
    if let Packet::Publish(publish) = packet {
        check_encode_head(publish, version, &bytes);
    }

    let Ok(Decoded::Packet { packet: again, size: taken }) = codec::decode(&bytes, version, Limits::default()) else {
        panic!("{packet:?} is not decoded again");
    };
    assert_eq!((&again, taken), (packet, size));
    let mut second = Vec::new();
    assert_eq!(again.encode(version, &mut second), Ok(size));
    assert_eq!(second, bytes, "encoding is canonical");
    bytes
}

fn check_encode_to_slice(packet: &Packet<'_>, version: Version, expected: &[u8]) {
    const UNTOUCHED: u8 = 0xA5;
    let size = expected.len();
    let mut out = vec![UNTOUCHED; size + 3];
    for too_small in [0, size / 2, size - 1] {
        let refused = packet.encode_to_slice(version, &mut out[..too_small]);
        assert_eq!(refused, Err(EncodeError::BufferTooSmall { needed: size as u32 }));
        assert!(out.iter().all(|&byte| byte == UNTOUCHED), "nothing has been written");
    }
    assert_eq!(packet.encode_to_slice(version, &mut out), Ok(size));
    assert_eq!((&out[..size], &out[size..]), (expected, &[UNTOUCHED; 3][..]));
    let mut exact = vec![UNTOUCHED; size];
    assert_eq!(packet.encode_to_slice(version, &mut exact), Ok(size));
    assert_eq!(exact, expected);
}

fn check_encode_head(publish: &Publish<'_>, version: Version, expected: &[u8]) {
    let mut bytes = Vec::new();
    let head = publish.encode_head(version, &mut bytes);
    assert_eq!(head, Ok(bytes.len()));
    let mut out = vec![0; bytes.len()];
    assert_eq!(publish.encode_head_to_slice(version, &mut out), head);
    assert_eq!(out, bytes);
    bytes.extend_from_slice(publish.payload);
    assert_eq!(bytes, expected);
}

/// Checks that another version refuses the packet or encodes it completely: no field is silently lost.
fn check_other_versions(packet: &Packet<'_>, version: Version) {
    for other in Version::ALL.into_iter().filter(|&other| other != version) {
        let mut bytes = Vec::new();
        match packet.encode(other, &mut bytes) {
            Ok(size) => {
                let decoded = codec::decode(&bytes, other, Limits::default());
                assert_eq!(decoded, Ok(Decoded::Packet { packet: *packet, size }), "in {other}");
            }
            Err(error) => {
                let expected = matches!(error, EncodeError::NotInVersion { .. } | EncodeError::Invalid { .. });
                assert!(expected && bytes.is_empty(), "{error}");
            }
        }
    }
}

/// Checks every string of a packet against the rules of sections 1.5.4 and 4.7.
fn check_texts(packet: &Packet<'_>, disallowed: DisallowedCodePoints) {
    let texts = |texts: &[Option<Utf8Str<'_>>]| texts.iter().flatten().for_each(|text| check_text(*text, disallowed));
    let pairs = |pairs: List<'_, UserProperty<'_>>| {
        pairs.iter().for_each(|pair| texts(&[Some(pair.name), Some(pair.value)]));
    };
    let name = |name: TopicName<'_>| {
        let text = Utf8Str::new(name.as_str()).expect("a topic name is a text");
        check_text(text, disallowed);
        assert_eq!(text.as_bytes(), name.as_bytes());
        assert!(!name.as_str().contains(['+', '#']));
    };
    let filter = |filter: TopicFilter<'_>| {
        check_text(Utf8Str::new(filter.as_str()).expect("a topic filter is a text"), disallowed);
        assert_eq!(filter.as_str().as_bytes(), filter.as_bytes());
        assert!(is_filter(filter.as_str()), "{filter}");
    };
    match packet {
        Packet::Connect(Connect { client_identifier, will, user_name, properties, .. }) => {
            texts(&[Some(*client_identifier), *user_name, properties.authentication_method]);
            pairs(properties.user_properties);
            if let Some(will) = will {
                assert!(!will.topic.is_empty());
                name(will.topic);
                texts(&[will.properties.content_type]);
                will.properties.response_topic.into_iter().for_each(name);
                pairs(will.properties.user_properties);
            }
        }
        Packet::ConnAck(ack) => {
            let properties = ack.properties;
            texts(&[properties.assigned_client_identifier, properties.authentication_method]);
            texts(&[properties.response_information, properties.server_reference, properties.reason_string]);
            pairs(properties.user_properties);
        }
        Packet::Publish(Publish { topic, properties, .. }) => {
            assert!(!topic.is_empty() || properties.topic_alias.is_some());
            name(*topic);
            texts(&[properties.content_type]);
            properties.response_topic.into_iter().for_each(name);
            pairs(properties.user_properties);
        }
        Packet::Subscribe(subscribe) => {
            subscribe.subscriptions.iter().for_each(|subscription| filter(subscription.filter));
            pairs(subscribe.properties.user_properties);
        }
        Packet::Unsubscribe(unsubscribe) => {
            unsubscribe.filters.iter().for_each(filter);
            pairs(unsubscribe.properties.user_properties);
        }
        Packet::Disconnect(disconnect) => {
            texts(&[disconnect.properties.server_reference, disconnect.properties.reason_string]);
            pairs(disconnect.properties.user_properties);
        }
        Packet::Auth(auth) => {
            texts(&[auth.properties.authentication_method, auth.properties.reason_string]);
            pairs(auth.properties.user_properties);
        }
        Packet::PubAck(codec::PubAck { properties, .. })
        | Packet::PubRec(codec::PubRec { properties, .. })
        | Packet::PubRel(codec::PubRel { properties, .. })
        | Packet::PubComp(codec::PubComp { properties, .. })
        | Packet::SubAck(codec::SubAck { properties, .. })
        | Packet::UnsubAck(codec::UnsubAck { properties, .. }) => {
            texts(&[properties.reason_string]);
            pairs(properties.user_properties);
        }
        Packet::PingReq | Packet::PingResp => {}
    }
}

fn check_text(text: Utf8Str<'_>, disallowed: DisallowedCodePoints) {
    let text = core::str::from_utf8(text.as_bytes()).expect("a text is well-formed");
    assert!(text.chars().all(|character| is_allowed(character, disallowed)), "{text:?}");
}

fn is_allowed(character: char, disallowed: DisallowedCodePoints) -> bool {
    match character {
        '\0' => false,
        '\u{1}'..='\u{1F}' | '\u{7F}'..='\u{9F}' => disallowed == DisallowedCodePoints::Accept,
        '\u{FDD0}'..='\u{FDEF}' => disallowed == DisallowedCodePoints::Accept,
        _ => disallowed == DisallowedCodePoints::Accept || (character as u32 % 0x1_0000) < 0xFFFE,
    }
}

/// Several packets, one after the other.
fn generated_stream(data: &[u8], version: Version) -> Vec<u8> {
    let mut u = Unstructured::new(data);
    let mut stream = Vec::new();
    for sender in [Sender::Client, Sender::Server, Sender::Server, Sender::Client, Sender::Client] {
        let encoded = with_packet(&mut u, version, sender, |packet| packet.encode(version, &mut stream));
        assert!(matches!(encoded, Ok(Ok(_))), "{encoded:?}");
        if u.is_empty() {
            break;
        }
    }
    stream
}

/// Feeds a stream to a buffer piece by piece, and decodes the buffered packets, as a driver does. `exact` pieces are as
/// long as the codec has asked for; the others are of any length.
fn drive(stream: &[u8], mut version: Version, limits: Limits, exact: bool, seed: u32) {
    let mut whole = codec::packets(stream, version, limits);
    let mut random = seed;
    let mut buffer = Vec::new();
    let mut fed = 0;
    loop {
        let start = fed - buffer.len();
        match codec::decode(&buffer, version, limits) {
            Ok(Decoded::Packet { packet, size }) => {
                assert_eq!(whole.next(), Some(Ok(packet)));
                assert_eq!(whole.rest(), &stream[start + size..]);
                version = own_version(&packet, version);
                assert_eq!(whole.version(), version);
                buffer.drain(..size);
            }
            Ok(Decoded::Incomplete { needs }) => {
                assert_eq!(needs, missing(&buffer));
                if let Some(size) = frame_size(&stream[start..]) {
                    assert!(needs <= size - buffer.len(), "never more than what is missing of the first packet");
                }
                if fed == stream.len() {
                    assert_eq!(whole.next(), None);
                    assert_eq!(whole.rest(), buffer);
                    assert_eq!(whole.needs(), if buffer.is_empty() { 0 } else { needs });
                    return;
                }
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let length = if exact { needs } else { 1 + (random >> 16) as usize % 37 };
                let end = stream.len().min(fed + length);
                buffer.extend_from_slice(&stream[fed..end]);
                fed = end;
            }
            Err(error) => {
                assert_eq!(whole.next(), Some(Err(error)));
                assert_eq!(whole.next(), None, "there is nothing behind an error");
                assert_eq!(whole.rest(), &stream[start..]);
                return;
            }
        }
    }
}

/// Few different characters, so that levels of filters and names match.
fn spell(bytes: &[u8]) -> String {
    const PIECES: [&str; 16] =
        ["a", "/", "+", "#", "/", "b", "$", "\u{e9}", "$share/", "/+/", "/#", "a/", "1234567", "\0", "+/", "\u{1f321}"];
    bytes.iter().map(|byte| PIECES[usize::from(byte % 16)]).collect()
}

/// Repeats the text up to the limit of 65,535 bytes, or one character more.
fn stretch(text: String, wanted: bool) -> String {
    if !wanted || text.is_empty() {
        return text;
    }
    text.repeat(65_535 / text.len() + text.len() % 2)
}

/// Compares the codec's results for a filter and a name with a plain implementation of section 4.7, for both ways to
/// create them.
fn check_topics(filter_text: &str, name_text: &str) {
    let filter = TopicFilter::new(filter_text);
    let name = TopicName::new(name_text);
    let is_text = |text: &str| text.len() <= 65_535 && !text.contains('\0');
    let is_good_filter = is_text(filter_text) && is_filter(filter_text) && is_well_formed_share(filter_text);
    assert_eq!(filter.is_ok(), is_good_filter, "{filter_text:?}");
    assert_eq!(name.is_ok(), is_text(name_text) && is_name(name_text), "{name_text:?}");
    check_topic_error(filter.err(), filter_text);
    check_topic_error(name.err(), name_text);
    if filter_text.len() <= 65_535 {
        check_filter_on_wire(filter_text);
    }
    if name_text.len() <= 65_535 {
        check_name_on_wire(name_text);
    }
    let Ok(filter) = filter else { return };
    assert_eq!(filter.levels().collect::<Vec<_>>().join(&b'/'), filter_text.as_bytes());
    let (share_name, plain) = share(filter_text).map_or((None, filter_text), |(name, filter)| (Some(name), filter));
    assert_eq!(filter.share_name().map(Utf8Str::as_str), share_name);
    assert_eq!(filter.without_share().as_str(), plain);
    // An empty name matches no filter, not even `#`.
    assert!(!filter.matches(TopicName::default()));
    let Ok(name) = name else { return };
    assert_eq!(filter.matches(name), matches(plain, name_text), "{filter} and {name}");
}

fn check_topic_error(error: Option<TopicError>, text: &str) {
    if let Some(error) = error {
        assert!(error.at <= text.len() && !error.to_string().is_empty(), "{error:?} in {text:?}");
        assert!(text.len() > 65_535 || text.is_char_boundary(error.at), "{error:?} in {text:?}");
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['+', '#'])
}

/// Section 4.7.1, without regard to shared subscriptions.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let (last, others) = levels.split_last().expect("there is a level in every text");
    let is_plain = |level: &str| level == "+" || !level.contains(['+', '#']);
    !text.is_empty() && others.iter().all(|level| is_plain(level)) && (*last == "#" || is_plain(last))
}

/// The share name and the filter of a text that begins with `$share/` (section 4.8.2).
fn share(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("$share/")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

fn is_well_formed_share(text: &str) -> bool {
    share(text).is_none_or(|(name, filter)| !name.is_empty() && !name.contains(['+', '#']) && !filter.is_empty())
}

/// Section 4.7, level by level: `#` matches its parent level and all levels below.
fn matches(filter: &str, name: &str) -> bool {
    let filter_levels: Vec<&str> = filter.split('/').collect();
    let name_levels: Vec<&str> = name.split('/').collect();
    let pairs_match = |filter_levels: &[&str]| {
        filter_levels.iter().zip(&name_levels).all(|(filter, name)| *filter == "+" || filter == name)
    };
    if filter.starts_with(['+', '#']) && name.starts_with('$') {
        return false;
    }
    match filter_levels.split_last() {
        Some((&"#", before)) => before.len() <= name_levels.len() && pairs_match(before),
        _ => filter_levels.len() == name_levels.len() && pairs_match(&filter_levels),
    }
}

/// Wraps a string into a packet: `head`, a two-byte length, the string, `tail`.
fn frame(first_byte: u8, head: &[u8], text: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut remaining_length = head.len() + 2 + text.len() + tail.len();
    let mut bytes = vec![first_byte];
    while remaining_length >= 128 {
        bytes.push(remaining_length as u8 % 128 + 128);
        remaining_length /= 128;
    }
    bytes.push(remaining_length as u8);
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(tail);
    bytes
}

/// The offset of the string in such a frame.
fn text_at(frame: &[u8], text: &[u8], tail: &[u8]) -> usize {
    frame.len() - tail.len() - text.len()
}

/// Checks that the error is about this string, and agrees with the `TopicError`.
fn check_wire_error(error: &DecodeError, expected: TopicError, text_at: usize, field: Field) {
    assert_eq!((error.field(), error.violation()), (field, Violation::Text(expected.kind)));
    // The offset of an empty topic is that of its length.
    let start = if expected.kind == TopicErrorKind::Empty { text_at - 2 } else { text_at };
    assert_eq!(error.offset(), start + expected.at);
}

fn check_filter_on_wire(text: &str) {
    let expected = TopicFilter::new(text);
    let frame_v5 = frame(0xA2, &[0, 1, 0], text.as_bytes(), &[]);
    match codec::decode(&frame_v5, Version::V5, Limits::default()) {
        Ok(_) => assert!(expected.is_ok(), "{text:?}"),
        Err(error) => {
            let at = text_at(&frame_v5, text.as_bytes(), &[]);
            check_wire_error(&error, expected.expect_err("refused on the wire only"), at, Field::TopicFilter);
        }
    }
    // Before 5.0 `$share` has no special meaning.
    let frame_v3 = frame(0x82, &[0, 1], text.as_bytes(), &[0]);
    let accepted = codec::decode(&frame_v3, Version::V311, Limits::default()).is_ok();
    assert_eq!(accepted, is_filter(text) && !text.contains('\0'), "{text:?}");
}

fn check_name_on_wire(text: &str) {
    let expected = TopicName::new(text);
    let frame = frame(0x30, &[], text.as_bytes(), b"payload");
    match codec::decode(&frame, Version::V311, Limits::default()) {
        Ok(_) => assert!(expected.is_ok(), "{text:?}"),
        Err(error) => {
            let at = text_at(&frame, text.as_bytes(), b"payload");
            check_wire_error(&error, expected.expect_err("refused on the wire only"), at, Field::TopicName);
        }
    }
}

/// Checks any bytes as the Reason String of a PUBACK, with each setting of the receiver: an error is at the first wrong
/// byte.
fn check_text_on_wire(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(100)];
    let property_length = [0, 1, 0, 3 + bytes.len() as u8, 0x1F];
    let frame = frame(0x40, &property_length, bytes, &[]);
    for disallowed_code_points in [DisallowedCodePoints::Accept, DisallowedCodePoints::Refuse] {
        let limits = Limits { disallowed_code_points, ..Limits::default() };
        let found = codec::decode(&frame, Version::V5, limits).err().map(|error| error.offset());
        let expected = first_wrong_byte(bytes, disallowed_code_points);
        assert_eq!(found, expected.map(|at| text_at(&frame, bytes, &[]) + at), "{bytes:02x?}");
    }
}

fn first_wrong_byte(bytes: &[u8], disallowed: DisallowedCodePoints) -> Option<usize> {
    let (text, end) = match core::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let end = error.valid_up_to();
            (core::str::from_utf8(&bytes[..end]).expect("valid so far"), Some(end))
        }
    };
    text.char_indices().find(|&(_, character)| !is_allowed(character, disallowed)).map(|(at, _)| at).or(end)
}
