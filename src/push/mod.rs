//! Sends metrics to an OpenTelemetry collector, again and again, and says how that went.
//!
//! Nothing waits for it: it reads the snapshot that is shown, as a scrape does. What a collector does not take now is
//! told anew with the next message, since all numbers are totals; so nothing is stored for it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::{Clock, Timestamp};
use crate::projection::Snapshot;
use crate::telemetry::Instruments;
use crate::views::otlp::{Options, Sender, metrics};

/// Attempts at one message.
const ATTEMPTS: u32 = 4;
/// The pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A collector may ask for this much patience.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the last message may take at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A collector's answer is short; what is longer is not read.
const MOST_ANSWER: usize = 64 << 10;

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The URL that metrics are sent to.
    pub url: String,
    /// Headers of every message.
    pub headers: Vec<(String, SecretString)>,
    /// How often.
    pub interval: Duration,
    /// When a message counts as failed.
    pub timeout: Duration,
    /// Whether messages are compressed.
    pub gzip: bool,
}

/// Why nothing can be sent at all.
#[derive(Debug, Error)]
pub enum PushError {
    /// A header that no request can carry.
    #[error("otlp: the header {0} cannot be sent")]
    Header(String),
    /// The client cannot be built.
    #[error("otlp: cannot set up the HTTP client: {0}")]
    Client(String),
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Taken, but for so many points.
    Accepted { rejected: u64 },
    /// Not now; after this pause, if it says so.
    Retry { after: Option<Duration>, reason: &'static str },
    /// Never: the next message may be taken.
    Refused { reason: &'static str },
}

/// Sends what is shown.
pub struct Push {
    client: reqwest::Client,
    destination: Destination,
    sender: Sender,
    shown: Arc<ArcSwap<Snapshot>>,
    instruments: Instruments,
    clock: Arc<dyn Clock>,
    started: Timestamp,
}

impl Push {
    /// Ready to send; nothing is sent yet.
    pub fn new(
        destination: Destination,
        sender: Sender,
        shown: Arc<ArcSwap<Snapshot>>,
        instruments: Instruments,
        clock: Arc<dyn Clock>,
        tls: rustls::ClientConfig,
    ) -> Result<Self, PushError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &destination.headers {
            let refused = || PushError::Header(name.clone());
            let name = HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| refused())?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| refused())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("agent-session-exporter/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(destination.timeout)
            // A redirect could carry the headers to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| PushError::Client(error.without_url().to_string()))?;
        instruments.register_signal("metrics");
        let started = clock.now();
        Ok(Self { client, destination, sender, shown, instruments, clock, started })
    }

    /// Sends in every interval until told to stop, and once more then.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tick = interval(self.destination.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one comes at once, when there is nothing to tell yet.
        tick.tick().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = tick.tick() => {}
            }
            let deadline = Instant::now() + self.destination.interval;
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
            let own = self.instruments.gather();
            metrics(&snapshot, &own, &self.sender, Options::default(), self.started, self.clock.now())
        };
        for message in messages {
            self.send(&message, deadline).await;
        }
    }

    /// One message, until it is taken or refused, or the next one is due.
    async fn send(&self, message: &ExportMetricsServiceRequest, deadline: Instant) {
        let points = points(message);
        let body = message.encode_to_vec();
        for attempt in 1.. {
            match self.post(&body).await {
                Outcome::Accepted { rejected } => {
                    self.instruments.pushed("metrics", points.saturating_sub(rejected), rejected);
                    if rejected > 0 {
                        tracing::warn!(rejected, "the collector did not take all metrics");
                    }
                    return;
                }
                Outcome::Refused { reason } => {
                    tracing::warn!(reason, "the collector refused metrics; the next ones are sent all the same");
                    self.instruments.push_failed("metrics", reason);
                    return;
                }
                Outcome::Retry { after, reason } => {
                    self.instruments.push_failed("metrics", reason);
                    let pause = after.unwrap_or(FIRST_PAUSE * 2u32.pow(attempt - 1)).min(LONGEST_PAUSE);
                    if attempt >= ATTEMPTS || Instant::now() + pause >= deadline {
                        tracing::warn!(reason, "metrics could not be sent; the next ones tell the same totals");
                        return;
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    async fn post(&self, body: &[u8]) -> Outcome {
        let mut request = self.client.post(&self.destination.url);
        request = if self.destination.gzip {
            request.header(CONTENT_ENCODING, "gzip").body(compressed(body))
        } else {
            request.body(body.to_vec())
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => return Outcome::Retry { after: None, reason: "timed out" },
            Err(_) => return Outcome::Retry { after: None, reason: "cannot connect" },
        };
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = after.map(Duration::from_secs);
        // The statuses that the OTLP specification calls retryable; all others are for good.
        match response.status().as_u16() {
            200..300 => {
                let mut answer = Vec::new();
                while let Ok(Some(chunk)) = response.chunk().await {
                    answer.extend_from_slice(&chunk);
                    if answer.len() > MOST_ANSWER {
                        break;
                    }
                }
                let partial = ExportMetricsServiceResponse::decode(&*answer).ok().and_then(|it| it.partial_success);
                let rejected = partial.map_or(0, |it| u64::try_from(it.rejected_data_points).unwrap_or(0));
                Outcome::Accepted { rejected }
            }
            429 => Outcome::Retry { after, reason: "throttled" },
            502..=504 => Outcome::Retry { after, reason: "unavailable" },
            401 | 403 => Outcome::Refused { reason: "not authorized" },
            404 => Outcome::Refused { reason: "not found" },
            413 => Outcome::Refused { reason: "too large" },
            400..500 => Outcome::Refused { reason: "refused" },
            _ => Outcome::Refused { reason: "server error" },
        }
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
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
