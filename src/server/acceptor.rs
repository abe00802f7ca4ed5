//! The first packet of a client, and what is made of it.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::accept::{Accept, NotAccepted, Pending, Terms, put_connack};
use super::action::{Action, Close};
use super::config::ServerConfig;
use super::session::{ClientLimits, Marked, ServerSession};
use crate::codec::{
    self, AnswerForm, AuthReasonCode, ConnAck, ConnAckProperties, ConnAckReasonCode, Connect, DecodeError, Decoded,
    ErrorKind, MAX_PACKET_SIZE, Packet, PacketType, Version,
};
use crate::session::{CommandError, ProtocolError, SMALLEST_PACKET_SIZE, Transmit, Will};
use crate::text::Utf8Str;
use crate::time::Instant;

/// Takes the first packet of a client, and the exchange of an enhanced authentication, until the client is accepted or
/// refused: see the [module](super).
///
/// Until CONNECT is complete it keeps nothing of what has come.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    now: Instant,
    /// When the client must have taken its next step.
    deadline: Instant,
    /// Where in the output a challenge ends.
    asked_up_to: u64,
    /// How many bytes of the output had been taken when that was last looked at.
    seen_taken: u64,
    step: Step,
    transmit: Transmit,
    pending: Option<Box<Pending>>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// CONNECT has not come.
    Waiting,
    /// It is the caller's turn.
    Deciding,
    /// The client has been challenged.
    Challenged,
    /// The client is refused with this code; the action that says so is still due.
    Closing(ConnAckReasonCode),
    /// It is over, or the client is accepted.
    Over,
}

impl Acceptor {
    /// For a transport that has just been accepted. The configuration is shared with the session that comes of it: an
    /// `Arc` is taken as well.
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

    /// Takes what the transport has read and what time it is, and returns what there is to do next; `None` when there is
    /// nothing more.
    ///
    /// What is left of `input` belongs to what comes next: to this acceptor if CONNECT is not complete, else to the session
    /// that comes of it. A client may send more behind its CONNECT without waiting.
    pub fn poll<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Option<Action<'a>> {
        self.now = now.max(self.now);
        let was_leaving = self.is_leaving();
        self.seen_taken = self.transmit.taken();
        if was_leaving {
            self.await_client();
        }
        let action = match self.step {
            Step::Waiting => self.receive_connect(input),
            Step::Challenged => self.receive_auth(input),
            Step::Closing(reason_code) => Some(self.over(Close::Refused(reason_code.into()))),
            Step::Deciding | Step::Over => None,
        };
        action.or_else(|| {
            let is_late = matches!(self.step, Step::Waiting | Step::Challenged) && self.deadline <= self.now;
            is_late.then(|| self.over(Close::ConnectTimeout))
        })
    }

    /// What is to be written to the transport.
    pub fn transmit(&mut self) -> &mut Transmit {
        &mut self.transmit
    }

    /// When [`poll`](Self::poll) has to be called at the latest, even if nothing is read until then;
    /// [`Instant::EPOCH`] if there is something to do at once.
    pub fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Challenged if self.is_leaving() => Some(Instant::EPOCH),
            Step::Waiting | Step::Challenged => self.deadline.unless_never(),
            Step::Closing(_) => Some(Instant::EPOCH),
            Step::Deciding | Step::Over => None,
        }
    }

    /// The client identifier in CONNECT, which is empty if the client leaves it to the server; `None` as long as no CONNECT
    /// could be read, and when the client is accepted. Still there when the client is refused.
    pub fn client_id(&self) -> Option<&str> {
        self.pending.as_ref().map(|pending| &*pending.client_id)
    }

    /// The user name in CONNECT, if it has one; `None` as well whenever [`client_id`](Self::client_id) is.
    pub fn user_name(&self) -> Option<&str> {
        self.pending.as_ref()?.user_name.as_deref()
    }

    /// Whether bytes of a challenge, or from before it, have left since the time was last told. The client's time begins when
    /// the last one has.
    fn is_leaving(&self) -> bool {
        self.step == Step::Challenged && self.seen_taken < self.asked_up_to && self.seen_taken != self.transmit.taken()
    }

    /// The client has so long for its next step.
    fn await_client(&mut self) {
        self.deadline = match self.config.connect_timeout {
            0 => Instant::NEVER,
            seconds => self.now.after_seconds(u32::from(seconds)),
        };
    }

    /// The client stays known, so that the caller can tell who was refused.
    fn over<'a>(&mut self, why: Close<'a>) -> Action<'a> {
        self.step = Step::Over;
        Action::Close(why)
    }

    fn receive_connect<'a>(&mut self, input: &mut &'a [u8]) -> Option<Action<'a>> {
        // Whatever it is, it need not be complete to be refused [MQTT-3.1.0-1].
        if input.first().is_some_and(|&first| PacketType::from_number(first >> 4) != Some(PacketType::Connect)) {
            return Some(self.over(Close::ProtocolError(ProtocolError::NotConnect)));
        }
        match codec::decode(input, Version::V5, self.config.limits(self.config.max_connect_size)) {
            Ok(Decoded::Packet { packet: Packet::Connect(connect), size }) => {
                *input = input.get(size..).unwrap_or_default();
                Some(self.take_connect(connect))
            }
            Ok(Decoded::Packet { .. }) => Some(self.over(Close::ProtocolError(ProtocolError::NotConnect))),
            Ok(Decoded::Incomplete { .. }) => None,
            Err(error) => self.receive_malformed_connect(input, error),
        }
    }

    /// Refuses a CONNECT that cannot be read, once the version in whose form to answer is known; returns `None` until
    /// then. Without a version the client is not answered.
    #[cold]
    fn receive_malformed_connect<'a>(&mut self, input: &[u8], error: DecodeError) -> Option<Action<'a>> {
        let error = match codec::answer_form_of(input) {
            // The rest may still come, and whether it has come does not change the answer.
            AnswerForm::NotYet if input.len() < self.config.max_connect_size as usize => return None,
            AnswerForm::NotYet | AnswerForm::Unreadable => error,
            AnswerForm::Version(version) => {
                let error = error.with_version(version);
                self.answer_malformed(&error);
                error
            }
        };
        Some(self.over(Close::Malformed(error)))
    }

    fn take_connect<'a>(&mut self, connect: Connect<'a>) -> Action<'a> {
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
                Version::V5 => properties.session_expiry_interval.unwrap_or(0),
                Version::V31 | Version::V311 if connect.clean_start => 0,
                Version::V31 | Version::V311 => u32::MAX,
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
            // A client of an earlier version cannot be told to use a shorter interval.
            _ if !is_v5 && self.config.is_keep_alive_too_long(connect.keep_alive) => {
                Some(ConnAckReasonCode::ClientIdentifierNotValid)
            }
            // A client of an earlier version cannot know.
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
            None => Action::Connect(Box::new(connect)),
            Some(code) => {
                // The client waits for a decision, so it can be refused [MQTT-3.2.2-12, MQTT-3.2.2-13].
                match self.refuse(self.now, code) {
                    // Its Maximum Packet Size may be too small for any CONNACK.
                    Ok(()) | Err(CommandError::TooLarge { .. }) => {}
                    Err(error) => bug!("a client that waits for a decision can be refused: {error}"),
                }
                self.over(Close::Refused(code.into()))
            }
        }
    }

    /// Sends a CONNACK that says what is wrong with a packet that cannot be read, if the version has a form for that.
    fn answer_malformed(&mut self, error: &DecodeError) {
        let code = match (error.version(), error.return_code()) {
            (Version::V5, _) => Some(ConnAckReasonCode::try_from(error.reason_code()).unwrap_or(match error.kind() {
                // The codes of other packets say more than CONNACK can.
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

    /// Refuses the client: CONNACK with this reason code, or for 3.1 and 3.1.1 the return code that says the same. If
    /// there is none, they are not answered \[3.1.1: MQTT-3.2.2-6\]. The action [`Close::Refused`] comes next, with the
    /// reason code.
    ///
    /// # Errors
    ///
    /// [`CommandError::NoConnect`] if there is no client that waits for a decision; [`CommandError::NoRefusal`] for
    /// Success.
    pub fn refuse(&mut self, now: Instant, reason_code: ConnAckReasonCode) -> Result<(), CommandError> {
        self.refuse_with(now, reason_code, &ConnAckProperties::default())
    }

    /// As [`refuse`](Self::refuse), with properties: a reason string, user properties, or the Server Reference to go with
    /// Use another server and Server moved; 5.0 only, others are not sent them. Reason string and user properties that
    /// would make the packet too large for the client are left out \[MQTT-3.2.2-19, MQTT-3.2.2-20\].
    ///
    /// # Errors
    ///
    /// As [`refuse`](Self::refuse), and [`CommandError::Encode`] if it cannot be sent.
    pub fn refuse_with(
        &mut self,
        now: Instant,
        reason_code: ConnAckReasonCode,
        properties: &ConnAckProperties<'_>,
    ) -> Result<(), CommandError> {
        self.now = now.max(self.now);
        let pending = self.pending.as_ref().filter(|_| self.step == Step::Deciding).ok_or(CommandError::NoConnect)?;
        if !reason_code.is_error() {
            return Err(CommandError::NoRefusal);
        }
        match pending.version {
            Version::V5 => {
                let limit = pending.client.maximum_packet_size;
                let connack = ConnAck { session_present: false, reason_code, properties: *properties };
                put_connack(&mut self.transmit, connack, limit)?;
            }
            version if reason_code.return_code().is_some() => {
                let connack = ConnAck { reason_code, ..ConnAck::default() };
                self.transmit.encode(u32::MAX, |out| connack.encode(version, out))?;
            }
            Version::V31 | Version::V311 => {}
        }
        self.step = Step::Closing(reason_code);
        Ok(())
    }

    /// Challenges a client that has named an Authentication Method: AUTH with Continue authentication
    /// \[MQTT-4.12.0-2\]. Its answer is an [`Action::Auth`].
    ///
    /// # Errors
    ///
    /// [`CommandError::NoConnect`] if there is no client that waits for a decision;
    /// [`CommandError::NoAuthentication`] if it has not named a method \[MQTT-4.12.0-6\];
    /// [`CommandError::TooLarge`] if the packet is larger than the client takes.
    pub fn challenge(&mut self, now: Instant, data: &[u8]) -> Result<(), CommandError> {
        self.now = now.max(self.now);
        let pending = self.pending.as_ref().filter(|_| self.step == Step::Deciding).ok_or(CommandError::NoConnect)?;
        let method = pending.method.as_deref().ok_or(CommandError::NoAuthentication)?;
        let limit = pending.client.maximum_packet_size;
        self.transmit.put_auth(Version::V5, method, AuthReasonCode::ContinueAuthentication, data, limit)?;
        self.asked_up_to = self.transmit.end();
        self.step = Step::Challenged;
        self.await_client();
        Ok(())
    }

    /// The answer to a challenge; a client may also give up.
    fn receive_auth<'a>(&mut self, input: &mut &'a [u8]) -> Option<Action<'a>> {
        match codec::decode(input, Version::V5, self.config.limits(self.config.max_connect_size)) {
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
                        Action::Auth(auth)
                    }
                    Packet::Disconnect(disconnect) => self.over(Close::Disconnected(disconnect)),
                    Packet::Connect(_) => self.break_off(ProtocolError::SecondConnect),
                    _ => self.break_off(ProtocolError::UnexpectedAuth), // only AUTH or DISCONNECT [MQTT-3.1.2-30]
                })
            }
            Ok(Decoded::Incomplete { .. }) => None,
            Err(error) => {
                // Even of a CONNECT that names another version: the connection is one of 5.0.
                let error = error.with_version(Version::V5);
                self.answer_malformed(&error);
                Some(self.over(Close::Malformed(error)))
            }
        }
    }

    /// The client has broken the protocol. It is told by CONNACK: there is no DISCONNECT before that
    /// \[MQTT-3.14.0-1\].
    fn break_off<'a>(&mut self, protocol_error: ProtocolError) -> Action<'a> {
        let reason_code =
            ConnAckReasonCode::try_from(protocol_error.reason_code()).unwrap_or(ConnAckReasonCode::ProtocolError);
        let connack = ConnAck { reason_code, ..ConnAck::default() };
        let limit = self.pending.as_ref().map_or(MAX_PACKET_SIZE, |pending| pending.client.maximum_packet_size);
        if let Err(error) = self.transmit.encode(limit, |out| connack.encode(Version::V5, out)) {
            bug!("CONNACK has nothing that cannot be encoded: {error}");
        }
        self.over(Close::ProtocolError(protocol_error))
    }

    /// Accepts the client, into the session that is kept for its client identifier if there is one. CONNACK is in the
    /// [`transmit`](ServerSession::transmit) of the session that comes of it; what this acceptor has not written is there
    /// too, before it.
    ///
    /// A client identifier proves nothing: whether the client is the user to whom the kept session belongs is for the caller
    /// to make sure of, with Clean Start too.
    ///
    /// If the client asks for a new session (Clean Start), or the kept one has expired, what was kept is given up, and its
    /// will, if it was still to be published, is published now. A session that still has a connection loses it; see
    /// [`take_over`](ServerSession::take_over).
    ///
    /// # Errors
    ///
    /// [`NotAccepted`], which gives the kept session back, unchanged, with the reason:
    /// [`CommandError::NoConnect`] if there is no client that waits for a decision;
    /// [`CommandError::NoClientIdentifier`] if the client has to be given one; [`CommandError::Text`] and
    /// [`CommandError::Encode`] if CONNACK cannot be sent, [`CommandError::TooLarge`] if it is larger than the client
    /// takes. The client still waits for a decision then.
    pub fn accept(
        &mut self,
        now: Instant,
        kept: impl Into<Option<ServerSession>>,
        accept: Accept,
    ) -> Result<ServerSession, NotAccepted> {
        let kept = kept.into();
        let is_kept = kept.is_some();
        let version = self.pending.as_ref().map_or(Version::V5, |pending| pending.version);
        let mut session = kept.unwrap_or_else(|| ServerSession::new(Arc::clone(&self.config), version));
        match self.accept_into(now, &mut session, is_kept, accept) {
            Ok(_) => Ok(session), // a session of its own has no marked messages
            Err(reason) => Err(NotAccepted { reason, kept: is_kept.then(|| Box::new(session)) }),
        }
    }

    /// Accepts the client into a session, which was kept for it or is new. Nothing has changed if this returns an error.
    /// Returns the marked messages of a session that does not go on.
    pub(crate) fn accept_into(
        &mut self,
        now: Instant,
        session: &mut ServerSession,
        is_kept: bool,
        accept: Accept,
    ) -> Result<Vec<Marked>, CommandError> {
        self.now = now.max(self.now);
        // The session may have been told a later time.
        let now = session.engine.now.max(self.now);
        let is_present = |pending: &Pending| is_kept && !pending.clean_start && session.outlives_connection(now);
        let (terms, is_present) = self.answer(&accept, is_present)?;
        let pending = self.pending.take().ok_or(CommandError::NoConnect)?;
        self.step = Step::Over;
        session.closed(now);
        session.config = Arc::clone(&self.config);
        Ok(session.attach(*pending, &terms, accept, is_present, now, core::mem::take(&mut self.transmit)))
    }

    /// Puts CONNACK of a client that is accepted into the stream.
    fn answer(
        &mut self,
        accept: &Accept,
        is_present: impl Fn(&Pending) -> bool,
    ) -> Result<(Terms, bool), CommandError> {
        let pending = self.pending.as_ref().filter(|_| self.step == Step::Deciding).ok_or(CommandError::NoConnect)?;
        let is_named = accept.assigned_client_id.as_ref().is_some_and(|name| !name.is_empty());
        if pending.version == Version::V5 && pending.client_id.is_empty() && !is_named {
            return Err(CommandError::NoClientIdentifier);
        }
        let (terms, is_present) = (Terms::new(&self.config, pending, accept), is_present(pending));
        terms.put_connack(&mut self.transmit, &self.config, pending, accept, is_present)?;
        Ok((terms, is_present))
    }
}

/// The interface for a router, see `routing`: what it asks before it decides in which session a client is accepted.
#[allow(dead_code, reason = "for a router: see `routing`")]
impl Acceptor {
    /// Whether the client can be accepted on these terms.
    pub(crate) fn check(&self, accept: &Accept) -> Result<(), CommandError> {
        let pending = self.pending.as_ref().ok_or(CommandError::NoConnect)?;
        let terms = Terms::new(&self.config, pending, accept);
        terms.put_connack(&mut Transmit::default(), &self.config, pending, accept, true)
    }

    /// A session for the client that waits for a decision, with nothing in it.
    pub(crate) fn new_session(&self) -> ServerSession {
        let version = self.pending.as_ref().map_or(Version::V5, |pending| pending.version);
        ServerSession::new(Arc::clone(&self.config), version)
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_written(&self) -> bool {
        self.transmit.len() == 0
    }

    /// The client identifier and the version of the client that waits for a decision.
    pub(crate) fn client(&self) -> Option<(&str, Version)> {
        self.pending.as_ref().map(|pending| (&*pending.client_id, pending.version))
    }

    /// Whether the client that waits for a decision asks for a new session.
    pub(crate) fn asks_clean_start(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.clean_start)
    }
}

impl core::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let client_id = self.pending.as_ref().map(|pending| pending.client_id.to_string());
        f.debug_struct("Acceptor").field("step", &self.step).field("client_id", &client_id).finish_non_exhaustive()
    }
}
