//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7): the acknowledgements of messages of QoS 1 and 2, which
//! share one form.

use super::error::FieldError;
use super::field::Field;
use super::packet_type::PacketType;
use super::property::AckProperties;
use super::reader::{Context, Reader};
use super::reason::{PubAckReasonCode, PubRelReasonCode};
use super::sink::{Body, Sink};
use super::types::PacketId;
use super::version::Version;

macro_rules! acks {
    ($( $(#[$doc:meta])* $packet:ident { $reason_code:ident } )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            #[cfg_attr(feature = "serde", derive(serde::Serialize))]
            pub struct $packet<'a> {
                /// The packet identifier of the message.
                pub id: PacketId,
                /// The outcome; always success before 5.0, where the packet has no reason code.
                pub reason_code: $reason_code,
                /// The properties; empty before 5.0.
                pub properties: AckProperties<'a>,
            }

            impl<'a> $packet<'a> {
                /// Creates the packet with the reason code Success and without properties. See the example at
                /// [`Packet`](super::Packet).
                pub const fn new(id: PacketId) -> Self {
                    let properties = AckProperties { reason_string: None, user_properties: super::List::EMPTY };
                    Self { id, reason_code: $reason_code::Success, properties }
                }

                #[inline(always)]
                pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
                    let id = reader.packet_id()?;
                    let (reason_code, properties) = match context.version {
                        Version::V5 if !reader.is_empty() => read_reason(reader, context, $reason_code::from_value)?,
                        _ => ($reason_code::Success, AckProperties::default()),
                    };
                    reader.finish()?;
                    Ok(Self { id, reason_code, properties })
                }
            }

            impl Body for $packet<'_> {
                const TYPE: PacketType = PacketType::$packet;

                #[inline(always)]
                fn is_plain(&self) -> bool {
                    self.properties.is_empty()
                }

                #[inline(always)]
                fn write<S: Sink>(&self, version: Version, out: &mut S) {
                    out.u16(self.id.get());
                    out.reason(version, self.reason_code.value(), &self.properties);
                }
            }
        )*
    };
}

acks! {
    /// PUBACK: completes the delivery of a message of QoS 1.
    PubAck { PubAckReasonCode }
    /// PUBREC: acknowledges the receipt of a message of QoS 2. A reason code of 0x80 or above ends the delivery.
    PubRec { PubAckReasonCode }
    /// PUBREL: the sender of a message of QoS 2 releases the packet identifier, after PUBREC.
    PubRel { PubRelReasonCode }
    /// PUBCOMP: completes the delivery of a message of QoS 2.
    PubComp { PubRelReasonCode }
}

/// Reads the reason code and the properties. Without properties the packet may end after either (section 3.4.2.1).
#[inline(always)]
fn read_reason<'a, C>(
    reader: &mut Reader<'a>,
    context: Context,
    from_value: impl Fn(u8) -> Option<C>,
) -> Result<(C, AckProperties<'a>), FieldError> {
    let reason_code = reader.reason_code(from_value)?;
    if reader.is_empty() {
        return Ok((reason_code, AckProperties::default()));
    }
    Ok((reason_code, AckProperties::read(reader, Field::PropertyLength, context)?))
}
