//! What recorded streams look like as traces, drawn as trees that can be read by eye.

use std::collections::BTreeMap;

use agent_session_exporter::domain::{
    Event, Fact, Item, Mark, Report, Row, SessionId, Sighting, SourceIx, Status, Timestamp,
};
use agent_session_exporter::ingest::platforms::{Descriptor, everruns, hcompany};
use agent_session_exporter::projection::{LabelPolicy, Origin, SourceRecord, State};
use agent_session_exporter::views::otlp::{Sender, traces};
use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use smol_str::SmolStr;

use crate::support::documents::{Kind, documents};
use crate::support::fixtures::{self, RECEIVED};

/// Reads the events of one session into spans.
fn spans(
    platform: &'static Descriptor,
    id: &str,
    events: Vec<Event<SmolStr>>,
    beside: Vec<Event<SmolStr>>,
) -> Vec<Span> {
    let mut state = State::new(LabelPolicy::default(), []);
    let source = state.add_source(SourceRecord {
        name: "prod".into(),
        platform: platform.name.into(),
        account: "recorded".into(),
        key_print: 0,
        count_from: Timestamp::default(),
        origin: Origin {
            server: "platform.example".into(),
            turn_attribute: platform.capabilities.turn_names.map_or("", |names| names.attribute).into(),
            turn_prefix: platform.capabilities.turn_names.map_or("", |names| names.prefix).into(),
        },
    });
    state.attach(source, platform.capabilities, None);
    state.trace(source, true);
    let created_at = events.first().map_or(RECEIVED, |event| event.at);
    let id = SessionId::new(id);
    let sighting = Sighting { status: Status::Pending, since: created_at, started_at: None, finished_at: None };
    let row = Row::new(id.clone(), "helper".into(), created_at, sighting, Mark(1));
    let beside = Item::Beside { id: id.clone(), events: beside };
    let items = vec![Item::Row(row), Item::page(id, 0, events), beside];
    let report = Report { source: SourceIx(0), asked_at: RECEIVED, received_at: RECEIVED, items };
    state.take_in(&report, &|_| Err("none is settled".to_owned())).expect("it is whole");
    let message = traces(&state.snapshot(), &state.pending().spans, &Sender::default());
    let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn value(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        Value::ArrayValue(list) => {
            let values = list.values.iter().map(|it| it.value.as_ref().map_or_else(String::new, self::value));
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn attributes(all: &[KeyValue]) -> String {
    let known = |pair: &&KeyValue| !["source", "platform", "gen_ai.agent.name"].contains(&pair.key.as_str());
    let text = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|it| it.value.as_ref()).map_or_else(String::new, value);
        format!("{}={value}", pair.key)
    };
    all.iter().filter(known).map(text).collect::<Vec<_>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One tree per trace, children in the order in which they began; what was told first is told first of equals.
fn drawn(spans: &[Span]) -> String {
    let mut text = String::new();
    let mut by_trace: BTreeMap<u64, Vec<&Span>> = BTreeMap::new();
    let began = |trace: &[u8]| {
        let of_it = spans.iter().filter(|span| span.trace_id == trace);
        of_it.map(|span| span.start_time_unix_nano).min().unwrap_or_default()
    };
    for span in spans {
        by_trace.entry(began(&span.trace_id)).or_default().push(span);
    }
    for (zero, trace) in by_trace {
        text.push_str(&format!("trace {}\n", hex(&trace[0].trace_id)));
        let is_told = |id: &[u8]| trace.iter().any(|span| span.span_id == id);
        let roots = trace.iter().filter(|span| !is_told(&span.parent_span_id));
        for root in roots {
            draw(root, &trace, zero, 1, &mut text);
        }
    }
    text
}

fn draw(span: &Span, trace: &[&Span], zero: u64, depth: usize, text: &mut String) {
    let millis = |nanos: u64| nanos.saturating_sub(zero) as f64 / 1e6;
    let (from, to) = (millis(span.start_time_unix_nano), millis(span.end_time_unix_nano));
    let failed = if span.status.is_some() { " ERROR" } else { "" };
    let (indent, id) = ("  ".repeat(depth), hex(&span.span_id));
    let kind = span.kind().as_str_name().trim_start_matches("SPAN_KIND_");
    text.push_str(&format!("{indent}{} ({kind}) {from:.1}..{to:.1} ms{failed}  {id}\n", span.name));
    text.push_str(&format!("{indent}    {}\n", attributes(&span.attributes)));
    for event in &span.events {
        let (at, said) = (millis(event.time_unix_nano), attributes(&event.attributes));
        text.push_str(&format!("{indent}    * {at:.1} {} {said}\n", event.name));
    }
    for link in &span.links {
        text.push_str(&format!("{indent}    -> {} {}\n", hex(&link.trace_id), attributes(&link.attributes)));
    }
    let mut children: Vec<&&Span> = trace.iter().filter(|child| child.parent_span_id == span.span_id).collect();
    children.sort_by_key(|child| child.start_time_unix_nano);
    for child in children {
        draw(child, trace, zero, depth + 1, text);
    }
}

fn of_everruns(body: &Bytes) -> String {
    let page: serde_json::Value = serde_json::from_slice(body).unwrap();
    let id = page["data"][0]["session_id"].as_str().unwrap().to_owned();
    let (placed, _) = everruns::events(body, RECEIVED).unwrap();
    let mut events = Vec::new();
    let mut next = 0;
    for placed in placed {
        if placed.position > next {
            events.push(Event { at: placed.event.at, fact: Fact::Passed(placed.position - next) });
        }
        next = placed.position + 1;
        events.push(placed.event);
    }
    drawn(&spans(&everruns::DESCRIPTOR, &id, events, Vec::new()))
}

#[test]
fn everruns_streams_as_traces() {
    const TOLD: [(&str, &str); 9] = [
        ("serve-0.50.1", "events_openai_tools"),
        ("serve-0.50.1", "events_openai_two_turns"),
        ("serve-0.50.1", "events_openai_fail429"),
        ("serve-0.50.1", "events_cancelled_in_tool"),
        ("serve-0.50.1", "events_crash_resume"),
        ("serve-0.50.1", "events_waiting_approval"),
        ("serve-0.50.1", "events_steer"),
        ("v0.3.0-server", "events_tool2_parallel"),
        ("v0.3.0-server", "events_fail429"),
    ];
    let documents = documents();
    for (folder, name) in TOLD {
        let of_it = |it: &&crate::support::documents::Document| it.folder == folder && it.name == name;
        let document = documents.iter().find(of_it).expect("it is there");
        assert_eq!(document.kind, Kind::Events);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("trace__{folder}__{name}"), of_everruns(&document.body));
        });
    }
}

#[test]
fn a_stream_of_h_as_a_trace() {
    let fixtures = fixtures::fixtures();
    let body = |name: &str| &fixtures.iter().find(|fixture| fixture.name == name).expect("it is there").body;
    let (events, _) = hcompany::history(body("events-full"), RECEIVED).unwrap();
    let page = hcompany::session_document(body("session-completed")).unwrap();
    let over = events.last().expect("there are some").at;
    let ending = page.ending.expect("it has ended");
    let beside = vec![Event { at: over, fact: page.totals }, Event { at: over, fact: Fact::Ended(ending) }];
    let text = drawn(&spans(&hcompany::DESCRIPTOR, "a1b2c3d4-e5f6-4890-abcd-000000000001", events, beside));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("trace__hcompany__events-full", text);
    });
}
