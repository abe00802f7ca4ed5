//! Messages that the application builds to publish them.

use core::fmt;

use super::command_error::PublishError;
use super::message_ref::MessageRef;
use super::payload::Payload;
use super::received::ReceivedMessage;
use crate::codec::{PublishProperties, QoS};
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
/// Use [`Message::from`] to forward a received message, [`Message::reply_to`] to answer one, and `Message::try_from`
/// for the message of a [`Will`](crate::Will).
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Message<'a> {
    /// Not validated before [`checked`](Self::checked).
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::codec::serialize::binary::serialize"))]
    topic: &'a [u8],
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::session::payload::serialize"))]
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

    /// Sets the Response Topic, which makes the message a request (section 4.10). Default: none; 5.0 only.
    ///
    /// ```
    /// # use mqtt_sansio::{Message, TopicName};
    /// let answers = TopicName::new("answers/7")?;
    /// let request = Message::new("questions", "6 * 7").response_topic(answers).correlation_data(b"1");
    /// assert_eq!(request.get_properties().response_topic, Some(answers));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub const fn response_topic(mut self, response_topic: TopicName<'a>) -> Self {
        self.properties.response_topic = Some(response_topic);
        self
    }

    /// Sets the Correlation Data, which the response repeats (section 4.10). Default: none; 5.0 only. The session assigns it
    /// no meaning.
    ///
    /// ```
    /// # use mqtt_sansio::Message;
    /// let request = Message::new("questions", "6 * 7").correlation_data(b"1");
    /// assert_eq!(request.get_properties().correlation_data, Some(&b"1"[..]));
    /// ```
    #[inline]
    #[must_use]
    pub const fn correlation_data(mut self, correlation_data: &'a [u8]) -> Self {
        self.properties.correlation_data = Some(correlation_data);
        self
    }

    /// Sets the properties, all at once. Default: none; 5.0 only. A message whose properties contain a topic alias cannot be
    /// published, because the session assigns topic aliases.
    ///
    /// ```
    /// # use mqtt_sansio::codec::PublishProperties;
    /// # use mqtt_sansio::{Message, TopicName};
    /// let properties = PublishProperties {
    ///     message_expiry_interval: Some(60),
    ///     response_topic: Some(TopicName::new("answers/7")?),
    ///     ..PublishProperties::default()
    /// };
    /// let message = Message::new("questions", "6 * 7").properties(properties);
    /// assert_eq!(message.get_properties().message_expiry_interval, Some(60));
    /// # Ok::<(), mqtt_sansio::TopicError>(())
    /// ```
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
    /// [`PublishError::TopicAlias`] if the properties contain a topic alias; [`PublishError::Topic`] if the topic is
    /// not a valid topic name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::{Message, PublishError, QoS};
    /// let message = Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce);
    /// assert_eq!(message.checked()?.topic, "home/temp");
    /// assert!(matches!(Message::new("home/+", "").checked(), Err(PublishError::Topic(_))));
    /// # Ok::<(), PublishError>(())
    /// ```
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
