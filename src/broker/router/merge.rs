//! One copy of a message for each session, whatever number of its subscriptions match.

use alloc::vec::Vec;

use super::list_id::ListId;
use super::ordered::OrderedList;
use super::published_by::PublishedBy;
use super::subscribers::{Subscriber, SubscriptionOptions};
use crate::broker::index::SessionIndex;
use crate::broker::session::Session;
use crate::broker::sessions::Sessions;
use crate::codec::SubscriptionIdentifier;
use crate::server::Copies;

/// Merges the matching subscriptions of each session. The buffers are reused to avoid allocations.
#[derive(Debug, Default)]
pub(super) struct Merging {
    /// The number of the message.
    round: u32,
    merged: Vec<Mergee>,
    /// Subscription identifiers, with positions in `merged`.
    identifiers: Vec<(u32, SubscriptionIdentifier)>,
    /// The identifiers of one session.
    own: Vec<SubscriptionIdentifier>,
}

/// The options that result from all matching subscriptions of a session.
#[derive(Debug)]
struct Mergee {
    session: SessionIndex,
    options: SubscriptionOptions,
}

impl Merging {
    /// Gives a message to the subscribers in all these lists, each session one copy; returns how many accepted it.
    pub(super) fn deliver<'t>(
        &mut self,
        sessions: &mut Sessions,
        lists: impl Iterator<Item = (ListId, OrderedList<'t, Subscriber>)>,
        from: PublishedBy,
        copies: &mut Copies<'_>,
        before: &mut dyn FnMut(&mut Sessions, SessionIndex, ListId) -> bool,
    ) -> usize {
        let mut lists = lists;
        // Only groups share a matching filter.
        let Some(first) = lists.next() else { return 0 };
        let Some(second) = lists.next() else {
            return deliver_list(sessions, first.0, first.1, from, copies, before);
        };
        // With the highest QoS and all identifiers [MQTT-3.3.4-2 to MQTT-3.3.4-4].
        self.round = self.round.wrapping_add(1);
        self.merged.clear();
        self.identifiers.clear();
        for (list, subscribers) in [first, second].into_iter().chain(lists) {
            for subscriber in subscribers.runs().flatten() {
                if is_wanted(sessions, subscriber, from) {
                    self.merge(sessions, subscriber, list, before);
                }
            }
        }
        self.identifiers.sort_by_key(|&(position, _)| position);
        let (mut rest, mut count) = (&self.identifiers[..], 0_usize);
        for (position, Mergee { session, options }) in (0_u32..).zip(self.merged.iter()) {
            let (own, others) = rest.split_at(rest.partition_point(|&(of, _)| of == position));
            rest = others;
            self.own.clear();
            self.own.extend(own.iter().map(|&(_, identifier)| identifier));
            count = count.wrapping_add(usize::from(sessions.deliver(*session, copies, *options, &self.own, |_| true)));
        }
        count
    }

    /// Adds a subscription to those of its session.
    fn merge(
        &mut self,
        sessions: &mut Sessions,
        subscriber: &Subscriber,
        list: ListId,
        before: &mut dyn FnMut(&mut Sessions, SessionIndex, ListId) -> bool,
    ) {
        let Subscriber { session, identifier, options } = *subscriber;
        if sessions.get(session).is_some_and(Session::is_walking) && !before(sessions, session, list) {
            return;
        }
        let Some(state) = sessions.get_mut(session) else { return bug!("a subscriber is a session") };
        let (round, position) = state.merged_at();
        let known = self.merged.get_mut(position as usize).filter(|it| round == self.round && it.session == session);
        let position = match known {
            Some(merged) => {
                merged.options.qos = merged.options.qos.max(options.qos);
                merged.options.retain_as_published |= options.retain_as_published;
                position
            }
            None => {
                let position = self.merged.len() as u32;
                state.set_merged_at(self.round, position);
                self.merged.push(Mergee { session, options });
                position
            }
        };
        if let Ok(identifier) = SubscriptionIdentifier::new(identifier) {
            self.identifiers.push((position, identifier));
        }
    }
}

/// Gives a message to the subscribers in one list; returns how many accepted it.
#[inline]
pub(super) fn deliver_list(
    sessions: &mut Sessions,
    list: ListId,
    subscribers: OrderedList<'_, Subscriber>,
    from: PublishedBy,
    copies: &mut Copies<'_>,
    before: &mut dyn FnMut(&mut Sessions, SessionIndex, ListId) -> bool,
) -> usize {
    let mut count = 0_usize;
    for run in subscribers.runs() {
        for subscriber in run {
            if is_wanted(sessions, subscriber, from) {
                let is_delivered =
                    sessions.deliver_one(subscriber, copies, |sessions| before(sessions, subscriber.session, list));
                count = count.wrapping_add(usize::from(is_delivered));
            }
        }
    }
    count
}

/// With No Local a client does not get what it has published itself \[MQTT-3.8.3-3\], nor does the embedding program.
#[inline]
pub(super) fn is_wanted(sessions: &Sessions, subscriber: &Subscriber, from: PublishedBy) -> bool {
    !subscriber.options.no_local
        || match from {
            PublishedBy::Session(index) => index != subscriber.session,
            PublishedBy::Gone => true,
            PublishedBy::Broker => !sessions.get(subscriber.session).is_some_and(Session::is_local),
        }
}

/// The options that result from all matching subscriptions of one session: the highest QoS, and all identifiers
/// \[MQTT-3.3.4-2 to MQTT-3.3.4-4\].
#[derive(Debug, Default)]
pub(super) struct Merged {
    options: Option<SubscriptionOptions>,
    identifiers: Vec<SubscriptionIdentifier>,
}

impl Merged {
    pub(super) fn clear(&mut self) {
        self.options = None;
        self.identifiers.clear();
    }

    /// Adds a subscription.
    pub(super) fn add(&mut self, subscriber: &Subscriber) {
        let Subscriber { identifier, options, .. } = *subscriber;
        let merged = self.options.get_or_insert(options);
        merged.qos = merged.qos.max(options.qos);
        merged.retain_as_published |= options.retain_as_published;
        self.identifiers.extend(SubscriptionIdentifier::new(identifier).ok());
    }

    /// The size on the heap, in bytes.
    pub(super) const fn heap(&self) -> usize {
        self.identifiers.capacity().saturating_mul(core::mem::size_of::<SubscriptionIdentifier>())
    }

    /// The options; `None` without a subscription.
    pub(super) const fn options(&self) -> Option<SubscriptionOptions> {
        self.options
    }

    pub(super) fn identifiers(&self) -> &[SubscriptionIdentifier] {
        &self.identifiers
    }
}
