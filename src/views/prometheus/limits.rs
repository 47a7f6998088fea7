//! What a snapshot says besides folded numbers: the accounts' limits, and how full the metrics are.

use super::{Format, write};
use crate::projection::{Metric, Snapshot, SourceView};
use crate::views::catalog::{self, Row};

/// The families of limits.
pub(super) fn write(out: &mut Vec<u8>, snapshot: &Snapshot, format: Format) {
    let concurrency = |source: &SourceView| source.limits.concurrency.clone();
    let tokens = |source: &SourceView| source.limits.tokens;
    let scoped = |pick: fn(&crate::domain::ConcurrencyLimit) -> u64| {
        move |source: &SourceView| concurrency(source).map(|limit| (pick(&limit), Some(limit.scope)))
    };
    accounts(out, "agent_platform_sessions_limit", snapshot, format, scoped(|limit| limit.limit));
    accounts(out, "agent_platform_sessions_active", snapshot, format, scoped(|limit| limit.active));
    accounts(out, "agent_platform_tokens_limit", snapshot, format, |source| Some((tokens(source)?.limit?, None)));
    accounts(out, "agent_platform_tokens_used", snapshot, format, |source| Some((tokens(source)?.used?, None)));

    let bounded = || (0..).zip(&snapshot.families).filter(|(_, family)| family.metric().has_agent());
    fullness(
        out,
        "agent_session_exporter_series",
        format,
        bounded().map(|(place, family)| (family.metric(), snapshot.label_sets.get(place).copied().unwrap_or_default())),
    );
    fullness(
        out,
        "agent_session_exporter_series_limit",
        format,
        bounded().map(|(_, family)| (family.metric(), snapshot.max_series)),
    );
    fullness(
        out,
        "agent_session_exporter_series_overflow_total",
        format,
        bounded().map(|(place, family)| (family.metric(), snapshot.overflowed.get(place).copied().unwrap_or_default())),
    );
}

fn row(name: &str) -> &'static Row {
    catalog::find(name).expect("a test renders every one of these names")
}

/// One gauge per watched source that has a value, perhaps with the scope of the limit.
fn accounts(
    out: &mut Vec<u8>,
    name: &str,
    snapshot: &Snapshot,
    format: Format,
    value: impl Fn(&SourceView) -> Option<(u64, Option<smol_str::SmolStr>)>,
) {
    let mut has_head = false;
    for source in snapshot.sources.iter().filter(|source| source.attached) {
        let Some((value, scope)) = value(source) else { continue };
        if !has_head {
            write::head(out, row(name), format);
            has_head = true;
        }
        let mut labels = Vec::with_capacity(64);
        write::label(&mut labels, true, "source", &source.name);
        write::label(&mut labels, false, "platform", &source.platform);
        if let Some(scope) = scope {
            write::label(&mut labels, false, "scope", &scope);
        }
        write::sample(out, name, "", &labels);
        write::count(out, value);
    }
}

/// One number per folded metric.
fn fullness(out: &mut Vec<u8>, name: &str, format: Format, numbers: impl Iterator<Item = (Metric, u64)>) {
    let mut has_head = false;
    for (metric, value) in numbers {
        if !has_head {
            write::head(out, row(name), format);
            has_head = true;
        }
        let mut label = Vec::with_capacity(64);
        write::label(&mut label, true, "metric", catalog::of(metric).name);
        write::sample(out, name, "", &label);
        write::count(out, value);
    }
}
