//! What can be known about a session, one fact at a time, in the words of no particular platform.

use serde::{Deserialize, Serialize};

use super::{SessionId, Span, Status, Timestamp, TurnOutcome, Usage, Verdict};

/// Tells the tool calls of one step apart: a hash of the platform's call id, which is no secret but of no use either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallKey(pub u32);

/// Tells the turns of one session apart: a hash of the platform's turn id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TurnKey(pub u32);

/// A tool that the model asked for. `N` is how names are held: as text when decoded, as a number when stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall<N> {
    /// The tool's name.
    pub tool: N,
    /// The call's identity within its step; some platforms leave it out.
    pub key: Option<CallKey>,
}

/// The running total of one model within one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsage<N> {
    /// The model's name.
    pub model: N,
    /// Everything this session has used of it so far.
    pub usage: Usage,
}

/// One call of a model, or one attempt at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCall<N> {
    /// The model's name; `None` where the platform does not say.
    pub model: Option<N>,
    /// What it used, by itself.
    pub usage: Usage,
    /// The cost is the platform's estimate from a price list, not what the model's vendor charged.
    pub estimated: bool,
    /// How long it took.
    pub took: Option<Span>,
    /// How long until its first token.
    pub first_token: Option<Span>,
    /// `None` for success, else what kind of error, from a closed set.
    pub error: Option<N>,
}

/// What the platform said of a session's state at one moment; not yet its last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The status then.
    pub status: Status,
    /// The best the platform says of when that status began.
    pub since: Timestamp,
    /// When the session was first started.
    pub started_at: Option<Timestamp>,
    /// When it ended, if it has.
    pub finished_at: Option<Timestamp>,
}

/// The platform's authoritative word that a session ended, read after everything its stream holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending<N> {
    /// A terminal status.
    pub status: Status,
    /// When the session was first started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The platform's error code, from its closed set or `other`.
    pub error: Option<N>,
    /// The agent's verdict.
    pub verdict: Option<Verdict>,
}

/// One fact about a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact<N> {
    /// A start was asked for: the first one, or a restart of a session that had ended.
    StartRequested,
    /// The stream says that the session entered this (not terminal) status.
    Entered(Status),
    /// The stream says that the session ended so; the platform's status may still say otherwise.
    StreamEnded(Status),
    /// Somebody wrote to the agent.
    Message,
    /// The agent saw the state of its environment: what the model answers to next.
    Observed,
    /// The model answered, asking for these tools.
    Step {
        /// What it asked for.
        calls: Vec<ToolCall<N>>,
        /// Whether its answer could be understood.
        valid: bool,
    },
    /// A tool call ended.
    ToolEnded {
        /// Which.
        call: ToolCall<N>,
        /// `None` for success, else what kind of error, from a closed set.
        error: Option<N>,
        /// How long it took, where the platform says so.
        took: Option<Span>,
    },
    /// Something went wrong inside the loop that the agent can recover from.
    LoopError,
    /// The running totals of the session so far, as its stream tells them.
    Usage {
        /// Steps taken; `None` where this report does not say.
        steps: Option<u64>,
        /// Per model; models that are missing have not changed.
        models: Vec<ModelUsage<N>>,
    },
    /// The agent answered, with this verdict on itself.
    Answered(Option<Verdict>),
    /// Something happened that needs no counting: kept so that positions stay complete.
    Noted,
    /// An event of a type or kind this version does not know.
    Unknown,
    /// An event of a known type whose content does not fit: what was wrong, from a closed set.
    Undecoded(N),
    /// So many positions hold nothing: the platform left them out, and says that this may be.
    Passed(u64),
    /// The stream says that the session is in this status from now on; of turns it tells in other events.
    Became(Status),
    /// A turn began.
    TurnStarted(Option<TurnKey>),
    /// A turn is over.
    TurnEnded {
        /// Which; if that is not known, the one that began last.
        turn: Option<TurnKey>,
        /// How it ended.
        outcome: TurnOutcome,
        /// The platform's error code, from its closed set or `other`.
        error: Option<N>,
        /// How long it took, where the platform says so.
        took: Option<Span>,
    },
    /// The agent begins to think, with this model if it is named.
    ReasoningStarted(Option<N>),
    /// The model that the agent is thinking with.
    ModelNamed(N),
    /// A model was called; its usage adds to what was used before.
    ModelCalled(ModelCall<N>),
    /// The agent has thought: a step. Stands for the model calls in it if none of them was told.
    ReasoningEnded(ModelCall<N>),
    /// A tool was started.
    ToolStarted(ToolCall<N>),

    // What follows has no position in the session's stream: it was read beside it.
    /// A first sight of the session. Always the first fact of its log.
    Discovered {
        /// The agent's name.
        agent: N,
        /// When the session was created.
        created_at: Timestamp,
        /// The status that every session of its platform begins in, where nothing else tells that it did.
        born: Option<Status>,
        /// So many positions at the head of its stream are copies of another session's: they happened there.
        inherited: u64,
    },
    /// Its state as seen in passing.
    Sighted(Sighting),
    /// The running totals, as the platform's status tells them.
    Totals {
        /// Steps taken.
        steps: Option<u64>,
        /// Per model.
        models: Vec<ModelUsage<N>>,
    },
    /// Its confirmed end.
    Ended(Ending<N>),
    /// All child sessions it has started so far.
    Children(Vec<SessionId>),
    /// So many events were gone before they could be read.
    Lost(u64),
    /// The platform no longer knows the session.
    Gone,
    /// The platform knows it again.
    Returned,
    /// A turn about which nothing was heard for so long that nobody waits for it any more.
    TurnAbandoned(Option<TurnKey>),
    /// The tokens, of all kinds and models, that the platform itself counts for the session.
    Checked(u64),
}

/// A fact with its time: the platform's where the platform gives one, else ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<N> {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub fact: Fact<N>,
}

impl<N> ToolCall<N> {
    /// The same call with its name held differently.
    pub fn map<M>(self, name: &mut impl FnMut(N) -> M) -> ToolCall<M> {
        ToolCall { tool: name(self.tool), key: self.key }
    }
}

impl<N> ModelCall<N> {
    /// The same call with its names held differently.
    pub fn map<M>(self, name: &mut impl FnMut(Label, N) -> M) -> ModelCall<M> {
        ModelCall {
            model: self.model.map(|model| name(Label::Model, model)),
            usage: self.usage,
            estimated: self.estimated,
            took: self.took,
            first_token: self.first_token,
            error: self.error.map(|error| name(Label::Error, error)),
        }
    }
}

fn map_models<N, M>(models: Vec<ModelUsage<N>>, name: &mut impl FnMut(Label, N) -> M) -> Vec<ModelUsage<M>> {
    models.into_iter().map(|row| ModelUsage { model: name(Label::Model, row.model), usage: row.usage }).collect()
}

impl<N> Fact<N> {
    /// How many positions of the session's stream it covers; none for what was read beside it.
    pub fn positions(&self) -> u64 {
        match self {
            Self::Passed(count) => *count,
            Self::StartRequested
            | Self::Entered(_)
            | Self::StreamEnded(_)
            | Self::Message
            | Self::Observed
            | Self::Step { .. }
            | Self::ToolEnded { .. }
            | Self::LoopError
            | Self::Usage { .. }
            | Self::Answered(_)
            | Self::Noted
            | Self::Unknown
            | Self::Undecoded(_)
            | Self::Became(_)
            | Self::TurnStarted(_)
            | Self::TurnEnded { .. }
            | Self::ReasoningStarted(_)
            | Self::ModelNamed(_)
            | Self::ModelCalled(_)
            | Self::ReasoningEnded(_)
            | Self::ToolStarted(_) => 1,
            Self::Discovered { .. }
            | Self::Sighted(_)
            | Self::Totals { .. }
            | Self::Ended(_)
            | Self::Children(_)
            | Self::Lost(_)
            | Self::Gone
            | Self::Returned
            | Self::TurnAbandoned(_)
            | Self::Checked(_) => 0,
        }
    }

    /// The same fact with its names held differently.
    pub fn map<M>(self, name: &mut impl FnMut(Label, N) -> M) -> Fact<M> {
        match self {
            Self::StartRequested => Fact::StartRequested,
            Self::Entered(status) => Fact::Entered(status),
            Self::StreamEnded(status) => Fact::StreamEnded(status),
            Self::Message => Fact::Message,
            Self::Observed => Fact::Observed,
            Self::Step { calls, valid } => Fact::Step {
                calls: calls.into_iter().map(|call| call.map(&mut |tool| name(Label::Tool, tool))).collect(),
                valid,
            },
            Self::ToolEnded { call, error, took } => Fact::ToolEnded {
                call: call.map(&mut |tool| name(Label::Tool, tool)),
                error: error.map(|error| name(Label::Error, error)),
                took,
            },
            Self::LoopError => Fact::LoopError,
            Self::Usage { steps, models } => Fact::Usage { steps, models: map_models(models, name) },
            Self::Totals { steps, models } => Fact::Totals { steps, models: map_models(models, name) },
            Self::Answered(verdict) => Fact::Answered(verdict),
            Self::Noted => Fact::Noted,
            Self::Unknown => Fact::Unknown,
            Self::Undecoded(reason) => Fact::Undecoded(name(Label::Error, reason)),
            Self::Passed(count) => Fact::Passed(count),
            Self::Became(status) => Fact::Became(status),
            Self::TurnStarted(turn) => Fact::TurnStarted(turn),
            Self::TurnEnded { turn, outcome, error, took } => {
                Fact::TurnEnded { turn, outcome, error: error.map(|error| name(Label::Error, error)), took }
            }
            Self::ReasoningStarted(model) => Fact::ReasoningStarted(model.map(|model| name(Label::Model, model))),
            Self::ModelNamed(model) => Fact::ModelNamed(name(Label::Model, model)),
            Self::ModelCalled(call) => Fact::ModelCalled(call.map(name)),
            Self::ReasoningEnded(call) => Fact::ReasoningEnded(call.map(name)),
            Self::ToolStarted(call) => Fact::ToolStarted(call.map(&mut |tool| name(Label::Tool, tool))),
            Self::Discovered { agent, created_at, born, inherited } => {
                Fact::Discovered { agent: name(Label::Agent, agent), created_at, born, inherited }
            }
            Self::Sighted(sighting) => Fact::Sighted(sighting),
            Self::Ended(ending) => Fact::Ended(Ending {
                status: ending.status,
                started_at: ending.started_at,
                finished_at: ending.finished_at,
                error: ending.error.map(|error| name(Label::Error, error)),
                verdict: ending.verdict,
            }),
            Self::Children(children) => Fact::Children(children),
            Self::Lost(count) => Fact::Lost(count),
            Self::Gone => Fact::Gone,
            Self::Returned => Fact::Returned,
            Self::TurnAbandoned(turn) => Fact::TurnAbandoned(turn),
            Self::Checked(tokens) => Fact::Checked(tokens),
        }
    }
}

/// What a name in a fact names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// An agent.
    Agent,
    /// A model.
    Model,
    /// A tool.
    Tool,
    /// An error code from a closed set.
    Error,
}
