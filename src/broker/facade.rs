//! The broker, as its driver calls it.

use alloc::collections::BTreeMap;

use super::account::Charges;
use super::config::BrokerConfig;
use super::connections::{Connections, Output};
use super::context::Context;
use super::counters::{Counters, Status};
use super::durability::commits::Commits;
use super::durability::restore::Pairs;
use super::jobs::ring::Jobs;
use super::policy::{Answer, ConnectionId, DecisionId, Policy, UnknownDecision};
use super::principal::Origin;
use super::registry::Registry;
use super::router::Router;
use super::session::Session;
use super::sessions::Sessions;
use super::timers::{Due, Timers};
use super::{dispatch, durability, jobs, lifecycle, memory_use, sys};
use crate::server::ServerConfig;
use crate::session::Transmit;
use crate::store::{Batch, RestoreError};
use crate::sync::Arc;
use crate::time::Instant;

/// A broker: see the [module](super).
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
    ///
    /// ```
    /// use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    ///
    /// let broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// assert_eq!(broker.status().sessions, 0);
    /// ```
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
    ///
    /// ```
    /// use mqtt_sansio::Instant;
    /// use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// use mqtt_sansio::store::Pairs;
    ///
    /// let store = Pairs::default(); // what was stored
    /// let config = BrokerConfig::new(Secret::new([7; 16]));
    /// let broker = Broker::restore(config, AllowAll, Instant::from_micros(1), store.iter())?;
    /// # let _ = broker;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let address = std::net::IpAddr::from([192, 0, 2, 7]); // of the peer
    /// let id = broker.open(now, address.into());
    /// assert!(!broker.is_over(id) && broker.takes_input(id));
    /// ```
    pub fn open(&mut self, now: Instant, origin: Origin) -> ConnectionId {
        let server = Arc::clone(&self.server);
        let mut cx = self.at(now);
        cx.work().spend(1);
        lifecycle::open(&mut cx, &server, origin)
    }

    /// Takes what a transport has read. What is left of `input` is to be given again, with more behind it: it is the
    /// beginning of a packet, or it cannot be [taken](Self::takes_input) yet.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// let mut input = &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo\xc0"[..];
    /// broker.receive(now, id, &mut input);
    /// assert_eq!(input, [0xC0]); // the beginning of the next packet
    /// ```
    pub fn receive(&mut self, now: Instant, id: ConnectionId, input: &mut &[u8]) {
        let mut cx = self.at(now);
        dispatch::receive(&mut cx, id, input);
    }

    /// Whether [`receive`](Self::receive) would take input: not while a decision of the policy is waited for, nor while too
    /// many answers to the client [wait to be written](ServerConfig::answer_limit), nor while a packet of the client is still
    /// worked on or it is the turn of others. When it does again, [`next_ready`](Self::next_ready) returns the connection.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// if broker.takes_input(id) {
    ///     // read from the transport, and call `receive`
    /// }
    /// ```
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
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// broker.closed(now, id);
    /// assert_eq!(broker.status().connections, 0);
    /// ```
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
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// if broker.deadline().is_some_and(|deadline| deadline <= now) {
    ///     broker.poll(now);
    /// }
    /// ```
    pub fn poll(&mut self, now: Instant) {
        let mut cx = self.at(now);
        dispatch::poll(&mut cx);
    }

    /// When [`poll`](Self::poll) has to be called at the latest. While there is unfinished work, that is at once: the time of
    /// the last call.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// assert!(broker.deadline().is_some_and(|at| at > now)); // the Keep Alive of the client
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        let is_waiting = self.jobs.is_waiting()
            || self.sessions.inbox().is_unfinished()
            || self.sessions.commits().is_some_and(Commits::has_released);
        let at = if is_waiting { Some(self.now) } else { self.timers.next() };
        at.map(|at| Instant::from_micros(at.as_micros().saturating_sub(self.skew)))
    }

    /// The work that was done so far, in units of [`work_per_call`](BrokerConfig::work_per_call).
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// let before = broker.work_done();
    /// broker.receive(now, id, &mut &b"\xc0\x00"[..]);
    /// assert!(broker.work_done() > before);
    /// ```
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
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// while let Some(id) = broker.next_ready() {
    ///     let output = broker.transmit(id).take_all();
    ///     println!("{} bytes for {id}, over: {}", output.len(), broker.is_over(id));
    /// }
    /// ```
    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        let Self { sessions, connections, .. } = self;
        sessions.ready_mut().pop(|id| connections.contains(id))
    }

    /// The output for a transport, in order. Bytes leave by [`advance`](bytes::Buf::advance) alone. Ask again after each
    /// write, until nothing is left: more may have been held back until then. If it is the turn of others first, it still is,
    /// and [`next_ready`](Self::next_ready) returns the connection when there is more.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// # fn write(bytes: &[u8]) -> usize { bytes.len() }
    /// while broker.transmit(id).has_remaining() {
    ///     let written = write(broker.transmit(id).chunk());
    ///     broker.transmit(id).advance(written);
    /// }
    /// ```
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
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// broker.receive(now, id, &mut &b"\xe0\x00"[..]); // DISCONNECT
    /// assert!(broker.is_over(id));
    /// broker.closed(now, id);
    /// ```
    pub fn is_over(&self, id: ConnectionId) -> bool {
        self.connections.is_over(id)
    }

    /// Gives a decision that the policy has put off. The connection goes on from there.
    ///
    /// # Errors
    ///
    /// [`UnknownDecision`] if no connection waits for the decision any more, or if the answer is of another kind.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{Admission, Answer, Broker, BrokerConfig, Decision, DecisionId, Origin, Policy, Secret};
    /// # use mqtt_sansio::codec::Connect;
    /// # use mqtt_sansio::Instant;
    /// #[derive(Default)]
    /// struct Later(Option<DecisionId>);
    ///
    /// impl Policy for Later {
    ///     fn connect(&mut self, id: DecisionId, _: &Connect<'_>) -> Decision<Admission> {
    ///         self.0 = Some(id); // somebody else is asked
    ///         Decision::Later
    ///     }
    /// }
    /// # let (now, config) = (Instant::from_micros(1), BrokerConfig::new(Secret::new([7; 16])));
    /// let mut broker = Broker::new(config, Later::default());
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// if let Some(id) = broker.policy_mut().0.take() {
    ///     broker.answer(now, id, Answer::Connect(Admission::accept()))?;
    /// }
    /// assert_eq!(broker.status().clients, 1);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
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

    /// Returns the changes of a [durable](BrokerConfig::durable) broker since the last call, to be stored as one transaction;
    /// `None` if nothing has changed, or if the broker is not durable. Call it when the calls of a round are made, before the
    /// output is written; there may be several batches.
    ///
    /// Batches are stored in the order of their numbers, each once. Several may be under way; a batch that could not be stored
    /// is stored again, unchanged, or the broker is dropped. When a batch is stored, call [`committed`](Self::committed).
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::store::Pairs;
    /// # use mqtt_sansio::{Instant, Message};
    /// # let (now, mut store) = (Instant::from_micros(1), Pairs::default());
    /// # let config = BrokerConfig { durable: true, ..BrokerConfig::new(Secret::new([7; 16])) };
    /// # let mut broker = Broker::new(config, AllowAll);
    /// # broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// while let Some(batch) = broker.changes() {
    ///     store.apply(&batch); // one transaction
    ///     broker.committed(now, batch.number());
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn changes(&mut self) -> Option<Batch> {
        let now = self.now;
        self.sessions.commits_mut()?.journal()?.next_batch(now)
    }

    /// Returns whether [`changes`](Self::changes) would return a batch.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::store::Pairs;
    /// # use mqtt_sansio::{Instant, Message};
    /// # let (now, mut store) = (Instant::from_micros(1), Pairs::default());
    /// # let config = BrokerConfig { durable: true, ..BrokerConfig::new(Secret::new([7; 16])) };
    /// # let mut broker = Broker::new(config, AllowAll);
    /// # broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// assert!(broker.has_changes());
    /// store.apply(&broker.changes().ok_or("none")?);
    /// assert!(!broker.has_changes());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn has_changes(&self) -> bool {
        self.sessions.commits().is_some_and(|commits| commits.has_batch())
    }

    /// Returns whether the batch that [`changes`](Self::changes) would return should be stored at once: a packet waits for it, or
    /// it is large. Other batches may wait for later changes, to be stored with them: no packet promises what they say, for
    /// example that a message was delivered, or that a connection has ended.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::store::Pairs;
    /// # use mqtt_sansio::{Instant, Message};
    /// # let (now, mut store) = (Instant::from_micros(1), Pairs::default());
    /// # let config = BrokerConfig { durable: true, ..BrokerConfig::new(Secret::new([7; 16])) };
    /// # let mut broker = Broker::new(config, AllowAll);
    /// # broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// let is_urgent = broker.awaits_commit();
    /// println!("store {}", if is_urgent { "now" } else { "within a second" });
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn awaits_commit(&self) -> bool {
        self.sessions.commits().is_some_and(|commits| commits.has_batch() && commits.is_awaited())
    }

    /// Notes that all batches up to this number are stored. What has waited for them is in the output of its connections
    /// then: [`next_ready`](Self::next_ready) returns these. If many have waited, [`poll`](Self::poll) goes on with that. A
    /// number that [`changes`](Self::changes) has not returned counts as that of the last batch which it has returned.
    ///
    /// The [module](super#what-survives-a-crash) says which packets wait.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::store::Pairs;
    /// # use mqtt_sansio::{Instant, Message};
    /// # let (now, mut store) = (Instant::from_micros(1), Pairs::default());
    /// # let config = BrokerConfig { durable: true, ..BrokerConfig::new(Secret::new([7; 16])) };
    /// # let mut broker = Broker::new(config, AllowAll);
    /// # broker.publish(now, &Message::new("plant/1/state", "on").retain(true))?;
    /// let batch = broker.changes().ok_or("none")?;
    /// store.apply(&batch);
    /// broker.committed(now, batch.number());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn committed(&mut self, now: Instant, number: u64) {
        let mut cx = self.at(now);
        durability::release::committed(&mut cx, number);
        dispatch::process_changes(&mut cx);
    }

    /// The client identifier of a connection, if its client is accepted.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// assert_eq!(broker.client_id(id), Some("thermo"));
    /// ```
    pub fn client_id(&self, id: ConnectionId) -> Option<&str> {
        self.sessions.client_id(self.connections.session(id)?)
    }

    /// The connection of a client, if it has one.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// assert_eq!(broker.connection("thermo"), Some(id));
    /// ```
    pub fn connection(&self, client_id: &str) -> Option<ConnectionId> {
        self.sessions.get(self.registry.find(&self.sessions, client_id)?)?.connection()
    }

    /// What has happened so far.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// assert_eq!(broker.counters().clients_accepted, 1);
    /// ```
    pub const fn counters(&self) -> &Counters {
        self.sessions.counters()
    }

    /// What there is now.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # let id = broker.open(now, Origin::UNKNOWN);
    /// # broker.receive(now, id, &mut &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x06thermo"[..]);
    /// assert_eq!(broker.status().clients, 1);
    /// ```
    pub fn status(&self) -> Status {
        sys::status(&self.connections, &self.sessions, &self.registry, &self.router, &self.timers, &self.jobs)
    }

    /// The policy.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Origin, Secret};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// let _: &AllowAll = broker.policy();
    /// ```
    pub const fn policy(&self) -> &P {
        &self.policy
    }

    /// The policy, to be changed.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{Broker, BrokerConfig, Policy, Secret};
    /// #[derive(Default)]
    /// struct Readers(Vec<String>);
    ///
    /// impl Policy for Readers {}
    ///
    /// let mut broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), Readers::default());
    /// broker.policy_mut().0.push("ann".into());
    /// ```
    pub const fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// The parts of the broker at this time. Time goes on, never back.
    #[inline]
    pub(super) fn at(&mut self, now: Instant) -> Context<'_> {
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

    /// Whether the embedding program may have messages to take.
    #[inline]
    pub(super) fn has_messages(&self) -> bool {
        self.sessions.inbox().is_waiting()
    }

    /// The parts of the broker at the time of the last call, for another call without a time.
    pub(super) fn again(&mut self) -> Context<'_> {
        self.sessions.work_mut().begin();
        self.context()
    }

    /// The parts of the broker at the time of the last call.
    pub(super) fn context(&mut self) -> Context<'_> {
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
