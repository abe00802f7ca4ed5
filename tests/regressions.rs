//! Every bug that was found once, shown through the public interface.

use mqtt_sansio::{Flaw, TopicFilter};

/// A search for wildcards, eight bytes at a time, lost the one behind a byte that is not ASCII: a borrow hid it.
#[test]
fn a_wildcard_behind_a_byte_that_is_not_ascii_is_seen() {
    for padding in 0..16 {
        for wildcard in ['+', '#'] {
            let filter = format!("{}é{wildcard}/rest-of-it", "x".repeat(padding));
            let error = TopicFilter::new(&filter).unwrap_err();
            let expected =
                if wildcard == '+' { Flaw::MisplacedSingleLevelWildcard } else { Flaw::MisplacedMultiLevelWildcard };
            assert_eq!((error.at, error.flaw), (padding + 2, expected), "{filter}");
        }
    }
}
