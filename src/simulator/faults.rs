//! What goes wrong on the way: which request is refused, cut or slow depends only on the seed and the request's number,
//! and where there is a real limit, on when it comes.

use std::time::Duration;

use super::limit::Limit;
use super::options::SimulateOptions;
use super::random::Dice;
use super::wire::Response;

/// Decides the fate of each request, in the order of their arrival.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    seed: u64,
    requests: u64,
    refused_429: f64,
    without_retry_after: bool,
    refused_5xx: f64,
    cut: f64,
    slow: f64,
    delay: Duration,
    limit: Option<Limit>,
    above_limit: u64,
}

/// The fate of a request.
pub(super) enum Fault {
    /// Nothing happens.
    None,
    /// It is answered by an error before it reaches the platform.
    Refused(Refusal),
    /// Its answer arrives late or not whole.
    Harmed(Harm),
}

/// An error that does not come from the platform's own code; each platform words it its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 429, with the seconds after which to come again if they are told.
    TooManyRequests(Option<u32>),
    /// 500.
    Internal,
    /// 502 from a proxy.
    BadGateway,
    /// 503.
    Unavailable,
    /// 504 from a proxy.
    GatewayTimeout,
}

impl Refusal {
    /// What proxies in front of any platform say; nothing for errors that the platform words itself.
    pub(super) fn by_proxy(self) -> Option<Response> {
        match self {
            Self::Internal => Some(Response::body(500, "text/plain; charset=utf-8", "Internal Server Error")),
            Self::BadGateway => Some(Response::body(
                502,
                "text/html",
                "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n",
            )),
            Self::GatewayTimeout => Some(Response::body(504, "text/html", "<html><body>upstream request timeout")),
            Self::TooManyRequests(_) | Self::Unavailable => None,
        }
    }
}

/// What happens to an answer.
pub(super) enum Harm {
    /// The connection is dropped inside the body.
    Dropped(f64),
    /// The JSON document ends early, with headers that fit.
    Truncated(f64),
    /// It takes long.
    Slow(Duration),
}

impl FaultPlan {
    /// The plan that these options ask for.
    pub fn new(options: &SimulateOptions) -> Self {
        Self {
            seed: options.seed,
            requests: 0,
            refused_429: options.fault_rate_429,
            without_retry_after: options.fault_429_without_retry_after,
            refused_5xx: options.fault_rate_5xx,
            cut: options.fault_rate_cut,
            slow: options.fault_rate_slow,
            delay: Duration::from_millis(options.slow_ms),
            limit: Limit::new(options),
            above_limit: 0,
        }
    }

    /// How many requests were decided.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How many were refused because they came too fast.
    pub fn above_limit(&self) -> u64 {
        self.above_limit
    }

    /// The fate of the next request.
    pub(super) fn next_fault(&mut self, now_us: i64) -> Fault {
        let number = self.requests;
        self.requests += 1;
        if let Some(Err(pause)) = self.limit.as_mut().map(|limit| limit.take(now_us)) {
            self.above_limit += 1;
            return Fault::Refused(Refusal::TooManyRequests((!self.without_retry_after).then_some(pause)));
        }
        if self.refused_429 + self.refused_5xx + self.cut + self.slow == 0.0 {
            return Fault::None;
        }
        let mut dice = Dice::new(self.seed, number, 0, "fault");
        let mut draw = dice.unit();
        if draw < self.refused_429 {
            return Fault::Refused(self.too_many_requests(&mut dice));
        }
        draw -= self.refused_429;
        if draw < self.refused_5xx {
            return Fault::Refused(server_error(&mut dice));
        }
        draw -= self.refused_5xx;
        if draw < self.cut {
            let place = dice.unit();
            let harm = if dice.chance(0.5) { Harm::Dropped(place) } else { Harm::Truncated(place) };
            return Fault::Harmed(harm);
        }
        draw -= self.cut;
        if draw < self.slow {
            return Fault::Harmed(Harm::Slow(self.delay));
        }
        Fault::None
    }

    fn too_many_requests(&self, dice: &mut Dice) -> Refusal {
        let pause = dice.between(1, 3);
        Refusal::TooManyRequests((!self.without_retry_after).then_some(pause))
    }
}

fn server_error(dice: &mut Dice) -> Refusal {
    dice.pick(&[Refusal::Internal, Refusal::BadGateway, Refusal::Unavailable, Refusal::GatewayTimeout])
}

impl Harm {
    /// Spoils an answer. One without a body cannot be cut.
    pub(super) fn apply(&self, response: &mut Response) {
        let place = |share: f64| (response.body.len() as f64 * share) as usize;
        match self {
            Self::Slow(delay) => response.delay = Some(*delay),
            Self::Dropped(share) if !response.body.is_empty() => response.cut = Some(place(*share)),
            Self::Truncated(share) if !response.body.is_empty() => response.body = response.body.slice(..place(*share)),
            Self::Dropped(_) | Self::Truncated(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(options: &SimulateOptions) -> Vec<u16> {
        let mut plan = FaultPlan::new(options);
        let fate = |fault| match fault {
            Fault::None => 0,
            Fault::Refused(refusal) => match refusal {
                Refusal::TooManyRequests(_) => 429,
                Refusal::Unavailable => 503,
                proxied => proxied.by_proxy().map_or(0, |response| response.status),
            },
            Fault::Harmed(Harm::Dropped(_)) => 1,
            Fault::Harmed(Harm::Truncated(_)) => 2,
            Fault::Harmed(Harm::Slow(_)) => 3,
        };
        (0..2_000).map(|_| fate(plan.next_fault(0))).collect()
    }

    #[test]
    fn fates_depend_on_seed_and_number_only() {
        let options = SimulateOptions {
            fault_rate_429: 0.1,
            fault_rate_5xx: 0.1,
            fault_rate_cut: 0.1,
            fault_rate_slow: 0.1,
            ..Default::default()
        };
        let fates_of_one = fates(&options);
        assert_eq!(fates_of_one, fates(&options));
        assert_ne!(fates_of_one, fates(&SimulateOptions { seed: 2, ..options }));
        for fate in [429, 500, 502, 503, 504, 1, 2, 3] {
            assert!(fates_of_one.contains(&fate), "{fate}");
        }
        let harmless = fates_of_one.iter().filter(|fate| **fate == 0).count();
        assert!((1_100..1_300).contains(&harmless), "{harmless}");
    }

    #[test]
    fn no_rates_no_faults() {
        assert!(fates(&SimulateOptions::default()).iter().all(|fate| *fate == 0));
    }
}
