//! [`Packet`], and the functions that all packet types share.

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
///
/// ```
/// # use mqtt_sansio::codec::{Packet, PacketType, PubAck};
/// # use mqtt_sansio::{PacketId, Version};
/// # #[cfg(feature = "alloc")] {
/// let packet = Packet::from(PubAck::new(PacketId::new(7)?));
/// assert_eq!((packet.packet_type(), packet.packet_id()), (PacketType::PubAck, Some(PacketId::new(7)?)));
///
/// let mut out = Vec::new();
/// packet.encode(Version::V5, &mut out)?; // `PubAck` and the others have the same methods
/// assert_eq!(out, b"\x40\x02\x00\x07");
/// # }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
// This is an optimization, not a guarantee: after a tag of eight bytes the fields of a variant keep their position when
// the variant is wrapped, and are written once. That halves the time to decode an acknowledgement.
#[repr(u64)]
#[allow(clippy::large_enum_variant)] // boxing needs an allocator
pub enum Packet<'a> {
    /// CONNECT: a client opens a connection.
    Connect(Connect<'a>),
    /// CONNACK: the server's answer to CONNECT.
    ConnAck(ConnAck<'a>),
    /// PUBLISH: a message.
    Publish(Publish<'a>),
    /// PUBACK: completes the delivery of a message of QoS 1.
    PubAck(PubAck<'a>),
    /// PUBREC: acknowledges the receipt of a message of QoS 2.
    PubRec(PubRec<'a>),
    /// PUBREL: the sender of a message of QoS 2 releases its packet identifier.
    PubRel(PubRel<'a>),
    /// PUBCOMP: completes the delivery of a message of QoS 2.
    PubComp(PubComp<'a>),
    /// SUBSCRIBE: a client requests subscriptions.
    Subscribe(Subscribe<'a>),
    /// SUBACK: the server's answer to SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE: a client ends subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK: the server's answer to UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// PINGREQ: a client shows that it is alive, and checks that the server is.
    PingReq,
    /// PINGRESP: the server's answer to PINGREQ.
    PingResp,
    /// DISCONNECT: the last packet of a connection.
    Disconnect(Disconnect<'a>),
    /// AUTH: a step of an authentication exchange; 5.0 only.
    Auth(Auth<'a>),
}

/// Evaluates an expression with the body of the packet.
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
    /// Returns the packet type.
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

    /// Returns the packet identifier; `None` if the packet has none.
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

    /// Returns the size of the encoded packet, in bytes, fixed header included.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the packet cannot be encoded in this version.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::Packet;
    /// assert_eq!(Packet::PingReq.encoded_len(Version::V5)?, 2);
    /// # Ok::<(), mqtt_sansio::codec::EncodeError>(())
    /// ```
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        with_body!(self, body => writer::encoded_len(body, version))
    }

    /// Encodes the packet into the first bytes of `out`, and returns their number.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the packet cannot be encoded in this version, or if `out` is too small. Nothing has been
    /// written then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::Packet;
    /// let mut out = [0; 64];
    /// let size = Packet::PingReq.encode_to_slice(Version::V5, &mut out)?;
    /// assert_eq!(out[..size], *b"\xc0\x00"); // the bytes to write
    /// # Ok::<(), mqtt_sansio::codec::EncodeError>(())
    /// ```
    #[inline]
    pub fn encode_to_slice(&self, version: Version, out: &mut [u8]) -> Result<usize, EncodeError> {
        with_body!(self, body => writer::to_slice(body, version, out))
    }

    /// Encodes the packet to the end of `out`, and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the packet cannot be encoded in this version, or if `out` has no room for it. Nothing has
    /// been written then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use bytes::BytesMut;
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::Packet;
    /// let mut out = BytesMut::new(); // or a `Vec<u8>`, or any other `BufMut`
    /// Packet::PingReq.encode(Version::V5, &mut out)?;
    /// Packet::PingResp.encode(Version::V5, &mut out)?;
    /// assert_eq!(out[..], *b"\xc0\x00\xd0\x00");
    /// # Ok::<(), mqtt_sansio::codec::EncodeError>(())
    /// ```
    #[cfg(feature = "alloc")]
    #[inline]
    pub fn encode(&self, version: Version, out: &mut impl bytes::BufMut) -> Result<usize, EncodeError> {
        with_body!(self, body => writer::to_buf(body, version, out))
    }
}

/// Implements the same functions for each packet type, and the conversion into [`Packet`].
macro_rules! packets {
    ($( $packet:ident ),* $(,)?) => {
        $(
            impl $packet<'_> {
                /// Returns the size of the encoded packet, in bytes, fixed header included. See the example at
                /// [`Packet::encoded_len`].
                ///
                /// # Errors
                ///
                /// [`EncodeError`] if the packet cannot be encoded in this version.
                pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
                    writer::encoded_len(self, version)
                }

                /// Encodes the packet into the first bytes of `out`, and returns their number. See the example at
                /// [`Packet::encode_to_slice`].
                ///
                /// # Errors
                ///
                /// [`EncodeError`] if the packet cannot be encoded in this version, or if `out` is too small. Nothing
                /// has been written then.
                pub fn encode_to_slice(&self, version: Version, out: &mut [u8]) -> Result<usize, EncodeError> {
                    writer::to_slice(self, version, out)
                }

                /// Encodes the packet to the end of `out`, and returns its size in bytes. See the example at
                /// [`Packet::encode`].
                ///
                /// # Errors
                ///
                /// [`EncodeError`] if the packet cannot be encoded in this version, or if `out` has no room for it.
                /// Nothing has been written then.
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
