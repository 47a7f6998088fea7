//! The instruments of the GenAI conventions, each put together from the folded metrics that it consists of.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::Metric;

use super::histograms::{self, Series};
use super::points::is_attached;
use super::{Options, attribute, semconv};
use crate::domain::Timestamp;
use crate::projection::{Head, Snapshot};
use crate::views::catalog::{GEN_AI, Pushed};

/// Every instrument that has a series.
pub(super) fn instruments(snapshot: &Snapshot, options: Options, now: Timestamp) -> Vec<Metric> {
    GEN_AI.iter().filter_map(|row| instrument(row, snapshot, options, now)).collect()
}

fn instrument(row: &Pushed, snapshot: &Snapshot, options: Options, now: Timestamp) -> Option<Metric> {
    let mut series = Vec::new();
    for part in row.parts {
        let Some(family) = snapshot.family(part.metric) else { continue };
        let shown = family.heads().iter().enumerate().filter(|(_, head)| is_attached(snapshot, head));
        series.extend(shown.map(|(index, head)| {
            let mut attributes = attributes(snapshot, head);
            attributes.extend(part.attribute.map(|(name, value)| attribute(name, value)));
            Series { family, index, attributes }
        }));
    }
    Some(Metric {
        name: row.name.to_owned(),
        description: row.help.to_owned(),
        unit: row.unit.to_owned(),
        data: Some(histograms::data(series, options, now)?),
        ..Metric::default()
    })
}

/// What [`crate::views::catalog::ATTRIBUTES`] names, in its order.
fn attributes(snapshot: &Snapshot, head: &Head) -> Vec<KeyValue> {
    let source = &snapshot.sources[usize::from(head.key.source.0)];
    let agent = snapshot.text(head.key.agent);
    let [model, provider] = head.key.labels.map(|label| snapshot.text(label));
    let provider = if provider.is_empty() { source.platform.as_str() } else { provider };
    vec![
        attribute("source", &source.name),
        attribute("platform", &source.platform),
        attribute("agent", agent),
        attribute(semconv::OPERATION_NAME, semconv::CHAT),
        attribute(semconv::PROVIDER_NAME, provider),
        attribute(semconv::REQUEST_MODEL, model),
        attribute(semconv::AGENT_NAME, agent),
    ]
}
