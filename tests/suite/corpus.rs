//! What the fuzzer found worth keeping goes through the functions that it calls: nothing of it breaks anything.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod fuzzed;

/// Gives every file of a folder to a target.
fn replay(target: fn(&[u8]), folder: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable entry").path();
        let data = std::fs::read(&path).expect("a readable file");
        assert!(catch_unwind(|| target(&data)).is_ok(), "{} breaks it", path.display());
        count += 1;
    }
    count
}

/// As many as there are, so that an empty folder is noticed; with whole documents where there are any.
fn holds(name: &str, target: fn(&[u8]), documents: &[&str]) {
    let kept = replay(target, &format!("fuzz/corpus/{name}"));
    assert!(kept > 20, "{kept} files are no corpus");
    for folder in documents {
        assert!(replay(target, folder) > 5);
    }
    // What is found worth keeping by damage to it.
    target(b"");
    target(&[0xff; 70_000]);
}

#[test]
fn bodies_of_h() {
    holds("decode_hcompany", fuzzed::decode_hcompany::run, &["tests/fixtures/hcompany"]);
}

#[test]
fn bodies_of_everruns() {
    let documents = ["tests/fixtures/everruns/serve-0.50.1", "tests/fixtures/everruns/v0.3.0-server"];
    holds("decode_everruns", fuzzed::decode_everruns::run, &documents);
}

#[test]
fn log_entries() {
    holds("journal_entry", fuzzed::journal_entry::run, &[]);
}

#[test]
fn configurations() {
    holds("configuration", fuzzed::configuration::run, &["config"]);
}

#[test]
fn values() {
    holds("values", fuzzed::values::run, &[]);
}

#[test]
fn connections() {
    holds("connection", fuzzed::connection::run, &[]);
}
