//! Tokens and money, as exact whole numbers.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Money in billionths of a US dollar: whole numbers add up to the same sum in every order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// From a price as the platforms write it. `None` for what is no price: negative, infinite, not a number.
    pub fn from_usd(usd: f64) -> Option<Self> {
        // Above this a session would have cost more than nine billion dollars.
        let nano = (usd * 1e9).round();
        (0.0..9e18).contains(&nano).then_some(Self(nano as u64))
    }
}

/// Token counts under one convention: `input` contains `cached` (and `cache_write`), `output` contains `reasoning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tokens {
    /// All prompt tokens, those served from a cache included.
    pub input: u64,
    /// The part of `input` that was read from a cache.
    pub cached: u64,
    /// The part of `input` that was written to a cache.
    pub cache_write: u64,
    /// All generated tokens.
    pub output: u64,
    /// The part of `output` spent on reasoning.
    pub reasoning: u64,
}

/// What a model was used for and what that cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens.
    pub tokens: Tokens,
    /// Cost; `None` is unknown, which is not zero.
    pub cost: Option<NanoUsd>,
}

impl Tokens {
    /// The counts in a fixed order.
    pub const fn as_array(self) -> [u64; 5] {
        [self.input, self.cached, self.cache_write, self.output, self.reasoning]
    }

    /// Whether any count is lower than in `other`.
    pub fn falls_below(self, other: Self) -> bool {
        self.as_array().iter().zip(other.as_array()).any(|(now, before)| *now < before)
    }

    /// Count by count, how much more this is than `other`; never negative.
    pub fn beyond(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_sub(other.input),
            cached: self.cached.saturating_sub(other.cached),
            cache_write: self.cache_write.saturating_sub(other.cache_write),
            output: self.output.saturating_sub(other.output),
            reasoning: self.reasoning.saturating_sub(other.reasoning),
        }
    }

    /// Count by count, the higher of the two.
    pub fn highest(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cached: self.cached.max(other.cached),
            cache_write: self.cache_write.max(other.cache_write),
            output: self.output.max(other.output),
            reasoning: self.reasoning.max(other.reasoning),
        }
    }

    /// Whether nothing was used.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_and_refuses_nonsense() {
        assert_eq!(NanoUsd::from_usd(0.0058441), Some(NanoUsd(5_844_100)));
        assert_eq!(NanoUsd::from_usd(0.0), Some(NanoUsd(0)));
        for bad in [-0.1, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(NanoUsd::from_usd(bad), None, "{bad}");
        }
    }

    #[test]
    fn differences_are_never_negative() {
        let before = Tokens { input: 10, output: 5, ..Tokens::default() };
        let after = Tokens { input: 12, output: 3, ..Tokens::default() };
        assert!(after.falls_below(before));
        assert_eq!(after.beyond(before), Tokens { input: 2, ..Tokens::default() });
        assert_eq!(after.highest(before), Tokens { input: 12, output: 5, ..Tokens::default() });
    }
}
