//! Whether the exporter's own work becomes spans, and which of it: off until somebody gives it a tracer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use opentelemetry_sdk::trace::SdkTracer;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

/// The spans that are sent. Their fields are stages, kinds of calls, statuses and counts; logs are no part of them.
const TRACED: [&str; 3] = ["poll", "request", "commit"];

type Traces = Option<OpenTelemetryLayer<Registry, SdkTracer>>;

static TRACES: OnceLock<reload::Handle<Traces, Registry>> = OnceLock::new();
static IS_ON: AtomicBool = AtomicBool::new(false);

/// The place for the tracer, empty at first. It comes before all other layers.
pub(super) fn layer() -> impl Layer<Registry> {
    let (layer, handle) = reload::Layer::new(None);
    // A second one in a process is refused with its logs.
    let _ = TRACES.set(handle);
    let filter = filter_fn(is_traced).with_max_level_hint(LevelFilter::DEBUG);
    layer.with_filter(filter)
}

fn is_traced(metadata: &Metadata<'_>) -> bool {
    IS_ON.load(Relaxed)
        && metadata.is_span()
        && metadata.target().starts_with("agent_session_exporter")
        && TRACED.contains(&metadata.name())
}

/// From now on the exporter's work is traced; with `None` no longer. Without logs there is nothing to trace with.
pub fn trace_own_work(tracer: Option<SdkTracer>) {
    let Some(handle) = TRACES.get() else { return };
    IS_ON.store(tracer.is_some(), Relaxed);
    let layer = tracer.map(|tracer| {
        OpenTelemetryLayer::new(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
    });
    // Only a subscriber that is gone refuses, and the process's own never is.
    let _ = handle.reload(layer);
}
