//! Retained messages: the last one of each topic (section 3.3.1.3).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use super::retained_message::{Publisher, RetainedMessage};
use super::trie::{Levels, NONE, NodeId, ROOT, Trie, Wanted};
use crate::broker::jobs::turns::PrincipalIndex;
use crate::broker::secret::{KeyedHash, Secret, Use};
use crate::heap_size;
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
    /// The size in bytes of what the messages have besides for shared payloads, and for numbers in a durable store.
    rare: u64,
    /// Number of nodes besides the root.
    nodes: u32,
    /// Number of messages that were ever retained.
    number: u64,
    /// Nodes that walks stand at, and how many do. They stay in the tree meanwhile, with or without a message.
    pins: BTreeMap<NodeId, u32>,
}

/// The message of a topic, and the topics with one level more.
#[derive(Clone, Default)]
struct Entry {
    message: Option<Box<Numbered>>,
    first_child: NodeId,
    /// The siblings.
    next: NodeId,
    previous: NodeId,
    /// Higher than those of the siblings behind it.
    rank: u32,
}

#[derive(Clone)]
struct Numbered {
    /// The position in the order of all messages that were ever retained.
    number: u64,
    message: RetainedMessage,
    /// The number of the message among those that are still on their way to those who were subscribed when they came.
    spreading: Option<NonZeroU64>,
    /// The principal that is charged for the message, and the number of levels of the topic.
    principal: PrincipalIndex,
    levels: u16,
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
    /// The node of the topic, if it exists.
    node: Option<NodeId>,
    /// Number of levels of the topic, and what will be charged for the message, in bytes.
    pub(super) levels: u16,
    pub(super) charge: u64,
    /// The charge of the message that will be replaced, and its number in a durable store, or 0.
    pub(super) replaced: Option<Charge>,
    pub(super) replaced_number: u64,
}

/// What a principal is charged for a retained message, in bytes: the message in full, and each level of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) principal: PrincipalIndex,
    pub(super) bytes: u64,
}

impl Numbered {
    fn charge(&self) -> Charge {
        Charge { principal: self.principal, bytes: charge(&self.message, self.levels) }
    }
}

fn charge(message: &RetainedMessage, levels: u16) -> u64 {
    let size = message.len().saturating_add(core::mem::size_of::<Numbered>()) as u64;
    size.saturating_add(u64::from(levels).saturating_mul(NODE))
}

/// A point in the order in which messages are retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// The moment when this many messages had been retained in all.
    pub(super) const fn after(count: u64) -> Self {
        Self(count)
    }
}

impl Reference {
    pub(super) const fn node(self) -> NodeId {
        self.node
    }

    /// The index of the topic; another topic may get it when this one has no message.
    pub(in crate::broker) const fn topic(self) -> u32 {
        self.node
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
            rare: 0,
            nodes: 0,
            number: 0,
            pins: BTreeMap::new(),
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
        let messages = self.bytes.saturating_sub(self.shared).saturating_add(boxes).saturating_add(self.rare);
        let pins = heap_size::tree(self.pins.len(), core::mem::size_of::<(NodeId, u32)>());
        messages.saturating_add(self.trie.bytes() as u64).saturating_add(pins as u64)
    }

    /// The size in bytes without shared payloads.
    pub(super) const fn own_bytes(&self) -> u64 {
        self.bytes().saturating_sub(self.shared)
    }

    /// The counts as they will be with this message as the one of its topic.
    pub(super) fn with(&self, topic: TopicName<'_>, message: &RetainedMessage) -> Outlook {
        let known = self.trie.find(topic.levels());
        let numbered = known.and_then(|node| self.message(node));
        let old = numbered.map(|old| &old.message);
        let replaced_payload = old.map_or(0, |old| old.shared_len() as u64);
        let old_bytes = old.map_or(0, |old| old.len() as u64).saturating_sub(replaced_payload);
        let levels = u16::try_from(topic.levels().count()).unwrap_or(u16::MAX);
        let nodes = if known.is_some() { 0 } else { u64::from(levels) };
        let own_size = message.len().saturating_sub(message.shared_len()) as u64;
        let more = nodes.saturating_mul(NODE).saturating_add(own_size);
        Outlook {
            count: self.count.saturating_sub(u32::from(old.is_some())).saturating_add(1),
            own_bytes: self.own_bytes().saturating_sub(old_bytes).saturating_add(more),
            replaced_payload,
            node: known,
            levels,
            charge: charge(message, levels),
            replaced: numbered.map(Numbered::charge),
            replaced_number: old.map_or(0, RetainedMessage::number),
        }
    }

    /// Sets the number of a message in the store of a durable broker.
    pub(super) fn set_number(&mut self, reference: Reference, number: u64) {
        let message = self.trie.value_mut(reference.node).and_then(|entry| entry.message.as_deref_mut());
        match message.filter(|message| message.number == reference.number) {
            Some(message) => {
                let before = message.message.heap_of_rare();
                message.message.set_number(number);
                let more = message.message.heap_of_rare().saturating_sub(before);
                self.rare = self.rare.saturating_add(more as u64);
            }
            None => bug!("a message is stored when it was retained"),
        }
    }

    /// Retains a message as the one of its topic, in place of the one before \[MQTT-3.3.1-5\]; this principal is
    /// charged. `outlook` is that of this message.
    pub(super) fn set(
        &mut self,
        topic: TopicName<'_>,
        message: RetainedMessage,
        principal: PrincipalIndex,
        outlook: &Outlook,
    ) -> Option<Reference> {
        let node = match outlook.node {
            Some(node) => node,
            None => self.insert(topic)?,
        };
        self.take(node);
        self.number = self.number.wrapping_add(1);
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(message.len() as u64);
        self.shared = self.shared.saturating_add(message.shared_len() as u64);
        self.rare = self.rare.saturating_add(message.heap_of_rare() as u64);
        let number = self.number;
        let numbered = Numbered { number, message, spreading: None, principal, levels: outlook.levels };
        self.trie.value_mut(node)?.message = Some(Box::new(numbered));
        Some(Reference { node, number })
    }

    /// The node of a topic, which is made if it does not exist. It has to get a message then.
    fn insert(&mut self, topic: TopicName<'_>) -> Option<NodeId> {
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
        Some(node)
    }

    /// Removes the message of a topic \[MQTT-3.3.1-6\], and returns it, its charge and its number in a durable store, or 0,
    /// if there was one.
    pub(super) fn remove(&mut self, topic: TopicName<'_>) -> Option<(Reference, Charge, u64)> {
        let removed = self.find(topic)?;
        let (charge, number) = self.take(removed.node)?;
        self.prune(removed.node);
        Some((removed, charge, number))
    }

    /// Takes the work of the changes since the last call, in units: see [`Trie::take_work`].
    pub(super) const fn take_work(&mut self) -> u64 {
        self.trie.take_work()
    }

    /// Removes the message of a topic if it has expired, and returns its charge and its number in a durable store, or 0;
    /// returns when it expires if not.
    pub(super) fn remove_expired(&mut self, topic: NodeId, now: Instant) -> Option<Result<(Charge, u64), Instant>> {
        // The message may have been removed since the timer was set.
        let message = &self.message(topic)?.message;
        if !message.is_expired(now) {
            return Some(Err(message.expires_at()));
        }
        let charge = self.take(topic)?;
        self.prune(topic);
        Some(Ok(charge))
    }

    /// The numbers of messages in the store of a durable broker. For tests.
    pub(super) fn numbers_in_store(&self) -> impl Iterator<Item = u64> {
        let messages = self.trie.iter().filter_map(|node| self.message(node));
        messages.map(|message| message.message.number()).filter(|&number| number != 0)
    }

    /// What principals are charged. For tests.
    pub(super) fn charges(&self) -> impl Iterator<Item = Charge> {
        self.trie.iter().filter_map(|node| self.message(node)).map(Numbered::charge)
    }

    /// Whether there may be a message for a filter: there is none without topics that have the levels before its first wildcard.
    pub(super) fn can_match(&self, filter: TopicFilter<'_>) -> bool {
        if self.count == 0 {
            return false;
        }
        let mut node = ROOT;
        for level in filter.levels() {
            if matches!(level, b"+" | b"#") {
                return true;
            }
            match self.trie.child_of(node, self.trie.wanted(level)) {
                Some(child) => node = child,
                None => return false,
            }
        }
        self.message(node).is_some()
    }

    /// The message of a topic.
    pub(super) fn find(&self, topic: TopicName<'_>) -> Option<Reference> {
        let node = self.trie.find(topic.levels())?;
        self.message(node).map(|message| Reference { node, number: message.number })
    }

    /// An index above those of all topics.
    pub(super) fn end(&self) -> u32 {
        self.trie.end()
    }

    /// The message of the topic with this index, if it has one, and the topic.
    pub(super) fn with_topic(&self, topic: u32) -> Option<(Vec<u8>, &RetainedMessage)> {
        let message = self.message(topic)?;
        let mut name = Vec::new();
        self.trie.write_levels(topic, &mut name);
        Some((name, &message.message))
    }

    /// The message that a reference was made for, if it is still the one of its topic.
    pub(super) fn get(&self, reference: Reference) -> Option<&RetainedMessage> {
        let message = self.message(reference.node)?;
        (message.number == reference.number).then_some(&message.message)
    }

    /// The number of a message among those that are still on their way to those who were subscribed when they came; `None` if
    /// it has gone to all.
    pub(super) fn spreading(&self, reference: Reference) -> Option<u64> {
        let message = self.message(reference.node).filter(|message| message.number == reference.number)?;
        message.spreading.map(NonZeroU64::get)
    }

    /// Notes that a message is still on its way to those who were subscribed when it came, and its number among those; or that
    /// it has gone to all.
    pub(super) fn set_spreading(&mut self, reference: Reference, number: Option<u64>) {
        let message = self.trie.value_mut(reference.node).and_then(|entry| entry.message.as_deref_mut());
        // The message may have expired.
        if let Some(message) = message.filter(|message| message.number == reference.number) {
            message.spreading = number.and_then(NonZeroU64::new);
        }
    }

    fn message(&self, node: NodeId) -> Option<&Numbered> {
        self.trie.value(node)?.message.as_deref()
    }

    fn take(&mut self, node: NodeId) -> Option<(Charge, u64)> {
        let old = self.trie.value_mut(node)?.message.take()?;
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(old.message.len() as u64);
        self.shared = self.shared.saturating_sub(old.message.shared_len() as u64);
        self.rare = self.rare.saturating_sub(old.message.heap_of_rare() as u64);
        Some((old.charge(), old.message.number()))
    }

    /// The child of a node with this level, which is made if it does not exist.
    fn child_or_insert(&mut self, parent: NodeId, level: &[u8]) -> Option<NodeId> {
        if let Some(child) = self.trie.child_of(parent, self.trie.wanted(level)) {
            return Some(child);
        }
        let child = self.trie.insert(parent, level, None)?;
        self.nodes = self.nodes.saturating_add(1);
        let next = self.trie.value(parent)?.first_child;
        let rank = if next == NONE {
            0
        } else {
            match self.trie.value(next)?.rank.checked_add(1) {
                Some(rank) => rank,
                None => self.renumber(parent),
            }
        };
        self.trie.value_mut(parent)?.first_child = child;
        if next != NONE {
            self.trie.value_mut(next)?.previous = child;
        }
        let entry = self.trie.value_mut(child)?;
        (entry.next, entry.rank) = (next, rank);
        Some(child)
    }

    /// Gives the children of a node new ranks, in the same order; returns the next rank. It is done once in 2^32 children.
    #[cold]
    fn renumber(&mut self, parent: NodeId) -> u32 {
        let mut children = Vec::new();
        let mut child = self.first_child(parent);
        while let Some(node) = child {
            children.push(node);
            child = self.next_sibling(node);
        }
        let mut rank = 0_u32;
        for node in children.into_iter().rev() {
            if let Some(entry) = self.trie.value_mut(node) {
                entry.rank = rank;
            }
            rank = rank.saturating_add(1);
        }
        rank
    }

    /// Removes nodes without message and children, from this one up, unless a walk stands there.
    fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT && !self.trie.has_children(node) && !self.pins.contains_key(&node) {
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

    /// Lets a node stay in the tree while a walk stands there.
    pub(super) fn pin(&mut self, node: NodeId) {
        let pins = self.pins.entry(node).or_default();
        *pins = pins.saturating_add(1);
    }

    /// A walk stands at a node no more.
    pub(super) fn unpin(&mut self, node: NodeId) {
        let Some(pins) = self.pins.get_mut(&node) else { return bug!("a walk stands at a node that is pinned") };
        *pins = pins.saturating_sub(1);
        if *pins == 0 {
            self.pins.remove(&node);
            self.prune(node);
        }
    }

    /// Prepares a filter, without a share name, for a walk.
    pub(super) fn pattern(&self, filter: Vec<u8>) -> Pattern {
        let mut levels = Levels::default();
        self.trie.read_levels(&filter, &mut levels);
        Pattern { filter, levels }
    }

    /// Goes one step on among the topics that can match a filter: each is met before the topics that begin with it.
    pub(super) fn step(&self, pattern: &Pattern, position: &mut Position) -> Step {
        let Position { node, depth, stage } = *position;
        let mut bytes = 0;
        match stage {
            Stage::Message => {
                if pattern.matches_at(depth)
                    && let Some(message) = self.message(node)
                {
                    return Step::Message(Reference { node, number: message.number });
                }
                position.stage = Stage::Below;
            }
            Stage::Below => {
                let child = match pattern.below(depth) {
                    Below::Nothing => None,
                    Below::All => self.first_child(node),
                    Below::Level(level) => {
                        bytes = level.text().len();
                        self.trie.child_of(node, level)
                    }
                };
                match child {
                    Some(child) => *position = self.at(pattern, child, depth.saturating_add(1)),
                    None => position.stage = Stage::Behind,
                }
            }
            Stage::Behind => {
                let Some(above) = depth.checked_sub(1) else { return Step::End };
                let next = match pattern.below(above) {
                    Below::All => self.next_sibling(node),
                    Below::Nothing | Below::Level(_) => None,
                };
                *position = match next {
                    Some(next) => self.at(pattern, next, depth),
                    None => Position { node: self.trie.parent(node), depth: above, stage: Stage::Behind },
                };
            }
        }
        Step::Moved { bytes }
    }

    /// The position at a node. In the first level a wildcard does not match what begins with `$` \[MQTT-4.7.2-1\].
    fn at(&self, pattern: &Pattern, node: NodeId, depth: u32) -> Position {
        let is_hidden =
            depth == 1 && matches!(pattern.below(0), Below::All) && self.trie.level(node).first() == Some(&b'$');
        Position { node, depth, stage: if is_hidden { Stage::Behind } else { Stage::Message } }
    }

    /// Whether a walk has passed the message of a node whose topic matches the filter of the walk.
    pub(super) fn is_passed(&self, node: NodeId, position: &Position) -> bool {
        let (mut left, mut right) = (node, position.node);
        let (mut left_depth, mut right_depth) = (self.depth(node), position.depth);
        // The nodes before `left` and `right` on the way up.
        let (mut left_child, mut right_child) = (NONE, NONE);
        while left != right {
            if left_depth >= right_depth {
                left_child = left;
                left = self.trie.parent(left);
                left_depth = left_depth.saturating_sub(1);
            }
            if right_depth > left_depth {
                right_child = right;
                right = self.trie.parent(right);
                right_depth = right_depth.saturating_sub(1);
            }
        }
        match (left_child, right_child) {
            (NONE, NONE) => position.stage != Stage::Message,
            (_, NONE) => position.stage == Stage::Behind, // the topic begins with that of the position
            (NONE, _) => true,
            (left, right) => {
                let rank = |node| self.trie.value(node).map_or(0, |entry| entry.rank);
                rank(left) > rank(right)
            }
        }
    }

    /// Number of levels down to a node.
    fn depth(&self, node: NodeId) -> u32 {
        let (mut node, mut depth) = (node, 0_u32);
        while node != ROOT {
            node = self.trie.parent(node);
            depth = depth.saturating_add(1);
        }
        depth
    }

    /// Panics if a node is left without need, the order of siblings is wrong, or pins are not those of walks. For tests.
    pub(super) fn assert_consistent(&self, pinned: impl Iterator<Item = NodeId>) {
        let mut pins = BTreeMap::new();
        for node in pinned {
            let count: &mut u32 = pins.entry(node).or_default();
            *count = count.saturating_add(1);
        }
        assert_eq!(self.pins, pins, "the pinned nodes are those that walks stand at");
        for node in self.trie.iter() {
            let Some(entry) = self.trie.value(node) else { continue };
            let is_needed =
                node == ROOT || entry.message.is_some() || self.trie.has_children(node) || pins.contains_key(&node);
            assert!(is_needed, "a node of a retained message is needed");
            let next = self.next_sibling(node).and_then(|next| self.trie.value(next));
            assert!(next.is_none_or(|next| next.rank < entry.rank), "siblings are in the order of their ranks");
        }
    }
}

/// A position among the topics that can match a filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    node: NodeId,
    /// Number of levels down to the node.
    depth: u32,
    stage: Stage,
}

/// What comes next at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Message,
    /// The topics that begin with that of the node.
    Below,
    /// The siblings.
    Behind,
}

/// What is met in a step.
pub(super) enum Step {
    /// Nothing; a level of so many bytes was looked up.
    Moved { bytes: usize },
    /// A message whose topic matches. The position stays there until it is [passed](Position::pass).
    Message(Reference),
    /// There are no more topics.
    End,
}

impl Position {
    pub(super) const START: Self = Self { node: ROOT, depth: 0, stage: Stage::Below };

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    /// Goes on behind the message.
    pub(super) const fn pass(&mut self) {
        self.stage = Stage::Below;
    }
}

/// A filter that topics are compared with level by level.
#[derive(Clone)]
pub(super) struct Pattern {
    filter: Vec<u8>,
    levels: Levels,
}

/// The topics with one level more that can match.
enum Below<'f> {
    Nothing,
    All,
    Level(Wanted<'f>),
}

impl Pattern {
    /// The size on the heap, in bytes.
    pub(super) fn heap(&self) -> usize {
        self.filter.capacity().saturating_add(self.levels.heap())
    }

    /// The size in bytes, and the number of levels.
    pub(super) const fn size(&self) -> (usize, usize) {
        (self.filter.len(), self.levels.len() as usize)
    }

    /// Whether a topic of this many levels matches that has matched so far.
    fn matches_at(&self, depth: u32) -> bool {
        // `a/#` matches `a` too (section 4.7.1.2).
        self.is_multi_level_at(depth) || self.levels.len() == depth
    }

    /// Whether `#` stands for all levels behind this many.
    fn is_multi_level_at(&self, depth: u32) -> bool {
        let last = self.levels.len().saturating_sub(1);
        depth >= last && self.levels.get(&self.filter, last).is_some_and(|level| level.text() == b"#")
    }

    fn below(&self, depth: u32) -> Below<'_> {
        if self.is_multi_level_at(depth) {
            return Below::All;
        }
        match self.levels.get(&self.filter, depth) {
            None => Below::Nothing,
            Some(level) if level.text() == b"+" => Below::All,
            Some(level) => Below::Level(level),
        }
    }
}
