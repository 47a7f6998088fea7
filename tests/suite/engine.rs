//! The engine against a disk that fails: nothing is shown that is not kept, and what is repeated counts once.

use std::time::Duration;

use agent_session_exporter::domain::{Item, SourceIx};
use agent_session_exporter::engine::EngineError;
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::{LabelPolicy, Metric, Snapshot};

use crate::support::disk::Disk;
use crate::support::running::{Running, id, report, sum, whole_session};

fn journal(disk: &Disk) -> Journal {
    let disk = disk.clone();
    Journal::with_backend(move || disk.clone(), LabelPolicy::default()).expect("a sound disk")
}

/// Sessions, steps, tokens, events, ends.
fn counts(snapshot: &Snapshot) -> [u64; 5] {
    [Metric::SessionsCreated, Metric::Steps, Metric::InputTokens, Metric::EventsIngested, Metric::SessionsFinished]
        .map(|metric| sum(snapshot, metric))
}

#[tokio::test]
async fn a_failed_commit_shows_nothing_and_its_repetition_counts_once() {
    let disk = Disk::default();
    let running = Running::start(journal(&disk), None);
    let ix = running.attach("one").await.ix;
    running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
    assert_eq!(counts(&running.shown().await), [1, 1, 10, 7, 1]);

    disk.fail(0, 1);
    let refused = running.handle.report(report(ix, 100, whole_session(2, 100))).await;
    assert!(matches!(refused, Err(EngineError::Store(_))), "{refused:?}");
    assert_eq!(running.seen.failures.lock().unwrap().len(), 1);
    assert_eq!(counts(&running.shown().await), [1, 1, 10, 7, 1], "nothing of it is shown");

    running.handle.report(report(ix, 100, whole_session(2, 100))).await.unwrap();
    assert_eq!(counts(&running.stop()), [2, 2, 20, 14, 2]);
    let kept = Running::start(journal(&disk.after_power_failure()), None);
    assert_eq!(counts(&kept.stop()), [2, 2, 20, 14, 2]);
}

#[tokio::test]
async fn whichever_write_of_a_commit_fails_the_totals_come_out_right() {
    for broken in 0.. {
        let disk = Disk::default();
        let running = Running::start(journal(&disk), None);
        let ix = running.attach("one").await.ix;
        running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
        disk.fail(broken, 1);
        let first = running.handle.report(report(ix, 100, whole_session(2, 100))).await;
        disk.mend();
        // Its last sync may fail after everything is written: then it is kept all the same, and comes again.
        running.handle.report(report(ix, 100, whole_session(2, 100))).await.unwrap();
        assert_eq!(counts(&running.stop()), [2, 2, 20, 14, 2], "change {broken}");
        if first.is_ok() {
            assert!(broken > 3, "a commit is several changes");
            return;
        }
    }
}

#[tokio::test]
async fn whenever_the_power_fails_the_totals_come_out_right() {
    for cut in 0.. {
        let disk = Disk::default();
        let running = Running::start(journal(&disk), None);
        let ix = running.attach("one").await.ix;
        running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
        let before = disk.changes();
        disk.fail(cut, u64::MAX);
        let handle = running.handle.clone();
        // The engine goes on trying to reach its disk; its process is dead all the same.
        let dead = tokio::spawn(async move { handle.report(report(ix, 100, whole_session(2, 100))).await });
        while disk.changes() <= before + cut && !dead.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let was_whole = dead.is_finished() && dead.await.expect("it does not panic").is_ok();
        let revived = Running::start(journal(&disk.after_power_failure()), None);
        revived.attach("one").await;
        revived.handle.report(report(ix, 100, whole_session(2, 100))).await.unwrap();
        assert_eq!(counts(&revived.stop()), [2, 2, 20, 14, 2], "change {cut}");
        disk.mend();
        if was_whole {
            assert!(cut > 3, "a commit is several changes");
            return;
        }
    }
}

#[tokio::test]
async fn a_disk_that_stays_broken_for_a_while_is_waited_for() {
    let disk = Disk::default();
    let running = Running::start(journal(&disk), None);
    let ix = running.attach("one").await.ix;
    running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
    disk.fail(0, u64::MAX);
    let mender = disk.clone();
    let seen = running.seen.clone();
    std::thread::spawn(move || {
        while seen.failures.lock().is_ok_and(|failures| failures.len() < 3) {
            std::thread::sleep(Duration::from_millis(5));
        }
        mender.mend();
    });
    running.handle.report(report(ix, 100, whole_session(2, 100))).await.unwrap_err();
    running.handle.report(report(ix, 100, whole_session(2, 100))).await.unwrap();
    assert_eq!(counts(&running.stop()), [2, 2, 20, 14, 2]);
}

#[tokio::test]
async fn a_store_that_fails_to_the_end_does_not_hold_up_the_end() {
    let disk = Disk::default();
    let running = Running::start(journal(&disk), None);
    let ix = running.attach("one").await.ix;
    running.handle.report(report(ix, 0, whole_session(1, 0))).await.unwrap();
    disk.fail(0, u64::MAX);
    running.handle.report(report(ix, 100, whole_session(2, 100))).await.unwrap_err();
    let waiting = running.handle.clone();
    let waiting = tokio::spawn(async move { waiting.report(report(ix, 100, whole_session(2, 100))).await });
    while running.seen.failures.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    waiting.abort();
    let _ = waiting.await;
    let error = running.end().unwrap_err();
    assert!(error.to_string().contains("no space left on device"), "{error}");
    let kept = Running::start(journal(&disk.after_kill()), None);
    assert_eq!(counts(&kept.stop()), [1, 1, 10, 7, 1]);
}

#[tokio::test]
async fn what_is_stored_of_a_source_is_shown_before_it_enters() {
    let disk = Disk::default();
    let running = Running::start(journal(&disk), None);
    for name in ["one", "two"] {
        let ix = running.attach(name).await.ix;
        let number = u32::from(ix.0);
        running.handle.report(report(ix, 0, whole_session(number, 0))).await.unwrap();
    }
    running.stop();
    let again = Running::start(journal(&disk), None);
    let shown = again.showing();
    let attached: Vec<(&str, bool)> = shown.sources.iter().map(|it| (it.name.as_str(), it.attached)).collect();
    assert_eq!(attached, [("one", true), ("two", false)], "only one of them is still configured");
    again.stop();
}

#[tokio::test]
async fn a_source_whose_first_commit_fails_keeps_its_number() {
    let disk = Disk::default();
    let running = Running::start(journal(&disk), None);
    disk.fail(0, 1);
    let (one, two) = (running.attach("one").await.ix, running.attach("two").await.ix);
    let _ = running.handle.report(report(two, 0, whole_session(1, 0))).await;
    disk.mend();
    running.handle.report(report(two, 100, whole_session(2, 100))).await.unwrap();
    running.handle.report(report(one, 100, whole_session(3, 100))).await.unwrap();
    let shown = running.stop();
    let names: Vec<&str> = shown.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!((one, two, names), (SourceIx(0), SourceIx(1), vec!["one", "two"]));
}

#[tokio::test]
async fn a_report_in_error_is_refused_and_those_beside_it_are_repeated() {
    let disk = Disk::default();
    let running = Running::start(journal(&disk), None);
    let ix = running.attach("one").await.ix;
    let unknown = vec![Item::read_up_to(id(77), None)];
    // Sent together, so that some of them stand in the same group.
    let sent: Vec<_> = (0..60)
        .map(|number| {
            let items = if number % 3 == 1 { unknown.clone() } else { whole_session(number, i64::from(number)) };
            let (handle, number) = (running.handle.clone(), number);
            tokio::spawn(async move { (number, handle.report(report(ix, 0, items)).await) })
        })
        .collect();
    let mut repeated = Vec::new();
    for sent in sent {
        match sent.await.unwrap() {
            (number, Err(error)) if number % 3 == 1 => {
                assert!(matches!(error, EngineError::Report(_)), "{error:?}");
            }
            (number, Err(error)) => {
                assert!(matches!(error, EngineError::Store(_)), "the engine is at work: {error:?}");
                repeated.push(number);
            }
            (_, Ok(_)) => {}
        }
    }
    for number in repeated {
        running.handle.report(report(ix, 0, whole_session(number, i64::from(number)))).await.unwrap();
    }
    assert_eq!(counts(&running.stop()), [40, 40, 400, 280, 40]);
}
