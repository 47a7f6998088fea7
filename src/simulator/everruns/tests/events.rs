//! Events: cursors, limits and filters of each generation, gaps, late events, retention.

use std::collections::BTreeSet;

use super::{Dialect, END, EverrunsOptions, SimulateOptions, World, array, ask, busy, events, find, get, kinds};
use super::{seconds, sequences, sessions, small, speaking, text, world};

/// A world of this dialect and a long stream in it.
fn long(dialect: Dialect) -> (World, String, Vec<serde_json::Value>) {
    let world = world(speaking(dialect));
    let (_, path) = find(&world, |_, events| events.len() > 60);
    let stream = events(&world, END, &path);
    (world, path, stream)
}

#[test]
fn numbers_ascend_from_one_with_gaps() {
    let world = world(busy());
    let mut gaps = 0;
    for (_, path) in sessions(&world, END) {
        let numbers = sequences(&events(&world, END, &path));
        assert!(numbers.is_sorted_by(|one, next| one < next));
        gaps += numbers.last().map_or(0, |last| *last as usize - numbers.len());
    }
    assert!(gaps > 20, "{gaps}");
}

#[test]
fn the_plain_path_forgets_its_cursor_when_it_has_a_limit() {
    for dialect in [Dialect::D3, Dialect::D4] {
        let (world, path, stream) = long(dialect);
        let numbers = sequences(&stream);
        let tenth = text(&stream[9]["id"]);
        assert_eq!(sequences(&events(&world, END, &format!("{path}?since_id={tenth}"))), numbers[10..]);
        let newest = events(&world, END, &format!("{path}?since_id={tenth}&limit=5"));
        assert_eq!(sequences(&newest), numbers[numbers.len() - 5..]);
        let response = ask(&world, END, &format!("{path}?limit=5&exclude=llm.generation"));
        let excluded = kinds(&stream).iter().filter(|kind| **kind == "llm.generation").count();
        assert_eq!(response.header("x-total-count"), Some((numbers.len() - excluded).to_string().as_str()));
        assert_eq!(ask(&world, END, &path).header("x-total-count"), None);
        assert_eq!(ask(&world, END, &format!("{path}?before_sequence=20")).status, 400);
        let page = events(&world, END, &format!("{path}?before_sequence={}&limit=3", numbers[20]));
        assert_eq!((page[0]["type"].as_str(), sequences(&page).last()), (Some("turn.started"), Some(&numbers[19])));
    }
}

#[test]
fn forward_pages_follow_the_sequence() {
    let (world, path, stream) = long(Dialect::D4);
    let numbers = sequences(&stream);
    let mut read = Vec::new();
    loop {
        let after = read.last().copied().unwrap_or(0);
        let page = sequences(&events(&world, END, &format!("{path}?after_sequence={after}&limit=7")));
        read.extend_from_slice(&page);
        if page.len() < 7 {
            break;
        }
    }
    assert_eq!(read, numbers);
    let wanted = events(&world, END, &format!("{path}?after_sequence=5&types=turn.started&types=session.idled"));
    assert!(!wanted.is_empty() && kinds(&wanted).iter().all(|kind| ["turn.started", "session.idled"].contains(kind)));
    let first = text(&stream[0]["id"]);
    for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "after_sequence=x", "types=nonsense", "exclude=a,b"] {
        assert_eq!(ask(&world, END, &format!("{path}?{bad}")).status, 400, "{bad}");
    }
    assert_eq!(ask(&world, END, &format!("{path}?after_sequence=1&since_id={first}")).status, 400);
    assert_eq!(ask(&world, END, &format!("{path}?after_sequence=1&before_sequence=9")).status, 400);
}

#[test]
fn the_single_binary_keeps_the_last_ones() {
    let (world, path, stream) = long(Dialect::Serve);
    let numbers = sequences(&stream);
    let after = numbers[9];
    assert_eq!(sequences(&events(&world, END, &format!("{path}?after_sequence={after}"))), numbers[10..]);
    let page = sequences(&events(&world, END, &format!("{path}?after_sequence={after}&limit=5")));
    assert_eq!(page, numbers[numbers.len() - 5..]);
    assert!(events(&world, END, &format!("{path}?types=nonsense")).is_empty());
    let (_, other) = find(&world, |_, events| events.len() > 5 && events[0]["id"] != stream[0]["id"]);
    let foreign = text(&events(&world, END, &other)[0]["id"]);
    for cursor in [foreign.as_str(), "zzz"] {
        assert_eq!(ask(&world, END, &format!("{path}?since_id={cursor}")).status, 400);
    }
}

#[test]
fn unknown_cursors_are_empty_for_ever_on_servers() {
    for dialect in [Dialect::D1, Dialect::D2, Dialect::D3, Dialect::D4] {
        let (world, path, _) = long(dialect);
        assert!(events(&world, END, &format!("{path}?since_id=event_01933b5a00007000800000000000dead")).is_empty());
        assert!(events(&world, END, &format!("{path}?since_id=zzz")).is_empty());
    }
    let (world, path, _) = long(Dialect::D0);
    assert_eq!(ask(&world, END, &format!("{path}?since_id=zzz")).status, 400);
}

#[test]
fn older_servers_know_only_the_id_of_an_event() {
    for dialect in [Dialect::D0, Dialect::D1, Dialect::D2] {
        let (world, path, stream) = long(dialect);
        let numbers = sequences(&stream);
        let all = sequences(&events(&world, END, &format!("{path}?after_sequence=30&limit=5")));
        assert_eq!(all, numbers);
        let tenth = text(&stream[9]["id"]);
        assert_eq!(sequences(&events(&world, END, &format!("{path}?since_id={tenth}"))), numbers[10..]);
        let filtered = events(&world, END, &format!("{path}?exclude=reason.started&exclude=nonsense"));
        assert_eq!(filtered.len() < stream.len(), dialect == Dialect::D2);
    }
}

#[test]
fn long_answers_are_capped_silently() {
    for (dialect, capped) in [(Dialect::D1, false), (Dialect::D2, true), (Dialect::D4, true), (Dialect::Serve, false)] {
        let everruns = EverrunsOptions { event_cap: 25, ..small() };
        let world = world(SimulateOptions { everruns, sessions: 20, ..speaking(dialect) });
        let longest = sessions(&world, END).iter().map(|(_, path)| events(&world, END, path).len()).max();
        assert_eq!(longest == Some(25), capped, "{dialect:?} {longest:?}");
    }
}

#[test]
fn late_events_appear_between_those_already_read() {
    let everruns = EverrunsOptions { late_rate: 0.2, gap_rate: 0.0, ..small() };
    let world = world(SimulateOptions { everruns, speed: 1.0, sessions: 5, history: 0, ..busy() });
    let (row, path) = find(&world, |_, events| events.len() > 40);
    let mut holes = 0;
    let mut seen = BTreeSet::new();
    for step in 0..480 {
        let now = seconds(f64::from(step) * 0.25);
        if ask(&world, now, &format!("/v1/sessions/{}", text(&row["id"]))).status != 200 {
            continue;
        }
        let numbers = sequences(&events(&world, now, &path));
        let before = seen.last().copied().unwrap_or(0);
        holes += numbers.iter().filter(|number| !seen.contains(*number) && **number < before).count();
        seen.extend(numbers);
    }
    assert!(holes > 3, "{holes}");
    let complete = sequences(&events(&world, END, &path));
    assert_eq!(complete, (1..=complete.len() as i64).collect::<Vec<_>>());
}

#[test]
fn old_events_vanish_with_their_cursors() {
    let everruns = EverrunsOptions { retention: 5.0, ..small() };
    let options = SimulateOptions { everruns, ..busy() };
    let (keeping, forgetting) = (world(busy()), world(options));
    let now = seconds(9.0);
    let mut cut = 0;
    for (row, path) in sessions(&forgetting, now) {
        let (whole, rest) = (events(&keeping, now, &path), events(&forgetting, now, &path));
        assert!(whole.ends_with(&rest));
        assert_eq!(row["event_count"].as_u64().unwrap_or(0), rest.len() as u64);
        if !rest.is_empty() && rest.len() < whole.len() {
            cut += 1;
            let gone = text(&whole[0]["id"]);
            assert!(events(&forgetting, now, &format!("{path}?since_id={gone}")).is_empty());
            let after = sequences(&whole)[0];
            assert_eq!(events(&forgetting, now, &format!("{path}?after_sequence={after}")), rest);
        }
    }
    assert!(cut > 3, "{cut}");
    assert!(sessions(&forgetting, END).iter().all(|(_, path)| events(&forgetting, END, path).is_empty()));
}

#[test]
fn summaries_count_what_is_there() {
    let (world, path, stream) = long(Dialect::D3);
    let summary = get(&world, END, &format!("{path}/summary"));
    assert_eq!(summary["total"], stream.len());
    let types: u64 = array(&summary["by_type"]).iter().map(|kind| kind["count"].as_u64().unwrap()).sum();
    assert_eq!(types, stream.len() as u64);
    assert_eq!(ask(&super::world(speaking(Dialect::D2)), END, &format!("{path}/summary")).status, 404);
}
