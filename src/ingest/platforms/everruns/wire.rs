//! The shapes Everruns' API writes, as far as we read them; everything else in a body is skipped, not kept.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ingest::platforms::text::{Maybe, Text};

/// A page of anything. Old servers have lists without `total` and the rest.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    pub data: Vec<&'a RawValue>,
    #[serde(default)]
    pub total: Option<u64>,
    #[serde(default)]
    pub limit: Option<u64>,
}

/// A session. Optional fields may be absent, null or there.
#[derive(Deserialize)]
pub(super) struct Session<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow, default)]
    pub agent_id: Option<Text<'a>>,
    /// Only the vendor's single-binary host has it.
    #[serde(borrow, default)]
    pub agent_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub status: Text<'a>,
    #[serde(borrow)]
    pub created_at: Text<'a>,
    #[serde(borrow, default)]
    pub updated_at: Option<Text<'a>>,
    #[serde(default)]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub event_count: Option<u64>,
    #[serde(borrow, default)]
    pub forked_from_session_id: Option<Text<'a>>,
    #[serde(default)]
    pub forked_from_sequence: Option<u64>,
    #[serde(borrow, default)]
    pub parent_session_id: Maybe<Text<'a>>,
}

/// An agent.
#[derive(Deserialize)]
pub(super) struct Agent<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// The platform's own count of sessions.
#[derive(Deserialize)]
pub(super) struct Stats {
    pub total: u64,
}

/// Tokens in four kinds that do not overlap, and what they cost.
#[derive(Clone, Copy, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub input_tokens: u64,
    #[serde(default)]
    pub output_tokens: u64,
    #[serde(default)]
    pub cache_read_tokens: Option<u64>,
    #[serde(default)]
    pub cache_creation_tokens: Option<u64>,
    #[serde(default)]
    pub actual_cost_usd: Option<f64>,
    #[serde(default)]
    pub estimated_cost_usd: Option<f64>,
    /// Only of sums: that of each call's actual cost, or estimate where there is none.
    #[serde(default)]
    pub effective_cost_usd: Option<f64>,
}

/// Where an event stands in its session's stream; read first, so that one that makes no other sense keeps its place.
#[derive(Deserialize)]
pub(super) struct Place<'a> {
    #[serde(default)]
    pub sequence: Option<u64>,
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
}

/// What is around an event's content.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    #[serde(borrow, default)]
    pub ts: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub context: Maybe<Context<'a>>,
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
}

/// Where an event stands in the platform's own traces.
#[derive(Deserialize)]
pub(super) struct Context<'a> {
    #[serde(borrow, default)]
    pub span_id: Maybe<Text<'a>>,
}

/// `turn.*` and `session.*`.
#[derive(Deserialize)]
pub(super) struct Turn<'a> {
    #[serde(borrow, default)]
    pub turn_id: Option<Text<'a>>,
    #[serde(default)]
    pub duration_ms: Option<f64>,
    #[serde(borrow, default)]
    pub error_code: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub reason: Option<Text<'a>>,
}

/// `reason.*`.
#[derive(Deserialize)]
pub(super) struct Reason<'a> {
    #[serde(default)]
    pub success: Option<bool>,
    #[serde(default)]
    pub duration_ms: Option<f64>,
    #[serde(default)]
    pub usage: Option<Usage>,
    #[serde(borrow, default)]
    pub metadata: Option<Model<'a>>,
}

/// `output.message.*`: which model is at work stands in one of three places.
#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub metadata: Option<Model<'a>>,
    #[serde(borrow, default)]
    pub message: Option<Message<'a>>,
}

/// A message: what it says is skipped where it stands.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub metadata: Option<Model<'a>>,
}

/// The model that is meant.
#[derive(Deserialize)]
pub(super) struct Model<'a> {
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
}

/// `llm.generation`: prompt, tools and answer are skipped where they stand.
#[derive(Deserialize)]
pub(super) struct Generation<'a> {
    #[serde(borrow)]
    pub metadata: GenerationMetadata<'a>,
}

/// What a generation says of itself.
#[derive(Deserialize)]
pub(super) struct GenerationMetadata<'a> {
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
    #[serde(default)]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub duration_ms: Option<f64>,
    #[serde(default)]
    pub time_to_first_token_ms: Option<f64>,
    #[serde(default)]
    pub success: Option<bool>,
    #[serde(borrow, default)]
    pub provider: Maybe<Text<'a>>,
    #[serde(borrow, default)]
    pub response_model: Maybe<Text<'a>>,
    #[serde(borrow, default)]
    pub response_id: Maybe<Text<'a>>,
    /// Mostly one; looked at one by one.
    #[serde(borrow, default)]
    pub finish_reasons: Maybe<Vec<&'a RawValue>>,
}

/// `tool.started`.
#[derive(Deserialize)]
pub(super) struct ToolStarted<'a> {
    #[serde(borrow)]
    pub tool_call: ToolCall<'a>,
}

/// Which tool was called.
#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// `tool.completed`.
#[derive(Deserialize)]
pub(super) struct ToolCompleted<'a> {
    #[serde(borrow, default)]
    pub tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub tool_name: Text<'a>,
    #[serde(default)]
    pub success: Option<bool>,
    #[serde(borrow, default)]
    pub status: Option<Text<'a>>,
    #[serde(default)]
    pub duration_ms: Option<f64>,
}
