//! Tool calls: asked for or started, and ended.

use super::Fold;
use crate::domain::{NameId, Span, Timestamp, ToolCall};
use crate::projection::metric::Metric;
use crate::projection::names::Names;
use crate::projection::session::{OpenCall, Session};

/// Tool calls that are waited for at once in one session; the oldest is given up for a further one.
const MAX_OPEN_CALLS: usize = 64;
/// Model answers that wait for the next running total; past it they are attributed to no model.
const MAX_ANSWERED: usize = 64;

impl Fold<'_> {
    pub(super) fn step(&mut self, session: &mut Session, calls: &[ToolCall<NameId>], at: Timestamp) {
        if let Some(asked) = session.loop_state.asked.take() {
            let took = self.span(session, asked, at);
            if session.loop_state.answered.len() < MAX_ANSWERED {
                session.loop_state.answered.push(took);
            }
        }
        for call in calls {
            self.tool_started(session, call, at);
        }
    }

    pub(super) fn tool_started(&mut self, session: &mut Session, call: &ToolCall<NameId>, at: Timestamp) {
        self.count_call(session, call.tool, at);
        let open = &mut session.loop_state.calls;
        if open.len() >= MAX_OPEN_CALLS {
            open.remove(0);
        }
        open.push(OpenCall { id: call.id.clone(), tool: call.tool, began: at });
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
        // A call from before counting began is not counted, so neither is its end.
        let counts = self.counts(session, at) && open.as_ref().is_none_or(|open| self.counts(session, open.began));
        if open.is_none() {
            // The request was lost or never shown; the call was made all the same.
            self.count_call(session, call.tool, at);
        }
        if !counts {
            return;
        }
        if let Some(took) = took.or_else(|| open.map(|open| self.span(session, open.began, at))) {
            self.observe(session, Metric::ToolCallDuration, [call.tool, Names::NONE], took.micros());
        }
        if let Some(error) = error {
            self.add(session, Metric::ToolCallFailures, [call.tool, error], 1);
        }
    }

    fn count_call(&mut self, session: &Session, tool: NameId, at: Timestamp) {
        if self.counts(session, at) {
            self.add(session, Metric::ToolCalls, [tool, Names::NONE], 1);
        }
    }
}
