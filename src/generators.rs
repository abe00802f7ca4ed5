//! Generators of valid values and packets, for property tests and for fuzzing programs that speak MQTT.
//!
//! Texts, topics, properties and subscriptions implement [`Arbitrary`]. A packet borrows its lists, so whole packets
//! are made in a [`Lists`], or passed to a closure by [`with_packet`]. Each packet can be encoded in the version for
//! which it was made, and may be sent by the endpoint for which it was made.
//!
//! A fuzz target that gives a program packets that a broker could send:
//!
//! ```
//! use mqtt_sansio::{Version, codec::Sender, generators};
//! # fn program_under_test(_: &[u8]) {}
//!
//! fn target(data: &[u8]) -> arbitrary::Result<()> {
//!     let mut u = arbitrary::Unstructured::new(data);
//!     while !u.is_empty() {
//!         let mut bytes = Vec::new();
//!         generators::with_packet(&mut u, Version::V5, Sender::Server, |packet| packet.encode(Version::V5, &mut bytes))?
//!             .expect("can be encoded");
//!         program_under_test(&bytes);
//!     }
//!     Ok(())
//! }
//! # target(&[7; 100]).unwrap();
//! ```
//!
//! In a property test, let the framework make a `Vec<u8>` for [`Unstructured`]: shrinking the bytes shrinks the
//! packets. Exhausted data is read as zeros, and makes the smallest values.
//!
//! The crate `arbitrary` is part of this module's interface: a new major version of it means a new major version of
//! this crate.

use core::num::{NonZeroU16, NonZeroU32};
use std::vec::Vec;

use arbitrary::{Arbitrary, Error, Result, Unstructured};

use crate::codec::{
    AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect, ConnectProperties,
    Delivery, Disconnect, DisconnectProperties, DisconnectReasonCode, List, Packet, PacketId, PacketType, PubAck,
    PubComp, PubRec, PubRel, Publish, PublishProperties, QoS, RetainHandling, Sender, SubAck, SubAckReasonCode,
    Subscribe, SubscribeProperties, Subscription, SubscriptionIdentifier, UnsubAck, UnsubAckReasonCode, Unsubscribe,
    UnsubscribeProperties, UserProperty, Version, Will, WillProperties,
};
use crate::text::{MAX_LEN, Utf8Str};
use crate::topic::{TopicError, TopicFilter, TopicName};

/// Generates a packet of any type that `sender` may send in `version`, and passes it to a closure.
///
/// # Errors
///
/// Errors of [`Unstructured`]. Exhausted data is not an error.
pub fn with_packet<R>(
    u: &mut Unstructured<'_>,
    version: Version,
    sender: Sender,
    then: impl FnOnce(Packet<'_>) -> R,
) -> Result<R> {
    Ok(then(Lists::default().packet(u, version, sender)?))
}

/// The memory for the lists of a generated packet: its subscriptions, reason codes, user properties.
///
/// It stores one packet at a time: generating the next one overwrites its lists.
///
/// ```
/// use mqtt_sansio::{Version, generators::Lists};
///
/// let mut u = arbitrary::Unstructured::new(b"some bytes of a fuzzer");
/// let mut lists = Lists::default();
/// let subscribe = lists.subscribe(&mut u, Version::V311)?;
/// assert!(subscribe.encoded_len(Version::V311).is_ok());
/// # Ok::<(), arbitrary::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Lists<'a> {
    user_properties: Vec<UserProperty<'a>>,
    will_user_properties: Vec<UserProperty<'a>>,
    subscription_identifiers: Vec<SubscriptionIdentifier>,
    subscriptions: Vec<Subscription<'a>>,
    filters: Vec<TopicFilter<'a>>,
    sub_ack_codes: Vec<SubAckReasonCode>,
    unsub_ack_codes: Vec<UnsubAckReasonCode>,
}

impl<'a> Lists<'a> {
    /// Makes a packet of any type that `sender` may send in `version`.
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn packet(&mut self, u: &mut Unstructured<'a>, version: Version, sender: Sender) -> Result<Packet<'_>> {
        let possible: Vec<_> = PacketType::ALL.into_iter().filter(|&kind| exists(kind, version, sender)).collect();
        self.packet_of(*u.choose(&possible)?, u, version, sender)
    }

    /// Makes a packet of one type.
    ///
    /// # Errors
    ///
    /// [`Error::IncorrectFormat`] if `sender` may not send packets of this type in `version`.
    pub fn packet_of(
        &mut self,
        packet_type: PacketType,
        u: &mut Unstructured<'a>,
        version: Version,
        sender: Sender,
    ) -> Result<Packet<'_>> {
        if !exists(packet_type, version, sender) {
            return Err(Error::IncorrectFormat);
        }
        Ok(match packet_type {
            PacketType::Connect => self.connect(u, version)?.into(),
            PacketType::ConnAck => self.conn_ack(u, version)?.into(),
            PacketType::Publish => self.publish(u, version, sender)?.into(),
            PacketType::PubAck => self.pub_ack(u, version)?.into(),
            PacketType::PubRec => self.pub_rec(u, version)?.into(),
            PacketType::PubRel => self.pub_rel(u, version)?.into(),
            PacketType::PubComp => self.pub_comp(u, version)?.into(),
            PacketType::Subscribe => self.subscribe(u, version)?.into(),
            PacketType::SubAck => self.sub_ack(u, version)?.into(),
            PacketType::Unsubscribe => self.unsubscribe(u, version)?.into(),
            PacketType::UnsubAck => self.unsub_ack(u, version)?.into(),
            PacketType::PingReq => Packet::PingReq,
            PacketType::PingResp => Packet::PingResp,
            PacketType::Disconnect => self.disconnect(u, version, sender)?.into(),
            PacketType::Auth => self.auth(u)?.into(),
        })
    }

    /// Makes a CONNECT (section 3.1).
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn connect(&mut self, u: &mut Unstructured<'a>, version: Version) -> Result<Connect<'_>> {
        let properties = has_properties(u, version)?;
        fill(&mut self.user_properties, u, properties)?;
        let will_properties = has_properties(u, version)?;
        fill(&mut self.will_user_properties, u, will_properties)?;
        let clean_start = u.arbitrary()?;
        let client_identifier: Utf8Str<'_> = u.arbitrary()?;
        let may_be_empty = version == Version::V5 || (version == Version::V311 && clean_start);
        let user_name: Option<Utf8Str<'_>> = u.arbitrary()?;
        // Before 5.0 there is no password without a user name [3.1.1: MQTT-3.1.2-22].
        let may_have_password = version == Version::V5 || user_name.is_some();
        Ok(Connect {
            version,
            is_bridge: u.arbitrary()?,
            clean_start,
            keep_alive: u.arbitrary()?,
            client_identifier: if client_identifier.is_empty() && !may_be_empty {
                Utf8Str::validated(b"c")
            } else {
                client_identifier
            },
            will: if u.arbitrary()? { Some(will(u, will_properties, &self.will_user_properties)?) } else { None },
            user_name,
            password: if may_have_password { optional_binary(u)? } else { None },
            properties: if properties { connect_properties(u, &self.user_properties)? } else { Default::default() },
        })
    }

    /// Makes a CONNACK (section 3.2).
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn conn_ack(&mut self, u: &mut Unstructured<'a>, version: Version) -> Result<ConnAck<'_>> {
        let properties = has_properties(u, version)?;
        fill(&mut self.user_properties, u, properties)?;
        let codes = match version {
            Version::V5 => u.choose(ConnAckReasonCode::ALL)?,
            Version::V31 | Version::V311 => u.choose(&RETURN_CODES)?,
        };
        // Half of them are Success, so that there are sessions.
        let reason_code = if u.arbitrary()? { *codes } else { ConnAckReasonCode::Success };
        // [MQTT-3.2.2-6]. In 3.1 the flag is reserved.
        let may_be_present = version != Version::V31 && reason_code == ConnAckReasonCode::Success;
        Ok(ConnAck {
            session_present: may_be_present && u.arbitrary()?,
            reason_code,
            properties: if properties { conn_ack_properties(u, &self.user_properties)? } else { Default::default() },
        })
    }

    /// Makes a PUBLISH (section 3.3). One from a server may have subscription identifiers \[MQTT-3.3.4-6\].
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn publish(&mut self, u: &mut Unstructured<'a>, version: Version, sender: Sender) -> Result<Publish<'_>> {
        let properties = has_properties(u, version)?;
        fill(&mut self.user_properties, u, properties)?;
        fill(&mut self.subscription_identifiers, u, properties && sender == Sender::Server)?;
        let properties = if properties {
            publish_properties(u, &self.user_properties, &self.subscription_identifiers)?
        } else {
            Default::default()
        };
        // Only a topic alias can replace the topic (section 3.3.2.1).
        let without_topic = properties.topic_alias.is_some() && u.arbitrary()?;
        Ok(Publish {
            delivery: delivery(u)?,
            retain: u.arbitrary()?,
            topic: if without_topic { TopicName::default() } else { u.arbitrary()? },
            payload: binary(u)?,
            properties,
        })
    }

    /// Makes a SUBSCRIBE (section 3.8).
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn subscribe(&mut self, u: &mut Unstructured<'a>, version: Version) -> Result<Subscribe<'_>> {
        let properties = has_properties(u, version)?;
        fill(&mut self.user_properties, u, properties)?;
        fill_some(&mut self.subscriptions, u, |u| subscription(u, version))?;
        Ok(Subscribe {
            id: packet_id(u)?,
            subscriptions: List::from(&*self.subscriptions),
            properties: SubscribeProperties {
                subscription_identifier: if properties { u.arbitrary()? } else { None },
                user_properties: List::from(&*self.user_properties),
            },
        })
    }

    /// Makes a SUBACK (section 3.9).
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn sub_ack(&mut self, u: &mut Unstructured<'a>, version: Version) -> Result<SubAck<'_>> {
        let properties = has_properties(u, version)?;
        fill(&mut self.user_properties, u, properties)?;
        let codes = match version {
            Version::V5 => SubAckReasonCode::ALL,
            Version::V31 | Version::V311 => &SUBACK_RETURN_CODES,
        };
        fill_some(&mut self.sub_ack_codes, u, |u| Ok(*u.choose(codes)?))?;
        Ok(SubAck {
            id: packet_id(u)?,
            reason_codes: List::from(&*self.sub_ack_codes),
            properties: ack_properties(u, properties, &self.user_properties)?,
        })
    }

    /// Makes an UNSUBSCRIBE (section 3.10).
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn unsubscribe(&mut self, u: &mut Unstructured<'a>, version: Version) -> Result<Unsubscribe<'_>> {
        let properties = has_properties(u, version)?;
        fill(&mut self.user_properties, u, properties)?;
        fill_some(&mut self.filters, u, Unstructured::arbitrary)?;
        Ok(Unsubscribe {
            id: packet_id(u)?,
            filters: List::from(&*self.filters),
            properties: UnsubscribeProperties { user_properties: List::from(&*self.user_properties) },
        })
    }

    /// Makes an UNSUBACK (section 3.11), which has reason codes in 5.0 only.
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn unsub_ack(&mut self, u: &mut Unstructured<'a>, version: Version) -> Result<UnsubAck<'_>> {
        let properties = has_properties(u, version)?;
        fill(&mut self.user_properties, u, properties)?;
        self.unsub_ack_codes.clear();
        if version == Version::V5 {
            fill_some(&mut self.unsub_ack_codes, u, Unstructured::arbitrary)?;
        }
        Ok(UnsubAck {
            id: packet_id(u)?,
            reason_codes: List::from(&*self.unsub_ack_codes),
            properties: ack_properties(u, properties, &self.user_properties)?,
        })
    }

    /// Makes a DISCONNECT (section 3.14), in 5.0 with the properties that `sender` may send.
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn disconnect(&mut self, u: &mut Unstructured<'a>, version: Version, sender: Sender) -> Result<Disconnect<'_>> {
        if version != Version::V5 {
            return Ok(Disconnect::default());
        }
        let reason_code: DisconnectReasonCode = u.arbitrary()?;
        if !has_properties(u, version)? {
            return Ok(Disconnect { reason_code, ..Disconnect::default() });
        }
        fill(&mut self.user_properties, u, true)?;
        let from_client = sender == Sender::Client;
        let properties = DisconnectProperties {
            session_expiry_interval: if from_client { u.arbitrary()? } else { None },
            server_reference: if from_client { None } else { u.arbitrary()? },
            reason_string: u.arbitrary()?,
            user_properties: List::from(&*self.user_properties),
        };
        Ok(Disconnect { reason_code, properties })
    }

    /// Makes an AUTH (section 3.15), which exists in 5.0 only.
    ///
    /// # Errors
    ///
    /// Those of [`with_packet`].
    pub fn auth(&mut self, u: &mut Unstructured<'a>) -> Result<Auth<'_>> {
        // Without an Authentication Method there is only the short form of Success (section 3.15.2.1).
        if !has_properties(u, Version::V5)? {
            return Ok(Auth::default());
        }
        fill(&mut self.user_properties, u, true)?;
        let properties = AuthProperties {
            authentication_method: Some(u.arbitrary()?),
            authentication_data: optional_binary(u)?,
            reason_string: u.arbitrary()?,
            user_properties: List::from(&*self.user_properties),
        };
        Ok(Auth { reason_code: u.arbitrary()?, properties })
    }
}

macro_rules! acks {
    ($( $function:ident: $packet:ident, $name:literal, $section:literal; )*) => {
        impl<'a> Lists<'a> {
            $(
                #[doc = concat!("Makes a ", $name, " (section ", $section, ").")]
                ///
                /// # Errors
                ///
                /// Those of [`with_packet`].
                pub fn $function(&mut self, u: &mut Unstructured<'a>, version: Version) -> Result<$packet<'_>> {
                    let packet = $packet::new(packet_id(u)?);
                    if version != Version::V5 {
                        return Ok(packet);
                    }
                    let properties = has_properties(u, version)?;
                    fill(&mut self.user_properties, u, properties)?;
                    let properties = ack_properties(u, properties, &self.user_properties)?;
                    Ok($packet { reason_code: u.arbitrary()?, properties, ..packet })
                }
            )*
        }
    };
}

acks! {
    pub_ack: PubAck, "PUBACK", "3.4";
    pub_rec: PubRec, "PUBREC", "3.5";
    pub_rel: PubRel, "PUBREL", "3.6";
    pub_comp: PubComp, "PUBCOMP", "3.7";
}

/// The reason codes that a CONNACK of 3.1 and 3.1.1 can have (3.1.1, section 3.2.2.3).
const RETURN_CODES: [ConnAckReasonCode; 6] = [
    ConnAckReasonCode::Success,
    ConnAckReasonCode::UnsupportedProtocolVersion,
    ConnAckReasonCode::ClientIdentifierNotValid,
    ConnAckReasonCode::ServerUnavailable,
    ConnAckReasonCode::BadUserNameOrPassword,
    ConnAckReasonCode::NotAuthorized,
];

/// The reason codes that a SUBACK of 3.1 and 3.1.1 can have [3.1.1: MQTT-3.9.3-2].
const SUBACK_RETURN_CODES: [SubAckReasonCode; 4] = [
    SubAckReasonCode::GrantedQoS0,
    SubAckReasonCode::GrantedQoS1,
    SubAckReasonCode::GrantedQoS2,
    SubAckReasonCode::UnspecifiedError,
];

fn exists(packet_type: PacketType, version: Version, sender: Sender) -> bool {
    let in_version = packet_type != PacketType::Auth || version == Version::V5;
    in_version && packet_type.may_come_from(sender, version)
}

/// Chooses whether a packet has properties. A quarter have none, because the codec has a fast path for them.
fn has_properties(u: &mut Unstructured<'_>, version: Version) -> Result<bool> {
    Ok(version == Version::V5 && u.int_in_range(0..=3)? != 0)
}

/// Chooses the length of a list: usually at most 3, rarely up to 300.
fn list_len(u: &mut Unstructured<'_>) -> Result<usize> {
    match u.arbitrary::<u8>()? {
        u8::MAX => u.int_in_range(0..=300),
        few => Ok(usize::from(few % 4)),
    }
}

/// Fills a list, which may stay empty; only clears it unless `wanted`.
fn fill<'a, T: Arbitrary<'a>>(list: &mut Vec<T>, u: &mut Unstructured<'a>, wanted: bool) -> Result<()> {
    list.clear();
    let len = if wanted { list_len(u)? } else { 0 };
    (0..len).try_for_each(|_| {
        list.push(u.arbitrary()?);
        Ok(())
    })
}

/// Fills a list with at least one entry.
fn fill_some<'a, T>(
    list: &mut Vec<T>,
    u: &mut Unstructured<'a>,
    mut entry: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<()> {
    list.clear();
    (0..list_len(u)?.max(1)).try_for_each(|_| {
        list.push(entry(u)?);
        Ok(())
    })
}

fn will<'l, 'a: 'l>(
    u: &mut Unstructured<'a>,
    properties: bool,
    user_properties: &'l [UserProperty<'a>],
) -> Result<Will<'l>> {
    Ok(Will {
        topic: u.arbitrary()?,
        payload: binary(u)?,
        qos: u.arbitrary()?,
        retain: u.arbitrary()?,
        properties: if properties { will_properties(u, user_properties)? } else { Default::default() },
    })
}

fn connect_properties<'l, 'a: 'l>(
    u: &mut Unstructured<'a>,
    user_properties: &'l [UserProperty<'a>],
) -> Result<ConnectProperties<'l>> {
    let (authentication_method, authentication_data) = authentication(u)?;
    Ok(ConnectProperties {
        session_expiry_interval: u.arbitrary()?,
        authentication_method,
        authentication_data,
        request_problem_information: u.arbitrary()?,
        request_response_information: u.arbitrary()?,
        receive_maximum: optional_u16(u)?,
        topic_alias_maximum: u.arbitrary()?,
        user_properties: List::from(user_properties),
        maximum_packet_size: optional_u32(u)?,
    })
}

fn will_properties<'l, 'a: 'l>(
    u: &mut Unstructured<'a>,
    user_properties: &'l [UserProperty<'a>],
) -> Result<WillProperties<'l>> {
    Ok(WillProperties {
        payload_format_indicator: u.arbitrary()?,
        message_expiry_interval: u.arbitrary()?,
        content_type: u.arbitrary()?,
        response_topic: u.arbitrary()?,
        correlation_data: optional_binary(u)?,
        will_delay_interval: u.arbitrary()?,
        user_properties: List::from(user_properties),
    })
}

fn conn_ack_properties<'l, 'a: 'l>(
    u: &mut Unstructured<'a>,
    user_properties: &'l [UserProperty<'a>],
) -> Result<ConnAckProperties<'l>> {
    let (authentication_method, authentication_data) = authentication(u)?;
    Ok(ConnAckProperties {
        session_expiry_interval: u.arbitrary()?,
        assigned_client_identifier: u.arbitrary()?,
        server_keep_alive: u.arbitrary()?,
        authentication_method,
        authentication_data,
        response_information: u.arbitrary()?,
        server_reference: u.arbitrary()?,
        reason_string: u.arbitrary()?,
        receive_maximum: optional_u16(u)?,
        topic_alias_maximum: u.arbitrary()?,
        maximum_qos: u.arbitrary()?,
        retain_available: u.arbitrary()?,
        user_properties: List::from(user_properties),
        maximum_packet_size: optional_u32(u)?,
        wildcard_subscription_available: u.arbitrary()?,
        subscription_identifiers_available: u.arbitrary()?,
        shared_subscription_available: u.arbitrary()?,
    })
}

fn publish_properties<'l, 'a: 'l>(
    u: &mut Unstructured<'a>,
    user_properties: &'l [UserProperty<'a>],
    subscription_identifiers: &'l [SubscriptionIdentifier],
) -> Result<PublishProperties<'l>> {
    Ok(PublishProperties {
        payload_format_indicator: u.arbitrary()?,
        message_expiry_interval: u.arbitrary()?,
        content_type: u.arbitrary()?,
        response_topic: u.arbitrary()?,
        correlation_data: optional_binary(u)?,
        subscription_identifiers: List::from(subscription_identifiers),
        topic_alias: optional_u16(u)?,
        user_properties: List::from(user_properties),
    })
}

fn ack_properties<'l, 'a: 'l>(
    u: &mut Unstructured<'a>,
    wanted: bool,
    user_properties: &'l [UserProperty<'a>],
) -> Result<AckProperties<'l>> {
    let reason_string = if wanted { u.arbitrary()? } else { None };
    Ok(AckProperties { reason_string, user_properties: List::from(user_properties) })
}

/// Makes an Authentication Method and Authentication Data, which requires the method (section 3.1.2.11.10).
fn authentication<'a>(u: &mut Unstructured<'a>) -> Result<(Option<Utf8Str<'a>>, Option<&'a [u8]>)> {
    let method: Option<_> = u.arbitrary()?;
    Ok((method, if method.is_some() { optional_binary(u)? } else { None }))
}

/// Makes a packet identifier.
fn packet_id(u: &mut Unstructured<'_>) -> Result<PacketId> {
    Ok(PacketId::from(non_zero_u16(u)?))
}

fn delivery(u: &mut Unstructured<'_>) -> Result<Delivery> {
    Ok(match u.arbitrary()? {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: packet_id(u)?, dup: u.arbitrary()? },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: packet_id(u)?, dup: u.arbitrary()? },
    })
}

/// Makes a number that is not 0. Unlike the generator of `arbitrary` before 1.5 it never fails.
fn non_zero_u16(u: &mut Unstructured<'_>) -> Result<NonZeroU16> {
    Ok(NonZeroU16::new(u.arbitrary()?).unwrap_or(NonZeroU16::MIN))
}

fn optional_u16(u: &mut Unstructured<'_>) -> Result<Option<NonZeroU16>> {
    Ok(if u.arbitrary()? { Some(non_zero_u16(u)?) } else { None })
}

fn optional_u32(u: &mut Unstructured<'_>) -> Result<Option<NonZeroU32>> {
    Ok(if u.arbitrary()? { Some(NonZeroU32::new(u.arbitrary()?).unwrap_or(NonZeroU32::MIN)) } else { None })
}

fn optional_binary<'a>(u: &mut Unstructured<'a>) -> Result<Option<&'a [u8]>> {
    Ok(if u.arbitrary()? { Some(binary(u)?) } else { None })
}

/// Makes binary data of at most 65,535 bytes: usually short and from the input, rarely long.
fn binary<'a>(u: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    match u.arbitrary::<u8>()? {
        LONG.. => Ok(long_text(u)?.as_bytes()),
        _ => some_bytes(u),
    }
}

/// A byte from this value on selects a long text: about one in a hundred.
const LONG: u8 = 253;

/// Takes up to 40 bytes of the input.
fn some_bytes<'a>(u: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let len: usize = u.int_in_range(0..=40)?;
    u.bytes(len.min(u.len()))
}

/// A text of 65,535 bytes, of characters of one to four bytes that are all allowed in topics.
#[allow(clippy::indexing_slicing)] // evaluated at compile time
static LONG_TEXT: [u8; MAX_LEN] = {
    const PATTERN: &[u8] = "level/\u{e9}/\u{6e29}/\u{1f321}".as_bytes();
    let mut bytes = [b'.'; MAX_LEN];
    let mut at = 0;
    // Whole patterns only, so that no character is cut.
    while at < MAX_LEN / PATTERN.len() * PATTERN.len() {
        bytes[at] = PATTERN[at % PATTERN.len()];
        at += 1;
    }
    bytes
};

/// Makes a text of up to 65,535 bytes; short ones are more frequent than long ones.
fn long_text(u: &mut Unstructured<'_>) -> Result<&'static str> {
    let len: u16 = u.int_in_range(1..=u16::MAX)?;
    let len = usize::from(len >> u.int_in_range(0..=9)?);
    Ok(well_formed_prefix(LONG_TEXT.get(..len).unwrap_or_default()))
}

/// Makes a text that `check` accepts: from the input, from `words`, or a long one. Returns `default` if there is none.
fn text<'a, T>(
    u: &mut Unstructured<'a>,
    words: &[&'static str],
    default: T,
    check: impl Fn(&'a str) -> Result<T, TopicError>,
) -> Result<T> {
    let text = match u.arbitrary::<u8>()? {
        LONG.. => long_text(u)?,
        128..LONG => *u.choose(words)?,
        _ => well_formed_prefix(some_bytes(u)?),
    };
    // The part before the first error is usually valid.
    let prefix = |error: TopicError| check(text.get(..error.at).unwrap_or_default());
    Ok(check(text).or_else(prefix).unwrap_or(default))
}

fn well_formed_prefix(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

/// Texts at the edges of the rules: lengths around those of a machine word, characters of each size, and code points
/// that a receiver may refuse (section 1.5.4).
#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "", "a", "ab", "abc", "abcd", "1234567", "12345678", "123456789", "123456789abcdef", "123456789abcdef0", " ", "~", "+", "#",
    "\u{e9}", "e\u{301}", "\u{6e29}\u{5ea6}", "\u{1f321}", "1234567\u{e9}", "\u{e9}1234567", "\u{feff}", "\u{1}", "\u{1f}",
    "\u{7f}", "\u{80}", "\u{9f}", "\u{d7ff}", "\u{e000}", "\u{fdd0}", "\u{ffff}", "\u{10ffff}",
];

#[rustfmt::skip]
const NAMES: &[&str] = &[
    "a", "/", "//", "/a", "a/", "a//b", "a/b/c", "home/kitchen/temp", "12345678", "1234567/9", " ", "$", "$SYS/broker", "a/$b",
    "$share", "$share/g/a", "$share/", "\u{e9}/\u{6e29}\u{5ea6}", "\u{1f321}/a", "\u{feff}", "\u{1}", "\u{ffff}",
];

#[rustfmt::skip]
const FILTERS: &[&str] = &[
    "a", "/", "a/b", "#", "+", "/#", "+/", "/+", "+/+", "+/#", "a/#", "a/+", "a/+/c", "+/b/#", "home/+/temp", "1234567/#",
    "12345678/+/a", "$SYS/#", "$share", "$SHARE/g/a", "$share/g/a", "$share/g/#", "$share/g/+/b", "$share/g//", "$share/g/$SYS/a",
    "$share/\u{e9}/\u{6e29}\u{5ea6}/+", "\u{1f321}/+/\u{e9}", "\u{1}/#", "\u{ffff}",
];

impl<'a> Arbitrary<'a> for Utf8Str<'a> {
    /// Makes any valid text; a few are long. It borrows from the input, or is static.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        text(u, TEXTS, Self::default(), |text| Ok(Self::new(text)?))
    }
}

impl<'a> Arbitrary<'a> for TopicName<'a> {
    /// Makes a name of at least one character.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        text(u, NAMES, Self::validated(b"t"), Self::new)
    }
}

impl<'a> Arbitrary<'a> for TopicFilter<'a> {
    /// Makes a filter that is valid in every version; some are shared.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        text(u, FILTERS, Self::validated(b"t"), Self::new)
    }
}

impl<'a> Arbitrary<'a> for SubscriptionIdentifier {
    /// Makes an identifier; each of the four sizes on the wire is frequent.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let shift: u32 = u.int_in_range(0..=27)?;
        let id = u.int_in_range(1..=Self::MAX)? >> shift;
        Self::new(id.max(1)).map_err(|_| Error::IncorrectFormat)
    }
}

impl<'a> Arbitrary<'a> for UserProperty<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { name: u.arbitrary()?, value: u.arbitrary()? })
    }
}

impl<'a> Arbitrary<'a> for Subscription<'a> {
    /// Makes a subscription of 5.0, with any options.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        subscription(u, Version::V5)
    }
}

/// Makes a subscription with the options of a version. A shared one has no No Local \[MQTT-3.8.3-4\].
fn subscription<'a>(u: &mut Unstructured<'a>, version: Version) -> Result<Subscription<'a>> {
    let filter: TopicFilter<'a> = u.arbitrary()?;
    let has_options = version == Version::V5;
    Ok(Subscription {
        filter,
        qos: u.arbitrary()?,
        no_local: has_options && filter.share_name().is_none() && u.arbitrary()?,
        retain_as_published: has_options && u.arbitrary()?,
        retain_handling: if has_options { u.arbitrary()? } else { RetainHandling::default() },
    })
}
