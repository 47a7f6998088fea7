//! The rules of `/changes` and `/events`.

use serde_json::Value;

use super::{END, array, ask, busy, changes, get, json, rows, seconds, text, world};
use crate::simulator::{Dialect, SimulateOptions, World};

fn completed(world: &World, now: i64) -> String {
    text(&rows(world, now, "status=completed&sort=created_at")[0]["id"])
}

#[test]
fn batches_continue_where_the_last_one_ended() {
    let world = world(busy());
    for row in rows(&world, END, "").iter().take(40) {
        let id = text(&row["id"]);
        let whole = ask(&world, END, &format!("/api/v2/sessions/{id}/changes"));
        if whole.status == 204 {
            assert!(changes(&world, END, &id).is_empty());
            continue;
        }
        let whole = json(&whole);
        assert_eq!(whole["first_index"], 0);
        assert_eq!(array(&whole["new_events"]), changes(&world, END, &id));
    }
}

#[test]
fn nothing_new_is_204_with_the_index_as_etag() {
    let world = world(busy());
    let id = completed(&world, END);
    let count = changes(&world, END, &id).len();
    for index in [count, count + 5] {
        let response = ask(&world, END, &format!("/api/v2/sessions/{id}/changes?from_index={index}"));
        assert_eq!((response.status, response.header("etag")), (204, Some(index.to_string().as_str())));
        assert!(response.body.is_empty() && response.wait.is_none());
    }
    let one = get(&world, END, &format!("/api/v2/sessions/{id}/changes?from_index={}", count - 1));
    assert_eq!((array(&one["new_events"]).len(), one["first_index"].as_u64()), (1, Some(count as u64 - 1)));
    let negative = get(&world, END, &format!("/api/v2/sessions/{id}/changes?from_index=-4"));
    assert_eq!(negative["first_index"], 0);
}

#[test]
fn limit_and_include_events() {
    let world = world(busy());
    let id = completed(&world, END);
    let path = format!("/api/v2/sessions/{id}/changes?from_index=2&");
    let limited = get(&world, END, &format!("{path}limit=3"));
    assert_eq!((array(&limited["new_events"]).len(), limited["first_index"].as_u64()), (3, Some(2)));
    assert_eq!(limited["status"], "completed", "the status is the one of now, not of the batch");
    for query in ["limit=0", "include_events=false"] {
        let bare = get(&world, END, &format!("{path}{query}"));
        assert_eq!(array(&bare["new_events"]).len(), 0);
        assert_eq!(bare["metrics"], limited["metrics"]);
    }
    for query in ["limit=-1", "include_events=maybe", "wait_for_seconds=61", "from_index=x"] {
        assert_eq!(ask(&world, END, &format!("{path}{query}")).status, 422, "{query}");
    }
}

#[test]
fn a_long_poll_knows_when_to_ask_again() {
    let world = world(busy());
    let now = seconds(5.0);
    let id = text(&rows(&world, now, "status=running")[0]["id"]);
    let count = changes(&world, now, &id).len();
    let path = format!("/api/v2/sessions/{id}/changes?from_index={count}&wait_for_seconds=20");
    let held = ask(&world, now, &path);
    let wait = held.wait.expect("nothing to say yet");
    assert_eq!((held.status, wait.deadline_us), (204, now + 20_000_000));
    let next = wait.next_event_us.expect("a running session goes on");
    assert_eq!(ask(&world, next - 1, &path).status, 204);
    assert_eq!(array(&get(&world, next, &path)["new_events"]).len(), 1);
    let over = completed(&world, END);
    let held = ask(&world, END, &format!("/api/v2/sessions/{over}/changes?from_index=9999&wait_for_seconds=1"));
    assert_eq!(held.wait.expect("also after the end").next_event_us, None);
}

#[test]
fn evicted_events_are_skipped_with_a_larger_first_index() {
    let world = world(SimulateOptions { evict_after: 5, ..busy() });
    let id = completed(&world, END);
    let history = get(&world, END, &format!("/api/v2/sessions/{id}/events?size=200"));
    let total = history["total"].as_u64().expect("a number");
    let batch = get(&world, END, &format!("/api/v2/sessions/{id}/changes?from_index=1&limit=2"));
    assert_eq!(batch["first_index"], total - 5);
    assert_eq!(array(&batch["new_events"]), &array(&history["items"])[total as usize - 5..total as usize - 3]);
    let newest = get(&world, END, &format!("/api/v2/sessions/{id}/changes?from_index={}", total - 2));
    assert_eq!((newest["first_index"].as_u64(), array(&newest["new_events"]).len()), (Some(total - 2), 2));
}

#[test]
fn history_is_paged_sorted_and_filtered() {
    let world = world(busy());
    let id = completed(&world, END);
    let events = changes(&world, END, &id);
    let path = format!("/api/v2/sessions/{id}/events?");
    let mut paged = Vec::new();
    for page in 1..=events.len().div_ceil(7) {
        let document = get(&world, END, &format!("{path}size=7&page={page}"));
        assert_eq!(
            (document["total"].as_u64(), document["page"].as_u64()),
            (Some(events.len() as u64), Some(page as u64))
        );
        paged.extend_from_slice(array(&document["items"]));
    }
    assert_eq!(paged, events);
    let newest = get(&world, END, &format!("{path}sort=-timestamp&size=3"));
    let expected: Vec<Value> = events.iter().rev().take(3).cloned().collect();
    assert_eq!(array(&newest["items"]), expected);
    let metrics = get(&world, END, &format!("{path}type=MetricsUpdateEvent&size=2&page=2"));
    let expected: Vec<&Value> = events.iter().filter(|event| event["type"] == "MetricsUpdateEvent").collect();
    assert_eq!(metrics["total"], expected.len());
    assert_eq!(
        array(&metrics["items"]).iter().collect::<Vec<_>>(),
        expected.iter().skip(2).take(2).copied().collect::<Vec<_>>()
    );
    assert_eq!(get(&world, END, &format!("{path}type=metricsupdateevent"))["total"], 0);
    assert!(array(&get(&world, END, &format!("{path}page=999"))["items"]).is_empty());
    assert_eq!(ask(&world, END, &format!("{path}size=201")).status, 422);
}

#[test]
fn totals_in_the_stream_never_fall_and_end_where_the_status_says() {
    let world = world(SimulateOptions { restart_share: 0.5, ..busy() });
    for row in rows(&world, END, "") {
        let id = text(&row["id"]);
        let mut last = Value::Null;
        for event in changes(&world, END, &id).iter().filter(|event| event["type"] == "MetricsUpdateEvent") {
            let metrics = &event["data"]["metrics"];
            if last.is_object() {
                assert!(metrics["steps"].as_u64() >= last["steps"].as_u64());
                for model in array(&last["cost_per_model"]) {
                    let now = array(&metrics["cost_per_model"])
                        .iter()
                        .find(|other| other["name"] == model["name"])
                        .expect("models stay");
                    for field in ["input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"] {
                        assert!(now[field].as_u64() >= model[field].as_u64(), "{id} {field}");
                    }
                }
            }
            last = metrics.clone();
        }
        let status = get(&world, END, &format!("/api/v2/sessions/{id}/status"));
        if last.is_object() {
            assert_eq!(last["steps"], status["steps"]);
            assert_eq!(last["cost_per_model"][0]["input_tokens"], status["usage_per_model"][0]["input_tokens"]);
        }
    }
}

#[test]
fn a_restart_keeps_the_first_start_and_clears_the_end() {
    let options = SimulateOptions { restart_share: 1.0, sessions: 60, usage_resets_on_restart: true, ..busy() };
    let world = world(options);
    let mut seen = 0;
    for row in rows(&world, END, "") {
        let id = text(&row["id"]);
        let events = changes(&world, END, &id);
        let starts: Vec<&Value> = events.iter().filter(|event| event["type"] == "AgentStartedEvent").collect();
        if starts.len() < 2 {
            continue;
        }
        seen += 1;
        assert_eq!(row["started_at"], starts[0]["timestamp"]);
        let again: jiff::Timestamp = text(&starts[1]["timestamp"]).parse().expect("a time");
        let during = get(&world, again.as_microsecond(), &format!("/api/v2/sessions/{id}"));
        assert_eq!((during["status"]["status"].as_str(), &during["finished_at"]), (Some("running"), &Value::Null));
        assert_eq!(
            (during["started_at"].clone(), during["status"]["steps"].as_u64()),
            (starts[0]["timestamp"].clone(), Some(0))
        );
        let active = rows(&world, again.as_microsecond(), "")
            .into_iter()
            .find(|other| other["id"] == row["id"])
            .expect("still listed");
        assert_eq!(active["last_activity_at"], starts[1]["timestamp"]);
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn queued_sessions_show_no_activity() {
    let world = world(SimulateOptions { sessions: 2_000, rate: 200.0, ..busy() });
    let queued = rows(&world, seconds(5.0), "status=queued");
    assert!(!queued.is_empty());
    for row in queued {
        assert!(row["last_activity_at"].is_null() && row["agent_view_url"].is_null() && row["started_at"].is_null());
    }
}

#[test]
fn the_older_platform_nests_its_agent_events() {
    let world = world(SimulateOptions { dialect: Dialect::Old, ..busy() });
    let id = completed(&world, END);
    let batch = get(&world, END, &format!("/api/v2/sessions/{id}/changes"));
    for field in ["first_index", "error_code", "outcome", "pending_tool_calls"] {
        assert!(batch.get(field).is_none(), "{field}");
    }
    let mut kinds = Vec::new();
    for event in array(&batch["new_events"]).iter().filter(|event| event["type"] == "AgentEvent") {
        let inner = &event["data"]["event"];
        match inner["kind"].as_str() {
            Some("policy_event") => {
                assert!(inner["tool_reqs"].is_array() && inner["message"]["content"].is_string())
            }
            Some("observation_event") => assert!(inner["observation"]["type"].is_string()),
            Some("answer_event") => assert!(inner.get("outcome").is_none()),
            _ => {}
        }
        kinds.push(inner["kind"].clone());
    }
    assert!(kinds.contains(&"answer_event".into()));
    let status = get(&world, END, &format!("/api/v2/sessions/{id}/status"));
    assert!(status["usage_per_model"][0].get("cached_tokens").is_none());
}
