//! How fast everything is folded anew from the journal, and how fast an exporter with 100,000 sessions starts.

mod support;

use std::time::Duration;

use agent_session_exporter::domain::{Event, Item, Report};
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::{LabelPolicy, State};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use smol_str::SmolStr;
use support::{NOW, history, record, reports, session_id, simulator, state, take_in, whole_life};
use tempfile::TempDir;

/// Commits of the journal to come: few, so that it is built in seconds.
const REPORTS_PER_COMMIT: usize = 64;

struct Filled {
    journal: Journal,
    _folder: TempDir,
}

fn fill(reports: impl Iterator<Item = Report>) -> Filled {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let journal = Journal::open(folder.path(), LabelPolicy::default()).expect("a fresh journal");
    let mut state = journal.load(NOW).expect("an empty journal");
    state.add_source(record());
    let commit = |state: &mut State| {
        journal.commit(state).expect("the file can be written");
        state.committed();
    };
    for (number, report) in reports.enumerate() {
        take_in(&mut state, &report);
        if number % REPORTS_PER_COMMIT == 0 {
            commit(&mut state);
        }
    }
    commit(&mut state);
    println!("{} events, {} bytes", journal.events().expect("the file can be read"), journal.bytes());
    Filled { journal, _folder: folder }
}

/// All facts of sessions of some 1,800 events each.
fn refold(c: &mut Criterion) {
    let filled = {
        let (mut aside, source) = state();
        fill(reports(&simulator(history(300, 400)), &mut aside, source).into_iter())
    };
    let events = filled.journal.refold().expect("the journal is whole").events;
    assert!(events >= 500_000, "{events} events are too few to measure");
    let mut group = c.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Elements(events));
    group.bench_function("refold", |b| b.iter(|| filled.journal.refold().expect("the journal is whole").events));
    group.finish();
}

/// Settled sessions with a short log each.
fn load(c: &mut Criterion) {
    const SESSIONS: u64 = 100_000;
    const PER_REPORT: u64 = 100;
    let events = short_life();
    let reports = (0..SESSIONS / PER_REPORT).map(|number| {
        let ids = (number * PER_REPORT..).take(PER_REPORT as usize).map(session_id);
        let items = ids.flat_map(|id| whole_life(&id, events.clone())).collect();
        Report { source: agent_session_exporter::domain::SourceIx(0), asked_at: NOW, received_at: NOW, items }
    });
    let filled = fill(reports);
    let mut group = c.benchmark_group("start");
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Elements(SESSIONS));
    group.bench_function("load settled sessions", |b| {
        b.iter(|| {
            let state = filled.journal.load(NOW).expect("the journal is whole");
            assert_eq!(state.session_counts(agent_session_exporter::domain::SourceIx(0)).1, SESSIONS as usize);
            state
        });
    });
    group.finish();
}

/// The events of a simulated session of one step.
fn short_life() -> Vec<Event<SmolStr>> {
    let (mut aside, source) = state();
    let reports = reports(&simulator(history(1, 1)), &mut aside, source);
    let pages = reports.into_iter().flat_map(|report| report.items).find_map(|item| match item {
        Item::Page { events, .. } => Some(events),
        _ => None,
    });
    pages.expect("a session has events")
}

criterion_group!(benches, refold, load);
criterion_main!(benches);
