//! One session: its document, its status, its new and old events.

use serde::Serialize;
use serde_json::{Value, json};

use super::documents::{
    Metrics, NewerStatus, SessionStatus, ToolRequest, UserMessage, agent, answer_value, error_text, metrics,
    tool_requests,
};
use super::list::{group_name, view_url};
use super::query::Query;
use super::stream::type_name;
use super::texts;
use crate::simulator::session::Session;
use crate::simulator::timestamp::{SECOND, rfc3339};
use crate::simulator::wire::{Request, Response, Wait};
use crate::simulator::world::World;
use std::sync::Arc;

/// The longest long poll in seconds; more is refused.
const LONGEST_WAIT: i64 = 60;
const EVENT_SORTS: [&str; 2] = ["timestamp", "-timestamp"];

#[derive(Serialize)]
struct Document {
    id: String,
    request: Value,
    status: SessionStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_revision: Option<Option<u32>>,
    agent_view_url: Option<String>,
    latest_answer: Value,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
}

/// `GET /api/v2/sessions/{id}`.
pub(super) fn document(world: &World, now: i64, session: &Session) -> Response {
    let script = &session.script;
    let snapshot = session.at(now);
    let message = UserMessage::new(texts::first_message(world.options.seed, script.key));
    let request = json!({
        "agent": agent(session),
        "messages": [message],
        "max_steps": null,
        "max_time_s": null,
        "idle_timeout_s": null,
        "timezone": null,
        "delete_after_min": 43_200,
        "delete_screenshot_after_min": 43_200,
        "queue": true,
        "group_id": script.group.map(group_name),
        "parent_session_id": script.parent.map(|id| id.to_string()),
        "agent_artifact": null,
        "overrides": {},
    });
    let document = Document {
        id: script.id.to_string(),
        request,
        status: SessionStatus::of(world, session, &snapshot, now),
        agent_revision: (!world.is_old()).then_some(script.agent.revision),
        agent_view_url: view_url(session, snapshot.status),
        latest_answer: answer_value(world, session, snapshot.latest_answer),
        created_at: rfc3339(script.created_at),
        started_at: snapshot.started_at.map(rfc3339),
        finished_at: snapshot.finished_at.map(rfc3339),
    };
    Response::json(200, &document)
}

/// `GET /api/v2/sessions/{id}/status`.
pub(super) fn status(world: &World, now: i64, session: &Session) -> Response {
    let snapshot = session.at(now);
    Response::json(200, &SessionStatus::of(world, session, &snapshot, now))
}

/// What a batch of changes says besides its events, which are spliced in as they were rendered.
#[derive(Serialize)]
struct ChangesHead {
    status: &'static str,
    started_at: Option<String>,
    finished_at: Option<String>,
    error: Option<&'static str>,
}

#[derive(Serialize)]
struct ChangesTail {
    #[serde(skip_serializing_if = "Option::is_none")]
    first_index: Option<usize>,
    #[serde(flatten)]
    newer: Option<NewerStatus>,
    answer: Value,
    metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_tool_calls: Option<Vec<ToolRequest>>,
}

/// The parameters of a request for changes.
pub(super) struct ChangesQuery {
    from_index: i64,
    limit: i64,
    include_events: bool,
    wait_for_seconds: i64,
}

impl ChangesQuery {
    pub(super) fn read(query: &mut Query) -> Self {
        Self {
            from_index: query.int("from_index", 0, None, None).max(0),
            limit: query.int("limit", i64::MAX, Some(0), None),
            include_events: query.flag("include_events", true),
            wait_for_seconds: query.int("wait_for_seconds", 0, Some(0), Some(LONGEST_WAIT)),
        }
    }
}

/// `GET /api/v2/sessions/{id}/changes`.
pub(super) fn changes(world: &World, now: i64, session: &Arc<Session>, query: &ChangesQuery) -> Response {
    let snapshot = session.at(now);
    let from_index = query.from_index as usize;
    if from_index >= snapshot.events {
        let mut nothing = Response::empty(204).with("etag", query.from_index.to_string());
        if query.wait_for_seconds > 0 {
            nothing.wait = Some(Wait {
                deadline_us: now + query.wait_for_seconds * SECOND,
                next_event_us: session.script.events.get(snapshot.events).map(|event| event.at),
            });
        }
        return nothing;
    }
    let is_old = world.is_old();
    let oldest_kept = match world.options.evict_after {
        0 => 0,
        kept => snapshot.events.saturating_sub(kept),
    };
    let first = from_index.max(oldest_kept);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let last = if query.include_events { first.saturating_add(limit).min(snapshot.events) } else { first };
    let head = ChangesHead {
        status: snapshot.status.name(),
        started_at: snapshot.started_at.map(rfc3339),
        finished_at: snapshot.finished_at.map(rfc3339),
        error: snapshot.error.map(error_text),
    };
    let tail = ChangesTail {
        first_index: (!is_old).then_some(first),
        newer: (!is_old).then(|| NewerStatus::of(&snapshot)),
        answer: answer_value(world, session, snapshot.answer),
        metrics: metrics(&session.totals(&snapshot), is_old),
        pending_tool_calls: (!is_old).then(|| tool_requests(snapshot.pending_calls)),
    };
    let stream = world.stream(session);
    Response::body(200, "application/json", splice(&head, "new_events", stream.slice(first, last), &tail))
}

/// `GET /api/v2/sessions/{id}/events`: complete, whatever was evicted from the changes.
pub(super) fn events(world: &World, now: i64, session: &Arc<Session>, query: &EventsQuery) -> Response {
    let snapshot = session.at(now);
    let stream = world.stream(session);
    let size = query.size as usize;
    let skip = (query.page - 1).saturating_mul(query.size) as usize;
    let mut items = Vec::new();
    let total = match &query.kind {
        None if !query.descending => {
            let from = skip.min(snapshot.events);
            items.extend_from_slice(stream.slice(from, (from + size).min(snapshot.events)));
            snapshot.events
        }
        kind => {
            let wanted =
                |index: &usize| kind.as_ref().is_none_or(|kind| type_name(&session.script.events[*index].what) == kind);
            let mut matching: Vec<usize> = (0..snapshot.events).filter(wanted).collect();
            if query.descending {
                matching.reverse();
            }
            for index in matching.iter().skip(skip).take(size) {
                if !items.is_empty() {
                    items.push(b',');
                }
                items.extend_from_slice(stream.slice(*index, index + 1));
            }
            matching.len()
        }
    };
    let tail = json!({ "total": total, "page": query.page });
    Response::body(200, "application/json", splice(&json!({}), "items", &items, &tail))
}

/// The parameters of a request for past events.
pub(super) struct EventsQuery {
    page: i64,
    size: i64,
    descending: bool,
    kind: Option<String>,
}

impl EventsQuery {
    pub(super) fn read(query: &mut Query) -> Self {
        let page = query.int("page", 1, Some(1), None);
        let size = query.int("size", 50, Some(1), Some(200));
        let sort = query.words("sort", "literal_error", &EVENT_SORTS);
        Self {
            page,
            size,
            descending: sort.first().is_some_and(|sort| sort == "-timestamp"),
            kind: query.text("type").map(str::to_owned),
        }
    }
}

/// Parses the path's id and the query, finds the session, and answers by `then`; errors in the platform's order.
pub(super) fn with_session<Q>(
    world: &World,
    now: i64,
    request: &Request,
    id: &str,
    read: impl FnOnce(&mut Query) -> Q,
    then: impl FnOnce(&Arc<Session>, Q) -> Response,
) -> Response {
    let mut query = Query::new(&request.query);
    let id = query.path_id(id);
    let parameters = read(&mut query);
    if let Some(refusal) = query.refusal(world.is_old()) {
        return refusal;
    }
    let session = id.and_then(|id| world.session(now, id));
    match session {
        Some(session) => then(&session, parameters),
        None => super::errors::plain(404, "Session not found", world.is_old()),
    }
}

/// Joins two JSON objects around an array of rendered items.
fn splice(head: &impl Serialize, name: &str, items: &[u8], tail: &impl Serialize) -> Vec<u8> {
    const INFALLIBLE: &str = "writing JSON to memory cannot fail";
    let mut body = Vec::with_capacity(items.len() + 2_048);
    serde_json::to_writer(&mut body, head).expect(INFALLIBLE);
    body.pop();
    if body.len() > 1 {
        body.push(b',');
    }
    body.push(b'"');
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(b"\":[");
    body.extend_from_slice(items);
    body.extend_from_slice(b"],");
    let rest = serde_json::to_vec(tail).expect(INFALLIBLE);
    body.extend_from_slice(&rest[1..]);
    body
}
