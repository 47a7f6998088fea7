//! The table of faults in docs/reliability.md: every test that it names exists and is run, and what it says is seen can
//! be seen.

use std::collections::BTreeSet;
use std::path::Path;

const TABLE: &str = include_str!("../../docs/reliability.md");
const METRICS: &str = include_str!("../../docs/metrics.md");
const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const ALERTS: &str = include_str!("../../config/prometheus/agent-sessions.rules.yml");

/// The rows of the tables: fault, what is seen, what to do, tests.
fn rows() -> Vec<Vec<&'static str>> {
    let mut rows = Vec::new();
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
            rows.push(cells);
        }
    }
    rows
}

/// Tests in the last column, and in which row.
fn named() -> Vec<(&'static str, &'static str)> {
    let mut named = Vec::new();
    for cells in rows() {
        let tests: Vec<&str> = cells[3].split(", ").map(|name| name.trim_matches('`')).collect();
        assert!(tests.iter().all(|name| name.len() > 10), "a fault without a test: {cells:?}");
        named.extend(tests.into_iter().map(|test| (test, cells[0])));
    }
    named
}

/// Names of the functions that a file marks as tests that are always run.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut is_marked = false;
    text.lines().map(str::trim).filter_map(move |line| {
        is_marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        is_marked &= !line.starts_with("#[ignore");
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
fn what_is_said_to_be_seen_can_be_seen() {
    let (mut metrics, mut alerts) = (0, 0);
    for cells in rows() {
        for word in cells[1].split('`').skip(1).step_by(2) {
            let is_name = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && word.contains('_');
            if word.starts_with("Agent") {
                alerts += 1;
                assert!(ALERTS.contains(&format!("alert: {word}\n")), "no such alert: {word}");
            } else if is_name && !CONFIGURATION.contains(&format!("{word}` |")) {
                metrics += 1;
                let names = [format!("`{word}`"), format!("`agent_session_exporter_{word}`")];
                assert!(names.iter().any(|name| METRICS.contains(name)), "no such metric or key: {word}");
            }
        }
    }
    assert!(metrics > 15 && alerts > 8, "the tables are read: {metrics} metrics, {alerts} alerts");
}

#[test]
fn functions_are_tests_only_where_they_are_marked() {
    let text = "#[test]\nfn one() {}\nfn two() {}\n#[tokio::test(start_paused = true)]\nasync fn three() {}\n\
                #[test]\n#[ignore = \"slow\"]\nfn five() {}\n\
                proptest! {\n    #[test]\n    fn four(x in 0..3) {}\n}";
    assert_eq!(tests_in(text).collect::<Vec<_>>(), ["one", "three", "four"]);
}
