//! The pass that goes before writing: it counts the bytes of a packet, and finds what keeps it from being sent.

use super::error::{EncodeError, Field, Violation};
use super::header::{MAX_REMAINING_LENGTH, varint_len};
use super::types::{PacketType, Version};
use super::writer::{Body, Section, Sink};
use crate::text::MAX_LEN;

/// How large a packet is, and its parts that have a length of their own.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) remaining_length: u32,
    /// The bytes that will be written, fixed header included.
    pub(crate) total: usize,
    pub(crate) sections: Sections,
}

/// The lengths of the sections of a packet, in order. There are two in a CONNECT with a will, and one in most others.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sections {
    lengths: [u32; 2],
    count: u8,
}

impl Sections {
    #[inline(always)]
    fn push(&mut self, length: u32) {
        let [first, second] = &mut self.lengths;
        if self.count == 0 {
            *first = length;
        } else {
            *second = length;
        }
        self.count = 1;
    }

    /// The length of the first section that has not been asked for.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> u32 {
        let [first, second] = self.lengths;
        self.lengths = [second, 0];
        first
    }
}

/// Counts and checks.
pub(crate) struct Measure {
    len: u64,
    sections: Sections,
    objection: Option<(Field, Objection)>,
}

enum Objection {
    Violation(Violation),
    NotInVersion,
    TooLong,
}

impl Measure {
    /// Finds how large a packet will be, and whether it can be sent at all.
    #[inline(always)]
    pub(crate) fn of<B: Body>(body: &B, version: Version) -> Result<Size, EncodeError> {
        let mut measure = Self { len: 0, sections: Sections::default(), objection: None };
        body.write(version, &mut measure);
        if let Some((field, objection)) = measure.objection {
            return Err(refusal(B::TYPE, field, objection, version));
        }
        let detached = body.detached_len();
        measure.count(detached);
        if measure.len > u64::from(MAX_REMAINING_LENGTH) {
            return Err(EncodeError::PacketTooLarge { packet: B::TYPE });
        }
        let remaining_length = measure.len as u32;
        let total = (remaining_length as usize)
            .wrapping_add(usize::from(varint_len(remaining_length)))
            .wrapping_add(1)
            .wrapping_sub(detached);
        Ok(Size { remaining_length, total, sections: measure.sections })
    }

    /// Does not wrap around: what is counted lies in memory. (Entries of a list may share theirs, 2^17 bytes each at the
    /// most; a list of 2^46 of them would itself take petabytes.)
    #[inline(always)]
    const fn count(&mut self, bytes: usize) {
        self.len = self.len.wrapping_add(bytes as u64);
    }

    /// In line, so that nobody wants the address of the counters and they live in registers.
    #[inline(always)]
    fn object(&mut self, field: Field, objection: Objection) {
        // The first one counts.
        if self.objection.is_none() {
            self.objection = Some((field, objection));
        }
    }
}

#[cold]
fn refusal(packet: PacketType, field: Field, objection: Objection, version: Version) -> EncodeError {
    match objection {
        Objection::Violation(violation) => EncodeError::Invalid { packet, field, violation, version },
        Objection::NotInVersion => EncodeError::NotInVersion { packet, field, version },
        Objection::TooLong => EncodeError::FieldTooLong { packet, field },
    }
}

impl Sink for Measure {
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
    fn binary(&mut self, field: Field, bytes: &[u8]) {
        if bytes.len() > MAX_LEN {
            self.object(field, Objection::TooLong);
        }
        self.count(2);
        self.count(bytes.len());
    }

    #[inline(always)]
    fn section(&mut self, section: &impl Section) {
        let before = self.len;
        section.write(self);
        // When it is longer than a length can say, the packet is too large as well, and is refused for that.
        let len = self.len.wrapping_sub(before) as u32;
        self.sections.push(len);
        self.count(usize::from(varint_len(len)));
    }

    #[inline(always)]
    fn rule(&mut self, kept: impl FnOnce() -> bool, field: Field, violation: Violation) {
        if !kept() {
            self.object(field, Objection::Violation(violation));
        }
    }

    #[inline(always)]
    fn absent(&mut self, absent: impl FnOnce() -> bool, field: Field) {
        if !absent() {
            self.object(field, Objection::NotInVersion);
        }
    }
}
