//! How fast reports become totals in memory: interning names, dropping what is known, folding; no journal.

mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use support::{events, history, reports, simulator, state, take_in};

fn fold(c: &mut Criterion) {
    let simulator = simulator(history(50, 400));
    let (mut whole, source) = state();
    let reports = reports(&simulator, &mut whole, source);
    let count: u64 = reports.iter().map(events).sum();
    println!("{count} events in {} reports", reports.len());

    let mut group = c.benchmark_group("fold");
    group.throughput(Throughput::Elements(count));
    group.sample_size(20);
    group.bench_function("pages", |b| {
        b.iter_batched(
            || state().0,
            |mut state| {
                for report in &reports {
                    take_in(&mut state, report);
                    state.committed();
                }
                state
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, fold);
criterion_main!(benches);
