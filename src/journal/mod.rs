//! What we know, on disk: one redb file in which events, cursors and totals change together or not at all.
//!
//! The log is the truth: for each session its facts in the order of their commits. Everything else in the file
//! follows from it and is kept so that a start need not fold a month again: session records (with the cursor), series,
//! names. Each commit is one transaction over all of them, synced before anybody is told of it; a crash before it
//! repeats a page, a crash after it changes nothing.
//!
//! Retention takes away what was settled long ago: the log of such a session is folded into the base totals first,
//! so totals stay what they were and can still be folded anew from base and log.
//!
//! The file has a format version (a newer one is refused), is locked against a second process, and remembers which
//! account each source is.

mod archive;
mod commit;
mod describe;
mod load;
mod outbox;
mod place;
mod rebuild;
mod record;
mod refolding;
mod retention;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    TransactionError, WriteTransaction,
};
use thiserror::Error;

pub use archive::{Archive, SessionDetail, SessionFilter, SessionLine, TimelineRow};
pub use commit::CommitStats;
pub use rebuild::{Refolded, refold};
pub use record::{decode_entry, encode_entry};
pub use retention::Expired;

use crate::projection::LabelPolicy;
use place::Place;
use tables::{FOLD_VERSION, FORMAT_VERSION, LOG, META};

/// The file's name below the storage path.
pub const FILE_NAME: &str = "journal.redb";

/// Memory for pages of the file; the working set is a few megabytes.
const CACHE_BYTES: usize = 8 << 20;

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
    #[error("{path} cannot be read: {reason}; move it away to start afresh from the platform")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk refuses, so nothing can be said of the file.
    #[error("{path} cannot be opened: {source}; nothing of it is lost by that: mend the disk, then start again")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was removed or replaced while we used it.
    #[error(
        "{path} was removed or replaced while it was in use, so nothing more can be kept in it: move it back, or start the exporter again to go on with what is there now"
    )]
    Removed {
        /// Which file.
        path: PathBuf,
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
store_errors!(redb::SetDurabilityError, postcard::Error);

/// An open journal. One per process and file; clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    store: Arc<Store>,
    path: PathBuf,
    policy: LabelPolicy,
}

/// The open file, and how to open it anew.
struct Store {
    /// `None` only while it cannot be opened anew.
    db: RwLock<Option<Database>>,
    place: Place,
    open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
}

impl Journal {
    /// Opens the journal in `folder`, making both where they do not exist.
    pub fn open(folder: &Path, policy: LabelPolicy) -> Result<Self, JournalError> {
        std::fs::create_dir_all(folder).map_err(|source| JournalError::Folder { path: folder.to_owned(), source })?;
        let path = folder.join(FILE_NAME);
        let file = path.clone();
        let journal = Self::with(Box::new(move || builder().create(&file)), path, policy)?;
        keep_to_ourselves(&journal.path);
        Ok(journal)
    }

    /// Opens a journal that must exist already.
    pub fn open_existing(folder: &Path, policy: LabelPolicy) -> Result<Self, JournalError> {
        let path = folder.join(FILE_NAME);
        if !path.exists() {
            return Err(JournalError::Missing { path });
        }
        let file = path.clone();
        Self::with(Box::new(move || builder().open(&file)), path, policy)
    }

    /// A journal over any storage, as tests need it; `backend` is called whenever it is opened.
    pub fn with_backend<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
        policy: LabelPolicy,
    ) -> Result<Self, JournalError> {
        let open = move || builder().create_with_backend(backend());
        Self::with(Box::new(open), PathBuf::from("(memory)"), policy)
    }

    fn with(
        open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
        path: PathBuf,
        policy: LabelPolicy,
    ) -> Result<Self, JournalError> {
        let db = open().map_err(|error| open_error(&path, error))?;
        let place = Place::of(&path);
        let journal = Self { store: Arc::new(Store { db: RwLock::new(Some(db)), place, open }), path, policy };
        match journal.meta("format")? {
            None => journal.create_tables()?,
            Some(found) if found > FORMAT_VERSION => {
                return Err(JournalError::TooNew { path: journal.path, found });
            }
            Some(found) if found < FORMAT_VERSION => {
                return Err(JournalError::TooOld { path: journal.path, found });
            }
            Some(_) => {}
        }
        Ok(journal)
    }

    /// Opens the file anew. After one failed read or write the store refuses everything until that is done, also when
    /// the disk has recovered.
    ///
    /// A file that has lost its name is kept open: closed, it would be gone.
    pub fn reopen(&self) -> Result<(), JournalError> {
        self.refuse_if_lost()?;
        let mut db = self.store.db.write().unwrap_or_else(PoisonError::into_inner);
        // The lock on the file goes with it: it could not be opened a second time otherwise.
        *db = None;
        *db = Some((self.store.open)().map_err(|error| open_error(&self.path, error))?);
        Ok(())
    }

    fn begin_read(&self) -> Result<ReadTransaction, JournalError> {
        self.begin(|db| db.begin_read())
    }

    fn begin_write(&self) -> Result<WriteTransaction, JournalError> {
        self.refuse_if_lost()?;
        self.begin(|db| db.begin_write())
    }

    fn refuse_if_lost(&self) -> Result<(), JournalError> {
        if self.store.place.is_lost() { Err(JournalError::Removed { path: self.path.clone() }) } else { Ok(()) }
    }

    fn begin<T>(&self, begin: impl Fn(&Database) -> Result<T, TransactionError>) -> Result<T, JournalError> {
        let db = self.store.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| JournalError::Store("it could not be opened again".to_owned()))?;
        Ok(begin(db)?)
    }

    fn create_tables(&self) -> Result<(), JournalError> {
        let transaction = self.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("format", FORMAT_VERSION)?;
            meta.insert("fold", FOLD_VERSION)?;
            meta.insert("events", 0)?;
        }
        tables::create_all(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    fn meta(&self, key: &str) -> Result<Option<u64>, JournalError> {
        let transaction = self.begin_read()?;
        match transaction.open_table(META) {
            Ok(table) => Ok(table.get(key)?.map(|value| value.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.damaged(&error)),
        }
    }

    /// Facts in the log.
    pub fn events(&self) -> Result<u64, JournalError> {
        Ok(self.meta("events")?.unwrap_or(0))
    }

    /// Bytes of all log entries, keys included: what a further event costs at the least.
    pub fn log_bytes(&self) -> Result<u64, JournalError> {
        let mut bytes = 0;
        for row in self.begin_read()?.open_table(LOG)?.iter()? {
            let (_, entry) = row?;
            bytes += (size_of::<(u32, u32)>() + entry.value().len()) as u64;
        }
        Ok(bytes)
    }

    /// Size of the file in bytes; 0 where there is none.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// The store holds no content, but who worked when is nobody else's business either. A file system without such
/// permissions is not worth failing for.
fn keep_to_ourselves(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn open_error(path: &Path, error: DatabaseError) -> JournalError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => JournalError::InUse { path: path.to_owned() },
        // What the system says; the store's own complaints have no number of it.
        DatabaseError::Storage(redb::StorageError::Io(source)) if source.raw_os_error().is_some() => {
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

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).finish_non_exhaustive()
    }
}
