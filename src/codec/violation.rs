//! The rules that a packet can break.

use core::fmt;

use thiserror::Error;

use crate::topic::TopicErrorKind;

/// A rule of the specification, or a limit of the receiver, that a packet breaks.
///
/// Its text is what there is to say of a [`Field`](super::Field): "is repeated".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Violation {
    /// Packet type 0, or 15 before 5.0.
    #[error("is reserved")]
    ReservedPacketType,
    /// A packet that this end of a connection never sends.
    #[error("is never sent by this end of a connection")]
    WrongSender,
    /// Flags other than those of the packet type. In 3.1 only QoS and DUP count, in the packets that use them.
    #[error("are not those of this packet type")]
    WrongFlags,
    /// QoS 3 in a PUBLISH, a will or a subscription.
    #[error("hold QoS 3")]
    QoS3,
    /// DUP in a message of QoS 0.
    #[error("mark a message of QoS 0 as sent again")]
    DupWithoutAck,
    /// A Variable Byte Integer of more than four bytes.
    #[error("takes more than four bytes")]
    IntegerTooLong,
    /// A Variable Byte Integer with bytes that it does not need. (For the Remaining Length of 3.1 and 3.1.1 no
    /// statement forbids them; no known sender writes them, and a length that can be written in two ways invites
    /// smuggling.)
    #[error("is written with more bytes than it needs")]
    OverlongInteger,
    /// A packet larger than the receiver takes.
    #[error("is more than the receiver takes")]
    PacketTooLarge,
    /// More user properties than the receiver takes.
    #[error("comes more often than the receiver takes")]
    TooManyUserProperties,
    /// Nothing is left of the packet, or of its properties, where a field must be.
    #[error("cannot be found, nothing is left")]
    Missing,
    /// A field that is longer than what is left of its packet or its properties.
    #[error("would go past the end of the part of the packet that holds it")]
    Truncated,
    /// The packet goes on after its last field.
    #[error("covers more than the fields of the packet")]
    TrailingBytes,
    /// A text with something in it that may not be there, or a topic that breaks a rule of topics.
    #[error("{0}")]
    Text(TopicErrorKind),
    /// Packet Identifier 0.
    #[error("is 0")]
    PacketIdZero,
    /// A protocol name other than those of MQTT.
    #[error("is not one of MQTT's")]
    UnknownProtocolName,
    /// A protocol version that does not go with the name, or that nobody knows.
    #[error("is not supported")]
    UnsupportedProtocolVersion,
    /// The lowest connect flag is set; not in 3.1, which does not use it.
    #[error("have the reserved bit set")]
    ReservedConnectFlag,
    /// Will QoS without a will; not in 3.1, which disregards it then.
    #[error("set a will QoS without a will")]
    WillQoSWithoutWill,
    /// Will Retain without a will; not in 3.1, which disregards it then.
    #[error("set will retain without a will")]
    WillRetainWithoutWill,
    /// A password without a user name, before 5.0.
    #[error("announce a password without a user name")]
    PasswordWithoutUserName,
    /// No client identifier where one is needed.
    #[error("is empty")]
    EmptyClientIdentifier,
    /// Connect Acknowledge Flags other than Session Present, or reserved subscription options; not in 3.1, which does not
    /// use them.
    #[error("have reserved bits set")]
    ReservedBits,
    /// Session Present together with a refusal.
    #[error("tell of a session although the connection is refused")]
    SessionPresentWithError,
    /// A reason code that there is not, or that this packet may not carry.
    #[error("is not one of this packet's")]
    IllegalReasonCode,
    /// Retain Handling 3.
    #[error("hold retain handling 3")]
    RetainHandling3,
    /// No Local together with a shared subscription.
    #[error("set no local for a shared subscription")]
    NoLocalOnShared,
    /// A SUBSCRIBE or UNSUBSCRIBE without a topic filter.
    #[error("holds no topic filter")]
    NoTopicFilter,
    /// A SUBACK or UNSUBACK without a reason code.
    #[error("holds no reason code")]
    NoReasonCode,
    /// An empty topic name without a topic alias to stand in for it, in 5.0.
    #[error("is empty and there is no topic alias")]
    NoTopic,
    /// A property that there is not.
    #[error("is unknown")]
    UnknownProperty,
    /// A property that this packet may not carry.
    #[error("may not stand in this packet")]
    MisplacedProperty,
    /// A property that this end of a connection may not send.
    #[error("may not be sent by this end of a connection")]
    PropertyFromWrongSender,
    /// A property that stands there twice.
    #[error("is repeated")]
    RepeatedProperty,
    /// A property with a value that is not allowed.
    #[error("has a value that is not allowed")]
    IllegalPropertyValue,
    /// Authentication Data without Authentication Method.
    #[error("comes without an authentication method")]
    AuthenticationDataWithoutMethod,
    /// AUTH without Authentication Method.
    #[error("is missing")]
    NoAuthenticationMethod,
}

/// How bad a [`Violation`] is (section 4.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Malformed Packet: it cannot be parsed by the rules.
    MalformedPacket,
    /// Protocol Error: it can be parsed, and is not allowed.
    ProtocolError,
    /// Neither: the receiver turns down what the specification allows.
    Refused,
}

impl ErrorKind {
    /// The kind in `snake_case`.
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
