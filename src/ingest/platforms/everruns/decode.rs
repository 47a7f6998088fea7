//! Bodies of Everruns' API as rows and facts; everything that can be wrong with them ends here.

use bytes::Bytes;
use serde_json::value::RawValue;
use smol_str::SmolStr;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::events::{self, Placed, all_tokens};
use super::wire;
use crate::domain::{COPIED_UNTIL_BORN, Mark, NanoUsd, Row, SessionId, Sighting, Status, Timestamp, Usage, Watch};

/// A body that is not what its endpoint documents; holds nothing of it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);

/// A session in a list; its agent is still to be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The row, whose agent is what the list itself says of it: a name, or nothing.
    pub row: Row,
    /// The platform's id of its agent.
    pub agent_id: Option<SmolStr>,
    /// When it last moved.
    pub updated_at: Option<Timestamp>,
}

/// A page of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// Rows in the body, whether they made sense or not.
    pub len: usize,
    /// Those that did.
    pub rows: Vec<Listed>,
    /// How many there are altogether, where the server says so.
    pub total: Option<u64>,
    /// How many the server gives at once.
    pub limit: Option<u64>,
}

/// A page of agents: ids and names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPage {
    /// Rows in the body.
    pub len: usize,
    /// Those that made sense.
    pub agents: Vec<(SmolStr, SmolStr)>,
    /// How many there are altogether, where the server says so.
    pub total: Option<u64>,
}

fn json<'a, T: serde::Deserialize<'a>>(body: &'a [u8], what: &'static str) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|_| DecodeError(what))
}

/// Reads a page of sessions. A row that makes no sense is left out and shows in `len`.
pub fn list(body: &Bytes) -> Result<ListPage, DecodeError> {
    let page: wire::Page<'_> = json(body, "not a page of sessions")?;
    let rows: Vec<Listed> = page.data.iter().filter_map(|raw| listed(raw)).collect();
    Ok(ListPage { len: page.data.len(), rows, total: page.total, limit: page.limit })
}

/// Reads a page of agents.
pub fn agents(body: &Bytes) -> Result<AgentPage, DecodeError> {
    let page: wire::Page<'_> = json(body, "not a page of agents")?;
    let agent = |raw: &&RawValue| {
        let agent: wire::Agent<'_> = serde_json::from_str(raw.get()).ok()?;
        Some((SmolStr::new(agent.id.0), SmolStr::new(agent.name.0)))
    };
    Ok(AgentPage { len: page.data.len(), agents: page.data.iter().filter_map(agent).collect(), total: page.total })
}

/// Reads the platform's own count of sessions.
pub fn stats(body: &Bytes) -> Result<u64, DecodeError> {
    let stats: wire::Stats = json(body, "not a count of sessions")?;
    Ok(stats.total)
}

/// Reads a page of events, ascending by position, and how many rows had none.
pub fn events(body: &Bytes, received_at: Timestamp) -> Result<(Vec<Placed>, usize), DecodeError> {
    let page: wire::Page<'_> = json(body, "not a page of events")?;
    Ok(events::decode(&page.data, received_at))
}

/// Reads a session on its own: its row, and what it used by kind.
pub fn session(body: &Bytes) -> Result<(Listed, Option<Usage>), DecodeError> {
    const WHAT: &str = "not a session";
    let session: wire::Session<'_> = json(body, WHAT)?;
    let usage = session.usage.map(|sum| {
        let cost = sum.effective_cost_usd.and_then(NanoUsd::from_usd);
        Usage { cost, ..events::used(sum).0 }
    });
    Ok((listed_session(session).ok_or(DecodeError(WHAT))?, usage))
}

fn listed(raw: &RawValue) -> Option<Listed> {
    listed_session(serde_json::from_str(raw.get()).ok()?)
}

fn listed_session(session: wire::Session<'_>) -> Option<Listed> {
    let created_at = Timestamp::parse(&session.created_at.0).ok()?;
    let updated_at = session.updated_at.as_ref().and_then(|text| Timestamp::parse(&text.0).ok());
    let status = status(&session.status.0);
    let since = if status == Status::Started { created_at } else { updated_at.unwrap_or(created_at) };
    let sighting = Sighting { status, since, started_at: None, finished_at: None };
    let tokens = session.usage.map(all_tokens);
    let mark = mark(&session.status.0, updated_at, tokens, session.event_count);
    let agent = session.agent_name.map(|name| SmolStr::new(name.0)).unwrap_or_default();
    let mut row = Row::new(SessionId::new(&session.id.0), agent, created_at, sighting, mark);
    row.watch = watch(status, updated_at.is_some());
    row.born = Some(Status::Started);
    // Where nothing was used there is no sum to compare with.
    row.tokens = tokens;
    row.inherited = match session.forked_from_session_id {
        Some(_) => session.forked_from_sequence.unwrap_or(COPIED_UNTIL_BORN),
        None => 0,
    };
    row.parent = session.parent_session_id.0.map(|id| SessionId::new(&id.0));
    Some(Listed { row, agent_id: session.agent_id.map(|id| SmolStr::new(id.0)), updated_at })
}

/// A status as Everruns writes it, in sessions and in counts.
fn status(text: &str) -> Status {
    match text {
        "started" => Status::Started,
        "active" => Status::Running,
        "idle" => Status::Idle,
        "waitingfortoolresults" | "waiting_for_tool_results" => Status::AwaitingToolResults,
        "paused" => Status::Paused,
        _ => Status::Other,
    }
}

/// A session's row moves when its status or its sums do, not with each event of a turn.
fn watch(status: Status, has_time: bool) -> Watch {
    match status {
        _ if !has_time => Watch::EachRound,
        status if status.is_at_rest() => Watch::AtRest,
        Status::AwaitingToolResults => Watch::OnChange,
        _ => Watch::EachRound,
    }
}

/// Everything in a row that moves when its session does.
fn mark(status: &str, updated_at: Option<Timestamp>, tokens: Option<u64>, events: Option<u64>) -> Mark {
    let mut bytes = Vec::with_capacity(status.len() + 24);
    bytes.extend_from_slice(&updated_at.map_or(i64::MIN, Timestamp::micros).to_le_bytes());
    bytes.extend_from_slice(&tokens.unwrap_or(u64::MAX).to_le_bytes());
    bytes.extend_from_slice(&events.unwrap_or(u64::MAX).to_le_bytes());
    bytes.extend_from_slice(status.as_bytes());
    Mark(xxh3_64(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_another_one_started_says_so() {
        let parent_of = |parent: &str| {
            let row = format!(
                r#"{{"id":"session_2","status":"idle","created_at":"2026-11-22T05:42:40Z","parent_session_id":{parent}}}"#
            );
            let page = list(&Bytes::from(format!(r#"{{"data":[{row}]}}"#))).unwrap();
            page.rows[0].row.parent.clone()
        };
        assert_eq!(parent_of(r#""session_1""#), Some(SessionId::new("session_1")));
        for nothing in ["null", "7", "{}"] {
            assert_eq!(parent_of(nothing), None, "{nothing}");
        }
    }
}
