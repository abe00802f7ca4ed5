//! How much memory messages may take.

use alloc::sync::Arc;

use crate::session::PayloadAccount;

/// The account of messages that are stored for sessions.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// How many messages all sessions store, and how many bytes.
    messages: u64,
    bytes: u64,
    /// Maximum size of these bytes and of large payloads that are in use.
    limit: u64,
    /// Maximum size of what may be stored beyond the limit for clients that are connected.
    reserve: u64,
    /// Large payloads, which sessions share.
    payloads: Arc<PayloadAccount>,
}

impl Memory {
    pub(super) fn new(limit: u64, reserve: u64) -> Self {
        Self { messages: 0, bytes: 0, limit, reserve, payloads: Arc::default() }
    }

    /// How many messages all sessions store.
    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }

    /// How many bytes these messages take; a payload that is shared counts for each session.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The account of large payloads.
    pub(super) const fn payloads(&self) -> &Arc<PayloadAccount> {
        &self.payloads
    }

    pub(super) const fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Counts a session again: the messages and bytes that it stored when it was counted last, and now.
    #[inline]
    pub(super) fn recount(&mut self, old: (u32, u32), new: (u32, u32)) {
        self.messages = self.messages.saturating_sub(u64::from(old.0)).saturating_add(u64::from(new.0));
        self.bytes = self.bytes.saturating_sub(u64::from(old.1)).saturating_add(u64::from(new.1));
    }

    /// How many bytes are taken by messages that are stored for sessions, and by large payloads that are in use, each of
    /// which counts once.
    pub(super) fn used(&self) -> u64 {
        // Payloads are counted at once, the messages of a session a little later: the difference may be negative meanwhile.
        let own = (self.bytes as usize).wrapping_sub(self.payloads.stored()) as isize;
        (own.max(0) as u64).saturating_add(self.payloads.payloads() as u64)
    }

    /// Whether `size` bytes more are within the limit.
    pub(super) fn has_room(&self, size: u64) -> bool {
        self.used().saturating_add(size) <= self.limit
    }

    /// How much would be left of limit and reserve with `size` bytes more; `None` if they do not fit.
    pub(super) fn left_of_reserve(&self, size: u64) -> Option<u64> {
        self.limit.saturating_add(self.reserve).checked_sub(self.used().saturating_add(size))
    }
}
