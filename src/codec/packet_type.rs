//! The 15 control packets (section 2.1.2) and the byte that each begins with.

use core::fmt;

use super::version::{Sender, Version};

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

impl PacketType {
    /// The first byte of this packet; of a PUBLISH, that of a first message of QoS 0 (section 2.1.3).
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}
