//! A broker and its clients, joined by links that delay, split and lose bytes, on one virtual clock.

mod participant;
mod run;

use core::fmt;
use core::time::Duration;

use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, ConnectionId, Policy, Secret};
use mqtt_sansio::client::{ClientConfig, ClientSession};
use mqtt_sansio::codec::Subscription;
use mqtt_sansio::store::{Batch, Pairs};
use mqtt_sansio::{Instant, Message, QoS, Token};

use self::participant::Member;
use crate::event::{Event, Fate, Received};
use crate::hostile::Hostile;
use crate::link::Reconnect;
use crate::random::Random;

/// A whole broker, its clients, the links between them, and a virtual clock. All choices follow from one seed.
///
/// Clients connect when the world runs, and again after each connection that is lost. Every packet that a client or
/// the broker writes is checked against the rules of the specification; a violation is a panic that names the rule.
///
/// ```
/// use mqtt_sansio::client::ClientConfig;
/// use mqtt_sansio::{Message, QoS, SessionExpiry};
/// use mqtt_sansio_testkit::BrokerWorld;
///
/// let mut world = BrokerWorld::seeded(7);
/// let named = |name: &str| ClientConfig {
///     client_id: name.into(),
///     session_expiry_interval: SessionExpiry::after(3600),
///     ..ClientConfig::default()
/// };
/// let lamp = world.client(named("lamp"));
/// let switch = world.client(named("switch"));
/// world.subscribe(lamp, "home/+/set", QoS::ExactlyOnce);
/// world.run_until_quiet();
///
/// world.cut_after(lamp, 10); // its connection is lost when ten more bytes have arrived
/// let token = world.publish(switch, &Message::new("home/lamp/set", "on").qos(QoS::ExactlyOnce));
/// world.run_until_quiet();
/// assert_eq!(world.delivered_to(lamp), ["on"]);
/// assert!(world.fate(switch, token).is_some_and(|fate| fate.is_success()));
/// ```
pub struct BrokerWorld<P> {
    seed: u64,
    random: Random,
    now: Instant,
    config: BrokerConfig,
    broker: Broker<P>,
    members: Vec<Member>,
    intruders: Vec<Intruder>,
    /// What a durable broker has stored, and the batches that were handed out and are not confirmed.
    stored: Pairs,
    under_way: Vec<Batch>,
    commits_at: Option<Instant>,
    /// The longest time until a batch is stored.
    commit_delay: Duration,
    /// The percentage of cuts that the broker does not notice.
    overlooks: u8,
}

/// A client in a [`BrokerWorld`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Participant(usize);

/// A hostile client, with its connection.
struct Intruder {
    hostile: Hostile,
    id: Option<ConnectionId>,
    at_broker: Vec<u8>,
    /// When it sends next.
    sends_at: Instant,
}

/// The time at which a world begins: Unix time, so that instants before it exist.
const BEGIN: Instant = Instant::from_micros(1_000_000_000_000_000);

impl BrokerWorld<AllowAll> {
    /// Creates a world with a broker of the default configuration, which allows everything.
    pub fn seeded(seed: u64) -> Self {
        Self::with(seed, BrokerConfig::new(Secret::new(u128::from(seed).to_le_bytes())), AllowAll)
    }
}

impl<P: Policy> BrokerWorld<P> {
    /// Creates a world with a broker of this configuration and policy. The configuration's secret is part of what decides
    /// how the world goes on: for one that follows from the seed, set it.
    pub fn with(seed: u64, config: BrokerConfig, policy: P) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            now: BEGIN,
            broker: Broker::new(config.clone(), policy),
            config,
            members: Vec::new(),
            intruders: Vec::new(),
            stored: Pairs::default(),
            under_way: Vec::new(),
            commits_at: None,
            commit_delay: Duration::from_millis(5),
            overlooks: 0,
        }
    }

    /// Adds a client. It connects when the world runs.
    pub fn client(&mut self, config: ClientConfig) -> Participant {
        self.session(ClientSession::new(config))
    }

    /// Adds a client with an existing session.
    pub fn session(&mut self, client: ClientSession) -> Participant {
        self.members.push(Member::new(client, self.random.fork(), self.now));
        Participant(self.members.len() - 1)
    }

    /// Adds a hostile client, which sends its bytes every few milliseconds, connects again when the broker has had enough of it,
    /// and reads nothing half of the time. It never rests: run the world [for some time](Self::run_for).
    pub fn intruder(&mut self, hostile: Hostile) {
        self.intruders.push(Intruder { hostile, id: None, at_broker: Vec::new(), sends_at: self.now });
    }

    /// Sends all hostile clients away.
    pub fn end_intrusion(&mut self) {
        for intruder in core::mem::take(&mut self.intruders) {
            if let Some(id) = intruder.id {
                self.broker.closed(self.now, id);
            }
        }
    }

    /// Sets the percentage of cuts that the broker does not notice until the Keep Alive has passed, or the client has
    /// connected again. Default: 0.
    #[must_use]
    pub const fn overlooking(mut self, percent: u8) -> Self {
        self.overlooks = percent;
        self
    }

    /// Sets the longest time until a batch of a durable broker is stored. Default: 5 ms.
    #[must_use]
    pub const fn commit_delay(mut self, longest: Duration) -> Self {
        self.commit_delay = longest;
        self
    }

    /// Sets when a client reconnects. Default: [`Reconnect::Backoff`]. A client does not reconnect after its own
    /// DISCONNECT, nor where that could not succeed: see [`Close::may_retry`](mqtt_sansio::client::Close::may_retry).
    pub fn reconnect(&mut self, client: Participant, reconnect: Reconnect) {
        self.members[client.0].reconnect = reconnect;
    }

    /// Sets the minimum and maximum delay of bytes on the link of a client. Default: 100 µs and 20 ms.
    pub fn delay(&mut self, client: Participant, least: Duration, most: Duration) {
        self.members[client.0].link.delay = (least, most);
    }

    /// Stops, or lets go on, what the broker sends to a client: the client does not read. Bytes stay on their way, up to
    /// 64 KiB; the rest stays with the broker.
    pub fn hold(&mut self, client: Participant, is_held: bool) {
        self.members[client.0].is_held = is_held;
    }

    /// Returns the session of a client, for commands and questions.
    pub fn client_mut(&mut self, client: Participant) -> &mut ClientSession {
        &mut self.members[client.0].client
    }

    /// Lets a client subscribe.
    ///
    /// # Panics
    ///
    /// Panics if the client refuses: with an invalid filter, for instance.
    pub fn subscribe(&mut self, client: Participant, filter: &str, qos: QoS) -> Token {
        let subscription = Subscription::new(filter, qos).unwrap_or_else(|error| panic!("{filter:?}: {error}"));
        let result = self.members[client.0].client.subscribe(self.now, &[subscription]);
        result.unwrap_or_else(|error| panic!("the client does not subscribe: {error}"))
    }

    /// Lets a client publish a message.
    ///
    /// # Panics
    ///
    /// Panics if the client refuses: with a full queue, for instance.
    pub fn publish(&mut self, client: Participant, message: &Message<'_>) -> Token {
        let result = self.members[client.0].client.publish(self.now, message);
        result.unwrap_or_else(|error| panic!("the client does not publish: {error}"))
    }

    /// Returns the broker. After a call that has output, run the world.
    pub const fn broker(&mut self) -> &mut Broker<P> {
        &mut self.broker
    }

    /// Returns the current time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Returns all events of a client so far.
    pub fn events(&self, client: Participant) -> &[Event] {
        self.members[client.0].log.events()
    }

    /// Returns the messages that a client has received so far.
    pub fn messages(&self, client: Participant) -> impl Iterator<Item = &Received> {
        self.members[client.0].log.messages()
    }

    /// Returns the payloads of the messages that a client has received so far.
    ///
    /// # Panics
    ///
    /// Panics if a payload is not UTF-8.
    pub fn delivered_to(&self, client: Participant) -> Vec<&str> {
        self.messages(client).map(|message| str::from_utf8(&message.payload).expect("a text")).collect()
    }

    /// Returns the outcome of an operation of a client, if it has one.
    ///
    /// # Panics
    ///
    /// Panics if the operation has more than one outcome.
    pub fn fate(&self, client: Participant, wanted: Token) -> Option<&Fate> {
        self.members[client.0].log.fate(wanted)
    }

    /// Cuts the link of a client: all bytes on their way are lost.
    pub fn cut(&mut self, client: Participant) {
        self.members[client.0].cut_after = None;
        self.cut_now(client.0);
    }

    /// Like [`cut`](Self::cut), once this many more bytes have arrived, at both endpoints together.
    pub fn cut_after(&mut self, client: Participant, bytes: usize) {
        self.members[client.0].cut_after = Some(bytes);
        if bytes == 0 {
            self.cut(client);
        }
    }

    /// Opens a connection of a client before its back-off has passed, or if it does not [reconnect](Self::reconnect).
    pub fn open(&mut self, client: Participant) {
        let member = &mut self.members[client.0];
        if member.id.is_none() && !member.is_open {
            member.opens_at = Some(self.now);
        }
    }
}

impl<P: Policy + Clone> BrokerWorld<P> {
    /// Crashes the broker's process, and starts it again. All connections are lost. A durable broker is restored: changes that
    /// were not stored are lost, those that are stored and not confirmed may be. Another broker is a new one.
    ///
    /// # Panics
    ///
    /// Panics if the broker cannot be restored.
    pub fn crash(&mut self) {
        self.crash_now();
    }
}

impl<P> fmt::Debug for BrokerWorld<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerWorld")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("clients", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl<P> Drop for BrokerWorld<P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed of the world was {}, and it was {:?}", self.seed, self.now);
        }
    }
}
