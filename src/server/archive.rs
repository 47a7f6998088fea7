//! The sessions behind the numbers, as the API gives them out; implemented over the store elsewhere.

use thiserror::Error;

use crate::domain::{Status, Timestamp};

/// Which sessions are asked for; what is `None` does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionQuery {
    /// Those in one of these statuses; all if there is none.
    pub statuses: Vec<Status>,
    /// Those of this agent, by its label value.
    pub agent: Option<String>,
    /// Those of this source.
    pub source: Option<String>,
    /// Those to which something happened at or after this time.
    pub since: Option<Timestamp>,
    /// At most so many, the newest first.
    pub limit: usize,
}

/// Why the archive gave no answer.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The state is not restored yet, or nothing is kept.
    #[error("sessions cannot be looked up yet, try again when the exporter is ready")]
    NotYet,
    /// The store could not be read; the text goes to the log only.
    #[error("the store cannot be read: {0}")]
    Store(String),
}

/// Looks up sessions. Calls may block: the server makes them where that is allowed.
pub trait Archive: Send + Sync {
    /// The sessions that a query asks for, as JSON.
    fn sessions(&self, query: &SessionQuery) -> Result<Vec<u8>, ArchiveError>;

    /// One session by its id on the platform, as JSON; `None` if it is not known.
    fn session(&self, id: &str) -> Result<Option<Vec<u8>>, ArchiveError>;
}
