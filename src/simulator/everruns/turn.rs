//! One turn: how it begins, what is special about it, and how it ends.

use super::author::Author;
use super::cast::REFUND;
use super::era::Era;
use super::script::{Completion, Input, Outcome, Status, What};
use super::work::{self, Missing};

/// What is special about a turn.
#[derive(Clone, Copy, PartialEq)]
enum Plot {
    Normal,
    /// The provider refuses every attempt.
    Storm,
    /// It fails in a way that leaves no generation.
    Silent,
    /// One failed generation.
    Failure,
    Cancelled,
    Sealed,
    /// A tool needs approval.
    Approval,
    Budget,
    Crash,
    /// It never closes.
    Open,
}

const PLOTS: &[(u32, Plot)] = &[
    (64, Plot::Normal),
    (5, Plot::Storm),
    (4, Plot::Silent),
    (6, Plot::Failure),
    (5, Plot::Cancelled),
    (3, Plot::Sealed),
    (5, Plot::Approval),
    (3, Plot::Budget),
    (3, Plot::Crash),
    (2, Plot::Open),
];

/// The codes with which single failures end; the last ones are not in any list a client could have.
const CODES: &[(u32, &str)] = &[
    (5, "provider_misconfigured"),
    (4, "provider_quota_exhausted"),
    (4, "model_unavailable"),
    (3, "request_too_large"),
    (3, "processing_error"),
    (2, "max_iterations"),
    (2, "dependency_unavailable"),
    (1, "quantum_decoherence"),
    (1, "provider_on_strike"),
];

/// The closed list of codes, as far as turns here end with them.
const KNOWN_CODES: &[&str] = &[
    "provider_misconfigured",
    "provider_quota_exhausted",
    "model_unavailable",
    "request_too_large",
    "processing_error",
    "max_iterations",
    "dependency_unavailable",
    "provider_rate_limited",
    "provider_unavailable",
    "llm_error",
];

/// The code as the account names it.
pub(super) fn known_code(code: &'static str) -> &'static str {
    if KNOWN_CODES.contains(&code) { code } else { "other" }
}

/// Writes a turn; false if the session stays in it for ever.
pub(super) fn write(author: &mut Author, is_first: bool, turns: u32) -> bool {
    let plot = possible(author.era, author.dice.weighted(PLOTS));
    let missing = Missing::any(author);
    begin(author, is_first);
    match plot {
        Plot::Storm => {
            let code = author.dice.pick(&["provider_rate_limited", "provider_unavailable"]);
            work::retry_storm(author, code);
            fail(author, code);
            return true;
        }
        Plot::Silent => {
            let code = if author.era == Era::D0 { "llm_error" } else { "provider_rate_limited" };
            work::silent_failure(author, code);
            fail(author, code);
            return true;
        }
        Plot::Failure => {
            let code = author.dice.weighted(CODES);
            work::failure(author, code);
            fail(author, code);
            return true;
        }
        _ => {}
    }
    let mean = f64::from(author.options.steps) / f64::from(turns);
    let iterations = (mean * (0.25 + 1.5 * author.dice.unit())).round().max(1.0) as u32;
    let iterations = if plot == Plot::Crash { iterations.max(3) } else { iterations };
    let special = author.dice.between(1, iterations);
    if std::mem::take(&mut author.delegates) {
        author.tally.iterations += 1;
        work::delegate(author, &missing);
    }
    for iteration in 1..=iterations {
        author.tally.iterations += 1;
        digress(author);
        if iteration == special {
            match plot {
                Plot::Cancelled => return cancel(author, &missing),
                Plot::Open => return stay_open(author),
                Plot::Budget if !wait_for_budget(author) => return false,
                Plot::Approval => {
                    if !wait_for_approval(author, &missing) {
                        return false;
                    }
                    // The call that was approved is made again by the next decision.
                    continue;
                }
                Plot::Crash => {
                    work::crash(author, &missing);
                    continue;
                }
                _ => {}
            }
        }
        let is_last = iteration == iterations;
        let calls = if is_last && plot != Plot::Sealed { Vec::new() } else { work::some_calls(author) };
        work::reason(author, &missing, &calls);
        if !calls.is_empty() {
            work::act(author, &calls);
        }
    }
    if plot == Plot::Sealed {
        seal(author)
    } else {
        complete(author)
    }
    true
}

/// Older generations lack some ways for a turn to go.
fn possible(era: Era, plot: Plot) -> Plot {
    match plot {
        Plot::Sealed | Plot::Approval | Plot::Budget if !era.is_rich() => Plot::Normal,
        Plot::Storm | Plot::Failure if era == Era::D0 => Plot::Silent,
        Plot::Cancelled | Plot::Crash if era == Era::D0 => Plot::Normal,
        plot => plot,
    }
}

fn begin(author: &mut Author, is_first: bool) {
    author.pass(0.3, 2.0);
    author.happen(What::Input(Input::Opening));
    if is_first && author.era != Era::D0 && author.script.head == 0 {
        author.pass(0.01, 0.04);
        author.happen(What::SessionStarted);
    }
    author.open_turn();
    author.pass(0.02, 0.5);
    author.happen(What::Activated);
    author.enter(Status::Active);
    author.pass(0.002, 0.01);
    author.happen(What::TurnStarted);
    author.tally.began_at = author.clock;
    if author.era == Era::D0 {
        author.pass(0.005, 0.02);
        author.happen(What::InputReceived);
    }
}

/// The turn is over; the session waits for the next message.
fn rest(author: &mut Author, well: bool, says_usage: bool) {
    author.script.ends.push((author.clock, well));
    author.pass(0.002, 0.02);
    let iterations = says_usage.then_some(author.tally.iterations);
    let usage = says_usage.then_some(author.tally.usage).filter(|usage| usage.calls > 0);
    author.happen(What::Idled { iterations, usage });
    author.turn = None;
    author.enter(Status::Idle);
    author.roll_up();
}

fn complete(author: &mut Author) {
    author.pass(0.01, 0.05);
    let says_duration = !author.dice.chance(0.04);
    let termination = author.dice.weighted(&[(90, "end_turn"), (6, "max_tokens"), (4, "refusal")]);
    let completion = Completion {
        iterations: author.tally.iterations,
        duration_ms: says_duration.then(|| author.millis_since(author.tally.began_at)),
        usage: author.tally.usage,
        tool_calls: author.tally.tool_calls,
        issues: author.tally.issues,
        first_token_ms: author.tally.first_token_ms,
        termination,
    };
    author.happen(What::TurnCompleted(Box::new(completion)));
    rest(author, true, true);
}

fn fail(author: &mut Author, code: &'static str) {
    author.pass(0.005, 0.04);
    let model = author.model;
    author.happen(What::TurnFailed { code, model });
    rest(author, false, false);
}

fn seal(author: &mut Author) {
    author.pass(0.005, 0.04);
    let reason = author.dice.pick(&["no_progress", "budget"]);
    author.happen(What::TurnSealed { reason, iterations: author.tally.iterations, usage: author.tally.usage });
    rest(author, false, true);
}

/// A user stops the turn, while the model thinks or while a tool runs: what was begun is never closed.
fn cancel(author: &mut Author, missing: &Missing) -> bool {
    if author.dice.chance(0.5) {
        work::begin_reason(author);
    } else {
        let calls = [author.any_call()];
        work::reason(author, missing, &calls);
        work::begin_act(author, &calls);
    }
    author.pass(0.5, 6.0);
    author.happen(What::TurnCancelled);
    author.pass(0.001, 0.003);
    author.happen(What::Input(Input::Cancellation));
    rest(author, false, false);
    true
}

/// The worker is gone; nobody closes the turn.
fn stay_open(author: &mut Author) -> bool {
    if author.dice.chance(0.5) {
        work::begin_reason(author);
    }
    false
}

/// A tool has to be approved first; true once somebody did.
fn wait_for_approval(author: &mut Author, missing: &Missing) -> bool {
    let call = author.call(REFUND);
    work::reason(author, missing, &[call]);
    work::act_with(author, &[call], Some(Outcome::NeedsApproval));
    author.pass(0.005, 0.02);
    author.happen(What::CallRequested(call));
    author.enter(Status::Waiting);
    author.roll_up();
    if author.dice.chance(0.2) {
        return false;
    }
    author.pass(3.0, 60.0);
    author.enter(Status::Active);
    author.pass(0.01, 0.1);
    // The next decision comes without any message.
    author.tally.iterations += 1;
    let again = author.call(REFUND);
    work::reason(author, missing, &[again]);
    work::act_with(author, &[again], Some(Outcome::Success));
    author.tally.iterations += 1;
    work::reason(author, missing, &[]);
    true
}

/// The budget is used up until somebody raises it; false if nobody does.
fn wait_for_budget(author: &mut Author) -> bool {
    if author.dice.chance(0.5) {
        author.pass(0.01, 0.1);
        author.happen(What::BudgetWarning);
    }
    author.pass(0.01, 0.1);
    author.happen(What::BudgetPaused);
    author.enter(Status::Paused);
    author.roll_up();
    if author.dice.chance(0.15) {
        return false;
    }
    author.pass(3.0, 60.0);
    author.happen(What::BudgetResumed);
    author.enter(Status::Active);
    true
}

/// What may come between two decisions.
fn digress(author: &mut Author) {
    let what = match author.dice.between(0, 199) {
        0..=3 => What::Input(Input::Steering),
        4..=7 => What::Unknown { variant: author.dice.between(0, 2) },
        8..=9 if author.era >= Era::D2 => What::Compacted { model: author.model },
        _ => return,
    };
    author.pass(0.01, 0.2);
    author.happen(what);
}
