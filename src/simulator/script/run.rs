//! One run of a session: launch, turns made of steps, and an ending.

use super::author::Author;
use super::{Answer, ErrorCode, Outcome, Script, Status, Tool, ToolCall, What, life};

/// How a run ends.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Completed,
    Failed(ErrorCode),
    TimedOut,
    Interrupted,
}

const ENDINGS: &[(u32, Ending)] = &[
    (72, Ending::Completed),
    (3, Ending::Failed(ErrorCode::NoAnswer)),
    (3, Ending::Failed(ErrorCode::AnswerValidation)),
    (2, Ending::Failed(ErrorCode::EnvironmentError)),
    (2, Ending::Failed(ErrorCode::InsufficientCredit)),
    (2, Ending::Failed(ErrorCode::Internal)),
    (8, Ending::TimedOut),
    (8, Ending::Interrupted),
];

const LAUNCH_ERRORS: &[(u32, ErrorCode)] = &[
    (5, ErrorCode::EnvironmentError),
    (2, ErrorCode::InsufficientCredit),
    (1, ErrorCode::Internal),
];

const OUTCOMES: &[(u32, Option<Outcome>)] = &[
    (70, Some(Outcome::Success)),
    (12, Some(Outcome::Partial)),
    (7, Some(Outcome::Infeasible)),
    (6, Some(Outcome::Blocked)),
    (5, None),
];

/// Writes a run into the script; `first` is false when an ended session was started again.
pub(super) fn write(author: &mut Author, first: bool, family: &mut Vec<Script>) {
    let ending = author.dice.weighted(ENDINGS);
    if !launch(author, first) {
        return;
    }
    let is_root = author.script.parent.is_none();
    let interactive = author.dice.chance(author.options.interactive_share) && is_root;
    let delegates = author.dice.chance(author.options.children_share) && is_root && first;
    let client_tools = author.dice.chance(0.1) && !author.old();
    let turns = if interactive {
        author.dice.between(2, 4)
    } else {
        1
    };
    for turn in 1..=turns {
        let answers = turn < turns || ending == Ending::Completed;
        let plan = Plan {
            delegates: delegates && turn == 1,
            client_tools,
            answers,
            turns,
        };
        write_turn(author, &plan, family);
        if turn < turns {
            wait_for_message(author);
        }
    }
    end(author, ending, interactive);
}

/// True once the agent runs; otherwise the session has already ended.
fn launch(author: &mut Author, first: bool) -> bool {
    let fails = author.dice.chance(0.04);
    let silent = author.dice.chance(0.5);
    let cancelled = author.dice.chance(0.2);
    if !(fails && silent) {
        author.pass(0.0001, 0.0003);
        author.happen(What::RequestStart);
        author.pass(0.05, 0.15);
        author.happen(What::Dispatched);
    }
    if fails {
        let error = author.dice.weighted(LAUNCH_ERRORS);
        author.pass(1.0, 12.0);
        // Neither leaves a trace in the stream: only the status tells.
        if cancelled {
            author.enter(Status::Interrupted);
        } else {
            author.fail(Status::Failed, error);
        }
        return false;
    }
    author.pass(0.4, 1.5);
    if !author.old() {
        author.happen(What::RunnerSession);
    }
    author.pass(0.3, 1.5);
    author.happen(What::AgentStarted);
    author.enter(Status::Running);
    author.pass(0.02, 0.08);
    author.happen(What::LiveView);
    if first {
        author.pass(0.005, 0.02);
        author.happen(What::Message);
    }
    true
}

/// What is to happen in a turn.
struct Plan {
    delegates: bool,
    client_tools: bool,
    answers: bool,
    turns: u32,
}

fn write_turn(author: &mut Author, plan: &Plan, family: &mut Vec<Script>) {
    let mean = f64::from(author.options.steps) / f64::from(plan.turns);
    let share = if author.script.parent.is_some() {
        0.5
    } else {
        1.0
    };
    let steps = (mean * share * (0.25 + 1.5 * author.dice.unit()))
        .round()
        .max(1.0) as u32;
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
    if plan.answers {
        answer(author);
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
        author.happen(if failed {
            What::ToolError { call, origin }
        } else {
            What::ToolResult { call, truncated }
        });
    }
}

/// A call that the platform's client has to answer.
fn ask_client(author: &mut Author) {
    let call = author.call(Tool::OrderStatus, 0);
    policy(author, Box::new([call]));
    author.pass(0.01, 0.05);
    author.happen(What::Awaiting {
        calls: Box::new([call]),
    });
    author.enter(Status::AwaitingToolResults);
    author.pass(1.0, 10.0);
    author.happen(What::Running);
    author.enter(Status::Running);
    author.pass(0.05, 0.3);
    author.happen(What::ToolResult {
        call,
        truncated: false,
    });
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
        let completed = child
            .statuses
            .last()
            .is_some_and(|last| last.status == Status::Completed);
        results.push((child.last_change(), call, completed));
    }
    results.sort_by_key(|(end, ..)| *end);
    for (end, call, completed) in results {
        author.clock = author.clock.max(end);
        author.pass(0.05, 0.2);
        author.happen(if completed {
            What::ToolResult {
                call,
                truncated: false,
            }
        } else {
            What::ToolError {
                call,
                origin: "tool",
            }
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
        Digression::UnknownType => What::UnknownType {
            variant: author.dice.between(0, 2),
        },
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

fn answer(author: &mut Author) {
    author.pass(0.3, 1.5);
    let outcome = author.dice.weighted(OUTCOMES);
    let structured = author.dice.chance(0.2);
    let index = author.script.answers.len() as u32;
    author.happen(What::Answer { index });
    author.script.answers.push(Answer {
        at: author.clock,
        outcome,
        structured,
    });
}

/// The agent has answered and stays; a user writes again.
fn wait_for_message(author: &mut Author) {
    go_idle(author);
    author.pass(2.0, 25.0);
    author.happen(What::Running);
    author.enter(Status::Running);
    author.script.turns.push(author.clock);
    author.pass(0.005, 0.02);
    author.happen(What::Message);
}

fn go_idle(author: &mut Author) {
    author.pass(0.0005, 0.002);
    author.happen(What::Idle);
    author.enter(Status::Idle);
}

fn end(author: &mut Author, ending: Ending, interactive: bool) {
    match ending {
        Ending::Completed => {
            if interactive {
                // Nobody writes any more until the idle timeout.
                go_idle(author);
                author.pass(5.0, 25.0);
            }
            author.pass(0.2, 0.8);
            complete(author, Status::Completed);
            author.enter(Status::Completed);
        }
        Ending::TimedOut => {
            author.pass(0.5, 3.0);
            if author.dice.chance(0.4) {
                author.happen(What::Flow {
                    flow: "force_answer",
                });
                author.pass(0.5, 3.0);
            }
            complete(author, Status::TimedOut);
            author.fail(Status::TimedOut, ErrorCode::Timeout);
        }
        Ending::Interrupted => {
            author.pass(0.2, 2.0);
            author.happen(What::Flow { flow: "stop" });
            author.pass(0.05, 0.3);
            complete(author, Status::Interrupted);
            author.enter(Status::Interrupted);
        }
        Ending::Failed(error) => {
            // The event that would tell is hidden from customers' keys: the stream just stops.
            author.pass(0.1, 4.0);
            author.fail(Status::Failed, error);
        }
    }
}

fn complete(author: &mut Author, status: Status) {
    author.happen(What::Completion { status });
}
