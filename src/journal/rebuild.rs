//! Folds everything anew: after the fold has changed its mind, and to check that stored totals are what the log says.

use redb::{ReadableTable, ReadableTableMetadata, Table};

use super::record::{decode_entry, decode_series, encode_series};
use super::refolding::Refolding;
use super::tables::{BASE, FOLD, FOLD_VERSION, LOG, META, NAMES, SERIES, SESSIONS, SOURCES};
use super::{Journal, JournalError};
use crate::domain::{SessionId, SessionNo};
use crate::projection::{Entry, Families, LabelPolicy, Metric, Session, SessionHead, SourceRecord, State};

/// With so many sessions or more it is told how far a fold has come.
const LONG: u64 = 1000;

/// What a fold from the beginning came to.
pub struct Refolded {
    /// The totals, base included.
    pub state: State,
    /// Sessions that were folded, as their facts say that they stand.
    pub sessions: Vec<(SessionNo, Session)>,
    /// Facts folded.
    pub events: u64,
}

/// A session whose log was folded.
pub(super) struct Folded<'a> {
    /// Its number.
    pub(super) no: SessionNo,
    /// Its record, as it is stored.
    pub(super) record: &'a [u8],
    /// The beginning of that.
    pub(super) head: SessionHead,
    /// As its facts say that it stands; `None` if the log does not begin with its discovery.
    pub(super) session: Option<Session>,
}

/// Who follows a fold of everything. A log is handed over entry by entry, as one session's may not fit into memory.
pub(super) trait Follower {
    /// An entry of the session that is being folded.
    fn entry(&mut self, head: &SessionHead, entry: &Entry);

    /// That session is folded.
    fn session(&mut self, folded: Folded<'_>) -> Result<(), JournalError>;
}

impl Journal {
    /// Folds base and log from the beginning, without changing anything.
    pub fn refold(&self) -> Result<Refolded, JournalError> {
        let mut kept = Kept { journal: self, sessions: Vec::new(), events: 0 };
        let state = self.fold_log(self.policy, &mut kept)?;
        Ok(Refolded { state, sessions: kept.sessions, events: kept.events })
    }

    /// Folds base and log from the beginning and hands over each session as it was folded; gives the totals.
    pub(super) fn fold_log(&self, policy: LabelPolicy, follower: &mut dyn Follower) -> Result<State, JournalError> {
        let transaction = self.begin_read()?;
        let mut texts = Vec::new();
        for row in transaction.open_table(NAMES)?.iter()? {
            texts.push(row?.1.value().to_owned());
        }
        let mut state = State::new(policy, texts.iter().map(String::as_str));
        // The series that exist keep their places, so that who overflowed is not drawn anew.
        let mut series = Families::new(policy.max_series);
        for row in transaction.open_table(SERIES)?.iter()? {
            let (key, value) = row?;
            decode_series(&mut series, key.value().0, value.value())?;
        }
        series.clear();
        state.restore_totals(series);
        for row in transaction.open_table(SOURCES)?.iter()? {
            let record: SourceRecord = postcard::from_bytes(row?.1.value())?;
            state.restore_source(record);
        }
        state.absorb(&self.base()?);

        let log = transaction.open_table(LOG)?;
        for row in transaction.open_table(SESSIONS)?.iter()? {
            let (no, record) = row?;
            let (no, record) = (SessionNo(no.value()), record.value());
            // Of a record only its head is certain to be as this version writes it.
            let head: SessionHead = postcard::from_bytes(record)?;
            let mut refolding = Refolding::of(&head);
            for row in log.range((no.0, 0)..=(no.0, u32::MAX))? {
                let (key, bytes) = row?;
                let entry = decode_entry(no, key.value().1, bytes.value())?;
                refolding.add(&mut state, &entry);
                follower.entry(&head, &entry);
            }
            let session = refolding.end();
            follower.session(Folded { no, record, head, session })?;
        }
        Ok(state)
    }

    /// What sessions that are no longer kept had added to the totals.
    pub(super) fn base(&self) -> Result<Families, JournalError> {
        let mut base = Families::new(usize::MAX);
        for row in self.begin_read()?.open_table(BASE)?.iter()? {
            let (key, value) = row?;
            decode_series(&mut base, key.value().0, value.value())?;
        }
        Ok(base)
    }

    fn begun(&self, id: SessionId, session: Option<Session>) -> Result<Session, JournalError> {
        session.ok_or_else(|| self.damaged(&format!("the log of session {id} does not begin")))
    }

    /// Folds anew and replaces totals and session records by what came out, all of it at once: who is killed meanwhile
    /// has the file as it was, and begins again.
    pub(super) fn rebuild(&self) -> Result<(), JournalError> {
        let all = self.begin_read()?.open_table(SESSIONS)?.len()?;
        let (from, to) = (self.meta(FOLD)?, FOLD_VERSION);
        tracing::info!(path = %self.path.display(), from, to, sessions = all, "the fold has changed: folding anew");
        let transaction = self.begin_write()?;
        {
            let sessions = transaction.open_table(SESSIONS)?;
            let mut replaced = Replaced { journal: self, sessions, all, done: 0, events: 0 };
            let state = self.fold_log(self.policy, &mut replaced)?;
            let mut table = transaction.open_table(SERIES)?;
            let mut buffer = Vec::new();
            for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored()) {
                let family = state.families().family(metric);
                for index in 0..family.heads().len() {
                    encode_series(family, index, &mut buffer)?;
                    let place = u32::try_from(index).expect("series are capped far below 2^32");
                    table.insert((metric as u8, place), buffer.as_slice())?;
                }
            }
            transaction.open_table(META)?.insert(FOLD, FOLD_VERSION)?;
            tracing::info!(sessions = replaced.done, facts = replaced.events, "folded anew");
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Keeps each session as it was folded.
struct Kept<'a> {
    journal: &'a Journal,
    sessions: Vec<(SessionNo, Session)>,
    events: u64,
}

impl Follower for Kept<'_> {
    fn entry(&mut self, _: &SessionHead, entry: &Entry) {
        self.events += entry.events.len() as u64;
    }

    fn session(&mut self, folded: Folded<'_>) -> Result<(), JournalError> {
        self.sessions.push((folded.no, self.journal.begun(folded.head.id, folded.session)?));
        Ok(())
    }
}

/// Replaces each session's record by what was folded, and tells how far that is.
struct Replaced<'a, 't> {
    journal: &'a Journal,
    sessions: Table<'t, u32, &'static [u8]>,
    all: u64,
    done: u64,
    events: u64,
}

impl Follower for Replaced<'_, '_> {
    fn entry(&mut self, _: &SessionHead, entry: &Entry) {
        self.events += entry.events.len() as u64;
    }

    fn session(&mut self, folded: Folded<'_>) -> Result<(), JournalError> {
        self.done += 1;
        let session = self.journal.begun(folded.head.id, folded.session)?;
        self.sessions.insert(folded.no.0, postcard::to_stdvec(&session)?.as_slice())?;
        if self.all >= LONG && self.done.is_multiple_of(self.all / 10) {
            tracing::info!(sessions = self.done, of = self.all, facts = self.events, "folding anew");
        }
        Ok(())
    }
}

/// An empty state with the same dictionary and sources as the journal: what a partial fold starts from.
pub(super) fn empty_like(state: &State, policy: LabelPolicy) -> State {
    let texts: Vec<String> = (0..state.names().len())
        .map(|id| state.names().text(crate::domain::NameId(u32::try_from(id).expect("capped"))).to_owned())
        .collect();
    let mut empty = State::new(LabelPolicy { max_series: usize::MAX, ..policy }, texts.iter().map(String::as_str));
    for ix in 0..state.source_count() {
        let ix = crate::domain::SourceIx(u16::try_from(ix).expect("far fewer than 65536 sources"));
        empty.restore_source(state.source(ix).clone());
    }
    empty
}
