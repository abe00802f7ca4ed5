//! The `Debug` output of payloads.

use core::fmt;

/// Maximum number of bytes of a payload that `Debug` prints.
const MAX_PRINTED: usize = 64;

/// The payload of a message. `Debug` prints it as escaped text. A long payload is cut and its length added, so that no
/// message fills a log.
#[derive(Clone, Copy)]
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(MAX_PRINTED) {
            Some((start, rest)) if !rest.is_empty() => {
                write!(f, "b\"{}\"... ({} bytes)", start.escape_ascii(), self.0.len())
            }
            _ => write!(f, "b\"{}\"", self.0.escape_ascii()),
        }
    }
}
