//! Lives of an exporter that are drawn by chance, in virtual time: both platforms, their faults, kills, losses of power,
//! disks that fail in every way, clocks that jump, collectors that are away, sources that are taken out of the
//! configuration and put back. At the end of each, everything that is told equals what the platforms say of themselves,
//! and on the way no counter ever fell.
//!
//! `SEEDS=4000` draws so many lives instead of a few, `SEED=17` lives one again, `SEED=17 SEEDS=4000` begins there. The
//! seeds in `seeds.txt` failed once, and are lived always.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_session_exporter::domain::Span as Stretch;
use agent_session_exporter::engine::Keep;
use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::projection::LabelPolicy;
use agent_session_exporter::simulator::everruns::EverrunsOptions;
use agent_session_exporter::simulator::{Dialect, Platform, SimulateOptions};

use crate::support::compare;
use crate::support::counters::{Lasting, fallen, lasting};
use crate::support::deeds::{assert_whole, comparable, differing, expected, text, told};
use crate::support::disk::Trouble;
use crate::support::rig::{Mood, Rig, SOURCES, Setup};
use crate::support::{asked, scraped_of, totals};

/// Lives in `cargo test`, besides those that failed once.
const FEW: u64 = 20;
/// The first of them.
const FIRST: u64 = CONFIGURES_FROM + 1;
/// From this seed on the configuration changes, too, and sessions are deleted later. Before it lives are what they were,
/// with those that were noted.
const CONFIGURES_FROM: u64 = 10_000;
/// After so long without any trouble everything has to be told: retries wait up to five minutes, sweeps come every ten.
const CALM: Duration = Duration::from_secs(2400);

/// Characters of what is wrong with a life that are printed.
const MOST_SAID: usize = 4000;

/// The draws of one life.
struct Dice(fastrand::Rng);

impl Dice {
    fn chance(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high)
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.0.usize(..values.len())]
    }

    /// Any length of time, short ones as often as long ones.
    fn span(&mut self, from_ms: f64, to_ms: f64) -> Duration {
        let (low, high) = (from_ms.ln(), to_ms.ln());
        Duration::from_micros(((low + self.0.f64() * (high - low)).exp() * 1000.0) as u64)
    }

    /// A share that is nothing in half of the lives.
    fn rate(&mut self, most: f64) -> f64 {
        if self.chance(0.5) { 0.0 } else { self.0.f64() * most }
    }
}

/// What one life is like.
struct Plan {
    setup: Setup,
    /// How much happens in it.
    acts: u64,
    /// Sessions are taken off the platform: what was open then can be told by nobody.
    deletes: bool,
    /// Sources are taken out of the configuration and put back, or changed.
    configures: bool,
}

fn draw(dice: &mut Dice, seed: u64) -> Plan {
    let deletes = dice.chance(0.2);
    // Longer than anybody is away, so that everything can be read before it is gone. Refusals by chance, which no pace
    // helps against, make it slower than one can foresee.
    let delete_after = if seed >= CONFIGURES_FROM { 7200.0 } else { 1800.0 };
    let mut common = |platform: Platform, seed: u64| {
        let calm = SimulateOptions::of(platform);
        SimulateOptions {
            seed,
            sessions: dice.between(3, 20),
            history: dice.between(0, 12),
            rate: dice.pick(&[0.03, 0.1, 0.4, 2.0]),
            speed: dice.pick(&[0.5, 2.0, 10.0, 50.0]),
            steps: dice.pick(&[2, 6, 12, 25]) as u32,
            children_share: dice.pick(&[0.0, 0.1, 0.5]),
            interactive_share: dice.pick(&[0.0, 0.15, 0.6]),
            restart_share: dice.pick(&[0.0, 0.1, 0.5]),
            delete_after: if deletes { delete_after } else { 0.0 },
            fault_rate_429: dice.rate(0.06),
            fault_429_without_retry_after: dice.chance(0.3),
            fault_rate_5xx: dice.rate(0.08),
            fault_rate_cut: dice.rate(0.08),
            fault_rate_slow: dice.rate(0.1),
            slow_ms: dice.pick(&[100, 2000, 9000]),
            ..calm
        }
    };
    let (h, everruns) = (common(Platform::HCompany, seed), common(Platform::Everruns, seed ^ 0x5eed));
    // Servers of before do not say what they have forgotten.
    let (dialect, evict_after) =
        if dice.chance(0.15) { (Dialect::Old, 0) } else { (Dialect::Current, dice.pick(&[0, 0, 5, 20]) as usize) };
    let h = SimulateOptions { evict_after, dialect, ..h };
    let dialects = [Dialect::D4, Dialect::D4, Dialect::D3, Dialect::D2, Dialect::D1, Dialect::D0, Dialect::Serve];
    let everruns = SimulateOptions {
        dialect: dice.pick(&dialects),
        everruns: EverrunsOptions {
            gap_rate: dice.pick(&[0.0, 0.01, 0.1]),
            late_rate: dice.rate(0.1),
            missing_generations: dice.rate(0.3),
            event_cap: dice.pick(&[7, 50, 10_000]) as usize,
            huge_tokens: dice.chance(0.05),
            ..everruns.everruns
        },
        ..everruns
    };
    let keep = Keep { sessions: dice.chance(0.5).then_some(Stretch::from_secs(2 * 3600)), spans: None };
    let seconds = Duration::from_secs;
    let rhythm = Rhythm {
        poll: seconds(dice.pick(&[2, 5, 15])),
        sweep: seconds(dice.pick(&[60, 600])),
        limits: Some(seconds(60)),
        concurrency: dice.pick(&[1, 2, 4, 8]) as usize,
    };
    let setup = Setup {
        platforms: [h, everruns],
        keep,
        policy: LabelPolicy::default(),
        rhythm,
        requests_per_second: dice.pick(&[5.0, 10.0, 200.0]),
        patience: seconds(86_400),
        traces: dice.chance(0.7),
        batch: dice.pick(&[1, 10, 500]) as usize,
    };
    let acts = dice.between(5, 30);
    Plan { setup, acts, deletes, configures: !deletes && seed >= CONFIGURES_FROM && dice.chance(0.5) }
}

/// One life.
struct Life {
    dice: Dice,
    rig: Rig,
    deletes: bool,
    configures: bool,
    /// Sources that were taken out and have not been seen again.
    away: [bool; 2],
    /// The last page that anybody saw.
    page: Lasting,
    /// What happened, for whoever has to find out why.
    diary: Arc<Mutex<Vec<String>>>,
}

impl Life {
    fn look(&mut self) {
        if !self.rig.is_running() {
            return;
        }
        let mut now = lasting(&self.rig.page());
        // Of a source that was taken out nothing is told until it is back, which waits for the store; then nothing of it may
        // have fallen.
        let labels = SOURCES.map(|source| format!("source=\"{source}\""));
        for (place, label) in labels.iter().enumerate() {
            let is_back = self.rig.is_watched(place) && now.keys().any(|name| name.contains(label.as_str()));
            self.away[place] &= !is_back;
        }
        let is_away =
            |name: &str| labels.iter().zip(self.away).any(|(label, away)| away && name.contains(label.as_str()));
        let unseen = self.page.iter().filter(|(name, _)| is_away(name) && !now.contains_key(*name));
        let unseen: Lasting = unseen.map(|(name, value)| (name.clone(), *value)).collect();
        now.extend(unseen);
        let fell = fallen(&self.page, &now);
        assert!(fell.is_empty(), "counters fell: {fell:#?}");
        self.page = now;
    }

    /// A new configuration, or not.
    fn configure(&mut self) {
        if !self.configures || !self.dice.chance(0.15) {
            return;
        }
        let place = self.dice.pick(&[0, 1]);
        let is_named = self.dice.chance(0.6);
        self.note(&format!("{} configured: {is_named}", SOURCES[place]));
        self.away[place] |= !is_named;
        self.rig.configure(place, is_named);
    }

    /// Starts it if it does not run; what keeps it from starting may be over a moment later.
    async fn start(&mut self) {
        if self.rig.is_running() {
            return;
        }
        if let Err(error) = self.rig.start().await {
            assert!(self.rig.disk.is_broken(), "a sound disk can be read: {error}");
            self.note(&format!("cannot start: {error}"));
            return;
        }
        self.look();
    }

    fn note(&self, what: &str) {
        let seconds = self.rig.seconds();
        self.diary.lock().expect("nobody panics with it").push(format!("{seconds:9.3} {what}"));
    }

    async fn kill(&mut self) {
        self.look();
        let kind = self.dice.between(0, 3);
        let share = self.dice.pick(&[0.0, 0.5, 0.9, 1.0]);
        self.note(&format!("killed: {kind} {share}"));
        let dice = &mut self.dice;
        match kind {
            0 => self.rig.kill(|disk| disk.after_power_failure()).await,
            1 => self.rig.kill(|disk| disk.after_power_failure_keeping(|| dice.chance(share))).await,
            _ => self.rig.kill(|disk| disk.after_kill()).await,
        }
    }

    /// Kills it in the middle of a write: everything after that does not reach the disk.
    async fn kill_while_it_writes(&mut self) {
        let after = self.dice.between(0, 40);
        let trouble = if self.dice.chance(0.5) {
            Trouble::Refuses { after, count: u64::MAX }
        } else {
            Trouble::Tears { after, count: u64::MAX }
        };
        let reached = self.rig.disk.changes() + after;
        self.rig.disk.trouble(trouble);
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if self.rig.disk.changes() > reached {
                break;
            }
        }
        self.note(&format!("in a write: {trouble:?}"));
        self.kill().await;
    }

    async fn act(&mut self) {
        match self.dice.between(0, 11) {
            0 | 1 => self.kill().await,
            2 => self.kill_while_it_writes().await,
            3 => {
                self.note("stopped");
                self.look();
                let is_broken = self.rig.disk.is_broken();
                let stopped = self.rig.stop().await;
                assert!(stopped.is_ok() || is_broken, "{stopped:?}");
            }
            4 | 5 => {
                let (after, count) = (self.dice.between(0, 60), self.dice.pick(&[1, 1, 3, 20, u64::MAX]));
                let trouble = match self.dice.between(0, 6) {
                    0 => Trouble::Refuses { after, count },
                    1 | 2 => Trouble::Tears { after, count },
                    3 => Trouble::CannotSync(count),
                    4 => Trouble::CannotRead(count),
                    5 => Trouble::Full,
                    _ => Trouble::TooLong,
                };
                self.note(&format!("{trouble:?}"));
                self.rig.disk.trouble(trouble);
            }
            6 => {
                self.note("mended");
                self.rig.disk.mend();
            }
            7 => {
                let place = self.dice.pick(&[0, 1]);
                let is_away = self.dice.chance(0.5);
                self.note(&format!("{} away: {is_away}", SOURCES[place]));
                self.rig.away[place].store(is_away, Ordering::Relaxed);
            }
            8 => {
                let mood = self.dice.pick(&[Mood::Takes, Mood::TakesAndDenies, Mood::IsAway]);
                self.note(&format!("collector {mood:?}"));
                self.rig.desk().mood = mood;
            }
            9 => {
                let sign = self.dice.pick(&[-1, 1]);
                let ahead = i64::try_from(self.dice.span(1.0, 7_200_000.0).as_micros()).expect("hours");
                self.note(&format!("clock ahead by {} s", sign * ahead / 1_000_000));
                self.rig.ours.jump_to(sign * ahead);
            }
            _ => self.look(),
        }
    }

    async fn live(&mut self, acts: u64) {
        self.start().await;
        for _ in 0..acts {
            let span = self.dice.span(1.0, 90_000.0);
            tokio::time::sleep(span).await;
            self.act().await;
            self.configure();
            // A supervisor is there at once or a little later.
            if self.dice.chance(0.8) {
                self.start().await;
            }
        }
        self.note("calm");
        self.rig.disk.mend();
        self.rig.away.iter().for_each(|away| away.store(false, Ordering::Relaxed));
        self.rig.desk().mood = Mood::Takes;
        for place in (0..SOURCES.len()).filter(|place| !self.rig.is_configured(*place)).collect::<Vec<_>>() {
            self.rig.configure(place, true);
        }
        self.start().await;
        while self.rig.truths().iter().any(|truth| truth["settled"] != true) {
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.look();
        }
        let mut differences = vec!["nothing was compared".to_owned()];
        for _ in 0..CALM.as_secs() / 60 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            self.look();
            differences = self.differences();
            if differences.is_empty() {
                break;
            }
        }
        assert!(differences.is_empty(), "{differences:#?}");
        self.rig.settle().await;
        self.log_says_the_same();
    }

    /// Where what is told differs from the truth.
    fn differences(&mut self) -> Vec<String> {
        let page = self.rig.page();
        let truths = self.rig.truths();
        let mut all = Vec::new();
        for (source, truth) in SOURCES.into_iter().zip(&truths) {
            // Of an end that came and went while nobody looked, the reason is not known.
            let mut aside = vec!["turn_failures["];
            if self.deletes {
                // A turn that was open when its session was deleted is over for us, and nothing for the platform.
                aside.push("turns_finished[abandoned]");
            }
            let differences = compare(&scraped_of(&page, source), truth, &aside);
            all.extend(differences.into_iter().map(|it| format!("{source}: {it}")));
        }
        if self.rig.traces() {
            let spans = self.rig.spans();
            for (source, truth) in SOURCES.into_iter().zip(&truths) {
                let of_it = spans.iter().filter(|(_, span)| text(span, "platform") == source);
                let of_it = told(&of_it.map(|(name, span)| (name.clone(), span.clone())).collect());
                let (mut of_it, mut wanted) = (comparable(source, of_it), comparable(source, expected(truth)));
                if self.deletes {
                    // The platform tells of none that it has forgotten, and what was open at the end has no end there.
                    of_it.retain(|id, _| wanted.contains_key(id));
                    let abandoned = of_it.iter().filter(|(_, deeds)| deeds.turns.contains_key("abandoned"));
                    let abandoned: Vec<String> = abandoned.map(|(id, _)| id.clone()).collect();
                    for of_both in [&mut of_it, &mut wanted] {
                        of_both.retain(|id, _| !abandoned.contains(id));
                    }
                }
                all.extend(differing(&of_it, &wanted).into_iter().map(|it| format!("{source} spans: {it}")));
            }
            if all.is_empty() {
                assert_whole(&spans);
            }
        }
        all
    }

    /// Folded anew from base and log, every total is what it is.
    fn log_says_the_same(&mut self) {
        let refolded = self.rig.journal().refold().expect("a sound journal");
        assert_eq!(totals(&refolded.state.snapshot()), totals(&self.rig.snapshot()), "folded anew, and as shown");
    }
}

/// Lives it, and says what happened in it if it goes wrong.
fn live(seed: u64) -> Result<(), String> {
    fastrand::seed(seed);
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let Plan { setup, acts, deletes, configures } = draw(&mut dice, seed);
    let options = format!("{:?} {:?} {:?}", setup.platforms, setup.rhythm, setup.keep);
    let diary = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&diary);
    let lived = catch_unwind(AssertUnwindSafe(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut life = Life {
                dice,
                rig: Rig::new(setup),
                deletes,
                configures,
                away: [false; 2],
                page: Lasting::new(),
                diary: kept,
            };
            life.live(acts).await;
        });
    }));
    lived.map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default();
        let said: String = said.chars().take(MOST_SAID).collect();
        let diary = diary.lock().expect("nobody panics with it").join("\n  ");
        format!("SEED={seed} fails: {said}\n  {diary}\n{options}\n")
    })
}

fn live_all(seeds: impl Iterator<Item = u64>) {
    let began = std::time::Instant::now();
    let (mut lived, mut failed) = (0, Vec::new());
    for seed in seeds {
        lived += 1;
        if let Err(why) = live(seed) {
            eprintln!("{why}");
            failed.push(seed);
        }
        if lived % 500 == 0 {
            eprintln!("{lived} lives in {:.0?}, {} failed", began.elapsed(), failed.len());
        }
    }
    eprintln!("{lived} lives in {:.0?}", began.elapsed());
    assert!(failed.is_empty(), "each can be lived again by its SEED: {failed:?}");
}

#[test]
fn lives_that_failed_once_are_lived_always() {
    let noted = include_str!("seeds.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    live_all(noted.map(|line| line.split(' ').next().expect("a seed").parse().expect("a seed is a number")));
}

#[test]
fn whatever_happens_what_is_told_is_true() {
    let (first, count) = (asked("SEED"), asked("SEEDS"));
    let count = count.unwrap_or(if first.is_some() { 1 } else { FEW });
    let first = first.unwrap_or(FIRST);
    eprintln!("SEED={first} SEEDS={count}");
    live_all(first..first + count);
}
