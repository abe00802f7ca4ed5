//! What the policy is asked before a client gets a session that exists: whether it may have the session of another user,
//! and whether the stored subscriptions go on.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::core::Broker;
use super::policy::{Client, ConnectionId, Decision, Policy, TakeOver, Ticket};
use super::questions::Parked;
use super::tree::Place;
use crate::codec::{ConnAckReasonCode, QoS, RetainHandling, SubAckReasonCode, Subscription, Version};
use crate::server::Accept;
use crate::topic::TopicFilter;

/// A client that the policy has accepted, and what the policy has decided about the session that the client would get.
pub(super) struct Grant {
    pub(super) accept: Accept,
    /// The user that the client is accepted as.
    pub(super) user_name: Option<Arc<str>>,
    /// The user whose session the client may have, if the policy has said so of one.
    owner: Option<Option<Arc<str>>>,
    /// The decisions about stored subscriptions, by filter.
    subscriptions: Vec<(Vec<u8>, SubAckReasonCode)>,
}

/// A stored subscription that the policy is asked about, and its decision.
pub(super) type Asked = (Vec<u8>, Option<SubAckReasonCode>);

/// The decisions about all subscriptions of a session, in the order of their places.
pub(super) type Decided = Vec<(Place, SubAckReasonCode)>;

impl Grant {
    pub(super) const fn new(accept: Accept, user_name: Option<Arc<str>>) -> Self {
        Self { accept, user_name, owner: None, subscriptions: Vec::new() }
    }

    fn decision(&self, filter: &[u8]) -> Option<SubAckReasonCode> {
        let find = self.subscriptions.binary_search_by(|(of, _)| (**of).cmp(filter));
        find.ok().and_then(|at| self.subscriptions.get(at)).map(|&(_, code)| code)
    }
}

/// The client that waits to be accepted.
#[derive(Clone, Copy)]
pub(super) struct Newcomer<'a> {
    pub(super) connection: ConnectionId,
    pub(super) client_id: &'a str,
    pub(super) version: Version,
    pub(super) clean_start: bool,
}

impl<P: Policy> Broker<P> {
    /// Asks what is still to be asked before a client gets this session. `None` if the client has been refused, or waits
    /// for an answer; [`accept`](Self::accept) begins anew then, as the session may have changed meanwhile.
    pub(super) fn claim(&mut self, index: u32, newcomer: Newcomer<'_>, grant: Grant) -> Option<(Grant, Decided)> {
        let grant = self.claim_from_owner(index, newcomer, grant)?;
        let session = self.hub.sessions.get(index)?;
        if newcomer.clean_start || !session.server.outlives_connection(self.now) {
            return Some((grant, Vec::new()));
        }
        self.claim_subscriptions(index, newcomer, grant)
    }

    /// A session belongs to the user who has begun it. With Clean Start too, another user would end it.
    fn claim_from_owner(&mut self, index: u32, newcomer: Newcomer<'_>, grant: Grant) -> Option<Grant> {
        let session = self.hub.sessions.get(index)?;
        let is_connected = session.connection.is_some();
        let is_alive = is_connected || !session.server.is_expired(self.now);
        if !is_alive || session.owner == grant.user_name || grant.owner.as_ref() == Some(&session.owner) {
            return Some(grant);
        }
        let owner = session.owner.clone();
        let Newcomer { connection, client_id, version, clean_start } = newcomer;
        let client = Client { connection, id: client_id, user_name: grant.user_name.as_deref(), version };
        let take_over = TakeOver { client, owner: owner.as_deref(), clean_start, is_connected };
        match self.ask(connection, |policy, _, ticket| policy.take_over(ticket, &take_over)) {
            (_, Decision::Now(reason_code)) => self.claimed(connection, owner, reason_code, grant),
            (Ticket { number, .. }, Decision::Later) => {
                self.park(connection, Parked::TakeOver { number, owner, grant });
                None
            }
        }
    }

    /// Whether a client may have the session of this user is known.
    pub(super) fn claimed(
        &mut self,
        id: ConnectionId,
        owner: Option<Arc<str>>,
        reason_code: ConnAckReasonCode,
        grant: Grant,
    ) -> Option<Grant> {
        if reason_code.is_error() {
            self.refuse(id, &reason_code.into_refusal());
            return None;
        }
        Some(Grant { owner: Some(owner), ..grant })
    }

    /// The rights of a user may have changed since its last connection: each stored subscription is asked for again.
    fn claim_subscriptions(&mut self, index: u32, newcomer: Newcomer<'_>, grant: Grant) -> Option<(Grant, Decided)> {
        let Newcomer { connection, client_id, version, .. } = newcomer;
        let places: Vec<_> = self.hub.sessions.get(index)?.places.clone();
        let mut decided = Vec::with_capacity(places.len());
        let (mut asked, mut first, mut open) = (Vec::new(), None, 0_usize);
        for (place, position) in places {
            let Some(&subscriber) = self.tree.get(place, position) else { continue };
            let filter = self.tree.filter(place);
            if let Some(code) = grant.decision(&filter) {
                decided.push((place, code));
                continue;
            }
            let subscription = Subscription {
                filter: TopicFilter::validated(&filter),
                qos: subscriber.terms.qos,
                no_local: subscriber.terms.no_local,
                retain_as_published: subscriber.terms.retain_as_published,
                retain_handling: RetainHandling::DoNotSend,
            };
            let client = Client { connection, id: client_id, user_name: grant.user_name.as_deref(), version };
            let (ticket, decision) =
                self.ask(connection, |policy, _, ticket| policy.resubscribe(ticket, client, &subscription));
            first.get_or_insert(ticket.number);
            let code = match decision {
                Decision::Now(code) => {
                    decided.push((place, code));
                    Some(code)
                }
                Decision::Later => {
                    open = open.saturating_add(1);
                    None
                }
            };
            asked.push((filter, code));
        }
        if open == 0 {
            return Some((grant, decided));
        }
        let first = first.unwrap_or_default();
        self.park(connection, Parked::Resubscribe { first, asked, open, grant });
        None
    }

    /// All stored subscriptions that were asked about are decided.
    pub(super) fn resubscribed(&mut self, id: ConnectionId, asked: Vec<Asked>, grant: Grant) {
        let mut grant = grant;
        let decided = asked.into_iter().filter_map(|(filter, code)| code.map(|code| (filter, code)));
        grant.subscriptions.extend(decided);
        grant.subscriptions.sort();
        self.accept(id, grant);
    }

    /// Ends the stored subscriptions of a resumed session that are not granted any more, and lowers the QoS of others. One
    /// without a decision is not granted.
    pub(super) fn restrict_subscriptions(&mut self, index: u32, decided: &Decided) {
        let Some(session) = self.hub.sessions.get(index) else { return };
        for (place, _) in session.places.clone() {
            let at = decided.binary_search_by_key(&place, |&(place, _)| place);
            let code = at.ok().and_then(|at| decided.get(at));
            let allowed = match code.map_or(SubAckReasonCode::UnspecifiedError, |&(_, code)| code) {
                SubAckReasonCode::GrantedQoS0 => QoS::AtMostOnce,
                SubAckReasonCode::GrantedQoS1 => QoS::AtLeastOnce,
                SubAckReasonCode::GrantedQoS2 => continue,
                reason_code => {
                    let filter = self.tree.filter(place);
                    self.unsubscribe(index, place);
                    self.count_refused_subscription(index, TopicFilter::validated(&filter), reason_code);
                    continue;
                }
            };
            self.lower_qos(index, place, allowed);
        }
    }

    fn lower_qos(&mut self, index: u32, place: Place, allowed: QoS) {
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        let Some(&(_, position)) = session.find(place).ok().and_then(|at| session.places.get(at)) else { return };
        let Some(&(mut subscriber)) = self.tree.get(place, position) else { return };
        if subscriber.terms.qos > allowed {
            subscriber.terms.qos = allowed;
            self.tree.replace(place, position, subscriber);
            if let Some(feed) = &mut session.feed {
                feed.renew(place, subscriber);
            }
        }
    }
}
