//! The commands of a client: connecting, publishing, subscribing, acknowledging, authenticating, disconnecting.

use core::num::NonZeroU16;

use super::config::ClientConfig;
use super::error::{OpenError, ReconfigureError};
use super::session::{ClientSession, seconds};
use super::state::State;
use crate::codec::{
    AckProperties, AuthReasonCode, Connect, ConnectProperties, Disconnect, Field, PacketId, PropertyId,
    PubAckReasonCode, SubscribeProperties, Subscription, UnsubscribeProperties, Version,
};
use crate::session::{
    AckError, AckHandle, AuthenticateError, ClientRecord, DisconnectError, Endpoint, Exchange, InvalidText, KeepAlive,
    Message, Operation, Peer, PublishError, Request, Restored, SessionExpiry, SubscribeError, Token, UnknownToken,
    Will, user_properties,
};
use crate::store::{Batch, RestoreError, RestoreErrorKind};
use crate::text::Utf8Str;
use crate::time::Instant;
use crate::topic::TopicFilter;

impl ClientSession {
    /// Starts a connection on a connected transport: puts CONNECT into [`transmit`](Self::transmit).
    ///
    /// # Errors
    ///
    /// [`OpenError::AlreadyConnected`] if the last connection has not been [`closed`](Self::closed);
    /// [`OpenError::Text`] and [`OpenError::Encode`] if the configuration cannot be encoded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// client.open(now)?;
    /// assert_eq!(client.transmit().chunk()[0], 0x10); // CONNECT, to be written
    /// assert!(client.open(now).is_err()); // until the connection is closed
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub fn open(&mut self, now: Instant) -> Result<(), OpenError> {
        if !matches!(self.state, State::Closed) {
            return Err(OpenError::AlreadyConnected);
        }
        let asked_clean = match self.engine.version() {
            Version::V5 => self.config.clean_start && !self.has_session,
            Version::V31 | Version::V311 => self.config.clean_start,
        };
        self.put_connect(asked_clean)?;
        self.engine.advance(now);
        let now = self.engine.now();
        self.noted_at = now;
        // The time for the server's answer counts from when the last byte of CONNECT has been written.
        let mut keep_alive = KeepAlive::new(None, now);
        keep_alive.ask(now, self.engine.ahead());
        let exchange = if self.config.authentication.is_some() { Exchange::Theirs } else { Exchange::Idle };
        self.state = State::Connecting { asked_clean, exchange, keep_alive };
        Ok(())
    }

    fn put_connect(&mut self, clean_start: bool) -> Result<(), OpenError> {
        let (config, version) = (&self.config, self.engine.version());
        let is_v5 = version == Version::V5;
        let text = |text, field| Utf8Str::new(text).map_err(InvalidText::of(field));
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
            user_properties: user_properties(&config.user_properties)?,
            maximum_packet_size: config.maximum_packet_size.filter(|_| is_v5),
        };
        let connect = Connect {
            version,
            is_bridge: false,
            clean_start,
            keep_alive: config.keep_alive.map_or(0, NonZeroU16::get),
            client_identifier: text(&config.client_id, Field::ClientIdentifier)?,
            will: config.will.as_deref().map(Will::encodable).transpose()?,
            user_name: config.user_name.as_deref().map(|name| text(name, Field::UserName)).transpose()?,
            password: config.password.as_deref(),
            properties,
        };
        Ok(self.engine.put_packet(&connect.into())?)
    }

    /// Ends the connection, because the transport is gone, or is closed because of
    /// [`Action::Close`](super::Action::Close).
    ///
    /// The state of the session is preserved: messages in flight are sent again by the next connection that resumes the
    /// session. QoS 1 and QoS 2 messages of which no byte was written, unanswered SUBSCRIBE and UNSUBSCRIBE packets (up
    /// to [`max_request_tries`](super::ClientConfig::max_request_tries)), and everything that was queued are sent by
    /// the next connection even if it begins a new session. A QoS 0 message in the output whose last byte was not
    /// written ends with [`AbandonReason::Connection`](crate::AbandonReason::Connection). [`poll`](Self::poll) reports
    /// the outcomes.
    ///
    /// If the transport could not be connected at all, this only lengthens the next [`backoff`](Self::backoff).
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::{AbandonReason, Instant, Message, Outcome};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// let token = client.publish(now, &Message::new("home/temp", "21.5"))?; // QoS 0, in the output
    /// client.closed(now); // the transport was lost
    /// let outcome = Outcome::Abandoned(AbandonReason::Connection);
    /// assert_eq!(client.poll_timeout(now), Some(Action::Done { token, outcome }));
    /// client.open(now)?; // after `backoff`, on another transport
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn closed(&mut self, now: Instant) {
        if matches!(self.state, State::Closed) {
            return self.backoff.failed(false);
        }
        self.engine.advance(now);
        let acceptance = self.state.acceptance().copied();
        self.state = State::Closed;
        let lasted = acceptance.map(|acceptance| seconds(self.engine.now()).wrapping_sub(acceptance.at));
        self.backoff.failed(lasted.is_some_and(|lasted| lasted >= u32::from(self.config.backoff_reset)));
        self.engine.close(self.config.max_request_tries);
        // The session ends with its connection [MQTT-3.1.2-23; 3.1.1: MQTT-3.1.2-6].
        if acceptance.is_some_and(|acceptance| !acceptance.server.session_expiry_interval.outlives_connection()) {
            self.forget_session();
        }
    }

    /// Publishes a message. The session sends it at once if possible; otherwise it is queued until there is a
    /// connection, the server's Receive Maximum allows it, or enough of the output is written.
    ///
    /// [`Action::Done`](super::Action::Done) with the token reports the outcome. Messages of the same QoS are sent in
    /// the order in which they were published.
    ///
    /// # Errors
    ///
    /// [`PublishError::Topic`] and [`PublishError::Encode`] if the message cannot be encoded in this version;
    /// [`PublishError::QueueFull`] if no more messages can be stored; with a connection, [`PublishError::TooLarge`],
    /// [`PublishError::QoSNotSupported`] and [`PublishError::RetainNotSupported`] if the server does not support the
    /// message; [`PublishError::TopicAlias`] and [`PublishError::SubscriptionIdentifier`] for properties that the
    /// caller must not set. After an error the session is unchanged, and does not store the message.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// let token = client.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    ///
    /// let mut input = &b"\x40\x02\x00\x01"[..]; // PUBACK
    /// while let Some(action) = client.poll(now, &mut input) {
    ///     match action {
    ///         Action::Done { token: done, outcome } if done == token => assert!(outcome.is_success()),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # assert_eq!(client.in_flight(), 0);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline]
    pub fn publish(&mut self, now: Instant, message: &Message<'_>) -> Result<Token, PublishError> {
        self.engine.advance(now);
        if message.has_subscription_identifiers() {
            return Err(PublishError::SubscriptionIdentifier);
        }
        let (engine, mut peer) = self.split();
        engine.publish(&mut peer, message)
    }

    /// Withdraws the operation with this token. Its outcome is
    /// [`AbandonReason::Withdrawn`](crate::AbandonReason::Withdrawn), reported by the next [`poll`](Self::poll).
    ///
    /// A queued operation is not sent. An operation that was sent cannot be revoked: the server may have received it,
    /// and a subscription that it grants nevertheless exists until the client unsubscribes. The next connection does
    /// not send a withdrawn SUBSCRIBE or UNSUBSCRIBE again. A withdrawn QoS 1 or QoS 2 message is not sent again
    /// either, but its packet identifier stays in use, and counts against the server's Receive Maximum, until the
    /// server completes the delivery on this connection; after that, until the session ends. A QoS 2 message that the
    /// server has received is released in any case \[MQTT-4.3.3-4\].
    ///
    /// # Errors
    ///
    /// [`UnknownToken`] if the outcome is known already, or if the operation is a QoS 0 message in the
    /// output.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::{AbandonReason, Instant, Message, Outcome, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// let token = client.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// client.withdraw(now, token)?;
    /// let outcome = Outcome::Abandoned(AbandonReason::Withdrawn);
    /// assert_eq!(client.poll_timeout(now), Some(Action::Done { token, outcome }));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn withdraw(&mut self, now: Instant, token: Token) -> Result<(), UnknownToken> {
        self.engine.advance(now);
        self.engine.withdraw(token)
    }

    /// Returns the number of connections on which the packet of an operation has been sent, the present one included. A
    /// packet counts even if it was sent only in part, and whether or not it has arrived. `None` if no operation with
    /// this token is queued, in flight or in the output.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// let token = client.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// assert_eq!(client.tries(token), Some(0)); // it waits for a connection
    /// client.withdraw(now, token)?;
    /// assert_eq!(client.tries(token), None);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn tries(&self, token: Token) -> Option<u16> {
        self.engine.tries(token)
    }

    /// Sends SUBSCRIBE, at once if possible; otherwise the request is queued. An unanswered request is sent again by
    /// the next connection, up to [`max_request_tries`](super::ClientConfig::max_request_tries).
    ///
    /// A request that is made on a connection is sent before all messages that are queued or to be sent again. A program
    /// that subscribes again when [`Action::Connected`](super::Action::Connected) reports a new session, before it calls
    /// [`poll`](Self::poll), has all its requests sent before the first queued message, even if
    /// [`max_stored`](super::ClientConfig::max_stored) messages are queued: no response to one of them arrives too early.
    /// A request that is made without a connection keeps its place among the messages.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Encode`] if the request cannot be encoded in this version; [`SubscribeError::QueueFull`] if no
    /// more requests can be stored; with a connection, [`SubscribeError::TooLarge`] and
    /// [`SubscribeError::NotSupported`] if the server does not support the request.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::codec::Subscription;
    /// # use mqtt_sansio::{Instant, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// let states = Subscription { no_local: true, ..Subscription::new("home/+/state", QoS::AtMostOnce)? };
    /// let token = client.subscribe(now, &[Subscription::new("home/+/set", QoS::AtLeastOnce)?, states])?;
    ///
    /// let mut input = &b"\x90\x05\x00\x01\x00\x01\x87"[..]; // SUBACK: granted with QoS 1, refused
    /// while let Some(action) = client.poll(now, &mut input) {
    ///     let Action::Done { token: done, outcome } = action else { continue };
    ///     assert_eq!((done, outcome.is_success()), (token, false));
    ///     assert_eq!(outcome.codes().map(|code| code.value()).collect::<Vec<_>>(), [0x01, 0x87]);
    /// }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn subscribe(&mut self, now: Instant, subscriptions: &[Subscription<'_>]) -> Result<Token, SubscribeError> {
        self.subscribe_with(now, subscriptions, &SubscribeProperties::default())
    }

    /// Sends SUBSCRIBE as [`subscribe`](Self::subscribe) does, with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::codec::{SubscribeProperties, Subscription, SubscriptionIdentifier};
    /// # use mqtt_sansio::{Instant, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// let subscription_identifier = Some(SubscriptionIdentifier::new(7)?); // it is in each message of the subscription
    /// let properties = SubscribeProperties { subscription_identifier, ..SubscribeProperties::default() };
    /// client.subscribe_with(now, &[Subscription::new("home/#", QoS::AtLeastOnce)?], &properties)?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn subscribe_with(
        &mut self,
        now: Instant,
        subscriptions: &[Subscription<'_>],
        properties: &SubscribeProperties<'_>,
    ) -> Result<Token, SubscribeError> {
        self.engine.advance(now);
        let request = Request::Subscribe { subscriptions: subscriptions.into(), properties: *properties };
        if self.is_connected() {
            self.server().check_subscriptions(subscriptions.iter().copied(), properties)?;
        }
        let (engine, mut peer) = self.split();
        engine.request(&mut peer, &request)
    }

    /// Sends UNSUBSCRIBE, at once if possible; otherwise the request is queued, as that of [`subscribe`](Self::subscribe).
    /// An unanswered request is sent again by the next connection, up to
    /// [`max_request_tries`](super::ClientConfig::max_request_tries).
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, TopicFilter};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// let token = client.unsubscribe(now, &[TopicFilter::new("home/+/set")?])?;
    /// println!("the outcome will have the token {token}");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn unsubscribe(&mut self, now: Instant, filters: &[TopicFilter<'_>]) -> Result<Token, SubscribeError> {
        self.unsubscribe_with(now, filters, &UnsubscribeProperties::default())
    }

    /// Sends UNSUBSCRIBE as [`unsubscribe`](Self::unsubscribe) does, with properties; 5.0 only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::codec::{UnsubscribeProperties, UserProperty};
    /// # use mqtt_sansio::{Instant, TopicFilter};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// let user_properties = [UserProperty::new("reason", "maintenance")?];
    /// let properties = UnsubscribeProperties { user_properties: (&user_properties).into(), ..Default::default() };
    /// client.unsubscribe_with(now, &[TopicFilter::new("home/+/set")?], &properties)?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn unsubscribe_with(
        &mut self,
        now: Instant,
        filters: &[TopicFilter<'_>],
        properties: &UnsubscribeProperties<'_>,
    ) -> Result<Token, SubscribeError> {
        self.engine.advance(now);
        let (engine, mut peer) = self.split();
        engine.request(&mut peer, &Request::Unsubscribe { filters: filters.into(), properties: *properties })
    }

    /// Returns the packet identifier of a message that waits for its [manual](super::ClientConfig::manual_acks)
    /// acknowledgement. `None` if the message is acknowledged, or arrived on an earlier connection.
    ///
    /// If the connection is lost before the acknowledgement and the session is resumed, the server sends the message
    /// again with the same packet identifier \[MQTT-4.4.0-1\], and until then uses it for no other message
    /// \[MQTT-2.2.1-4\]. An application that still works on the message recognises it by the packet identifier, and
    /// acknowledges it with the new handle.
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let config = ClientConfig { manual_acks: true, ..ClientConfig::default() };
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(config));
    /// # client.open(now)?;
    /// # let mut input = &b"\x20\x03\0\0\0\x32\x08\0\x01t\0\x09\x0021"[..];
    /// # while let Some(action) = client.poll(now, &mut input) {
    /// #     let Action::Message(message) = action else { continue };
    /// let handle = message.ack_handle.expect("QoS 1, with manual acknowledgements");
    /// assert_eq!(client.packet_id(handle).map(|id| id.get()), Some(9));
    /// # }
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
    pub fn packet_id(&self, ack_handle: AckHandle) -> Option<PacketId> {
        self.engine.unacknowledged_id(ack_handle)
    }

    /// Acknowledges a message, with [manual](super::ClientConfig::manual_acks) acknowledgements. Acknowledgements are
    /// sent in the order in which the messages arrived: an early one waits for the acknowledgements before it
    /// \[MQTT-4.6.0-2, MQTT-4.6.0-3\].
    ///
    /// A reason code of 0x80 or above refuses the message in 5.0. Before 5.0 no reason code is sent, and the message is
    /// acknowledged like any other.
    ///
    /// # Errors
    ///
    /// [`AckError::EarlierConnection`] if the message arrived on an earlier connection: the server sends it again
    /// if the session is resumed. [`AckError::AlreadyAcknowledged`] if the message is acknowledged already.
    /// [`AckError::NotConnected`] if the connection is about to be closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::codec::PubAckReasonCode;
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// let mut client = ClientSession::new(ClientConfig { manual_acks: true, ..ClientConfig::default() });
    /// # client.open(now)?;
    /// # let sent = client.transmit().remaining();
    /// # client.transmit().advance(sent);
    /// # let mut input = &b"\x20\x03\0\0\0\x32\x08\0\x01t\0\x09\x0021"[..];
    /// while let Some(action) = client.poll(now, &mut input) {
    ///     let Action::Message(message) = action else { continue };
    ///     if let Some(handle) = message.ack_handle { // now, or when the message has been handled
    ///         client.ack(now, handle, PubAckReasonCode::Success)?;
    ///     }
    /// }
    /// assert_eq!(client.transmit().chunk(), b"\x40\x02\x00\x09"); // PUBACK
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn ack(&mut self, now: Instant, ack_handle: AckHandle, reason_code: PubAckReasonCode) -> Result<(), AckError> {
        self.ack_with(now, ack_handle, reason_code, &AckProperties::default())
    }

    /// Acknowledges a message as [`ack`](Self::ack) does, with properties; 5.0 only. Properties that would make the
    /// packet too large for the server are omitted \[MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3\].
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack), and [`AckError::Encode`] if the properties cannot be encoded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
    /// # use mqtt_sansio::codec::{AckProperties, PubAckReasonCode};
    /// # use mqtt_sansio::{AckError, AckHandle, Instant, Utf8Str};
    /// # fn f(client: &mut ClientSession, now: Instant, handle: AckHandle) -> Result<(), Box<dyn core::error::Error>> {
    /// let reason_string = Some(Utf8Str::new("no such device")?);
    /// let properties = AckProperties { reason_string, ..AckProperties::default() };
    /// client.ack_with(now, handle, PubAckReasonCode::NotAuthorized, &properties)?;
    /// # Ok(())
    /// # }
    /// # let config = ClientConfig { manual_acks: true, ..ClientConfig::default() };
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(config));
    /// # client.open(now)?;
    /// # let mut input = &b"\x20\x03\0\0\0\x32\x08\0\x01t\0\x09\x0021"[..];
    /// # while let Some(action) = client.poll(now, &mut input) {
    /// #     let Action::Message(message) = action else { continue };
    /// #     f(&mut client, now, message.ack_handle.expect("manual acknowledgements"))?;
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
        let (engine, peer) = self.split();
        engine.ack(&peer.limits(), ack_handle, reason_code, properties)
    }

    /// Sends the client's next step of an enhanced authentication, when the server waits for one: AUTH with Continue
    /// authentication \[MQTT-4.12.0-3\].
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::NoAuthentication`] if the server does not wait for a step; [`AuthenticateError::TooLarge`]
    /// if the packet exceeds the server's Maximum Packet Size.
    ///
    /// # Examples
    ///
    /// The server has sent a challenge. A complete exchange is shown at [`Authentication`](super::Authentication).
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, Authentication, ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let authentication = Some(Box::new(Authentication { method: "X".into(), data: None }));
    /// # let config = ClientConfig { authentication, ..ClientConfig::default() };
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(config));
    /// # client.open(now)?;
    /// let mut input = &b"\xf0\x0a\x18\x08\x15\0\x01X\x16\0\x01\x07"[..]; // AUTH, with the method X and the data 7
    /// while let Some(action) = client.poll(now, &mut input) {
    ///     let Action::Auth(auth) = action else { continue };
    ///     let challenge = auth.properties.authentication_data.unwrap_or_default();
    ///     client.authenticate(now, &[challenge[0] + 1])?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn authenticate(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.engine.advance(now);
        if !matches!(self.state.exchange_mut(), Some(Exchange::Ours)) {
            return Err(AuthenticateError::NoAuthentication);
        }
        self.send_auth(AuthReasonCode::ContinueAuthentication, data)?;
        if let State::Connecting { keep_alive, .. } = &mut self.state {
            keep_alive.ask(self.engine.now(), self.engine.ahead());
        }
        Ok(())
    }

    /// Begins a re-authentication, by the method of CONNECT \[MQTT-4.12.1-1\]. Messages are exchanged meanwhile. An
    /// [`Action::Auth`](super::Action::Auth) with Success reports that the re-authentication is complete; a failure
    /// ends the connection.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::NotConnected`] if there is no connection; [`AuthenticateError::NoAuthentication`] if
    /// CONNECT had no Authentication Method \[MQTT-4.12.0-7\], or if an authentication is in progress;
    /// [`AuthenticateError::TooLarge`] if the packet exceeds the server's Maximum Packet Size.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{Authentication, ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let now = Instant::EPOCH;
    /// let authentication = Some(Box::new(Authentication { method: "X".into(), data: None }));
    /// let mut client = ClientSession::new(ClientConfig { authentication, ..ClientConfig::default() });
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x07\0\0\x04\x15\0\x01X"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// client.reauthenticate(now, b"the first data")?; // once the client is connected
    /// # Ok(())
    /// # }
    /// ```
    pub fn reauthenticate(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.engine.advance(now);
        match self.state {
            State::Connected { exchange: Exchange::Idle, .. } => self.send_auth(AuthReasonCode::ReAuthenticate, data),
            State::Connected { .. } => Err(AuthenticateError::NoAuthentication),
            _ => Err(AuthenticateError::NotConnected),
        }
    }

    fn send_auth(&mut self, reason_code: AuthReasonCode, data: &[u8]) -> Result<(), AuthenticateError> {
        let limit = self.server().maximum_packet_size;
        let authentication = self.config.authentication.as_deref().ok_or(AuthenticateError::NoAuthentication)?;
        self.engine.put_auth(&authentication.method, reason_code, data, limit)?;
        if let Some(exchange) = self.state.exchange_mut() {
            *exchange = Exchange::Theirs;
        }
        Ok(())
    }

    /// Puts DISCONNECT into [`transmit`](Self::transmit); nothing follows it \[MQTT-3.14.4-1\]. The next action is
    /// [`Close::Requested`](super::Close::Requested), after which the caller writes the output and closes the
    /// transport.
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
    /// [`DisconnectError::NotConnected`] if there is no connection; [`DisconnectError::SessionExpiry`] for a session
    /// expiry interval other than 0 if CONNECT had none; [`DisconnectError::Encode`] if the packet cannot be encoded in
    /// this version; [`DisconnectError::TooLarge`] if it exceeds the server's Maximum Packet Size.
    ///
    /// # Examples
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
    /// # use mqtt_sansio::codec::Disconnect;
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// client.disconnect(now, &Disconnect::default())?;
    /// assert_eq!(client.poll_timeout(now), Some(Action::Close(Close::Requested)));
    /// let transmit = client.transmit(); // written to its end, before the transport is closed
    /// # let (rest, _) = (transmit.remaining(), transmit.chunk());
    /// # transmit.advance(rest);
    /// client.closed(now);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn disconnect(&mut self, now: Instant, disconnect: &Disconnect<'_>) -> Result<(), DisconnectError> {
        self.engine.advance(now);
        if !self.state.takes_input() {
            return Err(DisconnectError::NotConnected);
        }
        let expiry = disconnect.properties.session_expiry_interval;
        if expiry.is_some_and(|seconds| seconds != 0) && !self.config.session_expiry_interval.outlives_connection() {
            return Err(DisconnectError::SessionExpiry);
        }
        self.engine.put_disconnect(disconnect, self.server().maximum_packet_size)?;
        let mut acceptance = self.state.acceptance().copied();
        if let (Some(acceptance), Some(seconds)) = (&mut acceptance, expiry) {
            acceptance.server.session_expiry_interval = SessionExpiry::after(seconds);
        }
        self.state = State::Closing(acceptance);
        Ok(())
    }

    /// Returns the next batch of the changes of a [durable](super::ClientConfig::durable) session, to be stored as one
    /// transaction; `None` if all changes were returned, or if the session is not durable. Call it until it returns `None`,
    /// after each [`poll`](Self::poll) and each command, or after several of them, before the output is written. Changes of
    /// more than 1 MiB between two calls are more than one batch.
    ///
    /// Batches are stored in the order of their numbers, each once. Several may be under way; a batch that could not be
    /// stored is stored again, unchanged. When a batch is stored, call [`committed`](Self::committed).
    ///
    /// The application can store its own state in the same transaction: the effects of all actions that `poll` has
    /// returned, and of all commands, since `changes` last returned `None`, with all batches until the next `None` in the one
    /// transaction. Then each QoS 2 message has its effect exactly once, and no outcome is lost.
    /// Acknowledgements wait for the batch even if nothing else in the session has changed. If the application has another
    /// store, it sets [`manual_acks`](super::ClientConfig::manual_acks), and calls
    /// [`ack`](Self::ack) after it has stored the effect of a message, which it may then see a second time.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # use mqtt_sansio::store::Pairs;
    /// # fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// # let (now, mut store) = (Instant::from_micros(1), Pairs::default());
    /// let config = ClientConfig { durable: true, ..ClientConfig::default() };
    /// let mut client = ClientSession::new(config.clone());
    /// let token = client.publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// while let Some(batch) = client.changes() {
    ///     store.apply(&batch);
    ///     client.committed(now, batch.number());
    /// }
    /// drop(client); // a crash
    /// let client = ClientSession::restore(config, now, store.iter())?;
    /// assert!(client.operations().any(|operation| operation.token == token));
    /// # Ok(())
    /// # }
    /// ```
    pub fn changes(&mut self) -> Option<Batch> {
        self.engine.changes()
    }

    /// Notes that all batches up to this number are stored. What has waited for them is in
    /// [`transmit`](Self::transmit) then. A number of a batch that [`changes`](Self::changes) has not returned counts as
    /// that of the last batch which it has returned.
    ///
    /// These packets wait until the changes before them are stored: PUBACK, PUBREC, PUBREL, PUBCOMP, and PUBLISH of QoS
    /// 2. All others do not: CONNECT, PUBLISH of QoS 0 and 1, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT, AUTH.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let now = Instant::from_micros(1);
    /// let mut client = ClientSession::new(ClientConfig { durable: true, ..ClientConfig::default() });
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// # let sent = client.transmit().remaining();
    /// # client.transmit().advance(sent);
    /// client.publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// assert!(!client.transmit().has_remaining()); // PUBLISH waits
    /// while let Some(batch) = client.changes() {
    ///     // ... the batch is stored ...
    ///     client.committed(now, batch.number());
    /// }
    /// assert!(client.transmit().has_remaining());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn committed(&mut self, now: Instant, number: u64) {
        self.engine.advance(now);
        let limits = self.limits();
        if self.engine.committed(&limits, number)
            && let Some(keep_alive) = self.state.keep_alive_mut()
        {
            keep_alive.restart(self.engine.now());
        }
        if self.engine.deliveries().has_backlog() {
            self.send_backlog(u32::MAX);
        }
    }

    /// Restores a durable client session after a crash, from the same configuration and the pairs that its batches have
    /// put, in the order of their keys. Without pairs this is a new session.
    ///
    /// Messages have the tokens of before; [`operations`](Self::operations) returns those that have no outcome. A client
    /// identifier that was assigned or [configured](Self::reconfigure) replaces that of the configuration. Messages that
    /// were sent are sent again, with DUP. SUBSCRIBE, UNSUBSCRIBE and QoS 0 messages are not stored.
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
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::store::{Pairs, batches};
    /// # use mqtt_sansio::Instant;
    /// # fn restore(file: &[u8], now: Instant) -> Result<ClientSession, Box<dyn core::error::Error>> {
    /// let mut pairs = Pairs::default();
    /// for batch in batches(file) {
    ///     pairs.apply(&batch?);
    /// }
    /// let config = ClientConfig { client_id: "thermo-7".into(), durable: true, ..ClientConfig::default() };
    /// let client = ClientSession::restore(config, now, pairs.iter())?;
    /// # Ok(client)
    /// # }
    /// # let mut client = restore(b"", Instant::from_micros(1))?;
    /// # let file = client.snapshot().ok_or("it is durable")?.to_bytes();
    /// # restore(&file, Instant::from_micros(2))?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        config: ClientConfig,
        now: Instant,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, RestoreError> {
        let Some(restored) = Restored::read(pairs)? else {
            return Ok(Self::new(ClientConfig { durable: true, ..config }));
        };
        let (mut config, mut has_session) = (ClientConfig { durable: true, ..config }, false);
        if let Some(session) = restored.session() {
            let record = ClientRecord::read(session).ok_or(Restored::session_error(RestoreErrorKind::Value))?;
            if record.version != config.version {
                return Err(Restored::session_error(RestoreErrorKind::OtherVersion));
            }
            if !record.client_id.is_empty() {
                config.client_id = record.client_id.into();
            }
            has_session = record.has_session;
        }
        let (engine, _) = restored.into_engine(config.version, config.max_uncommitted, false, now)?;
        let mut client = Self { has_session, ..Self::with_engine(engine, config) };
        client.store_session();
        Ok(client)
    }

    /// Returns a batch that contains the present state, to begin a new store, for instance a new file in place of one
    /// that has become long; `None` if the session is not durable.
    ///
    /// The batch takes the place of all batches that [`changes`](Self::changes) has not returned. It is
    /// [committed](Self::committed) like any other.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, QoS};
    /// # let now = Instant::from_micros(1);
    /// # let mut client = ClientSession::new(ClientConfig { durable: true, ..ClientConfig::default() });
    /// # client.publish(now, &Message::new("a", "1").qos(QoS::ExactlyOnce))?;
    /// if let Some(batch) = client.snapshot() {
    ///     let file = batch.to_bytes(); // the first batch of a new file, which replaces the old one
    ///     client.committed(now, batch.number());
    /// #   assert!(!file.is_empty());
    /// }
    /// assert_eq!(client.changes(), None);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn snapshot(&mut self) -> Option<Batch> {
        self.engine.snapshot([].iter())
    }

    /// Returns the operations that have no outcome: messages, SUBSCRIBE and UNSUBSCRIBE, queued or in flight. After a
    /// [restart](Self::restore) these are the messages of QoS 1 and 2 that were accepted before and have no outcome.
    ///
    /// The order is that of the stages: released, sent, queued. QoS 0 messages in the output are not included.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, Message, OperationStage, QoS};
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// let token = client.publish(now, &Message::new("home/temp", "21.5").qos(QoS::AtLeastOnce))?;
    /// let waiting = client.operations().filter(|it| it.stage == OperationStage::Queued).map(|it| it.token);
    /// assert_eq!(waiting.collect::<Vec<_>>(), [token]);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        self.engine.operations()
    }

    /// Discards the session. Every message in flight has the outcome
    /// [`AbandonReason::Session`](crate::AbandonReason::Session). The next connection asks for a new session:
    /// `clean_start` is set in the configuration. Messages and requests that are queued stay queued for it.
    ///
    /// # Errors
    ///
    /// [`ReconfigureError::AlreadyConnected`] while there is a connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::{Instant, SessionExpiry};
    /// # let now = Instant::EPOCH;
    /// let config = ClientConfig { session_expiry_interval: SessionExpiry::after(3600), ..ClientConfig::default() };
    /// let mut client = ClientSession::new(config);
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// client.closed(now); // the server keeps the session for an hour
    /// client.discard_session()?;
    /// client.open(now)?; // CONNECT has Clean Start
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn discard_session(&mut self) -> Result<(), ReconfigureError> {
        if !matches!(self.state, State::Closed) {
            return Err(ReconfigureError::AlreadyConnected);
        }
        self.forget_session();
        self.config.clean_start = true;
        Ok(())
    }

    /// Replaces the configuration for the following connections, for instance with a new password or another will.
    ///
    /// Another `client_id` identifies another session: the present session is discarded, as if the server had lost it.
    /// An empty `client_id` stands for the present one. `durable` and `max_uncommitted` are ignored.
    ///
    /// # Errors
    ///
    /// [`ReconfigureError::AlreadyConnected`] while there is a connection; [`ReconfigureError::OtherVersion`] if the
    /// version differs.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::Instant;
    /// # let now = Instant::EPOCH;
    /// # let mut client = ClientSession::new(ClientConfig::default());
    /// # client.open(now)?;
    /// client.closed(now); // the server has refused an old password, for instance
    /// let config = ClientConfig { password: Some(b"new".as_slice().into()), ..client.config().clone() };
    /// client.reconfigure(config)?;
    /// client.open(now)?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn reconfigure(&mut self, mut config: ClientConfig) -> Result<(), ReconfigureError> {
        if !matches!(self.state, State::Closed) {
            return Err(ReconfigureError::AlreadyConnected);
        }
        if config.version != self.engine.version() {
            return Err(ReconfigureError::OtherVersion);
        }
        if config.client_id.is_empty() {
            config.client_id = core::mem::take(&mut self.config.client_id);
        } else if config.client_id != self.config.client_id {
            self.forget_session();
        }
        (config.durable, config.max_uncommitted) = (self.config.durable, self.config.max_uncommitted);
        self.config = config;
        self.store_session();
        Ok(())
    }
}
