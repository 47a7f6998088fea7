//! Folds everything anew: after the fold has changed its mind, and to check that stored totals are what the log says.

use redb::ReadableTable;

use super::record::{decode_entry, decode_series, encode_series};
use super::refolding::Refolding;
use super::tables::{BASE, FOLD_VERSION, LOG, META, NAMES, SERIES, SESSIONS, SOURCES};
use super::{Journal, JournalError};
use crate::domain::SessionNo;
use crate::projection::{Entry, Families, LabelPolicy, Metric, Session, SessionHead, SourceRecord, State};

/// What a fold from the beginning came to.
pub struct Refolded {
    /// The totals, base included.
    pub state: State,
    /// Sessions that were folded, as their facts say that they stand.
    pub sessions: Vec<(SessionNo, Session)>,
    /// Facts folded.
    pub events: u64,
}

impl Journal {
    /// Folds base and log from the beginning, without changing anything.
    pub fn refold(&self) -> Result<Refolded, JournalError> {
        let transaction = self.begin_read()?;
        let mut texts = Vec::new();
        for row in transaction.open_table(NAMES)?.iter()? {
            texts.push(row?.1.value().to_owned());
        }
        let mut state = State::new(self.policy, texts.iter().map(String::as_str));
        // The series that exist keep their places, so that who overflowed is not drawn anew.
        let mut series = Families::new(self.policy.max_series);
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
        let mut base = Families::new(usize::MAX);
        for row in transaction.open_table(BASE)?.iter()? {
            let (key, value) = row?;
            decode_series(&mut base, key.value().0, value.value())?;
        }
        state.absorb(&base);

        let log = transaction.open_table(LOG)?;
        let mut refolded = Refolded { state, sessions: Vec::new(), events: 0 };
        for row in transaction.open_table(SESSIONS)?.iter()? {
            let (no, record) = row?;
            let no = SessionNo(no.value());
            // Of a record only its head is certain to be as this version writes it.
            let stored: SessionHead = postcard::from_bytes(record.value())?;
            let mut entries = Vec::new();
            for row in log.range((no.0, 0)..=(no.0, u32::MAX))? {
                let (key, bytes) = row?;
                entries.push(decode_entry(no, key.value().1, bytes.value())?);
            }
            refolded.events += entries.iter().map(|entry| entry.events.len() as u64).sum::<u64>();
            let session = refold(&mut refolded.state, &stored, &entries)
                .ok_or_else(|| JournalError::Store(format!("the log of session {} does not begin", stored.id)))?;
            refolded.sessions.push((no, session));
        }
        Ok(refolded)
    }

    /// Folds anew and replaces totals and session records by what came out.
    pub(super) fn rebuild(&self) -> Result<(), JournalError> {
        tracing::info!(path = %self.path.display(), "folding all totals anew from the log: the fold has changed");
        let refolded = self.refold()?;
        tracing::info!(events = refolded.events, sessions = refolded.sessions.len(), "folded");
        let transaction = self.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("fold", FOLD_VERSION)?;
            let mut table = transaction.open_table(SERIES)?;
            let mut buffer = Vec::new();
            for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored()) {
                let family = refolded.state.families().family(metric);
                for index in 0..family.heads().len() {
                    encode_series(family, index, &mut buffer)?;
                    let place = u32::try_from(index).expect("series are capped far below 2^32");
                    table.insert((metric as u8, place), buffer.as_slice())?;
                }
            }
            let mut sessions = transaction.open_table(SESSIONS)?;
            for (no, session) in &refolded.sessions {
                sessions.insert(no.0, postcard::to_stdvec(session)?.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Folds one session's log into `state`. What is not a fact of the log (how far lists were read) is taken over from
/// its record. `None` if the log does not begin with the session's discovery.
pub fn refold(state: &mut State, stored: &SessionHead, entries: &[Entry]) -> Option<Session> {
    let mut refolding = Refolding::of(stored);
    entries.iter().for_each(|entry| refolding.add(state, entry));
    refolding.end()
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
