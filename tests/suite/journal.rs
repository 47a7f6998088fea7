//! The journal as a file: who may open it, what it does with files that are none of its own, and what retention keeps.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent_session_exporter::domain::{DISCOVERED, Event, Fact, Item, Mark, SourceIx, Span, Status};
use agent_session_exporter::journal::{FILE_NAME, Journal, JournalError};
use agent_session_exporter::projection::{LabelPolicy, Metric, Snapshot, State};
use agent_session_exporter::simulator::SimulateOptions;
use redb::{Database, ReadableTableMetadata, TableDefinition};

use crate::support::Bench;
use crate::support::disk::Disk;
use crate::support::lives::at;
use crate::support::running::{Running, ended, id, page, report, row, source_record, sum, whole_session};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const LOG: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("log");

fn policy() -> LabelPolicy {
    LabelPolicy::default()
}

/// A journal in that folder that holds three ended sessions.
fn written(folder: &Path) -> Snapshot {
    let running = Running::start(Journal::open(folder, policy()).expect("a writable folder"), None);
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
        let ix = running.attach("one").await.ix;
        for number in 0..3 {
            let second = i64::from(number) * 100;
            running.handle.report(report(ix, second, whole_session(number, second))).await.expect("it is committed");
        }
    });
    running.stop()
}

fn change_meta(folder: &Path, key: &str, value: u64) {
    let db = Database::open(folder.join(FILE_NAME)).expect("a redb file");
    let transaction = db.begin_write().expect("a writable file");
    transaction.open_table(META).expect("the table").insert(key, value).expect("a row");
    transaction.commit().expect("a writable file");
}

/// Every stored number that is not zero.
fn numbers(snapshot: &Snapshot) -> Vec<String> {
    let mut numbers = Vec::new();
    for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored()) {
        let family = snapshot.family(metric).expect("every metric has a family");
        for (index, head) in family.heads().iter().enumerate() {
            if family.values(index).iter().any(|value| *value > 0) {
                numbers.push(format!("{metric:?} {:?} {:?}", head.key, family.values(index)));
            }
        }
    }
    numbers
}

#[test]
fn folder_and_file_are_made_for_this_user_alone() {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let put = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = folder.path().join("above/store");
    drop(Journal::open(&made, policy()).expect("a writable folder"));
    assert_eq!((mode(&made), mode(&made.join(FILE_NAME))), (0o700, 0o600));
    assert_eq!(mode(&folder.path().join("above")) & 0o700, 0o700, "what is above is not the store's");

    // A folder that is there is somebody's decision, a file is ours.
    put(&made, 0o755);
    put(&made.join(FILE_NAME), 0o644);
    drop(Journal::open(&made, policy()).expect("a writable folder"));
    assert_eq!((mode(&made), mode(&made.join(FILE_NAME))), (0o755, 0o600));
}

fn loaded(folder: &Path) -> State {
    Journal::open_existing(folder, policy()).expect("a journal").load(at(0)).expect("a readable journal")
}

#[test]
fn a_second_exporter_in_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(folder.path(), policy()).unwrap();
    for second in [Journal::open(folder.path(), policy()), Journal::open_existing(folder.path(), policy())] {
        let error = second.unwrap_err();
        assert!(matches!(error, JournalError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains("--storage.path"), "{error}");
    }
    // What is opened anew keeps the others out, too.
    first.reopen().unwrap();
    assert!(matches!(Journal::open(folder.path(), policy()), Err(JournalError::InUse { .. })));
    drop(first);
    Journal::open(folder.path(), policy()).unwrap();
}

#[test]
fn of_many_that_make_a_journal_at_once_one_has_it_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let barrier = std::sync::Barrier::new(8);
    let open = || {
        barrier.wait();
        let opened = Journal::open(folder.path(), policy());
        // Until everybody has tried.
        barrier.wait();
        opened.map(|_| ())
    };
    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1, "{opened:?}");
    for refused in opened.iter().filter(|opened| opened.is_err()) {
        assert!(matches!(refused, Err(JournalError::InUse { .. })), "{refused:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(Journal::read_only(folder.path(), policy()).unwrap().events().unwrap(), 0);
}

#[test]
fn a_journal_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    change_meta(folder.path(), "format", 4);
    for opened in [Journal::open(folder.path(), policy()), Journal::open_existing(folder.path(), policy())] {
        assert!(matches!(opened, Err(JournalError::TooNew { found: 4, .. })), "{opened:?}");
    }
    change_meta(folder.path(), "format", 2);
    let opened = Journal::open(folder.path(), policy());
    assert!(matches!(opened, Err(JournalError::TooOld { found: 2, .. })), "{opened:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Journal::open(&file.join("below"), policy()).unwrap_err();
    assert!(matches!(error, JournalError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains("below") && error.to_string().contains("--storage.path"), "{error}");
    let none = Journal::open_existing(folder.path(), policy());
    assert!(matches!(none, Err(JournalError::Missing { .. })), "{none:?}");
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    for garbage in [&b"not a journal"[..], &[0; 4096], &[0xff; 100_000], b"redb", b"{}\n"] {
        std::fs::write(&file, garbage).unwrap();
        for opened in [Journal::open(folder.path(), policy()), Journal::open_existing(folder.path(), policy())] {
            let error = opened.unwrap_err();
            assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
            assert!(error.to_string().contains("move it away"), "{error}");
        }
        assert_eq!(std::fs::read(&file).unwrap(), garbage);
    }
}

#[test]
fn a_journal_that_is_cut_off_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let file = folder.path().join(FILE_NAME);
    let whole = std::fs::read(&file).unwrap();
    for tenth in 1..10 {
        let cut = whole.len() * tenth / 10;
        std::fs::write(&file, &whole[..cut]).unwrap();
        let opened = Journal::open(folder.path(), policy()).and_then(|journal| journal.load(at(0)));
        let error = opened.map(|_| ()).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "cut at {cut}: {error:?}");
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(loaded(folder.path()).session_counts(SourceIx(0)), (0, 3));
}

#[tokio::test]
async fn a_settled_session_that_moves_is_taken_up_where_it_was_left() {
    let disk = Disk::default();
    let platter = disk.clone();
    let running = Running::start(Journal::with_backend(move || platter.clone(), policy()).unwrap(), None);
    let ix = running.attach("one").await.ix;
    let receipt = running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
    assert_eq!(receipt.discovered, 1);
    let shown = running.shown().await;
    assert_eq!((shown.sources[0].active, shown.sources[0].settled), (0, 1));

    // The same mark: nothing is read.
    let listed = running.handle.report(report(ix, 90, vec![row(1, 0, Status::Completed, 1)])).await.unwrap();
    assert_eq!(listed.due, []);
    let listed = running.handle.report(report(ix, 100, vec![row(1, 0, Status::Running, 2)])).await.unwrap();
    assert_eq!(listed.due.iter().map(|due| due.cursor).collect::<Vec<_>>(), [7], "what is folded is not read again");
    let message = Event { at: at(99), fact: Fact::Message };
    let more = vec![Item::page(id(1), 7, vec![message]), page(1, 0)];
    running.handle.report(report(ix, 101, more)).await.unwrap();
    let shown = running.stop();
    let counts = [Metric::SessionsCreated, Metric::SessionsReopened, Metric::EventsIngested, Metric::InputTokens];
    assert_eq!(counts.map(|metric| sum(&shown, metric)), [1, 1, 8, 10]);
    assert_eq!((shown.sources[0].active, shown.sources[0].settled), (1, 0));
}

#[tokio::test]
async fn retention_takes_the_log_and_leaves_the_totals() {
    let day = Span::from_secs(86_400);
    let disk = Disk::default();
    let platter = disk.clone();
    let journal = Journal::with_backend(move || platter.clone(), policy()).unwrap();
    let running = Running::start(journal.clone(), Some(day));
    let ix = running.attach("one").await.ix;
    // Ended an hour before the other one.
    running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
    running.handle.report(report(ix, 3600, whole_session(2, 3600))).await.unwrap();
    // Retention only begins where the lists were read to their end: else the past would still be counted.
    let walked = vec![Item::Walked { walk: DISCOVERED, until: at(3601) }];
    running.handle.report(report(ix, 3601, walked)).await.unwrap();
    let (before, bytes, events) =
        (numbers(&running.shown().await), journal.log_bytes().unwrap(), journal.events().unwrap());
    assert_eq!(numbers(&running.stop()), before);

    let running = Running::start(journal.clone(), Some(day));
    running.clock.set(at(86_400 + 1800));
    let ix = running.attach("one").await.ix;
    running.handle.report(report(ix, 90_000, vec![row(2, 3600, Status::Completed, 1)])).await.unwrap();
    // Both are asked for once more by a sweep: the one that is gone ended before counting begins now.
    let sweep = vec![row(1, 0, Status::Completed, 1), row(2, 3600, Status::Completed, 1)];
    let receipt = running.handle.report(report(ix, 90_001, sweep)).await.unwrap();
    assert_eq!((receipt.discovered, receipt.due), (0, vec![]));
    assert_eq!(journal.log_bytes().unwrap() * 2, bytes);
    assert_eq!(journal.events().unwrap() * 2, events);
    assert_eq!(numbers(&running.shown().await), before);

    // It is taken up again: known again, and not one of its old events is counted twice.
    let moved = vec![row(1, 0, Status::Running, 2)];
    let receipt = running.handle.report(report(ix, 90_010, moved)).await.unwrap();
    assert_eq!(receipt.due.iter().map(|due| (due.cursor, due.adopt)).collect::<Vec<_>>(), [(0, Some(at(0)))]);
    let message = Event { at: at(90_005), fact: Fact::Message };
    let page = vec![page(1, 0), Item::page(id(1), 7, vec![message])];
    running.handle.report(report(ix, 90_011, page)).await.unwrap();
    let counts = |snapshot: &Snapshot| {
        [
            Metric::SessionsCreated,
            Metric::InputTokens,
            Metric::ToolCalls,
            Metric::EventsIngested,
            Metric::SessionsReopened,
        ]
        .map(|metric| sum(snapshot, metric))
    };
    assert_eq!(counts(&running.shown().await), [2, 20, 2, 15, 1], "only the message and what it did");
    let shown = running.stop();
    let refolded = journal.refold().unwrap();
    assert_eq!(numbers(&refolded.state.snapshot()), numbers(&shown));
    assert_eq!(numbers(&journal.load(at(0)).unwrap().snapshot()), numbers(&shown));
}

#[test]
fn more_sessions_than_one_batch_are_taken_away() {
    let journal = Journal::with_backend(redb::backends::InMemoryBackend::new, policy()).unwrap();
    let mut state = journal.load(at(0)).unwrap();
    let ix = state.add_source(source_record("one", "hcompany"));
    for number in 0..1203 {
        state.take_in(&report(ix, 0, whole_session(number, 0)), &|_| Err("none is settled".into())).unwrap();
    }
    assert!(journal.expire(&state, at(1000)).unwrap().sessions.is_empty(), "not before the lists were read");
    let walked = vec![Item::Walked { walk: DISCOVERED, until: at(1) }];
    state.take_in(&report(ix, 0, walked), &|_| Err("none is settled".into())).unwrap();
    journal.commit(&mut state).unwrap();
    state.committed();
    let before = numbers(&state.snapshot());
    let mut batches = Vec::new();
    loop {
        let expired = journal.expire(&state, at(1000)).unwrap();
        expired.sessions.iter().for_each(|(ix, id)| state.forget(*ix, id));
        batches.push(expired.sessions.len());
        if !expired.more {
            break;
        }
    }
    assert_eq!(batches, [500, 500, 203]);
    assert_eq!((journal.events().unwrap(), journal.log_bytes().unwrap()), (0, 0));
    assert_eq!(state.session_counts(ix), (0, 0));
    assert_eq!(numbers(&journal.load(at(0)).unwrap().snapshot()), before);
    assert_eq!(numbers(&journal.refold().unwrap().state.snapshot()), before);
}

/// Whatever is left of it, the totals are the same, and the next time it is done.
#[test]
fn retention_that_fails_in_the_middle_takes_nothing_from_the_totals() {
    let on = |disk: &Disk| {
        let disk = disk.clone();
        Journal::with_backend(move || disk.clone(), policy()).expect("a sound disk")
    };
    let load = |_| Err("none is settled".into());
    for (kind, broken) in (0..).flat_map(|broken| [("fails", broken), ("loses power", broken)]) {
        let disk = Disk::default();
        let journal = on(&disk);
        let mut state = journal.load(at(0)).unwrap();
        let ix = state.add_source(source_record("one", "hcompany"));
        let mut items: Vec<Item> = (0..20).flat_map(|number| whole_session(number, 0)).collect();
        items.push(Item::Walked { walk: DISCOVERED, until: at(1) });
        state.take_in(&report(ix, 0, items), &load).unwrap();
        journal.commit(&mut state).unwrap();
        state.committed();
        let before = numbers(&state.snapshot());

        disk.fail(broken, if kind == "fails" { 1 } else { u64::MAX });
        let went_well = journal.expire(&state, at(1000)).is_ok();
        drop(journal);
        let left = if kind == "fails" { disk.after_kill() } else { disk.after_power_failure() };
        let journal = on(&left);
        let state = journal.load(at(0)).unwrap();
        assert_eq!(numbers(&state.snapshot()), before, "{kind} at change {broken}");
        let kept = state.session_counts(ix).1;
        assert!(kept == 20 || kept == 0, "all of a batch leave or none: {kept} are left");
        journal.expire(&state, at(1000)).unwrap();
        assert!(journal.verify().unwrap().is_good());
        assert_eq!(journal.load(at(0)).unwrap().session_counts(ix), (0, 0));
        assert_eq!(numbers(&journal.refold().unwrap().state.snapshot()), before);
        if went_well && kind == "loses power" {
            assert!(broken > 3, "it is several changes");
            return;
        }
    }
}

#[test]
fn a_report_of_an_end_is_kept_with_the_end_of_its_reading() {
    let journal = Journal::with_backend(redb::backends::InMemoryBackend::new, policy()).unwrap();
    let running = Running::start(journal.clone(), None);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let ix = running.attach("one").await.ix;
        running.handle.report(report(ix, 0, vec![row(1, 0, Status::Running, 1), page(1, 0)])).await.unwrap();
        running.handle.report(report(ix, 60, ended(1, 0, 5).to_vec())).await.unwrap();
    });
    running.stop();
    let refolded = journal.refold().unwrap();
    let [(_, session)] = &refolded.sessions[..] else { panic!("one session") };
    assert!(session.progress.settled && session.progress.mark == Some(Mark(5)), "{:?}", session.progress);
    assert_eq!(session.status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_event_costs_at_most_thirty_two_bytes() {
    let bench = Bench::new(SimulateOptions { history: 250, sessions: 10, rate: 0.5, ..SimulateOptions::default() });
    bench.poll_for(std::time::Duration::from_secs(900)).await;
    let (facts, bytes) = (bench.ledger.journal.events().unwrap(), bench.ledger.journal.log_bytes().unwrap());
    let events = sum(&bench.snapshot(), Metric::EventsIngested);
    assert!(events > 10_000, "{events} events are too few to tell");
    let per_event = bytes as f64 / events as f64;
    let before = bench.disk.bytes().len();
    let disk = bench.disk.clone();
    drop(bench);
    let mut db = Database::builder().create_with_backend(disk.clone()).unwrap();
    while db.compact().unwrap() {}
    let entries = redb::ReadableDatabase::begin_read(&db).unwrap().open_table(LOG).unwrap().len().unwrap();
    let after = disk.bytes().len();
    println!(
        "{events} events, {facts} facts in {entries} entries: {per_event:.1} bytes of log per event; file {:.1}, compacted {:.1}",
        before as f64 / events as f64,
        after as f64 / events as f64,
    );
    assert!(per_event <= 32.0, "{per_event:.1} bytes");
}
