//! Errors of decoding and encoding.

use core::fmt;

use thiserror::Error;

use super::clause;
use super::field::Field;
use super::packet_type::PacketType;
use super::reason::{ConnAckReasonCode, ReasonCode};
use super::version::Version;
use super::violation::{ErrorKind, Violation};

/// A violation with its field and offset. The decoder adds the packet and the version: see [`DecodeError`].
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

/// The error of input that is not a valid packet.
///
/// MQTT has no resynchronisation: the connection has to be closed \[MQTT-4.13.1-1\].
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
    /// Returns the kind of error: Malformed Packet, Protocol Error, or a refusal by the receiver.
    ///
    /// The parts of an error:
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{self, ErrorKind, Field, Limits, PacketType, ReasonCode};
    /// let error = codec::decode(b"\x30\x0b\x00\x06home/+21.5", Version::V5, Limits::default()).unwrap_err();
    /// assert_eq!((error.kind(), error.clause()), (ErrorKind::MalformedPacket, "MQTT-3.3.2-2"));
    /// assert_eq!((error.packet(), error.field()), (Some(PacketType::Publish), Field::TopicName));
    /// assert_eq!((error.offset(), error.version()), (9, Version::V5));
    /// assert_eq!(error.reason_code(), ReasonCode::TopicNameInvalid);
    /// println!("{}: {}", error.violation(), error.remedy());
    /// ```
    pub fn kind(&self) -> ErrorKind {
        clause::of(self.violation, self.packet, self.field, self.version).kind
    }

    /// Returns the rule that the packet violates.
    pub const fn violation(&self) -> Violation {
        self.violation
    }

    /// Returns the packet type; `None` if the first byte has none.
    pub const fn packet(&self) -> Option<PacketType> {
        self.packet
    }

    /// Returns the field that violates the rule.
    pub const fn field(&self) -> Field {
        self.field
    }

    /// Returns the offset of the error from the start of the packet, in bytes.
    ///
    /// For a field that is too long for its packet, it is the offset of the field; for a string, the offset of the
    /// first character that is not allowed.
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Returns the version whose rules the packet violates: that of the connection, or for a CONNECT the version in the
    /// packet. If that is not supported, it is the version that determines the form of the CONNACK: 5.0 for a protocol
    /// level above 5, 3.1.1 otherwise.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Returns the same error for a packet of another version.
    #[cfg(feature = "alloc")]
    pub(crate) const fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Returns the clause of the specification that the packet violates: `MQTT-3.3.2-2`, or `section 2.1.4` for a rule
    /// without a number.
    ///
    /// The clause is one of 5.0 or, if the packet is of 3.1.1 or 3.1, one of 3.1.1.
    pub fn clause(&self) -> &'static str {
        clause::of(self.violation, self.packet, self.field, self.version).clause
    }

    /// Returns the reason code for the CONNACK or DISCONNECT before the connection is closed, in 5.0.
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{self, Disconnect, DisconnectReasonCode, Limits};
    /// # #[cfg(feature = "alloc")] {
    /// let error = codec::decode(b"\x30\x0b\x00\x06home/+21.5", Version::V5, Limits::default()).unwrap_err();
    /// let reason_code = DisconnectReasonCode::try_from(error.reason_code())?;
    /// let mut out = Vec::new();
    /// Disconnect { reason_code, ..Disconnect::default() }.encode(Version::V5, &mut out)?;
    /// assert_eq!(out, b"\xe0\x01\x90"); // the last packet of the connection
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn reason_code(&self) -> ReasonCode {
        clause::of(self.violation, self.packet, self.field, self.version).reason_code
    }

    /// Returns the return code for the CONNACK before the connection is closed, in 3.1 and 3.1.1; `None` if the
    /// connection is closed without an answer.
    ///
    /// There is one for an unsupported version and, in 3.1 and 3.1.1, for an invalid client identifier. The CONNACK has
    /// the form of 3.1.1 unless [`version`](Self::version) is 5.0.
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{self, Limits};
    /// let connect = b"\x10\x0c\x00\x04MQTT\x07\x02\x00\x3c\x00\x00"; // of a version that does not exist
    /// let error = codec::decode(connect, Version::V5, Limits::default()).unwrap_err();
    /// assert_eq!(error.return_code(), Some(1)); // unacceptable protocol version
    /// ```
    pub fn return_code(&self) -> Option<u8> {
        match self.violation {
            Violation::UnknownProtocolName | Violation::UnsupportedProtocolVersion => {
                ConnAckReasonCode::UnsupportedProtocolVersion.return_code()
            }
            Violation::EmptyClientIdentifier => ConnAckReasonCode::ClientIdentifierNotValid.return_code(),
            _ => None,
        }
    }

    /// Returns a text that says how to close the connection: `close with 0x90 (Topic Name invalid)`.
    pub fn remedy(&self) -> impl fmt::Display {
        Remedy(*self)
    }
}

/// Displays how to close the connection.
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

/// The error of a packet that cannot be encoded. Nothing has been written.
///
/// Its size is eight bytes, so that the result of an encode fits into registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The version has no such packet or no such field, and the field is not empty.
    #[error("{field} of {packet} cannot be encoded in MQTT {version}")]
    NotInVersion {
        /// The packet.
        packet: PacketType,
        /// The field.
        field: Field,
        /// The version of the encoding.
        version: Version,
    },
    /// The field is longer than 65,535 bytes, the limit of its two-byte length.
    #[error("{field} of {packet} is longer than 65,535 bytes")]
    FieldTooLong {
        /// The packet.
        packet: PacketType,
        /// The field.
        field: Field,
    },
    /// The Remaining Length is above 268,435,455.
    #[error("{packet} would have a Remaining Length above 268,435,455")]
    PacketTooLarge {
        /// The packet.
        packet: PacketType,
    },
    /// The packet violates a rule of the specification.
    #[error("{packet}: {field} {violation} [{}]", clause::of(*violation, Some(*packet), *field, *version).clause)]
    Invalid {
        /// The packet.
        packet: PacketType,
        /// The field.
        field: Field,
        /// The rule that the packet violates.
        violation: Violation,
        /// The version of the encoding.
        version: Version,
    },
    /// The buffer is too small for the packet.
    #[error("the buffer is too small for the packet of {needed} bytes")]
    BufferTooSmall {
        /// The size of the packet, in bytes.
        needed: u32,
    },
}

impl EncodeError {
    /// Returns the packet type; `None` for [`BufferTooSmall`](Self::BufferTooSmall).
    ///
    /// ```
    /// # use mqtt_sansio::Version;
    /// # use mqtt_sansio::codec::{Auth, Field, PacketType};
    /// # #[cfg(feature = "alloc")] {
    /// let error = Auth::default().encode(Version::V311, &mut Vec::new()).unwrap_err();
    /// assert_eq!((error.packet(), error.field()), (Some(PacketType::Auth), Some(Field::PacketType)));
    /// # }
    /// ```
    pub const fn packet(&self) -> Option<PacketType> {
        match *self {
            Self::NotInVersion { packet, .. }
            | Self::FieldTooLong { packet, .. }
            | Self::PacketTooLarge { packet }
            | Self::Invalid { packet, .. } => Some(packet),
            Self::BufferTooSmall { .. } => None,
        }
    }

    /// Returns the field with the error; `None` if the packet as a whole is too large.
    pub const fn field(&self) -> Option<Field> {
        match *self {
            Self::NotInVersion { field, .. } | Self::FieldTooLong { field, .. } | Self::Invalid { field, .. } => {
                Some(field)
            }
            Self::PacketTooLarge { .. } | Self::BufferTooSmall { .. } => None,
        }
    }
}
