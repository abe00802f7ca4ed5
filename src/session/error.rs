//! Protocol Errors of the peer, beyond single packets, and errors of commands.

use thiserror::Error;

use crate::codec::{EncodeError, MaximumQoS, PacketType, ReasonCode};
use crate::text::TextError;
use crate::topic::TopicError;

/// A Protocol Error of the peer (section 4.13): a well-formed packet that is not allowed at this time or from this
/// peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first packet of the server is neither CONNACK nor AUTH (section 3.2).
    #[error("{0} came before CONNACK [MQTT-3.2.0-1]")]
    BeforeConnAck(PacketType),
    /// The server has sent a second CONNACK (section 3.2).
    #[error("a second CONNACK came [MQTT-3.2.0-2]")]
    SecondConnAck,
    /// CONNACK has Session Present 1 although the client asked for a new session \[MQTT-3.2.2-4\].
    #[error("a session is present although a new one was asked for [MQTT-3.2.2-4]")]
    UnexpectedSession,
    /// The type of an acknowledgement does not match the packet that was sent with its packet identifier
    /// \[MQTT-2.2.1-5\].
    #[error("{0} came for something that is not answered by it [MQTT-2.2.1-5]")]
    MismatchedAck(PacketType),
    /// SUBACK or UNSUBACK does not have one reason code for each topic filter \[MQTT-3.8.4-6, MQTT-3.11.3-1\].
    #[error("{0} does not hold one reason code for each filter [MQTT-3.8.4-6]")]
    WrongReasonCodeCount(PacketType),
    /// The peer has more messages of QoS 1 and 2 in flight than the Receive Maximum of this endpoint allows (section
    /// 3.3.4).
    #[error("more messages are open than the Receive Maximum allows [MQTT-3.3.4-9]")]
    ReceiveMaximumExceeded,
    /// A topic alias is greater than the Topic Alias Maximum of this endpoint (section 3.3.2.3.4).
    #[error("a topic alias is above the Topic Alias Maximum [MQTT-3.3.2-8]")]
    TopicAliasInvalid,
    /// A message has no topic name, and a topic alias that is not mapped to one (section 3.3.2.3.4).
    #[error("a topic alias comes without a topic and stands for none [MQTT-3.3.2-7]")]
    UnknownTopicAlias,
    /// A message has a subscription identifier that was never used in a SUBSCRIBE (section 3.3.2.3.8).
    #[error("a subscription identifier was never used in a SUBSCRIBE (section 3.3.2.3.8)")]
    UnknownSubscriptionIdentifier,
    /// The peer has sent an AUTH that was not due (section 3.15.1).
    #[error("AUTH came without an authentication being under way (section 3.15.1)")]
    UnexpectedAuth,
    /// AUTH has another Authentication Method than CONNECT \[MQTT-4.12.0-5\].
    #[error("the authentication method is not that of CONNECT [MQTT-4.12.0-5]")]
    AuthenticationMethodChanged,
    /// The first packet of the client is not CONNECT \[MQTT-3.1.0-1\].
    #[error("the first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    /// The client has sent a second CONNECT \[MQTT-3.1.0-2\].
    #[error("a second CONNECT came [MQTT-3.1.0-2]")]
    SecondConnect,
    /// The QoS of a message is above the Maximum QoS of this endpoint (section 3.2.2.3.4).
    #[error("a message is above the Maximum QoS (section 3.2.2.3.4)")]
    QoSNotSupported,
    /// A message has the RETAIN flag, which this endpoint has announced not to support (section 3.2.2.3.5).
    #[error("a message is to be retained, which is not available (section 3.2.2.3.5)")]
    RetainNotSupported,
    /// A subscription is of a kind that this endpoint has announced not to support (section 3.2.2.3.11 to 3.2.2.3.13).
    #[error("a subscription is of a kind that is not available: {0}")]
    NotAvailable(ReasonCode),
    /// UNSUBSCRIBE has the packet identifier of an unanswered request.
    #[error("the packet identifier of a request is in use [MQTT-2.2.1-3]")]
    PacketIdInUse,
    /// The client has more unanswered requests than this endpoint allows.
    #[error("more requests wait for an answer than are taken")]
    TooManyRequests,
    /// DISCONNECT has a Session Expiry Interval other than 0 although that of CONNECT was 0 or absent (section
    /// 3.14.2.2.2).
    #[error("DISCONNECT gives a session an expiry interval that had none (section 3.14.2.2.2)")]
    SessionExpiry,
    /// The Maximum Packet Size of the peer is too small for an acknowledgement.
    #[error("the Maximum Packet Size leaves no room for an acknowledgement")]
    MaximumPacketSizeTooSmall,
}

impl ProtocolError {
    /// Returns the reason code of the DISCONNECT by which this endpoint reports the error to the peer, in 5.0.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::ReceiveMaximumExceeded => ReasonCode::ReceiveMaximumExceeded,
            Self::TopicAliasInvalid => ReasonCode::TopicAliasInvalid,
            Self::AuthenticationMethodChanged => ReasonCode::BadAuthenticationMethod,
            Self::QoSNotSupported => ReasonCode::QoSNotSupported,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            Self::NotAvailable(code) => code,
            Self::TooManyRequests => ReasonCode::QuotaExceeded,
            Self::MaximumPacketSizeTooSmall => ReasonCode::ImplementationSpecificError,
            _ => ReasonCode::ProtocolError,
        }
    }
}

/// The reason why a command was refused. A refused command has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The session has a connection already.
    #[error("the connection is open already")]
    AlreadyConnected,
    /// There is no connection, or the connection is not established yet, or is about to be closed.
    #[error("not connected")]
    NotConnected,
    /// The packet cannot be encoded, or does not exist in this version of the protocol.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The topic is not a valid topic name, or a string cannot be sent.
    #[error(transparent)]
    Text(#[from] TopicError),
    /// The packet is larger than the Maximum Packet Size of the peer \[MQTT-3.2.2-15, MQTT-3.1.2-24\] or of the
    /// protocol.
    #[error("the packet is larger than the {limit} bytes that the other end takes [MQTT-3.2.2-15, MQTT-3.1.2-24]")]
    TooLarge {
        /// The largest packet, in bytes: the Maximum Packet Size of the peer, or that of the protocol while no
        /// connection is open.
        limit: u32,
    },
    /// The QoS is above the Maximum QoS of the server \[MQTT-3.2.2-11\].
    #[error("the server takes messages up to QoS {} only [MQTT-3.2.2-11]", maximum.value())]
    QoSNotSupported {
        /// The Maximum QoS of the server.
        maximum: MaximumQoS,
    },
    /// The server does not retain messages \[MQTT-3.2.2-14\].
    #[error("the server does not retain messages [MQTT-3.2.2-14]")]
    RetainNotSupported,
    /// The server does not support wildcard subscriptions, shared subscriptions or subscription identifiers (section
    /// 3.2.2.3.11 to 3.2.2.3.13); the reason code says which.
    #[error("the server says: {0}")]
    SubscriptionNotSupported(ReasonCode),
    /// The properties contain a topic alias. Topic aliases are assigned by the session.
    #[error("topic aliases are given by the engine")]
    TopicAlias,
    /// The properties contain a subscription identifier, which a client must not send \[MQTT-3.3.4-6\].
    #[error("a client publishes no subscription identifiers [MQTT-3.3.4-6]")]
    SubscriptionIdentifier,
    /// The number or the size of the queued and in-flight messages and requests would exceed the configured maximum.
    #[error("no more messages can be kept")]
    QueueFull,
    /// No operation with this token can be withdrawn: its outcome is known already, or it is a message of QoS 0 that is
    /// in the output.
    #[error("nothing is open under the token that can be withdrawn")]
    UnknownToken,
    /// The version differs from that of the session, which cannot be resumed in another version of the protocol.
    #[error("a session cannot go on in another version of MQTT")]
    OtherVersion,
    /// The message arrived on an earlier connection. The peer sends it again if the session is resumed.
    #[error("the message came on an earlier connection")]
    EarlierConnection,
    /// The message has been acknowledged already.
    #[error("the message is acknowledged already")]
    AlreadyAcknowledged,
    /// CONNECT had no Authentication Method \[MQTT-4.12.0-7\], or the next step of the authentication is due from the
    /// peer.
    #[error("no authentication step is due from this end [MQTT-4.12.0-7]")]
    NoAuthentication,
    /// The number of reason codes is not the number of topic filters in the request.
    #[error("not one reason code for each filter [MQTT-3.8.4-6]")]
    WrongReasonCodeCount,
    /// No CONNECT has arrived, or the CONNECT has been answered already.
    #[error("there is no CONNECT to be answered")]
    NoPendingConnect,
    /// The reason code is one that only a client may send \[MQTT-3.14.2-1\].
    #[error("only a client sends this reason code [MQTT-3.14.2-1]")]
    ClientReasonCode,
    /// The reason code of a refusal is below 0x80.
    #[error("a reason code below 0x80 does not refuse anybody")]
    SuccessIsNoRefusal,
    /// The client has sent no client identifier and must be assigned one \[MQTT-3.1.3-6\].
    #[error("a client without a client identifier has to be given one [MQTT-3.1.3-6]")]
    NoClientIdentifier,
    /// The topic has more levels than the broker allows.
    #[error("the topic has more levels than it may have")]
    TooManyLevels,
    /// DISCONNECT cannot set a Session Expiry Interval: that of CONNECT was 0 or absent (section 3.14.2.2.2), or this
    /// endpoint is a server, which must not send the property \[MQTT-3.14.2-2\].
    #[error("a session without an expiry interval cannot be given one by DISCONNECT (section 3.14.2.2.2)")]
    SessionExpiry,
}

impl From<TextError> for CommandError {
    fn from(error: TextError) -> Self {
        Self::Text(error.into())
    }
}

impl CommandError {
    /// Returns the reason code for a packet that the peer, whose limits were unknown when the packet was stored, does
    /// not support.
    pub(super) const fn reason_code(self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::QoSNotSupported { .. } => ReasonCode::QoSNotSupported,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            Self::SubscriptionNotSupported(code) => code,
            _ => ReasonCode::ImplementationSpecificError,
        }
    }
}
