//! Looking after a store: folding it anew when the fold has changed, making it small, and what its commands answer.

use agent_session_exporter::domain::{DISCOVERED, Item, SessionNo, SourceIx};
use agent_session_exporter::journal::{ExportError, FILE_NAME, Journal, JournalError};
use agent_session_exporter::projection::{LabelPolicy, Metric, Session, SourceRecord, State};
use redb::{Database, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::support::disk::Disk;
use crate::support::lives::at;
use crate::support::running::{report, source_record, whole_session};
use crate::support::{Exporter, Folder, compare, run, scraped, simulate, truth};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const SESSIONS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("sessions");
const SERIES: TableDefinition<'_, (u8, u32), &[u8]> = TableDefinition::new("series");

fn open(disk: &Disk) -> Result<Journal, JournalError> {
    let platter = disk.clone();
    Journal::with_backend(move || platter.clone(), LabelPolicy::default())
}

/// Puts so many ended sessions into a journal that is empty.
fn fill(journal: &Journal, account: &str, sessions: u32) -> State {
    let mut state = journal.load(at(0)).expect("a readable journal");
    let record = SourceRecord { account: account.into(), ..source_record("sim", "hcompany") };
    let ix = state.add_source(record);
    for number in 0..sessions {
        let second = i64::from(number);
        state.take_in(&report(ix, second, whole_session(number, second)), &|_| Err("none moves".into())).expect("news");
        if number % 2000 == 1999 {
            journal.commit(&mut state).expect("a writable journal");
            state.committed();
        }
    }
    let walked = vec![Item::Walked { walk: DISCOVERED, until: at(1) }];
    state.take_in(&report(ix, 0, walked), &|_| Err("none moves".into())).expect("news");
    journal.commit(&mut state).expect("a writable journal");
    state.committed();
    state
}

/// What a fold of another version left behind: totals that mean nothing now, and records of which only the head is as
/// it is today.
fn as_another_fold_left_it(db: &Database) {
    let transaction = db.begin_write().expect("a writable store");
    transaction.open_table(META).expect("the table").insert("fold", 0).expect("a row");
    let mut series = transaction.open_table(SERIES).expect("the table");
    assert!(series.len().expect("a readable table") > 10, "there is something to be folded anew");
    series.retain(|_, _| false).expect("a writable table");
    let mut sessions = transaction.open_table(SESSIONS).expect("the table");
    let rows: Vec<(u32, Vec<u8>)> = sessions
        .iter()
        .expect("a readable table")
        .map(|row| row.expect("a row"))
        .map(|(no, record)| (no.value(), record.value().to_vec()))
        .collect();
    for (no, record) in rows {
        let session: Session = postcard::from_bytes(&record).expect("a session");
        let head = session.head();
        let head = (
            head.id,
            head.source,
            head.agent,
            head.created_at,
            head.count_from,
            head.progress,
            head.status,
            head.since,
        );
        let mut bytes = postcard::to_stdvec(&head).expect("bytes");
        bytes.extend([0xff; 7]);
        sessions.insert(no, bytes.as_slice()).expect("a writable table");
    }
    drop((series, sessions));
    transaction.commit().expect("a writable store");
}

/// Every total and every session, as texts; and that the log says the same.
fn says(journal: &Journal) -> String {
    let state = journal.load(at(0)).expect("a readable journal");
    let found = journal.verify().expect("a readable journal");
    assert!(found.is_good(), "{found:?}");
    // What lists last said is no fact, and not folded anew.
    let without_listing = |session: Session| Session { listing: None, ..session };
    let session = |no| journal.session(SessionNo(no)).expect("a readable journal").map(without_listing);
    let sessions: Vec<_> = (0..1000).filter_map(session).collect();
    format!("{:?} {:?} {sessions:?}", found.totals, state.session_counts(SourceIx(0)))
}

#[test]
fn a_store_of_another_fold_is_folded_anew_and_a_newer_one_is_refused() {
    let disk = Disk::default();
    let journal = open(&disk).unwrap();
    fill(&journal, "", 20);
    let before = says(&journal);
    drop(journal);
    as_another_fold_left_it(&Database::builder().create_with_backend(disk.clone()).unwrap());
    let journal = open(&disk).unwrap();
    assert!(matches!(journal.verify(), Err(JournalError::FoldTooOld { found: 0, .. })));
    assert!(matches!(
        journal.export(&mut Vec::new()),
        Err(ExportError::Journal(JournalError::FoldTooOld { found: 0, .. }))
    ));
    let inspected = journal.inspect().unwrap();
    assert_eq!((inspected.fold, inspected.sources[0].settled.sessions), (0, 20), "heads can be read all the same");
    journal.load(at(0)).unwrap();
    assert!(says(&journal) == before);
    drop(journal);
    assert!(says(&open(&disk).unwrap()) == before, "it was done for good");

    let db = Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("fold", 99).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let refused = open(&disk).unwrap_err();
    assert!(matches!(refused, JournalError::FoldTooNew { found: 99, .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("version 99") && text.contains("run the newer exporter again"), "{text}");
}

#[test]
fn whenever_the_power_fails_while_it_is_folded_anew_nothing_is_lost() {
    let disk = Disk::default();
    let journal = open(&disk).unwrap();
    fill(&journal, "", 60);
    let before = says(&journal);
    drop(journal);
    as_another_fold_left_it(&Database::builder().create_with_backend(disk.clone()).unwrap());
    let old = disk.bytes();
    let mut failures = 0;
    for after in 0.. {
        let disk = Disk::holding(&old);
        disk.fail(after, u64::MAX);
        let folded = open(&disk).and_then(|journal| journal.load(at(0)));
        // What was not synced is not there any more when the power is back.
        let then = disk.after_power_failure();
        assert!(says(&load(&then)) == before, "after {after} changes");
        if folded.is_ok() {
            break;
        }
        failures += 1;
    }
    assert!(failures > 20, "{failures} writes were tried");
}

/// Opened and folded anew, if that is due.
fn load(disk: &Disk) -> Journal {
    let journal = open(disk).expect("a journal");
    journal.load(at(0)).expect("a readable journal");
    journal
}

#[test]
fn the_exporter_tells_how_far_it_has_folded_and_may_be_killed_meanwhile() {
    const URL: &str = "http://127.0.0.1:9";
    let mut exporter = Exporter::watching(URL);
    exporter.kill();
    let data = exporter.folder.path().join("data");
    std::fs::remove_file(data.join(FILE_NAME)).unwrap();
    let journal = Journal::open(&data, LabelPolicy::default()).unwrap();
    fill(&journal, &format!("hcompany {URL}"), 20_000);
    drop(journal);
    let totals = |exporter: &mut Exporter| {
        exporter.restart();
        let shows_all = |page: &str| {
            let sessions = scraped(page).get("sessions").copied();
            if sessions == Some(20_000) { Ok(()) } else { Err(format!("{sessions:?} sessions are shown")) }
        };
        let totals = scraped(&exporter.metrics_until(shows_all));
        exporter.kill();
        totals
    };
    let before = totals(&mut exporter);
    assert_eq!(before["input[holo]"], 200_000);
    as_another_fold_left_it(&Database::open(data.join(FILE_NAME)).unwrap());
    let old = std::fs::read(data.join(FILE_NAME)).unwrap();

    let lines = |exporter: &Exporter, what: &str| exporter.log().lines().filter(|line| line.contains(what)).count();
    let mut killed_meanwhile = false;
    for _ in 0..20 {
        std::fs::write(data.join(FILE_NAME), &old).unwrap();
        let (told, folded) = (lines(&exporter, "folding anew sessions="), lines(&exporter, "folded anew"));
        exporter.kill_when(|log| log.lines().filter(|line| line.contains("folding anew sessions=")).count() > told);
        if lines(&exporter, "folded anew") == folded {
            killed_meanwhile = true;
            break;
        }
    }
    assert!(killed_meanwhile, "it was never killed before it was done");
    assert_eq!(totals(&mut exporter), before);
    let log = exporter.log();
    for part in ["the fold has changed", "from=0 to=", "sessions=2000 of=20000", "sessions=18000 of=20000"] {
        assert!(log.contains(part), "the log does not say {part:?}");
    }
}

#[test]
fn a_compacted_store_is_smaller_and_says_the_same_whenever_the_power_fails() {
    let disk = Disk::default();
    let journal = open(&disk).unwrap();
    let mut state = fill(&journal, "", 600);
    loop {
        let expired = journal.expire(&state, at(500)).unwrap();
        expired.sessions.iter().for_each(|(ix, id)| state.forget(*ix, id));
        if !expired.more {
            break;
        }
    }
    let before = says(&journal);
    drop(journal);
    let (old, unused) = (disk.bytes(), open(&disk).unwrap().inspect().unwrap().unused_bytes);
    assert!(unused == 0, "a disk in memory has no length to tell");
    let mut failures = 0;
    for after in (0..).step_by(3) {
        let disk = Disk::holding(&old);
        let journal = open(&disk).unwrap();
        disk.fail(after, u64::MAX);
        let compacted = journal.move_together();
        drop(journal);
        assert!(says(&open(&disk.after_power_failure()).unwrap()) == before, "after {after} changes");
        if compacted.is_ok() {
            break;
        }
        failures += 1;
    }
    assert!(failures > 5, "{failures} writes were tried");
    let journal = open(&disk).unwrap();
    journal.move_together().unwrap();
    assert!(says(&journal) == before);
    drop(journal);
    assert!(disk.bytes().len() * 2 < old.len(), "{} of {} bytes are left", disk.bytes().len(), old.len());
}

#[test]
fn the_commands_of_a_store_answer_about_it() {
    let platform = simulate(&["--sessions=0", "--history=20", "--rate=0.001"]);
    let mut exporter = Exporter::watching(&platform.url);
    let page = exporter.metrics_until(|page| {
        let differences = compare(&scraped(page), &truth(&platform.url), &["turn_failures["]);
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    });
    let sessions = scraped(&page)["sessions"];
    let data = exporter.folder.join("data");
    let asked = |command: &[&str]| {
        let output = run(&[command, &["--storage.path", &data]].concat(), &[]);
        let [said, complained] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
        (output.status.code(), said, complained)
    };
    for (command, code) in [("inspect", 1), ("verify", 2), ("compact", 1)] {
        let (answered, said, complained) = asked(&[command]);
        assert_eq!((answered, said.as_str()), (Some(code), ""), "{command}: {complained}");
        assert!(complained.contains("is in use") && complained.contains("goes on where it stopped"), "{complained}");
    }
    // A kill leaves a file that has to be repaired before it is read; who only looks does that elsewhere.
    exporter.kill();
    let file = exporter.folder.path().join("data").join(FILE_NAME);
    let bytes = std::fs::read(&file).unwrap();
    let (code, said, complained) = asked(&["verify"]);
    assert_eq!(code, Some(0), "{said}{complained}");
    let counted = format!("{sessions} folded again");
    for part in [&counted, "agent_sessions_created_total", "Stored totals, series and sessions are what the log says"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, json, _) = asked(&["verify", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &json["store"]["equal"], &json["store"]["sessions"]["folded"]),
        (Some(0), &true.into(), &sessions.into()),
        "{json}"
    );
    let (code, said, _) = asked(&["inspect"]);
    assert!(
        code == Some(0) && said.contains(&format!("settled  {sessions}")) && said.contains("from the beginning"),
        "{said}"
    );
    let (_, json, _) = asked(&["inspect", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["sources"][0]["settled"]["sessions"], &json["sources"][0]["name"]),
        (&sessions.into(), &"sim".into())
    );
    assert_eq!(json["file_bytes"], bytes.len());
    assert!(std::fs::read(&file).unwrap() == bytes, "nobody changed it");

    let (code, said, complained) = asked(&["compact"]);
    assert_eq!(code, Some(0), "{complained}");
    assert!(said.contains(" before, ") && said.ends_with(" now\n"), "{said}");
    assert!(std::fs::metadata(&file).unwrap().len() < bytes.len() as u64);
    assert_eq!(asked(&["verify"]).0, Some(0));

    // Somebody has changed a total: 1, and a word on which.
    let db = Database::open(&file).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(SERIES).unwrap().remove((Metric::Steps as u8, 0)).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let (code, said, complained) = asked(&["verify"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("agent_steps_total") && complained.contains("does not say what its log says"),
        "{complained}"
    );

    let nowhere = exporter.folder.join("nowhere");
    for (command, code) in [("inspect", 1), ("verify", 2), ("compact", 1)] {
        let output = run(&[command, "--storage.path", &nowhere], &[]);
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(code) && complained.contains("there is no journal"),
            "{command}: {complained}"
        );
        assert!(!Folder::path(&exporter.folder).join("nowhere").exists(), "{command} made a folder");
    }
}
