//! What the tests of the store share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Wake, Waker};

use super::committer::{Batch, Committer};
use super::{Change, Pair, Store, StoreError};

/// A directory that is removed with all its files.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // A process that was killed may have had the same identifier, and may have left a directory.
        loop {
            let name = format!("mqtt-sansio-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                created => break created.map(|()| Self(path)).unwrap(),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A generator of numbers that always gives the same ones (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

/// A batch of some changes.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    pub(super) number: u64,
    pub(super) changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Changes {
    /// A batch of its number under the key `number`, and of changes of other keys: messages of very different sizes come, and most
    /// of them go with a later batch.
    pub(super) fn random(number: u64, random: &mut Random) -> Self {
        let mut changes = vec![(b"number".to_vec(), Some(number.to_be_bytes().to_vec()))];
        for index in 0..random.below(8) as u64 {
            let size = [0, 10, 100, 1000, 1000, 9000][random.below(6)];
            let value = (0..size).map(|at: u64| (at ^ number) as u8).collect();
            changes.push((key(number, index), Some(value)));
            let old = number.saturating_sub(1 + random.below(6) as u64);
            if old > 0 {
                changes.push((key(old, index), None));
            }
        }
        Self { number, changes }
    }

    /// The changes without the trait of the committer.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.changes.iter().map(|(key, value)| (&key[..], value.as_deref()))
    }
}

fn key(number: u64, index: u64) -> Vec<u8> {
    [&[1][..], &number.to_be_bytes(), &index.to_be_bytes()].concat()
}

impl Batch for Changes {
    fn number(&self) -> u64 {
        self.number
    }

    fn size(&self) -> usize {
        self.changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// A key of one byte may have had a value before, and so may the one of the number of the batch.
    fn changes(&self) -> impl Iterator<Item = (Change<'_>, bool)> {
        let is_new = |key: &[u8]| key.len() > 1 && key != b"number";
        self.changes.iter().map(move |(key, value)| ((&key[..], value.as_deref()), value.is_some() && is_new(key)))
    }
}

/// Returns what a store must hold after some batches.
pub(super) fn state(batches: &[Changes]) -> Vec<Pair> {
    let mut state = BTreeMap::new();
    batches.iter().for_each(|batch| apply(batch, &mut state));
    state.into_iter().collect()
}

/// Returns what a store must hold after the first batches, by their number.
pub(super) fn states(batches: &[Changes]) -> Vec<Vec<Pair>> {
    let mut state = BTreeMap::new();
    let after = batches.iter().map(|batch| {
        apply(batch, &mut state);
        state.clone().into_iter().collect()
    });
    std::iter::once(Vec::new()).chain(after).collect()
}

fn apply(batch: &Changes, state: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    for (key, value) in &batch.changes {
        match value {
            Some(value) => drop(state.insert(key.clone(), value.clone())),
            None => drop(state.remove(key)),
        }
    }
}

/// Returns all that a store holds.
pub(super) fn pairs(store: &impl Store) -> Vec<Pair> {
    store.pairs().unwrap().collect::<Result<_, StoreError>>().unwrap()
}

/// Returns the number of the last batch that a store holds, which [`Changes::random`] writes.
pub(super) fn last_number(pairs: &[Pair]) -> usize {
    let number = pairs.iter().find(|(key, _)| key == b"number");
    number.map_or(0, |(_, value)| u64::from_be_bytes(value[..].try_into().unwrap()) as usize)
}

struct Alarm(Sender<()>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

/// Waits for a report, as a task of a runtime does.
pub(super) fn wait_for_report(committer: &Committer<Changes>) -> Result<u64, StoreError> {
    let (waker, woken) = channel();
    let waker = Waker::from(Arc::new(Alarm(waker)));
    loop {
        if let Some(report) = committer.take_report() {
            return report;
        }
        if committer.poll_report(&mut Context::from_waker(&waker)).is_pending() {
            woken.recv().unwrap();
        }
    }
}
