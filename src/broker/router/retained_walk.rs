//! Retained messages on their way to a new subscriber, as fast as the subscriber takes them (section 3.3.1.3).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::{IntoIter, Vec};

use super::list_id::ListId;
use super::retained::{Moment, Reference, Retained};
use super::subscribers::Subscriber;
use crate::codec::QoS;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// The retained messages that a session is still to get, for one subscription after the other.
///
/// The walk holds filters, and references to the messages for the first of them. A message that has been replaced or
/// retained since the subscription was made is not part of the walk: it was forwarded then.
#[derive(Clone, Default)]
pub(in crate::broker) struct RetainedWalk(VecDeque<Portion>);

/// The messages for one subscription.
#[derive(Clone)]
struct Portion {
    list: ListId,
    subscriber: Subscriber,
    filter: Box<[u8]>,
    /// Messages that were retained later are not part of the walk.
    until: Moment,
    /// The matching messages from the next one on; `None` until the portions before this one are done.
    found: Option<IntoIter<Reference>>,
    /// Messages that were sent before the matching messages were looked up.
    sent: Vec<Reference>,
}

impl RetainedWalk {
    pub(super) fn push(&mut self, list: ListId, subscriber: Subscriber, filter: TopicFilter<'_>, until: Moment) {
        let filter = filter.without_share().as_bytes().into();
        self.0.push_back(Portion { list, subscriber, filter, until, found: None, sent: Vec::new() });
    }

    /// Applies new options of a subscription to the messages that were requested under the old options.
    pub(super) fn renew(&mut self, list: ListId, subscriber: Subscriber) {
        for portion in self.0.iter_mut().filter(|portion| portion.list == list) {
            portion.subscriber = portion.subscriber.renewed(subscriber);
        }
    }

    /// Removes the messages for a subscription: it has ended, or all its messages are to be sent again.
    pub(super) fn remove(&mut self, list: ListId) {
        self.0.retain(|portion| portion.list != list);
    }

    /// Removes messages of QoS 0 when the connection is over: they do not wait for another one.
    pub(in crate::broker) fn disconnected(&mut self) {
        self.0.retain(|portion| portion.subscriber.options.qos != QoS::AtMostOnce);
    }

    /// The next message, and the subscriber that it is for. Portions without more messages are removed.
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

    /// Takes a message out that is to be sent before its turn; returns the subscribers that it is for.
    pub(super) fn take(&mut self, topic: TopicName<'_>, reference: Reference) -> Vec<Subscriber> {
        let matches = |portion: &&mut Portion| {
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
        let portions = self.0.iter_mut().filter(matches);
        portions.filter_map(|portion| is_to_come(portion).then_some(portion.subscriber)).collect()
    }

    /// Removes the next message: it was sent.
    pub(super) fn advance(&mut self) {
        match self.0.front_mut().and_then(|portion| portion.found.as_mut()) {
            Some(found) => drop(found.next()),
            None => bug!("a walk advances past a message that it has shown"),
        }
    }

    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Voids a reference in a sorted list; returns whether the list had it.
fn void(found: &mut [Reference], reference: Reference) -> bool {
    let known = found.binary_search(&reference).ok().and_then(|position| found.get_mut(position));
    known.map(Reference::void).is_some()
}
