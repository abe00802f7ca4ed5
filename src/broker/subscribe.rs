//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::Context;
use super::index::SessionIndex;
use super::jobs;
use super::jobs::request::{Entries, Subscribing, Unsubscribing};
use super::jobs::ring::{Job, Order, Progress};
use super::lifecycle;
use super::memory_use;
use super::pending_codes::PendingCodes;
use super::pending_decisions::PendingDecision;
use super::policy::{Decision, Notice};
use super::router::Router;
use super::session::Session;
use crate::codec::{
    self, DisconnectReasonCode, SubAckReasonCode, Subscription, SubscriptionIdentifier, UnsubAckReasonCode, Version,
};
use crate::server::{AnswerError, SubscribeRequest, UnsubscribeRequest};
use crate::topic::TopicFilter;

/// The work of a filter in a SUBSCRIBE or UNSUBSCRIBE, besides its bytes.
const UNITS: u64 = 3;

/// Whether a request of so many filters is worked on at once.
fn fits(cx: &mut Context<'_>, count: usize) -> bool {
    (count as u64).saturating_mul(UNITS) <= cx.work().left()
}

/// A client asks for subscriptions: the policy decides about each.
pub(super) fn receive(cx: &mut Context<'_>, index: SessionIndex, request: &SubscribeRequest<'_>) {
    let session = cx.sessions.get(index).and_then(|session| Some((session.connection()?, cx.sessions.key(index)?)));
    let Some((connection, session)) = session else {
        return bug!("a session that receives SUBSCRIBE has a connection");
    };
    let count = request.subscriptions.len();
    let mut subscribing = Subscribing {
        session,
        connection,
        request: request.id,
        identifier: request.properties.subscription_identifier.map_or(0, SubscriptionIdentifier::get),
        entries: Entries::new(&request.subscriptions),
        decisions: PendingCodes::new(cx.connections.next_decisions(connection, count as u32)),
        codes: Vec::new(),
        is_decided: false,
    };
    if fits(cx, count.saturating_mul(2)) && matches!(advance(cx, &mut subscribing), Progress::Done) {
        return;
    }
    start(cx, Job::Subscribe(Box::new(subscribing)), index);
}

/// The policy has decided about all filters of a SUBSCRIBE.
pub(super) fn decided(cx: &mut Context<'_>, request: Box<Subscribing>, decisions: PendingCodes) {
    // The session may have ended.
    let Some((index, _)) = cx.sessions.get_by_key(request.session) else { return };
    let mut request = request;
    request.decisions = decisions;
    if fits(cx, request.entries.count() as usize) && matches!(advance(cx, &mut request), Progress::Done) {
        return;
    }
    start(cx, Job::Subscribe(request), index);
}

/// Goes on with a request as a job of its client.
fn start(cx: &mut Context<'_>, job: Job, index: SessionIndex) {
    let Some(session) = cx.sessions.get(index) else { return bug!("the session of a request exists") };
    let (principal, client_id) = (session.principal(), Box::<str>::from(session.client_id()));
    let order = Order { client_id: Some(&client_id), retained: None };
    if jobs::start(cx, principal, order, job).is_none() {
        lifecycle::disconnect(cx, index, DisconnectReasonCode::QuotaExceeded); // 2^32 jobs are open
    }
}

/// Goes on with a SUBSCRIBE, one filter at least. It ends with its connection: the client gets no answer then.
pub(super) fn advance(cx: &mut Context<'_>, subscribing: &mut Subscribing) -> Progress {
    let Some((index, session)) = cx.sessions.get_by_key(subscribing.session) else { return Progress::Done };
    if session.connection() != Some(subscribing.connection) {
        hold_walk(cx, index, false);
        return Progress::Done;
    }
    if !subscribing.is_decided {
        if !ask(cx, index, subscribing) {
            return Progress::More;
        }
        subscribing.is_decided = true;
        subscribing.entries.rewind();
        if let Some(pending) = cx.connections.take_pending(subscribing.connection, PendingDecision::is_subscribe)
            && let PendingDecision::Subscribe { decisions, .. } = pending
        {
            subscribing.decisions = decisions;
        }
        if !subscribing.decisions.is_complete() {
            let connection = subscribing.connection;
            let decisions = core::mem::take(&mut subscribing.decisions);
            let request = Some(Box::new(subscribing.take()));
            lifecycle::wait(cx, connection, PendingDecision::Subscribe { request, decisions });
            return Progress::Done;
        }
    }
    make(cx, index, subscribing)
}

/// Asks the policy about the next filters; returns whether it was asked about all. As long as no decision comes later, each
/// subscription is made at once.
fn ask(cx: &mut Context<'_>, index: SessionIndex, subscribing: &mut Subscribing) -> bool {
    let Subscribing { connection, entries, decisions, codes, identifier, .. } = subscribing;
    while let Some(subscription) = entries.next_subscription() {
        let Some((session, client)) = cx.sessions.get(index).and_then(|session| Some((session, session.client()?)))
        else {
            bug!("a session has the connection of its request");
            return true;
        };
        let meant = session.as_meant(subscription);
        // Decisions that have not come are with the connection.
        let pending = match cx.connections.pending_mut(*connection) {
            Some(PendingDecision::Subscribe { decisions, .. }) => Some(decisions),
            _ => None,
        };
        let is_waiting = pending.is_some();
        let all = pending.unwrap_or(&mut *decisions);
        let Some(id) = all.next_id() else {
            bug!("the ids of decisions are reserved");
            return true;
        };
        match cx.policy.subscribe(id, client, &meant) {
            Decision::Now(code) => {
                all.push(Some(code));
                if !is_waiting {
                    codes.push(make_one(cx, index, &subscription, code, *identifier));
                    entries.mark();
                }
            }
            Decision::Later => {
                all.push(None);
                if !is_waiting {
                    let decisions = core::mem::take(decisions);
                    lifecycle::wait(cx, *connection, PendingDecision::Subscribe { request: None, decisions });
                }
            }
        }
        cx.work().spend(1);
        if cx.work().is_spent() {
            hold_walk(cx, index, true);
            return false;
        }
    }
    true
}

/// Makes the next subscriptions that are granted, and sends SUBACK after the last. A subscription without decision is refused.
fn make(cx: &mut Context<'_>, index: SessionIndex, subscribing: &mut Subscribing) -> Progress {
    let Subscribing { request, identifier, entries, decisions, codes, .. } = subscribing;
    while let Some(subscription) = entries.next_subscription() {
        let decision = decisions.codes().get(codes.len()).copied().flatten();
        let decision = decision.unwrap_or(SubAckReasonCode::UnspecifiedError);
        codes.push(make_one(cx, index, &subscription, decision, *identifier));
        if cx.work().is_spent() && codes.len() < entries.count() as usize {
            hold_walk(cx, index, true);
            return Progress::More;
        }
    }
    cx.work().spend_bytes(codes.len());
    let answer = lifecycle::command(cx, index, |session, now| session.suback(now, *request, codes));
    disconnect_if_too_large(cx, index, answer);
    hold_walk(cx, index, false);
    Progress::Done
}

/// Makes a subscription if it is granted; returns the code for SUBACK.
fn make_one(
    cx: &mut Context<'_>,
    index: SessionIndex,
    subscription: &Subscription<'_>,
    decision: SubAckReasonCode,
    identifier: u32,
) -> SubAckReasonCode {
    cx.work().spend_bytes(subscription.filter.as_bytes().len());
    let principal = cx.sessions.get(index).map(Session::principal);
    let size = u64::from(Router::charge_of_filter(subscription.filter).unsigned_abs());
    let is_refused =
        !memory_use::has_room(cx, principal, size) && !cx.router.is_subscribed(cx.sessions, index, subscription.filter);
    let decision = if is_refused { SubAckReasonCode::QuotaExceeded } else { decision };
    let code = match cx.router.subscribe(cx.sessions, index, subscription, decision, identifier) {
        Ok(code) => code,
        Err(code) => {
            notify_refused(cx, index, subscription.filter, code);
            code
        }
    };
    // Before 5.0 there is one return code for all failures.
    let version = cx.sessions.get(index).map_or(Version::V5, |session| session.server().version());
    let is_error = codec::ReasonCode::from(code).is_error();
    if is_error && version != Version::V5 { SubAckReasonCode::UnspecifiedError } else { code }
}

/// Retained messages come after SUBACK.
fn hold_walk(cx: &mut Context<'_>, index: SessionIndex, is_held: bool) {
    if let Some(walk) = cx.sessions.get_mut(index).and_then(Session::walk_mut) {
        walk.set_held(is_held);
        cx.sessions.mark_changed(index);
    }
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
    let session = cx.sessions.get(index).and_then(|session| Some((session.connection()?, cx.sessions.key(index)?)));
    let Some((connection, session)) = session else {
        return bug!("a session that receives UNSUBSCRIBE has a connection");
    };
    let entries = Entries::new(&request.filters);
    let mut unsubscribing = Unsubscribing { session, connection, request: request.id, entries, codes: Vec::new() };
    if fits(cx, request.filters.len()) && matches!(advance_unsubscribe(cx, &mut unsubscribing), Progress::Done) {
        return;
    }
    start(cx, Job::Unsubscribe(Box::new(unsubscribing)), index);
}

/// Goes on with an UNSUBSCRIBE, one filter at least. It ends with its connection: the client gets no answer then.
pub(super) fn advance_unsubscribe(cx: &mut Context<'_>, unsubscribing: &mut Unsubscribing) -> Progress {
    let Unsubscribing { session, connection, request, entries, codes } = unsubscribing;
    let Some((index, state)) = cx.sessions.get_by_key(*session) else { return Progress::Done };
    if state.connection() != Some(*connection) {
        return Progress::Done;
    }
    while let Some(filter) = entries.next_filter() {
        codes.push(if cx.router.unsubscribe(cx.sessions, index, filter) {
            UnsubAckReasonCode::Success
        } else {
            UnsubAckReasonCode::NoSubscriptionExisted
        });
        cx.work().spend_bytes(filter.as_bytes().len());
        cx.work().spend(1);
        if cx.work().is_spent() && codes.len() < entries.count() as usize {
            return Progress::More;
        }
    }
    cx.work().spend_bytes(codes.len());
    let answer = lifecycle::command(cx, index, |session, now| session.unsuback(now, *request, codes));
    disconnect_if_too_large(cx, index, answer);
    Progress::Done
}

/// Disconnects a client that accepts no packet as large as the answer to its request: it would wait for ever.
fn disconnect_if_too_large(cx: &mut Context<'_>, index: SessionIndex, answer: Result<(), AnswerError>) {
    if let Err(AnswerError::TooLarge { .. }) = answer {
        lifecycle::disconnect(cx, index, DisconnectReasonCode::PacketTooLarge);
    }
}
