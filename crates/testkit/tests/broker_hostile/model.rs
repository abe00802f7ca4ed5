//! What each honest client must get, from what the honest clients have sent and received alone: nothing here depends on how
//! or when the broker does its work.
//!
//! A subscription counts from SUBACK to the UNSUBSCRIBE that ends it: a message that is published in this time must arrive.
//! Between SUBSCRIBE and SUBACK, and between UNSUBSCRIBE and UNSUBACK, it may.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_sansio::{QoS, TopicFilter, TopicName};

/// A message of an honest client: `PUBLISHER:NUMBER`.
pub(crate) type Payload = String;

/// The shared subscription of the honest clients.
pub(crate) const SHARE: &str = "$share/honest/s/#";

/// Where the broker is in a run: in driver turns.
pub(crate) type Turn = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Granted,
    Ending,
}

#[derive(Clone, Copy, Debug)]
struct Subscribed {
    qos: QoS,
    state: State,
}

/// A message that an honest client has published, or that is published as its will.
#[derive(Debug)]
struct Sent {
    topic: String,
    qos: QoS,
    retain: bool,
    turn: Turn,
    /// Its position among all messages.
    position: usize,
}

/// A copy of a message for an honest client.
#[derive(Debug, Default)]
struct Copy {
    is_required: bool,
    /// The QoS, if it is certain which subscriptions match.
    qos: Option<QoS>,
    received: usize,
    /// Whether it is late for good reason: the client was away.
    may_be_late: bool,
}

/// The messages that were published to a topic with RETAIN; their publisher is always the same client.
#[derive(Debug, Default)]
struct Retained {
    /// The position of the last one.
    last: usize,
    /// The position of the last one that was acknowledged, or 0.
    acknowledged: usize,
}

#[derive(Default)]
pub(crate) struct Model {
    subscriptions: BTreeMap<(usize, String), Subscribed>,
    messages: BTreeMap<Payload, Sent>,
    copies: BTreeMap<(usize, Payload), Copy>,
    /// Messages for the shared subscription: whether one member must get it, and who has got it.
    shared: BTreeMap<Payload, (bool, Vec<usize>)>,
    /// Messages that may still be on their way through the broker.
    unsettled: Vec<Payload>,
    /// Clients without a connection.
    away: BTreeSet<usize>,
    /// Clients that take only few messages at a time.
    slow: BTreeSet<usize>,
    /// Clients that were away once: a message of QoS 1 may come to them again.
    resumed: BTreeSet<usize>,
    /// The message that a client has received last, by publisher, topic, and QoS of the message and of the copy.
    last: BTreeMap<(usize, usize, String, QoS, QoS), usize>,
    retained: BTreeMap<String, Retained>,
    /// The position of the last message that a client has seen of a topic with retained messages, live or retained.
    seen: BTreeMap<(usize, String), usize>,
    /// The position of the oldest message of such a topic that a subscriber may be sent as retained.
    floor: BTreeMap<(usize, String), usize>,
    pub(crate) delivered: usize,
    /// The longest way of a copy to a client that was there, in turns.
    pub(crate) slowest: Turn,
}

fn matches(filter: &str, topic: &str) -> bool {
    TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap())
}

fn publisher_of(payload: &str) -> usize {
    payload.split(':').next().unwrap().parse().unwrap_or_else(|_| panic!("{payload:?} is no message of this test"))
}

impl Model {
    /// A model in which these clients take only few messages at a time.
    pub(crate) fn new(slow: BTreeSet<usize>) -> Self {
        Self { slow, ..Self::default() }
    }

    /// How many messages were published.
    pub(crate) fn published(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_subscribed(&self, client: usize, filter: &str) -> bool {
        self.subscriptions.contains_key(&(client, filter.to_owned()))
    }

    /// Whether the client has a subscription that neither begins nor ends.
    pub(crate) fn is_granted(&self, client: usize, filter: &str) -> bool {
        let subscribed = self.subscriptions.get(&(client, filter.to_owned()));
        subscribed.is_some_and(|it| it.state == State::Granted)
    }

    /// A client has sent SUBSCRIBE.
    pub(crate) fn subscribing(&mut self, client: usize, filter: &str, qos: QoS) {
        let before = self.subscriptions.insert((client, filter.to_owned()), Subscribed { qos, state: State::Asked });
        assert!(before.is_none(), "client {client} subscribes once to {filter}");
        if filter == SHARE {
            return;
        }
        for payload in self.unsettled.iter().filter(|&payload| matches(filter, &self.messages[payload].topic)) {
            self.copies.entry((client, payload.clone())).or_default().qos = None;
        }
        for (topic, retained) in self.retained.iter().filter(|(topic, _)| matches(filter, topic)) {
            self.seen.remove(&(client, topic.clone()));
            self.floor.insert((client, topic.clone()), retained.acknowledged);
        }
    }

    /// SUBACK has come.
    pub(crate) fn granted(&mut self, client: usize, filter: &str, qos: QoS) {
        let subscribed = self.subscriptions.get_mut(&(client, filter.to_owned())).expect("it was asked for");
        assert_eq!(subscribed.qos, qos, "client {client} is granted what it has asked for with {filter}");
        subscribed.state = State::Granted;
    }

    /// A client has sent UNSUBSCRIBE.
    pub(crate) fn unsubscribing(&mut self, client: usize, filter: &str) {
        self.subscriptions.get_mut(&(client, filter.to_owned())).expect("it is subscribed").state = State::Ending;
        for ((of, payload), copy) in &mut self.copies {
            if *of == client && copy.received == 0 && matches(filter, &self.messages[payload].topic) {
                (copy.is_required, copy.qos) = (false, None);
            }
        }
    }

    /// UNSUBACK has come.
    pub(crate) fn unsubscribed(&mut self, client: usize, filter: &str) {
        self.subscriptions.remove(&(client, filter.to_owned()));
        self.seen.retain(|(of, topic), _| *of != client || !matches(filter, topic));
    }

    /// A client publishes a message, or its will is to be published.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool, turn: Turn) {
        let position = self.messages.len();
        let sent = Sent { topic: topic.to_owned(), qos, turn, position, retain };
        assert!(self.messages.insert(payload.to_owned(), sent).is_none(), "{payload} is published once");
        self.unsettled.push(payload.to_owned());
        if retain {
            self.retained.entry(topic.to_owned()).or_default().last = position;
        }
        if topic.starts_with("s/") {
            let mut subscriptions = self.subscriptions.iter();
            let has_members = subscriptions.any(|((_, filter), it)| filter == SHARE && it.state == State::Granted);
            self.shared.insert(payload.to_owned(), (has_members, Vec::new()));
        }
        let mut found: BTreeMap<usize, (Option<QoS>, bool)> = BTreeMap::new();
        for ((client, filter), subscribed) in &self.subscriptions {
            if filter == SHARE || !matches(filter, topic) {
                continue;
            }
            let (best, is_certain) = found.entry(*client).or_insert((None, true));
            if subscribed.state == State::Granted {
                *best = (*best).max(Some(subscribed.qos));
            } else {
                *is_certain = false;
            }
        }
        for (client, (best, is_certain)) in found {
            let (copy_qos, is_away) = (best.map(|best| best.min(qos)), self.away.contains(&client));
            // Without a connection a client gets no message of QoS 0, and one of another QoS when it is back.
            let is_required = best.is_some() && !(is_away && copy_qos == Some(QoS::AtMostOnce));
            let copy = Copy {
                is_required,
                qos: copy_qos.filter(|_| is_certain),
                received: 0,
                may_be_late: is_away || self.slow.contains(&client),
            };
            self.copies.insert((client, payload.to_owned()), copy);
        }
    }

    /// The publisher was told that the broker has accepted ownership of a message.
    pub(crate) fn acknowledged(&mut self, payload: &str) {
        let Sent { topic, position, retain, .. } = &self.messages[payload];
        if *retain {
            let retained = self.retained.get_mut(topic).expect("the message was retained");
            retained.acknowledged = retained.acknowledged.max(*position);
        }
    }

    /// The publisher was told that there was no room for any copy of a message. Clients that are there have room.
    pub(crate) fn refused(&mut self, payload: &str) {
        let topic = &self.messages[payload].topic;
        assert!(!self.retained.contains_key(topic) && !self.shared.contains_key(payload), "{payload} was refused");
        for ((client, of), copy) in &mut self.copies {
            if of == payload && copy.is_required {
                assert!(copy.may_be_late && copy.received == 0, "{payload} was refused, and client {client} is there");
                copy.is_required = false;
            }
        }
    }

    /// A client disconnects, and will come back to its session.
    pub(crate) fn leave(&mut self, client: usize) {
        self.away.insert(client);
        self.resumed.insert(client);
        for ((of, payload), copy) in &mut self.copies {
            if *of == client && copy.received == 0 {
                let qos = copy.qos.unwrap_or(QoS::AtMostOnce).min(self.messages[payload].qos);
                copy.is_required &= qos != QoS::AtMostOnce;
                copy.may_be_late = true;
            }
        }
    }

    /// A client is back.
    pub(crate) fn back(&mut self, client: usize) {
        self.away.remove(&client);
    }

    /// A copy for a client was dropped, because all sessions together store too much. That concerns only clients without a
    /// connection, or without room in their windows.
    pub(crate) fn dropped(&mut self, client: usize) {
        let is_exposed = self.away.contains(&client) || self.slow.contains(&client);
        assert!(is_exposed, "a copy for client {client}, which is there, was dropped");
        for ((of, _), copy) in &mut self.copies {
            copy.is_required &= *of != client || copy.received > 0;
        }
    }

    /// Nothing is on its way: a subscription that begins now gets nothing of what was published before.
    pub(crate) fn settled(&mut self) {
        self.unsettled.clear();
    }

    /// A client has got a message.
    pub(crate) fn receive(&mut self, client: usize, topic: &str, payload: &str, qos: QoS, retain: bool, turn: Turn) {
        self.delivered += 1;
        let sent = self.messages.get(payload).unwrap_or_else(|| panic!("{payload} on {topic} was never published"));
        assert_eq!(sent.topic, topic);
        assert!(qos <= sent.qos, "{payload} has a higher QoS than it was published with");
        assert!(sent.retain || !retain, "{payload} was not published with RETAIN");
        if self.retained.contains_key(topic) {
            let (key, position) = ((client, topic.to_owned()), sent.position);
            let floor = if retain { self.floor.get(&key).copied().unwrap_or(0) } else { 0 };
            assert!(position >= floor, "client {client} got {payload}, which was replaced before it subscribed");
            // An older message never comes after a newer one [MQTT-4.6.0-6], unless it was sent again.
            let before = self.seen.insert(key, position);
            let may_repeat = self.resumed.contains(&client);
            assert!(
                may_repeat || before.is_none_or(|before| before <= position),
                "client {client} got {payload} after a newer one"
            );
        }
        if retain {
            return;
        }
        if let Some((_, got)) = self.shared.get_mut(payload) {
            got.push(client);
            assert_eq!(got.len(), 1, "{payload} went to {got:?} of one group");
            return;
        }
        let copy = self.copies.get_mut(&(client, payload.to_owned()));
        let copy = copy.unwrap_or_else(|| panic!("client {client} is not subscribed to {topic}, but got {payload}"));
        copy.received += 1;
        assert!(copy.qos.is_none_or(|expected| expected == qos), "client {client} got {payload} as {qos:?}: {copy:?}");
        let may_repeat = qos == QoS::AtLeastOnce && self.resumed.contains(&client);
        assert!(copy.received == 1 || may_repeat, "client {client} got {payload} again");
        if !copy.may_be_late {
            self.slowest = self.slowest.max(turn - sent.turn);
        }
        if copy.received == 1 {
            // In order [MQTT-4.6.0-5].
            let key = (client, publisher_of(payload), topic.to_owned(), sent.qos, qos);
            let before = self.last.insert(key, sent.position);
            assert!(before.is_none_or(|before| before < sent.position), "client {client} got {payload} out of order");
        }
    }

    /// What has not come, and must come.
    pub(crate) fn missing(&self) -> Vec<String> {
        let copies = self.copies.iter().filter(|(_, copy)| copy.is_required && copy.received == 0);
        let mut missing: Vec<_> =
            copies.map(|((client, payload), copy)| format!("{payload} for client {client}: {copy:?}")).collect();
        for (payload, (is_required, got)) in &self.shared {
            if *is_required && got.is_empty() {
                missing.push(format!("{payload} for the group"));
            }
        }
        for ((client, filter), subscribed) in &self.subscriptions {
            let is_stable = subscribed.state == State::Granted && filter != SHARE;
            for (topic, retained) in self.retained.iter().filter(|(topic, _)| is_stable && matches(filter, topic)) {
                let seen = self.seen.get(&(*client, topic.clone()));
                if seen.is_none_or(|&seen| seen < retained.last) {
                    missing.push(format!("the last message of {topic} for client {client}, which has seen {seen:?}"));
                }
            }
        }
        missing
    }
}
