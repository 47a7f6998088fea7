//! The part of `verify` that asks platforms: which sources can be asked, and what came of it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::audit::{Audit, Extent, LeftOut, Silent, Watched, audit};
use crate::cli::VerifyArgs;
use crate::config::{Config, SourceConfig};
use crate::domain::SourceIx;
use crate::ingest::access::Access;
use crate::ingest::limiter::Limiter;
use crate::ingest::transport::Http;
use crate::journal::Journal;
use crate::projection::{LabelPolicy, SourceRecord};
use crate::runtime::{account, account_name};
use crate::telemetry::WallClock;

use super::super::Failed;
use super::super::table::Table;
use super::WIDEST;

/// What came of asking.
#[derive(Serialize)]
pub(super) struct Asked {
    /// Of each source that could be asked.
    pub(super) sources: Vec<Audit>,
    /// Those that could not be, and why.
    pub(super) not_asked: Vec<NotAsked>,
}

/// A source whose platform was not asked.
#[derive(Serialize)]
pub(super) struct NotAsked {
    source: String,
    why: String,
    /// Something has to be mended before it can be.
    #[serde(skip)]
    is_wrong: bool,
}

impl Asked {
    /// What is wrong, in a few words; `None` if everything is equal.
    pub(super) fn outcome(&self) -> Option<Failed> {
        let sum = |count: fn(&Audit) -> u64| self.sources.iter().map(count).sum::<u64>();
        let differing = sum(|audit| audit.differing);
        if differing > 0 {
            return Some(Failed::running(format!("{differing} sessions differ from what their platform says")));
        }
        let failures = sum(Audit::failures);
        if failures > 0 {
            return Some(Failed::wrong(format!("{failures} sessions could not be asked for")));
        }
        if let Some(strange) = self.sources.iter().find(|audit| audit.is_of_another_account()) {
            let source = &strange.source;
            return Some(Failed::wrong(format!(
                "source {source}: none of the sessions that were asked for is known there: were they deleted, or is the \
                 key that of another account?"
            )));
        }
        // Who is watched no more need not be asked; nobody asked at all is another matter.
        let is_told = |it: &&NotAsked| it.is_wrong || self.sources.is_empty();
        let why: Vec<String> =
            self.not_asked.iter().filter(is_told).map(|it| format!("source {}: {}", it.source, it.why)).collect();
        if !why.is_empty() {
            return Some(Failed::wrong(why.join("; ")));
        }
        (sum(Audit::compared) == 0).then(|| Failed::wrong("nothing could be compared: no session that came to rest"))
    }
}

/// Asks for sessions of every source that is in the store and in the configuration.
pub(super) async fn ask(journal: &Journal, config: &Config, args: &VerifyArgs) -> Result<Asked, Failed> {
    let extent = if args.all { Extent::All } else { Extent::Sample(args.sample) };
    let labels = &config.labels;
    let policy = LabelPolicy { max_length: labels.max_length, max_series: labels.max_series_per_metric };
    let stored = journal.sources().map_err(Failed::wrong)?;
    for name in &args.source {
        if !stored.iter().any(|record| record.name == *name) {
            return Err(Failed::wrong(format!("the store has no source {name}")));
        }
    }
    let mut asked = Asked { sources: Vec::new(), not_asked: Vec::new() };
    for (number, record) in stored.into_iter().enumerate() {
        if !args.source.is_empty() && !args.source.contains(&record.name) {
            continue;
        }
        let ix = SourceIx(u16::try_from(number).expect("far fewer than 65536 sources"));
        match watched(ix, &record, config) {
            Ok(watched) => asked.sources.push(audit(journal, watched, extent, policy).await.map_err(Failed::wrong)?),
            Err((why, is_wrong)) => asked.not_asked.push(NotAsked { source: record.name, why, is_wrong }),
        }
    }
    Ok(asked)
}

/// How the platform of a stored source is reached; or why it cannot be, and whether that is wrong.
fn watched(ix: SourceIx, record: &SourceRecord, config: &Config) -> Result<Watched, (String, bool)> {
    let source = config.sources.iter().find(|source| source.name == record.name);
    let source: &SourceConfig = source.ok_or_else(|| ("it is not in the configuration".to_owned(), false))?;
    if account_name(source) != record.account {
        return Err((format!("it was another account before ({})", record.account), true));
    }
    let platform = (source.platform.connect)(account(source, record.count_from));
    let transport =
        Http::new(source.base_url.as_str(), source.api_key.clone(), &platform.headers(), source.request_timeout)
            .map_err(|error| (error.to_string(), true))?;
    let access = Access {
        transport: Arc::new(transport),
        limiter: Limiter::new(source.requests_per_second),
        request_timeout: source.request_timeout,
        clock: Arc::new(WallClock),
        witness: Arc::new(Silent),
    };
    Ok(Watched { ix, name: record.name.clone(), platform, access, concurrency: source.concurrency })
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for audit in &self.sources {
            show(audit, f)?;
        }
        for NotAsked { source, why, .. } in &self.not_asked {
            writeln!(f, "\nsource       {source} was not asked: {why}")?;
        }
        if self.sources.iter().all(|audit| audit.differences.is_empty()) {
            return Ok(());
        }
        let mut table = Table::new(&["SOURCE", "SESSION", "WHAT", "OURS", "THEIRS"]).up_to(WIDEST);
        for audit in &self.sources {
            for it in &audit.differences {
                table.row([
                    audit.source.clone(),
                    it.session.clone(),
                    it.what.clone(),
                    it.ours.clone(),
                    it.theirs.clone(),
                ]);
            }
        }
        write!(f, "\n{table}")
    }
}

fn show(audit: &Audit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Audit { source, equal, differing, .. } = audit;
    if audit.compared() == 0 {
        writeln!(f, "\nsource       {source}: nothing could be compared")?;
    } else {
        writeln!(
            f,
            "\nsource       {source}: {equal} sessions are equal to what the platform says, {differing} differ"
        )?;
    }
    if audit.without_tokens > 0 {
        let count = audit.without_tokens;
        writeln!(f, "             of {count} tokens were not compared: events are missing, or another session's")?;
    }
    let LeftOut { going_on, only_known, gone, not_drawn, moved, unknown } = audit.left_out;
    for (count, why) in [
        (moved, "have moved since they were last read"),
        (going_on, "went on when they were last read"),
        (only_known, "are only known to exist: there is nothing to compare"),
        (gone, "were deleted on the platform"),
        (unknown, "are not known there any more"),
        (not_drawn, "were not drawn"),
    ] {
        if count > 0 {
            writeln!(f, "left out     {count} {why}")?;
        }
    }
    for (why, count) in &audit.failed {
        writeln!(f, "failed       {count} could not be asked for: {why}")?;
    }
    Ok(())
}
