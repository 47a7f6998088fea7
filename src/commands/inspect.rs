//! `inspect`: what is in a store, in numbers.

use crate::cli::InspectArgs;
use crate::domain::Timestamp;
use crate::journal::{Inspection, Phase, SourceCounts};

use super::table::{Table, one_line};
use super::{Failed, open_to_read};

pub(super) fn run(args: &InspectArgs) -> Result<(), Failed> {
    let journal = open_to_read(&args.store.storage_path)?;
    let inspection = journal.inspect().map_err(Failed::running)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&inspection).map_err(Failed::running)?);
    } else {
        println!("store      {}", journal.path().display());
        print(&inspection);
    }
    Ok(())
}

fn print(found: &Inspection) {
    println!("versions   format {}, fold {}", found.format, found.fold);
    println!("size       {}, of which {} are unused", bytes(found.file_bytes), bytes(found.unused_bytes));
    println!("log        {} facts in {} entries", found.log.facts, found.log.entries);
    let carried = &found.carried;
    match carried.before {
        Some(before) => println!(
            "retention  {} facts of {} sessions that settled before {before} were taken away; totals keep their share",
            carried.facts, carried.sessions
        ),
        None => println!("retention  nothing was taken away"),
    }
    println!("outbox     {} spans wait", found.waiting_spans);

    println!();
    let mut tables = Table::new(&["TABLE", "ROWS", "KEYS AND VALUES", "ON DISK"]);
    for table in &found.tables {
        tables.row([table.name.into(), table.rows.to_string(), bytes(table.bytes), bytes(table.bytes_on_disk)]);
    }
    print!("{tables}");

    for source in &found.sources {
        println!();
        print_source(source);
    }
}

fn print_source(source: &SourceCounts) {
    println!("source     {} ({})", one_line(&source.name), one_line(&source.account));
    let is_all = source.counts_from <= Timestamp::default();
    println!("counts     from {}", if is_all { "the beginning".to_owned() } else { source.counts_from.to_string() });
    for (walk, until) in &source.walks {
        println!("walk       {} until {until}", one_line(walk));
    }
    if let (Some(oldest), Some(newest)) = (source.oldest_fact, source.newest_fact) {
        println!("facts      {}, from {oldest} to {newest}", source.facts);
    }
    let statuses: Vec<String> = source.by_status.iter().map(|(status, count)| format!("{count} {status}")).collect();
    println!("statuses   {}", if statuses.is_empty() { "no sessions".to_owned() } else { statuses.join(", ") });
    let mut phases = Table::new(&["PHASE", "SESSIONS", "POSITIONS READ", "LAST EVENTS FROM", "TO"]);
    for (name, phase) in [("active", &source.active), ("settled", &source.settled)] {
        let Phase { sessions, positions, earliest, latest } = phase;
        let [earliest, latest] = [earliest, latest].map(|at| at.map(|at| at.to_string()).unwrap_or_default());
        phases.row([name.into(), sessions.to_string(), positions.to_string(), earliest, latest]);
    }
    print!("{phases}");
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
