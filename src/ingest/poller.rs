//! One source's loop: does what the schedule says, within the budget, and hands everything learnt to the engine.
//!
//! The poller owns what jobs must not touch: the socket, the clock, the retries ([`Access`]). A job that fails is tried
//! again later. Nothing that fails here moves a cursor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::access::Access;
use super::platforms::Platform;
use super::schedule::{Ended, Rhythm, Schedule, Tick, Work};
use super::{Failure, Finish, Input, Job, Output, Request, Response};
use crate::domain::{Due, Item, Receipt, Report, SessionId, SourceIx, Timestamp};

/// How long before the account is looked at again when nothing could be learnt of it.
const UNRECOGNISED_WAIT: Duration = Duration::from_secs(15);
/// How long before a foreign account is looked at again; somebody has to change the configuration.
const FOREIGN_WAIT: Duration = Duration::from_secs(600);
/// With more sessions than this waiting to be read, discovery looks for no new ones: finding more helps nobody.
const MAX_BACKLOG: usize = 2000;

/// A pending commit.
pub type Committing<'a> = Pin<Box<dyn Future<Output = Result<Receipt, LedgerError>> + Send + 'a>>;

/// Where reports go: durable when the answer comes.
pub trait Ledger: Send + Sync {
    /// Commits a report.
    fn commit(&self, report: Report) -> Committing<'_>;

    /// The account was recognised: its present key is the one to know it by.
    fn recognised(&self, source: SourceIx);
}

/// Why a report was not committed.
#[derive(Clone, Debug, Error)]
pub enum LedgerError {
    /// Its sessions are those of another source.
    #[error("its sessions are those of source {0}")]
    CountedTwice(String),
    /// Anything that may be over when it is tried again.
    #[error("not committed: {0}")]
    Failed(String),
}

/// Told of what happens, for the exporter's own metrics and health.
pub trait Witness: Send + Sync {
    /// A request was answered, with this status or kind of failure.
    fn requested(&self, endpoint: &'static str, code: &str, took: Duration, bytes: u64);
    /// The platform asked for fewer requests.
    fn throttled(&self);
    /// A stage of the source succeeded.
    fn succeeded(&self, stage: &'static str, at: Timestamp);
    /// A session could not be read. It is tried again later.
    fn unread(&self, failure: &Failure);
    /// A round of discovery came to its end.
    fn discovered(&self, outcome: Result<(), &Failure>, at: Timestamp);
    /// So many sessions wait to be read.
    fn backlog(&self, sessions: usize);
    /// The platform's clock minus ours.
    fn skew(&self, seconds: f64);
}

/// What a source is polled with.
pub struct Poller {
    /// Its number.
    pub source: SourceIx,
    /// Its platform's side.
    pub platform: Arc<dyn Platform>,
    /// The way to it, and who is told of what happens.
    pub access: Access,
    /// Where reports go.
    pub ledger: Arc<dyn Ledger>,
    /// How far walks had come, as the store remembers.
    pub walks: Vec<(String, Timestamp)>,
    /// Sessions to recognise the account by before anything of it is counted, where its key is a new one.
    pub recognise: Vec<SessionId>,
}

/// How a poller ended that was to make one pass only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Whether the lists were read to their end.
    pub discovered: bool,
    /// Pieces of work that failed.
    pub failures: u32,
}

struct Done {
    work: Work,
    ended: Ended,
    began: Tick,
    due: Vec<Due>,
    walks: Vec<(String, Timestamp)>,
}

impl Poller {
    /// Polls until told to stop, or for one complete pass.
    pub async fn run(mut self, rhythm: Rhythm, once: bool, shutdown: CancellationToken) -> Pass {
        let walks = std::mem::take(&mut self.walks);
        let rhythm = Rhythm { limits: rhythm.limits.filter(|_| self.platform.limits().is_some()), ..rhythm };
        let poller = Arc::new(self);
        let mut polling = Polling {
            poller,
            schedule: Schedule::new(rhythm, once),
            walks,
            jobs: JoinSet::new(),
            started: Instant::now(),
            backlog: watch::channel(0).0,
            found: tokio::sync::mpsc::channel(64),
        };
        if let Some(pass) = polling.recognise(once, &shutdown).await {
            return pass;
        }
        polling.run(shutdown).await
    }
}

/// A source's loop and what belongs to it.
struct Polling {
    poller: Arc<Poller>,
    schedule: Schedule,
    walks: Vec<(String, Timestamp)>,
    jobs: JoinSet<Done>,
    started: Instant,
    backlog: watch::Sender<usize>,
    found: (tokio::sync::mpsc::Sender<Vec<Due>>, tokio::sync::mpsc::Receiver<Vec<Due>>),
}

enum Event {
    Stop,
    Found(Vec<Due>),
    Over(Result<Done, tokio::task::JoinError>),
    Awake,
}

impl Polling {
    /// Makes sure that the key belongs to the account that the store knows. `Some` if polling must not begin.
    async fn recognise(&mut self, once: bool, shutdown: &CancellationToken) -> Option<Pass> {
        let poller = Arc::clone(&self.poller);
        if poller.recognise.is_empty() {
            return None;
        }
        let refused = Some(Pass { discovered: false, failures: 1 });
        loop {
            let mut job = poller.platform.recognise(&poller.recognise);
            let mut run = Run {
                poller: &poller,
                backlog: None,
                once,
                found: self.found.0.clone(),
                walks: Vec::new(),
                due: Vec::new(),
            };
            let outcome = tokio::select! {
                outcome = run.converse(&mut *job) => outcome,
                () = shutdown.cancelled() => return refused,
            };
            let Err(failure) = outcome else {
                poller.ledger.recognised(poller.source);
                return None;
            };
            tracing::error!(%failure, "the account cannot be recognised; nothing of it is counted");
            poller.access.witness.discovered(Err(&failure), poller.access.clock.now());
            if once {
                return refused;
            }
            let wait = if failure == Failure::ForeignAccount { FOREIGN_WAIT } else { UNRECOGNISED_WAIT };
            tokio::select! {
                () = sleep(wait) => {}
                () = shutdown.cancelled() => return refused,
            }
        }
    }

    async fn run(&mut self, shutdown: CancellationToken) -> Pass {
        loop {
            while let Some(work) = self.schedule.next(self.now()) {
                self.start(work);
            }
            self.tell_backlog();
            if let Some(failures) = self.schedule.finished_once() {
                return Pass { discovered: self.schedule.passes() > 0, failures };
            }
            match self.select(&shutdown).await {
                Event::Stop => break,
                Event::Found(found) => found.into_iter().for_each(|due| self.schedule.offer(due)),
                Event::Over(over) => self.over(over),
                Event::Awake => {}
            }
        }
        // Whatever is under way is given up: what it had committed stays, the rest is read again.
        self.jobs.shutdown().await;
        Pass { discovered: self.schedule.passes() > 0, failures: 0 }
    }

    async fn select(&mut self, shutdown: &CancellationToken) -> Event {
        let wake_at = self.schedule.wake_at().map(|tick| self.started + tick);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Event::Stop,
            Some(found) = self.found.1.recv() => Event::Found(found),
            Some(over) = self.jobs.join_next() => Event::Over(over),
            () = async { sleep_until(wake_at.unwrap_or_else(Instant::now)).await }, if wake_at.is_some() => Event::Awake,
            else => Event::Awake,
        }
    }

    fn now(&self) -> Tick {
        self.started.elapsed()
    }

    fn tell_backlog(&self) {
        let backlog = self.schedule.backlog();
        if self.backlog.send_replace(backlog) != backlog {
            self.poller.access.witness.backlog(backlog);
        }
    }

    fn start(&mut self, work: Work) {
        let poller = Arc::clone(&self.poller);
        let job = match &work {
            Work::Discover => {
                let walks = &self.walks;
                let walked = |name: &str| walks.iter().find(|(walk, _)| walk == name).map(|(_, until)| *until);
                poller.platform.discover(&walked, poller.access.clock.now())
            }
            Work::Read(due) => poller.platform.read(due),
            Work::Sweep => poller.platform.sweep(),
            Work::Limits => poller.platform.limits().expect("the schedule asks for limits only where there are any"),
        };
        // Readers go on whatever the backlog is; only who adds to it has to know.
        let backlog = matches!(work, Work::Discover | Work::Sweep).then(|| self.backlog.subscribe());
        let (found, once) = (self.found.0.clone(), self.schedule.is_once());
        let began = self.now();
        let run = async move {
            let mut run = Run { poller: &poller, backlog, once, found, walks: Vec::new(), due: Vec::new() };
            let ended = run.job(job, &work).await;
            Done { work, ended, began, due: run.due, walks: run.walks }
        };
        self.jobs.spawn(run.in_current_span());
    }

    fn over(&mut self, over: Result<Done, tokio::task::JoinError>) {
        let done = match over {
            Ok(done) => done,
            // A job that panics would be a bug; the source's supervisor starts over with a clean plan.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        done.due.into_iter().for_each(|due| self.schedule.offer(due));
        for (walk, until) in done.walks {
            self.walks.retain(|(name, _)| *name != walk);
            self.walks.push((walk, until));
        }
        let now = self.now();
        self.schedule.finished(&done.work, done.ended, done.began, now);
    }
}

/// One job under way.
struct Run<'a> {
    poller: &'a Poller,
    backlog: Option<watch::Receiver<usize>>,
    once: bool,
    found: tokio::sync::mpsc::Sender<Vec<Due>>,
    walks: Vec<(String, Timestamp)>,
    due: Vec<Due>,
}

impl Run<'_> {
    async fn job(&mut self, mut job: Box<dyn Job>, work: &Work) -> Ended {
        let span = tracing::debug_span!("poll", stage = job.stage(), source.index = i64::from(self.poller.source.0));
        let outcome = self.converse(&mut *job).instrument(span).await;
        let now = self.poller.access.clock.now();
        if matches!(work, Work::Discover) {
            self.poller.access.witness.discovered(outcome.as_ref().map(|_| ()), now);
        }
        match outcome {
            Ok(ended) => {
                self.poller.access.witness.succeeded(job.stage(), now);
                ended
            }
            Err(failure) => {
                tracing::warn!(stage = job.stage(), %failure, "polling failed; it is tried again");
                if matches!(work, Work::Read(_)) {
                    self.poller.access.witness.unread(&failure);
                }
                // What only a change of the configuration can mend is not tried again at once.
                let is_refused = matches!(failure, Failure::KeyRefused(_) | Failure::CountedTwice(_));
                if is_refused { Ended::Refused } else { Ended::Failed }
            }
        }
    }

    async fn converse(&mut self, job: &mut dyn Job) -> Result<Ended, Failure> {
        let mut input = Input::Begin;
        let mut asked: Option<(Request, Response)> = None;
        let mut attempts = 0;
        let mut told_crowded = false;
        loop {
            match job.next(input) {
                Output::Fetch(request) => {
                    let is_crowded = self.backlog.as_ref().is_some_and(|backlog| *backlog.borrow() > MAX_BACKLOG);
                    if let Some(backlog) = self.backlog.as_mut().filter(|_| is_crowded && self.once) {
                        // One pass has to be a whole one; nobody waits for what is fresh meanwhile.
                        let _ = backlog.wait_for(|waiting| *waiting <= MAX_BACKLOG).await;
                    } else if is_crowded && !told_crowded {
                        told_crowded = true;
                        input = Input::Crowded;
                        continue;
                    }
                    told_crowded = false;
                    attempts = 0;
                    input = self.fetch(request, &mut attempts, &mut asked).await;
                }
                Output::Again(reason) => {
                    let Some((request, _)) = asked.take() else {
                        return Err(Failure::Nonsense(reason));
                    };
                    self.poller.access.witness.requested(request.endpoint, "undecodable", Duration::ZERO, 0);
                    if !self.poller.access.may_ask_again(attempts).await {
                        return Err(Failure::Nonsense(reason));
                    }
                    input = self.fetch(request, &mut attempts, &mut asked).await;
                }
                Output::Commit(items) => {
                    let times = asked.as_ref().map(|(_, response)| (response.asked_at, response.received_at));
                    let receipt = self.commit(items, times).await?;
                    input = Input::Committed(receipt);
                }
                Output::Done(Finish::Well) => return Ok(Ended::Well),
                Output::Done(Finish::Later) => return Ok(Ended::Later),
                Output::Done(Finish::Failed(failure)) => return Err(failure),
            }
        }
    }

    async fn fetch(&self, request: Request, attempts: &mut u32, asked: &mut Option<(Request, Response)>) -> Input {
        match self.poller.access.ask(&request, attempts).await {
            Ok(response) => {
                *asked = Some((request, response.clone()));
                Input::Response(response)
            }
            Err(failure) => Input::Failed(failure),
        }
    }

    async fn commit(&mut self, items: Vec<Item>, times: Option<(Timestamp, Timestamp)>) -> Result<Receipt, Failure> {
        let walked: Vec<(String, Timestamp)> = items
            .iter()
            .filter_map(|item| match item {
                Item::Walked { walk, until } => Some(((*walk).to_owned(), *until)),
                _ => None,
            })
            .collect();
        let now = self.poller.access.clock.now();
        let (asked_at, received_at) = times.unwrap_or((now, now));
        let report = Report { source: self.poller.source, asked_at, received_at, items };
        let mut receipt = self.poller.ledger.commit(report).await.map_err(|error| match error {
            LedgerError::CountedTwice(other) => Failure::CountedTwice(other),
            LedgerError::Failed(_) => {
                tracing::warn!(%error, "what was read is not committed; it is read again");
                Failure::Transport("not committed")
            }
        })?;
        self.walks.extend(walked);
        let due = std::mem::take(&mut receipt.due);
        if !due.is_empty() {
            // Told at once, so that reading begins while the walk goes on; the rest when the walk is over.
            if let Err(refused) = self.found.send(due).await {
                self.due.extend(refused.0);
            }
        }
        Ok(receipt)
    }
}
