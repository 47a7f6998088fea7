//! A damaged store is refused with what to do, or is not damaged where it matters; it never panics and never shows
//! other numbers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use agent_session_exporter::domain::{SessionNo, Status};
use agent_session_exporter::journal::{FILE_NAME, Journal, JournalError};
use agent_session_exporter::projection::{LabelPolicy, Metric, Snapshot};

use crate::support::disk::Disk;
use crate::support::lives::at;
use crate::support::running::{Running, page, report, row, whole_session};
use crate::support::{Folder, run};

fn open(disk: &Disk) -> Result<Journal, JournalError> {
    let platter = disk.clone();
    Journal::with_backend(move || platter.clone(), LabelPolicy::default())
}

/// Everything that could be shown of a journal.
fn shown(journal: &Journal) -> Result<String, JournalError> {
    let state = journal.load(at(0))?;
    let mut shown = format!("{:?} {:?}\n", numbers(&state.snapshot()), state.session_counts(ix()));
    for no in 0..u32::MAX {
        let Some(session) = journal.session(SessionNo(no))? else { break };
        shown.push_str(&format!("{session:?}\n"));
    }
    let refolded = journal.refold()?;
    shown.push_str(&format!("{:?} {} {:?}", numbers(&refolded.state.snapshot()), refolded.events, journal.outbox()?));
    Ok(shown)
}

fn ix() -> agent_session_exporter::domain::SourceIx {
    agent_session_exporter::domain::SourceIx(0)
}

fn numbers(snapshot: &Snapshot) -> Vec<String> {
    let mut numbers = Vec::new();
    for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored()) {
        let family = snapshot.family(metric).expect("every metric has a family");
        for (index, head) in family.heads().iter().enumerate() {
            numbers.push(format!("{metric:?} {:?} {:?}", head.key, family.values(index)));
        }
    }
    numbers
}

/// A journal of a few pages, closed in order; what it shows; and what the disk held, with what that would have shown,
/// before the last commit but one and before the last.
struct Written {
    closed: Vec<u8>,
    killed: Vec<u8>,
    says: String,
    said_before: String,
}

fn written() -> Written {
    let disk = Disk::default();
    let journal = open(&disk).expect("an empty disk");
    let running = Running::start(journal.clone(), None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (before, killed) = runtime.block_on(async {
        let ix = running.attach("one").await.ix;
        for number in 0..60 {
            let second = i64::from(number) * 100;
            running.handle.report(report(ix, second, whole_session(number, second))).await.expect("it is committed");
        }
        let before = disk.after_power_failure();
        let open = vec![row(60, 9000, Status::Running, 1), page(60, 9000)];
        running.handle.report(report(ix, 9000, open)).await.expect("it is committed");
        (before, disk.after_power_failure().bytes())
    });
    running.stop();
    let says = shown(&journal).expect("a readable journal");
    drop(journal);
    assert_eq!(
        shown(&open(&Disk::holding(&killed)).expect("a journal")).expect("a readable journal"),
        says,
        "what was committed survives a kill"
    );
    let said_before = shown(&open(&before).expect("a journal")).expect("a readable journal");
    assert_ne!(said_before, says);
    Written { closed: disk.bytes(), killed, says, said_before }
}

/// How a damaged file is answered: refused, or as before.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Refused,
    AsBefore,
    AsBeforeTheLastCommit,
}

fn answer(written: &Written, bytes: &[u8], what: &str) -> Answer {
    let disk = Disk::holding(bytes);
    let said = catch_unwind(AssertUnwindSafe(|| open(&disk).and_then(|journal| shown(&journal))));
    match said.unwrap_or_else(|_| panic!("{what}: it panicked")) {
        Ok(said) if said == written.says => Answer::AsBefore,
        Ok(said) if said == written.said_before => Answer::AsBeforeTheLastCommit,
        Ok(said) => panic!("{what}: it shows other numbers: {said}"),
        Err(error @ JournalError::Damaged { .. }) => {
            let text = error.to_string();
            for part in ["damaged", "put back a copy", "start: beginning", "is lost", "docs/operations.md"] {
                assert!(text.contains(part), "{what}: does not say {part:?}: {text}");
            }
            Answer::Refused
        }
        Err(error) => panic!("{what}: not refused as damaged: {error}"),
    }
}

/// Flips a bit in the header's bytes one by one, and in many of all others.
fn flips(bytes: &[u8], step: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    const HEADER: usize = 320;
    (0..HEADER).chain((HEADER..bytes.len()).step_by(step)).map(|offset| {
        let mut flipped = bytes.to_vec();
        let bit = offset % 8;
        flipped[offset] ^= 1 << bit;
        (format!("bit {bit} of byte {offset}"), flipped)
    })
}

fn count(answers: &[Answer], wanted: &Answer) -> usize {
    answers.iter().filter(|answer| *answer == wanted).count()
}

#[test]
fn flipped_bits_of_a_closed_store_are_refused_or_change_nothing() {
    let written = written();
    let answers: Vec<Answer> =
        flips(&written.closed, 193).map(|(what, bytes)| answer(&written, &bytes, &what)).collect();
    assert!(count(&answers, &Answer::Refused) > 100, "pages that are used are noticed");
    assert!(count(&answers, &Answer::AsBefore) > 100, "pages that are not used do not matter");
    assert_eq!(count(&answers, &Answer::AsBeforeTheLastCommit), 0);
}

#[test]
fn flipped_bits_of_a_killed_store_cost_the_last_commit_at_most() {
    let written = written();
    let answers: Vec<Answer> =
        flips(&written.killed, 193).map(|(what, bytes)| answer(&written, &bytes, &what)).collect();
    assert!(count(&answers, &Answer::Refused) > 50, "pages that are used are noticed");
    assert!(count(&answers, &Answer::AsBefore) > 100, "pages that are not used do not matter");
    // What looks like a commit that a loss of power cut off is one for the store, too.
    assert!(count(&answers, &Answer::AsBeforeTheLastCommit) > 0);
}

#[test]
fn stores_of_other_lengths_are_refused_or_whole() {
    let written = written();
    let whole = written.closed.len();
    let cuts = (1..64).chain((64..whole).step_by(509)).chain([whole - 1]);
    let answers: Vec<Answer> = cuts
        .map(|length| answer(&written, &written.closed[..length], &format!("cut to {length} of {whole} bytes")))
        .collect();
    assert_eq!(count(&answers, &Answer::Refused), answers.len());
    for more in [1, 4095, 4096, 1 << 20] {
        for filling in [0, 0xff] {
            let longer: Vec<u8> = written.closed.iter().copied().chain(std::iter::repeat_n(filling, more)).collect();
            answer(&written, &longer, &format!("{more} bytes of {filling} more"));
        }
    }
    // Pages that were never written, as after a copy that lost some.
    for page in 0..whole / 4096 {
        let mut holed = written.closed.clone();
        holed[page * 4096..(page + 1) * 4096].fill(0);
        answer(&written, &holed, &format!("page {page} is zeros"));
    }
}

#[test]
fn every_command_refuses_a_damaged_store_without_a_panic() {
    let written = written();
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let file = folder.path().join("data").join(FILE_NAME);
    let data = folder.join("data");
    let mut holed = written.closed.clone();
    holed[8192..40960].fill(0);
    let damages: [(&str, &[u8]); 4] =
        [("empty", &[]), ("cut", &written.closed[..50_000]), ("holed", &holed), ("text", b"not a journal")];
    let key = [("HAI_API_KEY", "hk-none"), ("HAI_API_BASE_URL", "http://127.0.0.1:9")];
    for (damage, bytes) in damages {
        for (command, code) in
            [(vec!["serve", "--once"], 2), (vec!["sessions"], 1), (vec!["show", "some-id"], 1), (vec!["inspect"], 1)]
        {
            std::fs::write(&file, bytes).unwrap();
            let args = [&command[..], &["--storage.path", &data]].concat();
            let output = run(&args, &key);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{damage}, {args:?}: {said}");
            assert!(said.contains("is damaged") && said.contains("start: beginning"), "{damage}, {args:?}: {said}");
            assert!(!said.contains("panicked"), "{damage}, {args:?}: {said}");
            assert_eq!(std::fs::read(&file).unwrap(), bytes, "{damage}, {args:?} left it as it was");
        }
    }
}
