//! Retained messages: the last one of each topic (section 3.3.1.3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::publication::Kept;
use super::trie::{NONE, NodeId, ROOT, Trie};
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// The retained messages of all topics.
#[derive(Clone)]
pub(super) struct Retained {
    trie: Trie<Option<Box<Message>>>,
    count: u32,
    bytes: u64,
    /// How many messages have ever been retained.
    number: u64,
}

#[derive(Clone)]
struct Message {
    /// Which of all the messages that were ever retained.
    number: u64,
    kept: Kept,
}

/// A message that was retained, and may be replaced by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    node: NodeId,
    number: u64,
}

impl Retained {
    pub(super) fn new(seed: u64) -> Self {
        Self { trie: Trie::new(seed), count: 0, bytes: 0, number: 0 }
    }

    /// How many messages there are.
    pub(super) const fn len(&self) -> u32 {
        self.count
    }

    /// How many bytes they take.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many messages and bytes there will be with this one as the message of its topic.
    pub(super) fn with(&self, topic: TopicName<'_>, size: usize) -> (u32, u64) {
        let old = self.trie.find(topic.levels()).and_then(|node| self.trie.value(node)?.as_ref());
        let (count, bytes) = old.map_or((0, 0), |old| (1, old.kept.len() as u64));
        let count = self.count.saturating_sub(count).saturating_add(1);
        (count, self.bytes.saturating_sub(bytes).saturating_add(size as u64))
    }

    /// Keeps a message as the one of its topic, instead of the one before \[MQTT-3.3.1-5\].
    pub(super) fn set(&mut self, topic: TopicName<'_>, kept: Kept) -> Option<Reference> {
        let mut node = ROOT;
        for level in topic.levels() {
            match self.trie.child_or_insert(node, level) {
                Some(child) => node = child,
                None => {
                    self.prune(node);
                    return None;
                }
            }
        }
        self.take(node);
        self.number = self.number.wrapping_add(1);
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(kept.len() as u64);
        let number = self.number;
        *self.trie.value_mut(node)? = Some(Box::new(Message { number, kept }));
        Some(Reference { node, number })
    }

    /// Removes the message of a topic \[MQTT-3.3.1-6\].
    pub(super) fn remove(&mut self, topic: TopicName<'_>) {
        if let Some(node) = self.trie.find(topic.levels()) {
            self.take(node);
            self.prune(node);
        }
    }

    /// Removes a message if it is still there; whether it was.
    pub(super) fn remove_expired(&mut self, reference: Reference) -> bool {
        let is_there = self.get(reference).is_some();
        if is_there {
            self.take(reference.node);
            self.prune(reference.node);
        }
        is_there
    }

    /// A message that is still the one of its topic.
    pub(super) fn get(&self, reference: Reference) -> Option<&Kept> {
        let message = self.trie.value(reference.node)?.as_ref()?;
        (message.number == reference.number).then_some(&message.kept)
    }

    fn take(&mut self, node: NodeId) {
        if let Some(old) = self.trie.value_mut(node).and_then(Option::take) {
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(old.kept.len() as u64);
        }
    }

    fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT && !self.trie.has_children(node) && self.trie.value(node).is_some_and(Option::is_none) {
            let parent = self.trie.parent(node);
            self.trie.remove_leaf(node);
            node = parent;
        }
    }

    /// Finds the messages that a filter is for, except those that have expired. Only that part of the tree is looked at
    /// that can fit.
    pub(super) fn find_matches(&self, filter: TopicFilter<'_>, now: Instant, found: &mut Vec<Reference>) {
        let filter = filter.without_share();
        let mut here = alloc::vec![ROOT];
        for level in filter.levels() {
            match level {
                b"#" => {
                    for node in here {
                        self.find_all_below(node, now, found);
                    }
                    return;
                }
                b"+" => here = here.into_iter().flat_map(|node| self.children(node, node == ROOT)).collect(),
                level => {
                    let wanted = self.trie.wanted(level);
                    here.retain_mut(|node| {
                        self.trie.child(*node, wanted).is_some_and(|child| {
                            *node = child;
                            true
                        })
                    });
                }
            }
        }
        here.into_iter().for_each(|node| self.find_here(node, now, found));
    }

    /// The children of a node; without those that a wildcard in the first level does not stand for \[MQTT-4.7.2-1\].
    fn children(&self, node: NodeId, is_first_level: bool) -> impl Iterator<Item = NodeId> {
        let first = Some(self.trie.first_child(node)).filter(|&child| child != NONE);
        let all =
            core::iter::successors(first, |&child| Some(self.trie.next_sibling(child)).filter(|&next| next != NONE));
        all.filter(move |&child| !(is_first_level && self.trie.level(child).first() == Some(&b'$')))
    }

    fn find_here(&self, node: NodeId, now: Instant, found: &mut Vec<Reference>) {
        if let Some(Some(message)) = self.trie.value(node)
            && !message.kept.is_expired(now)
        {
            found.push(Reference { node, number: message.number });
        }
    }

    /// A node and all below it. The way back up is by the parents, so it needs no memory, however deep it is.
    fn find_all_below(&self, top: NodeId, now: Instant, found: &mut Vec<Reference>) {
        self.find_here(top, now, found);
        for child in self.children(top, top == ROOT) {
            let mut node = child;
            'below: loop {
                self.find_here(node, now, found);
                let first = self.trie.first_child(node);
                if first != NONE {
                    node = first;
                    continue;
                }
                loop {
                    if node == child {
                        break 'below;
                    }
                    let next = self.trie.next_sibling(node);
                    if next != NONE {
                        node = next;
                        break;
                    }
                    node = self.trie.parent(node);
                }
            }
        }
    }
}
