//! Retained messages on their way to a new subscriber, as fast as it takes them (section 3.3.1.3).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::IntoIter;

use super::retained::{Moment, Reference, Retained};
use super::tree::{Place, Subscriber};
use crate::codec::QoS;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// What a session is still to get, for one subscription after the other.
///
/// Only filters are kept, and references to the messages for the first of them. A message that has been replaced meanwhile
/// has been forwarded meanwhile, and so has one that was retained later.
#[derive(Clone, Default)]
pub(super) struct Feed(VecDeque<Portion>);

/// The messages for one subscription.
#[derive(Clone)]
struct Portion {
    place: Place,
    subscriber: Subscriber,
    filter: Box<[u8]>,
    /// The messages that had been retained when it was subscribed to.
    until: Moment,
    /// Those of them that fit, from the next one on; not looked for yet as long as others come first.
    found: Option<IntoIter<Reference>>,
}

impl Feed {
    pub(super) fn push(&mut self, place: Place, subscriber: Subscriber, filter: TopicFilter<'_>, until: Moment) {
        let filter = filter.without_share().as_bytes().into();
        self.0.push_back(Portion { place, subscriber, filter, until, found: None });
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

    /// The next message, and for whom. What has no more messages is forgotten.
    pub(super) fn peek(&mut self, retained: &Retained, now: Instant) -> Option<(Reference, Subscriber)> {
        loop {
            let portion = self.0.front_mut()?;
            let found = portion.found.get_or_insert_with(|| {
                retained.find_matches(TopicFilter::validated(&portion.filter), portion.until, now).into_iter()
            });
            match found.as_slice().first() {
                Some(&reference) => return Some((reference, portion.subscriber)),
                None => drop(self.0.pop_front()),
            }
        }
    }

    /// That one is done with.
    pub(super) fn advance(&mut self) {
        if let Some(found) = self.0.front_mut().and_then(|portion| portion.found.as_mut()) {
            found.next();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
