//! Packet identifiers, and what each of them stands for (section 2.2.1).

use alloc::vec::Vec;

use crate::codec::PacketId;

/// Values under packet identifiers. An identifier is in use exactly as long as it has a value here, so it cannot be
/// given away twice, nor leak \[MQTT-2.2.1-3\].
///
/// Everything takes constant time: the identifier is the place in a vector, and the free places form a queue, so
/// that an identifier rests as long as possible before it is used again.
pub(crate) struct PacketIds<T> {
    slots: Vec<Slot<T>>,
    /// The free place that is used next, and the one that was freed last, as identifiers; 0 when no place is free.
    first_free: u16,
    last_free: u16,
    used: u16,
}

enum Slot<T> {
    Free { next: u16 },
    Used(T),
}

impl<T> PacketIds<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), first_free: 0, last_free: 0, used: 0 }
    }

    /// Values under identifiers of their own, as they were before a restart.
    pub(crate) fn restored(values: impl IntoIterator<Item = (PacketId, T)>) -> Self {
        let mut ids = Self::new();
        for (id, value) in values {
            let index = index(id);
            while ids.slots.len() <= index {
                ids.slots.push(Slot::Free { next: 0 });
            }
            if let Some(slot) = ids.slots.get_mut(index) {
                if matches!(slot, Slot::Free { .. }) {
                    ids.used = ids.used.saturating_add(1);
                }
                *slot = Slot::Used(value);
            }
        }
        for index in 0..ids.slots.len() {
            if matches!(ids.slots.get(index), Some(Slot::Free { .. })) {
                ids.free_place((index as u16).saturating_add(1));
            }
        }
        ids
    }

    /// How many identifiers are in use.
    pub(crate) const fn len(&self) -> usize {
        self.used as usize
    }

    /// The identifier that the next value will have; `None` when all 65,535 are in use.
    #[inline]
    pub(crate) fn next_id(&self) -> Option<PacketId> {
        let id = if self.first_free != 0 {
            self.first_free
        } else {
            u16::try_from(self.slots.len()).ok()?.checked_add(1)?
        };
        PacketId::new(id).ok()
    }

    /// Puts a value under [`next_id`](Self::next_id).
    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Option<PacketId> {
        let id = self.next_id()?;
        match self.slots.get_mut(index(id)) {
            Some(slot) => {
                if let Slot::Free { next } = *slot {
                    self.first_free = next;
                    if next == 0 {
                        self.last_free = 0;
                    }
                }
                *slot = Slot::Used(value);
            }
            None => self.slots.push(Slot::Used(value)),
        }
        self.used = self.used.saturating_add(1);
        Some(id)
    }

    #[inline]
    pub(crate) fn get(&self, id: PacketId) -> Option<&T> {
        match self.slots.get(index(id)) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        match self.slots.get_mut(index(id)) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// Takes the value away; the identifier is free.
    #[inline]
    pub(crate) fn remove(&mut self, id: PacketId) -> Option<T> {
        let slot = self.slots.get_mut(index(id)).filter(|slot| matches!(slot, Slot::Used(_)))?;
        let Slot::Used(value) = core::mem::replace(slot, Slot::Free { next: 0 }) else { return None };
        self.used = self.used.saturating_sub(1);
        self.free_place(id.get());
        Some(value)
    }

    /// Drops the value; the identifier is free.
    #[inline]
    pub(crate) fn free(&mut self, id: PacketId) {
        if let Some(slot @ Slot::Used(_)) = self.slots.get_mut(index(id)) {
            *slot = Slot::Free { next: 0 };
            self.used = self.used.saturating_sub(1);
            self.free_place(id.get());
        }
    }

    /// The values, by ascending identifier.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PacketId, &T)> {
        self.slots.iter().zip(1..).filter_map(|(slot, id)| match slot {
            Slot::Used(value) => PacketId::new(id).ok().map(|id| (id, value)),
            Slot::Free { .. } => None,
        })
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
            Some(Slot::Free { next }) => *next = id,
            _ => self.first_free = id,
        }
        self.last_free = id;
    }
}

const fn index(id: PacketId) -> usize {
    (id.get() as usize).wrapping_sub(1)
}
