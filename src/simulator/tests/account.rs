//! The account against a naive recount of what the API says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{END, EPOCH, array, ask, busy, changes, get, json, rows, seconds, text, world};
use crate::simulator::{Account, SimulateOptions, Tokens, World, truth};

/// Everything that can be counted from streams alone. Usage is read as a client must that does not know whether it
/// resets: a smaller total starts from zero.
fn recount(world: &World, now: i64) -> Account {
    let mut account = Account::default();
    for row in rows(world, now, "") {
        account.sessions += 1;
        let mut last: BTreeMap<String, (Tokens, u64)> = BTreeMap::new();
        let mut last_steps = 0;
        for event in changes(world, now, &text(&row["id"])) {
            account.events += 1;
            let data = &event["data"];
            match (event["type"].as_str(), data["kind"].as_str()) {
                (_, Some("policy_event")) => {
                    array(&data["tool_reqs"]).iter().for_each(|call| add(&mut account.tool_calls, &call["tool_name"]))
                }
                (_, Some("error_event")) if data["tool_req"].is_object() => {
                    add(&mut account.tool_failures, &data["tool_req"]["tool_name"])
                }
                (_, Some("answer_event")) if data["outcome"].is_string() => {
                    add(&mut account.outcomes, &data["outcome"])
                }
                (Some("AgentStartedEvent"), _) => add(&mut account.status_entries, &"running".into()),
                (Some("ActiveStateChangeEvent"), _) if data["state"] != "compacting_memory" => {
                    add(&mut account.status_entries, &data["state"])
                }
                (Some("AgentRunStatusChangeEvent"), _) => add(&mut account.status_entries, &data["status"]),
                (Some("AgentCompletionEvent"), _) => {
                    let status = match data["reason"].as_str() {
                        Some("finished") => "completed",
                        Some("stopped") => "interrupted",
                        _ => "timed_out",
                    };
                    add(&mut account.status_entries, &status.into());
                }
                (Some("MetricsUpdateEvent"), _) => {
                    let metrics = &data["metrics"];
                    let steps = number(&metrics["steps"]);
                    let reset = steps <= last_steps;
                    account.steps += if reset { steps } else { steps - last_steps };
                    last_steps = steps;
                    if reset {
                        last.clear();
                    }
                    for model in array(&metrics["cost_per_model"]) {
                        add_model(&mut account, &mut last, model);
                    }
                }
                _ => {}
            }
        }
    }
    account
}

fn add_model(account: &mut Account, last: &mut BTreeMap<String, (Tokens, u64)>, model: &Value) {
    let name = text(&model["name"]);
    let (before, cost_before) = last.get(&name).cloned().unwrap_or_default();
    let now = Tokens {
        input: number(&model["input_tokens"]),
        cached: number(&model["cached_tokens"]),
        output: number(&model["output_tokens"]),
        reasoning: number(&model["reasoning_tokens"]),
    };
    let sums = account.tokens.entry(leak(&name)).or_default();
    sums.input += now.input - before.input;
    sums.cached += now.cached - before.cached;
    sums.output += now.output - before.output;
    sums.reasoning += now.reasoning - before.reasoning;
    let mut cost = 0;
    if let Some(dollars) = model["total_cost"].as_f64() {
        cost = (dollars * 1e9).round() as u64;
        *account.cost_nano_usd.entry(leak(&name)).or_default() += cost - cost_before;
    }
    last.insert(name, (now, cost));
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn add(counts: &mut BTreeMap<&'static str, u64>, key: &Value) {
    *counts.entry(leak(&text(key))).or_default() += 1;
}

fn compare(truth: &Account, counted: &Account) {
    assert_eq!(truth.sessions, counted.sessions);
    assert_eq!(truth.events, counted.events);
    assert_eq!(truth.steps, counted.steps);
    assert_eq!(truth.tokens, counted.tokens);
    assert_eq!(truth.cost_nano_usd, counted.cost_nano_usd);
    assert_eq!(truth.tool_calls, counted.tool_calls);
    assert_eq!(truth.tool_failures, counted.tool_failures);
    assert_eq!(truth.outcomes, counted.outcomes);
    assert_eq!(truth.status_entries, counted.status_entries);
}

#[test]
fn the_settled_account_equals_a_recount() {
    for seed in 1..=3 {
        let world = world(SimulateOptions { seed, ..busy() });
        let truth = truth(&world, END, None);
        assert!(truth.settled && truth.account.restarts > 0 && truth.account.subagents > 0);
        compare(&truth.account, &recount(&world, END));
    }
}

#[test]
fn consumption_before_a_reset_counts() {
    let resetting = world(SimulateOptions { usage_resets_on_restart: true, restart_share: 1.0, ..busy() });
    let keeping = world(SimulateOptions { restart_share: 1.0, ..busy() });
    let account = truth(&resetting, END, None).account;
    assert_eq!(account, truth(&keeping, END, None).account);
    compare(&account, &recount(&resetting, END));
}

#[test]
fn the_account_in_the_middle_agrees_with_the_streams() {
    let world = world(busy());
    for now in [3.0, 7.5, 14.0].map(seconds) {
        let account = truth(&world, now, None).account;
        let counted = recount(&world, now);
        assert_eq!(
            (account.events, &account.tokens, &account.outcomes),
            (counted.events, &counted.tokens, &counted.outcomes)
        );
        let mut active: BTreeMap<String, u64> = BTreeMap::new();
        for row in rows(&world, now, "").iter().filter(|row| row["finished_at"].is_null()) {
            *active.entry(text(&row["status"])).or_default() += 1;
        }
        let known: BTreeMap<String, u64> =
            account.active_by_status.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect();
        assert_eq!(known, active);
    }
}

#[test]
fn an_account_since_some_time_is_the_difference() {
    let world = world(busy());
    let cut = seconds(6.0);
    let (whole, before, after) =
        (truth(&world, END, None).account, truth(&world, cut - 1, None).account, truth(&world, END, Some(cut)).account);
    assert_eq!(whole.events, before.events + after.events);
    assert_eq!(whole.steps, before.steps + after.steps);
    assert_eq!(whole.sessions, before.sessions + after.sessions);
    for (model, tokens) in &whole.tokens {
        let part = |account: &Account| account.tokens.get(model).map_or(0, |tokens| tokens.input);
        assert_eq!(tokens.input, part(&before) + part(&after), "{model}");
    }
    let asked = get(&world, END, "/_truth?since=2026-11-20T14:30:06Z");
    assert_eq!(asked["events"], after.events);
    assert_eq!(ask(&world, END, "/_truth?since=soon").status, 422);
}

#[test]
fn forgotten_sessions_stay_in_the_account() {
    let options = SimulateOptions { delete_after: 5.0, ..busy() };
    let (forgetful, fresh) = (world(options.clone()), world(options.clone()));
    let keeping = world(SimulateOptions { delete_after: 0.0, restart_share: 0.0, ..options });
    let since = seconds(4.0);
    // Asked in between and only at the end: the same answers.
    for minute in 0..40 {
        truth(&forgetful, seconds(f64::from(minute) * 60.0), Some(since));
    }
    assert!(forgetful.remembered() < 20, "{}", forgetful.remembered());
    for since in [None, Some(since), Some(seconds(8.0))] {
        let account = truth(&forgetful, END, since).account;
        assert_eq!(account, truth(&fresh, END, since).account);
        assert!(account.active_by_status.is_empty());
    }
    assert_eq!(truth(&fresh, END, None).account.sessions, truth(&keeping, END, None).account.sessions);
}

#[test]
fn endings_restarts_and_agents_add_up() {
    let world = world(busy());
    let account = truth(&world, END, None).account;
    let endings: u64 = account.finished_by_status.values().sum();
    assert_eq!(endings, account.sessions + account.restarts);
    let failed = account.finished_by_status["failed"] + account.finished_by_status["timed_out"];
    assert_eq!(account.turn_failures.values().sum::<u64>(), failed);
    let agents = account.by_agent.values();
    assert_eq!(agents.clone().map(|agent| agent.sessions).sum::<u64>(), account.sessions);
    assert_eq!(agents.clone().map(|agent| agent.steps).sum::<u64>(), account.steps);
    let shown = |status: &str| account.status_entries[status];
    assert_eq!(shown("completed"), account.finished_by_status["completed"]);
    assert!(
        shown("interrupted") < account.finished_by_status["interrupted"],
        "some are cancelled before anything shows it"
    );
}

#[test]
fn the_simulator_says_what_it_is() {
    let endless = world(SimulateOptions { sessions: 0, ..busy() });
    let description = get(&endless, seconds(1.0), "/_simulator");
    assert_eq!((description["simulated"].as_bool(), description["settled"].as_bool()), (Some(true), Some(false)));
    assert_eq!(description["parameters"]["seed"], 1);
    assert!(!description.to_string().contains("hk-simulated"), "the key stays private");
    let finite = world(busy());
    assert_eq!(get(&finite, EPOCH, "/_truth")["settled"], false);
    let end = get(&finite, END, "/_truth");
    assert_eq!((end["settled"].as_bool(), end["simulated"].as_bool()), (Some(true), Some(true)));
    assert_eq!(json(&ask(&finite, END, "/_simulator"))["settled"], true);
}

#[test]
fn quotas_follow_the_sessions() {
    let world = world(busy());
    let now = seconds(8.0);
    let quota = get(&world, now, "/api/v2/sessions/quota");
    let holding =
        rows(&world, now, "status=pending&status=running&status=paused&status=idle&status=awaiting_tool_results");
    assert_eq!(quota["active"], holding.len());
    assert_eq!(quota["available"].as_i64(), Some(quota["limit"].as_i64().unwrap() - holding.len() as i64));
    let tokens = get(&world, now, "/api/v2/quota/tokens");
    let account = truth(&world, now, None).account;
    let used: u64 = account.tokens.values().map(|tokens| tokens.input + tokens.output).sum();
    assert_eq!(tokens["used"], used);
}
