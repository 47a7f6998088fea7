//! Plays drawn lives into a real state and journal, and tells what came of it in texts that do not depend on order.

use std::collections::{BTreeMap, BTreeSet};

use agent_session_exporter::domain::{
    DISCOVERED, Event, Fact, Item, Mark, NameId, Report, Row, SessionId, SessionNo, Sighting, SourceIx, Status,
    Timestamp,
};
use agent_session_exporter::ingest::platforms::Descriptor;
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::{
    Distribution, Families, Family, Kind, LabelPolicy, Metric, Session, SourceRecord, State, TraceSpan,
    broken_invariants,
};
use proptest::prelude::ProptestConfig;
use proptest::sample::Index;
use redb::backends::InMemoryBackend;
use smol_str::SmolStr;

use super::lives::{Act, Life, Lives, SOURCES, at};
use super::running::source_record;

/// Every number that is not zero, under the name of its series.
pub type Numbers = BTreeMap<String, Vec<u64>>;

/// A state and its journal, with one source per drawn source.
pub struct Folding {
    pub state: State,
    pub journal: Journal,
    platform: &'static Descriptor,
    sources: Vec<SourceIx>,
    /// What was told of each session so far, by position; `None` is lost.
    told: BTreeMap<usize, Vec<Option<Event<SmolStr>>>>,
    shown: Vec<Family>,
}

/// How the same facts are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Whole,
    /// Pages in pieces of this many events.
    Pieces(usize),
    /// Every report twice, and every page beginning this many events early.
    Again(usize),
    /// With a crash in the middle of every report, which is then repeated.
    Crashing,
}

impl Folding {
    pub fn new(lives: &Lives, policy: LabelPolicy, order: &[usize]) -> Self {
        let journal = Journal::with_backend(InMemoryBackend::new, policy).expect("a fresh journal");
        let mut state = journal.load(at(0)).expect("an empty state");
        let mut sources = vec![SourceIx(0); order.len()];
        for &source in order {
            let ix = state.add_source(SourceRecord {
                count_from: lives.count_from[source],
                ..source_record(&format!("source {source}"), lives.platform.name)
            });
            state.attach(ix, lives.platform.capabilities, None);
            state.trace(ix, true);
            sources[source] = ix;
        }
        let mut folding =
            Self { state, journal, platform: lives.platform, sources, told: BTreeMap::new(), shown: Vec::new() };
        folding.commit();
        folding
    }

    /// Everything that the lives tell, in the order in which `turns` names them; each takes its next act.
    pub fn play(&mut self, lives: &Lives, turns: &[usize], manner: Manner) {
        let mut next = vec![0; lives.lives.len()];
        for &turn in turns {
            let act = next[turn];
            next[turn] += 1;
            self.act(&lives.lives[turn], turn, act, manner);
        }
    }

    /// Lets one session take one act.
    pub fn act(&mut self, life: &Life, turn: usize, act: usize, manner: Manner) {
        let id = id(turn);
        if self.session(life, turn).is_none() {
            let status = life.born.unwrap_or(Status::Pending);
            let row = Sighting { status, since: life.created_at, started_at: None, finished_at: None };
            self.report(life, act, vec![row_of(life, turn, act, row)]);
            self.tell_again(life, turn, act);
        }
        let Some(cursor) = self.session(life, turn).map(|session| session.progress.cursor) else { return };
        match &life.acts[act] {
            Act::Row(sighting) => self.told_once(life, act, row_of(life, turn, act, *sighting), manner),
            Act::Beside(event) => {
                self.told_once(life, act, Item::Beside { id, events: vec![Event::clone(event)] }, manner);
            }
            Act::Gone => self.told_once(life, act, Item::Gone { id, mark: None }, manner),
            Act::ReadUpTo => {
                let mark = Some(mark(act));
                self.told_once(life, act, Item::read_up_to(id, mark), manner);
            }
            Act::Rests(tokens) => {
                // Read as far as its row says, if a list has shown it.
                let listed = self.session(life, turn).and_then(|session| session.listing).map(|listing| listing.mark);
                let mark = listed.or(Some(mark(act)));
                let item = Item::ReadUpTo { id, mark, rests: true, tokens: *tokens };
                // A sum that differs is looked at once more before anything is said of it.
                self.told_once(life, act, item.clone(), manner);
                self.told_once(life, act, item, manner);
            }
            Act::Abandon(key) => {
                let at = at(10_000 + 10 * i64::try_from(act).expect("few acts"));
                let events = vec![Event { at, fact: Fact::TurnAbandoned(*key) }];
                self.report(life, act, vec![Item::Beside { id, events }]);
            }
            Act::Lose(count) => {
                let to = cursor.saturating_add(*count);
                // What is absurdly far is told by its number alone.
                let lost = usize::try_from((to - cursor).min(1000)).expect("at most 1000");
                self.told.entry(turn).or_default().extend(std::iter::repeat_n(None, lost));
                self.told_once(life, act, Item::Skip { id, from: cursor, to, before: None }, manner);
            }
            Act::Page(events) => self.page(life, turn, act, events, manner),
        }
    }

    fn page(&mut self, life: &Life, turn: usize, act: usize, events: &[Event<SmolStr>], manner: Manner) {
        let id = id(turn);
        let cursor = self.session(life, turn).expect("it was there").progress.cursor;
        let told = self.told.entry(turn).or_default();
        let early = told.iter().rev().map_while(Option::clone);
        let overlap: Vec<_> = match manner {
            Manner::Again(early_by) => early.take(early_by).collect(),
            _ => Vec::new(),
        };
        told.extend(one_by_one(events).into_iter().map(Some));
        let (events, pieces) = match manner {
            Manner::Pieces(size) => (one_by_one(events), size),
            _ => (events.to_vec(), events.len()),
        };
        let mut from = cursor;
        for piece in events.chunks(pieces.max(1)) {
            let before = overlap.iter().rev().cloned();
            let events = in_one(before.chain(piece.iter().cloned()));
            let begin = from - overlap.len() as u64;
            from = from.saturating_add(piece.iter().map(|event| event.fact.positions()).sum());
            self.told_once(life, act, Item::page(id.clone(), begin, events), manner);
        }
    }

    /// A session that was taken away and comes back is read from its beginning.
    fn tell_again(&mut self, life: &Life, turn: usize, act: usize) {
        let Some(cursor) = self.session(life, turn).map(|session| session.progress.cursor) else { return };
        let told = self.told.get(&turn).cloned().unwrap_or_default();
        for (position, event) in told.into_iter().enumerate().skip(usize::try_from(cursor).unwrap_or(usize::MAX)) {
            let from = position as u64;
            let item = match event {
                Some(event) => Item::page(id(turn), from, vec![event]),
                None => Item::Skip { id: id(turn), from, to: from + 1, before: None },
            };
            self.report(life, act, vec![item]);
        }
    }

    fn told_once(&mut self, life: &Life, act: usize, item: Item, manner: Manner) {
        if manner == Manner::Crashing {
            // Folded, never committed: gone with the process.
            let report = self.report_of(life, act, vec![item.clone()]);
            self.take_in(&report).expect("it continues what is committed");
            self.restart();
        }
        self.report(life, act, vec![item.clone()]);
        // Who settled is not asked again.
        let still_read = self.state.active_sessions().count();
        if matches!(manner, Manner::Again(_)) && still_read > 0 {
            let report = self.report_of(life, act, vec![item]);
            // The answer got lost: the poller tells it once more. A session that settled by it refuses.
            if self.take_in(&report).is_err() {
                self.restart();
            }
            self.commit();
        }
    }

    fn report(&mut self, life: &Life, act: usize, items: Vec<Item>) {
        let report = self.report_of(life, act, items);
        self.take_in(&report).expect("it continues what is committed");
        self.commit();
    }

    fn report_of(&self, life: &Life, act: usize, items: Vec<Item>) -> Report {
        let asked = 10_000 + 10 * i64::try_from(act).expect("few acts");
        Report { source: self.sources[life.source], asked_at: at(asked), received_at: at(asked + 1), items }
    }

    fn take_in(&mut self, report: &Report) -> Result<(), String> {
        let journal = &self.journal;
        let load = |no| journal.session(no).map_err(|error| error.to_string())?.ok_or_else(|| "missing".to_owned());
        self.state.take_in(report, &load).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Makes it durable, and checks what has to hold after every commit.
    fn commit(&mut self) {
        self.journal.commit(&mut self.state).expect("memory has room");
        self.state.committed();
        assert_eq!(broken_invariants(&self.state), [""; 0]);
        let shown = self.state.families().share();
        assert_risen(&self.shown, &shown);
        self.shown = shown;
    }

    /// Forgets everything in memory and reads it back.
    pub fn restart(&mut self) {
        self.state = self.journal.load(at(0)).expect("the journal is whole");
        for &ix in &self.sources {
            self.state.attach(ix, self.platform.capabilities, None);
            self.state.trace(ix, true);
        }
    }

    /// Takes away what was settled before `horizon`, as the engine does.
    pub fn expire(&mut self, horizon: Timestamp) -> usize {
        let mut count = 0;
        for &ix in &self.sources {
            // Only where the lists were read to their end.
            self.state.restore_walk(ix, DISCOVERED, horizon);
        }
        loop {
            let expired = self.journal.expire(&self.state, horizon).expect("memory has room");
            expired.sessions.iter().for_each(|(ix, id)| self.state.forget(*ix, id));
            if !expired.sessions.is_empty() {
                self.state.count_after(&expired.newest);
            }
            count += expired.sessions.len();
            if !expired.more {
                return count;
            }
        }
    }

    fn session(&self, life: &Life, turn: usize) -> Option<&Session> {
        let (ix, id) = (self.sources[life.source], id(turn));
        self.state
            .active_sessions()
            .map(|(_, session)| session)
            .find(|session| session.source == ix && session.id == id)
    }

    /// All numbers, also those that are not stored.
    pub fn numbers(&self) -> Numbers {
        numbers(&self.state, self.state.families(), false)
    }

    /// The numbers that the log says.
    pub fn refolded(&self) -> Numbers {
        let refolded = self.journal.refold().expect("a readable journal");
        numbers(&refolded.state, refolded.state.families(), true)
    }

    /// What `verify` finds to be wrong with the file.
    pub fn wrong(&self) -> String {
        let found = self.journal.verify().expect("a readable journal");
        if found.is_good() { String::new() } else { format!("{:?} {:?}", found.differences, found.faults) }
    }

    pub fn stored(&self) -> Numbers {
        numbers(&self.state, self.state.families(), true)
    }

    /// Every session's record as it is on disk, with names as texts.
    pub fn sessions(&self) -> BTreeMap<String, String> {
        let refolded = self.journal.refold().expect("a readable journal");
        let numbers = refolded.sessions.iter().map(|(no, _)| *no);
        numbers.map(|no| self.record(no)).map(|session| (session.id.to_string(), self.describe(session))).collect()
    }

    /// Every session's record as its log says it is.
    pub fn refolded_sessions(&self) -> BTreeMap<String, String> {
        let refolded = self.journal.refold().expect("a readable journal");
        refolded.sessions.into_iter().map(|(_, session)| (session.id.to_string(), self.describe(session))).collect()
    }

    /// The sessions in memory, exactly.
    pub fn active(&self) -> BTreeMap<SessionNo, Session> {
        self.state.active_sessions().map(|(no, session)| (no, session.clone())).collect()
    }

    /// Every span that was told.
    pub fn spans(&self) -> Vec<TraceSpan> {
        let waiting = self.journal.outbox().expect("a readable journal");
        let (spans, _) = self.journal.waiting_spans(waiting.clone(), usize::MAX).expect("a readable journal");
        assert_eq!(spans.len() as u64, waiting.end - waiting.start);
        spans
    }

    /// The same, in texts, whichever was told first.
    pub fn told_spans(&self) -> BTreeSet<String> {
        let spans = self.spans();
        let texts = spans.iter().map(|span| {
            let source = &self.state.source(span.source).name;
            self.named(format!("{source}: {:?}", TraceSpan { source: SourceIx(0), ..span.clone() }))
        });
        texts.collect()
    }

    fn record(&self, no: SessionNo) -> Session {
        self.journal.session(no).expect("a readable journal").expect("it was listed")
    }

    fn describe(&self, mut session: Session) -> String {
        // How facts were cut into commits is no part of what they say.
        session.progress.entries = 0;
        // What lists said and how to go on are no facts.
        (session.listing, session.doubted, session.bookmark) = (None, None, None);
        let source = self.state.source(session.source).name.clone();
        session.source = SourceIx(0);
        self.named(format!("{source}: {session:?}"))
    }

    /// With names in place of their numbers.
    fn named(&self, mut text: String) -> String {
        while let Some(start) = text.find("NameId(") {
            let end = start + text[start..].find(')').expect("it is closed");
            let id: u32 = text[start + "NameId(".len()..end].parse().expect("a number");
            text.replace_range(start..=end, &format!("{:?}", self.state.names().text(NameId(id))));
        }
        text
    }
}

fn id(turn: usize) -> SessionId {
    SessionId::new(&format!("session {turn}"))
}

fn mark(act: usize) -> Mark {
    Mark(act as u64 + 1)
}

fn row_of(life: &Life, turn: usize, act: usize, sighting: Sighting) -> Item {
    // Another mark each time: a settled session is looked at again.
    let mark = Mark(1_000_000 + act as u64);
    let mut row = Row::new(id(turn), life.agent.clone(), life.created_at, sighting, mark);
    (row.born, row.inherited) = (life.born, life.inherited);
    Item::Row(row)
}

/// The same, each position by itself.
fn one_by_one(events: &[Event<SmolStr>]) -> Vec<Event<SmolStr>> {
    let each = |event: &Event<SmolStr>| match event.fact {
        Fact::Passed(count) => {
            let one = Event { at: event.at, fact: Fact::Passed(1) };
            vec![one; usize::try_from(count).expect("drawn gaps are short")]
        }
        _ => vec![event.clone()],
    };
    events.iter().flat_map(each).collect()
}

/// The same, positions that hold nothing taken together.
fn in_one(events: impl Iterator<Item = Event<SmolStr>>) -> Vec<Event<SmolStr>> {
    let mut together: Vec<Event<SmolStr>> = Vec::new();
    for event in events {
        match (together.last_mut().map(|last| &mut last.fact), &event.fact) {
            (Some(Fact::Passed(before)), Fact::Passed(more)) => *before += more,
            _ => together.push(event),
        }
    }
    together
}

fn assert_risen(before: &[Family], after: &[Family]) {
    let counts = |family: &Family| family.metric().is_stored() && family.metric().kind() != Kind::Gauge;
    for (before, after) in before.iter().zip(after).filter(|(family, _)| counts(family)) {
        for index in 0..before.heads().len() {
            let (old, new) = (before.values(index), after.values(index));
            let head = after.heads()[index];
            assert_eq!(before.heads()[index], head, "series keep their places");
            assert!(
                old.iter().zip(new).all(|(old, new)| old <= new),
                "{:?} {head:?}: {old:?} to {new:?}",
                before.metric()
            );
        }
    }
}

fn numbers(state: &State, families: &Families, only_stored: bool) -> Numbers {
    let mut numbers = Numbers::new();
    for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored() || !only_stored) {
        let family = families.family(metric);
        for (index, head) in family.heads().iter().enumerate() {
            let mut values = family.values(index).to_vec();
            if let Some(native) = family.distribution(index).map(Distribution::native) {
                values.push(native.zero());
                // Signs do not matter here, only that equal buckets are equal numbers.
                let buckets = native.buckets();
                values.extend(buckets.flat_map(|(bucket, count)| [u64::from(bucket.cast_unsigned()), count]));
            }
            if values.iter().all(|value| *value == 0) {
                continue;
            }
            let source = &state.source(head.key.source).name;
            let [agent, first, second] =
                [head.key.agent, head.key.labels[0], head.key.labels[1]].map(|id| state.names().text(id));
            let twice = numbers.insert(format!("{metric:?} {source} [{agent}] [{first}] [{second}]"), values);
            assert_eq!(twice, None, "a series is there once");
        }
    }
    numbers
}

/// The sums over every label whose values users choose.
pub fn sums(folding: &Folding) -> Numbers {
    let state = &folding.state;
    let mut sums = Numbers::new();
    for &metric in Metric::ALL.iter().filter(|metric| metric.is_stored()) {
        let family = state.families().family(metric);
        let free = metric.free_positions();
        for (index, head) in family.heads().iter().enumerate() {
            let labels = [0, 1].map(|i| if free[i] { "*" } else { state.names().text(head.key.labels[i]) });
            let name = format!("{metric:?} {} {labels:?}", state.source(head.key.source).name);
            let values = family.values(index);
            let sum = sums.entry(name).or_insert_with(|| vec![0; values.len()]);
            for (sum, value) in sum.iter_mut().zip(values) {
                let is_time = metric.kind() == Kind::Time;
                *sum = if is_time { (*sum).max(*value) } else { sum.saturating_add(*value) };
            }
        }
    }
    sums.retain(|_, values| values.iter().any(|value| *value != 0));
    sums
}

/// The sources as they come.
pub const IN_ORDER: [usize; SOURCES] = [0, 1];

/// Nothing played yet.
pub fn folding(lives: &Lives) -> Folding {
    Folding::new(lives, LabelPolicy::default(), &IN_ORDER)
}

/// Session after session.
pub fn session_by_session(lives: &Lives) -> Vec<usize> {
    lives.lives.iter().enumerate().flat_map(|(turn, life)| std::iter::repeat_n(turn, life.acts.len())).collect()
}

/// All of them at once, in a drawn order.
pub fn mixed(lives: &Lives, draws: &[Index]) -> Vec<usize> {
    let mut turns = session_by_session(lives);
    for (place, draw) in draws.iter().enumerate().take(turns.len()) {
        let other = draw.index(turns.len());
        turns.swap(place, other);
    }
    turns
}

/// Played session after session.
pub fn played(lives: &Lives, manner: Manner) -> Folding {
    let mut folding = folding(lives);
    folding.play(lives, &session_by_session(lives), manner);
    folding
}

/// How many lives are drawn for each law.
pub fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    // What breaks a law becomes a named test, not a file of seeds. PROPTEST_CASES=10000 searches for minutes.
    ProptestConfig { cases: default.cases.div_ceil(6), failure_persistence: None, ..default }
}
