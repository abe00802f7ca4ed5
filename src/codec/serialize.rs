//! The values of packets in the data model of `serde`: numbers of the wire as numbers, texts as strings.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use super::list::{Entry, List};
use super::reason::{
    AuthReasonCode, ConnAckReasonCode, DisconnectReasonCode, PubAckReasonCode, PubRelReasonCode, ReasonCode,
    SubAckReasonCode, UnsubAckReasonCode,
};
use super::types::{MaximumQoS, PacketId, PayloadFormat, QoS, RetainHandling, SubscriptionIdentifier};
use super::version::Version;
use crate::text::Utf8Str;
use crate::topic::{TopicFilter, TopicName};

macro_rules! as_text {
    ($($type:ty),*) => {
        $(
            /// As a string.
            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }
        )*
    };
}

as_text!(Utf8Str<'_>, TopicName<'_>, TopicFilter<'_>, Version);

macro_rules! as_number {
    ($($type:ty: $number:ident, $get:ident;)*) => {
        $(
            /// As the number on the wire.
            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.$number((*self).$get())
                }
            }
        )*
    };
}

as_number! {
    PacketId: serialize_u16, get;
    SubscriptionIdentifier: serialize_u32, get;
    QoS: serialize_u8, value;
    MaximumQoS: serialize_u8, value;
    PayloadFormat: serialize_u8, value;
    RetainHandling: serialize_u8, value;
    ReasonCode: serialize_u8, value;
    ConnAckReasonCode: serialize_u8, value;
    PubAckReasonCode: serialize_u8, value;
    PubRelReasonCode: serialize_u8, value;
    SubAckReasonCode: serialize_u8, value;
    UnsubAckReasonCode: serialize_u8, value;
    DisconnectReasonCode: serialize_u8, value;
    AuthReasonCode: serialize_u8, value;
}

macro_rules! from_number {
    ($($type:ty: $number:ty;)*) => {
        $(
            /// From the number on the wire.
            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    Self::try_from(<$number>::deserialize(deserializer)?).map_err(de::Error::custom)
                }
            }
        )*
    };
}

from_number! {
    PacketId: u16;
    SubscriptionIdentifier: u32;
    QoS: u8;
    MaximumQoS: u8;
    PayloadFormat: u8;
    RetainHandling: u8;
}

/// From `"3.1"`, `"3.1.1"`, `"5.0"` or `"5"`.
impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version of MQTT, as \"5.0\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Version, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// As a sequence.
impl<'a, T: Entry<'a> + Serialize> Serialize for List<'a, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for element in self {
            sequence.serialize_element(&element)?;
        }
        sequence.end()
    }
}

/// Bytes: in formats for people a string, if they are UTF-8; elsewhere, and otherwise, bytes.
pub(crate) struct Binary<'b>(pub(crate) &'b [u8]);

impl Serialize for Binary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match core::str::from_utf8(self.0) {
            Ok(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            _ => serializer.serialize_bytes(self.0),
        }
    }
}

/// Bytes in every format: those of a packet are no text.
#[cfg(feature = "alloc")]
pub(crate) struct Bytes<'b>(pub(crate) &'b [u8]);

#[cfg(feature = "alloc")]
impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A field of bytes, in the form of [`Binary`].
pub(crate) mod binary {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &(impl AsRef<[u8]> + ?Sized), to: S) -> Result<S::Ok, S::Error> {
        Binary(bytes.as_ref()).serialize(to)
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<Vec<u8>>>(from: D) -> Result<T, D::Error> {
        Ok(OwnedBytes::deserialize(from)?.0.into())
    }
}

/// A field of bytes that may be absent, in the form of [`Binary`].
pub(crate) mod optional_binary {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<impl AsRef<[u8]>>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| Binary(bytes.as_ref())).serialize(to)
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<Vec<u8>>>(from: D) -> Result<Option<T>, D::Error> {
        Ok(Option::<OwnedBytes>::deserialize(from)?.map(|bytes| bytes.0.into()))
    }
}

/// Bytes from a string, from bytes or from a sequence of numbers.
#[cfg(feature = "alloc")]
pub(crate) struct OwnedBytes(pub(crate) Vec<u8>);

#[cfg(feature = "alloc")]
impl<'de> Deserialize<'de> for OwnedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = OwnedBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes or a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OwnedBytes, E> {
                Ok(OwnedBytes(text.as_bytes().to_vec()))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<OwnedBytes, E> {
                Ok(OwnedBytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<OwnedBytes, E> {
                Ok(OwnedBytes(bytes))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<OwnedBytes, A::Error> {
                let mut bytes = Vec::new(); // the sequence may say any length
                while let Some(byte) = sequence.next_element()? {
                    bytes.push(byte);
                }
                Ok(OwnedBytes(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Any)
    }
}
