//! A set of packet identifiers.

use alloc::boxed::Box;

use crate::codec::PacketId;

/// A set of packet identifiers: up to seven inline, more as a bitmap on the heap. The set takes at most about 8 KiB,
/// whatever the peer sends.
#[derive(Clone, Default)]
pub(crate) struct IdSet {
    len: u16,
    few: [u16; FEW],
    many: Option<Box<[u64; WORDS]>>,
}

const FEW: usize = 7;
const WORDS: usize = 1024;

impl IdSet {
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns whether something is on the heap.
    #[inline]
    pub(crate) const fn has_heap(&self) -> bool {
        self.many.is_some()
    }

    /// Returns the size in bytes on the heap.
    pub(crate) const fn heap(&self) -> usize {
        if self.has_heap() { core::mem::size_of::<[u64; WORDS]>() } else { 0 }
    }

    pub(crate) fn contains(&self, id: PacketId) -> bool {
        match &self.many {
            Some(bits) => bits.get(word(id)).is_some_and(|word| word & bit(id) != 0),
            None => self.position(id).is_some(),
        }
    }

    /// Adds an identifier; returns whether it was absent before.
    pub(crate) fn insert(&mut self, id: PacketId) -> bool {
        if self.contains(id) {
            return false;
        }
        if let (None, Some(slot)) = (&self.many, self.few.get_mut(usize::from(self.len))) {
            *slot = id.get();
            self.len = self.len.saturating_add(1);
            return true;
        }
        let few = self.few;
        let bits = self.many.get_or_insert_with(|| {
            let mut bits = Box::new([0; WORDS]);
            few.iter().filter_map(|&id| PacketId::new(id).ok()).for_each(|id| set(&mut bits, id));
            bits
        });
        set(bits, id);
        self.len = self.len.saturating_add(1);
        true
    }

    /// Removes an identifier; returns whether it was present before.
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        if !self.contains(id) {
            return false;
        }
        self.len = self.len.saturating_sub(1);
        match &mut self.many {
            Some(_) if self.len == 0 => self.many = None,
            Some(bits) => {
                if let Some(word) = bits.get_mut(word(id)) {
                    *word &= !bit(id);
                }
            }
            None => {
                let last = self.few.get(usize::from(self.len)).copied().unwrap_or_default();
                let position = self.position_up_to(id, usize::from(self.len).saturating_add(1));
                if let Some(slot) = position.and_then(|position| self.few.get_mut(position)) {
                    *slot = last;
                }
            }
        }
        true
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the identifiers in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PacketId> {
        let mut few = self.few;
        let len = if self.many.is_some() { 0 } else { self.len() };
        if let Some(few) = few.get_mut(..len) {
            few.sort_unstable();
        }
        let words = self.many.iter().flat_map(|bits| bits.iter().zip(0_u16..));
        let many = words.filter(|(word, _)| **word != 0).flat_map(|(word, index)| {
            (0..64_u16).filter(move |bit| word & (1 << bit) != 0).map(move |bit| index << 6 | bit)
        });
        few.into_iter().take(len).chain(many).filter_map(|id| PacketId::new(id).ok())
    }

    fn position(&self, id: PacketId) -> Option<usize> {
        self.position_up_to(id, self.len())
    }

    fn position_up_to(&self, id: PacketId, len: usize) -> Option<usize> {
        self.few.iter().take(len).position(|&few| few == id.get())
    }
}

const fn word(id: PacketId) -> usize {
    (id.get() >> 6) as usize
}

const fn bit(id: PacketId) -> u64 {
    1 << (id.get() & 63)
}

fn set(bits: &mut [u64; WORDS], id: PacketId) {
    if let Some(word) = bits.get_mut(word(id)) {
        *word |= bit(id);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::unwrap_used)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    /// Compares the set with that of the standard library, across changes of the representation.
    #[test]
    fn behaves_like_a_set() {
        let (mut ids, mut model) = (IdSet::default(), BTreeSet::new());
        let mut state = 1u64;
        for round in 0..20_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = PacketId::new((state >> 33) as u16 % 40 * 1638 + 1).unwrap();
            // Phases in which the set grows alternate with phases in which it shrinks.
            if (state >> 20) % 10 < if round / 500 % 2 == 0 { 7 } else { 2 } {
                assert_eq!(ids.insert(id), model.insert(id));
            } else {
                assert_eq!(ids.remove(id), model.remove(&id));
            }
            assert_eq!(ids.len(), model.len());
            assert_eq!(ids.contains(id), model.contains(&id));
        }
        assert!(ids.iter().eq(model));
    }
}
