//! `sessions` and `show`: ask a running exporter, or read the store of one that is not running.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::cli::{QueryArgs, SessionsArgs, ShowArgs};
use crate::config::HttpFile;
use crate::connection::{self, CERTIFICATE_WANTED, NO_TLS, NOT_TRUSTED, REFUSED};
use crate::domain::{Clock, Span, Status};
use crate::ingest::Request;
use crate::ingest::transport::{Credentials, Http, Transport, TransportError};
use crate::journal::{Archive, Journal, JournalError, SessionDetail, SessionFilter, SessionLine};
use crate::projection::LabelPolicy;
use crate::runtime::URL_FILE;
use crate::telemetry::WallClock;

use super::table::{self, Table};
use super::{Failed, say, told};

/// Where an exporter listens that was not told otherwise.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:17377";
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
    match Journal::read_only(folder, LabelPolicy::default()) {
        Ok(journal) => {
            journal.refuse_older_fold().map_err(Failed::running)?;
            Ok(Who::Store(Box::new(Archive::new(journal))))
        }
        // An exporter has it open: then that one answers, and says where it listens.
        Err(error @ JournalError::InUse { .. }) => running_on(folder)
            .map(Who::Exporter)
            .ok_or_else(|| Failed::running(format!("{error}; or ask that exporter with --web.url http://HOST:PORT"))),
        Err(error) => Err(Failed::running(told(error))),
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
            ask::<Vec<SessionLine>>(&url, &args.from, &request).await?.unwrap_or_default()
        }
    };
    if !args.json {
        return say(Sessions(&lines));
    }
    let lines = lines.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>().map_err(Failed::running)?;
    say(lines.into_iter().map(|line| line + "\n").collect::<String>())
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
            ask::<SessionDetail>(&url, &args.from, &Request::new("session", path, Vec::new())).await?
        }
    };
    let Some(detail) = found else {
        return Err(Failed::running(format!("no session {} is known", args.session_id)));
    };
    if args.json {
        return say(serde_json::to_string_pretty(&detail).map_err(Failed::running)? + "\n");
    }
    say(Detail(&detail))
}

fn status(text: &str) -> Result<Status, Failed> {
    Status::from_label(text).ok_or_else(|| {
        let known = Status::ALL.map(Status::as_str).join(", ");
        Failed::wrong(format!("unknown status {text:?}: use one of {known}"))
    })
}

/// A client for the exporter at this URL, who says who it is as this file wants.
pub(super) fn exporter(url: &str, http_config_file: Option<&Path>, patience: Duration) -> Result<Http, Failed> {
    let file = http_config_file.map(HttpFile::read).transpose().map_err(Failed::wrong)?;
    let HttpFile { user, trust } = file.unwrap_or_default();
    let credentials = user.map_or(Credentials::Nobody, |(name, password)| Credentials::User(name, password));
    Http::to_exporter(url, credentials, &trust, patience).map_err(Failed::running)
}

async fn ask<T: serde::de::DeserializeOwned>(
    url: &str,
    from: &QueryArgs,
    request: &Request,
) -> Result<Option<T>, Failed> {
    let http = exporter(url, from.http_config_file.as_deref(), PATIENCE)?;
    let answer = http.get(request).await.map_err(|error| {
        let hint = unheard_hint(&error)
            .unwrap_or("is an exporter running there? give --web.url, or --storage.path to read its folder");
        Failed::running(format!("{url}: {error}: {hint}"))
    })?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map(Some)
            .map_err(|_| Failed::running(format!("{url}: the answer is not an agent-session-exporter's"))),
        404 => Ok(None),
        status => {
            let hint = refused_hint(url, status).map_or_else(String::new, |hint| format!(": {hint}"));
            Err(Failed::running(format!("{url}: HTTP {status}{hint}")))
        }
    }
}

/// What to do where an exporter's answer did not come; `None` where nobody seems to be there.
pub(super) fn unheard_hint(error: &TransportError) -> Option<&'static str> {
    Some(match error {
        TransportError::Connect(NOT_TRUSTED) => {
            "name its authority as tls_config.ca_file in --http.config.file; a certificate that is its own authority is \
             not taken: make an authority and a certificate from it (docs/configuration.md, \"Asking behind it\")"
        }
        TransportError::Connect(why) if connection::is_about_trust(why) => {
            "name the exporter in --web.url as its certificate does; is that valid now, by the clock here?"
        }
        TransportError::Connect(NO_TLS) => "does it speak HTTP? then give --web.url http://HOST:PORT",
        TransportError::Connect(CERTIFICATE_WANTED | REFUSED) => {
            "give --http.config.file with tls_config.cert_file and tls_config.key_file that it takes"
        }
        TransportError::Connect(_) => return None,
        TransportError::Timeout | TransportError::Cut | TransportError::TooLarge { .. } => {
            "is this an agent-session-exporter?"
        }
    })
}

/// What to do where an exporter does not answer what it was asked.
pub(super) fn refused_hint(url: &str, status: u16) -> Option<&'static str> {
    match status {
        400 if url.starts_with("http://") => Some("does it speak HTTPS? then give --web.url https://HOST:PORT"),
        401 => Some("it wants a user and a password: give --http.config.file with basic_auth"),
        _ => None,
    }
}

/// A list of sessions, for people.
struct Sessions<'a>(&'a [SessionLine]);

impl fmt::Display for Sessions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no session matches");
        }
        let mut table = Table::new(&[
            "SESSION", "SOURCE", "AGENT", "STATUS", "ERROR", "CREATED", "DURATION", "STEPS", "TOKENS", "COST",
        ]);
        for line in self.0 {
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
        write!(f, "{table}")
    }
}

/// A session and its life, for people.
struct Detail<'a>(&'a SessionDetail);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = &self.0.session;
        writeln!(f, "session   {}", session.id)?;
        writeln!(f, "source    {}", session.source)?;
        writeln!(f, "agent     {}", table::one_line(&session.agent))?;
        let error = session.error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
        let gone = if session.gone { ", deleted on the platform" } else { "" };
        writeln!(f, "status    {}{error}{gone}", session.status)?;
        writeln!(f, "verdict   {}", session.verdict.as_deref().unwrap_or("none"))?;
        writeln!(f, "created   {}", session.created_at)?;
        writeln!(f, "started   {}", session.started_at.as_deref().unwrap_or("not yet"))?;
        writeln!(f, "finished  {}", session.finished_at.as_deref().unwrap_or("not yet"))?;
        if let Some(took) = session.duration_seconds {
            writeln!(f, "duration  {}", duration(took))?;
        }
        writeln!(f, "turns     {}, restarts {}, steps {}", session.turns, session.restarts, session.steps)?;
        let cost = session.cost_usd.map_or("unknown".to_owned(), |cost| format!("${cost:.4}"));
        writeln!(f, "tokens    {} in, {} out, cost {cost}", session.input_tokens, session.output_tokens)?;
        if let Some(trace) = &session.trace_id {
            writeln!(f, "trace     {trace}")?;
        }
        if let Some(parent) = &session.parent {
            writeln!(f, "parent    {parent}")?;
        }
        for child in &session.children {
            writeln!(f, "child     {child}")?;
        }
        writeln!(f)?;
        if self.0.left_out > 0 {
            writeln!(f, "{:<27}  {} earlier facts are left out", "", self.0.left_out)?;
        }
        for row in &self.0.timeline {
            writeln!(f, "{:<27}  {}", row.at, table::one_line(&row.what))?;
        }
        Ok(())
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
