//! The state of a client session, its entry point for received bytes and time, and the steps that received packets
//! cause.

use alloc::boxed::Box;
use core::time::Duration;

use super::action::{Action, Close, Connected, Resumption};
use super::backoff::Backoff;
use super::config::ClientConfig;
use super::peer::{Identifiers, ServerPeer, limits};
use super::server::ServerLimits;
use super::state::{Acceptance, State};
use crate::codec::{Auth, AuthReasonCode, ConnAck, ConnAckReasonCode, Packet, PacketType, SubAck, UnsubAck, Version};
use crate::session::{
    ClientRecord, ConnectionLimits, Durable, Endpoint, Engine, Exchange, KeepAlive, Outcome, ProtocolError,
    SMALLEST_PACKET_SIZE, SessionExpiry, Stop, Transmit,
};
use crate::text::Utf8Str;
use crate::time::Instant;

/// The client endpoint of a session, across all its connections: see the [module](super).
///
/// `Clone` is meant for simulations: only one of the two copies can continue the session with the server.
#[derive(Clone)]
pub struct ClientSession {
    pub(super) config: ClientConfig,
    pub(super) engine: Engine,
    pub(super) state: State,
    /// Subscription identifiers that this client has used.
    pub(super) identifiers: Option<Box<Identifiers>>,
    /// Time of the last check of how many bytes were written.
    pub(super) noted_at: Instant,
    pub(super) backoff: Backoff,
    /// Whether there is a session that the next connection can resume.
    pub(super) has_session: bool,
    /// Whether this client has made every subscription of the session, so that all subscription identifiers are known.
    pub(super) knows_identifiers: bool,
}

impl ClientSession {
    /// Creates a client session without a connection.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// let config = ClientConfig { client_id: "thermo-7".into(), ..ClientConfig::default() };
    /// let client = ClientSession::new(config);
    /// assert!(!client.is_connected() && client.deadline().is_none());
    /// ```
    pub fn new(config: ClientConfig) -> Self {
        let durable = config.durable.then(|| Durable::new(config.version, config.max_uncommitted));
        let mut client = Self::with_engine(Engine::new(config.version, durable), config);
        client.engine.set_stored(true);
        client.store_session();
        client
    }

    /// Creates a client session with this engine, without a connection.
    pub(super) const fn with_engine(engine: Engine, config: ClientConfig) -> Self {
        Self {
            engine,
            state: State::Closed,
            identifiers: None,
            noted_at: Instant::EPOCH,
            backoff: Backoff::new(),
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
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// let received = b"\x20\x03\0\0\0\x30\x06\0\x01t\x0021\x30"; // CONNACK, PUBLISH, the first byte of another packet
    /// let mut input = &received[..];
    /// while let Some(action) = client.poll(now, &mut input) {
    ///     match action {
    ///         Action::Message(message) => println!("{}: {:?}", message.topic, message.payload),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// assert_eq!(input, b"\x30"); // passed again when more was read
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    #[inline]
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        self.engine.advance(now);
        self.note_sent();
        if self.engine.has_report() {
            return self.engine.next_report();
        }
        if !self.state.takes_input() {
            *input = &[];
            return self.finish_closing();
        }
        self.receive_all(input).or_else(|| self.check_time())
    }

    /// Processes the current time, where nothing was received: [`poll`](Self::poll) with an empty input. Call it until it
    /// returns `None`, when the [`deadline`](Self::deadline) has passed, and after each write. If received bytes are
    /// left, call [`poll`](Self::poll) with them instead.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let sent = client.transmit().remaining();
    /// # client.transmit().advance(sent);
    /// # assert_eq!(client.poll_timeout(now), None);
    /// let deadline = client.deadline().expect("the server has to answer CONNECT"); // nothing was read until then
    /// assert_eq!(client.poll_timeout(deadline), Some(Action::Close(Close::ConnectTimeout)));
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    #[inline]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Action<'static>> {
        self.poll(now, &mut &[][..])
    }

    /// Processes the current time while the caller withholds input, because its application takes no more messages for
    /// now. As [`poll_timeout`](Self::poll_timeout), except that the server's silence up to now does not count against
    /// it: only time in which its packets are accepted does. PINGREQ is sent as usual. Without a connection it is
    /// `poll_timeout`.
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let mut client = ClientSession::new(ClientConfig::default());
    /// # client.open(Instant::EPOCH)?;
    /// # let mut input = &b"\x20\x03\0\0\0"[..];
    /// # assert!(matches!(client.poll(Instant::EPOCH, &mut input), Some(Action::Connected(_))));
    /// // The application is busy: nothing is read, and `poll` gets nothing.
    /// while let Some(deadline) = client.deadline().filter(|&at| at < Instant::from_micros(600_000_000)) {
    ///     assert_eq!(client.poll_held(deadline), None); // only PINGREQ is sent
    /// #   let sent = bytes::Buf::remaining(client.transmit());
    /// #   bytes::Buf::advance(client.transmit(), sent);
    /// }
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub fn poll_held(&mut self, now: Instant) -> Option<Action<'static>> {
        self.engine.advance(now);
        if let State::Connected { keep_alive, .. } = &mut self.state {
            keep_alive.received(self.engine.now());
        }
        self.poll_timeout(now)
    }

    /// Notes the bytes that were written since the last call of `poll`.
    #[inline]
    fn note_sent(&mut self) {
        let now = self.engine.now();
        let before = core::mem::replace(&mut self.noted_at, now);
        if let Some(sent) = self.engine.note_sent(self.config.answer_limit.get())
            && let Some(keep_alive) = self.state.keep_alive_mut()
        {
            // The bytes were written after the last call: at the time of that call or later.
            keep_alive.sent(before);
            keep_alive.left(sent.count, now);
            if sent.was_held {
                keep_alive.restart(now);
            }
        }
    }

    /// Returns the output: all bytes that are to be written to the transport, in order.
    /// [`advance`](bytes::Buf::advance) removes bytes that were written.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # use std::io::Write;
    /// # fn send(client: &mut ClientSession, transport: &mut impl Write) -> std::io::Result<()> {
    /// while client.transmit().has_remaining() {
    ///     let written = transport.write(client.transmit().chunk())?;
    ///     client.transmit().advance(written);
    /// }
    /// # Ok(())
    /// # }
    /// # let mut client = ClientSession::new(ClientConfig::default());
    /// # client.open(Instant::EPOCH)?;
    /// # let mut transport = Vec::new();
    /// # send(&mut client, &mut transport)?;
    /// # assert_eq!(transport[0], 0x10);
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
    /// # use core::num::NonZeroU16;
    /// # use core::time::Duration;
    /// # use bytes::Buf;
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let config = ClientConfig { keep_alive: NonZeroU16::new(60), ..ClientConfig::default() };
    /// # let (mut now, mut client) = (Instant::from_micros(5_000_000), ClientSession::new(config));
    /// # client.open(now)?;
    /// # let sent = client.transmit().remaining();
    /// # client.transmit().advance(sent);
    /// # assert!(client.poll(now, &mut &b"\x20\x03\0\0\0"[..]).is_some());
    /// # assert!(client.poll_timeout(now).is_none());
    /// let deadline = client.deadline().expect("there is a keep-alive interval");
    /// let wait = deadline.since(now); // read from the transport for this time at most
    /// assert!(Duration::from_secs(50) < wait && wait <= Duration::from_secs(60));
    /// # now = deadline;
    /// # assert!(client.poll_timeout(now).is_none());
    /// # assert_eq!(client.transmit().chunk(), b"\xc0\0"); // PINGREQ
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        if self.engine.is_due(|| self.limits()) {
            return Some(Instant::EPOCH); // at once, at any time
        }
        self.timeout().map(|at| self.engine.outside(at))
    }

    /// Returns the time of the next timeout.
    fn timeout(&self) -> Option<Instant> {
        let at_once = Some(Instant::EPOCH);
        match &self.state {
            State::Closed | State::Over(_) => None,
            State::Closing(_) => at_once,
            State::Connecting { keep_alive, .. } | State::Connected { keep_alive, .. }
                if keep_alive.awaits_departure() && self.engine.has_unnoted() =>
            {
                at_once
            }
            State::Connecting { keep_alive, .. } => keep_alive.dead_at(self.config.connect_timeout),
            State::Connected { keep_alive, .. } => {
                match (keep_alive.ping_at(), keep_alive.dead_at(self.config.ping_timeout)) {
                    (Some(ping), Some(dead)) => Some(ping.min(dead)),
                    (ping, dead) => ping.or(dead),
                }
            }
        }
    }

    /// Returns the pause before the next connection. It is zero before the first connection, and doubles with each
    /// connection that was refused, lost or closed, up to the longest pause of the
    /// [configuration](ClientConfig::max_backoff). Up to half of it is random, and differs between client identifiers. A
    /// connection that has [lasted](ClientConfig::backoff_reset) resets it to the shortest pause; the server's
    /// acceptance of a connection alone does not, unless the configuration says so.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// assert_eq!(client.backoff(), Duration::ZERO); // connect at once
    /// client.closed(now); // the transport could not be connected
    /// assert!(client.backoff() > Duration::ZERO); // wait for this time, then try again
    /// ```
    pub fn backoff(&self) -> Duration {
        let ClientConfig { min_backoff, max_backoff, client_id, seed, .. } = &self.config;
        self.backoff.pause(*min_backoff, *max_backoff, client_id, (*seed).into())
    }

    /// Stores the record of a durable session.
    pub(super) fn store_session(&mut self) {
        let (version, has_session, client_id) = (self.engine.version(), self.has_session, &*self.config.client_id);
        if let Some(durable) = self.engine.durable_mut() {
            durable.set_session(|out| ClientRecord { version, has_session, client_id }.write(out));
        }
    }

    /// Returns whether [`poll`](Self::poll) accepts input. It does not without a connection, or while too many
    /// answers [wait to be written](ClientConfig::answer_limit). Meanwhile the caller has to hold the
    /// received bytes.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let mut client = ClientSession::new(ClientConfig::default());
    /// # client.open(Instant::EPOCH)?;
    /// if client.takes_input() {
    ///     // Wait until the transport has received something.
    /// } else {
    ///     // Only write: the server does not read the answers.
    /// #   unreachable!();
    /// }
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub fn takes_input(&self) -> bool {
        self.state.takes_input() && self.engine.has_room_for_answers(&self.limits())
    }

    /// Returns whether the server has accepted the connection and the connection is not over.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// client.open(now)?;
    /// assert!(!client.is_connected());
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// assert!(client.poll(now, &mut connack).is_some());
    /// assert!(client.is_connected());
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    /// Returns the number of operations with a packet identifier that have no outcome yet.
    pub fn operations_in_flight(&self) -> usize {
        self.engine.deliveries().operations_in_flight()
    }

    /// Returns the number of packet identifiers in use: those of operations in flight, and those of withdrawn messages
    /// that the server has not completed.
    pub fn packet_ids_in_use(&self) -> usize {
        self.engine.deliveries().outbound().len()
    }

    /// Returns the number of QoS 1 and QoS 2 messages that were sent on this connection and whose delivery is not
    /// complete. At the server's Receive Maximum no further message is sent. The number can exceed it only after a
    /// resume, by messages that wait for PUBCOMP.
    pub fn in_flight(&self) -> usize {
        usize::from(self.engine.deliveries().outbound().in_flight())
    }

    /// Returns the number of received QoS 2 messages that the server has not yet released with PUBREL.
    pub fn unreleased(&self) -> usize {
        self.engine.deliveries().inbound().unreleased()
    }

    /// Returns the number of messages and requests that wait to be sent or sent again.
    ///
    /// The counters of a session, for statistics:
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// client.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?; // there is no connection
    /// assert_eq!((client.queued(), client.in_flight()), (1, 0));
    /// assert_eq!((client.operations_in_flight(), client.unreleased()), (0, 0));
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// assert!(client.poll(now, &mut connack).is_some() && client.poll_timeout(now).is_none());
    /// assert_eq!((client.queued(), client.in_flight()), (0, 1));
    /// assert_eq!((client.operations_in_flight(), client.packet_ids_in_use(), client.unreleased()), (1, 1, 0));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn queued(&self) -> usize {
        self.engine.deliveries().queued()
    }

    /// Returns the limits that the server has announced on this connection. Before the server has accepted the
    /// connection they are not known.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// let mut input = &b"\x20\x06\0\0\x03\x21\0\x0a"[..]; // CONNACK with a Receive Maximum of 10
    /// assert!(client.poll(now, &mut input).is_some());
    /// assert_eq!(client.server().receive_maximum, 10);
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub const fn server(&self) -> &ServerLimits {
        match self.state.acceptance() {
            Some(acceptance) => &acceptance.server,
            None => &ServerLimits::UNKNOWN,
        }
    }

    /// Returns the configuration. Its `client_id` is the one that the server has assigned, if any.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// let mut input = &b"\x20\x08\0\0\x05\x12\0\x02c7"[..]; // CONNACK with an Assigned Client Identifier
    /// assert!(client.poll(now, &mut input).is_some());
    /// assert_eq!(client.config().client_id, "c7");
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
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
    pub(super) fn limits(&self) -> ConnectionLimits {
        limits(&self.config, self.engine.version(), &self.state)
    }

    /// Ends the connection because of a Protocol Error of the server; in 5.0 DISCONNECT reports it.
    #[cold]
    fn protocol_error<'a>(&mut self, protocol_error: ProtocolError) -> Action<'a> {
        self.engine.put_disconnect_code(protocol_error.reason_code(), self.server().maximum_packet_size);
        self.over(Close::ProtocolError(protocol_error))
    }

    fn over<'a>(&mut self, why: Close<'a>) -> Action<'a> {
        self.state = State::Over(self.state.acceptance().copied());
        Action::Close(why)
    }

    /// Reports the end of a connection that the caller has ended.
    #[cold]
    fn finish_closing<'a>(&mut self) -> Option<Action<'a>> {
        matches!(self.state, State::Closing(_)).then(|| self.over(Close::Requested))
    }

    /// Handles timeouts, after the input has been processed.
    #[inline]
    fn check_time<'a>(&mut self) -> Option<Action<'a>> {
        let now = self.engine.now();
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let is_stalled = self.engine.is_stalled(|| self.limits());
        match &mut self.state {
            State::Connected { keep_alive, .. } => {
                if self.engine.take_has_input() || is_stalled {
                    keep_alive.received(now);
                }
                if due(keep_alive.dead_at(self.config.ping_timeout)) {
                    return Some(self.over(Close::KeepAliveTimeout));
                }
                if due(keep_alive.ping_at()) {
                    self.ping();
                }
                None
            }
            State::Connecting { keep_alive, .. } if due(keep_alive.dead_at(self.config.connect_timeout)) => {
                Some(self.over(Close::ConnectTimeout))
            }
            State::Connecting { .. } | State::Closed | State::Closing(_) | State::Over(_) => None,
        }
    }

    /// Sends PINGREQ, because nothing was sent, or nothing was received, for almost the keep-alive interval. An idle
    /// connection is also the occasion to release unused memory.
    #[cold]
    fn ping(&mut self) {
        self.engine.put_pingreq();
        let (now, ahead) = (self.engine.now(), self.engine.ahead());
        if let Some(keep_alive) = self.state.keep_alive_mut() {
            keep_alive.ask(now, ahead);
        }
        self.engine.shrink();
    }

    /// Handles the first packet of a server: CONNACK, or AUTH in an enhanced authentication (section 3.2).
    #[cold]
    fn receive_first<'a>(&mut self, packet: Packet<'a>, asked_clean: bool) -> Action<'a> {
        match packet {
            Packet::ConnAck(connack) => self.receive_connack(connack, asked_clean),
            Packet::Auth(auth) => self.receive_auth(auth),
            other => self.protocol_error(ProtocolError::BeforeConnAck(other.packet_type())),
        }
    }

    /// Handles a CONNACK that was due.
    fn receive_connack<'a>(&mut self, connack: ConnAck<'a>, asked_clean: bool) -> Action<'a> {
        if connack.reason_code != ConnAckReasonCode::Success {
            return self.over(Close::Refused(connack));
        }
        let method = self.config.authentication.as_deref().map(|it| it.method.as_bytes());
        if method != connack.properties.authentication_method.map(Utf8Str::as_bytes) {
            return self.protocol_error(ProtocolError::AuthenticationMethodChanged);
        }
        if connack.session_present && asked_clean {
            return self.protocol_error(ProtocolError::UnexpectedSession);
        }
        // Before 5.0 a session does not expire, or it ends with its connection.
        let session_expiry_interval = match self.engine.version() {
            Version::V5 => self.config.session_expiry_interval,
            Version::V31 | Version::V311 if asked_clean => SessionExpiry::WITH_CONNECTION,
            Version::V31 | Version::V311 => SessionExpiry::NEVER,
        };
        let server = ServerLimits::new(&connack.properties, self.config.keep_alive, session_expiry_interval);
        if server.maximum_packet_size < SMALLEST_PACKET_SIZE {
            let protocol_error = ProtocolError::MaximumPacketSizeTooSmall;
            self.engine.put_disconnect_code(protocol_error.reason_code(), server.maximum_packet_size);
            return self.over(Close::ProtocolError(protocol_error));
        }
        // CONNACK of 3.1 has no Session Present flag: the session is present unless the client has asked for a new one.
        let is_present = connack.session_present || (self.engine.version() == Version::V31 && !asked_clean);
        let session = self.begin_session(is_present);
        if let (true, Some(assigned)) =
            (self.config.client_id.is_empty(), connack.properties.assigned_client_identifier)
        {
            self.config.client_id = assigned.as_str().into();
        }
        self.store_session();
        let now = self.engine.now();
        self.state = State::Connected {
            acceptance: Acceptance { server, at: seconds(now) },
            exchange: Exchange::Idle,
            keep_alive: KeepAlive::new(server.keep_alive, now),
        };
        self.engine.open(server.topic_alias_maximum.min(self.config.topic_aliases));
        Action::Connected(Connected { session, server, properties: connack.properties })
    }

    /// Begins or resumes the session, as the server has it.
    fn begin_session(&mut self, is_present: bool) -> Resumption {
        let session = match (is_present, self.has_session) {
            (true, _) => Resumption::Resumed,
            (false, true) => Resumption::Lost,
            (false, false) => Resumption::New,
        };
        if !is_present {
            self.forget_session();
            self.knows_identifiers = true;
        } else if !self.has_session {
            self.knows_identifiers = false;
        }
        self.has_session = true;
        session
    }

    /// Discards the session. Messages in flight are abandoned.
    pub(super) fn forget_session(&mut self) {
        self.engine.forget_in_flight();
        self.identifiers = None;
        self.has_session = false;
        self.store_session();
    }

    /// Handles AUTH from the server.
    #[cold]
    fn receive_auth<'a>(&mut self, auth: Auth<'a>) -> Action<'a> {
        let Some(authentication) = self.config.authentication.as_deref() else {
            return self.protocol_error(ProtocolError::UnexpectedAuth);
        };
        // The short form of Success has no properties, and so no method (section 3.15.2.1).
        let method = auth.properties.authentication_method.map(Utf8Str::as_bytes);
        let is_short = auth.reason_code == AuthReasonCode::Success && auth.properties.is_empty();
        if method != Some(authentication.method.as_bytes()) && !is_short {
            return self.protocol_error(ProtocolError::AuthenticationMethodChanged);
        }
        match (auth.reason_code, &mut self.state) {
            (
                AuthReasonCode::ContinueAuthentication,
                State::Connecting { exchange: exchange @ Exchange::Theirs, keep_alive, .. },
            ) => {
                *exchange = Exchange::Ours;
                // The server waits for the client: no timeout runs until the client has answered.
                keep_alive.received(self.engine.now());
            }
            (
                AuthReasonCode::ContinueAuthentication,
                State::Connected { exchange: exchange @ Exchange::Theirs, .. },
            ) => *exchange = Exchange::Ours,
            // Before CONNACK, AUTH with Success is a Protocol Error: CONNACK reports the success.
            (AuthReasonCode::Success, State::Connected { exchange: exchange @ Exchange::Theirs, .. }) => {
                *exchange = Exchange::Idle;
            }
            _ => return self.protocol_error(ProtocolError::UnexpectedAuth),
        }
        Action::Auth(auth)
    }

    fn receive_suback<'a>(&mut self, ack: SubAck<'a>) -> Option<Action<'a>> {
        match self.engine.finish_request(ack.id, PacketType::SubAck, Some(ack.reason_codes.len())) {
            Ok(token) => {
                let outcome = Outcome::Subscribed { reason_codes: ack.reason_codes, properties: ack.properties };
                Some(Action::Done { token: token?, outcome })
            }
            Err(protocol_error) => Some(self.protocol_error(protocol_error)),
        }
    }

    fn receive_unsuback<'a>(&mut self, ack: UnsubAck<'a>) -> Option<Action<'a>> {
        // Before 5.0 there are no reason codes.
        let reason_codes = (self.engine.version() == Version::V5).then(|| ack.reason_codes.len());
        match self.engine.finish_request(ack.id, PacketType::UnsubAck, reason_codes) {
            Ok(token) => {
                let outcome = Outcome::Unsubscribed { reason_codes: ack.reason_codes, properties: ack.properties };
                Some(Action::Done { token: token?, outcome })
            }
            Err(protocol_error) => Some(self.protocol_error(protocol_error)),
        }
    }
}

/// Returns the time in seconds. 32 bits, with wrap-around, are sufficient to measure how long a connection has lasted.
pub(super) const fn seconds(at: Instant) -> u32 {
    (at.as_micros() / 1_000_000) as u32
}

impl Endpoint for ClientSession {
    type Peer<'s> = ServerPeer<'s>;
    type Action<'a> = Action<'a>;

    #[inline(always)]
    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    #[inline(always)]
    fn split(&mut self) -> (&mut Engine, ServerPeer<'_>) {
        let peer = ServerPeer {
            config: &self.config,
            version: self.engine.version(),
            state: &self.state,
            identifiers: &mut self.identifiers,
            knows_identifiers: self.knows_identifiers,
        };
        (&mut self.engine, peer)
    }

    #[inline(never)]
    fn receive_other<'a>(&mut self, packet: Packet<'a>) -> Option<Action<'a>> {
        if let State::Connecting { asked_clean, .. } = self.state {
            return Some(self.receive_first(packet, asked_clean));
        }
        match packet {
            Packet::PingResp => None,
            Packet::SubAck(ack) => self.receive_suback(ack),
            Packet::UnsubAck(ack) => self.receive_unsuback(ack),
            Packet::Disconnect(disconnect) => Some(self.over(Close::Disconnected(disconnect))),
            Packet::Auth(auth) => Some(self.receive_auth(auth)),
            Packet::ConnAck(_) => Some(self.protocol_error(ProtocolError::SecondConnAck)),
            // The engine has handled the packets of deliveries, and a server sends no others.
            _ => None,
        }
    }

    #[cold]
    fn fail<'a>(&mut self, stop: Stop) -> Action<'a> {
        match stop {
            Stop::Malformed(error) => {
                self.engine.put_disconnect_code(error.reason_code(), self.server().maximum_packet_size);
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

impl core::fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClientSession")
            .field("config", &self.config)
            .field("state", &self.state)
            .field("operations_in_flight", &self.operations_in_flight())
            .field("waiting", &self.queued())
            .field("transmit", self.engine.output())
            .finish_non_exhaustive()
    }
}
