//! Wills, as they are kept.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::message::Message;
use crate::codec::{self, List, PayloadFormat, PublishProperties, QoS, UserProperty, WillProperties};
use crate::escaped::Escaped;
use crate::text::{TextError, Utf8Str};
use crate::topic::{TopicError, TopicName};

/// A message that the server publishes when the client is gone (section 3.1.2.5).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// What is published.
    pub payload: Vec<u8>,
    /// With which guarantee.
    pub qos: QoS,
    /// Whether the server retains it.
    pub retain: bool,
    /// How long after the connection it is published, in seconds; 5.0 only, like all that follows.
    pub delay_interval: u32,
    /// What the payload is said to be.
    pub payload_format_indicator: Option<PayloadFormat>,
    /// How long the published will is of use, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// The type of the payload.
    pub content_type: Option<String>,
    /// Where a response is expected.
    pub response_topic: Option<String>,
    /// What a response shall be recognized by.
    pub correlation_data: Option<Vec<u8>>,
    /// Names and values that are published with the will.
    pub user_properties: Vec<(String, String)>,
}

impl Will {
    /// A will of QoS 0.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }
}

/// Prints all fields; the payload and the correlation data as escaped texts, cut after 64 bytes.
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

/// Names and values as they are encoded.
pub(crate) fn user_properties(pairs: &[(String, String)]) -> Result<Vec<UserProperty<'_>>, TextError> {
    pairs.iter().map(|(name, value)| UserProperty::new(name, value)).collect()
}

impl Will {
    /// As it goes into CONNECT.
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

    /// As it has come in CONNECT.
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

    /// The message that the will is published as. `user_properties` takes the user properties in the form in which the message
    /// refers to them.
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
    /// [`TopicError`] if one of its texts cannot be sent. Those of a will that was received can.
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
