//! The exporter's numbers and the simulator's own account, side by side.

use std::collections::BTreeMap;

use agent_session_exporter::projection::{Metric, Snapshot};
use serde::Serialize;
use serde_json::Value;

/// Measures of platforms that tell of turns and calls by themselves.
const OF_CALLS: [&str; 6] =
    ["turns_finished", "model_calls", "model_call_failures", "model_call_ms", "first_tokens", "cost_by_basis"];

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

/// Of histograms by model: what `pick` makes of how many there are and of their sum in microseconds.
fn observed(told: &mut Told, snapshot: &Snapshot, measure: &str, metric: Metric, pick: fn(u64, u64) -> u64) {
    let Some(family) = snapshot.family(metric) else { return };
    for (index, head) in family.heads().iter().enumerate() {
        let (sum, buckets) = family.values(index).split_last().expect("a histogram has numbers");
        let name = format!("{measure}[{}]", snapshot.text(head.key.labels[0]));
        *told.entry(name).or_default() += pick(buckets.iter().sum(), *sum);
    }
}

/// What the exporter says.
fn told(snapshot: &Snapshot) -> Told {
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
        ("cache_write", Metric::CacheWriteTokens),
        ("turns_finished", Metric::TurnsFinished),
        ("model_calls", Metric::ModelCalls),
        ("model_call_failures", Metric::ModelCallFailures),
    ] {
        by_label(&mut told, snapshot, measure, metric, 1);
    }
    by_label(&mut told, snapshot, "cost_by_basis", Metric::Cost, 2);
    sum(&mut told, snapshot, "turns_started", Metric::TurnsStarted);
    observed(&mut told, snapshot, "model_call_ms", Metric::ModelCallDuration, |_, micros| micros / 1000);
    observed(&mut told, snapshot, "first_tokens", Metric::TimeToFirstToken, |count, _| count);
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

/// What really happened, from the simulator's account as JSON.
fn truly(truth: &Value) -> Told {
    let mut told = Told::new();
    let mut put = |name: String, value: &Value| {
        told.insert(name, value.as_u64().expect("the account holds whole numbers"));
    };
    for measure in ["sessions", "steps", "subagents", "restarts", "events"] {
        put(measure.into(), &truth[measure]);
    }
    let map = |name: &str| truth[name].as_object().expect("a map").clone();
    for (measure, name) in [
        ("active", "active_by_status"),
        ("finished", "finished_by_status"),
        ("outcomes", "outcomes"),
        ("turn_failures", "turn_failures"),
        ("tool_calls", "tool_calls"),
        ("tool_failures", "tool_failures"),
        ("cost", "cost_nano_usd"),
        ("entries", "status_entries"),
    ] {
        for (label, value) in map(name) {
            put(format!("{measure}[{label}]"), &value);
        }
    }
    // Only where the platform tells of turns and calls by themselves.
    if let Some(count) = truth.get("turns_started") {
        put("turns_started".into(), count);
    }
    for measure in OF_CALLS {
        for (label, value) in truth.get(measure).and_then(Value::as_object).into_iter().flatten() {
            put(format!("{measure}[{label}]"), value);
        }
    }
    for (model, tokens) in map("tokens") {
        for measure in ["input", "cached", "cache_write", "output", "reasoning"] {
            // Not every platform tells of every kind.
            if let Some(count) = tokens.get(measure) {
                put(format!("{measure}[{model}]"), count);
            }
        }
    }
    for (agent, account) in map("by_agent") {
        let agent = if agent.is_empty() { "unknown" } else { &agent };
        put(format!("agent_steps[{agent}]"), &account["steps"]);
        put(format!("agent_sessions[{agent}]"), &account["sessions"]);
        let finished = account["finished_by_status"].as_object().expect("a map");
        let sum = finished.values().filter_map(Value::as_u64).sum::<u64>();
        put(format!("agent_finished[{agent}]"), &sum.into());
    }
    add_sum(&mut told, "turn_failures");
    told.retain(|_, value| *value != 0);
    told
}

/// What the exporter says on its metrics page, read as text.
pub fn scraped(page: &str) -> Told {
    read(page.lines().filter(|line| !line.starts_with('#')))
}

/// The same of one source.
pub fn scraped_of(page: &str, source: &str) -> Told {
    let label = format!("source=\"{source}\"");
    read(page.lines().filter(|line| !line.starts_with('#') && line.contains(&label)))
}

fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Told {
    let mut told = Told::new();
    for line in lines {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let (measure, by) = match name {
            "agent_sessions_created_total" => ("sessions", Some("agent_sessions")),
            "agent_steps_total" => ("steps", Some("agent_steps")),
            "agent_subagent_sessions_total" => ("subagents", None),
            "agent_session_exporter_sessions_reopened_total" => ("restarts", None),
            "agent_session_exporter_events_ingested_total" => ("events", None),
            "agent_sessions" => ("active[status]", None),
            "agent_sessions_finished_total" => ("finished[status]", Some("agent_finished")),
            "agent_session_outcomes_total" => ("outcomes[outcome]", None),
            "agent_turn_failures_total" => ("turn_failures[error_type]", None),
            "agent_tool_calls_total" => ("tool_calls[tool]", None),
            "agent_tool_call_failures_total" => ("tool_failures[tool]", None),
            "agent_input_tokens_total" => ("input[model]", None),
            "agent_cache_read_input_tokens_total" => ("cached[model]", None),
            "agent_output_tokens_total" => ("output[model]", None),
            "agent_reasoning_output_tokens_total" => ("reasoning[model]", None),
            "agent_cost_usd_total" => ("cost[model]", None),
            "agent_session_status_changes_total" => ("entries[status]", None),
            "agent_cache_write_input_tokens_total" => ("cache_write[model]", None),
            "agent_turns_started_total" => ("turns_started", None),
            "agent_turns_finished_total" => ("turns_finished[outcome]", None),
            "agent_model_calls_total" => ("model_calls[model]", None),
            "agent_model_call_failures_total" => ("model_call_failures[model]", None),
            "agent_model_call_duration_seconds_sum" => ("model_call_ms[model]", None),
            "agent_model_time_to_first_token_seconds_count" => ("first_tokens[model]", None),
            _ => continue,
        };
        let value: f64 = value.parse().expect("a number");
        let value = match measure {
            // Money is kept in billionths and shown in dollars.
            "cost[model]" => (value * 1e9).round(),
            "model_call_ms[model]" => (value * 1e3).round(),
            _ => value,
        } as u64;
        let label = |wanted: &str| {
            let (_, rest) = labels.split_once(&format!("{wanted}=\"")).expect("the label is there");
            let mut text = String::new();
            let mut chars = rest.chars();
            loop {
                match chars.next().expect("the label ends") {
                    '"' => break text,
                    '\\' => text.push(match chars.next().expect("an escape has two characters") {
                        'n' => '\n',
                        other => other,
                    }),
                    other => text.push(other),
                }
            }
        };
        let name = match measure.split_once('[') {
            Some((measure, dimension)) => format!("{measure}[{}]", label(dimension.trim_end_matches(']'))),
            None => measure.to_owned(),
        };
        *told.entry(name).or_default() += value;
        if let Some(by) = by {
            *told.entry(format!("{by}[{}]", label("agent"))).or_default() += value;
        }
        if measure.starts_with("cost") {
            *told.entry(format!("cost_by_basis[{}]", label("basis"))).or_default() += value;
        }
    }
    add_sum(&mut told, "turn_failures");
    told.retain(|_, value| *value != 0);
    told
}

/// Every measure in which a snapshot differs from the truth, as `name: told ≠ true`; those in `aside` are left out.
pub fn differences(snapshot: &Snapshot, truth: &impl Serialize, aside: &[&str]) -> Vec<String> {
    compare(&told(snapshot), &serde_json::to_value(truth).expect("it is plain data"), aside)
}

/// The same for what was told anywhere.
pub fn compare(told: &Told, truth: &Value, aside: &[&str]) -> Vec<String> {
    let truly = truly(truth);
    let untold = |name: &str| {
        (name == "turns_started" || OF_CALLS.iter().any(|measure| name.starts_with(measure)))
            && truth.get(name.split('[').next().expect("there is a first part")).is_none()
    };
    let names: std::collections::BTreeSet<&String> = told.keys().chain(truly.keys()).collect();
    names
        .into_iter()
        .filter(|name| !aside.iter().any(|aside| name.starts_with(aside)) && !untold(name))
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

/// Every stored number that is not zero.
pub fn totals(snapshot: &Snapshot) -> BTreeMap<String, Vec<u64>> {
    let mut totals = BTreeMap::new();
    for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored()) {
        let family = snapshot.family(metric).expect("every metric has a family");
        for (index, head) in family.heads().iter().enumerate() {
            if family.values(index).iter().any(|value| *value > 0) {
                totals.insert(format!("{metric:?} {:?}", head.key), family.values(index).to_vec());
            }
        }
    }
    totals
}
