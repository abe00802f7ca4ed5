//! A hash table that grows in parts.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Numbers by the hashes of their keys, which are held elsewhere.
///
/// The table consists of [`PARTS`] tables, which grow each for itself: to insert a number moves no more than one of them,
/// and never looks at a key again, because a chunk holds all of the hash that a larger table needs. A chunk is a cache line
/// with both hashes and numbers, so that a search in a large table waits for memory once.
#[derive(Clone)]
pub(super) struct Table {
    /// All parts, or none while the table is empty.
    parts: Vec<Part>,
    len: u32,
    /// Number of chunks in all parts.
    chunks: u32,
}

/// The number of parts. A part of a table of a million numbers takes 16 KiB.
const PARTS: usize = 512;

/// A part: chunks, whose number is a power of two. Numbers that do not fit into the chunk of their tag are in the chunks
/// behind it, and around. A first number needs no chunk, so that a small table does not allocate one for each number that
/// comes and goes.
#[derive(Clone, Default)]
struct Part {
    chunks: Box<[Chunk]>,
    len: u32,
    /// The number without a chunk, and its tag; the tag is 0 if there is none, as always when there are chunks.
    first: u32,
    first_tag: u16,
}

/// Numbers and the tags of their hashes.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Chunk {
    /// Tags of 16 bits, four in a word; 0 where there is no number, else 2 or more.
    tags: [u64; 2],
    last_tags: u32,
    /// Number of numbers that are in chunks behind this one because this one was full.
    passed: u32,
    numbers: [u32; SLOTS],
}

const SLOTS: usize = 10;

/// A part grows when its chunks hold more than this many numbers each.
const FULL: usize = 8;

const _: () = assert!(core::mem::size_of::<Chunk>() == 64);

/// One in each of the four tags of a word.
const ONES: u64 = 0x0001_0001_0001_0001;

/// The slots of a chunk that have a tag, as bits: the slot `4 * word + tag` is bit `16 * tag + word`.
#[derive(Clone, Copy)]
struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        Some(((bit & 15) << 2 | bit >> 4) as usize)
    }
}

/// The tags of a word that are equal to the one that `wanted` repeats: the highest bit of each. A tag that differs by 1 and
/// is above an equal one may count as equal too; no tag differs by 1 from that of a free slot.
#[inline]
const fn equal(word: u64, wanted: u64) -> u64 {
    let different = word ^ wanted;
    different.wrapping_sub(ONES) & !different & (ONES << 15)
}

impl Chunk {
    /// The slots with this tag, and possibly some with another one.
    #[inline]
    fn slots(&self, tag: u16) -> Slots {
        let wanted = u64::from(tag).wrapping_mul(ONES);
        let [first, second] = self.tags;
        let last = equal(u64::from(self.last_tags), wanted);
        Slots(equal(first, wanted) >> 15 | equal(second, wanted) >> 14 | last >> 13)
    }

    /// The slots that are free.
    fn free(&self) -> Slots {
        /// The slots that there are.
        const ALL: u64 = 0x0003_0003_0007_0007;
        Slots(self.slots(0).0 & ALL)
    }

    fn tag(&self, slot: usize) -> u16 {
        let word = self.tags.get(slot / 4).copied().unwrap_or(u64::from(self.last_tags));
        (word >> ((slot & 3) << 4)) as u16
    }

    fn set_tag(&mut self, slot: usize, tag: u16) {
        let shift = (slot & 3) << 4;
        match self.tags.get_mut(slot / 4) {
            Some(word) => *word = *word & !(0xFFFF << shift) | u64::from(tag) << shift,
            None => self.last_tags = self.last_tags & !(0xFFFF << shift) | u32::from(tag) << shift,
        }
    }

    /// Adds a number; returns whether there was a free slot.
    fn insert(&mut self, tag: u16, number: u32) -> bool {
        let Some(slot) = self.free().next() else { return false };
        if let Some(to) = self.numbers.get_mut(slot) {
            *to = number;
        }
        self.set_tag(slot, tag);
        true
    }

    /// The slot of a number.
    fn find(&self, tag: u16, number: u32) -> Option<usize> {
        self.slots(tag).find(|&slot| self.numbers.get(slot) == Some(&number) && self.tag(slot) == tag)
    }

    /// The numbers with their tags.
    fn iter(&self) -> impl Iterator<Item = (u16, u32)> {
        let slots = self.numbers.iter().enumerate();
        slots.map(|(slot, &number)| (self.tag(slot), number)).filter(|&(tag, _)| tag != 0)
    }
}

impl Part {
    /// The positions of the chunks that a number with this tag may be in, in order.
    fn way(&self, tag: u16) -> impl Iterator<Item = usize> + use<> {
        let len = self.chunks.len();
        let home = usize::from(tag) & len.wrapping_sub(1);
        (home..len).chain(0..home.min(len))
    }

    #[inline(always)]
    fn find(&self, tag: u16, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let home = usize::from(tag) & self.chunks.len().wrapping_sub(1);
        let Some(chunk) = self.chunks.get(home) else {
            return (self.first_tag == tag && is_it(self.first)).then_some(self.first);
        };
        for slot in chunk.slots(tag) {
            let number = *chunk.numbers.get(slot)?;
            if is_it(number) {
                return Some(number);
            }
        }
        if chunk.passed == 0 {
            return None;
        }
        self.find_behind(tag, is_it)
    }

    /// Goes on where the chunk of the tag was full.
    #[cold]
    fn find_behind(&self, tag: u16, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        for position in self.way(tag).skip(1) {
            let chunk = self.chunks.get(position)?;
            let mut numbers = chunk.slots(tag).filter_map(|slot| chunk.numbers.get(slot).copied());
            if let Some(number) = numbers.find(|&number| is_it(number)) {
                return Some(number);
            }
            if chunk.passed == 0 {
                return None;
            }
        }
        None
    }

    fn insert(&mut self, tag: u16, number: u32) {
        if self.chunks.is_empty() {
            (self.first, self.first_tag, self.len) = (number, tag, 1);
            return;
        }
        for position in self.way(tag) {
            let Some(chunk) = self.chunks.get_mut(position) else { break };
            if chunk.insert(tag, number) {
                self.len = self.len.saturating_add(1);
                return;
            }
            chunk.passed = chunk.passed.saturating_add(1);
        }
        bug!("a part has room before a number is inserted");
    }

    /// The position and the slot of a number.
    fn locate(&self, tag: u16, number: u32) -> Option<(usize, usize)> {
        for position in self.way(tag) {
            let chunk = self.chunks.get(position)?;
            if let Some(slot) = chunk.find(tag, number) {
                return Some((position, slot));
            }
            if chunk.passed == 0 {
                return None;
            }
        }
        None
    }

    fn remove(&mut self, tag: u16, number: u32) -> bool {
        if self.first_tag == tag && self.first == number {
            (self.first_tag, self.len) = (0, 0);
            return true;
        }
        let Some((found, slot)) = self.locate(tag, number) else { return false };
        for position in self.way(tag) {
            let Some(chunk) = self.chunks.get_mut(position) else { break };
            if position == found {
                chunk.set_tag(slot, 0);
                break;
            }
            chunk.passed = chunk.passed.saturating_sub(1);
        }
        self.len = self.len.saturating_sub(1);
        let (len, chunks) = (self.len as usize, self.chunks.len());
        if len == 0 {
            self.chunks = Box::default();
        } else if len < chunks.saturating_mul(FULL) / 8 {
            self.resize(chunks / 2);
        }
        true
    }

    /// Makes room for one number more.
    fn reserve(&mut self) {
        let chunks = self.chunks.len();
        if self.len != 0 && self.len as usize >= chunks.saturating_mul(FULL) {
            self.resize(chunks.saturating_mul(2).max(1));
        }
    }

    fn resize(&mut self, chunks: usize) {
        let chunks = alloc::vec![Chunk::default(); chunks].into();
        let old = core::mem::replace(self, Self { chunks, ..Self::default() });
        for (tag, number) in old.iter() {
            self.insert(tag, number);
        }
    }

    /// The numbers with their tags.
    fn iter(&self) -> impl Iterator<Item = (u16, u32)> {
        let first = (self.first_tag != 0).then_some((self.first_tag, self.first));
        first.into_iter().chain(self.chunks.iter().flat_map(Chunk::iter))
    }
}

/// The part of a hash, from its last bits, and its tag, from others.
#[inline]
const fn split(hash: u64) -> (usize, u16) {
    let tag = (hash >> 32) as u16;
    (hash as usize % PARTS, if tag < 2 { tag | 2 } else { tag })
}

impl Table {
    pub(super) const fn new() -> Self {
        Self { parts: Vec::new(), len: 0, chunks: 0 }
    }

    /// Number of numbers.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let chunks = (self.chunks as usize).saturating_mul(core::mem::size_of::<Chunk>());
        chunks.saturating_add(self.parts.len().saturating_mul(core::mem::size_of::<Part>()))
    }

    /// The number with this hash that is the wanted one.
    #[inline(always)] // a message looks several levels of its topic up
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (part, tag) = split(hash);
        self.parts.get(part)?.find(tag, is_it)
    }

    /// Adds a number that is not in the table.
    pub(super) fn insert(&mut self, hash: u64, number: u32) {
        if self.parts.is_empty() {
            self.parts = alloc::vec![Part::default(); PARTS];
        }
        let (part, tag) = split(hash);
        let Some(part) = self.parts.get_mut(part) else { return bug!("there is a part for each hash") };
        let before = part.chunks.len() as u32;
        part.reserve();
        part.insert(tag, number);
        self.chunks = self.chunks.saturating_sub(before).saturating_add(part.chunks.len() as u32);
        self.len = self.len.saturating_add(1);
    }

    /// Puts another number in the place of one; returns whether that was in the table.
    pub(super) fn replace(&mut self, hash: u64, old: u32, new: u32) -> bool {
        let (part, tag) = split(hash);
        let Some(part) = self.parts.get_mut(part) else { return false };
        if part.first_tag == tag && part.first == old {
            part.first = new;
            return true;
        }
        let found = part.locate(tag, old);
        let chunk = found.and_then(|(position, slot)| part.chunks.get_mut(position)?.numbers.get_mut(slot));
        chunk.is_some_and(|number| core::mem::replace(number, new) == old)
    }

    /// Removes a number; returns whether it was in the table.
    pub(super) fn remove(&mut self, hash: u64, number: u32) -> bool {
        let (part, tag) = split(hash);
        let Some(part) = self.parts.get_mut(part) else { return false };
        let before = part.chunks.len() as u32;
        let is_removed = part.remove(tag, number);
        self.chunks = self.chunks.saturating_sub(before).saturating_add(part.chunks.len() as u32);
        self.len = self.len.saturating_sub(u32::from(is_removed));
        is_removed
    }

    /// All numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().flat_map(Part::iter).map(|(_, number)| number)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in numbers that are here
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::random::Random;

    /// A table beside a set of what is in it. Few hashes, so that many numbers have the same one.
    #[test]
    fn numbers_are_found_until_they_are_removed() {
        for (hashes, numbers) in [(1_u64, 60_u32), (5, 400), (1000, 5000), (u64::MAX, 20_000)] {
            let mut random = Random::new(hashes);
            let hash = |number: u32| Random::new(u64::from(number)).number() % hashes;
            let (mut table, mut model) = (Table::new(), BTreeSet::new());
            for _ in 0..numbers * 8 {
                let number = random.below(u64::from(numbers)) as u32;
                if model.remove(&number) {
                    assert!(table.remove(hash(number), number));
                    assert!(!table.remove(hash(number), number));
                } else {
                    model.insert(number);
                    table.insert(hash(number), number);
                }
                let other = random.below(u64::from(numbers)) as u32;
                let found = table.find(hash(other), |number| number == other);
                assert_eq!(found, model.contains(&other).then_some(other));
                assert_eq!(table.len() as usize, model.len());
            }
            assert!(table.iter().collect::<BTreeSet<_>>() == model);
            for part in &table.parts {
                let passed = part.chunks.iter().map(|chunk| chunk.passed).sum::<u32>();
                let homes = part.chunks.iter().zip(0..).flat_map(|(chunk, at)| chunk.iter().map(move |it| (at, it.0)));
                let ways = homes.map(|(at, tag)| part.way(tag).take_while(|&position| position != at).count());
                assert_eq!(passed as usize, ways.sum::<usize>(), "a chunk knows how many numbers are behind it");
            }
            for number in model {
                assert!(table.replace(hash(number), number, number + numbers));
                assert_eq!(table.find(hash(number), |it| it == number + numbers), Some(number + numbers));
                assert!(table.remove(hash(number), number + numbers));
            }
            assert_eq!((table.len(), table.iter().count(), table.chunks), (0, 0, 0));
        }
    }

    #[test]
    fn a_first_number_needs_no_chunk() {
        let mut table = Table::new();
        for _ in 0..3 {
            table.insert(7, 70);
            assert_eq!(
                (table.chunks, table.find(7, |number| number == 70), table.find(7, |_| false)),
                (0, Some(70), None)
            );
            assert!(table.replace(7, 70, 71) && !table.replace(7, 70, 72));
            assert!(table.iter().eq([71]));
            table.insert(7, 72);
            assert_eq!((table.chunks, table.len(), table.find(7, |number| number == 71)), (1, 2, Some(71)));
            assert!(table.remove(7, 71) && table.remove(7, 72) && !table.remove(7, 71));
        }
    }

    /// What an insertion moves is bounded by the size of a part, and a search compares few keys.
    #[test]
    fn a_table_of_a_million_numbers_grows_by_small_parts() {
        let hash = |number: u32| Random::new(u64::from(number)).number();
        let (mut table, mut most_moved) = (Table::new(), 0);
        for number in 0..1_000_000 {
            let (part, _) = split(hash(number));
            let (chunks, len) = (table.chunks, table.parts.get(part).map_or(0, |part| part.len));
            table.insert(hash(number), number);
            if table.chunks != chunks {
                most_moved = most_moved.max(len);
            }
        }
        assert!(most_moved <= 2048, "{most_moved} numbers were moved by one insertion");
        assert!(table.bytes() <= 10 * 1_000_000, "{} bytes", table.bytes());
        let mut compared = 0_u32;
        for number in 0..1_000_000 {
            let found = table.find(hash(number), |it| {
                compared += 1;
                it == number
            });
            assert_eq!(found, Some(number));
        }
        assert!(compared <= 1_100_000, "{compared} comparisons for a million numbers");
    }
}
