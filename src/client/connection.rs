//! The start and the end of a client's connection.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::action::{Action, Close, Connected, Resumption};
use super::error::{OpenError, ReconfigureError};
use super::server::ServerLimits;
use super::session::ClientSession;
use crate::codec::{
    ConnAck, ConnAckReasonCode, Connect, ConnectProperties, Disconnect, Field, List, PropertyId, Version,
};
use crate::session::{
    DisconnectError, Exchange, InvalidText, Journal, JournalError, KeepAlive, Phase, ProtocolError, Record, Restored,
    SMALLEST_PACKET_SIZE, SessionExpiry, user_properties,
};
use crate::text::Utf8Str;
use crate::time::Instant;

impl ClientSession {
    /// Starts a connection on a connected transport: puts CONNECT into [`transmit`](Self::transmit).
    ///
    /// # Errors
    ///
    /// [`OpenError::AlreadyOpen`] if the last connection has not been [`closed`](Self::closed);
    /// [`OpenError::Text`] and [`OpenError::Encode`] if the configuration cannot be encoded.
    pub fn open(&mut self, now: Instant) -> Result<(), OpenError> {
        if self.engine.phase != Phase::Closed {
            return Err(OpenError::AlreadyOpen);
        }
        let asked_clean = match self.engine.version {
            Version::V5 => self.config.clean_start && !self.has_session,
            Version::V31 | Version::V311 => self.config.clean_start,
        };
        self.encode_connect(asked_clean)?;
        self.engine.advance(now);
        self.asked_clean = asked_clean;
        self.keep_alive = KeepAlive::new(None, self.engine.now);
        self.noticed_at = self.engine.now;
        self.engine.phase = Phase::Opening;
        self.exchange = if self.config.authentication.is_some() { Exchange::Theirs } else { Exchange::Idle };
        self.await_server();
        Ok(())
    }

    /// Starts the timeout for the server's next step towards CONNACK. The time counts from when the last packet in the
    /// output has been written.
    pub(super) fn await_server(&mut self) {
        self.keep_alive.received(self.engine.now);
        self.keep_alive.ask(self.engine.now, self.engine.ahead());
    }

    fn encode_connect(&mut self, clean_start: bool) -> Result<(), OpenError> {
        let (config, version) = (&self.config, self.engine.version);
        let is_v5 = version == Version::V5;
        let text = |text, field| Utf8Str::new(text).map_err(InvalidText::of(field));
        let own_user_properties = user_properties(&config.user_properties)?;
        let authentication = config.authentication.as_deref();
        let properties = ConnectProperties {
            session_expiry_interval: Some(config.session_expiry_interval.value())
                .filter(|&seconds| is_v5 && seconds != 0),
            authentication_method: authentication
                .map(|it| text(&it.method, Field::Property(PropertyId::AuthenticationMethod)))
                .transpose()?,
            authentication_data: authentication.and_then(|it| it.data.as_deref()),
            request_problem_information: (!config.request_problem_information).then_some(false),
            request_response_information: config.request_response_information.then_some(true),
            receive_maximum: Some(config.receive_maximum).filter(|it| is_v5 && it.get() != u16::MAX),
            topic_alias_maximum: Some(config.topic_alias_maximum).filter(|&maximum| is_v5 && maximum != 0),
            user_properties: List::from(&own_user_properties),
            maximum_packet_size: config.maximum_packet_size.filter(|_| is_v5),
        };
        let will = config.will.as_deref();
        let will_user_properties = will.map_or(Ok(Vec::new()), |will| user_properties(&will.user_properties))?;
        let connect = Connect {
            version,
            is_bridge: false,
            clean_start,
            keep_alive: config.keep_alive.map_or(0, NonZeroU16::get),
            client_identifier: text(&config.client_id, Field::ClientIdentifier)?,
            will: will.map(|will| will.encodable(&will_user_properties)).transpose()?,
            user_name: config.user_name.as_deref().map(|name| text(name, Field::UserName)).transpose()?,
            password: config.password.as_deref(),
            properties,
        };
        self.engine.transmit.encode(u32::MAX, |out| connect.encode(version, out))?;
        Ok(())
    }

    /// Ends the connection, because the transport is gone, or is closed because of [`Action::Close`].
    ///
    /// The state of the session is preserved: messages in flight are sent again by the next connection that resumes the
    /// session. QoS 1 and QoS 2 messages of which no byte was written, unanswered SUBSCRIBE and UNSUBSCRIBE packets (up
    /// to [`max_request_tries`](super::ClientConfig::max_request_tries)), and everything that was queued are sent by
    /// the next connection even if it begins a new session. A QoS 0 message in the output whose last byte was not
    /// written ends with [`AbandonReason::Connection`](crate::AbandonReason::Connection). [`poll`](Self::poll) reports
    /// the outcomes.
    ///
    /// If the transport could not be connected at all, this only lengthens the next [`backoff`](Self::backoff).
    pub fn closed(&mut self, now: Instant) {
        if self.engine.phase == Phase::Closed {
            return self.backoff.failed(false);
        }
        self.engine.advance(now);
        let was_established = core::mem::take(&mut self.established);
        let lasted = seconds(self.engine.now).wrapping_sub(self.established_at);
        self.backoff.failed(was_established && lasted >= u32::from(self.config.backoff_reset));
        self.engine.closed(self.config.max_request_tries);
        self.exchange = Exchange::Idle;
        // The session ends with its connection [MQTT-3.1.2-23; 3.1.1: MQTT-3.1.2-6].
        if was_established && !self.server.session_expiry_interval.outlives_connection() {
            self.forget_session();
        }
        self.server = ServerLimits::UNKNOWN;
    }

    fn forget_session(&mut self) {
        self.engine.forget();
        self.identifiers = None;
        if core::mem::take(&mut self.has_session) {
            self.engine.record(Record::SessionGone);
        }
    }

    /// Handles a CONNACK that was due.
    pub(super) fn receive_connack<'a>(&mut self, connack: ConnAck<'a>) -> Action<'a> {
        if connack.reason_code != ConnAckReasonCode::Success {
            return self.over(Close::Refused(connack));
        }
        let method = self.config.authentication.as_deref().map(|it| it.method.as_bytes());
        if method != connack.properties.authentication_method.map(Utf8Str::as_bytes) {
            return self.protocol_error(ProtocolError::AuthenticationMethodChanged);
        }
        if connack.session_present && self.asked_clean {
            return self.protocol_error(ProtocolError::UnexpectedSession);
        }
        // Before 5.0 a session does not expire, or it ends with its connection.
        let session_expiry_interval = match self.engine.version {
            Version::V5 => self.config.session_expiry_interval,
            Version::V31 | Version::V311 if self.asked_clean => SessionExpiry::WITH_CONNECTION,
            Version::V31 | Version::V311 => SessionExpiry::NEVER,
        };
        let server = ServerLimits::new(&connack.properties, self.config.keep_alive, session_expiry_interval);
        self.server = server;
        if server.maximum_packet_size < SMALLEST_PACKET_SIZE {
            return self.protocol_error(ProtocolError::MaximumPacketSizeTooSmall);
        }
        // CONNACK of 3.1 has no Session Present flag: the session is present unless the client has asked for a new one.
        let is_present = connack.session_present || (self.engine.version == Version::V31 && !self.asked_clean);
        let session = match (is_present, self.has_session) {
            (true, _) => Resumption::Resumed,
            (false, true) => Resumption::Lost,
            (false, false) => Resumption::New,
        };
        if !is_present {
            self.forget_session();
            self.knows_identifiers = true;
        } else if !self.has_session {
            self.knows_identifiers = false;
        }
        if !core::mem::replace(&mut self.has_session, true) {
            self.engine.record(Record::SessionBegun);
        }
        if let (true, Some(assigned)) =
            (self.config.client_id.is_empty(), connack.properties.assigned_client_identifier)
        {
            self.config.client_id = assigned.as_str().into();
            self.engine.record(Record::ClientIdentifier(assigned.as_bytes()));
        }
        (self.established, self.established_at) = (true, seconds(self.engine.now));
        self.exchange = Exchange::Idle;
        self.keep_alive = KeepAlive::new(server.keep_alive, self.engine.now);
        self.engine.opened(server.topic_alias_maximum.min(self.config.topic_aliases));
        self.engine.release_again();
        Action::Connected(Connected { session, server, properties: connack.properties })
    }

    /// Puts DISCONNECT into [`transmit`](Self::transmit); nothing follows it \[MQTT-3.14.4-1\]. The next action is
    /// [`Close::Requested`], after which the caller writes the output and closes the transport.
    ///
    /// With TCP, shut down the writing direction and read until the server has closed. Closing at once while received
    /// bytes are unread resets the connection: the server may never see DISCONNECT, and publishes the will.
    ///
    /// With the reason code Normal disconnection, and before 5.0, the server discards the will. Properties that would
    /// make the packet too large for the server are omitted \[MQTT-3.14.2-3, MQTT-3.14.2-4\]. A session expiry interval
    /// replaces that of CONNECT.
    ///
    /// # Errors
    ///
    /// [`DisconnectError::NotConnected`] if there is no connection; [`DisconnectError::SessionExpiry`] for a session expiry
    /// interval other than 0 if CONNECT had none; [`DisconnectError::Encode`] if the packet cannot be encoded in this
    /// version; [`DisconnectError::TooLarge`] if it exceeds the server's Maximum Packet Size.
    pub fn disconnect(&mut self, now: Instant, disconnect: &Disconnect<'_>) -> Result<(), DisconnectError> {
        self.engine.advance(now);
        if !self.engine.phase.takes_input() {
            return Err(DisconnectError::NotConnected);
        }
        let expiry = disconnect.properties.session_expiry_interval;
        if expiry.is_some_and(|seconds| seconds != 0) && !self.config.session_expiry_interval.outlives_connection() {
            return Err(DisconnectError::SessionExpiry);
        }
        self.engine.put_disconnect(disconnect, self.server.maximum_packet_size)?;
        if let Some(seconds) = expiry {
            self.server.session_expiry_interval = SessionExpiry::after(seconds);
        }
        self.engine.phase = Phase::Closing;
        Ok(())
    }

    /// Restores a client session after a crash, from the same configuration and all bytes that were ever taken from its
    /// [`journal`](Self::journal).
    ///
    /// Cut off the bytes after the [whole records](Journal::whole_len) before appending more. Messages keep their
    /// tokens. A client identifier in the journal replaces that of the configuration. Message expiry intervals start
    /// again at `now`.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if the bytes are not a journal. A journal whose last record is incomplete is accepted.
    pub fn restore(config: super::ClientConfig, journal: &[u8], now: Instant) -> Result<Self, JournalError> {
        let mut client = Self::new(config);
        let mut restored = Restored::read(journal, client.engine.version)?;
        if let Some(Ok(id)) = restored.client_identifier.take().map(alloc::string::String::from_utf8) {
            client.config.client_id = id;
        }
        client.has_session = restored.has_session;
        client.engine.restore(now, restored);
        Ok(client)
    }

    /// Returns the records that describe the present state of the session: a short journal that replaces a long one.
    ///
    /// Take the snapshot when [`journal`](Self::journal) is empty, and store it before any further records from the
    /// journal.
    pub fn snapshot(&self) -> Journal {
        let id = self.config.client_id.as_bytes();
        let session = self.has_session.then_some([Record::ClientIdentifier(id), Record::SessionBegun]);
        Journal::of(self.engine.version, session.into_iter().flatten().chain(self.engine.records()))
    }

    /// Discards the session. Every message in flight has the outcome
    /// [`AbandonReason::Session`](crate::AbandonReason::Session). The next connection asks for a new session:
    /// `clean_start` is set in the configuration. Messages and requests that are queued stay queued for it.
    ///
    /// # Errors
    ///
    /// [`ReconfigureError::AlreadyOpen`] while there is a connection.
    pub fn discard_session(&mut self) -> Result<(), ReconfigureError> {
        if self.engine.phase != Phase::Closed {
            return Err(ReconfigureError::AlreadyOpen);
        }
        self.forget_session();
        self.config.clean_start = true;
        Ok(())
    }

    /// Replaces the configuration for the following connections, for instance with a new password or another will.
    ///
    /// Another `client_id` identifies another session: the present session is discarded, as if the server had lost it.
    /// An empty `client_id` stands for the present one. `journal` is ignored.
    ///
    /// # Errors
    ///
    /// [`ReconfigureError::AlreadyOpen`] while there is a connection; [`ReconfigureError::OtherVersion`] if the version
    /// differs.
    pub fn reconfigure(&mut self, mut config: super::ClientConfig) -> Result<(), ReconfigureError> {
        if self.engine.phase != Phase::Closed {
            return Err(ReconfigureError::AlreadyOpen);
        }
        if config.version != self.engine.version {
            return Err(ReconfigureError::OtherVersion);
        }
        if config.client_id.is_empty() {
            config.client_id = core::mem::take(&mut self.config.client_id);
        } else if config.client_id != self.config.client_id {
            self.forget_session();
            self.engine.record(Record::ClientIdentifier(config.client_id.as_bytes()));
        }
        self.config = config;
        Ok(())
    }
}

/// Returns the time in seconds. 32 bits, with wrap-around, are sufficient to measure how long a connection has lasted.
const fn seconds(at: Instant) -> u32 {
    (at.as_micros() / 1_000_000) as u32
}
