//! Who is subscribed to what: a tree of topic filters, with the subscribers at its nodes (section 4.7).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::slab::Slab;
use super::trie::{NONE, NodeId, ROOT, Trie};
use crate::codec::{QoS, Subscription};
use crate::topic::{TopicFilter, TopicName};

/// The subscriptions of all sessions.
#[derive(Clone)]
pub(super) struct Tree {
    trie: Trie<Entry>,
    groups: Slab<Group>,
    subscriptions: u32,
    shared: u32,
    /// The nodes that fit so far, while a topic is looked for, and those of the next level. Kept for their memory.
    here: Vec<NodeId>,
    below: Vec<NodeId>,
}

/// What is subscribed to at a node, and where the wildcards below it are.
#[derive(Clone, Default)]
struct Entry {
    plus: NodeId,
    hash: NodeId,
    subscribers: Subscribers,
}

/// Nearly all filters have one subscriber.
#[derive(Clone, Default)]
enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    Many(Box<Lists>),
}

#[derive(Clone, Default)]
struct Lists {
    own: Vec<Subscriber>,
    /// The groups that share the subscription.
    groups: Vec<u32>,
}

/// A session that is subscribed, and on which terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) session: u32,
    /// The subscription identifier, or 0.
    pub(super) identifier: u32,
    pub(super) terms: Terms,
}

/// How a subscriber wants its messages (section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
}

/// The members of a shared subscription (section 4.8.2).
#[derive(Clone)]
pub(super) struct Group {
    node: NodeId,
    name: Box<[u8]>,
    pub(super) members: Vec<Subscriber>,
    /// Whose turn it is.
    pub(super) next: u32,
}

/// A list of subscribers: those of a filter, or the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

const GROUP: u32 = 1 << 31;

impl Place {
    const fn group(self) -> Option<u32> {
        if self.0 & GROUP != 0 { Some(self.0 & !GROUP) } else { None }
    }

    pub(super) const fn is_shared(self) -> bool {
        self.0 & GROUP != 0
    }
}

/// The lists that a topic fits to.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches {
    nodes: Vec<NodeId>,
}

impl Matches {
    pub(super) const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

impl Subscriber {
    pub(super) fn new(session: u32, subscription: &Subscription<'_>, identifier: u32) -> Self {
        let Subscription { qos, no_local, retain_as_published, .. } = *subscription;
        Self { session, identifier, terms: Terms { qos, no_local, retain_as_published } }
    }
}

impl Subscribers {
    const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    fn own(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(one) => core::slice::from_ref(one),
            Self::Many(lists) => &lists.own,
        }
    }

    fn groups(&self) -> &[u32] {
        match self {
            Self::None | Self::One(_) => &[],
            Self::Many(lists) => &lists.groups,
        }
    }

    /// As lists that can be changed.
    fn lists(&mut self) -> Option<&mut Lists> {
        if !matches!(self, Self::Many(_)) {
            let own = self.own().to_vec();
            *self = Self::Many(Box::new(Lists { own, groups: Vec::new() }));
        }
        match self {
            Self::Many(lists) => Some(lists),
            Self::None | Self::One(_) => None,
        }
    }

    /// In the form that takes the least memory.
    fn tidy(&mut self) {
        if let Self::Many(lists) = self
            && lists.groups.is_empty()
        {
            match *lists.own {
                [] => *self = Self::None,
                [one] => *self = Self::One(one),
                _ => {}
            }
        }
    }

    fn get_mut(&mut self, position: u32) -> Option<&mut Subscriber> {
        match self {
            Self::None => None,
            Self::One(one) => (position == 0).then_some(one),
            Self::Many(lists) => lists.own.get_mut(position as usize),
        }
    }

    /// Takes one more, and returns its position.
    fn push(&mut self, subscriber: Subscriber) -> u32 {
        if self.is_none() {
            *self = Self::One(subscriber);
            return 0;
        }
        let Some(Lists { own, .. }) = self.lists() else { return 0 };
        own.push(subscriber);
        (own.len() as u32).saturating_sub(1)
    }

    /// Takes one away; the last one moves to its position, and is returned if there is one.
    fn swap_remove(&mut self, position: u32) -> Option<Subscriber> {
        match self {
            Self::None => None,
            Self::One(_) => {
                *self = Self::None;
                None
            }
            Self::Many(lists) => {
                let moved = swap_remove(&mut lists.own, position);
                self.tidy();
                moved
            }
        }
    }
}

fn swap_remove(list: &mut Vec<Subscriber>, position: u32) -> Option<Subscriber> {
    if (position as usize) < list.len() {
        list.swap_remove(position as usize);
    }
    if list.capacity() > 16 && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len().saturating_mul(2));
    }
    list.get(position as usize).copied()
}

impl Tree {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            trie: Trie::new(seed),
            groups: Slab::new(),
            subscriptions: 0,
            shared: 0,
            here: Vec::new(),
            below: Vec::new(),
        }
    }

    /// How many subscriptions there are.
    pub(super) const fn len(&self) -> u32 {
        self.subscriptions
    }

    /// How many of them are shared.
    pub(super) const fn shared(&self) -> u32 {
        self.shared
    }

    /// The list for this filter, if there is one.
    pub(super) fn find(&self, filter: TopicFilter<'_>) -> Option<Place> {
        let node = self.trie.find(filter.without_share().levels())?;
        match filter.share_name() {
            None => Some(Place(node)),
            Some(name) => self.group(node, name.as_bytes()).map(|group| Place(group | GROUP)),
        }
    }

    fn group(&self, node: NodeId, name: &[u8]) -> Option<u32> {
        let groups = self.trie.value(node)?.subscribers.groups();
        groups.iter().copied().find(|&group| self.groups.get(group).is_some_and(|group| *group.name == *name))
    }

    /// The list for this filter, which is made if there is none. It has to get a subscriber then; `None` if there is no
    /// number left for it.
    pub(super) fn find_or_insert(&mut self, filter: TopicFilter<'_>) -> Option<Place> {
        let mut node = ROOT;
        for level in filter.without_share().levels() {
            let child = match self.trie.child_or_insert(node, level).filter(|&child| child < GROUP) {
                Some(child) => child,
                None => {
                    self.prune(node);
                    return None;
                }
            };
            let entry = self.trie.value_mut(node)?;
            match level {
                b"+" => entry.plus = child,
                b"#" => entry.hash = child,
                _ => {}
            }
            node = child;
        }
        let Some(name) = filter.share_name() else { return Some(Place(node)) };
        if let Some(group) = self.group(node, name.as_bytes()) {
            return Some(Place(group | GROUP));
        }
        let group = Group { node, name: name.as_bytes().into(), members: Vec::new(), next: 0 };
        let key = self.groups.insert(group)?;
        self.trie.value_mut(node)?.subscribers.lists()?.groups.push(key.index);
        Some(Place(key.index | GROUP))
    }

    /// Takes a subscriber into a list, and returns its position there.
    pub(super) fn push(&mut self, place: Place, subscriber: Subscriber) -> Option<u32> {
        let position = match place.group() {
            None => self.trie.value_mut(place.0)?.subscribers.push(subscriber),
            Some(group) => {
                let members = &mut self.groups.get_mut(group)?.members;
                members.push(subscriber);
                (members.len() as u32).saturating_sub(1)
            }
        };
        self.subscriptions = self.subscriptions.saturating_add(1);
        self.shared = self.shared.saturating_add(u32::from(place.is_shared()));
        Some(position)
    }

    /// Changes the terms of a subscriber.
    pub(super) fn replace(&mut self, place: Place, position: u32, subscriber: Subscriber) {
        let old = match place.group() {
            None => self.trie.value_mut(place.0).and_then(|entry| entry.subscribers.get_mut(position)),
            Some(group) => self.groups.get_mut(group).and_then(|group| group.members.get_mut(position as usize)),
        };
        if let Some(old) = old {
            *old = subscriber;
        }
    }

    /// Takes a subscriber away. Another one may have moved to its position: that is returned.
    pub(super) fn remove(&mut self, place: Place, position: u32) -> Option<Subscriber> {
        self.subscriptions = self.subscriptions.saturating_sub(1);
        self.shared = self.shared.saturating_sub(u32::from(place.is_shared()));
        let (moved, node) = match place.group() {
            None => (self.trie.value_mut(place.0)?.subscribers.swap_remove(position), place.0),
            Some(number) => {
                let group = self.groups.get_mut(number)?;
                let node = group.node;
                // Whose turn it is stays so, as far as that is possible.
                let moved = swap_remove(&mut group.members, position);
                if group.members.is_empty() {
                    self.remove_group(number, node);
                }
                (moved, node)
            }
        };
        self.prune(node);
        moved
    }

    fn remove_group(&mut self, group: u32, node: NodeId) {
        self.groups.remove(group);
        if let Some(entry) = self.trie.value_mut(node) {
            if let Some(lists) = entry.subscribers.lists() {
                lists.groups.retain(|&other| other != group);
            }
            entry.subscribers.tidy();
        }
    }

    /// Takes nodes away that nobody needs, from this one up.
    fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT
            && !self.trie.has_children(node)
            && self.trie.value(node).is_some_and(|entry| entry.subscribers.is_none())
        {
            let parent = self.trie.parent(node);
            if let Some(entry) = self.trie.value_mut(parent) {
                if entry.plus == node {
                    entry.plus = NONE;
                }
                if entry.hash == node {
                    entry.hash = NONE;
                }
            }
            self.trie.remove_leaf(node);
            node = parent;
        }
    }

    /// Finds the filters that fit to a topic, without recursion: level by level. There are never more nodes on a way than
    /// there are filters, however the topic is made.
    pub(super) fn find_matches(&mut self, topic: TopicName<'_>, matches: &mut Matches) {
        let Self { trie, here, below, .. } = self;
        matches.nodes.clear();
        here.clear();
        here.push(ROOT);
        // A wildcard in the first level does not stand for what begins with `$` [MQTT-4.7.2-1].
        let mut takes_wildcards = topic.as_bytes().first() != Some(&b'$');
        for level in topic.levels() {
            let wanted = trie.wanted(level);
            below.clear();
            for &node in here.iter() {
                let Some(&Entry { plus, hash, .. }) = trie.value(node) else { continue };
                if takes_wildcards {
                    if hash != NONE {
                        matches.nodes.push(hash);
                    }
                    if plus != NONE {
                        below.push(plus);
                    }
                }
                if trie.has_children(node)
                    && let Some(child) = trie.child(node, wanted)
                {
                    below.push(child);
                }
            }
            takes_wildcards = true;
            core::mem::swap(here, below);
            if here.is_empty() {
                return;
            }
        }
        for &node in here.iter() {
            let Some(entry) = trie.value(node) else { continue };
            if !entry.subscribers.is_none() {
                matches.nodes.push(node);
            }
            // `a/#` stands for `a` too (section 4.7.1.2).
            if entry.hash != NONE {
                matches.nodes.push(entry.hash);
            }
        }
    }

    /// The subscribers of the filters that fit, in lists: no session is in one of them twice.
    #[inline]
    pub(super) fn lists<'t>(&'t self, matches: &'t Matches) -> impl Iterator<Item = &'t [Subscriber]> {
        let entries = matches.nodes.iter().filter_map(|&node| self.trie.value(node));
        entries.map(|entry| entry.subscribers.own()).filter(|own| !own.is_empty())
    }

    /// The groups that share a filter that fits.
    pub(super) fn groups<'t>(&'t self, matches: &'t Matches) -> impl Iterator<Item = u32> + 't {
        let entries = matches.nodes.iter().filter_map(|&node| self.trie.value(node));
        entries.flat_map(|entry| entry.subscribers.groups()).copied()
    }

    /// A subscriber.
    pub(super) fn get(&self, place: Place, position: u32) -> Option<&Subscriber> {
        match place.group() {
            None => self.trie.value(place.0)?.subscribers.own().get(position as usize),
            Some(group) => self.groups.get(group)?.members.get(position as usize),
        }
    }

    /// Panics if nodes are kept that nobody needs, or subscriptions are not counted right. For tests.
    pub(super) fn assert_consistent(&self) {
        let (mut own, mut shared) = (0_usize, 0_usize);
        for node in self.trie.iter() {
            let Some(Entry { subscribers, .. }) = self.trie.value(node) else { continue };
            assert!(
                node == ROOT || !subscribers.is_none() || self.trie.has_children(node),
                "a node without subscribers has children"
            );
            own = own.saturating_add(subscribers.own().len());
            for &group in subscribers.groups() {
                let members = self.groups.get(group).map_or(0, |group| group.members.len());
                assert!(members != 0, "a group has members");
                shared = shared.saturating_add(members);
            }
        }
        assert_eq!(self.shared as usize, shared, "shared subscriptions are counted right");
        assert_eq!(self.subscriptions as usize, own.saturating_add(shared), "subscriptions are counted right");
    }

    pub(super) fn group_mut(&mut self, group: u32) -> Option<&mut Group> {
        self.groups.get_mut(group)
    }
}
