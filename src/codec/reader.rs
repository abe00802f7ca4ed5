//! The cursor over received bytes. Every wire type (section 1.5) is read here and only here.

use core::num::NonZeroU16;

use super::error::FieldError;
use super::field::Field;
use super::limits::Limits;
use super::list::List;
use super::types::PacketId;
use super::varint::{Varint, read_varint};
use super::version::Version;
use super::violation::Violation;
use crate::text::{self, DisallowedCodePoints, Utf8Str};
use crate::topic::{self, TopicError, TopicErrorKind, TopicFilter, TopicName};

/// The version and the limits that apply to a packet.
#[derive(Clone, Copy)]
pub(crate) struct Context {
    pub(crate) version: Version,
    pub(crate) limits: Limits,
}

/// The unread bytes of one packet, or of a section of it.
///
/// Errors are made by functions that take values, not `&self`: a reader whose address is not taken stays in registers.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// The offset of the end of `rest`, from the start of the packet.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Creates a reader of `bytes`, which end at the offset `end` of their packet.
    pub(crate) const fn new(bytes: &'a [u8], end: usize) -> Self {
        Self { rest: bytes, end }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the offset of the next byte, from the start of the packet.
    pub(crate) const fn offset(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    /// Returns the offset of the byte that was read `back` bytes ago.
    pub(crate) const fn offset_before(&self, back: usize) -> usize {
        self.offset().saturating_sub(back)
    }

    /// Returns the error of a field that begins here and is longer than the rest.
    #[inline(always)]
    fn too_short(&self, field: Field) -> FieldError {
        too_short(self.offset(), self.is_empty(), field)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self, field: Field) -> Result<[u8; N], FieldError> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(self.too_short(field)),
        }
    }

    #[inline(always)]
    pub(crate) fn u8(&mut self, field: Field) -> Result<u8, FieldError> {
        let [byte] = self.array(field)?;
        Ok(byte)
    }

    #[inline(always)]
    pub(crate) fn u16(&mut self, field: Field) -> Result<u16, FieldError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    #[inline(always)]
    pub(crate) fn u32(&mut self, field: Field) -> Result<u32, FieldError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// Reads a Variable Byte Integer (section 1.5.5).
    #[inline(always)]
    pub(crate) fn varint(&mut self, field: Field) -> Result<u32, FieldError> {
        if let Some((&byte @ 0..=0x7F, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(u32::from(byte));
        }
        let (value, size) = long_varint(self.rest, self.offset(), field)?;
        self.skip(size);
        Ok(value)
    }

    /// Reads Binary Data (section 1.5.6): a two-byte length and as many bytes.
    #[inline(always)]
    pub(crate) fn binary(&mut self, field: Field) -> Result<&'a [u8], FieldError> {
        if let Some((length, rest)) = self.rest.split_first_chunk::<2>()
            && let Some((bytes, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        {
            self.rest = rest;
            return Ok(bytes);
        }
        Err(self.too_short(field))
    }

    /// Reads a UTF-8 Encoded String (section 1.5.4).
    #[inline(always)]
    pub(crate) fn string(&mut self, field: Field, disallowed: DisallowedCodePoints) -> Result<Utf8Str<'a>, FieldError> {
        let text = self.binary(field)?;
        match text::check(text, disallowed) {
            None => Ok(Utf8Str::validated(text)),
            Some(error) => Err(text_error(self.offset_before(text.len()), field, error.into())),
        }
    }

    /// Reads a topic name. It may be empty: the caller checks whether a topic alias replaces it.
    #[inline(always)]
    pub(crate) fn topic_name(
        &mut self,
        field: Field,
        disallowed: DisallowedCodePoints,
    ) -> Result<TopicName<'a>, FieldError> {
        let text = self.binary(field)?;
        match topic::check_name(text, disallowed) {
            None => Ok(TopicName::validated(text)),
            Some(error) => Err(text_error(self.offset_before(text.len()), field, error)),
        }
    }

    /// Reads a topic name of at least one character \[MQTT-4.7.3-1\].
    #[inline(always)]
    pub(crate) fn full_topic_name(
        &mut self,
        field: Field,
        disallowed: DisallowedCodePoints,
    ) -> Result<TopicName<'a>, FieldError> {
        let topic = self.topic_name(field, disallowed)?;
        if topic.is_empty() {
            return Err(FieldError::new(self.offset_before(2), field, Violation::Text(TopicErrorKind::Empty)));
        }
        Ok(topic)
    }

    /// Reads a topic filter (section 4.7). `$share/` has a meaning in 5.0 only.
    #[inline(always)]
    pub(crate) fn topic_filter(&mut self, context: Context) -> Result<TopicFilter<'a>, FieldError> {
        let text = self.binary(Field::TopicFilter)?;
        let disallowed = context.limits.disallowed_code_points;
        match topic::check_filter(text, disallowed, context.version == Version::V5) {
            None => Ok(TopicFilter::validated(text)),
            Some(error) => Err(text_error(self.offset_before(text.len()), Field::TopicFilter, error)),
        }
    }

    /// Reads a Packet Identifier, which is never 0 \[MQTT-2.2.1-3\].
    #[inline(always)]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, FieldError> {
        let id = self.u16(Field::PacketIdentifier)?;
        PacketId::new(id)
            .map_err(|_| FieldError::new(self.offset_before(2), Field::PacketIdentifier, Violation::PacketIdZero))
    }

    /// Reads a Packet Identifier if `present`; returns an arbitrary one otherwise.
    #[inline(always)]
    pub(crate) fn packet_id_if(&mut self, present: bool) -> Result<PacketId, FieldError> {
        let next = self.rest.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes));
        match NonZeroU16::new(if present { next } else { 1 }) {
            Some(id) => {
                self.skip(if present { 2 } else { 0 });
                Ok(PacketId::from(id))
            }
            // It is missing, or 0.
            None => self.packet_id(),
        }
    }

    /// Reads a reason code that the packet may carry.
    #[inline(always)]
    pub(crate) fn reason_code<C>(&mut self, from_value: impl FnOnce(u8) -> Option<C>) -> Result<C, FieldError> {
        let value = self.u8(Field::ReasonCode)?;
        from_value(value)
            .ok_or_else(|| FieldError::new(self.offset_before(1), Field::ReasonCode, Violation::IllegalReasonCode))
    }

    /// Reads the rest as a list of at least one topic filter, with the options that `check` reads \[MQTT-3.8.3-2,
    /// MQTT-3.10.3-2\].
    #[inline(always)]
    pub(crate) fn list_of_filters<T>(
        &mut self,
        version: Version,
        mut check: impl FnMut(&mut Self) -> Result<(), FieldError>,
    ) -> Result<List<'a, T>, FieldError> {
        let bytes = self.rest;
        let mut count = 0_u32;
        while !self.is_empty() {
            check(self)?;
            count = count.saturating_add(1);
        }
        if count == 0 {
            return Err(FieldError::new(self.end, Field::Payload, Violation::NoTopicFilter));
        }
        Ok(List::wire(bytes, count, version))
    }

    /// Reads the rest as a list of at least one reason code \[MQTT-3.9.3-2, MQTT-3.11.3-2\].
    #[inline(always)]
    pub(crate) fn reason_codes<T>(
        &mut self,
        version: Version,
        is_legal: impl Fn(u8) -> bool,
    ) -> Result<List<'a, T>, FieldError> {
        let codes = self.take_rest();
        if codes.is_empty() {
            return Err(FieldError::new(self.end, Field::Payload, Violation::NoReasonCode));
        }
        match codes.iter().position(|&code| !is_legal(code)) {
            None => Ok(List::wire(codes, codes.len() as u32, version)), // a packet has fewer than 2^29 bytes
            Some(at) => {
                let offset = self.offset_before(codes.len()).saturating_add(at);
                Err(FieldError::new(offset, Field::ReasonCode, Violation::IllegalReasonCode))
            }
        }
    }

    /// Reads a length and returns a reader of as many bytes.
    #[inline(always)]
    pub(crate) fn section(&mut self, length_field: Field) -> Result<Self, FieldError> {
        let before = self.rest;
        let length = self.varint(length_field)? as usize;
        match self.rest.split_at_checked(length) {
            Some((section, rest)) => {
                self.rest = rest;
                Ok(Self { rest: section, end: self.end.saturating_sub(rest.len()) })
            }
            None => Err(FieldError::new(self.end.saturating_sub(before.len()), length_field, Violation::Truncated)),
        }
    }

    /// Skips bytes that have been checked.
    #[inline(always)]
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Takes the rest.
    #[inline(always)]
    pub(crate) const fn take_rest(&mut self) -> &'a [u8] {
        let (rest, nothing) = self.rest.split_at(self.rest.len());
        self.rest = nothing;
        rest
    }

    /// Returns an error if there is a rest.
    #[inline(always)]
    pub(crate) fn finish(&self) -> Result<(), FieldError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(FieldError::new(self.offset(), Field::RemainingLength, Violation::TrailingBytes))
    }
}

/// Returns the error of a field that begins at `offset` and is longer than the rest.
#[cold]
#[inline(never)]
fn too_short(offset: usize, nothing_there: bool, field: Field) -> FieldError {
    FieldError::new(offset, field, if nothing_there { Violation::Missing } else { Violation::Truncated })
}

/// Reads a Variable Byte Integer of any length at `offset`; returns the value and its size.
#[inline(never)]
fn long_varint(bytes: &[u8], offset: usize, field: Field) -> Result<(u32, usize), FieldError> {
    match read_varint(bytes) {
        Varint::Value(value, size) => Ok((value, usize::from(size))),
        Varint::Incomplete => Err(too_short(offset, bytes.is_empty(), field)),
        Varint::Malformed(violation, at) => {
            Err(FieldError::new(offset.saturating_add(usize::from(at)), field, violation))
        }
    }
}

/// Returns the error of a string whose first character is at `offset`.
#[cold]
fn text_error(offset: usize, field: Field, error: TopicError) -> FieldError {
    let start = match error.kind {
        // The offset of an empty string is that of its length prefix.
        TopicErrorKind::Empty => offset.saturating_sub(2),
        _ => offset,
    };
    FieldError::new(start.saturating_add(error.at), field, Violation::Text(error.kind))
}
