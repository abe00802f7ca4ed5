//! How connections and sessions are scheduled and end.

use alloc::sync::Arc;

use super::connections::{Before, Connecting};
use super::context::Context;
use super::index::SessionIndex;
use super::policy::{ConnectionId, Ended, Notice, Refusal};
use super::session::Session;
use super::timers::Due;
use crate::codec::{ConnAckProperties, ConnAckReasonCode, Disconnect, DisconnectReasonCode};
use crate::server::{Close, Marked, ServerConfig, ServerSession};
use crate::session::Transmit;
use crate::text::Utf8Str;
use crate::time::Instant;

/// Sets a timer, and sweeps those that are stale.
pub(super) fn schedule(cx: &mut Context<'_>, at: Instant, due: Due) {
    let Context { timers, sessions, router, connections, .. } = cx;
    timers.push(at, due);
    timers.sweep(|at, due| match due {
        Due::Session(key) => sessions.get_by_key(key).is_some_and(|(_, session)| session.scheduled() == at),
        Due::Connection(key) => connections.contains(ConnectionId::new(key)),
        Due::Retained(reference) => router.is_retained(reference),
        Due::Status => true,
    });
}

/// Sets the timer of a connecting client's next deadline, and lets the caller look at the connection if something is to be
/// written.
pub(super) fn schedule_connection(cx: &mut Context<'_>, id: ConnectionId) {
    // The connection may be over by now.
    let Some(connecting) = cx.connections.connecting(id) else { return };
    let is_written = connecting.acceptor().is_written();
    if let Some(at) = connecting.reschedule() {
        schedule(cx, at, Due::Connection(id.key()));
    }
    if !is_written {
        cx.sessions.ready_mut().push(id);
    }
}

/// A command that a session accepts unless its connection is over. It succeeds without effect if the session is gone.
pub(super) fn command<E>(
    cx: &mut Context<'_>,
    index: SessionIndex,
    command: impl FnOnce(&mut ServerSession, Instant) -> Result<(), E>,
) -> Result<(), E> {
    cx.sessions.mark_changed(index);
    let now = cx.now;
    let session = cx.sessions.get_mut(index);
    session.map_or(Ok(()), |session| command(session.server_mut(), now))
}

/// Tells the policy about copies of messages that were dropped.
pub(super) fn notify_drops(cx: &mut Context<'_>) {
    for (index, reason) in cx.sessions.take_drops() {
        let client_id = cx.sessions.client_id(index).unwrap_or_default();
        cx.policy.notice(Notice::Dropped { client_id, reason });
    }
}

/// Opens a connection; see [`Broker::open`](super::Broker::open).
pub(super) fn open(cx: &mut Context<'_>, server: &Arc<ServerConfig>) -> ConnectionId {
    let counters = cx.sessions.counters_mut();
    counters.connections = counters.connections.wrapping_add(1);
    if cx.connections.len() >= cx.config.max_connections {
        counters.connections_refused = counters.connections_refused.wrapping_add(1);
        let connection = cx.connections.open(None, cx.now);
        cx.sessions.ready_mut().push(connection);
        let why = Ended::ConnectionLimit;
        cx.policy.notice(Notice::Refused { connection, client_id: None, user_name: None, why });
        return connection;
    }
    let id = cx.connections.open(Some(server), cx.now);
    schedule_connection(cx, id);
    id
}

/// Removes a connection whose transport is closed; see [`Broker::closed`](super::Broker::closed).
pub(super) fn close(cx: &mut Context<'_>, id: ConnectionId) {
    // It may have been done before.
    let Some(before) = cx.connections.close(id) else { return };
    cx.sessions.ready_mut().unmark(id);
    match before {
        Before::Attached(index) => {
            cx.sessions.count_sent(index);
            match cx.sessions.get_mut(index) {
                Some(session) => session.server_mut().closed(cx.now),
                None => bug!("a session exists while it has a connection"),
            }
            detached(cx, index, Ended::Lost);
        }
        Before::Connecting(mut connecting) => notify_refused(cx, id, &mut connecting, Ended::Lost),
        Before::Over => {}
    }
}

/// Disconnects a client; see [`Broker::disconnect`](super::Broker::disconnect).
pub(super) fn disconnect_client(cx: &mut Context<'_>, id: ConnectionId, reason_code: DisconnectReasonCode) {
    let why = Ended::Close(Close::Requested);
    let Some(index) = cx.connections.session(id) else { return end_connecting(cx, id, why) };
    match cx.sessions.get_mut(index).map(Session::server_mut) {
        Some(server) => {
            let disconnect = Disconnect { reason_code, ..Disconnect::default() };
            // It fails if only a client can give the reason, and if the client accepts no packet as large as DISCONNECT.
            if server.disconnect(cx.now, &disconnect).is_err() {
                let _ = server.disconnect(cx.now, &Disconnect::default());
            }
        }
        None => bug!("a session exists while it has a connection"),
    }
    end_connection(cx, index, why);
}

/// Ends the session of a client; see [`Broker::end_session`](super::Broker::end_session).
pub(super) fn end_session(cx: &mut Context<'_>, client_id: &str) -> bool {
    // The caller need not know who has a session.
    let Some(index) = cx.registry.find(cx.sessions, client_id) else { return false };
    let Some(session) = cx.sessions.get_mut(index) else {
        bug!("a session that was found exists");
        return false;
    };
    session.server_mut().end_session(cx.now);
    if session.connection().is_some() {
        let reason_code = DisconnectReasonCode::AdministrativeAction;
        // It fails if the client accepts no packet as large as DISCONNECT.
        let _ = session.server_mut().disconnect(cx.now, &Disconnect { reason_code, ..Disconnect::default() });
        end_connection(cx, index, Ended::Close(Close::Requested));
    }
    cx.sessions.mark_changed(index);
    true
}

/// Refuses a client that is not accepted yet.
pub(super) fn refuse(cx: &mut Context<'_>, id: ConnectionId, refusal: &Refusal) {
    let now = cx.now;
    // The connection may be over by now.
    let Some(connecting) = cx.connections.connecting(id) else { return };
    let acceptor = connecting.acceptor();
    let properties = ConnAckProperties {
        reason_string: refusal.reason_string.as_deref().and_then(|text| Utf8Str::new(text).ok()),
        server_reference: refusal.server_reference.as_deref().and_then(|text| Utf8Str::new(text).ok()),
        ..ConnAckProperties::default()
    };
    let reason_code =
        if refusal.reason_code.is_error() { refusal.reason_code } else { ConnAckReasonCode::UnspecifiedError };
    let done = acceptor.refuse_with(now, reason_code, &properties);
    if done.is_err() && acceptor.refuse(now, reason_code).is_err() {
        // The client accepts no packet as large as the CONNACK.
        end_connecting(cx, id, Ended::Close(Close::Refused(reason_code.into())));
    }
}

/// Refuses a client that is not accepted yet, with a reason code alone.
pub(super) fn refuse_with(cx: &mut Context<'_>, id: ConnectionId, reason_code: ConnAckReasonCode) {
    refuse(cx, id, &reason_code.into());
}

/// A connection is over before its client was accepted.
pub(super) fn end_connecting(cx: &mut Context<'_>, id: ConnectionId, why: Ended<'_>) {
    // The connection may be over by now.
    let Some(connecting) = cx.connections.connecting(id) else { return };
    let rest = core::mem::take(connecting.acceptor().transmit());
    let before = cx.connections.end(id, rest);
    let counters = cx.sessions.counters_mut();
    if let Ended::Close(Close::Malformed(_) | Close::ProtocolError(_)) = why {
        counters.protocol_errors = counters.protocol_errors.wrapping_add(1);
    }
    counters.clients_refused = counters.clients_refused.wrapping_add(1);
    match before {
        Before::Connecting(mut connecting) => notify_refused(cx, id, &mut connecting, why),
        Before::Attached(_) | Before::Over => bug!("the connection was a connecting one"),
    }
    cx.sessions.ready_mut().push(id);
}

/// Tells the policy that a connection is over before its client was accepted, and the names that the client has given.
pub(super) fn notify_refused(
    cx: &mut Context<'_>,
    connection: ConnectionId,
    connecting: &mut Connecting,
    why: Ended<'_>,
) {
    let acceptor = connecting.acceptor();
    let (client_id, user_name) = (acceptor.client_id(), acceptor.user_name());
    cx.policy.notice(Notice::Refused { connection, client_id, user_name, why });
}

/// Disconnects an accepted client because its request is refused, with the reason that the policy gets too.
pub(super) fn disconnect(cx: &mut Context<'_>, index: SessionIndex, reason_code: DisconnectReasonCode) {
    let disconnect = Disconnect { reason_code, ..Disconnect::default() };
    // It fails if the connection is over already, or if the client accepts no packet as large as DISCONNECT.
    let _ = command(cx, index, |session, now| session.disconnect(now, &disconnect));
    end_connection(cx, index, Ended::Close(Close::Refused(reason_code.into())));
}

/// The connection of a session is over. What is still to be written stays with the connection; the session goes on without.
pub(super) fn end_connection(cx: &mut Context<'_>, index: SessionIndex, why: Ended<'_>) {
    cx.sessions.count_sent(index);
    let Some(session) = cx.sessions.get_mut(index) else { return bug!("a session whose connection ends exists") };
    let connection = session.connection();
    let rest: Transmit = session.server_mut().detach(cx.now);
    if let Some(id) = connection {
        cx.connections.end(id, rest);
        cx.sessions.ready_mut().push(id);
    }
    detached(cx, index, why);
}

/// A session has lost its connection, which has ended or was closed.
pub(super) fn detached(cx: &mut Context<'_>, index: SessionIndex, why: Ended<'_>) {
    let counters = cx.sessions.counters_mut();
    match &why {
        Ended::TakenOver => counters.sessions_taken_over = counters.sessions_taken_over.wrapping_add(1),
        Ended::Close(Close::Malformed(_) | Close::ProtocolError(_)) => {
            counters.protocol_errors = counters.protocol_errors.wrapping_add(1);
        }
        Ended::Close(Close::KeepAliveTimeout) => counters.timeouts = counters.timeouts.wrapping_add(1),
        _ => {}
    }
    if let Some(client) = cx.sessions.get(index).and_then(Session::client) {
        cx.policy.notice(Notice::Disconnected { client, why });
    }
    cx.sessions.detach(index);
}

/// Removes a session that has expired or was ended.
pub(super) fn remove_session(cx: &mut Context<'_>, index: SessionIndex) {
    cx.sessions.count_stored(index);
    if cx.sessions.get(index).is_some_and(|session| session.connection().is_some()) {
        end_connection(cx, index, Ended::Close(Close::Requested));
    }
    let marked = cx.sessions.get_mut(index).map(|session| session.server_mut().take_marked());
    end_subscriptions(cx, index, &marked.unwrap_or_default());
    notify_drops(cx);
    cx.registry.remove(cx.sessions, index);
    match cx.sessions.remove(index) {
        Some(session) => notify_session_ended(cx, session.client_id()),
        None => bug!("a session is removed once"),
    }
}

/// Ends the subscriptions of a session, and gives messages that came by shared subscriptions to other members.
pub(super) fn end_subscriptions(cx: &mut Context<'_>, index: SessionIndex, marked: &[Marked]) {
    cx.router.unsubscribe_all(cx.sessions, index);
    if !marked.is_empty() {
        // The other members may use the memory of these messages.
        cx.sessions.count_stored(index);
    }
    for message in marked {
        cx.router.pass_on(cx.sessions, cx.now, index, message);
    }
}

/// Counts a session that has ended, and tells the policy.
pub(super) fn notify_session_ended(cx: &mut Context<'_>, client_id: &str) {
    let counters = cx.sessions.counters_mut();
    counters.sessions_ended = counters.sessions_ended.wrapping_add(1);
    cx.policy.notice(Notice::SessionEnded { client_id });
}
