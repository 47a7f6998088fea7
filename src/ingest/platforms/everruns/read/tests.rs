//! The reading of one session, move by move, on servers that each page in their own way.

use bytes::Bytes;

use super::*;
use crate::domain::Receipt;
use crate::ingest::platforms::Account;
use crate::ingest::platforms::everruns::route::candidates;

/// When everything is asked: 2026-11-22T06:00:00Z.
const NOW: Timestamp = Timestamp::from_micros(1_795_327_200_000_000);
const OLD: &str = "2026-11-22T05:00:00Z";
const YOUNG: &str = "2026-11-22T05:59:58Z";

/// A conversation about a session, with what was committed in it.
struct Reading {
    job: Read,
    learnt: Arc<Learnt>,
    committed: Vec<Item>,
}

fn reading_with(due: Due, skip_generations: bool) -> Reading {
    let learnt: Arc<Learnt> = Arc::default();
    *locked(&learnt.route) = candidates(&Account::new(Timestamp::default())).into_iter().next();
    Reading { job: Read::new(&due, Arc::clone(&learnt), skip_generations), learnt, committed: Vec::new() }
}

fn reading(cursor: u64) -> Reading {
    reading_with(Due::new(SessionId::new("s"), cursor), false)
}

/// A page of these events.
fn page(events: &[(u64, &str)]) -> String {
    let event = |(sequence, ts): &(u64, &str)| {
        format!(r#"{{"sequence":{sequence},"id":"e{sequence}","type":"input.message","ts":"{ts}","data":{{}}}}"#)
    };
    format!(r#"{{"data":[{}]}}"#, events.iter().map(event).collect::<Vec<_>>().join(","))
}

fn old(sequences: impl IntoIterator<Item = u64>) -> String {
    page(&sequences.into_iter().map(|sequence| (sequence, OLD)).collect::<Vec<_>>())
}

impl Reading {
    /// Goes on until something is asked or it is over: the query as text, or how it ended.
    fn go(&mut self, mut input: Input) -> String {
        loop {
            match self.job.next(input) {
                Output::Fetch(request) => {
                    let query = request.query.iter().map(|(name, value)| format!("{name}={value}"));
                    return query.collect::<Vec<_>>().join("&");
                }
                Output::Commit(items) => self.committed.extend(items),
                Output::Done(Finish::Well) => return "well".to_owned(),
                over => return format!("{over:?}"),
            }
            input = Input::Committed(Receipt::default());
        }
    }

    fn begin(&mut self) -> String {
        self.go(Input::Begin)
    }

    fn answer(&mut self, status: u16, body: String) -> String {
        let body = Bytes::from(body);
        self.go(Input::Response(Response::new(status, body, NOW)))
    }

    fn too_large(&mut self) -> String {
        self.go(Input::Failed(Failure::TooLarge(PAGE_BYTES)))
    }

    /// What was committed, in short: read, passed and lost positions, and the end.
    fn told(&self) -> String {
        let mut told = Vec::new();
        for item in &self.committed {
            match item {
                Item::Page { from, events, .. } => {
                    let mut position = *from;
                    for event in events {
                        let passed = if matches!(event.fact, Fact::Passed(_)) { "passed " } else { "" };
                        told.push(format!("{passed}{position}"));
                        position += event.fact.positions();
                    }
                }
                Item::Skip { from, to, .. } => told.push(format!("lost {from}..{to}")),
                Item::ReadUpTo { .. } => told.push("end".to_owned()),
                Item::Gone { .. } => told.push("gone".to_owned()),
                other => panic!("{other:?}"),
            }
        }
        told.join(", ")
    }

    fn bookmark(&self) -> Option<&str> {
        self.committed.iter().rev().find_map(|item| match item {
            Item::Page { bookmark, .. } => bookmark.as_deref(),
            _ => None,
        })
    }
}

#[test]
fn a_page_that_is_not_full_is_the_end() {
    let mut reading = reading(0);
    assert_eq!(reading.begin(), "after_sequence=0&limit=1000");
    // From the beginning every server gives the same; the next answer shows that this one leaves out what it should.
    assert_eq!(reading.answer(200, old(1..=3)), "after_sequence=3&limit=1000");
    assert_eq!(reading.answer(200, old(4..=5)), "well");
    assert_eq!(reading.told(), "0, 1, 2, 3, 4, end");
    assert_eq!(reading.bookmark(), None, "numbers are enough here");
}

#[test]
fn that_limit_gives_the_last_events_is_found_out() {
    let mut reading = reading(0);
    reading.begin();
    assert_eq!(reading.answer(200, old(501..=1500)), "after_sequence=0&limit=1");
    assert_eq!(reading.answer(200, old([1500])), "after_sequence=0");
    assert_eq!(reading.learnt.paging(), Paging::LastOnes);
    assert_eq!(reading.answer(200, old(1..=1500)), "after_sequence=1500");
    assert_eq!(reading.answer(200, old([])), "well");
    assert!(reading.told().starts_with("0, 1, 2, ") && reading.told().ends_with(", 1499, end"));
    assert!(!reading.told().contains("lost"));
}

#[test]
fn a_full_page_after_a_gap_says_nothing_of_limits() {
    let mut reading = reading(1);
    reading.begin();
    assert_eq!(reading.answer(200, old(3..=1002)), "after_sequence=1&limit=1");
    // With another limit it begins at the same number: the gap is one.
    assert_eq!(reading.answer(200, old([3])), "after_sequence=0&limit=1");
    assert_eq!(reading.learnt.paging(), Paging::Forward);
}

#[test]
fn that_numbers_are_ignored_is_found_out() {
    let mut reading = reading(2);
    assert_eq!(reading.begin(), "after_sequence=2&limit=1000");
    assert_eq!(reading.answer(200, old(1..=4)), "since_id=e4");
    assert_eq!(reading.learnt.paging(), Paging::ById);
    assert_eq!(reading.answer(200, old([])), "well");
    assert_eq!((reading.told().as_str(), reading.bookmark()), ("2, 3, end", Some("e4")));
}

#[test]
fn what_another_reader_finds_out_meanwhile_is_not_taken_for_an_end() {
    let mut reading = reading(0);
    assert_eq!(reading.begin(), "after_sequence=0&limit=1000");
    // This server ignores numbers and gives seven events at a time; another session's second page has just shown that.
    reading.learnt.set_paging(Paging::ById);
    assert_eq!(reading.answer(200, old(1..=7)), "since_id=e7");
    assert_eq!(reading.answer(200, old(8..=9)), "since_id=e9");
    assert_eq!(reading.answer(200, old([])), "well");
    assert_eq!(reading.told(), "0, 1, 2, 3, 4, 5, 6, 7, 8, end");
}

#[test]
fn an_answer_that_breaks_off_by_chance_costs_nothing() {
    let due = Due { bookmark: Some("e5".into()), ..Due::new(SessionId::new("s"), 5) };
    let mut first = reading_with(due.clone(), false);
    first.learnt.set_paging(Paging::ById);
    let again = |learnt: &Arc<Learnt>| Reading {
        job: Read::new(&due, Arc::clone(learnt), false),
        learnt: Arc::clone(learnt),
        committed: Vec::new(),
    };
    let cut = || Input::Failed(Failure::Transport(CUT));
    assert_eq!(first.begin(), "since_id=e5");
    assert_eq!(first.go(cut()), format!("Done(Failed(Transport({CUT:?})))"));
    // It was read on after that: what breaks off next is another chance.
    let mut second = again(&first.learnt);
    second.begin();
    assert_eq!(second.answer(200, old(6..=9)), "since_id=e9");
    let mut third = again(&first.learnt);
    third.begin();
    assert_eq!(third.go(cut()), format!("Done(Failed(Transport({CUT:?})))"));
    let mut fourth = again(&first.learnt);
    fourth.begin();
    assert_eq!(fourth.go(cut()), "since_id=e5&exclude=llm.generation", "twice at the same place");
}

#[test]
fn a_server_that_refuses_numbers_is_asked_by_id() {
    let mut reading = reading(0);
    reading.begin();
    assert_eq!(reading.answer(400, String::new()), "", "everything");
    assert_eq!(reading.answer(200, old(1..=2)), "since_id=e2");
    assert_eq!(reading.answer(200, old([])), "well");
    assert_eq!(reading.told(), "0, 1, end");
}

#[test]
fn a_dead_bookmark_is_repaired_by_reading_everything_once() {
    for (status, body) in [(200, old([])), (400, String::new())] {
        let bookmark = Some("e2".into());
        let mut reading = reading_with(Due { bookmark, moved: true, ..Due::new(SessionId::new("s"), 2) }, false);
        reading.learnt.set_paging(Paging::ById);
        assert_eq!(reading.begin(), "since_id=e2");
        assert_eq!(reading.answer(status, body), "", "everything");
        assert_eq!(reading.answer(200, old(2..=4)), "since_id=e4");
        assert_eq!(reading.answer(200, old([])), "well");
        assert_eq!((reading.told().as_str(), reading.bookmark()), ("2, 3, end", Some("e4")));
    }
}

#[test]
fn a_bookmark_after_which_nothing_moved_is_believed() {
    let bookmark = Some("e2".into());
    let mut reading = reading_with(Due { bookmark, ..Due::new(SessionId::new("s"), 2) }, false);
    reading.learnt.set_paging(Paging::ById);
    reading.begin();
    assert_eq!(reading.answer(200, old([])), "well");
    assert_eq!(reading.told(), "end");
}

#[test]
fn servers_that_go_by_nothing_are_not_asked_for_ever() {
    let mut ignoring = reading(2);
    ignoring.begin();
    assert_eq!(ignoring.answer(200, old(1..=4)), "since_id=e4");
    assert!(ignoring.answer(200, old(1..=4)).contains("does not go on from its own events"));
    let mut refusing = reading(0);
    refusing.begin();
    refusing.answer(400, String::new());
    assert_eq!(refusing.answer(200, old(1..=2)), "since_id=e2");
    assert_eq!(refusing.answer(400, String::new()), "Done(Failed(Status(400)))");
}

#[test]
fn a_gap_before_a_young_event_is_waited_for() {
    let mut reading = reading(0);
    reading.begin();
    assert_eq!(reading.answer(200, page(&[(1, OLD), (2, OLD), (4, YOUNG)])), "well");
    assert_eq!(reading.told(), "0, 1", "and it is not said that this was the end");
}

#[test]
fn a_page_that_took_long_may_show_what_there_was_when_it_was_asked_for() {
    let mut reading = reading(0);
    reading.learnt.set_paging(Paging::Forward);
    reading.begin();
    let body = page(&[(1, OLD), (2, OLD), (4, "2026-11-22T05:59:50Z"), (6, "2026-11-22T06:00:02Z")]);
    // However long our clock says that it was.
    let response = Response { took: Span::from_secs(9), date: Some(NOW), ..Response::new(200, body, NOW) };
    assert_eq!(reading.go(Input::Response(response)), "well");
    assert_eq!(reading.told(), "0, 1", "it was a second old then");
}

#[test]
fn a_gap_before_an_old_event_is_passed() {
    let mut reading = reading(0);
    reading.learnt.set_paging(Paging::Forward);
    reading.begin();
    assert_eq!(reading.answer(200, old([1, 2, 4, 8])), "well");
    assert_eq!(reading.told(), "0, 1, passed 2, 3, passed 4, 7, end");
}

#[test]
fn a_gap_at_the_head_of_a_page_is_asked_about() {
    // The event before is still there: the numbers were never given away.
    let mut legal = reading(3);
    legal.begin();
    // Without a limit, as nobody knows yet whether this server would give the first or the last ones.
    assert_eq!(legal.answer(200, old([7])), "after_sequence=2");
    assert_eq!(legal.answer(200, old([3, 7])), "after_sequence=6&limit=1000");
    assert_eq!(legal.answer(200, old([7])), "well");
    assert_eq!(legal.told(), "passed 3, 6, end");
    // It is gone: so are those that followed it.
    let mut archived = reading(3);
    archived.begin();
    archived.answer(200, old([7]));
    assert_eq!(archived.answer(200, old([7])), "after_sequence=6&limit=1000");
    assert_eq!(archived.told(), "lost 3..6");
    // What was missing has become visible.
    let mut late = reading(3);
    late.begin();
    late.answer(200, old([7]));
    assert_eq!(late.answer(200, old([3, 5, 7])), "after_sequence=7&limit=1000");
    assert_eq!(late.told(), "passed 3, 4, passed 5, 6");
}

#[test]
fn a_stream_whose_head_is_gone_has_lost_it() {
    let mut reading = reading(0);
    reading.begin();
    assert_eq!(reading.answer(200, old(11..=12)), "after_sequence=10&limit=1000");
    reading.answer(200, old(11..=12));
    assert_eq!(reading.told(), "lost 0..10, 10, 11, end");
}

#[test]
fn a_page_that_is_too_large_is_asked_for_in_pieces() {
    let mut reading = reading(0);
    reading.begin();
    assert_eq!(reading.too_large(), "after_sequence=0&limit=250");
    assert_eq!(reading.too_large(), "after_sequence=0&limit=62");
    // They are small after all, so pages grow again, for the readings after this one, too.
    assert_eq!(reading.answer(200, old(1..=62)), "after_sequence=62&limit=124");
    assert_eq!(reading.learnt.events_limit(), 124);
}

#[test]
fn a_single_event_that_is_too_large_is_given_up() {
    let mut reading = reading(4);
    reading.begin();
    for limit in [250, 62, 15, 3, 1] {
        assert_eq!(reading.too_large(), format!("after_sequence=4&limit={limit}"));
    }
    // It may be a prompt, which can be left out; if not, it is lost.
    assert_eq!(reading.too_large(), "after_sequence=4&limit=1&exclude=llm.generation");
    assert_eq!(reading.too_large(), "after_sequence=5&limit=1&exclude=llm.generation");
    assert_eq!(reading.told(), "lost 4..5");
    // A second one right after it may mean that the server always answers so.
    assert!(reading.too_large().contains("TooLarge"));
    assert_eq!(reading.told(), "lost 4..5");
}

#[test]
fn a_prompt_that_is_too_large_is_left_out_alone() {
    let mut reading = reading(4);
    reading.learnt.set_paging(Paging::Forward);
    reading.begin();
    for _ in 0..5 {
        reading.too_large();
    }
    assert_eq!(reading.too_large(), "after_sequence=4&limit=1&exclude=llm.generation");
    assert_eq!(reading.answer(200, old([6])), "after_sequence=6&limit=2");
    assert_eq!(reading.told(), "passed 4, 5");
}

#[test]
fn a_page_for_people_deletes_nothing() {
    let mut reading = reading(3);
    reading.begin();
    assert_eq!(reading.answer(404, "<html>default backend</html>".to_owned()), "Done(Failed(Status(404)))");
    assert_eq!(reading.told(), "");
}

#[test]
fn where_there_are_no_pages_answers_are_made_smaller_by_what_is_left_out() {
    let mut reading = reading(0);
    reading.learnt.set_paging(Paging::ById);
    assert_eq!(reading.begin(), "");
    assert_eq!(reading.too_large(), "exclude=llm.generation");
    assert!(reading.too_large().contains("TooLarge"), "there is nothing else to leave out");
}

#[test]
fn the_numbers_of_model_calls_that_are_not_wanted_are_passed() {
    let mut reading = reading_with(Due::new(SessionId::new("s"), 3), true);
    assert_eq!(reading.begin(), "after_sequence=3&limit=1000&exclude=llm.generation");
    assert_eq!(reading.answer(200, old([5, 6])), "well");
    assert_eq!(reading.told(), "passed 3, 4, 5, end");
}

#[test]
fn a_deleted_session_is_gone() {
    let mut reading = reading(3);
    reading.begin();
    assert_eq!(reading.answer(404, String::new()), "well");
    assert_eq!(reading.told(), "gone");
}
