//! The totals of one series, and a later point of it less those totals.

use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, exponential_histogram_data_point::Buckets,
    number_data_point::Value,
};
use serde::{Deserialize, Serialize};

/// What a series had counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Totals {
    Whole(i64),
    Real(f64),
    Explicit { sum: f64, buckets: Vec<u64> },
    Exponential { sum: f64, scale: i32, zero: u64, positive: Span, negative: Span },
}

/// Exponential buckets, the first of them at an offset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Span {
    offset: i32,
    counts: Vec<u64>,
}

/// What came of a subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// The point has what came since.
    Changed,
    /// Nothing came since.
    Same,
    /// There is less than there was, as when an older store was put back, or it is counted in other buckets: there is no
    /// telling what came since. The point is of no use.
    Incomparable,
}

impl From<&NumberDataPoint> for Totals {
    fn from(point: &NumberDataPoint) -> Self {
        match point.value {
            Some(Value::AsInt(value)) => Self::Whole(value),
            Some(Value::AsDouble(value)) => Self::Real(value),
            None => Self::Whole(0),
        }
    }
}

impl From<&HistogramDataPoint> for Totals {
    fn from(point: &HistogramDataPoint) -> Self {
        Self::Explicit { sum: point.sum(), buckets: point.bucket_counts.clone() }
    }
}

impl From<&ExponentialHistogramDataPoint> for Totals {
    fn from(point: &ExponentialHistogramDataPoint) -> Self {
        let span = |buckets: &Option<Buckets>| {
            let of = |it: &Buckets| Span { offset: it.offset, counts: it.bucket_counts.clone() };
            buckets.as_ref().map(of).unwrap_or_default()
        };
        Self::Exponential {
            sum: point.sum(),
            scale: point.scale,
            zero: point.zero_count,
            positive: span(&point.positive),
            negative: span(&point.negative),
        }
    }
}

/// A point that totals can be taken away from.
pub(super) trait Later {
    fn less(&mut self, before: &Totals) -> Since;
}

impl Totals {
    /// Leaves in the point what it has more than these.
    pub(super) fn subtract(&self, point: &mut impl Later) -> Since {
        point.less(self)
    }
}

impl Later for NumberDataPoint {
    fn less(&mut self, before: &Totals) -> Since {
        match (&mut self.value, before) {
            (Some(Value::AsInt(now)), Totals::Whole(before)) if *now >= *before => {
                *now -= before;
                if *now == 0 { Since::Same } else { Since::Changed }
            }
            (Some(Value::AsDouble(now)), Totals::Real(before)) if *now >= *before => {
                let is_same = *now <= *before;
                *now -= before;
                if is_same { Since::Same } else { Since::Changed }
            }
            _ => Since::Incomparable,
        }
    }
}

impl Later for HistogramDataPoint {
    fn less(&mut self, before: &Totals) -> Since {
        let Totals::Explicit { sum, buckets } = before else { return Since::Incomparable };
        let Some(counts) = differences(&self.bucket_counts, buckets) else { return Since::Incomparable };
        let count = counts.iter().sum();
        self.bucket_counts = counts;
        self.count = count;
        self.sum = self.sum.map(|now| (now - sum).max(0.0));
        // Of which observations these are is not known.
        (self.min, self.max) = (None, None);
        if count == 0 { Since::Same } else { Since::Changed }
    }
}

impl Later for ExponentialHistogramDataPoint {
    fn less(&mut self, before: &Totals) -> Since {
        let Totals::Exponential { sum, scale, zero, positive, negative } = before else { return Since::Incomparable };
        // Buckets only ever become wider: the earlier ones can be brought to the later scale.
        let Ok(steps) = u32::try_from(scale - self.scale) else { return Since::Incomparable };
        let side = |now: &Option<Buckets>, before: &Span| -> Option<Option<Buckets>> {
            let Some(now) = now else { return before.counts.iter().all(|it| *it == 0).then_some(None) };
            let before = before.widened(steps).moved(now.offset, now.bucket_counts.len())?;
            let bucket_counts = differences(&now.bucket_counts, &before)?;
            Some(Some(Buckets { offset: now.offset, bucket_counts }))
        };
        let (Some(positive), Some(negative)) = (side(&self.positive, positive), side(&self.negative, negative)) else {
            return Since::Incomparable;
        };
        let Some(zero) = self.zero_count.checked_sub(*zero) else { return Since::Incomparable };
        let counted = |side: &Option<Buckets>| side.iter().flat_map(|it| &it.bucket_counts).sum::<u64>();
        self.count = zero + counted(&positive) + counted(&negative);
        self.zero_count = zero;
        (self.positive, self.negative) = (positive, negative);
        self.sum = self.sum.map(|now| (now - sum).max(0.0));
        (self.min, self.max) = (None, None);
        if self.count == 0 { Since::Same } else { Since::Changed }
    }
}

impl Span {
    /// The same counts in buckets each of which holds `2^steps` of these.
    fn widened(&self, steps: u32) -> Self {
        let steps = steps.min(31);
        let at = |index: usize| (self.offset + i32::try_from(index).expect("buckets are few")) >> steps;
        let offset = self.offset >> steps;
        let mut counts = Vec::new();
        for (index, count) in self.counts.iter().enumerate() {
            let place = usize::try_from(at(index) - offset).expect("buckets ascend");
            if counts.len() <= place {
                counts.resize(place + 1, 0);
            }
            counts[place] += count;
        }
        Self { offset, counts }
    }

    /// The counts of `length` buckets from `offset` on; `None` if one that counts lies elsewhere.
    fn moved(&self, offset: i32, length: usize) -> Option<Vec<u64>> {
        let mut moved = vec![0; length];
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let place = i64::from(self.offset) + i64::try_from(index).ok()? - i64::from(offset);
            *moved.get_mut(usize::try_from(place).ok()?)? = *count;
        }
        Some(moved)
    }
}

/// Place by place; `None` if there is less anywhere, or the places are not the same.
fn differences(now: &[u64], before: &[u64]) -> Option<Vec<u64>> {
    if now.len() != before.len() {
        return None;
    }
    now.iter().zip(before).map(|(now, before)| now.checked_sub(*before)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: Value) -> NumberDataPoint {
        NumberDataPoint { value: Some(value), ..NumberDataPoint::default() }
    }

    fn exponential(scale: i32, zero: u64, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            zero_count: zero,
            count: zero + counts.iter().sum::<u64>(),
            sum: Some(counts.iter().sum::<u64>() as f64),
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            max: Some(1.0),
            ..ExponentialHistogramDataPoint::default()
        }
    }

    #[test]
    fn numbers_are_what_came_since() {
        let mut point = number(Value::AsInt(7));
        assert_eq!(Totals::Whole(5).subtract(&mut point), Since::Changed);
        assert_eq!(point.value, Some(Value::AsInt(2)));
        assert_eq!(Totals::Whole(5).subtract(&mut number(Value::AsInt(5))), Since::Same);
        assert_eq!(Totals::Whole(5).subtract(&mut number(Value::AsInt(4))), Since::Incomparable);
        assert_eq!(Totals::Real(0.5).subtract(&mut number(Value::AsDouble(0.25))), Since::Incomparable);
        assert_eq!(Totals::Real(0.5).subtract(&mut number(Value::AsInt(4))), Since::Incomparable);
    }

    #[test]
    fn buckets_are_what_came_since() {
        let mut point = HistogramDataPoint {
            bucket_counts: vec![3, 0, 5],
            count: 8,
            sum: Some(10.0),
            max: Some(4.0),
            ..HistogramDataPoint::default()
        };
        let before = Totals::Explicit { sum: 4.0, buckets: vec![3, 0, 1] };
        let other = Totals::Explicit { sum: 4.0, buckets: vec![3, 0] };
        assert_eq!(other.subtract(&mut point.clone()), Since::Incomparable);
        assert_eq!(Totals::from(&point).subtract(&mut point.clone()), Since::Same);
        assert_eq!(before.subtract(&mut point), Since::Changed);
        assert_eq!((point.bucket_counts, point.count, point.sum), (vec![0, 0, 4], 4, Some(6.0)));
        assert_eq!(point.max, None);
    }

    #[test]
    fn exponential_buckets_may_have_moved_and_become_wider() {
        let before = Totals::from(&exponential(2, 1, -3, &[1, 2, 0, 4, 1]));
        // Indices -3 -2 -1 0 1 at scale 2 are -2 -1 -1 0 0 at scale 1.
        let mut later = exponential(1, 3, -3, &[1, 1, 2, 6, 9]);
        assert_eq!(before.subtract(&mut later), Since::Changed);
        let positive = later.positive.as_ref().expect("buckets");
        assert_eq!((positive.offset, &*positive.bucket_counts), (-3, &[1, 0, 0, 1, 9][..]));
        assert_eq!((later.zero_count, later.count, later.sum), (2, 13, Some(11.0)));
        assert_eq!(before.subtract(&mut exponential(3, 1, -3, &[9; 9])), Since::Incomparable);
        assert_eq!(before.subtract(&mut exponential(2, 1, -2, &[9; 9])), Since::Incomparable);
        assert_eq!(before.subtract(&mut exponential(2, 1, -4, &[0, 1, 2, 0, 4, 1, 0])), Since::Same);
    }
}
