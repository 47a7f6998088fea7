//! What `check` asks H: whether the key is accepted, what it sees, and which of the newer filters this server knows.

use bytes::Bytes;

use super::{decode, sessions};
use crate::domain::{Span, Timestamp, Watch};
use crate::ingest::Request;
use crate::ingest::platforms::{Check, Finding};

pub(super) fn questions(owner: &str, now: Timestamp) -> Vec<Check> {
    let list = |mut query: Vec<(&'static str, String)>| {
        query.insert(0, ("size", "1".to_owned()));
        if !owner.is_empty() {
            query.push(("owner", owner.to_owned()));
        }
        vec![sessions(query)]
    };
    let of_quota = |path: &str| vec![Request::new("quota", path.into(), Vec::new())];
    // Nothing ends in the future: a server that knows the filter has nothing to show.
    let tomorrow = now.plus(Span::from_secs(86_400)).to_string();
    vec![
        Check { what: "sessions", requests: list(vec![]), judge: listed },
        Check { what: "last activity", requests: list(vec![]), judge: last_activity },
        Check {
            what: "newer statuses",
            requests: list(vec![("status", "queued".to_owned()), ("status", "awaiting_tool_results".to_owned())]),
            judge: newer_statuses,
        },
        Check {
            what: "created_after",
            requests: list(vec![("created_after", tomorrow.clone())]),
            judge: created_after,
        },
        Check { what: "finished_after", requests: list(vec![("finished_after", tomorrow)]), judge: finished_after },
        Check { what: "session limit", requests: of_quota("/api/v2/sessions/quota"), judge: session_limit },
        Check { what: "token limit", requests: of_quota("/api/v2/quota/tokens"), judge: token_limit },
    ]
}

fn unexpected(status: u16) -> Finding {
    Finding::Bad(match status {
        401 => "key not accepted (HTTP 401): is it complete, and does it belong to this base_url's region?".into(),
        403 => "key not accepted for this scope (HTTP 403): try `owner: me-in-organization`".into(),
        404 => "no such API (HTTP 404): is base_url right?".into(),
        other => format!("HTTP {other}"),
    })
}

fn listed(status: u16, body: &Bytes) -> Finding {
    match (status, decode::list(body)) {
        (200, Ok(page)) => Finding::Good(format!("key accepted, {} sessions", page.total)),
        (200, Err(error)) => Finding::Bad(format!("{error}: is base_url right?")),
        (status, _) => unexpected(status),
    }
}

fn last_activity(status: u16, body: &Bytes) -> Finding {
    match (status, decode::list(body)) {
        (200, Ok(page)) => match page.rows.first() {
            None => Finding::Good("no session to look at yet".into()),
            Some(row) if row.watch == Watch::EachRound => {
                Finding::Note("not in lists: every active session is read in every cycle".into())
            }
            Some(_) => Finding::Good("in lists: only sessions that move are read".into()),
        },
        (200, Err(error)) => Finding::Bad(error.to_string()),
        (status, _) => unexpected(status),
    }
}

fn newer_statuses(status: u16, _: &Bytes) -> Finding {
    match status {
        200 => Finding::Good("queued and awaiting_tool_results can be listed".into()),
        422 => Finding::Note("queued and awaiting_tool_results are unknown to this server: not listed".into()),
        status => unexpected(status),
    }
}

fn honoured(status: u16, body: &Bytes, otherwise: Finding) -> Finding {
    match (status, decode::list(body)) {
        (200, Ok(page)) if page.total == 0 => Finding::Good("honoured".into()),
        (200, Ok(_)) | (422, _) => otherwise,
        (200, Err(error)) => Finding::Bad(error.to_string()),
        (status, _) => unexpected(status),
    }
}

fn created_after(status: u16, body: &Bytes) -> Finding {
    honoured(status, body, Finding::Bad("ignored by this server: new sessions cannot be found".into()))
}

fn finished_after(status: u16, body: &Bytes) -> Finding {
    let otherwise = "not honoured: sessions that restart and end between two polls wait for the sweep";
    honoured(status, body, Finding::Note(otherwise.into()))
}

fn session_limit(status: u16, body: &Bytes) -> Finding {
    match (status, decode::quota(body)) {
        (200, Ok(quota)) => Finding::Good(format!("scope {}, {} of {} active", quota.scope, quota.active, quota.limit)),
        (200, Err(error)) => Finding::Note(error.to_string()),
        (status, _) => Finding::Note(format!("not available (HTTP {status})")),
    }
}

fn token_limit(status: u16, body: &Bytes) -> Finding {
    match (status, decode::token_quota(body)) {
        (200, Ok(quota)) => {
            let number = |value: Option<u64>, none: &str| value.map_or(none.to_owned(), |value| value.to_string());
            let (used, limit) = (number(quota.used, "unknown"), number(quota.limit, "unlimited"));
            Finding::Good(format!("{used} of {limit} used"))
        }
        (200, Err(error)) => Finding::Note(error.to_string()),
        (status, _) => Finding::Note(format!("not available (HTTP {status})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(finding: Finding) -> String {
        match finding {
            Finding::Good(text) => format!("good: {text}"),
            Finding::Note(text) => format!("note: {text}"),
            Finding::Bad(text) => format!("bad: {text}"),
        }
    }

    #[test]
    fn each_answer_is_judged_and_says_what_to_do() {
        type Judge = fn(u16, &Bytes) -> Finding;
        let (none, html) = (r#"{"items":[],"total":0,"page":1}"#, "<html>");
        let some = r#"{"items":[{"id":"s","status":"idle","created_at":"2026-11-20T14:30:00Z"}],"total":1,"page":1}"#;
        let cases: &[(Judge, u16, &str, &str)] = &[
            (listed, 200, some, "good: key accepted, 1 sessions"),
            (listed, 200, html, "bad: "),
            (listed, 401, "", "bad: key not accepted (HTTP 401)"),
            (listed, 403, "", "bad: key not accepted for this scope (HTTP 403): try `owner: me-in-organization`"),
            (listed, 404, "", "bad: no such API (HTTP 404): is base_url right?"),
            (listed, 500, "", "bad: HTTP 500"),
            (last_activity, 200, none, "good: no session to look at yet"),
            (last_activity, 200, some, "note: not in lists"),
            (last_activity, 200, html, "bad: "),
            (last_activity, 502, "", "bad: HTTP 502"),
            (newer_statuses, 200, some, "good: queued and awaiting_tool_results can be listed"),
            (newer_statuses, 422, "", "note: queued and awaiting_tool_results are unknown to this server"),
            (newer_statuses, 500, "", "bad: HTTP 500"),
            (created_after, 200, none, "good: honoured"),
            (created_after, 200, some, "bad: ignored by this server"),
            (created_after, 422, "", "bad: ignored by this server"),
            (created_after, 200, html, "bad: "),
            (finished_after, 422, "", "note: not honoured"),
            (finished_after, 401, "", "bad: key not accepted (HTTP 401)"),
            (session_limit, 200, html, "note: "),
            (session_limit, 404, "", "note: not available (HTTP 404)"),
            (token_limit, 200, html, "note: "),
            (token_limit, 404, "", "note: not available (HTTP 404)"),
        ];
        for (judge, status, body, expected) in cases {
            let said = word(judge(*status, &Bytes::from_static(body.as_bytes())));
            assert!(said.starts_with(expected), "{status} {body}: {said}");
        }
    }
}
