//! PUBLISH (section 3.3).

use core::fmt;

use super::error::{EncodeError, FieldError};
use super::field::Field;
use super::header::{DUP, QOS, RETAIN};
use super::packet_type::PacketType;
use super::property::PublishProperties;
use super::reader::{Context, Reader};
use super::sink::{Body, Sink};
use super::types::{PacketId, QoS};
use super::varint::{Varint, read_varint};
use super::version::Version;
use super::violation::Violation;
use super::writer;
use crate::escaped::Escaped;
use crate::topic::{TopicErrorKind, TopicName};

/// PUBLISH: a message, from a client or from a server.
///
/// ```
/// # use mqtt_sansio::codec::{Delivery, Publish, PublishProperties};
/// # use mqtt_sansio::{PacketId, TopicName, Version};
/// # #[cfg(feature = "alloc")] {
/// let publish = Publish {
///     delivery: Delivery::ExactlyOnce { id: PacketId::new(7)?, dup: false },
///     topic: TopicName::new("home/temp")?,
///     payload: b"21.5",
///     properties: PublishProperties { message_expiry_interval: Some(60), ..PublishProperties::default() },
///     ..Publish::default()
/// };
/// let mut out = Vec::new();
/// assert_eq!(publish.encode(Version::V5, &mut out)?, publish.encoded_len(Version::V5)?);
/// # }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Publish<'a> {
    /// The QoS, and for QoS 1 and 2 the packet identifier and the DUP flag.
    pub delivery: Delivery,
    /// The RETAIN flag. From a client: whether the server retains the message. From a server: whether this is a
    /// retained message that is sent because of a new subscription; for a subscription with Retain As Published, the
    /// flag with which the message was published (section 3.3.1.3).
    pub retain: bool,
    /// The Topic Name. It may be empty in 5.0, if a topic alias replaces it (section 3.3.2.1).
    pub topic: TopicName<'a>,
    /// The payload; may be empty. `Debug` prints it as escaped text, cut after 64 bytes.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serialize::binary::serialize"))]
    pub payload: &'a [u8],
    /// The properties; empty before 5.0.
    pub properties: PublishProperties<'a>,
}

/// The QoS of a PUBLISH with the fields that it needs: a packet identifier and the DUP flag with QoS 1 and 2, none with
/// QoS 0 \[MQTT-2.2.1-2, MQTT-2.2.1-3, MQTT-3.3.1-2\].
///
/// ```
/// # use mqtt_sansio::codec::Delivery;
/// # use mqtt_sansio::{PacketId, QoS};
/// let delivery = Delivery::new(QoS::AtLeastOnce, PacketId::new(7)?, false);
/// assert_eq!((delivery.qos(), delivery.packet_id()), (QoS::AtLeastOnce, Some(PacketId::new(7)?)));
/// assert_eq!(Delivery::AtMostOnce.packet_id(), None);
/// assert!(!delivery.dup());
/// # Ok::<(), mqtt_sansio::codec::OutOfRange>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Delivery {
    /// QoS 0.
    #[default]
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// The packet identifier, which PUBACK refers to.
        id: PacketId,
        /// The DUP flag: whether the message may have been sent before.
        dup: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// The packet identifier, which PUBREC, PUBREL and PUBCOMP refer to.
        id: PacketId,
        /// The DUP flag: whether the message may have been sent before.
        dup: bool,
    },
}

impl Delivery {
    /// Creates a delivery; with QoS 0, `id` and `dup` are ignored.
    pub const fn new(qos: QoS, id: PacketId, dup: bool) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce { id, dup },
            QoS::ExactlyOnce => Self::ExactlyOnce { id, dup },
        }
    }

    /// Returns the QoS.
    pub const fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// Returns the packet identifier; `None` for QoS 0.
    pub const fn packet_id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { id, .. } | Self::ExactlyOnce { id, .. } => Some(id),
        }
    }

    /// Returns the DUP flag; false for QoS 0.
    pub const fn dup(self) -> bool {
        match self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { dup, .. } | Self::ExactlyOnce { dup, .. } => dup,
        }
    }
}

impl<'a> Publish<'a> {
    /// Returns whether the packet has no properties, so that [`read_plain`](Self::read_plain) can read it.
    #[inline(always)]
    pub(crate) fn is_plain(flags: u8, body: &[u8], version: Version) -> bool {
        if version != Version::V5 {
            return true;
        }
        let Some((topic_len, after)) = body.split_first_chunk::<2>() else { return false };
        let packet_id_len = if flags & QOS != 0 { 2 } else { 0 };
        let at = usize::from(u16::from_be_bytes(*topic_len)).wrapping_add(packet_id_len);
        after.get(at) == Some(&0)
    }

    /// Returns the size of the topic and the packet identifier, without the length of the topic, and the bytes behind that;
    /// `None` if not enough bytes have arrived to know it.
    fn before_properties(flags: u8, body: &[u8]) -> Option<(usize, &[u8])> {
        let (topic_len, after) = body.split_first_chunk::<2>()?;
        let packet_id_len = if flags & QOS != 0 { 2 } else { 0 };
        Some((usize::from(u16::from_be_bytes(*topic_len)).wrapping_add(packet_id_len), after))
    }

    /// Returns the offset of the properties in the body, and their length; `None` if not enough bytes have arrived to know
    /// it, or if there are none.
    pub(crate) fn property_length(flags: u8, body: &[u8], version: Version) -> Option<(usize, u32)> {
        let (before, after) = Self::before_properties(flags, body).filter(|_| version == Version::V5)?;
        match read_varint(after.get(before..)?) {
            Varint::Value(length, _) => Some((before.saturating_add(2), length)),
            Varint::Incomplete | Varint::Malformed(..) => None,
        }
    }

    /// Returns the size of the topic, packet identifier and properties; `None` if not enough bytes have arrived to know
    /// it.
    #[cfg(feature = "alloc")]
    pub(crate) fn head_len(flags: u8, body: &[u8], version: Version) -> Option<usize> {
        let (before, after) = Self::before_properties(flags, body)?;
        let properties = match version {
            Version::V31 | Version::V311 => 0,
            Version::V5 => match read_varint(after.get(before..)?) {
                Varint::Value(length, size) => (length as usize).saturating_add(usize::from(size)),
                Varint::Incomplete => return None,
                Varint::Malformed(..) => 0, // `read` reports the error
            },
        };
        Some(before.saturating_add(properties).saturating_add(2))
    }

    /// Reads a PUBLISH without properties, which most are.
    #[inline(always)]
    pub(crate) fn read_plain(
        flags: u8,
        reader: &mut Reader<'a>,
        context: Context,
    ) -> Result<(Delivery, TopicName<'a>, &'a [u8]), FieldError> {
        let topic_at = reader.offset();
        let (delivery, topic) = Self::read_head(flags, reader, context)?;
        if context.version == Version::V5 {
            reader.u8(Field::PropertyLength)?;
        }
        if topic.is_empty() {
            return Err(FieldError::new(topic_at, Field::TopicName, Violation::NoTopic));
        }
        Ok((delivery, topic, reader.take_rest()))
    }

    /// Reads a PUBLISH that may have properties.
    #[inline(always)]
    pub(crate) fn read(flags: u8, reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        let topic_at = reader.offset();
        let (delivery, topic) = Self::read_head(flags, reader, context)?;
        let properties = PublishProperties::read(reader, Field::PropertyLength, context)?;
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(FieldError::new(topic_at, Field::TopicName, Violation::NoTopic));
        }
        Ok(Self { delivery, retain: flags & RETAIN != 0, topic, payload: reader.take_rest(), properties })
    }

    /// Reads the fields before the properties.
    #[inline(always)]
    fn read_head(
        flags: u8,
        reader: &mut Reader<'a>,
        context: Context,
    ) -> Result<(Delivery, TopicName<'a>), FieldError> {
        let dup = flags & DUP != 0;
        let qos = QoS::from_value((flags & QOS) >> 1).unwrap_or_default(); // the first byte has been checked: never 3
        let topic = reader.topic_name(Field::TopicName, context.limits.disallowed_code_points)?;
        if topic.is_empty() && context.version != Version::V5 {
            return Err(FieldError::new(
                reader.offset_before(2),
                Field::TopicName,
                Violation::Text(TopicErrorKind::Empty),
            ));
        }
        // Without a branch on the QoS, which would be mispredicted in a stream of mixed packets.
        let id = reader.packet_id_if(qos != QoS::AtMostOnce)?;
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
        };
        Ok((delivery, topic))
    }

    /// Encodes all fields but the payload into the first bytes of `out`, and returns their number.
    ///
    /// The payload has to follow on the wire. A large payload can be sent without a copy in this way, by a vectored
    /// write.
    ///
    /// # Errors
    ///
    /// Those of [`encode_to_slice`](Self::encode_to_slice).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::Publish;
    /// # use mqtt_sansio::{TopicName, Version};
    /// let publish = Publish { topic: TopicName::new("t")?, payload: b"a large payload", ..Publish::default() };
    /// let mut head = [0; 16];
    /// let size = publish.encode_head_to_slice(Version::V311, &mut head)?;
    /// assert_eq!(head[..size], *b"\x30\x12\x00\x01t"); // to be written, and then the payload
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline]
    pub fn encode_head_to_slice(&self, version: Version, out: &mut [u8]) -> Result<usize, EncodeError> {
        writer::to_slice(&Head(self.parts()), version, out)
    }

    /// Encodes all fields but the payload to the end of `out`, and returns their size in bytes: see
    /// [`encode_head_to_slice`](Self::encode_head_to_slice).
    ///
    /// # Errors
    ///
    /// Those of [`encode`](Self::encode).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::Publish;
    /// # use mqtt_sansio::{TopicName, Version};
    /// # use std::io::{IoSlice, Write};
    /// # let mut transport = Vec::new();
    /// let publish = Publish { topic: TopicName::new("t")?, payload: b"a large payload", ..Publish::default() };
    /// let mut head = Vec::new();
    /// publish.encode_head(Version::V311, &mut head)?;
    /// transport.write_vectored(&[IoSlice::new(&head), IoSlice::new(publish.payload)])?;
    /// # assert_eq!(transport, b"\x30\x12\x00\x01ta large payload");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[cfg(feature = "alloc")]
    #[inline]
    pub fn encode_head(&self, version: Version, out: &mut impl bytes::BufMut) -> Result<usize, EncodeError> {
        writer::to_buf(&Head(self.parts()), version, out)
    }

    #[inline(always)]
    const fn parts(&self) -> PublishParts<'_> {
        let Self { delivery, retain, topic, payload, properties } = self;
        PublishParts { delivery: *delivery, retain: *retain, topic: *topic, payload, properties }
    }
}

/// Prints all fields. The payload is printed as escaped text, cut after 64 bytes.
impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivery, retain, topic, payload, properties } = self;
        f.debug_struct("Publish")
            .field("delivery", delivery)
            .field("retain", retain)
            .field("topic", topic)
            .field("payload", &Escaped(payload))
            .field("properties", properties)
            .finish()
    }
}

impl Body for Publish<'_> {
    const TYPE: PacketType = PacketType::Publish;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn first_byte(&self) -> u8 {
        self.parts().first_byte()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        self.parts().write(version, out);
    }
}

/// The fields of a PUBLISH. An engine stores the content of a message and its delivery separately.
#[derive(Clone, Copy)]
pub(crate) struct PublishParts<'p> {
    pub(crate) delivery: Delivery,
    pub(crate) retain: bool,
    pub(crate) topic: TopicName<'p>,
    pub(crate) payload: &'p [u8],
    pub(crate) properties: &'p PublishProperties<'p>,
}

#[cfg(feature = "alloc")]
impl PublishParts<'_> {
    /// Appends the packet to `out`, and returns its size.
    #[inline]
    pub(crate) fn encode(&self, version: Version, out: &mut impl bytes::BufMut) -> Result<usize, EncodeError> {
        writer::to_buf(self, version, out)
    }

    /// Like [`Publish::encode_head`].
    #[inline]
    pub(crate) fn encode_head(&self, version: Version, out: &mut impl bytes::BufMut) -> Result<usize, EncodeError> {
        writer::to_buf(&Head(*self), version, out)
    }

    /// Returns the size of the packet, in bytes.
    #[inline]
    pub(crate) fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        writer::encoded_len(self, version)
    }
}

impl PublishParts<'_> {
    /// Writes all fields but the payload.
    #[inline(always)]
    fn write_head<S: Sink>(&self, version: Version, out: &mut S) {
        match version {
            Version::V5 => out.require(
                || !self.topic.is_empty() || self.properties.topic_alias.is_some(),
                Field::TopicName,
                Violation::NoTopic,
            ),
            Version::V31 | Version::V311 => {
                out.require(|| !self.topic.is_empty(), Field::TopicName, Violation::Text(TopicErrorKind::Empty));
            }
        }
        out.binary(Field::TopicName, self.topic.as_bytes());
        if let Some(id) = self.delivery.packet_id() {
            out.u16(id.get());
        }
        out.properties(version, Field::Properties, self.properties);
    }
}

impl Body for PublishParts<'_> {
    const TYPE: PacketType = PacketType::Publish;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn first_byte(&self) -> u8 {
        let dup = if self.delivery.dup() { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        PacketType::Publish.first_byte() | dup | self.delivery.qos().value() << 1 | retain
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        self.write_head(version, out);
        out.raw(self.payload);
    }
}

/// A PUBLISH whose payload is sent separately.
struct Head<'p>(PublishParts<'p>);

impl Body for Head<'_> {
    const TYPE: PacketType = PacketType::Publish;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.0.is_plain()
    }

    #[inline(always)]
    fn first_byte(&self) -> u8 {
        self.0.first_byte()
    }

    #[inline(always)]
    fn detached_len(&self) -> usize {
        self.0.payload.len()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        self.0.write_head(version, out);
    }
}
