//! One source's loop: does what the schedule says, within the budget, and hands everything learnt to the engine.
//!
//! The poller owns what jobs must not touch: the socket, the clock, the retries ([`Access`]). A job that fails is tried
//! again later. Nothing that fails here moves a cursor. Every request waits in its lane for leave from the budget.

mod run;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Failure;
use super::access::Access;
use super::lanes::Lane;
use super::limiter::Pace;
use super::platforms::Platform;
use super::schedule::{Ended, Rhythm, Schedule, Tick, Work};
use crate::domain::{Due, Receipt, Report, SessionId, SourceIx, Span, Timestamp};
use run::Run;

/// How long before the account is looked at again when nothing could be learnt of it.
const UNRECOGNISED_WAIT: Duration = Duration::from_secs(15);
/// How long before a foreign account is looked at again; somebody has to change the configuration.
const FOREIGN_WAIT: Duration = Duration::from_secs(600);

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
    /// The store failed.
    #[error("not committed: {0}")]
    Unsaved(String),
    /// It contradicts what is stored.
    #[error("not committed: {0}")]
    Contradicts(String),
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
    /// So many sessions wait to be read, and so many are being read.
    fn backlog(&self, waiting: usize, reading: usize);
    /// Since when the session is unread that has waited longest, those left out that had ended before polling began;
    /// `None` if none waits.
    fn oldest_unread(&self, since: Option<Timestamp>);
    /// How fast the source is asked.
    fn paced(&self, pace: Pace, at: Timestamp);
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
            schedule: Schedule::new(rhythm, once, poller.access.clock.now()),
            poller,
            walks,
            jobs: JoinSet::new(),
            started: Instant::now(),
            old: watch::channel(0).0,
            told: None,
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
    /// Sessions of the past that wait.
    old: watch::Sender<usize>,
    /// What was last told of the backlog.
    told: Option<Told>,
    found: (tokio::sync::mpsc::Sender<Vec<Due>>, tokio::sync::mpsc::Receiver<Vec<Due>>),
}

/// What is told of the backlog.
#[derive(Clone, Copy)]
struct Told {
    waiting: usize,
    reading: usize,
    oldest: Option<Tick>,
}

enum Event {
    Stop,
    Found(Vec<Due>),
    Over(Result<Box<Done>, tokio::task::JoinError>),
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
                lane: Lane::Discovery,
                place: None,
                old: None,
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
        let limiter = self.poller.access.limiter.clone();
        loop {
            let mut changed = std::pin::pin!(limiter.changed());
            // From here on no change is missed.
            changed.as_mut().enable();
            while let Some(work) = self.schedule.next(self.now(), &limiter.openings()) {
                self.start(work);
            }
            self.tell_backlog();
            if let Some(failures) = self.schedule.finished_once() {
                return Pass { discovered: self.schedule.passes() > 0, failures };
            }
            match self.select(&shutdown, changed).await {
                Event::Stop => break,
                Event::Found(found) => self.offer(found),
                Event::Over(over) => self.over(over),
                Event::Awake => {}
            }
        }
        // Whatever is under way is given up: what it had committed stays, the rest is read again.
        self.jobs.shutdown().await;
        Pass { discovered: self.schedule.passes() > 0, failures: 0 }
    }

    async fn select(&mut self, shutdown: &CancellationToken, changed: Pin<&mut Notified<'_>>) -> Event {
        let wake_at = self.schedule.wake_at().map(|tick| self.started + tick);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Event::Stop,
            Some(found) = self.found.1.recv() => Event::Found(found),
            Some(over) = self.jobs.join_next() => Event::Over(over.map(Box::new)),
            () = changed => Event::Awake,
            () = async { sleep_until(wake_at.unwrap_or_else(Instant::now)).await }, if wake_at.is_some() => Event::Awake,
        }
    }

    fn now(&self) -> Tick {
        self.started.elapsed()
    }

    fn offer(&mut self, found: Vec<Due>) {
        let now = self.now();
        found.into_iter().for_each(|due| self.schedule.offer(due, now));
    }

    fn tell_backlog(&mut self) {
        let backlog = self.schedule.backlog();
        let told = Told { waiting: backlog.len(), reading: backlog.reading(), oldest: backlog.oldest() };
        self.old.send_if_modified(|old| std::mem::replace(old, backlog.old()) != backlog.old());
        let before = self.told.replace(told);
        if before.is_none_or(|before| (told.waiting, told.reading) != (before.waiting, before.reading)) {
            self.poller.access.witness.backlog(told.waiting, told.reading);
        }
        if before.is_none_or(|before| told.oldest != before.oldest) {
            let age = told.oldest.map(|since| Span::from(self.now().saturating_sub(since)));
            self.poller.access.witness.oldest_unread(age.map(|age| self.poller.access.clock.now().minus(age)));
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
            Work::Read { due, .. } => poller.platform.read(due),
            Work::Sweep => poller.platform.sweep(),
            Work::Limits => poller.platform.limits().expect("the schedule asks for limits only where there are any"),
        };
        // Readers go on whatever waits; only who adds to it has to know.
        let old = matches!(work, Work::Discover | Work::Sweep).then(|| self.old.subscribe());
        // Taken before the job runs, so that no other reader is started for the same request.
        let (lane, place) = (work.lane(), Some(poller.access.limiter.enter(work.lane())));
        let (found, once) = (self.found.0.clone(), self.schedule.is_once());
        let began = self.now();
        let run = async move {
            let mut run = Run { poller: &poller, lane, place, old, once, found, walks: Vec::new(), due: Vec::new() };
            let ended = run.job(job, &work).await;
            Done { work, ended, began, due: run.due, walks: run.walks }
        };
        self.jobs.spawn(run.in_current_span());
    }

    fn over(&mut self, over: Result<Box<Done>, tokio::task::JoinError>) {
        let done = match over {
            Ok(done) => done,
            // A job that panics would be a bug; the source's supervisor starts over with a clean plan.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.offer(done.due);
        for (walk, until) in done.walks {
            self.walks.retain(|(name, _)| *name != walk);
            self.walks.push((walk, until));
        }
        let now = self.now();
        self.schedule.finished(&done.work, done.ended, done.began, now);
    }
}
