//! Retained messages on their way to a new subscriber, as fast as the subscriber takes them (section 3.3.1.3).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::list_id::ListId;
use super::retained::{Moment, Pattern, Position, Reference, Retained, Step};
use super::subscribers::Subscriber;
use super::trie::NodeId;
use crate::codec::QoS;
use crate::heap_size;

/// The retained messages that a session is still to get, for one subscription after the other.
///
/// The walk holds subscriptions, and a position among the topics for the first of them; no list of messages. A message that
/// has been replaced or retained since the subscription was made is not part of the walk: it was forwarded then.
#[derive(Clone, Default)]
pub(in crate::broker) struct RetainedWalk {
    portions: BTreeMap<ListId, Portion>,
    /// The lists of the portions, in the order of their numbers.
    in_order: BTreeMap<u64, ListId>,
    last_number: u64,
    /// The position in the first portion; `None` before its first step.
    current: Option<Box<Current>>,
    /// Number of connections that the session has lost during the walk.
    connection: u32,
    /// Whether the walk waits for the answer to a SUBSCRIBE.
    is_held: bool,
    /// Whether a job goes on with the walk.
    has_job: bool,
    /// QoS and size of the next message, which the session did not take.
    waiting_for: Option<(QoS, usize)>,
    /// Messages that were sent, or are to be, while they are still on their way to those who were subscribed when they came:
    /// they must not come again, so the walk does not end before they have gone to all.
    early: BTreeSet<(ListId, Reference)>,
    /// The number of the message that the walk waits for, until that has gone to all.
    message: Option<u64>,
    /// Number of entries in `early`, and in `sent` of all portions.
    sent: usize,
    /// Of a walk that was restored: see [`set_given`](Self::set_given).
    given: Box<[(u64, QoS)]>,
}

/// The messages for one subscription.
#[derive(Clone)]
struct Portion {
    number: u64,
    subscriber: Subscriber,
    /// Messages that were retained later are not part of the walk.
    until: Moment,
    /// Whether the subscription is newer than all messages that are on their way: those do not come by themselves.
    is_new: bool,
    /// The connection that the messages were requested on. Those of QoS 0 do not wait for another.
    connection: u32,
    /// Nodes ahead of the walk whose messages were sent before their turn.
    sent: BTreeSet<NodeId>,
    /// What a durable broker stores of the walk; 0 in others.
    mark: u64,
    /// Whether the walk was begun by the process before, and the session may have some of the messages already.
    is_restored: bool,
}

/// The messages that a walk is over, for one subscription.
pub(super) struct Extent {
    /// Messages that were retained later are not part of the walk.
    pub(super) until: Moment,
    /// The number in the store of a durable broker that messages had to be below; 0 in others.
    pub(super) mark: u64,
    /// Whether the subscription is newer than all messages that are on their way.
    pub(super) is_new: bool,
    /// Whether the walk was begun by the process before.
    pub(super) is_restored: bool,
}

#[derive(Clone)]
struct Current {
    list: ListId,
    pattern: Pattern,
    position: Position,
    /// The node that is pinned for the walk.
    pinned: Option<NodeId>,
}

/// Maximum number of messages that are sent before their turn.
const MAX_SENT: usize = 10_000;

/// What a walk meets in a step.
pub(super) enum Met {
    /// Nothing yet; a text of so many bytes and levels was read.
    Nothing { bytes: usize, levels: usize },
    /// A message that is to be sent now, and the list and the subscriber that it is for.
    Message(ListId, Reference, Subscriber),
    /// A message that is still on its way to those who were subscribed when it came, by its number: the walk waits until it
    /// has gone to all.
    Spreading(u64),
    /// Nothing before SUBACK.
    Held,
    /// The end of the messages for the subscription to a list, which has a mark in the store.
    Complete(ListId),
    /// The walk is at its end.
    End,
}

/// Whether a retained message is to be sent before its turn, because a newer message of its topic is about to be sent.
pub(super) enum First {
    /// It is not part of the walk.
    No,
    /// It was sent already.
    Sent,
    /// It is to be sent now, to this subscriber, and counts as sent.
    Now(Subscriber),
    /// So many were sent before their turn that no more can be remembered.
    Full,
}

impl RetainedWalk {
    /// The size on the heap, in bytes, with the box of the walk itself.
    pub(in crate::broker) fn heap(&self) -> usize {
        let portions = heap_size::tree(self.portions.len(), core::mem::size_of::<(ListId, Portion)>());
        let in_order = heap_size::tree(self.in_order.len(), core::mem::size_of::<(u64, ListId)>());
        let sent = heap_size::tree(self.sent, core::mem::size_of::<NodeId>());
        let current = self.current.as_ref();
        let current = current.map_or(0, |it| it.pattern.heap().saturating_add(core::mem::size_of::<Current>()));
        let given = core::mem::size_of_val(&*self.given);
        let parts = [portions, in_order, sent, current, given];
        parts.into_iter().fold(core::mem::size_of::<Self>(), usize::saturating_add)
    }

    /// Adds a subscription, which is new, or was made again, or restored.
    pub(super) fn push(&mut self, list: ListId, subscriber: Subscriber, extent: Extent) {
        self.last_number = self.last_number.saturating_add(1);
        let number = self.last_number;
        self.in_order.insert(number, list);
        self.message = None;
        let connection = self.connection;
        let Extent { until, mark, is_new, is_restored } = extent;
        let sent = BTreeSet::new();
        let portion = Portion { number, subscriber, until, is_new, connection, sent, mark, is_restored };
        if self.portions.insert(list, portion).is_some() {
            bug!("a subscription is in a walk once");
        }
    }

    /// Sets which messages the session has by deliveries that were restored, with their RETAIN flags set: the numbers of the
    /// messages in the store, and the QoS of the deliveries. Subscriptions that were restored do not send these again.
    pub(in crate::broker) fn set_given(&mut self, given: Vec<(u64, QoS)>) {
        let mut given = given;
        given.sort_unstable();
        self.given = given.into_boxed_slice();
    }

    /// Applies new options of a subscription to the messages that were requested under the old options. Returns the mark to
    /// store with the subscription, or 0.
    pub(super) fn renew(&mut self, retained: &mut Retained, list: ListId, subscriber: Subscriber) -> u64 {
        let Some(portion) = self.portions.get_mut(&list) else { return 0 };
        if portion.is_over(self.connection) {
            self.remove(retained, list);
            return 0;
        }
        portion.subscriber = portion.subscriber.renewed(subscriber);
        portion.mark()
    }

    /// Removes the messages for a subscription: it has ended, or all its messages are to be sent again. `None` if
    /// there was no such subscription.
    pub(super) fn remove(&mut self, retained: &mut Retained, list: ListId) -> Option<()> {
        let portion = self.portions.remove(&list)?;
        self.in_order.remove(&portion.number);
        self.sent = self.sent.saturating_sub(portion.sent.len());
        if let Some(current) = self.current.take_if(|current| current.list == list)
            && let Some(node) = current.pinned
        {
            retained.unpin(node);
        }
        Some(())
    }

    /// Removes the first of the subscriptions; returns whether there was one.
    pub(super) fn remove_first(&mut self, retained: &mut Retained) -> bool {
        let first = self.in_order.first_key_value().map(|(_, &list)| list);
        first.is_some_and(|list| self.remove(retained, list).is_some())
    }

    /// The connection is over: messages of QoS 0 do not wait for another.
    pub(in crate::broker) const fn disconnected(&mut self) {
        self.waiting_for = None;
        self.connection = self.connection.wrapping_add(1);
    }

    /// Lets the walk wait for the answer to a SUBSCRIBE, or go on.
    pub(in crate::broker) const fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Notes whether a job goes on with the walk; returns whether one did.
    pub(in crate::broker) const fn set_job(&mut self, has_job: bool) -> bool {
        core::mem::replace(&mut self.has_job, has_job)
    }

    /// QoS and size of the next message, which the session did not take.
    pub(in crate::broker) const fn waiting_for(&self) -> Option<(QoS, usize)> {
        self.waiting_for
    }

    pub(super) const fn set_waiting_for(&mut self, message: Option<(QoS, usize)>) {
        self.waiting_for = message;
    }

    /// The number of the message that the walk waits for, until that has gone to all.
    pub(in crate::broker) const fn message(&self) -> Option<u64> {
        self.message
    }

    /// Lets the walk wait for a message to go to all, or go on.
    pub(in crate::broker) const fn set_message(&mut self, number: Option<u64>) {
        self.message = number;
    }

    /// Whether the walk waits for the answer to a SUBSCRIBE.
    pub(in crate::broker) const fn is_held(&self) -> bool {
        self.is_held
    }

    /// Goes one step on. `filter` returns the filter of a list.
    pub(super) fn step(&mut self, retained: &mut Retained, filter: impl FnOnce(ListId) -> Vec<u8>) -> Met {
        self.waiting_for = None;
        let Some((_, &list)) = self.in_order.first_key_value() else { return self.step_early(retained) };
        if self.is_held {
            return Met::Held;
        }
        let Some(portion) = self.portions.get_mut(&list) else {
            bug!("a walk has the portions that are in order");
            return Met::End;
        };
        let nothing = Met::Nothing { bytes: 0, levels: 0 };
        if portion.is_over(self.connection) {
            self.remove(retained, list);
            return nothing;
        }
        if self.current.as_ref().is_none_or(|current| current.list != list) {
            let pattern = retained.pattern(filter(list));
            let (bytes, levels) = pattern.size();
            self.current = Some(Box::new(Current { list, pattern, position: Position::START, pinned: None }));
            return Met::Nothing { bytes: bytes.saturating_mul(2), levels }; // the filter is put together, and hashed
        }
        let Some(current) = self.current.as_deref_mut() else { return nothing };
        match retained.step(&current.pattern, &mut current.position) {
            Step::Moved { bytes } => Met::Nothing { bytes, levels: 0 },
            Step::End => {
                let has_mark = portion.mark() != 0;
                self.remove(retained, list);
                if has_mark { Met::Complete(list) } else { nothing }
            }
            Step::Message(reference) => {
                let was_sent = portion.sent.remove(&reference.node());
                self.sent = self.sent.saturating_sub(usize::from(was_sent));
                if !reference.is_of(portion.until) {
                    current.position.pass();
                    return nothing;
                }
                let (subscriber, is_new) = (portion.subscriber, portion.is_new);
                if was_sent || portion.was_given(&self.given, retained, reference) {
                    self.pass(retained, list, reference);
                    return nothing;
                }
                // For a new subscription the message need not wait: others may be slow. But it does not come by itself then. A
                // subscription that is older than the message gets it by itself first, without RETAIN [3.1.1: MQTT-3.3.1-9].
                if let Some(number) = retained.spreading(reference)
                    && !self.early.contains(&(list, reference))
                    && (!is_new || self.sent >= MAX_SENT)
                {
                    return Met::Spreading(number);
                }
                Met::Message(list, reference, subscriber)
            }
        }
    }

    /// Behind the last subscription: takes a message out that has gone to all by now.
    fn step_early(&mut self, retained: &Retained) -> Met {
        let Some(&first) = self.early.first() else { return Met::End };
        match retained.spreading(first.1) {
            Some(number) => Met::Spreading(number),
            None => {
                self.early.remove(&first);
                self.sent = self.sent.saturating_sub(1);
                Met::Nothing { bytes: 0, levels: 0 }
            }
        }
    }

    /// The message that was met for a subscription was sent. If it is still on its way to others, it does not come by itself.
    pub(super) fn pass(&mut self, retained: &Retained, list: ListId, reference: Reference) {
        if retained.spreading(reference).is_some() && self.early.insert((list, reference)) {
            self.sent = self.sent.saturating_add(1);
        }
        match self.current.as_deref_mut() {
            Some(current) => current.position.pass(),
            None => bug!("a walk goes on behind a message that it has met"),
        }
    }

    /// The walk waits: the node where it stands stays.
    pub(super) fn pin(&mut self, retained: &mut Retained) {
        let Some(current) = self.current.as_deref_mut() else { return };
        let node = current.position.node();
        if current.pinned != Some(node) {
            retained.pin(node);
            if let Some(old) = current.pinned.replace(node) {
                retained.unpin(old);
            }
        }
    }

    /// The node that is pinned for the walk.
    pub(super) fn pinned(&self) -> Option<NodeId> {
        self.current.as_deref()?.pinned
    }

    /// A newer message of the topic of a retained one is about to be sent for a subscription: takes the retained one out of
    /// the walk if it is still to be sent for that subscription.
    pub(super) fn take(&mut self, retained: &Retained, list: ListId, reference: Reference) -> First {
        if self.early.contains(&(list, reference)) {
            return First::Sent;
        }
        let Some(portion) = self.portions.get_mut(&list) else { return First::No };
        if !reference.is_of(portion.until) || portion.is_over(self.connection) {
            return First::No;
        }
        let position = self.current.as_deref().filter(|current| current.list == list).map(|current| current.position);
        if position.is_some_and(|position| retained.is_passed(reference.node(), &position))
            || portion.sent.contains(&reference.node())
            || portion.was_given(&self.given, retained, reference)
        {
            return First::Sent;
        }
        if self.sent >= MAX_SENT {
            return First::Full;
        }
        portion.sent.insert(reference.node());
        self.sent = self.sent.saturating_add(1);
        First::Now(portion.subscriber)
    }
}

impl Portion {
    /// The mark to store with the subscription; 0 if no message has to come after a crash.
    const fn mark(&self) -> u64 {
        if matches!(self.subscriber.options.qos, QoS::AtMostOnce) { 0 } else { self.mark }
    }

    /// Whether the session has a message by a delivery that was restored, of the QoS that it would get now at least.
    fn was_given(&self, given: &[(u64, QoS)], retained: &Retained, reference: Reference) -> bool {
        if !self.is_restored {
            return false;
        }
        let Some(message) = retained.get(reference) else { return false };
        let qos = message.qos().min(self.subscriber.options.qos);
        let behind = given.partition_point(|it| *it <= (message.number(), QoS::ExactlyOnce));
        let best = behind.checked_sub(1).and_then(|last| given.get(last));
        best.is_some_and(|&(number, given)| number == message.number() && given >= qos)
    }

    /// Whether the messages are to be sent no more, because the connection that they were requested on is over.
    fn is_over(&self, connection: u32) -> bool {
        self.connection != connection && self.subscriber.options.qos == QoS::AtMostOnce
    }
}
