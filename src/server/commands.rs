//! The commands of a server session: publishing, acknowledging, answering, authenticating, and the end of the
//! connection or the session.

use alloc::vec::Vec;

use super::config::ServerConfig;
use super::error::AnswerError;
use super::request::{Kind, RequestId};
use super::session::ServerSession;
use super::state::{Phase, State};
use crate::codec::{
    AckProperties, AuthReasonCode, Disconnect, DisconnectReasonCode, List, Packet, PacketId, PubAckReasonCode, SubAck,
    SubAckReasonCode, UnsubAck, UnsubAckReasonCode, Version,
};
use crate::session::{
    AckError, AckHandle, AuthenticateError, DisconnectError, Endpoint, Exchange, Message, Operation, Peer,
    PublishError, Restored, ServerRecord, SessionExpiry, Token, UnknownToken, trim,
};
use crate::store::{Batch, RestoreError, RestoreErrorKind};
use crate::sync::Arc;
use crate::time::Instant;

impl ServerSession {
    /// Publishes a message to the client. The session sends it at once if possible; otherwise it is queued until there
    /// is a connection, the client's Receive Maximum allows it, or enough of the output is written.
    ///
    /// [`Action::Done`](super::Action::Done) with the token reports the outcome. Messages of the same QoS are sent in
    /// the order in which they were published.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotConnected`] for a QoS 0 message without a connection, unless
    /// [`store_qos_0`](super::ServerConfig::store_qos_0) is set, and for any message if the session has expired.
    /// [`PublishError::TooLarge`] if the message exceeds the client's Maximum Packet Size on this connection: the
    /// delivery counts as complete \[MQTT-3.1.2-25\]. Without a connection the message is stored, and the limit of the
    /// next connection applies. [`PublishError::QueueFull`] if no more messages can be stored. [`PublishError::Topic`]
    /// and [`PublishError::Encode`] if the message cannot be encoded in this version; [`PublishError::TopicAlias`] for
    /// a topic alias, which the caller must not set. After an error the session is unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let token = session.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    ///
    /// let mut input = &b"\x40\x02\x00\x01"[..]; // PUBACK
    /// while let Some(action) = session.poll(now, &mut input) {
    ///     match action {
    ///         Action::Done { token: done, outcome } if done == token => assert!(outcome.is_success()),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # assert_eq!(session.in_flight(), 0);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline]
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Token, PublishError> {
        self.engine.advance(now);
        if matches!(self.state, State::Expired) {
            return Err(PublishError::NotConnected);
        }
        let (engine, mut peer) = self.split();
        engine.publish(&mut peer, message)
    }

    /// Withdraws the message with this token. Its outcome is
    /// [`AbandonReason::Withdrawn`](crate::AbandonReason::Withdrawn), reported by the next [`poll`](Self::poll).
    ///
    /// A queued message is not sent. A message that was sent is not sent again, but its packet identifier stays in use,
    /// and counts against the client's Receive Maximum, until the client completes the delivery on this connection;
    /// after that, until the session ends. A QoS 2 message that the client has received is released in any case
    /// \[MQTT-4.3.3-4\].
    ///
    /// # Errors
    ///
    /// [`UnknownToken`] if the outcome is known already, or if the message is a QoS 0 message in the
    /// output.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::{AbandonReason, Instant, Message, Outcome, QoS};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let token = session.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// session.withdraw(now, token)?;
    /// let outcome = Outcome::Abandoned(AbandonReason::Withdrawn);
    /// assert_eq!(session.poll_timeout(now), Some(Action::Done { token, outcome }));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn withdraw(&mut self, now: Instant, token: Token) -> Result<(), UnknownToken> {
        self.engine.advance(now);
        self.engine.withdraw(token)
    }

    /// Returns the number of connections on which a message has been sent, the present one included. A message counts
    /// even if it was sent only in part, and whether or not it has arrived. `None` if no message with this token is
    /// queued, in flight or in the output.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let token = session.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// # let sent = session.transmit().remaining();
    /// # session.transmit().advance(sent);
    /// assert_eq!(session.tries(token), Some(1)); // once it is written
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn tries(&self, token: Token) -> Option<u16> {
        self.engine.tries(token)
    }

    /// Returns the packet identifier of a message that waits for its [manual](super::ServerConfig::manual_acks)
    /// acknowledgement. `None` if the message is acknowledged, or arrived on an earlier connection.
    ///
    /// If the connection is lost before the acknowledgement and the session is resumed, the client sends the message
    /// again with the same packet identifier \[MQTT-4.4.0-1\], and until then uses it for no other message
    /// \[MQTT-2.2.1-3\]. An application that still works on the message recognises it by the packet identifier, and
    /// acknowledges it with the new handle.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig { manual_acks: true, ..ServerConfig::default() }, now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo\x32\x08\0\x01t\0\x09\x0021"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # while let Some(action) = session.poll(now, &mut input) {
    /// #     let Action::Message(message) = action else { continue };
    /// let handle = message.ack_handle.expect("QoS 1, with manual acknowledgements");
    /// assert_eq!(session.packet_id(handle).map(|id| id.get()), Some(9));
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn packet_id(&self, ack_handle: AckHandle) -> Option<PacketId> {
        self.engine.unacknowledged_id(ack_handle)
    }

    /// Acknowledges a message, with [manual](super::ServerConfig::manual_acks) acknowledgements. Acknowledgements are
    /// sent in the order in which the messages arrived: an early one waits for the acknowledgements before it
    /// \[MQTT-4.6.0-2, MQTT-4.6.0-3\].
    ///
    /// A reason code of 0x80 or above refuses the message in 5.0. Before 5.0 no reason code is sent, and the message is
    /// acknowledged like any other \[3.1.1: MQTT-3.3.5-2\].
    ///
    /// # Errors
    ///
    /// [`AckError::EarlierConnection`] if the message arrived on an earlier connection: the client sends it again
    /// if the session is resumed. [`AckError::AlreadyAcknowledged`] if the message is acknowledged already.
    /// [`AckError::NotConnected`] if the connection is about to be closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::codec::PubAckReasonCode;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// let mut acceptor = Acceptor::new(ServerConfig { manual_acks: true, ..ServerConfig::default() }, now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo\x32\x08\0\x01t\0\x09\x0021"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # let sent = session.transmit().remaining();
    /// # session.transmit().advance(sent);
    /// while let Some(action) = session.poll(now, &mut input) {
    ///     let Action::Message(message) = action else { continue };
    ///     if let Some(handle) = message.ack_handle { // now, or when the message has been handled
    ///         session.ack(now, handle, PubAckReasonCode::Success)?;
    ///     }
    /// }
    /// assert_eq!(session.transmit().chunk(), b"\x40\x02\x00\x09"); // PUBACK
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn ack(&mut self, now: Instant, ack_handle: AckHandle, reason_code: PubAckReasonCode) -> Result<(), AckError> {
        self.ack_with(now, ack_handle, reason_code, &AckProperties::default())
    }

    /// Acknowledges a message as [`ack`](Self::ack) does, with properties; 5.0 only. Properties are omitted if the
    /// client does not want them \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.4.2-2,
    /// MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3\].
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and [`AckError::Encode`] if the properties cannot be encoded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::{AckProperties, PubAckReasonCode};
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::{Instant, Utf8Str};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig { manual_acks: true, ..ServerConfig::default() }, now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo\x32\x08\0\x01t\0\x09\x0021"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # while let Some(action) = session.poll(now, &mut input) {
    /// #     let Action::Message(message) = action else { continue };
    /// #     let handle = message.ack_handle.expect("manual acknowledgements");
    /// let reason_string = Some(Utf8Str::new("no such device")?);
    /// let properties = AckProperties { reason_string, ..AckProperties::default() };
    /// session.ack_with(now, handle, PubAckReasonCode::NotAuthorized, &properties)?;
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn ack_with(
        &mut self,
        now: Instant,
        ack_handle: AckHandle,
        reason_code: PubAckReasonCode,
        properties: &AckProperties<'_>,
    ) -> Result<(), AckError> {
        self.engine.advance(now);
        let none = AckProperties::default();
        let properties = if self.state.client().wants_problem_information { properties } else { &none };
        let (engine, peer) = self.split();
        engine.ack(&peer.limits(), ack_handle, reason_code, properties)
    }

    /// Answers a SUBSCRIBE, with one reason code for each topic filter, in order \[MQTT-3.8.4-6, MQTT-3.9.3-1\].
    ///
    /// # Errors
    ///
    /// [`AnswerError::EarlierConnection`] if the request arrived on an earlier connection; it is void.
    /// [`AnswerError::AlreadyAnswered`] if the request is answered already; [`AnswerError::WrongReasonCodeCount`]
    /// if the request has another number of topic filters; [`AnswerError::Encode`] for a reason code that the version
    /// does not have; [`AnswerError::TooLarge`] if the answer exceeds the client's Maximum Packet Size;
    /// [`AnswerError::NotConnected`] if the connection is about to be closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::SubAckReasonCode;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let mut input = &b"\x82\x09\x00\x01\x00\x00\x03a/b\x01"[..]; // SUBSCRIBE
    /// while let Some(action) = session.poll(now, &mut input) {
    ///     let Action::Subscribe(request) = action else { continue };
    ///     let codes: Vec<_> = request.subscriptions.iter().map(|asked| SubAckReasonCode::from(asked.qos)).collect();
    ///     session.suback(now, request.id, &codes)?; // each is granted the QoS that it asks for
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn suback(&mut self, now: Instant, request: RequestId, codes: &[SubAckReasonCode]) -> Result<(), AnswerError> {
        self.suback_with(now, request, codes, &AckProperties::default())
    }

    /// Answers a SUBSCRIBE as [`suback`](Self::suback) does, with properties; 5.0 only. Properties are omitted if the
    /// client does not want them \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.9.2-1,
    /// MQTT-3.9.2-2\].
    ///
    /// # Errors
    ///
    /// As [`suback`](Self::suback).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::{AckProperties, SubAckReasonCode};
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::{Instant, Utf8Str};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # let mut input = &b"\x82\x09\x00\x01\x00\x00\x03a/b\x01"[..]; // SUBSCRIBE
    /// # while let Some(action) = session.poll(now, &mut input) {
    /// #     let Action::Subscribe(request) = action else { continue };
    /// let properties = AckProperties { reason_string: Some(Utf8Str::new("read only")?), ..AckProperties::default() };
    /// let codes = vec![SubAckReasonCode::NotAuthorized; request.subscriptions.len()];
    /// session.suback_with(now, request.id, &codes, &properties)?;
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn suback_with(
        &mut self,
        now: Instant,
        request: RequestId,
        codes: &[SubAckReasonCode],
        properties: &AckProperties<'_>,
    ) -> Result<(), AnswerError> {
        self.engine.advance(now);
        let (id, reason_codes) = (request.packet_id(), codes.into());
        self.check_request(request, Kind::Subscribe(codes.len() as u32))?;
        self.answer(request, properties, |properties| SubAck { id, reason_codes, properties }.into())
    }

    /// Answers an UNSUBSCRIBE, with one reason code for each topic filter, in order \[MQTT-3.11.3-1\]. Before 5.0 the
    /// reason codes are not sent.
    ///
    /// # Errors
    ///
    /// As [`suback`](Self::suback).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::UnsubAckReasonCode;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let mut input = &b"\xa2\x08\x00\x01\x00\x00\x03a/b"[..]; // UNSUBSCRIBE
    /// while let Some(action) = session.poll(now, &mut input) {
    ///     let Action::Unsubscribe(request) = action else { continue };
    ///     let codes: Vec<_> = request.filters.iter().map(|_| UnsubAckReasonCode::Success).collect();
    ///     session.unsuback(now, request.id, &codes)?;
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn unsuback(
        &mut self,
        now: Instant,
        request: RequestId,
        codes: &[UnsubAckReasonCode],
    ) -> Result<(), AnswerError> {
        self.unsuback_with(now, request, codes, &AckProperties::default())
    }

    /// Answers an UNSUBSCRIBE as [`unsuback`](Self::unsuback) does, with properties; 5.0 only. Properties are omitted
    /// if the client does not want them \[MQTT-3.1.2-29\], or if they would make the packet too large \[MQTT-3.11.2-1,
    /// MQTT-3.11.2-2\].
    ///
    /// # Errors
    ///
    /// As [`suback`](Self::suback).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::{AckProperties, UnsubAckReasonCode};
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::{Instant, Utf8Str};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # let mut input = &b"\xa2\x08\x00\x01\x00\x00\x03a/b"[..]; // UNSUBSCRIBE
    /// # while let Some(action) = session.poll(now, &mut input) {
    /// #     let Action::Unsubscribe(request) = action else { continue };
    /// let reason_string = Some(Utf8Str::new("there was none")?);
    /// let properties = AckProperties { reason_string, ..AckProperties::default() };
    /// let codes = vec![UnsubAckReasonCode::NoSubscriptionExisted; request.filters.len()];
    /// session.unsuback_with(now, request.id, &codes, &properties)?;
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn unsuback_with(
        &mut self,
        now: Instant,
        request: RequestId,
        codes: &[UnsubAckReasonCode],
        properties: &AckProperties<'_>,
    ) -> Result<(), AnswerError> {
        self.engine.advance(now);
        let id = request.packet_id();
        self.check_request(request, Kind::Unsubscribe(codes.len() as u32))?;
        let reason_codes = if self.engine.version() == Version::V5 { codes.into() } else { List::EMPTY };
        self.answer(request, properties, |properties| UnsubAck { id, reason_codes, properties }.into())
    }

    fn check_request(&self, request: RequestId, answer: Kind) -> Result<(), AnswerError> {
        if !request.is_of(self.connection) {
            return Err(AnswerError::EarlierConnection);
        }
        let connection = self.state.open().ok_or(AnswerError::NotConnected)?;
        match connection.requests.as_ref().and_then(|requests| requests.get(&request.packet_id())) {
            Some(&asked) if asked == answer => Ok(()),
            Some(_) => Err(AnswerError::WrongReasonCodeCount),
            None => Err(AnswerError::AlreadyAnswered),
        }
    }

    /// Sends an answer with those properties that fit into the client's Maximum Packet Size, and removes the request.
    fn answer<'p>(
        &mut self,
        request: RequestId,
        properties: &AckProperties<'p>,
        packet: impl Fn(AckProperties<'p>) -> Packet<'p>,
    ) -> Result<(), AnswerError> {
        let client = self.state.client();
        let properties = if client.wants_problem_information { *properties } else { AckProperties::default() };
        let limit = client.maximum_packet_size;
        let fits =
            trim(properties.reason_string.is_some(), properties.user_properties, |with_reason, user_properties| {
                let reason_string = properties.reason_string.filter(|_| with_reason);
                self.engine.put_answer(&packet(AckProperties { reason_string, user_properties }), limit)
            })?;
        if !fits {
            return Err(AnswerError::TooLarge { limit });
        }
        if let Some(connection) = self.state.open_mut()
            && let Some(requests) = &mut connection.requests
        {
            requests.remove(&request.packet_id());
            if requests.is_empty() {
                connection.requests = None;
            }
        }
        Ok(())
    }

    /// Ends the connection. For a client of 5.0, DISCONNECT is put into [`transmit`](Self::transmit); earlier versions
    /// have no DISCONNECT of the server. The next action is [`Close::Requested`](super::Close::Requested), after which
    /// the caller writes the output and closes the transport. The will of the client will be published.
    ///
    /// Properties that would make the packet too large for the client are omitted \[MQTT-3.14.2-3, MQTT-3.14.2-4\].
    ///
    /// # Errors
    ///
    /// [`DisconnectError::NotConnected`] if there is no connection; [`DisconnectError::SessionExpiry`] for a session
    /// expiry interval, which only a client may send \[MQTT-3.14.2-2\]; [`DisconnectError::ClientReasonCode`] for
    /// Disconnect with Will Message; [`DisconnectError::Encode`] if the packet cannot be encoded;
    /// [`DisconnectError::TooLarge`] if it exceeds the client's Maximum Packet Size.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::{Disconnect, DisconnectReasonCode};
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, Close, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let reason_code = DisconnectReasonCode::ServerShuttingDown;
    /// session.disconnect(now, &Disconnect { reason_code, ..Disconnect::default() })?;
    /// assert_eq!(session.poll_timeout(now), Some(Action::Close(Close::Requested)));
    /// // Write `session.transmit()` to its end, and close the transport.
    /// session.closed(now);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn disconnect(&mut self, now: Instant, disconnect: &Disconnect<'_>) -> Result<(), DisconnectError> {
        self.engine.advance(now);
        if !self.is_connected() {
            return Err(DisconnectError::NotConnected);
        }
        if disconnect.properties.session_expiry_interval.is_some() {
            return Err(DisconnectError::SessionExpiry);
        }
        if disconnect.reason_code == DisconnectReasonCode::DisconnectWithWillMessage {
            return Err(DisconnectError::ClientReasonCode);
        }
        if self.engine.version() == Version::V5 {
            self.engine.put_disconnect(disconnect, self.state.client().maximum_packet_size)?;
        }
        self.state.set_phase(Phase::Closing);
        Ok(())
    }

    /// Ends the connection because another connection of the same client takes the session over; in 5.0 DISCONNECT
    /// reports it \[MQTT-3.1.4-3\]. Once the transport is closed, the new connection can be
    /// [accepted](super::Acceptor::accept) into the session.
    ///
    /// # Errors
    ///
    /// [`DisconnectError::NotConnected`] if there is no connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x00\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// session.take_over(now)?; // the same client has connected again
    /// // Write `session.transmit()` to its end, and close the old transport.
    /// session.closed(now);
    /// let session = acceptor.accept(now, session, Accept::default())?;
    /// # assert!(session.is_connected());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn take_over(&mut self, now: Instant) -> Result<(), DisconnectError> {
        let reason_code = DisconnectReasonCode::SessionTakenOver;
        self.disconnect(now, &Disconnect { reason_code, ..Disconnect::default() })
    }

    /// Ends the session: together with its connection if it has one, which this does not close, or else at once. Then
    /// the will is published, unless DISCONNECT has discarded it, and queued and in-flight messages are abandoned.
    /// [`poll`](Self::poll) reports all that, and [`Action::Expired`](super::Action::Expired) last.
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::from_micros(1_000_000);
    /// # let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// # let mut acceptor = Acceptor::new(config, now);
    /// # let mut input = &b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\x0e\x10\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// session.closed(now); // the client may come back within an hour
    /// session.end_session(now);
    /// assert_eq!(session.poll_timeout(now), Some(Action::Expired));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn end_session(&mut self, now: Instant) {
        self.engine.advance(now);
        self.session_expiry_interval = SessionExpiry::WITH_CONNECTION;
        self.max_session_expiry_interval = SessionExpiry::WITH_CONNECTION;
        if let State::Detached { expires_at, will_at } = &mut self.state {
            *expires_at = self.engine.now();
            *will_at = self.engine.now().min(*will_at);
        }
        self.store_session();
    }

    /// Ends the connection, because the transport is gone, or is closed because of
    /// [`Action::Close`](super::Action::Close). Does nothing if there is no connection.
    ///
    /// The state of the session is stored until the session expires, and messages in flight are sent again when the
    /// client resumes it. The will, unless DISCONNECT has discarded it, is published when its delay has passed or the
    /// session ends, whichever is first.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::from_micros(1_000_000);
    /// # let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// # let mut acceptor = Acceptor::new(config, now);
    /// # let mut input = &b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\x0e\x10\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// session.closed(now); // the transport was lost
    /// let expires_at = session.deadline().expect("it does not last forever"); // the client may come back until then
    /// assert_eq!(expires_at.since(now), Duration::from_secs(3600));
    /// assert_eq!(session.poll_timeout(expires_at), Some(Action::Expired));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn closed(&mut self, now: Instant) {
        if self.state.is_detached() {
            return;
        }
        self.engine.advance(now);
        self.engine.close(None);
        if !self.config.store_qos_0 {
            self.engine.drop_unacknowledged();
        }
        self.connection = self.connection.wrapping_add(1);
        let now = self.engine.now();
        let expires_at = self.session_expiry_interval.counted_from(now);
        let delay = self.will.as_ref().map_or(0, |will| will.delay_interval);
        self.state = State::Detached { expires_at, will_at: now.after_seconds(delay).min(expires_at) };
        self.store_session();
    }

    /// Returns the next batch of the changes of a [durable](super::ServerConfig::durable) session, to be stored as one
    /// transaction; `None` if all changes were returned, or if the session is not durable: it does not outlive its
    /// connection. Call it until it returns `None`, after each [`poll`](Self::poll) and each command, or after several of
    /// them, before the output is written. Changes of more than 1 MiB between two calls are more than one batch.
    ///
    /// Batches are stored in the order of their numbers, each once. Several may be under way; a batch that could not be
    /// stored is stored again, unchanged. When a batch is stored, call [`committed`](Self::committed). Sessions that
    /// share a store need keys of their own: put the same bytes before all keys of a session.
    ///
    /// The application can store its own state, which includes the subscriptions, in the same transaction: the effects of
    /// all actions that `poll` has returned, and of all commands, since `changes` last returned `None`, with all batches
    /// until the next `None` in the one transaction. Then each QoS 2 message has its effect exactly once, and no outcome is
    /// lost. Acknowledgements wait for the batch even if nothing else in the session has changed. If the
    /// application has another store, it sets
    /// [`manual_acks`](super::ServerConfig::manual_acks), and calls [`ack`](Self::ack) after it has stored the effect of
    /// a message, which it may then see a second time.
    ///
    /// After [`Action::Expired`](super::Action::Expired) the last batch removes the session.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig, ServerSession};
    /// # use mqtt_sansio::store::Pairs;
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let mut store = Pairs::default();
    /// # let now = Instant::from_micros(1_000_000);
    /// # let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// # let mut acceptor = Acceptor::new(config, now);
    /// # let mut input = &b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\x0e\x10\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// let token = session.publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// assert!(!session.transmit().has_remaining()); // CONNACK, and all behind it, waits
    /// while let Some(batch) = session.changes() {
    ///     store.apply(&batch);
    ///     session.committed(now, batch.number());
    /// }
    /// assert!(session.transmit().has_remaining());
    ///
    /// drop(session); // a crash
    /// let session = ServerSession::restore(config, now, store.iter())?.ok_or("it was stored")?;
    /// assert!(session.operations().any(|operation| operation.token == token));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn changes(&mut self) -> Option<Batch> {
        self.engine.changes()
    }

    /// Notes that all batches up to this number are stored. What has waited for them is in
    /// [`transmit`](Self::transmit) then. A number of a batch that [`changes`](Self::changes) has not returned counts as
    /// that of the last batch which it has returned.
    ///
    /// These packets wait until the changes before them are stored: CONNACK, with everything behind it, SUBACK, UNSUBACK,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, and PUBLISH of QoS 2. PUBLISH of QoS 0 and 1, PINGRESP, DISCONNECT and AUTH do
    /// not.
    ///
    /// See [`changes`](Self::changes): a batch is committed when it is stored.
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::from_micros(1_000_000);
    /// # let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// # let mut acceptor = Acceptor::new(config, now);
    /// # let mut input = &b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\x0e\x10\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// while let Some(batch) = session.changes() {
    ///     // ... the batch is stored ...
    ///     session.committed(now, batch.number());
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn committed(&mut self, now: Instant, number: u64) {
        self.engine.advance(now);
        let limits = self.limits();
        if self.engine.committed(&limits, number) {
            self.reset_keep_alive_now();
        }
        if self.engine.deliveries().has_backlog() {
            self.send_backlog(u32::MAX);
        }
    }

    /// Restores a durable session after a crash, from the pairs that its batches have put, in the order of their keys;
    /// `None` if there is no session in them. The session has no connection: pass it to
    /// [`Acceptor::accept`](super::Acceptor::accept) when the client connects.
    ///
    /// A session that was connected counts as cut at `now`: its expiry and the delay of its will begin then. The times of
    /// others are what they were. Messages have the tokens of before; [`operations`](Self::operations) returns those that
    /// have no outcome.
    ///
    /// `now` is in the same epoch before and after a crash: use Unix time, as [`StdClock`](crate::StdClock) does. If it is
    /// before the time of the last batch, because the clock was set back, time goes on from the time of that batch.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] if a pair cannot be read. A pair that refers to one that is missing is ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig, ServerSession};
    /// # use mqtt_sansio::store::Pairs;
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::from_micros(1_000_000);
    /// # let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// # let mut acceptor = Acceptor::new(config, now);
    /// # let mut input = &b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\x0e\x10\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// # let mut pairs = Pairs::default();
    /// # pairs.apply(&session.changes().ok_or("it is durable")?);
    /// let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// if let Some(session) = ServerSession::restore(config, now, pairs.iter())? {
    ///     println!("{} may come back", session.client_id());
    /// #   assert_eq!(session.client_id(), "thermo");
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        config: impl Into<Arc<ServerConfig>>,
        now: Instant,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Option<Self>, RestoreError> {
        let config = config.into();
        let Some(restored) = Restored::read(pairs)? else { return Ok(None) };
        let Some(session) = restored.session().map(Vec::from) else { return Ok(None) };
        // Only sessions of a router go on when they have ended.
        let record = ServerRecord::read(&session).filter(|record| !record.has_ended);
        let record = record.ok_or(Restored::session_error(RestoreErrorKind::Value))?;
        let (engine, wills) = restored.into_engine(record.version, config.max_uncommitted, true, now)?;
        Ok(Some(Self::restored(config, &record, engine, wills)))
    }

    /// Returns a batch that contains the present state, to begin a new store; `None` if the session is not durable.
    ///
    /// The batch takes the place of all batches that [`changes`](Self::changes) has not returned. It is
    /// [committed](Self::committed) like any other.
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::from_micros(1_000_000);
    /// # let config = ServerConfig { durable: true, ..ServerConfig::default() };
    /// # let mut acceptor = Acceptor::new(config, now);
    /// # let mut input = &b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\x0e\x10\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// if let Some(batch) = session.snapshot() {
    ///     let file = batch.to_bytes(); // the first batch of a new file, which replaces the old one
    ///     session.committed(now, batch.number());
    /// #   assert!(!file.is_empty());
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn snapshot(&mut self) -> Option<Batch> {
        let wills = self.due_wills.iter().flat_map(|wills| wills.iter()).chain(self.will.as_deref());
        self.engine.snapshot(wills)
    }

    /// Returns the messages to the client that have no outcome, queued or in flight. After a [restart](Self::restore)
    /// these are the messages of QoS 1 and 2 that were accepted before and have no outcome.
    ///
    /// The order is that of the stages: released, sent, queued. QoS 0 messages in the output are not included.
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig};
    /// # use mqtt_sansio::{Instant, Message, OperationStage, QoS};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let token = session.publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
    /// let sent = session.operations().filter(|it| it.stage == OperationStage::Sent).map(|it| it.token);
    /// assert_eq!(sent.collect::<Vec<_>>(), [token]);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        self.engine.operations()
    }

    /// Sends the server's next step of a re-authentication: AUTH with Continue authentication \[MQTT-4.12.0-2\].
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::NoAuthentication`] if the client does not wait for a step; [`AuthenticateError::TooLarge`]
    /// if the packet exceeds the client's Maximum Packet Size.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::AuthReasonCode;
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x17\0\x04MQTT\x05\x02\0\x3c\x04\x15\0\x01X\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let mut input = &b"\xf0\x06\x19\x04\x15\0\x01X\xf0\x0a\x18\x08\x15\0\x01X\x16\0\x01\x08"[..]; // AUTH, and AUTH
    /// while let Some(action) = session.poll(now, &mut input) {
    ///     let Action::Auth(auth) = action else { continue };
    ///     match auth.reason_code {
    ///         AuthReasonCode::ReAuthenticate => session.challenge(now, &[7])?,
    ///         _ => session.authenticated(now, &[])?, // the answer is right; else `disconnect`
    ///     }
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// See [`challenge`](Self::challenge). A method without a challenge is answered at once:
    ///
    /// ```
    /// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x17\0\x04MQTT\x05\x02\0\x3c\x04\x15\0\x01X\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// # let mut session = acceptor.accept(now, None, Accept::default())?;
    /// let mut input = &b"\xf0\x06\x19\x04\x15\0\x01X"[..]; // AUTH with Re-authenticate
    /// while let Some(action) = session.poll(now, &mut input) {
    ///     let Action::Auth(_) = action else { continue };
    ///     session.authenticated(now, b"welcome")?;
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn authenticated(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.engine.advance(now);
        self.send_auth(AuthReasonCode::Success, data, Exchange::Idle)
    }

    fn send_auth(&mut self, reason_code: AuthReasonCode, data: &[u8], next: Exchange) -> Result<(), AuthenticateError> {
        let connection = self.state.open_mut().ok_or(AuthenticateError::NoAuthentication)?;
        let authentication = connection.authentication.as_mut().filter(|it| it.exchange == Exchange::Ours);
        let authentication = authentication.ok_or(AuthenticateError::NoAuthentication)?;
        self.engine.put_auth(&authentication.method, reason_code, data, connection.client.maximum_packet_size)?;
        authentication.exchange = next;
        Ok(())
    }
}
