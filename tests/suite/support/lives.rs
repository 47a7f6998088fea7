//! Lives of sessions as property tests draw them: plausible ones, and ones that no platform should ever tell.

use agent_session_exporter::domain::{
    CallId, Ending, Event, Fact, ModelUsage, NanoUsd, SessionId, Sighting, Status, Timestamp, Tokens, ToolCall,
    TurnKey, Usage, Verdict,
};
use agent_session_exporter::ingest::platforms::{Descriptor, hcompany};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use smol_str::{SmolStr, format_smolstr};

/// What the poller learns of a session in one answer.
#[derive(Clone, Debug)]
pub enum Act {
    Row(Sighting),
    Page(Vec<Event<SmolStr>>),
    Beside(Box<Event<SmolStr>>),
    Lose(u64),
    ReadUpTo,
    /// Read to its end and shown at rest, with what the platform says that it used.
    Rests(Option<u64>),
    /// Nobody waits for this turn any more: our own word, so it is never told twice.
    Abandon(Option<TurnKey>),
    Gone,
}

/// One session, from its discovery on.
#[derive(Clone, Debug)]
pub struct Life {
    pub source: usize,
    pub agent: SmolStr,
    pub created_at: Timestamp,
    pub born: Option<Status>,
    pub inherited: u64,
    pub acts: Vec<Act>,
}

impl Life {
    /// Of a session that is no copy, on a platform that tells every beginning.
    pub fn new(source: usize, agent: &str, created_at: Timestamp, acts: Vec<Act>) -> Self {
        Self { source, agent: agent.into(), created_at, born: None, inherited: 0, acts }
    }
}

/// Several sessions of several sources.
#[derive(Clone, Debug)]
pub struct Lives {
    pub platform: &'static Descriptor,
    pub lives: Vec<Life>,
    /// Of each source, as seconds from [`EPOCH`].
    pub count_from: Vec<Timestamp>,
}

/// When everything begins: 2026-11-20T14:30:00Z.
pub const EPOCH: i64 = 1_795_185_000_000_000;
pub const SOURCES: usize = 2;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(EPOCH + seconds * 1_000_000)
}

/// A few lives whose agents are among `agents`.
pub fn lives(agents: u32) -> impl Strategy<Value = Lives> {
    let horizon = prop_oneof![Just(Timestamp::default()), (0i64..600).prop_map(at)];
    (vec(life(agents), 1..6), vec(horizon, SOURCES)).prop_map(|(lives, count_from)| Lives {
        platform: &hcompany::DESCRIPTOR,
        lives,
        count_from,
    })
}

fn life(agents: u32) -> impl Strategy<Value = Life> {
    // Absurd numbers spoil everything after them, so most lives have none.
    let acts = prop_oneof![5 => acts(false), 1 => acts(true)];
    (0..SOURCES, 0..agents, 0i64..300, acts).prop_map(|(source, agent, created, mut acts)| {
        let mut teller = Teller::new(created);
        acts.iter_mut().for_each(|act| teller.tell(act));
        Life::new(source, &format_smolstr!("agent {agent}"), at(created), acts)
    })
}

/// Makes drawn steps into times and running totals, which strategies cannot know of each other.
pub(super) struct Teller {
    now: i64,
    steps: u64,
    tokens: Tokens,
}

impl Teller {
    pub(super) fn new(now: i64) -> Self {
        Self { now, steps: 0, tokens: Tokens::default() }
    }

    pub(super) fn tell(&mut self, act: &mut Act) {
        match act {
            Act::Page(events) => events.iter_mut().for_each(|event| self.event(event)),
            Act::Beside(event) => self.event(event),
            Act::Row(sighting) => {
                sighting.since = self.time(sighting.since);
                sighting.finished_at = sighting.finished_at.map(|at| self.time(at));
            }
            Act::Lose(_) | Act::ReadUpTo | Act::Rests(_) | Act::Abandon(_) | Act::Gone => {}
        }
    }

    /// Drawn times are steps in seconds, small ones, unless they are absurd.
    fn time(&mut self, drawn: Timestamp) -> Timestamp {
        let step = drawn.micros();
        if step.abs() > 10_000 {
            return drawn;
        }
        self.now += step;
        at(self.now)
    }

    fn event(&mut self, event: &mut Event<SmolStr>) {
        event.at = self.time(event.at);
        if let Fact::Ended(ending) = &mut event.fact {
            ending.finished_at = ending.finished_at.map(|_| event.at);
        }
        if let Fact::Sighted(sighting) = &mut event.fact {
            sighting.since = event.at;
        }
        let (Fact::Usage { steps, models } | Fact::Totals { steps, models }) = &mut event.fact else { return };
        // A drawn zero starts the totals again.
        if models.first().is_some_and(|row| row.usage.tokens.is_zero()) {
            (self.steps, self.tokens) = (0, Tokens::default());
        }
        if let Some(steps) = steps {
            self.steps = self.steps.saturating_add(*steps);
            *steps = self.steps;
        }
        for row in models {
            self.tokens += row.usage.tokens;
            row.usage.tokens = self.tokens;
        }
    }
}

fn acts(absurd: bool) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => sighting().prop_map(Act::Row),
        8 => vec(event(stream_fact(absurd), absurd), 0..8).prop_map(Act::Page),
        3 => event(beside_fact(absurd), absurd).prop_map(|event| Act::Beside(Box::new(event))),
        1 => lost(absurd).prop_map(Act::Lose),
        3 => Just(Act::ReadUpTo),
        1 => Just(Act::Gone),
    ];
    vec(act, 1..16)
}

fn lost(absurd: bool) -> BoxedStrategy<u64> {
    if absurd { prop_oneof![1u64..9, Just(1 << 40)].boxed() } else { (1u64..9).boxed() }
}

pub(super) fn event(fact: BoxedStrategy<Fact<SmolStr>>, absurd: bool) -> BoxedStrategy<Event<SmolStr>> {
    let step = (-3i64..60).prop_map(Timestamp::from_micros);
    let far = select(vec![i64::MIN / 40, -EPOCH, 1 << 58]).prop_map(Timestamp::from_micros);
    let time = if absurd { prop_oneof![20 => step, 1 => far].boxed() } else { step.boxed() };
    (time, fact).prop_map(|(at, fact)| Event { at, fact }).boxed()
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (status(), 0i64..30, option::of(0i64..400)).prop_map(|(status, since, started)| Sighting {
        status,
        since: Timestamp::from_micros(since),
        started_at: started.map(at),
        finished_at: status.is_terminal().then_some(Timestamp::from_micros(since)),
    })
}

fn status() -> impl Strategy<Value = Status> {
    select(Status::ALL.to_vec())
}

fn active() -> impl Strategy<Value = Status> {
    status().prop_filter("it has not ended", |status| !status.is_terminal())
}

fn terminal() -> impl Strategy<Value = Status> {
    status().prop_filter("it has ended", |status| status.is_terminal())
}

fn verdict() -> impl Strategy<Value = Option<Verdict>> {
    option::of(select(Verdict::ALL.to_vec()))
}

pub(super) fn call() -> impl Strategy<Value = ToolCall<SmolStr>> {
    // Few names and fewer ids, so that they repeat.
    (0u32..4, option::of(0u32..2)).prop_map(|(tool, key)| ToolCall {
        tool: format_smolstr!("tool {tool}"),
        id: key.map(|key| CallId::new(&key.to_string())),
        span: None,
    })
}

fn error() -> impl Strategy<Value = SmolStr> {
    select(vec!["tool", "tool_validation", "internal"]).prop_map(SmolStr::new_static)
}

/// Steps and tokens are what is new since the last report; [`Teller`] adds them up.
fn usage(absurd: bool) -> BoxedStrategy<(Option<u64>, Vec<ModelUsage<SmolStr>>)> {
    let count = if absurd {
        prop_oneof![5 => 0u64..1000, 1 => Just(u64::MAX), 1 => Just(1 << 63)].boxed()
    } else {
        (0u64..1000).boxed()
    };
    let price = if absurd { prop_oneof![0u64..1000, Just(u64::MAX)].boxed() } else { (0u64..1000).boxed() };
    let row = (0u32..3, count.clone(), count.clone(), option::of(price)).prop_map(|(model, input, output, price)| {
        let tokens = Tokens { input, cached: input / 2, cache_write: 0, output, reasoning: output / 3 };
        ModelUsage { model: format_smolstr!("model {model}"), usage: Usage { tokens, cost: price.map(NanoUsd) } }
    });
    (option::of(count), vec(row, 0..3)).boxed()
}

fn stream_fact(absurd: bool) -> BoxedStrategy<Fact<SmolStr>> {
    prop_oneof![
        1 => Just(Fact::StartRequested),
        4 => active().prop_map(Fact::Entered),
        3 => Just(Fact::Entered(Status::Running)),
        2 => terminal().prop_map(Fact::StreamEnded),
        2 => Just(Fact::Message),
        3 => Just(Fact::Observed),
        5 => (vec(call(), 0..4), any::<bool>()).prop_map(|(calls, valid)| Fact::Step { calls, valid }),
        5 => (call(), option::of(error())).prop_map(|(call, error)| Fact::ToolEnded { call, error, took: None }),
        1 => Just(Fact::LoopError),
        5 => usage(absurd).prop_map(|(steps, models)| Fact::Usage { steps, models }),
        2 => verdict().prop_map(Fact::Answered),
        1 => Just(Fact::Noted),
        1 => Just(Fact::Unknown),
        1 => Just(Fact::Undecoded("payload".into())),
    ]
    .boxed()
}

fn beside_fact(absurd: bool) -> BoxedStrategy<Fact<SmolStr>> {
    let ending = (terminal(), option::of(0i64..400), any::<bool>(), option::of(error()), verdict());
    let ending = ending.prop_map(|(status, started, says_when, error, verdict)| Ending {
        status,
        started_at: started.map(at),
        finished_at: says_when.then(Timestamp::default),
        error,
        verdict,
    });
    prop_oneof![
        3 => ending.prop_map(Fact::Ended),
        2 => usage(absurd).prop_map(|(steps, models)| Fact::Totals { steps, models }),
        2 => sighting().prop_map(Fact::Sighted),
        1 => vec(0u32..4, 0..3).prop_map(|children| {
            Fact::Children(children.iter().map(|child| SessionId::new(&format!("child {child}"))).collect())
        }),
    ]
    .boxed()
}
