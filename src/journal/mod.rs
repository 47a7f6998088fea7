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
//! account each source is. Before it is trusted every page of it is checked: what was damaged is refused, not shown.

mod archive;
mod commit;
mod compact;
mod describe;
mod export;
mod failure;
mod file;
mod import;
mod inspect;
mod lines;
mod load;
mod outbox;
mod overlay;
mod place;
mod rebuild;
mod record;
mod refolding;
mod retention;
mod tables;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TransactionError, WriteTransaction,
};

pub use archive::{Archive, SessionDetail, SessionFilter, SessionLine, TimelineRow};
pub use commit::CommitStats;
pub use compact::Compacted;
pub use export::ExportError;
pub use failure::JournalError;
pub use file::FILE_NAME;
pub use import::ImportError;
pub use inspect::{Carried, Inspection, LogCounts, Phase, SourceCounts, TableSize};
pub use rebuild::Refolded;
pub use record::{decode_entry, encode_entry};
pub use retention::Expired;
pub use verify::{Difference, Of, Total, Verification, Verified};

use crate::projection::LabelPolicy;
use failure::open_error;
use file::{Open, Trust};
use place::Place;
use tables::{EVENTS, FOLD, FOLD_VERSION, FORMAT, FORMAT_VERSION, LOG, META};

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
    open: Open,
}

impl Journal {
    /// A journal over any storage, as tests need it; `backend` is called whenever it is opened.
    pub fn with_backend<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
        policy: LabelPolicy,
    ) -> Result<Self, JournalError> {
        let path = PathBuf::from("(memory)");
        let open: Open = Box::new(move |trust| file::builder(trust).create_with_backend(backend()));
        let db = open(Trust::Nobody).map_err(|error| open_error(&path, error))?;
        let journal = Self::over(db, open, path, policy);
        if journal.meta(FORMAT)?.is_none() {
            journal.create_tables()?;
        }
        journal.refuse_other_versions()?;
        Ok(journal)
    }

    /// Over a file that must hold a journal.
    fn existing(open: Open, path: PathBuf, policy: LabelPolicy) -> Result<Self, JournalError> {
        let db = open(Trust::Nobody).map_err(|error| open_error(&path, error))?;
        let journal = Self::over(db, open, path, policy);
        journal.refuse_other_versions()?;
        Ok(journal)
    }

    fn over(db: Database, open: Open, path: PathBuf, policy: LabelPolicy) -> Self {
        let place = Place::of(&path);
        Self { store: Arc::new(Store { db: RwLock::new(Some(db)), place, open }), path, policy }
    }

    fn refuse_other_versions(&self) -> Result<(), JournalError> {
        let path = self.path.clone();
        match self.meta(FORMAT)? {
            None => Err(self.damaged(&"it has no version")),
            Some(found) if found > FORMAT_VERSION => Err(JournalError::TooNew { path, found }),
            Some(found) if found < FORMAT_VERSION => Err(JournalError::TooOld { path, found }),
            Some(_) => match self.meta(FOLD)? {
                None => Err(self.damaged(&"it has no version of the fold")),
                Some(found) if found > FOLD_VERSION => Err(JournalError::FoldTooNew { path, found }),
                Some(_) => Ok(()),
            },
        }
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
        *db = Some((self.store.open)(Trust::Ourselves).map_err(|error| open_error(&self.path, error))?);
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

    /// Records of sessions that an older fold left may be written in another way: whoever wants to read them waits until
    /// an exporter has folded them anew.
    pub fn refuse_older_fold(&self) -> Result<(), JournalError> {
        match self.meta(FOLD)? {
            Some(FOLD_VERSION) => Ok(()),
            found => Err(JournalError::FoldTooOld { path: self.path.clone(), found: found.unwrap_or(0) }),
        }
    }

    fn create_tables(&self) -> Result<(), JournalError> {
        let transaction = self.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(FORMAT, FORMAT_VERSION)?;
            meta.insert(FOLD, FOLD_VERSION)?;
            meta.insert(EVENTS, 0)?;
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
        Ok(self.meta(EVENTS)?.unwrap_or(0))
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

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).finish_non_exhaustive()
    }
}
