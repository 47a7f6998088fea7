//! Grafana's dashboards, judged before anybody imports them: what they ask for is in the catalogue, and every panel says
//! what it shows and what it means when it shows nothing.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Folder, promql, run};

/// The variables a dashboard filters by, and what stands for each while an expression is judged: words that no filter
/// says by itself.
const FILTERS: [(&str, &str); 4] =
    [("source", "any-source"), ("platform", "any-platform"), ("agent", "any-agent"), ("model", "any-model")];

/// The dashboard about the exporter itself.
const HEALTH: &str = "agent-session-exporter-health";

/// Whether a dashboard may do without a variable though its metrics have the label: of the exporter's own a few tell the
/// platform as well, which follows from the source; and models are of interest on their own dashboard.
fn may_lack(uid: &str, variable: &str) -> bool {
    (uid, variable) == (HEALTH, "platform") || variable == "model"
}

#[test]
fn every_dashboard_keeps_the_rules() {
    let dashboards = dashboards();
    let uids = uids(&dashboards);
    for (file, dashboard) in &dashboards {
        let problems = problems(dashboard, &uids);
        assert!(problems.is_empty(), "{file}:\n  {}", problems.join("\n  "));
    }
    assert_eq!(uids.len(), dashboards.len(), "two dashboards have one uid: {uids:?}");
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
        ("/templating/list/3/name", json!("agents"), "no variable `agent`"),
        ("/tags", json!([]), "not tagged"),
        ("/links", json!([]), "no link to the others"),
        ("/links/0/includeVars", json!(false), "no link to the others"),
        (
            "/panels/2/fieldConfig/overrides",
            json!([{ "properties": [{ "id": "links", "value": [{ "url": "/d/nobody-has-this?var-agent=a" }] }] }]),
            "no dashboard `nobody-has-this`",
        ),
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
            "a quantile without exemplars",
        ),
        (
            "/panels/2/targets/0",
            json!({
                "datasource": { "type": "prometheus", "uid": "${datasource}" },
                "expr": "agent_session_exporter_journal_bytes",
                "format": "table",
                "exemplar": true,
            }),
            "a table with exemplars",
        ),
    ];
    assert_caught("agent-fleet.json", breaches);
}

/// The same of a variable that a dashboard may have and need not.
#[test]
fn a_further_variable_is_held_to_the_rules_as_well() {
    let breaches: &[(&str, Value, &str)] = &[
        ("/templating/list/4/allValue", json!(null), "variable `model`: its allValue"),
        ("/templating/list/4/datasource/uid", json!("P1809"), "variable `model`: its datasource"),
        ("/templating/list/4/query/query", json!("label_values(agent_steps_total, model)"), "no label `model`"),
        ("/templating/list/4/name", json!("models"), "no variable `model`"),
        ("/panels/1/targets/0/expr", json!("agent_model_calls_total{agent=~\"$agent\"}"), "$model"),
        ("/panels/1/targets/0/expr", json!("agent_steps_total{model=~\"$model\"}"), "no label `model`"),
    ];
    assert_caught("agent-models.json", breaches);
}

/// Each value, put into this dashboard at its pointer, is a problem that says so.
fn assert_caught(file: &str, breaches: &[(&str, Value, &str)]) {
    let dashboards = dashboards();
    let uids = uids(&dashboards);
    let (_, sound) = dashboards.iter().find(|(name, _)| name == file).expect("it is there");
    assert_eq!(problems(sound, &uids), Vec::<String>::new());
    for (pointer, value, expected) in breaches {
        let mut broken = sound.clone();
        *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")) = value.clone();
        let caught = problems(&broken, &uids);
        assert!(caught.iter().any(|problem| problem.contains(expected)), "{pointer} {value}: {caught:?}");
    }
}

#[test]
fn the_program_writes_them_and_says_of_which_version_they_are() {
    let folder = Folder::new();
    let out = folder.path().to_str().expect("a plain path");
    let written = run(&["dashboards", "--out", out], &[]);
    assert!(written.status.success(), "{written:?}");
    let shipped = dashboards();
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), shipped.len());
    for (file, mut dashboard) in shipped {
        let written = std::fs::read(folder.path().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let stamp = concat!("Of agent-session-exporter ", env!("CARGO_PKG_VERSION"), ".");
        dashboard["description"] = json!(format!("{stamp} {}", text(&dashboard, "/description")));
        assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), dashboard, "{file}");
    }
}

/// What a dashboard has no variable for it cannot show: neither with that filter nor without it.
#[test]
fn the_exporters_own_dashboard_shows_no_agents() {
    let dashboards = dashboards();
    let (_, sound) = dashboards.iter().find(|(_, it)| text(it, "/uid") == HEALTH).unwrap();
    let breaches = [
        ("source=~\"$source\"", "not filtered by agent"),
        ("source=~\"$source\",agent=~\"$agent\"", "no variable `agent`"),
        ("agent=\"a\"", "not filtered by source"),
    ];
    for (filter, expected) in breaches {
        let mut broken = sound.clone();
        broken["panels"][1]["targets"][0]["expr"] = json!(format!("sum(agent_sessions{{{filter}}})"));
        let caught = problems(&broken, &uids(&dashboards));
        assert!(caught.iter().any(|problem| problem.contains(expected)), "{filter}: {caught:?}");
    }
}

/// Every dashboard of the repository, by its file's name and in the order of the names.
pub fn dashboards() -> Vec<(String, Value)> {
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

pub fn uids(dashboards: &[(String, Value)]) -> HashSet<&str> {
    dashboards.iter().map(|(_, dashboard)| text(dashboard, "/uid")).collect()
}

/// What is wrong with a dashboard, beside others with these uids.
fn problems(dashboard: &Value, uids: &HashSet<&str>) -> Vec<String> {
    let mut problems = Vec::new();
    // Grafana refuses longer ones.
    if !(1..=40).contains(&text(dashboard, "/uid").len()) {
        problems.push("no uid of at most 40 characters".into());
    }
    if text(dashboard, "/title").is_empty() {
        problems.push("no title".into());
    }
    let filters = variables(dashboard, &mut problems);
    links(dashboard, uids, &mut problems);

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

/// Judges the variables, and says which of [`FILTERS`] the panels must filter by.
fn variables(dashboard: &Value, problems: &mut Vec<String>) -> Vec<(&'static str, &'static str)> {
    let variables = list(dashboard, "/templating/list");
    let find = |name: &str| variables.iter().find(|variable| text(variable, "/name") == name);
    let is_source = |it: &Value| text(it, "/type") == "datasource" && text(it, "/query") == "prometheus";
    if !find("datasource").is_some_and(is_source) {
        problems.push("no variable `datasource` that is a Prometheus".into());
    }
    let whole = dashboard.to_string();
    for (name, _) in FILTERS {
        let Some(variable) = find(name) else {
            if whole.contains(&format!("${name}")) {
                problems.push(format!("no variable `{name}`"));
            }
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
            Some((selector, label)) => judge_expression(&format!("sum by ({label}) ({selector})"), &[], &mut wrong),
            None => wrong(format!("not label_values(SELECTOR, LABEL): {query}")),
        }
    }
    let must_filter = |name| find(name).is_some() || !may_lack(text(dashboard, "/uid"), name);
    FILTERS.into_iter().filter(|(name, _)| must_filter(name)).collect()
}

/// A way from each dashboard to all others, which finds them by their tag, and none from a panel to where nothing is.
fn links(dashboard: &Value, uids: &HashSet<&str>, problems: &mut Vec<String>) {
    let to_the_others = json!({
        "type": "dashboards", "tags": ["agent-session-exporter"], "title": "Agent sessions", "asDropdown": false,
        "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
    });
    if !list(dashboard, "/tags").contains(&to_the_others["tags"][0]) {
        problems.push("not tagged: no link leads to it".into());
    }
    if !list(dashboard, "/links").contains(&to_the_others) {
        problems.push(format!("no link to the others: {to_the_others}"));
    }
    for rest in dashboard["panels"].to_string().split("/d/").skip(1) {
        let uid = rest.split(['/', '?', '#', '"', '\\']).next().unwrap_or_default();
        if !uids.contains(uid) {
            problems.push(format!("a panel leads to /d/{uid}, and there is no dashboard `{uid}`"));
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
        judge_expression(expression, filters, &mut wrong);
        // A quantile leads to the traces behind it; in a table Grafana would make rows of them.
        let leads_to_traces = target["exemplar"] == json!(true);
        let is_table = text(target, "/format") == "table";
        if expression.contains("histogram_quantile") && !is_table && !leads_to_traces {
            wrong("a quantile without exemplars: set `exemplar`".into());
        }
        if is_table && leads_to_traces {
            wrong("a table with exemplars, which would be rows of it: leave out `exemplar`".into());
        }
    }
}

fn datasource(of: &Value, wrong: &mut impl FnMut(String)) {
    if of["datasource"] != json!({ "type": "prometheus", "uid": "${datasource}" }) {
        wrong(format!("its datasource is not the variable: {}", of["datasource"]));
    }
}

/// As [`promql::judge`], with a word in place of each variable.
fn judge_expression(expression: &str, filters: &[(&str, &str)], wrong: &mut impl FnMut(String)) {
    let mut plain = expression.replace("$__rate_interval", "5m").replace("$__range", "6h");
    for (variable, word) in FILTERS {
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
