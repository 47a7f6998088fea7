//! Two states of the same thing, side by side: what differs, in words.

use std::collections::BTreeMap;

use crate::domain::{ModelUsage, NameId, NanoUsd, Timestamp, Tokens};
use crate::projection::{Distribution, Families, Kind, Metric, Names, Native, SeriesKey, Session};

/// What differs, what is stored, and what the log says.
pub(super) type Differing = (&'static str, String, String);

/// What differs between a session as it is stored and as its facts say that it stands.
///
/// What lists said and how to go on are no facts, and how far lists were read is taken over by the fold: these are not
/// compared.
pub(super) fn sessions(stored: &Session, folded: &Session, names: &Names) -> Vec<Differing> {
    let comparable = |session: &Session| {
        let mut session = session.clone();
        (session.listing, session.doubted, session.bookmark) = (None, None, None);
        session
    };
    if comparable(stored) == comparable(folded) {
        return Vec::new();
    }
    let both = [stored, folded];
    let name = |id: Option<NameId>| id.map_or_else(|| "none".to_owned(), |id| names.text(id).to_owned());
    let time = |at: Option<Timestamp>| at.map_or_else(|| "none".to_owned(), |at| at.to_string());
    let mut said: Vec<Differing> = Vec::new();
    let mut say = |what, [stored, folded]: [String; 2]| {
        if stored != folded {
            said.push((what, stored, folded));
        }
    };
    say("status", both.map(|it| it.status.to_string()));
    say("in its status since", both.map(|it| it.since.to_string()));
    say("agent", both.map(|it| name(Some(it.agent))));
    say("created", both.map(|it| it.created_at.to_string()));
    say("started", both.map(|it| time(it.started_at)));
    say("finished", both.map(|it| time(it.finished_at)));
    say("error", both.map(|it| name(it.error)));
    say("verdict", both.map(|it| it.verdict.map_or("none", |verdict| verdict.as_str()).to_owned()));
    say("restarts", both.map(|it| it.restarts.to_string()));
    say("turns", both.map(|it| it.turns.to_string()));
    say("open turns", both.map(|it| it.open_turns.len().to_string()));
    say("steps", both.map(|it| it.steps.to_string()));
    say("tokens and cost", both.map(|it| usage(&it.models, names)));
    say("next position", both.map(|it| it.progress.cursor.to_string()));
    say("last event", both.map(|it| it.progress.newest.to_string()));
    say("deleted on the platform", both.map(|it| it.progress.gone.to_string()));
    say("lost events", both.map(|it| it.lost.to_string()));
    say("child sessions", both.map(|it| it.children.len().to_string()));
    say("parent", both.map(|it| it.parent.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)));
    if said.is_empty() {
        said.push(("what goes on in it", "one state".to_owned(), "another state".to_owned()));
    }
    said
}

fn usage(models: &[ModelUsage<NameId>], names: &Names) -> String {
    let mut texts: Vec<String> = models
        .iter()
        .map(|row| {
            let Tokens { input, cached, cache_write, output, reasoning } = row.usage.tokens;
            let cost = row.usage.cost.map_or_else(|| "no price".to_owned(), dollars);
            let model = names.text(row.model);
            format!(
                "{model}: {input} ({cached} + {cache_write} cached) in, {output} ({reasoning} reasoning) out, {cost}"
            )
        })
        .collect();
    texts.sort();
    texts.join("; ")
}

fn dollars(cost: NanoUsd) -> String {
    format!("${}.{:09}", cost.0 / 1_000_000_000, cost.0 % 1_000_000_000)
}

/// Everything that is kept of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    values: Vec<u64>,
    native: Option<Native>,
}

impl Numbers {
    fn is_zero(&self) -> bool {
        self.values.iter().all(|value| *value == 0)
    }

    fn add(&mut self, kind: Kind, values: &[u64]) {
        for (value, more) in self.values.iter_mut().zip(values) {
            *value = match kind {
                Kind::Time => (*value).max(*more),
                Kind::Gauge => value.wrapping_add(*more),
                _ => value.saturating_add(*more),
            };
        }
    }

    /// As a person reads it.
    pub(super) fn show(&self, kind: Kind) -> String {
        let first = self.values.first().copied().unwrap_or(0);
        match kind {
            Kind::Counter => first.to_string(),
            // Kept as a two's complement: what went out before it came in is below nothing.
            Kind::Gauge => first.cast_signed().to_string(),
            Kind::CounterNanoUsd => dollars(NanoUsd(first)),
            Kind::Time if first == 0 => "none".to_owned(),
            Kind::Time => Timestamp::from_micros(first.cast_signed()).to_string(),
            Kind::Histogram(buckets) => {
                let (sum, counts) = self.values.split_last().unwrap_or((&0, &[]));
                let sum = buckets.measure.shown(*sum);
                format!("{} observations, sum {sum}", counts.iter().sum::<u64>())
            }
        }
    }
}

/// The series of a metric that are not zero.
///
/// Where some had to share the overflow series, which of them did depends on when they came; only the sum over everything
/// that users choose is certain. Then the series are added up by what they do not.
fn series(families: &Families, metric: Metric, added_up: bool) -> BTreeMap<SeriesKey, Numbers> {
    let family = families.family(metric);
    let mut all: BTreeMap<SeriesKey, Numbers> = BTreeMap::new();
    for (index, head) in family.heads().iter().enumerate() {
        let mut key = head.key;
        if added_up {
            let free = metric.free_positions();
            key.labels = [0, 1].map(|i| if free[i] { Names::NONE } else { key.labels[i] });
            key.agent = Names::NONE;
        }
        let width = metric.kind().width();
        let numbers = all.entry(key).or_insert_with(|| Numbers { values: vec![0; width], native: None });
        numbers.add(metric.kind(), family.values(index));
        if !added_up {
            numbers.native = family.distribution(index).map(Distribution::native).cloned();
        }
    }
    all.retain(|_, numbers| !numbers.is_zero());
    all
}

/// Whether some of its series had to share the overflow series.
pub(super) fn has_overflowed(families: &Families, metric: Metric) -> bool {
    let family = families.family(metric);
    let mut heads = family.heads().iter().enumerate();
    heads
        .any(|(index, head)| head.key.agent == Names::OVERFLOWED && family.values(index).iter().any(|value| *value > 0))
}

/// A series of which something else is stored than the log says: its labels, and both numbers.
pub(super) struct DifferingSeries {
    pub(super) key: SeriesKey,
    pub(super) stored: String,
    pub(super) folded: String,
}

/// The series of a metric that differ.
pub(super) fn metric(stored: &Families, folded: &Families, metric: Metric) -> Vec<DifferingSeries> {
    let added_up = has_overflowed(stored, metric) || has_overflowed(folded, metric);
    let (stored, mut folded) = (series(stored, metric, added_up), series(folded, metric, added_up));
    let mut differing = Vec::new();
    let mut compare = |key: SeriesKey, stored: &Numbers, folded: &Numbers| {
        if stored == folded {
            return;
        }
        let mut shown = [stored, folded].map(|numbers| numbers.show(metric.kind()));
        if shown[0] == shown[1] {
            shown = shown.map(|shown| format!("{shown}, in other buckets"));
        }
        let [stored, folded] = shown;
        differing.push(DifferingSeries { key, stored, folded });
    };
    for (key, numbers) in &stored {
        compare(*key, numbers, &folded.remove(key).unwrap_or_default());
    }
    for (key, numbers) in &folded {
        compare(*key, &Numbers::default(), numbers);
    }
    differing
}

/// The sum over all series of a counter, or how many observations a histogram has; `None` of what cannot be added up.
pub(super) fn total(families: &Families, metric: Metric) -> Option<u64> {
    let family = families.family(metric);
    let each = 0..family.heads().len();
    match metric.kind() {
        Kind::Counter | Kind::CounterNanoUsd => {
            Some(each.map(|index| family.value(index)).fold(0, u64::saturating_add))
        }
        Kind::Histogram(_) => Some(each.map(|index| family.observations(index)).fold(0, u64::saturating_add)),
        Kind::Gauge | Kind::Time => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SessionId, SourceIx, Status, Usage};
    use crate::projection::LabelPolicy;

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn key(agent: u32, label: u32) -> SeriesKey {
        SeriesKey { source: SourceIx(0), agent: NameId(agent), labels: [NameId(label), Names::NONE] }
    }

    #[test]
    fn whatever_differs_in_a_session_is_said() {
        let mut names = Names::new(LabelPolicy::default());
        let model = names.foreign("holo");
        let mut one = Session::new(SessionId::new("a"), SourceIx(0), NameId(2), NOW, NOW);
        one.models.push(ModelUsage { model, usage: Usage::default() });
        assert_eq!(sessions(&one, &one.clone(), &names), []);
        let mut other = one.clone();
        other.status = Status::Failed;
        other.steps = 7;
        other.models[0].usage.cost = Some(NanoUsd(1_500_000_000));
        let said = sessions(&one, &other, &names);
        assert_eq!(said.iter().map(|it| it.0).collect::<Vec<_>>(), ["status", "steps", "tokens and cost"]);
        assert_eq!((said[1].1.as_str(), said[1].2.as_str()), ("0", "7"));
        assert!(said[2].1.ends_with("no price") && said[2].2.ends_with("$1.500000000"), "{said:?}");
        let mut hidden = one.clone();
        hidden.loop_state.asked = Some(NOW);
        assert_eq!(sessions(&one, &hidden, &names).len(), 1, "what has no word of its own is said, too");
        let mut listed = one.clone();
        listed.bookmark = Some("event_7".into());
        assert_eq!(sessions(&one, &listed, &names), [], "how to go on is no fact");
    }

    #[test]
    fn series_are_compared_one_by_one_or_added_up_where_they_overflowed() {
        let (mut one, mut other) = (Families::new(10), Families::new(10));
        one.add(Metric::Steps, key(5, 0), 3, NOW);
        one.add(Metric::Steps, key(6, 0), 4, NOW);
        other.add(Metric::Steps, key(6, 0), 5, NOW);
        other.add(Metric::Steps, key(7, 0), 2, NOW);
        let said: Vec<_> =
            metric(&one, &other, Metric::Steps).into_iter().map(|it| (it.key.agent.0, it.stored, it.folded)).collect();
        let expect = [(5, "3", ""), (6, "4", "5"), (7, "", "2")];
        for ((agent, stored, folded), expected) in said.iter().zip(expect) {
            let zero = |text: &str| if text == "0" { String::new() } else { text.to_owned() };
            assert_eq!((*agent, zero(stored).as_str(), zero(folded).as_str()), expected);
        }
        assert_eq!(said.len(), 3);

        let (mut one, mut other) = (Families::new(1), Families::new(1));
        for (agent, families) in [(5, &mut one), (6, &mut other)] {
            families.add(Metric::StatusChanges, key(agent, 9), 3, NOW);
            families.add(Metric::StatusChanges, key(11 - agent, 9), 4, NOW);
        }
        assert_eq!(metric(&one, &other, Metric::StatusChanges).len(), 0, "who had to share does not matter");
        other.add(Metric::StatusChanges, key(8, 9), 1, NOW);
        let said = metric(&one, &other, Metric::StatusChanges);
        assert_eq!(said.iter().map(|it| (it.stored.as_str(), it.folded.as_str())).collect::<Vec<_>>(), [("7", "8")]);
    }

    #[test]
    fn histograms_differ_by_count_sum_or_buckets() {
        let [mut one, mut other] = [Families::new(10), Families::new(10)];
        for (families, micros) in [(&mut one, [1_000_000, 3_000_000]), (&mut other, [2_000_000, 2_000_000])] {
            for micros in micros {
                families.observe(Metric::SessionQueue, key(5, 0), micros, NOW, None);
            }
        }
        let said = metric(&one, &other, Metric::SessionQueue);
        assert_eq!(said[0].stored, "2 observations, sum 4, in other buckets");
        assert_eq!(total(&one, Metric::SessionQueue), Some(2));
        assert_eq!(total(&one, Metric::LastFinished), None);
    }
}
