//! Sends what is shown, again and again.
//!
//! Nothing waits for it: it reads the snapshot that is shown, as a scrape does. What a collector does not take now is
//! told anew with the next message: totals as they are by then, or all that came since the last message that was taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Destination, Outcome, PushError, Signal};
use super::delta::Deltas;
use super::ended::Ended;
use super::failure;
use super::retry::{Patience, retrying};
use crate::domain::{Clock, Timestamp};
use crate::projection::Snapshot;
use crate::telemetry::Instruments;
use crate::views::otlp::{Options, Sender, metrics};

/// Attempts at one message.
const ATTEMPTS: u32 = 4;
/// How long the last message may take at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The signal's name, as a label.
const SIGNAL: &str = Signal::Metrics.name();

/// How metrics are told.
#[derive(Clone, Debug)]
pub struct Manner {
    /// How often.
    pub interval: Duration,
    /// Whether distributions are told in buckets that grow exponentially.
    pub exponential: bool,
    /// Where it is kept what was told, if not totals are told but what came since.
    pub delta: Option<PathBuf>,
}

/// Sends what is shown.
pub struct Push {
    client: Client,
    manner: Manner,
    deltas: Option<Deltas>,
    ended: Ended,
    shown: Shown,
    instruments: Instruments,
}

/// What there is to tell.
struct Shown {
    sender: Sender,
    snapshot: Arc<ArcSwap<Snapshot>>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
    options: Options,
}

impl Push {
    /// Ready to send; nothing is sent yet.
    pub fn new(
        destination: &Destination,
        manner: Manner,
        sender: Sender,
        snapshot: Arc<ArcSwap<Snapshot>>,
        instruments: Instruments,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PushError> {
        let client = Client::new(destination, Signal::Metrics)?;
        let deltas = manner.delta.as_deref().map(Deltas::open).transpose()?;
        instruments.register_signal(SIGNAL);
        let (started, options) = (clock.now(), Options { exponential: manner.exponential });
        let ended = Ended::default();
        Ok(Self {
            client,
            manner,
            deltas,
            ended,
            shown: Shown { sender, snapshot, clock, started, options },
            instruments,
        })
    }

    /// Sends in every interval until told to stop, and once more then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = interval(self.manner.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one comes at once, when there is nothing to tell yet.
        tick.tick().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = tick.tick() => {}
            }
            self.send_all(Instant::now() + self.manner.interval, &shutdown).await;
        }
        let last = Instant::now() + LAST_WORDS;
        if timeout(LAST_WORDS, self.send_all(last, &CancellationToken::new())).await.is_err() {
            tracing::warn!("the last metrics did not reach the collector in time");
        } else if let Some(deltas) = self.deltas.filter(|deltas| deltas.next().is_none()) {
            // What was refused is told after the next start.
            saved(&deltas).await;
        }
    }

    async fn send_all(&mut self, deadline: Instant, stop: &CancellationToken) {
        let sending = Sending { client: &self.client, instruments: &self.instruments, deadline, stop };
        if let Some(deltas) = &mut self.deltas
            && sending.send_pending(deltas).await == Came::Waits
        {
            return;
        }
        let mut messages = self.shown.messages(&self.instruments);
        self.ended.add(&mut messages);
        let Some(deltas) = &mut self.deltas else {
            let mut is_taken = true;
            for message in messages {
                let outcome = sending.send(&message, &AtomicBool::default()).await;
                is_taken &= matches!(outcome, Outcome::Accepted { .. });
            }
            if is_taken {
                self.ended.done();
            }
            return;
        };
        for message in messages {
            deltas.add(message);
        }
        if !saved(deltas).await {
            deltas.drop_all();
            self.instruments.push_failed(SIGNAL, "not written down");
            return;
        }
        if sending.send_pending(deltas).await == Came::Taken {
            self.ended.done();
        }
    }
}

/// What came of the messages that waited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// All were taken.
    Taken,
    /// Some were refused for good, and none waits.
    Refused,
    /// Some still wait.
    Waits,
}

impl Shown {
    fn messages(&self, instruments: &Instruments) -> Vec<ExportMetricsServiceRequest> {
        let snapshot = self.snapshot.load();
        metrics(&snapshot, &instruments.gather(), &self.sender, self.options, self.started, self.clock.now())
    }
}

/// What was sent must be known after a kill, or it would be sent twice.
async fn saved(deltas: &Deltas) -> bool {
    match tokio::task::spawn_blocking(deltas.saving()).await {
        Ok(Ok(())) => true,
        failed => {
            let error = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "the thread broke off".to_owned(),
            };
            tracing::warn!(
                error,
                "cannot write down which metrics are sent, so they wait; is the storage folder full?"
            );
            false
        }
    }
}

/// One round of messages.
struct Sending<'a> {
    client: &'a Client,
    instruments: &'a Instruments,
    deadline: Instant,
    /// Ends it early; only waiting for the collector is broken off.
    stop: &'a CancellationToken,
}

impl Sending<'_> {
    /// Sends what waits, in order.
    async fn send_pending(&self, deltas: &mut Deltas) -> Came {
        let mut came = Came::Taken;
        while let Some(message) = deltas.next() {
            let is_uncertain = AtomicBool::new(false);
            let outcome = self.send(message, &is_uncertain).await;
            if is_uncertain.load(Relaxed) {
                deltas.uncertain();
            }
            match outcome {
                Outcome::Accepted { .. } => deltas.taken(),
                Outcome::TooLarge | Outcome::Refused { .. } => {
                    deltas.refused();
                    came = Came::Refused;
                }
                Outcome::Retry { .. } => return Came::Waits,
            }
        }
        came
    }

    /// One message, until it is taken or refused, or the next one is due. What it was broken off in is uncertain, too.
    async fn send(&self, message: &ExportMetricsServiceRequest, is_uncertain: &AtomicBool) -> Outcome {
        let patience = Patience { attempts: Some(ATTEMPTS), until: Some(self.deadline) };
        let failed = |reason| {
            is_uncertain.fetch_or(failure::is_uncertain(reason), Relaxed);
            self.instruments.push_failed(SIGNAL, reason);
        };
        let outcome = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                is_uncertain.store(true, Relaxed);
                return Outcome::Retry { after: None, reason: "stopped" };
            }
            outcome = retrying(patience, failed, || self.client.send_metrics(message)) => outcome,
        };
        match outcome {
            Outcome::Accepted { rejected, .. } => {
                self.instruments.pushed(SIGNAL, points(message).saturating_sub(rejected), rejected);
                if rejected > 0 {
                    tracing::warn!(rejected, "the collector did not take all metrics");
                }
            }
            Outcome::TooLarge | Outcome::Refused { .. } => {
                let reason = outcome.refusal();
                tracing::warn!(reason, "the collector refused metrics; the next ones are sent all the same");
                self.instruments.push_failed(SIGNAL, reason);
            }
            Outcome::Retry { reason, .. } => {
                tracing::warn!(reason, "metrics could not be sent; the next ones make up for it");
            }
        }
        outcome
    }
}

fn points(message: &ExportMetricsServiceRequest) -> u64 {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let metrics = message.resource_metrics.iter().flat_map(|it| &it.scope_metrics).flat_map(|it| &it.metrics);
    let count = |data: &Option<Data>| match data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    };
    metrics.map(|metric| count(&metric.data) as u64).sum()
}
