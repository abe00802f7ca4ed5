//! The session in a directory: a file of batches, so that the session survives a crash of the program or of the system.
//!
//! A batch is appended and synchronised before the client sends what depends on it. When the file has become long, a new
//! one is begun with a snapshot, and takes the place of the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mqtt_sansio::Instant;
use mqtt_sansio::client::ClientSession;
use mqtt_sansio::store::{Batch, Pairs, batches};

/// The file, the one that is about to take its place, and the file that is locked while the directory is in use.
const FILE: &str = "session.batches";
const NEW_FILE: &str = "session.batches.new";
const LOCK: &str = "lock";

/// The file is replaced once it is longer than this, and several times as long as its snapshot, in bytes.
const LONG: u64 = 1024 * 1024;
const TIMES: u64 = 4;

pub(crate) struct Store {
    directory: PathBuf,
    file: File,
    size: u64,
    /// The size at which the file is replaced.
    long: u64,
    /// Whether something could not be stored. The file may end with a part of a batch then.
    has_failed: bool,
    /// Locks the directory until it is closed.
    _lock: File,
}

impl Store {
    /// Opens a directory, which is created if necessary, and reads what is stored in it.
    ///
    /// # Errors
    ///
    /// The directory or its files cannot be used, are used by another process, or are damaged. Nothing was changed then.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Pairs)> {
        let name = directory.display();
        fs::create_dir_all(directory).with_context(|| format!("cannot create the directory {name}"))?;
        let lock = lock(&directory.join(LOCK)).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => anyhow::anyhow!("{name} is used by another process"),
            _ => anyhow::Error::from(error).context(format!("cannot lock the directory {name}")),
        })?;
        let path = directory.join(FILE);
        let content = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            content => content.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut pairs = Pairs::default();
        let mut batches = batches(&content);
        for batch in &mut batches {
            match batch {
                Ok(batch) => pairs.apply(&batch),
                Err(damage) => bail!("{} is damaged: {damage}; the file is left as it is", path.display()),
            }
        }
        let size = batches.whole_len() as u64;
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        if size < content.len() as u64 {
            // The program has ended while it was appending. Nothing that depends on this batch was sent.
            file.set_len(size)
                .and_then(|()| file.sync_all())
                .with_context(|| format!("cannot cut {}", path.display()))?;
        }
        sync_directory(directory).with_context(|| format!("cannot synchronise the directory {name}"))?;
        let long = LONG.max(size.saturating_mul(TIMES));
        Ok((Self { directory: directory.into(), file, size, long, has_failed: false, _lock: lock }, pairs))
    }

    /// Stores the changes of the client, and confirms them.
    ///
    /// # Errors
    ///
    /// The error of the system, for instance if the disk is full. What was confirmed before is still stored.
    pub(crate) fn commit(&mut self, client: &mut ClientSession, now: Instant) -> Result<()> {
        // After an error nothing is tried again: the system may have dropped what it could not write.
        ensure!(!self.has_failed, "the session is not stored any more");
        self.has_failed = true;
        self.try_commit(client, now)?;
        self.has_failed = false;
        Ok(())
    }

    fn try_commit(&mut self, client: &mut ClientSession, now: Instant) -> Result<()> {
        let mut bytes = Vec::new();
        let mut last = None;
        while let Some(batch) = client.changes() {
            bytes.extend(batch.to_bytes());
            last = Some(batch.number());
        }
        let Some(last) = last else { return Ok(()) };
        let path = self.directory.join(FILE);
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot store the session in {}", path.display()))?;
        client.committed(now, last);
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.long
            && let Some(snapshot) = client.snapshot()
        {
            self.replace(&snapshot).with_context(|| format!("cannot replace {}", path.display()))?;
            client.committed(now, snapshot.number());
        }
        Ok(())
    }

    /// Begins a new file with a snapshot.
    fn replace(&mut self, snapshot: &Batch) -> io::Result<()> {
        let new = self.directory.join(NEW_FILE);
        let bytes = snapshot.to_bytes();
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.directory.join(FILE))?;
        sync_directory(&self.directory)?;
        self.file = OpenOptions::new().append(true).open(self.directory.join(FILE))?;
        self.size = bytes.len() as u64;
        self.long = LONG.max(self.size.saturating_mul(TIMES));
        Ok(())
    }
}

/// Locks a file for this process alone, which the system ends with the process.
#[cfg(unix)]
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Opens a file that no other process can open meanwhile.
#[cfg(windows)]
fn lock(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;

    /// The error of a file that another process has opened: ERROR_SHARING_VIOLATION.
    const SHARING_VIOLATION: i32 = 32;
    let file = OpenOptions::new().write(true).create(true).truncate(false).share_mode(0).open(path);
    file.map_err(|error| match error.raw_os_error() {
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
