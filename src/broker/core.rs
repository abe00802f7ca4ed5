//! The broker: what it holds, and the ways in for bytes and time.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::config::BrokerConfig;
use super::connecting::Connecting;
use super::counters::{Counters, Status};
use super::hub::{Hub, index_of};
use super::policy::{Answer, ConnectionId, Ended, Notice, Policy, Ticket, UnknownTicket};
use super::publishing::Scratch;
use super::questions::Parked;
use super::retained::Retained;
use super::slab::{Key, Slab};
use super::timers::{Due, Timers};
use super::tree::Tree;
use crate::codec::{Disconnect, DisconnectReasonCode};
use crate::random::{Random, derive};
use crate::server::{Close, ServerConfig};
use crate::session::Transmit;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// A broker: see the [module](super).
pub struct Broker<P> {
    pub(super) now: Instant,
    pub(super) config: BrokerConfig,
    /// What each session is held to.
    pub(super) server: Arc<ServerConfig>,
    pub(super) policy: P,
    pub(super) connections: Slab<Connection>,
    pub(super) hub: Hub,
    /// The sessions by the names of their clients.
    pub(super) names: HashTable<u32>,
    pub(super) hasher: FixedState,
    pub(super) tree: Tree,
    pub(super) retained: Retained,
    pub(super) timers: Timers,
    pub(super) scratch: Scratch,
    pub(super) random: Random,
    /// How many clients are connected.
    pub(super) clients: u32,
    /// When it was told the time for the first time.
    pub(super) since: Option<Instant>,
    /// What there is to write for a connection that is gone.
    nothing: Transmit,
}

/// A connection.
pub(super) struct Connection {
    pub(super) state: State,
    /// Whether it is among those that the caller has to look at; of one with a session, that is kept there.
    pub(super) is_ready: bool,
    /// The number of the next ticket.
    pub(super) tickets: u32,
    /// A question that is not answered yet.
    pub(super) parked: Option<Box<Parked>>,
}

pub(super) enum State {
    /// Its client is not accepted yet.
    Connecting(Box<Connecting>),
    /// It is that of a session.
    Attached(u32),
    /// It is over, and this is still to be written.
    Over(Transmit),
}

impl<P: Policy> Broker<P> {
    /// A broker with nothing in it.
    pub fn new(config: BrokerConfig, policy: P) -> Self {
        let server = ServerConfig { manual_acks: true, deliver_in_parts: u32::MAX, ..config.server.clone() };
        Self {
            now: Instant::EPOCH,
            server: Arc::new(server),
            policy,
            connections: Slab::new(),
            hub: Hub::new(config.max_memory, config.reserved_memory),
            names: HashTable::new(),
            hasher: FixedState::with_seed(derive(config.seed, 1)),
            tree: Tree::new(derive(config.seed, 2)),
            retained: Retained::new(derive(config.seed, 3)),
            timers: Timers::default(),
            scratch: Scratch::default(),
            random: Random::new(derive(config.seed, 4)),
            clients: 0,
            since: None,
            config,
            nothing: Transmit::default(),
        }
    }

    /// A transport was accepted: its name from here on. If there are too many connections it is
    /// [over](Self::is_over) at once.
    pub fn open(&mut self, now: Instant) -> ConnectionId {
        self.advance(now);
        self.hub.counters.connections = self.hub.counters.connections.wrapping_add(1);
        let is_one_too_many = self.connections.len() >= self.config.max_connections;
        let state = if is_one_too_many {
            State::Over(Transmit::default())
        } else {
            State::Connecting(Box::new(Connecting::new(Arc::clone(&self.server), self.now)))
        };
        let connection = Connection { state, is_ready: false, tickets: 0, parked: None };
        let Some(key) = self.connections.insert(connection) else {
            // Four thousand million connections are open: this one's name is nobody's.
            return ConnectionId(Key { index: u32::MAX, generation: u32::MAX });
        };
        let id = ConnectionId(key);
        if is_one_too_many {
            self.hub.counters.connections_refused = self.hub.counters.connections_refused.wrapping_add(1);
            self.make_ready(id);
            self.policy.notice(Notice::Refused {
                connection: id,
                client_id: None,
                user_name: None,
                why: Ended::TooMany,
            });
        } else {
            self.schedule_connection(id);
        }
        id
    }

    /// Takes what a transport has read. What is left of `input` is to be given again, with more behind it: it is the
    /// beginning of a packet, or it cannot be [taken](Self::takes_input) yet.
    pub fn receive(&mut self, now: Instant, id: ConnectionId, input: &mut &[u8]) {
        self.advance(now);
        let before = input.len();
        self.take_input(id, input);
        let taken = before.saturating_sub(input.len());
        self.hub.counters.bytes_received = self.hub.counters.bytes_received.wrapping_add(taken as u64);
        self.settle();
    }

    fn take_input(&mut self, id: ConnectionId, input: &mut &[u8]) {
        loop {
            let index = index_of(&self.connections, id.0);
            let connection = index.and_then(|index| self.connections.get_mut(index));
            match connection {
                None | Some(Connection { state: State::Over(_), .. }) => return *input = &[],
                Some(Connection { parked: Some(_), .. }) => return,
                Some(Connection { state: State::Connecting(connecting), .. }) => {
                    match connecting.acceptor.poll(self.now, input) {
                        Some(action) => self.act_for_connecting(id, action),
                        None => return self.schedule_connection(id),
                    }
                }
                Some(&mut Connection { state: State::Attached(session), .. }) => {
                    self.hub.touch(session);
                    if !self.take_messages(id, session, input) {
                        return;
                    }
                }
            }
        }
    }

    /// Takes what comes from an accepted client; whether something about its connection has changed meanwhile.
    fn take_messages(&mut self, id: ConnectionId, index: u32, input: &mut &[u8]) -> bool {
        while let Some(session) = self.hub.sessions.get_mut(index) {
            if session.connection != Some(id) || session.is_parked {
                return true;
            }
            let Some(action) = session.server.poll(self.now, input) else {
                session.is_held = !input.is_empty() && session.server.is_full();
                return false;
            };
            self.act(index, action);
        }
        true
    }

    /// Whether [`receive`](Self::receive) would take input: not as long as an answer of the policy is waited for, or too
    /// many answers to the client [wait to be written](ServerConfig::answer_limit). When it does again, [`next_ready`](Self::next_ready) tells.
    pub fn takes_input(&self, id: ConnectionId) -> bool {
        let connection = index_of(&self.connections, id.0).and_then(|index| self.connections.get(index));
        connection.is_some_and(|connection| {
            connection.parked.is_none()
                && match connection.state {
                    State::Attached(index) => {
                        self.hub.sessions.get(index).is_some_and(|session| !session.server.is_full())
                    }
                    State::Connecting(_) => true,
                    State::Over(_) => false,
                }
        })
    }

    /// A transport is closed, or was lost. Its name means nothing from here on.
    pub fn closed(&mut self, now: Instant, id: ConnectionId) {
        self.advance(now);
        let Some(index) = index_of(&self.connections, id.0) else { return };
        match self.connections.remove(index).map(|connection| connection.state) {
            Some(State::Attached(session)) => {
                self.hub.count_sent(session);
                if let Some(session) = self.hub.sessions.get_mut(session) {
                    session.server.closed(self.now);
                }
                self.detached(session, Ended::Lost);
            }
            Some(state @ State::Connecting(_)) => self.tell_refused(id, &state, Ended::Lost),
            Some(State::Over(_)) | None => {}
        }
        self.settle();
    }

    /// Runs what is due. To be called when the [`deadline`](Self::deadline) has come; to call it more often does no harm.
    pub fn poll(&mut self, now: Instant) {
        self.advance(now);
        while let Some((at, due)) = self.timers.pop(self.now) {
            match due {
                Due::Connection(key) => {
                    // Not as long as it waits for an answer: that is not the client's fault.
                    if let Some(index) = index_of(&self.connections, key)
                        && self.connections.get(index).is_some_and(|it| matches!(it.state, State::Connecting(_)))
                    {
                        self.take_input(ConnectionId(key), &mut &[][..]);
                    }
                }
                Due::Session(key) => {
                    if let Some(index) = index_of(&self.hub.sessions, key) {
                        self.run_session(index, at);
                    }
                }
                Due::Retained(reference) => {
                    self.retained.remove_expired(reference);
                    self.share_memory();
                }
                Due::Status => self.publish_status(),
            }
            self.settle();
        }
        self.settle();
    }

    /// When [`poll`](Self::poll) has to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next connection that has something new for the caller, or `None`:
    ///
    /// - there is something to [write](Self::transmit),
    /// - it [takes input](Self::takes_input) again,
    /// - or it is [over](Self::is_over).
    ///
    /// It is told once each time that there is more. If not all can be written, go on by yourself when the transport is
    /// ready again.
    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        loop {
            let id = self.hub.ready.pop_front()?;
            let Some(index) = index_of(&self.connections, id.0) else { continue };
            match self.connections.get_mut(index) {
                Some(Connection { state: State::Attached(session), .. }) => {
                    if let Some(session) = self.hub.sessions.get_mut(*session) {
                        session.is_ready = false;
                    }
                }
                Some(connection) => connection.is_ready = false,
                None => {}
            }
            return Some(id);
        }
    }

    /// What is to be written to a transport, in order. Bytes leave by [`advance`](bytes::Buf::advance) alone. Ask again
    /// after each write, until nothing is left: more may have been held back until then.
    pub fn transmit(&mut self, id: ConnectionId) -> &mut Transmit {
        if let Some(index) = index_of(&self.connections, id.0)
            && let Some(&Connection { state: State::Attached(session), .. }) = self.connections.get(index)
        {
            if self.hub.sessions.get(session).is_some_and(|it| it.server.has_work() || it.feed.is_some()) {
                self.pump(id, session);
            }
            self.hub.count_sent(session);
            if let Some(it) = self.hub.sessions.get_mut(session)
                && it.is_held
                && !it.server.is_full()
            {
                it.is_held = false;
                self.hub.make_ready(session);
            }
        }
        match index_of(&self.connections, id.0).and_then(|index| self.connections.get_mut(index)) {
            Some(Connection { state: State::Connecting(connecting), .. }) => connecting.acceptor.transmit(),
            Some(Connection { state: State::Over(rest), .. }) => rest,
            Some(Connection { state: State::Attached(session), .. }) => match self.hub.sessions.get_mut(*session) {
                Some(session) => session.server.transmit(),
                None => &mut self.nothing,
            },
            None => &mut self.nothing,
        }
    }

    /// Puts more into the stream of a session, whose connection the caller is looking at and need not be told of again.
    fn pump(&mut self, id: ConnectionId, index: u32) {
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        let was_ready = core::mem::replace(&mut session.is_ready, true);
        self.hub.touch(index);
        self.settle();
        if was_ready {
            return;
        }
        let connection = index_of(&self.connections, id.0).and_then(|index| self.connections.get_mut(index));
        match connection {
            Some(Connection { state: State::Attached(_), .. }) => {
                if let Some(session) = self.hub.sessions.get_mut(index) {
                    session.is_ready = false;
                }
            }
            // But that it is over meanwhile is news.
            Some(connection) => {
                connection.is_ready = false;
                self.make_ready(id);
            }
            None => {}
        }
    }

    /// Whether a connection is over: what is left should be [written](Self::transmit), for as long as that makes sense, then
    /// the transport be closed, and [`closed`](Self::closed) be called.
    pub fn is_over(&self, id: ConnectionId) -> bool {
        let connection = index_of(&self.connections, id.0).and_then(|index| self.connections.get(index));
        connection.is_none_or(|connection| matches!(connection.state, State::Over(_)))
    }

    /// Answers a question that the policy has put off. The connection goes on from there.
    ///
    /// # Errors
    ///
    /// [`UnknownTicket`] if nobody waits for that any more, or if it is not an answer to what was asked.
    pub fn answer(&mut self, now: Instant, ticket: Ticket, answer: Answer) -> Result<(), UnknownTicket> {
        self.advance(now);
        let done = self.take_answer(ticket, answer);
        if done.is_ok() {
            // The connection may have something to say, or to hear.
            self.take_input(ticket.connection, &mut &[][..]);
            self.make_ready(ticket.connection);
        }
        self.settle();
        done
    }

    /// Disconnects a client, with a reason. One of a version before 5.0 is not told; one that is not accepted yet is not
    /// either. Its will is published, unless its delay is longer than it takes the client to come back.
    pub fn disconnect(&mut self, now: Instant, id: ConnectionId, reason_code: DisconnectReasonCode) {
        self.advance(now);
        let Some(index) = index_of(&self.connections, id.0) else { return };
        match self.connections.get_mut(index) {
            Some(&mut Connection { state: State::Attached(session), .. }) => {
                if let Some(session) = self.hub.sessions.get_mut(session) {
                    let disconnect = Disconnect { reason_code, ..Disconnect::default() };
                    // A reason that only a client can have is not told.
                    if session.server.disconnect(now, &disconnect).is_err() {
                        let _ = session.server.disconnect(now, &Disconnect::default());
                    }
                }
                self.end_connection(session, Ended::Close(Close::Requested));
            }
            Some(Connection { state: State::Connecting(_), .. }) => {
                self.end_connecting(id, Ended::Close(Close::Requested));
            }
            Some(Connection { state: State::Over(_), .. }) | None => {}
        }
        self.settle();
    }

    /// Ends the session of a client, and its connection if it has one; whether there was one.
    pub fn end_session(&mut self, now: Instant, client_id: &str) -> bool {
        self.advance(now);
        let Some(index) = self.find_session(client_id) else { return false };
        if let Some(session) = self.hub.sessions.get_mut(index) {
            session.server.end(now);
            if session.connection.is_some() {
                let reason_code = DisconnectReasonCode::AdministrativeAction;
                let _ = session.server.disconnect(now, &Disconnect { reason_code, ..Disconnect::default() });
                self.end_connection(index, Ended::Close(Close::Requested));
            }
        }
        self.hub.touch(index);
        self.settle();
        true
    }

    /// The name of the client of a connection, if it is accepted.
    pub fn client_id(&self, id: ConnectionId) -> Option<&str> {
        match self.connections.get(index_of(&self.connections, id.0)?)?.state {
            State::Attached(session) => self.hub.sessions.get(session).map(|session| session.server.client_id()),
            State::Connecting(_) | State::Over(_) => None,
        }
    }

    /// The connection of a client, if it has one.
    pub fn connection(&self, client_id: &str) -> Option<ConnectionId> {
        self.hub.sessions.get(self.find_session(client_id)?)?.connection
    }

    /// What has happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.hub.counters
    }

    /// What there is now.
    pub const fn status(&self) -> Status {
        Status {
            connections: self.connections.len(),
            clients: self.clients,
            sessions: self.hub.sessions.len(),
            subscriptions: self.tree.len(),
            shared_subscriptions: self.tree.shared(),
            retained: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            kept: self.hub.kept,
            kept_bytes: self.hub.kept_bytes,
        }
    }

    /// The policy.
    pub const fn policy(&self) -> &P {
        &self.policy
    }

    /// The policy, to be changed.
    pub const fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Time goes on, never back.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.since.is_none() {
            self.since = Some(self.now);
            self.schedule_status();
        }
    }

    /// The session of a connection.
    pub(super) fn session_of(&self, id: ConnectionId) -> Option<u32> {
        match self.connections.get(index_of(&self.connections, id.0)?)?.state {
            State::Attached(session) => Some(session),
            State::Connecting(_) | State::Over(_) => None,
        }
    }

    /// All sessions, for tests: whether everything that is counted is also there.
    #[doc(hidden)]
    pub fn assert_consistent(&self) {
        let (mut kept, mut kept_bytes, mut clients, mut subscriptions) = (0_u64, 0_u64, 0_u32, 0_usize);
        for (index, session) in self.hub.sessions.iter() {
            session.server.assert_consistent();
            assert_eq!(self.find_session(session.server.client_id()), Some(index), "a session is found by its name");
            let (messages, bytes) = session.server.stored();
            kept = kept.saturating_add(u64::from(messages));
            kept_bytes = kept_bytes.saturating_add(u64::from(bytes));
            clients = clients.saturating_add(u32::from(session.connection.is_some()));
            subscriptions = subscriptions.saturating_add(session.places.len());
            assert!(session.places.is_sorted(), "places are in order");
            for &(place, position) in &session.places {
                let subscriber = self.tree.get(place, position);
                assert_eq!(subscriber.map(|it| it.session), Some(index), "a subscription is where it is said to be");
                let filter = self.tree.filter(place);
                let found = self.tree.find(TopicFilter::validated(&filter));
                assert_eq!(found, Some(place), "a subscription is found by its filter");
            }
            if let Some(id) = session.connection {
                assert_eq!(self.session_of(id), Some(index), "a connection has its session");
            }
            assert!(session.scheduled <= session.server.timeout(), "nothing is forgotten");
        }
        assert_eq!((self.hub.kept, self.hub.kept_bytes), (kept, kept_bytes), "what is kept is counted right");
        assert!(self.hub.payloads.stored() as u64 <= kept_bytes, "what is shared is part of what is kept");
        let feeding = self.hub.sessions.iter().filter(|(_, session)| session.feed.is_some()).count();
        assert_eq!(self.hub.feeding as usize, feeding, "those that are still to get something are counted right");
        assert_eq!(self.clients, clients, "clients are counted right");
        assert_eq!(self.tree.len() as usize, subscriptions, "subscriptions are counted right");
        assert_eq!(self.names.len(), self.hub.sessions.len() as usize, "each session has one name");
        self.tree.assert_consistent();
        let touched: Vec<u32> = self.hub.touched.clone();
        assert!(touched.is_empty(), "nothing is left to be done");
    }
}

impl<P> core::fmt::Debug for Broker<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Broker")
            .field("connections", &self.connections.len())
            .field("sessions", &self.hub.sessions.len())
            .field("subscriptions", &self.tree.len())
            .finish_non_exhaustive()
    }
}
