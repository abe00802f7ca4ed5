//! What becomes of sessions: when they are looked at, what they want to be done, and how they lose their connections and
//! end.

use super::core::{Broker, Connection, State};
use super::counters::DropReason;
use super::hub::index_of;
use super::policy::{ConnectionId, Ended, Notice, Policy};
use super::slab::Key;
use super::timers::Due;
use crate::server::{Action, Close, ServerSession};
use crate::session::{CommandError, Outcome};
use crate::time::Instant;

impl<P: Policy> Broker<P> {
    /// The connection is looked at by the caller.
    pub(super) fn make_ready(&mut self, id: ConnectionId) {
        let Some(index) = index_of(&self.connections, id.0) else { return };
        match self.connections.get_mut(index) {
            Some(&mut Connection { state: State::Attached(session), .. }) => self.hub.make_ready(session),
            Some(connection) if !connection.is_ready => {
                connection.is_ready = true;
                self.hub.ready.push_back(id);
            }
            Some(_) | None => {}
        }
    }

    /// Looks at a connection when its client must have taken its next step, and now if something is to be written.
    pub(super) fn schedule_connection(&mut self, id: ConnectionId) {
        let Some(index) = index_of(&self.connections, id.0) else { return };
        let connection = self.connections.get_mut(index);
        let Some(Connection { state: State::Connecting(connecting), .. }) = connection else { return };
        let at = connecting.acceptor.deadline().unwrap_or(Instant::NEVER);
        let is_written = connecting.acceptor.is_written();
        if core::mem::replace(&mut connecting.scheduled, at) != at {
            self.schedule(at, Due::Connection(id.0));
        }
        if !is_written {
            self.make_ready(id);
        }
    }

    /// Looks at something at this time, or later if it has been put off.
    pub(super) fn schedule(&mut self, at: Instant, due: Due) {
        self.timers.push(at, due);
        let Self { timers, hub, retained, connections, .. } = self;
        timers.tidy(|at, due| match due {
            Due::Session(key) => {
                let is_it = |key: Key| hub.sessions.get(key.index).is_some_and(|session| session.scheduled == at);
                hub.sessions.contains(key) && is_it(key)
            }
            Due::Connection(key) => connections.contains(key),
            Due::Retained(reference) => retained.get(reference).is_some(),
            Due::Status => true,
        });
    }

    /// A time for which a session was scheduled has come.
    pub(super) fn run_session(&mut self, index: u32, at: Instant) {
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        if session.scheduled != at {
            return; // it has been put forward since
        }
        session.scheduled = Instant::NEVER;
        self.hub.touch(index);
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        if session.server.timeout() > self.now {
            return;
        }
        if session.is_parked {
            return session.server.reset_keep_alive(self.now);
        }
        while let Some(session) = self.hub.sessions.get_mut(index) {
            let Some(action) = session.server.poll(self.now, &mut &[][..]) else { return };
            self.act(index, action);
        }
    }

    /// Looks at all sessions that have been told something.
    pub(super) fn settle(&mut self) {
        while let Some(index) = self.hub.next_touched() {
            self.settle_session(index);
        }
        if !self.hub.drops.is_empty() {
            self.tell_drops();
        }
    }

    fn settle_session(&mut self, index: u32) {
        loop {
            let Some(session) = self.hub.sessions.get_mut(index) else { return };
            match session.server.advance_output(self.now) {
                Some(action) => self.act(index, action),
                None if self.feed(index) => {}
                None => break,
            }
        }
        self.hub.count_kept(index);
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        let at = session.server.timeout();
        if at < session.scheduled {
            session.scheduled = at;
            if let Some(key) = self.hub.sessions.key(index) {
                self.schedule(at, Due::Session(key));
            }
        }
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        if session.connection.is_some() && bytes::Buf::has_remaining(session.server.transmit()) {
            self.hub.make_ready(index);
        }
    }

    fn tell_drops(&mut self) {
        for (index, reason) in core::mem::take(&mut self.hub.drops) {
            let client_id = self.hub.sessions.get(index).map_or("", |session| session.server.client_id());
            self.policy.notice(Notice::Dropped { client_id, reason });
        }
    }

    /// Does what a session wants to be done.
    pub(super) fn act(&mut self, index: u32, action: Action<'_>) {
        match action {
            Action::Message(message) => self.receive_message(index, &message),
            Action::Subscribe(request) => self.receive_subscribe(index, &request),
            Action::Unsubscribe(request) => self.receive_unsubscribe(index, &request),
            Action::Done { outcome, .. } => match outcome {
                Outcome::Lost(loss) => self.hub.lose(index, loss),
                outcome if !outcome.is_success() => {
                    self.hub.drop(index, DropReason::RefusedByClient);
                }
                _ => {}
            },
            Action::Auth(auth) => self.receive_auth(index, &auth),
            Action::Will(will) => self.publish_will(index, &will),
            Action::Close(why) => self.end_connection(index, Ended::Close(why)),
            Action::Expired => self.remove_session(index),
            Action::Connect(_) | Action::Payload(_) => {} // not from a session, and not in parts
        }
    }

    /// The connection of a session is over: what is still to be written goes with it, and the session goes on without.
    pub(super) fn end_connection(&mut self, index: u32, why: Ended<'_>) {
        self.hub.count_sent(index);
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        let rest = session.server.detach(self.now);
        if let Some(id) = session.connection
            && let Some(place) = index_of(&self.connections, id.0)
            && let Some(connection) = self.connections.get_mut(place)
        {
            let is_ready = core::mem::take(&mut session.is_ready);
            connection.state = State::Over(rest);
            connection.parked = None;
            connection.is_ready = is_ready;
            self.make_ready(id);
        }
        self.detached(index, why);
    }

    /// A session has no connection any more.
    pub(super) fn detached(&mut self, index: u32, why: Ended<'_>) {
        let counters = &mut self.hub.counters;
        match &why {
            Ended::TakenOver => counters.taken_over = counters.taken_over.wrapping_add(1),
            Ended::Close(Close::Malformed(_) | Close::Breach(_)) => {
                counters.breaches = counters.breaches.wrapping_add(1);
            }
            Ended::Close(Close::KeepAliveTimeout) => counters.timeouts = counters.timeouts.wrapping_add(1),
            _ => {}
        }
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        if let Some(client) = session.client() {
            self.clients = self.clients.saturating_sub(1);
            self.policy.notice(Notice::Disconnected { client, why });
        }
        session.connection = None;
        session.is_ready = false;
        session.is_parked = false;
        session.is_held = false;
        session.counted_sent = 0;
        if let Some(feed) = &mut session.feed {
            feed.disconnected();
            if feed.is_empty() {
                self.hub.end_feed(index);
            }
        }
        self.hub.touch(index);
    }

    /// A session has ended.
    fn remove_session(&mut self, index: u32) {
        self.hub.count_kept(index);
        if self.hub.sessions.get(index).is_some_and(|session| session.connection.is_some()) {
            self.end_connection(index, Ended::Close(Close::Requested));
        }
        self.unsubscribe_all(index);
        let marked = self.hub.sessions.get_mut(index).map(|session| session.server.take_marked());
        self.pass_on(index, marked.unwrap_or_default());
        self.tell_drops();
        self.forget_name(index);
        if let Some(session) = self.hub.sessions.remove(index) {
            self.hub.counters.sessions_ended = self.hub.counters.sessions_ended.wrapping_add(1);
            self.policy.notice(Notice::SessionEnded { client_id: session.server.client_id() });
        }
    }

    /// A command that a session can't refuse, unless its connection is over: then nobody misses it.
    pub(super) fn tell(
        &mut self,
        index: u32,
        command: impl FnOnce(&mut ServerSession, Instant) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        self.hub.touch(index);
        let now = self.now;
        let session = self.hub.sessions.get_mut(index);
        session.map_or(Err(CommandError::NotConnected), |session| command(&mut session.server, now))
    }
}
