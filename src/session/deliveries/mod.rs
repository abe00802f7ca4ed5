//! The deliveries of a session in both directions: tables of messages and requests, and their state transitions. This
//! module encodes no packets and reads no clock.

pub(super) mod ack;
pub(super) mod budget;
mod ending;
pub(super) mod id_set;
pub(super) mod inbound;
pub(super) mod outbound;
pub(super) mod packet_id;
pub(super) mod queue;
pub(super) mod stage;

use alloc::boxed::Box;

use self::budget::{Budget, BudgetLimits};
use self::inbound::Inbound;
use self::outbound::{Acknowledged, Flow, Outbound};
use self::queue::{Kind, Overflow, Queue, Waiting};
use self::stage::{Ack, Stage};
use super::command_error::NotQueued;
use super::effects::Effects;
use super::limits::ConnectionLimits;
use super::outcome::AbandonReason;
use super::store::durable::Durable;
use super::store::payload::PayloadAccount;
use super::store::stored::Stored;
use super::token::Token;
use crate::codec::{PacketId, QoS, Version};
use crate::sync::Arc;
use crate::time::Instant;

/// The messages and requests of a session: those in flight, those that are queued, and the received messages whose
/// delivery is not complete.
#[derive(Clone)]
pub(crate) struct Deliveries {
    outbound: Outbound,
    inbound: Inbound,
    /// The queue may exist and be empty: [`has_queued`](Self::has_queued) covers both cases.
    queue: Option<Box<Queue>>,
    next_token: Token,
    budget: Budget,
}

/// The source of the next packet to send.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// The queued requests that are sent before all messages.
    FirstRequests,
    /// The messages that are to be sent again.
    Resend,
    /// The queue. Messages of QoS 1 and 2 are taken from it only if `is_windowed`, and packets that need a packet
    /// identifier only if `has_id`.
    Queue { is_windowed: bool, has_id: bool },
}

impl Deliveries {
    pub(crate) fn new() -> Self {
        Self {
            outbound: Outbound::new(),
            inbound: Inbound::default(),
            queue: None,
            next_token: Token::FIRST,
            budget: Budget::default(),
        }
    }

    /// Restores messages in flight, in the order in which they were sent, queued messages, and the packet identifiers
    /// of received messages of QoS 2.
    pub(crate) fn restored(
        in_flight: impl IntoIterator<Item = (PacketId, Flow)>,
        queued: impl IntoIterator<Item = Waiting>,
        received: impl IntoIterator<Item = PacketId>,
        next_token: Token,
    ) -> Self {
        let mut deliveries = Self { next_token, ..Self::new() };
        deliveries.inbound.restore(received);
        let budget = &mut deliveries.budget;
        deliveries.outbound = Outbound::restored(in_flight.into_iter().inspect(|(_, flow)| {
            if !flow.is_reported {
                budget.add(flow.stored.len());
            }
        }));
        deliveries.outbound.rewind();
        for waiting in queued {
            deliveries.push(waiting);
        }
        deliveries
    }

    /// Returns the queued messages of QoS 1 and 2, in order.
    pub(crate) fn queued_messages(&self) -> impl Iterator<Item = &Waiting> {
        self.queue.iter().flat_map(|queue| queue.windowed())
    }

    /// Returns all queued packets, in the order of their kinds.
    pub(crate) fn queued_packets(&self) -> impl Iterator<Item = &Waiting> {
        self.queue.iter().flat_map(|queue| queue.iter())
    }

    /// Returns the token that is assigned next.
    pub(crate) const fn next_token(&self) -> Token {
        self.next_token
    }

    /// Returns the received messages.
    #[inline]
    pub(crate) const fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    #[inline]
    pub(crate) const fn inbound_mut(&mut self) -> &mut Inbound {
        &mut self.inbound
    }

    /// Returns the messages and requests in flight.
    #[inline]
    pub(crate) const fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Returns whether something is on the heap besides the messages in flight.
    #[inline]
    pub(crate) const fn has_more_heap(&self) -> bool {
        self.queue.is_some() | self.inbound.has_heap()
    }

    /// Returns the size in bytes of what is on the heap besides the messages in flight, without the packets that are stored.
    pub(crate) fn more_heap(&self) -> usize {
        let queue = self.queue.as_ref().map_or(0, |queue| queue.heap().saturating_add(core::mem::size_of::<Queue>()));
        self.inbound.heap().saturating_add(queue)
    }

    /// Returns the account of the messages and requests that are stored.
    #[inline]
    pub(crate) const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Returns whether messages or requests are queued.
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_empty())
    }

    /// Returns whether a queue is allocated, which may be empty.
    #[inline]
    pub(crate) const fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    /// Returns whether something can be sent as soon as the limits allow it: queued packets, or messages to be sent
    /// again.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.has_queued() || self.outbound.to_resend() != 0
    }

    /// Returns the number of messages and requests that are queued or to be sent again.
    pub(crate) fn queued(&self) -> usize {
        self.not_sent().saturating_add(usize::from(self.outbound.to_resend()))
    }

    /// Returns the number of packets that were not sent yet.
    pub(crate) fn not_sent(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Returns the number of operations with a packet identifier whose outcome is not reported yet.
    pub(crate) fn operations_in_flight(&self) -> usize {
        // The budget counts these operations and the queued ones.
        (self.budget.count() as usize).saturating_sub(self.queue.as_ref().map_or(0, |queue| queue.len()))
    }

    /// Returns whether one more message of QoS 1 or 2 may be in flight, by the Receive Maximum of the peer and the
    /// configured limit \[MQTT-3.3.4-7, MQTT-4.9.0-2\].
    #[inline]
    fn window_is_open(&self, limits: &ConnectionLimits) -> bool {
        self.outbound.in_flight() < limits.max_in_flight
    }

    /// Returns whether a new message of this QoS may be sent before anything else.
    #[inline]
    pub(crate) fn is_next(&self, limits: &ConnectionLimits, qos: QoS) -> bool {
        let is_windowed = qos != QoS::AtMostOnce;
        self.queue.as_ref().is_none_or(|queue| !queue.holds_up(is_windowed))
            && (!is_windowed || (self.window_is_open(limits) && self.outbound.to_resend() == 0))
    }

    /// Returns the source of the next packet to send. The source may be empty.
    pub(crate) fn next_source(&self, limits: &ConnectionLimits) -> Source {
        if self.queue.as_ref().is_some_and(|queue| queue.has_first_request()) && self.next_id().is_some() {
            return Source::FirstRequests;
        }
        let is_open = self.window_is_open(limits);
        let to_resend = self.outbound.to_resend() != 0;
        if to_resend && is_open {
            return Source::Resend;
        }
        Source::Queue { is_windowed: is_open && !to_resend, has_id: self.next_id().is_some() }
    }

    /// Returns whether the source has a packet.
    pub(crate) fn has_next(&self, source: Source) -> bool {
        match source {
            Source::FirstRequests | Source::Resend => true,
            Source::Queue { is_windowed, has_id } => {
                self.queue.as_ref().is_some_and(|queue| queue.has_next(is_windowed, has_id))
            }
        }
    }

    /// Removes and returns the next queued packet.
    pub(crate) fn pop_queued(&mut self, is_windowed: bool, has_id: bool) -> Option<Waiting> {
        self.queue.as_mut().and_then(|queue| queue.pop(is_windowed, has_id))
    }

    /// Removes and returns the next queued request.
    pub(crate) fn pop_request(&mut self) -> Option<Waiting> {
        self.queue.as_mut().and_then(|queue| queue.pop_request())
    }

    /// Removes and returns the oldest queued packet, which is not sent to a peer.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn take_queued(&mut self) -> Option<Waiting> {
        let waiting = self.pop_queued(true, true)?;
        self.budget.remove(waiting.stored.len());
        self.drop_empty_queue();
        Some(waiting)
    }

    /// Returns the packet identifier of the next operation; `None` if all are in use.
    #[inline]
    pub(crate) fn next_id(&self) -> Option<PacketId> {
        self.outbound.next_id()
    }

    /// Assigns the token of a message that needs no entry in the tables.
    #[inline]
    pub(crate) fn take_token(&mut self) -> Token {
        let next = self.next_token.next();
        core::mem::replace(&mut self.next_token, next)
    }

    /// Adds a message that was sent, encoded in `packet`, with the packet identifier [`next_id`](Self::next_id).
    #[inline(always)]
    pub(crate) fn begin_small(
        &mut self,
        qos: QoS,
        now: Instant,
        expires_after: u32,
        starts_at: u64,
        packet: &[u8],
    ) -> Token {
        let token = self.next_token;
        if let Some(flow) = self.outbound.begin(token, Stage::of(qos), now, expires_after, starts_at) {
            flow.stored.set(packet);
        } else {
            bug!("no packet identifier is free for {token}");
        }
        self.next_token = token.next();
        self.budget.add(packet.len());
        token
    }

    /// As [`begin_small`](Self::begin_small), with a message that is stored otherwise than it was sent.
    pub(crate) fn begin(
        &mut self,
        qos: QoS,
        now: Instant,
        expires_after: u32,
        starts_at: u64,
        stored: Stored,
        effects: &mut Effects,
    ) -> Token {
        let token = self.take_token();
        self.budget.add(stored.len());
        let id = self.next_id();
        self.start(
            Waiting { token, since: now, kind: Kind::Message(qos), expires_after, mark: 0, tries: 0, stored },
            starts_at,
        );
        if let Some(id) = id {
            self.store_new(id, effects);
        }
        token
    }

    /// Stores a message that was just sent and was not queued before.
    pub(crate) fn store_new(&mut self, id: PacketId, effects: &mut Effects) {
        if let (Some(durable), Some(flow)) = (effects.durable_mut(), self.outbound.get_mut(id)) {
            durable.accepted_and_sent(id, flow);
        }
    }

    /// Adds a message or request that was queued and is now sent, with the packet identifier
    /// [`next_id`](Self::next_id).
    pub(crate) fn begin_queued(&mut self, waiting: Waiting, starts_at: u64, effects: &mut Effects) {
        let id = self.next_id();
        self.start(waiting, starts_at);
        if let (Some(durable), Some(id)) = (effects.durable_mut(), id) {
            self.store(id, durable);
        }
    }

    fn start(&mut self, waiting: Waiting, starts_at: u64) {
        let Waiting { token, since, kind, expires_after, mark, tries, stored } = waiting;
        let stage = match kind {
            Kind::Message(qos) => Stage::of(qos),
            Kind::Subscribe(filters) => Stage::SubAck(filters),
            Kind::Unsubscribe(filters) => Stage::UnsubAck(filters),
        };
        if let Some(flow) = self.outbound.begin(token, stage, since, expires_after, starts_at) {
            (flow.mark, flow.tries, flow.stored) = (mark, tries, stored);
        } else {
            bug!("no packet identifier is free for {token}");
        }
    }

    /// Stores the present stage of a message in flight.
    fn store(&self, id: PacketId, durable: &mut Durable) {
        if let Some(flow) = self.outbound.get(id) {
            durable.sent(id, flow);
        }
    }

    /// Processes an acknowledgement of a message, and stores its effect.
    #[cold]
    #[inline(never)]
    fn acknowledge_and_store(
        &mut self,
        id: PacketId,
        ack: Ack,
        takes_downgraded: bool,
        durable: &mut Durable,
    ) -> Acknowledged {
        let before = self.outbound.get(id).map(|flow| (flow.token, flow.stored.in_store()));
        let acknowledged = self.outbound.acknowledge(id, ack, takes_downgraded, durable.next_order());
        let Some((token, stored)) = before else { return acknowledged };
        match acknowledged {
            Acknowledged::Finished { .. } => durable.ended(token, stored),
            Acknowledged::Release { first: true, .. } => {
                durable.order_used();
                durable.message_ended(token, stored);
                self.store(id, durable);
            }
            Acknowledged::Release { .. } | Acknowledged::Unknown | Acknowledged::Mismatch => {}
        }
        acknowledged
    }

    /// Removes a queued message of QoS 0 that was sent.
    pub(crate) fn sent_unacknowledged(&mut self, waiting: &Waiting) {
        self.budget.remove(waiting.stored.len());
    }

    /// Queues a message. Only valid after [`check_room`](Self::check_room) has succeeded.
    pub(crate) fn enqueue(
        &mut self,
        limits: &ConnectionLimits,
        qos: QoS,
        now: Instant,
        expires_after: u32,
        stored: Stored,
        effects: &mut Effects,
    ) -> Token {
        self.make_room(limits, stored.len(), effects);
        let token = self.take_token();
        let kind = Kind::Message(qos);
        let mut waiting = Waiting { token, since: now, kind, expires_after, mark: 0, tries: 0, stored };
        if let (Some(durable), true) = (effects.durable_mut(), kind.is_windowed()) {
            durable.accepted(&mut waiting);
        }
        self.push(waiting);
        token
    }

    /// Queues a request, if necessary in place of older messages.
    ///
    /// On an open connection requests are sent before all messages. So a program that has a new session subscribes before
    /// a queued message can have a response, and even if the queue is full: as long as no message is in flight on the
    /// connection, queued messages take no room from requests.
    pub(crate) fn enqueue_request(
        &mut self,
        limits: &ConnectionLimits,
        kind: Kind,
        now: Instant,
        stored: Stored,
        effects: &mut Effects,
    ) -> Result<Token, NotQueued> {
        let messages = self.queue.as_ref().map_or((0, 0), |queue| (queue.messages(), queue.message_bytes()));
        let is_before_messages = limits.is_open && self.outbound.in_flight() == 0;
        if !is_before_messages || !self.budget.fits(limits.budget, stored.len(), messages) {
            self.check_room(limits, stored.len())?;
            self.make_room(limits, stored.len(), effects);
        }
        let token = self.take_token();
        self.push(Waiting { token, since: now, kind, expires_after: u32::MAX, mark: 0, tries: 0, stored });
        if limits.is_open
            && let Some(queue) = &mut self.queue
        {
            queue.put_requests_first(token);
        }
        Ok(token)
    }

    fn push(&mut self, waiting: Waiting) {
        self.budget.add(waiting.stored.len());
        self.queue.get_or_insert_default().push(waiting);
    }

    /// Returns the size of the largest packet that can be stored without dropping another; `None` if no packet can.
    #[inline]
    pub(crate) const fn room(&self, limits: BudgetLimits) -> Option<u32> {
        self.budget.room(limits)
    }

    /// Checks that a packet of `bytes` bytes can be stored, if necessary in place of older messages.
    ///
    /// If nothing is stored, one message of any size can be; otherwise a message that both endpoints support could
    /// never be delivered. Older messages are not dropped for a packet that is larger than the limit.
    ///
    /// The check comes before the encoding, so that publishing to a full queue costs next to nothing.
    pub(crate) fn check_room(&self, limits: &ConnectionLimits, bytes: usize) -> Result<(), NotQueued> {
        let droppable = match (&self.queue, limits.overflow) {
            (Some(queue), Overflow::DropOldest) => (queue.messages(), queue.message_bytes()),
            _ => (0, 0),
        };
        if self.budget.fits(limits.budget, bytes, droppable) { Ok(()) } else { Err(NotQueued::QueueFull) }
    }

    /// Drops the oldest queued messages until `bytes` more bytes can be stored. Only valid after
    /// [`check_room`](Self::check_room) has succeeded.
    pub(crate) fn make_room(&mut self, limits: &ConnectionLimits, bytes: usize, effects: &mut Effects) {
        let is_alone = self.budget.bytes() == 0;
        let fits = |budget: &Budget| {
            budget
                .room(limits.budget)
                .is_some_and(|room| is_alone || usize::try_from(room).is_ok_and(|room| bytes <= room))
        };
        while !fits(&self.budget) {
            let oldest = self.queue.as_mut().and_then(|queue| queue.drop_oldest_message());
            let Some(oldest) = oldest else {
                bug!("`check_room` has found room for {bytes} bytes");
                return;
            };
            self.give_up_queued(&oldest, AbandonReason::Overflow, effects);
        }
    }

    /// Returns the message that is to be sent again next.
    pub(crate) fn next_to_resend(&self) -> Option<(PacketId, &Flow)> {
        self.outbound.next_to_resend()
    }

    /// Records that a message that has waited is put into the output, at this offset in the stream of this connection.
    pub(crate) fn release_held(&mut self, id: PacketId, starts_at: u64) {
        self.outbound.release_held(id, starts_at);
    }

    /// Records that [`next_to_resend`](Self::next_to_resend) was sent again, at this offset in the stream of this
    /// connection.
    pub(crate) fn resent(&mut self, starts_at: u64) {
        self.outbound.resent(starts_at);
    }

    /// Processes an acknowledgement of a message.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        id: PacketId,
        ack: Ack,
        takes_downgraded: bool,
        effects: &mut Effects,
    ) -> Acknowledged {
        let acknowledged = match effects.durable_mut() {
            None => self.outbound.acknowledge(id, ack, takes_downgraded, 0),
            Some(durable) => self.acknowledge_and_store(id, ack, takes_downgraded, durable),
        };
        match acknowledged {
            Acknowledged::Finished { token: Some(_), freed, .. } => self.budget.remove(freed),
            Acknowledged::Release { first: true, freed } => self.budget.remove_bytes(freed),
            _ => {}
        }
        acknowledged
    }

    /// Removes a request that the peer has answered. Returns its token, unless its outcome was reported before.
    pub(crate) fn finish_request(&mut self, id: PacketId) -> Option<Token> {
        let flow = self.outbound.remove(id).filter(|flow| !flow.is_reported)?;
        self.budget.remove(flow.stored.len());
        Some(flow.token)
    }

    /// Returns the number of connections on which the packet of an operation has been sent at least in part; `None` if
    /// the operation is neither queued nor in flight.
    pub(crate) fn tries(&self, token: Token, taken: u64) -> Option<u16> {
        if let Some(waiting) = self.queue.as_ref().and_then(|queue| queue.get(token)) {
            return Some(waiting.tries);
        }
        // A message that is still to be sent again has the largest offset, so that it does not count for this
        // connection.
        let (_, flow) = self.outbound.find(token)?;
        Some(flow.tries.saturating_add(u16::from(flow.starts_at < taken)))
    }

    /// Sets the mark of the message that was published last, with this token, if the message is stored: see
    /// [`Waiting::mark`]. Its shared payload counts in this account.
    pub(crate) fn label_last(&mut self, token: Token, mark: u32, account: Option<&Arc<PayloadAccount>>) {
        let (own_mark, stored) = if let Some(flow) = self.outbound.last_message(token) {
            (&mut flow.mark, &mut flow.stored)
        } else if let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.last_message(token)) {
            (&mut waiting.mark, &mut waiting.stored)
        } else {
            return; // of QoS 0, and sent at once
        };
        *own_mark = mark;
        if let Some(account) = account {
            stored.count_in(account);
        }
    }

    /// Converts the stored packets to another version, without the properties if that version has none.
    pub(crate) fn convert(&mut self, old: Version, new: Version) {
        let queued = self.queue.iter_mut().flat_map(|queue| queue.stored_mut());
        let mut bytes: usize = 0;
        for stored in self.outbound.stored_mut().chain(queued) {
            stored.convert(old, new);
            bytes = bytes.saturating_add(stored.len());
        }
        self.budget.set_bytes(bytes);
    }

    /// Frees the queue if it is empty.
    pub(crate) fn drop_empty_queue(&mut self) {
        if !self.has_queued() {
            self.queue = None;
        }
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.outbound.shrink();
        self.drop_empty_queue();
        if let Some(queue) = &mut self.queue {
            queue.shrink();
        }
    }

    /// Panics if the parts contradict each other.
    pub(crate) fn assert_consistent(&self) {
        assert!(self.queue.as_ref().is_none_or(|queue| queue.is_consistent()), "the queue is not in order");
        assert!(self.outbound.is_consistent(), "the lists of operations in flight do not agree with the table");
        let queued = self.queue.as_ref().map_or(0, |queue| queue.len());
        let stored = self.outbound.count_unreported().saturating_add(queued);
        assert_eq!(self.budget.count() as usize, stored, "the budget counts all queued and in-flight operations");
    }
}
