//! Tokens, money and model time: from running totals, or call by call.

use super::Fold;
use crate::domain::{ModelCall, ModelUsage, NameId, Named, NanoUsd, SpanId, Timestamp, Tokens, Usage};
use crate::projection::distribution::Exemplar;
use crate::projection::metric::Metric;
use crate::projection::names::Names;
use crate::projection::session::{Reasoning, Session};
use crate::projection::span::ChatWork;
use crate::projection::trace::SpanRef;

impl Fold<'_> {
    /// Running totals count by what they rose. A fall is a restart of the totals if the session was restarted since
    /// the last report, and else an older or corrected report: then the highest total seen stands, so that the sum
    /// never exceeds what the platform says in the end.
    pub(super) fn usage(
        &mut self,
        session: &mut Session,
        steps: Option<u64>,
        models: &[ModelUsage<NameId>],
        at: Timestamp,
    ) {
        let fell = steps.is_some_and(|steps| steps < session.steps)
            || models.iter().any(|row| row.usage.tokens.falls_below(known(session, row.model).tokens));
        if fell {
            if self.counts(session, at) {
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
            if self.counts(session, at) {
                if let Some(turn) = session.working_turn_mut() {
                    turn.tally.steps += more;
                }
                self.add(session, Metric::Steps, [Names::NONE; 2], more);
            }
        }
        let mut moved = Vec::new();
        for row in models {
            let before = known(session, row.model);
            let more = row.usage.tokens.beyond(before.tokens);
            let cost = row.usage.cost.max(before.cost);
            let dearer = cost.unwrap_or_default().0 - before.cost.unwrap_or_default().0;
            let rise = Usage { tokens: more, cost: cost.map(|_| NanoUsd(dearer)) };
            if !more.is_zero() {
                moved.push((row.model, rise));
            }
            remember(session, row.model, Usage { tokens: row.usage.tokens.highest(before.tokens), cost });
            if !self.counts(session, at) {
                continue;
            }
            if let Some(turn) = session.working_turn_mut() {
                turn.tally.tokens += more;
                rise.cost.into_iter().for_each(|cost| turn.tally.spend(cost, false));
            }
            self.add_tokens(session, row.model, more);
            if dearer > 0 {
                self.add(session, Metric::Cost, [row.model, self.words.platform_basis], dearer);
            }
        }
        self.attribute_model_time(session, &moved, at);
    }

    /// Which model answered shows only in whose totals moved next; if several did, nobody can say. What it used is known
    /// if it was the only answer since.
    fn attribute_model_time(&mut self, session: &mut Session, moved: &[(NameId, Usage)], at: Timestamp) {
        if moved.is_empty() {
            return;
        }
        let only = if let [only] = moved { Some(*only) } else { None };
        let model = only.map_or(self.words.unknown, |(model, _)| model);
        let answers = std::mem::take(&mut session.loop_state.answered);
        let usage = only.filter(|_| answers.len() == 1).map(|(_, usage)| usage);
        for answered in answers {
            let work = ChatWork { model: only.map(|(model, _)| model), usage, ..ChatWork::default() };
            let seen = self.answer_known(session, &answered, work);
            if self.counts(session, at) {
                let took = answered.ended.since(answered.began).unwrap_or_default();
                self.observe(session, Metric::ModelCallDuration, [model, Names::NONE], took.micros(), seen);
            }
        }
    }

    pub(super) fn reasoning_started(
        &mut self,
        session: &mut Session,
        model: Option<NameId>,
        span: Option<SpanId>,
        at: Timestamp,
    ) {
        self.reason_cut_off(session, at);
        let stretch = Some(self.stretch(session, Named::Reason, span, at));
        session.loop_state.reasoning = Reasoning { stretch, model, ..Reasoning::default() };
    }

    /// A model call, told by itself: it adds to what was used before.
    pub(super) fn model_called(&mut self, session: &mut Session, call: &ModelCall<NameId>, at: Timestamp) {
        let reasoning = &mut session.loop_state.reasoning;
        if std::mem::take(&mut reasoning.stood_in) {
            // It comes after the end of its reasoning, which was counted in its place.
            return;
        }
        reasoning.called = true;
        self.count_model_call(session, call, call.span, at);
    }

    /// A step; and the model call in it, if the platform told none.
    pub(super) fn reasoning_ended(&mut self, session: &mut Session, call: &ModelCall<NameId>, at: Timestamp) {
        session.steps += 1;
        if self.counts(session, at) {
            if let Some(turn) = session.working_turn_mut() {
                turn.tally.steps += 1;
            }
            self.add(session, Metric::Steps, [Names::NONE; 2], 1);
        }
        let Reasoning { stretch, model, called, .. } = session.loop_state.reasoning;
        if !called {
            // The name that it has is that of the stretch, not of the call in it.
            self.count_model_call(session, &ModelCall { model: call.model.or(model), ..call.clone() }, None, at);
        }
        session.loop_state.reasoning = Reasoning { stood_in: !called, ..Reasoning::default() };
        self.reason_over(session, call, stretch, at);
    }

    fn count_model_call(
        &mut self,
        session: &mut Session,
        call: &ModelCall<NameId>,
        span: Option<SpanId>,
        at: Timestamp,
    ) {
        let seen = self.chat_over(session, call, SpanRef::new(Named::Chat, span, self.place(0)), at);
        let model = call.model.unwrap_or(self.words.unknown);
        let before = known(session, model);
        let cost = match (before.cost, call.usage.cost) {
            (Some(NanoUsd(before)), Some(NanoUsd(more))) => Some(NanoUsd(before.saturating_add(more))),
            (before, more) => before.or(more),
        };
        remember(session, model, Usage { tokens: before.tokens + call.usage.tokens, cost });
        if !self.counts(session, at) {
            return;
        }
        if let Some(turn) = session.working_turn_mut() {
            turn.tally.model_calls += 1;
            turn.tally.tokens += call.usage.tokens;
            call.usage.cost.into_iter().for_each(|cost| turn.tally.spend(cost, call.estimated));
        }
        let labels = [model, Names::NONE];
        self.add(session, Metric::ModelCalls, labels, 1);
        if let Some(error) = call.error {
            self.add(session, Metric::ModelCallFailures, [model, error], 1);
        }
        for (metric, span) in [(Metric::ModelCallDuration, call.took), (Metric::TimeToFirstToken, call.first_token)] {
            if let Some(span) = span {
                self.observe(session, metric, labels, span.micros(), seen);
            }
        }
        self.observe_call(session, model, call, seen);
        self.add_tokens(session, model, call.usage.tokens);
        if let Some(NanoUsd(cost)) = call.usage.cost.filter(|cost| cost.0 > 0) {
            let basis = if call.estimated { self.words.estimated_basis } else { self.words.platform_basis };
            self.add(session, Metric::Cost, [model, basis], cost);
        }
    }

    /// The same once more, as OpenTelemetry's instruments of single calls have it. Without a vendor's name the label
    /// stays empty, and the platform stands in for it where it is shown.
    fn observe_call(&mut self, session: &Session, model: NameId, call: &ModelCall<NameId>, seen: Option<Exemplar>) {
        let labels = [model, call.provider.unwrap_or(Names::NONE)];
        let Tokens { input, output, .. } = call.usage.tokens;
        // No tokens are also what a platform tells that does not know.
        for (metric, tokens) in [(Metric::CallInputTokens, input), (Metric::CallOutputTokens, output)] {
            if tokens > 0 {
                self.observe(session, metric, labels, tokens, seen);
            }
        }
        if let Some(took) = call.took {
            let metric = if call.error.is_some() { Metric::FailedCallDuration } else { Metric::CallDuration };
            self.observe(session, metric, labels, took.micros(), seen);
        }
    }

    fn add_tokens(&mut self, session: &Session, model: NameId, more: Tokens) {
        for (metric, amount) in [
            (Metric::InputTokens, more.input),
            (Metric::OutputTokens, more.output),
            (Metric::CacheReadTokens, more.cached),
            (Metric::CacheWriteTokens, more.cache_write),
            (Metric::ReasoningTokens, more.reasoning),
        ] {
            if amount > 0 {
                self.add(session, metric, [model, Names::NONE], amount);
            }
        }
    }

    /// Compares our sum with the platform's own.
    pub(super) fn checked(&mut self, session: &mut Session, tokens: u64) {
        let mismatch = tokens.abs_diff(session.tokens_used());
        let change = mismatch.wrapping_sub(session.mismatch);
        session.mismatch = mismatch;
        self.of_source(session, Metric::UsageMismatch, change);
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
