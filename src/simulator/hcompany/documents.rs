//! The JSON documents around the events: usage, cost, tool requests, user messages, the status document.

use serde::Serialize;
use serde_json::{Value, json};

use super::texts;
use crate::simulator::script::{Answer, CallId, Environment, ErrorCode, MODELS, ToolCall, Totals};
use crate::simulator::session::{Session, Snapshot};
use crate::simulator::world::World;

/// A requested tool call.
#[derive(Serialize)]
pub(super) struct ToolRequest {
    tool_name: &'static str,
    args: Value,
    id: Option<String>,
}

impl From<&ToolCall> for ToolRequest {
    fn from(call: &ToolCall) -> Self {
        let id = match call.id {
            CallId::Numbered(number) => Some(format!("call_{number:04}")),
            CallId::Xml(position) => Some(format!("xml_{position}")),
            CallId::Null => None,
        };
        Self { tool_name: call.tool.name(), args: texts::arguments(call), id }
    }
}

/// Tool requests in order.
pub(super) fn tool_requests(calls: &[ToolCall]) -> Vec<ToolRequest> {
    calls.iter().map(ToolRequest::from).collect()
}

/// Token totals of a model, as the status document has them.
#[derive(Serialize)]
pub(super) struct ModelUsage {
    name: &'static str,
    input_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    output_tokens: u64,
    reasoning_tokens: u64,
}

#[derive(Serialize)]
struct ModelCost {
    #[serde(flatten)]
    usage: ModelUsage,
    #[serde(flatten)]
    cost: Cost,
}

/// Dollars; all null together when a price is unknown.
#[derive(Serialize)]
struct Cost {
    input_cost: Option<f64>,
    output_cost: Option<f64>,
    reasoning_cost: Option<f64>,
    total_cost: Option<f64>,
}

impl Cost {
    /// Whole nano-dollars become floats only here, each by one division: the nearest number to the decimal one.
    fn of(nano: Option<[u64; 3]>) -> Self {
        let dollars = |nano: u64| nano as f64 / 1e9;
        Self {
            input_cost: nano.map(|parts| dollars(parts[0])),
            output_cost: nano.map(|parts| dollars(parts[1])),
            reasoning_cost: nano.map(|parts| dollars(parts[2])),
            total_cost: nano.map(|parts| dollars(parts.iter().sum())),
        }
    }
}

/// Running totals with cost.
#[derive(Serialize)]
pub(super) struct Metrics {
    steps: u64,
    cost_per_model: Vec<ModelCost>,
    #[serde(flatten)]
    cost: Cost,
}

/// Token totals by model; the older platform has no count of cached tokens.
pub(super) fn usage(totals: &Totals, is_old: bool) -> Vec<ModelUsage> {
    let models = totals.models.iter();
    models
        .map(|(model, totals)| ModelUsage {
            name: MODELS[*model].name,
            input_tokens: totals.input,
            cached_tokens: (!is_old).then_some(totals.cached),
            output_tokens: totals.output,
            reasoning_tokens: totals.reasoning,
        })
        .collect()
}

/// Running totals with cost, as events and change batches have them.
pub(super) fn metrics(totals: &Totals, is_old: bool) -> Metrics {
    let costs = totals.models.iter().map(|(model, sums)| Cost::of(sums.cost(&MODELS[*model])));
    let cost_per_model = usage(totals, is_old).into_iter().zip(costs).map(|(usage, cost)| ModelCost { usage, cost });
    Metrics { steps: totals.steps, cost_per_model: cost_per_model.collect(), cost: Cost::of(totals.cost()) }
}

/// A message that a user wrote.
#[derive(Serialize)]
pub(super) struct UserMessage {
    r#type: &'static str,
    message: String,
    images: [String; 0],
    files: [Value; 0],
    skills: [Value; 0],
    caller_id: &'static str,
}

impl UserMessage {
    pub(super) fn new(message: String) -> Self {
        Self { r#type: "user_message", message, images: [], files: [], skills: [], caller_id: "user" }
    }
}

/// The status document, in the field order of the platform.
#[derive(Serialize)]
pub(super) struct SessionStatus {
    status: &'static str,
    error: Option<&'static str>,
    #[serde(flatten)]
    newer: Option<NewerStatus>,
    steps: u64,
    usage_per_model: Vec<ModelUsage>,
    subagent_session_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_tool_calls: Option<Vec<ToolRequest>>,
}

/// What the older platform does not say.
#[derive(Serialize)]
pub(super) struct NewerStatus {
    error_code: Option<&'static str>,
    outcome: Option<&'static str>,
}

impl NewerStatus {
    pub(super) fn of(snapshot: &Snapshot<'_>) -> Self {
        Self {
            error_code: snapshot.error.map(ErrorCode::name),
            outcome: snapshot.answer.and_then(|answer| answer.outcome).map(|outcome| outcome.name()),
        }
    }
}

impl SessionStatus {
    pub(super) fn of(world: &World, session: &Session, snapshot: &Snapshot<'_>, now: i64) -> Self {
        let is_old = world.is_old();
        let totals = session.totals(snapshot);
        let children = session.script.children.iter().filter(|(created_at, _)| *created_at <= now);
        Self {
            status: snapshot.status.name(),
            error: snapshot.error.map(error_text),
            newer: (!is_old).then(|| NewerStatus::of(snapshot)),
            steps: totals.steps,
            usage_per_model: usage(&totals, is_old),
            subagent_session_ids: children.map(|(_, id)| id.to_string()).collect(),
            pending_tool_calls: (!is_old).then(|| tool_requests(snapshot.pending_calls)),
        }
    }
}

/// The fixed text that customers see for an error code.
pub(super) fn error_text(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::EnvironmentError => "The session environment failed to provision or crashed.",
        ErrorCode::NoAnswer => "The agent stopped without producing an answer.",
        ErrorCode::AnswerValidation => "The agent's answer did not match the requested answer format.",
        ErrorCode::Timeout => "The session exceeded its maximum allowed time.",
        ErrorCode::InsufficientCredit => "The organization has no credit left to pay for the session's model calls.",
        ErrorCode::Internal => "The session failed due to an internal error.",
    }
}

/// The answer number `answer` of a session, if it is one of its current turn.
pub(super) fn answer_value(world: &World, session: &Session, answer: Option<&Answer>) -> Value {
    let Some(answer) = answer else {
        return Value::Null;
    };
    let script = &session.script;
    let index = script.answers.iter().position(|other| other.at == answer.at).unwrap_or_default();
    texts::answer(world.options.seed, script.key, index, answer.structured, answer.outcome)
}

/// The id in a request whose agent the list no longer names.
const FORGOTTEN_AGENT: &str = "h/retired-agent";

/// The agent as a resolved request shows it: by its catalog id, or in full.
pub(super) fn agent(session: &Session) -> Value {
    let agent = session.script.agent;
    let name = agent.name.unwrap_or(FORGOTTEN_AGENT);
    if agent.by_id {
        return json!(name);
    }
    json!({
        "name": name,
        "description": "A simulated agent",
        "environments": [environment(agent.environment)],
        "model": MODELS[agent.models[0]].name,
        "reasoning_effort": null,
        "instructions": format!("Be quick. {}", texts::PRIVATE),
        "subagents": null,
        "skills": null,
        "answer_format": null,
        "tools": null,
    })
}

fn environment(environment: Environment) -> Value {
    match environment {
        Environment::Web => json!({
            "id": "browser",
            "kind": "web",
            "host": "cloud",
            "start_url": format!("https://shop.example/{}", texts::PRIVATE),
            "headless": true,
            "session_id": null,
            "mode": { "type": "visual", "width": 1280, "height": 720, "markdown": false },
            "lazy": false,
            "settle_s": 1.0,
            "vault_id": null,
            "browser_profile_id": null,
            "use_default_browser_profile": false,
            "persist_browser_profile": false,
            "network": null,
        }),
        Environment::Desktop => json!({
            "id": "desk",
            "kind": "desktop",
            "host": "cloud",
            "session_id": null,
            "lazy": false,
            "settle_s": 0.5,
            "screenshot_max_width": null,
        }),
    }
}
