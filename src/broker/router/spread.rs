//! A message that does not get to all of its subscribers in one call.

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::list_id::{GroupIndex, ListId};
use super::matching::Cursor;
use super::merge::{Merged, is_wanted};
use super::published_by::PublishedBy;
use super::retained::Reference;
use super::retained_message::RetainedMessage;
use super::tree::Tree;
use crate::broker::index::SessionIndex;
use crate::broker::session::Session;
use crate::broker::sessions::Sessions;
use crate::broker::slab::Key;
use crate::server::Copies;

/// A message on its way to its subscribers: first all filters that match are found, then the message goes to their
/// subscribers by a merge of their lists, in the order of session indices, so that each session is met once, with all its
/// subscriptions; at last to the groups.
pub(in crate::broker) struct Spread {
    /// Tells it from others, in the order in which they began.
    number: u64,
    message: RetainedMessage,
    /// The message as the one that is retained for its topic, if it is.
    retained: Option<Reference>,
    /// Where the search for filters goes on; `None` if it is at its end.
    search: Option<Cursor>,
    /// The matching lists that have subscribers from the position on: each with its next session, as far as is known.
    lists: BinaryHeap<Reverse<(SessionIndex, ListId)>>,
    /// The matching lists that are shared by groups, the next one first.
    shared: VecDeque<ListId>,
    /// The group of the first of them that had its copy last.
    last_group: Option<GroupIndex>,
    /// The session in several lists that is met now, and its subscriptions as far as they are known.
    current: Option<Key>,
    merged: Merged,
    /// Lists that the message has gone to, and that are still pinned.
    done: Vec<ListId>,
    /// Whether a client has published the message.
    is_of_client: bool,
    has_subscribers: bool,
    /// Number of copies that were sent or stored, and whether one was dropped for want of room.
    copies: usize,
    lacks_room: bool,
}

impl Spread {
    pub(super) fn new(
        number: u64,
        message: RetainedMessage,
        retained: Option<Reference>,
        search: Option<Cursor>,
        is_of_client: bool,
    ) -> Self {
        Self {
            number,
            message,
            retained,
            search,
            lists: BinaryHeap::new(),
            shared: VecDeque::new(),
            last_group: None,
            current: None,
            merged: Merged::default(),
            done: Vec::new(),
            is_of_client,
            has_subscribers: false,
            copies: 0,
            lacks_room: false,
        }
    }

    /// Tells it from others.
    pub(in crate::broker) const fn number(&self) -> u64 {
        self.number
    }

    /// The size on the heap, in bytes, without a shared payload.
    pub(in crate::broker) fn heap(&self) -> usize {
        let lists = self.lists.capacity().saturating_mul(core::mem::size_of::<Reverse<(SessionIndex, ListId)>>());
        let others = self.shared.capacity().saturating_add(self.done.capacity());
        let others = others.saturating_mul(core::mem::size_of::<ListId>());
        let search = self.search.as_ref().map_or(0, Cursor::heap);
        let parts = [lists, others, search, self.merged.heap()];
        parts.into_iter().fold(self.message.heap(), usize::saturating_add)
    }

    pub(in crate::broker) const fn message(&self) -> &RetainedMessage {
        &self.message
    }

    /// The message as the one that is retained for its topic, if it is.
    pub(in crate::broker) const fn retained(&self) -> Option<Reference> {
        self.retained
    }

    /// Where the search for filters goes on; `None` if it is at its end.
    pub(super) const fn search(&self) -> Option<&Cursor> {
        self.search.as_ref()
    }

    pub(super) fn set_search(&mut self, search: Option<Cursor>) {
        self.search = search;
    }

    /// Adds lists that match. They are pinned until the message has gone to them.
    pub(super) fn add(&mut self, tree: &mut Tree, lists: impl Iterator<Item = ListId>) {
        for list in lists {
            self.has_subscribers = true;
            if let Some(first) = tree.own(list).first_from(SessionIndex::new(0)) {
                self.lists.push(Reverse((first.session, list)));
                tree.pin(list);
            }
            if tree.group_behind(list, None).is_some() {
                self.shared.push_back(list);
                tree.pin(list);
            }
        }
    }

    /// The message goes to no other subscriber: lets go of a list that it has not gone to. Returns whether there was one.
    pub(super) fn let_go(&mut self, tree: &mut Tree) -> bool {
        let list = self.lists.pop().map(|Reverse((_, list))| list).or_else(|| self.shared.pop_front());
        if let Some(list) = list {
            tree.unpin(list);
        }
        list.is_some()
    }

    /// Whether a client has published the message.
    pub(super) const fn is_of_client(&self) -> bool {
        self.is_of_client
    }

    /// Counts copies that were sent or stored.
    pub(super) const fn count(&mut self, copies: usize, lacks_room: bool) {
        self.copies = self.copies.wrapping_add(copies);
        self.lacks_room |= lacks_room;
    }

    /// Whether a subscription matches, and whether there was no copy for want of room.
    pub(super) const fn outcome(&self) -> (bool, bool) {
        (self.has_subscribers, self.lacks_room && self.copies == 0)
    }

    /// Splits off the message, so that it can be read while the position moves.
    pub(super) const fn split(&mut self) -> (&RetainedMessage, Position<'_>) {
        let Self { message, lists, shared, last_group, current, merged, done, .. } = self;
        (message, Position { lists, shared, last_group, current, merged, done })
    }
}

/// The position of a message among its subscribers.
pub(super) struct Position<'a> {
    lists: &'a mut BinaryHeap<Reverse<(SessionIndex, ListId)>>,
    shared: &'a mut VecDeque<ListId>,
    last_group: &'a mut Option<GroupIndex>,
    current: &'a mut Option<Key>,
    merged: &'a mut Merged,
    done: &'a mut Vec<ListId>,
}

impl Position<'_> {
    /// Gives the message to the next subscribers, one at least, as far as the budget goes; returns how many copies were
    /// accepted. `each` is what a copy costs.
    pub(super) fn deliver(
        &mut self,
        tree: &Tree,
        sessions: &mut Sessions,
        from: PublishedBy,
        copies: &mut Copies<'_>,
        each: u64,
        before: &mut dyn FnMut(&mut Sessions, SessionIndex, ListId) -> bool,
    ) -> usize {
        let mut count = 0_usize;
        loop {
            let next = self.lists.peek().map(|&Reverse((next, _))| next);
            if let Some(current) = *self.current {
                let session = SessionIndex::new(current.index);
                if next == Some(session) {
                    self.merge_next(tree, sessions, from, before);
                } else {
                    *self.current = None;
                    // The session may have ended since.
                    if let Some(options) = self.merged.options()
                        && sessions.key(session) == Some(current)
                    {
                        let is_delivered =
                            sessions.deliver(session, copies, options, self.merged.identifiers(), |_| true);
                        count = count.wrapping_add(usize::from(is_delivered));
                    }
                    sessions.work_mut().spend(each);
                }
            } else if let Some(Reverse((session, list))) = self.lists.pop() {
                let next = self.lists.peek().map(|&Reverse((next, _))| next);
                if next == Some(session) {
                    self.lists.push(Reverse((session, list)));
                    self.merged.clear();
                    // A session that has ended is in no list: the heads are out of date, and are so noticed.
                    *self.current = sessions.key(session).or(Some(Key { index: session.get(), generation: 0 }));
                } else {
                    let delivered = self.deliver_run(tree, sessions, from, copies, each, (session, list, next), before);
                    count = count.wrapping_add(delivered);
                }
            } else {
                return count;
            }
            if sessions.work().is_spent() {
                return count;
            }
        }
    }

    /// Adds the next subscription of the session that is met now.
    fn merge_next(
        &mut self,
        tree: &Tree,
        sessions: &mut Sessions,
        from: PublishedBy,
        before: &mut dyn FnMut(&mut Sessions, SessionIndex, ListId) -> bool,
    ) {
        sessions.work_mut().spend(1);
        let Some(Reverse((session, list))) = self.lists.pop() else { return bug!("a list was seen a moment ago") };
        let mut behind = tree.own(list).runs_from(session).flatten();
        let Some(head) = behind.next() else { return self.done.push(list) };
        // The session may have unsubscribed since.
        let rest = if head.session == session { behind.next() } else { Some(head) };
        if head.session == session && is_wanted(sessions, head, from) {
            let is_walking = sessions.get(session).is_some_and(Session::is_walking);
            if !is_walking || before(sessions, session, list) {
                self.merged.add(head);
            }
        }
        match rest {
            Some(rest) => self.lists.push(Reverse((rest.session, list))),
            None => self.done.push(list),
        }
    }

    /// Gives the message to the subscribers of a list that come before `next`, and are in no other list.
    #[allow(clippy::too_many_arguments)]
    fn deliver_run(
        &mut self,
        tree: &Tree,
        sessions: &mut Sessions,
        from: PublishedBy,
        copies: &mut Copies<'_>,
        each: u64,
        (session, list, next): (SessionIndex, ListId, Option<SessionIndex>),
        before: &mut dyn FnMut(&mut Sessions, SessionIndex, ListId) -> bool,
    ) -> usize {
        let (mut count, mut is_first) = (0_usize, true);
        for subscriber in tree.own(list).runs_from(session).flatten() {
            let is_behind = next.is_some_and(|next| subscriber.session >= next);
            if is_behind || (!is_first && sessions.work().is_spent()) {
                self.lists.push(Reverse((subscriber.session, list)));
                return count;
            }
            is_first = false;
            sessions.work_mut().spend(each);
            if is_wanted(sessions, subscriber, from) {
                let before = |sessions: &mut Sessions| before(sessions, subscriber.session, list);
                count = count.wrapping_add(usize::from(sessions.deliver_one(subscriber, copies, before)));
            }
        }
        self.done.push(list);
        count
    }

    /// Whether the message has gone to all subscribers but groups.
    pub(super) fn is_past_sessions(&self) -> bool {
        self.lists.is_empty() && self.current.is_none()
    }

    /// Whether the message has gone to all groups.
    pub(super) fn has_no_groups(&self) -> bool {
        self.shared.is_empty()
    }

    /// The next group that shares a matching filter.
    pub(super) fn next_group(&mut self, tree: &Tree) -> Option<GroupIndex> {
        loop {
            let list = *self.shared.front()?;
            *self.last_group = tree.group_behind(list, *self.last_group);
            if self.last_group.is_some() {
                return *self.last_group;
            }
            self.done.extend(self.shared.pop_front());
        }
    }

    /// Unpins the lists that the message has gone to.
    pub(super) fn unpin(&mut self, tree: &mut Tree) {
        for list in self.done.drain(..) {
            tree.unpin(list);
        }
    }
}
