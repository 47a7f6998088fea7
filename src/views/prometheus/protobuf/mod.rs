//! Prometheus' protobuf format: the numbers of the text formats, and of histograms the exponential buckets as well.
//!
//! A family is built in one buffer, series by series: labels that were rendered once are copied, and only what stands
//! behind them is made anew.

mod histogram;
mod instruments;
mod messages;
#[cfg(test)]
mod tests;

use prometheus::proto::MetricFamily as Gathered;
use prost::Message;

use self::messages::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use super::Shown;
use crate::domain::Timestamp;
use crate::projection::{Family, Head, Kind};
use crate::views::catalog::{self, Row, Type};
use crate::views::told::told;

/// The tag of a series in its family (field 4), and of a label in its series (field 1): both have a length.
const METRIC: u8 = 4 << 3 | 2;
const LABEL: u8 = 1 << 3 | 2;

/// Everything there is to show.
pub(super) fn write(out: &mut Vec<u8>, shown: Shown<'_>, own: &[Gathered]) {
    let mut body = Vec::new();
    for (place, family) in shown.snapshot.families.iter().enumerate() {
        let Some(row) = catalog::of(family.metric()) else { continue };
        begin(&mut body, row);
        let empty = body.len();
        let labels = shown.labels.family(place);
        for (index, head) in family.heads().iter().enumerate().filter(|(_, head)| shown.is_attached(head)) {
            if let Some(metric) = series(family, index, head, shown) {
                append(&mut body, labels.of(index), &metric);
            }
        }
        if body.len() > empty {
            finish(out, &body);
        }
    }
    for told in told(shown.snapshot).iter().filter(|told| !told.samples.is_empty()) {
        begin(&mut body, told.row);
        for (labels, value) in &told.samples {
            let mut rendered = Vec::with_capacity(64);
            labels.iter().for_each(|(name, value)| label(&mut rendered, false, name, value));
            let metric = match told.row.kind {
                Type::Counter => counter(*value as f64, shown.hold.since),
                Type::Gauge | Type::Histogram => gauge(*value as f64),
            };
            append(&mut body, &rendered, &metric);
        }
        finish(out, &body);
    }
    for family in instruments::families(own, shown.hold.since) {
        finish(out, &family.encode_to_vec());
    }
}

/// One label of a series, as the field that holds it.
pub(super) fn label(out: &mut Vec<u8>, _is_first: bool, name: &str, value: &str) {
    out.push(LABEL);
    pair(name, value).encode_length_delimited(out).expect(FITS);
}

fn pair(name: &str, value: &str) -> LabelPair {
    LabelPair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
}

/// What is said of a family, without its series.
fn about(row: &Row) -> MetricFamily {
    let kind = match row.kind {
        Type::Counter => MetricType::Counter,
        Type::Gauge => MetricType::Gauge,
        Type::Histogram => MetricType::Histogram,
    };
    MetricFamily {
        // Counters end in `_total` here, too: Prometheus takes the name for that of the series.
        name: Some(row.name.to_owned()),
        help: Some(row.help.to_owned()),
        kind: Some(kind as i32),
        unit: row.declared_unit().map(str::to_owned),
        ..MetricFamily::default()
    }
}

fn begin(body: &mut Vec<u8>, row: &Row) {
    body.clear();
    about(row).encode(body).expect(FITS);
}

/// One more series: fields of one message may be written in pieces.
fn append(body: &mut Vec<u8>, labels: &[u8], metric: &Metric) {
    body.push(METRIC);
    prost::encode_length_delimiter(labels.len() + metric.encoded_len(), body).expect(FITS);
    body.extend_from_slice(labels);
    metric.encode(body).expect(FITS);
}

fn finish(out: &mut Vec<u8>, body: &[u8]) {
    prost::encode_length_delimiter(body.len(), out).expect(FITS);
    out.extend_from_slice(body);
}

const FITS: &str = "a vector takes everything";

fn series(family: &Family, index: usize, head: &Head, shown: Shown<'_>) -> Option<Metric> {
    let is_held = shown.is_held(head);
    let value = family.value(index);
    let counted = if is_held { 0 } else { value };
    match family.metric().kind() {
        Kind::Counter => Some(counter(counted as f64, head.born)),
        Kind::CounterNanoUsd => Some(counter(counted as f64 / 1e9, head.born)),
        Kind::Gauge => Some(gauge(value.cast_signed() as f64)),
        Kind::Time if value == 0 => None,
        Kind::Time => Some(gauge(value as f64 / 1e6)),
        Kind::Histogram(buckets) => {
            let histogram = histogram::of_series(family, index, buckets, is_held, head.born);
            Some(Metric { histogram: Some(histogram), ..Metric::default() })
        }
    }
}

fn gauge(value: f64) -> Metric {
    Metric { gauge: Some(Gauge { value: Some(value) }), ..Metric::default() }
}

fn counter(value: f64, born: Timestamp) -> Metric {
    let counter = Counter { value: Some(value), created: created(born) };
    Metric { counter: Some(counter), ..Metric::default() }
}

/// When a series began. One that counts from the beginning of all times has no such moment.
fn created(born: Timestamp) -> Option<messages::Timestamp> {
    (born > Timestamp::default()).then(|| time(born))
}

fn time(at: Timestamp) -> messages::Timestamp {
    let (seconds, micros) = (at.micros().div_euclid(1_000_000), at.micros().rem_euclid(1_000_000));
    messages::Timestamp { seconds, nanos: i32::try_from(micros * 1000).expect("less than a second") }
}
