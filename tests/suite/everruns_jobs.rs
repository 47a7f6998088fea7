//! The conversations with Everruns end, whatever it answers, and pass over nothing that an answer holds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use agent_session_exporter::domain::{DISCOVERED, Due, Fact, Item, Mark, SourceIx, Status, Timestamp};
use agent_session_exporter::ingest::platforms::{Account, Platform, everruns};
use agent_session_exporter::ingest::{CUT, Failure, Finish, Job, Request, TIMED_OUT};
use agent_session_exporter::projection::{State, broken_invariants};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::support::conversation::{Answer, everruns_state, lead, lead_crowded, lead_watched};
use crate::support::documents::documents;
use crate::support::lives::at;
use crate::support::running::{id, report, row};

/// A state in which session 1 is known.
fn state() -> State {
    let mut state = everruns_state();
    let row = row(1, 0, Status::Running, 1);
    state.take_in(&report(SourceIx(0), 0, vec![row]), &|_| Err(String::new())).expect("a row");
    state
}

/// What a server was found to be before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learnt {
    Nothing,
    Flat,
    /// Its sessions are below their agents.
    BelowAgents,
    /// It does not go by numbers.
    ById,
    /// `limit` gives the last events.
    Last,
}

const LEARNT: [Learnt; 5] = [Learnt::Nothing, Learnt::Flat, Learnt::BelowAgents, Learnt::ById, Learnt::Last];

fn body(value: &serde_json::Value) -> Answer {
    Answer::Body(200, Bytes::from(value.to_string()))
}

fn event(sequence: u64) -> serde_json::Value {
    json!({"id": format!("event {sequence}"), "type": "input.message", "ts": "2026-11-19T14:30:00Z",
        "sequence": sequence, "data": {}})
}

/// A platform that has met such a server.
fn platform(learnt: Learnt) -> Arc<dyn Platform> {
    let platform = (everruns::DESCRIPTOR.connect)(Account::new(Timestamp::default()));
    if learnt == Learnt::Nothing {
        return platform;
    }
    let session = json!({"id": id(1).to_string(), "agent_id": "a", "status": "idle",
        "created_at": "2026-11-20T14:30:00Z", "updated_at": "2026-11-20T14:31:00Z"});
    let found = lead(&mut *platform.discover(&|_| None, at(0)), &mut state(), |request| match request.path.as_str() {
        "/v1/agents" => body(&json!({"data": [{"id": "a", "name": "agent"}]})),
        "/v1/sessions" if learnt != Learnt::BelowAgents => body(&json!({"data": [session]})),
        "/v1/agents/a/sessions" => body(&json!({"data": [session]})),
        _ => Answer::Body(404, Bytes::new()),
    });
    assert_eq!(found.map(|(finish, _)| finish), Some(Finish::Well));
    match learnt {
        Learnt::ById => {
            lead(&mut *platform.read(&Due::new(id(1), 0)), &mut state(), |_| Answer::Body(400, Bytes::new()));
        }
        Learnt::Last => {
            let mut answers = 0;
            lead(&mut *platform.read(&Due::new(id(1), 0)), &mut state(), |request| {
                answers += 1;
                match request.query.iter().find(|(name, _)| *name == "limit") {
                    _ if answers > 9 => Answer::Body(500, Bytes::new()),
                    Some((_, limit)) if limit == "1" => body(&json!({"data": [event(2)]})),
                    Some((_, limit)) if limit == "2" => body(&json!({"data": [event(1), event(2)]})),
                    Some(_) => Answer::Fails(Failure::TooLarge(1)),
                    None => body(&json!({"data": [event(1), event(2)]})),
                }
            });
        }
        _ => {}
    }
    platform
}

type Make = fn(&dyn Platform) -> Box<dyn Job>;

/// Every kind of job, in every state that it may begin in.
fn jobs() -> Vec<(&'static str, Make)> {
    fn due() -> Due {
        Due { mark: Some(Mark(1)), ..Due::new(id(1), 0) }
    }
    vec![
        ("discover cold", |platform| platform.discover(&|_| None, at(0))),
        ("discover warm", |platform| platform.discover(&|_| Some(at(500)), at(0))),
        ("discover by creation", |platform| platform.discover(&|walk| (walk == "created").then(|| at(500)), at(0))),
        ("sweep", |platform| platform.sweep()),
        ("recognise", |platform| platform.recognise(&[id(1), id(2), id(3)])),
        ("read", |platform| platform.read(&due())),
        ("read what rests", |platform| platform.read(&Due { rests: true, moved: true, tokens: Some(5), ..due() })),
        ("read on", |platform| platform.read(&Due { bookmark: Some("event 3".into()), moved: true, ..due() })),
    ]
}

fn bodies() -> Vec<Bytes> {
    let recorded: Vec<Bytes> = documents().into_iter().map(|document| document.body).collect();
    // Of the recorded ones a few that differ in kind are enough, and as many that broke off.
    let mut bodies: Vec<Bytes> = recorded.iter().step_by(9).map(|body| body.slice(..body.len() / 2)).collect();
    bodies.extend(recorded.into_iter().step_by(4));
    let nonsense = [
        "",
        "null",
        "{}",
        "[]",
        "<html>502</html>",
        r#"{"data":null}"#,
        r#"{"data":{}}"#,
        r#"{"data":[]}"#,
        r#"{"data":[],"total":9,"limit":100}"#,
        r#"{"data":[null,7,"x",[],{}]}"#,
        r#"{"total":18446744073709551615}"#,
        r#"{"data":[{"id":"s","status":7,"created_at":null}],"total":-1}"#,
        r#"{"data":[{"id":"s","status":"idle","created_at":"9999-12-31T23:59:59Z"}],"total":18446744073709551615,"limit":1}"#,
        r#"{"data":[{"id":"s","status":"odd","created_at":"0001-01-01T00:00:00Z","event_count":1e99}]}"#,
        r#"{"data":[{"type":"turn.started","sequence":0}]}"#,
        r#"{"data":[{"type":"turn.started","sequence":-5}]}"#,
        r#"{"data":[{"type":"turn.started","sequence":4294967295,"ts":"x"}]}"#,
        r#"{"data":[{"sequence":99999999999999999999}]}"#,
        r#"{"data":[{"sequence":3,"type":null}]}"#,
        r#"{"data":[{"sequence":3,"id":"e","type":"turn.completed","ts":"2026-11-22T05:42:40Z","data":{"duration_ms":-1e308}}]}"#,
        r#"{"data":[{"sequence":2,"type":"turn.completed","ts":"9999-12-31T23:59:59Z","data":{"duration_ms":1e308}}]}"#,
        r#"{"data":[{"sequence":5,"type":"llm.generation","ts":"2026-11-22T05:42:40Z","data":{"metadata":{"usage":{"input_tokens":NaN}}}}]}"#,
        r#"{"data":[{"sequence":6,"type":"llm.generation","ts":"2026-11-22T05:42:40Z","data":{"metadata":{"usage":{"input_tokens":18446744073709551615,"cache_read_tokens":18446744073709551615,"actual_cost_usd":-1}}}}]}"#,
    ];
    bodies.extend(nonsense.into_iter().map(Bytes::from));
    // Full pages, of a server that pages and of one that does not.
    let session = |number: u32| {
        json!({"id": id(number).to_string(), "agent_id": "a", "agent_name": "agent", "status": "active",
            "created_at": "2026-11-20T14:30:00Z", "updated_at": "2026-11-20T14:31:00Z"})
    };
    let sessions: Vec<_> = (1..=120).map(session).collect();
    bodies.push(json!({"data": sessions}).to_string().into());
    bodies.push(json!({"data": sessions[..100], "total": 1_000_000, "limit": 100, "offset": 0}).to_string().into());
    // Streams with gaps, each of them held by several pages.
    for numbers in [vec![1, 2, 3, 7, 8], vec![4, 5, 6], vec![3, 7], vec![7, 8, 9], vec![5], vec![9, 12]] {
        let events: Vec<_> = numbers.into_iter().map(event).collect();
        bodies.push(json!({ "data": events }).to_string().into());
    }
    bodies.push(json!({"data": (1..=1000).map(event).collect::<Vec<_>>()}).to_string().into());
    bodies
}

fn answers() -> Vec<Answer> {
    let mut answers: Vec<Answer> = bodies().into_iter().map(|body| Answer::Body(200, body)).collect();
    for status in [204, 301, 400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 500, 503] {
        answers.push(Answer::Body(status, Bytes::new()));
        answers.push(Answer::Body(status, Bytes::from_static(b"<html>")));
    }
    let failures = [
        Failure::TooLarge(16 << 20),
        Failure::Transport(TIMED_OUT),
        Failure::Transport(CUT),
        Failure::Throttled,
        Failure::KeyRefused(401),
    ];
    answers.extend(failures.into_iter().map(Answer::Fails));
    answers
}

/// What of a request makes servers answer differently.
fn shape(request: &Request) -> usize {
    let has = |name: &str| usize::from(request.query.iter().any(|(key, _)| *key == name));
    let endpoint = match request.endpoint {
        "sessions" => 0,
        "agents" => 1,
        "events" => 2 + has("since_id") + 2 * has("after_sequence") + 4 * has("limit"),
        _ => 10,
    };
    endpoint + 11 * has("order") + 22 * has("exclude")
}

/// Leads the job, and sees to it that nothing that the last answer holds is passed over.
fn led(job: &mut dyn Job, mut answer: impl FnMut(&Request) -> Answer) -> Option<(Finish, usize)> {
    let mut state = state();
    let held: RefCell<Vec<u64>> = RefCell::default();
    let answer = |request: &Request| {
        let answer = answer(request);
        held.borrow_mut().clear();
        if let ("events", Answer::Body(200, body)) = (request.endpoint, &answer) {
            let placed = everruns::events(body, at(1001)).map(|(events, _)| events).unwrap_or_default();
            held.borrow_mut().extend(placed.iter().map(|placed| placed.position));
        }
        answer
    };
    let watch = |items: &[Item]| {
        let over = |from: u64, to: u64| {
            let passed: Vec<u64> = held.borrow().iter().copied().filter(|held| (from..to).contains(held)).collect();
            assert_eq!(passed, [0; 0], "events are passed over that were there to be read");
        };
        for item in items {
            match item {
                Item::Skip { from, to, .. } => over(*from, *to),
                Item::Page { from, events, .. } => {
                    let mut position = *from;
                    for event in events {
                        let begins = position;
                        position += event.fact.positions();
                        if matches!(event.fact, Fact::Passed(_)) {
                            over(begins, position);
                        }
                    }
                }
                _ => {}
            }
        }
    };
    let ended = lead_watched(job, &mut state, answer, watch);
    assert_eq!(broken_invariants(&state), [""; 0]);
    ended
}

#[test]
fn a_server_that_always_answers_the_same_is_left_alone_soon() {
    let answers = answers();
    for learnt in LEARNT {
        for (name, make) in jobs() {
            for answer in &answers {
                let ended = led(&mut *make(&*platform(learnt)), |_| answer.clone());
                let (_, moves) = ended.unwrap_or_else(|| panic!("{name} ({learnt:?}) never ends on {answer:.200?}"));
                assert!(moves <= 60, "{name} ({learnt:?}): {moves} moves on {answer:.200?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_in_any_order_end_every_job(
        learnt in select(LEARNT.to_vec()),
        job in 0..jobs().len(),
        drawn in vec(select(answers()), 0..12),
    ) {
        let (name, make) = jobs()[job];
        let mut rest = drawn.iter();
        // In the end the platform has nothing more to say.
        let nothing = || Answer::Body(404, Bytes::new());
        let ended = led(&mut *make(&*platform(learnt)), |_| rest.next().cloned().unwrap_or_else(nothing));
        let moves = ended.map(|(_, moves)| moves);
        prop_assert!(moves.is_some_and(|moves| moves <= 3 * drawn.len() + 20), "{}: {:?}", name, moves);
    }

    #[test]
    fn what_an_answer_holds_is_not_passed_over(
        learnt in select(vec![Learnt::Flat, Learnt::ById, Learnt::Last]),
        drawn in vec(vec(1u64..14, 0..6), 1..10),
        limit in any::<bool>(),
    ) {
        let mut rest = drawn.into_iter();
        // Pages that show this and that, as if events became visible and were taken away all the time.
        let mut first = limit;
        let ended = led(&mut *platform(learnt).read(&Due::new(id(1), 0)), |_| {
            if std::mem::take(&mut first) {
                return Answer::Fails(Failure::TooLarge(1));
            }
            let mut numbers = rest.next().unwrap_or_default();
            numbers.sort_unstable();
            body(&json!({"data": numbers.into_iter().map(event).collect::<Vec<_>>()}))
        });
        prop_assert!(ended.is_some());
    }

    #[test]
    fn servers_of_any_character_are_left_alone_soon(
        learnt in select(LEARNT.to_vec()),
        job in 0..jobs().len(),
        character in vec(select(answers()), 7),
    ) {
        let (name, make) = jobs()[job];
        let ended = led(&mut *make(&*platform(learnt)), |request| character[shape(request) % 7].clone());
        let moves = ended.map(|(_, moves)| moves);
        prop_assert!(moves.is_some_and(|moves| moves <= 200), "{}: {:?}", name, moves);
    }
}

#[test]
fn a_session_that_is_deleted_is_gone_whichever_way_that_is_said() {
    for status in [404, 410] {
        for learnt in LEARNT.into_iter().filter(|learnt| *learnt != Learnt::Nothing) {
            let mut state = state();
            let mut job = platform(learnt).read(&Due { mark: Some(Mark(1)), ..Due::new(id(1), 0) });
            let (finish, _) = lead(&mut *job, &mut state, |_| Answer::Body(status, Bytes::new())).unwrap();
            assert_eq!(finish, Finish::Well);
            assert!(state.active_sessions().all(|(_, session)| session.progress.gone), "{learnt:?}");
        }
    }
}

/// Rows of a list of three hundred, in the order of their last activity.
fn rows(request: &Request) -> Answer {
    let number = |name: &str| request.query.iter().find(|(key, _)| *key == name).and_then(|(_, it)| it.parse().ok());
    let (offset, limit) = (number("offset").unwrap_or(0), number("limit").unwrap_or(100));
    let row = |place: u32| {
        json!({"id": id(place).to_string(), "agent_id": "a", "status": "active", "created_at": "2026-11-20T10:00:00Z",
            "updated_at": format!("2026-11-20T14:{:02}:{:02}Z", 59 - place / 60, 59 - place % 60)})
    };
    let rows: Vec<_> = (offset..(offset + limit).min(300)).map(row).collect();
    body(&json!({"data": rows, "total": 300, "limit": limit, "offset": offset}))
}

#[test]
fn in_a_crowd_only_the_top_of_the_list_is_looked_at_and_the_rest_later() {
    let walked = |items: &[Item]| items.iter().any(|item| matches!(item, Item::Walked { walk: DISCOVERED, .. }));
    for is_crowded in [false, true] {
        let (mut pages, mut is_whole) = (0, false);
        let answer = |request: &Request| match request.path.as_str() {
            "/v1/agents" => body(&json!({"data": [{"id": "a", "name": "agent"}]})),
            "/v1/sessions" => {
                pages += 1;
                rows(request)
            }
            _ => Answer::Body(404, Bytes::new()),
        };
        let mut round = platform(Learnt::Flat).discover(&|_| None, at(0));
        let watch = |items: &[Item]| is_whole |= walked(items);
        let ended = match is_crowded {
            false => lead_watched(&mut *round, &mut state(), answer, watch),
            true => lead_crowded(&mut *round, &mut state(), answer, watch),
        };
        assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
        assert_eq!((pages > 1, is_whole), (!is_crowded, !is_crowded), "{pages} pages");
    }
    // Nothing is known of the server: that has to be found out, whatever waits.
    let mut asked = Vec::new();
    let mut round = platform(Learnt::Nothing).discover(&|_| None, at(0));
    lead_crowded(
        &mut *round,
        &mut state(),
        |request| {
            asked.push(request.path.clone());
            Answer::Body(404, Bytes::new())
        },
        |_| {},
    );
    assert_ne!(asked, [""; 0]);

    let mut sweep = platform(Learnt::Flat).sweep();
    let ended = lead_crowded(&mut *sweep, &mut state(), |_| panic!("a sweep can wait"), |_| {});
    assert_eq!(ended.map(|(finish, _)| finish), Some(Finish::Well));
}

#[test]
fn a_key_that_may_not_see_agents_watches_sessions_all_the_same() {
    for status in [403, 404, 405, 500] {
        let mut agents = BTreeMap::new();
        let mut round = (everruns::DESCRIPTOR.connect)(Account::new(Timestamp::default())).discover(&|_| None, at(0));
        let answer = |request: &Request| match request.path.as_str() {
            "/v1/agents" => Answer::Body(status, Bytes::new()),
            "/v1/sessions" => rows(request),
            _ => Answer::Body(404, Bytes::new()),
        };
        let watch = |items: &[Item]| {
            agents.extend(items.iter().filter_map(|item| match item {
                Item::Row(row) => Some((row.id.clone(), row.agent.clone())),
                _ => None,
            }));
        };
        let (finish, _) = lead_watched(&mut *round, &mut state(), answer, watch).unwrap();
        if status == 500 {
            assert_eq!((finish, agents.len()), (Finish::Failed(Failure::Status(500)), 0), "names are waited for");
        } else {
            assert_eq!((finish, agents.len()), (Finish::Well, 300), "{status}");
            assert!(agents.values().all(|agent| agent == "a"), "an id is better than nothing");
        }
    }
}
