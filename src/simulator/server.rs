//! The thin shell: a clock, a fault plan and an HTTP/1.1 server around the pure platform.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::everruns;
use super::faults::FaultPlan;
use super::options::{OptionsError, SimulateOptions};
use super::site::Site;
use super::wire::{Request, Response, Wait};
use super::world::World;

/// A clock: microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A held long poll looks at the clock at least this often, in case the clock is not the system's.
const LONGEST_NAP: Duration = Duration::from_millis(50);
/// Connections still open this long after a shutdown are dropped.
const PATIENCE: Duration = Duration::from_secs(2);

/// A platform that can be served: the world, its faults, and what time it is there.
pub struct Simulator<W = World> {
    world: W,
    faults: Mutex<FaultPlan>,
    clock: Clock,
}

impl Simulator {
    /// H Company's platform. It starts now, calls this moment `epoch_us`, and goes on at the pace of real time.
    pub fn new(options: SimulateOptions, epoch_us: i64) -> Result<Self, OptionsError> {
        let faults = FaultPlan::new(&options);
        World::new(options, epoch_us).map(|world| Self::around(world, faults, epoch_us))
    }
}

impl Simulator<everruns::World> {
    /// Everruns, starting now like [`Simulator::new`].
    pub fn everruns(options: SimulateOptions, epoch_us: i64) -> Result<Self, OptionsError> {
        let faults = FaultPlan::new(&options);
        everruns::World::new(options, epoch_us).map(|world| Self::around(world, faults, epoch_us))
    }
}

impl<W: Site> Simulator<W> {
    fn around(world: W, faults: FaultPlan, epoch_us: i64) -> Self {
        Self { world, faults: Mutex::new(faults), clock: running_from(epoch_us) }
    }

    /// Follows another clock instead, for tests that make their own time.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The sessions.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// The simulator's own account at this moment.
    pub fn truth(&self, since_us: Option<i64>) -> W::Truth {
        self.world.truth((self.clock)(), since_us)
    }

    /// Requests that came too fast for the limit, and were refused for that.
    pub fn above_limit(&self) -> u64 {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).above_limit()
    }

    /// Answers one request now, without delay: a long poll that must wait says so in [`Response::wait`].
    pub fn answer(&self, request: &Request) -> Response {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        self.world.respond(&mut faults, (self.clock)(), request)
    }

    /// Answers one request and takes the time that the platform would take.
    async fn answer_in_time(&self, request: &Request) -> Response {
        let first = self.answer(request);
        if let Some(delay) = first.delay {
            tokio::time::sleep(delay).await;
        }
        match first.wait {
            Some(wait) => self.hold(request, first, wait).await,
            None => first,
        }
    }

    /// Holds a long poll until there is an event or its time is over, by this clock or by real time.
    async fn hold(&self, request: &Request, first: Response, wait: Wait) -> Response {
        let mut latest = first;
        let real_deadline = Instant::now() + between((self.clock)(), wait.deadline_us);
        while let Some(wait_now) = latest.wait {
            let now = (self.clock)();
            if now >= wait.deadline_us || Instant::now() >= real_deadline {
                break;
            }
            let next = wait_now.next_event_us.map_or(wait.deadline_us, |next| next.min(wait.deadline_us));
            tokio::time::sleep(between(now, next).clamp(Duration::from_millis(1), LONGEST_NAP)).await;
            latest = self.world.respond_again((self.clock)(), request);
        }
        latest
    }
}

/// A clock that shows `epoch_us` now. The wall clock is the caller's to read.
fn running_from(epoch_us: i64) -> Clock {
    let started = std::time::Instant::now();
    Arc::new(move || {
        let elapsed = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        epoch_us.saturating_add(elapsed)
    })
}

fn between(from_us: i64, to_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(to_us - from_us).unwrap_or(0))
}

/// Serves the platform until `shutdown`; a failing connection ends alone.
pub async fn serve<W: Site>(
    listener: TcpListener,
    simulator: Arc<Simulator<W>>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let graceful = GracefulShutdown::new();
    loop {
        let (socket, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Running out of file descriptors passes; an endless loop of refusals would not help.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(LONGEST_NAP).await;
                    continue;
                }
            },
        };
        socket.set_nodelay(true)?;
        let simulator = simulator.clone();
        let service = service_fn(move |request| handle(simulator.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(true)
            .serve_connection(TokioIo::new(socket), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Includes the connections that a fault cuts on purpose.
                tracing::debug!(%peer, %error, "connection ended early");
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(PATIENCE, graceful.shutdown()).await;
    Ok(())
}

async fn handle<W: Site>(
    simulator: Arc<Simulator<W>>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Announced>, http::Error> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = Request {
        method: request.method().as_str().to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        organization: header("x-org-id"),
    };
    let answer = simulator.answer_in_time(&request).await;
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    response.body(Announced::new(answer.body, answer.cut))
}

/// A body that announces its full length and may break off before.
struct Announced {
    length: u64,
    rest: Option<Bytes>,
    breaks_off: bool,
    flushed: bool,
}

impl Announced {
    fn new(body: Bytes, cut: Option<usize>) -> Self {
        let sent = cut.map_or_else(|| body.clone(), |cut| body.slice(..cut.min(body.len())));
        Self {
            length: body.len() as u64,
            breaks_off: sent.len() < body.len(),
            rest: (!sent.is_empty()).then_some(sent),
            flushed: false,
        }
    }
}

impl Body for Announced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(part) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if !self.breaks_off {
            return Poll::Ready(None);
        }
        if !self.flushed {
            // The server writes out what it has only when the body makes it wait; without that the head would be lost.
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.breaks_off = false;
        Poll::Ready(Some(Err(io::Error::other("cut by a simulated fault"))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && !self.breaks_off
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
