//! Everruns' event stream: each event becomes one fact at the place its `sequence` gives it.

use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::wire::{
    Envelope, Generation, Model, Output, Place, Reason, ToolCall, ToolCompleted, ToolStarted, Turn, Usage,
};
use crate::domain::{
    CallId, Event, Fact, Finish, ModelCall, NanoUsd, Span, SpanId, Status, Timestamp, Tokens, TurnKey, TurnOutcome,
    Usage as Used,
};
use crate::ingest::platforms::text::{Maybe, Text};

/// What can be wrong with an event, as the label `reason` says it.
pub(super) const REASONS: &[&str] = &["envelope", "timestamp", "payload"];

/// Why turns fail: the platform's closed set, what a sealed turn gives as its reason, and the one code of before.
pub(super) const ERROR_CODES: &[&str] = &[
    "provider_rate_limited",
    "provider_unavailable",
    "provider_misconfigured",
    "provider_quota_exhausted",
    "provider_usage_limit_reached",
    "provider_session_unavailable",
    "provider_attestation_required",
    "model_unavailable",
    "model_not_configured",
    "request_too_large",
    "invalid_tool_schema",
    "max_iterations",
    "budget_exhausted",
    "budget_paused",
    "soft_limit_reached",
    "dependency_unavailable",
    "blocked_by_hook",
    "processing_error",
    "no_progress",
    "budget",
    "llm_error",
];

/// How tool calls fail; one that says nothing else is an `error`.
const TOOL_ERRORS: &[&str] = &["error", "timeout", "cancelled", "interrupted"];

/// No session reaches such a position; the platform counts with 32 bits.
const MAX_SEQUENCE: u64 = 1 << 32;

/// An event where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Its position: one less than its `sequence`.
    pub position: u64,
    /// The platform's name for it.
    pub id: Option<SmolStr>,
    /// What it says.
    pub event: Event<SmolStr>,
    /// Its time is its own, and not that of the event before it.
    pub is_timed: bool,
}

/// Decodes a page, in ascending order of position and each position once. Events without a usable time take the one
/// before them, or `received_at`. What has no position was never part of the stream; how many those were is told, too.
pub(super) fn decode(rows: &[&RawValue], received_at: Timestamp) -> (Vec<Placed>, usize) {
    let mut last = None;
    let mut placed: Vec<Placed> = rows
        .iter()
        .filter_map(|raw| {
            let place: Place<'_> = serde_json::from_str(raw.get()).ok()?;
            let position = place.sequence.filter(|sequence| (1..MAX_SEQUENCE).contains(sequence))? - 1;
            let (event, is_timed) = event(raw, last.unwrap_or(received_at));
            last = Some(event.at);
            Some(Placed { position, id: place.id.map(|id| SmolStr::new(id.0)), event, is_timed })
        })
        .collect();
    let without_place = rows.len() - placed.len();
    placed.sort_by_key(|placed| placed.position);
    placed.dedup_by_key(|placed| placed.position);
    (placed, without_place)
}

fn undecoded(reason: &'static str) -> Fact<SmolStr> {
    debug_assert!(REASONS.contains(&reason), "reasons are a closed set");
    Fact::Undecoded(SmolStr::new_static(reason))
}

/// The event, and whether its time is its own.
fn event(raw: &RawValue, fallback: Timestamp) -> (Event<SmolStr>, bool) {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(raw.get()) else {
        return (Event { at: fallback, fact: undecoded("envelope") }, false);
    };
    let Some(at) = envelope.ts.as_ref().and_then(|text| Timestamp::parse(&text.0).ok()) else {
        return (Event { at: fallback, fact: undecoded("timestamp") }, false);
    };
    (Event { at, fact: fact(&envelope).unwrap_or_else(|| undecoded("payload")) }, true)
}

/// `None` where the payload does not fit its type.
fn fact(envelope: &Envelope<'_>) -> Option<Fact<SmolStr>> {
    let ended = |outcome: TurnOutcome, error: fn(&Turn<'_>) -> Option<SmolStr>| {
        let turn = payload::<Turn<'_>>(envelope)?;
        Some(Fact::TurnEnded { turn: turn_key(&turn), outcome, error: error(&turn), took: span(turn.duration_ms) })
    };
    Some(match &*envelope.kind.0 {
        "session.activated" => Fact::Became(Status::Running),
        "session.idled" => Fact::Became(Status::Idle),
        "tool.call_requested" => Fact::Became(Status::AwaitingToolResults),
        "budget.paused" => Fact::Became(Status::Paused),
        "turn.started" => Fact::TurnStarted(turn_key(&payload(envelope)?)),
        "turn.completed" => ended(TurnOutcome::Completed, |_| None)?,
        "turn.failed" => {
            ended(TurnOutcome::Failed, |turn| Some(error_code(turn.error_code.as_ref().map(|it| &*it.0))))?
        }
        "turn.sealed" => ended(TurnOutcome::Failed, |turn| Some(error_code(turn.reason.as_ref().map(|it| &*it.0))))?,
        "turn.cancelled" => ended(TurnOutcome::Interrupted, |_| None)?,
        "reason.started" => {
            Fact::ReasoningStarted { model: thinking_model(&payload(envelope)?), span: own_span(envelope) }
        }
        "reason.completed" => {
            Fact::ReasoningEnded(ModelCall { span: own_span(envelope), ..reasoning(&payload(envelope)?) })
        }
        "llm.generation" => {
            Fact::ModelCalled(ModelCall { span: own_span(envelope), ..generation(&payload(envelope)?) })
        }
        "output.message.started" | "output.message.completed" | "message.agent" => {
            writing_model(&payload(envelope)?).map_or(Fact::Noted, Fact::ModelNamed)
        }
        "act.started" => Fact::ActStarted(own_span(envelope)),
        "act.completed" => Fact::ActEnded,
        "tool.started" | "tool.call_started" => {
            let call = tool_call(&payload::<ToolStarted<'_>>(envelope)?.tool_call);
            Fact::ToolStarted(crate::domain::ToolCall { span: own_span(envelope), ..call })
        }
        "tool.completed" | "tool.call_completed" => tool_ended(&payload(envelope)?, own_span(envelope)),
        "input.message" | "message.user" => Fact::Message,
        // The first stands for one more attempt after a provider refused.
        "reason.recovered" | "context.compaction.failed" | "output.message.replaced" => Fact::LoopError,
        kind if is_known(kind) => Fact::Noted,
        _ => Fact::Unknown,
    })
}

/// Types that say nothing we count. Everything else is new to this version.
fn is_known(kind: &str) -> bool {
    const FAMILIES: [&str; 12] = [
        "act.",
        "budget.",
        "capability.",
        "context.",
        "environment.",
        "output.message.",
        "reason.",
        "sandbox.",
        "task.",
        "timer.",
        "voice.",
        "subagent.",
    ];
    const SINGLE: [&str; 15] = [
        "session.started",
        "session.title.updated",
        "session.model.changed",
        "conversation.message",
        "tool.progress",
        "tool.output.delta",
        "tool.call_repaired",
        "tool.hosted_call",
        "tool.nested_call",
        "transcript.repaired",
        // Tokens are spent in it outside of turns; its generations are told like any other.
        "dreaming.activity",
        "file.written",
        "schedule.triggered",
        "input.received",
        "output.message",
    ];
    SINGLE.contains(&kind) || FAMILIES.iter().any(|family| kind.starts_with(family))
}

fn payload<'a, T: serde::Deserialize<'a>>(envelope: &Envelope<'a>) -> Option<T> {
    serde_json::from_str(envelope.data?.get()).ok()
}

/// The platform's own name of the span that the event begins, ends or is.
fn own_span(envelope: &Envelope<'_>) -> Option<SpanId> {
    SpanId::of_uuid(said(&envelope.context.0.as_ref()?.span_id)?)
}

fn said<'a>(text: &'a Maybe<Text<'_>>) -> Option<&'a str> {
    text.0.as_ref().map(|text| &*text.0)
}

fn turn_key(turn: &Turn<'_>) -> Option<TurnKey> {
    turn.turn_id.as_ref().map(|id| TurnKey::new(&id.0))
}

fn error_code(code: Option<&str>) -> SmolStr {
    SmolStr::new_static(ERROR_CODES.iter().find(|known| code == Some(**known)).unwrap_or(&"other"))
}

fn thinking_model(reason: &Reason<'_>) -> Option<SmolStr> {
    reason.metadata.as_ref().and_then(model)
}

fn writing_model(output: &Output<'_>) -> Option<SmolStr> {
    let said = output.model.as_ref().map(|model| SmolStr::new(&model.0));
    let of_message = || output.message.as_ref()?.metadata.as_ref().and_then(model);
    said.or_else(|| output.metadata.as_ref().and_then(model)).or_else(of_message)
}

fn model(metadata: &Model<'_>) -> Option<SmolStr> {
    metadata.model.as_ref().map(|model| SmolStr::new(&model.0))
}

fn reasoning(reason: &Reason<'_>) -> ModelCall<SmolStr> {
    let (usage, estimated) = used(reason.usage.unwrap_or_default());
    ModelCall {
        model: thinking_model(reason),
        usage,
        estimated,
        took: span(reason.duration_ms),
        error: failure(reason.success),
        ..ModelCall::default()
    }
}

fn generation(generation: &Generation<'_>) -> ModelCall<SmolStr> {
    let metadata = &generation.metadata;
    let (usage, estimated) = used(metadata.usage.unwrap_or_default());
    let model = metadata.model.as_ref().map(|model| SmolStr::new(&model.0));
    let answered_by = said(&metadata.response_model).filter(|name| model.as_deref() != Some(*name)).map(SmolStr::new);
    let finish = metadata.finish_reasons.0.as_ref().and_then(|reasons| {
        let first: Text<'_> = serde_json::from_str(reasons.first()?.get()).ok()?;
        Some(Finish::from_wire(&first.0))
    });
    ModelCall {
        model,
        usage,
        estimated,
        took: span(metadata.duration_ms),
        first_token: span(metadata.time_to_first_token_ms),
        error: failure(metadata.success),
        provider: said(&metadata.provider).and_then(vendor),
        answered_by,
        answer: said(&metadata.response_id).map(CallId::new),
        finish,
        span: None,
    }
}

/// The model's vendor under the name that the GenAI conventions of OpenTelemetry give it, so that it has only one. None is
/// the platform itself, which stands in where nobody is named.
fn vendor(name: &str) -> Option<SmolStr> {
    match name {
        "everruns" => None,
        "gemini" => Some("gcp.gemini".into()),
        "bedrock" => Some("aws.bedrock".into()),
        "azure_openai" => Some("azure.ai.openai".into()),
        other => Some(other.into()),
    }
}

/// A call's own error is a free text of its provider, which is no label.
fn failure(success: Option<bool>) -> Option<SmolStr> {
    (success == Some(false)).then(|| SmolStr::new_static("other"))
}

/// The four kinds do not overlap on this platform; under our convention the prompt contains what was cached.
pub(super) fn used(usage: Usage) -> (Used, bool) {
    let (cached, cache_write) = (usage.cache_read_tokens.unwrap_or(0), usage.cache_creation_tokens.unwrap_or(0));
    let tokens = Tokens {
        input: usage.input_tokens.saturating_add(cached).saturating_add(cache_write),
        cached,
        cache_write,
        output: usage.output_tokens,
        reasoning: 0,
    };
    let actual = usage.actual_cost_usd.and_then(NanoUsd::from_usd);
    let estimate = usage.estimated_cost_usd.and_then(NanoUsd::from_usd);
    (Used { tokens, cost: actual.or(estimate) }, actual.is_none())
}

/// The sum over all kinds of tokens.
pub(super) fn all_tokens(usage: Usage) -> u64 {
    let (Used { tokens, .. }, _) = used(usage);
    tokens.input.saturating_add(tokens.output)
}

fn tool_call(call: &ToolCall<'_>) -> crate::domain::ToolCall<SmolStr> {
    let id = call.id.as_ref().map(|id| CallId::new(&id.0));
    crate::domain::ToolCall { tool: SmolStr::new(&call.name.0), id, span: None }
}

fn tool_ended(data: &ToolCompleted<'_>, span_id: Option<SpanId>) -> Fact<SmolStr> {
    let id = data.tool_call_id.as_ref().map(|id| CallId::new(&id.0));
    let call = crate::domain::ToolCall { tool: SmolStr::new(&data.tool_name.0), id, span: span_id };
    let status = data.status.as_ref().map(|status| &*status.0);
    let succeeded = data.success.unwrap_or(status == Some("success"));
    let error = (!succeeded)
        .then(|| SmolStr::new_static(TOOL_ERRORS.iter().find(|known| status == Some(**known)).unwrap_or(&"error")));
    Fact::ToolEnded { call, error, took: span(data.duration_ms) }
}

/// Milliseconds as the platform writes them; nonsense is not known.
fn span(milliseconds: Option<f64>) -> Option<Span> {
    let micros = milliseconds? * 1000.0;
    (0.0..1e15).contains(&micros).then(|| Span::from_micros(micros as u64))
}

#[cfg(test)]
mod tests;
