//! The sessions, and how messages get to them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Buf;

use super::counters::{Counters, DropReason};
use super::index::SessionIndex;
use super::memory::Memory;
use super::policy::{Client, ConnectionId};
use super::ready::ReadyQueue;
use super::router::list_id::ListId;
use super::router::retained_walk::RetainedWalk;
use super::router::subscribers::{Subscriber, SubscriptionOptions};
use super::slab::{Key, Slab};
use crate::codec::{QoS, Subscription, SubscriptionIdentifier, Version};
use crate::server::{Action, Copies, ServerSession};
use crate::session::{CommandError, Loss, Transmit};
use crate::time::Instant;

/// The sessions, and what changes when a message is delivered to one of them: the queue of ready connections, the counters,
/// the memory that messages take.
pub(super) struct Sessions {
    slab: Slab<Session>,
    ready: ReadyQueue,
    /// Sessions that something has happened to, each once: they are looked at before the call returns.
    changed: Vec<SessionIndex>,
    counters: Counters,
    /// Drops that the policy has not been told.
    drops: Vec<(SessionIndex, DropReason)>,
    /// Number of sessions that have a connection.
    clients: u32,
    /// Number of sessions that are still to get retained messages.
    walking: u32,
    memory: Memory,
}

/// A session, and what the broker has to know about it.
// The fields that a delivery reads come first, so that they share cache lines.
#[derive(Clone)]
pub(super) struct Session {
    connection: Option<ConnectionId>,
    /// Whether the session is in `Sessions::changed`.
    is_changed: bool,
    /// Whether input was left because too much output waits to be written.
    is_held: bool,
    /// The number of the message that was last merged for this session, and its position there.
    merged_at: (u32, u32),
    server: ServerSession,
    /// The retained messages that the session is still to get.
    walk: Option<Box<RetainedWalk>>,
    /// The subscriptions: the list, and the position there. Sorted by list.
    subscriptions: Vec<(ListId, u32)>,
    /// The user of the last connection.
    user_name: Option<Arc<str>>,
    /// The user who has begun the session.
    owner: Option<Arc<str>>,
    /// When the session's timer runs; never later than the session needs it.
    scheduled: Instant,
    /// Messages and bytes that the session stored when they were last counted.
    counted: (u32, u32),
    /// Bytes that were written on this connection when they were last counted.
    counted_sent: u64,
}

impl Session {
    pub(super) const fn new(server: ServerSession) -> Self {
        Self {
            connection: None,
            is_changed: false,
            is_held: false,
            merged_at: (0, 0),
            server,
            walk: None,
            subscriptions: Vec::new(),
            user_name: None,
            owner: None,
            scheduled: Instant::NEVER,
            counted: (0, 0),
            counted_sent: 0,
        }
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

    pub(super) const fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// The user who has begun the session.
    pub(super) const fn owner(&self) -> Option<&Arc<str>> {
        self.owner.as_ref()
    }

    /// The user of the last connection.
    pub(super) fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// The client as the policy is shown it, if it is connected.
    pub(super) fn client(&self) -> Option<Client<'_>> {
        let connection = self.connection?;
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

    pub(super) fn add_subscription(&mut self, list: ListId, position: u32) {
        let Err(at) = self.find(list) else { return bug!("a session is in a list once") };
        if self.subscriptions.is_empty() {
            self.subscriptions.reserve_exact(1); // most sessions have one subscription
        }
        self.subscriptions.insert(at.min(self.subscriptions.len()), (list, position));
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

    pub(super) fn take_subscriptions(&mut self) -> Vec<(ListId, u32)> {
        core::mem::take(&mut self.subscriptions)
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

    /// The session with the retained messages that it is still to get.
    pub(super) fn server_and_walk(&mut self) -> (&mut ServerSession, Option<&mut RetainedWalk>) {
        (&mut self.server, self.walk.as_deref_mut())
    }

    /// The number of the message that was last merged for this session, and its position there.
    pub(super) const fn merged_at(&self) -> (u32, u32) {
        self.merged_at
    }

    pub(super) const fn set_merged_at(&mut self, round: u32, position: u32) {
        self.merged_at = (round, position);
    }
}

impl Sessions {
    pub(super) fn new(max_memory: u64, reserved_memory: u64) -> Self {
        Self {
            slab: Slab::new(),
            ready: ReadyQueue::default(),
            changed: Vec::new(),
            counters: Counters::default(),
            drops: Vec::new(),
            clients: 0,
            walking: 0,
            memory: Memory::new(max_memory, reserved_memory),
        }
    }

    /// Number of sessions.
    pub(super) const fn len(&self) -> u32 {
        self.slab.len()
    }

    #[inline]
    pub(super) fn get(&self, index: SessionIndex) -> Option<&Session> {
        self.slab.get(index.get())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: SessionIndex) -> Option<&mut Session> {
        self.slab.get_mut(index.get())
    }

    /// The session that a timer was made for, if it still exists.
    pub(super) fn get_by_key(&self, key: Key) -> Option<(SessionIndex, &Session)> {
        self.slab.get_by_key(key).map(|session| (SessionIndex::new(key.index), session))
    }

    /// The key of a session, for a timer.
    pub(super) fn key(&self, index: SessionIndex) -> Option<Key> {
        self.slab.key(index.get())
    }

    pub(super) fn client_id(&self, index: SessionIndex) -> Option<&str> {
        self.get(index).map(Session::client_id)
    }

    /// Adds a session; `None` if no index is left.
    pub(super) fn insert(&mut self, session: Session) -> Option<SessionIndex> {
        self.slab.insert(session).map(|key| SessionIndex::new(key.index))
    }

    pub(super) fn remove(&mut self, index: SessionIndex) -> Option<Session> {
        self.slab.remove(index.get())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionIndex, &Session)> {
        self.slab.iter().map(|(index, session)| (SessionIndex::new(index), session))
    }

    pub(super) const fn counters(&self) -> &Counters {
        &self.counters
    }

    #[inline]
    pub(super) const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    #[inline]
    pub(super) const fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) const fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// The queue of connections that the caller has to look at.
    pub(super) const fn ready_mut(&mut self) -> &mut ReadyQueue {
        &mut self.ready
    }

    /// Lets a session be looked at before the call returns.
    #[inline]
    pub(super) fn mark_changed(&mut self, index: SessionIndex) {
        match self.get_mut(index) {
            Some(session) => {
                if !core::mem::replace(&mut session.is_changed, true) {
                    self.changed.push(index);
                }
            }
            None => bug!("a session that something happens to exists"),
        }
    }

    /// Lets a session take input, and be looked at before the call returns.
    #[inline]
    pub(super) fn poll<'a>(&mut self, index: SessionIndex, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        let Some(session) = self.slab.get_mut(index.get()) else {
            bug!("a session exists while it has a connection");
            return None;
        };
        if !core::mem::replace(&mut session.is_changed, true) {
            self.changed.push(index);
        }
        let action = session.server.poll(now, input);
        if action.is_none() {
            session.is_held = !input.is_empty() && session.server.is_full();
        }
        action
    }

    /// What is to be done with a session that has nothing more to do for now: its stored messages are counted, and its
    /// connection is ready if output waits. Returns when the session's timer has to run, if that is before the timer runs
    /// anyway.
    #[inline]
    pub(super) fn settle(&mut self, index: SessionIndex) -> Option<Instant> {
        let Some(session) = self.slab.get_mut(index.get()) else {
            bug!("a session without actions still exists");
            return None;
        };
        count_stored(&mut self.memory, session);
        if let Some(connection) = session.connection
            && session.server.transmit().has_remaining()
        {
            self.ready.push(connection);
        }
        let at = session.server.timeout();
        let is_earlier = at < session.scheduled;
        if is_earlier {
            session.scheduled = at;
        }
        is_earlier.then_some(at)
    }

    /// The output of a session. What was written is counted, and the connection is ready if it takes input again.
    #[inline]
    pub(super) fn output(&mut self, index: SessionIndex) -> Option<&mut Transmit> {
        let session = self.slab.get_mut(index.get())?;
        count_sent(&mut self.counters, session);
        if session.is_held && !session.server.is_full() {
            session.is_held = false;
            if let Some(connection) = session.connection {
                self.ready.push(connection);
            }
        }
        Some(session.server.transmit())
    }

    /// The next session to look at.
    pub(super) fn next_changed(&mut self) -> Option<SessionIndex> {
        let index = self.changed.pop()?;
        // The session may have been removed since.
        if let Some(session) = self.get_mut(index) {
            session.is_changed = false;
        }
        Some(index)
    }

    /// A client was accepted into a session, which is resumed or new.
    pub(super) fn attach(&mut self, index: SessionIndex, connection: ConnectionId, user_name: Option<Arc<str>>) {
        let Some(session) = self.slab.get_mut(index.get()) else {
            return bug!("a session exists while a client is accepted into it");
        };
        session.connection = Some(connection);
        if !session.server.is_resumed() {
            session.owner.clone_from(&user_name);
        }
        session.user_name = user_name;
        session.counted_sent = 0;
        self.clients = self.clients.saturating_add(1);
    }

    /// Number of sessions that have a connection.
    pub(super) const fn clients(&self) -> u32 {
        self.clients
    }

    /// A session has no connection any more.
    pub(super) fn detach(&mut self, index: SessionIndex) {
        let Some(session) = self.slab.get_mut(index.get()) else {
            return bug!("a session that loses its connection exists");
        };
        self.clients = self.clients.saturating_sub(u32::from(session.connection.take().is_some()));
        session.is_held = false;
        session.counted_sent = 0;
        let is_walk_over = session.walk.as_mut().is_some_and(|walk| {
            walk.disconnected();
            walk.is_empty()
        });
        if is_walk_over {
            self.end_walk(index);
        }
        self.mark_changed(index);
    }

    /// Gives a subscriber a copy of a message; returns whether the copy was sent or stored.
    #[inline]
    pub(super) fn deliver_to(&mut self, subscriber: &Subscriber, copies: &mut Copies<'_>) -> bool {
        let Subscriber { session, identifier, options } = *subscriber;
        match SubscriptionIdentifier::new(identifier) {
            Ok(identifier) => self.deliver(session, copies, options, &[identifier]),
            Err(_) => self.deliver(session, copies, options, &[]),
        }
    }

    /// Gives a session a copy of a message; returns whether the copy was sent or stored.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        index: SessionIndex,
        copies: &mut Copies<'_>,
        options: SubscriptionOptions,
        identifiers: &[SubscriptionIdentifier],
    ) -> bool {
        let Some(session) = self.slab.get_mut(index.get()) else {
            bug!("a subscriber is a session");
            return false;
        };
        let (qos, retain) = (copies.qos().min(options.qos), copies.retain() && options.retain_as_published);
        if session.server.forward_plain(copies, qos, retain, identifiers) {
            if let Some(connection) = session.connection {
                self.ready.push(connection);
            }
            self.counters.messages_forwarded = self.counters.messages_forwarded.wrapping_add(1);
            return true;
        }
        self.deliver_other(index, copies, qos, retain, identifiers)
    }

    /// Gives a session a copy that differs from the copies of others, or that has to be stored.
    #[inline(never)]
    fn deliver_other(
        &mut self,
        index: SessionIndex,
        copies: &Copies<'_>,
        qos: QoS,
        retain: bool,
        identifiers: &[SubscriptionIdentifier],
    ) -> bool {
        let Some(session) = self.slab.get_mut(index.get()) else { return false };
        if qos == QoS::AtMostOnce && !session.server.takes_qos_0() {
            return false; // a message of QoS 0 is not for a session without a connection [MQTT-4.5.0-1]
        }
        let is_stored = qos != QoS::AtMostOnce || !session.server.is_ready_for(qos);
        if is_stored
            && !self.memory.has_room(copies.size())
            && !may_use_reserve(&self.memory, session, qos, copies.size())
        {
            self.drop_copy(index, DropReason::Memory);
            return false;
        }
        let result = session.server.forward(copies, qos, retain, identifiers).map_err(|error| match error {
            CommandError::QueueFull => DropReason::QueueFull,
            CommandError::NotConnected => DropReason::SessionEnded,
            _ => DropReason::NotSupported,
        });
        match result {
            Ok(()) => {
                count_stored(&mut self.memory, session);
                self.counters.messages_forwarded = self.counters.messages_forwarded.wrapping_add(1);
            }
            Err(reason) => self.drop_copy(index, reason),
        }
        self.mark_changed(index);
        result.is_ok()
    }

    /// The retained messages that a session is still to get; empty if there were none. `None` if the session does not exist.
    pub(super) fn start_walk(&mut self, index: SessionIndex) -> Option<&mut RetainedWalk> {
        let session = self.slab.get_mut(index.get())?;
        self.walking = self.walking.saturating_add(u32::from(session.walk.is_none()));
        Some(session.walk.get_or_insert_default())
    }

    /// A session is to get no more retained messages.
    pub(super) fn end_walk(&mut self, index: SessionIndex) {
        let walk = self.get_mut(index).and_then(|session| session.walk.take());
        self.walking = self.walking.saturating_sub(u32::from(walk.is_some()));
    }

    /// Number of sessions that are still to get retained messages.
    pub(super) const fn walking(&self) -> u32 {
        self.walking
    }

    /// Counts a copy that is not delivered.
    pub(super) fn drop_copy(&mut self, index: SessionIndex, reason: DropReason) {
        self.counters.dropped.count(reason);
        self.drops.push((index, reason));
    }

    /// Counts a message that the session has given up.
    pub(super) fn drop_stored(&mut self, index: SessionIndex, loss: Loss) {
        let reason = match loss {
            Loss::Overflow => DropReason::QueueFull,
            Loss::Expired => DropReason::Expired,
            Loss::Session => DropReason::SessionEnded,
            Loss::Connection => DropReason::ConnectionLost,
            _ => DropReason::NotSupported,
        };
        self.drop_copy(index, reason);
    }

    /// Number of drops that the policy has not been told.
    pub(super) const fn drop_count(&self) -> usize {
        self.drops.len()
    }

    /// The drops since there were `count`.
    pub(super) fn drops_since(&self, count: usize) -> &[(SessionIndex, DropReason)] {
        self.drops.get(count..).unwrap_or_default()
    }

    /// Takes back the drops since there were `count`.
    pub(super) fn take_back_drops(&mut self, count: usize) {
        while self.drops.len() > count {
            if let Some((_, reason)) = self.drops.pop() {
                self.counters.dropped.discount(reason);
            }
        }
    }

    /// The drops that the policy is told now.
    pub(super) fn take_drops(&mut self) -> Vec<(SessionIndex, DropReason)> {
        core::mem::take(&mut self.drops)
    }

    /// Counts again what a session stores.
    #[inline]
    pub(super) fn count_stored(&mut self, index: SessionIndex) {
        match self.slab.get_mut(index.get()) {
            Some(session) => count_stored(&mut self.memory, session),
            None => bug!("a session that is counted exists"),
        }
    }

    /// Counts the bytes that a session has written since they were last counted.
    pub(super) fn count_sent(&mut self, index: SessionIndex) {
        match self.slab.get_mut(index.get()) {
            Some(session) => count_sent(&mut self.counters, session),
            None => bug!("a session that is counted exists"),
        }
    }

    /// Panics if a count is wrong, or if a session is left to be looked at. For tests.
    pub(super) fn assert_consistent(&self) {
        let (mut messages, mut bytes, mut walking, mut clients) = (0_u64, 0_u64, 0_u32, 0_u32);
        for (_, session) in self.iter() {
            session.server.assert_consistent();
            let (own_messages, own_bytes) = session.server.stored();
            messages = messages.saturating_add(u64::from(own_messages));
            bytes = bytes.saturating_add(u64::from(own_bytes));
            walking = walking.saturating_add(u32::from(session.walk.is_some()));
            clients = clients.saturating_add(u32::from(session.connection.is_some()));
            assert!(session.scheduled <= session.server.timeout(), "no timeout is forgotten");
        }
        assert_eq!(
            (self.memory.messages(), self.memory.bytes()),
            (messages, bytes),
            "stored messages are counted right"
        );
        assert!(self.memory.payloads().stored() as u64 <= bytes, "shared payloads are a part of what is stored");
        assert_eq!(self.clients, clients, "clients are counted right");
        assert_eq!(self.walking, walking, "sessions that are still to get retained messages are counted right");
        assert!(self.changed.is_empty(), "no session is left to be looked at");
    }
}

/// Whether a session may use memory that is reserved for clients that are connected and have room in their windows. It may
/// store as much as it leaves free, so that no client can use all of it.
#[cold]
fn may_use_reserve(memory: &Memory, session: &Session, qos: QoS, size: u64) -> bool {
    qos != QoS::AtMostOnce
        && session.server.has_open_window()
        && memory.left_of_reserve(size).is_some_and(|left| u64::from(session.server.stored().1) <= left)
}

#[inline]
const fn count_sent(counters: &mut Counters, session: &mut Session) {
    let sent = session.server.bytes_sent();
    let new = sent.saturating_sub(core::mem::replace(&mut session.counted_sent, sent));
    counters.bytes_sent = counters.bytes_sent.wrapping_add(new);
}

#[inline]
fn count_stored(memory: &mut Memory, session: &mut Session) {
    let new = session.server.stored();
    memory.recount(core::mem::replace(&mut session.counted, new), new);
}
