//! The whole way from the platform's pages to totals, in virtual time: what the exporter says equals what the simulator
//! says that it did, whatever happens in between.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_session_exporter::projection::Metric;
use agent_session_exporter::simulator::SimulateOptions;

use crate::support::{Bench, differences, with_faults};

fn options() -> SimulateOptions {
    SimulateOptions { sessions: 60, history: 15, rate: 1.0, speed: 10.0, ..SimulateOptions::default() }
}

/// Long enough for everything to be over and read.
const ALL: Duration = Duration::from_secs(1800);

#[tokio::test(start_paused = true)]
async fn an_undisturbed_run_tells_the_truth() {
    let bench = Bench::new(options());
    bench.poll_for(ALL).await;
    let truth = bench.simulator.truth(None);
    assert!(truth.settled && truth.account.sessions > 60, "the simulation is over");
    let snapshot = bench.snapshot();
    assert_eq!(differences(&snapshot, &truth, &[]), [""; 0]);
    let turns = snapshot.family(Metric::TurnsFinished).expect("every metric has a family");
    let mut finished = BTreeMap::new();
    for (index, head) in turns.heads().iter().enumerate().filter(|(index, _)| turns.value(*index) > 0) {
        *finished.entry(snapshot.text(head.key.labels[0])).or_default() += turns.value(index);
    }
    assert_eq!(finished, truth.traces.all.turns_finished);
}

#[tokio::test(start_paused = true)]
async fn who_started_whom_is_known_and_costs_one_request_each() {
    let mut requests = Vec::new();
    for traces in [false, true] {
        let mut bench = Bench::new(options());
        bench.traces = traces;
        bench.poll_for(ALL).await;
        let truth = bench.simulator.truth(None);
        assert_eq!(differences(&bench.snapshot(), &truth, &[]), [""; 0]);
        requests.push(bench.requests());
        let really = truth.traces.sessions.expect("they are few").into_iter().map(|one| (one.id, one.parent));
        let really: BTreeMap<_, _> = really.collect();
        assert!(really.values().flatten().count() > 3, "some were started by others");
        if traces {
            assert_eq!(bench.parents(), really);
            assert_eq!(requests[1] - requests[0], really.len() as u64);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_change_nothing() {
    let bench = Bench::new(with_faults(options()));
    bench.poll_for(ALL).await;
    assert!(bench.witness.throttled.load(std::sync::atomic::Ordering::Relaxed) > 10, "there were faults");
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn throttling_without_a_word_of_when_to_come_back_ends_by_itself() {
    let options = SimulateOptions { fault_rate_429: 0.3, fault_429_without_retry_after: true, ..options() };
    let bench = Bench::new(options);
    bench.poll_for(ALL * 2).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn kills_in_the_middle_change_nothing() {
    for seed in 1..6 {
        let mut bench = Bench::new(with_faults(SimulateOptions { seed, ..options() }));
        for millis in [1, 700, 3, 5100, 20_000, 11, 33_333, 250, 60_001, 47] {
            bench.poll_for(Duration::from_millis(millis)).await;
            bench.restart();
        }
        bench.poll_for(ALL).await;
        assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn evicted_events_are_repaired_from_the_history() {
    let bench = Bench::new(SimulateOptions { evict_after: 7, ..options() });
    bench.poll_for(ALL).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn totals_that_start_again_with_a_restart_are_counted_in_full() {
    let options = SimulateOptions { usage_resets_on_restart: true, restart_share: 0.5, ..options() };
    let bench = Bench::new(options);
    bench.poll_for(ALL).await;
    let truth = bench.simulator.truth(None);
    assert!(truth.account.restarts > 10);
    assert_eq!(differences(&bench.snapshot(), &truth, &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn totals_that_go_on_over_a_restart_are_not_counted_twice() {
    let bench = Bench::new(SimulateOptions { restart_share: 0.5, ..options() });
    bench.poll_for(ALL).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn older_servers_are_understood() {
    use agent_session_exporter::simulator::Dialect;
    let bench = Bench::new(SimulateOptions { dialect: Dialect::Old, ..options() });
    bench.poll_for(ALL).await;
    // These servers tell no error codes: of what ran out of time we know the code all the same.
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &["turn_failures["]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn deletions_and_drifting_pages_lose_nothing_that_was_there_to_read() {
    let options = SimulateOptions { page_drift: true, delete_after: 120.0, history: 250, ..options() };
    let bench = Bench::new(options);
    bench.poll_for(ALL).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn counting_from_now_adopts_what_was_before() {
    use agent_session_exporter::domain::Timestamp;
    let mut bench = Bench::new(options());
    // The platform has been running for a while before anybody watches it.
    tokio::time::sleep(Duration::from_secs(25)).await;
    let since = bench.clock.micros();
    bench.start_counting(Timestamp::from_micros(since));
    bench.poll_for(ALL).await;
    // A step counts when the running total tells it, a moment after the model's answer: at the very edge that is another
    // side of it.
    let truth = bench.simulator.truth(Some(since));
    assert_eq!(differences(&bench.snapshot(), &truth, &["steps", "agent_steps"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_come_and_go_between_two_polls_are_counted_in_full() {
    let bench = Bench::new(SimulateOptions { speed: 200.0, rate: 5.0, ..options() });
    bench.poll_for(ALL).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_pass_is_a_complete_pass() {
    let bench = Bench::new(SimulateOptions { history: 230, sessions: 0, rate: 0.001, ..options() });
    let pass = bench.poll_once().await;
    assert!(pass.discovered && pass.failures == 0);
    let truth = bench.simulator.truth(None);
    assert!(truth.account.sessions >= 230);
    assert_eq!(differences(&bench.snapshot(), &truth, &[]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn sessions_to_which_nothing_happens_cost_no_request() {
    let bench = Bench::new(options());
    bench.poll_for(ALL).await;
    let before = bench.requests();
    bench.poll_for(Duration::from_secs(100)).await;
    // Twenty rounds of three lists, two rounds of two limits, one sweep: and not one question about a session.
    let asked = bench.requests() - before;
    assert!(asked <= 20 * 3 + 2 * 2 + 6, "{asked} requests");
}

#[tokio::test(start_paused = true)]
async fn ends_without_a_trace_are_counted_where_somebody_looks_in_between() {
    let options = SimulateOptions { restart_silent_ends: true, restart_share: 0.6, speed: 1.0, ..options() };
    let bench = Bench::new(SimulateOptions { history: 0, ..options });
    bench.poll_for(ALL * 2).await;
    let truth = bench.simulator.truth(None);
    assert!(truth.settled && truth.account.restarts > 20);
    assert_eq!(differences(&bench.snapshot(), &truth, &[]), [""; 0]);
}
