//! Laws of folding that hold for whatever platforms tell, plausible or not.

use agent_session_exporter::ingest::platforms::hcompany;
use agent_session_exporter::projection::LabelPolicy;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::folding::{Folding, IN_ORDER, Manner, config, folding, mixed, played, session_by_session, sums};
use crate::support::lives::{Lives, SOURCES, at, lives};

proptest! {
    #![proptest_config(config())]

    // Every law below is checked on top of these: no total ever falls and every invariant holds, after each commit.

    #[test]
    fn where_pages_are_cut_changes_nothing(lives in lives(3), size in 1usize..5) {
        let (whole, pieces) = (played(&lives, Manner::Whole), played(&lives, Manner::Pieces(size)));
        prop_assert_eq!(whole.numbers(), pieces.numbers());
        prop_assert_eq!(whole.sessions(), pieces.sessions());
        prop_assert_eq!(whole.told_spans(), pieces.told_spans());
    }

    #[test]
    fn what_comes_again_changes_nothing(lives in lives(3), early in 0usize..6) {
        let (once, twice) = (played(&lives, Manner::Whole), played(&lives, Manner::Again(early)));
        // Totals beside the stream that fall are told as falling whenever they are told.
        let counts = |folding: &Folding| {
            let mut numbers = folding.numbers();
            numbers.retain(|name, _| !name.starts_with("UsageDecreases"));
            numbers
        };
        prop_assert_eq!(counts(&once), counts(&twice));
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
        prop_assert_eq!(one.told_spans(), other.told_spans());
    }

    #[test]
    fn what_is_read_back_is_what_was_there(lives in lives(3)) {
        let mut folding = folding(&lives);
        let turns = session_by_session(&lives);
        let mut next = vec![0; lives.lives.len()];
        for turn in turns {
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
    fn what_retention_takes_away_stays_in_the_totals(
        lives in lives(4),
        horizon in 0i64..1200,
        draws in proptest::collection::vec(any::<Index>(), 0..80),
        max_series in select(vec![2usize, 2000]),
    ) {
        let policy = LabelPolicy { max_series, ..LabelPolicy::default() };
        let mut folding = Folding::new(&lives, policy, &IN_ORDER);
        let turns = mixed(&lives, &draws);
        let mut next = vec![0; lives.lives.len()];
        for (step, turn) in turns.into_iter().enumerate() {
            folding.act(&lives.lives[turn], turn, next[turn], Manner::Whole);
            next[turn] += 1;
            if step % 7 == 6 {
                let before = folding.stored();
                folding.expire(at(horizon));
                prop_assert_eq!(&before, &folding.stored());
                prop_assert_eq!(&before, &folding.refolded());
                folding.restart();
                prop_assert_eq!(before, folding.stored());
            }
        }
        prop_assert_eq!(folding.stored(), folding.refolded());
        prop_assert_eq!(folding.wrong(), "");
    }

    #[test]
    fn what_does_not_fit_into_its_labels_is_still_in_the_sums(lives in lives(6), max_series in 0usize..4) {
        let policy = LabelPolicy { max_series, ..LabelPolicy::default() };
        let mut few = Folding::new(&lives, policy, &IN_ORDER);
        few.play(&lives, &session_by_session(&lives), Manner::Whole);
        prop_assert_eq!(sums(&played(&lives, Manner::Whole)), sums(&few));
    }
}

// What broke a law once.

#[test]
fn a_session_that_comes_back_from_being_gone_is_shown_and_its_log_says_so() {
    use crate::support::lives::{Act, Life};
    let acts = vec![Act::Page(vec![]), Act::Gone, Act::Page(vec![]), Act::Gone, Act::ReadUpTo];
    let lives = vec![Life::new(0, "agent", at(0), acts)];
    let lives = Lives { platform: &hcompany::DESCRIPTOR, lives, count_from: vec![at(0); SOURCES] };
    let folding = played(&lives, Manner::Whole);
    assert_eq!(folding.stored()["SessionsGone source 0 [] [] []"], [2]);
    assert_eq!(folding.stored(), folding.refolded());
    assert_eq!(folding.sessions(), folding.refolded_sessions());
}
