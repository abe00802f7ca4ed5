//! The account of memory: what clients make the broker hold, in all and for each principal, and what may be added.
//!
//! There are two limits. One is for messages: retained ones, and copies that are stored for sessions. The other is for all the
//! rest, the *state*: connections, sessions, subscriptions and jobs. Under each limit a principal may hold at most as much as
//! all principals together leave free. So one principal that takes what it can get leaves half of the limit to the others,
//! two leave a third, and a newcomer always gets something.
//!
//! What several sessions share is charged in full to the principal of each: a large payload, and the levels of a topic filter.
//! In the sum over all principals it counts once. So the charges of a principal may exceed what there is in all, and count no
//! more than that.

use alloc::vec::Vec;

use super::config::BrokerConfig;
use super::jobs::turns::PrincipalIndex;
use super::pieces::Pieces;
use crate::session::PayloadAccount;
use crate::sync::Arc;

/// The account of memory of a broker, in bytes.
#[derive(Clone)]
pub(super) struct Account {
    /// Number and size of the messages that all sessions store. A shared payload counts for each session.
    stored_messages: u64,
    stored_bytes: u64,
    /// Large payloads, which sessions share.
    payloads: Arc<PayloadAccount>,
    /// The size of retained messages, without shared payloads.
    retained: u64,
    /// The size of the state, as of the time when something was last added or removed.
    state: u64,
    message_limit: u64,
    /// What copies within the windows of connected sessions may take beyond `message_limit`.
    reserve: u64,
    state_limit: u64,
    /// The limit of each principal's charges, without copies within windows; `u64::MAX` for none.
    principal_limit: u64,
    /// The charges of principals, by index.
    principals: Pieces<Charges, 256>,
    /// Changes of the principals that retained messages are charged to, until they are counted.
    publishers: Vec<(Option<PrincipalIndex>, Option<PrincipalIndex>)>,
}

/// What a principal holds, in bytes. What is shared counts in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charges {
    /// Connections, sessions, subscriptions and jobs.
    pub(super) state: u64,
    /// Retained messages that the principal has published, and copies that are stored for its sessions.
    pub(super) messages: u64,
    /// The part of `messages` that is within the windows of connected sessions.
    pub(super) window: u64,
}

/// The messages that a session stores, as they are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredMessages {
    pub(super) count: u32,
    /// The size in bytes. A shared payload counts in full.
    pub(super) bytes: u32,
    /// Whether all of them are in flight on a connection, so that they count as copies within the window.
    pub(super) is_window: bool,
}

impl StoredMessages {
    fn window(self) -> u64 {
        if self.is_window { u64::from(self.bytes) } else { 0 }
    }
}

impl Account {
    pub(super) fn new(config: &BrokerConfig) -> Self {
        Self {
            stored_messages: 0,
            stored_bytes: 0,
            payloads: Arc::default(),
            retained: 0,
            state: 0,
            message_limit: config.max_memory,
            reserve: config.reserved_memory,
            state_limit: config.max_state_memory.map_or(u64::MAX, Into::into),
            principal_limit: config.max_memory_per_principal.map_or(u64::MAX, Into::into),
            principals: Pieces::new(),
            publishers: Vec::new(),
        }
    }

    /// Number of messages that all sessions store.
    pub(super) const fn stored_messages(&self) -> u64 {
        self.stored_messages
    }

    /// The size of these messages; a payload that is shared counts for each session.
    pub(super) const fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// The account of large payloads.
    pub(super) const fn payloads(&self) -> &Arc<PayloadAccount> {
        &self.payloads
    }

    /// The size of the charges of principals themselves.
    pub(super) fn bytes(&self) -> usize {
        self.principals.bytes()
    }

    /// The charges of a principal.
    pub(super) fn charges(&self, principal: PrincipalIndex) -> Charges {
        self.principals.get(principal.get()).copied().unwrap_or_default()
    }

    /// The size of stored messages and of large payloads that are in use, each of which counts once.
    pub(super) fn stored(&self) -> u64 {
        // Payloads are counted at once, the messages of a session a little later: the difference may be negative meanwhile.
        let own = (self.stored_bytes as usize).wrapping_sub(self.payloads.stored()) as isize;
        (own.max(0) as u64).saturating_add(self.payloads.payloads() as u64)
    }

    /// The size of retained and stored messages.
    #[inline]
    fn messages(&self) -> u64 {
        self.stored().saturating_add(self.retained)
    }

    /// Sets the size of retained messages, without shared payloads.
    pub(super) const fn set_retained(&mut self, bytes: u64) {
        self.retained = bytes;
    }

    /// Sets the size of the state.
    pub(super) const fn set_state(&mut self, bytes: u64) {
        self.state = bytes;
    }

    #[inline]
    fn charges_mut(&mut self, principal: PrincipalIndex) -> Option<&mut Charges> {
        if self.principals.len() <= principal.get() {
            self.add_principals(principal);
        }
        self.principals.get_mut(principal.get())
    }

    /// Makes room for the charges of a principal. Indices are used one after the other, so this adds one.
    #[cold]
    fn add_principals(&mut self, principal: PrincipalIndex) {
        while self.principals.len() <= principal.get() {
            if self.principals.push(Charges::default()).is_none() {
                return;
            }
        }
    }

    /// Charges state of a principal: `new` bytes in place of `old`.
    #[inline]
    pub(super) fn charge_state(&mut self, principal: PrincipalIndex, old: u64, new: u64) {
        if old != new {
            self.state = replaced(self.state, old, new);
            if let Some(charges) = self.charges_mut(principal) {
                charges.state = replaced(charges.state, old, new);
            }
        }
    }

    /// Charges topic filters to the principal of a session: `new` bytes in place of `old`. Those that sessions share are in the
    /// size of the state once, so that this does not become smaller until it is [set](Self::set_state).
    pub(super) fn charge_filters(&mut self, principal: PrincipalIndex, old: u64, new: u64) {
        self.state = self.state.saturating_add(new.saturating_sub(old));
        if let Some(charges) = self.charges_mut(principal) {
            charges.state = replaced(charges.state, old, new);
        }
    }

    /// Charges a retained message to its publisher, in place of the message that it replaces, or ends the charge of one: both
    /// with principal and size. Whoever has changed the retained messages [sets their size](Self::set_retained).
    pub(super) fn charge_retained(&mut self, new: Option<(PrincipalIndex, u64)>, old: Option<(PrincipalIndex, u64)>) {
        for (principal, old, new) in
            [old.map(|(of, size)| (of, size, 0)), new.map(|(of, size)| (of, 0, size))].into_iter().flatten()
        {
            if let Some(charges) = self.charges_mut(principal) {
                charges.messages = replaced(charges.messages, old, new);
            }
        }
        let (new, old) = (new.map(|(principal, _)| principal), old.map(|(principal, _)| principal));
        if new != old {
            self.publishers.push((new, old));
        }
    }

    /// The next change of the principals that retained messages are charged to: one more message is that of the first, and one
    /// less that of the second.
    pub(super) fn next_publishers(&mut self) -> Option<(Option<PrincipalIndex>, Option<PrincipalIndex>)> {
        self.publishers.pop()
    }

    /// Counts and charges the messages that a session stores: `new` in place of `old`.
    #[inline]
    pub(super) fn charge_stored(&mut self, principal: PrincipalIndex, old: StoredMessages, new: StoredMessages) {
        if (old.count, old.bytes, old.window()) == (new.count, new.bytes, new.window()) {
            return;
        }
        self.stored_messages = replaced(self.stored_messages, old.count.into(), new.count.into());
        self.stored_bytes = replaced(self.stored_bytes, old.bytes.into(), new.bytes.into());
        if let Some(charges) = self.charges_mut(principal) {
            charges.messages = replaced(charges.messages, old.bytes.into(), new.bytes.into());
            charges.window = replaced(charges.window, old.window(), new.window());
        }
    }

    /// As [`charge_stored`](Self::charge_stored), for messages of a session that all are in flight on its connection, before and
    /// now: given are their number and size.
    #[inline]
    pub(super) fn charge_window(&mut self, principal: PrincipalIndex, old: (u32, u32), new: (u32, u32)) {
        // What is taken away was added before, so that no sum wraps.
        let replaced = |sum: u64, old: u32, new: u32| sum.wrapping_sub(old.into()).wrapping_add(new.into());
        self.stored_messages = replaced(self.stored_messages, old.0, new.0);
        self.stored_bytes = replaced(self.stored_bytes, old.1, new.1);
        // A principal is charged for each of its sessions, so that its charges exist.
        if let Some(charges) = self.principals.get_mut(principal.get()) {
            charges.messages = replaced(charges.messages, old.1, new.1);
            charges.window = replaced(charges.window, old.1, new.1);
        }
    }

    /// Moves what a session holds from one principal to another.
    pub(super) fn move_session(
        &mut self,
        (from, to): (PrincipalIndex, PrincipalIndex),
        state: u64,
        stored: StoredMessages,
    ) {
        if from == to {
            return;
        }
        self.charge_state(from, state, 0);
        self.charge_state(to, 0, state);
        self.charge_stored(from, stored, StoredMessages::default());
        self.charge_stored(to, StoredMessages::default(), stored);
    }

    /// Whether the state is so far below its limit that this much more is certain to be within the limits. The size of the state
    /// need not be [set](Self::set_state) for that.
    #[inline]
    pub(super) fn is_far_below(&self, size: u64) -> bool {
        /// What is charged is at least a half of what is taken, and half of the limit is for all principals.
        const PARTS: u64 = 4;
        self.principal_limit == u64::MAX && self.state.saturating_add(size).saturating_mul(PARTS) <= self.state_limit
    }

    /// Whether this much more state is within the limits, of the broker and of a principal; of a new principal if there is
    /// none.
    pub(super) fn has_room_for_state(&self, principal: Option<PrincipalIndex>, size: u64) -> bool {
        let held = |account: &Self| account.of(principal).state.min(account.state);
        self.allows(principal, self.state.saturating_add(size), size, self.state_limit, held)
    }

    /// Whether a copy with this much more bytes is within the limits, of the broker and of the principal of its session.
    #[inline]
    pub(super) fn has_room_for_copy(&self, principal: PrincipalIndex, size: u64) -> bool {
        let used = self.messages();
        let held = |account: &Self| account.charges(principal).messages.min(used);
        self.allows(Some(principal), used.saturating_add(size), size, self.message_limit, held)
    }

    /// Whether a message may be retained for a principal: `own` is the size of all retained messages with it, without shared
    /// payloads, `replaced_payload` the size of the shared payload that it replaces, and `charges` what is charged to the
    /// principal for the message, and for the one that it replaces.
    pub(super) fn has_room_for_retained(
        &self,
        principal: PrincipalIndex,
        (own, replaced_payload): (u64, u64),
        (new, old): (u64, u64),
    ) -> bool {
        // The payload of the new message is counted already.
        let used = self.stored().saturating_sub(replaced_payload).saturating_add(own);
        let held = |account: &Self| replaced(account.charges(principal).messages, old, new).min(used);
        self.allows(Some(principal), used, 0, self.message_limit, held)
    }

    /// Whether a session of a principal may store a copy, with this much more bytes, within its window: it may use the reserve
    /// too. A principal may have as much in its windows as it leaves free for others, and each of its sessions as much as
    /// these leave free for each other.
    #[cold]
    pub(super) fn has_room_in_window(&self, principal: PrincipalIndex, stored: u32, size: u64) -> bool {
        let used = self.messages();
        let window = self.charges(principal).window.min(used);
        let limit = self.message_limit.saturating_add(self.reserve);
        let left = limit.checked_sub(used.saturating_add(size));
        left.is_some_and(|left| window.saturating_add(stored.into()) <= left)
    }

    fn of(&self, principal: Option<PrincipalIndex>) -> Charges {
        principal.map_or_else(Charges::default, |principal| self.charges(principal))
    }

    /// Whether all may be `used` bytes, after a principal that holds `held` has got `size` bytes more.
    #[inline]
    fn allows(
        &self,
        principal: Option<PrincipalIndex>,
        used: u64,
        size: u64,
        limit: u64,
        held: impl FnOnce(&Self) -> u64,
    ) -> bool {
        let Some(free) = limit.checked_sub(used) else { return false };
        // A principal holds no more than there is.
        if (used <= free && self.principal_limit == u64::MAX) || principal == Some(PrincipalIndex::BROKER) {
            return true;
        }
        held(self).saturating_add(size) <= free && self.is_within_own_limit(principal, size)
    }

    /// Whether a principal may hold this much more by its own limit.
    fn is_within_own_limit(&self, principal: Option<PrincipalIndex>, size: u64) -> bool {
        if self.principal_limit == u64::MAX {
            return true;
        }
        let charges = self.of(principal);
        let messages = charges.messages.saturating_sub(charges.window).min(self.messages());
        charges.state.min(self.state).saturating_add(messages).saturating_add(size) <= self.principal_limit
    }

    /// Panics unless these are the sums, and the charges of principals, by their indices. For tests.
    pub(super) fn assert_consistent(&self, stored: (u64, u64), charges: impl Fn(u32) -> Charges) {
        assert_eq!((self.stored_messages, self.stored_bytes), stored, "stored messages are counted right");
        assert!(self.payloads.stored() as u64 <= stored.1, "shared payloads are a part of what is stored");
        let counted = |index| self.principals.get(index);
        for (index, counted) in (0..self.principals.len()).filter_map(|index| Some((index, counted(index)?))) {
            assert_eq!(*counted, charges(index), "principal {index} is charged for what it holds");
        }
    }
}

/// The sum with one part replaced.
#[inline]
const fn replaced(sum: u64, old: u64, new: u64) -> u64 {
    sum.saturating_sub(old).saturating_add(new)
}
