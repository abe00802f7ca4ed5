//! Actions that a client session returns to its caller.

use core::fmt;

use super::server::ServerLimits;
use crate::codec::{Auth, ConnAck, ConnAckProperties, DecodeError, Disconnect, DisconnectReasonCode, ReasonCode};
use crate::session::{Done, Outcome, PayloadPart, ProtocolError, ReceivedMessage, Token, is_passing};
use crate::text::Utf8Str;

/// An event to report, or a step for the caller to take. An action borrows from the received bytes, not from the
/// session: the caller can give commands while it holds one.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nothing is allocated for a message
#[non_exhaustive]
pub enum Action<'a> {
    /// The server has accepted the connection.
    Connected(Connected<'a>),
    /// A message has arrived.
    Message(ReceivedMessage<'a>),
    /// The next part of a payload has arrived, with [delivery in parts](super::ClientConfig::deliver_in_parts).
    Payload(PayloadPart<'a>),
    /// The operation with this token is complete. Each token has exactly one such action.
    Done {
        /// The token that the command returned.
        token: Token,
        /// The outcome of the operation.
        outcome: Outcome<'a>,
    },
    /// A step of an enhanced authentication has arrived. With Continue authentication the server waits for
    /// [`authenticate`](super::ClientSession::authenticate); with Success a re-authentication is complete.
    Auth(Auth<'a>),
    /// The connection is over. The caller writes the rest of `transmit()` if that is possible, closes the transport,
    /// and calls [`closed`](super::ClientSession::closed).
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

/// The server's acceptance of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Connected<'a> {
    /// Whether the session is new, resumed or lost.
    pub session: Resumption,
    /// The limits that the server has announced. The session observes them.
    pub server: ServerLimits,
    /// The properties of CONNACK; empty before 5.0.
    pub properties: ConnAckProperties<'a>,
}

/// The state of the session at the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resumption {
    /// The session is new.
    New,
    /// The session is resumed: messages in flight are sent again, and subscriptions are still valid. CONNACK of 3.1 has
    /// no Session Present flag: in 3.1 the session counts as resumed unless the client has asked for a new one.
    Resumed,
    /// The session is new, because the server has lost the previous one. Its subscriptions are gone. Each message that
    /// was in flight has the outcome [`AbandonReason::Session`](crate::AbandonReason::Session).
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

/// The reason why a connection is over.
///
/// ```
/// # use mqtt_sansio::Instant;
/// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
/// # use mqtt_sansio::codec::ReasonCode;
/// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
/// # client.open(now)?;
/// # let mut connack = &b"\x20\x03\0\0\0"[..];
/// # assert!(client.poll(now, &mut connack).is_some());
/// let mut input = &b"\xe0\x01\x89"[..]; // DISCONNECT, with Server busy
/// let Some(Action::Close(why)) = client.poll(now, &mut input) else { panic!("it is complete") };
/// assert_eq!(why.reason_code(), Some(ReasonCode::ServerBusy));
/// if why.may_retry() { // after `client.backoff()`, with `why.server_reference()` if there is one
///     println!("connecting again: {why}");
/// }
/// # assert!(why.may_retry() && why.server_reference().is_none());
/// # Ok::<(), mqtt_sansio::client::OpenError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nothing is allocated
#[non_exhaustive]
pub enum Close<'a> {
    /// The caller has called [`disconnect`](super::ClientSession::disconnect).
    Requested,
    /// The server has refused the connection.
    Refused(ConnAck<'a>),
    /// The server has sent DISCONNECT; 5.0 only.
    Disconnected(Disconnect<'a>),
    /// The server has sent a packet that cannot be decoded, or that exceeds a limit of the configuration. In 5.0
    /// DISCONNECT reports it.
    Malformed(DecodeError),
    /// The server has caused a Protocol Error. In 5.0 DISCONNECT reports it.
    ProtocolError(ProtocolError),
    /// The server has not answered CONNECT, or an AUTH before CONNACK, within
    /// [`connect_timeout`](super::ClientConfig::connect_timeout).
    ConnectTimeout,
    /// Nothing has arrived for the keep-alive interval, nor within [`ping_timeout`](super::ClientConfig::ping_timeout)
    /// after PINGREQ.
    KeepAliveTimeout,
}

impl<'a> Close<'a> {
    /// Returns the reason code of the endpoint that has ended the connection; `None` where no packet has one.
    pub fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Refused(connack) => Some(connack.reason_code.into()),
            Self::Disconnected(disconnect) => Some(disconnect.reason_code.into()),
            Self::Malformed(error) => Some(error.reason_code()),
            Self::ProtocolError(protocol_error) => Some(protocol_error.reason_code()),
            Self::Requested | Self::ConnectTimeout | Self::KeepAliveTimeout => None,
        }
    }

    /// Returns whether the client may connect again to the same server, unchanged, with a chance to succeed: after a
    /// timeout, and where the [reason code](Self::reason_code) names a passing state, as Server busy does. A pause comes
    /// first, see [`backoff`](super::ClientSession::backoff).
    ///
    /// It may not after its own [`Requested`](Self::Requested) disconnection, if the server has refused what it will
    /// refuse again, if another client has taken over the session (the two would take it from each other for ever), or
    /// after an error in a packet. The loss of a transport is not a `Close`, and can be followed by another connection.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::ConnectTimeout | Self::KeepAliveTimeout => true,
            Self::Refused(connack) => is_passing(connack.reason_code.into()),
            // A server that disconnects normally has no objection to the client.
            Self::Disconnected(Disconnect { reason_code, .. }) => {
                *reason_code == DisconnectReasonCode::NormalDisconnection || is_passing((*reason_code).into())
            }
            Self::Requested | Self::Malformed(_) | Self::ProtocolError(_) => false,
        }
    }

    /// Returns the Server Reference, another server to connect to, if there is one. It is temporary if the reason is
    /// Use another server, and permanent if the reason is Server moved (section 4.11).
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
            Self::KeepAliveTimeout => return f.write_str("the server has not answered PINGREQ in time"),
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
