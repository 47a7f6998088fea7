//! Randomness that depends only on the seed, the session and the purpose, never on the order of questions or on time.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A stream of random decisions for one purpose.
pub(super) struct Dice(fastrand::Rng);

/// Mixes seed, a number, a second number and a purpose into 64 bits.
pub(super) fn mix(seed: u64, number: u64, part: u32, purpose: &str) -> u64 {
    let mut input = Vec::with_capacity(12 + purpose.len());
    input.extend_from_slice(&number.to_le_bytes());
    input.extend_from_slice(&part.to_le_bytes());
    input.extend_from_slice(purpose.as_bytes());
    xxh3_64_with_seed(&input, seed)
}

impl Dice {
    /// The stream for one session (`number`, `part`) and one purpose.
    pub(super) fn new(seed: u64, number: u64, part: u32, purpose: &str) -> Self {
        Self(fastrand::Rng::with_seed(mix(seed, number, part, purpose)))
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// True in `share` of the cases.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    /// A whole number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        self.0.u32(low..=high)
    }

    /// One of the given values, each equally likely.
    pub(super) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.0.usize(..values.len())]
    }

    /// One of the given values, in proportion to its weight.
    pub(super) fn weighted<T: Copy>(&mut self, values: &[(u32, T)]) -> T {
        let total: u32 = values.iter().map(|(weight, _)| weight).sum();
        let mut rest = self.0.u32(..total);
        for (weight, value) in values {
            if rest < *weight {
                return *value;
            }
            rest -= weight;
        }
        values[values.len() - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_every_part_of_their_name() {
        let first = mix(1, 2, 3, "script");
        assert_eq!(first, mix(1, 2, 3, "script"));
        for other in [mix(2, 2, 3, "script"), mix(1, 3, 3, "script"), mix(1, 2, 4, "script"), mix(1, 2, 3, "id")] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn weights_are_respected() {
        let mut dice = Dice::new(1, 1, 0, "test");
        let hits = (0..10_000).filter(|_| dice.weighted(&[(9, true), (1, false)])).count();
        assert!((8_800..9_200).contains(&hits), "{hits}");
    }
}
