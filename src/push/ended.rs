//! Gauges that are no longer shown: the collector is told once that their series are over.
//!
//! A scrape ends a series by leaving it out. A push does not: whoever stores it goes on to answer with the last value,
//! mostly for 5 minutes, and a session that waited would seem to wait on. So each series of a gauge that was told and is
//! not any more is told as one that has no value. Sums and histograms need no end: they stay what they were.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{DataPointFlags, Gauge, Metric, NumberDataPoint, metric::Data};

use super::delta::key;

/// What a point without a value is marked with.
const NO_VALUE: u32 = DataPointFlags::NoRecordedValueMask as u32;
/// Series that are ended in one message at most; the others wait for the next one.
const MOST: usize = 5000;

/// Remembers the gauges that were told.
#[derive(Default)]
pub(super) struct Ended {
    /// By metric, and what is said of it besides its points.
    told: BTreeMap<String, (Metric, Series)>,
    /// What the last message ends.
    ending: Vec<(String, u128)>,
}

type Series = HashMap<u128, Vec<KeyValue>, RandomState>;

impl Ended {
    /// Takes all that is told now, and appends a message that ends what was told before, if there is any such thing.
    pub(super) fn add(&mut self, messages: &mut Vec<ExportMetricsServiceRequest>) {
        let mut now: HashSet<(&str, u128), RandomState> = HashSet::default();
        let mut time = 0;
        let scopes = messages.iter().flat_map(|message| &message.resource_metrics).flat_map(|it| &it.scope_metrics);
        for metric in scopes.flat_map(|scope| &scope.metrics) {
            let Some(Data::Gauge(gauge)) = &metric.data else { continue };
            let (name, description, unit) = (metric.name.clone(), metric.description.clone(), metric.unit.clone());
            let bare = Metric { name, description, unit, ..Metric::default() };
            let (_, series) = self.told.entry(metric.name.clone()).or_insert_with(|| (bare, Series::default()));
            for point in &gauge.data_points {
                let key = key(&metric.name, &point.attributes);
                now.insert((&metric.name, key));
                series.entry(key).or_insert_with(|| point.attributes.clone());
                time = time.max(point.time_unix_nano);
            }
        }
        self.ending.clear();
        let mut metrics = Vec::new();
        for (name, (metric, series)) in &self.told {
            let left = MOST - self.ending.len();
            let over = series.iter().filter(|(key, _)| !now.contains(&(name.as_str(), **key))).take(left);
            let over: Vec<_> = over.collect();
            if over.is_empty() {
                continue;
            }
            self.ending.extend(over.iter().map(|(key, _)| (name.clone(), **key)));
            let data_points = over.into_iter().map(|(_, attributes)| NumberDataPoint {
                attributes: attributes.clone(),
                time_unix_nano: time,
                flags: NO_VALUE,
                ..NumberDataPoint::default()
            });
            metrics.push(Metric {
                data: Some(Data::Gauge(Gauge { data_points: data_points.collect() })),
                ..metric.clone()
            });
        }
        // From the same sender as the others.
        let Some(mut message) = messages.first().cloned().filter(|_| !metrics.is_empty()) else { return };
        message.resource_metrics.truncate(1);
        for of_resource in &mut message.resource_metrics {
            of_resource.scope_metrics.truncate(1);
            if let Some(scope) = of_resource.scope_metrics.first_mut() {
                scope.metrics = std::mem::take(&mut metrics);
            }
        }
        messages.push(message);
    }

    /// The last messages were taken, so what they ended needs no other end.
    pub(super) fn done(&mut self) {
        for (name, key) in self.ending.drain(..) {
            if let Some((_, series)) = self.told.get_mut(&name) {
                series.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
    use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics, Sum, number_data_point::Value};

    use super::*;

    fn points(time: u64, statuses: &[&str]) -> Vec<NumberDataPoint> {
        let point = |status: &&str| NumberDataPoint {
            attributes: vec![KeyValue {
                key: "status".into(),
                value: Some(AnyValue { value: Some(any_value::Value::StringValue((*status).into())) }),
                ..KeyValue::default()
            }],
            time_unix_nano: time,
            value: Some(Value::AsInt(1)),
            ..NumberDataPoint::default()
        };
        statuses.iter().map(point).collect()
    }

    fn message(time: u64, gauge: &[&str], sum: &[&str]) -> ExportMetricsServiceRequest {
        let gauge = Data::Gauge(Gauge { data_points: points(time, gauge) });
        let sum = Data::Sum(Sum { data_points: points(time, sum), ..Sum::default() });
        let named = |name: &str, data| Metric {
            name: name.into(),
            description: format!("{name}s"),
            data: Some(data),
            ..Metric::default()
        };
        let scope_metrics =
            vec![ScopeMetrics { metrics: vec![named("gauge", gauge), named("sum", sum)], ..ScopeMetrics::default() }];
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
        }
    }

    /// What is ended at a time, as text.
    fn ended(ended: &mut Ended, time: u64, gauge: &[&str], sum: &[&str]) -> Vec<String> {
        let mut messages = vec![message(time, gauge, sum), message(time, &[], &[])];
        ended.add(&mut messages);
        if messages.len() == 2 {
            return Vec::new();
        }
        assert_eq!(messages.len(), 3);
        let metrics = &messages[2].resource_metrics[0].scope_metrics[0].metrics;
        assert_eq!((metrics.len(), &*metrics[0].name, &*metrics[0].description), (1, "gauge", "gauges"));
        let Some(Data::Gauge(gauge)) = &metrics[0].data else { panic!("{metrics:?}") };
        let text = gauge.data_points.iter().map(|point| {
            assert_eq!((point.time_unix_nano, point.value, point.flags), (time, None, 1));
            match &point.attributes[0].value.as_ref().expect("a value").value {
                Some(any_value::Value::StringValue(text)) => text.clone(),
                other => panic!("{other:?}"),
            }
        });
        let mut text: Vec<String> = text.collect();
        text.sort();
        text
    }

    #[test]
    fn a_gauge_that_is_gone_is_ended_once_and_can_come_back() {
        let mut it = Ended::default();
        assert!(ended(&mut it, 1, &["a", "b", "c"], &["x"]).is_empty());
        assert_eq!(ended(&mut it, 2, &["a"], &[]), ["b", "c"], "and no sum is ended");
        it.done();
        assert!(ended(&mut it, 3, &["a", "c"], &[]).is_empty());
        assert_eq!(ended(&mut it, 4, &["a"], &[]), ["c"]);
    }

    #[test]
    fn what_was_not_taken_is_ended_again_unless_it_is_back() {
        let mut it = Ended::default();
        assert!(ended(&mut it, 1, &["a", "b", "c"], &[]).is_empty());
        assert_eq!(ended(&mut it, 2, &["a"], &[]), ["b", "c"]);
        assert_eq!(ended(&mut it, 3, &["a", "b"], &[]), ["c"]);
        it.done();
        assert!(ended(&mut it, 4, &["a", "b"], &[]).is_empty());
    }
}
