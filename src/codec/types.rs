//! The small values that packets are made of.

use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use thiserror::Error;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, protocol level 3.
    V31,
    /// MQTT 3.1.1: protocol name `MQTT`, protocol level 4.
    V311,
    /// MQTT 5.0: protocol name `MQTT`, protocol version 5.
    #[default]
    V5,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The protocol name in CONNECT.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// The protocol level, or protocol version, in CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The version with this level, if there is one.
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            3 => Some(Self::V31),
            4 => Some(Self::V311),
            5 => Some(Self::V5),
            _ => None,
        }
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    /// Takes `3.1`, `3.1.1` and `5.0`, and `5` as well.
    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        match text {
            "3.1" => Ok(Self::V31),
            "3.1.1" => Ok(Self::V311),
            "5.0" | "5" => Ok(Self::V5),
            _ => Err(UnknownVersion),
        }
    }
}

/// A text that is not the name of a [`Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the versions of MQTT are 3.1, 3.1.1 and 5.0")]
pub struct UnknownVersion;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// Which end of a connection has sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Sender {
    /// The end that opened the connection with CONNECT.
    Client,
    /// The end that answered with CONNACK.
    Server,
}

/// The 15 control packets (section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum PacketType {
    /// A client asks to be connected.
    Connect = 1,
    /// The server's answer to CONNECT.
    ConnAck,
    /// A message.
    Publish,
    /// Ends the delivery of a message of QoS 1.
    PubAck,
    /// First answer to a message of QoS 2.
    PubRec,
    /// Second step of the sender of a message of QoS 2.
    PubRel,
    /// Ends the delivery of a message of QoS 2.
    PubComp,
    /// A client asks for subscriptions.
    Subscribe,
    /// The server's answer to SUBSCRIBE.
    SubAck,
    /// A client ends subscriptions.
    Unsubscribe,
    /// The server's answer to UNSUBSCRIBE.
    UnsubAck,
    /// A client shows that it is alive.
    PingReq,
    /// The server's answer to PINGREQ.
    PingResp,
    /// The last packet of a connection.
    Disconnect,
    /// A step of an authentication exchange; 5.0 only.
    Auth,
}

impl PacketType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The type with this number, the upper four bits of a packet's first byte.
    #[inline]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name in the specification, in capitals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// Whether this end of a connection ever sends such a packet (section 2.1.2).
    pub const fn may_come_from(self, sender: Sender, version: Version) -> bool {
        let is_v5 = matches!(version, Version::V5);
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => matches!(sender, Sender::Client),
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => matches!(sender, Sender::Server),
            Self::Disconnect => matches!(sender, Sender::Client) || is_v5,
            Self::Publish | Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp => true,
            Self::Auth => is_v5,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A Packet Identifier: 1 to 65,535 \[MQTT-2.2.1-3\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct PacketId(NonZeroU16);

impl PacketId {
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
    pub const MAX: u32 = crate::codec::header::MAX_REMAINING_LENGTH;

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
