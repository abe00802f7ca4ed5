//! Retained messages on their way to a new subscriber, as fast as it takes them (section 3.3.1.3).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::{IntoIter, Vec};

use super::retained::{Moment, Reference, Retained};
use super::tree::{Place, Subscriber};
use crate::codec::QoS;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

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
    /// Messages that were sent before they were looked for.
    sent: Vec<Reference>,
}

impl Feed {
    pub(super) fn push(&mut self, place: Place, subscriber: Subscriber, filter: TopicFilter<'_>, until: Moment) {
        let filter = filter.without_share().as_bytes().into();
        self.0.push_back(Portion { place, subscriber, filter, until, found: None, sent: Vec::new() });
    }

    /// The subscription has new options, and what the old ones have asked for is still to come.
    pub(super) fn renew(&mut self, place: Place, subscriber: Subscriber) {
        for portion in self.0.iter_mut().filter(|portion| portion.place == place) {
            portion.subscriber = portion.subscriber.renewed(subscriber);
        }
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
            let sent = &mut portion.sent;
            let found = portion.found.get_or_insert_with(|| {
                let mut found = retained.find_matches(TopicFilter::validated(&portion.filter), portion.until, now);
                for reference in core::mem::take(sent) {
                    void(&mut found, reference);
                }
                found.into_iter()
            });
            match found.as_slice().first() {
                Some(&reference) => return Some((reference, portion.subscriber)),
                None => drop(self.0.pop_front()),
            }
        }
    }

    /// A message that is still to come is to be sent now, before its turn: for whom.
    pub(super) fn take(&mut self, topic: TopicName<'_>, reference: Reference) -> Vec<Subscriber> {
        let fits = |portion: &&mut Portion| {
            reference.is_of(portion.until) && TopicFilter::validated(&portion.filter).matches(topic)
        };
        let is_to_come = |portion: &mut Portion| match &mut portion.found {
            Some(found) => void(found.as_mut_slice(), reference),
            None if portion.sent.contains(&reference) => false,
            None => {
                portion.sent.push(reference);
                true
            }
        };
        let portions = self.0.iter_mut().filter(fits);
        portions.filter_map(|portion| is_to_come(portion).then_some(portion.subscriber)).collect()
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

/// Takes a message out of those that are still to come; whether it was among them.
fn void(found: &mut [Reference], reference: Reference) -> bool {
    let place = found.binary_search(&reference).ok().and_then(|place| found.get_mut(place));
    place.map(Reference::void).is_some()
}
