//! The `Debug` output of secrets.

use core::fmt;

/// A credential, such as a password. `Debug` prints its length only, because its output ends up in logs.
#[derive(Clone, Copy)]
pub(crate) struct Redacted<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
