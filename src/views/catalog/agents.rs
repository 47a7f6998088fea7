//! The metrics about agents and their platforms: what they did and what they may do.

use super::{Origin, Row, Unit};
use crate::projection::Metric;

const AGENT: &[&str] = &["source", "platform", "agent"];
const STATUS: &[&str] = &["source", "platform", "agent", "status"];
const OUTCOME: &[&str] = &["source", "platform", "agent", "outcome"];
const ERROR: &[&str] = &["source", "platform", "agent", "error_type"];
const MODEL: &[&str] = &["source", "platform", "agent", "model"];
const MODEL_BASIS: &[&str] = &["source", "platform", "agent", "model", "basis"];
const MODEL_ERROR: &[&str] = &["source", "platform", "agent", "model", "error_type"];
const TOOL: &[&str] = &["source", "platform", "agent", "tool"];
const TOOL_ERROR: &[&str] = &["source", "platform", "agent", "tool", "error_type"];
const ACCOUNT: &[&str] = &["source", "platform"];
const SCOPE: &[&str] = &["source", "platform", "scope"];

/// All of them: sessions, turns, models, tools, limits.
pub static AGENTS: &[Row] = &[
    Row::gauge("agent_sessions", STATUS, "Sessions now in each status that is not an end, as last polled")
        .folded(Metric::Sessions),
    Row::counter("agent_sessions_created_total", AGENT, "Sessions created on the platform, as polled")
        .folded(Metric::SessionsCreated),
    Row::counter(
        "agent_session_status_changes_total",
        STATUS,
        "Entries of sessions into each status: as told by their event streams, ends as confirmed by the platform, queued and \
         other as seen in lists, started when a session is created on a platform where all begin so",
    )
    .folded(Metric::StatusChanges),
    Row::counter(
        "agent_sessions_finished_total",
        STATUS,
        "Sessions that ended, by the status they ended in; one that is taken up again and ends again counts twice",
    )
    .folded(Metric::SessionsFinished),
    Row::counter(
        "agent_session_outcomes_total",
        OUTCOME,
        "The agent's own verdicts on the turns of its sessions, given with its answers",
    )
    .folded(Metric::SessionOutcomes),
    Row::histogram(
        "agent_session_duration_seconds",
        STATUS,
        "Seconds from a session's start (or from when it was taken up again) to its end by the platform's clock, by the \
         status it ended in",
    )
    .folded(Metric::SessionDuration),
    Row::histogram(
        "agent_session_queue_seconds",
        AGENT,
        "Seconds from a session's creation to its start by the platform's clock",
    )
    .folded(Metric::SessionQueue),
    Row::gauge(
        "agent_session_status_oldest_timestamp_seconds",
        STATUS,
        "When the session that is now longest in a status entered it, in seconds since the Unix epoch; no value while \
         there is none",
    )
    .in_unit(Unit::Seconds)
    .folded(Metric::OldestInStatus),
    Row::gauge(
        "agent_session_last_finished_timestamp_seconds",
        STATUS,
        "When a session last ended in a status, in seconds since the Unix epoch; no value before the first",
    )
    .in_unit(Unit::Seconds)
    .folded(Metric::LastFinished),
    Row::counter(
        "agent_turns_started_total",
        AGENT,
        "Turns begun: stretches of work from activation until the session settles",
    )
    .folded(Metric::TurnsStarted),
    Row::counter("agent_turns_finished_total", OUTCOME, "Turns over, by how they ended").folded(Metric::TurnsFinished),
    Row::counter(
        "agent_turn_failures_total",
        ERROR,
        "Turns that failed or ran out of time, by the platform's error code (other where it gives none)",
    )
    .folded(Metric::TurnFailures),
    Row::histogram("agent_turn_duration_seconds", OUTCOME, "Seconds that turns took, by how they ended")
        .folded(Metric::TurnDuration),
    Row::counter("agent_steps_total", AGENT, "Steps taken by agents, as the platform counts them")
        .folded(Metric::Steps),
    Row::counter(
        "agent_subagent_sessions_total",
        AGENT,
        "Child sessions started by the agent's sessions, counted when they are found (where only the parent tells of \
         them: when it ends); each is also a session of its own agent",
    )
    .folded(Metric::Subagents),
    Row::counter("agent_input_tokens_total", MODEL, "Prompt tokens, those read from or written to a cache included")
        .in_unit(Unit::Tokens)
        .folded(Metric::InputTokens),
    Row::counter("agent_output_tokens_total", MODEL, "Generated tokens, those spent on reasoning included")
        .in_unit(Unit::Tokens)
        .folded(Metric::OutputTokens),
    Row::counter(
        "agent_cache_read_input_tokens_total",
        MODEL,
        "Prompt tokens read from a cache; a part of agent_input_tokens_total",
    )
    .in_unit(Unit::Tokens)
    .folded(Metric::CacheReadTokens),
    Row::counter(
        "agent_cache_write_input_tokens_total",
        MODEL,
        "Prompt tokens written to a cache, where the platform tells; a part of agent_input_tokens_total",
    )
    .in_unit(Unit::Tokens)
    .folded(Metric::CacheWriteTokens),
    Row::counter(
        "agent_reasoning_output_tokens_total",
        MODEL,
        "Generated tokens spent on reasoning; a part of agent_output_tokens_total",
    )
    .in_unit(Unit::Tokens)
    .folded(Metric::ReasoningTokens),
    Row::counter(
        "agent_cost_usd_total",
        MODEL_BASIS,
        "Cost of models in US dollars; basis says where the price is from: platform is what the \
         platform says it is, estimated what the platform takes from a price list; unknown costs add nothing",
    )
    .in_unit(Unit::Usd)
    .folded(Metric::Cost),
    Row::counter(
        "agent_model_calls_total",
        MODEL,
        "Calls of models, repeated attempts included, on platforms that tell of each call",
    )
    .folded(Metric::ModelCalls),
    Row::counter(
        "agent_model_call_failures_total",
        MODEL_ERROR,
        "Calls of models that failed; error_type is other, since no platform has a closed set of codes for a call",
    )
    .folded(Metric::ModelCallFailures),
    Row::histogram(
        "agent_model_call_duration_seconds",
        MODEL,
        "Seconds that calls of models took: as the platform tells, or measured between events of the session; model is \
         unknown where nothing tells which one answered",
    )
    .folded(Metric::ModelCallDuration),
    Row::histogram(
        "agent_model_time_to_first_token_seconds",
        MODEL,
        "Seconds from the beginning of a call to the model's first token, where the platform tells",
    )
    .folded(Metric::TimeToFirstToken),
    Row::counter("agent_tool_calls_total", TOOL, "Tool calls that models asked for").folded(Metric::ToolCalls),
    Row::counter("agent_tool_call_failures_total", TOOL_ERROR, "Tool calls that ended with an error, by its kind")
        .folded(Metric::ToolCallFailures),
    Row::histogram(
        "agent_tool_call_duration_seconds",
        TOOL,
        "Seconds that tool calls took: as the platform tells, or measured between events of the session",
    )
    .folded(Metric::ToolCallDuration),
    Row::gauge(
        "agent_platform_sessions_limit",
        SCOPE,
        "The most sessions that may be active at once, as last polled; scope says whose limit it is",
    )
    .from(Origin::Limits),
    Row::gauge(
        "agent_platform_sessions_active",
        SCOPE,
        "Sessions active now by the platform's own count, as last polled; scope says whose limit they use up",
    )
    .from(Origin::Limits),
    Row::gauge(
        "agent_platform_tokens_limit",
        ACCOUNT,
        "Tokens that may be used in the current window, as last polled; no value when unlimited",
    )
    .in_unit(Unit::Tokens)
    .from(Origin::Limits),
    Row::gauge(
        "agent_platform_tokens_used",
        ACCOUNT,
        "Tokens used in the current window, as last polled; no value while the platform does not know",
    )
    .in_unit(Unit::Tokens)
    .from(Origin::Limits),
];
