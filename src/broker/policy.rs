//! The decisions of the embedding program, and the notices that it gets.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use super::counters::DropReason;
use super::local::LocalSubscription;
use super::mount::MountPoint;
use super::principal::Principal;
use super::slab::Key;
use crate::codec::{ConnAckReasonCode, Connect, PubAckReasonCode, ReasonCode, SubAckReasonCode, Subscription, Version};
use crate::redacted::Redacted;
use crate::server::{Accept, Close};
use crate::session::{ReceivedMessage, Will};

/// Identifies a connection of a [`Broker`](super::Broker). The index of a closed connection is used again, but with another
/// generation: an id of a closed connection matches no other, and commands ignore it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Key);

impl ConnectionId {
    pub(super) const fn new(key: Key) -> Self {
        Self(key)
    }

    pub(super) const fn key(self) -> Key {
        self.0
    }

    /// Returns a small number, for a table of connections: no two open connections have the same.
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

/// Decides which client may connect, publish and subscribe, and gets notices of what happens.
///
/// A decision comes at once, or [later](Decision::Later): then the connection waits, and takes no input, until
/// [`Broker::answer`](super::Broker::answer) is called with the id of the decision. Other connections go on meanwhile.
/// An id is good for one answer, and void when its connection is closed.
///
/// ```
/// # use bytes::Buf;
/// # use mqtt_sansio::broker::{Answer, Broker, BrokerConfig, Client, Decision, DecisionId, Origin, Policy};
/// # use mqtt_sansio::codec::PubAckReasonCode;
/// # use mqtt_sansio::{Instant, ReceivedMessage};
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// # let now = Instant::EPOCH;
/// #[derive(Default)]
/// struct AskDatabase {
///     pending: Vec<(DecisionId, String)>, // for a task that asks the database
/// }
///
/// impl Policy for AskDatabase {
///     fn publish(
///         &mut self,
///         id: DecisionId,
///         client: Client<'_>,
///         message: &ReceivedMessage<'_>,
///     ) -> Decision<PubAckReasonCode> {
///         if message.topic == "state" {
///             return Decision::Now(PubAckReasonCode::Success);
///         }
///         self.pending.push((id, format!("{} {}", client.id, message.topic)));
///         Decision::Later
///     }
/// }
///
/// let mut broker = Broker::new(BrokerConfig::default(), AskDatabase::default());
/// let id = broker.open(now, Origin::UNKNOWN);
/// # let received = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c\x32\x06\x00\x01x\x00\x07\x00";
/// let mut input = &received[..]; // CONNECT, and a PUBLISH of QoS 1
/// broker.receive(now, id, &mut input);
/// assert!(!broker.takes_input(id));
///
/// for (decision, access) in core::mem::take(&mut broker.policy_mut().pending) {
///     let _ = broker.answer(now, decision, Answer::Publish(PubAckReasonCode::NotAuthorized)); // or the client is gone
///     # assert_eq!(access, "c x");
/// }
/// # assert!(broker.transmit(id).chunk().ends_with(b"\x40\x03\x00\x07\x87"));
/// # Ok(())
/// # }
/// ```
///
/// Each method has a default: all clients may connect, without enhanced authentication, and do everything. Whatever the
/// policy says, only the broker itself publishes under `$SYS/`. A will there does not refuse its client, because bridges
/// have one: it is dropped when it is due, with [`Notice::WillRefused`].
///
/// A session belongs to the user who has begun it: the user name in CONNECT, or the one in
/// [`Admission::AcceptAs`]; clients without one are all the same user. No other user gets or ends it, unless
/// [`take_over`](Self::take_over) says so.
pub trait Policy {
    /// Decides whether a client may connect, and as which user. The decision includes its will; the policy
    /// [sees it again](Self::will) when it is published. A will under `$SYS/` is never published, and need not be refused here.
    ///
    /// The broker assigns a client identifier to a client without one, if [`Accept::assigned_client_id`] is `None`.
    ///
    /// By default every client is accepted that names no authentication method. One that does is refused with
    /// [`BadAuthenticationMethod`](ConnAckReasonCode::BadAuthenticationMethod): nothing would check its proof
    /// \[MQTT-4.12.0-1\].
    fn connect(&mut self, id: DecisionId, connect: &Connect<'_>) -> Decision<Admission> {
        let _ = id;
        Decision::Now(match connect.properties.authentication_method {
            Some(_) => ConnAckReasonCode::BadAuthenticationMethod.into(),
            None => Admission::accept(),
        })
    }

    /// Decides on the next step of an enhanced authentication, after a [challenge](Admission::Challenge), or on the first step
    /// of a re-authentication ([`AuthStep::is_reauthentication`]). The steps go on until the client is accepted or refused. A
    /// re-authentication uses only the authentication data of [`Admission::Accept`].
    fn authenticate(&mut self, id: DecisionId, step: &AuthStep<'_>) -> Decision<Admission> {
        let _ = (id, step);
        Decision::Now(ConnAckReasonCode::BadAuthenticationMethod.into())
    }

    /// Decides whether a client may publish a message. A reason code of 0x80 or above refuses the message; a client of 5.0 is
    /// sent the code, one of an earlier version a plain acknowledgement \[3.1.1: MQTT-3.3.5-2\].
    fn publish(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        message: &ReceivedMessage<'_>,
    ) -> Decision<PubAckReasonCode> {
        let _ = (id, client, message);
        Decision::Now(PubAckReasonCode::Success)
    }

    /// Decides whether a client may subscribe, and with which QoS: that of the decision or that of the request, whichever is
    /// lower. An error refuses the subscription.
    fn subscribe(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        let _ = (id, client);
        Decision::Now(subscription.qos.into())
    }

    /// Decides whether an accepted client may have the session of another user with the same client identifier. The client
    /// would get the messages that wait in the session, or with Clean Start end it; and it would end the connection of the
    /// other user, if there is one. An error refuses the client, and nothing happens to the session.
    ///
    /// The broker asks when the user is known for certain, and again if the session has become that of a third user before a
    /// [later](Decision::Later) answer. A resumed session stays that of the user who has begun it.
    ///
    /// The default refuses with Not authorized (0x87; before 5.0 return code 5).
    fn take_over(&mut self, id: DecisionId, take_over: &TakeOver<'_>) -> Decision<ConnAckReasonCode> {
        let _ = (id, take_over);
        Decision::Now(ConnAckReasonCode::NotAuthorized)
    }

    /// Decides whether a stored subscription goes on when a client resumes its session: the rights of the user may have
    /// changed, or another user [takes the session over](Self::take_over). The broker asks for each subscription, with the QoS
    /// that was granted, before it sends CONNACK and before an older connection ends.
    ///
    /// The decision is one as for [`subscribe`](Self::subscribe), which the default calls. An error ends the subscription, and
    /// no packet tells the client; a lower QoS than the granted one replaces that. Retained messages are not sent again.
    /// Messages that wait in the session were allowed when they came, and are delivered. A policy whose decisions cost much,
    /// and whose rights do not change, returns the QoS of the subscription.
    fn resubscribe(
        &mut self,
        id: DecisionId,
        client: Client<'_>,
        subscription: &Subscription<'_>,
    ) -> Decision<SubAckReasonCode> {
        self.subscribe(id, client, subscription)
    }

    /// Decides who bears the work of a client that was accepted: each principal has its share of the broker, whatever number of
    /// clients it has.
    ///
    /// The default is the user of the client, or the [origin](super::Origin) of a client without one. A policy that does not
    /// know for certain who the user is must say [`Principal::Origin`]: else a client has as many shares as it can think of
    /// names.
    fn principal(&mut self, client: Client<'_>) -> Principal {
        let _ = client;
        Principal::User
    }

    /// Returns the topic under which a client that is accepted lives, as each tenant of a broker may have one of its own. To what
    /// the client publishes, subscribes to and unsubscribes from, to its will and to a Response Topic, the mount point is
    /// prepended; from what it gets, it is removed. What is outside the mount point does not exist for the client, nor do topics
    /// that begin with `$`. A Response Topic outside the mount point is left out.
    ///
    /// All but the client see topics in full: the other methods of the policy (but [`connect`](Self::connect), which comes
    /// before), the notices, the embedding program, and clients that have no mount point. A topic that is too long in full is
    /// refused with Topic Name invalid (0x90) or Topic Filter invalid (0x8F).
    ///
    /// The broker asks whenever a client connects. A session with subscriptions goes on only under the same mount point: if the
    /// mount point is another one, it ends, and the client gets a new session.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{Client, MountPoint, Policy};
    /// struct Tenants;
    ///
    /// impl Policy for Tenants {
    ///     fn mount_point(&mut self, client: Client<'_>) -> Option<MountPoint> {
    ///         let tenant = client.user_name?.split('@').nth(1)?; // "thermo-7@acme"
    ///         MountPoint::new(&format!("tenants/{tenant}")).ok()
    ///     }
    /// }
    /// ```
    ///
    /// The default is `None`: the client sees all topics by their full names.
    fn mount_point(&mut self, client: Client<'_>) -> Option<MountPoint> {
        let _ = client;
        None
    }

    /// Decides whether the will of a client is published, now that it is due: rights may have changed since the client has
    /// connected. A reason code of 0x80 or above drops the will, with [`Notice::WillRefused`].
    ///
    /// The default lets all wills be published. The policy is not asked about wills under `$SYS/`, which never are.
    fn will(&mut self, client_id: &str, will: &Will) -> PubAckReasonCode {
        let _ = (client_id, will);
        PubAckReasonCode::Success
    }

    /// Takes notice of something that has happened.
    fn notice(&mut self, notice: Notice<'_>) {
        let _ = notice;
    }
}

/// The policy that allows everything but to take over the session of another user and to name an authentication method: see
/// the defaults of [`Policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllowAll;

impl Policy for AllowAll {
    /// The user of a client is not authenticated.
    fn principal(&mut self, client: Client<'_>) -> Principal {
        let _ = client;
        Principal::Origin
    }
}

/// A decision of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// The decision.
    Now(T),
    /// The decision comes by [`Broker::answer`](super::Broker::answer).
    Later,
}

impl<T> From<T> for Decision<T> {
    fn from(answer: T) -> Self {
        Self::Now(answer)
    }
}

/// Identifies a decision of the policy, so that it can be given [later](Decision::Later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId {
    connection: ConnectionId,
    number: u32,
}

impl DecisionId {
    pub(super) const fn new(connection: ConnectionId, number: u32) -> Self {
        Self { connection, number }
    }

    /// The connection that waits for the decision.
    pub const fn connection(self) -> ConnectionId {
        self.connection
    }

    /// The id that is this many behind this one, where the ids of several decisions were reserved.
    pub(super) const fn behind(self, count: u32) -> Self {
        Self { connection: self.connection, number: self.number.wrapping_add(count) }
    }

    /// How many decisions about the same connection were asked for since `first`.
    pub(super) const fn distance(self, first: Self) -> u32 {
        self.number.wrapping_sub(first.number)
    }
}

/// The decision about a client that wants to connect.
#[derive(Clone, PartialEq, Eq)]
pub enum Admission {
    /// Accepts the client, with these settings, as the user that CONNECT names.
    Accept(Box<Accept>),
    /// Accepts the client, with these settings, as a user that the policy knows from another source, such as an enhanced
    /// authentication or a certificate. For a re-authentication it must be the user of the connection: with another one the
    /// client is disconnected, with Not authorized.
    AcceptAs {
        /// The user name; `None` for the anonymous user, whatever CONNECT says.
        user_name: Option<String>,
        /// The settings of the session.
        accept: Box<Accept>,
    },
    /// Challenges the client, which has named an authentication method, with these data \[MQTT-4.12.0-2\].
    Challenge(Vec<u8>),
    /// Refuses the client.
    Refuse(Refusal),
}

/// As it would be derived, but for the data of a challenge: what is printed ends up in logs.
impl core::fmt::Debug for Admission {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Accept(accept) => f.debug_tuple("Accept").field(accept).finish(),
            Self::AcceptAs { user_name, accept } => {
                f.debug_struct("AcceptAs").field("user_name", user_name).field("accept", accept).finish()
            }
            Self::Challenge(data) => f.debug_tuple("Challenge").field(&Redacted(data)).finish(),
            Self::Refuse(refusal) => f.debug_tuple("Refuse").field(refusal).finish(),
        }
    }
}

impl Admission {
    /// Accepts the client, with the settings of the configuration.
    pub fn accept() -> Self {
        Self::Accept(Box::default())
    }

    /// Accepts the client as this user, with the settings of the configuration.
    pub fn accept_as(user_name: impl Into<String>) -> Self {
        Self::AcceptAs { user_name: Some(user_name.into()), accept: Box::default() }
    }
}

impl Default for Admission {
    /// Accepts the client, with the settings of the configuration.
    fn default() -> Self {
        Self::accept()
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
    /// Accepts the client with Success, and refuses it with any other code.
    fn from(reason_code: ConnAckReasonCode) -> Self {
        if reason_code.is_error() { Self::Refuse(reason_code.into()) } else { Self::accept() }
    }
}

/// The reason why a client is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code. Before 5.0 the client is sent the return code with the same meaning, if there is one.
    pub reason_code: ConnAckReasonCode,
    /// The Reason String; 5.0 only. Default: `None`.
    pub reason_string: Option<String>,
    /// The Server Reference, for Use another server and Server moved; 5.0 only. Default: `None`.
    pub server_reference: Option<String>,
}

/// Unspecified error, without texts.
impl Default for Refusal {
    fn default() -> Self {
        ConnAckReasonCode::UnspecifiedError.into()
    }
}

impl From<ConnAckReasonCode> for Refusal {
    fn from(reason_code: ConnAckReasonCode) -> Self {
        Self { reason_code, reason_string: None, server_reference: None }
    }
}

/// A step of an enhanced authentication (section 4.12).
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthStep<'a> {
    /// The client identifier; empty if none is assigned yet.
    pub client_id: &'a str,
    /// The authentication method.
    pub method: &'a str,
    /// The authentication data. `Debug` prints its length alone.
    pub data: &'a [u8],
    /// Whether the client is accepted and authenticates again.
    pub is_reauthentication: bool,
}

/// As it would be derived, but for the data: what is printed ends up in logs.
impl core::fmt::Debug for AuthStep<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { client_id, method, data, is_reauthentication } = self;
        f.debug_struct("AuthStep")
            .field("client_id", client_id)
            .field("method", method)
            .field("data", &Redacted(data))
            .field("is_reauthentication", is_reauthentication)
            .finish()
    }
}

/// A client that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client<'a> {
    /// The connection of the client.
    pub connection: ConnectionId,
    /// The client identifier.
    pub id: &'a str,
    /// The user name: that in CONNECT, or the one that the policy has [accepted](Admission::AcceptAs) the client as.
    pub user_name: Option<&'a str>,
    /// The protocol version.
    pub version: Version,
}

/// A client that would get the session of another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakeOver<'a> {
    /// The client, and the user that it is accepted as.
    pub client: Client<'a>,
    /// The user who has begun the session.
    pub owner: Option<&'a str>,
    /// Whether the client asks for a new session, so that the existing one would end.
    pub clean_start: bool,
    /// Whether the session has a connection, which would end.
    pub is_connected: bool,
}

/// A decision that comes later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// For [`Policy::connect`] and [`Policy::authenticate`].
    Connect(Admission),
    /// For [`Policy::publish`].
    Publish(PubAckReasonCode),
    /// For [`Policy::subscribe`] and [`Policy::resubscribe`].
    Subscribe(SubAckReasonCode),
    /// For [`Policy::take_over`].
    TakeOver(ConnAckReasonCode),
}

/// No connection waits for this answer: it was given before, the connection is closed or over, or the answer is of another
/// kind than the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no connection waits for this answer")]
pub struct UnknownDecision;

/// Something that has happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A client was accepted.
    Connected {
        /// The client.
        client: Client<'a>,
        /// Whether the client resumes a session.
        session_present: bool,
    },
    /// The connection of an accepted client is over.
    Disconnected {
        /// The client.
        client: Client<'a>,
        /// The reason.
        why: Ended<'a>,
    },
    /// A connection is over before its client was accepted. If the client was refused, `why` has the
    /// [reason code](Ended::reason_code), whether the policy or the broker has refused it.
    Refused {
        /// The connection.
        connection: ConnectionId,
        /// The client identifier in CONNECT, empty if the client has none; `None` if no CONNECT could be read.
        client_id: Option<&'a str>,
        /// The user name in CONNECT, if there is one. It is what the client claims, and need not be true.
        user_name: Option<&'a str>,
        /// The reason.
        why: Ended<'a>,
    },
    /// A message of a client was refused: by the policy, because of a limit, or because no copy of it could be stored. A
    /// client of 5.0 is sent the reason code if the QoS is 1 or 2. A client of an earlier version is sent an acknowledgement
    /// all the same: these versions have no other answer \[3.1.1: MQTT-3.3.5-2\].
    PublishRefused {
        /// The client.
        client: Client<'a>,
        /// The topic of the message.
        topic: &'a str,
        /// The reason.
        reason_code: PubAckReasonCode,
    },
    /// A subscription of a client was refused, by the policy or because of a limit.
    SubscribeRefused {
        /// The client.
        client: Client<'a>,
        /// The topic filter.
        filter: &'a str,
        /// The reason. A client of an earlier version than 5.0 is sent 0x80 (Failure) in any case.
        reason_code: SubAckReasonCode,
    },
    /// A session has ended: it expired, or a clean start or a command ended it.
    SessionEnded {
        /// The client identifier.
        client_id: &'a str,
    },
    /// A will was due, and was not published as its client has asked for. No packet tells the client.
    WillRefused {
        /// The client identifier of the session that the will belonged to.
        client_id: &'a str,
        /// The topic of the will.
        topic: &'a str,
        /// The reason: with Not authorized the will lay under `$SYS/`, where only the broker itself publishes, and was
        /// dropped; with a code of [`Policy::will`] it was dropped too. With anything else, such as Quota exceeded, it went to
        /// its subscribers, but could not be retained.
        reason_code: PubAckReasonCode,
    },
    /// A message for a [subscription](super::Broker::subscribe) of the embedding program was dropped.
    LocalDropped {
        /// The subscription.
        subscription: LocalSubscription,
        /// The reason.
        reason: DropReason,
    },
    /// A message to a client was dropped.
    Dropped {
        /// The client identifier.
        client_id: &'a str,
        /// The reason.
        reason: DropReason,
    },
}

/// The reason why a connection is over.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Ended<'a> {
    /// The client or a command has ended the connection, or an error has.
    Close(Close<'a>),
    /// Another connection of the same client has taken over \[MQTT-3.1.4-3\].
    TakenOver,
    /// The transport was lost.
    Lost,
    /// There are too many connections.
    ConnectionLimit,
}

impl Ended<'_> {
    /// Returns the reason code of the endpoint that has ended the connection; `None` where no packet has one.
    pub fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Close(close) => close.reason_code(),
            Self::TakenOver => Some(ReasonCode::SessionTakenOver),
            Self::Lost | Self::ConnectionLimit => None,
        }
    }

    /// Returns whether the client may connect again, unchanged, with a chance to succeed: see [`Close::may_retry`]. It may
    /// not if another connection has taken over.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Close(close) => close.may_retry(),
            Self::TakenOver => false,
            Self::Lost | Self::ConnectionLimit => true,
        }
    }
}

impl core::fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Close(close) => core::fmt::Display::fmt(close, f),
            Self::TakenOver => f.write_str("another connection of the same client has taken over"),
            Self::Lost => f.write_str("the transport was lost"),
            Self::ConnectionLimit => f.write_str("there are too many connections"),
        }
    }
}
