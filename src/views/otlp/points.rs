//! Data points: folded series, what a snapshot says besides, and the process's own instruments.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    metric::Data, number_data_point::Value,
};
use prometheus::proto::{MetricFamily, MetricType};

use super::histograms::{self, Series};
use super::{Options, POINTS, attribute, ended, is_sum, name, nanos, unit};
use crate::domain::Timestamp;
use crate::projection::{Family, Head, Kind, Snapshot};
use crate::views::catalog::{self, Row};
use crate::views::told::told;

pub(super) const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

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
    let began = start.map_or(0, nanos);
    NumberDataPoint {
        attributes,
        start_time_unix_nano: began,
        time_unix_nano: ended(began, now),
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn whole(value: u64) -> Value {
    Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Every folded family of the metrics page that has a series to show.
pub(super) fn folded(snapshot: &Snapshot, options: Options, now: Timestamp) -> Vec<Metric> {
    snapshot.families.iter().filter_map(|family| of_family(snapshot, family, options, now)).collect()
}

/// Whether a series is of a source that is watched.
pub(super) fn is_attached(snapshot: &Snapshot, head: &Head) -> bool {
    snapshot.sources.get(usize::from(head.key.source.0)).is_some_and(|source| source.attached)
}

fn of_family(snapshot: &Snapshot, family: &Family, options: Options, now: Timestamp) -> Option<Metric> {
    let row = catalog::of(family.metric())?;
    let shown = family.heads().iter().enumerate().filter(|(_, head)| is_attached(snapshot, head));
    let kind = family.metric().kind();
    if matches!(kind, Kind::Histogram(_)) {
        let series = shown.map(|(index, head)| Series { family, index, attributes: labels(snapshot, family, head) });
        return histograms::data(series.collect(), options, now).map(|data| metric(row, data));
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
    let attributes = |labels: Vec<(&str, smol_str::SmolStr)>| -> Vec<KeyValue> {
        labels.iter().map(|(name, value)| attribute(name, value)).collect()
    };
    let metrics = told(snapshot).into_iter().filter_map(|told| {
        let points = told.samples.into_iter();
        // What is counted here is counted by the process.
        let start = is_sum(told.row).then_some(started);
        numbers(told.row, points.map(|(labels, value)| point(attributes(labels), whole(value), start, now)).collect())
    });
    metrics.collect()
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
                    time_unix_nano: ended(nanos(started), now),
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
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
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
        Some(Data::ExponentialHistogram(histogram)) => {
            let ExponentialHistogram { data_points, aggregation_temporality } = histogram;
            let pieces = data_points.chunks(POINTS).map(<[_]>::to_vec);
            pieces
                .map(|data_points| {
                    of(Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality }))
                })
                .collect()
        }
        _ => Vec::new(),
    }
}
