//! How long a scrape takes: rendering 10,000 and 100,000 series in all formats, and compressing them.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;

use agent_session_exporter::domain::{SourceIx, Span, Timestamp};
use agent_session_exporter::projection::{Families, LabelPolicy, Metric, Names, SeriesKey, Snapshot, SourceView};
use agent_session_exporter::views::prometheus::{Exposition, Format, Hold};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::GzEncoder;

const NOW: Timestamp = Timestamp::from_micros(1_795_185_000_000_000);

/// So many series as Prometheus counts them (every bucket is one): a hundredth of them are histograms, which with
/// their 15 lines each make up a seventh of all lines, and have ten exponential buckets; the rest are counters.
fn snapshot(series: usize) -> Snapshot {
    const BORN: Timestamp = Timestamp::from_micros(0);
    let mut names = Names::new(LabelPolicy::default());
    let mut families = Families::new(usize::MAX);
    let agents: Vec<_> = (0..100).map(|i| names.foreign(&format!("h/web-surfer-{i}"))).collect();
    let models: Vec<_> = (0..1000).map(|i| names.foreign(&format!("holo-{i}-35b-a3b"))).collect();
    let counters = [Metric::InputTokens, Metric::OutputTokens, Metric::ToolCalls, Metric::CacheReadTokens];
    let key = |i: usize| SeriesKey {
        source: SourceIx(0),
        agent: agents[i % agents.len()],
        labels: [models[i / agents.len()], Names::NONE],
    };
    let histograms = series / 100;
    for i in 0..histograms {
        for doubling in 0..10 {
            families.observe(Metric::ToolCallDuration, key(i), (123_456 * i as u64) >> doubling, BORN, None);
        }
    }
    let lines = Metric::ToolCallDuration.kind().width() + 1;
    for i in 0..series - histograms * lines {
        families.add(counters[i % counters.len()], key(i / counters.len()), 1_000_003 * i as u64, BORN);
    }
    let (name, platform) = ("production".into(), "hcompany".into());
    Snapshot {
        names: names.texts(),
        families: families.share(),
        overflowed: vec![0; Metric::ALL.len()],
        label_sets: vec![0; Metric::ALL.len()],
        max_series: 2000,
        sources: Arc::new([SourceView { name, platform, attached: true, ..SourceView::default() }]),
    }
}

fn exposition() -> Exposition {
    Exposition::new(Hold { span: Span::from_secs(30), since: NOW })
}

fn render(c: &mut Criterion) {
    let mut group = c.benchmark_group("render");
    for series in [10_000, 100_000] {
        let snapshot = snapshot(series);
        let exposition = exposition();
        let formats = [("text", Format::Text), ("openmetrics", Format::OpenMetrics), ("protobuf", Format::Protobuf)];
        for (name, format) in formats {
            let length = exposition.render(&snapshot, &[], format, NOW).len();
            group.throughput(Throughput::Bytes(length as u64));
            group.bench_function(BenchmarkId::new(name, series), |b| {
                b.iter(|| black_box(exposition.render(&snapshot, &[], format, NOW)));
            });
        }
        group.bench_function(BenchmarkId::new("first", series), |b| {
            b.iter(|| black_box(self::exposition().render(&snapshot, &[], Format::Text, NOW)));
        });
    }
    group.finish();
}

fn gzip(c: &mut Criterion) {
    let mut group = c.benchmark_group("gzip");
    group.sample_size(20);
    for series in [10_000, 100_000] {
        let body = exposition().render(&snapshot(series), &[], Format::Text, NOW);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("fast", series), |b| {
            b.iter(|| {
                let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 16), Compression::fast());
                encoder.write_all(&body).expect("a vector takes everything");
                black_box(encoder.finish().expect("a vector takes everything"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, render, gzip);
criterion_main!(benches);
