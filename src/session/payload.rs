//! The payload of a message to publish.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::escaped::Escaped;

/// The payload of a message to publish: borrowed or shared bytes.
///
/// Shared bytes of 2 KiB or more are sent, and stored until they are acknowledged, without being copied; all other
/// payloads are copied. Two payloads are equal if their bytes are equal.
///
/// ```
/// # use mqtt_sansio::{Message, OwnedMessage};
/// let received = OwnedMessage::try_from(Message::new("home/temp", "21.5"))?;
/// let copy = Message::new("archive/temp", received.payload()); // shares the bytes
/// assert_eq!(copy.get_payload(), b"21.5");
/// # Ok::<(), mqtt_sansio::PublishError>(())
/// ```
#[derive(Clone)]
pub enum Payload<'a> {
    /// Borrowed bytes, which are copied.
    Borrowed(&'a [u8]),
    /// Shared bytes, which are copied only if they are shorter than 2 KiB.
    Shared(Bytes),
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Borrowed(payload) => f.debug_tuple("Borrowed").field(&Escaped(payload)).finish(),
            Self::Shared(payload) => f.debug_tuple("Shared").field(&Escaped(payload)).finish(),
        }
    }
}

impl Payload<'_> {
    /// Returns the bytes of the payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Serializes a payload as bytes.
#[cfg(feature = "serde")]
pub(super) fn serialize<S: serde::Serializer>(payload: &Payload<'_>, to: S) -> Result<S::Ok, S::Error> {
    crate::codec::serialize::binary::serialize(payload.as_bytes(), to)
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Payload<'_> {}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Payload<'a> {
    fn from(text: &'a String) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Shared(bytes.into())
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

/// Shares the bytes, for instance those of [`OwnedMessage::payload`](crate::OwnedMessage::payload).
impl From<&Bytes> for Payload<'_> {
    fn from(bytes: &Bytes) -> Self {
        Self::Shared(bytes.clone())
    }
}
