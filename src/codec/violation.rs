//! The rules that a packet can violate, and the kinds of errors.

use core::fmt;

use thiserror::Error;

use crate::topic::TopicErrorKind;

/// A rule of the specification, or a limit of the receiver, that a packet violates.
///
/// Its text is a predicate for a [`Field`](super::Field): "topic alias" "is repeated".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Violation {
    /// The packet type is 0, or 15 before 5.0.
    #[error("is reserved")]
    ReservedPacketType,
    /// The sender may not send packets of this type.
    #[error("is never sent by this endpoint")]
    WrongSender,
    /// The flags are not those of the packet type. In 3.1 only QoS and DUP are checked, in the packets that use them.
    #[error("are not those of this packet type")]
    WrongFlags,
    /// A PUBLISH, a will or a subscription has QoS 3.
    #[error("have QoS 3")]
    QoS3,
    /// A PUBLISH of QoS 0 has the DUP flag.
    #[error("have DUP set in a message of QoS 0")]
    DupWithoutAck,
    /// A Variable Byte Integer has more than four bytes.
    #[error("has more than four bytes")]
    IntegerTooLong,
    /// A Variable Byte Integer has more bytes than necessary. (No statement of 3.1 and 3.1.1 forbids this for the
    /// Remaining Length. It is refused nevertheless: no known sender does it, and a length with two encodings invites
    /// smuggling.)
    #[error("has more bytes than necessary")]
    OverlongInteger,
    /// The packet is larger than [`Limits::max_packet_size`](super::Limits::max_packet_size).
    #[error("is above the limit of the receiver")]
    PacketTooLarge,
    /// The packet is no PUBLISH, or the properties are those of a PUBLISH, and larger than
    /// [`Limits::max_control_size`](super::Limits::max_control_size).
    #[error("is above the limit of the receiver for what is not payload")]
    ControlTooLarge,
    /// There are more user properties than [`Limits::max_user_properties`](super::Limits::max_user_properties).
    #[error("occurs more often than the receiver accepts")]
    TooManyUserProperties,
    /// A required field is missing: the packet, or its properties, end before it.
    #[error("is missing, the packet or its properties end before it")]
    Missing,
    /// The field is longer than the rest of its packet or of its properties.
    #[error("is longer than the rest of its packet or properties")]
    Truncated,
    /// The packet continues after its last field.
    #[error("is greater than the size of the packet's fields")]
    TrailingBytes,
    /// A string contains a character that is not allowed, or a topic violates a rule of topics.
    #[error("{0}")]
    Text(TopicErrorKind),
    /// The Packet Identifier is 0.
    #[error("is 0")]
    PacketIdZero,
    /// The protocol name is not one of MQTT.
    #[error("is not a protocol name of MQTT")]
    UnknownProtocolName,
    /// The protocol version does not exist, or does not belong to the protocol name.
    #[error("is not supported")]
    UnsupportedProtocolVersion,
    /// The lowest bit of the connect flags is set. Ignored in 3.1, which does not use it.
    #[error("have the reserved bit set")]
    ReservedConnectFlag,
    /// Will QoS is set without the Will Flag. Ignored in 3.1, which disregards it then.
    #[error("have a Will QoS without the Will Flag")]
    WillQoSWithoutWill,
    /// Will Retain is set without the Will Flag. Ignored in 3.1, which disregards it then.
    #[error("have Will Retain without the Will Flag")]
    WillRetainWithoutWill,
    /// There is a password without a user name, before 5.0.
    #[error("have the Password Flag without the User Name Flag")]
    PasswordWithoutUserName,
    /// The client identifier is empty, but the server may not assign one.
    #[error("is empty")]
    EmptyClientIdentifier,
    /// Reserved bits of the connect acknowledge flags or of the subscription options are set. Ignored in 3.1, which
    /// does not use them.
    #[error("have reserved bits set")]
    ReservedBits,
    /// Session Present is set in a CONNACK that refuses the connection.
    #[error("have Session Present set although the connection is refused")]
    SessionPresentWithError,
    /// The reason code does not exist, or the packet may not carry it.
    #[error("is not a code of this packet")]
    IllegalReasonCode,
    /// Retain Handling is 3.
    #[error("have Retain Handling 3")]
    RetainHandling3,
    /// No Local is set for a shared subscription.
    #[error("have No Local set for a shared subscription")]
    NoLocalOnShared,
    /// A SUBSCRIBE or UNSUBSCRIBE has no topic filter.
    #[error("has no topic filter")]
    NoTopicFilter,
    /// A SUBACK or UNSUBACK has no reason code.
    #[error("has no reason code")]
    NoReasonCode,
    /// The topic name is empty and there is no topic alias, in 5.0.
    #[error("is empty and there is no topic alias")]
    NoTopic,
    /// The property does not exist.
    #[error("is unknown")]
    UnknownProperty,
    /// The packet may not have this property.
    #[error("is not allowed in this packet")]
    MisplacedProperty,
    /// The sender may not send this property.
    #[error("is not allowed from this endpoint")]
    PropertyFromWrongSender,
    /// The property occurs twice.
    #[error("is repeated")]
    RepeatedProperty,
    /// The value of the property is not allowed.
    #[error("has a value that is not allowed")]
    IllegalPropertyValue,
    /// There is Authentication Data without an Authentication Method.
    #[error("is present without an authentication method")]
    AuthenticationDataWithoutMethod,
    /// An AUTH has no Authentication Method.
    #[error("is missing")]
    NoAuthenticationMethod,
}

/// The kind of an error (section 4.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Malformed Packet: the packet cannot be parsed.
    MalformedPacket,
    /// Protocol Error: the packet can be parsed, but the protocol does not allow it.
    ProtocolError,
    /// Neither: the receiver refuses a packet that the specification allows.
    Refused,
}

impl ErrorKind {
    /// Returns the name of the kind in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedPacket => "malformed_packet",
            Self::ProtocolError => "protocol_error",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MalformedPacket => "malformed",
            Self::ProtocolError => "protocol error in",
            Self::Refused => "refused",
        })
    }
}
