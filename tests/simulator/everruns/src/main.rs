//! Judges the Everruns simulator with the vendor's own published types.
//!
//! ```text
//! KEY=... everruns-judge http://127.0.0.1:PORT [--sessions COUNT]
//! everruns-judge --files DIRECTORY...
//! ```
//!
//! What it checks:
//!
//! * every event decodes into the variant of its type in `everruns-contracts` 0.50.1, which is what the vendor's runtime
//!   writes and reads events with; nothing lands in the variant for what it cannot decode;
//! * no event has a field that the vendor's type does not have, so a misspelt optional field is found too;
//! * every session decodes into the type of `everruns-sdk` 0.3.1, in the list and alone;
//! * no event is of a type that exists in streams only, sequences rise, and a session's pages hold what one read holds;
//! * the vendor's own client can read sessions and their events, and sees the same events.
//!
//! What it cannot:
//!
//! * the platform's server is not published. That it fills these types as the simulator does, in this order and with
//!   these pauses, is known from recorded answers only;
//! * the published client is older than the platform: it lacks a state and some fields of a session. `judge.rs` lists
//!   them, and for those the simulator's word stands;
//! * types and fields that the simulator plants on purpose, to see that a reader gets over them, are counted, not
//!   judged. `judge.rs` says how their names start. So are ids that are one digit short;
//! * fields without which the vendor's type decodes may be missing, and numbers may be nonsense.

use std::collections::BTreeMap;
use std::process::ExitCode;

mod files;
mod judge;
mod walk;

/// How many different failures are printed.
const SHOWN: usize = 20;

/// What was judged so far.
#[derive(Default)]
pub struct Report {
    sessions: usize,
    newer_states: usize,
    client_sessions: usize,
    short_ids: usize,
    typed: BTreeMap<String, usize>,
    planted: BTreeMap<String, usize>,
    /// how often each failure came up
    failures: BTreeMap<String, usize>,
}

impl Report {
    /// Judges one event of a simulator, which plants ids that are too short.
    fn simulated_event(&mut self, raw: &serde_json::Value) {
        let mut mended = raw.clone();
        self.short_ids += judge::lengthen_ids(&mut mended);
        self.event(&mended);
    }

    /// Judges one event.
    fn event(&mut self, raw: &serde_json::Value) {
        let kind = raw.get("type").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        match judge::event(raw) {
            Ok(judge::Verdict::Typed) => *self.typed.entry(kind).or_default() += 1,
            Ok(judge::Verdict::Planted) => *self.planted.entry(kind).or_default() += 1,
            Err(failure) => self.fail(failure),
        }
    }

    /// Judges one session of the list.
    fn session(&mut self, raw: &serde_json::Value) {
        self.sessions += 1;
        match judge::session(raw) {
            Ok(newer) => self.newer_states += usize::from(newer),
            Err(failure) => self.fail(failure),
        }
    }

    /// Judges a session that the list had already, as it is served alone.
    fn session_again(&mut self, raw: &serde_json::Value) {
        if let Err(failure) = judge::session(raw) {
            self.fail(failure);
        }
    }

    /// Counts a failure; only its first occurrence is printed.
    fn fail(&mut self, failure: String) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Prints what was judged. True when nothing failed.
    fn print(&self) -> bool {
        let events: usize = self.typed.values().sum();
        let planted: usize = self.planted.values().sum();
        if self.sessions > 0 {
            println!(
                "{} sessions, {} of them in a state newer than the vendor's client, {} read with that client too",
                self.sessions, self.newer_states, self.client_sessions
            );
            println!("{} ids in events with one digit less than the vendor's", self.short_ids);
        }
        println!("{events} events of {} types, and {planted} planted ones", self.typed.len());
        for (kind, count) in self.typed.iter().chain(&self.planted) {
            println!("  {count:>7}  {kind}");
        }
        let failed: usize = self.failures.values().sum();
        for (failure, count) in self.failures.iter().take(SHOWN) {
            eprintln!("FAILED {count} times: {failure}");
        }
        if self.failures.len() > SHOWN {
            eprintln!("and {} more kinds of failure", self.failures.len() - SHOWN);
        }
        failed == 0
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut report = Report::default();
    let ran = match words.as_slice() {
        ["--files", directories @ ..] if !directories.is_empty() => files::judge(directories, &mut report),
        [base] if !base.starts_with('-') => walk::judge(base, 1, &mut report),
        [base, "--sessions", count] if !base.starts_with('-') => match count.parse() {
            Ok(count) => walk::judge(base, count, &mut report),
            Err(_) => Err(format!("--sessions {count}: not a number")),
        },
        _ => {
            eprintln!("usage: KEY=... everruns-judge BASE [--sessions COUNT] | everruns-judge --files DIRECTORY...");
            return ExitCode::from(64);
        }
    };
    if let Err(problem) = ran {
        report.fail(problem);
    }
    if report.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
