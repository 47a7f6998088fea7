//! What can be wrong with a journal, each with what to do about it.

use std::path::{Path, PathBuf};

use redb::{DatabaseError, StorageError};
use thiserror::Error;

use super::tables::{FOLD_VERSION, FORMAT_VERSION};

/// Why the journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The folder cannot be made or written to.
    #[error("cannot use storage path {path}: {source}; give a writable folder with --storage.path")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("{path} is in use by another process: stop the other exporter or give this one its own --storage.path")]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no journal at {path}: has an exporter run with this --storage.path?")]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error(
        "{path} has format {found}, this version reads up to {FORMAT_VERSION}: run the newer exporter again, or start afresh with another --storage.path"
    )]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// Its totals were folded by a newer version.
    #[error(
        "{path} was folded by version {found} of the fold, this version has {FOLD_VERSION}: its totals could fall back; run the newer exporter again, or start afresh with another --storage.path"
    )]
    FoldTooNew {
        /// Which file.
        path: PathBuf,
        /// Its version of the fold.
        found: u64,
    },
    /// Its totals were folded by an older version, and nothing has folded them anew yet.
    #[error(
        "{path} was folded by version {found} of the fold, this version has {FOLD_VERSION}: start the exporter on it once, which folds it anew"
    )]
    FoldTooOld {
        /// Which file.
        path: PathBuf,
        /// Its version of the fold.
        found: u64,
    },
    /// It was written by a version from before the first release.
    #[error(
        "{path} has format {found}, this version reads {FORMAT_VERSION}: move it away to start afresh from the platform"
    )]
    TooOld {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It is not a journal, or is damaged.
    #[error(
        "{path} is damaged, or no journal: {reason}; put back a copy, or import an export of it; without either, move it away and set `start: beginning`: what the platform still remembers is counted anew, what it has forgotten is lost, and totals begin again at zero (docs/operations.md)"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was removed or replaced while we used it.
    #[error(
        "{path} was removed or replaced while it was in use, so nothing more can be kept in it: move it back, or start the exporter again to go on with what is there now"
    )]
    Removed {
        /// Which file.
        path: PathBuf,
    },
    /// The disk refuses, so nothing can be said of the file.
    #[error("{path} cannot be opened: {source}; nothing of it is lost by that: mend the disk, then start again")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A read or write failed.
    #[error("the journal cannot be written or read: {0}")]
    Store(String),
}

macro_rules! store_errors {
    ($($error:ty),*) => {
        $(impl From<$error> for JournalError {
            fn from(error: $error) -> Self {
                Self::Store(error.to_string())
            }
        })*
    };
}
store_errors!(redb::Error, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);
store_errors!(redb::SetDurabilityError, redb::CompactionError, postcard::Error);

/// What went wrong when the file at `path` was opened.
pub(super) fn open_error(path: &Path, error: DatabaseError) -> JournalError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => JournalError::InUse { path: path.to_owned() },
        // What the system says; the store's own complaints have no number of it.
        DatabaseError::Storage(StorageError::Io(source)) if source.raw_os_error().is_some() => {
            use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
            match source.kind() {
                PermissionDenied | ReadOnlyFilesystem => JournalError::Folder { path: path.to_owned(), source },
                NotFound => JournalError::Missing { path: path.to_owned() },
                _ => JournalError::Disk { path: path.to_owned(), source },
            }
        }
        other => JournalError::Damaged { path: path.to_owned(), reason: other.to_string() },
    }
}
