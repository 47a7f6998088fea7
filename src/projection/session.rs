//! What is known of one session: enough to fold its next fact, and to answer an operator who asks for it.

use serde::{Deserialize, Serialize};

use smol_str::SmolStr;

use super::trace::{Answered, PastTurn, SpanRef, Stretch, Tally, TurnRef};
use crate::domain::{
    COPIED_UNTIL_BORN, CallId, Listing, Mark, ModelUsage, NameId, SessionId, SourceIx, Status, Timestamp, Usage,
    Verdict,
};

/// One session, as far as it was read. It begins with the fields of [`SessionHead`], in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id on the platform.
    pub id: SessionId,
    /// Whose it is.
    pub source: SourceIx,
    /// Its agent.
    pub agent: NameId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Facts before this are its past: they shape the state and are not counted.
    pub count_from: Timestamp,

    /// How far it was read.
    pub progress: Progress,

    /// Where it stands.
    pub status: Status,
    /// Since when.
    pub since: Timestamp,
    /// So many positions at the head of its stream are copies of another session's.
    pub inherited: u64,
    /// What the platform wants to be told to go on at the cursor; not a fact, and lost when the log is folded anew.
    pub bookmark: Option<SmolStr>,
    /// What a list last said of its movement; not a fact, and lost when the log is folded anew.
    pub listing: Option<Listing>,
    /// The fingerprint with which the platform's sum of tokens differed from ours, which may only be late, and since when.
    pub doubted: Option<(Mark, Timestamp)>,
    /// The last status that its stream told in this run.
    pub stream_status: Option<Status>,
    /// When it was first started.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
    /// How often it was taken up again after an end.
    pub restarts: u32,
    /// Its latest error code.
    pub error: Option<NameId>,
    /// The agent's latest verdict.
    pub verdict: Option<Verdict>,

    /// The run since the latest (re)start.
    pub run: Run,
    /// The stretches of work that are not over, and those that were given up, in the order in which they began.
    pub open_turns: Vec<Turn>,
    /// Turns begun.
    pub turns: u32,

    /// Running totals per model.
    pub models: Vec<ModelUsage<NameId>>,
    /// Running total of steps.
    pub steps: u64,
    /// By how many tokens the platform's own sum differed from ours when they were last compared.
    pub mismatch: u64,
    /// Events of its stream that were gone before they could be read.
    pub lost: u64,
    /// Child sessions.
    pub children: Vec<SessionId>,
    /// The session that started it.
    pub parent: Option<SessionId>,
    /// The turns that were over last, and were counted.
    pub past_turns: Vec<PastTurn>,
    /// Half-done steps.
    pub loop_state: LoopState,
}

/// The beginning of a [`Session`] as it is stored: all that a start needs of one that is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHead {
    /// Its id on the platform.
    pub id: SessionId,
    /// Whose it is.
    pub source: SourceIx,
    /// Its agent.
    pub agent: NameId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Facts before this are its past.
    pub count_from: Timestamp,
    /// How far it was read.
    pub progress: Progress,
    /// Where it stands.
    pub status: Status,
    /// Since when.
    pub since: Timestamp,
}

/// How far a session was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The next position of its stream.
    pub cursor: u64,
    /// The number of its next log entry.
    pub entries: u32,
    /// The list's fingerprint when it was last read to the end.
    pub mark: Option<Mark>,
    /// When the newest answer about its status had arrived, by our clock: older questions are out of date.
    pub checked_at: Timestamp,
    /// Nothing more is expected unless a list shows it moving.
    pub settled: bool,
    /// The platform no longer knows it.
    pub gone: bool,
    /// The time of its newest event.
    pub newest: Timestamp,
}

/// From a (re)start to an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it first worked.
    pub began: Option<Timestamp>,
    /// By the platform's clock, no end before this is the end of this run; `None` in the first run of a session.
    pub no_end_before: Option<Timestamp>,
    /// The stream told an end, which the platform's status has still to confirm.
    pub stream_end: Option<(Status, Timestamp)>,
    /// The end is counted.
    pub ended: bool,
    /// Its running totals may start again from nothing: it was restarted and none was seen since.
    pub totals_may_restart: bool,
}

/// A stretch of work, from activation until the session settles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Which one. Its key tells it from others that are open; it has none on platforms where only one can be.
    pub id: TurnRef,
    /// When it began.
    pub began: Timestamp,
    /// The latest verdict given in it.
    pub verdict: Option<Verdict>,
    /// When it was counted as abandoned: nobody waits for its end, but it may come.
    pub abandoned: Option<Timestamp>,
    /// What it did so far.
    pub tally: Tally,
}

/// A stretch of thinking, as far as its model calls are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasoning {
    /// It, while it goes on.
    pub stretch: Option<Stretch>,
    /// The model that was named in it.
    pub model: Option<NameId>,
    /// A model call was told in it.
    pub called: bool,
    /// Its end was counted as a model call: one that is told after it is the same.
    pub stood_in: bool,
}

/// A tool call whose end was not seen yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// Tells it from its neighbours; not unique over the session.
    pub id: Option<CallId>,
    /// Its tool.
    pub tool: NameId,
    /// When it was asked for.
    pub began: Timestamp,
    /// Its span.
    pub span: SpanRef,
    /// The span that it stands under, if that is not its turn's.
    pub below: Option<SpanRef>,
    /// The turn it belongs to; `None` if none was open.
    pub turn: Option<TurnRef>,
    /// Its span was told when its turn ended.
    pub is_told: bool,
}

/// A tool call that is waited for no longer and whose span was told: its end, should it come, is told no second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldCall {
    /// Its id.
    pub id: CallId,
    /// Its tool.
    pub tool: NameId,
}

/// What connects an event of the agent's loop with the ones before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopState {
    /// Since when the model has been thinking.
    pub asked: Option<Timestamp>,
    /// Answers of the model, until the next running total says which model it was.
    pub answered: Vec<Answered>,
    /// The step it is in.
    pub step: Option<Stretch>,
    /// The stretch of acting it is in.
    pub act: Option<Stretch>,
    /// Tools at work.
    pub calls: Vec<OpenCall>,
    /// Calls that were told though their ends were not.
    pub told_calls: Vec<ToldCall>,
    /// The stretch of thinking it is in, or was in last.
    pub reasoning: Reasoning,
}

impl Session {
    /// A session at first sight.
    pub fn new(id: SessionId, source: SourceIx, agent: NameId, created_at: Timestamp, count_from: Timestamp) -> Self {
        Self {
            id,
            source,
            agent,
            created_at,
            count_from,
            progress: Progress::default(),
            status: Status::Pending,
            since: created_at,
            inherited: 0,
            bookmark: None,
            listing: None,
            doubted: None,
            stream_status: None,
            started_at: None,
            finished_at: None,
            restarts: 0,
            error: None,
            verdict: None,
            run: Run::default(),
            open_turns: Vec::new(),
            turns: 0,
            models: Vec::new(),
            steps: 0,
            mismatch: 0,
            lost: 0,
            children: Vec::new(),
            parent: None,
            past_turns: Vec::new(),
            loop_state: LoopState::default(),
        }
    }

    /// What a start needs of it once it is settled.
    pub fn head(&self) -> SessionHead {
        let Self { id, source, agent, created_at, count_from, progress, status, since, .. } = self.clone();
        SessionHead { id, source, agent, created_at, count_from, progress, status, since }
    }

    /// Whether its latest run was taken to be over by the end of the run before, which was told once more: if it goes on,
    /// or ends later, then it was a run after all.
    pub fn is_taken_back(&self) -> bool {
        let ended_before = self.run.no_end_before.zip(self.finished_at).is_some_and(|(no, end)| end < no);
        self.run.ended && self.run.began.is_none() && ended_before
    }

    /// Whether an end at this time, as far as that is told, is one that is known already.
    pub fn knows_end(&self, finished_at: Option<Timestamp>) -> bool {
        let is_later = self.run.no_end_before.zip(finished_at).is_some_and(|(no, end)| end >= no);
        self.run.ended && !(self.is_taken_back() && is_later)
    }

    /// Whether what happened at `at` is counted, or was there before counting began.
    pub fn counts(&self, at: Timestamp) -> bool {
        self.created_at >= self.count_from || at >= self.count_from
    }

    /// Whether an event at the position before the cursor was copied from another session, where it is counted.
    pub fn is_copy(&self, at: Timestamp) -> bool {
        self.progress.cursor <= self.inherited && (self.inherited != COPIED_UNTIL_BORN || at < self.created_at)
    }

    /// The turn that it is in: the latest that is not over and was not given up.
    pub fn turn(&self) -> Option<&Turn> {
        self.open_turns.iter().rfind(|turn| turn.abandoned.is_none())
    }

    /// The turn that what happens now belongs to: the one that it is in, or one that was given up and goes on.
    pub fn working_turn(&self) -> Option<&Turn> {
        self.turn().or(self.open_turns.last().filter(|turn| turn.id.number == self.turns))
    }

    /// The same, to be changed.
    pub fn working_turn_mut(&mut self) -> Option<&mut Turn> {
        let id = self.working_turn()?.id;
        self.open_turns.iter_mut().rfind(|turn| turn.id == id)
    }

    /// All tokens it used, of all kinds and models.
    pub fn tokens_used(&self) -> u64 {
        let sum = |usage: &Usage| usage.tokens.input.saturating_add(usage.tokens.output);
        self.models.iter().map(|row| sum(&row.usage)).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_session_begins_with_its_head() {
        let mut session =
            Session::new(SessionId::new("a"), SourceIx(3), NameId(7), Timestamp::from_micros(1), Timestamp::default());
        session.progress = Progress { cursor: 300, settled: true, mark: Some(Mark(u64::MAX)), ..Progress::default() };
        session.children.push(SessionId::new("b"));
        let stored = postcard::to_stdvec(&session).unwrap();
        let head: SessionHead = postcard::from_bytes(&stored).unwrap();
        assert_eq!(head, session.head());
    }
}
