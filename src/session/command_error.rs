//! Errors of commands, one for each family of commands. A command that returns an error has no effect.

use thiserror::Error;

use crate::codec::{EncodeError, Field, MaximumQoS, ReasonCode};
use crate::topic::TopicError;

/// The error of publishing a message, by a client, a server session or a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// There is no connection, and the message is not queued: the QoS is 0, or the session has expired.
    #[error("not connected")]
    NotConnected,
    /// The topic is not a valid topic name.
    #[error("topic {} (at byte {})", .0.kind, .0.at)]
    Topic(#[from] TopicError),
    /// The message cannot be encoded, or has what does not exist in this version of the protocol.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the Maximum Packet Size of the peer \[MQTT-3.2.2-15, MQTT-3.1.2-24\] or of the
    /// protocol.
    #[error("PUBLISH is larger than the {limit} bytes that are accepted [MQTT-3.2.2-15, MQTT-3.1.2-24]")]
    TooLarge {
        /// The largest packet, in bytes: the Maximum Packet Size of the peer, or that of the protocol while no
        /// connection is open.
        limit: u32,
    },
    /// The QoS is above the Maximum QoS of the server \[MQTT-3.2.2-11\].
    #[error("qos is above the Maximum QoS of the server, {} [MQTT-3.2.2-11]", maximum.value())]
    QoSNotSupported {
        /// The Maximum QoS of the server.
        maximum: MaximumQoS,
    },
    /// The server does not retain messages \[MQTT-3.2.2-14\].
    #[error("retain is set, but the server does not retain messages [MQTT-3.2.2-14]")]
    RetainNotSupported,
    /// The properties contain a topic alias. Topic aliases are assigned by the session.
    #[error("topic alias is set, but the session assigns topic aliases")]
    TopicAlias,
    /// The properties contain a subscription identifier, which a client must not send \[MQTT-3.3.4-6\].
    #[error("subscription identifiers are set, but a client sends none [MQTT-3.3.4-6]")]
    SubscriptionIdentifier,
    /// The number or the size of the queued and in-flight messages and requests would exceed the configured maximum; in
    /// a broker, that of the retained messages.
    #[error("no more messages can be stored: a configured maximum is reached")]
    QueueFull,
    /// The topic has more levels than a broker allows.
    #[error("topic has more levels than `max_topic_levels`")]
    TooManyLevels,
}

impl PublishError {
    /// Returns the reason code for a message that the peer, whose limits were unknown when the message was stored, does
    /// not support.
    pub(super) const fn reason_code(self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::QoSNotSupported { .. } => ReasonCode::QoSNotSupported,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            _ => ReasonCode::ImplementationSpecificError,
        }
    }
}

/// The error of subscribing or unsubscribing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The request cannot be encoded, or has what does not exist in this version of the protocol.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the Maximum Packet Size of the server \[MQTT-3.2.2-15\] or of the protocol.
    #[error("the request is larger than the {limit} bytes that are accepted [MQTT-3.2.2-15]")]
    TooLarge {
        /// The largest packet, in bytes: the Maximum Packet Size of the server, or that of the protocol while no
        /// connection is open.
        limit: u32,
    },
    /// The server does not support wildcard subscriptions, shared subscriptions or subscription identifiers (section
    /// 3.2.2.3.11 to 3.2.2.3.13); the reason code says which.
    #[error("{} is not supported by the server: {code}", unsupported_field(*.0), code = .0)]
    NotSupported(ReasonCode),
    /// The number or the size of the queued and in-flight messages and requests would exceed the configured maximum.
    #[error("no more requests can be stored: a configured maximum is reached")]
    QueueFull,
}

const fn unsupported_field(reason_code: ReasonCode) -> &'static str {
    match reason_code {
        ReasonCode::SubscriptionIdentifiersNotSupported => "subscription identifier",
        _ => "topic filter",
    }
}

impl SubscribeError {
    /// As [`PublishError::reason_code`], for a request.
    pub(super) const fn reason_code(self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::NotSupported(code) => code,
            Self::Encode(_) | Self::QueueFull => ReasonCode::ImplementationSpecificError,
        }
    }
}

/// The error of a packet that cannot be queued.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotQueued {
    TooLarge { limit: u32 },
    QueueFull,
}

impl From<NotQueued> for PublishError {
    fn from(error: NotQueued) -> Self {
        match error {
            NotQueued::TooLarge { limit } => Self::TooLarge { limit },
            NotQueued::QueueFull => Self::QueueFull,
        }
    }
}

impl From<NotQueued> for SubscribeError {
    fn from(error: NotQueued) -> Self {
        match error {
            NotQueued::TooLarge { limit } => Self::TooLarge { limit },
            NotQueued::QueueFull => Self::QueueFull,
        }
    }
}

/// The error of withdrawing an operation: no operation with this token can be withdrawn. Its outcome is known already, or
/// it is a message of QoS 0 that is in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the token belongs to no operation that can be withdrawn")]
pub struct UnknownToken;

/// The error of acknowledging a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AckError {
    /// The connection is over, or about to be closed.
    #[error("not connected")]
    NotConnected,
    /// The message arrived on an earlier connection. The peer sends it again if the session is resumed.
    #[error("the message arrived on an earlier connection")]
    EarlierConnection,
    /// The message has been acknowledged already.
    #[error("the message has been acknowledged already")]
    AlreadyAcknowledged,
    /// The properties cannot be encoded, or do not exist in this version of the protocol.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The error of a step of an enhanced authentication (section 4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// There is no connection, or it is not established yet.
    #[error("not connected")]
    NotConnected,
    /// No client waits for a decision: no CONNECT has arrived, or the CONNECT has been answered already.
    #[error("there is no CONNECT to be answered")]
    NoPendingConnect,
    /// CONNECT had no Authentication Method \[MQTT-4.12.0-6, MQTT-4.12.0-7\], or the next step of the authentication is
    /// due from the peer.
    #[error("no step of an authentication is due from this endpoint [MQTT-4.12.0-6, MQTT-4.12.0-7]")]
    NoAuthentication,
    /// The authentication data cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the Maximum Packet Size of the peer.
    #[error("AUTH is larger than the {limit} bytes that are accepted [MQTT-3.2.2-15, MQTT-3.1.2-24]")]
    TooLarge {
        /// The Maximum Packet Size of the peer, in bytes.
        limit: u32,
    },
}

/// The error of sending DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// There is no connection, or it is about to be closed.
    #[error("not connected")]
    NotConnected,
    /// DISCONNECT cannot set a Session Expiry Interval: that of CONNECT was 0 or absent (section 3.14.2.2.2), or this
    /// endpoint is a server, which must not send the property \[MQTT-3.14.2-2\].
    #[error("session expiry interval is set, but CONNECT had none, or this is a server (section 3.14.2.2.2)")]
    SessionExpiry,
    /// The reason code is one that only a client may send \[MQTT-3.14.2-1\].
    #[error("reason code is one that only a client sends [MQTT-3.14.2-1]")]
    ClientReasonCode,
    /// The packet cannot be encoded, or has what does not exist in this version of the protocol.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the Maximum Packet Size of the peer, even without a reason string and user properties.
    #[error("DISCONNECT is larger than the {limit} bytes that are accepted [MQTT-3.2.2-15, MQTT-3.1.2-24]")]
    TooLarge {
        /// The Maximum Packet Size of the peer, in bytes.
        limit: u32,
    },
}

/// A text of a configuration that a packet cannot contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InvalidText {
    pub(crate) field: Field,
    pub(crate) error: TopicError,
}

impl InvalidText {
    /// Returns a conversion of the error of this field.
    pub(crate) fn of<E: Into<TopicError>>(field: Field) -> impl FnOnce(E) -> Self {
        move |error| Self { field, error: error.into() }
    }
}
