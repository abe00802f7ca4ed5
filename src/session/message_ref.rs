//! The borrowed parts of a message, which sessions and brokers pass on.

use core::fmt;

use bytes::Bytes;

use super::link::transmit::LARGE;
use crate::codec::{Delivery, Publish, PublishParts, PublishProperties, QoS};
use crate::escaped::Escaped;
use crate::topic::TopicName;

/// The parts of a message, borrowed: the form in which sessions and brokers pass on a message, whether it was built,
/// received or stored. A PUBLISH is built from these parts when it is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageRef<'a> {
    /// The topic.
    pub topic: TopicName<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The payload as shared bytes, if the message was built from [`Payload::Shared`](crate::Payload::Shared).
    pub shared: Option<&'a Bytes>,
    /// The QoS.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The properties. They contain no topic alias.
    // A reference, because the properties are large and nearly every message is passed on as it is.
    pub properties: &'a PublishProperties<'a>,
}

impl fmt::Debug for MessageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, shared: _, qos, retain, properties } = self;
        f.debug_struct("MessageRef")
            .field("topic", topic)
            .field("payload", &Escaped(payload))
            .field("qos", qos)
            .field("retain", retain)
            .field("properties", properties)
            .finish()
    }
}

impl<'a> MessageRef<'a> {
    /// Returns the content of a stored or received PUBLISH.
    #[inline]
    pub(crate) const fn of(publish: &'a Publish<'a>) -> Self {
        let Publish { delivery, retain, topic, payload, properties } = publish;
        Self { topic: *topic, payload, shared: None, qos: delivery.qos(), retain: *retain, properties }
    }

    /// Returns the shared payload if it is large enough to be sent and stored without copying.
    #[inline]
    pub(crate) fn large(&self) -> Option<&'a Bytes> {
        self.shared.filter(|shared| shared.len() >= LARGE)
    }

    /// Builds the PUBLISH. `payload` replaces the payload of the message, which may be stored or sent separately.
    #[inline(always)]
    pub(crate) const fn as_publish<'s>(&'s self, delivery: Delivery, payload: &'s [u8]) -> PublishParts<'s> {
        PublishParts { delivery, retain: self.retain, topic: self.topic, payload, properties: self.properties }
    }
}
