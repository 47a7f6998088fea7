//! Tokens, money and model time: from running totals, or call by call.

use super::Fold;
use crate::domain::{ModelCall, ModelUsage, NameId, NanoUsd, Timestamp, Tokens, Usage};
use crate::projection::metric::Metric;
use crate::projection::names::Names;
use crate::projection::session::{Reasoning, Session};

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
            if !self.counts(session, at) {
                continue;
            }
            self.add_tokens(session, row.model, more);
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
            if self.counts(session, at) {
                self.observe(session, Metric::ModelCallDuration, [model, Names::NONE], took.micros());
            }
        }
    }

    pub(super) fn reasoning_started(&mut self, session: &mut Session, model: Option<NameId>) {
        session.loop_state.reasoning = Reasoning { model, ..Reasoning::default() };
    }

    /// A model call, told by itself: it adds to what was used before.
    pub(super) fn model_called(&mut self, session: &mut Session, call: &ModelCall<NameId>, at: Timestamp) {
        let reasoning = &mut session.loop_state.reasoning;
        if std::mem::take(&mut reasoning.stood_in) {
            // It comes after the end of its reasoning, which was counted in its place.
            return;
        }
        reasoning.called = true;
        self.count_model_call(session, call, at);
    }

    /// A step; and the model call in it, if the platform told none.
    pub(super) fn reasoning_ended(&mut self, session: &mut Session, call: &ModelCall<NameId>, at: Timestamp) {
        session.steps += 1;
        if self.counts(session, at) {
            self.add(session, Metric::Steps, [Names::NONE; 2], 1);
        }
        let Reasoning { model, called, .. } = std::mem::take(&mut session.loop_state.reasoning);
        if !called {
            session.loop_state.reasoning.stood_in = true;
            self.count_model_call(session, &ModelCall { model: call.model.or(model), ..call.clone() }, at);
        }
    }

    fn count_model_call(&mut self, session: &mut Session, call: &ModelCall<NameId>, at: Timestamp) {
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
        let labels = [model, Names::NONE];
        self.add(session, Metric::ModelCalls, labels, 1);
        if let Some(error) = call.error {
            self.add(session, Metric::ModelCallFailures, [model, error], 1);
        }
        for (metric, span) in [(Metric::ModelCallDuration, call.took), (Metric::TimeToFirstToken, call.first_token)] {
            if let Some(span) = span {
                self.observe(session, metric, labels, span.micros());
            }
        }
        self.observe_call(session, model, call);
        self.add_tokens(session, model, call.usage.tokens);
        if let Some(NanoUsd(cost)) = call.usage.cost.filter(|cost| cost.0 > 0) {
            let basis = if call.estimated { self.words.estimated_basis } else { self.words.platform_basis };
            self.add(session, Metric::Cost, [model, basis], cost);
        }
    }

    /// The same once more, as OpenTelemetry's instruments of single calls have it. Without a vendor's name the label
    /// stays empty, and the platform stands in for it where it is shown.
    fn observe_call(&mut self, session: &Session, model: NameId, call: &ModelCall<NameId>) {
        let labels = [model, call.provider.unwrap_or(Names::NONE)];
        let Tokens { input, output, .. } = call.usage.tokens;
        // No tokens are also what a platform tells that does not know.
        for (metric, tokens) in [(Metric::CallInputTokens, input), (Metric::CallOutputTokens, output)] {
            if tokens > 0 {
                self.observe(session, metric, labels, tokens);
            }
        }
        if let Some(took) = call.took {
            let metric = if call.error.is_some() { Metric::FailedCallDuration } else { Metric::CallDuration };
            self.observe(session, metric, labels, took.micros());
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
