//! Which sessions of the embedding program have messages.

use crate::sync::Arc;
use alloc::collections::BTreeSet;
use core::ops::Bound;

use super::index::SessionIndex;
use crate::heap_size;
use crate::server::ServerConfig;

/// The sessions of the embedding program, and which of them may have messages.
#[derive(Default)]
pub(super) struct Inbox {
    /// The configuration of these sessions, once there was one.
    config: Option<Arc<ServerConfig>>,
    /// Number of sessions, without those that have ended.
    len: u32,
    /// The sessions that may have messages.
    waiting: BTreeSet<SessionIndex>,
    /// The session that had its turn last.
    last: Option<SessionIndex>,
    /// Whether the budget of a call was used up before it came to a message.
    is_unfinished: bool,
}

impl Inbox {
    /// Number of subscriptions.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The size on the heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let config = self.config.as_ref().map_or(0, |_| core::mem::size_of::<ServerConfig>());
        config.saturating_add(heap_size::tree(self.waiting.len(), core::mem::size_of::<SessionIndex>()))
    }

    /// Whether there may be a message.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A session may have a message.
    #[cold]
    pub(super) fn note(&mut self, index: SessionIndex) {
        self.waiting.insert(index);
    }

    /// A session has no messages.
    pub(super) fn set_empty(&mut self, index: SessionIndex) {
        self.waiting.remove(&index);
    }

    /// The session whose turn is next, of those that may have messages.
    pub(super) fn next(&mut self) -> Option<SessionIndex> {
        let behind = self.last.and_then(|last| self.waiting.range((Bound::Excluded(last), Bound::Unbounded)).next());
        self.last = behind.or_else(|| self.waiting.first()).copied();
        self.last
    }

    /// A session begins.
    pub(super) const fn add(&mut self) {
        self.len = self.len.saturating_add(1);
    }

    /// A session ends.
    pub(super) fn remove(&mut self, index: SessionIndex) {
        self.len = self.len.saturating_sub(1);
        self.set_empty(index);
    }

    /// Whether the budget of a call was used up before it came to a message, so that there may be one.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }

    /// Sets whether the budget of a call was used up before it came to a message.
    pub(super) const fn set_unfinished(&mut self, is_unfinished: bool) {
        self.is_unfinished = is_unfinished;
    }

    /// The configuration of sessions: as that of clients, and messages of QoS 0 are queued.
    pub(super) fn config(&mut self, server: &ServerConfig) -> Arc<ServerConfig> {
        let config =
            || Arc::new(ServerConfig { store_qos_0: true, durable: false, deliver_in_parts: None, ..server.clone() });
        Arc::clone(self.config.get_or_insert_with(config))
    }
}
