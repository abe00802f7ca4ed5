//! A broker is restored from its pairs.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::commits::Commits;
use super::publication::StoredPublication;
use super::records::{RetainedRecord, SubscriptionRecord, number_of};
use crate::broker::context::Context;
use crate::broker::index::SessionIndex;
use crate::broker::jobs;
use crate::broker::jobs::publication::{Publication, Source, State};
use crate::broker::jobs::ring::{Job, Order};
use crate::broker::jobs::turns::PrincipalIndex;
use crate::broker::memory_use;
use crate::broker::mount::MountPoint;
use crate::broker::router::retained_message::{Publisher, RetainedMessage};
use crate::broker::router::subscribers::Subscriber;
use crate::broker::session::Session;
use crate::broker::timers::Due;
use crate::codec::{PacketId, PublishProperties, Version};
use crate::server::{ServerConfig, ServerSession};
use crate::session::{
    Contents, DeliveryRecord, Journal, LARGE, MAX_NUMBER, Message, MessageRef, PayloadAccount, RestoredDeliveries,
    ServerRecord, Stored, StoredClock, Token, Will, WillInStore, WillRecord, read_delivery, read_number, read_pairs,
    read_received, read_will,
};
use crate::store::{Counter, Fields, Key, Kind, RestoreError, RestoreErrorKind};
use crate::sync::Arc;
use crate::time::Instant;
use crate::topic::TopicName;

/// The pairs of a broker, as they were read.
#[derive(Default)]
pub(in crate::broker) struct Pairs {
    clock: StoredClock,
    /// The high-water marks of messages and of sessions.
    marks: (u64, u64),
    /// The highest numbers that occur.
    highest: (u64, u64),
    contents: Contents,
    /// The retained messages by number, with the values of their records.
    retained: Vec<(u64, Box<[u8]>)>,
    /// The sessions, in the order of their numbers.
    sessions: Vec<SessionPairs>,
    /// Wills of sessions that have ended: they are on their way to their subscribers.
    wills: Vec<(u64, u64, WillRecord)>,
    /// Pairs that mean nothing, because others are missing.
    garbage: Vec<Key>,
}

/// The pairs of a session.
struct SessionPairs {
    number: u64,
    record: Box<[u8]>,
    /// Whether the session has ended, and its messages are on their way to other sessions.
    has_ended: bool,
    wills: Vec<(u64, WillRecord)>,
    /// The values of subscriptions.
    subscriptions: Vec<Box<[u8]>>,
    received: Vec<PacketId>,
    deliveries: Vec<(Token, DeliveryRecord)>,
}

impl Pairs {
    /// Reads pairs, which are in the order of their keys; `None` if there are none.
    pub(in crate::broker) fn read<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreError> {
        let mut read = Self::default();
        let is_any = read_pairs(pairs, |kind, first, fields, value| read.take(kind, first, fields, value))?;
        Ok(is_any.then_some(read))
    }

    /// The time of the last batch.
    pub(in crate::broker) const fn stored_at(&self) -> Instant {
        self.clock.time
    }

    fn take(&mut self, kind: Kind, first: u64, fields: Fields<'_>, value: &[u8]) -> Result<(), RestoreErrorKind> {
        let mut fields = fields;
        let is_numbered = !matches!(kind, Kind::Format | Kind::Clock | Kind::HighWater);
        if is_numbered && !(1..=MAX_NUMBER).contains(&first) {
            return Err(RestoreErrorKind::UnknownKey); // sessions and messages are counted from 1
        }
        match kind {
            Kind::Format => {}
            Kind::Clock => self.clock = StoredClock::read(value)?,
            Kind::HighWater => {
                let mark = match first {
                    first if first == Counter::Message as u64 => &mut self.marks.0,
                    first if first == Counter::Session as u64 => &mut self.marks.1,
                    _ => return Err(RestoreErrorKind::UnknownKey),
                };
                *mark = read_number(value).ok_or(RestoreErrorKind::Value)?;
            }
            Kind::Message => {
                self.highest.0 = self.highest.0.max(first);
                self.contents.take_head(first, value)?;
            }
            Kind::Part => {
                let part = fields.u32().and_then(|part| fields.end(part)).ok_or(RestoreErrorKind::UnknownKey)?;
                self.highest.0 = self.highest.0.max(first);
                if !self.contents.take_part(first, part, value)? {
                    self.garbage.push(Key::part(first, part));
                }
            }
            Kind::Retained => {
                RetainedRecord::read(value).ok_or(RestoreErrorKind::Value)?;
                if !self.contents.contains(first) {
                    return Err(RestoreErrorKind::Incomplete);
                }
                self.retained.push((first, value.into()));
            }
            Kind::Session => {
                let record = ServerRecord::read(value).ok_or(RestoreErrorKind::Value)?;
                self.highest.1 = self.highest.1.max(first);
                self.sessions.push(SessionPairs {
                    number: first,
                    record: value.into(),
                    has_ended: record.has_ended,
                    wills: Vec::new(),
                    subscriptions: Vec::new(),
                    received: Vec::new(),
                    deliveries: Vec::new(),
                });
            }
            Kind::Will => {
                let (number, will) = read_will(fields, value)?;
                if !self.contents.contains(number) {
                    return Err(RestoreErrorKind::Incomplete);
                }
                match self.session(first).filter(|session| !session.has_ended) {
                    Some(session) => session.wills.push((number, will)),
                    None => self.wills.push((first, number, will)),
                }
            }
            Kind::Subscription => {
                let number = fields.u64().and_then(|number| fields.end(number)).ok_or(RestoreErrorKind::UnknownKey)?;
                let record = SubscriptionRecord::read(value).ok_or(RestoreErrorKind::Value)?;
                if number_of(record.filter) != number {
                    return Err(RestoreErrorKind::Value);
                }
                // A session that has ended has lost its subscriptions.
                match self.session(first).filter(|session| !session.has_ended) {
                    Some(session) => session.subscriptions.push(value.into()),
                    None => self.garbage.push(Key::subscription(first, number)),
                }
            }
            Kind::Received => {
                let id = read_received(fields, value)?;
                match self.session(first) {
                    Some(session) => session.received.push(id),
                    None => self.garbage.push(Key::received(first, id)),
                }
            }
            Kind::Delivery => {
                let (token, delivery) = read_delivery(fields, value)?;
                match self.session(first) {
                    Some(session) => session.deliveries.push((token, delivery)),
                    None => self.garbage.push(Key::delivery(first, token.get())),
                }
            }
        }
        // The pairs of a session that has ended keep its number.
        if matches!(kind, Kind::Will | Kind::Subscription | Kind::Received | Kind::Delivery) {
            self.highest.1 = self.highest.1.max(first);
        }
        Ok(())
    }

    /// The session with this number, if there is one.
    fn session(&mut self, number: u64) -> Option<&mut SessionPairs> {
        let at = self.sessions.binary_search_by_key(&number, |session| session.number).ok()?;
        self.sessions.get_mut(at)
    }
}

/// Restores the state of a new broker.
pub(in crate::broker) fn restore(
    cx: &mut Context<'_>,
    server: &Arc<ServerConfig>,
    pairs: Pairs,
) -> Result<(), RestoreError> {
    let Pairs { clock, marks, highest, mut contents, retained, sessions, wills, mut garbage } = pairs;
    let next = (marks.0.max(highest.0.saturating_add(1)), marks.1.max(highest.1.saturating_add(1)));
    let mut journal = Journal::restored(clock.batch, cx.config.max_uncommitted, next, marks);
    let of_sessions = sessions.iter().flat_map(|it| it.wills.iter().map(|&(number, _)| (it.number, number)));
    let mut of_wills = BTreeSet::new();
    for (session, number) in of_sessions.chain(wills.iter().map(|&(session, number, _)| (session, number))) {
        if !of_wills.insert(number) {
            return Err(error(Key::will(session, number), RestoreErrorKind::Value)); // each has a message of its own
        }
    }
    for (number, size) in contents.sizes().filter(|(number, _)| !of_wills.contains(number)) {
        journal.restore_message(number, size);
    }
    let mut replaced = Vec::new();
    // Nothing of what follows is stored anew.
    cx.sessions.replace_commits(None);
    let retained_numbers: Vec<u64> = retained.iter().map(|&(number, _)| number).collect();
    for (number, record) in retained {
        let record = RetainedRecord::read(&record).filter(|_| !of_wills.contains(&number));
        let record = record.ok_or(error(Key::retained(number), RestoreErrorKind::Value))?;
        replaced.extend(restore_retained(cx, &mut contents, &mut journal, number, &record)?);
    }
    let mut commits = Box::new(Commits::new(journal));
    for session in sessions {
        let others = Others { of_wills: &of_wills, retained: &retained_numbers };
        restore_session(cx, server, &mut contents, (&mut commits, &others), &mut garbage, session)?;
    }
    cx.sessions.replace_commits(Some(commits));
    for (session, number, record) in wills {
        let will = contents.will(number, record)?;
        publish_will(cx, WillInStore::new(session, number, &will), &will);
    }
    let now = cx.now;
    if let Some(journal) = cx.sessions.commits_mut().and_then(Commits::journal) {
        for number in replaced {
            journal.remove(Key::retained(number));
            journal.release(number);
        }
        for key in garbage {
            journal.begin_step(now);
            journal.remove_garbage(key);
        }
        journal.remove_unused(now);
    }
    if cx.sessions.walking() != 0 {
        let sessions = cx.sessions.iter().filter(|(_, session)| session.is_walking());
        let walking: Vec<SessionIndex> = sessions.map(|(index, _)| index).collect();
        for index in walking {
            jobs::walk::wake(cx, index);
        }
    }
    memory_use::count_publishers(cx);
    cx.sessions.reset_work(cx.config);
    Ok(())
}

fn error(key: Key, kind: RestoreErrorKind) -> RestoreError {
    RestoreError::of(key, kind)
}

/// Restores a retained message; returns the number of one with the same topic, if there was one.
fn restore_retained(
    cx: &mut Context<'_>,
    contents: &mut Contents,
    journal: &mut Journal,
    number: u64,
    record: &RetainedRecord<'_>,
) -> Result<Option<u64>, RestoreError> {
    let payloads = Arc::clone(cx.sessions.account().payloads());
    let large = contents.large(number, |payload| PayloadAccount::share(&payloads, payload))?;
    let (head, publish) = contents.message(number)?;
    let payload = if large.is_some() { &[] } else { publish.payload };
    let message = MessageRef { payload, qos: record.qos, retain: true, ..MessageRef::of(&publish) };
    let publisher = record.publisher.map_or(Publisher::BROKER, |client_id| cx.router.publisher_of(client_id));
    let retained = RetainedMessage::new(&message, large.as_ref(), head.expires_after, publisher, head.since);
    let retained = retained.map_err(|_| error(Key::message(number), RestoreErrorKind::Value))?;
    journal.refer(number);
    let Some(restored) = cx.router.restore_retained(cx.sessions, publish.topic, retained, number) else {
        return Err(error(Key::retained(number), RestoreErrorKind::Value)); // there are too many topics
    };
    cx.timers.set(restored.expires_at, Due::Retained(restored.topic));
    Ok((restored.replaced != 0).then_some(restored.replaced))
}

/// What sessions refer to besides the messages that they have.
struct Others<'a> {
    /// The numbers of the messages of wills.
    of_wills: &'a BTreeSet<u64>,
    /// The numbers of the retained messages, in the order in which they were restored.
    retained: &'a [u64],
}

fn restore_session(
    cx: &mut Context<'_>,
    server: &Arc<ServerConfig>,
    contents: &mut Contents,
    (commits, others): (&mut Commits, &Others<'_>),
    garbage: &mut Vec<Key>,
    pairs: SessionPairs,
) -> Result<(), RestoreError> {
    let SessionPairs { number, record, has_ended, wills, subscriptions, received, deliveries } = pairs;
    let key = Key::session(number);
    let record = ServerRecord::read(&record).ok_or(error(key, RestoreErrorKind::Value))?;
    if !has_ended && cx.registry.find(cx.sessions, record.client_id).is_some() {
        return Err(error(key, RestoreErrorKind::Value)); // a client has one session
    }
    let (version, now) = (record.version, cx.now);
    let (mut restored, mut given) = (RestoredDeliveries::default(), Vec::new());
    let payloads = Arc::clone(cx.sessions.account().payloads());
    let mount = match record.mount_point {
        Some(stored) => Some(MountPoint::restored(stored).ok_or(error(key, RestoreErrorKind::Value))?),
        None => None,
    };
    for (token, delivery) in deliveries {
        let key = Key::delivery(number, token.get());
        if delivery.has_message() && others.of_wills.contains(&delivery.message) {
            return Err(error(key, RestoreErrorKind::Value));
        }
        cx.router.note_mark(delivery.mark);
        let message = if !delivery.has_message() {
            (now, u32::MAX, Stored::default())
        } else if contents.contains(delivery.message) {
            let (since, expires_after, mut stored) =
                contents.of_delivery(&delivery, version, |payload| PayloadAccount::share(&payloads, payload))?;
            if let Some(own) = mount.as_ref().and_then(|mount| without_mount(&stored, version, mount.as_bytes())) {
                stored = own;
            }
            stored.set_number(delivery.message);
            stored.count_in(&payloads);
            if delivery.retain {
                given.push((delivery.message, delivery.qos));
            }
            if let Some(journal) = commits.journal() {
                journal.refer(delivery.message);
            }
            (since, expires_after, stored)
        } else {
            garbage.push(key); // its publication was not complete
            continue;
        };
        restored.add(token, &delivery, message).map_err(|kind| error(key, kind))?;
    }
    let wills: Result<Vec<(u64, Will)>, _> =
        wills.into_iter().map(|(number, will)| Ok((number, contents.will(number, will)?))).collect();
    let mut session = ServerSession::restore_routed(Arc::clone(server), &record, number, now);
    commits.lend(&mut session);
    session.set_restored(&record, restored, received, wills?);
    let has_due_will = session.has_due_will();
    let session = Session::restored(session, record.owner.map(Arc::from), mount);
    let Some(index) = cx.sessions.insert(session) else {
        return Err(error(key, RestoreErrorKind::Value)); // there are too many sessions
    };
    if let Some(session) = cx.sessions.get_mut(index) {
        commits.take_back(index, session.server_mut());
    }
    if has_ended {
        cx.sessions.count_restored(index, None);
        cx.sessions.end(index);
        jobs::teardown::start(cx, index);
        return Ok(());
    }
    cx.registry.insert(cx.sessions, index);
    for value in subscriptions {
        restore_subscription(cx, index, number, others, &value)?;
    }
    if let Some(walk) = cx.sessions.get_mut(index).and_then(Session::walk_mut) {
        walk.set_given(given);
    }
    if let Some(at) = cx.sessions.count_restored(index, has_due_will.then_some(now)) {
        cx.timers.set(at, Due::Session(index));
    }
    Ok(())
}

/// A message as a client under a mount point sees it. Messages are stored with their full topics, because sessions share them.
fn without_mount(stored: &Stored, version: Version, mount: &[u8]) -> Option<Stored> {
    let publish = stored.as_publish(version)?;
    let topic = under_mount(publish.topic, mount)?;
    let response_topic = publish.properties.response_topic.and_then(|topic| under_mount(topic, mount));
    let properties = PublishProperties { response_topic, ..publish.properties };
    let message = MessageRef { topic, properties: &properties, ..MessageRef::of(&publish) };
    Stored::message(&message, stored.payload(), version).ok()
}

fn under_mount<'t>(topic: TopicName<'t>, mount: &[u8]) -> Option<TopicName<'t>> {
    topic.as_bytes().strip_prefix(mount).filter(|own| !own.is_empty()).map(TopicName::validated)
}

fn restore_subscription(
    cx: &mut Context<'_>,
    index: SessionIndex,
    number: u64,
    others: &Others<'_>,
    value: &[u8],
) -> Result<(), RestoreError> {
    let Some(record) = SubscriptionRecord::read(value) else {
        bug!("the value was read before");
        return Ok(());
    };
    let SubscriptionRecord { options, identifier, group, walk, filter, .. } = record;
    let subscriber = Subscriber { session: index, identifier, options };
    let Some(list) = cx.router.restore_subscription(cx.sessions, filter, subscriber, group) else {
        // There are too many, or the number of the group is another in another record.
        return Err(error(Key::subscription(number, number_of(filter)), RestoreErrorKind::Value));
    };
    if walk != 0 {
        // Messages with higher numbers were retained after SUBSCRIBE, and have gone to the session like any others.
        let count = others.retained.partition_point(|&retained| retained < walk);
        cx.router.restore_walk(cx.sessions, list, subscriber, count as u64, walk);
    }
    Ok(())
}

/// Publishes the will of a session that has ended: its publication was not complete.
fn publish_will(cx: &mut Context<'_>, stored: WillInStore, will: &Will) {
    let Ok(message) = Message::try_from(will) else { return bug!("a will that was received is a message") };
    let Ok(publish) = message.checked() else { return bug!("a will that was received can be published") };
    let shared = (publish.payload.len() >= LARGE).then(|| cx.sessions.share_payload(publish.payload));
    let payload = if shared.is_some() { &[] } else { publish.payload };
    let owned = MessageRef { payload, ..publish };
    let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
    let message = RetainedMessage::new(&owned, shared.as_ref(), expires_after, Publisher::BROKER, cx.now);
    let Ok(message) = message else { return bug!("a will that was received can be published") };
    let source = Source::Will { session: None, client_id: "".into() };
    let (state, stored) = (State::Waiting(Box::new(message)), StoredPublication::of_will(Some(stored)));
    let job = Job::Publication(Box::new(Publication { source, state, stored }));
    let order = Order { client_id: None, retained: publish.retain.then_some(publish.topic) };
    if jobs::start(cx, PrincipalIndex::ENDS, order, job).is_none() {
        bug!("there are fewer than 2^32 jobs");
    }
}
