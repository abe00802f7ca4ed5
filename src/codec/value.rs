//! The types of property values, and how each is read and written.

use core::num::{NonZeroU16, NonZeroU32};

use super::error::FieldError;
use super::field::Field;
use super::property_id::{PropertyId, WireType};
use super::reader::{Context, Reader};
use super::sink::Sink;
use super::types::{MaximumQoS, PayloadFormat, SubscriptionIdentifier};
use super::user_property::UserProperty;
use super::violation::Violation;
use crate::text::Utf8Str;
use crate::topic::{TopicErrorKind, TopicName};

/// A type of property values.
pub(crate) trait Value<'a>: Copy {
    const WIRE_TYPE: WireType;

    fn read(reader: &mut Reader<'a>, field: Field, context: Context) -> Result<Self, FieldError>;

    /// Writes the identifier of the property and the value.
    fn write<S: Sink>(self, id: PropertyId, out: &mut S);
}

/// Returns the error of an illegal value at `offset`.
#[cold]
fn illegal(offset: usize, field: Field) -> FieldError {
    FieldError::new(offset, field, Violation::IllegalPropertyValue)
}

impl<'a> Value<'a> for bool {
    const WIRE_TYPE: WireType = WireType::Byte;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, _: Context) -> Result<Self, FieldError> {
        match reader.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(illegal(reader.offset_before(1), field)),
        }
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        out.array([id as u8, u8::from(self)]);
    }
}

impl<'a> Value<'a> for PayloadFormat {
    const WIRE_TYPE: WireType = WireType::Byte;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, context: Context) -> Result<Self, FieldError> {
        Ok(if bool::read(reader, field, context)? { Self::Utf8 } else { Self::Unspecified })
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        out.array([id as u8, self as u8]);
    }
}

impl<'a> Value<'a> for MaximumQoS {
    const WIRE_TYPE: WireType = WireType::Byte;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, context: Context) -> Result<Self, FieldError> {
        Ok(if bool::read(reader, field, context)? { Self::AtLeastOnce } else { Self::AtMostOnce })
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        out.array([id as u8, self as u8]);
    }
}

impl<'a> Value<'a> for u16 {
    const WIRE_TYPE: WireType = WireType::TwoByteInteger;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, _: Context) -> Result<Self, FieldError> {
        reader.u16(field)
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        let [high, low] = self.to_be_bytes();
        out.array([id as u8, high, low]);
    }
}

impl<'a> Value<'a> for NonZeroU16 {
    const WIRE_TYPE: WireType = WireType::TwoByteInteger;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, _: Context) -> Result<Self, FieldError> {
        Self::new(reader.u16(field)?).ok_or_else(|| illegal(reader.offset_before(2), field))
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        self.get().write(id, out);
    }
}

impl<'a> Value<'a> for u32 {
    const WIRE_TYPE: WireType = WireType::FourByteInteger;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, _: Context) -> Result<Self, FieldError> {
        reader.u32(field)
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        let [a, b, c, d] = self.to_be_bytes();
        out.array([id as u8, a, b, c, d]);
    }
}

impl<'a> Value<'a> for NonZeroU32 {
    const WIRE_TYPE: WireType = WireType::FourByteInteger;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, _: Context) -> Result<Self, FieldError> {
        Self::new(reader.u32(field)?).ok_or_else(|| illegal(reader.offset_before(4), field))
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        self.get().write(id, out);
    }
}

impl<'a> Value<'a> for SubscriptionIdentifier {
    const WIRE_TYPE: WireType = WireType::VariableByteInteger;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, _: Context) -> Result<Self, FieldError> {
        // 0 is encoded in one byte, because a longer form would have been refused.
        Self::new(reader.varint(field)?).map_err(|_| illegal(reader.offset_before(1), field))
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        out.u8(id as u8);
        out.varint(self.get());
    }
}

impl<'a> Value<'a> for Utf8Str<'a> {
    const WIRE_TYPE: WireType = WireType::Utf8String;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, context: Context) -> Result<Self, FieldError> {
        reader.string(field, context.limits.disallowed_code_points)
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        self.as_bytes().write(id, out);
    }
}

impl<'a> Value<'a> for TopicName<'a> {
    const WIRE_TYPE: WireType = WireType::Utf8String;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, context: Context) -> Result<Self, FieldError> {
        reader.full_topic_name(field, context.limits.disallowed_code_points)
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        out.require(|| !self.is_empty(), Field::Property(id), Violation::Text(TopicErrorKind::Empty));
        self.as_bytes().write(id, out);
    }
}

impl<'a> Value<'a> for &'a [u8] {
    const WIRE_TYPE: WireType = WireType::BinaryData;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, _: Context) -> Result<Self, FieldError> {
        reader.binary(field)
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        out.u8(id as u8);
        out.binary(Field::Property(id), self);
    }
}

impl<'a> Value<'a> for UserProperty<'a> {
    const WIRE_TYPE: WireType = WireType::Utf8StringPair;

    #[inline(always)]
    fn read(reader: &mut Reader<'a>, field: Field, context: Context) -> Result<Self, FieldError> {
        let name = reader.string(field, context.limits.disallowed_code_points)?;
        let value = reader.string(field, context.limits.disallowed_code_points)?;
        Ok(Self { name, value })
    }

    #[inline(always)]
    fn write<S: Sink>(self, id: PropertyId, out: &mut S) {
        out.u8(id as u8);
        out.binary(Field::Property(id), self.name.as_bytes());
        out.binary(Field::Property(id), self.value.as_bytes());
    }
}
