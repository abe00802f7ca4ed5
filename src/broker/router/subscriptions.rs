//! Subscriptions begin, change and end.

use alloc::vec::Vec;

use super::Router;
use super::list_id::ListId;
use super::retained::Moment;
use super::retained_walk::Extent;
use super::subscribers::Subscriber;
use super::tree::Tree;
use crate::broker::index::SessionIndex;
use crate::broker::session::Session;
use crate::broker::sessions::Sessions;
use crate::codec::{QoS, RetainHandling, SubAckReasonCode, Subscription};
use crate::topic::TopicFilter;

/// The QoS that a reason code grants.
fn granted_qos(reason_code: SubAckReasonCode) -> Result<QoS, SubAckReasonCode> {
    match reason_code {
        SubAckReasonCode::GrantedQoS0 => Ok(QoS::AtMostOnce),
        SubAckReasonCode::GrantedQoS1 => Ok(QoS::AtLeastOnce),
        SubAckReasonCode::GrantedQoS2 => Ok(QoS::ExactlyOnce),
        error => Err(error),
    }
}

/// The work of moving the subscriptions of a session behind one that begins or ends, if all of them are: each takes eight bytes,
/// and they are moved in one piece, which takes much less than to read them.
const fn units_of_moving(subscriptions: usize) -> u64 {
    (subscriptions / 1024) as u64
}

impl Router {
    /// Subscribes a session with at most the QoS of the decision, and with at most the QoS that the configuration allows.
    /// Returns the reason code for the QoS that is granted. If the subscription asks for them, the session gets the retained
    /// messages of matching topics by a walk.
    ///
    /// # Errors
    ///
    /// The reason code of the decision if that is an error, else the one for the limit that is reached.
    pub(in crate::broker) fn subscribe(
        &mut self,
        sessions: &mut Sessions,
        index: SessionIndex,
        subscription: &Subscription<'_>,
        decision: SubAckReasonCode,
        identifier: u32,
    ) -> Result<SubAckReasonCode, SubAckReasonCode> {
        let granted = self.make_subscription(sessions, index, subscription, decision, identifier);
        self.count_work(sessions);
        granted
    }

    fn make_subscription(
        &mut self,
        sessions: &mut Sessions,
        index: SessionIndex,
        subscription: &Subscription<'_>,
        decision: SubAckReasonCode,
        identifier: u32,
    ) -> Result<SubAckReasonCode, SubAckReasonCode> {
        let allowed = granted_qos(decision)?;
        let filter = subscription.filter;
        self.check_filter(filter)?;
        let qos = subscription.qos.min(allowed).min(self.config.server.maximum_qos);
        let Some(session) = sessions.get_mut(index) else {
            bug!("a session exists while its SUBSCRIBE is worked on");
            return Err(SubAckReasonCode::UnspecifiedError);
        };
        let subscriber = Subscriber::new(index, &session.as_meant(Subscription { qos, ..*subscription }), identifier);
        let handling = subscription.retain_handling;
        let is_full = self.tree.len() >= self.config.max_subscriptions
            || session.subscriptions().len() >= self.config.max_subscriptions_per_session as usize;
        let list = if is_full { None } else { self.tree.find_or_insert(filter) };
        let list = list.or_else(|| self.tree.find(filter)).ok_or(SubAckReasonCode::QuotaExceeded)?;
        if let Some(position) = session.subscription(list) {
            // A subscription to the same filter is replaced, and no message is lost [MQTT-3.8.4-3, MQTT-3.8.4-4].
            self.tree.replace(list, position, subscriber);
            let mark = match handling {
                // All messages are sent again.
                RetainHandling::SendAtSubscribe => self.request_retained(sessions, filter, list, subscriber, false),
                RetainHandling::SendIfNew | RetainHandling::DoNotSend => {
                    let walk = sessions.get_mut(index).and_then(Session::walk_mut);
                    walk.map_or(0, |walk| walk.renew(&mut self.retained, list, subscriber))
                }
            };
            sessions.store_subscription(filter, &subscriber, self.tree.group_number(list), mark, false);
            return Ok(qos.into());
        }
        if is_full {
            return Err(SubAckReasonCode::QuotaExceeded);
        }
        let position = self.tree.push(list, subscriber).ok_or(SubAckReasonCode::QuotaExceeded)?;
        session.add_subscription(list, position);
        let (is_connected, moved) = (session.is_connected(), session.subscriptions().len());
        sessions.work_mut().spend(units_of_moving(moved));
        sessions.charge_filter(index, Tree::charge_of_filter(filter));
        if list.is_shared() {
            self.set_connected(sessions, index, list, is_connected);
        }
        let mark = match handling {
            RetainHandling::DoNotSend => 0,
            _ => self.request_retained(sessions, filter, list, subscriber, true),
        };
        sessions.store_subscription(filter, &subscriber, self.tree.group_number(list), mark, true);
        Ok(qos.into())
    }

    /// Adds a subscription of a restored session, whatever limits there are now. The group that shares it has this number, 0 for
    /// none. Returns its list; `None` if it could not be added.
    pub(in crate::broker) fn restore_subscription(
        &mut self,
        sessions: &mut Sessions,
        filter: TopicFilter<'_>,
        subscriber: Subscriber,
        group: u32,
    ) -> Option<ListId> {
        let list = self.tree.restore(filter, group)?;
        let position = self.tree.push(list, subscriber)?;
        if let Some(session) = sessions.get_mut(subscriber.session) {
            session.add_subscription(list, position);
        }
        sessions.charge_filter(subscriber.session, Tree::charge_of_filter(filter));
        self.tree.take_work();
        Some(list)
    }

    /// Lets a restored session walk again for a subscription: over the first `count` messages of those that were restored. The
    /// mark is the one that is stored with the subscription.
    pub(in crate::broker) fn restore_walk(
        &mut self,
        sessions: &mut Sessions,
        list: ListId,
        subscriber: Subscriber,
        count: u64,
        mark: u64,
    ) {
        let extent = Extent { until: Moment::after(count), mark, is_new: false, is_restored: true };
        match sessions.start_walk(subscriber.session) {
            Some(walk) => walk.push(list, subscriber, extent),
            None => bug!("a session exists while it is restored"),
        }
    }

    /// The most that this many filters with this many bytes in all may take, but for tables and lists that grow.
    pub(in crate::broker) const fn most_of_filters(count: usize, bytes: usize) -> u64 {
        // Each byte may be a level.
        let nodes = count.saturating_add(bytes).saturating_mul(Tree::NODE_SIZE);
        nodes.saturating_add(bytes) as u64
    }

    /// Whether a session has this subscription.
    pub(in crate::broker) fn is_subscribed(
        &self,
        sessions: &Sessions,
        index: SessionIndex,
        filter: TopicFilter<'_>,
    ) -> bool {
        let session = sessions.get(index);
        self.tree.find(filter).is_some_and(|list| session.is_some_and(|session| session.subscription(list).is_some()))
    }

    fn check_filter(&self, filter: TopicFilter<'_>) -> Result<(), SubAckReasonCode> {
        if self.has_too_many_levels(filter.as_bytes()) {
            return Err(SubAckReasonCode::TopicFilterInvalid);
        }
        // A client of 5.0 has got the limits in CONNACK, and is disconnected before this. Earlier versions have no such limits
        // [3.1.1: MQTT-3.8.3-2].
        let server = &self.config.server;
        if !server.shared_subscription_available && filter.share_name().is_some() {
            return Err(SubAckReasonCode::SharedSubscriptionsNotSupported);
        }
        if !server.wildcard_subscription_available && filter.levels().any(|level| matches!(level, b"+" | b"#")) {
            return Err(SubAckReasonCode::WildcardSubscriptionsNotSupported);
        }
        Ok(())
    }

    /// Lets a session walk over the retained messages that there are now for a subscription. Returns the mark to store with the
    /// subscription, or 0.
    fn request_retained(
        &mut self,
        sessions: &mut Sessions,
        filter: TopicFilter<'_>,
        list: ListId,
        subscriber: Subscriber,
        is_new: bool,
    ) -> u64 {
        // The members of a group get no retained messages (section 4.8.2).
        if list.is_shared() {
            return 0;
        }
        // Most subscriptions are to topics without retained messages.
        if !self.retained.can_match(filter) {
            if let Some(walk) = sessions.get_mut(subscriber.session).and_then(Session::walk_mut) {
                walk.remove(&mut self.retained, list);
            }
            return 0;
        }
        let mark = sessions.mark_of_walk();
        let extent = Extent { until: self.retained.moment(), mark, is_new, is_restored: false };
        let Some(walk) = sessions.start_walk(subscriber.session) else {
            bug!("a session exists while its SUBSCRIBE is worked on");
            return 0;
        };
        walk.remove(&mut self.retained, list);
        walk.push(list, subscriber, extent);
        // What has QoS 0 does not have to come after a crash.
        if subscriber.options.qos == QoS::AtMostOnce { 0 } else { mark }
    }

    /// Ends a subscription; returns whether the session had it \[MQTT-3.10.4-1\].
    pub(in crate::broker) fn unsubscribe(
        &mut self,
        sessions: &mut Sessions,
        index: SessionIndex,
        filter: TopicFilter<'_>,
    ) -> bool {
        self.tree.find(filter).is_some_and(|list| self.unsubscribe_list(sessions, index, list, filter))
    }

    fn unsubscribe_list(
        &mut self,
        sessions: &mut Sessions,
        index: SessionIndex,
        list: ListId,
        filter: TopicFilter<'_>,
    ) -> bool {
        // A client may unsubscribe from what it is not subscribed to.
        let Some(position) = sessions.get_mut(index).and_then(|session| session.remove_subscription(list)) else {
            return false;
        };
        if let Some(walk) = sessions.get_mut(index).and_then(Session::walk_mut) {
            walk.remove(&mut self.retained, list);
        }
        let moved = sessions.get(index).map_or(0, |session| session.subscriptions().len());
        sessions.work_mut().spend(units_of_moving(moved));
        self.remove_subscriber(sessions, index, list, position);
        sessions.charge_filter(index, Tree::charge_of_filter(filter).saturating_neg());
        sessions.forget_subscription(index, filter);
        true
    }

    /// Ends one subscription of a session that has ended, or one part of its walk; returns whether there was one. The charge ends
    /// with the session.
    pub(in crate::broker) fn unsubscribe_next(&mut self, sessions: &mut Sessions, index: SessionIndex) -> bool {
        if let Some(walk) = sessions.get_mut(index).and_then(Session::walk_mut) {
            if walk.remove_first(&mut self.retained) {
                self.count_work(sessions);
                return true;
            }
            self.end_walk(sessions, index);
        }
        let Some((list, position)) = sessions.get_mut(index).and_then(Session::pop_subscription) else { return false };
        if sessions.has_pairs(index) {
            sessions.forget_subscription(index, TopicFilter::validated(&self.tree.filter(list)));
        }
        self.remove_subscriber(sessions, index, list, position);
        true
    }

    /// Moves a session to the members of a group that are connected, or to those that are not, if the list is that of a group.
    pub(in crate::broker) fn set_connected(
        &mut self,
        sessions: &mut Sessions,
        index: SessionIndex,
        list: ListId,
        is_connected: bool,
    ) {
        let Some(session) = sessions.get_mut(index) else { return bug!("a member of a group is a session") };
        let Some(old) = session.subscription(list) else { return bug!("a session knows its lists") };
        if let Some((new, other)) = self.tree.set_connected(list, old, is_connected) {
            session.move_subscription(list, new);
            if other.session != index
                && let Some(other) = sessions.get_mut(other.session)
            {
                other.move_subscription(list, old);
            }
        }
    }

    /// Removes a subscriber from a list. Other members of a group may move, and their sessions have to know.
    fn remove_subscriber(&mut self, sessions: &mut Sessions, index: SessionIndex, list: ListId, position: u32) {
        let mut position = position;
        if let Some((new, other)) = self.tree.set_connected(list, position, false) {
            if new != position
                && let Some(other) = sessions.get_mut(other.session)
            {
                other.move_subscription(list, position);
            }
            position = new;
        }
        if let Some(moved) = self.tree.remove(list, index, position)
            && let Some(session) = sessions.get_mut(moved.session)
        {
            session.move_subscription(list, position);
        }
        self.count_work(sessions);
    }

    /// A stored subscription of a session, with its filter.
    pub(in crate::broker) fn stored_subscription(
        &self,
        index: SessionIndex,
        list: ListId,
        position: u32,
    ) -> Option<(Subscriber, Vec<u8>)> {
        let subscriber = self.tree.get(list, index, position);
        if subscriber.is_none() {
            bug!("a subscription is where its session says");
        }
        Some((*subscriber?, self.tree.filter(list)))
    }

    /// Lowers the QoS of a stored subscription, or ends it with the reason code of a refusal.
    ///
    /// # Errors
    ///
    /// The reason code of a subscription that has ended.
    pub(in crate::broker) fn restrict(
        &mut self,
        sessions: &mut Sessions,
        index: SessionIndex,
        list: ListId,
        decision: SubAckReasonCode,
    ) -> Result<(), SubAckReasonCode> {
        match granted_qos(decision) {
            Ok(QoS::ExactlyOnce) => {}
            Ok(allowed) => self.lower_qos(sessions, index, list, allowed),
            Err(reason_code) => {
                let filter = self.tree.filter(list);
                self.unsubscribe_list(sessions, index, list, TopicFilter::validated(&filter));
                return Err(reason_code);
            }
        }
        Ok(())
    }

    fn lower_qos(&mut self, sessions: &mut Sessions, index: SessionIndex, list: ListId, allowed: QoS) {
        let known = sessions.get_mut(index).and_then(|session| Some((session.subscription(list)?, session)));
        let Some((position, session)) = known else { return bug!("the list is one of the session's") };
        let Some(&(mut subscriber)) = self.tree.get(list, index, position) else {
            return bug!("a subscription is where its session says");
        };
        if subscriber.options.qos > allowed {
            subscriber.options.qos = allowed;
            self.tree.replace(list, position, subscriber);
            let mark = session.walk_mut().map_or(0, |walk| walk.renew(&mut self.retained, list, subscriber));
            if sessions.has_pairs(index) {
                let (filter, group) = (self.tree.filter(list), self.tree.group_number(list));
                sessions.store_subscription(TopicFilter::validated(&filter), &subscriber, group, mark, false);
            }
        }
    }

    /// Panics if a subscription of a session is not where the session says, or if the tree is not consistent. For tests.
    pub(in crate::broker) fn assert_consistent(&self, sessions: &Sessions) {
        for (index, session) in sessions.iter() {
            assert!(session.subscriptions().is_sorted(), "subscriptions are in order");
            for &(list, position) in session.subscriptions() {
                let subscriber = self.tree.get(list, index, position);
                assert_eq!(subscriber.map(|it| it.session), Some(index), "a subscription is where it is said to be");
                let filter = self.tree.filter(list);
                let found = self.tree.find(TopicFilter::validated(&filter));
                assert_eq!(found, Some(list), "a subscription is found by its filter");
                let is_connected = self.tree.is_connected(list, position).unwrap_or(session.is_connected());
                let is_right = session.is_moving() || is_connected == session.is_connected();
                assert!(is_right, "a group knows which members are connected");
            }
        }
        self.tree.assert_consistent();
        self.retained.assert_consistent(sessions.iter().filter_map(|(_, session)| session.walk()?.pinned()));
    }
}
