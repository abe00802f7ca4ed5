//! Application messages: messages to publish, received messages, and their payloads and topics.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::command_error::PublishError;
use super::deliveries::inbound::AckHandle;
use super::link::transmit::LARGE;
use crate::codec::{Delivery, List, Publish, PublishParts, PublishProperties, QoS};
use crate::escaped::Escaped;
use crate::topic::TopicName;

/// A message to publish, built by the application.
///
/// The message has no packet identifier, no DUP flag and no topic alias: these belong to a connection, and the session
/// assigns them when it sends the message.
///
/// ```
/// # use mqtt_sansio::{Message, QoS};
/// let message = Message::new("home/kitchen/temp", "21.5").qos(QoS::AtLeastOnce).retain(true);
/// assert_eq!((message.get_topic(), message.get_payload()), (&b"home/kitchen/temp"[..], &b"21.5"[..]));
/// assert_eq!((message.get_qos(), message.get_retain()), (QoS::AtLeastOnce, true));
/// ```
///
/// Use [`Message::from`] to forward a received message, [`Message::reply_to`] to answer one, and `Message::try_from` for
/// the message of a [`Will`](crate::server::Will).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// Not validated before [`checked`](Self::checked).
    topic: &'a [u8],
    payload: Payload<'a>,
    qos: QoS,
    retain: bool,
    properties: PublishProperties<'a>,
}

impl<'a> Message<'a> {
    /// Creates a message of QoS 0, not retained and without properties. The topic, a string or a [`TopicName`], is
    /// validated when the message is published.
    #[inline]
    pub fn new(topic: &'a (impl AsRef<[u8]> + ?Sized), payload: impl Into<Payload<'a>>) -> Self {
        Self { topic: topic.as_ref(), payload: payload.into(), ..Self::default() }
    }

    /// Creates the response to a request (section 4.10). Its topic is the Response Topic of the request; its
    /// Correlation Data and its QoS are those of the request. Returns `None` if the request has no Response Topic.
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
    /// #     assert_eq!((reply.get_topic(), reply.get_properties().correlation_data), (&b"r"[..], Some(&b"7"[..])));
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

    /// Sets the RETAIN flag: whether the server retains the message for later subscribers. Default: `false`.
    #[inline]
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Sets the properties. Default: none; 5.0 only. A message whose properties contain a topic alias cannot be
    /// published, because the session assigns topic aliases.
    #[inline]
    #[must_use]
    pub fn properties(mut self, properties: PublishProperties<'a>) -> Self {
        self.properties = properties;
        self
    }

    /// Returns the topic as it was given, which is not validated yet.
    pub const fn get_topic(&self) -> &'a [u8] {
        self.topic
    }

    /// Returns the payload.
    pub fn get_payload(&self) -> &[u8] {
        self.payload.as_bytes()
    }

    /// Returns the QoS.
    pub const fn get_qos(&self) -> QoS {
        self.qos
    }

    /// Returns the RETAIN flag.
    pub const fn get_retain(&self) -> bool {
        self.retain
    }

    /// Returns the properties.
    pub const fn get_properties(&self) -> &PublishProperties<'a> {
        &self.properties
    }

    /// Validates the topic and the properties, and returns the parts of the message.
    ///
    /// # Errors
    ///
    /// [`PublishError::TopicAlias`] if the properties contain a topic alias; [`PublishError::Topic`] if the topic is not a
    /// valid topic name.
    // The topic of a message to publish is validated here and nowhere else.
    #[inline(always)]
    pub fn checked(&self) -> Result<MessageRef<'_>, PublishError> {
        if self.properties.topic_alias.is_some() {
            return Err(PublishError::TopicAlias);
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

    /// Returns whether the message has subscription identifiers, which only a server may send.
    #[inline]
    pub(crate) fn has_subscription_identifiers(&self) -> bool {
        !self.properties.subscription_identifiers.is_empty()
    }
}

/// Converts a received message to one that can be published, to forward it. The result has the topic, payload, QoS,
/// RETAIN flag and properties of the received message, but not its subscription identifiers, which belong to the
/// receiving session. If the received message is delivered in parts, the result contains only the first part of the
/// payload.
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

/// The parts of a message, borrowed: the form in which sessions and brokers pass on a message, whether it was built,
/// received or stored. A PUBLISH is built from these parts when it is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageRef<'a> {
    /// The topic.
    pub topic: TopicName<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The payload as shared bytes, if the message was built from [`Payload::Shared`].
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

/// The payload of a message to publish: borrowed or shared bytes.
///
/// Shared bytes of 2 KiB or more are sent, and stored until they are acknowledged, without being copied; all other
/// payloads are copied. Two payloads are equal if their bytes are equal.
#[derive(Clone)]
pub enum Payload<'a> {
    /// Borrowed bytes, which are copied.
    Borrowed(&'a [u8]),
    /// Shared bytes, which are copied only if they are shorter than 2 KiB.
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
    /// Returns the bytes of the payload.
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

/// A received message. It borrows from the input.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedMessage<'a> {
    /// The topic name. It is never empty: a topic alias has been resolved.
    pub topic: Topic<'a>,
    /// The payload, or its first part if `missing` is not 0.
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

/// The topic of a received message.
#[derive(Clone)]
#[non_exhaustive]
pub enum Topic<'a> {
    /// The topic name in the packet.
    Named(TopicName<'a>),
    /// The topic name that a topic alias was mapped to.
    Aliased(SharedTopic),
}

/// A topic name that a topic alias is mapped to.
#[derive(Clone)]
pub struct SharedTopic(pub(crate) Arc<[u8]>);

impl Topic<'_> {
    /// Returns the topic name.
    pub fn name(&self) -> TopicName<'_> {
        match self {
            Self::Named(name) => *name,
            Self::Aliased(SharedTopic(name)) => TopicName::validated(name),
        }
    }

    /// Returns the topic name as a string. The cost is linear in its length.
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
