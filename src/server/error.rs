//! Errors of the commands of a server alone.

use alloc::boxed::Box;

use thiserror::Error;

use super::session::ServerSession;
use crate::codec::{EncodeError, Field};
use crate::session::InvalidText;
use crate::topic::TopicError;

/// The error of [`Acceptor::accept`](super::Acceptor::accept): the client could not be accepted.
#[derive(Debug, Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct NotAccepted {
    /// The reason.
    pub reason: AcceptError,
    /// The stored session that was passed in, unchanged.
    pub session: Option<Box<ServerSession>>,
}

/// The reason why a client could not be accepted: see [`NotAccepted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// No client waits for a decision: no CONNECT has arrived, or the CONNECT has been answered already.
    #[error("there is no CONNECT to be answered")]
    NoPendingConnect,
    /// The client has sent no client identifier and must be assigned one \[MQTT-3.1.3-6\].
    #[error("assigned client identifier is missing: the client has no client identifier [MQTT-3.1.3-6]")]
    NoClientIdentifier,
    /// A text of the settings is not valid.
    #[error("{field} {} (at byte {})", error.kind, error.at)]
    Text {
        /// The field of CONNACK that would contain the text.
        field: Field,
        /// The error of the text.
        error: TopicError,
    },
    /// The settings cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the Maximum Packet Size of the client, even without a reason string and user
    /// properties.
    #[error("CONNACK is larger than the {limit} bytes that are accepted [MQTT-3.1.2-24]")]
    TooLarge {
        /// The Maximum Packet Size of the client, in bytes.
        limit: u32,
    },
}

impl From<InvalidText> for AcceptError {
    fn from(InvalidText { field, error }: InvalidText) -> Self {
        Self::Text { field, error }
    }
}

/// The error of [`Acceptor::refuse`](super::Acceptor::refuse).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RefuseError {
    /// No client waits for a decision: no CONNECT has arrived, or the CONNECT has been answered already.
    #[error("there is no CONNECT to be answered")]
    NoPendingConnect,
    /// The reason code is below 0x80.
    #[error("reason code is below 0x80, which is no refusal")]
    SuccessIsNoRefusal,
    /// The properties cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the Maximum Packet Size of the client, even without a reason string and user
    /// properties.
    #[error("CONNACK is larger than the {limit} bytes that are accepted [MQTT-3.1.2-24]")]
    TooLarge {
        /// The Maximum Packet Size of the client, in bytes.
        limit: u32,
    },
}

/// The error of answering a request: of [`suback`](ServerSession::suback) and [`unsuback`](ServerSession::unsuback).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The connection is about to be closed.
    #[error("not connected")]
    NotConnected,
    /// The request arrived on an earlier connection, and is void.
    #[error("the request arrived on an earlier connection")]
    EarlierConnection,
    /// The request has been answered already.
    #[error("the request has been answered already")]
    AlreadyAnswered,
    /// The number of reason codes is not the number of topic filters in the request.
    #[error("reason codes are not one for each topic filter [MQTT-3.8.4-6, MQTT-3.11.3-1]")]
    WrongReasonCodeCount,
    /// The version does not have the reason code, or the properties cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the Maximum Packet Size of the client, even without properties.
    #[error("the answer is larger than the {limit} bytes that are accepted [MQTT-3.1.2-24]")]
    TooLarge {
        /// The Maximum Packet Size of the client, in bytes.
        limit: u32,
    },
}
