//! What to ask of a platform next: pure, no clock and no IO.
//!
//! Discovery, limits and the sweep come round by time, each beside the readers. Whom a reader is given to is decided when
//! there is a request for it: which lane is due is for the budget to say, which session of it for the backlog.

use std::time::Duration;

use super::backlog::Backlog;
use super::lanes::Lane;
use crate::domain::{Due, SessionId, Timestamp};

/// Time since the poller started.
pub type Tick = Duration;

/// After a refused key nothing is asked for this long: it will not be accepted a second later.
const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// How often things are done.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Discovery.
    pub poll: Duration,
    /// The full sweep.
    pub sweep: Duration,
    /// Limits; `None` where there are none.
    pub limits: Option<Duration>,
    /// Sessions read at once.
    pub concurrency: usize,
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Find sessions.
    Discover,
    /// Read a session.
    Read {
        /// Which one, and what is known of it.
        due: Due,
        /// Whose share its requests belong to.
        lane: Lane,
    },
    /// Compare with everything listed.
    Sweep,
    /// Ask for limits.
    Limits,
}

impl Work {
    /// Whose share its requests belong to.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Discover | Self::Limits => Lane::Discovery,
            Self::Sweep => Lane::Sweep,
            Self::Read { lane, .. } => *lane,
        }
    }
}

/// How a piece of work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Well,
    /// It is put off until this session was read.
    Later(SessionId),
    /// It failed and is to be tried again.
    Failed,
    /// The key was refused.
    Refused,
}

/// The plan of one source.
#[derive(Debug)]
pub struct Schedule {
    rhythm: Rhythm,
    backlog: Backlog,
    discover_at: Option<Tick>,
    sweep_at: Option<Tick>,
    limits_at: Option<Tick>,
    running: usize,
    refused_until: Tick,
    passes: u32,
    once: bool,
    failures: u32,
}

impl Schedule {
    /// Everything is due at once, except the sweep, which the first discovery makes needless. Polling begins now, by our
    /// clock.
    pub fn new(rhythm: Rhythm, once: bool, now: Timestamp) -> Self {
        Self {
            rhythm,
            backlog: Backlog::new(now),
            discover_at: Some(Tick::ZERO),
            sweep_at: Some(rhythm.sweep),
            limits_at: rhythm.limits.map(|_| Tick::ZERO),
            running: 0,
            refused_until: Tick::ZERO,
            passes: 0,
            once,
            failures: 0,
        }
    }

    /// A session has to be read.
    pub fn offer(&mut self, due: Due, now: Tick) {
        self.backlog.offer(due, now);
    }

    /// The sessions that wait to be read.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Whether this is one pass only.
    pub fn is_once(&self) -> bool {
        self.once
    }

    /// Discoveries that came to their end.
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// Whether a run that makes one pass only has made it, and how many pieces of work failed in it.
    pub fn finished_once(&self) -> Option<u32> {
        let over = self.once && self.discover_at.is_none() && self.limits_at.is_none();
        (over && self.running == 0 && self.backlog.is_empty()).then_some(self.failures)
    }

    /// The next piece of work, if one is due and there is room for it. `openings` are the lanes in which a reader would
    /// be the next to send a request, in the order in which they should be given one.
    pub fn next(&mut self, now: Tick, openings: &[Lane]) -> Option<Work> {
        if now < self.refused_until {
            return None;
        }
        // Discovery and limits are few and cheap, and have a place beside the readers.
        if self.discover_at.is_some_and(|at| at <= now) {
            self.discover_at = None;
            return Some(self.start(Work::Discover));
        }
        if self.limits_at.is_some_and(|at| at <= now) {
            self.limits_at = None;
            return Some(self.start(Work::Limits));
        }
        // So has the sweep: it repairs, and must not wait until there is nothing else to do.
        if !self.once && self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = None;
            return Some(self.start(Work::Sweep));
        }
        if self.backlog.reading() >= self.rhythm.concurrency {
            return None;
        }
        self.backlog.wake(now);
        let read = |lane: &Lane| self.backlog.take(*lane).map(|due| Work::Read { due, lane: *lane });
        let work = openings.iter().find_map(read)?;
        Some(self.start(work))
    }

    fn start(&mut self, work: Work) -> Work {
        self.running += 1;
        work
    }

    /// When [`Schedule::next`] may have something that it has not now, if nothing else happens.
    pub fn wake_at(&self) -> Option<Tick> {
        // Without room the next thing to happen is that a reader ends.
        let has_room = self.backlog.reading() < self.rhythm.concurrency;
        let retry_at = self.backlog.retry_at().filter(|_| has_room);
        let sweep_at = self.sweep_at.filter(|_| !self.once);
        let earliest = [self.discover_at, self.limits_at, sweep_at, retry_at].into_iter().flatten().min()?;
        Some(earliest.max(self.refused_until))
    }

    /// A piece of work is over.
    pub fn finished(&mut self, work: &Work, ended: Ended, began: Tick, now: Tick) {
        self.running -= 1;
        if ended == Ended::Refused {
            self.refused_until = now + REFUSED_WAIT;
        }
        if matches!(ended, Ended::Failed | Ended::Refused) {
            self.failures += 1;
        }
        let again = |every: Duration| Some((began + every).max(now));
        match work {
            Work::Discover => {
                if ended == Ended::Well {
                    self.passes += 1;
                }
                self.discover_at = if self.once { None } else { again(self.rhythm.poll) };
            }
            Work::Limits => self.limits_at = self.rhythm.limits.filter(|_| !self.once).and_then(again),
            Work::Sweep => self.sweep_at = again(self.rhythm.sweep),
            Work::Read { due, .. } => match ended {
                Ended::Well => self.backlog.read(&due.id, now),
                Ended::Later(behind) => self.backlog.put_off(due, &behind, now),
                Ended::Failed | Ended::Refused => self.backlog.fail(&due.id, now),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Mark, SessionId};

    fn due(id: &str) -> Due {
        Due { mark: Some(Mark(1)), ..Due::new(SessionId::new(id), 0) }
    }

    fn read(id: &str) -> Work {
        Work::Read { due: due(id), lane: Lane::Live }
    }

    /// A plan whose discovery and limits are under way.
    fn under_way(once: bool) -> Schedule {
        let seconds = Duration::from_secs;
        let rhythm = Rhythm { poll: seconds(15), sweep: seconds(3600), limits: Some(seconds(60)), concurrency: 2 };
        let mut schedule = Schedule::new(rhythm, once, Timestamp::default());
        assert_eq!(schedule.next(START, &[]), Some(Work::Discover));
        assert_eq!(schedule.next(START, &[]), Some(Work::Limits));
        assert_eq!(schedule.next(START, &Lane::READERS), None);
        schedule
    }

    const START: Tick = Tick::ZERO;

    #[test]
    fn comes_back_to_discovery() {
        let mut schedule = under_way(false);
        schedule.finished(&Work::Discover, Ended::Well, START, Duration::from_secs(2));
        assert_eq!(schedule.wake_at(), Some(Duration::from_secs(15)), "from the beginning of the last one");
        assert_eq!(schedule.next(Duration::from_secs(14), &[]), None);
        assert_eq!(schedule.next(Duration::from_secs(15), &[]), Some(Work::Discover));
    }

    #[test]
    fn a_reader_goes_where_the_next_request_is_and_somebody_waits() {
        let mut schedule = under_way(false);
        for id in ["a", "b", "c"] {
            schedule.offer(due(id), START);
        }
        assert_eq!(schedule.next(START, &[]), None, "there is no request for it");
        assert_eq!(schedule.next(START, &[Lane::Settling, Lane::Live]), Some(read("a")));
        assert_eq!(schedule.next(START, &[Lane::Settling]), None, "nobody waits there");
        assert_eq!(schedule.next(START, &[Lane::Live]), Some(read("b")));
        assert_eq!(schedule.next(START, &[Lane::Live]), None, "no room");
        schedule.finished(&read("a"), Ended::Well, START, START);
        assert_eq!(schedule.next(START, &[Lane::Live]), Some(read("c")));
    }

    #[test]
    fn a_refused_key_is_not_tried_again_at_once() {
        let mut schedule = under_way(false);
        schedule.offer(due("a"), START);
        schedule.finished(&Work::Discover, Ended::Refused, START, START);
        assert_eq!(schedule.next(Duration::from_secs(59), &Lane::READERS), None);
        assert_eq!(schedule.wake_at(), Some(Duration::from_secs(60)));
        assert!(schedule.next(Duration::from_secs(60), &Lane::READERS).is_some());
    }

    #[test]
    fn a_sweep_is_not_held_up_by_a_session_that_cannot_be_read() {
        let mut schedule = under_way(false);
        schedule.offer(due("a"), START);
        let reading = schedule.next(START, &Lane::READERS).unwrap();
        let hour = Duration::from_secs(3600);
        schedule.finished(&reading, Ended::Failed, START, hour);
        schedule.offer(due("a"), hour);
        for work in [Work::Discover, Work::Limits] {
            schedule.finished(&work, Ended::Well, hour, hour);
        }
        assert_eq!(schedule.next(hour, &Lane::READERS), Some(Work::Sweep));
        assert_eq!(schedule.next(hour, &Lane::READERS), None);
        assert_eq!(schedule.wake_at(), Some(hour + Duration::from_secs(5)), "it sleeps until the next try");
    }

    #[test]
    fn one_pass_ends_when_everything_found_is_read() {
        let mut schedule = under_way(true);
        schedule.offer(due("a"), START);
        schedule.finished(&Work::Discover, Ended::Well, START, START);
        schedule.finished(&Work::Limits, Ended::Well, START, START);
        assert_eq!(schedule.finished_once(), None);
        let read = schedule.next(START, &Lane::READERS).unwrap();
        schedule.finished(&read, Ended::Failed, START, START);
        assert_eq!(schedule.finished_once(), Some(1));
    }
}
