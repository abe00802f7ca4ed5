//! Whether a client is accepted, and into which session.

use alloc::string::String;
use alloc::sync::Arc;

use super::context::Context;
use super::index::SessionIndex;
use super::lifecycle;
use super::memory_use;
use super::pending_decisions::{Grant, PendingDecision};
use super::policy::{Admission, AuthStep, Client, ConnectionId, Decision, Ended, Notice};
use super::principal::PrincipalName;
use super::publish;
use super::resume::{self, Newcomer, StoredDecisions};
use super::session::Session;
use super::slab::Slab;
use super::timers::Due;
use crate::codec::{Auth, ConnAckReasonCode, Connect, DisconnectReasonCode, ReasonCode, Version};
use crate::server::Action;
use crate::text::Utf8Str;
use crate::topic::TopicName;

/// A client that has more open jobs than this is refused until they have ended.
const MAX_OPEN_JOBS: usize = 8;

/// A client wants to connect: the policy decides.
pub(super) fn receive_connect(cx: &mut Context<'_>, id: ConnectionId, connect: &Connect<'_>) {
    if let Some(will) = &connect.will
        && let Err(reason_code) = check_will(cx, will.topic)
    {
        return admit(cx, id, reason_code.into());
    }
    let decision_id = cx.connections.next_decision(id);
    match cx.policy.connect(decision_id, connect) {
        Decision::Now(admission) => admit(cx, id, admission),
        Decision::Later => lifecycle::wait(cx, id, PendingDecision::Connect(decision_id)),
    }
}

/// Checks whether a will with this topic can be published when it is due: CONNACK can refuse it, and no later packet can.
///
/// A will under `$SYS/` refuses no client, though it is never published: bridges announce their state there.
fn check_will(cx: &Context<'_>, topic: TopicName<'_>) -> Result<(), ConnAckReasonCode> {
    if !publish::is_own(topic) && cx.router.has_too_many_levels(topic.levels()) {
        return Err(ConnAckReasonCode::TopicNameInvalid);
    }
    Ok(())
}

/// A client that is not accepted yet answers a challenge: the policy decides.
pub(super) fn receive_auth(cx: &mut Context<'_>, id: ConnectionId, auth: &Auth<'_>) {
    let decision_id = cx.connections.next_decision(id);
    let Some(connecting) = cx.connections.connecting(id) else {
        return bug!("a connection whose acceptor has read a packet is a connecting one");
    };
    let client_id = connecting.acceptor().client().map_or("", |(client_id, _)| client_id);
    match cx.policy.authenticate(decision_id, &step(client_id, auth, false)) {
        Decision::Now(admission) => admit(cx, id, admission),
        Decision::Later => lifecycle::wait(cx, id, PendingDecision::Connect(decision_id)),
    }
}

/// The policy has decided about a client that is not accepted yet.
pub(super) fn admit(cx: &mut Context<'_>, id: ConnectionId, admission: Admission) {
    match admission {
        Admission::Accept(accept) => {
            let connecting = cx.connections.connecting(id);
            let user_name = connecting.and_then(|connecting| connecting.acceptor().user_name().map(Arc::from));
            self::accept(cx, id, Grant::new(accept, user_name));
        }
        Admission::AcceptAs { user_name, accept } => {
            self::accept(cx, id, Grant::new(accept, user_name.map(Arc::from)));
        }
        Admission::Challenge(data) => {
            let now = cx.now;
            let done = cx.connections.connecting(id).map(|connecting| connecting.acceptor().challenge(now, &data));
            if let Some(Err(_)) = done {
                // The client has named no method, or accepts no packet as large as the challenge.
                lifecycle::refuse_with(cx, id, ConnAckReasonCode::BadAuthenticationMethod);
            }
        }
        Admission::Refuse(refusal) => lifecycle::refuse(cx, id, &refusal),
    }
}

/// Accepts a client into the session of its client identifier, or a new one, once all decisions about an existing session
/// have come.
pub(super) fn accept(cx: &mut Context<'_>, id: ConnectionId, grant: Grant) {
    let now = cx.now;
    let mut grant = grant;
    let Some(connecting) = cx.connections.connecting(id) else {
        return bug!("a connection is a connecting one while its client is accepted");
    };
    let origin = connecting.origin();
    let acceptor = connecting.acceptor();
    let clean_start = acceptor.asks_clean_start();
    // The acceptor may have given up by now.
    let Some((client_id, version)) = acceptor.client().map(|(id, version)| (String::from(id), version)) else { return };
    let client_id = if client_id.is_empty() {
        let assigned = grant.accept.assigned_client_id.take().filter(|assigned| !assigned.is_empty());
        let assigned = assigned.unwrap_or_else(|| cx.registry.assign(cx.sessions));
        grant.accept.assigned_client_id = Some(assigned.clone());
        assigned
    } else {
        client_id
    };
    let known = cx.registry.find(cx.sessions, &client_id);
    // Those that have ended take memory until they are taken apart.
    let client = Client { connection: id, id: &client_id, user_name: grant.user_name.as_deref(), version };
    let name = cx.policy.principal(client).name(client.user_name, origin);
    let is_full =
        known.is_none() && (cx.sessions.len() >= cx.config.max_sessions || !has_room(cx, &name, client_id.len()));
    if is_full || cx.sessions.ended() > cx.config.max_sessions {
        return lifecycle::refuse_with(cx, id, quota_exceeded(version));
    }
    // Each connection of a client may leave a will behind. They are published one after the other.
    if cx.jobs.open_of(&client_id) > MAX_OPEN_JOBS {
        return lifecycle::refuse_with(cx, id, busy(version));
    }
    let mut decisions = StoredDecisions::new();
    if let Some(index) = known {
        // A client that would be refused must not take over the existing session.
        let done = cx.connections.connecting(id).map(|connecting| connecting.acceptor().check(&grant.accept));
        if let Some(Err(_)) = done {
            return lifecycle::refuse_with(cx, id, ConnAckReasonCode::ImplementationSpecificError);
        }
        let newcomer = Newcomer { connection: id, client_id: &client_id, version, clean_start };
        match resume::claim(cx, index, newcomer, grant) {
            Some(claimed) => (grant, decisions) = claimed,
            None => return, // the client was refused, or waits for a decision
        }
        take_over(cx, index);
    }
    // A session that does not go on ends before the new one begins: that is another session, whatever is left of the old one.
    let goes_on = |session: &Session| !clean_start && session.server().outlives_connection(now);
    let resumed = known.filter(|&index| cx.sessions.get(index).is_some_and(goes_on));
    if resumed.is_none()
        && let Some(index) = known
    {
        end_session(cx, index);
    }
    enter_session(cx, id, resumed, &client_id, grant, name, &decisions);
}

/// Whether a principal may have one more session.
fn has_room(cx: &mut Context<'_>, name: &PrincipalName, client_id: usize) -> bool {
    let size = Slab::<Session>::SLOT_SIZE.saturating_add(client_id) as u64;
    // Most of the time nobody need be looked for.
    cx.sessions.account().is_far_below(size) || {
        let principal = cx.jobs.turns().find(name);
        memory_use::has_room(cx, principal, size)
    }
}

/// Accepts a client into this session or, without one, into a new session, which is that of the principal with this name.
fn enter_session(
    cx: &mut Context<'_>,
    id: ConnectionId,
    known: Option<SessionIndex>,
    client_id: &str,
    grant: Grant,
    name: PrincipalName,
    decisions: &StoredDecisions,
) {
    let Grant { accept, user_name, .. } = grant;
    let Some(connecting) = cx.connections.connecting(id) else {
        return bug!("a connection is a connecting one while its client is accepted");
    };
    let acceptor = connecting.acceptor();
    let exists = known.is_some();
    let index = known.or_else(|| cx.sessions.insert(Session::new(acceptor.new_session())));
    // The slab of sessions may be full (2^32 sessions).
    let Some(index) = index else {
        return lifecycle::refuse_with(cx, id, ConnAckReasonCode::ServerUnavailable);
    };
    let Some(session) = cx.sessions.get_mut(index) else {
        return bug!("a session that was found or inserted exists");
    };
    let Ok(()) = acceptor.accept_into(cx.now, session.server_mut(), exists, *accept) else {
        if !exists {
            cx.sessions.remove(index);
        }
        return lifecycle::refuse_with(cx, id, ConnAckReasonCode::ImplementationSpecificError);
    };
    let session_present = session.server().is_resumed();
    let is_busy = cx.jobs.open_of(client_id) != 0;
    if let Some(session) = cx.sessions.get_mut(index) {
        session.set_busy(is_busy);
    }
    cx.sessions.attach(index, id, user_name);
    let principal = cx.jobs.turns_mut().enter(name);
    memory_use::enter_principal(cx, id, index, principal);
    cx.jobs.turns_mut().leave(principal);
    cx.connections.attach(id, index);
    memory_use::count_connection(cx, id);
    cx.timers.remove(Due::Connection(id.key().index));
    let accepted = &mut cx.sessions.counters_mut().clients_accepted;
    *accepted = accepted.wrapping_add(1);
    if !exists {
        cx.registry.insert(cx.sessions, index);
    }
    if let Some(client) = cx.sessions.get(index).and_then(Session::client) {
        cx.policy.notice(Notice::Connected { client, session_present });
    }
    if session_present {
        cx.router.set_connected(cx.sessions, index);
        resume::restrict_subscriptions(cx, index, decisions);
    }
    cx.sessions.mark_changed(index);
}

/// The client of a session has connected again: the older connection ends with Session taken over \[MQTT-3.1.4-3\].
fn take_over(cx: &mut Context<'_>, index: SessionIndex) {
    let Some(session) = cx.sessions.get_mut(index) else { return bug!("a session that was found exists") };
    if session.connection().is_some() {
        // It fails if the client accepts no packet as large as DISCONNECT.
        let _ = session.server_mut().take_over(cx.now);
        lifecycle::end_connection(cx, index, Ended::TakenOver);
    }
}

/// Ends a session without a connection at once: its will is published, and its client identifier is free.
fn end_session(cx: &mut Context<'_>, index: SessionIndex) {
    let now = cx.now;
    match cx.sessions.get_mut(index) {
        Some(session) => session.server_mut().end_session(now),
        None => return bug!("a session that ends exists"),
    }
    // `Action::Expired` is the last one.
    while let Some(session) = cx.sessions.get_mut(index).filter(|session| !session.has_ended()) {
        match session.server_mut().advance_output(now) {
            Some(Action::Will(will)) => publish::publish_will(cx, index, &will),
            Some(Action::Done { outcome, .. }) => cx.sessions.count_outcome(index, outcome),
            Some(Action::Expired) => lifecycle::remove_session(cx, index),
            _ => return bug!("a session that is ended has an end"),
        }
    }
}

/// An accepted client authenticates again (section 4.12.1): the policy decides.
pub(super) fn receive_reauthentication(cx: &mut Context<'_>, index: SessionIndex, auth: &Auth<'_>) {
    let session = cx.sessions.get(index).and_then(|session| Some((session, session.connection()?)));
    let Some((session, connection)) = session else { return bug!("a session that receives AUTH has a connection") };
    let id = cx.connections.next_decision(connection);
    match cx.policy.authenticate(id, &step(session.client_id(), auth, true)) {
        Decision::Now(admission) => admit_again(cx, index, admission),
        Decision::Later => lifecycle::wait(cx, connection, PendingDecision::Reauthenticate(id)),
    }
}

/// The policy has decided about a re-authentication.
pub(super) fn admit_again(cx: &mut Context<'_>, index: SessionIndex, admission: Admission) {
    let user_name = cx.sessions.get(index).and_then(Session::user_name);
    let done = match admission {
        // The user of a connection does not change.
        Admission::AcceptAs { user_name: other, .. } if other.as_deref() != user_name => {
            return lifecycle::disconnect(cx, index, DisconnectReasonCode::NotAuthorized);
        }
        Admission::Accept(accept) | Admission::AcceptAs { accept, .. } => {
            let data = accept.authentication_data.unwrap_or_default();
            lifecycle::command(cx, index, |session, now| session.authenticated(now, &data))
        }
        Admission::Challenge(data) => lifecycle::command(cx, index, |session, now| session.challenge(now, &data)),
        Admission::Refuse(refusal) => {
            let reason_code = DisconnectReasonCode::try_from(ReasonCode::from(refusal.reason_code))
                .unwrap_or(DisconnectReasonCode::NotAuthorized);
            return lifecycle::disconnect(cx, index, reason_code);
        }
    };
    if done.is_err() {
        lifecycle::disconnect(cx, index, DisconnectReasonCode::NotAuthorized);
    }
}

/// A step of an enhanced authentication, as the policy is shown it.
fn step<'a>(client_id: &'a str, auth: &Auth<'a>, is_reauthentication: bool) -> AuthStep<'a> {
    AuthStep {
        client_id,
        method: auth.properties.authentication_method.map_or("", Utf8Str::as_str),
        data: auth.properties.authentication_data.unwrap_or_default(),
        is_reauthentication,
    }
}

/// The reason code for a client whose messages are still on their way.
const fn busy(version: Version) -> ConnAckReasonCode {
    match version {
        Version::V5 => ConnAckReasonCode::ServerBusy,
        // Earlier versions have no return code that says more.
        Version::V31 | Version::V311 => ConnAckReasonCode::ServerUnavailable,
    }
}

/// The reason code for a client that would need one session too many.
const fn quota_exceeded(version: Version) -> ConnAckReasonCode {
    match version {
        Version::V5 => ConnAckReasonCode::QuotaExceeded,
        // Earlier versions have no return code that says more.
        Version::V31 | Version::V311 => ConnAckReasonCode::ServerUnavailable,
    }
}
