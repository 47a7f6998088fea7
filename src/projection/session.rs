//! What is known of one session: enough to fold its next fact, and to answer an operator who asks for it.

use serde::{Deserialize, Serialize};

use crate::domain::{CallKey, Mark, ModelUsage, NameId, SessionId, SourceIx, Span, Status, Timestamp, Verdict};

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
    /// The stretch of work it is in.
    pub turn: Option<Turn>,
    /// Turns begun.
    pub turns: u32,

    /// Running totals per model.
    pub models: Vec<ModelUsage<NameId>>,
    /// Running total of steps.
    pub steps: u64,
    /// Child sessions.
    pub children: Vec<SessionId>,
    /// Half-done steps.
    pub loop_state: LoopState,
}

/// The beginning of a [`Session`] as it is stored: all that a start needs of one that is settled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    /// When the session, having ended, was taken up again; `None` in its first run.
    pub reopened_at: Option<Timestamp>,
    /// The stream told an end, which the platform's status has still to confirm.
    pub stream_end: Option<(Status, Timestamp)>,
    /// The end is counted.
    pub ended: bool,
    /// Its running totals may start again from nothing: it was restarted and none was seen since.
    pub totals_may_restart: bool,
}

/// A stretch of work, from activation until the session settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When it began.
    pub began: Timestamp,
    /// The latest verdict given in it.
    pub verdict: Option<Verdict>,
}

/// A tool call whose end was not seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// Tells it from its neighbours; not unique over the session.
    pub key: Option<CallKey>,
    /// Its tool.
    pub tool: NameId,
    /// When it was asked for.
    pub began: Timestamp,
}

/// What connects an event of the agent's loop with the ones before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopState {
    /// Since when the model has been thinking.
    pub asked: Option<Timestamp>,
    /// Times the model took, until the next running total says which model it was.
    pub answered: Vec<Span>,
    /// Tools at work.
    pub calls: Vec<OpenCall>,
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
            stream_status: None,
            started_at: None,
            finished_at: None,
            restarts: 0,
            error: None,
            verdict: None,
            run: Run::default(),
            turn: None,
            turns: 0,
            models: Vec::new(),
            steps: 0,
            children: Vec::new(),
            loop_state: LoopState::default(),
        }
    }

    /// Whether what happened at `at` is counted, or was there before counting began.
    pub fn counts(&self, at: Timestamp) -> bool {
        self.created_at >= self.count_from || at >= self.count_from
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
        let Session { id, source, agent, created_at, count_from, progress, .. } = session;
        assert_eq!(head, SessionHead { id, source, agent, created_at, count_from, progress });
    }
}
