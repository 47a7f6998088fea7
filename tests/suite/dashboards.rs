//! Grafana's dashboards, judged before anybody imports them: what they ask for is in the catalogue, and every panel says
//! what it shows and what it means when it shows nothing.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::promql;

/// The variables a dashboard filters by, and what stands for each while an expression is judged: words that no filter
/// says by itself.
const FILTERS: [(&str, &str); 3] = [("source", "any-source"), ("platform", "any-platform"), ("agent", "any-agent")];
/// The same of those that a dashboard may have besides.
const FURTHER_FILTERS: [(&str, &str); 1] = [("model", "any-model")];

#[test]
fn every_dashboard_keeps_the_rules() {
    let mut uids = HashSet::new();
    let dashboards = dashboards();
    for (file, dashboard) in &dashboards {
        let problems = problems(dashboard);
        assert!(problems.is_empty(), "{file}:\n  {}", problems.join("\n  "));
        assert!(uids.insert(text(dashboard, "/uid")), "{file}: another dashboard has this uid");
    }
    assert!(uids.contains("agent-session-exporter-fleet"), "{uids:?}");
}

/// Each rule, broken in a dashboard that keeps them all.
#[test]
fn a_broken_rule_is_caught() {
    let breaches: &[(&str, Value, &str)] = &[
        ("/uid", json!(""), "no uid"),
        ("/uid", json!("a-uid-of-more-than-forty-characters-is-not-taken"), "no uid"),
        ("/title", json!(null), "no title"),
        ("/templating/list/0/type", json!("custom"), "no variable `datasource`"),
        ("/templating/list/1/datasource/uid", json!("P1809"), "datasource"),
        ("/templating/list/1/allValue", json!(null), "allValue"),
        ("/templating/list/1/query/query", json!("label_values(agent_sessions_created_total, model)"), "`model`"),
        ("/templating/list/1/query/query", json!("label_values(nothing_total, source)"), "`nothing_total`"),
        ("/templating/list/1/query/query", json!("query_result(up)"), "not label_values"),
        ("/templating/list/1/name", json!("sources"), "no variable `source`"),
        ("/panels/2/title", json!(""), "panel ``: no title"),
        ("/panels/2/id", json!(null), "no id"),
        ("/panels/2/id", json!(2), "id 2 is another's"),
        ("/panels/2/gridPos/x", json!(3), "overlaps"),
        ("/panels/2/gridPos/w", json!(40), "24 columns"),
        ("/panels/2/gridPos/w", json!(0), "24 columns"),
        ("/panels/2/fieldConfig/defaults/unit", json!(""), "no unit"),
        ("/panels/2/fieldConfig/defaults/noValue", json!(null), "no noValue"),
        ("/panels/2/description", json!(" "), "no description"),
        ("/panels/2/datasource/uid", json!("prometheus"), "datasource"),
        ("/panels/2/targets", json!([]), "asks for nothing"),
        ("/panels/2/targets/0/datasource", json!(null), "datasource"),
        ("/panels/2/targets/0/expr", json!("sum(rate("), "does not parse"),
        (
            "/panels/2/targets/0/expr",
            json!("sum(agent_sessions_nobody_shows)"),
            "no metric `agent_sessions_nobody_shows`",
        ),
        ("/panels/2/targets/0/expr", json!("agent_session_exporter_journal_bytes{$other}"), "variable"),
        ("/panels/2/targets/0/expr", json!("{__name__=~\"agent_.*\"}"), "no name"),
        ("/panels/2/targets/0/expr", json!("agent_session_exporter_journal_bytes{job=\"a\"}"), "no label `job`"),
        ("/panels/2/targets/0/expr", json!("agent_session_exporter_build_info{le=\"1\"}"), "no label `le`"),
        ("/panels/2/targets/0/expr", json!("sum by (le) (agent_session_exporter_build_info)"), "no label `le`"),
        (
            "/panels/2/targets/0/expr",
            json!("rate(agent_session_exporter_journal_commit_duration_seconds[5m])"),
            "no metric",
        ),
        ("/panels/2/targets/0/expr", json!("agent_session_exporter_journal_bytes_sum"), "no metric"),
        ("/panels/2/targets/0/expr", json!("agent_session_exporter_source_up{platform=~\"$platform\"}"), "$source"),
        (
            "/panels/2/targets/0/expr",
            json!("agent_platform_tokens_used{source=~\"$source\",platform=~\".*\"}"),
            "$platform",
        ),
        (
            "/panels/2/targets/0/expr",
            json!("agent_platform_tokens_used{source=~\"$source\",platform=\"$platform\"}"),
            "$platform",
        ),
        (
            "/panels/2/targets/0/expr",
            json!(
                "histogram_quantile(0.9, sum by (le) (rate(agent_session_exporter_journal_commit_duration_seconds_bucket[5m])))"
            ),
            "exemplar",
        ),
    ];
    let is_broken_here = |(file, _): &(String, Value)| file == "agent-fleet.json";
    let (_, sound) = dashboards().into_iter().find(is_broken_here).unwrap();
    assert_eq!(problems(&sound), Vec::<String>::new());
    assert_broken(&sound, breaches);
}

/// The same of a variable that a dashboard may have and need not.
#[test]
fn a_further_variable_is_held_to_the_rules_as_well() {
    let breaches: &[(&str, Value, &str)] = &[
        ("/templating/list/4/allValue", json!(null), "variable `model`: its allValue"),
        ("/templating/list/4/datasource/uid", json!("P1809"), "variable `model`: its datasource"),
        ("/templating/list/4/query/query", json!("label_values(agent_steps_total, model)"), "no label `model`"),
        ("/templating/list/4/name", json!("models"), "unknown or out of place"),
        ("/panels/1/targets/0/expr", json!("agent_model_calls_total{agent=~\"$agent\"}"), "$model"),
        ("/panels/1/targets/0/expr", json!("agent_steps_total{model=~\"$model\"}"), "no label `model`"),
    ];
    let has_it = |(file, _): &(String, Value)| file == "agent-models.json";
    let (_, sound) = dashboards().into_iter().find(has_it).unwrap();
    assert_eq!(problems(&sound), Vec::<String>::new());
    assert_broken(&sound, breaches);
}

/// Each value, put into a sound dashboard at its pointer, is a problem that says so.
fn assert_broken(sound: &Value, breaches: &[(&str, Value, &str)]) {
    for (pointer, value, expected) in breaches {
        let mut broken = sound.clone();
        *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")) = value.clone();
        let caught = problems(&broken);
        assert!(caught.iter().any(|problem| problem.contains(expected)), "{pointer} {value}: {caught:?}");
    }
}

/// Every dashboard of the repository, by its file's name and in the order of the names.
fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dashboard = serde_json::from_slice(&std::fs::read(path).expect("a readable file"));
        let dashboard = dashboard.unwrap_or_else(|error| panic!("{name} is no JSON: {error}"));
        (name, dashboard)
    };
    paths.iter().map(|path| read(path)).collect()
}

/// What is wrong with a dashboard.
fn problems(dashboard: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    // Grafana refuses longer ones.
    if !(1..=40).contains(&text(dashboard, "/uid").len()) {
        problems.push("no uid of at most 40 characters".into());
    }
    if text(dashboard, "/title").is_empty() {
        problems.push("no title".into());
    }
    let filters = filters(dashboard);
    variables(dashboard, &filters, &mut problems);

    let top = list(dashboard, "/panels");
    placed(top, &mut problems);
    let mut ids = HashSet::new();
    for panel in top {
        judge_panel(panel, &filters, &mut ids, &mut problems);
        // A row that is folded keeps its panels to itself.
        let inner = list(panel, "/panels");
        placed(inner, &mut problems);
        inner.iter().for_each(|panel| judge_panel(panel, &filters, &mut ids, &mut problems));
    }
    problems
}

/// The variables that panels of this dashboard must filter by, where a metric has the label.
fn filters(dashboard: &Value) -> Vec<(&'static str, &'static str)> {
    let has = |name: &str| list(dashboard, "/templating/list").iter().any(|variable| text(variable, "/name") == name);
    FILTERS.into_iter().chain(FURTHER_FILTERS.into_iter().filter(|(name, _)| has(name))).collect()
}

fn variables(dashboard: &Value, filters: &[(&str, &str)], problems: &mut Vec<String>) {
    let variables = list(dashboard, "/templating/list");
    let find = |name: &str| variables.iter().find(|variable| text(variable, "/name") == name);
    let is_source = |it: &Value| text(it, "/type") == "datasource" && text(it, "/query") == "prometheus";
    if !find("datasource").is_some_and(is_source) {
        problems.push("no variable `datasource` that is a Prometheus".into());
    }
    for (name, _) in filters {
        let Some(variable) = find(name) else {
            problems.push(format!("no variable `{name}`"));
            continue;
        };
        let mut wrong = |what: String| problems.push(format!("variable `{name}`: {what}"));
        datasource(variable, &mut wrong);
        // Else "all" is the list of all values, and a metric with a new one would be left out.
        if text(variable, "/allValue") != ".*" {
            wrong("its allValue is not .*".into());
        }
        let query = text(variable, "/query/query");
        let parts = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')?.rsplit_once(','));
        match parts {
            Some((selector, label)) => {
                judge_expression(&format!("sum by ({label}) ({selector})"), filters, &[], &mut wrong);
            }
            None => wrong(format!("not label_values(SELECTOR, LABEL): {query}")),
        }
    }
}

/// Panels within the 24 columns of Grafana's grid, none on top of another.
fn placed(panels: &[Value], problems: &mut Vec<String>) {
    let place =
        |panel: &Value| ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or(u64::MAX / 4));
    for (at, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = place(panel);
        if x + w > 24 || w == 0 || h == 0 || y > 1000 {
            problems.push(format!("panel `{}` is not within the 24 columns", text(panel, "/title")));
        }
        for other in &panels[..at] {
            let [left, top, width, height] = place(other);
            if x < left + width && left < x + w && y < top + height && top < y + h {
                problems.push(format!("panel `{}` overlaps `{}`", text(panel, "/title"), text(other, "/title")));
            }
        }
    }
}

fn judge_panel(panel: &Value, filters: &[(&str, &str)], ids: &mut HashSet<u64>, problems: &mut Vec<String>) {
    let mut wrong = |what: String| problems.push(format!("panel `{}`: {what}", text(panel, "/title")));
    match panel["id"].as_u64() {
        Some(id) if ids.insert(id) => {}
        Some(id) => wrong(format!("its id {id} is another's")),
        None => wrong("no id".into()),
    }
    if text(panel, "/title").trim().is_empty() {
        wrong("no title".into());
    }
    if text(panel, "/type") == "row" {
        return;
    }
    let said = [
        ("unit", "/fieldConfig/defaults/unit"),
        ("noValue", "/fieldConfig/defaults/noValue"),
        ("description", "/description"),
    ];
    for (what, pointer) in said {
        if text(panel, pointer).trim().is_empty() {
            wrong(format!("no {what}"));
        }
    }
    datasource(panel, &mut wrong);
    let targets = list(panel, "/targets");
    if targets.is_empty() {
        wrong("asks for nothing".into());
    }
    for target in targets {
        datasource(target, &mut wrong);
        let expression = text(target, "/expr");
        judge_expression(expression, filters, filters, &mut wrong);
        // A quantile leads to the traces behind it.
        if expression.contains("histogram_quantile") && target["exemplar"] != json!(true) {
            wrong("a quantile without exemplars: set `exemplar`".into());
        }
    }
}

fn datasource(of: &Value, wrong: &mut impl FnMut(String)) {
    if of["datasource"] != json!({ "type": "prometheus", "uid": "${datasource}" }) {
        wrong(format!("its datasource is not the variable: {}", of["datasource"]));
    }
}

/// As [`promql::judge`], with its word in place of each variable.
fn judge_expression(
    expression: &str,
    variables: &[(&str, &str)],
    filters: &[(&str, &str)],
    wrong: &mut impl FnMut(String),
) {
    let mut plain = expression.replace("$__rate_interval", "5m").replace("$__range", "6h");
    for (variable, word) in variables {
        plain = plain.replace(&format!("\"${variable}\""), &format!("\"{word}\""));
    }
    if plain.contains('$') {
        return wrong(format!("a variable that is unknown or out of place: {expression}"));
    }
    promql::judge(&plain, filters, &[], wrong);
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
