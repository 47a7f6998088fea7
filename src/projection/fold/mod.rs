//! The fold: what each fact means for its session and for the totals. Pure; the only place that counts anything.

mod tool;
mod trace;
mod turn;
mod usage;

use super::distribution::Exemplar;
use super::family::{Families, SeriesKey};
use super::metric::Metric;
use super::names::Names;
use super::session::{LoopState, Run, Session};
use super::trace::Happening;
use super::vocabulary::Vocabulary;
use crate::domain::{Ending, Event, Fact, NameId, SessionId, Sighting, Span, Status, Timestamp, TurnOutcome, Verdict};
pub use trace::Tracer;
use trace::TurnEnd;

/// Folds the facts of one session into the totals.
pub struct Fold<'a> {
    /// Where the numbers go.
    pub families: &'a mut Families,
    /// The numbers of the words that we choose ourselves.
    pub words: &'a Vocabulary,
    /// Our time of the commit that these facts belong to: when new series are born.
    pub now: Timestamp,
    /// The fact at hand is a copy of one that is counted elsewhere.
    is_copy: bool,
    /// The position of the fact at hand; of one beside the stream, that of the next event.
    position: u64,
    /// It is beside the stream.
    is_beside: bool,
    /// Turns that began with it.
    turns_begun: u32,
    /// Where spans go, if they are wanted.
    tracer: Option<Tracer<'a>>,
}

impl<'a> Fold<'a> {
    /// Folds into these families.
    pub fn new(families: &'a mut Families, words: &'a Vocabulary, now: Timestamp) -> Self {
        Self { families, words, now, is_copy: false, position: 0, is_beside: false, turns_begun: 0, tracer: None }
    }

    /// Tells spans, too.
    pub fn traced(self, tracer: Option<Tracer<'a>>) -> Self {
        Self { tracer, ..self }
    }

    /// One fact.
    pub fn apply(&mut self, session: &mut Session, event: &Event<NameId>) {
        let at = event.at;
        let positions = event.fact.positions();
        let before = session.progress.cursor;
        (self.position, self.is_beside, self.turns_begun) = (before, positions == 0, 0);
        session.progress.cursor = before.saturating_add(positions);
        self.is_copy = positions > 0 && session.is_copy(at);
        let is_event = positions > 0 && !matches!(event.fact, Fact::Passed(_));
        if is_event && self.counts(session, at) {
            self.of_source(session, Metric::EventsIngested, 1);
        }
        if !self.is_copy {
            self.fact(session, &event.fact, at);
        }
        if is_event && at > session.progress.newest {
            session.progress.newest = at;
            let key = SeriesKey::of_source(session.source);
            // A time from the future would stand there until it has come, and hide everything up to then.
            self.families.raise(Metric::EventWatermark, key, at.min(self.now), self.now);
        }
    }

    fn fact(&mut self, session: &mut Session, fact: &Fact<NameId>, at: Timestamp) {
        match fact {
            Fact::StartRequested => self.start_requested(session, at),
            Fact::Entered(status) => self.entered(session, *status, at),
            Fact::Became(status) => self.became(session, *status, at),
            Fact::StreamEnded(status) => self.stream_ended(session, *status, at),
            Fact::Message => self.message(session, at),
            Fact::Observed => session.loop_state.asked = Some(at),
            Fact::TurnStarted(turn) => self.open_turn(session, *turn, at),
            Fact::TurnEnded { turn, outcome, error, took } => {
                self.turn_ended(session, *turn, *outcome, *error, *took, at);
            }
            Fact::TurnAbandoned(turn) => self.turn_abandoned(session, *turn, at),
            Fact::Step { calls, .. } => self.step(session, calls, at),
            Fact::ToolStarted(call) => self.tool_started(session, call, at),
            Fact::ToolEnded { call, error, took } => self.tool_ended(session, call, *error, *took, at),
            Fact::Noted | Fact::Passed(_) => {}
            Fact::LoopError => self.happened(session, at, Happening::RecoverableError),
            Fact::ActStarted(span) => self.act_started(session, *span, at),
            Fact::ActEnded => self.act_ended(session, at),
            Fact::ChildOf(parent) => session.parent = Some(parent.clone()),
            Fact::Under(turn) => {
                if let Some(begun) = session.open_turns.last_mut() {
                    begun.id.under = Some(*turn);
                }
            }
            Fact::Usage { steps, models } | Fact::Totals { steps, models } => self.usage(session, *steps, models, at),
            Fact::ReasoningStarted { model, span } => self.reasoning_started(session, *model, *span, at),
            Fact::ModelNamed(model) => session.loop_state.reasoning.model = Some(*model),
            Fact::ModelCalled(call) => self.model_called(session, call, at),
            Fact::ReasoningEnded(call) => self.reasoning_ended(session, call, at),
            Fact::Checked(tokens) => self.checked(session, *tokens),
            Fact::Answered(verdict) => turn::answered(session, *verdict),
            Fact::Unknown => {
                if self.counts(session, at) {
                    self.of_source(session, Metric::EventsUnknown, 1);
                }
            }
            Fact::Undecoded(reason) => {
                if self.counts(session, at) {
                    let key = SeriesKey { labels: [*reason, Names::NONE], ..SeriesKey::of_source(session.source) };
                    self.families.add(Metric::EventsUndecoded, key, 1, self.now);
                }
            }
            Fact::Discovered { born, inherited, .. } => self.discovered(session, *born, *inherited, at),
            Fact::Sighted(sighting) => self.sighted(session, sighting),
            Fact::Ended(ending) => self.ended(session, ending, at),
            Fact::Children(children) => self.children(session, children, at),
            Fact::Lost(count) => {
                session.progress.cursor = session.progress.cursor.saturating_add(*count);
                session.lost = session.lost.saturating_add(*count);
                if session.mismatch > 0 {
                    // Our sum says nothing any more.
                    self.checked(session, session.tokens_used());
                }
                if self.counts(session, at) && !session.is_copy(at) {
                    self.of_source(session, Metric::EventsLost, *count);
                }
            }
            Fact::Gone => self.gone(session),
            Fact::Returned => session.progress.gone = false,
        }
    }

    fn counts(&self, session: &Session, at: Timestamp) -> bool {
        !self.is_copy && session.counts(at)
    }

    fn discovered(&mut self, session: &mut Session, born: Option<Status>, inherited: u64, at: Timestamp) {
        session.inherited = inherited;
        if self.counts(session, at) {
            self.add(session, Metric::SessionsCreated, [Names::NONE; 2], 1);
        }
        if let Some(status) = born {
            session.status = status;
            if self.counts(session, at) {
                self.count_entry(session, status);
            }
        }
    }

    /// A status that says nothing of turns.
    fn became(&mut self, session: &mut Session, status: Status, at: Timestamp) {
        if self.counts(session, at) {
            self.count_entry(session, status);
        }
        if session.stream_status != Some(status) {
            session.stream_status = Some(status);
            self.happened(session, at, Happening::Entered(status));
        }
        if session.status != status {
            session.status = status;
            session.since = at;
        }
    }

    fn sighted(&mut self, session: &mut Session, sighting: &Sighting) {
        self.note_started(session, sighting.started_at);
        if session.run.ended {
            if sighting.status.is_terminal() {
                return;
            }
            // Taken up again, though nothing in the stream has said so yet. When that was nobody says: the time of the
            // sighting may be one of our own clock. But the run before is over, and that end can come once more.
            let no_end_before = session.finished_at.map(|finished| finished.plus(Span::from_micros(1)));
            self.reopen(session, sighting.since);
            session.run.no_end_before = no_end_before;
        }
        session.finished_at = sighting.finished_at.or(session.finished_at);
        if session.status == sighting.status {
            return;
        }
        session.status = sighting.status;
        session.since = sighting.since;
        // Streams never tell these two; every other entry is counted when the stream tells it.
        if matches!(sighting.status, Status::Queued | Status::Other) && self.counts(session, sighting.since) {
            self.count_entry(session, sighting.status);
        }
    }

    fn note_started(&mut self, session: &mut Session, started_at: Option<Timestamp>) {
        let Some(started_at) = started_at else { return };
        if session.started_at.is_some() {
            return;
        }
        session.started_at = Some(started_at);
        if self.counts(session, started_at) {
            let queued = self.span(session, session.created_at, started_at);
            self.observe(session, Metric::SessionQueue, [Names::NONE; 2], queued.micros(), None);
        }
    }

    fn message(&mut self, session: &mut Session, at: Timestamp) {
        // A message is what takes an ended session up again, also if nothing of that start is ever seen.
        if session.run.stream_end.is_some() || session.run.ended {
            self.reopen(session, at);
        }
        session.loop_state.asked = Some(at);
        self.happened(session, at, Happening::Message);
    }

    fn start_requested(&mut self, session: &mut Session, at: Timestamp) {
        if session.run.ended || session.run.stream_end.is_some() {
            self.reopen(session, at);
        } else if session.turn().is_some() || session.stream_status == Some(Status::Pending) {
            // A start is only asked of a session that is neither working nor starting, so that had ended, and the one
            // end that a stream does not tell is a failure.
            self.end(session, Status::Failed, at, Some(self.words.other_error), None);
            self.reopen(session, at);
        }
    }

    fn entered(&mut self, session: &mut Session, status: Status, at: Timestamp) {
        if session.run.ended || session.run.stream_end.is_some() {
            self.reopen(session, at);
        }
        if session.stream_status != Some(status) {
            session.stream_status = Some(status);
            if self.counts(session, at) {
                self.count_entry(session, status);
            }
            self.happened(session, at, Happening::Entered(status));
        }
        if session.status != status {
            session.status = status;
            session.since = at;
        }
        match status {
            Status::Running if session.turn().is_none() => self.open_turn(session, None, at),
            Status::Idle => drop(self.close_turn(session, TurnOutcome::Completed, at, None, None)),
            _ => {}
        }
    }

    fn stream_ended(&mut self, session: &mut Session, status: Status, at: Timestamp) {
        if session.run.ended {
            return;
        }
        session.run.stream_end = Some((status, at));
        session.stream_status = Some(status);
    }

    fn ended(&mut self, session: &mut Session, ending: &Ending<NameId>, at: Timestamp) {
        self.note_started(session, ending.started_at);
        if session.knows_end(ending.finished_at) {
            return;
        }
        let ended_before = session.run.no_end_before.zip(ending.finished_at).is_some_and(|(no, end)| end < no);
        if session.run.began.is_none() && ended_before {
            // The end that is counted already: what looked like a new run was none, or has not come that far.
            session.run.ended = true;
            session.status = ending.status;
            session.finished_at = ending.finished_at;
            return;
        }
        // Rather any time of the platform's than our own, if it can be the time of this end.
        let is_usable = |newest: &Timestamp| *newest > Timestamp::default() && session.counts(*newest);
        let last_sign = Some(session.progress.newest).filter(is_usable);
        let last_sign = last_sign.map(|sign| sign.max(session.run.no_end_before.unwrap_or_default()));
        let told = ending.finished_at.or(session.run.stream_end.map(|(_, at)| at)).or(session.finished_at);
        let finished_at = told.or(last_sign).unwrap_or(at);
        self.end(session, ending.status, finished_at, ending.error, ending.verdict);
    }

    /// Takes up an ended session again. An end that only the stream told is counted as told.
    fn reopen(&mut self, session: &mut Session, at: Timestamp) {
        if let Some((status, ended_at)) = session.run.stream_end {
            self.end(session, status, ended_at, None, None);
        }
        // What was taken back is the same run still.
        if !session.is_taken_back() {
            if self.counts(session, at) {
                self.of_source(session, Metric::SessionsReopened, 1);
            }
            session.restarts += 1;
        }
        session.run = Run { totals_may_restart: true, no_end_before: Some(at), ..Run::default() };
        session.finished_at = None;
        session.error = None;
        session.status = Status::Pending;
        session.stream_status = None;
        session.since = at;
    }

    /// Counts an end, once.
    fn end(
        &mut self,
        session: &mut Session,
        status: Status,
        finished_at: Timestamp,
        error: Option<NameId>,
        verdict: Option<Verdict>,
    ) {
        let error = error.or(match status {
            Status::Failed => Some(self.words.other_error),
            Status::TimedOut => Some(self.words.timeout),
            _ => None,
        });
        let outcome = TurnOutcome::of_ending(status);
        let never_ran = session.run.began.is_none() && session.turn().is_none();
        let seen = if never_ran && matches!(outcome, TurnOutcome::Failed | TurnOutcome::TimedOut) {
            // It was to work and could not even begin: a turn of no length.
            self.open_turn(session, None, finished_at);
            let turn = session.open_turns.pop().expect("it was just begun");
            let seen = self.turn_over(session, turn, TurnEnd { outcome, error, verdict: None, at: finished_at });
            self.finish_turn(session, outcome, finished_at, error);
            seen
        } else {
            let turn_end = session.run.stream_end.map_or(finished_at, |(_, at)| at);
            self.close_turn(session, outcome, turn_end, error, verdict)
        };
        if self.counts(session, finished_at) {
            let word = self.words.status(status);
            self.add(session, Metric::SessionsFinished, [word, Names::NONE], 1);
            self.count_entry(session, status);
            // When it was started is told of the first run only.
            let began = session.started_at.filter(|_| session.restarts == 0).or(session.run.began);
            let labels = [word, Names::NONE];
            if let Some(began) = began {
                let took = self.span(session, began, finished_at);
                self.observe(session, Metric::SessionDuration, labels, took.micros(), seen);
            }
            let key = self.key(session, labels);
            self.families.raise(Metric::LastFinished, key, finished_at.min(self.now), self.now);
        }
        session.status = status;
        session.stream_status = Some(status);
        session.since = finished_at;
        session.finished_at = Some(finished_at);
        session.error = error;
        session.run.stream_end = None;
        session.run.ended = true;
        self.forget_answers(session);
        session.loop_state = LoopState::default();
    }

    fn gone(&mut self, session: &mut Session) {
        if session.progress.gone {
            return;
        }
        if let Some((status, ended_at)) = session.run.stream_end {
            self.end(session, status, ended_at, None, None);
        }
        // How it ended, if it had not, nobody will say any more; that it was deleted may be noticed much later.
        while let Some(turn) = session.turn() {
            let over_at = session.progress.newest.max(turn.began);
            self.close_turn(session, TurnOutcome::Abandoned, over_at, None, None);
        }
        self.forget_answers(session);
        if session.mismatch > 0 {
            self.checked(session, session.tokens_used());
        }
        session.progress.gone = true;
        self.of_source(session, Metric::SessionsGone, 1);
    }

    fn children(&mut self, session: &mut Session, children: &[SessionId], at: Timestamp) {
        let before = session.children.len();
        for child in children {
            if !session.children.contains(child) {
                session.children.push(child.clone());
            }
        }
        let more = (session.children.len() - before) as u64;
        if more > 0 && self.counts(session, at) {
            self.add(session, Metric::Subagents, [Names::NONE; 2], more);
        }
    }

    fn count_entry(&mut self, session: &Session, status: Status) {
        self.add(session, Metric::StatusChanges, [self.words.status(status), Names::NONE], 1);
    }

    fn span(&mut self, session: &Session, from: Timestamp, to: Timestamp) -> Span {
        to.since(from).unwrap_or_else(|| {
            self.of_source(session, Metric::NegativeDurations, 1);
            Span::ZERO
        })
    }

    fn key(&self, session: &Session, labels: [NameId; 2]) -> SeriesKey {
        SeriesKey { source: session.source, agent: session.agent, labels }
    }

    fn add(&mut self, session: &Session, metric: Metric, labels: [NameId; 2], amount: u64) {
        self.families.add(metric, self.key(session, labels), amount, self.now);
    }

    /// One observation of a histogram, in the whole numbers that it is kept in, and the span that it was made in.
    fn observe(&mut self, session: &Session, metric: Metric, labels: [NameId; 2], value: u64, seen: Option<Exemplar>) {
        self.families.observe(metric, self.key(session, labels), value, self.now, seen);
    }

    fn of_source(&mut self, session: &Session, metric: Metric, amount: u64) {
        self.families.add(metric, SeriesKey::of_source(session.source), amount, self.now);
    }
}
