//! Sends metrics to an OpenTelemetry collector, again and again, and says how that went.
//!
//! Nothing waits for it: it reads the snapshot that is shown, as a scrape does. What a collector does not take now is
//! told anew with the next message, since all numbers are totals; so nothing is stored for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Destination, Outcome, PushError, Signal};
use super::retry::{Patience, retrying};
use crate::domain::{Clock, Timestamp};
use crate::projection::Snapshot;
use crate::telemetry::Instruments;
use crate::views::otlp::{Sender, metrics};

/// Attempts at one message.
const ATTEMPTS: u32 = 4;
/// How long the last message may take at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The signal's name, as a label.
const SIGNAL: &str = Signal::Metrics.name();

/// Sends what is shown.
pub struct Push {
    client: Client,
    interval: Duration,
    sender: Sender,
    shown: Arc<ArcSwap<Snapshot>>,
    instruments: Instruments,
    clock: Arc<dyn Clock>,
    started: Timestamp,
}

impl Push {
    /// Ready to send; nothing is sent yet.
    pub fn new(
        destination: &Destination,
        interval: Duration,
        sender: Sender,
        shown: Arc<ArcSwap<Snapshot>>,
        instruments: Instruments,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PushError> {
        let client = Client::new(destination, Signal::Metrics)?;
        instruments.register_signal(SIGNAL);
        let started = clock.now();
        Ok(Self { client, interval, sender, shown, instruments, clock, started })
    }

    /// Sends in every interval until told to stop, and once more then.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tick = interval(self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one comes at once, when there is nothing to tell yet.
        tick.tick().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = tick.tick() => {}
            }
            let deadline = Instant::now() + self.interval;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.send_all(deadline) => {}
            }
        }
        if timeout(LAST_WORDS, self.send_all(Instant::now() + LAST_WORDS)).await.is_err() {
            tracing::warn!("the last metrics did not reach the collector in time");
        }
    }

    async fn send_all(&self, deadline: Instant) {
        let messages = {
            let snapshot = self.shown.load();
            metrics(&snapshot, &self.instruments.gather(), &self.sender, self.started, self.clock.now())
        };
        for message in messages {
            self.send(&message, deadline).await;
        }
    }

    /// One message, until it is taken or refused, or the next one is due.
    async fn send(&self, message: &ExportMetricsServiceRequest, deadline: Instant) {
        let patience = Patience { attempts: Some(ATTEMPTS), until: Some(deadline) };
        let failed = |reason| self.instruments.push_failed(SIGNAL, reason);
        match retrying(patience, failed, || self.client.send_metrics(message)).await {
            Outcome::Accepted { rejected, .. } => {
                self.instruments.pushed(SIGNAL, points(message).saturating_sub(rejected), rejected);
                if rejected > 0 {
                    tracing::warn!(rejected, "the collector did not take all metrics");
                }
            }
            Outcome::Refused { reason } => {
                tracing::warn!(reason, "the collector refused metrics; the next ones are sent all the same");
                self.instruments.push_failed(SIGNAL, reason);
            }
            Outcome::Retry { reason, .. } => {
                tracing::warn!(reason, "metrics could not be sent; the next ones tell the same totals");
            }
        }
    }
}

fn points(message: &ExportMetricsServiceRequest) -> u64 {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let metrics = message.resource_metrics.iter().flat_map(|it| &it.scope_metrics).flat_map(|it| &it.metrics);
    let count = |data: &Option<Data>| match data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    };
    metrics.map(|metric| count(&metric.data) as u64).sum()
}
