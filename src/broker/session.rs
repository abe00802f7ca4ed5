//! A session, and what the broker has to know about it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::account::StoredMessages;
use super::jobs::turns::PrincipalIndex;
use super::mount::MountPoint;
use super::policy::{Client, ConnectionId};
use super::ready::KnownOutput;
use super::router::list_id::ListId;
use super::router::retained_walk::RetainedWalk;
use super::slab::Slab;
use crate::codec::{QoS, Subscription, Version};
use crate::heap_size::ARC;
use crate::server::ServerSession;
use crate::session::Transmit;
use crate::sync::Arc;
use crate::time::Instant;

/// A session, and what the broker has to know about it.
// The fields that a delivery reads come first, so that they share cache lines.
#[derive(Clone)]
pub(super) struct Session {
    /// [`ConnectionId::NONE`] without a connection, which is smaller than an `Option`.
    connection: ConnectionId,
    /// Whether the session is among those that are looked at before the call returns.
    is_changed: bool,
    /// Whether input was left because too much output waits to be written.
    is_held: bool,
    /// Whether jobs of the client identifier are open: the input of the connection is not taken meanwhile.
    is_busy: bool,
    /// Whether a job moves the session in its groups.
    is_moving: bool,
    /// The principal of the last connection.
    principal: PrincipalIndex,
    /// Whether a copy of a message needs no more than the session itself: not while it is to get retained messages.
    is_plain: bool,
    standing: Standing,
    /// Whether the messages that were last counted were all in flight.
    is_window: bool,
    /// Whether only the number of messages in flight and the size of buffers can have changed since the session was last
    /// counted, unless something [rare](ServerSession::has_rare_heap) appears on the heap.
    is_settled: bool,
    /// The number of the message that was last merged for this session, and its position there.
    merged_at: (u32, u32),
    server: ServerSession,
    /// The retained messages that the session is still to get.
    walk: Option<Box<RetainedWalk>>,
    /// The subscriptions: the list, and the position there. Sorted by list.
    subscriptions: Vec<(ListId, u32)>,
    /// The user of the last connection.
    user_name: Option<Arc<str>>,
    /// What few sessions have.
    rare: Option<Box<Rare>>,
    /// When the session's timer runs; never later than the session needs it.
    scheduled: Instant,
    /// The number and the size of the messages that the session stored when they were last counted.
    counted: (u32, u32),
    /// What is charged for the topic filters of the subscriptions, in bytes.
    filters: u32,
    /// The size on the heap, without stored messages, when it was last counted.
    counted_heap: u32,
    /// The part of the size on the heap that seldom changes: all but the output and the table of messages in flight.
    rest_of_heap: u32,
    /// Bytes that were written on this connection when they were last counted, modulo 2^32.
    counted_sent: u32,
    /// How much of the output on this connection the caller knows.
    known_output: KnownOutput,
}

/// What few sessions have.
#[derive(Clone, Default)]
struct Rare {
    /// The user who has begun the session, if that is not the user of the last connection.
    other_owner: Option<Option<Arc<str>>>,
    /// Whether the session is that of a subscription of the embedding program: it has no client.
    is_local: bool,
    /// The topic under which the client lives.
    mount: Option<MountPoint>,
}

/// What a session is given.
#[derive(Clone, Copy)]
enum Standing {
    Usual,
    /// The session has grown although there was no room for that: it gets no more copies of messages until there is.
    Restrained,
    /// The session has ended: it is only to be taken apart.
    Ended,
}

/// The largest size on the heap that is counted besides buffers, which take less than 2 GiB.
const MAX_REST: u64 = 1 << 31;

// Each byte counts: there are many sessions.
const _: () = assert!(core::mem::size_of::<usize>() != 8 || core::mem::size_of::<Session>() <= 472);

impl Session {
    pub(super) const fn new(server: ServerSession) -> Self {
        Self {
            connection: ConnectionId::NONE,
            is_changed: false,
            is_held: false,
            is_busy: false,
            is_moving: false,
            principal: PrincipalIndex::BROKER,
            is_plain: true,
            standing: Standing::Usual,
            is_window: false,
            is_settled: false,
            merged_at: (0, 0),
            server,
            walk: None,
            subscriptions: Vec::new(),
            user_name: None,
            rare: None,
            scheduled: Instant::NEVER,
            counted: (0, 0),
            filters: 0,
            counted_heap: 0,
            rest_of_heap: 0,
            counted_sent: 0,
            known_output: KnownOutput::NONE,
        }
    }

    /// The session of a subscription of the embedding program.
    pub(super) fn local(server: ServerSession) -> Self {
        let rare = Some(Box::new(Rare { is_local: true, ..Rare::default() }));
        Self { rare, is_plain: false, ..Self::new(server) }
    }

    /// A session that is restored, with the user who has begun it, and the topic under which its client lives.
    pub(super) fn restored(server: ServerSession, owner: Option<Arc<str>>, mount: Option<MountPoint>) -> Self {
        let is_plain = mount.is_none();
        let rare = mount.map(|mount| Box::new(Rare { mount: Some(mount), ..Rare::default() }));
        Self { user_name: owner, rare, is_plain, ..Self::new(server) }
    }

    #[inline]
    pub(super) const fn server(&self) -> &ServerSession {
        &self.server
    }

    #[inline]
    pub(super) const fn server_mut(&mut self) -> &mut ServerSession {
        &mut self.server
    }

    pub(super) fn client_id(&self) -> &str {
        self.server.client_id()
    }

    #[inline]
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.has_connection().then_some(self.connection)
    }

    #[inline]
    pub(super) fn has_connection(&self) -> bool {
        self.connection != ConnectionId::NONE
    }

    /// Whether the session is that of a subscription of the embedding program.
    pub(super) fn is_local(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.is_local)
    }

    /// The topic under which the client lives, if that is not the whole of the tree.
    #[inline]
    pub(super) fn mount(&self) -> Option<&MountPoint> {
        self.rare.as_deref().and_then(|rare| rare.mount.as_ref())
    }

    /// Whether the session goes on with a client that lives under this topic: one with subscriptions or messages keeps its mount
    /// point.
    pub(super) fn fits_mount(&self, mount: Option<&MountPoint>) -> bool {
        self.mount() == mount || (self.subscriptions.is_empty() && self.server.stored().0 == 0)
    }

    /// Whether there is somebody now who takes messages: the client is connected, or it is the embedding program.
    pub(super) fn is_connected(&self) -> bool {
        self.server.is_connected() || self.is_local()
    }

    /// Whether the session takes one more message of about this size now, without dropping another one.
    pub(super) fn has_room_for(&self, qos: QoS, size: usize) -> bool {
        if self.is_local() { self.server.has_room_to_queue(size) } else { self.server.has_room_for(qos, size) }
    }

    /// The user who has begun the session.
    pub(super) fn owner(&self) -> Option<&Arc<str>> {
        match self.rare.as_deref().and_then(|rare| rare.other_owner.as_ref()) {
            None => self.user_name.as_ref(),
            Some(other) => Option::as_ref(other),
        }
    }

    /// The user of the last connection.
    pub(super) fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// The client as the policy is shown it, if it is connected.
    pub(super) fn client(&self) -> Option<Client<'_>> {
        let connection = self.connection()?;
        let user_name = self.user_name.as_deref();
        Some(Client { connection, id: self.server.client_id(), user_name, version: self.server.version() })
    }

    /// A timer of the session runs; returns whether it is the one that the session waits for.
    pub(super) fn take_timer(&mut self, at: Instant) -> bool {
        let is_it = self.scheduled == at;
        if is_it {
            self.scheduled = Instant::NEVER;
        }
        is_it
    }

    /// When the session's timer runs.
    pub(super) const fn scheduled(&self) -> Instant {
        self.scheduled
    }

    /// The subscription with the options that the client means. A bridge of 3.1 or 3.1.1 has no way to ask for No Local and
    /// Retain As Published, and needs them: without the first its own messages come back to it, for ever if the other
    /// server forwards them again, and without the second retained messages are not retained on the other side.
    pub(super) fn as_meant<'a>(&self, subscription: Subscription<'a>) -> Subscription<'a> {
        if self.server.is_bridge() && self.server.version() != Version::V5 {
            Subscription { no_local: true, retain_as_published: true, ..subscription }
        } else {
            subscription
        }
    }

    /// The subscriptions: the list, and the position there. Sorted by list.
    pub(super) fn subscriptions(&self) -> &[(ListId, u32)] {
        &self.subscriptions
    }

    /// The position in a list that the session is subscribed by.
    pub(super) fn subscription(&self, list: ListId) -> Option<u32> {
        let at = self.find(list).ok()?;
        self.subscriptions.get(at).map(|&(_, position)| position)
    }

    /// The first subscription behind that of a list, or the first one of all: the list, and the position there.
    pub(super) fn subscription_behind(&self, list: Option<ListId>) -> Option<(ListId, u32)> {
        let at = list.map_or(0, |list| self.subscriptions.partition_point(|&(it, _)| it <= list));
        self.subscriptions.get(at).copied()
    }

    /// The last shared subscription before that of a list, or the last one of all. Shared subscriptions are the last ones.
    pub(super) fn shared_subscription_before(&self, list: Option<ListId>) -> Option<ListId> {
        let end =
            list.map_or(self.subscriptions.len(), |list| self.subscriptions.partition_point(|&(it, _)| it < list));
        let &(list, _) = self.subscriptions.get(end.checked_sub(1)?)?;
        list.is_shared().then_some(list)
    }

    pub(super) fn add_subscription(&mut self, list: ListId, position: u32) {
        let Err(at) = self.find(list) else { return bug!("a session is in a list once") };
        if self.subscriptions.is_empty() {
            self.subscriptions.reserve_exact(1); // most sessions have one subscription
        }
        self.subscriptions.insert(at.min(self.subscriptions.len()), (list, position));
        self.is_settled = false;
    }

    /// Another subscriber has left the list, and this one has moved to its position.
    pub(super) fn move_subscription(&mut self, list: ListId, position: u32) {
        match self.find(list).ok().and_then(|at| self.subscriptions.get_mut(at)) {
            Some(entry) => entry.1 = position,
            None => bug!("a subscriber knows its lists"),
        }
    }

    /// Removes a subscription, and returns the position in the list.
    pub(super) fn remove_subscription(&mut self, list: ListId) -> Option<u32> {
        self.find(list).ok().map(|at| self.subscriptions.remove(at).1)
    }

    /// Removes the last subscription.
    pub(super) fn pop_subscription(&mut self) -> Option<(ListId, u32)> {
        self.subscriptions.pop()
    }

    /// The index of a list among the subscriptions, or the index that it would have.
    fn find(&self, list: ListId) -> Result<usize, usize> {
        self.subscriptions.binary_search_by_key(&list, |&(list, _)| list)
    }

    /// Whether the session is still to get retained messages.
    pub(super) const fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// The retained messages that the session is still to get.
    pub(super) fn walk_mut(&mut self) -> Option<&mut RetainedWalk> {
        self.walk.as_deref_mut()
    }

    /// The retained messages that the session is still to get.
    pub(super) fn walk(&self) -> Option<&RetainedWalk> {
        self.walk.as_deref()
    }

    /// The number of the message that was last merged for this session, and its position there.
    pub(super) const fn merged_at(&self) -> (u32, u32) {
        self.merged_at
    }

    pub(super) const fn set_merged_at(&mut self, round: u32, position: u32) {
        self.merged_at = (round, position);
    }

    /// The principal of the last connection.
    pub(super) const fn principal(&self) -> PrincipalIndex {
        self.principal
    }

    /// A connection of this principal is attached; returns the principal of the one before.
    pub(super) const fn set_principal(&mut self, principal: PrincipalIndex) -> PrincipalIndex {
        core::mem::replace(&mut self.principal, principal)
    }

    /// Whether a copy of a message needs no more than the session itself. What makes a session special clears this, so that a
    /// copy tests one flag.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The session has ended: it is given nothing more, and is only to be taken apart.
    pub(super) const fn end(&mut self) {
        self.standing = Standing::Ended;
        self.scheduled = Instant::NEVER; // the timer is removed
        self.is_plain = false;
        self.is_settled = false;
    }

    /// Whether the session has ended, and is only to be taken apart.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.standing, Standing::Ended)
    }

    /// Whether jobs of the client identifier are open: the input of the connection is not taken meanwhile.
    #[inline]
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    pub(super) const fn set_busy(&mut self, is_busy: bool) {
        self.is_busy = is_busy;
    }

    /// Whether a job moves the session in its groups: it is not yet everywhere among the members that are connected, or among
    /// those that are not.
    pub(super) const fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// Returns whether a job did.
    pub(super) const fn set_moving(&mut self, is_moving: bool) -> bool {
        core::mem::replace(&mut self.is_moving, is_moving)
    }

    /// Marks a session as changed; returns whether it was not.
    #[inline]
    pub(super) const fn mark_changed(&mut self) -> bool {
        !core::mem::replace(&mut self.is_changed, true)
    }

    /// Marks a session as not changed; returns whether it was changed.
    #[inline]
    pub(super) const fn clear_changed(&mut self) -> bool {
        core::mem::replace(&mut self.is_changed, false)
    }

    /// Notes whether input is left because too much output waits to be written.
    #[inline]
    pub(super) fn note_left(&mut self, is_left: bool) {
        self.is_held = is_left && self.server.is_full();
    }

    /// Whether input that was left because too much output waited would be taken now. Returns it once.
    #[inline]
    pub(super) fn take_released(&mut self) -> bool {
        let is_released = self.is_held && !self.server.is_full();
        self.is_held &= !is_released;
        is_released
    }

    /// The connection, if output waits to be written that the caller does not know of. From here on it does.
    #[inline]
    pub(super) fn connection_to_write(&mut self) -> Option<ConnectionId> {
        self.connection().filter(|_| self.known_output.update(self.server.transmit()))
    }

    /// The output, for the caller, who knows it from here on.
    #[inline]
    pub(super) fn output(&mut self) -> &mut Transmit {
        let output = self.server.transmit();
        self.known_output.update(output);
        output
    }

    /// The time when the session's timer has to run, if that is before the timer runs anyway.
    #[inline]
    pub(super) fn reschedule(&mut self) -> Option<Instant> {
        let at = self.server.timeout();
        let is_earlier = at < self.scheduled;
        if is_earlier {
            self.scheduled = at;
        }
        is_earlier.then_some(at)
    }

    /// The time when the timer of a restored session has to run: at `due_at` at the latest, if that is given.
    pub(super) fn schedule(&mut self, due_at: Option<Instant>) -> Option<Instant> {
        let timeout = self.server.timeout();
        self.scheduled = due_at.map_or(timeout, |due_at| due_at.min(timeout));
        (self.scheduled != Instant::NEVER).then_some(self.scheduled)
    }

    /// A client was accepted into the session, which is resumed or new.
    pub(super) fn attach(&mut self, connection: ConnectionId, user_name: Option<Arc<str>>, mount: Option<MountPoint>) {
        self.connection = connection;
        self.is_settled = false;
        let owner = if self.server.is_resumed() { self.owner() } else { user_name.as_ref() };
        let other_owner = (owner != user_name.as_ref()).then(|| owner.cloned());
        let has_rare = other_owner.is_some() || mount.is_some();
        self.rare = has_rare.then(|| Box::new(Rare { other_owner, is_local: false, mount }));
        self.set_plain();
        self.user_name = user_name;
        self.counted_sent = 0;
        self.known_output = KnownOutput::NONE;
    }

    /// The session has no connection any more; returns whether it had one.
    pub(super) fn detach(&mut self) -> bool {
        self.is_held = false;
        self.is_settled = false;
        self.counted_sent = 0;
        if let Some(walk) = &mut self.walk {
            walk.disconnected();
        }
        core::mem::replace(&mut self.connection, ConnectionId::NONE) != ConnectionId::NONE
    }

    /// The retained messages that the session is still to get; empty if there were none.
    pub(super) fn walk_or_insert(&mut self) -> &mut RetainedWalk {
        self.is_plain = false;
        self.is_settled = false;
        self.walk.get_or_insert_default()
    }

    /// The session is to get no more retained messages; returns whether it was to get some.
    pub(super) fn end_walk(&mut self) -> bool {
        let was_walking = self.walk.take().is_some();
        self.set_plain();
        was_walking
    }

    /// Notes whether the session has grown although there was no room for that. One that has ended stays so.
    pub(super) fn set_restrained(&mut self, is_restrained: bool) {
        if !self.has_ended() {
            self.standing = if is_restrained { Standing::Restrained } else { Standing::Usual };
        }
        self.set_plain();
        self.is_settled &= self.is_plain;
    }

    /// Sets whether a copy of a message needs no more than the session itself.
    fn set_plain(&mut self) {
        self.is_plain = matches!(self.standing, Standing::Usual)
            && self.walk.is_none()
            && !self.is_local()
            && self.mount().is_none();
    }

    /// Whether the session has grown although there was no room for that: it gets no more copies of messages until there is.
    pub(super) const fn is_restrained(&self) -> bool {
        matches!(self.standing, Standing::Restrained)
    }

    /// Whether only the number of messages in flight and the size of buffers can have changed since the session was last
    /// counted.
    #[inline]
    pub(super) const fn is_settled(&self) -> bool {
        self.is_settled && !self.server.has_rare_heap()
    }

    /// The client has asked for something that the session keeps on the heap until it is answered.
    pub(super) const fn unsettle(&mut self) {
        self.is_settled = false;
    }

    /// Counts the messages that the session stores if all of them are in flight on a connection, and were when they were last
    /// counted: what their number and size were then, and what they are now.
    #[inline]
    pub(super) fn recount_window(&mut self) -> Option<((u32, u32), (u32, u32))> {
        if !self.is_window || !self.has_connection() || self.server.has_queued() {
            return None;
        }
        let new = self.server.stored();
        Some((core::mem::replace(&mut self.counted, new), new))
    }

    /// As [`recount_window`](Self::recount_window), for a session that is [settled](Self::is_settled); `None` if nothing has
    /// changed.
    #[inline]
    pub(super) fn recount_settled(&mut self) -> Option<((u32, u32), (u32, u32))> {
        let new = self.server.stored();
        (new != self.counted).then(|| (core::mem::replace(&mut self.counted, new), new))
    }

    /// Counts the messages that the session stores: what they were when they were last counted, and now.
    pub(super) fn recount(&mut self) -> (StoredMessages, StoredMessages) {
        let old = self.counted();
        self.counted = self.server.stored();
        self.is_window = self.has_connection() && !self.server.has_queued();
        self.is_settled &= self.is_window;
        (old, self.counted())
    }

    /// The messages that the session stored when they were last counted.
    pub(super) const fn counted(&self) -> StoredMessages {
        let (count, bytes) = self.counted;
        StoredMessages { count, bytes, is_window: self.is_window }
    }

    /// Counts the memory that the session takes on the heap, in bytes, to about 3 %: what it was when it was last counted, and
    /// now. Stored messages are not in it.
    pub(super) fn recount_heap(&mut self) -> (u32, u32) {
        let has_more = self.server.has_more_heap();
        self.rest_of_heap = self.rest(has_more);
        self.is_settled = self.is_plain && self.is_window && self.has_connection() && !has_more;
        self.recount_buffers().unwrap_or((self.counted_heap, self.counted_heap))
    }

    /// As [`recount_heap`](Self::recount_heap), for a session that is [settled](Self::is_settled); `None` if nothing has
    /// changed. A small difference does not count: buffers of messages come and go.
    #[inline]
    pub(super) fn recount_buffers(&mut self) -> Option<(u32, u32)> {
        let (old, new) = (self.counted_heap, self.rest_of_heap.wrapping_add(self.server.buffers() as u32));
        (old.abs_diff(new) > old / 32).then(|| (core::mem::replace(&mut self.counted_heap, new), new))
    }

    #[inline]
    fn rest(&self, has_more: bool) -> u32 {
        let subscriptions = self.subscriptions.capacity().saturating_mul(core::mem::size_of::<(ListId, u32)>());
        let of = |name: &Arc<str>| name.len().saturating_add(ARC);
        let user_name = self.user_name.as_ref().map_or(0, of);
        let rare = self.rare.as_deref().map_or(0, |rare| {
            let other_owner = rare.other_owner.as_ref().and_then(Option::as_ref);
            let mount = rare.mount.as_ref().map_or(0, |mount| mount.as_bytes().len().saturating_add(ARC));
            core::mem::size_of::<Rare>().saturating_add(other_owner.map_or(0, of)).saturating_add(mount)
        });
        let own = subscriptions.saturating_add(user_name).saturating_add(rare);
        let own = own.saturating_add(self.server.heap_without_buffers(has_more));
        let own = own.saturating_add(self.walk.as_ref().map_or(0, |walk| walk.heap()));
        (own as u64).min(MAX_REST) as u32
    }

    /// Panics if the size on the heap has changed unnoticed since it was last counted. For tests.
    pub(super) fn assert_heap_counted(&self) {
        let is_known = !self.is_settled() || self.rest_of_heap == self.rest(self.server.has_more_heap());
        assert!(is_known, "the memory of a session is measured again when it changes");
    }

    /// The size on the heap, without stored messages, when it was last counted.
    pub(super) const fn counted_heap(&self) -> u32 {
        self.counted_heap
    }

    /// Adds to what is charged for topic filters, or with a negative number takes from it.
    pub(super) const fn charge_filter(&mut self, bytes: i32) {
        self.filters = self.filters.saturating_add_signed(bytes);
    }

    /// What is charged for the session, in bytes, without stored messages: its size when it was last counted, and its topic
    /// filters.
    pub(super) fn charge(&self) -> u64 {
        let slot = Slab::<Self>::SLOT_SIZE as u64;
        slot.saturating_add(self.counted_heap.into()).saturating_add(self.filters.into())
    }

    /// Counts the bytes that were written since they were last counted: no more than the output has had at once.
    #[inline]
    pub(super) const fn recount_sent(&mut self) -> u64 {
        let sent = self.server.bytes_sent() as u32;
        sent.wrapping_sub(core::mem::replace(&mut self.counted_sent, sent)) as u64
    }
}
