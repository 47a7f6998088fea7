//! Lives of sessions as Everruns tells them: turns by name, model calls one by one, numbers that were never given away.

use agent_session_exporter::domain::{
    COPIED_UNTIL_BORN, Event, Fact, ModelCall, NanoUsd, Sighting, Span, SpanId, Status, Timestamp, Tokens, ToolCall,
    TurnKey, TurnOutcome, Usage,
};
use agent_session_exporter::ingest::platforms::everruns;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use smol_str::{SmolStr, format_smolstr};

use super::lives::{Act, Life, Lives, SOURCES, Teller, at, call, event};

const STATUSES: [Status; 6] = [
    Status::Started,
    Status::Running,
    Status::AwaitingToolResults,
    Status::Paused,
    Status::Idle,
    // What this version does not know.
    Status::Other,
];

/// A few lives whose agents are among `agents`, some of them forks.
pub fn lives(agents: u32) -> impl Strategy<Value = Lives> {
    let horizon = prop_oneof![Just(Timestamp::default()), (0i64..600).prop_map(at)];
    (vec(life(agents), 1..6), vec(horizon, SOURCES)).prop_map(|(lives, count_from)| of(lives, count_from))
}

/// These lives, from these times on.
pub fn of(lives: Vec<Life>, count_from: Vec<Timestamp>) -> Lives {
    Lives { platform: &everruns::DESCRIPTOR, lives, count_from }
}

/// One life that begins with these acts, of which everything is counted.
pub fn alone(acts: Vec<Act>) -> Lives {
    let life = Life { born: Some(Status::Started), ..Life::new(0, "agent", at(0), acts) };
    of(vec![life], vec![Timestamp::default(); SOURCES])
}

fn life(agents: u32) -> impl Strategy<Value = Life> {
    let acts = prop_oneof![5 => acts(false), 1 => acts(true)];
    let inherited = prop_oneof![5 => Just(0u64), 2 => 1u64..30, 1 => Just(COPIED_UNTIL_BORN)];
    (0..SOURCES, 0..agents, 0i64..300, inherited, acts).prop_map(|(source, agent, created, inherited, mut acts)| {
        // What a fork was copied from happened before it.
        let mut teller = Teller::new(if inherited > 0 { created - 100 } else { created });
        acts.iter_mut().for_each(|act| teller.tell(act));
        let life = Life::new(source, &format_smolstr!("agent {agent}"), at(created), acts);
        Life { born: Some(Status::Started), inherited, ..life }
    })
}

fn acts(absurd: bool) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => sighting().prop_map(Act::Row),
        8 => page(stream_fact(absurd).boxed(), absurd),
        1 => (1u64..9).prop_map(Act::Lose),
        1 => Just(Act::ReadUpTo),
        3 => option::of(0u64..3000).prop_map(Act::Rests),
        2 => key().prop_map(Act::Abandon),
        1 => Just(Act::Gone),
    ];
    vec(act, 1..16)
}

fn page(fact: BoxedStrategy<Fact<SmolStr>>, absurd: bool) -> impl Strategy<Value = Act> {
    vec(event(fact, absurd), 0..10).prop_map(Act::Page)
}

/// Some events of which none says anything of a turn, at times that are not drawn any more.
pub fn quiet() -> impl Strategy<Value = Vec<Event<SmolStr>>> {
    let fact = stream_fact(false)
        .prop_filter("of no turn", |fact| !matches!(fact, Fact::TurnStarted(_) | Fact::TurnEnded { .. }));
    vec(event(fact.boxed(), false), 0..8).prop_map(told)
}

/// Some events of any kind.
pub fn stream() -> impl Strategy<Value = Vec<Event<SmolStr>>> {
    vec(event(stream_fact(false).boxed(), false), 0..12).prop_map(told)
}

fn told(events: Vec<Event<SmolStr>>) -> Vec<Event<SmolStr>> {
    let mut page = Act::Page(events);
    Teller::new(0).tell(&mut page);
    match page {
        Act::Page(events) => events,
        _ => unreachable!("a page stays a page"),
    }
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (select(STATUSES.to_vec()), 0i64..30).prop_map(|(status, since)| Sighting {
        status,
        since: Timestamp::from_micros(since),
        started_at: None,
        finished_at: None,
    })
}

fn key() -> impl Strategy<Value = Option<TurnKey>> {
    // Few, so that they repeat.
    option::weighted(0.8, (0u32..3).prop_map(|key| TurnKey::new(&key.to_string())))
}

fn model() -> impl Strategy<Value = SmolStr> {
    (0u32..3).prop_map(|model| format_smolstr!("model {model}"))
}

fn span() -> impl Strategy<Value = Option<Span>> {
    option::of((0u64..100).prop_map(Span::from_secs))
}

/// A platform's own name of a span, which it never gives twice.
fn name() -> impl Strategy<Value = Option<SpanId>> {
    option::of((1u64..).prop_map(|id| SpanId::new(id).expect("it is not zero")))
}

fn named_call() -> impl Strategy<Value = ToolCall<SmolStr>> {
    (call(), name()).prop_map(|(call, span)| ToolCall { span, ..call })
}

fn model_call(absurd: bool) -> impl Strategy<Value = ModelCall<SmolStr>> {
    let count = if absurd { prop_oneof![5 => 0u64..1000, 1 => Just(u64::MAX)].boxed() } else { (0u64..1000).boxed() };
    let usage = (count.clone(), count, option::of(0u64..1000)).prop_map(|(input, output, price)| {
        let tokens = Tokens { input, cached: input / 2, cache_write: input / 4, output, reasoning: 0 };
        Usage { tokens, cost: price.map(NanoUsd) }
    });
    let error = option::weighted(0.2, Just(SmolStr::new_static("other")));
    (option::of(model()), usage, any::<bool>(), span(), span(), error, name()).prop_map(
        |(model, usage, estimated, took, first_token, error, span)| ModelCall {
            model,
            usage,
            estimated,
            took,
            first_token,
            error,
            span,
            ..ModelCall::default()
        },
    )
}

fn turn_ended() -> impl Strategy<Value = Fact<SmolStr>> {
    let outcome = select(vec![TurnOutcome::Completed, TurnOutcome::Failed, TurnOutcome::Interrupted]);
    let error = select(vec!["provider_unavailable", "budget", "other"]);
    (key(), outcome, error, span()).prop_map(|(turn, outcome, error, took)| {
        let error = (outcome == TurnOutcome::Failed).then(|| SmolStr::new_static(error));
        Fact::TurnEnded { turn, outcome, error, took }
    })
}

fn stream_fact(absurd: bool) -> impl Strategy<Value = Fact<SmolStr>> {
    let error = option::of(select(vec!["error", "timeout"]).prop_map(SmolStr::new_static));
    prop_oneof![
        4 => select(STATUSES.to_vec()).prop_map(Fact::Became),
        5 => key().prop_map(Fact::TurnStarted),
        5 => turn_ended(),
        3 => (option::of(model()), name()).prop_map(|(model, span)| Fact::ReasoningStarted { model, span }),
        2 => name().prop_map(Fact::ActStarted),
        2 => Just(Fact::ActEnded),
        2 => model().prop_map(Fact::ModelNamed),
        5 => model_call(absurd).prop_map(Fact::ModelCalled),
        5 => model_call(absurd).prop_map(Fact::ReasoningEnded),
        4 => named_call().prop_map(Fact::ToolStarted),
        4 => (named_call(), error, span()).prop_map(|(call, error, took)| Fact::ToolEnded { call, error, took }),
        4 => (1u64..6).prop_map(Fact::Passed),
        2 => Just(Fact::Message),
        1 => Just(Fact::LoopError),
        1 => Just(Fact::Noted),
        1 => Just(Fact::Unknown),
        1 => Just(Fact::Undecoded("payload".into())),
    ]
}
