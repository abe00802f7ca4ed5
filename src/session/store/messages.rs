//! The messages in a store that sessions share: which of them are complete, and how many pairs refer to each.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use crate::heap_size;

/// The messages in a store. No counts are stored: they are counted again after a restart.
#[derive(Clone, Default)]
pub(super) struct Messages {
    /// All but the latest, by number.
    messages: BTreeMap<u64, Message>,
    /// The message that was begun last, apart from the others: it is looked for most often.
    latest: Option<(u64, Message)>,
}

#[derive(Clone, Copy, Default)]
struct Message {
    /// Number of deliveries and retained messages that refer to the message.
    references: u32,
    /// Size of the content in bytes, once the head is stored.
    size: u32,
    /// The number of the batch with the head; [`INCOMPLETE`] until there is one.
    completed_in: u64,
}

/// The batch of a message whose publication is not complete.
const INCOMPLETE: u64 = u64::MAX;

impl Message {
    /// Counts a reference less. Returns the size of the content, in bytes, if that was the last one of a complete message.
    fn release(&mut self) -> Option<usize> {
        self.references = self.references.saturating_sub(1);
        (self.references == 0 && self.completed_in != INCOMPLETE).then_some(self.size as usize)
    }
}

impl Messages {
    #[inline]
    fn get(&self, number: u64) -> Option<&Message> {
        match &self.latest {
            Some((latest, entry)) if *latest == number => Some(entry),
            _ => self.messages.get(&number),
        }
    }

    #[inline]
    fn get_mut(&mut self, number: u64) -> Option<&mut Message> {
        match &mut self.latest {
            Some((latest, entry)) if *latest == number => Some(entry),
            _ => self.messages.get_mut(&number),
        }
    }

    fn remove(&mut self, number: u64) {
        if self.latest.take_if(|(latest, _)| *latest == number).is_none() {
            self.messages.remove(&number);
        }
    }

    /// Adds a message whose publication is not complete.
    pub(super) fn begin(&mut self, number: u64) {
        let latest = (number, Message { completed_in: INCOMPLETE, ..Message::default() });
        if let Some((before, entry)) = self.latest.replace(latest) {
            self.messages.insert(before, entry);
        }
    }

    /// Adds a message that is stored already, without references.
    pub(super) fn restore(&mut self, number: u64, size: usize) {
        self.messages.insert(number, Message { size: size as u32, ..Message::default() });
    }

    /// Counts a reference to a message.
    pub(super) fn refer(&mut self, number: u64) {
        match self.get_mut(number) {
            Some(entry) => entry.references = entry.references.saturating_add(1),
            None => bug!("message {number} is known while something refers to it"),
        }
    }

    /// Counts a reference less. Returns the size of the content, in bytes, if the stored message is to be removed.
    pub(super) fn release(&mut self, number: u64) -> Option<usize> {
        if self.latest.is_some_and(|(latest, _)| latest == number) {
            let size = self.get_mut(number)?.release()?;
            self.latest = None;
            return Some(size);
        }
        let Entry::Occupied(mut entry) = self.messages.entry(number) else {
            bug!("message {number} is known while something refers to it");
            return None;
        };
        let size = entry.get_mut().release()?;
        entry.remove();
        Some(size)
    }

    /// Returns whether something refers to a message whose publication ends now. If not, the message is forgotten.
    pub(super) fn is_needed(&mut self, number: u64) -> bool {
        let is_needed = self.get(number).is_some_and(|entry| entry.references != 0);
        if !is_needed {
            self.remove(number);
        }
        is_needed
    }

    /// Notes that the head of a message, with content of this size in bytes, is in the batch with this number.
    pub(super) fn complete(&mut self, number: u64, size: usize, batch: u64) {
        if let Some(entry) = self.get_mut(number) {
            (entry.size, entry.completed_in) = (size as u32, batch);
        }
    }

    /// Returns the number of the batch with the head of a message: `u64::MAX` if there is none yet, 0 if the message is
    /// not known.
    pub(super) fn completed_in(&self, number: u64) -> u64 {
        self.get(number).map_or(0, |entry| entry.completed_in)
    }

    /// Returns the messages that nothing refers to, with their sizes in bytes, and forgets them.
    pub(super) fn take_unused(&mut self) -> Vec<(u64, usize)> {
        let unused = self.iter().filter(|(_, message)| message.references == 0);
        let unused: Vec<_> = unused.map(|(number, message)| (number, message.size as usize)).collect();
        for (number, _) in &unused {
            self.remove(*number);
        }
        unused
    }

    /// Returns the number of references to each message, for tests.
    pub(super) fn references(&self) -> impl Iterator<Item = (u64, u32)> {
        self.iter().map(|(number, message)| (number, message.references))
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &Message)> {
        let latest = self.latest.iter().map(|(number, message)| (*number, message));
        self.messages.iter().map(|(&number, message)| (number, message)).chain(latest)
    }

    /// Returns the size in bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        heap_size::tree(self.messages.len(), core::mem::size_of::<(u64, Message)>())
    }
}
