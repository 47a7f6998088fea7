//! How a source keeps to its budget, in virtual time: whom it reads first, how old numbers get, and how it finds out what
//! the platform takes.

use std::time::Duration;

use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::simulator::{Platform, SimulateOptions, Site};

use crate::support::Bench;

fn env(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Sessions that all go on for longer than the test.
fn crowd(platform: Platform) -> SimulateOptions {
    SimulateOptions {
        sessions: env("N", 3000.0) as u64,
        history: env("HISTORY", 0.0) as u64,
        rate: env("RATE", 1000.0),
        speed: env("SPEED", 0.05),
        steps: env("STEPS", 12.0) as u32,
        children_share: 0.0,
        restart_share: 0.0,
        fault_rate_slow: env("SLOW", 0.0),
        slow_ms: env("SLOW_MS", 200.0) as u64,
        rate_limit: env("LIMIT", 0.0),
        rate_limit_burst: env("BURST", 10.0) as u32,
        rate_limit_window: env("WINDOW", 0.0),
        rate_limit_pause: env("PAUSE", 0.0) as u32,
        everruns: agent_session_exporter::simulator::everruns::EverrunsOptions {
            generation_bytes: 0,
            ..Default::default()
        },
        ..SimulateOptions::of(platform)
    }
}

fn rhythm() -> Rhythm {
    let seconds = Duration::from_secs;
    Rhythm {
        poll: seconds(15),
        sweep: seconds(3600),
        limits: Some(seconds(60)),
        concurrency: env("CONC", 8.0) as usize,
    }
}

async fn measure<W: Site>(mut bench: Bench<W>) {
    bench.requests_per_second = env("RPS", 10.0);
    bench.rhythm = rhythm();
    bench.ledger.checks.store(false, std::sync::atomic::Ordering::Relaxed);
    eprintln!("{:?}", bench.clock.micros());
    let began = std::time::Instant::now();
    let total = env("T", 1500.0);
    let part = 300.0;
    let mut at = 0.0;
    let start = bench.clock.micros();
    while at < total {
        // restart-free: one long poll
        at += part;
    }
    bench.poll_for(Duration::from_secs_f64(total)).await;
    let mut arrivals = bench.stopwatch.arrivals();
    let old: Vec<_> = arrivals.iter().filter(|a| a.created < start).cloned().collect();
    arrivals.retain(|a| a.created >= start);
    let asked = bench.stopwatch.asked();
    for from in (0..(total / part) as i64).map(|i| start + i * 300_000_000) {
        let mut ages: Vec<_> = arrivals
            .iter()
            .filter(|a| (from..from + 300_000_000).contains(&a.at))
            .map(|a| a.age().as_secs_f64())
            .collect();
        ages.sort_by(f64::total_cmp);
        let refused = asked.iter().filter(|a| (from..from + 300_000_000).contains(&a.at) && a.status == 429).count();
        let n = asked.iter().filter(|a| (from..from + 300_000_000).contains(&a.at)).count();
        println!(
            "{:5} s: {} of the past; {} arrivals, median age {:.0}, p99 {:.0}, worst {:.0}; {} requests {} refused",
            (from - start) / 1_000_000,
            old.iter().filter(|a| (from..from + 300_000_000).contains(&a.at)).count(),
            ages.len(),
            ages.get(ages.len() / 2).unwrap_or(&0.0),
            ages.get(ages.len() * 99 / 100).unwrap_or(&0.0),
            ages.last().unwrap_or(&0.0),
            n,
            refused
        );
    }
    arrivals.sort_by_key(|a| std::cmp::Reverse(a.age()));
    for a in arrivals.iter().take(12) {
        let reads: Vec<i64> = bench
            .stopwatch
            .arrivals()
            .iter()
            .filter(|b| b.session == a.session)
            .map(|b| (b.at - start) / 1_000_000)
            .collect();
        println!(
            "{} created {} happened {} at {} reads {:?}",
            a.session,
            (a.created - start) / 1_000_000,
            (a.happened - start) / 1_000_000,
            (a.at - start) / 1_000_000,
            reads
        );
    }
    println!("{:?} in {:?}", bench.stopwatch.by_endpoint(), began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn x_h() {
    measure(Bench::new(crowd(Platform::HCompany))).await;
}

#[tokio::test(start_paused = true)]
async fn x_e() {
    let mut bench = Bench::everruns(crowd(Platform::Everruns));
    bench.settings.push(("organization_id", bench.simulator.world().organization()));
    measure(bench).await;
}
