//! Everything known, in memory: names, sources, sessions and totals; loaded from the store, changed by one writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::family::{Families, Head, SeriesKey};
use super::fold::Fold;
use super::intake::Entry;
use super::kinship::Orphans;
use super::metric::Metric;
use super::names::{LabelPolicy, Names};
use super::outbox::{Outbox, OutboxChange};
use super::session::{Session, SessionHead};
use super::snapshot::{Snapshot, SourceView};
use super::span::TraceSpan;
use super::standing::{Place, Standing};
use super::trace::ParentTurn;
use super::vocabulary::Vocabulary;
use crate::domain::{
    Capabilities, Fact, Limits, Mark, NameId, SessionId, SessionNo, SourceIx, Span, Status, Timestamp,
};

/// A source, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The value of its label `source`.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// Which account it is: a text that differs between accounts and holds no secret.
    pub account: String,
    /// A fingerprint of its key, to notice a change of key.
    pub key_print: u64,
    /// Nothing before this is counted.
    pub count_from: Timestamp,
    /// What spans say of where they are from.
    pub origin: Origin,
}

/// Where spans of a source are from. Stored, as they may be sent when it is watched no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The platform's host.
    pub server: String,
    /// The attribute in which the platform's own traces have the name of a turn; empty if it names none.
    pub turn_attribute: String,
    /// What stands before the 32 digits of that name.
    pub turn_prefix: String,
}

/// What is kept of every session ever seen; all that is kept in memory of a settled one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) no: SessionNo,
    pub(super) mark: Option<Mark>,
    pub(super) settled: bool,
}

/// A session that is still being read.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) session: Session,
    /// When a list last showed it.
    pub(super) listed_at: Timestamp,
    /// When what lists say of it last changed; not when it was first in one, which may be long after that happened.
    pub(super) moved_at: Timestamp,
    /// When it was last read to its end, in this process.
    pub(super) read_at: Timestamp,
    /// Where it stands in the gauge of sessions by status.
    pub(super) shown: Option<Place>,
    /// The latest turns of its parent, where it has one, as of the report that is taken in.
    pub(super) parent_turns: Vec<ParentTurn>,
}

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) record: SourceRecord,
    pub(super) capabilities: Option<&'static Capabilities>,
    /// It will enter in a moment, and is shown already.
    pub(super) expected: bool,
    pub(super) known: HashMap<SessionId, Known, RandomState>,
    pub(super) active: HashMap<SessionNo, Active, RandomState>,
    pub(super) walks: BTreeMap<String, Timestamp>,
    pub(super) limits: Limits,
    /// After how much silence a turn that is not over is given up.
    pub(super) abandon_turns_after: Option<Span>,
    /// Its sessions are told as spans.
    pub(super) traced: bool,
    /// Children by parents that no list has shown yet.
    pub(super) orphans: Orphans,
}

/// What a commit has to make durable.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New log entries, one per session.
    pub entries: Vec<Entry>,
    /// Sessions whose record changed.
    pub sessions: BTreeSet<(SourceIx, SessionNo)>,
    /// How far walks have come.
    pub walks: Vec<(SourceIx, &'static str, Timestamp)>,
    /// Sources that are new or changed.
    pub sources: BTreeSet<SourceIx>,
    /// Work that is over, for the outbox.
    pub spans: Vec<TraceSpan>,
    /// The collector has taken, or will never take, everything in the outbox before this number.
    pub sent: Option<u64>,
    /// Where each session's entry stands.
    open: HashMap<SessionNo, usize, RandomState>,
}

impl Changes {
    /// The entry of this commit that takes the session's facts.
    pub(super) fn entry(
        &mut self,
        source: SourceIx,
        no: SessionNo,
        session: &mut Session,
        observed_at: Timestamp,
    ) -> &mut Entry {
        // Facts that were learnt at another moment are folded by that one's time, also when they are folded anew.
        let open = self.open.get(&no).copied().filter(|place| self.entries[*place].observed_at == observed_at);
        let place = open.unwrap_or_else(|| {
            let number = session.progress.entries;
            session.progress.entries += 1;
            self.sessions.insert((source, no));
            self.entries.push(Entry { source, session: no, number, observed_at, events: Vec::new() });
            self.open.insert(no, self.entries.len() - 1);
            self.entries.len() - 1
        });
        &mut self.entries[place]
    }
}

impl Active {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            listed_at: Timestamp::default(),
            moved_at: Timestamp::default(),
            read_at: Timestamp::default(),
            shown: None,
            parent_turns: Vec::new(),
        }
    }
}

/// The state.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) names: Names,
    pub(super) words: Vocabulary,
    pub(super) families: Families,
    pub(super) sources: Vec<Source>,
    pub(super) next_no: u32,
    pub(super) changes: Changes,
    /// Sessions by since when they are in their status; one set per series of the gauge.
    pub(super) by_status: Vec<BTreeSet<(Timestamp, SessionNo)>>,
    pub(super) outbox: Outbox,
    names_saved: usize,
    /// Events that came again, since the start of the process.
    pub(super) duplicates: u64,
}

impl State {
    /// A state that knows nothing but these names, in the order of their numbers.
    pub fn new<'a>(policy: LabelPolicy, stored_names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = Names::new(policy);
        let mut names_saved = 0;
        for name in stored_names {
            names.exact(name);
            names_saved += 1;
        }
        let words = Vocabulary::new(&mut names);
        Self {
            words,
            names,
            families: Families::new(policy.max_series),
            sources: Vec::new(),
            next_no: 0,
            changes: Changes::default(),
            by_status: Vec::new(),
            outbox: Outbox::default(),
            names_saved,
            duplicates: 0,
        }
    }

    /// Events that came again and were dropped, since the start of the process.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Puts back a source; sources come in the order of their numbers.
    pub fn restore_source(&mut self, record: SourceRecord) -> SourceIx {
        let ix = SourceIx(u16::try_from(self.sources.len()).expect("far fewer than 65536 sources"));
        self.sources.push(Source {
            record,
            capabilities: None,
            expected: false,
            known: HashMap::default(),
            active: HashMap::default(),
            walks: BTreeMap::new(),
            limits: Limits::default(),
            abandon_turns_after: None,
            traced: false,
            orphans: Orphans::default(),
        });
        self.count_phase(ix, self.words.active, 0);
        self.count_phase(ix, self.words.settled, 0);
        ix
    }

    /// Enters a new source, to be saved with the next commit.
    pub fn add_source(&mut self, record: SourceRecord) -> SourceIx {
        let ix = self.restore_source(record);
        self.changes.sources.insert(ix);
        for metric in [Metric::EventsIngested, Metric::EventsLost, Metric::EventsUnknown, Metric::UsageDecreases]
            .into_iter()
            .chain([Metric::SessionsReopened, Metric::SessionsGone, Metric::NegativeDurations])
        {
            self.families.seed(metric, SeriesKey::of_source(ix), self.sources[ix.0 as usize].record.count_from);
        }
        ix
    }

    /// Changes what is stored of a source.
    pub fn update_source(&mut self, ix: SourceIx, record: SourceRecord) {
        self.sources[ix.0 as usize].record = record;
        self.changes.sources.insert(ix);
    }

    /// Whether anything was ever learnt of its account, be it that it has no sessions.
    pub fn was_read(&self, ix: SourceIx) -> bool {
        let source = &self.sources[ix.0 as usize];
        !(source.known.is_empty() && source.walks.is_empty())
    }

    /// Says that the source of this name will enter in a moment: what is stored of it is shown at once.
    pub fn expect(&mut self, name: &str) {
        if let Some(ix) = self.find_source(name) {
            self.sources[ix.0 as usize].expected = true;
        }
    }

    /// Says what the platform of a source can tell. Without it no zero series are made for its agents.
    ///
    /// Turns about which nothing is heard for longer than `abandon_turns_after` are given up.
    pub fn attach(&mut self, ix: SourceIx, capabilities: &'static Capabilities, abandon_turns_after: Option<Span>) {
        let source = &mut self.sources[ix.0 as usize];
        source.capabilities = Some(capabilities);
        source.expected = false;
        source.abandon_turns_after = abandon_turns_after;
        let born = self.sources[ix.0 as usize].record.count_from;
        for reason in capabilities.undecoded_reasons {
            let reason = self.names.exact(reason);
            let key = SeriesKey { labels: [reason, Names::NONE], ..SeriesKey::of_source(ix) };
            self.families.seed(Metric::EventsUndecoded, key, born);
        }
        if capabilities.checks_usage {
            self.families.seed(Metric::UsageMismatch, SeriesKey::of_source(ix), born);
        }
        // Gauges are not stored: those of agents known from before begin at zero again.
        let created = self.families.family(Metric::SessionsCreated).heads();
        let agents: Vec<Head> = created.iter().filter(|head| head.key.source == ix).copied().collect();
        for head in agents {
            self.seed_gauges(ix, head.key.agent, capabilities, head.born);
        }
    }

    /// Says that a source is no longer watched: nothing of it is shown until it is attached again.
    pub fn detach(&mut self, ix: SourceIx) {
        let source = &mut self.sources[ix.0 as usize];
        source.capabilities = None;
        source.expected = false;
        source.traced = false;
    }

    /// Says whether the sessions of a source are told as spans.
    pub fn trace(&mut self, ix: SourceIx, traced: bool) {
        self.sources[ix.0 as usize].traced = traced;
    }

    /// Puts back what waits in the outbox.
    pub fn restore_outbox(&mut self, outbox: Outbox) {
        self.outbox = outbox;
    }

    /// Sets how many spans may wait in the outbox.
    pub fn limit_outbox(&mut self, limit: u64) {
        self.outbox.set_limit(limit);
    }

    /// The outbox, as it is committed.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Everything in the outbox before this number leaves it with the next commit.
    pub fn sent(&mut self, before: u64) {
        self.changes.sent = self.changes.sent.max(Some(before));
    }

    fn seed_gauges(&mut self, ix: SourceIx, agent: NameId, capabilities: &Capabilities, now: Timestamp) {
        for status in capabilities.statuses.iter().copied().chain([Status::Other]) {
            if !status.is_terminal() {
                self.families.seed(Metric::Sessions, gauge_key(ix, agent, self.words.status(status)), now);
            }
        }
    }

    /// Puts back how far a walk has come.
    pub fn restore_walk(&mut self, ix: SourceIx, walk: &str, until: Timestamp) {
        self.sources[ix.0 as usize].walks.insert(walk.to_owned(), until);
    }

    /// Puts back a session that is still being read.
    pub fn restore_session(&mut self, no: SessionNo, session: Session, now: Timestamp) {
        let ix = session.source;
        self.next_no = self.next_no.max(no.0 + 1);
        let source = &mut self.sources[ix.0 as usize];
        source.known.insert(session.id.clone(), Known { no, mark: session.progress.mark, settled: false });
        source.active.insert(no, Active::new(session));
        self.show(ix, no, now);
        self.count_phase(ix, self.words.active, 1);
    }

    /// Puts back a settled session, of which nothing is kept but that it exists and, unless it has ended, where it
    /// stands.
    pub fn restore_settled(&mut self, no: SessionNo, head: SessionHead, now: Timestamp) {
        let ix = head.source;
        self.next_no = self.next_no.max(no.0 + 1);
        if let Some(standing) = Standing::of_head(&head) {
            self.stand(ix, no, standing, now);
        }
        let known = Known { no, mark: head.progress.mark, settled: true };
        self.sources[ix.0 as usize].known.insert(head.id, known);
        self.count_phase(ix, self.words.settled, 1);
    }

    /// Puts back the stored totals; before anything else, since sources and sessions add gauges to them.
    pub fn restore_totals(&mut self, totals: Families) {
        self.families = totals;
    }

    /// Everything is back: what was restored needs no saving.
    pub fn restored(&mut self) {
        self.families.take_dirty();
        self.restore_orphans();
    }

    /// What the next commit will make durable.
    pub fn pending(&self) -> &Changes {
        &self.changes
    }

    /// Sources ever seen.
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// A source's record by number.
    pub fn source(&self, ix: SourceIx) -> &SourceRecord {
        &self.sources[ix.0 as usize].record
    }

    /// The number of the source with this name.
    pub fn find_source(&self, name: &str) -> Option<SourceIx> {
        let place = self.sources.iter().position(|source| source.record.name == name)?;
        Some(SourceIx(u16::try_from(place).expect("far fewer than 65536 sources")))
    }

    /// How far a walk of a source has come.
    pub fn walked(&self, ix: SourceIx, walk: &str) -> Option<Timestamp> {
        self.sources[ix.0 as usize].walks.get(walk).copied()
    }

    /// How far all walks of a source have come.
    pub fn walks(&self, ix: SourceIx) -> Vec<(String, Timestamp)> {
        self.sources[ix.0 as usize].walks.iter().map(|(walk, until)| (walk.clone(), *until)).collect()
    }

    /// The sessions of a source that were discovered last.
    pub fn recent_sessions(&self, ix: SourceIx, count: usize) -> Vec<SessionId> {
        let mut newest = BTreeMap::new();
        for (id, known) in &self.sources[ix.0 as usize].known {
            newest.insert(std::cmp::Reverse(known.no), id.clone());
            if newest.len() > count {
                newest.pop_last();
            }
        }
        newest.into_values().collect()
    }

    /// From now on nothing up to these times is counted of sessions that are not known.
    pub fn count_after(&mut self, newest: &BTreeMap<SourceIx, Timestamp>) {
        for (ix, newest) in newest {
            let record = &mut self.sources[ix.0 as usize].record;
            record.count_from = record.count_from.max(newest.plus(Span::from_micros(1)));
        }
    }

    /// A session that is still being read, by number.
    pub fn session(&self, ix: SourceIx, no: SessionNo) -> Option<&Session> {
        self.sources[ix.0 as usize].active.get(&no).map(|active| &active.session)
    }

    /// All sessions that are still being read.
    pub fn active_sessions(&self) -> impl Iterator<Item = (SessionNo, &Session)> {
        self.sources.iter().flat_map(|source| source.active.iter().map(|(no, active)| (*no, &active.session)))
    }

    /// Sessions of a source ever seen: active, settled.
    pub fn session_counts(&self, ix: SourceIx) -> (usize, usize) {
        let source = &self.sources[ix.0 as usize];
        (source.active.len(), source.known.len() - source.active.len())
    }

    /// The dictionary.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The totals.
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// The stored series that changed since the last call, and the number of the first name that is not saved yet.
    pub fn take_unsaved(&mut self) -> (Vec<(Metric, u32)>, usize) {
        (self.families.take_dirty(), self.names_saved)
    }

    /// Whether there is anything to commit.
    pub fn has_changes(&self) -> bool {
        let changes = &self.changes;
        !(changes.entries.is_empty()
            && changes.sessions.is_empty()
            && changes.walks.is_empty()
            && changes.sources.is_empty()
            && changes.sent.is_none())
    }

    /// What the next commit does to the outbox.
    pub fn outbox_change(&self) -> OutboxChange {
        self.outbox.plan(self.changes.spans.len(), self.changes.sent)
    }

    /// The changes are durable: forgets them, and of settled sessions everything but that they exist.
    pub fn committed(&mut self) {
        self.names_saved = self.names.len();
        let outbox = self.outbox_change();
        self.outbox.committed(&outbox);
        let changes = std::mem::take(&mut self.changes);
        for (ix, no) in changes.sessions {
            let source = &mut self.sources[ix.0 as usize];
            if source.active.get(&no).is_some_and(|active| active.session.progress.settled) {
                let gone = source.active.remove(&no).expect("it was just there");
                let known = source.known.get_mut(&gone.session.id).expect("every session is known");
                *known = Known { no, mark: gone.session.progress.mark, settled: true };
                self.count_phase(ix, self.words.active, 1u64.wrapping_neg());
                self.count_phase(ix, self.words.settled, 1);
            }
        }
    }

    /// Forgets a settled session altogether (its retention is over).
    pub fn forget(&mut self, ix: SourceIx, id: &SessionId) {
        let source = &mut self.sources[ix.0 as usize];
        if source.known.get(id).is_some_and(|known| known.settled) {
            source.known.remove(id);
            self.count_phase(ix, self.words.settled, 1u64.wrapping_neg());
        }
    }

    /// Folds one log entry into a session that is being rebuilt.
    pub fn refold(&mut self, session: &mut Session, entry: &Entry) {
        let mut fold = Fold::new(&mut self.families, &self.words, entry.observed_at);
        for event in &entry.events {
            fold.apply(session, event);
        }
    }

    /// Adds totals that were folded elsewhere.
    pub fn absorb(&mut self, totals: &Families) {
        self.families.absorb(totals);
    }

    /// The session a log's first fact speaks of.
    pub fn session_of_log(id: SessionId, source: SourceIx, count_from: Timestamp, first: &Entry) -> Option<Session> {
        match first.events.first()?.fact {
            Fact::Discovered { agent, created_at, .. } => Some(Session::new(id, source, agent, created_at, count_from)),
            _ => None,
        }
    }

    /// All there is to show, shared with readers.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            names: self.names.texts(),
            families: self.families.share(),
            overflowed: Metric::ALL.iter().map(|&metric| self.families.overflowed(metric)).collect(),
            label_sets: Metric::ALL.iter().map(|&metric| self.families.label_sets(metric) as u64).collect(),
            max_series: self.families.max_series() as u64,
            sources: self
                .sources
                .iter()
                .map(|source| SourceView {
                    name: source.record.name.as_str().into(),
                    platform: source.record.platform.as_str().into(),
                    attached: source.capabilities.is_some() || source.expected,
                    limits: source.limits.clone(),
                    active: source.active.len(),
                    settled: source.known.len() - source.active.len(),
                    origin: source.record.origin.clone(),
                })
                .collect::<Arc<[_]>>(),
        }
    }

    pub(super) fn count_phase(&mut self, ix: SourceIx, phase: NameId, by: u64) {
        let key = SeriesKey { labels: [phase, Names::NONE], ..SeriesKey::of_source(ix) };
        self.families.add(Metric::SessionsTracked, key, by, Timestamp::default());
    }

    /// Makes every series of an agent that can be told beforehand exist at zero, so that its first increment shows.
    pub(super) fn seed_agent(&mut self, ix: SourceIx, agent: NameId, now: Timestamp) {
        let Some(capabilities) = self.sources[ix.0 as usize].capabilities else { return };
        let created = gauge_key(ix, agent, Names::NONE);
        let before = self.families.family(Metric::SessionsCreated).heads().len();
        self.families.seed(Metric::SessionsCreated, created, now);
        if self.families.family(Metric::SessionsCreated).heads().len() == before {
            return;
        }
        for metric in [Metric::TurnsStarted, Metric::Steps] {
            self.families.seed(metric, created, now);
        }
        if capabilities.queues {
            self.families.seed(Metric::SessionQueue, created, now);
        }
        if capabilities.subagents {
            self.families.seed(Metric::Subagents, created, now);
        }
        for status in capabilities.statuses.iter().copied().chain([Status::Other]) {
            let key = gauge_key(ix, agent, self.words.status(status));
            self.families.seed(Metric::StatusChanges, key, now);
            if status.is_terminal() {
                self.families.seed(Metric::SessionsFinished, key, now);
                self.families.seed(Metric::SessionDuration, key, now);
            }
        }
        self.seed_gauges(ix, agent, capabilities, now);
        for outcome in capabilities.outcomes.iter().copied() {
            let key = gauge_key(ix, agent, self.words.outcome(outcome));
            self.families.seed(Metric::TurnsFinished, key, now);
            self.families.seed(Metric::TurnDuration, key, now);
        }
        if capabilities.verdicts {
            for verdict in crate::domain::Verdict::ALL {
                self.families.seed(Metric::SessionOutcomes, gauge_key(ix, agent, self.words.verdict(verdict)), now);
            }
        }
        for error in capabilities.error_types.iter().copied().chain([super::vocabulary::OTHER_ERROR]) {
            let error = self.names.exact(error);
            self.families.seed(Metric::TurnFailures, gauge_key(ix, agent, error), now);
        }
    }
}

pub(super) fn gauge_key(source: SourceIx, agent: NameId, label: NameId) -> SeriesKey {
    SeriesKey { source, agent, labels: [label, Names::NONE] }
}
