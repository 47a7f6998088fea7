//! The shapes H's API writes, as far as we read them; everything else in a body is skipped, not kept.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ingest::platforms::text::{Maybe, Text};

/// A page of anything.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    pub items: Vec<&'a RawValue>,
    #[serde(default)]
    pub total: u64,
}

/// A session in a list.
#[derive(Deserialize)]
pub(super) struct Summary<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub agent: Option<Text<'a>>,
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow)]
    pub created_at: Cow<'a, str>,
    #[serde(borrow, default)]
    pub started_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub finished_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub last_activity_at: Option<Text<'a>>,
}

/// A session on its own: what its status says, the times that the status lacks, and who started it.
#[derive(Deserialize)]
pub(super) struct SessionDocument<'a> {
    #[serde(borrow, default)]
    pub request: Maybe<SessionRequest<'a>>,
    #[serde(borrow)]
    pub status: StatusDocument<'a>,
    #[serde(borrow, default)]
    pub started_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub finished_at: Option<Text<'a>>,
}

/// What was asked for when the session was made; most of it is content.
#[derive(Deserialize)]
pub(super) struct SessionRequest<'a> {
    #[serde(borrow, default)]
    pub parent_session_id: Maybe<Text<'a>>,
}

/// A session's status.
#[derive(Deserialize)]
pub(super) struct StatusDocument<'a> {
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub error_code: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub outcome: Option<Text<'a>>,
    #[serde(default)]
    pub steps: Option<u64>,
    /// Looked at row by row: one that makes no sense must not hide that the session ended.
    #[serde(borrow, default)]
    pub usage_per_model: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub subagent_session_ids: Option<Vec<&'a RawValue>>,
}

/// The running totals of one model, with or without prices.
#[derive(Deserialize)]
pub(super) struct ModelRow<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(default)]
    pub input_tokens: u64,
    #[serde(default)]
    pub cached_tokens: Option<u64>,
    #[serde(default)]
    pub output_tokens: u64,
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
    #[serde(default)]
    pub total_cost: Option<f64>,
}

/// The answer of `/changes`.
#[derive(Deserialize)]
pub(super) struct Changes<'a> {
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub started_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub finished_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub new_events: Vec<&'a RawValue>,
    #[serde(default)]
    pub first_index: Option<u64>,
}

/// One event. Its payload is looked at once its type is known.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub timestamp: Option<Text<'a>>,
}

/// The payload of an `AgentEvent`, of every kind at once.
#[derive(Deserialize)]
pub(super) struct AgentData<'a> {
    #[serde(borrow, default)]
    pub kind: Option<Text<'a>>,
    /// Where older servers nest the record.
    #[serde(borrow, default)]
    pub event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub tool_reqs: Option<Vec<ToolRequest<'a>>>,
    #[serde(borrow, default)]
    pub tool_req: Option<ToolRequest<'a>>,
    #[serde(default)]
    pub validation_errors: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(borrow, default)]
    pub outcome: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub origin: Option<Text<'a>>,
}

/// A tool the model asked for.
#[derive(Deserialize)]
pub(super) struct ToolRequest<'a> {
    #[serde(borrow)]
    pub tool_name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
}

/// The payload of a `MetricsUpdateEvent`.
#[derive(Deserialize)]
pub(super) struct MetricsData<'a> {
    #[serde(borrow)]
    pub metrics: Metrics<'a>,
}

/// Running totals.
#[derive(Deserialize)]
pub(super) struct Metrics<'a> {
    #[serde(default)]
    pub steps: Option<u64>,
    #[serde(borrow, default)]
    pub cost_per_model: Option<Vec<ModelRow<'a>>>,
}

/// The payload of an `ActiveStateChangeEvent`. Lifecycle events may carry further fields: each reads only its own word.
#[derive(Deserialize)]
pub(super) struct ActiveState<'a> {
    #[serde(borrow)]
    pub state: Cow<'a, str>,
}

/// The payload of an `AgentRunStatusChangeEvent`.
#[derive(Deserialize)]
pub(super) struct RunStatus<'a> {
    #[serde(borrow)]
    pub status: Cow<'a, str>,
}

/// The payload of an `AgentCompletionEvent`.
#[derive(Deserialize)]
pub(super) struct Completion<'a> {
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// How many sessions may be active.
#[derive(Deserialize)]
pub(super) struct Quota<'a> {
    #[serde(borrow)]
    pub scope: Cow<'a, str>,
    pub limit: u64,
    pub active: u64,
}

/// How many tokens may be used.
#[derive(Deserialize)]
pub(super) struct TokenQuota {
    // `null` is unlimited, so the field itself has to be there: any other document would say so too.
    #[serde(deserialize_with = "Option::deserialize")]
    pub limit: Option<u64>,
    #[serde(default)]
    pub used: Option<u64>,
}
