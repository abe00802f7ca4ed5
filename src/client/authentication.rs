//! Enhanced authentication (section 4.12).
//!
//! The session checks which endpoint has to take the next step, and that the authentication method stays the same. It
//! does not interpret the authentication data.

use super::action::Action;
use super::session::ClientSession;
use crate::codec::{Auth, AuthReasonCode};
use crate::session::{AuthenticateError, Exchange, Phase, ProtocolError};
use crate::text::Utf8Str;
use crate::time::Instant;

impl ClientSession {
    /// Sends the client's next step of an enhanced authentication, when the server waits for one: AUTH with Continue
    /// authentication \[MQTT-4.12.0-3\].
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::NoAuthentication`] if the server does not wait for a step; [`AuthenticateError::TooLarge`] if the
    /// packet exceeds the server's Maximum Packet Size.
    pub fn authenticate(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.engine.advance(now);
        if self.exchange != Exchange::Ours || !self.engine.phase.takes_input() {
            return Err(AuthenticateError::NoAuthentication);
        }
        self.send_auth(AuthReasonCode::ContinueAuthentication, data)?;
        if self.engine.phase == Phase::Opening {
            self.keep_alive.ask(self.engine.now, self.engine.ahead());
        }
        Ok(())
    }

    /// Begins a re-authentication, by the method of CONNECT \[MQTT-4.12.1-1\]. Messages are exchanged meanwhile. An
    /// [`Action::Auth`] with Success reports that the re-authentication is complete; a failure ends the connection.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::NotConnected`] if there is no connection; [`AuthenticateError::NoAuthentication`] if CONNECT had no
    /// Authentication Method \[MQTT-4.12.0-7\], or if an authentication is in progress; [`AuthenticateError::TooLarge`] if
    /// the packet exceeds the server's Maximum Packet Size.
    pub fn reauthenticate(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.engine.advance(now);
        if self.engine.phase != Phase::Open {
            return Err(AuthenticateError::NotConnected);
        }
        if self.exchange != Exchange::Idle {
            return Err(AuthenticateError::NoAuthentication);
        }
        self.send_auth(AuthReasonCode::ReAuthenticate, data)
    }

    fn send_auth(&mut self, reason_code: AuthReasonCode, data: &[u8]) -> Result<(), AuthenticateError> {
        let authentication = self.config.authentication.as_deref().ok_or(AuthenticateError::NoAuthentication)?;
        let (version, limit) = (self.engine.version, self.server.maximum_packet_size);
        self.engine.transmit.put_auth(version, &authentication.method, reason_code, data, limit)?;
        self.exchange = Exchange::Theirs;
        Ok(())
    }

    /// Handles AUTH from the server.
    #[cold]
    pub(super) fn receive_auth<'a>(&mut self, auth: Auth<'a>) -> Action<'a> {
        let Some(authentication) = self.config.authentication.as_deref() else {
            return self.protocol_error(ProtocolError::UnexpectedAuth);
        };
        // The short form of Success has no properties, and so no method (section 3.15.2.1).
        let method = auth.properties.authentication_method.map(Utf8Str::as_bytes);
        let is_short = auth.reason_code == AuthReasonCode::Success && auth.properties.is_empty();
        if method != Some(authentication.method.as_bytes()) && !is_short {
            return self.protocol_error(ProtocolError::AuthenticationMethodChanged);
        }
        self.exchange = match (auth.reason_code, self.exchange) {
            (AuthReasonCode::ContinueAuthentication, Exchange::Theirs) => Exchange::Ours,
            // Before CONNACK, AUTH with Success is a Protocol Error: CONNACK reports the success.
            (AuthReasonCode::Success, Exchange::Theirs) if self.engine.phase == Phase::Open => Exchange::Idle,
            _ => return self.protocol_error(ProtocolError::UnexpectedAuth),
        };
        if self.engine.phase == Phase::Opening {
            // The server waits for the client: no timeout runs until the client has answered.
            self.keep_alive.received(self.engine.now);
        }
        Action::Auth(auth)
    }
}
