//! DISCONNECT and AUTH, which both endpoints can send in 5.0.

use super::deliveries::ack::trim;
use super::engine::Engine;
use super::error::CommandError;
use super::link::transmit::Transmit;
use crate::codec::{
    Auth, AuthProperties, AuthReasonCode, Disconnect, DisconnectProperties, DisconnectReasonCode, ReasonCode, Version,
};
use crate::text::Utf8Str;

impl Engine {
    /// Puts a DISCONNECT with this reason code into the output, in 5.0 \[MQTT-4.13.1-1\].
    pub(crate) fn tell(&mut self, code: ReasonCode, max: u32) {
        if self.version == Version::V5 {
            let reason_code = DisconnectReasonCode::try_from(code).unwrap_or(DisconnectReasonCode::ProtocolError);
            let disconnect = Disconnect { reason_code, ..Disconnect::default() };
            // A DISCONNECT that is larger than `max` is not sent.
            if let Err(error) = self.transmit.encode(max, |out| disconnect.encode(Version::V5, out)) {
                bug!("DISCONNECT has nothing that cannot be encoded: {error}");
            }
        }
    }

    /// Puts DISCONNECT into the output. Properties that would make the packet larger than `limit` bytes are left out
    /// \[MQTT-3.14.2-3, MQTT-3.14.2-4\].
    pub(crate) fn put_disconnect(&mut self, disconnect: &Disconnect<'_>, limit: u32) -> Result<(), CommandError> {
        let (version, Disconnect { reason_code, properties }) = (self.version, *disconnect);
        let has_reason = properties.reason_string.is_some();
        let fits = trim(has_reason, properties.user_properties, |with_reason, user_properties| {
            let reason_string = properties.reason_string.filter(|_| with_reason);
            let properties = DisconnectProperties { reason_string, user_properties, ..properties };
            let disconnect = Disconnect { reason_code, properties };
            self.transmit.encode(limit, |out| disconnect.encode(version, out)).map(|packet| packet.is_some())
        })?;
        if fits { Ok(()) } else { Err(CommandError::TooLarge { limit }) }
    }
}

/// The endpoint whose turn it is in an enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Idle,
    Ours,
    Theirs,
}

impl Transmit {
    /// Puts an AUTH, a step of an enhanced authentication, into the output. AUTH counts as an answer: the peer decides
    /// how many steps there are.
    pub(crate) fn put_auth(
        &mut self,
        version: Version,
        method: &str,
        reason_code: AuthReasonCode,
        data: &[u8],
        limit: u32,
    ) -> Result<(), CommandError> {
        let properties = AuthProperties {
            authentication_method: Some(Utf8Str::new(method)?),
            authentication_data: (!data.is_empty()).then_some(data),
            ..AuthProperties::default()
        };
        let auth = Auth { reason_code, properties };
        let fits = self.answer_within(limit, |out| auth.encode(version, out))?;
        if fits { Ok(()) } else { Err(CommandError::TooLarge { limit }) }
    }
}
