//! The outbox as arithmetic: which spans wait for the collector, and which have to leave.

use std::ops::Range;

/// Spans that wait, by their numbers, which only ever grow and have no holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    waiting: Range<u64>,
    limit: u64,
}

/// What a commit does to the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxChange {
    /// Numbers that leave, all of which wait.
    pub leave: Range<u64>,
    /// So many of the new ones leave at once, the oldest first: there was never room for them.
    pub skip: usize,
    /// The number of the first new one that stays.
    pub first_new: u64,
    /// Spans that nobody has taken and that had to leave.
    pub dropped: u64,
    /// What waits afterwards.
    pub waiting: Range<u64>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { waiting: 0..0, limit: u64::MAX }
    }
}

impl Outbox {
    /// What waits when a store is opened.
    pub fn new(waiting: Range<u64>, limit: u64) -> Self {
        Self { waiting, limit }
    }

    /// What waits.
    pub fn waiting(&self) -> Range<u64> {
        self.waiting.clone()
    }

    /// Sets how many may wait; more than that leave with the next commit.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// What a commit with so many new spans does, when everything before `sent` was taken.
    pub fn plan(&self, new: usize, sent: Option<u64>) -> OutboxChange {
        let Range { start, end } = self.waiting;
        let taken_until = sent.unwrap_or(start).clamp(start, end);
        let end_after = end + new as u64;
        let start_after = taken_until.max(end_after.saturating_sub(self.limit));
        OutboxChange {
            leave: start..start_after.min(end),
            skip: usize::try_from(start_after.saturating_sub(end)).unwrap_or(usize::MAX),
            first_new: start_after.max(end),
            dropped: start_after - taken_until,
            waiting: start_after..end_after,
        }
    }

    /// The change is durable.
    pub fn committed(&mut self, change: &OutboxChange) {
        self.waiting = change.waiting.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_leaves_and_is_not_dropped() {
        let outbox = Outbox::new(10..20, 100);
        let change = outbox.plan(5, Some(15));
        assert_eq!(
            change,
            OutboxChange { leave: 10..15, skip: 0, first_new: 20, dropped: 0, waiting: 15..25 },
            "the rest waits"
        );
        // What was taken already is taken, and what is not there yet cannot be.
        assert_eq!(outbox.plan(0, Some(3)).waiting, 10..20);
        assert_eq!(outbox.plan(2, Some(99)).waiting, 20..22);
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let mut outbox = Outbox::new(0..8, 10);
        let change = outbox.plan(5, None);
        assert_eq!((change.leave.clone(), change.skip, change.dropped), (0..3, 0, 3));
        outbox.committed(&change);
        assert_eq!(outbox.waiting(), 3..13);
        // More at once than there is room for altogether.
        let change = outbox.plan(25, None);
        assert_eq!((change.leave, change.skip, change.first_new, change.dropped), (3..13, 15, 28, 25));
        assert_eq!(change.waiting, 28..38);
        outbox.set_limit(4);
        assert_eq!(outbox.plan(0, None).waiting, 9..13);
    }
}
