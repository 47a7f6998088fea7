//! Error answers: the current envelope `{message, detail[]}` and the older `{detail}`.

use serde_json::{Value, json};

use crate::simulator::faults::Refusal;
use crate::simulator::wire::Response;

/// One thing wrong with a request's parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) kind: &'static str,
    pub(super) location: Vec<Value>,
    pub(super) message: String,
    pub(super) input: String,
    pub(super) context: Option<Value>,
}

/// An error with one reason.
pub(super) fn plain(status: u16, message: &str, is_old: bool) -> Response {
    let kind = match status {
        404 => "not_found",
        405 => "method_not_allowed",
        429 => "too_many_requests",
        503 => "service_unavailable",
        _ => "error",
    };
    let body = if is_old {
        json!({ "detail": message })
    } else {
        json!({ "message": message, "detail": [{ "type": kind, "message": message }] })
    };
    Response::json(status, &body)
}

/// A fault on the way.
pub(super) fn refused(refusal: Refusal) -> Response {
    if let Some(response) = refusal.by_proxy() {
        return response;
    }
    if let Refusal::TooManyRequests(pause) = refusal {
        let response = plain(429, "Too many requests", false);
        return match pause {
            Some(pause) => response.with("retry-after", pause.to_string()),
            None => response,
        };
    }
    plain(503, "Upstream temporarily unavailable", false).with("retry-after", "1")
}

/// The gateway in front of the platform refuses the key.
pub(super) fn unauthorized() -> Response {
    Response::json(401, &json!({ "message": "Unauthorized" }))
}

/// Parameters that do not parse.
pub(super) fn invalid(problems: &[Problem], is_old: bool) -> Response {
    let detail: Vec<Value> = problems.iter().map(describe).collect();
    if is_old {
        return Response::json(422, &json!({ "detail": detail }));
    }
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("{}: {}", path(&problem.location), problem.message)).collect();
    Response::json(422, &json!({ "message": lines.join("; "), "detail": detail }))
}

fn describe(problem: &Problem) -> Value {
    let mut item = json!({
        "type": problem.kind,
        "loc": problem.location,
        "msg": problem.message,
        "input": problem.input,
    });
    if let Some(context) = &problem.context {
        item["ctx"] = context.clone();
    }
    item
}

/// `query.status[1]` for `["query", "status", 1]`.
fn path(location: &[Value]) -> String {
    let mut path = String::new();
    for part in location {
        match part {
            Value::String(name) if path.is_empty() => path.push_str(name),
            Value::String(name) => path.push_str(&format!(".{name}")),
            index => path.push_str(&format!("[{index}]")),
        }
    }
    path
}
