//! A naive recount of everything that the API tells, for comparison with the account.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{World, events, sessions, text};

/// Sums by name, in groups that are named like the members of the account.
#[derive(Default)]
pub(super) struct Recount {
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) groups: BTreeMap<String, BTreeMap<String, u64>>,
    pub(super) tokens: BTreeMap<String, [u64; 4]>,
    pub(super) usage_by_session: BTreeMap<String, [u64; 2]>,
}

/// What is known of a decision while it goes on.
#[derive(Default)]
struct Decision {
    generations: u32,
    model: Option<String>,
}

const CODES: &[&str] = &[
    "provider_rate_limited",
    "provider_unavailable",
    "provider_misconfigured",
    "provider_quota_exhausted",
    "model_unavailable",
    "request_too_large",
    "max_iterations",
    "dependency_unavailable",
    "processing_error",
    "llm_error",
];

/// Counts everything that can be seen at `now`.
pub(super) fn recount(world: &World, now: i64) -> Recount {
    let mut recount = Recount::default();
    for (row, path) in sessions(world, now) {
        recount.one("sessions");
        recount.group("status_entries", "started");
        let copied = row["forked_from_sequence"].as_i64().unwrap_or(0);
        let mut decision = Decision::default();
        let id = text(&row["id"]);
        for event in events(world, now, &path) {
            if event["sequence"].as_i64().expect("a number") > copied {
                recount.event(&id, &event, &mut decision);
            }
        }
    }
    recount
}

fn dollars(value: &Value) -> Option<u64> {
    value.as_f64().map(|dollars| (dollars * 1e9).round() as u64)
}

impl Recount {
    fn one(&mut self, name: &str) {
        *self.counts.entry(name.to_owned()).or_default() += 1;
    }

    fn group(&mut self, group: &str, name: &str) {
        self.sum(group, name, 1);
    }

    fn sum(&mut self, group: &str, name: &str, by: u64) {
        *self.groups.entry(group.to_owned()).or_default().entry(name.to_owned()).or_default() += by;
    }

    fn event(&mut self, session: &str, event: &Value, decision: &mut Decision) {
        self.one("events");
        let data = &event["data"];
        match event["type"].as_str().expect("a type") {
            "session.activated" => self.group("status_entries", "running"),
            "session.idled" => self.group("status_entries", "idle"),
            "tool.call_requested" => self.group("status_entries", "awaiting_tool_results"),
            "budget.paused" => self.group("status_entries", "paused"),
            "turn.started" => self.one("turns_started"),
            "turn.completed" => self.group("turns_finished", "completed"),
            "turn.cancelled" => self.group("turns_finished", "interrupted"),
            "turn.failed" => {
                self.group("turns_finished", "failed");
                let code = text(&data["error_code"]);
                self.group("turn_failures", if CODES.contains(&code.as_str()) { &code } else { "other" });
            }
            "turn.sealed" => {
                self.group("turns_finished", "failed");
                self.group("turn_failures", &text(&data["reason"]));
            }
            "tool.started" | "tool.call_started" => self.group("tool_calls", &text(&data["tool_call"]["name"])),
            "tool.completed" | "tool.call_completed" if data["success"] == false => {
                self.group("tool_failures", &text(&data["tool_name"]));
            }
            "reason.started" => {
                *decision = Decision::default();
                decision.model = data["metadata"]["model"].as_str().map(str::to_owned);
            }
            "output.message.completed" | "message.agent" => {
                let named = data["message"]["metadata"]["model"].as_str();
                decision.model = decision.model.take().or(named.map(str::to_owned));
            }
            "llm.generation" => {
                decision.generations += 1;
                let metadata = &data["metadata"];
                self.call(session, Some(text(&metadata["model"])), metadata);
            }
            "reason.completed" => {
                self.one("steps");
                if decision.generations == 0 {
                    self.call(session, decision.model.clone(), data);
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, session: &str, model: Option<String>, of: &Value) {
        let model = model.unwrap_or_else(|| "unknown".to_owned());
        self.group("model_calls", &model);
        if of["success"] == false {
            self.group("model_call_failures", &model);
        }
        self.sum("model_call_ms", &model, of["duration_ms"].as_u64().unwrap_or(0));
        if of["time_to_first_token_ms"].is_u64() {
            self.group("first_tokens", &model);
        }
        let usage = &of["usage"];
        if !usage.is_object() {
            return;
        }
        let number = |name: &str| usage[name].as_u64().unwrap_or(0);
        let (read, written) = (number("cache_read_tokens"), number("cache_creation_tokens"));
        let tokens = self.tokens.entry(model.clone()).or_default();
        for (sum, part) in
            tokens.iter_mut().zip([number("input_tokens") + read + written, read, written, number("output_tokens")])
        {
            *sum += part;
        }
        let sums = self.usage_by_session.entry(session.to_owned()).or_default();
        sums[0] += number("input_tokens");
        sums[1] += number("output_tokens");
        let (actual, estimated) = (dollars(&usage["actual_cost_usd"]), dollars(&usage["estimated_cost_usd"]));
        if let Some(nano) = actual.or(estimated) {
            self.sum("cost_nano_usd", &model, nano);
            self.sum("cost_by_basis", if actual.is_some() { "platform" } else { "estimated" }, nano);
        }
    }

    /// As the account is written.
    pub(super) fn document(&self) -> Map<String, Value> {
        let mut document = Map::new();
        for name in ["sessions", "events", "steps", "turns_started"] {
            document.insert(name.to_owned(), json!(self.counts.get(name).copied().unwrap_or(0)));
        }
        for name in [
            "status_entries",
            "turns_finished",
            "turn_failures",
            "tool_calls",
            "tool_failures",
            "model_calls",
            "model_call_failures",
            "model_call_ms",
            "first_tokens",
            "cost_nano_usd",
            "cost_by_basis",
        ] {
            document.insert(name.to_owned(), json!(self.groups.get(name).cloned().unwrap_or_default()));
        }
        let tokens = self.tokens.iter().map(|(model, [input, cached, cache_write, output])| {
            let sums = json!({
                "input": input,
                "cached": cached,
                "cache_write": cache_write,
                "output": output,
                "reasoning": 0,
            });
            (model.clone(), sums)
        });
        document.insert("tokens".to_owned(), Value::Object(tokens.collect()));
        document
    }
}
