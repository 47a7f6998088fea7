//! The inside of a turn: decisions of the model, tools that run, and what goes wrong with both.

use super::author::Author;
use super::cast::{SPAWN, ToolCall};
use super::era::Era;
use super::life;
use super::script::{Generation, Outcome, Reason, What};

/// Which model calls of a turn leave no generation behind.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Missing {
    None,
    Some,
    All,
}

impl Missing {
    /// Decides it for a turn.
    pub(super) fn any(author: &mut Author) -> Self {
        let misses = author.dice.chance(author.options.everruns.missing_generations);
        let all = author.dice.chance(0.7);
        match (misses, all) {
            (false, _) => Self::None,
            (true, true) => Self::All,
            (true, false) => Self::Some,
        }
    }
}

/// One to three calls.
pub(super) fn some_calls(author: &mut Author) -> Vec<ToolCall> {
    let count = author.dice.weighted(&[(75, 1), (17, 2), (8, 3)]);
    (0..count).map(|_| author.any_call()).collect()
}

/// The start of a decision; what it says of the model.
pub(super) fn begin_reason(author: &mut Author) -> Option<usize> {
    author.pass(0.02, 0.3);
    author.exec += 1;
    // The single binary never says the model here, the server mostly does.
    let says_model = author.dice.chance(0.8) && matches!(author.era, Era::D2 | Era::D3 | Era::D4);
    let model = says_model.then_some(author.model);
    author.happen(What::ReasonStarted { model });
    if author.era != Era::D0 {
        prepare(author);
        author.pass(0.002, 0.01);
        let iteration = author.tally.iterations.max(1);
        author.happen(What::OutputStarted { iteration, model: author.model });
        return Some(author.model);
    }
    model
}

fn prepare(author: &mut Author) {
    author.pass(0.002, 0.01);
    author.happen(What::CapabilityUsage);
}

/// A decision that succeeds.
pub(super) fn reason(author: &mut Author, missing: &Missing, calls: &[ToolCall]) {
    let is_newer = author.era != Era::D0;
    let said = begin_reason(author);
    let began_at = author.clock;
    if is_newer && author.dice.chance(0.1) {
        author.pass(0.05, 0.2);
        author.happen(What::ThinkingStarted);
        author.pass(0.3, 1.5);
        author.happen(What::ThinkingCompleted);
    }
    author.pass(0.8, 4.0);
    let is_missing = match missing {
        Missing::None => false,
        Missing::All => true,
        Missing::Some => author.dice.chance(0.5),
    };
    let tells_usage = !author.dice.chance(0.02);
    let usage = (tells_usage && is_newer).then(|| author.consume());
    let duration_ms = author.millis_since(began_at);
    let streams = author.dice.chance(0.7) && is_newer;
    let first_token_ms = streams.then(|| duration_ms / author.dice.between(3, 12));
    let model = author.model;
    if !is_missing {
        author.tally.first_token_ms = author.tally.first_token_ms.or(first_token_ms);
        let (calls, bulk) = (calls.to_vec(), author.bulk());
        author.happen(What::Generation(Box::new(Generation {
            model,
            usage,
            duration_ms,
            first_token_ms,
            error: None,
            calls,
            retries: 0,
            bulk,
        })));
    }
    author.pass(0.003, 0.02);
    let shows_model = author.era == Era::D0 || !author.dice.chance(0.1);
    let shown = shows_model.then_some(model);
    for echo in [true, false] {
        if echo && is_newer {
            continue;
        }
        author.happen(What::OutputCompleted { model: shown, usage, calls: calls.to_vec(), error: None, echo });
        author.pass(0.001, 0.003);
    }
    author.pass(0.002, 0.01);
    let alone = is_missing.then_some(said.or(shown));
    let duration_ms = author.millis_since(began_at);
    let calls = calls.len() as u32;
    author.happen(What::ReasonCompleted(Reason { usage, duration_ms, error: None, calls, alone }));
}

/// The provider refuses three times.
pub(super) fn retry_storm(author: &mut Author, code: &'static str) {
    author.tally.iterations = 1;
    begin_reason(author);
    let mut began_at = author.clock;
    for retries in 0..3 {
        if retries > 0 {
            author.pass(0.8 * f64::from(retries), 1.6 * f64::from(retries));
            author.exec += 1;
            began_at = author.clock;
            prepare(author);
            author.pass(0.005, 0.02);
            author.happen(What::Recovered);
        }
        author.pass(0.03, 0.4);
        failed_generation(author, code, retries, began_at);
    }
    end_in_error(author, code, began_at, None);
}

/// A failure that leaves no generation.
pub(super) fn silent_failure(author: &mut Author, code: &'static str) {
    author.tally.iterations = 1;
    let said = begin_reason(author);
    let began_at = author.clock;
    if author.era == Era::D0 {
        author.pass(0.03, 0.2);
        for echo in [true, false] {
            author.happen(What::OutputCompleted { model: None, usage: None, calls: vec![], error: Some(code), echo });
        }
    } else {
        for wait in [1.0, 2.0] {
            author.pass(0.8 * wait, 1.6 * wait);
            author.exec += 1;
            prepare(author);
            author.pass(0.005, 0.02);
            author.happen(What::Recovered);
        }
    }
    end_in_error(author, code, began_at, Some(said));
}

/// A single failed generation and an apology.
pub(super) fn failure(author: &mut Author, code: &'static str) {
    author.tally.iterations = 1;
    begin_reason(author);
    let began_at = author.clock;
    author.pass(0.03, 0.8);
    failed_generation(author, code, 0, began_at);
    author.pass(0.003, 0.02);
    author.happen(What::OutputCompleted { model: None, usage: None, calls: vec![], error: Some(code), echo: false });
    end_in_error(author, code, began_at, None);
}

fn failed_generation(author: &mut Author, error: &'static str, retries: u32, began_at: i64) {
    let (model, bulk, duration_ms) = (author.model, author.bulk(), author.millis_since(began_at));
    author.happen(What::Generation(Box::new(Generation {
        model,
        usage: None,
        duration_ms,
        first_token_ms: None,
        error: Some(error),
        calls: Vec::new(),
        retries,
        bulk,
    })));
}

fn end_in_error(author: &mut Author, error: &'static str, began_at: i64, alone: Option<Option<usize>>) {
    author.pass(0.005, 0.02);
    let duration_ms = author.millis_since(began_at);
    author.happen(What::ReasonCompleted(Reason { usage: None, duration_ms, error: Some(error), calls: 0, alone }));
}

/// Runs tools, one after the other or side by side; one fails now and then.
pub(super) fn act(author: &mut Author, calls: &[ToolCall]) {
    act_with(author, calls, None);
}

/// The start of an act and of its first tool.
pub(super) fn begin_act(author: &mut Author, calls: &[ToolCall]) {
    author.pass(0.01, 0.04);
    author.exec += 1;
    author.happen(What::ActStarted { calls: calls.to_vec() });
    author.tally.tool_calls += calls.len() as u32;
    if let Some(first) = calls.first() {
        start_tool(author, *first);
    }
}

fn start_tool(author: &mut Author, call: ToolCall) {
    author.pass(0.001, 0.01);
    author.happen(What::ToolStarted(call));
    if author.era != Era::D0 && author.dice.chance(0.1) {
        author.pass(0.001, 0.01);
        author.happen(What::ToolProgress(call));
    }
}

/// Runs tools with an outcome that is given, or any.
pub(super) fn act_with(author: &mut Author, calls: &[ToolCall], outcome: Option<Outcome>) {
    begin_act(author, calls);
    let began_at = author.clock;
    let parallel = author.dice.chance(0.4);
    if parallel {
        for call in &calls[1..] {
            start_tool(author, *call);
        }
    }
    let mut errors = 0;
    for (position, call) in calls.iter().enumerate() {
        if position > 0 && !parallel {
            start_tool(author, *call);
        }
        let tool_began_at = author.clock;
        author.pass(0.05, 2.0);
        let outcome = outcome.unwrap_or_else(|| {
            author.dice.weighted(&[(92, Outcome::Success), (6, Outcome::Error), (2, Outcome::Timeout)])
        });
        errors += u32::from(outcome != Outcome::Success);
        let duration_ms = author.millis_since(tool_began_at);
        author.happen(What::ToolCompleted { call: *call, outcome, duration_ms });
    }
    author.tally.issues += errors;
    author.pass(0.003, 0.02);
    let duration_ms = author.millis_since(began_at);
    author.happen(What::ActCompleted { calls: calls.to_vec(), errors, duration_ms });
}

/// Starts other sessions, side by side, and waits until each has done its work.
pub(super) fn delegate(author: &mut Author, missing: &Missing) {
    let count = author.dice.weighted(&[(70, 1), (30, 2)]);
    let calls: Vec<ToolCall> = (0..count).map(|_| author.call(SPAWN)).collect();
    reason(author, missing, &calls);
    begin_act(author, &calls);
    let began_at = author.clock;
    let mut waiting = Vec::new();
    for (position, call) in calls.iter().enumerate() {
        if position > 0 {
            start_tool(author, *call);
        }
        let tool_began_at = author.clock;
        author.pass(0.02, 0.2);
        let child = life::help(author);
        let over_at = child.events.last().map_or(child.created_at, |event| event.at);
        let well = child.ends.last().is_some_and(|(_, well)| *well);
        waiting.push((over_at, tool_began_at, *call, well));
        author.children.push(child);
    }
    waiting.sort_by_key(|(over_at, ..)| *over_at);
    let mut errors = 0;
    for (over_at, tool_began_at, call, well) in waiting {
        author.clock = author.clock.max(over_at);
        author.pass(0.02, 0.2);
        let outcome = if well { Outcome::Success } else { Outcome::Error };
        errors += u32::from(!well);
        let duration_ms = author.millis_since(tool_began_at);
        author.happen(What::ToolCompleted { call, outcome, duration_ms });
    }
    author.tally.issues += errors;
    author.pass(0.003, 0.02);
    let duration_ms = author.millis_since(began_at);
    author.happen(What::ActCompleted { calls, errors, duration_ms });
}

/// The worker dies while a tool runs. After the restart the call is closed as interrupted and the model decides again;
/// the tool then runs without being announced.
pub(super) fn crash(author: &mut Author, missing: &Missing) {
    let call = author.any_call();
    let other = author.dice.chance(0.5).then(|| author.any_call());
    let calls: Vec<ToolCall> = [Some(call), other].into_iter().flatten().collect();
    reason(author, missing, &calls);
    begin_act(author, &calls);
    if let Some(other) = other {
        // This one is never heard of again.
        start_tool(author, other);
    }
    author.pass(4.0, 12.0);
    let duration_ms = 0;
    author.happen(What::ToolCompleted { call, outcome: Outcome::Interrupted, duration_ms });
    author.tally.issues += 1;
    author.tally.iterations += 1;
    let again = [call];
    reason(author, missing, &again);
    author.pass(0.01, 0.02);
    author.exec += 1;
    author.happen(What::ActStarted { calls: again.to_vec() });
    author.pass(0.01, 0.02);
    author.happen(What::ToolProgress(call));
    let began_at = author.clock;
    author.pass(0.5, 5.0);
    let duration_ms = author.millis_since(began_at);
    author.happen(What::ActCompleted { calls: again.to_vec(), errors: 0, duration_ms });
    author.pass(0.01, 0.03);
    author.happen(What::Repaired(call));
    author.tally.iterations += 1;
    reason(author, missing, &[]);
}
