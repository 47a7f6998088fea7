//! What a state takes in of reports that do not fit what it knows: holes, stretches that reach past what was read, more
//! turns than it keeps, and an end that was counted already.

use agent_session_exporter::domain::{Ending, Event, Fact, Item, Sighting, SourceIx, Status, Timestamp, TurnKey};
use agent_session_exporter::ingest::platforms::hcompany;
use agent_session_exporter::projection::{IntakeError, LabelPolicy, Metric, Origin, Session, SourceRecord, State};
use smol_str::SmolStr;

use crate::support::lives::at;
use crate::support::running::{ended, id, page, report, row, sum};

/// A state in which session 1 is known and runs.
fn state() -> State {
    let mut state = State::new(LabelPolicy::default(), []);
    let ix = state.add_source(SourceRecord {
        name: "one".into(),
        platform: "hcompany".into(),
        account: String::new(),
        key_print: 0,
        count_from: Timestamp::default(),
        origin: Origin::default(),
    });
    state.attach(ix, hcompany::DESCRIPTOR.capabilities, None);
    take_in(&mut state, 0, vec![row(1, 0, Status::Running, 1)]).expect("a row");
    state
}

fn take_in(state: &mut State, second: i64, items: Vec<Item>) -> Result<(), IntakeError> {
    state.take_in(&report(SourceIx(0), second, items), &|_| Err("none is settled".to_owned())).map(drop)
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
    let mut state = state();
    take_in(&mut state, 60, vec![page(1, 0)]).unwrap();
    take_in(&mut state, 61, ended(1, 0, 1)[..1].to_vec()).unwrap();
    assert_eq!(sum(&state.snapshot(), Metric::SessionsFinished), 1);
    // A list that was behind shows it at work; its status then tells the same end again.
    let sighting = Sighting { status: Status::Running, since: at(70), started_at: None, finished_at: None };
    let beside = |fact| vec![Item::Beside { id: id(1), events: vec![Event { at: at(71), fact }] }];
    take_in(&mut state, 71, beside(Fact::Sighted(sighting))).unwrap();
    assert!(!session(&state).run.ended);
    let finished_at = Some(at(50));
    let ending = Ending { status: Status::Completed, started_at: None, finished_at, error: None, verdict: None };
    take_in(&mut state, 72, beside(Fact::Ended(ending))).unwrap();
    assert!(session(&state).run.ended);
    assert_eq!((session(&state).status, session(&state).finished_at), (Status::Completed, finished_at));
    assert_eq!(sum(&state.snapshot(), Metric::SessionsFinished), 1);
}
