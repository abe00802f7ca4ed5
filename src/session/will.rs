//! The Will Message of a session.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::message::Message;
use crate::codec::{self, List, PayloadFormat, PublishProperties, QoS, UserProperty, WillProperties};
use crate::escaped::Escaped;
use crate::text::{TextError, Utf8Str};
use crate::topic::{TopicError, TopicName};

/// A Will Message, which the server publishes when the connection is closed without a normal DISCONNECT (section
/// 3.1.2.5).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Will {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS. Default: 0.
    pub qos: QoS,
    /// The RETAIN flag: whether the server retains the published message. Default: `false`.
    pub retain: bool,
    /// Will Delay Interval: the time from the end of the connection to the publication, in seconds. Default: 0. This
    /// field and those below are for 5.0 only.
    pub delay_interval: u32,
    /// Payload Format Indicator: whether the payload is UTF-8.
    pub payload_format_indicator: Option<PayloadFormat>,
    /// Message Expiry Interval of the published message, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// Content Type of the payload.
    pub content_type: Option<String>,
    /// Response Topic: the topic for a response.
    pub response_topic: Option<String>,
    /// Correlation Data, by which the requester recognizes a response.
    pub correlation_data: Option<Vec<u8>>,
    /// User properties, as pairs of name and value, published with the message.
    pub user_properties: Vec<(String, String)>,
}

impl Will {
    /// Creates a will of QoS 0, not retained and without properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }
}

/// Prints all fields; the payload and the correlation data as escaped strings, truncated after 64 bytes.
impl fmt::Debug for Will {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload", &Escaped(&self.payload))
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("delay_interval", &self.delay_interval)
            .field("payload_format_indicator", &self.payload_format_indicator)
            .field("message_expiry_interval", &self.message_expiry_interval)
            .field("content_type", &self.content_type)
            .field("response_topic", &self.response_topic)
            .field("correlation_data", &self.correlation_data.as_deref().map(Escaped))
            .field("user_properties", &self.user_properties)
            .finish()
    }
}

/// Converts pairs of name and value to user properties that can be encoded.
pub(crate) fn user_properties(pairs: &[(String, String)]) -> Result<Vec<UserProperty<'_>>, TextError> {
    pairs.iter().map(|(name, value)| UserProperty::new(name, value)).collect()
}

impl Will {
    /// Converts the will to the form in which CONNECT is encoded.
    pub(crate) fn encodable<'a>(
        &'a self,
        user_properties: &'a [UserProperty<'a>],
    ) -> Result<codec::Will<'a>, TopicError> {
        Ok(codec::Will {
            topic: TopicName::new(&self.topic)?,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: WillProperties {
                payload_format_indicator: self.payload_format_indicator,
                message_expiry_interval: self.message_expiry_interval,
                content_type: self.content_type.as_deref().map(Utf8Str::new).transpose()?,
                response_topic: self.response_topic.as_deref().map(TopicName::new).transpose()?,
                correlation_data: self.correlation_data.as_deref(),
                will_delay_interval: Some(self.delay_interval).filter(|&seconds| seconds != 0),
                user_properties: List::from(user_properties),
            },
        })
    }

    /// Converts a will from a decoded CONNECT.
    pub(crate) fn received(will: &codec::Will<'_>) -> Self {
        let text = |text: Utf8Str<'_>| text.as_str().to_string();
        let properties = &will.properties;
        Self {
            topic: will.topic.as_str().to_string(),
            payload: will.payload.to_vec(),
            qos: will.qos,
            retain: will.retain,
            delay_interval: properties.will_delay_interval.unwrap_or(0),
            payload_format_indicator: properties.payload_format_indicator,
            message_expiry_interval: properties.message_expiry_interval,
            content_type: properties.content_type.map(text),
            response_topic: properties.response_topic.map(|topic| topic.as_str().to_string()),
            correlation_data: properties.correlation_data.map(<[u8]>::to_vec),
            user_properties: properties.user_properties.iter().map(|it| (text(it.name), text(it.value))).collect(),
        }
    }

    /// Returns the message that the will is published as. `user_properties` is overwritten with the user properties,
    /// which the message borrows.
    ///
    /// ```
    /// # use mqtt_sansio::server::Will;
    /// let will = Will::new("home/thermo-7/state", "lost");
    /// let mut user_properties = Vec::new();
    /// let message = will.message(&mut user_properties)?;
    /// assert_eq!(message.checked()?.payload, b"lost");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TopicError`] if the topic or a string is invalid. The strings of a received will are always valid.
    pub fn message<'a>(&'a self, user_properties: &'a mut Vec<UserProperty<'a>>) -> Result<Message<'a>, TopicError> {
        user_properties.clear();
        for (name, value) in &self.user_properties {
            user_properties.push(UserProperty::new(name, value)?);
        }
        let properties = PublishProperties {
            payload_format_indicator: self.payload_format_indicator,
            message_expiry_interval: self.message_expiry_interval,
            content_type: self.content_type.as_deref().map(Utf8Str::new).transpose()?,
            response_topic: self.response_topic.as_deref().map(TopicName::new).transpose()?,
            correlation_data: self.correlation_data.as_deref(),
            user_properties: List::from(&*user_properties),
            ..PublishProperties::default()
        };
        let message = Message::new(&self.topic, &self.payload).qos(self.qos).retain(self.retain);
        Ok(message.properties(properties))
    }
}
