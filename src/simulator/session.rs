//! One session at one moment: the part of its script up to then.

use super::script::{Answer, Charge, ErrorCode, Script, Status, ToolCall, Totals, What};

/// A session with the time of its deletion.
pub(super) struct Session {
    pub(super) script: Script,
    pub(super) deleted_at: Option<i64>,
}

/// What the platform knows of a session at one moment.
pub(super) struct Snapshot<'a> {
    pub(super) status: Status,
    pub(super) error: Option<ErrorCode>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    /// The newest event or status change after the creation.
    pub(super) last_activity_at: Option<i64>,
    /// The answer of the current turn.
    pub(super) answer: Option<&'a Answer>,
    /// The newest answer of all turns.
    pub(super) latest_answer: Option<&'a Answer>,
    pub(super) pending_calls: &'a [ToolCall],
    /// How many events exist.
    pub(super) events: usize,
    now: i64,
}

impl Session {
    /// Whether the session exists for callers at `now`.
    pub(super) fn is_visible(&self, now: i64) -> bool {
        self.script.created_at <= now && self.deleted_at.is_none_or(|deleted| now < deleted)
    }

    /// The status at `now`.
    pub(super) fn status(&self, now: i64) -> Status {
        let statuses = &self.script.statuses;
        let known = statuses.partition_point(|change| change.at <= now);
        statuses[known.saturating_sub(1)].status
    }

    /// Everything the platform would show at `now`, running totals aside.
    pub(super) fn at(&self, now: i64) -> Snapshot<'_> {
        let script = &self.script;
        let statuses = &script.statuses[..script.statuses.partition_point(|change| change.at <= now).max(1)];
        let current = &statuses[statuses.len() - 1];
        let started = statuses.iter().find(|change| change.status == Status::Running);
        let events = script.events_until(now);
        let newest_event = script.events[..events].last().map(|event| event.at);
        let newest_status = (statuses.len() > 1).then_some(current.at);
        let answers = &script.answers[..script.answers.partition_point(|answer| answer.at <= now)];
        let turn = script.turns.iter().rfind(|at| **at <= now);
        let latest_answer = answers.last();
        Snapshot {
            status: current.status,
            error: current.error,
            started_at: started.map(|change| change.at),
            finished_at: current.status.is_terminal().then_some(current.at),
            last_activity_at: newest_event.max(newest_status),
            answer: latest_answer.filter(|answer| turn.is_none_or(|turn| answer.at >= *turn)),
            latest_answer,
            pending_calls: if current.status == Status::AwaitingToolResults {
                pending_calls(script, events)
            } else {
                &[]
            },
            events,
            now,
        }
    }

    /// Running totals at the moment of a snapshot.
    pub(super) fn totals(&self, snapshot: &Snapshot<'_>) -> Totals {
        let mut totals = Totals::default();
        for charge in charges_since_reset(&self.script, snapshot.now) {
            totals.add(charge);
        }
        totals
    }
}

fn charges_since_reset(script: &Script, now: i64) -> &[Charge] {
    let end = script.charges.partition_point(|charge| charge.at <= now);
    let reset = script.resets.iter().rfind(|at| **at <= now);
    let start = reset.map_or(0, |reset| script.charges.partition_point(|charge| charge.at < *reset));
    &script.charges[start..end]
}

fn pending_calls(script: &Script, events: usize) -> &[ToolCall] {
    let newest = script.events[..events].iter().rev();
    let mut asked = newest.filter_map(|event| match &event.what {
        What::Awaiting { calls } => Some(calls),
        _ => None,
    });
    asked.next().map_or(&[], |calls| calls)
}
