//! `healthcheck`: ask a running exporter whether it answers, for images that have no shell and no curl.

use std::time::Duration;

use crate::cli::HealthcheckArgs;
use crate::ingest::Request;
use crate::ingest::transport::Transport;

use super::query::DEFAULT_URL;
use super::{Failed, query};

/// Shorter than container engines wait, so that it is said why.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(args: HealthcheckArgs) -> Result<(), Failed> {
    let url = args.web_url.as_deref().unwrap_or(DEFAULT_URL).trim_end_matches('/');
    let (path, what) = if args.ready { ("/-/ready", "ready") } else { ("/-/healthy", "healthy") };
    let exporter = query::exporter(url, args.http_config_file.as_deref(), PATIENCE)?;
    let request = Request::new("healthcheck", path.into(), Vec::new());
    let answer = exporter.get(&request).await.map_err(|error| Failed::running(format!("{url}: {error}")))?;
    match answer.status {
        200 => Ok(()),
        status => Err(Failed::running(format!("{url}: HTTP {status}: not {what}, or not an agent-session-exporter"))),
    }
}
