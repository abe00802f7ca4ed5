//! Topic names and topic filters: the tables of `spec-vectors/topics.json`, a second implementation of matching, and
//! hostile lengths.

mod common;

use std::collections::BTreeMap;

use mqtt_sansio::codec::{self, Decoded, Limits, Packet};
use mqtt_sansio::{TextErrorKind, TopicError, TopicErrorKind, TopicFilter, TopicName, Version};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    names: Vec<NameRow>,
    filters: Vec<FilterRow>,
    matches: Vec<MatchRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameRow {
    text: String,
    valid: bool,
    clause: Option<Clause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterRow {
    text: String,
    versions: Vec<String>,
    valid: bool,
    share_name: Option<String>,
    filter: Option<String>,
    clause: Option<Clause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchRow {
    filter: String,
    name: String,
    matches: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Clause {
    Same(String),
    ByVersion(BTreeMap<String, String>),
}

impl Clause {
    fn of(&self, version: Version) -> &str {
        match self {
            Self::Same(clause) => clause,
            Self::ByVersion(clauses) => &clauses[&version.to_string()],
        }
    }
}

/// A text with its length prefix.
fn prefixed(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// A packet with this first byte.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mut length = body.len();
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend(body);
    frame
}

/// A Property Length of 0, in 5.0.
fn no_properties(version: Version) -> &'static [u8] {
    if version == Version::V5 { &[0] } else { &[] }
}

fn publish(version: Version, topic: &str) -> Vec<u8> {
    frame(0x30, &[&prefixed(topic), no_properties(version)].concat())
}

fn connect_with_will(version: Version, topic: &str) -> Vec<u8> {
    let head = [&prefixed(version.protocol_name())[..], &[version.level(), 0b0000_0110, 0, 60]].concat();
    let will = [no_properties(version), &prefixed(topic), &prefixed("bye")].concat();
    frame(0x10, &[&head[..], no_properties(version), &prefixed("id"), &will].concat())
}

fn unsubscribe(version: Version, filter: &str) -> Vec<u8> {
    frame(0xA2, &[&[0, 1], no_properties(version), &prefixed(filter)].concat())
}

/// The clause that the packet violates, or `None` if it is valid.
fn violated_clause(packet: &[u8], version: Version) -> Option<&'static str> {
    match codec::decode(packet, version, Limits::default()) {
        Ok(Decoded::Packet { size, .. }) if size == packet.len() => None,
        Ok(other) => panic!("{other:?}"),
        Err(error) => Some(error.clause()),
    }
}

fn name(text: &str) -> TopicName<'_> {
    TopicName::new(text).unwrap()
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

fn tables() -> Tables {
    let tables: Tables = common::load("topics.json");
    assert!(!tables.names.is_empty() && !tables.filters.is_empty() && !tables.matches.is_empty());
    tables
}

#[test]
fn names() {
    for row in tables().names {
        assert_eq!(TopicName::new(&row.text).is_ok(), row.valid, "{:?}", row.text);
        for version in Version::ALL {
            // A PUBLISH has its own clause about wildcards [MQTT-3.3.2-2]; the general clause applies to a will.
            let clause = row.clause.as_ref().map(|clause| clause.of(version));
            let found = violated_clause(&connect_with_will(version, &row.text), version);
            assert_eq!(found, clause, "{:?} in {version}", row.text);
            assert_eq!(found.is_none(), row.valid, "{:?} in {version}", row.text);
            let published = violated_clause(&publish(version, &row.text), version);
            assert_eq!(published.is_none(), row.valid, "{:?} in {version}", row.text);
        }
    }
}

#[test]
fn filters() {
    for row in tables().filters {
        for version in row.versions.iter().map(|version| common::version(version)) {
            let clause = row.clause.as_ref().map(|clause| clause.of(version));
            let found = violated_clause(&unsubscribe(version, &row.text), version);
            assert_eq!(found, clause, "{:?} in {version}", row.text);
            assert_eq!(found.is_none(), row.valid, "{:?} in {version}", row.text);
            if version == Version::V5 {
                check_filter(&row);
            }
        }
    }
}

/// A `TopicFilter` follows the rules of 5.0, even if a packet of another version contains it.
fn check_filter(row: &FilterRow) {
    let filter = TopicFilter::new(&row.text);
    assert_eq!(filter.is_ok(), row.valid, "{:?}", row.text);
    let share_name = filter.ok().and_then(TopicFilter::share_name).map(|share_name| share_name.as_str());
    assert_eq!(share_name, row.share_name.as_deref(), "{:?}", row.text);
    let behind = filter.ok().map(|filter| filter.without_share().as_str());
    assert_eq!(behind, row.filter.as_deref(), "{:?}", row.text);
}

#[test]
fn matches() {
    for MatchRow { filter: pattern, name: topic, matches } in tables().matches {
        assert_eq!(filter(&pattern).matches(name(&topic)), matches, "{pattern:?} and {topic:?}");
        assert_eq!(matches_naively(&pattern, &topic), matches, "the naive matcher: {pattern:?} and {topic:?}");
    }
}

/// Matching as the specification describes it, level by level.
fn matches_naively(filter: &str, name: &str) -> bool {
    fn levels(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) => true, // the level above it, too (section 4.7.1.2)
            ([], []) => true,
            (["+", filter @ ..], [_, name @ ..]) => levels(filter, name),
            ([wanted, filter @ ..], [level, name @ ..]) => wanted == level && levels(filter, name),
            _ => false,
        }
    }
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    let is_hidden = name.starts_with('$') && filter.starts_with(['+', '#']); // [MQTT-4.7.2-1]
    !is_hidden && levels(&Vec::from_iter(filter.split('/')), &Vec::from_iter(name.split('/')))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Few characters and few levels, so that many pairs match.
    /// [3.1.1: MQTT-4.7.2-1; 5.0: MQTT-4.7.2-1]
    #[test]
    fn matches_as_the_naive_matcher_does(
        pattern in r"(\$share/[ab]/)?([ab$]{0,2}|\+)(/([ab]{0,1}|\+)){0,3}(/#)?|#",
        topic in "[ab$]{0,2}(/[ab]{0,1}){0,4}",
    ) {
        // Not "", nor "$share/a/".
        if let (Ok(filter), Ok(name)) = (TopicFilter::new(&pattern), TopicName::new(&topic)) {
            prop_assert_eq!(filter.matches(name), matches_naively(&pattern, &topic));
        }
    }

    /// Every name matches itself, and "#" unless it begins with '$'.
    #[test]
    fn a_name_matches_itself(topic in "[ab$é ]{1,3}|[ab$é ]{0,3}(/[ab$é ]{0,2}){1,5}") {
        prop_assert!(filter(&topic).matches(name(&topic)));
        prop_assert_eq!(filter("#").matches(name(&topic)), !topic.starts_with('$'));
    }
}

/// CVE-2019-11779: a filter of slashes only overflowed the stack of a broker that recursed for each level.
#[test]
fn very_many_levels() {
    let slashes = "/".repeat(65_400);
    for version in Version::ALL {
        let packet = unsubscribe(version, &slashes);
        let decoded = codec::decode(&packet, version, Limits::default()).unwrap();
        let Decoded::Packet { packet: Packet::Unsubscribe(unsubscribe), .. } = decoded else { panic!("{decoded:?}") };
        let filter = unsubscribe.filters.iter().next().unwrap();
        assert_eq!(filter.levels().count(), 65_401);
        assert!(filter.matches(name(&slashes)));
        assert!(!filter.matches(name(&slashes[1..])));
    }
    assert!(filter("#").matches(name(&slashes)));
    let wildcards = "+/".repeat(32_767);
    assert!(filter(&wildcards).matches(name(&slashes[..32_767])));
    assert!(!filter(&wildcards).matches(name(&slashes)));
}

/// The offset of an error and its kind.
fn place(error: TopicError) -> (usize, TopicErrorKind) {
    (error.at, error.kind)
}

/// The longest text that its length prefix can announce, and one byte more [3.1.1: MQTT-4.7.3-3; 5.0: MQTT-4.7.3-3].
#[test]
fn longest() {
    let longest = "a".repeat(65_535);
    for version in Version::ALL {
        assert_eq!(violated_clause(&publish(version, &longest), version), None);
        assert_eq!(violated_clause(&unsubscribe(version, &longest), version), None);
    }
    assert!(filter(&longest).matches(name(&longest)));
    let too_long = "a".repeat(65_536);
    let error = Some((65_535, TopicErrorKind::Text(TextErrorKind::TooLong)));
    assert_eq!(TopicName::new(&too_long).err().map(place), error);
    assert_eq!(TopicFilter::new(&too_long).err().map(place), error);
}

#[test]
fn the_first_error_of_a_name_is_reported() {
    use TopicErrorKind::{MultiLevelWildcardInName, SingleLevelWildcardInName, Text};
    let expected = [
        (&b"a+\0"[..], 1, SingleLevelWildcardInName),
        (b"a\0+", 1, Text(TextErrorKind::NullCharacter)),
        ("é/#+".as_bytes(), 3, MultiLevelWildcardInName),
        (b"+\xFF", 0, SingleLevelWildcardInName),
        (b"\xFF+", 0, Text(TextErrorKind::IllFormedUtf8)),
    ];
    for (name, at, kind) in expected {
        assert_eq!(TopicName::from_bytes(name).err().map(place), Some((at, kind)), "{name:?}");
    }
}

/// One wrong byte at each position of names and filters of each length: short and long ones are validated in different
/// ways.
#[test]
fn a_wrong_byte_is_found_at_each_position_of_each_length() {
    use TopicErrorKind::{MultiLevelWildcardInName, SingleLevelWildcardInName, Text};
    let wrong = [
        (b'+', SingleLevelWildcardInName),
        (b'#', MultiLevelWildcardInName),
        (0, Text(TextErrorKind::NullCharacter)),
        (0xFF, Text(TextErrorKind::IllFormedUtf8)),
    ];
    for len in 1..=40 {
        assert_eq!(TopicName::from_bytes(&vec![b'a'; len]).err(), None, "{len}");
        for at in 0..len {
            for (byte, kind) in wrong {
                let mut topic = vec![b'a'; len];
                topic[at] = byte;
                assert_eq!(TopicName::from_bytes(&topic).err().map(place), Some((at, kind)), "{topic:?}");
                let is_valid_filter = len == 1 && matches!(byte, b'+' | b'#');
                let found = TopicFilter::from_bytes(&topic).err().map(|error| error.at);
                assert_eq!(found, (!is_valid_filter).then_some(at), "{topic:?}");
            }
        }
    }
}
