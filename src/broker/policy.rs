//! What belongs to the embedding program: who may do what, and what it is told.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use super::counters::DropReason;
use super::slab::Key;
use crate::codec::{ConnAckReasonCode, Connect, PubAckReasonCode, SubAckReasonCode, Subscription, Version};
use crate::server::{Accept, Close};
use crate::session::ReceivedMessage;
use crate::topic::TopicName;

/// A connection of a [`Broker`](super::Broker). When it is gone its number is used again, but never under the same name: a
/// name that is out of date is ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(super) Key);

impl ConnectionId {
    /// A small number, for a table of connections: no two connections that are open have the same.
    pub const fn index(self) -> usize {
        self.0.index as usize
    }
}

impl core::fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.0.index, self.0.generation)
    }
}

/// Who may connect, publish where, and subscribe to what; and a witness of what happens.
///
/// A question is answered at once, or [later](Decision::Later): then the connection waits, and takes no input, until
/// [`Broker::answer`](super::Broker::answer) is called with the ticket that came with the question. Others go on meanwhile.
/// A ticket is good for one answer, and void when its connection is gone.
///
/// Each method has a default: everybody may connect, without enhanced authentication, and do everything. Whatever the
/// policy says, nobody but the broker itself publishes under `$SYS/`.
pub trait Policy {
    /// Whether a client may connect, and as whom. Its will is asked for here too: nobody is asked again when it is
    /// published.
    ///
    /// A client without a name is given one by the broker if [`Accept::assigned_client_id`] has none.
    fn connect(&mut self, ticket: Ticket, connect: &Connect<'_>) -> Decision<Admission> {
        let _ = (ticket, connect);
        Decision::Now(Admission::accept())
    }

    /// The next step of an enhanced authentication, after a [challenge](Admission::Challenge); or the first step of a
    /// re-authentication, which [`AuthStep::is_again`] tells. It goes on until it is accepted or refused; of the terms in
    /// [`Admission::Accept`] only the data mean anything for a re-authentication.
    fn authenticate(&mut self, ticket: Ticket, step: &AuthStep<'_>) -> Decision<Admission> {
        let _ = (ticket, step);
        Decision::Now(ConnAckReasonCode::BadAuthenticationMethod.into())
    }

    /// Whether a client may publish a message. A reason code of 0x80 or above refuses it; the client of 5.0 is told so, one
    /// of an earlier version is not \[3.1.1: MQTT-3.3.5-2\].
    fn publish(
        &mut self,
        ticket: Ticket,
        client: Client<'_>,
        message: &ReceivedMessage<'_>,
    ) -> Decision<PubAckReasonCode> {
        let _ = (ticket, client, message);
        Decision::Now(PubAckReasonCode::Success)
    }

    /// Whether a client may subscribe, and with which QoS: that of the answer or that of the request, whichever is lower. An
    /// error refuses it.
    fn subscribe(
        &mut self,
        ticket: Ticket,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        let _ = (ticket, client);
        Decision::Now(subscription.qos.into())
    }

    /// Something has happened.
    fn notice(&mut self, notice: Notice<'_>) {
        let _ = notice;
    }
}

/// The policy that allows everything: see the defaults of [`Policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllowAll;

impl Policy for AllowAll {}

/// An answer of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// This is it.
    Now(T),
    /// It comes by [`Broker::answer`](super::Broker::answer).
    Later,
}

impl<T> From<T> for Decision<T> {
    fn from(answer: T) -> Self {
        Self::Now(answer)
    }
}

/// What a question is answered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(super) connection: ConnectionId,
    pub(super) number: u32,
}

impl Ticket {
    /// The connection that waits.
    pub const fn connection(self) -> ConnectionId {
        self.connection
    }
}

/// What becomes of a client that wants to be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is accepted, on these terms.
    Accept(Box<Accept>),
    /// It has named an authentication method, and is challenged with these data \[MQTT-4.12.0-2\].
    Challenge(Vec<u8>),
    /// It is refused.
    Refuse(Refusal),
}

impl Admission {
    /// Accepted, on the terms of the configuration.
    pub fn accept() -> Self {
        Self::Accept(Box::default())
    }
}

impl From<Accept> for Admission {
    fn from(accept: Accept) -> Self {
        Self::Accept(Box::new(accept))
    }
}

impl From<Refusal> for Admission {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<ConnAckReasonCode> for Admission {
    /// With Success it is accepted, with anything else refused.
    fn from(reason_code: ConnAckReasonCode) -> Self {
        if reason_code.is_error() {
            Self::Refuse(Refusal { reason_code, reason_string: None, server_reference: None })
        } else {
            Self::accept()
        }
    }
}

/// Why a client is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code; before 5.0 the return code that says the same, if there is one.
    pub reason_code: ConnAckReasonCode,
    /// Words for a person to read; 5.0 only.
    pub reason_string: Option<String>,
    /// With Use another server and Server moved: which one; 5.0 only.
    pub server_reference: Option<String>,
}

/// A step of an enhanced authentication (section 4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthStep<'a> {
    /// The name of the client; empty if it has none yet.
    pub client_id: &'a str,
    /// The authentication method.
    pub method: &'a str,
    /// The authentication data.
    pub data: &'a [u8],
    /// Whether the client is accepted and authenticates again.
    pub is_again: bool,
}

/// A client that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its connection.
    pub connection: ConnectionId,
    /// Its name.
    pub id: &'a str,
    /// The user's name, as CONNECT had it.
    pub user_name: Option<&'a str>,
    /// The version that it speaks.
    pub version: Version,
}

/// An answer that comes later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Policy::connect`] and [`Policy::authenticate`].
    Connect(Admission),
    /// To [`Policy::publish`].
    Publish(PubAckReasonCode),
    /// To [`Policy::subscribe`].
    Subscribe(SubAckReasonCode),
}

/// Nobody waits for this answer: it was given before, or the connection is gone, or it is not an answer to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("nobody waits for an answer under this ticket")]
pub struct UnknownTicket;

/// Something that has happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A client was accepted.
    Connected {
        /// Who.
        client: Client<'a>,
        /// Whether it goes on with a session from before.
        session_present: bool,
    },
    /// The connection of an accepted client is over.
    Disconnected {
        /// Who.
        client: Client<'a>,
        /// Why.
        why: Ended<'a>,
    },
    /// A connection is over before its client was accepted.
    Refused {
        /// Which.
        connection: ConnectionId,
        /// Why.
        why: Ended<'a>,
    },
    /// A session has ended.
    SessionEnded {
        /// Whose.
        client_id: &'a str,
    },
    /// A client of a version before 5.0 has published a message of QoS 1 or 2 that was refused, because of a limit or because
    /// no copy of it could be stored. It was acknowledged all the same: these versions have no other answer.
    AcknowledgedNotStored {
        /// The client that has published it.
        client: Client<'a>,
        /// The topic.
        topic: TopicName<'a>,
        /// The reason code that a client of 5.0 would have got.
        reason_code: PubAckReasonCode,
    },
    /// A message to a client was dropped.
    Dropped {
        /// Which client.
        client_id: &'a str,
        /// Why.
        reason: DropReason,
    },
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Ended<'a> {
    /// By what the client has done or not done, or by a command.
    Close(Close<'a>),
    /// Another connection of the same client has taken over \[MQTT-3.1.4-3\].
    TakenOver,
    /// The transport was lost.
    Lost,
    /// There are too many connections.
    TooMany,
}

impl core::fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Close(close) => core::fmt::Display::fmt(close, f),
            Self::TakenOver => f.write_str("another connection of the same client has taken over"),
            Self::Lost => f.write_str("the transport was lost"),
            Self::TooMany => f.write_str("there are too many connections"),
        }
    }
}
