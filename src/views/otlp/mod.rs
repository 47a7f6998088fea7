//! The OpenTelemetry view: the catalogue's metrics as OTLP messages, with the same numbers as on the metrics page, and
//! spans of work that is over.
//!
//! Names are chosen so that the official translation to Prometheus gives back the scraped name: dots become underscores,
//! the unit is appended, counters get `_total`. So the same queries work on either path. Sums and histograms are
//! cumulative and begin when their series was born, also if that was before this process: no restart is a reset, and no
//! series has to be held at zero first. The instruments of the GenAI conventions are told here only, under their own
//! names.

mod gen_ai;
mod histograms;
mod points;
pub mod semconv;
mod spans;
#[cfg(test)]
mod tests;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::proto::MetricFamily;

pub use spans::traces;

use super::catalog::{Row, Type, Unit};
use crate::domain::Timestamp;
use crate::projection::Snapshot;

/// Data points in one message at most: collectors refuse messages of more than a few megabytes.
const POINTS: usize = 5000;
/// The scope that all metrics belong to.
const SCOPE: &str = "agent-session-exporter";

/// Who sends: the attributes of the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Names and values, `service.name` among them.
    pub attributes: Vec<(String, String)>,
}

/// How the numbers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Histograms about agents with exponential buckets, instead of the ones that the metrics page has.
    pub exponential: bool,
}

/// Everything there is to show at `now`, in messages of a size that collectors take. `started` is when the process did,
/// whose own instruments begin then.
pub fn metrics(
    snapshot: &Snapshot,
    own: &[MetricFamily],
    sender: &Sender,
    options: Options,
    started: Timestamp,
    now: Timestamp,
) -> Vec<ExportMetricsServiceRequest> {
    let mut metrics = points::folded(snapshot, options, now);
    metrics.extend(gen_ai::instruments(snapshot, options, now));
    metrics.extend(points::of_snapshot(snapshot, started, now));
    metrics.extend(points::instruments(own, started, now));
    let mut messages = Vec::new();
    let mut batch = Vec::new();
    let mut size = 0;
    for metric in metrics.into_iter().flat_map(points::pieces) {
        let points = points::count(&metric);
        if size + points > POINTS && size > 0 {
            messages.push(message(std::mem::take(&mut batch), sender));
            size = 0;
        }
        size += points;
        batch.push(metric);
    }
    if size > 0 {
        messages.push(message(batch, sender));
    }
    messages
}

fn message(metrics: Vec<Metric>, sender: &Sender) -> ExportMetricsServiceRequest {
    let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(sender)),
            scope_metrics: vec![scope_metrics],
            schema_url: String::new(),
        }],
    }
}

fn resource(sender: &Sender) -> Resource {
    let attributes = sender.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Never 0, which would say that the time is not known: a source that counts from the beginning has series of 1970.
fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.micros()).unwrap_or(0).saturating_mul(1000).max(1)
}

/// When a point was, which began then: never before that, as it would seem where our clock was set back meanwhile.
fn ended(began: u64, now: Timestamp) -> u64 {
    began.max(nanos(now))
}

fn attribute(name: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// The instrument's name: the namespace, the first word behind it and the rest, without what the translation adds.
pub fn name(row: &Row) -> String {
    let family = row.family_name();
    let suffix = match row.unit {
        Some(Unit::Seconds) => "_seconds",
        Some(Unit::Bytes) => "_bytes",
        _ => "",
    };
    let bare = family.strip_suffix(suffix).unwrap_or(family);
    let namespace = ["agent_session_exporter", "agent", "process"]
        .into_iter()
        .find(|namespace| bare.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('_')));
    let Some(namespace) = namespace else { return bare.to_owned() };
    format!("{namespace}.{}", bare[namespace.len() + 1..].replacen('_', ".", 1))
}

/// The instrument's unit as UCUM writes it; what is counted stands in braces and is no part of the translated name.
pub fn unit(row: &Row) -> &'static str {
    match row.unit {
        Some(Unit::Seconds) if row.name.trim_end_matches("_total").ends_with("_seconds") => "s",
        Some(Unit::Bytes) if row.name.trim_end_matches("_total").ends_with("_bytes") => "By",
        Some(Unit::Tokens) => "{token}",
        Some(Unit::Usd) => "{USD}",
        _ => "",
    }
}

/// Whether it only grows.
fn is_sum(row: &Row) -> bool {
    row.kind == Type::Counter
}
