//! What a broker is to be.

use crate::server::ServerConfig;

/// What a broker is to be. Every field can be left at its default.
///
/// A limit that is met never ends in an error of the broker's: what would be too much is refused with the reason code that
/// stands beside the limit, or dropped, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// What each client is told and held to, and how much is kept for each. `manual_acks` and `deliver_in_parts` are the
    /// broker's own business and have no effect.
    pub server: ServerConfig,
    /// A number that nobody can guess, so that nobody can choose topics that are slow to look up. It also decides for
    /// [`SharedStrategy::Random`], and in the names that are given to clients without one. 0 by default.
    pub seed: u64,
    /// How many connections there may be, accepted or not; 1,000,000 by default. What is opened beyond is over at once.
    pub max_connections: u32,
    /// How many sessions there may be, with a connection or without; 1,000,000 by default. A client that would need one
    /// more is refused: 0x97 (Quota exceeded), and Server unavailable before 5.0.
    pub max_sessions: u32,
    /// How many subscriptions there may be; 10,000,000 by default. More are refused: 0x97 (Quota exceeded).
    pub max_subscriptions: u32,
    /// How many subscriptions a session may have; 10,000 by default. More are refused: 0x97 (Quota exceeded).
    pub max_subscriptions_per_session: u32,
    /// How many levels a topic may have; 128 by default. A filter with more is refused with 0x8F (Topic Filter invalid), a
    /// message with 0x90 (Topic Name invalid).
    pub max_topic_levels: u16,
    /// How many messages may be retained; 1,000,000 by default. One more is refused: 0x97 (Quota exceeded).
    pub max_retained: u32,
    /// Maximum size of retained messages, and of those that are stored for all clients, together, in bytes; 1 GiB by default. A
    /// payload of 2 KiB or more, which clients share, counts once. (Each client's own limit, `server.max_kept_bytes`, counts
    /// it in full.) It should be several times `server.maximum_packet_size`.
    ///
    /// A message that would be retained is refused when the limit is reached: 0x97 (Quota exceeded). A copy that would be
    /// stored is dropped, and counted; a message of QoS 1 or 2 of which no copy could be stored is refused with 0x97. Before
    /// 5.0 there is no answer but an acknowledgement: the policy is told by `Notice::PublishRefused`.
    pub max_memory: u64,
    /// How many bytes more than `max_memory` may be stored for clients that are connected and have acknowledged enough to be
    /// sent more; 256 MiB by default. So they go on when others let messages pile up. None of them can use all of it: each may
    /// store as much as it leaves free.
    pub reserved_memory: u64,
    /// To which member of a shared subscription a message goes.
    pub shared_strategy: SharedStrategy,
    /// How often what there is and what has happened is published under `$SYS/broker/`, in seconds; 0, the default, for never.
    pub sys_interval: u32,
}

/// To which member of a shared subscription a message goes (section 4.8.2). Members that are connected come before those
/// that are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedStrategy {
    /// To one after the other.
    #[default]
    RoundRobin,
    /// To any of them, by the seed.
    Random,
    /// To the one with the fewest messages under way or waiting.
    LeastLoaded,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            seed: 0,
            max_connections: 1_000_000,
            max_sessions: 1_000_000,
            max_subscriptions: 10_000_000,
            max_subscriptions_per_session: 10_000,
            max_topic_levels: 128,
            max_retained: 1_000_000,
            max_memory: 1 << 30,
            reserved_memory: 256 << 20,
            shared_strategy: SharedStrategy::default(),
            sys_interval: 0,
        }
    }
}
