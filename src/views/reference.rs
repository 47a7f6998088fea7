//! The catalogue as a document: `docs/metrics.md` is this text.

use std::fmt::Write;

use super::catalog::{self, Origin, Row, Type};
use crate::projection::{Kind, Metric};

/// The reference of all metrics, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    section(&mut out, "Agents", AGENTS, catalog::AGENTS);
    section(&mut out, "The exporter itself", EXPORTER, catalog::EXPORTER);
    section(&mut out, "The process", PROCESS, catalog::PROCESS);
    buckets(&mut out);
    out
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from src/views/catalog. Do not edit: change a row there, then run
     UPDATE_DOCS=1 cargo test --lib views::reference -->

Every metric the exporter shows. Names are written as a query writes them: a counter ends in `_total`, in text and in
OpenMetrics alike (OpenMetrics calls the family by the name without it), and a histogram has `_bucket`, `_sum` and
`_count`. Both formats spell bucket bounds the same (`le=\"1.0\"`), so changing the format changes no series.

Numbers are polled: they tell what the platform had told by the last poll, and carry no timestamps of their own. How
fresh they are is told by `agent_session_exporter_source_last_success_timestamp_seconds` and
`agent_session_exporter_source_event_watermark_timestamp_seconds`. Counters of what happened on the platforms continue over
restarts of the exporter; counters of its own work start again at 0, unless they say otherwise.

Label values that users of a platform choose (agents, models, tools) are cut to a maximal length, and each metric takes
a maximal number of them: what comes later is counted in the series whose such labels are `__overflow__`. A counter or
histogram series that appears while the exporter runs is shown as 0 for a short while first, so that `increase()` sees
its first increment.
";

const AGENTS: &str = "\
`source` is the name of the configured account, `platform` its kind of API, `agent` the agent's name as the platform
writes it.";

const EXPORTER: &str = "How polling goes, what was taken in, and how full everything is.";

const PROCESS: &str = "Read from `/proc/self`, so on Linux only, under the names that every Prometheus client uses.";

fn section(out: &mut String, title: &str, about: &str, rows: &[Row]) {
    write!(out, "\n## {title}\n\n{about}\n\n| Metric | Type | Labels | What it says |\n| --- | --- | --- | --- |\n")
        .expect(FITS);
    for row in rows {
        let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        write!(out, "| `{}` | {} | {} | {}", row.name, row.kind.as_str(), labels.join(", "), row.help).expect(FITS);
        // Of agents' counters that is said once, above; among the exporter's own these are the exception.
        let is_exception = matches!(row.origin, Origin::Folded(metric) if metric.is_stored() && !metric.has_agent());
        if is_exception && row.kind == Type::Counter {
            out.push_str(" (continues over restarts)");
        }
        out.push_str(" |\n");
    }
}

fn buckets(out: &mut String) {
    out.push_str("\n## Buckets\n\nUpper bounds of the histograms about agents, in seconds.\n\n");
    out.push_str("| Metric | Bounds |\n| --- | --- |\n");
    for row in catalog::rows().filter(|row| row.kind == Type::Histogram) {
        let Origin::Folded(metric) = row.origin else { continue };
        writeln!(out, "| `{}` | {} |", row.name, bounds(metric)).expect(FITS);
    }
}

fn bounds(metric: Metric) -> String {
    match metric.kind() {
        Kind::Histogram(bounds) => {
            bounds.iter().map(|bound| bound.seconds().to_string()).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

const FITS: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "asked for by who runs the test")]
    fn the_document_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let text = markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == text,
            "docs/metrics.md is not what the catalogue says: run `UPDATE_DOCS=1 cargo test --lib views::reference`, \
             then look at the difference and commit it"
        );
    }
}
