//! A client and a server, joined by a link that delays, splits and loses what it carries: a test of what a program
//! does when the network does what networks do.
//!
//! There is no clock and no thread: time is a number that jumps from one event to the next, and everything follows
//! from one seed. When a test fails, the seed is printed; with it the same things happen again.
//!
//! All that the client and the server of this crate write is held against the rules of the specification; breaking one is a panic that names it.

mod close;
mod engine;
mod event;
mod flows;
mod link;
mod model;
mod rules;
mod run;
mod server;

use core::fmt;
use core::time::Duration;

use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::Sender;
use mqtt_sansio::{Instant, Token};

pub use self::engine::{EngineServer, Ticket, accept_all};
pub use self::event::{Event, Fate, Log, Received};
use self::link::{Link, Way};
pub use self::model::{Delivered, ModelServer};
use self::rules::Rules;
pub use self::server::Server;
use crate::random::Random;

/// A client and a server, and the link between them.
///
/// It connects at once when it runs, and again whenever a connection has ended, as [`reconnect`](Self::reconnect) says.
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
    /// When the next connection begins.
    opens_at: Option<Instant>,
    /// Whether each end has an open transport.
    client_is_open: bool,
    server_is_open: bool,
    /// The client has said that the connection is over.
    is_closing: bool,
    /// It may have more to tell.
    polls_again: bool,
    /// The server may have more to do.
    receives_again: bool,
    /// How many of a hundred cuts the server overlooks, and whether it has overlooked the last one.
    overlooks: u8,
    has_overlooked: bool,
    /// When what is to be written is written next.
    writes_at: Option<Instant>,
    /// After how many more bytes that arrive the link is cut, and at which end; at either end if that is not said.
    cut_after: Option<(usize, Option<Way>)>,
    /// What has arrived and was not taken yet.
    at_client: Vec<u8>,
    at_server: Vec<u8>,
    log: Log,
    /// What the client's journal has stored.
    journal: Vec<u8>,
}

/// Without the bytes under way, in which there may be a password.
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

/// When the client connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// After the pause that it suggests.
    Backoff,
    /// At once.
    AtOnce,
    /// Only when it is told to.
    Never,
}

/// A pair that has no client yet.
#[derive(Debug)]
pub struct Seeded(u64);

/// A pair that has no server yet.
#[derive(Debug)]
pub struct WithClient(u64, ClientSession);

impl Seeded {
    /// A new client.
    pub fn client(self, config: ClientConfig) -> WithClient {
        self.session(ClientSession::new(config))
    }

    /// A client that there is already.
    pub const fn session(self, client: ClientSession) -> WithClient {
        WithClient(self.0, client)
    }
}

impl WithClient {
    /// The server.
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
            journal: Vec::new(),
        }
    }
}

impl Pair<ModelServer> {
    /// A pair to which happens what follows from this seed.
    pub const fn seeded(seed: u64) -> Seeded {
        Seeded(seed)
    }
}

impl Pair<EngineServer> {
    /// The contents of the messages that the server was given, in order.
    pub fn delivered_to_server(&self) -> Vec<&str> {
        self.server.delivered()
    }
}

impl<S: Server> Pair<S> {
    /// When the client connects again; after the pause that it suggests if nothing else is said.
    #[must_use]
    pub const fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// How long bytes are under way, at least and at most.
    #[must_use]
    pub const fn delay(mut self, least: Duration, most: Duration) -> Self {
        self.link.delay = (least, most);
        self
    }

    /// Everything arrives in the pieces in which it was written, and is written as a whole.
    #[must_use]
    pub const fn unsplit(mut self) -> Self {
        self.link.split = false;
        self
    }

    /// So many of a hundred cuts are not noticed by the server, until the client is back or the keep-alive interval has
    /// passed.
    #[must_use]
    pub const fn overlooking(mut self, percent: u8) -> Self {
        self.overlooks = percent;
        self
    }

    /// The client, to be given commands.
    pub const fn client(&mut self) -> &mut ClientSession {
        &mut self.client
    }

    /// The server.
    pub const fn server(&mut self) -> &mut S {
        &mut self.server
    }

    /// What time it is.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// All that the client has told so far.
    pub fn events(&self) -> &[Event] {
        self.log.events()
    }

    /// The messages that the client was given so far.
    pub fn messages(&self) -> impl Iterator<Item = &Received> {
        self.log.messages()
    }

    /// What has become of something that was asked for.
    ///
    /// # Panics
    ///
    /// If that was reported more than once.
    pub fn fate(&self, wanted: Token) -> Option<&Fate> {
        let mut fates = self.events().iter().filter_map(|event| match event {
            Event::Done(token, fate) if *token == wanted => Some(fate),
            _ => None,
        });
        let fate = fates.next();
        assert_eq!(fates.next(), None, "token {wanted} has more than one outcome");
        fate
    }

    /// Loses all that is under way, in both directions, and tells both ends that the connection is gone.
    pub fn cut(&mut self) {
        self.cut_after = None;
        if self.client_is_open || self.server_is_open {
            self.cut_now();
        }
    }

    /// As [`cut`](Self::cut), when so many more bytes have arrived, at either end.
    pub fn cut_after(&mut self, bytes: usize) {
        self.cut_after_at(bytes, None);
    }

    /// As [`cut_after`](Self::cut_after), when so many more bytes have arrived at the server.
    pub fn cut_after_at_server(&mut self, bytes: usize) {
        self.cut_after_at(bytes, Some(Way::ToServer));
    }

    /// As [`cut_after`](Self::cut_after), when so many more bytes have arrived at the client.
    pub fn cut_after_at_client(&mut self, bytes: usize) {
        self.cut_after_at(bytes, Some(Way::ToClient));
    }

    fn cut_after_at(&mut self, bytes: usize, way: Option<Way>) {
        self.cut_after = Some((bytes, way));
        if bytes == 0 {
            self.cut();
        }
    }

    /// The client's program crashes, and with it goes all that was not taken from its
    /// [journal](ClientSession::journal). It begins anew with what was.
    ///
    /// # Panics
    ///
    /// If the client cannot read its own journal.
    pub fn crash(&mut self) {
        self.crash_now();
    }

    /// Whether everything that the client wants to be stored is stored. The pair stores it before it writes.
    pub fn is_stored(&mut self) -> bool {
        !self.has_records()
    }

    /// Whether the cut has not come yet.
    pub const fn is_cut_pending(&self) -> bool {
        self.cut_after.is_some()
    }

    /// Connects, after a pause or if [`reconnect`](Self::reconnect) is [`Reconnect::Never`].
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
