//! A control packet of any kind, and what all kinds have in common.

use super::ack::{PubAck, PubComp, PubRec, PubRel};
use super::auth::Auth;
use super::connack::ConnAck;
use super::connect::Connect;
use super::disconnect::Disconnect;
use super::error::EncodeError;
use super::packet_type::PacketType;
use super::ping::{PingReq, PingResp};
use super::publish::Publish;
use super::subscribe::{SubAck, Subscribe};
use super::types::PacketId;
use super::unsubscribe::{UnsubAck, Unsubscribe};
use super::version::Version;
use super::writer;

/// A control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// Not a promise, but speed: behind a tag of eight bytes every field of a variant stays where it is when the variant is
// wrapped, and is written once. That halves the time of decoding an acknowledgement.
#[repr(u64)]
#[allow(clippy::large_enum_variant)] // without an allocator there is nothing to put the large ones into
pub enum Packet<'a> {
    /// A client asks to be connected.
    Connect(Connect<'a>),
    /// The server's answer to CONNECT.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// Ends the delivery of a message of QoS 1.
    PubAck(PubAck<'a>),
    /// First answer to a message of QoS 2.
    PubRec(PubRec<'a>),
    /// Second step of the sender of a message of QoS 2.
    PubRel(PubRel<'a>),
    /// Ends the delivery of a message of QoS 2.
    PubComp(PubComp<'a>),
    /// A client asks for subscriptions.
    Subscribe(Subscribe<'a>),
    /// The server's answer to SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// A client ends subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// The server's answer to UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// A client shows that it is alive.
    PingReq,
    /// The server's answer to PINGREQ.
    PingResp,
    /// The last packet of a connection.
    Disconnect(Disconnect<'a>),
    /// A step of an authentication exchange; 5.0 only.
    Auth(Auth<'a>),
}

/// Calls a function of the writer with the packet inside.
macro_rules! with_body {
    ($packet:expr, $body:ident => $call:expr) => {
        match $packet {
            Packet::Connect($body) => $call,
            Packet::ConnAck($body) => $call,
            Packet::Publish($body) => $call,
            Packet::PubAck($body) => $call,
            Packet::PubRec($body) => $call,
            Packet::PubRel($body) => $call,
            Packet::PubComp($body) => $call,
            Packet::Subscribe($body) => $call,
            Packet::SubAck($body) => $call,
            Packet::Unsubscribe($body) => $call,
            Packet::UnsubAck($body) => $call,
            Packet::PingReq => {
                let $body = &PingReq;
                $call
            }
            Packet::PingResp => {
                let $body = &PingResp;
                $call
            }
            Packet::Disconnect($body) => $call,
            Packet::Auth($body) => $call,
        }
    };
}

impl Packet<'_> {
    /// Which of the 15 it is.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// The packet identifier, of those that have one.
    pub const fn packet_id(&self) -> Option<PacketId> {
        match self {
            Self::Publish(publish) => publish.delivery.packet_id(),
            Self::PubAck(PubAck { id, .. })
            | Self::PubRec(PubRec { id, .. })
            | Self::PubRel(PubRel { id, .. })
            | Self::PubComp(PubComp { id, .. })
            | Self::Subscribe(Subscribe { id, .. })
            | Self::SubAck(SubAck { id, .. })
            | Self::Unsubscribe(Unsubscribe { id, .. })
            | Self::UnsubAck(UnsubAck { id, .. }) => Some(*id),
            Self::Connect(_)
            | Self::ConnAck(_)
            | Self::PingReq
            | Self::PingResp
            | Self::Disconnect(_)
            | Self::Auth(_) => None,
        }
    }

    /// The size of the encoded packet, in bytes, fixed header included.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when it cannot be encoded in this version, or at all.
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        with_body!(self, body => writer::encoded_len(body, version))
    }

    /// Writes the packet into the first bytes of `out`, and returns how many they are.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when it cannot be encoded in this version, or at all, or when `out` is too small. Nothing has
    /// been written then.
    #[inline]
    pub fn encode_to_slice(&self, version: Version, out: &mut [u8]) -> Result<usize, EncodeError> {
        with_body!(self, body => writer::to_slice(body, version, out))
    }

    /// Appends the packet to `out`, and returns how many bytes it takes.
    ///
    /// # Errors
    ///
    /// As [`encode_to_slice`](Self::encode_to_slice).
    #[cfg(feature = "alloc")]
    #[inline]
    pub fn encode(&self, version: Version, out: &mut impl bytes::BufMut) -> Result<usize, EncodeError> {
        with_body!(self, body => writer::to_buf(body, version, out))
    }
}

/// The same for each kind of packet alone, and a way into [`Packet`].
macro_rules! packets {
    ($( $packet:ident ),* $(,)?) => {
        $(
            impl $packet<'_> {
                /// The size of the encoded packet, in bytes, fixed header included.
                ///
                /// # Errors
                ///
                /// [`EncodeError`] when it cannot be encoded in this version, or at all.
                pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
                    writer::encoded_len(self, version)
                }

                /// Writes the packet into the first bytes of `out`, and returns how many they are.
                ///
                /// # Errors
                ///
                /// [`EncodeError`] when it cannot be encoded in this version, or at all, or when `out` is too small.
                /// Nothing has been written then.
                pub fn encode_to_slice(&self, version: Version, out: &mut [u8]) -> Result<usize, EncodeError> {
                    writer::to_slice(self, version, out)
                }

                /// Appends the packet to `out`, and returns how many bytes it takes.
                ///
                /// # Errors
                ///
                /// As [`encode_to_slice`](Self::encode_to_slice).
                #[cfg(feature = "alloc")]
                pub fn encode(&self, version: Version, out: &mut impl bytes::BufMut) -> Result<usize, EncodeError> {
                    writer::to_buf(self, version, out)
                }
            }

            impl<'a> From<$packet<'a>> for Packet<'a> {
                fn from(packet: $packet<'a>) -> Self {
                    Self::$packet(packet)
                }
            }
        )*
    };
}

packets! {
    Connect, ConnAck, Publish, PubAck, PubRec, PubRel, PubComp, Subscribe, SubAck, Unsubscribe, UnsubAck, Disconnect,
    Auth,
}

impl From<PingReq> for Packet<'_> {
    fn from(_: PingReq) -> Self {
        Self::PingReq
    }
}

impl From<PingResp> for Packet<'_> {
    fn from(_: PingResp) -> Self {
        Self::PingResp
    }
}
