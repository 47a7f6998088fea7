//! The exporter as a process between both simulated platforms and a collector, killed again and again at instants that
//! are drawn by chance: what is told in the end is what the platforms say of themselves, no counter ever fell from one
//! scrape to a later one, and every span has arrived, each time the same.
//!
//! `KILLS=300 SEED=7` kills it so often instead, and draws otherwise. What a kill meets depends on the machine as well:
//! the same seed is the same plan, not the same instants.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::LabelPolicy;

use crate::support::counters::{Lasting, fallen, lasting};
use crate::support::deeds::{assert_whole, comparable, differing, distinct, expected, text, told};
use crate::support::lives::at;
use crate::support::{
    Behave, Collector, Exporter, Program, asked, compare, scraped_of, simulate_platform, totals, truth,
};

/// Kills in `cargo test`.
const FEW: u64 = 30;
/// About how long it is from one kill to the next.
const APART: f64 = 1.0;
/// Of many kills the simulation is slow, and goes on for minutes behind the last.
const LONGEST_SIMULATION: Duration = Duration::from_secs(1800);
const SOURCES: [&str; 2] = ["hcompany", "everruns"];

/// Both platforms, with enough to do for so many kills.
fn platforms(kills: u64, seed: u64) -> [Program; 2] {
    let seconds = kills as f64 * APART;
    // The account tells of up to 500 sessions one by one, children included.
    let sessions = (kills * 2).clamp(40, 160);
    let options = [
        format!("--seed={seed}"),
        format!("--sessions={sessions}"),
        format!("--rate={}", sessions as f64 / seconds),
        format!("--speed={}", (600.0 / seconds).max(2.0)),
        "--history=20".into(),
        "--children-share=0.3".into(),
        "--restart-share=0.2".into(),
        "--fault-rate-429=0.005".into(),
        "--fault-rate-5xx=0.03".into(),
        "--fault-rate-cut=0.03".into(),
        "--fault-rate-slow=0.03".into(),
        "--slow-ms=300".into(),
    ];
    let of = |platform: &str, more: &[&str]| {
        let options: Vec<&str> = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
        simulate_platform(platform, &options)
    };
    [
        of("hcompany", &["--evict-after=9"]),
        of("everruns", &["--late-rate=0.05", "--gap-rate=0.05", "--missing-generations=0.1"]),
    ]
}

/// A collector that sometimes has no time, and whose answers are sometimes lost.
fn collector(seed: u64) -> Collector {
    let mut dice = fastrand::Rng::with_seed(seed);
    Collector::start(move |_| match dice.u32(0..10) {
        0 => Behave::TakeAndDeny,
        1 => Behave::Busy(0),
        2 => Behave::Full(1),
        _ => Behave::Take,
    })
}

fn exporter(platforms: &[Program; 2], collector: &Collector) -> Exporter {
    let source = |(name, program): (&str, &Program)| {
        let key = if name == "hcompany" { "hk-simulated" } else { "evr_pat_simulated" };
        format!(
            "  - {{name: {name}, platform: {name}, base_url: \"{}\", api_key: {key}, poll_interval: 1s, \
             sweep_interval: 60s, requests_per_second: 200, start: beginning}}\n",
            program.url
        )
    };
    let sources: String = SOURCES.into_iter().zip(platforms).map(source).collect();
    Exporter::start(&format!(
        "{sources}otlp: {{endpoint: \"{}\", metrics: {{enabled: false}}, traces: {{batch: 50}}}}\n",
        collector.url
    ))
}

/// An exporter and the last page that anybody saw of it.
struct Watched {
    exporter: Exporter,
    page: Lasting,
}

impl Watched {
    fn look(&mut self) {
        let now = lasting(&self.exporter.metrics());
        let fell = fallen(&self.page, &now);
        assert!(fell.is_empty(), "counters fell: {fell:#?}");
        self.page = now;
    }

    /// Gives it a configuration in which its sources are asked at another pace.
    fn change_pace(&self) {
        let before = std::fs::read_to_string(&self.exporter.config).expect("the file is ours");
        let (now, next) = if before.contains(": 200,") { (": 200,", ": 190,") } else { (": 190,", ": 200,") };
        std::fs::write(&self.exporter.config, before.replace(now, next)).expect("the file is ours");
        self.exporter.hang_up();
    }

    /// Looks at it again and again for so long.
    fn look_for(&mut self, span: Duration) {
        let until = Instant::now() + span;
        loop {
            self.look();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(150)));
        }
    }
}

/// Where what is told differs from what the platforms say of themselves.
fn differences(page: &str, collector: &Collector, platforms: &[Program; 2]) -> Vec<String> {
    let spans = collector.received(|received| distinct(&received.spans));
    let mut all = Vec::new();
    for (source, program) in SOURCES.into_iter().zip(platforms) {
        let truth = truth(&program.url);
        if truth["settled"] != true {
            return vec!["the simulation has not come to its end".to_owned()];
        }
        // Of an end that came and went while nobody looked, the reason is not known.
        let of_page = compare(&scraped_of(page, source), &truth, &["turn_failures["]);
        let of_it = spans.iter().filter(|(_, span)| text(span, "platform") == source);
        let of_it = told(&of_it.map(|(name, span)| (name.clone(), span.clone())).collect());
        let of_spans = differing(&comparable(source, of_it), &comparable(source, expected(&truth)));
        all.extend(of_page.into_iter().chain(of_spans).map(|it| format!("{source}: {it}")));
    }
    all
}

#[test]
fn kills_at_any_instant_change_nothing() {
    let (kills, seed) = (asked("KILLS").unwrap_or(FEW), asked("SEED").unwrap_or(1));
    eprintln!("KILLS={kills} SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let (platforms, collector) = (platforms(kills, seed), collector(seed));
    let mut watched = Watched { exporter: exporter(&platforms, &collector), page: Lasting::new() };
    let mut how: BTreeMap<&str, u64> = BTreeMap::new();
    for _ in 0..kills {
        // Short spans as often as long ones.
        let span = Duration::from_secs_f64((dice.f64() * (2.5_f64 / 0.003).ln()).exp() * 0.003);
        watched.look_for(span);
        match dice.u32(0..10) {
            0 => {
                *how.entry("asked to stop").or_default() += 1;
                assert_eq!(watched.exporter.stop(), Some(0));
            }
            1..=3 => {
                *how.entry("killed, and while it started").or_default() += 1;
                watched.exporter.kill();
                watched.exporter.spawn(&[]);
                std::thread::sleep(Duration::from_millis(dice.u64(0..150)));
                watched.exporter.kill();
            }
            4 => {
                *how.entry("killed while it took over a configuration").or_default() += 1;
                watched.change_pace();
                std::thread::sleep(Duration::from_millis(dice.u64(0..50)));
                watched.exporter.kill();
            }
            _ => {
                *how.entry("killed").or_default() += 1;
                watched.exporter.kill();
            }
        }
        watched.exporter.restart();
    }
    let deadline = Instant::now() + LONGEST_SIMULATION;
    while platforms.iter().any(|platform| truth(&platform.url)["settled"] != true) {
        assert!(Instant::now() < deadline, "KILLS={kills} SEED={seed}: the simulation does not come to its end");
        watched.look_for(Duration::from_secs(1));
    }
    let page = watched.exporter.metrics_until(|page| {
        let differences = differences(page, &collector, &platforms);
        if differences.is_empty() { Ok(()) } else { Err(format!("KILLS={kills} SEED={seed}: {differences:#?}")) }
    });
    let now = lasting(&page);
    assert_eq!(fallen(&watched.page, &now), [""; 0], "counters fell");
    let spans = collector.received(|received| distinct(&received.spans));
    assert_whole(&spans);
    watched.exporter.metrics_until(|page| {
        let is_empty = page.lines().any(|line| line == "agent_session_exporter_otlp_outbox_spans 0");
        if is_empty { Ok(()) } else { Err("spans are left in the outbox".into()) }
    });
    assert_eq!(watched.exporter.stop(), Some(0));
    // And the log of the store says what its totals say.
    let data = watched.exporter.folder.path().join("data");
    let journal = Journal::open_existing(&data, LabelPolicy::default()).expect("a sound store");
    let loaded = journal.load(at(0)).expect("a sound store").snapshot();
    assert_eq!(totals(&journal.refold().expect("a sound store").state.snapshot()), totals(&loaded));
    let told = collector.received(|received| received.spans.len());
    eprintln!("{how:?}; {} spans arrived, {told} with those that came again", spans.len());
    assert!(spans.len() > 1000 && told > spans.len(), "some came again");
}
