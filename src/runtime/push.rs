//! What is sent to collectors, wired as the configuration wants it.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{Histograms, OtlpDestination, OtlpMetrics, OtlpProtocol, OtlpTraces, Temporality};
use crate::domain::Clock;
use crate::projection::Snapshot;
use crate::push::{Destination, Manner, OwnTraces, Protocol, Push, PushError, PushTraces, instance_id};
use crate::telemetry::Instruments;
use crate::views::otlp::Sender;
use crate::witness::SpanOutbox;

/// What says who an instance is.
const INSTANCE: &str = "service.instance.id";

/// Who sends, the same for all signals and over restarts.
pub(super) fn sender(mut attributes: Vec<(String, String)>, folder: &Path) -> Result<Sender, PushError> {
    if !attributes.iter().any(|(name, _)| name == INSTANCE) {
        attributes.push((INSTANCE.to_owned(), instance_id(folder)?));
    }
    Ok(Sender { attributes })
}

/// What pushes metrics.
pub(super) fn metrics(
    config: OtlpMetrics,
    folder: &Path,
    sender: Sender,
    shown: Arc<ArcSwap<Snapshot>>,
    instruments: Instruments,
    clock: Arc<dyn Clock>,
) -> Result<Push, PushError> {
    let OtlpMetrics { destination: to, interval, temporality, histograms } = config;
    let exponential = histograms == Histograms::Exponential;
    let delta = (temporality == Temporality::Delta).then(|| folder.to_owned());
    Push::new(&destination(to), Manner { interval, exponential, delta }, sender, shown, instruments, clock)
}

/// What traces the exporter's own work, if that is wanted.
pub(super) fn own_traces(to: &OtlpTraces, sender: &Sender, instruments: &Instruments) -> Result<OwnTraces, PushError> {
    OwnTraces::new(&destination(to.destination.clone()), sender, instruments.clone())
}

/// What sends spans.
pub(super) fn traces(
    config: OtlpTraces,
    sender: Sender,
    shown: Arc<ArcSwap<Snapshot>>,
    instruments: Instruments,
    outbox: SpanOutbox,
) -> Result<PushTraces<SpanOutbox>, PushError> {
    let OtlpTraces { destination: to, batch, .. } = config;
    PushTraces::new(&destination(to), batch, sender, shown, instruments, outbox)
}

/// The same destination in the words of what sends.
pub(super) fn destination(config: OtlpDestination) -> Destination {
    let OtlpDestination { url, protocol, headers, timeout, gzip, trust } = config;
    let protocol = match protocol {
        OtlpProtocol::Http => Protocol::Http,
        OtlpProtocol::Grpc => Protocol::Grpc,
    };
    Destination { url, protocol, headers, timeout, gzip, trust }
}
