//! `inspect`: what is in a store, in numbers.

use std::fmt;

use crate::cli::InspectArgs;
use crate::domain::Timestamp;
use crate::journal::{Carried, Inspection, Phase, SourceCounts};

use super::table::{Table, one_line};
use super::{Failed, open_to_read, say};

pub(super) fn run(args: &InspectArgs) -> Result<(), Failed> {
    let journal = open_to_read(&args.store.storage_path)?;
    let inspection = journal.inspect().map_err(Failed::running)?;
    if args.json {
        return say(format_args!("{}\n", serde_json::to_string_pretty(&inspection).map_err(Failed::running)?));
    }
    say(format_args!("store      {}\n{}", journal.path().display(), Shown(&inspection)))
}

/// For people.
struct Shown<'a>(&'a Inspection);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.0;
        writeln!(f, "versions   format {}, fold {}", found.format, found.fold)?;
        writeln!(f, "size       {}, of which {} are unused", bytes(found.file_bytes), bytes(found.unused_bytes))?;
        writeln!(f, "log        {} facts in {} entries", found.log.facts, found.log.entries)?;
        let Carried { facts, sessions, before } = found.carried;
        match before {
            Some(before) => {
                let took = format!("{facts} facts of {sessions} sessions that settled before {before}");
                writeln!(f, "retention  {took} were taken away; totals keep their share")?;
            }
            None => writeln!(f, "retention  nothing was taken away")?,
        }
        writeln!(f, "outbox     {} spans wait", found.waiting_spans)?;

        let mut tables = Table::new(&["TABLE", "ROWS", "KEYS AND VALUES", "ON DISK"]);
        for table in &found.tables {
            tables.row([table.name.into(), table.rows.to_string(), bytes(table.bytes), bytes(table.bytes_on_disk)]);
        }
        write!(f, "\n{tables}")?;
        found.sources.iter().try_for_each(|source| show_source(source, f))
    }
}

fn show_source(source: &SourceCounts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\nsource     {} ({})", one_line(&source.name), one_line(&source.account))?;
    let is_all = source.counts_from <= Timestamp::default();
    writeln!(
        f,
        "counts     from {}",
        if is_all { "the beginning".to_owned() } else { source.counts_from.to_string() }
    )?;
    for (walk, until) in &source.walks {
        writeln!(f, "walk       {} until {until}", one_line(walk))?;
    }
    if let (Some(oldest), Some(newest)) = (source.oldest_fact, source.newest_fact) {
        writeln!(f, "facts      {}, from {oldest} to {newest}", source.facts)?;
    }
    let statuses: Vec<String> = source.by_status.iter().map(|(status, count)| format!("{count} {status}")).collect();
    writeln!(f, "statuses   {}", if statuses.is_empty() { "no sessions".to_owned() } else { statuses.join(", ") })?;
    let mut phases = Table::new(&["PHASE", "SESSIONS", "POSITIONS READ", "LAST EVENTS FROM", "TO"]);
    for (name, phase) in [("active", &source.active), ("settled", &source.settled)] {
        let Phase { sessions, positions, earliest, latest } = phase;
        let [earliest, latest] = [earliest, latest].map(|at| at.map(|at| at.to_string()).unwrap_or_default());
        phases.row([name.into(), sessions.to_string(), positions.to_string(), earliest, latest]);
    }
    write!(f, "{phases}")
}

/// In units of 1000.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 999, 1000, 999_949, 999_950, 134_746_112, 5_000_000_000_000_000];
        assert_eq!(sizes.map(bytes), ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "134.7 MB", "5000.0 TB"]);
    }
}
