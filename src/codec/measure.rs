//! The pass before writing: it computes the size of a packet and checks the rules for senders.

use super::error::EncodeError;
use super::field::Field;
use super::packet_type::PacketType;
use super::sink::{Body, Section, Sink};
use super::varint::{MAX_REMAINING_LENGTH, varint_len};
use super::version::Version;
use super::violation::Violation;
use crate::text::MAX_LEN;

/// The size of a packet and of its sections.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) remaining_length: u32,
    /// Number of bytes that will be written, fixed header included.
    pub(crate) total: usize,
    pub(crate) sections: Sections,
}

/// The lengths of the sections of a packet, in order: two in a CONNECT with a will, at most one in other packets.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sections {
    lengths: [u32; 2],
    one_is_there: bool,
}

impl Sections {
    #[inline(always)]
    fn push(&mut self, length: u32) {
        let [first, second] = &mut self.lengths;
        *(if self.one_is_there { second } else { first }) = length;
        self.one_is_there = true;
    }

    /// Returns the length of the next section.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> u32 {
        let [first, second] = self.lengths;
        self.lengths = [second, 0];
        first
    }
}

/// Counts bytes and checks rules. An error only sets a bit; a [`Diagnosis`] then finds out which one it is.
#[derive(Default)]
pub(crate) struct Measure<const PLAIN: bool> {
    len: u64,
    sections: Sections,
    /// Bitwise OR of all lengths that have to fit into two bytes: above 65,535 if one of them is.
    lengths: usize,
    is_invalid: bool,
}

impl<const PLAIN: bool> Measure<PLAIN> {
    /// Computes the size of a packet, and checks whether it can be sent.
    #[inline(always)]
    pub(crate) fn of<B: Body>(body: &B, version: Version) -> Result<Size, EncodeError> {
        let mut measure = Self::default();
        body.write(version, &mut measure);
        let detached = body.detached_len();
        measure.count(detached);
        if measure.is_invalid | (measure.lengths > MAX_LEN) | (measure.len > u64::from(MAX_REMAINING_LENGTH)) {
            return Err(Diagnosis::of(body, version));
        }
        let remaining_length = measure.len as u32;
        let total = (remaining_length as usize)
            .wrapping_add(usize::from(varint_len(remaining_length)))
            .wrapping_add(1)
            .wrapping_sub(detached);
        Ok(Size { remaining_length, total, sections: measure.sections })
    }

    /// Measures a section. It is not inlined and returns by value, so that packets without properties, nearly all of
    /// them, keep their counters in registers.
    #[inline(never)]
    fn of_section(section: &impl Section) -> Self {
        let mut measure = Self::default();
        section.write(&mut measure);
        measure
    }

    /// Adds to the length. It cannot overflow, because the bytes are in memory. (Entries of a list may share their
    /// bytes, at most 2^17 each, but a list of 2^46 entries would itself take petabytes.)
    #[inline(always)]
    const fn count(&mut self, bytes: usize) {
        self.len = self.len.wrapping_add(bytes as u64);
    }
}

impl<const PLAIN: bool> Sink for Measure<PLAIN> {
    const PLAIN: bool = PLAIN;

    #[inline(always)]
    fn array<const N: usize>(&mut self, _: [u8; N]) {
        self.count(N);
    }

    #[inline(always)]
    fn varint(&mut self, value: u32) {
        self.count(usize::from(varint_len(value)));
    }

    #[inline(always)]
    fn raw(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
    }

    #[inline(always)]
    fn binary(&mut self, _: Field, bytes: &[u8]) {
        self.lengths |= bytes.len();
        self.count(2);
        self.count(bytes.len());
    }

    #[inline(always)]
    fn section(&mut self, section: &impl Section) {
        if PLAIN {
            return self.count(1);
        }
        if section.is_empty() {
            self.sections.push(0);
            return self.count(1);
        }
        let measured = Measure::<false>::of_section(section);
        self.lengths |= measured.lengths;
        self.is_invalid |= measured.is_invalid;
        // A length above u32 is truncated here. The packet is then too large as well, and is refused for that.
        let len = measured.len as u32;
        self.sections.push(len);
        self.count(usize::from(varint_len(len)));
        self.len = self.len.wrapping_add(measured.len);
    }

    #[inline(always)]
    fn require(&mut self, holds: impl FnOnce() -> bool, _: Field, _: Violation) {
        self.is_invalid |= !holds();
    }

    #[inline(always)]
    fn require_absent(&mut self, absent: impl FnOnce() -> bool, _: Field) {
        self.is_invalid |= !absent();
    }
}

/// Finds the first error of a packet that cannot be sent.
struct Diagnosis {
    packet: PacketType,
    version: Version,
    error: Option<EncodeError>,
}

impl Diagnosis {
    #[cold]
    #[inline(never)]
    fn of<B: Body>(body: &B, version: Version) -> EncodeError {
        let mut diagnosis = Self { packet: B::TYPE, version, error: None };
        body.write(version, &mut diagnosis);
        diagnosis.error.unwrap_or(EncodeError::PacketTooLarge { packet: B::TYPE })
    }

    fn find(&mut self, is_right: bool, error: EncodeError) {
        if !is_right && self.error.is_none() {
            self.error = Some(error);
        }
    }
}

impl Sink for Diagnosis {
    const PLAIN: bool = false;

    fn array<const N: usize>(&mut self, _: [u8; N]) {}

    fn varint(&mut self, _: u32) {}

    fn raw(&mut self, _: &[u8]) {}

    fn binary(&mut self, field: Field, bytes: &[u8]) {
        self.find(bytes.len() <= MAX_LEN, EncodeError::FieldTooLong { packet: self.packet, field });
    }

    fn section(&mut self, section: &impl Section) {
        section.write(self);
    }

    fn require(&mut self, holds: impl FnOnce() -> bool, field: Field, violation: Violation) {
        let Self { packet, version, .. } = *self;
        self.find(holds(), EncodeError::Invalid { packet, field, violation, version });
    }

    fn require_absent(&mut self, absent: impl FnOnce() -> bool, field: Field) {
        let Self { packet, version, .. } = *self;
        self.find(absent(), EncodeError::NotInVersion { packet, field, version });
    }
}
