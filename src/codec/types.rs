//! Numbers and small enums that are fields of packets.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};
use core::str::FromStr;

use thiserror::Error;

use super::varint::MAX_REMAINING_LENGTH;

/// A Packet Identifier: 1 to 65,535 \[MQTT-2.2.1-3\].
///
/// ```
/// # use mqtt_sansio::PacketId;
/// assert_eq!(PacketId::new(7)?.get(), 7);
/// assert!(PacketId::new(0).is_err());
/// # Ok::<(), mqtt_sansio::codec::OutOfRange>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest packet identifier: 1.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// Creates a packet identifier.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if `id` is 0.
    pub const fn new(id: u16) -> Result<Self, OutOfRange> {
        match NonZeroU16::new(id) {
            Some(id) => Ok(Self(id)),
            None => Err(OutOfRange("packet identifier", "1 to 65,535")),
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for PacketId {
    type Error = OutOfRange;

    fn try_from(id: u16) -> Result<Self, OutOfRange> {
        Self::new(id)
    }
}

impl From<PacketId> for NonZeroU16 {
    fn from(id: PacketId) -> Self {
        id.0
    }
}

impl From<NonZeroU16> for PacketId {
    fn from(id: NonZeroU16) -> Self {
        Self(id)
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A Subscription Identifier: 1 to 268,435,455 (section 3.8.2.1.2).
///
/// ```
/// # use mqtt_sansio::codec::SubscriptionIdentifier;
/// assert_eq!(SubscriptionIdentifier::new(7)?.get(), 7);
/// assert!(SubscriptionIdentifier::new(SubscriptionIdentifier::MAX + 1).is_err());
/// # Ok::<(), mqtt_sansio::codec::OutOfRange>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionIdentifier(NonZeroU32);

impl SubscriptionIdentifier {
    /// The largest subscription identifier: 268,435,455.
    pub const MAX: u32 = MAX_REMAINING_LENGTH;

    /// Creates a subscription identifier.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if `id` is 0 or above [`MAX`](Self::MAX).
    pub const fn new(id: u32) -> Result<Self, OutOfRange> {
        match NonZeroU32::new(id) {
            Some(id) if id.get() <= Self::MAX => Ok(Self(id)),
            _ => Err(OutOfRange("subscription identifier", "1 to 268,435,455")),
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for SubscriptionIdentifier {
    type Error = OutOfRange;

    fn try_from(id: u32) -> Result<Self, OutOfRange> {
        Self::new(id)
    }
}

impl From<SubscriptionIdentifier> for NonZeroU32 {
    fn from(id: SubscriptionIdentifier) -> Self {
        id.0
    }
}

impl FromStr for SubscriptionIdentifier {
    type Err = OutOfRange;

    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        Self::new(text.parse().unwrap_or_default()) // 0 is out of range
    }
}

impl fmt::Display for SubscriptionIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The error of a number, or of a string with a number, that is outside the range of its type. Its text states the
/// range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("a {0} is {1}")]
pub struct OutOfRange(&'static str, &'static str);

/// The quality of service: the delivery guarantee of a message (section 4.3).
///
/// It is read from a number, or from a text with a number, and printed as a number:
///
/// ```
/// # use mqtt_sansio::QoS;
/// assert_eq!("1".parse(), Ok(QoS::AtLeastOnce));
/// assert_eq!(QoS::try_from(2), Ok(QoS::ExactlyOnce));
/// assert_eq!(QoS::try_from(3).unwrap_err().to_string(), "a QoS is 0, 1 or 2");
/// assert_eq!(QoS::AtMostOnce.to_string(), "0");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: the message is sent once and not acknowledged. The default.
    #[default]
    AtMostOnce,
    /// QoS 1: the message is sent until it is acknowledged, so it may arrive more than once.
    AtLeastOnce,
    /// QoS 2: the message is delivered once, by a handshake of four packets.
    ExactlyOnce,
}

impl QoS {
    /// Returns the QoS with this value: 0, 1 or 2.
    #[inline]
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// The highest QoS that a server supports, if that is not 2 (section 3.2.2.3.4).
///
/// ```
/// # use mqtt_sansio::QoS;
/// # use mqtt_sansio::codec::MaximumQoS;
/// assert_eq!(MaximumQoS::of(QoS::AtLeastOnce), MaximumQoS::from_value(1));
/// assert_eq!(MaximumQoS::of(QoS::ExactlyOnce), None); // no property
/// assert_eq!(QoS::from(MaximumQoS::AtMostOnce).value(), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum MaximumQoS {
    /// QoS 0 only.
    AtMostOnce,
    /// QoS 0 and 1.
    AtLeastOnce,
}

impl MaximumQoS {
    /// Returns the maximum with this value: 0 or 1.
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            _ => None,
        }
    }

    /// Returns the property that announces `qos` as the maximum; `None` for QoS 2, which is the maximum without the
    /// property.
    pub const fn of(qos: QoS) -> Option<Self> {
        match qos {
            QoS::AtMostOnce => Some(Self::AtMostOnce),
            QoS::AtLeastOnce => Some(Self::AtLeastOnce),
            QoS::ExactlyOnce => None,
        }
    }
}

impl From<MaximumQoS> for QoS {
    fn from(maximum: MaximumQoS) -> Self {
        match maximum {
            MaximumQoS::AtMostOnce => Self::AtMostOnce,
            MaximumQoS::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// The declared format of a payload (section 3.3.2.3.2). The crate does not check a payload against it.
///
/// ```
/// # use mqtt_sansio::codec::{PayloadFormat, PublishProperties};
/// let properties = PublishProperties { payload_format_indicator: Some(PayloadFormat::Utf8), ..Default::default() };
/// assert_eq!(properties.payload_format_indicator.map(PayloadFormat::value), Some(1));
/// assert_eq!(PayloadFormat::from_value(2), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum PayloadFormat {
    /// Bytes of any kind; the same as no property at all.
    Unspecified,
    /// UTF-8 text.
    Utf8,
}

impl PayloadFormat {
    /// Returns the format with this value: 0 or 1.
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Unspecified),
            1 => Some(Self::Utf8),
            _ => None,
        }
    }
}

/// Retain Handling: when a server sends the retained messages for a subscription (section 3.8.3.1).
///
/// ```
/// # use mqtt_sansio::codec::RetainHandling;
/// assert_eq!(RetainHandling::from_value(1), Some(RetainHandling::SendIfNew));
/// assert_eq!(RetainHandling::DoNotSend.value(), 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum RetainHandling {
    /// At each SUBSCRIBE. The default, and the only behaviour before 5.0.
    #[default]
    SendAtSubscribe,
    /// At a SUBSCRIBE for a subscription that does not exist yet.
    SendIfNew,
    /// Never.
    DoNotSend,
}

impl RetainHandling {
    /// Returns the handling with this value: 0, 1 or 2.
    #[inline]
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::SendAtSubscribe),
            1 => Some(Self::SendIfNew),
            2 => Some(Self::DoNotSend),
            _ => None,
        }
    }
}

/// Implements the conversions between an enum and its number on the wire, also as a text.
macro_rules! numbered {
    ($( $type:ident: $name:literal, $range:literal; )*) => {
        $(
            impl $type {
                #[doc = concat!("Returns the number on the wire: ", $range, ".")]
                pub const fn value(self) -> u8 {
                    self as u8
                }
            }

            impl From<$type> for u8 {
                fn from(value: $type) -> Self {
                    value.value()
                }
            }

            impl TryFrom<u8> for $type {
                type Error = OutOfRange;

                fn try_from(value: u8) -> Result<Self, OutOfRange> {
                    Self::from_value(value).ok_or(OutOfRange($name, $range))
                }
            }

            impl FromStr for $type {
                type Err = OutOfRange;

                fn from_str(text: &str) -> Result<Self, OutOfRange> {
                    text.parse().ok().and_then(Self::from_value).ok_or(OutOfRange($name, $range))
                }
            }

            impl fmt::Display for $type {
                /// Writes the number.
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(&self.value(), f)
                }
            }
        )*
    };
}

numbered! {
    QoS: "QoS", "0, 1 or 2";
    MaximumQoS: "maximum QoS", "0 or 1";
    PayloadFormat: "payload format indicator", "0 or 1";
    RetainHandling: "retain handling", "0, 1 or 2";
}
