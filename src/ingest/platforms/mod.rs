//! The platforms we can watch: one folder each, one line each in [`PLATFORMS`].

pub mod everruns;
pub mod hcompany;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::call::Request;
use super::inquiry::Inquiry;
use super::job::Job;
pub use crate::domain::DISCOVERED;
use crate::domain::{Capabilities, Due, SessionId, Span, Timestamp};

/// Every platform.
pub static PLATFORMS: &[&Descriptor] = &[&hcompany::DESCRIPTOR, &everruns::DESCRIPTOR];

/// All that others have to know of a platform before anything is asked of it.
pub struct Descriptor {
    /// The word for it in files and on the command line, and the value of the label `platform`.
    pub name: &'static str,
    /// What its makers call it.
    pub product: &'static str,
    /// Where it is reached unless something else is said.
    pub base_url: &'static str,
    /// Environment variables that its own clients take a key from; the first that is set counts.
    pub key_variables: &'static [&'static str],
    /// The environment variable that its own clients take the base URL from.
    pub base_url_variable: &'static str,
    /// Settings of a source that only this platform has.
    pub settings: &'static [Setting],
    /// The kinds of calls, as the label `endpoint` names them.
    pub endpoints: &'static [&'static str],
    /// What it can tell.
    pub capabilities: &'static Capabilities,
    /// Its side of the polling, for one account.
    pub connect: fn(Account) -> Arc<dyn Platform>,
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A setting of a source that one platform has.
#[derive(Debug)]
pub struct Setting {
    /// Its key in a file.
    pub key: &'static str,
    /// What can be written there.
    pub kind: SettingKind,
    /// What holds if nothing is written; for a duration in whole seconds.
    pub default: &'static str,
    /// The environment variable it is taken from where there is no file.
    pub variable: Option<&'static str>,
    /// Sources that differ in it watch different accounts, even with the same key.
    pub tells_accounts_apart: bool,
}

/// What can be written as the value of a [`Setting`].
#[derive(Debug)]
pub enum SettingKind {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An id as the platform gives it: letters, digits, `_` and `-`.
    Id,
    /// A time span from one to another, handed over in whole seconds.
    Duration(&'static str, &'static str),
}

/// What every platform is told about the account that it watches.
#[derive(Clone)]
pub struct Account {
    /// The platform's own settings by key, checked, each with a value.
    pub settings: BTreeMap<&'static str, String>,
    /// The base URL that requests will go below; no trailing slash.
    pub base_url: String,
    /// Which agents to watch.
    pub admits: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Nothing before this is of interest.
    pub count_from: Timestamp,
    /// Traces are wanted: what only they need is asked for, too.
    pub traces: bool,
}

impl Account {
    /// Everything from then on, with the platform's own defaults and without traces.
    pub fn new(count_from: Timestamp) -> Self {
        let (settings, base_url) = (BTreeMap::new(), String::new());
        Self { settings, base_url, admits: Arc::new(|_| true), count_from, traces: false }
    }

    /// The value of one of the platform's own settings; empty if it has none of that name.
    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", String::as_str)
    }

    /// A setting that is a time span.
    pub fn span(&self, key: &str) -> Option<Span> {
        Some(Span::from(Duration::from_secs(self.setting(key).parse().ok()?)))
    }
}

/// How far the walks over lists came before, by name.
pub type Walked<'a> = &'a dyn Fn(&str) -> Option<Timestamp>;

/// A platform's side of the polling: it makes the jobs, the schedule says when.
pub trait Platform: Send + Sync {
    /// Headers that go with every request, besides the key.
    fn headers(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// After how much silence a turn that is not over is given up; `None` where every turn ends.
    fn abandon_turns_after(&self) -> Option<Span> {
        None
    }

    /// Finds sessions that are new or have moved.
    fn discover(&self, walked: Walked<'_>, now: Timestamp) -> Box<dyn Job>;

    /// Reads everything that a session's stream holds.
    fn read(&self, due: &Due) -> Box<dyn Job>;

    /// Compares everything the platform lists with what is known.
    fn sweep(&self) -> Box<dyn Job>;

    /// Asks for the account's limits; `None` if it tells none.
    fn limits(&self) -> Option<Box<dyn Job>>;

    /// Finds out whether the account is the one that these sessions belong to.
    fn recognise(&self, known: &[SessionId]) -> Box<dyn Job>;

    /// Asks for the platform's own word on a session, which is of an agent with this label.
    fn inquire(&self, id: &SessionId, agent: &str) -> Box<dyn Inquiry>;

    /// Questions whose answers tell an operator whether a source will work, and how well.
    fn checks(&self, now: Timestamp) -> Vec<Check>;
}

/// A question put to a platform by `check`.
pub struct Check {
    /// What it finds out.
    pub what: &'static str,
    /// The question, in every form that a server may want it in; the first answer that is not bad counts.
    pub requests: Vec<Request>,
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

/// Writes an id into a path: whatever a platform may call a session must not become a path of its own.
pub(super) fn push_segment(path: &mut String, id: &str) {
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}
