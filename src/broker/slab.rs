//! Values under indices that are used again, each time with another generation.

use super::pieces::Pieces;

/// The index of a value, and which of the values that had this index it is: a value that was removed is not found any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Values in [pieces](Pieces) that never move.
#[derive(Clone)]
pub(super) struct Slab<T> {
    slots: Pieces<Slot<T>, 256>,
    /// The index that was freed last; it is used next.
    free: Option<u32>,
    len: u32,
}

#[derive(Clone)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Clone)]
enum Content<T> {
    Value(T),
    /// With the index that was freed before.
    Free(Option<u32>),
}

impl<T> Slab<T> {
    /// The size in bytes that a value takes, without what it has on the heap.
    pub(super) const SLOT_SIZE: usize = core::mem::size_of::<Slot<T>>();

    pub(super) const fn new() -> Self {
        Self { slots: Pieces::new(), free: None, len: 0 }
    }

    /// Number of values.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The size in bytes, without what the values themselves have on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// Adds a value; `None` if no index is left for it.
    pub(super) fn insert(&mut self, value: T) -> Option<Key> {
        let key = match self.free {
            Some(index) => {
                let slot = self.slots.get_mut(index)?;
                let Content::Free(next) = slot.content else {
                    bug!("a free index has no value");
                    return None;
                };
                slot.content = Content::Value(value);
                let generation = slot.generation;
                self.free = next;
                Key { index, generation }
            }
            None => {
                let index = self.slots.push(Slot { generation: 0, content: Content::Value(value) })?;
                Key { index, generation: 0 }
            }
        };
        self.len = self.len.saturating_add(1);
        Some(key)
    }

    /// Removes a value. Its key is void from here on.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let free = self.free;
        let slot = self.slots.get_mut(index).filter(|slot| matches!(slot.content, Content::Value(_)))?;
        let Content::Value(value) = core::mem::replace(&mut slot.content, Content::Free(free)) else {
            bug!("the slot was found to have a value");
            return None;
        };
        slot.generation = slot.generation.wrapping_add(1);
        self.free = Some(index);
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    /// The value at an index.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        match &self.slots.get(index)?.content {
            Content::Value(value) => Some(value),
            Content::Free(_) => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match &mut self.slots.get_mut(index)?.content {
            Content::Value(value) => Some(value),
            Content::Free(_) => None,
        }
    }

    /// The value that the key was made for, if it was not removed.
    #[inline]
    pub(super) fn get_by_key(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index)?;
        match &slot.content {
            Content::Value(value) if slot.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value that the key was made for, if it was not removed.
    #[inline]
    pub(super) fn get_mut_by_key(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index)?;
        match &mut slot.content {
            Content::Value(value) if slot.generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Removes the value that the key was made for, if that was not done before.
    pub(super) fn remove_by_key(&mut self, key: Key) -> Option<T> {
        self.get_by_key(key)?;
        self.remove(key.index)
    }

    /// The key of the value at an index.
    pub(super) fn key(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index)?;
        matches!(slot.content, Content::Value(_)).then_some(Key { index, generation: slot.generation })
    }

    /// The values with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.slots.iter().zip(0_u32..);
        slots.filter_map(|(slot, index)| match &slot.content {
            Content::Value(value) => Some((index, value)),
            Content::Free(_) => None,
        })
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
}
