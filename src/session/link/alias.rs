//! Topic aliases (section 3.3.2.3.4): numbers that are mapped to topic names for the duration of a connection.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use crate::heap_size::{self, ARC};
use crate::sync::Arc;

/// The mappings of the topic aliases of the peer.
#[derive(Clone, Default)]
pub(crate) struct InboundAliases {
    topics: BTreeMap<u16, Arc<[u8]>>,
    /// The size of the topics, in bytes.
    bytes: usize,
}

impl InboundAliases {
    /// Returns the size in bytes on the heap.
    pub(crate) fn heap(&self) -> usize {
        let entries = heap_size::tree(self.topics.len(), core::mem::size_of::<(u16, Arc<[u8]>)>());
        entries.saturating_add(self.topics.len().saturating_mul(ARC)).saturating_add(self.bytes)
    }

    /// Maps `alias` to `topic`.
    pub(crate) fn set(&mut self, alias: NonZeroU16, topic: &[u8]) {
        match self.topics.get(&alias.get()) {
            Some(known) if **known == *topic => {}
            _ => {
                let old = self.topics.insert(alias.get(), topic.into());
                let freed = old.map_or(0, |old| old.len());
                self.bytes = self.bytes.saturating_sub(freed).saturating_add(topic.len());
            }
        }
    }

    pub(crate) fn get(&self, alias: NonZeroU16) -> Option<Arc<[u8]>> {
        self.topics.get(&alias.get()).cloned()
    }
}

/// The topic aliases of this endpoint, assigned to the most recently used topics.
#[derive(Clone)]
pub(crate) struct OutboundAliases {
    by_topic: BTreeMap<Arc<[u8]>, u16>,
    /// The entries by alias, from 1; they are linked to a ring in the order of use.
    entries: Vec<Entry>,
    max: u16,
    /// The most recently used alias; 0 if there is none.
    newest: u16,
    /// The size of the topics, in bytes.
    bytes: usize,
}

#[derive(Clone)]
struct Entry {
    topic: Arc<[u8]>,
    older: u16,
    newer: u16,
}

/// The form in which an alias is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// The alias is mapped to the topic already: the topic name can be left out.
    Known(NonZeroU16),
    /// The alias is new: the topic name must be sent with it.
    New(NonZeroU16),
}

impl OutboundAliases {
    /// Creates an empty mapping for at most `max` topics.
    pub(crate) const fn new(max: NonZeroU16) -> Self {
        Self { by_topic: BTreeMap::new(), entries: Vec::new(), max: max.get(), newest: 0, bytes: 0 }
    }

    /// Returns the size in bytes on the heap.
    pub(crate) fn heap(&self) -> usize {
        let by_topic = heap_size::tree(self.by_topic.len(), core::mem::size_of::<(Arc<[u8]>, u16)>());
        let entries = self.entries.capacity().saturating_mul(core::mem::size_of::<Entry>());
        let topics = self.entries.len().saturating_mul(ARC).saturating_add(self.bytes);
        by_topic.saturating_add(entries).saturating_add(topics)
    }

    /// Returns the alias that the next message with this topic name will have. The mapping changes only in
    /// [`used`](Self::used).
    pub(crate) fn of(&self, topic: &[u8]) -> Option<Alias> {
        if let Some(&alias) = self.by_topic.get(topic) {
            return NonZeroU16::new(alias).map(Alias::Known);
        }
        let alias = match u16::try_from(self.entries.len()) {
            Ok(len) if len < self.max => len.saturating_add(1),
            // The neighbour of the newest entry in the ring is the least recently used one.
            _ => self.entry(self.newest)?.newer,
        };
        NonZeroU16::new(alias).map(Alias::New)
    }

    /// Records that a message with this topic name was sent with this alias.
    pub(crate) fn used(&mut self, alias: Alias, topic: &[u8]) {
        let (Alias::Known(number) | Alias::New(number)) = alias;
        if let Alias::New(_) = alias {
            let topic: Arc<[u8]> = topic.into();
            self.bytes = self.bytes.saturating_add(topic.len());
            match self.entries.get_mut(usize::from(number.get()).wrapping_sub(1)) {
                Some(entry) => {
                    let replaced = core::mem::replace(&mut entry.topic, Arc::clone(&topic));
                    self.bytes = self.bytes.saturating_sub(replaced.len());
                    self.by_topic.remove(&replaced);
                }
                None => {
                    let (older, newer) = (number.get(), number.get());
                    self.entries.push(Entry { topic: Arc::clone(&topic), older, newer });
                }
            }
            self.by_topic.insert(topic, number.get());
        }
        if self.newest != number.get() {
            self.unlink(number.get());
            self.link(number.get());
        }
    }

    fn entry(&self, alias: u16) -> Option<&Entry> {
        self.entries.get(usize::from(alias).wrapping_sub(1))
    }

    fn entry_mut(&mut self, alias: u16) -> Option<&mut Entry> {
        self.entries.get_mut(usize::from(alias).wrapping_sub(1))
    }

    fn unlink(&mut self, alias: u16) {
        let Some(&Entry { older, newer, .. }) = self.entry(alias) else {
            bug!("alias {alias} is not in the ring");
            return;
        };
        if let Some(entry) = self.entry_mut(older) {
            entry.newer = newer;
        }
        if let Some(entry) = self.entry_mut(newer) {
            entry.older = older;
        }
    }

    /// Links an alias into the ring as the newest.
    fn link(&mut self, alias: u16) {
        let newest = core::mem::replace(&mut self.newest, alias);
        let oldest = self.entry(newest).map_or(alias, |entry| entry.newer);
        let older = if newest == 0 { alias } else { newest };
        if let Some(entry) = self.entry_mut(alias) {
            entry.older = older;
            entry.newer = oldest;
        }
        if let Some(entry) = self.entry_mut(older) {
            entry.newer = alias;
        }
        if let Some(entry) = self.entry_mut(oldest) {
            entry.older = alias;
        }
    }
}
