//! How a packet describes itself to whatever counts, checks or writes it.

use super::field::Field;
use super::packet_type::PacketType;
use super::version::Version;
use super::violation::Violation;

/// The part of a packet behind its fixed header.
pub(crate) trait Body {
    const TYPE: PacketType;

    /// The first byte of the packet.
    #[inline(always)]
    fn first_byte(&self) -> u8 {
        Self::TYPE.first_byte()
    }

    /// Whether there are no properties in it: then it is written by code that knows of none and needs fewer registers.
    fn is_plain(&self) -> bool;

    /// The number of bytes that belong to the packet and are sent by somebody else.
    #[inline(always)]
    fn detached_len(&self) -> usize {
        0
    }

    /// Writes it, and says what has to hold.
    fn write<S: Sink>(&self, version: Version, out: &mut S);
}

/// Something that stands behind a length of its own: the properties.
pub(crate) trait Section {
    fn is_empty(&self) -> bool;

    fn write<S: Sink>(&self, out: &mut S);
}

/// Where the description of a packet goes to.
pub(crate) trait Sink {
    /// Whether all the sections are empty.
    const PLAIN: bool;

    /// A few bytes of a known number: numbers, and several of them at once.
    fn array<const N: usize>(&mut self, bytes: [u8; N]);

    #[inline(always)]
    fn u8(&mut self, value: u8) {
        self.array([value]);
    }

    #[inline(always)]
    fn u16(&mut self, value: u16) {
        self.array(value.to_be_bytes());
    }

    /// A Variable Byte Integer; `value` is at most 268,435,455.
    fn varint(&mut self, value: u32);

    /// Bytes as they are.
    fn raw(&mut self, bytes: &[u8]);

    /// Binary Data or a UTF-8 Encoded String: a two-byte length and the bytes.
    fn binary(&mut self, field: Field, bytes: &[u8]);

    /// A section behind its length; at most two in a packet.
    fn section(&mut self, section: &impl Section);

    /// A rule of the specification that the packet has to keep.
    fn require(&mut self, holds: impl FnOnce() -> bool, field: Field, violation: Violation);

    /// The properties behind their length; before 5.0 there must not be any.
    #[inline(always)]
    fn properties(&mut self, version: Version, field: Field, properties: &impl Section) {
        match version {
            Version::V5 => self.section(properties),
            Version::V31 | Version::V311 => self.require_absent(|| Self::PLAIN || properties.is_empty(), field),
        }
    }

    /// A reason code and the properties, in the shortest form that there is (section 3.4.2.1); before 5.0 there must
    /// not be any but 0.
    #[inline(always)]
    fn reason(&mut self, version: Version, code: u8, properties: &impl Section) {
        let no_properties = Self::PLAIN || properties.is_empty();
        if version == Version::V5 {
            if code != 0 || !no_properties {
                self.u8(code);
            }
            if !no_properties {
                self.section(properties);
            }
        } else {
            self.require_absent(|| code == 0, Field::ReasonCode);
            self.require_absent(|| no_properties, Field::Properties);
        }
    }

    /// What must not be there, because the version has no place for it.
    fn require_absent(&mut self, absent: impl FnOnce() -> bool, field: Field);
}
