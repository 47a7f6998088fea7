//! From H's bodies to our facts: pure, forgiving in content, exact in positions.

use bytes::Bytes;
use serde_json::value::RawValue;
use smol_str::SmolStr;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::events;
use super::wire;
use crate::domain::{
    ConcurrencyLimit, Ending, Event, Fact, Mark, ModelUsage, NanoUsd, Row, SessionId, Sighting, Status, Timestamp,
    TokenLimit, Tokens, Usage, Verdict, Watch,
};
use crate::ingest::platforms::text::Text;

/// The error codes H documents; what is not among them is `other`.
pub(super) const ERROR_CODES: &[&str] =
    &["environment_error", "no_answer", "answer_validation", "timeout", "insufficient_credit", "internal"];

/// More events than any session has.
const MAX_POSITION: u64 = 1 << 40;

/// A body that is not what it should be. Says which kind of body and nothing of its content.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);

/// A page of a list.
#[derive(Debug, PartialEq)]
pub struct ListPage {
    /// The rows that could be read.
    pub rows: Vec<Row>,
    /// How many rows the page has.
    pub len: usize,
    /// Rows that could not be read.
    pub undecoded: usize,
    /// How many sessions match altogether.
    pub total: u64,
}

/// The answer of `/changes`.
#[derive(Debug, PartialEq)]
pub struct ChangesPage {
    /// The state now, which may be later than the events.
    pub status: Status,
    /// When the session was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Position of the first event, where the server says so.
    pub first_index: Option<u64>,
    /// The events.
    pub events: Vec<Event<SmolStr>>,
}

/// What a status or session document says.
#[derive(Debug, PartialEq)]
pub struct StatusPage {
    /// The state.
    pub status: Status,
    /// The running totals.
    pub totals: Fact<SmolStr>,
    /// Child sessions.
    pub children: Vec<SessionId>,
    /// The end, if it is one.
    pub ending: Option<Ending<SmolStr>>,
    /// When the session was started, if the document says so.
    pub started_at: Option<Timestamp>,
    /// The session that started it, if the document says so.
    pub parent: Option<SessionId>,
}

fn time(text: Option<&Text<'_>>) -> Option<Timestamp> {
    Timestamp::parse(&text?.0).ok()
}

/// A status as H writes it.
pub(super) fn status(text: &str) -> Status {
    Status::from_label(text).unwrap_or(Status::Other)
}

fn json<'a, T: serde::Deserialize<'a>>(body: &'a [u8], what: &'static str) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|_| DecodeError(what))
}

/// Reads a page of sessions. A row that makes no sense is counted and left out.
pub fn list(body: &Bytes) -> Result<ListPage, DecodeError> {
    let page: wire::Page<'_> = json(body, "not a page of sessions")?;
    let rows: Vec<Row> = page.items.iter().filter_map(|raw| row(raw)).collect();
    Ok(ListPage { len: page.items.len(), undecoded: page.items.len() - rows.len(), rows, total: page.total })
}

fn row(raw: &RawValue) -> Option<Row> {
    let summary: wire::Summary<'_> = serde_json::from_str(raw.get()).ok()?;
    let created_at = Timestamp::parse(&summary.created_at).ok()?;
    let started_at = time(summary.started_at.as_ref());
    let finished_at = time(summary.finished_at.as_ref());
    let last_activity = time(summary.last_activity_at.as_ref());
    let status = status(&summary.status);
    let since = match status {
        Status::Queued | Status::Pending if started_at.is_none() => Some(created_at),
        Status::Running => started_at,
        _ if status.is_terminal() => finished_at,
        _ => None,
    };
    let since = since.or(last_activity).or(started_at).unwrap_or(created_at);
    Some(Row {
        id: SessionId::new(&summary.id),
        agent: summary.agent.map(|agent| SmolStr::new(agent.0)).unwrap_or_default(),
        created_at,
        sighting: Sighting { status, since, started_at, finished_at },
        mark: mark(&summary.status, last_activity, started_at, finished_at),
        // Before sessions carried the time of their last activity, only reading them shows whether they moved.
        watch: if last_activity.is_none() && !status.is_terminal() && status != Status::Queued {
            Watch::EachRound
        } else {
            Watch::OnChange
        },
        born: None,
        inherited: 0,
        tokens: None,
        parent: None,
    })
}

/// Everything in a row that moves when its session does.
fn mark(
    status: &str,
    last_activity: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
) -> Mark {
    let mut bytes = Vec::with_capacity(status.len() + 24);
    for time in [last_activity, started_at, finished_at] {
        bytes.extend_from_slice(&time.map_or(i64::MIN, Timestamp::micros).to_le_bytes());
    }
    bytes.extend_from_slice(status.as_bytes());
    Mark(xxh3_64(&bytes))
}

/// Reads the answer of `/changes`. Events without a usable time take the one before them, or `received_at`.
pub fn changes(body: &Bytes, received_at: Timestamp) -> Result<ChangesPage, DecodeError> {
    let page: wire::Changes<'_> = json(body, "not a page of changes")?;
    Ok(ChangesPage {
        status: status(&page.status),
        started_at: time(page.started_at.as_ref()),
        finished_at: time(page.finished_at.as_ref()),
        // No stream reaches such a position: taken at its word it would give up everything that does exist.
        first_index: page.first_index.filter(|index| *index < MAX_POSITION),
        events: events::decode(&page.new_events, received_at),
    })
}

/// Reads a page of `/events`: the events and how many there are altogether.
pub fn history(body: &Bytes, received_at: Timestamp) -> Result<(Vec<Event<SmolStr>>, u64), DecodeError> {
    let page: wire::Page<'_> = json(body, "not a page of events")?;
    Ok((events::decode(&page.items, received_at), page.total))
}

/// Reads `/status`.
pub fn status_document(body: &Bytes) -> Result<StatusPage, DecodeError> {
    Ok(status_page(json(body, "not a session status")?, None, None))
}

/// Reads a session on its own.
pub fn session_document(body: &Bytes) -> Result<StatusPage, DecodeError> {
    let document: wire::SessionDocument<'_> = json(body, "not a session")?;
    let parent = document.request.0.and_then(|request| request.parent_session_id.0);
    let parent = parent.filter(|id| !id.0.is_empty()).map(|id| SessionId::new(&id.0));
    let (started_at, finished_at) = (time(document.started_at.as_ref()), time(document.finished_at.as_ref()));
    Ok(StatusPage { parent, ..status_page(document.status, started_at, finished_at) })
}

fn status_page(
    document: wire::StatusDocument<'_>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
) -> StatusPage {
    let status = status(&document.status);
    let ending = status.is_terminal().then(|| Ending {
        status,
        started_at,
        finished_at,
        error: document.error_code.map(|code| error_code(&code.0)),
        verdict: document.outcome.map(|outcome| Verdict::from_wire(&outcome.0)),
    });
    let models = models(rows(document.usage_per_model));
    let children: Vec<Text<'_>> = rows(document.subagent_session_ids);
    StatusPage {
        status,
        totals: Fact::Totals { steps: document.steps, models },
        children: children.iter().map(|id| SessionId::new(&id.0)).collect(),
        ending,
        started_at,
        parent: None,
    }
}

/// The rows of a list that make sense.
fn rows<'a, T: serde::Deserialize<'a>>(rows: Option<Vec<&'a RawValue>>) -> Vec<T> {
    rows.unwrap_or_default().into_iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect()
}

fn error_code(code: &str) -> SmolStr {
    SmolStr::new_static(ERROR_CODES.iter().find(|known| **known == code).unwrap_or(&"other"))
}

/// Running totals per model, under our convention: H's input already contains what was cached.
pub(super) fn models(rows: Vec<wire::ModelRow<'_>>) -> Vec<ModelUsage<SmolStr>> {
    rows.into_iter()
        .map(|row| ModelUsage {
            model: SmolStr::new(row.name),
            usage: Usage {
                tokens: Tokens {
                    input: row.input_tokens,
                    cached: row.cached_tokens.unwrap_or(0),
                    cache_write: 0,
                    output: row.output_tokens,
                    reasoning: row.reasoning_tokens.unwrap_or(0),
                },
                cost: row.total_cost.and_then(NanoUsd::from_usd),
            },
        })
        .collect()
}

/// Reads the limit on active sessions.
pub fn quota(body: &Bytes) -> Result<ConcurrencyLimit, DecodeError> {
    let quota: wire::Quota<'_> = json(body, "not a quota")?;
    // The scope becomes a label value: a closed set, like every other that we did not choose.
    let scope = if matches!(&*quota.scope, "user" | "org") { SmolStr::new(quota.scope) } else { "other".into() };
    Ok(ConcurrencyLimit { scope, limit: quota.limit, active: quota.active })
}

/// Reads the limit on tokens.
pub fn token_quota(body: &Bytes) -> Result<TokenLimit, DecodeError> {
    let quota: wire::TokenQuota = json(body, "not a token quota")?;
    Ok(TokenLimit { limit: quota.limit, used: quota.used })
}

/// Which query parameter a 422 complains of, from any of the envelopes in use: `size`, `status`, or something else.
pub fn complaint(body: &[u8]) -> Option<&'static str> {
    #[derive(serde::Deserialize)]
    struct Problem {
        #[serde(default)]
        loc: Vec<serde_json::Value>,
    }
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, default)]
        detail: Option<&'a RawValue>,
        #[serde(borrow, default)]
        message: Option<Text<'a>>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let problems: Vec<Problem> =
        envelope.detail.and_then(|detail| serde_json::from_str(detail.get()).ok()).unwrap_or_default();
    let named = |name: &str| {
        problems.iter().any(|problem| problem.loc.iter().any(|part| part.as_str() == Some(name)))
            || envelope.message.as_ref().is_some_and(|message| message.0.contains(&format!("query.{name}")))
    };
    ["size", "status", "created_after", "finished_after", "sort", "limit"].into_iter().find(|name| named(name))
}
