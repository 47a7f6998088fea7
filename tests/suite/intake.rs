//! What a state takes in of reports that do not fit what it knows: holes, stretches that reach past what was read, more
//! turns than it keeps, and ends that come twice or not at all.

use agent_session_exporter::domain::{
    Ending, Event, Fact, Item, Mark, Report, Row, Sighting, SourceIx, Status, Timestamp, TurnKey, Watch,
};
use agent_session_exporter::ingest::platforms::hcompany;
use agent_session_exporter::projection::{IntakeError, LabelPolicy, Metric, Session, State};
use smol_str::SmolStr;

use crate::support::lives::at;
use crate::support::running::{ended, id, page, report, row, source_record, sum};

/// A state in which session 1 is known and runs.
fn state() -> State {
    let mut state = State::new(LabelPolicy::default(), []);
    let ix = state.add_source(source_record("one", "hcompany"));
    state.attach(ix, hcompany::DESCRIPTOR.capabilities, None);
    take_in(&mut state, 0, vec![row(1, 0, Status::Running, 1)]).expect("a row");
    state
}

fn take_in(state: &mut State, second: i64, items: Vec<Item>) -> Result<(), IntakeError> {
    state.take_in(&report(SourceIx(0), second, items), &|_| Err("none is settled".to_owned())).map(drop)
}

/// Facts from beside the stream of session 1.
fn beside(second: i64, fact: Fact<SmolStr>) -> Vec<Item> {
    vec![Item::Beside { id: id(1), events: vec![Event { at: at(second), fact }] }]
}

/// An end as the status tells it.
fn ending(status: Status, finished: i64) -> Fact<SmolStr> {
    let finished_at = Some(at(finished));
    Fact::Ended(Ending { status, started_at: None, finished_at, error: None, verdict: None })
}

/// What is seen of a session that has no times of its own.
fn sighted(status: Status, second: i64) -> Fact<SmolStr> {
    Fact::Sighted(Sighting { status, since: at(second), started_at: None, finished_at: None })
}

/// Session 1 has worked and ended, 50 seconds in.
fn ended_once() -> State {
    let mut state = state();
    take_in(&mut state, 60, vec![page(1, 0)]).expect("it goes on");
    take_in(&mut state, 61, ended(1, 0, 1)[..1].to_vec()).expect("it goes on");
    assert_eq!(sum(&state.snapshot(), Metric::SessionsFinished), 1);
    state
}

/// How often something was observed.
fn observations(state: &State, metric: Metric) -> u64 {
    let family = state.families().family(metric);
    (0..family.heads().len()).map(|index| family.observations(index)).sum()
}

fn events(facts: Vec<Fact<SmolStr>>) -> Vec<Event<SmolStr>> {
    facts.into_iter().map(|fact| Event { at: at(10), fact }).collect()
}

fn session(state: &State) -> &Session {
    state.active_sessions().next().expect("it is there").1
}

#[test]
fn what_would_leave_a_hole_is_refused() {
    let is_hole = |outcome, at| matches!(outcome, Err(IntakeError::Hole { from, cursor: 1, .. }) if from == at);
    let known = || Item::page(id(1), 0, events(vec![Fact::Noted]));
    let mut state = state();
    let behind = Item::page(id(1), 2, events(vec![Fact::Noted]));
    assert!(is_hole(take_in(&mut state, 1, vec![known(), behind]), 2));

    let mut state = self::state();
    let lost = Item::Skip { id: id(1), from: 5, to: 9, before: None };
    assert!(is_hole(take_in(&mut state, 1, vec![known(), lost]), 5));
}

#[test]
fn of_a_stretch_that_is_known_in_part_the_rest_is_passed_over() {
    let mut state = state();
    take_in(&mut state, 1, vec![Item::page(id(1), 0, events(vec![Fact::Noted, Fact::Noted]))]).unwrap();
    // Positions 1 to 3 hold nothing, as is found by now; the message is at 4.
    take_in(&mut state, 2, vec![Item::page(id(1), 1, events(vec![Fact::Passed(3), Fact::Message]))]).unwrap();
    assert_eq!(session(&state).progress.cursor, 5);
    assert_eq!(state.duplicates(), 0);
    take_in(&mut state, 3, vec![Item::page(id(1), 4, events(vec![Fact::Message]))]).unwrap();
    assert_eq!((session(&state).progress.cursor, state.duplicates()), (5, 1));
}

#[test]
fn of_more_open_turns_than_are_kept_the_oldest_is_given_up() {
    let mut state = state();
    let begun = |number: u32| Fact::TurnStarted(Some(TurnKey::new(&format!("turn {number}"))));
    take_in(&mut state, 1, vec![Item::page(id(1), 0, events((0..18).map(begun).collect()))]).unwrap();
    let keys: Vec<_> = session(&state).open_turns.iter().map(|turn| turn.id.key).collect();
    assert_eq!(keys, (2..18).map(|number| Some(TurnKey::new(&format!("turn {number}")))).collect::<Vec<_>>());
    let snapshot = state.snapshot();
    assert_eq!(sum(&snapshot, Metric::TurnsStarted), 18);
    assert_eq!(sum(&snapshot, Metric::TurnsFinished), 2, "each that is given up is counted, so the sums agree");
}

#[test]
fn an_end_from_before_a_session_was_taken_up_again_is_not_counted_twice() {
    let mut state = ended_once();
    // A status that was behind shows it at work; then it tells the same end again.
    take_in(&mut state, 71, beside(71, sighted(Status::Running, 70))).unwrap();
    assert!(!session(&state).run.ended);
    take_in(&mut state, 72, beside(72, ending(Status::Completed, 50))).unwrap();
    assert!(session(&state).run.ended);
    assert_eq!((session(&state).status, session(&state).finished_at), (Status::Completed, Some(at(50))));
    assert_eq!(sum(&state.snapshot(), Metric::SessionsFinished), 1);
}

#[test]
fn an_end_after_a_session_was_taken_up_again_is_counted_however_far_our_clock_is_ahead() {
    let mut state = ended_once();
    // Its status shows it as waiting, which has no time but that at which we were told: hours ahead of the platform's.
    take_in(&mut state, 7270, beside(7270, sighted(Status::Pending, 7270))).unwrap();
    // It fails before it has begun to work.
    take_in(&mut state, 7272, beside(7272, ending(Status::Failed, 51))).unwrap();
    assert_eq!((session(&state).status, session(&state).finished_at), (Status::Failed, Some(at(51))));
    assert_eq!(sum(&state.snapshot(), Metric::SessionsFinished), 2);
    assert_eq!(sum(&state.snapshot(), Metric::TurnFailures), 1);
}

#[test]
fn an_end_that_was_told_too_late_does_not_hide_the_one_after_it() {
    let again = |state: &mut State| {
        // A message takes it up, and the status still tells the end before.
        take_in(state, 71, vec![Item::page(id(1), 7, vec![Event { at: at(70), fact: Fact::Message }])]).unwrap();
        take_in(state, 72, beside(72, ending(Status::Completed, 50))).unwrap();
        assert!(session(state).run.ended && session(state).is_taken_back());
    };
    let counted = |state: &State| {
        let snapshot = state.snapshot();
        [Metric::SessionsFinished, Metric::SessionsReopened].map(|metric| sum(&snapshot, metric))
    };
    // It fails in silence.
    let mut state = ended_once();
    again(&mut state);
    for second in [90, 91] {
        take_in(&mut state, second, beside(second, ending(Status::Failed, 80))).unwrap();
        assert_eq!((session(&state).status, session(&state).finished_at), (Status::Failed, Some(at(80))));
        assert_eq!(counted(&state), [2, 1]);
    }
    // What it was before is told once more, and changes nothing.
    take_in(&mut state, 92, beside(92, ending(Status::Completed, 50))).unwrap();
    assert_eq!((session(&state).status, counted(&state)), (Status::Failed, [2, 1]));

    // Or it goes on: that is no second start.
    let mut state = ended_once();
    again(&mut state);
    let begins = [Fact::StartRequested, Fact::Entered(Status::Running)].map(|fact| Event { at: at(75), fact });
    take_in(&mut state, 95, vec![Item::page(id(1), 8, begins.to_vec())]).unwrap();
    assert_eq!((session(&state).status, counted(&state)), (Status::Running, [1, 1]));
    take_in(&mut state, 96, beside(96, ending(Status::Completed, 90))).unwrap();
    assert_eq!(counted(&state), [2, 1]);
}

#[test]
fn a_list_that_was_asked_for_before_a_session_was_taken_up_says_nothing_of_it() {
    let mut state = ended_once();
    take_in(&mut state, 71, vec![Item::page(id(1), 7, vec![Event { at: at(70), fact: Fact::Message }])]).unwrap();
    let slow = Report { asked_at: at(65), ..report(SourceIx(0), 80, vec![row(1, 0, Status::Completed, 1)]) };
    state.take_in(&slow, &|_| Err("none is settled".to_owned())).unwrap();
    assert_eq!((session(&state).status, session(&state).finished_at), (Status::Pending, None));
    // One that was asked for later does.
    let row = Row::new(id(1), "h/web".into(), at(0), seen_failed(at(75)), Mark(2));
    take_in(&mut state, 85, vec![Item::Row(row)]).unwrap();
    assert_eq!((session(&state).status, session(&state).finished_at), (Status::Failed, Some(at(75))));
}

fn seen_failed(since: Timestamp) -> Sighting {
    Sighting { status: Status::Failed, since, started_at: Some(at(0)), finished_at: Some(since) }
}

#[test]
fn a_session_that_never_ran_again_took_no_time() {
    let mut state = ended_once();
    assert_eq!(observations(&state, Metric::SessionDuration), 1);
    let start = [Fact::Message, Fact::StartRequested, Fact::Entered(Status::Pending)];
    let start = start.map(|fact| Event { at: at(86_400), fact });
    take_in(&mut state, 86_401, vec![Item::page(id(1), 7, start.to_vec())]).unwrap();
    take_in(&mut state, 86_402, beside(86_402, ending(Status::Interrupted, 86_402))).unwrap();
    assert_eq!(sum(&state.snapshot(), Metric::SessionsFinished), 2);
    assert_eq!(observations(&state, Metric::SessionDuration), 1, "not a day since its first start");
}

#[test]
fn how_long_the_last_turn_of_a_deleted_session_took_is_not_made_up() {
    let mut state = state();
    let begins = [Fact::StartRequested, Fact::Entered(Status::Running)].map(|fact| Event { at: at(10), fact });
    take_in(&mut state, 11, vec![Item::page(id(1), 0, begins.to_vec())]).unwrap();
    take_in(&mut state, 7200, vec![Item::Gone { id: id(1), mark: None }]).unwrap();
    let snapshot = state.snapshot();
    assert_eq!((sum(&snapshot, Metric::TurnsStarted), sum(&snapshot, Metric::TurnsFinished)), (1, 1));
    assert_eq!(observations(&state, Metric::TurnDuration), 0);
}

#[test]
fn an_open_turn_is_looked_after_however_far_our_clock_is_ahead() {
    let mut state = state();
    let at_rest = |state: &mut State, second| {
        let sighting = Sighting { status: Status::Idle, since: at(12), started_at: None, finished_at: None };
        let mut row = Row::new(id(1), "h/web".into(), at(0), sighting, Mark(2));
        row.watch = Watch::AtRest;
        let report = report(SourceIx(0), second, vec![Item::Row(row)]);
        state.take_in(&report, &|_| Err("none is settled".to_owned())).expect("a row").due.len()
    };
    assert_eq!(at_rest(&mut state, 7200), 1);
    let begins = Event { at: at(10), fact: Fact::TurnStarted(Some(TurnKey::new("turn"))) };
    let read = Item::ReadUpTo { id: id(1), mark: Some(Mark(2)), rests: true, tokens: None };
    take_in(&mut state, 7201, vec![Item::page(id(1), 0, vec![begins]), read]).unwrap();
    // Its row says nothing new, but the end of the turn may become visible yet. After a while nobody waits for it.
    assert_eq!(at_rest(&mut state, 7260), 1);
    assert_eq!(at_rest(&mut state, 7900), 0);
}

#[test]
fn what_is_learnt_of_a_session_at_two_moments_is_folded_by_each() {
    let mut state = state();
    state.committed();
    // Our clock is behind: by it, the event is from the future.
    let page = |from, second| vec![Item::page(id(1), from, vec![Event { at: at(second), fact: Fact::Noted }])];
    take_in(&mut state, 10, page(0, 100)).unwrap();
    take_in(&mut state, 20, page(1, 101)).unwrap();
    let learnt: Vec<_> = state.pending().entries.iter().map(|entry| (entry.number, entry.observed_at)).collect();
    assert_eq!(learnt.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [at(11), at(21)]);
    assert_eq!(learnt[1].0, learnt[0].0 + 1);
}

/// Some servers tell of no time at which a session ended.
#[test]
fn an_end_without_a_time_is_counted_where_it_belongs_and_closes_its_run() {
    let timeless =
        |status| Fact::Ended(Ending { status, started_at: None, finished_at: None, error: None, verdict: None });
    let mut state = ended_once();
    // Taken up again, as its status says, and over before anything was seen of it.
    take_in(&mut state, 71, beside(71, sighted(Status::Pending, 70))).unwrap();
    take_in(&mut state, 72, beside(72, timeless(Status::Interrupted))).unwrap();
    assert_eq!(sum(&state.snapshot(), Metric::SessionsFinished), 2);
    assert!(!session(&state).is_taken_back(), "it was counted");
    // The next time is another one.
    take_in(&mut state, 81, vec![Item::page(id(1), 7, vec![Event { at: at(80), fact: Fact::Message }])]).unwrap();
    assert_eq!(sum(&state.snapshot(), Metric::SessionsReopened), 2);
}
