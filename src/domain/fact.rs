//! What can be known about a session, one fact at a time, in the words of no particular platform.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::trace::sixteen_bytes;
use super::{SessionId, Span, SpanId, Status, Timestamp, TraceContext, TraceId, TurnOutcome, Usage, Verdict};

/// An id that the platform or a model's vendor gave to one call, and that tells it from its neighbours.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallId(SmolStr);

/// Tells the turns of one session apart: the 16 bytes of the platform's turn id, or a hash where it has others. It names
/// the turn's trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TurnKey {
    trace: TraceId,
    is_own: bool,
}

/// A tool that the model asked for. `N` is how names are held: as text when decoded, as a number when stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall<N> {
    /// The tool's name.
    pub tool: N,
    /// The call's identity within its step; some platforms leave it out.
    pub id: Option<CallId>,
    /// The platform's own name of its span.
    pub span: Option<SpanId>,
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
    /// The model's vendor, as OpenTelemetry's GenAI conventions name it.
    pub provider: Option<N>,
    /// The model that answered, where it is named more precisely than the one that was asked.
    pub answered_by: Option<N>,
    /// The vendor's id of the answer.
    pub answer: Option<CallId>,
    /// Why the model stopped.
    pub finish: Option<Finish>,
    /// The platform's own name of its span.
    pub span: Option<SpanId>,
}

/// Why a model stopped: a closed set, as what vendors write is theirs to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Finish {
    /// It had said what it wanted to.
    Stop,
    /// It reached a limit of tokens.
    Length,
    /// It wants tools to be called.
    ToolCalls,
    /// A filter stopped it.
    ContentFilter,
    /// It failed.
    Error,
    /// Anything else.
    Other,
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
    /// The agent begins to think.
    ReasoningStarted {
        /// With this model, if it is named.
        model: Option<N>,
        /// The platform's own name of the span.
        span: Option<SpanId>,
    },
    /// The model that the agent is thinking with.
    ModelNamed(N),
    /// A model was called; its usage adds to what was used before.
    ModelCalled(ModelCall<N>),
    /// The agent has thought: a step. Stands for the model calls in it if none of them was told.
    ReasoningEnded(ModelCall<N>),
    /// The agent begins to do what it thought of: tools are called. With the platform's own name of the span.
    ActStarted(Option<SpanId>),
    /// It has done that.
    ActEnded,
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
    /// The session that started it.
    ChildOf(SessionId),
    /// The turn that just began is part of this turn of its parent.
    Under(TraceContext),
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
        ToolCall { tool: name(self.tool), id: self.id, span: self.span }
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
            provider: self.provider.map(|provider| name(Label::Provider, provider)),
            answered_by: self.answered_by.map(|model| name(Label::Model, model)),
            answer: self.answer,
            finish: self.finish,
            span: self.span,
        }
    }
}

impl<N> Default for ModelCall<N> {
    /// A call of which nothing is known but that it was made.
    fn default() -> Self {
        Self {
            model: None,
            usage: Usage::default(),
            estimated: false,
            took: None,
            first_token: None,
            error: None,
            provider: None,
            answered_by: None,
            answer: None,
            finish: None,
            span: None,
        }
    }
}

impl CallId {
    /// Keeps what looks like an id; of anything else, which may be content, only a hash.
    pub fn new(text: &str) -> Self {
        const LONGEST: usize = 64;
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b':');
        if !text.is_empty() && text.len() <= LONGEST && text.bytes().all(is_plain) {
            return Self(SmolStr::new(text));
        }
        Self(format_smolstr!("{:016x}", xxh3_64(text.as_bytes())))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TurnKey {
    /// From a platform's turn id: a UUID, also behind a word and an underscore, or any other text.
    pub fn new(text: &str) -> Self {
        let id = text.rsplit_once('_').map_or(text, |(_, id)| id);
        match sixteen_bytes(id).and_then(TraceId::new) {
            Some(trace) => Self { trace, is_own: true },
            None => {
                let trace = TraceId::new(xxh3_128(text.as_bytes()).max(1)).expect("it is at least 1");
                Self { trace, is_own: false }
            }
        }
    }

    /// The trace that it names.
    pub const fn trace(self) -> TraceId {
        self.trace
    }

    /// Whether it is the platform's id, byte for byte.
    pub const fn is_own(self) -> bool {
        self.is_own
    }
}

impl fmt::Debug for TurnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.trace, f)
    }
}

impl Finish {
    /// What vendors call it.
    pub fn from_wire(text: &str) -> Self {
        match text {
            "stop" | "end_turn" | "stop_sequence" => Self::Stop,
            "length" | "max_tokens" => Self::Length,
            "tool_calls" | "tool_call" | "tool_use" | "function_call" => Self::ToolCalls,
            "content_filter" | "refusal" | "safety" => Self::ContentFilter,
            "error" => Self::Error,
            _ => Self::Other,
        }
    }

    /// As the OpenTelemetry conventions write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Error => "error",
            Self::Other => "other",
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
            | Self::ReasoningStarted { .. }
            | Self::ActStarted(_)
            | Self::ActEnded
            | Self::ModelNamed(_)
            | Self::ModelCalled(_)
            | Self::ReasoningEnded(_)
            | Self::ToolStarted(_) => 1,
            Self::Discovered { .. }
            | Self::Sighted(_)
            | Self::Totals { .. }
            | Self::Ended(_)
            | Self::Children(_)
            | Self::ChildOf(_)
            | Self::Under(_)
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
            Self::ReasoningStarted { model, span } => {
                Fact::ReasoningStarted { model: model.map(|model| name(Label::Model, model)), span }
            }
            Self::ActStarted(span) => Fact::ActStarted(span),
            Self::ActEnded => Fact::ActEnded,
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
            Self::ChildOf(parent) => Fact::ChildOf(parent),
            Self::Under(turn) => Fact::Under(turn),
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
    /// A model's vendor.
    Provider,
    /// An error code from a closed set.
    Error,
}
