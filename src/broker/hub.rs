//! The sessions, and how messages get to them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::counters::{Counters, DropReason};
use super::feed::Feed;
use super::policy::{Client, ConnectionId};
use super::slab::{Key, Slab};
use super::tree::{Place, Subscriber, Terms};
use crate::codec::{QoS, Subscription, SubscriptionIdentifier, Version};
use crate::server::{Copies, ServerSession};
use crate::session::{CommandError, Loss, PayloadAccount};
use crate::time::Instant;

/// The sessions, and what changes when something is delivered to one of them.
#[derive(Clone)]
pub(super) struct Hub {
    pub(super) sessions: Slab<Session>,
    /// Connections that the caller has to look at, each once.
    pub(super) ready: VecDeque<ConnectionId>,
    /// Sessions that have been told something, and are to be looked at before the caller's turn; each once.
    pub(super) touched: Vec<u32>,
    pub(super) counters: Counters,
    /// Drops that have not been told.
    pub(super) drops: Vec<(u32, DropReason)>,
    /// How many sessions are still to get retained messages.
    pub(super) feeding: u32,
    /// How many messages all sessions keep, and how many bytes.
    pub(super) kept: u64,
    pub(super) kept_bytes: u64,
    /// How many bytes they may take, and large payloads that are in use.
    pub(super) max_kept_bytes: u64,
    /// How many more there may be for clients that are connected.
    reserved_memory: u64,
    /// Large payloads, which sessions share.
    pub(super) payloads: Arc<PayloadAccount>,
}

/// A session, and what the broker has to know about it.
// What a delivery looks at lies together.
#[derive(Clone)]
pub(super) struct Session {
    /// Its connection.
    pub(super) connection: Option<ConnectionId>,
    /// Whether the connection is among those that the caller has to look at.
    pub(super) is_ready: bool,
    /// Whether it is among those that have been told something.
    is_touched: bool,
    /// Whether the client waits for an answer of the policy, so that no input is taken.
    pub(super) is_parked: bool,
    /// Whether input was left because too much waits to be written.
    pub(super) is_held: bool,
    /// Which message was last on its way to it, and at which place among those that get it.
    pub(super) routed: (u32, u32),
    pub(super) server: ServerSession,
    /// The retained messages that it is still to get.
    pub(super) feed: Option<Box<Feed>>,
    /// The subscriptions: in which list, and at which position there. Sorted by list.
    pub(super) places: Vec<(Place, u32)>,
    /// The user of the last connection.
    pub(super) user_name: Option<Arc<str>>,
    /// The user who has begun the session.
    pub(super) owner: Option<Arc<str>>,
    /// When it is looked at next; never later than it has to be.
    pub(super) scheduled: Instant,
    /// What it kept when that was last counted.
    pub(super) counted: (u32, u32),
    /// How much had been written when that was last counted.
    pub(super) counted_sent: u64,
}

impl Session {
    pub(super) fn new(server: ServerSession) -> Self {
        Self {
            connection: None,
            is_ready: false,
            is_touched: false,
            is_parked: false,
            is_held: false,
            routed: (0, 0),
            server,
            feed: None,
            places: Vec::new(),
            user_name: None,
            owner: None,
            scheduled: Instant::NEVER,
            counted: (0, 0),
            counted_sent: 0,
        }
    }

    /// Who it is, for the policy, if there is a connection.
    pub(super) fn client(&self) -> Option<Client<'_>> {
        let connection = self.connection?;
        let user_name = self.user_name.as_deref();
        Some(Client { connection, id: self.server.client_id(), user_name, version: self.server.version() })
    }

    /// The subscription with the options that the client means. A bridge of 3.1 or 3.1.1 has no way to ask for No Local and
    /// Retain As Published, and needs them: without the first its own messages come back to it, for ever if the other
    /// server forwards them again, and without the second retained messages are not retained on the other side.
    pub(super) fn meant<'a>(&self, subscription: Subscription<'a>) -> Subscription<'a> {
        if self.server.is_bridge() && self.server.version() != Version::V5 {
            Subscription { no_local: true, retain_as_published: true, ..subscription }
        } else {
            subscription
        }
    }

    /// Where in the list of places this one is, or would be.
    pub(super) fn find(&self, place: Place) -> Result<usize, usize> {
        self.places.binary_search_by_key(&place, |&(place, _)| place)
    }
}

impl Hub {
    pub(super) fn new(max_kept_bytes: u64, reserved_memory: u64) -> Self {
        Self {
            sessions: Slab::new(),
            ready: VecDeque::new(),
            touched: Vec::new(),
            counters: Counters::default(),
            drops: Vec::new(),
            feeding: 0,
            kept: 0,
            kept_bytes: 0,
            max_kept_bytes,
            reserved_memory,
            payloads: Arc::default(),
        }
    }

    /// The session is looked at before the caller's turn.
    #[inline]
    pub(super) fn touch(&mut self, index: u32) {
        if let Some(session) = self.sessions.get_mut(index)
            && !core::mem::replace(&mut session.is_touched, true)
        {
            self.touched.push(index);
        }
    }

    /// The next session to look at.
    pub(super) fn next_touched(&mut self) -> Option<u32> {
        let index = self.touched.pop()?;
        if let Some(session) = self.sessions.get_mut(index) {
            session.is_touched = false;
        }
        Some(index)
    }

    /// The caller has to look at the connection of this session.
    #[inline]
    pub(super) fn make_ready(&mut self, index: u32) {
        if let Some(session) = self.sessions.get_mut(index) {
            make_ready(session, &mut self.ready);
        }
    }

    /// Gives a subscriber a copy of a message; whether it got it.
    #[inline]
    pub(super) fn deliver_to(&mut self, subscriber: &Subscriber, copies: &mut Copies<'_>) -> bool {
        let Subscriber { session, identifier, terms } = *subscriber;
        match SubscriptionIdentifier::new(identifier) {
            Ok(identifier) => self.deliver(session, copies, terms, &[identifier]),
            Err(_) => self.deliver(session, copies, terms, &[]),
        }
    }

    /// Gives a session a copy of a message, on these terms; whether it got it.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        index: u32,
        copies: &mut Copies<'_>,
        terms: Terms,
        identifiers: &[SubscriptionIdentifier],
    ) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let (qos, retain) = (copies.qos().min(terms.qos), copies.retain() && terms.retain_as_published);
        if session.server.forward_plain(copies, qos, retain, identifiers) {
            make_ready(session, &mut self.ready);
            self.counters.messages_forwarded = self.counters.messages_forwarded.wrapping_add(1);
            return true;
        }
        self.deliver_other(index, copies, qos, retain, identifiers)
    }

    /// Gives a session a copy that is not like those of others, or that has to be kept.
    #[inline(never)]
    fn deliver_other(
        &mut self,
        index: u32,
        copies: &Copies<'_>,
        qos: QoS,
        retain: bool,
        identifiers: &[SubscriptionIdentifier],
    ) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        if qos == QoS::AtMostOnce && !session.server.takes_qos_0() {
            return false; // nobody expects it [MQTT-4.5.0-1]
        }
        let is_kept = qos != QoS::AtMostOnce || !session.server.is_ready_for(qos);
        if is_kept && !self.has_memory(index, qos, copies.size()) {
            self.drop(index, DropReason::Memory);
            return false;
        }
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let result = session.server.forward(copies, qos, retain, identifiers).map_err(|error| match error {
            CommandError::QueueFull => DropReason::QueueFull,
            CommandError::NotConnected => DropReason::SessionEnded,
            _ => DropReason::NotSupported,
        });
        match result {
            Ok(()) => {
                self.count_kept(index);
                self.counters.messages_forwarded = self.counters.messages_forwarded.wrapping_add(1);
            }
            Err(reason) => self.drop(index, reason),
        }
        self.touch(index);
        result.is_ok()
    }

    /// How many bytes are taken by messages that are stored for sessions, and by large payloads that are in use, each of
    /// which counts once.
    pub(super) fn memory(&self) -> u64 {
        // What is shared may be more than there is memory, and what is stored for a session is counted a little later than
        // its payloads: the difference is what counts.
        let own = (self.kept_bytes as usize).wrapping_sub(self.payloads.stored()) as isize;
        (own.max(0) as u64).saturating_add(self.payloads.payloads() as u64)
    }

    /// Whether so many bytes more can be stored for a session.
    fn has_memory(&self, index: u32, qos: QoS, size: u64) -> bool {
        let memory = self.memory().saturating_add(size);
        memory <= self.max_kept_bytes || self.may_use_reserve(index, qos, memory)
    }

    /// Whether a session may use memory that is reserved for clients that are connected and have room in their windows. It may
    /// store as much as it leaves free, so that no client can use all of it.
    #[cold]
    fn may_use_reserve(&self, index: u32, qos: QoS, memory: u64) -> bool {
        let Some(session) = self.sessions.get(index) else { return false };
        let free = self.max_kept_bytes.saturating_add(self.reserved_memory).checked_sub(memory);
        qos != QoS::AtMostOnce
            && session.server.has_open_window()
            && free.is_some_and(|free| u64::from(session.server.stored().1) <= free)
    }

    /// The retained messages that a session is still to get; with none, if there are none yet.
    pub(super) fn feed(&mut self, index: u32) -> Option<&mut Feed> {
        let session = self.sessions.get_mut(index)?;
        self.feeding = self.feeding.saturating_add(u32::from(session.feed.is_none()));
        Some(session.feed.get_or_insert_default())
    }

    /// A session is to get no more retained messages.
    pub(super) fn end_feed(&mut self, index: u32) {
        let feed = self.sessions.get_mut(index).and_then(|session| session.feed.take());
        self.feeding = self.feeding.saturating_sub(u32::from(feed.is_some()));
    }

    /// Counts a copy that is not delivered.
    pub(super) fn drop(&mut self, index: u32, reason: DropReason) {
        self.counters.dropped.count(reason);
        self.drops.push((index, reason));
    }

    /// Takes back what was counted since there were so many drops that had not been told.
    pub(super) fn take_back_drops(&mut self, count: usize) {
        while self.drops.len() > count {
            if let Some((_, reason)) = self.drops.pop() {
                self.counters.dropped.discount(reason);
            }
        }
    }

    /// Counts a message that was given up, after it was kept.
    pub(super) fn lose(&mut self, index: u32, loss: Loss) {
        self.drop(
            index,
            match loss {
                Loss::Overflow => DropReason::QueueFull,
                Loss::Expired => DropReason::Expired,
                Loss::Session => DropReason::SessionEnded,
                Loss::Connection => DropReason::ConnectionLost,
                _ => DropReason::NotSupported,
            },
        );
    }

    /// Counts again what a session keeps.
    #[inline]
    pub(super) fn count_kept(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let (old, new) = (session.counted, session.server.stored());
        session.counted = new;
        self.kept = self.kept.saturating_sub(u64::from(old.0)).saturating_add(u64::from(new.0));
        self.kept_bytes = self.kept_bytes.saturating_sub(u64::from(old.1)).saturating_add(u64::from(new.1));
    }

    /// Counts what a session has written since that was last counted.
    pub(super) fn count_sent(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let sent = session.server.bytes_sent();
        let new = sent.saturating_sub(core::mem::replace(&mut session.counted_sent, sent));
        self.counters.bytes_sent = self.counters.bytes_sent.wrapping_add(new);
    }
}

#[inline]
fn make_ready(session: &mut Session, ready: &mut VecDeque<ConnectionId>) {
    if !session.is_ready
        && let Some(connection) = session.connection
    {
        session.is_ready = true;
        ready.push_back(connection);
    }
}

/// What a key was made for, if it is still that.
pub(super) fn index_of<T>(slab: &Slab<T>, key: Key) -> Option<u32> {
    slab.contains(key).then_some(key.index)
}
