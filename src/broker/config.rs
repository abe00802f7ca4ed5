//! The settings of a broker.

use core::num::{NonZeroU32, NonZeroU64};

use super::secret::Secret;
use crate::server::ServerConfig;

/// The settings of a broker. Every field but the secret has a default: [`new`](Self::new) takes the secret, and with the
/// feature `std` the [default](Self::default) has one from the system.
///
/// At a limit the broker goes on: what would exceed the limit is refused with the reason code that stands beside the limit,
/// or dropped, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The settings of each session, with the limits of each. `manual_acks` and `deliver_in_parts` have no effect: the broker
    /// sets them.
    pub server: ServerConfig,
    /// The secret that the hash tables are keyed with. [`SharedStrategy::Random`] and assigned client identifiers follow from
    /// it too: all that a broker does follows from its secret and its input. Default, with the feature `std`:
    /// [`Secret::from_system`].
    pub secret: Secret,
    /// Maximum number of connections, accepted or not. One more is over at once. Default: 1,000,000.
    pub max_connections: u32,
    /// Maximum number of sessions, with a connection or without. A client that would need one more is refused: 0x97 (Quota
    /// exceeded), and Server unavailable before 5.0. Default: 1,000,000.
    pub max_sessions: u32,
    /// Maximum number of subscriptions. More are refused: 0x97 (Quota exceeded). Default: 10,000,000.
    pub max_subscriptions: u32,
    /// Maximum number of subscriptions of a session. More are refused: 0x97 (Quota exceeded). Default: 10,000.
    pub max_subscriptions_per_session: u32,
    /// Maximum number of topic levels. A filter with more is refused with 0x8F (Topic Filter invalid), a message with 0x90
    /// (Topic Name invalid). Default: 128.
    pub max_topic_levels: u16,
    /// Maximum number of retained messages. One more is refused: 0x97 (Quota exceeded). Default: 1,000,000.
    pub max_retained: u32,
    /// Maximum size of retained messages, and of those that are stored for all clients, together, in bytes. Default: 1 GiB. A
    /// payload of 2 KiB or more, which clients share, counts once. (Each client's own limit, `server.max_stored_bytes`, counts
    /// it in full.) It should be several times `server.maximum_packet_size`.
    ///
    /// A message that would be retained is refused when the limit is reached: 0x97 (Quota exceeded). A copy that would be
    /// stored is dropped, and counted; a message of QoS 1 or 2 of which no copy could be stored is refused with 0x97. Before
    /// 5.0 there is no answer but an acknowledgement: the policy gets `Notice::PublishRefused`.
    pub max_memory: u64,
    /// Maximum number of bytes beyond `max_memory` that may be stored for clients that are connected and have room in their
    /// windows, so that they go on when others let messages pile up. No client can use all of it: each may store as much as it
    /// leaves free. Default: 256 MiB.
    pub reserved_memory: u64,
    /// Maximum memory of connections, sessions and subscriptions, together, in bytes: what
    /// [`Status::memory`](super::Status::memory) shows of them. `None`: no limit. Default: 4 GiB.
    ///
    /// At the limit a new connection is over at once, a client that would need a new session is refused with 0x97 (Quota
    /// exceeded; Server unavailable before 5.0), and so is a new subscription. Messages have a limit of their own,
    /// `max_memory`: both limits and `reserved_memory` together are what clients can make the broker hold.
    pub max_state_memory: Option<NonZeroU64>,
    /// The choice of the member of a shared subscription that gets a message. Default: round-robin.
    pub shared_strategy: SharedStrategy,
    /// The interval, in seconds, at which the status and the counters are published under `$SYS/broker/`. Default: `None`,
    /// never.
    pub sys_interval: Option<NonZeroU32>,
    /// Maximum work of a call, in units; [`Broker::poll`](super::Broker::poll) goes on with what is left. A call goes beyond
    /// it by at most one item, such as one packet. Default: 2,000, about what takes 100 microseconds.
    ///
    /// A unit is one item: a packet, a subscription that is looked at, a copy of a message, a timer; and one more for each 256
    /// bytes that are validated, hashed, encoded or copied.
    pub work_per_call: NonZeroU32,
}

/// The choice of the member of a shared subscription that gets a message (section 4.8.2). Members that are connected come
/// before those that are not. A message is offered to at most eight members: if their queues are full it is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedStrategy {
    /// One member after the other.
    #[default]
    RoundRobin,
    /// A random member.
    Random,
    /// The member with the fewest messages in flight or queued; of more than eight, the one with the fewest among the next
    /// eight.
    LeastLoaded,
}

impl BrokerConfig {
    /// Makes settings with this secret, and with the default of every other field.
    pub fn new(secret: Secret) -> Self {
        Self {
            server: ServerConfig::default(),
            secret,
            max_connections: 1_000_000,
            max_sessions: 1_000_000,
            max_subscriptions: 10_000_000,
            max_subscriptions_per_session: 10_000,
            max_topic_levels: 128,
            max_retained: 1_000_000,
            max_memory: 1 << 30,
            reserved_memory: 256 << 20,
            max_state_memory: NonZeroU64::new(4 << 30),
            shared_strategy: SharedStrategy::default(),
            sys_interval: None,
            work_per_call: const { NonZeroU32::new(2000).unwrap() },
        }
    }
}

/// The settings of [`new`](BrokerConfig::new), with a [secret from the system](Secret::from_system): no two are equal.
#[cfg(feature = "std")]
impl Default for BrokerConfig {
    fn default() -> Self {
        Self::new(Secret::from_system())
    }
}
