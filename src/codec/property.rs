//! Properties (section 2.2.2), from one table: which packet may have which property.
//!
//! The table makes the struct of each packet, its decoding and encoding, and the checks for repeated and misplaced
//! properties. The name and the wire type of each property are in the table of [`PropertyId`].
//!
//! A new property is a line in the table of [`PropertyId`], and a field in the struct of each packet that may have it.
//! Beside the tables these need it: `clause::property_value`, if not all values are allowed; `generators`;
//! `session::will`, for a property of PUBLISH that a will has too; `content_properties` of a received message, if it
//! belongs to the connection or the subscription and not to the message. The tables of the tests
//! (`tests/codec_tables.rs`, `spec-vectors/generator/table.py`) are written independently, and fail until they have it.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use super::error::FieldError;
use super::field::Field;
use super::list::{self, List};
use super::property_id::{PropertyId, WireType};
use super::reader::{Context, Reader};
#[cfg(feature = "serde")]
use super::serialize::Binary;
use super::sink::{Section, Sink};
use super::types::{MaximumQoS, PayloadFormat, SubscriptionIdentifier};
use super::user_property::UserProperty;
use super::value::Value;
use super::version::{Sender, Version};
use super::violation::Violation;
use crate::escaped::Escaped;
use crate::redacted::Redacted;
use crate::text::Utf8Str;
use crate::topic::TopicName;

/// A field of a properties struct: an `Option` for a property that may occur once, a `List` for one that may be
/// repeated.
trait Slot<'a>: Copy {
    const WIRE_TYPE: WireType;

    /// Reads the value; the identifier has been read. `from_here` is the rest of the properties, starting with this
    /// identifier.
    fn fill(
        &mut self,
        reader: &mut Reader<'a>,
        from_here: &'a [u8],
        field: Field,
        context: Context,
    ) -> Result<(), FieldError>;

    fn is_absent(&self) -> bool;

    fn write<S: Sink>(&self, id: PropertyId, out: &mut S);
}

/// Selects how `Debug` prints a property.
macro_rules! printable {
    (AuthenticationData $value:expr) => {
        &$value.map(Redacted)
    };
    (CorrelationData $value:expr) => {
        &$value.map(Escaped)
    };
    ($id:ident $value:expr) => {
        &$value
    };
}

/// Selects how a property is serialized.
#[cfg(feature = "serde")]
macro_rules! serializable {
    (AuthenticationData $value:expr) => {
        &$value.map(Binary)
    };
    (CorrelationData $value:expr) => {
        &$value.map(Binary)
    };
    ($id:ident $value:expr) => {
        &$value
    };
}

macro_rules! properties {
    (
        $(
            $(#[$doc:meta])*
            $packet:ident<$a:lifetime> {
                $( $(#[$field_doc:meta])* $member:ident: $slot:ty = $member_id:ident $(from $sender:ident)?, )*
            }
        )*
    ) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
            pub struct $packet<$a> {
                $( $(#[$field_doc])* pub $member: $slot, )*
            }

            impl<$a> $packet<$a> {
                /// Returns whether there are no properties.
                #[inline(always)]
                pub fn is_empty(&self) -> bool {
                    $( self.$member.is_absent() )&*
                }

                /// Reads Property Length and the properties, or nothing if the version has no properties.
                #[inline(always)]
                pub(crate) fn read(
                    reader: &mut Reader<$a>,
                    length_field: Field,
                    context: Context,
                ) -> Result<Self, FieldError> {
                    let mut properties = Self::default();
                    if context.version == Version::V5 {
                        let mut section = reader.section(length_field)?;
                        while !section.is_empty() {
                            properties.read_one(&mut section, context)?;
                        }
                    }
                    Ok(properties)
                }

                /// Reads one property.
                #[inline(always)]
                fn read_one(&mut self, reader: &mut Reader<$a>, context: Context) -> Result<(), FieldError> {
                    let from_here = reader.rest();
                    match reader.u8(Field::PropertyIdentifier)? {
                        $(
                            id if id == PropertyId::$member_id as u8 => {
                                let field = Field::Property(PropertyId::$member_id);
                                $(
                                    if context.limits.sender.is_some_and(|sender| sender != Sender::$sender) {
                                        let at = reader.offset_before(1);
                                        return Err(FieldError::new(at, field, Violation::PropertyFromWrongSender));
                                    }
                                )?
                                self.$member.fill(reader, from_here, field, context)
                            }
                        )*
                        other => Err(misplaced(reader.offset_before(1), other)),
                    }
                }
            }

            /// Prints the properties that are present. Only the length of authentication data is printed.
            impl fmt::Debug for $packet<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let mut properties = f.debug_struct(stringify!($packet));
                    $(
                        if !self.$member.is_absent() {
                            properties.field(stringify!($member), printable!($member_id self.$member));
                        }
                    )*
                    properties.finish()
                }
            }

            /// Serializes the properties that are present.
            #[cfg(feature = "serde")]
            impl serde::Serialize for $packet<'_> {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    use serde::ser::SerializeStruct as _;

                    let present = [$( !self.$member.is_absent(), )*].iter().filter(|&&is_present| is_present).count();
                    let mut properties = serializer.serialize_struct(stringify!($packet), present)?;
                    $(
                        if self.$member.is_absent() {
                            properties.skip_field(stringify!($member))?;
                        } else {
                            properties.serialize_field(stringify!($member), serializable!($member_id self.$member))?;
                        }
                    )*
                    properties.end()
                }
            }

            impl Section for $packet<'_> {
                #[inline(always)]
                fn is_empty(&self) -> bool {
                    self.is_empty()
                }

                #[inline(always)]
                fn write<S: Sink>(&self, out: &mut S) {
                    $( self.$member.write(PropertyId::$member_id, out); )*
                }
            }

            impl<$a> $packet<$a> {
                /// Checks at compile time that the struct and the table of [`PropertyId`] agree on the wire types.
                const WIRE_TYPES_AGREE: () = {
                    $( assert!(<$slot as Slot<$a>>::WIRE_TYPE as u8 == PropertyId::$member_id.wire_type() as u8); )*
                };
            }

            const _: () = $packet::WIRE_TYPES_AGREE;
        )*
    };
}

properties! {
    /// The properties of a CONNECT (section 3.1.2.11).
    ConnectProperties<'a> {
        /// Session Expiry Interval: how long the session lives after the connection has ended, in seconds. 0xFFFF_FFFF:
        /// it never expires. Absent: 0.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// Authentication Method: the name of the method of an enhanced authentication (section 4.12).
        authentication_method: Option<Utf8Str<'a>> = AuthenticationMethod,
        /// Authentication Data, in the format of the method. `Debug` prints its length only.
        authentication_data: Option<&'a [u8]> = AuthenticationData,
        /// Request Problem Information: whether the server may send Reason String and User Properties in any packet.
        /// Absent: true.
        request_problem_information: Option<bool> = RequestProblemInformation,
        /// Request Response Information: whether the server is asked to return Response Information in CONNACK. Absent:
        /// false.
        request_response_information: Option<bool> = RequestResponseInformation,
        /// Receive Maximum: maximum number of messages of QoS 1 and 2 in flight towards the client. Absent: 65,535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// Topic Alias Maximum: the highest topic alias that the client accepts. Absent: 0, no aliases.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// User Properties: names and values whose meaning the specification does not define.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
        /// Maximum Packet Size: the size of the largest packet that the client accepts, in bytes. Absent: no limit.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
    }

    /// The properties of a will (section 3.1.3.2).
    WillProperties<'a> {
        /// Payload Format Indicator. Absent: [`PayloadFormat::Unspecified`].
        payload_format_indicator: Option<PayloadFormat> = PayloadFormatIndicator,
        /// Message Expiry Interval: lifetime of the message once it is published, in seconds. Absent: it does not
        /// expire.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// Content Type: the type of the payload, by a convention between the clients.
        content_type: Option<Utf8Str<'a>> = ContentType,
        /// Response Topic: the topic for the response to this message.
        response_topic: Option<TopicName<'a>> = ResponseTopic,
        /// Correlation Data: identifies the request that a response belongs to.
        correlation_data: Option<&'a [u8]> = CorrelationData,
        /// Will Delay Interval: the delay between the end of the connection and the publication of the will, in
        /// seconds. Absent: 0.
        will_delay_interval: Option<u32> = WillDelayInterval,
        /// User Properties, which are published with the will, in this order.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of a CONNACK (section 3.2.2.3).
    ConnAckProperties<'a> {
        /// Session Expiry Interval: how long the session lives after the connection has ended, in seconds. Absent: as
        /// in CONNECT.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// Assigned Client Identifier: the client identifier that the server has assigned.
        assigned_client_identifier: Option<Utf8Str<'a>> = AssignedClientIdentifier,
        /// Server Keep Alive: the Keep Alive that replaces that of CONNECT, in seconds. Absent: as in CONNECT.
        server_keep_alive: Option<u16> = ServerKeepAlive,
        /// Authentication Method: the name of the method of an enhanced authentication (section 4.12).
        authentication_method: Option<Utf8Str<'a>> = AuthenticationMethod,
        /// Authentication Data, in the format of the method. `Debug` prints its length only.
        authentication_data: Option<&'a [u8]> = AuthenticationData,
        /// Response Information: the basis of response topics.
        response_information: Option<Utf8Str<'a>> = ResponseInformation,
        /// Server Reference: another server that the client may use.
        server_reference: Option<Utf8Str<'a>> = ServerReference,
        /// Reason String: a text for diagnostics.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// Receive Maximum: maximum number of messages of QoS 1 and 2 in flight towards the server. Absent: 65,535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// Topic Alias Maximum: the highest topic alias that the server accepts. Absent: 0, no aliases.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// Maximum QoS: the highest QoS that the server supports. Absent: 2.
        maximum_qos: Option<MaximumQoS> = MaximumQoS,
        /// Retain Available: whether the server supports retained messages. Absent: true.
        retain_available: Option<bool> = RetainAvailable,
        /// User Properties: names and values whose meaning the specification does not define.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
        /// Maximum Packet Size: the size of the largest packet that the server accepts, in bytes. Absent: no limit.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// Wildcard Subscription Available: whether the server supports filters with wildcards. Absent: true.
        wildcard_subscription_available: Option<bool> = WildcardSubscriptionAvailable,
        /// Subscription Identifiers Available: whether the server supports subscription identifiers. Absent: true.
        subscription_identifiers_available: Option<bool> = SubscriptionIdentifiersAvailable,
        /// Shared Subscription Available: whether the server supports shared subscriptions. Absent: true.
        shared_subscription_available: Option<bool> = SharedSubscriptionAvailable,
    }

    /// The properties of a PUBLISH (section 3.3.2.3).
    PublishProperties<'a> {
        /// Payload Format Indicator. Absent: [`PayloadFormat::Unspecified`].
        payload_format_indicator: Option<PayloadFormat> = PayloadFormatIndicator,
        /// Message Expiry Interval: lifetime of the message, in seconds. Absent: it does not expire.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// Content Type: the type of the payload, by a convention between the clients.
        content_type: Option<Utf8Str<'a>> = ContentType,
        /// Response Topic: the topic for the response to this message.
        response_topic: Option<TopicName<'a>> = ResponseTopic,
        /// Correlation Data: identifies the request that a response belongs to.
        correlation_data: Option<&'a [u8]> = CorrelationData,
        /// Subscription Identifiers of the subscriptions that the message matches; from a server only \[MQTT-3.3.4-6\].
        subscription_identifiers: List<'a, SubscriptionIdentifier> = SubscriptionIdentifier from Server,
        /// Topic Alias: a number that stands for the topic name on this connection.
        topic_alias: Option<NonZeroU16> = TopicAlias,
        /// User Properties, which are part of the message, in this order.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of every acknowledgement: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK (section 3.4.2.2).
    AckProperties<'a> {
        /// Reason String: a text for diagnostics.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// User Properties: names and values whose meaning the specification does not define.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of a SUBSCRIBE (section 3.8.2.1).
    SubscribeProperties<'a> {
        /// Subscription Identifier, which the server adds to each message that it sends for these subscriptions.
        subscription_identifier: Option<SubscriptionIdentifier> = SubscriptionIdentifier,
        /// User Properties: names and values whose meaning the specification does not define.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of an UNSUBSCRIBE (section 3.10.2.1).
    UnsubscribeProperties<'a> {
        /// User Properties: names and values whose meaning the specification does not define.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of a DISCONNECT (section 3.14.2.2).
    DisconnectProperties<'a> {
        /// Session Expiry Interval, in seconds; from a client only. Absent: as in CONNECT.
        session_expiry_interval: Option<u32> = SessionExpiryInterval from Client,
        /// Server Reference: another server that the client may use; from a server only.
        server_reference: Option<Utf8Str<'a>> = ServerReference from Server,
        /// Reason String: a text for diagnostics.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// User Properties: names and values whose meaning the specification does not define.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of an AUTH (section 3.15.2.2).
    AuthProperties<'a> {
        /// Authentication Method: the name of the method (section 4.12).
        authentication_method: Option<Utf8Str<'a>> = AuthenticationMethod,
        /// Authentication Data, in the format of the method. `Debug` prints its length only.
        authentication_data: Option<&'a [u8]> = AuthenticationData,
        /// Reason String: a text for diagnostics.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// User Properties: names and values whose meaning the specification does not define.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }
}

/// Returns the error of a property at `offset` that is unknown, or that the packet may not have.
#[cold]
#[inline(never)]
fn misplaced(offset: usize, id: u8) -> FieldError {
    let (field, violation) = match PropertyId::from_value(id) {
        Some(id) => (Field::Property(id), Violation::MisplacedProperty),
        None => (Field::PropertyIdentifier, Violation::UnknownProperty),
    };
    FieldError::new(offset, field, violation)
}

impl<'a, T: Value<'a>> Slot<'a> for Option<T> {
    const WIRE_TYPE: WireType = T::WIRE_TYPE;

    #[inline(always)]
    fn fill(&mut self, reader: &mut Reader<'a>, _: &'a [u8], field: Field, context: Context) -> Result<(), FieldError> {
        if self.is_some() {
            return Err(FieldError::new(reader.offset_before(1), field, Violation::RepeatedProperty));
        }
        *self = Some(T::read(reader, field, context)?);
        Ok(())
    }

    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, id: PropertyId, out: &mut S) {
        if let Some(value) = *self {
            value.write(id, out);
        }
    }
}

/// The view begins at the first entry and ends with the properties; the iterator skips other properties between its
/// entries.
impl<'a, T: Value<'a> + list::sealed::Entry<'a>> Slot<'a> for List<'a, T> {
    const WIRE_TYPE: WireType = T::WIRE_TYPE;

    #[inline(always)]
    fn fill(
        &mut self,
        reader: &mut Reader<'a>,
        from_here: &'a [u8],
        field: Field,
        context: Context,
    ) -> Result<(), FieldError> {
        let before = self.len();
        if matches!(T::WIRE_TYPE, WireType::Utf8StringPair) && before >= usize::from(context.limits.max_user_properties)
        {
            return Err(FieldError::new(reader.offset_before(1), field, Violation::TooManyUserProperties));
        }
        T::read(reader, field, context)?;
        let bytes = self.property_bytes().unwrap_or(from_here);
        *self = List::properties(bytes, (before as u32).saturating_add(1));
        Ok(())
    }

    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, id: PropertyId, out: &mut S) {
        for value in *self {
            value.write(id, out);
        }
    }
}

/// Returns the bytes after the next identifier `wanted`, in validated properties. The identifier is usually the first
/// byte.
#[inline(always)]
fn seek(bytes: &[u8], wanted: PropertyId) -> Option<&[u8]> {
    match bytes.split_first() {
        Some((&id, rest)) if id == wanted as u8 => Some(rest),
        _ => seek_further(bytes, wanted),
    }
}

#[inline(never)]
fn seek_further(mut bytes: &[u8], wanted: PropertyId) -> Option<&[u8]> {
    loop {
        let (&id, rest) = bytes.split_first()?;
        if id == wanted as u8 {
            return Some(rest);
        }
        bytes = skip(rest, PropertyId::from_value(id)?.wire_type())?;
    }
}

/// Returns the offset of a validated property, for an error that is found later. `reader` is at Property Length.
#[cold]
pub(crate) fn offset_of(id: PropertyId, mut reader: Reader<'_>) -> usize {
    let Ok(section) = reader.section(Field::PropertyLength) else { return reader.offset() };
    let after = seek(section.rest(), id).map_or(0, <[u8]>::len);
    let from_id = section.rest().len().saturating_sub(after).saturating_sub(1);
    section.offset().saturating_add(from_id)
}

/// Returns the bytes after a validated value.
fn skip(bytes: &[u8], wire_type: WireType) -> Option<&[u8]> {
    match wire_type {
        WireType::Byte => bytes.get(1..),
        WireType::TwoByteInteger => bytes.get(2..),
        WireType::FourByteInteger => bytes.get(4..),
        WireType::VariableByteInteger => {
            let last = bytes.iter().position(|&byte| byte < 0x80)?;
            bytes.get(last.saturating_add(1)..)
        }
        WireType::Utf8String | WireType::BinaryData => split_binary(bytes).map(|(_, rest)| rest),
        WireType::Utf8StringPair => split_binary(split_binary(bytes)?.1).map(|(_, rest)| rest),
    }
}

/// Splits validated Binary Data, or a validated string, from the bytes after it.
#[inline(always)]
pub(crate) fn split_binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

impl<'a> list::sealed::Entry<'a> for UserProperty<'a> {
    #[inline]
    fn next(bytes: &mut &'a [u8], _: Version) -> Option<Self> {
        let (name, rest) = split_binary(seek(bytes, PropertyId::UserProperty)?)?;
        let (value, rest) = split_binary(rest)?;
        *bytes = rest;
        Some(Self { name: Utf8Str::validated(name), value: Utf8Str::validated(value) })
    }

    #[cfg(feature = "alloc")]
    fn of_pair(name: &'a str, value: &'a str) -> Option<Self> {
        let (name, value) = (Utf8Str::validated(name.as_bytes()), Utf8Str::validated(value.as_bytes()));
        Some(Self { name, value })
    }
}

impl<'a> list::sealed::Entry<'a> for SubscriptionIdentifier {
    #[inline]
    fn next(bytes: &mut &'a [u8], _: Version) -> Option<Self> {
        let mut reader = Reader::new(seek(bytes, PropertyId::SubscriptionIdentifier)?, 0);
        let id = reader.varint(Field::PropertyIdentifier).ok()?;
        *bytes = reader.rest();
        Self::new(id).ok()
    }
}
