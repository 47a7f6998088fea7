//! How fast a source is asked, and how it is found out how fast it may be: pure, no clock and no IO.
//!
//! A token bucket whose rate, the pace, is what was configured until the platform refuses a request because there were
//! too many. Then nothing is sent for as long as the platform asks for, and afterwards the pace begins lower and comes
//! back in the way of CUBIC (RFC 9438), by time alone: quickly at first, slowly near the pace that was too fast, and if
//! that is taken now, faster and faster up to what was configured. So most of the time it is just below what the platform
//! takes, refusals are few, and after a given time without one the old pace is reached whatever had happened.
//!
//! A few refusals may have nothing to do with the pace: others use the account, or a server was busy. One in a hundred is
//! put up with if the pause is short. The pause is made all the same.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::schedule::Tick;

/// What is left of a pace that was too fast; as in RFC 9438.
const FALL: f64 = 0.7;
/// The lowest pace is this part of what was configured: below it the pauses that the platform asks for do the rest.
const LOWEST: f64 = 1.0 / 10.0;
/// But not lower than one request in ten seconds: nothing could be found out by so few.
const SLOWEST: f64 = 0.1;
/// Without a word from the platform the first pause is so long, and each further one twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause that is made without being asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The longest pause that is made because it is asked for. After it one request shows whether it was meant so.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// The pace that was too fast is tried again after this at the earliest, ...
const SHORTEST_CALM: Duration = Duration::from_secs(60);
/// ... after so many times the pause that it had cost, so that pauses take but a small part of the time, ...
const CALM_PER_PAUSE: u32 = 8;
/// ... and after this at the latest.
const LONGEST_CALM: Duration = Duration::from_secs(1200);
/// One refusal in so many requests is put up with, ...
const PER_TOLERATED: u16 = 100;
/// ... after many without any so many in a row, ...
const MOST_TOLERATED: u16 = 3;
/// ... where the pause is no longer than this.
const SHORT_PAUSE: Duration = Duration::from_secs(3);

/// Leave to send one request. Its answer is to be told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what became of the request has to be told"]
pub struct Grant {
    /// How often the pace had been judged when it was given: what was under way then says nothing about what is new.
    epoch: u64,
}

/// The way back to a pace that was too fast, and beyond.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    low: f64,
    ceiling: f64,
    from: Tick,
    calm: Duration,
}

/// The budget of one source.
#[derive(Debug)]
pub struct Budget {
    configured: f64,
    recovery: Option<Recovery>,
    tokens: f64,
    counted_at: Tick,
    paused_until: Tick,
    epoch: u64,
    /// Something was taken since the pace was last judged: only then a refusal means that it is too fast. Without that
    /// it means that the pause was too short.
    is_proven: bool,
    refusals_in_a_row: u32,
    /// Answers that refusals are put up with for.
    credit: u16,
}

impl Budget {
    /// At most so many requests per second, of which one second's worth (at least one) may be sent at once.
    pub fn new(per_second: f64) -> Self {
        // Less than one request in a quarter of an hour is no polling, and waits must stay numbers.
        let configured = per_second.max(0.001);
        Self {
            configured,
            recovery: None,
            tokens: configured.max(1.0),
            counted_at: Tick::ZERO,
            paused_until: Tick::ZERO,
            epoch: 0,
            is_proven: false,
            refusals_in_a_row: 0,
            credit: 0,
        }
    }

    /// Requests per second that it allows now, pauses aside.
    pub fn pace(&self, now: Tick) -> f64 {
        let Some(Recovery { low, ceiling, from, calm }) = self.recovery else { return self.configured };
        let way = now.saturating_sub(from).as_secs_f64() / calm.as_secs_f64();
        let pace = if way < 1.0 {
            ceiling - (ceiling - low) * (1.0 - way).powi(3)
        } else if way < 2.0 {
            ceiling + (self.configured - ceiling) * (way - 1.0).powi(3)
        } else {
            self.configured
        };
        pace.clamp(self.lowest(), self.configured)
    }

    /// The lowest pace that it comes to.
    fn lowest(&self) -> f64 {
        (self.configured * LOWEST).max(SLOWEST).min(self.configured)
    }

    /// Until when nothing is sent; in the past when it is not paused.
    pub fn paused_until(&self) -> Tick {
        self.paused_until
    }

    /// Leave to send a request now; otherwise when to ask again.
    pub fn ask(&mut self, now: Tick) -> Result<Grant, Tick> {
        if now < self.paused_until {
            return Err(self.paused_until);
        }
        // The pace never falls but by a refusal, which empties the bucket: what it was at the beginning is not too much.
        let pace = self.pace(self.counted_at);
        let passed = now.saturating_sub(self.counted_at).as_secs_f64();
        self.tokens = (self.tokens + passed * pace).min(self.pace(now).max(1.0));
        self.counted_at = self.counted_at.max(now);
        // What is missing of one is less than the clock can tell.
        if self.tokens >= 1.0 - 1e-9 {
            self.tokens = (self.tokens - 1.0).max(0.0);
            return Ok(Grant { epoch: self.epoch });
        }
        let wait = (1.0 - self.tokens) / self.pace(now);
        Err(now + Duration::from_secs_f64(wait).max(Duration::from_millis(1)))
    }

    /// A request was answered: not too many, by that.
    pub fn answered(&mut self, grant: Grant) {
        self.credit = (self.credit + 1).min(MOST_TOLERATED * PER_TOLERATED);
        if grant.epoch == self.epoch {
            self.is_proven = true;
            self.refusals_in_a_row = 0;
        }
    }

    /// A request was refused because there were too many. `asked` is how long the platform wants to be left alone, if it
    /// says so; `spread` (0 to 1) makes that up to a quarter longer, so that not everybody comes back at one instant.
    ///
    /// Of requests that were under way together only the first refusal lowers the pace, if it is not put up with. Whether it
    /// did.
    pub fn refused(&mut self, grant: Grant, now: Tick, asked: Option<Duration>, spread: f64) -> bool {
        let is_first = grant.epoch == self.epoch;
        let own = |times: u32| FIRST_PAUSE.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE);
        let pause = match (asked, self.refusals_in_a_row) {
            // A platform that asks for a second again and again does not know what it says.
            (Some(asked), times @ 1..) if is_first => asked.min(LONGEST_ASKED).max(own(times - 1)),
            (Some(asked), _) => asked.min(LONGEST_ASKED),
            (None, times) if is_first => own(times),
            (None, _) => return false,
        };
        let is_tolerated = is_first && self.is_proven && self.credit >= PER_TOLERATED && pause <= SHORT_PAUSE;
        let is_lowered = is_first && self.is_proven && !is_tolerated;
        if is_first {
            self.credit -= if is_tolerated { PER_TOLERATED } else { 0 };
            if is_lowered {
                let ceiling = self.pace(now);
                let calm = (pause * CALM_PER_PAUSE).clamp(SHORTEST_CALM, LONGEST_CALM);
                let low = (ceiling * FALL).max(self.lowest());
                self.recovery = Some(Recovery { low, ceiling, from: now, calm });
            }
            self.epoch += 1;
            self.is_proven = false;
            self.refusals_in_a_row += 1;
        }
        self.paused_until = self.paused_until.max(now + pause.mul_f64(1.0 + 0.25 * spread.clamp(0.0, 1.0)));
        // One request goes first, and the way back begins when it may.
        self.tokens = 0.0;
        self.counted_at = self.counted_at.max(self.paused_until);
        if let Some(recovery) =
            self.recovery.as_mut().filter(|recovery| is_first && !is_tolerated || recovery.from >= now)
        {
            recovery.from = recovery.from.max(self.paused_until);
        }
        is_lowered
    }
}
