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
