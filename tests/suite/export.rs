//! A store as lines of text: whole, always the same, and good for going on elsewhere; anything less is refused.

use std::path::Path;

use agent_session_exporter::journal::{FILE_NAME, ImportError, Journal, Verification};
use agent_session_exporter::projection::LabelPolicy;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::support::disk::Disk;
use crate::support::everruns_lives;
use crate::support::folding::{Folding, Manner, config, played};
use crate::support::lives::{at, lives};
use crate::support::running::{Running, page, report, row, whole_session};
use crate::support::{Exporter, compare, run, scraped, simulate_platform, truth};

fn exported(journal: &Journal) -> String {
    let mut lines = Vec::new();
    let count = journal.export(&mut lines).expect("a readable journal");
    let text = String::from_utf8(lines).expect("UTF-8");
    assert_eq!(text.lines().count() as u64, count);
    text
}

fn import(folder: &Path, lines: &str) -> Result<Verification, ImportError> {
    Journal::import(folder, LabelPolicy::default(), &mut lines.as_bytes())
}

fn read(folder: &Path) -> Journal {
    Journal::read_only(folder, LabelPolicy::default()).expect("a journal")
}

/// What was played comes out of the lines as it went in.
fn comes_back(folding: &Folding) {
    let lines = exported(&folding.journal);
    assert_eq!(exported(&folding.journal), lines, "it is always the same");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let found = import(folder.path(), &lines).expect("it is whole");
    assert_eq!(found, folding.journal.verify().expect("a readable journal"));
    let journal = read(folder.path());
    assert!(exported(&journal) == lines, "what is exported again is another thing");
    assert_eq!(journal.outbox().expect("readable"), folding.journal.outbox().expect("readable"));
    let [counted, before] = [&journal, &folding.journal].map(|it| it.inspect().expect("a readable journal"));
    assert_eq!((counted.sources, counted.log, counted.carried), (before.sources, before.log, before.carried));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_in_a_store_of_h_comes_back(lives in lives(4), horizon in 0i64..1200) {
        let mut folding = played(&lives, Manner::Whole);
        folding.expire(at(horizon));
        comes_back(&folding);
    }

    #[test]
    fn whatever_is_in_a_store_of_everruns_comes_back(lives in everruns_lives::lives(4), horizon in 0i64..1200) {
        let mut folding = played(&lives, Manner::Whole);
        folding.expire(at(horizon));
        comes_back(&folding);
    }
}

/// The lines of a journal with two ended sessions and one that runs.
fn lines() -> String {
    let disk = Disk::default();
    let journal = Journal::with_backend(move || disk.clone(), LabelPolicy::default()).expect("a journal");
    let running = Running::start(journal.clone(), None);
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
        let ix = running.attach("one").await.ix;
        for number in 0..2 {
            running.handle.report(report(ix, 0, whole_session(number, 0))).await.expect("it is committed");
        }
        let open = vec![row(2, 500, agent_session_exporter::domain::Status::Running, 1), page(2, 500)];
        running.handle.report(report(ix, 500, open)).await.expect("it is committed");
    });
    running.stop();
    exported(&journal)
}

/// Lines with the trailer that belongs to them.
fn sealed(lines: &[&str]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let xxh3 = xxh3_64(text.as_bytes());
    format!("{text}{{\"trailer\":{{\"lines\":{},\"xxh3\":\"{xxh3:016x}\"}}}}\n", lines.len())
}

/// Refused, and nothing is left of the attempt.
fn refused(lines: &str) -> ImportError {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = import(folder.path(), lines).map(|_| ()).expect_err("it is refused");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "{error}: {left:?} is left");
    error
}

#[test]
fn what_was_cut_off_is_refused_wherever() {
    let whole = lines();
    let records = whole.lines().count() as u64 - 1;
    for cut in (0..whole.len()).step_by(499).chain([whole.len() - 1, whole.len() - 2]) {
        match refused(&whole[..cut]) {
            ImportError::NotAnExport => assert!(cut <= whole.find('\n').unwrap(), "cut at {cut}"),
            ImportError::CutOff(lines) => assert!(lines <= records),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn what_was_changed_is_refused_wherever() {
    let whole = lines();
    for place in (0..whole.len()).step_by(503) {
        let mut bytes = whole.clone().into_bytes();
        bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
        refused(&String::from_utf8(bytes).unwrap());
    }
    let all: Vec<&str> = whole.lines().collect();
    for left_out in (0..all.len()).step_by(5) {
        let rest: String =
            all.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, it)| format!("{it}\n")).collect();
        refused(&rest);
    }
    assert!(matches!(refused(&format!("{whole}\n")), ImportError::Changed));
    assert!(matches!(refused(&format!("{whole}{whole}")), ImportError::Changed));
}

#[test]
fn lines_that_fit_their_checksum_and_nothing_else_are_refused() {
    let whole = lines();
    let mut all: Vec<&str> = whole.lines().collect();
    all.pop();
    import(tempfile::tempdir().unwrap().path(), &sealed(&all)).unwrap();
    let with = |more: &str| sealed(&[&all[..], &[more]].concat());
    for (more, says) in [
        (all[0], "the first one once more"),
        (all[3], "a second time"),
        (r#"{"number":{"key":"fold","value":0}}"#, "versions stand in the header"),
        (r#"{"surprise":{}}"#, "no record of a store"),
        (r#"{"name":{"number":900,"text":"a","more":1}}"#, "no record of a store"),
        ("not JSON", "no JSON"),
        (r#"{"session":{"number":77,"record":{"id":"a"}}}"#, "no record of a session"),
    ] {
        let error = refused(&with(more));
        assert!(
            matches!(error, ImportError::Garbled { line, .. } if line == all.len() as u64 + 1),
            "{more}: {error:?}"
        );
        assert!(error.to_string().contains(says), "{more}: {error}");
    }
    // Without the log's entries the sessions hang in the air.
    let without: Vec<&str> = all.iter().copied().filter(|line| !line.contains(r#"{"entry""#)).collect();
    assert!(matches!(refused(&sealed(&without)), ImportError::Unfit(_)));
    let without: Vec<&str> = all.iter().copied().filter(|line| !line.contains(r#"{"source":{"#)).collect();
    assert!(matches!(refused(&sealed(&without)), ImportError::Journal(_)));
    // Totals that are not what the log says were so in the store that was exported.
    let without: Vec<&str> = all.iter().copied().filter(|line| !line.contains(r#"{"series""#)).collect();
    let found = import(tempfile::tempdir().unwrap().path(), &sealed(&without)).unwrap();
    assert!(!found.differences.is_empty());
}

#[test]
fn other_versions_are_refused_and_an_older_fold_is_folded_anew() {
    let whole = lines();
    let mut all: Vec<&str> = whole.lines().collect();
    all.pop();
    let with_header = |header: &str| sealed(&[&[header], &all[1..]].concat());
    let changed = |what: &str, to: u64| {
        let mut header: serde_json::Value = serde_json::from_str(all[0]).unwrap();
        header["header"][what] = to.into();
        with_header(&header.to_string())
    };
    for what in ["version", "format", "fold"] {
        let error = refused(&changed(what, 9));
        assert!(matches!(error, ImportError::TooNew { found: 9, .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("import it with the newer exporter"), "{error}");
    }
    assert!(matches!(refused(&changed("format", 2)), ImportError::TooOld(2)));
    let error =
        refused(&with_header(r#"{"header":{"what":"another thing","version":1,"format":3,"fold":2,"exporter":""}}"#));
    assert!(matches!(error, ImportError::NotAnExport), "{error:?}");
    assert!(matches!(refused("{}\n"), ImportError::NotAnExport));

    // Of records that an older fold wrote only the head is known.
    let mut header: serde_json::Value = serde_json::from_str(all[0]).unwrap();
    header["header"]["fold"] = 0.into();
    let mut older = vec![header.to_string()];
    for line in &all[1..] {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(record) = line.pointer_mut("/session/record").and_then(|record| record.as_object_mut()) {
            record.retain(|key, _| {
                ["id", "source", "agent", "created_at", "count_from", "progress", "status", "since"]
                    .contains(&key.as_str())
            });
            record.insert("of_older_versions".into(), 7.into());
        }
        older.push(line.to_string());
    }
    older.retain(|line| !line.contains(r#"{"series""#));
    let folder = tempfile::tempdir().unwrap();
    let found = import(folder.path(), &sealed(&older.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    assert!(found.is_good() && found.sessions.folded == 3, "{found:?}");
    assert!(found.fold > 0, "it is folded anew");
    assert_eq!(read(folder.path()).inspect().unwrap().fold, found.fold);
}

#[test]
fn a_store_that_is_not_empty_is_left_alone() {
    let whole = lines();
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::open(folder.path(), LabelPolicy::default()).unwrap());
    import(folder.path(), &whole).unwrap();
    let before = std::fs::read(folder.path().join(FILE_NAME)).unwrap();
    let error = import(folder.path(), &whole).unwrap_err();
    assert!(matches!(&error, ImportError::NotEmpty { .. }), "{error:?}");
    assert!(error.to_string().contains("--storage.path"), "{error}");
    assert!(std::fs::read(folder.path().join(FILE_NAME)).unwrap() == before);
    let held = Journal::open(folder.path(), LabelPolicy::default()).unwrap();
    assert!(import(folder.path(), &whole).is_err());
    drop(held);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of the attempts");
}

fn goes_on_elsewhere(platform: &str, key: &str) {
    let simulated = simulate_platform(platform, &["--sessions=25", "--history=10", "--rate=8", "--speed=60"]);
    let mut exporter = Exporter::start(&format!(
        "  - name: sim\n    platform: {platform}\n    base_url: {}\n    api_key: {key}\n    poll_interval: 1s\n    \
         requests_per_second: 500\n    sweep_interval: 60s\n    start: beginning\n",
        simulated.url
    ));
    let page = exporter.metrics_until(|page| {
        let told = scraped(page);
        let begun = told.get("events").is_some_and(|events| *events > 500);
        if begun { Ok(()) } else { Err(format!("{told:?}")) }
    });
    exporter.kill();
    let (data, moved, lines) =
        (exporter.folder.join("data"), exporter.folder.join("old"), exporter.folder.join("lines"));
    let done = |args: &[&str]| {
        let output = run(args, &[]);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    done(&["export", "--storage.path", &data, "--out", &lines]);
    assert_eq!(
        done(&["export", "--storage.path", &data]),
        std::fs::read_to_string(&lines).expect("the program wrote it")
    );
    let inspected = |folder: &str| -> serde_json::Value {
        let mut inspected: serde_json::Value =
            serde_json::from_str(&done(&["inspect", "--json", "--storage.path", folder]))
                .expect("the program wrote it");
        // The new file is packed more closely.
        for size in ["file_bytes", "unused_bytes", "tables"] {
            inspected[size].take();
        }
        inspected
    };
    let before = (inspected(&data), done(&["verify", "--json", "--storage.path", &data]));
    std::fs::rename(&data, &moved).expect("the program wrote it");
    done(&["import", &lines, "--storage.path", &data]);
    assert_eq!((inspected(&data), done(&["verify", "--json", "--storage.path", &data])), before);

    exporter.restart();
    let told = scraped(&exporter.metrics_until(|page| {
        let truth = truth(&simulated.url);
        if truth["settled"] != true {
            return Err("the simulation did not come to its end".into());
        }
        let differences = compare(&scraped(page), &truth, &["turn_failures["]);
        if differences.is_empty() { Ok(()) } else { Err(format!("{differences:#?}")) }
    }));
    for (name, value) in scraped(&page).iter().filter(|(name, _)| !name.starts_with("active")) {
        assert!(told.get(name).is_some_and(|now| now >= value), "{name} fell from {value} to {:?}", told.get(name));
    }
    assert_eq!(exporter.stop(), Some(0));
    done(&["verify", "--storage.path", &data]);
}

#[test]
fn an_exporter_of_h_goes_on_with_what_was_imported() {
    goes_on_elsewhere("hcompany", "hk-simulated");
}

#[test]
fn an_exporter_of_everruns_goes_on_with_what_was_imported() {
    goes_on_elsewhere("everruns", "evr_pat_simulated");
}

#[test]
fn the_commands_say_what_they_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, new, file) = (path("data"), path("new"), path("lines"));
    import(Path::new(&data), &lines()).unwrap();
    let fails = |args: &[&str], says: &[&str]| {
        let output = run(args, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        for part in says {
            assert!(said.contains(part), "{args:?} does not say {part:?}: {said}");
        }
    };
    assert!(run(&["export", "--storage.path", &data, "--out", &file], &[]).status.success());
    let whole = std::fs::read_to_string(&file).unwrap();
    fails(&["export", "--storage.path", &data, "--out", &file], &["move it away", "--out"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole, "what is there is left alone");
    fails(&["import", &file, "--storage.path", &data], &["nothing was imported", "has something in it"]);
    fails(&["import", &path("nothing"), "--storage.path", &new], &["cannot read"]);
    std::fs::write(&file, &whole[..whole.len() - 40]).unwrap();
    fails(&["import", &file, "--storage.path", &new], &["nothing was imported", "cut off"]);
    let held = Journal::open(Path::new(&data), LabelPolicy::default()).unwrap();
    fails(&["export", "--storage.path", &data], &["is in use"]);
    fails(&["import", &file, "--storage.path", &data], &["is in use"]);
    drop(held);
}
