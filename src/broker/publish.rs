//! Messages and wills that clients publish.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::context::Context;
use super::durability::publication::{Content, StoredPublication};
use super::durability::records::RetainedRecord;
use super::index::SessionIndex;
use super::jobs;
use super::jobs::publication::{Publication, Source, State};
use super::jobs::ring::{Job, Order, Progress};
use super::jobs::turns::PrincipalIndex;
use super::jobs::work::Work;
use super::lifecycle;
use super::memory_use;
use super::mount::MountPoint;
use super::pending_decisions::{PendingDecision, PendingPacket};
use super::policy::{Decision, Notice};
use super::router::published_by::PublishedBy;
use super::router::retained::Reference;
use super::router::retained_message::{Publisher, RetainedMessage};
use super::router::{self, Outcome, Published, is_own};
use super::session::Session;
use super::sessions::Sessions;
use super::slab::Key;
use super::timers::Due;
use crate::codec::{List, PubAckReasonCode, PublishProperties, QoS, Version};
use crate::session::{
    AckHandle, LARGE, Message, MessageRef, PayloadAccount, PublishError, ReceivedMessage, Stored, Topic, Will,
    WillInStore,
};
use crate::time::Instant;
use crate::topic::TopicName;

/// The messages of the embedding program's own that may be on their way at a time.
const MAX_OWN: usize = 1000;

/// Whoever publishes a message, in the call in which it comes; what goes on as a job has a [`Source`].
#[derive(Clone, Copy)]
pub(super) enum Publishing<'a> {
    Client(SessionIndex, Option<AckHandle>),
    /// A client by its will: the session, the client identifier, and the will in the store of a durable broker.
    Will(SessionIndex, &'a str, Option<WillInStore>),
    /// The broker itself, or the embedding program.
    Broker,
}

impl<'a> Publishing<'a> {
    /// Whoever has published the message, for the router.
    const fn published_by(self) -> PublishedBy {
        match self.session() {
            Some(index) => PublishedBy::Session(index),
            None => PublishedBy::Broker,
        }
    }

    /// The session that the message comes by.
    const fn session(self) -> Option<SessionIndex> {
        match self {
            Self::Client(index, _) | Self::Will(index, ..) => Some(index),
            Self::Broker => None,
        }
    }

    /// The client identifier whose jobs run before the message; empty for the broker itself.
    fn order(self, sessions: &'a Sessions) -> &'a str {
        match self {
            Self::Client(index, _) => sessions.client_id(index).unwrap_or_default(),
            Self::Will(_, client_id, _) => client_id,
            Self::Broker => "",
        }
    }

    /// What the publication is in the store before it begins.
    const fn stored(self) -> StoredPublication {
        StoredPublication::of_will(if let Self::Will(.., will) = self { will } else { None })
    }
}

/// Publishes a message of the embedding program's own; see [`Broker::publish`](super::Broker::publish).
pub(super) fn publish_own(cx: &mut Context<'_>, message: &Message<'_>) -> Result<(), PublishError> {
    let publish = message.checked()?;
    let properties = PublishProperties { subscription_identifiers: List::EMPTY, ..*publish.properties };
    let large = publish.large().map(|large| PayloadAccount::share(cx.sessions.account().payloads(), large.clone()));
    let payload = if large.is_some() { &[] } else { publish.payload };
    let publish = MessageRef { payload, properties: &properties, ..publish };
    Stored::message_len(&publish, None, Version::V5)?;
    if cx.router.has_too_many_levels(publish.topic.as_bytes()) {
        return Err(PublishError::TooManyLevels);
    }
    let is_stored = publish.retain || publish.qos != QoS::AtMostOnce;
    if cx.jobs.open_of("") >= MAX_OWN || (is_stored && cx.sessions.are_changes_full()) {
        return Err(PublishError::QueueFull);
    }
    match begin(cx, Publishing::Broker, &publish, large) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err(PublishError::QueueFull),
    }
}

/// A client has published a message.
pub(super) fn receive(cx: &mut Context<'_>, index: SessionIndex, message: &ReceivedMessage<'_>) {
    let received = &mut cx.sessions.counters_mut().messages_received;
    *received = received.wrapping_add(1);
    if !message.properties.user_properties.is_empty() {
        cx.work().spend(Work::units_of_pairs(message.properties.user_properties.len()));
    }
    let session = cx.sessions.get(index);
    let (full, mounted);
    let message = match session.and_then(Session::mount) {
        None => message,
        Some(mount) => match full_names(mount, message) {
            Some(names) => {
                full = names;
                mounted = with_names(message, &full);
                &mounted
            }
            None => {
                let reason_code = PubAckReasonCode::TopicNameInvalid;
                notify_refused(cx, index, message.topic.name(), reason_code);
                return acknowledge(cx, index, message.ack_handle, reason_code);
            }
        },
    };
    let Some(client) = session.and_then(Session::client) else {
        return bug!("a session that receives a message has a connection");
    };
    let (connection, version) = (client.connection, client.version);
    let id = cx.connections.next_decision(connection);
    let decision = cx.policy.publish(id, client, message);
    // Properties are large, and not copied without need.
    let content;
    let properties = if message.properties.subscription_identifiers.is_empty() {
        &message.properties
    } else {
        content = message.content_properties();
        &content
    };
    let publish = message.content(properties);
    match decision {
        Decision::Now(reason_code) => finish(cx, index, &publish, message.ack_handle, reason_code),
        Decision::Later => match PendingPacket::message(&publish, version) {
            Ok(packet) => {
                cx.sessions.work_mut().spend_bytes(packet.len());
                let (ack_handle, since) = (message.ack_handle, cx.now);
                lifecycle::wait(cx, connection, PendingDecision::Publish { id, packet, ack_handle, since });
            }
            Err(_) => {
                bug!("a message that was received can be encoded");
                let reason_code = PubAckReasonCode::UnspecifiedError;
                notify_refused(cx, index, publish.topic, reason_code);
                acknowledge(cx, index, message.ack_handle, reason_code);
            }
        },
    }
}

/// The topic and the Response Topic of a message in full; `None` if one is too long.
#[cold]
fn full_names(mount: &MountPoint, message: &ReceivedMessage<'_>) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let topic = mount.topic(message.topic.name())?;
    match message.properties.response_topic {
        Some(response_topic) => Some((topic, Some(mount.topic(response_topic)?))),
        None => Some((topic, None)),
    }
}

/// The message with other topics.
#[cold]
fn with_names<'m>(
    message: &ReceivedMessage<'m>,
    (topic, response_topic): &'m (Vec<u8>, Option<Vec<u8>>),
) -> ReceivedMessage<'m> {
    let topic = Topic::Named(TopicName::validated(topic));
    let response_topic = response_topic.as_deref().map(TopicName::validated);
    let properties = PublishProperties { response_topic, ..message.properties };
    ReceivedMessage { topic, properties, ..message.clone() }
}

/// The policy has decided on a message that has waited for the decision. The time counts \[MQTT-3.3.2-6\].
pub(super) fn finish_since(
    cx: &mut Context<'_>,
    index: SessionIndex,
    publish: MessageRef<'_>,
    ack_handle: Option<AckHandle>,
    decision: PubAckReasonCode,
    since: Instant,
) {
    let mut properties = *publish.properties;
    if let Some(interval) = &mut properties.message_expiry_interval {
        let waited = u32::try_from(cx.now.since(since).as_secs()).unwrap_or(u32::MAX);
        if waited != 0 && waited >= *interval && !decision.is_error() && !is_own(publish.topic) {
            // The message has expired: no subscriber gets it [MQTT-3.3.2-5], and it would have replaced the retained one.
            if publish.retain {
                remove_retained(cx, publish.topic);
            }
            return acknowledge(cx, index, ack_handle, decision);
        }
        *interval = interval.saturating_sub(waited);
    }
    finish(cx, index, &MessageRef { properties: &properties, ..publish }, ack_handle, decision);
}

/// The policy has decided on a message of a client.
fn finish(
    cx: &mut Context<'_>,
    index: SessionIndex,
    publish: &MessageRef<'_>,
    ack_handle: Option<AckHandle>,
    decision: PubAckReasonCode,
) {
    let done = if decision.is_error() {
        Err(decision)
    } else if is_own(publish.topic) {
        Err(PubAckReasonCode::NotAuthorized)
    } else {
        match begin(cx, Publishing::Client(index, ack_handle), publish, None) {
            Some(done) => done,
            None => return,
        }
    };
    let reason_code = reason_code(cx, publish.retain, ack_handle, done);
    settle(cx, index, publish.topic, ack_handle, reason_code);
}

/// What a client is told about its message, which has gone to all subscribers or was refused.
#[inline]
fn reason_code(
    cx: &Context<'_>,
    retain: bool,
    ack_handle: Option<AckHandle>,
    done: Result<Outcome, PubAckReasonCode>,
) -> PubAckReasonCode {
    let is_retained = retain && cx.config.server.retain_available;
    match done {
        Ok(Outcome { has_subscribers: false, .. }) if !retain => PubAckReasonCode::NoMatchingSubscribers,
        // Success would mean that the broker has accepted ownership of the message, and no copy of it is stored.
        Ok(Outcome { lacks_room: true, .. }) if !is_retained && ack_handle.is_some() => PubAckReasonCode::QuotaExceeded,
        Ok(_) => PubAckReasonCode::Success,
        Err(reason_code) => reason_code,
    }
}

/// A message of a client has gone to all subscribers, or was refused.
#[inline]
fn settle(
    cx: &mut Context<'_>,
    index: SessionIndex,
    topic: TopicName<'_>,
    ack_handle: Option<AckHandle>,
    reason_code: PubAckReasonCode,
) {
    if reason_code.is_error() {
        notify_refused(cx, index, topic, reason_code);
    }
    acknowledge(cx, index, ack_handle, reason_code);
}

/// Begins to publish a message: it is retained if its RETAIN flag is set, and forwarded. Returns what became of it, or `None`
/// if that comes later: the message is a job then.
pub(super) fn begin(
    cx: &mut Context<'_>,
    publishing: Publishing<'_>,
    publish: &MessageRef<'_>,
    large: Option<Bytes>,
) -> Option<Result<Outcome, PubAckReasonCode>> {
    // Most of the time no job is open.
    if cx.jobs.has_chains() {
        let retained = publish.retain.then_some(publish.topic);
        let client_id = publishing.order(cx.sessions);
        let looked_up = client_id.len().saturating_add(retained.map_or(0, |topic| topic.as_bytes().len()));
        let has_to_wait = cx.jobs.has_to_wait(Order { client_id: Some(client_id), retained });
        cx.work().spend_more_bytes(looked_up);
        if has_to_wait {
            return begin_later(cx, publishing, publish, large);
        }
    }
    let will = if let Publishing::Will(_, client_id, _) = publishing { Some(client_id) } else { None };
    if cx.sessions.commits().is_some() {
        begin_stored(cx, publishing);
    }
    match route(cx, publishing.published_by(), will, publish, large) {
        Ok(Published::Done(outcome)) => Some(Ok(outcome)),
        Ok(Published::Spreading(spread)) => start(cx, publishing, publish, State::Spreading(spread)),
        Err(reason_code) => Some(Err(reason_code)),
    }
}

// Out of line, so that brokers that are not durable do not pay for it.
#[cold]
#[inline(never)]
fn begin_stored(cx: &mut Context<'_>, publishing: Publishing<'_>) {
    cx.sessions.begin_publication(publishing.stored());
}

/// Makes a message a job that waits for the earlier ones.
#[cold]
fn begin_later(
    cx: &mut Context<'_>,
    publishing: Publishing<'_>,
    publish: &MessageRef<'_>,
    large: Option<Bytes>,
) -> Option<Result<Outcome, PubAckReasonCode>> {
    let large = match large {
        None if publish.payload.len() >= LARGE => Some(cx.sessions.share_payload(publish.payload)),
        large => large,
    };
    let payload = if large.is_some() { &[] } else { publish.payload };
    let owned = MessageRef { payload, ..*publish };
    let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
    match RetainedMessage::new(&owned, large.as_ref(), expires_after, Publisher::BROKER, cx.now) {
        Ok(message) => {
            cx.work().spend_bytes(message.own_len());
            start(cx, publishing, publish, State::Waiting(Box::new(message)))
        }
        Err(_) => Some(Err(PubAckReasonCode::ImplementationSpecificError)),
    }
}

/// A message goes on as a job: it is accepted, whatever becomes of the connection.
#[cold]
fn start(
    cx: &mut Context<'_>,
    publishing: Publishing<'_>,
    publish: &MessageRef<'_>,
    state: State,
) -> Option<Result<Outcome, PubAckReasonCode>> {
    let index = publishing.session();
    let mut received = None;
    if let Publishing::Client(index, Some(ack_handle)) = publishing {
        received = cx.sessions.with(index, |session| session.accept_ownership(ack_handle)).flatten();
    }
    let stored = match state {
        State::Waiting(_) => publishing.stored(),
        State::Spreading(_) => cx.sessions.pause_publication(),
    };
    // The publisher bears the work.
    let session = index.and_then(|index| cx.sessions.get(index));
    let principal = session.map_or(PrincipalIndex::BROKER, Session::principal);
    let client_id: Box<str> = publishing.order(cx.sessions).into();
    cx.work().spend_more_bytes(client_id.len());
    let key = index.and_then(|index| cx.sessions.key(index));
    let source = match publishing {
        Publishing::Client(_, ack_handle) => {
            let Some(session) = key else {
                bug!("the session of a publisher exists");
                return Some(Err(PubAckReasonCode::UnspecifiedError));
            };
            Source::Client { session, ack_handle, received }
        }
        Publishing::Will(_, client_id, _) => Source::Will { session: key, client_id: client_id.into() },
        Publishing::Broker => Source::Broker,
    };
    let job = Job::Publication(Box::new(Publication { source, state, stored }));
    let retained = publish.retain.then_some(publish.topic);
    match jobs::start(cx, principal, Order { client_id: Some(&client_id), retained }, job) {
        Some(_) => None,
        None => Some(Err(PubAckReasonCode::QuotaExceeded)), // 2^32 jobs are open
    }
}

/// Goes on with a message that is a job.
pub(super) fn advance(cx: &mut Context<'_>, publication: &mut Publication) -> Progress {
    let Publication { source, state, stored } = publication;
    cx.sessions.begin_publication(*stored);
    let from = match source {
        Source::Client { session, .. } => published_by_client(cx, Some(*session)),
        Source::Will { session, .. } => published_by_client(cx, *session),
        Source::Broker => PublishedBy::Broker,
    };
    let message = match state {
        State::Spreading(spread) => {
            let Some(outcome) = cx.router.spread(cx.sessions, cx.now, from, spread) else {
                *stored = cx.sessions.pause_publication();
                return Progress::More;
            };
            if let Some((publish, shared, since, expires_after)) = spread.message().original() {
                let message = MessageRef::of(&publish);
                let payload = shared.map_or(message.payload, |payload| payload);
                let content = Content { message, payload, since, expires_after };
                end_stored(cx, from.session(), Some(content), spread.retained());
            }
            jobs::walk::wake_waiting(cx, spread.number());
            if let Some((publish, ..)) = spread.message().message(cx.now) {
                end(cx, source, from.session(), publish.topic, publish.retain, Ok(outcome));
            }
            return Progress::Done;
        }
        State::Waiting(message) => message,
    };
    let now = cx.now;
    cx.work().spend_more_bytes(message.own_len()); // it is decoded
    let Some((publish, large, _)) = message.message(now) else { return Progress::Done };
    let (publish, large) = (MessageRef::of(&publish), large.cloned());
    let done = if message.is_expired(now) {
        // No subscriber gets it [MQTT-3.3.2-5], and it would have replaced the retained one.
        if publish.retain {
            remove_retained(cx, publish.topic);
        }
        end_stored(cx, from.session(), None, None);
        Ok(Published::Done(Outcome { has_subscribers: true, ..Outcome::default() }))
    } else {
        let will = if let Source::Will { client_id, .. } = source { Some(&**client_id) } else { None };
        route(cx, from, will, &publish, large)
    };
    let done = match done {
        Ok(Published::Spreading(spread)) => {
            *stored = cx.sessions.pause_publication();
            *state = State::Spreading(spread);
            return Progress::More;
        }
        Ok(Published::Done(outcome)) => Ok(outcome),
        Err(reason_code) => Err(reason_code),
    };
    end(cx, source, from.session(), publish.topic, publish.retain, done);
    Progress::Done
}

/// The client that a session belongs to as a publisher.
fn published_by_client(cx: &Context<'_>, session: Option<Key>) -> PublishedBy {
    let session = session.and_then(|key| cx.sessions.get_by_key(key));
    session.map_or(PublishedBy::Gone, |(index, _)| PublishedBy::Session(index))
}

/// A message that was a job has gone to all subscribers, or could not be published.
fn end(
    cx: &mut Context<'_>,
    source: &Source,
    from: Option<SessionIndex>,
    topic: TopicName<'_>,
    retain: bool,
    done: Result<Outcome, PubAckReasonCode>,
) {
    match source {
        Source::Client { ack_handle, received, .. } => {
            // The session may have ended.
            if let Some(index) = from {
                let reason_code = reason_code(cx, retain, *ack_handle, done);
                if let (false, Some(id)) = (reason_code.is_error(), *received) {
                    cx.sessions.with(index, |session| session.store_received(id));
                }
                settle(cx, index, topic, *ack_handle, reason_code);
            }
        }
        Source::Will { client_id, .. } => {
            if let Err(reason_code) = done {
                notify_will_refused(cx, client_id, topic.as_str(), reason_code);
            }
        }
        Source::Broker => {
            if done.is_err() {
                count_refused(cx);
            }
        }
    }
}

/// Retains a message if its RETAIN flag is set, and forwards it, or begins to. A will, which comes with its client identifier,
/// is forwarded all the same if it cannot be retained.
fn route(
    cx: &mut Context<'_>,
    from: PublishedBy,
    will: Option<&str>,
    publish: &MessageRef<'_>,
    large: Option<Bytes>,
) -> Result<Published, PubAckReasonCode> {
    let is_removal = publish.payload.is_empty() && large.is_none();
    let (mut large, mut retained) = (large, None);
    match cx.router.accept(cx.sessions, cx.now, from, publish, &mut large) {
        Ok(Some((expires_at, reference))) => {
            retained = Some(reference).filter(|_| !is_removal);
            cx.timers.set(expires_at, Due::Retained(reference.topic()));
            memory_use::count_publishers(cx);
        }
        Ok(None) => {}
        Err(reason_code) => {
            let Some(client_id) = will else {
                end_stored(cx, from.session(), None, None);
                return Err(reason_code);
            };
            count_refused(cx);
            notify_will_refused(cx, client_id, publish.topic.as_str(), reason_code);
        }
    }
    let done = if large.is_none() {
        cx.router.forward(cx.sessions, cx.now, from, publish, None, retained)
    } else {
        let shared = large.clone();
        cx.router.forward(cx.sessions, cx.now, from, &MessageRef { payload: &[], ..*publish }, shared, retained)
    };
    if !matches!(done, Ok(Published::Spreading(_))) && cx.sessions.commits().is_some() {
        let payload = large.as_deref().unwrap_or(publish.payload);
        let expires_after = publish.properties.message_expiry_interval.unwrap_or(u32::MAX);
        let content = Content { message: *publish, payload, since: cx.now, expires_after };
        end_stored(cx, from.session(), Some(content), retained);
    }
    done
}

/// The publication of a message is complete: what is stored of it is.
fn end_stored(
    cx: &mut Context<'_>,
    from: Option<SessionIndex>,
    content: Option<Content<'_>>,
    retained: Option<Reference>,
) {
    if cx.sessions.commits().is_none() {
        return;
    }
    // It is written once more.
    let bytes = content.as_ref().map_or(0, |it| it.payload.len().saturating_add(it.message.topic.as_bytes().len()));
    cx.work().spend_more_bytes(bytes);
    let qos = retained.and_then(|reference| cx.router.stored_qos(reference));
    let publisher = from.filter(|_| qos.is_some());
    let client_id = publisher.and_then(|index| cx.sessions.client_id(index)).map(Box::<str>::from);
    let record = qos.map(|qos| RetainedRecord { qos, publisher: client_id.as_deref() });
    let batch = cx.sessions.end_publication(content, record);
    if batch != 0
        && let Some(session) = from.and_then(|index| cx.sessions.get_mut(index))
    {
        session.server_mut().depends_on(batch);
    }
}

/// Removes the retained message of a topic; returns whether there was one.
pub(super) fn remove_retained(cx: &mut Context<'_>, topic: TopicName<'_>) -> bool {
    let Some(removed) = cx.router.remove_retained(cx.sessions, topic) else { return false };
    cx.timers.remove(Due::Retained(removed.topic()));
    memory_use::count_publishers(cx);
    true
}

/// Acknowledges a message, if its QoS asks for that.
fn acknowledge(
    cx: &mut Context<'_>,
    index: SessionIndex,
    ack_handle: Option<AckHandle>,
    reason_code: PubAckReasonCode,
) {
    if let Some(ack_handle) = ack_handle {
        // It fails if the connection that the message came by is over.
        let _ = lifecycle::command(cx, index, |session, now| session.ack(now, ack_handle, reason_code));
    }
}

/// The will of a client is due.
pub(super) fn publish_will(cx: &mut Context<'_>, index: SessionIndex, will: &Will) {
    let Ok(message) = Message::try_from(will) else { return bug!("a will that was received is a message") };
    let Ok(publish) = message.checked() else { return bug!("a will that was received can be published") };
    let client_id: Box<str> = cx.sessions.client_id(index).unwrap_or_default().into();
    // The texts of the will are checked.
    cx.work().spend(router::cost_of_copy(&publish));
    cx.work().spend_more_bytes(client_id.len());
    let stored = cx.sessions.take_published_will();
    let decision =
        if is_own(publish.topic) { PubAckReasonCode::NotAuthorized } else { cx.policy.will(&client_id, will) };
    if decision.is_error() {
        cx.sessions.begin_publication(StoredPublication::of_will(stored));
        end_stored(cx, None, None, None);
        let counters = cx.sessions.counters_mut();
        counters.wills_refused = counters.wills_refused.wrapping_add(1);
        return notify_will_refused(cx, &client_id, &will.topic, decision);
    }
    let counters = cx.sessions.counters_mut();
    counters.wills = counters.wills.wrapping_add(1);
    if let Some(Err(reason_code)) = begin(cx, Publishing::Will(index, &client_id, stored), &publish, None) {
        notify_will_refused(cx, &client_id, publish.topic.as_str(), reason_code);
    }
}

/// Tells the policy that a will was not published, or not retained.
fn notify_will_refused(cx: &mut Context<'_>, client_id: &str, topic: &str, reason_code: PubAckReasonCode) {
    cx.policy.notice(Notice::WillRefused { client_id, topic, reason_code });
}

const fn count_refused(cx: &mut Context<'_>) {
    let refused = &mut cx.sessions.counters_mut().messages_refused;
    *refused = refused.wrapping_add(1);
}

/// Counts a message of a client that is refused, and tells the policy.
fn notify_refused(cx: &mut Context<'_>, index: SessionIndex, topic: TopicName<'_>, reason_code: PubAckReasonCode) {
    count_refused(cx);
    // The connection may be over by now.
    if let Some(client) = cx.sessions.get(index).and_then(Session::client) {
        cx.policy.notice(Notice::PublishRefused { client, topic: topic.as_str(), reason_code });
    }
}
