//! Owned copies of the actions of an endpoint.

use mqtt_sansio::client::{Action, Resumption};
use mqtt_sansio::codec::{QoS, ReasonCode};
use mqtt_sansio::server;
use mqtt_sansio::{AbandonReason, AckHandle, Outcome, PayloadPart, ReceivedMessage, Token};

/// An owned copy of an [`Action`] of the client, or of the [server](server::Action).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client is connected.
    Connected(Resumption),
    /// A client asks to be accepted.
    Connect,
    /// The client has sent SUBSCRIBE or UNSUBSCRIBE.
    Request,
    /// The will with this payload is to be published.
    Will(Vec<u8>),
    /// The session has expired.
    Expired,
    /// A message has arrived completely.
    Message(Received),
    /// An operation has an outcome.
    Done(Token, Fate),
    /// A step of an enhanced authentication.
    Auth,
    /// The connection was closed, for this reason.
    Close(String),
}

/// A message that an endpoint has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS.
    pub qos: QoS,
    /// The DUP flag.
    pub dup: bool,
    /// The handle to acknowledge the message with, if acknowledgements are manual.
    pub ack_handle: Option<AckHandle>,
}

/// An owned copy of an [`Outcome`].
///
/// ```
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio::{Message, QoS, SessionExpiry};
/// # use mqtt_sansio_testkit::{Pair, accept_all};
/// # use mqtt_sansio::AbandonReason;
/// # use mqtt_sansio_testkit::Fate;
/// # let config = ClientConfig { session_expiry_interval: SessionExpiry::after(60), ..ClientConfig::default() };
/// # let mut net = Pair::seeded(42).client(config).server(accept_all());
/// # net.run_until_quiet();
/// # let now = net.now();
/// let token = net.client().publish(now, &Message::new("a", "1").qos(QoS::AtLeastOnce))?;
/// net.client().withdraw(now, token)?;
/// net.run_until_quiet();
/// assert_eq!(net.fate(token), Some(&Fate::Abandoned(AbandonReason::Withdrawn)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A message of QoS 0 was sent.
    Sent,
    /// The peer has answered with these reason codes.
    Answered(Vec<ReasonCode>),
    /// The operation was abandoned.
    Abandoned(AbandonReason),
}

/// All events of an endpoint, in order.
///
/// ```
/// # use mqtt_sansio::Instant;
/// # use mqtt_sansio::client::{ClientConfig, ClientSession};
/// # use mqtt_sansio_testkit::Log;
/// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
/// # client.open(now)?;
/// let mut log = Log::default();
/// let mut input = &b"\x20\x03\0\0\0\x30\x05\0\x01q\x007"[..]; // CONNACK, PUBLISH
/// while let Some(action) = client.poll(now, &mut input) {
///     log.add(&action); // `add_from_server` and `add_from_acceptor` for the actions of a server
/// }
/// log.closed(); // the connection is over
/// assert_eq!((log.events().len(), log.messages().count()), (2, 1));
/// # Ok::<(), mqtt_sansio::client::OpenError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Vec<Event>,
    /// A message that has arrived in part. It becomes an event when it is complete.
    partial: Option<Received>,
}

impl Log {
    /// Returns all events.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Returns the messages among the events.
    pub fn messages(&self) -> impl Iterator<Item = &Received> {
        self.events.iter().filter_map(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        })
    }

    /// Returns the outcome of an operation, if it has one.
    ///
    /// # Panics
    ///
    /// Panics if the operation has more than one outcome.
    pub fn fate(&self, wanted: Token) -> Option<&Fate> {
        let mut fates = self.events.iter().filter_map(|event| match event {
            Event::Done(token, fate) if *token == wanted => Some(fate),
            _ => None,
        });
        let fate = fates.next();
        assert_eq!(fates.next(), None, "token {wanted} has more than one outcome");
        fate
    }

    /// Records an action of the client.
    ///
    /// # Panics
    ///
    /// Panics if the action is a part of a message whose beginning is missing, or if another action interrupts the
    /// parts of a message.
    pub fn add(&mut self, action: &Action<'_>) {
        let event = match action {
            Action::Connected(connected) => Event::Connected(connected.session),
            Action::Message(message) => return self.add_message(message),
            Action::Payload(part) => return self.add_part(part),
            Action::Done { token, outcome } => Event::Done(*token, outcome.into()),
            Action::Auth(_) => Event::Auth,
            Action::Close(why) => Event::Close(why.to_string()),
            unknown => panic!("the test kit does not know the action {unknown:?}"),
        };
        self.events.push(event);
    }

    /// Records an action of a server, like [`add`](Self::add).
    ///
    /// # Panics
    ///
    /// Those of [`add`](Self::add).
    pub fn add_from_server(&mut self, action: &server::Action<'_>) {
        let event = match action {
            server::Action::Message(message) => return self.add_message(message),
            server::Action::Payload(part) => return self.add_part(part),
            server::Action::Subscribe(_) | server::Action::Unsubscribe(_) => Event::Request,
            server::Action::Done { token, outcome } => Event::Done(*token, outcome.into()),
            server::Action::Auth(_) => Event::Auth,
            server::Action::Will(will) => Event::Will(will.payload.clone()),
            server::Action::Expired => Event::Expired,
            server::Action::Close(why) => Event::Close(why.to_string()),
            unknown => panic!("the test kit does not know the action {unknown:?}"),
        };
        self.events.push(event);
    }

    /// As [`add`](Self::add), for what an acceptor asks for.
    pub fn add_from_acceptor(&mut self, action: &server::AcceptorAction<'_>) {
        self.events.push(match action {
            server::AcceptorAction::Connect(_) => Event::Connect,
            server::AcceptorAction::Auth(_) => Event::Auth,
            server::AcceptorAction::Close(why) => Event::Close(why.to_string()),
        });
    }

    fn add_message(&mut self, message: &ReceivedMessage<'_>) {
        let received = Received {
            topic: message.topic.as_str().to_string(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            dup: message.dup,
            ack_handle: message.ack_handle,
        };
        assert_eq!(self.partial, None, "a message has arrived between the parts of another one");
        self.keep(received, message.missing);
    }

    fn add_part(&mut self, part: &PayloadPart<'_>) {
        let mut received = self.partial.take().expect("a part belongs to a message");
        received.payload.extend_from_slice(part.bytes);
        received.ack_handle = part.ack_handle;
        self.keep(received, part.missing);
    }

    fn keep(&mut self, received: Received, missing: u32) {
        if missing > 0 {
            self.partial = Some(received);
        } else {
            self.events.push(Event::Message(received));
        }
    }

    /// Records the end of the connection: an incomplete message will be sent again as a whole.
    pub fn closed(&mut self) {
        self.partial = None;
    }
}

impl From<&Outcome<'_>> for Fate {
    fn from(outcome: &Outcome<'_>) -> Self {
        match outcome {
            Outcome::Sent => Self::Sent,
            Outcome::Abandoned(reason) => Self::Abandoned(*reason),
            _ => Self::Answered(outcome.codes().collect()),
        }
    }
}

impl Fate {
    /// Returns whether the operation succeeded.
    pub fn is_success(&self) -> bool {
        match self {
            Self::Sent => true,
            Self::Answered(codes) => !codes.iter().any(|code| code.is_error()),
            Self::Abandoned(_) => false,
        }
    }
}
