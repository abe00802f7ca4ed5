//! The settings of a broker.

use core::num::{NonZeroU32, NonZeroU64};

use super::secret::Secret;
use crate::server::ServerConfig;
use crate::session::MAX_UNCOMMITTED;

/// The settings of a broker. Every field but the secret has a default: [`new`](Self::new) takes the secret, and with the
/// feature `std` the [default](Self::default) has one from the system.
///
/// At a limit the broker goes on: what would exceed the limit is refused with the reason code that stands beside the limit,
/// or dropped, and counted.
///
/// # Limits of memory
///
/// A *principal* is a user, or the [origin](super::Origin) of clients without one: see
/// [`Policy::principal`](super::Policy::principal). It may hold as much of `max_memory`, and of `max_state_memory`, as all
/// principals together leave free. So one that takes what it can get leaves half of it, two leave a third, and a newcomer
/// always gets something. What clients share, such as a large payload or the levels of a topic filter, counts in full for the
/// principal of each, and once for all.
///
/// | limit | of | unit | default | beyond it |
/// |---|---|---|---|---|
/// | `server.max_connect_size` | a connection before its client is accepted | bytes | 256 KiB | the connection ends |
/// | `server.maximum_packet_size` | a packet, which the driver holds until it is complete | bytes | 16 MiB | the connection ends, with 0x95 (Packet too large) |
/// | `server.answer_limit` | a connection: answers that wait to be written | bytes | 64 KiB | its input waits |
/// | `server.transmit_limit` | a connection: other output that waits to be written | bytes | 64 KiB | messages wait |
/// | `server.topic_alias_maximum` | a connection: topic aliases | topics | 0 | the connection ends, with 0x94 (Topic Alias invalid) |
/// | `server.max_requests` | a connection: requests without an answer | requests | 1,000 | the connection ends, with 0x97 |
/// | `server.max_stored`, `server.max_stored_bytes` | a session: messages queued and in flight | messages, bytes | 1,000, 64 MiB | `server.overflow`: the copy is dropped |
/// | `max_subscriptions_per_session` | a session | subscriptions | 10,000 | refused: 0x97 (Quota exceeded) |
/// | share of `max_memory` | a principal: messages stored and retained | bytes | what is free | the copy is dropped; 0x97 if it is the only one, or to be retained |
/// | share of `max_state_memory` | a principal: connections, sessions, subscriptions, unfinished work | bytes | what is free | refused: 0x97; a connection is over at once |
/// | 2 KiB of buffers and tables | a session whose principal has no share left: output, messages in flight, topic aliases | bytes | | QoS 0 copies, and those that need a larger table, are dropped; topic aliases: the connection ends, with 0x97 |
/// | share of `reserved_memory` | a principal: messages in the windows of connected clients, beyond `max_memory` | bytes | what is free | the copy is dropped |
/// | `max_memory_per_principal` | a principal: all but the windows | bytes | none | as beyond its shares |
/// | `max_memory` | all: messages stored and retained | bytes | 1 GiB | as beyond a share |
/// | `reserved_memory` | all: messages in windows beyond `max_memory` | bytes | 256 MiB | as beyond a share |
/// | `max_state_memory` | all: connections, sessions, subscriptions, unfinished work | bytes | 4 GiB | as beyond a share |
/// | `max_connections`, `max_sessions` | all | | 1,000,000 | over at once; refused: 0x97 |
/// | `max_subscriptions` | all | subscriptions | 10,000,000 | refused: 0x97 |
/// | `max_retained` | all | messages | 1,000,000 | refused: 0x97 |
///
/// [`Status::memory`](super::Status::memory), and the topics `$SYS/broker/memory/…`, show what is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(all(feature = "serde", feature = "std"), derive(serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct BrokerConfig {
    /// The settings of each session, with the limits of each. Default: those of [`ServerConfig`]. `manual_acks` and
    /// `deliver_in_parts` have no effect: the broker sets them.
    pub server: ServerConfig,
    /// The secret that the hash tables are keyed with. [`SharedStrategy::Random`] and assigned client identifiers follow from
    /// it too: all that a broker does follows from its secret and its input. Default, with the feature `std`:
    /// [`Secret::from_system`].
    #[cfg_attr(feature = "serde", serde(skip))]
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
    /// it in full.) It should be several times `server.maximum_packet_size`. A principal may hold as much of it as all leave
    /// free: see [the table](Self#limits-of-memory).
    ///
    /// A message that would be retained is refused when the limit is reached: 0x97 (Quota exceeded). A copy that would be
    /// stored is dropped, and counted; a message of QoS 1 or 2 of which no copy could be stored is refused with 0x97. Before
    /// 5.0 there is no answer but an acknowledgement: the policy gets `Notice::PublishRefused`.
    pub max_memory: u64,
    /// Maximum number of bytes beyond `max_memory` that may be stored for clients that are connected and have room in their
    /// windows, so that they go on when others let messages pile up. Default: 256 MiB. No principal can use all of it: each may
    /// have as much in the windows of its clients as it leaves free, and each of its clients as much as these leave free.
    pub reserved_memory: u64,
    /// Maximum memory of connections, sessions, subscriptions and unfinished work, together, in bytes: what
    /// [`Status::memory`](super::Status::memory) shows of them. `None`: no limit. Default: 4 GiB. A principal may hold as much
    /// of it as all leave free: see [the table](Self#limits-of-memory).
    ///
    /// At the limit a new connection is over at once, a client that would need a new session is refused with 0x97 (Quota
    /// exceeded; Server unavailable before 5.0), and so is a new subscription. Messages have a limit of their own,
    /// `max_memory`: both limits and `reserved_memory` together are what clients can make the broker hold.
    pub max_state_memory: Option<NonZeroU64>,
    /// Maximum memory of a principal in bytes: what `max_memory` and `max_state_memory` are about, but for messages in the
    /// windows of its clients. What several principals share counts in full for each. `None`: no limit but its share. Default:
    /// `None`. At the limit the same happens as at the limits of all.
    pub max_memory_per_principal: Option<NonZeroU64>,
    /// The choice of the member of a shared subscription that gets a message. Default: round-robin.
    pub shared_strategy: SharedStrategy,
    /// The interval, in seconds, at which the status and the counters are published under `$SYS/broker/`. Default: `None`,
    /// never.
    pub sys_interval: Option<NonZeroU32>,
    /// Maximum work of a call, in units; [`Broker::poll`](super::Broker::poll) goes on with what is left. A call goes beyond
    /// it by at most one item, such as one packet. Default: 2,000, about what takes 100 microseconds. A driver that writes to
    /// many transports between two calls makes fewer and longer writes with more: fan-out through the example broker is about
    /// twice as fast at 12,000.
    ///
    /// A unit is one item: a packet, a subscription that is looked at, a copy of a message, a timer; and one more for each 256
    /// bytes that are validated, hashed, encoded or copied. The half of all kinds of work takes about 1,000 instructions a unit
    /// or less, and none takes more than ten times that.
    pub work_per_call: NonZeroU32,
    /// Whether the broker is durable: it reports its [changes](super::Broker::changes) to be stored, and sends nothing that
    /// promises what is not stored, so that its sessions, their subscriptions and messages, retained messages and wills survive
    /// a crash. Default: false. `server.durable` and `server.max_uncommitted` have no effect.
    pub durable: bool,
    /// Whether packets wait until what they promise is committed. Default: true. If not, changes gather up to 1 MiB, in which
    /// most messages leave nothing because they are delivered soon; but a crash loses what is not committed although it was
    /// acknowledged, and may let messages of QoS 2 come again. What is left is the state at an earlier time, as a whole.
    pub waits_for_commits: bool,
    /// Size of the changes that are not committed, in bytes, above which no first packets of connections, retained, QoS 1 and
    /// QoS 2 messages, SUBSCRIBE and UNSUBSCRIBE of clients are taken until some are, and no such messages of the embedding
    /// program. Default: 4 MiB. It applies to a durable broker only. What is [under way](super#what-survives-a-crash) may exceed
    /// it.
    pub max_uncommitted: NonZeroU32,
}

/// The choice of the member of a shared subscription that gets a message (section 4.8.2). Members that are connected come
/// before those that are not. A message is offered to at most eight members: if their queues are full it is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
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
    ///
    /// ```
    /// use mqtt_sansio::broker::{BrokerConfig, Secret};
    ///
    /// let config = BrokerConfig { max_connections: 1000, ..BrokerConfig::new(Secret::new([7; 16])) };
    /// # let _ = config;
    /// ```
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
            max_memory_per_principal: None,
            shared_strategy: SharedStrategy::default(),
            sys_interval: None,
            work_per_call: const { NonZeroU32::new(2000).unwrap() },
            durable: false,
            waits_for_commits: true,
            max_uncommitted: MAX_UNCOMMITTED,
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
