//! The 15 packet types (section 2.1.2) and the first byte of each.

use core::fmt;

use super::version::{Sender, Version};

/// A packet type (section 2.1.2). The numbers are those on the wire.
///
/// ```
/// # use mqtt_sansio::Version;
/// # use mqtt_sansio::codec::{PacketType, Sender};
/// assert_eq!(PacketType::from_number(3), Some(PacketType::Publish));
/// assert_eq!(PacketType::PubAck.name(), "PUBACK");
/// assert!(!PacketType::Connect.may_come_from(Sender::Server, Version::V5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
pub enum PacketType {
    /// CONNECT: a client opens a connection.
    Connect = 1,
    /// CONNACK: the server's answer to CONNECT.
    ConnAck,
    /// PUBLISH: a message.
    Publish,
    /// PUBACK: completes the delivery of a message of QoS 1.
    PubAck,
    /// PUBREC: acknowledges the receipt of a message of QoS 2.
    PubRec,
    /// PUBREL: the sender of a message of QoS 2 releases its packet identifier.
    PubRel,
    /// PUBCOMP: completes the delivery of a message of QoS 2.
    PubComp,
    /// SUBSCRIBE: a client requests subscriptions.
    Subscribe,
    /// SUBACK: the server's answer to SUBSCRIBE.
    SubAck,
    /// UNSUBSCRIBE: a client ends subscriptions.
    Unsubscribe,
    /// UNSUBACK: the server's answer to UNSUBSCRIBE.
    UnsubAck,
    /// PINGREQ: a client shows that it is alive, and checks that the server is.
    PingReq,
    /// PINGRESP: the server's answer to PINGREQ.
    PingResp,
    /// DISCONNECT: the last packet of a connection.
    Disconnect,
    /// AUTH: a step of an authentication exchange; 5.0 only.
    Auth,
}

impl PacketType {
    /// All packet types, in the order of their numbers.
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

    /// Returns the packet type with this number, the upper four bits of a packet's first byte.
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

    /// Returns the name in the specification, in capitals.
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

    /// Returns whether `sender` may send packets of this type (section 2.1.2).
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
    /// Returns the first byte of a packet of this type; for PUBLISH with QoS 0, DUP 0 and RETAIN 0 (section 2.1.3).
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}
