//! What is in the file, in numbers: how large it is, whose sessions it knows, and how far they were read.

use std::collections::BTreeMap;

use redb::{Key, ReadableTable, ReadableTableMetadata, TableDefinition, Value};
use serde::Serialize;

use super::record::decode_entry;
use super::tables::{
    BASE, CARRIED_EVENTS, CARRIED_SESSIONS, FOLD, FORMAT, HORIZON, LOG, META, NAMES, OUTBOX, SERIES, SESSIONS, SOURCES,
    WALKS,
};
use super::{Journal, JournalError};
use crate::domain::{SessionNo, SourceIx, Timestamp};
use crate::projection::{SessionHead, SourceRecord};

/// What is in a journal. Holds no content, no names of agents, and no ids of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The version of the format.
    pub format: u64,
    /// The version of the fold that the totals are of.
    pub fold: u64,
    /// Size of the file.
    pub file_bytes: u64,
    /// Of that, what holds nothing and could be given back.
    pub unused_bytes: u64,
    /// What is in the log.
    pub log: LogCounts,
    /// What retention has taken away.
    pub carried: Carried,
    /// Spans that wait for a collector.
    pub waiting_spans: u64,
    /// Each table.
    pub tables: Vec<TableSize>,
    /// Each source, in the order in which they were first watched.
    pub sources: Vec<SourceCounts>,
}

/// What is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogCounts {
    /// Commits of single sessions.
    pub entries: u64,
    /// Facts in them.
    pub facts: u64,
}

/// What was folded into the base totals and taken away, since there are such counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// How often the log of a session was.
    pub sessions: u64,
    /// Facts in those.
    pub facts: u64,
    /// What had settled before this time was, the last time.
    #[serde(serialize_with = "time")]
    pub before: Option<Timestamp>,
}

/// A table of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableSize {
    /// Its name.
    pub name: &'static str,
    /// Its rows.
    pub rows: u64,
    /// Keys and values.
    pub bytes: u64,
    /// The pages that they stand in.
    pub bytes_on_disk: u64,
}

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceCounts {
    /// Its name.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// Which account it is.
    pub account: String,
    /// Nothing before this is counted of sessions that are not known.
    #[serde(serialize_with = "some_time")]
    pub counts_from: Timestamp,
    /// How far its walks over lists have come.
    pub walks: BTreeMap<String, String>,
    /// Facts of its sessions in the log.
    pub facts: u64,
    /// The oldest of them.
    #[serde(serialize_with = "time")]
    pub oldest_fact: Option<Timestamp>,
    /// The newest of them.
    #[serde(serialize_with = "time")]
    pub newest_fact: Option<Timestamp>,
    /// Sessions that are still read.
    pub active: Phase,
    /// Sessions that are not read before a list shows them moving.
    pub settled: Phase,
    /// All of them by status, those that the platform has deleted as `gone`.
    pub by_status: BTreeMap<&'static str, u64>,
}

/// Sessions, and how far they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// How many.
    pub sessions: u64,
    /// Positions of their streams that were read.
    pub positions: u64,
    /// The earliest of their last events: one of them was read no further.
    #[serde(serialize_with = "time")]
    pub earliest: Option<Timestamp>,
    /// The latest of their last events.
    #[serde(serialize_with = "time")]
    pub latest: Option<Timestamp>,
}

fn time<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

fn some_time<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    at.to_string().serialize(serializer)
}

impl Phase {
    fn add(&mut self, head: &SessionHead) {
        self.sessions += 1;
        self.positions += head.progress.cursor;
        // One of which no event was read has none.
        if head.progress.cursor > 0 {
            self.earliest = earlier(self.earliest, head.progress.newest);
            self.latest = self.latest.max(Some(head.progress.newest));
        }
    }
}

fn earlier(known: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(at, |known| known.min(at)))
}

impl SourceCounts {
    fn new(record: SourceRecord) -> Self {
        let SourceRecord { name, platform, account, count_from, .. } = record;
        Self {
            name,
            platform,
            account,
            counts_from: count_from,
            walks: BTreeMap::new(),
            facts: 0,
            oldest_fact: None,
            newest_fact: None,
            active: Phase::default(),
            settled: Phase::default(),
            by_status: BTreeMap::new(),
        }
    }

    fn add(&mut self, head: &SessionHead) {
        let phase = if head.progress.settled { &mut self.settled } else { &mut self.active };
        phase.add(head);
        let status = if head.progress.gone { "gone" } else { head.status.as_str() };
        *self.by_status.entry(status).or_default() += 1;
    }
}

impl Journal {
    /// Counts what there is. Reads everything once.
    pub fn inspect(&self) -> Result<Inspection, JournalError> {
        let number = |key| Ok::<u64, JournalError>(self.meta(key)?.unwrap_or(0));
        let waiting = self.outbox()?;
        let (sources, log) = self.source_counts()?;
        let (tables, used) = self.table_sizes()?;
        let file_bytes = self.bytes();
        Ok(Inspection {
            format: number(FORMAT)?,
            fold: number(FOLD)?,
            file_bytes,
            unused_bytes: file_bytes.saturating_sub(used),
            log,
            carried: self.carried()?,
            waiting_spans: waiting.end - waiting.start,
            tables,
            sources,
        })
    }

    /// What retention took away.
    pub(super) fn carried(&self) -> Result<Carried, JournalError> {
        let horizon = self.meta(HORIZON)?.and_then(|micros| i64::try_from(micros).ok());
        Ok(Carried {
            sessions: self.meta(CARRIED_SESSIONS)?.unwrap_or(0),
            facts: self.meta(CARRIED_EVENTS)?.unwrap_or(0),
            before: horizon.map(Timestamp::from_micros),
        })
    }

    fn source_counts(&self) -> Result<(Vec<SourceCounts>, LogCounts), JournalError> {
        let transaction = self.begin_read()?;
        let mut sources = Vec::new();
        for row in transaction.open_table(SOURCES)?.iter()? {
            sources.push(SourceCounts::new(postcard::from_bytes(row?.1.value())?));
        }
        let unknown = |ix: SourceIx| self.damaged(&format!("something is of source {}, which it does not know", ix.0));
        for row in transaction.open_table(WALKS)?.iter()? {
            let (key, until) = row?;
            let (ix, walk) = key.value();
            let source = sources.get_mut(usize::from(ix)).ok_or_else(|| unknown(SourceIx(ix)))?;
            source.walks.insert(walk.to_owned(), Timestamp::from_micros(until.value()).to_string());
        }
        for row in transaction.open_table(SESSIONS)?.iter()? {
            let head: SessionHead = postcard::from_bytes(row?.1.value())?;
            sources.get_mut(usize::from(head.source.0)).ok_or_else(|| unknown(head.source))?.add(&head);
        }
        let mut log = LogCounts::default();
        for row in transaction.open_table(LOG)?.iter()? {
            let (key, bytes) = row?;
            let (session, number) = key.value();
            let entry = decode_entry(SessionNo(session), number, bytes.value())?;
            let source = sources.get_mut(usize::from(entry.source.0)).ok_or_else(|| unknown(entry.source))?;
            log.entries += 1;
            log.facts += entry.events.len() as u64;
            source.facts += entry.events.len() as u64;
            for event in &entry.events {
                source.oldest_fact = earlier(source.oldest_fact, event.at);
                source.newest_fact = source.newest_fact.max(Some(event.at));
            }
        }
        Ok((sources, log))
    }

    /// Each table, and the bytes of all pages that hold anything.
    fn table_sizes(&self) -> Result<(Vec<TableSize>, u64), JournalError> {
        let transaction = self.begin_write()?;
        let stats = transaction.stats()?;
        let used = stats.allocated_pages() * stats.page_size() as u64;
        transaction.abort()?;
        let tables = vec![
            self.table_size("meta", META)?,
            self.table_size("names", NAMES)?,
            self.table_size("sources", SOURCES)?,
            self.table_size("walks", WALKS)?,
            self.table_size("sessions", SESSIONS)?,
            self.table_size("log", LOG)?,
            self.table_size("series", SERIES)?,
            self.table_size("base", BASE)?,
            self.table_size("outbox", OUTBOX)?,
        ];
        Ok((tables, used))
    }

    fn table_size<K: Key + 'static, V: Value + 'static>(
        &self,
        name: &'static str,
        table: TableDefinition<'_, K, V>,
    ) -> Result<TableSize, JournalError> {
        let transaction = self.begin_read()?;
        let table = transaction.open_table(table)?;
        let stats = table.stats()?;
        let bytes_on_disk = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        Ok(TableSize { name, rows: table.len()?, bytes: stats.stored_bytes(), bytes_on_disk })
    }
}
