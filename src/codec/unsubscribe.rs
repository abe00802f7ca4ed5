//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use super::error::FieldError;
use super::field::Field;
use super::list::{self, List};
use super::packet_type::PacketType;
use super::property::{AckProperties, UnsubscribeProperties, split_binary};
use super::reader::{Context, Reader};
use super::reason::UnsubAckReasonCode;
use super::sink::{Body, Sink};
use super::subscribe::write_filter;
use super::types::PacketId;
use super::version::Version;
use super::violation::Violation;
use crate::topic::TopicFilter;

/// UNSUBSCRIBE: a client ends subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Unsubscribe<'a> {
    /// The packet identifier, which UNSUBACK refers to.
    pub id: PacketId,
    /// The topic filters, character by character as in SUBSCRIBE; at least one \[MQTT-3.10.3-2\].
    pub filters: List<'a, TopicFilter<'a>>,
    /// The properties; empty before 5.0.
    pub properties: UnsubscribeProperties<'a>,
}

impl<'a> list::sealed::Entry<'a> for TopicFilter<'a> {
    #[inline(always)]
    fn next(bytes: &mut &'a [u8], _: Version) -> Option<Self> {
        let (filter, rest) = split_binary(bytes)?;
        *bytes = rest;
        Some(Self::validated(filter))
    }
}

impl<'a> Unsubscribe<'a> {
    /// Creates the packet without properties.
    ///
    /// ```
    /// # use mqtt_sansio::codec::Unsubscribe;
    /// # use mqtt_sansio::{PacketId, TopicFilter, Version};
    /// # #[cfg(feature = "alloc")] {
    /// let filters = [TopicFilter::new("a/#")?];
    /// let mut out = Vec::new();
    /// Unsubscribe::new(PacketId::MIN, &filters).encode(Version::V311, &mut out)?;
    /// assert_eq!(out, b"\xa2\x07\x00\x01\x00\x03a/#");
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn new(id: PacketId, filters: impl Into<List<'a, TopicFilter<'a>>>) -> Self {
        Self { id, filters: filters.into(), properties: UnsubscribeProperties::default() }
    }

    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        let id = reader.packet_id()?;
        let properties = UnsubscribeProperties::read(reader, Field::PropertyLength, context)?;
        let check = |reader: &mut Reader<'a>| reader.topic_filter(context).map(drop);
        Ok(Self { id, filters: reader.list_of_filters(context.version, check)?, properties })
    }
}

impl Body for Unsubscribe<'_> {
    const TYPE: PacketType = PacketType::Unsubscribe;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.u16(self.id.get());
        out.properties(version, Field::Properties, &self.properties);
        out.require(|| !self.filters.is_empty(), Field::Payload, Violation::NoTopicFilter);
        if let Some(bytes) = self.filters.wire_bytes_of(version) {
            return out.raw(bytes);
        }
        for filter in self.filters {
            write_filter(filter, version, out);
        }
    }
}

/// UNSUBACK: the server's answer to UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnsubAck<'a> {
    /// The packet identifier of the UNSUBSCRIBE.
    pub id: PacketId,
    /// The outcome for each filter, in the order of the UNSUBSCRIBE \[MQTT-3.11.3-1\]: at least one in 5.0, none
    /// before.
    pub reason_codes: List<'a, UnsubAckReasonCode>,
    /// The properties; empty before 5.0.
    pub properties: AckProperties<'a>,
}

impl<'a> list::sealed::Entry<'a> for UnsubAckReasonCode {
    #[inline(always)]
    fn next(bytes: &mut &'a [u8], _: Version) -> Option<Self> {
        Self::from_value(list::next_byte(bytes)?)
    }
}

impl<'a> UnsubAck<'a> {
    /// Creates the packet without properties.
    ///
    /// ```
    /// # use mqtt_sansio::codec::{List, UnsubAck, UnsubAckReasonCode};
    /// # use mqtt_sansio::{PacketId, Version};
    /// # #[cfg(feature = "alloc")] {
    /// let mut out = Vec::new();
    /// UnsubAck::new(PacketId::MIN, &[UnsubAckReasonCode::Success]).encode(Version::V5, &mut out)?;
    /// assert_eq!(out, b"\xb0\x04\x00\x01\x00\x00");
    /// UnsubAck::new(PacketId::MIN, List::EMPTY).encode(Version::V311, &mut out)?; // before 5.0 without reason codes
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn new(id: PacketId, reason_codes: impl Into<List<'a, UnsubAckReasonCode>>) -> Self {
        Self { id, reason_codes: reason_codes.into(), properties: AckProperties::default() }
    }

    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        let id = reader.packet_id()?;
        if context.version != Version::V5 {
            reader.finish()?;
            return Ok(Self { id, reason_codes: List::EMPTY, properties: AckProperties::default() });
        }
        let properties = AckProperties::read(reader, Field::PropertyLength, context)?;
        let reason_codes =
            reader.reason_codes(context.version, |code| UnsubAckReasonCode::from_value(code).is_some())?;
        Ok(Self { id, reason_codes, properties })
    }
}

impl Body for UnsubAck<'_> {
    const TYPE: PacketType = PacketType::UnsubAck;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.u16(self.id.get());
        if version == Version::V5 {
            out.section(&self.properties);
            out.require(|| !self.reason_codes.is_empty(), Field::Payload, Violation::NoReasonCode);
            if let Some(bytes) = self.reason_codes.wire_bytes_of(version) {
                return out.raw(bytes);
            }
            for code in self.reason_codes {
                out.u8(code.value());
            }
        } else {
            out.require_absent(|| self.properties.is_empty(), Field::Properties);
            out.require_absent(|| self.reason_codes.is_empty(), Field::ReasonCode);
        }
    }
}
