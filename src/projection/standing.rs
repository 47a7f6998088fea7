//! The gauges of sessions by status: who stands where, and since when.

use std::collections::{BTreeSet, HashSet};

use super::family::SeriesKey;
use super::metric::Metric;
use super::names::Names;
use super::session::{Session, SessionHead};
use super::state::State;
use crate::domain::{NameId, SessionNo, SourceIx, Status, Timestamp};

/// What a session shows of itself in the gauges. One that has ended, or is gone, shows nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    agent: NameId,
    status: Status,
    since: Timestamp,
}

/// A place in the gauges: the series, and since when.
pub(super) type Place = (u32, Timestamp);

impl Standing {
    pub(super) fn of(session: &Session) -> Option<Self> {
        let Session { agent, status, since, .. } = *session;
        (!status.is_terminal() && !session.progress.gone).then_some(Self { agent, status, since })
    }

    pub(super) fn of_head(head: &SessionHead) -> Option<Self> {
        let SessionHead { agent, status, since, .. } = *head;
        (!status.is_terminal() && !head.progress.gone).then_some(Self { agent, status, since })
    }
}

impl State {
    /// Where a session belongs in the gauges.
    pub(super) fn place(&mut self, ix: SourceIx, standing: Standing, now: Timestamp) -> Place {
        let labels = [self.words.status(standing.status), Names::NONE];
        let key = SeriesKey { source: ix, agent: standing.agent, labels };
        (self.families.seed(Metric::Sessions, key, now), standing.since)
    }

    /// Brings the gauges up to date with one session that is being read.
    pub(super) fn show(&mut self, ix: SourceIx, no: SessionNo, now: Timestamp) {
        let Some(active) = self.sources[ix.0 as usize].active.get(&no) else { return };
        let standing = Standing::of(&active.session);
        let wanted = standing.map(|standing| self.place(ix, standing, now));
        let active = self.sources[ix.0 as usize].active.get_mut(&no).expect("it was just there");
        let shown = std::mem::replace(&mut active.shown, wanted);
        if shown == wanted {
            return;
        }
        if let Some((series, since)) = shown {
            self.by_status[series as usize].remove(&(since, no));
            self.refresh_gauge(series, now);
        }
        if let Some(place) = wanted {
            self.occupy(place, no, now);
        }
    }

    /// Gives a session that is put away its place in the gauges, which it keeps until it is read again.
    pub(super) fn stand(&mut self, ix: SourceIx, no: SessionNo, standing: Standing, now: Timestamp) {
        let place = self.place(ix, standing, now);
        self.occupy(place, no, now);
    }

    /// Sessions that have a place in the gauges although they are put away.
    pub(super) fn resting(&self) -> HashSet<SessionNo> {
        let is_active = |no: &SessionNo| self.sources.iter().any(|source| source.active.contains_key(no));
        self.by_status.iter().flatten().map(|(_, no)| *no).filter(|no| !is_active(no)).collect()
    }

    fn occupy(&mut self, (series, since): Place, no: SessionNo, now: Timestamp) {
        if self.by_status.len() <= series as usize {
            self.by_status.resize_with(series as usize + 1, BTreeSet::new);
        }
        self.by_status[series as usize].insert((since, no));
        self.refresh_gauge(series, now);
    }

    fn refresh_gauge(&mut self, series: u32, now: Timestamp) {
        let set = &self.by_status[series as usize];
        let count = set.len() as u64;
        let oldest = set.first().map_or(0, |(since, _)| u64::try_from(since.micros()).unwrap_or(0));
        self.families.set_at(Metric::Sessions, series, count);
        let key = self.families.family(Metric::Sessions).heads()[series as usize].key;
        let series = self.families.seed(Metric::OldestInStatus, key, now);
        self.families.set_at(Metric::OldestInStatus, series, oldest);
    }
}
