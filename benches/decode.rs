//! How fast bodies become facts: pages of 200 events, small and with bulky observations, and one event of 5 MB.

mod support;

use std::hint::black_box;

use agent_session_exporter::ingest::platforms::hcompany::{changes, list};
use agent_session_exporter::simulator::SimulateOptions;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use support::{NOW, get, history, simulator};

const EVENTS: usize = 200;

/// The first 200 events of one session.
fn page(observation_bytes: usize) -> Bytes {
    let options = SimulateOptions { bulk_observation_bytes: observation_bytes, ..history(1, 200) };
    let simulator = simulator(options);
    let (_, body) = get(&simulator, "/api/v2/sessions", &[("sort", "created_at".to_owned())]);
    let session = list(&body).expect("the simulator lists sessions").rows.remove(0);
    let (status, body) =
        get(&simulator, &format!("/api/v2/sessions/{}/changes", session.id), &[("limit", EVENTS.to_string())]);
    assert_eq!(status, 200);
    body
}

/// A page of one observation, whose text is repeated until it has this size.
fn large_page(bytes: usize) -> Bytes {
    let mut document: Value = serde_json::from_slice(&page(100_000)).expect("the simulator writes JSON");
    let events = document["new_events"].as_array_mut().expect("a list");
    events.retain(|event| event["data"]["kind"] == "observation_event");
    events.truncate(1);
    lengthen(&mut events[0], bytes);
    serde_json::to_vec(&document).expect("it was read from JSON").into()
}

fn lengthen(value: &mut Value, bytes: usize) {
    match value {
        Value::String(text) if text.len() > 10_000 => *text = text.repeat(bytes / text.len()),
        Value::Array(values) => values.iter_mut().for_each(|value| lengthen(value, bytes)),
        Value::Object(values) => values.values_mut().for_each(|value| lengthen(value, bytes)),
        _ => {}
    }
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, body, events) in [
        ("200 small events", page(160), EVENTS),
        ("200 events, observations of 12 KB", page(12_000), EVENTS),
        ("one event of 5 MB", large_page(5 << 20), 1),
    ] {
        assert_eq!(changes(&body, NOW).expect("the simulator writes pages").events.len(), events);
        group.throughput(Throughput::ElementsAndBytes { elements: events as u64, bytes: body.len() as u64 });
        group.bench_function(name, |b| b.iter(|| black_box(changes(&body, NOW))));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(std::time::Duration::from_secs(3));
    targets = decode
}
criterion_main!(benches);
