//! Everruns from its pages to totals, in virtual time and on servers of every age: what the exporter says equals what
//! the simulator says that it did.

use std::time::Duration;

use agent_session_exporter::projection::{Metric, Snapshot};
use agent_session_exporter::simulator::everruns::World;
use agent_session_exporter::simulator::{Dialect, Platform, SimulateOptions};

use crate::support::{Bench, differences};

fn options(dialect: Dialect) -> SimulateOptions {
    let options = SimulateOptions::of(Platform::Everruns);
    SimulateOptions { sessions: 60, history: 15, rate: 1.0, speed: 10.0, dialect, ..options }
}

/// Long enough for everything to be over and read.
const ALL: Duration = Duration::from_secs(900);

fn mismatch(snapshot: &Snapshot) -> u64 {
    let family = snapshot.family(Metric::UsageMismatch).expect("every metric has a family");
    (0..family.heads().len()).map(|index| family.value(index)).sum()
}

fn bench(options: SimulateOptions) -> Bench<World> {
    let mut bench = Bench::everruns(options);
    bench.settings.push(("organization_id", bench.simulator.world().organization()));
    bench
}

async fn tells_the_truth(options: SimulateOptions) {
    let (dialect, seed) = (options.dialect, options.seed);
    let bench = bench(options);
    bench.poll_for(ALL).await;
    let truth = bench.simulator.truth(None);
    assert!(truth.settled && truth.account.sessions > 60, "the simulation is over");
    assert_eq!(differences(&bench.snapshot(), &truth, &[]), [""; 0], "{dialect:?} {seed}");
    assert_eq!(mismatch(&bench.snapshot()), 0, "{dialect:?} {seed}");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_dialect_tells_the_truth() {
    tells_the_truth(options(Dialect::D0)).await;
}

#[tokio::test(start_paused = true)]
async fn dialects_with_an_organization_in_the_path_tell_the_truth() {
    tells_the_truth(options(Dialect::D1)).await;
}

#[tokio::test(start_paused = true)]
async fn dialects_without_event_filters_tell_the_truth() {
    tells_the_truth(options(Dialect::D2)).await;
}

#[tokio::test(start_paused = true)]
async fn dialects_without_list_filters_tell_the_truth() {
    tells_the_truth(options(Dialect::D3)).await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_dialect_tells_the_truth() {
    tells_the_truth(options(Dialect::D4)).await;
}

#[tokio::test(start_paused = true)]
async fn the_single_binary_tells_the_truth() {
    tells_the_truth(options(Dialect::Serve)).await;
}
