//! Values under indices that are used again, each time with another generation.

use alloc::collections::BTreeMap;

use super::pool::Pool;

/// The index of a value, and which of the values that had this index it is: a value that was removed is not found any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Values in a [pool](Pool).
#[derive(Clone)]
pub(super) struct Slab<T> {
    slots: Pool<Slot<T>, 256, 4>,
    /// The generation of the slots of each piece when it got its memory: above all that the piece has had before.
    first_generations: BTreeMap<u32, u32>,
}

#[derive(Clone)]
struct Slot<T> {
    generation: u32,
    /// `None` if the slot is free.
    value: Option<T>,
}

impl<T> Slab<T> {
    /// The size in bytes that a value takes, without what it has on the heap.
    pub(super) const SLOT_SIZE: usize = core::mem::size_of::<Slot<T>>();

    pub(super) const fn new() -> Self {
        Self { slots: Pool::new(), first_generations: BTreeMap::new() }
    }

    /// Number of values.
    pub(super) const fn len(&self) -> u32 {
        self.slots.len()
    }

    /// An index above those of all values.
    pub(super) fn end(&self) -> u32 {
        self.slots.end()
    }

    /// The size in bytes, without what the values themselves have on the heap.
    pub(super) fn bytes(&self) -> usize {
        /// The size of an entry, in bytes, about.
        const ENTRY: usize = 16;
        self.slots.bytes().saturating_add(self.first_generations.len().saturating_mul(ENTRY))
    }

    /// Adds a value; `None` if no index is left for it.
    pub(super) fn insert(&mut self, value: T) -> Option<Key> {
        let mut generation = None;
        let index = self.slots.insert(|old| {
            generation = old.map(|old| old.generation);
            Slot { generation: generation.unwrap_or_default(), value: Some(value) }
        })?;
        let generation = match generation {
            Some(generation) => generation,
            None => self.set_first_generation(index),
        };
        Some(Key { index, generation })
    }

    /// A slot is in use for the first time since its piece got its memory; returns its generation.
    #[cold]
    fn set_first_generation(&mut self, index: u32) -> u32 {
        let piece = Pool::<Slot<T>, 256, 4>::piece_of(index);
        let generation = piece.and_then(|piece| self.first_generations.get(&piece)).copied().unwrap_or_default();
        if generation != 0
            && let Some(slot) = self.slots.get_mut(index)
        {
            slot.generation = generation;
        }
        generation
    }

    /// Removes a value. Its key is void from here on.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        let Self { slots, first_generations } = self;
        slots.free(index, |piece, slots| {
            let highest = slots.iter().map(|slot| slot.generation).max();
            first_generations.insert(piece, highest.unwrap_or_default());
        });
        Some(value)
    }

    /// The value at an index.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index)?.value.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index)?.value.as_mut()
    }

    /// The value that the key was made for, if it was not removed.
    #[inline]
    pub(super) fn get_by_key(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    /// The value that the key was made for, if it was not removed.
    #[inline]
    pub(super) fn get_mut_by_key(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Removes the value that the key was made for, if that was not done before.
    pub(super) fn remove_by_key(&mut self, key: Key) -> Option<T> {
        self.get_by_key(key)?;
        self.remove(key.index)
    }

    /// The key of the value at an index.
    pub(super) fn key(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index)?;
        slot.value.is_some().then_some(Key { index, generation: slot.generation })
    }

    /// The values with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().filter_map(|(index, slot)| Some((index, slot.value.as_ref()?)))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // in numbers that are here
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_key_is_good_for_one_value() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..600).filter_map(|value| slab.insert(value)).collect();
        assert!(keys.iter().map(|key| key.index).eq(0..600), "indices are taken one after the other");
        assert_eq!(slab.remove(300), Some(300));
        assert_eq!((slab.remove(300), slab.len(), slab.get(300), slab.key(300)), (None, 599, None, None));
        assert!(keys.iter().all(|&key| slab.get_by_key(key).is_some() == (key.index != 300)));
        let again = slab.insert(7);
        assert_eq!((again.map(|key| key.index), slab.key(300), slab.get(300)), (Some(300), again, Some(&7)));
        assert!(keys.iter().all(|&key| slab.get_by_key(key).is_some() == (key.index != 300)), "the old key stays void");
        assert_eq!(slab.iter().map(|(_, value)| value).sum::<i32>(), (0..600).sum::<i32>() - 300 + 7);
    }

    /// Also where the memory of a piece was given back meanwhile.
    #[test]
    fn old_keys_stay_void_when_memory_is_given_back() {
        let (mut slab, mut old) = (Slab::new(), Vec::new());
        for round in 0..5 {
            let keys: Vec<Key> = (0..2000).filter_map(|_| slab.insert(round)).collect();
            assert_eq!(keys.len(), 2000);
            assert!(keys.iter().all(|&key| slab.get_by_key(key) == Some(&round) && slab.key(key.index) == Some(key)));
            assert!(old.iter().all(|&key| slab.get_by_key(key).is_none()), "round {round}");
            let most = slab.bytes();
            assert!(keys.iter().all(|&key| slab.remove_by_key(key) == Some(round)));
            assert!(slab.bytes() < most / 4, "memory is given back");
            old.extend(keys);
        }
    }
}
