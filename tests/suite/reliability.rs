//! The table of faults in docs/reliability.md: every test that it names exists.

use std::collections::BTreeSet;
use std::path::Path;

const TABLE: &str = include_str!("../../docs/reliability.md");

/// Names in the last column of the tables, and in which row.
fn named() -> Vec<(&'static str, &'static str)> {
    let mut named = Vec::new();
    let mut tells_tests = false;
    for line in TABLE.lines() {
        if !line.starts_with('|') {
            tells_tests = false;
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells.last() == Some(&"Tests") {
            tells_tests = true;
        } else if tells_tests && !line.starts_with("| ---") {
            assert_eq!(cells.len(), 4, "fault, what is seen, what to do, tests: {line}");
            let tests: Vec<&str> = cells[3].split(", ").map(|name| name.trim_matches('`')).collect();
            assert!(tests.iter().all(|name| name.len() > 10), "a fault without a test: {line}");
            named.extend(tests.into_iter().map(|test| (test, cells[0])));
        }
    }
    named
}

/// Names of the functions that a file marks as tests.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut is_marked = false;
    text.lines().map(str::trim).filter_map(move |line| {
        is_marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split('(').next()?;
        std::mem::take(&mut is_marked).then_some(name)
    })
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("readable text");
            found.extend(tests_in(&text).map(str::to_owned));
        }
    }
}

#[test]
fn every_fault_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    ["tests", "src"].iter().for_each(|folder| collect(&root.join(folder), &mut found));
    let named = named();
    assert!(named.len() > 40, "the tables are read: {}", named.len());
    let missing: Vec<_> = named.iter().filter(|(test, _)| !found.contains(*test)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn functions_are_tests_only_where_they_are_marked() {
    let text = "#[test]\nfn one() {}\nfn two() {}\n#[tokio::test(start_paused = true)]\nasync fn three() {}\n\
                proptest! {\n    #[test]\n    fn four(x in 0..3) {}\n}";
    assert_eq!(tests_in(text).collect::<Vec<_>>(), ["one", "three", "four"]);
}
