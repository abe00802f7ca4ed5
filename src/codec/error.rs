//! What is wrong with bytes that were received, and with packets that were to be sent.

use core::fmt;

use thiserror::Error;

use super::clause;
use super::field::Field;
use super::packet_type::PacketType;
use super::reason::{ConnAckReasonCode, ReasonCode};
use super::version::Version;
use super::violation::{ErrorKind, Violation};

/// A violation and where it is: what the decoder hands up before it knows the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldError {
    offset: u32,
    field: Field,
    violation: Violation,
}

impl FieldError {
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

    /// The version by whose rules the packet was read: of a CONNECT, the one that it names. If that is not supported, the
    /// one in whose form the client is answered: 5.0 for a protocol level above 5, else 3.1.1.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The same error in a packet of another version.
    #[cfg(feature = "alloc")]
    pub(crate) const fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
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
    /// It goes to a client whose version is not supported, and to one of 3.1 or 3.1.1 whose client identifier is not
    /// valid. The answer has the form of 3.1.1 unless [`version`](Self::version) is 5.0.
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
