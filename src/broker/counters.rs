//! What an operator wants to know.

/// What has happened since the broker was made. Numbers only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes that came from clients and were taken.
    pub bytes_received: u64,
    /// Bytes that were written to accepted clients.
    pub bytes_sent: u64,
    /// Messages that clients have published, the refused ones too.
    pub messages_received: u64,
    /// Copies of messages that were sent to clients, or are kept for them.
    pub messages_forwarded: u64,
    /// Messages of clients that nobody was subscribed to.
    pub messages_unwanted: u64,
    /// Messages that were refused, by the policy or because of a limit.
    pub messages_refused: u64,
    /// Wills that were published.
    pub wills: u64,
    /// Wills under `$SYS/` that were dropped when they were due: only the broker itself publishes there.
    pub wills_refused: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that were turned away because there were too many.
    pub connections_refused: u64,
    /// Clients that were accepted.
    pub clients_accepted: u64,
    /// Clients that were refused.
    pub clients_refused: u64,
    /// Connections that another one of the same client has taken over from.
    pub taken_over: u64,
    /// Connections that ended because the client broke the protocol.
    pub protocol_errors: u64,
    /// Connections that ended because the client was silent for too long.
    pub timeouts: u64,
    /// Sessions that have ended.
    pub sessions_ended: u64,
    /// Subscriptions that were refused, by the policy or because of a limit.
    pub subscriptions_refused: u64,
    /// Copies of messages that were not delivered.
    pub dropped: Dropped,
}

/// How many copies of messages were not delivered, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// As many are kept for the client as may be.
    pub queue_full: u64,
    /// As much is kept for all clients together as may be.
    pub memory: u64,
    /// The message has expired.
    pub expired: u64,
    /// It is larger than the client takes, or cannot be sent in its version.
    pub not_supported: u64,
    /// The session has ended.
    pub session_ended: u64,
    /// The connection was lost before it was written; of QoS 0.
    pub connection_lost: u64,
    /// The client has answered that it does not take it.
    pub refused_by_client: u64,
}

impl Dropped {
    /// All of them.
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

/// Why a copy of a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// As many are kept for the client as may be.
    QueueFull,
    /// As much is kept for all clients together as may be.
    Memory,
    /// The message has expired.
    Expired,
    /// It is larger than the client takes, or cannot be sent in its version.
    NotSupported,
    /// The session has ended.
    SessionEnded,
    /// The connection was lost before it was written; of QoS 0.
    ConnectionLost,
    /// The client has answered that it does not take it.
    RefusedByClient,
}

impl Dropped {
    pub(super) const fn count(&mut self, reason: DropReason) {
        let count = self.of(reason);
        *count = count.saturating_add(1);
    }

    /// Takes one back.
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

/// What there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Connections, also those that are not accepted, and those that are over and not closed.
    pub connections: u32,
    /// Clients that are connected.
    pub clients: u32,
    /// Sessions, with a connection and without.
    pub sessions: u32,
    /// Subscriptions.
    pub subscriptions: u32,
    /// How many of them are shared ones.
    pub shared_subscriptions: u32,
    /// Retained messages.
    pub retained: u32,
    /// The bytes that they take.
    pub retained_bytes: u64,
    /// Messages that are kept for clients: those that wait to be sent, and those that wait to be acknowledged.
    pub stored: u64,
    /// The bytes that they take; a payload that is shared counts for each client.
    pub stored_bytes: u64,
}
