//! The engine: the deliveries of a session in both directions, and the link that carries them.

mod receiving;

use alloc::vec::Vec;
use core::num::NonZeroU8;

use bytes::Bytes;

use super::backlog::Backlog;
use super::command_error::{AuthenticateError, DisconnectError, NotQueued, PublishError, SubscribeError, UnknownToken};
use super::deliveries::Deliveries;
use super::deliveries::inbound::AckHandle;
use super::deliveries::outbound::HELD;
use super::deliveries::queue::Waiting;
use super::deliveries::stage::Stage;
use super::effects::Effects;
use super::endpoint::Peer;
use super::error::ProtocolError;
use super::limits::ConnectionLimits;
use super::link::held::{HeldPacket, WaitsFor};
use super::link::transmit::Transmit;
use super::link::{Link, Sent};
use super::message::Message;
use super::message_ref::MessageRef;
use super::operation::Operation;
use super::outcome::{AbandonReason, Done};
use super::release::Release;
use super::request::Request;
use super::store::durable::Durable;
use super::store::payload::PayloadAccount;
use super::store::stored::Stored;
use super::token::Token;
use super::will::Will;
use crate::codec::{
    AuthReasonCode, Delivery, Disconnect, EncodeError, Packet, PacketId, PacketType, QoS, ReasonCode, Version,
};
use crate::store::Batch;
use crate::sync::Arc;
use crate::time::Instant;

/// The deliveries of a session, and its connection, if there is one. Sessions of clients and servers contain an engine;
/// the behaviour of one endpoint only is implemented there, and the differences that the engine depends on are a
/// [`Peer`].
///
/// The engine does not know whether there is a connection: that is the state of the endpoint, and a part of the
/// [`ConnectionLimits`].
#[derive(Clone)]
pub(crate) struct Engine {
    now: Instant,
    link: Link,
    effects: Effects,
    deliveries: Deliveries,
}

/// The decision about a new message, from [`Engine::admission`].
pub(crate) enum Admission {
    /// The message can be sent at once.
    Send,
    /// The message is queued: there is no connection, the maximum number of messages in flight is reached, the output
    /// is full, or other packets are to be sent before the message.
    Wait,
    /// The message can be neither sent nor queued.
    Refuse(PublishError),
}

impl Engine {
    pub(crate) fn new(version: Version, durable: Option<Durable>) -> Self {
        Self {
            now: Instant::EPOCH,
            link: Link::new(version),
            effects: Effects::new(durable),
            deliveries: Deliveries::new(),
        }
    }

    /// Creates the engine of a session that was restored at the time `now` of the session.
    pub(crate) fn restored(version: Version, now: Instant, durable: Durable, deliveries: Deliveries) -> Self {
        Self { now, deliveries, ..Self::new(version, Some(durable)) }
    }

    /// Sets the current time, which never goes back, and drops expired messages from the queue.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.advance_in_steps(now, u32::MAX);
    }

    /// As [`advance`](Self::advance), but drops no more than this many messages.
    #[inline]
    pub(crate) fn advance_in_steps(&mut self, now: Instant, most: u32) {
        let now = match self.effects.durable_mut() {
            None => now,
            Some(durable) => durable.begin_step(self.now, now),
        };
        self.now = now.max(self.now);
        if self.deliveries.has_queue() {
            self.deliveries.drop_expired(self.now, most, &mut self.effects);
        }
    }

    /// Returns the time of the session at this time of the caller, without setting it.
    pub(crate) fn at(&self, now: Instant) -> Instant {
        self.effects.durable().map_or(now, |durable| durable.inside(now)).max(self.now)
    }

    /// Returns the time of the caller at this time of the session.
    #[inline]
    pub(crate) fn outside(&self, at: Instant) -> Instant {
        self.effects.durable().map_or(at, |durable| durable.outside(at))
    }

    #[inline]
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    #[inline]
    pub(crate) const fn version(&self) -> Version {
        self.link.version()
    }

    /// Returns the tables of messages and requests.
    #[inline]
    pub(crate) const fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    /// Returns the bytes that have been taken from the output since the last call; `None` if there are none.
    #[inline]
    pub(crate) fn note_sent(&mut self, answer_limit: u32) -> Option<Sent> {
        let sent = self.link.note_sent(answer_limit);
        if sent.is_some() {
            let held = self.effects.durable().map_or(0, |durable| durable.held().completing());
            self.deliveries.inbound_mut().sent(held);
        }
        sent
    }

    /// Returns the number of bytes that are in the output or were taken after the last [`note_sent`](Self::note_sent).
    pub(crate) fn ahead(&self) -> u64 {
        self.link.ahead()
    }

    /// Returns whether bytes have been taken from the output since the last [`note_sent`](Self::note_sent).
    #[inline]
    pub(crate) const fn has_unnoted(&self) -> bool {
        self.link.has_unnoted()
    }

    /// Returns the output.
    #[inline]
    pub(crate) const fn transmit(&mut self) -> &mut Transmit {
        self.link.transmit()
    }

    /// Returns the output, to be looked at.
    #[inline]
    pub(crate) const fn output(&self) -> &Transmit {
        self.link.output()
    }

    /// Removes and returns the output. The bytes in it count as taken.
    pub(crate) fn hand_over_output(&mut self) -> Transmit {
        self.link.hand_over()
    }

    /// Returns the size in bytes on the heap of the output and of the table of messages in flight.
    #[inline]
    pub(crate) fn buffers(&self) -> usize {
        let in_flight = self.deliveries.outbound();
        self.link.output().capacity().wrapping_add(in_flight.heap()).wrapping_add(self.numbers(in_flight.len()))
    }

    /// Returns the size in bytes on the heap of the numbers that so many messages have in a store that sessions share.
    #[inline]
    fn numbers(&self, messages: usize) -> usize {
        match self.effects.durable() {
            Some(durable) if durable.has_numbered_messages() => messages.saturating_mul(Stored::RARE),
            _ => 0,
        }
    }

    /// Returns whether something else is on the heap.
    #[inline]
    pub(crate) const fn has_more_heap(&self) -> bool {
        self.has_rare_heap() | self.effects.report().has_outcome()
    }

    /// As [`has_more_heap`](Self::has_more_heap), of an engine that has no outcome to report.
    #[inline]
    pub(crate) const fn has_rare_heap(&self) -> bool {
        self.link.has_aliases()
            | self.deliveries.has_more_heap()
            | self.effects.report().has_in_output()
            | self.effects.has_held()
    }

    /// Returns the size in bytes of what a durable session has on the heap beyond others.
    pub(crate) fn durable_heap(&self) -> usize {
        self.effects.durable().map_or(0, Durable::heap)
    }

    /// Returns the size in bytes of what else is on the heap, without the packets that are stored, and what only a
    /// durable session has.
    pub(crate) fn more_heap(&self) -> usize {
        let queued = self.numbers(self.deliveries.not_sent());
        let parts = [self.deliveries.more_heap(), queued, self.effects.report().heap()];
        parts.into_iter().fold(self.link.aliases(), usize::saturating_add)
    }

    /// Returns the size of the topic aliases in bytes.
    pub(crate) fn aliases(&self) -> usize {
        self.link.aliases()
    }

    /// Returns whether there is an outcome to report that no packet has caused.
    #[inline]
    pub(crate) fn has_report(&self) -> bool {
        self.effects.report().has_next(self.link.taken())
    }

    /// Returns whether there is such an outcome, messages in the output not considered.
    #[inline]
    pub(super) const fn has_outcome(&self) -> bool {
        self.effects.report().has_outcome()
    }

    /// Returns the next outcome that no packet has caused.
    #[inline]
    pub(crate) fn next_report<'a, A: From<Done<'a>>>(&mut self) -> Option<A> {
        self.effects.report_mut().next()
    }

    /// Returns what a durable session has beyond others.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn durable(&self) -> Option<&Durable> {
        self.effects.durable()
    }

    /// Returns what a durable session has beyond others.
    #[inline]
    pub(crate) fn durable_mut(&mut self) -> Option<&mut Durable> {
        self.effects.durable_mut()
    }

    /// Makes the session durable, or no longer durable.
    pub(crate) fn set_durable(&mut self, durable: Option<Durable>) {
        self.effects.set_durable(durable);
    }

    /// Replaces the deliveries, which were restored.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn set_deliveries(&mut self, deliveries: Deliveries) {
        self.deliveries = deliveries;
    }

    /// Sets whether the changes of a durable session are stored. Returns whether that begins; the deliveries are stored
    /// then.
    pub(crate) fn set_stored(&mut self, is_stored: bool) -> bool {
        self.effects.durable_mut().is_some_and(|durable| durable.set_stored(is_stored, &self.deliveries))
    }

    /// Assigns the token of something that is stored and is not a message to the peer.
    pub(crate) fn take_token(&mut self) -> Token {
        self.deliveries.take_token()
    }

    /// Returns the next batch to store; `None` if nothing has changed, or if the session is not durable.
    pub(crate) fn changes(&mut self) -> Option<Batch> {
        let next_token = self.deliveries.next_token();
        self.effects.durable_mut()?.changes(self.now, next_token)
    }

    /// Returns a batch with the present state; `None` if the session is not durable.
    pub(crate) fn snapshot<'w>(&mut self, wills: impl Iterator<Item = &'w Will>) -> Option<Batch> {
        self.effects.durable_mut()?.snapshot(self.now, &self.deliveries, wills)
    }

    /// Notes that the batches up to this number are stored, and sends what has waited for them. Returns whether input
    /// was left that is taken from now on.
    pub(crate) fn committed(&mut self, limits: &ConnectionLimits, number: u64) -> bool {
        if let Some(durable) = self.effects.durable_mut() {
            durable.committed(number);
        }
        self.release(limits)
    }

    /// Sends what has waited for batches that are committed now. Returns whether the peer's silence until now does not count:
    /// input was left that is taken from now on, or CONNACK was not sent.
    pub(crate) fn release(&mut self, limits: &ConnectionLimits) -> bool {
        let Some(durable) = self.effects.durable_mut() else { return false };
        let is_connack = durable.release_connack();
        if is_connack {
            self.link.hold(false);
        }
        if limits.is_open {
            let Self { now, link, effects, deliveries } = self;
            Release { now: *now, link, deliveries, effects, max_packet_size: limits.max_packet_size }.send();
        }
        is_connack || self.link.has_left_input()
    }

    /// Returns the operations that have no outcome: those in flight, then the queued ones.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let version = self.version();
        let in_flight = self
            .deliveries
            .outbound()
            .unreported()
            .filter_map(move |flow| Operation::in_flight(flow.token, flow.stage, &flow.stored, version));
        let queued = self
            .deliveries
            .queued_packets()
            .map(move |waiting| Operation::queued(waiting.token, waiting.kind, &waiting.stored, version));
        in_flight.chain(queued)
    }

    /// Returns whether input was left because too many answers wait, or too many changes are not committed.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn has_left_input(&self) -> bool {
        self.link.has_left_input()
    }

    /// Returns whether input is left because changes are not committed.
    #[inline]
    pub(crate) fn is_stalled(&self, limits: impl FnOnce() -> ConnectionLimits) -> bool {
        self.effects.durable().is_some() && self.is_stalled_if_durable(limits)
    }

    // Out of line, so that sessions that are not durable do not pay for it.
    #[cold]
    #[inline(never)]
    fn is_stalled_if_durable(&self, limits: impl FnOnce() -> ConnectionLimits) -> bool {
        self.effects.durable().is_some_and(|durable| durable.is_waiting())
            && self.link.has_left_input()
            && !self.has_room_for_answers(&limits())
    }

    /// Returns whether the engine can proceed without input.
    #[inline]
    pub(crate) fn is_due(&self, limits: impl FnOnce() -> ConnectionLimits) -> bool {
        self.has_report()
            || ((self.link.has_left_input() || self.deliveries.has_backlog()) && {
                let limits = limits();
                (limits.is_open && self.link.has_left_input() && self.has_room_for_answers(&limits))
                    || self.can_send_more(&limits)
            })
    }

    /// Returns whether input is taken: not while too many answers are in the output or wait to be put into it, and not
    /// while input was left because too many changes are not committed.
    #[inline]
    pub(crate) fn has_room_for_answers(&self, limits: &ConnectionLimits) -> bool {
        self.link.has_room_for_answers(limits)
            && match self.effects.durable() {
                None => true,
                Some(durable) => durable.takes_input(limits.answer_limit, self.link.has_left_input()),
            }
    }

    /// Returns whether input has arrived since the last call.
    #[inline]
    pub(crate) const fn take_has_input(&mut self) -> bool {
        self.link.take_has_input()
    }

    /// Begins to exchange messages on a connection.
    ///
    /// PUBREL is sent again for the messages that wait for PUBCOMP, since the session is resumed \[MQTT-4.4.0-1\].
    /// Messages without PUBACK or PUBREC are sent again later, as the maximum number of messages in flight allows.
    pub(crate) fn open(&mut self, max_aliases: u16) {
        self.link.open(max_aliases);
        for id in self.deliveries.outbound().released() {
            if !self.effects.holds(WaitsFor::Changes, || HeldPacket::PubRelAgain(id)) {
                self.link.put_pubrel_again(id);
            }
        }
    }

    /// Begins to exchange messages on a connection whose output an acceptor has begun.
    pub(crate) fn open_with(&mut self, transmit: Transmit, max_aliases: u16) {
        self.link.set_output(transmit);
        if self.effects.durable_mut().is_some_and(|durable| durable.hold_connack()) {
            self.link.hold(true);
        }
        self.open(max_aliases);
    }

    /// Closes the connection. Messages of which no byte has been taken, and requests, are queued again for the next
    /// connection; the other messages in flight are to be sent again.
    ///
    /// A request that was sent on `max_request_tries` connections without an answer is given up.
    pub(crate) fn close(&mut self, max_request_tries: Option<NonZeroU8>) {
        let taken = self.link.taken();
        self.effects.report_mut().disconnected(taken);
        self.deliveries.rewind(taken, max_request_tries, &mut self.effects);
        if let Some(durable) = self.effects.durable_mut() {
            durable.close();
        }
        self.link.close();
    }

    /// Gives up every message in flight and frees its packet identifier, because the session ended \[MQTT-3.2.2-5\].
    pub(crate) fn forget_in_flight(&mut self) {
        self.deliveries.forget_in_flight(&mut self.effects);
    }

    /// Gives up all queued messages and requests, because the session ended.
    pub(crate) fn forget_queued(&mut self) {
        self.deliveries.forget_queued(&mut self.effects);
    }

    /// Gives up the queued messages of QoS 0, which do not wait for another connection.
    pub(crate) fn drop_unacknowledged(&mut self) {
        self.deliveries.drop_unacknowledged(&mut self.effects);
    }

    /// Takes the next message out of a session that has ended; see [`Deliveries::take_apart`].
    pub(crate) fn take_apart(&mut self) -> Option<Option<Waiting>> {
        self.deliveries.take_apart(&mut self.effects)
    }

    /// Removes and returns the oldest queued packet, which is not sent to a peer.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn take_queued(&mut self) -> Option<Waiting> {
        self.deliveries.take_queued()
    }

    /// Gives up a message that was [taken out](Self::take_queued) of the queue, because it has expired.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn expired(&mut self, waiting: &Waiting) {
        self.effects.abandoned(waiting.token, AbandonReason::Expired);
    }

    /// Accepts ownership of a message that is acknowledged later; see [`Inbound::accept`]. Returns its packet identifier
    /// if it has QoS 2.
    pub(crate) fn promise_ack(&mut self, ack_handle: AckHandle) -> Option<PacketId> {
        let owed = self.deliveries.inbound().owed(ack_handle).ok();
        self.deliveries.inbound_mut().accept(ack_handle);
        owed.filter(|&(_, qos)| qos == QoS::ExactlyOnce).map(|(id, _)| id)
    }

    /// Stores that ownership of a message of QoS 2 was accepted, if the message was not released since.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn store_received(&mut self, id: PacketId) {
        if let Some(durable) = self.effects.durable_mut()
            && self.deliveries.inbound().has(id)
        {
            durable.received(id);
        }
    }

    /// Sets the mark of the message that was published last; see [`Deliveries::label_last`].
    pub(crate) fn label_last(&mut self, token: Token, mark: u32, account: Option<&Arc<PayloadAccount>>) {
        self.deliveries.label_last(token, mark, account);
    }

    /// Changes the protocol version of the session. The stored packets are converted, without the properties if the new
    /// version has none.
    pub(crate) fn change_version(&mut self, version: Version) {
        let old = self.link.set_version(version);
        if old != version {
            self.deliveries.convert(old, version);
        }
        if let Some(durable) = self.effects.durable_mut() {
            durable.set_version(version);
        }
    }

    /// Releases unused memory.
    pub(crate) fn shrink(&mut self) {
        self.link.shrink();
        self.deliveries.shrink();
        self.effects.report_mut().shrink();
        if let Some(durable) = self.effects.durable_mut() {
            durable.shrink();
        }
    }

    /// Publishes a message, at once if possible.
    #[inline]
    pub(crate) fn publish(&mut self, peer: &mut impl Peer, message: &Message<'_>) -> Result<Token, PublishError> {
        let message = message.checked()?;
        let limits = peer.limits();
        if limits.is_open {
            // The limits of the peer are valid for this connection only: the next connection may support the message.
            peer.supports(message.qos, message.retain)?;
        }
        let expires_after = message.properties.message_expiry_interval.unwrap_or(u32::MAX);
        self.publish_checked(&limits, &message, message.large(), expires_after)
    }

    /// Publishes a checked message. `large` replaces the payload of the message. The message expires after
    /// `expires_after` seconds, even if the version has no Message Expiry Interval; `u32::MAX` means never.
    #[inline]
    pub(crate) fn publish_checked(
        &mut self,
        limits: &ConnectionLimits,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        match self.admission(limits, message.qos) {
            Admission::Send if message.qos == QoS::AtMostOnce => self.send_unacknowledged(limits, message, large),
            Admission::Send => self.send_acknowledged(limits, message, large, expires_after),
            Admission::Wait => self.enqueue_message(*limits, message, large, expires_after),
            Admission::Refuse(why) => Err(why),
        }
    }

    /// Returns whether a message of this QoS can be sent at once, is queued or is refused.
    #[inline]
    pub(crate) fn admission(&self, limits: &ConnectionLimits, qos: QoS) -> Admission {
        if !limits.is_open {
            let waits = qos != QoS::AtMostOnce || limits.queues_qos_0;
            return if waits { Admission::Wait } else { Admission::Refuse(PublishError::NotConnected) };
        }
        if self.link.has_room(limits, &self.effects) && self.deliveries.is_next(limits, qos) {
            Admission::Send
        } else {
            Admission::Wait
        }
    }

    /// Returns whether a new message of this QoS, and of this size as it is stored, would be sent before anything else
    /// and without dropping another message. Nothing is queued then.
    #[inline]
    pub(crate) fn sends_at_once(&self, limits: &ConnectionLimits, qos: QoS, size: usize) -> bool {
        !self.deliveries.has_queued()
            && matches!(self.admission(limits, qos), Admission::Send)
            && (qos == QoS::AtMostOnce || self.deliveries.budget().fits(limits.budget, size, (0, 0)))
    }

    /// Returns whether there is a connection on which all messages, and one more of QoS 1 or 2, can be in flight. Such a
    /// message waits only until the output has room, so this says more about the peer than [`admission`](Self::admission).
    pub(crate) fn has_open_window(&self, limits: &ConnectionLimits) -> bool {
        limits.is_open && self.deliveries.budget().count() < u32::from(limits.max_in_flight)
    }

    #[inline]
    fn send_unacknowledged(
        &mut self,
        limits: &ConnectionLimits,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
    ) -> Result<Token, PublishError> {
        let limit = limits.max_packet_size;
        if !self.link.put_message(message, Delivery::AtMostOnce, large, limit)? {
            return Err(PublishError::TooLarge { limit });
        }
        let token = self.deliveries.take_token();
        self.effects.report_mut().push_in_output(token, self.link.end());
        Ok(token)
    }

    #[inline]
    fn send_acknowledged(
        &mut self,
        limits: &ConnectionLimits,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        let Some(id) = self.deliveries.next_id() else {
            return self.enqueue_message(*limits, message, large, expires_after);
        };
        let starts_at = self.link.end();
        let stores = self.effects.stores();
        let is_simple =
            self.link.sends_full_topics() && large.is_none() && (!stores || self.can_be_sent_and_stored(message));
        if let (true, Some(room)) = (is_simple, self.deliveries.room(limits.budget)) {
            // The stored packet is the same as the sent one.
            let delivery = Delivery::new(message.qos, id, false);
            if let Some(packet) = self.link.put_small(message, delivery, room.min(limits.max_packet_size))? {
                let token = self.deliveries.begin_small(delivery.qos(), self.now, expires_after, starts_at, packet);
                if stores {
                    self.deliveries.store_new(id, &mut self.effects);
                }
                return Ok(token);
            }
        }
        self.send_and_store(*limits, message, id, large, expires_after)
    }

    /// Returns whether a message of a session that is stored does not wait for a batch, and can be stored in the form of 5.0.
    #[cold]
    #[inline(never)]
    fn can_be_sent_and_stored(&self, message: &MessageRef<'_>) -> bool {
        !self.effects.new_message_waits(message.qos)
            && (self.version() == Version::V5 || Stored::message_len(message, None, Version::V5).is_ok())
    }

    /// Sends a message whose stored packet differs from the sent one, or for which there may be no room.
    // The limits are passed by value to functions that are not inlined, so that the caller need not have them in memory.
    #[inline(never)]
    fn send_and_store(
        &mut self,
        limits: ConnectionLimits,
        message: &MessageRef<'_>,
        id: PacketId,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        self.check_message(&limits, message, large)?;
        let (stored, limit) = (Stored::message(message, large, self.version())?, limits.max_packet_size);
        self.deliveries.make_room(&limits, stored.len(), &mut self.effects);
        let (now, size) = (self.now, stored.len() as u32);
        if self.effects.new_message_waits(message.qos) {
            let token = self.deliveries.begin(message.qos, now, expires_after, HELD, stored, &mut self.effects);
            let number = self.deliveries.outbound().get(id).map_or(0, |flow| flow.stored.in_store().number);
            self.effects.hold_message(message.qos, number, HeldPacket::Publish { id, token, size });
            return Ok(token);
        }
        let starts_at = self.link.end();
        if !self.link.put_message(message, Delivery::new(message.qos, id, false), large, limit)? {
            return Err(PublishError::TooLarge { limit });
        }
        Ok(self.deliveries.begin(message.qos, now, expires_after, starts_at, stored, &mut self.effects))
    }

    /// Queues a message until it can be sent.
    #[inline(never)]
    fn enqueue_message(
        &mut self,
        limits: ConnectionLimits,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
        expires_after: u32,
    ) -> Result<Token, PublishError> {
        self.check_message(&limits, message, large)?;
        let stored = Stored::message(message, large, self.version())?;
        Ok(self.deliveries.enqueue(&limits, message.qos, self.now, expires_after, stored, &mut self.effects))
    }

    /// Checks that a message can be encoded, is not too large for the peer, and can be stored.
    fn check_message(
        &self,
        limits: &ConnectionLimits,
        message: &MessageRef<'_>,
        large: Option<&Bytes>,
    ) -> Result<(), PublishError> {
        if self.effects.stores() && self.version() != Version::V5 {
            Stored::message_len(message, large, Version::V5)?; // the form in which it is stored
        }
        let size = Stored::message_len(message, large, self.version())?;
        Self::check_size(limits, size)?;
        Ok(self.deliveries.check_room(limits, size)?)
    }

    /// Checks that a packet of this size is not too large for the peer.
    ///
    /// The Maximum Packet Size of the peer is known for an open connection only. The next connection may have another
    /// limit, so that of the protocol applies until then. A stored packet that is too large for the next connection is
    /// dropped then \[MQTT-3.1.2-24, MQTT-3.1.2-25\].
    const fn check_size(limits: &ConnectionLimits, size: usize) -> Result<(), NotQueued> {
        let limit = limits.max_packet_size;
        if size > limit as usize { Err(NotQueued::TooLarge { limit }) } else { Ok(()) }
    }

    /// Sends a request, at once if possible, and before all messages if the connection is open.
    pub(crate) fn request(&mut self, peer: &mut impl Peer, request: &Request<'_>) -> Result<Token, SubscribeError> {
        let limits = peer.limits();
        let stored = Stored::request(request, self.version())?;
        Self::check_size(&limits, stored.len())?;
        let Self { now, link, effects, deliveries } = self;
        // Requests are rare: all go through the queue.
        let token = deliveries.enqueue_request(&limits, request.kind(), *now, stored, effects)?;
        // The next call of `poll` sends queued messages, so that all requests made until then are sent before them.
        Backlog::new(*now, link, deliveries, effects, &limits).send_first_requests(peer);
        Ok(token)
    }

    /// Returns whether a queued packet can be sent, or a message can be sent again.
    #[inline]
    pub(crate) fn can_send_more(&self, limits: &ConnectionLimits) -> bool {
        limits.is_open
            && self.deliveries.has_backlog()
            && self.link.has_room(limits, &self.effects)
            && self.deliveries.has_next(self.deliveries.next_source(limits))
    }

    /// Sends as many packets as possible: first the messages to be sent again, then the queue in order. Stops when `most`
    /// units are sent, and returns how many were, see [`Backlog::send`].
    #[cold]
    pub(crate) fn send_more(&mut self, peer: &mut impl Peer, limits: &ConnectionLimits, most: u32) -> u64 {
        let Self { now, link, effects, deliveries } = self;
        Backlog::new(*now, link, deliveries, effects, limits).send(peer, most)
    }

    /// Gives up the operation with this token.
    pub(crate) fn withdraw(&mut self, token: Token) -> Result<(), UnknownToken> {
        self.deliveries.withdraw(token, &mut self.effects)
    }

    /// Returns the number of connections on which the packet of an operation has been sent at least in part; `None` if
    /// the outcome of the operation is known, or the token is unknown.
    pub(crate) fn tries(&self, token: Token) -> Option<u16> {
        let tries = self.deliveries.tries(token, self.link.taken());
        tries.or_else(|| self.effects.report().is_in_output(token).then_some(1))
    }

    /// Completes the request that SUBACK or UNSUBACK answers, with `reason_codes` reason codes; `None` before 5.0 for
    /// UNSUBACK, which has none. Returns the token of the request, unless its outcome was reported before.
    pub(crate) fn finish_request(
        &mut self,
        id: PacketId,
        answer: PacketType,
        reason_codes: Option<usize>,
    ) -> Result<Option<Token>, ProtocolError> {
        let expected = match (self.deliveries.outbound().stage(id), answer) {
            (None, _) => return Ok(None),
            (Some(Stage::SubAck(filters)), PacketType::SubAck)
            | (Some(Stage::UnsubAck(filters)), PacketType::UnsubAck) => filters as usize,
            (Some(_), _) => return Err(self.mismatched(id, answer)),
        };
        if reason_codes.is_some_and(|count| count != expected) {
            self.mismatched(id, answer);
            return Err(ProtocolError::WrongReasonCodeCount(answer));
        }
        Ok(self.deliveries.finish_request(id))
    }

    /// Puts PINGREQ into the output.
    pub(crate) fn put_pingreq(&mut self) {
        self.link.put_pingreq();
    }

    /// Answers PINGREQ with PINGRESP.
    #[inline]
    pub(crate) fn put_pingresp(&mut self) {
        self.link.put_pingresp();
    }

    /// Puts a packet into the output.
    pub(crate) fn put_packet(&mut self, packet: &Packet<'_>) -> Result<(), EncodeError> {
        self.link.put_packet(packet, u32::MAX).map(drop)
    }

    /// Puts an answer to a request into the output, unless it is larger than `max` bytes; returns whether it fits. The
    /// answer waits for what the application stores before it.
    pub(crate) fn put_answer(&mut self, packet: &Packet<'_>, max: u32) -> Result<bool, EncodeError> {
        if self.effects.holds_packets() {
            let mut encoded = Vec::new();
            let fits = packet.encode(self.version(), &mut encoded)? <= max as usize;
            let held = || HeldPacket::Request(encoded[..].into());
            if fits && !self.effects.holds(WaitsFor::Batch, held) {
                self.link.append_ack(&encoded);
            }
            return Ok(fits);
        }
        self.link.put_answer(packet, max)
    }

    /// Puts a DISCONNECT with this reason code into the output, in 5.0 \[MQTT-4.13.1-1\].
    pub(crate) fn put_disconnect_code(&mut self, code: ReasonCode, max: u32) {
        self.link.put_disconnect_code(code, max);
    }

    /// Puts DISCONNECT into the output, without properties that would make it too large.
    pub(crate) fn put_disconnect(&mut self, disconnect: &Disconnect<'_>, limit: u32) -> Result<(), DisconnectError> {
        self.link.put_disconnect(disconnect, limit)
    }

    /// Puts an AUTH, a step of an enhanced authentication, into the output.
    pub(crate) fn put_auth(
        &mut self,
        method: &str,
        reason_code: AuthReasonCode,
        data: &[u8],
        limit: u32,
    ) -> Result<(), AuthenticateError> {
        self.link.put_auth(method, reason_code, data, limit)
    }

    /// Returns whether an encoded PUBLISH of QoS 0, with its full topic, can be appended to the output unchanged.
    #[inline]
    pub(crate) fn takes_encoded(&self, limits: &ConnectionLimits) -> bool {
        self.link.sends_full_topics() && self.sends_at_once(limits, QoS::AtMostOnce, 0)
    }

    /// Appends an encoded PUBLISH of QoS 0. It has no token and no outcome. Returns whether the buffer of the output has grown.
    #[inline]
    pub(crate) fn append_encoded(&mut self, packet: &[u8]) -> bool {
        self.link.append(packet)
    }

    /// Panics if the parts of the session contradict each other.
    pub(crate) fn assert_consistent(&self) {
        self.deliveries.assert_consistent();
    }
}
