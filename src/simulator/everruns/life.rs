//! A session from its creation to the last thing that happens to it.

use super::author::Author;
use super::cast::{AGENTS, any_agent};
use super::era::Era;
use super::ids::Id;
use super::script::{Origin, Script, Status, What};
use super::turn;
use crate::simulator::options::SimulateOptions;
use crate::simulator::random::Dice;
use crate::simulator::timestamp::seconds;

/// Seconds between the creations of two sessions of the history.
const HISTORY_SPACING: f64 = 30.0;
/// The youngest session of the history is that many seconds old at the start; the longest lives go on after it.
const HISTORY_AGE: f64 = 60.0;
/// How far back a fork looks for its origin.
const MOST_BACK: u32 = 40;
/// Sessions that others started are numbered in steps of this above the one that did; more than there can be of those.
const GENERATION: u64 = 1 << 40;

/// The number of the session that, at the beginning, nobody but a user started.
pub(super) fn root_of(number: u64) -> u64 {
    number % GENERATION
}

/// When session `number` is created: those of the history before `epoch_us`, all others after it, in this order.
pub(super) fn arrival(options: &SimulateOptions, epoch_us: i64, number: u64) -> i64 {
    let jitter = Dice::new(options.seed, number, 0, "arrival").unit();
    if number < options.history {
        let position = (options.history - number - 1) as f64 + jitter;
        let mut spacing = HISTORY_SPACING / options.speed;
        let mut age = HISTORY_AGE / options.speed;
        if options.delete_after > 0.0 {
            // A history that was deleted before the start could not be seen by anyone.
            age = age.min(options.delete_after / 4.0);
            spacing = spacing.min(options.delete_after / 4.0 / options.history as f64);
        }
        return epoch_us - seconds(age + position * spacing) - 1;
    }
    epoch_us + seconds(((number - options.history) as f64 + jitter) / options.rate)
}

/// Writes the scripts of session `number`, which comes first, and of those that it starts.
pub(super) fn write_family(options: &SimulateOptions, era: Era, epoch_us: i64, number: u64) -> Vec<Script> {
    let origin = fork_candidate(options, era, number).and_then(|parent| {
        let parent = write_from(options, era, epoch_us, parent, None).swap_remove(0);
        let now = arrival(options, epoch_us, number);
        let is_idle = |event: &super::script::Event| matches!(event.what, What::Idled { .. }) && event.stored_at <= now;
        let length = parent.events.iter().rposition(is_idle)? + 1;
        // What the slow worker had not committed yet is not there to be copied.
        let complete = parent.events[..length].iter().all(|event| event.stored_at <= now);
        complete.then_some((parent, length))
    });
    write_from(options, era, epoch_us, number, origin)
}

/// The session that this one would be a fork of.
fn fork_candidate(options: &SimulateOptions, era: Era, number: u64) -> Option<u64> {
    let is_fork = |number| Dice::new(options.seed, number, 0, "fork").chance(0.08);
    if !era.is_rich() || !is_fork(number) {
        return None;
    }
    let back = Dice::new(options.seed, number, 0, "origin").between(1, MOST_BACK);
    let parent = number.checked_sub(back.into())?;
    (!is_fork(parent)).then_some(parent)
}

fn write_from(
    options: &SimulateOptions,
    era: Era,
    epoch_us: i64,
    number: u64,
    origin: Option<(Script, usize)>,
) -> Vec<Script> {
    let (mut script, mut dice) = blank(options, era, number, arrival(options, epoch_us, number));
    if let Some((parent, length)) = origin {
        script.agent = parent.agent;
        script.source = parent.source;
        script.events = parent.events[..length].to_vec();
        script.head = length;
        script.events.iter_mut().for_each(|event| event.stored_at = script.created_at);
        let sequence = script.events[length - 1].sequence;
        script.forked_from = Some(Origin {
            number: parent.number,
            id: parent.id,
            agent: parent.agent,
            created_at: parent.created_at,
            sequence,
        });
    }
    let mut author = Author::new(options, era, script);
    // Apart from the other dice, so that the sessions that start no others stay as they are whatever the share.
    author.delegates = Dice::new(options.seed, number, 0, "children").chance(options.children_share) && era.is_rich();
    live(&mut author);
    let children = std::mem::take(&mut author.children);
    let mut script = author.finish();
    put_away(options, era, epoch_us, &mut script, &mut dice);
    let mut family = vec![script];
    for mut child in children {
        let mut dice = Dice::new(options.seed, child.number, 0, "end");
        put_away(options, era, epoch_us, &mut child, &mut dice);
        family.push(child);
    }
    family
}

/// A session in which nothing has happened yet, and the dice for what else is particular about it.
fn blank(options: &SimulateOptions, era: Era, number: u64, created_at: i64) -> (Script, Dice) {
    let mut dice = Dice::new(options.seed, number, 0, "session");
    let agent = any_agent(&mut dice, era.is_rich());
    let script = Script {
        number,
        id: Id::new(options.seed, number, 0, "session", created_at),
        agent,
        source: agent.map_or("api", |agent| AGENTS[agent].source),
        created_at,
        statuses: vec![(created_at, Status::Started)],
        events: Vec::new(),
        is_punctual: true,
        head: 0,
        forked_from: None,
        parent: None,
        roll_ups: Vec::new(),
        updates: vec![created_at],
        ends: Vec::new(),
        archived_at: None,
        deleted_at: None,
    };
    (script, dice)
}

/// A session that the author's starts now, to its last event: it works on one thing and starts no others.
pub(super) fn help(author: &Author) -> Script {
    let index = author.children.len() as u64 + 1;
    let number = author.script.number + index * GENERATION;
    let (script, _) = blank(author.options, author.era, number, author.clock);
    let script = Script { parent: Some(author.script.id), source: "subagent", ..script };
    let mut helper = Author::new(author.options, author.era, script);
    turn::write(&mut helper, true, 3);
    helper.finish()
}

/// The turns of a session and what lies between them.
fn live(author: &mut Author) {
    if author.dice.chance(0.05) {
        // Created and never used.
        return;
    }
    // Conversations are more usual here than on platforms where a session is a task.
    let talks = author.dice.chance((author.options.interactive_share * 2.5).min(1.0));
    let turns = if talks { author.dice.between(2, 5) } else { 1 };
    for number in 1..=turns {
        let goes_on = turn::write(author, number == 1, turns);
        if !goes_on {
            return;
        }
        if number == 1 && author.era >= Era::D2 && author.dice.chance(0.3) {
            author.pass(0.5, 2.0);
            author.happen(What::TitleUpdated);
            author.touch();
        }
        if number < turns {
            sleep(author);
        }
    }
}

/// The time between two turns: mostly a user's pause, sometimes much longer.
fn sleep(author: &mut Author) {
    if author.dice.chance(0.12) {
        author.pass(120.0, 900.0);
    } else {
        author.pass(2.0, 25.0);
    }
    let models = author.script.agent.map_or(&[0, 1][..], |agent| AGENTS[agent].models);
    if models.len() > 1 && author.era >= Era::D2 && author.dice.chance(0.12) {
        let from = author.model;
        let to = if from == models[0] { models[1] } else { models[0] };
        author.model = to;
        author.happen(What::ModelChanged { from, to });
        author.touch();
        author.pass(0.2, 2.0);
    }
}

/// Some sessions are archived after their end, some are deleted.
///
/// With `--page-drift` every fifth session goes some minutes after its end, or after the start if it is older.
fn put_away(options: &SimulateOptions, era: Era, epoch_us: i64, script: &mut Script, dice: &mut Dice) {
    let archives = dice.chance(0.08) && era >= Era::D4;
    let patience = 20.0 + 100.0 * dice.unit();
    if archives {
        let at = script.last_change() + seconds(patience / options.speed).max(1);
        script.archived_at = Some(at);
        script.updates.push(at);
    }
    let end = script.last_change();
    let retention = (options.delete_after > 0.0).then(|| end + seconds(options.delete_after));
    let drifts = dice.chance(0.2);
    let patience = seconds(120.0 + 180.0 * dice.unit());
    let drift = (options.page_drift && drifts).then(|| end.max(epoch_us) + patience);
    script.deleted_at = match (retention, drift) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}
