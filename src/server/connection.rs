//! Accepts connections, secures them, bounds them in number and patience, and lets them finish at shutdown.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::caller::Caller;
use super::guests::{Guest, Guests};
use super::respond::{self, Answer};
use super::{App, route};
use crate::telemetry::broken_off;

/// Connections per listener. For a further one the guest that keeps us waiting longest has to go.
const MAX_CONNECTIONS: usize = 256;
/// A TLS handshake that is not done by then is given up.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// A connection that has neither sent a whole request head by then nor taken its answer is closed. It bounds the pause
/// between two requests as well, so it is longer than a scrape interval of a minute.
const PATIENCE: Duration = Duration::from_secs(65);
/// For a connection that is closed to say so to the other side.
const FAREWELL: Duration = Duration::from_secs(1);
/// Headers of one request over HTTP/1.1; past it the request is refused.
const MAX_HEADERS: usize = 64;
/// Bytes of a request head; past it the request is refused. Also what is read ahead.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Requests on one connection over HTTP/2 at the same time; further ones wait with the client.
const MAX_STREAMS: u32 = 8;
/// Bytes of an answer that are held ready for a slow reader over HTTP/2, for each of its requests.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// What is not answered so long after shutdown began is cut off.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// Between failures to accept, which are mostly a lack of file descriptors that others have to give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a TLS connection begins with: the type of a record with a handshake in it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves until `shutdown`, then until open requests are answered.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: CancellationToken) {
    let guests = Guests::new(MAX_CONNECTIONS);
    let mut connections = JoinSet::new();
    // Accepted, and without a seat yet.
    let mut next: Option<(TcpStream, Caller)> = None;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    error!(error = broken_off(&error), "a connection ended unexpectedly");
                }
            }
            seat = guests.seat(), if next.is_some() => {
                if let Some((stream, caller)) = next.take() {
                    let guest = guests.welcome(caller, seat);
                    let visit = Visit { app: Arc::clone(&app), guest: Arc::new(guest), caller };
                    connections.spawn(visit.attend(stream, shutdown.clone()));
                }
            }
            accepted = listener.accept(), if next.is_none() => match accepted {
                Ok((stream, address)) => next = Some((stream, address.into())),
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_PATIENCE, drained).await.is_err() {
        warn!(connections = connections.len(), "connections cut off at shutdown");
    }
}

/// What bytes go over.
trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

/// One connection from its beginning to its end.
#[derive(Clone)]
struct Visit {
    app: Arc<App>,
    guest: Arc<Guest>,
    caller: Caller,
}

impl Visit {
    async fn attend(self, stream: TcpStream, shutdown: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection keeps its small packets waiting");
        }
        tokio::select! {
            () = self.speak(stream, &shutdown) => {}
            () = self.guest.told_to_leave() => debug!("a connection made room for another one"),
        }
    }

    async fn speak(&self, stream: TcpStream, shutdown: &CancellationToken) {
        let Some(acceptor) = self.app.door.load().tls.clone() else {
            return self.http1(stream, shutdown).await;
        };
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, handshake(&acceptor, stream)) => shaken,
            () = shutdown.cancelled() => return,
        };
        match shaken {
            Ok(Ok(Shaken::Tls(stream))) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(*stream, shutdown).await;
            }
            Ok(Ok(Shaken::Tls(stream))) => self.http1(*stream, shutdown).await,
            Ok(Ok(Shaken::Plain(stream))) => self.http1_in_the_clear(stream, shutdown).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake was not done in time"),
        }
    }

    async fn http1(&self, stream: impl Stream, shutdown: &CancellationToken) {
        let service = service_fn(|request: Request<Incoming>| self.answer(request));
        self.drive(http1_builder().serve_connection(TokioIo::new(stream), service), shutdown).await;
    }

    async fn http2(&self, stream: impl Stream, shutdown: &CancellationToken) {
        // Requests of one connection are answered on tasks of their own.
        let visit = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let visit = visit.clone();
            async move { visit.answer(request).await }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        self.drive(connection, shutdown).await;
    }

    /// For who does not know that connections are secured here: one answer that says so.
    async fn http1_in_the_clear(&self, stream: TcpStream, shutdown: &CancellationToken) {
        let service = service_fn(|_: Request<Incoming>| async {
            let line = "this port speaks HTTPS; use https:// (in Prometheus: scheme: https)";
            Ok::<_, Infallible>(respond::text(StatusCode::BAD_REQUEST, line))
        });
        let connection = http1_builder().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        self.drive(connection, shutdown).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let _work = self.guest.work();
        Ok(route::answer(&self.app, &request, self.caller).await)
    }

    /// Until the guest goes, or there is nothing more to be expected from him.
    async fn drive<C>(&self, connection: C, shutdown: &CancellationToken)
    where
        C: GracefulConnection,
        C::Error: std::fmt::Display,
    {
        let mut connection = pin!(connection);
        let mut is_ending = false;
        let mut last_moment = None;
        loop {
            let wait = match (last_moment, self.guest.patience_left(PATIENCE)) {
                (None, Some(left)) => left,
                (None, None) => {
                    debug!("a connection is not waited for any longer");
                    connection.as_mut().graceful_shutdown();
                    (is_ending, last_moment) = (true, Some(Instant::now() + FAREWELL));
                    FAREWELL
                }
                (Some(at), _) if at <= Instant::now() => return,
                (Some(at), _) => at - Instant::now(),
            };
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        debug!(%error, "a connection broke");
                    }
                    return;
                }
                () = shutdown.cancelled(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// One connection over any stream, without a handshake and with no other guest, until one side has had enough.
pub async fn converse<S>(stream: S, app: Arc<App>, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let guests = Guests::new(1);
    let caller = Caller::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let guest = Arc::new(guests.welcome(caller, guests.seat().await));
    Visit { app, guest, caller }.http1(stream, &shutdown).await;
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Patience is kept by the visit, which knows what it waits for.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    // Whoever closes his side after the request still waits for the answer.
    builder.half_close(true);
    // Else a complaint about what comes behind a request is put into the middle of that request's answer, if that still
    // waits to be sent (hyper 1.12).
    builder.writev(false);
    builder
}

/// How a connection to a secured port turned out.
enum Shaken {
    Tls(Box<TlsStream<TcpStream>>),
    /// Somebody speaks something else.
    Plain(TcpStream),
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Shaken> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if first[0] == TLS_HANDSHAKE => Ok(Shaken::Tls(Box::new(acceptor.accept(stream).await?))),
        _ => Ok(Shaken::Plain(stream)),
    }
}
