//! A real limit on the rate of requests: unlike refusals by chance it punishes only who asks too fast.

use super::options::SimulateOptions;
use super::timestamp::{SECOND, seconds};

/// How many requests a platform takes from a caller: a bucket that is filled at a rate, or so many in each window.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    per_second: f64,
    kind: Kind,
    /// Seconds that every refusal asks for; otherwise as long as it takes until the next request would be taken.
    pause: Option<u32>,
}

#[derive(Clone, Debug)]
enum Kind {
    Bucket { burst: f64, tokens: f64, filled_at: i64 },
    Window { length: i64, number: i64, taken: f64 },
}

impl Limit {
    /// The limit that these options ask for, if they ask for one.
    pub(super) fn new(options: &SimulateOptions) -> Option<Self> {
        let per_second = options.rate_limit;
        let burst = f64::from(options.rate_limit_burst);
        let kind = if options.rate_limit_window > 0.0 {
            Kind::Window { length: seconds(options.rate_limit_window), number: i64::MIN, taken: 0.0 }
        } else {
            Kind::Bucket { burst, tokens: burst, filled_at: i64::MIN }
        };
        let pause = (options.rate_limit_pause > 0).then_some(options.rate_limit_pause);
        (per_second > 0.0).then_some(Self { per_second, kind, pause })
    }

    /// Takes a request; or says after how many seconds to come again. What is refused uses up nothing.
    pub(super) fn take(&mut self, now_us: i64) -> Result<(), u32> {
        let wait = match &mut self.kind {
            Kind::Bucket { burst, tokens, filled_at } => {
                let passed = if *filled_at == i64::MIN { 0 } else { (now_us - *filled_at).max(0) };
                *tokens = (*tokens + passed as f64 / SECOND as f64 * self.per_second).min(*burst);
                *filled_at = (*filled_at).max(now_us);
                // What is missing of one is less than a microsecond's worth.
                if *tokens >= 1.0 - 1e-6 {
                    *tokens -= 1.0;
                    return Ok(());
                }
                (1.0 - *tokens) / self.per_second
            }
            Kind::Window { length, number, taken } => {
                let current = now_us.div_euclid(*length);
                if current > *number {
                    (*number, *taken) = (current, 0.0);
                }
                if *taken + 1.0 <= (self.per_second * *length as f64 / SECOND as f64).max(1.0) {
                    *taken += 1.0;
                    return Ok(());
                }
                ((*number + 1) * *length - now_us) as f64 / SECOND as f64
            }
        };
        Err(self.pause.unwrap_or(wait.ceil().max(1.0) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(limit: &mut Limit, times: impl Iterator<Item = i64>) -> Vec<i64> {
        times.filter(|at| limit.take(*at).is_ok()).collect()
    }

    #[test]
    fn a_bucket_takes_a_burst_and_then_the_rate() {
        let options = SimulateOptions { rate_limit: 2.0, rate_limit_burst: 3, ..Default::default() };
        let mut limit = Limit::new(&options).expect("a limit was asked for");
        // Ten requests a second for ten seconds: three at once, and then two a second.
        let taken = taken(&mut limit, (0..100).map(|tenth| tenth * SECOND / 10));
        assert_eq!(taken.len(), 3 + 19, "{taken:?}");
        assert_eq!(taken[..3], [0, SECOND / 10, SECOND / 5]);
        assert_eq!(limit.take(10 * SECOND - 1), Err(1), "less than a second is a second");
    }

    #[test]
    fn a_window_begins_anew_and_says_when() {
        let options = SimulateOptions { rate_limit: 0.5, rate_limit_window: 60.0, ..Default::default() };
        let mut limit = Limit::new(&options).expect("a limit was asked for");
        let taken = taken(&mut limit, (0..120).map(|second| second * SECOND));
        assert_eq!(taken.len(), 60);
        assert_eq!((taken[29], taken[30]), (29 * SECOND, 60 * SECOND));
        assert_eq!(limit.take(119 * SECOND), Err(1));
        assert_eq!(limit.take(110 * SECOND), Err(10));
    }

    #[test]
    fn a_pause_that_was_asked_for_is_told_whatever_is_true() {
        let options =
            SimulateOptions { rate_limit: 1.0, rate_limit_burst: 1, rate_limit_pause: 60, ..Default::default() };
        let mut limit = Limit::new(&options).expect("a limit was asked for");
        assert_eq!((limit.take(0), limit.take(0)), (Ok(()), Err(60)));
        assert!(Limit::new(&SimulateOptions::default()).is_none());
    }
}
