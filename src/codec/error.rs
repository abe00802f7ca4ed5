//! What is wrong with bytes that were received, and with packets that were to be sent.

use core::fmt;

use thiserror::Error;

use super::clause;
use super::property::PropertyId;
use super::reason::{ConnAckReasonCode, ReasonCode};
use super::types::{PacketType, Version};
use crate::text::Flaw;

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The upper four bits of the first byte.
    PacketType,
    /// The lower four bits of the first byte.
    Flags,
    /// Remaining Length.
    RemainingLength,
    /// Protocol Name, of CONNECT.
    ProtocolName,
    /// Protocol Version (5.0) or Protocol Level (3.1, 3.1.1), of CONNECT.
    ProtocolVersion,
    /// Connect Flags.
    ConnectFlags,
    /// Keep Alive.
    KeepAlive,
    /// Client Identifier.
    ClientIdentifier,
    /// The length of the will's properties.
    WillPropertyLength,
    /// Will Topic.
    WillTopic,
    /// Will Payload (5.0) or Will Message (3.1, 3.1.1).
    WillPayload,
    /// User Name.
    UserName,
    /// Password.
    Password,
    /// Connect Acknowledge Flags.
    AcknowledgeFlags,
    /// Reason Code, or return code in 3.1 and 3.1.1.
    ReasonCode,
    /// Topic Name.
    TopicName,
    /// Packet Identifier.
    PacketIdentifier,
    /// Topic Filter.
    TopicFilter,
    /// Subscription Options, or the requested QoS in 3.1 and 3.1.1.
    SubscriptionOptions,
    /// The payload, as a whole.
    Payload,
    /// Property Length.
    PropertyLength,
    /// The identifier of a property that there is not.
    PropertyIdentifier,
    /// All the properties, as a whole.
    Properties,
    /// All the properties of a will, as a whole.
    WillProperties,
    /// The property with this identifier.
    Property(PropertyId),
}

impl Field {
    /// The name in the specification, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketType => "packet_type",
            Self::Flags => "flags",
            Self::RemainingLength => "remaining_length",
            Self::ProtocolName => "protocol_name",
            Self::ProtocolVersion => "protocol_version",
            Self::ConnectFlags => "connect_flags",
            Self::KeepAlive => "keep_alive",
            Self::ClientIdentifier => "client_identifier",
            Self::WillPropertyLength => "will_property_length",
            Self::WillTopic => "will_topic",
            Self::WillPayload => "will_payload",
            Self::UserName => "user_name",
            Self::Password => "password",
            Self::AcknowledgeFlags => "acknowledge_flags",
            Self::ReasonCode => "reason_code",
            Self::TopicName => "topic_name",
            Self::PacketIdentifier => "packet_identifier",
            Self::TopicFilter => "topic_filter",
            Self::SubscriptionOptions => "subscription_options",
            Self::Payload => "payload",
            Self::PropertyLength => "property_length",
            Self::PropertyIdentifier => "property_identifier",
            Self::Properties => "properties",
            Self::WillProperties => "will_properties",
            Self::Property(id) => id.name(),
        }
    }
}

impl fmt::Display for Field {
    /// Writes the name with spaces: `topic name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.name().split('_');
        f.write_str(words.next().unwrap_or_default())?;
        words.try_for_each(|word| write!(f, " {word}"))
    }
}

/// A rule of the specification, or a limit of the receiver, that a packet breaks.
///
/// Its text is what there is to say of a [`Field`]: "is repeated".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Violation {
    /// Packet type 0, or 15 before 5.0.
    #[error("is reserved")]
    ReservedPacketType,
    /// A packet that this end of a connection never sends.
    #[error("is never sent by this end of a connection")]
    WrongSender,
    /// Flags other than those of the packet type.
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
    /// A text with something in it that may not be there.
    #[error("{0}")]
    Text(Flaw),
    /// Packet Identifier 0.
    #[error("is 0")]
    PacketIdZero,
    /// A protocol name other than those of MQTT.
    #[error("is not one of MQTT's")]
    UnknownProtocolName,
    /// A protocol version that does not go with the name, or that nobody knows.
    #[error("is not supported")]
    UnsupportedProtocolVersion,
    /// The lowest connect flag is set.
    #[error("have the reserved bit set")]
    ReservedConnectFlag,
    /// Will QoS without a will.
    #[error("set a will QoS without a will")]
    WillQoSWithoutWill,
    /// Will Retain without a will.
    #[error("set will retain without a will")]
    WillRetainWithoutWill,
    /// A password without a user name, before 5.0.
    #[error("announce a password without a user name")]
    PasswordWithoutUserName,
    /// No client identifier where one is needed.
    #[error("is empty")]
    EmptyClientIdentifier,
    /// Connect Acknowledge Flags other than Session Present.
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

/// A violation and where it is: what the decoder hands up before it knows the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    offset: u32,
    field: Field,
    violation: Violation,
}

impl Fault {
    #[cold]
    pub(crate) fn new(offset: usize, field: Field, violation: Violation) -> Self {
        // A packet is at most 268,435,460 bytes long.
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        Self { offset, field, violation }
    }

    #[cold]
    pub(crate) fn into_error(self, packet: Option<PacketType>, version: Version) -> DecodeError {
        DecodeError { offset: self.offset, field: self.field, violation: self.violation, packet, version }
    }
}

/// Received bytes that are not a packet of MQTT.
///
/// There is no way to go on with the stream behind it: the connection is to be closed \[MQTT-4.13.1-1\].
///
/// ```
/// # use mqtt_sansio::{codec::{self, Limits}, Version};
/// let bytes = b"\x30\x0b\x00\x06home/+21.5";
/// let error = codec::decode(bytes, Version::V5, Limits::default()).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "malformed PUBLISH at byte 9: topic name contains the wildcard '+' [MQTT-3.3.2-2], \
///      close with 0x90 (Topic Name invalid)"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub struct DecodeError {
    offset: u32,
    field: Field,
    violation: Violation,
    packet: Option<PacketType>,
    version: Version,
}

impl DecodeError {
    /// Whether the packet is malformed, breaks the protocol, or is only refused.
    pub fn kind(&self) -> ErrorKind {
        clause::of(self.violation, self.packet, self.field, self.version).kind
    }

    /// The rule that is broken.
    pub const fn violation(&self) -> Violation {
        self.violation
    }

    /// The packet in which it is broken; `None` when the first byte does not name one.
    pub const fn packet(&self) -> Option<PacketType> {
        self.packet
    }

    /// The field in which it is broken.
    pub const fn field(&self) -> Field {
        self.field
    }

    /// The byte at which it is broken, from the start of the packet.
    ///
    /// For a field that runs past the end, that is where the field begins; for a text, the character that may not
    /// be there.
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// The version by whose rules the packet was read: of a CONNECT, the one that it names if that is one of ours.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The statement of the specification that is broken: `MQTT-3.3.2-2`, or `section 2.1.4` for a rule without a
    /// number.
    ///
    /// It is one of 5.0 or, for 3.1.1 and 3.1, of 3.1.1.
    pub fn clause(&self) -> &'static str {
        clause::of(self.violation, self.packet, self.field, self.version).clause
    }

    /// The reason code for the CONNACK or DISCONNECT that tells the peer, in 5.0.
    pub fn reason_code(&self) -> ReasonCode {
        clause::of(self.violation, self.packet, self.field, self.version).reason_code
    }

    /// The return code for the CONNACK that tells the peer in 3.1 and 3.1.1. `None`: close without a word.
    ///
    /// It goes to a client whose version is not supported, whatever that is, and to one of 3.1 or 3.1.1 whose client
    /// identifier is not valid.
    pub fn return_code(&self) -> Option<u8> {
        match self.violation {
            Violation::UnknownProtocolName | Violation::UnsupportedProtocolVersion => {
                ConnAckReasonCode::UnsupportedProtocolVersion.return_code()
            }
            Violation::EmptyClientIdentifier => ConnAckReasonCode::ClientIdentifierNotValid.return_code(),
            _ => None,
        }
    }

    /// What is left to do with the connection, in words: `close with 0x90 (Topic Name invalid)`.
    pub fn remedy(&self) -> impl fmt::Display {
        Remedy(*self)
    }
}

/// What is left to do with the connection, in words.
struct Remedy(DecodeError);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.version, self.0.return_code()) {
            (Version::V5, _) => write!(f, "close with {}", self.0.reason_code()),
            (_, Some(code)) => write!(f, "answer with return code {code:#04x} and close"),
            (_, None) => f.write_str("close"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, field, violation, packet, .. } = self;
        write!(f, "{} {}", self.kind(), packet.map_or("packet", PacketType::name))?;
        write!(f, " at byte {offset}: {field} {violation}")?;
        let edition = if self.version == Version::V5 { "" } else { "3.1.1: " };
        write!(f, " [{edition}{}], {}", self.clause(), self.remedy())
    }
}

/// A packet that cannot be sent. Nothing has been written.
///
/// It is eight bytes large, so that the result of an encode fits into registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The version has no such packet, or no such field in it, and the field is not empty.
    #[error("{packet} cannot carry this in MQTT {version}: {field}")]
    NotInVersion {
        /// The packet.
        packet: PacketType,
        /// The field.
        field: Field,
        /// The version it was to be encoded in.
        version: Version,
    },
    /// More than the 65,535 bytes that a two-byte length can announce.
    #[error("{field} of {packet} is longer than 65,535 bytes")]
    FieldTooLong {
        /// The packet.
        packet: PacketType,
        /// The field.
        field: Field,
    },
    /// A Remaining Length above 268,435,455.
    #[error("{packet} would have more than 268,435,455 bytes behind its fixed header")]
    PacketTooLarge {
        /// The packet.
        packet: PacketType,
    },
    /// The packet breaks a rule of the specification.
    #[error("{packet}: {field} {violation} [{}]", clause::of(*violation, Some(*packet), *field, *version).clause)]
    Invalid {
        /// The packet.
        packet: PacketType,
        /// The field.
        field: Field,
        /// The rule.
        violation: Violation,
        /// The version it was to be encoded in.
        version: Version,
    },
    /// The packet does not fit into the buffer.
    #[error("the packet takes {needed} bytes, more than there is room for")]
    BufferTooSmall {
        /// The size of the packet, in bytes.
        needed: u32,
    },
}

impl EncodeError {
    /// The packet that cannot be sent; `None` when only the buffer is too small.
    pub const fn packet(&self) -> Option<PacketType> {
        match *self {
            Self::NotInVersion { packet, .. }
            | Self::FieldTooLong { packet, .. }
            | Self::PacketTooLarge { packet }
            | Self::Invalid { packet, .. } => Some(packet),
            Self::BufferTooSmall { .. } => None,
        }
    }

    /// The field that is wrong, if it is one.
    pub const fn field(&self) -> Option<Field> {
        match *self {
            Self::NotInVersion { field, .. } | Self::FieldTooLong { field, .. } | Self::Invalid { field, .. } => {
                Some(field)
            }
            Self::PacketTooLarge { .. } | Self::BufferTooSmall { .. } => None,
        }
    }
}
