//! The server session: what it holds, and the one way in for bytes and time.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::action::{Action, Close};
use super::config::ServerConfig;
use super::request::Requests;
use crate::codec::{AckProperties, MAX_PACKET_SIZE};
use crate::codec::{Packet, PubAckReasonCode, QoS, Version};
use crate::session::{
    CommandError, End, Engine, Exchange, Message, Phase, ProtocolError, Receipt, Rules, Side, Stop, Token, Transmit,
    Waiting, Will,
};
use crate::time::Instant;

/// The server's end of a session, across all its connections: see the [module](super). An
/// [`Acceptor`](super::Acceptor) makes it.
///
/// A clone is for simulations: only one of the two can go on with the session.
// What a poll with nothing to do looks at lies together, in the first cache lines: there may be very many sessions.
#[repr(C)]
#[derive(Clone)]
pub struct ServerSession {
    pub(super) asked_no_expiry: bool,
    pub(super) is_resumed: bool,
    pub(super) is_bridge: bool,
    /// The keep-alive interval, in seconds; 0 for none.
    pub(super) keep_alive: u16,
    /// How long the session outlives its connection, in seconds; `u32::MAX` for ever.
    pub(super) session_expiry_interval: u32,
    /// What DISCONNECT may make of it at most.
    pub(super) max_session_expiry_interval: u32,
    /// When it ends; not as long as there is a connection.
    pub(super) expires_at: Instant,
    /// The will of the client.
    pub(super) will: Option<Box<KeptWill>>,
    /// The wills of earlier connections that are to be published now.
    pub(super) due_wills: Option<Box<DueWills>>,
    pub(super) engine: Engine,
    /// When something has last come from the client.
    pub(super) last_heard: Instant,
    pub(super) config: Arc<ServerConfig>,
    pub(super) client_id: Box<str>,
    pub(super) client: ClientLimits,
    /// The number of the connection, for requests.
    pub(super) connection: u32,
    /// The enhanced authentication, if CONNECT has named a method.
    pub(super) authentication: Option<Box<Authentication>>,
    pub(super) requests: Option<Box<Requests>>,
}

/// Wills in the order in which they are to be published.
pub(super) type DueWills = VecDeque<Will>;

/// A will, and when it is to be published; not as long as there is a connection.
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

/// A message that is taken out of a session that has expired: see [`Waiting::mark`].
pub(crate) struct Marked {
    /// The version that it is encoded in.
    #[allow(dead_code, reason = "for a router: see `routing`")]
    pub(crate) version: Version,
    pub(crate) message: Waiting,
}

/// What the client is ready to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    pub(super) receive_maximum: u16,
    pub(super) topic_alias_maximum: u16,
    pub(super) maximum_packet_size: u32,
    pub(super) wants_problem_information: bool,
}

impl ClientLimits {
    /// What a client takes that says nothing.
    pub(super) const DEFAULT: Self = Self {
        receive_maximum: u16::MAX,
        topic_alias_maximum: 0,
        maximum_packet_size: MAX_PACKET_SIZE,
        wants_problem_information: true,
    };
}

impl ServerSession {
    /// Takes what the transport has read and what time it is, and returns what there is to do next; `None` when there is
    /// nothing more. To be called until then: whenever something was read, whenever the [`deadline`](Self::deadline) has
    /// come, and after writing. To call it more often does no harm. Without a connection it is called with no input.
    ///
    /// What is left of `input` is an unfinished packet, and is to be given again when more has come; unless too many
    /// answers wait to be [written](ServerConfig::answer_limit): then it is to be given again when that has been written.
    ///
    /// `now` never goes back: an earlier one than before counts as the same.
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

    /// Notices what has been written. As long as no input is taken, bytes that leave are what shows that the client is
    /// alive: only time in which it could be heard counts against it. If nothing leaves either, it is taken for dead.
    #[inline]
    pub(super) fn note_sent(&mut self) {
        if self.engine.note_sent(self.config.answer_limit).is_some_and(|left| left.was_held) {
            self.last_heard = self.engine.now;
        }
    }

    /// Everything that is to be written to the transport, in order. Bytes leave by
    /// [`advance`](bytes::Buf::advance) alone.
    #[inline]
    pub fn transmit(&mut self) -> &mut Transmit {
        self.engine.transmit()
    }

    /// When [`poll`](Self::poll) has to be called at the latest, even if nothing is read until then;
    /// [`Instant::EPOCH`] if there is something to do at once.
    pub fn deadline(&self) -> Option<Instant> {
        if self.engine.is_due(&self.rules()) || self.due_wills.is_some() || self.engine.phase == Phase::Closing {
            return Some(Instant::EPOCH); // now, whatever the clock shows
        }
        match self.engine.phase {
            Phase::Open => self.dead_at().unless_never(),
            Phase::Closed => self.ends_at().unless_never(),
            Phase::Opening | Phase::Closing | Phase::Over | Phase::Expired => None,
        }
    }

    /// Publishes a message to the client, at once if that is possible; else it is kept until the client takes more, until
    /// some of what is to be written has been written, or until there is a connection.
    ///
    /// What has become of it is told by [`Action::Done`] with the token. Messages of one QoS are sent in the order in which
    /// they were published.
    ///
    /// # Errors
    ///
    /// [`CommandError::NotConnected`] for a message of QoS 0 if there is no connection, unless
    /// [they are kept](ServerConfig::keep_qos_0), and for any message if the session has expired.
    /// [`CommandError::TooLarge`] if it is larger than the client takes on this connection: the delivery counts as done
    /// \[MQTT-3.1.2-25\]. Without a connection it is stored, and the next one decides. [`CommandError::QueueFull`] if no
    /// more can be kept.
    /// [`CommandError::Text`] and [`CommandError::Encode`] if it cannot be sent in this version;
    /// [`CommandError::TopicAlias`] for a property that is not the caller's. Nothing has changed then.
    #[inline]
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Token, CommandError> {
        self.engine.advance(now);
        if self.engine.phase == Phase::Expired {
            return Err(CommandError::NotConnected);
        }
        let (engine, mut side) = self.split();
        engine.publish(&mut side, message)
    }

    /// Withdraws a message that was published under a token: its outcome is [`AbandonReason::Withdrawn`](crate::AbandonReason::Withdrawn),
    /// reported by the next [`poll`](Self::poll).
    ///
    /// What waits is not sent. What was sent is not sent again, but its packet identifier stays in use, and counts against the
    /// client's Receive Maximum, until the client has settled it on this connection; after that, until the session ends. A
    /// message of QoS 2 that the client has received is released in any case \[MQTT-4.3.3-4\].
    ///
    /// # Errors
    ///
    /// [`CommandError::UnknownToken`] if the outcome is known already, or if it is a message of QoS 0 that is in the output.
    pub fn withdraw(&mut self, now: Instant, token: Token) -> Result<(), CommandError> {
        self.engine.advance(now);
        self.engine.withdraw(token)
    }

    /// Returns the number of connections on which a message has been sent, the present one included; be it in part, and
    /// whether it has arrived or not. `None` if nothing is open under the token.
    pub fn tries(&self, token: Token) -> Option<u16> {
        self.engine.tries(token)
    }

    /// Acknowledges a message, with [manual](ServerConfig::manual_acks) acknowledgements. Acknowledgements go out in the
    /// order in which the messages came: an early one waits for those before it \[MQTT-4.6.0-2, MQTT-4.6.0-3\].
    ///
    /// With a reason code of 0x80 or above the message is refused; that is known to 5.0 only, before it is acknowledged
    /// like any other \[3.1.1: MQTT-3.3.5-2\].
    ///
    /// # Errors
    ///
    /// [`CommandError::EarlierConnection`] if the message came on an earlier connection: it will be delivered again, if
    /// the session goes on. [`CommandError::AlreadyAcknowledged`] if this is not the first time.
    /// [`CommandError::NotConnected`] if the connection is about to be closed.
    pub fn ack(&mut self, now: Instant, receipt: Receipt, reason_code: PubAckReasonCode) -> Result<(), CommandError> {
        self.ack_with(now, receipt, reason_code, &AckProperties::default())
    }

    /// As [`ack`](Self::ack), with properties; 5.0 only. They are left out if the client does not want them
    /// \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2,
    /// MQTT-3.5.2-3\].
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and [`CommandError::Encode`] if the properties cannot be sent.
    pub fn ack_with(
        &mut self,
        now: Instant,
        receipt: Receipt,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), CommandError> {
        self.engine.advance(now);
        let none = AckProperties::default();
        let properties = if self.client.wants_problem_information { properties } else { &none };
        let (engine, side) = self.split();
        engine.ack(&side.rules(), receipt, reason_code, properties)
    }

    /// The name of the session: that of CONNECT, or the one that was given to the client.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The version of the last connection.
    pub const fn version(&self) -> Version {
        self.engine.version
    }

    /// Whether the last connection goes on with a session from before: the subscriptions of that are still valid. If not,
    /// they are to be forgotten.
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Whether the client of the last connection is a [bridge](crate::codec::Connect::is_bridge).
    pub const fn is_bridge(&self) -> bool {
        self.is_bridge
    }

    /// Whether [`poll`](Self::poll) takes input: not without a connection, and not as long as too many answers
    /// [wait to be written](ServerConfig::answer_limit). What is read meanwhile has to be held by the caller.
    pub fn takes_input(&self) -> bool {
        self.engine.phase == Phase::Open && self.engine.has_room_for_answers(&self.rules())
    }

    /// Whether there is a connection, and it is not over.
    pub fn is_connected(&self) -> bool {
        self.engine.phase == Phase::Open
    }

    /// The keep-alive interval, in seconds; 0 for none.
    pub const fn keep_alive(&self) -> u16 {
        self.keep_alive
    }

    /// How long the session outlives its connection, in seconds; `u32::MAX` for ever.
    pub const fn session_expiry_interval(&self) -> u32 {
        self.session_expiry_interval
    }

    /// How many packet identifiers are in use: as many as messages to the client are open.
    pub fn open_operations(&self) -> usize {
        self.engine.outbound.len()
    }

    /// How many messages of QoS 1 and 2 were sent on this connection and are not settled.
    pub fn in_flight(&self) -> usize {
        usize::from(self.engine.outbound.in_flight())
    }

    /// How many messages wait to be sent, or to be sent again.
    pub fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    /// Panics if the parts of the session contradict each other. For tests.
    #[doc(hidden)]
    pub fn assert_consistent(&self) {
        self.engine.assert_consistent();
    }

    #[inline(always)]
    pub(super) fn rules(&self) -> Rules {
        self.config.rules(self.engine.version, self.client.receive_maximum, self.client.maximum_packet_size)
    }

    /// When the client is taken for dead: after one and a half times the keep-alive interval \[MQTT-3.1.2-22\].
    pub(super) fn dead_at(&self) -> Instant {
        match self.keep_alive {
            0 => Instant::NEVER,
            seconds => {
                let micros = u64::from(seconds).saturating_mul(1_500_000);
                Instant::from_micros(self.last_heard.as_micros().saturating_add(micros))
            }
        }
    }

    /// When the will is to be published, or the session is at its end.
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

    /// What is due without a connection.
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

    /// What is due when the input has been dealt with.
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
                // Two bytes: they always fit, see `MaximumPacketSizeTooSmall`.
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
            // What is about deliveries has been dealt with, and nothing else comes from a client.
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

/// What is only the server's of what its engine has to know.
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

    /// Before 5.0 the client knows of no Maximum QoS, and not whether messages are retained.
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
    fn takes(&self, _: QoS, _: bool) -> Result<(), CommandError> {
        Ok(())
    }

    /// A server has no requests.
    fn takes_request(&mut self, request: &Packet<'_>) -> Result<(), CommandError> {
        bug!("a server has sent {request:?}");
        Err(CommandError::NotConnected)
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
