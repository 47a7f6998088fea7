//! Who started whom, where lists say so: a child is counted once on its parent, whoever is found first.

use agent_session_exporter::domain::{
    Event, Fact, Item, Mark, Report, Row, SessionId, SessionNo, Sighting, SourceIx, Status, Timestamp, Watch,
};
use agent_session_exporter::ingest::platforms::everruns;
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::{LabelPolicy, Metric, Session, SourceRecord, State, broken_invariants};
use redb::backends::InMemoryBackend;

use crate::support::lives::at;
use crate::support::running::{report, source_record, sum};

struct Kin {
    journal: Journal,
    state: State,
    source: SourceIx,
}

impl Kin {
    fn new(count_from: Timestamp) -> Self {
        let policy = LabelPolicy::default();
        let journal = Journal::with_backend(InMemoryBackend::new, policy).expect("a fresh journal");
        let mut state = journal.load(at(0)).expect("an empty state");
        let record = SourceRecord { count_from, ..source_record("one", "everruns") };
        let source = state.add_source(record);
        state.attach(source, everruns::DESCRIPTOR.capabilities, None);
        let mut kin = Self { journal, state, source };
        kin.take(0, Vec::new());
        kin
    }

    /// Takes in what one answer told, durably.
    fn take(&mut self, second: i64, items: Vec<Item>) {
        let journal = self.journal.clone();
        let load = move |no| journal.session(no).map_err(|error| error.to_string())?.ok_or("none".to_owned());
        let report: Report = report(self.source, second, items);
        self.state.take_in(&report, &load).expect("it contradicts nothing");
        if self.state.has_changes() {
            self.journal.commit(&mut self.state).expect("memory has room");
            self.state.committed();
        }
        assert_eq!(broken_invariants(&self.state), [""; 0]);
    }

    /// As after a crash: everything is read back.
    fn restart(&mut self) {
        self.state = self.journal.load(at(1000)).expect("the journal is whole");
        self.state.attach(self.source, everruns::DESCRIPTOR.capabilities, None);
    }

    fn subagents(&self) -> u64 {
        sum(&self.state.snapshot(), Metric::Subagents)
    }

    fn session(&self, name: &str) -> Session {
        let mut stored = (0..).map_while(|no| self.journal.session(SessionNo(no)).expect("the journal is whole"));
        stored.find(|session| session.id == id(name)).expect("it is stored")
    }
}

fn id(name: &str) -> SessionId {
    SessionId::new(name)
}

fn row(name: &str, second: i64, parent: Option<&str>) -> Item {
    let sighting = Sighting { status: Status::Running, since: at(second), started_at: None, finished_at: None };
    let mut row = Row::new(id(name), "agent".into(), at(second), sighting, Mark(1));
    row.watch = Watch::EachRound;
    row.parent = parent.map(id);
    Item::Row(row)
}

/// It rests, and was read to its end.
fn put_away(name: &str, second: i64, parent: Option<&str>) -> Vec<Item> {
    let Item::Row(mut row) = row(name, second, parent) else { panic!("it is a row") };
    row.sighting.status = Status::Idle;
    row.watch = Watch::AtRest;
    row.mark = Mark(2);
    let read = Item::ReadUpTo { id: id(name), mark: Some(Mark(2)), rests: true, tokens: None };
    vec![Item::Row(row), read]
}

#[test]
fn a_child_is_counted_on_its_parent_whoever_is_found_first() {
    for parent_first in [true, false] {
        let mut kin = Kin::new(Timestamp::default());
        let mut rows = vec![row("parent", 10, None), row("child", 20, Some("parent"))];
        if !parent_first {
            rows.reverse();
        }
        for (second, row) in (100..).zip(&rows) {
            assert_eq!(kin.subagents(), 0);
            kin.take(second, vec![row.clone()]);
        }
        assert_eq!(kin.subagents(), 1, "parent first: {parent_first}");
        assert_eq!(kin.session("child").parent, Some(id("parent")));
        assert_eq!(kin.session("parent").children, [id("child")]);
        // Rows come again and again.
        kin.take(110, rows.clone());
        kin.restart();
        kin.take(120, rows);
        assert_eq!(kin.subagents(), 1);
        assert_eq!(sum(&kin.journal.refold().unwrap().state.snapshot(), Metric::Subagents), 1, "the log says so, too");
    }
}

#[test]
fn a_parent_that_was_put_away_stays_so() {
    let mut kin = Kin::new(Timestamp::default());
    kin.take(100, put_away("parent", 10, None));
    assert_eq!(kin.state.session_counts(kin.source), (0, 1));
    kin.take(101, vec![row("child", 20, Some("parent"))]);
    assert_eq!((kin.subagents(), kin.state.session_counts(kin.source)), (1, (1, 1)));
    assert_eq!(kin.session("parent").children, [id("child")]);
}

#[test]
fn a_child_without_its_parent_is_remembered_over_a_restart() {
    let mut kin = Kin::new(Timestamp::default());
    kin.take(100, vec![row("child", 20, Some("parent"))]);
    kin.restart();
    kin.take(101, vec![row("parent", 10, None)]);
    assert_eq!(kin.subagents(), 1);
    // One that was put away is found again when a list shows it.
    let mut kin = Kin::new(Timestamp::default());
    kin.take(100, put_away("child", 20, Some("parent")));
    kin.restart();
    kin.take(101, put_away("child", 20, Some("parent"))[..1].to_vec());
    assert_eq!(kin.state.session_counts(kin.source), (0, 1), "it is not read for that");
    kin.take(102, vec![row("parent", 10, None)]);
    assert_eq!(kin.subagents(), 1);
}

#[test]
fn children_from_before_counting_began_are_the_past() {
    let mut kin = Kin::new(at(50));
    kin.take(100, vec![row("new", 60, Some("parent")), row("old", 20, Some("parent")), row("parent", 10, None)]);
    assert_eq!(kin.subagents(), 1);
    assert_eq!(kin.session("parent").children, [id("old"), id("new")]);
}

#[test]
fn nobody_is_its_own_child_and_a_parent_is_told_once() {
    let mut kin = Kin::new(Timestamp::default());
    kin.take(100, vec![row("a", 10, Some("a")), row("b", 20, Some("a"))]);
    assert_eq!((kin.session("a").parent, kin.subagents()), (None, 1));
    let says = |parent: &str| Item::Beside {
        id: id("b"),
        events: vec![Event { at: at(30), fact: Fact::ChildOf(id(parent)) }],
    };
    let before = kin.journal.events().unwrap();
    kin.take(101, vec![says("a"), says("another")]);
    assert_eq!((kin.journal.events().unwrap(), kin.session("b").parent), (before, Some(id("a"))));
}
