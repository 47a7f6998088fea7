//! OTLP over gRPC: the generated clients on a connection of our own, and what a status means.

use std::error::Error;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use secrecy::ExposeSecret;
use tokio::time::timeout;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Extensions, Request, Response, Status};

use super::client::{Answer, Destination, Outcome, PushError, Signal, USER_AGENT};
use crate::connection::{find, reason};

/// A collector, over gRPC.
pub(super) struct Grpc {
    endpoint: Endpoint,
    connector: HttpsConnector<HttpConnector>,
    /// Replaced after a message that got no answer: the connection may be dead without anybody having told.
    channel: Mutex<Channel>,
    headers: MetadataMap,
    timeout: Duration,
    gzip: bool,
}

impl Grpc {
    pub(super) fn new(destination: &Destination, signal: Signal) -> Result<Self, PushError> {
        let mut headers = MetadataMap::new();
        for (name, value) in &destination.headers {
            let refused = || PushError::Header(name.clone());
            let name: AsciiMetadataKey = name.to_ascii_lowercase().parse().map_err(|_| refused())?;
            let mut value: AsciiMetadataValue = value.expose_secret().parse().map_err(|_| refused())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let endpoint = Endpoint::from_shared(destination.url.clone())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(|_| PushError::Endpoint(signal.name()))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(destination.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(destination.trust.client_config()?)
            .https_or_http()
            .enable_http2()
            .wrap_connector(http);
        let channel = Mutex::new(endpoint.connect_with_connector_lazy(connector.clone()));
        let Destination { timeout, gzip, .. } = *destination;
        Ok(Self { endpoint, connector, channel, headers, timeout, gzip })
    }

    pub(super) async fn send_metrics(&self, message: ExportMetricsServiceRequest) -> Outcome {
        let mut client = MetricsServiceClient::new(self.channel());
        if self.gzip {
            client = client.send_compressed(Gzip).accept_compressed(Gzip);
        }
        self.outcome(client.export(self.request(message))).await
    }

    pub(super) async fn send_traces(&self, message: ExportTraceServiceRequest) -> Outcome {
        let mut client = TraceServiceClient::new(self.channel());
        if self.gzip {
            client = client.send_compressed(Gzip).accept_compressed(Gzip);
        }
        self.outcome(client.export(self.request(message))).await
    }

    fn channel(&self) -> Channel {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn request<M>(&self, message: M) -> Request<M> {
        Request::from_parts(self.headers.clone(), Extensions::default(), message)
    }

    async fn outcome<A: Answer>(&self, call: impl Future<Output = Result<Response<A>, Status>>) -> Outcome {
        match timeout(self.timeout, call).await {
            Ok(Ok(answer)) => answer.into_inner().outcome(),
            Ok(Err(status)) => judge(&status),
            Err(_) => {
                let fresh = self.endpoint.connect_with_connector_lazy(self.connector.clone());
                *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                Outcome::Retry { after: None, reason: "timed out" }
            }
        }
    }
}

/// The codes that the OTLP specification calls retryable; all others are for good.
fn judge(status: &Status) -> Outcome {
    if let Some(source) = status.source() {
        // It never came to an answer.
        return Outcome::Retry { after: None, reason: reason(source, find::<ConnectError>(source).is_none()) };
    }
    let after = retry_delay(status.details());
    match status.code() {
        Code::Unavailable => Outcome::Retry { after, reason: "unavailable" },
        Code::DeadlineExceeded => Outcome::Retry { after, reason: "timed out" },
        Code::Cancelled | Code::Aborted | Code::OutOfRange | Code::DataLoss => {
            Outcome::Retry { after, reason: "server error" }
        }
        // Without a time to come back it means that there will be no room later either.
        Code::ResourceExhausted if after.is_some() => Outcome::Retry { after, reason: "throttled" },
        Code::ResourceExhausted => Outcome::TooLarge,
        Code::Unauthenticated | Code::PermissionDenied => Outcome::Refused { reason: "not authorized" },
        Code::Unimplemented | Code::NotFound => Outcome::Refused { reason: "not found" },
        Code::Internal | Code::Unknown => Outcome::Refused { reason: "server error" },
        _ => Outcome::Refused { reason: "refused" },
    }
}

/// `google.rpc.Status`, as it stands in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// When the collector wants to be asked again, if it says so.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|it| it.type_url.ends_with("/google.rpc.RetryInfo"))?;
    // An empty RetryInfo is an invitation all the same.
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_retry_info(code: Code, delay: Option<Delay>) -> Status {
        let value = RetryInfo { retry_delay: delay }.encode_to_vec();
        let other = Detail { type_url: "type.googleapis.com/google.rpc.Help".into(), value: vec![1, 2] };
        let info = Detail { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value };
        Status::with_details(code, "", RpcStatus { details: vec![other, info] }.encode_to_vec().into())
    }

    #[test]
    fn retryable_codes_are_those_of_the_specification() {
        use Code::*;
        for code in [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss] {
            assert!(matches!(judge(&Status::new(code, "")), Outcome::Retry { after: None, .. }), "{code:?}");
        }
        for code in [
            Unknown,
            InvalidArgument,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            FailedPrecondition,
            Unimplemented,
            Internal,
            Unauthenticated,
        ] {
            assert!(matches!(judge(&Status::new(code, "")), Outcome::Refused { .. }), "{code:?}");
        }
        assert_eq!(judge(&Status::new(ResourceExhausted, "")), Outcome::TooLarge);
    }

    #[test]
    fn a_collector_that_is_full_is_asked_again_when_it_says_when() {
        let delay = Some(Delay { seconds: 3, nanos: 500_000_000 });
        let after = |status: &Status| match judge(status) {
            Outcome::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        let full = with_retry_info(Code::ResourceExhausted, delay);
        assert_eq!(after(&full), Some(Duration::from_millis(3500)));
        assert_eq!(after(&with_retry_info(Code::ResourceExhausted, None)), Some(Duration::ZERO));
        assert_eq!(after(&with_retry_info(Code::Unavailable, delay)), Some(Duration::from_millis(3500)));
        let nonsense = Some(Delay { seconds: -1, nanos: 0 });
        assert_eq!(after(&with_retry_info(Code::Unavailable, nonsense)), None);
    }
}
