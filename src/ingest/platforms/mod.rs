//! The platforms we can watch: one folder each, one line each in [`connect`].

pub mod hcompany;

use std::sync::Arc;

use bytes::Bytes;

use super::call::Request;
use super::job::Job;
pub use crate::domain::DISCOVERED;
use crate::domain::{Capabilities, Due, SessionId, Timestamp};

/// What every platform is told about the account that it watches.
#[derive(Clone)]
pub struct Account {
    /// Whose sessions to list, in the platform's own words; empty for its default.
    pub owner: String,
    /// Which agents to watch.
    pub admits: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Nothing before this is of interest.
    pub count_from: Timestamp,
}

/// How far the walks over lists came before, by name.
pub type Walked<'a> = &'a dyn Fn(&str) -> Option<Timestamp>;

/// A platform's side of the polling: it makes the jobs, the schedule says when.
pub trait Platform: Send + Sync {
    /// What it can tell at all.
    fn capabilities(&self) -> &'static Capabilities;

    /// Finds sessions that are new or have moved.
    fn discover(&self, walked: Walked<'_>, now: Timestamp) -> Box<dyn Job>;

    /// Reads everything that a session's stream holds.
    fn read(&self, due: &Due) -> Box<dyn Job>;

    /// Compares everything the platform lists with what is known.
    fn sweep(&self) -> Box<dyn Job>;

    /// Asks for the account's limits.
    fn limits(&self) -> Box<dyn Job>;

    /// Finds out whether the account is the one that these sessions belong to.
    fn recognise(&self, known: &[SessionId]) -> Box<dyn Job>;

    /// Questions whose answers tell an operator whether a source will work, and how well.
    fn checks(&self, now: Timestamp) -> Vec<Check>;
}

/// A question put to a platform by `check`.
pub struct Check {
    /// What it finds out.
    pub what: &'static str,
    /// The question.
    pub request: Request,
    /// What an answer, its status and body, means.
    pub judge: fn(u16, &Bytes) -> Finding,
}

/// What came of a [`Check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Good(String),
    /// Works, with this restriction.
    Note(String),
    /// The source will not work.
    Bad(String),
}

/// The names of all platforms.
pub const PLATFORMS: &[&str] = &[hcompany::NAME];

/// The platform of that name; `None` if it is not among [`PLATFORMS`].
pub fn connect(platform: &str, account: Account) -> Option<Arc<dyn Platform>> {
    match platform {
        hcompany::NAME => Some(Arc::new(hcompany::HCompany::new(account))),
        _ => None,
    }
}
