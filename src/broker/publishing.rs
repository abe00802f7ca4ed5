//! Messages: where they come from, and to whom they go.

use alloc::vec::Vec;

use bytes::Bytes;

use super::config::SharedStrategy;
use super::core::Broker;
use super::counters::DropReason;
use super::hub::{Hub, Session};
use super::policy::{Decision, Notice, Policy};
use super::publication::Kept;
use super::questions::{Parked, ParkedPacket};
use super::timers::Due;
use super::tree::{Group, Matches, Subscriber, Terms};
use crate::codec::{List, PubAckReasonCode, PublishProperties, QoS, SubscriptionIdentifier, Version};
use crate::random::Random;
use crate::server::{Copies, Encoded, Marked, Will};
use crate::session::{CommandError, LARGE, Message, MessageRef, Receipt, ReceivedMessage, Stored};
use crate::time::Instant;
use crate::topic::TopicName;

/// What has become of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forwarded {
    /// Whether anybody is subscribed, got it or not.
    has_subscribers: bool,
    /// How many copies went out, or are kept.
    copies: usize,
    /// Whether there was no copy, and there would have been if there were more room.
    lacks_room: bool,
}

/// What is needed while a message is forwarded; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) encoded: Encoded,
    matches: Matches,
    merging: Merging,
    groups: Vec<u32>,
}

/// What sessions get that have several subscriptions that fit.
#[derive(Debug, Default)]
struct Merging {
    /// The number of the message.
    round: u32,
    merged: Vec<Merged>,
    identifiers: Vec<(u32, SubscriptionIdentifier)>,
    /// Those of one session.
    own: Vec<SubscriptionIdentifier>,
}

/// What a session gets for all its subscriptions that fit.
#[derive(Debug)]
struct Merged {
    session: u32,
    terms: Terms,
}

impl<P: Policy> Broker<P> {
    /// Publishes a message of the embedding program's own: it is retained if it says so, and goes to all that are subscribed.
    /// How many copies went out, or are kept.
    ///
    /// # Errors
    ///
    /// [`CommandError::Text`] if the topic is not one; [`CommandError::TopicAlias`] for a topic alias, which is not the
    /// caller's; [`CommandError::TooManyLevels`] for a topic with more levels than it may have;
    /// [`CommandError::Encode`] if it cannot be sent; [`CommandError::QueueFull`] if there is no room to retain it.
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<usize, CommandError> {
        self.advance(now);
        let publish = message.checked()?;
        let properties = PublishProperties { subscription_identifiers: List::EMPTY, ..publish.properties };
        let large = publish.large().map(|large| self.hub.payloads.share(large.clone()));
        let payload = if large.is_some() { &[] } else { publish.payload };
        let publish = MessageRef { payload, properties, ..publish };
        Stored::message_len(&publish, None, Version::V5)?;
        let copies = self.publish_from(None, &publish, large);
        self.settle();
        match copies {
            Ok(forwarded) => Ok(forwarded.copies),
            Err(PubAckReasonCode::TopicNameInvalid) => Err(CommandError::TooManyLevels),
            Err(_) => Err(CommandError::QueueFull),
        }
    }

    /// A client has published a message.
    pub(super) fn receive_message(&mut self, index: u32, message: &ReceivedMessage<'_>) {
        let received = &mut self.hub.counters.messages_received;
        *received = received.wrapping_add(1);
        let Some(Session { connection: Some(id), server, .. }) = self.hub.sessions.get(index) else { return };
        let (id, version) = (*id, server.version());
        let (ticket, decision) = self.ask(id, |policy, hub, ticket| {
            let client = hub.sessions.get(index).and_then(Session::client);
            client.map_or(Decision::Now(PubAckReasonCode::UnspecifiedError), |client| {
                policy.publish(ticket, client, message)
            })
        });
        let publish = message.content();
        match decision {
            Decision::Now(reason_code) => self.finish_message(index, publish, message.receipt, reason_code),
            Decision::Later => match ParkedPacket::message(&publish, version) {
                Ok(packet) => {
                    let (number, receipt, since) = (ticket.number, message.receipt, self.now);
                    self.park(id, Parked::Publish { number, packet, receipt, since });
                }
                Err(_) => {
                    let reason_code = PubAckReasonCode::UnspecifiedError;
                    self.count_refused_message(index, publish.topic, reason_code);
                    self.acknowledge(index, message.receipt, reason_code);
                }
            },
        }
    }

    /// The policy has decided on a message that has waited for it: that time counts \[MQTT-3.3.2-6\].
    pub(super) fn finish_message_since(
        &mut self,
        index: u32,
        publish: MessageRef<'_>,
        receipt: Option<Receipt>,
        decision: PubAckReasonCode,
        since: Instant,
    ) {
        let mut publish = publish;
        if let Some(interval) = &mut publish.properties.message_expiry_interval {
            let waited = u32::try_from(self.now.since(since).as_secs()).unwrap_or(u32::MAX);
            if waited != 0 && waited >= *interval && !decision.is_error() && !is_own(publish.topic) {
                // Nobody gets it any more [MQTT-3.3.2-5], and what was retained before it is gone as well.
                if publish.retain {
                    self.retained.remove(publish.topic);
                    self.share_memory();
                }
                return self.acknowledge(index, receipt, decision);
            }
            *interval = interval.saturating_sub(waited);
        }
        self.finish_message(index, publish, receipt, decision);
    }

    /// The policy has decided on a message of a client.
    fn finish_message(
        &mut self,
        index: u32,
        publish: MessageRef<'_>,
        receipt: Option<Receipt>,
        decision: PubAckReasonCode,
    ) {
        let done = if decision.is_error() {
            Err(decision)
        } else if is_own(publish.topic) {
            Err(PubAckReasonCode::NotAuthorized)
        } else {
            self.publish_from(Some(index), &publish, None)
        };
        let is_retained = publish.retain && self.server.retain_available;
        let reason_code = match done {
            Ok(Forwarded { has_subscribers: false, .. }) if !publish.retain => PubAckReasonCode::NoMatchingSubscribers,
            // To accept a message is to be responsible for it, and nothing has been stored.
            Ok(Forwarded { lacks_room: true, .. }) if !is_retained && receipt.is_some() => {
                PubAckReasonCode::QuotaExceeded
            }
            Ok(_) => PubAckReasonCode::Success,
            Err(reason_code) => reason_code,
        };
        if reason_code.is_error() {
            self.count_refused_message(index, publish.topic, reason_code);
        }
        self.acknowledge(index, receipt, reason_code);
    }

    /// Answers a message, if it asks for that.
    fn acknowledge(&mut self, index: u32, receipt: Option<Receipt>, reason_code: PubAckReasonCode) {
        if let Some(receipt) = receipt {
            // Of an earlier connection, or one that is over: then nobody waits for it.
            let _ = self.tell(index, |session, now| session.ack(now, receipt, reason_code));
        }
    }

    /// The will of a client is due.
    pub(super) fn publish_will(&mut self, index: u32, will: &Will) {
        let mut user_properties = Vec::new();
        let Ok(message) = will.message(&mut user_properties) else { return }; // what was received can be sent
        let Ok(publish) = message.checked() else { return };
        let counters = &mut self.hub.counters;
        if is_own(publish.topic) {
            counters.wills_refused = counters.wills_refused.wrapping_add(1);
            return self.tell_will_refused(index, &will.topic, PubAckReasonCode::NotAuthorized);
        }
        counters.wills = counters.wills.wrapping_add(1);
        if let Err(reason_code) = self.publish_from(Some(index), &publish, None) {
            // There is no room to retain it; those who are there get it all the same.
            self.count_refused();
            self.forward(Some(index), publish, None);
            self.tell_will_refused(index, &will.topic, reason_code);
        }
    }

    /// Tells the policy that a will was not published, or not retained.
    fn tell_will_refused(&mut self, index: u32, topic: &str, reason_code: PubAckReasonCode) {
        let client_id = self.hub.sessions.get(index).map_or("", |session| session.server.client_id());
        self.policy.notice(Notice::WillRefused { client_id, topic, reason_code });
    }

    const fn count_refused(&mut self) {
        let refused = &mut self.hub.counters.messages_refused;
        *refused = refused.wrapping_add(1);
    }

    /// Counts a message of a client that is refused, and tells the policy.
    fn count_refused_message(&mut self, index: u32, topic: TopicName<'_>, reason_code: PubAckReasonCode) {
        self.count_refused();
        if let Some(client) = self.hub.sessions.get(index).and_then(Session::client) {
            self.policy.notice(Notice::PublishRefused { client, topic: topic.as_str(), reason_code });
        }
    }

    /// Whether a topic or a filter has more levels than it may have.
    pub(super) fn has_too_many_levels<'t>(&self, levels: impl Iterator<Item = &'t [u8]>) -> bool {
        levels.count() > usize::from(self.config.max_topic_levels)
    }

    /// Publishes a message, of a client's or the broker's own: it is retained if it says so, and forwarded. A large payload
    /// may replace the empty one in it.
    pub(super) fn publish_from(
        &mut self,
        from: Option<u32>,
        publish: &MessageRef<'_>,
        large: Option<Bytes>,
    ) -> Result<Forwarded, PubAckReasonCode> {
        if self.has_too_many_levels(publish.topic.levels()) {
            return Err(PubAckReasonCode::TopicNameInvalid);
        }
        let mut large = large;
        if publish.retain && self.server.retain_available {
            if publish.payload.len() >= LARGE {
                // One copy, for all that get it.
                large = Some(self.hub.payloads.share(Bytes::copy_from_slice(publish.payload)));
            }
            let payload = if large.is_some() { &[] } else { publish.payload };
            self.retain(from, &MessageRef { payload, ..*publish }, large.as_ref())?;
        }
        Ok(self.forward(from, *publish, large))
    }

    /// Keeps a message as the one of its topic, or with an empty payload removes the one that is there
    /// \[MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7\].
    fn retain(
        &mut self,
        from: Option<u32>,
        publish: &MessageRef<'_>,
        large: Option<&Bytes>,
    ) -> Result<(), PubAckReasonCode> {
        if publish.payload.is_empty() && large.is_none() {
            self.retained.remove(publish.topic);
            self.share_memory();
            return Ok(());
        }
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let publisher = from.map_or(0, |index| self.publisher(index));
        let kept = Kept::new(publish, large, expires_after, publisher, self.now)
            .map_err(|_| PubAckReasonCode::ImplementationSpecificError)?;
        let outlook = self.retained.with(publish.topic, &kept);
        let memory = self.hub.memory().saturating_sub(outlook.replaced_payload).saturating_add(outlook.own_bytes);
        if outlook.count > self.config.max_retained || memory > self.config.max_memory {
            return Err(PubAckReasonCode::QuotaExceeded);
        }
        let expires_at = kept.expires_at();
        let reference = self.retained.set(publish.topic, kept).ok_or(PubAckReasonCode::QuotaExceeded)?;
        self.share_memory();
        self.schedule(expires_at, Due::Retained(reference));
        Ok(())
    }

    /// What retained messages do not take is left for those that are kept for clients.
    pub(super) fn share_memory(&mut self) {
        self.hub.max_kept_bytes = self.config.max_memory.saturating_sub(self.retained.own_bytes());
    }

    /// The sessions that are subscribed to a topic, and still to get retained messages.
    fn subscribed(&mut self, topic: TopicName<'_>) -> Vec<u32> {
        let Self { hub, tree, scratch, .. } = self;
        tree.find_matches(topic, &mut scratch.matches);
        let subscribers = tree.lists(&scratch.matches).flatten().map(|subscriber| subscriber.session);
        let is_feeding = |&session: &u32| hub.sessions.get(session).is_some_and(|session| session.feed.is_some());
        let mut sessions: Vec<_> = subscribers.filter(is_feeding).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Gives a message to all that are subscribed.
    fn forward(&mut self, from: Option<u32>, publish: MessageRef<'_>, large: Option<Bytes>) -> Forwarded {
        if self.hub.feeding != 0 {
            let sessions = self.subscribed(publish.topic);
            self.send_retained_first(publish.topic, &sessions);
        }
        let Self { hub, tree, scratch, config, random, now, .. } = self;
        let Scratch { encoded, matches, merging, groups } = scratch;
        tree.find_matches(publish.topic, matches);
        if matches.is_empty() {
            let is_of_a_client = u64::from(from.is_some());
            hub.counters.messages_unwanted = hub.counters.messages_unwanted.wrapping_add(is_of_a_client);
            return Forwarded::default();
        }
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let mut copies = Copies::new(*now, publish, large, expires_after, &hub.payloads, encoded);

        let dropped_before = hub.drops.len();
        let lists = tree.lists(matches);
        let mut count = merging.forward(hub, lists, from, &mut copies);

        groups.clear();
        groups.extend(tree.groups(matches));
        for &group in groups.iter() {
            let Some(group) = tree.group_mut(group) else { continue };
            let is_delivered = deliver_to_group(hub, group, config.shared_strategy, random, &mut copies);
            count = count.wrapping_add(usize::from(is_delivered));
        }
        let dropped = hub.drops.get(dropped_before..).unwrap_or_default();
        let is_for_room =
            |(_, reason): &(u32, DropReason)| matches!(reason, DropReason::QueueFull | DropReason::Memory);
        Forwarded { has_subscribers: true, copies: count, lacks_room: count == 0 && dropped.iter().any(is_for_room) }
    }

    /// The session of a member of shared subscriptions has ended, and its subscriptions with it: what came to it by a share
    /// goes to other members. Where there is none it is dropped.
    pub(super) fn pass_on(&mut self, index: u32, marked: Vec<Marked>) {
        if marked.is_empty() {
            return;
        }
        self.hub.count_kept(index); // so that there is room for it
        for message in marked {
            self.pass_on_message(index, &message);
        }
    }

    fn pass_on_message(&mut self, index: u32, marked: &Marked) {
        let Marked { version, message } = marked;
        let Some(publish) = message.stored.as_message(*version) else { return };
        if message.is_expired(self.now) {
            return self.hub.drop(index, DropReason::Expired);
        }
        // The time that it has waited counts [MQTT-3.3.2-6]; before 5.0 the packet does not tell how long it is of use.
        let left = match message.expires_after {
            u32::MAX => u32::MAX,
            seconds => {
                let waited = u32::try_from(self.now.since(message.since).as_secs()).unwrap_or(u32::MAX);
                seconds.saturating_sub(waited)
            }
        };
        let mark = Mark::from_number(message.mark);
        let publish = MessageRef {
            qos: mark.qos,
            retain: mark.retain,
            properties: PublishProperties {
                message_expiry_interval: (left != u32::MAX).then_some(left),
                subscription_identifiers: List::EMPTY,
                ..publish.properties
            },
            ..publish
        };
        let Self { hub, tree, scratch, config, random, now, .. } = self;
        tree.find_matches(publish.topic, &mut scratch.matches);
        let group = tree.find_group(mark.group, &scratch.matches).and_then(|group| tree.group_mut(group));
        let Some(group) = group else { return hub.drop(index, DropReason::SessionEnded) };
        let payload = message.stored.payload().cloned();
        let mut copies = Copies::new(*now, publish, payload, left, &hub.payloads, &mut scratch.encoded);
        let drops = hub.drops.len();
        if !deliver_to_group(hub, group, config.shared_strategy, random, &mut copies) && hub.drops.len() == drops {
            hub.drop(index, DropReason::SessionEnded); // of QoS 0, and nobody is there
        }
    }
}

/// By which shared subscription a message came to a session, and what it was like before the options of that session counted:
/// the mark of the copy that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// The number of the group.
    group: u32,
    retain: bool,
    qos: QoS,
}

impl Mark {
    const fn number(self) -> u32 {
        self.group << 3 | (self.retain as u32) << 2 | self.qos.value() as u32
    }

    const fn from_number(number: u32) -> Self {
        let qos = match number & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        Self { group: number >> 3, retain: number & 4 != 0, qos }
    }
}

impl Merging {
    /// Gives a message to the subscribers in all these lists, each session one copy; how many got it.
    fn forward<'t>(
        &mut self,
        hub: &mut Hub,
        lists: impl Iterator<Item = &'t [Subscriber]>,
        from: Option<u32>,
        copies: &mut Copies<'_>,
    ) -> usize {
        let mut lists = lists;
        let Some(first) = lists.next() else { return 0 };
        // What a client has published itself [MQTT-3.8.3-3].
        let is_wanted = |it: &&Subscriber| !(it.terms.no_local && from == Some(it.session));
        let Some(second) = lists.next() else {
            let delivered = first.iter().filter(is_wanted).filter(|subscriber| hub.deliver_to(subscriber, copies));
            return delivered.count();
        };
        // With the highest QoS and all identifiers [MQTT-3.3.4-2 to MQTT-3.3.4-4].
        self.round = self.round.wrapping_add(1);
        self.merged.clear();
        self.identifiers.clear();
        for subscriber in [first, second].into_iter().chain(lists).flatten().filter(is_wanted) {
            self.merge(hub, subscriber);
        }
        self.identifiers.sort_by_key(|&(place, _)| place);
        let (mut rest, mut count) = (&self.identifiers[..], 0_usize);
        for (place, Merged { session, terms }) in (0_u32..).zip(self.merged.iter()) {
            let (own, others) = rest.split_at(rest.partition_point(|&(of, _)| of == place));
            rest = others;
            self.own.clear();
            self.own.extend(own.iter().map(|&(_, identifier)| identifier));
            count = count.wrapping_add(usize::from(hub.deliver(*session, copies, *terms, &self.own)));
        }
        count
    }

    /// Adds a subscription to what its session gets.
    fn merge(&mut self, hub: &mut Hub, subscriber: &Subscriber) {
        let Subscriber { session, identifier, terms } = *subscriber;
        let Some(state) = hub.sessions.get_mut(session) else { return };
        let (round, place) = state.routed;
        let known = self.merged.get_mut(place as usize).filter(|it| round == self.round && it.session == session);
        let place = match known {
            Some(merged) => {
                merged.terms.qos = merged.terms.qos.max(terms.qos);
                merged.terms.retain_as_published |= terms.retain_as_published;
                place
            }
            None => {
                let place = self.merged.len() as u32;
                state.routed = (self.round, place);
                self.merged.push(Merged { session, terms });
                place
            }
        };
        if let Ok(identifier) = SubscriptionIdentifier::new(identifier) {
            self.identifiers.push((place, identifier));
        }
    }
}

/// Whether it is a topic of the broker's own: what it says of itself nobody else says.
pub(super) fn is_own(topic: TopicName<'_>) -> bool {
    topic.levels().next() == Some(b"$SYS")
}

/// The member with the fewest messages under way or waiting; among equals the first one from `next` on.
fn least_loaded(hub: &Hub, members: &[Subscriber], next: u32) -> u32 {
    let load = |place: &u32| {
        let member = members.get(*place as usize)?;
        let server = &hub.sessions.get(member.session)?.server;
        Some((!server.is_connected(), server.load()))
    };
    in_turn(members, next).min_by_key(|place| load(place).unwrap_or((true, usize::MAX))).unwrap_or(0)
}

/// The places of all members, from `start` on and around.
fn in_turn(members: &[Subscriber], start: u32) -> impl Iterator<Item = u32> + use<> {
    let len = members.len() as u32;
    let start = if start < len { start } else { 0 };
    (start..len).chain(0..start)
}

/// Gives a message to one member of a group; whether one took it.
fn deliver_to_group(
    hub: &mut Hub,
    group: &mut Group,
    strategy: SharedStrategy,
    random: &mut Random,
    copies: &mut Copies<'_>,
) -> bool {
    let start = match strategy {
        SharedStrategy::RoundRobin => group.next,
        SharedStrategy::Random => random.index(group.members.len()) as u32,
        SharedStrategy::LeastLoaded => least_loaded(hub, &group.members, group.next),
    };
    copies.set_mark(Mark { group: group.number, retain: copies.retain(), qos: copies.qos() }.number());
    let chosen = deliver_to_one(hub, &group.members, start, copies);
    copies.set_mark(0);
    if let Some(chosen) = chosen {
        group.next = chosen.wrapping_add(1);
    }
    chosen.is_some()
}

/// Gives a message to one member: the first from `start` on that is connected and takes it, or else the first that takes
/// it. Which one it was. If none does, that is one message that is dropped, however many could not take it.
fn deliver_to_one(hub: &mut Hub, members: &[Subscriber], start: u32, copies: &mut Copies<'_>) -> Option<u32> {
    let dropped_before = hub.drops.len();
    for connected in [true, false] {
        for place in in_turn(members, start) {
            let Some(member) = members.get(place as usize) else { continue };
            let is_connected = |it: &Session| it.server.is_connected();
            if hub.sessions.get(member.session).map(is_connected) == Some(connected) && hub.deliver_to(member, copies) {
                hub.take_back_drops(dropped_before);
                return Some(place);
            }
        }
    }
    hub.take_back_drops(dropped_before.saturating_add(1));
    None
}
