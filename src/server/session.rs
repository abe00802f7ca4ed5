//! The state of a server session, and its entry point for received bytes and time.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::num::NonZeroU16;

use super::action::{Action, Close};
use super::config::ServerConfig;
use super::request::Requests;
use crate::codec::{AckProperties, MAX_PACKET_SIZE};
use crate::codec::{Packet, PubAckReasonCode, QoS, ReasonCode, Version};
use crate::session::{
    AckError, End, Engine, Exchange, Message, Phase, ProtocolError, PublishError, Receipt, Rules, SessionExpiry, Side,
    Stop, SubscribeError, Token, Transmit, UnknownToken, Waiting, Will,
};
use crate::time::Instant;

/// The server endpoint of a session, across all its connections: see the [module](super). An
/// [`Acceptor`](super::Acceptor) creates it.
///
/// `Clone` is meant for simulations: only one of the two copies can continue the session with the client.
// The fields that an idle poll reads are adjacent, in the first cache lines: there may be very many sessions.
#[repr(C)]
#[derive(Clone)]
pub struct ServerSession {
    pub(super) asked_no_expiry: bool,
    pub(super) is_resumed: bool,
    pub(super) is_bridge: bool,
    /// Keep-alive interval, in seconds; 0: no keep-alive.
    pub(super) keep_alive: u16,
    /// How long the session outlives its connection.
    pub(super) session_expiry_interval: SessionExpiry,
    /// Maximum of the session expiry interval that DISCONNECT may set.
    pub(super) max_session_expiry_interval: SessionExpiry,
    /// Time when the session expires; `NEVER` while there is a connection.
    pub(super) expires_at: Instant,
    /// The will of the client.
    pub(super) will: Option<Box<KeptWill>>,
    /// The wills of earlier connections that are to be published now.
    pub(super) due_wills: Option<Box<DueWills>>,
    pub(super) engine: Engine,
    /// Time of the last sign of life from the client.
    pub(super) last_heard: Instant,
    pub(super) config: Arc<ServerConfig>,
    pub(super) client_id: Box<str>,
    pub(super) client: ClientLimits,
    /// Number of the connection, which distinguishes the requests of different connections; wraps.
    pub(super) connection: u32,
    /// The enhanced authentication, if CONNECT has an Authentication Method.
    pub(super) authentication: Option<Box<Authentication>>,
    pub(super) requests: Option<Box<Requests>>,
}

/// Wills in the order in which they are to be published.
pub(super) type DueWills = VecDeque<Will>;

/// A will, and the time when it is due; `NEVER` while there is a connection.
#[derive(Clone)]
pub(super) struct KeptWill {
    pub(super) will: Will,
    pub(super) at: Instant,
}

/// An enhanced authentication.
#[derive(Clone)]
pub(super) struct Authentication {
    pub(super) method: Box<str>,
    pub(super) exchange: Exchange,
}

/// A message that is taken out of a session that is discarded: see [`Waiting::mark`].
pub(crate) struct Marked {
    /// The version in which the message is encoded.
    #[allow(dead_code, reason = "for a router: see `routing`")]
    pub(crate) version: Version,
    pub(crate) message: Waiting,
}

/// The limits that the client has announced in CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    pub(super) receive_maximum: u16,
    pub(super) topic_alias_maximum: u16,
    pub(super) maximum_packet_size: u32,
    pub(super) wants_problem_information: bool,
}

impl ClientLimits {
    /// The limits of a client that has announced none.
    pub(super) const DEFAULT: Self = Self {
        receive_maximum: u16::MAX,
        topic_alias_maximum: 0,
        maximum_packet_size: MAX_PACKET_SIZE,
        wants_problem_information: true,
    };
}

impl ServerSession {
    /// Processes the bytes that the transport has received and the current time, and returns the next action; `None`
    /// when nothing is left to do. Call it until it returns `None`: after each read, when the
    /// [`deadline`](Self::deadline) has passed, and after each write. Additional calls are harmless. Without a
    /// connection, call [`poll_timeout`](Self::poll_timeout).
    ///
    /// The rest of `input` is an incomplete packet: pass it again, with the bytes that follow. While too many answers
    /// [wait to be written](ServerConfig::answer_limit), the rest is not processed: pass it again after writing.
    ///
    /// `now` must not decrease: an earlier time counts as the time of the previous call.
    #[inline]
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        self.engine.advance(now);
        if self.engine.phase.is_closed() {
            *input = &[];
            return self.poll_detached();
        }
        self.note_sent();
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        self.receive_all(input).or_else(|| self.check_time())
    }

    /// Processes the current time, where nothing was received or there is no connection: [`poll`](Self::poll) with an
    /// empty input. Call it until it returns `None`, when the [`deadline`](Self::deadline) has passed, and after each
    /// write. If received bytes are left, call [`poll`](Self::poll) with them instead.
    #[inline]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Action<'static>> {
        self.poll(now, &mut &[][..])
    }

    /// Notices the bytes that were written. While no input is accepted, written bytes are the sign that the client is
    /// alive, because only time in which its packets are accepted counts against it. If no bytes are written either,
    /// the keep-alive timeout ends the connection.
    #[inline]
    pub(super) fn note_sent(&mut self) {
        if self.engine.note_sent(self.config.answer_limit.get()).is_some_and(|left| left.was_held) {
            self.last_heard = self.engine.now;
        }
    }

    /// Returns the output: all bytes that are to be written to the transport, in order.
    /// [`advance`](bytes::Buf::advance) removes bytes that were written.
    #[inline]
    pub fn transmit(&mut self) -> &mut Transmit {
        self.engine.transmit()
    }

    /// Returns the time by which [`poll`](Self::poll) must be called even if nothing is received; [`Instant::EPOCH`] if
    /// there is something to do at once, `None` if there is no deadline.
    pub fn deadline(&self) -> Option<Instant> {
        if self.engine.is_due(&self.rules()) || self.due_wills.is_some() || self.engine.phase == Phase::Closing {
            return Some(Instant::EPOCH); // at once, at any time
        }
        match self.engine.phase {
            Phase::Open => self.dead_at().unless_never(),
            Phase::Closed => self.ends_at().unless_never(),
            Phase::Opening | Phase::Closing | Phase::Over | Phase::Expired => None,
        }
    }

    /// Publishes a message to the client. The session sends it at once if possible; otherwise it is queued until there
    /// is a connection, the client's Receive Maximum allows it, or enough of the output is written.
    ///
    /// [`Action::Done`] with the token reports the outcome. Messages of the same QoS are sent in the order in which
    /// they were published.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotConnected`] for a QoS 0 message without a connection, unless
    /// [`keep_qos_0`](ServerConfig::keep_qos_0) is set, and for any message if the session has expired.
    /// [`PublishError::TooLarge`] if the message exceeds the client's Maximum Packet Size on this connection: the
    /// delivery counts as complete \[MQTT-3.1.2-25\]. Without a connection the message is stored, and the limit of the
    /// next connection applies. [`PublishError::QueueFull`] if no more messages can be stored. [`PublishError::Topic`]
    /// and [`PublishError::Encode`] if the message cannot be encoded in this version; [`PublishError::TopicAlias`] for
    /// a topic alias, which the caller must not set. After an error the session is unchanged.
    #[inline]
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Token, PublishError> {
        self.engine.advance(now);
        if self.engine.phase == Phase::Expired {
            return Err(PublishError::NotConnected);
        }
        let (engine, mut side) = self.split();
        engine.publish(&mut side, message)
    }

    /// Withdraws the message with this token. Its outcome is
    /// [`AbandonReason::Withdrawn`](crate::AbandonReason::Withdrawn), reported by the next [`poll`](Self::poll).
    ///
    /// A queued message is not sent. A message that was sent is not sent again, but its packet identifier stays in use,
    /// and counts against the client's Receive Maximum, until the client completes the delivery on this connection;
    /// after that, until the session ends. A QoS 2 message that the client has received is released in any case
    /// \[MQTT-4.3.3-4\].
    ///
    /// # Errors
    ///
    /// [`UnknownToken`] if the outcome is known already, or if the message is a QoS 0 message in the
    /// output.
    pub fn withdraw(&mut self, now: Instant, token: Token) -> Result<(), UnknownToken> {
        self.engine.advance(now);
        self.engine.withdraw(token)
    }

    /// Returns the number of connections on which a message has been sent, the present one included. A message counts
    /// even if it was sent only in part, and whether or not it has arrived. `None` if no message with this token is
    /// queued, in flight or in the output.
    pub fn tries(&self, token: Token) -> Option<u16> {
        self.engine.tries(token)
    }

    /// Acknowledges a message, with [manual](ServerConfig::manual_acks) acknowledgements. Acknowledgements are sent in
    /// the order in which the messages arrived: an early one waits for the acknowledgements before it \[MQTT-4.6.0-2,
    /// MQTT-4.6.0-3\].
    ///
    /// A reason code of 0x80 or above refuses the message in 5.0. Before 5.0 no reason code is sent, and the message is
    /// acknowledged like any other \[3.1.1: MQTT-3.3.5-2\].
    ///
    /// # Errors
    ///
    /// [`AckError::EarlierConnection`] if the message arrived on an earlier connection: the client sends it again
    /// if the session is resumed. [`AckError::AlreadyAcknowledged`] if the message is acknowledged already.
    /// [`AckError::NotConnected`] if the connection is about to be closed.
    pub fn ack(&mut self, now: Instant, receipt: Receipt, reason_code: PubAckReasonCode) -> Result<(), AckError> {
        self.ack_with(now, receipt, reason_code, &AckProperties::default())
    }

    /// Acknowledges a message as [`ack`](Self::ack) does, with properties; 5.0 only. Properties are omitted if the
    /// client does not want them \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.4.2-2,
    /// MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3\].
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and [`AckError::Encode`] if the properties cannot be encoded.
    pub fn ack_with(
        &mut self,
        now: Instant,
        receipt: Receipt,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError> {
        self.engine.advance(now);
        let none = AckProperties::default();
        let properties = if self.client.wants_problem_information { properties } else { &none };
        let (engine, side) = self.split();
        engine.ack(&side.rules(), receipt, reason_code, properties)
    }

    /// Returns the client identifier: that of CONNECT, or the assigned one.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the protocol version of the last connection.
    pub const fn version(&self) -> Version {
        self.engine.version
    }

    /// Returns whether the last connection has resumed an existing session, whose subscriptions are still valid. If
    /// not, the caller must discard the subscriptions of the client.
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Returns whether the client of the last connection is a [bridge](crate::codec::Connect::is_bridge).
    pub const fn is_bridge(&self) -> bool {
        self.is_bridge
    }

    /// Returns whether [`poll`](Self::poll) accepts input. It does not without a connection, or while too many answers
    /// [wait to be written](ServerConfig::answer_limit). Meanwhile the caller has to hold the received bytes.
    pub fn takes_input(&self) -> bool {
        self.engine.phase == Phase::Open && self.engine.has_room_for_answers(&self.rules())
    }

    /// Returns whether there is a connection that is not over.
    pub fn is_connected(&self) -> bool {
        self.engine.phase == Phase::Open
    }

    /// Returns the keep-alive interval, in seconds; `None`: the client need not send anything.
    pub const fn keep_alive(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.keep_alive)
    }

    /// Returns how long the session outlives its connection.
    pub const fn session_expiry_interval(&self) -> SessionExpiry {
        self.session_expiry_interval
    }

    /// Returns the number of packet identifiers in use.
    pub fn open_operations(&self) -> usize {
        self.engine.outbound.len()
    }

    /// Returns the number of QoS 1 and QoS 2 messages that were sent on this connection and whose delivery is not
    /// complete.
    pub fn in_flight(&self) -> usize {
        usize::from(self.engine.outbound.in_flight())
    }

    /// Returns the number of messages that wait to be sent or sent again.
    pub fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    /// Checks the invariants of the session, for tests.
    ///
    /// # Panics
    ///
    /// If parts of the session contradict each other.
    #[doc(hidden)]
    pub fn assert_consistent(&self) {
        self.engine.assert_consistent();
    }

    #[inline(always)]
    pub(super) fn rules(&self) -> Rules {
        self.config.rules(self.engine.version, self.client.receive_maximum, self.client.maximum_packet_size)
    }

    /// Returns the time of the keep-alive timeout: one and a half times the keep-alive interval after the last sign of
    /// life \[MQTT-3.1.2-22\].
    pub(super) fn dead_at(&self) -> Instant {
        match self.keep_alive {
            0 => Instant::NEVER,
            seconds => {
                let micros = u64::from(seconds).saturating_mul(1_500_000);
                Instant::from_micros(self.last_heard.as_micros().saturating_add(micros))
            }
        }
    }

    /// Returns the time when the will is due or the session expires, whichever is first.
    #[inline]
    pub(super) fn ends_at(&self) -> Instant {
        self.will.as_ref().map_or(self.expires_at, |will| will.at.min(self.expires_at))
    }

    #[cold]
    pub(super) fn due_will<'a>(&mut self) -> Option<Action<'a>> {
        let wills = self.due_wills.as_mut()?;
        let first = wills.pop_front();
        if wills.is_empty() {
            self.due_wills = None;
        }
        first.map(|will| Action::Will(Box::new(will)))
    }

    /// Handles reports and timeouts without a connection.
    #[inline]
    pub(super) fn poll_detached<'a>(&mut self) -> Option<Action<'a>> {
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        if self.due_wills.is_some() {
            return self.due_will();
        }
        if self.ends_at() <= self.engine.now { self.check_end() } else { None }
    }

    /// Handles timeouts, after the input has been processed.
    #[inline]
    fn check_time<'a>(&mut self) -> Option<Action<'a>> {
        if self.due_wills.is_some() {
            return self.due_will();
        }
        let now = self.engine.now;
        match self.engine.phase {
            Phase::Open => {
                if core::mem::take(&mut self.engine.heard) {
                    self.last_heard = now;
                }
                (self.dead_at() <= now).then(|| self.time_out())
            }
            Phase::Closing => Some(self.over(Close::Requested)),
            Phase::Opening | Phase::Closed | Phase::Over | Phase::Expired => None,
        }
    }
}

impl End for ServerSession {
    type Side<'s> = ServerSide<'s>;
    type Action<'a> = Action<'a>;

    #[inline(always)]
    fn split(&mut self) -> (&mut Engine, ServerSide<'_>) {
        let side = ServerSide { config: &self.config, version: self.engine.version, client: self.client };
        (&mut self.engine, side)
    }

    fn receive_other<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        match packet {
            Packet::PingReq => {
                // PINGRESP has two bytes and always fits, see `MaximumPacketSizeTooSmall`.
                if let Err(error) = self.engine.transmit.answer(|out| Packet::PingResp.encode(self.engine.version, out))
                {
                    bug!("PINGRESP has nothing that cannot be encoded: {error}");
                }
                None
            }
            Packet::Subscribe(subscribe) => match self.receive_subscribe(subscribe) {
                Ok(request) => request.map(Action::Subscribe),
                Err(protocol_error) => Some(self.protocol_error(protocol_error)),
            },
            Packet::Unsubscribe(unsubscribe) => match self.receive_unsubscribe(unsubscribe) {
                Ok(request) => request.map(Action::Unsubscribe),
                Err(protocol_error) => Some(self.protocol_error(protocol_error)),
            },
            Packet::Disconnect(disconnect) => Some(self.receive_disconnect(disconnect)),
            Packet::Auth(auth) => Some(self.receive_auth(auth)),
            Packet::Connect(_) => Some(self.protocol_error(ProtocolError::SecondConnect)),
            // The engine has handled the packets of deliveries, and a client sends no others.
            _ => None,
        }
    }

    #[cold]
    fn fail<'a>(&mut self, stop: Stop) -> Action<'a> {
        match stop {
            Stop::Malformed(error) => {
                self.engine.tell(error.reason_code(), self.client.maximum_packet_size);
                self.over(Close::Malformed(error))
            }
            Stop::ProtocolError(protocol_error) => self.protocol_error(protocol_error),
            Stop::NotMine => {
                bug!("such a packet is given to `receive_other`");
                self.over(Close::Requested)
            }
        }
    }
}

/// The server's part of the information that the engine needs.
pub(crate) struct ServerSide<'s> {
    config: &'s ServerConfig,
    version: Version,
    client: ClientLimits,
}

impl Side for ServerSide<'_> {
    #[inline(always)]
    fn rules(&self) -> Rules {
        self.config.rules(self.version, self.client.receive_maximum, self.client.maximum_packet_size)
    }

    /// Before 5.0 no Maximum QoS and no Retain Available are announced: nothing is enforced.
    #[inline(always)]
    fn admits(&self, qos: QoS, retain: bool) -> Result<(), ProtocolError> {
        if self.version != Version::V5 {
            return Ok(());
        }
        if qos > self.config.maximum_qos {
            return Err(ProtocolError::QoSNotSupported);
        }
        if retain && !self.config.retain_available {
            return Err(ProtocolError::RetainNotSupported);
        }
        Ok(())
    }

    #[inline(always)]
    fn takes(&self, _: QoS, _: bool) -> Result<(), PublishError> {
        Ok(())
    }

    /// A server never sends SUBSCRIBE or UNSUBSCRIBE.
    fn takes_request(&mut self, request: &Packet<'_>) -> Result<(), SubscribeError> {
        bug!("a server has sent {request:?}");
        Err(SubscribeError::NotSupported(ReasonCode::ImplementationSpecificError))
    }
}

impl core::fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ServerSession")
            .field("client_id", &self.client_id)
            .field("version", &self.engine.version)
            .field("state", &self.engine.phase)
            .field("open_operations", &self.open_operations())
            .field("waiting", &self.waiting())
            .field("transmit", &self.engine.transmit)
            .finish_non_exhaustive()
    }
}
