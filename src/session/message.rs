//! Messages as an application gives and gets them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::deliveries::inbound::Receipt;
use super::error::CommandError;
use super::link::transmit::LARGE;
use crate::codec::{Delivery, List, Publish, PublishParts, PublishProperties, QoS};
use crate::escaped::Escaped;
use crate::topic::TopicName;

/// A message to be published, as an application builds it.
///
/// It has no packet identifier, no DUP and no topic alias: those belong to the connection that carries the message, and the
/// sessions assign them.
///
/// ```
/// # use mqtt_sansio::{Message, QoS};
/// let message = Message::new("home/kitchen/temp", "21.5").qos(QoS::AtLeastOnce).retain(true);
/// let checked = message.checked()?;
/// assert_eq!((checked.topic.as_str(), checked.payload, checked.retain), ("home/kitchen/temp", &b"21.5"[..], true));
/// # Ok::<(), mqtt_sansio::CommandError>(())
/// ```
///
/// A message that was received is forwarded by [`Message::from`], and answered by [`Message::reply_to`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// Not checked: see [`checked`](Self::checked).
    topic: &'a [u8],
    payload: Payload<'a>,
    qos: QoS,
    retain: bool,
    properties: PublishProperties<'a>,
}

impl<'a> Message<'a> {
    /// A message of QoS 0, not retained and without properties. The topic, a text or a [`TopicName`], is checked when the
    /// message is published.
    #[inline]
    pub fn new(topic: &'a (impl AsRef<[u8]> + ?Sized), payload: impl Into<Payload<'a>>) -> Self {
        Self { topic: topic.as_ref(), payload: payload.into(), ..Self::default() }
    }

    /// The answer to a request, published under its response topic with its correlation data and its QoS (section 4.10);
    /// `None` if the request has no response topic.
    ///
    /// ```
    /// # use mqtt_sansio::{Message, ReceivedMessage};
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let mut input = &b"\x20\x03\0\0\0\x30\x0c\x00\x01q\x07\x08\x00\x01r\x09\x00\x017"[..];
    /// # while let Some(action) = client.poll(now, &mut input) {
    /// #     let Action::Message(request) = action else { continue };
    /// if let Some(reply) = Message::reply_to(&request, "42") {
    ///     client.publish(now, &reply)?;
    /// }
    /// #     let reply = Message::reply_to(&request, "42").ok_or("no response topic")?;
    /// #     let reply = reply.checked()?;
    /// #     assert_eq!((reply.topic.as_str(), reply.properties.correlation_data), ("r", Some(&b"7"[..])));
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply_to(request: &'a ReceivedMessage<'_>, payload: impl Into<Payload<'a>>) -> Option<Self> {
        let topic = request.properties.response_topic.as_ref()?.as_bytes();
        let correlation_data = request.properties.correlation_data;
        let properties = PublishProperties { correlation_data, ..PublishProperties::default() };
        Some(Self { topic, payload: payload.into(), qos: request.qos, retain: false, properties })
    }

    /// Sets the QoS. Default: 0.
    #[inline]
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets whether the server retains the message for later subscribers. Default: no.
    #[inline]
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the properties; 5.0 only. Default: none. A message with a topic alias among them cannot be published: the
    /// sessions assign topic aliases.
    #[inline]
    #[must_use]
    pub fn properties(mut self, properties: PublishProperties<'a>) -> Self {
        self.properties = properties;
        self
    }

    /// Checks the topic, and returns the parts of the message.
    ///
    /// # Errors
    ///
    /// [`CommandError::TopicAlias`] if the properties contain a topic alias; [`CommandError::Text`] if the topic is not a
    /// valid topic name.
    // The one place where the topic of a message to be published is checked.
    #[inline(always)]
    pub fn checked(&self) -> Result<MessageRef<'_>, CommandError> {
        if self.properties.topic_alias.is_some() {
            return Err(CommandError::TopicAlias);
        }
        let (payload, shared) = match &self.payload {
            Payload::Borrowed(payload) => (*payload, None),
            Payload::Shared(shared) => (&shared[..], Some(shared)),
        };
        Ok(MessageRef {
            topic: TopicName::from_bytes(self.topic)?,
            payload,
            shared,
            qos: self.qos,
            retain: self.retain,
            properties: &self.properties,
        })
    }

    /// Returns whether the message names subscription identifiers, which only a server sends.
    #[inline]
    pub(crate) fn has_subscription_identifiers(&self) -> bool {
        !self.properties.subscription_identifiers.is_empty()
    }
}

/// A received message is forwarded with its topic, payload, QoS, RETAIN flag and properties, but without subscription
/// identifiers: those belong to the session that has received it. Of a message that is delivered in parts this is only the
/// first part of the payload.
///
/// ```
/// # use mqtt_sansio::Message;
/// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
/// # use mqtt_sansio::Instant;
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// # let now = Instant::EPOCH;
/// # let config = ClientConfig { topic_alias_maximum: 1, ..ClientConfig::default() };
/// # let (mut client, mut bridge) = (ClientSession::new(config), ClientSession::new(ClientConfig::default()));
/// # client.open(now)?;
/// # let mut input = &b"\x20\x03\0\0\0\x30\x08\x00\x01a\x03\x23\x00\x01b"[..]; // with a topic alias
/// # let mut forwarded = 0;
/// # while let Some(action) = client.poll(now, &mut input) {
/// #     let Action::Message(received) = action else { continue };
/// #     forwarded += 1;
/// bridge.publish(now, &Message::from(&received))?;
/// # }
/// # assert_eq!(forwarded, 1);
/// # Ok(())
/// # }
/// ```
impl<'m> From<&'m ReceivedMessage<'_>> for Message<'m> {
    fn from(received: &'m ReceivedMessage<'_>) -> Self {
        let ReceivedMessage { topic, payload, qos, retain, .. } = received;
        let properties = received.content_properties();
        Self { topic: topic.as_ref(), payload: (*payload).into(), qos: *qos, retain: *retain, properties }
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, retain, properties } = self;
        f.debug_struct("Message")
            .field("topic", &format_args!("\"{}\"", topic.escape_ascii()))
            .field("payload", &Escaped(payload.as_bytes()))
            .field("qos", qos)
            .field("retain", retain)
            .field("properties", properties)
            .finish()
    }
}

/// The parts of a message: what every session, store and broker passes on, whatever carries it. PUBLISH is built from it
/// where bytes are written.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageRef<'a> {
    /// The topic.
    pub topic: TopicName<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The payload again, if it is a shared one.
    pub shared: Option<&'a Bytes>,
    /// The QoS.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The properties, without a topic alias.
    // By reference: they are large, and nearly every message is passed on as it is.
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
    /// The content of a PUBLISH that was stored or received.
    #[inline]
    pub(crate) const fn of(publish: &'a Publish<'a>) -> Self {
        let Publish { delivery, retain, topic, payload, properties } = publish;
        Self { topic: *topic, payload, shared: None, qos: delivery.qos(), retain: *retain, properties }
    }

    /// The payload, if it is a shared one that is sent and stored without being copied.
    #[inline]
    pub(crate) fn large(&self) -> Option<&'a Bytes> {
        self.shared.filter(|shared| shared.len() >= LARGE)
    }

    /// PUBLISH, with a payload that replaces the one of the message where it is stored or sent elsewhere.
    #[inline(always)]
    pub(crate) const fn as_publish<'s>(&'s self, delivery: Delivery, payload: &'s [u8]) -> PublishParts<'s> {
        PublishParts { delivery, retain: self.retain, topic: self.topic, payload, properties: self.properties }
    }
}

/// The content of a message to be published: bytes that are copied, or shared ones.
///
/// Shared bytes of 2 KiB and more are sent, and stored until they are acknowledged, without being copied. Two payloads are
/// equal when their bytes are.
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

impl Payload<'_> {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Payload<'_> {}

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
    /// Its properties; empty before 5.0. There is no topic alias among them: it has been resolved.
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
        mut properties: PublishProperties<'a>,
    ) -> Self {
        let (qos, dup) = (delivery.qos(), delivery.dup());
        properties.topic_alias = None;
        Self { topic, payload, qos, dup, retain, properties, receipt: None, missing: 0 }
    }

    /// The properties without what belongs to the session that has received the message.
    #[inline]
    pub(crate) const fn content_properties(&self) -> PublishProperties<'a> {
        PublishProperties { subscription_identifiers: List::EMPTY, ..self.properties }
    }

    /// The message with these properties: its [own](Self::content_properties), which the caller holds.
    #[inline]
    pub(crate) fn content<'s>(&'s self, properties: &'s PublishProperties<'s>) -> MessageRef<'s> {
        let Self { payload, qos, retain, .. } = *self;
        MessageRef { topic: self.topic.name(), payload, shared: None, qos, retain, properties }
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
