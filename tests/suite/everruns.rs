//! Everruns from its pages to totals, in virtual time and on servers of every age: what the exporter says equals what
//! the simulator says that it did.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_session_exporter::projection::{Metric, Snapshot};
use agent_session_exporter::simulator::everruns::{EverrunsOptions, World};
use agent_session_exporter::simulator::{Dialect, Platform, SimulateOptions};

use crate::support::{Bench, differences, with_faults};

fn options(dialect: Dialect) -> SimulateOptions {
    let options = SimulateOptions::of(Platform::Everruns);
    SimulateOptions { sessions: 60, history: 15, rate: 1.0, speed: 10.0, dialect, ..options }
}

/// Long enough for everything to be over and read.
const ALL: Duration = Duration::from_secs(900);

fn sum(snapshot: &Snapshot, metric: Metric) -> u64 {
    let family = snapshot.family(metric).expect("every metric has a family");
    (0..family.heads().len()).map(|index| family.value(index)).sum()
}

/// The sum over series whose first label behind the agent is this.
fn value(snapshot: &Snapshot, metric: Metric, label: &str) -> u64 {
    let family = snapshot.family(metric).expect("every metric has a family");
    let heads = family.heads().iter().enumerate();
    heads.filter(|(_, head)| snapshot.text(head.key.labels[0]) == label).map(|(index, _)| family.value(index)).sum()
}

fn mismatch(snapshot: &Snapshot) -> u64 {
    sum(snapshot, Metric::UsageMismatch)
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
    assert_eq!(sum(&bench.snapshot(), Metric::EventsLost), 0, "{dialect:?} {seed}");
    let really = truth.traces.sessions.expect("they are few").into_iter().map(|one| (one.id, one.parent));
    assert_eq!(bench.parents(), really.collect(), "{dialect:?} {seed}");
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

/// Everything the platform may do to a reader's order.
fn unruly(options: SimulateOptions) -> SimulateOptions {
    let everruns = EverrunsOptions { gap_rate: 0.1, late_rate: 0.1, missing_generations: 0.3, ..options.everruns };
    SimulateOptions { everruns, ..options }
}

#[tokio::test(start_paused = true)]
async fn faults_gaps_and_late_events_change_nothing() {
    for dialect in [Dialect::D0, Dialect::D1, Dialect::D2, Dialect::D3, Dialect::D4, Dialect::Serve] {
        for seed in 1..3 {
            tells_the_truth(SimulateOptions { seed, ..with_faults(unruly(options(dialect))) }).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn kills_in_the_middle_change_nothing() {
    for (seed, dialect) in [(1, Dialect::D4), (2, Dialect::D3), (3, Dialect::D2), (4, Dialect::Serve), (5, Dialect::D1)]
    {
        let mut bench = bench(SimulateOptions { seed, ..with_faults(unruly(options(dialect))) });
        for millis in [1, 700, 3, 5100, 20_000, 11, 33_333, 250, 60_001, 47] {
            bench.poll_for(Duration::from_millis(millis)).await;
            bench.restart();
        }
        bench.poll_for(ALL).await;
        assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0], "{dialect:?} {seed}");
        assert_eq!(mismatch(&bench.snapshot()), 0, "{dialect:?} {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_capped_are_read_to_the_end() {
    for dialect in [Dialect::D2, Dialect::D3, Dialect::Serve] {
        let capped = options(dialect);
        let everruns = EverrunsOptions { event_cap: 7, ..capped.everruns };
        tells_the_truth(SimulateOptions { everruns, ..capped }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_sessions_leave_the_gauges_and_stay_in_the_totals() {
    let bench = bench(SimulateOptions { delete_after: 120.0, ..options(Dialect::D4) });
    bench.poll_for(ALL).await;
    let truth = bench.simulator.truth(None);
    assert!(truth.account.deleted > 20);
    // A turn that was open when its session was deleted is over for us, and nothing for the platform.
    assert_eq!(differences(&bench.snapshot(), &truth, &["turns_finished[abandoned]"]), [""; 0]);
    assert_eq!(mismatch(&bench.snapshot()), 0);
}

#[tokio::test(start_paused = true)]
async fn without_generations_thinking_stands_for_them() {
    let mut bench = bench(options(Dialect::D4));
    bench.settings.push(("llm_generation", "skip".into()));
    bench.poll_for(ALL).await;
    let truth = bench.simulator.truth(None);
    // Each stretch of thinking is one call; names of models, attempts and first tokens are known only from generations.
    let aside = ["events", "model_call", "first_tokens", "input[", "output[", "cache", "cost["];
    assert_eq!(differences(&bench.snapshot(), &truth, &aside), [""; 0]);
    assert_eq!(mismatch(&bench.snapshot()), 0, "no token is missing");
}

#[tokio::test(start_paused = true)]
async fn a_first_start_that_counts_from_now_leaves_the_past_alone() {
    let mut bench = bench(options(Dialect::D4));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let from = bench.clock.micros();
    bench.start_counting(agent_session_exporter::domain::Timestamp::from_micros(from));
    bench.poll_for(ALL).await;
    let truth = bench.simulator.truth(Some(from));
    assert!(truth.account.turns_started > 20);
    // Tool calls and turns that were under way then end without having begun.
    assert_eq!(differences(&bench.snapshot(), &truth, &["tool_failures", "turns_finished"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn silent_turns_are_given_up_and_may_still_end() {
    let mut bench = bench(options(Dialect::D4));
    bench.patience(Duration::from_secs(2));
    bench.poll_for(ALL).await;
    let truth = bench.simulator.truth(None);
    let snapshot = bench.snapshot();
    let given_up = value(&snapshot, Metric::TurnsFinished, "abandoned");
    assert!(given_up > truth.account.open_turns, "some came back: {given_up}");
    let aside = ["turns_started", "turns_finished[abandoned]"];
    assert_eq!(differences(&snapshot, &truth, &aside), [""; 0]);
    let came_back = given_up - truth.account.open_turns;
    assert_eq!(sum(&snapshot, Metric::TurnsStarted), truth.account.turns_started + came_back);
}

fn forgetful(options: SimulateOptions) -> SimulateOptions {
    let everruns = EverrunsOptions { retention: 60.0, ..options.everruns };
    SimulateOptions { everruns, ..options }
}

#[tokio::test(start_paused = true)]
async fn events_that_are_archived_after_they_were_read_are_not_missed() {
    for dialect in [Dialect::D2, Dialect::D3, Dialect::D4] {
        tells_the_truth(SimulateOptions { history: 0, sessions: 75, ..forgetful(options(dialect)) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_were_archived_before_are_told_as_lost() {
    for dialect in [Dialect::D2, Dialect::D4] {
        let bench = bench(SimulateOptions { sessions: 10, history: 60, ..forgetful(options(dialect)) });
        bench.poll_for(ALL).await;
        let (snapshot, truth) = (bench.snapshot(), bench.simulator.truth(None).account);
        let (told, lost) = (sum(&snapshot, Metric::EventsIngested), sum(&snapshot, Metric::EventsLost));
        assert!(lost > 100 && told < truth.events, "{dialect:?}: {told} told and {lost} lost of {}", truth.events);
        // A session of which nothing is left to read cannot say how much that was.
        assert!(told + lost <= truth.events + truth.events / 20, "{dialect:?}: nothing is told twice");
        assert!(sum(&snapshot, Metric::TurnsFinished) < truth.turns_started);
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_deep_in_a_long_list_are_found_when_they_move_and_cost_nothing_when_not() {
    let bench = bench(SimulateOptions { sessions: 20, history: 1200, steps: 3, ..options(Dialect::D4) });
    bench.poll_for(Duration::from_secs(60)).await;
    let before = bench.witness.lists.load(Ordering::Relaxed);
    bench.poll_for(Duration::from_secs(240)).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
    // A page in each of 48 rounds, and two sweeps of 13.
    let lists = bench.witness.lists.load(Ordering::Relaxed) - before;
    assert!(lists < 48 + 3 * 13, "{lists}");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_lists_which_have_no_pages_are_read_whole() {
    let bench = bench(SimulateOptions { sessions: 5, history: 500, steps: 2, ..options(Dialect::D0) });
    bench.poll_for(Duration::from_secs(120)).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
    assert!(bench.witness.lists.load(Ordering::Relaxed) < 7 * 30, "a list per agent and round");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_read_once_and_put_away() {
    // Slow answers: more sessions are found than can be read until the next round.
    let slow = SimulateOptions { fault_rate_slow: 1.0, slow_ms: 400, ..options(Dialect::D4) };
    let bench = bench(SimulateOptions { sessions: 5, history: 800, steps: 2, ..slow });
    bench.poll_for(Duration::from_secs(240)).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
    let before = bench.witness.events.load(Ordering::Relaxed);
    bench.poll_for(Duration::from_secs(50)).await;
    let still = bench.simulator.truth(None).account.active_by_status["running"];
    let reads = bench.witness.events.load(Ordering::Relaxed) - before;
    assert!(reads <= (still + 3) * 11, "{reads} reads in ten rounds, with {still} sessions at work");
}

#[tokio::test(start_paused = true)]
async fn retention_leaves_totals_and_gauges_as_they_are() {
    let mut bench = bench(options(Dialect::D4));
    for _ in 0..4 {
        bench.poll_for(Duration::from_secs(40)).await;
        let before = bench.simulator.truth(None);
        bench.expire();
        assert!(bench.ledger.journal.refold().unwrap().events < before.account.events / 2, "the log has become short");
        bench.restart();
    }
    bench.poll_for(ALL).await;
    assert_eq!(differences(&bench.snapshot(), &bench.simulator.truth(None), &[]), [""; 0]);
    let refolded = bench.ledger.journal.refold().unwrap();
    assert_eq!(differences(&refolded.state.snapshot(), &bench.simulator.truth(None), &["active"]), [""; 0]);
    let found = bench.ledger.journal.verify().unwrap();
    assert!(found.is_good() && found.carried.sessions > 0, "{found:?}");
    assert!(found.sessions.only_known > 0, "of those that rested nothing is left but that they exist");
}
