//! A client and a server, joined by a link that delays, splits and loses bytes, to test a program under the conditions
//! of a real network.
//!
//! There is no clock and no thread: the time jumps from one event to the next, and every choice follows from one seed.
//! A failing test prints its seed, and with it the same events happen again.
//!
//! All packets of the client and the server of this crate are checked against the rules of the specification. A
//! violation is a panic that names the rule.

mod close;
mod engine;
mod model;
mod run;
mod server;

use core::fmt;
use core::time::Duration;

use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::Sender;
use mqtt_sansio::store::{Batch, Pairs};
use mqtt_sansio::{Instant, Token};

pub use self::engine::{EngineServer, Ticket, accept_all};
pub use self::model::{Delivered, ModelServer};
pub use self::server::Server;
use crate::event::{Event, Fate, Log, Received};
use crate::link::{Link, Reconnect, Way};
use crate::random::Random;
use crate::rules::Rules;

/// A client and a server, and the link between them.
///
/// The client connects when the pair first runs, and again after each connection, as set with
/// [`reconnect`](Self::reconnect).
///
/// ```
/// # use core::time::Duration;
/// use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio_testkit::{Pair, Reconnect, accept_all};
///
/// let mut net = Pair::seeded(42)
///     .client(ClientConfig::default()) // or `.session(client)` with an existing one
///     .server(accept_all()) // or any other `Server`
///     .delay(Duration::from_millis(1), Duration::from_millis(300))
///     .overlooking(20) // one cut of five is not noticed by the server
///     .reconnect(Reconnect::AtOnce);
/// net.run_until_quiet();
/// assert!(net.client().is_connected());
/// ```
pub struct Pair<S> {
    seed: u64,
    random: Random,
    now: Instant,
    client: ClientSession,
    server: S,
    rules: Rules,
    server_rules: Rules,
    link: Link,
    reconnect: Reconnect,
    /// When the next connection opens.
    opens_at: Option<Instant>,
    /// Whether each endpoint has an open transport.
    client_is_open: bool,
    server_is_open: bool,
    /// Whether the client has reported the end of the connection.
    is_closing: bool,
    /// Whether the client may have further actions.
    polls_again: bool,
    /// Whether the server may have further work.
    receives_again: bool,
    /// The percentage of cuts that the server does not notice, and whether it has missed the last one.
    overlooks: u8,
    has_overlooked: bool,
    /// When output is written next.
    writes_at: Option<Instant>,
    /// After how many more received bytes the link is cut, and the endpoint at which they are counted (`None`: at
    /// both).
    cut_after: Option<(usize, Option<Way>)>,
    /// Received bytes that were not taken yet.
    at_client: Vec<u8>,
    at_server: Vec<u8>,
    log: Log,
    /// What the client has stored, and the batches that were handed out and are not confirmed.
    stored: Pairs,
    under_way: Vec<Batch>,
}

/// Omits the bytes on their way, which may contain a password.
impl<S: fmt::Debug> fmt::Debug for Pair<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("client", &self.client)
            .field("server", &self.server)
            .field("at_client", &self.at_client.len())
            .field("at_server", &self.at_server.len())
            .finish_non_exhaustive()
    }
}

/// A pair without a client.
#[derive(Debug)]
pub struct Seeded(u64);

/// A pair without a server.
#[derive(Debug)]
pub struct WithClient(u64, ClientSession);

impl Seeded {
    /// Creates the client.
    pub fn client(self, config: ClientConfig) -> WithClient {
        self.session(ClientSession::new(config))
    }

    /// Uses an existing client.
    pub const fn session(self, client: ClientSession) -> WithClient {
        WithClient(self.0, client)
    }
}

impl WithClient {
    /// Sets the server.
    pub fn server<S: Server>(self, server: S) -> Pair<S> {
        let Self(seed, client) = self;
        let mut random = Random::new(seed);
        Pair {
            seed,
            now: Instant::EPOCH,
            rules: Rules::new(Sender::Client, client.config().version),
            server_rules: Rules::new(Sender::Server, client.config().version),
            client,
            server,
            link: Link::new(random.fork()),
            random,
            reconnect: Reconnect::Backoff,
            opens_at: Some(Instant::EPOCH),
            client_is_open: false,
            server_is_open: false,
            is_closing: false,
            polls_again: false,
            receives_again: false,
            overlooks: 0,
            has_overlooked: false,
            writes_at: None,
            cut_after: None,
            at_client: Vec::new(),
            at_server: Vec::new(),
            log: Log::default(),
            stored: Pairs::default(),
            under_way: Vec::new(),
        }
    }
}

impl Pair<ModelServer> {
    /// Starts to build a pair whose random choices follow from this seed.
    pub const fn seeded(seed: u64) -> Seeded {
        Seeded(seed)
    }
}

impl Pair<EngineServer> {
    /// Returns the payloads of the messages that the server has received, in order.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.client().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
    /// net.run_until_quiet();
    /// assert_eq!(net.delivered_to_server(), ["1"]);
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn delivered_to_server(&self) -> Vec<&str> {
        self.server.delivered()
    }
}

impl<S: Server> Pair<S> {
    /// Sets when the client reconnects. Default: [`Reconnect::Backoff`].
    #[must_use]
    pub const fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Sets the minimum and maximum delay of bytes on the link. Default: 100 µs and 20 ms.
    #[must_use]
    pub const fn delay(mut self, least: Duration, most: Duration) -> Self {
        self.link.delay = (least, most);
        self
    }

    /// Makes every write complete, and every arrival a whole write.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// let tenth = Duration::from_millis(10);
    /// let net = Pair::seeded(1).client(ClientConfig::default()).server(accept_all());
    /// let mut net = net.delay(tenth, tenth).unsplit();
    /// net.run_until_quiet(); // each packet takes the same time, and arrives as it was written
    /// ```
    #[must_use]
    pub const fn unsplit(mut self) -> Self {
        self.link.split = false;
        self
    }

    /// Sets the percentage of cuts that the server does not notice until the client reconnects or the Keep Alive has
    /// passed. Default: 0.
    #[must_use]
    pub const fn overlooking(mut self, percent: u8) -> Self {
        self.overlooks = percent;
        self
    }

    /// Returns the client, for commands.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// let token = net.client().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
    /// net.run_until_quiet();
    /// assert!(net.fate(token).is_some_and(|fate| fate.is_success()));
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub const fn client(&mut self) -> &mut ClientSession {
        &mut self.client
    }

    /// Returns the server.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.server().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?; // a message to the client
    /// net.run_until_quiet();
    /// assert_eq!(net.messages().map(|message| &message.payload[..]).collect::<Vec<_>>(), [b"1"]);
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub const fn server(&mut self) -> &mut S {
        &mut self.server
    }

    /// Returns the current time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Returns all events of the client so far.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// # use mqtt_sansio::client::Resumption;
    /// # use mqtt_sansio_testkit::Event;
    /// net.cut();
    /// net.run_until_quiet();
    /// let connected: Vec<_> = net.events().iter().filter(|event| matches!(event, Event::Connected(_))).collect();
    /// assert_eq!(connected, [&Event::Connected(Resumption::New), &Event::Connected(Resumption::Resumed)]);
    /// ```
    pub fn events(&self) -> &[Event] {
        self.log.events()
    }

    /// Returns the messages that the client has received so far.
    pub fn messages(&self) -> impl Iterator<Item = &Received> {
        self.log.messages()
    }

    /// Returns the outcome of an operation of the client, if it has one.
    ///
    /// # Panics
    ///
    /// Panics if the operation has more than one outcome.
    pub fn fate(&self, wanted: Token) -> Option<&Fate> {
        self.log.fate(wanted)
    }

    /// Cuts the link: all bytes on their way in both directions are lost, and both endpoints are told that the
    /// connection is lost.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// net.step(); // something of it may be on its way
    /// net.cut();
    /// net.run_until_quiet(); // the client connects again, and sends the message again
    /// assert_eq!(net.delivered_to_server(), ["1"]);
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn cut(&mut self) {
        self.cut_after = None;
        if self.client_is_open || self.server_is_open {
            self.cut_now();
        }
    }

    /// Like [`cut`](Self::cut), once this many more bytes have arrived, at both endpoints together.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::NEVER, ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// for bytes in 0..40 { // at every byte of the exchange, and later
    ///     let now = net.now();
    ///     net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    ///     net.cut_after(bytes);
    ///     net.run_until_quiet();
    /// }
    /// assert_eq!(net.delivered_to_server().len(), 40); // none is lost, none arrives twice
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn cut_after(&mut self, bytes: usize) {
        self.cut_after_at(bytes, None);
    }

    /// Like [`cut_after`](Self::cut_after), for bytes that arrive at the server.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.client().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
    /// net.cut_after_at_server(5); // in the middle of PUBLISH
    /// net.run_until_quiet();
    /// assert_eq!(net.delivered_to_server(), ["1"]);
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn cut_after_at_server(&mut self, bytes: usize) {
        self.cut_after_at(bytes, Some(Way::ToServer));
    }

    /// Like [`cut_after`](Self::cut_after), for bytes that arrive at the client.
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
    /// # let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// # net.run_until_quiet();
    /// # let now = net.now();
    /// net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// net.cut_after_at_client(2); // in the middle of PUBREC
    /// assert!(net.is_cut_pending());
    /// net.run_until_quiet();
    /// assert!(!net.is_cut_pending());
    /// assert_eq!(net.delivered_to_server(), ["1"]);
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn cut_after_at_client(&mut self, bytes: usize) {
        self.cut_after_at(bytes, Some(Way::ToClient));
    }

    fn cut_after_at(&mut self, bytes: usize, way: Option<Way>) {
        self.cut_after = Some((bytes, way));
        if bytes == 0 {
            self.cut();
        }
    }

    /// Crashes the client's program. [Changes](ClientSession::changes) that are not stored are lost; those that are stored
    /// and not confirmed may be lost. The client is restored from the rest.
    ///
    /// # Panics
    ///
    /// Panics if the client cannot be restored.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # let session_expiry_interval = SessionExpiry::after(60);
    /// # let client_id = "c".into();
    /// let config = ClientConfig { durable: true, client_id, session_expiry_interval, ..ClientConfig::default() };
    /// let mut net = Pair::seeded(42).client(config).server(accept_all());
    /// net.run_until_quiet();
    /// let now = net.now();
    /// net.client().publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// while !net.is_stored() {
    ///     net.step();
    /// }
    /// net.crash();
    /// net.run_until_quiet();
    /// assert_eq!(net.delivered_to_server(), ["1"]);
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn crash(&mut self) {
        self.crash_now();
    }

    /// Returns whether all changes of the client are stored. The pair stores them before it writes.
    pub fn is_stored(&mut self) -> bool {
        !self.has_changes()
    }

    /// Returns whether a scheduled cut has not happened yet.
    pub const fn is_cut_pending(&self) -> bool {
        self.cut_after.is_some()
    }

    /// Opens a connection before the back-off has passed, or if [`reconnect`](Self::reconnect) is [`Reconnect::Never`].
    ///
    /// ```
    /// # use mqtt_sansio::client::ClientConfig;
    /// # use mqtt_sansio::{Message, QoS, SessionExpiry};
    /// # use mqtt_sansio_testkit::{Pair, accept_all};
    /// # use mqtt_sansio_testkit::Reconnect;
    /// let mut net = Pair::seeded(1).client(ClientConfig::default()).server(accept_all()).reconnect(Reconnect::Never);
    /// net.run_until_quiet();
    /// net.cut();
    /// net.run_until_quiet();
    /// assert!(!net.client().is_connected());
    /// net.open();
    /// net.run_until_quiet();
    /// assert!(net.client().is_connected());
    /// ```
    pub fn open(&mut self) {
        if !self.client_is_open && !self.server_is_open {
            self.opens_at = Some(self.now);
        }
    }
}

impl<S> Drop for Pair<S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed of the pair was {}, and it was {:?}", self.seed, self.now);
        }
    }
}
