//! One job under way: leads its conversation with the platform, commits what it learns, and asks again what fails.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;
use tracing::field::Empty;

use super::{LedgerError, Poller};
use crate::domain::{Due, Item, Receipt, Report, Timestamp};
use crate::ingest::budget::Grant;
use crate::ingest::lanes::Lane;
use crate::ingest::limiter::{Pace, Place};
use crate::ingest::schedule::{Ended, Work};
use crate::ingest::transport::{Answer, TransportError};
use crate::ingest::{CUT, Failure, Finish, Input, Job, Output, Request, Response, TIMED_OUT};

/// Attempts at one request before its job fails.
const ATTEMPTS: u32 = 4;
/// The pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A server that fails may ask for this much patience; asked for more, we ask again after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// With more sessions of the past than this waiting to be read, discovery looks for no more of them: that would help
/// nobody.
const MAX_BACKLOG: usize = 2000;

/// One job under way.
pub(super) struct Run<'a> {
    pub(super) poller: &'a Poller,
    pub(super) lane: Lane,
    /// Its place for its first request.
    pub(super) place: Option<Place>,
    /// Sessions of the past that wait, if it looks for more.
    pub(super) old: Option<watch::Receiver<usize>>,
    pub(super) once: bool,
    pub(super) found: mpsc::Sender<Vec<Due>>,
    pub(super) walks: Vec<(String, Timestamp)>,
    pub(super) due: Vec<Due>,
}

impl Run<'_> {
    /// Leads the job to its end.
    pub(super) async fn job(&mut self, mut job: Box<dyn Job>, work: &Work) -> Ended {
        let span = tracing::debug_span!("poll", stage = job.stage(), source.index = i64::from(self.poller.source.0));
        let outcome = self.converse(&mut *job).instrument(span).await;
        let now = self.poller.clock.now();
        if matches!(work, Work::Discover) {
            self.poller.witness.discovered(outcome.as_ref().map(|_| ()), now);
        }
        match outcome {
            Ok(ended) => {
                self.poller.witness.succeeded(job.stage(), now);
                ended
            }
            Err(failure) => {
                tracing::warn!(stage = job.stage(), %failure, "polling failed; it is tried again");
                // What only a change of the configuration can mend is not tried again at once.
                let is_refused = matches!(failure, Failure::KeyRefused(_) | Failure::CountedTwice(_));
                if is_refused { Ended::Refused } else { Ended::Failed }
            }
        }
    }

    /// The same, and why it failed.
    pub(super) async fn converse(&mut self, job: &mut dyn Job) -> Result<Ended, Failure> {
        let mut input = Input::Begin;
        let mut asked: Option<(Request, Response)> = None;
        let mut attempts = 0;
        let mut told_crowded = false;
        loop {
            let output = job.next(input);
            // Who holds a place and sends nothing would hold up everybody: it is for the very first move, or given up.
            let mut place = self.place.take().filter(|_| matches!(output, Output::Fetch(_)));
            match output {
                Output::Fetch(request) => {
                    let is_crowded = self.old.as_ref().is_some_and(|old| *old.borrow() > MAX_BACKLOG);
                    if let Some(old) = self.old.as_mut().filter(|_| is_crowded && self.once) {
                        place = None;
                        // One pass has to be a whole one; nobody waits for what is fresh meanwhile.
                        let _ = old.wait_for(|waiting| *waiting <= MAX_BACKLOG).await;
                    } else if is_crowded && !told_crowded {
                        told_crowded = true;
                        input = Input::Crowded;
                        continue;
                    }
                    told_crowded = false;
                    attempts = 0;
                    input = self.fetch(request, place, &mut attempts, &mut asked).await;
                }
                Output::Again(reason) => {
                    let Some((request, _)) = asked.take() else {
                        return Err(Failure::Nonsense(reason));
                    };
                    self.poller.witness.requested(request.endpoint, "undecodable", Duration::ZERO, 0);
                    if attempts >= ATTEMPTS {
                        return Err(Failure::Nonsense(reason));
                    }
                    sleep(pause(attempts)).await;
                    input = self.fetch(request, None, &mut attempts, &mut asked).await;
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

    async fn fetch(
        &self,
        request: Request,
        place: Option<Place>,
        attempts: &mut u32,
        asked: &mut Option<(Request, Response)>,
    ) -> Input {
        match self.poller.ask(&request, attempts, self.lane, place).await {
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
        let now = self.poller.clock.now();
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

impl Poller {
    /// Asks until there is an answer that a job can use, or the attempts are used up.
    async fn ask(
        &self,
        request: &Request,
        attempts: &mut u32,
        lane: Lane,
        mut place: Option<Place>,
    ) -> Result<Response, Failure> {
        loop {
            *attempts += 1;
            let grant = place.take().unwrap_or_else(|| self.limiter.enter(lane)).wait().await;
            let asked_at = self.clock.now();
            let began = Instant::now();
            let span = tracing::debug_span!("request", endpoint = request.endpoint, status = Empty);
            let answer = match timeout(self.request_timeout, self.transport.get(request)).instrument(span.clone()).await
            {
                Ok(answer) => answer,
                Err(_) => Err(TransportError::Timeout),
            };
            if let Ok(answer) = &answer {
                span.record("status", i64::from(answer.status));
            }
            drop(span);
            let received_at = self.clock.now();
            let mut wait = pause(*attempts);
            let failure = match answer {
                Ok(answer) => {
                    let bytes = answer.body.len() as u64;
                    let code = answer.status.to_string();
                    self.witness.requested(request.endpoint, &code, began.elapsed(), bytes);
                    self.note_skew(&answer, asked_at, received_at);
                    self.judge_pace(grant, &answer);
                    match judge(request, answer.status) {
                        None => {
                            let Answer { status, etag, body, date, .. } = answer;
                            return Ok(Response { status, etag, body, asked_at, received_at, date });
                        }
                        // The budget makes the pause, and everybody keeps it.
                        Some(Failure::Throttled) => {
                            wait = Duration::ZERO;
                            Failure::Throttled
                        }
                        Some(failure) => {
                            wait = wait.max(answer.retry_after.unwrap_or_default().min(LONGEST_PAUSE));
                            failure
                        }
                    }
                }
                Err(error) => {
                    let bytes = if let TransportError::TooLarge { read, .. } = error { read } else { 0 };
                    self.witness.requested(request.endpoint, "error", began.elapsed(), bytes);
                    match error {
                        TransportError::TooLarge { limit, .. } => return Err(Failure::TooLarge(limit)),
                        TransportError::Timeout => Failure::Transport(TIMED_OUT),
                        TransportError::Connect => Failure::Transport("cannot connect"),
                        TransportError::Cut => Failure::Transport(CUT),
                    }
                }
            };
            let is_final = matches!(failure, Failure::KeyRefused(_)) || *attempts >= ATTEMPTS;
            if is_final {
                return Err(failure);
            }
            tracing::debug!(endpoint = request.endpoint, %failure, attempt = *attempts, "asking again");
            sleep(wait).await;
        }
    }

    /// What an answer says of how fast the platform may be asked.
    fn judge_pace(&self, grant: Grant, answer: &Answer) {
        match answer.status {
            429 => {
                self.witness.throttled();
                if self.limiter.refused(grant, answer.retry_after) {
                    let Pace { per_second, paused_for } = self.limiter.pace();
                    tracing::info!(
                        per_second,
                        ?paused_for,
                        "the platform takes fewer requests: it is asked more slowly"
                    );
                }
            }
            // A server in trouble says nothing of what it would take otherwise.
            500.. => return,
            _ => self.limiter.answered(grant),
        }
        self.witness.paced(self.limiter.pace(), self.clock.now());
    }

    fn note_skew(&self, answer: &Answer, asked_at: Timestamp, received_at: Timestamp) {
        let Some(date) = answer.date else { return };
        // The header counts whole seconds: on average half of one has passed.
        let theirs = date.seconds() + 0.5;
        let ours = f64::midpoint(asked_at.seconds(), received_at.seconds());
        self.witness.skew(theirs - ours);
    }
}

/// What is wrong with an answer, unless it is the job's to understand.
fn judge(request: &Request, status: u16) -> Option<Failure> {
    match status {
        401 => Some(Failure::KeyRefused(401)),
        403 if request.speaks_for_key => Some(Failure::KeyRefused(403)),
        429 => Some(Failure::Throttled),
        408 | 500.. => Some(Failure::Status(status)),
        _ => None,
    }
}

fn pause(attempts: u32) -> Duration {
    jittered(FIRST_PAUSE * 2u32.pow(attempts.clamp(1, 8) - 1))
}

/// A little longer than asked, so that many exporters do not come back at the same instant.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + 0.25 * fastrand::f64())
}
