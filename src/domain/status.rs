//! The states a session can be in, how its turns end, and what a platform is able to tell.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a session stands, across platforms. What a platform says that is not here becomes [`Status::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Accepted, waiting for a slot.
    Queued,
    /// Created, the agent is launching.
    Pending,
    /// Working.
    Running,
    /// Paused by its user.
    Paused,
    /// Answered, waiting for the next message.
    Idle,
    /// Waiting for tools that its user executes.
    AwaitingToolResults,
    /// Ended by itself.
    Completed,
    /// Ended by an error.
    Failed,
    /// Ended by a time or step limit.
    TimedOut,
    /// Ended by its user.
    Interrupted,
    /// A status this version does not know; treated as not ended.
    Other,
    /// Created, and nothing was asked of it yet.
    Started,
}

impl Status {
    /// Every status, in the order of their numbers, which the store knows them by.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Idle,
        Self::AwaitingToolResults,
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::Interrupted,
        Self::Other,
        Self::Started,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Idle => "idle",
            Self::AwaitingToolResults => "awaiting_tool_results",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Other => "other",
            Self::Started => "started",
        }
    }

    /// The status of that label value.
    pub fn from_label(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a session in this status has ended (it may still be taken up again).
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::TimedOut | Self::Interrupted)
    }

    /// Whether nothing happens in this status until somebody asks for more.
    pub const fn is_at_rest(self) -> bool {
        matches!(self, Self::Started | Self::Idle | Self::Paused)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a turn (one stretch of work, from activation until the session settles) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TurnOutcome {
    /// It settled by itself: with an answer, or idle.
    Completed,
    /// The session failed.
    Failed,
    /// The session ran out of time or steps.
    TimedOut,
    /// Its user ended it.
    Interrupted,
    /// Nobody will ever say how it ended.
    Abandoned,
}

impl TurnOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Failed, Self::TimedOut, Self::Interrupted, Self::Abandoned];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
        }
    }

    /// The outcome of a turn that was open when its session ended as `status`.
    pub const fn of_ending(status: Status) -> Self {
        match status {
            Status::Failed => Self::Failed,
            Status::TimedOut => Self::TimedOut,
            Status::Interrupted => Self::Interrupted,
            _ => Self::Completed,
        }
    }
}

/// The agent's own verdict on its work, given with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The task is done.
    Success,
    /// Part of it is.
    Partial,
    /// It cannot be done.
    Infeasible,
    /// Something stood in the way.
    Blocked,
    /// A verdict this version does not know.
    Other,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 5] = [Self::Success, Self::Partial, Self::Infeasible, Self::Blocked, Self::Other];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Infeasible => "infeasible",
            Self::Blocked => "blocked",
            Self::Other => "other",
        }
    }

    /// The verdict a platform calls `text`.
    pub fn from_wire(text: &str) -> Self {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text).unwrap_or(Self::Other)
    }
}

/// What a platform can tell at all; views show no series that it could never fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The platform's name, the value of the label `platform`.
    pub platform: &'static str,
    /// The statuses it uses (without [`Status::Other`], which everyone may grow into).
    pub statuses: &'static [Status],
    /// Its closed set of error codes (without `other`).
    pub error_types: &'static [&'static str],
    /// Its closed set of reasons why an event cannot be decoded.
    pub undecoded_reasons: &'static [&'static str],
    /// How its turns end.
    pub outcomes: &'static [TurnOutcome],
    /// Answers carry a verdict.
    pub verdicts: bool,
    /// Sessions have child sessions.
    pub subagents: bool,
    /// Sessions wait for a slot between their creation and their start.
    pub queues: bool,
    /// It tells its own sum of tokens for each session, to compare ours with.
    pub checks_usage: bool,
    /// How its own traces call a turn, if it names turns; the name is also that of the trace.
    pub turn_names: Option<TurnNames>,
}

/// How a platform writes the names of turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnNames {
    /// The attribute of spans that has it.
    pub attribute: &'static str,
    /// What stands before the 32 digits.
    pub prefix: &'static str,
}
