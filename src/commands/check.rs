//! `check`: validates the configuration, looks at the place of the store, then asks each source what it will be able to
//! do.

use crate::cli::CheckArgs;
use crate::config::{Overrides, SourceConfig, StorageConfig, WebConfigFile, load};
use crate::connection::{self, NO_HOST, NO_TLS, NOT_TRUSTED};
use crate::domain::{Clock, Timestamp};
use crate::ingest::platforms::{Finding, SettingKind};
use crate::ingest::transport::{Http, Transport, TransportError};
use crate::runtime::account;
use crate::telemetry::WallClock;

use super::{Env, Failed, say, store_place};

pub(super) async fn run(args: CheckArgs, env: Env<'_>) -> Result<(), Failed> {
    let is_named = args.storage_path.is_some();
    let overrides =
        Overrides { without_commands: args.offline, storage_path: args.storage_path, ..Overrides::default() };
    let config = load(Some(&args.config_file), &overrides, env).map_err(Failed::wrong)?;
    line(format_args!("{}: can be used, {} source(s)", args.config_file.display(), config.sources.len()))?;
    for remark in &config.remarks {
        line(format_args!("warning: {remark}"))?;
    }
    if let Some(path) = &args.web_config_file {
        let (_, web) = WebConfigFile::open(path).map_err(Failed::wrong)?;
        let scheme = if web.tls.is_some() { "HTTPS" } else { "HTTP" };
        line(format_args!("{}: can be used, {scheme}, {} user(s)", path.display(), web.users.len()))?;
        for remark in web.remarks(WallClock.now()) {
            line(format_args!("  note  {remark}"))?;
        }
    }
    if args.offline {
        return Ok(());
    }
    let storage = &config.storage.path;
    line(format_args!("\nstorage {}", storage.display()))?;
    let mut broken = Vec::new();
    match store_place::usable(storage) {
        Ok(()) => tell("ok", "directory", "can be written to")?,
        // Who names none may well name one to `serve`.
        Err(why) if !is_named && *storage == StorageConfig::default().path => {
            let text = format!("{why}; does serve get another --storage.path? then give it here, too");
            tell("note", "directory", &text)?;
        }
        Err(why) => {
            tell("FAIL", "directory", &format!("{why}; give a writable directory"))?;
            broken.push("the store");
        }
    }
    for source in &config.sources {
        line(format_args!("\nsource {} ({}, {})", source.name, source.platform.name, source.base_url.as_str()))?;
        for setting in source.platform.settings {
            let unit = if matches!(setting.kind, SettingKind::Duration(..)) { "s" } else { "" };
            if let Some(value) = source.settings.get(setting.key).filter(|value| !value.is_empty()) {
                line(format_args!("  {:4}  {:<16} {value}{unit}", "", setting.key))?;
            }
        }
        if !ask(source).await? {
            broken.push(source.name.as_str());
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failed::running(format!("will not work: {}", broken.join(", "))))
}

/// Puts every question to a source; false if it will not work.
async fn ask(source: &SourceConfig) -> Result<bool, Failed> {
    let platform = (source.platform.connect)(account(source, Timestamp::default()));
    let http = Http::new(source.base_url.as_str(), source.api_key.clone(), &platform.headers(), source.request_timeout)
        .map_err(Failed::running)?;
    let mut works = true;
    for (number, check) in platform.checks(WallClock.now()).into_iter().enumerate() {
        let mut finding = None;
        for (form, request) in check.requests.iter().enumerate() {
            let asked_at = WallClock.now();
            let answer = http.get(request).await;
            let received_at = WallClock.now();
            if number == 0 && form == 0 {
                reachable(&answer.as_ref().map(|answer| answer.skew(asked_at, received_at)))?;
            }
            let found = match answer {
                Ok(answer) => (check.judge)(answer.status, &answer.body),
                Err(error) => Finding::Bad(unreachable_hint(&error)),
            };
            if !matches!(found, Finding::Bad(_)) {
                finding = Some(found);
                break;
            }
            // What is wrong with the newest form says most.
            finding.get_or_insert(found);
        }
        let Some(finding) = finding else { continue };
        let (sign, text) = match &finding {
            Finding::Good(text) => ("ok", text),
            Finding::Note(text) => ("note", text),
            Finding::Bad(text) => ("FAIL", text),
        };
        tell(sign, check.what, text)?;
        if matches!(finding, Finding::Bad(_)) {
            works = false;
            if number == 0 {
                // Nothing else would be learnt from a key that is refused or a host that does not answer.
                break;
            }
        }
    }
    Ok(works)
}

/// Says so, and by how much the platform's clock differs from ours.
fn reachable(skew: &Result<Option<f64>, &TransportError>) -> Result<(), Failed> {
    let Ok(skew) = skew else { return Ok(()) };
    tell("ok", "reachable", "yes")?;
    let Some(skew) = skew else {
        return tell("note", "clock skew", "unknown: answers carry no date");
    };
    let sign = if skew.abs() > 5.0 { "note" } else { "ok" };
    tell(sign, "clock skew", &format!("{skew:+.1} s"))
}

/// What was found out about one thing.
fn tell(sign: &str, what: &str, text: &str) -> Result<(), Failed> {
    line(format_args!("  {sign:4}  {what:<16} {text}"))
}

/// One line of the answer, at once: what is asked next may take its time.
fn line(text: impl std::fmt::Display) -> Result<(), Failed> {
    say(format_args!("{text}\n"))
}

fn unreachable_hint(error: &TransportError) -> String {
    let hint = match error {
        TransportError::Connect(NO_HOST) => "is base_url right, and can this machine resolve names?",
        TransportError::Connect(NOT_TRUSTED) => {
            "is base_url right? if its authority is a private one, it has to be among the system's (SSL_CERT_FILE)"
        }
        TransportError::Connect(why) if connection::is_about_trust(why) => {
            "is base_url right? the certificate says otherwise, or our clock does"
        }
        TransportError::Connect(NO_TLS) => "is base_url right, https or http?",
        TransportError::Connect(_) => "is base_url right, and reachable from here (firewall, proxy)?",
        TransportError::Timeout => "is base_url right? if it is slow, raise request_timeout",
        TransportError::Cut | TransportError::TooLarge { .. } => "is this the platform's API?",
    };
    format!("{error}: {hint}")
}
