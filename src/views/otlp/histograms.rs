//! Data points of folded histograms: with their classic buckets, or with exponential ones where that is asked for.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, exemplar,
    exponential_histogram_data_point::Buckets as Dense, metric::Data,
};

use super::Options;
use super::points::CUMULATIVE;
use super::{ended, nanos};
use crate::domain::Timestamp;
use crate::projection::{Buckets, Distribution, Example, Family, Measure, Native, SCHEMA};

/// One series to tell of.
pub(super) struct Series<'a> {
    pub(super) family: &'a Family,
    pub(super) index: usize,
    pub(super) attributes: Vec<KeyValue>,
}

/// All series of one metric; `None` without any.
pub(super) fn data(series: Vec<Series<'_>>, options: Options, now: Timestamp) -> Option<Data> {
    if series.is_empty() {
        return None;
    }
    let aggregation_temporality = CUMULATIVE;
    Some(if options.exponential {
        let data_points = series.into_iter().map(|series| exponential(series, now)).collect();
        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
    } else {
        let data_points = series.into_iter().map(|series| explicit(series, now)).collect();
        Data::Histogram(Histogram { data_points, aggregation_temporality })
    })
}

impl Series<'_> {
    fn buckets(&self) -> Buckets {
        self.family.metric().buckets().expect("only histograms come here")
    }

    fn began(&self) -> u64 {
        nanos(self.family.heads()[self.index].born)
    }

    fn sum(&self) -> Option<f64> {
        Some(self.buckets().measure.shown(self.family.sum(self.index)))
    }

    fn distribution(&self) -> Option<&Distribution> {
        self.family.distribution(self.index)
    }

    fn exemplars(&self) -> Vec<Exemplar> {
        let measure = self.buckets().measure;
        let examples = self.distribution().into_iter().flat_map(Distribution::examples);
        examples.map(|example| exemplar(example, measure)).collect()
    }
}

fn explicit(series: Series<'_>, now: Timestamp) -> HistogramDataPoint {
    let (_, counts) = series.family.values(series.index).split_last().expect("a histogram has numbers");
    HistogramDataPoint {
        start_time_unix_nano: series.began(),
        time_unix_nano: ended(series.began(), now),
        count: series.family.observations(series.index),
        sum: series.sum(),
        bucket_counts: counts.to_vec(),
        explicit_bounds: series.buckets().shown().collect(),
        exemplars: series.exemplars(),
        attributes: series.attributes,
        ..HistogramDataPoint::default()
    }
}

fn exponential(series: Series<'_>, now: Timestamp) -> ExponentialHistogramDataPoint {
    let native = series.distribution().map(Distribution::native);
    ExponentialHistogramDataPoint {
        start_time_unix_nano: series.began(),
        time_unix_nano: ended(series.began(), now),
        count: series.family.observations(series.index),
        sum: series.sum(),
        scale: SCHEMA,
        zero_count: native.map_or(0, Native::zero),
        positive: native.and_then(dense),
        exemplars: series.exemplars(),
        attributes: series.attributes,
        ..ExponentialHistogramDataPoint::default()
    }
}

/// All buckets from the first that holds something to the last; `None` if none does.
fn dense(native: &Native) -> Option<Dense> {
    let (first, _) = native.buckets().next()?;
    let (last, _) = native.buckets().next_back()?;
    let place = |bucket: i16| usize::try_from(i32::from(bucket) - i32::from(first)).expect("the first is the lowest");
    let mut bucket_counts = vec![0; place(last) + 1];
    for (bucket, count) in native.buckets() {
        bucket_counts[place(bucket)] = count;
    }
    // Prometheus numbers buckets by their upper bound, OpenTelemetry by their lower one.
    Some(Dense { offset: i32::from(first) - 1, bucket_counts })
}

fn exemplar(example: Example, measure: Measure) -> Exemplar {
    let value = match measure {
        Measure::Duration => exemplar::Value::AsDouble(measure.shown(example.value)),
        Measure::Count => exemplar::Value::AsInt(i64::try_from(example.value).unwrap_or(i64::MAX)),
    };
    Exemplar {
        time_unix_nano: nanos(example.exemplar.at),
        trace_id: example.exemplar.context.trace.bytes().to_vec(),
        span_id: example.exemplar.context.span.bytes().to_vec(),
        value: Some(value),
        ..Exemplar::default()
    }
}
