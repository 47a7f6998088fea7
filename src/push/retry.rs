//! How a message is repeated: ever longer pauses, spread at random, and never sooner than the collector wants.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Outcome;

/// The first pause is at most this long; the bound doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause of our own is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A collector may ask for this much patience; what asks for more is asked again after it.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// How long a message is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// So many times; for ever without a number.
    pub attempts: Option<u32>,
    /// Until then: no attempt begins later.
    pub until: Option<Instant>,
}

/// Sends until the message is taken or refused, or patience runs out; then the last `Retry` is returned. `failed` is
/// told the reason of every attempt that is not the end of it.
pub async fn retrying<F: Future<Output = Outcome>>(
    patience: Patience,
    mut failed: impl FnMut(&'static str),
    mut send: impl FnMut() -> F,
) -> Outcome {
    let mut attempt = 0;
    loop {
        let outcome = send().await;
        let Outcome::Retry { after, reason } = outcome else { return outcome };
        failed(reason);
        let pause = pause(attempt, after);
        attempt += 1;
        let is_last = patience.attempts.is_some_and(|attempts| attempt >= attempts);
        if is_last || patience.until.is_some_and(|until| Instant::now() + pause >= until) {
            return outcome;
        }
        sleep(pause).await;
    }
}

/// Full jitter: anything up to the bound, so that many senders do not come back together.
fn pause(attempt: u32, after: Option<Duration>) -> Duration {
    match after {
        Some(asked) => {
            let asked = asked.min(LONGEST_ASKED);
            asked + asked.mul_f64(fastrand::f64() / 10.0)
        }
        None => {
            let bound = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
            bound.mul_f64(fastrand::f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const AWAY: Outcome = Outcome::Retry { after: None, reason: "cannot connect" };
    const TAKEN: Outcome = Outcome::Accepted { rejected: 0, warned: false };

    /// Answers with these in turn, then takes everything; says what came of it, how often was asked and how long it took.
    async fn told(patience: Patience, answers: &[Outcome]) -> (Outcome, usize, Duration) {
        let (began, asked) = (Instant::now(), Cell::new(0));
        let send = || {
            let answer = answers.get(asked.get()).copied().unwrap_or(TAKEN);
            asked.set(asked.get() + 1);
            async move { answer }
        };
        let mut failures = 0;
        let outcome = retrying(patience, |_| failures += 1, send).await;
        let retries = answers.iter().take(asked.get()).filter(|it| matches!(it, Outcome::Retry { .. })).count();
        assert_eq!(failures, retries);
        (outcome, asked.get(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_or_refused_is_not_sent_again() {
        let (outcome, asked, took) = told(Patience::default(), &[]).await;
        assert_eq!((outcome, asked, took), (TAKEN, 1, Duration::ZERO));
        let refused = Outcome::Refused { reason: "too large" };
        assert_eq!(told(Patience::default(), &[AWAY, refused]).await.0, refused);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_random_below_a_bound_that_doubles() {
        for attempt in 0..40 {
            let bound = Duration::from_secs(2u64.saturating_pow(attempt).min(30));
            let pauses: Vec<_> = (0..200).map(|_| pause(attempt, None)).collect();
            assert!(pauses.iter().all(|it| *it <= bound), "{attempt}");
            let (low, high) = (bound / 5, bound * 4 / 5);
            assert!(pauses.iter().any(|it| *it < low) && pauses.iter().any(|it| *it > high), "{attempt}: {pauses:?}");
        }
        let (_, asked, took) = told(Patience::default(), &[AWAY; 20]).await;
        assert!(asked == 21 && took <= Duration::from_secs(31 + 15 * 30), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_is_never_asked_sooner_than_it_wants() {
        let busy = |seconds| Outcome::Retry { after: Some(Duration::from_secs(seconds)), reason: "throttled" };
        let (_, asked, took) = told(Patience::default(), &[busy(20), busy(40)]).await;
        assert!(asked == 3 && (60..=66).contains(&took.as_secs()), "{took:?}");
        let (_, _, took) = told(Patience::default(), &[busy(1_000_000)]).await;
        assert!(took <= LONGEST_ASKED + LONGEST_ASKED / 10, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let three = Patience { attempts: Some(3), until: None };
        assert_eq!(told(three, &[AWAY; 9]).await.1, 3);
        let busy = Outcome::Retry { after: Some(Duration::from_secs(10)), reason: "throttled" };
        let soon = Patience { attempts: None, until: Some(Instant::now() + Duration::from_secs(15)) };
        let (outcome, asked, took) = told(soon, &[busy; 9]).await;
        assert_eq!((outcome, asked), (busy, 2));
        assert!(took < Duration::from_secs(15), "nothing is waited for in vain");
    }
}
