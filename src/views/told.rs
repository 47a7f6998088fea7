//! What a snapshot says besides folded numbers: the accounts' limits, and how full the metrics are.

use smol_str::SmolStr;

use super::catalog::{self, Row};
use crate::domain::{ConcurrencyLimit, TokenLimit};
use crate::projection::{Family, Snapshot, SourceView};

/// Labels in the catalogue's order.
pub type Labels = Vec<(&'static str, SmolStr)>;

/// One metric with its samples.
pub struct Told {
    /// What it is.
    pub row: &'static Row,
    /// Its samples; perhaps none.
    pub samples: Vec<(Labels, u64)>,
}

/// All of them, in the catalogue's order.
pub fn told(snapshot: &Snapshot) -> Vec<Told> {
    let mut all = vec![
        concurrency("agent_platform_sessions_limit", snapshot, |limit| limit.limit),
        concurrency("agent_platform_sessions_active", snapshot, |limit| limit.active),
        tokens("agent_platform_tokens_limit", snapshot, |limit| limit.limit),
        tokens("agent_platform_tokens_used", snapshot, |limit| limit.used),
    ];
    let at = |numbers: &[u64], place: usize| numbers.get(place).copied().unwrap_or_default();
    all.push(fullness("agent_session_exporter_series", snapshot, |place| at(&snapshot.label_sets, place)));
    all.push(fullness("agent_session_exporter_series_limit", snapshot, |_| snapshot.max_series));
    all.push(fullness("agent_session_exporter_series_overflow_total", snapshot, |place| {
        at(&snapshot.overflowed, place)
    }));
    all
}

fn row(name: &str) -> &'static Row {
    catalog::find(name).expect("a test renders every one of these names")
}

fn watched(snapshot: &Snapshot) -> impl Iterator<Item = &SourceView> {
    snapshot.sources.iter().filter(|source| source.attached)
}

fn account(source: &SourceView) -> Labels {
    vec![("source", source.name.clone()), ("platform", source.platform.clone())]
}

fn concurrency(name: &str, snapshot: &Snapshot, pick: fn(&ConcurrencyLimit) -> u64) -> Told {
    let samples = watched(snapshot).filter_map(|source| {
        let limit = source.limits.concurrency.as_ref()?;
        let mut labels = account(source);
        labels.push(("scope", limit.scope.clone()));
        Some((labels, pick(limit)))
    });
    Told { row: row(name), samples: samples.collect() }
}

fn tokens(name: &str, snapshot: &Snapshot, pick: fn(TokenLimit) -> Option<u64>) -> Told {
    let samples = watched(snapshot).filter_map(|source| Some((account(source), pick(source.limits.tokens?)?)));
    Told { row: row(name), samples: samples.collect() }
}

/// One number per folded metric whose label values users choose.
fn fullness(name: &str, snapshot: &Snapshot, value: impl Fn(usize) -> u64) -> Told {
    let bounded = snapshot.families.iter().enumerate().filter(|(_, family)| family.metric().has_agent());
    let sample = |(place, family): (usize, &Family)| {
        (vec![("metric", SmolStr::new_static(catalog::name(family.metric())))], value(place))
    };
    Told { row: row(name), samples: bounded.map(sample).collect() }
}
