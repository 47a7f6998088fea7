//! The conversations with the platform end, whatever it answers, and never contradict what they said before.

use agent_session_exporter::domain::{DISCOVERED, Due, Item, Mark, SessionId, SourceIx, Status, Timestamp};
use agent_session_exporter::ingest::platforms::{Account, Platform, hcompany};
use agent_session_exporter::ingest::{Failure, Finish, Input, Job, Output, Request, Response};
use agent_session_exporter::projection::{LabelPolicy, Session, State};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

use crate::support::conversation::{Answer, lead, lead_crowded, lead_watched};
use crate::support::fixtures::{Kind, fixtures};
use crate::support::lives::at;
use crate::support::running::{id, report, row, source_record};

/// A state in which session 1 is known.
fn state() -> State {
    let mut state = State::new(LabelPolicy::default(), []);
    state.add_source(source_record("one", "hcompany"));
    let row = row(1, 0, Status::Running, 1);
    state.take_in(&report(SourceIx(0), 0, vec![row]), &|_| Err(String::new())).expect("a row");
    state
}

fn due(ended: bool) -> Due {
    let finished_at = ended.then(|| at(50));
    Due { mark: Some(Mark(1)), ended, finished_at, ..Due::new(id(1), 0) }
}

fn platform() -> Arc<dyn Platform> {
    let count_from = Timestamp::from_micros(0);
    (hcompany::DESCRIPTOR.connect)(Account::new(count_from))
}

/// One that is to tell traces, too.
fn tracing() -> Arc<dyn Platform> {
    (hcompany::DESCRIPTOR.connect)(Account { traces: true, ..Account::new(Timestamp::from_micros(0)) })
}

/// Every kind of job, each of a platform that has learnt nothing yet.
fn jobs() -> Vec<(&'static str, Box<dyn Job>)> {
    vec![
        ("discover", platform().discover(&|_| None, at(0))),
        ("sweep", platform().sweep()),
        ("recognise", platform().recognise(&[id(1), id(2)])),
        ("limits", platform().limits().expect("there are limits")),
        ("read", platform().read(&due(false))),
        ("read ended", platform().read(&due(true))),
        ("adopt", platform().read(&Due { adopt: Some(at(-10)), ..due(false) })),
        ("ask the session", platform().read(&Due { finished_at: None, ..due(true) })),
        ("read with its origin", tracing().read(&due(true))),
        ("adopt with its origin", tracing().read(&Due { adopt: Some(at(-10)), ..due(false) })),
    ]
}

fn bodies() -> Vec<Bytes> {
    let texts = ["", "null", "{}", "[]", "<html>502</html>", r#"{"status":"completed"}"#, r#"{"items":[],"total":9}"#];
    let documents = fixtures().into_iter().filter(|fixture| fixture.kind != Kind::Foreign).map(|fixture| fixture.body);
    texts.into_iter().map(Bytes::from).chain(documents).collect()
}

fn answers() -> Vec<Answer> {
    let about = |name: &str| Bytes::from(format!(r#"{{"message":"m","detail":[{{"loc":["query","{name}"]}}]}}"#));
    let mut answers: Vec<Answer> = bodies().into_iter().map(|body| Answer::Body(200, body)).collect();
    for status in [204, 301, 400, 401, 402, 403, 404, 409, 410, 418, 422, 500, 503, 599] {
        answers.push(Answer::Body(status, Bytes::new()));
        answers.push(Answer::Body(status, Bytes::from_static(b"<html>")));
    }
    for name in ["size", "status", "created_after", "finished_after", "sort", "limit", "owner"] {
        answers.push(Answer::Body(422, about(name)));
    }
    answers.push(Answer::Fails(Failure::TooLarge(64 << 20)));
    answers.push(Answer::Fails(Failure::Transport("timed out")));
    answers.push(Answer::Fails(Failure::Throttled));
    answers.push(Answer::Fails(Failure::KeyRefused(401)));
    answers
}

#[test]
fn a_platform_that_always_answers_the_same_is_left_alone_soon() {
    for answer in answers() {
        for (name, mut job) in jobs() {
            let ended = lead(&mut *job, &mut state(), |_| answer.clone());
            let (_, moves) = ended.unwrap_or_else(|| panic!("{name} never ends on {answer:.200?}"));
            assert!(moves <= 40, "{name}: {moves} moves on {answer:.200?}");
        }
    }
}

#[test]
fn a_session_that_is_deleted_is_gone_whichever_way_that_is_said() {
    for status in [404, 410] {
        for (ended, platform) in [(false, platform()), (true, platform()), (false, tracing())] {
            let mut state = state();
            let mut job = platform.read(&due(ended));
            let (finish, _) = lead(&mut *job, &mut state, |_| Answer::Body(status, Bytes::new())).unwrap();
            assert_eq!(finish, Finish::Well);
            assert!(state.active_sessions().all(|(_, session)| session.progress.gone));
        }
    }
}

/// What is asked of a session that was never read, in order, and what is then known of it.
fn first_reading(due: &Due, traces: bool, session: &Answer) -> (Vec<&'static str>, Session) {
    let (mut state, mut asked) = (state(), Vec::new());
    let account = Account { traces, ..Account::new(Timestamp::from_micros(0)) };
    let platform = (hcompany::DESCRIPTOR.connect)(account);
    let mut ended = None;
    // Whose parent was not read is put off, once.
    for waited in [false, true] {
        let mut job = platform.read(&Due { waited, ..due.clone() });
        ended = lead(&mut *job, &mut state, |request| {
            asked.push(request.endpoint);
            match request.endpoint {
                "session" => session.clone(),
                "status" => Answer::Body(200, r#"{"status":"running","subagent_session_ids":["c"]}"#.into()),
                _ => Answer::Body(200, r#"{"status":"running","first_index":0,"new_events":[]}"#.into()),
            }
        });
        if !matches!(ended, Some((Finish::Later(_), _))) {
            break;
        }
    }
    assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
    let session = state.active_sessions().next().expect("it is known").1.clone();
    (asked, session)
}

fn document(parent: &str) -> Answer {
    let status = r#"{"status":"running","subagent_session_ids":["c"]}"#;
    let body = format!(r#"{{"id":"x","request":{{"messages":"m","parent_session_id":{parent}}},"status":{status}}}"#);
    Answer::Body(200, body.into())
}

#[test]
fn who_started_a_session_is_known_before_anything_is_read_of_it() {
    let known = document(r#""the parent""#);
    let (asked, session) = first_reading(&due(false), true, &known);
    assert_eq!((asked, session.parent), (vec!["session", "changes"], Some(SessionId::new("the parent"))));
    assert_eq!(session.children, [], "what it starts itself is told at its end");
    // Once, and only for traces.
    let (asked, session) = first_reading(&due(false), false, &known);
    assert_eq!((asked, session.parent), (vec!["changes"], None));
    let (asked, _) = first_reading(&Due { cursor: 7, ..due(false) }, true, &known);
    assert_eq!(asked, ["changes"]);
    // Of a session from before counting began the same document tells its children.
    let adopted = Due { adopt: Some(at(-10)), ..due(false) };
    let (asked, session) = first_reading(&adopted, true, &known);
    assert_eq!((asked, session.parent), (vec!["session", "changes"], Some(SessionId::new("the parent"))));
    assert_eq!(session.children, [SessionId::new("c")]);
    for nobody in ["null", "7", r#""""#] {
        let (asked, session) = first_reading(&due(false), true, &document(nobody));
        assert_eq!((asked, session.parent), (vec!["session", "changes"], None), "{nobody}");
    }
}

#[test]
fn a_session_whose_parent_cannot_be_told_is_read_all_the_same() {
    let nonsense = Answer::Body(200, Bytes::from_static(b"<html>"));
    let (asked, _) = first_reading(&due(false), true, &nonsense);
    assert_eq!(asked, ["session", "session", "changes"], "it is asked once more");
    for failure in
        [Answer::Fails(Failure::TooLarge(1)), Answer::Fails(Failure::Status(500)), Answer::Body(403, Bytes::new())]
    {
        let (asked, _) = first_reading(&due(false), true, &failure);
        assert_eq!(asked, ["session", "changes"], "{failure:?}");
        let (asked, session) = first_reading(&Due { adopt: Some(at(-10)), ..due(false) }, true, &failure);
        assert_eq!((asked, session.children), (vec!["session", "status", "changes"], vec![SessionId::new("c")]));
    }
}

#[test]
fn a_parent_is_also_taken_from_the_document_that_tells_the_end() {
    let mut state = state();
    let mut job = platform().read(&Due { finished_at: None, ..due(true) });
    lead(&mut *job, &mut state, |request| match request.endpoint {
        "session" => Answer::Body(
            200,
            r#"{"request":{"parent_session_id":"the parent"},"status":{"status":"completed"}}"#.into(),
        ),
        _ => Answer::Body(200, r#"{"status":"completed","first_index":0,"new_events":[]}"#.into()),
    })
    .unwrap();
    let (_, session) = state.active_sessions().next().unwrap();
    assert_eq!((session.parent.clone(), session.run.ended), (Some(SessionId::new("the parent")), true));
}

#[test]
fn an_event_that_is_too_large_is_given_up_and_the_rest_is_read() {
    let event = r#"{"type":"RequestStartEvent","timestamp":"2026-11-20T14:30:00Z","data":{}}"#;
    let (mut state, mut lost) = (state(), 0);
    let mut job = platform().read(&due(false));
    let ended = lead(&mut *job, &mut state, |request| {
        let number = |name: &str| request.query.iter().find(|(key, _)| *key == name).unwrap().1.parse::<u64>().unwrap();
        let (from, to) = (number("from_index"), number("from_index") + number("limit"));
        // Ten events, of which the one at position four is too large.
        if (from..to.min(10)).contains(&4) {
            lost += 1;
            return Answer::Fails(Failure::TooLarge(1));
        }
        let events = vec![event; usize::try_from(to.min(10).saturating_sub(from)).unwrap()].join(",");
        Answer::Body(200, format!(r#"{{"status":"running","first_index":{from},"new_events":[{events}]}}"#).into())
    });
    assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
    let (_, session) = state.active_sessions().next().unwrap();
    assert_eq!(session.progress.cursor, 10, "{lost} were too large");
}

#[test]
fn a_history_that_is_too_large_is_given_up() {
    let mut state = state();
    let mut job = platform().read(&due(false));
    let ended = lead(&mut *job, &mut state, |request| match request.endpoint {
        "events" => Answer::Fails(Failure::TooLarge(1)),
        _ => Answer::Body(200, r#"{"status":"running","first_index":7,"new_events":[]}"#.into()),
    });
    assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
    assert_eq!(state.active_sessions().next().unwrap().1.progress.cursor, 7);
}

#[test]
fn a_position_that_no_stream_has_gives_up_nothing() {
    let mut state = state();
    let mut job = platform().read(&due(false));
    let body = r#"{"status":"running","first_index":18446744073709551615,"new_events":[]}"#;
    lead(&mut *job, &mut state, |_| Answer::Body(200, body.into())).unwrap();
    assert_eq!(state.active_sessions().next().unwrap().1.progress.cursor, 0);
}

#[test]
fn in_a_crowd_only_what_is_known_is_looked_at_and_the_rest_later() {
    // Two pages of everything that has not ended, and nothing else.
    let answer = |asked: &mut Vec<String>, request: &Request| {
        let number = |name: &str| request.query.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        let walk = ["created_after", "finished_after"].into_iter().find(|name| number(name).is_some());
        asked.push(format!("{} {}", walk.unwrap_or("active"), number("page").expect("a page")));
        let total = if walk.is_none() { 2 * number("size").expect("a size").parse::<u64>().unwrap() } else { 0 };
        let row = |second: usize| {
            format!(r#"{{"id":"{}","status":"running","created_at":"2026-11-20T14:30:{second:02}Z"}}"#, id(1))
        };
        let rows: Vec<_> = (0..usize::from(total > 0)).map(row).collect();
        Answer::Body(200, format!(r#"{{"items":[{}],"total":{total},"page":1}}"#, rows.join(",")).into())
    };
    let walked = |items: &[Item]| items.iter().any(|item| matches!(item, Item::Walked { walk: DISCOVERED, .. }));

    let (mut asked, mut is_whole) = (Vec::new(), false);
    let mut round = platform().discover(&|_| None, at(0));
    let ended = lead_watched(&mut *round, &mut state(), |it| answer(&mut asked, it), |it| is_whole |= walked(it));
    assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
    assert_eq!(asked, ["active 1", "active 2", "created_after 1", "finished_after 1"]);
    assert!(is_whole);

    let (mut asked, mut is_whole) = (Vec::new(), false);
    let mut round = platform().discover(&|_| None, at(0));
    let ended = lead_crowded(&mut *round, &mut state(), |it| answer(&mut asked, it), |it| is_whole |= walked(it));
    assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
    assert_eq!(asked, ["active 1", "active 2", "finished_after 1"]);
    assert!(!is_whole, "what was not looked for is not said to be known");

    let mut sweep = platform().sweep();
    let ended = lead_crowded(&mut *sweep, &mut state(), |_| panic!("a sweep can wait"), |_| {});
    assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_in_any_order_end_every_job(
        which in 0usize..9,
        drawn in proptest::collection::vec(proptest::sample::select(answers()), 0..12),
    ) {
        let (name, mut job) = jobs().swap_remove(which);
        let mut rest = drawn.iter();
        // In the end the platform has nothing more to say.
        let ended = lead(&mut *job, &mut state(), |_| rest.next().cloned().unwrap_or(Answer::Body(404, Bytes::new())));
        let moves = ended.map(|(_, moves)| moves);
        prop_assert!(moves.is_some_and(|moves| moves <= 3 * drawn.len() + 12), "{}: {:?}", name, moves);
    }
}

/// What a session from before counting has lost by its first reading is its past, and is not told as lost now.
#[test]
fn events_that_are_gone_were_before_those_that_are_there() {
    let mut job = platform().read(&due(false));
    let answer = |status, body: &str| Input::Response(Response::new(status, body.to_owned(), at(1000)));
    assert!(matches!(job.next(Input::Begin), Output::Fetch(_)));
    let evicted = r#"{"status":"running","first_index":5,"new_events":[
        {"type":"AgentStartedEvent","timestamp":"2026-11-21T00:00:00Z","data":{}}]}"#;
    let Output::Fetch(request) = job.next(answer(200, evicted)) else { panic!("it asks for what is missing") };
    assert_eq!(request.endpoint, "events");
    let Output::Commit(items) = job.next(answer(403, "")) else { panic!("it is given up") };
    let first = Timestamp::parse("2026-11-21T00:00:00Z").expect("a time");
    assert!(
        matches!(items[..], [Item::Skip { from: 0, to: 5, before: Some(before), .. }] if before == first),
        "{items:?}"
    );
}
