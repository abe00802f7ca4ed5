//! What a client tells its caller.

use core::fmt;

use super::server::ServerLimits;
use crate::codec::{Auth, ConnAck, ConnAckProperties, DecodeError, Disconnect, ReasonCode};
use crate::session::{Done, Outcome, PayloadPart, ProtocolError, ReceivedMessage, Token};
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

impl<'a> From<ReceivedMessage<'a>> for Action<'a> {
    #[inline(always)]
    fn from(message: ReceivedMessage<'a>) -> Self {
        Self::Message(message)
    }
}

impl<'a> From<PayloadPart<'a>> for Action<'a> {
    fn from(part: PayloadPart<'a>) -> Self {
        Self::Payload(part)
    }
}

impl<'a> From<Done<'a>> for Action<'a> {
    #[inline(always)]
    fn from(Done { token, outcome }: Done<'a>) -> Self {
        Self::Done { token, outcome }
    }
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
    /// The old one goes on: what was in flight is sent again, and subscriptions are still there. (3.1 cannot tell; there
    /// it is taken for granted unless a new session was asked for.)
    Resumed,
    /// It is a new one, though there was an old one: the server has forgotten it. Subscriptions are gone. Each message
    /// that was in flight has the outcome [`AbandonReason::Session`](crate::AbandonReason::Session).
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
    ProtocolError(ProtocolError),
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
            Self::ProtocolError(protocol_error) => Some(protocol_error.reason_code()),
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
            Self::ProtocolError(protocol_error) => {
                return write!(f, "protocol error: {protocol_error}, close with {}", protocol_error.reason_code());
            }
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
