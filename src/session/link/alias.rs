//! Topic aliases (section 3.3.2.3.4): numbers that stand for topic names, for as long as a connection lasts.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU16;

/// What the aliases of the other end stand for.
#[derive(Clone, Default)]
pub(crate) struct InboundAliases(BTreeMap<u16, Arc<[u8]>>);

impl InboundAliases {
    /// From now on `alias` stands for `topic`.
    pub(crate) fn set(&mut self, alias: NonZeroU16, topic: &[u8]) {
        match self.0.get(&alias.get()) {
            Some(known) if **known == *topic => {}
            _ => {
                self.0.insert(alias.get(), topic.into());
            }
        }
    }

    pub(crate) fn get(&self, alias: NonZeroU16) -> Option<Arc<[u8]>> {
        self.0.get(&alias.get()).cloned()
    }
}

/// The aliases of this end, given to the topics that were used last.
#[derive(Clone)]
pub(crate) struct OutboundAliases {
    by_topic: BTreeMap<Arc<[u8]>, u16>,
    /// By alias, from 1: a ring in the order of use.
    entries: Vec<Entry>,
    max: u16,
    /// The alias that was used last; 0 if there is none.
    newest: u16,
}
#[derive(Clone)]
struct Entry {
    topic: Arc<[u8]>,
    older: u16,
    newer: u16,
}

/// How an alias is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// It stands for the topic already: the topic can be left out.
    Known(NonZeroU16),
    /// The topic has to go with it.
    New(NonZeroU16),
}

impl OutboundAliases {
    /// For at most `max` topics, which is at least 1.
    pub(crate) const fn new(max: NonZeroU16) -> Self {
        Self { by_topic: BTreeMap::new(), entries: Vec::new(), max: max.get(), newest: 0 }
    }

    /// The alias that the next message about this topic will have. Nothing is changed until [`used`](Self::used).
    pub(crate) fn of(&self, topic: &[u8]) -> Option<Alias> {
        if let Some(&alias) = self.by_topic.get(topic) {
            return NonZeroU16::new(alias).map(Alias::Known);
        }
        let alias = match u16::try_from(self.entries.len()) {
            Ok(len) if len < self.max => len.saturating_add(1),
            // The ring closes: next to the newest is the one that has not been used for the longest time.
            _ => self.entry(self.newest)?.newer,
        };
        NonZeroU16::new(alias).map(Alias::New)
    }

    /// A message about this topic was sent with this alias.
    pub(crate) fn used(&mut self, alias: Alias, topic: &[u8]) {
        let (Alias::Known(number) | Alias::New(number)) = alias;
        if let Alias::New(_) = alias {
            let topic: Arc<[u8]> = topic.into();
            match self.entries.get_mut(usize::from(number.get()).wrapping_sub(1)) {
                Some(entry) => {
                    let replaced = core::mem::replace(&mut entry.topic, Arc::clone(&topic));
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

    /// Makes an alias the newest.
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
