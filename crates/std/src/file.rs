//! A session in a directory: a file of batches.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use mqtt_sansio::store::{Batch, Pairs, batches};

use crate::store::Store;

/// The file, the one that is about to take its place, and the file that is locked while the directory is in use.
const FILE: &str = "session.batches";
const NEW_FILE: &str = "session.batches.new";
const LOCK: &str = "lock";

/// The file is replaced once it is longer than this, and several times as long as its snapshot, in bytes.
const LONG: u64 = 1024 * 1024;
const TIMES: u64 = 4;

/// A directory with one session, which survives a crash of the program and of the system.
///
/// A batch is appended to a file and synchronised before the client sends what depends on it. When the file has become
/// long, a new one is begun with a snapshot, and takes the place of the old one. The directory is locked: a second process
/// cannot open it.
///
/// ```no_run
/// # use mqtt_sansio::SessionExpiry;
/// # use mqtt_sansio::client::ClientConfig;
/// # use mqtt_sansio_std::{Builder, FileStore, tcp};
/// let config = ClientConfig {
///     client_id: "thermo-7".into(),
///     clean_start: false,
///     session_expiry_interval: SessionExpiry::after(24 * 60 * 60),
///     ..ClientConfig::default()
/// };
/// let store = FileStore::open("/var/lib/thermo-7")?;
/// let (client, events) = Builder::new(config).store(store).connect(tcp("127.0.0.1:1883"))?;
/// # drop((client, events));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    file: File,
    size: u64,
    /// The size at which the file is replaced.
    long: u64,
    /// Whether something could not be stored. The file may end with a part of a batch then.
    has_failed: bool,
    /// What was stored when the directory was opened, until it is loaded.
    pairs: Pairs,
    /// Locks the directory until it is closed.
    _lock: Lock,
}

impl FileStore {
    /// Opens a directory, which is created if necessary, and reads what is stored in it.
    ///
    /// # Errors
    ///
    /// The directory or its files cannot be used, are used by another process (`WouldBlock`), or are damaged
    /// (`InvalidData`). Nothing was changed then. The text names the file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::io::ErrorKind;
    /// # use mqtt_sansio_std::FileStore;
    /// let store = match FileStore::open("/var/lib/thermo-7") {
    ///     Err(error) if error.kind() == ErrorKind::WouldBlock => return Err("thermo-7 is running already".into()),
    ///     store => store?,
    /// };
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(directory: impl AsRef<Path>) -> io::Result<Self> {
        let directory = directory.as_ref();
        let name = directory.display();
        fs::create_dir_all(directory)
            .map_err(|error| explain(&error, format!("cannot create the directory {name}")))?;
        let lock = lock(&directory.join(LOCK)).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => io::Error::new(error.kind(), format!("{name} is used by another process")),
            _ => explain(&error, format!("cannot lock the directory {name}")),
        })?;
        let path = directory.join(FILE);
        let content = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            content => content.map_err(|error| explain(&error, format!("cannot read {}", path.display())))?,
        };
        let mut pairs = Pairs::default();
        let mut batches = batches(&content);
        for batch in &mut batches {
            let damaged =
                |damage| invalid(format!("{} is damaged: {damage}; the file is left as it is", path.display()));
            pairs.apply(&batch.map_err(damaged)?);
        }
        let size = batches.whole_len() as u64;
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.map_err(|error| explain(&error, format!("cannot write {}", path.display())))?;
        if size < content.len() as u64 {
            // The program has ended while it was appending. Nothing that depends on this batch was sent.
            let cut = file.set_len(size).and_then(|()| file.sync_all());
            cut.map_err(|error| explain(&error, format!("cannot cut {}", path.display())))?;
        }
        sync_directory(directory)
            .map_err(|error| explain(&error, format!("cannot synchronise the directory {name}")))?;
        let long = LONG.max(size.saturating_mul(TIMES));
        Ok(Self { directory: directory.into(), file, size, long, has_failed: false, pairs, _lock: lock })
    }

    /// Runs a step after which nothing is tried again if it fails: the system may have dropped what it could not write.
    fn attempt(&mut self, what: &str, step: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.has_failed {
            return Err(io::Error::other("the session is not stored any more"));
        }
        self.has_failed = true;
        step(self).map_err(|error| explain(&error, format!("{what} {}", self.directory.join(FILE).display())))?;
        self.has_failed = false;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Begins a new file with a snapshot.
    fn begin(&mut self, bytes: &[u8]) -> io::Result<()> {
        let new = self.directory.join(NEW_FILE);
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.directory.join(FILE))?;
        sync_directory(&self.directory)?;
        self.file = OpenOptions::new().append(true).open(self.directory.join(FILE))?;
        self.size = bytes.len() as u64;
        self.long = LONG.max(self.size.saturating_mul(TIMES));
        Ok(())
    }
}

impl Store for FileStore {
    fn load(&mut self) -> io::Result<Pairs> {
        Ok(std::mem::take(&mut self.pairs))
    }

    fn commit(&mut self, batch: &Batch) -> io::Result<()> {
        self.attempt("cannot store the session in", |store| store.append(&batch.to_bytes()))
    }

    fn is_long(&self) -> bool {
        self.size > self.long
    }

    fn replace(&mut self, snapshot: &Batch) -> io::Result<()> {
        self.attempt("cannot replace", |store| store.begin(&snapshot.to_bytes()))
    }
}

/// Returns the error with what was tried.
fn explain(error: &io::Error, what: String) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

/// A file that belongs to this process alone.
#[derive(Debug)]
#[cfg_attr(not(unix), allow(dead_code, reason = "to close the file is enough"))]
struct Lock(File);

/// Unlocks the file. To close it is not enough: a process that another thread has just started has it, too, until its program is
/// loaded.
#[cfg(unix)]
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock); // otherwise the lock ends with the file
    }
}

/// Locks a file for this process alone, which the system ends with the process.
#[cfg(unix)]
fn lock(path: &Path) -> io::Result<Lock> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(Lock(file))
}

/// Opens a file that no other process can open meanwhile.
#[cfg(windows)]
fn lock(path: &Path) -> io::Result<Lock> {
    use std::os::windows::fs::OpenOptionsExt;

    /// The error of a file that another process has opened: ERROR_SHARING_VIOLATION.
    const SHARING_VIOLATION: i32 = 32;
    let file = OpenOptions::new().write(true).create(true).truncate(false).share_mode(0).open(path);
    file.map(Lock).map_err(|error| match error.raw_os_error() {
        Some(SHARING_VIOLATION) => ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

/// Makes names of files durable.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The system has no such call for directories.
#[cfg(windows)]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
