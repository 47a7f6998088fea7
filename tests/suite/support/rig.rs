//! A whole exporter in virtual time, between two simulated platforms, a disk that fails and a collector: the real
//! pollers, engine, fold and journal, without sockets and without waiting.
//!
//! All of it runs on one thread and one paused clock, so what happens depends on the seed, and a life of hours takes a
//! moment. A kill drops everything in memory between two instants; what the disk holds then is up to the disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agent_session_exporter::domain::{Clock, Receipt, Report, SourceIx, Span as Stretch, Timestamp};
use agent_session_exporter::engine::{Engine, EngineError, EngineHandle, Entrant, Keep};
use agent_session_exporter::ingest::Request;
use agent_session_exporter::ingest::access::Access;
use agent_session_exporter::ingest::limiter::Limiter;
use agent_session_exporter::ingest::platforms::{Account, Descriptor, everruns, hcompany};
use agent_session_exporter::ingest::poller::{Committing, Ledger, LedgerError, Poller};
use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::ingest::transport::{Answering, Transport, TransportError};
use agent_session_exporter::journal::{Journal, JournalError};
use agent_session_exporter::projection::{LabelPolicy, Snapshot, SourceRecord, TraceSpan};
use agent_session_exporter::simulator::{self, SimulateOptions, Simulator, World};
use agent_session_exporter::views::otlp::{Sender, traces};
use agent_session_exporter::views::prometheus::{Exposition, Format, Hold};
use arc_swap::ArcSwap;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bench_of_one::{IntoSimulator, Noted, START, VirtualClock};
use super::deeds::Name;
use super::disk::Disk;
use super::received::Received;
use super::running::{Seen, source_record};

/// The sources' names, which are their platforms'.
pub const SOURCES: [&str; 2] = ["hcompany", "everruns"];

/// The exporter's clock: true time, and by how much it is wrong.
#[derive(Clone)]
pub struct OurClock {
    truth: VirtualClock,
    ahead_us: Arc<AtomicI64>,
}

impl OurClock {
    /// Puts it ahead of true time by so much, or behind.
    pub fn jump_to(&self, ahead_us: i64) {
        self.ahead_us.store(ahead_us, Ordering::Relaxed);
    }
}

impl Clock for OurClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.truth.micros() + self.ahead_us.load(Ordering::Relaxed))
    }
}

/// The way to a platform, which may be broken. The platform says what time it is, as HTTP servers do.
struct Way {
    platform: Box<dyn Transport>,
    is_away: Arc<AtomicBool>,
    truth: VirtualClock,
}

impl Transport for Way {
    fn get<'a>(&'a self, request: &'a Request) -> Answering<'a> {
        Box::pin(async move {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(TransportError::Connect("cannot connect"));
            }
            let mut answer = self.platform.get(request).await?;
            if self.is_away.load(Ordering::Relaxed) {
                return Err(TransportError::Cut);
            }
            answer.date = Some(Timestamp::from_micros(self.truth.micros() / 1_000_000 * 1_000_000));
            Ok(answer)
        })
    }
}

/// How the collector takes what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// Takes it, but the answer is lost.
    TakesAndDenies,
    IsAway,
}

/// What the collector has, and how it feels.
pub struct Desk {
    pub mood: Mood,
    received: Received,
}

/// What a rig is made with.
pub struct Setup {
    /// Of each source of [`SOURCES`].
    pub platforms: [SimulateOptions; 2],
    pub keep: Keep,
    pub policy: LabelPolicy,
    pub rhythm: Rhythm,
    pub requests_per_second: f64,
    /// How long a turn of Everruns may be silent.
    pub patience: Duration,
    pub traces: bool,
    /// Spans in a message.
    pub batch: usize,
}

/// See above.
pub struct Rig {
    setup: Setup,
    truth: VirtualClock,
    pub ours: OurClock,
    h: Arc<Simulator<World>>,
    everruns: Arc<Simulator<simulator::everruns::World>>,
    pub away: [Arc<AtomicBool>; 2],
    /// Which sources the configuration names.
    configured: [watch::Sender<bool>; 2],
    /// Which of those are watched since the configuration last named them.
    watched: [Arc<AtomicBool>; 2],
    pub disk: Disk,
    pub seen: Seen,
    /// What was noted of each source.
    pub noted: [Arc<Noted>; 2],
    desk: Arc<Mutex<Desk>>,
    life: Option<Life>,
}

/// A process.
struct Life {
    journal: Journal,
    shown: Arc<ArcSwap<Snapshot>>,
    exposition: Exposition,
    stop: CancellationToken,
    handle: Option<EngineHandle>,
    /// The first ends with the last handle of the engine.
    engine: JoinSet<Result<(), JournalError>>,
    pollers: JoinSet<()>,
    sender: JoinSet<()>,
}

/// A poller that waits for the store, which may fail just now.
type Attaching = std::pin::Pin<Box<dyn Future<Output = Poller> + Send>>;

/// Watches a source as long as the configuration names it, in the order in which the program does it: what is polled is
/// committed before another poller begins or nothing is shown of it any more.
async fn watch_source(
    name: &'static str,
    polling: impl Fn() -> Attaching,
    handle: EngineHandle,
    rhythm: Rhythm,
    mut configured: watch::Receiver<bool>,
    watched: Arc<AtomicBool>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        if !*configured.borrow_and_update() {
            handle.detach(name).await.expect("the engine is at work");
            tokio::select! {
                changed = configured.changed() => changed.expect("the rig is there"),
                () = stop.cancelled() => {}
            }
            continue;
        }
        let poller = tokio::select! {
            poller = polling() => poller,
            () = stop.cancelled() => return,
        };
        watched.store(*configured.borrow(), Ordering::Relaxed);
        let enough = stop.child_token();
        let polled = poller.run(rhythm, false, enough.clone());
        tokio::pin!(polled);
        tokio::select! {
            _ = &mut polled => return,
            changed = configured.changed() => changed.expect("the rig is there"),
        }
        enough.cancel();
        polled.await;
    }
}

/// Reports go to the engine.
pub struct ToEngine(pub EngineHandle);

impl Ledger for ToEngine {
    fn commit(&self, report: Report) -> Committing<'_> {
        Box::pin(async move {
            let receipt: Result<Receipt, EngineError> = self.0.report(report).await;
            receipt.map_err(|error| match error {
                EngineError::CountedTwice(other) => LedgerError::CountedTwice(other),
                error @ EngineError::Report(_) => LedgerError::Contradicts(error.to_string()),
                error => LedgerError::Unsaved(error.to_string()),
            })
        })
    }

    fn recognised(&self, _: SourceIx) {}
}

impl Rig {
    /// Platforms whose time begins now; no exporter yet.
    pub fn new(setup: Setup) -> Self {
        let truth = VirtualClock::start();
        let clock = || Arc::new(move || truth.micros());
        let [h, everruns] = setup.platforms.clone();
        Self {
            h: Arc::new(Simulator::new(h, START).expect("valid options").with_clock(clock())),
            everruns: Arc::new(Simulator::everruns(everruns, START).expect("valid options").with_clock(clock())),
            setup,
            truth,
            ours: OurClock { truth, ahead_us: Arc::default() },
            away: Default::default(),
            configured: std::array::from_fn(|_| watch::Sender::new(true)),
            watched: Default::default(),
            disk: Disk::default(),
            seen: Seen::default(),
            noted: Default::default(),
            desk: Arc::new(Mutex::new(Desk { mood: Mood::Takes, received: Received::default() })),
            life: None,
        }
    }

    /// Starts the exporter on what is on the disk; `Err` if it cannot start, as when the disk is broken.
    pub async fn start(&mut self) -> Result<(), JournalError> {
        assert!(self.life.is_none(), "one at a time");
        let disk = self.disk.clone();
        let journal = Journal::with_backend(move || disk.clone(), self.setup.policy)?;
        let observer = Box::new(self.seen.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.ours.clone());
        let (mut engine, handle, shown) = Engine::open(journal.clone(), Arc::clone(&clock), observer, self.setup.keep)?;
        let configured = |place: &usize| *self.configured[*place].borrow();
        engine.expect((0..SOURCES.len()).filter(configured).map(|place| SOURCES[place]));
        let waiting = engine.waiting_spans();
        let hold = Hold::after_restart(Stretch::from_secs(30), &shown.load(), clock.now());
        let mut life = Life {
            journal,
            shown,
            exposition: Exposition::new(hold),
            stop: CancellationToken::new(),
            handle: Some(handle.clone()),
            engine: JoinSet::new(),
            pollers: JoinSet::new(),
            sender: JoinSet::new(),
        };
        life.engine.spawn(engine.serve_on());
        for (place, name) in SOURCES.into_iter().enumerate() {
            let polling = self.poller(place, &handle);
            let (stop, rhythm) = (life.stop.clone(), self.setup.rhythm);
            let configured = self.configured[place].subscribe();
            // What is stored of it is shown from the start.
            let watched = Arc::clone(&self.watched[place]);
            watched.store(*configured.borrow(), Ordering::Relaxed);
            life.pollers.spawn(watch_source(name, polling, handle.clone(), rhythm, configured, watched, stop));
        }
        if self.setup.traces {
            let (journal, shown, desk) = (life.journal.clone(), Arc::clone(&life.shown), Arc::clone(&self.desk));
            let batch = self.setup.batch;
            life.sender.spawn(send(journal, handle, shown, waiting, desk, batch, life.stop.clone()));
        }
        self.life = Some(life);
        Ok(())
    }

    /// What makes pollers of this source, each of which begins with what is committed.
    fn poller(&self, place: usize, handle: &EngineHandle) -> impl Fn() -> Attaching + Send + Sync + 'static {
        let platform: &'static Descriptor = [&hcompany::DESCRIPTOR, &everruns::DESCRIPTOR][place];
        let key = self.setup.platforms[place].api_key.clone();
        let inner: Box<dyn Transport> = match place {
            0 => Box::new(IntoSimulator::new(Arc::clone(&self.h), key)),
            _ => Box::new(IntoSimulator::new(Arc::clone(&self.everruns), key)),
        };
        let way = Way { platform: inner, is_away: Arc::clone(&self.away[place]), truth: self.truth };
        let mut account = Account { traces: self.setup.traces, ..Account::new(Timestamp::from_micros(0)) };
        for setting in platform.settings {
            account.settings.insert(setting.key, setting.default.to_owned());
        }
        if place == 1 {
            account.settings.insert("organization_id", self.everruns.world().organization());
        }
        let account_name = format!("http://{}", SOURCES[place]);
        let record = SourceRecord { account: account_name, ..source_record(SOURCES[place], platform.name) };
        let patience = (place == 1).then(|| Stretch::from(self.setup.patience));
        let traced = self.setup.traces;
        let entrant = Entrant { record, capabilities: platform.capabilities, abandon_turns_after: patience, traced };
        let (handle, clock) = (handle.clone(), Arc::new(self.ours.clone()));
        let requests_per_second = self.setup.requests_per_second;
        let witness = Arc::clone(&self.noted[place]);
        let transport: Arc<dyn Transport> = Arc::new(way);
        move || {
            let (handle, entrant, account) = (handle.clone(), entrant.clone(), account.clone());
            let access = Access {
                transport: Arc::clone(&transport),
                limiter: Limiter::new(requests_per_second),
                request_timeout: Duration::from_secs(30),
                clock: Arc::clone(&clock) as _,
                witness: Arc::clone(&witness) as _,
            };
            Box::pin(async move {
                let attached = handle.attach(entrant).await.expect("the engine is at work");
                Poller {
                    source: attached.ix,
                    platform: (platform.connect)(account),
                    access,
                    ledger: Arc::new(ToEngine(handle)),
                    recognise: Vec::new(),
                    walks: attached.walks,
                }
            })
        }
    }

    /// Whether the configuration names this source.
    pub fn is_configured(&self, place: usize) -> bool {
        *self.configured[place].borrow()
    }

    /// Whether this source is watched: it is on every page from the next one on that the store lets come about.
    pub fn is_watched(&self, place: usize) -> bool {
        self.is_configured(place) && self.watched[place].load(Ordering::Relaxed)
    }

    /// A new configuration, which names this source or not; if it did before, something of it has changed.
    pub fn configure(&self, place: usize, is_named: bool) {
        self.watched[place].fetch_and(is_named, Ordering::Relaxed);
        self.configured[place].send_replace(is_named);
    }

    /// Ends the process without a word. What is on the disk then, the caller says.
    pub async fn kill(&mut self, left: impl FnOnce(&Disk) -> Disk) {
        let Some(mut life) = self.life.take() else { return };
        // Nothing that happens to the old disk from here on is seen by anybody.
        self.disk = left(&self.disk);
        life.handle = None;
        for tasks in [&mut life.pollers, &mut life.sender] {
            end(tasks).await;
        }
        end(&mut life.engine).await;
    }

    /// Asks it to end, in the order in which the program does it, and waits.
    pub async fn stop(&mut self) -> Result<(), JournalError> {
        let Some(mut life) = self.life.take() else { return Ok(()) };
        life.stop.cancel();
        while let Some(over) = life.pollers.join_next().await {
            over.expect("pollers do not panic");
        }
        while let Some(over) = life.sender.join_next().await {
            over.expect("the sender does not panic");
        }
        life.handle = None;
        let ended = life.engine.join_next().await.expect("there is an engine").expect("the engine does not panic");
        drop(life);
        self.disk = self.disk.after_kill();
        ended
    }

    pub fn is_running(&self) -> bool {
        self.life.is_some()
    }

    /// What a scrape would say now; panics with whatever has panicked inside.
    pub fn page(&mut self) -> String {
        self.look_after();
        let life = self.life.as_ref().expect("it is running");
        let now = self.ours.now();
        let page = life.exposition.render(&life.shown.load(), &[], Format::Text, now);
        String::from_utf8(page).expect("UTF-8")
    }

    /// True time since the beginning.
    pub fn seconds(&self) -> f64 {
        (self.truth.micros() - START) as f64 / 1e6
    }

    /// Whether spans are sent.
    pub fn traces(&self) -> bool {
        self.setup.traces
    }

    /// What is shown now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.life.as_ref().expect("it is running").shown.load_full()
    }

    pub fn journal(&self) -> &Journal {
        &self.life.as_ref().expect("it is running").journal
    }

    /// Comes back when everything that was sent to the engine is committed and shown.
    pub async fn settle(&self) {
        let life = self.life.as_ref().expect("it is running");
        life.handle.as_ref().expect("it is at work").settle().await.expect("it is at work");
    }

    /// No task ends by itself.
    fn look_after(&mut self) {
        let Some(life) = &mut self.life else { return };
        for tasks in [&mut life.pollers, &mut life.sender] {
            if let Some(over) = tasks.try_join_next() {
                over.expect("nothing panics");
                panic!("a task has ended");
            }
        }
        if let Some(over) = life.engine.try_join_next() {
            panic!("the engine has ended: {over:?}");
        }
    }

    /// The platforms' accounts of themselves, of everything or since then.
    pub fn truths(&self) -> [Value; 2] {
        let json = |truth: Result<Value, serde_json::Error>| truth.expect("it is plain data");
        [json(serde_json::to_value(self.h.truth(None))), json(serde_json::to_value(self.everruns.truth(None)))]
    }

    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("no check has failed")
    }

    /// Forgets what the collector has, and says how many spans that were.
    pub fn forget_spans(&self) -> usize {
        std::mem::take(&mut self.desk().received).spans.len()
    }

    /// The spans that the collector has, each once.
    pub fn spans(&self) -> HashMap<Name, Span> {
        super::deeds::distinct(&self.desk().received.spans)
    }
}

/// Ends tasks in the middle of whatever they are doing; one that has panicked makes this panic, too.
async fn end<T: 'static>(tasks: &mut JoinSet<T>) {
    tasks.abort_all();
    while let Some(over) = tasks.join_next().await {
        if let Err(error) = over
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Sends spans as the program does: in order, again until they are taken, and out of the outbox then.
async fn send(
    journal: Journal,
    handle: EngineHandle,
    shown: Arc<ArcSwap<Snapshot>>,
    mut waiting: tokio::sync::watch::Receiver<std::ops::Range<u64>>,
    desk: Arc<Mutex<Desk>>,
    batch: usize,
    stop: CancellationToken,
) {
    let mut mark = 0;
    loop {
        let range = waiting.borrow_and_update().clone();
        let range = range.start.max(mark)..range.end;
        if range.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = waiting.changed() => if changed.is_err() { return },
            }
            continue;
        }
        // A store that cannot be read just now is read later.
        if let Ok((spans, next)) = journal.waiting_spans(range, batch)
            && deliver(&spans, &shown.load(), &desk)
        {
            mark = next;
            if handle.sent(next).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

fn deliver(spans: &[TraceSpan], shown: &Snapshot, desk: &Mutex<Desk>) -> bool {
    if spans.is_empty() {
        return true;
    }
    let message = traces(shown, spans, &Sender::default());
    let mut desk = desk.lock().expect("no check has failed");
    if desk.mood != Mood::IsAway {
        desk.received.take_spans(&message);
    }
    desk.mood == Mood::Takes
}
