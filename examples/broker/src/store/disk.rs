//! Disks that are full, read-only or broken, and databases that others have opened.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::file::DatabaseFile;
use super::redb::{RedbStore, create};
use super::testing::{Changes, Random, TempDir, pairs, state};
use super::{Store as _, StoreError};

/// A file on a disk that can be full, and that can fail.
#[derive(Clone, Debug)]
pub(crate) struct BadFile(Arc<Disk>);

#[derive(Debug)]
struct Disk {
    file: InMemoryBackend,
    /// The length that the file can have.
    room: AtomicU64,
    fails_to_sync: AtomicBool,
    fails_to_write: AtomicBool,
}

impl BadFile {
    pub(crate) fn new() -> Self {
        let file = Self(Arc::new(Disk {
            file: InMemoryBackend::new(),
            room: AtomicU64::new(u64::MAX),
            fails_to_sync: AtomicBool::new(false),
            fails_to_write: AtomicBool::new(false),
        }));
        create(file.clone()).unwrap();
        file
    }

    /// The file cannot be longer than this from now on.
    pub(crate) fn set_room(&self, room: u64) {
        self.0.room.store(room, Ordering::Relaxed);
    }

    /// Nothing that was written becomes permanent from now on.
    pub(crate) fn fail_to_sync(&self) {
        self.0.fails_to_sync.store(true, Ordering::Relaxed);
    }

    fn check_room(&self, end: u64) -> io::Result<()> {
        if end > self.0.room.load(Ordering::Relaxed) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for BadFile {
    fn len(&self) -> io::Result<u64> {
        self.0.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_room(len)?;
        self.0.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.fails_to_sync.load(Ordering::Relaxed) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.0.fails_to_write.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.check_room(offset + data.len() as u64)?;
        self.0.file.write(offset, data)
    }
}

impl DatabaseFile for BadFile {
    type Backend = Self;

    fn open(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    fn path(&self) -> &Path {
        Path::new("/disk/state.redb")
    }
}

fn batches(count: u64) -> Vec<Changes> {
    let mut random = Random::new(7);
    (1..=count).map(|number| Changes::random(number, &mut random)).collect()
}

#[test]
fn a_full_disk_may_have_room_later() {
    let (file, all) = (BadFile::new(), batches(40));
    let mut store = RedbStore::open_file(file.clone()).unwrap();
    let mut failures = 0;
    for batch in &all {
        file.set_room(file.len().unwrap());
        while let Err(error) = store.commit(batch.changes()) {
            failures += 1;
            assert!(error.may_retry(), "{error}");
            assert_eq!(error.to_string(), "cannot read and write /disk/state.redb: no storage space");
            if failures % 2 == 0 {
                file.set_room(file.len().unwrap() + 4096 * failures);
            }
        }
    }
    assert!(failures > 4, "{failures}");
    file.set_room(u64::MAX);
    let held = pairs(&store);
    assert!(held == state(&all), "the batches are there in order");
    store.close().unwrap();
    assert!(pairs(&RedbStore::open_file(file).unwrap()) == held);
}

#[test]
fn a_disk_that_does_not_sync_is_not_tried_again() {
    let (file, all) = (BadFile::new(), batches(3));
    let mut store = RedbStore::open_file(file.clone()).unwrap();
    store.commit(all[0].changes()).unwrap();
    file.fail_to_sync();
    for _ in 0..2 {
        let error = store.commit(all[1].changes()).unwrap_err();
        assert!(!error.may_retry() && matches!(error, StoreError::NotSynced { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("the disk failed to make changes of /disk/state.redb permanent: "), "{text}");
        // What the disk says later does not matter.
        file.0.fails_to_sync.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_broken_disk_is_not_tried_again() {
    let (file, all) = (BadFile::new(), batches(3));
    let mut store = RedbStore::open_file(file.clone()).unwrap();
    store.commit(all[0].changes()).unwrap();
    file.0.fails_to_write.store(true, Ordering::Relaxed);
    let error = store.commit(all[1].changes()).unwrap_err();
    assert!(!error.may_retry(), "{error}");
    assert_eq!(error.to_string(), "cannot read and write /disk/state.redb: the disk is broken");
    file.0.fails_to_write.store(false, Ordering::Relaxed);
    drop(store);
    assert!(pairs(&RedbStore::open_file(file).unwrap()) == state(&all[..1]));
}

#[test]
fn one_process_has_the_database() {
    let dir = TempDir::new();
    let data = dir.path().join("above/data");
    let store = RedbStore::open(&data).unwrap();
    let error = RedbStore::open(&data).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }));
    assert_eq!(error.to_string(), format!("the database in {} is in use by another process", data.display()));
    drop(store);
    // A process that has locked the file itself, and not the directory.
    let file = fs::File::options().read(true).write(true).open(data.join("state.redb")).unwrap();
    file.lock().unwrap();
    assert!(matches!(RedbStore::open(&data).err().unwrap(), StoreError::InUse { .. }));
    drop(file);
    RedbStore::open(&data).unwrap().close().unwrap();
}

/// A broker that dies while it creates the database leaves a file that is not the database yet.
#[test]
fn a_database_that_was_not_created_to_the_end_is_created_again() {
    let dir = TempDir::new();
    fs::write(dir.path().join("state.redb.new"), b"half of it").unwrap();
    let mut store = RedbStore::open(dir.path()).unwrap();
    let all = batches(2);
    store.commit(all[0].changes()).unwrap();
    drop(store);
    fs::write(dir.path().join("state.redb.new"), b"half of it").unwrap();
    assert!(pairs(&RedbStore::open(dir.path()).unwrap()) == state(&all[..1]), "the database itself is used");
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_that_names_it() {
    // Not even the superuser writes here, and a file is no directory.
    let dir = TempDir::new();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [Path::new("/proc/self/data"), &file, &file.join("data")] {
        let error = RedbStore::open(path).err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        assert!(text.contains(&format!("cannot read and write {}", path.display())), "{text}");
    }
}

/// Runs one of the tests below in a mount namespace of its own, after a shell has prepared it. There the caller is the superuser
/// of what it mounts. Returns whether the system allows that.
fn run_where_disks_can_be_mounted(test: &str, script: &str) -> bool {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh"]);
        command
    };
    if !unshare("mount -t tmpfs none /mnt").output().is_ok_and(|output| output.status.success()) {
        return false;
    }
    let dir = TempDir::new();
    let executable = std::env::current_exe().unwrap();
    let script = format!("cd {}\n{script}\nexec \"$@\" --ignored --exact {test}", dir.path().display());
    let output = unshare(&script).arg(executable).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Disks of the system itself. Where a process may not mount any, the tests above are all there is.
#[test]
fn real_disks_can_be_full_and_read_only() {
    let small = "mkdir data; mount -t tmpfs -o size=600k none data";
    let allowed = run_where_disks_can_be_mounted("store::disk::on_a_small_disk", small);
    if !allowed {
        eprintln!("no disk can be mounted: not tested");
        return;
    }
    run_where_disks_can_be_mounted("store::disk::on_a_read_only_disk", "mkdir data; mount -t tmpfs -o ro none data");
    let full = "mkdir data; mount -t tmpfs -o size=8k none data";
    run_where_disks_can_be_mounted("store::disk::on_a_full_disk", full);
}

#[test]
#[ignore = "run by real_disks_can_be_full_and_read_only"]
fn on_a_small_disk() {
    let dir = Path::new("data");
    let other = dir.join("other");
    fs::write(&other, vec![1; 200_000]).unwrap();
    let mut store = RedbStore::open(dir).unwrap();
    let mut random = Random::new(7);
    let mut all = Vec::new();
    let error = loop {
        let number = all.len() as u64 + 1;
        let value = (0..3000).map(|_| random.below(256) as u8).collect();
        let changes = vec![(number.to_be_bytes().to_vec(), Some(value))];
        all.push(Changes { number, changes });
        if let Err(error) = store.commit(all[all.len() - 1].changes()) {
            break error;
        }
    };
    assert!(all.len() > 5 && error.may_retry(), "{error:?}");
    assert_eq!(error.to_string(), "cannot read and write data/state.redb: No space left on device (os error 28)");
    assert!(store.commit(all[all.len() - 1].changes()).is_err_and(|error| error.may_retry()), "it is still full");
    fs::remove_file(other).unwrap();
    store.commit(all[all.len() - 1].changes()).unwrap();
    drop(store);
    assert!(pairs(&RedbStore::open(dir).unwrap()) == state(&all));
}

#[test]
#[ignore = "run by real_disks_can_be_full_and_read_only"]
fn on_a_read_only_disk() {
    let error = RedbStore::open(Path::new("data")).err().unwrap().to_string();
    assert_eq!(error, "cannot read and write data/lock: Read-only file system (os error 30)");
}

#[test]
#[ignore = "run by real_disks_can_be_full_and_read_only"]
fn on_a_full_disk() {
    let error = RedbStore::open(Path::new("data")).err().unwrap().to_string();
    assert!(error.contains("No space left on device") && error.starts_with("cannot read and write data"), "{error}");
    assert!(!Path::new("data/state.redb").exists());
}
