//! Days in virtual time with sessions that come, rest, end and are deleted: once retention takes away as much as comes,
//! nothing grows any more, neither in memory nor in the store, and the totals are still the truth.
//!
//! `DAYS=30` makes it a month instead of a few days.

use std::time::Duration;

use agent_session_exporter::domain::{Span, Timestamp};
use agent_session_exporter::engine::Keep;
use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::projection::{LabelPolicy, Metric};
use agent_session_exporter::simulator::{Platform, SimulateOptions};

use crate::support::disk::Disk;
use crate::support::memory;
use crate::support::rig::{Rig, SOURCES, Setup};
use crate::support::{START, asked, compare, scraped_of};

const DAY: u64 = 86_400;
/// In `cargo test`.
const FEW: u64 = 5;
/// Of so many the halves can be compared by what they hold on average.
const MANY: u64 = 20;
/// By then sessions leave as fast as they come: they are deleted after half a day, and kept for one more.
const STEADY: u64 = 3;

/// What must not grow.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Bytes that the whole of it holds in memory, platforms included but without the disk.
    memory: usize,
    /// Bytes of the store's file.
    file: usize,
    /// Bytes of the log in it.
    log: usize,
    /// Sessions known.
    sessions: usize,
    series: usize,
    names: usize,
}

impl Sizes {
    fn of(rig: &Rig) -> Self {
        let snapshot = rig.snapshot();
        let families = Metric::ALL.iter().filter_map(|metric| snapshot.family(*metric));
        Self {
            memory: usize::try_from(memory::held()).expect("it holds something") - rig.disk.held(),
            file: rig.disk.size(),
            log: usize::try_from(rig.journal().log_bytes().expect("a sound store")).expect("it is small"),
            sessions: snapshot.sources.iter().map(|source| source.active + source.settled).sum(),
            series: families.map(|family| family.heads().len()).sum(),
            names: snapshot.names.len(),
        }
    }

    fn each(self) -> [(&'static str, usize); 6] {
        let Self { memory, file, log, sessions, series, names } = self;
        [("memory", memory), ("file", file), ("log", log), ("sessions", sessions), ("series", series), ("names", names)]
    }
}

fn setup() -> Setup {
    let lives = |platform| SimulateOptions {
        history: 5,
        // One every twenty minutes, which never stops; a session takes a few.
        rate: 1.0 / 1200.0,
        speed: 0.5,
        delete_after: DAY as f64 / 2.0,
        ..SimulateOptions::of(platform)
    };
    let seconds = Duration::from_secs;
    Setup {
        platforms: [lives(Platform::HCompany), lives(Platform::Everruns)],
        keep: Keep { sessions: Some(Span::from_secs(DAY)), spans: Some(10_000) },
        policy: LabelPolicy::default(),
        rhythm: Rhythm { poll: seconds(300), sweep: seconds(3600), limits: Some(seconds(600)), concurrency: 4 },
        requests_per_second: 10.0,
        patience: seconds(DAY),
        traces: true,
        batch: 500,
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_grows_once_as_much_leaves_as_comes() {
    let days = asked("DAYS").unwrap_or(FEW);
    let mut rig = Rig::new(setup());
    rig.start().await.expect("a sound disk");
    let mut steady: Vec<Sizes> = Vec::new();
    for day in 1..=days {
        tokio::time::sleep(Duration::from_secs(DAY)).await;
        let spans = rig.forget_spans();
        rig.noted.iter().for_each(|noted| noted.forget());
        // A restart now and then, as in life.
        rig.kill(Disk::after_kill).await;
        rig.start().await.expect("a sound disk");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let sizes = Sizes::of(&rig);
        eprintln!("day {day}: {sizes:?}, {spans} spans sent");
        assert!(spans > 500, "something happens each day");
        if day >= STEADY {
            steady.push(sizes);
        }
    }
    let (first, last) = steady.split_at(steady.len() / 2);
    for (place, (what, _)) in first[0].each().into_iter().enumerate() {
        let of = |days: &[Sizes]| days.iter().map(|sizes| sizes.each()[place].1).collect::<Vec<_>>();
        let most = |days| of(days).into_iter().max().expect("there are days");
        let (before, after) = (most(first), most(last));
        // Some days are livelier than others.
        assert!(after <= before + before / 5 + 100, "{what} grows: {before}, then {after}");
        if days < MANY {
            continue;
        }
        // Over many days that evens out: a few bytes for each session that came would show. (A file grows in steps.)
        let mean = |days| of(days).iter().sum::<usize>() as f64 / days.len() as f64;
        let growth = (mean(last) - mean(first)) / mean(first);
        println!("{what}: {:+.1} % from the first half of the days to the second", 100.0 * growth);
        assert!(growth < 0.05 || what == "file", "{what} grows by {growth}");
    }
    // At some moment nothing is under way, and then both sides say the same of all those days.
    let mut differences = Vec::new();
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_secs(13)).await;
        let page = rig.page();
        let of = |(source, truth): (&str, serde_json::Value)| {
            compare(&scraped_of(&page, source), &truth, &["turns_finished[abandoned]"])
        };
        differences = SOURCES.into_iter().zip(rig.truths()).flat_map(of).collect();
        if differences.is_empty() {
            return;
        }
    }
    let now = Timestamp::from_micros(START);
    panic!("{days} days after {now}: {differences:#?}");
}
