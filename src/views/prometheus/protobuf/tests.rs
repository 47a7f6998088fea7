//! The stream decoded again: number for number the text page, and exponential buckets that add up.

use std::collections::BTreeMap;

use prometheus::{HistogramOpts, IntCounter, Registry};
use prost::Message;

use super::messages::{Histogram, LabelPair, MetricFamily, MetricType};
use crate::domain::{SpanId, TraceContext, TraceId};
use crate::projection::{Exemplar, Metric};
use crate::views::prometheus::tests::{HOLD, START, World, after, golden_world};
use crate::views::prometheus::write;
use crate::views::prometheus::{Exposition, Format};

fn decoded(mut stream: &[u8]) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    while !stream.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut stream).unwrap());
    }
    families
}

fn rendered(world: &World) -> Vec<MetricFamily> {
    decoded(&Exposition::new(HOLD).render(&world.snapshot(), &[], Format::Protobuf, after(60)))
}

fn labels(pairs: &[LabelPair]) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, LabelPair { name, value }) in pairs.iter().enumerate() {
        write::label(&mut out, place == 0, name.as_deref().unwrap(), value.as_deref().unwrap());
    }
    out
}

/// Samples under the names that text gives them.
fn samples(families: &[MetricFamily]) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut add = |start: Vec<u8>, value: f64| {
        assert_eq!(samples.insert(String::from_utf8(start).unwrap(), value), None, "a sample is there once");
    };
    for family in families {
        let name = family.name.as_deref().unwrap();
        let kind = MetricType::try_from(family.kind.unwrap()).unwrap();
        for metric in &family.metric {
            let labels = labels(&metric.label);
            let line = |suffix: &str| {
                let mut out = Vec::new();
                write::sample(&mut out, name, suffix, &labels);
                out
            };
            match kind {
                MetricType::Counter => add(line(""), metric.counter.as_ref().unwrap().value.unwrap()),
                MetricType::Gauge => add(line(""), metric.gauge.as_ref().unwrap().value.unwrap()),
                MetricType::Histogram => {
                    let histogram = metric.histogram.as_ref().unwrap();
                    for bucket in &histogram.bucket {
                        let mut out = Vec::new();
                        write::bucket(&mut out, name, &labels, &write::bound(bucket.upper_bound.unwrap()));
                        add(out, bucket.cumulative_count.unwrap() as f64);
                    }
                    add(line("_sum"), histogram.sample_sum.unwrap());
                    add(line("_count"), histogram.sample_count.unwrap() as f64);
                }
            }
        }
    }
    samples
}

fn of_text(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (start, value) = line.rsplit_once(' ').unwrap();
        (format!("{start} "), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

/// What is said of families: name, type, help, unit.
fn about(families: &[MetricFamily]) -> Vec<String> {
    let mut lines = Vec::new();
    for family in families {
        let (name, help) = (family.name.as_deref().unwrap(), family.help.as_deref().unwrap());
        let kind = MetricType::try_from(family.kind.unwrap()).unwrap();
        lines.push(format!("# HELP {name} {help}"));
        lines.push(format!("# TYPE {name} {}", format!("{kind:?}").to_lowercase()));
    }
    lines
}

/// Buckets by number, as a reader puts them together.
fn expanded(histogram: &Histogram) -> Vec<(i32, u64)> {
    let mut deltas = histogram.positive_delta.iter();
    let (mut place, mut count) = (0, 0);
    let mut buckets = Vec::new();
    for span in &histogram.positive_span {
        place += span.offset.unwrap();
        for _ in 0..span.length.unwrap() {
            count += deltas.next().unwrap();
            buckets.push((place, u64::try_from(count).unwrap()));
            place += 1;
        }
    }
    assert_eq!(deltas.next(), None);
    buckets
}

fn histogram<'a>(families: &'a [MetricFamily], name: &str) -> &'a Histogram {
    let family = families.iter().find(|family| family.name.as_deref() == Some(name)).unwrap();
    family.metric[0].histogram.as_ref().unwrap()
}

fn own() -> Vec<prometheus::proto::MetricFamily> {
    let registry = Registry::new();
    let commits = IntCounter::new("agent_session_exporter_journal_commits_total", "x").unwrap();
    commits.inc_by(3);
    registry.register(Box::new(commits)).unwrap();
    let options = HistogramOpts::new("agent_session_exporter_journal_commit_duration_seconds", "x");
    let took = prometheus::Histogram::with_opts(options.buckets(vec![0.0005, 1.0])).unwrap();
    took.observe(0.25);
    registry.register(Box::new(took)).unwrap();
    registry.gather()
}

#[test]
fn the_numbers_are_those_of_the_text_page() {
    let mut world = golden_world();
    // One that is held, with observations that must not show.
    let key = world.key(0, "new", &["search"]);
    world.families.observe(Metric::ToolCallDuration, key, 70_000, after(50), None);
    world.add(Metric::Steps, "new", &[], 6, after(50));
    let exposition = Exposition::new(HOLD);
    let [text, protobuf] =
        [Format::Text, Format::Protobuf].map(|format| exposition.render(&world.snapshot(), &own(), format, after(60)));
    let (text, families) = (String::from_utf8(text).unwrap(), decoded(&protobuf));
    let (shown, told) = (of_text(&text), samples(&families));
    assert!(shown.len() > 100, "{}", shown.len());
    assert_eq!(told, shown);
    // Text explains a backslash in a help by two; none of ours has one.
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(about(&families).iter().filter(|line| !lines.contains(&line.as_str())).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(about(&families).len(), lines.len());
    let unit = |name: &str| families.iter().find(|it| it.name.as_deref() == Some(name)).unwrap().unit.clone();
    assert_eq!(unit("agent_tool_call_duration_seconds").as_deref(), Some("seconds"));
    assert_eq!(unit("agent_cost_usd_total").as_deref(), Some("usd"));
    assert_eq!(unit("agent_steps_total"), None);
}

#[test]
fn exponential_buckets_add_up_to_the_classic_ones() {
    let families = rendered(&golden_world());
    let told = histogram(&families, "agent_tool_call_duration_seconds");
    assert_eq!((told.schema, told.zero_count), (Some(3), Some(0)));
    assert_eq!(told.zero_threshold, Some(2f64.powi(-128)));
    // 40 ms, 50 ms, 51 ms and 700 s: the second and the third share a bucket, though a classic bound lies between them.
    let buckets = expanded(told);
    let within = |seconds: f64, bucket: i32| {
        2f64.powf(f64::from(bucket - 1) / 8.0) < seconds && seconds <= 2f64.powf(f64::from(bucket) / 8.0)
    };
    assert_eq!(buckets.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 2, 1], "{buckets:?}");
    for (seconds, place) in [(0.04, 0), (0.05, 1), (0.051, 1), (700.0, 2)] {
        assert!(within(seconds, buckets[place].0), "{seconds} in {buckets:?}");
    }
    assert_eq!(buckets.iter().map(|(_, count)| *count).sum::<u64>(), told.sample_count.unwrap());
    assert_eq!(told.created.unwrap().seconds, START.micros() / 1_000_000);
}

#[test]
fn a_held_histogram_has_exponential_buckets_without_anything_in_them() {
    let mut world = World::new();
    let key = world.key(0, "new", &["search"]);
    world.families.observe(Metric::ToolCallDuration, key, 70_000, after(50), Some(exemplar()));
    let families = rendered(&world);
    let held = histogram(&families, "agent_tool_call_duration_seconds");
    assert_eq!((held.sample_count, held.zero_count, held.sample_sum), (Some(0), Some(0), Some(0.0)));
    assert!(held.positive_span.is_empty() && held.positive_delta.is_empty() && held.schema.is_some());
    assert!(held.bucket.iter().all(|bucket| bucket.exemplar.is_none()));
    let page = |now| Exposition::new(HOLD).render(&world.snapshot(), &[], Format::OpenMetrics, now);
    let exemplars = |now| String::from_utf8(page(now)).unwrap().matches("trace_id").count();
    assert_eq!((exemplars(after(60)), exemplars(after(80))), (0, 1), "text has its exemplar when the hold is over");
}

#[test]
fn instruments_have_classic_buckets_only() {
    let exposition = Exposition::new(HOLD);
    let families = decoded(&exposition.render(&Default::default(), &own(), Format::Protobuf, after(60)));
    let told = histogram(&families, "agent_session_exporter_journal_commit_duration_seconds");
    assert_eq!((told.schema, told.zero_threshold, told.sample_count), (None, None, Some(1)));
    assert_eq!(told.bucket.len(), 3);
}

fn exemplar() -> Exemplar {
    let context = TraceContext { trace: TraceId::new(0xabc).unwrap(), span: SpanId::new(0x12).unwrap() };
    Exemplar { context, at: after(7) }
}

#[test]
fn exemplars_stand_in_the_bucket_of_their_observation() {
    let mut world = golden_world();
    let key = world.key(0, "plain", &["search"]);
    world.families.observe(Metric::ToolCallDuration, key, 60_000, START, Some(exemplar()));
    world.families.observe(Metric::ToolCallDuration, key, 70_500, START, Some(exemplar()));
    let families = rendered(&world);
    let told = histogram(&families, "agent_tool_call_duration_seconds");
    let with: Vec<_> = told.bucket.iter().filter_map(|it| Some((it.upper_bound?, it.exemplar.as_ref()?))).collect();
    let [(0.1, found)] = with.as_slice() else { panic!("one bucket has the latest: {with:?}") };
    assert_eq!(found.value, Some(0.0705));
    assert_eq!(found.timestamp.unwrap().seconds, after(7).micros() / 1_000_000);
    let labels = String::from_utf8(labels(&found.label)).unwrap();
    assert_eq!(labels, r#"trace_id="00000000000000000000000000000abc",span_id="0000000000000012""#);

    let page =
        |format| String::from_utf8(Exposition::new(HOLD).render(&world.snapshot(), &[], format, after(60))).unwrap();
    let end = format!(" # {{{labels}}} 0.0705 1795185007");
    let open = page(Format::OpenMetrics);
    let lines: Vec<_> = open.lines().filter(|line| line.contains(" # {")).collect();
    assert!(
        matches!(lines.as_slice(), [line] if line.contains("le=\"0.1\"} 5 #") && line.ends_with(&end)),
        "{lines:?}"
    );
    assert!(!page(Format::Text).contains("trace_id"));
}
