//! A question to a platform about one session, to compare its own numbers with ours; asked like a job, and nothing of
//! the answer is committed.

use smol_str::SmolStr;

use super::call::{Failure, Request, Response};
use crate::domain::{Mark, ModelUsage, SessionId, Status, Timestamp, Usage, Verdict};

/// What a platform says of a session, as far as it says anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Where it stands.
    pub status: Status,
    /// The fingerprint that a list would show of it now; `None` where the answer does not say enough.
    pub mark: Option<Mark>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Steps taken.
    pub steps: Option<u64>,
    /// What it used.
    pub usage: Used,
    /// The error code of a failure, from the platform's closed set or `other`.
    pub error: Option<SmolStr>,
    /// The agent's verdict.
    pub verdict: Option<Verdict>,
    /// Its child sessions, where the platform tells them of their parent.
    pub children: Option<Vec<SessionId>>,
}

/// What a platform says that a session used.
#[derive(Clone, Debug, PartialEq)]
pub enum Used {
    /// Nothing.
    Unsaid,
    /// The running totals of each model.
    ByModel(Vec<ModelUsage<SmolStr>>),
    /// The platform's own sum over the calls that its stream tells one by one.
    OfCalls(Usage),
}

/// What an inquiry is told.
#[derive(Debug)]
pub enum Heard {
    /// Begin.
    Begin,
    /// The answer to its request.
    Response(Response),
    /// No answer came.
    Failed(Failure),
}

/// What an inquiry wants next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Send this and tell the answer.
    Fetch(Request),
    /// The last answer was cut or garbled; ask again, if attempts are left.
    Again(&'static str),
    /// It is answered.
    Told(Box<Statement>),
    /// The platform does not know the session.
    Unknown,
    /// It cannot be answered.
    Failed(Failure),
}

/// A question about one session.
pub trait Inquiry: Send {
    /// The next move, given what came of the last one.
    fn next(&mut self, heard: Heard) -> Next;
}
