//! How a report becomes facts: what is known already is dropped, the rest is folded and noted for the journal.

use std::collections::hash_map;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use thiserror::Error;

use super::fold::Fold;
use super::session::Session;
use super::state::{Active, Known, State};
use crate::domain::{
    Due, Event, Fact, Item, Label, NameId, Receipt, Report, Row, SessionId, SessionNo, SourceIx, Status, Timestamp,
};

/// One session's share of a commit, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose.
    pub source: SourceIx,
    /// Which session.
    pub session: SessionNo,
    /// Its place in the session's log.
    pub number: u32,
    /// When we learnt it, by our clock.
    pub observed_at: Timestamp,
    /// The facts, in order. Those with a position continue the stream where the entry before left it.
    pub events: Vec<Event<NameId>>,
}

/// A report that contradicts what is committed; the poller has to start over from the committed cursor.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IntakeError {
    /// The page does not continue the stream.
    #[error("events from position {from} of session {id} would leave a hole: {cursor} is the next one")]
    Hole {
        /// Which session.
        id: SessionId,
        /// Where the page begins.
        from: u64,
        /// Where the stream stands.
        cursor: u64,
    },
    /// The session was never seen in a list.
    #[error("session {0} is not known")]
    Unknown(SessionId),
    /// Its record could not be read back.
    #[error("the record of session {id} cannot be read back: {reason}")]
    Lost {
        /// Which session.
        id: SessionId,
        /// Why.
        reason: String,
    },
}

fn adopt(session: &Session) -> Option<Timestamp> {
    let is_first_reading = session.progress.cursor == 0 && session.progress.mark.is_none();
    (is_first_reading && session.created_at < session.count_from).then_some(session.created_at)
}

impl State {
    /// Takes in one report. Settled sessions that move are read back with `load`.
    ///
    /// On an error nothing of the report may be kept: the caller reloads the state from the store.
    pub fn take_in(
        &mut self,
        report: &Report,
        load: &dyn Fn(SessionNo) -> Result<Session, String>,
    ) -> Result<Receipt, IntakeError> {
        let mut receipt = Receipt::default();
        let ix = report.source;
        for item in &report.items {
            match item {
                Item::Row(row) => self.row(report, row, load, &mut receipt)?,
                Item::Page { id, from, events } => {
                    let no = self.activate(ix, id, load)?;
                    self.page(report, no, id, *from, events)?;
                }
                Item::Beside { id, events } => {
                    let no = self.activate(ix, id, load)?;
                    for event in events {
                        self.beside(report, no, event);
                    }
                }
                Item::Skip { id, from, to } => {
                    let no = self.activate(ix, id, load)?;
                    self.skip(report, no, id, *from, *to)?;
                }
                Item::ReadUpTo { id, mark } => {
                    let no = self.activate(ix, id, load)?;
                    let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it is active now");
                    let progress = &mut active.session.progress;
                    progress.mark = mark.or(progress.mark);
                    progress.settled = active.session.run.ended || progress.gone;
                    self.changes.sessions.insert((ix, no));
                }
                Item::Gone { id, mark } => {
                    let no = self.activate(ix, id, load)?;
                    self.fold(report, no, [Event { at: report.received_at, fact: Fact::Gone }]);
                    let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it is active now");
                    // Some lists show what nobody may read: it is not asked for again until it moves.
                    active.session.progress.mark = mark.or(active.session.progress.mark);
                    active.session.progress.settled = true;
                }
                Item::ActiveListed { began } => self.missing(report, *began, &mut receipt),
                Item::Walked { walk, until } => {
                    self.sources[ix.0 as usize].walks.insert((*walk).to_owned(), *until);
                    self.changes.walks.push((ix, walk, *until));
                }
                Item::Limits(limits) => self.sources[ix.0 as usize].limits = limits.clone(),
            }
        }
        Ok(receipt)
    }

    fn row(
        &mut self,
        report: &Report,
        row: &Row,
        load: &dyn Fn(SessionNo) -> Result<Session, String>,
        receipt: &mut Receipt,
    ) -> Result<(), IntakeError> {
        let ix = report.source;
        let source = &mut self.sources[ix.0 as usize];
        let no = match source.known.entry(row.id.clone()) {
            hash_map::Entry::Vacant(vacant) => {
                let count_from = source.record.count_from;
                let over = row.sighting.status.is_terminal().then_some(row.sighting.since);
                if row.created_at < count_from && over.is_some_and(|at| at < count_from) {
                    // It ended before counting began: nothing of it will ever be shown, unless it moves again.
                    return Ok(());
                }
                let no = SessionNo(self.next_no);
                self.next_no += 1;
                vacant.insert(Known { no, mark: None, settled: false });
                let agent = self.names.foreign(&row.agent);
                let session = Session::new(row.id.clone(), ix, agent, row.created_at, count_from);
                self.track(ix, no, session);
                self.seed_agent(ix, agent, report.received_at);
                let fact = Fact::Discovered { agent, created_at: row.created_at };
                self.fold(report, no, [Event { at: row.created_at, fact }]);
                receipt.discovered += 1;
                no
            }
            hash_map::Entry::Occupied(occupied) => {
                let known = *occupied.get();
                if known.settled && known.mark == Some(row.mark) {
                    return Ok(());
                }
                self.activate(ix, &row.id, load)?
            }
        };
        let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it is tracked now");
        active.listed_at = report.asked_at;
        // A platform that lists it again knows it again: a fact like any other, so that the log says so, too.
        let came_back = active.session.progress.gone;
        if came_back {
            self.fold(report, no, [Event { at: report.received_at, fact: Fact::Returned }]);
        }
        let session = &self.sources[ix.0 as usize].active[&no].session;
        let due =
            came_back || row.always_due || session.progress.mark != Some(row.mark) || row.sighting.status.is_terminal();
        if due {
            receipt.due.push(Due {
                id: row.id.clone(),
                cursor: session.progress.cursor,
                mark: Some(row.mark),
                adopt: adopt(session),
                ended: row.sighting.status.is_terminal(),
                finished_at: row.sighting.finished_at,
                started_at: row.sighting.started_at,
            });
        }
        // Lists only make us look; that an ended session was taken up again is for its own stream and status to say.
        if !session.run.ended {
            let event = Event { at: row.sighting.since, fact: Fact::Sighted(row.sighting) };
            self.beside(report, no, &event);
        }
        Ok(())
    }

    fn track(&mut self, ix: SourceIx, no: SessionNo, session: Session) {
        self.sources[ix.0 as usize].active.insert(no, Active::new(session));
        self.count_phase(ix, self.words.active, 1);
    }

    fn page(
        &mut self,
        report: &Report,
        no: SessionNo,
        id: &SessionId,
        from: u64,
        events: &[Event<SmolStr>],
    ) -> Result<(), IntakeError> {
        let cursor = self.sources[report.source.0 as usize].active[&no].session.progress.cursor;
        if from > cursor {
            return Err(IntakeError::Hole { id: id.clone(), from, cursor });
        }
        let known = usize::try_from(cursor - from).unwrap_or(usize::MAX).min(events.len());
        if known < events.len() {
            let news: Vec<_> = events[known..].iter().map(|event| self.named(event)).collect();
            self.fold(report, no, news);
        }
        self.duplicates += known as u64;
        Ok(())
    }

    fn skip(&mut self, report: &Report, no: SessionNo, id: &SessionId, from: u64, to: u64) -> Result<(), IntakeError> {
        let cursor = self.sources[report.source.0 as usize].active[&no].session.progress.cursor;
        if from > cursor {
            return Err(IntakeError::Hole { id: id.clone(), from, cursor });
        }
        if to > cursor {
            self.fold(report, no, [Event { at: report.received_at, fact: Fact::Lost(to - cursor) }]);
        }
        Ok(())
    }

    /// A fact from beside the stream, if it says anything new.
    fn beside(&mut self, report: &Report, no: SessionNo, event: &Event<SmolStr>) {
        let active = self.sources[report.source.0 as usize].active.get_mut(&no).expect("the caller found it");
        let session = &mut active.session;
        match &event.fact {
            Fact::Sighted(sighting) => {
                let checked_at = session.progress.checked_at;
                // Asked before a newer answer had arrived: it may tell of an earlier moment. (An answer from the future
                // only means that our clock was put back.)
                if report.asked_at < checked_at && checked_at <= report.received_at {
                    return;
                }
                let is_news = sighting.status != session.status
                    || (session.started_at.is_none() && sighting.started_at.is_some())
                    || (sighting.finished_at.is_some() && sighting.finished_at != session.finished_at);
                if !is_news || (session.run.ended && sighting.status.is_terminal()) {
                    return;
                }
                session.progress.checked_at = report.received_at;
            }
            Fact::Ended(_) if session.run.ended => return,
            Fact::Ended(_) => session.progress.checked_at = report.received_at,
            Fact::Children(children) if children.iter().all(|child| session.children.contains(child)) => return,
            _ => {}
        }
        let event = self.named(event);
        let session = &self.sources[report.source.0 as usize].active[&no].session;
        if let Fact::Totals { steps, models } = &event.fact {
            let same = steps.is_none_or(|steps| steps == session.steps)
                && models.iter().all(|row| {
                    session.models.iter().any(|known| {
                        known.model == row.model
                            && known.usage.tokens == row.usage.tokens
                            && (row.usage.cost.is_none() || known.usage.cost == row.usage.cost)
                    })
                });
            if same {
                return;
            }
        }
        self.fold(report, no, [event]);
    }

    /// Active sessions that the list of active sessions did not show.
    fn missing(&mut self, report: &Report, began: Timestamp, receipt: &mut Receipt) {
        for active in self.sources[report.source.0 as usize].active.values() {
            let session = &active.session;
            // A time from the future only means that our clock was put back.
            let listed = active.listed_at >= began && active.listed_at <= report.received_at;
            // A status that we do not know cannot be asked for: that it is not listed means nothing.
            if !listed && !session.progress.settled && session.status != Status::Other {
                receipt.due.push(Due {
                    id: session.id.clone(),
                    cursor: session.progress.cursor,
                    mark: None,
                    adopt: adopt(session),
                    ended: true,
                    finished_at: session.finished_at,
                    started_at: session.started_at,
                });
            }
        }
    }

    /// The number of a session that is being read. One that had settled meanwhile (lists showed it twice while it was
    /// read) is taken out of the store once more.
    fn activate(
        &mut self,
        ix: SourceIx,
        id: &SessionId,
        load: &dyn Fn(SessionNo) -> Result<Session, String>,
    ) -> Result<SessionNo, IntakeError> {
        let Some(known) = self.sources[ix.0 as usize].known.get_mut(id) else {
            return Err(IntakeError::Unknown(id.clone()));
        };
        let no = known.no;
        if known.settled {
            let mut session = load(no).map_err(|reason| IntakeError::Lost { id: id.clone(), reason })?;
            known.settled = false;
            session.progress.settled = false;
            self.count_phase(ix, self.words.settled, 1u64.wrapping_neg());
            self.track(ix, no, session);
            self.changes.sessions.insert((ix, no));
        }
        Ok(no)
    }

    fn named(&mut self, event: &Event<SmolStr>) -> Event<NameId> {
        let names = &mut self.names;
        let fact = event.fact.clone().map(&mut |label, text: SmolStr| match label {
            Label::Error => names.exact(&text),
            Label::Agent | Label::Model | Label::Tool => names.foreign(&text),
        });
        Event { at: event.at, fact }
    }

    /// Folds facts of one session and notes them for the journal.
    fn fold(&mut self, report: &Report, no: SessionNo, events: impl IntoIterator<Item = Event<NameId>>) {
        let ix = report.source;
        let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("the caller found it");
        let session = &mut active.session;
        let entry = self.changes.entry(ix, no, session, report.received_at);
        let mut fold = Fold { families: &mut self.families, words: &self.words, now: report.received_at };
        for event in events {
            fold.apply(session, &event);
            entry.events.push(event);
        }
        self.show(ix, no, report.received_at);
    }
}
