//! A whole broker as a state machine: connections, bytes and time go in; bytes for each connection come out.
//!
//! A [`Broker`] holds the sessions of its clients, routes messages between them, and keeps retained messages and wills. It
//! does no I/O: whoever embeds it, a gateway, a test, a simulator or a product, moves the bytes, and decides by a
//! [`Policy`] who may do what.
//!
//! ```
//! # use bytes::Buf;
//! # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin};
//! # use mqtt_sansio::{Instant, Message};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let now = Instant::from_micros(7);
//! let mut broker = Broker::new(BrokerConfig::default(), AllowAll);
//! let id = broker.open(now, Origin::UNKNOWN); // a transport was accepted
//! # let received = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo\x82\x0a\x00\x01\x00\x00\x04gw/#\x00";
//! let mut input = &received[..]; // what it has read
//! broker.receive(now, id, &mut input);
//! broker.publish(now, &Message::new("gw/started", "yes"))?; // the gateway's own voice
//! while let Some(id) = broker.next_ready() {
//!     let transmit = broker.transmit(id); // to be written to the transport of this connection
//!     println!("{} bytes", transmit.remaining());
//!     # assert!(transmit.chunk().starts_with(b"\x20") && transmit.chunk().ends_with(b"started\x00yes"));
//!     transmit.advance(transmit.remaining());
//!     if broker.is_over(id) {
//!         // close the transport
//!         broker.closed(now, id);
//!     }
//! }
//! println!("call poll() at {:?}", broker.deadline());
//! # Ok(())
//! # }
//! ```
//!
//! A program that serves all connections in one loop lets a [`Host`] do this. A driver does, for each connection at its own pace:
//!
//! - What was read goes to [`receive`](Broker::receive). What that leaves is given again, with more behind it. While
//!   a connection does not [take input](Broker::takes_input), nothing need be read.
//! - Each connection that [`next_ready`](Broker::next_ready) tells is written to, from [`transmit`](Broker::transmit) until
//!   there is nothing more; if the transport is not ready, when it is. Then what is left of its input is given again, if
//!   there is some.
//! - One that [is over](Broker::is_over) is written to once more, and closed.
//! - Where the program has [subscribed](Broker::subscribe) itself, it takes the messages by [`next_message`](Broker::next_message).
//! - [`poll`](Broker::poll) is called when the [`deadline`](Broker::deadline) has come. A call does a bounded amount of
//!   [work](BrokerConfig::work_per_call); while some is left, the deadline is at once, and the driver serves its transports
//!   between two calls of `poll`.
//!
//! # What survives a crash
//!
//! A [durable](BrokerConfig::durable) broker reports what must survive a crash, and sends nothing that promises more than what
//! is stored. The driver stores each batch atomically, and confirms it; the broker goes on meanwhile:
//!
//! ```
//! # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
//! # use mqtt_sansio::store::Pairs;
//! # use mqtt_sansio::{Instant, Message, QoS};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # let (now, mut store) = (Instant::from_micros(1), Pairs::default());
//! # let config = BrokerConfig::new(Secret::new([7; 16]));
//! let mut broker = Broker::restore(config.clone(), AllowAll, now, store.iter())?; // all pairs, in the order of their keys
//! broker.publish(now, &Message::new("gw/started", "yes").retain(true))?;
//! while let Some(batch) = broker.changes() {
//!     store.apply(&batch); // one transaction
//!     broker.committed(now, batch.number());
//! }
//! # assert_eq!(Broker::restore(config, AllowAll, now, store.iter())?.status().retained, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Stored are the sessions that outlive their connections, with their subscriptions, the messages of QoS 1 and 2 to their
//! clients, the identifiers of received messages of QoS 2, and their wills; and retained messages, but for those under `$SYS`.
//!
//! | packet | waits |
//! |---|---|
//! | CONNACK, with all that follows it | until the session is stored as connected |
//! | PUBACK, PUBREC with success | until the message is stored for all sessions that get it, or is retained |
//! | SUBACK, UNSUBACK | until the subscriptions are stored, or removed |
//! | PUBREL, PUBCOMP, PUBLISH of QoS 2 | until its identifier and its stage are stored; PUBLISH also until the message has gone to all sessions |
//! | PUBLISH of QoS 1 | only behind a PUBLISH that waits |
//! | PUBLISH of QoS 0, PINGRESP, AUTH, DISCONNECT, refusals | no |
//!
//! What waits does so too for the last batch in which a subscription, a session or a retained message was removed or replaced:
//! a client may have seen the effect of that. Nothing else waits, and packets that wait keep their order. Nothing waits at all
//! without [`waits_for_commits`](BrokerConfig::waits_for_commits): a crash then loses what is not committed.
//!
//! A message of QoS 2 comes once, whatever crashes and whenever, if it is granted QoS 2 and the sessions of both clients
//! outlive their connections; of QoS 1 at least once. In sessions that end with their connections, wills and messages of the
//! embedding program, a copy may come again, and so may retained messages for a new subscription:
//!
//! Those that are not sent yet when the broker crashes are sent after that, if the session outlives its connection and the
//! subscription has QoS 1 or 2; SUBACK waits until that is stored. The broker begins anew with the messages that were retained
//! before SUBSCRIBE and are so still, without those that are queued or in flight in the session. Messages that the client has
//! acknowledged, of QoS 2 with PUBREC, come a second time then. That ends with the call that finds no more to send; if one call
//! sends all messages, they are stored with the end in one batch, and those of QoS 2 come once.
//!
//! A message that waits for a member of a shared subscription goes to another member when the session of this one ends
//! (section 4.8.2), also if the broker crashes before or meanwhile; but a session that ends with its connection stores nothing,
//! and what it has got as a member is lost with the broker. [`store`](crate::store) says how keys are made, and which stores
//! there are.
//!
//! While more changes than [`BrokerConfig::max_uncommitted`] are not committed, nothing is taken that begins new state: no first
//! packet of a connection, no retained, QoS 1 or QoS 2 message, no SUBSCRIBE and no UNSUBSCRIBE; [`Broker::publish`] refuses such
//! messages. What there is goes on, because it changes no more than it is: acknowledgements, messages on their way, wills that
//! are due, the ends of connections and sessions, and answers of the policy, of which a connection waits for those to one packet.
//!
//! Other servers may connect as [bridges](crate::codec::Connect::is_bridge). In 3.1 and 3.1.1 every subscription of a bridge
//! is one with No Local and Retain As Published, and the policy is shown it as that; in 5.0 a bridge asks for them itself.

mod accept;
mod account;
mod admission;
mod config;
mod connections;
mod context;
mod counters;
mod dispatch;
mod durability;
mod embedder;
mod host;
mod inbox;
mod index;
mod jobs;
mod lifecycle;
mod listing;
mod local;
mod memory_use;
mod mount;
mod pending_codes;
mod pending_decisions;
mod pieces;
mod policy;
mod pool;
mod principal;
mod publish;
mod ready;
mod registry;
mod resume;
mod router;
mod secret;
mod session;
mod sessions;
mod slab;
mod subscribe;
mod sys;
mod table;
mod timers;

use alloc::collections::BTreeMap;

use self::account::Charges;
pub use self::config::{BrokerConfig, SharedStrategy};
use self::connections::{Connections, Output};
use self::context::Context;
pub use self::counters::{Counters, DropReason, Dropped, MemoryUse, Status};
use self::durability::commits::Commits;
use self::durability::restore::Pairs;
pub use self::host::Host;
use self::jobs::ring::Jobs;
pub use self::listing::{Cursor, Page, SessionInfo, SubscriptionInfo};
pub use self::local::{LocalMessage, LocalSubscription, SubscribeError, SubscribeOptions};
pub use self::mount::{MountPoint, MountPointError};
pub use self::policy::{
    Admission, AllowAll, Answer, AuthStep, Client, ConnectionId, Decision, DecisionId, Ended, Notice, Policy, Refusal,
    TakeOver, UnknownDecision,
};
pub use self::principal::{Origin, Principal};
use self::registry::Registry;
use self::router::Router;
pub use self::secret::Secret;
use self::session::Session;
use self::sessions::Sessions;
use self::timers::{Due, Timers};
use crate::codec::DisconnectReasonCode;
use crate::server::ServerConfig;
use crate::session::{Message, PublishError, Transmit};
use crate::store::{Batch, RestoreError};
use crate::sync::Arc;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// A broker: see the [module](self).
pub struct Broker<P> {
    now: Instant,
    /// The time of the first call; `None` before that.
    started: Option<Instant>,
    config: Arc<BrokerConfig>,
    /// The configuration of each session.
    server: Arc<ServerConfig>,
    policy: P,
    connections: Connections,
    sessions: Sessions,
    registry: Registry,
    router: Router,
    timers: Timers,
    jobs: Jobs,
    /// The time that is added to that of the caller, in microseconds: the clock of this process may be behind that of the
    /// process before.
    skew: u64,
    /// The output of sessions that do not exist.
    nothing: Transmit,
}

impl<P: Policy> Broker<P> {
    /// Makes a broker without sessions.
    pub fn new(config: BrokerConfig, policy: P) -> Self {
        let durable = config.durable;
        let server = ServerConfig { manual_acks: true, deliver_in_parts: None, durable, ..config.server.clone() };
        let config = Arc::new(config);
        let mut sessions = Sessions::new(&config);
        sessions.set_waits_for_commits(config.waits_for_commits);
        Self {
            now: Instant::EPOCH,
            started: None,
            server: Arc::new(server),
            policy,
            connections: Connections::new(),
            sessions,
            registry: Registry::new(&config.secret),
            router: Router::new(Arc::clone(&config)),
            timers: Timers::new(),
            jobs: Jobs::new(u64::from(config.work_per_call.get())),
            config,
            skew: 0,
            nothing: Transmit::default(),
        }
    }

    /// Restores a durable broker after a crash or a restart, from the pairs that its batches have put, in the order of their
    /// keys. Without pairs this is a new broker. It is [durable](BrokerConfig::durable), whatever the configuration says.
    ///
    /// Sessions that were connected count as cut at `now`: their expiry, and the delay of their wills, begin there. The times
    /// of others are what they were. Limits of the configuration do not apply to what is restored.
    ///
    /// `now` is in the same epoch before and after a crash: use Unix time, as [`StdClock`](crate::StdClock) does. If it is
    /// before the time of the last batch, because the clock was set back, time goes on from the time of that batch.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] if a pair cannot be read, if a retained message or a will is without its message, or if pairs
    /// contradict each other. It names the key of a pair, and what would be lost without that pair: the caller may leave the
    /// pair out, and restore again. Other pairs that refer to one that is missing mean nothing; they are removed by the next
    /// batches.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        config: BrokerConfig,
        policy: P,
        now: Instant,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, RestoreError> {
        let pairs = Pairs::read(pairs)?;
        let mut broker = Self::new(BrokerConfig { durable: true, ..config }, policy);
        if let Some(pairs) = pairs {
            // Time goes on from where it was, and does not stand still until a clock that was set back has caught up.
            broker.skew = pairs.stored_at().as_micros().saturating_sub(now.as_micros());
            broker.now = Instant::from_micros(now.as_micros().saturating_add(broker.skew));
            let server = Arc::clone(&broker.server);
            durability::restore::restore(&mut broker.context(), &server, pairs)?;
            broker.sessions.set_waits_for_commits(broker.config.waits_for_commits);
        }
        Ok(broker)
    }

    /// Opens a connection for a transport that was accepted, and comes from this origin. If there are too many connections it
    /// is [over](Self::is_over) at once.
    pub fn open(&mut self, now: Instant, origin: Origin) -> ConnectionId {
        let server = Arc::clone(&self.server);
        let mut cx = self.at(now);
        cx.work().spend(1);
        lifecycle::open(&mut cx, &server, origin)
    }

    /// Takes what a transport has read. What is left of `input` is to be given again, with more behind it: it is the
    /// beginning of a packet, or it cannot be [taken](Self::takes_input) yet.
    pub fn receive(&mut self, now: Instant, id: ConnectionId, input: &mut &[u8]) {
        let mut cx = self.at(now);
        dispatch::receive(&mut cx, id, input);
    }

    /// Whether [`receive`](Self::receive) would take input: not while a decision of the policy is waited for, nor while too
    /// many answers to the client [wait to be written](ServerConfig::answer_limit), nor while a packet of the client is still
    /// worked on or it is the turn of others. When it does again, [`next_ready`](Self::next_ready) returns the connection.
    pub fn takes_input(&self, id: ConnectionId) -> bool {
        let takes = |session: &Session| !session.is_busy() && !session.server().is_full();
        !self.connections.is_waiting(id)
            && !self.connections.waits_for_turn(id)
            && match self.connections.session(id) {
                Some(index) => self.sessions.get(index).is_some_and(takes) && !self.sessions.is_stalled(index),
                None => {
                    !self.connections.is_over(id)
                        && !self.connections.is_full(id)
                        && !self.sessions.is_connection_stalled(id)
                }
            }
    }

    /// Removes a connection whose transport is closed, or was lost. Its id is void from here on. A will that is due goes out at
    /// once or by [`poll`](Self::poll), as does what is left of the session.
    pub fn closed(&mut self, now: Instant, id: ConnectionId) {
        let mut cx = self.at(now);
        let principal = cx.connections.principal(id);
        jobs::work_for(&mut cx, principal, |cx| {
            lifecycle::close(cx, id);
            dispatch::process_changes(cx);
        });
    }

    /// Runs the timers that are due, and goes on with work that other calls have begun: at most
    /// [`work_per_call`](BrokerConfig::work_per_call) of it. It has to be called when the [`deadline`](Self::deadline) has
    /// come, and may be called more often. If the deadline still is not later than `now`, there is more to do: the caller
    /// looks at its transports first.
    pub fn poll(&mut self, now: Instant) {
        let mut cx = self.at(now);
        dispatch::poll(&mut cx);
    }

    /// When [`poll`](Self::poll) has to be called at the latest. While there is unfinished work, that is at once: the time of
    /// the last call.
    pub fn deadline(&self) -> Option<Instant> {
        let is_waiting = self.jobs.is_waiting()
            || self.sessions.inbox().is_unfinished()
            || self.sessions.commits().is_some_and(Commits::has_released);
        let at = if is_waiting { Some(self.now) } else { self.timers.next() };
        at.map(|at| Instant::from_micros(at.as_micros().saturating_sub(self.skew)))
    }

    /// The work that was done so far, in units of [`work_per_call`](BrokerConfig::work_per_call).
    pub const fn work_done(&self) -> u64 {
        self.sessions.work().done()
    }

    /// The next connection that has something new for the caller, or `None`:
    ///
    /// - there is something to [write](Self::transmit),
    /// - it [takes input](Self::takes_input) again,
    /// - or it is [over](Self::is_over).
    ///
    /// A connection is returned once each time that there is more. If not all can be written, the caller goes on when the
    /// transport is ready again.
    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        let Self { sessions, connections, .. } = self;
        sessions.ready_mut().pop(|id| connections.contains(id))
    }

    /// The output for a transport, in order. Bytes leave by [`advance`](bytes::Buf::advance) alone. Ask again after each
    /// write, until nothing is left: more may have been held back until then. If it is the turn of others first, it still is,
    /// and [`next_ready`](Self::next_ready) returns the connection when there is more.
    pub fn transmit(&mut self, id: ConnectionId) -> &mut Transmit {
        // Only sessions with messages that wait, or with retained messages to get, have more than they have put out.
        if let Some(index) = self.connections.session(id)
            && self.sessions.get(index).is_some_and(|it| it.server().has_work() || it.is_walking())
        {
            self.sessions.work_mut().begin();
            dispatch::refill(&mut self.context(), id, index);
        }
        match self.connections.output(id) {
            Output::Connection { transmit, is_released } => {
                if is_released {
                    self.sessions.ready_mut().push(id);
                }
                transmit
            }
            Output::Session(index) => self.sessions.output(index).unwrap_or(&mut self.nothing),
        }
    }

    /// Whether a connection is over: what is left should be [written](Self::transmit), for as long as that makes sense, then
    /// the transport be closed, and [`closed`](Self::closed) be called.
    pub fn is_over(&self, id: ConnectionId) -> bool {
        self.connections.is_over(id)
    }

    /// Gives a decision that the policy has put off. The connection goes on from there.
    ///
    /// # Errors
    ///
    /// [`UnknownDecision`] if no connection waits for the decision any more, or if the answer is of another kind.
    pub fn answer(&mut self, now: Instant, id: DecisionId, answer: Answer) -> Result<(), UnknownDecision> {
        let mut cx = self.at(now);
        let principal = cx.connections.principal(id.connection());
        let done = jobs::work_for(&mut cx, principal, |cx| {
            let done = dispatch::answer(cx, id, answer);
            if done.is_ok() {
                // The connection may have something to write, or take input again.
                dispatch::take_input(cx, id.connection(), &mut &[][..]);
                cx.sessions.ready_mut().push(id.connection());
            }
            dispatch::process_changes(cx);
            done
        });
        memory_use::count_connection(&mut cx, id.connection());
        done
    }

    /// Publishes a message of the embedding program's own: it is retained if it says so, and goes to all subscribers; to
    /// those that it does not get to at once by [`poll`](Self::poll). Messages go out in the order in which they were
    /// published.
    ///
    /// # Errors
    ///
    /// [`PublishError::Topic`] if the topic is not valid; [`PublishError::TopicAlias`] for a topic alias, which only the
    /// broker sets; [`PublishError::TooManyLevels`] for a topic with more levels than [`BrokerConfig::max_topic_levels`];
    /// [`PublishError::Encode`] if it cannot be sent; [`PublishError::QueueFull`] if there is no room to retain it, if 1,000
    /// earlier messages are still on their way, or if more changes than [`BrokerConfig::max_uncommitted`] are not committed
    /// and the message is retained or of QoS 1 or 2.
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<(), PublishError> {
        let mut cx = self.at(now);
        let accepted = publish::publish_own(&mut cx, message);
        dispatch::process_changes(&mut cx);
        accepted
    }

    /// Subscribes the embedding program itself: [`next_message`](Self::next_message) returns the messages of clients, wills,
    /// what the program [publishes](Self::publish), and with a filter under `$SYS/` what the broker publishes about itself. The
    /// policy is not asked. Each subscription gets its own copy of a message, also if the filters are the same. A
    /// [shared](TopicFilter::share_name) one is a member of its group beside clients.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let alarms = broker.subscribe(now, "plant/+/alarm", QoS::AtLeastOnce)?;
    /// # broker.publish(now, &Message::new("plant/7/alarm", "hot"))?;
    /// while let Some((subscription, message)) = broker.next_message() {
    ///     println!("{}: {:?}", message.topic(), message.payload());
    ///     # assert!(subscription == alarms && message.topic() == "plant/7/alarm");
    /// }
    /// broker.unsubscribe(now, alarms);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Messages wait in a queue of the subscription, whatever their QoS, until the program takes them. The queue has the limits
    /// of a session: `server.max_stored` messages and `server.max_stored_bytes` bytes, beyond which `server.overflow` says which
    /// message is dropped, and counted as [`DropReason::QueueFull`]; the policy gets [`Notice::LocalDropped`]. It is a part of [`BrokerConfig::max_memory`], and of no
    /// principal's share. Retained messages wait until there is room in the queue.
    ///
    /// The subscriptions of the program do not survive a crash, nor do the messages in their queues: subscribe again after
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the filter or the options are not valid, or at a limit of the configuration.
    pub fn subscribe(
        &mut self,
        now: Instant,
        filter: &str,
        options: impl Into<SubscribeOptions>,
    ) -> Result<LocalSubscription, SubscribeError> {
        let mut cx = self.at(now);
        let subscribed = embedder::subscribe(&mut cx, filter, options.into());
        dispatch::process_changes(&mut cx);
        subscribed
    }

    /// Ends a subscription of the embedding program; returns whether there was one. Its messages that were not taken are
    /// dropped, and counted as [`DropReason::SessionEnded`], but for those of a shared subscription, which go to another member.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, QoS};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let alarms = broker.subscribe(now, "plant/+/alarm", QoS::AtLeastOnce)?;
    /// assert!(broker.unsubscribe(now, alarms) && !broker.unsubscribe(now, alarms));
    /// # Ok(())
    /// # }
    /// ```
    pub fn unsubscribe(&mut self, now: Instant, subscription: LocalSubscription) -> bool {
        let mut cx = self.at(now);
        let was_subscribed = embedder::unsubscribe(&mut cx, subscription.key());
        dispatch::process_changes(&mut cx);
        was_subscribed
    }

    /// Takes the next message for a [subscription](Self::subscribe) of the embedding program; `None` if there is none now. The
    /// messages of a subscription come in order; subscriptions take turns. From here on the message is the program's, whatever
    /// its QoS: there is no acknowledgement.
    ///
    /// Call it after each call that may have led to messages, until there are no more, as
    /// [`next_ready`](Self::next_ready). Messages that have expired are dropped; if they are as many as the
    /// [work of a call](BrokerConfig::work_per_call), others come after the next [`poll`](Self::poll), whose
    /// [`deadline`](Self::deadline) is at once.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let requests = broker.subscribe(now, "gateway/ping", QoS::AtMostOnce)?;
    /// # broker.publish(now, &Message::new("gateway/ping", "7"))?;
    /// while let Some((subscription, message)) = broker.next_message() {
    ///     if subscription == requests {
    ///         broker.publish(now, &Message::new("gateway/pong", message.payload().clone()))?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_message(&mut self) -> Option<(LocalSubscription, LocalMessage)> {
        if !self.sessions.inbox().is_waiting() {
            return None;
        }
        self.sessions.work_mut().begin();
        embedder::next_message(&mut self.context())
    }

    /// Returns the changes of a [durable](BrokerConfig::durable) broker since the last call, to be stored as one transaction;
    /// `None` if nothing has changed, or if the broker is not durable. Call it when the calls of a round are made, before the
    /// output is written; there may be several batches.
    ///
    /// Batches are stored in the order of their numbers, each once. Several may be under way; a batch that could not be stored
    /// is stored again, unchanged, or the broker is dropped. When a batch is stored, call [`committed`](Self::committed).
    pub fn changes(&mut self) -> Option<Batch> {
        let now = self.now;
        self.sessions.commits_mut()?.journal()?.next_batch(now)
    }

    /// Returns whether [`changes`](Self::changes) would return a batch.
    pub fn has_changes(&self) -> bool {
        self.sessions.commits().is_some_and(|commits| commits.has_batch())
    }

    /// Returns whether the batch that [`changes`](Self::changes) would return should be stored at once: a packet waits for it, or
    /// it is large. Other batches may wait for later changes, to be stored with them: no packet promises what they say, for
    /// example that a message was delivered, or that a connection has ended.
    pub fn awaits_commit(&self) -> bool {
        self.sessions.commits().is_some_and(|commits| commits.has_batch() && commits.is_awaited())
    }

    /// Notes that all batches up to this number are stored. What has waited for them is in the output of its connections
    /// then: [`next_ready`](Self::next_ready) returns these. If many have waited, [`poll`](Self::poll) goes on with that. A
    /// number that [`changes`](Self::changes) has not returned counts as that of the last batch which it has returned.
    ///
    /// The [module](self#what-survives-a-crash) says which packets wait.
    pub fn committed(&mut self, now: Instant, number: u64) {
        let mut cx = self.at(now);
        durability::release::committed(&mut cx, number);
        dispatch::process_changes(&mut cx);
    }

    /// Disconnects a client, with a reason. Before 5.0 the client gets no reason; nor does one that is not accepted yet.
    /// Its will is published, unless the client connects again before the Will Delay Interval has passed.
    pub fn disconnect(&mut self, now: Instant, id: ConnectionId, reason_code: DisconnectReasonCode) {
        let mut cx = self.at(now);
        let principal = cx.connections.principal(id);
        jobs::work_for(&mut cx, principal, |cx| {
            lifecycle::disconnect_client(cx, id, reason_code);
            dispatch::process_changes(cx);
        });
    }

    /// Ends the session of a client, and its connection if it has one, with Administrative action (0x98); returns whether
    /// there was a session. Its will is published.
    pub fn end_session(&mut self, now: Instant, client_id: &str) -> bool {
        self.end_session_with(now, client_id, DisconnectReasonCode::AdministrativeAction)
    }

    /// As [`end_session`](Self::end_session), with this reason for the connection, which a client of 5.0 is sent.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::codec::DisconnectReasonCode;
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let was_there = broker.end_session_with(now, "thermo-7", DisconnectReasonCode::ServerMoved);
    /// # assert!(!was_there);
    /// ```
    pub fn end_session_with(&mut self, now: Instant, client_id: &str, reason_code: DisconnectReasonCode) -> bool {
        let mut cx = self.at(now);
        let ended = lifecycle::end_session(&mut cx, client_id, reason_code);
        dispatch::process_changes(&mut cx);
        ended
    }

    /// Returns the details of the session of a client, if there is one.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// if let Some(session) = broker.session("thermo-7") {
    ///     println!("{} subscriptions, {} messages", session.subscriptions, session.stored);
    /// }
    /// ```
    pub fn session(&mut self, client_id: &str) -> Option<SessionInfo> {
        listing::session(&self.context(), client_id)
    }

    /// Lists the sessions of clients, a page at a time.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Cursor, Secret};
    /// # let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// let mut next = Some(Cursor::START);
    /// while let Some(from) = next {
    ///     let page = broker.list_sessions(from);
    ///     for session in &page.items {
    ///         println!("{}: {:?}", session.client_id, session.connection);
    ///     }
    ///     next = page.next; // other calls may come in between
    /// }
    /// ```
    pub fn list_sessions(&mut self, from: Cursor) -> Page<SessionInfo> {
        self.sessions.work_mut().begin();
        listing::sessions(&mut self.context(), from)
    }

    /// Lists the subscriptions of a client, a page at a time; none if it has no session.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Cursor, Secret};
    /// # let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// for subscription in broker.list_subscriptions("thermo-7", Cursor::START).items {
    ///     println!("{} {}", subscription.filter, subscription.qos);
    /// }
    /// ```
    pub fn list_subscriptions(&mut self, client_id: &str, from: Cursor) -> Page<SubscriptionInfo> {
        self.sessions.work_mut().begin();
        listing::subscriptions(&mut self.context(), client_id, from)
    }

    /// Lists the retained messages whose topics match a filter, a page at a time. All topics are looked at, whatever the
    /// filter is. `#` does not match what begins with `$`.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Cursor, Secret};
    /// # use mqtt_sansio::{Instant, Message, TopicFilter};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// let page = broker.list_retained(TopicFilter::new("plant/#")?, Cursor::START);
    /// for message in &page.items {
    ///     println!("{}: {:?}", message.topic(), message.payload());
    /// }
    /// # assert_eq!((page.items.len(), page.next), (1, None));
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_retained(&mut self, filter: TopicFilter<'_>, from: Cursor) -> Page<LocalMessage> {
        self.sessions.work_mut().begin();
        listing::retained(&mut self.context(), filter, from)
    }

    /// Returns the retained message of a topic, if there is one.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// assert_eq!(broker.retained_message("plant/1/state").ok_or("none")?.payload(), "on");
    /// # Ok(())
    /// # }
    /// ```
    pub fn retained_message(&mut self, topic: &str) -> Option<LocalMessage> {
        listing::retained_message(&self.context(), topic)
    }

    /// Removes the retained message of a topic; returns whether there was one. No subscriber is told, unlike by a
    /// [published](Self::publish) message without payload.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message};
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// assert!(broker.remove_retained(now, "plant/1/state") && !broker.remove_retained(now, "plant/1/state"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove_retained(&mut self, now: Instant, topic: &str) -> bool {
        let Ok(topic) = TopicName::new(topic) else { return false };
        let mut cx = self.at(now);
        cx.work().spend_text(topic.as_bytes().len());
        publish::remove_retained(&mut cx, topic)
    }

    /// The client identifier of a connection, if its client is accepted.
    pub fn client_id(&self, id: ConnectionId) -> Option<&str> {
        self.sessions.client_id(self.connections.session(id)?)
    }

    /// The connection of a client, if it has one.
    pub fn connection(&self, client_id: &str) -> Option<ConnectionId> {
        self.sessions.get(self.registry.find(&self.sessions, client_id)?)?.connection()
    }

    /// What has happened so far.
    pub const fn counters(&self) -> &Counters {
        self.sessions.counters()
    }

    /// What there is now.
    pub fn status(&self) -> Status {
        sys::status(&self.connections, &self.sessions, &self.registry, &self.router, &self.timers, &self.jobs)
    }

    /// The policy.
    pub const fn policy(&self) -> &P {
        &self.policy
    }

    /// The policy, to be changed.
    pub const fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// The parts of the broker at this time. Time goes on, never back.
    #[inline]
    fn at(&mut self, now: Instant) -> Context<'_> {
        let before = self.now;
        self.now = before.max(Instant::from_micros(now.as_micros().saturating_add(self.skew)));
        self.sessions.begin_step(before);
        if self.started.is_none() {
            self.started = Some(self.now);
            sys::start(&mut self.context());
        }
        self.sessions.work_mut().begin();
        self.context()
    }

    /// The parts of the broker at the time of the last call.
    fn context(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            started: self.started.unwrap_or(self.now),
            config: &self.config,
            policy: &mut self.policy,
            connections: &mut self.connections,
            sessions: &mut self.sessions,
            registry: &mut self.registry,
            router: &mut self.router,
            timers: &mut self.timers,
            jobs: &mut self.jobs,
        }
    }

    /// Panics if a count is wrong, or a part does not fit the others. For tests.
    #[doc(hidden)]
    pub fn assert_consistent(&self) {
        let is_of_client = |session: &Session| !session.has_ended() && !session.is_local();
        for (index, session) in self.sessions.iter().filter(|(_, session)| is_of_client(session)) {
            let found = self.registry.find(&self.sessions, session.client_id());
            assert_eq!(found, Some(index), "a session is found by its client identifier");
            if let Some(id) = session.connection() {
                assert_eq!(self.connections.session(id), Some(index), "a connection has its session");
            }
            let has_open_jobs = self.jobs.open_of(session.client_id()) != 0;
            assert_eq!(session.is_busy(), has_open_jobs, "a session knows whether jobs of its client are open");
            let timer = self.timers.get(Due::Session(index)).unwrap_or(Instant::NEVER);
            assert_eq!(timer, session.scheduled(), "a session knows when its timer runs");
        }
        assert_eq!(self.registry.len(), self.sessions.len(), "each session has one client identifier");
        self.sessions.assert_consistent(self.charges());
        let retained = self.router.retained();
        let users = [self.connections.len(), self.sessions.len(), self.jobs.len(), retained].into_iter().map(u64::from);
        self.jobs.turns().assert_consistent(users.fold(0, u64::saturating_add));
        self.sessions.work().assert_bounded();
        self.router.assert_consistent(&self.sessions);
        if let Some(commits) = self.sessions.commits() {
            let numbers = self.sessions.iter().flat_map(|(_, session)| session.server().numbers_in_store());
            let numbers = numbers.chain(self.router.retained_numbers()).chain(self.jobs.replaced_numbers());
            commits.assert_consistent(numbers);
        }
    }

    /// What principals are charged for everything but sessions.
    fn charges(&self) -> BTreeMap<u32, Charges> {
        let mut charges = BTreeMap::<u32, Charges>::new();
        for (principal, bytes) in self.connections.charges().chain(self.jobs.charges()) {
            let own = &mut charges.entry(principal.get()).or_default().state;
            *own = own.saturating_add(bytes);
        }
        for (principal, bytes) in self.router.retained_charges() {
            let own = &mut charges.entry(principal.get()).or_default().messages;
            *own = own.saturating_add(bytes);
        }
        charges
    }
}

impl<P> core::fmt::Debug for Broker<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Broker")
            .field("connections", &self.connections.len())
            .field("sessions", &self.sessions.len())
            .field("subscriptions", &self.router.subscriptions())
            .finish_non_exhaustive()
    }
}
