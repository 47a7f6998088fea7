//! What is kept of work that goes on, so that it can be told as spans when it ends.
//!
//! Nothing in here depends on whether spans are wanted, and no name is made before one is sent: so a session that is
//! folded anew is the same, and what goes on when spans are switched on is told whole.

use serde::{Deserialize, Serialize};

use crate::domain::{Named, NanoUsd, Place, SpanId, SpanNames, Status, Timestamp, Tokens, TraceContext, TurnKey};

/// Things that are told as events of a turn's span; those past it are only counted.
const MAX_MARKS: usize = 128;

/// A turn, as far as it takes to name its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnRef {
    /// Its number in its session, from 1, as far as the session was seen.
    pub number: u32,
    /// Where it began.
    pub place: Place,
    /// The platform's own name, which is also that of its trace.
    pub key: Option<TurnKey>,
    /// The turn of the parent session that it is part of.
    pub under: Option<TraceContext>,
    /// It was given up, and told: what is meant is what follows of it.
    pub is_rest: bool,
}

/// A turn that is over, for those that look for it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastTurn {
    /// Which one.
    pub id: TurnRef,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// A turn of the parent session, as its child's turns see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentTurn {
    /// Its span.
    pub context: TraceContext,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None` while it goes on, as far as the parent was read.
    pub ended: Option<Timestamp>,
}

/// A span below a turn's, as far as it takes to name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanRef {
    /// The platform's own name.
    pub own: Option<SpanId>,
    /// What it is of.
    pub of: Named,
    /// Where it began, which it is named after.
    pub place: Place,
}

/// A stretch of work that is not over, with what happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its span.
    pub span: SpanRef,
    /// The turn it belongs to; `None` if none was open.
    pub turn: Option<TurnRef>,
    /// When it began.
    pub began: Timestamp,
    /// When the last thing known of it happened.
    pub until: Timestamp,
}

/// A model's answer that waits for the running total which says what model it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// When it was asked.
    pub began: Timestamp,
    /// When it answered.
    pub ended: Timestamp,
    /// The step that it began.
    pub step: Stretch,
}

/// What a turn did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Tokens used in it.
    pub tokens: Tokens,
    /// Cost, as far as it is known.
    pub cost: Option<NanoUsd>,
    /// Some of the cost is an estimate.
    pub estimated: bool,
    /// Steps taken.
    pub steps: u64,
    /// Model calls that were told.
    pub model_calls: u32,
    /// Tool calls.
    pub tool_calls: u32,
    /// Tool calls that failed.
    pub tool_failures: u32,
    /// What happened on the way.
    pub marks: Vec<Mark>,
    /// Marks that did not fit.
    pub more_marks: u32,
}

/// Something that happened in a turn and took no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

/// What can happen in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// The session entered this status.
    Entered(Status),
    /// An error from which the agent can recover.
    RecoverableError,
    /// Somebody wrote to the agent while it worked.
    Message,
}

impl TurnRef {
    /// The turn's own span, in its trace.
    pub fn context(self, names: SpanNames) -> TraceContext {
        let trace = match (self.key, self.under) {
            (Some(key), _) => key.trace(),
            (None, Some(under)) => under.trace,
            (None, None) => names.trace(self.place),
        };
        // No platform names the span of a turn; and should one tell the same turn twice, there are two of them.
        TraceContext { trace, span: names.span(if self.is_rest { Named::Rest } else { Named::Turn }, self.place) }
    }

    /// The span it stands under in the same trace.
    pub fn parent(self, names: SpanNames) -> Option<SpanId> {
        if self.is_rest {
            return Some(names.span(Named::Turn, self.place));
        }
        self.under.filter(|_| self.key.is_none()).map(|under| under.span)
    }
}

impl ParentTurn {
    /// The turn that the parent was in then: of several the one that began last.
    pub fn at(turns: &[Self], then: Timestamp) -> Option<TraceContext> {
        let was_on = |turn: &&Self| turn.began <= then && turn.ended.is_none_or(|ended| then <= ended);
        turns.iter().filter(was_on).max_by_key(|turn| turn.began).map(|turn| turn.context)
    }
}

impl SpanRef {
    /// A span whose platform may name it; else it is named after its place.
    pub const fn new(of: Named, own: Option<SpanId>, place: Place) -> Self {
        Self { own, of, place }
    }

    /// Its name.
    pub fn id(self, names: SpanNames) -> SpanId {
        self.own.unwrap_or_else(|| names.span(self.of, self.place))
    }
}

impl Answered {
    /// The span of the model call.
    pub fn chat(&self) -> SpanRef {
        SpanRef { own: None, of: Named::Chat, place: self.step.span.place }
    }
}

impl Tally {
    /// Notes something that happened, while there is room.
    pub fn mark(&mut self, at: Timestamp, what: Happening) {
        if self.marks.len() < MAX_MARKS {
            self.marks.push(Mark { at, what });
        } else {
            self.more_marks = self.more_marks.saturating_add(1);
        }
    }

    /// Adds to the cost.
    pub fn spend(&mut self, cost: NanoUsd, estimated: bool) {
        self.cost = Some(NanoUsd(self.cost.unwrap_or_default().0.saturating_add(cost.0)));
        self.estimated |= estimated;
    }
}
