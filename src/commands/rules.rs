//! `rules`: writes the alerts and their runbooks, which are part of the program, to a directory.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::cli::RulesArgs;

use super::Failed;

const RULES: &str = include_str!("../../config/prometheus/agent-sessions.rules.yml");

/// Files of the repository by their paths below the directory.
macro_rules! runbooks {
    ($($alert:literal),* $(,)?) => {
        [$((concat!("docs/runbooks/", $alert, ".md"), include_str!(concat!("../../docs/runbooks/", $alert, ".md")))),*]
    };
}

/// Under the paths that the alerts name.
const RUNBOOKS: [(&str, &str); 21] = runbooks![
    "AgentCommitsFailing",
    "AgentCostOverBudget",
    "AgentEventsLost",
    "AgentLimitNearlyReached",
    "AgentNoSuccess",
    "AgentQueueSlow",
    "AgentSeriesOverflow",
    "AgentSessionExporterAbsent",
    "AgentSessionFailed",
    "AgentSessionStuck",
    "AgentSessionTimedOut",
    "AgentSessionsFailing",
    "AgentSourceDown",
    "AgentSourceKeyRefused",
    "AgentSourceStale",
    "AgentSourceThrottled",
    "AgentStepsRunAway",
    "AgentTelemetryRefused",
    "AgentTokensRunAway",
    "AgentToolFailing",
    "AgentTurnsFailingAlike",
];

pub(super) fn run(args: &RulesArgs) -> Result<(), Failed> {
    let rules = format!("# Of agent-session-exporter {}.\n{RULES}", env!("CARGO_PKG_VERSION"));
    let files = || [("agent-sessions.rules.yml", rules.as_str())].into_iter().chain(RUNBOOKS);
    // All are looked at before the first is written: who is refused finds nothing changed.
    for (name, text) in files() {
        refuse_changed(&args.out.join(name), text)?;
    }
    for (name, text) in files() {
        let path = args.out.join(name);
        write(&path, text).map_err(|error| {
            Failed::running(format!("cannot write {}: {error}; give another --out", path.display()))
        })?;
        // A closed pipe only means that nobody reads along.
        let _ = writeln!(std::io::stdout(), "{}", path.display());
    }
    Ok(())
}

/// Somebody's own thresholds may be in what is there.
fn refuse_changed(path: &Path, text: &str) -> Result<(), Failed> {
    match fs::read(path) {
        Ok(found) if found == text.as_bytes() => Ok(()),
        Ok(_) => Err(Failed::running(format!(
            "{} is there with other content and was left alone: move it away, or give another --out",
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failed::running(format!("cannot read {}: {error}; give another --out", path.display()))),
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)
}
