//! Data points: folded series, what a snapshot says besides, and the process's own instruments.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric::Data,
    number_data_point::Value,
};
use prometheus::proto::{MetricFamily, MetricType};

use super::{POINTS, attribute, is_sum, name, unit};
use crate::domain::Timestamp;
use crate::projection::{Family, Head, Kind, Snapshot};
use crate::views::catalog::{self, Row};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Never 0, which would say that the time is not known: a source that counts from the beginning has series of 1970.
fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.micros()).unwrap_or(0).saturating_mul(1000).max(1)
}

fn metric(row: &Row, data: Data) -> Metric {
    Metric {
        name: name(row),
        description: row.help.to_owned(),
        unit: unit(row).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn numbers(row: &Row, points: Vec<NumberDataPoint>) -> Option<Metric> {
    if points.is_empty() {
        return None;
    }
    let data = if is_sum(row) {
        Data::Sum(Sum { data_points: points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
    } else {
        Data::Gauge(Gauge { data_points: points })
    };
    Some(metric(row, data))
}

fn histograms(row: &Row, points: Vec<HistogramDataPoint>) -> Option<Metric> {
    let histogram = Histogram { data_points: points, aggregation_temporality: CUMULATIVE };
    (!histogram.data_points.is_empty()).then(|| metric(row, Data::Histogram(histogram)))
}

fn point(attributes: Vec<KeyValue>, value: Value, start: Option<Timestamp>, now: Timestamp) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start.map_or(0, nanos),
        time_unix_nano: nanos(now),
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn whole(value: u64) -> Value {
    Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Every folded family that has a series to show.
pub(super) fn folded(snapshot: &Snapshot, now: Timestamp) -> Vec<Metric> {
    snapshot.families.iter().filter_map(|family| of_family(snapshot, family, now)).collect()
}

fn of_family(snapshot: &Snapshot, family: &Family, now: Timestamp) -> Option<Metric> {
    let row = catalog::of(family.metric());
    let is_shown = |head: &Head| snapshot.sources.get(usize::from(head.key.source.0)).is_some_and(|it| it.attached);
    let shown = family.heads().iter().enumerate().filter(|(_, head)| is_shown(head));
    let kind = family.metric().kind();
    if let Kind::Histogram(bounds) = kind {
        let bounds: Vec<f64> = bounds.iter().map(|bound| bound.seconds()).collect();
        let points = shown.map(|(index, head)| {
            let (sum, buckets) = family.values(index).split_last().expect("a histogram has numbers");
            HistogramDataPoint {
                attributes: labels(snapshot, family, head),
                start_time_unix_nano: nanos(head.born),
                time_unix_nano: nanos(now),
                count: buckets.iter().sum(),
                sum: Some(*sum as f64 / 1e6),
                bucket_counts: buckets.to_vec(),
                explicit_bounds: bounds.clone(),
                ..HistogramDataPoint::default()
            }
        });
        return histograms(row, points.collect());
    }
    let points = shown.filter_map(|(index, head)| {
        let value = family.value(index);
        let (value, start) = match kind {
            Kind::Counter => (whole(value), Some(head.born)),
            Kind::CounterNanoUsd => (Value::AsDouble(value as f64 / 1e9), Some(head.born)),
            Kind::Gauge => (Value::AsInt(value.cast_signed()), None),
            Kind::Time if value == 0 => return None,
            Kind::Time => (Value::AsDouble(value as f64 / 1e6), None),
            Kind::Histogram(_) => return None,
        };
        Some(point(labels(snapshot, family, head), value, start, now))
    });
    numbers(row, points.collect())
}

/// The labels of a series, as the metrics page has them.
fn labels(snapshot: &Snapshot, family: &Family, head: &Head) -> Vec<KeyValue> {
    let source = &snapshot.sources[usize::from(head.key.source.0)];
    let mut attributes = vec![attribute("source", &source.name)];
    let mut dimensions = family.metric().dimensions();
    if family.metric().has_agent() {
        attributes.push(attribute("platform", &source.platform));
        attributes.push(attribute("agent", snapshot.text(head.key.agent)));
        dimensions = &dimensions[1..];
    }
    let rest = dimensions.iter().zip(head.key.labels);
    attributes.extend(rest.map(|(dimension, value)| attribute(dimension.label(), snapshot.text(value))));
    attributes
}

/// The accounts' limits, and how full the metrics are.
pub(super) fn of_snapshot(snapshot: &Snapshot, started: Timestamp, now: Timestamp) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let mut add = |name: &str, values: Vec<(Vec<KeyValue>, u64)>| {
        let row = catalog::find(name).expect("a test compares these names with the metrics page");
        // What is counted here is counted by the process.
        let start = is_sum(row).then_some(started);
        let points = values.into_iter().map(|(labels, value)| point(labels, whole(value), start, now)).collect();
        metrics.extend(numbers(row, points));
    };
    let watched = || snapshot.sources.iter().filter(|source| source.attached);
    let account = |source: &crate::projection::SourceView| {
        vec![attribute("source", &source.name), attribute("platform", &source.platform)]
    };
    for (name, pick) in [
        ("agent_platform_sessions_limit", (|limit| limit.limit) as fn(&crate::domain::ConcurrencyLimit) -> u64),
        ("agent_platform_sessions_active", |limit| limit.active),
    ] {
        let values = watched().filter_map(|source| {
            let limit = source.limits.concurrency.as_ref()?;
            let mut labels = account(source);
            labels.push(attribute("scope", &limit.scope));
            Some((labels, pick(limit)))
        });
        add(name, values.collect());
    }
    for (name, pick) in [
        ("agent_platform_tokens_limit", (|limit| limit.limit) as fn(crate::domain::TokenLimit) -> Option<u64>),
        ("agent_platform_tokens_used", |limit| limit.used),
    ] {
        let values = watched().filter_map(|source| Some((account(source), pick(source.limits.tokens?)?)));
        add(name, values.collect());
    }
    let bounded = || (0..).zip(&snapshot.families).filter(|(_, family)| family.metric().has_agent());
    let fullness = |value: &dyn Fn(usize) -> u64| -> Vec<(Vec<KeyValue>, u64)> {
        let of = |(place, family): (usize, &Family)| {
            (vec![attribute("metric", catalog::of(family.metric()).name)], value(place))
        };
        bounded().map(of).collect()
    };
    let at = |numbers: &[u64], place: usize| numbers.get(place).copied().unwrap_or_default();
    add("agent_session_exporter_series", fullness(&|place| at(&snapshot.label_sets, place)));
    add("agent_session_exporter_series_limit", fullness(&|_| snapshot.max_series));
    add("agent_session_exporter_series_overflow_total", fullness(&|place| at(&snapshot.overflowed, place)));
    metrics
}

/// The process's own instruments, which begin with it.
pub(super) fn instruments(families: &[MetricFamily], started: Timestamp, now: Timestamp) -> Vec<Metric> {
    families.iter().filter_map(|family| instrument(family, started, now)).collect()
}

fn instrument(family: &MetricFamily, started: Timestamp, now: Timestamp) -> Option<Metric> {
    let row = catalog::find(family.name())?;
    let labels = |metric: &prometheus::proto::Metric| -> Vec<KeyValue> {
        metric.get_label().iter().map(|pair| attribute(pair.name(), pair.value())).collect()
    };
    let number = |value: f64, metric: &prometheus::proto::Metric, start: Option<Timestamp>| {
        point(labels(metric), Value::AsDouble(value), start, now)
    };
    match family.get_field_type() {
        MetricType::COUNTER => {
            let points = family.get_metric().iter();
            numbers(row, points.map(|it| number(it.get_counter().get_value(), it, Some(started))).collect())
        }
        MetricType::GAUGE => {
            let points = family.get_metric().iter();
            numbers(row, points.map(|it| number(it.get_gauge().get_value(), it, None)).collect())
        }
        MetricType::HISTOGRAM => {
            let points = family.get_metric().iter().map(|metric| {
                let histogram = metric.get_histogram();
                let mut below = 0;
                let mut bucket_counts = Vec::new();
                for bucket in histogram.get_bucket() {
                    bucket_counts.push(bucket.cumulative_count() - below);
                    below = bucket.cumulative_count();
                }
                bucket_counts.push(histogram.get_sample_count() - below);
                HistogramDataPoint {
                    attributes: labels(metric),
                    start_time_unix_nano: nanos(started),
                    time_unix_nano: nanos(now),
                    count: histogram.get_sample_count(),
                    sum: Some(histogram.get_sample_sum()),
                    bucket_counts,
                    explicit_bounds: histogram.get_bucket().iter().map(|bucket| bucket.upper_bound()).collect(),
                    ..HistogramDataPoint::default()
                }
            });
            histograms(row, points.collect())
        }
        MetricType::SUMMARY | MetricType::UNTYPED => None,
    }
}

/// How many points a metric has.
pub(super) fn count(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    }
}

/// The metric in pieces, none of which is too large for a message.
pub(super) fn pieces(metric: Metric) -> Vec<Metric> {
    if count(&metric) <= POINTS {
        return vec![metric];
    }
    let Metric { name, description, unit, data, .. } = metric;
    let of = |data: Data| Metric {
        name: name.clone(),
        description: description.clone(),
        unit: unit.clone(),
        data: Some(data),
        ..Metric::default()
    };
    match data {
        Some(Data::Sum(sum)) => {
            let Sum { data_points, aggregation_temporality, is_monotonic } = sum;
            let pieces = data_points.chunks(POINTS).map(<[_]>::to_vec);
            pieces
                .map(|data_points| of(Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })))
                .collect()
        }
        Some(Data::Gauge(gauge)) => {
            let pieces = gauge.data_points.chunks(POINTS).map(<[_]>::to_vec);
            pieces.map(|data_points| of(Data::Gauge(Gauge { data_points }))).collect()
        }
        Some(Data::Histogram(histogram)) => {
            let Histogram { data_points, aggregation_temporality } = histogram;
            let pieces = data_points.chunks(POINTS).map(<[_]>::to_vec);
            pieces.map(|data_points| of(Data::Histogram(Histogram { data_points, aggregation_temporality }))).collect()
        }
        _ => Vec::new(),
    }
}
