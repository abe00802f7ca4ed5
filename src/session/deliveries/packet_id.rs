//! Packet identifiers, and what each of them stands for (section 2.2.1).

use alloc::vec::Vec;

use crate::codec::PacketId;

/// Values under packet identifiers. An identifier is in use exactly as long as it has a value here, so it cannot be
/// given away twice, nor leak \[MQTT-2.2.1-3\].
///
/// Everything takes constant time: the identifier is the place in a vector, and the free places form a queue, so
/// that an identifier rests as long as possible before it is used again. A place keeps its last value while it is free,
/// so that the memory of that can be used again.
#[derive(Clone)]
pub(crate) struct PacketIds<T> {
    slots: Vec<Slot<T>>,
    /// The free place that is used next, and the one that was freed last, as identifiers; 0 when no place is free.
    first_free: u16,
    last_free: u16,
    used: u16,
}

/// So many identifiers take turns at least: an answer that comes twice does not meet another operation.
const FEW: usize = 16;
#[derive(Clone)]
struct Slot<T> {
    is_used: bool,
    /// The next free place, as an identifier; 0 for none.
    next_free: u16,
    value: T,
}

impl<T: Default> PacketIds<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), first_free: 0, last_free: 0, used: 0 }
    }

    /// Values under identifiers of their own, as they were before a restart.
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

    /// How many identifiers are in use.
    pub(crate) const fn len(&self) -> usize {
        self.used as usize
    }

    /// The identifier that is taken next; `None` when all 65,535 are in use.
    #[inline]
    pub(crate) fn next_id(&self) -> Option<PacketId> {
        let id = if self.takes_fresh_place() {
            u16::try_from(self.slots.len()).ok()?.checked_add(1)?
        } else {
            self.first_free
        };
        PacketId::new(id).ok()
    }

    /// Takes [`next_id`](Self::next_id) into use. The value under it is an old one, to be overwritten.
    #[inline]
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
        }
        slot.is_used = true;
        self.used = self.used.saturating_add(1);
        Some((id, &mut slot.value))
    }

    /// Whether the next identifier is one that has not been used. The first few places are all used once before one is
    /// used again.
    #[inline]
    fn takes_fresh_place(&self) -> bool {
        self.first_free == 0 || self.slots.len() < FEW
    }

    #[inline]
    pub(crate) fn get(&self, id: PacketId) -> Option<&T> {
        self.slots.get(index(id)).filter(|slot| slot.is_used).map(|slot| &slot.value)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        self.slots.get_mut(index(id)).filter(|slot| slot.is_used).map(|slot| &mut slot.value)
    }

    /// Takes the value away; the identifier is free.
    pub(crate) fn remove(&mut self, id: PacketId) -> Option<T> {
        let value = core::mem::take(self.get_mut(id)?);
        self.free(id);
        Some(value)
    }

    /// Frees the identifier.
    #[inline]
    pub(crate) fn free(&mut self, id: PacketId) {
        if let Some(slot) = self.slots.get_mut(index(id))
            && slot.is_used
        {
            slot.is_used = false;
            slot.next_free = 0;
            self.used = self.used.saturating_sub(1);
            self.free_place(id.get());
        }
    }

    /// The values, by ascending identifier.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PacketId, &T)> {
        self.slots.iter().zip(1..=u16::MAX).filter(|(slot, _)| slot.is_used).filter_map(|(slot, id)| {
            let id = PacketId::new(id).ok()?;
            Some((id, &slot.value))
        })
    }

    /// The values, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter(|slot| slot.is_used).map(|slot| &mut slot.value)
    }

    /// Gives memory back that a burst has left behind. Identifiers start again from 1.
    pub(crate) fn shrink(&mut self) {
        if self.used == 0 {
            *self = Self::new();
        }
    }

    /// Appends a place to the queue of the free ones.
    #[inline]
    fn free_place(&mut self, id: u16) {
        match self.slots.get_mut(usize::from(self.last_free).wrapping_sub(1)) {
            Some(last) => last.next_free = id,
            None => self.first_free = id,
        }
        self.last_free = id;
    }
}

const fn index(id: PacketId) -> usize {
    (id.get() as usize).wrapping_sub(1)
}
