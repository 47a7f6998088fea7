//! The account against a naive recount of what the API says.

use serde_json::{Value, json};

use super::recount::recount;
use super::{DIALECTS, Dialect, END, EverrunsOptions, SimulateOptions, World, ask, busy, get, json, seconds, sessions};
use super::{small, speaking, world};
use crate::simulator::everruns::{Account, truth};

fn document(account: &Account) -> Value {
    serde_json::to_value(account).expect("a document")
}

fn compare(world: &World, now: i64) -> Account {
    let account = truth(world, now, None).account;
    let told = document(&account);
    for (name, value) in recount(world, now).document() {
        assert_eq!(told[&name], value, "{name} in {:?}", world.options.dialect);
    }
    account
}

#[test]
fn the_settled_account_equals_a_recount_in_every_dialect() {
    for dialect in DIALECTS {
        let options = speaking(dialect);
        let everruns = EverrunsOptions { missing_generations: 0.2, ..options.everruns.clone() };
        let account = compare(&world(SimulateOptions { everruns, ..options }), END);
        assert!(account.turns_started > 100 && account.turns_finished["completed"] > 60, "{dialect:?}");
        assert_eq!(account.tokens.is_empty(), dialect == Dialect::D0);
        assert_eq!(account.cost_nano_usd.is_empty(), matches!(dialect, Dialect::D0 | Dialect::D1));
    }
}

#[test]
fn the_account_equals_a_recount_for_other_seeds_and_options() {
    for seed in 2..=4 {
        let everruns = EverrunsOptions {
            gap_rate: 0.1,
            late_rate: 0.1,
            missing_generations: 0.5,
            huge_tokens: seed == 4,
            ..small()
        };
        let account = compare(&world(SimulateOptions { seed, everruns, ..busy() }), END);
        let widest = account.tokens.values().map(|tokens| tokens.input).max();
        assert_eq!(widest > Some(u32::MAX.into()), seed == 4);
    }
}

#[test]
fn the_account_in_the_middle_agrees_with_the_streams() {
    let world = world(busy());
    for now in [-2.0, 0.5, 3.0, 7.5, 14.0].map(seconds) {
        let account = compare(&world, now);
        let begun = account.turns_started;
        assert_eq!(begun, account.turns_finished.values().sum::<u64>() + account.open_turns);
        let mut active = std::collections::BTreeMap::new();
        for (row, _) in sessions(&world, now) {
            let status = match row["status"].as_str().expect("a status") {
                "active" => "running",
                "waitingfortoolresults" => "awaiting_tool_results",
                other => other,
            };
            *active.entry(status.to_owned()).or_insert(0_u64) += 1;
        }
        assert_eq!(document(&account)["active_by_status"], json!(active));
    }
}

#[test]
fn an_account_since_some_time_is_the_difference() {
    let world = world(busy());
    let cut = seconds(6.0);
    let of = |now, since| document(&truth(&world, now, since).account);
    let (whole, before, after) = (of(END, None), of(cut - 1, None), of(END, Some(cut)));
    for name in ["events", "steps", "sessions", "turns_started"] {
        assert_eq!(
            whole[name].as_u64(),
            Some(before[name].as_u64().unwrap() + after[name].as_u64().unwrap()),
            "{name}"
        );
    }
    let asked = get(&world, END, "/_truth?since=2026-11-20T14:30:06Z");
    assert_eq!(asked["events"], after["events"]);
    assert_eq!(ask(&world, END, "/_truth?since=soon").status, 400);
}

#[test]
fn the_usage_of_sessions_ends_at_the_sum_of_their_calls() {
    let options = busy();
    let everruns = EverrunsOptions { missing_generations: 0.3, ..options.everruns.clone() };
    let world = world(SimulateOptions { everruns, ..options });
    let known = recount(&world, END).usage_by_session;
    for (row, _) in sessions(&world, END) {
        let sums = known.get(row["id"].as_str().unwrap()).copied();
        let shown = [row["usage"]["input_tokens"].as_u64(), row["usage"]["output_tokens"].as_u64()];
        assert_eq!(shown, sums.map_or([None, None], |[input, output]| [Some(input), Some(output)]), "{row}");
    }
}

#[test]
fn forgotten_sessions_stay_in_the_account() {
    let options = SimulateOptions { delete_after: 5.0, ..busy() };
    let (forgetful, fresh) = (world(options.clone()), world(options));
    let since = seconds(4.0);
    for minute in 0..400 {
        truth(&forgetful, seconds(f64::from(minute) * 60.0), Some(since));
    }
    assert!(forgetful.remembered() < 20, "{}", forgetful.remembered());
    for since in [None, Some(since), Some(seconds(8.0))] {
        let account = truth(&forgetful, END, since).account;
        assert_eq!(account, truth(&fresh, END, since).account);
        assert!(account.active_by_status.is_empty() && account.open_turns == 0);
    }
    let whole = truth(&forgetful, END, None).account;
    assert_eq!(whole.deleted, whole.sessions);
}

#[test]
fn the_same_seed_plays_the_same_sessions() {
    let all = |options: SimulateOptions| {
        let world = world(options);
        let streams: Vec<_> = sessions(&world, END).iter().map(|(_, path)| ask(&world, END, path).body).collect();
        streams
    };
    let first = all(busy());
    assert_eq!(first, all(busy()));
    assert_ne!(first, all(SimulateOptions { seed: 2, ..busy() }));
}

#[test]
fn the_simulator_says_what_it_is() {
    let finite = world(busy());
    let description = get(&finite, seconds(1.0), "/_simulator");
    assert_eq!((description["platform"].as_str(), description["settled"].as_bool()), (Some("everruns"), Some(false)));
    assert!(!description.to_string().contains(super::KEY), "the key stays private");
    let told = json(&ask(&finite, END, "/_truth"));
    assert_eq!((told["settled"].as_bool(), told["simulated"].as_bool()), (Some(true), Some(true)));
}
