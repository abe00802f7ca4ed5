//! What a client tells its caller.

use core::fmt;

use thiserror::Error;

use super::server::ServerLimits;
use crate::codec::{
    AckProperties, Auth, ConnAck, ConnAckProperties, DecodeError, Disconnect, List, ListIter, ReasonCode,
    SubAckReasonCode, UnsubAckReasonCode,
};
use crate::session::{Breach, PayloadPart, ReceivedMessage, Token};
use crate::text::Utf8Str;

/// What there is to do, or to know. It borrows from the bytes that were received, and not from the client: commands
/// can be given while it is held.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nothing is allocated for a message
#[non_exhaustive]
pub enum Action<'a> {
    /// The server has accepted the connection.
    Connected(Connected<'a>),
    /// A message has arrived.
    Message(ReceivedMessage<'a>),
    /// More of a message has arrived, with [delivery in parts](super::ClientConfig::deliver_in_parts).
    Payload(PayloadPart<'a>),
    /// What was asked for under this token has come to its end. There is one such action for each token.
    Done {
        /// The token.
        token: Token,
        /// What has become of it.
        outcome: Outcome<'a>,
    },
    /// A step of an enhanced authentication: with Continue authentication the server waits for
    /// [`authenticate`](super::ClientSession::authenticate); with Success a re-authentication is complete.
    Auth(Auth<'a>),
    /// The connection is over. What is still in `transmit()` should be written if that is possible, then the
    /// transport is to be closed, and [`closed`](super::ClientSession::closed) be called.
    Close(Close<'a>),
}

/// The server has accepted the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connected<'a> {
    /// What has become of the session.
    pub session: Resumption,
    /// What the server is ready to take. The client keeps to it.
    pub server: ServerLimits,
    /// The properties of CONNACK; empty before 5.0.
    pub properties: ConnAckProperties<'a>,
}

/// What has become of the session when a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumption {
    /// It is a new one.
    New,
    /// The old one goes on: what was in flight is sent again, and subscriptions are still there.
    Resumed,
    /// It is a new one, though there was an old one: the server has forgotten it. Subscriptions are gone. Each message
    /// that was in flight has the outcome [`Loss::Session`].
    Lost,
}

impl fmt::Display for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Resumed => "resumed",
            Self::Lost => "lost",
        })
    }
}

/// What has become of something that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// A message of QoS 0 has been handed to the transport, to its last byte. Nobody will say more about it.
    Sent,
    /// The server has taken a message of QoS 1 or 2, or with a reason code of 0x80 and above refused it.
    Acknowledged {
        /// How it went. Of QoS 2 it is what PUBREC has said.
        reason_code: ReasonCode,
        /// What the last packet has said besides.
        properties: AckProperties<'a>,
    },
    /// The server has answered SUBSCRIBE.
    Subscribed {
        /// What became of each filter, in order.
        reason_codes: List<'a, SubAckReasonCode>,
        /// What it has said besides.
        properties: AckProperties<'a>,
    },
    /// The server has answered UNSUBSCRIBE.
    Unsubscribed {
        /// What became of each filter, in order; empty before 5.0.
        reason_codes: List<'a, UnsubAckReasonCode>,
        /// What it has said besides.
        properties: AckProperties<'a>,
    },
    /// It was given up.
    Lost(Loss),
}

impl<'a> Outcome<'a> {
    /// The reason codes of the server; none if it has not said anything.
    pub fn codes(&self) -> Codes<'a> {
        Codes(match *self {
            Self::Sent | Self::Lost(_) => Inner::One(None),
            Self::Acknowledged { reason_code, .. } => Inner::One(Some(reason_code)),
            Self::Subscribed { reason_codes, .. } => Inner::SubAck(reason_codes.iter()),
            Self::Unsubscribed { reason_codes, .. } => Inner::UnsubAck(reason_codes.iter()),
        })
    }

    /// Whether it is what was asked for: sent, or answered without an error.
    pub fn is_success(&self) -> bool {
        !matches!(self, Self::Lost(_)) && !self.codes().any(ReasonCode::is_error)
    }
}

/// The reason codes of an [`Outcome`].
#[derive(Clone)]
pub struct Codes<'a>(Inner<'a>);

#[derive(Clone)]
enum Inner<'a> {
    One(Option<ReasonCode>),
    SubAck(ListIter<'a, SubAckReasonCode>),
    UnsubAck(ListIter<'a, UnsubAckReasonCode>),
}

impl Iterator for Codes<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        match &mut self.0 {
            Inner::One(code) => code.take(),
            Inner::SubAck(codes) => codes.next().map(ReasonCode::from),
            Inner::UnsubAck(codes) => codes.next().map(ReasonCode::from),
        }
    }
}

impl fmt::Debug for Codes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::SubAck(codes) => f.debug_list().entries(codes.clone()).finish(),
            Inner::One(_) | Inner::UnsubAck(_) => f.debug_list().entries(self.clone()).finish(),
        }
    }
}

/// Why something was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Loss {
    /// A message was in flight when its session ended. The server may have it, or not.
    #[error("the session ended while it was in flight")]
    Session,
    /// A message of QoS 0 had not been handed to the transport when the connection ended.
    #[error("the connection ended before it was sent")]
    Connection,
    /// It made room for a newer one.
    #[error("it made room for a newer one")]
    Overflow,
    /// Its message expiry interval has passed before it could be sent.
    #[error("it has expired before it could be sent")]
    Expired,
    /// The server, known only now, does not take it: the packet is too large, or has a QoS, a RETAIN flag or a
    /// subscription that it does not support.
    #[error("the server does not take it: {0}")]
    NotSupported(ReasonCode),
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nothing is allocated
#[non_exhaustive]
pub enum Close<'a> {
    /// By [`disconnect`](super::ClientSession::disconnect).
    Requested,
    /// The server has refused the connection.
    Refused(ConnAck<'a>),
    /// The server has ended the connection; 5.0 only.
    Disconnected(Disconnect<'a>),
    /// The server has sent something that is no packet. In 5.0 a DISCONNECT tells it so.
    Malformed(DecodeError),
    /// The server has broken the protocol. In 5.0 a DISCONNECT tells it so.
    Breach(Breach),
    /// The server has not answered CONNECT in time.
    ConnectTimeout,
    /// The server has not answered PINGREQ in time.
    PingTimeout,
}

impl<'a> Close<'a> {
    /// The reason code, of whoever has ended the connection.
    pub fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Refused(connack) => Some(connack.reason_code.into()),
            Self::Disconnected(disconnect) => Some(disconnect.reason_code.into()),
            Self::Malformed(error) => Some(error.reason_code()),
            Self::Breach(breach) => Some(breach.reason_code()),
            Self::Requested | Self::ConnectTimeout | Self::PingTimeout => None,
        }
    }

    /// Another server to go to, if there is one: for now if the reason is Use another server, for good if it is Server
    /// moved (section 4.11).
    pub fn server_reference(&self) -> Option<Utf8Str<'a>> {
        match self {
            Self::Refused(connack) => connack.properties.server_reference,
            Self::Disconnected(disconnect) => disconnect.properties.server_reference,
            _ => None,
        }
    }
}

impl fmt::Display for Close<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, reason) = match self {
            Self::Requested => return f.write_str("disconnected"),
            Self::ConnectTimeout => return f.write_str("the server has not answered CONNECT in time"),
            Self::PingTimeout => return f.write_str("the server has not answered PINGREQ in time"),
            Self::Malformed(error) => return fmt::Display::fmt(error, f),
            Self::Breach(breach) => return write!(f, "protocol error: {breach}, close with {}", breach.reason_code()),
            Self::Refused(connack) => {
                write!(f, "the server refuses the connection: {}", connack.reason_code)?;
                (ReasonCode::from(connack.reason_code), connack.properties.reason_string)
            }
            Self::Disconnected(disconnect) => {
                write!(f, "the server disconnects: {}", disconnect.reason_code)?;
                (ReasonCode::from(disconnect.reason_code), disconnect.properties.reason_string)
            }
        };
        if let Some(reason) = reason {
            write!(f, ", {reason}")?;
        }
        match (code, self.server_reference()) {
            (ReasonCode::ServerMoved | ReasonCode::UseAnotherServer, Some(reference)) => write!(f, ": {reference}"),
            _ => Ok(()),
        }
    }
}
