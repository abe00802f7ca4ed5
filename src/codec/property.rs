//! Properties (section 2.2.2): one table says which packet may carry which of them.
//!
//! The struct of each packet, its decode and encode, and the checks for repeated and misplaced properties are made
//! from it. What each property is called and how it is written stands in the table of [`PropertyId`].

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use super::error::FieldError;
use super::field::Field;
use super::list::{self, List};
use super::property_id::{PropertyId, WireType};
use super::reader::{Context, Reader};
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

/// The place for a property in a struct: an `Option` for one that may stand there once, a `List` for the others.
trait Slot<'a>: Copy {
    const WIRE_TYPE: WireType;

    /// Reads the value; the identifier has just been read. `from_here` is the rest of the properties, that identifier
    /// included.
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

/// A property as `Debug` shows it.
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
                /// Whether there is no property at all.
                #[inline(always)]
                pub fn is_empty(&self) -> bool {
                    $( self.$member.is_absent() )&*
                }

                /// Reads Property Length and the properties, if the version has them.
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

            /// Prints the properties that are there; of authentication data the length alone.
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
                /// The struct and the table of [`PropertyId`] agree on how each property is written.
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
        /// How long the session outlives the connection, in seconds; 0xFFFF_FFFF is for ever, absent is 0.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// The name of the method of an enhanced authentication (section 4.12).
        authentication_method: Option<Utf8Str<'a>> = AuthenticationMethod,
        /// Data of that method.
        authentication_data: Option<&'a [u8]> = AuthenticationData,
        /// Whether the server may add reason strings and user properties to any packet; absent is true.
        request_problem_information: Option<bool> = RequestProblemInformation,
        /// Whether the server is asked for Response Information; absent is false.
        request_response_information: Option<bool> = RequestResponseInformation,
        /// How many messages of QoS 1 and 2 the client takes at a time; absent is 65,535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// The highest topic alias that the client takes; absent is 0, none.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// Names and values that the specification gives no meaning to.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
        /// The largest packet that the client takes, in bytes; absent is no limit.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
    }

    /// The properties of a will (section 3.1.3.2).
    WillProperties<'a> {
        /// What the payload is said to be; absent is [`PayloadFormat::Unspecified`].
        payload_format_indicator: Option<PayloadFormat> = PayloadFormatIndicator,
        /// How long the published will is of use, in seconds; absent is for ever.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// The type of the payload, by a convention among the clients.
        content_type: Option<Utf8Str<'a>> = ContentType,
        /// Where a response is expected.
        response_topic: Option<TopicName<'a>> = ResponseTopic,
        /// What a response shall be recognized by.
        correlation_data: Option<&'a [u8]> = CorrelationData,
        /// How long after the connection the will is published, in seconds; absent is 0.
        will_delay_interval: Option<u32> = WillDelayInterval,
        /// Names and values that are published with the will, in this order.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of a CONNACK (section 3.2.2.3).
    ConnAckProperties<'a> {
        /// How long the session outlives the connection, in seconds, if not as the client has asked.
        session_expiry_interval: Option<u32> = SessionExpiryInterval,
        /// The client identifier that the server has chosen.
        assigned_client_identifier: Option<Utf8Str<'a>> = AssignedClientIdentifier,
        /// The Keep Alive, in seconds, to be used instead of the client's.
        server_keep_alive: Option<u16> = ServerKeepAlive,
        /// The name of the method of an enhanced authentication (section 4.12).
        authentication_method: Option<Utf8Str<'a>> = AuthenticationMethod,
        /// Data of that method.
        authentication_data: Option<&'a [u8]> = AuthenticationData,
        /// What response topics are to be made from.
        response_information: Option<Utf8Str<'a>> = ResponseInformation,
        /// Another server to go to.
        server_reference: Option<Utf8Str<'a>> = ServerReference,
        /// The reason in words, for a person to read.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// How many messages of QoS 1 and 2 the server takes at a time; absent is 65,535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// The highest topic alias that the server takes; absent is 0, none.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// The highest QoS that the server takes; absent is 2.
        maximum_qos: Option<MaximumQoS> = MaximumQoS,
        /// Whether the server takes retained messages; absent is true.
        retain_available: Option<bool> = RetainAvailable,
        /// Names and values that the specification gives no meaning to.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
        /// The largest packet that the server takes, in bytes; absent is no limit.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// Whether the server takes filters with wildcards; absent is true.
        wildcard_subscription_available: Option<bool> = WildcardSubscriptionAvailable,
        /// Whether the server takes subscription identifiers; absent is true.
        subscription_identifiers_available: Option<bool> = SubscriptionIdentifiersAvailable,
        /// Whether the server takes shared subscriptions; absent is true.
        shared_subscription_available: Option<bool> = SharedSubscriptionAvailable,
    }

    /// The properties of a PUBLISH (section 3.3.2.3).
    PublishProperties<'a> {
        /// What the payload is said to be; absent is [`PayloadFormat::Unspecified`].
        payload_format_indicator: Option<PayloadFormat> = PayloadFormatIndicator,
        /// How long the message is of use, in seconds; absent is for ever.
        message_expiry_interval: Option<u32> = MessageExpiryInterval,
        /// The type of the payload, by a convention among the clients.
        content_type: Option<Utf8Str<'a>> = ContentType,
        /// Where a response is expected.
        response_topic: Option<TopicName<'a>> = ResponseTopic,
        /// What a response shall be recognized by.
        correlation_data: Option<&'a [u8]> = CorrelationData,
        /// The identifiers of the subscriptions that the message is sent for; from a server only
        /// \[MQTT-3.3.4-6\].
        subscription_identifiers: List<'a, SubscriptionIdentifier> = SubscriptionIdentifier from Server,
        /// A number that stands for the topic name on this connection.
        topic_alias: Option<NonZeroU16> = TopicAlias,
        /// Names and values that go with the message, in this order.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of every acknowledgement: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK (section 3.4.2.2).
    AckProperties<'a> {
        /// The reason in words, for a person to read.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// Names and values that the specification gives no meaning to.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of a SUBSCRIBE (section 3.8.2.1).
    SubscribeProperties<'a> {
        /// What the server shall add to each message that it sends for these subscriptions.
        subscription_identifier: Option<SubscriptionIdentifier> = SubscriptionIdentifier,
        /// Names and values that the specification gives no meaning to.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of an UNSUBSCRIBE (section 3.10.2.1).
    UnsubscribeProperties<'a> {
        /// Names and values that the specification gives no meaning to.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of a DISCONNECT (section 3.14.2.2).
    DisconnectProperties<'a> {
        /// How long the session outlives the connection, in seconds, if not as in CONNECT; from a client only.
        session_expiry_interval: Option<u32> = SessionExpiryInterval from Client,
        /// Another server to go to; from a server only.
        server_reference: Option<Utf8Str<'a>> = ServerReference from Server,
        /// The reason in words, for a person to read.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// Names and values that the specification gives no meaning to.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }

    /// The properties of an AUTH (section 3.15.2.2).
    AuthProperties<'a> {
        /// The name of the method (section 4.12).
        authentication_method: Option<Utf8Str<'a>> = AuthenticationMethod,
        /// Data of that method.
        authentication_data: Option<&'a [u8]> = AuthenticationData,
        /// The reason in words, for a person to read.
        reason_string: Option<Utf8Str<'a>> = ReasonString,
        /// Names and values that the specification gives no meaning to.
        user_properties: List<'a, UserProperty<'a>> = UserProperty,
    }
}

/// The fault of a property whose identifier, at `offset`, has no place in the struct.
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

/// The view begins at the first entry and goes on to the end of the properties; iterating skips what is in between.
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

/// What is behind the next identifier of this kind, in properties that were validated. Mostly it is the first one.
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

/// Where a property stands that was validated, for a fault that only shows later. The reader is at Property Length.
#[cold]
pub(crate) fn offset_of(id: PropertyId, mut reader: Reader<'_>) -> usize {
    let Ok(section) = reader.section(Field::PropertyLength) else { return reader.offset() };
    let behind = seek(section.rest(), id).map_or(0, <[u8]>::len);
    let from_id = section.rest().len().saturating_sub(behind).saturating_sub(1);
    section.offset().saturating_add(from_id)
}

/// What is behind a value that was validated.
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

/// Binary data, or a text, that was validated, and what is behind it.
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
