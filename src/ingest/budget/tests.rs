//! The budget as it is told what becomes of requests: what always holds, and how it finds the platform's limit.

use proptest::prelude::*;

use super::*;

const START: Tick = Tick::ZERO;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The next grant, and when it was given.
fn next(budget: &mut Budget, mut now: Tick) -> (Grant, Tick) {
    for _ in 0..10 {
        match budget.ask(now) {
            Ok(grant) => return (grant, now),
            Err(at) => {
                assert!(at > now, "a wait has to lead somewhere");
                now = at;
            }
        }
    }
    panic!("nothing is granted: {budget:?}");
}

/// A budget of ten that was refused a request after others had been answered, and when.
fn lowered(asked: Option<Duration>) -> (Budget, Tick) {
    let mut budget = Budget::new(10.0);
    let (grant, now) = next(&mut budget, START);
    budget.answered(grant);
    let (grant, now) = next(&mut budget, now);
    budget.refused(grant, now, asked, 0.0);
    (budget, now)
}

#[test]
fn spends_a_burst_and_then_the_rate() {
    let mut budget = Budget::new(10.0);
    let mut now = START;
    let mut times = Vec::new();
    for _ in 0..30 {
        now = next(&mut budget, now).1;
        times.push(now.as_secs_f64());
    }
    assert_eq!(times[9], 0.0);
    assert!((1.99..2.01).contains(&times[29]), "{times:?}");
}

#[test]
fn a_pause_is_as_long_as_the_platform_asks_for() {
    for (asked, expected) in [(0.0, 0.0), (7.0, 7.0), (3600.0, 3600.0), (86_400.0, 3600.0)] {
        let (budget, now) = lowered(Some(seconds(asked)));
        assert_eq!(budget.paused_until(), now + seconds(expected), "{asked}");
    }
    let (mut budget, now) = lowered(Some(seconds(60.0)));
    let (_, at) = next(&mut budget, now);
    assert!(at >= now + seconds(60.0) && at < now + seconds(60.5), "one goes first, and soon: {at:?}");
    assert!(budget.ask(at).is_err(), "and only one");
}

#[test]
fn without_a_word_pauses_double_until_something_is_answered() {
    let (mut budget, mut now) = lowered(None);
    let mut pauses = vec![(budget.paused_until() - now).as_secs()];
    for _ in 0..9 {
        let (grant, at) = next(&mut budget, now);
        budget.refused(grant, at, None, 0.0);
        now = at;
        pauses.push((budget.paused_until() - now).as_secs());
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    let (grant, at) = next(&mut budget, now);
    budget.answered(grant);
    let (grant, at) = next(&mut budget, at);
    budget.refused(grant, at, None, 0.0);
    assert_eq!(budget.paused_until() - at, FIRST_PAUSE);
}

#[test]
fn a_platform_that_does_not_keep_its_word_is_left_alone_for_longer() {
    let (mut budget, mut now) = lowered(Some(seconds(0.0)));
    let mut pauses = Vec::new();
    for asked in [0.0, 1.0, 1.0, 60.0, 1.0] {
        let (grant, at) = next(&mut budget, now);
        budget.refused(grant, at, Some(seconds(asked)), 0.0);
        now = at;
        pauses.push((budget.paused_until() - now).as_secs());
    }
    assert_eq!(pauses, [2, 4, 8, 60, 32]);
}

#[test]
fn a_pause_may_be_a_quarter_longer_and_never_shorter() {
    for (spread, expected) in [(0.0, 60.0), (0.5, 67.5), (1.0, 75.0), (f64::MAX, 75.0)] {
        let mut budget = Budget::new(10.0);
        let (grant, now) = next(&mut budget, START);
        budget.refused(grant, now, Some(seconds(60.0)), spread);
        assert_eq!(budget.paused_until(), seconds(expected));
    }
}

#[test]
fn one_refusal_in_a_hundred_is_put_up_with_where_it_costs_little() {
    for (answered, asked, pace) in [(99, 2.0, 7.0), (100, 2.0, 10.0), (100, 3.0, 10.0), (1000, 4.0, 7.0)] {
        let (mut budget, mut now) = (Budget::new(10.0), START);
        for _ in 0..answered {
            let grant;
            (grant, now) = next(&mut budget, now);
            budget.answered(grant);
        }
        let (grant, now) = next(&mut budget, now);
        budget.refused(grant, now, Some(seconds(asked)), 0.0);
        assert_eq!(budget.pace(budget.paused_until()), pace, "{answered} and then {asked} s");
        assert_eq!(budget.paused_until(), now + seconds(asked), "the pause is kept all the same");
    }
    // A long time without any is worth three.
    let (mut budget, mut now) = (Budget::new(10.0), START);
    for _ in 0..10_000 {
        let grant;
        (grant, now) = next(&mut budget, now);
        budget.answered(grant);
    }
    let paces = [(); 4].map(|()| {
        let (grant, at) = next(&mut budget, now);
        budget.answered(grant);
        let (grant, at) = next(&mut budget, at);
        budget.refused(grant, at, Some(seconds(1.0)), 0.0);
        now = at;
        budget.pace(budget.paused_until())
    });
    assert_eq!(paces, [10.0, 10.0, 10.0, 7.0]);
}

#[test]
fn what_was_under_way_together_lowers_the_pace_once() {
    let mut budget = Budget::new(10.0);
    let grants: Vec<Grant> = (0..8).map(|_| budget.ask(START).expect("a burst")).collect();
    budget.answered(grants[0]);
    for grant in &grants[1..] {
        budget.refused(*grant, START, Some(seconds(1.0)), 0.0);
    }
    assert_eq!(budget.pace(seconds(1.0)), 7.0);
    budget.refused(grants[7], START, Some(seconds(5.0)), 0.0);
    assert_eq!(budget.pace(seconds(5.0)), 7.0, "it is later, and no slower");
    assert_eq!(budget.ask(seconds(1.0)), Err(seconds(5.0)), "but the longest pause counts");
    // The next round trip may lower it again.
    let (grant, now) = next(&mut budget, seconds(5.0));
    budget.answered(grant);
    let (grant, now) = next(&mut budget, now);
    budget.refused(grant, now, Some(seconds(0.0)), 0.0);
    assert!((4.9..5.0).contains(&budget.pace(now)), "{}", budget.pace(now));
}

#[test]
fn a_platform_that_takes_nothing_at_all_says_nothing_about_the_pace() {
    let (mut budget, mut now) = lowered(Some(seconds(1.0)));
    for _ in 0..1000 {
        let (grant, at) = next(&mut budget, now);
        budget.refused(grant, at, Some(seconds(1.0)), 0.0);
        now = at;
    }
    assert_eq!(budget.pace(now), 7.0);
    assert_eq!(budget.pace(budget.paused_until() + 2 * SHORTEST_CALM), 10.0, "it ends as if it had been one refusal");
}

#[test]
fn the_way_back_is_slow_near_what_was_too_fast_and_ends_where_it_began() {
    let (budget, _) = lowered(Some(seconds(5.0)));
    let at = |share: f64| budget.pace(seconds(5.0) + SHORTEST_CALM.mul_f64(share));
    assert_eq!(at(0.0), 7.0);
    assert!(at(0.5) > 9.6 && at(0.9) > 9.99 && at(1.0) <= 10.0, "{} {} {}", at(0.5), at(0.9), at(1.0));
    assert_eq!(at(2.0), 10.0);
    // Refused at half of it, it comes back to that, waits, and goes beyond.
    let lower = Recovery { low: 3.5, ceiling: 5.0, from: START, calm: SHORTEST_CALM };
    let budget = Budget { recovery: Some(lower), ..Budget::new(10.0) };
    let paces = [0.0, 0.5, 1.0, 1.5, 1.8, 2.0].map(|way| budget.pace(SHORTEST_CALM.mul_f64(way)));
    let expected = [3.5, 4.8125, 5.0, 5.625, 7.56, 10.0];
    assert!(paces.iter().zip(expected).all(|(pace, expected)| (pace - expected).abs() < 0.01), "{paces:?}");
}

#[test]
fn a_pause_that_costs_more_is_risked_less_often() {
    for (pause, calm) in [(0.0, 60), (1.0, 60), (60.0, 480), (3600.0, 1200)] {
        let (budget, now) = lowered(Some(seconds(pause)));
        assert_eq!(budget.recovery.map(|it| it.calm), Some(Duration::from_secs(calm)), "{pause} at {now:?}");
    }
}

/// A platform that takes so many requests a second, and a burst.
struct Platform {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Tick,
}

impl Platform {
    fn takes(&mut self, now: Tick) -> bool {
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let takes = self.tokens >= 1.0;
        self.tokens -= if takes { 1.0 } else { 0.0 };
        takes
    }
}

#[test]
fn it_comes_to_just_below_what_the_platform_takes() {
    for (per_second, burst, pause) in [(5.0, 10.0, 1.0), (5.0, 10.0, 60.0), (2.0, 1.0, 5.0), (9.0, 90.0, 10.0)] {
        let mut platform = Platform { per_second, burst, tokens: burst, at: START };
        let mut budget = Budget::new(10.0);
        let (mut now, mut taken, mut refused) = (START, 0, 0);
        let (begin, end) = (seconds(1800.0), seconds(3.0 * 3600.0));
        while now < end {
            let (grant, at) = next(&mut budget, now);
            now = at;
            let counts = u32::from(now >= begin);
            if platform.takes(now) {
                budget.answered(grant);
                taken += counts;
            } else {
                budget.refused(grant, now, Some(seconds(pause)), 0.5);
                refused += counts;
            }
        }
        let used = f64::from(taken) / (end - begin).as_secs_f64() / per_second;
        let wasted = f64::from(refused) / f64::from(taken + refused);
        assert!(used > 0.75 && used <= 1.0, "{per_second}/{burst}/{pause}: {used:.3} of what is taken");
        assert!(wasted < 0.015, "{per_second}/{burst}/{pause}: {wasted:.5} refused");
    }
}

/// What can happen to a budget.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Ask,
    Answer(usize),
    Refuse(usize, Option<u64>, f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..30_000).prop_map(Step::Wait),
        1 => (0u64..2_000_000).prop_map(Step::Wait),
        12 => Just(Step::Ask),
        4 => any::<usize>().prop_map(Step::Answer),
        4 => (any::<usize>(), prop::option::of(0u64..400), 0.0..1.0).prop_map(|(which, asked, spread)| {
            Step::Refuse(which, asked, spread)
        }),
    ]
}

proptest! {
    #[test]
    fn what_always_holds(per_second in prop_oneof![0.001..1.0, 1.0..50.0, 50.0..1000.0], steps in prop::collection::vec(step(), 1..400)) {
        let mut budget = Budget::new(per_second);
        let lowest = budget.lowest();
        let (mut now, mut forbidden_until) = (START, START);
        let mut under_way: Vec<Grant> = Vec::new();
        let mut granted: Vec<Tick> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Ask => {
                    // Everything that is to be had at once: no fewer would break a bound.
                    while let Ok(grant) = budget.ask(now) {
                        prop_assert!(now >= forbidden_until, "granted in a pause");
                        under_way.push(grant);
                        granted.push(now);
                    }
                }
                Step::Answer(which) if !under_way.is_empty() => {
                    let grant = under_way.swap_remove(which % under_way.len());
                    budget.answered(grant);
                }
                Step::Refuse(which, asked, spread) if !under_way.is_empty() => {
                    let grant = under_way.swap_remove(which % under_way.len());
                    let (before, is_first, is_proven) = (budget.pace(now), grant.epoch == budget.epoch, budget.is_proven);
                    let has_credit = budget.credit >= PER_TOLERATED;
                    let is_lowered = budget.refused(grant, now, asked.map(Duration::from_secs), spread);
                    prop_assert!(!is_lowered || is_first && is_proven);
                    // Put up with only where the pause is short.
                    let is_tolerated = is_first && is_proven && !is_lowered;
                    prop_assert!(!is_tolerated || has_credit && asked.is_none_or(|asked| asked <= 3));
                    if let Some(asked) = asked {
                        forbidden_until = forbidden_until.max(now + Duration::from_secs(asked));
                    }
                    // Lowered by the first of a round trip, and by no other.
                    let after = budget.pace(now);
                    match (is_first, is_lowered) {
                        (true, true) => prop_assert!((after - (before * FALL).max(lowest)).abs() < 1e-9),
                        (true, false) => prop_assert!(after <= before),
                        (false, _) => prop_assert_eq!(after, before),
                    }
                }
                Step::Answer(_) | Step::Refuse(..) => {}
            }
            let pace = budget.pace(now);
            prop_assert!(lowest <= pace && pace <= per_second, "{lowest} <= {pace} <= {per_second}");
        }
        // Never more than a burst and the rate, in any window: a bucket of just these never runs dry.
        let burst = per_second.max(1.0);
        let (mut left, mut before) = (burst, START);
        for at in granted {
            left = (left + per_second * (at - before).as_secs_f64()).min(burst) - 1.0;
            before = at;
            prop_assert!(left > -1e-6, "{left} at {at:?}");
        }
        // Never stuck: it is granted after the pause and the time of one request.
        let (_, at) = next(&mut budget, now);
        prop_assert!(at <= now.max(budget.paused_until()) + seconds(1.01 / lowest));
        // And the old pace comes back.
        prop_assert_eq!(budget.pace(budget.paused_until().max(now) + 2 * LONGEST_CALM), per_second);
    }
}

/// Requests per second that are taken in an hour by a platform that refuses so many by chance, whatever the pace; and how
/// long after the last refusal the old pace is back.
fn by_chance(share: f64) -> (f64, Duration) {
    let mut budget = Budget::new(10.0);
    let mut dice = fastrand::Rng::with_seed(7);
    let (mut now, mut taken, mut last) = (START, 0, START);
    while now < seconds(3600.0) {
        let (grant, at) = next(&mut budget, now);
        now = at;
        if dice.f64() < share {
            budget.refused(grant, now, Some(seconds(2.0)), 0.5);
            last = now;
        } else {
            budget.answered(grant);
            taken += 1;
        }
    }
    let back = (0..).map(|second| last + seconds(f64::from(second))).find(|at| budget.pace(*at) >= 10.0);
    (f64::from(taken) / 3600.0, back.expect("it comes back") - last)
}

/// A refusal by chance cannot be told from one for the pace. Few cost little, many cost most of it, and not for long.
#[test]
fn refusals_that_no_pace_could_prevent_cost_what_they_may_and_not_for_long() {
    for (share, at_least) in [(0.001, 9.0), (0.01, 6.0), (0.05, 0.9), (0.2, 0.5)] {
        let (taken, back) = by_chance(share);
        assert!(taken >= at_least, "{share}: {taken:.2} of 10 requests a second");
        assert!(back <= 2 * SHORTEST_CALM + seconds(4.0), "{share}: {back:?}");
    }
}
