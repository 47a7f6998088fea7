//! `rules` and `dashboards`: write files that are part of the program to a directory.

use std::borrow::Cow;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::cli::{DashboardsArgs, RulesArgs, ShippedArgs};

use super::Failed;

const RULES: &str = include_str!("../../config/prometheus/agent-sessions.rules.yml");

/// Files of the repository by their paths below the directory.
macro_rules! runbooks {
    ($($alert:literal),* $(,)?) => {
        [$((concat!("docs/runbooks/", $alert, ".md"), include_str!(concat!("../../docs/runbooks/", $alert, ".md")))),*]
    };
}

/// Under the paths that the alerts name, and what they all refer to.
const RUNBOOKS: [(&str, &str); 32] = runbooks![
    "AgentCommitsFailing",
    "AgentConfigNotTakenOver",
    "AgentCostOverBudget",
    "AgentCostRunsAway",
    "AgentEventsLate",
    "AgentEventsLost",
    "AgentEventsNotUnderstood",
    "AgentLimitNearlyReached",
    "AgentModelCallsRunAway",
    "AgentNoSuccess",
    "AgentNumbersDisagree",
    "AgentQueueSlow",
    "AgentSeriesOverflow",
    "AgentSessionExporterAbsent",
    "AgentSessionFailed",
    "AgentSessionStuck",
    "AgentSessionTimedOut",
    "AgentSessionsFailing",
    "AgentSessionsFailingAllDay",
    "AgentSessionsUnread",
    "AgentSourceDown",
    "AgentSourceKeyRefused",
    "AgentSourceStale",
    "AgentSourceThrottled",
    "AgentStepsRunAway",
    "AgentStoreGrowing",
    "AgentTaskRestarted",
    "AgentTelemetryRefused",
    "AgentTokensRunAway",
    "AgentToolFailing",
    "AgentTurnsFailingAlike",
    "README",
];

macro_rules! dashboards {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../../dashboards/", $name)))),*] };
}

const DASHBOARDS: [(&str, &str); 4] =
    dashboards!["agent-fleet.json", "agent-models.json", "agent-failures.json", "agent-exporter.json"];

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn rules(args: &RulesArgs) -> Result<(), Failed> {
    let mut rules = format!("# Of agent-session-exporter {VERSION}.\n{RULES}");
    // The shipped annotations are paths: in the repository, and in any Grafana.
    if let Some(base) = &args.runbooks_url {
        rules = rules.replace("runbook_url: docs/", &format!("runbook_url: {base}/docs/"));
    }
    if let Some(base) = &args.grafana_url {
        rules = rules.replace("dashboard_url: \"/d/", &format!("dashboard_url: \"{base}/d/"));
        rules = rules.replace("dashboard_url: /d/", &format!("dashboard_url: {base}/d/"));
    }
    let runbooks = RUNBOOKS.iter().map(|(name, text)| (*name, Cow::Borrowed(*text)));
    write_all(&args.shipped, [("agent-sessions.rules.yml", rules.into())].into_iter().chain(runbooks).collect())
}

pub(super) fn dashboards(args: &DashboardsArgs) -> Result<(), Failed> {
    // JSON has no comments: the version is where Grafana shows it, at the dashboard's name.
    let stamped = |text: &str| {
        let said = "\n  \"description\": \"";
        text.replacen(said, &format!("{said}Of agent-session-exporter {VERSION}. "), 1)
    };
    write_all(&args.shipped, DASHBOARDS.iter().map(|(name, text)| (*name, stamped(text).into())).collect())
}

fn write_all(args: &ShippedArgs, files: Vec<(&str, Cow<'_, str>)>) -> Result<(), Failed> {
    // All are looked at before the first is written: who is refused finds nothing changed.
    for (name, text) in files.iter().filter(|_| !args.force) {
        refuse_changed(&args.out.join(name), text)?;
    }
    for (name, text) in files {
        let path = args.out.join(name);
        write(&path, &text).map_err(|error| {
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
            "{} is there with other content and was left alone: move it away, give another --out, or overwrite all \
             with --force",
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
