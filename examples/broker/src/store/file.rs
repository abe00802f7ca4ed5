//! The file of a database: it is created as a whole, belongs to one process, and a failure to sync it is remembered.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::StoreError;

/// The name of the database in its directory.
const NAME: &str = "state.redb";

/// The name of a database that is being created.
const NEW_NAME: &str = "state.redb.new";

/// The name of the file that the process with the database has locked.
const LOCK_NAME: &str = "lock";

/// A file that can be opened again after an error.
pub(crate) trait DatabaseFile: Send + 'static {
    type Backend: StorageBackend;

    /// Opens the file.
    fn open(&self) -> io::Result<Self::Backend>;

    /// The name of the file, for messages.
    fn path(&self) -> &Path;
}

/// A file in a directory of the file system. The directory is locked for as long as this lives.
pub(crate) struct Disk {
    path: PathBuf,
    lock: File,
}

impl Disk {
    /// Locks a directory, which is created if necessary. If it has no database, `create` writes an empty one to the file that it
    /// gets; the file has its name only when that is done, so that a broker that dies meanwhile leaves no half of a database.
    pub(crate) fn open(
        dir: &Path,
        create: impl FnOnce(FileBackend) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |error| StoreError::Io { path, error }
        };
        create_directory(dir).map_err(at(dir))?;
        let lock_path = dir.join(LOCK_NAME);
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: dir.to_path_buf() }),
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        let path = dir.join(NAME);
        match fs::metadata(&path) {
            // The database library takes an empty file for a new database.
            Ok(metadata) if metadata.len() == 0 => {
                return Err(StoreError::Damaged { path, reason: "the file is empty".to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let new = dir.join(NEW_NAME);
                let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&new);
                create(backend(file.map_err(at(&new))?).map_err(at(&new))?)?;
                fs::rename(&new, &path).and_then(|()| sync_directory(dir)).map_err(at(&path))?;
            }
            Err(error) => return Err(at(&path)(error)),
        }
        Ok(Self { path, lock })
    }
}

/// Unlocks the directory. To close the file is not enough: a process that another thread has just started has it, too, until its
/// program is loaded.
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.lock.unlock(); // otherwise the lock ends with the file
    }
}

impl DatabaseFile for Disk {
    type Backend = FileBackend;

    fn open(&self) -> io::Result<FileBackend> {
        backend(OpenOptions::new().read(true).write(true).open(&self.path)?)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

fn backend(file: File) -> io::Result<FileBackend> {
    FileBackend::new(file).map_err(io::Error::other)
}

/// Creates a directory and those above it, so that they survive a power failure.
fn create_directory(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    for above in dir.ancestors().skip(1) {
        sync_directory(if above.as_os_str().is_empty() { Path::new(".") } else { above })?;
    }
    Ok(())
}

/// Makes the names in a directory permanent.
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A file that tells whether it has failed to sync.
#[derive(Debug)]
pub(crate) struct Watched<B> {
    pub(crate) file: B,
    pub(crate) sync_failed: Arc<AtomicBool>,
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
