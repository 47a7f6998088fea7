//! What must never fall, whatever happens to the exporter: every counter and histogram about the platforms, from one
//! page of metrics to any later one.

use std::collections::{BTreeMap, HashSet};

/// Samples of a page that go on over restarts, by name and labels.
pub type Lasting = BTreeMap<String, f64>;

/// Reads them from a page in Prometheus' text format: counters and histograms about agents, and those of the exporter
/// whose help says so.
pub fn lasting(page: &str) -> Lasting {
    let mut told = HashSet::new();
    let mut lasting = HashSet::new();
    let mut samples = Lasting::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            let is_of_agents = name.starts_with("agent_") && !name.starts_with("agent_session_exporter_");
            if is_of_agents || help.contains("continues over restarts") {
                told.insert(name.to_owned());
            }
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            if matches!(kind, "counter" | "histogram") && told.contains(name) {
                lasting.insert(name.to_owned());
            }
        } else if let Some((series, value)) = line.rsplit_once(' ') {
            let name = series.split('{').next().unwrap_or(series);
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            if lasting.contains(name) || family.is_some_and(|family| lasting.contains(family)) {
                samples.insert(series.to_owned(), value.parse().expect("a number"));
            }
        }
    }
    samples
}

/// Every sample that is lower than it was, or is not there any more.
pub fn fallen(before: &Lasting, now: &Lasting) -> Vec<String> {
    let fell = before.iter().filter(|(name, value)| now.get(*name).is_none_or(|now| now < *value));
    fell.map(|(name, value)| format!("{name} fell from {value} to {:?}", now.get(name))).collect()
}
