//! How fast a history is ingested over loopback HTTP: the whole exporter and a simulated platform on one machine.
//!
//! One pass over 300 long sessions, journal on disk included, three times. Both sides run in this process, on threads
//! of their own, so that the processor time of each can be told.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use agent_session_exporter::config::{Config, Overrides, load};
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::LabelPolicy;
use agent_session_exporter::runtime::{Manner, Runtime};
use agent_session_exporter::simulator::{SimulateOptions, serve};
use support::{history, simulator};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// Ticks per second in `/proc`.
const TICKS: f64 = 100.0;
/// Odd, so that there is a median.
const RUNS: usize = 3;

fn config(folder: &Path, url: &str) -> Config {
    let file = folder.join("bench.yaml");
    let text = format!(
        "sources:\n  - name: simulated\n    platform: hcompany\n    base_url: {url}\n    api_key: ${{HAI_API_KEY}}\n    \
         start: beginning\n"
    );
    std::fs::write(&file, text).expect("a temporary file");
    let overrides = Overrides { storage_path: Some(folder.join("store")), ..Overrides::default() };
    let mut config = load(Some(&file), &overrides, &|name| (name == "HAI_API_KEY").then(|| "hk-simulated".to_owned()))
        .expect("the configuration is valid");
    // No configuration may ask so much of a real platform.
    config.sources[0].requests_per_second = 1e6;
    config
}

/// The name and the processor seconds in a `stat` file.
fn stat(path: &Path) -> Option<(String, f64)> {
    let text = std::fs::read_to_string(path).ok()?;
    let (head, rest) = text.rsplit_once(')')?;
    let ticks: f64 = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    Some((head.split_once('(')?.1.to_owned(), ticks / TICKS))
}

/// Processor seconds of this process: altogether, and by the names of the threads that are still there.
fn processor_seconds() -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for (name, used) in threads.filter_map(|task| stat(&task.path().join("stat"))) {
        *seconds.entry(name).or_default() += used;
    }
    seconds.extend(stat(Path::new("/proc/self/stat")).map(|(_, used)| ("all".to_owned(), used)));
    seconds
}

fn run(options: SimulateOptions) -> (u64, f64) {
    let platform = Builder::new_multi_thread().worker_threads(1).thread_name("simulator").enable_all().build();
    let platform = platform.expect("a runtime for the simulator");
    let exporter = Builder::new_multi_thread().worker_threads(2).thread_name("exporter").enable_all().build();
    let exporter = exporter.expect("a runtime for the exporter");

    let shutdown = CancellationToken::new();
    let listener = platform.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    platform.spawn(serve(listener, Arc::new(simulator(options)), shutdown.clone()));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = config(folder.path(), &url);
    let storage = config.storage.path.clone();
    let once = Manner { once: true, simulated: true };
    let runtime = exporter.block_on(Runtime::prepare(config, once, None)).expect("a fresh store");
    let before = processor_seconds();
    let began = Instant::now();
    let pass = exporter.block_on(async { tokio::spawn(runtime.run(CancellationToken::new(), None)).await });
    let took = began.elapsed().as_secs_f64();
    pass.expect("it does not panic").expect("everything is read");
    let after = processor_seconds();
    let used = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
    let (all, polling, simulating) = (used("all"), used("exporter"), used("simulator"));
    // The engine's thread has ended and with it its account: what is missing from the whole is its share.
    let engine = all - polling - simulating;

    let journal = Journal::open_existing(&storage, LabelPolicy::default()).expect("the store is closed by now");
    let events = journal.events().expect("the store can be read");
    println!(
        "{events} facts in {took:.2} s: {:.0} per second; {} bytes on disk; processor seconds: \
         requests and decoding {polling:.2}, fold and journal {engine:.2}, simulator {simulating:.2}",
        events as f64 / took,
        journal.bytes()
    );
    shutdown.cancel();
    (events, took)
}

fn main() {
    // `cargo test --benches` only asks whether this can be built.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut rates: Vec<f64> =
        (0..RUNS).map(|_| run(history(300, 400))).map(|(events, took)| events as f64 / took).collect();
    rates.sort_by(f64::total_cmp);
    println!("median: {:.0} facts per second", rates[rates.len() / 2]);
}
