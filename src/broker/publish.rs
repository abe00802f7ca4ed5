//! Messages and wills that clients publish.

use bytes::Bytes;

use super::context::Context;
use super::index::SessionIndex;
use super::lifecycle;
use super::pending_decisions::{PendingDecision, PendingPacket};
use super::policy::{Decision, Notice};
use super::router::Published;
use super::session::Session;
use super::timers::Due;
use crate::codec::{List, PubAckReasonCode, PublishProperties, Version};
use crate::session::{AckHandle, Message, MessageRef, PublishError, ReceivedMessage, Stored, Will};
use crate::time::Instant;
use crate::topic::TopicName;

/// Publishes a message of the embedding program's own; see [`Broker::publish`](super::Broker::publish).
pub(super) fn publish_own(cx: &mut Context<'_>, message: &Message<'_>) -> Result<usize, PublishError> {
    let publish = message.checked()?;
    let properties = PublishProperties { subscription_identifiers: List::EMPTY, ..*publish.properties };
    let large = publish.large().map(|large| cx.sessions.memory().payloads().share(large.clone()));
    let payload = if large.is_some() { &[] } else { publish.payload };
    let publish = MessageRef { payload, properties: &properties, ..publish };
    Stored::message_len(&publish, None, Version::V5)?;
    match route(cx, None, &publish, large) {
        Ok(published) => Ok(published.copies),
        Err(PubAckReasonCode::TopicNameInvalid) => Err(PublishError::TooManyLevels),
        Err(_) => Err(PublishError::QueueFull),
    }
}

/// A client has published a message.
pub(super) fn receive(cx: &mut Context<'_>, index: SessionIndex, message: &ReceivedMessage<'_>) {
    let received = &mut cx.sessions.counters_mut().messages_received;
    *received = received.wrapping_add(1);
    let Some(client) = cx.sessions.get(index).and_then(Session::client) else {
        return bug!("a session that receives a message has a connection");
    };
    let (connection, version) = (client.connection, client.version);
    let id = cx.connections.next_decision(connection);
    let decision = cx.policy.publish(id, client, message);
    let properties = message.content_properties();
    let publish = message.content(&properties);
    match decision {
        Decision::Now(reason_code) => finish(cx, index, publish, message.ack_handle, reason_code),
        Decision::Later => match PendingPacket::message(&publish, version) {
            Ok(packet) => {
                let (ack_handle, since) = (message.ack_handle, cx.now);
                cx.connections.wait(connection, PendingDecision::Publish { id, packet, ack_handle, since });
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
                cx.router.remove_retained(cx.sessions, publish.topic);
            }
            return acknowledge(cx, index, ack_handle, decision);
        }
        *interval = interval.saturating_sub(waited);
    }
    finish(cx, index, MessageRef { properties: &properties, ..publish }, ack_handle, decision);
}

/// The policy has decided on a message of a client.
fn finish(
    cx: &mut Context<'_>,
    index: SessionIndex,
    publish: MessageRef<'_>,
    ack_handle: Option<AckHandle>,
    decision: PubAckReasonCode,
) {
    let done = if decision.is_error() {
        Err(decision)
    } else if is_own(publish.topic) {
        Err(PubAckReasonCode::NotAuthorized)
    } else {
        route(cx, Some(index), &publish, None)
    };
    let is_retained = publish.retain && cx.config.server.retain_available;
    let reason_code = match done {
        Ok(Published { has_subscribers: false, .. }) if !publish.retain => PubAckReasonCode::NoMatchingSubscribers,
        // Success would mean that the broker has accepted ownership of the message, and no copy of it is stored.
        Ok(Published { lacks_room: true, .. }) if !is_retained && ack_handle.is_some() => {
            PubAckReasonCode::QuotaExceeded
        }
        Ok(_) => PubAckReasonCode::Success,
        Err(reason_code) => reason_code,
    };
    if reason_code.is_error() {
        notify_refused(cx, index, publish.topic, reason_code);
    }
    acknowledge(cx, index, ack_handle, reason_code);
}

/// Publishes a message of a client or of the broker's own; see [`Router::publish`](super::router::Router::publish).
pub(super) fn route(
    cx: &mut Context<'_>,
    from: Option<SessionIndex>,
    publish: &MessageRef<'_>,
    large: Option<Bytes>,
) -> Result<Published, PubAckReasonCode> {
    let published = cx.router.publish(cx.sessions, cx.now, from, publish, large)?;
    if let Some((expires_at, reference)) = published.retained {
        lifecycle::schedule(cx, expires_at, Due::Retained(reference));
    }
    Ok(published)
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
    let counters = cx.sessions.counters_mut();
    if is_own(publish.topic) {
        counters.wills_refused = counters.wills_refused.wrapping_add(1);
        return notify_will_refused(cx, index, &will.topic, PubAckReasonCode::NotAuthorized);
    }
    counters.wills = counters.wills.wrapping_add(1);
    if let Err(reason_code) = route(cx, Some(index), &publish, None) {
        // There is no room to retain the will; its subscribers get it all the same.
        count_refused(cx);
        cx.router.forward(cx.sessions, cx.now, Some(index), publish, None);
        notify_will_refused(cx, index, &will.topic, reason_code);
    }
}

/// Tells the policy that a will was not published, or not retained.
fn notify_will_refused(cx: &mut Context<'_>, index: SessionIndex, topic: &str, reason_code: PubAckReasonCode) {
    let client_id = cx.sessions.client_id(index).unwrap_or_default();
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

/// Whether a topic is one of the broker's own, where no client publishes.
pub(super) fn is_own(topic: TopicName<'_>) -> bool {
    topic.levels().next() == Some(b"$SYS")
}
