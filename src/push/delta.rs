//! What came since the last message that was taken: totals become differences, and only an answer moves where they begin.
//!
//! A message whose fate is unknown is sent again as it is, before anything newer: a collector that had taken it sees the
//! same points twice, of the same span of time, and no later message overlaps it. What a collector refused for good is
//! part of the next message, unless it may have taken it before.
//!
//! What is about to be sent is written down before, as if it had been taken. So nothing is told twice after a kill; what
//! can be lost is the one message that was under way.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use foldhash::fast::RandomState;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, metric::Data};
use prost::Message;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::client::PushError;
use super::totals::{Since, Totals};

/// Beside the journal.
const FILE: &str = "otlp.delta";
/// Of the file's layout.
const VERSION: u32 = 1;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const DELTA: i32 = AggregationTemporality::Delta as i32;

/// Where a series stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// When its totals begin: other totals of the same name are another series.
    born: u64,
    /// When it stood there.
    time: u64,
    totals: Totals,
}

type Marks = HashMap<u128, Mark, RandomState>;

/// A message of differences, and where its series stand once it is taken.
struct Pending {
    message: ExportMetricsServiceRequest,
    marks: Vec<(u128, Mark)>,
    /// Whether it can have been taken without our knowing.
    is_uncertain: bool,
}

/// Turns totals into differences.
pub(super) struct Deltas {
    path: PathBuf,
    taken: Marks,
    pending: VecDeque<Pending>,
}

impl Deltas {
    /// Goes on from what was written down in this folder, if anything was.
    pub(super) fn open(folder: &Path) -> Result<Self, PushError> {
        let path = folder.join(FILE);
        let failed = |error| PushError::Kept { path: path.display().to_string(), error };
        let taken = match fs::read(&path) {
            Ok(bytes) => {
                let read = postcard::from_bytes::<(u32, Vec<(u128, Mark)>)>(&bytes).ok();
                let read = read.filter(|(version, _)| *version == VERSION);
                let (_, marks) = read.ok_or_else(|| {
                    failed(io::Error::other("it is damaged or of another version; remove it to send all totals anew"))
                })?;
                marks.into_iter().collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Marks::default(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path, taken, pending: VecDeque::new() })
    }

    /// Takes a message of totals; what changed waits to be sent.
    pub(super) fn add(&mut self, mut message: ExportMetricsServiceRequest) {
        let mut marks = Vec::new();
        let scopes = message.resource_metrics.iter_mut().flat_map(|it| &mut it.scope_metrics);
        let mut is_empty = true;
        for scope in scopes {
            scope.metrics.retain_mut(|metric| self.differences(metric, &mut marks));
            is_empty &= scope.metrics.is_empty();
        }
        if is_empty {
            // Nothing to be told of them, so they need no answer.
            self.taken.extend(marks);
        } else {
            self.pending.push_back(Pending { message, marks, is_uncertain: false });
        }
    }

    /// The oldest message that waits.
    pub(super) fn next(&self) -> Option<&ExportMetricsServiceRequest> {
        self.pending.front().map(|pending| &pending.message)
    }

    /// It was taken: the next differences begin where it ends.
    pub(super) fn taken(&mut self) {
        self.taken.extend(self.pending.pop_front().into_iter().flat_map(|pending| pending.marks));
    }

    /// An attempt failed in a way that does not tell whether it was taken.
    pub(super) fn uncertain(&mut self) {
        if let Some(pending) = self.pending.front_mut() {
            pending.is_uncertain = true;
        }
    }

    /// It was refused for good: the next differences have it in them. Unless an attempt before had an unknown end: what
    /// might have been taken is never told again, as a sum that is too high is worse.
    pub(super) fn refused(&mut self) {
        if self.pending.front().is_some_and(|pending| pending.is_uncertain) {
            self.taken();
        } else {
            self.pending.pop_front();
        }
    }

    /// Nothing that waits can be sent: the next differences have it in them.
    pub(super) fn drop_all(&mut self) {
        self.pending.clear();
    }

    /// Writes down where everything stands, with what waits counted as taken. Returns what does the writing.
    pub(super) fn saving(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static + use<> {
        let mut marks = self.taken.clone();
        marks.extend(self.pending.iter().flat_map(|pending| pending.marks.iter().cloned()));
        let path = self.path.clone();
        move || {
            let marks: Vec<(u128, Mark)> = marks.into_iter().collect();
            let bytes = postcard::to_stdvec(&(VERSION, marks)).map_err(io::Error::other)?;
            let unfinished = path.with_extension("delta.new");
            // For the exporter's user alone, as all that is beside it.
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(&bytes)?;
            // Were an older one found after a power failure, its differences would be told a second time.
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        }
    }

    /// Makes differences of a metric's totals. `false` if nothing is left to tell.
    fn differences(&self, metric: &mut Metric, marks: &mut Vec<(u128, Mark)>) -> bool {
        let Metric { name, data, .. } = metric;
        macro_rules! keep_changed {
            ($data:expr) => {{
                $data.aggregation_temporality = DELTA;
                $data.data_points.retain_mut(|point| {
                    let key = key(name, &point.attributes);
                    let mark = Mark {
                        born: point.start_time_unix_nano,
                        time: point.time_unix_nano,
                        totals: Totals::from(&*point),
                    };
                    let before = self.taken.get(&key).filter(|before| before.born == mark.born);
                    let since = before.map_or(Since::Changed, |before| before.totals.subtract(point));
                    if let Some(before) = before {
                        // A clock that was set back must not make a span of time end before it begins.
                        point.start_time_unix_nano = before.time.min(mark.time);
                    }
                    if since != Since::Same {
                        marks.push((key, mark));
                    }
                    since == Since::Changed
                });
                !$data.data_points.is_empty()
            }};
        }
        match data {
            Some(Data::Sum(sum)) if sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE => {
                keep_changed!(sum)
            }
            Some(Data::Histogram(histogram)) => keep_changed!(histogram),
            Some(Data::ExponentialHistogram(histogram)) => keep_changed!(histogram),
            // A gauge has no beginning.
            _ => true,
        }
    }
}

/// A series' name in this module's memory.
pub(super) fn key(name: &str, attributes: &[KeyValue]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(name.as_bytes());
    for attribute in attributes {
        hash.update(&attribute.encode_length_delimited_to_vec());
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point::Value,
    };

    use super::*;

    const BORN: u64 = 10;

    fn message(time: u64, born: u64, totals: &[(&str, i64)]) -> ExportMetricsServiceRequest {
        let sum = |value| Sum {
            data_points: vec![NumberDataPoint {
                start_time_unix_nano: born,
                time_unix_nano: time,
                value: Some(Value::AsInt(value)),
                ..NumberDataPoint::default()
            }],
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        };
        let of = |(name, value): &(&str, i64)| Metric {
            name: (*name).to_owned(),
            data: Some(Data::Sum(sum(*value))),
            ..Metric::default()
        };
        let scope = ScopeMetrics { metrics: totals.iter().map(of).collect(), ..ScopeMetrics::default() };
        let resource_metrics = vec![ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() }];
        ExportMetricsServiceRequest { resource_metrics }
    }

    /// The points that wait, as name, span of time and value.
    fn told(deltas: &Deltas) -> Vec<(String, u64, u64, i64)> {
        let metrics = deltas.next().into_iter().flat_map(|it| &it.resource_metrics[0].scope_metrics[0].metrics);
        let point = |metric: &Metric| match metric.data.as_ref().unwrap() {
            Data::Sum(Sum { data_points, aggregation_temporality: DELTA, .. }) => {
                let point = &data_points[0];
                let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
                (metric.name.clone(), point.start_time_unix_nano, point.time_unix_nano, value)
            }
            other => panic!("{other:?}"),
        };
        metrics.map(point).collect()
    }

    fn row(name: &str, start: u64, time: u64, value: i64) -> (String, u64, u64, i64) {
        (name.to_owned(), start, time, value)
    }

    #[test]
    fn only_what_was_taken_moves_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let mut deltas = Deltas::open(folder.path()).unwrap();
        deltas.add(message(20, BORN, &[("a", 5), ("b", 0)]));
        assert_eq!(told(&deltas), [row("a", BORN, 20, 5), row("b", BORN, 20, 0)], "a new series is told at zero, too");
        deltas.refused();
        deltas.add(message(30, BORN, &[("a", 7), ("b", 0)]));
        assert_eq!(told(&deltas), [row("a", BORN, 30, 7), row("b", BORN, 30, 0)]);
        deltas.taken();
        deltas.add(message(40, BORN, &[("a", 7), ("b", 1)]));
        assert_eq!(told(&deltas), [row("b", 30, 40, 1)], "what did not change is not told");
        deltas.taken();
        deltas.add(message(50, BORN, &[("a", 9), ("b", 1)]));
        assert_eq!(told(&deltas), [row("a", 30, 50, 2)]);
        deltas.taken();
        deltas.add(message(60, BORN, &[("a", 9), ("b", 1)]));
        assert_eq!(told(&deltas), []);
    }

    #[test]
    fn messages_are_taken_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut deltas = Deltas::open(folder.path()).unwrap();
        deltas.add(message(20, BORN, &[("a", 5)]));
        deltas.add(message(20, BORN, &[("b", 5)]));
        deltas.taken();
        deltas.refused();
        deltas.add(message(30, BORN, &[("a", 6), ("b", 6)]));
        assert_eq!(told(&deltas), [row("a", 20, 30, 1), row("b", BORN, 30, 6)]);
        // Whether it was taken before it was refused is not known.
        deltas.uncertain();
        deltas.refused();
        deltas.add(message(40, BORN, &[("a", 7), ("b", 8)]));
        assert_eq!(told(&deltas), [row("a", 30, 40, 1), row("b", 30, 40, 2)]);
    }

    #[test]
    fn after_a_kill_nothing_is_told_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut deltas = Deltas::open(folder.path()).unwrap();
        deltas.add(message(20, BORN, &[("a", 5), ("of the process", 3)]));
        deltas.saving()().unwrap();
        // Killed while it was under way: it may have been taken.
        let mut deltas = Deltas::open(folder.path()).unwrap();
        let mut later = message(40, BORN, &[("a", 8)]);
        later.resource_metrics.extend(message(40, 35, &[("of the process", 1)]).resource_metrics);
        deltas.add(later);
        assert_eq!(told(&deltas), [row("a", 20, 40, 3)]);
        let own = &deltas.next().unwrap().resource_metrics[1].scope_metrics[0].metrics[0];
        let Some(Data::Sum(sum)) = &own.data else { panic!("{own:?}") };
        assert_eq!((sum.data_points[0].start_time_unix_nano, &sum.data_points[0].value), (35, &Some(Value::AsInt(1))));
    }

    #[test]
    fn an_older_store_and_a_clock_that_was_set_back_double_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut deltas = Deltas::open(folder.path()).unwrap();
        deltas.add(message(20, BORN, &[("a", 5)]));
        deltas.taken();
        deltas.add(message(30, BORN, &[("a", 3)]));
        assert_eq!(told(&deltas), []);
        deltas.add(message(40, BORN, &[("a", 6)]));
        assert_eq!(told(&deltas), [row("a", 30, 40, 3)]);
        deltas.taken();
        deltas.add(message(35, BORN, &[("a", 7)]));
        assert_eq!(told(&deltas), [row("a", 35, 35, 1)]);
    }

    #[test]
    fn gauges_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let mut deltas = Deltas::open(folder.path()).unwrap();
        let mut gauge = message(20, BORN, &[("a", 5)]);
        let metric = &mut gauge.resource_metrics[0].scope_metrics[0].metrics[0];
        metric.data = Some(Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default()] }));
        for _ in 0..2 {
            deltas.add(gauge.clone());
            assert_eq!(deltas.next(), Some(&gauge));
            deltas.taken();
        }
    }

    #[test]
    fn a_damaged_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "damaged").unwrap();
        let error = Deltas::open(folder.path()).err().expect("refused").to_string();
        assert!(error.contains("otlp.delta: it is damaged or of another version; remove it"), "{error}");
    }
}
