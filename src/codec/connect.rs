//! CONNECT (section 3.1).

use core::fmt;

use super::auth;
use super::error::FieldError;
use super::field::Field;
use super::packet_type::PacketType;
use super::property::{ConnectProperties, WillProperties};
use super::reader::{Context, Reader};
use super::sink::{Body, Sink};
use super::types::QoS;
use super::version::Version;
use super::violation::Violation;
use crate::escaped::Escaped;
use crate::redacted::Redacted;
use crate::text::Utf8Str;
use crate::topic::{TopicErrorKind, TopicName};

/// CONNECT: a client asks to be connected.
///
/// ```
/// # use mqtt_sansio::codec::{Connect, Will};
/// # use mqtt_sansio::{TopicName, Utf8Str, Version};
/// # #[cfg(feature = "alloc")] {
/// let connect = Connect {
///     client_identifier: Utf8Str::new("thermo-7")?,
///     keep_alive: 60,
///     will: Some(Will { topic: TopicName::new("home/thermo-7/state")?, payload: b"lost", ..Will::default() }),
///     ..Connect::default()
/// };
/// let mut out = Vec::new();
/// connect.encode(connect.version, &mut out)?;
/// # assert_eq!(connect.version, Version::V5);
/// # }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Connect<'a> {
    /// The version in the packet itself. Encoding in another version is an error.
    pub version: Version,
    /// Whether the client is a bridge, that is another server: it sets the highest bit of the protocol level (0x83,
    /// 0x84 or 0x85). Default: false.
    ///
    /// The bit is no part of any version of MQTT; it is a convention of mosquitto and other servers. It asks a server
    /// of 3.1 or 3.1.1 to treat every subscription of the client as one with No Local and Retain As Published. In 5.0
    /// these are subscription options, and the bit has no effect.
    pub is_bridge: bool,
    /// Whether to discard an existing session (Clean Start). In 3.1 and 3.1.1 (Clean Session) the new session ends with
    /// the connection, too.
    pub clean_start: bool,
    /// The Keep Alive, in seconds: the longest time between two packets of the client. 0: no limit (section 3.1.2.10).
    pub keep_alive: u16,
    /// The Client Identifier, which identifies the session. If it is empty, the server assigns one: not in 3.1, and in
    /// 3.1.1 only with `clean_start` \[3.1.1: MQTT-3.1.3-7\]. The text of 3.1 limits it to 23 characters; longer ones
    /// are decoded and encoded, because clients of 3.1 use them.
    pub client_identifier: Utf8Str<'a>,
    /// The message that the server publishes after the connection has ended, unless it ended by a DISCONNECT with
    /// Normal disconnection.
    pub will: Option<Will<'a>>,
    /// The User Name.
    pub user_name: Option<Utf8Str<'a>>,
    /// The Password: a password or another credential. Before 5.0 it requires a user name \[3.1.1: MQTT-3.1.2-22\].
    /// `Debug` prints its length only.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serialize::optional_binary::serialize"))]
    pub password: Option<&'a [u8]>,
    /// The properties; empty before 5.0.
    pub properties: ConnectProperties<'a>,
}

/// The Will Message of a CONNECT (section 3.1.2.5).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Will<'a> {
    /// The Will Topic.
    pub topic: TopicName<'a>,
    /// The Will Payload (5.0) or Will Message (3.1, 3.1.1).
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serialize::binary::serialize"))]
    pub payload: &'a [u8],
    /// The Will QoS.
    pub qos: QoS,
    /// Will Retain: whether the message is published as a retained message.
    pub retain: bool,
    /// The Will Properties; empty before 5.0.
    pub properties: WillProperties<'a>,
}

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// The bit of the protocol level that a bridge sets.
const BRIDGE: u8 = 0b1000_0000;

/// The version and the bridge bit, from the protocol name and protocol level of a CONNECT.
#[derive(Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) version: Version,
    pub(crate) is_bridge: bool,
}

/// The error of a CONNECT whose protocol name and protocol level are not those of a supported version.
pub(crate) struct UnsupportedProtocol {
    pub(crate) error: FieldError,
    /// The version that determines the form of the CONNACK; `None` if the protocol level is missing.
    pub(crate) answer: Option<Version>,
}

impl<'a> Connect<'a> {
    /// Reads the protocol name and protocol level, which determine how the rest is read.
    #[inline(always)]
    pub(crate) fn read_protocol(reader: &mut Reader<'a>) -> Result<Protocol, UnsupportedProtocol> {
        let (version, level, size) = match *reader.rest() {
            [0, 4, b'M', b'Q', b'T', b'T', level @ (4 | 0x84), ..] => (Version::V311, level, 7),
            [0, 4, b'M', b'Q', b'T', b'T', level @ (5 | 0x85), ..] => (Version::V5, level, 7),
            [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level @ (3 | 0x83), ..] => (Version::V31, level, 9),
            _ => return Err(unsupported_protocol(reader.clone())),
        };
        reader.skip(size);
        Ok(Protocol { version, is_bridge: level & BRIDGE != 0 })
    }

    /// Reads the fields after the protocol level.
    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, context: Context, is_bridge: bool) -> Result<Self, FieldError> {
        let version = context.version;
        let disallowed = context.limits.disallowed_code_points;
        let flags = used_flags(reader.u8(Field::ConnectFlags)?, version);
        if let Some(violation) = check_flags(flags, version) {
            return Err(FieldError::new(reader.offset_before(1), Field::ConnectFlags, violation));
        }
        let keep_alive = reader.u16(Field::KeepAlive)?;
        let at_properties = reader.clone();
        let properties = ConnectProperties::read(reader, Field::PropertyLength, context)?;
        let clean_start = flags & CLEAN_START != 0;
        let client_identifier = reader.string(Field::ClientIdentifier, disallowed)?;
        if client_identifier.is_empty() && !may_be_anonymous(version, clean_start) {
            let at = reader.offset_before(2);
            return Err(FieldError::new(at, Field::ClientIdentifier, Violation::EmptyClientIdentifier));
        }
        let will = if flags & WILL != 0 { Some(Will::read(reader, flags, context)?) } else { None };
        // In 3.1 the Remaining Length takes precedence over the flags: user name and password may be missing although
        // their flags are set.
        let may_be_missing = version == Version::V31;
        let user_name = if flags & USER_NAME != 0 && !(may_be_missing && reader.is_empty()) {
            Some(reader.string(Field::UserName, disallowed)?)
        } else {
            None
        };
        let password = if flags & PASSWORD != 0 && !(may_be_missing && reader.is_empty()) {
            Some(reader.binary(Field::Password)?)
        } else {
            None
        };
        reader.finish()?;
        auth::check(properties.authentication_method, properties.authentication_data, at_properties)?;
        Ok(Self {
            version,
            is_bridge,
            clean_start,
            keep_alive,
            client_identifier,
            will,
            user_name,
            password,
            properties,
        })
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let will = self.will.map_or(0, |will| WILL | will.qos.value() << 3 | flag(will.retain, WILL_RETAIN));
        flag(self.clean_start, CLEAN_START)
            | will
            | flag(self.user_name.is_some(), USER_NAME)
            | flag(self.password.is_some(), PASSWORD)
    }
}

impl<'a> Will<'a> {
    #[inline(always)]
    fn read(reader: &mut Reader<'a>, flags: u8, context: Context) -> Result<Self, FieldError> {
        let properties = WillProperties::read(reader, Field::WillPropertyLength, context)?;
        let topic = reader.full_topic_name(Field::WillTopic, context.limits.disallowed_code_points)?;
        let payload = reader.binary(Field::WillPayload)?;
        let qos = QoS::from_value(flags >> 3 & 0b11).unwrap_or_default(); // the flags have been checked: never 3
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
    }
}

/// Returns the error of an unsupported protocol name and level.
#[cold]
fn unsupported_protocol(mut reader: Reader<'_>) -> UnsupportedProtocol {
    let start = reader.offset();
    let name = match reader.binary(Field::ProtocolName) {
        Ok(name) => name,
        Err(error) => return UnsupportedProtocol { error, answer: None },
    };
    let level = reader.u8(Field::ProtocolVersion);
    let answer = level.as_ref().ok().map(|&level| answer_form(name, level));
    let error = match level {
        _ if !matches!(name, b"MQTT" | b"MQIsdp") => {
            FieldError::new(start, Field::ProtocolName, Violation::UnknownProtocolName)
        }
        Ok(_) => {
            FieldError::new(reader.offset_before(1), Field::ProtocolVersion, Violation::UnsupportedProtocolVersion)
        }
        Err(error) => error,
    };
    UnsupportedProtocol { error, answer }
}

/// Returns the version that determines the form of the CONNACK for a client of an unsupported version.
///
/// CONNACK has the form of 5.0 only for a level above 5. A client with a lower level, or with the bridge bit,
/// understands the form of 3.1.1, and may try a lower level after return code 0x01 \[3.1.1: MQTT-3.1.2-2\].
fn answer_form(name: &[u8], level: u8) -> Version {
    let is_new = name != b"MQIsdp" && level >= Version::V5.level() && level & BRIDGE == 0;
    if is_new { Version::V5 } else { Version::V311 }
}

/// The form of the CONNACK for a CONNECT of which only the beginning may have been received.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    /// The protocol level has been received: CONNACK has the form of this version.
    Version(Version),
    /// The protocol level has not been received yet.
    NotYet,
    /// The packet has no protocol level.
    Unreadable,
}

/// Finds the protocol level of the CONNECT at the start of `input`, whatever other errors the packet has.
#[cfg(feature = "alloc")]
pub(crate) fn answer_form_of(input: &[u8]) -> AnswerForm {
    let Some((_, rest)) = input.split_first() else { return AnswerForm::NotYet };
    // A Remaining Length with too many bytes is malformed, but its size is still known.
    let size = match rest.iter().take(4).position(|&byte| byte < 0x80) {
        Some(last) => last.saturating_add(1),
        None if rest.len() < 4 => return AnswerForm::NotYet,
        None => return AnswerForm::Unreadable,
    };
    let Some((length, body)) = rest.split_at_checked(size) else { return AnswerForm::NotYet };
    let length = length.iter().rev().fold(0_usize, |length, &byte| length << 7 | usize::from(byte & 0x7F));
    let received = body.get(..length).unwrap_or(body);
    match Connect::read_protocol(&mut Reader::new(received, received.len())) {
        Ok(protocol) => AnswerForm::Version(protocol.version),
        Err(UnsupportedProtocol { answer: Some(version), .. }) => AnswerForm::Version(version),
        Err(UnsupportedProtocol { answer: None, .. }) if received.len() < length => AnswerForm::NotYet,
        Err(UnsupportedProtocol { answer: None, .. }) => AnswerForm::Unreadable,
    }
}

/// Prints all fields. Only the length of the password is printed, because `Debug` output ends up in logs.
impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            is_bridge,
            clean_start,
            keep_alive,
            client_identifier,
            will,
            user_name,
            password,
            properties,
        } = self;
        f.debug_struct("Connect")
            .field("version", version)
            .field("is_bridge", is_bridge)
            .field("clean_start", clean_start)
            .field("keep_alive", keep_alive)
            .field("client_identifier", client_identifier)
            .field("will", will)
            .field("user_name", user_name)
            .field("password", &password.map(Redacted))
            .field("properties", properties)
            .finish()
    }
}

/// Prints all fields. The payload is printed as escaped text, cut after 64 bytes.
impl fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, retain, properties } = self;
        f.debug_struct("Will")
            .field("topic", topic)
            .field("payload", &Escaped(payload))
            .field("qos", qos)
            .field("retain", retain)
            .field("properties", properties)
            .finish()
    }
}

/// Returns whether the client identifier may be empty, so that the server assigns one.
const fn may_be_anonymous(version: Version, clean_start: bool) -> bool {
    match version {
        Version::V31 => false,
        Version::V311 => clean_start,
        Version::V5 => true,
    }
}

/// Clears the connect flags that the version does not use.
///
/// The text of 3.1 calls the lowest bit unused, and disregards Will QoS and Will Retain without the Will Flag. Later
/// versions have rules for all of them \[MQTT-3.1.2-3, MQTT-3.1.2-11, MQTT-3.1.2-13\].
#[inline(always)]
const fn used_flags(flags: u8, version: Version) -> u8 {
    match version {
        Version::V31 if flags & WILL == 0 => flags & !(RESERVED | WILL_QOS | WILL_RETAIN),
        Version::V31 => flags & !RESERVED,
        Version::V311 | Version::V5 => flags,
    }
}

#[inline(always)]
fn check_flags(flags: u8, version: Version) -> Option<Violation> {
    let will_qos = flags >> 3 & 0b11;
    if flags & RESERVED != 0 {
        Some(Violation::ReservedConnectFlag)
    } else if will_qos == 3 {
        Some(Violation::QoS3)
    } else if flags & WILL == 0 && will_qos != 0 {
        Some(Violation::WillQoSWithoutWill)
    } else if flags & WILL == 0 && flags & WILL_RETAIN != 0 {
        Some(Violation::WillRetainWithoutWill)
    } else if version != Version::V5 && flags & (USER_NAME | PASSWORD) == PASSWORD {
        Some(Violation::PasswordWithoutUserName)
    } else {
        None
    }
}

impl Body for Connect<'_> {
    const TYPE: PacketType = PacketType::Connect;

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.properties.is_empty() && self.will.is_none_or(|will| will.properties.is_empty())
    }

    #[inline(always)]
    fn write<S: Sink>(&self, version: Version, out: &mut S) {
        out.require_absent(|| self.version == version, Field::ProtocolVersion);
        out.require(
            || version == Version::V5 || self.password.is_none() || self.user_name.is_some(),
            Field::ConnectFlags,
            Violation::PasswordWithoutUserName,
        );
        let (flags, [high, low]) = (self.flags(), self.keep_alive.to_be_bytes());
        let level = version.level() | if self.is_bridge { BRIDGE } else { 0 };
        match version {
            Version::V31 => out.array([0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, flags, high, low]),
            _ => out.array([0, 4, b'M', b'Q', b'T', b'T', level, flags, high, low]),
        }
        out.properties(version, Field::Properties, &self.properties);
        auth::require_method(self.properties.authentication_method, self.properties.authentication_data, out);
        out.require(
            || !self.client_identifier.is_empty() || may_be_anonymous(version, self.clean_start),
            Field::ClientIdentifier,
            Violation::EmptyClientIdentifier,
        );
        out.binary(Field::ClientIdentifier, self.client_identifier.as_bytes());
        if let Some(will) = &self.will {
            out.properties(version, Field::WillProperties, &will.properties);
            out.require(|| !will.topic.is_empty(), Field::WillTopic, Violation::Text(TopicErrorKind::Empty));
            out.binary(Field::WillTopic, will.topic.as_bytes());
            out.binary(Field::WillPayload, will.payload);
        }
        if let Some(user_name) = self.user_name {
            out.binary(Field::UserName, user_name.as_bytes());
        }
        if let Some(password) = self.password {
            out.binary(Field::Password, password);
        }
    }
}
