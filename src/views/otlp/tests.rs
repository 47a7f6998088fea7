//! Names as the official translation gives them back; exponential buckets, exemplars, and the GenAI instruments.

use std::sync::Arc;

use opentelemetry_proto::tonic::metrics::v1::{exemplar, metric::Data};

use super::*;
use crate::domain::{NameId, SourceIx, Span, SpanId, TraceContext, TraceId};
use crate::projection::{Exemplar, Families, LabelPolicy, Metric as Folded, Names, SeriesKey, SourceView};
use crate::views::catalog;

const START: Timestamp = Timestamp::from_micros(1_795_185_000_000_000);
const NOW: Timestamp = Timestamp::from_micros(1_795_185_060_000_000);

/// What a collector or Prometheus makes of an OTLP name: invalid characters become underscores, the unit is appended
/// unless the name ends with it, counters end in `_total` (OpenTelemetry specification, compatibility with Prometheus).
fn translated(name: &str, unit: &str, is_monotonic_sum: bool) -> String {
    let mut translated: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let unit = match unit {
        "s" => "seconds",
        "By" => "bytes",
        braces if braces.starts_with('{') => "",
        other => other,
    };
    if !unit.is_empty() && !translated.ends_with(&format!("_{unit}")) {
        translated = format!("{translated}_{unit}");
    }
    if is_monotonic_sum && !translated.ends_with("_total") {
        translated.push_str("_total");
    }
    translated
}

#[test]
fn every_name_comes_back_as_it_is_scraped() {
    let mut seen = std::collections::HashSet::new();
    for row in catalog::rows() {
        let name = name(row);
        assert_eq!(translated(&name, unit(row), is_sum(row)), row.name, "{name}");
        assert!(name.contains('.') && seen.insert(name.clone()), "{name}");
    }
    let of = |scraped| name(catalog::find(scraped).unwrap());
    assert_eq!(of("agent_session_duration_seconds"), "agent.session.duration");
    assert_eq!(of("agent_input_tokens_total"), "agent.input.tokens");
    assert_eq!(of("agent_session_exporter_api_requests_total"), "agent_session_exporter.api.requests");
}

struct World {
    names: Names,
    families: Families,
}

impl World {
    fn new() -> Self {
        Self { names: Names::new(LabelPolicy::default()), families: Families::new(10) }
    }

    fn observe(&mut self, metric: Folded, labels: [&str; 2], value: u64, trace: Option<Exemplar>) {
        let mut name = |text: &str| if text.is_empty() { Names::NONE } else { self.names.foreign(text) };
        let agent: NameId = name("web");
        let key = SeriesKey { source: SourceIx(0), agent, labels: labels.map(name) };
        self.families.observe(metric, key, value, START, trace);
    }

    fn told(&self, options: Options) -> Vec<Metric> {
        self.told_at(options, NOW)
    }

    fn told_at(&self, options: Options, now: Timestamp) -> Vec<Metric> {
        let source =
            SourceView { name: "prod".into(), platform: "everruns".into(), attached: true, ..SourceView::default() };
        let snapshot = Snapshot {
            names: self.names.texts(),
            families: self.families.share(),
            sources: Arc::new([source]),
            ..Snapshot::default()
        };
        let messages = metrics(&snapshot, &[], &Sender::default(), options, START, now);
        let scopes = messages.into_iter().flat_map(|it| it.resource_metrics).flat_map(|it| it.scope_metrics);
        scopes.flat_map(|it| it.metrics).collect()
    }
}

fn find<'a>(told: &'a [Metric], name: &str) -> &'a Metric {
    told.iter().find(|metric| metric.name == name).unwrap()
}

fn text(attributes: &[KeyValue]) -> String {
    let pair = |it: &KeyValue| match it.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(value) => format!("{}={value}", it.key),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(pair).collect::<Vec<_>>().join(" ")
}

#[test]
fn exponential_buckets_where_they_are_asked_for() {
    let mut world = World::new();
    let context = TraceContext { trace: TraceId::new(0xabc).unwrap(), span: SpanId::new(0x12).unwrap() };
    for (micros, trace) in [(0, None), (1_000_000, None), (1_100_000, Some(Exemplar { context, at: START }))] {
        world.observe(Folded::TurnDuration, ["completed", ""], micros, trace);
    }
    let told = world.told(Options { exponential: true });
    let Some(Data::ExponentialHistogram(histogram)) = &find(&told, "agent.turn.duration").data else {
        panic!("{told:?}")
    };
    let [point] = histogram.data_points.as_slice() else { panic!("one series") };
    assert_eq!((point.scale, point.count, point.zero_count, point.sum), (3, 3, 1, Some(2.1)));
    // 1 s is the upper end of the bucket that begins at 2^(-1/8); 1.1 s is in the second above it.
    let positive = point.positive.as_ref().unwrap();
    assert_eq!((positive.offset, positive.bucket_counts.as_slice()), (-1, &[1, 0, 1][..]));
    let [found] = point.exemplars.as_slice() else { panic!("one exemplar") };
    assert_eq!((found.trace_id.as_slice(), found.span_id.len()), (&0xabcu128.to_be_bytes()[..], 8));
    assert_eq!(found.value, Some(exemplar::Value::AsDouble(1.1)));
    assert_eq!(found.time_unix_nano, 1_795_185_000_000_000_000);

    let told = world.told(Options::default());
    let Some(Data::Histogram(histogram)) = &find(&told, "agent.turn.duration").data else { panic!("{told:?}") };
    let [point] = histogram.data_points.as_slice() else { panic!("one series") };
    assert_eq!(point.bucket_counts[..3], [2, 1, 0]);
    assert_eq!(point.exemplars.as_slice(), std::slice::from_ref(found), "the same in both");
}

#[test]
fn no_point_was_before_it_began_also_when_our_clock_was_set_back() {
    let mut world = World::new();
    world.observe(Folded::TurnDuration, ["completed", ""], 1_000_000, None);
    let back = START.minus(Span::from_secs(3600));
    for options in [Options::default(), Options { exponential: true }] {
        let told = world.told_at(options, back);
        let (start, end) = match &find(&told, "agent.turn.duration").data {
            Some(Data::Histogram(it)) => (it.data_points[0].start_time_unix_nano, it.data_points[0].time_unix_nano),
            Some(Data::ExponentialHistogram(it)) => {
                (it.data_points[0].start_time_unix_nano, it.data_points[0].time_unix_nano)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((start, end), (nanos(START), nanos(START)));
    }
}

#[test]
fn calls_are_told_as_the_conventions_have_them() {
    let mut world = World::new();
    world.observe(Folded::CallInputTokens, ["gpt", "azure.ai.openai"], 5000, None);
    world.observe(Folded::CallOutputTokens, ["gpt", "azure.ai.openai"], 60, None);
    world.observe(Folded::CallDuration, ["gpt", ""], 2_000_000, None);
    world.observe(Folded::FailedCallDuration, ["gpt", ""], 10_000, None);
    let told = world.told(Options::default());
    let points = |name: &str| {
        let Some(Data::Histogram(histogram)) = &find(&told, name).data else { panic!("{told:?}") };
        histogram.data_points.clone()
    };
    let tokens = points("gen_ai.client.token.usage");
    assert_eq!(
        tokens.iter().map(|point| text(&point.attributes)).collect::<Vec<_>>(),
        ["input", "output"].map(|kind| format!(
            "source=prod platform=everruns agent=web gen_ai.operation.name=chat \
             gen_ai.provider.name=azure.ai.openai gen_ai.request.model=gpt gen_ai.agent.name=web \
             gen_ai.token.type={kind}"
        ))
    );
    assert_eq!((tokens[0].count, tokens[0].sum), (1, Some(5000.0)));
    assert_eq!(tokens[0].explicit_bounds.last(), Some(&67_108_864.0));
    assert_eq!(tokens[0].bucket_counts.iter().position(|count| *count == 1), Some(7), "4096 to 16384");
    let took = points("gen_ai.client.operation.duration");
    assert_eq!((took[0].sum, took[1].sum), (Some(2.0), Some(0.01)));
    assert!(text(&took[0].attributes).contains("gen_ai.provider.name=everruns "), "the platform stands in");
    assert!(!text(&took[0].attributes).contains("error.type"));
    assert!(text(&took[1].attributes).ends_with(" error.type=_OTHER"));
    assert_eq!(find(&told, "gen_ai.client.token.usage").unit, "{token}");
    for (point, row) in [(&tokens[0], "gen_ai.client.token.usage"), (&took[0], "gen_ai.client.operation.duration")] {
        let names: Vec<_> = point.attributes.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(names[..catalog::ATTRIBUTES.len()], *catalog::ATTRIBUTES, "{row} is documented so");
    }
}

#[test]
fn a_metric_with_too_many_points_is_told_in_pieces_that_say_the_same() {
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, NumberDataPoint, Sum,
    };

    const MANY: usize = 2 * POINTS + 1;
    let temporality = 2;
    let datas = [
        Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default(); MANY] }),
        Data::Sum(Sum {
            data_points: vec![NumberDataPoint::default(); MANY],
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint::default(); MANY],
            aggregation_temporality: temporality,
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint::default(); MANY],
            aggregation_temporality: temporality,
        }),
    ];
    for data in datas {
        let whole = Metric { name: "a".into(), unit: "s".into(), data: Some(data), ..Metric::default() };
        let pieces = points::pieces(whole.clone());
        let counts: Vec<usize> = pieces.iter().map(points::count).collect();
        assert_eq!(counts, [POINTS, POINTS, 1]);
        for piece in pieces {
            assert_eq!((&piece.name, &piece.unit), (&whole.name, &whole.unit));
            match piece.data.expect("it has points") {
                Data::Sum(sum) => assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (temporality, true)),
                Data::Histogram(histogram) => assert_eq!(histogram.aggregation_temporality, temporality),
                Data::ExponentialHistogram(histogram) => assert_eq!(histogram.aggregation_temporality, temporality),
                data => assert!(matches!((&data, &whole.data), (Data::Gauge(_), Some(Data::Gauge(_))))),
            }
        }
    }
}
