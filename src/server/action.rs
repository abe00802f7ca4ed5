//! Actions that an acceptor and a server session return to their caller.

use alloc::boxed::Box;
use core::fmt;

use super::request::{SubscribeRequest, UnsubscribeRequest};
use crate::codec::{Auth, Connect, DecodeError, Disconnect, ReasonCode};
use crate::session::{Done, Outcome, PayloadPart, ProtocolError, ReceivedMessage, Token, Will, is_passing};
use crate::text::Utf8Str;

/// A step that an [`Acceptor`](super::Acceptor) asks the caller to take. An action borrows from the received bytes, not
/// from the acceptor: the caller can give commands while it holds one.
///
/// There are no others: before CONNACK the protocol has only CONNECT, AUTH and the end of the connection.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nothing is allocated
pub enum AcceptorAction<'a> {
    /// A client wants to connect. The caller [accepts](super::Acceptor::accept), [refuses](super::Acceptor::refuse) or
    /// [challenges](super::Acceptor::challenge) it, at once or later.
    Connect(Box<Connect<'a>>),
    /// The client has answered a [challenge](super::Acceptor::challenge). The caller accepts, refuses or challenges it,
    /// at once or later.
    Auth(Auth<'a>),
    /// The connection is over. The caller writes the rest of `transmit()` if that is possible, and closes the
    /// transport.
    Close(Close<'a>),
}

/// An event to report, or a step that a [`ServerSession`](super::ServerSession) asks the caller to take. An action
/// borrows from the received bytes, not from the session: the caller can give commands while it holds one.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nothing is allocated for a message
#[non_exhaustive]
pub enum Action<'a> {
    /// A step of an enhanced authentication has arrived. With Re-authenticate it starts a re-authentication; with
    /// Continue authentication it is the answer to a [challenge](super::ServerSession::challenge).
    Auth(Auth<'a>),
    /// A message has arrived.
    Message(ReceivedMessage<'a>),
    /// The next part of a payload has arrived, with [delivery in parts](super::ServerConfig::deliver_in_parts).
    Payload(PayloadPart<'a>),
    /// The client wants to subscribe. The caller answers with [`suback`](super::ServerSession::suback), at once or
    /// later.
    Subscribe(SubscribeRequest<'a>),
    /// The client wants to unsubscribe. The caller answers with [`unsuback`](super::ServerSession::unsuback), at once
    /// or later.
    Unsubscribe(UnsubscribeRequest<'a>),
    /// The delivery with this token is complete. Each token has exactly one such action.
    Done {
        /// The token that [`publish`](super::ServerSession::publish) returned.
        token: Token,
        /// The outcome of the delivery.
        outcome: Outcome<'a>,
    },
    /// The connection is over. The caller writes the rest of `transmit()` if that is possible, closes the transport,
    /// and calls [`closed`](super::ServerSession::closed).
    Close(Close<'a>),
    /// The will of the client is to be published now. There is at most one such action for each connection.
    /// `Message::try_from(&*will)` makes the message to publish.
    Will(Box<Will>),
    /// The session has expired. It can be dropped once [`poll`](super::ServerSession::poll) returns no further action.
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

/// The reason why a connection is over.
///
/// ```
/// # use mqtt_sansio::Instant;
/// # use mqtt_sansio::codec::ReasonCode;
/// # use mqtt_sansio::server::{Accept, Acceptor, Action, ServerConfig};
/// # let now = Instant::EPOCH;
/// # let mut acceptor = Acceptor::new(ServerConfig::default(), now);
/// # let mut input = &b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06thermo"[..];
/// # assert!(acceptor.poll(now, &mut input).is_some());
/// # let mut session = acceptor.accept(now, None, Accept::default())?;
/// let mut input = &b"\xe0\x01\x04"[..]; // DISCONNECT, with Disconnect with Will Message
/// let Some(Action::Close(why)) = session.poll(now, &mut input) else { panic!("it is complete") };
/// assert_eq!(why.reason_code(), Some(ReasonCode::DisconnectWithWillMessage));
/// println!("{} is gone: {why}", session.client_id());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Close<'a> {
    /// The caller has called [`disconnect`](super::ServerSession::disconnect) or
    /// [`take_over`](super::ServerSession::take_over).
    Requested,
    /// The client has sent DISCONNECT.
    Disconnected(Disconnect<'a>),
    /// The client has sent a packet that cannot be decoded, or that exceeds a limit of the configuration. In 5.0
    /// DISCONNECT reports it; before the client is accepted CONNACK does, in every version that has a code for it.
    Malformed(DecodeError),
    /// The client has caused a Protocol Error. In 5.0 DISCONNECT reports it, or CONNACK if the client is not accepted
    /// yet; a first packet that is not CONNECT is not answered.
    ProtocolError(ProtocolError),
    /// The client is refused with this reason code, by [`Acceptor::refuse`](super::Acceptor::refuse), or because its
    /// CONNECT asks for something that the server does not support.
    Refused(ReasonCode),
    /// CONNECT, or a step of the authentication, has not arrived within
    /// [`connect_timeout`](super::ServerConfig::connect_timeout).
    ConnectTimeout,
    /// Nothing has arrived for one and a half times the keep-alive interval \[MQTT-3.1.2-22\].
    KeepAliveTimeout,
}

impl<'a> Close<'a> {
    /// Returns the reason code of the endpoint that has ended the connection; `None` where no packet has one.
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

    /// Returns whether the client may connect again, unchanged, with a chance to succeed: after a timeout, and where the
    /// [reason code](Self::reason_code) names a passing state, as Server busy does. It may not if an endpoint has ended
    /// the connection on purpose ([`Requested`](Self::Requested), Normal disconnection, Disconnect with Will Message),
    /// if the client has been refused for what it will ask again, or after an error in a packet.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::ConnectTimeout | Self::KeepAliveTimeout => true,
            Self::Refused(reason_code) => is_passing(*reason_code),
            Self::Disconnected(disconnect) => is_passing(disconnect.reason_code.into()),
            Self::Requested | Self::Malformed(_) | Self::ProtocolError(_) => false,
        }
    }

    /// Returns the Server Reference in the DISCONNECT of the peer. Only a server sends one (section 3.14.2.2.5), so that
    /// it is always `None` at this end; the method exists so that code for both ends can be the same.
    pub const fn server_reference(&self) -> Option<Utf8Str<'a>> {
        match self {
            Self::Disconnected(disconnect) => disconnect.properties.server_reference,
            _ => None,
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
            Self::ConnectTimeout => f.write_str("CONNECT, or a step of the authentication, did not arrive in time"),
            Self::KeepAliveTimeout => {
                f.write_str("nothing has arrived for one and a half times the keep-alive interval")
            }
        }
    }
}
