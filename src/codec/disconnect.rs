//! DISCONNECT (section 3.14).

use super::error::FieldError;
use super::field::Field;
use super::packet_type::PacketType;
use super::property::DisconnectProperties;
use super::reader::{Context, Reader};
use super::reason::DisconnectReasonCode;
use super::sink::{Body, Sink};
use super::version::Version;

/// DISCONNECT: the last packet of a connection.
///
/// ```
/// # use mqtt_sansio::Version;
/// # use mqtt_sansio::codec::{Disconnect, DisconnectReasonCode};
/// # #[cfg(feature = "alloc")] {
/// let mut out = Vec::new();
/// let disconnect = Disconnect { reason_code: DisconnectReasonCode::ServerBusy, ..Disconnect::default() };
/// disconnect.encode(Version::V5, &mut out)?;
/// assert_eq!(out, b"\xe0\x01\x89");
/// # }
/// # Ok::<(), mqtt_sansio::codec::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Disconnect<'a> {
    /// The reason. Before 5.0 it is always Normal disconnection, and only a client sends the packet.
    pub reason_code: DisconnectReasonCode,
    /// The properties; empty before 5.0.
    pub properties: DisconnectProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Reads the packet. Without properties it may end after the reason code or before it (section 3.14.2.1).
    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        let mut disconnect = Self::default();
        if context.version == Version::V5 && !reader.is_empty() {
            disconnect.reason_code = reader.reason_code(DisconnectReasonCode::from_value)?;
            if !reader.is_empty() {
                disconnect.properties = DisconnectProperties::read(reader, Field::PropertyLength, context)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }
}

impl Body for Disconnect<'_> {
    const TYPE: PacketType = PacketType::Disconnect;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.reason(version, self.reason_code.value(), &self.properties);
    }
}
