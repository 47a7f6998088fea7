//! The request budget of a source: so many requests a second, and none at all while the platform asks for a pause.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A token bucket that can be told to pause. On tokio's clock, so that tests can run it in no time.
#[derive(Debug)]
pub struct Limiter {
    per_second: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    counted_at: Instant,
    paused_until: Instant,
}

impl Limiter {
    /// A budget of `per_second` requests, of which one second's worth may be used at once.
    pub fn new(per_second: f64) -> Self {
        // Less than one request in a quarter of an hour is no polling, and waits must stay numbers.
        let per_second = per_second.max(0.001);
        let burst = per_second.max(1.0);
        let now = Instant::now();
        Self { per_second, burst, state: Mutex::new(State { tokens: burst, counted_at: now, paused_until: now }) }
    }

    /// Waits for leave to send one request.
    pub async fn acquire(&self) {
        while let Err(at) = self.try_acquire(Instant::now()) {
            sleep_until(at).await;
        }
    }

    /// Sends nothing for that long, whoever asks.
    pub fn pause(&self, how_long: Duration) {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        state.paused_until = state.paused_until.max(Instant::now() + how_long);
    }

    fn try_acquire(&self, now: Instant) -> Result<(), Instant> {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        if now < state.paused_until {
            return Err(state.paused_until);
        }
        let passed = now.saturating_duration_since(state.counted_at).as_secs_f64();
        state.tokens = (state.tokens + passed * self.per_second).min(self.burst);
        state.counted_at = now;
        if state.tokens >= 1.0 {
            state.tokens -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64(((1.0 - state.tokens) / self.per_second).max(0.001)))
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
            limiter.acquire().await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((1.99..2.2).contains(&took), "20 of 30 requests wait for the rate: {took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone() {
        let limiter = Limiter::new(100.0);
        let began = Instant::now();
        limiter.pause(Duration::from_secs(30));
        limiter.pause(Duration::from_secs(5));
        tokio::join!(limiter.acquire(), limiter.acquire());
        assert!(began.elapsed() >= Duration::from_secs(30));
    }
}
