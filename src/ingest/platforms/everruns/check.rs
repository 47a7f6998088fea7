//! What `check` asks Everruns: whether the key is accepted, what it sees, and how old the server is.

use bytes::Bytes;

use super::decode;
use super::route::{Route, candidates};
use crate::domain::Watch;
use crate::ingest::Request;
use crate::ingest::platforms::{Account, Check, Finding};

pub(super) fn questions(account: &Account) -> Vec<Check> {
    let routes = candidates(account);
    let flat: Vec<&Route> = routes.iter().filter(|route| route.is_flat()).collect();
    let each = |ask: &dyn Fn(&Route) -> Request| -> Vec<Request> { flat.iter().map(|route| ask(route)).collect() };
    let one = || vec![("limit", "1".to_owned())];
    // Nothing was created in the future: a server that knows the filter has nothing to show.
    let future = || vec![("limit", "1".to_owned()), ("created_after", "2999-01-01T00:00:00Z".to_owned())];
    vec![
        Check { what: "sessions", requests: routes.iter().map(Route::question).collect(), judge: listed },
        Check { what: "agents' names", requests: routes.iter().map(|route| route.agents(0)).collect(), judge: agents },
        Check { what: "last activity", requests: each(&|route| route.sessions(None, one())), judge: last_activity },
        Check { what: "newer filters", requests: each(&|route| route.sessions(None, future())), judge: newer_filters },
        Check { what: "counts", requests: each(&Route::stats), judge: stats },
    ]
}

fn refused(status: u16) -> Finding {
    match status {
        401 => Finding::Bad("the key is not accepted (HTTP 401): is it whole, and of this server?".into()),
        403 => Finding::Bad("the key may not list sessions (HTTP 403): is organization_id right?".into()),
        404 => Finding::Bad("there is no list of sessions here (HTTP 404): is base_url right?".into()),
        405 => Finding::Bad("this server has no list of sessions (HTTP 405), as everruns-serve has none".into()),
        status => Finding::Bad(format!("HTTP {status}")),
    }
}

fn listed(status: u16, body: &Bytes) -> Finding {
    if status != 200 {
        return refused(status);
    }
    match decode::list(body) {
        Ok(page) => match page.total {
            Some(total) if page.len == 0 || !page.rows.is_empty() => Finding::Good(format!("{total}")),
            _ => Finding::Note("listed per agent: an old server, whose idle sessions are asked one by one".into()),
        },
        Err(_) => Finding::Bad("the answer is no list of sessions: is base_url right?".into()),
    }
}

fn agents(status: u16, body: &Bytes) -> Finding {
    match decode::agents(body) {
        Ok(page) if status == 200 => Finding::Good(format!("{}", page.total.unwrap_or(page.len as u64))),
        _ if status == 404 => Finding::Bad("HTTP 404".into()),
        _ => Finding::Note(format!("cannot be listed (HTTP {status}): labels will show ids")),
    }
}

fn last_activity(status: u16, body: &Bytes) -> Finding {
    match decode::list(body) {
        Ok(page) if status == 200 => match page.rows.first() {
            None => Finding::Good("no session to tell by".into()),
            Some(listed) if listed.row.watch == Watch::EachRound && listed.updated_at.is_none() => {
                Finding::Note("not told: every session costs a request in every round".into())
            }
            Some(_) => Finding::Good("told: a session at rest costs no request".into()),
        },
        _ => Finding::Note("not told by a list of all sessions".into()),
    }
}

fn newer_filters(status: u16, body: &Bytes) -> Finding {
    match decode::list(body) {
        Ok(page) if status == 200 && page.len == 0 => {
            Finding::Good("known: long lists are read from what moved last".into())
        }
        _ => Finding::Note("not known: of long lists a part is read in every round".into()),
    }
}

fn stats(status: u16, body: &Bytes) -> Finding {
    match decode::stats(body) {
        Ok(total) if status == 200 => Finding::Good(format!("{total} sessions")),
        _ => Finding::Note("no count to compare sweeps with".into()),
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
        let moved = r#"{"data":[{"id":"s","status":"idle","created_at":"2026-11-20T14:30:00Z",
            "updated_at":"2026-11-20T14:31:00Z"}],"total":1,"limit":1}"#;
        let still = r#"{"data":[{"id":"s","status":"idle","created_at":"2026-11-20T14:30:00Z"}],"total":1,"limit":1}"#;
        let cases: &[(Judge, u16, &str, &str)] = &[
            (listed, 200, moved, "good: 1"),
            (listed, 200, "<html>", "bad: the answer is no list of sessions: is base_url right?"),
            (listed, 401, "", "bad: the key is not accepted (HTTP 401)"),
            (listed, 403, "", "bad: the key may not list sessions (HTTP 403): is organization_id right?"),
            (listed, 404, "", "bad: there is no list of sessions here (HTTP 404): is base_url right?"),
            (listed, 405, "", "bad: this server has no list of sessions (HTTP 405)"),
            (listed, 500, "", "bad: HTTP 500"),
            (agents, 200, r#"{"data":[],"total":7}"#, "good: 7"),
            (agents, 403, "", "note: cannot be listed (HTTP 403): labels will show ids"),
            (agents, 404, "", "bad: HTTP 404"),
            (last_activity, 200, r#"{"data":[],"total":0,"limit":1}"#, "good: no session to tell by"),
            (last_activity, 200, moved, "good: told"),
            (last_activity, 200, still, "note: not told: every session costs a request in every round"),
            (last_activity, 404, "", "note: not told by a list of all sessions"),
            (newer_filters, 200, r#"{"data":[],"total":0,"limit":1}"#, "good: known"),
            (newer_filters, 200, moved, "note: not known"),
            (stats, 200, "{}", "note: no count"),
            (stats, 404, "", "note: no count"),
        ];
        for (judge, status, body, expected) in cases {
            let said = word(judge(*status, &Bytes::from_static(body.as_bytes())));
            assert!(said.starts_with(expected), "{status} {body}: {said}");
        }
    }
}
