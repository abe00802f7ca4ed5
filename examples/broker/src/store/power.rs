//! Loss of power: of what was written after the last sync, any part may be on the disk.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::StorageBackend;

use super::committer::{Committer, Sync};
use super::file::DatabaseFile;
use super::redb::{RedbStore, create};
use super::testing::{Changes, Random, last_number, pairs, states, wait_for_report};
use super::{Store, StoreError};

/// A disk writes this many bytes as a whole.
const SECTOR: usize = 512;

/// A file on a disk whose power fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct PowerFile(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// What the program reads.
    now: Vec<u8>,
    /// What was on the disk after the last sync.
    synced: Vec<u8>,
    /// What has changed since then.
    unsynced: Vec<Write>,
    /// The number of operations after which the power fails, or `None` if it does not.
    operations_left: Option<usize>,
}

#[derive(Debug)]
enum Write {
    Length(usize),
    Bytes { offset: usize, bytes: Vec<u8> },
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => content.resize(*length, 0),
            Self::Bytes { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

impl PowerFile {
    pub(crate) fn new() -> Self {
        let file = Self::default();
        create(file.clone()).unwrap();
        file
    }

    /// Lets the power fail after this number of operations.
    pub(crate) fn fail_after(&self, operations: usize) {
        self.lock().operations_left = Some(operations);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    /// Counts an operation, which fails if there is no power.
    fn operate(&self) -> io::Result<std::sync::MutexGuard<'_, Content>> {
        let mut content = self.lock();
        if let Some(left) = &mut content.operations_left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the power has failed"))?;
        }
        Ok(content)
    }

    /// Returns the file as it is when there is power again: of what was not synced, each sector and each change of the length is
    /// there or not.
    pub(crate) fn after_power_failure(&self, random: &mut Random) -> Self {
        let content = self.lock();
        let mut disk = content.synced.clone();
        // Often all of it is there.
        let odds = [1, 1, 2, 8][random.below(4)];
        for write in &content.unsynced {
            match write {
                Write::Length(_) if random.below(odds) == 0 => write.apply(&mut disk),
                Write::Length(_) => {}
                Write::Bytes { offset, bytes } => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                        if random.below(odds) == 0 {
                            Write::Bytes { offset: offset + at, bytes: bytes[at..end].to_vec() }.apply(&mut disk);
                        }
                        at = end;
                    }
                }
            }
        }
        Self(Arc::new(Mutex::new(Content { now: disk.clone(), synced: disk, ..Content::default() })))
    }
}

impl StorageBackend for PowerFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.operate()?.now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (content, offset) = (self.operate()?, offset as usize);
        let bytes = content.now.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Write::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.operate()?;
        let Content { synced, unsynced, .. } = &mut *content;
        unsynced.drain(..).for_each(|write| write.apply(synced));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Bytes { offset: offset as usize, bytes: data.to_vec() })
    }
}

impl PowerFile {
    fn change(&self, write: Write) -> io::Result<()> {
        let mut content = self.operate()?;
        write.apply(&mut content.now);
        content.unsynced.push(write);
        Ok(())
    }
}

impl DatabaseFile for PowerFile {
    type Backend = Self;

    fn open(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    fn path(&self) -> &Path {
        Path::new("a file on a disk whose power fails")
    }
}

fn batches(count: u64, random: &mut Random) -> Vec<Changes> {
    (1..=count).map(|number| Changes::random(number, random)).collect()
}

/// The power fails again and again, at any operation of the file: in a commit, in a sync, while the database is opened and
/// repaired, while it is closed.
#[test]
fn what_was_committed_survives_a_loss_of_power() {
    let (mut lost, mut kept_unreported, mut failed_opens) = (0, 0, 0);
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let all = batches(30, &mut random);
        let states = states(&all);
        let mut file = PowerFile::new();
        let mut committed = 0;
        while committed < all.len() {
            file.fail_after(random.below(200));
            let mut written = committed;
            if let Ok(mut store) = RedbStore::open_file(file.clone()) {
                for batch in &all[committed..] {
                    written += 1;
                    if store.commit(batch.changes()).is_err() {
                        break;
                    }
                    committed += 1;
                }
                // Without power this fails, of course.
                let _ = store.close();
            } else {
                failed_opens += 1;
            }
            file = file.after_power_failure(&mut random);
            let store = RedbStore::open_file(file.clone()).unwrap();
            let found = pairs(&store);
            let last = last_number(&found);
            assert!(last >= committed, "seed {seed}: batch {committed} was committed, and {last} is the last one");
            assert!(last <= written, "seed {seed}: {written} batches were written, and {last} is the last one");
            assert!(found == states[last], "seed {seed}: a batch is there in part");
            lost += usize::from(last < written);
            kept_unreported += usize::from(last > committed);
            committed = last;
        }
    }
    // Otherwise the power has not failed where it matters.
    assert!(lost > 20 && kept_unreported > 1 && failed_opens > 10, "{lost} {kept_unreported} {failed_opens}");
}

/// The same through the thread that groups batches: what it has reported is there, if it has not reported it early. In any case
/// the state is the one after some batch, as a whole.
fn lose_power_under_the_committer(sync: Sync) {
    /// Less than the number of operations of a commit.
    const FIRST_COMMIT: usize = 4;
    let mut failures = 0;
    for seed in 0..20 {
        let mut random = Random::new(1000 + seed);
        let all = batches(60, &mut random);
        let states = states(&all);
        let file = PowerFile::new();
        let store = RedbStore::open_file(file.clone()).unwrap();
        // In every second run at the first commit, of which there is one however the batches are grouped.
        file.fail_after(random.below(if seed % 2 == 0 { 300 } else { FIRST_COMMIT }));
        let committer = Committer::start(store, sync).unwrap();
        let (mut reported, mut failure) = (0, None);
        for batch in &all {
            committer.submit(batch.clone());
            if random.below(4) == 0 || batch.number as usize == all.len() {
                match wait_for_report(&committer) {
                    Ok(number) => reported = number,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
        }
        // What was committed before the failure, if it has not been reported.
        if let Some(Ok(number)) = committer.take_report() {
            reported = number;
        }
        let failure = failure.or(committer.close().err());
        if let Some(error) = &failure {
            assert!(matches!(error, StoreError::Io { .. } | StoreError::NotSynced { .. }), "{error}");
            failures += 1;
        }
        let found = pairs(&RedbStore::open_file(file.after_power_failure(&mut random)).unwrap());
        let last = last_number(&found);
        if failure.is_none() {
            assert_eq!(last, all.len(), "seed {seed}: all is committed at the end");
        }
        if sync == Sync::Always {
            assert!(last as u64 >= reported, "seed {seed}: batch {reported} was reported, and {last} is the last one");
        }
        assert!(found == states[last], "seed {seed}: a batch is there in part");
    }
    assert!(failures > 5, "the power has failed: {failures}");
}

#[test]
fn what_was_reported_survives_a_loss_of_power() {
    lose_power_under_the_committer(Sync::Always);
}

#[test]
fn what_may_be_late_is_there_as_a_whole_after_a_loss_of_power() {
    lose_power_under_the_committer(Sync::Every(Duration::from_micros(100)));
}
