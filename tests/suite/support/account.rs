//! The exporter's numbers and the simulator's own account, side by side.

use std::collections::BTreeMap;

use agent_session_exporter::projection::{Metric, Snapshot};
use agent_session_exporter::simulator::Truth;

/// What was told, by name of the measure and label value: one flat list, so that a difference names itself.
pub type Told = BTreeMap<String, u64>;

fn by_label(told: &mut Told, snapshot: &Snapshot, measure: &str, metric: Metric, label: usize) {
    let Some(family) = snapshot.family(metric) else { return };
    for (index, head) in family.heads().iter().enumerate() {
        let name = match label {
            0 => snapshot.text(head.key.agent),
            label => snapshot.text(head.key.labels[label - 1]),
        };
        *told.entry(format!("{measure}[{name}]")).or_default() += family.value(index);
    }
}

fn sum(told: &mut Told, snapshot: &Snapshot, measure: &str, metric: Metric) {
    let family = snapshot.family(metric).expect("every metric has a family");
    told.insert(measure.into(), (0..family.heads().len()).map(|index| family.value(index)).sum());
}

/// What the exporter says.
pub fn told(snapshot: &Snapshot) -> Told {
    let mut told = Told::new();
    sum(&mut told, snapshot, "sessions", Metric::SessionsCreated);
    sum(&mut told, snapshot, "steps", Metric::Steps);
    sum(&mut told, snapshot, "subagents", Metric::Subagents);
    sum(&mut told, snapshot, "restarts", Metric::SessionsReopened);
    sum(&mut told, snapshot, "events", Metric::EventsIngested);
    for (measure, metric) in [
        ("active", Metric::Sessions),
        ("finished", Metric::SessionsFinished),
        ("outcomes", Metric::SessionOutcomes),
        ("turn_failures", Metric::TurnFailures),
        ("tool_calls", Metric::ToolCalls),
        ("tool_failures", Metric::ToolCallFailures),
        ("input", Metric::InputTokens),
        ("cached", Metric::CacheReadTokens),
        ("output", Metric::OutputTokens),
        ("reasoning", Metric::ReasoningTokens),
        ("cost", Metric::Cost),
        ("entries", Metric::StatusChanges),
    ] {
        by_label(&mut told, snapshot, measure, metric, 1);
    }
    by_label(&mut told, snapshot, "agent_steps", Metric::Steps, 0);
    by_label(&mut told, snapshot, "agent_sessions", Metric::SessionsCreated, 0);
    by_label(&mut told, snapshot, "agent_finished", Metric::SessionsFinished, 0);
    add_sum(&mut told, "turn_failures");
    told.retain(|_, value| *value != 0);
    told
}

/// Adds up a measure over its label: the sum is known also where its parts are not.
fn add_sum(told: &mut Told, measure: &str) {
    let prefix = format!("{measure}[");
    let sum = told.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, value)| value).sum();
    told.insert(format!("all {measure}"), sum);
}

/// What really happened.
fn truly(truth: &Truth) -> Told {
    let account = &truth.account;
    let mut told = Told::new();
    for (measure, value) in [
        ("sessions", account.sessions),
        ("steps", account.steps),
        ("subagents", account.subagents),
        ("restarts", account.restarts),
        ("events", account.events),
    ] {
        told.insert(measure.into(), value);
    }
    for (measure, map) in [
        ("active", &account.active_by_status),
        ("finished", &account.finished_by_status),
        ("outcomes", &account.outcomes),
        ("turn_failures", &account.turn_failures),
        ("tool_calls", &account.tool_calls),
        ("tool_failures", &account.tool_failures),
        ("cost", &account.cost_nano_usd),
        ("entries", &account.status_entries),
    ] {
        for (name, value) in map {
            told.insert(format!("{measure}[{name}]"), *value);
        }
    }
    for (model, tokens) in &account.tokens {
        for (measure, value) in [
            ("input", tokens.input),
            ("cached", tokens.cached),
            ("output", tokens.output),
            ("reasoning", tokens.reasoning),
        ] {
            told.insert(format!("{measure}[{model}]"), value);
        }
    }
    for (agent, account) in &account.by_agent {
        let agent = if agent.is_empty() { "unknown" } else { agent };
        told.insert(format!("agent_steps[{agent}]"), account.steps);
        told.insert(format!("agent_sessions[{agent}]"), account.sessions);
        told.insert(format!("agent_finished[{agent}]"), account.finished_by_status.values().sum());
    }
    add_sum(&mut told, "turn_failures");
    told.retain(|_, value| *value != 0);
    told
}

/// Every measure in which the two differ, as `name: told ≠ true`; measures in `aside` are left out.
pub fn differences(snapshot: &Snapshot, truth: &Truth, aside: &[&str]) -> Vec<String> {
    let (told, truly) = (told(snapshot), truly(truth));
    let names: std::collections::BTreeSet<&String> = told.keys().chain(truly.keys()).collect();
    names
        .into_iter()
        .filter(|name| !aside.iter().any(|aside| name.starts_with(aside)))
        // The simulator counts only entries that its streams show; these are known from statuses too.
        .filter(|name| {
            !matches!(
                name.as_str(),
                "entries[pending]" | "entries[queued]" | "entries[failed]" | "entries[interrupted]"
            )
        })
        .filter_map(|name| {
            let (told, truly) = (told.get(name).unwrap_or(&0), truly.get(name).unwrap_or(&0));
            (told != truly).then(|| format!("{name}: told {told}, true {truly}"))
        })
        .collect()
}
