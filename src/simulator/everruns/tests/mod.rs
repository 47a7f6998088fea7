//! Tests of the simulated Everruns through its public surface, in virtual time.

mod account;
mod events;
mod families;
mod lists;
mod recount;
mod shapes;
mod spans;

use serde_json::Value;

use super::{EverrunsOptions, World, respond, respond_again};
use crate::simulator::{Dialect, FaultPlan, Platform, Request, Response, SimulateOptions};

/// When the simulated worlds of these tests start: 2026-11-20T14:30:00Z.
const EPOCH: i64 = 1_795_185_000_000_000;
/// Later than anything that happens in a finite test world.
const END: i64 = EPOCH + 30 * 24 * 3_600 * 1_000_000;
const KEY: &str = "evr_pat_simulated";
const DIALECTS: [Dialect; 6] = [Dialect::D0, Dialect::D1, Dialect::D2, Dialect::D3, Dialect::D4, Dialect::Serve];

/// A small busy world: a hundred live sessions within ten seconds, compressed lives.
fn busy() -> SimulateOptions {
    SimulateOptions {
        history: 30,
        sessions: 100,
        rate: 10.0,
        speed: 10.0,
        steps: 6,
        interactive_share: 0.6,
        everruns: small(),
        ..SimulateOptions::of(Platform::Everruns)
    }
}

/// The defaults with short prompts, for the sake of time.
fn small() -> EverrunsOptions {
    EverrunsOptions { generation_bytes: 100, ..EverrunsOptions::default() }
}

fn speaking(dialect: Dialect) -> SimulateOptions {
    SimulateOptions { dialect, ..busy() }
}

fn world(options: SimulateOptions) -> World {
    World::new(options, EPOCH).expect("valid options")
}

fn seconds(count: f64) -> i64 {
    EPOCH + (count * 1e6) as i64
}

fn ask(world: &World, now: i64, path: &str) -> Response {
    respond_again(world, now, &Request::get(path, KEY))
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("a JSON body")
}

fn get(world: &World, now: i64, path: &str) -> Value {
    let response = ask(world, now, path);
    assert_eq!(response.status, 200, "{path}: {:?}", response.body);
    json(&response)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

/// Where the sessions of an agent are in a dialect that has no list of all.
fn below(world: &World, agent: &str) -> String {
    let organization = super::sessions::organization(world);
    match world.options.dialect {
        Dialect::D0 => format!("/v1/agents/{agent}/sessions"),
        _ => format!("/v1/orgs/{organization}/agents/{agent}/sessions"),
    }
}

fn agents(world: &World, now: i64) -> Vec<Value> {
    let path = match world.options.dialect {
        Dialect::D1 => format!("/v1/orgs/{}/agents?limit=100", super::sessions::organization(world)),
        _ => "/v1/agents?limit=100".to_owned(),
    };
    array(&get(world, now, &path)["data"]).to_vec()
}

/// All pages of a list.
fn pages(world: &World, now: i64, path: &str, filter: &str) -> Vec<Value> {
    let mut found = Vec::new();
    loop {
        let document = get(world, now, &format!("{path}?limit=37&offset={}&{filter}", found.len()));
        let rows = array(&document["data"]);
        found.extend_from_slice(rows);
        if rows.len() < 37 || document["total"].is_null() {
            assert!(document["total"].is_null() || document["total"] == found.len());
            return found;
        }
    }
}

/// All sessions in any dialect, each with the path of its events.
fn sessions(world: &World, now: i64) -> Vec<(Value, String)> {
    let with_path = |rows: Vec<Value>, base: &str| {
        let path = |row: Value| {
            let path = format!("{base}/{}/events", text(&row["id"]));
            (row, path)
        };
        rows.into_iter().map(path).collect::<Vec<_>>()
    };
    if matches!(world.options.dialect, Dialect::D0 | Dialect::D1) {
        let agents = agents(world, now);
        return agents
            .iter()
            .flat_map(|agent| {
                let base = below(world, &text(&agent["id"]));
                with_path(pages(world, now, &base, ""), &base)
            })
            .collect();
    }
    with_path(pages(world, now, "/api/v1/sessions", "include_archived=true"), "/api/v1/sessions")
}

fn events(world: &World, now: i64, path: &str) -> Vec<Value> {
    array(&get(world, now, path)["data"]).to_vec()
}

/// The first session whose events, settled, are what is looked for.
fn find(world: &World, is_wanted: impl Fn(&Value, &[Value]) -> bool) -> (Value, String) {
    let mut all = sessions(world, END).into_iter();
    all.find(|(row, path)| is_wanted(row, &events(world, END, path))).expect("such a session")
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

fn sequences(events: &[Value]) -> Vec<i64> {
    events.iter().map(|event| event["sequence"].as_i64().expect("a number")).collect()
}
