//! Recorded events of Everruns from the first request to the totals, compared with a count by the simplest means.

use std::collections::{BTreeMap, BTreeSet};

use agent_session_exporter::domain::{Due, SessionId, Timestamp};
use agent_session_exporter::ingest::platforms::{Account, Platform, everruns};
use agent_session_exporter::ingest::{Failure, Finish, MAX_BODY, Request};
use agent_session_exporter::projection::{Metric, Session, State, broken_invariants};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::conversation::{Answer, everruns_state, lead};
use crate::support::documents::{Document, Kind, documents};

/// Totals by metric and the label that tells its series apart.
type Totals = BTreeMap<(&'static str, String), u64>;

/// How a server pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Forward from a number.
    First,
    /// `limit` gives the last ones.
    Last,
    /// Only ids are known, no numbers, no limit.
    ById,
    /// A session has its place below its agent's; else as before.
    BelowAgents,
}

const MANNERS: [Manner; 4] = [Manner::First, Manner::Last, Manner::ById, Manner::BelowAgents];

/// A server that has one session.
#[derive(Clone)]
struct Server {
    manner: Manner,
    agents: Vec<Value>,
    row: Value,
    events: Vec<Value>,
    /// More events than this at once are too large.
    most: usize,
}

fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.query.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

fn ok(body: &Value) -> Answer {
    Answer::Body(200, Bytes::from(body.to_string()))
}

impl Server {
    fn answer(&self, request: &Request) -> Answer {
        let agent = format!("/v1/agents/{}", self.row["agent_id"].as_str().expect("a text"));
        let below = if self.manner == Manner::BelowAgents { agent.as_str() } else { "/v1" };
        let events = format!("{below}/sessions/{}/events", self.row["id"].as_str().expect("a text"));
        match request.path.as_str() {
            path if path == format!("{below}/sessions") => ok(&json!({ "data": [self.row] })),
            "/v1/agents" => ok(&json!({ "data": self.agents })),
            path if path == events => self.events(request),
            _ => Answer::Body(404, Bytes::new()),
        }
    }

    fn events(&self, request: &Request) -> Answer {
        let is_old = matches!(self.manner, Manner::ById | Manner::BelowAgents);
        let after =
            parameter(request, "after_sequence").filter(|_| !is_old).map_or(0, |text| text.parse().expect("a number"));
        let mut events: Vec<&Value> =
            self.events.iter().filter(|event| event["sequence"].as_u64().expect("a number") > after).collect();
        if let Some(id) = parameter(request, "since_id") {
            let Some(place) = events.iter().position(|event| event["id"] == id) else {
                return ok(&json!({"data": []}));
            };
            events.drain(..=place);
        }
        if let Some(limit) = parameter(request, "limit").filter(|_| !is_old) {
            let limit: usize = limit.parse().expect("a number");
            let begin = if self.manner == Manner::Last { events.len().saturating_sub(limit) } else { 0 };
            events = events.into_iter().skip(begin).take(limit).collect();
            if limit > self.most && request.at_most < MAX_BODY {
                return Answer::Fails(Failure::TooLarge(1));
            }
        }
        ok(&json!({ "data": events }))
    }
}

fn platform() -> Arc<dyn Platform> {
    (everruns::DESCRIPTOR.connect)(Account::new(Timestamp::default()))
}

fn session(state: &State) -> &Session {
    state.active_sessions().next().expect("it was listed").1
}

/// Every recorded stream, with a recorded row of a session that it could be of.
fn recorded() -> Vec<(Document, Server)> {
    let documents = documents();
    let rows = |kind: Kind, folder: &str| -> Vec<Value> {
        let of_it = documents.iter().filter(|document| document.kind == kind && document.folder == folder);
        let pages = of_it.map(|document| serde_json::from_slice::<Value>(&document.body).expect("JSON"));
        pages.flat_map(|page| page["data"].as_array().expect("a list").clone()).collect()
    };
    let streams = documents.iter().filter(|document| document.kind == Kind::Events);
    let server = |document: &Document| {
        let page: Value = serde_json::from_slice(&document.body).expect("JSON");
        let events = page["data"].as_array().expect("a list").clone();
        let (sessions, agents) = (rows(Kind::Sessions, &document.folder), rows(Kind::Agents, &document.folder));
        let id = events.first().map_or(Value::Null, |event| event["session_id"].clone());
        let mut row = sessions.iter().find(|row| row["id"] == id).unwrap_or(&sessions[0]).clone();
        if id.is_string() {
            row["id"] = id;
        }
        let agents = if agents.is_empty() { vec![json!({"id": row["agent_id"], "name": "agent"})] } else { agents };
        Server { manner: Manner::First, agents, row, events, most: usize::MAX }
    };
    streams.map(|document| (document.clone(), server(document))).collect()
}

/// Lets the real jobs find the session and read it to its end.
fn read_to_the_end(platform: &dyn Platform, state: &mut State, server: &Server) {
    let found = lead(&mut *platform.discover(&|_| None, Timestamp::default()), state, |request| server.answer(request));
    assert_eq!(found.map(|(finish, _)| finish), Some(Finish::Well), "{:?}", server.manner);
    let session = session(state);
    let due = Due {
        bookmark: session.bookmark.clone(),
        moved: true,
        ..Due::new(SessionId::new(server.row["id"].as_str().expect("a text")), session.progress.cursor)
    };
    let read = lead(&mut *platform.read(&due), state, |request| server.answer(request));
    assert_eq!(read.map(|(finish, _)| finish), Some(Finish::Well), "{:?}", server.manner);
    assert_eq!(broken_invariants(state), [""; 0]);
}

/// What the state says.
fn told(state: &State) -> Totals {
    let mut totals = Totals::new();
    let mut take = |name: &'static str, metric: Metric, label: &dyn Fn([&str; 2]) -> String| {
        let family = state.families().family(metric);
        for (index, head) in family.heads().iter().enumerate().filter(|(index, _)| family.value(*index) > 0) {
            let labels = head.key.labels.map(|id| state.names().text(id));
            *totals.entry((name, label(labels))).or_default() += family.value(index);
        }
    };
    let (first, both) = (|[first, _]: [&str; 2]| first.to_owned(), |[one, two]: [&str; 2]| format!("{one} {two}"));
    take("events", Metric::EventsIngested, &first);
    take("lost", Metric::EventsLost, &first);
    take("turns", Metric::TurnsStarted, &first);
    take("ended", Metric::TurnsFinished, &first);
    take("failed", Metric::TurnFailures, &first);
    take("calls", Metric::ModelCalls, &first);
    take("failed calls", Metric::ModelCallFailures, &first);
    take("input", Metric::InputTokens, &first);
    take("cached", Metric::CacheReadTokens, &first);
    take("written", Metric::CacheWriteTokens, &first);
    take("output", Metric::OutputTokens, &first);
    take("cost", Metric::Cost, &both);
    take("tools", Metric::ToolCalls, &first);
    take("failed tools", Metric::ToolCallFailures, &both);
    take("steps", Metric::Steps, &first);
    take("statuses", Metric::StatusChanges, &first);
    totals
}

/// The same, event by event, as a person would count it with a pencil.
#[derive(Default)]
struct Pencil {
    totals: Totals,
    open_turns: u64,
    open_tools: BTreeSet<String>,
    model: Option<String>,
    called: bool,
}

impl Pencil {
    fn add(&mut self, name: &'static str, label: &str, count: u64) {
        if count > 0 {
            *self.totals.entry((name, label.to_owned())).or_default() += count;
        }
    }

    fn ended(&mut self, outcome: &str) {
        self.add("ended", outcome, 1);
        // An end without a beginning had one that was not shown.
        self.add("turns", "", u64::from(self.open_turns == 0));
        self.open_turns = self.open_turns.saturating_sub(1);
    }

    fn call(&mut self, said: &Value, model: Option<&str>) {
        let model = model.unwrap_or("unknown");
        self.add("calls", model, 1);
        if said["success"] == false {
            self.add("failed calls", model, 1);
        }
        let usage = &said["usage"];
        let tokens = |name: &str| usage[name].as_u64().unwrap_or(0);
        let (cached, written) = (tokens("cache_read_tokens"), tokens("cache_creation_tokens"));
        self.add("input", model, tokens("input_tokens") + cached + written);
        self.add("cached", model, cached);
        self.add("written", model, written);
        self.add("output", model, tokens("output_tokens"));
        let (actual, estimate) = (usage["actual_cost_usd"].as_f64(), usage["estimated_cost_usd"].as_f64());
        let basis = if actual.is_some() { "platform" } else { "estimated" };
        let cost = (actual.or(estimate).unwrap_or(0.0) * 1e9).round() as u64;
        self.add("cost", &format!("{model} {basis}"), cost);
    }

    fn event(&mut self, event: &Value) {
        let data = &event["data"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.add("events", "", 1);
        match event["type"].as_str().expect("a text") {
            "session.activated" => self.add("statuses", "running", 1),
            "session.idled" => self.add("statuses", "idle", 1),
            "tool.call_requested" => self.add("statuses", "awaiting_tool_results", 1),
            "turn.started" => {
                self.add("turns", "", 1);
                self.open_turns += 1;
            }
            "turn.completed" => self.ended("completed"),
            "turn.cancelled" => self.ended("interrupted"),
            "turn.failed" => {
                self.ended("failed");
                self.add("failed", data["error_code"].as_str().expect("a text"), 1);
            }
            "reason.started" => (self.called, self.model) = (false, text(&data["metadata"]["model"])),
            "output.message.started" => self.model = text(&data["model"]).or(self.model.take()),
            "message.agent" => self.model = text(&data["message"]["metadata"]["model"]).or(self.model.take()),
            "llm.generation" => {
                self.called = true;
                self.call(&data["metadata"], data["metadata"]["model"].as_str());
            }
            "reason.completed" => {
                self.add("steps", "", 1);
                if !std::mem::take(&mut self.called) {
                    let model = self.model.take();
                    self.call(data, model.as_deref());
                }
            }
            "tool.started" | "tool.call_started" => {
                self.add("tools", data["tool_call"]["name"].as_str().expect("a text"), 1);
                self.open_tools.insert(data["tool_call"]["id"].to_string());
            }
            "tool.completed" | "tool.call_completed" => {
                let tool = data["tool_name"].as_str().expect("a text");
                if !self.open_tools.remove(&data["tool_call_id"].to_string()) {
                    self.add("tools", tool, 1);
                }
                if data["success"] == false {
                    self.add("failed tools", &format!("{tool} {}", data["status"].as_str().expect("a text")), 1);
                }
            }
            _ => {}
        }
    }
}

fn counted_by_hand(events: &[Value]) -> Totals {
    let mut pencil = Pencil::default();
    // That every session began is said by none of its events.
    pencil.add("statuses", "started", 1);
    // Where the head is missing nobody knows what was in it.
    let first = events.first().map_or(1, |event| event["sequence"].as_u64().expect("a number"));
    pencil.add("lost", "", first - 1);
    events.iter().for_each(|event| pencil.event(event));
    pencil.totals
}

#[test]
fn recorded_events_are_counted_as_one_counts_by_hand() {
    for (document, server) in recorded() {
        for manner in MANNERS {
            let server = Server { manner, ..server.clone() };
            let mut state = everruns_state();
            read_to_the_end(&*platform(), &mut state, &server);
            let last = server.events.last().map_or(0, |event| event["sequence"].as_u64().expect("a number"));
            assert_eq!(session(&state).progress.cursor, last, "{} {manner:?}", document.name);
            assert_eq!(told(&state), counted_by_hand(&server.events), "{} {manner:?}", document.name);
        }
    }
}

#[test]
fn neither_the_length_of_pages_nor_when_they_are_read_changes_anything() {
    for (document, server) in recorded() {
        for (manner, most) in MANNERS.into_iter().flat_map(|manner| [(manner, usize::MAX), (manner, 7), (manner, 1)]) {
            let (mut state, platform) = (everruns_state(), platform());
            // Read while it is at work, again and again.
            for length in (0..server.events.len()).step_by(5) {
                let events = server.events[..length].to_vec();
                read_to_the_end(&*platform, &mut state, &Server { manner, most, events, ..server.clone() });
            }
            read_to_the_end(&*platform, &mut state, &Server { manner, most, ..server.clone() });
            assert_eq!(told(&state), counted_by_hand(&server.events), "{} {manner:?} {most}", document.name);
        }
    }
}

#[test]
fn without_model_calls_there_are_the_steps_that_stand_for_them() {
    for (document, server) in recorded() {
        let mut account = Account::new(Timestamp::default());
        account.settings.insert("llm_generation", "skip".to_owned());
        let platform = (everruns::DESCRIPTOR.connect)(account);
        let mut state = everruns_state();
        let is_call = |event: &Value| event["type"] == "llm.generation";
        let events: Vec<Value> = server.events.iter().filter(|event| !is_call(event)).cloned().collect();
        let is_whole = server.events.first().is_some_and(|event| event["sequence"] == 1);
        if !is_whole {
            continue;
        }
        let server = Server { events, ..server };
        read_to_the_end(&*platform, &mut state, &server);
        assert_eq!(told(&state), counted_by_hand(&server.events), "{}", document.name);
    }
}
