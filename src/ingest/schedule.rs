//! What to ask of a platform next: pure, no clock and no IO.
//!
//! Sessions that move come before sessions that have ended, both before the slow sweep; discovery runs beside them.
//! A session that cannot be read waits longer each time, so that one broken session never holds up the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::domain::{Due, SessionId};

/// Time since the poller started.
pub type Tick = Duration;

/// A session that cannot be read is tried again after this, then twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest a session has to wait for its next try.
const LAST_RETRY: Duration = Duration::from_secs(300);
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
    /// Jobs at once.
    pub concurrency: usize,
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Find sessions.
    Discover,
    /// Read a session.
    Read(Due),
    /// Compare with everything listed.
    Sweep,
    /// Ask for limits.
    Limits,
}

/// How a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Well,
    /// It is put off until others were read.
    Later,
    /// It failed and is to be tried again.
    Failed,
    /// The key was refused.
    Refused,
}

/// The plan of one source.
#[derive(Debug)]
pub struct Schedule {
    rhythm: Rhythm,
    moving: VecDeque<SessionId>,
    ended: VecDeque<SessionId>,
    waiting: HashMap<SessionId, Due>,
    reading: HashSet<SessionId>,
    retries: HashMap<SessionId, (u32, Tick)>,
    discover_at: Option<Tick>,
    sweep_at: Option<Tick>,
    limits_at: Option<Tick>,
    running: usize,
    refused_until: Tick,
    passes: u32,
    once: bool,
    failures: u32,
    reads: u32,
}

impl Schedule {
    /// Everything is due at once, except the sweep, which the first discovery makes needless.
    pub fn new(rhythm: Rhythm, once: bool) -> Self {
        Self {
            rhythm,
            moving: VecDeque::new(),
            ended: VecDeque::new(),
            waiting: HashMap::new(),
            reading: HashSet::new(),
            retries: HashMap::new(),
            discover_at: Some(Tick::ZERO),
            sweep_at: Some(rhythm.sweep),
            limits_at: rhythm.limits.map(|_| Tick::ZERO),
            running: 0,
            refused_until: Tick::ZERO,
            passes: 0,
            once,
            failures: 0,
            reads: 0,
        }
    }

    /// A session has to be read. One that is being read shows again in the next list if it still moves.
    pub fn offer(&mut self, due: Due) {
        if self.reading.contains(&due.id) {
            return;
        }
        let id = due.id.clone();
        let queue = if due.ended { &mut self.ended } else { &mut self.moving };
        if self.waiting.insert(id.clone(), due).is_none() {
            queue.push_back(id);
        }
    }

    /// Sessions waiting to be read.
    pub fn backlog(&self) -> usize {
        self.waiting.len()
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
        (over && self.running == 0 && self.waiting.is_empty()).then_some(self.failures)
    }

    /// The next piece of work, if one is due and there is room for it.
    pub fn next(&mut self, now: Tick) -> Option<Work> {
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
        if self.reading.len() >= self.rhythm.concurrency {
            return None;
        }
        if let Some(due) = self.next_read(now) {
            self.reading.insert(due.id.clone());
            return Some(self.start(Work::Read(due)));
        }
        None
    }

    fn start(&mut self, work: Work) -> Work {
        self.running += 1;
        work
    }

    fn next_read(&mut self, now: Tick) -> Option<Due> {
        let retries = &self.retries;
        // Every fourth reader goes to a session that has ended, so that a busy platform cannot keep them waiting for ever.
        self.reads = self.reads.wrapping_add(1);
        let mut queues = [&mut self.moving, &mut self.ended];
        if self.reads.is_multiple_of(4) {
            queues.reverse();
        }
        for queue in queues {
            let ready = |id: &SessionId| retries.get(id).is_none_or(|(_, at)| *at <= now);
            if let Some(place) = queue.iter().position(ready) {
                let id = queue.remove(place)?;
                return self.waiting.remove(&id);
            }
        }
        None
    }

    /// When [`Schedule::next`] may have something that it has not now, if nothing else happens.
    pub fn wake_at(&self) -> Option<Tick> {
        // Without room the next thing to happen is that a reader ends.
        let room = self.reading.len() < self.rhythm.concurrency;
        let retries = self.waiting.keys().filter_map(|id| self.retries.get(id).map(|(_, at)| *at));
        let sweep = self.sweep_at.filter(|_| !self.once);
        let earliest =
            [self.discover_at, self.limits_at, sweep].into_iter().flatten().chain(retries.filter(|_| room)).min()?;
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
            Work::Read(due) => {
                self.reading.remove(&due.id);
                if ended == Ended::Well {
                    self.retries.remove(&due.id);
                } else if ended == Ended::Later {
                    // Behind those that have ended, where a history's parents are.
                    if self.waiting.insert(due.id.clone(), Due { waited: true, ..due.clone() }).is_none() {
                        self.ended.push_back(due.id.clone());
                    }
                } else {
                    let tries = self.retries.get(&due.id).map_or(0, |(tries, _)| *tries);
                    let wait = (FIRST_RETRY * 2u32.saturating_pow(tries.min(10))).min(LAST_RETRY);
                    self.retries.insert(due.id.clone(), (tries + 1, now + wait));
                    // The cursor may have moved on before the failure: the list brings it back with the right one.
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Mark;

    fn due(id: &str, ended: bool) -> Due {
        Due { mark: Some(Mark(1)), ended, ..Due::new(SessionId::new(id), 0) }
    }

    fn schedule(once: bool) -> Schedule {
        let seconds = Duration::from_secs;
        Schedule::new(
            Rhythm { poll: seconds(15), sweep: seconds(3600), limits: Some(seconds(60)), concurrency: 2 },
            once,
        )
    }

    const START: Tick = Tick::ZERO;

    #[test]
    fn begins_with_a_discovery_and_comes_back_to_it() {
        let mut schedule = schedule(false);
        assert_eq!(schedule.next(START), Some(Work::Discover));
        assert_eq!(schedule.next(START), Some(Work::Limits));
        assert_eq!(schedule.next(START), None);
        schedule.finished(&Work::Discover, Ended::Well, START, Duration::from_secs(2));
        assert_eq!(schedule.wake_at(), Some(Duration::from_secs(15)), "from the beginning of the last one");
        assert_eq!(schedule.next(Duration::from_secs(14)), None);
        assert_eq!(schedule.next(Duration::from_secs(15)), Some(Work::Discover));
    }

    #[test]
    fn sessions_that_move_come_first_and_none_twice() {
        let mut schedule = schedule(false);
        schedule.next(START);
        schedule.next(START);
        for due in [due("a", true), due("b", false), due("c", false), due("a", true)] {
            schedule.offer(due);
        }
        assert_eq!(schedule.backlog(), 3);
        assert_eq!(schedule.next(START), Some(Work::Read(due("b", false))));
        schedule.offer(due("b", false));
        assert_eq!(schedule.next(START), Some(Work::Read(due("c", false))));
        assert_eq!(schedule.next(START), None, "no room");
        schedule.finished(&Work::Read(due("c", false)), Ended::Well, START, START);
        assert_eq!(schedule.next(START), Some(Work::Read(due("a", true))));
    }

    #[test]
    fn a_session_that_fails_waits_longer_and_longer() {
        let mut schedule = schedule(false);
        schedule.next(START);
        schedule.next(START);
        let mut now = START;
        let mut waits = Vec::new();
        for _ in 0..9 {
            schedule.offer(due("a", false));
            let at = schedule.wake_at().filter(|_| schedule.next(now).is_none()).unwrap_or(now);
            waits.push((at - now).as_secs());
            now = at;
            if !schedule.reading.contains(&SessionId::new("a")) {
                assert_eq!(schedule.next(now), Some(Work::Read(due("a", false))));
            }
            schedule.finished(&Work::Read(due("a", false)), Ended::Failed, now, now);
        }
        assert_eq!(waits, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn who_waits_for_others_is_read_after_them_and_waits_once() {
        let mut schedule = schedule(true);
        schedule.next(START);
        schedule.next(START);
        schedule.offer(due("child", false));
        schedule.offer(due("parent", true));
        assert_eq!(schedule.next(START), Some(Work::Read(due("child", false))));
        schedule.finished(&Work::Read(due("child", false)), Ended::Later, START, START);
        assert_eq!(schedule.next(START), Some(Work::Read(due("parent", true))));
        assert_eq!(schedule.next(START), Some(Work::Read(Due { waited: true, ..due("child", false) })));
    }

    #[test]
    fn a_refused_key_is_not_tried_again_at_once() {
        let mut schedule = schedule(false);
        schedule.next(START);
        schedule.next(START);
        schedule.offer(due("a", false));
        schedule.finished(&Work::Discover, Ended::Refused, START, START);
        assert_eq!(schedule.next(Duration::from_secs(59)), None);
        assert_eq!(schedule.wake_at(), Some(Duration::from_secs(60)));
        assert!(schedule.next(Duration::from_secs(60)).is_some());
    }

    #[test]
    fn a_sweep_is_not_held_up_by_a_session_that_cannot_be_read() {
        let mut schedule = schedule(false);
        let first = [schedule.next(START).unwrap(), schedule.next(START).unwrap()];
        schedule.offer(due("a", false));
        let read = schedule.next(START).unwrap();
        let hour = Duration::from_secs(3600);
        schedule.finished(&read, Ended::Failed, START, hour);
        schedule.offer(due("a", false));
        for work in &first {
            schedule.finished(work, Ended::Well, hour, hour);
        }
        assert_eq!(schedule.next(hour), Some(Work::Sweep));
        assert!(schedule.next(hour).is_none() && schedule.wake_at().is_some_and(|at| at > hour), "it sleeps");
    }

    #[test]
    fn one_pass_ends_when_everything_found_is_read() {
        let mut schedule = schedule(true);
        let (discover, limits) = (schedule.next(START).unwrap(), schedule.next(START).unwrap());
        schedule.offer(due("a", false));
        schedule.finished(&discover, Ended::Well, START, START);
        schedule.finished(&limits, Ended::Well, START, START);
        assert_eq!(schedule.finished_once(), None);
        let read = schedule.next(START).unwrap();
        schedule.finished(&read, Ended::Failed, START, START);
        assert_eq!(schedule.finished_once(), Some(1));
    }
}
