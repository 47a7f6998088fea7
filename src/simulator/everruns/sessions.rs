//! Sessions as documents, one by one and in pages, and the list of agents.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cast::{AGENTS, TOOLS, ToolCall};
use super::era::Era;
use super::events;
use super::ids::Id;
use super::query::Query;
use super::render::{agent_id, call_id};
use super::script::{Script, Status, What};
use super::texts;
use super::wire::{clean, moment, sum};
use super::world::World;
use crate::simulator::random::{Dice, mix};
use crate::simulator::wire::{Request, Response};

const SOURCES: [&str; 12] =
    ["chat", "playground", "api", "slack", "ag_ui", "fcp", "schedule", "webhook", "a2a", "eval", "subagent", "unknown"];
const ACTIVITIES: [&str; 5] = ["running", "paused", "failed", "completed", "idle"];
const ORDERS: [&str; 2] = ["created_at", "last_activity"];

/// The one organization.
pub(super) fn organization(world: &World) -> String {
    let seed = world.options.seed;
    let value = (u128::from(mix(seed, 0, 0, "organization")) << 64) | u128::from(mix(seed, 1, 0, "organization"));
    format!("org_{value:032x}")
}

/// What a caller wants to see.
struct Filter {
    agent: Option<String>,
    search: Option<String>,
    sources: Vec<String>,
    activities: Vec<String>,
    include_archived: bool,
    archived_only: bool,
    created_after: Option<i64>,
    created_before: Option<i64>,
    by_activity: bool,
}

impl Filter {
    /// Older generations ignore what they do not know.
    fn read(era: Era, query: &Query) -> Result<Self, Response> {
        let mut filter = Self {
            agent: query.text("agent_id").map(str::to_owned),
            search: query.text("search").filter(|_| era >= Era::D3).map(str::to_lowercase),
            sources: Vec::new(),
            activities: Vec::new(),
            include_archived: true,
            archived_only: false,
            created_after: None,
            created_before: None,
            by_activity: false,
        };
        if era >= Era::D4 {
            filter.sources = query.words("source", &SOURCES)?;
            filter.activities = query.words("status", &ACTIVITIES)?;
            filter.include_archived = query.flag("include_archived")?;
            filter.archived_only = query.flag("archived_only")?;
            filter.created_after = query.time("created_after")?;
            filter.created_before = query.time("created_before")?;
            filter.by_activity = query.words("order", &ORDERS)?.iter().any(|order| order == "last_activity");
        }
        Ok(filter)
    }

    fn matches(&self, world: &World, script: &Script, now: i64) -> bool {
        let is_archived = script.is_archived(now);
        let is_wanted = if self.archived_only { is_archived } else { self.include_archived || !is_archived };
        script.is_visible(now)
            && is_wanted
            && self.created_after.is_none_or(|limit| script.created_at >= limit)
            && self.created_before.is_none_or(|limit| script.created_at < limit)
            && (self.sources.is_empty() || self.sources.iter().any(|source| source == script.source))
            && (self.activities.is_empty() || self.activities.iter().any(|wanted| wanted == activity(script, now)))
            && self.agent.as_ref().is_none_or(|wanted| agent(world, script).as_ref() == Some(wanted))
            && self
                .search
                .as_ref()
                .is_none_or(|wanted| title(world, script).is_some_and(|title| title.to_lowercase().contains(wanted)))
    }
}

/// `GET /v1/sessions`, or the list below an agent.
pub(super) fn list(world: &World, now: i64, request: &Request, below: Option<&str>) -> Response {
    match page(world, now, request, below) {
        Ok(response) | Err(response) => response,
    }
}

fn page(world: &World, now: i64, request: &Request, below: Option<&str>) -> Result<Response, Response> {
    let query = Query::new(world.era, &request.query);
    let mut filter = Filter::read(world.era, &query)?;
    if let Some(agent) = below {
        filter.agent = Some(agent.to_owned());
    }
    let window = Window::read(world.era, &query)?;
    let (rows, total) = world.read(now, |sessions| {
        let mut found: Vec<Arc<Script>> =
            sessions.iter().rev().filter(|s| filter.matches(world, s, now)).cloned().collect();
        if filter.by_activity {
            found.sort_by_key(|script| std::cmp::Reverse(script.updated_at(now)));
        }
        let total = found.len();
        (window.cut(found), total)
    });
    let rows: Vec<_> = rows.iter().map(|script| world.row(script, now, || row(world, script, now))).collect();
    Ok(window.envelope(world, &rows, total, "sessions"))
}

/// The part of a list that one page shows.
struct Window {
    offset: usize,
    limit: usize,
    is_paged: bool,
}

impl Window {
    fn read(era: Era, query: &Query) -> Result<Self, Response> {
        if era == Era::D0 {
            return Ok(Self { offset: 0, limit: usize::MAX, is_paged: false });
        }
        let offset = query.int::<u32>("offset")?.unwrap_or(0) as usize;
        let limit = query.int::<u32>("limit")?.unwrap_or(20).min(100) as usize;
        Ok(Self { offset, limit, is_paged: true })
    }

    fn cut<T>(&self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.offset).take(self.limit).collect()
    }

    fn envelope(&self, world: &World, rows: &[Arc<RawValue>], total: usize, path: &str) -> Response {
        let rows = rows.iter().map(AsRef::as_ref).collect();
        let mut page = Page { data: rows, total: None, offset: None, limit: None, next_url: None, prev_url: None };
        if self.is_paged {
            (page.total, page.offset, page.limit) = (Some(total), Some(self.offset), Some(self.limit));
        }
        if world.era >= Era::D3 && self.limit > 0 {
            // Built from a host that the caller may not know: behind a proxy these lead elsewhere.
            let link =
                |offset: usize| format!("https://everruns.invalid/api/v1/{path}?offset={offset}&limit={}", self.limit);
            page.next_url = (self.offset + self.limit < total).then(|| link(self.offset + self.limit));
            page.prev_url = (self.offset > 0).then(|| link(self.offset.saturating_sub(self.limit)));
        }
        Response::json(200, &page)
    }
}

/// A page of a list; the oldest generation has nothing but the rows.
#[derive(Serialize)]
struct Page<'a> {
    data: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_url: Option<String>,
}

/// A document as it goes over the wire.
pub(super) fn raw(document: &Value) -> Arc<RawValue> {
    serde_json::value::to_raw_value(document).expect("documents have string keys and no fallible serializers").into()
}

/// The agent's id as sessions say it.
fn agent(world: &World, script: &Script) -> Option<String> {
    script.agent.map(|agent| agent_id(world.options.seed, agent).show(world.era, "agent"))
}

/// What the session is called, if it is called anything.
fn title(world: &World, script: &Script) -> Option<String> {
    let mut dice = Dice::new(world.options.seed, script.number, 0, "title");
    dice.chance(0.8).then(|| texts::wish(&mut dice))
}

/// The status as the wire says it: the single binary does not know sessions that only started.
fn status(world: &World, script: &Script, now: i64) -> &'static str {
    match script.status(now) {
        Status::Started if world.era == Era::Serve => Status::Idle.name(),
        status => status.name(),
    }
}

/// What a session is about, derived from its status and its last finished turn.
fn activity(script: &Script, now: i64) -> &'static str {
    match (script.status(now), script.last_end(now)) {
        (Status::Active | Status::Waiting, _) => "running",
        (Status::Paused, _) => "paused",
        (_, Some(false)) => "failed",
        (_, Some(true)) => "completed",
        (_, None) => "idle",
    }
}

/// A session in a list, and for servers also alone.
fn row(world: &World, script: &Script, now: i64) -> Value {
    let era = world.era;
    let mut dice = Dice::new(world.options.seed, script.number, 0, "row");
    let at = |time: i64| moment(era, time);
    let mut row = json!({
        "id": script.id.show(era, "session"),
        "agent_id": agent(world, script),
        "status": status(world, script, now),
        "title": title(world, script),
        "tags": if dice.chance(0.4) { vec![texts::mark(&mut dice)] } else { vec![] },
        "created_at": at(script.created_at),
    });
    if era >= Era::D1 {
        row["updated_at"] = json!(at(script.updated_at(now)));
        row["usage"] = script.usage(now).map_or(Value::Null, |usage| sum(era, &usage));
        let begun = script.statuses.iter().find(|(at, status)| *status == Status::Active && *at <= now);
        row["started_at"] = json!(begun.map(|(time, _)| at(*time)));
    }
    if era >= Era::D2 {
        row["organization_id"] = json!(organization(world));
    }
    if era >= Era::D3 {
        let id = |purpose: &str| Id::new(world.options.seed, script.number, 0, purpose, script.created_at);
        let person =
            json!({ "name": texts::mark(&mut dice), "email": format!("{}@example.org", texts::mark(&mut dice)) });
        row["harness_id"] = json!(id("harness").show(era, "harness"));
        row["workspace_id"] = json!(id("workspace").show(era, "wsp"));
        row["owner_principal_id"] = json!(id("principal").show(era, "principal"));
        row["owner"] = person.clone();
        row["effective_owner"] = person;
        row["is_pinned"] = json!(false);
        row["system_prompt"] = json!(dice.chance(0.2).then(|| texts::wish(&mut dice)));
        let has_turn = row["started_at"].is_string();
        row["preview"] = json!(has_turn.then(|| texts::wish(&mut dice)));
        row["output_preview"] = json!(script.last_end(now).map(|_| texts::answer(&mut dice)));
        row["self_url"] = json!(format!("https://everruns.invalid/api/v1/sessions/{}", script.id.show(era, "session")));
        row["allowed_actions"] = json!(["read", "delete"]);
        row["parent_session_id"] = json!(script.parent.map(|parent| parent.show(era, "session")));
        if let Some(origin) = script.forked_from {
            row["forked_from_session_id"] = json!(origin.id.show(era, "session"));
            row["forked_from_sequence"] = json!(origin.sequence);
        }
    }
    if era >= Era::D4 {
        row["activity"] = json!(activity(script, now));
        row["source"] = json!(script.source);
        row["archived_at"] = json!(script.archived_at.filter(|at| *at <= now).map(at));
        let events = events::count(world, script, now);
        row["event_count"] = json!((events > 0).then_some(events));
        row["run_summary"] = json!(script.last_end(now).map(|_| texts::answer(&mut dice)));
    }
    clean(row)
}

/// `GET …/sessions/{id}`.
pub(super) fn document(world: &World, now: i64, script: &Script) -> Response {
    if world.era != Era::Serve {
        return Response::json(200, &row(world, script, now));
    }
    // The single binary has another, smaller document, with explicit nulls and names for ids.
    let name = script.agent.map_or("", |agent| AGENTS[agent].name);
    let is_open = !matches!(script.status(now), Status::Started | Status::Idle);
    let turn = script.events.iter().rfind(|event| event.what == What::TurnStarted && event.at <= now);
    let number = turn.and_then(|event| event.turn).unwrap_or(0);
    let turn_id = Id::new(world.options.seed, script.number, number, "turn", script.created_at);
    let asked = script.events.iter().rev().filter(|event| event.at <= now).find_map(|event| match event.what {
        What::CallRequested(call) if script.status(now) == Status::Waiting => Some(call),
        _ => None,
    });
    let describe = |call: ToolCall| json!({ "tool_call_id": call_id(call), "tool_name": TOOLS[call.tool], "arguments": texts::arguments(call) });
    let pending: Vec<Value> = asked.into_iter().map(describe).collect();
    let body = json!({
        "id": script.id.show(world.era, "session"),
        "organization_id": organization(world),
        "agent_id": name,
        "agent_name": name,
        "harness_id": Id::new(world.options.seed, script.number, 0, "harness", script.created_at).show(world.era, "harness"),
        "build_id": format!("{:064x}", script.id.0),
        "status": status(world, script, now),
        "title": title(world, script).unwrap_or_default(),
        "tags": [texts::PRIVATE[0]],
        "created_at": moment(world.era, script.created_at),
        "updated_at": moment(world.era, script.updated_at(now)),
        "turn_id": is_open.then(|| turn_id.show(world.era, "turn")),
        "suspension_reason": null,
        "pending_approvals": pending,
        "pending_questions": [],
    });
    Response::json(200, &body)
}

/// `GET /v1/sessions/stats`: archived sessions count, and words are separated by underscores.
pub(super) fn stats(world: &World, now: i64) -> Response {
    let statuses: Vec<Status> = world.read(now, |sessions| {
        sessions.iter().filter(|script| script.is_visible(now)).map(|script| script.status(now)).collect()
    });
    let count = |wanted: Status| statuses.iter().filter(|status| **status == wanted).count();
    Response::json(
        200,
        &json!({
            "total": statuses.len(),
            "active": count(Status::Active),
            "idle": count(Status::Idle),
            "started": count(Status::Started),
            "waiting_for_tool_results": count(Status::Waiting),
        }),
    )
}

/// `GET /v1/agents`.
pub(super) fn agents(world: &World, request: &Request) -> Response {
    let query = Query::new(world.era, &request.query);
    let window = match Window::read(world.era, &query) {
        Ok(window) => window,
        Err(refusal) => return refusal,
    };
    let made_at = moment(world.era, 1_760_000_000_000_000);
    let describe = |(index, agent): (usize, &super::cast::Agent)| {
        raw(&json!({
            "id": agent_id(world.options.seed, index).show(world.era, "agent"),
            "name": agent.name,
            "system_prompt": format!("You are careful. {}", texts::PRIVATE[0]),
            "tags": [],
            "capabilities": [],
            "status": "active",
            "created_at": made_at,
            "updated_at": made_at,
        }))
    };
    let rows = window.cut(AGENTS.iter().enumerate().map(describe).collect());
    window.envelope(world, &rows, AGENTS.len(), "agents")
}
