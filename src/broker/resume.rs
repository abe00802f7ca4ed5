//! A client gets a session that exists: the policy decides whether the client may have the session of another user, and
//! whether the stored subscriptions go on.
//!
//! A session may have thousands of subscriptions: what a call does not finish is a [job](super::jobs) of the client
//! identifier: its subscriptions do not change meanwhile, and CONNACK is sent when all of them are done.

use alloc::vec::Vec;

use super::context::Context;
use super::index::SessionIndex;
use super::lifecycle;
use super::pending_decisions::{Decisions, Grant, PendingDecision};
use super::policy::{Client, ConnectionId, Decision, TakeOver};
use super::router::list_id::ListId;
use super::router::subscribers::Subscriber;
use crate::codec::{ConnAckReasonCode, RetainHandling, SubAckReasonCode, Subscription, Version};
use crate::sync::Arc;
use crate::topic::TopicFilter;

/// A client that is about to be accepted.
#[derive(Clone, Copy)]
pub(super) struct Newcomer<'a> {
    pub(super) connection: ConnectionId,
    pub(super) client_id: &'a str,
    pub(super) version: Version,
    pub(super) clean_start: bool,
}

/// A session belongs to the user who has begun it. With Clean Start too, another user would end it. Returns `None` if the
/// client has been refused, or waits for the decision of the policy; [`accept`](super::accept::accept) begins anew then.
pub(super) fn claim(cx: &mut Context<'_>, index: SessionIndex, newcomer: Newcomer<'_>, grant: Grant) -> Option<Grant> {
    let session = cx.sessions.get(index)?;
    let is_connected = session.connection().is_some();
    let is_alive = is_connected || !session.server().is_expired(cx.now);
    let owner = session.owner();
    if !is_alive || owner == grant.user_name.as_ref() || grant.owner.as_ref().map(Option::as_ref) == Some(owner) {
        return Some(grant);
    }
    let owner = owner.cloned();
    let Newcomer { connection, client_id, version, clean_start } = newcomer;
    let client = Client { connection, id: client_id, user_name: grant.user_name.as_deref(), version };
    let take_over = TakeOver { client, owner: owner.as_deref(), clean_start, is_connected };
    let id = cx.connections.next_decision(connection);
    match cx.policy.take_over(id, &take_over) {
        Decision::Now(reason_code) => claimed(cx, connection, owner, reason_code, grant),
        Decision::Later => {
            lifecycle::wait(cx, connection, PendingDecision::TakeOver { id, owner, grant });
            None
        }
    }
}

/// The policy has decided whether a client may have the session of this user.
pub(super) fn claimed(
    cx: &mut Context<'_>,
    id: ConnectionId,
    owner: Option<Arc<str>>,
    reason_code: ConnAckReasonCode,
    grant: Grant,
) -> Option<Grant> {
    if reason_code.is_error() {
        lifecycle::refuse_with(cx, id, reason_code);
        return None;
    }
    let mut grant = grant;
    grant.owner = Some(owner);
    Some(grant)
}

/// Lets the connection of a client that is not accepted yet wait: its input is not taken, and no time counts against it.
pub(super) fn hold(cx: &mut Context<'_>, connection: ConnectionId, grant: &mut Grant) {
    if cx.connections.pending_mut(connection).is_none() {
        let decisions = core::mem::take(&mut grant.decisions);
        lifecycle::wait(cx, connection, PendingDecision::Resubscribe { decisions, grant: None });
    }
}

/// The connection waits no more: its decisions go to the grant.
pub(super) fn release(cx: &mut Context<'_>, connection: ConnectionId, grant: Grant) -> Grant {
    let pending = cx.connections.take_pending(connection, |it| matches!(it, PendingDecision::Resubscribe { .. }));
    match pending {
        Some(PendingDecision::Resubscribe { decisions, .. }) => Grant { decisions, ..grant },
        _ => grant,
    }
}

/// The decisions so far: they are with the connection once it has to wait.
fn decisions<'a>(cx: &'a mut Context<'_>, connection: ConnectionId, grant: &'a mut Grant) -> &'a mut Decisions {
    match cx.connections.pending_mut(connection) {
        Some(PendingDecision::Resubscribe { decisions, .. }) => decisions,
        _ => &mut grant.decisions,
    }
}

/// The next stored subscription of a session, with its list and its filter.
fn next_stored(
    cx: &mut Context<'_>,
    index: SessionIndex,
    last: &mut Option<ListId>,
) -> Option<(ListId, Subscriber, Vec<u8>)> {
    let (list, position) = cx.sessions.get(index)?.subscription_behind(*last)?;
    *last = Some(list);
    let (subscriber, filter) = cx.router.stored_subscription(index, list, position)?;
    cx.work().spend_text(filter.len());
    Some((list, subscriber, filter))
}

/// The rights of a user may have changed since its last connection: the policy decides about each stored subscription again.
/// Returns whether it was asked about all.
pub(super) fn ask(
    cx: &mut Context<'_>,
    (index, client_id): (SessionIndex, &str),
    connection: ConnectionId,
    grant: &mut Grant,
    last: &mut Option<ListId>,
) -> bool {
    let client = cx.connections.connecting(connection).and_then(|connecting| connecting.acceptor().client());
    let Some(version) = client.map(|(_, version)| version) else { return true };
    while let Some((_, subscriber, filter)) = next_stored(cx, index, last) {
        if !decisions(cx, connection, grant).is_known(&filter) {
            let id = cx.connections.next_decision(connection);
            let subscription = Subscription {
                filter: TopicFilter::validated(&filter),
                qos: subscriber.options.qos,
                no_local: subscriber.options.no_local,
                retain_as_published: subscriber.options.retain_as_published,
                retain_handling: RetainHandling::DoNotSend,
            };
            let client = Client { connection, id: client_id, user_name: grant.user_name.as_deref(), version };
            let decision = cx.policy.resubscribe(id, client, &subscription);
            cx.work().spend(1);
            match decision {
                Decision::Now(code) => decisions(cx, connection, grant).add(filter, code),
                Decision::Later => {
                    decisions(cx, connection, grant).wait_for(id, filter);
                    hold(cx, connection, grant);
                }
            }
        }
        if cx.work().is_spent() {
            return false;
        }
    }
    true
}

/// Ends the stored subscriptions that are not granted any more, and lowers the QoS of others. A subscription without decision
/// is not granted. Returns whether all are done.
pub(super) fn restrict(
    cx: &mut Context<'_>,
    index: SessionIndex,
    connection: ConnectionId,
    grant: &mut Grant,
    last: &mut Option<ListId>,
    refused: &mut Vec<(Vec<u8>, SubAckReasonCode)>,
) -> bool {
    while let Some((list, _, filter)) = next_stored(cx, index, last) {
        let code = decisions(cx, connection, grant).take(&filter).unwrap_or(SubAckReasonCode::UnspecifiedError);
        if let Err(reason_code) = cx.router.restrict(cx.sessions, index, list, code) {
            refused.push((filter, reason_code));
        }
        cx.work().spend(1);
        if cx.work().is_spent() {
            return false;
        }
    }
    true
}
