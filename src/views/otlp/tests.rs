//! Names as the official translation gives them back.

use super::*;
use crate::views::catalog;

/// What a collector or Prometheus makes of an OTLP name: invalid characters become underscores, the unit is appended
/// unless the name ends with it, counters end in `_total` (OpenTelemetry specification, compatibility with Prometheus).
fn translated(name: &str, unit: &str, is_monotonic_sum: bool) -> String {
    let mut translated: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let unit = match unit {
        "s" => "seconds",
        "By" => "bytes",
        braces if braces.starts_with('{') => "",
        other => other,
    };
    if !unit.is_empty() && !translated.ends_with(&format!("_{unit}")) {
        translated = format!("{translated}_{unit}");
    }
    if is_monotonic_sum && !translated.ends_with("_total") {
        translated.push_str("_total");
    }
    translated
}

#[test]
fn every_name_comes_back_as_it_is_scraped() {
    let mut seen = std::collections::HashSet::new();
    for row in catalog::rows() {
        let name = name(row);
        assert_eq!(translated(&name, unit(row), is_sum(row)), row.name, "{name}");
        assert!(name.contains('.') && seen.insert(name.clone()), "{name}");
    }
    let of = |scraped| name(catalog::find(scraped).unwrap());
    assert_eq!(of("agent_session_duration_seconds"), "agent.session.duration");
    assert_eq!(of("agent_input_tokens_total"), "agent.input.tokens");
    assert_eq!(of("agent_session_exporter_api_requests_total"), "agent_session_exporter.api.requests");
}
