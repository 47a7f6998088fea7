//! The exporter's own instruments, as the `prometheus` crate gathers them, in the same lines as everything else.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::write::{self, Dialect};
use crate::views::catalog::{self, Type};

/// Every gathered family that has a series. What the catalogue says of it wins over what the instrument says.
pub(super) fn write(out: &mut Vec<u8>, families: &[MetricFamily], dialect: Dialect) {
    for family in families.iter().filter(|family| !family.get_metric().is_empty()) {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => Type::Counter,
            MetricType::GAUGE => Type::Gauge,
            MetricType::HISTOGRAM => Type::Histogram,
            // The exporter has no such instruments, and the catalogue no word for them.
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        match catalog::find(family.name()) {
            Some(row) => write::head(out, row, dialect),
            None => write::foreign_head(out, family.name(), kind, family.help(), dialect),
        }
        for metric in family.get_metric() {
            sample(out, family.name(), kind, metric);
        }
    }
}

fn sample(out: &mut Vec<u8>, name: &str, kind: Type, metric: &Metric) {
    let mut labels = Vec::with_capacity(64);
    for (place, pair) in metric.get_label().iter().enumerate() {
        write::label(&mut labels, place == 0, pair.name(), pair.value());
    }
    match kind {
        Type::Counter => value(out, name, "", &labels, metric.get_counter().get_value()),
        Type::Gauge => value(out, name, "", &labels, metric.get_gauge().get_value()),
        Type::Histogram => {
            let histogram = metric.get_histogram();
            for bucket in histogram.get_bucket() {
                write::bucket(out, name, &labels, &write::bound(bucket.upper_bound()));
                write::count(out, bucket.cumulative_count());
            }
            write::bucket(out, name, &labels, &write::bound(f64::INFINITY));
            write::count(out, histogram.get_sample_count());
            value(out, name, "_sum", &labels, histogram.get_sample_sum());
            write::sample(out, name, "_count", &labels);
            write::count(out, histogram.get_sample_count());
        }
    }
}

fn value(out: &mut Vec<u8>, name: &str, suffix: &str, labels: &[u8], value: f64) {
    write::sample(out, name, suffix, labels);
    write::float(out, value);
    out.push(b'\n');
}
