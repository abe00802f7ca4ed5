//! Regression tests of the codec.

use mqtt_sansio::codec::{self, Field, Limits, Violation};
use mqtt_sansio::{TextErrorKind, TopicErrorKind, TopicFilter, Version};

/// The search for wildcards, eight bytes at a time, missed a wildcard after a byte that is not ASCII because of a
/// borrow in the subtraction.
#[test]
fn a_wildcard_after_a_byte_that_is_not_ascii_is_found() {
    for padding in 0..16 {
        for wildcard in ['+', '#'] {
            let filter = format!("{}é{wildcard}/rest-of-it", "x".repeat(padding));
            let error = TopicFilter::new(&filter).unwrap_err();
            let expected = if wildcard == '+' {
                TopicErrorKind::MisplacedSingleLevelWildcard
            } else {
                TopicErrorKind::MisplacedMultiLevelWildcard
            };
            assert_eq!((error.at, error.kind), (padding + 2, expected), "{filter}");
        }
    }
}

fn error_of(bytes: &[u8], version: Version) -> (usize, Field, Violation) {
    let error = codec::decode(bytes, version, Limits::default()).expect_err("malformed");
    (error.offset(), error.field(), error.violation())
}

/// Invalid flags of a PUBLISH were reported once it was complete, and not with its first byte.
#[test]
fn invalid_flags_are_reported_with_the_first_byte() {
    for first in [0x36, 0x37, 0x38, 0x39, 0x3E, 0x3F] {
        assert_eq!(error_of(&[first], Version::V5).1, Field::Flags);
        assert_eq!(error_of(&[first, 0xFF, 0xFF, 0xFF, 0x7F], Version::V311).1, Field::Flags);
    }
    let error = codec::decode(&[0x20], Version::V5, Limits::from_client()).expect_err("a CONNACK from a client");
    assert_eq!(error.violation(), Violation::WrongSender);
}

/// For an empty topic of 3.1.1, which no topic alias can replace, a later error was reported.
#[test]
fn an_empty_topic_is_reported_before_a_packet_identifier_of_0() {
    let expected = (2, Field::TopicName, Violation::Text(TopicErrorKind::Empty));
    assert_eq!(error_of(b"\x32\x04\0\0\0\0", Version::V311), expected);
}

/// In a filter with a misplaced wildcard before a U+0000, the U+0000 was reported.
#[test]
fn the_first_error_of_a_filter_is_reported() {
    let expected = (7, Field::TopicFilter, Violation::Text(TopicErrorKind::MisplacedSingleLevelWildcard));
    assert_eq!(error_of(b"\x82\x08\0\x01\0\x03a+\0\0", Version::V311), expected);
    let expected = (8, Field::TopicFilter, Violation::Text(TextErrorKind::NullCharacter.into()));
    assert_eq!(error_of(b"\x82\x09\0\x01\0\x04/a\0+\0", Version::V311), expected);
}
