//! Wills, as they are stored.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::command_error::InvalidText;
use super::message::Message;
use crate::codec::{
    self, Field, List, PayloadFormat, PropertyId, PublishProperties, QoS, UserProperty, WillProperties,
};
use crate::escaped::Escaped;
use crate::text::Utf8Str;
use crate::topic::{TopicError, TopicName};

/// A message that the server publishes when the connection of the client ends without a DISCONNECT that discards the
/// will (section 3.1.2.5). The defaults below are those of [`Will::default`].
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Will {
    /// The topic name (Will Topic). Default: empty, which is not valid.
    pub topic: String,
    /// The payload (Will Payload; before 5.0 Will Message). Default: empty.
    #[cfg_attr(feature = "serde", serde(with = "crate::codec::serialize::binary"))]
    pub payload: Vec<u8>,
    /// The QoS (Will QoS). Default: 0.
    pub qos: QoS,
    /// Whether the server retains the message (Will Retain). Default: false.
    pub retain: bool,
    /// Time between the end of the connection and the publication, in seconds (Will Delay Interval). Default: 0. This
    /// field and all following ones are for 5.0 only.
    pub delay_interval: u32,
    /// The format of the payload (Payload Format Indicator). Default: `None`.
    pub payload_format_indicator: Option<PayloadFormat>,
    /// Lifetime of the published message, in seconds (Message Expiry Interval). Default: `None`, the message does not
    /// expire.
    pub message_expiry_interval: Option<u32>,
    /// The content type of the payload (Content Type). Default: `None`.
    pub content_type: Option<String>,
    /// The topic name for a response (Response Topic). Default: `None`.
    pub response_topic: Option<String>,
    /// The data that identify the request in a response (Correlation Data). Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "crate::codec::serialize::optional_binary"))]
    pub correlation_data: Option<Vec<u8>>,
    /// Names and values of the user properties of the published message (User Property). Default: none.
    pub user_properties: Vec<(String, String)>,
}

impl Will {
    /// Creates a will of QoS 0 that is not retained and has no properties.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{QoS, Will};
    /// let will = Will { qos: QoS::AtLeastOnce, delay_interval: 30, ..Will::new("home/thermo-7/state", "lost") };
    /// let client = ClientSession::new(ClientConfig { will: Some(Box::new(will)), ..ClientConfig::default() });
    /// # drop(client);
    /// ```
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// Returns the size of the fields on the heap, in bytes.
    pub(crate) fn heap(&self) -> usize {
        let texts = [&self.content_type, &self.response_topic].into_iter().flatten().map(String::capacity);
        let data = [Some(&self.payload), self.correlation_data.as_ref()].into_iter().flatten().map(Vec::capacity);
        let pairs = self.user_properties.iter();
        let pairs = pairs.map(|(name, value)| name.capacity().saturating_add(value.capacity()));
        let list = self.user_properties.capacity().saturating_mul(core::mem::size_of::<(String, String)>());
        texts.chain(data).chain(pairs).fold(list.saturating_add(self.topic.capacity()), usize::saturating_add)
    }
}

/// Returns names and values as the user properties of a packet.
pub(crate) fn user_properties(pairs: &[(String, String)]) -> Result<List<'_, UserProperty<'_>>, InvalidText> {
    List::<UserProperty<'_>>::try_from(pairs).map_err(InvalidText::of(Field::Property(PropertyId::UserProperty)))
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

impl Will {
    /// Returns the will in the form in which CONNECT contains it.
    pub(crate) fn encodable(&self) -> Result<codec::Will<'_>, InvalidText> {
        let content_type = self.content_type.as_deref().map(Utf8Str::new).transpose();
        let response_topic = self.response_topic.as_deref().map(TopicName::new).transpose();
        Ok(codec::Will {
            topic: TopicName::new(&self.topic).map_err(InvalidText::of(Field::WillTopic))?,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: WillProperties {
                payload_format_indicator: self.payload_format_indicator,
                message_expiry_interval: self.message_expiry_interval,
                content_type: content_type.map_err(InvalidText::of(Field::Property(PropertyId::ContentType)))?,
                response_topic: response_topic.map_err(InvalidText::of(Field::Property(PropertyId::ResponseTopic)))?,
                correlation_data: self.correlation_data.as_deref(),
                will_delay_interval: Some(self.delay_interval).filter(|&seconds| seconds != 0),
                user_properties: user_properties(&self.user_properties)?,
            },
        })
    }

    /// Returns a will, without delay, that publishes a stored message.
    pub(crate) fn of_message(message: &codec::Publish<'_>) -> Self {
        let properties = &message.properties;
        let properties = codec::WillProperties {
            payload_format_indicator: properties.payload_format_indicator,
            message_expiry_interval: properties.message_expiry_interval,
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data,
            user_properties: properties.user_properties,
            ..codec::WillProperties::default()
        };
        Self::received(&codec::Will {
            topic: message.topic,
            payload: message.payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties,
        })
    }

    /// Returns an owned copy of the will of a received CONNECT.
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
}

/// Converts a will to the message that is published.
///
/// The conversion can fail, because the texts of a will that an application has built are not validated before. Those of
/// a received will are valid.
///
/// ```
/// # use mqtt_sansio::Message;
/// # use mqtt_sansio::Will;
/// let will = Will::new("home/thermo-7/state", "lost");
/// let message = Message::try_from(&will)?;
/// assert_eq!(message.get_payload(), b"lost");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`TopicError`] if one of the texts is not valid. The topic is validated when the message is published.
impl<'m> TryFrom<&'m Will> for Message<'m> {
    type Error = TopicError;

    fn try_from(will: &'m Will) -> Result<Self, TopicError> {
        let properties = PublishProperties {
            payload_format_indicator: will.payload_format_indicator,
            message_expiry_interval: will.message_expiry_interval,
            content_type: will.content_type.as_deref().map(Utf8Str::new).transpose()?,
            response_topic: will.response_topic.as_deref().map(TopicName::new).transpose()?,
            correlation_data: will.correlation_data.as_deref(),
            user_properties: List::try_from(&will.user_properties[..])?,
            ..PublishProperties::default()
        };
        Ok(Self::new(&will.topic, &will.payload).qos(will.qos).retain(will.retain).properties(properties))
    }
}
