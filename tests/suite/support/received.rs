//! What a collector has taken, and the rules that every message must keep.

use std::collections::{BTreeMap, HashMap, HashSet};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Metric, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::trace::v1::Span;

/// Samples by name and labels, as a page has them.
pub type Samples = BTreeMap<String, f64>;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const DELTA: i32 = AggregationTemporality::Delta as i32;

/// Everything that was taken.
#[derive(Default)]
pub struct Received {
    /// As a page has them; differences are added up.
    pub samples: Samples,
    /// Of the last message.
    pub resource: BTreeMap<String, String>,
    /// Of the last message, taken or not.
    pub headers: BTreeMap<String, String>,
    pub messages: u64,
    /// Points that came a second time as they were.
    pub repeated: u64,
    pub spans: Vec<Span>,
    /// Names of the scopes that spans came in.
    pub scopes: HashSet<String>,
    /// The last span of time that a series told differences of, and what they were.
    spans_of_time: HashMap<String, (u64, u64, Samples)>,
}

/// One point: what it is of, when, whether it adds to what was, and its samples.
struct Point {
    series: String,
    start: u64,
    time: u64,
    is_difference: bool,
    /// Without a value if they are over.
    samples: Vec<(String, Option<f64>)>,
}

impl Received {
    /// Takes metrics, or panics over a broken rule.
    pub fn take(&mut self, message: &ExportMetricsServiceRequest) {
        self.messages += 1;
        for of_resource in &message.resource_metrics {
            self.resource = text(&of_resource.resource.as_ref().expect("a resource").attributes);
            let metrics = of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
            let points: Vec<Point> = metrics.flat_map(points).collect();
            let mut seen = HashSet::new();
            for point in points {
                assert!(seen.insert(point.series.clone()), "a point comes twice: {}", point.series);
                self.take_point(point);
            }
        }
    }

    fn take_point(&mut self, point: Point) {
        let Point { series, start, time, is_difference, samples } = point;
        if !is_difference {
            // As a store does: what is not told any more stays, unless it is told that it is over.
            for (name, value) in samples {
                match value {
                    Some(value) => self.samples.insert(name, value),
                    None => self.samples.remove(&name),
                };
            }
            return;
        }
        let told: Samples = samples.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        if let Some((before_start, before, before_told)) = self.spans_of_time.get(&series) {
            if (*before_start, *before) == (start, time) {
                assert_eq!(&told, before_told, "{series}: what comes again is the same");
                self.repeated += 1;
                return;
            }
            assert!(start >= *before, "{series}: {start} to {time} overlaps what ended at {before}");
        }
        for (name, value) in &told {
            *self.samples.entry(name.clone()).or_default() += value;
        }
        self.spans_of_time.insert(series, (start, time, told));
    }

    /// Takes spans, or panics over a broken rule.
    pub fn take_spans(&mut self, message: &ExportTraceServiceRequest) {
        self.messages += 1;
        for of_resource in &message.resource_spans {
            self.resource = text(&of_resource.resource.as_ref().expect("a resource").attributes);
            for scope in &of_resource.scope_spans {
                self.scopes.insert(scope.scope.as_ref().expect("a scope").name.clone());
                for span in &scope.spans {
                    assert!(span.trace_id.len() == 16 && span.span_id.len() == 8 && !span.name.is_empty());
                    assert!(span.trace_id.iter().any(|it| *it != 0) && span.span_id.iter().any(|it| *it != 0));
                    assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
                    self.spans.push(span.clone());
                }
            }
        }
    }
}

fn text(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    let pairs: BTreeMap<_, _> = attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect();
    assert_eq!(pairs.len(), attributes.len(), "an attribute comes twice");
    pairs
}

/// A sample's name and labels as one text.
pub fn key(name: &str, labels: &BTreeMap<String, String>) -> String {
    format!("{name}{labels:?}")
}

/// A metric's points under the names that the official translation gives them; breaks every rule that is broken.
fn points(metric: &Metric) -> Vec<Point> {
    let base: String = metric.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let unit = match metric.unit.as_str() {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let name = if base.ends_with(unit) { base } else { format!("{base}{unit}") };
    assert!(!metric.description.is_empty());
    let difference = |temporality: i32| {
        assert!([CUMULATIVE, DELTA].contains(&temporality), "{name}: a temporality");
        temporality == DELTA
    };
    let point = |labels: &BTreeMap<_, _>, start: u64, time: u64, is_difference, samples: Vec<(String, Option<f64>)>| {
        assert!(time > 0 && start <= time, "{name} begins after its end");
        Point { series: key(&name, labels), start, time, is_difference, samples }
    };
    let number = |value: &Option<Value>| match value {
        Some(Value::AsInt(value)) => *value as f64,
        Some(Value::AsDouble(value)) => *value,
        None => panic!("{name} has no value"),
    };
    match metric.data.as_ref().expect("data") {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && !sum.data_points.is_empty(), "{name}");
            let is_difference = difference(sum.aggregation_temporality);
            let of = sum.data_points.iter().map(|it| {
                let (labels, value) = (text(&it.attributes), number(&it.value));
                assert!(it.start_time_unix_nano > 0 && value >= 0.0, "{name}: a sum has a beginning");
                let samples = vec![(key(&format!("{name}_total"), &labels), Some(value))];
                point(&labels, it.start_time_unix_nano, it.time_unix_nano, is_difference, samples)
            });
            of.collect()
        }
        Data::Gauge(gauge) => {
            let of = gauge.data_points.iter().map(|it| {
                let labels = text(&it.attributes);
                let is_over = it.flags == DataPointFlags::NoRecordedValueMask as u32;
                assert!(!is_over || it.value.is_none(), "{name}: what is over has no value");
                let value = (!is_over).then(|| number(&it.value));
                let samples = vec![(key(&name, &labels), value)];
                point(&labels, it.start_time_unix_nano, it.time_unix_nano, false, samples)
            });
            of.collect()
        }
        Data::Histogram(histogram) => {
            let is_difference = difference(histogram.aggregation_temporality);
            let of = histogram.data_points.iter().map(|it| {
                assert!(it.start_time_unix_nano > 0, "{name}: a distribution has a beginning");
                assert!(it.explicit_bounds.is_sorted_by(|a, b| a < b), "{name}: bounds ascend");
                assert_eq!(it.bucket_counts.len(), it.explicit_bounds.len() + 1, "{name}");
                assert_eq!(it.count, it.bucket_counts.iter().sum::<u64>(), "{name}");
                let (labels, mut samples, mut below) = (text(&it.attributes), Vec::new(), 0);
                for (count, bound) in it.bucket_counts.iter().zip(it.explicit_bounds.iter().chain([&f64::INFINITY])) {
                    below += count;
                    let mut labels = labels.clone();
                    labels.insert("le".to_owned(), format!("{bound:?}").replace("inf", "+Inf"));
                    samples.push((key(&format!("{name}_bucket"), &labels), Some(below as f64)));
                }
                samples.push((key(&format!("{name}_count"), &labels), Some(it.count as f64)));
                samples.push((key(&format!("{name}_sum"), &labels), Some(it.sum.expect("a sum"))));
                point(&labels, it.start_time_unix_nano, it.time_unix_nano, is_difference, samples)
            });
            of.collect()
        }
        Data::ExponentialHistogram(histogram) => {
            let is_difference = difference(histogram.aggregation_temporality);
            let of = histogram.data_points.iter().map(|it| {
                assert!(it.start_time_unix_nano > 0, "{name}: a distribution has a beginning");
                let sides = [&it.positive, &it.negative].into_iter().flatten();
                let counted: u64 = sides.flat_map(|side| &side.bucket_counts).sum();
                assert_eq!(it.count, it.zero_count + counted, "{name}");
                let labels = text(&it.attributes);
                let samples = vec![
                    (key(&format!("{name}_count"), &labels), Some(it.count as f64)),
                    (key(&format!("{name}_sum"), &labels), Some(it.sum.expect("a sum"))),
                ];
                point(&labels, it.start_time_unix_nano, it.time_unix_nano, is_difference, samples)
            });
            of.collect()
        }
        other => panic!("{other:?}"),
    }
}
