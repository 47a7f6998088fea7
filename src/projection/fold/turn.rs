//! Turns: where they begin and end, and how long they took.

use super::Fold;
use super::trace::TurnEnd;
use crate::domain::{NameId, Span, Timestamp, TurnKey, TurnOutcome, Verdict};
use crate::projection::distribution::Exemplar;
use crate::projection::metric::Metric;
use crate::projection::names::Names;
use crate::projection::session::{Session, Turn};
use crate::projection::trace::{Tally, TurnRef};

/// Turns of one session that are open at once; the oldest is given up for a further one.
const MAX_OPEN_TURNS: usize = 16;

impl Fold<'_> {
    pub(super) fn open_turn(&mut self, session: &mut Session, key: Option<TurnKey>, at: Timestamp) {
        if session.open_turns.len() >= MAX_OPEN_TURNS {
            let oldest = session.open_turns.remove(0);
            if oldest.abandoned.is_none() {
                self.turn_over(session, oldest, TurnEnd::abandoned(at));
                self.count_end(session, TurnOutcome::Abandoned, at, None);
            }
        }
        // What the turn before left open will not end in this one.
        self.drop_calls(session, at);
        session.turns += 1;
        let turn = self.new_turn(session, key, at);
        session.open_turns.push(turn);
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
    ) -> Option<Exemplar> {
        let place = session.open_turns.iter().rposition(|turn| turn.abandoned.is_none())?;
        let turn = session.open_turns.remove(place);
        // Beside the stream only the first turn's verdict is certain: a later one could still show an older answer's.
        let verdict = turn.verdict.or(verdict.filter(|_| session.turns == 1));
        if let Some(verdict) = verdict {
            session.verdict = Some(verdict);
            if self.counts(session, at) {
                let word = self.words.verdict(verdict);
                self.add(session, Metric::SessionOutcomes, [word, Names::NONE], 1);
            }
        }
        let began = turn.began;
        let seen = self.turn_over(session, turn, TurnEnd { outcome, error, verdict, at });
        // How long one took that nobody saw end is not known.
        if outcome != TurnOutcome::Abandoned && self.counts(session, at) {
            let took = self.span(session, began, at);
            self.observe_turn(session, outcome, took, seen);
        }
        self.finish_turn(session, outcome, at, error);
        seen
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
        let named = key.and_then(|key| session.open_turns.iter().rposition(|turn| turn.id.key == Some(key)));
        // Older servers call a turn's end by another id than its beginning.
        let place = named.or_else(|| session.open_turns.iter().rposition(|turn| turn.abandoned.is_none()));
        let turn = place.map(|place| session.open_turns.remove(place));
        if turn.as_ref().is_none_or(|turn| turn.abandoned.is_some()) {
            session.turns += u32::from(turn.is_none());
            self.count_start(session, at);
        }
        let has_failed = matches!(outcome, TurnOutcome::Failed | TurnOutcome::TimedOut);
        session.error = has_failed.then(|| error.unwrap_or(self.words.other_error));
        let began = turn.as_ref().map(|turn| turn.began);
        let turn = turn.unwrap_or_else(|| self.new_turn(session, key, at.minus(took.unwrap_or(Span::ZERO))));
        let end = TurnEnd { outcome, error: session.error, verdict: None, at };
        let seen = self.turn_over(session, turn, end);
        if self.counts(session, at)
            && let Some(took) = took.or_else(|| began.map(|began| self.span(session, began, at)))
        {
            self.observe_turn(session, outcome, took, seen);
        }
        self.count_end(session, outcome, at, error);
    }

    /// Nobody waits any longer for the end of a turn; should it come, the turn counts as begun again.
    pub(super) fn turn_abandoned(&mut self, session: &mut Session, key: Option<TurnKey>, at: Timestamp) {
        let found = session.open_turns.iter().position(|turn| turn.id.key == key && turn.abandoned.is_none());
        let Some(place) = found else { return };
        let began = session.open_turns[place].began;
        // Its work ended with its last sign of life; that nobody waits for more is known later.
        let over_at = session.progress.newest.max(began);
        session.open_turns[place].abandoned = Some(over_at);
        // One from before counting began is given up without a count, however late that is.
        if self.counts(session, began) {
            let turn = &mut session.open_turns[place];
            let given_up = Turn { abandoned: None, tally: std::mem::take(&mut turn.tally), ..turn.clone() };
            turn.id.is_rest = true;
            self.turn_over(session, given_up, TurnEnd::abandoned(over_at));
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
        self.drop_calls(session, at);
        session.loop_state.asked = None;
        self.count_end(session, outcome, at, error);
    }

    /// The turn that the session begins now, having counted it.
    fn new_turn(&mut self, session: &Session, key: Option<TurnKey>, began: Timestamp) -> Turn {
        let (number, place) = (session.turns, self.turn_place(session.turns));
        let id = TurnRef { number, place, key, under: None, is_rest: false };
        Turn { id, began, verdict: None, abandoned: None, tally: Tally::default() }
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

    fn observe_turn(&mut self, session: &Session, outcome: TurnOutcome, took: Span, seen: Option<Exemplar>) {
        self.observe(session, Metric::TurnDuration, [self.words.outcome(outcome), Names::NONE], took.micros(), seen);
    }
}

pub(super) fn answered(session: &mut Session, verdict: Option<Verdict>) {
    if let Some(turn) = session.open_turns.iter_mut().rfind(|turn| turn.abandoned.is_none()) {
        turn.verdict = verdict.or(turn.verdict);
    }
}
