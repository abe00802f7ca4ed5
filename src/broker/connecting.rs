//! Clients that are not accepted yet, and how they get their session.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::hash::{BuildHasher, Hasher};

use super::core::{Broker, Connection, State};
use super::hub::{Session, index_of};
use super::policy::{Admission, AuthStep, ConnectionId, Decision, Ended, Notice, Policy, Refusal};
use super::publishing::is_own;
use super::questions::Parked;
use super::resuming::{Decided, Grant, Newcomer};
use crate::codec::{
    Auth, ConnAckProperties, ConnAckReasonCode, Connect, Disconnect, DisconnectReasonCode, ReasonCode, Version,
};
use crate::random::derive;
use crate::server::{Acceptor, Action, Close, ServerConfig};
use crate::text::Utf8Str;
use crate::time::Instant;
use crate::topic::TopicName;

/// A client that is not accepted yet.
pub(super) struct Connecting {
    pub(super) acceptor: Acceptor,
    pub(super) scheduled: Instant,
}

impl Connecting {
    pub(super) fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        Self { acceptor: Acceptor::new(config, now), scheduled: Instant::NEVER }
    }
}

impl<P: Policy> Broker<P> {
    fn connecting(&mut self, id: ConnectionId) -> Option<&mut Connecting> {
        let place = index_of(&self.connections, id.0)?;
        match &mut self.connections.get_mut(place)?.state {
            State::Connecting(connecting) => Some(connecting),
            State::Attached(_) | State::Over(_) => None,
        }
    }

    /// Does what an acceptor wants to be done.
    pub(super) fn act_for_connecting(&mut self, id: ConnectionId, action: Action<'_>) {
        match action {
            Action::Connect(connect) => self.receive_connect(id, &connect),
            Action::Auth(auth) => self.receive_answer(id, &auth),
            Action::Close(why) => self.end_connecting(id, Ended::Close(why)),
            _ => {} // an acceptor says nothing else
        }
    }

    fn receive_connect(&mut self, id: ConnectionId, connect: &Connect<'_>) {
        if let Some(will) = &connect.will
            && let Err(reason_code) = self.check_will(will.topic)
        {
            return self.admit(id, reason_code.into());
        }
        let (ticket, decision) = self.ask(id, |policy, _, ticket| policy.connect(ticket, connect));
        match decision {
            Decision::Now(admission) => self.admit(id, admission),
            Decision::Later => self.park(id, Parked::Connect(ticket.number)),
        }
    }

    /// Whether a will with this topic can be published when it is due. Its client is told now or never.
    ///
    /// A will under `$SYS/` refuses nobody, though it is never published: bridges announce their state there.
    fn check_will(&self, topic: TopicName<'_>) -> Result<(), ConnAckReasonCode> {
        if !is_own(topic) && self.has_too_many_levels(topic.levels()) {
            return Err(ConnAckReasonCode::TopicNameInvalid);
        }
        Ok(())
    }

    /// The answer of a client that was challenged before it is accepted.
    fn receive_answer(&mut self, id: ConnectionId, auth: &Auth<'_>) {
        let place = index_of(&self.connections, id.0);
        let Some(Connection { state: State::Connecting(connecting), tickets, .. }) =
            place.and_then(|place| self.connections.get_mut(place))
        else {
            return;
        };
        *tickets = tickets.wrapping_add(1);
        let ticket = super::policy::Ticket { connection: id, number: *tickets };
        let client_id = connecting.acceptor.client().map_or("", |(name, _)| name);
        match self.policy.authenticate(ticket, &step(client_id, auth, false)) {
            Decision::Now(admission) => self.admit(id, admission),
            Decision::Later => self.park(id, Parked::Connect(ticket.number)),
        }
    }

    /// What becomes of a client is known.
    pub(super) fn admit(&mut self, id: ConnectionId, admission: Admission) {
        match admission {
            Admission::Accept(accept) => {
                let user_name =
                    self.connecting(id).and_then(|connecting| connecting.acceptor.user_name().map(Arc::from));
                self.accept(id, Grant::new(*accept, user_name));
            }
            Admission::AcceptAs { user_name, accept } => {
                self.accept(id, Grant::new(*accept, user_name.map(Arc::from)));
            }
            Admission::Challenge(data) => {
                let now = self.now;
                let done = self.connecting(id).map(|connecting| connecting.acceptor.challenge(now, &data));
                if let Some(Err(_)) = done {
                    // It has not named a method, or takes no packet as large as this.
                    self.refuse(id, &ConnAckReasonCode::BadAuthenticationMethod.into_refusal());
                }
            }
            Admission::Refuse(refusal) => self.refuse(id, &refusal),
        }
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, refusal: &Refusal) {
        let now = self.now;
        let Some(connecting) = self.connecting(id) else { return };
        let properties = ConnAckProperties {
            reason_string: refusal.reason_string.as_deref().and_then(|text| Utf8Str::new(text).ok()),
            server_reference: refusal.server_reference.as_deref().and_then(|text| Utf8Str::new(text).ok()),
            ..ConnAckProperties::default()
        };
        let reason_code =
            if refusal.reason_code.is_error() { refusal.reason_code } else { ConnAckReasonCode::UnspecifiedError };
        let done = connecting.acceptor.refuse_with(now, reason_code, &properties);
        if done.is_err() && connecting.acceptor.refuse(now, reason_code).is_err() {
            // It takes no packet as large as that.
            self.end_connecting(id, Ended::Close(Close::Refused(reason_code.into())));
        }
    }

    /// Accepts a client into the session of its client identifier, or a new one, once all that is to be asked about an
    /// existing session has been answered.
    pub(super) fn accept(&mut self, id: ConnectionId, grant: Grant) {
        let now = self.now;
        let mut grant = grant;
        let Some(connecting) = self.connecting(id) else { return };
        // The decision may have taken long: the acceptor is told the time, and says nothing before it is told the decision.
        connecting.acceptor.poll(now, &mut &[][..]);
        let clean_start = connecting.acceptor.asks_clean_start();
        let Some((name, version)) = connecting.acceptor.client().map(|(name, version)| (String::from(name), version))
        else {
            return;
        };
        let name = if name.is_empty() {
            let assigned = grant.accept.assigned_client_id.take().filter(|name| !name.is_empty());
            let name = assigned.unwrap_or_else(|| self.new_name());
            grant.accept.assigned_client_id = Some(name.clone());
            name
        } else {
            name
        };
        let known = self.find_session(&name);
        if known.is_none() && self.hub.sessions.len() >= self.config.max_sessions {
            return self.refuse(id, &quota_exceeded(version));
        }
        let mut decided = Decided::new();
        if let Some(index) = known {
            // A refused client takes nothing over.
            let done = self.connecting(id).map(|connecting| connecting.acceptor.check(&grant.accept));
            if let Some(Err(_)) = done {
                return self.refuse(id, &ConnAckReasonCode::ImplementationSpecificError.into_refusal());
            }
            let newcomer = Newcomer { connection: id, client_id: &name, version, clean_start };
            match self.claim(index, newcomer, grant) {
                Some(claimed) => (grant, decided) = claimed,
                None => return,
            }
            self.take_over(index);
        }
        let Grant { accept, user_name, .. } = grant;
        let place = index_of(&self.connections, id.0);
        let Some(connection) = place.and_then(|place| self.connections.get_mut(place)) else { return };
        let State::Connecting(connecting) = &mut connection.state else { return };
        let (index, is_kept) = match known {
            Some(index) => (index, true),
            None => {
                let session = Session::new(connecting.acceptor.new_session());
                let Some(key) = self.hub.sessions.insert(session) else { return };
                (key.index, false)
            }
        };
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        let Ok(marked) = connecting.acceptor.accept_into(self.now, &mut session.server, is_kept, accept) else {
            if !is_kept {
                self.hub.sessions.remove(index);
            }
            return self.refuse(id, &ConnAckReasonCode::ImplementationSpecificError.into_refusal());
        };
        session.connection = Some(id);
        session.is_ready = core::mem::take(&mut connection.is_ready);
        if !session.server.is_resumed() {
            session.owner.clone_from(&user_name);
        }
        session.user_name = user_name;
        session.counted_sent = 0;
        let session_present = session.server.is_resumed();
        connection.state = State::Attached(index);
        self.clients = self.clients.saturating_add(1);
        self.hub.counters.clients_accepted = self.hub.counters.clients_accepted.wrapping_add(1);
        if !is_kept {
            self.add_name(index);
        } else if !session_present {
            self.unsubscribe_all(index);
            self.pass_on(index, marked);
            self.hub.counters.sessions_ended = self.hub.counters.sessions_ended.wrapping_add(1);
            self.policy.notice(Notice::SessionEnded { client_id: &name });
        }
        if let Some(client) = self.hub.sessions.get(index).and_then(Session::client) {
            self.policy.notice(Notice::Connected { client, session_present });
        }
        if session_present {
            self.restrict_subscriptions(index, &decided);
        }
        self.hub.touch(index);
    }

    /// The client of a session has come back on another connection: the older one is told, and over.
    fn take_over(&mut self, index: u32) {
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        if session.connection.is_some() {
            let _ = session.server.take_over(self.now);
            self.end_connection(index, Ended::TakenOver);
        }
    }

    /// A connection is over before its client was accepted.
    pub(super) fn end_connecting(&mut self, id: ConnectionId, why: Ended<'_>) {
        let Some(place) = index_of(&self.connections, id.0) else { return };
        let Some(connection) = self.connections.get_mut(place) else { return };
        let State::Connecting(connecting) = &mut connection.state else { return };
        let rest = core::mem::take(connecting.acceptor.transmit());
        let before = core::mem::replace(&mut connection.state, State::Over(rest));
        connection.parked = None;
        if let Ended::Close(Close::Malformed(_) | Close::Breach(_)) = why {
            self.hub.counters.breaches = self.hub.counters.breaches.wrapping_add(1);
        }
        self.hub.counters.clients_refused = self.hub.counters.clients_refused.wrapping_add(1);
        self.tell_refused(id, &before, why);
        self.make_ready(id);
    }

    /// Tells the policy that a connection is over before its client was accepted, and whose it was.
    pub(super) fn tell_refused(&mut self, connection: ConnectionId, state: &State, why: Ended<'_>) {
        let acceptor = match state {
            State::Connecting(connecting) => Some(&connecting.acceptor),
            State::Attached(_) | State::Over(_) => None,
        };
        let client_id = acceptor.and_then(Acceptor::client_id);
        let user_name = acceptor.and_then(Acceptor::user_name);
        self.policy.notice(Notice::Refused { connection, client_id, user_name, why });
    }

    /// A client that is accepted authenticates again (section 4.12.1).
    pub(super) fn receive_auth(&mut self, index: u32, auth: &Auth<'_>) {
        let Some(id) = self.hub.sessions.get(index).and_then(|session| session.connection) else { return };
        let (ticket, decision) = self.ask(id, |policy, hub, ticket| {
            let client_id = hub.sessions.get(index).map_or("", |session| session.server.client_id());
            policy.authenticate(ticket, &step(client_id, auth, true))
        });
        match decision {
            Decision::Now(admission) => self.admit_again(index, admission),
            Decision::Later => self.park(id, Parked::Again(ticket.number)),
        }
    }

    /// What becomes of a re-authentication is known.
    pub(super) fn admit_again(&mut self, index: u32, admission: Admission) {
        let user_name = self.hub.sessions.get(index).and_then(|session| session.user_name.as_deref());
        let done = match admission {
            // A connection stays that of its user.
            Admission::AcceptAs { user_name: other, .. } if other.as_deref() != user_name => {
                return self.refuse_attached(index, DisconnectReasonCode::NotAuthorized);
            }
            Admission::Accept(accept) | Admission::AcceptAs { accept, .. } => {
                let data = accept.authentication_data.unwrap_or_default();
                self.tell(index, |session, now| session.authenticated(now, &data))
            }
            Admission::Challenge(data) => self.tell(index, |session, now| session.challenge(now, &data)),
            Admission::Refuse(refusal) => {
                let reason_code = DisconnectReasonCode::try_from(ReasonCode::from(refusal.reason_code))
                    .unwrap_or(DisconnectReasonCode::NotAuthorized);
                return self.refuse_attached(index, reason_code);
            }
        };
        if done.is_err() {
            self.refuse_attached(index, DisconnectReasonCode::NotAuthorized);
        }
    }

    /// Disconnects an accepted client because what it asks for is refused, with the reason that the policy is told too.
    pub(super) fn refuse_attached(&mut self, index: u32, reason_code: DisconnectReasonCode) {
        let disconnect = Disconnect { reason_code, ..Disconnect::default() };
        let _ = self.tell(index, |session, now| session.disconnect(now, &disconnect));
        self.end_connection(index, Ended::Close(Close::Refused(reason_code.into())));
    }

    fn name_hash(&self, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    /// The hash of the name of the client of a session, to know its retained messages by; never 0.
    pub(super) fn publisher(&self, index: u32) -> u64 {
        self.hub.sessions.get(index).map_or(1, |session| self.name_hash(session.server.client_id()) | 1)
    }

    /// The session of a client.
    pub(super) fn find_session(&self, name: &str) -> Option<u32> {
        let is_it =
            |&index: &u32| self.hub.sessions.get(index).is_some_and(|session| session.server.client_id() == name);
        self.names.find(self.name_hash(name), is_it).copied()
    }

    fn add_name(&mut self, index: u32) {
        let Some(session) = self.hub.sessions.get(index) else { return };
        let hash = self.name_hash(session.server.client_id());
        let (hub, hasher) = (&self.hub, &self.hasher);
        self.names.insert_unique(hash, index, |&index| {
            let mut state = hasher.build_hasher();
            let name = hub.sessions.get(index).map_or("", |session| session.server.client_id());
            state.write(name.as_bytes());
            state.finish()
        });
    }

    pub(super) fn forget_name(&mut self, index: u32) {
        let Some(session) = self.hub.sessions.get(index) else { return };
        let hash = self.name_hash(session.server.client_id());
        if let Ok(entry) = self.names.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
    }

    /// A name that no session has \[MQTT-3.2.2-16\], and that nobody can guess who does not know the seed.
    fn new_name(&mut self) -> String {
        loop {
            let name = format!("auto-{:016x}", derive(self.random.number(), 5));
            if self.find_session(&name).is_none() {
                return name;
            }
        }
    }
}

/// A step of an enhanced authentication, as the policy is shown it.
fn step<'a>(client_id: &'a str, auth: &Auth<'a>, is_again: bool) -> AuthStep<'a> {
    AuthStep {
        client_id,
        method: auth.properties.authentication_method.map_or("", Utf8Str::as_str),
        data: auth.properties.authentication_data.unwrap_or_default(),
        is_again,
    }
}

/// How a client is refused for which there is no room.
fn quota_exceeded(version: Version) -> Refusal {
    match version {
        Version::V5 => ConnAckReasonCode::QuotaExceeded,
        // There is no return code that says more.
        Version::V31 | Version::V311 => ConnAckReasonCode::ServerUnavailable,
    }
    .into_refusal()
}

impl ConnAckReasonCode {
    pub(super) const fn into_refusal(self) -> Refusal {
        Refusal { reason_code: self, reason_string: None, server_reference: None }
    }
}
