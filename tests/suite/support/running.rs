//! The real engine on its thread, and reports to hand to it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_session_exporter::domain::{
    Clock, Ending, Event, Fact, Item, Mark, ModelUsage, Report, Row, SessionId, Sighting, SourceIx, Span, Status,
    Timestamp, Tokens, ToolCall, Usage,
};
use agent_session_exporter::engine::{Attached, Engine, EngineHandle, Entrant, Keep, Observer};
use agent_session_exporter::ingest::platforms::hcompany;
use agent_session_exporter::journal::{CommitStats, Journal, JournalError};
use agent_session_exporter::projection::{Metric, Origin, Snapshot, SourceRecord};
use arc_swap::ArcSwap;

use super::lives::at;

/// A clock that stands where it is put.
#[derive(Clone, Default)]
pub struct SetClock(Arc<AtomicI64>);

impl SetClock {
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.micros(), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// What the engine told of its commits.
#[derive(Clone, Default)]
pub struct Seen {
    pub commits: Arc<AtomicU64>,
    pub failures: Arc<Mutex<Vec<String>>>,
    pub duplicates: Arc<AtomicU64>,
}

impl Observer for Seen {
    fn committed(&self, _: &CommitStats, _: &Journal) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, error: &JournalError) {
        self.failures.lock().expect("no test panics in here").push(error.to_string());
    }

    fn duplicates(&self, _: &str, count: u64) {
        self.duplicates.fetch_add(count, Ordering::Relaxed);
    }
}

/// An engine at work.
pub struct Running {
    pub handle: EngineHandle,
    shown: Arc<ArcSwap<Snapshot>>,
    pub clock: SetClock,
    pub seen: Seen,
    thread: JoinHandle<Result<(), JournalError>>,
}

impl Running {
    pub fn start(journal: Journal, retention: Option<Span>) -> Self {
        let (clock, seen) = (SetClock::default(), Seen::default());
        clock.set(at(0));
        let observer = Box::new(seen.clone());
        let (mut engine, handle, shown) =
            Engine::open(journal, Arc::new(clock.clone()), observer, Keep { sessions: retention, spans: None })
                .expect("a readable journal");
        engine.expect(["one"]);
        let thread = std::thread::spawn(|| engine.run());
        Self { handle, shown, clock, seen, thread }
    }

    pub async fn attach(&self, name: &str) -> Attached {
        let record = source_record(name, "hcompany");
        let capabilities = hcompany::DESCRIPTOR.capabilities;
        let entrant = Entrant { record, capabilities, abandon_turns_after: None, traced: false };
        self.handle.attach(entrant).await.expect("the engine is at work")
    }

    /// What is shown once everything that was acknowledged is.
    pub async fn shown(&self) -> Snapshot {
        // An acknowledgement comes a moment before what it is of is shown. Longer than the engine may put that off, and
        // then it has been round once more.
        tokio::time::sleep(Duration::from_millis(110)).await;
        self.attach("one").await;
        Snapshot::clone(&self.shown.load())
    }

    /// What is shown just now.
    pub fn showing(&self) -> Snapshot {
        Snapshot::clone(&self.shown.load())
    }

    /// Ends the engine and gives what it showed last.
    pub fn stop(self) -> Snapshot {
        let shown = Arc::clone(&self.shown);
        self.end().expect("the store is sound");
        Snapshot::clone(&shown.load())
    }

    /// Ends the engine and tells how it did.
    pub fn end(self) -> Result<(), JournalError> {
        drop(self.handle);
        self.thread.join().expect("the engine never panics")
    }
}

/// A source of this name on this platform, of which everything is counted.
pub fn source_record(name: &str, platform: &str) -> SourceRecord {
    SourceRecord {
        name: name.into(),
        platform: platform.into(),
        account: String::new(),
        key_print: 0,
        count_from: Timestamp::default(),
        origin: Origin::default(),
    }
}

/// The sum over all series of a metric.
pub fn sum(snapshot: &Snapshot, metric: Metric) -> u64 {
    let family = snapshot.family(metric).expect("every metric has a family");
    (0..family.heads().len()).map(|index| family.value(index)).sum()
}

pub fn id(number: u32) -> SessionId {
    SessionId::new(&format!("a1b2c3d4-e5f6-4890-abcd-{number:012}"))
}

/// A list row of a session that began `second` seconds in.
pub fn row(number: u32, second: i64, status: Status, mark: u64) -> Item {
    let finished_at = status.is_terminal().then(|| at(second + 50));
    let sighting = Sighting { status, since: at(second), started_at: Some(at(second)), finished_at };
    Item::Row(Row::new(id(number), "h/web".into(), at(second), sighting, Mark(mark)))
}

/// The first events of that session: a turn with one step that used ten tokens, and one tool.
pub fn page(number: u32, second: i64) -> Item {
    let call = || ToolCall { tool: "click".into(), id: None, span: None };
    let tokens = Tokens { input: 10, ..Tokens::default() };
    let models = vec![ModelUsage { model: "holo".into(), usage: Usage { tokens, cost: None } }];
    let facts = [
        Fact::StartRequested,
        Fact::Entered(Status::Running),
        Fact::Observed,
        Fact::Step { calls: vec![call()], valid: true },
        Fact::ToolEnded { call: call(), error: None, took: None },
        Fact::Usage { steps: Some(1), models },
        Fact::StreamEnded(Status::Completed),
    ];
    let events = facts.into_iter().zip(second..).map(|(fact, second)| Event { at: at(second), fact }).collect();
    Item::page(id(number), 0, events)
}

/// Its end as the status confirms it, and the end of its reading.
pub fn ended(number: u32, second: i64, mark: u64) -> [Item; 2] {
    let finished_at = Some(at(second + 50));
    let ending = Ending { status: Status::Completed, started_at: None, finished_at, error: None, verdict: None };
    [
        Item::Beside { id: id(number), events: vec![Event { at: at(second + 50), fact: Fact::Ended(ending) }] },
        Item::read_up_to(id(number), Some(Mark(mark))),
    ]
}

/// Everything of a session in one report.
pub fn whole_session(number: u32, second: i64) -> Vec<Item> {
    let mut items = vec![row(number, second, Status::Completed, 1), page(number, second)];
    items.extend(ended(number, second, 1));
    items
}

pub fn report(source: SourceIx, second: i64, items: Vec<Item>) -> Report {
    Report { source, asked_at: at(second), received_at: at(second + 1), items }
}
