//! What the benchmarks share: a simulated platform, read to its end without sockets by the real jobs.
#![allow(dead_code, reason = "every benchmark is a program of its own and uses its part of this")]

use std::sync::Arc;

use agent_session_exporter::domain::{
    Due, Ending, Event, Fact, Item, Mark, Receipt, Report, Row, SessionId, Sighting, SourceIx, Status, Timestamp,
};
use agent_session_exporter::ingest::platforms::{Account, Platform, hcompany};
use agent_session_exporter::ingest::{Input, Job, Output, Request, Response};
use agent_session_exporter::projection::{LabelPolicy, SourceRecord, State};
use agent_session_exporter::simulator::{self, SimulateOptions, Simulator};
use bytes::Bytes;
use reqwest::Url;

/// 2026-11-20T14:30:00Z, when the simulated history is over.
pub const NOW: Timestamp = Timestamp::from_micros(1_795_185_000_000_000);

const KEY: &str = "hk-simulated";

/// So many sessions that have ended, of so many steps on average.
pub fn history(sessions: u64, steps: u32) -> SimulateOptions {
    SimulateOptions { history: sessions, sessions: 1, steps, rate: 1e-6, api_key: KEY.to_owned(), ..Default::default() }
}

/// A platform on which it is always [`NOW`].
pub fn simulator(options: SimulateOptions) -> Simulator {
    let simulator = Simulator::new(options, NOW.micros()).expect("the options are in their bounds");
    simulator.with_clock(Arc::new(|| NOW.micros()))
}

/// The body of a GET.
pub fn get(simulator: &Simulator, path: &str, query: &[(&str, String)]) -> (u16, Bytes) {
    let mut url = Url::parse(&format!("http://simulator{path}")).expect("jobs ask for paths");
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query.iter().map(|(name, value)| (*name, value.as_str())));
    }
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let response = simulator.answer(&simulator::Request::get(&target, KEY));
    (response.status, response.body)
}

/// Our side of the platform.
pub fn platform() -> Arc<dyn Platform> {
    (hcompany::DESCRIPTOR.connect)(Account::new(Timestamp::from_micros(0)))
}

/// What is stored of the source that all benchmarks read.
pub fn record() -> SourceRecord {
    SourceRecord {
        name: "simulated".into(),
        platform: "hcompany".into(),
        account: "http://simulator".into(),
        key_print: 0,
        count_from: Timestamp::from_micros(0),
        origin: agent_session_exporter::projection::Origin::default(),
    }
}

/// A state that knows the source and nothing else.
pub fn state() -> (State, SourceIx) {
    let mut state = State::new(LabelPolicy::default(), []);
    let source = state.add_source(record());
    state.attach(source, hcompany::DESCRIPTOR.capabilities, None);
    (state, source)
}

/// Takes in a report of sessions that are not settled.
pub fn take_in(state: &mut State, report: &Report) -> Receipt {
    state.take_in(report, &|_| Err("no settled session moves".into())).expect("reports come in order")
}

/// Everything a poller reports of the platform, one list per commit, in the order of one session after the other.
pub fn reports(simulator: &Simulator, state: &mut State, source: SourceIx) -> Vec<Report> {
    let platform = platform();
    let mut reports = Vec::new();
    let mut due = Vec::new();
    converse(simulator, &mut *platform.discover(&|_| None, NOW), &mut |items| {
        reports.push(Report { source, asked_at: NOW, received_at: NOW, items });
        let receipt = take_in(state, reports.last().expect("it was just put there"));
        due.extend(receipt.due.iter().cloned());
        receipt
    });
    // Several walks may show a session.
    let mut known = std::collections::HashSet::new();
    due.retain(|due: &Due| known.insert(due.id.clone()));
    for due in &due {
        converse(simulator, &mut *platform.read(due), &mut |items| {
            reports.push(Report { source, asked_at: NOW, received_at: NOW, items });
            let receipt = take_in(state, reports.last().expect("it was just put there"));
            state.committed();
            receipt
        });
    }
    reports
}

fn converse(simulator: &Simulator, job: &mut dyn Job, commit: &mut dyn FnMut(Vec<Item>) -> Receipt) {
    let mut input = Input::Begin;
    loop {
        input = match job.next(input) {
            Output::Fetch(Request { path, query, .. }) => {
                let (status, body) = get(simulator, &path, &query);
                Input::Response(Response::new(status, body, NOW))
            }
            Output::Commit(items) => Input::Committed(commit(items)),
            Output::Done(finish) => {
                assert_eq!(finish, agent_session_exporter::ingest::Finish::Well);
                return;
            }
            Output::Again(reason) => panic!("the simulator answers whole: {reason}"),
        };
    }
}

/// Events of streams in a report.
pub fn events(report: &Report) -> u64 {
    let count = |item: &Item| if let Item::Page { events, .. } = item { events.len() as u64 } else { 0 };
    report.items.iter().map(count).sum()
}

/// A session's id made from a number.
pub fn session_id(number: u64) -> SessionId {
    SessionId::new(&format!("a1b2c3d4-e5f6-4890-abcd-{number:012x}"))
}

/// A list's row of a session that has ended.
pub fn row(id: SessionId, status: Status) -> Row {
    let finished_at = status.is_terminal().then_some(NOW);
    let sighting = Sighting { status, since: NOW, started_at: Some(NOW), finished_at };
    Row::new(id, "h/web-surfer-pro".into(), NOW, sighting, Mark(1))
}

/// What is reported of a session that is found after its end and read in one page.
pub fn whole_life(id: &SessionId, events: Vec<Event<smol_str::SmolStr>>) -> Vec<Item> {
    let ending =
        Ending { status: Status::Completed, started_at: Some(NOW), finished_at: Some(NOW), error: None, verdict: None };
    vec![
        Item::Row(row(id.clone(), Status::Completed)),
        Item::page(id.clone(), 0, events),
        Item::Beside { id: id.clone(), events: vec![Event { at: NOW, fact: Fact::Ended(ending) }] },
        Item::read_up_to(id.clone(), Some(Mark(1))),
    ]
}
