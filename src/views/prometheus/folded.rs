//! The folded families: cached labels, whole numbers, cumulative buckets.

use super::labels::{FamilyLabels, LabelCache};
use super::{Format, Hold, write};
use crate::domain::{Span, Timestamp};
use crate::projection::{Family, Head, Kind, Snapshot};
use crate::views::catalog;

/// Decimal digits of a billionth of a dollar.
const NANO: u32 = 9;
/// Decimal digits of a microsecond.
const MICRO: u32 = 6;

/// Every family that has a series to show.
pub(super) fn write(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    labels: &LabelCache,
    hold: Hold,
    format: Format,
    now: Timestamp,
) {
    let attached: Vec<bool> = snapshot.sources.iter().map(|source| source.attached).collect();
    let is_attached = |head: &Head| attached.get(usize::from(head.key.source.0)).copied().unwrap_or(false);
    for (place, family) in snapshot.families.iter().enumerate() {
        let shown = Shown { family, labels: labels.family(place), hold, now };
        let before = out.len();
        write::head(out, catalog::of(family.metric()), format);
        let empty = out.len();
        shown.write(out, is_attached);
        if out.len() == empty {
            out.truncate(before);
        }
    }
}

struct Shown<'a> {
    family: &'a Family,
    labels: &'a FamilyLabels,
    hold: Hold,
    now: Timestamp,
}

impl Shown<'_> {
    fn write(&self, out: &mut Vec<u8>, is_attached: impl Fn(&Head) -> bool) {
        let metric = self.family.metric();
        let name = catalog::of(metric).name;
        let bounds = match metric.kind() {
            Kind::Histogram(bounds) => bound_labels(bounds),
            _ => Vec::new(),
        };
        for (index, head) in self.family.heads().iter().enumerate() {
            if !is_attached(head) {
                continue;
            }
            let labels = self.labels.of(index);
            let is_held = self.hold.holds(head.born, self.now);
            let value = self.family.value(index);
            match metric.kind() {
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
                Kind::Histogram(_) => {
                    let values = if is_held { None } else { Some(self.family.values(index)) };
                    histogram(out, name, labels, &bounds, values);
                }
            }
        }
    }
}

/// A histogram from its buckets (each for itself) and sum; all zero without values.
fn histogram(out: &mut Vec<u8>, name: &str, labels: &[u8], bounds: &[Vec<u8>], values: Option<&[u64]>) {
    let mut sum_of_buckets = 0;
    for (place, bound) in bounds.iter().enumerate() {
        sum_of_buckets += values.map_or(0, |values| values[place]);
        write::bucket(out, name, labels, bound);
        write::count(out, sum_of_buckets);
    }
    write::sample(out, name, "_sum", labels);
    write::decimal(out, values.map_or(0, |values| values[bounds.len()]), MICRO);
    write::sample(out, name, "_count", labels);
    write::count(out, sum_of_buckets);
}

fn bound_labels(bounds: &[Span]) -> Vec<Vec<u8>> {
    bounds.iter().map(|bound| bound.seconds()).chain([f64::INFINITY]).map(write::bound).collect()
}
