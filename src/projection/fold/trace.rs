//! Spans: what is told of work when it is over, from what was kept of it while it went on.
//!
//! A span is told where the same work is counted, so traces and totals cannot disagree. What is not counted (the past,
//! another session's copied head) is not told.

use super::Fold;
use crate::domain::{
    ModelCall, NameId, Named, Place, Span, SpanId, SpanNames, Timestamp, TraceContext, TurnKey, TurnOutcome, Verdict,
};
use crate::projection::distribution::Exemplar;
use crate::projection::session::{OpenCall, Session, ToldCall, Turn};
use crate::projection::span::{ChatWork, TraceSpan, TurnWork, Work};
use crate::projection::trace::{Answered, Happening, ParentTurn, PastTurn, SpanRef, Stretch, TurnRef};

/// Turns that are over and may still be asked for by children's turns.
const PAST_TURNS: usize = 4;
/// Calls that were told without their ends; the end of an older one is told a second time.
const TOLD_CALLS: usize = 64;

/// Where spans of one session go.
pub struct Tracer<'a> {
    /// What they are named after.
    pub names: SpanNames,
    /// The latest turns of the parent session, if there is one.
    pub parent_turns: &'a [ParentTurn],
    /// The spans.
    pub spans: &'a mut Vec<TraceSpan>,
}

/// How a turn ended.
#[derive(Clone, Copy)]
pub(super) struct TurnEnd {
    pub(super) outcome: TurnOutcome,
    pub(super) error: Option<NameId>,
    pub(super) verdict: Option<Verdict>,
    pub(super) at: Timestamp,
}

impl TurnEnd {
    /// Nobody knows how.
    pub(super) const fn abandoned(at: Timestamp) -> Self {
        Self { outcome: TurnOutcome::Abandoned, error: None, verdict: None, at }
    }
}

/// When and how a piece of work was done.
struct Times {
    began: Timestamp,
    ended: Timestamp,
    cut_off: bool,
}

impl Fold<'_> {
    /// Where the fact at hand stands; `part` tells apart what begins with it.
    pub(super) fn place(&self, part: usize) -> Place {
        Place { position: self.position, part: u32::try_from(part).unwrap_or(u32::MAX) }
    }

    /// The same for a turn: one that begins beside the stream is told apart by its number from what the stream begins
    /// there.
    pub(super) fn turn_place(&mut self, number: u32) -> Place {
        let part = if self.is_beside { number } else { self.turns_begun };
        self.turns_begun += 1;
        Place { position: self.position, part }
    }

    /// A stretch of work that begins now, in the turn that the session is in.
    pub(super) fn stretch(&self, session: &Session, of: Named, own: Option<SpanId>, began: Timestamp) -> Stretch {
        let span = SpanRef::new(of, own, self.place(0));
        Stretch { span, turn: session.working_turn().map(|turn| turn.id), began, until: began }
    }

    /// Tells a span below a turn's; gives where it can be looked at, if it is told.
    fn tell(
        &mut self,
        session: &Session,
        turn: TurnRef,
        span: SpanRef,
        below: Option<SpanRef>,
        times: Times,
        work: Work,
    ) -> Option<Exemplar> {
        if !self.counts(session, times.ended) {
            return None;
        }
        let tracer = self.tracer.as_mut()?;
        let of_turn = turn.context(tracer.names);
        let context = TraceContext { trace: of_turn.trace, span: span.id(tracer.names) };
        tracer.spans.push(TraceSpan {
            source: session.source,
            session: session.id.clone(),
            agent: session.agent,
            context,
            parent: Some(below.map_or(of_turn.span, |below| below.id(tracer.names))),
            began: times.began.min(times.ended),
            ended: times.ended,
            cut_off: times.cut_off,
            work,
        });
        Some(Exemplar { context, at: times.ended })
    }

    fn tell_stretch(&mut self, session: &Session, stretch: &Stretch, cut_off: bool, work: Work) {
        let Some(turn) = stretch.turn else { return };
        let times = Times { began: stretch.began, ended: stretch.until.max(stretch.began), cut_off };
        // Nothing is observed of it.
        let _ = self.tell(session, turn, stretch.span, None, times, work);
    }

    /// A step is over when the next one begins, or its turn ends.
    pub(super) fn step_over(&mut self, session: &mut Session) {
        if let Some(step) = session.loop_state.step.take() {
            self.tell_stretch(session, &step, false, Work::Step);
        }
    }

    /// A stretch of thinking is over.
    pub(super) fn reason_over(
        &mut self,
        session: &Session,
        call: &ModelCall<NameId>,
        begun: Option<Stretch>,
        at: Timestamp,
    ) {
        let began = |took: Option<Span>| at.minus(took.unwrap_or(Span::ZERO));
        let stretch = begun.unwrap_or_else(|| self.stretch(session, Named::Reason, call.span, began(call.took)));
        self.tell_stretch(session, &Stretch { until: at, ..stretch }, false, Work::Reason { error: call.error });
    }

    pub(super) fn act_started(&mut self, session: &mut Session, own: Option<SpanId>, at: Timestamp) {
        self.act_cut_off(session, at);
        session.loop_state.act = Some(self.stretch(session, Named::Act, own, at));
    }

    pub(super) fn act_ended(&mut self, session: &mut Session, at: Timestamp) {
        if let Some(act) = session.loop_state.act.take() {
            self.tell_stretch(session, &Stretch { until: at, ..act }, false, Work::Act);
        }
    }

    /// A stretch of thinking whose end was not told, and which goes on no more.
    pub(super) fn reason_cut_off(&mut self, session: &mut Session, at: Timestamp) {
        if let Some(reason) = session.loop_state.reasoning.stretch.take() {
            self.tell_stretch(session, &Stretch { until: at, ..reason }, true, Work::Reason { error: None });
        }
    }

    fn act_cut_off(&mut self, session: &mut Session, at: Timestamp) {
        if let Some(act) = session.loop_state.act.take() {
            self.tell_stretch(session, &Stretch { until: at, ..act }, true, Work::Act);
        }
    }

    /// A model call that was told by itself.
    pub(super) fn chat_over(
        &mut self,
        session: &Session,
        call: &ModelCall<NameId>,
        span: SpanRef,
        at: Timestamp,
    ) -> Option<Exemplar> {
        let turn = session.working_turn()?.id;
        let reason = session.loop_state.reasoning.stretch.filter(|reason| reason.turn == Some(turn));
        let began = match (call.took, reason) {
            (Some(took), _) => at.minus(took),
            (None, Some(reason)) => reason.began,
            (None, None) => at,
        };
        let work = ChatWork {
            model: call.model,
            answered_by: call.answered_by,
            provider: call.provider,
            usage: Some(call.usage),
            estimated: call.estimated,
            first_token: call.first_token,
            answer: call.answer.clone(),
            finish: call.finish,
            error: call.error,
        };
        let times = Times { began, ended: at, cut_off: false };
        self.tell(session, turn, span, reason.map(|reason| reason.span), times, Work::Chat(Box::new(work)))
    }

    /// A model's answer of which is known by now what it was, as far as it ever will be.
    pub(super) fn answer_known(&mut self, session: &Session, answered: &Answered, work: ChatWork) -> Option<Exemplar> {
        let turn = answered.step.turn?;
        let times = Times { began: answered.began, ended: answered.ended, cut_off: false };
        self.tell(session, turn, answered.chat(), Some(answered.step.span), times, Work::Chat(Box::new(work)))
    }

    /// Answers of which nobody will say any more what model they were of.
    pub(super) fn forget_answers(&mut self, session: &mut Session) {
        for answered in std::mem::take(&mut session.loop_state.answered) {
            self.answer_known(session, &answered, ChatWork::default());
        }
    }

    /// A tool call is over: its end was told.
    pub(super) fn call_over(
        &mut self,
        session: &Session,
        call: &OpenCall,
        error: Option<NameId>,
        at: Timestamp,
    ) -> Option<Exemplar> {
        if call.is_told {
            return None;
        }
        let times = Times { began: call.began, ended: at, cut_off: false };
        let work = Work::Tool { tool: call.tool, call: call.id.clone(), error };
        self.tell(session, call.turn?, call.span, call.below, times, work)
    }

    /// A tool call goes on no more, though its end was not told.
    fn call_cut_off(&mut self, session: &Session, call: &OpenCall, at: Timestamp) {
        // A call is counted when it begins.
        let (Some(turn), true) = (call.turn, !call.is_told && self.counts(session, call.began)) else { return };
        let times = Times { began: call.began, ended: at, cut_off: true };
        let work = Work::Tool { tool: call.tool, call: call.id.clone(), error: None };
        self.tell(session, turn, call.span, call.below, times, work);
    }

    /// Nobody waits for the calls that are open any more.
    pub(super) fn drop_calls(&mut self, session: &mut Session, at: Timestamp) {
        for call in std::mem::take(&mut session.loop_state.calls) {
            self.call_cut_off(session, &call, at);
            let (Some(id), Some(_)) = (call.id, call.turn) else { continue };
            let told = &mut session.loop_state.told_calls;
            if told.len() >= TOLD_CALLS {
                told.remove(0);
            }
            told.push(ToldCall { id, tool: call.tool });
        }
    }

    /// Something that happened in the turn that the session is in.
    pub(super) fn happened(&mut self, session: &mut Session, at: Timestamp, what: Happening) {
        if self.counts(session, at)
            && let Some(turn) = session.working_turn_mut()
        {
            turn.tally.mark(at, what);
        }
    }

    /// A turn is over: what it left open is told as cut off, then the turn itself.
    pub(super) fn turn_over(&mut self, session: &mut Session, turn: Turn, end: TurnEnd) -> Option<Exemplar> {
        let is_of = |of: Option<TurnRef>| of == Some(turn.id);
        if session.loop_state.step.is_some_and(|step| is_of(step.turn)) {
            self.step_over(session);
        }
        if session.loop_state.reasoning.stretch.is_some_and(|reason| is_of(reason.turn)) {
            self.reason_cut_off(session, end.at);
        }
        if session.loop_state.act.is_some_and(|act| is_of(act.turn)) {
            self.act_cut_off(session, end.at);
        }
        for place in 0..session.loop_state.calls.len() {
            if is_of(session.loop_state.calls[place].turn) {
                let call = session.loop_state.calls[place].clone();
                self.call_cut_off(session, &call, end.at);
                // Its end may still come and is counted then; its span is told.
                session.loop_state.calls[place].is_told = true;
            }
        }
        let before = |past: &&PastTurn| past.id.number < turn.id.number;
        let previous = session.past_turns.iter().rfind(before).map(|past| past.id);
        if self.counts(session, end.at) {
            if session.past_turns.len() >= PAST_TURNS {
                session.past_turns.remove(0);
            }
            let began = turn.abandoned.unwrap_or(turn.began).min(end.at);
            session.past_turns.push(PastTurn { id: turn.id, began, ended: end.at });
        }
        self.tell_turn(session, turn, previous, end)
    }

    fn tell_turn(
        &mut self,
        session: &Session,
        turn: Turn,
        previous: Option<TurnRef>,
        end: TurnEnd,
    ) -> Option<Exemplar> {
        if !self.counts(session, end.at) {
            return None;
        }
        let tracer = self.tracer.as_mut()?;
        let names = tracer.names;
        let context = turn.id.context(names);
        let began = if turn.id.is_rest { turn.abandoned.unwrap_or(turn.began) } else { turn.began };
        let parent_turn = ParentTurn::at(tracer.parent_turns, turn.began).filter(|it| it.trace != context.trace);
        let work = TurnWork {
            number: turn.id.number,
            is_named: turn.id.key.is_some_and(TurnKey::is_own),
            outcome: end.outcome,
            error: end.error,
            verdict: end.verdict,
            tally: turn.tally,
            previous: previous.map(|turn| turn.context(names)),
            parent_turn,
            is_rest: turn.id.is_rest,
        };
        tracer.spans.push(TraceSpan {
            source: session.source,
            session: session.id.clone(),
            agent: session.agent,
            context,
            parent: turn.id.parent(names),
            began: began.min(end.at),
            ended: end.at,
            cut_off: end.outcome == TurnOutcome::Abandoned,
            work: Work::Turn(Box::new(work)),
        });
        Some(Exemplar { context, at: end.at })
    }
}
