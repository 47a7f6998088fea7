//! `sessions` and `show`: ask a running exporter, or read the store of one that is not running.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use crate::cli::{QueryArgs, SessionsArgs, ShowArgs};
use crate::domain::{Clock, Span, Status};
use crate::ingest::Request;
use crate::ingest::transport::{Http, Transport, TransportError};
use crate::journal::{Archive, Journal, JournalError, SessionDetail, SessionFilter, SessionLine};
use crate::projection::LabelPolicy;
use crate::runtime::URL_FILE;
use crate::telemetry::WallClock;

use super::Failed;
use table::Table;

mod table;

const DEFAULT_URL: &str = "http://127.0.0.1:17377";
const PATIENCE: Duration = Duration::from_secs(10);
/// What the exporter gives out in one answer at most.
const MAX_LIMIT: usize = 1000;

/// Who answers.
enum Who {
    Exporter(String),
    Store(Box<Archive>),
}

fn who(args: &QueryArgs) -> Result<Who, Failed> {
    if let Some(url) = &args.web_url {
        return Ok(Who::Exporter(url.trim_end_matches('/').to_owned()));
    }
    let Some(folder) = &args.storage_path else {
        return Ok(Who::Exporter(DEFAULT_URL.to_owned()));
    };
    match Journal::open_existing(folder, LabelPolicy::default()) {
        Ok(journal) => Ok(Who::Store(Box::new(Archive::new(journal)))),
        // An exporter has it open: then that one answers, and says where it listens.
        Err(error @ JournalError::InUse { .. }) => running_on(folder)
            .map(Who::Exporter)
            .ok_or_else(|| Failed::running(format!("{error}; or ask that exporter with --web.url http://HOST:PORT"))),
        Err(error) => Err(Failed::running(error)),
    }
}

fn running_on(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join(URL_FILE)).ok().map(|url| url.trim().to_owned())
}

pub(super) async fn sessions(args: SessionsArgs) -> Result<(), Failed> {
    let statuses = args.status.iter().map(|text| status(text)).collect::<Result<Vec<_>, _>>()?;
    let filter = SessionFilter {
        statuses,
        agent: args.agent,
        source: args.source,
        since: args.since.map(|since| WallClock.now().minus(Span::from(since))),
        limit: args.limit.clamp(1, MAX_LIMIT),
    };
    let lines = match who(&args.from)? {
        Who::Store(archive) => archive.sessions(&filter).map_err(Failed::running)?,
        Who::Exporter(url) => {
            let mut query: Vec<(&'static str, String)> =
                filter.statuses.iter().map(|status| ("status", status.to_string())).collect();
            query.extend(filter.agent.map(|agent| ("agent", agent)));
            query.extend(filter.source.map(|source| ("source", source)));
            query.extend(filter.since.map(|since| ("since", since.to_string())));
            query.push(("limit", filter.limit.to_string()));
            let request = Request::new("sessions", "/api/v1/sessions".into(), query);
            ask::<Vec<SessionLine>>(&url, &request).await?.unwrap_or_default()
        }
    };
    if args.json {
        for line in &lines {
            println!("{}", serde_json::to_string(line).map_err(Failed::running)?);
        }
    } else {
        print_sessions(&lines);
    }
    Ok(())
}

pub(super) async fn show(args: ShowArgs) -> Result<(), Failed> {
    let found = match who(&args.from)? {
        Who::Store(archive) => archive.session(&args.session_id).map_err(Failed::running)?,
        Who::Exporter(url) => {
            let id: String = args
                .session_id
                .bytes()
                .map(|byte| {
                    if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
                        char::from(byte).to_string()
                    } else {
                        format!("%{byte:02X}")
                    }
                })
                .collect();
            let path = format!("/api/v1/sessions/{id}");
            ask::<SessionDetail>(&url, &Request::new("session", path, Vec::new())).await?
        }
    };
    let Some(detail) = found else {
        return Err(Failed::running(format!("no session {} is known", args.session_id)));
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&detail).map_err(Failed::running)?);
    } else {
        print_detail(&detail);
    }
    Ok(())
}

fn status(text: &str) -> Result<Status, Failed> {
    Status::from_label(text).ok_or_else(|| {
        let known = Status::ALL.map(Status::as_str).join(", ");
        Failed::wrong(format!("unknown status {text:?}: use one of {known}"))
    })
}

async fn ask<T: serde::de::DeserializeOwned>(url: &str, request: &Request) -> Result<Option<T>, Failed> {
    let http = Http::new(url, SecretString::from(""), &[], PATIENCE).map_err(Failed::running)?;
    let answer = http.get(request).await.map_err(|error| {
        let hint = match error {
            TransportError::Connect(_) => {
                "is an exporter running there? give --web.url, or --storage.path to read its folder"
            }
            _ => "is this an agent-session-exporter?",
        };
        Failed::running(format!("{url}: {error}: {hint}"))
    })?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map(Some)
            .map_err(|_| Failed::running(format!("{url}: the answer is not an agent-session-exporter's"))),
        404 => Ok(None),
        status => Err(Failed::running(format!("{url}: HTTP {status}"))),
    }
}

fn print_sessions(lines: &[SessionLine]) {
    if lines.is_empty() {
        println!("no session matches");
        return;
    }
    let mut table = Table::new(&[
        "SESSION", "SOURCE", "AGENT", "STATUS", "ERROR", "CREATED", "DURATION", "STEPS", "TOKENS", "COST",
    ]);
    for line in lines {
        table.row([
            line.id.clone(),
            line.source.clone(),
            line.agent.clone(),
            line.status.clone(),
            line.error.clone().unwrap_or_default(),
            seconds_only(&line.created_at),
            line.duration_seconds.map(duration).unwrap_or_default(),
            line.steps.to_string(),
            (line.input_tokens + line.output_tokens).to_string(),
            line.cost_usd.map(|cost| format!("${cost:.4}")).unwrap_or_default(),
        ]);
    }
    print!("{table}");
}

fn print_detail(detail: &SessionDetail) {
    let session = &detail.session;
    println!("session   {}", session.id);
    println!("source    {}", session.source);
    println!("agent     {}", table::one_line(&session.agent));
    let error = session.error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
    let gone = if session.gone { ", deleted on the platform" } else { "" };
    println!("status    {}{error}{gone}", session.status);
    println!("verdict   {}", session.verdict.as_deref().unwrap_or("none"));
    println!("created   {}", session.created_at);
    println!("started   {}", session.started_at.as_deref().unwrap_or("not yet"));
    println!("finished  {}", session.finished_at.as_deref().unwrap_or("not yet"));
    if let Some(took) = session.duration_seconds {
        println!("duration  {}", duration(took));
    }
    println!("turns     {}, restarts {}, steps {}", session.turns, session.restarts, session.steps);
    let cost = session.cost_usd.map_or("unknown".to_owned(), |cost| format!("${cost:.4}"));
    println!("tokens    {} in, {} out, cost {cost}", session.input_tokens, session.output_tokens);
    if let Some(trace) = &session.trace_id {
        println!("trace     {trace}");
    }
    if let Some(parent) = &session.parent {
        println!("parent    {parent}");
    }
    for child in &session.children {
        println!("child     {child}");
    }
    println!();
    if detail.left_out > 0 {
        println!("{:<27}  {} earlier facts are left out", "", detail.left_out);
    }
    for row in &detail.timeline {
        println!("{:<27}  {}", row.at, table::one_line(&row.what));
    }
}

fn seconds_only(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..=9 => format!("{seconds:.1}s"),
        10..=119 => format!("{whole}s"),
        120..=7199 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}
