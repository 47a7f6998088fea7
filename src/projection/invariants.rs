//! What always holds, by name: checked after each commit in debug builds, by the property tests, and by `verify`.

use std::collections::HashMap;

use super::family::SeriesKey;
use super::metric::Metric;
use super::state::State;

/// A named truth about every state.
pub struct Invariant {
    /// What to call it when it breaks.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: fn(&State) -> bool,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant { name: "sessions-by-status-equal-the-active-sessions", holds: sessions_by_status },
    Invariant { name: "oldest-in-status-is-the-oldest-active-session", holds: oldest_in_status },
    Invariant { name: "every-end-is-an-entry-into-its-status", holds: ends_are_entries },
    Invariant { name: "every-failed-turn-has-one-error-type", holds: failures_have_types },
    Invariant { name: "measured-durations-never-exceed-what-is-measured", holds: durations_are_bounded },
    Invariant { name: "turns-over-never-exceed-turns-begun", holds: ends_have_beginnings },
    Invariant { name: "failed-model-calls-never-exceed-model-calls", holds: model_failures_are_calls },
    Invariant { name: "exponential-buckets-count-what-classic-ones-count", holds: buckets_agree },
    Invariant { name: "tokens-of-calls-never-exceed-tokens", holds: tokens_of_calls_are_tokens },
    Invariant { name: "failed-tool-calls-never-exceed-tool-calls", holds: tool_failures_are_calls },
];

/// The names of those that do not hold.
pub fn broken_invariants(state: &State) -> Vec<&'static str> {
    INVARIANTS.iter().filter(|invariant| !(invariant.holds)(state)).map(|invariant| invariant.name).collect()
}

fn sum(state: &State, metric: Metric, pick: impl Fn(&SeriesKey) -> bool) -> u64 {
    let family = state.families().family(metric);
    family.heads().iter().enumerate().filter(|(_, head)| pick(&head.key)).map(|(i, _)| family.value(i)).sum()
}

fn observations(state: &State, metric: Metric) -> u64 {
    let family = state.families().family(metric);
    (0..family.heads().len()).map(|i| family.observations(i)).sum()
}

/// The gauges as they should be, by series: from the sessions that are read, and from the places of those put away.
fn visible(state: &State) -> HashMap<SeriesKey, (u64, i64)> {
    let mut expected: HashMap<SeriesKey, (u64, i64)> = HashMap::new();
    let mut add = |key: SeriesKey, at: i64| {
        let entry = expected.entry(key).or_insert((0, at));
        *entry = (entry.0 + 1, entry.1.min(at));
    };
    for (_, session) in state.active_sessions() {
        if session.status.is_terminal() || session.progress.gone {
            continue;
        }
        let labels = [state.words.status(session.status), super::Names::NONE];
        add(SeriesKey { source: session.source, agent: session.agent, labels }, session.since.micros());
    }
    let resting = state.resting();
    let heads = state.families().family(Metric::Sessions).heads();
    for (series, places) in state.by_status.iter().enumerate() {
        for (since, _) in places.iter().filter(|(_, no)| resting.contains(no)) {
            add(heads[series].key, since.micros());
        }
    }
    expected
}

fn sessions_by_status(state: &State) -> bool {
    // Where agents overflow, only the sum can be compared.
    let expected = visible(state);
    let total: u64 = expected.values().map(|(count, _)| count).sum();
    let overflowed = state.families().overflowed(Metric::Sessions) > 0;
    sum(state, Metric::Sessions, |_| true) == total
        && (overflowed
            || expected.iter().all(|(key, (count, _))| state.families().get(Metric::Sessions, *key) == *count))
}

fn oldest_in_status(state: &State) -> bool {
    state.families().overflowed(Metric::Sessions) > 0
        || visible(state).iter().all(|(key, (_, oldest))| {
            state.families().get(Metric::OldestInStatus, *key) == u64::try_from(*oldest).unwrap_or(0)
        })
}

fn ends_are_entries(state: &State) -> bool {
    crate::domain::Status::ALL.into_iter().filter(|status| status.is_terminal()).all(|status| {
        let word = state.words.status(status);
        sum(state, Metric::SessionsFinished, |key| key.labels[0] == word)
            == sum(state, Metric::StatusChanges, |key| key.labels[0] == word)
    })
}

fn failures_have_types(state: &State) -> bool {
    use crate::domain::TurnOutcome::{Failed, TimedOut};
    let failed = [state.words.outcome(Failed), state.words.outcome(TimedOut)];
    sum(state, Metric::TurnFailures, |_| true)
        == sum(state, Metric::TurnsFinished, |key| failed.contains(&key.labels[0]))
}

fn durations_are_bounded(state: &State) -> bool {
    let all = |_: &SeriesKey| true;
    observations(state, Metric::SessionDuration) <= sum(state, Metric::SessionsFinished, all)
        && observations(state, Metric::TurnDuration) <= sum(state, Metric::TurnsFinished, all)
        && observations(state, Metric::ToolCallDuration) <= sum(state, Metric::ToolCalls, all)
}

fn buckets_agree(state: &State) -> bool {
    Metric::ALL.iter().filter(|metric| metric.buckets().is_some()).all(|&metric| {
        let family = state.families().family(metric);
        (0..family.heads().len()).all(|i| {
            family.distribution(i).map_or(0, |distribution| distribution.native().count()) == family.observations(i)
        })
    })
}

fn tokens_of_calls_are_tokens(state: &State) -> bool {
    let of_calls = |metric| {
        let family = state.families().family(metric);
        (0..family.heads().len()).fold(0u64, |sum, i| sum.saturating_add(family.sum(i)))
    };
    of_calls(Metric::CallInputTokens) <= saturating_sum(state, Metric::InputTokens)
        && of_calls(Metric::CallOutputTokens) <= saturating_sum(state, Metric::OutputTokens)
}

fn saturating_sum(state: &State, metric: Metric) -> u64 {
    let family = state.families().family(metric);
    (0..family.heads().len()).fold(0, |sum, i| sum.saturating_add(family.value(i)))
}

fn tool_failures_are_calls(state: &State) -> bool {
    sum(state, Metric::ToolCallFailures, |_| true) <= sum(state, Metric::ToolCalls, |_| true)
}

fn model_failures_are_calls(state: &State) -> bool {
    sum(state, Metric::ModelCallFailures, |_| true) <= sum(state, Metric::ModelCalls, |_| true)
}

/// Turns that were under way when counting began end in it without having begun in it.
fn ends_have_beginnings(state: &State) -> bool {
    let all = |_: &SeriesKey| true;
    let counts_all = (0..state.source_count())
        .all(|ix| state.source(crate::domain::SourceIx(ix as u16)).count_from <= crate::domain::Timestamp::default());
    !counts_all || sum(state, Metric::TurnsFinished, all) <= sum(state, Metric::TurnsStarted, all)
}
