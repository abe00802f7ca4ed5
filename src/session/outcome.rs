//! What becomes of what was asked for.

use core::fmt;

use thiserror::Error;

use super::token::Token;
use crate::codec::{AckProperties, List, ListIter, PacketType, ReasonCode, SubAckReasonCode, UnsubAckReasonCode};

/// That something has come to its end.
pub(crate) struct Done<'a> {
    pub(crate) token: Token,
    pub(crate) outcome: Outcome<'a>,
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
    /// The other end has acknowledged a message of QoS 2 with PUBACK, as if it were of QoS 1: it has the message, but nothing
    /// keeps it from delivering it more than once. Some servers have no QoS 2 and answer so. See `puback_ends_qos_2` in
    /// the configurations.
    AtLeastOnce {
        /// How it went.
        reason_code: ReasonCode,
        /// What PUBACK has said besides.
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
    Abandoned(AbandonReason),
}

impl<'a> Outcome<'a> {
    /// The reason codes of the server; none if it has not said anything.
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

    /// Whether it is what was asked for: sent, or answered without an error. [`AtLeastOnce`](Self::AtLeastOnce) is, as far as
    /// the message has arrived.
    pub fn is_success(&self) -> bool {
        !matches!(self, Self::Abandoned(_)) && !self.codes().any(ReasonCode::is_error)
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
pub enum AbandonReason {
    /// A message was in flight when its session ended: the server has lost it, or it was not to outlive its connection (in
    /// 5.0 without a session expiry interval, before with Clean Session). The other end may have it, or not.
    #[error("the session ended while it was in flight")]
    Session,
    /// A message of QoS 0 had not been handed to the transport when the connection ended.
    #[error("the connection ended before it was sent")]
    Connection,
    /// It made room for a newer one.
    #[error("it made room for a newer one")]
    Overflow,
    /// Its message expiry interval has passed before it could be sent. It is noticed when the engine is next told the time.
    #[error("it has expired before it could be sent")]
    Expired,
    /// The server, known only now, does not take it: the packet is too large, or has a QoS, a RETAIN flag or a
    /// subscription that it does not support.
    #[error("the server does not take it: {0}")]
    NotSupported(ReasonCode),
    /// It was withdrawn. The other end may have it, or not.
    #[error("it was withdrawn")]
    Withdrawn,
    /// A SUBSCRIBE or UNSUBSCRIBE was sent on as many connections as the configuration allows, and each of them ended before it
    /// was answered.
    #[error("it was sent on {tries} connections without an answer")]
    Unanswered {
        /// The number of connections.
        tries: u16,
    },
    /// The other end has answered with a packet that is no answer to it, which is a Protocol Error and has ended the
    /// connection. To send it again would bring the same answer. The other end may have it, or not.
    #[error("the other end has answered with {0}, which is no answer to it")]
    Mismatched(PacketType),
}
