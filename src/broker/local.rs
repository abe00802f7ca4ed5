//! Subscriptions of the embedding program, as it sees them.

use core::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::router::retained_message::RetainedMessage;
use super::slab::Key;
use crate::codec::{
    self, Decoded, Limits, Packet, Publish, PublishProperties, QoS, RetainHandling, SubAckReasonCode, Version,
};
use crate::session::{Message, Payload, Waiting};
use crate::time::Instant;
use crate::topic::TopicError;

/// Identifies a subscription of the embedding program: see [`Broker::subscribe`](super::Broker::subscribe). That of a
/// subscription that has ended matches no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalSubscription(Key);

impl LocalSubscription {
    pub(super) const fn new(key: Key) -> Self {
        Self(key)
    }

    pub(super) const fn key(self) -> Key {
        self.0
    }
}

impl fmt::Debug for LocalSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSubscription({}.{})", self.0.index, self.0.generation)
    }
}

/// The options of a subscription of the embedding program (section 3.8.3.1). A [`QoS`] stands for options with that QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The highest QoS of the messages; that of the configuration, if it is lower. Default: 0.
    pub qos: QoS,
    /// No Local: no messages of [`Broker::publish`](super::Broker::publish), and none of the broker about itself. Not for a
    /// shared subscription. Default: false.
    pub no_local: bool,
    /// Retain As Published: messages have the RETAIN flag that they were published with. Default: false.
    pub retain_as_published: bool,
    /// Retain Handling: whether retained messages come. Each subscription is a new one. Default: they do.
    pub retain_handling: RetainHandling,
}

impl From<QoS> for SubscribeOptions {
    fn from(qos: QoS) -> Self {
        Self { qos, ..Self::default() }
    }
}

/// The reason why the embedding program was not subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The filter is not valid.
    #[error("the topic filter is not valid: {0}")]
    Filter(#[from] TopicError),
    /// The filter has more levels than [`BrokerConfig::max_topic_levels`](super::BrokerConfig::max_topic_levels).
    #[error("the topic filter has too many levels")]
    TooManyLevels,
    /// A shared subscription cannot have No Local \[MQTT-3.8.3-4\].
    #[error("a shared subscription cannot have No Local")]
    NoLocalOnShared,
    /// The configuration does not allow such subscriptions.
    #[error("the configuration does not allow it: {0:?}")]
    NotSupported(SubAckReasonCode),
    /// There are too many subscriptions, or they would take too much memory.
    #[error("there are too many subscriptions")]
    QuotaExceeded,
}

/// A message that the embedding program gets, for a subscription ([`Broker::next_message`](super::Broker::next_message)) or from
/// the retained ones ([`Broker::list_retained`](super::Broker::list_retained)). It owns what it is made of, and a clone shares
/// that.
///
/// ```
/// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
/// # use mqtt_sansio::{Instant, Message, QoS};
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// # let (now, mut broker) = (Instant::EPOCH, Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
/// # broker.subscribe(now, "plant/#", QoS::AtLeastOnce)?;
/// # broker.publish(now, &Message::new("plant/1/alarm", "hot").qos(QoS::AtLeastOnce))?;
/// while let Some((_, message)) = broker.next_message() {
///     assert_eq!((message.topic(), &message.payload()[..]), ("plant/1/alarm", &b"hot"[..]));
///     assert_eq!((message.qos(), message.retain()), (QoS::AtLeastOnce, false));
///     let again = message.message(); // to be published
///     # assert_eq!(again, Message::new("plant/1/alarm", "hot").qos(QoS::AtLeastOnce));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LocalMessage {
    /// The PUBLISH in 5.0, without its payload if that is large.
    packet: Bytes,
    payload: Bytes,
    /// What is left of the Message Expiry Interval, in seconds.
    expires_after: Option<u32>,
}

impl LocalMessage {
    /// Makes a message of one that has waited until now; `None` if it is not a message.
    pub(super) fn new(waiting: Waiting, now: Instant) -> Option<Self> {
        let waited = u32::try_from(now.since(waiting.since).as_secs()).unwrap_or(u32::MAX);
        let expires_after = (waiting.expires_after != u32::MAX).then(|| waiting.expires_after.saturating_sub(waited));
        let (packet, large) = waiting.stored.into_parts();
        Self::of_packet(Bytes::from(packet), large, expires_after)
    }

    /// Makes a message of one that is retained.
    pub(super) fn retained(message: &RetainedMessage, now: Instant) -> Option<Self> {
        let (packet, large) = message.packet();
        Self::of_packet(Bytes::copy_from_slice(packet), large.cloned(), message.expires_after(now))
    }

    fn of_packet(packet: Bytes, large: Option<Bytes>, expires_after: Option<u32>) -> Option<Self> {
        let Some(publish) = publish(&packet) else {
            bug!("a message that is stored is a PUBLISH packet");
            return None;
        };
        // The payload is the end of the packet (section 3.3.3).
        let begin = packet.len().checked_sub(publish.payload.len())?;
        let payload = large.unwrap_or_else(|| packet.slice(begin..));
        Some(Self { packet, payload, expires_after })
    }

    fn publish(&self) -> Publish<'_> {
        let publish = publish(&self.packet);
        if publish.is_none() {
            bug!("a message was made of a PUBLISH packet");
        }
        publish.unwrap_or_default()
    }

    /// Returns the topic.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/7/state", "on").qos(QoS::AtLeastOnce).retain(true))?;
    /// let message = broker.retained_message("plant/7/state").ok_or("none")?;
    /// assert_eq!(message.topic(), "plant/7/state");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn topic(&self) -> &str {
        self.publish().topic.as_str()
    }

    /// Returns the payload. To clone it copies no bytes.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/7/state", "on").qos(QoS::AtLeastOnce).retain(true))?;
    /// let message = broker.retained_message("plant/7/state").ok_or("none")?;
    /// assert_eq!(message.payload(), "on");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns the QoS: that of the publisher, or that of the subscription if it is lower.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/7/state", "on").qos(QoS::AtLeastOnce).retain(true))?;
    /// let message = broker.retained_message("plant/7/state").ok_or("none")?;
    /// assert_eq!(message.qos(), QoS::AtLeastOnce);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn qos(&self) -> QoS {
        self.publish().delivery.qos()
    }

    /// Returns the RETAIN flag: whether the message was retained when the subscription was made or, with
    /// [Retain As Published](SubscribeOptions::retain_as_published), the flag that the publisher has set.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/7/state", "on").qos(QoS::AtLeastOnce).retain(true))?;
    /// let message = broker.retained_message("plant/7/state").ok_or("none")?;
    /// assert!(message.retain());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn retain(&self) -> bool {
        self.publish().retain
    }

    /// Returns the properties, with what was left of the Message Expiry Interval when the message was taken
    /// \[MQTT-3.3.2-6\].
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/7/state", "on").qos(QoS::AtLeastOnce).retain(true))?;
    /// let message = broker.retained_message("plant/7/state").ok_or("none")?;
    /// assert_eq!(message.properties().content_type, None);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn properties(&self) -> PublishProperties<'_> {
        PublishProperties { message_expiry_interval: self.expires_after, ..self.publish().properties }
    }

    /// Returns the message as one that can be published. The payload is not copied.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut broker) = (Instant::from_micros(1), Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll));
    /// # broker.publish(now, &Message::new("plant/7/state", "on").qos(QoS::AtLeastOnce).retain(true))?;
    /// let message = broker.retained_message("plant/7/state").ok_or("none")?;
    /// broker.publish(now, &message.message())?; // again
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn message(&self) -> Message<'_> {
        let Publish { topic, delivery, retain, properties, .. } = self.publish();
        let properties = PublishProperties { message_expiry_interval: self.expires_after, ..properties };
        let payload = Payload::Shared(self.payload.clone());
        let message = Message::new(topic.as_bytes(), payload).qos(delivery.qos()).retain(retain);
        message.properties(properties)
    }
}

fn publish(packet: &[u8]) -> Option<Publish<'_>> {
    match codec::decode(packet, Version::V5, Limits::DEFAULT) {
        Ok(Decoded::Packet { packet: Packet::Publish(publish), .. }) => Some(publish),
        _ => None,
    }
}

impl fmt::Debug for LocalMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.message(), f)
    }
}
