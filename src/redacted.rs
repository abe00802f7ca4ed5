//! What is not printed.

use core::fmt;

/// Bytes that prove who somebody is, such as a password. `Debug` prints how many there are: what is printed ends up in logs.
#[derive(Clone, Copy)]
pub(crate) struct Redacted<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
