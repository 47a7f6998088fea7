//! Who started whom, where rows say so: a child learns of its parent, and its parent is told of the child.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::intake::IntakeError;
use super::session::Session;
use super::state::{SourceRecord, State};
use super::trace::{ParentTurn, TurnRef};
use crate::domain::{Event, Fact, Report, Row, SessionId, SessionNo, SourceIx, SpanNames, Timestamp};

/// Children by parents that no list has shown yet, with when they were created: lists begin with the newest, so most
/// children are found first.
pub(super) type Orphans = HashMap<SessionId, BTreeSet<(Timestamp, SessionId)>, RandomState>;

/// Missing parents that are remembered for a source. Of more children the parent is not told, should it turn up: they
/// are sessions like others, and are missing from its subagents.
const MOST_MISSING_PARENTS: usize = 10_000;

fn turns_of(record: &SourceRecord, parent: &Session) -> Vec<ParentTurn> {
    let names = SpanNames::new(&record.platform, &record.account, &parent.id);
    let past = parent.past_turns.iter().map(|turn| (turn.id, turn.began, Some(turn.ended)));
    let open = parent.open_turns.iter().map(|turn| (turn.id, turn.abandoned.unwrap_or(turn.began), None));
    let turn = |(id, began, ended): (TurnRef, Timestamp, Option<Timestamp>)| ParentTurn {
        context: id.context(names),
        began,
        ended,
    };
    past.chain(open).map(turn).collect()
}

type Load<'a> = &'a dyn Fn(SessionNo) -> Result<Session, String>;

impl State {
    /// A session was found: its parent, and children that were found before it.
    pub(super) fn note_kin(
        &mut self,
        report: &Report,
        row: &Row,
        no: SessionNo,
        load: Load<'_>,
    ) -> Result<(), IntakeError> {
        self.note_parent(report, row, no, load)?;
        let source = &mut self.sources[report.source.0 as usize];
        for (at, child) in source.orphans.remove(&row.id).unwrap_or_default() {
            self.fold(report, no, [Event { at, fact: Fact::Children(vec![child]) }]);
        }
        Ok(())
    }

    /// The row of a session that is being read says who its parent is, and nobody has said so before.
    pub(super) fn note_parent(
        &mut self,
        report: &Report,
        row: &Row,
        no: SessionNo,
        load: Load<'_>,
    ) -> Result<(), IntakeError> {
        let ix = report.source;
        let Some(parent) = row.parent.as_ref().filter(|parent| **parent != row.id) else { return Ok(()) };
        if self.sources[ix.0 as usize].active[&no].session.parent.is_some() {
            return Ok(());
        }
        self.fold(report, no, [Event { at: row.created_at, fact: Fact::ChildOf(parent.clone()) }]);
        let Some(known) = self.sources[ix.0 as usize].known.get(parent).copied() else {
            self.note_orphan(ix, row);
            return Ok(());
        };
        let was_settled = known.settled || self.sources[ix.0 as usize].active[&known.no].session.progress.settled;
        let parent = self.activate(ix, parent, load)?;
        let session = &mut self.sources[ix.0 as usize].active.get_mut(&parent).expect("it is active now").session;
        // That it has a child does not mean that it moves.
        session.progress.settled = was_settled;
        if !session.children.contains(&row.id) {
            let fact = Fact::Children(vec![row.id.clone()]);
            self.fold(report, parent, [Event { at: row.created_at, fact }]);
        }
        Ok(())
    }

    /// What the parent's latest turns were, as far as it was read by now.
    pub(super) fn look_at_parent(&mut self, ix: SourceIx, no: SessionNo, load: Load<'_>) -> Result<(), IntakeError> {
        let source = &self.sources[ix.0 as usize];
        let parent = source.active.get(&no).and_then(|active| active.session.parent.as_ref());
        let Some(known) = parent.filter(|_| source.traced).and_then(|parent| source.known.get(parent)) else {
            return Ok(());
        };
        let turns = match source.active.get(&known.no) {
            Some(parent) => turns_of(&source.record, &parent.session),
            None => {
                let lost = |reason| IntakeError::Lost { id: source.active[&no].session.id.clone(), reason };
                turns_of(&source.record, &load(known.no).map_err(lost)?)
            }
        };
        self.sources[ix.0 as usize].active.get_mut(&no).expect("it was just there").parent_turns = turns;
        Ok(())
    }

    /// The parent of a session, if it is still to be read up to when the child began: then it is not known yet what the
    /// child worked for.
    pub(super) fn unread_parent(&self, ix: SourceIx, no: SessionNo) -> Option<SessionId> {
        let source = &self.sources[ix.0 as usize];
        let child = &source.active.get(&no)?.session;
        let id = child.parent.as_ref()?;
        if let Some(known) = source.known.get(id) {
            // What was put away was read to its end.
            let parent = &source.active.get(&known.no)?.session;
            let is_told = ParentTurn::at(&turns_of(&source.record, parent), child.created_at).is_some();
            if parent.progress.settled || is_told {
                return None;
            }
        }
        Some(id.clone())
    }

    /// Remembers a child whose parent was not found yet.
    pub(super) fn note_orphan(&mut self, ix: SourceIx, row: &Row) {
        let Some(parent) = &row.parent else { return };
        self.remember_orphan(ix, parent, row.created_at, &row.id);
    }

    fn remember_orphan(&mut self, ix: SourceIx, parent: &SessionId, created_at: Timestamp, id: &SessionId) {
        let source = &mut self.sources[ix.0 as usize];
        let has_room = source.orphans.len() < MOST_MISSING_PARENTS || source.orphans.contains_key(parent);
        if has_room && parent != id && !source.known.contains_key(parent) {
            source.orphans.entry(parent.clone()).or_default().insert((created_at, id.clone()));
        }
    }

    /// Finds those again that are still being read; others are found when a list shows them again.
    pub(super) fn restore_orphans(&mut self) {
        let children: Vec<(SourceIx, SessionId, Timestamp, SessionId)> = self
            .active_sessions()
            .filter_map(|(_, it)| Some((it.source, it.parent.clone()?, it.created_at, it.id.clone())))
            .collect();
        for (ix, parent, created_at, id) in children {
            self.remember_orphan(ix, &parent, created_at, &id);
        }
    }
}
