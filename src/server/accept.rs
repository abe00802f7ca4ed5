//! The acceptance of a client: the properties of CONNACK, and the start or resumption of the session.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;

use super::config::ServerConfig;
use super::error::AcceptError;
use super::state::ClientLimits;
use crate::codec::{
    ConnAck, ConnAckProperties, ConnAckReasonCode, EncodeError, Field, MAX_PACKET_SIZE, PropertyId, Version,
};
use crate::redacted::Redacted;
use crate::session::{InvalidText, SessionExpiry, Transmit, Will, trim, user_properties};
use crate::text::Utf8Str;

/// The settings with which a client is accepted: what CONNACK contains beyond the [configuration](super::ServerConfig)
/// and the values that the client has asked for. The default adds nothing. All settings are for 5.0 only, except
/// `assigned_client_id`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// The client identifier that the server assigns to a client without one (Assigned Client Identifier). Default:
    /// `None`. A client of 5.0 without a client identifier must be assigned one \[MQTT-3.1.3-6\]; for a client of 3.1.1
    /// it is used, but not sent. It is ignored if CONNECT has a client identifier.
    pub assigned_client_id: Option<String>,
    /// The keep-alive interval that replaces the requested one, in seconds (Server Keep Alive); 0 turns the keep-alive
    /// mechanism off. Default: `None`, the requested one, or
    /// [`max_keep_alive`](super::ServerConfig::max_keep_alive) if the requested one is longer or absent.
    pub server_keep_alive: Option<u16>,
    /// The session expiry interval that replaces the requested one (Session Expiry Interval). Default: `None`, the
    /// requested one, or [`max_session_expiry_interval`](super::ServerConfig::max_session_expiry_interval) if that is
    /// shorter.
    pub session_expiry_interval: Option<SessionExpiry>,
    /// The basis for response topics (Response Information). Default: `None`. It is sent only to a client that has
    /// asked for it \[MQTT-3.1.2-28\].
    pub response_information: Option<String>,
    /// Another server that the client may use (Server Reference). Default: `None`.
    pub server_reference: Option<String>,
    /// The last data of an enhanced authentication (Authentication Data). Default: `None`. `Debug` prints their length
    /// alone.
    pub authentication_data: Option<Vec<u8>>,
    /// A diagnostic text for people (Reason String). Default: `None`. It is omitted if it would make CONNACK too large
    /// for the client.
    pub reason_string: Option<String>,
    /// Names and values of the user properties (User Property). Default: none. They are omitted if they would make
    /// CONNACK too large for the client.
    pub user_properties: Vec<(String, String)>,
}

impl Accept {
    /// Returns whether all fields are absent whose size varies.
    fn has_no_texts(&self) -> bool {
        self.assigned_client_id.is_none()
            && self.response_information.is_none()
            && self.server_reference.is_none()
            && self.authentication_data.is_none()
            && self.reason_string.is_none()
            && self.user_properties.is_empty()
    }
}

/// Prints all fields; the authentication data are redacted, because the output of `Debug` ends up in logs.
impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            assigned_client_id,
            server_keep_alive,
            session_expiry_interval,
            response_information,
            server_reference,
            authentication_data,
            reason_string,
            user_properties,
        } = self;
        f.debug_struct("Accept")
            .field("assigned_client_id", assigned_client_id)
            .field("server_keep_alive", server_keep_alive)
            .field("session_expiry_interval", session_expiry_interval)
            .field("response_information", response_information)
            .field("server_reference", server_reference)
            .field("authentication_data", &authentication_data.as_deref().map(Redacted))
            .field("reason_string", reason_string)
            .field("user_properties", user_properties)
            .finish()
    }
}

/// The contents of CONNECT, stored until the client is accepted or refused.
pub(super) struct Pending {
    pub(super) version: Version,
    pub(super) is_bridge: bool,
    pub(super) clean_start: bool,
    pub(super) keep_alive: u16,
    pub(super) client_id: Box<str>,
    pub(super) user_name: Option<Box<str>>,
    pub(super) will: Option<Box<Will>>,
    pub(super) session_expiry_interval: SessionExpiry,
    pub(super) client: ClientLimits,
    pub(super) method: Option<Box<str>>,
    pub(super) wants_response_information: bool,
}

impl Pending {
    /// Returns the size in bytes on the heap, with the box.
    #[allow(dead_code, reason = "for a router: see `routing`")]
    pub(super) fn heap(&self) -> usize {
        let texts = [Some(&self.client_id), self.user_name.as_ref(), self.method.as_ref()];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        let will = self.will.as_ref().map_or(0, |will| will.heap().saturating_add(core::mem::size_of::<Will>()));
        texts.fold(will.saturating_add(core::mem::size_of::<Self>()), usize::saturating_add)
    }
}

/// The intervals that CONNACK grants.
pub(super) struct GrantedIntervals {
    pub(super) keep_alive: u16,
    pub(super) session_expiry_interval: SessionExpiry,
}

impl GrantedIntervals {
    pub(super) fn new(config: &ServerConfig, pending: &Pending, accept: &Accept) -> Self {
        let asked = pending.keep_alive;
        if pending.version != Version::V5 {
            // No packet can tell the client another keep-alive interval; an interval that is too long has been refused.
            // Nor does a packet report the session expiry interval, so a shorter one is applied.
            let session_expiry_interval = pending.session_expiry_interval.min(config.max_session_expiry_interval);
            return Self { keep_alive: asked, session_expiry_interval };
        }
        let granted =
            config.max_keep_alive.filter(|_| config.is_keep_alive_too_long(asked)).map_or(asked, NonZeroU16::get);
        let keep_alive = accept.server_keep_alive.unwrap_or(granted);
        let session_expiry_interval = accept
            .session_expiry_interval
            .unwrap_or(pending.session_expiry_interval.min(config.max_session_expiry_interval));
        Self { keep_alive, session_expiry_interval }
    }

    /// Puts the CONNACK of an accepted client into the output.
    pub(super) fn put_connack(
        &self,
        transmit: &mut Transmit,
        config: &ServerConfig,
        pending: &Pending,
        accept: &Accept,
        session_present: bool,
    ) -> Result<(), AcceptError> {
        let version = pending.version;
        if version != Version::V5 {
            let connack =
                ConnAck { session_present: session_present && version == Version::V311, ..ConnAck::default() };
            transmit.encode(u32::MAX, |out| connack.encode(version, out))?;
            return Ok(());
        }
        let connack = self.connack(config, pending, accept, session_present)?;
        let limit = pending.client.maximum_packet_size;
        if put_connack(transmit, &connack, limit)? { Ok(()) } else { Err(AcceptError::TooLarge { limit }) }
    }

    /// Checks that the CONNACK of an accepted client can be encoded, and is not too large for the client.
    pub(super) fn check_connack(
        &self,
        config: &ServerConfig,
        pending: &Pending,
        accept: &Accept,
    ) -> Result<(), AcceptError> {
        if pending.version != Version::V5 {
            return Ok(()); // CONNACK has no properties
        }
        /// More than the size of a CONNACK without texts and data.
        const SHORT: u32 = 128;
        if pending.client.maximum_packet_size >= SHORT && pending.method.is_none() && accept.has_no_texts() {
            return Ok(());
        }
        let connack = self.connack(config, pending, accept, true)?;
        let limit = pending.client.maximum_packet_size;
        let fits = trim_connack(&connack, |connack| Ok(connack.encoded_len(Version::V5)? <= limit as usize))?;
        if fits { Ok(()) } else { Err(AcceptError::TooLarge { limit }) }
    }

    /// Returns the CONNACK of 5.0, with all its properties.
    #[inline]
    fn connack<'a>(
        &self,
        config: &ServerConfig,
        pending: &'a Pending,
        accept: &'a Accept,
        session_present: bool,
    ) -> Result<ConnAck<'a>, AcceptError> {
        let (asked_keep_alive, asked_expiry) = (pending.keep_alive, pending.session_expiry_interval);
        let properties = ConnAckProperties {
            session_expiry_interval: Some(self.session_expiry_interval)
                .filter(|&granted| granted != asked_expiry)
                .map(SessionExpiry::value),
            assigned_client_identifier: text(
                accept.assigned_client_id.as_deref().filter(|_| pending.client_id.is_empty()),
                PropertyId::AssignedClientIdentifier,
            )?,
            server_keep_alive: Some(self.keep_alive).filter(|&seconds| seconds != asked_keep_alive),
            authentication_method: text(pending.method.as_deref(), PropertyId::AuthenticationMethod)?,
            authentication_data: accept.authentication_data.as_deref().filter(|_| pending.method.is_some()),
            response_information: text(
                accept.response_information.as_deref().filter(|_| pending.wants_response_information),
                PropertyId::ResponseInformation,
            )?,
            server_reference: text(accept.server_reference.as_deref(), PropertyId::ServerReference)?,
            reason_string: text(accept.reason_string.as_deref(), PropertyId::ReasonString)?,
            receive_maximum: Some(config.receive_maximum).filter(|maximum| maximum.get() != u16::MAX),
            topic_alias_maximum: Some(config.topic_alias_maximum).filter(|&maximum| maximum != 0),
            maximum_qos: config.announced_qos(),
            retain_available: (!config.retain_available).then_some(false),
            user_properties: user_properties(&accept.user_properties)?,
            maximum_packet_size: config.maximum_packet_size.filter(|size| size.get() < MAX_PACKET_SIZE),
            wildcard_subscription_available: (!config.wildcard_subscription_available).then_some(false),
            subscription_identifiers_available: (!config.subscription_identifiers_available).then_some(false),
            shared_subscription_available: (!config.shared_subscription_available).then_some(false),
        };
        Ok(ConnAck { session_present, reason_code: ConnAckReasonCode::Success, properties })
    }
}

/// Puts a CONNACK of 5.0 into the output, without the reason string and user properties that would make it too large.
/// Returns whether that was enough.
pub(super) fn put_connack(transmit: &mut Transmit, connack: &ConnAck<'_>, limit: u32) -> Result<bool, EncodeError> {
    trim_connack(connack, |connack| {
        transmit.encode(limit, |out| connack.encode(Version::V5, out)).map(|packet| packet.is_some())
    })
}

/// Removes the reason string and user properties of a CONNACK until it `fits`; returns whether it does.
#[inline]
fn trim_connack(
    connack: &ConnAck<'_>,
    mut fits: impl FnMut(&ConnAck<'_>) -> Result<bool, EncodeError>,
) -> Result<bool, EncodeError> {
    let properties = &connack.properties;
    trim(properties.reason_string.is_some(), properties.user_properties, |with_reason, user_properties| {
        let reason_string = properties.reason_string.filter(|_| with_reason);
        let properties = ConnAckProperties { reason_string, user_properties, ..*properties };
        fits(&ConnAck { properties, ..*connack })
    })
}

fn text(text: Option<&str>, id: PropertyId) -> Result<Option<Utf8Str<'_>>, InvalidText> {
    text.map(Utf8Str::new).transpose().map_err(InvalidText::of(Field::Property(id)))
}
