//! The first packet of a client, and the decision about it.

use alloc::boxed::Box;
use alloc::string::ToString;
use core::num::NonZeroU16;

use super::accept::{Accept, GrantedIntervals, Pending, put_connack};
use super::action::{AcceptorAction, Close};
use super::config::ServerConfig;
use super::error::{AcceptError, NotAccepted, RefuseError};
use super::session::ServerSession;
use super::state::ClientLimits;
use crate::codec::{
    self, AnswerForm, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect, DecodeError, Decoded,
    ErrorKind, MAX_PACKET_SIZE, Packet, PacketType, Version,
};
use crate::session::{AuthenticateError, ProtocolError, SMALLEST_PACKET_SIZE, SessionExpiry, Transmit, Will};
use crate::sync::Arc;
use crate::text::Utf8Str;
use crate::time::Instant;
use crate::topic::TopicName;

/// Receives the first packet of a client, and the exchange of an enhanced authentication, until the client is accepted
/// or refused: see the [module](super).
///
/// An incomplete CONNECT is not stored: the caller holds its bytes.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    now: Instant,
    /// Time by which the client must have taken its next step.
    deadline: Instant,
    /// Position in the output at which the last challenge ends.
    asked_up_to: u64,
    /// Number of bytes that had been taken out of the output at the last check.
    seen_taken: u64,
    step: Step,
    transmit: Transmit,
    pending: Option<Box<Pending>>,
}

/// The state of an acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// CONNECT has not arrived.
    Waiting,
    /// The caller has to decide.
    Deciding,
    /// The client has been challenged and has to answer.
    Challenged,
    /// The client is refused with this code; the action [`Close::Refused`] is still due.
    Closing(ConnAckReasonCode),
    /// The connection is over, or the client is accepted.
    Over,
}

impl Acceptor {
    /// Creates an acceptor for a transport that has just been accepted. The acceptor shares the configuration with the
    /// session that it creates; pass an `Arc` to share it with others. On targets without atomic compare-and-swap it is the
    /// `Arc` of `portable-atomic-util`.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Acceptor, ServerConfig};
    /// # use std::sync::Arc;
    /// # let now = Instant::EPOCH;
    /// let config = Arc::new(ServerConfig { topic_alias_maximum: 16, ..ServerConfig::default() });
    /// let (one, other) = (Acceptor::new(config.clone(), now), Acceptor::new(config, now)); // for two connections
    /// # drop((one, other));
    /// ```
    pub fn new(config: impl Into<Arc<ServerConfig>>, now: Instant) -> Self {
        let mut acceptor = Self {
            config: config.into(),
            now,
            deadline: Instant::NEVER,
            asked_up_to: 0,
            seen_taken: 0,
            step: Step::Waiting,
            transmit: Transmit::default(),
            pending: None,
        };
        acceptor.await_client();
        acceptor
    }

    /// Processes the bytes that the transport has received and the current time, and returns the next action; `None`
    /// when nothing is left to do. Call it until it returns `None`: after each read, when the
    /// [`deadline`](Self::deadline) has passed, and after each write.
    ///
    /// Pass the rest of `input` again, with the bytes that follow: to this acceptor while CONNECT is incomplete, and to
    /// the session once the client is accepted. A client may send further packets after CONNECT without waiting for
    /// CONNACK. While too many challenges [wait to be written](ServerConfig::answer_limit), the rest is not processed.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// let received = b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo\xc0"; // CONNECT, and one byte more
    /// let mut input = &received[..];
    /// match acceptor.poll(now, &mut input) {
    ///     Some(AcceptorAction::Connect(request)) => println!("{} asks to be accepted", request.client_identifier),
    ///     Some(AcceptorAction::Auth(_)) => println!("the client has answered a challenge"),
    ///     Some(AcceptorAction::Close(why)) => println!("{why}"),
    ///     None => println!("read more"),
    /// }
    /// let session = acceptor.accept(now, None, Accept::default())?;
    /// assert_eq!(input, b"\xc0"); // for `session.poll`, with the bytes that follow
    /// # drop(session);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<AcceptorAction<'a>> {
        self.now = now.max(self.now);
        let was_leaving = self.is_leaving();
        self.seen_taken = self.transmit.taken();
        if was_leaving {
            self.await_client();
        }
        let action = match self.step {
            Step::Waiting => self.receive_connect(input),
            Step::Challenged if self.is_full() => None,
            Step::Challenged => self.receive_auth(input),
            Step::Closing(reason_code) => Some(self.over(Close::Refused(reason_code.into()))),
            Step::Deciding | Step::Over => None,
        };
        action.or_else(|| {
            let is_late = matches!(self.step, Step::Waiting | Step::Challenged) && self.deadline <= self.now;
            is_late.then(|| self.over(Close::ConnectTimeout))
        })
    }

    /// Processes the current time, where nothing was received: [`poll`](Self::poll) with an empty input. Call it until
    /// it returns `None`, when the [`deadline`](Self::deadline) has passed, and after each write.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Acceptor, AcceptorAction, Close, ServerConfig};
    /// let mut acceptor = Acceptor::new(ServerConfig::default(), Instant::EPOCH);
    /// let deadline = acceptor.deadline().expect("the client has to send CONNECT"); // within ten seconds
    /// assert_eq!(acceptor.poll_timeout(deadline), Some(AcceptorAction::Close(Close::ConnectTimeout)));
    /// ```
    pub fn poll_timeout(&mut self, now: Instant) -> Option<AcceptorAction<'static>> {
        self.poll(now, &mut &[][..])
    }

    /// Returns the output: all bytes that are to be written to the transport.
    ///
    /// ```
    /// # use bytes::Buf;
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Acceptor, ServerConfig};
    /// # use std::io::Write;
    /// # fn send(acceptor: &mut Acceptor, transport: &mut impl Write) -> std::io::Result<()> {
    /// while acceptor.transmit().has_remaining() { // a challenge, or a refusal
    ///     let written = transport.write(acceptor.transmit().chunk())?;
    ///     acceptor.transmit().advance(written);
    /// }
    /// # Ok(())
    /// # }
    /// # send(&mut Acceptor::new(ServerConfig::default(), Instant::EPOCH), &mut Vec::new())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn transmit(&mut self) -> &mut Transmit {
        &mut self.transmit
    }

    /// Returns the time by which [`poll`](Self::poll) must be called even if nothing is received; [`Instant::EPOCH`] if
    /// there is something to do at once, `None` if there is no deadline.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Acceptor, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// let acceptor = Acceptor::new(ServerConfig::default(), now);
    /// let wait = acceptor.deadline().map(|at| at.since(now)); // read from the transport for this time at most
    /// assert_eq!(wait, Some(Duration::from_secs(10)));
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Challenged if self.is_leaving() => Some(Instant::EPOCH),
            Step::Waiting | Step::Challenged => self.deadline.unless_never(),
            Step::Closing(_) => Some(Instant::EPOCH),
            Step::Deciding | Step::Over => None,
        }
    }

    /// Returns the client identifier in CONNECT. It is empty if the client leaves the choice to the server. `None`
    /// before CONNECT has been decoded, and after the client is accepted. It is still available after the client is
    /// refused.
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Acceptor, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// let mut input = &b"\x10\x1a\0\x04MQTT\x05\x82\0\x3c\0\0\x06thermo\0\x05alice"[..]; // CONNECT
    /// assert!(acceptor.poll(now, &mut input).is_some());
    /// assert_eq!((acceptor.client_id(), acceptor.user_name()), (Some("thermo"), Some("alice")));
    /// ```
    pub fn client_id(&self) -> Option<&str> {
        self.pending.as_ref().map(|pending| &*pending.client_id)
    }

    /// Returns the user name in CONNECT. `None` if CONNECT has none, and whenever [`client_id`](Self::client_id) is
    /// `None`.
    pub fn user_name(&self) -> Option<&str> {
        self.pending.as_ref()?.user_name.as_deref()
    }

    /// Returns whether bytes of a challenge, or bytes before it, have been written since the last check. The client's
    /// time to answer starts when the last byte of the challenge is written.
    fn is_leaving(&self) -> bool {
        self.step == Step::Challenged && self.seen_taken < self.asked_up_to && self.seen_taken != self.transmit.taken()
    }

    /// Starts the timeout for the client's next step.
    fn await_client(&mut self) {
        let after = |seconds: NonZeroU16| self.now.after_seconds(seconds.get().into());
        self.deadline = self.config.connect_timeout.map_or(Instant::NEVER, after);
    }

    /// Ends the connection. `pending` is preserved, so that the caller can report which client was refused.
    fn over<'a>(&mut self, why: Close<'a>) -> AcceptorAction<'a> {
        self.step = Step::Over;
        AcceptorAction::Close(why)
    }

    fn receive_connect<'a>(&mut self, input: &mut &'a [u8]) -> Option<AcceptorAction<'a>> {
        // Any other packet is refused before it is complete [MQTT-3.1.0-1].
        if input.first().is_some_and(|&first| PacketType::from_number(first >> 4) != Some(PacketType::Connect)) {
            return Some(self.over(Close::ProtocolError(ProtocolError::NotConnect)));
        }
        match codec::decode(input, Version::V5, self.config.limits(Some(self.config.max_connect_size))) {
            Ok(Decoded::Packet { packet: Packet::Connect(connect), size }) => {
                *input = input.get(size..).unwrap_or_default();
                Some(self.take_connect(connect))
            }
            Ok(Decoded::Packet { .. }) => Some(self.over(Close::ProtocolError(ProtocolError::NotConnect))),
            Ok(Decoded::Incomplete { .. }) => None,
            Err(error) => self.receive_malformed_connect(input, error),
        }
    }

    /// Refuses a CONNECT that cannot be decoded, once the version that determines the form of the answer is known;
    /// returns `None` until then. Without a version the client is not answered.
    #[cold]
    fn receive_malformed_connect<'a>(&mut self, input: &[u8], error: DecodeError) -> Option<AcceptorAction<'a>> {
        let error = match codec::answer_form_of(input) {
            // More bytes may still arrive; when they arrive does not change the answer.
            AnswerForm::NotYet if input.len() < self.config.max_connect_size.get() as usize => return None,
            AnswerForm::NotYet | AnswerForm::Unreadable => error,
            AnswerForm::Version(version) => {
                let error = error.with_version(version);
                self.answer_malformed(&error);
                error
            }
        };
        Some(self.over(Close::Malformed(error)))
    }

    fn take_connect<'a>(&mut self, connect: Connect<'a>) -> AcceptorAction<'a> {
        let properties = &connect.properties;
        let owned = |text: Utf8Str<'_>| text.as_str().into();
        let is_v5 = connect.version == Version::V5;
        self.pending = Some(Box::new(Pending {
            version: connect.version,
            is_bridge: connect.is_bridge,
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            client_id: owned(connect.client_identifier),
            user_name: connect.user_name.map(owned),
            will: connect.will.as_ref().map(|will| Will::received(will).into()),
            session_expiry_interval: match connect.version {
                Version::V5 => {
                    properties.session_expiry_interval.map_or(SessionExpiry::WITH_CONNECTION, SessionExpiry::after)
                }
                Version::V31 | Version::V311 if connect.clean_start => SessionExpiry::WITH_CONNECTION,
                Version::V31 | Version::V311 => SessionExpiry::NEVER,
            },
            client: ClientLimits {
                receive_maximum: properties.receive_maximum.map_or(u16::MAX, Into::into),
                topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
                maximum_packet_size: properties.maximum_packet_size.map_or(MAX_PACKET_SIZE, Into::into),
                wants_problem_information: properties.request_problem_information.unwrap_or(true),
            },
            method: properties.authentication_method.map(owned),
            wants_response_information: properties.request_response_information.unwrap_or(false),
        }));
        self.step = Step::Deciding;
        let refusal = match &connect.will {
            // No packet before 5.0 can announce a shorter interval.
            _ if !is_v5 && self.config.is_keep_alive_too_long(connect.keep_alive) => {
                Some(ConnAckReasonCode::ClientIdentifierNotValid)
            }
            // Before 5.0 the client cannot know the Maximum QoS, or whether retained messages are available.
            Some(will) if is_v5 && will.qos > self.config.maximum_qos => Some(ConnAckReasonCode::QoSNotSupported),
            Some(will) if is_v5 && will.retain && !self.config.retain_available => {
                Some(ConnAckReasonCode::RetainNotSupported)
            }
            _ if is_v5 && properties.maximum_packet_size.is_some_and(|size| size.get() < SMALLEST_PACKET_SIZE) => {
                Some(ConnAckReasonCode::ImplementationSpecificError)
            }
            _ => None,
        };
        match refusal {
            None => AcceptorAction::Connect(Box::new(connect)),
            Some(code) => {
                // The step is `Deciding`, so `refuse` is allowed [MQTT-3.2.2-12, MQTT-3.2.2-13].
                match self.refuse(self.now, code) {
                    // The client's Maximum Packet Size may be too small for any CONNACK.
                    Ok(()) | Err(RefuseError::TooLarge { .. }) => {}
                    Err(error) => bug!("a client that waits for a decision can be refused: {error}"),
                }
                self.over(Close::Refused(code.into()))
            }
        }
    }

    /// Answers a packet that cannot be decoded with a CONNACK that has the reason code of the error, if the version has
    /// a form for it.
    fn answer_malformed(&mut self, error: &DecodeError) {
        let code = match (error.version(), error.return_code()) {
            (Version::V5, _) => Some(ConnAckReasonCode::try_from(error.reason_code()).unwrap_or(match error.kind() {
                // CONNACK has not all the reason codes of other packets.
                ErrorKind::MalformedPacket => ConnAckReasonCode::MalformedPacket,
                ErrorKind::ProtocolError | ErrorKind::Refused => ConnAckReasonCode::ProtocolError,
            })),
            (_, code) => code.and_then(ConnAckReasonCode::from_return_code),
        };
        if let Some(reason_code) = code {
            let connack = ConnAck { reason_code, ..ConnAck::default() };
            if let Err(why) = self.transmit.encode(u32::MAX, |out| connack.encode(error.version(), out)) {
                bug!("CONNACK has nothing that cannot be encoded: {why}");
            }
        }
    }

    /// Refuses the client: sends CONNACK with this reason code, or in 3.1 and 3.1.1 with the return code that applies:
    /// 0x03 (Server unavailable) for Server busy, Quota exceeded and Connection rate exceeded, 0x05 (not authorized) for
    /// Banned, else the one of the same meaning. If there is none, no CONNACK is sent \[3.1.1: MQTT-3.2.2-6\]. The next
    /// action is [`Close::Refused`], with the reason code.
    ///
    /// # Errors
    ///
    /// [`RefuseError::NoPendingConnect`] if no client waits for a decision; [`RefuseError::SuccessIsNoRefusal`] for
    /// Success.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::codec::ConnAckReasonCode;
    /// # use mqtt_sansio::server::{Acceptor, AcceptorAction, Close, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// acceptor.refuse(now, ConnAckReasonCode::NotAuthorized)?;
    /// assert!(matches!(acceptor.poll_timeout(now), Some(AcceptorAction::Close(Close::Refused(_)))));
    /// // Write `acceptor.transmit()` to its end, and close the transport.
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn refuse(&mut self, now: Instant, reason_code: ConnAckReasonCode) -> Result<(), RefuseError> {
        self.refuse_with(now, reason_code, &ConnAckProperties::default())
    }

    /// Refuses the client as [`refuse`](Self::refuse) does, with properties: a reason string, user properties, or the
    /// Server Reference for Use another server and Server moved; 5.0 only, earlier versions omit them. A reason string
    /// and user properties that would make the packet too large for the client are omitted \[MQTT-3.2.2-19,
    /// MQTT-3.2.2-20\].
    ///
    /// # Errors
    ///
    /// As [`refuse`](Self::refuse), [`RefuseError::Encode`] if the properties cannot be encoded, and
    /// [`RefuseError::TooLarge`] if the other properties make CONNACK too large for the client.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::codec::{ConnAckProperties, ConnAckReasonCode};
    /// # use mqtt_sansio::server::{Acceptor, ServerConfig};
    /// # use mqtt_sansio::{Instant, Utf8Str};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// let server_reference = Some(Utf8Str::new("other.example:1883")?);
    /// let properties = ConnAckProperties { server_reference, ..ConnAckProperties::default() };
    /// acceptor.refuse_with(now, ConnAckReasonCode::UseAnotherServer, &properties)?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn refuse_with(
        &mut self,
        now: Instant,
        reason_code: ConnAckReasonCode,
        properties: &ConnAckProperties<'_>,
    ) -> Result<(), RefuseError> {
        self.now = now.max(self.now);
        let pending =
            self.pending.as_ref().filter(|_| self.step == Step::Deciding).ok_or(RefuseError::NoPendingConnect)?;
        if !reason_code.is_error() {
            return Err(RefuseError::SuccessIsNoRefusal);
        }
        match pending.version {
            Version::V5 => {
                let limit = pending.client.maximum_packet_size;
                let connack = ConnAck { session_present: false, reason_code, properties: *properties };
                if !put_connack(&mut self.transmit, &connack, limit)? {
                    return Err(RefuseError::TooLarge { limit });
                }
            }
            version => {
                let reason_code = before_v5(reason_code);
                if reason_code.return_code().is_some() {
                    let connack = ConnAck { reason_code, ..ConnAck::default() };
                    self.transmit.encode(u32::MAX, |out| connack.encode(version, out))?;
                }
            }
        }
        self.step = Step::Closing(reason_code);
        Ok(())
    }

    /// Challenges a client that has an Authentication Method: sends AUTH with Continue authentication
    /// \[MQTT-4.12.0-2\]. [`AcceptorAction::Auth`] reports the client's answer. See the example at
    /// [`client::Authentication`](crate::client::Authentication).
    ///
    /// # Errors
    ///
    /// [`AuthenticateError::NoPendingConnect`] if no client waits for a decision;
    /// [`AuthenticateError::NoAuthentication`] if CONNECT had no Authentication Method \[MQTT-4.12.0-6\];
    /// [`AuthenticateError::TooLarge`] if the packet exceeds the client's Maximum Packet Size.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, AcceptorAction, ServerConfig};
    /// # let now = Instant::EPOCH;
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x17\0\x04MQTT\x05\x02\0\x3c\x04\x15\0\x01X\0\x06thermo"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// acceptor.challenge(now, &[7])?;
    /// let mut input = &b"\xf0\x0a\x18\x08\x15\0\x01X\x16\0\x01\x08"[..]; // AUTH, with the method X and the data 8
    /// let Some(AcceptorAction::Auth(auth)) = acceptor.poll(now, &mut input) else { panic!("it is complete") };
    /// assert_eq!(auth.properties.authentication_data, Some(&[8][..]));
    /// let session = acceptor.accept(now, None, Accept::default())?; // or another challenge, or a refusal
    /// # drop(session);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn challenge(&mut self, now: Instant, data: &[u8]) -> Result<(), AuthenticateError> {
        self.now = now.max(self.now);
        let pending =
            self.pending.as_ref().filter(|_| self.step == Step::Deciding).ok_or(AuthenticateError::NoPendingConnect)?;
        let method = pending.method.as_deref().ok_or(AuthenticateError::NoAuthentication)?;
        let limit = pending.client.maximum_packet_size;
        self.transmit.put_auth(Version::V5, method, AuthReasonCode::ContinueAuthentication, data, limit)?;
        self.asked_up_to = self.transmit.end();
        self.step = Step::Challenged;
        self.await_client();
        Ok(())
    }

    /// Handles the answer to a challenge: AUTH, or a DISCONNECT of a client that gives up.
    fn receive_auth<'a>(&mut self, input: &mut &'a [u8]) -> Option<AcceptorAction<'a>> {
        match codec::decode(input, Version::V5, self.config.limits(Some(self.config.max_connect_size))) {
            Ok(Decoded::Packet { packet, size }) => {
                *input = input.get(size..).unwrap_or_default();
                let method = self.pending.as_ref().and_then(|pending| pending.method.as_deref()).map(str::as_bytes);
                Some(match packet {
                    Packet::Auth(auth) if auth.reason_code != AuthReasonCode::ContinueAuthentication => {
                        self.break_off(ProtocolError::UnexpectedAuth)
                    }
                    Packet::Auth(auth) if auth.properties.authentication_method.map(Utf8Str::as_bytes) != method => {
                        self.break_off(ProtocolError::AuthenticationMethodChanged)
                    }
                    Packet::Auth(auth) => {
                        self.step = Step::Deciding;
                        AcceptorAction::Auth(auth)
                    }
                    Packet::Disconnect(disconnect) => self.over(Close::Disconnected(disconnect)),
                    Packet::Connect(_) => self.break_off(ProtocolError::SecondConnect),
                    _ => self.break_off(ProtocolError::UnexpectedAuth), // only AUTH or DISCONNECT [MQTT-3.1.2-30]
                })
            }
            Ok(Decoded::Incomplete { .. }) => None,
            Err(error) => {
                // Also for a second CONNECT with another version: this connection uses 5.0.
                let error = error.with_version(Version::V5);
                self.answer_malformed(&error);
                Some(self.over(Close::Malformed(error)))
            }
        }
    }

    /// Ends the connection because of a Protocol Error of the client. CONNACK reports it, because a server must not
    /// send DISCONNECT before CONNACK \[MQTT-3.14.0-1\].
    fn break_off<'a>(&mut self, protocol_error: ProtocolError) -> AcceptorAction<'a> {
        let reason_code =
            ConnAckReasonCode::try_from(protocol_error.reason_code()).unwrap_or(ConnAckReasonCode::ProtocolError);
        let connack = ConnAck { reason_code, ..ConnAck::default() };
        let limit = self.pending.as_ref().map_or(MAX_PACKET_SIZE, |pending| pending.client.maximum_packet_size);
        if let Err(error) = self.transmit.encode(limit, |out| connack.encode(Version::V5, out)) {
            bug!("CONNACK has nothing that cannot be encoded: {error}");
        }
        self.over(Close::ProtocolError(protocol_error))
    }

    /// Accepts the client, into the stored session of its client identifier if there is one. CONNACK is in the
    /// [`transmit`](ServerSession::transmit) of the returned session, after the bytes of this acceptor that are not
    /// written yet.
    ///
    /// A client identifier does not authenticate the client: the caller must ensure that the client is the user to whom
    /// the stored session belongs, also if the client asks for a new session.
    ///
    /// If the client asks for a new session (Clean Start), or the stored one has expired, the messages of the stored
    /// session are abandoned, and its will, if it is still due, is published now. If the stored session still has a
    /// connection, that connection ends; see [`take_over`](ServerSession::take_over).
    ///
    /// # Errors
    ///
    /// [`NotAccepted`], which contains the reason and returns the stored session unchanged. The client still waits for
    /// a decision, unless the reason is `NoPendingConnect`. The reasons are [`AcceptError::NoPendingConnect`] if no
    /// client waits for a decision; [`AcceptError::NoClientIdentifier`] if the client must be assigned a client
    /// identifier; [`AcceptError::Text`] and [`AcceptError::Encode`] if CONNACK cannot be encoded;
    /// [`AcceptError::TooLarge`] if it exceeds the client's Maximum Packet Size.
    ///
    /// # Examples
    ///
    /// ```
    /// # use mqtt_sansio::Instant;
    /// # use mqtt_sansio::server::{Accept, Acceptor, ServerConfig, ServerSession};
    /// # use std::collections::HashMap;
    /// # let (now, mut sessions) = (Instant::EPOCH, HashMap::<String, ServerSession>::new());
    /// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
    /// # let mut input = &b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0"[..];
    /// # assert!(acceptor.poll(now, &mut input).is_some());
    /// let mut accept = Accept::default();
    /// let stored = match acceptor.client_id() {
    ///     Some("") => {
    ///         accept.assigned_client_id = Some("client-1".into()); // a new one each time
    ///         None
    ///     }
    ///     client_id => client_id.and_then(|client_id| sessions.remove(client_id)),
    /// };
    /// let session = acceptor.accept(now, stored, accept)?;
    /// assert_eq!((session.client_id(), session.is_resumed()), ("client-1", false));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn accept(
        &mut self,
        now: Instant,
        stored: impl Into<Option<ServerSession>>,
        accept: Accept,
    ) -> Result<ServerSession, NotAccepted> {
        let stored = stored.into();
        let is_stored = stored.is_some();
        let version = self.pending.as_ref().map_or(Version::V5, |pending| pending.version);
        let mut session = stored.unwrap_or_else(|| ServerSession::new(Arc::clone(&self.config), version));
        match self.accept_into(now, &mut session, is_stored, accept) {
            Ok(_) => Ok(session), // sessions have marked messages only with a router
            Err(reason) => Err(NotAccepted { reason, session: is_stored.then(|| Box::new(session)) }),
        }
    }

    /// Accepts the client into a session, which is stored or new. After an error nothing has changed.
    pub(crate) fn accept_into(
        &mut self,
        now: Instant,
        session: &mut ServerSession,
        is_stored: bool,
        accept: Accept,
    ) -> Result<(), AcceptError> {
        self.now = now.max(self.now);
        // The session may have seen a later time than the acceptor.
        let now = session.engine.at(self.now);
        let is_present = |pending: &Pending| is_stored && !pending.clean_start && session.outlives_connection(now);
        let (granted, is_present) = self.answer(&accept, is_present)?;
        let pending = self.pending.take().ok_or(AcceptError::NoPendingConnect)?;
        self.step = Step::Over;
        session.closed(self.now);
        session.config = Arc::clone(&self.config);
        session.attach(*pending, &granted, accept, is_present, self.now, core::mem::take(&mut self.transmit));
        Ok(())
    }

    /// Puts the CONNACK of a client that is accepted into the output.
    fn answer(
        &mut self,
        accept: &Accept,
        is_present: impl Fn(&Pending) -> bool,
    ) -> Result<(GrantedIntervals, bool), AcceptError> {
        let pending =
            self.pending.as_ref().filter(|_| self.step == Step::Deciding).ok_or(AcceptError::NoPendingConnect)?;
        let is_named = accept.assigned_client_id.as_ref().is_some_and(|name| !name.is_empty());
        if pending.version == Version::V5 && pending.client_id.is_empty() && !is_named {
            return Err(AcceptError::NoClientIdentifier);
        }
        let (granted, is_present) = (GrantedIntervals::new(&self.config, pending, accept), is_present(pending));
        if self.config.durable {
            self.transmit.hold(false); // CONNACK may have to wait, the bytes before it do not
        }
        granted.put_connack(&mut self.transmit, &self.config, pending, accept, is_present)?;
        Ok((granted, is_present))
    }
}

/// The interface for a router, see `routing`: queries before the client is accepted into a session.
#[allow(dead_code, reason = "for a router: see `routing`")]
impl Acceptor {
    /// Checks that the client can be accepted with these settings.
    pub(crate) fn check(&self, accept: &Accept) -> Result<(), AcceptError> {
        let pending = self.pending.as_ref().ok_or(AcceptError::NoPendingConnect)?;
        let granted = GrantedIntervals::new(&self.config, pending, accept);
        granted.check_connack(&self.config, pending, accept)
    }

    /// Returns the size in bytes of what the acceptor has on the heap: the contents of CONNECT, and output.
    pub(crate) fn heap(&self) -> usize {
        self.transmit.capacity().saturating_add(self.pending.as_ref().map_or(0, |pending| pending.heap()))
    }

    /// Prepends the mount point of the client, which ends with `/`, to the topic and the Response Topic of its will; returns
    /// whether these are not too long then.
    pub(crate) fn mount_will(&mut self, mount: &[u8]) -> bool {
        let Some(will) = self.pending.as_mut().and_then(|pending| pending.will.as_mut()) else { return true };
        let Ok(mount) = core::str::from_utf8(mount) else { return false };
        for topic in core::iter::once(&mut will.topic).chain(&mut will.response_topic) {
            topic.insert_str(0, mount);
            if TopicName::new(topic).is_err() {
                return false;
            }
        }
        true
    }

    /// Creates an empty session for the client that waits for a decision.
    pub(crate) fn new_session(&self) -> ServerSession {
        let version = self.pending.as_ref().map_or(Version::V5, |pending| pending.version);
        ServerSession { is_routed: true, ..ServerSession::new(Arc::clone(&self.config), version) }
    }

    /// Returns whether input is not accepted because too many challenges wait to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.step == Step::Challenged && self.transmit.has_unsent_answers(self.config.answer_limit.get())
    }

    /// Returns the client identifier and the version of the client that waits for a decision.
    pub(crate) fn client(&self) -> Option<(&str, Version)> {
        self.pending.as_ref().map(|pending| (&*pending.client_id, pending.version))
    }

    /// Returns whether the client that waits for a decision asks for a new session.
    pub(crate) fn asks_clean_start(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.clean_start)
    }
}

/// Returns the reason code that stands for this one in 3.1 and 3.1.1: one with a return code of which the meaning applies
/// \[3.1.1: MQTT-3.2.2-4\], or else this one.
const fn before_v5(reason_code: ConnAckReasonCode) -> ConnAckReasonCode {
    match reason_code {
        // The client may try again later, as it would if the service were unavailable.
        ConnAckReasonCode::ServerBusy
        | ConnAckReasonCode::QuotaExceeded
        | ConnAckReasonCode::ConnectionRateExceeded => ConnAckReasonCode::ServerUnavailable,
        ConnAckReasonCode::Banned => ConnAckReasonCode::NotAuthorized,
        reason_code => reason_code,
    }
}

impl core::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let client_id = self.pending.as_ref().map(|pending| pending.client_id.to_string());
        f.debug_struct("Acceptor").field("step", &self.step).field("client_id", &client_id).finish_non_exhaustive()
    }
}
