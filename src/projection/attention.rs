//! Which sessions have to be read, which can be put away, and which turns nobody waits for any longer.

use std::collections::HashSet;

use super::intake::IntakeError;
use super::session::Session;
use super::state::{Active, State};
use crate::domain::{
    Due, Event, Fact, Listing, Mark, Receipt, Report, SessionId, SessionNo, Sighting, SourceIx, Span, Status,
    Timestamp, TurnKey, Watch,
};

/// A session at rest whose last turn was not seen to end is looked at again for this long: its end may have become
/// visible after the row that showed it at rest.
const UNFINISHED: Span = Span::from_secs(600);

/// So long the platform may take to add up what a session used.
const ADDS_UP: Span = Span::from_secs(2);

/// A session to be asked for by name, because no list shows it any more.
fn due_of(session: &Session) -> Due {
    let is_first_reading = session.progress.cursor == 0 && session.progress.mark.is_none();
    let is_older = session.created_at < session.count_from;
    Due {
        adopt: (is_first_reading && is_older).then_some(session.created_at),
        finished_at: session.finished_at,
        started_at: session.started_at,
        bookmark: session.bookmark.clone(),
        ..Due::new(session.id.clone(), session.progress.cursor)
    }
}

/// A session to be read because of what a list said of it, now or the last time that it was in one.
pub(super) fn listed_due(session: &Session) -> Due {
    let due = due_of(session);
    let Some(listing) = session.listing else { return due };
    let Sighting { status, since, started_at, finished_at } = listing.sighting;
    let (ended, rests) = (status.is_terminal(), listing.watch == Watch::AtRest);
    Due {
        mark: Some(listing.mark),
        ended,
        rests,
        quiet_since: (ended || rests).then_some(since),
        finished_at,
        started_at,
        moved: session.progress.mark != Some(listing.mark),
        tokens: listing.tokens,
        ..due
    }
}

/// Whether there may be more of it than was read, going by what a list last said.
pub(super) fn needs_reading(active: &Active, now: Timestamp) -> bool {
    let session = &active.session;
    let Some(listing) = session.listing else { return true };
    let is_unfinished = || {
        // By our own clock where that is known: it may be far from the platform's.
        let since = now.since(session.progress.newest.max(active.moved_at)).unwrap_or_default();
        listing.watch == Watch::AtRest && session.turn().is_some() && since < UNFINISHED
    };
    listing.watch == Watch::EachRound || session.progress.mark != Some(listing.mark) || is_unfinished()
}

/// Whether nothing more is to be expected before its row changes.
fn is_finished_for_now(session: &Session) -> bool {
    session.status.is_at_rest() && session.turn().is_none()
}

impl State {
    /// A session's stream was read to its end.
    pub(super) fn read_up_to(
        &mut self,
        report: &Report,
        no: SessionNo,
        mark: Option<Mark>,
        rests: bool,
        tokens: Option<u64>,
    ) {
        let ix = report.source;
        let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("the caller found it");
        active.read_at = report.received_at;
        let listing = active.session.listing.filter(|listing| Some(listing.mark) == mark);
        if let Some(Listing { sighting, .. }) = listing
            && rests
            && is_finished_for_now(&active.session)
            && sighting.status.is_at_rest()
            && sighting.status != active.session.status
            && sighting.since > active.session.since
        {
            // Not every way back to rest is told in the stream: the row is newer, and knows better.
            self.fold(report, no, [Event { at: sighting.since, fact: Fact::Sighted(sighting) }]);
        }
        let session = &mut self.sources[ix.0 as usize].active.get_mut(&no).expect("it is still there").session;
        // A row that has changed meanwhile has still to be read up to.
        let is_current = listing.is_some() || session.listing.is_none();
        let rests = rests && is_current && is_finished_for_now(session);
        let used = session.tokens_used();
        // Where events are missing our sum says nothing.
        let is_comparable = session.lost == 0 && session.inherited == 0 && session.progress.cursor > 0;
        let tokens = tokens.filter(|_| rests && is_comparable);
        let differs = tokens.is_some_and(|tokens| tokens.abs_diff(used) != session.mismatch);
        if differs && let Some(mark) = mark {
            // The platform adds up later than it tells. It is looked at once more before anything is said.
            let (doubted, since) = *session.doubted.get_or_insert((mark, report.received_at));
            if doubted != mark || report.received_at < since.plus(ADDS_UP) {
                session.doubted = Some((mark, if doubted == mark { since } else { report.received_at }));
                self.changes.sessions.insert((ix, no));
                return;
            }
        }
        let before = session.progress;
        session.progress.mark = mark.or(before.mark);
        session.progress.settled = session.run.ended || session.progress.gone || rests;
        if session.progress != before {
            self.changes.sessions.insert((ix, no));
        }
        if let Some(tokens) = tokens.filter(|_| differs) {
            self.fold(report, no, [Event { at: report.received_at, fact: Fact::Checked(tokens) }]);
        }
    }

    /// Puts a session away that is at rest, was read as far as its row says, and is in no turn.
    pub(super) fn settle_at_rest(&mut self, ix: SourceIx, no: SessionNo) {
        let session = &mut self.sources[ix.0 as usize].active.get_mut(&no).expect("the caller found it").session;
        let is_read =
            session.listing.is_some_and(|it| it.watch == Watch::AtRest && session.progress.mark == Some(it.mark));
        if is_read && is_finished_for_now(session) && !session.progress.settled {
            session.progress.settled = true;
            self.changes.sessions.insert((ix, no));
        }
    }

    /// Gives up turns of sessions in which nothing happened for too long. What counts is the time up to which is known
    /// that nothing did: while the platform cannot be read no turn is given up.
    pub(super) fn abandon_turns(&mut self, report: &Report) {
        let ix = report.source;
        let source = &self.sources[ix.0 as usize];
        let Some(patience) = source.abandon_turns_after else { return };
        let mut given_up: Vec<(SessionNo, Option<TurnKey>, Timestamp)> = Vec::new();
        for (no, active) in &source.active {
            let session = &active.session;
            let known_until =
                if needs_reading(active, report.received_at) { active.read_at } else { report.received_at };
            let over_at = session.progress.newest.plus(patience);
            if over_at < known_until {
                let open = session.open_turns.iter().filter(|turn| turn.abandoned.is_none());
                given_up.extend(open.map(|turn| (*no, turn.id.key, over_at)));
            }
        }
        given_up.sort_unstable_by_key(|(no, key, _)| (*no, key.map(|key| key.trace())));
        for (no, key, at) in given_up {
            self.fold(report, no, [Event { at, fact: Fact::TurnAbandoned(key) }]);
            self.settle_at_rest(ix, no);
        }
    }

    /// Sessions that are not settled and that the lists of a round did not show.
    pub(super) fn unseen(&self, report: &Report, began: Timestamp, shows_all: bool, receipt: &mut Receipt) {
        for active in self.sources[report.source.0 as usize].active.values() {
            let session = &active.session;
            // A time from the future only means that our clock was put back.
            let is_listed = active.listed_at >= began && active.listed_at <= report.received_at;
            if is_listed || session.progress.settled {
                continue;
            }
            if !shows_all {
                // Who did not move stays where the lists were not read.
                receipt.due.extend(needs_reading(active, report.received_at).then(|| listed_due(session)));
            } else if session.listing.is_some_and(|listing| listing.sighting.status.is_terminal()) {
                // The lists show what has not ended; this one has, and is still to be read.
                receipt.due.push(listed_due(session));
            } else if session.status != Status::Other {
                // A status that we do not know cannot be asked for: that it is not listed means nothing.
                receipt.due.push(due_of(session));
            }
        }
    }

    /// Sessions that the platform no longer lists, though they have not ended.
    pub(super) fn unlisted(
        &mut self,
        ix: SourceIx,
        seen: &HashSet<SessionId>,
        load: &dyn Fn(SessionNo) -> Result<Session, String>,
        receipt: &mut Receipt,
    ) -> Result<(), IntakeError> {
        let resting = self.resting();
        let known = self.sources[ix.0 as usize].known.iter();
        // Those that still move are asked for anyway, and those that ended are over.
        let missing =
            known.filter(|(id, known)| !seen.contains(*id) && (!known.settled || resting.contains(&known.no)));
        let mut missing: Vec<SessionId> = missing.map(|(id, _)| id.clone()).collect();
        missing.sort_unstable();
        for id in missing {
            let no = self.activate(ix, &id, load)?;
            receipt.due.push(listed_due(&self.sources[ix.0 as usize].active[&no].session));
        }
        Ok(())
    }
}
