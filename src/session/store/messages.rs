//! The messages in a store that sessions share: which of them are complete, and how many pairs refer to each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::heap_size;

/// The messages in a store, by number. No counts are stored: they are counted again after a restart.
#[derive(Clone, Default)]
pub(super) struct Messages(BTreeMap<u64, Entry>);

#[derive(Clone, Copy, Default)]
struct Entry {
    /// Number of deliveries and retained messages that refer to the message.
    references: u32,
    /// Size of the content in bytes, once the head is stored.
    size: u32,
    /// The number of the batch with the head; [`INCOMPLETE`] until there is one.
    completed_in: u64,
}

/// The batch of a message whose publication is not complete.
const INCOMPLETE: u64 = u64::MAX;

impl Messages {
    /// Adds a message whose publication is not complete.
    pub(super) fn begin(&mut self, number: u64) {
        self.0.insert(number, Entry { completed_in: INCOMPLETE, ..Entry::default() });
    }

    /// Adds a message that is stored already, without references.
    pub(super) fn restore(&mut self, number: u64, size: usize) {
        self.0.insert(number, Entry { size: size as u32, ..Entry::default() });
    }

    /// Counts a reference to a message.
    pub(super) fn refer(&mut self, number: u64) {
        match self.0.get_mut(&number) {
            Some(entry) => entry.references = entry.references.saturating_add(1),
            None => bug!("message {number} is known while something refers to it"),
        }
    }

    /// Counts a reference less. Returns the size of the content, in bytes, if the stored message is to be removed.
    pub(super) fn release(&mut self, number: u64) -> Option<usize> {
        let Some(entry) = self.0.get_mut(&number) else {
            bug!("message {number} is known while something refers to it");
            return None;
        };
        entry.references = entry.references.saturating_sub(1);
        if entry.references != 0 || entry.completed_in == INCOMPLETE {
            return None;
        }
        let size = entry.size as usize;
        self.0.remove(&number);
        Some(size)
    }

    /// Returns whether something refers to a message whose publication ends now. If not, the message is forgotten.
    pub(super) fn is_needed(&mut self, number: u64) -> bool {
        let is_needed = self.0.get(&number).is_some_and(|entry| entry.references != 0);
        if !is_needed {
            self.0.remove(&number);
        }
        is_needed
    }

    /// Notes that the head of a message, with content of this size in bytes, is in the batch with this number.
    pub(super) fn complete(&mut self, number: u64, size: usize, batch: u64) {
        if let Some(entry) = self.0.get_mut(&number) {
            (entry.size, entry.completed_in) = (size as u32, batch);
        }
    }

    /// Returns the number of the batch with the head of a message: `u64::MAX` if there is none yet, 0 if the message is
    /// not known.
    pub(super) fn completed_in(&self, number: u64) -> u64 {
        self.0.get(&number).map_or(0, |entry| entry.completed_in)
    }

    /// Returns the messages that nothing refers to, with their sizes in bytes, and forgets them.
    pub(super) fn take_unused(&mut self) -> Vec<(u64, usize)> {
        let unused = self.0.iter().filter(|(_, entry)| entry.references == 0);
        let unused: Vec<_> = unused.map(|(&number, entry)| (number, entry.size as usize)).collect();
        for (number, _) in &unused {
            self.0.remove(number);
        }
        unused
    }

    /// Returns the number of references to each message, for tests.
    pub(super) fn references(&self) -> impl Iterator<Item = (u64, u32)> {
        self.0.iter().map(|(&number, entry)| (number, entry.references))
    }

    /// Returns the size in bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        heap_size::tree(self.0.len(), core::mem::size_of::<(u64, Entry)>())
    }
}
