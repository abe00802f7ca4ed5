//! Counters and status, for operators.
//!
//! A new [`DropReason`] is a variant and a field of [`Dropped`], which the compiler then asks for; `sys`, where it is
//! published; `Sessions::drop_stored`, if it is an [`AbandonReason`](crate::AbandonReason) of a session; and the log of the
//! example broker (`drops.rs`).

/// What has happened since the broker was made. Each number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes that were received from clients, as far as they were taken.
    pub bytes_received: u64,
    /// Bytes that were written to accepted clients.
    pub bytes_sent: u64,
    /// Messages that clients have published, the refused ones too.
    pub messages_received: u64,
    /// Copies of messages that were sent to clients, or stored for them or for the embedding program.
    pub messages_forwarded: u64,
    /// Messages of clients without a matching subscription.
    pub messages_without_subscriber: u64,
    /// Messages that were refused, by the policy or because of a limit.
    pub messages_refused: u64,
    /// Wills that were published.
    pub wills: u64,
    /// Wills that were dropped when they were due: under `$SYS/`, where only the broker itself publishes, or refused by
    /// [`Policy::will`](super::Policy::will).
    pub wills_refused: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that were turned away because there were too many.
    pub connections_refused: u64,
    /// Clients that were accepted.
    pub clients_accepted: u64,
    /// Clients that were refused.
    pub clients_refused: u64,
    /// Connections that ended because the session was taken over by another connection.
    pub sessions_taken_over: u64,
    /// Connections that ended because of a Malformed Packet or a Protocol Error of the client.
    pub protocol_errors: u64,
    /// Connections that ended because the client sent nothing for one and a half times the keep-alive interval.
    pub timeouts: u64,
    /// Sessions that have ended.
    pub sessions_ended: u64,
    /// Subscriptions that were refused, by the policy or because of a limit.
    pub subscriptions_refused: u64,
    /// Copies of messages that were not delivered.
    pub dropped: Dropped,
}

/// Numbers of copies of messages that were not delivered, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// The session stores as many messages or bytes as its limits allow.
    pub queue_full: u64,
    /// All sessions together store as much as [`BrokerConfig::max_memory`](super::BrokerConfig::max_memory) allows.
    pub memory: u64,
    /// The message has expired.
    pub expired: u64,
    /// The message is larger than the client accepts, or cannot be sent in its version.
    pub not_supported: u64,
    /// The session has ended.
    pub session_ended: u64,
    /// The connection was lost before the message, of QoS 0, was written.
    pub connection_lost: u64,
    /// The client has refused the message with a reason code.
    pub refused_by_client: u64,
}

impl Dropped {
    /// Returns the sum.
    pub const fn total(&self) -> u64 {
        let Self { queue_full, memory, expired, not_supported, session_ended, connection_lost, refused_by_client } =
            *self;
        queue_full
            .saturating_add(memory)
            .saturating_add(expired)
            .saturating_add(not_supported)
            .saturating_add(session_ended)
            .saturating_add(connection_lost)
            .saturating_add(refused_by_client)
    }
}

/// The reason why a copy of a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The session stores as many messages or bytes as its limits allow.
    QueueFull,
    /// All sessions together store as much as [`BrokerConfig::max_memory`](super::BrokerConfig::max_memory) allows.
    Memory,
    /// The message has expired.
    Expired,
    /// The message is larger than the client accepts, or cannot be sent in its version.
    NotSupported,
    /// The session has ended.
    SessionEnded,
    /// The connection was lost before the message, of QoS 0, was written.
    ConnectionLost,
    /// The client has refused the message with a reason code.
    RefusedByClient,
}

impl Dropped {
    pub(super) const fn count(&mut self, reason: DropReason) {
        let count = self.of(reason);
        *count = count.saturating_add(1);
    }

    /// Takes back one count.
    pub(super) const fn discount(&mut self, reason: DropReason) {
        let count = self.of(reason);
        *count = count.saturating_sub(1);
    }

    const fn of(&mut self, reason: DropReason) -> &mut u64 {
        match reason {
            DropReason::QueueFull => &mut self.queue_full,
            DropReason::Memory => &mut self.memory,
            DropReason::Expired => &mut self.expired,
            DropReason::NotSupported => &mut self.not_supported,
            DropReason::SessionEnded => &mut self.session_ended,
            DropReason::ConnectionLost => &mut self.connection_lost,
            DropReason::RefusedByClient => &mut self.refused_by_client,
        }
    }
}

/// The memory that a broker takes, by what takes it, in bytes: what is allocated, whether or not it is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Connections, their timers, and the queue of those that are ready; what a client has sent before it is accepted, decisions
    /// that are waited for, and output of connections that are over.
    pub connections: u64,
    /// Sessions: client identifier, user, list of subscriptions, will and output.
    pub sessions: u64,
    /// Subscriptions: topic filters, subscribers and groups.
    pub subscriptions: u64,
    /// Retained messages with their topics; payloads that are shared are counted in `stored`.
    pub retained: u64,
    /// Messages that are stored for clients. A payload that is shared counts once.
    pub stored: u64,
    /// Unfinished work, and the principals.
    pub jobs: u64,
}

impl MemoryUse {
    /// Returns the sum.
    pub const fn total(&self) -> u64 {
        let Self { connections, sessions, subscriptions, retained, stored, jobs } = *self;
        connections
            .saturating_add(sessions)
            .saturating_add(subscriptions)
            .saturating_add(retained)
            .saturating_add(stored)
            .saturating_add(jobs)
    }
}

/// The present numbers of connections, sessions, subscriptions and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Connections, with those whose client is not accepted, and those that are over and not closed.
    pub connections: u32,
    /// Clients that are connected.
    pub clients: u32,
    /// Sessions, with a connection and without.
    pub sessions: u32,
    /// Subscriptions.
    pub subscriptions: u32,
    /// Shared subscriptions, which `subscriptions` includes.
    pub shared_subscriptions: u32,
    /// Subscriptions of the embedding program, which `subscriptions` includes.
    pub local_subscriptions: u32,
    /// Retained messages.
    pub retained: u32,
    /// The size of the retained messages in bytes.
    pub retained_bytes: u64,
    /// Messages that are stored for clients, queued or in flight, and for the embedding program.
    pub stored: u64,
    /// The size of the stored messages in bytes; a shared payload counts for each client.
    pub stored_bytes: u64,
    /// The memory that all of it takes.
    pub memory: MemoryUse,
}
