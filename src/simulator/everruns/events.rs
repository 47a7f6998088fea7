//! `GET …/sessions/{id}/events`: cursors, filters and limits, each generation with its own traps.

use super::era::Era;
use super::ids::Id;
use super::query::Query;
use super::script::{Script, What};
use super::stream::Stream;
use super::world::World;
use crate::simulator::timestamp::seconds;
use crate::simulator::wire::{Request, Response};
use serde_json::json;
use std::collections::BTreeMap;

/// The most events of one page, and the default of paging forward.
const LONGEST_PAGE: usize = 1_000;

/// What newer servers accept as a filter; everything else is refused.
const TYPES: &[&str] = &[
    "session.started",
    "session.activated",
    "session.idled",
    "session.title.updated",
    "session.model.changed",
    "input.message",
    "output.message.started",
    "output.message.delta",
    "output.message.completed",
    "output.message.replaced",
    "conversation.message",
    "turn.started",
    "turn.completed",
    "turn.failed",
    "turn.sealed",
    "turn.cancelled",
    "reason.started",
    "reason.completed",
    "reason.recovered",
    "reason.thinking.started",
    "reason.thinking.delta",
    "reason.thinking.completed",
    "reason.item",
    "act.started",
    "act.completed",
    "tool.started",
    "tool.completed",
    "tool.progress",
    "tool.output.delta",
    "tool.call_requested",
    "tool.call_repaired",
    "tool.hosted_call",
    "tool.nested_call",
    "transcript.repaired",
    "llm.generation",
    "capability.usage",
    "budget.warning",
    "budget.paused",
    "budget.exhausted",
    "budget.resumed",
    "context.compacting",
    "context.compacted",
    "context.compaction.skipped",
    "context.compaction.failed",
    "timer.set",
    "timer.fired",
    "timer.cancelled",
    "dreaming.activity",
    "sandbox.instance_lost",
    "sandbox.recovered",
    "file.written",
    "voice.session.started",
    "voice.session.ended",
    "voice.session.failed",
    "voice.input_transcript.completed",
    "voice.output_transcript.completed",
    "voice.output.interrupted",
];

/// What a caller wants, as far as the generation understands it.
#[derive(Default)]
struct Wish {
    since: Option<String>,
    after: Option<i64>,
    before: Option<i64>,
    limit: Option<usize>,
    types: Vec<String>,
    exclude: Vec<String>,
}

/// Answers a request for events.
pub(super) fn list(world: &World, now: i64, script: &Script, request: &Request) -> Response {
    let stream = world.stream(script);
    match Wish::read(world.era, &request.query) {
        Ok(wish) => View { world, script, stream: &stream, now }.answer(&wish),
        Err(refusal) => refusal,
    }
}

impl Wish {
    fn read(era: Era, raw: &str) -> Result<Self, Response> {
        let query = Query::new(era, raw);
        let since = query.text("since_id").map(str::to_owned);
        if let Some(since) = &since {
            let is_readable = Id::read(era, "event", since).is_some();
            if !is_readable && era == Era::D0 {
                return Err(query.bad("Failed to deserialize query string: UUID parsing failed: invalid character"));
            }
            if !is_readable && era == Era::Serve {
                return Err(query.bad(&format!("invalid since_id \"{since}\"")));
            }
        }
        let owned = |name: &str| query.texts(name).into_iter().map(str::to_owned).collect::<Vec<_>>();
        let mut wish = Self { since, ..Self::default() };
        if era >= Era::D2 {
            wish.types = owned("types");
            wish.exclude = owned("exclude");
        }
        if !era.is_rich() {
            return Ok(wish);
        }
        wish.after = query.int::<i32>("after_sequence")?.map(i64::from);
        wish.before = query.int::<i32>("before_sequence")?.map(i64::from);
        if let Some(limit) = query.int::<i64>("limit")? {
            let limit = usize::try_from(limit).unwrap_or(0);
            if !(1..=LONGEST_PAGE).contains(&limit) {
                return Err(query.bad("limit must be between 1 and 1000"));
            }
            wish.limit = Some(limit);
        }
        if wish.after.is_some() && wish.since.is_some() {
            return Err(query.bad("since_id and after_sequence are mutually exclusive"));
        }
        let goes_forward = wish.after.is_some() || wish.since.is_some();
        if goes_forward && wish.before.is_some() {
            return Err(query.bad("forward and backward cursors are mutually exclusive"));
        }
        if era != Era::Serve {
            let asked = wish.types.iter().chain(&wish.exclude);
            if let Some(unknown) = asked.clone().find(|kind| !TYPES.contains(&kind.as_str())) {
                return Err(query.bad(&format!("unknown event type: {unknown}")));
            }
            if wish.before.is_some() && wish.limit.is_none() {
                return Err(query.bad("before_sequence requires limit"));
            }
        }
        Ok(wish)
    }
}

/// One session's events at one moment.
struct View<'a> {
    world: &'a World,
    script: &'a Script,
    stream: &'a Stream,
    now: i64,
}

impl View<'_> {
    fn answer(&self, wish: &Wish) -> Response {
        let era = self.world.era;
        let cap = self.world.options.everruns.event_cap;
        let Some(since) = self.since(wish) else {
            if era == Era::Serve {
                return super::errors::plain(era, 400, "event cursor does not belong to this session");
            }
            return self.page(wish, &[]);
        };
        let after = wish.after.or(since).unwrap_or(i64::MIN);
        let mut chosen = match era {
            // With a limit the plain path looks back from the end and forgets about the cursor.
            Era::D3 | Era::D4 if wish.after.is_none() && wish.limit.is_some() => self.select(wish, i64::MIN),
            _ => self.select(wish, after),
        };
        match (era, wish.limit) {
            (Era::D0 | Era::D1, _) => {}
            (Era::Serve, Some(limit)) => keep_last(&mut chosen, limit),
            (Era::Serve, None) => {}
            (Era::D3 | Era::D4, limit) if wish.after.is_some() => chosen.truncate(limit.unwrap_or(LONGEST_PAGE)),
            (Era::D3 | Era::D4, Some(limit)) => {
                let all = chosen.clone();
                keep_last(&mut chosen, limit);
                if wish.before.is_some() {
                    self.snap_back(&all, &mut chosen);
                }
            }
            (_, _) => chosen.truncate(cap),
        }
        self.page(wish, &chosen)
    }

    fn page(&self, wish: &Wish, chosen: &[usize]) -> Response {
        let response = Response::body(200, "application/json", self.stream.body(chosen));
        if wish.limit.is_none() {
            return response;
        }
        let counted = Wish { exclude: wish.exclude.clone(), ..Wish::default() };
        let total = self.select(&counted, i64::MIN).len();
        response.with("x-total-count", total.to_string()).with("access-control-expose-headers", "X-Total-Count")
    }

    /// The sequence of the cursor's event: none inside if there is no cursor, none at all if it is not (or no longer) there.
    fn since(&self, wish: &Wish) -> Option<Option<i64>> {
        let Some(since) = &wish.since else {
            return Some(None);
        };
        if wish.limit.is_some() && matches!(self.world.era, Era::D3 | Era::D4) {
            return Some(None);
        }
        let id = Id::read(self.world.era, "event", since)?;
        let index = self.stream.position(id)?;
        self.is_there(index).then(|| Some(i64::from(self.script.events[index].sequence)))
    }

    /// Whether an event can be read now: committed, and not yet in the archive.
    fn is_there(&self, index: usize) -> bool {
        is_there(self.world, self.script, self.now, index)
    }

    /// The events after a sequence that the filters leave.
    fn select(&self, wish: &Wish, after: i64) -> Vec<usize> {
        let events = &self.script.events;
        let start = events.partition_point(|event| i64::from(event.sequence) <= after);
        let end = wish.before.map_or(events.len(), |before| {
            events.partition_point(|event| i64::from(event.sequence) < before).max(start)
        });
        let is_wanted = |index: &usize| {
            let kind = self.stream.type_of(*index);
            let is_asked = wish.types.is_empty() || wish.types.iter().any(|asked| asked == kind);
            is_asked && !wish.exclude.iter().any(|excluded| excluded == kind)
        };
        (start..end).filter(|index| self.is_there(*index)).filter(is_wanted).collect()
    }

    /// A page backwards begins with the start of a turn, if there is one before it.
    fn snap_back(&self, all: &[usize], chosen: &mut Vec<usize>) {
        let skipped = all.len() - chosen.len();
        let begins = |index: &usize| self.script.events[*index].what == What::TurnStarted;
        if chosen.first().is_some_and(begins) {
            return;
        }
        if let Some(begin) = all[..skipped].iter().rposition(begins) {
            *chosen = all[begin..].to_vec();
        }
    }
}

fn keep_last(chosen: &mut Vec<usize>, limit: usize) {
    let surplus = chosen.len().saturating_sub(limit);
    chosen.drain(..surplus);
}

fn is_there(world: &World, script: &Script, now: i64, index: usize) -> bool {
    let stored_at = script.events[index].stored_at;
    let retention = world.options.everruns.retention;
    stored_at <= now && (retention == 0.0 || stored_at >= now - seconds(retention))
}

/// How many events of a session can be read.
pub(super) fn count(world: &World, script: &Script, now: i64) -> usize {
    if script.is_punctual && world.options.everruns.retention == 0.0 {
        return script.events.partition_point(|event| event.stored_at <= now);
    }
    (0..script.events.len()).filter(|index| is_there(world, script, now, *index)).count()
}

/// `GET …/sessions/{id}/events/summary`.
pub(super) fn summary(world: &World, now: i64, script: &Script) -> Response {
    let stream = world.stream(script);
    let mut by_type: BTreeMap<&str, u64> = BTreeMap::new();
    let there: Vec<usize> = (0..script.events.len()).filter(|index| is_there(world, script, now, *index)).collect();
    for index in &there {
        *by_type.entry(stream.type_of(*index)).or_default() += 1;
    }
    let number = |kind: &str| by_type.get(kind).copied().unwrap_or(0);
    let moment = |index: Option<&usize>| index.map(|index| super::wire::moment(world.era, script.events[*index].at));
    let types: Vec<_> = by_type.iter().map(|(kind, count)| json!({ "event_type": kind, "count": count })).collect();
    let body = json!({
        "total": there.len(),
        "by_type": types,
        "turn_count": number("turn.started"),
        "error_count": number("turn.failed"),
        "first_ts": moment(there.first()),
        "last_ts": moment(there.last()),
    });
    Response::json(200, &super::wire::clean(body))
}
