//! The outcomes of operations: publishing, subscribing and unsubscribing.

use core::fmt;

use thiserror::Error;

use super::token::Token;
use crate::codec::{AckProperties, List, ListIter, PacketType, ReasonCode, SubAckReasonCode, UnsubAckReasonCode};

/// The outcome of the operation with this token.
pub(crate) struct Done<'a> {
    pub(crate) token: Token,
    pub(crate) outcome: Outcome<'a>,
}

/// The outcome of an operation: of publishing a message, of SUBSCRIBE or of UNSUBSCRIBE. Each [`Token`] has exactly
/// one.
///
/// ```
/// # use mqtt_sansio::client::{Action, ClientConfig, ClientSession};
/// # use mqtt_sansio::codec::Subscription;
/// # use mqtt_sansio::{Instant, Outcome, QoS};
/// # let (now, mut client) = (Instant::EPOCH, ClientSession::new(ClientConfig::default()));
/// # client.open(now)?;
/// # let mut connack = &b"\x20\x03\0\0\0"[..];
/// # assert!(client.poll(now, &mut connack).is_some());
/// # client.subscribe(now, &[Subscription::new("a", QoS::AtLeastOnce)?, Subscription::new("b", QoS::AtMostOnce)?])?;
/// # let mut input = &b"\x90\x05\x00\x01\x00\x01\x87"[..];
/// while let Some(action) = client.poll(now, &mut input) {
///     match action {
///         Action::Done { token, outcome } if outcome.is_success() => println!("{token} is done"),
///         Action::Done { token, outcome: Outcome::Abandoned(reason) } => println!("{token} was given up: {reason}"),
///         Action::Done { token, outcome } => println!("{token} is refused: {:?}", outcome.codes()),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// The last byte of a message of QoS 0 was handed to the transport. No acknowledgement follows.
    Sent,
    /// The peer has acknowledged a message of QoS 1 or 2. A reason code of 0x80 or above refuses the message.
    Acknowledged {
        /// The reason code in PUBACK; for QoS 2 the reason code in PUBREC.
        reason_code: ReasonCode,
        /// The Reason String and the user properties of the last packet of the delivery: PUBACK, PUBCOMP, or a PUBREC
        /// that refuses the message.
        properties: AckProperties<'a>,
    },
    /// The peer has acknowledged a message of QoS 2 with PUBACK, as if its QoS were 1. The peer has the message, but
    /// may deliver it more than once. Some servers without QoS 2 answer in this way; see `puback_ends_qos_2` in the
    /// configurations.
    AtLeastOnce {
        /// The reason code in PUBACK.
        reason_code: ReasonCode,
        /// The Reason String and the user properties in PUBACK.
        properties: AckProperties<'a>,
    },
    /// The server has answered SUBSCRIBE with SUBACK.
    Subscribed {
        /// One reason code for each topic filter, in the order of the request.
        reason_codes: List<'a, SubAckReasonCode>,
        /// The Reason String and the user properties in SUBACK.
        properties: AckProperties<'a>,
    },
    /// The server has answered UNSUBSCRIBE with UNSUBACK.
    Unsubscribed {
        /// One reason code for each topic filter, in the order of the request; empty before 5.0.
        reason_codes: List<'a, UnsubAckReasonCode>,
        /// The Reason String and the user properties in UNSUBACK.
        properties: AckProperties<'a>,
    },
    /// The session gave the operation up.
    Abandoned(AbandonReason),
}

impl<'a> Outcome<'a> {
    /// Returns the reason codes in the answer of the peer; none for [`Sent`](Self::Sent) and
    /// [`Abandoned`](Self::Abandoned).
    ///
    /// ```
    /// # use mqtt_sansio::Outcome;
    /// # use mqtt_sansio::codec::{AckProperties, ReasonCode, SubAckReasonCode};
    /// # let reason_codes = (&[SubAckReasonCode::GrantedQoS1, SubAckReasonCode::NotAuthorized]).into();
    /// # let outcome = Outcome::Subscribed { reason_codes, properties: AckProperties::default() };
    /// let codes: Vec<ReasonCode> = outcome.codes().collect(); // of a SUBACK: one for each topic filter
    /// assert_eq!(codes, [ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized]);
    /// assert!(outcome.reason_code().is_none() && !outcome.is_success());
    /// ```
    pub fn codes(&self) -> Codes<'a> {
        Codes(match *self {
            Self::Sent | Self::Abandoned(_) => Inner::One(None),
            Self::Acknowledged { reason_code, .. } | Self::AtLeastOnce { reason_code, .. } => {
                Inner::One(Some(reason_code))
            }
            Self::Subscribed { reason_codes, .. } => Inner::SubAck(reason_codes.iter()),
            Self::Unsubscribed { reason_codes, .. } => Inner::UnsubAck(reason_codes.iter()),
        })
    }

    /// Returns the reason code of the peer about a message; `None` if there is none, and for SUBSCRIBE and UNSUBSCRIBE, whose
    /// answers have one for each topic filter: see [`codes`](Self::codes).
    pub const fn reason_code(&self) -> Option<ReasonCode> {
        match *self {
            Self::Acknowledged { reason_code, .. } | Self::AtLeastOnce { reason_code, .. } => Some(reason_code),
            Self::Sent | Self::Subscribed { .. } | Self::Unsubscribed { .. } | Self::Abandoned(_) => None,
        }
    }

    /// Returns whether the operation succeeded: the message was sent, or the peer has answered without a reason code of
    /// 0x80 or above. [`AtLeastOnce`](Self::AtLeastOnce) without such a reason code is a success, since the message has
    /// arrived.
    #[inline]
    pub fn is_success(&self) -> bool {
        match self {
            Self::Sent => true,
            Self::Acknowledged { reason_code, .. } | Self::AtLeastOnce { reason_code, .. } => !reason_code.is_error(),
            Self::Subscribed { .. } | Self::Unsubscribed { .. } => !self.codes().any(ReasonCode::is_error),
            Self::Abandoned(_) => false,
        }
    }
}

/// Iterator over the reason codes of an [`Outcome`], returned by [`Outcome::codes`].
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

/// The reason why a session gave an operation up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum AbandonReason {
    /// The session ended while the message was in flight. Either the server has lost the session, or the session was
    /// not to outlive its connection (5.0: Session Expiry Interval 0 or absent; earlier versions: Clean Session 1).
    /// Whether the peer has received the message is unknown. In a session of a server, queued messages have this reason
    /// too.
    #[error("the session ended before the delivery was complete")]
    Session,
    /// The connection closed before a message of QoS 0 was handed to the transport completely.
    #[error("the connection closed before the message was sent")]
    Connection,
    /// The message was dropped from the full queue to make room for a newer one; see
    /// [`Overflow::DropOldest`](crate::Overflow::DropOldest).
    #[error("the message was dropped from the full queue for a newer one")]
    Overflow,
    /// The Message Expiry Interval of the message passed while the message was queued. The session detects the expiry
    /// at its next call with the current time.
    #[error("the message expired before it was sent")]
    Expired,
    /// The peer does not support the packet: it exceeds the peer's Maximum Packet Size, or uses a QoS, the RETAIN flag
    /// or a kind of subscription that the server does not support. The limits of the peer were unknown when the
    /// operation was accepted.
    #[error("the peer does not support the packet: {0}")]
    NotSupported(ReasonCode),
    /// The application withdrew the operation. Whether the peer has received the packet is unknown.
    #[error("the application withdrew the operation")]
    Withdrawn,
    /// A SUBSCRIBE or UNSUBSCRIBE was sent on as many connections as the configuration allows, and each connection
    /// closed before the answer arrived.
    #[error("the request was sent on {tries} connections and not answered")]
    Unanswered {
        /// Number of connections on which the request was sent.
        tries: u16,
    },
    /// The peer has answered with a packet of the wrong type, which is a Protocol Error and has ended the connection.
    /// The operation is not repeated, since the peer would answer in the same way. Whether the peer has received the
    /// packet is unknown.
    #[error("the peer answered with {0}, which does not acknowledge the packet")]
    Mismatched(PacketType),
}
