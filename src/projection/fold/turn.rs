//! Turns: where they begin and end, and how long they took.

use super::Fold;
use crate::domain::{NameId, Span, Timestamp, TurnKey, TurnOutcome, Verdict};
use crate::projection::metric::Metric;
use crate::projection::names::Names;
use crate::projection::session::{LoopState, Session, Turn};

/// Turns of one session that are open at once; the oldest is given up for a further one.
const MAX_OPEN_TURNS: usize = 16;

impl Fold<'_> {
    pub(super) fn open_turn(&mut self, session: &mut Session, key: Option<TurnKey>, at: Timestamp) {
        if session.open_turns.len() >= MAX_OPEN_TURNS {
            let oldest = session.open_turns.remove(0);
            if !oldest.abandoned {
                self.count_end(session, TurnOutcome::Abandoned, at, None);
            }
        }
        // What the turn before left open will not end in this one.
        session.loop_state.calls.clear();
        session.open_turns.push(Turn { key, began: at, verdict: None, abandoned: false });
        session.turns += 1;
        session.run.began.get_or_insert(at);
        self.count_start(session, at);
    }

    /// The end of the turn that the session is in, if it is in one.
    pub(super) fn close_turn(
        &mut self,
        session: &mut Session,
        outcome: TurnOutcome,
        at: Timestamp,
        error: Option<NameId>,
        verdict: Option<Verdict>,
    ) {
        let Some(place) = session.open_turns.iter().rposition(|turn| !turn.abandoned) else { return };
        let turn = session.open_turns.remove(place);
        // Beside the stream only the first turn's verdict is certain: a later one could still show an older answer's.
        if let Some(verdict) = turn.verdict.or(verdict.filter(|_| session.turns == 1)) {
            session.verdict = Some(verdict);
            if self.counts(session, at) {
                let word = self.words.verdict(verdict);
                self.add(session, Metric::SessionOutcomes, [word, Names::NONE], 1);
            }
        }
        if self.counts(session, at) {
            let took = self.span(session, turn.began, at);
            self.observe_turn(session, outcome, took);
        }
        self.finish_turn(session, outcome, at, error);
    }

    /// The end of a turn that the stream names. One that nobody saw begin was begun all the same; so was one that was
    /// given up meanwhile.
    pub(super) fn turn_ended(
        &mut self,
        session: &mut Session,
        key: Option<TurnKey>,
        outcome: TurnOutcome,
        error: Option<NameId>,
        took: Option<Span>,
        at: Timestamp,
    ) {
        let named = key.and_then(|key| session.open_turns.iter().rposition(|turn| turn.key == Some(key)));
        // Older servers call a turn's end by another id than its beginning.
        let place = named.or_else(|| session.open_turns.iter().rposition(|turn| !turn.abandoned));
        let turn = place.map(|place| session.open_turns.remove(place));
        if turn.is_none_or(|turn| turn.abandoned) {
            session.turns += u32::from(turn.is_none());
            self.count_start(session, at);
        }
        if self.counts(session, at)
            && let Some(took) = took.or_else(|| turn.map(|turn| self.span(session, turn.began, at)))
        {
            self.observe_turn(session, outcome, took);
        }
        let has_failed = matches!(outcome, TurnOutcome::Failed | TurnOutcome::TimedOut);
        session.error = has_failed.then(|| error.unwrap_or(self.words.other_error));
        self.count_end(session, outcome, at, error);
    }

    /// Nobody waits any longer for the end of a turn; should it come, the turn counts as begun again.
    pub(super) fn turn_abandoned(&mut self, session: &mut Session, key: Option<TurnKey>, at: Timestamp) {
        let found = session.open_turns.iter_mut().find(|turn| turn.key == key && !turn.abandoned);
        let Some(turn) = found else { return };
        turn.abandoned = true;
        let began = turn.began;
        // One from before counting began is given up without a count, however late that is.
        if self.counts(session, began) {
            self.count_end(session, TurnOutcome::Abandoned, at, None);
        }
    }

    pub(super) fn finish_turn(
        &mut self,
        session: &mut Session,
        outcome: TurnOutcome,
        at: Timestamp,
        error: Option<NameId>,
    ) {
        let LoopState { calls, asked, .. } = &mut session.loop_state;
        calls.clear();
        *asked = None;
        self.count_end(session, outcome, at, error);
    }

    fn count_start(&mut self, session: &Session, at: Timestamp) {
        if self.counts(session, at) {
            self.add(session, Metric::TurnsStarted, [Names::NONE; 2], 1);
        }
    }

    fn count_end(&mut self, session: &Session, outcome: TurnOutcome, at: Timestamp, error: Option<NameId>) {
        if !self.counts(session, at) {
            return;
        }
        self.add(session, Metric::TurnsFinished, [self.words.outcome(outcome), Names::NONE], 1);
        if matches!(outcome, TurnOutcome::Failed | TurnOutcome::TimedOut) {
            let error = error.unwrap_or(self.words.other_error);
            self.add(session, Metric::TurnFailures, [error, Names::NONE], 1);
        }
    }

    fn observe_turn(&mut self, session: &Session, outcome: TurnOutcome, took: Span) {
        self.observe(session, Metric::TurnDuration, [self.words.outcome(outcome), Names::NONE], took.micros());
    }
}

pub(super) fn answered(session: &mut Session, verdict: Option<Verdict>) {
    if let Some(turn) = session.open_turns.iter_mut().rfind(|turn| !turn.abandoned) {
        turn.verdict = verdict.or(turn.verdict);
    }
}
