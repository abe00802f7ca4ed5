//! The state of a server session, its entry point for received bytes and time, and the steps that received packets and
//! time cause.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::accept::{Accept, GrantedIntervals, Pending};
use super::action::{Action, Close};
use super::config::ServerConfig;
use super::peer::{ClientPeer, limits};
use super::request::{Kind, RequestId, Requests, SubscribeRequest, UnsubscribeRequest};
use super::state::{Authentication, Connection, DueWills, Phase, State};
use crate::codec::{
    Auth, AuthReasonCode, Disconnect, DisconnectReasonCode, List, Packet, PacketId, ReasonCode, SubAck,
    SubAckReasonCode, Subscribe, SubscribeProperties, Subscription, UnsubAck, UnsubAckReasonCode, Unsubscribe, Version,
};
use crate::session::{
    Available, ConnectionLimits, Durable, Endpoint, Engine, Exchange, ProtocolError, ServerRecord, SessionExpiry, Stop,
    Transmit, Waiting, Will,
};
use crate::sync::Arc;
use crate::text::Utf8Str;
use crate::time::Instant;

/// The server endpoint of a session, across all its connections: see the [module](super). An
/// [`Acceptor`](super::Acceptor) creates it.
///
/// `Clone` is meant for simulations: only one of the two copies can continue the session with the client.
#[derive(Clone)]
pub struct ServerSession {
    pub(super) state: State,
    pub(super) engine: Engine,
    pub(super) config: Arc<ServerConfig>,
    pub(super) client_id: Box<str>,
    /// The will of the client, unless it was published or discarded.
    pub(super) will: Option<Box<Will>>,
    /// The wills of earlier connections that are to be published now.
    pub(super) due_wills: Option<Box<DueWills>>,
    /// How long the session outlives its connection.
    pub(super) session_expiry_interval: SessionExpiry,
    /// Maximum of the session expiry interval that DISCONNECT may set.
    pub(super) max_session_expiry_interval: SessionExpiry,
    /// Number of the connection, which distinguishes the requests of different connections; wraps.
    pub(super) connection: u32,
    /// Keep-alive interval of the last connection, in seconds; 0: no keep-alive.
    pub(super) keep_alive: u16,
    /// Whether the last connection has resumed an existing session.
    pub(super) is_resumed: bool,
    /// Whether the client of the last connection is a bridge.
    pub(super) is_bridge: bool,
    /// Whether a router takes the session apart when it has ended: see [`ServerSession::take_apart`].
    pub(super) is_routed: bool,
}

/// A message that is taken out of a session that is discarded: see [`Waiting::mark`].
pub(crate) struct Marked {
    /// The version in which the message is encoded.
    #[allow(dead_code, reason = "for a router: see `routing`")]
    pub(crate) version: Version,
    #[allow(dead_code, reason = "for a router: see `routing`")]
    pub(crate) message: Waiting,
}

impl ServerSession {
    /// Creates a session that no client has connected to.
    pub(super) fn new(config: Arc<ServerConfig>, version: Version) -> Self {
        Self {
            state: State::Detached { expires_at: Instant::NEVER, will_at: Instant::NEVER },
            engine: Engine::new(version, None),
            config,
            client_id: "".into(),
            will: None,
            due_wills: None,
            session_expiry_interval: SessionExpiry::WITH_CONNECTION,
            max_session_expiry_interval: SessionExpiry::WITH_CONNECTION,
            connection: 0,
            keep_alive: 0,
            is_resumed: false,
            is_bridge: false,
            is_routed: false,
        }
    }

    /// Creates a session that is restored. If it was connected, its connection ends now.
    pub(super) fn restored(
        config: Arc<ServerConfig>,
        record: &ServerRecord<'_>,
        engine: Engine,
        wills: Vec<Will>,
    ) -> Self {
        let mut session = Self::with_record(config, record, engine);
        session.set_wills(record, wills);
        session.store_session();
        session
    }

    /// Creates a session that is restored, without its wills.
    pub(super) fn with_record(config: Arc<ServerConfig>, record: &ServerRecord<'_>, engine: Engine) -> Self {
        let session_expiry_interval = SessionExpiry::after(record.session_expiry_interval);
        let expires_at = session_expiry_interval.counted_from(engine.now());
        let (expires_at, will_at) = record.ends.unwrap_or((expires_at, expires_at));
        Self {
            state: if record.has_ended { State::Expired } else { State::Detached { expires_at, will_at } },
            engine,
            client_id: record.client_id.into(),
            session_expiry_interval,
            max_session_expiry_interval: SessionExpiry::after(record.max_session_expiry_interval),
            is_bridge: record.is_bridge,
            ..Self::new(config, record.version)
        }
    }

    /// Sets the wills of a restored session, in the order in which they are due. If the session was connected, the delay of
    /// the last one begins now.
    pub(super) fn set_wills(&mut self, record: &ServerRecord<'_>, mut wills: Vec<Will>) {
        let will = if record.has_will { wills.pop() } else { None };
        let now = self.engine.now();
        if let State::Detached { expires_at, will_at } = &mut self.state
            && record.ends.is_none()
        {
            let delay = will.as_ref().map_or(0, |will| will.delay_interval);
            *will_at = now.after_seconds(delay).min(*expires_at);
        }
        self.will = will.map(Box::new);
        self.due_wills = (!wills.is_empty()).then(|| Box::new(wills.into()));
    }

    /// Attaches a new connection to the session, which has none. `transmit` contains CONNACK.
    pub(super) fn attach(
        &mut self,
        pending: Pending,
        granted: &GrantedIntervals,
        accept: Accept,
        is_present: bool,
        now: Instant,
        transmit: Transmit,
    ) {
        self.engine.advance(now);
        // A will is published when its session ends, at the latest, and not at all if the client resumes the session
        // before the will is due.
        let now = self.engine.now();
        let is_will_due = matches!(self.state, State::Detached { will_at, .. } if will_at <= now);
        if !is_present || is_will_due {
            if let Some(will) = self.will.take() {
                self.due_wills.get_or_insert_default().push_back(*will);
            }
        } else {
            self.discard_will();
        }
        if !is_present {
            self.forget();
        }
        self.engine.change_version(pending.version);
        self.client_id = match accept.assigned_client_id {
            Some(assigned) if pending.client_id.is_empty() => assigned.into(),
            _ => pending.client_id,
        };
        let authentication = |method| Box::new(Authentication { method, exchange: Exchange::Idle });
        self.state = State::Attached(Connection {
            phase: Phase::Open,
            asked_no_expiry: !pending.session_expiry_interval.outlives_connection(),
            client: pending.client,
            last_input_at: self.engine.now(),
            authentication: pending.method.map(authentication),
            requests: None,
        });
        self.keep_alive = granted.keep_alive;
        self.session_expiry_interval = granted.session_expiry_interval;
        self.max_session_expiry_interval =
            accept.session_expiry_interval.unwrap_or(self.config.max_session_expiry_interval);
        self.is_resumed = is_present;
        self.is_bridge = pending.is_bridge;
        self.begin_or_end_storing();
        if let Some(will) = pending.will {
            self.store_will(&will);
            self.will = Some(will);
        }
        self.store_session();
        self.engine.open_with(transmit, pending.client.topic_alias_maximum.min(self.config.topic_aliases));
    }

    /// Makes the session durable if it outlives its connection and the configuration says so; otherwise removes what is
    /// stored of it.
    fn begin_or_end_storing(&mut self) {
        let is_stored = self.config.durable && self.session_expiry_interval.outlives_connection();
        if self.engine.durable_mut().is_none() {
            // A router decides for all of its sessions.
            if !is_stored || self.is_routed {
                return;
            }
            self.engine.set_durable(Some(Durable::new(self.engine.version(), self.config.max_uncommitted)));
        }
        if self.engine.set_stored(is_stored) {
            for will in self.due_wills.iter().flat_map(|wills| wills.iter()) {
                store_will(&mut self.engine, will);
            }
        }
    }

    /// Stores a will, which becomes due after all others.
    fn store_will(&mut self, will: &Will) {
        store_will(&mut self.engine, will);
    }

    /// Discards the will of the last connection.
    fn discard_will(&mut self) {
        if self.will.take().is_some()
            && let Some(durable) = self.engine.durable_mut()
        {
            durable.discard_last_will();
        }
    }

    /// Stores the record of a durable session, or that it has ended.
    pub(super) fn store_session(&mut self) {
        if self.engine.durable_mut().is_some() {
            self.store_session_if_durable();
        }
    }

    // Out of line, so that sessions that are not durable do not pay for it.
    #[cold]
    #[inline(never)]
    fn store_session_if_durable(&mut self) {
        let record = ServerRecord {
            version: self.engine.version(),
            is_bridge: self.is_bridge,
            has_will: self.will.is_some(),
            has_ended: matches!(self.state, State::Expired),
            ends: match self.state {
                State::Detached { expires_at, will_at } => Some((expires_at, will_at)),
                State::Attached(_) | State::Expired => None,
            },
            session_expiry_interval: self.session_expiry_interval.value(),
            max_session_expiry_interval: self.max_session_expiry_interval.value(),
            owner: None,
            mount_point: None,
            client_id: &self.client_id,
        };
        if let Some(durable) = self.engine.durable_mut() {
            let (owner, mount_point) = (durable.owner().cloned(), durable.mount_point().cloned());
            let record = ServerRecord { owner: owner.as_deref(), mount_point: mount_point.as_deref(), ..record };
            let write = |out: &mut _| record.write(out);
            if record.has_ended { durable.end_session(write) } else { durable.set_session(write) }
        }
    }

    /// Processes the bytes that the transport has received and the current time, and returns the next action; `None`
    /// when nothing is left to do. Call it until it returns `None`: after each read, when the
    /// [`deadline`](Self::deadline) has passed, and after each write. Additional calls are harmless. Without a
    /// connection, call [`poll_timeout`](Self::poll_timeout).
    ///
    /// The rest of `input` is an incomplete packet: pass it again, with the bytes that follow. While too many answers
    /// [wait to be written](ServerConfig::answer_limit), the rest is not processed: pass it again after writing.
    ///
    /// `now` must not decrease: an earlier time counts as the time of the previous call.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let received = b"\x30\x06\0\x01t\x0021\x30"; // PUBLISH, and the first byte of another packet
    /// let mut input = &received[..];
    /// while let Some(action) = session.poll(now, &mut input) {
    ///     match action {
    ///         Action::Message(message) => println!("{}: {:?}", message.topic, message.payload),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// assert_eq!(input, b"\x30"); // passed again when more was read
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline]
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        self.engine.advance(now);
        if self.state.is_detached() {
            *input = &[];
            return self.poll_detached();
        }
        self.note_sent();
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        if self.state.open().is_none() {
            *input = &[];
            return self.finish_closing();
        }
        self.receive_all(input).or_else(|| self.check_time())
    }

    /// Processes the current time, where nothing was received or there is no connection: [`poll`](Self::poll) with an
    /// empty input. Call it until it returns `None`, when the [`deadline`](Self::deadline) has passed, and after each
    /// write. If received bytes are left, call [`poll`](Self::poll) with them instead.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, Close, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let deadline = session.deadline().expect("there is a keep-alive interval"); // nothing was read until then
    /// assert_eq!(session.poll_timeout(deadline), Some(Action::Close(Close::KeepAliveTimeout)));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Action<'static>> {
        self.poll(now, &mut &[][..])
    }

    /// Processes the current time while the caller withholds input, because its application takes no more messages for
    /// now. As [`poll_timeout`](Self::poll_timeout), except that the client's silence up to now does not count against
    /// it: only time in which its packets are accepted does. Without a connection it is `poll_timeout`.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let deadline = session.deadline().expect("there is a keep-alive interval");
    /// // The application was busy, and has read nothing.
    /// assert_eq!(session.poll_held(deadline), None);
    /// assert!(session.is_connected());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn poll_held(&mut self, now: Instant) -> Option<Action<'static>> {
        self.engine.advance(now);
        self.reset_keep_alive_now();
        self.poll_timeout(now)
    }

    /// Notes the bytes that were written. While no input is accepted, written bytes are the sign that the client is
    /// alive, because only time in which its packets are accepted counts against it. If no bytes are written either,
    /// the keep-alive timeout ends the connection.
    #[inline]
    pub(super) fn note_sent(&mut self) {
        if self.engine.note_sent(self.config.answer_limit.get()).is_some_and(|sent| sent.was_held) {
            self.reset_keep_alive_now();
        }
    }

    /// Restarts the keep-alive interval.
    pub(super) fn reset_keep_alive_now(&mut self) {
        if let State::Attached(connection) = &mut self.state {
            connection.last_input_at = self.engine.now();
        }
    }

    /// Returns the output: all bytes that are to be written to the transport, in order.
    /// [`advance`](bytes::Buf::advance) removes bytes that were written.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use std::io::Write;
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # let mut transport = Vec::new();
    /// while session.transmit().has_remaining() {
    ///     let written = transport.write(session.transmit().chunk())?;
    ///     session.transmit().advance(written);
    /// }
    /// # assert_eq!(transport[0], 0x20);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline]
    pub fn transmit(&mut self) -> &mut Transmit {
        self.engine.transmit()
    }

    /// Returns the time by which [`poll`](Self::poll) must be called even if nothing is received; [`Instant::EPOCH`] if
    /// there is something to do at once, `None` if there is no deadline.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let deadline = session.deadline().expect("there is a keep-alive interval"); // here of 60 seconds
    /// assert_eq!(deadline.since(now), Duration::from_secs(90)); // read from the transport for this time at most
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        if self.engine.is_due(|| self.limits()) || self.due_wills.is_some() || self.state.is_closing() {
            return Some(Instant::EPOCH); // at once, at any time
        }
        self.timeout().unless_never().map(|at| self.engine.outside(at))
    }

    /// Returns the time of the keep-alive timeout; without a connection, the time when the will is due or the session
    /// expires. It is a time of the session, see `Engine::outside`.
    #[inline]
    pub(crate) fn timeout(&self) -> Instant {
        match &self.state {
            State::Attached(connection) if connection.phase == Phase::Open => self.dead_at(connection),
            State::Detached { expires_at, will_at } => self.ends_at(*expires_at, *will_at),
            State::Attached(_) | State::Expired => Instant::NEVER,
        }
    }

    /// Returns the client identifier: that of CONNECT, or the assigned one.
    ///
    /// The facts about the client and its session:
    ///
    /// ```
    /// # use core::num::NonZeroU16;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use mqtt_sansio::{Instant, SessionExpiry, Version};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// assert_eq!((session.client_id(), session.version()), ("thermo", Version::V5));
    /// assert_eq!(session.keep_alive(), NonZeroU16::new(60));
    /// assert_eq!(session.session_expiry_interval(), SessionExpiry::WITH_CONNECTION);
    /// assert!(!session.is_resumed() && !session.is_bridge());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the protocol version of the last connection.
    pub const fn version(&self) -> Version {
        self.engine.version()
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
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// if session.takes_input() {
    ///     // Wait until the transport has received something.
    /// } else {
    ///     // Only write: the client does not read the answers.
    /// #   unreachable!();
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn takes_input(&self) -> bool {
        self.state.open().is_some() && self.engine.has_room_for_answers(&self.limits())
    }

    /// Returns whether there is a connection that is not over.
    pub const fn is_connected(&self) -> bool {
        self.state.open().is_some()
    }

    /// Returns the keep-alive interval, in seconds; `None`: the client need not send anything.
    pub const fn keep_alive(&self) -> Option<NonZeroU16> {
        NonZeroU16::new(self.keep_alive)
    }

    /// Returns how long the session outlives its connection.
    pub const fn session_expiry_interval(&self) -> SessionExpiry {
        self.session_expiry_interval
    }

    /// Returns the number of packet identifiers in use: those of messages in flight, and those of withdrawn messages
    /// that the client has not completed.
    pub fn packet_ids_in_use(&self) -> usize {
        self.engine.deliveries().outbound().len()
    }

    /// Returns the number of QoS 1 and QoS 2 messages that were sent on this connection and whose delivery is not
    /// complete.
    pub fn in_flight(&self) -> usize {
        usize::from(self.engine.deliveries().outbound().in_flight())
    }

    /// Returns the number of messages that wait to be sent or sent again.
    ///
    /// The counters of a session, for statistics:
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// session.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// assert_eq!((session.queued(), session.in_flight(), session.packet_ids_in_use()), (0, 1, 1));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn queued(&self) -> usize {
        self.engine.deliveries().queued()
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
    pub(super) fn limits(&self) -> ConnectionLimits {
        limits(&self.config, self.engine.version(), &self.state)
    }

    /// Returns the time of the keep-alive timeout: one and a half times the keep-alive interval after the last sign of
    /// life \[MQTT-3.1.2-22\].
    fn dead_at(&self, connection: &Connection) -> Instant {
        match self.keep_alive {
            0 => Instant::NEVER,
            seconds => {
                let micros = u64::from(seconds).saturating_mul(1_500_000);
                Instant::from_micros(connection.last_input_at.as_micros().saturating_add(micros))
            }
        }
    }

    /// Returns the time when the will is due or the session expires, whichever is first.
    #[inline]
    fn ends_at(&self, expires_at: Instant, will_at: Instant) -> Instant {
        if self.will.is_some() { will_at.min(expires_at) } else { expires_at }
    }

    #[cold]
    pub(super) fn due_will<'a>(&mut self) -> Option<Action<'a>> {
        let wills = self.due_wills.as_mut()?;
        let first = wills.pop_front();
        if wills.is_empty() {
            self.due_wills = None;
        }
        if let (Some(durable), Some(_)) = (self.engine.durable_mut(), &first) {
            durable.publish_first_will();
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
        if self.timeout() <= self.engine.now() { self.check_end() } else { None }
    }

    /// Handles what is left to do on a connection that has ended.
    #[cold]
    pub(super) fn finish_closing<'a>(&mut self) -> Option<Action<'a>> {
        if self.due_wills.is_some() {
            return self.due_will();
        }
        self.state.is_closing().then(|| self.over(Close::Requested))
    }

    /// Handles timeouts, after the input has been processed.
    #[inline]
    fn check_time<'a>(&mut self) -> Option<Action<'a>> {
        if self.due_wills.is_some() {
            return self.due_will();
        }
        let now = self.engine.now();
        if self.engine.take_has_input() || self.engine.is_stalled(|| self.limits()) {
            self.reset_keep_alive_now();
        }
        (self.timeout() <= now).then(|| self.time_out())
    }

    /// Handles a will, or the end of the session, that is due.
    #[cold]
    fn check_end<'a>(&mut self) -> Option<Action<'a>> {
        let State::Detached { expires_at, will_at } = self.state else { return None };
        let now = self.engine.now();
        if will_at <= now
            && let Some(will) = self.will.take()
        {
            if let Some(durable) = self.engine.durable_mut() {
                durable.publish_last_will();
            }
            self.store_session();
            return Some(Action::Will(will));
        }
        if expires_at <= now {
            if !self.is_routed {
                self.forget();
                if self.engine.has_report() {
                    return self.engine.next_report(); // `Expired` follows the last report
                }
            }
            self.state = State::Expired;
            self.store_session();
            return Some(Action::Expired);
        }
        None
    }

    /// Discards the state of the session: abandons all messages.
    pub(super) fn forget(&mut self) {
        self.engine.forget_in_flight();
        self.engine.forget_queued();
    }

    /// Returns whether the session can still be resumed if its connection, if it has one, ends at this time.
    pub(crate) fn outlives_connection(&self, now: Instant) -> bool {
        if self.state.is_detached() {
            !self.is_expired(now)
        } else {
            self.session_expiry_interval.outlives_connection()
        }
    }

    /// Returns whether the session has no connection and has expired at this time.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        match self.state {
            State::Attached(_) => false,
            State::Detached { expires_at, .. } => expires_at <= now,
            State::Expired => true,
        }
    }

    fn receive_disconnect<'a>(&mut self, disconnect: Disconnect<'a>) -> Action<'a> {
        if let Some(seconds) = disconnect.properties.session_expiry_interval {
            if seconds != 0 && self.state.open().is_some_and(|connection| connection.asked_no_expiry) {
                return self.protocol_error(ProtocolError::SessionExpiry);
            }
            self.session_expiry_interval = SessionExpiry::after(seconds).min(self.max_session_expiry_interval);
        }
        // Only Normal disconnection discards the will [MQTT-3.14.4-3].
        if disconnect.reason_code == DisconnectReasonCode::NormalDisconnection {
            self.discard_will();
        }
        self.store_session();
        self.over(Close::Disconnected(disconnect))
    }

    /// Ends the connection because of a Protocol Error of the client.
    #[cold]
    fn protocol_error<'a>(&mut self, protocol_error: ProtocolError) -> Action<'a> {
        self.engine.put_disconnect_code(protocol_error.reason_code(), self.state.client().maximum_packet_size);
        self.over(Close::ProtocolError(protocol_error))
    }

    #[cold]
    fn time_out<'a>(&mut self) -> Action<'a> {
        self.engine.put_disconnect_code(ReasonCode::KeepAliveTimeout, self.state.client().maximum_packet_size);
        self.over(Close::KeepAliveTimeout)
    }

    pub(super) fn over<'a>(&mut self, why: Close<'a>) -> Action<'a> {
        self.state.set_phase(Phase::Over);
        Action::Close(why)
    }

    /// Handles AUTH from the client: the start of a re-authentication, or the answer to a challenge.
    #[cold]
    fn receive_auth<'a>(&mut self, auth: Auth<'a>) -> Action<'a> {
        let connection = self.state.open_mut();
        let Some(authentication) = connection.and_then(|connection| connection.authentication.as_mut()) else {
            return self.protocol_error(ProtocolError::UnexpectedAuth);
        };
        let method = auth.properties.authentication_method.map(Utf8Str::as_bytes);
        if method != Some(authentication.method.as_bytes()) {
            return self.protocol_error(ProtocolError::AuthenticationMethodChanged);
        }
        authentication.exchange = match (auth.reason_code, authentication.exchange) {
            (AuthReasonCode::ReAuthenticate, Exchange::Idle)
            | (AuthReasonCode::ContinueAuthentication, Exchange::Theirs) => Exchange::Ours,
            _ => return self.protocol_error(ProtocolError::UnexpectedAuth),
        };
        Action::Auth(auth)
    }

    fn receive_subscribe<'a>(
        &mut self,
        subscribe: Subscribe<'a>,
    ) -> Result<Option<SubscribeRequest<'a>>, ProtocolError> {
        let Subscribe { id, subscriptions, properties } = subscribe;
        if self.engine.version() == Version::V5 {
            self.check_subscriptions(subscriptions, &properties)?;
        }
        let request = self.register_request(id, Kind::Subscribe(subscriptions.len() as u32))?;
        if request.is_none() {
            // The packet identifier is in use: refuse each topic filter (section 3.9.3).
            self.refuse_subscribe(id, subscriptions.len());
        }
        Ok(request.map(|id| SubscribeRequest::new(id, &subscribe)))
    }

    fn receive_unsubscribe<'a>(
        &mut self,
        unsubscribe: Unsubscribe<'a>,
    ) -> Result<Option<UnsubscribeRequest<'a>>, ProtocolError> {
        let Unsubscribe { id, filters, properties } = unsubscribe;
        let request = self.register_request(id, Kind::Unsubscribe(filters.len() as u32))?;
        if request.is_none() {
            if self.engine.version() != Version::V5 {
                return Err(ProtocolError::PacketIdInUse); // UNSUBACK has no reason codes before 5.0
            }
            let codes = alloc::vec![UnsubAckReasonCode::PacketIdentifierInUse; filters.len()];
            self.put_answer(&UnsubAck::new(id, &codes).into());
        }
        Ok(request.map(|id| UnsubscribeRequest { id, filters, properties }))
    }

    /// Checks that the client asks for nothing that CONNACK has announced as not available (section 3.2.2.3.11 to
    /// 3.2.2.3.13).
    fn check_subscriptions<'a>(
        &self,
        subscriptions: List<'a, Subscription<'a>>,
        properties: &SubscribeProperties<'_>,
    ) -> Result<(), ProtocolError> {
        let available = Available {
            wildcards: self.config.wildcard_subscription_available,
            identifiers: self.config.subscription_identifiers_available,
            shared: self.config.shared_subscription_available,
        };
        available.missing(subscriptions, properties).map_or(Ok(()), |code| Err(ProtocolError::NotAvailable(code)))
    }

    fn register_request(&mut self, id: PacketId, kind: Kind) -> Result<Option<RequestId>, ProtocolError> {
        let max = usize::from(self.config.max_requests);
        let Some(connection) = self.state.open_mut() else {
            bug!("a request is received on an open connection");
            return Err(ProtocolError::TooManyRequests);
        };
        let requests = connection.requests.get_or_insert_with(|| Box::new(Requests::new()));
        if requests.contains_key(&id) {
            return Ok(None);
        }
        if requests.len() >= max {
            return Err(ProtocolError::TooManyRequests);
        }
        requests.insert(id, kind);
        Ok(Some(RequestId::new(self.connection, id)))
    }

    fn refuse_subscribe(&mut self, id: PacketId, filters: usize) {
        let code = match self.engine.version() {
            Version::V5 => SubAckReasonCode::PacketIdentifierInUse,
            Version::V31 | Version::V311 => SubAckReasonCode::UnspecifiedError,
        };
        let codes = alloc::vec![code; filters];
        self.put_answer(&SubAck::new(id, &codes).into());
    }

    /// Sends an answer without properties. An answer that exceeds the client's Maximum Packet Size is not sent.
    fn put_answer(&mut self, answer: &Packet<'_>) {
        if let Err(error) = self.engine.put_answer(answer, self.state.client().maximum_packet_size) {
            bug!("the codes of an answer are those of its version: {error}");
        }
    }
}

fn store_will(engine: &mut Engine, will: &Will) {
    let (token, now) = (engine.take_token(), engine.now());
    if let Some(durable) = engine.durable_mut() {
        durable.add_will(token, will, now);
    }
}

impl Endpoint for ServerSession {
    type Peer<'s> = ClientPeer<'s>;
    type Action<'a> = Action<'a>;

    #[inline(always)]
    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn max_sends(&self) -> u32 {
        // A router sends them by `advance_output`.
        if self.is_routed { 0 } else { u32::MAX }
    }

    #[inline(always)]
    fn split(&mut self) -> (&mut Engine, ClientPeer<'_>) {
        let peer = ClientPeer { config: &self.config, version: self.engine.version(), state: &self.state };
        (&mut self.engine, peer)
    }

    fn receive_other<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        match packet {
            Packet::PingReq => {
                self.engine.put_pingresp();
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
                self.engine.put_disconnect_code(error.reason_code(), self.state.client().maximum_packet_size);
                self.over(Close::Malformed(error))
            }
            Stop::ProtocolError(protocol_error) => self.protocol_error(protocol_error),
            Stop::Other => {
                bug!("such a packet is given to `receive_other`");
                self.over(Close::Requested)
            }
        }
    }
}

impl core::fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ServerSession")
            .field("client_id", &self.client_id)
            .field("version", &self.engine.version())
            .field("state", &self.state)
            .field("packet_ids_in_use", &self.packet_ids_in_use())
            .field("waiting", &self.queued())
            .field("transmit", self.engine.output())
            .finish_non_exhaustive()
    }
}
