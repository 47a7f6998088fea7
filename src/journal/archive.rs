//! Answers an operator's questions about single sessions from the store: which failed, and what happened in one.

use std::collections::VecDeque;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::describe::describe;
use super::record::decode_entry;
use super::tables::{LOG, NAMES, SESSIONS, SOURCES};
use super::{Journal, JournalError};
use crate::domain::{NameId, SessionNo, SpanNames, Status, Timestamp, TraceId};
use crate::projection::{Session, SourceRecord};

/// Which sessions to list; everything that is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// One of these statuses.
    pub statuses: Vec<Status>,
    /// This agent, as its label says.
    pub agent: Option<String>,
    /// This source.
    pub source: Option<String>,
    /// Something happened since then.
    pub since: Option<Timestamp>,
    /// At most so many, the newest first.
    pub limit: usize,
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionLine {
    /// Its id on the platform.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its agent.
    pub agent: String,
    /// Where it stands.
    pub status: String,
    /// Its latest error code.
    pub error: Option<String>,
    /// The agent's latest verdict.
    pub verdict: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub finished_at: Option<String>,
    /// Started to finished, in seconds.
    pub duration_seconds: Option<f64>,
    /// Turns begun.
    pub turns: u32,
    /// How often it was taken up again.
    pub restarts: u32,
    /// Steps taken.
    pub steps: u64,
    /// Prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Cost in US dollars, as far as models are priced.
    pub cost_usd: Option<f64>,
    /// Child sessions.
    pub children: Vec<String>,
    /// The session that started it.
    #[serde(default)]
    pub parent: Option<String>,
    /// The trace of the turn that it is in, or was in last; whether it was sent anywhere is another matter.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// Whether the platform has deleted it.
    pub gone: bool,
}

/// A line of a session's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineRow {
    /// RFC 3339.
    pub at: String,
    /// What happened, in words; never content.
    pub what: String,
}

/// A session and what happened in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionDetail {
    /// The session.
    pub session: SessionLine,
    /// Its facts in the order in which they happened; of a long life the latest.
    pub timeline: Vec<TimelineRow>,
    /// So many earlier ones are left out.
    #[serde(default)]
    pub left_out: u64,
}

/// Facts told of one session at most: what is asked for by one request has to fit into memory.
const MOST_ROWS: usize = 10_000;

/// A reader of one journal. Reads do not disturb the writer, nor the writer them.
#[derive(Clone, Debug)]
pub struct Archive {
    journal: Journal,
}

struct Texts {
    names: Vec<String>,
    sources: Vec<SourceRecord>,
}

impl Archive {
    /// Over an open journal.
    pub fn new(journal: Journal) -> Self {
        Self { journal }
    }

    /// The sessions that the filter lets through, the last discovered first.
    pub fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionLine>, JournalError> {
        let texts = self.texts()?;
        let transaction = self.journal.begin_read()?;
        let mut lines = Vec::new();
        for row in transaction.open_table(SESSIONS)?.iter()?.rev() {
            if lines.len() >= filter.limit {
                break;
            }
            let session: Session = postcard::from_bytes(row?.1.value())?;
            let last = session.progress.newest.max(session.created_at).max(session.finished_at.unwrap_or_default());
            // On platforms whose sessions do not end, one whose last turn failed is what is looked for.
            let status =
                if session.error.is_some() && session.status.is_at_rest() { Status::Failed } else { session.status };
            let wanted = (filter.statuses.is_empty()
                || filter.statuses.contains(&session.status)
                || filter.statuses.contains(&status))
                && filter.since.is_none_or(|since| last >= since)
                && filter.agent.as_deref().is_none_or(|agent| agent == texts.name(session.agent))
                && filter.source.as_deref().is_none_or(|source| source == texts.source(&session));
            if wanted {
                lines.push(texts.line(&session));
            }
        }
        Ok(lines)
    }

    /// The session with this id, whichever source it is of.
    pub fn session(&self, id: &str) -> Result<Option<SessionDetail>, JournalError> {
        let texts = self.texts()?;
        let transaction = self.journal.begin_read()?;
        let wanted = crate::domain::SessionId::new(id);
        for row in transaction.open_table(SESSIONS)?.iter()?.rev() {
            let (no, record) = row?;
            let session: Session = postcard::from_bytes(record.value())?;
            if session.id != wanted {
                continue;
            }
            let no = no.value();
            let mut timeline = VecDeque::new();
            let mut left_out = 0;
            for row in transaction.open_table(LOG)?.range((no, 0)..=(no, u32::MAX))? {
                let (key, bytes) = row?;
                let entry = decode_entry(SessionNo(no), key.value().1, bytes.value())?;
                timeline
                    .extend(entry.events.iter().map(|event| (event.at, describe(&event.fact, &|id| texts.name(id)))));
                let too_many = timeline.len().saturating_sub(MOST_ROWS);
                timeline.drain(..too_many);
                left_out += too_many as u64;
            }
            let mut timeline = Vec::from(timeline);
            // What was learnt late stands where it happened; what happened at once, in the order in which it was learnt.
            timeline.sort_by_key(|(at, _)| *at);
            let timeline = timeline.into_iter().map(|(at, what)| TimelineRow { at: at.to_string(), what }).collect();
            return Ok(Some(SessionDetail { session: texts.line(&session), timeline, left_out }));
        }
        Ok(None)
    }

    fn texts(&self) -> Result<Texts, JournalError> {
        let transaction = self.journal.begin_read()?;
        let mut texts = Texts { names: Vec::new(), sources: Vec::new() };
        for row in transaction.open_table(NAMES)?.iter()? {
            texts.names.push(row?.1.value().to_owned());
        }
        for row in transaction.open_table(SOURCES)?.iter()? {
            let record: SourceRecord = postcard::from_bytes(row?.1.value())?;
            texts.sources.push(record);
        }
        Ok(texts)
    }
}

impl Texts {
    fn name(&self, id: NameId) -> &str {
        self.names.get(id.0 as usize).map_or("?", String::as_str)
    }

    fn source(&self, session: &Session) -> &str {
        self.sources.get(session.source.0 as usize).map_or("?", |record| record.name.as_str())
    }

    fn trace(&self, session: &Session) -> Option<TraceId> {
        let record = self.sources.get(session.source.0 as usize)?;
        let turn = session.turn().map(|turn| turn.id).or(session.past_turns.last().map(|past| past.id))?;
        Some(turn.context(SpanNames::new(&record.platform, &record.account, &session.id)).trace)
    }

    fn line(&self, session: &Session) -> SessionLine {
        let sum = |pick: fn(&crate::domain::Tokens) -> u64| {
            session.models.iter().map(|row| pick(&row.usage.tokens)).sum::<u64>()
        };
        let costs: Vec<u64> = session.models.iter().filter_map(|row| Some(row.usage.cost?.0)).collect();
        let duration = session.finished_at.zip(session.started_at).and_then(|(to, from)| to.since(from));
        SessionLine {
            id: session.id.to_string(),
            source: self.source(session).to_owned(),
            agent: self.name(session.agent).to_owned(),
            status: session.status.to_string(),
            error: session.error.map(|error| self.name(error).to_owned()),
            verdict: session.verdict.map(|verdict| verdict.as_str().to_owned()),
            created_at: session.created_at.to_string(),
            // Where the platform does not say, its first turn is what started it.
            started_at: session.started_at.or(session.run.began).map(|at| at.to_string()),
            finished_at: session.finished_at.map(|at| at.to_string()),
            duration_seconds: duration.map(crate::domain::Span::seconds),
            turns: session.turns,
            restarts: session.restarts,
            steps: session.steps,
            input_tokens: sum(|tokens| tokens.input),
            output_tokens: sum(|tokens| tokens.output),
            cost_usd: (!costs.is_empty()).then(|| costs.iter().sum::<u64>() as f64 / 1e9),
            children: session.children.iter().map(ToString::to_string).collect(),
            parent: session.parent.as_ref().map(ToString::to_string),
            trace_id: self.trace(session).map(|trace| trace.to_string()),
            gone: session.progress.gone,
        }
    }
}
