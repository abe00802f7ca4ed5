//! The engines of the crate as a server for one client.

mod connection;

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt_sansio::codec::{ConnAckReasonCode, QoS};
use mqtt_sansio::server::{Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::{AbandonReason, Instant, Message, PublishError, Token};

use crate::event::{Event, Fate, Log, Received};
use crate::random::Random;

/// A server for one client: an [`Acceptor`] for each connection, and a [`ServerSession`] that is stored between
/// connections.
///
/// It accepts every client, grants each subscription, and sends the messages given to [`publish`](Self::publish). Its
/// fields make it refuse connections, subscriptions and authentications; they can be changed at any time.
///
/// ```
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio::{Message, QoS, SessionExpiry};
/// # use mqtt_sansio_testkit::{Pair, accept_all};
/// # use mqtt_sansio::server::ServerConfig;
/// use mqtt_sansio_testkit::EngineServer;
///
/// let mut server = EngineServer::new(ServerConfig { topic_alias_maximum: 8, ..ServerConfig::default() }).seeded(7);
/// server.refused_connections = 2;
/// let mut net = Pair::seeded(42).client(ClientConfig::default()).server(server);
/// net.run_until_quiet(); // the third connection is accepted
/// assert!(net.server().has_session() && net.server().sessions() == 1);
/// ```
#[derive(Debug)]
pub struct EngineServer {
    /// The percentage of subscriptions that it refuses. Default: 0.
    pub refuses: u8,
    /// The number of connections that it refuses from now on. Default: 0.
    pub refused_connections: u32,
    /// The number of challenges for a client with an Authentication Method. Default: 0.
    pub challenges: u32,

    config: Arc<ServerConfig>,
    random: Random,
    now: Instant,
    /// The acceptor of the connection, until the client is accepted.
    acceptor: Option<Acceptor>,
    /// Whether the acceptor has closed the connection.
    is_refused: bool,
    /// Whether the client identifier is empty, and whether the client asks for a new session.
    asked: (bool, bool),
    /// The number of challenges left on this connection.
    challenges_left: u32,
    session: Option<ServerSession>,
    /// The number of `ServerSession`s so far. Each of them counts its tokens from the start.
    sessions: u32,
    /// The number of MQTT sessions so far, including those that replaced another one in the same `ServerSession`.
    beginnings: u32,
    forgets: bool,
    log: Log,
    /// The number of log entries that were searched for tickets.
    looked_at: usize,
    tickets: BTreeMap<Ticket, Option<Fate>>,
    subscriptions: BTreeMap<String, QoS>,
}

/// Names a published message: the number of the session, and the token that it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u32, Token);

/// Returns a server that accepts every client, with the default configuration.
pub fn accept_all() -> EngineServer {
    EngineServer::new(ServerConfig::default())
}

impl EngineServer {
    /// Creates a server with this configuration.
    pub fn new(config: ServerConfig) -> Self {
        Self {
            refuses: 0,
            refused_connections: 0,
            challenges: 0,
            config: Arc::new(config),
            random: Random::new(0),
            now: Instant::EPOCH,
            acceptor: None,
            is_refused: false,
            asked: (false, false),
            challenges_left: 0,
            session: None,
            sessions: 0,
            beginnings: 0,
            forgets: false,
            log: Log::default(),
            looked_at: 0,
            tickets: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
        }
    }

    /// Sets the seed of the server's random choices.
    #[must_use]
    pub const fn seeded(mut self, seed: u64) -> Self {
        self.random = Random::new(seed);
        self
    }

    /// Publishes a message to the client, whether the client has subscribed or not.
    ///
    /// # Errors
    ///
    /// Those of [`ServerSession::publish`], and [`PublishError::NotConnected`] if there is no session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// let ticket = net.server().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// net.run_until_quiet();
    /// assert!(net.server().fate(ticket).is_some_and(|fate| fate.is_success()));
    /// assert!(net.server().is_settled());
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Ticket, PublishError> {
        self.now = now;
        let session = self.session.as_mut().ok_or(PublishError::NotConnected)?;
        let ticket = Ticket(self.sessions, session.publish(self.now, message)?);
        assert_eq!(self.tickets.insert(ticket, None), None, "{ticket:?} was returned twice");
        Ok(ticket)
    }

    /// Returns the session, for commands.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// let session = net.server().session().expect("the client is connected");
    /// session.disconnect(now, &Default::default())?;
    /// net.run_until_quiet(); // the client connects again
    /// # Ok::<(), mqtt_sansio::DisconnectError>(())
    /// ```
    pub const fn session(&mut self) -> Option<&mut ServerSession> {
        self.session.as_mut()
    }

    /// Returns all events so far.
    pub fn events(&self) -> &[Event] {
        self.log.events()
    }

    /// Returns the messages received so far.
    pub fn messages(&self) -> impl Iterator<Item = &Received> {
        self.log.messages()
    }

    /// Returns the payloads of those messages.
    ///
    /// # Panics
    ///
    /// Panics if a payload is not UTF-8.
    pub fn delivered(&self) -> Vec<&str> {
        self.messages().map(|it| core::str::from_utf8(&it.payload).expect("the payload is a text")).collect()
    }

    /// Returns the outcome of a published message, if it has one.
    pub fn fate(&self, ticket: Ticket) -> Option<&Fate> {
        self.tickets.get(&ticket).and_then(Option::as_ref)
    }

    /// Returns the filters that the client is subscribed to.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # use mqtt_sansio::codec::Subscription;
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.client().subscribe(now, &[Subscription::new("home/#", QoS::AtLeastOnce)?])?;
    /// net.run_until_quiet();
    /// assert_eq!(net.server().subscriptions(), ["home/#"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscriptions(&self) -> Vec<&str> {
        self.subscriptions.keys().map(String::as_str).collect()
    }

    /// Returns whether there is a session.
    pub const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Returns how many sessions were created.
    pub const fn sessions(&self) -> u32 {
        self.sessions
    }

    /// Discards the session when the next connection is accepted.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # use mqtt_sansio::client::Resumption;
    /// # use mqtt_sansio_testkit::Event;
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.server().lose_session();
    /// net.cut();
    /// net.run_until_quiet();
    /// assert!(net.events().contains(&Event::Connected(Resumption::Lost)));
    /// ```
    pub const fn lose_session(&mut self) {
        self.forgets = true;
    }

    /// Returns whether the client is connected and no message to it is queued or in flight.
    pub fn is_settled(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.is_connected() && session.packet_ids_in_use() == 0 && session.queued() == 0)
            && self.tickets.values().all(Option::is_some)
    }

    /// Assigns the outcomes in the log to published messages.
    fn look(&mut self) {
        for event in &self.log.events()[self.looked_at..] {
            let Event::Done(token, fate) = event else { continue };
            let ticket = Ticket(self.sessions, *token);
            let known = self.tickets.get_mut(&ticket).unwrap_or_else(|| panic!("{ticket:?} was never returned"));
            assert_eq!(*known, None, "{ticket:?} has more than one outcome");
            *known = Some(fate.clone());
        }
        self.looked_at = self.log.events().len();
    }

    /// Drops the session: its messages get no further outcome.
    fn forget(&mut self) {
        self.session = None;
        self.subscriptions.clear();
        for fate in self.tickets.values_mut() {
            fate.get_or_insert(Fate::Abandoned(AbandonReason::Session));
        }
    }

    /// The reason code with which this client is refused, if it is.
    const fn refusal(&mut self) -> Option<ConnAckReasonCode> {
        if self.refused_connections == 0 {
            return None;
        }
        self.refused_connections -= 1;
        Some(ConnAckReasonCode::ServerUnavailable)
    }
}
