//! What is sent to OpenTelemetry collectors: from the file, else from the standard OpenTelemetry variables.
//!
//! One order for every setting: the signal's key in the file, the general key in the file, the signal's variable, the
//! general variable, the default. What is overruled is not looked at further, but what the file says is always checked.

mod attributes;
mod destination;
mod said;
mod text;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::problem::Place;
use super::reader::{Reader, Table};
use crate::tls::Trust;
use said::{Said, Variables};
use text::{checked, yes_or_no};

/// OpenTelemetry's own default.
const INTERVAL: Duration = Duration::from_secs(60);
/// OpenTelemetry's own default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// About an hour of a busy account, some tens of megabytes.
const OUTBOX_LIMIT: usize = 100_000;
/// OpenTelemetry's own default for a batch of spans.
const BATCH: usize = 512;

/// What is sent where; at least one of the signals is.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpConfig {
    /// Numbers.
    pub metrics: Option<OtlpMetrics>,
    /// Spans.
    pub traces: Option<OtlpTraces>,
    /// Attributes of the resource, `service.name` first.
    pub attributes: Vec<(String, String)>,
    /// Whether the exporter's own work is traced; only with a destination for traces.
    pub self_traces: bool,
}

/// One collector, as one signal reaches it.
#[derive(Debug, Clone)]
pub struct OtlpDestination {
    /// Over HTTP the whole URL, over gRPC scheme, host and port.
    pub url: String,
    /// How messages are carried.
    pub protocol: OtlpProtocol,
    /// Headers that go with every message; their values may be secrets.
    pub headers: Vec<(String, SecretString)>,
    /// When a message counts as failed.
    pub timeout: Duration,
    /// Whether messages are compressed with gzip.
    pub gzip: bool,
    /// How the connection is secured.
    pub trust: Trust,
}

impl PartialEq for OtlpDestination {
    fn eq(&self, other: &Self) -> bool {
        // Taken apart, so that a new field is not forgotten.
        let Self { url, protocol, headers, timeout, gzip, trust } = self;
        let exposed = |headers: &[(String, SecretString)]| -> Vec<(String, String)> {
            headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
        };
        *url == other.url
            && *protocol == other.protocol
            && exposed(headers) == exposed(&other.headers)
            && *timeout == other.timeout
            && *gzip == other.gzip
            && *trust == other.trust
    }
}

/// How messages are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// POST requests with protobuf.
    Http,
    /// gRPC calls.
    Grpc,
}

/// What numbers count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// Totals since a series was born.
    Cumulative,
    /// What came since the last message that was taken.
    Delta,
}

/// How distributions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Histograms {
    /// In the buckets of the metrics page.
    Explicit,
    /// In buckets that grow exponentially.
    Exponential,
}

/// The numbers' way out.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpMetrics {
    /// Where to.
    pub destination: OtlpDestination,
    /// How often.
    pub interval: Duration,
    /// What numbers count from.
    pub temporality: Temporality,
    /// How distributions are told.
    pub histograms: Histograms,
}

/// The spans' way out.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpTraces {
    /// Where to.
    pub destination: OtlpDestination,
    /// Spans that are kept for a collector that is away.
    pub outbox_limit: usize,
    /// Spans in a message at most.
    pub batch: usize,
}

/// Everything that `otlp` says in the file.
#[derive(Default)]
struct File {
    /// Where it stands, if it does.
    place: Option<Place>,
    general: Said,
    metrics: Said,
    traces: Said,
    attributes: attributes::Said,
    self_traces: Option<(bool, Place)>,
}

/// Reads `otlp`, and the variables for what it does not say. `None` without an endpoint: then nothing is sent.
pub(super) fn read_otlp(root: Option<&mut Table<'_>>, reader: &mut Reader<'_>) -> Option<OtlpConfig> {
    let table = root.and_then(|root| root.table("otlp", reader));
    let before = reader.problems.len();
    let file = table.map(|table| File::read(table, reader)).unwrap_or_default();
    let is_off = checked_variable("OTEL_SDK_DISABLED", reader, yes_or_no) == Some(true);
    let metrics_on = file.metrics.enabled.unwrap_or_else(|| !is_off && is_exported("OTEL_METRICS_EXPORTER", reader));
    let traces_on = file.traces.enabled.unwrap_or_else(|| !is_off && is_exported("OTEL_TRACES_EXPORTER", reader));
    let metrics = metrics_on.then(|| metrics(&file, reader)).flatten();
    let traces = traces_on.then(|| traces(&file, reader)).flatten();
    let is_clean = reader.problems.len() == before;
    if let Some((true, place)) = &file.self_traces
        && traces.is_none()
        && is_clean
    {
        reader.refuse(place.clone(), "without an endpoint for traces there is nowhere to send them");
    } else if let Some(place) = &file.place
        && metrics.is_none()
        && traces.is_none()
        && is_clean
        && (metrics_on || traces_on)
    {
        reader.refuse(place.clone(), "without an endpoint nothing is sent, write e.g. endpoint: http://localhost:4318");
    }
    if metrics.is_none() && traces.is_none() {
        return None;
    }
    let attributes = file.attributes.finished(reader);
    Some(OtlpConfig { metrics, traces, attributes, self_traces: file.self_traces.is_some_and(|(on, _)| on) })
}

fn metrics(file: &File, reader: &mut Reader<'_>) -> Option<OtlpMetrics> {
    let destination = destination::resolve(&file.metrics, &file.general, Variables::METRICS, reader)?;
    let interval = file.metrics.interval.or(file.general.interval);
    let interval = interval.or_else(|| checked_variable("OTEL_METRIC_EXPORT_INTERVAL", reader, text::milliseconds));
    let temporality = file.metrics.temporality.or_else(|| {
        checked_variable("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", reader, text::temporality_preference)
    });
    let histograms = file.metrics.histograms.or_else(|| {
        checked_variable("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", reader, text::aggregation)
    });
    Some(OtlpMetrics {
        destination,
        interval: interval.unwrap_or(INTERVAL),
        temporality: temporality.unwrap_or(Temporality::Cumulative),
        histograms: histograms.unwrap_or(Histograms::Explicit),
    })
}

fn traces(file: &File, reader: &mut Reader<'_>) -> Option<OtlpTraces> {
    let destination = destination::resolve(&file.traces, &file.general, Variables::TRACES, reader)?;
    Some(OtlpTraces {
        destination,
        outbox_limit: file.traces.outbox_limit.unwrap_or(OUTBOX_LIMIT),
        batch: file.traces.batch.unwrap_or(BATCH),
    })
}

/// Whether a list of exporters has this one in it; it is the default.
fn is_exported(variable: &'static str, reader: &mut Reader<'_>) -> bool {
    let given = (reader.env)(variable).filter(|value| !value.trim().is_empty());
    given.is_none_or(|names| names.split(',').any(|name| name.trim().eq_ignore_ascii_case("otlp")))
}

fn checked_variable<T>(
    name: &'static str,
    reader: &mut Reader<'_>,
    convert: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let setting = text::variable(name, reader)?;
    checked(setting, reader, convert)
}

impl File {
    fn read(mut table: Table<'_>, reader: &mut Reader<'_>) -> Self {
        let mut file = Self { place: Some(table.place(reader)), ..Self::default() };
        file.general.read_destination(&mut table, reader);
        file.general.read_interval(&mut table, reader);
        file.attributes.read(&mut table, reader);
        if let Some(mut metrics) = table.table("metrics", reader) {
            file.metrics.read_enabled(&mut metrics, reader);
            file.metrics.read_destination(&mut metrics, reader);
            file.metrics.read_metrics(&mut metrics, reader);
            metrics.close(reader);
        }
        if let Some(mut traces) = table.table("traces", reader) {
            file.traces.read_enabled(&mut traces, reader);
            file.traces.read_destination(&mut traces, reader);
            file.traces.read_traces(&mut traces, reader);
            traces.close(reader);
        }
        let place = table.place_of("self_traces", reader);
        file.self_traces = table.value("self_traces", reader, yes_or_no).map(|on| (on, place));
        table.close(reader);
        file
    }
}
