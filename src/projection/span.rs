//! A span: a piece of work that is over, complete, and never told differently again.

use serde::{Deserialize, Serialize};

use super::trace::Tally;
use crate::domain::{
    CallId, Finish, NameId, SessionId, SourceIx, Span, SpanId, Timestamp, TraceContext, TurnOutcome, Usage, Verdict,
};

/// A piece of work that is over. Names are numbers of the store's dictionary; there is no content in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSpan {
    /// Whose session.
    pub source: SourceIx,
    /// Which session.
    pub session: SessionId,
    /// Its agent.
    pub agent: NameId,
    /// Its name.
    pub context: TraceContext,
    /// The span it stands under.
    pub parent: Option<SpanId>,
    /// When it began, by the platform's clock.
    pub began: Timestamp,
    /// When it ended; never before it began.
    pub ended: Timestamp,
    /// Its end was not told: it ended with its turn at the latest.
    pub cut_off: bool,
    /// What was done.
    pub work: Work,
}

/// What was done in a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A turn.
    Turn(Box<TurnWork>),
    /// A round of the agent's loop.
    Step,
    /// A stretch of thinking.
    Reason {
        /// What went wrong.
        error: Option<NameId>,
    },
    /// A stretch in which tools were called.
    Act,
    /// A model call.
    Chat(Box<ChatWork>),
    /// A tool call.
    Tool {
        /// Which tool.
        tool: NameId,
        /// The call's id.
        call: Option<CallId>,
        /// What went wrong.
        error: Option<NameId>,
    },
}

/// A turn, as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnWork {
    /// Its number in its session, from 1.
    pub number: u32,
    /// The platform has a name for it, which is the trace's.
    pub is_named: bool,
    /// How it ended.
    pub outcome: TurnOutcome,
    /// The error code of a failure.
    pub error: Option<NameId>,
    /// The agent's verdict.
    pub verdict: Option<Verdict>,
    /// What was done in it.
    pub tally: Tally,
    /// The session's turn before it.
    pub previous: Option<TraceContext>,
    /// The turn of the parent session in which it was at work, where it is in a trace of its own.
    pub parent_turn: Option<TraceContext>,
    /// It was given up before: this is the rest of it.
    pub is_rest: bool,
}

/// A model call, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatWork {
    /// The model that was asked.
    pub model: Option<NameId>,
    /// The model that answered.
    pub answered_by: Option<NameId>,
    /// The model's vendor.
    pub provider: Option<NameId>,
    /// What it used; `None` where the platform does not tell it of single calls.
    pub usage: Option<Usage>,
    /// The cost is an estimate.
    pub estimated: bool,
    /// How long until the first token.
    pub first_token: Option<Span>,
    /// The vendor's id of the answer.
    pub answer: Option<CallId>,
    /// Why the model stopped.
    pub finish: Option<Finish>,
    /// What went wrong.
    pub error: Option<NameId>,
}
