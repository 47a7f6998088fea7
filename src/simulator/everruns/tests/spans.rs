//! The names of spans: as the recordings of the single binary have them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{DIALECTS, Dialect, END, events, sessions, speaking, text, world};

fn own(event: &Value) -> String {
    text(&event["context"]["span_id"])
}

fn parent(event: &Value) -> String {
    text(&event["context"]["parent_span_id"])
}

/// What was seen of the rules.
#[derive(Default)]
struct Seen {
    decisions: u32,
    recovered: u32,
    retried: u32,
    acts: u32,
    tools: u32,
}

/// Holds one stream to the rules.
fn check(stream: &[Value], seen: &mut Seen) {
    let (mut reason, mut act, mut was_recovered) = (None, None, false);
    let mut begun = BTreeSet::new();
    for event in stream {
        let turn = || text(&event["context"]["turn_id"]);
        let kind = event["type"].as_str().expect("a type");
        if event["context"]["span_id"].is_string() {
            assert_eq!(text(&event["context"]["trace_id"]), turn(), "the turn is the trace");
        }
        match kind {
            "reason.started" => {
                assert_eq!(parent(event), turn());
                begun.insert(own(event));
                (reason, was_recovered) = (Some(own(event)), false);
            }
            "reason.recovered" => {
                assert!(event["context"]["span_id"].is_null());
                was_recovered = true;
            }
            "llm.generation" => {
                // One that was asked again has a parent that nobody ever heard of.
                assert_eq!(begun.contains(&parent(event)), !was_recovered);
                assert_ne!(own(event), parent(event));
                seen.retried += u32::from(was_recovered);
            }
            "reason.completed" => {
                assert_eq!(parent(event), turn());
                assert_eq!(Some(own(event)) == reason, !was_recovered, "{event}");
                seen.decisions += 1;
                seen.recovered += u32::from(was_recovered);
            }
            "act.started" => {
                assert_eq!(parent(event), turn());
                act = Some(own(event));
                seen.acts += 1;
            }
            "act.completed" => assert_eq!((Some(own(event)), parent(event)), (act.clone(), turn())),
            "tool.started" => {
                assert_eq!(Some(parent(event)), act);
                assert!(begun.insert(own(event)), "every call is a span of its own");
            }
            "tool.completed" if event["data"]["status"] == "interrupted" => {
                assert!(event["context"]["span_id"].is_null(), "a restart cut it off");
            }
            "tool.completed" => {
                assert!(Some(parent(event)) == act && begun.contains(&own(event)));
                seen.tools += 1;
            }
            _ => {}
        }
    }
}

#[test]
fn what_begins_and_what_ends_share_a_span() {
    for dialect in [Dialect::D2, Dialect::D3, Dialect::D4, Dialect::Serve] {
        let world = world(speaking(dialect));
        let mut seen = Seen::default();
        for (_, path) in sessions(&world, END) {
            check(&events(&world, END, &path), &mut seen);
        }
        let Seen { decisions, recovered, retried, acts, tools } = seen;
        assert!(decisions > 200 && acts > 100 && tools > 100, "{dialect:?}");
        assert!(recovered > 2 && retried > 2, "{dialect:?}: {recovered} {retried}");
    }
}

#[test]
fn recorded_streams_keep_to_the_same_rules() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/everruns/serve-0.50.1");
    let mut seen = Seen::default();
    for name in ["openai_tools", "openai_fail429", "openai_two_turns", "ratelimited", "crash_resume", "tools"] {
        let bytes = std::fs::read(folder.join(format!("events_{name}.json"))).expect("a recording");
        let document: Value = serde_json::from_slice(&bytes).expect("JSON");
        check(document["data"].as_array().expect("events"), &mut seen);
    }
    assert!(seen.decisions > 8 && seen.recovered > 1 && seen.retried > 1 && seen.tools > 3);
}

#[test]
fn older_servers_name_no_spans() {
    for dialect in DIALECTS.into_iter().filter(|dialect| matches!(dialect, Dialect::D0 | Dialect::D1)) {
        let world = world(speaking(dialect));
        for (_, path) in sessions(&world, END) {
            assert!(events(&world, END, &path).iter().all(|event| event["context"]["span_id"].is_null()));
        }
    }
}
