//! The server's engines, as a server for one client.

mod connection;

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt_sansio::codec::{ConnAckReasonCode, QoS};
use mqtt_sansio::server::{Acceptor, ServerConfig, ServerSession};
use mqtt_sansio::{AbandonReason, Instant, Message, PublishError, Token};

use super::event::{Event, Fate, Log, Received};
use crate::random::Random;

/// An [`Acceptor`] for each connection and the [`ServerSession`] that comes of it, which is kept between connections.
///
/// It accepts whoever comes, grants each subscription, and [publishes](Self::publish) what it is told to. How difficult
/// it is can be set before and changed between connections.
#[derive(Debug)]
pub struct EngineServer {
    /// How many of a hundred subscriptions it refuses.
    pub refuses: u8,
    /// How many connections it refuses from now on.
    pub refused_connections: u32,
    /// How many challenges a client has to answer that has named an Authentication Method.
    pub challenges: u32,

    config: Arc<ServerConfig>,
    random: Random,
    now: Instant,
    /// As long as the client is not accepted.
    acceptor: Option<Acceptor>,
    /// The acceptor has said that the connection is over.
    is_refused: bool,
    /// Whether the client has no name, and whether it asks for a new session.
    asked: (bool, bool),
    /// How many challenges are left on this connection.
    challenges_left: u32,
    session: Option<ServerSession>,
    /// How many of them there have been: each counts its tokens from the beginning.
    sessions: u32,
    /// How often a session has begun; also anew, in the same place.
    beginnings: u32,
    forgets: bool,
    log: Log,
    /// How much of the log has been looked at, for tickets.
    looked_at: usize,
    tickets: BTreeMap<Ticket, Option<Fate>>,
    subscriptions: BTreeMap<String, QoS>,
}

/// Something that was published: the number of the session, and the token that it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u32, Token);

/// A server that accepts whoever comes, with the default configuration.
pub fn accept_all() -> EngineServer {
    EngineServer::new(ServerConfig::default())
}

impl EngineServer {
    /// With this configuration.
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

    /// With this seed for what it does at random.
    #[must_use]
    pub const fn seeded(mut self, seed: u64) -> Self {
        self.random = Random::new(seed);
        self
    }

    /// Publishes a message to the client, whether it has asked for it or not.
    ///
    /// # Errors
    ///
    /// As [`ServerSession::publish`]; [`PublishError::NotConnected`] if there is no session.
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Ticket, PublishError> {
        self.now = now;
        let session = self.session.as_mut().ok_or(PublishError::NotConnected)?;
        let ticket = Ticket(self.sessions, session.publish(self.now, message)?);
        assert_eq!(self.tickets.insert(ticket, None), None, "{ticket:?} is given a second time");
        Ok(ticket)
    }

    /// The session, to be given commands.
    pub const fn session(&mut self) -> Option<&mut ServerSession> {
        self.session.as_mut()
    }

    /// All that it has told so far.
    pub fn events(&self) -> &[Event] {
        self.log.events()
    }

    /// The messages that it was given so far.
    pub fn messages(&self) -> impl Iterator<Item = &Received> {
        self.log.messages()
    }

    /// The contents of those messages.
    ///
    /// # Panics
    ///
    /// If one is no text.
    pub fn delivered(&self) -> Vec<&str> {
        self.messages().map(|it| core::str::from_utf8(&it.payload).expect("the payload is a text")).collect()
    }

    /// What has become of what was published.
    pub fn fate(&self, ticket: Ticket) -> Option<&Fate> {
        self.tickets.get(&ticket).and_then(Option::as_ref)
    }

    /// The filters that the client is subscribed to.
    pub fn subscriptions(&self) -> Vec<&str> {
        self.subscriptions.keys().map(String::as_str).collect()
    }

    /// Whether there is a session.
    pub const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// How many sessions it has begun.
    pub const fn sessions(&self) -> u32 {
        self.sessions
    }

    /// When the next connection is accepted, the session is gone.
    pub const fn lose_session(&mut self) {
        self.forgets = true;
    }

    /// Whether it is connected, and no message of its own is open or waits.
    pub fn is_settled(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.is_connected() && session.open_operations() == 0 && session.waiting() == 0)
            && self.tickets.values().all(Option::is_some)
    }

    /// Matches what has been told about tokens with what was published.
    fn look(&mut self) {
        for event in &self.log.events()[self.looked_at..] {
            let Event::Done(token, fate) = event else { continue };
            let ticket = Ticket(self.sessions, *token);
            let known = self.tickets.get_mut(&ticket).unwrap_or_else(|| panic!("{ticket:?} was never given"));
            assert_eq!(*known, None, "{ticket:?} has more than one outcome");
            *known = Some(fate.clone());
        }
        self.looked_at = self.log.events().len();
    }

    /// The session is dropped: nobody will say more about what was published.
    fn forget(&mut self) {
        self.session = None;
        self.subscriptions.clear();
        for fate in self.tickets.values_mut() {
            fate.get_or_insert(Fate::Abandoned(AbandonReason::Session));
        }
    }

    /// The reason for which it refuses a client, if it does.
    const fn refusal(&mut self) -> Option<ConnAckReasonCode> {
        if self.refused_connections == 0 {
            return None;
        }
        self.refused_connections -= 1;
        Some(ConnAckReasonCode::ServerUnavailable)
    }
}
