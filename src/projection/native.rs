//! Exponential buckets: what Prometheus calls a native histogram and OpenTelemetry an exponential one.
//!
//! Bucket `i` holds what is above `2^((i-1)/8)` and at most `2^(i/8)`, as Prometheus counts them; OpenTelemetry's number
//! for the same bucket is one less. Buckets are no wider than 9.1 %, and only those that hold something are kept. There
//! is no bound on their number and none is needed: from one to what 64 bits can tell there are 513, be it microseconds or
//! tokens, and what is measured of one agent lies in a few dozen.

use serde::{Deserialize, Serialize};

/// Prometheus' schema and OpenTelemetry's scale: eight buckets for each doubling.
pub const SCHEMA: i32 = 3;

/// 2^(-8/8) to 2^(-1/8), each as close as a floating number comes.
const BOUNDS: [f64; 8] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    std::f64::consts::FRAC_1_SQRT_2,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_5,
    0.917_004_043_204_671_2,
];

/// How many observations lie in which bucket. Adding two of them up is the same as having observed everything in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    zero: u64,
    /// The buckets that hold something, ascending, and what each of them holds. Two lists, as pairs of these would be
    /// half as large again.
    buckets: Vec<i16>,
    counts: Vec<u64>,
}

impl Native {
    /// Counts one value, which is 0 or at least a millionth.
    pub(super) fn observe(&mut self, value: f64) {
        if value > 0.0 {
            self.add(bucket_of(value), 1);
        } else {
            self.zero = self.zero.saturating_add(1);
        }
    }

    /// Adds what was observed elsewhere.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.zero = self.zero.saturating_add(other.zero);
        other.buckets().for_each(|(bucket, count)| self.add(bucket, count));
    }

    fn add(&mut self, bucket: i16, count: u64) {
        match self.buckets.binary_search(&bucket) {
            Ok(place) => self.counts[place] = self.counts[place].saturating_add(count),
            Err(place) => {
                // New buckets are rare, room for more would be wasted in every series.
                self.buckets.reserve_exact(1);
                self.counts.reserve_exact(1);
                self.buckets.insert(place, bucket);
                self.counts.insert(place, count);
            }
        }
    }

    /// Observations of exactly 0.
    pub fn zero(&self) -> u64 {
        self.zero
    }

    /// The buckets that hold something, in ascending order, by Prometheus' number.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = (i16, u64)> {
        self.buckets.iter().copied().zip(self.counts.iter().copied())
    }

    /// All observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(self.zero, |sum, count| sum.saturating_add(*count))
    }
}

/// The bucket that holds a positive number. Looks at the bits of the number and never computes a logarithm, which
/// differs between machines and would put what lies on a bound now here, now there. Exact for durations of up to 2^29 s
/// (17 years) and counts of up to 2^52; above it, what lies on a bound may be one bucket off, always the same one.
fn bucket_of(value: f64) -> i16 {
    const EXPONENT: u64 = 0x7ff << 52;
    let bits = value.to_bits();
    // value = fraction * 2^exponent, with a fraction from 0.5 to below 1.
    let exponent = ((bits & EXPONENT) >> 52) as i16 - 1022;
    let fraction = f64::from_bits(bits & !EXPONENT | 1022 << 52);
    let place = BOUNDS.partition_point(|bound| *bound < fraction);
    (exponent - 1) * 8 + place as i16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A whole number of any size, lowest part first: just enough to compare powers exactly.
    fn times(number: &mut Vec<u32>, factor: u64) {
        let mut carry = 0u128;
        for part in number.iter_mut() {
            carry += u128::from(*part) * u128::from(factor);
            *part = carry as u32;
            carry >>= 32;
        }
        while carry > 0 {
            number.push(carry as u32);
            carry >>= 32;
        }
    }

    fn product(factors: impl IntoIterator<Item = u64>) -> Vec<u32> {
        let mut number = vec![1];
        factors.into_iter().for_each(|factor| times(&mut number, factor));
        while number.last() == Some(&0) {
            number.pop();
        }
        number.reverse();
        number
    }

    /// Whether `units / per` is at most 2^(bucket/8): in whole numbers, units^8 <= 2^bucket * per^8.
    fn is_within(units: u64, per: u64, bucket: i16) -> bool {
        let twos = |power: i16| std::iter::repeat_n(2, usize::try_from(power).unwrap_or(0));
        let left = product([units; 8].into_iter().chain(twos(-bucket)));
        let right = product([per; 8].into_iter().chain(twos(bucket)));
        (left.len(), left) <= (right.len(), right)
    }

    fn check(units: u64, per: u64) {
        let bucket = bucket_of(units as f64 / per as f64);
        assert!(is_within(units, per, bucket), "{units}/{per} is above bucket {bucket}");
        assert!(
            !is_within(units, per, bucket - 1),
            "{units}/{per} is in bucket {bucket}, but not above the one before"
        );
    }

    #[test]
    fn buckets_end_where_they_say() {
        for (value, bucket) in [(1.0, 0), (2.0, 8), (0.5, -8), (1.000_001, 1), (1.09, 1), (1.1, 2), (1e-6, -159)] {
            assert_eq!(bucket_of(value), bucket, "{value}");
        }
        // The last value of a bucket and the first of the next, for all of them that are exact.
        for (per, last) in [(1, 8 * 52), (1_000_000, 8 * 29)] {
            for bucket in -160i16..=last {
                let ideal = (f64::from(bucket) / 8.0).exp2() * per as f64;
                for units in (ideal as u64).saturating_sub(2)..=ideal as u64 + 2 {
                    if units > 0 {
                        check(units, per);
                    }
                }
            }
        }
        assert_eq!(bucket_of(u64::MAX as f64 / 1e6) - bucket_of(1e-6) + 1, 513);
    }

    fn native(values: &[u64]) -> Native {
        let mut native = Native::default();
        values.iter().for_each(|value| native.observe(*value as f64 / 1e6));
        native
    }

    proptest! {
        #[test]
        fn every_number_is_in_its_bucket(units in 1u64..1 << 49, per in prop::sample::select(vec![1u64, 1_000_000])) {
            check(units, per);
        }

        #[test]
        fn a_sum_of_parts_is_the_whole(values in prop::collection::vec(0u64..10_000_000_000, 0..60), at in 0usize..60) {
            let (one, two) = values.split_at(at.min(values.len()));
            let mut sum = native(one);
            sum.absorb(&native(two));
            prop_assert_eq!(sum.count(), values.len() as u64);
            prop_assert!(sum.buckets.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(sum, native(&values));
        }
    }
}
