//! The joints between the parts: what pollers, engine and server ask of others, answered by those others.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::{Report, SourceIx, Timestamp};
use crate::engine::{EngineError, EngineHandle, Observer};
use crate::ingest::Failure;
use crate::ingest::limiter::Pace;
use crate::ingest::poller::{Committing, Ledger, LedgerError, Witness};
use crate::journal::{Archive, CommitStats, Journal, JournalError, SessionFilter};
use crate::projection::TraceSpan;
use crate::push::Outbox;
use crate::server::{ArchiveError, SessionQuery};
use crate::telemetry::{Health, Instruments, Stage};

/// Reports go to the engine.
pub struct EngineLedger {
    engine: EngineHandle,
    key_print: u64,
}

impl EngineLedger {
    /// For a source whose key has this fingerprint.
    pub fn new(engine: EngineHandle, key_print: u64) -> Self {
        Self { engine, key_print }
    }
}

impl Ledger for EngineLedger {
    fn commit(&self, report: Report) -> Committing<'_> {
        Box::pin(async move {
            self.engine.report(report).await.map_err(|error| match error {
                EngineError::CountedTwice(other) => LedgerError::CountedTwice(other),
                error @ EngineError::Report(_) => LedgerError::Contradicts(error.to_string()),
                error => LedgerError::Unsaved(error.to_string()),
            })
        })
    }

    fn recognised(&self, source: SourceIx) {
        let (engine, key_print) = (self.engine.clone(), self.key_print);
        tokio::spawn(async move {
            // An engine that has stopped remembers nothing more.
            let _ = engine.rekey(source, key_print).await;
        });
    }
}

/// What a source's poller does shows in metrics and health.
pub struct SourceWitness {
    name: String,
    instruments: Instruments,
    health: Arc<Health>,
}

impl SourceWitness {
    /// For the source of this name, whose platform has these kinds of calls.
    pub fn new(name: String, endpoints: &[&'static str], instruments: Instruments, health: Arc<Health>) -> Self {
        for endpoint in endpoints {
            instruments.register_endpoint(&name, endpoint, &["200"]);
        }
        Self { name, instruments, health }
    }
}

impl Witness for SourceWitness {
    fn requested(&self, endpoint: &'static str, code: &str, took: Duration, bytes: u64) {
        self.instruments.request(&self.name, endpoint, code, took.into());
        self.instruments.response_bytes(&self.name, bytes);
    }

    fn throttled(&self) {
        self.instruments.throttled(&self.name);
    }

    fn succeeded(&self, stage: &'static str, at: Timestamp) {
        if let Some(stage) = Stage::ALL.into_iter().find(|known| known.as_str() == stage) {
            self.health.stage_done(&self.name, stage, at);
        }
    }

    fn unread(&self, failure: &Failure) {
        self.health.session_unread(&self.name, failure.reason());
    }

    fn discovered(&self, outcome: Result<(), &Failure>, _: Timestamp) {
        match outcome {
            Ok(()) => {
                if self.health.cycle_done(&self.name) {
                    tracing::info!("the platform answers again");
                }
            }
            Err(failure) => self.health.cycle_failed(&self.name, failure.reason()),
        }
    }

    fn backlog(&self, waiting: usize, reading: usize) {
        self.instruments.backlog(&self.name, waiting, reading);
    }

    fn oldest_unread(&self, since: Option<Timestamp>) {
        self.instruments.oldest_unread(&self.name, since);
    }

    fn paced(&self, pace: Pace, at: Timestamp) {
        let paused_until = (!pace.paused_for.is_zero()).then(|| at.plus(pace.paused_for.into()));
        self.instruments.request_pace(&self.name, pace.per_second, paused_until);
    }

    fn skew(&self, seconds: f64) {
        self.instruments.clock_skew(&self.name, seconds);
    }
}

/// What the store does shows in metrics.
pub struct StoreObserver {
    instruments: Instruments,
    health: Arc<Health>,
    sends_spans: bool,
}

impl StoreObserver {
    /// Shows the store's size at once, and that of the outbox if anybody empties it.
    pub fn new(instruments: Instruments, health: Arc<Health>, journal: &Journal, sends_spans: bool) -> Self {
        instruments.journal_size(journal.bytes(), journal.events().unwrap_or(0));
        if sends_spans {
            let waiting = journal.outbox().unwrap_or_default();
            instruments.register_outbox(waiting.end - waiting.start);
        }
        Self { instruments, health, sends_spans }
    }
}

impl Observer for StoreObserver {
    fn committed(&self, stats: &CommitStats, journal: &Journal) {
        self.instruments.committed(stats.took.into());
        self.health.store_works(true);
        if self.sends_spans {
            self.instruments.outbox(stats.waiting_spans, stats.dropped_spans);
        }
        self.instruments.journal_size(journal.bytes(), stats.total_events);
    }

    fn failed(&self, _: &JournalError) {
        self.instruments.commit_failed();
        self.health.store_works(false);
    }

    fn duplicates(&self, source: &str, count: u64) {
        self.instruments.duplicates(source, count);
    }
}

/// The outbox: read from the store, emptied by the engine.
pub struct SpanOutbox {
    journal: Journal,
    engine: EngineHandle,
    waiting: watch::Receiver<Range<u64>>,
}

impl SpanOutbox {
    /// Of this store; `waiting` is the engine's word on what waits.
    pub fn new(journal: Journal, engine: EngineHandle, waiting: watch::Receiver<Range<u64>>) -> Self {
        Self { journal, engine, waiting }
    }
}

impl Outbox for SpanOutbox {
    fn waiting(&self) -> watch::Receiver<Range<u64>> {
        self.waiting.clone()
    }

    async fn read(&self, range: Range<u64>, most: usize) -> Result<(Vec<TraceSpan>, u64), String> {
        let journal = self.journal.clone();
        let read = tokio::task::spawn_blocking(move || journal.waiting_spans(range, most)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn sent(&self, before: u64) -> bool {
        // An engine that has stopped leaves them to the next process, which sends them again.
        self.engine.sent(before).await.is_ok()
    }

    async fn settle(&self) {
        // The same: what it had not committed is not there.
        let _ = self.engine.settle().await;
    }
}

/// The server's questions about sessions, answered from the store.
pub struct Shelf {
    archive: Archive,
}

impl Shelf {
    /// Over an open journal.
    pub fn new(journal: Journal) -> Self {
        Self { archive: Archive::new(journal) }
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, ArchiveError> {
    serde_json::to_vec(value).map_err(|error| ArchiveError::Store(error.to_string()))
}

impl crate::server::Archive for Shelf {
    fn sessions(&self, query: &SessionQuery) -> Result<Vec<u8>, ArchiveError> {
        let filter = SessionFilter {
            statuses: query.statuses.clone(),
            agent: query.agent.clone(),
            source: query.source.clone(),
            since: query.since,
            limit: query.limit,
        };
        json(&self.archive.sessions(&filter).map_err(|error| ArchiveError::Store(error.to_string()))?)
    }

    fn session(&self, id: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let found = self.archive.session(id).map_err(|error| ArchiveError::Store(error.to_string()))?;
        found.as_ref().map(json).transpose()
    }
}
