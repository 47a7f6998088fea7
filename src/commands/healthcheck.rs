//! `healthcheck`: ask a running exporter whether it answers, for images that have no shell and no curl.

use std::time::Duration;

use crate::cli::HealthcheckArgs;
use crate::ingest::Request;
use crate::ingest::transport::Transport;

use super::query::DEFAULT_URL;
use super::{Failed, query};

/// Shorter than container engines wait, so that it is said why.
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of an answer that are repeated.
const LONGEST: usize = 200;

pub(super) async fn run(args: HealthcheckArgs) -> Result<(), Failed> {
    let url = args.web_url.as_deref().unwrap_or(DEFAULT_URL).trim_end_matches('/');
    let (path, what) = if args.ready { ("/-/ready", "ready") } else { ("/-/healthy", "healthy") };
    let exporter = query::exporter(url, args.http_config_file.as_deref(), PATIENCE)?;
    let request = Request::new("healthcheck", path.into(), Vec::new());
    let answer = exporter.get(&request).await.map_err(|error| {
        let hint = query::unheard_hint(&error).map_or_else(String::new, |hint| format!(": {hint}"));
        Failed::running(format!("{url}: {error}{hint}"))
    })?;
    let why = match answer.status {
        200 => return Ok(()),
        503 => Some(first_line(&answer.body)).filter(|line| !line.is_empty()),
        status => query::refused_hint(url, status).map(str::to_owned),
    };
    let why = why.unwrap_or_else(|| format!("not {what}, or not an agent-session-exporter"));
    Err(Failed::running(format!("{url}: HTTP {}: {why}", answer.status)))
}

/// What somebody says who may not be an exporter: a few words, and nothing that moves a terminal.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.chars().filter(|it| !it.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_answered_only_the_first_words_are_repeated() {
        assert_eq!(first_line(b"not ready: the store is read back\n"), "not ready: the store is read back");
        assert_eq!(first_line(b"\n a\x1b[31mb\xff\r\nsecond"), "a[31mb\u{fffd}");
        assert_eq!(first_line("\u{e9}".repeat(1000).as_bytes()), "\u{e9}".repeat(LONGEST));
        assert_eq!(first_line(b""), "");
    }
}
