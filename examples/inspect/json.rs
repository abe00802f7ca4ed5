//! Packets and errors as JSON, in the form that `spec-vectors/README.md` describes.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt_sansio::codec::{
    ConnAck, Connect, DecodeError, List, MaximumQoS, Packet, PacketType, PayloadFormat, Publish, ReasonCode, Subscribe,
    SubscriptionIdentifier, Unsubscribe, UserProperty, Will,
};
use mqtt_sansio::{TopicName, Utf8Str, Version};
use serde_json::{Map, Value, json};

/// The properties that are present. The crate names them as the JSON form does.
macro_rules! properties {
    ($packet:ident: $( $property:ident ),*) => {{
        let mut present = Map::new();
        $(
            if let Some(value) = $packet.properties.$property.to_json() {
                present.insert(stringify!($property).to_owned(), value);
            }
        )*
        Value::Object(present)
    }};
}

/// The value of a packet of a connection with this version.
pub(crate) fn packet(packet: &Packet<'_>, version: Version) -> Value {
    /// Packets that consist of some numbers and properties; `$object` is a list of members.
    macro_rules! plain {
        ($packet:ident: $( $property:ident ),*; $object:tt) => {{
            let mut members = json!($object);
            members["properties"] = properties!($packet: $( $property ),*);
            members
        }};
    }
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    macro_rules! ack {
        ($packet:ident) => {
            plain!($packet: reason_string, user_properties; {
                "packet_identifier": $packet.id.get(),
                "reason_code": $packet.reason_code.value(),
            })
        };
    }
    /// SUBACK and UNSUBACK.
    macro_rules! list_ack {
        ($packet:ident) => {
            plain!($packet: reason_string, user_properties; {
                "packet_identifier": $packet.id.get(),
                "reason_codes": $packet.reason_codes.iter().map(|code| code.value()).collect::<Vec<_>>(),
            })
        };
    }
    let members = match packet {
        Packet::Connect(packet) => connect(packet),
        Packet::ConnAck(packet) => connack(packet, version),
        Packet::Publish(packet) => publish(packet),
        Packet::PubAck(packet) => ack!(packet),
        Packet::PubRec(packet) => ack!(packet),
        Packet::PubRel(packet) => ack!(packet),
        Packet::PubComp(packet) => ack!(packet),
        Packet::Subscribe(packet) => subscribe(packet),
        Packet::SubAck(packet) => list_ack!(packet),
        Packet::Unsubscribe(packet) => unsubscribe(packet),
        Packet::UnsubAck(packet) => list_ack!(packet),
        Packet::PingReq | Packet::PingResp => json!({}),
        Packet::Disconnect(packet) => plain!(packet:
            session_expiry_interval, server_reference, reason_string, user_properties;
            { "reason_code": packet.reason_code.value() }
        ),
        Packet::Auth(packet) => plain!(packet:
            authentication_method, authentication_data, reason_string, user_properties;
            { "reason_code": packet.reason_code.value() }
        ),
    };
    with_type(packet.packet_type(), members)
}

fn with_type(packet_type: PacketType, members: Value) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), packet_type.name().into());
    if let Value::Object(members) = members {
        object.extend(members);
    }
    Value::Object(object)
}

fn connect(connect: &Connect<'_>) -> Value {
    let mut value = json!({
        "version": connect.version.to_string(),
        "clean_start": connect.clean_start,
        "keep_alive": connect.keep_alive,
        "client_identifier": connect.client_identifier.as_str(),
        "will": connect.will.as_ref().map(will),
        "user_name": connect.user_name.map(Utf8Str::as_str),
        "password": connect.password.map(hex),
        "properties": properties!(connect:
            session_expiry_interval, authentication_method, authentication_data, request_problem_information,
            request_response_information, receive_maximum, topic_alias_maximum, user_properties, maximum_packet_size
        ),
    });
    if connect.is_bridge {
        value["is_bridge"] = true.into();
    }
    value
}

fn will(will: &Will<'_>) -> Value {
    json!({
        "topic": will.topic.as_str(),
        "payload": hex(will.payload),
        "qos": will.qos.value(),
        "retain": will.retain,
        "properties": properties!(will:
            payload_format_indicator, message_expiry_interval, content_type, response_topic, correlation_data,
            will_delay_interval, user_properties
        ),
    })
}

fn connack(connack: &ConnAck<'_>, version: Version) -> Value {
    let reason_code = match version {
        Version::V5 => Some(connack.reason_code.value()),
        Version::V31 | Version::V311 => connack.reason_code.return_code(),
    };
    json!({
        "session_present": connack.session_present,
        "reason_code": reason_code,
        "properties": properties!(connack:
            session_expiry_interval, assigned_client_identifier, server_keep_alive, authentication_method,
            authentication_data, response_information, server_reference, reason_string, receive_maximum,
            topic_alias_maximum, maximum_qos, retain_available, user_properties, maximum_packet_size,
            wildcard_subscription_available, subscription_identifiers_available, shared_subscription_available
        ),
    })
}

fn publish(publish: &Publish<'_>) -> Value {
    json!({
        "dup": publish.delivery.dup(),
        "qos": publish.delivery.qos().value(),
        "retain": publish.retain,
        "topic_name": publish.topic.as_str(),
        "packet_identifier": publish.delivery.packet_id().map(|id| id.get()),
        "properties": properties!(publish:
            payload_format_indicator, message_expiry_interval, content_type, response_topic, correlation_data,
            subscription_identifiers, topic_alias, user_properties
        ),
        "payload": hex(publish.payload),
    })
}

fn subscribe(subscribe: &Subscribe<'_>) -> Value {
    let subscription = |subscription: mqtt_sansio::codec::Subscription<'_>| {
        json!({
            "topic_filter": subscription.filter.as_str(),
            "qos": subscription.qos.value(),
            "no_local": subscription.no_local,
            "retain_as_published": subscription.retain_as_published,
            "retain_handling": subscription.retain_handling.value(),
        })
    };
    json!({
        "packet_identifier": subscribe.id.get(),
        "properties": properties!(subscribe: subscription_identifier, user_properties),
        "subscriptions": subscribe.subscriptions.iter().map(subscription).collect::<Vec<_>>(),
    })
}

fn unsubscribe(unsubscribe: &Unsubscribe<'_>) -> Value {
    json!({
        "packet_identifier": unsubscribe.id.get(),
        "properties": properties!(unsubscribe: user_properties),
        "topic_filters": unsubscribe.filters.iter().map(|filter| filter.as_str()).collect::<Vec<_>>(),
    })
}

/// An error in a packet that begins `start` bytes into the input.
pub(crate) fn error(error: &DecodeError, start: usize) -> Value {
    json!({
        "kind": error.kind().name(),
        "packet": error.packet().map(PacketType::name),
        "field": error.field().name(),
        "offset": start.saturating_add(error.offset()),
        "clause": error.clause(),
        "reason_code": ReasonCode::value(error.reason_code()),
        "message": format!("{} {}", error.field(), error.violation()),
    })
}

/// Formats bytes in lower case, without spaces.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0x0F)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// A property, if it is present.
trait ToJson {
    fn to_json(&self) -> Option<Value>;
}

macro_rules! to_json {
    ($( $type:ty: $value:ident => $json:expr; )*) => {
        $(
            impl ToJson for Option<$type> {
                fn to_json(&self) -> Option<Value> {
                    self.map(|$value| $json.into())
                }
            }
        )*
    };
}

to_json! {
    bool: value => value;
    u16: value => value;
    u32: value => value;
    NonZeroU16: value => value.get();
    NonZeroU32: value => value.get();
    SubscriptionIdentifier: value => value.get();
    PayloadFormat: value => value as u8;
    MaximumQoS: value => value as u8;
    Utf8Str<'_>: value => value.as_str();
    TopicName<'_>: value => value.as_str();
    &[u8]: value => hex(value);
}

impl ToJson for List<'_, UserProperty<'_>> {
    fn to_json(&self) -> Option<Value> {
        let pair = |property: UserProperty<'_>| json!([property.name.as_str(), property.value.as_str()]);
        (!self.is_empty()).then(|| self.iter().map(pair).collect())
    }
}

impl ToJson for List<'_, SubscriptionIdentifier> {
    fn to_json(&self) -> Option<Value> {
        (!self.is_empty()).then(|| self.iter().map(SubscriptionIdentifier::get).collect())
    }
}
