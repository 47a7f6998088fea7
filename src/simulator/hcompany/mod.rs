//! The platform's HTTP surface as a pure function from a request and a moment to an answer.

mod documents;
mod errors;
mod list;
mod query;
mod quota;
mod render;
mod session;
mod stream;
mod texts;

pub(super) use stream::Stream;
pub use texts::PRIVATE;

use serde_json::json;

use super::faults::{Fault, FaultPlan};
use super::timestamp;
use super::truth::truth;
use super::wire::{Request, Response};
use super::world::World;
use query::Query;
use session::{ChangesQuery, EventsQuery};

const PREFIX: &str = "/api/";

/// Answers a request at `now_us`, with the fault that the plan has for it.
///
/// Faults befall API requests only; the simulator's own pages stay reliable and do not use up the plan.
pub fn respond(world: &World, faults: &mut FaultPlan, now_us: i64, request: &Request) -> Response {
    if !request.path.starts_with(PREFIX) {
        return respond_again(world, now_us, request);
    }
    match faults.next_fault(now_us) {
        Fault::Refused(refusal) => errors::refused(refusal).signed(now_us),
        Fault::Harmed(harm) => {
            let mut response = respond_again(world, now_us, request);
            // A held long poll would make the harm depend on when it ends.
            response.wait = None;
            harm.apply(&mut response);
            response
        }
        Fault::None => respond_again(world, now_us, request),
    }
}

/// Answers a request at `now_us` without faults: the way to ask again for a long poll that had to wait.
pub fn respond_again(world: &World, now_us: i64, request: &Request) -> Response {
    route(world, now_us, request).signed(now_us)
}

fn route(world: &World, now: i64, request: &Request) -> Response {
    let is_old = world.is_old();
    let path = request.path.as_str();
    match path {
        "/_truth" => return account(world, now, request),
        "/_simulator" => return description(world, now),
        _ => {}
    }
    if path.starts_with(PREFIX) && !is_authorized(world, request) {
        return errors::unauthorized();
    }
    let bare = path.strip_suffix('/').unwrap_or(path);
    let parts: Vec<&str> = bare.trim_start_matches('/').split('/').collect();
    let Some(endpoint) = Endpoint::find(&parts) else {
        return errors::plain(404, "Not Found", is_old);
    };
    if bare != path {
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        return Response::empty(307).with("location", format!("{bare}{query}"));
    }
    if request.method != "GET" {
        // Only the read part is simulated; on the platform some of these paths also take writes.
        let refusal = errors::plain(405, "Method Not Allowed", is_old).with("allow", "GET");
        return if request.method == "HEAD" { Response::empty(405).with("allow", "GET") } else { refusal };
    }
    match endpoint {
        Endpoint::List => list::list(world, now, request),
        Endpoint::SessionQuota => quota::sessions(world, now),
        Endpoint::TokenQuota => quota::tokens(world, now),
        Endpoint::Session(id) => {
            session::with_session(world, now, request, id, |_| (), |found, ()| session::document(world, now, found))
        }
        Endpoint::Status(id) => {
            session::with_session(world, now, request, id, |_| (), |found, ()| session::status(world, now, found))
        }
        Endpoint::Changes(id) => session::with_session(world, now, request, id, ChangesQuery::read, |found, query| {
            session::changes(world, now, found, &query)
        }),
        Endpoint::Events(id) => session::with_session(world, now, request, id, EventsQuery::read, |found, query| {
            session::events(world, now, found, &query)
        }),
    }
}

enum Endpoint<'a> {
    List,
    SessionQuota,
    TokenQuota,
    Session(&'a str),
    Status(&'a str),
    Changes(&'a str),
    Events(&'a str),
}

impl<'a> Endpoint<'a> {
    fn find(parts: &[&'a str]) -> Option<Self> {
        let ["api", "v2", rest @ ..] = parts else {
            return None;
        };
        match *rest {
            ["sessions"] => Some(Self::List),
            ["sessions", "quota"] => Some(Self::SessionQuota),
            ["quota", "tokens"] => Some(Self::TokenQuota),
            ["sessions", ""] => None,
            ["sessions", id] => Some(Self::Session(id)),
            ["sessions", id, "status"] => Some(Self::Status(id)),
            ["sessions", id, "changes"] => Some(Self::Changes(id)),
            ["sessions", id, "events"] => Some(Self::Events(id)),
            _ => None,
        }
    }
}

fn is_authorized(world: &World, request: &Request) -> bool {
    let header = request.authorization.as_deref().unwrap_or_default();
    let (scheme, token) = header.split_once(' ').unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") && token.trim() == world.options.api_key
}

/// `GET /_truth?since=…`.
fn account(world: &World, now: i64, request: &Request) -> Response {
    let mut query = Query::new(&request.query);
    let since = query.time("since");
    if let Some(refusal) = query.refusal(false) {
        return refusal;
    }
    Response::json(200, &truth(world, now, since))
}

/// `GET /_simulator`.
fn description(world: &World, now: i64) -> Response {
    let options = &world.options;
    let body = json!({
        "simulated": true,
        "what": "a simulation of H Company's agent platform; none of these sessions exists",
        "platform": "hcompany",
        "version": env!("CARGO_PKG_VERSION"),
        "seed": options.seed,
        "started": timestamp::rfc3339(world.epoch_us),
        "now": timestamp::rfc3339(now),
        "settled": world.is_settled(now),
        "parameters": options,
    });
    Response::json(200, &body)
}
