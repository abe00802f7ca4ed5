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
    trie: Trie<Entry>,
    count: u32,
    bytes: u64,
    /// How many messages have ever been retained.
    number: u64,
}

/// The message of a topic, and the topics with one level more.
#[derive(Clone, Default)]
struct Entry {
    message: Option<Box<Message>>,
    first_child: NodeId,
    /// The siblings.
    next: NodeId,
    previous: NodeId,
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
        let old = self.trie.find(topic.levels()).and_then(|node| self.message(node));
        let (count, bytes) = old.map_or((0, 0), |old| (1, old.kept.len() as u64));
        let count = self.count.saturating_sub(count).saturating_add(1);
        (count, self.bytes.saturating_sub(bytes).saturating_add(size as u64))
    }

    /// Keeps a message as the one of its topic, instead of the one before \[MQTT-3.3.1-5\].
    pub(super) fn set(&mut self, topic: TopicName<'_>, kept: Kept) -> Option<Reference> {
        let mut node = ROOT;
        for level in topic.levels() {
            match self.child_or_insert(node, level) {
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
        self.trie.value_mut(node)?.message = Some(Box::new(Message { number, kept }));
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
        let message = self.message(reference.node)?;
        (message.number == reference.number).then_some(&message.kept)
    }

    fn message(&self, node: NodeId) -> Option<&Message> {
        self.trie.value(node)?.message.as_deref()
    }

    fn take(&mut self, node: NodeId) {
        if let Some(old) = self.trie.value_mut(node).and_then(|entry| entry.message.take()) {
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(old.kept.len() as u64);
        }
    }

    /// The child of a node with this level, which is made the first one if there is none.
    fn child_or_insert(&mut self, parent: NodeId, level: &[u8]) -> Option<NodeId> {
        if let Some(child) = self.trie.child_of(parent, self.trie.wanted(level)) {
            return Some(child);
        }
        let child = self.trie.child_or_insert(parent, level)?;
        let next = core::mem::replace(&mut self.trie.value_mut(parent)?.first_child, child);
        if next != NONE {
            self.trie.value_mut(next)?.previous = child;
        }
        self.trie.value_mut(child)?.next = next;
        Some(child)
    }

    /// Takes nodes away that nobody needs, from this one up.
    fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT && !self.trie.has_children(node) {
            let Some(&Entry { message: None, next, previous, .. }) = self.trie.value(node) else { return };
            let parent = self.trie.parent(node);
            if next != NONE
                && let Some(sibling) = self.trie.value_mut(next)
            {
                sibling.previous = previous;
            }
            if previous == NONE {
                if let Some(parent) = self.trie.value_mut(parent) {
                    parent.first_child = next;
                }
            } else if let Some(sibling) = self.trie.value_mut(previous) {
                sibling.next = next;
            }
            self.trie.remove_leaf(node);
            node = parent;
        }
    }

    fn first_child(&self, node: NodeId) -> Option<NodeId> {
        self.trie.value(node).map(|entry| entry.first_child).filter(|&child| child != NONE)
    }

    fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        self.trie.value(node).map(|entry| entry.next).filter(|&next| next != NONE)
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
                        self.trie.child_of(*node, wanted).is_some_and(|child| {
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
        let all = core::iter::successors(self.first_child(node), |&child| self.next_sibling(child));
        all.filter(move |&child| !(is_first_level && self.trie.level(child).first() == Some(&b'$')))
    }

    fn find_here(&self, node: NodeId, now: Instant, found: &mut Vec<Reference>) {
        if let Some(message) = self.message(node)
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
                if let Some(first) = self.first_child(node) {
                    node = first;
                    continue;
                }
                loop {
                    if node == child {
                        break 'below;
                    }
                    if let Some(next) = self.next_sibling(node) {
                        node = next;
                        break;
                    }
                    node = self.trie.parent(node);
                }
            }
        }
    }
}
