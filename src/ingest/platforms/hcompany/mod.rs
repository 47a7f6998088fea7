//! H Company's Agent Platform, v2 API: lists without a cursor, a stream of events per session, and a status that
//! alone knows how a session ended. What is particular about it is told in docs/platforms/hcompany.md.

mod check;
mod decode;
mod discover;
mod events;
mod inquire;
mod limits;
mod read;
mod recognise;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

pub use decode::{
    ChangesPage, DecodeError, ListPage, StatusPage, changes, complaint, history, list, quota, session_document,
    status_document, token_quota,
};

use super::{Account, Check, Descriptor, Platform, Setting, SettingKind, Walked, push_segment};
use crate::domain::{Capabilities, Due, SessionId, Span, Status, Timestamp, TurnOutcome};
use crate::ingest::{Inquiry, Job, Request};

/// The value of `platform` in the configuration and of the label.
const NAME: &str = "hcompany";

/// H's line in the registry.
pub static DESCRIPTOR: Descriptor = Descriptor {
    name: NAME,
    product: "H Company's Agent Platform",
    base_url: "https://agp.eu.hcompany.ai",
    // H's SDK reads the first, its older documentation names the second.
    key_variables: &["HAI_API_KEY", "H_API_KEY"],
    base_url_variable: "HAI_API_BASE_URL",
    settings: &[Setting {
        key: OWNER,
        kind: SettingKind::OneOf(&["me", "me-in-organization", "organization", "me-or-organization"]),
        default: "organization",
        variable: None,
        // What they list overlaps.
        tells_accounts_apart: false,
    }],
    endpoints: &["sessions", "changes", "events", "status", "session", "quota", "quota_tokens"],
    capabilities: &CAPABILITIES,
    connect: |account| Arc::new(HCompany::new(account)),
};

/// Whose sessions are listed.
const OWNER: &str = "owner";

/// What H can tell.
const CAPABILITIES: Capabilities = Capabilities {
    platform: NAME,
    statuses: &[
        Status::Queued,
        Status::Pending,
        Status::Running,
        Status::Paused,
        Status::Idle,
        Status::AwaitingToolResults,
        Status::Completed,
        Status::Failed,
        Status::TimedOut,
        Status::Interrupted,
    ],
    error_types: decode::ERROR_CODES,
    undecoded_reasons: events::REASONS,
    outcomes: &TurnOutcome::ALL,
    verdicts: true,
    subagents: true,
    queues: true,
    checks_usage: false,
    turn_names: None,
};

/// The most rows a list gives at once; servers of before refuse more than they allow and say so.
const LIST_SIZE: u32 = 100;
/// The most events `/events` gives at once.
const HISTORY_SIZE: u64 = 200;
/// Events asked of `/changes` at once. A page of screenshots kept inline can be large: it shrinks when one is too large.
const CHANGES_LIMIT: u32 = 500;
/// Lists may show a session later than its times say: every walk begins this much earlier than the last one ended.
const OVERLAP: Span = Span::from_secs(60);

/// What one server was found to do, shared by all jobs of a source.
#[derive(Debug)]
struct Learnt {
    list_size: AtomicU32,
    /// The server knows the statuses that came in 2026.
    newer_statuses: AtomicBool,
    /// The server filters by `finished_after`.
    finished_after: AtomicBool,
    /// The server has `/quota/tokens`.
    token_quota: AtomicBool,
}

impl Default for Learnt {
    fn default() -> Self {
        Self {
            list_size: AtomicU32::new(LIST_SIZE),
            newer_statuses: AtomicBool::new(true),
            finished_after: AtomicBool::new(true),
            token_quota: AtomicBool::new(true),
        }
    }
}

impl Learnt {
    fn list_size(&self) -> u32 {
        self.list_size.load(Ordering::Relaxed)
    }

    fn knows(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    fn forget(flag: &AtomicBool) {
        flag.store(false, Ordering::Relaxed);
    }
}

/// H's side of the polling.
pub struct HCompany {
    account: Account,
    learnt: Arc<Learnt>,
}

impl HCompany {
    /// For one account.
    pub fn new(account: Account) -> Self {
        Self { account, learnt: Arc::default() }
    }
}

impl Platform for HCompany {
    fn discover(&self, walked: Walked<'_>, _now: Timestamp) -> Box<dyn Job> {
        Box::new(discover::Discover::cycle(self.account.clone(), Arc::clone(&self.learnt), walked))
    }

    fn read(&self, due: &Due) -> Box<dyn Job> {
        Box::new(read::Read::new(due, self.account.traces))
    }

    fn sweep(&self) -> Box<dyn Job> {
        Box::new(discover::Discover::sweep(self.account.clone(), Arc::clone(&self.learnt)))
    }

    fn limits(&self) -> Option<Box<dyn Job>> {
        Some(Box::new(limits::AskLimits::new(Arc::clone(&self.learnt))))
    }

    fn recognise(&self, known: &[SessionId]) -> Box<dyn Job> {
        Box::new(recognise::Recognise::new(known))
    }

    fn inquire(&self, id: &SessionId, _agent: &str) -> Box<dyn Inquiry> {
        Box::new(inquire::Inquire::new(id))
    }

    fn checks(&self, now: Timestamp) -> Vec<Check> {
        check::questions(self.account.setting(OWNER), now)
    }
}

/// A question about all sessions.
fn sessions(query: Vec<(&'static str, String)>) -> Request {
    Request { speaks_for_key: true, ..Request::new("sessions", "/api/v2/sessions".into(), query) }
}

/// A question about one session.
fn of_session(endpoint: &'static str, id: &SessionId, suffix: &str, query: Vec<(&'static str, String)>) -> Request {
    let mut path = String::from("/api/v2/sessions/");
    push_segment(&mut path, &id.to_string());
    path.push_str(suffix);
    Request::new(endpoint, path, query)
}
