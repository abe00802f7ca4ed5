//! What can go wrong with a database.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

/// An error of a database. Its text names the file, for the person who runs the broker.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The system cannot read or write the file or directory.
    Io { path: PathBuf, error: io::Error },
    /// The disk has failed to make written data permanent. What the system still holds in memory may differ from what is on the
    /// disk, so another attempt that succeeds would prove nothing.
    NotSynced { path: PathBuf, error: io::Error },
    /// Another process has opened the database.
    InUse { path: PathBuf },
    /// The file does not hold what was written to it.
    Damaged { path: PathBuf, reason: String },
    /// The thread that writes to the database has panicked. The panic itself is logged.
    Panicked,
}

impl StoreError {
    /// Returns whether the same changes may be committed again: the disk or a quota is full, which a person can change.
    pub(crate) fn may_retry(&self) -> bool {
        match self {
            Self::Io { error, .. } => {
                matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
            }
            _ => false,
        }
    }

    /// Returns the exit code of a broker that ends because of the error. It tells a supervisor whether another start makes sense:
    /// 3 if another process has to end first, 4 if a person has to mend the database, and 5 for the disk.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::InUse { .. } => 3,
            Self::Damaged { .. } => 4,
            Self::Io { .. } | Self::NotSynced { .. } | Self::Panicked => 5,
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "cannot read and write {}: {error}", path.display()),
            Self::NotSynced { path, error } => {
                write!(f, "the disk failed to make changes of {} permanent: {error}", path.display())
            }
            Self::InUse { path } => write!(f, "the database in {} is in use by another process", path.display()),
            Self::Damaged { path, reason } => write!(
                f,
                "the database {} is damaged: {reason}; put a copy in its place, or move it away to begin without sessions and \
                 retained messages",
                path.display()
            ),
            Self::Panicked => f.write_str("the thread that writes to the database has panicked"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } | Self::NotSynced { error, .. } => Some(error),
            Self::InUse { .. } | Self::Damaged { .. } | Self::Panicked => None,
        }
    }
}
