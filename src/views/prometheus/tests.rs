//! The encoder as a whole: golden documents, the hold of new series, what is left out, and what is remembered.

use std::sync::Arc;

use prometheus::{HistogramOpts, IntCounter, Registry};
use smol_str::SmolStr;

use super::{Exposition, Format, Hold};
use crate::domain::{ConcurrencyLimit, Limits, NameId, SourceIx, Span, Timestamp, TokenLimit};
use crate::projection::{Families, LabelPolicy, Metric, Names, SeriesKey, Snapshot, SourceView};

/// When the process of these tests started, and how long it holds new series.
pub(super) const START: Timestamp = Timestamp::from_micros(1_795_185_000_000_000);
pub(super) const HOLD: Hold = Hold { span: Span::from_secs(30), since: START };

pub(super) fn after(seconds: u64) -> Timestamp {
    START.plus(Span::from_secs(seconds))
}

/// A small world to render.
pub(super) struct World {
    names: Names,
    pub(super) families: Families,
    sources: Vec<SourceView>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world =
            Self { names: Names::new(LabelPolicy::default()), families: Families::new(10), sources: Vec::new() };
        world.source("prod", "hcompany", true);
        world
    }

    fn source(&mut self, name: &str, platform: &str, attached: bool) {
        self.sources.push(SourceView {
            name: name.into(),
            platform: platform.into(),
            attached,
            ..SourceView::default()
        });
    }

    pub(super) fn key(&mut self, source: u16, agent: &str, labels: &[&str]) -> SeriesKey {
        let mut name = |text: &str| if text.is_empty() { Names::NONE } else { self.names.foreign(text) };
        let agent = name(agent);
        let mut ids = [Names::NONE; 2];
        for (id, label) in ids.iter_mut().zip(labels) {
            *id = name(label);
        }
        SeriesKey { source: SourceIx(source), agent, labels: ids }
    }

    pub(super) fn add(&mut self, metric: Metric, agent: &str, labels: &[&str], amount: u64, born: Timestamp) {
        let key = self.key(0, agent, labels);
        self.families.add(metric, key, amount, born);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            names: self.names.texts(),
            families: self.families.share(),
            overflowed: Metric::ALL.iter().map(|&metric| self.families.overflowed(metric)).collect(),
            label_sets: Metric::ALL.iter().map(|&metric| self.families.label_sets(metric) as u64).collect(),
            max_series: self.families.max_series() as u64,
            sources: Arc::from(self.sources.clone()),
        }
    }

    fn render(&self, format: Format, now: Timestamp) -> String {
        render(&Exposition::new(HOLD), &self.snapshot(), format, now)
    }
}

fn render(exposition: &Exposition, snapshot: &Snapshot, format: Format, now: Timestamp) -> String {
    String::from_utf8(exposition.render(snapshot, &[], format, now)).unwrap()
}

/// The samples of a family, its buckets and the like included.
fn samples<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(name)).collect()
}

const NASTY: &str = "say \"hi\"\\now\n🦀 ünï";

pub(super) fn golden_world() -> World {
    let mut world = World::new();
    world.add(Metric::Sessions, NASTY, &["running"], 3, START);
    world.add(Metric::Sessions, "plain", &["idle"], 0, START);
    world.add(Metric::SessionsCreated, NASTY, &[], 18_000_000_000_000_000_000, START);
    world.add(Metric::Cost, "plain", &["gpt \\ 5", "platform"], 12_005_844_100, START);
    let key = world.key(0, "plain", &["search"]);
    for millis in [40, 50, 51, 700_000] {
        world.families.observe(Metric::ToolCallDuration, key, millis * 1000, START, None);
    }
    let key = world.key(0, "plain", &["completed"]);
    world.families.raise(Metric::LastFinished, key, START.plus(Span::from_micros(120)), START);
    let key = world.key(0, "plain", &["failed"]);
    world.families.raise(Metric::LastFinished, key, Timestamp::default(), START);
    world.add(Metric::EventsIngested, "", &[], 7, START);
    world.sources[0].limits = Limits {
        concurrency: Some(ConcurrencyLimit { scope: "org".into(), limit: 20, active: 3 }),
        tokens: Some(TokenLimit { limit: None, used: Some(1_000_000) }),
    };
    world
}

/// The golden documents leave out the families that tell how full the metrics are: two dozen lines that are all alike.
fn without_fullness(text: &str) -> String {
    text.lines()
        .filter(|line| !line.contains("agent_session_exporter_series"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn golden_text() {
    insta::assert_snapshot!(without_fullness(&golden_world().render(Format::Text, after(60))));
}

#[test]
fn golden_open_metrics() {
    insta::assert_snapshot!(without_fullness(&golden_world().render(Format::OpenMetrics, after(60))));
}

#[test]
fn both_formats_have_the_same_samples() {
    let world = golden_world();
    let [text, open] = [Format::Text, Format::OpenMetrics].map(|format| world.render(format, after(60)));
    let samples =
        |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert!(samples(&text).len() > 40);
    assert_eq!(samples(&text), samples(&open));
}

#[test]
fn new_series_are_held_at_zero() {
    let mut world = World::new();
    world.add(Metric::Steps, "old", &[], 5, after(0));
    world.add(Metric::Steps, "new", &[], 6, after(100));
    world.add(Metric::Cost, "new", &["m", "platform"], 6, after(100));
    world.add(Metric::Sessions, "new", &["idle"], 7, after(100));
    let key = world.key(0, "new", &[]);
    world.families.observe(Metric::SessionQueue, key, 3_000_000, after(100), None);

    let during = world.render(Format::Text, after(129));
    assert_eq!(samples(&during, "agent_steps_total{").len(), 2);
    assert!(samples(&during, "agent_steps_total{")[0].ends_with(" 5"), "it was there at the start: {during}");
    assert!(samples(&during, "agent_steps_total{")[1].ends_with(" 0"));
    assert!(samples(&during, "agent_cost_usd_total")[0].ends_with(" 0"));
    assert!(samples(&during, "agent_sessions{")[0].ends_with(" 7"), "gauges need no hold");
    let queue = samples(&during, "agent_session_queue_seconds");
    assert_eq!(queue.len(), 17);
    assert!(queue.iter().all(|line| line.ends_with(" 0")), "{queue:?}");

    let later = world.render(Format::Text, after(130));
    assert!(samples(&later, "agent_steps_total{")[1].ends_with(" 6"));
    let queue = samples(&later, "agent_session_queue_seconds");
    assert!(queue[14].ends_with(" 1") && queue[14].contains("+Inf"));
    assert!(queue[15].starts_with("agent_session_queue_seconds_sum{") && queue[15].ends_with(" 3"));
    assert!(queue[16].starts_with("agent_session_queue_seconds_count{") && queue[16].ends_with(" 1"));
}

#[test]
fn sources_that_are_not_watched_are_not_shown() {
    let mut world = golden_world();
    world.source("old", "everruns", false);
    let key = world.key(1, "ghost", &[]);
    world.families.add(Metric::Steps, key, 1, START);
    let text = world.render(Format::Text, after(60));
    assert!(!text.contains("ghost") && !text.contains("agent_steps_total{"), "{text}");
    assert!(!text.contains("TYPE agent_steps_total"), "a family without series is left out");
    world.sources[0].attached = false;
    assert_eq!(without_fullness(&world.render(Format::OpenMetrics, after(60))), "# EOF\n");
}

#[test]
fn nothing_is_valid_too() {
    let exposition = Exposition::new(HOLD);
    assert_eq!(render(&exposition, &Snapshot::default(), Format::Text, START), "");
    assert_eq!(render(&exposition, &Snapshot::default(), Format::OpenMetrics, START), "# EOF\n");
}

/// What a page says of the steps of this agent.
fn steps_of(agent: &str, page: &str) -> Option<String> {
    let name = format!("agent_steps_total{{source=\"prod\",platform=\"hcompany\",agent=\"{agent}\"}} ");
    page.lines().find_map(|line| Some(line.strip_prefix(&name)?.to_owned()))
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_again() {
    let mut world = World::new();
    world.add(Metric::Steps, "shown", &[], 7, after(3600));
    let exposition = Exposition::new(HOLD);
    let steps = |agent: &str, world: &World, at: Timestamp| {
        steps_of(agent, &render(&exposition, &world.snapshot(), Format::Text, at)).expect("it is there")
    };
    assert_eq!(steps("shown", &world, after(3600)), "0");
    assert_eq!(steps("shown", &world, after(3631)), "7");
    // Hardly, so that it would be young again; and by an hour, so that it was born in the future.
    assert_eq!(steps("shown", &world, after(3621)), "7");
    assert_eq!(steps("shown", &world, after(31)), "7");
    // One that is held just then is held on, and no longer than for its time.
    world.add(Metric::Steps, "held", &[], 1, after(3640));
    assert_eq!(steps("held", &world, after(41)), "0");
    assert_eq!(steps("held", &world, after(75)), "1");
    // Born while the clock was an hour ahead, and nobody looked meanwhile.
    world.add(Metric::Steps, "ahead", &[], 3, after(9000));
    assert_eq!(steps("ahead", &world, after(80)), "0");
    assert_eq!(steps("ahead", &world, after(115)), "3");
}

#[test]
fn what_was_shown_before_a_restart_is_not_held_whatever_the_clock_says() {
    let mut world = World::new();
    world.add(Metric::Steps, "shown", &[], 7, after(3600));
    let restored = world.snapshot();
    // The clock was an hour ahead, and is right again.
    let exposition = Exposition::new(Hold::after_restart(HOLD.span, &restored, after(60)));
    for at in [60, 3599, 3601, 3629] {
        let page = render(&exposition, &restored, Format::Text, after(at));
        assert_eq!(steps_of("shown", &page).as_deref(), Some("7"), "{at} s later");
    }
    world.add(Metric::Steps, "new", &[], 1, after(3700));
    let page = render(&exposition, &world.snapshot(), Format::Text, after(3701));
    assert_eq!(steps_of("new", &page).as_deref(), Some("0"));
}

#[test]
fn overflow_is_told() {
    let mut world = World::new();
    for i in 0..12 {
        world.add(Metric::ToolCalls, "a", &[&format!("tool {i}")], 1, START);
    }
    let text = world.render(Format::Text, after(60));
    let about = |name: &str| {
        let start = format!("agent_session_exporter_{name}{{metric=\"agent_tool_calls_total\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
    };
    assert_eq!(about("series"), "10");
    assert_eq!(about("series_limit"), "10");
    assert_eq!(about("series_overflow_total"), "2");
    assert!(text.contains("agent=\"__overflow__\",tool=\"__overflow__\"} 2"), "{text}");
}

/// Whatever was rendered before, the next rendering says what a first one would.
#[test]
fn what_is_remembered_never_shows() {
    let exposition = Exposition::new(HOLD);
    let check = |world: &World| {
        let snapshot = world.snapshot();
        let remembered = render(&exposition, &snapshot, Format::Text, after(60));
        assert_eq!(remembered, world.render(Format::Text, after(60)));
    };
    let mut world = golden_world();
    check(&world);
    world.add(Metric::Steps, "grown", &[], 1, START);
    world.add(Metric::Sessions, "grown", &["idle"], 1, START);
    check(&world);

    // Rebuilt after a failed commit: the names and series since the last good one came in another order.
    let mut rebuilt = golden_world();
    rebuilt.add(Metric::Sessions, "other", &["paused"], 1, START);
    rebuilt.add(Metric::Steps, "grown", &[], 2, START);
    check(&rebuilt);
    check(&world);

    let mut shorter = World::new();
    shorter.add(Metric::Steps, "first", &[], 1, START);
    check(&shorter);

    // The same numbers of names, of a state with other texts.
    let renumbered = |text: &str| {
        let mut world = World::new();
        let id: NameId = world.names.foreign(text);
        let key = SeriesKey { source: SourceIx(0), agent: id, labels: [Names::NONE; 2] };
        world.families.add(Metric::Steps, key, 1, START);
        world
    };
    check(&renumbered("one"));
    check(&renumbered("two"));
    let mut moved = renumbered("two");
    moved.sources[0].name = SmolStr::new("renamed");
    check(&moved);
}

#[test]
fn own_instruments_share_the_format() {
    let registry = Registry::new();
    let odd = IntCounter::new("odd_things_total", "Not in the catalogue: \"quoted\"\\").unwrap();
    odd.inc_by(3);
    registry.register(Box::new(odd)).unwrap();
    let options = HistogramOpts::new("agent_session_exporter_journal_commit_duration_seconds", "x");
    let commits = prometheus::Histogram::with_opts(options.buckets(vec![0.0005, 1.0])).unwrap();
    commits.observe(0.25);
    registry.register(Box::new(commits)).unwrap();
    let exposition = Exposition::new(HOLD);
    let [text, open] = [Format::Text, Format::OpenMetrics].map(|format| {
        String::from_utf8(exposition.render(&Snapshot::default(), &registry.gather(), format, START)).unwrap()
    });
    insta::assert_snapshot!(text + &open);
}
