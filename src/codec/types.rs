//! The small values that packets are made of.

use core::fmt;
use core::num::NonZeroU16;

use thiserror::Error;

/// A Packet Identifier: 1 to 65,535 \[MQTT-2.2.1-3\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest: 1.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// Takes a packet identifier.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] when it is 0.
    pub const fn new(id: u16) -> Result<Self, OutOfRange> {
        match NonZeroU16::new(id) {
            Some(id) => Ok(Self(id)),
            None => Err(OutOfRange("packet identifier", "1 to 65,535")),
        }
    }

    /// The number.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionIdentifier(u32);

impl SubscriptionIdentifier {
    /// The largest.
    pub const MAX: u32 = super::varint::MAX_REMAINING_LENGTH;

    /// Takes a subscription identifier.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] when it is 0 or above [`MAX`](Self::MAX).
    pub const fn new(id: u32) -> Result<Self, OutOfRange> {
        if id == 0 || id > Self::MAX {
            return Err(OutOfRange("subscription identifier", "1 to 268,435,455"));
        }
        Ok(Self(id))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for SubscriptionIdentifier {
    type Error = OutOfRange;

    fn try_from(id: u32) -> Result<Self, OutOfRange> {
        Self::new(id)
    }
}

impl fmt::Display for SubscriptionIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A number that its field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("a {0} is {1}")]
pub struct OutOfRange(&'static str, &'static str);

/// The delivery guarantee of a message (section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once and forgotten.
    #[default]
    AtMostOnce,
    /// QoS 1: sent until it is acknowledged.
    AtLeastOnce,
    /// QoS 2: delivered once, by a handshake of four packets.
    ExactlyOnce,
}

impl QoS {
    /// 0, 1 or 2.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// The QoS with this value, if there is one.
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

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.value(), f)
    }
}

/// The highest QoS that a server takes, when that is not 2 (section 3.2.2.3.4).
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
    /// 0 or 1.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// The maximum that is to be announced for this QoS; `None` for 2, which is announced by saying nothing.
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

/// What a payload is said to be (section 3.3.2.3.2). Whether it is, nobody checks here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum PayloadFormat {
    /// Bytes of any kind; the same as saying nothing.
    Unspecified,
    /// UTF-8 text.
    Utf8,
}

impl PayloadFormat {
    /// 0 or 1.
    pub const fn value(self) -> u8 {
        self as u8
    }
}

/// When a new subscription is sent the retained messages (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum RetainHandling {
    /// Each time it is subscribed to.
    #[default]
    SendAtSubscribe,
    /// Only if there was no such subscription yet.
    SendIfNew,
    /// Never.
    DoNotSend,
}

impl RetainHandling {
    /// 0, 1 or 2.
    pub const fn value(self) -> u8 {
        self as u8
    }

    /// The handling with this value, if there is one.
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
