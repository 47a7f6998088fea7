//! Takes away what settled long ago, and keeps its share of the totals; of sessions that rest, all but that they exist.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::rebuild::empty_like;
use super::record::{decode_entry, encode_entry, encode_series};
use super::refolding::Refolding;
use super::tables::{BASE, CARRIED_EVENTS, CARRIED_SESSIONS, EVENTS, HORIZON, LOG, META, SESSIONS, SOURCES};
use super::{Journal, JournalError};
use crate::domain::{DISCOVERED, Event, Fact, SessionId, SessionNo, Sighting, SourceIx, Span, Status, Timestamp};
use crate::projection::{Entry, Metric, Progress, Session, State};

/// Sessions taken away in one transaction at most, so that a commit never waits long for it.
const BATCH: usize = 500;

/// What was taken away.
#[derive(Debug, Default)]
pub struct Expired {
    /// The sessions.
    pub sessions: Vec<(SourceIx, SessionId)>,
    /// The latest sign of life among them, by source: nothing up to it is counted any more.
    pub newest: BTreeMap<SourceIx, Timestamp>,
    /// Whether there may be more.
    pub more: bool,
}

/// The step from "up to then" to "from then".
const JUST_AFTER: Span = Span::from_micros(1);

fn last_sign(session: &Session) -> Timestamp {
    session.progress.newest.max(session.created_at).max(session.since).max(session.finished_at.unwrap_or_default())
}

/// What is left of a session that only rests: that it exists, and how it stands. Nothing up to now is counted of it any
/// more; should it move, its stream is read from its beginning.
fn stub(no: SessionNo, stored: &Session, scratch: &mut State) -> Option<(Session, Entry)> {
    let (status, since, created_at) = (stored.status, stored.since, stored.created_at);
    let (agent, inherited) = (stored.agent, stored.inherited);
    let sighting = Sighting { status, since, started_at: None, finished_at: None };
    let entry = Entry {
        source: stored.source,
        session: no,
        number: 0,
        observed_at: since,
        events: vec![
            Event {
                at: created_at,
                fact: Fact::Discovered { agent, created_at, born: Some(Status::Started), inherited },
            },
            Event { at: since, fact: Fact::Sighted(sighting) },
        ],
    };
    let mut head = stored.head();
    head.count_from = last_sign(stored).plus(JUST_AFTER);
    head.progress = Progress { entries: 1, mark: stored.progress.mark, settled: true, ..Progress::default() };
    let mut refolding = Refolding::of(&head);
    refolding.add(scratch, &entry);
    let session = refolding.end()?;
    Some((Session { listing: stored.listing, ..session }, entry))
}

impl Journal {
    /// Takes away up to a few hundred sessions that settled before `horizon` and were quiet since. From then on nothing
    /// up to the last of them is counted, so that a session that comes back is not counted twice.
    ///
    /// The caller forgets the sessions in its own state and takes over the new `count_from` of the sources.
    pub fn expire(&self, state: &State, horizon: Timestamp) -> Result<Expired, JournalError> {
        let mut expired = Expired::default();
        let mut leaving: Vec<(SessionNo, Session)> = Vec::new();
        {
            let transaction = self.begin_read()?;
            for row in transaction.open_table(SESSIONS)?.iter()? {
                let (no, record) = row?;
                let session: Session = postcard::from_bytes(record.value())?;
                let last = last_sign(&session);
                // Of a source whose lists were never read to the end the past is still being counted.
                let is_known = state.walked(session.source, DISCOVERED).is_some();
                // Of one that only rests the log goes, once. One whose sum is in doubt is kept to be compared again, and one
                // with a turn that was given up to know that turn again.
                let is_over = session.run.ended || session.progress.gone;
                let may_fade = session.progress.cursor > 0 && session.mismatch == 0 && session.open_turns.is_empty();
                if session.progress.settled && (is_over || may_fade) && last < horizon && is_known {
                    leaving.push((SessionNo(no.value()), session));
                    if leaving.len() == BATCH {
                        expired.more = true;
                        break;
                    }
                }
            }
        }
        if leaving.is_empty() {
            return Ok(expired);
        }
        let transaction = self.begin_write()?;
        {
            let mut share = empty_like(state, self.policy);
            let mut log = transaction.open_table(LOG)?;
            let mut sessions = transaction.open_table(SESSIONS)?;
            let mut scratch = empty_like(state, self.policy);
            let mut buffer = Vec::new();
            let (mut events, mut added) = (0, 0);
            for (no, stored) in &leaving {
                let head = stored.head();
                let mut refolding = Refolding::of(&head);
                for row in log.range((no.0, 0)..=(no.0, u32::MAX))? {
                    let (key, bytes) = row?;
                    let entry = decode_entry(*no, key.value().1, bytes.value())?;
                    events += entry.events.len() as u64;
                    refolding.add(&mut share, &entry);
                }
                log.retain_in((no.0, 0)..=(no.0, u32::MAX), |_, _| false)?;
                let is_over = stored.run.ended || stored.progress.gone;
                if !is_over && let Some((session, entry)) = stub(*no, stored, &mut scratch) {
                    encode_entry(&entry, &mut buffer)?;
                    log.insert((no.0, entry.number), buffer.as_slice())?;
                    sessions.insert(no.0, postcard::to_stdvec(&session)?.as_slice())?;
                    added += entry.events.len() as u64;
                    continue;
                }
                sessions.remove(no.0)?;
                expired.sessions.push((stored.source, stored.id.clone()));
                let newest = expired.newest.entry(stored.source).or_default();
                *newest = (*newest).max(last_sign(stored));
            }
            let mut table = transaction.open_table(BASE)?;
            let mut base = self.base()?;
            base.absorb(share.families());
            for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored()) {
                let family = base.family(metric);
                for index in 0..family.heads().len() {
                    encode_series(family, index, &mut buffer)?;
                    let place = u32::try_from(index).expect("series are capped far below 2^32");
                    table.insert((metric as u8, place), buffer.as_slice())?;
                }
            }
            let mut sources = transaction.open_table(SOURCES)?;
            for ix in 0..state.source_count() {
                let ix = SourceIx(u16::try_from(ix).expect("far fewer than 65536 sources"));
                let mut record = state.source(ix).clone();
                let Some(newest) = expired.newest.get(&ix) else { continue };
                record.count_from = record.count_from.max(newest.plus(JUST_AFTER));
                sources.insert(ix.0, postcard::to_stdvec(&record)?.as_slice())?;
            }
            let mut meta = transaction.open_table(META)?;
            let before = meta.get(EVENTS)?.map_or(0, |value| value.value());
            meta.insert(EVENTS, before.saturating_sub(events) + added)?;
            for (key, more) in [(CARRIED_SESSIONS, leaving.len() as u64), (CARRIED_EVENTS, events)] {
                let before = meta.get(key)?.map_or(0, |value| value.value());
                meta.insert(key, before + more)?;
            }
            meta.insert(HORIZON, u64::try_from(horizon.micros()).unwrap_or(0))?;
        }
        transaction.commit()?;
        Ok(expired)
    }
}
