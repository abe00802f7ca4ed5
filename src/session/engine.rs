//! The deliveries of a session, in both directions, and the connection that they run over.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU8;

use bytes::Buf;

use super::deliveries::budget::{Budget, BudgetLimits};
use super::deliveries::inbound::Inbound;
use super::deliveries::outbound::{Flow, Outbound, Stage};
use super::deliveries::queue::{Kind, Overflow, Queue, Waiting};
use super::error::{CommandError, ProtocolError};
use super::link::alias::{InboundAliases, OutboundAliases};
use super::link::transmit::Transmit;
use super::message::{PayloadPart, ReceivedMessage};
use super::outcome::{AbandonReason, Done};
use super::parts::Partial;
use super::report::Report;
use super::store::journal::{Journal, Record};
use super::store::payload::PayloadAccount;
use super::token::Token;
use crate::codec::{self, DecodeError, Decoded, Limits, MAX_PACKET_SIZE, Packet, PubRel, Publish, QoS, Version};
use crate::time::Instant;

/// The deliveries of a session, and the connection that they run over, if there is one. Both ends are made of it: what
/// only one of them has to do is theirs, and what differs between them is a [`Side`].
// What every step looks at comes first.
#[repr(C)]
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) now: Instant,
    pub(super) report: Report,
    pub(crate) version: Version,
    pub(crate) phase: Phase,
    /// Something was received since this was last looked at.
    pub(crate) heard: bool,
    /// How many bytes of an unfinished packet were there. With [`INPUT_LEFT`] it is what was left because too much waits to
    /// be written.
    unfinished: u32,
    /// How many bytes of `transmit` had been taken when that was last looked at.
    seen_taken: u64,
    pub(crate) transmit: Transmit,
    /// Use [`has_queued`](Self::has_queued) to ask whether something is in it: there may be an empty one.
    pub(super) queue: Option<Box<Queue>>,
    pub(super) next_token: Token,
    pub(crate) budget: Budget,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    pub(super) inbound_aliases: Option<Box<InboundAliases>>,
    pub(crate) outbound_aliases: Option<Box<OutboundAliases>>,
    pub(crate) journal: Option<Box<Journal>>,
    /// The message that is being delivered in parts.
    pub(super) partial: Option<Box<Partial>>,
}

/// More than a packet can have.
const INPUT_LEFT: u32 = 1 << 31;

/// What has become of the connection of a session. It is held here alone: client and server ask the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no connection.
    Closed,
    /// There is no connection, and the session has expired. Only sessions of a server expire.
    Expired,
    /// CONNECT and CONNACK are being exchanged. Only sessions of a client are in this phase: a server has an acceptor for it.
    Opening,
    /// Messages can be exchanged.
    Open,
    /// DISCONNECT is in the output; the action that says that the connection is over is still due.
    Closing,
    /// The connection is over: the caller is to close the transport.
    Over,
}

impl Phase {
    /// Whether packets of the peer are taken.
    #[inline]
    pub(crate) const fn takes_input(self) -> bool {
        matches!(self, Self::Opening | Self::Open)
    }

    /// Whether there is no connection.
    #[inline]
    pub(crate) const fn is_closed(self) -> bool {
        matches!(self, Self::Closed | Self::Expired)
    }
}

/// Bytes that have left.
pub(crate) struct Left {
    pub(crate) count: u64,
    /// Whether input was not being taken before.
    pub(crate) was_held: bool,
}

/// What both ends have to know at every step: from the configuration, and from what the other end has announced.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    pub(crate) receive_maximum: u16,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) manual_acks: bool,
    pub(crate) deliver_in_parts: u32,
    pub(crate) max_in_flight: u16,
    pub(crate) max_packet_size: u32,
    pub(crate) budget: BudgetLimits,
    pub(crate) overflow: Overflow,
    /// Whether PUBACK ends the delivery of a message of QoS 2.
    pub(crate) puback_ends_qos_2: bool,
    /// Whether messages of QoS 0 wait for a connection.
    pub(crate) keeps_qos_0: bool,
    pub(crate) transmit_limit: u32,
    pub(crate) answer_limit: u32,
}

/// What differs between the ends.
pub(crate) trait Side {
    fn rules(&self) -> Rules;

    /// Whether the other end may send such a message.
    fn admits(&self, _qos: QoS, _retain: bool) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// Whether the other end may send a message with these subscription identifiers.
    fn admits_identifiers(&self, _publish: &Publish<'_>) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// Whether the other end takes such a message.
    fn takes(&self, qos: QoS, retain: bool) -> Result<(), CommandError>;

    /// Whether the other end takes such a request, which is about to be sent.
    fn takes_request(&mut self, packet: &Packet<'_>) -> Result<(), CommandError>;
}

/// What an action of either end can be made from.
pub(crate) trait SessionAction<'a>: From<ReceivedMessage<'a>> + From<PayloadPart<'a>> + From<Done<'a>> {}

impl<'a, A: From<ReceivedMessage<'a>> + From<PayloadPart<'a>> + From<Done<'a>>> SessionAction<'a> for A {}

/// Why the engine does not go on with the input.
pub(crate) enum Stop {
    /// It begins with something that is not about deliveries, or the connection is not open yet.
    NotMine,
    Malformed(DecodeError),
    ProtocolError(ProtocolError),
}

/// An end of a connection: an engine, and what only this end does.
pub(crate) trait End {
    type Side<'s>: Side
    where
        Self: 's;
    type Action<'a>: SessionAction<'a>;

    fn split(&mut self) -> (&mut Engine, Self::Side<'_>);

    /// Takes a packet that is not about deliveries, or that comes before messages can be exchanged.
    fn receive_other<'a>(&mut self, packet: Packet<'a>) -> Option<Self::Action<'a>>;

    /// Ends the connection, because of what has been received.
    fn fail<'a>(&mut self, stop: Stop) -> Self::Action<'a>;

    /// Takes packets out of the input until there is something to tell.
    #[inline(always)]
    fn receive_all<'a>(&mut self, input: &mut &'a [u8]) -> Option<Self::Action<'a>> {
        loop {
            let (engine, mut side) = self.split();
            let rules = side.rules();
            if engine.can_send_more(&rules) {
                engine.send_more(&mut side, &rules);
            }
            if engine.report.has_outcome() {
                return engine.report.next();
            }
            if !engine.takes_input(&rules, input) {
                return None;
            }
            if engine.phase == Phase::Open
                && engine.partial.is_none()
                && let Some((packet, size)) = codec::decode_short(input, engine.version, rules.limits)
            {
                *input = input.get(size..).unwrap_or_default();
                engine.heard = true;
                let mut stop = None;
                // An action is large: it is returned from where it is made, and not moved about.
                if let Some(told) = engine.receive_short(&mut side, &rules, packet, &mut stop) {
                    return Some(told);
                }
                drop(side);
                if let Some(stop) = stop {
                    return Some(self.fail(stop));
                }
            } else {
                drop(side);
                if let Some(end) = self.receive_unusual(input) {
                    return end;
                }
            }
        }
    }

    /// Takes what is not of the usual form; `None` if there is nothing to tell about it and there may be more.
    #[inline(never)]
    fn receive_unusual<'a>(&mut self, input: &mut &'a [u8]) -> Option<Option<Self::Action<'a>>> {
        let (engine, mut side) = self.split();
        let rules = side.rules();
        let (before, mut stop) = (input.len(), None);
        let told = engine.receive_unusual(&mut side, &rules, input, &mut stop);
        let other = if let Some(Stop::NotMine) = stop { engine.decode_other(&rules, input) } else { Ok(None) };
        drop(side);
        match stop {
            Some(Stop::NotMine) => match other {
                Ok(Some(packet)) => self.receive_other(packet).map(Some),
                Ok(None) => Some(None),
                Err(stop) => Some(Some(self.fail(stop))),
            },
            Some(stop) => Some(Some(self.fail(stop))),
            None if told.is_some() || input.len() == before => Some(told),
            None => None,
        }
    }
}

/// It goes no further, because of a protocol error.
#[cold]
pub(super) fn halt<A>(stop: &mut Option<Stop>, protocol_error: ProtocolError) -> Option<A> {
    *stop = Some(Stop::ProtocolError(protocol_error));
    None
}

impl Engine {
    pub(crate) fn new(version: Version, journal: bool) -> Self {
        Self {
            version,
            phase: Phase::Closed,
            heard: false,
            unfinished: 0,
            now: Instant::EPOCH,
            transmit: Transmit::default(),
            seen_taken: 0,
            outbound: Outbound::new(),
            inbound: Inbound::default(),
            queue: None,
            next_token: Token::FIRST,
            budget: Budget::default(),
            report: Report::default(),
            inbound_aliases: None,
            outbound_aliases: None,
            journal: journal.then(|| Box::new(Journal::new(version))),
            partial: None,
        }
    }

    /// Time goes on, never back.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = now.max(self.now);
        if self.queue.is_some() {
            self.drop_expired();
        }
    }

    /// What has been written since this was last asked, if anything.
    #[inline]
    pub(crate) fn note_sent(&mut self, answer_limit: u32) -> Option<Left> {
        let is_held = self.transmit.has_unsent_answers(answer_limit.max(1));
        let (from, taken) = (self.seen_taken, self.transmit.taken());
        if from == taken {
            // As long as nothing leaves, answers do not become fewer.
            self.inbound.is_held |= is_held;
            return None;
        }
        self.seen_taken = taken;
        let was_held = core::mem::replace(&mut self.inbound.is_held, is_held);
        self.inbound.sent();
        Some(Left { count: self.seen_taken.wrapping_sub(from), was_held })
    }

    /// How many bytes of the stream are still to leave, as far as was noticed.
    pub(crate) fn ahead(&self) -> u64 {
        self.transmit.end().wrapping_sub(self.seen_taken)
    }

    /// Whether something has been written that was not noticed yet.
    #[inline]
    pub(crate) const fn has_unnoticed(&self) -> bool {
        self.seen_taken != self.transmit.taken()
    }

    /// What is to be written; nothing as long as there is something to be stored first.
    #[inline]
    pub(crate) fn transmit(&mut self) -> &mut Transmit {
        if let Some(journal) = &self.journal {
            self.transmit.hold(journal.has_remaining());
        }
        &mut self.transmit
    }

    /// Whether there is an outcome to report that has not come from a packet.
    #[inline]
    pub(crate) fn has_report(&self) -> bool {
        self.report.has_next(self.transmit.taken())
    }

    /// The next outcome of those that have not come from a packet.
    pub(crate) fn next_report<'a, A: From<Done<'a>>>(&mut self) -> Option<A> {
        self.report.next()
    }

    /// Puts a record into the journal, if there is one.
    #[inline]
    pub(crate) fn record(&mut self, record: Record<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.write(record);
        }
    }

    /// Whether there is something to do without input.
    pub(crate) fn is_due(&self, rules: &Rules) -> bool {
        self.has_report()
            || (self.unfinished & INPUT_LEFT != 0 && self.has_room_for_answers(rules))
            || self.can_send_more(rules)
    }

    /// Whether messages or requests wait in the queue.
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_empty())
    }

    /// The largest packet that may be sent or stored now. What the peer takes is known of a connection that is open, and
    /// holds for that connection: the next one may have another limit, so until then only the protocol's own counts. What
    /// does not fit into the packets of the next one is dropped then \[MQTT-3.1.2-24, MQTT-3.1.2-25\].
    #[inline]
    pub(super) fn packet_limit(&self, rules: &Rules) -> u32 {
        if self.phase == Phase::Open { rules.max_packet_size } else { MAX_PACKET_SIZE }
    }

    /// Whether this end may put more of its own into the stream.
    #[inline]
    pub(crate) fn has_room(&self, rules: &Rules) -> bool {
        self.transmit.len() < rules.transmit_limit as usize
    }

    /// Whether input is taken: not as long as too many answers wait to be written. That messages of this end wait does not
    /// matter, or both ends could wait for the other one to read.
    #[inline]
    pub(crate) fn has_room_for_answers(&self, rules: &Rules) -> bool {
        !self.transmit.has_unsent_answers(rules.answer_limit)
    }

    /// Whether something can be taken out of the input.
    #[inline(always)]
    fn takes_input(&mut self, rules: &Rules, input: &mut &[u8]) -> bool {
        if input.is_empty() {
            self.unfinished = 0;
            return false;
        }
        if !self.phase.takes_input() {
            *input = &[];
            return false;
        }
        let takes = self.has_room_for_answers(rules);
        if !takes {
            self.inbound.is_held = true;
            let left = input.len() as u32 | INPUT_LEFT;
            // What has come is a sign of life, taken or not.
            self.heard |= left != self.unfinished;
            self.unfinished = left;
        } else if self.unfinished & INPUT_LEFT != 0 {
            self.unfinished = 0;
        }
        takes
    }

    /// Takes more of a message that comes in parts, or a packet about deliveries that is not of the usual form, or not
    /// complete.
    fn receive_unusual<'a, A: SessionAction<'a>>(
        &mut self,
        side: &mut impl Side,
        rules: &Rules,
        input: &mut &'a [u8],
        stop: &mut Option<Stop>,
    ) -> Option<A> {
        if self.partial.is_some() {
            return self.continue_message(rules, input, stop).map(A::from);
        }
        if self.phase != Phase::Open || !is_about_deliveries(input) {
            *stop = Some(Stop::NotMine);
            return None;
        }
        match self.decode_other(rules, input) {
            Ok(Some(packet)) => self.receive(side, rules, packet, stop),
            Ok(None) if rules.deliver_in_parts == u32::MAX => None,
            Ok(None) => self.begin_message(side, rules, input, stop).map(A::from),
            Err(error) => {
                *stop = Some(error);
                None
            }
        }
    }

    /// Takes the packet that the input begins with, if it is complete.
    fn decode_other<'a>(&mut self, rules: &Rules, input: &mut &'a [u8]) -> Result<Option<Packet<'a>>, Stop> {
        match codec::decode(input, self.version, rules.limits).map_err(Stop::Malformed)? {
            Decoded::Packet { packet, size } => {
                *input = input.get(size..).unwrap_or_default();
                self.heard = true;
                Ok(Some(packet))
            }
            Decoded::Incomplete { .. } => {
                let unfinished = input.len() as u32;
                // A large packet that comes slowly is a sign of life too.
                self.heard |= unfinished != self.unfinished;
                self.unfinished = unfinished;
                Ok(None)
            }
        }
    }

    /// A connection begins to exchange messages; no alias stands for anything \[MQTT-3.3.2-7\].
    pub(crate) fn opened(&mut self, max_aliases: u16) {
        self.phase = Phase::Open;
        self.inbound_aliases = None;
        self.outbound_aliases = core::num::NonZeroU16::new(max_aliases).map(|max| OutboundAliases::new(max).into());
        self.transmit.shrink();
    }

    /// The connection goes on with the session: what waits for PUBCOMP is released again \[MQTT-4.4.0-1\]. Messages are
    /// sent again as the window allows.
    pub(crate) fn release_again(&mut self) {
        for id in self.outbound.released() {
            if let Err(error) = self.transmit.encode(u32::MAX, |out| PubRel::new(id).encode(self.version, out)) {
                bug!("PUBREL has nothing that cannot be encoded: {error}");
            }
        }
    }

    /// The connection is gone. What has not left, or is bound to the connection, waits for the next one; the rest is to
    /// be sent again.
    ///
    /// A request that was sent on so many connections without an answer is given up.
    pub(crate) fn closed(&mut self, max_request_tries: Option<NonZeroU8>) {
        let taken = self.transmit.taken();
        self.report.disconnected(taken);
        self.take_back(taken, max_request_tries.map_or(u16::MAX, |tries| tries.get().into()));
        self.outbound.rewind();
        self.transmit.clear();
        self.seen_taken = 0;
        self.unfinished = 0;
        self.heard = false;
        self.inbound.disconnected();
        self.inbound_aliases = None;
        self.outbound_aliases = None;
        self.partial = None;
        self.phase = Phase::Closed;
    }

    /// What has not left, or is bound to the connection, waits for the next one.
    fn take_back(&mut self, taken: u64, max_request_tries: u16) {
        let mut flows = self.outbound.take_requests();
        flows.retain(|flow| !flow.is_reported);
        flows.sort_by_key(|flow| core::cmp::Reverse(flow.token));
        for flow in &mut flows {
            flow.tries = flow.tries.saturating_add(u16::from(flow.starts_at < taken));
        }
        for flow in flows.extract_if(.., |flow| flow.tries >= max_request_tries) {
            self.budget.remove(flow.stored.len());
            self.report.push(flow.token, Some(AbandonReason::Unanswered { tries: flow.tries }));
        }
        while let Some((id, flow)) = self.outbound.take_back_message(taken) {
            if flow.is_reported {
                self.record(Record::Finished(id));
            } else {
                self.record(Record::TakenBack(id));
                flows.push(flow);
            }
        }
        for flow in flows {
            let kind = match flow.stage {
                Stage::PubAck => Kind::Message(QoS::AtLeastOnce),
                Stage::PubRec | Stage::PubComp(_) | Stage::GivenUp => Kind::Message(QoS::ExactlyOnce),
                Stage::SubAck(filters) => Kind::Subscribe(filters),
                Stage::UnsubAck(filters) => Kind::Unsubscribe(filters),
            };
            let Flow { token, since, expires_after, mark, tries, stored, .. } = flow;
            let waiting = Waiting { token, since, kind, expires_after, mark, tries, stored };
            self.queue.get_or_insert_default().put_back(waiting);
        }
    }

    /// The session is gone: each message in flight is given up, and its packet identifier free \[MQTT-3.2.2-5\].
    pub(crate) fn forget(&mut self) {
        while let Some(flow) = self.outbound.take_message() {
            if !flow.is_reported {
                self.budget.remove(flow.stored.len());
                self.report.push(flow.token, Some(AbandonReason::Session));
            }
        }
        self.outbound.forget_given_up();
        self.inbound.forget();
    }

    /// Marks the message that was published last, with this token, if it is stored: see [`Waiting::mark`]. A payload that it
    /// shares counts in this account.
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

    /// The session is about to be forgotten: takes away the messages that are marked and may still be delivered otherwise, in
    /// order. One of QoS 2 that is in flight may not: the other end may have accepted ownership \[MQTT-4.8.2-5\].
    pub(crate) fn take_marked(&mut self) -> Vec<Waiting> {
        let mut marked = Vec::new();
        for (id, Flow { token, since, expires_after, mark, stored, .. }) in self.outbound.take_marked() {
            self.record(Record::Finished(id));
            let kind = Kind::Message(QoS::AtLeastOnce);
            marked.push(Waiting { token, since, kind, expires_after, mark, tries: 0, stored });
        }
        for waiting in self.queue.as_mut().map(|queue| queue.take_marked()).unwrap_or_default() {
            if waiting.kind.is_windowed() {
                self.record(Record::Dropped(waiting.token));
            }
            marked.push(waiting);
        }
        for waiting in &marked {
            self.budget.remove(waiting.stored.len());
        }
        marked
    }

    /// Stores marked messages until they are taken, in a session that sends nothing any more.
    pub(crate) fn put_back_marked(&mut self, marked: Vec<Waiting>) {
        for waiting in marked {
            self.budget.add(waiting.stored.len());
            self.queue.get_or_insert_default().push(waiting);
        }
    }

    /// Messages of QoS 0 do not wait for another connection.
    pub(crate) fn drop_unacknowledged(&mut self) {
        while let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.take_unacknowledged()) {
            self.give_up(&waiting, AbandonReason::Connection);
        }
        if !self.has_queued() {
            self.queue = None;
        }
    }

    /// The session is gone for good: what waits is given up too.
    pub(crate) fn forget_waiting(&mut self) {
        while let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.pop(true, true)) {
            self.give_up(&waiting, AbandonReason::Session);
        }
        self.queue = None;
    }

    /// The session goes on in another version: what is kept is kept in that one, without what it does not have.
    pub(crate) fn change_version(&mut self, version: Version) {
        let old = core::mem::replace(&mut self.version, version);
        if old != version {
            let queued = self.queue.iter_mut().flat_map(|queue| queue.stored_mut());
            let mut bytes: usize = 0;
            for stored in self.outbound.stored_mut().chain(queued) {
                stored.convert(old, version);
                bytes = bytes.saturating_add(stored.len());
            }
            self.budget.set_bytes(bytes);
        }
    }

    /// Gives memory back that a burst has left behind.
    pub(crate) fn shrink(&mut self) {
        self.transmit.shrink();
        self.outbound.shrink();
        self.report.shrink();
        match &mut self.queue {
            Some(queue) if queue.is_empty() => self.queue = None,
            Some(queue) => queue.shrink(),
            None => {}
        }
    }

    /// How many messages and requests wait to be sent, or to be sent again.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len()).saturating_add(usize::from(self.outbound.to_resend()))
    }

    /// Panics if the parts of the session contradict each other.
    pub(crate) fn assert_consistent(&self) {
        assert!(self.queue.as_ref().is_none_or(|queue| queue.is_consistent()), "the queue is not in order");
        assert!(self.outbound.is_consistent(), "the lists of open operations do not agree with the table");
        let queued = self.queue.as_ref().map_or(0, |queue| queue.len());
        let kept = self.outbound.open().saturating_add(queued);
        assert_eq!(self.budget.count() as usize, kept, "what is kept is not counted right");
    }
}

/// Whether the packet is a message or an acknowledgement of one.
const fn is_about_deliveries(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0x30..=0x7F))
}
