//! How a source keeps to its budget, in virtual time: whom it reads first, how old numbers get, and how it finds out what
//! the platform takes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::simulator::everruns::EverrunsOptions;
use agent_session_exporter::simulator::{Platform, SimulateOptions, Site, everruns};

use crate::support::{Asked, Bench, differences};

const MINUTE: Duration = Duration::from_secs(60);

/// So many sessions that begin at once and go on for hours, an event every minute or two in each.
fn crowd(platform: Platform, sessions: u64) -> SimulateOptions {
    SimulateOptions {
        sessions,
        history: 0,
        rate: 1000.0,
        speed: 0.02,
        children_share: 0.0,
        restart_share: 0.0,
        everruns: EverrunsOptions { generation_bytes: 0, ..EverrunsOptions::default() },
        ..SimulateOptions::of(platform)
    }
}

/// As a source is polled by default, but for the budget.
fn paced<W: Site>(mut bench: Bench<W>, per_second: f64) -> Bench<W> {
    let seconds = Duration::from_secs;
    bench.requests_per_second = per_second;
    bench.rhythm = Rhythm { poll: seconds(15), sweep: seconds(3600), limits: Some(seconds(60)), concurrency: 8 };
    bench.ledger.checks.store(false, Ordering::Relaxed);
    bench
}

fn hcompany(options: SimulateOptions, per_second: f64) -> Bench {
    paced(Bench::new(options), per_second)
}

fn everruns(options: SimulateOptions, per_second: f64) -> Bench<everruns::World> {
    let mut bench = paced(Bench::everruns(options), per_second);
    bench.settings.push(("organization_id", bench.simulator.world().organization()));
    bench
}

/// What went over the wire since then.
struct Measured {
    /// How old the oldest event of an answer was, of sessions that were not of the past; ascending.
    ages: Vec<Duration>,
    asked: Vec<Asked>,
    from: i64,
    /// How long a session waited at most, by the exporter's own word.
    waited: Duration,
    took: Duration,
}

impl Measured {
    fn since<W: Site>(bench: &Bench<W>, from: i64, epoch: i64) -> Self {
        let arrivals = bench.stopwatch.arrivals().into_iter().filter(|it| it.at >= from && it.created >= epoch);
        let mut ages: Vec<Duration> = arrivals.map(|arrival| arrival.age()).collect();
        ages.sort_unstable();
        let asked = bench.stopwatch.asked().into_iter().filter(|asked| asked.at >= from).collect();
        let now = tokio::time::Instant::now();
        let told = bench.witness.oldest_unread.lock().expect("no test panics in here").clone();
        let ends = told.iter().skip(1).map(|(at, _)| *at).chain([now]);
        // What was the oldest was so until the next one was.
        let waited = told.iter().zip(ends).filter_map(|((_, since), end)| {
            let at = bench.clock.micros() - i64::try_from((now - end).as_micros()).expect("a test is short");
            (at >= from).then_some(at - since.as_ref()?.micros())
        });
        let waited = Duration::from_micros(u64::try_from(waited.max().unwrap_or(0)).unwrap_or(0));
        let took = Duration::from_micros(u64::try_from(bench.clock.micros() - from).expect("it began before"));
        Self { ages, asked, from, waited, took }
    }

    fn worst(&self) -> Duration {
        self.ages.last().copied().expect("something was read")
    }

    fn count(&self, is_meant: impl Fn(&Asked) -> bool) -> usize {
        self.asked.iter().filter(|asked| is_meant(asked)).count()
    }

    fn refused(&self) -> usize {
        self.count(|asked| asked.status == 429)
    }

    /// Requests per second that were not refused.
    fn taken(&self) -> f64 {
        (self.asked.len() - self.refused()) as f64 / self.took.as_secs_f64()
    }

    fn print(&self, what: &str) {
        let age = |share: f64| self.ages[((self.ages.len() - 1) as f64 * share) as usize].as_secs();
        println!(
            "{what}: events {} s old when read (median), {} s (99 %), {} s at most; a session waited {} s at most; \
             {} requests in {} s, {} refused",
            age(0.5),
            age(0.99),
            age(1.0),
            self.waited.as_secs(),
            self.asked.len(),
            self.took.as_secs(),
            self.refused()
        );
    }
}

/// Polls until every session was read once, and then for so long; what went over the wire then.
async fn measured<W: Site>(bench: &Bench<W>, settle: Duration, how_long: Duration) -> Measured {
    let epoch = bench.clock.micros();
    let from = epoch + i64::try_from(settle.as_micros()).expect("a test is short");
    bench.poll_for(settle + how_long).await;
    Measured::since(bench, from, epoch)
}

/// Everything is read to its end, with a budget that is no matter: nothing is lost and nothing told twice.
async fn tells_the_truth<W: Site>(mut bench: Bench<W>, aside: &[&str]) {
    bench.requests_per_second = 1000.0;
    bench.rhythm.poll = 10 * MINUTE;
    let truth = loop {
        bench.poll_for(60 * MINUTE).await;
        let truth = serde_json::to_value(bench.simulator.truth(None)).expect("it is plain data");
        if truth["settled"] == true {
            break truth;
        }
    };
    bench.poll_for(25 * MINUTE).await;
    assert_eq!(differences(&bench.snapshot(), &truth, aside), [""; 0]);
}

/// The age that numbers may reach: so many times what it takes to ask once for each session.
fn bound(sessions: u64, per_second: f64, times: f64) -> Duration {
    Duration::from_secs_f64(sessions as f64 / per_second * times)
}

/// That many sessions that all move: how long they wait depends on how many they are, and on nothing else.
async fn all_wait_alike<W: Site>(bench: Bench<W>, times: f64) {
    let (sessions, per_second) = (300, bench.requests_per_second);
    let measured = measured(&bench, 6 * MINUTE, 25 * MINUTE).await;
    measured.print(bench.platform());
    let bound = bound(sessions, per_second, times);
    assert!(measured.worst() > bound / 3, "there is too much to read: {:?}", measured.worst());
    assert!(measured.worst() <= bound && measured.waited <= bound, "{:?} {:?}", measured.worst(), measured.waited);
    // Its own word says the same, give or take a round.
    assert!(measured.waited + MINUTE > measured.worst(), "{:?} {:?}", measured.waited, measured.worst());
}

#[tokio::test(start_paused = true)]
async fn too_many_active_sessions_of_h_wait_alike() {
    all_wait_alike(hcompany(crowd(Platform::HCompany, 300), 1.0), 2.0).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_active_sessions_of_everruns_wait_alike() {
    all_wait_alike(everruns(crowd(Platform::Everruns, 300), 1.0), 1.75).await;
}

/// One request in ten fails, is cut or takes a while. (Refusals have tests of their own.)
fn troubled(options: SimulateOptions) -> SimulateOptions {
    SimulateOptions { fault_rate_5xx: 0.04, fault_rate_cut: 0.04, fault_rate_slow: 0.02, ..options }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_starved_where_requests_fail() {
    all_wait_alike(hcompany(troubled(crowd(Platform::HCompany, 300)), 1.0), 2.5).await;
    all_wait_alike(everruns(troubled(crowd(Platform::Everruns, 300)), 1.0), 2.5).await;
}

#[tokio::test(start_paused = true)]
async fn many_readers_do_not_keep_new_sessions_from_being_found() {
    let mut bench = hcompany(crowd(Platform::HCompany, 300), 1.0);
    bench.rhythm.concurrency = 256;
    let measured = measured(&bench, 6 * MINUTE, 15 * MINUTE).await;
    // Three pages of active sessions and two other lists each, a round every 15 seconds, and at most two ninths of all.
    let lists = measured.count(|asked| asked.endpoint == "sessions");
    assert!((150..=210).contains(&lists), "{lists} of {}", measured.asked.len());
}

/// A long history and a crowd: neither keeps the other from being read.
async fn the_past_waits_and_goes_on<W: Site>(bench: Bench<W>, times: f64) {
    let from = bench.clock.micros();
    let measured = measured(&bench, 6 * MINUTE, 25 * MINUTE).await;
    measured.print(bench.platform());
    let bound = bound(100, bench.requests_per_second, times);
    assert!(measured.worst() <= bound, "{:?} of {bound:?}", measured.worst());
    let old = measured.count(|asked| asked.created.is_some_and(|created| created < from));
    let share = old as f64 / measured.asked.len() as f64;
    println!("{}: {share:.3} of the requests for the past", bench.platform());
    assert!(share > 0.095, "{share}");
    // Some turns of a history of days never ended, and are given up.
    tells_the_truth(bench, &["turns_finished[abandoned]"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_past_of_h_is_read_beside_what_goes_on() {
    let options = SimulateOptions { history: 600, steps: 4, ..crowd(Platform::HCompany, 100) };
    the_past_waits_and_goes_on(hcompany(options, 0.5), 3.0).await;
}

#[tokio::test(start_paused = true)]
async fn the_past_of_everruns_is_read_beside_what_goes_on() {
    let options = SimulateOptions { history: 600, steps: 4, ..crowd(Platform::Everruns, 100) };
    the_past_waits_and_goes_on(everruns(options, 0.5), 3.0).await;
}

/// More of the past than there is any use in knowing of before it is read: it is left on the platform, bit by bit.
#[tokio::test(start_paused = true)]
async fn a_past_of_thousands_of_sessions_is_found_as_it_is_read() {
    let history = 2600;
    let options =
        SimulateOptions { history, sessions: 40, steps: 1, rate: 1.0, speed: 20.0, ..crowd(Platform::HCompany, 0) };
    let bench = hcompany(options, 10.0);
    let known = || bench.snapshot().sources.iter().map(|source| source.active + source.settled).sum::<usize>() as u64;
    bench.poll_for(MINUTE).await;
    let (waiting, found) = (bench.witness.most_waiting.load(Ordering::Relaxed), known());
    // Pages of a list come whole.
    assert!((2001..=2200).contains(&waiting), "{waiting} waited at most");
    assert!(found < history, "{found} are known: those that there is no time for are left where they are");
    bench.poll_for(15 * MINUTE).await;
    assert!(known() >= history);
    tells_the_truth(bench, &[]).await;
}

/// A platform that takes half of what is configured: how much of that is used, and how many requests are refused.
async fn finds_the_limit<W: Site>(bench: Bench<W>, used: f64, refused: usize) {
    let limit = bench.requests_per_second / 2.0;
    let measured = measured(&bench, 20 * MINUTE, 60 * MINUTE).await;
    let at_first = bench.simulator.above_limit() as usize - measured.refused();
    let share = measured.taken() / limit;
    println!(
        "{}: {at_first} refused in 20 minutes, {} in the next 60; {share:.3} used",
        bench.platform(),
        measured.refused()
    );
    assert!(share > used && share <= 1.01, "{share} of what the platform takes");
    assert!(measured.refused() <= refused && at_first <= 45, "{} and {at_first} refused", measured.refused());
    let paces = bench.witness.paces.lock().expect("no test panics in here").clone();
    let (_, last) = paces.last().expect("it was told");
    assert!(last.per_second < 1.2 * limit, "{last:?}");
    tells_the_truth(bench, &[]).await;
}

fn limited(platform: Platform) -> SimulateOptions {
    SimulateOptions { rate_limit: 1.0, ..crowd(platform, 250) }
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_platform_is_found() {
    finds_the_limit(hcompany(limited(Platform::HCompany), 2.0), 0.9, 120).await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_platform_that_punishes_with_a_minute_is_found() {
    // As Everruns does it: whatever is true, come back in a minute.
    let options = SimulateOptions { rate_limit_pause: 60, ..limited(Platform::Everruns) };
    finds_the_limit(everruns(options, 2.0), 0.75, 10).await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_platform_that_counts_by_the_minute_is_found() {
    let options = SimulateOptions { rate_limit_window: 60.0, ..limited(Platform::HCompany) };
    finds_the_limit(hcompany(options, 2.0), 0.9, 60).await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_platform_that_does_not_say_when_to_come_back_is_found() {
    let options = SimulateOptions { fault_429_without_retry_after: true, ..limited(Platform::Everruns) };
    finds_the_limit(everruns(options, 2.0), 0.85, 120).await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_ends_by_itself() {
    let bench = hcompany(crowd(Platform::HCompany, 50), 2.0);
    bench.poll_for(5 * MINUTE).await;
    let began = bench.clock.micros();
    bench.refuse_for(30 * MINUTE);
    bench.poll_for(36 * MINUTE).await;
    let storm = Measured::since(&bench, began, began);
    // One at a time after longer and longer pauses, and not one for each reader.
    assert!(storm.refused() < 30, "{} refused", storm.refused());
    let calm = bench.clock.micros();
    bench.poll_for(10 * MINUTE).await;
    let paces = bench.witness.paces.lock().expect("no test panics in here").clone();
    assert_eq!(paces.last().map(|(_, pace)| pace.per_second), Some(2.0), "the old pace");
    assert_eq!(Measured::since(&bench, calm, calm).refused(), 0);
    tells_the_truth(bench, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_always_refused_do_not_slow_down_the_others() {
    let bench = hcompany(crowd(Platform::HCompany, 50), 2.0);
    bench.refuse_kind("quota_tokens", MINUTE);
    // The first refusals still lowered the pace.
    let measured = measured(&bench, 20 * MINUTE, 30 * MINUTE).await;
    measured.print("quota_tokens always refused");
    let paces = bench.witness.paces.lock().expect("no test panics in here").clone();
    let settled = paces.iter().skip_while(|(at, _)| bench.clock.micros_at(*at) < measured.from);
    assert!(settled.clone().all(|(_, pace)| pace.per_second == 2.0 && pace.paused_for.is_zero()));
    assert!(settled.count() > 1000, "the others were answered");
    let bound = bound(50, 2.0, 2.0);
    assert!(measured.worst() <= bound.max(MINUTE), "{:?}", measured.worst());
    // Once in five minutes it is looked whether it still is so.
    assert!((4..=8).contains(&measured.refused()), "{}", measured.refused());
}

/// What docs/performance.md says of thousands of sessions and of a long history.
#[tokio::test(start_paused = true)]
#[ignore = "takes minutes: cargo test --profile thorough --test suite pacing::figures -- --ignored --nocapture"]
async fn figures() {
    for (name, measured) in [
        ("h", measured(&hcompany(crowd(Platform::HCompany, 3000), 10.0), 6 * MINUTE, 60 * MINUTE).await),
        ("everruns", measured(&everruns(crowd(Platform::Everruns, 3000), 10.0), 6 * MINUTE, 60 * MINUTE).await),
        (
            "h, troubled",
            measured(&hcompany(troubled(crowd(Platform::HCompany, 3000)), 10.0), 6 * MINUTE, 60 * MINUTE).await,
        ),
    ] {
        measured.print(&format!("3000 active, 10/s, {name}"));
        // Nobody waits twice as long as it takes to ask once for each.
        let bound = bound(3000, 10.0, 2.0);
        assert!(measured.worst() <= bound && measured.waited <= bound, "{:?} {:?}", measured.worst(), measured.waited);
    }
    let long = |platform| SimulateOptions { history: 50_000, steps: 4, ..crowd(platform, 300) };
    long_history(hcompany(long(Platform::HCompany), 10.0)).await;
    long_history(everruns(long(Platform::Everruns), 10.0)).await;
}

/// What docs/performance.md says of limits.
#[tokio::test(start_paused = true)]
#[ignore = "takes minutes: cargo test --profile thorough --test suite pacing::figures -- --ignored --nocapture"]
async fn figures_of_limits() {
    for (pause, window) in [(0, 0.0), (60, 0.0), (0, 60.0)] {
        let limits = SimulateOptions {
            rate_limit: 5.0,
            rate_limit_pause: pause,
            rate_limit_window: window,
            ..crowd(Platform::HCompany, 2000)
        };
        let bench = hcompany(limits, 10.0);
        let measured = measured(&bench, 20 * MINUTE, 60 * MINUTE).await;
        println!(
            "limit 5/s of 10/s, pause {pause}, window {window}: {} refused in 20 minutes; then {} of {} in an hour, {:.2}/s taken",
            bench.simulator.above_limit() as usize - measured.refused(),
            measured.refused(),
            measured.asked.len(),
            measured.taken(),
        );
        assert!(measured.taken() > 0.75 * 5.0 && measured.refused() < measured.asked.len() / 50);
    }
}

/// An hour beside 50,000 sessions of the past, and how long those take.
async fn long_history<W: Site>(bench: Bench<W>) {
    let from = bench.clock.micros();
    let measured = measured(&bench, 6 * MINUTE, 60 * MINUTE).await;
    measured.print(&format!("50,000 old and 300 active, 10/s, {}", bench.platform()));
    let old = measured.count(|asked| asked.created.is_some_and(|created| created < from));
    let share = old as f64 / measured.asked.len() as f64;
    println!("  {share:.3} of the requests for the past");
    assert!(measured.worst() <= bound(300, 10.0, 3.0) && share > 0.095, "{:?} {share}", measured.worst());
}
