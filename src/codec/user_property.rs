//! User properties (section 3.1.2.11.8).

use crate::text::{TextError, Utf8Str};

/// A UTF-8 String Pair: a name and a value that the specification gives no meaning to (section 3.1.2.11.8). A name may
/// come more than once, and the order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserProperty<'a> {
    /// The name.
    pub name: Utf8Str<'a>,
    /// The value.
    pub value: Utf8Str<'a>,
}

impl<'a> UserProperty<'a> {
    /// Takes a user property that is to be sent.
    ///
    /// # Errors
    ///
    /// [`TextError`] when one of the texts contains U+0000 or is longer than 65,535 bytes.
    pub fn new(name: &'a str, value: &'a str) -> Result<Self, TextError> {
        Ok(Self { name: Utf8Str::new(name)?, value: Utf8Str::new(value)? })
    }
}
