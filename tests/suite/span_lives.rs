//! Lives of sessions that once were told wrongly as spans, one by one.

use agent_session_exporter::domain::{
    CallId, DISCOVERED, Ending, Event, Fact, Item, Mark, ModelCall, ModelUsage, Receipt, Report, Row, SessionId,
    Sighting, SourceIx, Span, SpanId, Status, Tokens, ToolCall, TurnKey, TurnOutcome, Usage,
};
use agent_session_exporter::ingest::platforms::{Descriptor, everruns, hcompany};
use agent_session_exporter::projection::{Happening, LabelPolicy, SourceRecord, State, TraceSpan, TurnWork, Work};
use smol_str::SmolStr;

use crate::support::lives::at;
use crate::support::running::source_record;

/// A source whose sessions are told as spans, and what was told.
struct Told {
    state: State,
    spans: Vec<TraceSpan>,
}

impl Told {
    fn of(platform: &'static Descriptor, count_from: i64) -> Self {
        let mut state = State::new(LabelPolicy::default(), []);
        let source =
            state.add_source(SourceRecord { count_from: at(count_from), ..source_record("one", platform.name) });
        let patience = platform.capabilities.turn_names.map(|_| Span::from_secs(100));
        state.attach(source, platform.capabilities, patience);
        state.trace(source, true);
        Self { state, spans: Vec::new() }
    }

    fn take(&mut self, second: i64, items: Vec<Item>) -> Receipt {
        let report = Report { source: SourceIx(0), asked_at: at(second), received_at: at(second), items };
        let receipt =
            self.state.take_in(&report, &|_| Err("none is settled".into())).expect("it continues what was taken");
        self.spans.extend_from_slice(&self.state.pending().spans);
        self.state.committed();
        receipt
    }

    fn turns<'a>(&'a self, id: &str) -> Vec<(&'a TraceSpan, &'a TurnWork)> {
        let of_it = self.spans.iter().filter(|span| span.session == SessionId::new(id));
        let turn = |span: &'a TraceSpan| match &span.work {
            Work::Turn(turn) => Some((span, &**turn)),
            _ => None,
        };
        of_it.filter_map(turn).collect()
    }

    fn count(&self, is_it: impl Fn(&Work) -> bool) -> usize {
        self.spans.iter().filter(|span| is_it(&span.work)).count()
    }
}

fn event(second: i64, fact: Fact<SmolStr>) -> Event<SmolStr> {
    Event { at: at(second), fact }
}

fn row(id: &str, created: i64, status: Status, since: i64, mark: u64) -> Item {
    let sighting = Sighting { status, since: at(since), started_at: None, finished_at: None };
    Item::Row(Row::new(SessionId::new(id), "agent".into(), at(created), sighting, Mark(mark)))
}

fn page(id: &str, from: u64, events: Vec<Event<SmolStr>>) -> Item {
    Item::page(SessionId::new(id), from, events)
}

fn child_of_parent() -> Item {
    let fact = Fact::ChildOf(SessionId::new("parent"));
    Item::Beside { id: SessionId::new("child"), events: vec![event(2, fact)] }
}

fn read_so_far() -> Item {
    Item::ReadUpTo { id: SessionId::new("one"), mark: Some(Mark(1)), rests: false, tokens: None }
}

fn entered(second: i64, status: Status) -> Event<SmolStr> {
    event(second, Fact::Entered(status))
}

fn tool(number: u32) -> ToolCall<SmolStr> {
    let span = SpanId::new(u64::from(number) + 1);
    ToolCall { tool: "search".into(), id: Some(CallId::new(&format!("call_{number}"))), span }
}

fn tool_ended(number: u32) -> Fact<SmolStr> {
    Fact::ToolEnded { call: tool(number), error: None, took: None }
}

fn key(number: u32) -> Option<TurnKey> {
    Some(TurnKey::new(&format!("turn_{number:032x}")))
}

fn turn_ended(number: u32) -> Fact<SmolStr> {
    Fact::TurnEnded { turn: key(number), outcome: TurnOutcome::Completed, error: None, took: None }
}

fn model_called(input: u64) -> Fact<SmolStr> {
    let usage = Usage { tokens: Tokens { input, ..Tokens::default() }, cost: None };
    Fact::ModelCalled(ModelCall { usage, ..ModelCall::default() })
}

/// A parent with a turn from 1 to 10 and another from 20 on, read so far when its child is read.
fn family(parent: &[Event<SmolStr>], child: Vec<Event<SmolStr>>) -> Told {
    let mut told = Told::of(&hcompany::DESCRIPTOR, -1000);
    told.take(30, vec![row("parent", 0, Status::Running, 1, 1), row("child", 2, Status::Running, 3, 1)]);
    told.take(31, vec![page("parent", 0, parent.to_vec())]);
    told.take(32, vec![child_of_parent(), page("child", 0, child)]);
    told.take(40, vec![page("parent", parent.len() as u64, vec![entered(39, Status::Idle)])]);
    told
}

#[test]
fn a_child_stands_where_its_parent_was_at_the_time() {
    let parent = [entered(1, Status::Running), entered(10, Status::Idle), entered(20, Status::Running)];
    let child = vec![
        entered(3, Status::Running),
        entered(8, Status::Idle),
        entered(12, Status::Running),
        entered(15, Status::Idle),
        entered(21, Status::Running),
        entered(25, Status::Idle),
    ];
    let told = family(&parent, child);
    let (parents, children) = (told.turns("parent"), told.turns("child"));
    let under = |(child, _): &(&TraceSpan, &TurnWork)| {
        parents.iter().position(|(parent, _)| {
            child.context.trace == parent.context.trace && child.parent == Some(parent.context.span)
        })
    };
    assert_eq!(children.iter().map(under).collect::<Vec<_>>(), [Some(0), None, Some(1)]);
}

#[test]
fn a_child_waits_for_the_turn_of_its_parent_that_it_began_in() {
    let mut told = Told::of(&hcompany::DESCRIPTOR, -1000);
    told.take(30, vec![row("parent", 0, Status::Running, 1, 1), row("child", 12, Status::Running, 13, 1)]);
    let parent = Some(SessionId::new("parent"));
    assert_eq!(told.take(31, vec![child_of_parent()]).unread_parent, parent, "nothing was read of it");
    told.take(32, vec![page("parent", 0, vec![entered(1, Status::Running), entered(10, Status::Idle)])]);
    assert_eq!(told.take(33, vec![child_of_parent()]).unread_parent, parent, "it was read to the turn before");
    told.take(34, vec![page("parent", 2, vec![entered(11, Status::Running)])]);
    assert_eq!(told.take(35, vec![child_of_parent()]).unread_parent, None);
}

#[test]
fn what_lists_say_changes_no_time_that_is_told() {
    let mut told = Told::of(&hcompany::DESCRIPTOR, -1000);
    told.take(2, vec![row("one", 0, Status::Running, 1, 1)]);
    let first = vec![entered(100, Status::Running), entered(110, Status::AwaitingToolResults)];
    told.take(115, vec![page("one", 0, first)]);
    // The list tells it first, and since when only as well as it can.
    told.take(125, vec![row("one", 0, Status::Running, 1, 2), page("one", 2, vec![entered(120, Status::Running)])]);
    told.take(135, vec![row("one", 0, Status::Completed, 131, 3)]);
    told.take(135, vec![page("one", 3, vec![event(130, Fact::StreamEnded(Status::Completed))])]);
    let (started_at, finished_at) = (Some(at(1)), Some(at(131)));
    let ending = Ending { status: Status::Completed, started_at, finished_at, error: None, verdict: None };
    told.take(136, vec![Item::Beside { id: SessionId::new("one"), events: vec![event(131, Fact::Ended(ending))] }]);
    let (_, turn) = told.turns("one")[0];
    let marks: Vec<_> = turn.tally.marks.iter().map(|mark| (mark.at, mark.what)).collect();
    let status = |second, status| (at(second), Happening::Entered(status));
    assert_eq!(marks, [status(110, Status::AwaitingToolResults), status(120, Status::Running)]);
}

#[test]
fn what_goes_on_after_it_was_given_up_is_told() {
    let mut told = Told::of(&everruns::DESCRIPTOR, -1000);
    told.take(0, vec![row("one", 0, Status::Running, 0, 1)]);
    let first = vec![event(1, Fact::TurnStarted(key(1))), event(2, model_called(10))];
    told.take(5, vec![page("one", 0, first), read_so_far()]);
    told.take(200, vec![read_so_far(), Item::Walked { walk: DISCOVERED, until: at(200) }]);
    let (given_up, work) = told.turns("one")[0];
    assert_eq!((work.outcome, work.tally.tokens.input, given_up.ended), (TurnOutcome::Abandoned, 10, at(2)));
    let (trace, parent) = (given_up.context.trace, given_up.context.span);
    let rest = vec![
        event(300, Fact::ActStarted(None)),
        event(300, Fact::ToolStarted(tool(1))),
        event(301, tool_ended(1)),
        event(301, Fact::ActEnded),
        event(303, model_called(1000)),
        event(304, turn_ended(1)),
    ];
    told.take(310, vec![page("one", 2, rest)]);
    let (after, work) = told.turns("one")[1];
    assert_eq!((after.context.trace, after.parent, after.began), (trace, Some(parent), at(2)));
    assert!(work.is_rest && (work.tally.tokens.input, work.tally.tool_calls, work.tally.model_calls) == (1000, 1, 1));
    let below = told.spans.iter().filter(|span| span.parent == Some(after.context.span)).count();
    assert_eq!(below, 2, "the act and the model call");
}

#[test]
fn a_tool_call_is_told_once() {
    // More at once than are waited for.
    let mut told = Told::of(&everruns::DESCRIPTOR, -1000);
    told.take(0, vec![row("one", 0, Status::Running, 0, 1)]);
    let mut events = vec![event(1, Fact::TurnStarted(key(1)))];
    events.extend((0..65).map(|number| event(2, Fact::ToolStarted(tool(number)))));
    events.extend((0..65).map(|number| event(3, tool_ended(number))));
    events.push(event(4, turn_ended(1)));
    told.take(5, vec![page("one", 0, events)]);
    assert_eq!(told.count(|work| matches!(work, Work::Tool { .. })), 65);

    // Its end comes in another turn, whether its own is over or not.
    for over in [vec![], vec![event(3, turn_ended(1))]] {
        let mut told = Told::of(&everruns::DESCRIPTOR, -1000);
        told.take(0, vec![row("one", 0, Status::Running, 0, 1)]);
        let mut events = vec![event(1, Fact::TurnStarted(key(1))), event(2, Fact::ToolStarted(tool(1)))];
        events.extend(over);
        events.extend([event(4, Fact::TurnStarted(key(2))), event(5, tool_ended(1)), event(6, turn_ended(2))]);
        told.take(7, vec![page("one", 0, events)]);
        let of_tools: Vec<_> = told.spans.iter().filter(|span| matches!(span.work, Work::Tool { .. })).collect();
        assert!(of_tools.len() == 1 && of_tools[0].cut_off, "{of_tools:?}");
    }
}

#[test]
fn no_answer_of_a_model_is_forgotten() {
    let is_chat = |work: &Work| matches!(work, Work::Chat(_));
    let answer = |second| [event(second, Fact::Observed), event(second, Fact::Step { calls: vec![], valid: true })];
    // The session is deleted before a total says what model it was.
    let mut told = Told::of(&hcompany::DESCRIPTOR, -1000);
    told.take(2, vec![row("one", 0, Status::Running, 1, 1)]);
    told.take(9, vec![page("one", 0, [vec![entered(1, Status::Running)], answer(2).to_vec()].concat())]);
    told.take(10, vec![Item::Gone { id: SessionId::new("one"), mark: None }]);
    assert_eq!((told.count(is_chat), told.turns("one").len()), (1, 1));
    // More answers before a total than are kept.
    let mut told = Told::of(&hcompany::DESCRIPTOR, -1000);
    told.take(2, vec![row("one", 0, Status::Running, 1, 1)]);
    let tokens = Tokens { input: 9, ..Tokens::default() };
    let models = vec![ModelUsage { model: "model".into(), usage: Usage { tokens, cost: None } }];
    let mut events = vec![entered(1, Status::Running)];
    events.extend((2..72).flat_map(answer));
    events.push(event(80, Fact::Usage { steps: Some(70), models }));
    told.take(100, vec![page("one", 0, events)]);
    assert_eq!(told.count(is_chat), 70);
}

#[test]
fn each_of_many_calls_of_one_step_has_a_name_of_its_own() {
    let mut told = Told::of(&hcompany::DESCRIPTOR, -1000);
    told.take(2, vec![row("one", 0, Status::Running, 1, 1)]);
    let call = |number| ToolCall { span: None, ..tool(number) };
    let mut events = vec![entered(1, Status::Running)];
    events.push(event(3, Fact::Step { calls: (0..300).map(call).collect(), valid: true }));
    events.extend((0..300).map(|number| event(5, Fact::ToolEnded { call: call(number), error: None, took: None })));
    events.push(entered(9, Status::Idle));
    told.take(9, vec![page("one", 0, events)]);
    let names: std::collections::HashSet<_> = told.spans.iter().map(|span| span.context).collect();
    assert_eq!((names.len(), told.spans.len()), (302, 302));
}

#[test]
fn the_past_is_no_part_of_a_turn_that_goes_over_into_the_present() {
    let mut told = Told::of(&everruns::DESCRIPTOR, 50);
    let events = vec![
        event(1, Fact::TurnStarted(key(1))),
        event(10, turn_ended(1)),
        event(40, Fact::TurnStarted(key(2))),
        event(45, model_called(7)),
        event(46, Fact::LoopError),
        event(52, model_called(1)),
        event(55, turn_ended(2)),
    ];
    told.take(60, vec![row("one", 0, Status::Running, 55, 1), page("one", 0, events)]);
    let turns = told.turns("one");
    let [(span, turn)] = turns[..] else { panic!("{turns:?}") };
    assert_eq!((span.began, turn.tally.tokens.input, turn.tally.marks.len(), turn.previous), (at(40), 1, 0, None));
    assert_eq!(told.spans.len(), 2);
    // One that was given up before counting began, and ends: there was no first part.
    let mut told = Told::of(&everruns::DESCRIPTOR, 50);
    let events = vec![event(1, Fact::TurnStarted(key(1))), event(2, model_called(7))];
    told.take(60, vec![row("one", 0, Status::Running, 55, 1), page("one", 0, events), read_so_far()]);
    told.take(300, vec![read_so_far(), Item::Walked { walk: DISCOVERED, until: at(300) }]);
    told.take(400, vec![page("one", 2, vec![event(390, turn_ended(1))])]);
    let turns = told.turns("one");
    let [(span, turn)] = turns[..] else { panic!("{turns:?}") };
    assert_eq!((span.parent, turn.is_rest, turn.tally.tokens.input), (None, false, 0));
}
