//! User properties (section 3.1.2.11.8).

use crate::text::{TextError, Utf8Str};

/// A User Property: a name and a value whose meaning the specification does not define (section 3.1.2.11.8). Names may
/// be repeated, and the order is significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UserProperty<'a> {
    /// The name.
    pub name: Utf8Str<'a>,
    /// The value.
    pub value: Utf8Str<'a>,
}

impl<'a> UserProperty<'a> {
    /// Creates a user property.
    ///
    /// # Errors
    ///
    /// [`TextError`] if a text contains U+0000 or is longer than 65,535 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::{Disconnect, DisconnectProperties, UserProperty};
    /// let user_properties = [UserProperty::new("site", "berlin-03")?];
    /// let properties = DisconnectProperties { user_properties: (&user_properties).into(), ..Default::default() };
    /// assert!(!properties.is_empty());
    /// # Ok::<(), mqtt_sansio::TextError>(())
    /// ```
    pub fn new(name: &'a str, value: &'a str) -> Result<Self, TextError> {
        Ok(Self { name: Utf8Str::new(name)?, value: Utf8Str::new(value)? })
    }
}
