//! How fresh the numbers are, measured on the wire: how old events are when they are read, and what requests cost.
//!
//! It looks at what the simulator was asked and what it answered, at nothing that the exporter says of itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
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
    /// When each session was created, as lists say.
    created: HashMap<String, i64>,
    /// The newest event of each that was read.
    newest: HashMap<String, i64>,
    asked: Vec<Asked>,
    arrivals: Vec<Arrival>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it was sent.
    pub at: i64,
    pub endpoint: &'static str,
    /// The status of its answer.
    pub status: u16,
    /// When the session was created that it asks about.
    pub created: Option<i64>,
}

/// Events of one session that were read together.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When the session was created.
    pub created: i64,
    /// When the first of them happened.
    pub happened: i64,
    /// When they were read.
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
        let mut seen = self.seen();
        let session = request.path.split_once("/sessions/").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
        let created = session.and_then(|session| seen.created.get(session).copied());
        seen.asked.push(Asked { at: asked_at, endpoint: request.endpoint, status, created });
        // What is cut short by a fault says nothing.
        let Some(body) = (status == 200).then(|| serde_json::from_slice::<Value>(body).ok()).flatten() else { return };
        let rows = |key: &str| body[key].as_array().into_iter().flatten();
        match (request.endpoint, session.zip(created)) {
            ("sessions", _) => {
                for row in rows("items").chain(rows("data")) {
                    if let (Some(id), Some(created)) = (row["id"].as_str(), time(row, "created_at")) {
                        seen.created.insert(id.to_owned(), created);
                    }
                }
            }
            ("changes" | "events", Some((session, created))) => {
                let events = rows("new_events").chain(rows("data"));
                let times: Vec<i64> =
                    events.filter_map(|event| time(event, "timestamp").or(time(event, "ts"))).collect();
                let newest = seen.newest.entry(session.to_owned()).or_insert(created);
                let before = std::mem::replace(newest, times.iter().copied().fold(*newest, i64::max));
                // What is older than what was read before was told late: a fork's past, a call that took long.
                if let Some(happened) = times.into_iter().filter(|at| *at >= before).min() {
                    seen.arrivals.push(Arrival { created, happened, at: now });
                }
            }
            _ => {}
        }
    }

    /// Every request.
    pub fn asked(&self) -> Vec<Asked> {
        self.seen().asked.clone()
    }

    /// The oldest events of all answers.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.seen().arrivals.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panics in here")
    }
}
