//! How fresh the numbers are, measured on the wire: how old events are when they are asked for, and what requests cost.
//!
//! It looks at what the simulator was asked and what it answered, at nothing that the exporter says of itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use agent_session_exporter::domain::Timestamp;
use agent_session_exporter::ingest::Request;
use serde_json::Value;

/// Requests and answers as they went by.
#[derive(Default)]
pub struct Stopwatch {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    created: HashMap<String, i64>,
    newest: HashMap<String, i64>,
    asked: Vec<Asked>,
    events: Vec<Arrival>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it was sent.
    pub at: i64,
    pub endpoint: &'static str,
    /// The status of its answer.
    pub status: u16,
}

/// The oldest event of an answer.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub session: String,
    /// When the session was created.
    pub created: i64,
    /// When the event happened.
    pub happened: i64,
    /// When it was read.
    pub at: i64,
}

impl Arrival {
    pub fn age(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.at - self.happened).unwrap_or(0))
    }
}

fn time(value: &Value, key: &str) -> Option<i64> {
    Timestamp::parse(value[key].as_str()?).ok().map(Timestamp::micros)
}

impl Stopwatch {
    pub fn note(&self, asked_at: i64, now: i64, request: &Request, status: u16, body: &[u8]) {
        let mut seen = self.seen.lock().expect("no test panics in here");
        seen.asked.push(Asked { at: asked_at, endpoint: request.endpoint, status });
        if status != 200 {
            return;
        }
        // What is cut short by a fault says nothing.
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
        let rows = |key: &str| body[key].as_array().into_iter().flatten();
        match request.endpoint {
            "sessions" => {
                for row in rows("items").chain(rows("data")) {
                    if let (Some(id), Some(created)) = (row["id"].as_str(), time(row, "created_at")) {
                        seen.created.insert(id.to_owned(), created);
                    }
                }
            }
            "changes" | "events" => {
                let session = request.path.split('/').rev().nth(1).unwrap_or_default().to_owned();
                let Some(created) = seen.created.get(&session).copied() else { return };
                let times =
                    rows("new_events").chain(rows("data")).filter_map(|it| time(it, "timestamp").or(time(it, "ts")));
                let times: Vec<i64> = times.collect();
                let newest = seen.newest.entry(session.clone()).or_insert(created);
                let before = std::mem::replace(newest, times.iter().copied().fold(*newest, i64::max));
                // What is older than what was read before was told late: a fork's past, a call that took long.
                if let Some(happened) = times.into_iter().filter(|at| *at >= before).min() {
                    seen.events.push(Arrival { session, created, happened, at: now });
                }
            }
            _ => {}
        }
    }

    /// Every request.
    pub fn asked(&self) -> Vec<Asked> {
        self.seen.lock().expect("no test panics in here").asked.clone()
    }

    /// The oldest events of all answers.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.seen.lock().expect("no test panics in here").events.clone()
    }

    /// How many requests went to each endpoint.
    pub fn by_endpoint(&self) -> BTreeMap<&'static str, usize> {
        let mut count = BTreeMap::new();
        self.asked().iter().for_each(|asked| *count.entry(asked.endpoint).or_default() += 1);
        count
    }
}
