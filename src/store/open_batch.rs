//! The batch that is not closed yet: the last change of each key.

use alloc::vec::Vec;

use super::batch;
use super::checksum::Checksum;
use super::key::Key;

/// The changes of the open batch.
///
/// A later change of a key replaces the earlier one, and what was new and is removed again leaves nothing. For that a change
/// is found by a table of hashes that looks at a few slots only: whoever chooses keys with the same hash gains nothing. If
/// the table has no slot for a key, changes are only noted one after the other from then on, and are brought together
/// when the batch is closed.
#[derive(Clone, Default)]
pub(super) struct OpenBatch {
    /// The changes, in the order in which their keys were first changed.
    changes: Vec<OpenChange>,
    /// The values, replaced ones included.
    values: Vec<u8>,
    table: Table,
    /// Number of changes that were cancelled.
    cancelled: usize,
    /// The sizes of the batch before, for which there is room from the beginning.
    before: (usize, usize),
}

#[derive(Clone, Copy)]
struct OpenChange {
    key: Key,
    /// The range of the value.
    start: u32,
    len: u32,
    /// Whether the key has no value in earlier batches, so that its removal leaves nothing.
    is_new: bool,
    /// Whether the key has a value. A change that [is new](Self::is_new) and has none is cancelled.
    has_value: bool,
}

/// Finds the changes of keys.
#[derive(Clone, Default)]
struct Table {
    /// The positions of changes, and 1 more; 0 for none. The length is 0 or a power of two, and at least twice the number of
    /// changes.
    slots: Vec<u32>,
    /// Whether a key had no slot: the table is not used until the batch is closed.
    is_given_up: bool,
}

/// The number of slots that may hold a key. With half of the slots in use, all of these are by chance once in 16 million keys.
const TRIES: u64 = 24;

/// There is room for no more changes from the beginning, with values of 16 bytes on the average.
const MOST_BEFORE: usize = 4096;

impl OpenBatch {
    pub(super) const fn new() -> Self {
        let table = Table { slots: Vec::new(), is_given_up: false };
        Self { changes: Vec::new(), values: Vec::new(), table, cancelled: 0, before: (0, 0) }
    }

    /// Returns whether the changes leave nothing.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.changes.len() == self.cancelled
    }

    /// Returns the size of the changes in bytes, about, cancelled and replaced ones included.
    #[inline]
    pub(super) const fn size(&self) -> usize {
        /// Size of a change without its value, in bytes, about.
        const CHANGE: usize = 24;
        self.values.len().saturating_add(self.changes.len().saturating_mul(CHANGE))
    }

    /// Returns the size on the heap, in bytes.
    pub(super) const fn heap(&self) -> usize {
        let changes = self.changes.capacity().saturating_mul(size_of::<OpenChange>());
        let table = self.table.slots.capacity().saturating_mul(size_of::<u32>());
        self.values.capacity().saturating_add(changes).saturating_add(table)
    }

    /// Puts a pair.
    pub(super) fn put(&mut self, key: Key, value: &[u8], is_new: bool) {
        let len = value.len() as u32;
        if let Some(change) = self.table.find(key, &mut self.changes) {
            if change.is_new && !change.has_value {
                self.cancelled = self.cancelled.saturating_sub(1);
            }
            let range = change.start as usize..(change.start as usize).saturating_add(value.len());
            if change.has_value
                && change.len == len
                && let Some(place) = self.values.get_mut(range)
            {
                place.copy_from_slice(value);
                return;
            }
            (change.start, change.len, change.has_value) = (self.values.len() as u32, len, true);
        } else {
            self.reserve();
            self.add(OpenChange { key, start: self.values.len() as u32, len, is_new, has_value: true });
        }
        self.values.extend_from_slice(value);
    }

    /// Removes a pair, if there is one.
    pub(super) fn remove(&mut self, key: Key) {
        match self.table.find(key, &mut self.changes) {
            Some(change) => {
                if change.is_new && change.has_value {
                    self.cancelled = self.cancelled.saturating_add(1);
                }
                change.has_value = false;
                if self.is_empty() {
                    self.clear();
                }
            }
            None => {
                self.reserve();
                self.add(OpenChange { key, start: 0, len: 0, is_new: false, has_value: false });
            }
        }
    }

    /// Makes room for as many changes as the batch before had.
    #[inline]
    fn reserve(&mut self) {
        if self.changes.capacity() == 0 {
            let (changes, values) = self.before;
            self.changes.reserve(changes.min(MOST_BEFORE));
            self.values.reserve(values.min(MOST_BEFORE.saturating_mul(16)));
        }
    }

    fn add(&mut self, change: OpenChange) {
        self.changes.push(change);
        self.table.add_last(&self.changes);
    }

    /// Removes all changes.
    pub(super) fn clear(&mut self) {
        self.table.clear(&self.changes);
        self.changes.clear();
        self.values.clear();
        self.cancelled = 0;
    }

    /// Releases the memory of changes that were cancelled, and of values that were replaced. Returns the size that is left.
    pub(super) fn compact(&mut self) -> usize {
        if self.table.is_given_up {
            return self.size();
        }
        let values = core::mem::take(&mut self.values);
        self.changes.retain_mut(|change| {
            if change.has_value {
                let start = change.start as usize;
                let value = values.get(start..start.saturating_add(change.len as usize)).unwrap_or_default();
                change.start = self.values.len() as u32;
                self.values.extend_from_slice(value);
            }
            change.has_value || !change.is_new
        });
        self.cancelled = 0;
        self.table.grow(&self.changes);
        self.size()
    }

    /// Returns the changes as they are in a batch, with room for `more` bytes, and removes them.
    pub(super) fn take(&mut self, more: usize) -> Vec<u8> {
        if self.table.is_given_up {
            self.bring_together();
        }
        let before = (self.changes.len(), self.values.len());
        let Self { changes, values, .. } = core::mem::take(self);
        self.before = before;
        let most = changes.len().saturating_mul(batch::CHANGE).saturating_add(values.len());
        let mut body = Vec::with_capacity(most.saturating_add(more));
        for change in &changes {
            let key = change.key.bytes();
            if change.has_value {
                let start = change.start as usize;
                let value = values.get(start..start.saturating_add(change.len as usize)).unwrap_or_default();
                batch::write(&mut body, &key, Some((value, checksum(&key, value))), change.is_new);
            } else if !change.is_new {
                batch::write(&mut body, &key, None, false);
            }
        }
        body
    }

    /// Leaves one change of each key, in place of several that were noted one after the other.
    #[cold]
    fn bring_together(&mut self) {
        self.changes.sort_by_key(|change| change.key); // stable
        self.changes.dedup_by(|later, earlier| {
            let is_same = later.key == earlier.key;
            if is_same {
                *earlier = OpenChange { is_new: earlier.is_new, ..*later };
            }
            is_same
        });
    }
}

impl Table {
    /// Returns the slots that may hold a key with this hash.
    fn slots_of(hash: u64, len: usize) -> impl Iterator<Item = usize> {
        // The step is odd, so that the slots are different ones.
        let (mask, step) = ((len as u64).wrapping_sub(1), hash >> 32 | 1);
        (0..TRIES).map(move |tried| (hash.wrapping_add(tried.wrapping_mul(step)) & mask) as usize)
    }

    /// Returns the change of a key, if the key has changed and the table is used.
    #[inline]
    fn find<'c>(&self, key: Key, changes: &'c mut [OpenChange]) -> Option<&'c mut OpenChange> {
        if self.is_given_up || self.slots.is_empty() {
            return None;
        }
        for slot in Self::slots_of(key.hash(), self.slots.len()) {
            let position = self.slots.get(slot).copied().unwrap_or_default().checked_sub(1)?;
            if changes.get(position as usize).is_some_and(|change| change.key == key) {
                return changes.get_mut(position as usize);
            }
        }
        None
    }

    /// Adds the last change, of a key that has not changed before.
    #[inline]
    fn add_last(&mut self, changes: &[OpenChange]) {
        if self.is_given_up {
            return;
        }
        if changes.len().saturating_mul(2) > self.slots.len() {
            self.grow(changes);
        } else if let Some(last) = changes.last() {
            self.add(last.key, changes.len());
        }
    }

    fn add(&mut self, key: Key, number: usize) {
        for slot in Self::slots_of(key.hash(), self.slots.len()) {
            if let Some(free @ 0) = self.slots.get_mut(slot) {
                *free = number as u32;
                return;
            }
        }
        self.is_given_up = true;
    }

    #[inline(never)]
    fn grow(&mut self, changes: &[OpenChange]) {
        /// Room for the changes of a few messages.
        const LEAST: usize = 32;
        let len = changes.len().saturating_mul(4).next_power_of_two().max(LEAST);
        self.slots.clear();
        self.slots.resize(len, 0);
        for (number, change) in (1..).zip(changes) {
            self.add(change.key, number);
        }
    }

    /// Removes these changes, which are all.
    fn clear(&mut self, changes: &[OpenChange]) {
        let len = self.slots.len();
        if self.is_given_up || changes.len() > len / 16 {
            self.slots.fill(0);
        } else {
            for (number, change) in (1..).zip(changes) {
                for slot in Self::slots_of(change.key.hash(), len) {
                    if let Some(used) = self.slots.get_mut(slot).filter(|used| **used == number) {
                        *used = 0;
                        break;
                    }
                }
            }
        }
        self.is_given_up = false;
    }
}

/// Returns the checksum at the end of a value.
pub(super) fn checksum(key: &[u8], content: &[u8]) -> [u8; 4] {
    Checksum::NEW.add(key).add(content).value().to_be_bytes()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use alloc::collections::BTreeMap;

    use super::super::batch::{Change, Changes};
    use super::*;

    /// The changes of a batch as they ought to be: for each key whether it is new, and its value.
    #[derive(Default)]
    struct Model(BTreeMap<Key, (bool, Option<Vec<u8>>)>);

    impl Model {
        fn put(&mut self, key: Key, value: &[u8], is_new: bool) {
            self.0.entry(key).or_insert((is_new, None)).1 = Some(value.into());
        }

        fn remove(&mut self, key: Key) {
            self.0.entry(key).or_insert((false, None)).1 = None;
        }

        fn changes(&self) -> BTreeMap<Vec<u8>, (bool, Option<Vec<u8>>)> {
            let left = self.0.iter().filter(|(_, change)| **change != (true, None));
            left.map(|(key, change)| (key.bytes().to_vec(), change.clone())).collect()
        }
    }

    /// Returns the changes in a body, of which no key occurs twice.
    #[allow(clippy::unwrap_used)]
    fn changes_of(body: &[u8]) -> BTreeMap<Vec<u8>, (bool, Option<Vec<u8>>)> {
        let mut found = BTreeMap::new();
        for change in Changes::of(body) {
            let (key, change) = match change {
                Change::Put { key, value, is_new } => {
                    let (content, found) = value.split_last_chunk::<4>().unwrap();
                    assert_eq!(checksum(key, content), *found);
                    (key, (is_new, Some(content.to_vec())))
                }
                Change::Remove { key } => (key, (false, None)),
            };
            assert_eq!(found.insert(key.to_vec(), change), None, "a key occurs twice");
        }
        found
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) % end
        }
    }

    /// Makes random changes of these keys in many batches, and compares each with the model.
    fn compare(seed: u64, key: impl Fn(u64) -> Key) -> u32 {
        let (mut random, mut batch, mut given_up) = (Random(seed), OpenBatch::new(), 0);
        for _ in 0..60 {
            let (keys, mut model) = (1 + random.below(120), Model::default());
            for _ in 0..random.below(700) {
                let (number, value) = (random.below(keys), [7; 40]);
                let value = &value[..random.below(40) as usize];
                match random.below(5) {
                    0 | 1 => {
                        batch.remove(key(number));
                        model.remove(key(number));
                    }
                    // Whether a key is new is known: it has no value before and was not removed since.
                    2 if !model.0.contains_key(&key(number)) => {
                        batch.put(key(number), value, true);
                        model.put(key(number), value, true);
                    }
                    _ => {
                        batch.put(key(number), value, false);
                        model.put(key(number), value, false);
                    }
                }
                if batch.is_empty() {
                    assert_eq!(model.changes(), BTreeMap::new());
                    model = Model::default();
                }
            }
            given_up += u32::from(batch.table.is_given_up);
            assert_eq!(changes_of(&batch.take(0)), model.changes(), "seed {seed}");
            assert!(batch.is_empty());
        }
        given_up
    }

    #[test]
    fn a_batch_has_the_last_change_of_each_key() {
        for seed in 1..20 {
            assert_eq!(compare(seed, |number| Key::delivery(number % 5, number)), 0);
            assert_eq!(compare(seed, |number| Key::received(number, crate::codec::PacketId::MIN)), 0);
        }
    }

    /// Whoever chooses keys that have the same slots makes the table useless, and no change wrong.
    #[test]
    fn keys_with_the_same_hash() {
        let hash = Key::subscription(1, 0).hash();
        let same = |second: &u64| Key::subscription(1, *second).hash() & 0xFF == hash & 0xFF;
        let seconds: Vec<u64> = (0..200_000).filter(same).take(120).collect();
        let key = |number: u64| Key::subscription(1, seconds.get(number as usize).copied().unwrap_or_default());
        // Keys with the same first slot and different steps are found all the same.
        assert_eq!((1..5).map(|seed| compare(seed, key)).sum::<u32>(), 0);
        // With the same step they have 24 slots together.
        let step = |second: &u64| {
            let other = Key::subscription(1, *second).hash();
            (other >> 32 | 1) & 0x7F == (hash >> 32 | 1) & 0x7F && same(second)
        };
        let seconds: Vec<u64> = (0..10_000_000).filter(step).take(120).collect();
        assert_eq!(seconds.len(), 120);
        let key = |number: u64| Key::subscription(1, seconds.get(number as usize).copied().unwrap_or_default());
        assert!((1..5).map(|seed| compare(seed, key)).sum::<u32>() > 20, "the table is given up");
    }

    /// What comes and goes leaves nothing, and does not make the batch grow.
    #[test]
    fn changes_that_cancel_each_other_out_leave_nothing() {
        let mut batch = OpenBatch::new();
        for number in 0..10_000 {
            batch.put(Key::message(number), &[1; 100], true);
            batch.put(Key::delivery(1, number), &[1; 12], true);
            batch.put(Key::delivery(1, number), &[2; 12], false);
            assert!(!batch.is_empty());
            batch.remove(Key::delivery(1, number));
            batch.remove(Key::message(number));
            assert!(batch.is_empty() && batch.size() == 0);
        }
        assert!(batch.take(0).is_empty());
    }
}
