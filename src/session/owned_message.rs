//! Messages that own their content.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::command_error::PublishError;
use super::deliveries::inbound::AckHandle;
use super::message::Message;
use super::message_ref::MessageRef;
use super::payload::Payload;
use super::received::ReceivedMessage;
use crate::codec::{Decoded, Delivery, FixedHeader, Limits, List, Packet, PublishProperties, QoS, Version, decode};
use crate::escaped::Escaped;
use crate::topic::TopicName;

/// A message that owns its content, and can be passed to another thread, task or queue: `Send + 'static`. Made by
/// [`ReceivedMessage::to_owned`] or from a [`Message`], and published with [`Message::from`].
///
/// A clone shares the content. Two messages are equal if all their fields are.
///
/// ```
/// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
/// # use mqtt_sansio::{Instant, Message, OwnedMessage};
/// # use std::sync::mpsc::channel;
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
/// # let mut bridge = ClientSession::new(ClientConfig::default());
/// # client.open(now)?;
/// # let mut input = &b"\x20\x03\0\0\0\x30\x05\x00\x01q\x007"[..];
/// let (sender, receiver) = channel::<OwnedMessage>();
/// while let Some(action) = client.poll(now, &mut input) {
///     if let Action::Message(message) = action {
///         sender.send(message.to_owned())?;
///     }
/// }
/// let message = receiver.recv()?; // in another thread
/// assert_eq!((message.topic().as_str(), &message.payload()[..]), ("q", &b"7"[..]));
/// bridge.publish(now, &Message::from(&message))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedMessage {
    /// A valid PUBLISH of 5.0 and QoS 0 with the topic and the properties, and without the payload.
    head: Bytes,
    /// Offset of the topic name in `head`.
    topic_at: u8,
    payload: Bytes,
    qos: QoS,
    dup: bool,
    retain: bool,
    missing: u32,
    ack_handle: Option<AckHandle>,
}

impl OwnedMessage {
    /// Creates a message of this content; the payload is added by the caller.
    fn with_head(topic: TopicName<'_>, properties: &PublishProperties<'_>) -> Result<Self, PublishError> {
        let content = MessageRef { topic, payload: &[], shared: None, qos: QoS::AtMostOnce, retain: false, properties };
        let publish = content.as_publish(Delivery::AtMostOnce, &[]);
        let mut head = Vec::with_capacity(publish.encoded_len(Version::V5)?);
        publish.encode(Version::V5, &mut head)?;
        let header_size = FixedHeader::decode(&head, Version::V5).ok().flatten().map_or(0, |header| header.size);
        Ok(Self {
            head: head.into(),
            topic_at: header_size.saturating_add(2), // after the length of the topic name
            ..Self::empty()
        })
    }

    /// Copies a received message, except for the payload.
    fn without_payload(received: &ReceivedMessage<'_>) -> Self {
        let ReceivedMessage { topic, qos, dup, retain, properties, ack_handle, missing, .. } = received;
        let head = Self::with_head(topic.name(), properties);
        let head = head.or_else(|error| {
            bug!("a received message can be encoded: {error}");
            Self::with_head(topic.name(), &PublishProperties::default())
        });
        let head = head.unwrap_or_else(|_| Self::empty());
        Self { qos: *qos, dup: *dup, retain: *retain, missing: *missing, ack_handle: *ack_handle, ..head }
    }

    /// Creates a message without content.
    fn empty() -> Self {
        Self {
            head: Bytes::new(),
            topic_at: 0,
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            dup: false,
            retain: false,
            missing: 0,
            ack_handle: None,
        }
    }

    /// Returns the length of the topic name, and the offset of its end.
    fn topic_end(&self) -> usize {
        let at = usize::from(self.topic_at);
        let length = self.head.get(at.saturating_sub(2)..at).and_then(|length| length.first_chunk::<2>());
        at.saturating_add(length.map_or(0, |length| usize::from(u16::from_be_bytes(*length))))
    }

    /// Returns the topic name.
    pub fn topic(&self) -> TopicName<'_> {
        TopicName::validated(self.head.get(usize::from(self.topic_at)..self.topic_end()).unwrap_or_default())
    }

    /// Returns the payload, or its first part if [`missing`](Self::missing) is not 0.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns the payload, and drops the rest of the message.
    ///
    /// ```
    /// # use mqtt_sansio::{Message, OwnedMessage};
    /// let message = OwnedMessage::try_from(Message::new("home/temp", "21.5"))?;
    /// assert_eq!(message.into_payload(), "21.5");
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Returns the QoS.
    pub const fn qos(&self) -> QoS {
        self.qos
    }

    /// Returns the RETAIN flag; see [`ReceivedMessage::retain`].
    pub const fn retain(&self) -> bool {
        self.retain
    }

    /// Returns the DUP flag of a received message; see [`ReceivedMessage::dup`].
    pub const fn dup(&self) -> bool {
        self.dup
    }

    /// Returns the properties. They are decoded at each call.
    ///
    /// ```
    /// # use mqtt_sansio::codec::PublishProperties;
    /// # use mqtt_sansio::{Message, OwnedMessage};
    /// # let properties = PublishProperties { message_expiry_interval: Some(60), ..PublishProperties::default() };
    /// # let message = OwnedMessage::try_from(Message::new("home/temp", "21.5").properties(properties))?;
    /// assert_eq!(message.properties().message_expiry_interval, Some(60));
    /// # Ok::<(), mqtt_sansio::PublishError>(())
    /// ```
    pub fn properties(&self) -> PublishProperties<'_> {
        if self.head.len() <= self.topic_end().saturating_add(1) {
            return PublishProperties::default(); // nothing but an empty Property Length after the topic
        }
        match decode(&self.head, Version::V5, Limits::DEFAULT) {
            Ok(Decoded::Packet { packet: Packet::Publish(publish), .. }) => publish.properties,
            other => {
                bug!("the head is a valid PUBLISH: {other:?}");
                PublishProperties::default()
            }
        }
    }

    /// Creates the response to this request, as [`Message::reply_to`] does. Returns `None` if the request has no Response
    /// Topic.
    ///
    /// ```
    /// # use mqtt_sansio::codec::PublishProperties;
    /// # use mqtt_sansio::{Message, OwnedMessage, TopicName};
    /// # let response_topic = Some(TopicName::new("answers/7")?);
    /// # let properties = PublishProperties { response_topic, ..PublishProperties::default() };
    /// # let request = OwnedMessage::try_from(Message::new("questions", "6 * 7").properties(properties))?;
    /// let reply = request.reply("42").ok_or("no response topic")?;
    /// assert_eq!((reply.get_topic(), reply.get_payload()), (&b"answers/7"[..], &b"42"[..]));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn reply<'m>(&'m self, payload: impl Into<Payload<'m>>) -> Option<Message<'m>> {
        let PublishProperties { response_topic, correlation_data, .. } = self.properties();
        let properties = PublishProperties { correlation_data, ..PublishProperties::default() };
        Some(Message::new(response_topic?.as_bytes(), payload).qos(self.qos).properties(properties))
    }

    /// Returns the handle of the acknowledgement that the application owes; see [`ReceivedMessage::ack_handle`].
    pub const fn ack_handle(&self) -> Option<AckHandle> {
        self.ack_handle
    }

    /// Returns the number of bytes of the payload that follow in further parts; see [`ReceivedMessage::missing`].
    pub const fn missing(&self) -> u32 {
        self.missing
    }
}

impl ReceivedMessage<'_> {
    /// Returns the message with a copy of its content. Topic, payload and properties are copied, in at most two
    /// allocations.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// # let mut messages = Vec::new();
    /// # let mut input = &b"\x30\x05\x00\x01q\x007"[..];
    /// while let Some(action) = client.poll(now, &mut input) {
    ///     if let Action::Message(message) = action {
    ///         messages.push(message.to_owned()); // it outlives `input`
    ///     }
    /// }
    /// # assert_eq!(messages.len(), 1);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn to_owned(&self) -> OwnedMessage {
        OwnedMessage { payload: Bytes::copy_from_slice(self.payload), ..OwnedMessage::without_payload(self) }
    }

    /// Returns the message with a payload that shares `input`, the bytes that were given to `poll`, so that the payload
    /// is not copied. The whole buffer of `input` stays in memory as long as the payload: for short payloads
    /// [`to_owned`](Self::to_owned) is the better choice. If the payload is not a part of `input`, it is copied.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// let received = Bytes::from(&b"\x20\x03\0\0\0\x30\x05\x00\x01q\x007"[..]);
    /// let mut input = &received[..];
    /// while let Some(action) = client.poll(now, &mut input) {
    ///     if let Action::Message(message) = action {
    ///         let owned = message.to_owned_in(&received);
    ///         assert!(std::ptr::eq(&owned.payload()[..], message.payload));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_owned_in(&self, input: &Bytes) -> OwnedMessage {
        OwnedMessage { payload: share(self.payload, input), ..OwnedMessage::without_payload(self) }
    }
}

/// Returns the part as a view of `whole`, or as a copy if it is not a part of it.
fn share(part: &[u8], whole: &Bytes) -> Bytes {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr());
    let range = start.and_then(|start| Some(start..start.checked_add(part.len())?));
    match range {
        Some(range) if range.end <= whole.len() => whole.slice(range),
        _ => Bytes::copy_from_slice(part),
    }
}

/// Copies a message that was built, after validating it. A payload that is shared is not copied.
///
/// # Errors
///
/// The errors of [`Message::checked`], and [`PublishError::Encode`] if the properties cannot be encoded.
impl TryFrom<&Message<'_>> for OwnedMessage {
    type Error = PublishError;

    fn try_from(message: &Message<'_>) -> Result<Self, PublishError> {
        let content = message.checked()?;
        let payload = content.shared.cloned().unwrap_or_else(|| Bytes::copy_from_slice(content.payload));
        let head = Self::with_head(content.topic, content.properties)?;
        Ok(Self { payload, qos: content.qos, retain: content.retain, ..head })
    }
}

impl TryFrom<Message<'_>> for OwnedMessage {
    type Error = PublishError;

    fn try_from(message: Message<'_>) -> Result<Self, PublishError> {
        Self::try_from(&message)
    }
}

/// Converts an owned message to one that can be published. The result has the topic, payload, QoS, RETAIN flag and
/// properties, but not the subscription identifiers, which belong to the receiving session. The payload is shared.
impl<'m> From<&'m OwnedMessage> for Message<'m> {
    fn from(owned: &'m OwnedMessage) -> Self {
        let properties = PublishProperties { subscription_identifiers: List::EMPTY, ..owned.properties() };
        let message = Self::new(owned.topic().as_bytes(), owned.payload.clone());
        message.qos(owned.qos).retain(owned.retain).properties(properties)
    }
}

impl fmt::Debug for OwnedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedMessage")
            .field("topic", &self.topic())
            .field("payload", &Escaped(&self.payload))
            .field("qos", &self.qos)
            .field("dup", &self.dup)
            .field("retain", &self.retain)
            .field("properties", &self.properties())
            .field("ack_handle", &self.ack_handle)
            .field("missing", &self.missing)
            .finish()
    }
}
