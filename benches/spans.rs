//! Spans: folded from facts, turned into messages, and both together, per span.

mod support;

use agent_session_exporter::projection::{Snapshot, State, TraceSpan};
use agent_session_exporter::views::otlp::{Sender, traces};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use std::hint::black_box;

use agent_session_exporter::domain::Report;

/// Spans in a message, as the default has it.
const BATCH: usize = 512;

/// A state that tells spans.
fn traced() -> State {
    let (mut state, source) = support::state();
    state.trace(source, true);
    state
}

fn fold(mut state: State, reports: &[Report]) -> (State, Vec<TraceSpan>) {
    let mut spans = Vec::new();
    for report in reports {
        support::take_in(&mut state, report);
        spans.extend_from_slice(&state.pending().spans);
        state.committed();
    }
    (state, spans)
}

fn encode(snapshot: &Snapshot, spans: &[TraceSpan]) -> usize {
    let sender = Sender { attributes: vec![("service.name".into(), "agent-session-exporter".into())] };
    let encoded = spans.chunks(BATCH).map(|batch| traces(snapshot, batch, &sender).encode_to_vec().len());
    encoded.sum()
}

fn spans(c: &mut Criterion) {
    let simulator = support::simulator(support::history(200, 30));
    let (mut state, source) = support::state();
    let reports = support::reports(&simulator, &mut state, source);
    let (state, spans) = fold(traced(), &reports);
    let snapshot = state.snapshot();
    let bytes = encode(&snapshot, &spans);
    println!("{} spans, {} bytes each on the wire", spans.len(), bytes / spans.len());

    let mut group = c.benchmark_group("spans");
    group.throughput(Throughput::Elements(spans.len() as u64));
    group.bench_function("facts folded without spans", |b| {
        b.iter_batched(|| support::state().0, |state| black_box(fold(state, &reports)), BatchSize::LargeInput);
    });
    group.bench_function("facts folded with spans", |b| {
        b.iter_batched(traced, |state| black_box(fold(state, &reports)), BatchSize::LargeInput);
    });
    group.bench_function("spans to messages", |b| b.iter(|| black_box(encode(&snapshot, &spans))));
    group.bench_function("facts to messages", |b| {
        b.iter_batched(
            traced,
            |state| {
                let (state, spans) = fold(state, &reports);
                black_box(encode(&state.snapshot(), &spans))
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, spans);
criterion_main!(benches);
