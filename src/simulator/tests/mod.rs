//! Tests of the simulated platform through its public surface, in virtual time.

mod account;
mod list;
mod scripts;
mod server;
mod stream;

use serde_json::Value;

use super::{FaultPlan, Request, Response, SimulateOptions, World, respond};

/// When the simulated worlds of these tests start: 2026-11-20T14:30:00Z.
const EPOCH: i64 = 1_795_185_000_000_000;
/// Later than anything that happens in a finite test world.
const END: i64 = EPOCH + 30 * 24 * 3_600 * 1_000_000;
const KEY: &str = "hk-simulated";

/// A small busy world: a hundred live sessions within ten seconds, compressed lives.
fn busy() -> SimulateOptions {
    SimulateOptions {
        history: 30,
        sessions: 100,
        rate: 10.0,
        speed: 10.0,
        steps: 6,
        children_share: 0.3,
        interactive_share: 0.3,
        restart_share: 0.3,
        ..Default::default()
    }
}

fn world(options: SimulateOptions) -> World {
    World::new(options, EPOCH).expect("valid options")
}

fn seconds(count: f64) -> i64 {
    EPOCH + (count * 1e6) as i64
}

fn ask(world: &World, now: i64, path: &str) -> Response {
    let mut faults = FaultPlan::new(&SimulateOptions::default());
    respond(world, &mut faults, now, &Request::get(path, KEY))
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

/// All rows of a list, page by page.
fn rows(world: &World, now: i64, filter: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for page in 1.. {
        let document = get(world, now, &format!("/api/v2/sessions?size=100&page={page}&{filter}"));
        found.extend_from_slice(array(&document["items"]));
        if array(&document["items"]).len() < 100 {
            assert_eq!(document["total"], found.len());
            break;
        }
    }
    found
}

/// All events that `/changes` has for a session, in batches of an odd size.
fn changes(world: &World, now: i64, id: &str) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let path = format!("/api/v2/sessions/{id}/changes?from_index={}&limit=37", events.len());
        let response = ask(world, now, &path);
        if response.status == 204 {
            return events;
        }
        events.extend_from_slice(array(&json(&response)["new_events"]));
    }
}
