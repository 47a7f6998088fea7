//! Everruns: sessions that never end, a numbered stream of events for each, and servers of many ages. What is
//! particular about it is told in docs/platforms/everruns.md.

mod check;
mod decode;
mod discover;
mod events;
mod inquire;
mod names;
mod read;
mod recognise;
mod route;
mod walk;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use decode::{AgentPage, DecodeError, ListPage, Listed, agents, events, list, session, stats};
pub use events::Placed;

use super::{Account, Check, Descriptor, Platform, Setting, SettingKind, Walked};
use crate::domain::{Capabilities, Due, SessionId, Span, Status, Timestamp, TurnNames, TurnOutcome};
use crate::ingest::{Inquiry, Job};
use route::Route;
use smol_str::SmolStr;
use walk::Cut;

/// The value of `platform` in the configuration and of the label.
const NAME: &str = "everruns";

/// Everruns' line in the registry.
pub static DESCRIPTOR: Descriptor = Descriptor {
    name: NAME,
    product: "Everruns",
    base_url: "https://app.everruns.com/api",
    key_variables: &["EVERRUNS_API_KEY"],
    base_url_variable: "EVERRUNS_API_URL",
    settings: &[
        Setting {
            key: ORGANIZATION,
            kind: SettingKind::Id,
            default: "",
            variable: Some("EVERRUNS_ORG_ID"),
            tells_accounts_apart: true,
        },
        Setting {
            key: GENERATIONS,
            kind: SettingKind::OneOf(&["read", SKIP]),
            default: "read",
            variable: None,
            tells_accounts_apart: false,
        },
        Setting {
            key: ABANDON_TURNS_AFTER,
            kind: SettingKind::Duration("1m", "365d"),
            default: "86400",
            variable: None,
            tells_accounts_apart: false,
        },
    ],
    endpoints: &["sessions", "agents", "stats", "events", "session"],
    capabilities: &CAPABILITIES,
    connect: |account| Arc::new(Everruns::new(account)),
};

/// Which organization's sessions are watched.
const ORGANIZATION: &str = "organization_id";
/// Whether the events that tell each model call are read. They hold the whole prompt, every time.
const GENERATIONS: &str = "llm_generation";
const SKIP: &str = "skip";
/// After how much silence a turn that is not over is given up.
const ABANDON_TURNS_AFTER: &str = "abandon_turns_after";

/// What Everruns can tell.
const CAPABILITIES: Capabilities = Capabilities {
    platform: NAME,
    statuses: &[Status::Started, Status::Running, Status::AwaitingToolResults, Status::Paused, Status::Idle],
    error_types: events::ERROR_CODES,
    undecoded_reasons: events::REASONS,
    outcomes: &[TurnOutcome::Completed, TurnOutcome::Failed, TurnOutcome::Interrupted, TurnOutcome::Abandoned],
    verdicts: false,
    subagents: true,
    queues: false,
    checks_usage: true,
    turn_names: Some(TurnNames { attribute: "everruns.turn.id", prefix: "turn_" }),
};

/// The most rows a list gives at once.
const LIST_SIZE: u64 = 100;
/// The most events the newer servers give at once.
const EVENTS_LIMIT: u32 = 1000;

/// What one server was found to do, shared by all jobs of a source.
#[derive(Debug)]
struct Learnt {
    route: Mutex<Option<Route>>,
    /// Lists by last activity: not known yet, done, or not done.
    order: AtomicU8,
    /// The server objects to the newer parameters of lists.
    plain_lists: AtomicBool,
    /// How the server pages events.
    paging: AtomicU8,
    /// How many events are asked for at once: pages shrink when they come out too large.
    events_limit: AtomicU32,
    /// Names of agents by id.
    agents: Mutex<HashMap<SmolStr, SmolStr>>,
    /// Which agent a session belongs to, on servers where its path has to say so; all of them, once every agent's list
    /// was read.
    homes: Mutex<Homes>,
    /// Where the walk through the older part of a long list goes on.
    rolling: AtomicU64,
    /// Where the first walk over everything was broken off, because there was more to read than is good.
    cut: Mutex<Option<Cut>>,
    /// The positions at which the readings of sessions broke off for want of a whole answer.
    broke_off: Mutex<HashMap<SessionId, u64>>,
}

/// So many are remembered: with more it is the platform that breaks off, and not any one page.
const MOST_BROKEN_OFF: usize = 1000;

impl Default for Learnt {
    fn default() -> Self {
        Self {
            route: Mutex::default(),
            order: AtomicU8::new(Order::Unknown as u8),
            plain_lists: AtomicBool::new(false),
            paging: AtomicU8::new(Paging::Unknown as u8),
            events_limit: AtomicU32::new(EVENTS_LIMIT),
            agents: Mutex::default(),
            homes: Mutex::default(),
            rolling: AtomicU64::new(0),
            cut: Mutex::default(),
            broke_off: Mutex::default(),
        }
    }
}

/// Sessions and the agents below which they are found.
#[derive(Debug, Default)]
struct Homes {
    agents: HashMap<SessionId, SmolStr>,
    is_complete: bool,
}

/// How a server pages events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paging {
    /// Nothing has told yet.
    Unknown,
    /// It goes by `after_sequence`; what it makes of `limit` is not known.
    BySequence,
    /// It goes by `after_sequence`, and `limit` takes the first so many.
    Forward,
    /// It goes by `after_sequence`, and `limit` takes the last so many.
    LastOnes,
    /// It goes by the id of an event.
    ById,
}

/// Whether lists come by last activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Nothing has told yet.
    Unknown,
    /// The server does what it is asked for.
    Activity,
    /// The server ignores it.
    Creation,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic elsewhere left is only something learnt: at worst it is learnt again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Learnt {
    fn route(&self) -> Option<Route> {
        locked(&self.route).clone()
    }

    fn order(&self) -> Order {
        let stored = self.order.load(Ordering::Relaxed);
        let all = [Order::Activity, Order::Creation];
        all.into_iter().find(|order| *order as u8 == stored).unwrap_or(Order::Unknown)
    }

    fn set_order(&self, order: Order) {
        self.order.store(order as u8, Ordering::Relaxed);
    }

    fn knows(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    fn learn(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }

    fn paging(&self) -> Paging {
        const ALL: [Paging; 4] = [Paging::BySequence, Paging::Forward, Paging::LastOnes, Paging::ById];
        let stored = self.paging.load(Ordering::Relaxed);
        ALL.into_iter().find(|paging| *paging as u8 == stored).unwrap_or(Paging::Unknown)
    }

    fn set_paging(&self, paging: Paging) {
        self.paging.store(paging as u8, Ordering::Relaxed);
    }

    /// Whether the reading of a session broke off at this position before, and has now done so again.
    fn breaks_off_again(&self, id: &SessionId, cursor: u64) -> bool {
        let mut broke_off = locked(&self.broke_off);
        if broke_off.len() >= MOST_BROKEN_OFF {
            broke_off.clear();
        }
        broke_off.insert(id.clone(), cursor) == Some(cursor)
    }

    fn went_on(&self, id: &SessionId) {
        locked(&self.broke_off).remove(id);
    }

    fn events_limit(&self) -> u32 {
        self.events_limit.load(Ordering::Relaxed)
    }

    fn set_events_limit(&self, limit: u32) {
        self.events_limit.store(limit.clamp(1, EVENTS_LIMIT), Ordering::Relaxed);
    }
}

/// Everruns' side of the polling.
pub struct Everruns {
    account: Account,
    learnt: Arc<Learnt>,
}

impl Everruns {
    /// For one account.
    pub fn new(account: Account) -> Self {
        Self { account, learnt: Arc::default() }
    }
}

impl Platform for Everruns {
    fn headers(&self) -> Vec<(&'static str, String)> {
        let organization = self.account.setting(ORGANIZATION);
        if organization.is_empty() { Vec::new() } else { vec![("x-org-id", organization.to_owned())] }
    }

    fn abandon_turns_after(&self) -> Option<Span> {
        self.account.span(ABANDON_TURNS_AFTER)
    }

    fn discover(&self, walked: Walked<'_>, _now: Timestamp) -> Box<dyn Job> {
        Box::new(discover::Discover::round(self.account.clone(), Arc::clone(&self.learnt), walked))
    }

    fn read(&self, due: &Due) -> Box<dyn Job> {
        let skip_generations = self.account.setting(GENERATIONS) == SKIP;
        Box::new(read::Read::new(due, Arc::clone(&self.learnt), skip_generations))
    }

    fn sweep(&self) -> Box<dyn Job> {
        Box::new(discover::Discover::sweep(self.account.clone(), Arc::clone(&self.learnt)))
    }

    fn limits(&self) -> Option<Box<dyn Job>> {
        None
    }

    fn recognise(&self, known: &[SessionId]) -> Box<dyn Job> {
        Box::new(recognise::Recognise::new(&self.account, Arc::clone(&self.learnt), known))
    }

    fn inquire(&self, id: &SessionId, agent: &str) -> Box<dyn Inquiry> {
        let without_cost = self.account.setting(GENERATIONS) == SKIP;
        Box::new(inquire::Inquire::new(&self.account, Arc::clone(&self.learnt), id, agent, without_cost))
    }

    fn checks(&self, _now: Timestamp) -> Vec<Check> {
        check::questions(&self.account)
    }
}
