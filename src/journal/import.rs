//! Makes a journal out of the lines of another one: all of them, or none.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use redb::{Key, ReadableTableMetadata, TableDefinition, Value, WriteTransaction};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::file::{FILE_NAME, sync_folder_of};
use super::lines::{Header, LINES_VERSION, Line, StoredSeries, Trailer, WHAT, digits};
use super::record::{encode_entry, put_series_together};
use super::tables::{
    BASE, FOLD, FOLD_VERSION, FORMAT, FORMAT_VERSION, LOG, META, NAMES, OUTBOX, SERIES, SESSIONS, SOURCES, WALKS,
};
use super::verify::Verification;
use super::{Journal, JournalError};
use crate::domain::Timestamp;
use crate::projection::{LabelPolicy, Session, SessionHead};

/// Why nothing was imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// There is a store with something in it.
    #[error("{path} has something in it: import into a folder without a store, given by --storage.path")]
    NotEmpty {
        /// Which file.
        path: PathBuf,
    },
    /// The first line is not that of an export.
    #[error("this is no export of a store: its first line does not say so")]
    NotAnExport,
    /// A newer exporter wrote it.
    #[error("it was exported with {what} {found}, this version reads up to {known}: import it with the newer exporter")]
    TooNew {
        /// Of what the version is.
        what: &'static str,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A version from before the first release wrote it.
    #[error(
        "it was exported with format {0}, this version reads {FORMAT_VERSION}: import it with the exporter that wrote it"
    )]
    TooOld(u64),
    /// The trailer is missing.
    #[error("it is cut off after {0} lines: export it again, the last line has to be a trailer")]
    CutOff(u64),
    /// It is not what was exported.
    #[error("it is not what was exported: the checksum or the number of lines is another one; export or copy it again")]
    Changed,
    /// A line makes no sense.
    #[error("line {line} makes no sense: {reason}; export or copy it again")]
    Garbled {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The lines do not fit together.
    #[error("its records do not fit together: {0}")]
    Unfit(String),
    /// The lines cannot be read.
    #[error("cannot read the export: {0}")]
    Read(#[from] io::Error),
    /// The new store cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

macro_rules! of_the_journal {
    ($($error:ty),*) => {
        $(impl From<$error> for ImportError {
            fn from(error: $error) -> Self {
                Self::Journal(error.into())
            }
        })*
    };
}
of_the_journal!(redb::TableError, redb::StorageError, redb::CommitError, postcard::Error);

impl Journal {
    /// Makes the journal in `folder` from what another one was exported to, and says what comparing it with its log
    /// found: the same as it would have found there.
    ///
    /// # Errors
    ///
    /// Nothing is imported, and there is no store afterwards that was not there before.
    pub fn import(folder: &Path, policy: LabelPolicy, lines: &mut dyn BufRead) -> Result<Verification, ImportError> {
        let path = folder.join(FILE_NAME);
        let is_there = matches!(path.try_exists(), Ok(true));
        if is_there && !Self::read_only(folder, policy)?.is_empty()? {
            return Err(ImportError::NotEmpty { path });
        }
        let unusable = |source| JournalError::Folder { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(unusable)?;
        let mut found = None;
        let new = Self::write_new(folder, policy, |journal| {
            journal.take_in(lines)?;
            // Folds it anew if an older fold left it.
            journal.load(Timestamp::default())?;
            let verification = journal.verify()?;
            if let Some(fault) = verification.faults.first() {
                return Err(ImportError::Unfit(fault.clone()));
            }
            found = Some(verification);
            Ok(())
        })?;
        fs::rename(&new, &path).map_err(unusable)?;
        sync_folder_of(&path);
        Ok(found.expect("what was written was compared"))
    }

    fn is_empty(&self) -> Result<bool, JournalError> {
        let transaction = self.begin_read()?;
        Ok(transaction.open_table(SOURCES)?.is_empty()?
            && transaction.open_table(SESSIONS)?.is_empty()?
            && transaction.open_table(LOG)?.is_empty()?
            && transaction.open_table(BASE)?.is_empty()?)
    }

    /// Puts every line into its table, in one transaction.
    fn take_in(&self, lines: &mut dyn BufRead) -> Result<(), ImportError> {
        let mut lines = Lines { lines, hash: Xxh3::new(), count: 0, buffer: Vec::new() };
        let header = match lines.next() {
            Ok(Some(Line::Header(header))) if header.what == WHAT => header,
            Err(ImportError::Read(error)) => return Err(error.into()),
            _ => return Err(ImportError::NotAnExport),
        };
        refuse_other_versions(&header)?;
        let transaction = self.begin_write()?;
        transaction.open_table(META)?.insert(FOLD, header.fold)?;
        let mut rows = Rows { transaction: &transaction, header: &header, line: 1, buffer: Vec::new() };
        loop {
            let before = digits(&lines.hash);
            rows.line += 1;
            match lines.next()? {
                Some(Line::Trailer(trailer)) => {
                    lines.is_whole(&trailer, &before)?;
                    break;
                }
                Some(line) => rows.put(line)?,
                None => return Err(ImportError::CutOff(lines.count)),
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn refuse_other_versions(header: &Header) -> Result<(), ImportError> {
    for (what, found, known) in [
        ("lines of version", header.version, LINES_VERSION),
        ("format", header.format, FORMAT_VERSION),
        ("version of the fold", header.fold, FOLD_VERSION),
    ] {
        if found > known {
            return Err(ImportError::TooNew { what, found, known });
        }
    }
    if header.format < FORMAT_VERSION { Err(ImportError::TooOld(header.format)) } else { Ok(()) }
}

/// Reads lines, and keeps count of what the trailer says of them.
struct Lines<'a> {
    lines: &'a mut dyn BufRead,
    hash: Xxh3,
    count: u64,
    buffer: Vec<u8>,
}

impl Lines<'_> {
    /// The next line; `None` if there is none, or not a whole one.
    fn next(&mut self) -> Result<Option<Line>, ImportError> {
        self.buffer.clear();
        self.lines.read_until(b'\n', &mut self.buffer)?;
        if self.buffer.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.hash.update(&self.buffer);
        self.count += 1;
        let garbled = |error: serde_json::Error| garbled(self.count, &error);
        serde_json::from_slice(&self.buffer).map(Some).map_err(garbled)
    }

    fn is_whole(&mut self, trailer: &Trailer, before: &str) -> Result<(), ImportError> {
        let mut more = Vec::new();
        self.lines.read_until(b'\n', &mut more)?;
        let is_whole = trailer.lines == self.count - 1 && trailer.xxh3 == before && more.is_empty();
        if is_whole { Ok(()) } else { Err(ImportError::Changed) }
    }
}

/// What is wrong in a line, without what stands in it.
fn garbled(line: u64, error: &serde_json::Error) -> ImportError {
    let what = match error.classify() {
        serde_json::error::Category::Data => "it is no record of a store",
        _ => "it is no JSON",
    };
    ImportError::Garbled { line, reason: format!("{what}, column {}", error.column()) }
}

/// Where lines go.
struct Rows<'a> {
    transaction: &'a WriteTransaction,
    header: &'a Header,
    line: u64,
    buffer: Vec<u8>,
}

impl Rows<'_> {
    fn put(&mut self, line: Line) -> Result<(), ImportError> {
        match line {
            Line::Header(_) | Line::Trailer(_) => Err(self.garbled("it is the first one once more")),
            Line::Number { key, .. } if [FORMAT, FOLD].contains(&key.as_str()) => {
                Err(self.garbled("versions stand in the header"))
            }
            // The new store counts from nothing: this number is there already.
            Line::Number { key, value } => {
                self.transaction.open_table(META)?.insert(key.as_str(), value)?;
                Ok(())
            }
            Line::Name { number, text } => self.insert(NAMES, number.0, text.as_str()),
            Line::Source { number, record } => self.insert(SOURCES, number.0, postcard::to_stdvec(&record)?.as_slice()),
            Line::Walk { source, walk, until } => self.insert(WALKS, (source.0, walk.as_str()), until.micros()),
            Line::Session { number, record } => {
                let record = self.record(record.get())?;
                self.insert(SESSIONS, number.0, record.as_slice())
            }
            Line::Entry(entry) => {
                let mut buffer = std::mem::take(&mut self.buffer);
                encode_entry(&entry, &mut buffer)?;
                self.insert(LOG, (entry.session.0, entry.number), buffer.as_slice())?;
                self.buffer = buffer;
                Ok(())
            }
            Line::Series(series) => self.series(SERIES, series),
            Line::Base(series) => self.series(BASE, series),
            Line::Span { number, span } => self.insert(OUTBOX, number, postcard::to_stdvec(&span)?.as_slice()),
        }
    }

    /// A session's record; of one that an older fold left only the head, from which it is folded anew.
    fn record(&self, json: &str) -> Result<Vec<u8>, ImportError> {
        let no_record = |_| self.garbled("it is no record of a session");
        if self.header.fold == FOLD_VERSION {
            let session: Session = serde_json::from_str(json).map_err(no_record)?;
            return Ok(postcard::to_stdvec(&session)?);
        }
        let head: SessionHead = serde_json::from_str(json).map_err(no_record)?;
        Ok(postcard::to_stdvec(&head)?)
    }

    fn series(
        &self,
        table: TableDefinition<'_, (u8, u32), &'static [u8]>,
        series: StoredSeries,
    ) -> Result<(), ImportError> {
        let StoredSeries { metric, place, key, born, values, native } = series;
        let bytes = put_series_together((key, born, values, native))?;
        self.insert(table, (metric, place), bytes.as_slice())
    }

    fn insert<'k, 'v, K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
        key: impl std::borrow::Borrow<K::SelfType<'k>>,
        value: impl std::borrow::Borrow<V::SelfType<'v>>,
    ) -> Result<(), ImportError> {
        let mut table = self.transaction.open_table(table)?;
        let is_news = table.insert(key, value)?.is_none();
        if is_news { Ok(()) } else { Err(self.garbled("it comes a second time")) }
    }

    fn garbled(&self, reason: &str) -> ImportError {
        ImportError::Garbled { line: self.line, reason: reason.to_owned() }
    }
}
