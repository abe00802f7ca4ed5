//! The form of an owned message in the data model of `serde`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use super::message::Message;
use super::owned_message::OwnedMessage;
use super::will::user_properties;
use crate::codec::{List, PayloadFormat, PublishProperties, QoS, serialize};
use crate::text::Utf8Str;
use crate::topic::TopicName;

/// The content of a message: what a message that is published has.
#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(rename = "Message", default, deny_unknown_fields)]
struct Content {
    topic: String,
    #[serde(with = "serialize::binary")]
    payload: Bytes,
    qos: QoS,
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format_indicator: Option<PayloadFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expiry_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    #[serde(with = "serialize::optional_binary", skip_serializing_if = "Option::is_none")]
    correlation_data: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(String, String)>,
}

impl From<&OwnedMessage> for Content {
    fn from(message: &OwnedMessage) -> Self {
        let properties = message.properties();
        let pairs = properties.user_properties.iter();
        Self {
            topic: message.topic().to_string(),
            payload: message.payload().clone(),
            qos: message.qos(),
            retain: message.retain(),
            payload_format_indicator: properties.payload_format_indicator,
            message_expiry_interval: properties.message_expiry_interval,
            content_type: properties.content_type.map(|text| text.to_string()),
            response_topic: properties.response_topic.map(|topic| topic.to_string()),
            correlation_data: properties.correlation_data.map(<[u8]>::to_vec),
            user_properties: pairs.map(|pair| (pair.name.to_string(), pair.value.to_string())).collect(),
        }
    }
}

/// Only the content is serialized: the subscription identifiers, DUP and the handle of the acknowledgement belong to the
/// session that has received the message.
impl Serialize for OwnedMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Content::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OwnedMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let content = Content::deserialize(deserializer)?;
        let content_type = content.content_type.as_deref().map(Utf8Str::new).transpose().map_err(D::Error::custom)?;
        let response_topic = content.response_topic.as_deref().map(TopicName::new).transpose();
        let properties = PublishProperties {
            payload_format_indicator: content.payload_format_indicator,
            message_expiry_interval: content.message_expiry_interval,
            content_type,
            response_topic: response_topic.map_err(D::Error::custom)?,
            correlation_data: content.correlation_data.as_deref(),
            user_properties: match content.user_properties.as_slice() {
                [] => List::EMPTY,
                pairs => user_properties(pairs).map_err(|invalid| D::Error::custom(invalid.error))?,
            },
            ..PublishProperties::default()
        };
        let message = Message::new(&content.topic, content.payload).qos(content.qos).retain(content.retain);
        Self::try_from(message.properties(properties)).map_err(D::Error::custom)
    }
}
