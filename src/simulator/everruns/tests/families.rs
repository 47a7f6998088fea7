//! Sessions that others started, and the account of each session.

use serde_json::Value;

use super::{DIALECTS, Dialect, END, SimulateOptions, array, busy, events, get, sessions, speaking, text, world};
use crate::simulator::everruns::truth;

fn families(dialect: Dialect) -> SimulateOptions {
    SimulateOptions { children_share: 0.3, ..speaking(dialect) }
}

fn times(events: &[Value], kind: &str, is_it: impl Fn(&Value) -> bool) -> Vec<String> {
    let wanted = events.iter().filter(|event| event["type"] == kind && is_it(&event["data"]));
    // Without the fraction, whose length differs.
    wanted.map(|event| text(&event["ts"])[..19].to_owned()).collect()
}

#[test]
fn a_child_works_while_its_parent_waits_for_it() {
    for dialect in [Dialect::D3, Dialect::D4, Dialect::Serve] {
        let world = world(families(dialect));
        let all = sessions(&world, END);
        let children: Vec<_> = all.iter().filter(|(row, _)| row["parent_session_id"].is_string()).collect();
        assert!(children.len() > 15, "{dialect:?}: {}", children.len());
        for (child, path) in &children {
            let is_parent = |(row, _): &&(Value, String)| row["id"] == child["parent_session_id"];
            let (parent, parents_path) = all.iter().find(is_parent).expect("it is listed, too");
            assert!(parent["parent_session_id"].is_null(), "children start no others");
            assert!(dialect == Dialect::D3 || child["source"] == "subagent");
            let (own, parents) = (events(&world, END, path), events(&world, END, parents_path));
            let copied = parent["forked_from_sequence"].as_i64().unwrap_or(0);
            let parents: Vec<Value> =
                parents.into_iter().filter(|event| event["sequence"].as_i64() > Some(copied)).collect();
            let begun = times(&parents, "tool.started", |data| data["tool_call"]["name"] == "spawn_subagent");
            let over = times(&parents, "tool.completed", |data| data["tool_name"] == "spawn_subagent");
            let born = &text(&child["created_at"])[..19];
            let last = &text(&own.last().expect("it did something")["ts"])[..19];
            assert_eq!(begun.len(), over.len());
            assert!(begun.iter().any(|at| at.as_str() <= born) && over.iter().any(|at| at.as_str() >= last));
            assert_eq!(times(&own, "turn.started", |_| true).len(), 1);
        }
        let account = truth(&world, END, None).account;
        assert_eq!((account.subagents, account.sessions), (children.len() as u64, all.len() as u64));
    }
}

#[test]
fn others_are_what_they_are_whether_some_have_children_or_not() {
    let with = world(SimulateOptions { children_share: 0.3, ..busy() });
    let without = world(SimulateOptions { children_share: 0.0, ..busy() });
    assert_eq!(truth(&without, END, None).account.subagents, 0);
    let mut same = 0;
    for (row, path) in sessions(&with, END).iter().filter(|(row, _)| row["parent_session_id"].is_null()) {
        let events = events(&with, END, path);
        let delegates = events.iter().any(|event| event["data"]["tool_call"]["name"] == "spawn_subagent");
        // What a fork copies depends on how far its origin was.
        let before = get(&without, END, path.trim_end_matches("/events"));
        if !delegates && row["forked_from_session_id"].is_null() && before["forked_from_session_id"].is_null() {
            assert!(get(&without, END, path)["data"] == Value::from(events), "{path}");
            same += 1;
        }
    }
    assert!(same > 60, "{same}");
}

#[test]
fn older_servers_know_no_children() {
    for dialect in [Dialect::D0, Dialect::D1, Dialect::D2] {
        let world = world(families(dialect));
        assert!(sessions(&world, END).iter().all(|(row, _)| row["parent_session_id"].is_null()));
        assert_eq!(truth(&world, END, None).account.subagents, 0);
    }
}

#[test]
fn each_session_is_accounted_for_by_itself() {
    for dialect in DIALECTS {
        let world = world(SimulateOptions { sessions: 40, ..families(dialect) });
        let told = get(&world, END, "/_truth");
        let traces = &told["traces"];
        let mut sums = [0_u64; 3];
        let each = array(&traces["sessions"]);
        let all = sessions(&world, END);
        assert_eq!(each.len(), all.len(), "{dialect:?}");
        for (row, path) in all {
            let one = each.iter().find(|one| one["id"] == row["id"]).expect("it is there");
            assert_eq!(one["parent"], row["parent_session_id"]);
            let copied = row["forked_from_sequence"].as_i64().unwrap_or(0);
            let own = events(&world, END, &path);
            let own = own.iter().filter(|event| event["sequence"].as_i64() > Some(copied));
            let mut counted = [0_u64; 3];
            for event in own {
                match event["type"].as_str().expect("a type") {
                    "turn.completed" | "turn.failed" | "turn.sealed" | "turn.cancelled" => counted[0] += 1,
                    "reason.completed" => counted[1] += 1,
                    "tool.completed" | "tool.call_completed" => counted[2] += 1,
                    _ => {}
                }
            }
            let turns: u64 = one["turns_finished"].as_object().expect("a map").values().filter_map(Value::as_u64).sum();
            assert_eq!(
                [Some(turns), one["steps"].as_u64(), one["tool_calls_ended"].as_u64()],
                counted.map(Some),
                "{dialect:?}"
            );
            sums.iter_mut().zip(counted).for_each(|(sum, count)| *sum += count);
        }
        assert_eq!(traces["turns_finished"], told["turns_finished"]);
        assert_eq!((traces["steps"].as_u64(), traces["tool_calls_ended"].as_u64()), (Some(sums[1]), Some(sums[2])));
        let sum = |map: &Value| map.as_object().expect("a map").values().filter_map(Value::as_u64).sum::<u64>();
        assert_eq!(traces["model_calls"].as_u64(), Some(sum(&told["model_calls"])));
        let tokens = told["tokens"].as_object().expect("a map").values();
        assert_eq!(traces["output_tokens"].as_u64(), tokens.clone().map(|it| it["output"].as_u64()).sum());
        assert_eq!(traces["input_tokens"].as_u64(), tokens.map(|it| it["input"].as_u64()).sum());
    }
    let many = world(SimulateOptions { sessions: 600, steps: 1, ..busy() });
    assert!(get(&many, END, "/_truth")["traces"]["sessions"].is_null(), "too many to be told one by one");
}
