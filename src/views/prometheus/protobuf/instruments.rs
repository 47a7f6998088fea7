//! The exporter's own instruments, as the `prometheus` crate gathers them: histograms with classic buckets only.

use prometheus::proto as gathered;

use super::messages::{Bucket, Histogram, Metric, MetricFamily};
use super::{about, counter, created, gauge, pair};
use crate::domain::Timestamp;
use crate::views::catalog;

/// Every gathered family that has a series; they began with the process. One that the catalogue does not know is left
/// out, which a test forbids.
pub(super) fn families(own: &[gathered::MetricFamily], started: Timestamp) -> impl Iterator<Item = MetricFamily> {
    let known = own.iter().filter(|family| !family.get_metric().is_empty());
    known.filter_map(move |family| {
        let row = catalog::find(family.name())?;
        let metric = family.get_metric().iter();
        let metric = metric.map(|metric| of_metric(metric, family.get_field_type(), started)).collect::<Option<_>>()?;
        Some(MetricFamily { metric, ..about(row) })
    })
}

fn of_metric(metric: &gathered::Metric, kind: gathered::MetricType, started: Timestamp) -> Option<Metric> {
    let told = match kind {
        gathered::MetricType::COUNTER => counter(metric.get_counter().get_value(), started),
        gathered::MetricType::GAUGE => gauge(metric.get_gauge().get_value()),
        gathered::MetricType::HISTOGRAM => {
            let histogram = histogram(metric.get_histogram(), started);
            Metric { histogram: Some(histogram), ..Metric::default() }
        }
        // The exporter has no such instruments.
        gathered::MetricType::SUMMARY | gathered::MetricType::UNTYPED => return None,
    };
    let label = metric.get_label().iter().map(|label| pair(label.name(), label.value())).collect();
    Some(Metric { label, ..told })
}

fn histogram(histogram: &gathered::Histogram, started: Timestamp) -> Histogram {
    let bucket =
        |count: u64, bound: f64| Bucket { cumulative_count: Some(count), upper_bound: Some(bound), exemplar: None };
    let finite = histogram.get_bucket().iter().map(|it| bucket(it.cumulative_count(), it.upper_bound()));
    Histogram {
        sample_count: Some(histogram.get_sample_count()),
        sample_sum: Some(histogram.get_sample_sum()),
        bucket: finite.chain([bucket(histogram.get_sample_count(), f64::INFINITY)]).collect(),
        created: created(started),
        ..Histogram::default()
    }
}
