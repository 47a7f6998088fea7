//! Histograms: classic buckets and exponential ones of the same observations, in one message.

use super::messages::{Bucket, BucketSpan, Exemplar, Histogram};
use super::{created, pair, time};
use crate::domain::Timestamp;
use crate::projection::{Buckets, Distribution, Example, Family, Measure, Native, SCHEMA};

/// Below it everything counts as 0. What is not 0 is a millionth at least, so this only has to be more than nothing, by
/// which a reader knows that there are exponential buckets even while none of them holds anything. It is the threshold
/// that Prometheus' own libraries begin with, so that their histograms can be added to ours.
const ZERO_THRESHOLD: f64 = 1.0 / (1u128 << 127) as f64 / 2.0;

/// One series; all zero while it is held.
pub(super) fn of_series(family: &Family, index: usize, buckets: Buckets, is_held: bool, born: Timestamp) -> Histogram {
    let distribution = if is_held { None } else { family.distribution(index) };
    let (&sum, counts) = family.values(index).split_last().expect("a histogram has numbers");
    let mut below = 0;
    let bounds = buckets.shown().chain([f64::INFINITY]);
    let bucket = bounds.zip(counts).enumerate().map(|(place, (bound, count))| {
        below += if is_held { 0 } else { *count };
        Bucket {
            cumulative_count: Some(below),
            upper_bound: Some(bound),
            exemplar: distribution.and_then(|it| it.example(place)).map(|it| exemplar(it, buckets.measure)),
        }
    });
    let bucket = bucket.collect();
    let native = distribution.map(Distribution::native);
    let (positive_span, positive_delta) = native.map(spans).unwrap_or_default();
    Histogram {
        sample_count: Some(below),
        sample_sum: Some(if is_held { 0.0 } else { buckets.measure.shown(sum) }),
        bucket,
        schema: Some(SCHEMA),
        zero_threshold: Some(ZERO_THRESHOLD),
        zero_count: Some(native.map_or(0, Native::zero)),
        positive_span,
        positive_delta,
        created: created(born),
    }
}

/// The buckets that hold something: where they are, and each count as the step from the one before.
fn spans(native: &Native) -> (Vec<BucketSpan>, Vec<i64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut deltas = Vec::new();
    let (mut next, mut last) = (0, 0);
    for (bucket, count) in native.buckets() {
        let bucket = i32::from(bucket);
        match spans.last_mut().and_then(|span| span.length.as_mut()) {
            Some(length) if bucket == next => *length += 1,
            _ => spans.push(BucketSpan { offset: Some(bucket - next), length: Some(1) }),
        }
        next = bucket + 1;
        deltas.push(count.wrapping_sub(last).cast_signed());
        last = count;
    }
    (spans, deltas)
}

fn exemplar(example: Example, measure: Measure) -> Exemplar {
    let context = example.exemplar.context;
    let label = vec![pair("trace_id", &context.trace.to_string()), pair("span_id", &context.span.to_string())];
    Exemplar { label, value: Some(measure.shown(example.value)), timestamp: Some(time(example.exemplar.at)) }
}
