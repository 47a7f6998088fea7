//! What must hold for every script, whatever the seed.

use std::collections::HashSet;

use super::{EPOCH, busy};
use crate::simulator::script::{Script, Status, What, write_family};
use crate::simulator::{Dialect, SimulateOptions};

fn all(options: &SimulateOptions) -> Vec<Script> {
    let roots = options.history + options.sessions;
    (0..roots).flat_map(|root| write_family(options, EPOCH, root)).collect()
}

#[test]
fn the_same_seed_gives_the_same_scripts() {
    let options = busy();
    assert_eq!(all(&options), all(&options));
    assert_ne!(all(&options), all(&SimulateOptions { seed: 2, ..options.clone() }));
    let later: Vec<Script> = (0..5).flat_map(|root| write_family(&options, EPOCH + 7, root)).collect();
    let now: Vec<Script> = (0..5).flat_map(|root| write_family(&options, EPOCH, root)).collect();
    assert_eq!(now[0].charges.len(), later[0].charges.len());
    assert_eq!(now[0].created_at + 7, later[0].created_at);
}

#[test]
fn ids_are_unique_version_4_uuids() {
    let scripts = all(&SimulateOptions { sessions: 2_000, ..busy() });
    let ids: HashSet<String> = scripts.iter().map(|script| script.id.to_string()).collect();
    assert_eq!(ids.len(), scripts.len());
    for id in ids {
        assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
    }
}

#[test]
fn times_ascend_and_every_life_ends() {
    let hasty = SimulateOptions { speed: 1e6, rate: 1e6, ..busy() };
    let old = SimulateOptions { dialect: Dialect::Old, ..busy() };
    let short_lived = SimulateOptions { delete_after: 2.0, restart_share: 1.0, ..busy() };
    let worlds = [busy(), hasty, old, short_lived];
    for script in worlds.iter().flat_map(all) {
        let id = script.id;
        assert!(script.events.windows(2).all(|pair| pair[0].at < pair[1].at), "{id}");
        assert!(script.statuses.windows(2).all(|pair| pair[0].at <= pair[1].at), "{id}");
        assert!(script.charges.windows(2).all(|pair| pair[0].at <= pair[1].at), "{id}");
        assert!(script.events.first().is_none_or(|event| event.at > script.created_at), "{id}");
        assert_eq!(script.statuses[0].at, script.created_at, "{id}");
        assert!(script.statuses.last().is_some_and(|last| last.status.is_terminal()), "{id}");
    }
}

#[test]
fn history_ended_before_the_start_and_arrivals_follow_it() {
    let options = busy();
    for root in 0..options.history + options.sessions {
        let family = write_family(&options, EPOCH, root);
        let first_end = family[0].statuses.iter().find(|change| change.status.is_terminal()).unwrap();
        let is_history = root < options.history;
        assert_eq!(first_end.at < EPOCH, is_history);
        assert_eq!(family[0].created_at >= EPOCH, !is_history);
    }
}

#[test]
fn statuses_follow_the_platforms_transitions() {
    use Status::*;
    for script in all(&SimulateOptions { sessions: 1_000, ..busy() }) {
        assert!(matches!(script.statuses[0].status, Queued | Pending));
        for pair in script.statuses.windows(2) {
            let legal = match (pair[0].status, pair[1].status) {
                (Queued, Pending | Interrupted) => true,
                (Pending, Running | Failed | Interrupted) => true,
                (Running, Paused | Idle | AwaitingToolResults | Completed | Failed | TimedOut | Interrupted) => true,
                (Paused | AwaitingToolResults, Running) => true,
                (Idle, Running | Completed | TimedOut | Failed | Interrupted) => true,
                // A message to an ended session.
                (Completed | Failed | TimedOut | Interrupted, Pending) => script.restarts.contains(&pair[1].at),
                _ => false,
            };
            assert!(legal, "{}: {pair:?}", script.id);
            let has_error = matches!(pair[1].status, Failed | TimedOut);
            assert_eq!(pair[1].error.is_some(), has_error);
        }
    }
}

#[test]
fn everything_there_is_to_see_turns_up() {
    let scripts = all(&SimulateOptions { sessions: 3_000, restart_silent_ends: true, ..busy() });
    let mut statuses = HashSet::new();
    let mut errors = HashSet::new();
    let (mut silent, mut failed_then_restarted, mut unstarted) = (0, 0, 0);
    for script in &scripts {
        statuses.extend(script.statuses.iter().map(|change| change.status.name()));
        errors.extend(script.statuses.iter().filter_map(|change| change.error).map(|error| error.name()));
        silent += u64::from(script.events.is_empty());
        unstarted += u64::from(script.statuses.iter().all(|change| change.status != Status::Running));
        let restarted = |pair: &[_; 2]| matches!(pair, [Status::Failed, Status::Pending]);
        let names: Vec<Status> = script.statuses.iter().map(|change| change.status).collect();
        failed_then_restarted += names.windows(2).filter(|pair| restarted(&[pair[0], pair[1]])).count();
    }
    assert_eq!((statuses.len(), errors.len()), (10, 6));
    assert!(silent > 0 && unstarted > silent && failed_then_restarted > 0);
    let kinds: HashSet<String> = scripts
        .iter()
        .flat_map(|script| &script.events)
        .map(|event| format!("{:?}", std::mem::discriminant(&event.what)))
        .collect();
    assert_eq!(kinds.len(), 26, "one for each kind of event");
}

#[test]
fn an_ordinary_run_has_the_order_of_the_platform() {
    let options = SimulateOptions {
        sessions: 500,
        steps: 1,
        children_share: 0.0,
        interactive_share: 0.0,
        restart_share: 0.0,
        ..busy()
    };
    let order = |script: &Script| -> Vec<&'static str> {
        let name = |what: &What| match what {
            What::RequestStart => "start",
            What::Dispatched => "dispatched",
            What::RunnerSession => "runner",
            What::AgentStarted => "started",
            What::LiveView => "view",
            What::Message => "message",
            What::Observation { .. } => "observation",
            What::Policy { .. } => "policy",
            What::Metrics => "metrics",
            What::Answer { .. } => "answer",
            What::Completion { .. } => "completion",
            _ => "other",
        };
        script.events.iter().map(|event| name(&event.what)).collect()
    };
    let ordinary = [
        "start",
        "dispatched",
        "runner",
        "started",
        "view",
        "message",
        "observation",
        "policy",
        "metrics",
        "answer",
        "completion",
    ];
    let found = all(&options).iter().filter(|script| order(script) == ordinary).count();
    assert!(found > 100, "{found}");
}

#[test]
fn subagents_live_within_their_parent() {
    let options = busy();
    let mut children = 0;
    for root in 0..options.history + options.sessions {
        let family = write_family(&options, EPOCH, root);
        let parent = &family[0];
        assert_eq!(parent.children.len(), family.len() - 1);
        for (child, (created_at, id)) in family[1..].iter().zip(&parent.children) {
            children += 1;
            assert_eq!((child.parent, child.id, child.created_at), (Some(parent.id), *id, *created_at));
            assert!(child.created_at > parent.created_at && child.last_change() < parent.last_change());
            assert!(child.children.is_empty() && child.restarts.is_empty());
        }
    }
    assert!(children > 20, "{children}");
}

#[test]
fn the_older_platform_has_neither_queue_nor_client_tools() {
    let options = SimulateOptions { dialect: Dialect::Old, sessions: 500, ..busy() };
    for script in all(&options) {
        assert!(
            script.statuses.iter().all(|change| !matches!(change.status, Status::Queued | Status::AwaitingToolResults))
        );
        assert!(
            script
                .events
                .iter()
                .all(|event| !matches!(event.what, What::Awaiting { .. } | What::RunnerSession | What::Attachment))
        );
    }
}
