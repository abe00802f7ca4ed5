//! Protocol Errors of the peer, beyond single packets.

use thiserror::Error;

use crate::codec::{PacketType, ReasonCode};

/// A Protocol Error of the peer (section 4.13): a well-formed packet that is not allowed at this time or from this
/// peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first packet of the server is neither CONNACK nor AUTH (section 3.2).
    #[error("{0} arrived before CONNACK [MQTT-3.2.0-1]")]
    BeforeConnAck(PacketType),
    /// The server has sent a second CONNACK (section 3.2).
    #[error("a second CONNACK arrived [MQTT-3.2.0-2]")]
    SecondConnAck,
    /// CONNACK has Session Present 1 although the client asked for a new session \[MQTT-3.2.2-4\].
    #[error("Session Present is set although the client asked for a new session [MQTT-3.2.2-4]")]
    UnexpectedSession,
    /// The type of an acknowledgement does not match the packet that was sent with its packet identifier
    /// \[MQTT-2.2.1-5\].
    #[error("{0} does not acknowledge the packet that was sent with its packet identifier [MQTT-2.2.1-5]")]
    MismatchedAck(PacketType),
    /// SUBACK or UNSUBACK does not have one reason code for each topic filter \[MQTT-3.8.4-6, MQTT-3.11.3-1\].
    #[error("{0} does not have one reason code for each topic filter [MQTT-3.8.4-6, MQTT-3.11.3-1]")]
    WrongReasonCodeCount(PacketType),
    /// The peer has more messages of QoS 1 and 2 in flight than the Receive Maximum of this endpoint allows (section
    /// 3.3.4).
    #[error("more messages are in flight than the Receive Maximum allows [MQTT-3.3.4-9]")]
    ReceiveMaximumExceeded,
    /// A topic alias is greater than the Topic Alias Maximum of this endpoint (section 3.3.2.3.4).
    #[error("a topic alias is above the Topic Alias Maximum [MQTT-3.3.2-8]")]
    TopicAliasInvalid,
    /// A message has no topic name, and a topic alias that is not mapped to one (section 3.3.2.3.4).
    #[error("a message has no topic name, and a topic alias that is not mapped to one [MQTT-3.3.2-7]")]
    UnknownTopicAlias,
    /// A message has a subscription identifier that was never used in a SUBSCRIBE (section 3.3.2.3.8).
    #[error("a subscription identifier was never used in a SUBSCRIBE (section 3.3.2.3.8)")]
    UnknownSubscriptionIdentifier,
    /// The peer has sent an AUTH that was not due (section 3.15.1).
    #[error("AUTH arrived although no step of an authentication was due (section 3.15.1)")]
    UnexpectedAuth,
    /// AUTH has another Authentication Method than CONNECT \[MQTT-4.12.0-5\].
    #[error("the Authentication Method is not that of CONNECT [MQTT-4.12.0-5]")]
    AuthenticationMethodChanged,
    /// The first packet of the client is not CONNECT \[MQTT-3.1.0-1\].
    #[error("the first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    /// The client has sent a second CONNECT \[MQTT-3.1.0-2\].
    #[error("a second CONNECT arrived [MQTT-3.1.0-2]")]
    SecondConnect,
    /// The QoS of a message is above the Maximum QoS of this endpoint (section 3.2.2.3.4).
    #[error("the QoS of a message is above the Maximum QoS (section 3.2.2.3.4)")]
    QoSNotSupported,
    /// A message has the RETAIN flag, which this endpoint has announced not to support (section 3.2.2.3.5).
    #[error("a message has the RETAIN flag, but retained messages are not supported (section 3.2.2.3.5)")]
    RetainNotSupported,
    /// A subscription is of a kind that this endpoint has announced not to support (section 3.2.2.3.11 to 3.2.2.3.13).
    #[error("a subscription is of a kind that is not supported: {0}")]
    NotAvailable(ReasonCode),
    /// UNSUBSCRIBE has the packet identifier of an unanswered request.
    #[error("UNSUBSCRIBE has the packet identifier of an unanswered request [MQTT-2.2.1-3]")]
    PacketIdInUse,
    /// The client has more unanswered requests than this endpoint allows.
    #[error("more requests are unanswered than the configured maximum allows")]
    TooManyRequests,
    /// DISCONNECT has a Session Expiry Interval other than 0 although that of CONNECT was 0 or absent (section
    /// 3.14.2.2.2).
    #[error("DISCONNECT sets a Session Expiry Interval although that of CONNECT was 0 (section 3.14.2.2.2)")]
    SessionExpiry,
    /// The Maximum Packet Size of the peer is too small for an acknowledgement.
    #[error("the Maximum Packet Size is too small for an acknowledgement")]
    MaximumPacketSizeTooSmall,
}

impl ProtocolError {
    /// Returns the reason code of the DISCONNECT by which this endpoint reports the error to the peer, in 5.0.
    ///
    /// ```
    /// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession, Close};
    /// # use mqtt_sansio::codec::ReasonCode;
    /// # use mqtt_sansio::Instant;
    /// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
    /// # client.open(now)?;
    /// # let mut connack = &b"\x20\x03\0\0\0"[..];
    /// # assert!(client.poll(now, &mut connack).is_some());
    /// let mut input = &b"\x20\x03\x00\x00\x00"[..]; // a second CONNACK
    /// let Some(Action::Close(Close::ProtocolError(error))) = client.poll(now, &mut input) else { panic!("no error") };
    /// assert_eq!(error.reason_code(), ReasonCode::ProtocolError); // the session has put it into a DISCONNECT
    /// # Ok::<(), mqtt_sansio::client::OpenError>(())
    /// ```
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
