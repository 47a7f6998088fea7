//! Laws of folding for what Everruns tells: turns by name, model calls one by one, gaps, forks, sessions that rest.

use agent_session_exporter::domain::{COPIED_UNTIL_BORN, Event, Fact, Span, Status, TurnKey, TurnOutcome};
use agent_session_exporter::projection::LabelPolicy;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::everruns_lives::{alone, lives, quiet, stream};
use crate::support::folding::{Folding, IN_ORDER, Manner, Numbers, config, folding, mixed, played, session_by_session};
use crate::support::lives::{Act, Life, at};

/// What is counted, without what says how far the stream was read or that there was a session at all.
fn counts(folding: &Folding) -> Numbers {
    let mut numbers = folding.stored();
    numbers.retain(|name, _| !name.starts_with("EventWatermark"));
    numbers
}

/// What the second has more than the first, and nothing less.
fn difference(before: &Numbers, after: &Numbers) -> Numbers {
    let mut more = after.clone();
    for (name, values) in before {
        let after = more.get_mut(name).unwrap_or_else(|| panic!("{name} is missing"));
        after.iter_mut().zip(values).for_each(|(after, before)| *after -= before);
    }
    more.retain(|_, values| values.iter().any(|value| *value != 0));
    more
}

fn numbers<const N: usize>(numbers: [(&str, u64); N]) -> Numbers {
    numbers.into_iter().map(|(name, value)| (name.to_owned(), vec![value])).collect()
}

proptest! {
    #![proptest_config(config())]

    // Every law below is checked on top of these: no total ever falls and every invariant holds, after each commit.

    #[test]
    fn where_pages_and_gaps_are_cut_changes_nothing(lives in lives(3), size in 1usize..5) {
        let (whole, pieces) = (played(&lives, Manner::Whole), played(&lives, Manner::Pieces(size)));
        prop_assert_eq!(whole.numbers(), pieces.numbers());
        prop_assert_eq!(whole.sessions(), pieces.sessions());
        prop_assert_eq!(whole.told_spans(), pieces.told_spans());
    }

    #[test]
    fn what_comes_again_changes_nothing(lives in lives(3), early in 0usize..6) {
        let (once, twice) = (played(&lives, Manner::Whole), played(&lives, Manner::Again(early)));
        prop_assert_eq!(once.numbers(), twice.numbers());
        prop_assert_eq!(once.sessions(), twice.sessions());
        prop_assert_eq!(once.told_spans(), twice.told_spans());
    }

    #[test]
    fn crashes_between_fold_and_commit_change_nothing(lives in lives(3)) {
        let (once, crashing) = (played(&lives, Manner::Whole), played(&lives, Manner::Crashing));
        prop_assert_eq!(once.numbers(), crashing.numbers());
        prop_assert_eq!(once.sessions(), crashing.sessions());
        prop_assert_eq!(once.told_spans(), crashing.told_spans());
    }

    #[test]
    fn neither_the_order_of_sessions_nor_that_of_sources_matters(
        lives in lives(3),
        draws in proptest::collection::vec(any::<Index>(), 0..80),
    ) {
        let one = played(&lives, Manner::Whole);
        let mut other = Folding::new(&lives, LabelPolicy::default(), &[1, 0]);
        other.play(&lives, &mixed(&lives, &draws), Manner::Whole);
        prop_assert_eq!(one.numbers(), other.numbers());
        prop_assert_eq!(one.sessions(), other.sessions());
    }

    #[test]
    fn what_is_read_back_is_what_was_there(lives in lives(3)) {
        let mut folding = folding(&lives);
        let mut next = vec![0; lives.lives.len()];
        for turn in session_by_session(&lives) {
            folding.act(&lives.lives[turn], turn, next[turn], Manner::Whole);
            next[turn] += 1;
            let (numbers, active) = (folding.numbers(), folding.active());
            folding.restart();
            prop_assert_eq!(&numbers, &folding.numbers());
            prop_assert_eq!(active, folding.active());
        }
    }

    #[test]
    fn the_log_says_what_the_totals_say(lives in lives(6), max_series in select(vec![1usize, 3, 2000])) {
        let policy = LabelPolicy { max_series, ..LabelPolicy::default() };
        let mut folding = Folding::new(&lives, policy, &IN_ORDER);
        folding.play(&lives, &session_by_session(&lives), Manner::Whole);
        prop_assert_eq!(folding.stored(), folding.refolded());
        prop_assert_eq!(folding.sessions(), folding.refolded_sessions());
        prop_assert_eq!(folding.wrong(), "");
    }

    #[test]
    fn the_head_that_a_fork_inherits_counts_nothing(head in stream(), rest in stream(), until_born in any::<bool>()) {
        let positions: u64 = head.iter().map(|event| event.fact.positions()).sum();
        let inherited = if until_born { COPIED_UNTIL_BORN } else { positions };
        // The drawn times begin with those of the original, long before the fork.
        let later = |event: &Event<_>| Event { at: event.at.plus(Span::from_secs(10_000)), ..event.clone() };
        let rest: Vec<_> = rest.iter().map(later).collect();
        let born = |acts: Vec<Act>, inherited| {
            let mut lives = alone(acts);
            lives.lives[0] = Life { created_at: at(5_000), inherited, ..lives.lives[0].clone() };
            lives
        };
        let fork = played(&born(vec![Act::Page([head, rest.clone()].concat())], inherited), Manner::Whole);
        let fresh = played(&born(vec![Act::Page(rest)], 0), Manner::Whole);
        prop_assert_eq!(counts(&fork), counts(&fresh));
    }

    #[test]
    fn a_turn_that_was_given_up_and_ends_after_all_counts_a_start_and_an_end_more(
        before in quiet(),
        during in quiet(),
        after in quiet(),
        ends in any::<bool>(),
    ) {
        let key = Some(TurnKey::new("7"));
        let event = |seconds, fact| vec![Event { at: at(seconds), fact }];
        let ended = Fact::TurnEnded { turn: key, outcome: TurnOutcome::Completed, error: None, took: None };
        let mut acts = vec![
            Act::Page(before),
            Act::Page(event(1000, Fact::TurnStarted(key))),
            Act::Page(during),
            Act::Page(after),
        ];
        if ends {
            acts.push(Act::Page(event(2000, ended)));
        }
        let waited = played(&alone(acts.clone()), Manner::Whole);
        acts.insert(3, Act::Abandon(key));
        let given_up = played(&alone(acts), Manner::Whole);
        let mut expected = numbers([("TurnsFinished source 0 [agent] [abandoned] []", 1)]);
        if ends {
            expected.extend(numbers([("TurnsStarted source 0 [agent] [] []", 1)]));
        }
        prop_assert_eq!(difference(&waited.stored(), &given_up.stored()), expected);
    }
}

#[test]
fn a_session_that_rests_is_put_away_and_keeps_its_place_in_the_gauges() {
    let idle = vec![Event { at: at(5), fact: Fact::Became(Status::Idle) }];
    let mut folding = played(&alone(vec![Act::Page(idle), Act::Rests(Some(0))]), Manner::Whole);
    assert_eq!(folding.active().len(), 0);
    assert_eq!(folding.numbers()["Sessions source 0 [agent] [idle] []"], [1]);
    folding.restart();
    assert_eq!(folding.numbers()["Sessions source 0 [agent] [idle] []"], [1]);
}

#[test]
fn a_session_with_an_open_turn_is_not_put_away() {
    let facts = [Fact::TurnStarted(Some(TurnKey::new("1"))), Fact::Became(Status::Idle)];
    let events = facts.into_iter().map(|fact| Event { at: at(5), fact }).collect();
    let turn = Act::Abandon(Some(TurnKey::new("1")));
    let lives = alone(vec![Act::Page(events), Act::Rests(None), turn, Act::Rests(None)]);
    let mut folding = folding(&lives);
    let mut active = Vec::new();
    for act in 0..lives.lives[0].acts.len() {
        folding.act(&lives.lives[0], 0, act, Manner::Whole);
        active.push(folding.active().len());
    }
    assert_eq!(active, [1, 1, 1, 0], "once nobody waits for the turn it rests");
}
