//! The label values that we choose ourselves, as numbers, so that the fold never touches a text.

use super::names::{Names, UNKNOWN};
use crate::domain::{NameId, Status, TurnOutcome, Verdict};

/// The error code of what a platform's closed set does not hold.
pub const OTHER_ERROR: &str = "other";

/// Numbers of our own words in one dictionary.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    statuses: [NameId; Status::ALL.len()],
    outcomes: [NameId; TurnOutcome::ALL.len()],
    verdicts: [NameId; Verdict::ALL.len()],
    /// `unknown`.
    pub unknown: NameId,
    /// `other`.
    pub other_error: NameId,
    /// `timeout`, what an end by time limit is called when no code is given.
    pub timeout: NameId,
    /// `platform`: the platform says what it costs.
    pub platform_basis: NameId,
    /// `estimated`: the platform says what it should cost, going by a price list.
    pub estimated_basis: NameId,
    /// `active`, a phase.
    pub active: NameId,
    /// `settled`, a phase.
    pub settled: NameId,
}

impl Vocabulary {
    /// Enters our words into `names`.
    pub fn new(names: &mut Names) -> Self {
        Self {
            statuses: Status::ALL.map(|status| names.exact(status.as_str())),
            outcomes: TurnOutcome::ALL.map(|outcome| names.exact(outcome.as_str())),
            verdicts: Verdict::ALL.map(|verdict| names.exact(verdict.as_str())),
            unknown: names.exact(UNKNOWN),
            other_error: names.exact(OTHER_ERROR),
            timeout: names.exact("timeout"),
            platform_basis: names.exact("platform"),
            estimated_basis: names.exact("estimated"),
            active: names.exact("active"),
            settled: names.exact("settled"),
        }
    }

    /// The label value of a status.
    pub fn status(&self, status: Status) -> NameId {
        self.statuses[status as usize]
    }

    /// The label value of a turn's outcome.
    pub fn outcome(&self, outcome: TurnOutcome) -> NameId {
        self.outcomes[outcome as usize]
    }

    /// The label value of a verdict.
    pub fn verdict(&self, verdict: Verdict) -> NameId {
        self.verdicts[verdict as usize]
    }
}
