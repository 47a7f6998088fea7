//! The simulator's own account of what happened, added up from the scripts and not from anything the API said.
//!
//! An exporter that missed nothing and doubled nothing arrives at exactly these numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::options::{Dialect, SimulateOptions};
use super::script::{Charge, MODELS, ModelTotals, Script, Status, What};
use super::timestamp;
use super::traces::{Deeds, SessionDeeds, Traces};
use super::world::World;

/// Token sums of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// All prompt tokens, those from the cache included.
    pub input: u64,
    /// Prompt tokens from the cache.
    pub cached: u64,
    /// Tokens produced, reasoning included.
    pub output: u64,
    /// Tokens spent on reasoning.
    pub reasoning: u64,
}

/// What one agent's sessions did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentAccount {
    /// Sessions created.
    pub sessions: u64,
    /// Endings by status; a session that ends, restarts and ends again counts twice.
    pub finished_by_status: BTreeMap<&'static str, u64>,
    /// Model decisions.
    pub steps: u64,
    /// Tokens by model.
    pub tokens: BTreeMap<&'static str, Tokens>,
}

/// Everything that happened from some time on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Sessions created, history and subagents included.
    pub sessions: u64,
    /// Sessions by their status now, ended and deleted ones left out.
    pub active_by_status: BTreeMap<&'static str, u64>,
    /// Endings by status; a session that ends, restarts and ends again counts twice.
    pub finished_by_status: BTreeMap<&'static str, u64>,
    /// Tokens really consumed, by model: the sum over all runs.
    pub tokens: BTreeMap<&'static str, Tokens>,
    /// What they cost in nano-dollars, for models that have prices.
    pub cost_nano_usd: BTreeMap<&'static str, u64>,
    /// Model decisions, those whose output could not be parsed included.
    pub steps: u64,
    /// Requested tool calls.
    pub tool_calls: BTreeMap<&'static str, u64>,
    /// Tool calls that were answered by an error.
    pub tool_failures: BTreeMap<&'static str, u64>,
    /// Answers by the agent's own verdict; answers without one are left out.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Endings that carry an error code, those by timeout included.
    pub turn_failures: BTreeMap<&'static str, u64>,
    /// Subagent sessions created.
    pub subagents: u64,
    /// Ended sessions that were started again.
    pub restarts: u64,
    /// Entries into a status that the event stream shows.
    pub status_entries: BTreeMap<&'static str, u64>,
    /// Events in all streams.
    pub events: u64,
    /// The same by agent name; sessions without one are under the empty name.
    pub by_agent: BTreeMap<&'static str, AgentAccount>,
    /// What traces are compared with.
    #[serde(skip)]
    pub deeds: Deeds,
}

/// The answer of `GET /_truth`.
#[derive(Debug, Serialize)]
pub struct Truth {
    /// Always true: these are not real sessions.
    pub simulated: bool,
    /// The seed of the simulation.
    pub seed: u64,
    /// The moment it describes.
    pub now: String,
    /// Things before this are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether nothing will change any more.
    pub settled: bool,
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// What traces are compared with.
    pub traces: Traces,
}

/// The account at `now`, of everything or of what happened at `since` or later.
pub fn truth(world: &World, now: i64, since: Option<i64>) -> Truth {
    let from = since.unwrap_or(i64::MIN);
    let (account, traces) = world.audit(now, from, |sessions, forgotten| {
        let mut account = forgotten.clone();
        for session in sessions {
            account.add(&session.script, &world.options, from, now);
            let status = session.status(now);
            if session.is_visible(now) && !status.is_terminal() {
                *account.active_by_status.entry(status.name()).or_default() += 1;
            }
        }
        let each = sessions.iter().map(|session| SessionDeeds {
            id: session.script.id.to_string(),
            parent: session.script.parent.map(|parent| parent.to_string()),
            deeds: deeds(&session.script, from, now),
        });
        let traces = Traces::new(account.deeds.clone(), sessions.len(), each);
        (account, traces)
    });
    Truth {
        simulated: true,
        seed: world.options.seed,
        now: timestamp::rfc3339(now),
        since: since.map(timestamp::rfc3339),
        settled: world.is_settled(now),
        account,
        traces,
    }
}

/// What a session did from `from` to `until`, both included.
fn deeds(script: &Script, from: i64, until: i64) -> Deeds {
    let within = |at: i64| from <= at && at <= until;
    let mut deeds = Deeds::default();
    for (at, outcome) in turn_ends(script) {
        if within(at) {
            deeds.finish_turn(outcome);
        }
    }
    for event in script.events.iter().filter(|event| within(event.at)) {
        match &event.what {
            What::Policy { .. } | What::InvalidPolicy => deeds.steps += 1,
            What::ToolResult { .. } | What::ToolError { .. } => deeds.tool_calls_ended += 1,
            _ => {}
        }
    }
    for charge in script.charges.iter().filter(|charge| within(charge.at)) {
        deeds.input_tokens += u64::from(charge.input);
        deeds.output_tokens += u64::from(charge.output);
    }
    deeds
}

/// When turns ended, and how. A turn is from running until the agent is idle or the session ends; a run that was to work
/// and failed before it could is one, too.
fn turn_ends(script: &Script) -> Vec<(i64, &'static str)> {
    let mut ends = Vec::new();
    let (mut is_open, mut ran) = (false, false);
    for change in &script.statuses {
        match change.status {
            Status::Queued | Status::Pending => ran = false,
            Status::Running => (is_open, ran) = (true, true),
            Status::Idle if std::mem::take(&mut is_open) => ends.push((change.at, "completed")),
            status if status.is_terminal() => {
                let failed_at_once = !ran && matches!(status, Status::Failed | Status::TimedOut);
                if std::mem::take(&mut is_open) || failed_at_once {
                    ends.push((change.at, status.name()));
                }
            }
            _ => {}
        }
    }
    ends
}

impl Account {
    /// Adds what a session did from `from` to `until`, both included.
    pub(super) fn add(&mut self, script: &Script, options: &SimulateOptions, from: i64, until: i64) {
        let within = |at: i64| from <= at && at <= until;
        let is_old = options.dialect == Dialect::Old;
        let agent = self.by_agent.entry(script.agent.name.unwrap_or("")).or_default();
        if within(script.created_at) {
            self.sessions += 1;
            agent.sessions += 1;
            self.subagents += u64::from(script.parent.is_some());
        }
        self.deeds.merge(&deeds(script, from, until));
        for change in script.statuses.iter().filter(|change| within(change.at)) {
            if change.status.is_terminal() {
                count(&mut self.finished_by_status, change.status.name());
                count(&mut agent.finished_by_status, change.status.name());
            }
            if let Some(error) = change.error {
                count(&mut self.turn_failures, if is_old { "other" } else { error.name() });
            }
        }
        for charge in script.charges.iter().filter(|charge| within(charge.at)) {
            let model = &MODELS[charge.model];
            let cached = if is_old { 0 } else { u64::from(charge.cached) };
            for tokens in [&mut self.tokens, &mut agent.tokens] {
                let tokens = tokens.entry(model.name).or_default();
                tokens.input += u64::from(charge.input);
                tokens.cached += cached;
                tokens.output += u64::from(charge.output);
                tokens.reasoning += u64::from(charge.reasoning);
            }
            if let Some(nano) = price(charge) {
                *self.cost_nano_usd.entry(model.name).or_default() += nano;
            }
        }
        if !is_old {
            for answer in script.answers.iter().filter(|answer| within(answer.at)) {
                if let Some(outcome) = answer.outcome {
                    count(&mut self.outcomes, outcome.name());
                }
            }
        }
        self.restarts += script.restarts.iter().filter(|at| within(**at)).count() as u64;
        for event in script.events.iter().filter(|event| within(event.at)) {
            self.events += 1;
            match &event.what {
                What::Policy { calls, .. } => {
                    self.steps += 1;
                    agent.steps += 1;
                    for call in calls {
                        count(&mut self.tool_calls, call.tool.name());
                    }
                }
                What::InvalidPolicy => {
                    self.steps += 1;
                    agent.steps += 1;
                }
                What::ToolError { call, .. } => count(&mut self.tool_failures, call.tool.name()),
                what => {
                    if let Some(status) = entered(what) {
                        count(&mut self.status_entries, status.name());
                    }
                }
            }
        }
    }
}

/// The status that an event shows to be entered.
fn entered(what: &What) -> Option<Status> {
    match what {
        What::AgentStarted | What::Running | What::Resumed => Some(Status::Running),
        What::Paused => Some(Status::Paused),
        What::Idle => Some(Status::Idle),
        What::Awaiting { .. } => Some(Status::AwaitingToolResults),
        What::Completion { status } => Some(*status),
        _ => None,
    }
}

fn price(charge: &Charge) -> Option<u64> {
    let tokens = ModelTotals {
        input: charge.input.into(),
        cached: charge.cached.into(),
        output: charge.output.into(),
        reasoning: charge.reasoning.into(),
    };
    let parts = tokens.cost(&MODELS[charge.model])?;
    Some(parts.iter().sum())
}

fn count(counts: &mut BTreeMap<&'static str, u64>, key: &'static str) {
    *counts.entry(key).or_default() += 1;
}
