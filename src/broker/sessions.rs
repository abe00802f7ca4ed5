//! The sessions, and how messages get to them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::account::{Account, Charges, StoredMessages};
use super::config::BrokerConfig;
use super::counters::{Counters, DropReason};
use super::durability::commits::{Commits, with};
use super::inbox::Inbox;
use super::index::SessionIndex;
use super::jobs::turns::PrincipalIndex;
use super::jobs::work::Work;
use super::mount::MountPoint;
use super::policy::ConnectionId;
use super::ready::ReadyQueue;
use super::router::retained_walk::RetainedWalk;
use super::router::subscribers::{Subscriber, SubscriptionOptions};
use super::session::Session;
use super::slab::{Key, Slab};
use crate::codec::{QoS, SubscriptionIdentifier};
use crate::server::{Action, Copies, ServerSession};
use crate::session::{AbandonReason, Journal, Outcome, PayloadAccount, PublishError, Transmit};
use crate::sync::Arc;
use crate::time::Instant;

/// The sessions, and what changes when a message is delivered to one of them: the queue of ready connections, the counters,
/// the account of memory, the work of the call.
pub(super) struct Sessions {
    slab: Slab<Session>,
    ready: ReadyQueue,
    /// Sessions that something has happened to, each once: they are looked at before the call returns.
    changed: Vec<SessionIndex>,
    /// Connected sessions whose clients make them hold more than there is room for.
    excessive: Vec<SessionIndex>,
    counters: Counters,
    /// Drops without a notice so far.
    drops: Vec<(SessionIndex, DropReason)>,
    /// Number of sessions that have a connection.
    clients: u32,
    /// Number of sessions that are still to get retained messages.
    walking: u32,
    /// Number of sessions that have ended, and are still to be taken apart.
    ended: u32,
    /// Number of sessions that a job moves in their groups.
    moving: u32,
    account: Account,
    work: Work,
    /// The size of sessions on the heap, without stored messages.
    heap: u64,
    /// What a durable broker has beyond others.
    commits: Option<Box<Commits>>,
    /// The sessions of the embedding program.
    inbox: Inbox,
}

/// The bytes of input that a session gets at once: packets without an action, such as PINGREQ, are short and can be many.
const PIECE: usize = 2048;

/// The memory that a session may always take on the heap, in bytes: some output, and a few messages in flight.
const SMALL: usize = 2048;

/// The size of a packet without an action.
const SHORT: usize = 4;

/// What is known of a session while it is looked at.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Whether the look has begun.
    has_begun: bool,
    /// When the session's timer has to run, if that is before the timer runs anyway.
    pub(super) timer: Option<Instant>,
    /// Whether the session is still to get retained messages.
    pub(super) is_walking: bool,
}

impl Sessions {
    pub(super) fn new(config: &BrokerConfig) -> Self {
        Self {
            slab: Slab::new(),
            ready: ReadyQueue::default(),
            changed: Vec::new(),
            excessive: Vec::new(),
            counters: Counters::default(),
            drops: Vec::new(),
            clients: 0,
            walking: 0,
            ended: 0,
            moving: 0,
            account: Account::new(config),
            work: Work::new(config.work_per_call),
            heap: 0,
            commits: config.durable.then(|| Box::new(Commits::new(Journal::of_many(config.max_uncommitted)))),
            inbox: Inbox::default(),
        }
    }

    /// What a durable broker has beyond others.
    #[inline]
    pub(super) fn commits(&self) -> Option<&Commits> {
        self.commits.as_deref()
    }

    /// What a durable broker has beyond others.
    #[inline]
    pub(super) fn commits_mut(&mut self) -> Option<&mut Commits> {
        self.commits.as_deref_mut()
    }

    /// Sets what a durable broker has beyond others, or takes it away; returns what it was.
    pub(super) fn replace_commits(&mut self, commits: Option<Box<Commits>>) -> Option<Box<Commits>> {
        core::mem::replace(&mut self.commits, commits)
    }

    /// A session, and what it needs while it is called.
    #[inline]
    pub(super) fn session_and_commits(&mut self, index: SessionIndex) -> Option<(&mut Session, Option<&mut Commits>)> {
        Some((self.slab.get_mut(index.get())?, self.commits.as_deref_mut()))
    }

    /// Number of sessions of clients, without those that have ended.
    pub(super) const fn len(&self) -> u32 {
        self.slab.len().saturating_sub(self.ended).saturating_sub(self.inbox.len())
    }

    /// The sessions of the embedding program.
    pub(super) const fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The sessions of the embedding program.
    pub(super) const fn inbox_mut(&mut self) -> &mut Inbox {
        &mut self.inbox
    }

    /// An index above those of all sessions.
    pub(super) fn end_of_indices(&self) -> u32 {
        self.slab.end()
    }

    /// Number of sessions that have ended, and are still to be taken apart.
    pub(super) const fn ended(&self) -> u32 {
        self.ended
    }

    #[inline]
    pub(super) fn get(&self, index: SessionIndex) -> Option<&Session> {
        self.slab.get(index.get())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: SessionIndex) -> Option<&mut Session> {
        self.slab.get_mut(index.get())
    }

    /// The session that a key was made for, if it still exists.
    pub(super) fn get_by_key(&self, key: Key) -> Option<(SessionIndex, &Session)> {
        self.slab.get_by_key(key).map(|session| (SessionIndex::new(key.index), session))
    }

    /// The key of a session, which outlives a call.
    pub(super) fn key(&self, index: SessionIndex) -> Option<Key> {
        self.slab.key(index.get())
    }

    pub(super) fn client_id(&self, index: SessionIndex) -> Option<&str> {
        self.get(index).map(Session::client_id)
    }

    /// Adds a session; `None` if no index is left.
    pub(super) fn insert(&mut self, session: Session) -> Option<SessionIndex> {
        let (principal, charge) = (session.principal(), session.charge());
        let key = self.slab.insert(session)?;
        self.account.charge_state(principal, 0, charge);
        Some(SessionIndex::new(key.index))
    }

    pub(super) fn remove(&mut self, index: SessionIndex) -> Option<Session> {
        let session = self.slab.remove(index.get())?;
        self.ended = self.ended.saturating_sub(u32::from(session.has_ended()));
        self.moving = self.moving.saturating_sub(u32::from(session.is_moving()));
        self.account.charge_state(session.principal(), session.charge(), 0);
        self.account.charge_stored(session.principal(), session.counted(), StoredMessages::default());
        self.heap = self.heap.saturating_sub(u64::from(session.counted_heap()));
        Some(session)
    }

    /// A session is that of another principal from now on, which is charged for it; returns the principal before.
    pub(super) fn set_principal(&mut self, index: SessionIndex, principal: PrincipalIndex) -> Option<PrincipalIndex> {
        let session = self.slab.get_mut(index.get())?;
        let before = session.set_principal(principal);
        self.account.move_session((before, principal), session.charge(), session.counted());
        Some(before)
    }

    /// Charges the principal of a session for a topic filter, or with a negative number takes that back.
    pub(super) fn charge_filter(&mut self, index: SessionIndex, bytes: i32) {
        let Some(session) = self.slab.get_mut(index.get()) else { return bug!("a session that is charged exists") };
        let before = session.charge();
        session.charge_filter(bytes);
        self.account.charge_filters(session.principal(), before, session.charge());
    }

    /// A session has ended: it is given nothing more, and is only to be taken apart.
    pub(super) fn end(&mut self, index: SessionIndex) {
        match self.slab.get_mut(index.get()) {
            Some(session) if !session.has_ended() => {
                session.end();
                self.ended = self.ended.saturating_add(1);
            }
            _ => bug!("a session ends once"),
        }
    }

    /// The memory that sessions take, in bytes, without stored messages.
    pub(super) fn allocated(&self) -> u64 {
        let commits = self.commits.as_ref().map_or(0, |commits| commits.bytes());
        let others = commits.saturating_add(self.inbox.bytes());
        self.heap.saturating_add(self.slab.bytes() as u64).saturating_add(others as u64)
    }

    /// The memory that the queue of ready connections takes, in bytes.
    pub(super) fn ready_bytes(&self) -> usize {
        self.ready.bytes()
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
    pub(super) const fn account(&self) -> &Account {
        &self.account
    }

    pub(super) const fn account_mut(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Copies a large payload into shared bytes, which count once.
    pub(super) fn share_payload(&mut self, payload: &[u8]) -> Bytes {
        self.work.spend_more_bytes(payload.len());
        PayloadAccount::share(self.account.payloads(), Bytes::copy_from_slice(payload))
    }

    /// The work of the call.
    pub(super) const fn work(&self) -> &Work {
        &self.work
    }

    /// The work of the call.
    #[inline]
    pub(super) const fn work_mut(&mut self) -> &mut Work {
        &mut self.work
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
                if session.mark_changed() {
                    self.changed.push(index);
                }
            }
            None => bug!("a session that something happens to exists"),
        }
    }

    /// Lets a session take input. If that has no action, the session takes no more for now, or the budget of the call is used
    /// up; `timer` is when the session's timer has to run, if that is before the timer runs anyway. After an action the caller
    /// lets it go on, or [looks at it later](Self::look_at_later).
    #[inline]
    pub(super) fn poll<'a>(
        &mut self,
        index: SessionIndex,
        now: Instant,
        input: &mut &'a [u8],
        timer: &mut Option<Instant>,
    ) -> Option<Action<'a>> {
        if self.commits.is_none() {
            self.poll_as::<false>(index, now, input, timer)
        } else {
            self.poll_durable(index, now, input, timer)
        }
    }

    // Out of line, so that brokers that are not durable do not pay for it.
    #[cold]
    #[inline(never)]
    fn poll_durable<'a>(
        &mut self,
        index: SessionIndex,
        now: Instant,
        input: &mut &'a [u8],
        timer: &mut Option<Instant>,
    ) -> Option<Action<'a>> {
        self.poll_as::<true>(index, now, input, timer)
    }

    #[inline(always)]
    fn poll_as<'a, const IS_DURABLE: bool>(
        &mut self,
        index: SessionIndex,
        now: Instant,
        input: &mut &'a [u8],
        timer: &mut Option<Instant>,
    ) -> Option<Action<'a>> {
        let Self { slab, work, commits, .. } = self;
        let Some(session) = slab.get_mut(index.get()) else {
            bug!("a session exists while it has a connection");
            return None;
        };
        // It is not among the changed ones for that: it is looked at here.
        session.mark_changed();
        if session.is_busy() {
            self.changed.push(index);
            return None;
        }
        let mut commits = if IS_DURABLE { commits.as_deref_mut() } else { None };
        if let Some(commits) = &mut commits {
            commits.lend(session.server_mut());
        }
        let mut most = PIECE;
        loop {
            let before = input.len();
            let is_whole = before <= most;
            let server = session.server_mut();
            let action = if is_whole { server.poll(now, input) } else { poll_piece(server, now, input, most) };
            let taken = before.wrapping_sub(input.len());
            if action.is_some() {
                work.spend_bytes(taken);
                if let Some(commits) = &mut commits {
                    commits.take_back(index, session.server_mut());
                }
                return action; // it is large, and moved once
            }
            work.spend((taken / SHORT) as u64);
            most = if taken != 0 { PIECE } else { most.saturating_mul(2) }; // a packet may be longer than a piece
            if is_whole || (taken != 0 && work.is_spent()) {
                break;
            }
        }
        if let Some(commits) = &mut commits {
            commits.take_back(index, session.server_mut());
            if session.server().has_left_input()
                && commits.is_full()
                && let Some(connection) = session.connection()
            {
                commits.stall(connection);
            }
        }
        session.note_left(!input.is_empty());
        if session.is_walking() || session.server().has_work() {
            self.changed.push(index);
            return None;
        }
        session.clear_changed();
        if count(&mut self.account, &mut self.heap, session) {
            self.excessive.push(index);
        }
        if let Some(connection) = session.connection_to_write() {
            self.ready.push(connection);
        }
        *timer = session.reschedule();
        None
    }

    /// Lets a session that was [polled](Self::poll) be looked at before the call returns.
    pub(super) fn look_at_later(&mut self, index: SessionIndex) {
        self.changed.push(index);
    }

    /// Lets a session that something has happened to do what it can do without input. If that has no action, the session has
    /// nothing more to do for now, or does not exist any more: `look` says what is to be done with it then.
    #[inline]
    pub(super) fn advance_output<'a>(
        &mut self,
        index: SessionIndex,
        now: Instant,
        look: &mut Look,
    ) -> Option<Action<'a>> {
        let Self { slab, commits, .. } = self;
        let session = slab.get_mut(index.get())?;
        if !session.clear_changed() && !look.has_begun {
            return None; // it was looked at since it changed
        }
        let is_first = !core::mem::replace(&mut look.has_begun, true);
        // What is not sent within the budget is sent when the caller asks for the output. One item is, so that there is some.
        // Without a connection nothing is sent, and messages that have expired go when the session is looked at.
        // Beyond the budget nothing more is sent between two actions.
        let left = u32::try_from(self.work.left()).unwrap_or(u32::MAX);
        let most = match session.connection() {
            _ if is_first => left.max(1),
            Some(_) => left,
            None => 0,
        };
        let mut done = 0;
        let advance = |server: &mut ServerSession| server.advance_output(now, most, &mut done);
        let action = with(session.server_mut(), commits.as_deref_mut(), index, advance);
        if done != 0 {
            // Messages that the session gives up are one item with the last that is sent.
            self.work.spend_each(done.min(u64::from(most)), 1);
            self.work.spend(done.saturating_sub(u64::from(most)));
        }
        if action.is_some() {
            return action;
        }
        if count(&mut self.account, &mut self.heap, session) {
            self.excessive.push(index);
        }
        if let Some(connection) = session.connection_to_write() {
            self.ready.push(connection);
        }
        look.timer = session.reschedule();
        look.is_walking = session.is_walking();
        None
    }

    /// The output of a session. What was written is counted, and the connection is ready if it takes input again.
    #[inline]
    pub(super) fn output(&mut self, index: SessionIndex) -> Option<&mut Transmit> {
        let session = self.slab.get_mut(index.get())?;
        count_sent(&mut self.counters, session);
        if session.take_released()
            && let Some(connection) = session.connection()
        {
            self.ready.push(connection);
        }
        Some(session.output())
    }

    /// The next session to look at. It may have been removed since.
    #[inline]
    pub(super) fn next_changed(&mut self) -> Option<SessionIndex> {
        self.changed.pop()
    }

    /// A client was accepted into a session, which is resumed or new.
    pub(super) fn attach(
        &mut self,
        index: SessionIndex,
        connection: ConnectionId,
        user_name: Option<Arc<str>>,
        mount: Option<MountPoint>,
    ) {
        let Some(session) = self.slab.get_mut(index.get()) else {
            return bug!("a session exists while a client is accepted into it");
        };
        session.attach(connection, user_name, mount);
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
        self.clients = self.clients.saturating_sub(u32::from(session.detach()));
        if session.mark_changed() {
            self.changed.push(index);
        }
    }

    /// Gives a subscriber a copy of a message by this one subscription; returns whether the copy was sent or stored. For a
    /// session that is still to get retained messages `before` is called first, and returns whether it gets the copy.
    #[inline]
    pub(super) fn deliver_one(
        &mut self,
        subscriber: &Subscriber,
        copies: &mut Copies<'_>,
        before: impl FnOnce(&mut Self) -> bool,
    ) -> bool {
        let Subscriber { session, identifier, options } = *subscriber;
        let identifier = SubscriptionIdentifier::new(identifier).ok();
        self.deliver(session, copies, options, identifier.as_slice(), before)
    }

    /// As [`deliver_one`](Self::deliver_one), also to a session that is still to get retained messages.
    pub(super) fn deliver_to(&mut self, subscriber: &Subscriber, copies: &mut Copies<'_>) -> bool {
        self.deliver_one(subscriber, copies, |_| true)
    }

    /// Gives a session a copy of a message; returns whether the copy was sent or stored. For a session that is still to get
    /// retained messages `before` is called first, and returns whether it gets the copy.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        index: SessionIndex,
        copies: &mut Copies<'_>,
        options: SubscriptionOptions,
        identifiers: &[SubscriptionIdentifier],
        before: impl FnOnce(&mut Self) -> bool,
    ) -> bool {
        let Some(mut session) = self.slab.get_mut(index.get()) else {
            bug!("a subscriber is a session");
            return false;
        };
        if !session.is_plain() {
            if session.has_ended() || (session.is_walking() && !before(self)) {
                return false;
            }
            let Some(again) = self.slab.get_mut(index.get()) else { return false };
            let qos = copies.qos().min(options.qos);
            if again.is_restrained()
                && !again.server().has_spare_room(qos, copies.size() as usize)
                && !has_room_for_heap(&self.account, again)
            {
                return self.refuse_copy(index);
            }
            if again.is_local() {
                self.inbox.note(index);
            }
            if let Some(mount) = again.mount().cloned() {
                let (qos, retain) = (copies.qos().min(options.qos), copies.retain() && options.retain_as_published);
                let deliver = |copies: &Copies<'_>| self.deliver_other(index, copies, qos, retain, identifiers);
                return copies.mounted(mount.as_bytes(), deliver).unwrap_or(false);
            }
            session = again;
        }
        let (qos, retain) = (copies.qos().min(options.qos), copies.retain() && options.retain_as_published);
        if let Some(has_grown) = session.server_mut().forward_plain(copies, qos, retain, identifiers) {
            if has_grown {
                session.mark_changed().then(|| self.changed.push(index));
            }
            if let Some(connection) = session.connection() {
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
        self.work.spend(1); // the session is looked at before the call returns
        let Some(session) = self.slab.get_mut(index.get()) else {
            bug!("a subscriber is a session");
            return false;
        };
        if qos == QoS::AtMostOnce && !session.server().takes_qos_0() {
            return false; // a message of QoS 0 is not for a session without a connection [MQTT-4.5.0-1]
        }
        let is_stored = qos != QoS::AtMostOnce || !session.server().is_ready_for(qos);
        // A table that grows doubles.
        let may_grow = is_stored && !session.server().has_spare_id();
        let has_room_to_grow = !may_grow
            || session.counted_heap() as usize <= SMALL
            || self.account.has_room_for_state(Some(session.principal()), session.counted_heap().into());
        if is_stored && (!has_room_to_grow || !has_room(&self.account, session, qos, copies.size())) {
            return self.refuse_copy(index);
        }
        if session.mark_changed() {
            self.changed.push(index);
        }
        let has_queued = session.server().has_queued();
        let queued = if has_queued { session.server().queued() } else { 0 };
        let forward = |server: &mut ServerSession| server.forward(copies, qos, retain, identifiers);
        let result = with(session.server_mut(), self.commits.as_deref_mut(), index, forward);
        if has_queued {
            // Messages that have expired are given up.
            let gone = queued.saturating_sub(session.server().queued());
            self.work.spend(gone as u64);
        }
        match result {
            Ok(()) => {
                count_stored(&mut self.account, session);
                if may_grow {
                    let (old, new) = session.recount_heap();
                    self.heap = self.heap.saturating_sub(u64::from(old)).saturating_add(u64::from(new));
                    self.account.charge_state(session.principal(), old.into(), new.into());
                }
                self.counters.messages_forwarded = self.counters.messages_forwarded.wrapping_add(1);
                true
            }
            Err(error) => {
                self.work.spend(1); // the notice
                let reason = match error {
                    PublishError::QueueFull => DropReason::QueueFull,
                    PublishError::NotConnected => DropReason::SessionEnded,
                    _ => DropReason::NotSupported,
                };
                self.drop_copy(index, reason);
                false
            }
        }
    }

    /// There is no room for a copy.
    #[cold]
    fn refuse_copy(&mut self, index: SessionIndex) -> bool {
        self.work.spend(1); // the notice
        self.drop_copy(index, DropReason::Memory);
        false
    }

    /// Whether clients make sessions hold more than there is room for.
    #[inline]
    pub(super) const fn has_excessive(&self) -> bool {
        !self.excessive.is_empty()
    }

    /// The next session whose client makes it hold more than there is room for.
    pub(super) fn next_excessive(&mut self) -> Option<SessionIndex> {
        self.excessive.pop()
    }

    /// The retained messages that a session is still to get; empty if there were none. `None` if the session does not exist.
    pub(super) fn start_walk(&mut self, index: SessionIndex) -> Option<&mut RetainedWalk> {
        let session = self.slab.get_mut(index.get())?;
        self.walking = self.walking.saturating_add(u32::from(!session.is_walking()));
        Some(session.walk_or_insert())
    }

    /// A session is to get no more retained messages.
    pub(super) fn end_walk(&mut self, index: SessionIndex) {
        let was_walking = self.get_mut(index).is_some_and(Session::end_walk);
        self.walking = self.walking.saturating_sub(u32::from(was_walking));
        self.mark_changed(index); // it takes less memory now
    }

    /// Number of sessions that are still to get retained messages.
    pub(super) const fn walking(&self) -> u32 {
        self.walking
    }

    /// A job moves a session in its groups, or does so no more.
    pub(super) fn set_moving(&mut self, index: SessionIndex, is_moving: bool) {
        let was_moving = self.get_mut(index).is_some_and(|session| session.set_moving(is_moving));
        self.moving = self.moving.saturating_sub(u32::from(was_moving)).saturating_add(u32::from(is_moving));
    }

    /// Whether a session may not be where its groups say: among the members that are connected, or among the others.
    #[inline]
    pub(super) const fn is_any_moving(&self) -> bool {
        self.moving != 0
    }

    /// Counts a copy that is not delivered.
    pub(super) fn drop_copy(&mut self, index: SessionIndex, reason: DropReason) {
        self.counters.dropped.count(reason);
        self.drops.push((index, reason));
    }

    /// Counts the outcome of a message, if that is lost.
    #[inline]
    pub(super) fn count_outcome(&mut self, index: SessionIndex, outcome: &Outcome<'_>) {
        if !outcome.is_success() {
            self.count_failure(index, outcome);
        }
    }

    #[cold]
    fn count_failure(&mut self, index: SessionIndex, outcome: &Outcome<'_>) {
        match outcome {
            Outcome::Abandoned(reason) => self.drop_stored(index, *reason),
            _ => self.drop_copy(index, DropReason::RefusedByClient),
        }
    }

    /// The client has asked for something that its session keeps on the heap until it is answered.
    pub(super) fn unsettle(&mut self, index: SessionIndex) {
        if let Some(session) = self.slab.get_mut(index.get()) {
            session.unsettle();
        }
    }

    /// Counts a message that the session has given up.
    pub(super) fn drop_stored(&mut self, index: SessionIndex, reason: AbandonReason) {
        let reason = match reason {
            AbandonReason::Overflow => DropReason::QueueFull,
            AbandonReason::Expired => DropReason::Expired,
            AbandonReason::Session => DropReason::SessionEnded,
            AbandonReason::Connection => DropReason::ConnectionLost,
            _ => DropReason::NotSupported,
        };
        self.drop_copy(index, reason);
    }

    /// Number of drops without a notice so far.
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

    /// Takes the drops, for notices.
    pub(super) fn take_drops(&mut self) -> Vec<(SessionIndex, DropReason)> {
        core::mem::take(&mut self.drops)
    }

    /// Counts again what a session stores.
    #[inline]
    pub(super) fn count_stored(&mut self, index: SessionIndex) {
        match self.slab.get_mut(index.get()) {
            Some(session) => count_stored(&mut self.account, session),
            None => bug!("a session that is counted exists"),
        }
    }

    /// Counts all of a restored session. Returns when its timer has to run: at `due_at` at the latest, if that is given.
    pub(super) fn count_restored(&mut self, index: SessionIndex, due_at: Option<Instant>) -> Option<Instant> {
        let session = self.slab.get_mut(index.get())?;
        count_all(&mut self.account, &mut self.heap, session);
        session.schedule(due_at)
    }

    /// Begins to count work anew.
    pub(super) fn reset_work(&mut self, config: &BrokerConfig) {
        self.work = Work::new(config.work_per_call);
    }

    /// Counts the bytes that a session has written since they were last counted, and returns the session.
    pub(super) fn count_sent(&mut self, index: SessionIndex) -> Option<&mut Session> {
        let session = self.slab.get_mut(index.get())?;
        count_sent(&mut self.counters, session);
        Some(session)
    }

    /// Panics if a count is wrong, or if a session is left to be looked at. `charges` are those of principals for what is not a
    /// session. For tests.
    pub(super) fn assert_consistent(&self, charges: BTreeMap<u32, Charges>) {
        let (mut messages, mut bytes, mut heap, mut walking, mut clients) = (0_u64, 0_u64, 0_u64, 0_u32, 0_u32);
        let mut charges = charges;
        let mut moving = 0_u32;
        for (_, session) in self.iter() {
            session.server().assert_consistent();
            session.assert_heap_counted();
            let (own_messages, own_bytes) = session.server().stored();
            messages = messages.saturating_add(u64::from(own_messages));
            bytes = bytes.saturating_add(u64::from(own_bytes));
            heap = heap.saturating_add(u64::from(session.counted_heap()));
            let stored = session.counted();
            assert_eq!((stored.count, stored.bytes), (own_messages, own_bytes), "stored messages are counted at once");
            let own = charges.entry(session.principal().get()).or_default();
            own.state = own.state.saturating_add(session.charge());
            own.messages = own.messages.saturating_add(own_bytes.into());
            own.window = own.window.saturating_add(if stored.is_window { own_bytes.into() } else { 0 });
            walking = walking.saturating_add(u32::from(session.is_walking()));
            clients = clients.saturating_add(u32::from(session.connection().is_some()));
            moving = moving.saturating_add(u32::from(session.is_moving()));
            assert!(session.scheduled() <= session.server().timeout(), "no timeout is forgotten");
        }
        self.account.assert_consistent((messages, bytes), |index| charges.get(&index).copied().unwrap_or_default());
        assert_eq!(self.heap, heap, "the memory of sessions is counted right");
        assert_eq!(self.moving, moving, "sessions that move in their groups are counted right");
        assert_eq!(self.clients, clients, "clients are counted right");
        assert_eq!(self.walking, walking, "sessions that are still to get retained messages are counted right");
        assert!(self.changed.is_empty(), "no session is left to be looked at");
    }
}

/// Lets a session take the first bytes of the input.
fn poll_piece<'a>(server: &mut ServerSession, now: Instant, input: &mut &'a [u8], most: usize) -> Option<Action<'a>> {
    let (mut piece, rest) = input.split_at_checked(most).unwrap_or((*input, &[]));
    let action = server.poll(now, &mut piece);
    let left = piece.len().wrapping_add(rest.len());
    *input = input.get(input.len().wrapping_sub(left)..).unwrap_or_default();
    action
}

/// Whether there is room for a copy that a session stores.
#[inline]
fn has_room(account: &Account, session: &Session, qos: QoS, size: u64) -> bool {
    let (principal, server) = (session.principal(), session.server());
    account.has_room_for_copy(principal, size)
        || (qos != QoS::AtMostOnce
            && server.has_open_window()
            && account.has_room_in_window(principal, server.stored().1, size))
}

/// Whether what a session has on the heap may grow: it is small, or its principal has room for more.
fn has_room_for_heap(account: &Account, session: &Session) -> bool {
    session.counted_heap() as usize <= SMALL || account.has_room_for_state(Some(session.principal()), 0)
}

#[inline]
const fn count_sent(counters: &mut Counters, session: &mut Session) {
    counters.bytes_sent = counters.bytes_sent.wrapping_add(session.recount_sent());
}

/// Counts again what a session stores.
#[inline]
fn count_stored(account: &mut Account, session: &mut Session) {
    match session.recount_window() {
        Some((old, new)) => account.charge_window(session.principal(), old, new),
        None => recount_stored(account, session),
    }
}

#[inline(never)]
fn recount_stored(account: &mut Account, session: &mut Session) {
    let (old, new) = session.recount();
    account.charge_stored(session.principal(), old, new);
}

/// Counts again what a session stores, and the memory that it takes. Returns whether its client makes it hold more than there
/// is room for.
#[inline]
fn count(account: &mut Account, heap: &mut u64, session: &mut Session) -> bool {
    if !session.is_settled() {
        return count_all(account, heap, session);
    }
    if let Some((old, new)) = session.recount_settled() {
        account.charge_window(session.principal(), old, new);
    }
    match session.recount_buffers() {
        Some(changed) => count_heap(account, heap, session, changed),
        None => false,
    }
}

#[inline(never)]
fn count_all(account: &mut Account, heap: &mut u64, session: &mut Session) -> bool {
    recount_stored(account, session);
    let (old, new) = session.recount_heap();
    (old != new || session.is_restrained()) && count_heap(account, heap, session, (old, new))
}

#[inline(never)]
fn count_heap(account: &mut Account, heap: &mut u64, session: &mut Session, (old, new): (u32, u32)) -> bool {
    *heap = heap.saturating_sub(u64::from(old)).saturating_add(u64::from(new));
    account.charge_state(session.principal(), old.into(), new.into());
    if new <= old && !session.is_restrained() {
        return false;
    }
    let is_restrained = !has_room_for_heap(account, session);
    session.set_restrained(is_restrained);
    is_restrained && session.connection().is_some() && session.server().received_heap() > SMALL
}
