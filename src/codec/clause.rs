//! The clause of the specification that a packet violates, the kind of error, and the reason code to close with.
//!
//! Each version numbers its statements differently. 3.1 has no numbers: the numbers of 3.1.1 are used for it.

use super::field::Field;
use super::packet_type::PacketType;
use super::property_id::PropertyId;
use super::reason::ReasonCode;
use super::version::Version;
use super::violation::{ErrorKind, Violation};
use crate::text::TextErrorKind;
use crate::topic::TopicErrorKind;

/// The clause, kind and reason code of a violation.
pub(crate) struct Classification {
    pub(crate) clause: &'static str,
    pub(crate) kind: ErrorKind,
    pub(crate) reason_code: ReasonCode,
}

#[cold]
pub(crate) fn of(violation: Violation, packet: Option<PacketType>, field: Field, version: Version) -> Classification {
    let (v3, v5) = clauses(violation, packet, field);
    let clause = if version == Version::V5 { v5 } else { v3 };
    let (kind, reason_code) = classify(violation, field, version);
    Classification { clause, kind, reason_code }
}

/// Returns the kind of error (section 4.13.1) and its reason code (section 2.4).
fn classify(violation: Violation, field: Field, version: Version) -> (ErrorKind, ReasonCode) {
    use ErrorKind::{MalformedPacket, ProtocolError, Refused};
    match violation {
        Violation::Text(kind) => (MalformedPacket, text_reason_code(kind, field)),
        Violation::PacketTooLarge => (ProtocolError, ReasonCode::PacketTooLarge),
        Violation::ControlTooLarge | Violation::TooManyUserProperties => (Refused, ReasonCode::QuotaExceeded),
        Violation::UnknownProtocolName | Violation::UnsupportedProtocolVersion => {
            (Refused, ReasonCode::UnsupportedProtocolVersion)
        }
        Violation::EmptyClientIdentifier => (Refused, ReasonCode::ClientIdentifierNotValid),
        Violation::IllegalPropertyValue if field == Field::Property(PropertyId::TopicAlias) => {
            (ProtocolError, ReasonCode::TopicAliasInvalid)
        }
        Violation::QoS3 if field == Field::SubscriptionOptions && version == Version::V5 => {
            (ProtocolError, ReasonCode::ProtocolError)
        }
        Violation::WrongSender
        | Violation::SessionPresentWithError
        | Violation::RetainHandling3
        | Violation::NoLocalOnShared
        | Violation::NoTopicFilter
        | Violation::NoTopic
        | Violation::PropertyFromWrongSender
        | Violation::RepeatedProperty
        | Violation::IllegalPropertyValue
        | Violation::AuthenticationDataWithoutMethod
        | Violation::NoAuthenticationMethod => (ProtocolError, ReasonCode::ProtocolError),
        _ => (MalformedPacket, ReasonCode::MalformedPacket),
    }
}

fn text_reason_code(kind: TopicErrorKind, field: Field) -> ReasonCode {
    match kind {
        TopicErrorKind::Empty
        | TopicErrorKind::SingleLevelWildcardInName
        | TopicErrorKind::MultiLevelWildcardInName
            if field != Field::TopicFilter =>
        {
            ReasonCode::TopicNameInvalid
        }
        TopicErrorKind::Empty
        | TopicErrorKind::MisplacedMultiLevelWildcard
        | TopicErrorKind::MisplacedSingleLevelWildcard
        | TopicErrorKind::EmptyShareName
        | TopicErrorKind::WildcardInShareName
        | TopicErrorKind::NoFilterAfterShareName => ReasonCode::TopicFilterInvalid,
        _ => ReasonCode::MalformedPacket,
    }
}

/// Returns the clause in 3.1.1 and the clause in 5.0. If a violation cannot occur in one of them, both are the clause
/// of the other version.
fn clauses(violation: Violation, packet: Option<PacketType>, field: Field) -> (&'static str, &'static str) {
    match violation {
        Violation::ReservedPacketType | Violation::WrongSender => ("section 2.2.1", "section 2.1.2"),
        Violation::WrongFlags => match packet {
            Some(PacketType::PubRel) => same("MQTT-3.6.1-1"),
            Some(PacketType::Subscribe) => same("MQTT-3.8.1-1"),
            Some(PacketType::Unsubscribe) => same("MQTT-3.10.1-1"),
            Some(PacketType::Disconnect) => same("MQTT-3.14.1-1"),
            Some(PacketType::Auth) => same("MQTT-3.15.1-1"),
            _ => ("MQTT-2.2.2-2", "MQTT-2.1.3-1"),
        },
        Violation::QoS3 => match field {
            Field::ConnectFlags => ("MQTT-3.1.2-14", "MQTT-3.1.2-12"),
            Field::SubscriptionOptions => ("MQTT-3.8.3-4", "section 3.8.3.1"),
            _ => same("MQTT-3.3.1-4"),
        },
        Violation::DupWithoutAck => same("MQTT-3.3.1-2"),
        Violation::IntegerTooLong if field == Field::RemainingLength => ("section 2.2.3", "section 2.1.4"),
        Violation::IntegerTooLong => same("section 1.5.5"),
        Violation::OverlongInteger => ("section 2.2.3", "MQTT-1.5.5-1"),
        Violation::PacketTooLarge => ("section 2.2.3", "section 3.1.2.11.4"),
        Violation::ControlTooLarge => ("section 2.2.3", "section 2.1.4"),
        Violation::TooManyUserProperties => same("section 2.2.2.2"),
        Violation::Missing => missing(field),
        Violation::Truncated => match field {
            Field::Property(_) | Field::PropertyLength | Field::WillPropertyLength => same("section 2.2.2.1"),
            _ => ("section 2.2.3", "section 2.1.4"),
        },
        Violation::TrailingBytes => ("section 2.2.3", "section 2.1.4"),
        Violation::Text(kind) => text(kind, packet, field),
        Violation::PacketIdZero => ("MQTT-2.3.1-1", "MQTT-2.2.1-3"),
        Violation::UnknownProtocolName => same("MQTT-3.1.2-1"),
        Violation::UnsupportedProtocolVersion => same("MQTT-3.1.2-2"),
        Violation::ReservedConnectFlag => same("MQTT-3.1.2-3"),
        Violation::WillQoSWithoutWill => ("MQTT-3.1.2-13", "MQTT-3.1.2-11"),
        Violation::WillRetainWithoutWill => ("MQTT-3.1.2-15", "MQTT-3.1.2-13"),
        Violation::PasswordWithoutUserName => same("MQTT-3.1.2-22"), // of 3.1.1; 5.0 allows it
        Violation::EmptyClientIdentifier => same("MQTT-3.1.3-7"),
        Violation::ReservedBits => match field {
            Field::SubscriptionOptions => ("MQTT-3.8.3-4", "MQTT-3.8.3-5"),
            _ => ("section 3.2.2.1", "MQTT-3.2.2-1"),
        },
        Violation::SessionPresentWithError => ("MQTT-3.2.2-4", "MQTT-3.2.2-6"),
        Violation::IllegalReasonCode => match packet {
            Some(PacketType::ConnAck) => ("section 3.2.2.3", "MQTT-3.2.2-8"),
            Some(PacketType::PubAck) => same("MQTT-3.4.2-1"),
            Some(PacketType::PubRec) => same("MQTT-3.5.2-1"),
            Some(PacketType::PubRel) => same("MQTT-3.6.2-1"),
            Some(PacketType::PubComp) => same("MQTT-3.7.2-1"),
            Some(PacketType::SubAck) => same("MQTT-3.9.3-2"),
            Some(PacketType::UnsubAck) => same("MQTT-3.11.3-2"),
            Some(PacketType::Auth) => same("MQTT-3.15.2-1"),
            _ => same("MQTT-3.14.2-1"),
        },
        Violation::RetainHandling3 => same("section 3.8.3.1"),
        Violation::NoLocalOnShared => same("MQTT-3.8.3-4"),
        Violation::NoTopicFilter if packet == Some(PacketType::Unsubscribe) => same("MQTT-3.10.3-2"),
        Violation::NoTopicFilter => ("MQTT-3.8.3-3", "MQTT-3.8.3-2"),
        Violation::NoReasonCode if packet == Some(PacketType::UnsubAck) => same("MQTT-3.11.3-1"),
        Violation::NoReasonCode => ("MQTT-3.8.4-5", "MQTT-3.8.4-6"),
        Violation::NoTopic => ("MQTT-4.7.3-1", "section 3.3.2.1"),
        Violation::UnknownProperty | Violation::MisplacedProperty | Violation::RepeatedProperty => {
            same("section 2.2.2.2")
        }
        Violation::PropertyFromWrongSender => match field {
            Field::Property(PropertyId::SessionExpiryInterval) => same("section 3.14.2.2.2"),
            Field::Property(PropertyId::ServerReference) => same("section 3.14.2.2.5"),
            _ => same("MQTT-3.3.4-6"),
        },
        Violation::IllegalPropertyValue => same(property_value(packet, field)),
        Violation::AuthenticationDataWithoutMethod if packet == Some(PacketType::ConnAck) => same("section 3.2.2.3.18"),
        Violation::AuthenticationDataWithoutMethod => same("section 3.1.2.11.10"),
        Violation::NoAuthenticationMethod => same("section 3.15.2.2.2"),
    }
}

const fn same(clause: &'static str) -> (&'static str, &'static str) {
    (clause, clause)
}

/// Returns the clauses for a field of which no byte is left.
fn missing(field: Field) -> (&'static str, &'static str) {
    match field {
        Field::PropertyLength | Field::WillPropertyLength | Field::Property(_) => same("section 2.2.2.1"),
        Field::ClientIdentifier => same("MQTT-3.1.3-3"),
        Field::WillTopic | Field::WillPayload => same("MQTT-3.1.2-9"),
        Field::UserName => ("MQTT-3.1.2-19", "MQTT-3.1.2-17"),
        Field::Password => ("MQTT-3.1.2-21", "MQTT-3.1.2-19"),
        _ => ("section 2.2.3", "section 2.1.4"),
    }
}

fn text(kind: TopicErrorKind, packet: Option<PacketType>, field: Field) -> (&'static str, &'static str) {
    match kind {
        TopicErrorKind::Text(TextErrorKind::IllFormedUtf8) => ("MQTT-1.5.3-1", "MQTT-1.5.4-1"),
        TopicErrorKind::Text(TextErrorKind::NullCharacter) => ("MQTT-1.5.3-2", "MQTT-1.5.4-2"),
        TopicErrorKind::Text(TextErrorKind::ControlCharacter | TextErrorKind::NonCharacter) => {
            ("section 1.5.3", "section 1.5.4")
        }
        TopicErrorKind::Text(TextErrorKind::TooLong) => same("MQTT-4.7.3-3"),
        TopicErrorKind::Empty => same("MQTT-4.7.3-1"),
        TopicErrorKind::SingleLevelWildcardInName | TopicErrorKind::MultiLevelWildcardInName => match field {
            Field::TopicName if packet == Some(PacketType::Publish) => same("MQTT-3.3.2-2"),
            Field::Property(PropertyId::ResponseTopic) => same("MQTT-3.3.2-14"),
            _ => ("MQTT-4.7.1-1", "MQTT-4.7.0-1"),
        },
        TopicErrorKind::MisplacedMultiLevelWildcard => ("MQTT-4.7.1-2", "MQTT-4.7.1-1"),
        TopicErrorKind::MisplacedSingleLevelWildcard => ("MQTT-4.7.1-3", "MQTT-4.7.1-2"),
        TopicErrorKind::EmptyShareName => same("MQTT-4.8.2-1"),
        TopicErrorKind::WildcardInShareName | TopicErrorKind::NoFilterAfterShareName => same("MQTT-4.8.2-2"),
    }
}

/// Returns the clause that lists the permitted values of a property.
fn property_value(packet: Option<PacketType>, field: Field) -> &'static str {
    let Field::Property(property) = field else { return "section 2.2.2.2" };
    let in_connect = packet == Some(PacketType::Connect);
    match property {
        PropertyId::PayloadFormatIndicator if in_connect => "section 3.1.3.2.3",
        PropertyId::PayloadFormatIndicator => "section 3.3.2.3.2",
        PropertyId::SubscriptionIdentifier if packet == Some(PacketType::Subscribe) => "section 3.8.2.1.2",
        PropertyId::SubscriptionIdentifier => "section 3.3.2.3.8",
        PropertyId::RequestProblemInformation => "section 3.1.2.11.7",
        PropertyId::RequestResponseInformation => "section 3.1.2.11.6",
        PropertyId::ReceiveMaximum if in_connect => "section 3.1.2.11.3",
        PropertyId::ReceiveMaximum => "section 3.2.2.3.3",
        PropertyId::TopicAlias => "MQTT-3.3.2-8",
        PropertyId::MaximumQoS => "section 3.2.2.3.4",
        PropertyId::RetainAvailable => "section 3.2.2.3.5",
        PropertyId::MaximumPacketSize if in_connect => "section 3.1.2.11.4",
        PropertyId::MaximumPacketSize => "section 3.2.2.3.6",
        PropertyId::WildcardSubscriptionAvailable => "section 3.2.2.3.11",
        PropertyId::SubscriptionIdentifiersAvailable => "section 3.2.2.3.12",
        PropertyId::SharedSubscriptionAvailable => "section 3.2.2.3.13",
        _ => "section 2.2.2.2",
    }
}
