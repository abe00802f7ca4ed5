//! What an end tells, in a form that can be kept.

use mqtt_sansio::client::{Action, Resumption};
use mqtt_sansio::codec::{QoS, ReasonCode};
use mqtt_sansio::server;
use mqtt_sansio::{AbandonReason, Outcome, PayloadPart, Receipt, ReceivedMessage, Token};

/// An [`Action`] of the client, or of the [server](server::Action).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client is connected.
    Connected(Resumption),
    /// A client asks to be connected.
    Connect,
    /// The client asks for messages, or not to be sent them any more.
    Request,
    /// The will of the client is to be published; its payload.
    Will(Vec<u8>),
    /// The session is at its end.
    Expired,
    /// A message has arrived, with its last part.
    Message(Received),
    /// Something has come to its end.
    Done(Token, Fate),
    /// A step of an enhanced authentication.
    Auth,
    /// The connection is over; why.
    Close(String),
}

/// A message that an end was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What it is about.
    pub topic: String,
    /// Its content.
    pub payload: Vec<u8>,
    /// With which guarantee.
    pub qos: QoS,
    /// Whether it may have been sent before.
    pub dup: bool,
    /// With what it is to be acknowledged, if that is the application's business.
    pub receipt: Option<Receipt>,
}

/// An [`Outcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A message of QoS 0 has left.
    Sent,
    /// The other end has answered; its reason codes.
    Answered(Vec<ReasonCode>),
    /// It was given up.
    Abandoned(AbandonReason),
}

/// All that an end has told, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Vec<Event>,
    /// A message of which a part has come; it is an event when it is complete.
    partial: Option<Received>,
}

impl Log {
    /// What was told.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The messages among that.
    pub fn messages(&self) -> impl Iterator<Item = &Received> {
        self.events.iter().filter_map(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        })
    }

    /// Takes down what the client tells now.
    ///
    /// # Panics
    ///
    /// If it is a part of a message that has not begun, or if something comes between the parts of a message.
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

    /// As [`add`](Self::add), for what a server tells.
    ///
    /// # Panics
    ///
    /// As [`add`](Self::add).
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
            receipt: message.receipt,
        };
        assert_eq!(self.partial, None, "a message has come between the parts of another one");
        self.keep(received, message.missing);
    }

    fn add_part(&mut self, part: &PayloadPart<'_>) {
        let mut received = self.partial.take().expect("a part belongs to a message");
        received.payload.extend_from_slice(part.bytes);
        received.receipt = part.receipt;
        self.keep(received, part.missing);
    }

    fn keep(&mut self, received: Received, missing: u32) {
        if missing > 0 {
            self.partial = Some(received);
        } else {
            self.events.push(Event::Message(received));
        }
    }

    /// The connection is gone: a message that has not come as a whole begins anew.
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
    /// Whether it is what was asked for.
    pub fn is_success(&self) -> bool {
        match self {
            Self::Sent => true,
            Self::Answered(codes) => !codes.iter().any(|code| code.is_error()),
            Self::Abandoned(_) => false,
        }
    }
}
