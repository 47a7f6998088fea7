//! Sessions that wait to be read, and which of them is next: pure, no clock and no IO.
//!
//! Each waits in the lane of its kind. Within a lane the one that has waited longest is next, however often the others
//! move meanwhile: so each is read before long, and how long depends on how many there are and not on which it is. One
//! that cannot be read waits longer each time, so that a broken session never holds up the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::lanes::Lane;
use super::schedule::Tick;
use crate::domain::{Due, Mark, SessionId, Timestamp};

/// A session that cannot be read is tried again after this, then twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest a session has to wait for its next try.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// A place in an order: since when, and a number that no other has.
type Rank = (Tick, u64);

/// The sessions of one source that are to be read.
#[derive(Debug)]
pub struct Backlog {
    began: Timestamp,
    waiting: HashMap<SessionId, Waiting>,
    /// Those that can be read now, by lane.
    ready: [BTreeMap<Rank, SessionId>; Lane::ALL.len()],
    /// Those that failed, by when they may be tried again.
    resting: BTreeMap<Rank, SessionId>,
    /// Those that wait for one that is being read.
    behind: BTreeMap<Rank, SessionId>,
    reading: HashMap<SessionId, Reading>,
    failed: HashMap<SessionId, Failed>,
    /// Since when each session has been unread that somebody may ask for now: all but those of the past.
    unread: BTreeSet<Rank>,
    old: usize,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unread {
    lane: Lane,
    since: Rank,
}

#[derive(Debug)]
struct Reading {
    unread: Unread,
    mark: Option<Mark>,
    /// What a list showed meanwhile and may not show again.
    again: Option<Due>,
    /// Those that are read after it.
    followers: Vec<SessionId>,
}

/// Where a session waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In its lane.
    Ready,
    /// Among those that failed.
    Resting,
    /// Behind one that is being read.
    Behind,
}

#[derive(Debug)]
struct Waiting {
    due: Due,
    unread: Unread,
    place: Place,
    /// How far it has come there.
    rank: Rank,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    since: Tick,
    tries: u32,
    retry_at: Tick,
}

impl Backlog {
    /// Nobody waits; polling begins now, by our clock. What had ended before is the past.
    pub fn new(began: Timestamp) -> Self {
        Self {
            began,
            waiting: HashMap::new(),
            ready: Default::default(),
            resting: BTreeMap::new(),
            behind: BTreeMap::new(),
            reading: HashMap::new(),
            failed: HashMap::new(),
            unread: BTreeSet::new(),
            old: 0,
            last: 0,
        }
    }

    /// Sessions that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sessions that wait and had ended before polling began.
    pub fn old(&self) -> usize {
        self.old
    }

    /// Sessions that are being read.
    pub fn reading(&self) -> usize {
        self.reading.len()
    }

    /// Since when the session has been unread that has waited longest, those of the past left out.
    pub fn oldest(&self) -> Option<Tick> {
        self.unread.first().map(|(since, _)| *since)
    }

    /// When the next one that had failed may be tried again.
    pub fn retry_at(&self) -> Option<Tick> {
        self.resting.first_key_value().map(|((at, _), _)| *at)
    }

    /// A session has to be read. One that is being read shows again in the next list if it goes on, and is read once more
    /// if it does not.
    pub fn offer(&mut self, due: Due, now: Tick) {
        if let Some(reading) = self.reading.get_mut(&due.id) {
            reading.again = Some(due).filter(|due| due.quiet_since.is_some() && due.mark != reading.mark);
            return;
        }
        self.last += 1;
        if let Some(mut known) = self.remove(&due.id) {
            // It keeps its place, but for the lane that it may belong to now.
            let (waited, lane) = (known.due.waited, self.lane(&due));
            if !waited && lane != known.unread.lane {
                let was_past = known.unread.lane == Lane::Backfill;
                let since = if was_past { (now, self.last) } else { known.unread.since };
                known.rank = if known.place == Place::Ready { since } else { known.rank };
                known.unread = Unread { lane, since };
            }
            known.due = Due { waited, ..due };
            self.insert(known);
            return;
        }
        let failed = self.failed.get(&due.id);
        let since = (failed.map_or(now, |failed| failed.since), self.last);
        let retry_at = failed.map(|failed| failed.retry_at).filter(|at| *at > now);
        let unread = Unread { lane: self.lane(&due), since };
        let (place, rank) = retry_at.map_or((Place::Ready, since), |at| (Place::Resting, (at, self.last)));
        self.insert(Waiting { due, unread, place, rank });
    }

    /// The next session of a lane, which is being read from now on.
    pub fn take(&mut self, lane: Lane) -> Option<Due> {
        let id = self.ready[lane as usize].first_key_value()?.1.clone();
        let Waiting { due, unread, .. } = self.remove(&id)?;
        self.note(unread);
        self.reading.insert(id, Reading { unread, mark: due.mark, again: None, followers: Vec::new() });
        Some(due)
    }

    /// It was read.
    pub fn read(&mut self, id: &SessionId, now: Tick) {
        self.failed.remove(id);
        if let Some(again) = self.stop_reading(id).and_then(|reading| reading.again) {
            self.offer(again, now);
        }
    }

    /// It is put off until those that wait now were read, and that one if it is being read.
    pub fn put_off(&mut self, due: &Due, behind: &SessionId, now: Tick) {
        let Some(Reading { mut unread, .. }) = self.stop_reading(&due.id) else { return };
        // What it waits for may have ended before it.
        if unread.lane == Lane::Live {
            unread.lane = Lane::Settling;
        }
        self.last += 1;
        let leader = self.reading.get_mut(behind);
        let place = if leader.is_some() { Place::Behind } else { Place::Ready };
        leader.into_iter().for_each(|leader| leader.followers.push(due.id.clone()));
        let due = Due { waited: true, ..due.clone() };
        self.insert(Waiting { due, unread, place, rank: (now, self.last) });
    }

    /// It could not be read. The cursor may have moved on before that: the list brings it back with the right one.
    pub fn fail(&mut self, id: &SessionId, now: Tick) {
        let Some(Reading { unread, .. }) = self.stop_reading(id) else { return };
        let tries = self.failed.get(id).map_or(0, |failed| failed.tries);
        let wait = (FIRST_RETRY * 2u32.saturating_pow(tries.min(10))).min(LAST_RETRY);
        let failed = Failed { since: unread.since.0, tries: tries + 1, retry_at: now + wait };
        self.failed.insert(id.clone(), failed);
    }

    /// What kind a session is of.
    fn lane(&self, due: &Due) -> Lane {
        match due.quiet_since {
            None => Lane::Live,
            Some(at) if due.cursor == 0 && at < self.began => Lane::Backfill,
            Some(_) => Lane::Settling,
        }
    }

    /// Those that failed and have waited long enough are ready, each with the place of the time when it was first unread.
    pub fn wake(&mut self, now: Tick) {
        while let Some(entry) = self.resting.first_entry().filter(|entry| entry.key().0 <= now) {
            let id = entry.get().clone();
            let Some(mut waiting) = self.remove(&id) else { return };
            (waiting.place, waiting.rank) = (Place::Ready, waiting.unread.since);
            self.insert(waiting);
        }
    }

    fn insert(&mut self, waiting: Waiting) {
        let id = waiting.due.id.clone();
        self.queue(&waiting).insert(waiting.rank, id.clone());
        self.old += usize::from(waiting.unread.lane == Lane::Backfill);
        self.note(waiting.unread);
        self.waiting.insert(id, waiting);
    }

    fn remove(&mut self, id: &SessionId) -> Option<Waiting> {
        let waiting = self.waiting.remove(id)?;
        self.queue(&waiting).remove(&waiting.rank);
        self.old -= usize::from(waiting.unread.lane == Lane::Backfill);
        self.unread.remove(&waiting.unread.since);
        Some(waiting)
    }

    fn queue(&mut self, waiting: &Waiting) -> &mut BTreeMap<Rank, SessionId> {
        match waiting.place {
            Place::Ready => &mut self.ready[waiting.unread.lane as usize],
            Place::Resting => &mut self.resting,
            Place::Behind => &mut self.behind,
        }
    }

    fn note(&mut self, unread: Unread) {
        if unread.lane != Lane::Backfill {
            self.unread.insert(unread.since);
        }
    }

    fn stop_reading(&mut self, id: &SessionId) -> Option<Reading> {
        let reading = self.reading.remove(id)?;
        self.unread.remove(&reading.unread.since);
        for follower in &reading.followers {
            if let Some(mut waiting) = self.remove(follower) {
                waiting.place = Place::Ready;
                self.insert(waiting);
            }
        }
        Some(reading)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEGAN: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn live(id: &str) -> Due {
        Due::new(SessionId::new(id), 0)
    }

    /// Quiet since so many seconds after polling began.
    fn quiet(id: &str, since: i64) -> Due {
        Due { quiet_since: Some(Timestamp::from_micros(BEGAN.micros() + since * 1_000_000)), ..live(id) }
    }

    fn at(seconds: u64) -> Tick {
        Duration::from_secs(seconds)
    }

    /// Takes everything out of a lane.
    fn all(backlog: &mut Backlog, lane: Lane) -> Vec<String> {
        std::iter::from_fn(|| backlog.take(lane)).map(|due| due.id.to_string()).collect()
    }

    #[test]
    fn each_waits_in_its_lane_and_none_twice() {
        let mut backlog = Backlog::new(BEGAN);
        let read_before = Due { cursor: 7, ..quiet("was read", -60) };
        for due in [quiet("old", -60), live("one"), quiet("new", 5), live("two"), read_before, live("one")] {
            backlog.offer(due, at(0));
        }
        assert_eq!((backlog.len(), backlog.old()), (5, 1));
        assert_eq!(all(&mut backlog, Lane::Live), ["one", "two"]);
        backlog.offer(live("one"), at(1));
        assert_eq!(all(&mut backlog, Lane::Live), [""; 0], "it is being read");
        assert_eq!(all(&mut backlog, Lane::Settling), ["new", "was read"]);
        assert_eq!(all(&mut backlog, Lane::Backfill), ["old"]);
        assert_eq!((backlog.len(), backlog.old(), backlog.reading()), (0, 0, 5));
    }

    #[test]
    fn who_waits_longest_is_next_however_often_others_move() {
        let mut backlog = Backlog::new(BEGAN);
        for id in ["quiet", "busy"] {
            backlog.offer(live(id), at(0));
        }
        backlog.take(Lane::Live);
        backlog.read(&SessionId::new("quiet"), at(0));
        for seconds in 1..9 {
            backlog.offer(live("busy"), at(seconds));
        }
        backlog.offer(live("quiet"), at(9));
        backlog.offer(live("busy"), at(10));
        assert_eq!(backlog.oldest(), Some(at(0)));
        assert_eq!(all(&mut backlog, Lane::Live), ["busy", "quiet"]);
        assert_eq!(backlog.oldest(), Some(at(0)), "until it is read it is unread");
        backlog.read(&SessionId::new("busy"), at(11));
        assert_eq!(backlog.oldest(), Some(at(9)));
    }

    #[test]
    fn who_ends_while_it_waits_changes_lanes_and_keeps_its_place() {
        let mut backlog = Backlog::new(BEGAN);
        backlog.offer(live("a"), at(0));
        backlog.offer(quiet("b", 1), at(1));
        backlog.offer(quiet("a", 2), at(2));
        assert_eq!(all(&mut backlog, Lane::Settling), ["a", "b"]);
    }

    #[test]
    fn what_ends_once_more_while_it_is_read_is_read_once_more() {
        let mut backlog = Backlog::new(BEGAN);
        let shown = |mark| Due { mark: Some(Mark(mark)), ..quiet("a", 1) };
        for (meanwhile, again) in [(shown(1), false), (shown(2), true), (live("a"), false)] {
            backlog.offer(shown(1), at(0));
            backlog.take(Lane::Settling);
            backlog.offer(meanwhile, at(1));
            assert_eq!(backlog.len(), 0);
            backlog.read(&SessionId::new("a"), at(2));
            assert_eq!(backlog.len(), usize::from(again));
            if again {
                assert_eq!((backlog.oldest(), backlog.take(Lane::Settling)), (Some(at(2)), Some(shown(2))));
                backlog.read(&SessionId::new("a"), at(3));
            }
        }
    }

    #[test]
    fn the_past_has_no_age_until_it_moves() {
        let mut backlog = Backlog::new(BEGAN);
        backlog.offer(quiet("a", -60), at(0));
        assert_eq!((backlog.oldest(), backlog.old()), (None, 1));
        backlog.offer(live("a"), at(100));
        assert_eq!((backlog.oldest(), backlog.old()), (Some(at(100)), 0));
        assert_eq!(all(&mut backlog, Lane::Live), ["a"]);
    }

    #[test]
    fn a_session_that_fails_waits_longer_and_longer_and_is_unread_all_the_time() {
        let mut backlog = Backlog::new(BEGAN);
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..9 {
            backlog.offer(live("a"), now);
            assert_eq!(backlog.oldest(), Some(at(0)));
            let next = backlog.retry_at().unwrap_or(now);
            waits.push((next - now).as_secs());
            backlog.wake(next - Duration::from_nanos(u64::from(next > now)));
            assert_eq!(backlog.take(Lane::Live).is_none(), next > now, "not a moment before");
            backlog.wake(next);
            let taken = backlog.take(Lane::Live).is_some();
            assert!(taken || next == now);
            now = next;
            backlog.fail(&SessionId::new("a"), now);
        }
        assert_eq!(waits, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
        backlog.offer(live("a"), now);
        backlog.wake(now + LAST_RETRY);
        backlog.take(Lane::Live);
        backlog.read(&SessionId::new("a"), now + LAST_RETRY);
        backlog.offer(live("a"), now + LAST_RETRY);
        assert_eq!((backlog.oldest(), backlog.retry_at()), (Some(now + LAST_RETRY), None), "all is forgiven");
    }

    #[test]
    fn who_failed_holds_up_nobody_and_comes_first_when_its_time_has_come() {
        let mut backlog = Backlog::new(BEGAN);
        backlog.offer(live("broken"), at(0));
        backlog.take(Lane::Live);
        backlog.fail(&SessionId::new("broken"), at(1));
        backlog.offer(live("broken"), at(2));
        for id in ["a", "b"] {
            backlog.offer(live(id), at(2));
        }
        backlog.wake(at(3));
        assert_eq!(backlog.take(Lane::Live).map(|due| due.id.to_string()).as_deref(), Some("a"));
        backlog.wake(at(6));
        assert_eq!(all(&mut backlog, Lane::Live), ["broken", "b"]);
    }

    #[test]
    fn who_waits_for_others_is_read_after_them_and_waits_once() {
        let mut backlog = Backlog::new(BEGAN);
        for due in [live("child"), quiet("parent", 1)] {
            backlog.offer(due, at(0));
        }
        let child = backlog.take(Lane::Live).unwrap();
        backlog.put_off(&child, &SessionId::new("parent"), at(1));
        backlog.offer(live("child"), at(2));
        assert_eq!(backlog.oldest(), Some(at(0)));
        assert_eq!(all(&mut backlog, Lane::Live), [""; 0]);
        assert_eq!(backlog.take(Lane::Settling).map(|due| due.id.to_string()).as_deref(), Some("parent"));
        assert_eq!(backlog.take(Lane::Settling), Some(Due { waited: true, ..child }));
    }

    #[test]
    fn who_waits_for_one_that_is_being_read_is_read_when_that_was() {
        for went_well in [true, false] {
            let mut backlog = Backlog::new(BEGAN);
            for due in [live("parent"), live("child"), live("other")] {
                backlog.offer(due, at(0));
            }
            let parent = backlog.take(Lane::Live).unwrap();
            let child = backlog.take(Lane::Live).unwrap();
            backlog.put_off(&child, &parent.id, at(1));
            backlog.offer(live("child"), at(2));
            assert_eq!(all(&mut backlog, Lane::Settling), [""; 0]);
            assert_eq!((all(&mut backlog, Lane::Live), backlog.len()), (vec!["other".to_owned()], 1));
            assert_eq!(backlog.oldest(), Some(at(0)));
            if went_well {
                backlog.read(&parent.id, at(3))
            } else {
                backlog.fail(&parent.id, at(3))
            }
            assert_eq!(backlog.take(Lane::Settling), Some(Due { waited: true, ..child }));
        }
    }

    proptest! {
        /// Whatever happens, who is read is the one of its lane that has been unread for the longest time among those that
        /// can be, and none is lost.
        #[test]
        fn no_session_is_passed_over(moves in prop::collection::vec((0u64..20, 0u8..10), 1..200)) {
            let mut backlog = Backlog::new(BEGAN);
            for (step, (which, what)) in moves.into_iter().enumerate() {
                let now = at(step as u64);
                backlog.wake(now);
                backlog.offer(live(&which.to_string()), now);
                let since = |waiting: &Waiting| waiting.unread.since;
                let oldest = backlog.waiting.values().filter(|it| it.place == Place::Ready && it.unread.lane == Lane::Live).map(since).min();
                if what < 4 && let Some(due) = backlog.take(Lane::Live) {
                    prop_assert_eq!(Some(backlog.reading[&due.id].unread.since), oldest);
                    match what {
                        0 => backlog.fail(&due.id, now),
                        1 => backlog.read(&due.id, now),
                        2 => backlog.put_off(&due, &SessionId::new(&(which % 4).to_string()), now),
                        _ => {}
                    }
                }
                let unread = backlog.waiting.values().map(since).chain(backlog.reading.values().map(|it| it.unread.since));
                prop_assert_eq!(&unread.collect::<BTreeSet<Rank>>(), &backlog.unread);
                let queued: usize = backlog.ready.iter().map(BTreeMap::len).sum();
                prop_assert_eq!(queued + backlog.resting.len() + backlog.behind.len(), backlog.len());
            }
        }
    }
}
