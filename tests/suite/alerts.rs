//! The shipped alerts: each names who it is about and a runbook that exists, and no runbook is left over.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use crate::dashboards;
use crate::support::{Folder, promql, run};

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: Expression,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Annotations,
}

/// A threshold is written as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expression {
    Number(f64),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    severity: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    summary: String,
    description: String,
    runbook_url: String,
    dashboard_url: String,
}

const RUNBOOKS: &str = "docs/runbooks";

fn rules() -> Vec<Rule> {
    let text = include_str!("../../config/prometheus/agent-sessions.rules.yml");
    let file: File = serde_saphyr::from_str(text).expect("the rules are YAML");
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn alerts() -> Vec<(String, Rule)> {
    rules().into_iter().filter_map(|mut rule| Some((rule.alert.take()?, rule))).collect()
}

#[test]
fn what_rules_ask_for_is_in_the_catalogue() {
    let rules = rules();
    let recorded: Vec<_> = rules.iter().filter_map(|rule| rule.record.as_deref()).collect();
    let mut problems = Vec::new();
    for rule in &rules {
        match &rule.expr {
            Expression::Number(threshold) => assert!(*threshold > 0.0, "{:?} is always passed", rule.record),
            Expression::Text(expression) => {
                promql::judge(expression, &[], &recorded, &mut |problem| problems.push(problem));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    // A threshold that nobody asks for is one that changes nothing.
    for name in recorded {
        let asked = rules.iter().any(|rule| matches!(&rule.expr, Expression::Text(text) if text.contains(name)));
        assert!(asked, "nothing asks for {name}");
    }
}

#[test]
fn each_alert_says_what_it_is_about_and_where_to_read_on() {
    let alerts = alerts();
    assert!(!alerts.is_empty());
    let dashboards = dashboards::dashboards();
    let dashboards = dashboards::uids(&dashboards);
    for (name, rule) in alerts {
        assert!(name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric), "{name}: CamelCase");
        assert!(["info", "warning", "critical"].contains(&rule.labels.severity.as_str()), "{name}: severity");
        assert!(!rule.annotations.summary.is_empty() && !rule.annotations.description.is_empty(), "{name}: in words");
        assert_eq!(rule.annotations.runbook_url, format!("{RUNBOOKS}/{name}.md"), "{name}");
        let link = &rule.annotations.dashboard_url;
        let uid = link.strip_prefix("/d/").and_then(|rest| rest.split('?').next());
        assert!(uid.is_some_and(|uid| dashboards.contains(uid)), "{name}: there is no dashboard at {link}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&rule.annotations.runbook_url);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let headings: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {name}");
        assert_eq!(headings, [title.as_str(), "## Meaning", "## Impact", "## How to look", "## What to do"], "{name}");
    }
}

#[test]
fn each_runbook_is_of_an_alert_that_exists() {
    let names: BTreeSet<_> = alerts().into_iter().map(|(name, _)| format!("{name}.md")).collect();
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(RUNBOOKS)).expect("there are runbooks");
    let mut files: BTreeSet<_> =
        files.map(|file| file.expect("it can be listed").file_name().to_string_lossy().into_owned()).collect();
    assert!(files.remove("README.md"), "what all of them refer to");
    assert_eq!(files, names);
}

#[test]
fn the_program_writes_them_with_every_runbook_and_spoils_nothing() {
    let folder = Folder::new();
    let out = folder.path().join("rules");
    let out = out.to_str().expect("a plain path");
    let written = run(&["rules", "--out", out], &[]);
    assert!(written.status.success(), "{written:?}");
    let rules = std::fs::read_to_string(format!("{out}/agent-sessions.rules.yml")).expect("the rules");
    let stamp = format!("# Of agent-session-exporter {}.\n", env!("CARGO_PKG_VERSION"));
    let shipped = include_str!("../../config/prometheus/agent-sessions.rules.yml");
    assert_eq!(rules.strip_prefix(&stamp), Some(shipped));
    let paths = alerts().into_iter().map(|(name, rule)| (name, rule.annotations.runbook_url));
    for (name, path) in paths.chain([("README".to_owned(), format!("{RUNBOOKS}/README.md"))]) {
        let here = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).expect("a runbook");
        assert!(std::fs::read(format!("{out}/{path}")).is_ok_and(|written| written == here), "{name}");
    }
    assert!(run(&["rules", "--out", out], &[]).status.success(), "the same again is no change");

    let mine = rules.replace("expr: 0.2}", "expr: 0.5}");
    std::fs::write(format!("{out}/agent-sessions.rules.yml"), &mine).expect("own thresholds");
    let refused = run(&["rules", "--out", out], &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("agent-sessions.rules.yml is there with other content"), "{said}");
    let kept = || std::fs::read_to_string(format!("{out}/agent-sessions.rules.yml")).expect("it is still there");
    assert_eq!(kept(), mine);
    assert!(run(&["rules", "--out", out, "--force"], &[]).status.success());
    assert_eq!(kept(), rules);
}

#[test]
fn links_lead_to_where_the_operator_says() {
    let folder = Folder::new();
    let out = folder.path().to_str().expect("a plain path");
    let written = run(
        &["rules", "--out", out, "--runbooks-url", "https://git.example/ops/", "--grafana-url", "https://g.example"],
        &[],
    );
    assert!(written.status.success(), "{written:?}");
    let rules = std::fs::read_to_string(folder.path().join("agent-sessions.rules.yml")).expect("the rules");
    let linked: File = serde_saphyr::from_str(&rules).expect("the rules are still YAML");
    let linked = linked.groups.into_iter().flat_map(|group| group.rules).filter(|rule| rule.alert.is_some());
    for ((name, shipped), linked) in alerts().into_iter().zip(linked) {
        let Annotations { runbook_url, dashboard_url, .. } = shipped.annotations;
        assert_eq!(linked.annotations.runbook_url, format!("https://git.example/ops/{runbook_url}"), "{name}");
        assert_eq!(linked.annotations.dashboard_url, format!("https://g.example{dashboard_url}"), "{name}");
    }
}
