//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use super::error::FieldError;
use super::field::Field;
use super::list::{self, List};
use super::packet_type::PacketType;
use super::property::{AckProperties, SubscribeProperties, split_binary};
use super::reader::{Context, Reader};
use super::reason::SubAckReasonCode;
use super::sink::{Body, Sink};
use super::types::{PacketId, QoS, RetainHandling};
use super::version::Version;
use super::violation::Violation;
use crate::topic::{self, TopicError, TopicFilter};

/// SUBSCRIBE: a client requests subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Subscribe<'a> {
    /// The packet identifier, which SUBACK refers to.
    pub id: PacketId,
    /// The requested subscriptions; at least one \[MQTT-3.8.3-2\].
    pub subscriptions: List<'a, Subscription<'a>>,
    /// The properties; empty before 5.0.
    pub properties: SubscribeProperties<'a>,
}

/// A topic filter with its subscription options (section 3.8.3.1).
///
/// ```
/// # use mqtt_sansio::codec::{RetainHandling, Subscription};
/// # use mqtt_sansio::{QoS, TopicFilter};
/// let filter = TopicFilter::new("home/+/temp")?;
/// let subscription = Subscription {
///     retain_handling: RetainHandling::DoNotSend, // 5.0 only
///     ..Subscription::with_filter(filter, QoS::AtLeastOnce)
/// };
/// assert_eq!(Subscription::new("home/+/temp", QoS::AtLeastOnce)?.filter, subscription.filter);
/// # Ok::<(), mqtt_sansio::TopicError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Subscription<'a> {
    /// The topic filter.
    pub filter: TopicFilter<'a>,
    /// The maximum QoS of the messages that the server sends for this subscription.
    pub qos: QoS,
    /// No Local: the server does not send messages that this client has published. 5.0 only, and not for a shared
    /// subscription \[MQTT-3.8.3-4\].
    pub no_local: bool,
    /// Retain As Published: the server sends messages with the RETAIN flag with which they were published; 5.0 only.
    pub retain_as_published: bool,
    /// Retain Handling: when the server sends retained messages; 5.0 only.
    pub retain_handling: RetainHandling,
}

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;

impl<'a> Subscription<'a> {
    /// Creates a subscription with the default options.
    ///
    /// # Errors
    ///
    /// [`TopicError`] if the filter is invalid: see [`TopicFilter::new`].
    pub fn new(filter: &'a str, qos: QoS) -> Result<Self, TopicError> {
        Ok(Self::with_filter(TopicFilter::new(filter)?, qos))
    }

    /// Creates a subscription with the default options.
    pub const fn with_filter(filter: TopicFilter<'a>, qos: QoS) -> Self {
        let retain_handling = RetainHandling::SendAtSubscribe;
        Self { filter, qos, no_local: false, retain_as_published: false, retain_handling }
    }

    /// Checks one entry of a SUBSCRIBE.
    #[inline(always)]
    fn check(reader: &mut Reader<'a>, context: Context) -> Result<(), FieldError> {
        let filter = reader.topic_filter(context)?;
        let options = reader.u8(Field::SubscriptionOptions)?;
        match check_options(used_options(options, context.version), filter, context.version) {
            None => Ok(()),
            Some(violation) => Err(FieldError::new(reader.offset_before(1), Field::SubscriptionOptions, violation)),
        }
    }

    /// Creates a subscription from validated options; invalid bits fall back to the default.
    #[inline(always)]
    fn with_options(filter: TopicFilter<'a>, options: u8, version: Version) -> Self {
        let options = used_options(options, version);
        Self {
            filter,
            qos: QoS::from_value(options & 0b11).unwrap_or_default(),
            no_local: options & NO_LOCAL != 0,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            retain_handling: RetainHandling::from_value(options >> 4 & 0b11).unwrap_or_default(),
        }
    }

    #[inline(always)]
    fn options(&self) -> u8 {
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        self.qos.value() | no_local | retain_as_published | self.retain_handling.value() << 4
    }
}

/// Clears the subscription options that the version does not use: the upper six bits in 3.1.
#[inline(always)]
const fn used_options(options: u8, version: Version) -> u8 {
    match version {
        Version::V31 => options & 0b11,
        Version::V311 | Version::V5 => options,
    }
}

#[inline(always)]
fn check_options(options: u8, filter: TopicFilter<'_>, version: Version) -> Option<Violation> {
    if options <= 2 {
        return None;
    }
    let reserved = if version == Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
    if options & reserved != 0 {
        Some(Violation::ReservedBits)
    } else if options & 0b11 == 3 {
        Some(Violation::QoS3)
    } else if options >> 4 == 3 {
        Some(Violation::RetainHandling3)
    } else if options & NO_LOCAL != 0 && filter.share_name().is_some() {
        Some(Violation::NoLocalOnShared)
    } else {
        None
    }
}

impl<'a> list::sealed::Entry<'a> for Subscription<'a> {
    #[inline(always)]
    fn next(bytes: &mut &'a [u8], version: Version) -> Option<Self> {
        let (filter, rest) = split_binary(bytes)?;
        let (&options, rest) = rest.split_first()?;
        *bytes = rest;
        Some(Self::with_options(TopicFilter::validated(filter), options, version))
    }
}

impl<'a> Subscribe<'a> {
    /// Creates the packet without properties.
    ///
    /// ```
    /// # use mqtt_sansio::codec::{Subscribe, Subscription};
    /// # use mqtt_sansio::{PacketId, QoS, Version};
    /// # #[cfg(feature = "alloc")] {
    /// let subscriptions = [Subscription::new("a", QoS::AtLeastOnce)?];
    /// let mut out = Vec::new();
    /// Subscribe::new(PacketId::MIN, &subscriptions).encode(Version::V311, &mut out)?;
    /// assert_eq!(out, b"\x82\x06\x00\x01\x00\x01a\x01");
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn new(id: PacketId, subscriptions: impl Into<List<'a, Subscription<'a>>>) -> Self {
        Self { id, subscriptions: subscriptions.into(), properties: SubscribeProperties::default() }
    }

    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        let id = reader.packet_id()?;
        let properties = SubscribeProperties::read(reader, Field::PropertyLength, context)?;
        let check = |reader: &mut Reader<'a>| Subscription::check(reader, context);
        Ok(Self { id, subscriptions: reader.list_of_filters(context.version, check)?, properties })
    }
}

impl Body for Subscribe<'_> {
    const TYPE: PacketType = PacketType::Subscribe;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.u16(self.id.get());
        out.properties(version, Field::Properties, &self.properties);
        out.require(|| !self.subscriptions.is_empty(), Field::Payload, Violation::NoTopicFilter);
        if let Some(bytes) = self.subscriptions.wire_bytes_of(version) {
            return out.raw(bytes);
        }
        for subscription in self.subscriptions {
            write_filter(subscription.filter, version, out);
            match version {
                Version::V5 => out.require(
                    || !subscription.no_local || subscription.filter.share_name().is_none(),
                    Field::SubscriptionOptions,
                    Violation::NoLocalOnShared,
                ),
                Version::V31 | Version::V311 => {
                    out.require_absent(|| subscription.options() <= 2, Field::SubscriptionOptions);
                }
            }
            out.u8(subscription.options());
        }
    }
}

/// Writes a filter. One that was received in 3.1 or 3.1.1 may be an invalid shared subscription in 5.0.
#[inline(always)]
pub(crate) fn write_filter<S: Sink>(filter: TopicFilter<'_>, version: Version, out: &mut S) {
    let filter = filter.as_bytes();
    if version == Version::V5
        && filter.first() == Some(&b'$')
        && let Some(error) = topic::share_error(filter)
    {
        out.require(|| false, Field::TopicFilter, Violation::Text(error.kind));
    }
    out.binary(Field::TopicFilter, filter);
}

/// SUBACK: the server's answer to SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SubAck<'a> {
    /// The packet identifier of the SUBSCRIBE.
    pub id: PacketId,
    /// The outcome for each subscription, in the order of the SUBSCRIBE \[MQTT-3.9.3-1\]; at least one.
    pub reason_codes: List<'a, SubAckReasonCode>,
    /// The properties; empty before 5.0.
    pub properties: AckProperties<'a>,
}

/// Clears the bits of a return code that the version does not use: the upper six of a granted QoS in 3.1. 3.1 has no
/// failure, but 0x80 is read as one: servers of 3.1.1 send it to clients of 3.1 too.
#[inline(always)]
const fn used_code(code: u8, version: Version) -> u8 {
    match version {
        Version::V31 if code != SubAckReasonCode::UnspecifiedError.value() => code & 0b11,
        Version::V31 | Version::V311 | Version::V5 => code,
    }
}

impl<'a> list::sealed::Entry<'a> for SubAckReasonCode {
    #[inline(always)]
    fn next(bytes: &mut &'a [u8], version: Version) -> Option<Self> {
        Self::from_value(used_code(list::next_byte(bytes)?, version))
    }
}

impl<'a> SubAck<'a> {
    /// Creates the packet without properties.
    ///
    /// ```
    /// # use mqtt_sansio::codec::{SubAck, SubAckReasonCode};
    /// # use mqtt_sansio::{PacketId, Version};
    /// # #[cfg(feature = "alloc")] {
    /// let codes = [SubAckReasonCode::GrantedQoS1, SubAckReasonCode::NotAuthorized];
    /// let mut out = Vec::new();
    /// SubAck::new(PacketId::MIN, &codes).encode(Version::V5, &mut out)?;
    /// assert_eq!(out, b"\x90\x05\x00\x01\x00\x01\x87");
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn new(id: PacketId, reason_codes: impl Into<List<'a, SubAckReasonCode>>) -> Self {
        Self { id, reason_codes: reason_codes.into(), properties: AckProperties::default() }
    }

    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, FieldError> {
        let id = reader.packet_id()?;
        let properties = AckProperties::read(reader, Field::PropertyLength, context)?;
        let reason_codes = match context.version {
            Version::V5 => reader.reason_codes(context.version, |code| SubAckReasonCode::from_value(code).is_some())?,
            Version::V31 | Version::V311 => reader.reason_codes(context.version, |code| {
                SubAckReasonCode::is_return_code(used_code(code, context.version))
            })?,
        };
        Ok(Self { id, reason_codes, properties })
    }
}

impl Body for SubAck<'_> {
    const TYPE: PacketType = PacketType::SubAck;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty()
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.u16(self.id.get());
        out.properties(version, Field::Properties, &self.properties);
        out.require(|| !self.reason_codes.is_empty(), Field::Payload, Violation::NoReasonCode);
        if let Some(bytes) = self.reason_codes.wire_bytes_of(version) {
            return out.raw(bytes);
        }
        for code in self.reason_codes {
            if version != Version::V5 {
                out.require_absent(|| SubAckReasonCode::is_return_code(code.value()), Field::ReasonCode);
            }
            out.u8(code.value());
        }
    }
}
