//! Whatever a platform answers, decoders do not panic, one bad part costs only itself, and every job comes to an end.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use agent_session_exporter::domain::{Event, Fact};
use agent_session_exporter::ingest::platforms::hcompany;
use smol_str::SmolStr;

use crate::support::fixtures::{Fixture, Kind, RECEIVED, decoded, fixtures, page_of};

/// Every decoder over the same body; what they say does not matter here.
fn decode_as_everything(body: &Bytes) {
    for kind in Kind::ALL {
        let _ = decoded(kind, body);
    }
}

/// A few hundred places of a body: all of a short one.
fn places(body: &[u8]) -> impl Iterator<Item = usize> {
    (0..body.len()).step_by(body.len() / 200 + 1)
}

/// That a page holds as many facts as events, and a list accounts for all of its rows. Bodies that another parser
/// refuses are left out: there is nobody to tell their length.
fn assert_complete(kind: Kind, body: &Bytes) {
    let Ok(Value::Object(document)) = serde_json::from_slice(body) else { return };
    let parts = |key: &str| document.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    match kind {
        Kind::Events => {
            if let Ok((events, _)) = hcompany::history(body, RECEIVED) {
                assert_eq!(events.len(), parts("items"), "{body:?}");
            }
        }
        Kind::Changes => {
            if let Ok(page) = hcompany::changes(body, RECEIVED) {
                assert_eq!(page.events.len(), parts("new_events"), "{body:?}");
            }
        }
        Kind::List => {
            if let Ok(page) = hcompany::list(body) {
                assert_eq!(page.len, parts("items"), "{body:?}");
                assert_eq!(page.rows.len() + page.undecoded, page.len, "{body:?}");
            }
        }
        _ => {}
    }
}

#[test]
fn documents_cut_off_anywhere_are_refused() {
    for fixture in fixtures() {
        for cut in places(&fixture.body) {
            let body = fixture.body.slice(..cut);
            decode_as_everything(&body);
            let is_blank = fixture.body[cut..].iter().all(u8::is_ascii_whitespace);
            if !matches!(fixture.kind, Kind::Problem | Kind::Foreign) && !is_blank {
                assert!(decoded(fixture.kind, &body).is_err(), "{} cut at {cut}", fixture.name);
            }
        }
    }
}

#[test]
fn flipped_bytes_cost_no_position() {
    for fixture in fixtures() {
        for place in places(&fixture.body) {
            for flip in [0x01, 0x20, 0xff] {
                let mut body = fixture.body.to_vec();
                body[place] ^= flip;
                let body = Bytes::from(body);
                let _ = decoded(fixture.kind, &body);
                assert_complete(fixture.kind, &body);
            }
        }
    }
}

const REPLACEMENTS: &[&str] = &[
    "null",
    "true",
    "0",
    "-5",
    "1e999",
    "-0.0",
    "18446744073709551616",
    "1.5",
    "\"\"",
    "\"text\"",
    "\"1\"",
    "[]",
    "[1]",
    "{}",
    "[[[]]]",
    "\"\\ud800\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999Z\"",
];

/// The document with each of its values in turn replaced by each replacement. The replacement goes in as text, since
/// most of them are nothing that a value could hold.
fn swapped(document: &Value) -> Vec<Bytes> {
    const PLACE: &str = "here it goes";
    let mut bodies = Vec::new();
    let mut paths = Vec::new();
    collect(document, String::new(), &mut paths);
    // Of a long document every so many: its parts are alike.
    let step = paths.len() / 60 + 1;
    for path in paths.into_iter().step_by(step) {
        let mut changed = document.clone();
        *changed.pointer_mut(&path).expect("the path was just found") = Value::from(PLACE);
        let text = changed.to_string();
        for replacement in REPLACEMENTS {
            bodies.push(text.replacen(&format!("\"{PLACE}\""), replacement, 1).into());
        }
    }
    bodies
}

fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, field)| collect(field, format!("{path}/{}", name.replace('/', "~1")), paths));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| collect(item, format!("{path}/{index}"), paths));
        }
        _ => {}
    }
    paths.push(path);
}

#[test]
fn swapped_types_and_absurd_numbers_cost_only_their_own_part() {
    for fixture in fixtures() {
        let document: Value = serde_json::from_slice(&fixture.body).unwrap();
        for body in swapped(&document) {
            let _ = decoded(fixture.kind, &body);
            assert_complete(fixture.kind, &body);
        }
    }
}

/// Events that are wrong in every way, each valid JSON or at least skippable.
const BAD_EVENTS: &[&str] = &[
    "null",
    "7",
    "\"event\"",
    "[]",
    "{}",
    "1e999",
    "-5",
    "18446744073709551616",
    r#"{"type":null,"timestamp":null,"data":null}"#,
    r#"{"type":7,"timestamp":7,"data":7}"#,
    r#"{"type":"AgentEvent","type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z"}"#,
    r#"{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z"}"#,
    r#"{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":null}"#,
    r#"{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":[]}"#,
    r#"{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":{"kind":"tool_result"}}"#,
    r#"{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":{"event":{"event":{"event":{"kind":"tool_result"}}}}}"#,
    r#"{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":{"kind":"policy_event","tool_reqs":[{"tool_name":7}]}}"#,
    r#"{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":{"kind":"policy_event","tool_reqs":[{"tool_name":"\ud800"}]}}"#,
    r#"{"type":"AgentCompletionEvent","timestamp":"2026-11-20T14:30:00Z","data":{"reason":7}}"#,
    r#"{"type":"AgentCompletionEvent","timestamp":"yesterday","data":{"reason":"finished"}}"#,
    r#"{"type":"MetricsUpdateEvent","timestamp":"2026-11-20T14:30:00Z","data":{"metrics":{"steps":-1}}}"#,
    r#"{"type":"MetricsUpdateEvent","timestamp":"2026-11-20T14:30:00Z","data":{"metrics":{"steps":1e999}}}"#,
    r#"{"type":"MetricsUpdateEvent","timestamp":"2026-11-20T14:30:00Z","data":{"metrics":{"cost_per_model":[{"name":"m","input_tokens":18446744073709551616}]}}}"#,
];

/// One that is right, and its fact.
const GOOD_EVENT: &str =
    r#"{"type":"AgentCompletionEvent","timestamp":"2026-11-20T14:30:22Z","data":{"reason":"finished"}}"#;

fn is_good(event: &Event<SmolStr>) -> bool {
    matches!(event.fact, Fact::StreamEnded(_)) && event.at.to_string() == "2026-11-20T14:30:22Z"
}

#[test]
fn one_bad_event_never_loses_its_page() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep_data = format!(
        r#"{{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":{{"kind":"tool_result","result":{deep},"tool_req":{{"tool_name":"t"}}}}}}"#
    );
    for bad in BAD_EVENTS.iter().copied().chain([deep.as_str(), &deep_data]) {
        let events = [GOOD_EVENT, bad, GOOD_EVENT].map(str::as_bytes);
        let (events, _) =
            hcompany::history(&page_of(events), RECEIVED).unwrap_or_else(|error| panic!("{error}: {bad:.80}"));
        assert_eq!(events.iter().map(is_good).collect::<Vec<_>>(), [true, false, true], "{bad:.80}");
        let body = format!(r#"{{"status":"running","new_events":[{GOOD_EVENT},{bad},{GOOD_EVENT}]}}"#);
        let page = hcompany::changes(&body.into(), RECEIVED).unwrap_or_else(|error| panic!("{error}: {bad:.80}"));
        assert_eq!(page.events.iter().map(is_good).collect::<Vec<_>>(), [true, false, true], "{bad:.80}");
    }
}

#[test]
fn what_is_deep_inside_an_event_is_skipped() {
    let deep = format!("{}1{}", r#"{"a":["#.repeat(20_000), "]}".repeat(20_000));
    let event = format!(
        r#"{{"type":"AgentEvent","timestamp":"2026-11-20T14:30:00Z","data":{{"result":{deep},"kind":"tool_result","tool_req":{{"args":{deep},"tool_name":"t"}}}}}}"#
    );
    let (events, _) = hcompany::history(&page_of([event.as_bytes()]), RECEIVED).unwrap();
    assert!(matches!(events[0].fact, Fact::ToolEnded { .. }), "{:?}", events[0].fact);
}

#[test]
fn an_event_without_a_time_takes_the_one_before_it() {
    let events = [BAD_EVENTS[0], GOOD_EVENT, BAD_EVENTS[8]].map(str::as_bytes);
    let (events, _) = hcompany::history(&page_of(events), RECEIVED).unwrap();
    assert_eq!([events[0].at, events[2].at], [RECEIVED, events[1].at]);
}

#[test]
fn one_bad_row_never_loses_its_list() {
    let list: Fixture = fixtures().into_iter().find(|fixture| fixture.name == "sessions-page1").unwrap();
    let mut page: Value = serde_json::from_slice(&list.body).unwrap();
    let rows = page["items"].as_array_mut().unwrap();
    let wrong = [Value::Null, Value::from(7), serde_json::json!({}), serde_json::json!({"id": 7, "status": "idle"})];
    for (nth, wrong) in wrong.into_iter().enumerate() {
        rows.insert(nth * 2, wrong);
    }
    let mut undated = rows[1].clone();
    undated["created_at"] = "yesterday".into();
    rows.push(undated);
    let mut unknown = rows[1].clone();
    unknown["status"] = "dreaming".into();
    unknown["finished_at"] = Value::from("never");
    rows.push(unknown);
    let page = hcompany::list(&page.to_string().into()).unwrap();
    assert_eq!((page.rows.len(), page.undecoded, page.len), (11, 5, 16));
    assert_eq!(page.rows[10].sighting.status.as_str(), "other");
    assert_eq!(page.rows[10].sighting.finished_at, None);
}

#[test]
fn one_bad_model_or_child_never_hides_an_end() {
    let body = r#"{"status":"failed","error_code":"brand_new","outcome":"dreamt","steps":3,"usage_per_model":[7,{"name":null},{"name":"m","input_tokens":-1},{"name":"good","input_tokens":5}],"subagent_session_ids":[7,null,"child"]}"#;
    let page = hcompany::status_document(&body.into()).unwrap();
    let ending = page.ending.unwrap();
    assert_eq!(
        (ending.error.as_deref(), ending.verdict.map(|verdict| verdict.as_str())),
        (Some("other"), Some("other"))
    );
    let Fact::Totals { models, .. } = page.totals else { panic!("totals") };
    assert_eq!(models.iter().map(|row| row.model.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(page.children.len(), 1);
}

#[test]
fn what_is_no_document_at_all_is_refused() {
    let bodies: [&[u8]; 9] = [
        b"",
        b" ",
        b"null",
        b"[]",
        b"\xff\xfe{}",
        b"\x00",
        b"<html><body>502 Bad Gateway</body></html>",
        b"Internal Server Error",
        b"\xef\xbb\xbf{}",
    ];
    for body in bodies.map(Bytes::from_static) {
        for kind in Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Problem | Kind::Foreign)) {
            assert!(decoded(kind, &body).is_err(), "{kind:?} {body:?}");
        }
        assert_eq!(hcompany::complaint(&body), None);
    }
}

#[test]
fn what_the_server_objects_to_is_read_from_every_envelope() {
    for (body, about) in [
        (r#"{"message":"query.size: too large","detail":[]}"#, Some("size")),
        (r#"{"detail":[{"loc":["query","status",0],"msg":"m","type":"enum"}]}"#, Some("status")),
        (r#"{"detail":[{"loc":["query","created_after"]}]}"#, Some("created_after")),
        (r#"{"detail":"size"}"#, None),
        (r#"{"detail":[{"loc":"size"}],"message":"m"}"#, None),
        (r#"{"detail":[7],"message":"query.finished_after: no"}"#, Some("finished_after")),
        (r#"{"message":7}"#, None),
    ] {
        assert_eq!(hcompany::complaint(body.as_bytes()), about, "{body}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_as_everything(&bytes.into());
    }

    #[test]
    fn arbitrary_events_between_good_ones_cost_no_position(
        events in proptest::collection::vec(prop_oneof![json(), proptest::sample::select(BAD_EVENTS).prop_map(String::from)], 0..6),
    ) {
        let count = events.len();
        let (facts, _) = hcompany::history(&page_of(events.iter().map(String::as_bytes)), RECEIVED).unwrap();
        prop_assert_eq!(facts.len(), count);
    }
}

/// Some JSON, with the keys that events have.
fn json() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(REPLACEMENTS).prop_map(String::from);
    let keys =
        ["type", "timestamp", "data", "kind", "event", "tool_req", "tool_reqs", "tool_name", "id", "metrics", "steps"];
    let key = proptest::sample::select(keys.to_vec());
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let object = proptest::collection::vec((key.clone(), inner.clone()), 0..5).prop_map(|fields| {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", fields.join(","))
        });
        prop_oneof![object, proptest::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(",")))]
    })
}
