//! What the policy decides before a client gets a session that exists: whether the client may have the session of another
//! user, and whether the stored subscriptions go on.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::context::Context;
use super::index::SessionIndex;
use super::lifecycle;
use super::pending_codes::PendingCodes;
use super::pending_decisions::{Grant, PendingDecision};
use super::policy::{Client, ConnectionId, Decision, TakeOver};
use super::router::list_id::ListId;
use super::subscribe;
use crate::codec::{ConnAckReasonCode, RetainHandling, SubAckReasonCode, Subscription, Version};
use crate::topic::TopicFilter;

/// The decisions about all subscriptions of a session, sorted by list.
pub(super) type StoredDecisions = Vec<(ListId, SubAckReasonCode)>;

/// A client that is about to be accepted.
#[derive(Clone, Copy)]
pub(super) struct Newcomer<'a> {
    pub(super) connection: ConnectionId,
    pub(super) client_id: &'a str,
    pub(super) version: Version,
    pub(super) clean_start: bool,
}

/// Asks the policy for the decisions that are still needed before a client gets this session. `None` if the client has been
/// refused, or waits for a decision; [`accept`](super::admission::accept) begins anew then, as the session may have changed
/// meanwhile.
pub(super) fn claim(
    cx: &mut Context<'_>,
    index: SessionIndex,
    newcomer: Newcomer<'_>,
    grant: Grant,
) -> Option<(Grant, StoredDecisions)> {
    let grant = claim_from_owner(cx, index, newcomer, grant)?;
    let session = cx.sessions.get(index)?;
    let is_resumed = !newcomer.clean_start && session.server().outlives_connection(cx.now);
    if !is_resumed || session.subscriptions().is_empty() {
        return Some((grant, Vec::new()));
    }
    claim_subscriptions(cx, index, newcomer, grant)
}

/// A session belongs to the user who has begun it. With Clean Start too, another user would end it.
fn claim_from_owner(cx: &mut Context<'_>, index: SessionIndex, newcomer: Newcomer<'_>, grant: Grant) -> Option<Grant> {
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

/// The rights of a user may have changed since its last connection: the policy decides about each stored subscription again.
fn claim_subscriptions(
    cx: &mut Context<'_>,
    index: SessionIndex,
    newcomer: Newcomer<'_>,
    grant: Grant,
) -> Option<(Grant, StoredDecisions)> {
    let Newcomer { connection, client_id, version, .. } = newcomer;
    let stored = cx.router.stored_subscriptions(index, cx.sessions.get(index)?);
    let mut known = Vec::with_capacity(stored.len());
    let first = cx.connections.next_decisions(connection, stored.len() as u32);
    let (mut filters, mut decisions) = (Vec::new(), PendingCodes::new(first));
    for (list, subscriber, filter) in stored {
        if let Some(code) = grant.decision(&filter) {
            known.push((list, code));
            continue;
        }
        let subscription = Subscription {
            filter: TopicFilter::validated(&filter),
            qos: subscriber.options.qos,
            no_local: subscriber.options.no_local,
            retain_as_published: subscriber.options.retain_as_published,
            retain_handling: RetainHandling::DoNotSend,
        };
        let client = Client { connection, id: client_id, user_name: grant.user_name.as_deref(), version };
        let Some(id) = decisions.next_id() else {
            bug!("the ids of decisions are reserved");
            return None;
        };
        let code = match cx.policy.resubscribe(id, client, &subscription) {
            Decision::Now(code) => {
                known.push((list, code));
                Some(code)
            }
            Decision::Later => None,
        };
        decisions.push(code);
        filters.push(filter);
    }
    if decisions.is_complete() {
        return Some((grant, known));
    }
    lifecycle::wait(cx, connection, PendingDecision::Resubscribe { filters, decisions, grant });
    None
}

/// Ends the stored subscriptions of a resumed session that are not granted any more, and lowers the QoS of others. A
/// subscription without decision is not granted.
pub(super) fn restrict_subscriptions(cx: &mut Context<'_>, index: SessionIndex, decisions: &StoredDecisions) {
    let lists: Vec<_> = cx.sessions.get(index).map_or_else(Vec::new, |session| session.subscriptions().to_vec());
    for (list, _) in lists {
        let at = decisions.binary_search_by_key(&list, |&(list, _)| list);
        let code = at.ok().and_then(|at| decisions.get(at));
        let code = code.map_or(SubAckReasonCode::UnspecifiedError, |&(_, code)| code);
        if let Err((filter, reason_code)) = cx.router.restrict(cx.sessions, index, list, code) {
            subscribe::notify_refused(cx, index, TopicFilter::validated(&filter), reason_code);
        }
    }
}
