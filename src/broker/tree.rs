//! Who is subscribed to what: a tree of topic filters, with the subscribers at its nodes (section 4.7).

use alloc::vec::Vec;

use hashbrown::HashTable;

use super::slab::Slab;
use super::trie::{Levels, NONE, NodeId, Path, ROOT, Trie};
use crate::codec::{QoS, Subscription};
use crate::topic::{TopicFilter, TopicName};

/// The subscriptions of all sessions.
#[derive(Clone)]
pub(super) struct Tree {
    trie: Trie<Entry>,
    /// The lists of filters that have several subscribers.
    lists: Slab<Lists>,
    groups: Slab<Group>,
    /// The groups by filter and name.
    by_share: HashTable<u32>,
    /// The groups by their numbers.
    by_number: HashTable<u32>,
    /// The number of the group that was made last.
    last_number: u32,
    subscriptions: u32,
    shared: u32,
    /// What is needed while a topic is looked for; kept for its memory.
    search: Search,
}

#[derive(Clone, Default)]
struct Search {
    levels: Levels,
    /// The nodes whose levels are those of the topic, without any wildcard, from the root on.
    literal: Vec<(NodeId, Path)>,
    /// Nodes behind a `+`, with how many levels of the topic they stand for.
    branches: Vec<(NodeId, Path, u32)>,
}

/// What is subscribed to at a node.
#[derive(Clone, Default)]
struct Entry {
    /// The child for `+`.
    plus: NodeId,
    /// Who is subscribed to the filter that ends here.
    own: Subscribers,
    /// Who is subscribed to the filter that goes on with `#`, which is no node of its own: nothing follows it.
    hash: Subscribers,
}

/// Nearly all filters have one subscriber.
#[derive(Clone, Default)]
enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    /// The number of their lists.
    Many(u32),
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
    /// The filter that they share.
    place: Place,
    /// Which of the groups that share it.
    position: u32,
    name: Vec<u8>,
    /// A number that tells it from groups that have been where it is: from 1 to [`MAX_GROUP_NUMBER`], and then from 1 again.
    pub(super) number: u32,
    pub(super) members: Vec<Subscriber>,
    /// Whose turn it is.
    pub(super) next: u32,
}

/// A list of subscribers: those of a filter, or the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

/// The highest number of a group: a number leaves three bits.
pub(super) const MAX_GROUP_NUMBER: u32 = u32::MAX >> 3;

/// It is a group, with its index.
const GROUP: u32 = 1 << 31;
/// It is a filter that ends with `#` below the node.
const HASH: u32 = 1 << 30;

impl Place {
    /// The node that it is at, if it is not a group.
    const fn node(self) -> NodeId {
        self.0 & !HASH
    }

    const fn group(self) -> Option<u32> {
        if self.0 & GROUP != 0 { Some(self.0 & !GROUP) } else { None }
    }

    pub(super) const fn is_shared(self) -> bool {
        self.0 & GROUP != 0
    }
}

/// The lists that a topic fits to.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches(Vec<Place>);

impl Matches {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Subscriber {
    pub(super) fn new(session: u32, subscription: &Subscription<'_>, identifier: u32) -> Self {
        let Subscription { qos, no_local, retain_as_published, .. } = *subscription;
        Self { session, identifier, terms: Terms { qos, no_local, retain_as_published } }
    }

    /// The new options of this subscription, for retained messages that the old ones have asked for: No Local keeps away what
    /// the client has published itself if it was asked for by either \[MQTT-3.8.3-3\].
    pub(super) const fn renewed(self, new: Self) -> Self {
        Self { terms: Terms { no_local: self.terms.no_local || new.terms.no_local, ..new.terms }, ..new }
    }
}

impl Subscribers {
    const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    fn own<'t>(&'t self, lists: &'t Slab<Lists>) -> &'t [Subscriber] {
        match self {
            Self::None => &[],
            Self::One(one) => core::slice::from_ref(one),
            Self::Many(number) => lists.get(*number).map_or(&[], |lists| &lists.own),
        }
    }

    fn groups<'t>(&self, lists: &'t Slab<Lists>) -> &'t [u32] {
        match self {
            Self::None | Self::One(_) => &[],
            Self::Many(number) => lists.get(*number).map_or(&[], |lists| &lists.groups),
        }
    }

    /// As lists that can be changed.
    fn many<'t>(&mut self, lists: &'t mut Slab<Lists>) -> Option<&'t mut Lists> {
        let number = match self {
            Self::Many(number) => *number,
            Self::None | Self::One(_) => {
                let own = self.own(lists).to_vec();
                let number = lists.insert(Lists { own, groups: Vec::new() })?.index;
                *self = Self::Many(number);
                number
            }
        };
        lists.get_mut(number)
    }

    /// In the form that takes the least memory.
    fn tidy(&mut self, lists: &mut Slab<Lists>) {
        let Self::Many(number) = *self else { return };
        let Some(Lists { own, groups }) = lists.get(number) else { return };
        let tidied = match **own {
            [] if groups.is_empty() => Self::None,
            [one] if groups.is_empty() => Self::One(one),
            _ => return,
        };
        *self = tidied;
        lists.remove(number);
    }

    fn get_mut<'t>(&'t mut self, lists: &'t mut Slab<Lists>, position: u32) -> Option<&'t mut Subscriber> {
        match self {
            Self::None => None,
            Self::One(one) => (position == 0).then_some(one),
            Self::Many(number) => lists.get_mut(*number)?.own.get_mut(position as usize),
        }
    }

    /// Takes one more, and returns its position.
    fn push(&mut self, lists: &mut Slab<Lists>, subscriber: Subscriber) -> Option<u32> {
        if self.is_none() {
            *self = Self::One(subscriber);
            return Some(0);
        }
        let own = &mut self.many(lists)?.own;
        own.push(subscriber);
        (own.len() as u32).checked_sub(1)
    }

    /// Takes one away; the last one moves to its position, and is returned if there is one.
    fn swap_remove(&mut self, lists: &mut Slab<Lists>, position: u32) -> Option<Subscriber> {
        let Self::Many(number) = *self else {
            *self = Self::None;
            return None;
        };
        let moved = swap_remove(&mut lists.get_mut(number)?.own, position);
        self.tidy(lists);
        moved
    }
}

/// The levels of a filter, without its share and without `#`; and [`HASH`] if it has that.
fn split<'a>(filter: &TopicFilter<'a>) -> (Option<&'a [u8]>, u32) {
    let filter = filter.without_share().as_bytes();
    match filter {
        b"#" => (None, HASH),
        _ => filter.strip_suffix(b"/#").map_or((Some(filter), 0), |levels| (Some(levels), HASH)),
    }
}

/// The first of some levels, and the others.
fn split_level(levels: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = levels.splitn(2, |&byte| byte == b'/');
    (parts.next().unwrap_or_default(), parts.next())
}

/// Whether the levels behind a node fit to what a topic still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    No,
    /// The topic has more.
    Beginning,
    Whole,
}

fn fit(tail: Option<&[u8]>, rest: Option<&[u8]>) -> Fit {
    match (tail, rest) {
        (None, None) => Fit::Whole,
        (None, Some(_)) => Fit::Beginning,
        (Some(_), None) => Fit::No,
        (Some(tail), Some(rest)) => {
            let mut levels = rest.split(|&byte| byte == b'/');
            let mut tail = tail.split(|&byte| byte == b'/');
            if !tail.all(|wanted| levels.next().is_some_and(|level| wanted == b"+" || wanted == level)) {
                return Fit::No;
            }
            if levels.next().is_none() { Fit::Whole } else { Fit::Beginning }
        }
    }
}

/// Numbers ascend, so that nobody can choose those that are slow to look up.
const fn number_hash(number: u32) -> u64 {
    (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn share_hash(trie: &Trie<Entry>, place: Place, name: &[u8]) -> u64 {
    trie.wanted(name).hash() ^ u64::from(place.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
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
            lists: Slab::new(),
            groups: Slab::new(),
            by_share: HashTable::new(),
            by_number: HashTable::new(),
            last_number: 0,
            subscriptions: 0,
            shared: 0,
            search: Search::default(),
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

    #[inline]
    fn subscribers(&self, place: Place) -> Option<&Subscribers> {
        let entry = self.trie.value(place.node())?;
        Some(if place.0 & HASH != 0 { &entry.hash } else { &entry.own })
    }

    fn subscribers_mut(&mut self, place: Place) -> Option<(&mut Subscribers, &mut Slab<Lists>)> {
        let entry = self.trie.value_mut(place.node())?;
        Some((if place.0 & HASH != 0 { &mut entry.hash } else { &mut entry.own }, &mut self.lists))
    }

    /// The list for this filter, if there is one.
    pub(super) fn find(&self, filter: TopicFilter<'_>) -> Option<Place> {
        let (path, hash) = split(&filter);
        let place = Place(self.find_node(path)? | hash);
        match filter.share_name() {
            None => Some(place),
            Some(name) => self.group(place, name.as_bytes()),
        }
    }

    /// The filter that a list is for, as it was subscribed to.
    pub(super) fn filter(&self, place: Place) -> Vec<u8> {
        let mut filter = Vec::new();
        let place = match place.group() {
            None => place,
            Some(group) => {
                let Some(group) = self.groups.get(group) else { return filter };
                for part in [b"$share/", &*group.name, b"/"] {
                    filter.extend_from_slice(part);
                }
                group.place
            }
        };
        self.trie.write_levels(place.node(), &mut filter);
        if place.0 & HASH != 0 {
            filter.extend_from_slice(if place.node() == ROOT { b"#" } else { b"/#" });
        }
        filter
    }

    /// The node at the end of these levels.
    fn find_node(&self, path: Option<&[u8]>) -> Option<NodeId> {
        let (mut node, mut path) = (ROOT, path);
        while let Some(levels) = path {
            let (level, rest) = split_level(levels);
            node = self.trie.child_of(node, self.trie.wanted(level))?;
            match self.trie.tail(node) {
                None => path = rest,
                tail if tail == rest => break,
                Some(_) => return None,
            }
        }
        Some(node)
    }

    /// The node at the end of these levels, which is made if there is none.
    fn find_or_insert_node(&mut self, path: Option<&[u8]>) -> Option<NodeId> {
        let (mut node, mut path) = (ROOT, path);
        while let Some(levels) = path {
            let (level, rest) = split_level(levels);
            let (mut child, end) = match self.trie.child_of(node, self.trie.wanted(level)) {
                Some(child) => (child, self.trie.tail(child).is_some_and(|tail| Some(tail) == rest)),
                None => (self.trie.insert(node, level, rest)?, true),
            };
            if !end && self.trie.tail(child).is_some() {
                let lower = child;
                child = self.trie.push_down(lower)?;
                if self.trie.level(lower) == b"+" {
                    self.trie.value_mut(child)?.plus = lower;
                }
            }
            if level == b"+" {
                self.trie.value_mut(node)?.plus = child;
            }
            node = child;
            path = if end { None } else { rest };
        }
        Some(node)
    }

    /// The list of a group that shares a filter.
    fn group(&self, place: Place, name: &[u8]) -> Option<Place> {
        let is_it = |&group: &u32| self.groups.get(group).is_some_and(|it| it.place == place && it.name == name);
        self.by_share.find(self.share_hash(place, name), is_it).map(|&group| Place(group | GROUP))
    }

    fn share_hash(&self, place: Place, name: &[u8]) -> u64 {
        share_hash(&self.trie, place, name)
    }

    /// The list for this filter, which is made if there is none. It has to get a subscriber then; `None` if there is no
    /// number left for it.
    pub(super) fn find_or_insert(&mut self, filter: TopicFilter<'_>) -> Option<Place> {
        if self.trie.len() >= HASH as usize {
            return None;
        }
        let (path, hash) = split(&filter);
        let place = Place(self.find_or_insert_node(path)? | hash);
        let Some(name) = filter.share_name() else { return Some(place) };
        if let Some(group) = self.group(place, name.as_bytes()) {
            return Some(group);
        }
        let (subscribers, lists) = self.subscribers_mut(place)?;
        let position = subscribers.many(lists)?.groups.len() as u32;
        self.last_number = if self.last_number < MAX_GROUP_NUMBER { self.last_number.wrapping_add(1) } else { 1 };
        let number = self.last_number;
        let group = Group { place, position, name: name.as_bytes().into(), number, members: Vec::new(), next: 0 };
        let group = self.groups.insert(group)?.index;
        let (subscribers, lists) = self.subscribers_mut(place)?;
        subscribers.many(lists)?.groups.push(group);
        let hash = self.share_hash(place, name.as_bytes());
        let (trie, groups) = (&self.trie, &self.groups);
        self.by_share.insert_unique(hash, group, |&group| {
            groups.get(group).map_or(0, |group| share_hash(trie, group.place, &group.name))
        });
        self.by_number.insert_unique(number_hash(number), group, |&group| {
            groups.get(group).map_or(0, |group| number_hash(group.number))
        });
        Some(Place(group | GROUP))
    }

    /// Takes a subscriber into a list, and returns its position there.
    pub(super) fn push(&mut self, place: Place, subscriber: Subscriber) -> Option<u32> {
        let position = match place.group() {
            None => {
                let (subscribers, lists) = self.subscribers_mut(place)?;
                subscribers.push(lists, subscriber)?
            }
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
            None => self.subscribers_mut(place).and_then(|(subscribers, lists)| subscribers.get_mut(lists, position)),
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
        let Some(number) = place.group() else {
            let (subscribers, lists) = self.subscribers_mut(place)?;
            let moved = subscribers.swap_remove(lists, position);
            self.prune(place.node());
            return moved;
        };
        let group = self.groups.get_mut(number)?;
        let moved = swap_remove(&mut group.members, position);
        if group.members.is_empty() {
            self.remove_group(number);
        }
        moved
    }

    /// Takes away a group that has no members. Another one may move to its position among those of its filter.
    fn remove_group(&mut self, number: u32) -> Option<()> {
        let Group { place, position, name, number: own_number, .. } = self.groups.remove(number)?;
        if let Ok(entry) = self.by_number.find_entry(number_hash(own_number), |&other| other == number) {
            entry.remove();
        }
        if let Ok(entry) = self.by_share.find_entry(self.share_hash(place, &name), |&other| other == number) {
            entry.remove();
        }
        let (subscribers, lists) = self.subscribers_mut(place)?;
        let groups = &mut subscribers.many(lists)?.groups;
        if (position as usize) < groups.len() {
            groups.swap_remove(position as usize);
        }
        let moved = groups.get(position as usize).copied();
        subscribers.tidy(lists);
        if let Some(group) = moved.and_then(|moved| self.groups.get_mut(moved)) {
            group.position = position;
        }
        self.prune(place.node());
        Some(())
    }

    /// Takes nodes away that nobody needs, from this one up.
    fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT
            && !self.trie.has_children(node)
            && self.trie.value(node).is_some_and(|entry| entry.own.is_none() && entry.hash.is_none())
        {
            let parent = self.trie.parent(node);
            if let Some(entry) = self.trie.value_mut(parent)
                && entry.plus == node
            {
                entry.plus = NONE;
            }
            self.trie.remove_leaf(node);
            node = parent;
        }
    }

    /// Finds the filters that fit to a topic, without recursion. No node is looked at twice, so there are never more steps
    /// than there are filters, however the topic is made.
    pub(super) fn find_matches(&mut self, topic: TopicName<'_>, matches: &mut Matches) {
        let Self { trie, search: Search { levels, literal, branches }, .. } = self;
        matches.0.clear();
        branches.clear();
        trie.read_levels(topic.as_bytes(), levels);
        trie.find_along(topic.as_bytes(), levels, literal);
        // A wildcard in the first level does not stand for what begins with `$` [MQTT-4.7.2-1].
        let is_hidden = topic.as_bytes().first() == Some(&b'$');
        let plus = trie.wanted(b"+");
        let mut visit = |node: NodeId, path: Path, depth: u32, branches: &mut Vec<_>| {
            let Some(entry) = trie.value(node) else { return };
            if is_hidden && depth == 0 {
                return;
            }
            let fit = fit(trie.tail(node), levels.rest(topic.as_bytes(), depth));
            // `a/#` stands for `a` too (section 4.7.1.2).
            if fit != Fit::No && !entry.hash.is_none() {
                matches.0.push(Place(node | HASH));
            }
            if fit == Fit::Whole && !entry.own.is_none() {
                matches.0.push(Place(node));
            }
            if fit == Fit::Beginning && entry.plus != NONE {
                branches.push((entry.plus, path.then(plus), depth.saturating_add(1)));
            }
        };
        for (&(node, path), depth) in literal.iter().zip(0..) {
            visit(node, path, depth, branches);
        }
        while let Some((node, path, depth)) = branches.pop() {
            visit(node, path, depth, branches);
            if let Some(level) = levels.get(topic.as_bytes(), depth) {
                let path = path.then(level);
                if let Some(child) = trie.child(node, path, level) {
                    branches.push((child, path, depth.saturating_add(1)));
                }
            }
        }
    }

    /// The subscribers of the filters that fit, in lists: no session is in one of them twice.
    #[inline]
    pub(super) fn lists<'t>(&'t self, matches: &'t Matches) -> impl Iterator<Item = &'t [Subscriber]> {
        let lists = matches.0.iter().filter_map(|&place| self.subscribers(place));
        lists.map(|subscribers| subscribers.own(&self.lists)).filter(|own| !own.is_empty())
    }

    /// The groups that share a filter that fits.
    pub(super) fn groups<'t>(&'t self, matches: &'t Matches) -> impl Iterator<Item = u32> + 't {
        let lists = matches.0.iter().filter_map(|&place| self.subscribers(place));
        lists.flat_map(|subscribers| subscribers.groups(&self.lists)).copied()
    }

    /// A subscriber.
    pub(super) fn get(&self, place: Place, position: u32) -> Option<&Subscriber> {
        match place.group() {
            None => self.subscribers(place)?.own(&self.lists).get(position as usize),
            Some(group) => self.groups.get(group)?.members.get(position as usize),
        }
    }

    /// Panics if nodes are kept that nobody needs, or subscriptions are not counted right. For tests.
    pub(super) fn assert_consistent(&self) {
        let (mut own, mut shared) = (0_usize, 0_usize);
        for node in self.trie.iter() {
            let Some(entry) = self.trie.value(node) else { continue };
            let is_needed = !entry.own.is_none() || !entry.hash.is_none() || self.trie.has_children(node);
            assert!(node == ROOT || is_needed, "a node without subscribers has children");
            for subscribers in [&entry.own, &entry.hash] {
                own = own.saturating_add(subscribers.own(&self.lists).len());
                for &group in subscribers.groups(&self.lists) {
                    let members = self.groups.get(group).map_or(0, |group| group.members.len());
                    assert!(members != 0, "a group has members");
                    let number = self.groups.get(group).map_or(0, |group| group.number);
                    let is_found = self.by_number.find(number_hash(number), |&other| other == group).is_some();
                    assert!(is_found, "a group is found by its number");
                    shared = shared.saturating_add(members);
                }
            }
        }
        assert_eq!(self.by_number.len(), self.by_share.len(), "each group has a number");
        assert_eq!(self.shared as usize, shared, "shared subscriptions are counted right");
        assert_eq!(self.subscriptions as usize, own.saturating_add(shared), "subscriptions are counted right");
    }

    /// The group with this number, if it shares one of the filters that fit. Numbers are used again after a very long time:
    /// whatever group has it then, it is subscribed to the topic.
    pub(super) fn find_group(&self, number: u32, matches: &Matches) -> Option<u32> {
        let is_it = |group: &Group| group.number == number && matches.0.contains(&group.place);
        self.by_number.find(number_hash(number), |&group| self.groups.get(group).is_some_and(is_it)).copied()
    }

    pub(super) fn group_mut(&mut self, group: u32) -> Option<&mut Group> {
        self.groups.get_mut(group)
    }
}

/// Where messages are looked for, one node is one cache line.
const _: () = assert!(Trie::<Entry>::NODE_SIZE == 64);
