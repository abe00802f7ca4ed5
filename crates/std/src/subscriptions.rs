//! The subscriptions of a session, to subscribe again when the server has lost it.

use std::collections::VecDeque;

use mqtt_sansio::client::{ClientSession, SubscribeError};
use mqtt_sansio::codec::{RetainHandling, SubscribeProperties, Subscription, SubscriptionIdentifier};
use mqtt_sansio::{Instant, Outcome, QoS, Token, TopicFilter};

/// The requests whose subscriptions the server has granted, without those that were unsubscribed or replaced.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    granted: Vec<Request>,
    /// The requests that are to be sent again, because the session is new.
    due: VecDeque<Request>,
}

/// A SUBSCRIBE. Each request is sent again by itself, since a subscription identifier belongs to all of its filters, and
/// since the server has accepted a packet of this size before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    subscriptions: Vec<OwnedSubscription>,
    identifier: Option<SubscriptionIdentifier>,
}

#[derive(Clone, Debug)]
struct OwnedSubscription {
    filter: String,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: RetainHandling,
}

impl Request {
    pub(crate) fn new(subscriptions: &[Subscription<'_>], identifier: Option<SubscriptionIdentifier>) -> Self {
        let subscriptions = subscriptions.iter().map(|it| OwnedSubscription {
            filter: it.filter.as_str().into(),
            qos: it.qos,
            no_local: it.no_local,
            retain_as_published: it.retain_as_published,
            retain_handling: it.retain_handling,
        });
        Self { subscriptions: subscriptions.collect(), identifier }
    }

    pub(crate) fn send(&self, now: Instant, session: &mut ClientSession) -> Result<Token, SubscribeError> {
        let subscriptions: Vec<_> = self.subscriptions.iter().filter_map(OwnedSubscription::borrow).collect();
        let properties =
            SubscribeProperties { subscription_identifier: self.identifier, ..SubscribeProperties::default() };
        session.subscribe_with(now, &subscriptions, &properties)
    }
}

impl OwnedSubscription {
    /// Returns the subscription, whose filter was checked when the request was made.
    fn borrow(&self) -> Option<Subscription<'_>> {
        let Self { filter, qos, no_local, retain_as_published, retain_handling } = self;
        Some(Subscription {
            filter: TopicFilter::new(filter).ok()?,
            qos: *qos,
            no_local: *no_local,
            retain_as_published: *retain_as_published,
            retain_handling: *retain_handling,
        })
    }
}

impl Subscriptions {
    /// Adds a request that is sent again for the next session that is lost.
    pub(crate) fn keep(&mut self, request: Request) {
        self.granted.push(request);
    }

    /// Adds the subscriptions of this request that the server has granted.
    pub(crate) fn answered(&mut self, mut request: Request, outcome: &Outcome<'_>) {
        let Outcome::Subscribed { reason_codes, .. } = outcome else { return };
        for subscription in &request.subscriptions {
            self.remove(&subscription.filter);
        }
        let mut codes = reason_codes.iter();
        request.subscriptions.retain(|_| codes.next().is_some_and(|code| !code.is_error()));
        if !request.subscriptions.is_empty() {
            self.granted.push(request);
        }
    }

    /// Removes these filters. The server has answered UNSUBSCRIBE: whether it had a subscription or not, there is none.
    pub(crate) fn unsubscribed(&mut self, filters: &[String]) {
        filters.iter().for_each(|filter| self.remove(filter));
    }

    fn remove(&mut self, filter: &str) {
        for request in self.granted.iter_mut().chain(&mut self.due) {
            request.subscriptions.retain(|subscription| subscription.filter != filter);
        }
        self.granted.retain(|request| !request.subscriptions.is_empty());
        self.due.retain(|request| !request.subscriptions.is_empty());
    }

    /// Notes that the session is new: all requests are to be sent again.
    pub(crate) fn renew(&mut self) {
        self.due.extend(self.granted.drain(..));
    }

    /// Removes and returns the next request that is to be sent again.
    pub(crate) fn take_due(&mut self) -> Option<Request> {
        self.due.pop_front()
    }

    /// Puts back a request that cannot be sent yet.
    pub(crate) fn put_back(&mut self, request: Request) {
        self.due.push_front(request);
    }
}
