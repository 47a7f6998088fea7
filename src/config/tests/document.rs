//! The page about the configuration names every key that is accepted, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Case;

/// A key that nobody accepts, in every mapping and on every platform: the refusals list what is accepted there.
const NOBODY: &str = "\
nobody: 1
sources:
- {nobody: 1, platform: hcompany, api_key: x, agents: {nobody: 1}}
- {nobody: 1, platform: everruns, api_key: x}
storage: {nobody: 1}
web: {nobody: 1}
labels: {nobody: 1}
otlp:
  nobody: 1
  endpoint: http://localhost:4318
  tls: {nobody: 1}
  metrics: {nobody: 1, tls: {nobody: 1}}
  traces: {nobody: 1, tls: {nobody: 1}}
";

/// Full paths of all accepted keys, `sources[].name` for what is in every source.
fn accepted() -> BTreeSet<String> {
    allowed_in(&Case::new(NOBODY).error())
}

/// The keys that refusals of the key `nobody` list, with their paths.
pub(super) fn allowed_in(error: &str) -> BTreeSet<String> {
    let refusals = error.lines().filter(|line| line.contains("unknown key"));
    refusals
        .flat_map(|line| {
            let (place, allowed) = line.split_once(": unknown key (allowed: ").expect("no key is close to `nobody`");
            let path = place.rsplit(": ").next().expect("a key").strip_suffix("nobody").expect("its last part");
            let path = path.replace("[0]", "[]").replace("[1]", "[]");
            allowed
                .trim_end_matches(')')
                .split(", ")
                .map(|key| format!("{path}{}", key.trim_matches('`')))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// What stands in the first column of a table, in code quotes, below one of the headings about the file.
fn documented(page: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut section = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## `") {
            section = heading.trim_end_matches('`');
            keys.insert(section.to_owned());
        } else if line.starts_with("## ") {
            section = "";
        }
        if !section.is_empty()
            && let Some(row) = line.strip_prefix("| `")
        {
            keys.insert(row.split('`').next().expect("a first part").to_owned());
        }
    }
    keys
}

#[test]
fn the_page_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = fs::read_to_string(path).expect("the page");
    let (accepted, documented) = (accepted(), documented(&page));
    assert!(accepted.contains("sources[].agents.deny") && accepted.len() > 20, "{accepted:?}");
    let missing: Vec<_> = accepted.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&accepted).collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks {missing:?}");
    assert!(invented.is_empty(), "docs/configuration.md has what is not accepted: {invented:?}");
}
