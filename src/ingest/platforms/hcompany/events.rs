//! H's event stream, one event at a time; an event that makes no sense keeps its position and nothing else.

use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::decode::models;
use super::wire::{ActiveState, AgentData, Completion, Envelope, MetricsData, RunStatus, ToolRequest};
use crate::domain::{CallId, Event, Fact, Status, Timestamp, ToolCall, Verdict};

/// What can be wrong with an event, as the label `reason` says it.
pub(super) const REASONS: &[&str] = &["envelope", "timestamp", "payload"];

/// Decodes events in order; every one of them yields exactly one fact.
pub(super) fn decode(raw: &[&RawValue], received_at: Timestamp) -> Vec<Event<SmolStr>> {
    let mut last = None;
    raw.iter()
        .map(|raw| {
            let event = event(raw, last.unwrap_or(received_at));
            last = Some(event.at);
            event
        })
        .collect()
}

fn undecoded(reason: &'static str) -> Fact<SmolStr> {
    debug_assert!(REASONS.contains(&reason), "reasons are a closed set");
    Fact::Undecoded(SmolStr::new_static(reason))
}

fn event(raw: &RawValue, fallback: Timestamp) -> Event<SmolStr> {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(raw.get()) else {
        return Event { at: fallback, fact: undecoded("envelope") };
    };
    let Some(at) = envelope.timestamp.as_ref().and_then(|text| Timestamp::parse(&text.0).ok()) else {
        return Event { at: fallback, fact: undecoded("timestamp") };
    };
    Event { at, fact: fact(&envelope).unwrap_or_else(|| undecoded("payload")) }
}

/// `None` where the payload does not fit its type.
fn fact(envelope: &Envelope<'_>) -> Option<Fact<SmolStr>> {
    Some(match &*envelope.kind {
        "RequestStartEvent" => Fact::StartRequested,
        "RequestStartDispatchedEvent" => Fact::Entered(Status::Pending),
        "AgentStartedEvent" => Fact::Entered(Status::Running),
        "AgentEvent" => agent_event(&payload(envelope)?)?,
        "MetricsUpdateEvent" => {
            let metrics = payload::<MetricsData<'_>>(envelope)?.metrics;
            Fact::Usage { steps: metrics.steps, models: models(metrics.cost_per_model.unwrap_or_default()) }
        }
        "ActiveStateChangeEvent" => match &*payload::<ActiveState<'_>>(envelope)?.state {
            "running" => Fact::Entered(Status::Running),
            "idle" => Fact::Entered(Status::Idle),
            "awaiting_tool_results" => Fact::Entered(Status::AwaitingToolResults),
            _ => Fact::Unknown,
        },
        "AgentRunStatusChangeEvent" => match &*payload::<RunStatus<'_>>(envelope)?.status {
            "running" => Fact::Entered(Status::Running),
            "paused" => Fact::Entered(Status::Paused),
            _ => Fact::Unknown,
        },
        "AgentCompletionEvent" => match &*payload::<Completion<'_>>(envelope)?.reason {
            "finished" => Fact::StreamEnded(Status::Completed),
            "stopped" => Fact::StreamEnded(Status::Interrupted),
            "timed_out" => Fact::StreamEnded(Status::TimedOut),
            _ => Fact::Unknown,
        },
        // Only H's own staff are shown these; the status says the same to everyone.
        "AgentErrorEvent" => Fact::StreamEnded(Status::Failed),
        "LiveViewUrlEvent" | "RunnerSessionEvent" | "FileTransferEvent" | "AttachmentEvent" => Fact::Noted,
        _ => Fact::Unknown,
    })
}

fn payload<'a, T: serde::Deserialize<'a>>(envelope: &Envelope<'a>) -> Option<T> {
    serde_json::from_str(envelope.data?.get()).ok()
}

fn agent_event(data: &AgentData<'_>) -> Option<Fact<SmolStr>> {
    let Some(kind) = &data.kind else {
        // Older servers nest the record one level deeper.
        let nested: AgentData<'_> = serde_json::from_str(data.event?.get()).ok()?;
        nested.kind.as_ref()?;
        return agent_event(&nested);
    };
    Some(match &*kind.0 {
        "message_event" => Fact::Message,
        "observation_event" => Fact::Observed,
        "policy_event" => Fact::Step {
            calls: data.tool_reqs.iter().flatten().map(tool_call).collect(),
            valid: data.validation_errors.as_ref().is_none_or(Vec::is_empty),
        },
        "tool_result" | "tool_result_event" => {
            Fact::ToolEnded { call: tool_call(data.tool_req.as_ref()?), error: None, took: None }
        }
        "answer_event" => Fact::Answered(data.outcome.as_ref().map(|outcome| Verdict::from_wire(&outcome.0))),
        "error_event" => match (data.origin.as_ref().map(|origin| &*origin.0), &data.tool_req) {
            (Some(origin @ ("tool" | "tool_validation")), Some(request)) => {
                Fact::ToolEnded { call: tool_call(request), error: Some(SmolStr::new(origin)), took: None }
            }
            _ => Fact::LoopError,
        },
        "flow_event" => Fact::Noted,
        _ => Fact::Unknown,
    })
}

fn tool_call(request: &ToolRequest<'_>) -> ToolCall<SmolStr> {
    ToolCall {
        tool: SmolStr::new(&request.tool_name),
        id: request.id.as_ref().map(|id| CallId::new(&id.0)),
        span: None,
    }
}
