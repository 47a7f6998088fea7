//! The sessions behind the numbers, as JSON.

use std::sync::Arc;

use http::StatusCode;
use tokio::task;
use tracing::error;

use super::archive::{ArchiveError, SessionQuery};
use super::caller::Caller;
use super::respond::{self, Answer};
use super::{App, Archive};
use crate::domain::{Status, Timestamp};
use crate::telemetry::broken_off;

/// Sessions in an answer unless the caller says otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Sessions in an answer at most; more are refused, so that one call cannot read the whole store.
const MAX_LIMIT: usize = 1000;

/// `/api/v1/sessions`
pub(super) async fn sessions(app: &Arc<App>, query: &str, caller: Caller) -> Answer {
    let query = match parse(query) {
        Ok(query) => query,
        Err(error) => return respond::json_error(StatusCode::BAD_REQUEST, &error),
    };
    look_up(app, caller, move |archive| archive.sessions(&query).map(Some)).await
}

/// `/api/v1/sessions/{id}`
pub(super) async fn session(app: &Arc<App>, id: &str, caller: Caller) -> Answer {
    let Some(id) = percent_decoded(id, false) else {
        return respond::json_error(StatusCode::BAD_REQUEST, "the id is not valid percent-encoded UTF-8");
    };
    look_up(app, caller, move |archive| archive.session(&id)).await
}

async fn look_up<F>(app: &Arc<App>, caller: Caller, look: F) -> Answer
where
    F: FnOnce(&dyn Archive) -> Result<Option<Vec<u8>>, ArchiveError> + Send + 'static,
{
    let Some(turn) = app.line.turn(caller).await else { return respond::crowded() };
    let archive = Arc::clone(&app.archive);
    let looked = task::spawn_blocking(move || {
        let found = look(&*archive);
        (found, turn.over())
    });
    let (found, place) = match looked.await {
        Ok(looked) => looked,
        Err(panicked) => return broken(&broken_off(&panicked)),
    };
    match found {
        Ok(Some(body)) => respond::held(respond::json(StatusCode::OK, body), place),
        Ok(None) => respond::json_error(StatusCode::NOT_FOUND, "no session with this id is known"),
        Err(error @ ArchiveError::NotYet) => respond::json_error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(error @ ArchiveError::Store(_)) => broken(&error),
    }
}

/// Details are for the log: they may name files.
fn broken(error: &dyn std::fmt::Display) -> Answer {
    error!(%error, "sessions could not be looked up");
    respond::json_error(StatusCode::INTERNAL_SERVER_ERROR, "the sessions could not be looked up; see the log")
}

fn parse(query: &str) -> Result<SessionQuery, String> {
    let mut parsed =
        SessionQuery { statuses: Vec::new(), agent: None, source: None, since: None, limit: DEFAULT_LIMIT };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(value, true).ok_or_else(|| format!("{name} is not valid percent-encoded UTF-8"))?;
        if value.is_empty() {
            // What a form sends for a field that was left empty.
            continue;
        }
        match name {
            "status" => parsed.statuses.push(status(&value)?),
            "agent" => parsed.agent = Some(value),
            "source" => parsed.source = Some(value),
            "since" => {
                let since = Timestamp::parse(&value).map_err(|error| format!("since is {error}"))?;
                parsed.since = Some(since);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                parsed.limit = limit.ok_or_else(|| format!("limit is not a number from 1 to {MAX_LIMIT}"))?;
            }
            _ => return Err("unknown parameter: use status, agent, source, since, limit".to_owned()),
        }
    }
    Ok(parsed)
}

fn status(text: &str) -> Result<Status, String> {
    Status::from_label(text).ok_or_else(|| {
        let known = Status::ALL.map(Status::as_str).join(", ");
        format!("unknown status: use one of {known}")
    })
}

/// `None` for what is no valid encoding of UTF-8. In queries a plus is a blank.
fn percent_decoded(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if plus_is_blank => b' ',
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let all = SessionQuery { statuses: vec![], agent: None, source: None, since: None, limit: 100 };
        assert_eq!(parse("").unwrap(), all);
        assert_eq!(parse("status=&agent=").unwrap(), all);
        let full = parse(
            "status=timed_out&status=failed&agent=h%2Fweb+%C3%BC&source=prod&since=2026-11-20T14:30:00%2B01:00&limit=5",
        );
        let expected = SessionQuery {
            statuses: vec![Status::TimedOut, Status::Failed],
            agent: Some("h/web ü".to_owned()),
            source: Some("prod".to_owned()),
            since: Some(Timestamp::parse("2026-11-20T13:30:00Z").unwrap()),
            limit: 5,
        };
        assert_eq!(full.unwrap(), expected);
    }

    #[test]
    fn wrong_queries_say_what_is_right() {
        for (query, said) in [
            ("status=done", "completed"),
            ("since=yesterday", "RFC 3339"),
            ("limit=0", "1 to 1000"),
            ("limit=1001", "1 to 1000"),
            ("limit=many", "1 to 1000"),
            ("state=idle", "use status, agent"),
            ("agent=%zz", "agent is not valid"),
            ("agent=%ff", "agent is not valid"),
            ("agent=%4", "agent is not valid"),
        ] {
            let error = parse(query).unwrap_err();
            assert!(error.contains(said), "{query}: {error}");
        }
    }
}
