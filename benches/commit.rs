//! What a durable commit costs on a real file: one small report at a time, and 128 reports that waited together.

mod support;

use std::time::{Duration, Instant};

use agent_session_exporter::domain::{Event, Item, Report, SessionId, SourceIx, Status};
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::{LabelPolicy, State};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use smol_str::SmolStr;
use support::{NOW, history, record, reports, row, session_id, simulator, state, take_in};

/// Events in a report: what one polling cycle finds of a session that works.
const EVENTS: usize = 8;

/// Sessions that work for ever, each at its next page when asked.
struct Endless {
    source: SourceIx,
    sessions: Vec<(SessionId, u64)>,
    pages: Vec<Vec<Event<SmolStr>>>,
    next: usize,
}

impl Endless {
    fn new(state: &mut State, source: SourceIx, sessions: u64) -> Self {
        let ids: Vec<SessionId> = (0..sessions).map(session_id).collect();
        let items = ids.iter().map(|id| Item::Row(row(id.clone(), Status::Running))).collect();
        take_in(state, &Report { source, asked_at: NOW, received_at: NOW, items });
        Self { source, sessions: ids.into_iter().map(|id| (id, 0)).collect(), pages: pages(), next: 0 }
    }

    fn report(&mut self) -> Report {
        let place = self.next % self.sessions.len();
        let events = self.pages[self.next % self.pages.len()].clone();
        self.next += 1;
        let (id, cursor) = &mut self.sessions[place];
        let page = Item::page(id.clone(), *cursor, events);
        *cursor += EVENTS as u64;
        Report { source: self.source, asked_at: NOW, received_at: NOW, items: vec![page] }
    }
}

/// The events of simulated sessions in small pages.
fn pages() -> Vec<Vec<Event<SmolStr>>> {
    let (mut aside, source) = state();
    let reports = reports(&simulator(history(20, 100)), &mut aside, source);
    let events = reports.into_iter().flat_map(|report| report.items).filter_map(|item| match item {
        Item::Page { events, .. } => Some(events),
        _ => None,
    });
    let events: Vec<_> = events.flatten().collect();
    events.chunks_exact(EVENTS).map(<[_]>::to_vec).collect()
}

fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(20).measurement_time(Duration::from_secs(10));
    for (name, sessions, reports) in [("one report", 128, 1), ("128 reports", 1000, 128)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal = Journal::open(folder.path(), LabelPolicy::default()).expect("a fresh journal");
        let mut state = journal.load(NOW).expect("an empty journal");
        let source = state.add_source(record());
        let mut endless = Endless::new(&mut state, source, sessions);
        journal.commit(&mut state).expect("the file can be written");
        state.committed();
        group.throughput(Throughput::Elements((reports * EVENTS) as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|commits| {
                let mut took = Duration::ZERO;
                for _ in 0..commits {
                    let group: Vec<Report> = (0..reports).map(|_| endless.report()).collect();
                    let began = Instant::now();
                    for report in &group {
                        take_in(&mut state, report);
                    }
                    journal.commit(&mut state).expect("the file can be written");
                    state.committed();
                    took += began.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
