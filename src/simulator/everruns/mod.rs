//! Everruns as a pure function from a request and a moment to an answer, in each of its generations.
//!
//! # What it is faithful to
//!
//! Paths, parameters, documents, errors and orders of events follow recordings of two programs of the vendor's that can
//! be run (the 0.3.0 server and the single binary 0.50.1, see `tests/fixtures/everruns/`), and for what lies between
//! them the vendor's public interface description. Among what a client can trip over and finds here: pages shift;
//! newer filters are ignored silently by older servers; archived sessions hide; one status has two spellings; a limit
//! makes the plain event list forget its cursor; an archived cursor is empty for ever; sequences have gaps and may
//! arrive late; turns never close; generations are missing; forks repeat their origin's events.
//!
//! # What is assumed
//!
//! * The single binary has no list of sessions and answers 405; here it lists like the newest server, because nothing
//!   could be watched otherwise. Its rows are the server's; a single session is the binary's own smaller document.
//! * Events of the generations between the two recordings have the newest names. The first with prefixed ids has
//!   usage without cost.
//! * A session that another one starts works while a tool call of that one's waits for it, has one turn, and starts no
//!   others. How the real tool is called is not known.
//! * A fork is `started` until its first own turn. Its usage is its own part; what it copied counts for its origin.
//! * The usage of a session moves about a second after each turn, and when a turn starts to wait.
//! * A cancelled turn is named by the session's id up to the last but one server, in data and context alike.
//! * Sessions are archived and deleted only after their last event. A deleted one takes its open turn along.
//! * A wait for an approval or a budget ends with the status going back to `active`, without any `session.activated`.
//! * The oldest generation asks for the key as the others do. Filters for debugging (`around`, `turn_id`, `q` and so on)
//!   are not simulated and are ignored.
//! * A refusal by chance asks for one to three seconds; the real limiter always asks for a minute (`--rate-limit-pause`).
//!   Whether it counts in a bucket or in windows is not known; both can be had.
//! * Retention goes by the time an event was stored; a fork's copies are stored when it is made.

mod author;
mod cast;
mod era;
mod errors;
mod events;
mod ids;
mod life;
mod options;
mod payloads;
mod query;
mod render;
mod script;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;
mod texts;
mod truth;
mod turn;
mod wire;
mod work;
mod world;

pub use options::{EverrunsOptions, Prefix};
pub use texts::PRIVATE;
pub use truth::{Account, AgentAccount, Tokens, Truth, truth};
pub use world::World;

use serde_json::json;

use super::faults::{Fault, FaultPlan};
use super::timestamp;
use super::wire::{Request, Response};
use era::Era;
use ids::Id;
use query::Query;
use script::Script;

/// Answers a request at `now_us`, with the fault that the plan has for it.
///
/// Faults befall API requests only; the simulator's own pages stay reliable and do not use up the plan.
pub fn respond(world: &World, faults: &mut FaultPlan, now_us: i64, request: &Request) -> Response {
    if path_below(world, request).is_none() {
        return respond_again(world, now_us, request);
    }
    match faults.next_fault(now_us) {
        Fault::Refused(refusal) => errors::refused(world.era, refusal).signed(now_us),
        Fault::Harmed(harm) => {
            let mut response = respond_again(world, now_us, request);
            harm.apply(&mut response);
            response
        }
        Fault::None => respond_again(world, now_us, request),
    }
}

/// Answers a request at `now_us` without faults.
pub fn respond_again(world: &World, now_us: i64, request: &Request) -> Response {
    route(world, now_us, request).signed(now_us)
}

/// The path below `/v1/`, if it leads to the API.
fn path_below<'a>(world: &World, request: &'a Request) -> Option<&'a str> {
    let mounted = world.options.everruns.prefix;
    let api = request.path.strip_prefix("/api/v1/").filter(|_| mounted != Prefix::Bare);
    api.or_else(|| request.path.strip_prefix("/v1/").filter(|_| mounted != Prefix::Api))
}

fn route(world: &World, now: i64, request: &Request) -> Response {
    match request.path.as_str() {
        "/_truth" => return account(world, now, request),
        "/_simulator" => return description(world, now),
        _ => {}
    }
    let era = world.era;
    let Some(path) = path_below(world, request) else {
        return errors::plain(era, 404, "Not Found");
    };
    if !is_authorized(world, request) {
        return errors::unauthorized(era);
    }
    let organization = sessions::organization(world);
    if request.organization.as_ref().is_some_and(|asked| *asked != organization) {
        return errors::plain(era, 403, "You are not a member of this organization");
    }
    if request.method != "GET" {
        // Only the read part is simulated.
        return errors::plain(era, 405, "Method Not Allowed").with("allow", "GET");
    }
    let parts: Vec<&str> = path.split('/').collect();
    let absent = || errors::plain(era, 404, "Not Found");
    match (era, parts.as_slice()) {
        (Era::D1, ["orgs", asked, ..]) if *asked != organization => errors::plain(era, 404, "Organization not found"),
        (Era::D1, ["orgs", _, "agents"]) => sessions::agents(world, request),
        (Era::D1, ["orgs", _, "agents", agent, "sessions", rest @ ..]) => below_agent(world, now, request, agent, rest),
        (Era::D1, _) => absent(),
        (_, ["agents"]) => sessions::agents(world, request),
        (Era::D0, ["agents", agent, "sessions", rest @ ..]) => below_agent(world, now, request, agent, rest),
        (Era::D0, _) => absent(),
        (_, ["sessions"]) => sessions::list(world, now, request, None),
        (_, ["sessions", "stats"]) if era.is_rich() => sessions::stats(world, now),
        (_, ["sessions", id, rest @ ..]) => session(world, now, request, id, None, rest),
        _ => absent(),
    }
}

fn below_agent(world: &World, now: i64, request: &Request, agent: &str, rest: &[&str]) -> Response {
    match rest {
        [] => sessions::list(world, now, request, Some(agent)),
        [id, rest @ ..] => session(world, now, request, id, Some(agent), rest),
    }
}

/// Everything about one session; below an agent it has to be that agent's.
fn session(world: &World, now: i64, request: &Request, id: &str, agent: Option<&str>, rest: &[&str]) -> Response {
    let era = world.era;
    let read = Id::read(era, "session", id);
    if read.is_none() && era == Era::D0 {
        return errors::plain(era, 400, "Invalid URL: UUID parsing failed: invalid character");
    }
    let belongs = |script: &Script| {
        let owner = script.agent.map(|owner| render::agent_id(world.options.seed, owner).show(era, "agent"));
        agent.is_none_or(|agent| owner.as_deref() == Some(agent))
    };
    let found = read.and_then(|id| world.session(now, id)).filter(|script| belongs(script));
    let Some(script) = found else {
        return errors::plain(era, 404, &format!("Session not found: {id}"));
    };
    match rest {
        [] => sessions::document(world, now, &script),
        ["events"] => events::list(world, now, &script, request),
        ["events", "summary"] if era.is_rich() => events::summary(world, now, &script),
        _ => errors::plain(era, 404, "Not Found"),
    }
}

/// The key in any of three spellings; the single binary knows one.
fn is_authorized(world: &World, request: &Request) -> bool {
    let header = request.authorization.as_deref().unwrap_or_default().trim();
    let key = world.options.api_key.as_str();
    match header.split_once(' ') {
        Some((scheme, token)) => {
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            let is_known = is_bearer || (world.era != Era::Serve && scheme.eq_ignore_ascii_case("apikey"));
            is_known && token.trim() == key
        }
        None => world.era != Era::Serve && header == key,
    }
}

/// `GET /_truth?since=…`.
fn account(world: &World, now: i64, request: &Request) -> Response {
    match Query::new(Era::D4, &request.query).time("since") {
        Ok(since) => Response::json(200, &truth(world, now, since)),
        Err(refusal) => refusal,
    }
}

/// `GET /_simulator`.
fn description(world: &World, now: i64) -> Response {
    let options = &world.options;
    let body = json!({
        "simulated": true,
        "what": "a simulation of Everruns; none of these sessions exists",
        "platform": "everruns",
        "organization": sessions::organization(world),
        "version": env!("CARGO_PKG_VERSION"),
        "seed": options.seed,
        "started": timestamp::rfc3339(world.epoch_us),
        "now": timestamp::rfc3339(now),
        "settled": world.is_settled(now),
        "parameters": options,
    });
    Response::json(200, &body)
}
