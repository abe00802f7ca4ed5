//! Counters and status, for operators.
//!
//! A new [`DropReason`] is a variant and a field of [`Dropped`], which the compiler then asks for; `sys`, where it is
//! published; `Sessions::drop_stored`, if it is an [`AbandonReason`](crate::AbandonReason) of a session; and the log of the
//! example broker (`drops.rs`).

/// Fields by their names, with the prefix of the struct that they are in.
macro_rules! entries {
    ($prefix:literal, $($field:ident)*) => { [$((concat!($prefix, stringify!($field)), u64::from($field))),*].into_iter() };
}

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

impl Counters {
    /// Returns the counters with the names of their fields, for instance for a monitoring system. Those of
    /// [`dropped`](Self::dropped) come last, as `dropped_queue_full` for instance.
    ///
    /// ```
    /// # use mqtt_sansio::broker::Counters;
    /// let counters = Counters::default();
    /// for (name, value) in counters.entries() {
    ///     println!("mqtt_{name}_total {value}");
    /// }
    /// assert!(counters.entries().any(|entry| entry == ("dropped_queue_full", 0)));
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Self {
            bytes_received,
            bytes_sent,
            messages_received,
            messages_forwarded,
            messages_without_subscriber,
            messages_refused,
            wills,
            wills_refused,
            connections,
            connections_refused,
            clients_accepted,
            clients_refused,
            sessions_taken_over,
            protocol_errors,
            timeouts,
            sessions_ended,
            subscriptions_refused,
            dropped,
        } = *self;
        let own = entries!(
            "", bytes_received bytes_sent messages_received messages_forwarded messages_without_subscriber messages_refused
            wills wills_refused connections connections_refused clients_accepted clients_refused sessions_taken_over
            protocol_errors timeouts sessions_ended subscriptions_refused
        );
        own.chain(dropped.entries())
    }
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
    ///
    /// ```
    /// # use mqtt_sansio::broker::Dropped;
    /// let mut dropped = Dropped::default();
    /// (dropped.expired, dropped.memory) = (3, 4);
    /// assert_eq!(dropped.total(), 7);
    /// ```
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

    /// Returns the numbers with the names of their fields behind `dropped_`, as [`Counters::entries`] has them.
    ///
    /// ```
    /// # use mqtt_sansio::broker::Dropped;
    /// let names: Vec<_> = Dropped::default().entries().map(|(name, _)| name).collect();
    /// assert_eq!(names[..2], ["dropped_queue_full", "dropped_memory"]);
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Self { queue_full, memory, expired, not_supported, session_ended, connection_lost, refused_by_client } =
            *self;
        entries!(
            "dropped_", queue_full memory expired not_supported session_ended connection_lost refused_by_client
        )
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
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// let broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// println!("{} KiB", broker.status().memory.total() / 1024);
    /// ```
    pub const fn total(&self) -> u64 {
        let Self { connections, sessions, subscriptions, retained, stored, jobs } = *self;
        connections
            .saturating_add(sessions)
            .saturating_add(subscriptions)
            .saturating_add(retained)
            .saturating_add(stored)
            .saturating_add(jobs)
    }

    /// Returns the numbers with the names of their fields behind `memory_`, as [`Status::entries`] has them.
    ///
    /// ```
    /// # use mqtt_sansio::broker::MemoryUse;
    /// let names: Vec<_> = MemoryUse::default().entries().map(|(name, _)| name).collect();
    /// assert_eq!(names[..2], ["memory_connections", "memory_sessions"]);
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Self { connections, sessions, subscriptions, retained, stored, jobs } = *self;
        entries!("memory_", connections sessions subscriptions retained stored jobs)
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

impl Status {
    /// Returns the numbers with the names of their fields, for instance for a monitoring system. Those of
    /// [`memory`](Self::memory) come last, as `memory_sessions` for instance.
    ///
    /// ```
    /// # use mqtt_sansio::broker::{AllowAll, Broker, BrokerConfig, Secret};
    /// let broker = Broker::new(BrokerConfig::new(Secret::new([7; 16])), AllowAll);
    /// for (name, value) in broker.status().entries() {
    ///     println!("mqtt_{name} {value}");
    /// }
    /// assert!(broker.status().entries().any(|entry| entry == ("clients", 0)));
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let Self {
            connections,
            clients,
            sessions,
            subscriptions,
            shared_subscriptions,
            local_subscriptions,
            retained,
            retained_bytes,
            stored,
            stored_bytes,
            memory,
        } = *self;
        let own = entries!(
            "", connections clients sessions subscriptions shared_subscriptions local_subscriptions retained retained_bytes
            stored stored_bytes
        );
        own.chain(memory.entries())
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    /// What is not listed does not come to a monitoring system, and what has the name of another hides that.
    #[test]
    fn each_number_has_a_name_of_its_own() {
        let counters =
            Counters { wills: 7, dropped: Dropped { memory: 8, ..Dropped::default() }, ..Counters::default() };
        let status = Status { stored: 9, memory: MemoryUse { jobs: 10, ..MemoryUse::default() }, ..Status::default() };
        let counters = counters.entries().collect::<BTreeSet<_>>();
        let status = status.entries().collect::<BTreeSet<_>>();
        assert_eq!((counters.len(), status.len()), (17 + 7, 10 + 6));
        assert!([("wills", 7), ("dropped_memory", 8)].iter().all(|entry| counters.contains(entry)));
        assert!([("stored", 9), ("memory_jobs", 10)].iter().all(|entry| status.contains(entry)));
    }
}
