//! The fold: what each fact means for its session and for the totals. Pure; the only place that counts anything.

use super::family::{Families, SeriesKey};
use super::metric::Metric;
use super::names::Names;
use super::session::{LoopState, OpenCall, Run, Session, Turn};
use super::vocabulary::Vocabulary;
use crate::domain::{
    Ending, Event, Fact, ModelUsage, NameId, Sighting, Span, Status, Timestamp, ToolCall, TurnOutcome, Usage, Verdict,
};

/// Tool calls that are waited for at once in one session; the oldest is given up for a further one.
const MAX_OPEN_CALLS: usize = 64;
/// Model answers that wait for the next running total; past it they are attributed to no model.
const MAX_ANSWERED: usize = 64;

/// Folds the facts of one session into the totals.
pub struct Fold<'a> {
    /// Where the numbers go.
    pub families: &'a mut Families,
    /// The numbers of the words that we choose ourselves.
    pub words: &'a Vocabulary,
    /// Our time of the commit that these facts belong to: when new series are born.
    pub now: Timestamp,
}

impl Fold<'_> {
    /// One fact.
    pub fn apply(&mut self, session: &mut Session, event: &Event<NameId>) {
        let at = event.at;
        if event.fact.has_position() {
            session.progress.cursor = session.progress.cursor.saturating_add(1);
            if session.counts(at) {
                self.of_source(session, Metric::EventsIngested, 1);
            }
        }
        match &event.fact {
            Fact::StartRequested => self.start_requested(session, at),
            Fact::Entered(status) => self.entered(session, *status, at),
            Fact::StreamEnded(status) => self.stream_ended(session, *status, at),
            Fact::Message => self.message(session, at),
            Fact::Observed => session.loop_state.asked = Some(at),
            Fact::Step { calls, .. } => self.step(session, calls, at),
            Fact::ToolEnded { call, error } => self.tool_ended(session, call, *error, at),
            Fact::LoopError | Fact::Noted => {}
            Fact::Usage { steps, models } | Fact::Totals { steps, models } => self.usage(session, *steps, models, at),
            Fact::Answered(verdict) => answered(session, *verdict),
            Fact::Unknown => {
                if session.counts(at) {
                    self.of_source(session, Metric::EventsUnknown, 1);
                }
            }
            Fact::Undecoded(reason) => {
                if session.counts(at) {
                    let key = SeriesKey { labels: [*reason, Names::NONE], ..SeriesKey::of_source(session.source) };
                    self.families.add(Metric::EventsUndecoded, key, 1, self.now);
                }
            }
            Fact::Discovered { .. } => self.discovered(session, at),
            Fact::Sighted(sighting) => self.sighted(session, sighting),
            Fact::Ended(ending) => self.ended(session, ending, at),
            Fact::Children(children) => self.children(session, children, at),
            Fact::Lost(count) => {
                session.progress.cursor = session.progress.cursor.saturating_add(*count);
                self.of_source(session, Metric::EventsLost, *count);
            }
            Fact::Gone => self.gone(session, at),
            Fact::Returned => session.progress.gone = false,
        }
        if event.fact.has_position() && at > session.progress.newest {
            session.progress.newest = at;
            let key = SeriesKey::of_source(session.source);
            self.families.raise(Metric::EventWatermark, key, at, self.now);
        }
    }

    fn discovered(&mut self, session: &mut Session, at: Timestamp) {
        if session.counts(at) {
            self.add(session, Metric::SessionsCreated, [Names::NONE; 2], 1);
        }
    }

    fn sighted(&mut self, session: &mut Session, sighting: &Sighting) {
        self.note_started(session, sighting.started_at);
        if session.run.ended {
            if sighting.status.is_terminal() {
                return;
            }
            // Taken up again, though nothing in the stream has said so yet.
            self.reopen(session, sighting.since);
        }
        session.finished_at = sighting.finished_at.or(session.finished_at);
        if session.status == sighting.status {
            return;
        }
        session.status = sighting.status;
        session.since = sighting.since;
        // Streams never tell these two; every other entry is counted when the stream tells it.
        if matches!(sighting.status, Status::Queued | Status::Other) && session.counts(sighting.since) {
            self.count_entry(session, sighting.status);
        }
    }

    fn note_started(&mut self, session: &mut Session, started_at: Option<Timestamp>) {
        let Some(started_at) = started_at else { return };
        if session.started_at.is_some() {
            return;
        }
        session.started_at = Some(started_at);
        if session.counts(started_at) {
            let queued = self.span(session, session.created_at, started_at);
            let key = self.key(session, [Names::NONE; 2]);
            self.families.observe(Metric::SessionQueue, key, queued, self.now);
        }
    }

    fn message(&mut self, session: &mut Session, at: Timestamp) {
        // A message is what takes an ended session up again, also if nothing of that start is ever seen.
        if session.run.stream_end.is_some() || session.run.ended {
            self.reopen(session, at);
        }
        session.loop_state.asked = Some(at);
    }

    fn start_requested(&mut self, session: &mut Session, at: Timestamp) {
        if session.run.ended || session.run.stream_end.is_some() {
            self.reopen(session, at);
        } else if session.turn.is_some() || session.stream_status == Some(Status::Pending) {
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
            if session.counts(at) {
                self.count_entry(session, status);
            }
        }
        if session.status != status {
            session.status = status;
            session.since = at;
        }
        match status {
            Status::Running if session.turn.is_none() => self.open_turn(session, at),
            Status::Idle => self.close_turn(session, TurnOutcome::Completed, at, None, None),
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
        if session.run.ended {
            return;
        }
        let before_it_was_taken_up = session.run.began.is_none()
            && ending.finished_at.zip(session.run.reopened_at).is_some_and(|(finished, reopened)| finished < reopened);
        if before_it_was_taken_up {
            // The end that is counted already: what looked like a new run was none.
            session.run.ended = true;
            session.status = ending.status;
            session.finished_at = ending.finished_at;
            return;
        }
        let finished_at =
            ending.finished_at.or(session.run.stream_end.map(|(_, at)| at)).or(session.finished_at).unwrap_or(at);
        self.end(session, ending.status, finished_at, ending.error, ending.verdict);
    }

    /// Takes up an ended session again. An end that only the stream told is counted as told.
    fn reopen(&mut self, session: &mut Session, at: Timestamp) {
        if let Some((status, ended_at)) = session.run.stream_end {
            self.end(session, status, ended_at, None, None);
        }
        if session.counts(at) {
            self.of_source(session, Metric::SessionsReopened, 1);
        }
        session.restarts += 1;
        session.run = Run { totals_may_restart: true, reopened_at: Some(at), ..Run::default() };
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
        let never_ran = session.run.began.is_none() && session.turn.is_none();
        if never_ran && matches!(outcome, TurnOutcome::Failed | TurnOutcome::TimedOut) {
            // It was to work and could not even begin: a turn of no length.
            self.open_turn(session, finished_at);
            self.finish_turn(session, outcome, finished_at, error);
        } else {
            let turn_end = session.run.stream_end.map_or(finished_at, |(_, at)| at);
            self.close_turn(session, outcome, turn_end, error, verdict);
        }
        if session.counts(finished_at) {
            let word = self.words.status(status);
            self.add(session, Metric::SessionsFinished, [word, Names::NONE], 1);
            self.count_entry(session, status);
            let began = if session.restarts == 0 {
                session.started_at.or(session.run.began)
            } else {
                session.run.began.or(session.started_at)
            };
            let key = self.key(session, [word, Names::NONE]);
            if let Some(began) = began {
                let took = self.span(session, began, finished_at);
                self.families.observe(Metric::SessionDuration, key, took, self.now);
            }
            self.families.raise(Metric::LastFinished, key, finished_at, self.now);
        }
        session.status = status;
        session.stream_status = Some(status);
        session.since = finished_at;
        session.finished_at = Some(finished_at);
        session.error = error;
        session.run.stream_end = None;
        session.run.ended = true;
        session.loop_state = LoopState::default();
    }

    fn gone(&mut self, session: &mut Session, at: Timestamp) {
        if session.progress.gone {
            return;
        }
        if let Some((status, ended_at)) = session.run.stream_end {
            self.end(session, status, ended_at, None, None);
        }
        // How it ended, if it had not, nobody will say any more.
        self.close_turn(session, TurnOutcome::Abandoned, at, None, None);
        session.progress.gone = true;
        self.of_source(session, Metric::SessionsGone, 1);
    }

    fn open_turn(&mut self, session: &mut Session, at: Timestamp) {
        session.turn = Some(Turn { began: at, verdict: None });
        session.turns += 1;
        session.run.began.get_or_insert(at);
        if session.counts(at) {
            self.add(session, Metric::TurnsStarted, [Names::NONE; 2], 1);
        }
    }

    fn close_turn(
        &mut self,
        session: &mut Session,
        outcome: TurnOutcome,
        at: Timestamp,
        error: Option<NameId>,
        verdict: Option<Verdict>,
    ) {
        let Some(turn) = session.turn else { return };
        // Beside the stream only the first turn's verdict is certain: a later one could still show an older answer's.
        if let Some(verdict) = turn.verdict.or(verdict.filter(|_| session.turns == 1)) {
            session.verdict = Some(verdict);
            if session.counts(at) {
                let word = self.words.verdict(verdict);
                self.add(session, Metric::SessionOutcomes, [word, Names::NONE], 1);
            }
        }
        if session.counts(at) {
            let took = self.span(session, turn.began, at);
            let key = self.key(session, [self.words.outcome(outcome), Names::NONE]);
            self.families.observe(Metric::TurnDuration, key, took, self.now);
        }
        self.finish_turn(session, outcome, at, error);
    }

    fn finish_turn(&mut self, session: &mut Session, outcome: TurnOutcome, at: Timestamp, error: Option<NameId>) {
        session.turn = None;
        session.loop_state.calls.clear();
        session.loop_state.asked = None;
        if !session.counts(at) {
            return;
        }
        self.add(session, Metric::TurnsFinished, [self.words.outcome(outcome), Names::NONE], 1);
        if matches!(outcome, TurnOutcome::Failed | TurnOutcome::TimedOut) {
            let error = error.unwrap_or(self.words.other_error);
            self.add(session, Metric::TurnFailures, [error, Names::NONE], 1);
        }
    }

    fn step(&mut self, session: &mut Session, calls: &[ToolCall<NameId>], at: Timestamp) {
        if let Some(asked) = session.loop_state.asked.take() {
            let took = self.span(session, asked, at);
            if session.loop_state.answered.len() < MAX_ANSWERED {
                session.loop_state.answered.push(took);
            }
        }
        for call in calls {
            self.count_call(session, call.tool, at);
            let open = &mut session.loop_state.calls;
            if open.len() >= MAX_OPEN_CALLS {
                open.remove(0);
            }
            open.push(OpenCall { key: call.key, tool: call.tool, began: at });
        }
    }

    fn tool_ended(&mut self, session: &mut Session, call: &ToolCall<NameId>, error: Option<NameId>, at: Timestamp) {
        // The model's next answer is to what this tool showed, unless an observation follows.
        session.loop_state.asked = Some(at);
        // Ids are used again in later steps: the latest call is meant.
        let found = session.loop_state.calls.iter().rposition(|open| open.key == call.key && open.tool == call.tool);
        // A call from before counting began is not counted, so neither is its end.
        let counts = match found {
            Some(place) => {
                let open = session.loop_state.calls.remove(place);
                let counts = session.counts(open.began) && session.counts(at);
                if counts {
                    let took = self.span(session, open.began, at);
                    let key = self.key(session, [call.tool, Names::NONE]);
                    self.families.observe(Metric::ToolCallDuration, key, took, self.now);
                }
                counts
            }
            // The request was lost or never shown; the call was made all the same.
            None => {
                self.count_call(session, call.tool, at);
                session.counts(at)
            }
        };
        if let Some(error) = error
            && counts
        {
            self.add(session, Metric::ToolCallFailures, [call.tool, error], 1);
        }
    }

    fn count_call(&mut self, session: &Session, tool: NameId, at: Timestamp) {
        if session.counts(at) {
            self.add(session, Metric::ToolCalls, [tool, Names::NONE], 1);
        }
    }

    /// Running totals count by what they rose. A fall is a restart of the totals if the session was restarted since
    /// the last report, and else an older or corrected report: then the highest total seen stands, so that the sum
    /// never exceeds what the platform says in the end.
    fn usage(&mut self, session: &mut Session, steps: Option<u64>, models: &[ModelUsage<NameId>], at: Timestamp) {
        let fell = steps.is_some_and(|steps| steps < session.steps)
            || models.iter().any(|row| row.usage.tokens.falls_below(known(session, row.model).tokens));
        if fell {
            if session.counts(at) {
                self.of_source(session, Metric::UsageDecreases, 1);
            }
            if session.run.totals_may_restart {
                session.models.clear();
                session.steps = 0;
            }
        }
        session.run.totals_may_restart = false;

        if let Some(steps) = steps
            && steps > session.steps
        {
            let more = steps - session.steps;
            session.steps = steps;
            if session.counts(at) {
                self.add(session, Metric::Steps, [Names::NONE; 2], more);
            }
        }
        let mut moved = Vec::new();
        for row in models {
            let before = known(session, row.model);
            let more = row.usage.tokens.beyond(before.tokens);
            let cost = row.usage.cost.max(before.cost);
            let dearer = cost.unwrap_or_default().0 - before.cost.unwrap_or_default().0;
            if !more.is_zero() {
                moved.push(row.model);
            }
            remember(session, row.model, Usage { tokens: row.usage.tokens.highest(before.tokens), cost });
            if !session.counts(at) {
                continue;
            }
            let labels = [row.model, Names::NONE];
            for (metric, amount) in [
                (Metric::InputTokens, more.input),
                (Metric::OutputTokens, more.output),
                (Metric::CacheReadTokens, more.cached),
                (Metric::CacheWriteTokens, more.cache_write),
                (Metric::ReasoningTokens, more.reasoning),
            ] {
                if amount > 0 {
                    self.add(session, metric, labels, amount);
                }
            }
            if dearer > 0 {
                self.add(session, Metric::Cost, [row.model, self.words.platform_basis], dearer);
            }
        }
        self.attribute_model_time(session, &moved, at);
    }

    /// Which model answered shows only in whose totals moved next; if several did, nobody can say.
    fn attribute_model_time(&mut self, session: &mut Session, moved: &[NameId], at: Timestamp) {
        if moved.is_empty() {
            return;
        }
        let model = if let [only] = moved { *only } else { self.words.unknown };
        for took in std::mem::take(&mut session.loop_state.answered) {
            if session.counts(at) {
                let key = self.key(session, [model, Names::NONE]);
                self.families.observe(Metric::ModelCallDuration, key, took, self.now);
            }
        }
    }

    fn children(&mut self, session: &mut Session, children: &[crate::domain::SessionId], at: Timestamp) {
        let before = session.children.len();
        for child in children {
            if !session.children.contains(child) {
                session.children.push(child.clone());
            }
        }
        let more = (session.children.len() - before) as u64;
        if more > 0 && session.counts(at) {
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

    fn of_source(&mut self, session: &Session, metric: Metric, amount: u64) {
        self.families.add(metric, SeriesKey::of_source(session.source), amount, self.now);
    }
}

fn answered(session: &mut Session, verdict: Option<Verdict>) {
    if let Some(turn) = &mut session.turn {
        turn.verdict = verdict.or(turn.verdict);
    }
}

fn known(session: &Session, model: NameId) -> Usage {
    session.models.iter().find(|row| row.model == model).map(|row| row.usage).unwrap_or_default()
}

fn remember(session: &mut Session, model: NameId, usage: Usage) {
    match session.models.iter_mut().find(|row| row.model == model) {
        Some(row) => row.usage = usage,
        None => session.models.push(ModelUsage { model, usage }),
    }
}
