//! Retained messages: the last one of each topic (section 3.3.1.3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::retained_message::{Publisher, RetainedMessage};
use super::trie::{NONE, NodeId, ROOT, Trie};
use crate::broker::secret::{KeyedHash, Secret, Use};
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// The retained messages of all topics.
#[derive(Clone)]
pub(super) struct Retained {
    trie: Trie<Entry>,
    /// The hash of the client identifiers of publishers.
    publishers: KeyedHash,
    count: u32,
    /// The size of the messages in bytes.
    bytes: u64,
    /// The part of `bytes` that shared payloads take, which are counted elsewhere.
    shared: u64,
    /// Number of nodes besides the root.
    nodes: u32,
    /// Number of messages that were ever retained.
    number: u64,
}

/// The message of a topic, and the topics with one level more.
#[derive(Clone, Default)]
struct Entry {
    message: Option<Box<Numbered>>,
    first_child: NodeId,
    /// The siblings.
    next: NodeId,
    previous: NodeId,
}

#[derive(Clone)]
struct Numbered {
    /// The position in the order of all messages that were ever retained.
    number: u64,
    message: RetainedMessage,
}

/// The size in bytes of a topic level that no other retained topic shares.
const NODE: u64 = Trie::<Entry>::NODE_SIZE as u64;

/// A message that was retained, and may be replaced by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::broker) struct Reference {
    node: NodeId,
    number: u64,
}

/// The counts as they will be when a message has been retained.
pub(super) struct Outlook {
    pub(super) count: u32,
    /// The bytes, without payloads that are shared.
    pub(super) own_bytes: u64,
    /// The size of the shared payload that will be replaced, or 0.
    pub(super) replaced_payload: u64,
}

/// A point in the order in which messages are retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Reference {
    /// The index of the topic; another topic may get it when this one has no message.
    pub(in crate::broker) const fn topic(self) -> u32 {
        self.node
    }

    /// Makes the reference one to no message, without changing its position in a sorted list.
    pub(super) const fn void(&mut self) {
        self.number = 0;
    }

    /// Whether the message was retained at that moment or before.
    pub(super) const fn is_of(self, moment: Moment) -> bool {
        self.number <= moment.0
    }
}

impl Retained {
    /// Identifies a client, for No Local.
    pub(super) fn publisher(&self, client_id: &str) -> Publisher {
        Publisher::client(self.publishers.hash(client_id.as_bytes()))
    }

    /// The moment of the newest message.
    pub(super) const fn moment(&self) -> Moment {
        Moment(self.number)
    }

    pub(super) fn new(secret: &Secret) -> Self {
        Self {
            trie: Trie::new(secret.level_hash(Use::Retained)),
            publishers: secret.keyed_hash(Use::Publishers),
            count: 0,
            bytes: 0,
            shared: 0,
            nodes: 0,
            number: 0,
        }
    }

    /// Number of retained messages.
    pub(super) const fn len(&self) -> u32 {
        self.count
    }

    /// The size of the messages in bytes, with their nodes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes.saturating_add((self.nodes as u64).saturating_mul(NODE))
    }

    /// The memory that topics and messages take, in bytes, with what is allocated and not in use; without shared payloads.
    pub(super) fn allocated(&self) -> u64 {
        let boxes = u64::from(self.count).saturating_mul(core::mem::size_of::<Numbered>() as u64);
        let messages = self.bytes.saturating_sub(self.shared).saturating_add(boxes);
        messages.saturating_add(self.trie.bytes() as u64)
    }

    /// The size in bytes without shared payloads.
    pub(super) const fn own_bytes(&self) -> u64 {
        self.bytes().saturating_sub(self.shared)
    }

    /// The counts as they will be with this message as the one of its topic.
    pub(super) fn with(&self, topic: TopicName<'_>, message: &RetainedMessage) -> Outlook {
        let known = self.trie.find(topic.levels());
        let old = known.and_then(|node| self.message(node)).map(|old| &old.message);
        let replaced_payload = old.map_or(0, |old| old.shared_len() as u64);
        let old_bytes = old.map_or(0, |old| old.len() as u64).saturating_sub(replaced_payload);
        let nodes = if known.is_some() { 0 } else { topic.levels().count() as u64 };
        let own_size = message.len().saturating_sub(message.shared_len()) as u64;
        let more = nodes.saturating_mul(NODE).saturating_add(own_size);
        Outlook {
            count: self.count.saturating_sub(u32::from(old.is_some())).saturating_add(1),
            own_bytes: self.own_bytes().saturating_sub(old_bytes).saturating_add(more),
            replaced_payload,
        }
    }

    /// Retains a message as the one of its topic, in place of the one before \[MQTT-3.3.1-5\].
    pub(super) fn set(&mut self, topic: TopicName<'_>, message: RetainedMessage) -> Option<Reference> {
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
        self.bytes = self.bytes.saturating_add(message.len() as u64);
        self.shared = self.shared.saturating_add(message.shared_len() as u64);
        let number = self.number;
        self.trie.value_mut(node)?.message = Some(Box::new(Numbered { number, message }));
        Some(Reference { node, number })
    }

    /// Removes the message of a topic \[MQTT-3.3.1-6\], and returns it if there was one.
    pub(super) fn remove(&mut self, topic: TopicName<'_>) -> Option<Reference> {
        let removed = self.find(topic)?;
        self.take(removed.node);
        self.prune(removed.node);
        Some(removed)
    }

    /// Removes the message of a topic if it has expired; returns when it expires if not.
    pub(super) fn remove_expired(&mut self, topic: NodeId, now: Instant) -> Option<Instant> {
        // The message may have been removed since the timer was set.
        let message = &self.message(topic)?.message;
        if !message.is_expired(now) {
            return Some(message.expires_at());
        }
        self.take(topic);
        self.prune(topic);
        None
    }

    /// The message of a topic.
    pub(super) fn find(&self, topic: TopicName<'_>) -> Option<Reference> {
        let node = self.trie.find(topic.levels())?;
        self.message(node).map(|message| Reference { node, number: message.number })
    }

    /// The message that a reference was made for, if it is still the one of its topic.
    pub(super) fn get(&self, reference: Reference) -> Option<&RetainedMessage> {
        let message = self.message(reference.node)?;
        (message.number == reference.number).then_some(&message.message)
    }

    fn message(&self, node: NodeId) -> Option<&Numbered> {
        self.trie.value(node)?.message.as_deref()
    }

    fn take(&mut self, node: NodeId) {
        if let Some(old) = self.trie.value_mut(node).and_then(|entry| entry.message.take()) {
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(old.message.len() as u64);
            self.shared = self.shared.saturating_sub(old.message.shared_len() as u64);
        }
    }

    /// The child of a node with this level, which is made if it does not exist.
    fn child_or_insert(&mut self, parent: NodeId, level: &[u8]) -> Option<NodeId> {
        if let Some(child) = self.trie.child_of(parent, self.trie.wanted(level)) {
            return Some(child);
        }
        let child = self.trie.insert(parent, level, None)?;
        self.nodes = self.nodes.saturating_add(1);
        let next = core::mem::replace(&mut self.trie.value_mut(parent)?.first_child, child);
        if next != NONE {
            self.trie.value_mut(next)?.previous = child;
        }
        self.trie.value_mut(child)?.next = next;
        Some(child)
    }

    /// Removes nodes without message and children, from this one up.
    fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT && !self.trie.has_children(node) {
            // A node with a message stays.
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
            self.nodes = self.nodes.saturating_sub(1);
            node = parent;
        }
    }

    fn first_child(&self, node: NodeId) -> Option<NodeId> {
        self.trie.value(node).map(|entry| entry.first_child).filter(|&child| child != NONE)
    }

    fn next_sibling(&self, node: NodeId) -> Option<NodeId> {
        self.trie.value(node).map(|entry| entry.next).filter(|&next| next != NONE)
    }

    /// Finds the messages whose topics match a filter, except those that have expired or were retained after `until`, in the
    /// order of references. Only the part of the tree that can match is visited.
    pub(super) fn find_matches(&self, filter: TopicFilter<'_>, until: Moment, now: Instant) -> Vec<Reference> {
        let mut found = Vec::new();
        let mut take = |node| {
            let message = self.message(node).filter(|it| it.number <= until.0 && !it.message.is_expired(now));
            found.extend(message.map(|message| Reference { node, number: message.number }));
        };
        let mut here = alloc::vec![ROOT];
        for level in filter.levels() {
            match level {
                b"#" => {
                    here.into_iter().for_each(|node| self.visit_all_below(node, &mut take));
                    found.sort_unstable();
                    return found;
                }
                b"+" => here = here.into_iter().flat_map(|node| self.children(node, node == ROOT)).collect(),
                level => {
                    let wanted = self.trie.wanted(level);
                    here = here.into_iter().filter_map(|node| self.trie.child_of(node, wanted)).collect();
                }
            }
        }
        here.into_iter().for_each(take);
        found.sort_unstable();
        found
    }

    /// The children of a node, in the first level without those that a wildcard does not match \[MQTT-4.7.2-1\].
    fn children(&self, node: NodeId, is_first_level: bool) -> impl Iterator<Item = NodeId> {
        let all = core::iter::successors(self.first_child(node), |&child| self.next_sibling(child));
        all.filter(move |&child| !(is_first_level && self.trie.level(child).first() == Some(&b'$')))
    }

    /// Visits a node and all below it. The way back up is by the parents, so no stack is needed, however deep the tree is.
    fn visit_all_below(&self, top: NodeId, visit: &mut impl FnMut(NodeId)) {
        visit(top);
        for child in self.children(top, top == ROOT) {
            let mut node = child;
            'below: loop {
                visit(node);
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
