//! Large payloads shared by stored messages, and the account of their memory.

use core::sync::atomic::Ordering;

use bytes::Bytes;

use crate::sync::{Arc, AtomicUsize};

/// Counts the memory of large payloads, once for each payload that exists; and the part of the size of stored messages
/// that consists of such payloads.
#[derive(Debug, Default)]
pub(crate) struct PayloadAccount {
    /// Size of the payloads that exist, in bytes.
    payloads: AtomicUsize,
    /// Size of the payloads of stored messages, in bytes. A payload that is stored for several sessions counts for each
    /// of them.
    stored: AtomicUsize,
}

impl PayloadAccount {
    /// Returns a payload that is counted until its last reference is dropped.
    // Not a method: only the `Arc` of the standard library can be the type of `self`.
    pub(crate) fn share(account: &Arc<Self>, payload: Bytes) -> Bytes {
        account.payloads.fetch_add(payload.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { payload, account: Arc::clone(account) })
    }

    /// Returns the size of the payloads that exist, in bytes.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn payloads(&self) -> usize {
        self.payloads.load(Ordering::Relaxed)
    }

    /// Returns the size of the payloads of stored messages, in bytes. The count wraps around where a `usize` is small,
    /// since a payload counts once for each message that shares it.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn stored(&self) -> usize {
        self.stored.load(Ordering::Relaxed)
    }
}

struct Counted {
    payload: Bytes,
    account: Arc<PayloadAccount>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.account.payloads.fetch_sub(self.payload.len(), Ordering::Relaxed);
    }
}

/// The payload of a stored message, which may be shared with other messages, and the number that a durable store has for
/// the message.
pub(in crate::session) struct StoredPayload {
    /// The payload; empty if it is in the packet.
    pub(in crate::session) bytes: Bytes,
    /// The number in a durable store; 0 for none.
    number: u64,
    /// The account in which the payload counts as stored.
    account: Option<Arc<PayloadAccount>>,
}

impl StoredPayload {
    pub(in crate::session) const fn new(bytes: Bytes) -> Self {
        Self { bytes, number: 0, account: None }
    }

    pub(in crate::session) const fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether there is no payload.
    pub(in crate::session) const fn has_number_only(&self) -> bool {
        self.bytes.is_empty() && self.account.is_none()
    }

    pub(in crate::session) const fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    /// Counts the payload in this account until this value is dropped.
    pub(in crate::session) fn count_in(&mut self, account: &Arc<PayloadAccount>) {
        self.discount();
        account.stored.fetch_add(self.bytes.len(), Ordering::Relaxed);
        self.account = Some(Arc::clone(account));
    }

    fn discount(&mut self) {
        if let Some(account) = self.account.take() {
            account.stored.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        }
    }
}

impl Clone for StoredPayload {
    fn clone(&self) -> Self {
        let mut clone = Self::new(self.bytes.clone());
        clone.number = self.number;
        if let Some(account) = &self.account {
            clone.count_in(account);
        }
        clone
    }
}

impl Drop for StoredPayload {
    fn drop(&mut self) {
        self.discount();
    }
}
