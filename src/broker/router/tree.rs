//! The subscriptions: a tree of topic filters, with the subscribers at its nodes (section 4.7).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::list_id::{GroupIndex, ListId, MAX_GROUP_NUMBER};
use super::lists::{Lists, Subscribers};
use super::ordered::OrderedList;
use super::shared::Group;
use super::subscribers::Subscriber;
use super::trie::{NONE, NodeId, ROOT, Trie, split_level};
use crate::broker::index::SessionIndex;
use crate::broker::secret::{KeyedHash, Secret, Use};
use crate::broker::slab::Slab;
use crate::broker::table::Table;
use crate::topic::{TopicFilter, TopicName};

/// The subscriptions of all sessions.
#[derive(Clone)]
pub(super) struct Tree {
    trie: Trie<Entry>,
    /// The lists of filters that have several subscribers.
    lists: Slab<Lists>,
    groups: Slab<Group>,
    /// The groups by filter and name.
    by_share: Table,
    /// The hash of share names.
    hash: KeyedHash,
    /// The groups by number.
    by_number: Table,
    /// The number of the newest group.
    last_number: u32,
    subscriptions: u32,
    shared: u32,
    /// The size of lists and groups on the heap, in bytes.
    heap: usize,
    /// How many messages on their way hold the lists of a node: it stays meanwhile, so that its id means no other filter.
    pins: BTreeMap<NodeId, u32>,
}

/// The subscribers at a node.
#[derive(Clone, Default)]
pub(super) struct Entry {
    /// The child for `+`.
    plus: NodeId,
    /// The subscribers of the filter that ends here.
    own: Subscribers,
    /// The subscribers of the filter that goes on with `#`. The `#` has no node of its own, because no level follows it.
    hash: Subscribers,
}

impl Entry {
    /// The child for `+`.
    #[inline]
    pub(super) const fn plus(&self) -> NodeId {
        self.plus
    }

    /// Whether the filter that ends here has subscribers.
    #[inline]
    pub(super) const fn has_own(&self) -> bool {
        !self.own.is_none()
    }

    /// Whether the filter that goes on with `#` has subscribers.
    #[inline]
    pub(super) const fn has_multi_level(&self) -> bool {
        !self.hash.is_none()
    }
}

/// The lists of the filters that match a topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches(Vec<ListId>);

impl Matches {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, list: ListId) {
        self.0.push(list);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ListId> {
        self.0.iter().copied()
    }
}

/// The levels of a filter without its share name and without `#`, and whether it ends with `#`.
fn split<'a>(filter: &TopicFilter<'a>) -> (Option<&'a [u8]>, bool) {
    let filter = filter.without_share().as_bytes();
    match filter {
        b"#" => (None, true),
        _ => filter.strip_suffix(b"/#").map_or((Some(filter), false), |levels| (Some(levels), true)),
    }
}

/// Number of levels at the beginning of `tail`, without its last one, that `rest` begins with too.
fn count_common(tail: &[u8], rest: Option<&[u8]>) -> usize {
    let (mut tail, mut rest, mut count) = (tail, rest, 0_usize);
    while let Some(levels) = rest
        && let ((level, Some(behind)), (wanted, others)) = (split_level(tail), split_level(levels))
        && level == wanted
    {
        (tail, rest, count) = (behind, others, count.saturating_add(1));
    }
    count
}

/// How the levels that a node stores behind its own compare with the rest of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    No,
    /// They match, and the topic has more levels.
    Beginning,
    Whole,
}

#[inline]
pub(super) fn fit(tail: Option<&[u8]>, rest: Option<&[u8]>) -> Fit {
    match (tail, rest) {
        (None, None) => Fit::Whole,
        (None, Some(_)) => Fit::Beginning,
        (Some(_), None) => Fit::No,
        (Some(tail), Some(rest)) => {
            let mut rest = rest.iter();
            for &byte in tail {
                if byte == b'+' {
                    // It is a level by itself, and stands for one of the topic.
                    while rest.as_slice().first().is_some_and(|&byte| byte != b'/') {
                        rest.next();
                    }
                } else if rest.next() != Some(&byte) {
                    return Fit::No;
                }
            }
            match rest.next() {
                None => Fit::Whole,
                Some(b'/') => Fit::Beginning,
                Some(_) => Fit::No,
            }
        }
    }
}

/// Group numbers ascend, so no client can choose numbers that collide: a fixed multiplier is enough.
const fn number_hash(number: u32) -> u64 {
    (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn share_hash(hash: &KeyedHash, list: ListId, name: &[u8]) -> u64 {
    hash.hash_with(name, list.number())
}

impl Tree {
    /// The size of a node in bytes.
    pub(super) const NODE_SIZE: usize = Trie::<Entry>::NODE_SIZE;

    pub(super) fn new(secret: &Secret) -> Self {
        Self {
            trie: Trie::new(secret.level_hash(Use::Subscriptions)),
            lists: Slab::new(),
            groups: Slab::new(),
            by_share: Table::new(),
            hash: secret.keyed_hash(Use::ShareNames),
            by_number: Table::new(),
            last_number: 0,
            subscriptions: 0,
            shared: 0,
            heap: 0,
            pins: BTreeMap::new(),
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

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let tables = [self.trie.bytes(), self.lists.bytes(), self.groups.bytes(), self.by_share.bytes()];
        /// The size of a pin, in bytes, about.
        const PIN: usize = 16;
        let others = [self.heap, self.by_number.bytes(), self.pins.len().saturating_mul(PIN)];
        tables.into_iter().chain(others).fold(0, usize::saturating_add)
    }

    /// What a subscriber of this filter is charged, in bytes: the filter, each of its levels, and the entry in a list, or the
    /// group.
    pub(super) fn charge_of_filter(filter: TopicFilter<'_>) -> i32 {
        let group = if filter.share_name().is_some() { Slab::<Group>::SLOT_SIZE } else { 0 };
        let levels = filter.levels().count().saturating_mul(Trie::<Entry>::NODE_SIZE);
        let entries = [group, levels, core::mem::size_of::<Subscriber>()];
        let bytes = entries.into_iter().fold(filter.as_bytes().len(), usize::saturating_add);
        i32::try_from(bytes).unwrap_or(i32::MAX)
    }

    /// The size of a list, or of a group, on the heap.
    fn heap_of(&self, list: ListId) -> usize {
        match list.group() {
            None => self.subscribers(list).map_or(0, |subscribers| subscribers.bytes(&self.lists)),
            Some(group) => self.groups.get(group.get()).map_or(0, Group::bytes),
        }
    }

    /// Counts a list again, whose size was this before it was changed.
    fn recount(&mut self, list: ListId, before: usize) {
        self.heap = self.heap.saturating_sub(before).saturating_add(self.heap_of(list));
    }

    #[inline]
    fn subscribers(&self, list: ListId) -> Option<&Subscribers> {
        let entry = self.trie.value(list.node())?;
        Some(if list.is_multi_level() { &entry.hash } else { &entry.own })
    }

    fn subscribers_mut(&mut self, list: ListId) -> Option<(&mut Subscribers, &mut Slab<Lists>)> {
        let entry = self.trie.value_mut(list.node())?;
        Some((if list.is_multi_level() { &mut entry.hash } else { &mut entry.own }, &mut self.lists))
    }

    /// The list for this filter, if it exists.
    pub(super) fn find(&self, filter: TopicFilter<'_>) -> Option<ListId> {
        let (path, is_multi_level) = split(&filter);
        let list = ListId::of_node(self.find_node(path)?, is_multi_level);
        match filter.share_name() {
            None => Some(list),
            Some(name) => self.group(list, name.as_bytes(), share_hash(&self.hash, list, name.as_bytes())),
        }
    }

    /// The filter of a list, in the form that was subscribed to.
    pub(super) fn filter(&self, list: ListId) -> Vec<u8> {
        let mut filter = Vec::new();
        let list = match list.group() {
            None => list,
            Some(group) => {
                let Some(group) = self.groups.get(group.get()) else {
                    bug!("a list of a group exists while the group does");
                    return filter;
                };
                for part in [b"$share/", group.name(), b"/"] {
                    filter.extend_from_slice(part);
                }
                group.list()
            }
        };
        self.trie.write_levels(list.node(), &mut filter);
        if list.is_multi_level() {
            filter.extend_from_slice(if list.node() == ROOT { b"#" } else { b"/#" });
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

    /// The node at the end of these levels, which is made if it does not exist.
    fn find_or_insert_node(&mut self, path: Option<&[u8]>) -> Option<NodeId> {
        let (mut node, mut path, mut depth) = (ROOT, path, 0_usize);
        while let Some(levels) = path {
            let (level, rest) = split_level(levels);
            depth = depth.saturating_add(1);
            let (mut child, end) = match self.trie.child_of(node, self.trie.wanted(level)) {
                Some(child) => (child, self.trie.tail(child).is_some_and(|tail| Some(tail) == rest)),
                None => (self.trie.insert(node, level, rest)?, true),
            };
            if !end && let Some(tail) = self.trie.tail(child) {
                let lower = child;
                // All levels at once, so that each is copied once.
                let levels = count_common(tail, rest).saturating_add(1);
                child = self.trie.push_down(lower, levels)?;
                if self.trie.level(lower) == b"+" {
                    self.trie.value_mut(self.trie.parent(lower))?.plus = lower;
                }
            }
            if level == b"+" {
                self.trie.value_mut(node)?.plus = child;
            }
            node = child;
            path = if end { None } else { rest };
        }
        self.trie.count_levels(depth);
        Some(node)
    }

    /// The list of a group that shares a filter.
    fn group(&self, list: ListId, name: &[u8], hash: u64) -> Option<ListId> {
        let is_it = |index| self.groups.get(index).is_some_and(|group| group.list() == list && group.name() == name);
        let found = self.by_share.find(hash, is_it);
        found.map(|group| ListId::of_group(GroupIndex::new(group)))
    }

    /// The list for this filter, which is made if it does not exist. It has to get a subscriber then; `None` if no index is
    /// left for it.
    pub(super) fn find_or_insert(&mut self, filter: TopicFilter<'_>) -> Option<ListId> {
        self.find_or_make(filter, None)
    }

    /// As [`find_or_insert`](Self::find_or_insert); the group that shares the filter, if one does, has this number. `None` also
    /// if it has another.
    pub(super) fn restore(&mut self, filter: TopicFilter<'_>, group: u32) -> Option<ListId> {
        let list = self.find_or_make(filter, Some(group))?;
        (self.group_number(list) == group).then_some(list)
    }

    /// `number` is that of the group if one is made; `None` for the next number.
    fn find_or_make(&mut self, filter: TopicFilter<'_>, number: Option<u32>) -> Option<ListId> {
        if self.trie.len() >= ListId::MAX_NODES {
            return None;
        }
        let (path, is_multi_level) = split(&filter);
        let list = ListId::of_node(self.find_or_insert_node(path)?, is_multi_level);
        let Some(name) = filter.share_name() else { return Some(list) };
        let hash = share_hash(&self.hash, list, name.as_bytes());
        self.trie.count(name.as_bytes().len());
        match self.group(list, name.as_bytes(), hash) {
            Some(group) => Some(group),
            None => self.insert_group(list, name.as_bytes(), hash, number).map(ListId::of_group),
        }
    }

    /// Makes a group that shares a filter.
    fn insert_group(&mut self, list: ListId, name: &[u8], hash: u64, number: Option<u32>) -> Option<GroupIndex> {
        let number = number.unwrap_or_else(|| {
            self.last_number = if self.last_number < MAX_GROUP_NUMBER { self.last_number.wrapping_add(1) } else { 1 };
            self.last_number
        });
        self.last_number = self.last_number.max(number);
        let group = GroupIndex::new(self.groups.insert(Group::new(list, name, number))?.index);
        self.change(list, |subscribers, lists| subscribers.insert_group(lists, group))??;
        self.recount(ListId::of_group(group), 0);
        self.by_share.insert(hash, group.get());
        self.by_number.insert(number_hash(number), group.get());
        Some(group)
    }

    /// Adds a subscriber to a list, and returns its position there if the list is that of a group, else 0.
    pub(super) fn push(&mut self, list: ListId, subscriber: Subscriber) -> Option<u32> {
        let position = match list.group() {
            None => {
                self.change(list, |subscribers, lists| subscribers.insert(lists, subscriber))??;
                0
            }
            Some(group) => {
                let before = self.heap_of(list);
                let position = self.groups.get_mut(group.get())?.push(subscriber)?;
                self.recount(list, before);
                self.shared = self.shared.saturating_add(1);
                position
            }
        };
        self.subscriptions = self.subscriptions.saturating_add(1);
        Some(position)
    }

    /// Changes the subscribers of a filter, and counts their lists again.
    #[inline]
    fn change<T>(&mut self, list: ListId, change: impl FnOnce(&mut Subscribers, &mut Slab<Lists>) -> T) -> Option<T> {
        let Self { trie, lists, heap, .. } = self;
        let entry = trie.value_mut(list.node())?;
        let subscribers = if list.is_multi_level() { &mut entry.hash } else { &mut entry.own };
        let before = subscribers.bytes(lists);
        let result = change(subscribers, lists);
        *heap = heap.saturating_sub(before).saturating_add(subscribers.bytes(lists));
        Some(result)
    }

    /// Moves the member of a group to those that are connected, or to those that are not. Returns its new position, and the
    /// member that is at its old one now; `None` if it need not move.
    pub(super) fn set_connected(
        &mut self,
        list: ListId,
        position: u32,
        is_connected: bool,
    ) -> Option<(u32, Subscriber)> {
        self.groups.get_mut(list.group()?.get())?.set_connected(position, is_connected)
    }

    /// Whether the member of a group is among those that are connected; `None` if the list is not that of a group.
    pub(super) fn is_connected(&self, list: ListId, position: u32) -> Option<bool> {
        self.groups.get(list.group()?.get()).map(|group| group.is_connected(position))
    }

    /// Changes the options of a subscriber.
    pub(super) fn replace(&mut self, list: ListId, position: u32, subscriber: Subscriber) {
        let old = match list.group() {
            None => self
                .subscribers_mut(list)
                .and_then(|(subscribers, lists)| subscribers.get_mut(lists, subscriber.session)),
            Some(group) => self.groups.get_mut(group.get()).and_then(|group| group.member_mut(position)),
        };
        match old {
            Some(old) => *old = subscriber,
            None => bug!("a subscriber is where its session says"),
        }
    }

    /// Removes a subscriber. If another member of a group moved to its position, that is returned.
    pub(super) fn remove(&mut self, list: ListId, session: SessionIndex, position: u32) -> Option<Subscriber> {
        self.subscriptions = self.subscriptions.saturating_sub(1);
        let Some(index) = list.group() else {
            self.change(list, |subscribers, lists| subscribers.remove(lists, session))?;
            self.prune(list.node());
            return None;
        };
        self.shared = self.shared.saturating_sub(1);
        let before = self.heap_of(list);
        let group = self.groups.get_mut(index.get())?;
        let moved = group.swap_remove(position);
        let is_empty = group.len() == 0;
        self.recount(list, before);
        if is_empty {
            self.remove_group(index);
        }
        moved
    }

    /// Takes the work of the changes since the last call, in units: see [`Trie::take_work`].
    pub(super) const fn take_work(&mut self) -> u64 {
        self.trie.take_work()
    }

    /// Removes a group that has no members.
    fn remove_group(&mut self, index: GroupIndex) {
        let Some(group) = self.groups.remove(index.get()) else { return bug!("a group is removed once") };
        let list = group.list();
        self.trie.count(group.name().len()); // it is hashed
        self.heap = self.heap.saturating_sub(group.bytes());
        let is_in_both = self.by_number.remove(number_hash(group.number()), index.get())
            && self.by_share.remove(share_hash(&self.hash, list, group.name()), index.get());
        if !is_in_both {
            bug!("a group is in both tables");
        }
        if self.change(list, |subscribers, lists| subscribers.remove_group(lists, index)).is_none() {
            bug!("a node exists while a group shares its filter");
        }
        self.prune(list.node());
    }

    /// Removes nodes without subscribers and children, from this one up.
    fn prune(&mut self, node: NodeId) {
        let mut node = node;
        while node != ROOT
            && !self.trie.has_children(node)
            && self.trie.value(node).is_some_and(|entry| entry.own.is_none() && entry.hash.is_none())
            && !self.pins.contains_key(&node)
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

    /// Lets a list keep its id while a message on its way to it holds the id over calls.
    pub(super) fn pin(&mut self, list: ListId) {
        let pins = self.pins.entry(list.node()).or_default();
        *pins = pins.saturating_add(1);
    }

    /// A message does not hold a list any more.
    pub(super) fn unpin(&mut self, list: ListId) {
        let node = list.node();
        let Some(pins) = self.pins.get_mut(&node) else { return bug!("a list that is held is pinned") };
        *pins = pins.saturating_sub(1);
        if *pins == 0 {
            self.pins.remove(&node);
            self.prune(node);
        }
    }

    /// The nodes, for a search.
    #[inline]
    pub(super) const fn trie(&self) -> &Trie<Entry> {
        &self.trie
    }

    /// The subscribers of the only matching filter that do not share the subscription, and the groups that do. `None` if several
    /// filters match.
    #[inline]
    pub(super) fn only(
        &self,
        matches: &Matches,
    ) -> Option<(ListId, OrderedList<'_, Subscriber>, OrderedList<'_, GroupIndex>)> {
        let [list] = matches.0[..] else { return None };
        let subscribers = self.subscribers(list)?;
        Some((list, subscribers.own(&self.lists), subscribers.groups(&self.lists)))
    }

    /// Number of subscribers of the matching filters, and of groups that share them.
    #[inline]
    pub(super) fn count(&self, matches: &Matches) -> usize {
        if let Some((_, own, groups)) = self.only(matches) {
            return own.len().saturating_add(groups.len());
        }
        let lists = matches.0.iter().filter_map(|&list| self.subscribers(list));
        let counts = lists.map(|it| it.own(&self.lists).len().saturating_add(it.groups(&self.lists).len()));
        counts.fold(0, usize::saturating_add)
    }

    /// The subscribers of a filter that do not share the subscription.
    pub(super) fn own(&self, list: ListId) -> OrderedList<'_, Subscriber> {
        self.subscribers(list).map_or(OrderedList::EMPTY, |it| it.own(&self.lists))
    }

    /// The next group that shares a filter, in the order of indices.
    pub(super) fn group_behind(&self, list: ListId, last: Option<GroupIndex>) -> Option<GroupIndex> {
        self.subscribers(list)?.groups(&self.lists).first_behind(last).copied()
    }

    /// The subscribers of the matching filters, in lists. No session is in a list twice.
    #[inline]
    pub(super) fn lists<'t>(
        &'t self,
        matches: &'t Matches,
    ) -> impl Iterator<Item = (ListId, OrderedList<'t, Subscriber>)> {
        let lists = matches.0.iter().filter_map(|&list| Some((list, self.subscribers(list)?)));
        lists.map(|(list, subscribers)| (list, subscribers.own(&self.lists))).filter(|(_, own)| own.len() != 0)
    }

    /// The groups that share a matching filter.
    pub(super) fn groups<'t>(&'t self, matches: &'t Matches) -> impl Iterator<Item = GroupIndex> + 't {
        let lists = matches.0.iter().filter_map(|&list| self.subscribers(list));
        lists.flat_map(|subscribers| subscribers.groups(&self.lists).runs().flatten()).copied()
    }

    /// A subscriber.
    pub(super) fn get(&self, list: ListId, session: SessionIndex, position: u32) -> Option<&Subscriber> {
        match list.group() {
            None => self.subscribers(list)?.own(&self.lists).first_from(session).filter(|it| it.session == session),
            Some(group) => self.groups.get(group.get())?.member(position),
        }
    }

    /// Panics if a node is left without need, or subscriptions are counted wrong. For tests.
    pub(super) fn assert_consistent(&self) {
        let (mut own, mut shared, mut heap) = (0_usize, 0_usize, 0_usize);
        for node in self.trie.iter() {
            let Some(entry) = self.trie.value(node) else { continue };
            let is_needed = !entry.own.is_none()
                || !entry.hash.is_none()
                || self.trie.has_children(node)
                || self.pins.contains_key(&node);
            assert!(node == ROOT || is_needed, "a node without subscribers has children");
            for subscribers in [&entry.own, &entry.hash] {
                own = own.saturating_add(subscribers.own(&self.lists).len());
                heap = heap.saturating_add(subscribers.bytes(&self.lists));
                for &group in subscribers.groups(&self.lists).runs().flatten() {
                    let known = self.groups.get(group.get());
                    let members = known.map_or(0, Group::len) as usize;
                    heap = heap.saturating_add(known.map_or(0, Group::bytes));
                    assert!(members != 0, "a group has members");
                    let number = known.map_or(0, Group::number);
                    let is_found = self.by_number.find(number_hash(number), |other| other == group.get()).is_some();
                    assert!(is_found, "a group is found by its number");
                    shared = shared.saturating_add(members);
                }
            }
        }
        assert_eq!(self.by_number.len(), self.by_share.len(), "each group has a number");
        assert_eq!(self.heap, heap, "the memory of lists and groups is counted right");
        assert_eq!(self.shared as usize, shared, "shared subscriptions are counted right");
        assert_eq!(self.subscriptions as usize, own.saturating_add(shared), "subscriptions are counted right");
    }

    /// The group with this number, if it shares a filter that matches. Numbers are used again after a very long time: whatever
    /// group has the number then, it is subscribed to the topic.
    pub(super) fn find_group(&mut self, number: u32, topic: TopicName<'_>) -> Option<GroupIndex> {
        let is_it = |index| self.groups.get(index).is_some_and(|group| group.number() == number);
        let index = self.by_number.find(number_hash(number), is_it)?;
        let filter = self.filter(self.groups.get(index)?.list());
        self.trie.count(filter.len().saturating_add(topic.as_bytes().len()));
        TopicFilter::validated(&filter).matches(topic).then(|| GroupIndex::new(index))
    }

    /// Lets new groups have higher numbers than this one, which a message that was restored is marked by.
    pub(super) fn note_group_number(&mut self, number: u32) {
        self.last_number = self.last_number.max(number);
    }

    /// The number of the group that a list is of; 0 if it is of none.
    pub(super) fn group_number(&self, list: ListId) -> u32 {
        list.group().and_then(|group| self.groups.get(group.get())).map_or(0, Group::number)
    }

    pub(super) fn group_mut(&mut self, index: GroupIndex) -> Option<&mut Group> {
        self.groups.get_mut(index.get())
    }
}

/// Where messages are looked for, one node is one cache line.
const _: () = assert!(Trie::<Entry>::NODE_SIZE == 64);
