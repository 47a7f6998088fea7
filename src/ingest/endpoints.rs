//! Which kinds of calls a platform refuses whatever the pace: pure, no clock and no IO.
//!
//! A refusal says that there are too many requests, and not of which kind. Where one kind is refused again and again while
//! others are answered in between, it has a limit of its own, or none can keep it: then only that kind is left alone, and
//! the pace of all the others is not judged by it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::schedule::Tick;

/// So many refusals in a row, others answered between each two, show that it is only the one kind.
const TELLING: u32 = 3;
/// The first time that a kind is left alone for without a word from the platform; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest time without a word.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The longest time at all.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// What is known of the kinds of calls that were refused last. Those that were answered last are not in it.
#[derive(Debug, Default)]
pub struct Endpoints {
    refused: BTreeMap<&'static str, Refused>,
}

#[derive(Debug, Default)]
struct Refused {
    times: u32,
    /// Another kind was answered since.
    others_answered: bool,
    alone_until: Tick,
}

impl Endpoints {
    /// A request of this kind was answered.
    pub fn answered(&mut self, endpoint: &'static str) {
        self.refused.remove(endpoint);
        self.refused.values_mut().for_each(|refused| refused.others_answered = true);
    }

    /// A request of this kind was refused. Whether that concerns this kind only, which is left alone then.
    pub fn refused(&mut self, endpoint: &'static str, now: Tick, asked: Option<Duration>) -> bool {
        let refused = self.refused.entry(endpoint).or_default();
        if refused.times > 0 && !refused.others_answered {
            // Everything is refused, or it was under way together with the last one: that says nothing new.
            return refused.times >= TELLING;
        }
        refused.times += 1;
        refused.others_answered = false;
        let Some(again) = refused.times.checked_sub(TELLING) else { return false };
        let own = FIRST_PAUSE.saturating_mul(1 << again.min(16)).min(LONGEST_PAUSE);
        refused.alone_until = now + asked.unwrap_or_default().min(LONGEST_ASKED).max(own);
        true
    }

    /// Whether nothing of this kind is to be sent now.
    pub fn is_left_alone(&self, endpoint: &str, now: Tick) -> bool {
        self.refused.get(endpoint).is_some_and(|refused| now < refused.alone_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_kind_that_alone_is_refused_is_left_alone_for_longer_and_longer() {
        let mut endpoints = Endpoints::default();
        let mut now = at(0);
        let mut told = Vec::new();
        for _ in 0..9 {
            let is_own = endpoints.refused("limits", now, None);
            let pause = (1..).find(|seconds| !endpoints.is_left_alone("limits", now + at(*seconds))).expect("it ends");
            told.push((is_own, pause));
            endpoints.answered("sessions");
            now += at(1000);
        }
        let expected = [1, 1, 10, 20, 40, 80, 160, 300, 300].map(|pause| (pause > 1, pause));
        assert_eq!(told, expected);
        assert!(!endpoints.is_left_alone("sessions", now));
        endpoints.answered("limits");
        assert!(!endpoints.refused("limits", now, None), "what was answered begins anew");
    }

    #[test]
    fn where_everything_is_refused_nobody_is_singled_out() {
        let mut endpoints = Endpoints::default();
        for second in 0..100 {
            for endpoint in ["limits", "sessions", "changes"] {
                assert!(!endpoints.refused(endpoint, at(second), Some(at(60))));
                assert!(!endpoints.is_left_alone(endpoint, at(second)));
            }
        }
    }

    #[test]
    fn who_is_answered_now_and_then_is_not_singled_out() {
        let mut endpoints = Endpoints::default();
        for second in 0..100 {
            assert!(!endpoints.refused("changes", at(second), None));
            endpoints.answered("sessions");
            assert!(!endpoints.refused("changes", at(second), None));
            endpoints.answered("changes");
        }
    }

    #[test]
    fn it_is_left_alone_for_as_long_as_the_platform_asks() {
        for (asked, expected) in [(0, 10), (60, 60), (3600, 3600), (86_400, 3600)] {
            let mut endpoints = Endpoints::default();
            for _ in 0..TELLING {
                endpoints.refused("limits", at(0), Some(at(asked)));
                endpoints.answered("sessions");
            }
            assert!(endpoints.is_left_alone("limits", at(expected - 1)), "{asked}");
            assert!(!endpoints.is_left_alone("limits", at(expected)), "{asked}");
        }
    }
}
