//! What readers get: the numbers of one commit, shared and never changing.

use std::sync::Arc;

use smol_str::SmolStr;

use super::family::Family;
use super::metric::Metric;
use super::state::Origin;
use crate::domain::{Limits, NameId};

/// A source as readers see it.
#[derive(Clone, Debug, Default)]
pub struct SourceView {
    /// Its label value.
    pub name: SmolStr,
    /// Its platform.
    pub platform: SmolStr,
    /// Whether it is watched now, or only remembered.
    pub attached: bool,
    /// The account's limits, as last told.
    pub limits: Limits,
    /// Sessions still being read.
    pub active: usize,
    /// Sessions that are settled.
    pub settled: usize,
    /// What spans say of where they are from.
    pub origin: Origin,
}

/// Everything there is to show.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Label texts by number.
    pub names: Arc<Vec<SmolStr>>,
    /// All families, in the order of [`Metric::ALL`].
    pub families: Vec<Family>,
    /// Increments that went to each metric's overflow series, in the same order.
    pub overflowed: Vec<u64>,
    /// Label sets of each metric that count against the limit, in the same order.
    pub label_sets: Vec<u64>,
    /// Label sets that a metric may have.
    pub max_series: u64,
    /// Sources by number.
    pub sources: Arc<[SourceView]>,
}

impl Snapshot {
    /// The text of a name.
    pub fn text(&self, id: NameId) -> &str {
        self.names.get(id.0 as usize).map_or("", SmolStr::as_str)
    }

    /// The family of a metric; `None` before the first state is there.
    pub fn family(&self, metric: Metric) -> Option<&Family> {
        self.families.iter().find(|family| family.metric() == metric)
    }
}
