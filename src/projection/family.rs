//! The numbers themselves: one family of series per metric, shared with readers without copying until it changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::distribution::{Distribution, Example, Exemplar};
use super::metric::{Kind, Metric};
use super::names::Names;
use super::native::Native;
use crate::domain::{NameId, SourceIx, Timestamp};

/// What tells one series of a metric from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SeriesKey {
    /// Which source.
    pub source: SourceIx,
    /// The agent; [`Names::NONE`] for what is counted per source.
    pub agent: NameId,
    /// The values of the metric's further labels, in their order; [`Names::NONE`] where it has none.
    pub labels: [NameId; 2],
}

impl SeriesKey {
    /// A series of the source as a whole.
    pub const fn of_source(source: SourceIx) -> Self {
        Self { source, agent: Names::NONE, labels: [Names::NONE; 2] }
    }
}

/// One series' identity and first moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its labels.
    pub key: SeriesKey,
    /// When it was first needed, by our clock; its start time on formats that carry one.
    pub born: Timestamp,
}

/// All series of one metric. Cloning shares; writing copies only what a reader still holds.
#[derive(Clone, Debug)]
pub struct Family {
    metric: Metric,
    heads: Arc<Vec<Head>>,
    values: Arc<Vec<u64>>,
    /// One per series of a histogram, none of other metrics. Each is shared for itself: a commit changes few of them.
    distributions: Arc<Vec<Option<Arc<Distribution>>>>,
}

/// What the writer needs to find its series; readers never see it.
#[derive(Clone, Debug, Default)]
struct Lookup {
    index: HashMap<SeriesKey, u32, RandomState>,
    admitted: HashSet<SeriesKey, RandomState>,
    overflowed: u64,
    dirty: Vec<u32>,
    is_dirty: Vec<bool>,
}

/// All families, with one writer.
#[derive(Clone, Debug)]
pub struct Families {
    families: Vec<Family>,
    lookups: Vec<Lookup>,
    max_series: usize,
}

impl Family {
    fn new(metric: Metric) -> Self {
        Self { metric, heads: Arc::default(), values: Arc::default(), distributions: Arc::default() }
    }

    /// Which metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The series, in order of birth; it only ever grows.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// The numbers of series `index`: one, or a histogram's buckets and sum.
    pub fn values(&self, index: usize) -> &[u64] {
        let width = self.metric.kind().width();
        &self.values[index * width..][..width]
    }

    /// The only number of series `index`.
    pub fn value(&self, index: usize) -> u64 {
        self.values(index)[0]
    }

    /// How many observations series `index` of a histogram has.
    pub fn observations(&self, index: usize) -> u64 {
        let (_, buckets) = self.values(index).split_last().expect("a series has numbers");
        buckets.iter().sum()
    }

    /// What the observations of series `index` of a histogram come to.
    pub fn sum(&self, index: usize) -> u64 {
        *self.values(index).last().expect("a series has numbers")
    }

    /// What series `index` of a histogram has besides; `None` without observations, and of other metrics.
    pub fn distribution(&self, index: usize) -> Option<&Distribution> {
        self.distributions.get(index)?.as_deref()
    }
}

impl Families {
    /// No series yet; each metric takes `max_series` label sets before it overflows.
    pub fn new(max_series: usize) -> Self {
        Self {
            families: Metric::ALL.iter().map(|&metric| Family::new(metric)).collect(),
            lookups: Metric::ALL.iter().map(|_| Lookup::default()).collect(),
            max_series,
        }
    }

    /// The families as they are now, to be read elsewhere while this one goes on.
    pub fn share(&self) -> Vec<Family> {
        self.families.clone()
    }

    /// One family.
    pub fn family(&self, metric: Metric) -> &Family {
        &self.families[place(metric)]
    }

    /// Increments that went to the overflow series of `metric` since the start of the process.
    pub fn overflowed(&self, metric: Metric) -> u64 {
        self.lookups[place(metric)].overflowed
    }

    /// Label sets of `metric` that count against its limit.
    pub fn label_sets(&self, metric: Metric) -> usize {
        self.lookups[place(metric)].admitted.len()
    }

    /// Label sets that a metric takes before it overflows.
    pub fn max_series(&self) -> usize {
        self.max_series
    }

    /// The value of the series with exactly this key, 0 if there is none.
    pub fn get(&self, metric: Metric, key: SeriesKey) -> u64 {
        let place = place(metric);
        self.lookups[place].index.get(&key).map_or(0, |&index| self.families[place].value(index as usize))
    }

    /// Makes sure that the series exists and says which one takes its values: itself, or the overflow series.
    pub fn seed(&mut self, metric: Metric, key: SeriesKey, now: Timestamp) -> u32 {
        let place = place(metric);
        let lookup = &mut self.lookups[place];
        if let Some(&index) = lookup.index.get(&key) {
            return index;
        }
        let free = metric.free_positions();
        let label_set = SeriesKey { labels: [0, 1].map(|i| if free[i] { key.labels[i] } else { Names::NONE }), ..key };
        let has_agent = key.agent != Names::NONE;
        let fits = !has_agent
            || key.agent == Names::OVERFLOWED
            || lookup.admitted.contains(&label_set)
            || lookup.admitted.len() < self.max_series;
        if !fits {
            lookup.overflowed += 1;
            let labels = [0, 1].map(|i| if free[i] { Names::OVERFLOWED } else { key.labels[i] });
            return self.seed(metric, SeriesKey { source: key.source, agent: Names::OVERFLOWED, labels }, now);
        }
        if has_agent && key.agent != Names::OVERFLOWED {
            lookup.admitted.insert(label_set);
        }
        self.create(place, key, now)
    }

    fn create(&mut self, place: usize, key: SeriesKey, now: Timestamp) -> u32 {
        let family = &mut self.families[place];
        let heads = Arc::make_mut(&mut family.heads);
        let index = u32::try_from(heads.len()).expect("series are capped far below 2^32");
        heads.push(Head { key, born: now });
        let width = family.metric.kind().width();
        let values = Arc::make_mut(&mut family.values);
        values.resize(values.len() + width, 0);
        if family.metric.buckets().is_some() {
            Arc::make_mut(&mut family.distributions).push(None);
        }
        let lookup = &mut self.lookups[place];
        lookup.index.insert(key, index);
        lookup.is_dirty.push(false);
        mark_dirty(lookup, index);
        index
    }

    /// Puts back a series as the store holds it; `values` in its metric's width, `native` if it is a histogram.
    pub fn restore(&mut self, metric: Metric, head: Head, values: &[u64], native: Option<Native>) {
        let place = place(metric);
        let index = self.create(place, head.key, head.born) as usize;
        let width = metric.kind().width();
        let taken = values.len().min(width);
        Arc::make_mut(&mut self.families[place].values)[index * width..][..taken].copy_from_slice(&values[..taken]);
        if let Some(native) = native {
            *self.distribution(metric, index) = Distribution::of(native);
        }
        let free = metric.free_positions();
        if head.key.agent != Names::NONE && head.key.agent != Names::OVERFLOWED {
            let labels = [0, 1].map(|i| if free[i] { head.key.labels[i] } else { Names::NONE });
            self.lookups[place].admitted.insert(SeriesKey { labels, ..head.key });
        }
    }

    /// Adds to a counter, which stays at the highest number rather than begin again; or moves a gauge (by a two's
    /// complement of what it loses).
    pub fn add(&mut self, metric: Metric, key: SeriesKey, amount: u64, now: Timestamp) {
        debug_assert!(!matches!(metric.kind(), Kind::Histogram(_)), "{metric:?} is observed, not added to");
        let index = self.seed(metric, key, now);
        let add = if metric.kind() == Kind::Gauge { u64::wrapping_add } else { u64::saturating_add };
        self.at(metric, index, |values| values[0] = add(values[0], amount));
    }

    /// Raises a time to `to`, if that is later.
    pub fn raise(&mut self, metric: Metric, key: SeriesKey, to: Timestamp, now: Timestamp) {
        let index = self.seed(metric, key, now);
        let to = u64::try_from(to.micros()).unwrap_or(0);
        self.at(metric, index, |values| values[0] = values[0].max(to));
    }

    /// Sets series `index`, found by [`Families::seed`], outright.
    pub fn set_at(&mut self, metric: Metric, index: u32, value: u64) {
        self.at(metric, index, |values| values[0] = value);
    }

    /// Counts one observation, in the whole numbers that the metric is kept in (durations in microseconds); and where
    /// it can be looked at, if that is known.
    pub fn observe(&mut self, metric: Metric, key: SeriesKey, value: u64, now: Timestamp, trace: Option<Exemplar>) {
        let Some(buckets) = metric.buckets() else {
            debug_assert!(false, "{metric:?} is added to, not observed");
            return;
        };
        let bucket = buckets.bounds.partition_point(|&bound| bound < value);
        let index = self.seed(metric, key, now);
        self.at(metric, index, |values| {
            values[bucket] += 1;
            let sum = &mut values[buckets.bounds.len() + 1];
            *sum = sum.saturating_add(value);
        });
        let example = trace.map(|exemplar| Example { exemplar, value });
        self.distribution(metric, index as usize).observe(buckets.measure.shown(value), bucket, example);
    }

    fn distribution(&mut self, metric: Metric, index: usize) -> &mut Distribution {
        let all = Arc::make_mut(&mut self.families[place(metric)].distributions);
        Arc::make_mut(all[index].get_or_insert_default())
    }

    fn at(&mut self, metric: Metric, index: u32, change: impl FnOnce(&mut [u64])) {
        let place = place(metric);
        let width = metric.kind().width();
        change(&mut Arc::make_mut(&mut self.families[place].values)[index as usize * width..][..width]);
        mark_dirty(&mut self.lookups[place], index);
    }

    /// The stored series that changed since the last call, and forgets that they did.
    pub fn take_dirty(&mut self) -> Vec<(Metric, u32)> {
        let mut dirty = Vec::new();
        for (place, lookup) in self.lookups.iter_mut().enumerate() {
            let metric = Metric::ALL[place];
            for index in lookup.dirty.drain(..) {
                lookup.is_dirty[index as usize] = false;
                if metric.is_stored() {
                    dirty.push((metric, index));
                }
            }
        }
        dirty
    }

    /// Sets every number to zero and keeps the series: where a fold from the beginning starts.
    pub fn clear(&mut self) {
        for (family, lookup) in self.families.iter_mut().zip(&mut self.lookups) {
            Arc::make_mut(&mut family.values).fill(0);
            Arc::make_mut(&mut family.distributions).fill(None);
            for index in 0..family.heads.len() {
                mark_dirty(lookup, u32::try_from(index).expect("series are capped far below 2^32"));
            }
        }
    }

    /// Adds every stored number of `other`, series by series (times: the later one).
    pub fn absorb(&mut self, other: &Self) {
        for family in other.families.iter().filter(|family| family.metric.is_stored()) {
            for (index, head) in family.heads.iter().enumerate() {
                let to = self.seed(family.metric, head.key, head.born);
                let is_time = family.metric.kind() == Kind::Time;
                self.at(family.metric, to, |values| {
                    for (value, more) in values.iter_mut().zip(family.values(index)) {
                        *value = if is_time { (*value).max(*more) } else { value.saturating_add(*more) };
                    }
                });
                if let Some(more) = family.distribution(index) {
                    self.distribution(family.metric, to as usize).absorb(more);
                }
            }
        }
    }
}

fn mark_dirty(lookup: &mut Lookup, index: u32) {
    let flag = &mut lookup.is_dirty[index as usize];
    if !*flag {
        *flag = true;
        lookup.dirty.push(index);
    }
}

/// Families stand in the order of [`Metric::ALL`].
fn place(metric: Metric) -> usize {
    const PLACES: [u8; 256] = {
        let mut places = [u8::MAX; 256];
        let mut i = 0;
        while i < Metric::ALL.len() {
            places[Metric::ALL[i] as usize] = i as u8;
            i += 1;
        }
        places
    };
    PLACES[metric as usize] as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SpanId, TraceContext, TraceId};

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn key(agent: u32, label: u32) -> SeriesKey {
        SeriesKey { source: SourceIx(0), agent: NameId(agent), labels: [NameId(label), Names::NONE] }
    }

    #[test]
    fn a_shared_family_does_not_change() {
        let mut families = Families::new(10);
        families.add(Metric::Steps, key(5, 0), 2, NOW);
        let shared = families.share();
        families.add(Metric::Steps, key(5, 0), 3, NOW);
        assert_eq!(shared[place(Metric::Steps)].value(0), 2);
        assert_eq!(families.get(Metric::Steps, key(5, 0)), 5);
    }

    #[test]
    fn what_does_not_fit_is_counted_in_the_overflow_series() {
        let mut families = Families::new(2);
        for agent in 10..20 {
            families.add(Metric::SessionsFinished, key(agent, 7), 1, NOW);
            families.add(Metric::SessionsFinished, key(agent, 8), 1, NOW);
        }
        let overflow = SeriesKey { agent: Names::OVERFLOWED, ..key(0, 7) };
        assert_eq!(families.get(Metric::SessionsFinished, key(10, 7)), 1);
        assert_eq!(families.get(Metric::SessionsFinished, overflow), 8, "the status is kept");
        assert_eq!(families.overflowed(Metric::SessionsFinished), 16);
        let family = families.family(Metric::SessionsFinished);
        let total: u64 = (0..family.heads().len()).map(|i| family.value(i)).sum();
        assert_eq!(total, 20, "nothing is lost");
    }

    #[test]
    fn observations_land_in_the_first_bucket_that_holds_them() {
        let mut families = Families::new(10);
        for seconds in [0, 1, 2, 3, 100_000] {
            families.observe(Metric::SessionQueue, key(5, 0), seconds * 1_000_000, NOW, None);
        }
        let values = families.family(Metric::SessionQueue).values(0).to_vec();
        assert_eq!(values[..4], [2, 1, 1, 0]);
        assert_eq!(values[14], 1, "past the last bound");
        assert_eq!(values[15], 100_006_000_000);
    }

    #[test]
    fn a_shared_histogram_does_not_change_and_shares_what_did_not() {
        let mut families = Families::new(10);
        let context = TraceContext { trace: TraceId::new(1).unwrap(), span: SpanId::new(2).unwrap() };
        let observe = |families: &mut Families, agent: u32, value: u64, at: i64| {
            let exemplar = Exemplar { context, at: Timestamp::from_micros(at) };
            families.observe(Metric::SessionQueue, key(agent, 0), value, NOW, Some(exemplar));
        };
        observe(&mut families, 5, 1_500_000, 10);
        observe(&mut families, 6, 1_500_000, 10);
        let shared = families.share();
        observe(&mut families, 5, 1_600_000, 20);
        let (old, new) = (&shared[place(Metric::SessionQueue)], families.family(Metric::SessionQueue));
        let seen = |family: &Family| {
            let distribution = family.distribution(0).unwrap();
            (distribution.native().count(), distribution.example(1).map(|it| (it.value, it.exemplar.at.micros())))
        };
        assert_eq!(seen(old), (1, Some((1_500_000, 10))));
        assert_eq!(seen(new), (2, Some((1_600_000, 20))), "the latest stands for its bucket");
        assert_eq!(new.distribution(0).unwrap().examples().count(), 1);
        assert!(std::ptr::eq(old.distribution(1).unwrap(), new.distribution(1).unwrap()), "one series was copied");
    }

    #[test]
    fn dirty_series_are_told_once_and_only_stored_ones() {
        let mut families = Families::new(10);
        families.add(Metric::Steps, key(5, 0), 1, NOW);
        families.add(Metric::Steps, key(5, 0), 1, NOW);
        families.add(Metric::Sessions, key(5, 3), 1, NOW);
        assert_eq!(families.take_dirty(), [(Metric::Steps, 0)]);
        assert_eq!(families.take_dirty(), []);
    }
}
