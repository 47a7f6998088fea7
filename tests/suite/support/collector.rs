//! An OpenTelemetry collector for tests: over HTTP and gRPC on one port, secured or not, and answering as it is told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::Service;
use tonic::{Code, Status};

use super::received::Received;

/// What a collector does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behave {
    /// Takes it.
    Take,
    /// Takes it but for so many points or spans, and says why.
    TakeAllBut(i64),
    /// Takes it, and says that it did not: as when an answer is lost on its way.
    TakeAndDeny,
    /// Has no time; come back after so many seconds.
    Busy(u32),
    /// Has no room; come back after so many seconds.
    Full(u32),
    /// Will never take it.
    Refuse,
    /// Takes it unless it is of more bytes than that (only over HTTP).
    UpTo(usize),
    /// Sends it elsewhere (only over HTTP).
    Redirect(&'static str),
}

/// Decides about each message, by how many came before.
pub type Mood = Box<dyn FnMut(usize) -> Behave + Send>;

struct Desk {
    mood: Mood,
    asked: usize,
    received: Received,
}

impl Desk {
    fn decide(&mut self) -> Behave {
        self.asked += 1;
        (self.mood)(self.asked - 1)
    }
}

/// A collector that takes nothing that breaks a rule; it ends with the test's process.
pub struct Collector {
    /// Its address, for messages over gRPC and as the endpoint over HTTP.
    pub url: String,
    desk: Arc<Mutex<Desk>>,
}

impl Collector {
    /// In the clear.
    pub fn start(mood: impl FnMut(usize) -> Behave + Send + 'static) -> Self {
        Self::with(mood, None)
    }

    /// With this certificate, and for clients that show one.
    pub fn secured(tls: rustls::ServerConfig, mood: impl FnMut(usize) -> Behave + Send + 'static) -> Self {
        Self::with(mood, Some(tls))
    }

    fn with(mood: impl FnMut(usize) -> Behave + Send + 'static, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr().expect("it is bound").port());
        let desk = Arc::new(Mutex::new(Desk { mood: Box::new(mood), asked: 0, received: Received::default() }));
        let shared = Arc::clone(&desk);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(listen(listener, tls, shared));
        });
        Self { url, desk }
    }

    /// What was taken so far.
    pub fn received<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        look(&self.desk.lock().expect("no check has failed").received)
    }

    /// How many messages came, taken or not.
    pub fn asked(&self) -> usize {
        self.desk.lock().expect("no check has failed").asked
    }
}

async fn listen(listener: TcpListener, tls: Option<rustls::ServerConfig>, desk: Arc<Mutex<Desk>>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listening socket");
    let acceptor = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
        tokio::spawn(async move {
            match acceptor {
                None => serve(socket, desk).await,
                // Whoever is not let in has to find out by himself.
                Some(acceptor) => {
                    if let Ok(socket) = acceptor.accept(socket).await {
                        serve(socket, desk).await;
                    }
                }
            }
        });
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, desk: Arc<Mutex<Desk>>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&desk)));
    // A client that goes away in the middle is none of our business.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(request: Request<Incoming>, desk: Arc<Mutex<Desk>>) -> Result<Response<tonic::body::Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let of = |name: &str| head.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let headers: BTreeMap<String, String> =
        head.headers.keys().filter_map(|name| Some((name.to_string(), of(name.as_str())?))).collect();
    assert!(headers["user-agent"].starts_with("agent-session-exporter/"), "{headers:?}");
    let path = head.uri.path().to_owned();
    if headers["content-type"].starts_with("application/grpc") {
        desk.lock().expect("no check has failed").received.headers = headers;
        let request = Request::from_parts(head, Full::new(body));
        return if path.contains("MetricsService") {
            let mut service = MetricsServiceServer::from_arc(Arc::new(Front(desk)));
            service = service.accept_compressed(Gzip).send_compressed(Gzip);
            service.call(request).await
        } else {
            let mut service = TraceServiceServer::from_arc(Arc::new(Front(desk)));
            service = service.accept_compressed(Gzip).send_compressed(Gzip);
            service.call(request).await
        };
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(head.method, "POST");
    let body = if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).expect("gzip");
        Bytes::from(plain)
    } else {
        body
    };
    let mut desk = desk.lock().expect("no check has failed");
    desk.received.headers = headers;
    let behave = desk.decide();
    let (mut rejected, mut said) = (0, String::new());
    if let Behave::TakeAllBut(count) = behave {
        (rejected, said) = (count, "planted in a partial success".to_owned());
    }
    let is_too_large = matches!(behave, Behave::UpTo(most) if body.len() > most);
    let takes =
        !is_too_large && !matches!(behave, Behave::Busy(_) | Behave::Full(_) | Behave::Refuse | Behave::Redirect(_));
    let reply = match path.as_str() {
        "/v1/metrics" => {
            let message = ExportMetricsServiceRequest::decode(&*body).expect("a message");
            assert_eq!(message.encode_to_vec(), body, "there is nothing in it that nobody knows");
            if takes {
                desk.received.take(&message);
            }
            let partial = ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message: said };
            ExportMetricsServiceResponse { partial_success: (rejected > 0).then_some(partial) }.encode_to_vec()
        }
        "/v1/traces" => {
            let message = ExportTraceServiceRequest::decode(&*body).expect("a message");
            assert_eq!(message.encode_to_vec(), body, "there is nothing in it that nobody knows");
            if takes {
                desk.received.take_spans(&message);
            }
            let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: said };
            ExportTraceServiceResponse { partial_success: (rejected > 0).then_some(partial) }.encode_to_vec()
        }
        other => panic!("nobody sends to {other}"),
    };
    let response = Response::builder();
    let response = match behave {
        _ if is_too_large => response.status(413).body(Full::default()),
        Behave::Take | Behave::TakeAllBut(_) | Behave::UpTo(_) => {
            response.status(200).header("content-type", "application/x-protobuf").body(Full::from(reply))
        }
        Behave::TakeAndDeny => response.status(502).body(Full::default()),
        Behave::Busy(seconds) => response.status(503).header("retry-after", seconds).body(Full::default()),
        Behave::Full(seconds) => response.status(429).header("retry-after", seconds).body(Full::default()),
        Behave::Refuse => response.status(400).body(Full::from("planted in a refusal")),
        Behave::Redirect(location) => response.status(307).header("location", location).body(Full::default()),
    };
    Ok(response.expect("a response").map(tonic::body::Body::new))
}

/// The gRPC side of the desk.
struct Front(Arc<Mutex<Desk>>);

impl Front {
    fn answer(&self, take: impl FnOnce(&mut Received)) -> Result<i64, Status> {
        let mut desk = self.0.lock().expect("no check has failed");
        match desk.decide() {
            Behave::Take => take(&mut desk.received),
            Behave::TakeAllBut(count) => {
                take(&mut desk.received);
                return Ok(count);
            }
            Behave::TakeAndDeny => {
                take(&mut desk.received);
                return Err(Status::unavailable("planted in a denial"));
            }
            Behave::Busy(seconds) => return Err(later(Code::Unavailable, seconds)),
            Behave::Full(seconds) => return Err(later(Code::ResourceExhausted, seconds)),
            Behave::Refuse => return Err(Status::invalid_argument("planted in a refusal")),
            Behave::Redirect(_) | Behave::UpTo(_) => panic!("gRPC says that otherwise"),
        }
        Ok(0)
    }
}

/// A status with a `google.rpc.RetryInfo`, byte by byte: details (3) of one Any with its type (1) and value (2), in
/// which a delay (1) has its seconds (1).
fn later(code: Code, seconds: u32) -> Status {
    let seconds = u8::try_from(seconds).expect("a byte will do");
    let type_url = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![0x0a, u8::try_from(type_url.len()).expect("it is short")];
    any.extend_from_slice(type_url);
    any.extend([0x12, 4, 0x0a, 2, 0x08, seconds]);
    let mut details = vec![0x1a, u8::try_from(any.len()).expect("it is short")];
    details.extend(any);
    Status::with_details(code, "planted in a status", details.into())
}

#[tonic::async_trait]
impl MetricsService for Front {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let rejected = self.answer(|received| received.take(request.get_ref()))?;
        let partial =
            || ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message: "planted".into() };
        let partial_success = (rejected > 0).then(partial);
        Ok(tonic::Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl TraceService for Front {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let rejected = self.answer(|received| received.take_spans(request.get_ref()))?;
        let partial = || ExportTracePartialSuccess { rejected_spans: rejected, error_message: "planted".into() };
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: (rejected > 0).then(partial) }))
    }
}
