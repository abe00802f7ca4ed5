//! CONNACK (section 3.2).

use super::auth;
use super::error::FieldError;
use super::field::Field;
use super::packet_type::PacketType;
use super::property::ConnAckProperties;
use super::reader::{Context, Reader};
use super::reason::ConnAckReasonCode;
use super::sink::{Body, Sink};
use super::version::Version;
use super::violation::Violation;

/// CONNACK: the server's answer to CONNECT.
///
/// ```
/// # use mqtt_sansio::Version;
/// # use mqtt_sansio::codec::{ConnAck, ConnAckReasonCode};
/// # #[cfg(feature = "alloc")] {
/// let mut out = Vec::new();
/// ConnAck { reason_code: ConnAckReasonCode::NotAuthorized, ..ConnAck::default() }.encode(Version::V311, &mut out)?;
/// assert_eq!(out, b"\x20\x02\x00\x05");
/// # }
/// # Ok::<(), mqtt_sansio::codec::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ConnAck<'a> {
    /// Whether the server has a session of this client and resumes it. True with Success only \[MQTT-3.2.2-6\], and
    /// never in 3.1, which has no such flag.
    pub session_present: bool,
    /// The outcome. Before 5.0 only codes with a [`return_code`](ConnAckReasonCode::return_code) can be encoded.
    pub reason_code: ConnAckReasonCode,
    /// The properties; empty before 5.0.
    pub properties: ConnAckProperties<'a>,
}

impl<'a> ConnAck<'a> {
    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        let flags_at = reader.offset();
        let flags = reader.u8(Field::AcknowledgeFlags)?;
        let is_v31 = context.version == Version::V31;
        if flags > 1 && !is_v31 {
            return Err(FieldError::new(flags_at, Field::AcknowledgeFlags, Violation::ReservedBits));
        }
        // In 3.1 the byte is reserved: its bits are ignored.
        let session_present = flags == 1 && !is_v31;
        let reason_code = match context.version {
            Version::V5 => reader.reason_code(ConnAckReasonCode::from_value)?,
            Version::V31 | Version::V311 => reader.reason_code(ConnAckReasonCode::from_return_code)?,
        };
        let at_properties = reader.clone();
        let properties = ConnAckProperties::read(reader, Field::PropertyLength, context)?;
        reader.finish()?;
        if session_present && reason_code != ConnAckReasonCode::Success {
            return Err(FieldError::new(flags_at, Field::AcknowledgeFlags, Violation::SessionPresentWithError));
        }
        auth::check(properties.authentication_method, properties.authentication_data, at_properties)?;
        Ok(Self { session_present, reason_code, properties })
    }
}

impl Body for ConnAck<'_> {
    const TYPE: PacketType = PacketType::ConnAck;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.require_absent(|| version != Version::V31 || !self.session_present, Field::AcknowledgeFlags);
        out.require(
            || !self.session_present || self.reason_code == ConnAckReasonCode::Success,
            Field::AcknowledgeFlags,
            Violation::SessionPresentWithError,
        );
        out.u8(u8::from(self.session_present));
        match version {
            Version::V5 => out.u8(self.reason_code.value()),
            Version::V31 | Version::V311 => {
                let return_code = self.reason_code.return_code();
                out.require_absent(|| return_code.is_some(), Field::ReasonCode);
                out.u8(return_code.unwrap_or_default());
            }
        }
        out.properties(version, Field::Properties, &self.properties);
        auth::require_method(self.properties.authentication_method, self.properties.authentication_data, out);
    }
}
