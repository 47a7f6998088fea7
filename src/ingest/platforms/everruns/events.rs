//! Everruns' event stream: each event becomes one fact at the place its `sequence` gives it.

use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::wire::{
    Envelope, Generation, Model, Output, Place, Reason, ToolCall, ToolCompleted, ToolStarted, Turn, Usage,
};
use crate::domain::{
    CallId, Event, Fact, ModelCall, NanoUsd, Span, Status, Timestamp, Tokens, TurnKey, TurnOutcome, Usage as Used,
};

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
        "reason.started" => Fact::ReasoningStarted { model: thinking_model(&payload(envelope)?), span: None },
        "reason.completed" => Fact::ReasoningEnded(reasoning(&payload(envelope)?)),
        "llm.generation" => Fact::ModelCalled(generation(&payload(envelope)?)),
        "output.message.started" | "output.message.completed" | "message.agent" => {
            writing_model(&payload(envelope)?).map_or(Fact::Noted, Fact::ModelNamed)
        }
        "tool.started" | "tool.call_started" => {
            Fact::ToolStarted(tool_call(&payload::<ToolStarted<'_>>(envelope)?.tool_call))
        }
        "tool.completed" | "tool.call_completed" => tool_ended(&payload(envelope)?),
        "input.message" | "message.user" => Fact::Message,
        "context.compaction.failed" | "output.message.replaced" => Fact::LoopError,
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
        first_token: None,
        error: failure(reason.success),
        ..ModelCall::default()
    }
}

fn generation(generation: &Generation<'_>) -> ModelCall<SmolStr> {
    let metadata = &generation.metadata;
    let (usage, estimated) = used(metadata.usage.unwrap_or_default());
    ModelCall {
        model: metadata.model.as_ref().map(|model| SmolStr::new(&model.0)),
        usage,
        estimated,
        took: span(metadata.duration_ms),
        first_token: span(metadata.time_to_first_token_ms),
        error: failure(metadata.success),
        ..ModelCall::default()
    }
}

/// A call's own error is a free text of its provider, which is no label.
fn failure(success: Option<bool>) -> Option<SmolStr> {
    (success == Some(false)).then(|| SmolStr::new_static("other"))
}

/// The four kinds do not overlap on this platform; under our convention the prompt contains what was cached.
fn used(usage: Usage) -> (Used, bool) {
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

fn tool_ended(data: &ToolCompleted<'_>) -> Fact<SmolStr> {
    let id = data.tool_call_id.as_ref().map(|id| CallId::new(&id.0));
    let call = crate::domain::ToolCall { tool: SmolStr::new(&data.tool_name.0), id, span: None };
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
mod tests {
    use super::*;

    const RECEIVED: Timestamp = Timestamp::from_micros(1_795_999_999_000_000);

    fn decoded(events: &[&str]) -> (Vec<Placed>, usize) {
        let rows: Vec<&RawValue> = events.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
        decode(&rows, RECEIVED)
    }

    /// What one event of this type and content becomes.
    fn fact_of(kind: &str, data: &str) -> Fact<SmolStr> {
        let event = format!(r#"{{"sequence":1,"type":"{kind}","ts":"2026-11-22T05:42:40Z","data":{data}}}"#);
        decoded(&[&event]).0.remove(0).event.fact
    }

    #[test]
    fn durations_are_known_or_not_but_never_nonsense() {
        for (text, expected) in
            [("265", Some(265_000)), ("0.5", Some(500)), ("0", Some(0)), ("-1", None), ("1e300", None), ("null", None)]
        {
            let data = format!(r#"{{"turn_id":"t","duration_ms":{text}}}"#);
            let Fact::TurnEnded { took, .. } = fact_of("turn.completed", &data) else { panic!("{text}") };
            assert_eq!(took, expected.map(Span::from_micros), "{text}");
        }
        let Fact::TurnEnded { took: None, .. } = fact_of("turn.completed", "{}") else { panic!("none was given") };
        assert_eq!(fact_of("turn.completed", r#"{"duration_ms":"long"}"#), Fact::Undecoded("payload".into()));
    }

    #[test]
    fn error_codes_are_a_closed_set() {
        let code = |data: &str| match fact_of("turn.failed", data) {
            Fact::TurnEnded { outcome: TurnOutcome::Failed, error: Some(error), .. } => error,
            fact => panic!("{fact:?}"),
        };
        assert_eq!(code(r#"{"error_code":"provider_quota_exhausted"}"#), "provider_quota_exhausted");
        for unknown in
            [r#"{"error_code":"key sk-123 refused"}"#, r#"{"error_code":""}"#, r#"{"error_code":null}"#, "{}"]
        {
            assert_eq!(code(unknown), "other", "{unknown}");
        }
        let sealed = fact_of("turn.sealed", r#"{"reason":"no_progress"}"#);
        assert!(matches!(sealed, Fact::TurnEnded { error: Some(error), .. } if error == "no_progress"));
        let Fact::ToolEnded { error: Some(error), .. } =
            fact_of("tool.completed", r#"{"tool_name":"t","success":false,"status":"boom"}"#)
        else {
            panic!("it failed")
        };
        assert_eq!(error, "error");
    }

    #[test]
    fn without_a_place_in_the_stream_an_event_is_none_of_it() {
        let (placed, without) = decoded(&[
            r#"{"type":"input.message"}"#,
            r#"{"type":"input.message","sequence":null}"#,
            r#"{"type":"input.message","sequence":0}"#,
            r#"{"type":"input.message","sequence":-1}"#,
            r#"{"type":"input.message","sequence":1.5}"#,
            r#"{"type":"input.message","sequence":"2"}"#,
            r#"{"type":"input.message","sequence":4294967296}"#,
            r#"{"type":"input.message","sequence":99999999999999999999}"#,
            r#"{"type":"input.message","sequence":4294967295}"#,
            "null",
            "7",
        ]);
        assert_eq!((placed.len(), without), (1, 10));
        assert_eq!(placed[0].position, 4_294_967_294);
    }

    #[test]
    fn events_come_in_order_and_once() {
        let event = |sequence: u32, kind: &str| {
            format!(
                r#"{{"sequence":{sequence},"id":"e{sequence}","type":"{kind}","ts":"2026-11-22T05:42:40Z","data":{{}}}}"#
            )
        };
        let events =
            [event(3, "session.idled"), event(1, "input.message"), event(3, "input.message"), event(2, "new.type")];
        let (placed, without) = decoded(&events.each_ref().map(String::as_str));
        let told: Vec<_> = placed.iter().map(|placed| (placed.position, placed.event.fact.clone())).collect();
        assert_eq!(told, [(0, Fact::Message), (1, Fact::Unknown), (2, Fact::Became(Status::Idle))]);
        assert_eq!(without, 0);
    }

    #[test]
    fn an_event_that_makes_no_sense_keeps_its_place_and_takes_a_time_from_its_neighbour() {
        let (placed, _) = decoded(&[
            r#"{"sequence":1,"type":"input.message","ts":"yesterday"}"#,
            r#"{"sequence":2,"type":"input.message","ts":"2026-11-22T05:42:40.1234567Z"}"#,
            r#"{"sequence":3,"type":7}"#,
            r#"{"sequence":4,"type":"tool.started","ts":"2026-11-22T05:42:41Z","data":{"tool_call":null}}"#,
        ]);
        let reasons: Vec<_> = placed.iter().map(|placed| placed.event.fact.clone()).collect();
        let undecoded = |reason: &'static str| Fact::Undecoded(SmolStr::new_static(reason));
        assert_eq!(reasons, [undecoded("timestamp"), Fact::Message, undecoded("envelope"), undecoded("payload")]);
        assert_eq!(placed[0].event.at, RECEIVED);
        assert_eq!(placed[2].event.at, placed[1].event.at);
    }

    #[test]
    fn prompts_contain_what_was_cached_and_prices_say_where_they_are_from() {
        let call = |usage: &str| match fact_of("llm.generation", &format!(r#"{{"metadata":{{"usage":{usage}}}}}"#)) {
            Fact::ModelCalled(call) => call,
            fact => panic!("{fact:?}"),
        };
        let call_of_all = call(
            r#"{"input_tokens":58,"output_tokens":17,"cache_read_tokens":58,"cache_creation_tokens":4,
                "actual_cost_usd":0.5,"estimated_cost_usd":0.25}"#,
        );
        let tokens = Tokens { input: 120, cached: 58, cache_write: 4, output: 17, reasoning: 0 };
        assert_eq!(call_of_all.usage, Used { tokens, cost: Some(NanoUsd(500_000_000)) });
        assert!(!call_of_all.estimated);
        let estimated = call(r#"{"actual_cost_usd":-1,"estimated_cost_usd":0.25}"#);
        assert_eq!((estimated.usage.cost, estimated.estimated), (Some(NanoUsd(250_000_000)), true));
        let huge = call(r#"{"input_tokens":18446744073709551615,"cache_read_tokens":18446744073709551615}"#);
        assert_eq!(huge.usage.tokens.input, u64::MAX);
    }
}
