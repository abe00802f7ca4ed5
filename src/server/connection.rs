//! The end of an accepted client's connection, the expiry of its session, and re-authentication.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::action::{Action, Close};
use super::session::{Marked, ServerSession};
use crate::codec::{Auth, AuthReasonCode, Disconnect, DisconnectReasonCode, ReasonCode, Version};
use crate::session::{AuthenticateError, DisconnectError, Exchange, Phase, ProtocolError, SessionExpiry};
use crate::text::Utf8Str;
use crate::time::Instant;

impl ServerSession {
    /// Ends the connection. For a client of 5.0, DISCONNECT is put into [`transmit`](Self::transmit); earlier versions
    /// have no DISCONNECT of the server. The next action is [`Close::Requested`], after which the caller writes the
    /// output and closes the transport. The will of the client will be published.
    ///
    /// Properties that would make the packet too large for the client are omitted \[MQTT-3.14.2-3, MQTT-3.14.2-4\].
    ///
    /// # Errors
    ///
    /// [`DisconnectError::NotConnected`] if there is no connection; [`DisconnectError::SessionExpiry`] for a session expiry
    /// interval, which only a client may send \[MQTT-3.14.2-2\]; [`DisconnectError::ClientOnly`] for Disconnect with Will
    /// Message; [`DisconnectError::Encode`] if the packet cannot be encoded; [`DisconnectError::TooLarge`] if it exceeds the
    /// client's Maximum Packet Size.
    pub fn disconnect(&mut self, now: Instant, disconnect: &Disconnect<'_>) -> Result<(), DisconnectError> {
        self.engine.advance(now);
        if self.engine.phase != Phase::Open {
            return Err(DisconnectError::NotConnected);
        }
        if disconnect.properties.session_expiry_interval.is_some() {
            return Err(DisconnectError::SessionExpiry);
        }
        if disconnect.reason_code == DisconnectReasonCode::DisconnectWithWillMessage {
            return Err(DisconnectError::ClientOnly);
        }
        if self.engine.version == Version::V5 {
            self.engine.put_disconnect(disconnect, self.client.maximum_packet_size)?;
        }
        self.engine.phase = Phase::Closing;
        Ok(())
    }

    /// Ends the connection because another connection of the same client takes the session over; in 5.0 DISCONNECT
    /// reports it \[MQTT-3.1.4-3\]. Once the transport is closed, the new connection can be
    /// [accepted](super::Acceptor::accept) into the session.
    ///
    /// # Errors
    ///
    /// [`DisconnectError::NotConnected`] if there is no connection.
    pub fn take_over(&mut self, now: Instant) -> Result<(), DisconnectError> {
        let reason_code = DisconnectReasonCode::SessionTakenOver;
        self.disconnect(now, &Disconnect { reason_code, ..Disconnect::default() })
    }

    /// Ends the session: together with its connection if it has one, which this does not close, or else at once. Then
    /// the will is published, unless DISCONNECT has discarded it, and queued and in-flight messages are abandoned.
    /// [`poll`](Self::poll) reports all that, and [`Action::Expired`] last.
    pub fn end(&mut self, now: Instant) {
        self.engine.advance(now);
        self.session_expiry_interval = SessionExpiry::WITH_CONNECTION;
        self.max_session_expiry_interval = SessionExpiry::WITH_CONNECTION;
        if self.engine.phase == Phase::Closed {
            self.expires_at = self.engine.now;
            if let Some(kept) = &mut self.will {
                kept.at = kept.at.min(self.engine.now);
            }
        }
    }

    /// Ends the connection, because the transport is gone, or is closed because of [`Action::Close`]. Does nothing if
    /// there is no connection.
    ///
    /// The state of the session is stored until the session expires, and messages in flight are sent again when the
    /// client resumes it. The will, unless DISCONNECT has discarded it, is published when its delay has passed or the
    /// session ends, whichever is first.
    pub fn closed(&mut self, now: Instant) {
        if self.engine.phase.is_closed() {
            return;
        }
        self.engine.advance(now);
        self.engine.closed(None);
        if !self.config.keep_qos_0 {
            self.engine.drop_unacknowledged();
        }
        self.authentication = None;
        self.requests = None;
        self.connection = self.connection.wrapping_add(1);
        let now = self.engine.now;
        self.expires_at = self.session_expiry_interval.counted_from(now);
        if let Some(kept) = &mut self.will {
            kept.at = now.after_seconds(kept.will.delay_interval).min(self.expires_at);
        }
    }

    /// Discards the state of the session: abandons all messages, except the marked ones that another session may still
    /// deliver, which it returns.
    pub(super) fn forget(&mut self) -> Vec<Marked> {
        let version = self.engine.version;
        let marked = self.engine.take_marked();
        self.engine.forget();
        self.engine.forget_waiting();
        marked.into_iter().map(|message| Marked { version, message }).collect()
    }

    /// Handles a will, or the end of the session, that is due.
    #[cold]
    pub(super) fn check_end<'a>(&mut self) -> Option<Action<'a>> {
        if self.will.as_ref().is_some_and(|kept| kept.at <= self.engine.now) {
            return self.will.take().map(|kept| Action::Will(Box::new(kept.will)));
        }
        if self.expires_at <= self.engine.now {
            let marked = self.forget();
            self.engine.put_back_marked(marked.into_iter().map(|marked| marked.message).collect());
            if self.engine.has_report() {
                return self.engine.next_report(); // `Expired` follows the last report
            }
            self.expires_at = Instant::NEVER;
            self.engine.phase = Phase::Expired;
            return Some(Action::Expired);
        }
        None
    }

    /// Returns whether the session can still be resumed if its connection, if it has one, ends at this time.
    pub(crate) fn outlives_connection(&self, now: Instant) -> bool {
        match self.engine.phase {
            Phase::Closed | Phase::Expired => !self.is_expired(now),
            Phase::Opening | Phase::Open | Phase::Closing | Phase::Over => {
                self.session_expiry_interval.outlives_connection()
            }
        }
    }

    /// Returns whether the session has no connection and has expired at this time.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.engine.phase == Phase::Expired || (self.engine.phase == Phase::Closed && self.expires_at <= now)
    }

    pub(super) fn receive_disconnect<'a>(&mut self, disconnect: Disconnect<'a>) -> Action<'a> {
        if let Some(seconds) = disconnect.properties.session_expiry_interval {
            if seconds != 0 && self.asked_no_expiry {
                return self.protocol_error(ProtocolError::SessionExpiry);
            }
            self.session_expiry_interval = SessionExpiry::after(seconds).min(self.max_session_expiry_interval);
        }
        // Only Normal disconnection discards the will [MQTT-3.14.4-3].
        if disconnect.reason_code == DisconnectReasonCode::NormalDisconnection {
            self.will = None;
        }
        self.over(Close::Disconnected(disconnect))
    }

    /// Ends the connection because of a Protocol Error of the client.
    #[cold]
    pub(super) fn protocol_error<'a>(&mut self, protocol_error: ProtocolError) -> Action<'a> {
        self.engine.tell(protocol_error.reason_code(), self.client.maximum_packet_size);
        self.over(Close::ProtocolError(protocol_error))
    }

    #[cold]
    pub(super) fn time_out<'a>(&mut self) -> Action<'a> {
        self.engine.tell(ReasonCode::KeepAliveTimeout, self.client.maximum_packet_size);
        self.over(Close::KeepAliveTimeout)
    }

    pub(super) fn over<'a>(&mut self, why: Close<'a>) -> Action<'a> {
        self.engine.phase = Phase::Over;
        Action::Close(why)
    }

    /// Sends the server's next step of a re-authentication: AUTH with Continue authentication \[MQTT-4.12.0-2\].
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::NoAuthentication`] if the client does not wait for a step; [`AuthenticateError::TooLarge`] if the
    /// packet exceeds the client's Maximum Packet Size.
    pub fn challenge(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.engine.advance(now);
        self.send_auth(AuthReasonCode::ContinueAuthentication, data, Exchange::Theirs)
    }

    /// Completes a re-authentication that has succeeded: sends AUTH with Success. After a failure call
    /// [`disconnect`](Self::disconnect) instead \[MQTT-4.12.1-2\].
    ///
    /// # Errors
    ///
    /// As [`challenge`](Self::challenge).
    pub fn authenticated(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.engine.advance(now);
        self.send_auth(AuthReasonCode::Success, data, Exchange::Idle)
    }

    fn send_auth(&mut self, reason_code: AuthReasonCode, data: &[u8], next: Exchange) -> Result<(), AuthenticateError> {
        let is_connected = self.engine.phase == Phase::Open;
        let authentication = self.authentication.as_mut().filter(|it| is_connected && it.exchange == Exchange::Ours);
        let authentication = authentication.ok_or(AuthenticateError::NoAuthentication)?;
        let limit = self.client.maximum_packet_size;
        self.engine.transmit.put_auth(Version::V5, &authentication.method, reason_code, data, limit)?;
        authentication.exchange = next;
        Ok(())
    }

    /// Handles AUTH from the client: the start of a re-authentication, or the answer to a challenge.
    #[cold]
    pub(super) fn receive_auth<'a>(&mut self, auth: Auth<'a>) -> Action<'a> {
        let Some(authentication) = &mut self.authentication else {
            return self.protocol_error(ProtocolError::UnexpectedAuth);
        };
        let method = auth.properties.authentication_method.map(Utf8Str::as_bytes);
        if method != Some(authentication.method.as_bytes()) {
            return self.protocol_error(ProtocolError::AuthenticationMethodChanged);
        }
        authentication.exchange = match (auth.reason_code, authentication.exchange) {
            (AuthReasonCode::ReAuthenticate, Exchange::Idle)
            | (AuthReasonCode::ContinueAuthentication, Exchange::Theirs) => Exchange::Ours,
            _ => return self.protocol_error(ProtocolError::UnexpectedAuth),
        };
        Action::Auth(auth)
    }
}
