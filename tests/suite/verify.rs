//! A store is compared with its own log: what is right is said to be, and whatever was changed is found and named.

use agent_session_exporter::domain::{DISCOVERED, Item, NameId, SourceIx, Span, Timestamp};
use agent_session_exporter::journal::{Difference, Journal, JournalError, Of, Verification, Verified};
use agent_session_exporter::projection::{LabelPolicy, Metric, Native, SeriesKey, Session};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::support::disk::Disk;
use crate::support::lives::at;
use crate::support::running::{Running, id, page, report, row, whole_session};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const SESSIONS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sessions");
const LOG: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("log");
const SERIES: TableDefinition<'_, (u8, u32), &[u8]> = TableDefinition::new("series");
const BASE: TableDefinition<'_, (u8, u32), &[u8]> = TableDefinition::new("base");
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");

fn open(disk: &Disk) -> Journal {
    let platter = disk.clone();
    Journal::with_backend(move || platter.clone(), LabelPolicy::default()).expect("a journal")
}

/// Three ended sessions and one that runs.
fn written() -> Disk {
    let disk = Disk::default();
    let running = Running::start(open(&disk), None);
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
        let ix = running.attach("one").await.ix;
        for number in 0..3 {
            let second = i64::from(number) * 100;
            running.handle.report(report(ix, second, whole_session(number, second))).await.expect("it is committed");
        }
        let open = vec![row(3, 500, agent_session_exporter::domain::Status::Running, 1), page(3, 500)];
        running.handle.report(report(ix, 500, open)).await.expect("it is committed");
    });
    running.stop();
    disk
}

/// What is found in a store after this was done to it.
fn found_after(change: impl FnOnce(&WriteTransaction)) -> Verification {
    let disk = written();
    let db = redb::Database::builder().create_with_backend(disk.clone()).expect("a store");
    let transaction = db.begin_write().expect("a writable store");
    change(&transaction);
    transaction.commit().expect("a writable store");
    drop(db);
    open(&disk).verify().expect("it can be compared")
}

/// Which sessions and series differ, and how.
fn named(differences: &[Difference]) -> Vec<String> {
    let name = |difference: &Difference| {
        let Difference { source, of, stored, folded } = difference;
        match of {
            Of::Session { id, what } => format!("{source} {id} {what}: {stored}, {folded}"),
            Of::Series { metric, labels } => format!("{source} {metric:?} {labels:?}: {stored}, {folded}"),
        }
    };
    differences.iter().map(name).collect()
}

fn change_session(transaction: &WriteTransaction, no: u32, change: impl FnOnce(&mut Session)) {
    let mut table = transaction.open_table(SESSIONS).expect("the table");
    let record = table.get(no).expect("a readable table").expect("the row").value().to_vec();
    let mut session: Session = postcard::from_bytes(&record).expect("a session");
    change(&mut session);
    table.insert(no, postcard::to_stdvec(&session).expect("bytes").as_slice()).expect("a writable table");
}

/// A series as it is stored.
type Stored = (SeriesKey, Timestamp, Vec<u64>, Option<Native>);

fn change_series(transaction: &WriteTransaction, metric: Metric, change: impl FnOnce(&mut Stored)) {
    let mut table = transaction.open_table(SERIES).expect("the table");
    let (place, mut stored) = {
        let mut of_metric = table.range((metric as u8, 0)..=(metric as u8, u32::MAX)).expect("a readable table");
        let used = |bytes: &[u8]| postcard::from_bytes::<Stored>(bytes).expect("a series");
        let rows =
            of_metric.by_ref().map(|row| row.expect("a row")).map(|(key, row)| (key.value().1, used(row.value())));
        rows.into_iter().find(|(_, stored)| stored.2.iter().any(|value| *value > 0)).expect("one that counts")
    };
    change(&mut stored);
    let bytes = postcard::to_stdvec(&stored).expect("bytes");
    table.insert((metric as u8, place), bytes.as_slice()).expect("a writable table");
}

#[test]
fn a_store_that_nobody_touched_is_as_its_log_says() {
    let found = found_after(|_| {});
    assert!(found.is_good(), "{found:?}");
    assert_eq!(found.sessions, Verified { folded: 4, only_known: 0 });
    assert_eq!(found.facts, 3 * 10 + 9);
    let total = |metric| {
        let total = found.totals.iter().find(|total| total.metric == metric).expect("it is told");
        (total.carried, total.folded, total.stored)
    };
    assert_eq!(total(Metric::SessionsCreated), (0, 4, 4));
    assert_eq!(total(Metric::SessionDuration), (0, 3, 3));
    assert_eq!(total(Metric::InputTokens), (0, 40, 40));
}

#[test]
fn changed_totals_are_found_and_named() {
    let found = found_after(|transaction| {
        change_series(transaction, Metric::InputTokens, |series| series.2[0] += 2);
        change_series(transaction, Metric::SessionDuration, |series| series.2[0] += 1);
        change_series(transaction, Metric::LastFinished, |series| series.2[0] = 0);
        change_series(transaction, Metric::Steps, |series| series.0.agent = NameId(series.0.agent.0 + 1));
    });
    let named = named(&found.differences);
    let expected = [
        "one LastFinished [(\"agent\", \"h/web\"), (\"status\", \"completed\")]: none, 2026-11-20T14:33:21Z",
        "one SessionDuration [(\"agent\", \"h/web\"), (\"status\", \"completed\")]: 4 observations, sum 150, 3 observations, sum 150",
        "one InputTokens [(\"agent\", \"h/web\"), (\"model\", \"holo\")]: 42, 40",
    ];
    for expected in expected {
        assert!(named.iter().any(|named| named == expected), "{expected} is not among {named:#?}");
    }
    let steps: Vec<_> = named.iter().filter(|named| named.contains("Steps")).collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert!(
        steps.iter().any(|it| it.ends_with(": 4, 0")) && steps.iter().any(|it| it.ends_with(": 0, 4")),
        "{steps:?}"
    );
    let total = found.totals.iter().find(|total| total.metric == Metric::InputTokens).unwrap();
    assert_eq!((total.folded, total.stored), (40, 42));
    // That there are more durations than ends is wrong in itself.
    assert!(found.faults.iter().any(|fault| fault.contains("measured-durations")), "{:?}", found.faults);
}

#[test]
fn buckets_alone_are_found() {
    let found = found_after(|transaction| {
        change_series(transaction, Metric::SessionDuration, |series| series.2.swap(4, 5));
    });
    assert!(named(&found.differences)[0].ends_with("sum 150, in other buckets"), "{:?}", named(&found.differences));
}

#[test]
fn changed_sessions_are_found_and_named() {
    let found = found_after(|transaction| {
        change_session(transaction, 1, |session| session.steps += 1);
        change_session(transaction, 3, |session| session.progress.cursor -= 1);
    });
    let expected = [format!("one {} steps: 2, 1", id(1)), format!("one {} next position: 6, 7", id(3))];
    assert_eq!(named(&found.differences), expected);
}

#[test]
fn what_is_missing_from_the_log_is_found() {
    let found = found_after(|transaction| {
        transaction.open_table(LOG).unwrap().remove((1, 0)).unwrap();
    });
    assert!(!found.is_good());
    let faults = found.faults.join("\n");
    for fault in [
        format!("the log of session {} has holes", id(1)),
        format!("the log of session {} does not begin with its discovery", id(1)),
        "39 facts should be in the log, 29 are".to_owned(),
    ] {
        assert!(faults.contains(&fault), "{fault}: {faults}");
    }
    let totals = named(&found.differences).join("\n");
    assert!(totals.contains("one SessionsCreated [(\"agent\", \"h/web\")]: 4, 3"), "{totals}");
}

#[test]
fn records_that_belong_to_nothing_are_found() {
    let found = found_after(|transaction| {
        let mut log = transaction.open_table(LOG).unwrap();
        let entry = log.get((0, 0)).unwrap().unwrap().value().to_vec();
        log.insert((77, 0), entry.as_slice()).unwrap();
        let mut sessions = transaction.open_table(SESSIONS).unwrap();
        let record = sessions.get(0).unwrap().unwrap().value().to_vec();
        // The same session under another number.
        sessions.insert(4, record.as_slice()).unwrap();
        log.insert((4, 0), entry.as_slice()).unwrap();
        let mut outbox = transaction.open_table(OUTBOX).unwrap();
        outbox.insert(3, &b"?"[..]).unwrap();
        outbox.insert(5, &b"?"[..]).unwrap();
        transaction.open_table(META).unwrap().insert("next_span", 9).unwrap();
    });
    let faults = found.faults.join("\n");
    for fault in [
        "1 entries of the log belong to no session".to_owned(),
        format!("session {} is there twice", id(0)),
        "39 facts should be in the log, 49 are".to_owned(),
        "the outbox has a hole before span 5".to_owned(),
        "span 3 of the outbox cannot be read".to_owned(),
        "the outbox ends at span 6 and should end at 9".to_owned(),
    ] {
        assert!(faults.contains(&fault), "{fault}: {faults}");
    }
}

#[test]
fn a_record_that_cannot_be_read_is_found() {
    let found = found_after(|transaction| {
        let mut sessions = transaction.open_table(SESSIONS).unwrap();
        let record = sessions.get(2).unwrap().unwrap().value().to_vec();
        sessions.insert(2, &record[..record.len() - 3]).unwrap();
    });
    assert_eq!(found.faults, [format!("the record of session {} cannot be read", id(2))]);
}

#[test]
fn names_that_are_in_no_dictionary_are_found() {
    const NAMES: TableDefinition<'_, u32, &str> = TableDefinition::new("names");
    let found = found_after(|transaction| {
        transaction.open_table(NAMES).unwrap().pop_last().unwrap();
    });
    assert!(found.faults.iter().any(|fault| fault.contains("not in the dictionary")), "{:?}", found.faults);
}

#[test]
fn a_session_of_no_source_is_refused_as_damaged() {
    let disk = written();
    let db = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = db.begin_write().unwrap();
    change_session(&transaction, 1, |session| session.source = SourceIx(9));
    transaction.commit().unwrap();
    drop(db);
    for refused in
        [open(&disk).verify().map(|_| ()), open(&disk).inspect().map(|_| ()), open(&disk).load(at(0)).map(|_| ())]
    {
        assert!(matches!(refused, Err(JournalError::Damaged { .. })), "{refused:?}");
    }
}

#[test]
fn what_retention_took_is_carried_and_said_to_be() {
    let disk = Disk::default();
    let journal = open(&disk);
    let running = Running::start(journal.clone(), Some(Span::from_secs(86_400)));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let ix = running.attach("one").await.ix;
        running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
        running.handle.report(report(ix, 3600, whole_session(2, 3600))).await.unwrap();
        let walked = vec![Item::Walked { walk: DISCOVERED, until: at(3601) }];
        running.handle.report(report(ix, 3601, walked)).await.unwrap();
        running.clock.set(at(86_400 + 1800));
    });
    running.stop();
    let state = journal.load(at(0)).unwrap();
    assert_eq!(journal.expire(&state, at(1800)).unwrap().sessions.len(), 1);

    let found = journal.verify().unwrap();
    assert!(found.is_good(), "{found:?}");
    assert_eq!(found.sessions, Verified { folded: 1, only_known: 0 });
    assert_eq!((found.carried.sessions, found.carried.facts, found.carried.before), (1, 10, Some(at(1800))));
    let total = found.totals.iter().find(|total| total.metric == Metric::InputTokens).unwrap();
    assert_eq!((total.carried, total.folded, total.stored), (10, 10, 20));
    let inspected = journal.inspect().unwrap();
    assert_eq!((inspected.carried, inspected.log.facts), (found.carried, 10));

    // The base cannot be folded again; that it says something else than the totals is found all the same.
    drop(journal);
    let db = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(BASE).unwrap().retain(|_, _| false).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let found = open(&disk).verify().unwrap();
    let named = named(&found.differences);
    assert!(
        named.contains(&"one InputTokens [(\"agent\", \"h/web\"), (\"model\", \"holo\")]: 20, 10".to_owned()),
        "{named:?}"
    );
}

#[test]
fn totals_of_an_older_fold_cannot_be_compared() {
    let disk = written();
    let db = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("fold", 0).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let refused = open(&disk).verify();
    assert!(matches!(refused, Err(JournalError::FoldTooOld { found: 0, .. })), "{refused:?}");
}
