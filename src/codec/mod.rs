//! Bytes to packets and packets to bytes, for MQTT 3.1, 3.1.1 and 5.0. No state, no allocator.
//!
//! - [`decode`] takes the bytes that have arrived and returns the first [`Packet`] and its size, the number of bytes that are missing, or a
//!   [`DecodeError`] with the byte, the field and the clause. [`packets`] goes through a whole buffer.
//! - `encode` of [`Packet`], and of each kind of packet, appends to any `bytes::BufMut`; `encode_to_slice`
//!   writes into a `&mut [u8]`; `encoded_len` tells the size beforehand.
//!
//! A packet borrows from what it was decoded from, or from what it is to be encoded from: one type serves for both.

mod ack;
mod auth;
mod clause;
mod connack;
mod connect;
mod disconnect;
mod error;
mod header;
mod limits;
mod list;
mod measure;
mod packet;
mod ping;
mod property;
mod publish;
mod reader;
mod reason;
mod stream;
mod subscribe;
mod types;
mod unsubscribe;
mod value;
mod writer;

pub use self::ack::{PubAck, PubComp, PubRec, PubRel};
pub use self::auth::Auth;
pub use self::connack::ConnAck;
pub use self::connect::{Connect, Will};
pub use self::disconnect::Disconnect;
pub use self::error::{DecodeError, EncodeError, ErrorKind, Field, Violation};
pub use self::header::{FixedHeader, MAX_PACKET_SIZE, MAX_REMAINING_LENGTH};
pub use self::limits::Limits;
pub use self::list::{Entry, List, ListIter};
pub use self::packet::Packet;
pub use self::property::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties, PropertyId,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, UserProperty, WillProperties,
};
pub use self::publish::{Delivery, Publish};
pub use self::reason::{
    AuthReasonCode, ConnAckReasonCode, DisconnectReasonCode, PubAckReasonCode, PubRelReasonCode, ReasonCode,
    SubAckReasonCode, UnsubAckReasonCode,
};
pub use self::stream::{Decoded, Packets, decode, packets};
pub use self::subscribe::{SubAck, Subscribe, Subscription};
pub use self::types::{
    MaximumQoS, OutOfRange, PacketId, PacketType, PayloadFormat, QoS, RetainHandling, Sender, SubscriptionIdentifier,
    Version,
};
pub use self::unsubscribe::{UnsubAck, Unsubscribe};
pub use self::value::WireType;
