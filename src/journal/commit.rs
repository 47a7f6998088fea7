//! One transaction per commit: log, records, series, names and walks together.

use std::time::{Duration, Instant};

use redb::ReadableTable;

use super::record::{encode_entry, encode_series};
use super::tables::{EVENTS, LOG, META, NAMES, SERIES, SESSIONS, SOURCES, WALKS};
use super::{Journal, JournalError};
use crate::domain::NameId;
use crate::projection::State;

/// What a commit took.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitStats {
    /// From its beginning until it was synced.
    pub took: Duration,
    /// Facts added to the log.
    pub events: u64,
    /// Facts in the log.
    pub total_events: u64,
    /// Spans in the outbox.
    pub waiting_spans: u64,
    /// Spans that had to leave the outbox before anybody took them, as it was full.
    pub dropped_spans: u64,
}

impl Journal {
    /// Makes everything that changed in `state` since its last commit durable.
    ///
    /// On an error nothing was written, and `state` is ahead of the file: it has to be loaded anew.
    pub fn commit(&self, state: &mut State) -> Result<CommitStats, JournalError> {
        let began = Instant::now();
        let (series, names_saved) = state.take_unsaved();
        let state_now = &*state;
        let changes = state_now.pending();
        let transaction = self.begin_write()?;
        let mut buffer = Vec::with_capacity(4096);
        let mut events = 0;
        let total_events;
        let outbox = state_now.outbox_change();
        {
            let mut names = transaction.open_table(NAMES)?;
            for id in names_saved..state_now.names().len() {
                let id = u32::try_from(id).expect("the dictionary is capped far below 2^32");
                names.insert(id, state_now.names().text(NameId(id)))?;
            }
            let mut sources = transaction.open_table(SOURCES)?;
            for &ix in &changes.sources {
                sources.insert(ix.0, postcard::to_stdvec(state_now.source(ix))?.as_slice())?;
            }
            let mut walks = transaction.open_table(WALKS)?;
            for &(ix, walk, until) in &changes.walks {
                walks.insert((ix.0, walk), until.micros())?;
            }
            let mut log = transaction.open_table(LOG)?;
            for entry in &changes.entries {
                encode_entry(entry, &mut buffer)?;
                log.insert((entry.session.0, entry.number), buffer.as_slice())?;
                events += entry.events.len() as u64;
            }
            let mut sessions = transaction.open_table(SESSIONS)?;
            for &(ix, no) in &changes.sessions {
                if let Some(session) = state_now.session(ix, no) {
                    buffer.clear();
                    postcard::to_io(session, &mut buffer)?;
                    sessions.insert(no.0, buffer.as_slice())?;
                }
            }
            let mut table = transaction.open_table(SERIES)?;
            for (metric, index) in series {
                encode_series(state_now.families().family(metric), index as usize, &mut buffer)?;
                table.insert((metric as u8, index), buffer.as_slice())?;
            }
            super::outbox::write(&transaction, &outbox, &changes.spans, &mut buffer)?;
            let mut meta = transaction.open_table(META)?;
            total_events = meta.get(EVENTS)?.map_or(0, |value| value.value()) + events;
            if events > 0 {
                meta.insert(EVENTS, total_events)?;
            }
        }
        transaction.commit()?;
        Ok(CommitStats {
            took: began.elapsed(),
            events,
            total_events,
            waiting_spans: outbox.waiting.end - outbox.waiting.start,
            dropped_spans: outbox.dropped,
        })
    }
}
