//! The exporter's own traces: the SDK's spans, on the same way out as all other messages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;

use super::client::{Client, Destination, Outcome, PushError, Signal};
use super::retry::{Patience, retrying};
use crate::telemetry::Instruments;
use crate::views::otlp::Sender;

/// The scope of these spans, by which they are told from those of agents.
const SCOPE: &str = "agent-session-exporter.self";
/// As a label: spans of agents are counted by themselves.
const SIGNAL: &str = "self_traces";
/// Attempts at one message; what is not taken then is lost.
const ATTEMPTS: u32 = 4;
/// How long the last spans may take at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Collects the exporter's own spans and sends them.
pub struct OwnTraces {
    provider: SdkTracerProvider,
}

impl OwnTraces {
    /// Ready to send. Must be called inside the async runtime.
    pub fn new(destination: &Destination, sender: &Sender, instruments: Instruments) -> Result<Self, PushError> {
        let client = Arc::new(Client::new(destination, Signal::Traces)?);
        instruments.register_signal(SIGNAL);
        let attributes = sender.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        let exporter = Exporter { client, instruments, resource: resource.clone(), runtime: Handle::current() };
        let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Self { provider })
    }

    /// What makes spans.
    pub fn tracer(&self) -> SdkTracer {
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        self.provider.tracer_with_scope(scope)
    }

    /// Sends what is left.
    pub async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(LAST_WORDS)).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the exporter's own last spans did not reach the collector in time");
        }
    }
}

struct Exporter {
    client: Arc<Client>,
    instruments: Instruments,
    resource: Resource,
    /// The SDK exports on a thread of its own, where nothing asynchronous runs.
    runtime: Handle,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(batch, &(&self.resource).into());
        let message = ExportTraceServiceRequest { resource_spans };
        let (client, instruments) = (Arc::clone(&self.client), self.instruments.clone());
        let sending = self.runtime.spawn(async move {
            let patience = Patience { attempts: Some(ATTEMPTS), until: None };
            let failed = |reason| instruments.push_failed(SIGNAL, reason);
            match retrying(patience, failed, || client.send_traces(&message)).await {
                Outcome::Accepted { rejected, .. } => {
                    instruments.pushed(SIGNAL, count.saturating_sub(rejected), rejected);
                    true
                }
                Outcome::Refused { reason } => {
                    instruments.push_failed(SIGNAL, reason);
                    false
                }
                Outcome::Retry { .. } => false,
            }
        });
        match sending.await {
            Ok(true) => Ok(()),
            _ => Err(OTelSdkError::InternalFailure("the collector did not take the spans".to_owned())),
        }
    }
}
