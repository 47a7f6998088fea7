//! The `data` of each kind of event.

use serde_json::{Value, json};

use super::cast::{MODELS, TOOLS, ToolCall};
use super::era::Era;
use super::ids::Id;
use super::render::{Renderer, call_id};
use super::script::{Completion, Event, Generation, Input, Outcome, Reason, What};
use super::texts;

/// The payload of an event.
pub(super) fn data(r: &mut Renderer, event: &Event) -> Value {
    let is_oldest = r.era == Era::D0;
    let data = match &event.what {
        What::Input(input) => {
            let text = match input {
                Input::Cancellation => "User requested to cancel the work.".to_owned(),
                Input::Opening | Input::Steering => texts::wish(&mut r.dice),
            };
            let id = r.newest_message_id();
            json!({ "message": r.message(id, "user", json!([{ "type": "text", "text": text }]), event) })
        }
        What::InputReceived => {
            let text = texts::wish(&mut r.dice);
            let id = r.input_id();
            json!({ "message": r.message(id, "user", json!([{ "type": "text", "text": text }]), event) })
        }
        What::SessionStarted => json!({ "harness_id": harness(r), "agent_id": r.agent_id(event) }),
        What::Activated => json!({ "turn_id": r.turn_id(event), "input_message_id": r.input_id() }),
        What::TurnStarted => {
            let mut data = json!({ "turn_id": r.turn_id(event), "input_message_id": r.input_id() });
            if !is_oldest {
                data["input_content"] = json!(texts::wish(&mut r.dice));
                data["agent_id"] = json!(r.agent_id(event));
                data["agent_name"] = json!(r.agent_name());
            }
            data
        }
        What::ReasonStarted { model } => reason_started(r, event, *model),
        What::CapabilityUsage => capability_usage(),
        What::OutputStarted { iteration, model } => json!({
            "turn_id": r.turn_id(event),
            "message_id": r.newest_message_id(),
            "model": MODELS[*model].name,
            "iteration": iteration,
        }),
        What::ThinkingStarted => json!({ "turn_id": r.turn_id(event) }),
        What::ThinkingCompleted => {
            json!({ "turn_id": r.turn_id(event), "thinking": texts::answer(&mut r.dice) })
        }
        What::Generation(generation) => self::generation(r, event, generation),
        What::OutputCompleted { .. } => output_completed(r, event),
        What::Recovered => json!({ "turn_id": r.turn_id(event), "mode": "restart", "accumulated_len": 0 }),
        What::ReasonCompleted(reason) => reason_completed(r, reason),
        What::ActStarted { calls } if is_oldest => {
            json!({ "tool_calls": calls.iter().map(|call| json!({ "id": call_id(*call), "name": TOOLS[call.tool] })).collect::<Vec<_>>() })
        }
        What::ActStarted { calls } => {
            let describe = |call: &ToolCall| {
                json!({
                    "id": call_id(*call),
                    "name": TOOLS[call.tool],
                    "narration": format!("Running {}", texts::spoken(*call)),
                    "completed_narration": format!("Ran {}", texts::spoken(*call)),
                })
            };
            let described: Vec<Value> = calls.iter().map(describe).collect();
            json!({ "tool_calls": described, "headline": "Running tools" })
        }
        What::ToolStarted(call) => {
            let requested = tool_request(*call);
            if is_oldest {
                json!({ "tool_call": requested })
            } else {
                json!({
                    "tool_call": requested,
                    "tool_call_fingerprint": fingerprint(*call),
                    "narration": format!("Running {}", texts::spoken(*call)),
                    "side_effect_class": "AtMostOnce",
                })
            }
        }
        What::ToolProgress(call) => json!({
            "tool_call_id": call_id(*call),
            "tool_name": TOOLS[call.tool],
            "message": texts::mark(&mut r.dice),
        }),
        What::ToolCompleted { call, outcome, duration_ms } => tool_completed(r, *call, *outcome, *duration_ms),
        What::ActCompleted { calls, errors, duration_ms } => {
            let mut data = json!({
                "completed": true,
                "success_count": calls.len() as u32 - errors,
                "error_count": errors,
            });
            if !is_oldest {
                data["duration_ms"] = json!(duration_ms);
                data["headline"] = json!("Ran tools");
            }
            data
        }
        What::CallRequested(call) => json!({
            "tool_calls": [tool_request(*call)],
            "tool_summaries": [{ "id": call_id(*call), "name": TOOLS[call.tool], "narration": texts::mark(&mut r.dice) }],
            "headline": "Running Approve Tool Call",
            "completed_headline": "Ran Approve Tool Call",
        }),
        What::Repaired(call) => {
            json!({ "tool_call_id": call_id(*call), "tool_name": TOOLS[call.tool], "action": "synthesize" })
        }
        What::TurnCompleted(completion) => turn_completed(r, event, completion),
        What::TurnFailed { code, model } => {
            let mut data = json!({
                "turn_id": r.turn_id(event),
                "error": texts::error(&mut r.dice, code),
                "error_code": code,
            });
            if !is_oldest {
                data["error_fields"] = Renderer::fields(*model);
                data["error_disclosure"] = json!("standard");
            }
            data
        }
        What::TurnSealed { reason, iterations, usage } => json!({
            "turn_id": r.turn_id(event),
            "reason": reason,
            "detail": texts::mark(&mut r.dice),
            "iterations": iterations,
            "usage": r.sum(Some(usage)),
        }),
        What::TurnCancelled => json!({ "turn_id": r.turn_id(event), "reason": "User requested cancellation" }),
        What::Idled { .. } if is_oldest => json!({ "turn_id": r.turn_id(event) }),
        What::Idled { iterations, usage } => {
            json!({ "turn_id": r.turn_id(event), "iterations": iterations, "usage": r.sum(usage.as_ref()) })
        }
        What::TitleUpdated => json!({ "title": texts::wish(&mut r.dice) }),
        What::ModelChanged { from, to } => json!({
            "previous_model_id": model_id(r, *from),
            "previous_model_name": MODELS[*from].name,
            "model_id": model_id(r, *to),
            "model_name": MODELS[*to].name,
        }),
        What::BudgetWarning => budget(r, 1.5),
        What::BudgetPaused => budget(r, 0.0),
        What::BudgetResumed => budget(r, 20.0),
        What::Compacted { model } => json!({
            "trigger": "context_budget",
            "strategy_used": "summarize",
            "model": MODELS[*model].name,
            "messages_before": 40,
            "messages_after": 6,
            "duration_ms": 1_200,
        }),
        What::Unknown { variant: 0 } => json!({ "task": {
            "id": "task_1",
            "session_id": r.script.id.show(r.era, "session"),
            "kind": "subagent",
            "display_name": texts::mark(&mut r.dice),
            "spec": {},
            "state": "queued",
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        } }),
        What::Unknown { .. } => json!({ "payload": [texts::mark(&mut r.dice)], "level": 3 }),
    };
    Renderer::lean(data)
}

fn harness(r: &Renderer) -> String {
    r.id("harness", 0).show(r.era, "harness")
}

fn model_id(r: &Renderer, model: usize) -> String {
    Id::new(r.options.seed, model as u64, 0, "model", 0).show(r.era, "model")
}

/// Which model answers. Here, unlike in generations, ids are bare UUIDs and the provider has no name.
fn answering(r: &Renderer, model: usize) -> Value {
    let provider = Id::new(r.options.seed, model as u64, 0, "provider", 0).hyphenated();
    json!({ "model": MODELS[model].name, "provider_id": provider })
}

fn budget(r: &mut Renderer, balance: f64) -> Value {
    json!({
        "budget_id": r.id("budget", 0).show(r.era, "budget"),
        "balance": balance,
        "limit": 20.0,
        "currency": "USD",
        "message": texts::mark(&mut r.dice),
    })
}

fn tool_request(call: ToolCall) -> Value {
    json!({ "id": call_id(call), "name": TOOLS[call.tool], "arguments": texts::arguments(call) })
}

fn fingerprint(call: ToolCall) -> String {
    format!("sha256:{:064x}", u128::from(call.number) * 0x9e37_79b9_7f4a_7c15)
}

fn reason_started(r: &Renderer, event: &Event, model: Option<usize>) -> Value {
    if r.era == Era::D0 {
        return json!({ "agent_id": r.agent_id(event) });
    }
    let metadata = model.map(|model| {
        let mut metadata = answering(r, model);
        metadata["model_id"] = json!(Id::new(r.options.seed, model as u64, 0, "model", 0).hyphenated());
        metadata
    });
    json!({ "harness_id": harness(r), "agent_id": r.agent_id(event), "metadata": metadata })
}

fn capability_usage() -> Value {
    let record = |kind: &str| json!({ "capability_id": "ask_user", "capability_name": "Ask User", "usage_kind": kind, "usage_count": 1 });
    json!({ "records": [record("resolved"), record("exposed")] })
}

fn generation(r: &mut Renderer, event: &Event, generation: &Generation) -> Value {
    let model = &MODELS[generation.model];
    let is_oldest = r.era == Era::D0;
    // Half of the bulk is in the messages, the rest in the raw request and the tools.
    let mut messages = vec![];
    let system = texts::bulk(&mut r.dice, generation.bulk / 2);
    let id = r.message_id(0);
    messages.push(r.message(id, "system", json!([{ "type": "text", "text": system }]), event));
    let wish = texts::wish(&mut r.dice);
    let id = r.input_id();
    messages.push(r.message(id, "user", json!([{ "type": "text", "text": wish }]), event));
    let tools: Vec<Value> =
        TOOLS.iter().map(|name| json!({ "name": name, "description": texts::PRIVATE[0] })).collect();
    let calls: Vec<Value> = generation.calls.iter().map(|call| tool_request(*call)).collect();
    let output = match (&generation.error, calls.is_empty()) {
        (Some(_), _) => json!({}),
        (None, true) => json!({ "text": texts::answer(&mut r.dice) }),
        (None, false) => json!({ "tool_calls": calls }),
    };
    let finish = match (&generation.error, calls.is_empty()) {
        (Some(_), _) => "error",
        (None, false) if model.names_answers => "tool_calls",
        // The vendor's own pretended model always says that it had finished.
        (None, _) => "stop",
    };
    let succeeded = generation.error.is_none();
    let mut metadata = json!({
        "model": model.name,
        "provider": model.provider,
        "duration_ms": generation.duration_ms,
        "success": succeeded,
        "error": generation.error.map(|code| texts::error(&mut r.dice, code)),
        "finish_reasons": [finish],
    });
    if !is_oldest {
        metadata["provider_id"] = json!(model.provider);
        let exact = if model.names_answers { format!("{}-2026-01-01", model.name) } else { model.name.to_owned() };
        metadata["response_model"] = json!(succeeded.then_some(exact));
        metadata["usage"] = r.usage(generation.usage.as_ref());
        metadata["time_to_first_token_ms"] = json!(generation.first_token_ms);
        metadata["request_options"] = json!({ "stream": true, "metadata": { "turn_id": r.turn_id(event) } });
        let is_named = succeeded && model.names_answers;
        metadata["response_id"] = json!(is_named.then(|| format!("resp_{:024x}", event.sequence)));
        if generation.retries > 0 {
            let total_wait_ms = 1_000 * generation.retries * generation.retries;
            metadata["retry"] = json!({ "attempts": generation.retries, "total_wait_ms": total_wait_ms });
        }
    }
    let request_body = (!is_oldest).then(|| texts::bulk(&mut r.dice, generation.bulk / 2));
    json!({
        "messages": messages,
        "tools": tools,
        "output": output,
        "metadata": Renderer::lean(metadata),
        "request_body": request_body,
    })
}

fn output_completed(r: &mut Renderer, event: &Event) -> Value {
    let What::OutputCompleted { model, usage, calls, error, .. } = &event.what else {
        return Value::Null;
    };
    let content = r.content(calls);
    let id = r.newest_message_id();
    let mut message = r.message(id, "agent", content, event);
    if let Some(model) = model {
        message["metadata"] = json!({ "model": MODELS[*model].name, "provider": MODELS[*model].provider });
    }
    if r.era == Era::D0 {
        return json!({ "message": message });
    }
    message["phase"] = json!(if calls.is_empty() { "final_answer" } else { "commentary" });
    let mut data = json!({ "message": message, "usage": r.usage(usage.as_ref()) });
    if let Some(model) = model.filter(|_| r.era != Era::Serve) {
        data["metadata"] = answering(r, model);
    }
    if let Some(code) = error {
        data["error_code"] = json!(code);
        data["error_fields"] = json!({});
        data["error_disclosure"] = json!("standard");
    }
    data
}

fn reason_completed(r: &mut Renderer, reason: &Reason) -> Value {
    let is_newer = r.era != Era::D0;
    let says = reason.error.is_none() && (reason.calls == 0 || r.dice.chance(0.3));
    json!({
        "success": reason.error.is_none(),
        "text_preview": says.then(|| texts::answer(&mut r.dice)),
        "has_tool_calls": reason.calls > 0,
        "tool_call_count": reason.calls,
        "error": reason.error.map(|code| texts::error(&mut r.dice, code)),
        "duration_ms": is_newer.then_some(reason.duration_ms),
        "usage": r.usage(reason.usage.as_ref()),
    })
}

fn tool_completed(r: &mut Renderer, call: ToolCall, outcome: Outcome, duration_ms: u32) -> Value {
    let succeeded = outcome == Outcome::Success;
    let mark = texts::mark(&mut r.dice);
    let mut data = json!({
        "tool_call_id": call_id(call),
        "tool_name": TOOLS[call.tool],
        "success": succeeded,
        "status": outcome.status(),
    });
    if succeeded {
        data["result"] = json!([{ "type": "text", "text": format!("done {mark}") }]);
    } else {
        data["error"] = json!(format!("tool failed: {mark}"));
    }
    if r.era == Era::D0 {
        return data;
    }
    if !succeeded {
        data["severity"] = json!("issue");
    }
    if outcome != Outcome::Interrupted {
        data["capability_id"] = json!(TOOLS[call.tool]);
        data["capability_name"] = json!(TOOLS[call.tool]);
        data["duration_ms"] = json!(duration_ms);
        data["narration"] = json!(format!("Ran {}", texts::spoken(call)));
        data["tool_call_fingerprint"] = json!(fingerprint(call));
        data["tool_result_fingerprint"] = json!(fingerprint(call));
        data["worker_thread_cpu_ns"] = json!(500_000 + u64::from(call.number));
    }
    data
}

fn turn_completed(r: &mut Renderer, event: &Event, completion: &Completion) -> Value {
    let mut data = json!({ "turn_id": r.turn_id(event), "iterations": completion.iterations });
    if r.era != Era::D0 {
        data["duration_ms"] = json!(completion.duration_ms);
        data["usage"] = r.sum(Some(&completion.usage));
        data["final_message_id"] = json!(r.newest_message_id());
        data["final_answer_preview"] = json!(texts::answer(&mut r.dice));
        data["time_to_first_token_ms"] = json!(completion.first_token_ms);
        data["tool_call_count"] = json!(completion.tool_calls);
        data["llm_call_count"] = json!(completion.iterations);
        data["issue_count"] = json!(completion.issues);
        data["status"] = json!("completed");
        data["stop_reason"] = json!("stop");
        data["termination_reason"] = json!(completion.termination);
    }
    data
}
