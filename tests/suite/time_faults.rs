//! Clocks that jump and times that make no sense: no total changes, and nothing is shown lower than it was. The table in
//! docs/reliability.md is about these.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_session_exporter::domain::{Clock, Event, Fact, Item, Status, Timestamp};
use agent_session_exporter::engine::Keep;
use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::{LabelPolicy, Metric, Snapshot};
use agent_session_exporter::simulator::{Platform, SimulateOptions};
use agent_session_exporter::telemetry::WallClock;

use crate::support::counters::{Lasting, fallen, lasting};
use crate::support::disk::Disk;
use crate::support::gatekeeper::{Gatekeeper, Verdict};
use crate::support::lives::at;
use crate::support::rig::{Rig, SOURCES, Setup};
use crate::support::running::{Running, id, page, report, row, sum, whole_session};
use crate::support::{Folder, compare, run, scraped_of, simulate};

const HOUR: i64 = 3_600_000_000;

fn setup() -> Setup {
    let lives = |platform| SimulateOptions {
        sessions: 40,
        history: 10,
        rate: 0.1,
        speed: 3.0,
        ..SimulateOptions::of(platform)
    };
    let seconds = Duration::from_secs;
    Setup {
        platforms: [lives(Platform::HCompany), lives(Platform::Everruns)],
        keep: Keep::default(),
        policy: LabelPolicy::default(),
        rhythm: Rhythm { poll: seconds(5), sweep: seconds(120), limits: Some(seconds(60)), concurrency: 4 },
        requests_per_second: 100.0,
        patience: seconds(86_400),
        traces: true,
        batch: 100,
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_both_ways_changes_no_total_and_shows_as_skew() {
    let mut rig = Rig::new(setup());
    let mut before = Lasting::new();
    for (round, hours) in [0, 5, -5, 11, 0, -1].into_iter().enumerate() {
        rig.ours.jump_to(hours * HOUR);
        if round > 0 && round % 2 == 0 {
            rig.kill(Disk::after_kill).await;
        }
        if !rig.is_running() {
            rig.start().await.expect("a sound disk");
        }
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(6)).await;
            let now = lasting(&rig.page());
            assert_eq!(fallen(&before, &now), [""; 0], "{hours} hours");
            before = now;
        }
        for noted in &rig.noted {
            let skew = noted.skew.load(Ordering::Relaxed);
            assert!((skew + hours * 3600).abs() <= 1, "{hours} hours ahead are seen as {skew} s");
        }
    }
    while rig.truths().iter().any(|truth| truth["settled"] != true) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let page = rig.page();
    assert_eq!(fallen(&before, &lasting(&page)), [""; 0]);
    for (source, truth) in SOURCES.into_iter().zip(rig.truths()) {
        assert_eq!(compare(&scraped_of(&page, source), &truth, &[]), [""; 0], "{source}");
    }
}

/// A jump of longer than one waits for a turn to go on gives up those that are open; each of them that ends after all has
/// begun again, and nothing else is any different.
#[tokio::test(start_paused = true)]
async fn a_jump_past_the_patience_with_turns_gives_up_those_that_are_open_and_no_more() {
    let patience = Duration::from_secs(3600);
    let mut rig = Rig::new(Setup { patience, ..setup() });
    rig.start().await.expect("a sound disk");
    tokio::time::sleep(Duration::from_secs(200)).await;
    rig.ours.jump_to(2 * HOUR);
    tokio::time::sleep(Duration::from_secs(60)).await;
    rig.ours.jump_to(0);
    while rig.truths().iter().any(|truth| truth["settled"] != true) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    // Some turns never end on the platform either.
    tokio::time::sleep(2 * patience).await;
    let page = rig.page();
    let told = scraped_of(&page, "everruns");
    let truth = &rig.truths()[1];
    let given_up = told.get("turns_finished[abandoned]").copied().unwrap_or(0);
    assert!(given_up > 3, "some were open: {given_up}");
    let over = told.iter().filter(|(name, _)| name.starts_with("turns_finished[")).map(|(_, turns)| turns).sum::<u64>();
    assert_eq!(told["turns_started"], over, "each that was given up and went on has begun again");
    let aside = ["turns_finished[abandoned]", "turns_started"];
    assert_eq!(compare(&told, truth, &aside), [""; 0]);
}

fn journal(disk: &Disk) -> Journal {
    let disk = disk.clone();
    Journal::with_backend(move || disk.clone(), LabelPolicy::default()).expect("a sound disk")
}

fn point_in_time(snapshot: &Snapshot, metric: Metric) -> u64 {
    let family = snapshot.family(metric).expect("every metric has a family");
    (0..family.heads().len()).map(|index| family.value(index)).max().unwrap_or(0)
}

#[tokio::test]
async fn events_out_of_order_and_from_the_future_count_once_and_hide_nothing() {
    let disk = Disk::default();
    let running = Running::start(journal(&disk), None);
    let ix = running.attach("one").await.ix;
    let year = 365 * 86_400;
    let Item::Page { events, .. } = page(1, 100) else { panic!("a page") };
    let events: Vec<Event<_>> = events
        .into_iter()
        .zip([100, 90, year, 20, 101, -5, 99])
        .map(|(event, second)| Event { at: at(second), ..event })
        .collect();
    let count = events.len() as u64;
    let items = vec![row(1, 100, Status::Running, 1), Item::page(id(1), 0, events.clone())];
    running.handle.report(report(ix, 200, items)).await.unwrap();
    // It comes again, and then ends in the future as well.
    running.handle.report(report(ix, 210, vec![Item::page(id(1), 0, events)])).await.unwrap();
    let message = Event { at: at(2 * year), fact: Fact::Message };
    running.handle.report(report(ix, 220, vec![Item::page(id(1), count, vec![message])])).await.unwrap();
    // Another one, at its time, is counted as ever.
    running.handle.report(report(ix, 300, whole_session(2, 230))).await.unwrap();
    let shown = running.shown().await;
    let told = |snapshot: &Snapshot| {
        [Metric::SessionsCreated, Metric::EventsIngested, Metric::Steps, Metric::InputTokens, Metric::ToolCalls]
            .map(|metric| sum(snapshot, metric))
    };
    assert_eq!(told(&shown), [2, count + 1 + 7, 2, 20, 2]);
    assert!(sum(&shown, Metric::NegativeDurations) > 0, "that durations made no sense is told");
    let newest = point_in_time(&shown, Metric::EventWatermark);
    assert!(newest <= u64::try_from(at(301).micros()).unwrap(), "the newest event is none from the future: {newest}");
    assert_eq!(told(&running.stop()), told(&shown));
    let again = Running::start(journal(&disk.after_power_failure()), None);
    assert_eq!(told(&again.stop()), told(&shown));
}

/// What counting begins with is the platform's time, by which everything else is judged; where it does not tell, ours.
#[test]
fn a_source_that_counts_from_now_begins_by_its_platforms_clock() {
    let platform = simulate(&["--history=3", "--sessions=3"]);
    let gate = Gatekeeper::before(&platform.url);
    let began = |verdict: Verdict| {
        gate.decide(move |_| verdict);
        let folder = Folder::new();
        let env = [("HAI_API_KEY", "hk-simulated"), ("HAI_API_BASE_URL", gate.url.as_str())];
        let data = folder.join("data");
        let now = WallClock.now();
        let said = run(&["serve", "--once", "--storage.path", &data], &env).stderr;
        let told = run(&["inspect", "--json", "--storage.path", &data], &[]).stdout;
        let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
        let from = Timestamp::parse(told["sources"][0]["counts_from"].as_str().expect("a time")).expect("a time");
        ((from.seconds() - now.seconds()).round(), String::from_utf8_lossy(&said).into_owned())
    };
    for (hours, verdict) in [(2.0, Verdict::Ahead(7200)), (-2.0, Verdict::Ahead(-7200))] {
        let (after, said) = began(verdict);
        assert!((after - hours * 3600.0).abs() < 60.0, "{hours} hours: {after} s: {said}");
        assert!(said.contains("the platform's clock is not ours"), "{said}");
    }
    for verdict in [Verdict::Pass, Verdict::Status(503)] {
        let (after, said) = began(verdict);
        assert!((0.0..60.0).contains(&after), "{verdict:?}: {after} s: {said}");
        assert!(!said.contains("the platform's clock"), "{said}");
    }
}
