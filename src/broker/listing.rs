//! Sessions, subscriptions and retained messages, page by page.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::context::Context;
use super::index::SessionIndex;
use super::local::LocalMessage;
use super::policy::ConnectionId;
use super::session::Session;
use crate::codec::{QoS, SubscriptionIdentifier, Version};
use crate::session::SessionExpiry;
use crate::topic::{TopicFilter, TopicName};

/// A position in a list, from which the next page is asked for. It is good for the list that it comes from, and for as long as
/// the broker exists, whatever changes meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u32);

impl Cursor {
    /// The beginning of any list.
    pub const START: Self = Self(0);
}

/// A page of a list. An entry that exists from the first page to the last is on one of them, once; what is added or removed
/// meanwhile may be on one or not. A page may be empty, also if it is not the last one: the work of a page is
/// [bounded](super::BrokerConfig::work_per_call). A list to which more is added than the pages show goes on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// The entries, in no order that means something.
    pub items: Vec<T>,
    /// Where the next page begins; `None` if this is the last one.
    pub next: Option<Cursor>,
}

/// A session of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The client identifier.
    pub client_id: String,
    /// The user of the last connection.
    pub user_name: Option<String>,
    /// The connection, if there is one.
    pub connection: Option<ConnectionId>,
    /// The protocol version of the last connection.
    pub version: Version,
    /// How long the session outlives its connection.
    pub session_expiry_interval: SessionExpiry,
    /// Number of subscriptions.
    pub subscriptions: u32,
    /// Number of messages to the client that are queued or in flight.
    pub stored: u32,
    /// The size of these messages in bytes.
    pub stored_bytes: u32,
}

/// A subscription of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionInfo {
    /// The topic filter, with the share name if the subscription is shared.
    pub filter: String,
    /// The QoS that is granted.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub identifier: Option<SubscriptionIdentifier>,
}

impl SessionInfo {
    fn of(session: &Session) -> Self {
        let server = session.server();
        let (stored, stored_bytes) = server.stored();
        Self {
            client_id: session.client_id().to_string(),
            user_name: session.user_name().map(ToString::to_string),
            connection: session.connection(),
            version: server.version(),
            session_expiry_interval: server.session_expiry_interval(),
            subscriptions: u32::try_from(session.subscriptions().len()).unwrap_or(u32::MAX),
            stored,
            stored_bytes,
        }
    }
}

/// The next page of a list whose entries have indices below `end`. `entry` returns the one with an index, if there is one.
fn page<T>(
    cx: &mut Context<'_>,
    from: Cursor,
    end: u32,
    mut entry: impl FnMut(&mut Context<'_>, u32) -> Option<T>,
) -> Page<T> {
    let mut items = Vec::new();
    for index in from.0..end {
        items.extend(entry(cx, index));
        cx.work().spend(1);
        let next = index.saturating_add(1);
        if cx.work().is_spent() && next < end {
            return Page { items, next: Some(Cursor(next)) };
        }
    }
    Page { items, next: None }
}

/// The session of a client; see [`Broker::session`](super::Broker::session).
pub(super) fn session(cx: &Context<'_>, client_id: &str) -> Option<SessionInfo> {
    cx.sessions.get(cx.registry.find(cx.sessions, client_id)?).map(SessionInfo::of)
}

/// A page of the sessions; see [`Broker::list_sessions`](super::Broker::list_sessions).
pub(super) fn sessions(cx: &mut Context<'_>, from: Cursor) -> Page<SessionInfo> {
    let end = cx.sessions.end_of_indices();
    page(cx, from, end, |cx, index| {
        let session = cx.sessions.get(SessionIndex::new(index))?;
        let info = (!session.has_ended() && !session.is_local()).then(|| SessionInfo::of(session))?;
        let bytes = info.client_id.len().saturating_add(info.user_name.as_ref().map_or(0, String::len));
        cx.work().spend_more_bytes(bytes);
        Some(info)
    })
}

/// A page of the subscriptions of a client; see [`Broker::list_subscriptions`](super::Broker::list_subscriptions).
pub(super) fn subscriptions(cx: &mut Context<'_>, client_id: &str, from: Cursor) -> Page<SubscriptionInfo> {
    let mut items = Vec::new();
    cx.work().spend_bytes(client_id.len()); // it is hashed
    let found = cx.registry.find(cx.sessions, client_id);
    let mut from = from;
    let next_of = |cx: &Context<'_>, index: SessionIndex, from: Cursor| {
        let subscriptions = cx.sessions.get(index)?.subscriptions();
        let at = subscriptions.partition_point(|&(list, _)| list.number() < from.0);
        subscriptions.get(at).copied()
    };
    while let Some(index) = found
        && let Some((list, position)) = next_of(cx, index, from)
    {
        if cx.work().is_spent() && !items.is_empty() {
            return Page { items, next: Some(from) };
        }
        if let Some((subscriber, filter)) = cx.router.stored_subscription(index, list, position) {
            cx.work().spend_text(filter.len());
            items.push(SubscriptionInfo {
                filter: TopicFilter::validated(&filter).as_str().to_string(),
                qos: subscriber.options.qos,
                no_local: subscriber.options.no_local,
                retain_as_published: subscriber.options.retain_as_published,
                identifier: SubscriptionIdentifier::new(subscriber.identifier).ok(),
            });
        }
        from = match list.number().checked_add(1) {
            Some(next) => Cursor(next),
            None => break, // it is the last that can be
        };
    }
    Page { items, next: None }
}

/// The retained message of a topic; see [`Broker::retained_message`](super::Broker::retained_message).
pub(super) fn retained_message(cx: &Context<'_>, topic: &str) -> Option<LocalMessage> {
    let message = cx.router.retained_message(TopicName::new(topic).ok()?)?;
    if message.is_expired(cx.now) { None } else { LocalMessage::retained(message, cx.now) }
}

/// A page of the retained messages; see [`Broker::list_retained`](super::Broker::list_retained).
pub(super) fn retained(cx: &mut Context<'_>, filter: TopicFilter<'_>, from: Cursor) -> Page<LocalMessage> {
    let end = cx.router.end_of_topics();
    page(cx, from, end, |cx, index| {
        let (topic, message) = cx.router.retained_at(index)?;
        let mut bytes = topic.len();
        let is_listed = filter.without_share().matches(TopicName::validated(&topic)) && !message.is_expired(cx.now);
        let listed = if is_listed {
            bytes = bytes.saturating_add(message.own_len());
            LocalMessage::retained(message, cx.now)
        } else {
            None
        };
        cx.work().spend_text(bytes);
        listed
    })
}
