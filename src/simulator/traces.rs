//! The part of the account that traces are compared with: what each session did, one by one and added up.

use std::collections::BTreeMap;

use serde::Serialize;

/// Sessions are told one by one as long as there are no more than this.
const MOST_SESSIONS: usize = 500;

/// What a session did, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deeds {
    /// Turns that ended, by outcome.
    pub turns_finished: BTreeMap<&'static str, u64>,
    /// Model decisions.
    pub steps: u64,
    /// Calls of models; nothing where the platform does not tell of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_calls: Option<u64>,
    /// Tool calls whose end was told.
    pub tool_calls_ended: u64,
    /// All prompt tokens.
    pub input_tokens: u64,
    /// Tokens produced.
    pub output_tokens: u64,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionDeeds {
    /// Its id as the API has it.
    pub id: String,
    /// The session that started it.
    pub parent: Option<String>,
    /// What it did.
    #[serde(flatten)]
    pub deeds: Deeds,
}

/// What all sessions did, and what each did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traces {
    /// Everything, forgotten sessions included.
    #[serde(flatten)]
    pub all: Deeds,
    /// Each session that is remembered, deleted ones included, in the order of creation; nothing where they are many.
    pub sessions: Option<Vec<SessionDeeds>>,
}

impl Deeds {
    /// A turn ended.
    pub(super) fn finish_turn(&mut self, outcome: &'static str) {
        *self.turns_finished.entry(outcome).or_default() += 1;
    }

    /// Adds what others did.
    pub(super) fn merge(&mut self, other: &Self) {
        for (outcome, count) in &other.turns_finished {
            *self.turns_finished.entry(outcome).or_default() += count;
        }
        self.steps += other.steps;
        self.model_calls = self.model_calls.or(other.model_calls.map(|_| 0));
        if let (Some(calls), Some(more)) = (&mut self.model_calls, other.model_calls) {
            *calls += more;
        }
        self.tool_calls_ended += other.tool_calls_ended;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
    }
}

impl Traces {
    /// What `all` did, and each of `count` sessions.
    pub(super) fn new(all: Deeds, count: usize, sessions: impl Iterator<Item = SessionDeeds>) -> Self {
        Self { all, sessions: (count <= MOST_SESSIONS).then(|| sessions.collect()) }
    }
}
