//! The folded families as text: cached labels, whole numbers, cumulative buckets.

use super::Shown;
use super::labels::FamilyLabels;
use super::write::{self, Dialect};
use crate::projection::{Buckets, Distribution, Family, Kind};
use crate::views::catalog::{self, Row};

/// Decimal digits of a billionth of a dollar.
const NANO: u32 = 9;
/// Decimal digits of a microsecond.
const MICRO: u32 = 6;

/// Every family that has a series to show.
pub(super) fn write(out: &mut Vec<u8>, shown: Shown<'_>, dialect: Dialect) {
    for (place, family) in shown.snapshot.families.iter().enumerate() {
        let Some(row) = catalog::of(family.metric()) else { continue };
        let before = out.len();
        write::head(out, row, dialect);
        let empty = out.len();
        of_family(out, family, row, shown.labels.family(place), shown, dialect);
        if out.len() == empty {
            out.truncate(before);
        }
    }
}

fn of_family(out: &mut Vec<u8>, family: &Family, row: &Row, labels: &FamilyLabels, shown: Shown<'_>, dialect: Dialect) {
    let name = row.name;
    let kind = family.metric().kind();
    let bounds = family.metric().buckets().map_or(Vec::new(), bound_labels);
    for (index, head) in family.heads().iter().enumerate().filter(|(_, head)| shown.is_attached(head)) {
        let labels = labels.of(index);
        let is_held = shown.is_held(head);
        let value = family.value(index);
        match kind {
            Kind::Counter => {
                write::sample(out, name, "", labels);
                write::count(out, if is_held { 0 } else { value });
            }
            Kind::CounterNanoUsd => {
                write::sample(out, name, "", labels);
                write::decimal(out, if is_held { 0 } else { value }, NANO);
            }
            Kind::Gauge => {
                write::sample(out, name, "", labels);
                // Gauges move by two's complement; should one ever fall too far, it had better be seen.
                write::whole(out, value.cast_signed());
            }
            Kind::Time if value == 0 => {}
            Kind::Time => {
                write::sample(out, name, "", labels);
                write::decimal(out, value, MICRO);
            }
            Kind::Histogram(buckets) => {
                let values = if is_held { None } else { Some(family.values(index)) };
                // An exemplar of what is not shown yet would tell of it, and 0.0.4 has none.
                let has_exemplars = !is_held && dialect == Dialect::OpenMetrics;
                let distribution = if has_exemplars { family.distribution(index) } else { None };
                histogram(out, name, labels, (&bounds, buckets), values, distribution);
            }
        }
    }
}

/// A histogram from its buckets (each for itself) and sum; all zero without values.
fn histogram(
    out: &mut Vec<u8>,
    name: &str,
    labels: &[u8],
    (bounds, buckets): (&[Vec<u8>], Buckets),
    values: Option<&[u64]>,
    distribution: Option<&Distribution>,
) {
    let mut sum_of_buckets = 0;
    for (place, bound) in bounds.iter().enumerate() {
        sum_of_buckets += values.map_or(0, |values| values[place]);
        write::bucket(out, name, labels, bound);
        write::bare_count(out, sum_of_buckets);
        if let Some(example) = distribution.and_then(|distribution| distribution.example(place)) {
            write::exemplar(out, example, buckets.measure);
        }
        out.push(b'\n');
    }
    write::sample(out, name, "_sum", labels);
    write::decimal(out, values.map_or(0, |values| values[bounds.len()]), buckets.measure.digits());
    write::sample(out, name, "_count", labels);
    write::count(out, sum_of_buckets);
}

fn bound_labels(buckets: Buckets) -> Vec<Vec<u8>> {
    buckets.shown().chain([f64::INFINITY]).map(write::bound).collect()
}
