//! Tool calls: asked for or started, and ended.

use super::Fold;
use crate::domain::{NameId, Named, Span, Timestamp, ToolCall};
use crate::projection::metric::Metric;
use crate::projection::names::Names;
use crate::projection::session::{LoopState, OpenCall, Session};
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
        if took.is_some() && session.loop_state.answered.len() < MAX_ANSWERED {
            session.loop_state.answered.push(Answered { began, ended: at, step });
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
            let oldest = session.loop_state.calls.remove(0);
            self.call_over(session, &oldest, None, at, true);
        }
        let open = self.open_call(session, call, part, at);
        session.loop_state.calls.push(open);
    }

    fn open_call(&self, session: &Session, call: &ToolCall<NameId>, part: usize, began: Timestamp) -> OpenCall {
        let LoopState { step, act, .. } = &session.loop_state;
        let turn = session.turn().map(|turn| turn.id);
        OpenCall {
            id: call.id.clone(),
            tool: call.tool,
            began,
            span: SpanRef::new(Named::Tool, call.span, self.place(part)),
            below: act.or(*step).filter(|around| around.turn == turn).map(|around| around.span),
            turn,
        }
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
        if error.is_some()
            && let Some(turn) = session.turn_mut()
        {
            turn.tally.tool_failures += 1;
        }
        // A call from before counting began is not counted, so neither is its end.
        let counts = self.counts(session, at) && open.as_ref().is_none_or(|open| self.counts(session, open.began));
        if open.is_none() {
            // The request was lost or never shown; the call was made all the same.
            self.count_call(session, call.tool, at);
        }
        let began = |session: &Session| at.minus(took.unwrap_or(Span::ZERO)).max(session.created_at);
        let told = open.clone().unwrap_or_else(|| self.open_call(session, call, 0, began(session)));
        if !counts {
            return;
        }
        let seen = self.call_over(session, &told, error, at, false);
        if let Some(took) = took.or_else(|| open.as_ref().map(|open| self.span(session, open.began, at))) {
            self.observe(session, Metric::ToolCallDuration, [call.tool, Names::NONE], took.micros(), seen);
        }
        if let Some(error) = error {
            self.add(session, Metric::ToolCallFailures, [call.tool, error], 1);
        }
    }

    fn count_call(&mut self, session: &mut Session, tool: NameId, at: Timestamp) {
        if let Some(turn) = session.turn_mut() {
            turn.tally.tool_calls += 1;
        }
        if self.counts(session, at) {
            self.add(session, Metric::ToolCalls, [tool, Names::NONE], 1);
        }
    }
}
