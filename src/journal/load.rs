//! Reads the state back at a start, or after a commit that failed.

use redb::ReadableTable;

use super::record::decode_series;
use super::tables::{FOLD, FOLD_VERSION, NAMES, SERIES, SESSIONS, SOURCES, WALKS};
use super::{Journal, JournalError};
use crate::domain::{SessionNo, SourceIx, Timestamp};
use crate::projection::{Families, LabelPolicy, Names, Outbox, Session, SessionHead, SourceRecord, State};

impl Journal {
    /// The state as of the last commit. Totals of an older fold are folded anew from the log first.
    pub fn load(&self, now: Timestamp) -> Result<State, JournalError> {
        if self.meta(FOLD)? != Some(FOLD_VERSION) {
            self.rebuild()?;
        }
        let transaction = self.begin_read()?;
        let names = transaction.open_table(NAMES)?;
        let mut texts = Vec::new();
        for row in names.iter()? {
            texts.push(row?.1.value().to_owned());
        }
        let mut state = State::new(self.policy, texts.iter().map(String::as_str));
        // Series first: restoring sources and sessions counts gauges, which are not stored.
        let mut families = Families::new(self.policy.max_series);
        for row in transaction.open_table(SERIES)?.iter()? {
            let (key, value) = row?;
            decode_series(&mut families, key.value().0, value.value()).map_err(|error| self.damaged(&error))?;
        }
        state.restore_totals(families);
        for row in transaction.open_table(SOURCES)?.iter()? {
            let record: SourceRecord = postcard::from_bytes(row?.1.value()).map_err(|error| self.damaged(&error))?;
            state.restore_source(record);
        }
        let sources = state.source_count();
        let known = |ix: SourceIx| {
            let unknown = || self.damaged(&format!("something is of source {}, which it does not know", ix.0));
            if usize::from(ix.0) < sources { Ok(ix) } else { Err(unknown()) }
        };
        for row in transaction.open_table(WALKS)?.iter()? {
            let (key, until) = row?;
            let (ix, walk) = key.value();
            state.restore_walk(known(SourceIx(ix))?, walk, Timestamp::from_micros(until.value()));
        }
        for row in transaction.open_table(SESSIONS)?.iter()? {
            let (no, record) = row?;
            let (no, record) = (SessionNo(no.value()), record.value());
            let head: SessionHead = postcard::from_bytes(record).map_err(|error| self.damaged(&error))?;
            known(head.source)?;
            if head.progress.settled {
                state.restore_settled(no, head, now);
            } else {
                let session = postcard::from_bytes(record).map_err(|error| self.damaged(&error))?;
                state.restore_session(no, session, now);
            }
        }
        state.restore_outbox(Outbox::new(self.outbox()?, u64::MAX));
        state.restored();
        Ok(state)
    }

    /// The dictionary as it is stored, to look up names in it.
    pub fn dictionary(&self, policy: LabelPolicy) -> Result<Names, JournalError> {
        let mut names = Names::new(policy);
        for row in self.begin_read()?.open_table(NAMES)?.iter()? {
            names.exact(row?.1.value());
        }
        Ok(names)
    }

    /// The sources, in the order of their numbers.
    pub fn sources(&self) -> Result<Vec<SourceRecord>, JournalError> {
        let mut sources = Vec::new();
        for row in self.begin_read()?.open_table(SOURCES)?.iter()? {
            sources.push(postcard::from_bytes(row?.1.value())?);
        }
        Ok(sources)
    }

    /// The beginning of every session's record.
    pub fn each_head(&self, each: &mut dyn FnMut(SessionNo, SessionHead)) -> Result<(), JournalError> {
        for row in self.begin_read()?.open_table(SESSIONS)?.iter()? {
            let (no, record) = row?;
            each(SessionNo(no.value()), postcard::from_bytes(record.value())?);
        }
        Ok(())
    }

    /// The record of one session.
    pub fn session(&self, no: SessionNo) -> Result<Option<Session>, JournalError> {
        let transaction = self.begin_read()?;
        let sessions = transaction.open_table(SESSIONS)?;
        let Some(record) = sessions.get(no.0)? else { return Ok(None) };
        Ok(Some(postcard::from_bytes(record.value())?))
    }
}
