//! Every exported metric, once: name, type, unit, help and labels. Dashboards and alerts depend on these names.
//!
//! A row's name is the one a query writes. OpenMetrics calls the *family* of a counter by that name without `_total`
//! ([`Row::family_name`]); the samples of all formats carry the same names, so a scrape that switches formats
//! continues the same series.

mod agents;
mod exporter;
mod gen_ai;

pub use agents::AGENTS;
pub use exporter::{EXPORTER, PROCESS};
pub use gen_ai::{ATTRIBUTES, GEN_AI, Part, Pushed};

use crate::projection::Metric;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows.
    Counter,
    /// A present number.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Type {
    /// The word of the text formats.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The base unit of a number that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; of a time, those since the Unix epoch.
    Seconds,
    /// Bytes.
    Bytes,
    /// Tokens.
    Tokens,
    /// US dollars.
    Usd,
}

impl Unit {
    /// The word, as it stands in names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Tokens => "tokens",
            Self::Usd => "usd",
        }
    }
}

/// Where a metric's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Folded from facts.
    Folded(Metric),
    /// The account's limits, as the platform last told them.
    Limits,
    /// The numbers about the folded metrics themselves.
    Snapshot,
    /// The exporter's own instruments.
    Instrument,
    /// The operating system, about this process.
    Process,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name a query writes (of a histogram, without `_bucket`, `_sum`, `_count`).
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Type,
    /// Its unit.
    pub unit: Option<Unit>,
    /// What is counted; without a full stop.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Where its numbers come from.
    pub origin: Origin,
}

impl Row {
    const fn new(name: &'static str, kind: Type, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind, unit: None, help, labels, origin: Origin::Instrument }
    }

    const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, Type::Counter, labels, help)
    }

    const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, Type::Gauge, labels, help)
    }

    const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self::new(name, Type::Histogram, labels, help).in_unit(Unit::Seconds)
    }

    const fn in_unit(self, unit: Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    const fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    const fn folded(self, metric: Metric) -> Self {
        self.from(Origin::Folded(metric))
    }

    /// The name of the metric's family in OpenMetrics: a counter's stands without `_total`.
    pub fn family_name(&self) -> &'static str {
        match self.kind {
            Type::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Type::Gauge | Type::Histogram => self.name,
        }
    }

    /// The unit to declare in OpenMetrics, which wants it to be the last word of the family's name.
    pub fn declared_unit(&self) -> Option<&'static str> {
        let unit = self.unit?.as_str();
        let before = self.family_name().strip_suffix(unit)?;
        before.ends_with('_').then_some(unit)
    }
}

/// Every metric, in the order of the documentation.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    AGENTS.iter().chain(EXPORTER).chain(PROCESS)
}

/// The row with this name.
pub fn find(name: &str) -> Option<&'static Row> {
    rows().find(|row| row.name == name)
}

/// The row of a folded metric; `None` of what is only pushed.
pub fn of(metric: Metric) -> Option<&'static Row> {
    rows().find(|row| row.origin == Origin::Folded(metric))
}

/// What a folded metric is called, also if it is only pushed.
pub fn name(metric: Metric) -> &'static str {
    let part = || GEN_AI.iter().flat_map(|pushed| pushed.parts).find(|part| part.metric == metric);
    let name = of(metric).map(|row| row.name).or_else(|| Some(part()?.name));
    name.expect("a test keeps the catalogue complete")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::projection::{Dimension, Kind, Measure};

    #[test]
    fn every_folded_metric_has_one_place() {
        for &metric in Metric::ALL {
            let rows = rows().filter(|row| row.origin == Origin::Folded(metric)).count();
            let parts = GEN_AI.iter().flat_map(|pushed| pushed.parts).filter(|part| part.metric == metric).count();
            assert_eq!(rows + parts, 1, "{metric:?}");
        }
        let names: HashSet<_> = Metric::ALL.iter().map(|metric| name(*metric)).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }

    #[test]
    fn what_is_pushed_agrees_with_the_fold() {
        for pushed in GEN_AI {
            assert!(pushed.help.len() > 20 && !pushed.help.ends_with('.'), "{}", pushed.name);
            for part in pushed.parts {
                let buckets = part.metric.buckets().unwrap();
                assert_eq!(buckets.measure == Measure::Duration, pushed.unit == "s", "{}", part.name);
                assert!(part.name.starts_with(pushed.name), "{}", part.name);
                let dimensions = [Dimension::Agent, Dimension::Model, Dimension::Provider];
                assert_eq!(part.metric.dimensions(), dimensions, "{}", part.name);
            }
            let mut attributes: Vec<_> = pushed.parts.iter().map(|part| part.attribute).collect();
            attributes.dedup();
            assert_eq!(attributes.len(), pushed.parts.len(), "the points of {} are told apart", pushed.name);
        }
    }

    #[test]
    fn folded_rows_agree_with_the_fold() {
        for &metric in Metric::ALL {
            let Some(row) = of(metric) else { continue };
            let kind = match metric.kind() {
                Kind::Counter | Kind::CounterNanoUsd => Type::Counter,
                Kind::Gauge | Kind::Time => Type::Gauge,
                Kind::Histogram(buckets) => {
                    assert_eq!(buckets.measure == Measure::Duration, row.unit == Some(Unit::Seconds), "{}", row.name);
                    Type::Histogram
                }
            };
            assert_eq!(row.kind, kind, "{}", row.name);
            assert_eq!(metric.kind() == Kind::Time, row.name.ends_with("_timestamp_seconds"), "{}", row.name);
            let dimensions = metric.dimensions();
            let mut labels = vec!["source"];
            if dimensions.contains(&Dimension::Agent) {
                labels.push("platform");
            }
            labels.extend(dimensions.iter().map(|dimension| dimension.label()));
            assert_eq!(row.labels, labels, "{}", row.name);
        }
    }

    #[test]
    fn names_are_unique_in_both_formats() {
        let names: HashSet<_> = rows().map(|row| row.name).collect();
        let families: HashSet<_> = rows().map(Row::family_name).collect();
        assert_eq!(names.len(), rows().count());
        assert_eq!(families.len(), rows().count());
    }

    #[test]
    fn names_keep_to_the_conventions() {
        let is_snake = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && !text.contains("__")
                && !text.ends_with('_')
        };
        for row in rows() {
            let name = row.name;
            assert!(is_snake(name), "{name}");
            assert_eq!(name.ends_with("_total"), row.kind == Type::Counter, "{name}");
            for reserved in ["_bucket", "_sum", "_count", "_created"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            let prefix = match row.origin {
                Origin::Process => "process_",
                Origin::Limits => "agent_platform_",
                Origin::Folded(metric) if metric.dimensions().contains(&Dimension::Agent) => "agent_",
                Origin::Folded(_) | Origin::Snapshot | Origin::Instrument => "agent_session_exporter_",
            };
            assert!(name.starts_with(prefix), "{name}");
            for label in row.labels {
                assert!(is_snake(label), "{name} {label}");
                assert!(!["le", "quantile", "job", "instance"].contains(label), "{name} {label}");
            }
        }
    }

    #[test]
    fn units_are_base_units_and_stand_in_the_name() {
        for row in rows() {
            let name = row.name;
            for wrong in ["milli", "micro", "nano", "minute", "hour", "kilo", "mega", "percent"] {
                assert!(!name.contains(wrong), "{name}");
            }
            let said = [Unit::Seconds, Unit::Bytes, Unit::Tokens, Unit::Usd]
                .into_iter()
                .find(|unit| row.family_name().ends_with(&format!("_{}", unit.as_str())));
            match said {
                Some(unit) => assert_eq!(row.unit, Some(unit), "{name}"),
                None => assert_eq!(row.declared_unit(), None, "{name}"),
            }
        }
    }

    #[test]
    fn helps_are_sentences_without_a_full_stop() {
        for row in rows() {
            let help = row.help;
            assert!(help.len() > 20, "{}: {help}", row.name);
            assert!(help.starts_with(char::is_uppercase), "{}: {help}", row.name);
            assert!(!help.ends_with('.') && !help.contains(['\n', '"', '\\']), "{}: {help}", row.name);
        }
    }
}
