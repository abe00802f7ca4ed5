//! Decoding and encoding of packets, for MQTT 3.1, 3.1.1 and 5.0, without state and without an allocator.
//!
//! - [`decode`] returns the first [`Packet`] of a buffer and its size, or the number of bytes that are missing, or a
//!   [`DecodeError`] with the offset, the field and the clause. [`packets`] iterates over all packets of a buffer.
//! - `encode` of [`Packet`], and of each packet type, appends to any `bytes::BufMut` (feature `alloc`);
//!   `encode_to_slice` writes into a `&mut [u8]`; `encoded_len` returns the size beforehand.
//!
//! A packet borrows its texts, payload and lists, on decode from the input and on encode from the caller: one type
//! serves for both. The types rule out most invalid packets: a packet identifier is part of a delivery that needs one,
//! each packet has the type of its reason codes, and a topic is validated when it is created.
//!
//! Each version follows its own text. MQTT 3.1 calls some bits unused or disregarded: they are ignored on decode in
//! 3.1, and encoded as 0. A field that a version lacks is empty on decode; a value in such a field is an
//! [`EncodeError`].
//!
//! ```
//! # #[cfg(feature = "alloc")]
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! use mqtt_sansio::codec::{self, Decoded, Delivery, Limits, Packet, Publish, PublishProperties};
//! use mqtt_sansio::{PacketId, TopicName, Version};
//!
//! let publish = Publish {
//!     delivery: Delivery::AtLeastOnce { id: PacketId::new(7)?, dup: false }, // no id without QoS, no QoS without id
//!     topic: TopicName::new("home/kitchen/temp")?,
//!     payload: b"21.5",
//!     properties: PublishProperties { message_expiry_interval: Some(60), ..Default::default() },
//!     ..Publish::default()
//! };
//! let mut out = Vec::new();
//! publish.encode(Version::V5, &mut out)?;
//!
//! match codec::decode(&out, Version::V5, Limits::default())? {
//!     Decoded::Packet { packet: Packet::Publish(p), size } => assert_eq!((p, size), (publish, out.len())),
//!     Decoded::Packet { packet, .. } => unreachable!("{packet:?}"),
//!     Decoded::Incomplete { needs } => println!("{needs} more bytes at least"),
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "alloc"))]
//! # fn main() {}
//! ```

mod ack;
mod auth;
mod clause;
mod connack;
mod connect;
mod disconnect;
mod display;
mod error;
mod field;
mod header;
mod limits;
mod list;
mod measure;
mod packet;
#[cfg(feature = "alloc")]
mod packet_buf;
mod packet_type;
mod ping;
mod property;
mod property_id;
mod publish;
mod reader;
mod reason;
#[cfg(feature = "serde")]
pub(crate) mod serialize;
mod sink;
mod stream;
mod subscribe;
mod types;
mod unsubscribe;
mod user_property;
mod value;
mod varint;
mod version;
mod violation;
mod writer;

pub use self::ack::{PubAck, PubComp, PubRec, PubRel};
pub use self::auth::Auth;
pub use self::connack::ConnAck;
#[cfg(feature = "alloc")]
pub(crate) use self::connect::{AnswerForm, answer_form_of};
pub use self::connect::{Connect, Will};
pub use self::disconnect::Disconnect;
pub use self::error::{DecodeError, EncodeError};
pub use self::field::Field;
pub use self::header::{FixedHeader, MAX_PACKET_SIZE};
pub use self::limits::Limits;
pub use self::list::{Entry, List, ListIter};
pub use self::packet::Packet;
#[cfg(feature = "alloc")]
pub use self::packet_buf::PacketBuf;
pub use self::packet_type::PacketType;
pub use self::property::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties, PublishProperties,
    SubscribeProperties, UnsubscribeProperties, WillProperties,
};
pub use self::property_id::{PropertyId, WireType};
#[cfg(feature = "alloc")]
pub(crate) use self::publish::PublishParts;
pub use self::publish::{Delivery, Publish};
pub use self::reason::{
    AuthReasonCode, ConnAckReasonCode, DisconnectReasonCode, PubAckReasonCode, PubRelReasonCode, ReasonCode,
    SubAckReasonCode, UnsubAckReasonCode, WrongReasonCode,
};
pub use self::stream::{Decoded, Packets, decode, packets};
#[cfg(feature = "alloc")]
pub(crate) use self::stream::{Short, decode_publish_head, decode_short};
pub use self::subscribe::{SubAck, Subscribe, Subscription};
pub use self::types::{MaximumQoS, OutOfRange, PacketId, PayloadFormat, QoS, RetainHandling, SubscriptionIdentifier};
pub use self::unsubscribe::{UnsubAck, Unsubscribe};
pub use self::user_property::UserProperty;
pub use self::varint::MAX_REMAINING_LENGTH;
pub use self::version::{Sender, UnknownVersion, Version};
pub use self::violation::{ErrorKind, Violation};
pub use crate::text::DisallowedCodePoints;
