//! Retained messages on their way to a new subscriber, as fast as it takes them (section 3.3.1.3).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::retained::Reference;
use super::tree::{Place, Subscriber};
use crate::codec::QoS;

/// What a session is still to get, for one subscription after the other. Only references are kept: a message that has been
/// replaced meanwhile has been forwarded meanwhile.
#[derive(Clone, Default)]
pub(super) struct Feed(VecDeque<Portion>);

/// The messages for one subscription.
#[derive(Clone)]
struct Portion {
    place: Place,
    subscriber: Subscriber,
    found: Vec<Reference>,
    next: usize,
}

impl Feed {
    pub(super) fn push(&mut self, place: Place, subscriber: Subscriber, found: Vec<Reference>) {
        self.0.push_back(Portion { place, subscriber, found, next: 0 });
    }

    /// The subscription has new terms.
    pub(super) fn renew(&mut self, place: Place, subscriber: Subscriber) {
        self.0.iter_mut().filter(|portion| portion.place == place).for_each(|portion| portion.subscriber = subscriber);
    }

    /// The subscription is gone, or all its messages are to be sent again.
    pub(super) fn forget(&mut self, place: Place) {
        self.0.retain(|portion| portion.place != place);
    }

    /// The connection is gone: messages of QoS 0 do not wait for another one.
    pub(super) fn disconnected(&mut self) {
        self.0.retain(|portion| portion.subscriber.terms.qos != QoS::AtMostOnce);
    }

    /// The next message, and for whom.
    pub(super) fn peek(&self) -> Option<(Reference, Subscriber)> {
        let portion = self.0.front()?;
        portion.found.get(portion.next).map(|&reference| (reference, portion.subscriber))
    }

    /// That one is done with.
    pub(super) fn advance(&mut self) {
        if let Some(portion) = self.0.front_mut() {
            portion.next = portion.next.saturating_add(1);
            if portion.next >= portion.found.len() {
                self.0.pop_front();
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
