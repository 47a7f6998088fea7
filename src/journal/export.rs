//! Writes a journal as lines of text, all of it and always in the same order.

use std::io::{self, Write};

use redb::{ReadTransaction, ReadableTable};
use serde::Serialize;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::lines::{Header, Line, StoredSeries, Trailer, digits};
use super::record::{decode_entry, take_series_apart};
use super::tables::{BASE, FOLD, FORMAT, LOG, META, NAMES, OUTBOX, SERIES, SESSIONS, SOURCES, WALKS};
use super::{Journal, JournalError};
use crate::domain::{NameId, SessionNo, SourceIx, Timestamp};
use crate::projection::Session;

/// Why a journal was not exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The lines cannot be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
}

macro_rules! of_the_journal {
    ($($error:ty),*) => {
        $(impl From<$error> for ExportError {
            fn from(error: $error) -> Self {
                Self::Journal(error.into())
            }
        })*
    };
}
of_the_journal!(redb::TableError, redb::StorageError, postcard::Error);

/// Writes lines, and what the trailer says of them.
struct Lines<'a> {
    out: &'a mut dyn Write,
    hash: Xxh3,
    count: u64,
    buffer: Vec<u8>,
}

impl Lines<'_> {
    fn write(&mut self, line: &Line) -> Result<(), ExportError> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, line).map_err(io::Error::from)?;
        self.buffer.push(b'\n');
        self.hash.update(&self.buffer);
        self.count += 1;
        Ok(self.out.write_all(&self.buffer)?)
    }
}

impl Journal {
    /// Writes everything that is in the journal, and how many lines that were.
    ///
    /// # Errors
    ///
    /// A store whose totals are of an older fold is not exported before it was folded anew: its records cannot be read.
    pub fn export(&self, out: &mut dyn Write) -> Result<u64, ExportError> {
        self.refuse_older_fold()?;
        let transaction = self.begin_read()?;
        let mut lines = Lines { out, hash: Xxh3::new(), count: 0, buffer: Vec::new() };
        lines.write(&Line::Header(Header::of_today()))?;
        write_what_is_known(&transaction, &mut lines)?;
        write_sessions(&transaction, &mut lines)?;
        write_numbers(&transaction, &mut lines)?;
        let trailer = Line::Trailer(Trailer { lines: lines.count, xxh3: digits(&lines.hash) });
        lines.write(&trailer)?;
        lines.out.flush()?;
        Ok(lines.count)
    }
}

/// Single numbers, names, sources and their walks.
fn write_what_is_known(transaction: &ReadTransaction, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    for row in transaction.open_table(META)?.iter()? {
        let (key, value) = row?;
        // The versions stand in the header.
        if ![FORMAT, FOLD].contains(&key.value()) {
            lines.write(&Line::Number { key: key.value().into(), value: value.value() })?;
        }
    }
    for row in transaction.open_table(NAMES)?.iter()? {
        let (number, text) = row?;
        lines.write(&Line::Name { number: NameId(number.value()), text: text.value().to_owned() })?;
    }
    for row in transaction.open_table(SOURCES)?.iter()? {
        let (number, record) = row?;
        lines
            .write(&Line::Source { number: SourceIx(number.value()), record: postcard::from_bytes(record.value())? })?;
    }
    for row in transaction.open_table(WALKS)?.iter()? {
        let (key, until) = row?;
        let (source, walk) = key.value();
        let until = Timestamp::from_micros(until.value());
        lines.write(&Line::Walk { source: SourceIx(source), walk: walk.to_owned(), until })?;
    }
    Ok(())
}

fn write_sessions(transaction: &ReadTransaction, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    for row in transaction.open_table(SESSIONS)?.iter()? {
        let (number, record) = row?;
        let session: Session = postcard::from_bytes(record.value())?;
        lines.write(&Line::Session { number: SessionNo(number.value()), record: raw(&session)? })?;
    }
    for row in transaction.open_table(LOG)?.iter()? {
        let (key, entry) = row?;
        let (session, number) = key.value();
        lines.write(&Line::Entry(decode_entry(SessionNo(session), number, entry.value())?))?;
    }
    Ok(())
}

fn raw(record: &impl Serialize) -> Result<Box<serde_json::value::RawValue>, ExportError> {
    Ok(serde_json::value::to_raw_value(record).map_err(io::Error::from)?)
}

/// Totals, carried totals, and what waits in the outbox.
fn write_numbers(transaction: &ReadTransaction, lines: &mut Lines<'_>) -> Result<(), ExportError> {
    for (table, line) in [(SERIES, Line::Series as fn(StoredSeries) -> Line), (BASE, Line::Base)] {
        for row in transaction.open_table(table)?.iter()? {
            let (key, series) = row?;
            let (metric, place) = key.value();
            let (key, born, values, native) = take_series_apart(series.value())?;
            lines.write(&line(StoredSeries { metric, place, key, born, values, native }))?;
        }
    }
    for row in transaction.open_table(OUTBOX)?.iter()? {
        let (number, span) = row?;
        lines.write(&Line::Span { number: number.value(), span: postcard::from_bytes(span.value())? })?;
    }
    Ok(())
}
