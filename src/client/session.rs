//! The client session: what it holds, and the one way in for bytes and time.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

use bytes::Buf;

use super::action::{Action, Close, Loss, Outcome};
use super::backoff::Backoff;
use super::config::ClientConfig;
use super::partial::Partial;
use super::server::ServerLimits;
use crate::codec::{self, DecodeError, Decoded, Disconnect, DisconnectReasonCode, Packet, ReasonCode, Version};
use crate::session::{
    Breach, Inbound, InboundAliases, Journal, KeepAlive, Outbound, OutboundAliases, Queue, Token, Transmit,
};
use crate::time::Instant;

/// The client's end of a session, across all its connections: see the [module](super).
pub struct ClientSession {
    pub(super) config: ClientConfig,
    pub(super) version: Version,
    pub(super) state: State,
    pub(super) exchange: Exchange,
    /// Whether this connection was accepted.
    pub(super) established: bool,
    /// Whether CONNECT has asked for a new session.
    pub(super) asked_clean: bool,
    /// Whether there is a session that the next connection can resume.
    pub(super) has_session: bool,
    /// Whether every subscription of the session was made by this client: then its identifiers are known.
    pub(super) knows_identifiers: bool,
    /// Input was left because too much waits to be written.
    input_left: bool,
    /// How many bytes of an unfinished packet were there.
    unfinished: u32,

    pub(super) now: Instant,
    /// When the server must have answered CONNECT.
    pub(super) connect_deadline: Instant,
    pub(super) keep_alive: KeepAlive,
    pub(super) backoff: Backoff,

    pub(super) transmit: Transmit,
    /// How many bytes of it had been taken when that was last looked at.
    pub(super) seen_taken: u64,
    pub(super) server: ServerLimits,
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    pub(super) queue: Option<Box<Queue>>,
    pub(super) next_token: Token,
    /// How many messages and requests are kept, and how many bytes.
    pub(super) kept: u32,
    pub(super) kept_bytes: u32,
    /// Messages of QoS 0 in `transmit`, and where they end.
    pub(super) sending: Option<Box<Sending>>,
    /// Outcomes that have not come from a packet.
    pub(super) outcomes: Option<Box<Outcomes>>,
    pub(super) inbound_aliases: Option<Box<InboundAliases>>,
    pub(super) outbound_aliases: Option<Box<OutboundAliases>>,
    /// The subscription identifiers that were used.
    pub(super) identifiers: Option<Box<Identifiers>>,
    pub(super) journal: Option<Box<Journal>>,
    /// The message that is being delivered in parts.
    pub(super) partial: Option<Box<Partial>>,
}

/// Outcomes that have not come from a packet: sent, or lost.
type Outcomes = VecDeque<(Token, Option<Loss>)>;

/// Messages in the stream, by where they end.
type Sending = VecDeque<(u64, Token)>;

/// Subscription identifiers.
type Identifiers = BTreeSet<u32>;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is none.
    Closed,
    /// CONNECT is on its way, CONNACK has not come.
    Connecting,
    Connected,
    /// DISCONNECT is on its way; the action that says so is still due.
    Disconnecting,
    /// It is over: the caller is to close the transport.
    Over,
}

/// Whose turn it is in an enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    Idle,
    Ours,
    Theirs,
}

impl ClientSession {
    /// A client without a connection.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            version: config.version,
            state: State::Closed,
            exchange: Exchange::Idle,
            established: false,
            asked_clean: false,
            has_session: false,
            knows_identifiers: false,
            input_left: false,
            unfinished: 0,
            now: Instant::EPOCH,
            connect_deadline: Instant::NEVER,
            keep_alive: KeepAlive::new(0, Instant::EPOCH),
            backoff: Backoff::new(config.seed),
            transmit: Transmit::default(),
            seen_taken: 0,
            server: ServerLimits::UNKNOWN,
            outbound: Outbound::new(),
            inbound: Inbound::default(),
            queue: None,
            next_token: Token::FIRST,
            kept: 0,
            kept_bytes: 0,
            sending: None,
            outcomes: None,
            inbound_aliases: None,
            outbound_aliases: None,
            identifiers: None,
            journal: config.journal.then(Box::default),
            partial: None,
            config,
        }
    }

    /// Takes what the transport has read and what time it is, and returns what there is to do next; `None` when there
    /// is nothing more. To be called until then: whenever something was read, whenever the
    /// [`deadline`](Self::deadline) has come, and after writing. To call it more often does no harm.
    ///
    /// What is left of `input` is an unfinished packet, and is to be given again when more has come; unless too much
    /// waits to be [written](ClientConfig::transmit_limit): then it is to be given again when that has been written.
    ///
    /// `now` never goes back: an earlier one than before counts as the same.
    #[inline]
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        if self.transmit.taken() != self.seen_taken {
            self.note_sent();
        }
        self.now = now.max(self.now);
        if self.has_news() {
            return self.news();
        }
        self.receive_all(input).or_else(|| self.check_time())
    }

    /// Everything that is to be written to the transport, in order. Bytes leave by
    /// [`advance`](bytes::Buf::advance) alone.
    #[inline]
    pub fn transmit(&mut self) -> &mut Transmit {
        if let Some(journal) = &self.journal {
            self.transmit.hold(journal.has_remaining());
        }
        &mut self.transmit
    }

    /// When [`poll`](Self::poll) has to be called at the latest, even if nothing is read until then.
    pub fn deadline(&self) -> Option<Instant> {
        let has_room = self.has_room();
        if self.has_news() || (self.input_left && has_room) || (has_room && self.can_send_more()) {
            return Some(self.now);
        }
        match self.state {
            State::Closed | State::Over => None,
            State::Disconnecting => Some(self.now),
            State::Connecting => self.connect_deadline.unless_never(),
            State::Connected => match (self.keep_alive.ping_at(), self.keep_alive.dead_at(self.config.ping_timeout)) {
                (Some(ping), Some(dead)) => Some(ping.min(dead)),
                (ping, dead) => ping.or(dead),
            },
        }
    }

    /// How long to wait before the next connection: nothing before the first one; then a pause that grows with each
    /// failure and has a random part.
    pub fn backoff(&self) -> Duration {
        self.backoff.pause(self.config.backoff)
    }

    /// The records that are to be stored before anything that depends on them is sent, if the
    /// [configuration](ClientConfig::journal) asks for them: as long as there are some, [`transmit`](Self::transmit)
    /// is empty.
    ///
    /// All that was ever taken from here, one record after the other, is what [`restore`](Self::restore) takes.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_deref_mut()
    }

    /// Whether the server has accepted the connection, and it is not over.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// How many packet identifiers are in use: as many as operations are open.
    pub fn open_operations(&self) -> usize {
        self.outbound.len()
    }

    /// How many messages of QoS 1 and 2 were sent on this connection and are not settled. No message is sent when they
    /// are as many as the server's Receive Maximum; only after a resume there may be more of them that wait for PUBCOMP.
    pub fn in_flight(&self) -> usize {
        usize::from(self.outbound.in_flight())
    }

    /// How many messages and requests wait to be sent, or to be sent again.
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len()).saturating_add(usize::from(self.outbound.to_resend()))
    }

    /// What the server is ready to take, once there is a connection.
    pub const fn server(&self) -> &ServerLimits {
        &self.server
    }

    /// The configuration. Its `client_id` is the one that the server has assigned, if it has.
    pub const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Panics if the parts of the session contradict each other. For tests.
    #[doc(hidden)]
    pub fn assert_consistent(&self) {
        assert!(self.outbound.is_consistent(), "the lists of open operations do not agree with the table");
        let queued = self.queue.as_ref().map_or(0, |queue| queue.len());
        assert_eq!(
            self.kept as usize,
            self.outbound.open().saturating_add(queued),
            "what is kept is not counted right"
        );
    }

    /// Something has been written since this was last looked at.
    #[inline]
    fn note_sent(&mut self) {
        self.seen_taken = self.transmit.taken();
        // It was written after the last call, so at that time or later.
        self.keep_alive.sent(self.now);
        self.inbound.sent();
    }

    /// Whether there is an outcome that has not come from a packet.
    #[inline]
    fn has_news(&self) -> bool {
        self.outcomes.is_some()
            || self.sending.as_ref().is_some_and(|sending| match sending.front() {
                Some(&(end, _)) => end <= self.transmit.taken(),
                None => false,
            })
    }

    fn news<'a>(&mut self) -> Option<Action<'a>> {
        if let Some(outcomes) = &mut self.outcomes {
            let first = outcomes.pop_front();
            if outcomes.is_empty() {
                self.outcomes = None;
            }
            let (token, loss) = first?;
            return Some(Action::Done { token, outcome: loss.map_or(Outcome::Sent, Outcome::Lost) });
        }
        let (_, token) = self.sending.as_mut()?.pop_front()?;
        Some(Action::Done { token, outcome: Outcome::Sent })
    }

    /// Reports what has become of something, by one of the next calls.
    pub(super) fn report(&mut self, token: Token, loss: Option<Loss>) {
        self.outcomes.get_or_insert_default().push_back((token, loss));
    }

    /// Whether more may be put into the stream.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.transmit.len() < self.config.transmit_limit as usize
    }

    /// Takes packets out of the input until there is something to tell.
    #[inline]
    fn receive_all<'a>(&mut self, input: &mut &'a [u8]) -> Option<Action<'a>> {
        loop {
            if self.has_room() && self.can_send_more() {
                self.send_more();
            }
            if self.outcomes.is_some() {
                return self.news();
            }
            self.input_left = false;
            if input.is_empty() {
                self.unfinished = 0;
                return None;
            }
            if !matches!(self.state, State::Connecting | State::Connected) {
                *input = &[];
                return None;
            }
            if !self.has_room() {
                self.input_left = true;
                return None;
            }
            if self.partial.is_some() {
                match self.continue_message(input) {
                    Some(action) => return Some(action),
                    None => continue,
                }
            }
            let limits = self.config.limits();
            if self.state == State::Connected
                && let Some((packet, size)) = codec::decode_short(input, self.version, limits)
            {
                *input = input.get(size..).unwrap_or_default();
                self.keep_alive.received();
                match self.receive_short(packet) {
                    Some(action) => return Some(action),
                    None => continue,
                }
            }
            match codec::decode(input, self.version, limits) {
                Ok(Decoded::Packet { packet, size }) => {
                    *input = input.get(size..).unwrap_or_default();
                    self.keep_alive.received();
                    if let Some(action) = self.receive(packet) {
                        return Some(action);
                    }
                }
                Ok(Decoded::Incomplete { .. }) => {
                    if self.config.deliver_in_parts != u32::MAX
                        && let Some(action) = self.begin_message(input)
                    {
                        return Some(action);
                    }
                    let unfinished = input.len() as u32;
                    if unfinished != self.unfinished {
                        // A large packet that comes slowly is a sign of life too.
                        self.unfinished = unfinished;
                        self.keep_alive.received();
                    }
                    return None;
                }
                Err(error) => return Some(self.malformed(error)),
            }
        }
    }

    #[cold]
    pub(super) fn malformed<'a>(&mut self, error: DecodeError) -> Action<'a> {
        self.end_with(error.reason_code());
        Action::Close(Close::Malformed(error))
    }

    /// The server has broken the protocol.
    #[cold]
    pub(super) fn breach<'a>(&mut self, breach: Breach) -> Action<'a> {
        self.end_with(breach.reason_code());
        Action::Close(Close::Breach(breach))
    }

    /// The connection is over; in 5.0 the server is told why \[MQTT-4.13.1-1\].
    fn end_with(&mut self, code: ReasonCode) {
        if self.version == Version::V5 {
            let reason_code = DisconnectReasonCode::try_from(code).unwrap_or(DisconnectReasonCode::ProtocolError);
            let disconnect = Disconnect { reason_code, ..Disconnect::default() };
            let max = self.server.maximum_packet_size;
            // It has nothing in it that could not be encoded; and if it does not fit, it is left out.
            let _ = self.transmit.encode(max, |out| disconnect.encode(Version::V5, out));
        }
        self.state = State::Over;
    }

    /// What is due when the input has been dealt with.
    #[inline]
    fn check_time<'a>(&mut self) -> Option<Action<'a>> {
        match self.state {
            State::Connected => {
                let now = self.now;
                let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
                if due(self.keep_alive.dead_at(self.config.ping_timeout)) {
                    return Some(self.over(Close::PingTimeout));
                }
                if due(self.keep_alive.ping_at()) {
                    self.ping();
                }
                None
            }
            State::Connecting if self.connect_deadline <= self.now => Some(self.over(Close::ConnectTimeout)),
            State::Disconnecting => Some(self.over(Close::Requested)),
            State::Connecting | State::Closed | State::Over => None,
        }
    }

    pub(super) fn over<'a>(&mut self, why: Close<'a>) -> Action<'a> {
        self.state = State::Over;
        Action::Close(why)
    }

    /// Nothing was sent for the interval. That is also the time to give memory back.
    #[cold]
    fn ping(&mut self) {
        // Two bytes that always fit, see `MaximumPacketSizeTooSmall`.
        let _ = self.transmit.encode(u32::MAX, |out| Packet::PingReq.encode(self.version, out));
        self.keep_alive.ask(self.now);
        self.transmit.shrink();
        self.outbound.shrink();
        if self.sending.as_ref().is_some_and(|sending| sending.is_empty()) {
            self.sending = None;
        }
        match &mut self.queue {
            Some(queue) if queue.is_empty() => self.queue = None,
            Some(queue) => queue.shrink(),
            None => {}
        }
    }
}

impl core::fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClientSession")
            .field("config", &self.config)
            .field("state", &self.state)
            .field("open_operations", &self.open_operations())
            .field("waiting", &self.waiting())
            .field("transmit", &self.transmit)
            .finish_non_exhaustive()
    }
}
