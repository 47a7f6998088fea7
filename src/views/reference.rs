//! The catalogue as a document: `docs/metrics.md` is this text.

use std::fmt::Write;

use super::catalog::{self, Origin, Row, Type};
use crate::projection::Buckets;

/// The reference of all metrics, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    section(&mut out, "Agents", AGENTS, catalog::AGENTS);
    section(&mut out, "The exporter itself", EXPORTER, catalog::EXPORTER);
    section(&mut out, "The process", PROCESS, catalog::PROCESS);
    pushed(&mut out);
    buckets(&mut out);
    out
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from src/views/catalog. Do not edit: change a row there, then run
     UPDATE_DOCS=1 cargo test --lib views::reference -->

Every metric the exporter shows. Names are written as a query writes them: a counter ends in `_total`, in all formats
alike (OpenMetrics calls the family by the name without it), and a histogram has `_bucket`, `_sum` and
`_count`. The text formats spell bucket bounds the same (`le=\"1.0\"`), so changing the format changes no series.

Numbers are polled: they tell what the platform had told by the last poll, and carry no timestamps of their own. How
fresh they are is told by `agent_session_exporter_source_last_success_timestamp_seconds` and
`agent_session_exporter_source_event_watermark_timestamp_seconds`. Counters of what happened on the platforms continue over
restarts of the exporter; counters of its own work start again at 0, unless they say otherwise.

Label values that users of a platform choose (agents, models, tools) are cut to a maximal length, and each metric takes
a maximal number of them: what comes later is counted in the series whose such labels are `__overflow__`. A counter or
histogram series of what happens on the platforms that appears while the exporter runs is shown as 0 for a short while
first, so that `increase()` sees its first increment.
";

const AGENTS: &str = "\
`source` is the name of the configured account, `platform` its kind of API, `agent` the agent's name as the platform
writes it.";

const EXPORTER: &str = "How polling goes, what was taken in, and how full everything is.";

const PROCESS: &str = "Read from `/proc/self`, so on Linux only, under the names that every Prometheus client uses.";

const PUSHED: &str = "\
Calls of models once more, under the names and with the buckets of OpenTelemetry's GenAI conventions (v0.1.0, status
Development: they may change with them). They are sent to a collector only; the metrics page has the same calls in
`agent_model_calls_total`, `agent_model_call_duration_seconds` and the counters of tokens. `gen_ai.provider.name` is the
model's vendor where the platform tells it, else the platform. How full they are is told as of the other metrics, under
the instrument's name with `.input`, `.output` or `.failed` behind it for those of its points.";

const BUCKETS: &str = "\
Upper bounds of the histograms about agents, in seconds or in what is counted. The text formats have these and no other.
In Prometheus' protobuf format, and over OTLP where it is asked for, the same observations stand in exponential buckets
as well (native histograms): schema 3, eight buckets for each doubling, none wider than 9.1 %.";

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
    write!(out, "\n## Buckets\n\n{BUCKETS}\n\n| Metric | Bounds |\n| --- | --- |\n").expect(FITS);
    let scraped = catalog::rows().filter_map(|row| match row.origin {
        Origin::Folded(metric) => Some((row.name, metric.buckets()?)),
        _ => None,
    });
    let pushed = catalog::GEN_AI.iter().filter_map(|row| Some((row.name, row.parts.first()?.metric.buckets()?)));
    for (name, buckets) in scraped.chain(pushed) {
        writeln!(out, "| `{name}` | {} |", bounds(buckets)).expect(FITS);
    }
}

fn bounds(buckets: Buckets) -> String {
    buckets.shown().map(|bound| bound.to_string()).collect::<Vec<_>>().join(", ")
}

fn pushed(out: &mut String) {
    let common: Vec<_> = catalog::ATTRIBUTES.iter().map(|name| format!("`{name}`")).collect();
    write!(out, "\n## Pushed over OTLP only\n\n{PUSHED}\n\nEvery point has {}.\n\n", common.join(", ")).expect(FITS);
    out.push_str("| Metric | Type | Unit | Further attributes | What it says |\n| --- | --- | --- | --- | --- |\n");
    for row in catalog::GEN_AI {
        let further: Vec<_> = row.parts.iter().filter_map(|part| part.attribute).collect();
        let further: Vec<_> = further.iter().map(|(name, value)| format!("`{name}`=`{value}`")).collect();
        let (name, unit, help) = (row.name, row.unit, row.help);
        writeln!(out, "| `{name}` | histogram | `{unit}` | {} | {help} |", further.join(", ")).expect(FITS);
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
