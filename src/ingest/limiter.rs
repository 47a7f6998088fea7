//! Where requests wait for leave to be sent: the budget and the lanes of one source, on tokio's clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

use super::budget::{Budget, Grant};
use super::endpoints::Endpoints;
use super::lanes::{Lane, Lanes, Ticket};

/// The budget of one source. Clones share it.
#[derive(Clone, Debug)]
pub struct Limiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    state: Mutex<State>,
    /// Somebody's turn may have come.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    lanes: Lanes,
    endpoints: Endpoints,
}

/// What a refusal is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pace is too fast, and lower from now on.
    TooFast,
    /// The pause was too short, or it is the same refusal as another request had that was under way.
    TooSoon,
    /// Only this kind of calls is refused, whatever the pace. It is left alone for a while.
    OfItsKind,
}

/// How fast a source is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Requests per second that are allowed now, pauses aside.
    pub per_second: f64,
    /// How long no request is sent, because the platform refused some.
    pub paused_for: Duration,
}

/// A place in a lane, until it is given up or its turn has come.
#[derive(Debug)]
#[must_use = "who does not wait holds up the others"]
pub struct Place {
    shared: Arc<Shared>,
    lane: Lane,
    ticket: Option<Ticket>,
}

impl Limiter {
    /// A budget of `per_second` requests, of which one second's worth may be used at once.
    pub fn new(per_second: f64) -> Self {
        let state = Mutex::new(State {
            budget: Budget::new(per_second),
            lanes: Lanes::default(),
            endpoints: Endpoints::default(),
        });
        Self { shared: Arc::new(Shared { began: Instant::now(), state, changed: Notify::new() }) }
    }

    /// Takes a place at the end of a lane.
    pub fn enter(&self, lane: Lane) -> Place {
        let ticket = Some(self.shared.state().lanes.enter(lane));
        Place { shared: Arc::clone(&self.shared), lane, ticket }
    }

    /// The lanes in which a reader would be the next one, in the order in which they should get one. Who is read is
    /// thereby chosen when there is a request for it, and not long before.
    pub fn openings(&self) -> Vec<Lane> {
        self.shared.state().lanes.openings()
    }

    /// Comes back when [`Self::openings`] may have changed since the future was enabled.
    pub fn changed(&self) -> Notified<'_> {
        self.shared.changed.notified()
    }

    /// Whether nothing of this kind of calls is to be sent now: it is refused whatever the pace.
    pub fn is_left_alone(&self, endpoint: &'static str) -> bool {
        let now = self.shared.now();
        self.shared.state().endpoints.is_left_alone(endpoint, now)
    }

    /// A request was answered, and not because there were too many.
    pub fn answered(&self, grant: Grant, endpoint: &'static str) {
        let mut state = self.shared.state();
        state.budget.answered(grant);
        state.endpoints.answered(endpoint);
    }

    /// A request was refused because there were too many; `asked` is how long the platform wants to be left alone.
    pub fn refused(&self, grant: Grant, endpoint: &'static str, asked: Option<Duration>) -> Refusal {
        let now = self.shared.now();
        let mut state = self.shared.state();
        if state.endpoints.refused(endpoint, now, asked) {
            return Refusal::OfItsKind;
        }
        if state.budget.refused(grant, now, asked, fastrand::f64()) { Refusal::TooFast } else { Refusal::TooSoon }
    }

    /// How fast the source is asked now.
    pub fn pace(&self) -> Pace {
        let now = self.shared.now();
        let state = self.shared.state();
        Pace { per_second: state.budget.pace(now), paused_for: state.budget.paused_until().saturating_sub(now) }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a few assignments: a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave for this ticket; or when it may have it, which nobody knows while it is another one's turn.
    fn ask(&self, ticket: Ticket) -> Result<Grant, Option<Instant>> {
        let mut state = self.state();
        if state.lanes.next() != Some(ticket) {
            return Err(None);
        }
        let grant = state.budget.ask(self.now()).map_err(|at| Some(self.began + at))?;
        state.lanes.go();
        drop(state);
        self.changed.notify_waiters();
        Ok(grant)
    }
}

impl Place {
    /// Waits for leave to send one request.
    pub async fn wait(mut self) -> Grant {
        let shared = Arc::clone(&self.shared);
        let ticket = self.ticket.expect("it is taken only here and when it is dropped");
        loop {
            let mut changed = std::pin::pin!(shared.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            match shared.ask(ticket) {
                Ok(grant) => {
                    self.ticket = None;
                    return grant;
                }
                Err(Some(at)) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = changed => {}
                },
                Err(None) => changed.await,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.state().lanes.leave(self.lane, ticket);
            self.shared.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn spends_a_burst_and_then_the_rate() {
        let limiter = Limiter::new(10.0);
        let began = Instant::now();
        for _ in 0..30 {
            let _ = limiter.enter(Lane::Live).wait().await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((1.99..2.2).contains(&took), "20 of 30 requests wait for the rate: {took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone() {
        let limiter = Limiter::new(100.0);
        let waiting = limiter.clone();
        let grant = limiter.enter(Lane::Live).wait().await;
        let refusal = limiter.refused(grant, "sessions", Some(Duration::from_secs(30)));
        assert_eq!(refusal, Refusal::TooSoon, "nothing was ever taken");
        assert!(limiter.pace().paused_for >= Duration::from_secs(30));
        let began = Instant::now();
        let lanes = [Lane::Live, Lane::Discovery];
        let waits = lanes.map(|lane| tokio::spawn(waiting.enter(lane).wait()));
        for wait in waits {
            let _ = wait.await.expect("it waits and does nothing else");
        }
        assert!(began.elapsed() >= Duration::from_secs(30));
        assert!(began.elapsed() < Duration::from_secs(38), "and not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_share_what_there_is() {
        let limiter = Limiter::new(10.0);
        let (told, mut went) = tokio::sync::mpsc::unbounded_channel();
        for lane in [Lane::Live, Lane::Live, Lane::Live, Lane::Backfill] {
            let (limiter, told) = (limiter.clone(), told.clone());
            tokio::spawn(async move {
                loop {
                    let _ = limiter.enter(lane).wait().await;
                    if told.send(lane).is_err() {
                        return;
                    }
                }
            });
        }
        let mut backfill = 0;
        for _ in 0..270 {
            backfill += usize::from(went.recv().await == Some(Lane::Backfill));
        }
        assert!((56..=61).contains(&backfill), "two of nine: {backfill} of 270");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_holds_up_nobody() {
        let limiter = Limiter::new(1.0);
        let _ = limiter.enter(Lane::Live).wait().await;
        let gone = tokio::spawn(limiter.enter(Lane::Live).wait());
        let kept = tokio::spawn(limiter.enter(Lane::Live).wait());
        tokio::task::yield_now().await;
        assert_eq!(limiter.openings(), [Lane::Settling, Lane::Backfill]);
        let mut changed = std::pin::pin!(limiter.changed());
        changed.as_mut().enable();
        gone.abort();
        changed.await;
        let began = Instant::now();
        let _ = kept.await.expect("it waits and does nothing else");
        assert!(began.elapsed() <= Duration::from_secs(1), "its turn came with the next request");
        assert_eq!(limiter.openings().len(), 3);
    }
}
