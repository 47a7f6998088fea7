//! Who may send the next request, where several kinds of work wait for one budget: pure, no clock and no IO.
//!
//! Each kind has a lane with a share of the requests. Shares count only between those that have something to ask: what
//! one does not use goes to the others. So nothing is starved, whatever there is too much of.
//!
//! Ends have the largest share: they come at a rate, and what is not read as fast as it comes waits longer and longer.
//! Sessions that go on are a number: with less they are all read less often, and one reading brings what two would have.

use std::collections::VecDeque;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reading sessions that go on.
    Live,
    /// Looking for sessions, and everything small: limits, the recognition of an account.
    Discovery,
    /// Reading sessions that have just ended, or come to rest.
    Settling,
    /// Comparing with everything that is listed.
    Sweep,
    /// Reading sessions that had ended before anybody looked.
    Backfill,
}

impl Lane {
    /// Every lane, the most urgent first: that is who goes first where two have waited alike.
    pub const ALL: [Self; 5] = [Self::Live, Self::Discovery, Self::Settling, Self::Sweep, Self::Backfill];

    /// The lanes of readers.
    pub const READERS: [Self; 3] = [Self::Live, Self::Settling, Self::Backfill];

    /// How many of twenty requests are its own when all lanes are full.
    pub const fn share(self) -> u64 {
        match self {
            Self::Live => 7,
            Self::Discovery => 2,
            Self::Settling => 8,
            Self::Sweep => 1,
            Self::Backfill => 2,
        }
    }

    /// How far a request takes it forward: the smaller its share, the further.
    const fn stride(self) -> u64 {
        // Divisible by every share.
        56 / self.share()
    }
}

/// A place in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Those who wait, and how far each lane has come: the one that is furthest behind goes next.
#[derive(Debug, Default)]
pub struct Lanes {
    queues: [VecDeque<Ticket>; Lane::ALL.len()],
    reached: [u64; Lane::ALL.len()],
    /// How far those have come that had something to ask.
    clock: u64,
    last: u64,
}

impl Lanes {
    /// Somebody waits at the end of a lane.
    pub fn enter(&mut self, lane: Lane) -> Ticket {
        let queue = &mut self.queues[lane as usize];
        if queue.is_empty() {
            // What it did not ask for in the past is not owed to it.
            let reached = &mut self.reached[lane as usize];
            *reached = (*reached).max(self.clock);
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        queue.push_back(ticket);
        ticket
    }

    /// Whoever holds this gives up waiting.
    pub fn leave(&mut self, lane: Lane, ticket: Ticket) {
        self.queues[lane as usize].retain(|waiting| *waiting != ticket);
    }

    /// Whose turn it is.
    pub fn next(&self) -> Option<Ticket> {
        let lane = self.first()?;
        self.queues[lane as usize].front().copied()
    }

    /// Whoever's turn it is goes.
    pub fn go(&mut self) {
        let Some(lane) = self.first() else { return };
        self.queues[lane as usize].pop_front();
        let reached = &mut self.reached[lane as usize];
        self.clock = *reached;
        *reached += lane.stride();
    }

    /// The lanes of readers in which nobody waits, in the order in which they should be given a reader.
    pub fn openings(&self) -> Vec<Lane> {
        let mut open: Vec<Lane> = Lane::READERS.into_iter().filter(|lane| self.waiting(*lane) == 0).collect();
        open.sort_by_key(|lane| self.reached[*lane as usize]);
        open
    }

    /// How many wait in a lane.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.queues[lane as usize].len()
    }

    fn first(&self) -> Option<Lane> {
        let busy = Lane::ALL.into_iter().filter(|lane| self.waiting(*lane) > 0);
        busy.min_by_key(|lane| self.reached[*lane as usize])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets so many go, while these lanes are never empty; how many of each went.
    fn went(lanes: &mut Lanes, busy: &[Lane], requests: usize) -> Vec<usize> {
        let mut went = vec![0; busy.len()];
        for _ in 0..requests {
            for lane in busy {
                if lanes.waiting(*lane) == 0 {
                    lanes.enter(*lane);
                }
            }
            let lane = lanes.first().expect("some are busy");
            went[busy.iter().position(|it| *it == lane).expect("only they are")] += 1;
            lanes.go();
        }
        went
    }

    #[test]
    fn full_lanes_share_as_they_are_meant_to() {
        assert_eq!(went(&mut Lanes::default(), &Lane::ALL, 200), [70, 20, 80, 10, 20]);
        assert_eq!(went(&mut Lanes::default(), &[Lane::Live, Lane::Discovery], 90), [70, 20]);
        assert_eq!(went(&mut Lanes::default(), &[Lane::Backfill], 7), [7], "alone it has everything");
    }

    #[test]
    fn what_was_not_asked_for_is_not_owed() {
        let mut lanes = Lanes::default();
        went(&mut lanes, &[Lane::Live], 1000);
        assert_eq!(went(&mut lanes, &[Lane::Live, Lane::Backfill], 9), [7, 2]);
    }

    #[test]
    fn within_a_lane_who_came_first_goes_first_and_who_left_is_passed_over() {
        let mut lanes = Lanes::default();
        let [first, second, third] = [0; 3].map(|_| lanes.enter(Lane::Live));
        assert_eq!(lanes.next(), Some(first));
        lanes.leave(Lane::Live, second);
        lanes.go();
        assert_eq!(lanes.next(), Some(third));
        lanes.go();
        assert_eq!(lanes.next(), None);
        lanes.go();
    }

    #[test]
    fn a_reader_is_given_to_the_lane_that_is_furthest_behind() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.openings(), Lane::READERS);
        lanes.enter(Lane::Live);
        assert_eq!(lanes.openings(), [Lane::Settling, Lane::Backfill]);
        lanes.go();
        assert_eq!(lanes.openings(), [Lane::Settling, Lane::Backfill, Lane::Live]);
    }

    fn lane() -> impl Strategy<Value = Lane> {
        prop::sample::select(Lane::ALL.to_vec())
    }

    proptest! {
        /// Whatever comes and goes in the others, a lane that has somebody waiting is served again before long.
        #[test]
        fn no_lane_waits_for_ever(mine in lane(), others in prop::collection::vec(prop::collection::vec(lane(), 0..6), 0..80)) {
            let mut lanes = Lanes::default();
            for before in others.iter().take(20).flatten() {
                lanes.enter(*before);
                lanes.go();
            }
            let ticket = lanes.enter(mine);
            let mut waited = 0;
            let mut others = others.into_iter().skip(20).chain(std::iter::repeat_with(|| Lane::ALL.to_vec()));
            while lanes.next() != Some(ticket) {
                for lane in others.next().expect("it never ends") {
                    if lane != mine {
                        lanes.enter(lane);
                    }
                }
                lanes.go();
                waited += 1;
                // The other shares of twenty, and once more each of three that go first where two are alike.
                prop_assert!(waited <= 19 + 3, "{mine:?}");
            }
        }
    }
}
