//! The policy decides whether a client is accepted.

use super::accept;
use super::context::Context;
use super::index::SessionIndex;
use super::jobs::work::Work;
use super::lifecycle;
use super::pending_decisions::{Grant, PendingDecision};
use super::policy::{Admission, AuthStep, ConnectionId, Decision};
use super::router;
use super::session::Session;
use crate::codec::{Auth, ConnAckReasonCode, Connect, DisconnectReasonCode, ReasonCode};
use crate::sync::Arc;
use crate::text::Utf8Str;
use crate::topic::TopicName;

/// A client wants to connect: the policy decides.
pub(super) fn receive_connect(cx: &mut Context<'_>, id: ConnectionId, connect: &Connect<'_>) {
    cx.work().spend(Work::units_of_pairs(connect.properties.user_properties.len()));
    if let Some(will) = &connect.will {
        // The session holds them in texts of their own.
        cx.work().spend(will.properties.user_properties.len() as u64);
    }
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
    if !router::is_own(topic) && cx.router.has_too_many_levels(topic.as_bytes()) {
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
            accept::accept(cx, id, Grant::new(accept, user_name));
        }
        Admission::AcceptAs { user_name, accept } => {
            accept::accept(cx, id, Grant::new(accept, user_name.map(Arc::from)));
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
