//! The way to one account: requests within its budget, asked again with growing pauses until there is an answer.
//!
//! Every request, repeated ones included, waits in its lane for leave from the budget, which is told what became of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;
use tracing::field::Empty;

use super::budget::Grant;
use super::lanes::Lane;
use super::limiter::{Limiter, Pace, Place, Refusal};
use super::poller::Witness;
use super::transport::{Answer, Transport, TransportError};
use super::{CUT, Failure, Request, Response, TIMED_OUT};
use crate::domain::{Clock, Timestamp};

/// Attempts at one request before it counts as failed.
const ATTEMPTS: u32 = 4;
/// The pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A server that fails may ask for this much patience; asked for more, we ask again after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The way to one account.
pub struct Access {
    /// How requests get there.
    pub transport: Arc<dyn Transport>,
    /// The budget.
    pub limiter: Limiter,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Our time.
    pub clock: Arc<dyn Clock>,
    /// Who is told of each request.
    pub witness: Arc<dyn Witness>,
}

impl Access {
    /// Asks until there is an answer that a job can use, or the attempts are used up. Who has a `place` in the lane
    /// already need not go to its end with the first request.
    pub async fn ask(
        &self,
        request: &Request,
        attempts: &mut u32,
        lane: Lane,
        mut place: Option<Place>,
    ) -> Result<Response, Failure> {
        loop {
            *attempts += 1;
            if self.limiter.is_left_alone(request.endpoint) {
                // What only this job asks for must not hold up the others. It is tried again later.
                return Err(Failure::Throttled);
            }
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
            let (received_at, took) = (self.clock.now(), began.elapsed());
            let mut wait = pause(*attempts);
            let failure = match answer {
                Ok(answer) => {
                    let bytes = answer.body.len() as u64;
                    let code = answer.status.to_string();
                    self.witness.requested(request.endpoint, &code, took, bytes);
                    self.note_skew(&answer, asked_at, received_at);
                    self.judge_pace(grant, request.endpoint, &answer);
                    match judge(request, answer.status) {
                        None => {
                            let Answer { status, etag, body, date, .. } = answer;
                            return Ok(Response { status, etag, body, asked_at, received_at, took: took.into(), date });
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
                    self.witness.requested(request.endpoint, "error", took, bytes);
                    match error {
                        TransportError::TooLarge { limit, .. } => return Err(Failure::TooLarge(limit)),
                        TransportError::Timeout => Failure::Transport(TIMED_OUT),
                        TransportError::Connect(why) => Failure::Transport(why),
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

    /// Waits before a request whose answer made no sense is sent once more; false if it was sent often enough.
    pub async fn may_ask_again(&self, attempts: u32) -> bool {
        if attempts >= ATTEMPTS {
            return false;
        }
        sleep(pause(attempts)).await;
        true
    }

    /// What an answer says of how fast the platform may be asked.
    fn judge_pace(&self, grant: Grant, endpoint: &'static str, answer: &Answer) {
        match answer.status {
            429 => {
                self.witness.throttled();
                match self.limiter.refused(grant, endpoint, answer.retry_after) {
                    Refusal::TooFast => {
                        let Pace { per_second, paused_for } = self.limiter.pace();
                        tracing::info!(
                            per_second = format_args!("{per_second:.2}"),
                            paused_for = format_args!("{:.1}s", paused_for.as_secs_f64()),
                            "the platform takes fewer requests: it is asked more slowly"
                        );
                    }
                    Refusal::OfItsKind => {
                        tracing::warn!(
                            endpoint,
                            "the platform refuses these calls whatever the pace: they are left alone"
                        );
                    }
                    Refusal::TooSoon => {}
                }
            }
            // A server in trouble says nothing of what it would take otherwise.
            500.. => return,
            _ => self.limiter.answered(grant, endpoint),
        }
        self.witness.paced(self.limiter.pace(), self.clock.now());
    }

    fn note_skew(&self, answer: &Answer, asked_at: Timestamp, received_at: Timestamp) {
        if let Some(skew) = answer.skew(asked_at, received_at) {
            self.witness.skew(skew);
        }
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
