//! The pass that writes a packet.
//!
//! Each packet is described once, by [`Body::write`]. The description first goes to a [`Measure`], which counts and
//! checks, and if it finds no error to a [`Writer`]. So size and bytes cannot differ, and no part of a packet is
//! written if it cannot be sent.

use super::error::EncodeError;
use super::field::Field;
use super::measure::{Measure, Sections};
use super::sink::{Body, Section, Sink};
use super::varint::varint_len;
use super::version::Version;
use super::violation::Violation;

/// Returns the size of an encoded packet, in bytes, if it can be sent.
#[inline(always)]
pub(crate) fn encoded_len<B: Body>(body: &B, version: Version) -> Result<usize, EncodeError> {
    Measure::<false>::of(body, version).map(|size| size.total)
}

/// Writes a packet into a slice, and returns its size.
#[inline(always)]
pub(crate) fn to_slice<B: Body>(body: &B, version: Version, out: &mut [u8]) -> Result<usize, EncodeError> {
    if body.is_plain() {
        to_slice_outlined::<B, true>(body, version, out)
    } else {
        to_slice_outlined::<B, false>(body, version, out)
    }
}

/// One function for each packet type, not inlined, so that short packets do not need the registers of long ones.
#[inline(never)]
fn to_slice_outlined<B: Body, const PLAIN: bool>(
    body: &B,
    version: Version,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let size = Measure::<PLAIN>::of(body, version)?;
    let Some(room) = out.get_mut(..size.total) else {
        return Err(EncodeError::BufferTooSmall { needed: size.total as u32 });
    };
    let writer = Writer::<_, PLAIN> { out: SliceOutput(room), sections: size.sections };
    let SliceOutput(rest) = writer.write(body, version, size.remaining_length);
    debug_assert!(rest.is_empty(), "less is written than was measured");
    Ok(size.total)
}

/// Writes a packet to the end of a buffer, and returns its size.
#[cfg(feature = "alloc")]
#[inline(always)]
pub(crate) fn to_buf<B: Body>(body: &B, version: Version, out: &mut impl bytes::BufMut) -> Result<usize, EncodeError> {
    if body.is_plain() {
        to_buf_outlined::<B, true>(body, version, out)
    } else {
        to_buf_outlined::<B, false>(body, version, out)
    }
}

#[cfg(feature = "alloc")]
#[inline(never)]
fn to_buf_outlined<B: Body, const PLAIN: bool>(
    body: &B,
    version: Version,
    out: &mut impl bytes::BufMut,
) -> Result<usize, EncodeError> {
    let size = Measure::<PLAIN>::of(body, version)?;
    if out.remaining_mut() < size.total {
        return Err(EncodeError::BufferTooSmall { needed: size.total as u32 });
    }
    Writer::<_, PLAIN> { out: BufOutput(out), sections: size.sections }.write(body, version, size.remaining_length);
    Ok(size.total)
}

/// Writes a packet that has been measured.
struct Writer<O, const PLAIN: bool> {
    out: O,
    sections: Sections,
}

impl<O: Output, const PLAIN: bool> Writer<O, PLAIN> {
    #[inline(always)]
    fn write<B: Body>(mut self, body: &B, version: Version, remaining_length: u32) -> O {
        if remaining_length < 0x80 {
            self.array([body.first_byte(), remaining_length as u8]);
        } else {
            self.u8(body.first_byte());
            self.varint(remaining_length);
        }
        body.write(version, &mut self);
        self.out
    }
}

impl<O: Output, const PLAIN: bool> Sink for Writer<O, PLAIN> {
    const PLAIN: bool = PLAIN;

    #[inline(always)]
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.array(bytes);
    }

    #[inline(always)]
    fn varint(&mut self, value: u32) {
        // Seven bits to a byte, least significant first; the top bit is set if more bytes follow (section 1.5.5).
        let [low, second, third, top] = [value, value >> 7, value >> 14, value >> 21].map(|bits| bits as u8 | 0x80);
        match varint_len(value) {
            1 => self.out.array([low & 0x7F]),
            2 => self.out.array([low, second & 0x7F]),
            3 => self.out.array([low, second, third & 0x7F]),
            _ => self.out.array([low, second, third, top & 0x7F]),
        }
    }

    #[inline(always)]
    fn raw(&mut self, bytes: &[u8]) {
        self.out.slice(bytes);
    }

    #[inline(always)]
    fn binary(&mut self, _: Field, bytes: &[u8]) {
        self.out.prefixed((bytes.len() as u16).to_be_bytes(), bytes);
    }

    #[inline(always)]
    fn section(&mut self, section: &impl Section) {
        if PLAIN {
            return self.u8(0);
        }
        let len = self.sections.next();
        self.varint(len);
        if len != 0 {
            self.out.section(section);
        }
    }

    #[inline(always)]
    fn require(&mut self, _: impl FnOnce() -> bool, _: Field, _: Violation) {}

    #[inline(always)]
    fn require_absent(&mut self, _: impl FnOnce() -> bool, _: Field) {}
}

/// The destination of the bytes. It has room for the whole packet.
trait Output {
    fn array<const N: usize>(&mut self, bytes: [u8; N]);

    fn slice(&mut self, bytes: &[u8]);

    /// Writes a short prefix and the bytes after it.
    #[inline(always)]
    fn prefixed(&mut self, prefix: [u8; 2], bytes: &[u8]) {
        self.array(prefix);
        self.slice(bytes);
    }

    /// Writes a section that is not empty, without its length.
    fn section(&mut self, section: &impl Section);
}

/// A slice of exactly the size of the packet.
struct SliceOutput<'b>(&'b mut [u8]);

impl Output for SliceOutput<'_> {
    #[inline(always)]
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some((head, tail)) = core::mem::take(&mut self.0).split_first_chunk_mut::<N>() {
            *head = bytes;
            self.0 = tail;
        } else {
            debug_assert!(false, "more is written than was measured");
        }
    }

    #[inline(always)]
    fn slice(&mut self, bytes: &[u8]) {
        if let Some((head, tail)) = core::mem::take(&mut self.0).split_at_mut_checked(bytes.len()) {
            copy(head, bytes);
            self.0 = tail;
        } else {
            debug_assert!(false, "more is written than was measured");
        }
    }

    #[inline(always)]
    fn prefixed(&mut self, prefix: [u8; 2], bytes: &[u8]) {
        let len = bytes.len().wrapping_add(prefix.len());
        if let Some((head, tail)) = core::mem::take(&mut self.0).split_at_mut_checked(len)
            && let Some((start, head)) = head.split_first_chunk_mut::<2>()
        {
            *start = prefix;
            copy(head, bytes);
            self.0 = tail;
        } else {
            debug_assert!(false, "more is written than was measured");
        }
    }

    #[inline(always)]
    fn section(&mut self, section: &impl Section) {
        self.0 = section_to_room(section, core::mem::take(&mut self.0));
    }
}

/// Writes a section and returns the rest of the slice. It returns by value for the same reason as
/// [`Measure::of_section`].
#[inline(never)]
fn section_to_room<'b>(section: &impl Section, room: &'b mut [u8]) -> &'b mut [u8] {
    let mut writer = Writer::<_, false> { out: SliceOutput(room), sections: Sections::default() };
    section.write(&mut writer);
    writer.out.0
}

/// Copies between slices of equal length. Most strings are short: they are copied by two overlapping moves of a
/// register, without a call.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        8..=16 => copy_ends::<8>(to, from),
        17..=32 => copy_ends::<16>(to, from),
        33..=64 => copy_ends::<32>(to, from),
        4..=7 => copy_ends::<4>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}

/// The end of a growing buffer.
#[cfg(feature = "alloc")]
struct BufOutput<'b, B>(&'b mut B);

#[cfg(feature = "alloc")]
impl<B: bytes::BufMut> Output for BufOutput<'_, B> {
    #[inline(always)]
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.put_slice(&bytes);
    }

    #[inline(always)]
    fn slice(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    fn section(&mut self, section: &impl Section) {
        let mut writer = Writer::<_, false> { out: BatchedOutput::new(&mut *self.0), sections: Sections::default() };
        section.write(&mut writer);
        writer.out.flush();
    }
}

/// The end of a growing buffer, for many short fields. A call of the buffer costs more than such a field, so fields are
/// collected and written together.
#[cfg(feature = "alloc")]
struct BatchedOutput<'b, B> {
    out: &'b mut B,
    held: [u8; 64],
    len: usize,
}

#[cfg(feature = "alloc")]
impl<'b, B: bytes::BufMut> BatchedOutput<'b, B> {
    const fn new(out: &'b mut B) -> Self {
        Self { out, held: [0; 64], len: 0 }
    }

    fn flush(&mut self) {
        if let Some(held) = self.held.get(..self.len) {
            self.out.put_slice(held);
        }
        self.len = 0;
    }
}

#[cfg(feature = "alloc")]
impl<B: bytes::BufMut> Output for BatchedOutput<'_, B> {
    #[inline(always)]
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        self.slice(&bytes);
    }

    #[inline(always)]
    fn slice(&mut self, bytes: &[u8]) {
        match self.held.get_mut(self.len..).and_then(|held| held.get_mut(..bytes.len())) {
            Some(next) => {
                copy(next, bytes);
                self.len = self.len.wrapping_add(bytes.len());
            }
            None => {
                self.flush();
                self.out.put_slice(bytes);
            }
        }
    }

    fn section(&mut self, section: &impl Section) {
        // Sections are not nested: this is never called.
        BufOutput(&mut *self.out).section(section);
    }
}
