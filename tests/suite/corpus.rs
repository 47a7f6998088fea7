//! What the fuzzer found worth keeping goes through the functions that it calls: nothing of it breaks anything.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod fuzzed;

/// What a target is.
type Target = fn(&[u8]);

/// Gives every file of a folder to a target, and tells how many there are.
fn replay(target: Target, folder: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| give(target, &file.expect("a readable entry").path())).count()
}

fn give(target: Target, file: &Path) {
    let data = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(catch_unwind(|| target(&data)).is_ok(), "{} breaks it", file.display());
}

/// The corpus of a target, what was written by hand for it, and what nobody needs to find. An empty folder is noticed.
fn holds(name: &str, target: Target) {
    let kept = replay(target, &format!("fuzz/corpus/{name}"));
    assert!(kept > 20, "{kept} files are no corpus");
    let by_hand = format!("fuzz/seeds/{name}");
    if Path::new(env!("CARGO_MANIFEST_DIR")).join(&by_hand).exists() {
        replay(target, &by_hand);
    }
    target(b"");
    target(&[0xff; 70_000]);
}

#[test]
fn bodies_of_h() {
    holds("decode_hcompany", fuzzed::decode_hcompany::run);
    assert!(replay(fuzzed::decode_hcompany::run, "tests/fixtures/hcompany") > 50);
}

#[test]
fn bodies_of_everruns() {
    holds("decode_everruns", fuzzed::decode_everruns::run);
    for age in ["serve-0.50.1", "v0.3.0-server"] {
        assert!(replay(fuzzed::decode_everruns::run, &format!("tests/fixtures/everruns/{age}")) > 10);
    }
}

#[test]
fn log_entries() {
    holds("journal_entry", fuzzed::journal_entry::run);
}

#[test]
fn configurations() {
    holds("configuration", fuzzed::configuration::run);
    give(fuzzed::configuration::run, &Path::new(env!("CARGO_MANIFEST_DIR")).join("config/exporter.yaml"));
}

#[test]
fn values() {
    holds("values", fuzzed::values::run);
}

#[test]
fn connections() {
    holds("connection", fuzzed::connection::run);
}
