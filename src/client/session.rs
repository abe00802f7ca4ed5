//! The client session: what it holds, and the one way in for bytes and time.

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

/// The client's end of a session, across all its connections: see the [module](super).
///
/// A clone is for simulations: only one of the two can go on with the session.
#[derive(Clone)]
pub struct ClientSession {
    pub(super) config: ClientConfig,
    pub(super) engine: Engine,
    pub(super) server: ServerLimits,
    /// The subscription identifiers that were used.
    pub(super) identifiers: Option<Box<Identifiers>>,
    pub(super) keep_alive: KeepAlive,
    /// When it was last noticed what has left.
    pub(super) noticed_at: Instant,
    pub(super) backoff: Backoff,
    pub(super) exchange: Exchange,
    /// Whether this connection was accepted, and at which second.
    pub(super) established: bool,
    pub(super) established_at: u32,
    /// Whether CONNECT has asked for a new session.
    pub(super) asked_clean: bool,
    /// Whether there is a session that the next connection can resume.
    pub(super) has_session: bool,
    /// Whether every subscription of the session was made by this client: then its identifiers are known.
    pub(super) knows_identifiers: bool,
}

/// Subscription identifiers.
pub(super) type Identifiers = BTreeSet<u32>;

impl ClientSession {
    /// A client without a connection.
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

    /// Takes what the transport has read and what time it is, and returns what there is to do next; `None` when there
    /// is nothing more. To be called until then: whenever something was read, whenever the
    /// [`deadline`](Self::deadline) has come, and after writing. To call it more often does no harm.
    ///
    /// What is left of `input` is an unfinished packet, and is to be given again when more has come; unless too many
    /// answers wait to be [written](ClientConfig::transmit_limit): then it is to be given again when that has been written.
    ///
    /// `now` never goes back: an earlier one than before counts as the same.
    #[inline]
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        self.engine.advance(now);
        self.note_sent();
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        self.receive_all(input).or_else(|| self.check_time())
    }

    /// Notices what has left since the last call of `poll`.
    #[inline]
    fn note_sent(&mut self) {
        let before = core::mem::replace(&mut self.noticed_at, self.engine.now);
        if let Some(left) = self.engine.note_sent(self.config.transmit_limit) {
            // The bytes were written after the last call, so at that time or later.
            self.keep_alive.sent(before);
            self.keep_alive.left(left.count, self.engine.now);
            if left.was_held {
                self.keep_alive.excuse(self.engine.now);
            }
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
        let has_left = self.keep_alive.awaits_departure() && self.engine.has_unnoticed();
        if has_left || self.engine.is_due(&self.rules()) {
            return Some(Instant::EPOCH); // now, whatever the clock shows
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

    /// How long to wait before the next connection: nothing before the first one; then a pause that doubles with each
    /// connection that was refused, lost, or closed, up to the longest of the [configuration](ClientConfig::backoff). It has
    /// a random part, which differs from one client identifier to another. A connection that has
    /// [lasted](ClientConfig::backoff_reset) makes it the shortest again; that the server has accepted it does not.
    pub fn backoff(&self) -> Duration {
        self.backoff.pause(self.config.backoff, &self.config.client_id, self.config.seed)
    }

    /// The records that are to be stored before anything that depends on them is sent, if the
    /// [configuration](ClientConfig::journal) asks for them: as long as there are some, [`transmit`](Self::transmit)
    /// is empty.
    ///
    /// All that was ever taken from here, one record after the other, is what [`restore`](Self::restore) takes.
    ///
    /// A message is delivered before the record that it was taken over can be stored. Who has to deliver exactly once across
    /// a crash stores what a message has brought about and the records that follow in one transaction, or uses
    /// [manual acknowledgements](ClientConfig::manual_acks): then the record is made by [`ack`](Self::ack).
    pub fn journal(&mut self) -> Option<&mut Journal> {
        self.engine.journal.as_deref_mut()
    }

    /// Whether [`poll`](Self::poll) takes input: not without a connection, and not as long as too many answers
    /// [wait to be written](ClientConfig::transmit_limit). What is read meanwhile has to be held by the caller.
    pub fn takes_input(&self) -> bool {
        self.engine.phase.takes_input() && self.engine.has_room_for_answers(&self.rules())
    }

    /// Whether the server has accepted the connection, and it is not over.
    pub fn is_connected(&self) -> bool {
        self.engine.phase == Phase::Open
    }

    /// How many operations with a packet identifier have an outcome to come.
    pub fn open_operations(&self) -> usize {
        self.engine.outbound.open()
    }

    /// How many messages of QoS 1 and 2 were sent on this connection and are not settled. No message is sent when they
    /// are as many as the server's Receive Maximum; only after a resume there may be more of them that wait for PUBCOMP.
    pub fn in_flight(&self) -> usize {
        usize::from(self.engine.outbound.in_flight())
    }

    /// How many messages of QoS 2 have arrived whose delivery the server has not brought to its end.
    pub fn unreleased(&self) -> usize {
        self.engine.inbound.unreleased()
    }

    /// How many messages and requests wait to be sent, or to be sent again.
    pub fn waiting(&self) -> usize {
        self.engine.waiting()
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
        self.engine.assert_consistent();
    }

    #[inline(always)]
    fn rules(&self) -> Rules {
        rules(&self.config, self.engine.version, &self.server)
    }

    /// The server has broken the protocol.
    #[cold]
    pub(super) fn protocol_error<'a>(&mut self, protocol_error: ProtocolError) -> Action<'a> {
        self.end_with(protocol_error.reason_code());
        Action::Close(Close::ProtocolError(protocol_error))
    }

    /// The connection is over; in 5.0 the server is told why.
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

    /// What is due when the input has been dealt with.
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

    /// Nothing was sent for the interval. That is also the time to give memory back.
    #[cold]
    fn ping(&mut self) {
        // Two bytes that always fit, see `MaximumPacketSizeTooSmall`.
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

/// What is only the client's of what its engine has to know.
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
        // Before 5.0 the server knows of no Receive Maximum, and is bound by the packet identifiers alone.
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
        answer_limit: config.transmit_limit.max(1),
    }
}

impl Side for ClientSide<'_> {
    #[inline(always)]
    fn rules(&self) -> Rules {
        rules(self.config, self.version, self.server)
    }

    /// Whether the identifiers of a message may all have been used (section 3.3.2.3.8).
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
