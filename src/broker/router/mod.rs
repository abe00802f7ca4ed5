//! Who gets what: subscriptions, retained messages, and the way of a message to its subscribers.
//!
//! The router knows no policy: it gets the decisions as arguments, and returns what became of a message.

pub(super) mod list_id;
mod merge;
pub(super) mod retained;
mod retained_message;
pub(super) mod retained_walk;
mod shared;
pub(super) mod subscribers;
mod subscriptions;
mod tree;
mod trie;

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use self::list_id::GroupIndex;
use self::merge::Merging;
use self::retained::{Reference, Retained};
use self::retained_message::{Publisher, RetainedMessage};
use self::shared::Mark;
use self::subscribers::{Subscriber, SubscriptionOptions};
use self::tree::{Matches, Tree};
use super::config::BrokerConfig;
use super::counters::DropReason;
use super::index::SessionIndex;
use super::secret::Use;
use super::session::Session;
use super::sessions::Sessions;
use crate::codec::{List, PubAckReasonCode, PublishProperties};
use crate::random::Random;
use crate::server::{Copies, Encoded, Marked};
use crate::session::{LARGE, MessageRef};
use crate::time::Instant;
use crate::topic::TopicName;

/// The subscriptions and the retained messages of a broker.
pub(super) struct Router {
    config: Arc<BrokerConfig>,
    tree: Tree,
    retained: Retained,
    /// Chooses members of groups.
    random: Random,
    // Buffers, reused to avoid allocations.
    encoded: Encoded,
    matches: Matches,
    merging: Merging,
    groups: Vec<GroupIndex>,
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    /// Whether a subscription matches, even if no copy was delivered.
    pub(super) has_subscribers: bool,
    /// Number of copies that were sent or stored.
    pub(super) copies: usize,
    /// Whether there was no copy for want of room.
    pub(super) lacks_room: bool,
    /// The message that was retained, and when it expires; or the one that was removed, and [`Instant::NEVER`].
    pub(super) retained: Option<(Instant, Reference)>,
}

impl Router {
    pub(super) fn new(config: Arc<BrokerConfig>) -> Self {
        Self {
            tree: Tree::new(&config.secret),
            retained: Retained::new(&config.secret),
            random: Random::new(config.secret.number(Use::GroupMembers)),
            config,
            encoded: Encoded::default(),
            matches: Matches::default(),
            merging: Merging::default(),
            groups: Vec::new(),
        }
    }

    /// Number of subscriptions.
    pub(super) const fn subscriptions(&self) -> u32 {
        self.tree.len()
    }

    /// Number of shared subscriptions.
    pub(super) const fn shared_subscriptions(&self) -> u32 {
        self.tree.shared()
    }

    /// Number of retained messages.
    pub(super) const fn retained(&self) -> u32 {
        self.retained.len()
    }

    /// The size of the retained messages in bytes, with their nodes.
    pub(super) const fn retained_bytes(&self) -> u64 {
        self.retained.bytes()
    }

    /// The memory that subscriptions take, in bytes, without the lists of the sessions.
    pub(super) fn subscriptions_allocated(&self) -> u64 {
        self.tree.bytes() as u64
    }

    /// The memory that retained messages take, in bytes, without shared payloads.
    pub(super) fn retained_allocated(&self) -> u64 {
        self.retained.allocated()
    }

    /// Whether a topic or a filter has more levels than the configuration allows.
    pub(super) fn has_too_many_levels<'t>(&self, levels: impl Iterator<Item = &'t [u8]>) -> bool {
        levels.count() > usize::from(self.config.max_topic_levels)
    }

    /// Publishes a message of a client or of the broker's own: it is retained if its RETAIN flag is set, and forwarded. A
    /// large payload may be given apart, as shared bytes; the one in the packet is empty then.
    ///
    /// # Errors
    ///
    /// The reason code for the publisher if the message is refused. It was not forwarded then.
    pub(super) fn publish(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: Option<SessionIndex>,
        publish: &MessageRef<'_>,
        large: Option<Bytes>,
    ) -> Result<Published, PubAckReasonCode> {
        if self.has_too_many_levels(publish.topic.levels()) {
            return Err(PubAckReasonCode::TopicNameInvalid);
        }
        let mut large = large;
        let mut retained = None;
        if publish.retain && self.config.server.retain_available {
            if publish.payload.len() >= LARGE {
                // One copy of the payload, for the retained message and all subscribers.
                large = Some(sessions.memory().payloads().share(Bytes::copy_from_slice(publish.payload)));
            }
            let payload = if large.is_some() { &[] } else { publish.payload };
            retained = self.retain(sessions, now, from, &MessageRef { payload, ..*publish }, large.as_ref())?;
        }
        Ok(Published { retained, ..self.forward(sessions, now, from, *publish, large) })
    }

    /// Retains a message as the one of its topic, or with an empty payload removes the one that is there
    /// \[MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7\]. Returns the message and when it expires, which one that was removed
    /// does not.
    fn retain(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: Option<SessionIndex>,
        publish: &MessageRef<'_>,
        large: Option<&Bytes>,
    ) -> Result<Option<(Instant, Reference)>, PubAckReasonCode> {
        if publish.payload.is_empty() && large.is_none() {
            return Ok(self.remove_retained(sessions, publish.topic).map(|removed| (Instant::NEVER, removed)));
        }
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let publisher = from.map_or(Publisher::BROKER, |index| self.publisher(sessions, index));
        let message = RetainedMessage::new(publish, large, expires_after, publisher, now)
            .map_err(|_| PubAckReasonCode::ImplementationSpecificError)?;
        let outlook = self.retained.with(publish.topic, &message);
        let used = sessions.memory().used().saturating_sub(outlook.replaced_payload);
        let memory = used.saturating_add(outlook.own_bytes);
        if outlook.count > self.config.max_retained || memory > self.config.max_memory {
            return Err(PubAckReasonCode::QuotaExceeded);
        }
        let expires_at = message.expires_at();
        let reference = self.retained.set(publish.topic, message).ok_or(PubAckReasonCode::QuotaExceeded)?;
        self.share_memory(sessions);
        Ok(Some((expires_at, reference)))
    }

    /// Removes the retained message of a topic, and returns it if there was one.
    pub(super) fn remove_retained(&mut self, sessions: &mut Sessions, topic: TopicName<'_>) -> Option<Reference> {
        let removed = self.retained.remove(topic);
        self.share_memory(sessions);
        removed
    }

    /// Removes the retained message of a topic if its Message Expiry Interval has passed; returns when it expires if not.
    pub(super) fn remove_expired(&mut self, sessions: &mut Sessions, topic: u32, now: Instant) -> Option<Instant> {
        let expires_at = self.retained.remove_expired(topic, now);
        self.share_memory(sessions);
        expires_at
    }

    /// Leaves the memory that retained messages do not take to messages that are stored for sessions.
    fn share_memory(&self, sessions: &mut Sessions) {
        sessions.memory_mut().set_limit(self.config.max_memory.saturating_sub(self.retained.own_bytes()));
    }

    fn publisher(&self, sessions: &Sessions, index: SessionIndex) -> Publisher {
        let client_id = sessions.client_id(index);
        if client_id.is_none() {
            bug!("the session of a publisher exists");
        }
        self.retained.publisher(client_id.unwrap_or_default())
    }

    /// Gives a message to all subscribers.
    pub(super) fn forward(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: Option<SessionIndex>,
        publish: MessageRef<'_>,
        large: Option<Bytes>,
    ) -> Published {
        if sessions.walking() != 0 {
            self.send_retained_first(sessions, now, publish.topic);
        }
        let Self { tree, encoded, matches, merging, groups, config, random, .. } = self;
        tree.find_matches(publish.topic, matches);
        if matches.is_empty() {
            let counters = sessions.counters_mut();
            counters.messages_without_subscriber =
                counters.messages_without_subscriber.wrapping_add(u64::from(from.is_some()));
            return Published::default();
        }
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let mut copies = Copies::new(now, publish, large, expires_after, sessions.memory().payloads(), encoded);

        let dropped_before = sessions.drop_count();
        let lists = tree.lists(matches);
        let mut count = merging.deliver(sessions, lists, from, &mut copies);

        groups.clear();
        groups.extend(tree.groups(matches));
        for &index in groups.iter() {
            let Some(group) = tree.group_mut(index) else {
                bug!("a filter refers to groups that exist");
                continue;
            };
            let is_delivered = group.deliver(sessions, config.shared_strategy, random, &mut copies);
            count = count.wrapping_add(usize::from(is_delivered));
        }
        let is_for_room =
            |(_, reason): &(SessionIndex, DropReason)| matches!(reason, DropReason::QueueFull | DropReason::Memory);
        let lacks_room = count == 0 && sessions.drops_since(dropped_before).iter().any(is_for_room);
        Published { has_subscribers: true, copies: count, lacks_room, retained: None }
    }

    /// Gives a message that came to a session by a shared subscription to another member of the group, because the session
    /// has ended and its subscriptions with it. Without such a member the message is dropped.
    pub(super) fn pass_on(&mut self, sessions: &mut Sessions, now: Instant, index: SessionIndex, marked: &Marked) {
        let Marked { version, message } = marked;
        let Some(publish) = message.stored.as_publish(*version) else {
            return bug!("a stored message is a PUBLISH packet");
        };
        if message.is_expired(now) {
            return sessions.drop_copy(index, DropReason::Expired);
        }
        // The time in the queue counts [MQTT-3.3.2-6]. Before 5.0 the packet does not have the interval.
        let left = match message.expires_after {
            u32::MAX => u32::MAX,
            seconds => {
                let waited = u32::try_from(now.since(message.since).as_secs()).unwrap_or(u32::MAX);
                seconds.saturating_sub(waited)
            }
        };
        let mark = Mark::from_number(message.mark);
        let properties = PublishProperties {
            message_expiry_interval: (left != u32::MAX).then_some(left),
            subscription_identifiers: List::EMPTY,
            ..publish.properties
        };
        let publish =
            MessageRef { qos: mark.qos, retain: mark.retain, properties: &properties, ..MessageRef::of(&publish) };
        let Self { tree, encoded, matches, config, random, .. } = self;
        tree.find_matches(publish.topic, matches);
        let group = tree.find_group(mark.group, matches).and_then(|group| tree.group_mut(group));
        // The group ends with its last member.
        let Some(group) = group else { return sessions.drop_copy(index, DropReason::SessionEnded) };
        let payload = message.stored.payload().cloned();
        let mut copies = Copies::new(now, publish, payload, left, sessions.memory().payloads(), encoded);
        let drops = sessions.drop_count();
        if !group.deliver(sessions, config.shared_strategy, random, &mut copies) && sessions.drop_count() == drops {
            sessions.drop_copy(index, DropReason::SessionEnded); // of QoS 0, and no member is connected
        }
    }

    /// Sends a session the next of the retained messages that it is still to get, if the session takes one at once; returns
    /// whether the walk went on.
    pub(super) fn advance_walk(&mut self, sessions: &mut Sessions, now: Instant, index: SessionIndex) -> bool {
        let Some(session) = sessions.get_mut(index) else {
            bug!("a session walks while it exists");
            return false;
        };
        let (server, walk) = session.server_and_walk();
        // Most sessions have nothing to get.
        let Some(walk) = walk else { return false };
        let Some((reference, subscriber)) = walk.peek(&self.retained, now) else {
            sessions.end_walk(index);
            return false;
        };
        if let Some(message) = self.retained.get(reference) {
            let qos = message.qos().min(subscriber.options.qos);
            if !server.has_room_for(qos, message.len()) {
                return false;
            }
        }
        walk.advance();
        self.send_retained(sessions, now, reference, subscriber);
        true
    }

    /// Sends a retained message. If it was replaced or removed meanwhile, the subscriber has got what came after it.
    fn send_retained(&mut self, sessions: &mut Sessions, now: Instant, reference: Reference, subscriber: Subscriber) {
        let own = self.publisher(sessions, subscriber.session);
        // The message may have expired, or may have been replaced.
        let Some(message) = self.retained.get(reference).filter(|message| !message.is_expired(now)) else { return };
        if subscriber.options.no_local && message.publisher() == own {
            return; // a client does not get what it has published itself, retained or not [MQTT-3.8.3-3]
        }
        let Some((publish, shared, left)) = message.message(now) else {
            return bug!("a retained message is a PUBLISH packet");
        };
        // The RETAIN flag is set, whatever the subscription options say [3.1.1: MQTT-3.3.1-8].
        let options = SubscriptionOptions { retain_as_published: true, ..subscriber.options };
        let publish = MessageRef { retain: true, ..MessageRef::of(&publish) };
        let mut copies =
            Copies::new(now, publish, shared.cloned(), left, sessions.memory().payloads(), &mut self.encoded);
        sessions.deliver_to(&Subscriber { options, ..subscriber }, &mut copies);
    }

    /// Sends the retained message of a topic to those sessions that are still to get it, before a newer message is forwarded
    /// to them: an older message never comes after a newer one \[MQTT-4.6.0-6\].
    fn send_retained_first(&mut self, sessions: &mut Sessions, now: Instant, topic: TopicName<'_>) {
        self.tree.find_matches(topic, &mut self.matches);
        let subscribers = self.tree.lists(&self.matches).flatten().map(|subscriber| subscriber.session);
        let is_walking = |&index: &SessionIndex| sessions.get(index).is_some_and(Session::is_walking);
        let mut walking: Vec<_> = subscribers.filter(is_walking).collect();
        walking.sort_unstable();
        walking.dedup();
        // Without a retained message of this topic there is nothing to send first.
        let Some(reference) = self.retained.find(topic) else { return };
        for index in walking {
            let walk = sessions.get_mut(index).and_then(Session::walk_mut);
            for subscriber in walk.map(|walk| walk.take(topic, reference)).unwrap_or_default() {
                self.send_retained(sessions, now, reference, subscriber);
            }
        }
    }
}
