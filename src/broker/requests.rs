//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::vec::Vec;

use super::core::Broker;
use super::hub::Session;
use super::policy::{Decision, Notice, Policy};
use super::questions::{Parked, ParkedPacket};
use super::retained::Reference;
use super::tree::{Place, Subscriber, Terms};
use crate::codec::{
    self, DisconnectReasonCode, PacketId, QoS, RetainHandling, SubAckReasonCode, Subscribe, Subscription,
    SubscriptionIdentifier, UnsubAckReasonCode, Version,
};
use crate::server::{Copies, RequestId, SubscribeRequest, UnsubscribeRequest};
use crate::session::{CommandError, MessageRef};
use crate::topic::{TopicFilter, TopicName};

impl<P: Policy> Broker<P> {
    pub(super) fn receive_subscribe(&mut self, index: u32, request: &SubscribeRequest<'_>) {
        let Some(id) = self.hub.sessions.get(index).and_then(|session| session.connection) else { return };
        let mut first = None;
        let mut codes = Vec::with_capacity(request.subscriptions.len());
        for subscription in request.subscriptions {
            let (ticket, decision) = self.ask(id, |policy, hub, ticket| {
                let session = hub.sessions.get(index);
                let client = session.and_then(|session| Some((session, session.client()?)));
                client.map_or(Decision::Now(SubAckReasonCode::UnspecifiedError), |(session, client)| {
                    policy.subscribe(ticket, client, &session.meant(subscription))
                })
            });
            first.get_or_insert(ticket.number);
            codes.push(match decision {
                Decision::Now(code) => Some(code),
                Decision::Later => None,
            });
        }
        let SubscribeRequest { id: request_id, subscriptions, properties } = *request;
        let subscribe = Subscribe { id: PacketId::MIN, subscriptions, properties };
        let open = codes.iter().filter(|code| code.is_none()).count();
        if open == 0 {
            return self.finish_subscribe(index, request_id, &subscribe, &codes);
        }
        let version = self.hub.sessions.get(index).map_or(Version::V5, |session| session.server.version());
        match ParkedPacket::new(&subscribe.into(), version) {
            Ok(packet) => {
                let first = first.unwrap_or_default();
                self.park(id, Parked::Subscribe { first, packet, request: request_id, codes, open });
            }
            // What was received can be encoded. What is not decided is refused.
            Err(_) => self.finish_subscribe(index, request_id, &subscribe, &codes),
        }
    }

    /// Takes up the subscriptions that are granted, answers, and looks for retained messages.
    pub(super) fn finish_subscribe(
        &mut self,
        index: u32,
        request: RequestId,
        subscribe: &Subscribe<'_>,
        decisions: &[Option<SubAckReasonCode>],
    ) {
        let version = self.hub.sessions.get(index).map_or(Version::V5, |session| session.server.version());
        let identifier = subscribe.properties.subscription_identifier.map_or(0, SubscriptionIdentifier::get);
        let mut codes = Vec::with_capacity(decisions.len());
        let mut added = Vec::new();
        for (subscription, decision) in subscribe.subscriptions.into_iter().zip(decisions) {
            let decision = decision.unwrap_or(SubAckReasonCode::UnspecifiedError);
            let code = match self.subscribe(index, &subscription, decision, identifier) {
                Ok((granted, place, subscriber, is_new)) => {
                    let wants_retained = match subscription.retain_handling {
                        RetainHandling::SendAtSubscribe => true,
                        RetainHandling::SendIfNew => is_new,
                        RetainHandling::DoNotSend => false,
                    };
                    if wants_retained && !place.is_shared() {
                        added.push((place, subscriber, subscription.filter));
                    }
                    granted
                }
                Err(code) => {
                    self.count_refused_subscription(index, subscription.filter, code);
                    code
                }
            };
            // Before 5.0 there is one code for all that goes wrong.
            let is_error = codec::ReasonCode::from(code).is_error();
            codes.push(if is_error && version != Version::V5 { SubAckReasonCode::UnspecifiedError } else { code });
        }
        let answer = self.tell(index, |session, now| session.suback(now, request, &codes));
        self.end_if_too_large(index, answer);
        let until = self.retained.moment();
        for (place, subscriber, filter) in added {
            // The same filter may be twice in a packet: then the subscription may have other options by now.
            let subscriber = self.subscriber(index, place).map_or(subscriber, |current| subscriber.renewed(current));
            if let Some(feed) = self.hub.feed(index) {
                feed.forget(place);
                feed.push(place, subscriber, filter, until);
            }
        }
    }

    /// Counts a subscription that is refused, and tells the policy.
    pub(super) fn count_refused_subscription(
        &mut self,
        index: u32,
        filter: TopicFilter<'_>,
        reason_code: SubAckReasonCode,
    ) {
        let refused = &mut self.hub.counters.subscriptions_refused;
        *refused = refused.wrapping_add(1);
        if let Some(client) = self.hub.sessions.get(index).and_then(Session::client) {
            self.policy.notice(Notice::SubscribeRefused { client, filter: filter.as_str(), reason_code });
        }
    }

    /// The subscription of a session in this list.
    fn subscriber(&self, index: u32, place: Place) -> Option<Subscriber> {
        let session = self.hub.sessions.get(index)?;
        let &(_, position) = session.places.get(session.find(place).ok()?)?;
        self.tree.get(place, position).copied()
    }

    /// Takes up a subscription; with the granted QoS, and whether there was none to the same filter.
    fn subscribe(
        &mut self,
        index: u32,
        subscription: &Subscription<'_>,
        decision: SubAckReasonCode,
        identifier: u32,
    ) -> Result<(SubAckReasonCode, Place, Subscriber, bool), SubAckReasonCode> {
        let allowed = match decision {
            SubAckReasonCode::GrantedQoS0 => QoS::AtMostOnce,
            SubAckReasonCode::GrantedQoS1 => QoS::AtLeastOnce,
            SubAckReasonCode::GrantedQoS2 => QoS::ExactlyOnce,
            error => return Err(error),
        };
        let filter = subscription.filter;
        if self.has_too_many_levels(filter.levels()) {
            return Err(SubAckReasonCode::TopicFilterInvalid);
        }
        // A client of 5.0 that asks for these has been disconnected: it was told [3.1.1: MQTT-3.8.3-2].
        let server = &self.server;
        if !server.shared_subscription_available && filter.share_name().is_some() {
            return Err(SubAckReasonCode::SharedSubscriptionsNotSupported);
        }
        if !server.wildcard_subscription_available && filter.levels().any(|level| matches!(level, b"+" | b"#")) {
            return Err(SubAckReasonCode::WildcardSubscriptionsNotSupported);
        }
        let qos = subscription.qos.min(allowed).min(server.maximum_qos);
        let is_full = self.tree.len() >= self.config.max_subscriptions;
        let known = self.tree.find(filter);
        let Some(session) = self.hub.sessions.get_mut(index) else { return Err(SubAckReasonCode::UnspecifiedError) };
        let subscriber = Subscriber::new(index, &session.meant(Subscription { qos, ..*subscription }), identifier);
        if let Some(place) = known
            && let Ok(at) = session.find(place)
            && let Some(&(_, position)) = session.places.get(at)
        {
            // The same filter again: on new terms, and nothing is lost meanwhile [MQTT-3.8.4-3, MQTT-3.8.4-4].
            self.tree.replace(place, position, subscriber);
            if let Some(feed) = &mut session.feed {
                match subscription.retain_handling {
                    RetainHandling::SendAtSubscribe => feed.forget(place), // all of them come again
                    RetainHandling::SendIfNew | RetainHandling::DoNotSend => feed.renew(place, subscriber),
                }
            }
            return Ok((qos.into(), place, subscriber, false));
        }
        if is_full || session.places.len() >= self.config.max_subscriptions_per_session as usize {
            return Err(SubAckReasonCode::QuotaExceeded);
        }
        let added =
            self.tree.find_or_insert(filter).and_then(|place| Some((place, self.tree.push(place, subscriber)?)));
        let Some((place, position)) = added else { return Err(SubAckReasonCode::QuotaExceeded) };
        let at = session.find(place).unwrap_or_else(|at| at);
        if session.places.is_empty() {
            session.places.reserve_exact(1); // most have one
        }
        session.places.insert(at.min(session.places.len()), (place, position));
        Ok((qos.into(), place, subscriber, true))
    }

    pub(super) fn receive_unsubscribe(&mut self, index: u32, request: &UnsubscribeRequest<'_>) {
        let codes: Vec<_> = request
            .filters
            .into_iter()
            .map(|filter| match self.tree.find(filter) {
                Some(place) if self.unsubscribe(index, place) => UnsubAckReasonCode::Success,
                _ => UnsubAckReasonCode::NoSubscriptionExisted,
            })
            .collect();
        let answer = self.tell(index, |session, now| session.unsuback(now, request.id, &codes));
        self.end_if_too_large(index, answer);
    }

    /// A client that takes no packet as large as the answer to its request cannot go on.
    fn end_if_too_large(&mut self, index: u32, answer: Result<(), CommandError>) {
        if let Err(CommandError::TooLarge { .. }) = answer {
            self.refuse_attached(index, DisconnectReasonCode::PacketTooLarge);
        }
    }

    /// Ends a subscription; whether there was one \[MQTT-3.10.4-1\].
    pub(super) fn unsubscribe(&mut self, index: u32, place: Place) -> bool {
        let Some(session) = self.hub.sessions.get_mut(index) else { return false };
        let Ok(at) = session.find(place) else { return false };
        let (_, position) = session.places.remove(at);
        if let Some(feed) = &mut session.feed {
            feed.forget(place);
        }
        self.remove_subscriber(place, position);
        true
    }

    /// Ends all subscriptions of a session.
    pub(super) fn unsubscribe_all(&mut self, index: u32) {
        self.hub.end_feed(index);
        let Some(session) = self.hub.sessions.get_mut(index) else { return };
        for (place, position) in core::mem::take(&mut session.places) {
            self.remove_subscriber(place, position);
        }
    }

    /// Takes a subscriber out of a list; another one may move to its position, and has to know.
    fn remove_subscriber(&mut self, place: Place, position: u32) {
        if let Some(moved) = self.tree.remove(place, position)
            && let Some(session) = self.hub.sessions.get_mut(moved.session)
            && let Ok(at) = session.find(place)
            && let Some(entry) = session.places.get_mut(at)
        {
            entry.1 = position;
        }
    }

    /// Sends a session the next of the retained messages that it is still to get, if it takes one at once; whether it did.
    pub(super) fn feed(&mut self, index: u32) -> bool {
        let Some(session) = self.hub.sessions.get_mut(index) else { return false };
        let Some(feed) = &mut session.feed else { return false };
        let Some((reference, subscriber)) = feed.peek(&self.retained, self.now) else {
            self.hub.end_feed(index);
            return false;
        };
        if let Some(kept) = self.retained.get(reference) {
            let qos = kept.qos().min(subscriber.terms.qos);
            if !session.server.is_ready_for(qos) || !session.server.has_room_for(qos, kept.len()) {
                return false;
            }
        }
        feed.advance();
        self.send_retained(index, reference, subscriber);
        true
    }

    /// Sends a session a retained message. If it has been replaced or deleted, what came after it was forwarded.
    fn send_retained(&mut self, index: u32, reference: Reference, subscriber: Subscriber) {
        let own = self.publisher(index);
        let Some(kept) = self.retained.get(reference).filter(|kept| !kept.is_expired(self.now)) else { return };
        if subscriber.terms.no_local && kept.publisher() == own {
            return; // what a client has published itself is not for it, retained or not [MQTT-3.8.3-3]
        }
        let Some((publish, shared, left)) = kept.publish(self.now) else { return };
        // It is sent as a retained one, whatever the subscriber has asked for [3.1.1: MQTT-3.3.1-8].
        let terms = Terms { retain_as_published: true, ..subscriber.terms };
        let publish = MessageRef { retain: true, ..publish };
        let payloads = &self.hub.payloads;
        let mut copies = Copies::new(self.now, publish, shared.cloned(), left, payloads, &mut self.scratch.encoded);
        self.hub.deliver_to(&Subscriber { terms, ..subscriber }, &mut copies);
    }

    /// A message is about to be forwarded to these sessions. Those that are still to get the retained one of its topic get
    /// that first, so that an older message never comes after a newer one \[MQTT-4.6.0-6\].
    pub(super) fn send_retained_first(&mut self, topic: TopicName<'_>, sessions: &[u32]) {
        let Some(reference) = self.retained.find(topic) else { return };
        for &index in sessions {
            let feed = self.hub.sessions.get_mut(index).and_then(|session| session.feed.as_mut());
            for subscriber in feed.map(|feed| feed.take(topic, reference)).unwrap_or_default() {
                self.send_retained(index, reference, subscriber);
            }
        }
    }
}
