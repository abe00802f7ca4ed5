//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::vec::Vec;

use super::context::Context;
use super::index::SessionIndex;
use super::lifecycle;
use super::pending_decisions::{PendingCodes, PendingDecision, PendingPacket};
use super::policy::{Decision, Notice};
use super::session::Session;
use crate::codec::{self, DisconnectReasonCode, SubAckReasonCode, SubscriptionIdentifier, UnsubAckReasonCode, Version};
use crate::server::{AnswerError, SubscribeRequest, UnsubscribeRequest};
use crate::topic::TopicFilter;

/// A client asks for subscriptions: the policy decides about each.
pub(super) fn receive(cx: &mut Context<'_>, index: SessionIndex, request: &SubscribeRequest<'_>) {
    let client = cx.sessions.get(index).and_then(|session| Some((session, session.client()?)));
    let Some((session, client)) = client else { return bug!("a session that receives SUBSCRIBE has a connection") };
    let (connection, version) = (client.connection, client.version);
    let mut decisions = PendingCodes::with_capacity(request.subscriptions.len());
    for subscription in request.subscriptions {
        let id = cx.connections.next_decision(connection);
        decisions.push(
            id,
            match cx.policy.subscribe(id, client, &session.as_meant(subscription)) {
                Decision::Now(code) => Some(code),
                Decision::Later => None,
            },
        );
    }
    if decisions.is_complete() {
        return finish(cx, index, request, decisions.codes());
    }
    match PendingPacket::new(&request.packet().into(), version) {
        Ok(packet) => {
            cx.connections.wait(connection, PendingDecision::Subscribe { packet, request: request.id, decisions });
        }
        Err(_) => {
            bug!("a packet that was received can be encoded");
            finish(cx, index, request, decisions.codes());
        }
    }
}

/// Makes the subscriptions that are granted, sends SUBACK, and lets retained messages be sent. A subscription without
/// decision is refused.
pub(super) fn finish(
    cx: &mut Context<'_>,
    index: SessionIndex,
    request: &SubscribeRequest<'_>,
    decisions: &[Option<SubAckReasonCode>],
) {
    let version = cx.sessions.get(index).map_or(Version::V5, |session| session.server().version());
    let identifier = request.properties.subscription_identifier.map_or(0, SubscriptionIdentifier::get);
    let mut codes = Vec::with_capacity(decisions.len());
    let mut granted = Vec::new();
    for (subscription, decision) in request.subscriptions.into_iter().zip(decisions) {
        let decision = decision.unwrap_or(SubAckReasonCode::UnspecifiedError);
        let code = match cx.router.subscribe(cx.sessions, index, &subscription, decision, identifier) {
            Ok(grant) => {
                granted.push((grant, subscription.filter));
                grant.reason_code
            }
            Err(code) => {
                notify_refused(cx, index, subscription.filter, code);
                code
            }
        };
        // Before 5.0 there is one return code for all failures.
        let is_error = codec::ReasonCode::from(code).is_error();
        codes.push(if is_error && version != Version::V5 { SubAckReasonCode::UnspecifiedError } else { code });
    }
    let answer = lifecycle::command(cx, index, |session, now| session.suback(now, request.id, &codes));
    disconnect_if_too_large(cx, index, answer);
    cx.router.start_walk(cx.sessions, index, &granted);
}

/// Counts a subscription that is refused, and tells the policy.
pub(super) fn notify_refused(
    cx: &mut Context<'_>,
    index: SessionIndex,
    filter: TopicFilter<'_>,
    reason_code: SubAckReasonCode,
) {
    let refused = &mut cx.sessions.counters_mut().subscriptions_refused;
    *refused = refused.wrapping_add(1);
    // The connection may be over by now.
    if let Some(client) = cx.sessions.get(index).and_then(Session::client) {
        cx.policy.notice(Notice::SubscribeRefused { client, filter: filter.as_str(), reason_code });
    }
}

/// A client ends subscriptions.
pub(super) fn receive_unsubscribe(cx: &mut Context<'_>, index: SessionIndex, request: &UnsubscribeRequest<'_>) {
    let codes: Vec<_> = request
        .filters
        .into_iter()
        .map(|filter| {
            if cx.router.unsubscribe(cx.sessions, index, filter) {
                UnsubAckReasonCode::Success
            } else {
                UnsubAckReasonCode::NoSubscriptionExisted
            }
        })
        .collect();
    let answer = lifecycle::command(cx, index, |session, now| session.unsuback(now, request.id, &codes));
    disconnect_if_too_large(cx, index, answer);
}

/// Disconnects a client that accepts no packet as large as the answer to its request: it would wait for ever.
fn disconnect_if_too_large(cx: &mut Context<'_>, index: SessionIndex, answer: Result<(), AnswerError>) {
    if let Err(AnswerError::TooLarge { .. }) = answer {
        lifecycle::disconnect(cx, index, DisconnectReasonCode::PacketTooLarge);
    }
}
