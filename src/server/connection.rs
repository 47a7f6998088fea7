//! Accepts connections, bounds them in number and patience, and lets them finish at shutdown.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{App, route};
use crate::telemetry::broken_off;

/// Connections per listener. Further ones wait in the system's queue until one closes.
const MAX_CONNECTIONS: usize = 256;
/// A connection that has not sent a whole request head by then is closed. It bounds the pause between two requests as
/// well, so it is longer than a scrape interval of a minute.
const HEAD_PATIENCE: Duration = Duration::from_secs(65);
/// Headers of one request; past it the request is refused.
const MAX_HEADERS: usize = 64;
/// Bytes of a request head; past it the request is refused. Also what is read ahead.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What is not answered so long after shutdown began is cut off.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// Between failures to accept, which are mostly a lack of file descriptors that others have to give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then until open requests are answered.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    error!(error = broken_off(&error), "a connection ended unexpectedly");
                }
            }
            accepted = accept(&listener, &slots) => match accepted {
                Ok((stream, slot)) => {
                    connections.spawn(connection(stream, Arc::clone(&app), shutdown.clone(), slot));
                }
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

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn connection(stream: TcpStream, app: Arc<App>, shutdown: CancellationToken, slot: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection keeps its small packets waiting");
    }
    converse(stream, app, shutdown).await;
    drop(slot);
}

/// One connection over any stream, until one side has had enough.
pub async fn converse<S>(stream: S, app: Arc<App>, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(route::answer(&app, &request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        // Whoever closes his side after the request still waits for the answer.
        .half_close(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "a connection broke");
    }
}
