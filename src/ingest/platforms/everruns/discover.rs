//! Finds sessions: those that are new or have moved since the last round, and now and then everything there is.
//!
//! The newer parameters of lists are sent to every server, since older ones ignore what they do not know; but nothing
//! depends on them until an answer shows that they took effect. `include_archived` only adds rows. `order` is believed
//! when a page comes in that order and could not have come so by chance; until then every round reads the newest part
//! of the list and a part of the rest.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smol_str::SmolStr;

use super::decode::{self, ListPage};
use super::names::Names;
use super::route::{Probe, Route};
use super::walk::{Before, Next, Walk, order_shown};
use super::{Homes, LIST_SIZE, Learnt, Order, Paging, locked};
use crate::domain::{Item, SessionId, Timestamp};
use crate::ingest::platforms::{Account, DISCOVERED, Walked};
use crate::ingest::{Failure, Finish, Input, Job, Output, Response};

/// How far movements are known.
const ACTIVITY: &str = "activity";
/// How far sessions are known by time of creation.
const CREATED: &str = "created";

/// One round over the lists.
pub(super) struct Discover {
    account: Account,
    learnt: Arc<Learnt>,
    probe: Probe,
    names: Names,
    before: Before,
    walk: Walk,
    /// Agents whose lists are still to be read, the present one last; only where each has a list of its own.
    agents: Vec<SmolStr>,
    asked: Asked,
    /// A page that waits for the names of its agents.
    held: Option<(ListPage, Timestamp)>,
    began: Option<Timestamp>,
    /// A list was there.
    listed_some: bool,
    /// Which agent each session of this round was found with, where each agent has a list of its own.
    homes: HashMap<SessionId, SmolStr>,
    /// Sessions that were found in this way before.
    homes_before: HashSet<SessionId>,
    /// The route is asked for although one is known: the server may have become a newer one.
    finds_route: bool,
    /// Every list was read to its end.
    saw_everything: bool,
    /// There is more that was left for another time.
    cut_short: bool,
    sweep: Option<Sweep>,
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Route,
    Agents,
    Stats,
    Sessions,
}

/// The account of a sweep, to be compared with the platform's own counts.
#[derive(Debug, Default)]
struct Sweep {
    seen: HashSet<SessionId>,
    undecoded: usize,
    /// What the list itself, or the platform's count of sessions, came to.
    total: u64,
    asked_stats: bool,
    /// A second time, because the first did not see everything.
    again: bool,
}

impl Sweep {
    fn missing(&self) -> u64 {
        self.total.saturating_sub((self.seen.len() + self.undecoded) as u64)
    }
}

impl Discover {
    /// The lists of one polling round.
    pub(super) fn round(account: Account, learnt: Arc<Learnt>, walked: Walked<'_>) -> Self {
        let before = Before { activity: walked(ACTIVITY), created: walked(CREATED) };
        let cut = *locked(&learnt.cut);
        let mut job = Self::new(account, learnt, before, None);
        job.walk = job.walk.resuming(cut.filter(|_| before.created.is_none()));
        job
    }

    /// Everything there is.
    pub(super) fn sweep(account: Account, learnt: Arc<Learnt>) -> Self {
        // Servers are replaced by newer ones, and agents get names: what was found out is found out again.
        learnt.set_order(Order::Unknown);
        learnt.set_paging(Paging::Unknown);
        learnt.plain_lists.store(false, Ordering::Relaxed);
        let mut job = Self::new(account, learnt, Before::default(), Some(Sweep::default()));
        job.names.forget_nameless();
        job.finds_route = job.learnt.route().is_some_and(|route| !route.is_flat());
        job
    }

    fn new(account: Account, learnt: Arc<Learnt>, before: Before, sweep: Option<Sweep>) -> Self {
        Self {
            probe: Probe::new(&account),
            names: Names::new(Arc::clone(&learnt)),
            before,
            walk: Walk::new(before, sweep.is_some()),
            agents: Vec::new(),
            asked: Asked::Route,
            held: None,
            began: None,
            listed_some: false,
            homes: HashMap::new(),
            homes_before: HashSet::new(),
            finds_route: false,
            saw_everything: true,
            cut_short: false,
            sweep,
            is_over: false,
            account,
            learnt,
        }
    }

    fn begin(&mut self) -> Output {
        match self.learnt.route() {
            Some(_) if self.finds_route => self.ask_route(),
            Some(route) if route.is_flat() => self.ask_next(&route),
            Some(_) => {
                self.homes_before = locked(&self.learnt.homes).agents.keys().cloned().collect();
                self.ask_agents()
            }
            None => self.ask_route(),
        }
    }

    fn ask_route(&mut self) -> Output {
        self.asked = Asked::Route;
        match self.probe.ask() {
            Some(request) => Output::Fetch(request),
            None => Output::Done(Finish::Failed(Failure::Nonsense(
                "no list of sessions below base_url; a server of the kind `everruns-serve` has none",
            ))),
        }
    }

    fn ask_agents(&mut self) -> Output {
        let Some(route) = self.learnt.route() else { return self.ask_route() };
        self.asked = Asked::Agents;
        Output::Fetch(route.agents(self.names.offset()))
    }

    fn ask_next(&mut self, route: &Route) -> Output {
        if let Some(sweep) = &mut self.sweep
            && route.is_flat()
            && !std::mem::replace(&mut sweep.asked_stats, true)
        {
            self.asked = Asked::Stats;
            return Output::Fetch(route.stats());
        }
        self.asked = Asked::Sessions;
        let mut query = vec![("limit", LIST_SIZE.to_string()), ("offset", self.walk.offset().to_string())];
        if !Learnt::knows(&self.learnt.plain_lists) {
            query.push(("include_archived", "true".to_owned()));
            // A whole walk goes by creation: sessions do not move in it.
            let order = if self.sweep.is_some() { "created_at" } else { "last_activity" };
            query.push(("order", order.to_owned()));
        }
        Output::Fetch(route.sessions(self.agents.last().map(SmolStr::as_str), query))
    }

    /// The next page; or, in a sweep that is made again, the first one.
    fn next_page(&mut self) -> Output {
        let Some(route) = self.learnt.route() else { return self.ask_route() };
        if !route.is_flat() && self.agents.is_empty() {
            self.names = Names::new(Arc::clone(&self.learnt));
            return self.ask_agents();
        }
        self.ask_next(&route)
    }

    fn answered(&mut self, response: Response) -> Output {
        if self.asked == Asked::Route {
            return self.route(&response);
        }
        let Some(route) = self.learnt.route() else {
            // Another walk has found that it is not there any more.
            return Output::Done(Finish::Failed(Failure::Nonsense("where the server keeps sessions is not known")));
        };
        match (self.asked, response.status) {
            (Asked::Route, _) => Output::Again("an answer to another question"),
            (Asked::Agents, 200) => match decode::agents(&response.body) {
                Ok(page) => {
                    let is_more = self.names.take_in(page);
                    if is_more { self.ask_agents() } else { self.named(&route) }
                }
                Err(error) => Output::Again(error.0),
            },
            (Asked::Agents, status) if !route.is_flat() => self.forget_route(status),
            (Asked::Agents, 403..=405) => {
                // Not every key may see agents: sessions can be watched all the same.
                self.names.give_up();
                self.named(&route)
            }
            (Asked::Agents, status) => Output::Done(Finish::Failed(Failure::Status(status))),
            (Asked::Stats, status) => {
                if let (200, Some(sweep)) = (status, &mut self.sweep) {
                    sweep.total = sweep.total.max(decode::stats(&response.body).unwrap_or(0));
                }
                self.ask_next(&route)
            }
            (Asked::Sessions, 200) => match decode::list(&response.body) {
                Ok(page) => {
                    self.began.get_or_insert(response.asked_at);
                    self.listed_some = true;
                    self.page(page, response.received_at)
                }
                Err(error) => Output::Again(error.0),
            },
            (Asked::Sessions, 400 | 422) if !Learnt::knows(&self.learnt.plain_lists) => {
                Learnt::learn(&self.learnt.plain_lists);
                self.ask_next(&route)
            }
            // An agent that was deleted since it was listed; or all lists are elsewhere by now.
            (Asked::Sessions, 404) if !route.is_flat() && (self.listed_some || self.agents.len() > 1) => {
                self.list_over(Vec::new(), true)
            }
            (Asked::Sessions, status @ (404 | 405)) => self.forget_route(status),
            (Asked::Sessions, status) => Output::Done(Finish::Failed(Failure::Status(status))),
        }
    }

    fn route(&mut self, response: &Response) -> Output {
        match self.probe.answered(response) {
            Some(route) => {
                *locked(&self.learnt.route) = Some(route);
                self.finds_route = false;
                self.begin()
            }
            None => self.ask_route(),
        }
    }

    /// The server has changed under our feet: the next round finds out how.
    fn forget_route(&mut self, status: u16) -> Output {
        *locked(&self.learnt.route) = None;
        Output::Done(Finish::Failed(Failure::Status(status)))
    }

    /// Names are known, as far as they will ever be: on with what waited for them.
    fn named(&mut self, route: &Route) -> Output {
        if let Some((page, received_at)) = self.held.take() {
            return self.page(page, received_at);
        }
        self.agents = self.names.ids();
        self.walk = Walk::new(self.before, true);
        if self.agents.is_empty() {
            return self.finish(Vec::new());
        }
        self.ask_next(route)
    }

    fn page(&mut self, mut page: ListPage, received_at: Timestamp) -> Output {
        if !self.names.name(&mut page.rows) && !self.names.is_over() {
            self.held = Some((page, received_at));
            return self.ask_agents();
        }
        let undecoded = page.len - page.rows.len();
        if undecoded > 0 {
            tracing::warn!(rows = undecoded, "sessions in a list could not be understood and are left out");
        }
        if let Some(agent) = self.agents.last() {
            let found = page.rows.iter().map(|listed| (listed.row.id.clone(), agent.clone()));
            self.homes.extend(found.clone());
            locked(&self.learnt.homes).agents.extend(found);
        }
        if let Some(sweep) = &mut self.sweep {
            sweep.undecoded += undecoded;
            sweep.seen.extend(page.rows.iter().map(|listed| listed.row.id.clone()));
            if self.walk.is_at_top() && self.agents.is_empty() {
                sweep.total = sweep.total.max(page.total.unwrap_or(0));
            }
        } else if !Learnt::knows(&self.learnt.plain_lists) {
            self.learnt.set_order(order_shown(&page.rows, self.learnt.order()));
        } else {
            self.learnt.set_order(Order::Creation);
        }
        let mut rolling = self.learnt.rolling.load(Ordering::Relaxed);
        let next = self.walk.page(&page, self.learnt.order(), &mut rolling, received_at);
        self.learnt.rolling.store(rolling, Ordering::Relaxed);
        let admits = Arc::clone(&self.account.admits);
        let rows = page.rows.into_iter().map(|listed| listed.row).filter(|row| admits(&row.agent)).map(Item::Row);
        let items = rows.collect();
        match next {
            Next::Page => Output::Commit(items),
            Next::Enough => self.list_over(items, self.learnt.order() == Order::Activity),
            Next::End => self.list_over(items, true),
        }
    }

    /// One list is over; `is_whole` if nothing in it can have been missed.
    fn list_over(&mut self, items: Vec<Item>, is_whole: bool) -> Output {
        self.saw_everything &= is_whole;
        self.agents.pop();
        if !self.agents.is_empty() {
            let (activity, created) = (self.walk.newest_activity, self.walk.newest_created);
            self.walk = Walk::new(self.before, true);
            self.walk.newest_activity = activity;
            self.walk.newest_created = created;
            return Output::Commit(items);
        }
        self.finish(items)
    }

    /// The round is over: its last items, and how far everything is known now.
    fn finish(&mut self, mut items: Vec<Item>) -> Output {
        if let Some(sweep) = &mut self.sweep {
            let (missing, again) = (sweep.missing(), sweep.again);
            if missing > 0 {
                tracing::warn!(missing, again, "a sweep saw fewer sessions than the platform counts");
            }
            if missing > 0 && !again {
                *sweep = Sweep { again: true, asked_stats: true, ..Sweep::default() };
                self.walk = Walk::new(self.before, true);
                return Output::Commit(items);
            }
            if missing == 0 {
                items.push(Item::AllListed { seen: std::mem::take(&mut sweep.seen) });
            }
            self.is_over = true;
            return Output::Commit(items);
        }
        self.is_over = true;
        let Some(began) = self.began else { return Output::Commit(items) };
        let is_flat = self.learnt.route().is_some_and(|route| route.is_flat());
        if !is_flat && !self.cut_short {
            // Who was known before and was in no list is gone; who was found meanwhile by another walk is not.
            let Homes { agents, is_complete } = &mut *locked(&self.learnt.homes);
            agents.retain(|id, _| self.homes.contains_key(id) || !self.homes_before.contains(id));
            *is_complete = true;
        }
        items.push(Item::RoundListed { began, shows_all: !is_flat });
        if !self.cut_short {
            *locked(&self.learnt.cut) = None;
            items.push(Item::Walked { walk: DISCOVERED, until: began });
            items.extend(self.walk.newest_created.map(|until| Item::Walked { walk: CREATED, until }));
            let activity = self.walk.newest_activity.filter(|_| self.saw_everything);
            items.extend(activity.map(|until| Item::Walked { walk: ACTIVITY, until }));
        }
        Output::Commit(items)
    }

    /// More sessions wait to be read than is good: the rest of the list can wait where it is.
    fn crowded(&mut self) -> Output {
        if self.sweep.is_some() {
            return Output::Done(Finish::Well);
        }
        match self.learnt.route() {
            // What moves shows at the top, whatever else there is.
            Some(route) => match self.walk.cut().filter(|_| self.asked == Asked::Sessions) {
                Some(cut) => {
                    *locked(&self.learnt.cut) = Some(cut);
                    self.cut_short = true;
                    self.finish(Vec::new())
                }
                None if self.asked == Asked::Agents => self.ask_agents(),
                None => self.ask_next(&route),
            },
            None => self.ask_route(),
        }
    }
}

impl Job for Discover {
    fn stage(&self) -> &'static str {
        "sessions"
    }

    fn next(&mut self, input: Input) -> Output {
        match input {
            Input::Begin => self.begin(),
            Input::Crowded => self.crowded(),
            Input::Response(response) => self.answered(response),
            Input::Committed(_) if self.is_over => Output::Done(Finish::Well),
            Input::Committed(_) => self.next_page(),
            Input::Failed(failure) => Output::Done(Finish::Failed(failure)),
        }
    }
}
