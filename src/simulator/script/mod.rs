//! A session's whole life as a script, written in advance from the seed: every status, event and token with its time.
//!
//! Nothing in here knows the clock. A script is a list of facts in the order of their times; what the platform shows at
//! some moment is the part of the script up to that moment. Texts, arguments and URLs are not stored: they are made up
//! when an event is rendered, from the same seed.

mod agents;
mod author;
mod life;
mod models;
mod run;
mod steps;
mod tools;

pub(super) use agents::{Agent, Environment};
pub(super) use life::{arrival, deletion, write_family};
pub(super) use models::{Charge, MODELS, ModelTotals, Totals};
pub(super) use tools::{CallId, Tool, ToolCall};

use super::random::mix;

/// Which session: the number of its root and, for subagents, which child of that root (0 is the root itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) root: u64,
    pub(super) child: u32,
}

/// A session's public id, a version 4 UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(pub(super) u128);

impl Id {
    /// The id that this seed gives to a session.
    pub(super) fn of(seed: u64, key: Key) -> Self {
        let high = mix(seed, key.root, key.child, "id-high");
        let low = mix(seed, key.root, key.child, "id-low");
        let random = (u128::from(high) << 64) | u128::from(low);
        let version = random & !(0xf << 76) | (0x4 << 76);
        Self(version & !(0x3 << 62) | (0x2 << 62))
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = format!("{:032x}", self.0);
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

/// The platform's lifecycle states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Queued,
    Pending,
    Running,
    Paused,
    Idle,
    AwaitingToolResults,
    Completed,
    Failed,
    TimedOut,
    Interrupted,
}

impl Status {
    /// All states in the order in which the platform enumerates them.
    pub(super) const ALL: [Self; 10] = [
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
    ];

    /// The name on the wire.
    pub(super) fn name(self) -> &'static str {
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
        }
    }

    /// Whether a session in this state has ended (until someone restarts it).
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::TimedOut | Self::Interrupted)
    }

    /// Whether a session in this state counts against the concurrency quota.
    pub(super) fn holds_slot(self) -> bool {
        !self.is_terminal() && self != Self::Queued
    }
}

/// Why a session failed or timed out, from the platform's closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ErrorCode {
    EnvironmentError,
    NoAnswer,
    AnswerValidation,
    Timeout,
    InsufficientCredit,
    Internal,
}

impl ErrorCode {
    /// The name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EnvironmentError => "environment_error",
            Self::NoAnswer => "no_answer",
            Self::AnswerValidation => "answer_validation",
            Self::Timeout => "timeout",
            Self::InsufficientCredit => "insufficient_credit",
            Self::Internal => "internal",
        }
    }
}

/// The agent's own verdict, given with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Success,
    Partial,
    Infeasible,
    Blocked,
}

impl Outcome {
    /// The name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Infeasible => "infeasible",
            Self::Blocked => "blocked",
        }
    }
}

/// A session enters a state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StatusChange {
    pub(super) at: i64,
    pub(super) status: Status,
    pub(super) error: Option<ErrorCode>,
}

/// An answer the agent gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) at: i64,
    pub(super) outcome: Option<Outcome>,
    /// A JSON object instead of a text.
    pub(super) structured: bool,
}

/// One event of the stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) at: i64,
    pub(super) what: What,
}

/// What an event says; the payload's details are made up when it is rendered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    RequestStart,
    Dispatched,
    RunnerSession,
    AgentStarted,
    LiveView,
    Message,
    Observation { textual: bool },
    Policy { calls: Box<[ToolCall]>, reasoned: bool },
    InvalidPolicy,
    ToolResult { call: ToolCall, truncated: bool },
    ToolError { call: ToolCall, origin: &'static str },
    AgentWarning,
    Metrics,
    Running,
    Idle,
    Awaiting { calls: Box<[ToolCall]> },
    Paused,
    Resumed,
    Flow { flow: &'static str },
    FileTransfer,
    Attachment,
    Answer { index: u32 },
    Completion { status: Status },
    UnknownType { variant: u32 },
    UnknownKind,
    UnknownState,
}

/// Everything that will ever happen in one session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Script {
    pub(super) key: Key,
    pub(super) id: Id,
    pub(super) parent: Option<Id>,
    pub(super) agent: &'static Agent,
    pub(super) group: Option<u32>,
    pub(super) created_at: i64,
    /// Ascending in time; the first one is the state at creation.
    pub(super) statuses: Vec<StatusChange>,
    /// Strictly ascending in time.
    pub(super) events: Vec<Event>,
    /// Every model call, ascending in time.
    pub(super) charges: Vec<Charge>,
    /// Where running totals start again at zero.
    pub(super) resets: Vec<i64>,
    pub(super) answers: Vec<Answer>,
    /// When each further message or restart began; an older answer no longer describes the session then.
    pub(super) turns: Vec<i64>,
    /// When the session, having ended, was started again.
    pub(super) restarts: Vec<i64>,
    /// Creation time and id of each subagent.
    pub(super) children: Vec<(i64, Id)>,
}

impl Script {
    /// The time of the last status change or event.
    pub(super) fn last_change(&self) -> i64 {
        let status = self.statuses.last().map_or(self.created_at, |change| change.at);
        let event = self.events.last().map_or(self.created_at, |event| event.at);
        status.max(event)
    }

    /// How many events exist at time `now`.
    pub(super) fn events_until(&self, now: i64) -> usize {
        self.events.partition_point(|event| event.at <= now)
    }
}
