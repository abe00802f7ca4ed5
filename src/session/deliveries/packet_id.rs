//! Packet identifiers and their values (section 2.2.1).

use alloc::vec::Vec;

use crate::codec::PacketId;

/// A table of values by packet identifier. An identifier is in use exactly as long as it has a value, so it can neither
/// be assigned twice nor leak \[MQTT-2.2.1-3\].
///
/// All operations on single identifiers take constant time: an identifier is the index of a slot in a vector, plus 1,
/// and the free slots form a queue, so that an identifier is reused as late as possible. A free slot keeps its last
/// value, whose memory is reused.
#[derive(Clone)]
pub(crate) struct PacketIds<T> {
    slots: Vec<Slot<T>>,
    /// The free slots that are reused first and last, as identifiers; 0 if no slot is free.
    first_free: u16,
    last_free: u16,
    used: u16,
    /// The size of what free slots keep, in [`UNIT`]s.
    kept: u16,
}

/// A value that keeps memory for its next use while its slot is free.
pub(crate) trait Reused: Default {
    /// Returns the number of bytes that the value keeps: at most [`MAX_KEPT`].
    fn kept(&self) -> usize;
}

/// Maximum number of bytes that a value may keep.
pub(crate) const MAX_KEPT: usize = 256;

/// What slots keep is counted in units of this number of bytes, rounded.
const UNIT: usize = 16;

/// Number of slots that may keep something, so that the count fits into 16 bits.
const KEEPING: usize = u16::MAX as usize / (MAX_KEPT / UNIT);

/// Minimum number of identifiers in rotation, so that a repeated answer does not match another operation.
const FEW: usize = 16;
#[derive(Clone)]
struct Slot<T> {
    is_used: bool,
    /// The next free slot, as an identifier; 0 for none.
    next_free: u16,
    value: T,
}

impl<T: Reused> PacketIds<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), first_free: 0, last_free: 0, used: 0, kept: 0 }
    }

    /// Creates a table with these values, for a session that is restored.
    pub(crate) fn restored(values: impl IntoIterator<Item = (PacketId, T)>) -> Self {
        let mut ids = Self::new();
        for (id, value) in values {
            let index = index(id);
            while ids.slots.len() <= index {
                ids.slots.push(Slot { is_used: false, next_free: 0, value: T::default() });
            }
            if let Some(slot) = ids.slots.get_mut(index) {
                ids.used = ids.used.saturating_add(u16::from(!slot.is_used));
                *slot = Slot { is_used: true, next_free: 0, value };
            }
        }
        for index in 0..ids.slots.len() {
            if ids.slots.get(index).is_some_and(|slot| !slot.is_used) {
                ids.free_place((index as u16).saturating_add(1));
            }
        }
        ids
    }

    /// Returns the number of identifiers in use.
    pub(crate) const fn len(&self) -> usize {
        self.used as usize
    }

    /// Returns the identifier that is taken next; `None` if all 65,535 are in use.
    #[inline]
    pub(crate) fn next_id(&self) -> Option<PacketId> {
        let id = if self.takes_fresh_place() {
            u16::try_from(self.slots.len()).ok()?.checked_add(1)?
        } else {
            self.first_free
        };
        PacketId::new(id).ok()
    }

    /// Takes [`next_id`](Self::next_id) into use. Its value is a default or an old one, which the caller overwrites.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<(PacketId, &mut T)> {
        let id = self.next_id()?;
        let is_fresh = self.takes_fresh_place();
        if is_fresh {
            self.slots.push(Slot { is_used: false, next_free: 0, value: T::default() });
        }
        let slot = self.slots.get_mut(index(id))?;
        if !is_fresh {
            self.first_free = slot.next_free;
            if self.first_free == 0 {
                self.last_free = 0;
            }
            self.kept = self.kept.wrapping_sub(units(&slot.value)); // it was added when the slot became free
        }
        slot.is_used = true;
        self.used = self.used.saturating_add(1);
        Some((id, &mut slot.value))
    }

    /// Returns whether the next identifier is one that has not been used. The first [`FEW`] identifiers are all used
    /// once before one is reused.
    #[inline]
    fn takes_fresh_place(&self) -> bool {
        self.first_free == 0 || self.slots.len() < FEW
    }

    /// Returns whether an identifier is free that was used before, or less than [`FEW`] were.
    pub(crate) fn has_spare_id(&self) -> bool {
        self.first_free != 0 || self.slots.len() < FEW
    }

    #[inline]
    pub(crate) fn get(&self, id: PacketId) -> Option<&T> {
        self.slots.get(index(id)).filter(|slot| slot.is_used).map(|slot| &slot.value)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        self.slots.get_mut(index(id)).filter(|slot| slot.is_used).map(|slot| &mut slot.value)
    }

    /// Removes and returns the value, and frees the identifier.
    pub(crate) fn remove(&mut self, id: PacketId) -> Option<T> {
        let value = core::mem::take(self.get_mut(id)?);
        self.free(id);
        Some(value)
    }

    /// Frees the identifier.
    #[inline(always)]
    pub(crate) fn free(&mut self, id: PacketId) {
        if let Some(slot) = self.slots.get_mut(index(id))
            && slot.is_used
        {
            slot.is_used = false;
            slot.next_free = 0;
            if index(id) >= KEEPING {
                slot.value = T::default();
            }
            self.kept = self.kept.wrapping_add(units(&slot.value));
            self.used = self.used.saturating_sub(1);
            self.free_place(id.get());
        }
    }

    /// Returns the values in ascending order of their identifiers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PacketId, &T)> {
        self.slots.iter().zip(1..=u16::MAX).filter(|(slot, _)| slot.is_used).filter_map(|(slot, id)| {
            let id = PacketId::new(id).ok()?;
            Some((id, &slot.value))
        })
    }

    /// Returns mutable references to the values.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter(|slot| slot.is_used).map(|slot| &mut slot.value)
    }

    /// Returns the size of the table in bytes, with what free slots keep.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        let slots = self.slots.capacity().wrapping_mul(core::mem::size_of::<Slot<T>>());
        slots.wrapping_add(usize::from(self.kept).wrapping_mul(UNIT))
    }

    /// Releases the memory if no identifier is in use. Identifiers then start again from 1.
    pub(crate) fn shrink(&mut self) {
        if self.used == 0 {
            *self = Self::new();
        }
    }

    /// Appends a slot to the queue of free slots.
    #[inline]
    fn free_place(&mut self, id: u16) {
        match self.slots.get_mut(usize::from(self.last_free).wrapping_sub(1)) {
            Some(last) => last.next_free = id,
            None => self.first_free = id,
        }
        self.last_free = id;
    }
}

#[inline]
fn units<T: Reused>(value: &T) -> u16 {
    (value.kept().wrapping_add(UNIT / 2) / UNIT) as u16
}

const fn index(id: PacketId) -> usize {
    (id.get() as usize).wrapping_sub(1)
}
