//! Finds sessions: everything that has not ended, everything created or finished since the last walk, and now and
//! then everything there is.
//!
//! H's lists have page numbers and no cursor, newest first by default, over a set that changes while it is read. So
//! walks over new sessions go upwards by time of creation in windows (`created_after` the last row seen, first page
//! each time): what is inserted comes later, what is deleted shifts nothing. The list of what has not ended is read
//! by page number; who slips through there is missed by the engine, which asks for it by name.

use std::sync::Arc;

use super::{LIST_SIZE, Learnt, OVERLAP, decode};
use crate::domain::{Item, Span, Timestamp};
use crate::ingest::platforms::{Account, DISCOVERED, Walked};
use crate::ingest::{Failure, Finish, Input, Job, Output, Request, Response};

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
    /// When the first page of active sessions was asked for.
    began: Option<Timestamp>,
    committing: Committing,
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
    /// By page number, everything that ended.
    Finished { after: Timestamp, page: u32, newest: Timestamp },
}

impl Discover {
    /// The walks of one polling cycle.
    pub(super) fn cycle(account: Account, learnt: Arc<Learnt>, walked: Walked<'_>, _now: Timestamp) -> Self {
        let created = walked(CREATED).unwrap_or(account.count_from);
        let finished = walked(FINISHED).unwrap_or(account.count_from);
        let mut ahead = Vec::new();
        if Learnt::knows(&learnt.finished_after) {
            ahead.push(Walk::Finished { after: finished.minus(OVERLAP), page: 1, newest: finished });
        }
        ahead.push(Walk::Created { after: created.minus(OVERLAP), page: 1, newest: created, whole: false });
        let walk = Walk::Active { page: 1 };
        Self { account, learnt, walk, ahead, began: None, committing: Committing::Page }
    }

    /// One walk over everything created since counting began.
    pub(super) fn sweep(account: Account, learnt: Arc<Learnt>) -> Self {
        let after = account.count_from.minus(OVERLAP);
        let walk = Walk::Created { after, page: 1, newest: after, whole: true };
        Self { account, learnt, walk, ahead: Vec::new(), began: None, committing: Committing::Page }
    }

    fn ask(&self) -> Output {
        let size = self.learnt.list_size();
        let mut query = vec![("size", size.to_string()), ("sort", "created_at".to_owned())];
        if !self.account.owner.is_empty() {
            query.push(("owner", self.account.owner.clone()));
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
            Walk::Finished { after, page, .. } => {
                query.push(("finished_after", after.to_string()));
                page
            }
        };
        query.push(("page", page.to_string()));
        Output::Fetch(Request { endpoint: "sessions", path: "/api/v2/sessions".into(), query })
    }

    fn answered(&mut self, response: Response) -> Output {
        if matches!(self.walk, Walk::Active { page: 1 }) {
            self.began = Some(response.asked_at);
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
        let size = self.learnt.list_size();
        let is_last = |number: u32| page.len == 0 || u64::from(number) * u64::from(size) >= page.total;
        let first = page.rows.first().map(|row| row.created_at);
        let last = page.rows.iter().map(|row| row.created_at).max();
        let next = match self.walk {
            Walk::Active { page: number } if is_last(number) => None,
            Walk::Active { page: number } => Some(Walk::Active { page: number + 1 }),
            Walk::Created { after, page: number, newest, whole } => {
                // Some servers compare whole seconds; ones that ignore the filter start with the oldest session.
                if first.is_some_and(|first| first < after.minus(Span::from_secs(1))) {
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
            Walk::Finished { after, page: number, newest } => {
                let honoured = page.rows.iter().all(|row| row.sighting.finished_at.is_some_and(|at| at > after));
                if !honoured {
                    Learnt::forget(&self.learnt.finished_after);
                    return self.next_walk(Vec::new());
                }
                let latest = page.rows.iter().filter_map(|row| row.sighting.finished_at).max();
                let newest = newest.max(latest.unwrap_or(newest).min(now));
                self.walk = Walk::Finished { after, page: number, newest };
                (!is_last(number)).then_some(Walk::Finished { after, page: number + 1, newest })
            }
        };
        let admits = Arc::clone(&self.account.admits);
        let rows = page.rows.into_iter().filter(|row| admits(&row.agent)).map(Item::Row).collect();
        match next {
            Some(walk) => {
                self.walk = walk;
                self.committing = Committing::Page;
                Output::Commit(rows)
            }
            None => self.next_walk(rows),
        }
    }

    /// The present walk is over: commits its last rows with how far it came.
    fn next_walk(&mut self, mut items: Vec<Item>) -> Output {
        match self.walk {
            Walk::Created { newest, whole: false, .. } => items.push(Item::Walked { walk: CREATED, until: newest }),
            Walk::Finished { newest, .. } => items.push(Item::Walked { walk: FINISHED, until: newest }),
            Walk::Active { .. } | Walk::Created { .. } => {}
        }
        match self.ahead.pop() {
            Some(walk) => {
                self.walk = walk;
                self.committing = Committing::Page;
            }
            None => {
                self.committing = Committing::Active;
                if let Some(began) = self.began {
                    items.push(Item::ActiveListed { began });
                    items.push(Item::Walked { walk: DISCOVERED, until: began });
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
            Input::Response(response) => self.answered(response),
            Input::Committed(_) if self.committing == Committing::Active => Output::Done(Finish::Well),
            Input::Committed(_) => self.ask(),
            Input::Failed(failure) => Output::Done(Finish::Failed(failure)),
        }
    }
}

const _: () = assert!(LIST_SIZE >= 10, "a smaller size is tried when this one is refused");
