//! The traits with which a packet describes its content to the passes of the encoder, which count, check and write.

use super::field::Field;
use super::packet_type::PacketType;
use super::version::Version;
use super::violation::Violation;

/// A packet without its fixed header.
pub(crate) trait Body {
    const TYPE: PacketType;

    /// Returns the first byte of the packet.
    #[inline(always)]
    fn first_byte(&self) -> u8 {
        Self::TYPE.first_byte()
    }

    /// Returns whether the packet has no properties. It is then written by code without properties, which needs fewer
    /// registers.
    fn is_plain(&self) -> bool;

    /// Returns the size of the part that is sent separately, which is counted in the Remaining Length.
    #[inline(always)]
    fn detached_len(&self) -> usize {
        0
    }

    /// Describes the fields in order, and the rules that have to hold.
    fn write<S: Sink>(&self, version: Version, out: &mut S);
}

/// A part of a packet with a length of its own before it: the properties.
pub(crate) trait Section {
    fn is_empty(&self) -> bool;

    fn write<S: Sink>(&self, out: &mut S);
}

/// A pass of the encoder: receives the description of a packet.
pub(crate) trait Sink {
    /// Whether all sections are empty.
    const PLAIN: bool;

    /// Takes one or more numbers, as bytes.
    fn array<const N: usize>(&mut self, bytes: [u8; N]);

    #[inline(always)]
    fn u8(&mut self, value: u8) {
        self.array([value]);
    }

    #[inline(always)]
    fn u16(&mut self, value: u16) {
        self.array(value.to_be_bytes());
    }

    /// Takes a Variable Byte Integer; `value` is at most 268,435,455.
    fn varint(&mut self, value: u32);

    /// Takes bytes without a length.
    fn raw(&mut self, bytes: &[u8]);

    /// Takes Binary Data or a UTF-8 Encoded String: a two-byte length and the bytes.
    fn binary(&mut self, field: Field, bytes: &[u8]);

    /// Takes a section with its length before it. A packet has at most two.
    fn section(&mut self, section: &impl Section);

    /// Requires a rule of the specification to hold.
    fn require(&mut self, holds: impl FnOnce() -> bool, field: Field, violation: Violation);

    /// Takes the properties with their length before them; before 5.0 requires that there are none.
    #[inline(always)]
    fn properties(&mut self, version: Version, field: Field, properties: &impl Section) {
        match version {
            Version::V5 => self.section(properties),
            Version::V31 | Version::V311 => self.require_absent(|| Self::PLAIN || properties.is_empty(), field),
        }
    }

    /// Takes a reason code and the properties, in the shortest form (section 3.4.2.1); before 5.0 requires that the
    /// code is 0 and that there are no properties.
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

    /// Requires a field to be empty, because the version does not have it.
    fn require_absent(&mut self, absent: impl FnOnce() -> bool, field: Field);
}
