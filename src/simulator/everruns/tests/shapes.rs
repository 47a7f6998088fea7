//! The forms of events and lives: against recordings of the real programs, and against the list of what must occur.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::{DIALECTS, Dialect, END, EverrunsOptions, SimulateOptions, agents, ask, busy, events, find, kinds};
use super::{pages, sequences, sessions, small, speaking, text, world};
use crate::simulator::everruns::PRIVATE;

/// For each type of event, the members that all recorded payloads have.
fn recorded(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/everruns").join(folder);
    let mut common: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("recordings") {
        let path = entry.expect("a recording").path();
        let document: Value = serde_json::from_slice(&std::fs::read(path).expect("text")).expect("JSON");
        for event in document["data"].as_array().into_iter().flatten().filter(|row| row["type"].is_string()) {
            let members: BTreeSet<String> = event["data"].as_object().expect("an object").keys().cloned().collect();
            let known = common.entry(text(&event["type"])).or_insert_with(|| members.clone());
            known.retain(|name| members.contains(name));
        }
    }
    common
}

#[test]
fn payloads_have_what_recorded_ones_have() {
    for (folder, dialect) in
        [("serve-0.50.1", Dialect::Serve), ("serve-0.50.1", Dialect::D4), ("v0.3.0-server", Dialect::D0)]
    {
        let mut recorded = recorded(folder);
        assert!(recorded.len() > 12, "{folder}");
        // The simulator leaves these out now and then on purpose; some sessions have no agent.
        for (kind, name) in [
            ("turn.completed", "duration_ms"),
            ("turn.completed", "time_to_first_token_ms"),
            ("turn.completed", "usage"),
            ("session.started", "agent_id"),
            ("turn.started", "agent_id"),
            ("turn.started", "agent_name"),
            ("reason.started", "agent_id"),
        ] {
            recorded.get_mut(kind).map(|names| names.remove(name));
        }
        let world = world(speaking(dialect));
        let mut compared = BTreeSet::new();
        for (_, path) in sessions(&world, END) {
            for event in events(&world, END, &path) {
                let kind = text(&event["type"]);
                let members = event["data"].as_object().expect("an object");
                for name in recorded.get(&kind).into_iter().flatten() {
                    assert!(members.contains_key(name), "{dialect:?}: {kind} lacks {name}: {}", event["data"]);
                }
                compared.insert(kind);
            }
        }
        let missing: Vec<&String> = recorded.keys().filter(|kind| !compared.contains(*kind)).collect();
        assert!(missing.is_empty(), "{dialect:?} never says {missing:?}");
    }
}

/// All streams of a default world of some hundred sessions.
fn streams(dialect: Dialect, sessions: u64) -> Vec<(Value, Vec<Value>)> {
    let options = SimulateOptions { history: 50, sessions, ..speaking(dialect) };
    let world = world(SimulateOptions { interactive_share: 0.15, steps: 12, ..options });
    super::sessions(&world, END).into_iter().map(|(row, path)| (row, events(&world, END, &path))).collect()
}

#[test]
fn everything_that_can_happen_happens() {
    let streams = streams(Dialect::D4, 300);
    let has = |what: &str, is_it: &dyn Fn(&Value, &[Value]) -> bool| {
        let count = streams.iter().filter(|(row, events)| is_it(row, events)).count();
        assert!(count > 0, "no session: {what}");
    };
    let some = |what: &str, kind: &str, is_it: &dyn Fn(&Value) -> bool| {
        let is_it =
            |_: &Value, events: &[Value]| events.iter().any(|event| event["type"] == kind && is_it(&event["data"]));
        has(what, &is_it);
    };
    has("never used", &|row, events| row["status"] == "started" && events.is_empty());
    has("several turns", &|_, events| kinds(events).iter().filter(|kind| **kind == "turn.started").count() > 3);
    has("no agent", &|row, events| row["agent_id"].is_null() && !events.is_empty());
    has("a fork", &|row, _| row["forked_from_session_id"].is_string());
    has("archived", &|row, _| row["archived_at"].is_string());
    has("still active", &|row, events| {
        row["status"] == "active"
            && !kinds(events[events.len().saturating_sub(5)..].as_ref()).contains(&"session.idled")
    });
    has("waits for ever", &|row, events| {
        row["status"] == "waitingfortoolresults" && events[events.len() - 1]["type"] == "tool.call_requested"
    });
    has("waited and went on", &|row, events| row["status"] == "idle" && kinds(events).contains(&"tool.call_requested"));
    has("paused for ever", &|row, _| row["status"] == "paused");
    has("a retry storm", &|_, events| {
        let is_failed = |event: &&Value| event["data"]["metadata"]["success"] == false;
        events.iter().filter(|event| event["type"] == "llm.generation").filter(is_failed).count() >= 3
    });
    has("a crash", &|_, events| {
        let of = |kind: &str| kinds(events).iter().filter(|known| **known == kind).count();
        of("transcript.repaired") > 0 && of("tool.started") != of("tool.completed")
    });
    has("a failure without generations", &|_, events| {
        events.windows(2).any(|pair| pair[0]["type"] == "reason.recovered" && pair[1]["type"] == "reason.completed")
    });
    some("resumed", "budget.resumed", &|_| true);
    some("cancelled", "turn.cancelled", &|data| text(&data["turn_id"]).starts_with("turn_"));
    some("sealed", "turn.sealed", &|data| data["reason"] == "no_progress");
    some("sealed by budget", "turn.sealed", &|data| data["reason"] == "budget");
    some("interrupted tool", "tool.completed", &|data| data["status"] == "interrupted" && data["severity"] == "issue");
    some("slow tool", "tool.completed", &|data| data["status"] == "timeout");
    some("unknown code", "turn.failed", &|data| data["error_code"] == "quantum_decoherence");
    some("other model", "session.model.changed", &|data| data["model_name"].is_string());
    some("no duration", "turn.completed", &|data| data["duration_ms"].is_null());
    some("no usage", "llm.generation", &|data| {
        data["metadata"]["success"] == true && data["metadata"]["usage"].is_null()
    });
    some("reported cost", "llm.generation", &|data| {
        let usage = &data["metadata"]["usage"];
        usage["actual_cost_usd"].is_f64() && usage["estimated_cost_usd"].is_f64()
    });
    some("no cost", "llm.generation", &|data| {
        data["metadata"]["usage"].is_object() && data["metadata"]["usage"]["estimated_cost_usd"].is_null()
    });
    some("cache written", "llm.generation", &|data| data["metadata"]["usage"]["cache_creation_tokens"].is_u64());
    some("steering", "input.message", &|data| data["message"]["role"] == "user");
    some("future type", "some.future.event", &|_| true);
    has("a decision without generation", &|_, events| {
        let told = kinds(events);
        told.contains(&"reason.completed") && !told.contains(&"llm.generation")
    });
    let digits: BTreeSet<usize> =
        streams.iter().flat_map(|(_, events)| events).map(|event| text(&event["ts"]).len()).collect();
    assert_eq!(digits.into_iter().collect::<Vec<_>>(), [24, 27, 30]);
    let lengths: BTreeSet<usize> = streams.iter().map(|(row, _)| text(&row["id"]).len()).collect();
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [39, 40]);
}

#[test]
fn a_fork_repeats_its_origin() {
    let world = world(busy());
    let (row, path) = find(&world, |row, events| {
        let copied = row["forked_from_sequence"].as_i64().unwrap_or(i64::MAX);
        events.iter().any(|event| event["sequence"].as_i64() > Some(copied))
    });
    let copied = row["forked_from_sequence"].as_i64().expect("a number");
    let origin = events(&world, END, &format!("/v1/sessions/{}/events", text(&row["forked_from_session_id"])));
    let fork = events(&world, END, &path);
    let head = sequences(&fork).iter().filter(|sequence| **sequence <= copied).count();
    assert_eq!(sequences(&fork)[..head], sequences(&origin)[..head]);
    for (copy, original) in fork.iter().zip(&origin).take(head) {
        assert_eq!(
            (&copy["data"], &copy["ts"], &copy["type"]),
            (&original["data"], &original["ts"], &original["type"])
        );
        assert_ne!(copy["id"], original["id"]);
        assert_eq!(copy["session_id"], row["id"]);
    }
    let turn = |event: &Value| event["context"]["turn_id"].clone();
    let own: Vec<Value> = fork[head..].iter().map(turn).filter(Value::is_string).collect();
    assert!(own.iter().all(|id| !fork[..head].iter().map(turn).any(|other| other == *id)));
}

#[test]
fn the_oldest_dialect_has_its_own_names() {
    let streams = streams(Dialect::D0, 60);
    let told: BTreeSet<&str> = streams.iter().flat_map(|(_, events)| kinds(events)).collect();
    for (newer, older) in [
        ("input.message", "message.user"),
        ("output.message.completed", "message.agent"),
        ("tool.started", "tool.call_started"),
        ("tool.completed", "tool.call_completed"),
    ] {
        assert!(told.contains(older) && !told.contains(newer), "{older}");
    }
    let (_, events) = streams.iter().find(|(_, events)| kinds(events).contains(&"turn.completed")).expect("a turn");
    let turn =
        |kind: &str| events.iter().find(|event| event["type"] == kind).map(|event| event["data"]["turn_id"].clone());
    assert_ne!(turn("turn.started"), turn("turn.completed"));
    let shown = streams.iter().map(|(_, events)| serde_json::to_string(events).expect("text")).collect::<String>();
    assert!(!shown.contains("\"usage\"") && shown.contains("llm_error"));
}

#[test]
fn older_servers_name_cancelled_turns_by_their_session() {
    for (dialect, by_session) in [(Dialect::D3, true), (Dialect::D4, false)] {
        let world = world(speaking(dialect));
        let (row, path) = find(&world, |_, events| kinds(events).contains(&"turn.cancelled"));
        let stream = events(&world, END, &path);
        let cancelled = stream.iter().find(|event| event["type"] == "turn.cancelled").expect("one");
        let digits = text(&row["id"]).replace("session_", "turn_");
        assert_eq!(cancelled["data"]["turn_id"] == *digits, by_session);
        let begun = stream
            .iter()
            .any(|event| event["type"] == "turn.started" && event["data"]["turn_id"] == cancelled["data"]["turn_id"]);
        assert_eq!(begun, !by_session);
    }
}

#[test]
fn generations_can_be_large() {
    let everruns = EverrunsOptions { generation_bytes: 1 << 20, ..small() };
    let world = world(SimulateOptions { everruns, sessions: 3, history: 0, ..busy() });
    let (_, path) = find(&world, |_, events| kinds(events).contains(&"llm.generation"));
    let only = ask(&world, END, &format!("{path}?after_sequence=0&limit=1&types=llm.generation"));
    assert!(only.body.len() > 1 << 20, "{}", only.body.len());
    assert!(ask(&world, END, &format!("{path}?exclude=llm.generation")).body.len() < 1 << 20);
}

#[test]
fn every_text_carries_a_mark() {
    for dialect in DIALECTS {
        let world = world(SimulateOptions { sessions: 30, history: 10, ..speaking(dialect) });
        for (row, path) in sessions(&world, END) {
            for name in ["title", "preview", "output_preview", "run_summary"] {
                assert!(row[name].as_str().is_none_or(|text| PRIVATE.iter().any(|mark| text.contains(mark))), "{row}");
            }
            for event in events(&world, END, &path) {
                check(&event["data"], "", &text(&event["type"]));
            }
        }
    }
    let found = agents(&world(busy()), END);
    assert!(found.iter().any(|agent| text(&agent["name"]).contains('"')));
    assert!(!pages(&world(busy()), END, "/v1/agents", "").is_empty());
}

/// Members that hold what users or models wrote.
fn check(value: &Value, name: &str, kind: &str) {
    const WRITTEN: &[&str] = &[
        "text",
        "input_content",
        "final_answer_preview",
        "text_preview",
        "thinking",
        "error",
        "title",
        "request_body",
    ];
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| check(value, name, kind)),
        Value::Array(items) => items.iter().for_each(|item| check(item, name, kind)),
        Value::String(text) if WRITTEN.contains(&name) => {
            let is_marked = PRIVATE.iter().any(|mark| text.contains(mark));
            assert!(is_marked || text == "User requested to cancel the work.", "{kind} {name}: {text}");
        }
        _ => {}
    }
}
