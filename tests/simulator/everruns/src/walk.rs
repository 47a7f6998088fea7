//! Walks a running platform: every session, every event of it, and some of both again with the vendor's own client.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use everruns_sdk::Everruns;
use everruns_sdk::client::ListEventsOptions;
use serde_json::Value;

use crate::{Report, judge};

/// How long to wait for the number of sessions that was asked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// What one page holds at most.
const SESSIONS_A_PAGE: usize = 100;
/// Few, so that most sessions take several pages; the vendor's client then reads them at once.
const EVENTS_A_PAGE: usize = 100;
const EVENTS_AT_ONCE: u32 = 1000;
/// How many sessions are read again with the vendor's client.
const WITH_CLIENT: usize = 25;
/// How often a request is repeated that met a limit or a fault.
const TRIES: usize = 5;

/// Judges what the platform at `base` serves, once it has `wanted` sessions. The key is in the environment, `KEY`.
///
/// # Errors
/// The walk cannot go on: an answer that is not what the vendor documents.
// The exporter takes its environment in one place; this is another program.
#[expect(clippy::disallowed_methods)]
pub fn judge(base: &str, wanted: usize, report: &mut Report) -> Result<(), String> {
    let key =
        std::env::var("KEY").map_err(|_| "the environment variable KEY must hold the platform's key".to_owned())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime to work in: {e}"))?;
    let api = Api { client: reqwest::Client::new(), base: base.trim_end_matches('/').to_owned(), key };
    runtime.block_on(walk(&api, wanted, report))
}

/// The plain HTTP view of the platform.
struct Api {
    client: reqwest::Client,
    base: String,
    key: String,
}

impl Api {
    /// The JSON of one answer. Limits and faults of the server are waited out.
    async fn get(&self, path: &str) -> Result<Value, String> {
        let mut said = String::new();
        for _ in 0..TRIES {
            let url = format!("{}{path}", self.base);
            let request = self.client.get(url).header("Authorization", format!("Bearer {}", self.key));
            match request.timeout(PATIENCE).send().await {
                Ok(answer) if answer.status() == 200 => {
                    let body = answer.bytes().await.map_err(|e| format!("{path}: cut off: {e}"))?;
                    return serde_json::from_slice(&body).map_err(|e| format!("{path}: not JSON: {e}"));
                }
                Ok(answer) if answer.status() == 429 || answer.status().is_server_error() => {
                    said = format!("status {}", answer.status());
                }
                Ok(answer) => return Err(format!("{path}: status {} instead of 200", answer.status())),
                Err(e) => said = e.without_url().to_string(),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Err(format!("{path}: no answer in {TRIES} tries: {said}"))
    }

    /// The rows of one answer, which is an object with `data`.
    async fn rows(&self, path: &str) -> Result<Vec<Value>, String> {
        match self.get(path).await?.get_mut("data").map(Value::take) {
            Some(Value::Array(rows)) => Ok(rows),
            _ => Err(format!("{path}: no data array")),
        }
    }

    /// Every session, newest first, put away or not. A page may repeat what moved on while the pages were read.
    async fn sessions(&self) -> Result<Vec<Value>, String> {
        let (mut found, mut seen, mut offset) = (Vec::new(), BTreeSet::new(), 0);
        loop {
            let page = self
                .rows(&format!("/v1/sessions?include_archived=true&limit={SESSIONS_A_PAGE}&offset={offset}"))
                .await?;
            if page.is_empty() {
                return Ok(found);
            }
            offset += page.len();
            found.extend(page.into_iter().filter(|row| seen.insert(text(row, "id").to_owned())));
        }
    }
}

/// A text field, empty when there is none.
fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or_default()
}

async fn walk(api: &Api, wanted: usize, report: &mut Report) -> Result<(), String> {
    let started = Instant::now();
    let mut sessions = api.sessions().await?;
    while sessions.len() < wanted {
        if started.elapsed() > PATIENCE {
            return Err(format!("{} sessions after {PATIENCE:?}, waited for {wanted}", sessions.len()));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        sessions = api.sessions().await?;
    }
    let vendor = Everruns::with_base_url(api.key.clone(), &api.base).map_err(|e| format!("vendor's client: {e}"))?;
    for listed in &sessions {
        let id = text(listed, "id");
        report.session(listed);
        let alone = api.get(&format!("/v1/sessions/{id}")).await?;
        report.session_again(&alone);
        if text(&alone, "id") != id {
            report.fail("session: id: not the one that was asked for".to_owned());
        }
        let ids = events(api, id, report).await?;
        // The client refuses a state that it does not know.
        if report.client_sessions < WITH_CLIENT && judge::session(&alone) == Ok(false) {
            with_client(api, &vendor, id, &ids, report).await;
        }
    }
    Ok(())
}

/// Drains the events of a session the way a reader must, judges them, and returns their ids.
async fn events(api: &Api, session: &str, report: &mut Report) -> Result<Vec<String>, String> {
    let (mut ids, mut last) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/sessions/{session}/events?after_sequence={last}&limit={EVENTS_A_PAGE}");
        let page = api.rows(&path).await?;
        let asked = last;
        for event in &page {
            report.simulated_event(event);
            if text(event, "session_id") != session {
                report.fail(format!("{}: session_id: not the session that was asked for", text(event, "type")));
            }
            match event.get("sequence").and_then(Value::as_i64) {
                Some(sequence) if sequence > last => last = sequence,
                Some(_) => report.fail(format!("{}: sequence: does not rise", text(event, "type"))),
                None => report.fail(format!("{}: sequence: missing, kept events have one", text(event, "type"))),
            }
            ids.push(text(event, "id").to_owned());
        }
        if page.len() < EVENTS_A_PAGE {
            return Ok(ids);
        }
        if last == asked {
            return Err("events: after_sequence is ignored, the same page would come for ever".to_owned());
        }
    }
}

/// Reads a session and the first of its events with the vendor's client and compares.
async fn with_client(api: &Api, vendor: &Everruns, id: &str, ids: &[String], report: &mut Report) {
    report.client_sessions += 1;
    match vendor.sessions().get(id).await {
        Ok(session) if session.id == id => {}
        Ok(_) => report.fail("vendor's client: another session than the one that was asked for".to_owned()),
        Err(e) => {
            // It may have moved on to such a state just now.
            let now = api.get(&format!("/v1/sessions/{id}")).await;
            if !now.is_ok_and(|now| judge::session(&now) == Ok(true)) {
                report.fail(format!("vendor's client: session: {}", class(&e)));
            }
        }
    }
    let options = ListEventsOptions { after_sequence: Some(0), limit: Some(EVENTS_AT_ONCE), ..Default::default() };
    match vendor.events().list_with_options(id, &options).await {
        // More may have come since.
        Ok(list) if list.data.iter().map(|event| &event.id).zip(ids).all(|(now, then)| now == then) => {
            if list.data.len() < ids.len().min(EVENTS_AT_ONCE as usize) {
                report.fail("vendor's client: events: fewer than without it".to_owned());
            }
        }
        Ok(_) => report.fail("vendor's client: events: others than without it".to_owned()),
        Err(e) => report.fail(format!("vendor's client: events: {}", class(&e))),
    }
}

/// Which error of the client it is; its text may hold an answer's content.
fn class(error: &everruns_sdk::Error) -> String {
    let said = format!("{error:?}");
    said.split(['(', '{', ' ']).next().unwrap_or_default().to_owned()
}
