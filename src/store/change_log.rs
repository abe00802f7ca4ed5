//! The changes that are not committed yet: the open batch, closed batches, and the numbers of those under way.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::batch::{self, Batch};
use super::key::Key;
use super::open_batch::{OpenBatch, checksum};
use super::{FORMAT, MAX_CONTENT};
use crate::time::Instant;

/// The changes of a state, in batches.
///
/// A later change of a key in the open batch replaces the earlier one. A pair that was put and removed between two
/// batches leaves nothing.
#[derive(Clone)]
pub(crate) struct ChangeLog {
    /// The changes of the open batch.
    open: OpenBatch,
    /// Whether a packet waits for the open batch, which is then closed even if its changes cancel each other out.
    is_awaited: bool,
    /// The number of the open batch.
    number: u64,
    /// The number of the last batch in which something was removed or replaced that others have read: see
    /// [`note_removal`](Self::note_removal).
    removed_in: u64,
    /// The number up to which all batches are committed.
    committed: u64,
    /// Batches that were closed because of their size, and are not handed out.
    closed: VecDeque<Batch>,
    /// The number and the size of the closed batches that are not committed.
    under_way: VecDeque<(u64, usize)>,
    /// Size of the closed batches that are not committed, in bytes.
    uncommitted: usize,
}

/// The open batch is closed before the next step once its size, in bytes, exceeds this: 1 MiB.
const BATCH_SIZE: usize = 1024 * 1024;

impl ChangeLog {
    /// Creates the log of a new state.
    pub(crate) fn new() -> Self {
        let mut log = Self::after(0);
        log.put(Key::FORMAT, &[FORMAT]);
        log
    }

    /// Creates the log of a state that was restored from the batches up to this number.
    pub(crate) const fn after(number: u64) -> Self {
        Self {
            open: OpenBatch::new(),
            is_awaited: false,
            number: number.saturating_add(1),
            removed_in: 0,
            committed: number,
            closed: VecDeque::new(),
            under_way: VecDeque::new(),
            uncommitted: 0,
        }
    }

    /// Puts a pair whose key has had no value before, or whose value was removed.
    pub(crate) fn insert(&mut self, key: Key, value: &[u8]) {
        self.write(key, value, true);
    }

    /// Puts a pair whose key may have another value.
    pub(crate) fn put(&mut self, key: Key, value: &[u8]) {
        self.write(key, value, false);
    }

    fn write(&mut self, key: Key, value: &[u8], is_new: bool) {
        if value.len() > MAX_CONTENT {
            bug!("a value of {} bytes", value.len());
        }
        self.open.put(key, value, is_new);
    }

    /// Removes a pair, if there is one.
    pub(crate) fn remove(&mut self, key: Key) {
        self.open.remove(key);
    }

    /// Returns whether there is a batch to hand out.
    pub(crate) fn has_batch(&self) -> bool {
        !self.closed.is_empty() || self.is_awaited || !self.open.is_empty()
    }

    /// Returns whether a packet waits for changes that were not handed out, or a batch of these was closed because of its
    /// size.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited || !self.closed.is_empty()
    }

    /// Closes the open batch if it is large. Called before each step, so that a batch has at most one step too much.
    #[inline]
    pub(crate) fn begin_step(&mut self, now: Instant) {
        if self.open.size() >= BATCH_SIZE {
            self.close_unless_small(now);
        }
    }

    /// Closes the open batch, unless it is small without changes that were cancelled, and values that were replaced.
    #[cold]
    fn close_unless_small(&mut self, now: Instant) {
        if self.is_awaited || self.open.compact() >= BATCH_SIZE / 2 {
            self.close(now);
        }
    }

    /// Returns the next batch to store; `None` if nothing has changed.
    pub(crate) fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        if self.closed.is_empty() && self.has_batch() {
            self.close(now);
        }
        self.closed.pop_front()
    }

    /// Closes the open batch, which contains the time and its number besides the changes.
    fn close(&mut self, now: Instant) {
        let (key, clock) = (Key::CLOCK.bytes(), clock(now, self.number));
        let mut body = self.open.take(batch::CHANGE.saturating_add(clock.len()));
        batch::write(&mut body, &key, Some((&clock, checksum(&key, &clock))), false);
        self.push(body);
    }

    fn push(&mut self, body: Vec<u8>) {
        self.is_awaited = false;
        let number = self.number;
        self.number = number.saturating_add(1);
        self.uncommitted = self.uncommitted.saturating_add(body.len());
        self.under_way.push_back((number, body.len()));
        self.closed.push_back(Batch::new(number, Bytes::from(body)));
    }

    /// Returns a batch that begins a new store: it contains these pairs, the present state, and
    /// takes the place of all batches that were not handed out.
    pub(crate) fn snapshot(&mut self, now: Instant, pairs: impl FnOnce(&mut dyn FnMut(Key, &[u8]))) -> Batch {
        self.open.clear();
        self.closed.clear();
        self.put(Key::FORMAT, &[FORMAT]);
        pairs(&mut |key, value| self.put(key, value));
        self.close(now);
        self.closed.pop_front().unwrap_or_else(|| {
            bug!("the batch was closed");
            Batch::new(self.committed, Bytes::new())
        })
    }

    /// Notes that the batches up to this number are stored. Numbers of batches that were not handed out have no effect.
    pub(crate) fn committed(&mut self, number: u64) {
        let handed_out = self.closed.front().map_or(self.number, Batch::number).saturating_sub(1);
        self.committed = self.committed.max(number.min(handed_out));
        while let Some(&(first, size)) = self.under_way.front()
            && first <= self.committed
        {
            self.under_way.pop_front();
            self.uncommitted = self.uncommitted.saturating_sub(size);
        }
    }

    /// Returns whether a batch is committed.
    #[inline]
    pub(crate) const fn is_committed(&self, number: u64) -> bool {
        number <= self.committed
    }

    /// Returns the number of the batch for which a packet has to wait that depends on all changes so far.
    pub(crate) fn wait(&mut self) -> u64 {
        if self.open.is_empty() && !self.is_awaited {
            return self.number.saturating_sub(1);
        }
        self.is_awaited = true;
        self.number
    }

    /// Returns the number of the open batch, for which a packet has to wait that depends on what the application stores
    /// with it. The batch is handed out even if the state itself has not changed.
    pub(crate) const fn wait_for_open(&mut self) -> u64 {
        self.is_awaited = true;
        self.number
    }

    /// Returns the number of the open batch.
    #[inline]
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Notes that a packet waits for a batch. The open one is handed out then, even if its changes cancel each other out.
    pub(crate) const fn await_batch(&mut self, number: u64) {
        self.is_awaited |= number >= self.number;
    }

    /// Notes that the open batch removes or replaces something on which packets depend that promise nothing of it: a reader
    /// waits for what it has read.
    pub(crate) const fn note_removal(&mut self) {
        self.removed_in = self.number;
    }

    /// Returns the number of the last batch with such a removal; 0 for none.
    #[inline]
    pub(crate) const fn removed_in(&self) -> u64 {
        self.removed_in
    }

    /// Returns the size of the changes that are not committed, in bytes.
    pub(crate) fn uncommitted(&self) -> usize {
        self.uncommitted.saturating_add(self.open.size())
    }

    /// Returns the size on the heap, in bytes, with the batches that are not committed.
    pub(crate) const fn heap(&self) -> usize {
        self.uncommitted.saturating_add(self.open.heap())
    }
}

/// Returns the content of a value: all but its checksum; `None` if the pair is damaged.
pub(crate) fn content_of<'v>(key: &[u8], value: &'v [u8]) -> Option<&'v [u8]> {
    let (content, found) = value.split_last_chunk::<4>()?;
    (checksum(key, content) == *found).then_some(content)
}

/// Returns the value of [`Key::CLOCK`].
fn clock(now: Instant, number: u64) -> [u8; 16] {
    let mut value = [0; 16];
    let (time, batch) = value.split_at_mut(8);
    time.copy_from_slice(&now.as_micros().to_be_bytes());
    batch.copy_from_slice(&number.to_be_bytes());
    value
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::batch::Change;
    use super::*;
    use crate::store::Pairs;

    const NOW: Instant = Instant::from_micros(5);

    fn keys(batch: &Batch) -> Vec<(Vec<u8>, bool)> {
        let change = |change| match change {
            Change::Put { key, .. } => (key.to_vec(), true),
            Change::Remove { key } => (key.to_vec(), false),
        };
        let mut keys: Vec<_> = batch.changes().map(change).collect();
        keys.sort_unstable(); // their order means nothing
        keys
    }

    /// Within a batch, changes replace each other; across batches they do not.
    #[test]
    #[allow(clippy::unwrap_used)]
    fn changes_of_a_batch_replace_each_other() {
        let mut log = ChangeLog::after(7);
        assert!(log.next_batch(NOW).is_none() && log.wait() == 7);
        log.insert(Key::message(1), b"a");
        log.put(Key::message(1), b"b");
        log.insert(Key::message(2), b"c");
        log.remove(Key::message(2));
        log.remove(Key::message(3));
        let first = log.next_batch(NOW).unwrap();
        assert_eq!(first.number(), 8);
        let expected = vec![
            (Key::CLOCK.bytes().to_vec(), true),
            (Key::message(1).bytes().to_vec(), true),
            (Key::message(3).bytes().to_vec(), false),
        ];
        assert_eq!(keys(&first), expected);
        let values: Vec<_> = first
            .changes()
            .filter_map(|change| match change {
                Change::Put { key, value, .. } if *key == *Key::message(1).bytes() => content_of(key, value),
                _ => None,
            })
            .collect();
        assert_eq!(values, [b"b"]);
        log.remove(Key::message(1));
        let second = log.next_batch(NOW).unwrap();
        assert_eq!(keys(&second), vec![(Key::CLOCK.bytes().to_vec(), true), (Key::message(1).bytes().to_vec(), false)]);
        // A removed pair that is put again is not new.
        log.remove(Key::message(4));
        log.insert(Key::message(4), b"d");
        log.remove(Key::message(4));
        assert_eq!(keys(&log.next_batch(NOW).unwrap()).len(), 2);
        assert!(log.next_batch(NOW).is_none());
    }

    /// A batch for which a packet waits is handed out even if its changes have cancelled each other out.
    #[test]
    #[allow(clippy::unwrap_used)]
    fn an_awaited_batch_is_handed_out() {
        let mut log = ChangeLog::after(0);
        log.insert(Key::message(1), b"a");
        assert_eq!(log.wait(), 1);
        log.remove(Key::message(1));
        assert_eq!(log.wait(), 1);
        let batch = log.next_batch(NOW).unwrap();
        assert_eq!(keys(&batch), vec![(Key::CLOCK.bytes().to_vec(), true)]);
        assert!(!log.is_committed(1) && log.wait() == 1);
        log.committed(1);
        assert!(log.is_committed(1) && log.next_batch(NOW).is_none());
        // Numbers that were not handed out are not committed.
        log.committed(9);
        assert!(!log.is_committed(2));
    }

    /// Large batches are closed between two steps.
    #[test]
    #[allow(clippy::unwrap_used)]
    fn a_batch_has_at_most_a_mebibyte_and_a_step() {
        let mut log = ChangeLog::after(0);
        let mut largest = 0;
        for number in 0..40 {
            log.begin_step(NOW);
            log.insert(Key::message(number), &[7; MAX_CONTENT]);
        }
        assert!(log.uncommitted() > 40 * MAX_CONTENT);
        let mut pairs = Pairs::default();
        let mut last = 0;
        while let Some(batch) = log.next_batch(NOW) {
            assert_eq!(batch.number(), last + 1);
            last = batch.number();
            largest = largest.max(batch.size());
            pairs.apply(&batch);
            log.committed(last);
        }
        assert!(last == 3 && largest < BATCH_SIZE + 2 * MAX_CONTENT, "{last} batches, {largest}");
        assert_eq!((pairs.iter().count(), log.uncommitted()), (41, 0));
    }
}
