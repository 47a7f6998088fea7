//! What a histogram series keeps besides its classic buckets: exponential ones, and examples to look at.

use super::native::Native;
use crate::domain::{Timestamp, TraceContext};

/// Where an observation can be looked at: the span in which it was made, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The span.
    pub context: TraceContext,
    /// The platform's time of the observation.
    pub at: Timestamp,
}

/// An observation that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// Where.
    pub exemplar: Exemplar,
    /// What was observed, in the metric's own whole numbers.
    pub value: u64,
}

/// Of one series. Boxed away and shared with readers: a series without observations has none.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    native: Native,
    /// The latest example of each classic bucket that has one. In memory only: after a restart the next observations
    /// bring new ones, and whoever collects exemplars has the old ones already.
    examples: Vec<(u8, Example)>,
}

impl Distribution {
    /// As the store has it.
    pub(super) fn of(native: Native) -> Self {
        Self { native, examples: Vec::new() }
    }

    /// Counts one observation: `shown` as it is shown, `example` if it can be looked at, with its classic bucket.
    pub(super) fn observe(&mut self, shown: f64, bucket: usize, example: Option<Example>) {
        self.native.observe(shown);
        let Some(example) = example else { return };
        let bucket = u8::try_from(bucket).expect("metrics have a dozen buckets");
        match self.examples.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(place) => self.examples[place].1 = example,
            Err(place) => self.examples.insert(place, (bucket, example)),
        }
    }

    /// Adds what was observed elsewhere. Examples are not totals and stay where they are.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.native.absorb(&other.native);
    }

    /// The exponential buckets.
    pub fn native(&self) -> &Native {
        &self.native
    }

    /// The latest example in classic bucket `bucket`.
    pub fn example(&self, bucket: usize) -> Option<Example> {
        let found = self.examples.iter().find(|(of, _)| usize::from(*of) == bucket);
        found.map(|(_, example)| *example)
    }

    /// All examples, by bucket.
    pub fn examples(&self) -> impl Iterator<Item = Example> + '_ {
        self.examples.iter().map(|(_, example)| *example)
    }
}
