//! One run of a session: launch, turns made of steps, and an ending.

use super::author::Author;
use super::steps::{self, Plan};
use super::{Answer, ErrorCode, Outcome, Script, Status, What};

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

const LAUNCH_ERRORS: &[(u32, ErrorCode)] =
    &[(5, ErrorCode::EnvironmentError), (2, ErrorCode::InsufficientCredit), (1, ErrorCode::Internal)];

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
    let turns = if interactive { author.dice.between(2, 4) } else { 1 };
    for turn in 1..=turns {
        let answers = turn < turns || ending == Ending::Completed;
        let plan = Plan { delegates: delegates && turn == 1, client_tools, answers, turns };
        steps::write(author, &plan, family);
        if answers {
            answer(author);
        }
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

fn answer(author: &mut Author) {
    author.pass(0.3, 1.5);
    let outcome = author.dice.weighted(OUTCOMES);
    let structured = author.dice.chance(0.2);
    let index = author.script.answers.len() as u32;
    author.happen(What::Answer { index });
    author.script.answers.push(Answer { at: author.clock, outcome, structured });
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
                author.happen(What::Flow { flow: "force_answer" });
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
