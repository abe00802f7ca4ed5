//! Who gets what: subscriptions, retained messages, and the way of a message to its subscribers.
//!
//! The router knows no policy: it gets the decisions as arguments, and returns what became of a message.

pub(super) mod list_id;
mod lists;
mod matching;
mod merge;
mod ordered;
pub(super) mod published_by;
pub(super) mod retained;
pub(super) mod retained_delivery;
pub(super) mod retained_message;
pub(super) mod retained_walk;
mod shared;
pub(super) mod spread;
pub(super) mod subscribers;
mod subscriptions;
mod tree;
mod trie;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;

use self::list_id::{GroupIndex, ListId};
use self::matching::{Cursor, Search};
use self::merge::Merging;
use self::published_by::PublishedBy;
use self::retained::{Charge, Reference, Retained};
use self::retained_delivery::{RetainedFirst, Walk};
use self::retained_message::{Publisher, RetainedMessage};
use self::shared::Mark;
use self::spread::Spread;
use self::tree::{Matches, Tree};
use super::config::BrokerConfig;
use super::counters::DropReason;
use super::durability::publication::Content;
use super::index::SessionIndex;
use super::jobs::turns::PrincipalIndex;
use super::jobs::work::Work;
use super::secret::Use;
use super::session::Session;
use super::sessions::Sessions;
use super::slab::Key;
use crate::codec::{List, PubAckReasonCode, Publish, PublishProperties, QoS, UserProperty};
use crate::random::Random;
use crate::server::{Copies, Encoded, Marked};
use crate::session::{LARGE, MessageRef};
use crate::sync::Arc;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// The subscriptions and the retained messages of a broker.
pub(super) struct Router {
    config: Arc<BrokerConfig>,
    tree: Tree,
    retained: Retained,
    /// Chooses members of groups.
    random: Random,
    // Buffers, reused to avoid allocations.
    encoded: Encoded,
    encoded_retained: Encoded,
    search: Search,
    matches: Matches,
    merging: Merging,
    groups: Vec<GroupIndex>,
    /// The number of the newest message that did not get to all of its subscribers in one call.
    last_spread: u64,
    /// The sessions whose walks wait until such a message has gone to all.
    walks: BTreeSet<(u64, Key)>,
}

/// A message that was published.
pub(super) enum Published {
    /// It has gone to all subscribers.
    Done(Outcome),
    /// It goes on to its subscribers by [`Router::spread`].
    Spreading(Box<Spread>),
}

/// A retained message that was restored.
pub(super) struct RestoredRetained {
    pub(super) expires_at: Instant,
    /// The index of the topic.
    pub(super) topic: u32,
    /// The number of the message that was there before; 0 for none.
    pub(super) replaced: u64,
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Whether a subscription matches, even if no copy was delivered.
    pub(super) has_subscribers: bool,
    /// Whether there was no copy for want of room.
    pub(super) lacks_room: bool,
}

impl Router {
    pub(super) fn new(config: Arc<BrokerConfig>) -> Self {
        Self {
            tree: Tree::new(&config.secret),
            retained: Retained::new(&config.secret),
            random: Random::new(config.secret.number(Use::GroupMembers)),
            config,
            encoded: Encoded::default(),
            encoded_retained: Encoded::default(),
            search: Search::default(),
            matches: Matches::default(),
            merging: Merging::default(),
            groups: Vec::new(),
            last_spread: 0,
            walks: BTreeSet::new(),
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

    /// What a principal is charged for a subscription by this filter, in bytes: the filter in full, with each level.
    pub(super) fn charge_of_filter(filter: TopicFilter<'_>) -> i32 {
        Tree::charge_of_filter(filter)
    }

    /// The numbers of retained messages in the store of a durable broker. For tests.
    pub(super) fn retained_numbers(&self) -> impl Iterator<Item = u64> {
        self.retained.numbers_in_store()
    }

    /// What principals are charged for retained messages: the principal, and the size in bytes. For tests.
    pub(super) fn retained_charges(&self) -> impl Iterator<Item = (PrincipalIndex, u64)> {
        self.retained.charges().map(|Charge { principal, bytes }| (principal, bytes))
    }

    /// Whether a topic or a filter has more levels than the configuration allows.
    #[inline]
    pub(super) fn has_too_many_levels(&self, text: &[u8]) -> bool {
        let max = usize::from(self.config.max_topic_levels);
        // Most texts are shorter than that many levels.
        text.len() >= max && text.iter().filter(|&&byte| byte == b'/').count() >= max
    }

    /// Retains a message if its RETAIN flag is set; returns the message that is retained now, and when it expires. A large
    /// payload may be given apart, as shared bytes; the one in the message is empty then.
    ///
    /// # Errors
    ///
    /// The reason code for the publisher if the message is refused.
    pub(super) fn accept(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: PublishedBy,
        publish: &MessageRef<'_>,
        large: &mut Option<Bytes>,
    ) -> Result<Option<(Instant, Reference)>, PubAckReasonCode> {
        if self.has_too_many_levels(publish.topic.as_bytes()) {
            return Err(PubAckReasonCode::TopicNameInvalid);
        }
        if !publish.retain || !self.config.server.retain_available {
            return Ok(None);
        }
        if publish.payload.len() >= LARGE {
            // One copy of the payload, for the retained message and all subscribers.
            *large = Some(sessions.share_payload(publish.payload));
        }
        let payload = if large.is_some() { &[] } else { publish.payload };
        let retained = self.retain(sessions, now, from, &MessageRef { payload, ..*publish }, large.as_ref());
        sessions.work_mut().spend_text(publish.topic.as_bytes().len()); // it was looked up
        self.count_work(sessions);
        retained
    }

    /// Retains a message as the one of its topic, or with an empty payload removes the one that is there
    /// \[MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7\]. Returns the message and when it expires, which one that was removed
    /// does not.
    fn retain(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: PublishedBy,
        publish: &MessageRef<'_>,
        large: Option<&Bytes>,
    ) -> Result<Option<(Instant, Reference)>, PubAckReasonCode> {
        if publish.payload.is_empty() && large.is_none() {
            return Ok(self.remove_retained(sessions, publish.topic).map(|removed| (Instant::NEVER, removed)));
        }
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let publisher = match from {
            PublishedBy::Session(index) => self.publisher(sessions, index),
            PublishedBy::Gone => Publisher::UNKNOWN,
            PublishedBy::Broker => Publisher::BROKER,
        };
        let message = RetainedMessage::new(publish, large, expires_after, publisher, now)
            .map_err(|_| PubAckReasonCode::ImplementationSpecificError)?;
        sessions.work_mut().spend_more_bytes(message.own_len());
        let outlook = self.retained.with(publish.topic, &message);
        let principal =
            from.session().and_then(|index| sessions.get(index)).map_or(PrincipalIndex::BROKER, Session::principal);
        let own = outlook.replaced.filter(|replaced| replaced.principal == principal).map_or(0, |own| own.bytes);
        let has_room = sessions.account().has_room_for_retained(
            principal,
            (outlook.own_bytes, outlook.replaced_payload),
            (outlook.charge, own),
        );
        if outlook.count > self.config.max_retained || !has_room {
            return Err(PubAckReasonCode::QuotaExceeded);
        }
        let expires_at = message.expires_at();
        let charge = Charge { principal, bytes: outlook.charge };
        let replaced = outlook.replaced;
        let reference = self.retained.set(publish.topic, message, principal, &outlook);
        let reference = reference.ok_or(PubAckReasonCode::QuotaExceeded)?;
        self.charge(sessions, Some(charge), replaced);
        // What the broker says about itself begins anew with each process.
        if !is_own(publish.topic) {
            let number = sessions.store_retained(outlook.replaced_number);
            if number != 0 {
                self.retained.set_number(reference, number);
            }
        }
        Ok(Some((expires_at, reference)))
    }

    /// Removes the retained message of a topic, and returns it if there was one.
    pub(super) fn remove_retained(&mut self, sessions: &mut Sessions, topic: TopicName<'_>) -> Option<Reference> {
        let (removed, charge, number) = self.retained.remove(topic)?;
        self.charge(sessions, None, Some(charge));
        sessions.forget_retained(number);
        self.count_work(sessions);
        Some(removed)
    }

    /// Removes the retained message of a topic if its Message Expiry Interval has passed; returns when it expires if not.
    pub(super) fn remove_expired(&mut self, sessions: &mut Sessions, topic: u32, now: Instant) -> Option<Instant> {
        let removed = self.retained.remove_expired(topic, now)?;
        self.count_work(sessions);
        match removed {
            Ok((charge, number)) => {
                self.charge(sessions, None, Some(charge));
                sessions.forget_retained(number);
                None
            }
            Err(expires_at) => Some(expires_at),
        }
    }

    /// The retained messages have changed, with these charges.
    fn charge(&self, sessions: &mut Sessions, new: Option<Charge>, old: Option<Charge>) {
        let account = sessions.account_mut();
        account.set_retained(self.retained.own_bytes());
        let parts = |Charge { principal, bytes }| (principal, bytes);
        account.charge_retained(new.map(parts), old.map(parts));
    }

    /// Counts the work of changes of subscriptions and retained messages, in units.
    fn count_work(&mut self, sessions: &mut Sessions) {
        let units = self.tree.take_work().saturating_add(self.retained.take_work());
        sessions.work_mut().spend(units);
    }

    /// The retained message of a topic.
    pub(super) fn retained_message(&self, topic: TopicName<'_>) -> Option<&RetainedMessage> {
        self.retained.find(topic).and_then(|reference| self.retained.get(reference))
    }

    /// An index above those of all topics.
    pub(super) fn end_of_topics(&self) -> u32 {
        self.retained.end()
    }

    /// The retained message of the topic with this index, if it has one, and the topic.
    pub(super) fn retained_at(&self, topic: u32) -> Option<(Vec<u8>, &RetainedMessage)> {
        self.retained.with_topic(topic)
    }

    /// The QoS of a message that is retained, if it still is the one of its topic, and is in the store of a durable broker.
    pub(super) fn stored_qos(&self, reference: Reference) -> Option<QoS> {
        self.retained.get(reference).filter(|message| message.number() != 0).map(RetainedMessage::qos)
    }

    /// The client with this client identifier as a publisher.
    pub(super) fn publisher_of(&self, client_id: &str) -> Publisher {
        self.retained.publisher(client_id)
    }

    /// Adds a retained message that is restored, whatever limits there are now; `None` if no more topics can be held.
    pub(super) fn restore_retained(
        &mut self,
        sessions: &mut Sessions,
        topic: TopicName<'_>,
        message: RetainedMessage,
        number: u64,
    ) -> Option<RestoredRetained> {
        let mut message = message;
        message.set_number(number);
        let (expires_at, outlook) = (message.expires_at(), self.retained.with(topic, &message));
        let charge = Charge { principal: PrincipalIndex::BROKER, bytes: outlook.charge };
        let reference = self.retained.set(topic, message, PrincipalIndex::BROKER, &outlook)?;
        self.charge(sessions, Some(charge), outlook.replaced);
        self.retained.take_work();
        Some(RestoredRetained { expires_at, topic: reference.topic(), replaced: outlook.replaced_number })
    }

    /// A message that was restored has this mark, 0 for none: no other group gets the number of its group.
    pub(super) fn note_mark(&mut self, mark: u32) {
        self.tree.note_group_number(Mark::from_number(mark).group);
    }

    fn publisher(&self, sessions: &mut Sessions, index: SessionIndex) -> Publisher {
        let client_id = sessions.client_id(index);
        if client_id.is_none() {
            bug!("the session of a publisher exists");
        }
        let client_id = client_id.unwrap_or_default();
        let (publisher, hashed) = (self.retained.publisher(client_id), client_id.len());
        sessions.work_mut().spend_more_bytes(hashed);
        publisher
    }

    /// Gives a message to all subscribers, or begins to. A large payload may be given apart, as shared bytes; the one in the
    /// message is empty then. `retained` is the message as the one that is retained for its topic, if it is.
    ///
    /// # Errors
    ///
    /// The reason code for the publisher if the message cannot be held until it has gone to all subscribers.
    #[inline]
    pub(super) fn forward(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: PublishedBy,
        publish: &MessageRef<'_>,
        large: Option<Bytes>,
        retained: Option<Reference>,
    ) -> Result<Published, PubAckReasonCode> {
        let Self { tree, search, matches, .. } = self;
        let rest = search.run(tree, publish.topic, None, sessions.work_mut(), matches);
        if rest.is_none() {
            if matches.is_empty() {
                count_unwanted(sessions, from.is_client());
                return Ok(Published::Done(Outcome::default()));
            }
            let (count, each) = (tree.count(matches) as u64, cost_of_copy(publish));
            let first =
                if sessions.walking() == 0 { 0 } else { retained_delivery::cost(&self.retained, publish.topic) };
            if count.saturating_mul(each.saturating_add(first).saturating_add(MORE)) <= sessions.work().left() {
                sessions.work_mut().spend_each(count, each);
                return Ok(Published::Done(self.forward_at_once(sessions, now, from, publish, large)));
            }
        }
        self.begin_spread(sessions, now, from, publish, large, retained, rest)
    }

    /// Gives a message to all subscribers of the filters that were found.
    #[inline]
    fn forward_at_once(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: PublishedBy,
        publish: &MessageRef<'_>,
        large: Option<Bytes>,
    ) -> Outcome {
        let Self { tree, encoded, encoded_retained, matches, merging, groups, config, random, retained, .. } = self;
        if publish.payload.len() >= LARGE {
            sessions.work_mut().spend_more_bytes(publish.payload.len()); // it is copied once, for all sessions
        }
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let mut copies = Copies::new(now, publish, large, expires_after, sessions.account().payloads(), encoded);
        // A message that is retained now is part of no walk.
        let mut walks = RetainedFirst::new(retained, encoded_retained, now, publish.topic, None);
        let mut before = |sessions: &mut Sessions, index: SessionIndex, list: ListId| walks.send(sessions, index, list);

        let dropped_before = sessions.drop_count();
        groups.clear();
        let mut count = match tree.only(matches) {
            Some((list, own, shared)) => {
                if shared.len() != 0 {
                    groups.extend(shared.runs().flatten());
                }
                merge::deliver_list(sessions, list, own, from, &mut copies, &mut before)
            }
            None => {
                groups.extend(tree.groups(matches));
                merging.deliver(sessions, tree.lists(matches), from, &mut copies, &mut before)
            }
        };
        for &index in groups.iter() {
            let Some(group) = tree.group_mut(index) else {
                bug!("a filter refers to groups that exist");
                continue;
            };
            let is_delivered = group.deliver(sessions, config.shared_strategy, random, &mut copies);
            count = count.wrapping_add(usize::from(is_delivered));
        }
        let lacks_room = count == 0 && has_dropped_for_room(sessions, dropped_before);
        Outcome { has_subscribers: true, lacks_room }
    }

    /// Holds a message until it has gone to all subscribers: those of the filters that were found, and of those that the rest
    /// of the search finds.
    ///
    /// # Errors
    ///
    /// The reason code for the publisher if the message cannot be held.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    fn begin_spread(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: PublishedBy,
        publish: &MessageRef<'_>,
        large: Option<Bytes>,
        retained: Option<Reference>,
        rest: Option<Cursor>,
    ) -> Result<Published, PubAckReasonCode> {
        let mut large = large;
        if publish.payload.len() >= LARGE {
            large = Some(sessions.share_payload(publish.payload));
        }
        let payload = if large.is_some() { &[] } else { publish.payload };
        let publish = MessageRef { payload, ..*publish };
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let publisher = Publisher::BROKER; // that is not asked for here
        let message = RetainedMessage::new(&publish, large.as_ref(), expires_after, publisher, now)
            .map_err(|_| PubAckReasonCode::ImplementationSpecificError)?;
        sessions.work_mut().spend_bytes(message.own_len());
        self.last_spread = self.last_spread.wrapping_add(1);
        if let Some(reference) = retained {
            self.retained.set_spreading(reference, Some(self.last_spread));
        }
        let mut spread = Spread::new(self.last_spread, message, retained, rest, from.is_client());
        spread.add(&mut self.tree, self.matches.iter());
        Ok(Published::Spreading(Box::new(spread)))
    }

    /// Goes on with a message that does not get to all subscribers in one call, one item at least; returns what became of it
    /// when it has gone to all of them.
    pub(super) fn spread(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: PublishedBy,
        spread: &mut Spread,
    ) -> Option<Outcome> {
        // A message that has expired goes to no other subscriber [MQTT-3.3.2-5].
        let is_over = if spread.message().is_expired(now) {
            self.let_go(sessions, spread)
        } else {
            self.search_on(sessions, now, spread) && self.deliver_spread(sessions, now, from, spread)
        };
        self.count_work(sessions);
        if is_over {
            if let Some(reference) = spread.retained() {
                self.retained.set_spreading(reference, None);
            }
            let (has_subscribers, lacks_room) = spread.outcome();
            let outcome = Outcome { has_subscribers, lacks_room };
            if !outcome.has_subscribers {
                count_unwanted(sessions, spread.is_of_client());
            }
            return Some(outcome);
        }
        None
    }

    /// Goes on with the search for the filters that a message matches; returns whether all are found.
    fn search_on(&mut self, sessions: &mut Sessions, now: Instant, spread: &mut Spread) -> bool {
        let Self { tree, search, matches, .. } = self;
        if spread.search().is_some()
            && let Some((publish, ..)) = spread.message().message(now)
        {
            sessions.work_mut().spend_more_bytes(spread.message().own_len()); // the message is decoded
            let rest = search.run(tree, publish.topic, spread.search(), sessions.work_mut(), matches);
            spread.add(tree, matches.iter());
            spread.set_search(rest);
        }
        spread.search().is_none()
    }

    /// Lets go of lists that a message does not go to, one at least; returns whether that were all.
    fn let_go(&mut self, sessions: &mut Sessions, spread: &mut Spread) -> bool {
        while spread.let_go(&mut self.tree) {
            sessions.work_mut().spend(1);
            if sessions.work().is_spent() {
                return false;
            }
        }
        true
    }

    /// Gives a message to its next subscribers; returns whether it has gone to all.
    fn deliver_spread(
        &mut self,
        sessions: &mut Sessions,
        now: Instant,
        from: PublishedBy,
        spread: &mut Spread,
    ) -> bool {
        let Self { tree, encoded, encoded_retained, config, random, retained, .. } = self;
        let own = spread.retained();
        let (message, mut position) = spread.split();
        let Some((publish, large, left)) = message.message(now) else { return true };
        sessions.work_mut().spend_more_bytes(message.own_len()); // the message is decoded
        let (topic, publish) = (publish.topic, MessageRef::of(&publish));
        let each = cost_of_copy(&publish);
        let mut copies = Copies::new(now, &publish, large.cloned(), left, sessions.account().payloads(), encoded);
        let mut walks = RetainedFirst::new(retained, encoded_retained, now, topic, own);
        let dropped_before = sessions.drop_count();
        // One item is done at least, whatever is left of the budget.
        let mut is_done = !position.is_past_sessions();
        let mut count = position.deliver(tree, sessions, from, &mut copies, each, &mut |sessions, index, list| {
            walks.send(sessions, index, list)
        });
        let mut is_over = position.is_past_sessions();
        while is_over
            && (!is_done || !sessions.work().is_spent())
            && let Some(index) = position.next_group(tree)
        {
            is_done = true;
            let Some(group) = tree.group_mut(index) else {
                bug!("a filter refers to groups that exist");
                continue;
            };
            let is_delivered = group.deliver(sessions, config.shared_strategy, random, &mut copies);
            count = count.wrapping_add(usize::from(is_delivered));
            sessions.work_mut().spend(each);
        }
        is_over &= position.has_no_groups();
        position.unpin(tree);
        let lacks_room = has_dropped_for_room(sessions, dropped_before);
        spread.count(count, lacks_room);
        is_over
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
        // It is stored as the client has seen it.
        let mount = sessions.get(index).and_then(Session::mount);
        let full = |topic: TopicName<'_>| mount.and_then(|mount| mount.topic(topic));
        let (topic, response_topic) = (full(publish.topic), publish.properties.response_topic.and_then(full));
        let topic = topic.as_deref().map_or(publish.topic, TopicName::validated);
        let response_topic = response_topic.as_deref().map(TopicName::validated).or(publish.properties.response_topic);
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
            response_topic,
            ..publish.properties
        };
        let publish = Publish { topic, ..publish };
        let publish =
            MessageRef { qos: mark.qos, retain: mark.retain, properties: &properties, ..MessageRef::of(&publish) };
        // The message is decoded, and written for another session.
        sessions.work_mut().spend_more_bytes(message.stored.bytes().len().saturating_mul(2));
        let Self { tree, encoded, config, random, .. } = self;
        let found = tree.find_group(mark.group, publish.topic);
        sessions.work_mut().spend(tree.take_work());
        let group = found.and_then(|group| tree.group_mut(group));
        // The group ends with its last member.
        let Some(group) = group else { return sessions.drop_copy(index, DropReason::SessionEnded) };
        let payload = message.stored.payload().cloned();
        let shared = payload.clone();
        let content = Content {
            message: publish,
            payload: shared.as_deref().unwrap_or(publish.payload),
            since: now,
            expires_after: left,
        };
        let number = message.stored.in_store().number;
        let outer = sessions.begin_copies(number);
        let mut copies = Copies::new(now, &publish, payload, left, sessions.account().payloads(), encoded);
        let drops = sessions.drop_count();
        if !group.deliver(sessions, config.shared_strategy, random, &mut copies) && sessions.drop_count() == drops {
            sessions.drop_copy(index, DropReason::SessionEnded); // of QoS 0, and no member is connected
        }
        sessions.end_copies(number, outer, &content);
    }

    /// Goes on with the retained messages that a session is still to get, one step at least, as far as the session takes them
    /// and the budget goes.
    pub(super) fn advance_walk(&mut self, sessions: &mut Sessions, now: Instant, index: SessionIndex) -> Walk {
        let Self { tree, retained, encoded, .. } = self;
        let done = retained_delivery::advance(retained, tree, encoded, sessions, now, index);
        if let Walk::Message(number) = done
            && let Some(key) = sessions.key(index)
        {
            self.walks.insert((number, key));
        }
        done
    }

    /// The next session whose walk waits until a message has gone to all, which it has; the session may have ended.
    pub(super) fn next_waiting_walk(&mut self, number: u64) -> Option<Key> {
        const ANY: Key = Key { index: 0, generation: 0 };
        let first = *self.walks.range((number, ANY)..).next().filter(|first| first.0 == number)?;
        self.walks.remove(&first);
        Some(first.1)
    }

    /// A session is to get no more retained messages.
    pub(super) fn end_walk(&mut self, sessions: &mut Sessions, index: SessionIndex) {
        let number = sessions.get(index).and_then(|session| session.walk()?.message());
        if let Some(number) = number
            && let Some(key) = sessions.key(index)
        {
            self.walks.remove(&(number, key));
        }
        sessions.end_walk(index);
    }
}

/// Whether a topic is one of the broker's own, where no client publishes.
pub(super) fn is_own(topic: TopicName<'_>) -> bool {
    topic.as_bytes().strip_prefix(b"$SYS").is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

/// What a copy may cost more if it is stored or lost: a session is looked at, and the policy gets a notice.
const MORE: u64 = 2;

/// The work of a copy of a message.
#[inline]
pub(super) fn cost_of_copy(publish: &MessageRef<'_>) -> u64 {
    let properties = publish.properties;
    // The properties that can be long; user properties are measured only where there are some.
    let fields = [
        properties.content_type.map_or(0, |text| text.as_str().len()),
        properties.response_topic.map_or(0, |topic| topic.as_bytes().len()),
        properties.correlation_data.map_or(0, <[u8]>::len),
    ];
    let payload = if publish.payload.len() >= LARGE { 0 } else { publish.payload.len() };
    let bytes = fields.into_iter().fold(payload, usize::saturating_add);
    let topic = publish.topic.as_bytes().len();
    if properties.user_properties.is_empty() {
        return Work::units_of(bytes.saturating_add(topic));
    }
    let pairs = bytes_of_pairs(&properties.user_properties);
    let units = Work::units_of(bytes.saturating_add(topic).saturating_add(pairs));
    units.saturating_add(Work::units_of_pairs(properties.user_properties.len()))
}

/// The size of user properties, in bytes.
fn bytes_of_pairs(pairs: &List<'_, UserProperty<'_>>) -> usize {
    match pairs.property_bytes() {
        // With other properties behind the first, and without going through a list that can be long.
        Some(bytes) => bytes.len(),
        None => {
            let sizes = pairs.iter().map(|it| it.name.as_str().len().saturating_add(it.value.as_str().len()));
            sizes.fold(0, usize::saturating_add)
        }
    }
}

/// Counts a message without a matching subscription.
const fn count_unwanted(sessions: &mut Sessions, is_of_client: bool) {
    let counters = sessions.counters_mut();
    counters.messages_without_subscriber = counters.messages_without_subscriber.wrapping_add(is_of_client as u64);
}

/// Whether a copy was dropped for want of room, since there were so many drops.
fn has_dropped_for_room(sessions: &Sessions, before: usize) -> bool {
    let is_for_room =
        |(_, reason): &(SessionIndex, DropReason)| matches!(reason, DropReason::QueueFull | DropReason::Memory);
    sessions.drops_since(before).iter().any(is_for_room)
}
