//! The connections that the caller has to look at.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Buf;

use super::policy::ConnectionId;
use crate::session::Transmit;

/// The connections that [`Broker::next_ready`](super::Broker::next_ready) returns, each once. Whether a connection is in the
/// queue is held here alone, whatever state the connection is in.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadyQueue {
    queue: VecDeque<ConnectionId>,
    /// One bit for each index of a connection: whether the connection that has this index now is in the queue.
    queued: Vec<u64>,
}

/// The offset up to which the caller knows the output of a connection, modulo 2^32. A connection is ready when there is more,
/// and not each time that something happens to it while its output waits to be written: a caller that gives the beginning of a
/// packet again each time would never rest.
// Output is taken by `Broker::transmit`, which updates this, and what is not taken is less than 2 GiB: offsets do not wrap unnoticed.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownOutput(u32);

impl KnownOutput {
    /// Nothing, as at the beginning of a connection.
    pub(super) const NONE: Self = Self(0);

    /// The caller looks at the output, or is about to. Returns whether there are bytes to write that it did not know of. Bytes
    /// that are held do not count until they are released.
    #[inline]
    pub(super) fn update(&mut self, output: &Transmit) -> bool {
        let remaining = output.remaining();
        let end = output.taken().wrapping_add(remaining as u64) as u32;
        core::mem::replace(&mut self.0, end) != end && remaining != 0
    }
}

impl ReadyQueue {
    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let queue = self.queue.capacity().saturating_mul(core::mem::size_of::<ConnectionId>());
        queue.saturating_add(self.queued.capacity().saturating_mul(core::mem::size_of::<u64>()))
    }

    /// Adds a connection, unless it is in the queue.
    #[inline]
    pub(super) fn push(&mut self, id: ConnectionId) {
        if !self.mark(id) {
            self.queue.push_back(id);
        }
    }

    /// Takes out the first connection. One that was closed meanwhile is skipped.
    pub(super) fn pop(&mut self, is_open: impl Fn(ConnectionId) -> bool) -> Option<ConnectionId> {
        loop {
            let id = self.queue.pop_front()?;
            if is_open(id) {
                self.unmark(id);
                return Some(id);
            }
        }
    }

    /// Treats a connection as one in the queue, so that it is not added; returns whether it was one.
    #[inline]
    pub(super) fn mark(&mut self, id: ConnectionId) -> bool {
        let (word, bit) = position(id);
        match self.queued.get_mut(word) {
            Some(word) => {
                let was_marked = *word & bit != 0;
                *word |= bit;
                was_marked
            }
            None => {
                self.queued.resize(word.saturating_add(1), 0);
                if let Some(word) = self.queued.get_mut(word) {
                    *word |= bit;
                }
                false
            }
        }
    }

    /// Treats a connection as one that is not in the queue: it was closed, or was only [marked](Self::mark).
    pub(super) fn unmark(&mut self, id: ConnectionId) {
        let (word, bit) = position(id);
        if let Some(word) = self.queued.get_mut(word) {
            *word &= !bit;
        }
    }
}

/// The word that has the bit of a connection, and the bit.
#[inline]
const fn position(id: ConnectionId) -> (usize, u64) {
    let index = id.index();
    (index / 64, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::super::slab::Key;
    use super::*;

    fn connection(index: u32, generation: u32) -> ConnectionId {
        ConnectionId::new(Key { index, generation })
    }

    #[test]
    fn a_connection_is_in_the_queue_once() {
        let (first, second) = (connection(0, 0), connection(70, 3));
        let mut ready = ReadyQueue::default();
        for _ in 0..3 {
            [first, second].into_iter().for_each(|id| ready.push(id));
        }
        assert_eq!([(); 3].map(|()| ready.pop(|_| true)), [Some(first), Some(second), None]);
        ready.push(first);
        assert_eq!(ready.pop(|_| true), Some(first), "and again after it was taken out");
    }

    #[test]
    fn a_closed_connection_is_skipped_and_its_index_is_free() {
        let (old, new) = (connection(5, 0), connection(5, 1));
        let mut ready = ReadyQueue::default();
        ready.push(old);
        ready.unmark(old); // it is closed
        ready.push(new);
        assert_eq!([(); 2].map(|()| ready.pop(|id| id == new)), [Some(new), None]);
    }

    #[test]
    fn a_marked_connection_is_not_added() {
        let id = connection(64, 0);
        let mut ready = ReadyQueue::default();
        assert!(!ready.mark(id));
        ready.push(id);
        ready.unmark(id);
        assert_eq!(ready.pop(|_| true), None);
        ready.push(id);
        assert!(ready.mark(id), "it was in the queue");
    }
}
