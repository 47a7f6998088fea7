//! How each event of a script looks on the wire, today and on the older platform.

use serde::Serialize;
use serde_json::{Value, json};

use super::documents::{ToolRequest, metrics, tool_requests};
use super::stream::type_name;
use super::texts::{self, PRIVATE};
use crate::simulator::options::{Dialect, SimulateOptions};
use crate::simulator::random::Dice;
use crate::simulator::script::{Event, Id, Key, Script, Status, Totals, What};
use crate::simulator::timestamp::rfc3339;

#[derive(Serialize)]
struct Policy {
    kind: &'static str,
    reasoning_content: Option<String>,
    content: String,
    tool_reqs: Vec<ToolRequest>,
    validation_errors: Vec<&'static str>,
}

#[derive(Serialize)]
struct Observation {
    kind: &'static str,
    r#type: &'static str,
    text: String,
    image: Option<Value>,
    metadata: Value,
}

#[derive(Serialize)]
struct ToolResult {
    kind: &'static str,
    tool_req: ToolRequest,
    result: Value,
    truncated: bool,
    output_artifact_path: Option<&'static str>,
}

/// Goes through a script once and keeps the running totals.
pub(super) struct Renderer<'a> {
    script: &'a Script,
    options: &'a SimulateOptions,
    is_old: bool,
    dice: Dice,
    totals: Totals,
    charges: usize,
    resets: usize,
    is_first_message: bool,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(script: &'a Script, options: &'a SimulateOptions) -> Self {
        let Key { root, child } = script.key;
        Self {
            script,
            options,
            is_old: options.dialect == Dialect::Old,
            dice: Dice::new(options.seed, root, child, "texts"),
            totals: Totals::default(),
            charges: 0,
            resets: 0,
            is_first_message: true,
        }
    }

    pub(super) fn render(&mut self, event: &Event, out: &mut Vec<u8>) {
        match &event.what {
            What::Policy { calls, reasoned } => {
                let reasoning_content = reasoned.then(|| format!("I should look at it again. {PRIVATE}"));
                let content = json!({ "note": texts::page(&mut self.dice, 60), "thought": "next" }).to_string();
                let data = Policy {
                    kind: "policy_event",
                    reasoning_content,
                    content,
                    tool_reqs: tool_requests(calls),
                    validation_errors: vec![],
                };
                self.agent_event(event, data, out);
            }
            What::InvalidPolicy => {
                let data = Policy {
                    kind: "policy_event",
                    reasoning_content: None,
                    content: format!("<tool_call>{{bad json {PRIVATE}"),
                    tool_reqs: vec![],
                    validation_errors: vec!["Tool call arguments are not valid JSON"],
                };
                self.agent_event(event, data, out);
            }
            What::Observation { textual } => {
                let data = self.observation(*textual);
                self.agent_event(event, data, out);
            }
            What::ToolResult { call, truncated } => {
                let data = ToolResult {
                    kind: "tool_result",
                    tool_req: call.into(),
                    result: texts::result(call),
                    truncated: *truncated,
                    output_artifact_path: truncated.then_some("/home/agent/outputs/call.txt"),
                };
                self.agent_event(event, data, out);
            }
            What::Metrics => {
                self.count_until(event.at);
                let metrics = metrics(&self.totals, self.is_old);
                envelope(event, &MetricsData { metrics }, out);
            }
            what => {
                let data = self.rare(what);
                match what {
                    What::UnknownType { .. } | What::UnknownKind | What::UnknownState => {
                        untyped_envelope(event, &data, out)
                    }
                    _ if type_name(what) == "AgentEvent" => self.agent_event(event, data, out),
                    _ => envelope(event, &data, out),
                }
            }
        }
    }

    fn observation(&mut self, textual: bool) -> Observation {
        let page = self.dice.between(1, 400);
        let environment = self.script.agent.environment.name();
        let text = texts::page(&mut self.dice, self.options.bulk_observation_bytes);
        let url = format!("https://shop.example/{PRIVATE}/{page}");
        if textual {
            return Observation {
                kind: "observation_event",
                r#type: "textual_web",
                text,
                image: None,
                metadata: json!({ "url": url, "mode": "markdown", "chunk_number": 1, "total_chunks": 3 }),
            };
        }
        let image = json!({ "source": resource(self.script.id, &format!("screenshot-{page:04}.jpg")), "type": "url", "media_type": "image/jpeg" });
        Observation {
            kind: "observation_event",
            r#type: environment,
            text,
            image: Some(image),
            metadata: json!({ "url": url, "title": "Shop", "tabs": ["0"], "current_tab": "0", "viewport_size": [1280, 720], "scroll_position": [0, 0] }),
        }
    }

    /// The payload of events that are few in a stream.
    fn rare(&mut self, what: &What) -> Value {
        let id = self.script.id;
        match what {
            What::Dispatched => json!({ "status": "dispatched" }),
            What::RunnerSession => {
                json!({ "runner_session_id": format!("rs-{:06x}", id.0 >> 104), "kind": self.script.agent.environment.name() })
            }
            What::LiveView => {
                json!({ "live_view_url": format!("https://live.example.invalid/view/{PRIVATE}-{:06x}", id.0 >> 104) })
            }
            What::Message => {
                let first = std::mem::replace(&mut self.is_first_message, false);
                let text = if first {
                    texts::first_message(self.options.seed, self.script.key)
                } else {
                    texts::further_message(&mut self.dice)
                };
                json!({ "kind": "message_event", "caller_id": "user", "content": [text] })
            }
            What::ToolError { call, origin } => {
                json!({ "kind": "error_event", "error": format!("it did not work: {PRIVATE}"), "origin": origin, "tool_req": ToolRequest::from(call) })
            }
            What::AgentWarning => {
                json!({ "kind": "error_event", "error": format!("odd page {PRIVATE}"), "origin": "agent", "tool_req": null })
            }
            What::Running => json!({ "state": "running", "pending_tool_calls": null }),
            What::Idle => json!({ "state": "idle", "pending_tool_calls": null }),
            What::Awaiting { calls } => {
                json!({ "state": "awaiting_tool_results", "pending_tool_calls": tool_requests(calls) })
            }
            What::Paused => json!({ "status": "paused" }),
            What::Resumed => json!({ "status": "running" }),
            What::Flow { flow } => json!({ "kind": "flow_event", "flow": flow, "origin": "user" }),
            What::FileTransfer => {
                json!({ "direction": "download", "path": format!("/home/agent/{PRIVATE}.pdf"), "size_bytes": 20_480 })
            }
            What::Attachment => json!({
                "origin": "agent", "name": format!("{PRIVATE}.pdf"), "path": format!("/home/agent/{PRIVATE}.pdf"), "media_type": "application/pdf",
                "size_bytes": 20_480, "url": resource(id, "shared-file-01.pdf"),
            }),
            What::Answer { index } => self.answer(*index as usize),
            What::Completion { status } => json!({ "reason": reason(*status) }),
            What::UnknownType { variant: 0 } => {
                json!({ "message": format!("hi {PRIVATE}"), "screenshot": null })
            }
            What::UnknownType { variant: 1 } => json!({ "delay_s": 3 }),
            What::UnknownType { .. } => Value::Null,
            What::UnknownKind => json!({ "kind": "step_timings", "steps": [] }),
            What::UnknownState => {
                json!({ "state": "compacting_memory", "pending_tool_calls": null })
            }
            _ => json!({}),
        }
    }

    fn answer(&self, index: usize) -> Value {
        let answer = &self.script.answers[index];
        let value = texts::answer(self.options.seed, self.script.key, index, answer.structured, answer.outcome);
        if self.is_old {
            return json!({ "kind": "answer_event", "answer": value });
        }
        let outcome = answer.outcome.map(|outcome| outcome.name());
        json!({ "kind": "answer_event", "answer": value, "outcome": outcome })
    }

    /// Adds the model calls made until `now` to the running totals.
    fn count_until(&mut self, now: i64) {
        let script = self.script;
        while let Some(charge) = script.charges.get(self.charges).filter(|charge| charge.at <= now) {
            while script.resets.get(self.resets).is_some_and(|reset| *reset <= charge.at) {
                self.totals = Totals::default();
                self.resets += 1;
            }
            self.totals.add(charge);
            self.charges += 1;
        }
    }

    /// An agent event: its payload is flat today and was nested on the older platform.
    fn agent_event(&mut self, event: &Event, data: impl Serialize, out: &mut Vec<u8>) {
        if !self.is_old {
            return envelope(event, &data, out);
        }
        let flat = serde_json::to_value(data).expect("payloads have string keys and no fallible serializers");
        let record = Id(self.script.id.0 ^ u128::from(event.at as u64));
        let nested = json!({ "id": record.to_string(), "run_id": self.script.id.to_string(), "step_parts": [1], "event": nest(flat) });
        untyped_envelope(event, &nested, out);
    }
}

#[derive(Serialize)]
struct MetricsData {
    metrics: super::documents::Metrics,
}

/// The older platform kept what a policy said in `message` and what was seen in `observation`.
fn nest(flat: Value) -> Value {
    let Value::Object(mut fields) = flat else {
        return flat;
    };
    let kind = fields.remove("kind").unwrap_or_default();
    if kind == "policy_event" {
        let tool_reqs = fields.remove("tool_reqs").unwrap_or_default();
        return json!({ "kind": kind, "message": fields, "tool_reqs": tool_reqs });
    }
    if kind == "observation_event" {
        return json!({ "kind": kind, "observation": fields });
    }
    fields.insert("kind".to_owned(), kind);
    Value::Object(fields)
}

fn reason(status: Status) -> &'static str {
    match status {
        Status::Interrupted => "stopped",
        Status::TimedOut => "timed_out",
        _ => "finished",
    }
}

fn resource(id: Id, name: &str) -> String {
    format!("https://agp.eu.hcompany.ai/api/v1/trajectories/{id}/resources/agent-resources/{PRIVATE}-{name}")
}

fn envelope(event: &Event, data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(rfc3339(event.at).as_bytes());
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(type_name(&event.what).as_bytes());
    out.extend_from_slice(b"\",\"data\":");
    write_json(data, out);
    out.push(b'}');
}

/// Events outside the vendor's schema pass through another model, which puts the time last.
fn untyped_envelope(event: &Event, data: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(type_name(&event.what).as_bytes());
    out.extend_from_slice(b"\",\"data\":");
    write_json(data, out);
    out.extend_from_slice(b",\"timestamp\":\"");
    out.extend_from_slice(rfc3339(event.at).as_bytes());
    out.extend_from_slice(b"\"}");
}

fn write_json(data: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, data).expect("writing JSON to memory cannot fail");
}
