//! The steps of a turn: observe, decide, act, count; and what comes between them.

use super::author::Author;
use super::{Script, Status, Tool, ToolCall, What, life};

/// What is to happen in a turn.
pub(super) struct Plan {
    pub(super) delegates: bool,
    pub(super) client_tools: bool,
    pub(super) answers: bool,
    pub(super) turns: u32,
}

/// Writes the steps of a turn, up to the decision to answer.
pub(super) fn write(author: &mut Author, plan: &Plan, family: &mut Vec<Script>) {
    let mean = f64::from(author.options.steps) / f64::from(plan.turns);
    let share = if author.script.parent.is_some() { 0.5 } else { 1.0 };
    let steps = (mean * share * (0.25 + 1.5 * author.dice.unit())).round().max(1.0) as u32;
    let delegation = author.dice.between(1, steps);
    for step in 1..=steps {
        digress(author);
        let decides = plan.answers && step == steps;
        author.pass(0.4, 1.4);
        let textual = author.dice.chance(0.3);
        author.happen(What::Observation { textual });
        author.pass(1.2, 5.0);
        if plan.delegates && step == delegation {
            delegate(author, family);
        } else if decides {
            policy(author, Box::new([]));
        } else if author.dice.chance(0.03) {
            author.happen(What::InvalidPolicy);
        } else if plan.client_tools && author.dice.chance(0.3) {
            ask_client(author);
        } else {
            use_tools(author);
        }
        if step == steps && author.dice.chance(0.15) && !author.old() {
            share_file(author);
        }
        author.charge_step();
    }
}

fn policy(author: &mut Author, calls: Box<[ToolCall]>) {
    let reasoned = author.dice.chance(0.5);
    author.happen(What::Policy { calls, reasoned });
}

/// One to three calls in one step; a call fails now and then.
fn use_tools(author: &mut Author) {
    let count = author.dice.weighted(&[(85, 1), (10, 2), (5, 3)]);
    let mut calls = Vec::with_capacity(count);
    for position in 0..count as u32 {
        let tool = Tool::any(&mut author.dice, author.script.agent.environment);
        calls.push(author.call(tool, position));
    }
    policy(author, calls.clone().into());
    for call in calls {
        author.pass(0.2, 1.5);
        let failed = author.dice.chance(0.06);
        let origin = author.dice.pick(&["tool", "tool", "tool_validation"]);
        let truncated = author.dice.chance(0.03);
        author.happen(if failed { What::ToolError { call, origin } } else { What::ToolResult { call, truncated } });
    }
}

/// A call that the platform's client has to answer.
fn ask_client(author: &mut Author) {
    let call = author.call(Tool::OrderStatus, 0);
    policy(author, Box::new([call]));
    author.pass(0.01, 0.05);
    author.happen(What::Awaiting { calls: Box::new([call]) });
    author.enter(Status::AwaitingToolResults);
    author.pass(1.0, 10.0);
    author.happen(What::Running);
    author.enter(Status::Running);
    author.pass(0.05, 0.3);
    author.happen(What::ToolResult { call, truncated: false });
}

/// Starts subagents in parallel and waits for all of them.
fn delegate(author: &mut Author, family: &mut Vec<Script>) {
    let count = author.dice.between(1, 3);
    let mut calls = Vec::new();
    for position in 0..count {
        calls.push(author.call(Tool::RunSubagent, position));
    }
    policy(author, calls.clone().into());
    let mut results = Vec::new();
    for call in calls {
        author.pass(0.05, 0.3);
        let index = life::write_child(author, family);
        let child = &family[index];
        author.script.children.push((child.created_at, child.id));
        let completed = child.statuses.last().is_some_and(|last| last.status == Status::Completed);
        results.push((child.last_change(), call, completed));
    }
    results.sort_by_key(|(end, ..)| *end);
    for (end, call, completed) in results {
        author.clock = author.clock.max(end);
        author.pass(0.05, 0.2);
        author.happen(if completed {
            What::ToolResult { call, truncated: false }
        } else {
            What::ToolError { call, origin: "tool" }
        });
    }
}

fn share_file(author: &mut Author) {
    author.pass(0.1, 1.0);
    author.happen(What::FileTransfer);
    author.pass(0.1, 1.0);
    author.happen(What::Attachment);
}

/// What may come between two steps.
#[derive(Clone, Copy)]
enum Digression {
    None,
    UnknownType,
    UnknownKind,
    UnknownState,
    Warning,
    Pause,
}

const DIGRESSIONS: &[(u32, Digression)] = &[
    (940, Digression::None),
    (18, Digression::UnknownType),
    (10, Digression::UnknownKind),
    (7, Digression::UnknownState),
    (10, Digression::Warning),
    (15, Digression::Pause),
];

fn digress(author: &mut Author) {
    let what = match author.dice.weighted(DIGRESSIONS) {
        Digression::None => return,
        Digression::Pause => return pause(author),
        Digression::UnknownType => What::UnknownType { variant: author.dice.between(0, 2) },
        Digression::UnknownKind => What::UnknownKind,
        Digression::UnknownState => What::UnknownState,
        Digression::Warning => What::AgentWarning,
    };
    author.pass(0.01, 0.2);
    author.happen(what);
}

fn pause(author: &mut Author) {
    author.pass(0.1, 0.5);
    author.happen(What::Flow { flow: "pause" });
    author.pass(0.02, 0.1);
    author.happen(What::Paused);
    author.enter(Status::Paused);
    author.pass(3.0, 20.0);
    author.happen(What::Flow { flow: "resume" });
    author.pass(0.02, 0.1);
    author.happen(What::Resumed);
    author.enter(Status::Running);
}
