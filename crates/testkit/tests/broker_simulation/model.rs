//! The messages that each client must receive, computed from the order of events at the broker, independently of the
//! broker's implementation.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_sansio::{QoS, TopicFilter, TopicName};

/// The payload of a client's message: `PUBLISHER:NUMBER`.
pub(crate) type Payload = String;

#[derive(Clone, Copy, Debug)]
struct Subscription {
    qos: QoS,
    /// UNSUBSCRIBE was sent, and is not known to have been processed.
    may_be_over: bool,
}

/// A copy of a message for a client.
#[derive(Debug)]
struct Copy {
    qos: QoS,
    topic: String,
    /// When the message was routed to the client. A publisher may send a message of QoS 1 again.
    routed: Vec<usize>,
    received: usize,
    /// The copy may be missing: it has QoS 0, or its session has ended, or its subscription may have ended.
    is_optional: bool,
    /// The QoS may be another one.
    may_differ: bool,
}

#[derive(Default)]
pub(crate) struct Model {
    /// By client and filter.
    subscriptions: BTreeMap<(usize, String), Subscription>,
    /// By client and message.
    copies: BTreeMap<(usize, Payload), Copy>,
    /// Messages for shared subscriptions: the members at that time, and the clients that received the message.
    shared: BTreeMap<Payload, (BTreeSet<usize>, Vec<usize>)>,
    /// The messages of QoS 0 and 2 that were routed: they must be routed once.
    once: BTreeSet<Payload>,
    /// Messages that may still be on their way to their subscribers: topic, message, QoS.
    spreading: Vec<(String, Payload, QoS)>,
    /// The number of messages routed.
    routed: usize,
    /// The last message of each publisher, topic and QoS that a client has received.
    last: BTreeMap<(usize, usize, String, QoS, QoS), usize>,
    /// The retained message of each topic, and all earlier ones.
    pub(crate) retained: BTreeMap<String, Payload>,
    was_retained: BTreeSet<(String, Payload)>,
    /// For sessions that have ended, the number of messages routed before the end.
    ended: BTreeMap<usize, usize>,
    /// The QoS with which each message was published.
    published: BTreeMap<Payload, QoS>,
    received: usize,
    pub(crate) dropped: u64,
    /// The number of messages dropped for want of room.
    pub(crate) dropped_by_limit: u64,
}

pub(crate) const GROUP: &str = "$share/g/";

/// Whether a filter that is not shared matches.
fn matches(filter: &str, topic: &str) -> bool {
    TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap())
}

impl Model {
    /// The broker processes a subscription.
    pub(crate) fn subscribe(&mut self, client: usize, filter: &str, qos: QoS) {
        self.subscriptions.insert((client, filter.to_owned()), Subscription { qos, may_be_over: false });
        // What is on its way may come by this subscription too, and with its QoS.
        for (topic, payload, published) in self.spreading.clone() {
            if filter.starts_with(GROUP) || !matches(filter, &topic) {
                continue;
            }
            let copy = self.copies.entry((client, payload)).or_insert(Copy {
                qos: qos.min(published),
                topic,
                routed: vec![self.routed],
                received: 0,
                is_optional: true,
                may_differ: true,
            });
            copy.is_optional |= copy.received == 0 && copy.qos == QoS::AtMostOnce;
            copy.may_differ = true;
        }
    }

    /// A client sends UNSUBSCRIBE.
    pub(crate) fn unsubscribing(&mut self, client: usize, filter: &str) {
        if filter.starts_with(GROUP) {
            // The member may still receive its messages, and need not receive those of an ended member.
            for (members, _) in self.shared.values_mut() {
                members.remove(&client);
            }
        }
        // What is on its way need not come any more, or comes by another subscription.
        for (_, payload, _) in self.spreading.iter().filter(|(topic, ..)| matches(filter, topic)) {
            if let Some(copy) = self.copies.get_mut(&(client, payload.clone())) {
                copy.is_optional = true;
                copy.may_differ = true;
            }
        }
        if let Some(subscription) = self.subscriptions.get_mut(&(client, filter.to_owned())) {
            subscription.may_be_over = true;
        }
    }

    /// All work is done: no message is on its way.
    pub(crate) fn rest(&mut self) {
        self.spreading.clear();
    }

    /// The broker has answered UNSUBSCRIBE.
    pub(crate) fn unsubscribed(&mut self, client: usize, filter: &str) {
        self.subscriptions.remove(&(client, filter.to_owned()));
    }

    /// The session of a client has ended: messages that have not arrived may be missing.
    pub(crate) fn session_ended(&mut self, client: usize) {
        self.subscriptions.retain(|&(of, _), _| of != client);
        for ((of, _), copy) in &mut self.copies {
            copy.is_optional |= *of == client;
        }
        for (payload, (members, _)) in &mut self.shared {
            if self.published.get(payload) == Some(&QoS::AtLeastOnce) {
                members.remove(&client); // its messages go to another member
            } else {
                members.clear(); // it may have had the message; of QoS 2 no other member receives it [MQTT-4.8.2-5]
            }
        }
        *self.ended.entry(client).or_default() += 1;
    }

    /// The broker routes a message.
    pub(crate) fn route(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool) {
        let is_first = self.published.insert(payload.to_owned(), qos).is_none();
        if qos != QoS::AtLeastOnce && !self.once.insert(payload.to_owned()) {
            // A message refused for want of room is sent again if its publisher has not received the refusal.
            let is_to_come = qos == QoS::ExactlyOnce && self.dropped_by_limit > 0 && !self.was_received(payload);
            assert!(is_to_come, "{payload} of QoS {qos:?} is routed twice");
        }
        self.spreading.push((topic.to_owned(), payload.to_owned(), qos));
        self.routed += 1;
        let place = self.routed;
        if retain {
            self.retained.insert(topic.to_owned(), payload.to_owned());
            self.was_retained.insert((topic.to_owned(), payload.to_owned()));
        }
        let name = TopicName::new(topic).unwrap();
        let mut granted: BTreeMap<usize, (QoS, bool, bool)> = BTreeMap::new();
        for ((client, filter), subscription) in &self.subscriptions {
            if filter.starts_with(GROUP) || !TopicFilter::new(filter).unwrap().matches(name) {
                continue;
            }
            let (best, is_sure, may_differ) = granted.entry(*client).or_insert((QoS::AtMostOnce, false, false));
            if subscription.may_be_over {
                *may_differ = true;
            } else {
                *is_sure = true;
            }
            *best = (*best).max(subscription.qos);
        }
        for (client, (best, is_sure, may_differ)) in granted {
            let effective = best.min(qos);
            let topic = topic.to_owned();
            let copy = self.copies.entry((client, payload.to_owned())).or_insert(Copy {
                qos: effective,
                topic,
                routed: Vec::new(),
                received: 0,
                is_optional: false,
                may_differ: false,
            });
            copy.routed.push(place);
            copy.may_differ |= may_differ || copy.qos != effective;
            copy.is_optional |= !is_sure || copy.may_differ || copy.qos == QoS::AtMostOnce;
        }
        if topic.starts_with("s/") && is_first {
            let group = |(_, filter): &&(usize, String)| filter.starts_with(GROUP);
            let members: BTreeSet<_> = self.subscriptions.keys().filter(group).map(|&(client, _)| client).collect();
            let is_sure =
                self.subscriptions.iter().all(|((_, filter), it)| !filter.starts_with(GROUP) || !it.may_be_over);
            let members = if is_sure && qos != QoS::AtMostOnce { members } else { BTreeSet::new() };
            self.shared.insert(payload.to_owned(), (members, Vec::new()));
        }
    }

    /// Whether any client has received a message.
    fn was_received(&self, payload: &str) -> bool {
        self.shared.get(payload).is_some_and(|(_, got)| !got.is_empty())
            || self.copies.iter().any(|((_, of), copy)| of == payload && copy.received > 0)
    }

    /// A client has received a message.
    pub(crate) fn receive(&mut self, client: usize, topic: &str, payload: &str, qos: QoS, retain: bool) {
        self.received += 1;
        let published = *self.published.get(payload).unwrap_or_else(|| panic!("{payload} was never routed"));
        assert!(qos <= published, "{payload} has a higher QoS than it was published with");
        if retain {
            // Sent for a new subscription. The client cannot know whether the message is outdated by then.
            assert!(self.was_retained.contains(&(topic.into(), payload.into())), "{payload} was never retained");
            return;
        }
        if topic.starts_with("s/") {
            let (_, got) = self.shared.get_mut(payload).expect("it was routed");
            got.push(client);
            assert!(qos != QoS::ExactlyOnce || got.len() == 1, "{payload} went to {got:?} of one group");
            return;
        }
        let copy = self.copies.get_mut(&(client, payload.to_owned()));
        let copy = copy.unwrap_or_else(|| panic!("client {client} has not subscribed to {topic}, but got {payload}"));
        copy.received += 1;
        assert_eq!(copy.topic, topic);
        assert!(copy.may_differ || copy.qos == qos, "client {client} got {payload} with {qos:?}: {copy:?}");
        if qos != QoS::AtLeastOnce && !copy.may_differ {
            assert!(copy.received <= copy.routed.len(), "client {client} got {payload} too often: {copy:?}");
        }
        // The first copies arrive in order [MQTT-4.6.0-5].
        if copy.received == 1 && !copy.may_differ {
            let publisher = payload.split(':').next().unwrap().parse().unwrap();
            let key = (client, publisher, topic.to_owned(), published, qos);
            let before = self.last.get(&key).copied().unwrap_or(0);
            let place = copy.routed.iter().copied().find(|&place| place > before);
            let place = place.unwrap_or_else(|| panic!("client {client} got {payload} out of order"));
            self.last.insert(key, place);
        }
    }

    /// Checks that no message is missing once all bytes have arrived.
    pub(crate) fn check(&self) {
        let missing = |copy: &&Copy| copy.received == 0 && !copy.is_optional;
        let missing: Vec<_> = self.copies.iter().filter(|(_, copy)| missing(copy)).collect();
        assert!(missing.len() as u64 <= self.dropped, "{} were dropped, and missing are {missing:#?}", self.dropped);
        for (payload, (members, got)) in &self.shared {
            let is_missing = got.is_empty() && !members.is_empty();
            assert!(!is_missing || self.dropped_by_limit > 0, "none of {members:?} has got {payload}");
        }
    }

    pub(crate) const fn routed(&self) -> usize {
        self.routed
    }

    pub(crate) const fn delivered(&self) -> usize {
        self.received
    }
}
