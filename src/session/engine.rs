//! The engine: the deliveries of a session in both directions, and the connection that carries them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU8;

use bytes::Buf;

use super::command_error::{PublishError, SubscribeError};
use super::deliveries::budget::{Budget, BudgetLimits};
use super::deliveries::inbound::Inbound;
use super::deliveries::outbound::{Flow, Outbound, Stage};
use super::deliveries::queue::{Kind, Overflow, Queue, Waiting};
use super::error::ProtocolError;
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

/// The deliveries of a session, and its connection, if there is one. Sessions of clients and servers contain an engine;
/// the behaviour of one endpoint only is implemented there, and the differences that the engine depends on are a
/// [`Side`].
// The fields that every step reads come first.
#[repr(C)]
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) now: Instant,
    pub(super) report: Report,
    pub(crate) version: Version,
    pub(crate) phase: Phase,
    /// Whether input has arrived since this flag was last read.
    pub(crate) heard: bool,
    /// Number of bytes of an incomplete packet in the input. With [`INPUT_LEFT`]: number of bytes of input that were
    /// not taken because too many answers are in the output.
    unfinished: u32,
    /// Number of bytes that had been taken from `transmit` at the last [`note_sent`](Self::note_sent).
    seen_taken: u64,
    pub(crate) transmit: Transmit,
    /// The queue may exist and be empty: [`has_queued`](Self::has_queued) covers both cases.
    pub(super) queue: Option<Box<Queue>>,
    pub(super) next_token: Token,
    pub(crate) budget: Budget,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    pub(super) inbound_aliases: Option<Box<InboundAliases>>,
    pub(crate) outbound_aliases: Option<Box<OutboundAliases>>,
    pub(crate) journal: Option<Box<Journal>>,
    /// The message that is currently delivered in parts.
    pub(super) partial: Option<Box<Partial>>,
}

/// Flag in [`Engine::unfinished`], above every possible size of a packet.
const INPUT_LEFT: u32 = 1 << 31;

/// The state of the connection of a session. The engine has the only copy; client and server read it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no connection.
    Closed,
    /// There is no connection, and the session has expired. Only sessions of a server are in this phase.
    Expired,
    /// CONNECT and CONNACK are being exchanged. Only sessions of a client are in this phase; the server has an acceptor
    /// for it.
    Opening,
    /// Messages can be exchanged.
    Open,
    /// DISCONNECT is in the output; the action that reports the end of the connection is still due.
    Closing,
    /// The connection is over: the caller must close the transport.
    Over,
}

impl Phase {
    /// Returns whether packets of the peer are processed.
    #[inline]
    pub(crate) const fn takes_input(self) -> bool {
        matches!(self, Self::Opening | Self::Open)
    }

    /// Returns whether there is no connection.
    #[inline]
    pub(crate) const fn is_closed(self) -> bool {
        matches!(self, Self::Closed | Self::Expired)
    }
}

/// Bytes that have been taken from the output.
pub(crate) struct Left {
    pub(crate) count: u64,
    /// Whether no input was being taken before.
    pub(crate) was_held: bool,
}

/// The limits and options that the engine reads at every step: from the configuration, and from the properties that the
/// peer has announced.
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
    /// Whether PUBACK completes the delivery of a message of QoS 2.
    pub(crate) puback_ends_qos_2: bool,
    /// Whether messages of QoS 0 are queued while there is no connection.
    pub(crate) keeps_qos_0: bool,
    pub(crate) transmit_limit: u32,
    pub(crate) answer_limit: u32,
}

/// The differences between client and server that the engine depends on.
pub(crate) trait Side {
    fn rules(&self) -> Rules;

    /// Checks whether the peer may send a message of this QoS and RETAIN flag.
    fn admits(&self, _qos: QoS, _retain: bool) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// Checks whether the peer may send a message with these subscription identifiers.
    fn admits_identifiers(&self, _publish: &Publish<'_>) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// Checks whether the peer supports a message of this QoS and RETAIN flag.
    fn takes(&self, qos: QoS, retain: bool) -> Result<(), PublishError>;

    /// Checks whether the peer supports a request, which is about to be sent.
    fn takes_request(&mut self, packet: &Packet<'_>) -> Result<(), SubscribeError>;
}

/// The reports of the engine from which an action of client or server is made.
pub(crate) trait SessionAction<'a>: From<ReceivedMessage<'a>> + From<PayloadPart<'a>> + From<Done<'a>> {}

impl<'a, A: From<ReceivedMessage<'a>> + From<PayloadPart<'a>> + From<Done<'a>>> SessionAction<'a> for A {}

/// The reason why the engine stops processing the input.
pub(crate) enum Stop {
    /// The input begins with a packet that does not belong to a delivery, or the connection is not open yet.
    NotMine,
    Malformed(DecodeError),
    ProtocolError(ProtocolError),
}

/// An endpoint: an engine, and the behaviour of this endpoint only.
pub(crate) trait End {
    type Side<'s>: Side
    where
        Self: 's;
    type Action<'a>: SessionAction<'a>;

    fn split(&mut self) -> (&mut Engine, Self::Side<'_>);

    /// Processes a packet that does not belong to a delivery, or that arrives before the connection is open.
    fn receive_other<'a>(&mut self, packet: Packet<'a>) -> Option<Self::Action<'a>>;

    /// Ends the connection because of invalid input.
    fn fail<'a>(&mut self, stop: Stop) -> Self::Action<'a>;

    /// Processes packets of the input until there is an action to return.
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
                // An action is large: returning it from here avoids a copy.
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

    /// Processes input that is not a complete short packet. Returns `None` if there is no action to return and the
    /// input may contain more.
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

/// Stops processing because of a Protocol Error.
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

    /// Sets the current time, which never goes back, and drops expired messages from the queue.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = now.max(self.now);
        if self.queue.is_some() {
            self.drop_expired();
        }
    }

    /// Returns the bytes that have been taken from the output since the last call; `None` if there are none.
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

    /// Returns the number of bytes that are in the output or were taken after the last [`note_sent`](Self::note_sent).
    pub(crate) fn ahead(&self) -> u64 {
        self.transmit.end().wrapping_sub(self.seen_taken)
    }

    /// Returns whether bytes have been taken from the output since the last [`note_sent`](Self::note_sent).
    #[inline]
    pub(crate) const fn has_unnoticed(&self) -> bool {
        self.seen_taken != self.transmit.taken()
    }

    /// Returns the output. It offers no bytes while the journal has records to store.
    #[inline]
    pub(crate) fn transmit(&mut self) -> &mut Transmit {
        if let Some(journal) = &self.journal {
            self.transmit.hold(journal.has_remaining());
        }
        &mut self.transmit
    }

    /// Returns whether there is an outcome to report that no packet has caused.
    #[inline]
    pub(crate) fn has_report(&self) -> bool {
        self.report.has_next(self.transmit.taken())
    }

    /// Returns the next outcome that no packet has caused.
    pub(crate) fn next_report<'a, A: From<Done<'a>>>(&mut self) -> Option<A> {
        self.report.next()
    }

    /// Writes a record to the journal, if there is one.
    #[inline]
    pub(crate) fn record(&mut self, record: Record<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.write(record);
        }
    }

    /// Returns whether the engine can proceed without input.
    pub(crate) fn is_due(&self, rules: &Rules) -> bool {
        self.has_report()
            || (self.unfinished & INPUT_LEFT != 0 && self.has_room_for_answers(rules))
            || self.can_send_more(rules)
    }

    /// Returns whether messages or requests are queued.
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_empty())
    }

    /// Returns the size of the largest packet that may be sent or stored now.
    ///
    /// The Maximum Packet Size of the peer is known, and valid, for an open connection only. The next connection may
    /// have another limit, so that of the protocol applies until then. A stored packet that is too large for the next
    /// connection is dropped then \[MQTT-3.1.2-24, MQTT-3.1.2-25\].
    #[inline]
    pub(super) fn packet_limit(&self, rules: &Rules) -> u32 {
        if self.phase == Phase::Open { rules.max_packet_size } else { MAX_PACKET_SIZE }
    }

    /// Returns whether this endpoint may put more packets of its own, other than answers, into the output.
    #[inline]
    pub(crate) fn has_room(&self, rules: &Rules) -> bool {
        self.transmit.len() < rules.transmit_limit as usize
    }

    /// Returns whether input is taken: not while too many answers are in the output. Other packets in the output do not
    /// matter, or both endpoints could wait for each other to read.
    #[inline]
    pub(crate) fn has_room_for_answers(&self, rules: &Rules) -> bool {
        !self.transmit.has_unsent_answers(rules.answer_limit)
    }

    /// Returns whether a packet can be taken out of the input.
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
            // Input shows that the peer is alive, even if the input is not taken.
            self.heard |= left != self.unfinished;
            self.unfinished = left;
        } else if self.unfinished & INPUT_LEFT != 0 {
            self.unfinished = 0;
        }
        takes
    }

    /// Processes more of a message that is delivered in parts, or a packet of a delivery that is not short or not
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

    /// Takes the packet at the start of the input, if it is complete.
    fn decode_other<'a>(&mut self, rules: &Rules, input: &mut &'a [u8]) -> Result<Option<Packet<'a>>, Stop> {
        match codec::decode(input, self.version, rules.limits).map_err(Stop::Malformed)? {
            Decoded::Packet { packet, size } => {
                *input = input.get(size..).unwrap_or_default();
                self.heard = true;
                Ok(Some(packet))
            }
            Decoded::Incomplete { .. } => {
                let unfinished = input.len() as u32;
                // A large packet that arrives slowly shows that the peer is alive, too.
                self.heard |= unfinished != self.unfinished;
                self.unfinished = unfinished;
                Ok(None)
            }
        }
    }

    /// Opens the connection for messages; no topic alias is mapped yet \[MQTT-3.3.2-7\].
    pub(crate) fn opened(&mut self, max_aliases: u16) {
        self.phase = Phase::Open;
        self.inbound_aliases = None;
        self.outbound_aliases = core::num::NonZeroU16::new(max_aliases).map(|max| OutboundAliases::new(max).into());
        self.transmit.shrink();
    }

    /// Sends PUBREL again for the messages that wait for PUBCOMP, since the session is resumed \[MQTT-4.4.0-1\].
    /// Messages without PUBACK or PUBREC are sent again later, as the maximum number of messages in flight allows.
    pub(crate) fn release_again(&mut self) {
        for id in self.outbound.released() {
            if let Err(error) = self.transmit.encode(u32::MAX, |out| PubRel::new(id).encode(self.version, out)) {
                bug!("PUBREL has nothing that cannot be encoded: {error}");
            }
        }
    }

    /// Closes the connection. Messages of which no byte has been taken, and requests, are queued again for the next
    /// connection; the other messages in flight are to be sent again.
    ///
    /// A request that was sent on `max_request_tries` connections without an answer is given up.
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

    /// Queues again the messages of which no byte has been taken, and the requests, which belong to the connection.
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

    /// Gives up every message in flight and frees its packet identifier, because the session ended \[MQTT-3.2.2-5\].
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

    /// Removes the marked messages that may be delivered in another session, in order, before this session is
    /// discarded. A message of QoS 2 in flight may not: the peer may have accepted ownership of it \[MQTT-4.8.2-5\].
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

    /// Stores marked messages in a session that sends nothing any more, until the messages are taken.
    pub(crate) fn put_back_marked(&mut self, marked: Vec<Waiting>) {
        for waiting in marked {
            self.budget.add(waiting.stored.len());
            self.queue.get_or_insert_default().push(waiting);
        }
    }

    /// Gives up the queued messages of QoS 0, which do not wait for another connection.
    pub(crate) fn drop_unacknowledged(&mut self) {
        while let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.take_unacknowledged()) {
            self.give_up(&waiting, AbandonReason::Connection);
        }
        self.drop_empty_queue();
    }

    /// Gives up all queued messages and requests, because the session ended.
    pub(crate) fn forget_waiting(&mut self) {
        while let Some(waiting) = self.queue.as_mut().and_then(|queue| queue.pop(true, true)) {
            self.give_up(&waiting, AbandonReason::Session);
        }
        self.queue = None;
    }

    /// Changes the protocol version of the session. The stored packets are converted, without the properties if the new
    /// version has none.
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

    /// Releases unused memory.
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

    /// Returns the number of messages and requests that are queued or to be sent again.
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

/// Returns whether the packet is a PUBLISH or an acknowledgement of one.
const fn is_about_deliveries(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0x30..=0x7F))
}
