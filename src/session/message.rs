//! Messages as an application gives and gets them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::inbound::Receipt;
use crate::codec::{Delivery, PacketId, Publish, PublishProperties, QoS};
use crate::escaped::Escaped;
use crate::topic::TopicName;

/// A message to be published.
///
/// ```
/// # use mqtt_sansio::{Message, QoS};
/// let message = Message::new("home/kitchen/temp", "21.5").qos(QoS::AtLeastOnce).retain(true);
/// ```
#[derive(Clone, Default)]
pub struct Message<'a> {
    /// Its topic has not been checked, and its packet identifier means nothing.
    pub(crate) publish: Publish<'a>,
    /// The payload, if it is a shared one.
    pub(crate) shared: Option<Bytes>,
}

impl<'a> Message<'a> {
    /// A message of QoS 0. The topic, a text or a [`TopicName`], is checked when the message is published.
    #[inline]
    pub fn new(topic: &'a (impl AsRef<[u8]> + ?Sized), payload: impl Into<Payload<'a>>) -> Self {
        let topic = TopicName::validated(topic.as_ref());
        let (payload, shared) = match payload.into() {
            Payload::Borrowed(payload) => (payload, None),
            Payload::Shared(shared) => (&[] as &[u8], Some(shared)),
        };
        Self { publish: Publish { topic, payload, ..Publish::default() }, shared }
    }

    /// With this guarantee.
    #[inline]
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.publish.delivery = Delivery::new(qos, PacketId::MIN, false);
        self
    }

    /// Whether the server is to keep it for later subscribers.
    #[inline]
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.publish.retain = retain;
        self
    }

    /// With properties; 5.0 only. A topic alias cannot be among them: aliases are the engine's business.
    #[inline]
    #[must_use]
    pub fn properties(mut self, properties: PublishProperties<'a>) -> Self {
        self.publish.properties = properties;
        self
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Publish { topic, payload, delivery, retain, properties } = &self.publish;
        let payload = self.shared.as_deref().unwrap_or(payload);
        f.debug_struct("Message")
            .field("topic", &format_args!("\"{}\"", topic.as_bytes().escape_ascii()))
            .field("payload", &Escaped(payload))
            .field("qos", &delivery.qos())
            .field("retain", retain)
            .field("properties", properties)
            .finish()
    }
}

/// The content of a message to be published: bytes that are copied, or shared ones.
///
/// Shared bytes of 2 KiB and more are sent, and kept until they are acknowledged, without being copied.
#[derive(Clone)]
pub enum Payload<'a> {
    /// Bytes of the caller's, which are copied.
    Borrowed(&'a [u8]),
    /// Shared bytes.
    Shared(Bytes),
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Borrowed(payload) => f.debug_tuple("Borrowed").field(&Escaped(payload)).finish(),
            Self::Shared(payload) => f.debug_tuple("Shared").field(&Escaped(payload)).finish(),
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Payload<'a> {
    fn from(text: &'a String) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Shared(bytes.into())
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

/// A message that has arrived. It borrows from the bytes that were received.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedMessage<'a> {
    /// What it is about; never empty, a topic alias has been resolved.
    pub topic: Topic<'a>,
    /// Its content.
    pub payload: &'a [u8],
    /// With which guarantee it was sent.
    pub qos: QoS,
    /// Whether it may have been sent before. It says nothing about whether it was delivered before: of QoS 2 no
    /// message is delivered twice.
    pub dup: bool,
    /// Whether it was retained when the subscription was made; with Retain As Published, whether it is retained.
    pub retain: bool,
    /// Its properties; empty before 5.0.
    pub properties: PublishProperties<'a>,
    /// With what it is to be acknowledged, if that is the application's business and its QoS is 1 or 2.
    pub receipt: Option<Receipt>,
    /// How many bytes of the payload are still to come, by [`PayloadPart`]s; 0 unless delivery in parts was asked for.
    pub missing: u32,
}

impl<'a> ReceivedMessage<'a> {
    #[inline(always)]
    pub(crate) const fn new(
        topic: Topic<'a>,
        payload: &'a [u8],
        delivery: Delivery,
        retain: bool,
        properties: PublishProperties<'a>,
    ) -> Self {
        let (qos, dup) = (delivery.qos(), delivery.dup());
        Self { topic, payload, qos, dup, retain, properties, receipt: None, missing: 0 }
    }
}

/// More of the payload of a message that is delivered in parts. Until the last one has come the message is not taken
/// over: if the connection ends before, it will be sent again from the beginning, unless its QoS is 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PayloadPart<'a> {
    /// What has come.
    pub bytes: &'a [u8],
    /// How many bytes are still to come.
    pub missing: u32,
    /// With the last part: with what the message is to be acknowledged, if that is the application's business and its
    /// QoS is 1 or 2.
    pub receipt: Option<Receipt>,
}

impl fmt::Debug for ReceivedMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, dup, retain, properties, receipt, missing } = self;
        f.debug_struct("ReceivedMessage")
            .field("topic", topic)
            .field("payload", &Escaped(payload))
            .field("qos", qos)
            .field("dup", dup)
            .field("retain", retain)
            .field("properties", properties)
            .field("receipt", receipt)
            .field("missing", missing)
            .finish()
    }
}

impl fmt::Debug for PayloadPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, missing, receipt } = self;
        f.debug_struct("PayloadPart")
            .field("bytes", &Escaped(bytes))
            .field("missing", missing)
            .field("receipt", receipt)
            .finish()
    }
}

/// The topic of a message that has arrived.
#[derive(Clone)]
pub enum Topic<'a> {
    /// As it was received.
    Named(TopicName<'a>),
    /// What a topic alias stood for.
    Aliased(SharedTopic),
}

/// A topic that an alias stands for.
#[derive(Clone)]
pub struct SharedTopic(pub(crate) Arc<[u8]>);

impl Topic<'_> {
    /// The name.
    pub fn name(&self) -> TopicName<'_> {
        match self {
            Self::Named(name) => *name,
            Self::Aliased(SharedTopic(name)) => TopicName::validated(name),
        }
    }

    /// The name as text. Costs a pass over the bytes.
    pub fn as_str(&self) -> &str {
        self.name().as_str()
    }
}

impl AsRef<[u8]> for Topic<'_> {
    fn as_ref(&self) -> &[u8] {
        self.name().as_bytes()
    }
}

impl PartialEq for Topic<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Topic<'_> {}

impl PartialEq<str> for Topic<'_> {
    fn eq(&self, other: &str) -> bool {
        self.name() == *other
    }
}

impl PartialEq<&str> for Topic<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.name() == **other
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name(), f)
    }
}

impl fmt::Debug for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name(), f)
    }
}
