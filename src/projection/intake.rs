//! How a report becomes facts: what is known already is dropped, the rest is folded and noted for the journal.

use std::collections::hash_map;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use thiserror::Error;

use super::attention::{listed_due, needs_reading};
use super::fold::{Fold, Tracer};
use super::session::Session;
use super::standing::Standing;
use super::state::{Active, Known, Source, State};
use super::trace::ParentTurn;
use crate::domain::{
    DISCOVERED, Event, Fact, Item, Label, Listing, NameId, Receipt, Report, Row, SessionId, SessionNo, SourceIx,
    SpanNames, Timestamp, Watch,
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

fn listing_of(row: &Row) -> Listing {
    Listing { mark: row.mark, watch: row.watch, tokens: row.tokens, sighting: row.sighting }
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
                Item::Page { id, from, events, bookmark } => {
                    let no = self.activate(ix, id, load)?;
                    self.page(report, no, id, *from, events)?;
                    if bookmark.is_some() {
                        let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it is active now");
                        active.session.bookmark.clone_from(bookmark);
                        self.changes.sessions.insert((ix, no));
                    }
                }
                Item::Beside { id, events } => {
                    let no = self.activate(ix, id, load)?;
                    for event in events {
                        self.beside(report, no, event);
                    }
                    if events.iter().any(|event| matches!(event.fact, Fact::ChildOf(_))) {
                        receipt.unread_parent = self.unread_parent(ix, no);
                    }
                }
                Item::Skip { id, from, to, before } => {
                    let no = self.activate(ix, id, load)?;
                    self.skip(report, no, id, *from..*to, *before)?;
                }
                Item::ReadUpTo { id, mark, rests, tokens } => {
                    let no = self.activate(ix, id, load)?;
                    self.read_up_to(report, no, *mark, *rests, *tokens);
                }
                Item::Gone { id, mark } => {
                    let no = self.activate(ix, id, load)?;
                    self.fold(report, no, [Event { at: report.received_at, fact: Fact::Gone }]);
                    let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it is active now");
                    // Some lists show what nobody may read: it is not asked for again until it moves.
                    active.session.progress.mark = mark.or(active.session.progress.mark);
                    active.session.progress.settled = true;
                }
                Item::RoundListed { began, shows_all } => self.unseen(report, *began, *shows_all, &mut receipt),
                Item::AllListed { seen } => self.unlisted(ix, seen, load, &mut receipt)?,
                Item::Walked { walk, until } => {
                    if *walk == DISCOVERED {
                        self.abandon_turns(report);
                    }
                    self.sources[ix.0 as usize].walks.insert((*walk).to_owned(), *until);
                    self.changes.walks.push((ix, walk, *until));
                }
                Item::Limits(limits) => self.sources[ix.0 as usize].limits = limits.clone(),
            }
        }
        Ok(receipt)
    }

    /// The other source of this process, if there is one, that has these sessions already: both watch one account.
    pub fn counted_twice(&self, report: &Report) -> Option<String> {
        let this = &self.sources[report.source.0 as usize];
        let mut others = self.sources.iter().filter(|other| {
            other.capabilities.is_some()
                && other.record.name != this.record.name
                && other.record.platform == this.record.platform
        });
        let is_news = |item: &Item, other: &Source| match item {
            Item::Row(row) => other.known.contains_key(&row.id) && !this.known.contains_key(&row.id),
            _ => false,
        };
        let twin = others.find(|other| report.items.iter().any(|item| is_news(item, other)))?;
        Some(twin.record.name.clone())
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
                let (born, inherited) = (row.born, row.inherited);
                let fact = Fact::Discovered { agent, created_at: row.created_at, born, inherited };
                self.fold(report, no, [Event { at: row.created_at, fact }]);
                self.note_kin(report, row, no, load)?;
                receipt.discovered += 1;
                if row.watch == Watch::AtRest && row.sighting.since < count_from {
                    // All that it ever did was before counting began. If it moves again it is read from its beginning.
                    let event = Event { at: row.sighting.since, fact: Fact::Sighted(row.sighting) };
                    self.beside(report, no, &event);
                    let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it was just tracked");
                    active.session.listing = Some(listing_of(row));
                    active.session.progress.mark = Some(row.mark);
                    active.session.progress.settled = true;
                    return Ok(());
                }
                no
            }
            hash_map::Entry::Occupied(occupied) => {
                let known = *occupied.get();
                if known.settled && known.mark == Some(row.mark) {
                    self.note_orphan(ix, row);
                    return Ok(());
                }
                let no = self.activate(ix, &row.id, load)?;
                self.note_parent(report, row, no, load)?;
                no
            }
        };
        let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it is tracked now");
        active.listed_at = report.asked_at;
        // A platform that lists it again knows it again: a fact like any other, so that the log says so, too.
        let came_back = active.session.progress.gone;
        if came_back {
            self.fold(report, no, [Event { at: report.received_at, fact: Fact::Returned }]);
        }
        let listing = listing_of(row);
        let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it is tracked now");
        if active.session.listing != Some(listing) {
            let has_moved = active.session.listing.replace(listing).is_some();
            active.moved_at = if has_moved { report.received_at } else { active.moved_at };
            self.changes.sessions.insert((ix, no));
        }
        let is_over = row.sighting.status.is_terminal();
        let is_due = came_back || is_over || needs_reading(active, report.received_at);
        let session = &mut active.session;
        if is_due {
            session.progress.settled = false;
            receipt.due.push(listed_due(session));
        }
        // Lists only make us look; that an ended session was taken up again is for its own stream and status to say.
        if !session.run.ended {
            let event = Event { at: row.sighting.since, fact: Fact::Sighted(row.sighting) };
            self.beside(report, no, &event);
        }
        if !is_due {
            self.settle_at_rest(ix, no);
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
        let mut position = from;
        let mut news = Vec::new();
        for event in events {
            let begins = position;
            position = position.saturating_add(event.fact.positions());
            if begins >= cursor {
                news.push(self.named(event));
            } else if position > cursor {
                // Only a stretch that holds nothing covers more than one position.
                news.push(Event { at: event.at, fact: Fact::Passed(position - cursor) });
            } else if !matches!(event.fact, Fact::Passed(_)) {
                self.duplicates += 1;
            }
        }
        let is_of_status = |fact: &Fact<NameId>| {
            matches!(
                fact,
                Fact::Became(_) | Fact::Entered(_) | Fact::StartRequested | Fact::Message | Fact::StreamEnded(_)
            )
        };
        if news.iter().any(|event| is_of_status(&event.fact)) {
            // The newest word on its status: a list that was asked for before is out of date.
            let active = self.sources[report.source.0 as usize].active.get_mut(&no).expect("it is active now");
            active.session.progress.checked_at = report.received_at;
        }
        if !news.is_empty() {
            self.fold(report, no, news);
        }
        Ok(())
    }

    fn skip(
        &mut self,
        report: &Report,
        no: SessionNo,
        id: &SessionId,
        lost: std::ops::Range<u64>,
        before: Option<Timestamp>,
    ) -> Result<(), IntakeError> {
        let session = &self.sources[report.source.0 as usize].active[&no].session;
        let (cursor, created_at) = (session.progress.cursor, session.created_at);
        // What a session that is older than counting has lost by its first reading is its past; so is what one that was put
        // away for good had shown before.
        let is_past = before.is_some() && cursor == 0 && created_at < session.count_from;
        if lost.start > cursor {
            return Err(IntakeError::Hole { id: id.clone(), from: lost.start, cursor });
        }
        if lost.end > cursor {
            let at = if is_past { created_at } else { before.unwrap_or(report.received_at) };
            self.fold(report, no, [Event { at, fact: Fact::Lost(lost.end - cursor) }]);
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
                // Asked before a newer answer had arrived, which this report is not itself: it may tell of an earlier
                // moment. (An answer from the future only means that our clock was put back.)
                if report.asked_at < checked_at && checked_at < report.received_at {
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
            Fact::Ended(ending) if session.knows_end(ending.finished_at) => return,
            Fact::Ended(_) => session.progress.checked_at = report.received_at,
            Fact::ChildOf(_) if session.parent.is_some() => return,
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

    /// The number of a session that is being read. One that had settled meanwhile (lists showed it twice while it was
    /// read) is taken out of the store once more.
    pub(super) fn activate(
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
            // Put away, it kept its place in the gauges.
            let shown = Standing::of(&session).map(|standing| self.place(ix, standing, session.since));
            self.track(ix, no, session);
            self.sources[ix.0 as usize].active.get_mut(&no).expect("it was just tracked").shown = shown;
            self.changes.sessions.insert((ix, no));
        }
        self.look_at_parent(ix, no, load)?;
        Ok(no)
    }

    fn named(&mut self, event: &Event<SmolStr>) -> Event<NameId> {
        let names = &mut self.names;
        let fact = event.fact.clone().map(&mut |label, text: SmolStr| match label {
            Label::Error => names.exact(&text),
            Label::Agent | Label::Model | Label::Tool | Label::Provider => names.foreign(&text),
        });
        Event { at: event.at, fact }
    }

    /// Folds facts of one session and notes them for the journal.
    pub(super) fn fold(&mut self, report: &Report, no: SessionNo, events: impl IntoIterator<Item = Event<NameId>>) {
        let ix = report.source;
        let source = &mut self.sources[ix.0 as usize];
        let Active { session, parent_turns, .. } = source.active.get_mut(&no).expect("the caller found it");
        let mut spans = std::mem::take(&mut self.changes.spans);
        let tracer = source.traced.then(|| Tracer {
            names: SpanNames::new(&source.record.platform, &source.record.account, &session.id),
            parent_turns,
            spans: &mut spans,
        });
        // Where the platform names turns, each has a trace of its own.
        let joins_parent = source.capabilities.is_none_or(|it| it.turn_names.is_none());
        let entry = self.changes.entry(ix, no, session, report.received_at);
        let mut fold = Fold::new(&mut self.families, &self.words, report.received_at).traced(tracer);
        for event in events {
            let turns = session.turns;
            fold.apply(session, &event);
            entry.events.push(event);
            let begun =
                session.open_turns.last().filter(|turn| session.turns > turns && turn.id.number == session.turns);
            let under = begun.filter(|_| joins_parent).and_then(|turn| ParentTurn::at(parent_turns, turn.began));
            if let Some(under) = under {
                // A fact like any other, as it depends on how far the parent was read by now.
                let under = Event { at: report.received_at, fact: Fact::Under(under) };
                fold.apply(session, &under);
                entry.events.push(under);
            }
        }
        self.changes.spans = spans;
        self.show(ix, no, report.received_at);
    }
}
