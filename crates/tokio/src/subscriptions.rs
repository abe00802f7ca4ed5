//! The subscriptions that the server has granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use mqtt_sansio::OwnedOutcome;
use mqtt_sansio::codec::{Packet, PacketBuf, SubscribeProperties, Subscription};

/// The subscriptions that the server has granted, each with the SUBSCRIBE that has requested it.
#[derive(Default)]
pub(crate) struct Subscriptions(BTreeMap<Box<str>, Arc<PacketBuf>>);

impl Subscriptions {
    /// Notes what the server has granted of a request.
    pub(crate) fn subscribed(&mut self, request: &Arc<PacketBuf>, outcome: &OwnedOutcome) {
        let (subscriptions, _) = parts(request);
        for (subscription, code) in subscriptions.iter().zip(outcome.outcome().codes()) {
            let filter = subscription.filter.as_str();
            if code.is_error() {
                continue; // an existing subscription is not changed [MQTT-3.9.3-2]
            }
            self.0.insert(filter.into(), Arc::clone(request));
        }
    }

    /// Notes that filters were unsubscribed. Before 5.0 there are no reason codes; in 5.0 an error is without effect.
    pub(crate) fn unsubscribed(&mut self, request: &PacketBuf, outcome: &OwnedOutcome) {
        let Packet::Unsubscribe(unsubscribe) = request.packet() else { return };
        let mut codes = outcome.outcome().codes();
        for filter in unsubscribe.filters {
            if !codes.next().is_some_and(|code| code.is_error()) {
                self.0.remove(filter.as_str());
            }
        }
    }

    /// Returns the requests to send again for a new session: each one once, with the filters that are still its own.
    pub(crate) fn requests(&self) -> Vec<Arc<PacketBuf>> {
        let mut requests: Vec<Arc<PacketBuf>> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for request in self.0.values() {
            if seen.insert(Arc::as_ptr(request)) {
                requests.push(Arc::clone(request));
            }
        }
        requests
    }

    /// Returns the subscriptions of a request that are still its own, and its properties.
    pub(crate) fn of<'a>(&self, request: &'a Arc<PacketBuf>) -> (Vec<Subscription<'a>>, SubscribeProperties<'a>) {
        let (mut subscriptions, properties) = parts(request);
        subscriptions.retain(|it| self.0.get(it.filter.as_str()).is_some_and(|owner| Arc::ptr_eq(owner, request)));
        (subscriptions, properties)
    }

    /// Removes the subscriptions of a request that the server has refused, or that have failed.
    pub(crate) fn remove(&mut self, request: &Arc<PacketBuf>, filters: &[String], outcome: &OwnedOutcome) {
        let mut codes = outcome.outcome().codes();
        for filter in filters {
            let is_granted = codes.next().is_some_and(|code| !code.is_error());
            if !is_granted && self.0.get(filter.as_str()).is_some_and(|owner| Arc::ptr_eq(owner, request)) {
                self.0.remove(filter.as_str());
            }
        }
    }
}

/// Returns the content of a SUBSCRIBE.
fn parts(request: &PacketBuf) -> (Vec<Subscription<'_>>, SubscribeProperties<'_>) {
    match request.packet() {
        Packet::Subscribe(subscribe) => (subscribe.subscriptions.iter().collect(), subscribe.properties),
        _ => (Vec::new(), SubscribeProperties::default()),
    }
}
