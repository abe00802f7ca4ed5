//! The state of a client session, and its entry point for received bytes and time.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::time::Duration;

use super::action::{Action, Close};
use super::backoff::Backoff;
use super::config::ClientConfig;
use super::server::ServerLimits;
use crate::codec::{Packet, Publish, QoS, ReasonCode, Version};
use crate::session::{
    BudgetLimits, CommandError, End, Engine, Exchange, Journal, KeepAlive, Phase, ProtocolError, Rules, Side, Stop,
    Transmit,
};
use crate::time::Instant;

/// The client endpoint of a session, across all its connections: see the [module](super).
///
/// `Clone` is meant for simulations: only one of the two copies can continue the session with the server.
#[derive(Clone)]
pub struct ClientSession {
    pub(super) config: ClientConfig,
    pub(super) engine: Engine,
    pub(super) server: ServerLimits,
    /// Subscription identifiers that this client has used.
    pub(super) identifiers: Option<Box<Identifiers>>,
    pub(super) keep_alive: KeepAlive,
    /// Time of the last check of how many bytes were written.
    pub(super) noticed_at: Instant,
    pub(super) backoff: Backoff,
    pub(super) exchange: Exchange,
    /// Whether the server has accepted this connection. `established_at` is the time of CONNACK, in seconds.
    pub(super) established: bool,
    pub(super) established_at: u32,
    /// Whether CONNECT has asked for a new session.
    pub(super) asked_clean: bool,
    /// Whether there is a session that the next connection can resume.
    pub(super) has_session: bool,
    /// Whether this client has made every subscription of the session, so that all subscription identifiers are known.
    pub(super) knows_identifiers: bool,
}

/// A set of subscription identifiers.
pub(super) type Identifiers = BTreeSet<u32>;

impl ClientSession {
    /// Creates a client session without a connection.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            engine: Engine::new(config.version, config.journal),
            server: ServerLimits::UNKNOWN,
            identifiers: None,
            keep_alive: KeepAlive::new(0, Instant::EPOCH),
            noticed_at: Instant::EPOCH,
            backoff: Backoff::new(),
            exchange: Exchange::Idle,
            established: false,
            established_at: 0,
            asked_clean: false,
            has_session: false,
            knows_identifiers: false,
            config,
        }
    }

    /// Processes the bytes that the transport has received and the current time, and returns the next action; `None`
    /// when nothing is left to do. Call it until it returns `None`: after each read, when the
    /// [`deadline`](Self::deadline) has passed, and after each write. Additional calls are harmless.
    ///
    /// The rest of `input` is an incomplete packet: pass it again, with the bytes that follow. While too many
    /// answers [wait to be written](ClientConfig::answer_limit), the rest is not processed: pass it again
    /// after writing.
    ///
    /// `now` must not decrease: an earlier time counts as the time of the previous call.
    #[inline]
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        self.engine.advance(now);
        self.note_sent();
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        self.receive_all(input).or_else(|| self.check_time())
    }

    /// Notices the bytes that were written since the last call of `poll`.
    #[inline]
    fn note_sent(&mut self) {
        let before = core::mem::replace(&mut self.noticed_at, self.engine.now);
        if let Some(left) = self.engine.note_sent(self.config.answer_limit) {
            // The bytes were written after the last call: at the time of that call or later.
            self.keep_alive.sent(before);
            self.keep_alive.left(left.count, self.engine.now);
            if left.was_held {
                self.keep_alive.excuse(self.engine.now);
            }
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
        let has_left = self.keep_alive.awaits_departure() && self.engine.has_unnoticed();
        if has_left || self.engine.is_due(&self.rules()) {
            return Some(Instant::EPOCH); // at once, at any time
        }
        match self.engine.phase {
            Phase::Closed | Phase::Expired | Phase::Over => None,
            Phase::Closing => Some(Instant::EPOCH),
            Phase::Opening => self.keep_alive.dead_at(self.config.connect_timeout),
            Phase::Open => match (self.keep_alive.ping_at(), self.keep_alive.dead_at(self.config.ping_timeout)) {
                (Some(ping), Some(dead)) => Some(ping.min(dead)),
                (ping, dead) => ping.or(dead),
            },
        }
    }

    /// Returns the pause before the next connection. It is zero before the first connection, and doubles with each
    /// connection that was refused, lost or closed, up to the longest pause of the
    /// [configuration](ClientConfig::backoff). Up to half of it is random, and differs between client identifiers. A
    /// connection that has [lasted](ClientConfig::backoff_reset) resets it to the shortest pause; the server's
    /// acceptance of a connection alone does not, unless the configuration says so.
    pub fn backoff(&self) -> Duration {
        self.backoff.pause(self.config.backoff, &self.config.client_id, self.config.seed)
    }

    /// Returns the journal: the records to store before the session sends anything that depends on them; `None` unless
    /// the [configuration](ClientConfig::journal) asks for it. While records remain in it, [`transmit`](Self::transmit)
    /// is empty.
    ///
    /// [`restore`](Self::restore) takes all records that were ever taken from here, one after the other.
    ///
    /// A message is delivered before the record that the client has accepted ownership of it can be stored. For
    /// exactly-once processing across a crash, store the effects of the message and the records that follow in one
    /// transaction, or use [manual acknowledgements](ClientConfig::manual_acks): then [`ack`](Self::ack) writes the
    /// record.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        self.engine.journal.as_deref_mut()
    }

    /// Returns whether [`poll`](Self::poll) accepts input. It does not without a connection, or while too many
    /// answers [wait to be written](ClientConfig::answer_limit). Meanwhile the caller has to hold the
    /// received bytes.
    pub fn takes_input(&self) -> bool {
        self.engine.phase.takes_input() && self.engine.has_room_for_answers(&self.rules())
    }

    /// Returns whether the server has accepted the connection and the connection is not over.
    pub fn is_connected(&self) -> bool {
        self.engine.phase == Phase::Open
    }

    /// Returns the number of operations with a packet identifier that have no outcome yet.
    pub fn open_operations(&self) -> usize {
        self.engine.outbound.open()
    }

    /// Returns the number of QoS 1 and QoS 2 messages that were sent on this connection and whose delivery is not
    /// complete. At the server's Receive Maximum no further message is sent. The number can exceed it only after a
    /// resume, by messages that wait for PUBCOMP.
    pub fn in_flight(&self) -> usize {
        usize::from(self.engine.outbound.in_flight())
    }

    /// Returns the number of received QoS 2 messages that the server has not yet released with PUBREL.
    pub fn unreleased(&self) -> usize {
        self.engine.inbound.unreleased()
    }

    /// Returns the number of messages and requests that wait to be sent or sent again.
    pub fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    /// Returns the limits that the server has announced on this connection. Without a connection they are not known.
    pub const fn server(&self) -> &ServerLimits {
        &self.server
    }

    /// Returns the configuration. Its `client_id` is the one that the server has assigned, if any.
    pub const fn config(&self) -> &ClientConfig {
        &self.config
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
    fn rules(&self) -> Rules {
        rules(&self.config, self.engine.version, &self.server)
    }

    /// Ends the connection because of a Protocol Error of the server.
    #[cold]
    pub(super) fn protocol_error<'a>(&mut self, protocol_error: ProtocolError) -> Action<'a> {
        self.end_with(protocol_error.reason_code());
        Action::Close(Close::ProtocolError(protocol_error))
    }

    /// Ends the connection; in 5.0 DISCONNECT reports the reason code to the server.
    fn end_with(&mut self, code: ReasonCode) {
        self.engine.tell(code, self.server.maximum_packet_size);
        self.end();
    }

    fn end(&mut self) {
        self.engine.phase = Phase::Over;
    }

    pub(super) fn over<'a>(&mut self, why: Close<'a>) -> Action<'a> {
        self.end();
        Action::Close(why)
    }

    /// Handles timeouts, after the input has been processed.
    #[inline]
    fn check_time<'a>(&mut self) -> Option<Action<'a>> {
        let now = self.engine.now;
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match self.engine.phase {
            Phase::Open => {
                if core::mem::take(&mut self.engine.heard) {
                    self.keep_alive.received(now);
                }
                if due(self.keep_alive.dead_at(self.config.ping_timeout)) {
                    return Some(self.over(Close::PingTimeout));
                }
                if due(self.keep_alive.ping_at()) {
                    self.ping();
                }
                None
            }
            Phase::Opening if due(self.keep_alive.dead_at(self.config.connect_timeout)) => {
                Some(self.over(Close::ConnectTimeout))
            }
            Phase::Closing => Some(self.over(Close::Requested)),
            Phase::Opening | Phase::Closed | Phase::Expired | Phase::Over => None,
        }
    }

    /// Sends PINGREQ, because nothing was sent, or nothing was received, for almost the keep-alive interval. An idle
    /// connection is also the occasion to release unused memory.
    #[cold]
    fn ping(&mut self) {
        // PINGREQ has two bytes and always fits, see `MaximumPacketSizeTooSmall`.
        if let Err(error) =
            self.engine.transmit.encode(u32::MAX, |out| Packet::PingReq.encode(self.engine.version, out))
        {
            bug!("PINGREQ has nothing that cannot be encoded: {error}");
        }
        self.keep_alive.ask(self.engine.now, self.engine.ahead());
        self.engine.shrink();
    }
}

impl End for ClientSession {
    type Side<'s> = ClientSide<'s>;
    type Action<'a> = Action<'a>;

    #[inline(always)]
    fn split(&mut self) -> (&mut Engine, ClientSide<'_>) {
        let side = ClientSide {
            config: &self.config,
            version: self.engine.version,
            server: &self.server,
            identifiers: &mut self.identifiers,
            knows_identifiers: self.knows_identifiers,
        };
        (&mut self.engine, side)
    }

    fn receive_other<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        self.receive(packet)
    }

    #[cold]
    fn fail<'a>(&mut self, stop: Stop) -> Action<'a> {
        match stop {
            Stop::Malformed(error) => {
                self.end_with(error.reason_code());
                Action::Close(Close::Malformed(error))
            }
            Stop::ProtocolError(protocol_error) => self.protocol_error(protocol_error),
            Stop::NotMine => {
                bug!("such a packet is given to `receive_other`");
                self.over(Close::Requested)
            }
        }
    }
}

/// The client's part of the information that the engine needs.
pub(crate) struct ClientSide<'s> {
    config: &'s ClientConfig,
    version: Version,
    server: &'s ServerLimits,
    identifiers: &'s mut Option<Box<Identifiers>>,
    knows_identifiers: bool,
}

#[inline(always)]
fn rules(config: &ClientConfig, version: Version, server: &ServerLimits) -> Rules {
    Rules {
        limits: config.limits(),
        // Before 5.0 no Receive Maximum is announced: only the number of packet identifiers limits the server.
        receive_maximum: if version == Version::V5 { config.receive_maximum.get() } else { u16::MAX },
        topic_alias_maximum: config.topic_alias_maximum,
        manual_acks: config.manual_acks,
        deliver_in_parts: config.deliver_in_parts,
        max_in_flight: server.receive_maximum.min(config.max_in_flight.get()),
        max_packet_size: server.maximum_packet_size,
        budget: BudgetLimits { count: config.max_kept, bytes: config.max_kept_bytes },
        overflow: config.overflow,
        puback_ends_qos_2: config.puback_ends_qos_2,
        keeps_qos_0: true,
        transmit_limit: config.transmit_limit.max(1),
        answer_limit: config.answer_limit.max(1),
    }
}

impl Side for ClientSide<'_> {
    #[inline(always)]
    fn rules(&self) -> Rules {
        rules(self.config, self.version, self.server)
    }

    /// Checks that each subscription identifier of a message may have been used in a SUBSCRIBE (section 3.3.2.3.8).
    #[cold]
    fn admits_identifiers(&self, publish: &Publish<'_>) -> Result<(), ProtocolError> {
        let is_known = |id: u32| self.identifiers.as_ref().is_some_and(|known| known.contains(&id));
        let mut identifiers = publish.properties.subscription_identifiers.iter();
        if !self.knows_identifiers || identifiers.all(|id| is_known(id.get())) {
            Ok(())
        } else {
            Err(ProtocolError::UnknownSubscriptionIdentifier)
        }
    }

    #[inline(always)]
    fn takes(&self, qos: QoS, retain: bool) -> Result<(), CommandError> {
        self.server.check_message(qos, retain)
    }

    fn takes_request(&mut self, packet: &Packet<'_>) -> Result<(), CommandError> {
        if let Packet::Subscribe(subscribe) = packet {
            self.server.check_subscriptions(subscribe.subscriptions, &subscribe.properties)?;
            if let Some(identifier) = subscribe.properties.subscription_identifier {
                self.identifiers.get_or_insert_default().insert(identifier.get());
            }
        }
        Ok(())
    }
}

impl core::fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClientSession")
            .field("config", &self.config)
            .field("state", &self.engine.phase)
            .field("open_operations", &self.open_operations())
            .field("waiting", &self.waiting())
            .field("transmit", &self.engine.transmit)
            .finish_non_exhaustive()
    }
}
