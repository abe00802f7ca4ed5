//! What a server's end tells its caller.

use alloc::boxed::Box;
use core::fmt;

use super::request::{SubscribeRequest, UnsubscribeRequest};
use crate::codec::{Auth, Connect, DecodeError, Disconnect, ReasonCode};
use crate::session::{Done, Outcome, PayloadPart, ProtocolError, ReceivedMessage, Token, Will};

/// What there is to do, or to know. It borrows from the bytes that were received, and not from the engine: commands can
/// be given while it is held.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nothing is allocated for a message
#[non_exhaustive]
pub enum Action<'a> {
    /// A client asks to be connected: to be accepted or refused, at once or later. From an
    /// [`Acceptor`](super::Acceptor) only.
    Connect(Box<Connect<'a>>),
    /// A step of an enhanced authentication. Before the client is accepted: the answer to a challenge. Afterwards, with
    /// Re-authenticate, the beginning of another one, and with Continue authentication the answer to a challenge.
    Auth(Auth<'a>),
    /// A message has arrived.
    Message(ReceivedMessage<'a>),
    /// More of a message has arrived, with [delivery in parts](super::ServerConfig::deliver_in_parts).
    Payload(PayloadPart<'a>),
    /// The client asks for messages: to be answered by [`suback`](super::ServerSession::suback), at once or later.
    Subscribe(SubscribeRequest<'a>),
    /// The client ends subscriptions: to be answered by [`unsuback`](super::ServerSession::unsuback), at once or later.
    Unsubscribe(UnsubscribeRequest<'a>),
    /// What was published to the client under this token has come to its end. There is one such action for each token.
    Done {
        /// The token.
        token: Token,
        /// What has become of it.
        outcome: Outcome<'a>,
    },
    /// The connection is over. What is still in `transmit()` should be written if that is possible, then the transport is
    /// to be closed, and [`closed`](super::ServerSession::closed) be called.
    Close(Close<'a>),
    /// The will of the client is to be published now. There is at most one such action for each connection.
    Will(Box<Will>),
    /// The session is at its end, and can be dropped once there is nothing more to tell.
    Expired,
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

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Close<'a> {
    /// By a command of the caller's: the client was disconnected, or another connection has taken over.
    Requested,
    /// The client has disconnected.
    Disconnected(Disconnect<'a>),
    /// The client has sent something that is no packet. In 5.0 it is told so.
    Malformed(DecodeError),
    /// The client has broken the protocol. In 5.0 it is told so.
    ProtocolError(ProtocolError),
    /// The client is refused with this code: by [`Acceptor::refuse`](super::Acceptor::refuse), or because its CONNECT asks
    /// for what the server does not do.
    Refused(ReasonCode),
    /// CONNECT, or a step of the authentication, has not come in time.
    ConnectTimeout,
    /// Nothing has come for one and a half times the keep-alive interval \[MQTT-3.1.2-22\].
    KeepAliveTimeout,
}

impl Close<'_> {
    /// The reason code, of whichever end has closed the connection; `None` where no packet has one.
    pub fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Disconnected(disconnect) => Some(disconnect.reason_code.into()),
            Self::Malformed(error) => Some(error.reason_code()),
            Self::ProtocolError(protocol_error) => Some(protocol_error.reason_code()),
            Self::Refused(reason_code) => Some(*reason_code),
            Self::KeepAliveTimeout => Some(ReasonCode::KeepAliveTimeout),
            Self::Requested | Self::ConnectTimeout => None,
        }
    }
}

impl fmt::Display for Close<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("disconnected"),
            Self::Disconnected(disconnect) => {
                write!(f, "the client disconnects: {}", disconnect.reason_code)?;
                match disconnect.properties.reason_string {
                    Some(reason) => write!(f, ", {reason}"),
                    None => Ok(()),
                }
            }
            Self::Malformed(error) => fmt::Display::fmt(error, f),
            Self::ProtocolError(protocol_error) => {
                write!(f, "protocol error: {protocol_error}, close with {}", protocol_error.reason_code())
            }
            Self::Refused(code) => write!(f, "the client is refused: {code}"),
            Self::ConnectTimeout => f.write_str("CONNECT has not come in time"),
            Self::KeepAliveTimeout => f.write_str("nothing has come for one and a half times the keep-alive interval"),
        }
    }
}
