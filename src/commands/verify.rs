//! `verify`: whether a store says what its log says, and what the platforms say.

mod platforms;

use std::fmt;

use serde_json::{Value, json};

use crate::cli::VerifyArgs;
use crate::config::{Config, Overrides, StorageConfig, load};
use crate::journal::{Carried, Difference, Of, Total, Verification};
use crate::projection::{Kind, Metric};
use crate::views::catalog;

use super::table::{Table, one_line};
use super::{Failed, open_to_read, say};

/// Columns hold names of metrics, and labels.
const WIDEST: usize = 80;

pub(super) async fn run(args: VerifyArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Failed> {
    let config = configuration(&args, env)?;
    let of_file = config.as_ref().map(|config| config.storage.path.clone());
    let folder = args.storage_path.clone().or(of_file).unwrap_or_else(|| StorageConfig::default().path);
    let journal = open_to_read(&folder).map_err(Failed::unchecked)?;
    let verification = journal.verify().map_err(Failed::wrong)?;
    if !args.json {
        say(format_args!("store        {}\n{}", journal.path().display(), Shown(&verification)))?;
    }
    let asked = match &config {
        Some(config) if args.against_platform => Some(platforms::ask(&journal, config, &args).await?),
        _ => None,
    };
    if args.json {
        let both = json!({ "store": as_json(&verification), "platforms": asked });
        say(serde_json::to_string_pretty(&both).map_err(Failed::running)? + "\n")?;
    } else if let Some(asked) = &asked {
        say(asked)?;
    }
    if !verification.is_good() {
        return Err(Failed::running("the store does not say what its log says"));
    }
    asked.and_then(|asked| asked.outcome()).map_or(Ok(()), Err)
}

/// The configuration, if anything in it is needed.
fn configuration(args: &VerifyArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Config>, Failed> {
    let says_where = args.config_file.is_some() && args.storage_path.is_none();
    if !args.against_platform && !says_where {
        return Ok(None);
    }
    let overrides = Overrides { storage_path: args.storage_path.clone(), ..Overrides::default() };
    load(args.config_file.as_deref(), &overrides, env).map(Some).map_err(Failed::wrong)
}

/// For people.
struct Shown<'a>(&'a Verification);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.0;
        let Verification { sessions, facts, carried, .. } = found;
        writeln!(f, "versions     format {}, fold {}", found.format, found.fold)?;
        writeln!(f, "pages        every checksum is right")?;
        writeln!(f, "sessions     {} folded again, from {facts} facts", sessions.folded)?;
        let only_known = sessions.only_known;
        writeln!(f, "             {only_known} only known to exist: they did nothing yet, or nothing that is kept")?;
        let Carried { sessions, facts, .. } = carried;
        writeln!(
            f,
            "carried      {facts} facts of {sessions} sessions that retention took away: totals keep their share"
        )?;

        let mut totals = Table::new(&["TOTAL", "CARRIED", "FOLDED AGAIN", "STORED"]).up_to(WIDEST);
        for total in found.totals.iter().filter(|total| is_told(total)) {
            let Total { metric, carried, folded, stored } = *total;
            let show = |value| show(metric, value);
            totals.row([total_name(metric), show(carried), show(folded), show(stored)]);
        }
        writeln!(f, "\n{totals}")?;

        if found.is_good() {
            return writeln!(f, "Stored totals, series and sessions are what the log says.");
        }
        for fault in &found.faults {
            writeln!(f, "fault: {}", one_line(fault))?;
        }
        if found.differences.is_empty() {
            return Ok(());
        }
        let mut differences = Table::new(&["SOURCE", "OF", "WHAT", "STORED", "THE LOG SAYS"]).up_to(WIDEST);
        for difference in &found.differences {
            let Difference { source, stored, folded, .. } = difference;
            let (of, what) = name(difference);
            differences.row([source.clone(), of, what, stored.clone(), folded.clone()]);
        }
        write!(f, "{differences}")
    }
}

fn is_told(total: &Total) -> bool {
    total.carried + total.folded + total.stored > 0
}

/// Of which session or series a difference is, and in what.
fn name(difference: &Difference) -> (String, String) {
    match &difference.of {
        Of::Session { id, what } => (id.clone(), (*what).to_owned()),
        Of::Series { metric, labels } => {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
            (catalog::name(*metric).to_owned(), labels.join(" "))
        }
    }
}

fn as_json(found: &Verification) -> Value {
    let totals = found.totals.iter().filter(|total| is_told(total)).map(|total| {
        let Total { metric, carried, folded, stored } = *total;
        json!({ "metric": total_name(metric), "carried": carried, "folded": folded, "stored": stored })
    });
    let differences = found.differences.iter().map(|difference| {
        let Difference { source, stored, folded, .. } = difference;
        let mut value = json!({ "source": source, "stored": stored, "folded": folded });
        match &difference.of {
            Of::Session { id, what } => {
                value["session"] = json!(id);
                value["what"] = json!(what);
            }
            Of::Series { metric, labels } => {
                value["metric"] = json!(catalog::name(*metric));
                value["labels"] = labels.iter().map(|(label, value)| ((*label).to_owned(), json!(value))).collect();
            }
        }
        value
    });
    json!({
        "format": found.format,
        "fold": found.fold,
        "sessions": found.sessions,
        "facts": found.facts,
        "carried": found.carried,
        "totals": totals.collect::<Vec<_>>(),
        "differences": differences.collect::<Vec<_>>(),
        "faults": found.faults,
        "equal": found.is_good(),
    })
}

/// The name of what is added up.
fn total_name(metric: Metric) -> String {
    let name = catalog::name(metric);
    if matches!(metric.kind(), Kind::Histogram(_)) { format!("{name}_count") } else { name.to_owned() }
}

fn show(metric: Metric, value: u64) -> String {
    match metric.kind() {
        Kind::CounterNanoUsd => format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000),
        _ => value.to_string(),
    }
}
