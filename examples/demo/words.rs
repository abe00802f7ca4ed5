//! The meaning of field values, in words.

use mqtt_sansio::Version;
use mqtt_sansio::codec::{
    ConnAckReasonCode, DisconnectReasonCode, PacketType, PropertyId, ReasonCode, SubAckReasonCode,
};

/// The longest string that is shown in full, in characters.
const LONGEST: usize = 60;

/// Formats a string in quotes, cut if it is long.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({})", text.get(..end).unwrap_or_default(), count(bytes.len())),
    }
}

/// Formats any data: as text if it is readable.
pub(crate) fn data(bytes: &[u8]) -> String {
    let is_readable = |text: &str| !text.chars().any(|character| character.is_control() && !character.is_whitespace());
    match std::str::from_utf8(bytes) {
        Ok("") => "(empty)".to_owned(),
        Ok(readable) if is_readable(readable) => text(bytes),
        _ => format!("({})", count(bytes.len())),
    }
}

pub(crate) fn count(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

/// Formats a length.
pub(crate) fn bytes(length: u32) -> String {
    count(length as usize)
}

pub(crate) fn yes_no(value: u8) -> &'static str {
    if value == 0 { "no" } else { "yes" }
}

pub(crate) fn packet_type(number: u8) -> String {
    let name = PacketType::from_number(number).map_or("reserved", PacketType::name);
    format!("{number} ({name})")
}

/// Formats a protocol level. A bridge sets the highest bit.
pub(crate) fn level(level: u8) -> String {
    match (Version::from_level(level), Version::from_level(level & 0x7F)) {
        (Some(version), _) => format!("{level} (MQTT {version})"),
        (None, Some(version)) => format!("{level} (MQTT {version}, a bridge)"),
        (None, None) => format!("{level} (unknown)"),
    }
}

pub(crate) fn qos(value: u8) -> String {
    let meaning = match value {
        0 => "at most once",
        1 => "at least once",
        2 => "exactly once",
        _ => "not allowed",
    };
    format!("{value} ({meaning})")
}

pub(crate) fn retain_handling(value: u8) -> String {
    let meaning = match value {
        0 => "send retained messages",
        1 => "send them if the subscription is new",
        2 => "do not send them",
        _ => "not allowed",
    };
    format!("{value} ({meaning})")
}

pub(crate) fn keep_alive(seconds: u16) -> String {
    if seconds == 0 { "0 (no limit)".to_owned() } else { format!("{seconds} s") }
}

/// Formats a reason code with its name in this packet.
pub(crate) fn reason_code(code: u8, packet_type: PacketType, version: Version) -> String {
    let name = match (packet_type, version) {
        (PacketType::SubAck, Version::V31 | Version::V311) if code == 0x80 => Some("Failure"),
        (PacketType::SubAck, _) if code == SubAckReasonCode::GrantedQoS0.value() => Some("Granted QoS 0"),
        (PacketType::Disconnect, _) if code == DisconnectReasonCode::NormalDisconnection.value() => {
            Some("Normal disconnection")
        }
        (PacketType::ConnAck, Version::V31 | Version::V311) => {
            ConnAckReasonCode::from_return_code(code).map(|code| ReasonCode::from(code).name())
        }
        _ => ReasonCode::from_value(code).map(ReasonCode::name),
    };
    format!("{code:#04x} {}", name.unwrap_or("(unknown)"))
}

/// Formats a property whose value is a number.
pub(crate) fn property(id: PropertyId, value: u32) -> String {
    match (id, value) {
        (PropertyId::SessionExpiryInterval, u32::MAX) => format!("{value} (never)"),
        (PropertyId::SessionExpiryInterval, 0) => "0 s (when the connection ends)".to_owned(),
        (
            PropertyId::SessionExpiryInterval
            | PropertyId::MessageExpiryInterval
            | PropertyId::WillDelayInterval
            | PropertyId::ServerKeepAlive,
            _,
        ) => format!("{value} s"),
        (PropertyId::MaximumPacketSize, _) => bytes(value),
        (PropertyId::TopicAliasMaximum, 0) => "0 (no aliases)".to_owned(),
        (PropertyId::PayloadFormatIndicator, 0) => "0 (bytes of any kind)".to_owned(),
        (PropertyId::PayloadFormatIndicator, 1) => "1 (UTF-8 text)".to_owned(),
        (PropertyId::MaximumQoS, 0 | 1) => qos(value as u8),
        (
            PropertyId::RequestProblemInformation
            | PropertyId::RequestResponseInformation
            | PropertyId::RetainAvailable
            | PropertyId::WildcardSubscriptionAvailable
            | PropertyId::SubscriptionIdentifiersAvailable
            | PropertyId::SharedSubscriptionAvailable,
            0 | 1,
        ) => format!("{value} ({})", yes_no(value as u8)),
        _ => value.to_string(),
    }
}
