//! A walk over one list of sessions by offset: where the next page begins, and when enough was seen.
//!
//! The lists have no cursor and move while they are read. A session that is created, or moves to the top, shifts others
//! down: they are seen twice, which harms nobody. One that is deleted shifts others up, past the reader: so each page
//! begins a few rows before the end of the last one, and if none of those rows is there any more, the walk steps back.

use super::decode::{ListPage, Listed};
use super::{LIST_SIZE, Order};
use crate::domain::{SessionId, Span, Timestamp};

/// Rows that a page shares with the one before it.
const SHARED: usize = 5;
/// How often a walk steps back at most.
const MOST_STEPS_BACK: u32 = 5;
/// Where nothing makes sense any more, nothing says either that the pages are not all the same.
const MOST_BLIND: u32 = 10;
/// Pages of the newest sessions that are read in every round, where the list does not come by last activity.
const NEWEST_PAGES: u32 = 10;
/// Pages of the older ones that are read in every round there, each round going on where the last one ended.
const ROLLING_PAGES: u32 = 10;
/// A row may show later than its times say: so much earlier than necessary a walk ends.
const OVERLAP: Span = Span::from_secs(120);

/// What was known before a walk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// Every movement before this is known.
    pub activity: Option<Timestamp>,
    /// Every session created before this is known.
    pub created: Option<Timestamp>,
}

/// Where a walk over a list that nobody has read to its end was broken off, because there was more to read than is good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    offset: u64,
    /// What the walk had shown to be the newest.
    newest_activity: Option<Timestamp>,
    newest_created: Option<Timestamp>,
}

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// From the top.
    Newest,
    /// Through the older part; so many pages are left.
    Rolling { pages: u32 },
}

/// What is to be done after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another page.
    Page,
    /// Enough was seen.
    Enough,
    /// The list is at its end.
    End,
}

/// The walk.
#[derive(Debug)]
pub(super) struct Walk {
    before: Before,
    everything: bool,
    /// It goes on from there when it has seen what is new since then.
    cut: Option<Cut>,
    offset: u64,
    pages: u32,
    reach: Reach,
    /// The last rows of the page before.
    tail: Vec<SessionId>,
    /// Its first row and its last.
    ends: Option<[SessionId; 2]>,
    /// Pages in a row of which nothing made sense.
    blind: u32,
    steps_back: u32,
    /// The newest movement that the first page showed: what moves later shows in the next round.
    pub newest_activity: Option<Timestamp>,
    pub newest_created: Option<Timestamp>,
}

impl Walk {
    /// A walk that ends where everything is known; `everything` makes it go on to the end of the list.
    pub(super) fn new(before: Before, everything: bool) -> Self {
        Self {
            before,
            everything,
            cut: None,
            offset: 0,
            pages: 0,
            reach: Reach::Newest,
            tail: Vec::new(),
            ends: None,
            blind: 0,
            steps_back: 0,
            newest_activity: before.activity,
            newest_created: before.created,
        }
    }

    /// A walk that goes on where another one was broken off, after what is new.
    pub(super) fn resuming(self, cut: Option<Cut>) -> Self {
        Self { cut, ..self }
    }

    /// Breaks the walk off here, if it has seen what is new.
    pub(super) fn cut(&self) -> Option<Cut> {
        let Self { offset, newest_activity, newest_created, .. } = *self;
        (self.pages > 0 && self.cut.is_none()).then_some(Cut { offset, newest_activity, newest_created })
    }

    /// Where the next page begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether nothing was asked for yet.
    pub(super) fn is_at_top(&self) -> bool {
        self.pages == 0
    }

    /// Takes note of a page. `rolling` is where the walk through the older part goes on, and is moved.
    pub(super) fn page(&mut self, page: &ListPage, order: Order, rolling: &mut u64, now: Timestamp) -> Next {
        if self.pages == 0 {
            let latest = page.rows.iter().filter_map(|row| row.updated_at).max();
            // A time from the future would hide every movement until then.
            self.newest_activity = self.newest_activity.max(latest.map(|at| at.min(now)));
        }
        let created = page.rows.iter().map(|listed| listed.row.created_at).max();
        self.newest_created = self.newest_created.max(created.map(|at| at.min(now)));
        self.pages += 1;

        let size = page.limit.unwrap_or(LIST_SIZE).clamp(1, LIST_SIZE);
        let after = self.offset + page.len as u64;
        // Servers without pages say nothing of a total or a limit, and give everything at once.
        let is_everything = page.total.is_none() && page.limit.is_none();
        let ends = page.rows.first().zip(page.rows.last()).map(|(first, last)| [&first.row.id, &last.row.id]);
        // Another offset and the same page: whatever is said of a total, there is nothing more to be had.
        self.blind = if ends.is_none() { self.blind + 1 } else { 0 };
        let is_stuck =
            self.blind >= MOST_BLIND || ends.is_some() && ends == self.ends.as_ref().map(|[first, last]| [first, last]);
        let is_short = (page.len as u64) < size || page.total.is_some_and(|total| after >= total);
        let is_end = is_short || is_everything || is_stuck;
        self.ends = ends.map(|ends| ends.map(Clone::clone));
        let shares_rows = self.tail.is_empty() || page.rows.iter().any(|row| self.tail.contains(&row.row.id));
        if !shares_rows && self.steps_back < MOST_STEPS_BACK {
            self.steps_back += 1;
            self.offset = self.offset.saturating_sub(size);
            self.tail.clear();
            return Next::Page;
        }
        if is_end {
            *rolling = 0;
            return Next::End;
        }
        if self.has_enough(&page.rows, order) {
            return Next::Enough;
        }
        self.tail = page.rows.iter().rev().take(SHARED).map(|listed| listed.row.id.clone()).collect();
        let shared = SHARED.min(page.len.saturating_sub(1)) as u64;
        self.offset = after - shared;
        if self.is_partial(order) {
            return self.roll(&page.rows, rolling);
        }
        if let Some(cut) = self.cut.take_if(|cut| cut.is_passed(&page.rows, order))
            && cut.offset > after
        {
            // Rows may have been deleted since: it begins a page earlier.
            self.offset = (cut.offset - size).max(self.offset);
            self.tail.clear();
        }
        Next::Page
    }

    /// In a list by last activity, everything below a row that had not moved since the last round has not either.
    fn has_enough(&self, rows: &[Listed], order: Order) -> bool {
        let Some(known) = self.before.activity.filter(|_| !self.everything && order == Order::Activity) else {
            return false;
        };
        rows.last().and_then(|row| row.updated_at).is_some_and(|at| at < known.minus(OVERLAP))
    }

    /// In a list by creation only a part can be read in each round.
    fn is_partial(&self, order: Order) -> bool {
        !self.everything && order != Order::Activity && self.before.created.is_some()
    }

    fn roll(&mut self, rows: &[Listed], rolling: &mut u64) -> Next {
        match self.reach {
            Reach::Newest => {
                let oldest = rows.iter().map(|listed| listed.row.created_at).min();
                let known = self.before.created.map(|known| known.minus(OVERLAP));
                let shows_new = oldest.zip(known).is_some_and(|(oldest, known)| oldest > known);
                if shows_new || self.pages < NEWEST_PAGES {
                    return Next::Page;
                }
                self.reach = Reach::Rolling { pages: ROLLING_PAGES };
                if *rolling > self.offset {
                    self.offset = *rolling;
                    self.tail.clear();
                }
                Next::Page
            }
            Reach::Rolling { pages: 0 | 1 } => {
                *rolling = self.offset;
                Next::Enough
            }
            Reach::Rolling { pages } => {
                self.reach = Reach::Rolling { pages: pages - 1 };
                Next::Page
            }
        }
    }
}

impl Cut {
    /// Whether a page goes down to what was there when the walk was broken off.
    fn is_passed(&self, rows: &[Listed], order: Order) -> bool {
        let is_older = |time: Option<Timestamp>, newest: Option<Timestamp>| {
            time.zip(newest).is_some_and(|(time, newest)| time < newest.minus(OVERLAP))
        };
        match order {
            Order::Activity => is_older(rows.last().and_then(|row| row.updated_at), self.newest_activity),
            Order::Creation => is_older(rows.last().map(|listed| listed.row.created_at), self.newest_created),
            Order::Unknown => false,
        }
    }
}

/// What a page shows of the order that was asked for.
pub(super) fn order_shown(rows: &[Listed], known: Order) -> Order {
    let falls = |time: fn(&Listed) -> Option<Timestamp>| {
        rows.windows(2).all(|pair| matches!((time(&pair[0]), time(&pair[1])), (Some(a), Some(b)) if a >= b))
    };
    if !falls(|listed| listed.updated_at) {
        return Order::Creation;
    }
    if !falls(|listed| Some(listed.row.created_at)) {
        return Order::Activity;
    }
    // Both orders would look like this.
    known
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{Mark, Row, Sighting, Status};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    const NOW: i64 = 1_000_000;

    /// A session that was created at this second and moved at that one.
    fn listed(created: i64, updated: impl Into<Option<i64>>) -> Listed {
        let sighting = Sighting { status: Status::Idle, since: at(created), started_at: None, finished_at: None };
        let id = SessionId::new(&format!("session {created}"));
        let row = Row::new(id, "".into(), at(created), sighting, Mark(0));
        Listed { row, agent_id: None, updated_at: updated.into().map(at) }
    }

    /// Sessions created one a second, the newest first.
    fn list(len: i64) -> Vec<Listed> {
        (1..=len).rev().map(|created| listed(created, created)).collect()
    }

    fn page(list: &[Listed], offset: u64) -> ListPage {
        let rows: Vec<Listed> = list.iter().skip(offset as usize).take(100).cloned().collect();
        ListPage { len: rows.len(), rows, total: Some(list.len() as u64), limit: Some(100) }
    }

    /// Reads on until enough was seen; gives what was seen, and the offsets that were asked for.
    fn walked(walk: &mut Walk, list: &[Listed], order: Order, rolling: &mut u64) -> (BTreeSet<i64>, Vec<u64>, Next) {
        let (mut seen, mut offsets) = (BTreeSet::new(), Vec::new());
        loop {
            offsets.push(walk.offset());
            let page = page(list, walk.offset());
            seen.extend(page.rows.iter().map(|listed| listed.row.created_at.micros() / 1_000_000));
            match walk.page(&page, order, rolling, at(NOW)) {
                Next::Page => assert!(offsets.len() < 200, "it never ends: {offsets:?}"),
                end => return (seen, offsets, end),
            }
        }
    }

    #[test]
    fn pages_share_rows_and_everything_is_seen() {
        let mut walk = Walk::new(Before::default(), true);
        let (seen, offsets, end) = walked(&mut walk, &list(250), Order::Unknown, &mut 0);
        assert_eq!((seen.len(), offsets, end), (250, vec![0, 95, 190], Next::End));
        assert_eq!((walk.newest_activity, walk.newest_created), (Some(at(250)), Some(at(250))));
    }

    #[test]
    fn a_walk_steps_back_over_what_deletions_moved_past_it() {
        let before = list(250);
        let mut walk = Walk::new(Before::default(), true);
        assert_eq!(walk.page(&page(&before, 0), Order::Unknown, &mut 0, at(NOW)), Next::Page);
        // The sixty newest go: what was at 100 is at 40 now, and the next page would begin at 95.
        let after = before[60..].to_vec();
        let (seen, offsets, _) = walked(&mut walk, &after, Order::Unknown, &mut 0);
        assert_eq!(offsets[..2], [95, 0], "no row of the page before was there");
        assert_eq!(seen.len(), 190);
    }

    #[test]
    fn a_walk_does_not_step_back_for_ever() {
        let mut walk = Walk::new(Before::default(), true);
        let (mut offset, mut pages) = (0, 0);
        loop {
            // A list that has nothing in common with what it was a moment ago.
            let rows: Vec<Listed> = (0..100).map(|row| listed(pages * 1000 + row, None)).collect();
            let shown = ListPage { len: 100, rows, total: Some(3000), limit: Some(100) };
            pages += 1;
            if walk.page(&shown, Order::Unknown, &mut 0, at(NOW)) == Next::End {
                break;
            }
            assert!(pages < 100, "it is at {offset} after {pages} pages");
            offset = walk.offset();
        }
        assert!(offset > 2800);
    }

    #[test]
    fn in_a_list_by_activity_a_walk_ends_a_little_below_what_is_known() {
        let before = Before { activity: Some(at(9_700)), created: Some(at(9_700)) };
        let (seen, offsets, end) = walked(&mut Walk::new(before, false), &list(10_000), Order::Activity, &mut 0);
        assert_eq!(end, Next::Enough);
        assert!(seen.contains(&9_580) && !seen.contains(&9_400), "two minutes are read again: {offsets:?}");
        let (seen, _, end) = walked(&mut Walk::new(before, true), &list(10_000), Order::Activity, &mut 0);
        assert_eq!((seen.len(), end), (10_000, Next::End), "a walk over everything goes on");
    }

    #[test]
    fn a_list_by_creation_is_read_in_parts_that_add_up() {
        let list = list(5_000);
        let before = Before { activity: Some(at(5_000)), created: Some(at(5_000)) };
        let (mut rolling, mut seen, mut rounds) = (0, BTreeSet::new(), 0);
        while seen.len() < list.len() {
            let (more, offsets, _) = walked(&mut Walk::new(before, false), &list, Order::Creation, &mut rolling);
            assert!(offsets.len() <= 20, "{offsets:?}");
            assert!((4_100..=5_000).all(|created| more.contains(&created)), "the newest are read in every round");
            seen.extend(more);
            rounds += 1;
            assert!(rounds < 10, "{} of 5000 seen", seen.len());
        }
        assert_eq!(rolling, 0, "at the end it begins again");
    }

    #[test]
    fn all_that_is_new_is_read_in_one_round() {
        let before = Before { activity: Some(at(1_000)), created: Some(at(1_000)) };
        let (seen, ..) = walked(&mut Walk::new(before, false), &list(5_000), Order::Creation, &mut 0);
        assert!((1_000..=5_000).all(|created| seen.contains(&created)));
    }

    #[test]
    fn a_walk_that_was_broken_off_goes_on_there_after_what_is_new() {
        let mut walk = Walk::new(Before::default(), false);
        assert!(walk.cut().is_none(), "the top is always read");
        let before = list(5_000);
        for _ in 0..10 {
            walk.page(&page(&before, walk.offset()), Order::Activity, &mut 0, at(NOW));
        }
        let cut = walk.cut().expect("a page was read");
        assert_eq!(cut.offset, 950);
        // Since then four hundred more have come.
        let after = list(5_400);
        let mut walk = Walk::new(Before::default(), false).resuming(Some(cut));
        let mut offsets = Vec::new();
        while walk.cut().is_none() {
            offsets.push(walk.offset());
            assert_eq!(walk.page(&page(&after, walk.offset()), Order::Activity, &mut 0, at(NOW)), Next::Page);
        }
        assert_eq!(offsets, [0, 95, 190, 285, 380, 475], "down to two minutes below what had been the newest");
        assert_eq!(walk.offset(), 850, "a page before the one that would have been next");
        let (seen, ..) = walked(&mut walk, &after, Order::Activity, &mut 0);
        assert!((1..=4_500).all(|created| seen.contains(&created)));
    }

    #[test]
    fn a_walk_goes_on_from_where_it_is_if_what_is_new_reaches_beyond_where_it_was_broken_off() {
        let mut walk = Walk::new(Before::default(), false);
        walk.page(&page(&list(500), 0), Order::Creation, &mut 0, at(NOW));
        let mut next = Walk::new(Before::default(), false).resuming(walk.cut());
        let (seen, offsets, end) = walked(&mut next, &list(900), Order::Creation, &mut 0);
        assert_eq!((seen.len(), end), (900, Next::End), "{offsets:?}");
    }

    #[test]
    fn a_server_without_pages_gives_everything_at_once() {
        let rows = list(300);
        let everything = ListPage { len: 300, rows, total: None, limit: None };
        let mut walk = Walk::new(Before::default(), true);
        assert_eq!(walk.page(&everything, Order::Unknown, &mut 0, at(NOW)), Next::End);
    }

    #[test]
    fn the_same_page_again_is_the_end() {
        let same = ListPage { total: Some(u64::MAX), ..page(&list(300), 0) };
        let mut walk = Walk::new(Before::default(), true);
        assert_eq!(walk.page(&same, Order::Unknown, &mut 0, at(NOW)), Next::Page);
        assert_eq!(walk.page(&same, Order::Unknown, &mut 0, at(NOW)), Next::End);
    }

    #[test]
    fn a_time_from_the_future_hides_nothing() {
        let mut walk = Walk::new(Before::default(), false);
        let odd = ListPage { len: 1, rows: vec![listed(NOW + 500, NOW + 900)], total: Some(1), limit: Some(100) };
        walk.page(&odd, Order::Unknown, &mut 0, at(NOW));
        assert_eq!((walk.newest_activity, walk.newest_created), (Some(at(NOW)), Some(at(NOW))));
    }

    #[test]
    fn an_order_is_believed_when_it_cannot_be_chance() {
        let shown = |rows: &[(i64, Option<i64>)], known| {
            let rows: Vec<Listed> = rows.iter().map(|(created, updated)| listed(*created, *updated)).collect();
            order_shown(&rows, known)
        };
        let by_activity = [(3, Some(90)), (7, Some(80)), (5, Some(70))];
        let by_creation = [(7, Some(80)), (5, Some(70)), (3, Some(90))];
        let by_both = [(7, Some(90)), (5, Some(80)), (3, Some(70))];
        for known in [Order::Unknown, Order::Activity, Order::Creation] {
            assert_eq!(shown(&by_activity, known), Order::Activity);
            assert_eq!(shown(&by_creation, known), Order::Creation);
            for says_nothing in [&by_both[..], &by_both[..1], &[]] {
                assert_eq!(shown(says_nothing, known), known);
            }
            assert_eq!(shown(&[(7, None), (5, None)], known), Order::Creation, "it does not even tell when");
        }
    }
}
