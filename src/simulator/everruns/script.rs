//! A session's whole life as a list of facts, written in advance from the seed.

use super::cast::{Sum, ToolCall, Usage};
use super::ids::Id;

/// The states of a session; failures and successes both end in `Idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Started,
    Active,
    Idle,
    Waiting,
    Paused,
}

impl Status {
    /// The name in sessions, where words run into each other.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Waiting => "waitingfortoolresults",
            Self::Paused => "paused",
        }
    }
}

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) number: u64,
    pub(super) id: Id,
    /// Index into the list of agents.
    pub(super) agent: Option<usize>,
    pub(super) source: &'static str,
    pub(super) created_at: i64,
    pub(super) statuses: Vec<(i64, Status)>,
    /// Ascending by sequence and time.
    pub(super) events: Vec<Event>,
    /// Whether events can be read in the same order as they are numbered.
    pub(super) is_punctual: bool,
    /// The first so many events are a copy of another session's.
    pub(super) head: usize,
    pub(super) forked_from: Option<Origin>,
    /// The session that started this one.
    pub(super) parent: Option<Id>,
    /// What each roll-up adds to the usage that the session shows.
    pub(super) roll_ups: Vec<(i64, Sum)>,
    /// When the row changed, ascending.
    pub(super) updates: Vec<i64>,
    /// When turns ended, and whether well.
    pub(super) ends: Vec<(i64, bool)>,
    pub(super) archived_at: Option<i64>,
    pub(super) deleted_at: Option<i64>,
}

/// The session that a fork comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) number: u64,
    pub(super) id: Id,
    pub(super) agent: Option<usize>,
    pub(super) created_at: i64,
    pub(super) sequence: u32,
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// When it happened, as its `ts` says.
    pub(super) at: i64,
    /// When it can be read; later than `at` for copies and for what a slow worker commits.
    pub(super) stored_at: i64,
    pub(super) sequence: u32,
    /// Fractional digits of its `ts`.
    pub(super) digits: u8,
    /// The turn it belongs to, counted through the session.
    pub(super) turn: Option<u32>,
    /// The atom of work inside the turn, counted through the session.
    pub(super) exec: u32,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Input(Input),
    /// The oldest generation says again what a turn works on.
    InputReceived,
    SessionStarted,
    Activated,
    TurnStarted,
    ReasonStarted {
        /// The model, where it is said already here.
        model: Option<usize>,
    },
    CapabilityUsage,
    OutputStarted {
        iteration: u32,
        model: usize,
    },
    ThinkingStarted,
    ThinkingCompleted,
    Generation(Box<Generation>),
    OutputCompleted {
        model: Option<usize>,
        usage: Option<Usage>,
        calls: Vec<ToolCall>,
        /// Set when the message is an apology.
        error: Option<&'static str>,
        /// The oldest generation says it twice; the first time outside any turn.
        echo: bool,
    },
    Recovered,
    ReasonCompleted(Reason),
    ActStarted {
        calls: Vec<ToolCall>,
    },
    ToolStarted(ToolCall),
    ToolProgress(ToolCall),
    ToolCompleted {
        call: ToolCall,
        outcome: Outcome,
        duration_ms: u32,
    },
    ActCompleted {
        calls: Vec<ToolCall>,
        errors: u32,
        duration_ms: u32,
    },
    CallRequested(ToolCall),
    Repaired(ToolCall),
    TurnCompleted(Box<Completion>),
    TurnFailed {
        code: &'static str,
        model: usize,
    },
    TurnSealed {
        reason: &'static str,
        iterations: u32,
        usage: Sum,
    },
    TurnCancelled,
    Idled {
        iterations: Option<u32>,
        usage: Option<Sum>,
    },
    TitleUpdated,
    ModelChanged {
        from: usize,
        to: usize,
    },
    BudgetWarning,
    BudgetPaused,
    BudgetResumed,
    Compacted {
        model: usize,
    },
    /// A type from the future.
    Unknown {
        variant: u32,
    },
}

/// What a user, or the platform in their name, writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Input {
    /// Starts a turn.
    Opening,
    /// Comes while a turn runs.
    Steering,
    /// The platform's note that a turn was cancelled.
    Cancellation,
}

/// How a tool call ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Success,
    Error,
    Timeout,
    /// A restart of the worker cut it off.
    Interrupted,
    /// It did not run because somebody has to agree first.
    NeedsApproval,
}

impl Outcome {
    /// The `status` on the wire.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error | Self::NeedsApproval => "error",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One call of a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Generation {
    pub(super) model: usize,
    pub(super) usage: Option<Usage>,
    pub(super) duration_ms: u32,
    pub(super) first_token_ms: Option<u32>,
    pub(super) error: Option<&'static str>,
    pub(super) calls: Vec<ToolCall>,
    /// How many attempts there were before this one.
    pub(super) retries: u32,
    /// Bytes of prompt.
    pub(super) bulk: usize,
}

/// The end of one model decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reason {
    pub(super) usage: Option<Usage>,
    pub(super) duration_ms: u32,
    pub(super) error: Option<&'static str>,
    pub(super) calls: u32,
    /// Set where no generation tells of the call: the model, if its events name it.
    pub(super) alone: Option<Option<usize>>,
}

/// The good end of a turn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Completion {
    pub(super) iterations: u32,
    pub(super) duration_ms: Option<u32>,
    pub(super) usage: Sum,
    pub(super) tool_calls: u32,
    pub(super) issues: u32,
    pub(super) first_token_ms: Option<u32>,
    pub(super) termination: &'static str,
}

impl Script {
    /// The last moment at which anything about the session changes.
    pub(super) fn last_change(&self) -> i64 {
        let stored = self.events.iter().map(|event| event.stored_at).max();
        let updated = self.updates.last().copied();
        stored.max(updated).max(self.deleted_at).unwrap_or(self.created_at).max(self.created_at)
    }

    /// Whether the session exists for callers.
    pub(super) fn is_visible(&self, now: i64) -> bool {
        self.created_at <= now && self.deleted_at.is_none_or(|deleted| now < deleted)
    }

    /// The state at `now`.
    pub(super) fn status(&self, now: i64) -> Status {
        let known = self.statuses.partition_point(|(at, _)| *at <= now);
        self.statuses[known.max(1) - 1].1
    }

    /// When the row last changed before `now`.
    pub(super) fn updated_at(&self, now: i64) -> i64 {
        let known = self.updates.partition_point(|at| *at <= now);
        self.updates[..known].last().copied().unwrap_or(self.created_at)
    }

    /// What the session says it consumed, if it consumed anything.
    pub(super) fn usage(&self, now: i64) -> Option<Sum> {
        let mut sum = Sum::default();
        for (_, part) in self.roll_ups.iter().take_while(|(at, _)| *at <= now) {
            sum.merge(part);
        }
        (sum.calls > 0).then_some(sum)
    }

    /// Whether the last finished turn ended well.
    pub(super) fn last_end(&self, now: i64) -> Option<bool> {
        let known = self.ends.partition_point(|(at, _)| *at <= now);
        self.ends[..known].last().map(|(_, well)| *well)
    }

    /// Whether the session was put away.
    pub(super) fn is_archived(&self, now: i64) -> bool {
        self.archived_at.is_some_and(|at| at <= now)
    }
}
