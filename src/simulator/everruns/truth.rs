//! The simulator's own account of what happened, added up from the scripts and not from anything the API said.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cast::{AGENTS, MODELS, TOOLS, Usage};
use super::era::Era;
use super::script::{Outcome, Script, Status, What};
use super::turn::known_code;
use super::world::World;
use crate::simulator::timestamp;
use crate::simulator::traces::{Deeds, SessionDeeds, Traces};

/// Token sums of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// All prompt tokens: uncached, read from a cache and written to one.
    pub input: u64,
    /// Prompt tokens from the cache.
    pub cached: u64,
    /// Prompt tokens written to the cache.
    pub cache_write: u64,
    /// Tokens produced.
    pub output: u64,
    /// Always zero: this platform does not tell them apart.
    pub reasoning: u64,
}

/// What one agent's sessions did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentAccount {
    /// Sessions created.
    pub sessions: u64,
    /// Always empty: sessions here do not end.
    pub finished_by_status: BTreeMap<&'static str, u64>,
    /// Model decisions.
    pub steps: u64,
    /// Tokens by model.
    pub tokens: BTreeMap<&'static str, Tokens>,
}

/// Everything that happened from some time on. The copied events of forks count nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Sessions created; history, forks, and those that others started included.
    pub sessions: u64,
    /// Sessions deleted.
    pub deleted: u64,
    /// Sessions by their status now, archived ones included, deleted ones left out.
    pub active_by_status: BTreeMap<&'static str, u64>,
    /// Always empty: sessions here do not end.
    pub finished_by_status: BTreeMap<&'static str, u64>,
    /// Tokens of calls that reported them, by model.
    pub tokens: BTreeMap<&'static str, Tokens>,
    /// Cost in nano-dollars: of each call what the provider reported, else what was estimated.
    pub cost_nano_usd: BTreeMap<&'static str, u64>,
    /// The same by who said it: `platform` or `estimated`.
    pub cost_by_basis: BTreeMap<&'static str, u64>,
    /// Model decisions, successful or not.
    pub steps: u64,
    /// Tool calls that were announced as started.
    pub tool_calls: BTreeMap<&'static str, u64>,
    /// Tool calls that did not succeed.
    pub tool_failures: BTreeMap<&'static str, u64>,
    /// Always empty: agents here give no verdict.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Turns that failed or were sealed, by code; codes outside the closed list are `other`.
    pub turn_failures: BTreeMap<&'static str, u64>,
    /// Turns that began.
    pub turns_started: u64,
    /// Turns that ended: `completed`, `failed` (sealed ones included), `interrupted`.
    pub turns_finished: BTreeMap<&'static str, u64>,
    /// Turns of existing sessions that have begun and not ended, now.
    pub open_turns: u64,
    /// Calls of models, each attempt counted; a decision without generations is one call.
    pub model_calls: BTreeMap<&'static str, u64>,
    /// Calls of models that failed.
    pub model_call_failures: BTreeMap<&'static str, u64>,
    /// The milliseconds that calls took.
    pub model_call_ms: BTreeMap<&'static str, u64>,
    /// Calls that say when the first token came.
    pub first_tokens: BTreeMap<&'static str, u64>,
    /// Sessions that were started by others.
    pub subagents: u64,
    /// Always zero.
    pub restarts: u64,
    /// Entries into a status that the event stream shows, and `started`: sessions created.
    pub status_entries: BTreeMap<&'static str, u64>,
    /// Events in all streams, from the moment they happen even if they can be read only later; numbers that were skipped
    /// are not events.
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
        for script in sessions {
            account.add(script, world.era, from, now);
            if script.is_visible(now) {
                count(&mut account.active_by_status, status_name(world.era, script.status(now)));
                account.open_turns += open_turns(script, now);
            }
        }
        let each = sessions.iter().map(|script| SessionDeeds {
            id: script.id.show(world.era, "session"),
            parent: script.parent.map(|parent| parent.show(world.era, "session")),
            deeds: deeds(script, world.era, from, now),
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

/// What a session did from `from` to `until`, both included, without what it copied.
fn deeds(script: &Script, era: Era, from: i64, until: i64) -> Deeds {
    let mut deeds = Deeds { model_calls: Some(0), ..Deeds::default() };
    let own = script.events[script.head..].iter().filter(|event| from <= event.at && event.at <= until);
    for event in own {
        let usage = match &event.what {
            What::TurnCompleted(_) => {
                deeds.finish_turn("completed");
                continue;
            }
            What::TurnFailed { .. } | What::TurnSealed { .. } => {
                deeds.finish_turn("failed");
                continue;
            }
            What::TurnCancelled => {
                deeds.finish_turn("interrupted");
                continue;
            }
            What::ToolCompleted { .. } => {
                deeds.tool_calls_ended += 1;
                continue;
            }
            What::Generation(generation) => generation.usage,
            What::ReasonCompleted(reason) => {
                deeds.steps += 1;
                if reason.alone.is_none() {
                    continue;
                }
                reason.usage
            }
            _ => continue,
        };
        deeds.model_calls = deeds.model_calls.map(|calls| calls + 1);
        if let Some(usage) = usage.filter(|_| era != Era::D0) {
            let cache = u64::from(usage.cache_read.unwrap_or(0)) + u64::from(usage.cache_creation.unwrap_or(0));
            deeds.input_tokens += u64::from(usage.input) + cache;
            deeds.output_tokens += u64::from(usage.output);
        }
    }
    deeds
}

/// One call of a model, however the stream tells of it.
struct Call<'a> {
    model: Option<usize>,
    usage: Option<&'a Usage>,
    succeeded: bool,
    duration_ms: u32,
    first_token: bool,
}

impl Account {
    /// Adds what a session did from `from` to `until`, both included.
    pub(super) fn add(&mut self, script: &Script, era: Era, from: i64, until: i64) {
        let within = |at: i64| from <= at && at <= until;
        let name = script.agent.map_or("", |agent| AGENTS[agent].name);
        if within(script.created_at) {
            self.sessions += 1;
            self.subagents += u64::from(script.parent.is_some());
            self.by_agent.entry(name).or_default().sessions += 1;
            count(&mut self.status_entries, "started");
        }
        self.deleted += u64::from(script.deleted_at.is_some_and(within));
        self.deeds.merge(&deeds(script, era, from, until));
        for event in script.events[script.head..].iter().filter(|event| within(event.at)) {
            self.events += 1;
            match &event.what {
                What::Activated => count(&mut self.status_entries, "running"),
                What::Idled { .. } => count(&mut self.status_entries, "idle"),
                What::CallRequested(_) => count(&mut self.status_entries, "awaiting_tool_results"),
                What::BudgetPaused => count(&mut self.status_entries, "paused"),
                What::TurnStarted => self.turns_started += 1,
                What::TurnCompleted(_) => count(&mut self.turns_finished, "completed"),
                What::TurnCancelled => count(&mut self.turns_finished, "interrupted"),
                What::TurnFailed { code, .. } => {
                    count(&mut self.turns_finished, "failed");
                    count(&mut self.turn_failures, known_code(code));
                }
                What::TurnSealed { reason, .. } => {
                    count(&mut self.turns_finished, "failed");
                    count(&mut self.turn_failures, reason);
                }
                What::ToolStarted(call) => count(&mut self.tool_calls, TOOLS[call.tool]),
                What::ToolCompleted { call, outcome, .. } if *outcome != Outcome::Success => {
                    count(&mut self.tool_failures, TOOLS[call.tool]);
                }
                What::Generation(generation) => self.add_call(
                    name,
                    era,
                    &Call {
                        model: Some(generation.model),
                        usage: generation.usage.as_ref(),
                        succeeded: generation.error.is_none(),
                        duration_ms: generation.duration_ms,
                        first_token: generation.first_token_ms.is_some(),
                    },
                ),
                What::ReasonCompleted(reason) => {
                    self.steps += 1;
                    self.by_agent.entry(name).or_default().steps += 1;
                    if let Some(model) = reason.alone {
                        let call = Call {
                            model,
                            usage: reason.usage.as_ref(),
                            succeeded: reason.error.is_none(),
                            // The oldest generation does not say how long decisions take.
                            duration_ms: if era == Era::D0 { 0 } else { reason.duration_ms },
                            first_token: false,
                        };
                        self.add_call(name, era, &call);
                    }
                }
                _ => {}
            }
        }
    }

    fn add_call(&mut self, agent: &'static str, era: Era, call: &Call) {
        let model = call.model.map_or("unknown", |model| MODELS[model].name);
        count(&mut self.model_calls, model);
        *self.model_call_ms.entry(model).or_default() += u64::from(call.duration_ms);
        if !call.succeeded {
            count(&mut self.model_call_failures, model);
        }
        if call.first_token {
            count(&mut self.first_tokens, model);
        }
        let Some(usage) = call.usage.filter(|_| era != Era::D0) else {
            return;
        };
        let agent = self.by_agent.entry(agent).or_default();
        for tokens in [&mut self.tokens, &mut agent.tokens] {
            let tokens = tokens.entry(model).or_default();
            let (read, written) = (usage.cache_read.unwrap_or(0), usage.cache_creation.unwrap_or(0));
            tokens.input += u64::from(usage.input) + u64::from(read) + u64::from(written);
            tokens.cached += u64::from(read);
            tokens.cache_write += u64::from(written);
            tokens.output += u64::from(usage.output);
        }
        let cost = usage.actual.map(|nano| ("platform", nano)).or(usage.estimated.map(|nano| ("estimated", nano)));
        if let Some((basis, nano)) = cost.filter(|_| era != Era::D1) {
            *self.cost_nano_usd.entry(model).or_default() += nano;
            *self.cost_by_basis.entry(basis).or_default() += nano;
        }
    }
}

/// The status as the account names it.
fn status_name(era: Era, status: Status) -> &'static str {
    match status {
        Status::Started if era == Era::Serve => "idle",
        Status::Started => "started",
        Status::Active => "running",
        Status::Idle => "idle",
        Status::Waiting => "awaiting_tool_results",
        Status::Paused => "paused",
    }
}

fn open_turns(script: &Script, now: i64) -> u64 {
    let own = script.events[script.head..].iter().filter(|event| event.at <= now);
    let begun = own.filter(|event| event.what == What::TurnStarted).count();
    let ended = script.ends.iter().filter(|(at, _)| *at <= now).count();
    (begun - ended) as u64
}

fn count(counts: &mut BTreeMap<&'static str, u64>, key: &'static str) {
    *counts.entry(key).or_default() += 1;
}
