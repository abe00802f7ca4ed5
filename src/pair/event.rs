//! What a client tells, in a form that can be kept.

use std::string::{String, ToString as _};
use std::vec::Vec;

use crate::client::{Action, Loss, Outcome, Resumption};
use crate::codec::{QoS, ReasonCode};
use crate::session::{Receipt, Token};

/// An [`Action`] of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is connected.
    Connected(Resumption),
    /// A message has arrived.
    Message(Received),
    /// Something has come to its end.
    Done(Token, Fate),
    /// A step of an enhanced authentication.
    Auth,
    /// More of a message that is delivered in parts, and how many bytes are still to come.
    Payload(Vec<u8>, u32),
    /// The connection is over; why.
    Close(String),
}

/// A message that the client was given.
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
    /// The server has answered; its reason codes.
    Answered(Vec<ReasonCode>),
    /// It was given up.
    Lost(Loss),
}

impl From<&Action<'_>> for Event {
    fn from(action: &Action<'_>) -> Self {
        match action {
            Action::Connected(connected) => Self::Connected(connected.session),
            Action::Message(message) => Self::Message(Received {
                topic: message.topic.as_str().to_string(),
                payload: message.payload.to_vec(),
                qos: message.qos,
                dup: message.dup,
                receipt: message.receipt,
            }),
            Action::Done { token, outcome } => Self::Done(*token, outcome.into()),
            Action::Payload(part) => Self::Payload(part.bytes.to_vec(), part.missing),
            Action::Auth(_) => Self::Auth,
            Action::Close(why) => Self::Close(why.to_string()),
        }
    }
}

impl From<&Outcome<'_>> for Fate {
    fn from(outcome: &Outcome<'_>) -> Self {
        match outcome {
            Outcome::Sent => Self::Sent,
            Outcome::Lost(loss) => Self::Lost(*loss),
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
            Self::Lost(_) => false,
        }
    }
}
