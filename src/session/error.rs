//! What a peer, and what a caller, can do wrong beyond single packets.

use thiserror::Error;

use crate::codec::{EncodeError, MaximumQoS, PacketType, ReasonCode};
use crate::text::TextError;
use crate::topic::TopicError;

/// A packet that is well-formed, but not at this time or not from this peer: a Protocol Error (section 4.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Something other than CONNACK, or AUTH, as the first packet of a server (section 3.2).
    #[error("{0} came before CONNACK [MQTT-3.2.0-1]")]
    BeforeConnAck(PacketType),
    /// A second CONNACK (section 3.2).
    #[error("a second CONNACK came [MQTT-3.2.0-2]")]
    SecondConnAck,
    /// Session Present where there can be no session \[MQTT-3.2.2-4\].
    #[error("a session is present although a new one was asked for [MQTT-3.2.2-4]")]
    UnexpectedSession,
    /// An acknowledgement of another kind than what was sent needs \[MQTT-2.2.1-5\].
    #[error("{0} came for something that is not answered by it [MQTT-2.2.1-5]")]
    MismatchedAck(PacketType),
    /// More or fewer reason codes than there were filters \[MQTT-3.8.4-6, MQTT-3.11.3-1\].
    #[error("{0} does not hold one reason code for each filter [MQTT-3.8.4-6]")]
    WrongReasonCodeCount(PacketType),
    /// More messages of QoS 1 and 2 at a time than this end takes (section 3.3.4).
    #[error("more messages are open than the Receive Maximum allows [MQTT-3.3.4-9]")]
    ReceiveMaximumExceeded,
    /// A topic alias above this end's Topic Alias Maximum (section 3.3.2.3.4).
    #[error("a topic alias is above the Topic Alias Maximum [MQTT-3.3.2-8]")]
    TopicAliasInvalid,
    /// A topic alias that stands for nothing, without a topic name (section 3.3.2.3.4).
    #[error("a topic alias comes without a topic and stands for none [MQTT-3.3.2-7]")]
    UnknownTopicAlias,
    /// A subscription identifier that was never used (section 3.3.2.3.8).
    #[error("a subscription identifier was never used in a SUBSCRIBE (section 3.3.2.3.8)")]
    UnknownSubscriptionIdentifier,
    /// An authentication step that nobody has asked for (section 3.15.1).
    #[error("AUTH came without an authentication being under way (section 3.15.1)")]
    UnexpectedAuth,
    /// Another Authentication Method than that of CONNECT \[MQTT-4.12.0-5\].
    #[error("the authentication method is not that of CONNECT [MQTT-4.12.0-5]")]
    AuthenticationMethodChanged,
    /// Something other than CONNECT as the first packet of a client \[MQTT-3.1.0-1\].
    #[error("the first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    /// A second CONNECT \[MQTT-3.1.0-2\].
    #[error("a second CONNECT came [MQTT-3.1.0-2]")]
    SecondConnect,
    /// A message above the Maximum QoS of this end (section 3.2.2.3.4).
    #[error("a message is above the Maximum QoS (section 3.2.2.3.4)")]
    QoSNotSupported,
    /// A message to be retained, though this end does not (section 3.2.2.3.5).
    #[error("a message is to be retained, which is not available (section 3.2.2.3.5)")]
    RetainNotSupported,
    /// A subscription of a kind that this end has announced not to have (section 3.2.2.3.11 to 3.2.2.3.13).
    #[error("a subscription is of a kind that is not available: {0}")]
    NotAvailable(ReasonCode),
    /// An UNSUBSCRIBE with the packet identifier of a request that is not answered.
    #[error("the packet identifier of a request is in use [MQTT-2.2.1-3]")]
    PacketIdInUse,
    /// More requests than this end keeps without an answer.
    #[error("more requests wait for an answer than are taken")]
    TooManyRequests,
    /// A session expiry interval in DISCONNECT where CONNECT had none (section 3.14.2.2.2).
    #[error("DISCONNECT gives a session an expiry interval that had none (section 3.14.2.2.2)")]
    SessionExpiry,
    /// A Maximum Packet Size that no acknowledgement fits into.
    #[error("the Maximum Packet Size leaves no room for an acknowledgement")]
    MaximumPacketSizeTooSmall,
}

impl ProtocolError {
    /// The reason code of the DISCONNECT that tells the peer, in 5.0.
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

/// Why a command was not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The connection is open already.
    #[error("the connection is open already")]
    AlreadyOpen,
    /// There is no connection, or it is not established yet, or it is about to be closed.
    #[error("not connected")]
    NotConnected,
    /// What was to be sent does not exist, or not in this version.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A topic that cannot be published to, or a text that cannot be sent.
    #[error(transparent)]
    Text(#[from] TopicError),
    /// The packet is larger than the other end takes \[MQTT-3.2.2-15, MQTT-3.1.2-24\].
    #[error("the packet is larger than the {limit} bytes that the other end takes [MQTT-3.2.2-15, MQTT-3.1.2-24]")]
    TooLarge {
        /// The Maximum Packet Size of the other end, in bytes.
        limit: u32,
    },
    /// The QoS is above the server's Maximum QoS \[MQTT-3.2.2-11\].
    #[error("the server takes messages up to QoS {} only [MQTT-3.2.2-11]", maximum.value())]
    QoSNotSupported {
        /// The server's Maximum QoS.
        maximum: MaximumQoS,
    },
    /// The server does not retain messages \[MQTT-3.2.2-14\].
    #[error("the server does not retain messages [MQTT-3.2.2-14]")]
    RetainNotSupported,
    /// The server takes no wildcards, no shared subscriptions, or no subscription identifiers (section 3.2.2.3.11 to
    /// 3.2.2.3.13).
    #[error("the server says: {0}")]
    SubscriptionNotSupported(ReasonCode),
    /// Topic aliases are not the caller's business: the engine gives them.
    #[error("topic aliases are given by the engine")]
    TopicAlias,
    /// A client publishes no subscription identifiers \[MQTT-3.3.4-6\].
    #[error("a client publishes no subscription identifiers [MQTT-3.3.4-6]")]
    SubscriptionIdentifier,
    /// As many messages, or bytes, are kept as the configuration allows.
    #[error("no more messages can be kept")]
    QueueFull,
    /// Nothing can be withdrawn under the token: its outcome is known already, or it is a message of QoS 0 that is in the
    /// output.
    #[error("nothing is open under the token that can be withdrawn")]
    UnknownToken,
    /// A session cannot go on in another version of the protocol.
    #[error("a session cannot go on in another version of MQTT")]
    OtherVersion,
    /// The message came on an earlier connection: it will be sent again, if the session goes on.
    #[error("the message came on an earlier connection")]
    EarlierConnection,
    /// The message is acknowledged already.
    #[error("the message is acknowledged already")]
    AlreadyAcknowledged,
    /// CONNECT had no Authentication Method \[MQTT-4.12.0-7\], or it is not this end's turn in the exchange.
    #[error("no authentication step is due from this end [MQTT-4.12.0-7]")]
    NoAuthentication,
    /// Not one reason code for each filter.
    #[error("not one reason code for each filter [MQTT-3.8.4-6]")]
    WrongReasonCodeCount,
    /// There is no CONNECT to be answered, or it is answered already.
    #[error("there is no CONNECT to be answered")]
    NoConnect,
    /// A reason code that only a client sends \[MQTT-3.14.2-1\].
    #[error("only a client sends this reason code [MQTT-3.14.2-1]")]
    ClientOnly,
    /// Success does not refuse anybody.
    #[error("a reason code below 0x80 does not refuse anybody")]
    NoRefusal,
    /// A client that has come without a name has to be given one \[MQTT-3.1.3-6\].
    #[error("a client without a client identifier has to be given one [MQTT-3.1.3-6]")]
    NoClientIdentifier,
    /// The topic has more levels than a broker takes.
    #[error("the topic has more levels than it may have")]
    TooManyLevels,
    /// DISCONNECT cannot give a session an expiry interval that had none (section 3.14.2.2.2).
    #[error("a session without an expiry interval cannot be given one by DISCONNECT (section 3.14.2.2.2)")]
    SessionExpiry,
}

impl From<TextError> for CommandError {
    fn from(error: TextError) -> Self {
        Self::Text(error.into())
    }
}

impl CommandError {
    /// The reason code for something that the other end, known only now, does not take.
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
