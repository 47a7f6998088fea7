//! A session from its creation to its last end: queue, runs, restarts, and when sessions are created.

use super::agents::{CHILDREN, ROOTS};
use super::author::Author;
use super::{Id, Key, Script, Status, What, run};
use crate::simulator::options::SimulateOptions;
use crate::simulator::random::Dice;
use crate::simulator::timestamp::{SECOND, seconds};

/// How often a session may be started, the first time included.
const MOST_RUNS: u32 = 3;
/// Seconds between the ends of two finished sessions of the history.
const HISTORY_SPACING: f64 = 30.0;

/// Writes the scripts of a root session and of its subagents, the root first.
///
/// Roots below `options.history` ended for the first time before `epoch_us`; all others are created after it, in the
/// order of their numbers.
pub(in crate::simulator) fn write_family(options: &SimulateOptions, epoch_us: i64, root: u64) -> Vec<Script> {
    let key = Key { root, child: 0 };
    let is_history = root < options.history;
    let created_at = if is_history { 0 } else { arrival(options, epoch_us, root) };
    let mut family = vec![];
    let script = write(options, key, None, created_at, &mut family);
    family.insert(0, script);
    if is_history {
        let end = family[0].statuses.iter().find(|change| change.status.is_terminal());
        let first_end = end.expect("every script ends").at;
        let shift = epoch_us - age(options, root) - first_end;
        for script in &mut family {
            move_in_time(script, shift);
        }
    }
    family
}

/// When the live session number `root` is created: evenly spread with jitter, ascending with the number.
pub(in crate::simulator) fn arrival(options: &SimulateOptions, epoch_us: i64, root: u64) -> i64 {
    let position = root.saturating_sub(options.history) as f64;
    let jitter = Dice::new(options.seed, root, 0, "arrival").unit();
    epoch_us + seconds((position + jitter) / options.rate)
}

/// How long before the start a session of the history had ended.
fn age(options: &SimulateOptions, root: u64) -> i64 {
    let jitter = Dice::new(options.seed, root, 0, "age").unit();
    let position = (options.history - root - 1) as f64 + jitter;
    let mut spacing = HISTORY_SPACING / options.speed;
    if options.delete_after > 0.0 {
        // A history that was deleted before the start could not be seen by anyone.
        spacing = spacing.min(options.delete_after / 2.0 / options.history as f64);
    }
    1 + seconds(position * spacing)
}

fn write(options: &SimulateOptions, key: Key, parent: Option<Id>, created_at: i64, family: &mut Vec<Script>) -> Script {
    let agents = if parent.is_some() { CHILDREN } else { ROOTS };
    let mut author = Author::new(options, key, parent, agents, created_at);
    let cancelled_in_queue = wait_in_queue(&mut author);
    if cancelled_in_queue {
        author.enter(Status::Interrupted);
    } else {
        run::write(&mut author, true, family);
    }
    let mut runs = 1;
    while runs < MOST_RUNS && parent.is_none() && author.dice.chance(options.restart_share) {
        let shows = matches!(author.script.events.last().map(|event| &event.what), Some(What::Completion { .. }));
        if !shows && !options.restart_silent_ends {
            break;
        }
        let ended_at = author.clock;
        author.pass(5.0, 60.0);
        let deleted_before = options.delete_after > 0.0 && author.clock - ended_at >= seconds(options.delete_after);
        if deleted_before {
            break;
        }
        restart(&mut author);
        run::write(&mut author, false, family);
        runs += 1;
    }
    author.script
}

/// The first status; true if the session was cancelled before it left the queue. Subagents are never queued.
fn wait_in_queue(author: &mut Author) -> bool {
    let queued = author.dice.chance(0.08);
    let cancelled = author.dice.chance(0.12);
    if !queued || author.script.parent.is_some() || author.old() {
        author.enter(Status::Pending);
        return false;
    }
    author.enter(Status::Queued);
    author.pass(2.0, 20.0);
    if !cancelled {
        author.enter(Status::Pending);
    }
    cancelled
}

/// A message to a session that had ended starts it again.
fn restart(author: &mut Author) {
    author.happen(What::Message);
    author.enter(Status::Pending);
    author.script.restarts.push(author.clock);
    author.script.turns.push(author.clock);
    if author.options.usage_resets_on_restart {
        author.script.resets.push(author.clock);
    }
}

/// A subagent's script; it belongs to the family of its parent.
pub(super) fn write_child(author: &Author, family: &mut Vec<Script>) -> usize {
    let key = Key { root: author.script.key.root, child: family.len() as u32 + 1 };
    let child = write(author.options, key, Some(author.script.id), author.clock, &mut vec![]);
    family.push(child);
    family.len() - 1
}

fn move_in_time(script: &mut Script, shift: i64) {
    script.created_at += shift;
    script.statuses.iter_mut().for_each(|change| change.at += shift);
    script.events.iter_mut().for_each(|event| event.at += shift);
    script.charges.iter_mut().for_each(|charge| charge.at += shift);
    script.answers.iter_mut().for_each(|answer| answer.at += shift);
    for times in [&mut script.resets, &mut script.turns, &mut script.restarts] {
        times.iter_mut().for_each(|at| *at += shift);
    }
    script.children.iter_mut().for_each(|(at, _)| *at += shift);
}

/// When a session is deleted, if ever: after its last end and the retention time.
///
/// With `--page-drift` every fifth session goes some minutes after its end, or after the start if it is older.
pub(in crate::simulator) fn deletion(options: &SimulateOptions, epoch_us: i64, script: &Script) -> Option<i64> {
    let end = script.last_change();
    let retention = (options.delete_after > 0.0).then(|| end + seconds(options.delete_after));
    let mut dice = Dice::new(options.seed, script.key.root, script.key.child, "drift");
    let drifts = dice.chance(0.2);
    let patience = 120 * SECOND + seconds(180.0 * dice.unit());
    let drift = (options.page_drift && drifts).then(|| end.max(epoch_us) + patience);
    match (retention, drift) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
