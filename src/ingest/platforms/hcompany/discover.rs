//! Finds sessions: everything that has not ended, everything created or finished since the last walk, and now and
//! then everything there is.
//!
//! H's lists have page numbers and no cursor, newest first by default, over a set that changes while it is read. So
//! walks over new sessions go upwards by time of creation in windows (`created_after` the last row seen, first page
//! each time): what is inserted comes later, what is deleted shifts nothing. The list of what has not ended is read
//! by page number; who slips through there is missed by the engine, which asks for it by name.

use std::collections::HashSet;
use std::sync::Arc;

use super::{LIST_SIZE, Learnt, OVERLAP, OWNER, decode, sessions};
use crate::domain::{Item, Row, SessionId, Span, Timestamp};
use crate::ingest::platforms::{Account, DISCOVERED, Walked};
use crate::ingest::{Failure, Finish, Input, Job, Output, Response};

/// Some servers compare whole seconds.
const ONE_SECOND: Span = Span::from_secs(1);
/// How far sessions are known by time of creation.
const CREATED: &str = "created";
/// How far sessions are known by time of their end.
const FINISHED: &str = "finished";

/// Statuses that are not an end; the last two came later than the others and are unknown to older servers.
const ACTIVE: [&str; 4] = ["pending", "running", "paused", "idle"];
const NEWER: [&str; 2] = ["queued", "awaiting_tool_results"];

/// One round of walks.
pub(super) struct Discover {
    account: Account,
    learnt: Arc<Learnt>,
    walk: Walk,
    /// Walks still to come, last first.
    ahead: Vec<Walk>,
    /// When the first page of active sessions was asked for, by our clock.
    began: Option<Timestamp>,
    /// The same by the platform's, if it tells.
    began_there: Option<Timestamp>,
    committing: Committing,
    /// There are new sessions that were left for another time.
    cut_short: bool,
    /// Only in a sweep: what it has seen.
    sweep: Option<Sweep>,
}

/// The account of a sweep, to be compared with the platform's own count.
#[derive(Debug, Default)]
struct Sweep {
    seen: HashSet<SessionId>,
    undecoded: usize,
    /// What the platform counted when the sweep began.
    total: Option<u64>,
    /// A second time, because the first did not see everything.
    again: bool,
}

impl Sweep {
    fn note(&mut self, page: &decode::ListPage) {
        self.total.get_or_insert(page.total);
        self.undecoded += page.undecoded;
        self.seen.extend(page.rows.iter().map(|row| row.id.clone()));
    }

    fn missing(&self) -> u64 {
        self.total.unwrap_or(0).saturating_sub((self.seen.len() + self.undecoded) as u64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Committing {
    Page,
    Active,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// By page number, everything that has not ended.
    Active { page: u32 },
    /// Upwards by time of creation. The page number moves only while one instant fills whole pages.
    Created { after: Timestamp, page: u32, newest: Timestamp, whole: bool },
    /// By page number, everything that ended; in the first round only what no walk over new sessions will find.
    Finished { after: Timestamp, created_before: Option<Timestamp>, page: u32, newest: Timestamp },
}

impl Discover {
    /// The walks of one polling cycle.
    pub(super) fn cycle(account: Account, learnt: Arc<Learnt>, walked: Walked<'_>) -> Self {
        let created = walked(CREATED).unwrap_or(account.count_from);
        let finished = walked(FINISHED).unwrap_or(account.count_from);
        let mut ahead = Vec::new();
        if Learnt::knows(&learnt.finished_after) {
            // A long history is found by its creation, bit by bit as it is read, and not at once by its ends.
            let created_before = walked(FINISHED).is_none().then_some(account.count_from);
            let after = finished.minus(OVERLAP);
            ahead.push(Walk::Finished { after, created_before, page: 1, newest: finished });
        }
        ahead.push(Walk::Created { after: created.minus(OVERLAP), page: 1, newest: created, whole: false });
        Self { ahead, ..Self::new(account, learnt, Walk::Active { page: 1 }, None) }
    }

    /// One walk over everything created since counting began.
    pub(super) fn sweep(account: Account, learnt: Arc<Learnt>) -> Self {
        let walk = Self::everything(&account);
        Self::new(account, learnt, walk, Some(Sweep::default()))
    }

    fn new(account: Account, learnt: Arc<Learnt>, walk: Walk, sweep: Option<Sweep>) -> Self {
        Self {
            account,
            learnt,
            walk,
            ahead: Vec::new(),
            began: None,
            began_there: None,
            committing: Committing::Page,
            cut_short: false,
            sweep,
        }
    }

    fn everything(account: &Account) -> Walk {
        let after = account.count_from.minus(OVERLAP);
        Walk::Created { after, page: 1, newest: after, whole: true }
    }

    fn ask(&self) -> Output {
        let size = self.learnt.list_size();
        let mut query = vec![("size", size.to_string()), ("sort", "created_at".to_owned())];
        let owner = self.account.setting(OWNER);
        if !owner.is_empty() {
            query.push(("owner", owner.to_owned()));
        }
        let page = match self.walk {
            Walk::Active { page } => {
                query.extend(ACTIVE.map(|status| ("status", status.to_owned())));
                if Learnt::knows(&self.learnt.newer_statuses) {
                    query.extend(NEWER.map(|status| ("status", status.to_owned())));
                }
                page
            }
            Walk::Created { after, page, .. } => {
                query.push(("created_after", after.to_string()));
                page
            }
            Walk::Finished { after, created_before, page, .. } => {
                query.push(("finished_after", after.to_string()));
                query.extend(created_before.map(|before| ("created_before", before.to_string())));
                page
            }
        };
        query.push(("page", page.to_string()));
        Output::Fetch(sessions(query))
    }

    fn answered(&mut self, response: Response) -> Output {
        if matches!(self.walk, Walk::Active { page: 1 }) {
            self.began = Some(response.asked_at);
            self.began_there = response.date;
        }
        match response.status {
            200 => match decode::list(&response.body) {
                Ok(page) => self.page(page, response.received_at),
                Err(error) => Output::Again(error.0),
            },
            422 => self.refused(&response.body),
            status => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }

    /// Servers differ in what they take; find out what this one objects to and do without.
    fn refused(&mut self, body: &[u8]) -> Output {
        match decode::complaint(body) {
            Some("size") if self.learnt.list_size() > 1 => {
                let smaller = if self.learnt.list_size() > 10 { 10 } else { 1 };
                self.learnt.list_size.store(smaller, std::sync::atomic::Ordering::Relaxed);
                self.ask()
            }
            Some("finished_after") => {
                Learnt::forget(&self.learnt.finished_after);
                self.next_walk(Vec::new())
            }
            complaint
                if matches!(self.walk, Walk::Active { .. })
                    && complaint.is_none_or(|about| about == "status")
                    && Learnt::knows(&self.learnt.newer_statuses) =>
            {
                Learnt::forget(&self.learnt.newer_statuses);
                self.ask()
            }
            _ => Output::Done(Finish::Failed(Failure::Status(422))),
        }
    }

    fn page(&mut self, page: decode::ListPage, now: Timestamp) -> Output {
        if page.undecoded > 0 {
            tracing::warn!(rows = page.undecoded, "sessions in a list could not be understood and are left out");
        }
        if let Some(sweep) = &mut self.sweep {
            sweep.note(&page);
        }
        let size = self.learnt.list_size();
        let is_last = |number: u32| page.len == 0 || u64::from(number) * u64::from(size) >= page.total;
        let first = page.rows.first().map(|row| row.created_at);
        let last = page.rows.iter().map(|row| row.created_at).max();
        let next = match self.walk {
            Walk::Active { page: number } if is_last(number) => None,
            Walk::Active { page: number } => Some(Walk::Active { page: number + 1 }),
            Walk::Created { after, page: number, newest, whole } => {
                // Ones that ignore the filter start with the oldest session.
                if first.is_some_and(|first| first < after.minus(ONE_SECOND)) {
                    return Output::Done(Finish::Failed(Failure::Nonsense("the server ignores created_after")));
                }
                // A time from the future would hide every session until then.
                let newest = newest.max(last.unwrap_or(newest).min(now));
                self.walk = Walk::Created { after, page: number, newest, whole };
                // The rows of the last instant come again: others of the same instant may follow.
                let onward = last.map_or(after, |last| Timestamp::from_micros(last.micros() - 1));
                if is_last(number) {
                    None
                } else if onward > after {
                    Some(Walk::Created { after: onward, page: 1, newest, whole })
                } else {
                    // One instant fills the page: only then by page number.
                    Some(Walk::Created { after, page: number + 1, newest, whole })
                }
            }
            Walk::Finished { after, created_before, page: number, newest } => {
                let earliest = after.minus(ONE_SECOND);
                let honoured = page.rows.iter().all(|row| row.sighting.finished_at.is_some_and(|at| at > earliest));
                if !honoured {
                    Learnt::forget(&self.learnt.finished_after);
                    // Its rows are as good as any others; but nothing says where such a walk would end.
                    let rows = self.admitted(page.rows);
                    return self.next_walk(rows);
                }
                let latest = page.rows.iter().filter_map(|row| row.sighting.finished_at).max();
                let newest = newest.max(latest.unwrap_or(newest).min(now));
                self.walk = Walk::Finished { after, created_before, page: number, newest };
                (!is_last(number)).then_some(Walk::Finished { after, created_before, page: number + 1, newest })
            }
        };
        let mut rows = self.admitted(page.rows);
        match next {
            Some(walk) => {
                if let Walk::Created { newest, whole: false, .. } = walk {
                    // Upwards everything before the last row is known: a walk that breaks off goes on from here.
                    rows.push(Item::Walked { walk: CREATED, until: newest });
                }
                self.walk = walk;
                self.committing = Committing::Page;
                Output::Commit(rows)
            }
            None => self.next_walk(rows),
        }
    }

    fn admitted(&self, rows: Vec<Row>) -> Vec<Item> {
        rows.into_iter().filter(|row| (self.account.admits)(&row.agent)).map(Item::Row).collect()
    }

    /// More sessions wait to be read than is good: those that are new can wait where they are.
    fn crowded(&mut self) -> Output {
        match self.walk {
            Walk::Created { whole: true, .. } => Output::Done(Finish::Well),
            Walk::Created { .. } => {
                self.cut_short = true;
                self.next_walk(Vec::new())
            }
            Walk::Active { .. } | Walk::Finished { .. } => self.ask(),
        }
    }

    /// The present walk is over: commits its last rows with how far it came.
    fn next_walk(&mut self, mut items: Vec<Item>) -> Output {
        match self.walk {
            Walk::Created { newest, whole: false, .. } => items.push(Item::Walked { walk: CREATED, until: newest }),
            Walk::Finished { newest, created_before, .. } => {
                // What ends from now on is found in this way, whatever it was created.
                let began = self.began_there.or(self.began).filter(|_| created_before.is_some());
                items.push(Item::Walked { walk: FINISHED, until: began.unwrap_or(newest) });
            }
            Walk::Active { .. } | Walk::Created { .. } => {}
        }
        if let Some(sweep) = &mut self.sweep
            && sweep.missing() > 0
        {
            let (missing, again) = (sweep.missing(), sweep.again);
            tracing::warn!(missing, again, "a sweep saw fewer sessions than the platform counts");
            if !again {
                *sweep = Sweep { again: true, ..Sweep::default() };
                self.ahead.push(Self::everything(&self.account));
            }
        }
        match self.ahead.pop() {
            Some(walk) => {
                self.walk = walk;
                self.committing = Committing::Page;
            }
            None => {
                self.committing = Committing::Active;
                if let Some(began) = self.began {
                    items.push(Item::RoundListed { began, shows_all: true });
                    items.extend((!self.cut_short).then_some(Item::Walked { walk: DISCOVERED, until: began }));
                }
            }
        }
        Output::Commit(items)
    }
}

impl Job for Discover {
    fn stage(&self) -> &'static str {
        "sessions"
    }

    fn next(&mut self, input: Input) -> Output {
        match input {
            Input::Begin => self.ask(),
            Input::Crowded => self.crowded(),
            Input::Response(response) => self.answered(response),
            Input::Committed(_) if self.committing == Committing::Active => Output::Done(Finish::Well),
            Input::Committed(_) => self.ask(),
            Input::Failed(failure) => Output::Done(Finish::Failed(failure)),
        }
    }
}

const _: () = assert!(LIST_SIZE >= 10, "a smaller size is tried when this one is refused");

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account::new(Timestamp::from_micros(0))
    }

    /// A page with sessions of these numbers, created a second apart, out of `total`.
    fn page(numbers: &[u32], total: u32) -> Input {
        let rows: Vec<String> = numbers
            .iter()
            .map(|n| {
                format!(
                    r#"{{"id":"session-{n}","agent":"a","status":"completed","created_at":"2026-11-20T14:30:{n:02}Z",
                        "finished_at":"2026-11-20T14:31:00Z"}}"#
                )
            })
            .collect();
        let body = format!(r#"{{"items":[{}],"total":{total},"page":1}}"#, rows.join(","));
        let now = Timestamp::parse("2026-11-21T00:00:00Z").unwrap();
        Input::Response(Response::new(200, body, now))
    }

    fn asked(output: &Output, parameter: &str) -> Option<String> {
        let Output::Fetch(request) = output else { panic!("not a request: {output:?}") };
        request.query.iter().find(|(name, _)| *name == parameter).map(|(_, value)| value.clone())
    }

    fn committed(output: &Output) -> usize {
        let Output::Commit(items) = output else { panic!("not a commit: {output:?}") };
        items.iter().filter(|item| matches!(item, Item::Row(_))).count()
    }

    #[test]
    fn windows_go_upwards_from_the_last_row_and_take_its_instant_again() {
        let learnt = Arc::new(Learnt::default());
        learnt.list_size.store(3, std::sync::atomic::Ordering::Relaxed);
        let mut job = Discover::sweep(account(), learnt);
        let first = job.next(Input::Begin);
        assert_eq!(asked(&first, "sort").unwrap(), "created_at");
        assert_eq!(committed(&job.next(page(&[1, 2, 3], 4))), 3);
        let second = job.next(Input::Committed(Default::default()));
        assert_eq!(asked(&second, "created_after").unwrap(), "2026-11-20T14:30:02.999999Z");
        assert_eq!(asked(&second, "page").unwrap(), "1");
        assert_eq!(committed(&job.next(page(&[3, 4], 2))), 2);
        assert_eq!(job.next(Input::Committed(Default::default())), Output::Done(Finish::Well));
    }

    #[test]
    fn one_instant_that_fills_pages_is_read_by_page_number() {
        let learnt = Arc::new(Learnt::default());
        learnt.list_size.store(2, std::sync::atomic::Ordering::Relaxed);
        let mut job = Discover::sweep(account(), learnt);
        job.next(Input::Begin);
        job.next(page(&[5, 5], 4));
        let again = job.next(Input::Committed(Default::default()));
        assert_eq!(asked(&again, "page").unwrap(), "1", "the instant from its beginning");
        job.next(page(&[5, 5], 4));
        let onward = job.next(Input::Committed(Default::default()));
        assert_eq!(asked(&onward, "page").unwrap(), "2");
    }

    #[test]
    fn a_sweep_that_sees_less_than_the_platform_counts_is_made_again_once() {
        let mut job = Discover::sweep(account(), Arc::default());
        job.next(Input::Begin);
        assert_eq!(committed(&job.next(page(&[1, 2], 3))), 2);
        let again = job.next(Input::Committed(Default::default()));
        assert!(asked(&again, "created_after").unwrap().starts_with("1969"), "from the beginning");
        assert_eq!(committed(&job.next(page(&[1, 2, 3], 3))), 3);
        assert_eq!(job.next(Input::Committed(Default::default())), Output::Done(Finish::Well));

        let mut job = Discover::sweep(account(), Arc::default());
        job.next(Input::Begin);
        job.next(page(&[1], 3));
        job.next(Input::Committed(Default::default()));
        job.next(page(&[1], 3));
        assert_eq!(job.next(Input::Committed(Default::default())), Output::Done(Finish::Well), "and no more than once");
    }

    #[test]
    fn a_first_round_asks_only_for_ends_that_creation_does_not_show() {
        let from = Timestamp::parse("2026-11-20T12:00:00Z").unwrap();
        let account = || Account::new(from);
        let mut job = Discover::cycle(account(), Arc::default(), &|_| None);
        job.next(Input::Begin);
        job.next(page(&[], 0));
        let created = job.next(Input::Committed(Default::default()));
        assert_eq!(asked(&created, "created_after").unwrap(), "2026-11-20T11:59:00Z");
        job.next(page(&[1], 1));
        let finished = job.next(Input::Committed(Default::default()));
        assert_eq!(asked(&finished, "finished_after").unwrap(), "2026-11-20T11:59:00Z");
        assert_eq!(asked(&finished, "created_before").unwrap(), "2026-11-20T12:00:00Z");
        let Output::Commit(items) = job.next(page(&[], 0)) else { panic!("a round is committed") };
        let began = Timestamp::parse("2026-11-21T00:00:00Z").unwrap();
        assert!(items.contains(&Item::Walked { walk: FINISHED, until: began }), "{items:?}");

        let mut job = Discover::cycle(account(), Arc::default(), &|_| Some(began));
        for input in [Input::Begin, page(&[], 0), Input::Committed(Default::default()), page(&[], 0)] {
            job.next(input);
        }
        let finished = job.next(Input::Committed(Default::default()));
        assert_eq!(asked(&finished, "finished_after").unwrap(), "2026-11-20T23:59:00Z");
        assert_eq!(asked(&finished, "created_before"), None);
    }

    #[test]
    fn servers_that_ignore_a_filter_are_found_out() {
        let learnt = Arc::<Learnt>::default();
        let walked = |walk: &str| (walk == CREATED).then(|| Timestamp::parse("2026-11-20T15:00:00Z").unwrap());
        let mut job = Discover::cycle(account(), Arc::clone(&learnt), &walked);
        job.next(Input::Begin);
        job.next(page(&[], 0));
        job.next(Input::Committed(Default::default()));
        let over = job.next(page(&[1], 1));
        assert!(matches!(over, Output::Done(Finish::Failed(Failure::Nonsense(_)))), "{over:?}");
    }
}
