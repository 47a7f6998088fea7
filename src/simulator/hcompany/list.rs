//! `GET /api/v2/sessions`: pages of sessions, filtered and sorted by creation.

use std::sync::Arc;

use serde::Serialize;

use super::documents::{UserMessage, answer_value};
use super::query::Query;
use super::texts;
use crate::simulator::script::{Id, Status};
use crate::simulator::session::Session;
use crate::simulator::timestamp::rfc3339;
use crate::simulator::wire::{Request, Response};
use crate::simulator::world::World;

const OWNERS: [&str; 4] = ["me", "me-in-organization", "organization", "me-or-organization"];
const SORTS: [&str; 2] = ["created_at", "-created_at"];

/// One page of anything.
#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
    total: usize,
    page: i64,
}

#[derive(Serialize)]
struct Summary {
    id: String,
    agent: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_revision: Option<Option<u32>>,
    status: &'static str,
    agent_view_url: Option<String>,
    first_message: UserMessage,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_activity_at: Option<Option<String>>,
    anonymized_at: Option<String>,
}

/// What a caller wants to see. All simulated sessions belong to the caller, so the owner only has to be a valid one.
struct Filter {
    statuses: Vec<String>,
    agents: Vec<String>,
    group: Option<String>,
    parent: Option<String>,
    schedule: Option<Id>,
    search: Option<String>,
    created_before: Option<i64>,
    created_after: Option<i64>,
    finished_before: Option<i64>,
    finished_after: Option<i64>,
}

/// Answers a list request.
pub(super) fn list(world: &World, now: i64, request: &Request) -> Response {
    let mut query = Query::new(&request.query);
    let page = query.int("page", 1, Some(1), None);
    let size = query.int("size", 10, Some(1), Some(100));
    let sort = query.words("sort", "literal_error", &SORTS);
    query.word("owner", &OWNERS);
    let filter = Filter::read(&mut query, world.is_old());
    if let Some(refusal) = query.refusal(world.is_old()) {
        return refusal;
    }
    let ascending = sort.first().is_some_and(|sort| sort == "created_at");
    let skip = (page - 1).saturating_mul(size) as usize;
    let window = Window { skip, size: size as usize };
    let (rows, total) = world.read(now, |sessions| {
        let sessions = filter.created_within(sessions);
        let matching = |session: &&Arc<Session>| filter.matches(world, session, now);
        match (ascending, filter.is_by_creation_only() && world.never_deletes()) {
            (true, true) => (window.of(sessions.iter()), sessions.len()),
            (false, true) => (window.of(sessions.iter().rev()), sessions.len()),
            (true, false) => window.of_counted(sessions.iter().filter(matching)),
            (false, false) => window.of_counted(sessions.iter().rev().filter(matching)),
        }
    });
    let items = rows.iter().map(|session| Summary::of(world, session, now)).collect();
    Response::json(200, &Page { items, total, page })
}

/// The part of a list that one page shows.
struct Window {
    skip: usize,
    size: usize,
}

impl Window {
    /// The page's sessions, found without looking at the others.
    fn of<'a>(&self, all: impl Iterator<Item = &'a Arc<Session>>) -> Vec<Arc<Session>> {
        all.skip(self.skip).take(self.size).cloned().collect()
    }

    /// The page's sessions and the number of all, when only going through them tells how many there are.
    fn of_counted<'a>(&self, all: impl Iterator<Item = &'a Arc<Session>>) -> (Vec<Arc<Session>>, usize) {
        let (mut rows, mut total) = (Vec::new(), 0);
        for session in all {
            if total >= self.skip && rows.len() < self.size {
                rows.push(session.clone());
            }
            total += 1;
        }
        (rows, total)
    }
}

impl Filter {
    fn read(query: &mut Query, is_old: bool) -> Self {
        let known: Vec<&str> =
            Status::ALL.iter().filter(|status| !is_old || !is_newer(**status)).map(|status| status.name()).collect();
        let statuses = query.words("status", "enum", &known);
        let schedule = query.uuid("schedule_id");
        let created_before = query.time("created_before");
        let created_after = query.time("created_after");
        let finished_before = query.time("finished_before");
        let finished_after = query.time("finished_after");
        Self {
            statuses,
            agents: query.texts("agent"),
            group: query.text("group_id").map(str::to_owned),
            parent: query.text("parent_session_id").map(str::to_owned),
            schedule,
            search: query.text("search").map(str::to_lowercase),
            created_before,
            created_after,
            // The older platform does not know these and ignores what it does not know.
            finished_before: finished_before.filter(|_| !is_old),
            finished_after: finished_after.filter(|_| !is_old),
        }
    }

    /// The part of sessions, ascending by creation, that the limits on creation leave.
    fn created_within<'a>(&self, sessions: &'a [Arc<Session>]) -> &'a [Arc<Session>] {
        let until = |limit| sessions.partition_point(|session| session.script.created_at < limit);
        let end = self.created_before.map_or(sessions.len(), until);
        let start = self.created_after.map_or(0, |limit| until(limit.saturating_add(1)));
        &sessions[start.min(end)..end]
    }

    /// Whether it asks for nothing but times of creation.
    fn is_by_creation_only(&self) -> bool {
        let is_free = self.statuses.is_empty() && self.agents.is_empty() && self.schedule.is_none();
        let is_alone = self.group.is_none() && self.parent.is_none() && self.search.is_none();
        is_free && is_alone && self.finished_before.is_none() && self.finished_after.is_none()
    }

    /// Everything but the limits on creation.
    fn matches(&self, world: &World, session: &Session, now: i64) -> bool {
        let script = &session.script;
        if !session.is_visible(now) || self.schedule.is_some() {
            return false;
        }
        if !self.statuses.is_empty() {
            let status = session.status(now).name();
            if !self.statuses.iter().any(|wanted| wanted == status) {
                return false;
            }
        }
        if !self.agents.is_empty() {
            let catalog_id = script.agent.name.filter(|_| !script.agent.inline);
            if !catalog_id.is_some_and(|id| self.agents.iter().any(|wanted| wanted == id)) {
                return false;
            }
        }
        if self.group.is_some() && self.group != script.group.map(group_name) {
            return false;
        }
        if self.parent.is_some() && self.parent != script.parent.map(|id| id.to_string()) {
            return false;
        }
        self.matches_end(session, now) && self.matches_text(world, session, now)
    }

    fn matches_end(&self, session: &Session, now: i64) -> bool {
        if self.finished_before.is_none() && self.finished_after.is_none() {
            return true;
        }
        let Some(finished_at) = session.at(now).finished_at else {
            return false;
        };
        self.finished_before.is_none_or(|limit| finished_at < limit)
            && self.finished_after.is_none_or(|limit| finished_at > limit)
    }

    fn matches_text(&self, world: &World, session: &Session, now: i64) -> bool {
        let Some(wanted) = &self.search else {
            return true;
        };
        let message = texts::first_message(world.options.seed, session.script.key);
        let answer = texts::answer_text(&answer_value(world, session, session.at(now).latest_answer));
        message.to_lowercase().contains(wanted) || answer.to_lowercase().contains(wanted)
    }
}

/// Statuses that the older platform does not have.
fn is_newer(status: Status) -> bool {
    matches!(status, Status::Queued | Status::AwaitingToolResults)
}

/// The group id of a session that is part of a group.
pub(super) fn group_name(number: u32) -> String {
    format!("trip-planning-{number:03}")
}

/// The page of a session on the platform's site; there is none while it is queued.
pub(super) fn view_url(session: &Session, status: Status) -> Option<String> {
    let is_queued = status == Status::Queued;
    (!is_queued).then(|| format!("https://platform.eu.hcompany.ai/agents/sessions/{}", session.script.id))
}

impl Summary {
    fn of(world: &World, session: &Session, now: i64) -> Self {
        let script = &session.script;
        let snapshot = session.at(now);
        let is_old = world.is_old();
        Self {
            id: script.id.to_string(),
            agent: script.agent.name,
            agent_revision: (!is_old).then_some(script.agent.revision),
            status: snapshot.status.name(),
            agent_view_url: view_url(session, snapshot.status),
            first_message: UserMessage::new(texts::first_message(world.options.seed, script.key)),
            created_at: rfc3339(script.created_at),
            started_at: snapshot.started_at.map(rfc3339),
            finished_at: snapshot.finished_at.map(rfc3339),
            last_activity_at: (!is_old).then(|| snapshot.last_activity_at.map(rfc3339)),
            anonymized_at: None,
        }
    }
}
