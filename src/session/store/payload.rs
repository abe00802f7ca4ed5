//! Large payloads that many stored messages share, and what they take.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Counts the memory of large payloads: each counts once for as long as it exists, and it is known how much of what sessions
/// store is in such payloads.
#[derive(Debug, Default)]
pub(crate) struct PayloadAccount {
    /// Size of the payloads that exist, in bytes.
    payloads: AtomicUsize,
    /// Size of the payloads of stored messages, in bytes: one that is stored for many sessions counts for each.
    stored: AtomicUsize,
}

impl PayloadAccount {
    /// A payload that counts until the last reference to it is gone.
    pub(crate) fn share(self: &Arc<Self>, payload: Bytes) -> Bytes {
        self.payloads.fetch_add(payload.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { payload, account: Arc::clone(self) })
    }

    /// Size of the payloads that exist, in bytes.
    #[allow(dead_code, reason = "for a router: see `server::routing`")]
    pub(crate) fn payloads(&self) -> usize {
        self.payloads.load(Ordering::Relaxed)
    }

    /// Size of the payloads of stored messages, in bytes. It wraps around where a `usize` is small: payloads that are shared
    /// can be more than there is memory.
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

/// The payload of a stored message, which others may share.
pub(in crate::session) struct StoredPayload {
    pub(in crate::session) bytes: Bytes,
    /// Where it counts as stored.
    account: Option<Arc<PayloadAccount>>,
}

impl StoredPayload {
    pub(in crate::session) const fn new(bytes: Bytes) -> Self {
        Self { bytes, account: None }
    }

    /// It counts in this account from here on, and until it is dropped.
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
