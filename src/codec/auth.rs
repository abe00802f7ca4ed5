//! AUTH (section 3.15).

use super::error::FieldError;
use super::field::Field;
use super::packet_type::PacketType;
use super::property::{self, AuthProperties};
use super::property_id::PropertyId;
use super::reader::{Context, Reader};
use super::reason::AuthReasonCode;
use super::sink::{Body, Sink};
use super::version::Version;
use super::violation::Violation;
use crate::text::Utf8Str;

/// AUTH: a step of an authentication exchange; 5.0 only.
///
/// ```
/// # use mqtt_sansio::codec::{Auth, AuthProperties, AuthReasonCode};
/// # use mqtt_sansio::{Utf8Str, Version};
/// # #[cfg(feature = "alloc")] {
/// let properties = AuthProperties {
///     authentication_method: Some(Utf8Str::new("X")?),
///     authentication_data: Some(&[7]),
///     ..AuthProperties::default()
/// };
/// let mut out = Vec::new();
/// Auth { reason_code: AuthReasonCode::ContinueAuthentication, properties }.encode(Version::V5, &mut out)?;
/// assert_eq!(out, b"\xf0\x0a\x18\x08\x15\x00\x01X\x16\x00\x01\x07");
/// # }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Auth<'a> {
    /// The reason code: which step this is.
    pub reason_code: AuthReasonCode,
    /// The properties. Authentication Method is required (section 3.15.2.2.2), except in the short form of Success
    /// without properties.
    pub properties: AuthProperties<'a>,
}

impl<'a> Auth<'a> {
    /// Reads the packet. Without reason code and properties it means Success (section 3.15.2.1).
    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        if reader.is_empty() {
            return Ok(Self::default());
        }
        let reason_code = reader.reason_code(AuthReasonCode::from_value)?;
        let properties = AuthProperties::read(reader, Field::PropertyLength, context)?;
        reader.finish()?;
        if properties.authentication_method.is_none() {
            let field = Field::Property(PropertyId::AuthenticationMethod);
            return Err(FieldError::new(reader.offset(), field, Violation::NoAuthenticationMethod));
        }
        Ok(Self { reason_code, properties })
    }
}

impl Body for Auth<'_> {
    const TYPE: PacketType = PacketType::Auth;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.require_absent(|| version == Version::V5, Field::PacketType);
        if self.reason_code == AuthReasonCode::Success && self.properties.is_empty() {
            return;
        }
        out.require(
            || self.properties.authentication_method.is_some(),
            Field::Property(PropertyId::AuthenticationMethod),
            Violation::NoAuthenticationMethod,
        );
        out.u8(self.reason_code.value());
        out.section(&self.properties);
    }
}

/// Requires a method beside Authentication Data, in CONNECT and CONNACK (section 3.1.2.11.10).
#[inline(always)]
pub(crate) fn require_method<S: Sink>(method: Option<Utf8Str<'_>>, data: Option<&[u8]>, out: &mut S) {
    out.require(
        || S::PLAIN || data.is_none() || method.is_some(),
        Field::Property(PropertyId::AuthenticationData),
        Violation::AuthenticationDataWithoutMethod,
    );
}

/// Refuses Authentication Data without a method, in CONNECT and CONNACK. `properties` is at Property Length.
#[inline(always)]
pub(crate) fn check(
    method: Option<Utf8Str<'_>>,
    data: Option<&[u8]>,
    properties: Reader<'_>,
) -> Result<(), FieldError> {
    if data.is_some() && method.is_none() { Err(data_without_method(properties)) } else { Ok(()) }
}

#[cold]
fn data_without_method(properties: Reader<'_>) -> FieldError {
    let id = PropertyId::AuthenticationData;
    let offset = property::offset_of(id, properties);
    FieldError::new(offset, Field::Property(id), Violation::AuthenticationDataWithoutMethod)
}
