//! How connections and sessions are scheduled and end.

use alloc::boxed::Box;

use super::connections::{Before, Connecting, Connections};
use super::context::Context;
use super::index::SessionIndex;
use super::jobs::ring::Progress;
use super::jobs::{self, teardown};
use super::memory_use;
use super::pending_decisions::PendingDecision;
use super::policy::{ConnectionId, Ended, Notice, Refusal};
use super::principal::{Origin, PrincipalName};
use super::session::Session;
use super::slab::Key;
use super::timers::Due;
use crate::codec::{ConnAckProperties, ConnAckReasonCode, Disconnect, DisconnectReasonCode};
use crate::server::{Close, ServerConfig, ServerSession};
use crate::session::Transmit;
use crate::sync::Arc;
use crate::text::Utf8Str;
use crate::time::Instant;

/// Sets the timer of a connecting client's next deadline, and lets the caller look at the connection if something is to be
/// written.
pub(super) fn schedule_connection(cx: &mut Context<'_>, id: ConnectionId) {
    schedule_deadline(cx, id);
    // The connection may be over by now.
    let Some(connecting) = cx.connections.connecting(id) else { return };
    let has_new_output = connecting.has_new_output();
    memory_use::count_connection(cx, id);
    if has_new_output {
        cx.sessions.ready_mut().push(id);
    }
}

/// Sets the timer of a connecting client's next deadline.
fn schedule_deadline(cx: &mut Context<'_>, id: ConnectionId) {
    // The connection may be over by now.
    if let Some(at) = cx.connections.connecting(id).and_then(Connecting::reschedule) {
        cx.timers.set(at, Due::Connection(id.key().index));
    }
}

/// Lets the timer of a connecting client run a second later, because the input of the client is not taken now.
pub(super) fn postpone_connection(cx: &mut Context<'_>, id: ConnectionId) {
    let at = cx.now.after_seconds(1);
    // The connection may be over by now.
    let Some(connecting) = cx.connections.connecting(id) else { return };
    connecting.postpone(at);
    cx.timers.set(at, Due::Connection(id.key().index));
}

/// Lets the timer of a connecting client run at once, because the connection does not wait any more.
pub(super) fn wake_connection(cx: &mut Context<'_>, id: ConnectionId) {
    // The client may be accepted by now.
    let Some(connecting) = cx.connections.connecting(id) else { return };
    connecting.postpone(cx.now);
    cx.timers.set(cx.now, Due::Connection(id.key().index));
}

/// Lets a connection wait for a decision of the policy.
pub(super) fn wait(cx: &mut Context<'_>, id: ConnectionId, pending: PendingDecision) {
    cx.connections.wait(id, pending);
    memory_use::count_connection(cx, id);
}

/// A command that a session accepts unless its connection is over. It succeeds without effect if the session is gone.
pub(super) fn command<E>(
    cx: &mut Context<'_>,
    index: SessionIndex,
    command: impl FnOnce(&mut ServerSession, Instant) -> Result<(), E>,
) -> Result<(), E> {
    cx.sessions.mark_changed(index);
    let now = cx.now;
    cx.sessions.with(index, |session| command(session, now)).unwrap_or(Ok(()))
}

/// Opens a connection; see [`Broker::open`](super::Broker::open).
pub(super) fn open(cx: &mut Context<'_>, server: &Arc<ServerConfig>, origin: Origin) -> ConnectionId {
    let principal = cx.jobs.turns_mut().enter(PrincipalName::Origin(origin));
    let is_full = cx.connections.len() >= cx.config.max_connections
        || !memory_use::has_room(cx, Some(principal), Connections::SIZE_BEFORE_CONNECT);
    let counters = cx.sessions.counters_mut();
    counters.connections = counters.connections.wrapping_add(1);
    if is_full {
        counters.connections_refused = counters.connections_refused.wrapping_add(1);
        let connection = cx.connections.open(None, cx.now, origin, principal);
        charge_new(cx, connection);
        cx.sessions.ready_mut().push(connection);
        let why = Ended::ConnectionLimit;
        cx.policy.notice(Notice::Refused { connection, client_id: None, user_name: None, why });
        return connection;
    }
    let id = cx.connections.open(Some(server), cx.now, origin, principal);
    charge_new(cx, id);
    schedule_deadline(cx, id);
    id
}

/// Charges a connection that was opened to its principal.
fn charge_new(cx: &mut Context<'_>, id: ConnectionId) {
    if let Some((principal, _, charge)) = cx.connections.recount(id) {
        cx.sessions.account_mut().charge_state(principal, 0, charge);
    }
}

/// Removes a connection whose transport is closed; see [`Broker::closed`](super::Broker::closed).
pub(super) fn close(cx: &mut Context<'_>, id: ConnectionId) {
    // It may have been done before.
    let Some((before, principal, charge)) = cx.connections.close(id) else { return };
    cx.timers.remove(Due::Connection(id.key().index));
    if let Some(commits) = cx.sessions.commits_mut() {
        commits.close(id);
    }
    cx.sessions.account_mut().charge_state(principal, charge, 0);
    cx.jobs.turns_mut().leave(principal);
    cx.sessions.ready_mut().unmark(id);
    match before {
        Before::Attached(index) => {
            spend_in_flight(cx, index);
            cx.sessions.count_sent(index);
            let now = cx.now;
            if cx.sessions.with(index, |session| session.closed(now)).is_none() {
                bug!("a session exists while it has a connection");
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
    let now = cx.now;
    let done = cx.sessions.with(index, |session| {
        let disconnect = Disconnect { reason_code, ..Disconnect::default() };
        // It fails if only a client can give the reason, and if the client accepts no packet as large as DISCONNECT.
        if session.disconnect(now, &disconnect).is_err() {
            let _ = session.disconnect(now, &Disconnect::default());
        }
    });
    if done.is_none() {
        bug!("a session exists while it has a connection");
    }
    end_connection(cx, index, why);
}

/// Ends the session of a client; see [`Broker::end_session`](super::Broker::end_session).
pub(super) fn end_session(cx: &mut Context<'_>, client_id: &str, reason_code: DisconnectReasonCode) -> bool {
    // The caller need not know who has a session.
    let Some(index) = cx.registry.find(cx.sessions, client_id) else { return false };
    let now = cx.now;
    let has_connection = cx.sessions.get(index).is_some_and(|session| session.connection().is_some());
    let ended = cx.sessions.with(index, |session| {
        session.end_session(now);
        if has_connection {
            let disconnect = Disconnect { reason_code, ..Disconnect::default() };
            // It fails if only a client can give the reason, and if the client accepts no packet as large as DISCONNECT.
            if session.disconnect(now, &disconnect).is_err() {
                let _ = session.disconnect(now, &Disconnect::default());
            }
        }
    });
    if ended.is_none() {
        bug!("a session that was found exists");
        return false;
    }
    if has_connection {
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
    memory_use::count_connection(cx, id);
    cx.timers.remove(Due::Connection(id.key().index));
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

/// Disconnects clients that make their sessions hold more than there is room for.
pub(super) fn end_excessive(cx: &mut Context<'_>) {
    while let Some(index) = cx.sessions.next_excessive() {
        // It may have ended since.
        if cx.sessions.get(index).is_some_and(|session| session.connection().is_some()) {
            disconnect(cx, index, DisconnectReasonCode::QuotaExceeded);
        }
    }
}

/// The connection of a session is over. What is still to be written stays with the connection; the session goes on without.
pub(super) fn end_connection(cx: &mut Context<'_>, index: SessionIndex, why: Ended<'_>) {
    spend_in_flight(cx, index);
    let Some(session) = cx.sessions.count_sent(index) else { return bug!("a session whose connection ends exists") };
    let connection = session.connection();
    let now = cx.now;
    let rest: Transmit = cx.sessions.with(index, |session| session.detach(now)).unwrap_or_default();
    if let Some(id) = connection {
        cx.connections.end(id, rest);
        memory_use::count_connection(cx, id);
        cx.sessions.ready_mut().push(id);
    }
    detached(cx, index, why);
}

/// Counts the messages in flight of a session that loses its connection: they are to be sent again. To mark one takes about an
/// eighth of what a unit is.
fn spend_in_flight(cx: &mut Context<'_>, index: SessionIndex) {
    let in_flight = cx.sessions.get(index).map_or(0, |session| session.server().in_flight());
    cx.work().spend((in_flight / 8) as u64);
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
    jobs::members::start(cx, index);
}

/// A session has expired or was ended: it loses its client identifier, and is given nothing more. It is taken apart at once as
/// far as the budget goes, and then by a job.
pub(super) fn remove_session(cx: &mut Context<'_>, index: SessionIndex) {
    if cx.sessions.get(index).is_some_and(|session| session.connection().is_some()) {
        end_connection(cx, index, Ended::Close(Close::Requested));
    }
    let Some(key) = cx.sessions.key(index) else { return bug!("a session ends once") };
    let Some(session) = cx.sessions.get(index) else { return bug!("a session ends once") };
    let client_id = Box::<str>::from(session.client_id());
    cx.work().spend_more_bytes(client_id.len().saturating_mul(2)); // it is copied and hashed
    cx.registry.remove(cx.sessions, index);
    cx.timers.remove(Due::Session(index));
    cx.sessions.end(index);
    take_apart(cx, index, key);
    notify_session_ended(cx, &client_id);
}

/// Takes a session apart that has ended: at once as far as the budget goes, and then by a job.
pub(super) fn take_apart(cx: &mut Context<'_>, index: SessionIndex, key: Key) {
    // A session that is taken apart gives messages to others, which may have expired too: the end of one must not lead to that of
    // the next beyond the budget.
    let progress = if cx.work().is_spent() {
        cx.sessions.count_stored(index);
        Progress::More
    } else {
        teardown::advance(cx, key)
    };
    if matches!(progress, Progress::More) {
        teardown::start(cx, index);
    }
}

/// Counts a session that has ended, and tells the policy.
pub(super) fn notify_session_ended(cx: &mut Context<'_>, client_id: &str) {
    let counters = cx.sessions.counters_mut();
    counters.sessions_ended = counters.sessions_ended.wrapping_add(1);
    cx.policy.notice(Notice::SessionEnded { client_id });
}
