//! What the fuzzer found worth keeping goes through the functions that it calls, as it is and changed by chance: nothing
//! of it breaks anything. The fuzzer itself sees where an input leads and goes on from there; this only guesses, but takes
//! seconds and runs with every change. `CHANGES=1000 SEED=7` guesses more, and elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::support::asked;

#[path = "../../fuzz/src/lib.rs"]
mod fuzzed;

/// What a target is.
type Target = fn(&[u8]);

/// Changed copies of each input in `cargo test`.
const FEW: u64 = 10;
/// What numbers, names and ends are made of.
const TELLING: &[u8] = b"\0\n\r\t \"'{}[]:,.-+eE09%$\\\x7f\x80\xc3\xff";
/// Changes to one copy at most.
const MOST_CHANGES: usize = 4;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every file of a folder, in the order of names.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = root(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    files.sort();
    files
}

fn give(target: Target, file: &Path) {
    let data = read(file);
    assert!(catch_unwind(|| target(&data)).is_ok(), "{} breaks it", file.display());
}

/// Gives every file of a folder to a target, and tells how many there are.
fn replay(target: Target, folder: &str) -> usize {
    files(folder).iter().map(|file| give(target, file)).count()
}

/// Somewhere in `0..=length`, and how far from there.
fn stretch(dice: &mut fastrand::Rng, length: usize) -> std::ops::Range<usize> {
    let from = dice.usize(..=length);
    from..dice.usize(from..=length.min(from + 64))
}

/// One change: of a bit or a byte, or of a stretch that is taken out, doubled, cut off behind, or taken from another.
fn change(data: &mut Vec<u8>, other: &[u8], dice: &mut fastrand::Rng) {
    let at = stretch(dice, data.len());
    match dice.u8(..6) {
        0 if at.start < data.len() => data[at.start] ^= 1 << dice.u8(..8),
        1 if at.start < data.len() => data[at.start] = TELLING[dice.usize(..TELLING.len())],
        2 => drop(data.drain(at)),
        3 => {
            let again = data[at.clone()].to_vec();
            data.splice(at.end..at.end, again);
        }
        4 => data.truncate(at.end),
        _ => drop(data.splice(at, other[stretch(dice, other.len())].iter().copied())),
    }
}

/// Gives changed copies of all inputs to a target.
fn guess(target: Target, inputs: &[Vec<u8>]) {
    let seed = asked("SEED").unwrap_or(1);
    let mut dice = fastrand::Rng::with_seed(seed);
    for round in 0..asked("CHANGES").unwrap_or(FEW) {
        for input in inputs {
            let (mut data, other) = (input.clone(), &inputs[dice.usize(..inputs.len())]);
            for _ in 0..dice.usize(1..=MOST_CHANGES) {
                change(&mut data, other, &mut dice);
            }
            let went_well = catch_unwind(AssertUnwindSafe(|| target(&data))).is_ok();
            assert!(went_well, "SEED={seed}, round {round}: this breaks it: \"{}\"", data.escape_ascii());
        }
    }
}

/// The corpus of a target, what was written by hand for it, and what nobody needs to find. An empty folder is noticed.
fn holds(name: &str, target: Target) {
    let kept = format!("fuzz/corpus/{name}");
    let count = replay(target, &kept);
    assert!(count > 20, "{count} files are no corpus");
    let by_hand = format!("fuzz/seeds/{name}");
    if root(&by_hand).exists() {
        replay(target, &by_hand);
    }
    target(b"");
    target(&[0xff; 70_000]);
    guess(target, &files(&kept).iter().map(|file| read(file)).collect::<Vec<_>>());
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
    give(fuzzed::configuration::run, &root("config/exporter.yaml"));
}

#[test]
fn values() {
    holds("values", fuzzed::values::run);
}

#[test]
fn connections() {
    holds("connection", fuzzed::connection::run);
}

#[test]
#[should_panic(expected = "this breaks it")]
fn what_breaks_a_target_is_found() {
    guess(|data| assert!(!data.contains(&b'"'), "it cannot take quotes"), &vec![b"quite harmless".to_vec(); 40]);
}
