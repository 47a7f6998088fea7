//! Labels as bytes, rendered once per series and then copied by every scrape.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::domain::SourceIx;
use crate::projection::{Family, Head, Metric, SeriesKey, Snapshot};
use crate::views::catalog;

/// How a format writes one label behind others: whether it is the first, its name and its value.
pub(super) type WriteLabel = fn(&mut Vec<u8>, bool, &str, &str);

/// The rendered labels of all series of a snapshot.
///
/// Series, names and sources only ever grow while a state lives, but a state is rebuilt from the store after a failed
/// commit, and what had not been committed may then stand elsewhere. So nothing is taken on trust: each use compares
/// what was rendered with what is there, which costs far less than rendering it.
#[derive(Debug)]
pub(super) struct LabelCache {
    label: WriteLabel,
    names: Arc<Vec<SmolStr>>,
    sources: Vec<(SmolStr, SmolStr)>,
    families: Vec<FamilyLabels>,
}

/// The labels of one family, one series after the other.
#[derive(Debug, Default)]
pub(super) struct FamilyLabels {
    bytes: Vec<u8>,
    series: Vec<(SeriesKey, usize)>,
}

impl LabelCache {
    /// Nothing rendered yet.
    pub(super) fn new(label: WriteLabel) -> Self {
        Self { label, names: Arc::default(), sources: Vec::new(), families: Vec::new() }
    }

    /// Renders what is new in `snapshot` and forgets what it contradicts.
    pub(super) fn bring_up_to(&mut self, snapshot: &Snapshot) {
        if !self.has_same_texts(snapshot) {
            self.families.clear();
        }
        self.names = Arc::clone(&snapshot.names);
        self.sources.clear();
        self.sources.extend(snapshot.sources.iter().map(|source| (source.name.clone(), source.platform.clone())));
        self.families.resize_with(snapshot.families.len(), FamilyLabels::default);
        for (labels, family) in self.families.iter_mut().zip(&snapshot.families) {
            labels.bring_up_to(family, snapshot, self.label);
        }
    }

    /// The labels of the family at that place in the snapshot.
    pub(super) fn family(&self, place: usize) -> &FamilyLabels {
        &self.families[place]
    }

    fn has_same_texts(&self, snapshot: &Snapshot) -> bool {
        let sources = snapshot.sources.iter().map(|source| (&source.name, &source.platform));
        let same_sources = self.sources.len() <= snapshot.sources.len()
            && self.sources.iter().zip(sources).all(|((name, platform), now)| (name, platform) == now);
        let same_names = Arc::ptr_eq(&self.names, &snapshot.names) || snapshot.names.starts_with(&self.names);
        same_sources && same_names
    }
}

impl FamilyLabels {
    /// The labels of series `index`: what stands between the braces, or the fields that hold them.
    pub(super) fn of(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.series[index - 1].1 };
        &self.bytes[start..self.series[index].1]
    }

    fn bring_up_to(&mut self, family: &Family, snapshot: &Snapshot, label: WriteLabel) {
        // What is only pushed is never rendered here.
        let Some(row) = catalog::of(family.metric()) else { return };
        let heads = family.heads();
        let same = self.series.iter().zip(heads).take_while(|((key, _), head)| *key == head.key).count();
        self.series.truncate(same);
        self.bytes.truncate(self.series.last().map_or(0, |(_, end)| *end));
        for Head { key, .. } in &heads[same..] {
            let mut values = values(family.metric(), key, snapshot);
            for (place, name) in row.labels.iter().enumerate() {
                label(&mut self.bytes, place == 0, name, values.next().unwrap_or_default());
            }
            self.series.push((*key, self.bytes.len()));
        }
    }
}

/// The values in the order of the catalogue's names: source, platform and agent if there is one, the rest.
fn values<'a>(metric: Metric, key: &SeriesKey, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a str> {
    let SourceIx(source) = key.source;
    let (source, platform) = snapshot
        .sources
        .get(usize::from(source))
        .map_or(("", ""), |source| (source.name.as_str(), source.platform.as_str()));
    let with_agent = metric.has_agent().then(|| [platform, snapshot.text(key.agent)]);
    let rest = key.labels.map(|label| snapshot.text(label));
    std::iter::once(source).chain(with_agent.into_iter().flatten()).chain(rest)
}
