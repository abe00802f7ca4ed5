//! Received messages, whole or in parts.

use core::fmt;

use super::deliveries::inbound::AckHandle;
use super::message_ref::MessageRef;
use super::received_topic::Topic;
use crate::codec::{Delivery, List, PublishProperties, QoS};
use crate::escaped::Escaped;

/// A received message. It borrows from the input.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ReceivedMessage<'a> {
    /// The topic name. It is never empty: a topic alias has been resolved.
    pub topic: Topic<'a>,
    /// The payload, or its first part if `missing` is not 0.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::codec::serialize::binary::serialize"))]
    pub payload: &'a [u8],
    /// The QoS with which the message was sent.
    pub qos: QoS,
    /// The DUP flag: whether the packet may be a retransmission. The flag does not mean that the application has
    /// received the message before: a message of QoS 2 whose ownership was accepted is never delivered again.
    pub dup: bool,
    /// The RETAIN flag. In a message from a client: whether the server retains the message. In a message from a server:
    /// whether the message was already retained when the subscription was made or, with Retain As Published, the flag
    /// that the publisher set.
    pub retain: bool,
    /// The properties; empty before 5.0. They contain no topic alias, which has been resolved.
    pub properties: PublishProperties<'a>,
    /// Identifies the acknowledgement that the application owes. `None` if the session acknowledges the message itself,
    /// if the QoS is 0, or if further parts of the payload follow.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub ack_handle: Option<AckHandle>,
    /// Number of bytes of the payload that have not arrived; they follow as [`PayloadPart`]s. Always 0 unless delivery
    /// in parts is configured.
    pub missing: u32,
}

impl<'a> ReceivedMessage<'a> {
    #[inline(always)]
    pub(crate) const fn new(
        topic: Topic<'a>,
        payload: &'a [u8],
        delivery: Delivery,
        retain: bool,
        mut properties: PublishProperties<'a>,
    ) -> Self {
        let (qos, dup) = (delivery.qos(), delivery.dup());
        properties.topic_alias = None;
        Self { topic, payload, qos, dup, retain, properties, ack_handle: None, missing: 0 }
    }

    /// Returns the properties without the subscription identifiers, which belong to the receiving session.
    #[inline]
    pub(crate) const fn content_properties(&self) -> PublishProperties<'a> {
        PublishProperties { subscription_identifiers: List::EMPTY, ..self.properties }
    }

    /// Returns the message with `properties`, which are its [own](Self::content_properties) and held by the caller.
    #[inline]
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn content<'s>(&'s self, properties: &'s PublishProperties<'s>) -> MessageRef<'s> {
        let Self { payload, qos, retain, .. } = *self;
        MessageRef { topic: self.topic.name(), payload, shared: None, qos, retain, properties }
    }
}

impl fmt::Debug for ReceivedMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, dup, retain, properties, ack_handle, missing } = self;
        f.debug_struct("ReceivedMessage")
            .field("topic", topic)
            .field("payload", &Escaped(payload))
            .field("qos", qos)
            .field("dup", dup)
            .field("retain", retain)
            .field("properties", properties)
            .field("ack_handle", ack_handle)
            .field("missing", missing)
            .finish()
    }
}

/// A further part of the payload of a message that is delivered in parts.
///
/// The session accepts ownership of the message, or waits for the application to acknowledge it, only with the last
/// part. If the connection closes earlier, the peer sends a message of QoS 1 or 2 again from the beginning; a message
/// of QoS 0 is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PayloadPart<'a> {
    /// The bytes of this part.
    pub bytes: &'a [u8],
    /// Number of bytes of the payload that have not arrived; 0 in the last part.
    pub missing: u32,
    /// Identifies the acknowledgement that the application owes; present only in the last part. `None` if the session
    /// acknowledges the message itself, or if the QoS is 0.
    pub ack_handle: Option<AckHandle>,
}

impl fmt::Debug for PayloadPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, missing, ack_handle } = self;
        f.debug_struct("PayloadPart")
            .field("bytes", &Escaped(bytes))
            .field("missing", missing)
            .field("ack_handle", ack_handle)
            .finish()
    }
}
