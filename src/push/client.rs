//! Carries messages of one signal to one collector: the interface that is the same over HTTP and gRPC.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use secrecy::SecretString;
use thiserror::Error;

use super::grpc::Grpc;
use super::http::Http;
use crate::tls::{TlsError, Trust};

/// How this program is named to collectors.
pub(super) const USER_AGENT: &str = concat!("agent-session-exporter/", env!("CARGO_PKG_VERSION"));
/// A collector's answer is short; what is longer is not read.
pub(super) const MOST_ANSWER: usize = 64 << 10;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Numbers.
    Metrics,
    /// Spans.
    Traces,
}

impl Signal {
    /// Its name, as a label and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }
}

/// How it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A POST with a message as protobuf.
    Http,
    /// A gRPC call.
    Grpc,
}

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Over HTTP the whole URL, over gRPC scheme, host and port.
    pub url: String,
    /// Which of the two.
    pub protocol: Protocol,
    /// Headers of every message.
    pub headers: Vec<(String, SecretString)>,
    /// When a message counts as failed.
    pub timeout: Duration,
    /// Whether messages are compressed.
    pub gzip: bool,
    /// How the connection is secured, where the URL says that it is.
    pub trust: Trust,
}

/// Why nothing can be sent at all. Repeats no URL and no value of a header.
#[derive(Debug, Error)]
pub enum PushError {
    /// A header that no request can carry.
    #[error("otlp: the header {0} cannot be sent")]
    Header(String),
    /// The address is none.
    #[error("otlp: the endpoint for {0} is not a URL")]
    Endpoint(&'static str),
    /// The client cannot be built.
    #[error("otlp: cannot set up the HTTP client: {0}")]
    Client(String),
    /// What has to be remembered over restarts cannot be.
    #[error("otlp: cannot use {path}: {error}")]
    Kept {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("otlp: {0}")]
    Tls(#[from] TlsError),
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken, but for so many points or spans; `warned` if the collector had something to say about it.
    Accepted {
        /// What it left out for good.
        rejected: u64,
        /// Whether a message came with it. It may quote anything, so it is not passed on.
        warned: bool,
    },
    /// Not now; after this pause, if the collector named one.
    Retry {
        /// The collector's own wish.
        after: Option<Duration>,
        /// From a closed set.
        reason: &'static str,
    },
    /// Not as it is: a smaller message may be taken.
    TooLarge,
    /// Never: the same message would be refused again.
    Refused {
        /// From a closed set.
        reason: &'static str,
    },
}

impl Outcome {
    /// In a word from a closed set, why the message was not taken; empty if it was.
    pub const fn refusal(self) -> &'static str {
        match self {
            Self::Accepted { .. } => "",
            Self::TooLarge => "too large",
            Self::Retry { reason, .. } | Self::Refused { reason } => reason,
        }
    }
}

/// A collector, for one signal.
pub struct Client {
    carrier: Carrier,
}

enum Carrier {
    Http(Http),
    Grpc(Box<Grpc>),
}

impl Client {
    /// Ready to send; nothing is connected yet. Must be called inside the async runtime.
    pub fn new(destination: &Destination, signal: Signal) -> Result<Self, PushError> {
        let carrier = match destination.protocol {
            Protocol::Http => Carrier::Http(Http::new(destination, signal)?),
            Protocol::Grpc => Carrier::Grpc(Box::new(Grpc::new(destination, signal)?)),
        };
        Ok(Self { carrier })
    }

    /// Sends one message, once.
    pub async fn send_metrics(&self, message: &ExportMetricsServiceRequest) -> Outcome {
        match &self.carrier {
            Carrier::Http(http) => http.post::<_, ExportMetricsServiceResponse>(message).await,
            Carrier::Grpc(grpc) => grpc.send_metrics(message.clone()).await,
        }
    }

    /// Sends one message, once.
    pub async fn send_traces(&self, message: &ExportTraceServiceRequest) -> Outcome {
        match &self.carrier {
            Carrier::Http(http) => http.post::<_, ExportTraceServiceResponse>(message).await,
            Carrier::Grpc(grpc) => grpc.send_traces(message.clone()).await,
        }
    }
}

/// An answer that may say that part of a message was left out.
pub(super) trait Answer {
    /// How much was left out, and whether a message came with it.
    fn partial(self) -> (i64, bool);

    /// The outcome of a message that was answered so.
    fn outcome(self) -> Outcome
    where
        Self: Sized,
    {
        let (rejected, warned) = self.partial();
        Outcome::Accepted { rejected: u64::try_from(rejected).unwrap_or(0), warned }
    }
}

impl Answer for ExportMetricsServiceResponse {
    fn partial(self) -> (i64, bool) {
        self.partial_success.map_or((0, false), |it| (it.rejected_data_points, !it.error_message.is_empty()))
    }
}

impl Answer for ExportTraceServiceResponse {
    fn partial(self) -> (i64, bool) {
        self.partial_success.map_or((0, false), |it| (it.rejected_spans, !it.error_message.is_empty()))
    }
}
