//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::Context;
use super::index::SessionIndex;
use super::jobs;
use super::jobs::request::{Entries, Subscribing, Unsubscribing};
use super::jobs::ring::{Job, Order, Progress};
use super::lifecycle;
use super::memory_use;
use super::mount::full_filter;
use super::pending_codes::PendingCodes;
use super::pending_decisions::PendingDecision;
use super::policy::{ConnectionId, Decision, DecisionId, Notice};
use super::router::Router;
use super::session::Session;
use crate::codec::{
    self, DisconnectReasonCode, SubAckReasonCode, Subscription, SubscriptionIdentifier, UnsubAckReasonCode, Version,
};
use crate::server::{AnswerError, RequestId, SubscribeRequest, UnsubscribeRequest};
use crate::topic::TopicFilter;

/// The work of a filter in a SUBSCRIBE or UNSUBSCRIBE, besides its bytes.
const UNITS: u64 = 3;

/// Whether a request of so many filters is worked on at once.
fn fits(cx: &mut Context<'_>, count: usize) -> bool {
    (count as u64).saturating_mul(UNITS) <= cx.work().left()
}

/// A client asks for subscriptions: the policy decides about each. Most requests are finished in this call, straight from the
/// packet.
pub(super) fn receive(cx: &mut Context<'_>, index: SessionIndex, request: &SubscribeRequest<'_>) {
    let session = cx.sessions.get(index).and_then(|session| Some((session.connection()?, cx.sessions.key(index)?)));
    let Some((connection, session)) = session else {
        return bug!("a session that receives SUBSCRIBE has a connection");
    };
    let count = request.subscriptions.len();
    let first = cx.connections.next_decisions(connection, count as u32);
    let identifier = request.properties.subscription_identifier.map_or(0, SubscriptionIdentifier::get);
    let mut codes = Vec::new();
    let mut is_later = false;
    let is_small = fits(cx, count.saturating_mul(2));
    if is_small {
        codes.reserve_exact(count);
        let session = cx.sessions.get(index);
        let mount = session.and_then(Session::mount).map_or(0, |mount| mount.as_bytes().len());
        let bytes = request.subscriptions.wire_parts().map_or(0, |(bytes, _)| bytes.len());
        let bytes = bytes.saturating_add(count.saturating_mul(mount));
        let principal = session.map(Session::principal);
        let has_room = memory_use::has_room(cx, principal, Router::most_of_filters(count, bytes));
        for (subscription, position) in request.subscriptions.iter().zip(0_u32..) {
            match decide(cx, index, first.behind(position), &subscription) {
                Decision::Now(code) => codes.push(make_one(cx, index, &subscription, code, identifier, has_room)),
                Decision::Later => is_later = true,
            }
            cx.work().spend(1);
            if is_later || cx.work().is_spent() {
                break;
            }
        }
        if codes.len() == count {
            return answer(cx, index, request.id, &codes);
        }
        if cx.work().is_spent() {
            hold_walk(cx, index, true);
        }
    }
    let (mut entries, mut decisions) = (Entries::new(&request.subscriptions), PendingCodes::new(first));
    for &code in &codes {
        entries.next_subscription();
        decisions.push(Some(code));
    }
    entries.mark();
    if is_later {
        entries.next_subscription();
        decisions.push(None);
        let decisions = core::mem::take(&mut decisions);
        cx.connections.wait(connection, PendingDecision::Subscribe { request: None, decisions });
    }
    let request = request.id;
    let mut subscribing =
        Subscribing { session, connection, request, identifier, entries, decisions, codes, is_decided: false };
    if is_small && !cx.work().is_spent() && matches!(advance(cx, &mut subscribing), Progress::Done) {
        return;
    }
    start(cx, Job::Subscribe(Box::new(subscribing)), index);
}

/// Asks the policy about a filter.
fn decide(
    cx: &mut Context<'_>,
    index: SessionIndex,
    id: DecisionId,
    subscription: &Subscription<'_>,
) -> Decision<SubAckReasonCode> {
    let session = cx.sessions.get(index).and_then(|session| Some((session, session.client()?)));
    let Some((session, client)) = session else {
        bug!("a session has the connection of its request");
        return Decision::Now(SubAckReasonCode::UnspecifiedError);
    };
    let Some(filter) = full_filter(session.mount(), subscription.filter) else {
        return Decision::Now(SubAckReasonCode::TopicFilterInvalid);
    };
    let subscription = &Subscription { filter: TopicFilter::validated(&filter), ..*subscription };
    cx.policy.subscribe(id, client, &session.as_meant(*subscription))
}

/// The policy has decided about all filters of a SUBSCRIBE.
pub(super) fn decided(cx: &mut Context<'_>, request: Box<Subscribing>, decisions: PendingCodes) {
    // The session may have ended.
    let Some((index, _)) = cx.sessions.get_by_key(request.session) else { return };
    let mut request = request;
    request.decisions = decisions;
    // A job of the client may have begun meanwhile, such as that of a newer connection.
    let is_first = cx.sessions.get(index).is_some_and(|session| !session.is_busy());
    let fits = is_first && fits(cx, request.entries.count() as usize);
    if fits && matches!(advance(cx, &mut request), Progress::Done) {
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
        let is_waiting = cx.connections.pending_mut(*connection).is_some();
        let Some(id) = pending(cx, *connection, decisions).next_id() else {
            bug!("the ids of decisions are reserved");
            return true;
        };
        match decide(cx, index, id, &subscription) {
            Decision::Now(code) => {
                pending(cx, *connection, decisions).push(Some(code));
                if !is_waiting {
                    codes.push(make_one(cx, index, &subscription, code, *identifier, false));
                    entries.mark();
                }
            }
            Decision::Later => {
                pending(cx, *connection, decisions).push(None);
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

/// The decisions so far. From the first that has not come on they are with the connection.
fn pending<'c>(cx: &'c mut Context<'_>, connection: ConnectionId, own: &'c mut PendingCodes) -> &'c mut PendingCodes {
    match cx.connections.pending_mut(connection) {
        Some(PendingDecision::Subscribe { decisions, .. }) => decisions,
        _ => own,
    }
}

/// Makes the next subscriptions that are granted, and sends SUBACK after the last. A subscription without decision is refused.
fn make(cx: &mut Context<'_>, index: SessionIndex, subscribing: &mut Subscribing) -> Progress {
    let Subscribing { request, identifier, entries, decisions, codes, .. } = subscribing;
    while let Some(subscription) = entries.next_subscription() {
        let decision = decisions.codes().get(codes.len()).copied().flatten();
        let decision = decision.unwrap_or(SubAckReasonCode::UnspecifiedError);
        codes.push(make_one(cx, index, &subscription, decision, *identifier, false));
        if cx.work().is_spent() && codes.len() < entries.count() as usize {
            hold_walk(cx, index, true);
            return Progress::More;
        }
    }
    answer(cx, index, *request, codes);
    hold_walk(cx, index, false);
    Progress::Done
}

/// Sends SUBACK.
fn answer(cx: &mut Context<'_>, index: SessionIndex, request: RequestId, codes: &[SubAckReasonCode]) {
    cx.work().spend_bytes(codes.len());
    let answer = lifecycle::command(cx, index, |session, now| session.suback(now, request, codes));
    disconnect_if_too_large(cx, index, answer);
}

/// Makes a subscription if it is granted, and there is room for it, which may be known; returns the code for SUBACK.
fn make_one(
    cx: &mut Context<'_>,
    index: SessionIndex,
    subscription: &Subscription<'_>,
    decision: SubAckReasonCode,
    identifier: u32,
    has_room: bool,
) -> SubAckReasonCode {
    cx.work().spend_bytes(subscription.filter.as_bytes().len());
    let filter = full_filter(cx.sessions.get(index).and_then(Session::mount), subscription.filter);
    let (filter, decision) = match filter {
        Some(filter) => (filter, decision),
        None => (Cow::Borrowed(subscription.filter.as_bytes()), SubAckReasonCode::TopicFilterInvalid),
    };
    let subscription = &Subscription { filter: TopicFilter::validated(&filter), ..*subscription };
    let is_refused = !has_room && {
        let principal = cx.sessions.get(index).map(Session::principal);
        let size = u64::from(Router::charge_of_filter(subscription.filter).unsigned_abs());
        !memory_use::has_room(cx, principal, size) && !cx.router.is_subscribed(cx.sessions, index, subscription.filter)
    };
    let decision = if is_refused { SubAckReasonCode::QuotaExceeded } else { decision };
    let code = match cx.router.subscribe(cx.sessions, index, subscription, decision, identifier) {
        Ok(code) => code,
        Err(code) => {
            notify_refused(cx, index, subscription.filter, code);
            code
        }
    };
    if !codec::ReasonCode::from(code).is_error() {
        return code;
    }
    // Before 5.0 there is one return code for all failures.
    let version = cx.sessions.get(index).map_or(Version::V5, |session| session.server().version());
    if version == Version::V5 { code } else { SubAckReasonCode::UnspecifiedError }
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

/// A client ends subscriptions: most of the time in this call, straight from the packet.
pub(super) fn receive_unsubscribe(cx: &mut Context<'_>, index: SessionIndex, request: &UnsubscribeRequest<'_>) {
    let session = cx.sessions.get(index).and_then(|session| Some((session.connection()?, cx.sessions.key(index)?)));
    let Some((connection, session)) = session else {
        return bug!("a session that receives UNSUBSCRIBE has a connection");
    };
    let count = request.filters.len();
    let mut codes = Vec::new();
    let is_small = fits(cx, count);
    if is_small {
        codes.reserve_exact(count);
        for filter in request.filters.iter() {
            codes.push(end_one(cx, index, filter));
            if cx.work().is_spent() {
                break;
            }
        }
        if codes.len() == count {
            return answer_unsubscribe(cx, index, request.id, &codes);
        }
    }
    let mut entries = Entries::new(&request.filters);
    for _ in &codes {
        entries.next_filter();
    }
    start(
        cx,
        Job::Unsubscribe(Box::new(Unsubscribing { session, connection, request: request.id, entries, codes })),
        index,
    );
}

/// Ends a subscription; returns the code for UNSUBACK.
fn end_one(cx: &mut Context<'_>, index: SessionIndex, filter: TopicFilter<'_>) -> UnsubAckReasonCode {
    let full = full_filter(cx.sessions.get(index).and_then(Session::mount), filter);
    let is_ended = full.is_some_and(|full| cx.router.unsubscribe(cx.sessions, index, TopicFilter::validated(&full)));
    cx.work().spend_text(filter.as_bytes().len());
    cx.work().spend(1);
    if is_ended { UnsubAckReasonCode::Success } else { UnsubAckReasonCode::NoSubscriptionExisted }
}

/// Sends UNSUBACK.
fn answer_unsubscribe(cx: &mut Context<'_>, index: SessionIndex, request: RequestId, codes: &[UnsubAckReasonCode]) {
    cx.work().spend_bytes(codes.len());
    let answer = lifecycle::command(cx, index, |session, now| session.unsuback(now, request, codes));
    disconnect_if_too_large(cx, index, answer);
}

/// Goes on with an UNSUBSCRIBE, one filter at least. It ends with its connection: the client gets no answer then.
pub(super) fn advance_unsubscribe(cx: &mut Context<'_>, unsubscribing: &mut Unsubscribing) -> Progress {
    let Unsubscribing { session, connection, request, entries, codes } = unsubscribing;
    let Some((index, state)) = cx.sessions.get_by_key(*session) else { return Progress::Done };
    if state.connection() != Some(*connection) {
        return Progress::Done;
    }
    while let Some(filter) = entries.next_filter() {
        codes.push(end_one(cx, index, filter));
        if cx.work().is_spent() && codes.len() < entries.count() as usize {
            return Progress::More;
        }
    }
    answer_unsubscribe(cx, index, *request, codes);
    Progress::Done
}

/// Disconnects a client that accepts no packet as large as the answer to its request: it would wait for ever.
fn disconnect_if_too_large(cx: &mut Context<'_>, index: SessionIndex, answer: Result<(), AnswerError>) {
    if let Err(AnswerError::TooLarge { .. }) = answer {
        lifecycle::disconnect(cx, index, DisconnectReasonCode::PacketTooLarge);
    }
}
