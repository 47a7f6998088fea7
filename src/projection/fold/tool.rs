//! Tool calls: asked for or started, and ended.

use super::Fold;
use crate::domain::{NameId, Named, Span, Timestamp, ToolCall};
use crate::projection::metric::Metric;
use crate::projection::names::Names;
use crate::projection::session::{LoopState, OpenCall, Session};
use crate::projection::span::ChatWork;
use crate::projection::trace::{Answered, SpanRef, Stretch};

/// Tool calls that are waited for at once in one session; the oldest is given up for a further one.
const MAX_OPEN_CALLS: usize = 64;
/// Model answers that wait for the next running total; past it they are attributed to no model.
const MAX_ANSWERED: usize = 64;

impl Fold<'_> {
    pub(super) fn step(&mut self, session: &mut Session, calls: &[ToolCall<NameId>], at: Timestamp) {
        self.step_over(session);
        let asked = session.loop_state.asked.take();
        let took = asked.map(|asked| self.span(session, asked, at));
        let began = took.map_or(at, |took| at.minus(took));
        let step = Stretch { until: at, ..self.stretch(session, Named::Step, None, began) };
        session.loop_state.step = Some(step);
        if took.is_some() {
            let answered = Answered { began, ended: at, step };
            if session.loop_state.answered.len() < MAX_ANSWERED {
                session.loop_state.answered.push(answered);
            } else {
                self.answer_known(session, &answered, ChatWork::default());
            }
        }
        for (part, call) in calls.iter().enumerate() {
            self.begin_call(session, call, part, at);
        }
    }

    pub(super) fn tool_started(&mut self, session: &mut Session, call: &ToolCall<NameId>, at: Timestamp) {
        self.begin_call(session, call, 0, at);
    }

    fn begin_call(&mut self, session: &mut Session, call: &ToolCall<NameId>, part: usize, at: Timestamp) {
        self.count_call(session, call.tool, at);
        if session.loop_state.calls.len() >= MAX_OPEN_CALLS {
            // Should its end come after all, it is told then.
            session.loop_state.calls.remove(0);
        }
        let open = self.open_call(session, call, part, at);
        session.loop_state.calls.push(open);
    }

    fn open_call(&self, session: &Session, call: &ToolCall<NameId>, part: usize, began: Timestamp) -> OpenCall {
        let LoopState { step, act, .. } = &session.loop_state;
        let turn = session.working_turn().map(|turn| turn.id);
        OpenCall {
            id: call.id.clone(),
            tool: call.tool,
            began,
            span: SpanRef::new(Named::Tool, call.span, self.place(part)),
            below: act.or(*step).filter(|around| around.turn == turn).map(|around| around.span),
            turn,
            is_told: false,
        }
    }

    /// Whether the call was told as cut off, and is forgotten but for that.
    fn was_told(session: &mut Session, call: &ToolCall<NameId>) -> bool {
        let told = &mut session.loop_state.told_calls;
        let found = told.iter().rposition(|told| Some(&told.id) == call.id.as_ref() && told.tool == call.tool);
        found.map(|place| told.remove(place)).is_some()
    }

    pub(super) fn tool_ended(
        &mut self,
        session: &mut Session,
        call: &ToolCall<NameId>,
        error: Option<NameId>,
        took: Option<Span>,
        at: Timestamp,
    ) {
        // The model's next answer is to what this tool showed, unless an observation follows.
        session.loop_state.asked = Some(at);
        // Ids are used again in later steps: the latest call is meant.
        let found = session.loop_state.calls.iter().rposition(|open| open.id == call.id && open.tool == call.tool);
        let open = found.map(|place| session.loop_state.calls.remove(place));
        if let Some(step) = &mut session.loop_state.step {
            step.until = step.until.max(at);
        }
        // A call from before counting began is not counted, so neither is its end.
        let counts = self.counts(session, at) && open.as_ref().is_none_or(|open| self.counts(session, open.began));
        if open.is_none() {
            // The request was lost or never shown; the call was made all the same.
            self.count_call(session, call.tool, at);
        }
        let began = |session: &Session| at.minus(took.unwrap_or(Span::ZERO)).max(session.created_at);
        let told = open.clone().unwrap_or_else(|| {
            let is_told = Self::was_told(session, call);
            OpenCall { is_told, ..self.open_call(session, call, 0, began(session)) }
        });
        if !counts {
            return;
        }
        if error.is_some()
            && let Some(turn) = session.working_turn_mut()
        {
            turn.tally.tool_failures += 1;
        }
        let seen = self.call_over(session, &told, error, at);
        if let Some(took) = took.or_else(|| open.as_ref().map(|open| self.span(session, open.began, at))) {
            self.observe(session, Metric::ToolCallDuration, [call.tool, Names::NONE], took.micros(), seen);
        }
        if let Some(error) = error {
            self.add(session, Metric::ToolCallFailures, [call.tool, error], 1);
        }
    }

    fn count_call(&mut self, session: &mut Session, tool: NameId, at: Timestamp) {
        if self.counts(session, at) {
            if let Some(turn) = session.working_turn_mut() {
                turn.tally.tool_calls += 1;
            }
            self.add(session, Metric::ToolCalls, [tool, Names::NONE], 1);
        }
    }
}
