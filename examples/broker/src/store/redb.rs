//! The state in a database of the crate `redb`: a tree in one file, copied on write, with a checksum for each page.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redb::{Builder, Database, Error, ReadOnlyTable, ReadableDatabase as _, StorageBackend, TableDefinition};

use super::file::{DatabaseFile, Disk, Watched};
use super::{Change, Pair, Store, StoreError};

/// All keys and values are in one table.
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("state");

/// Maximum memory for pages of the file. The broker reads each page once, and what it changes is mostly recent.
const CACHE: usize = 64 * 1024 * 1024;

/// A database of the crate `redb`.
pub(crate) struct RedbStore<F = Disk> {
    /// `None` after an error: `redb` does not go on after one, but opens and repairs the file again.
    database: Option<Database>,
    /// Dropped after the database, because its directory is locked for so long.
    file: F,
    sync_failed: Arc<AtomicBool>,
}

impl<F: DatabaseFile> RedbStore<F> {
    /// Opens a database that has been [created](create).
    pub(crate) fn open_file(file: F) -> Result<Self, StoreError> {
        let mut store = Self { file, database: None, sync_failed: Arc::default() };
        store.database = Some(store.open_database()?);
        Ok(store)
    }

    fn open_database(&self) -> Result<Database, StoreError> {
        let opened = self.file.open().map_err(Error::Io).and_then(|file| {
            let database =
                builder().create_with_backend(Watched { file, sync_failed: Arc::clone(&self.sync_failed) })?;
            open_table(&database)?;
            Ok(database)
        });
        opened.map_err(|error| self.explain(error))
    }

    /// Returns what an error means. After a failed sync, every error is one of that.
    fn explain(&self, error: Error) -> StoreError {
        let path = self.file.path().to_path_buf();
        if self.sync_failed.load(Ordering::Acquire) {
            let error = if let Error::Io(error) = error { error } else { io::Error::other(error) };
            return StoreError::NotSynced { path, error };
        }
        explain(error, path)
    }
}

impl RedbStore {
    /// Opens the database in a directory. Creates the directory and an empty database if there are none. The time is about 3 s
    /// for 1 GB, because the checksums of all pages are checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] if another process has opened it, [`StoreError::Damaged`] if the file does not hold what was
    /// written to it, and [`StoreError::Io`] if the directory or the file cannot be read and written.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_file(Disk::open(dir, |file| create(file).map_err(|error| explain(error, dir.to_path_buf())))?)
    }
}

impl<F: DatabaseFile> Store for RedbStore<F> {
    fn commit<'a>(&mut self, changes: impl Iterator<Item = Change<'a>>) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None if self.sync_failed.load(Ordering::Acquire) => return Err(self.explain(Error::PreviousIo)),
            None => self.open_database()?,
        };
        write(&database, changes).map_err(|error| self.explain(error))?;
        self.database = Some(database);
        Ok(())
    }

    fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair, StoreError>>, StoreError> {
        let range = match &self.database {
            Some(database) => open_table(database).and_then(|table| Ok(table.range_owned::<&[u8]>(..)?)),
            None => Err(Error::PreviousIo),
        };
        let range = range.map_err(|error| self.explain(error))?;
        Ok(range.map(|pair| match pair {
            Ok((key, value)) => Ok((key.value().to_vec(), value.value().to_vec())),
            Err(error) => Err(self.explain(error.into())),
        }))
    }

    fn close(mut self) -> Result<(), StoreError> {
        match self.database.take() {
            Some(database) => database.close().map_err(|error| self.explain(error.into())),
            None => Ok(()),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    // Otherwise the library relies on what it reads, if the database was closed. All of it is read at the start anyway.
    builder.set_check_integrity_on_open(true);
    builder
}

/// Writes an empty database to an empty file.
pub(crate) fn create(file: impl StorageBackend) -> Result<(), Error> {
    let database = builder().create_with_backend(file)?;
    let write = database.begin_write()?;
    write.open_table(TABLE)?;
    write.commit()?;
    Ok(database.close()?)
}

fn open_table(database: &Database) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, Error> {
    Ok(database.begin_read()?.open_table(TABLE)?)
}

fn write<'a>(database: &Database, changes: impl Iterator<Item = Change<'a>>) -> Result<(), Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(TABLE)?;
        for (key, value) in changes {
            match value {
                Some(value) => drop(table.insert(key, value)?),
                None => drop(table.remove(key)?),
            }
        }
    }
    Ok(write.commit()?)
}

/// Returns what an error means, unless the file has failed to sync.
fn explain(error: Error, path: PathBuf) -> StoreError {
    match error {
        Error::DatabaseAlreadyOpen => StoreError::InUse { path },
        Error::Io(error) if error.kind() == ErrorKind::InvalidData || error.kind() == ErrorKind::UnexpectedEof => {
            StoreError::Damaged { path, reason: error.to_string() }
        }
        Error::Io(error) => StoreError::Io { path, error },
        error => StoreError::Damaged { path, reason: error.to_string() },
    }
}
