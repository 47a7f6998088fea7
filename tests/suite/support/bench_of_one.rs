//! One source in virtual time: the real poller, jobs, fold and journal, against a simulator without sockets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_session_exporter::audit::{Audit, Extent, Watched, audit};
use agent_session_exporter::domain::{Clock, Receipt, Report, SessionNo, SourceIx, Span, Timestamp};
use agent_session_exporter::ingest::access::Access;
use agent_session_exporter::ingest::limiter::{Limiter, Pace};
use agent_session_exporter::ingest::platforms::{Account, Descriptor, everruns, hcompany};
use agent_session_exporter::ingest::poller::{Committing, Ledger, LedgerError, Pass, Poller, Witness};
use agent_session_exporter::ingest::schedule::Rhythm;
use agent_session_exporter::ingest::transport::{Answer, Answering, Transport, TransportError, retry_after};
use agent_session_exporter::ingest::{Failure, Request};
use agent_session_exporter::journal::Journal;
use agent_session_exporter::projection::{LabelPolicy, Session, Snapshot, SourceRecord, State, broken_invariants};
use agent_session_exporter::simulator::{self, SimulateOptions, Simulator, Site, World};
use reqwest::header::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::running::source_record;
use super::stopwatch::Stopwatch;

/// 2026-11-20T14:30:00Z.
pub const START: i64 = 1_795_185_000_000_000;

/// A clock that follows tokio's, which tests can pause.
#[derive(Clone, Copy)]
pub struct VirtualClock {
    began: Instant,
}

impl VirtualClock {
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    pub fn micros(self) -> i64 {
        self.micros_at(Instant::now())
    }

    pub fn micros_at(self, at: Instant) -> i64 {
        START + i64::try_from((at - self.began).as_micros()).expect("a test is short")
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros())
    }
}

/// How long a turn may be silent: longer than any test.
const PATIENCE: Option<Span> = Some(Span::from_secs(86_400));

pub fn policy() -> LabelPolicy {
    LabelPolicy::default()
}

/// The same platform, which fails one request in five: refuses, breaks, cuts short or dawdles.
pub fn with_faults(options: SimulateOptions) -> SimulateOptions {
    SimulateOptions {
        fault_rate_429: 0.05,
        fault_rate_5xx: 0.05,
        fault_rate_cut: 0.05,
        fault_rate_slow: 0.05,
        ..options
    }
}

/// A way into a simulator without sockets.
pub struct IntoSimulator<W> {
    simulator: Arc<Simulator<W>>,
    key: String,
    requests: AtomicU64,
    clock: VirtualClock,
    stopwatch: Arc<Stopwatch>,
    /// Until then every request is refused, without a word of when to come back.
    storm_until: AtomicI64,
    /// Calls of this kind are always refused, with that Retry-After.
    refused_kind: Mutex<Option<(&'static str, Duration)>>,
}

impl<W: Site> IntoSimulator<W> {
    pub fn new(simulator: Arc<Simulator<W>>, key: String) -> Self {
        Self {
            simulator,
            key,
            requests: AtomicU64::new(0),
            clock: VirtualClock::start(),
            stopwatch: Arc::default(),
            storm_until: AtomicI64::new(0),
            refused_kind: Mutex::new(None),
        }
    }
}

impl<W: Site> Transport for IntoSimulator<W> {
    fn get<'a>(&'a self, request: &'a Request) -> Answering<'a> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let mut url = reqwest::Url::parse(&format!("http://simulator{}", request.path)).expect("a path");
            if !request.query.is_empty() {
                url.query_pairs_mut().extend_pairs(request.query.iter().map(|(k, v)| (*k, v.as_str())));
            }
            let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
            let asked_at = self.clock.micros();
            let kind = *self.refused_kind.lock().expect("no test panics in here");
            let asked_for = kind.filter(|(endpoint, _)| *endpoint == request.endpoint).map(|(_, pause)| pause);
            if asked_for.is_some() || asked_at < self.storm_until.load(Ordering::Relaxed) {
                self.stopwatch.note(asked_at, asked_at, request, 429, b"");
                let body = Vec::new().into();
                return Ok(Answer { status: 429, retry_after: asked_for, date: None, etag: None, body });
            }
            let response = self.simulator.answer(&simulator::Request::get(&target, &self.key));
            if let Some(delay) = response.delay {
                tokio::time::sleep(delay).await;
            }
            self.stopwatch.note(asked_at, self.clock.micros(), request, response.status, &response.body);
            if response.cut.is_some() {
                return Err(TransportError::Cut);
            }
            let headers = response.headers.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).expect("the simulator's headers are sound"),
                )
            });
            Ok(Answer {
                status: response.status,
                retry_after: retry_after(&headers.collect()),
                date: None,
                etag: response.header("etag").map(Into::into),
                body: response.body,
            })
        })
    }
}

/// Folds and commits in place, so that virtual time stands still meanwhile.
pub struct InPlace {
    pub state: Mutex<State>,
    pub journal: Journal,
    /// Whether every commit is held to the invariants, which takes longer the more sessions there are.
    pub checks: AtomicBool,
}

impl Ledger for InPlace {
    fn commit(&self, report: Report) -> Committing<'_> {
        Box::pin(async move { self.commit_now(&report) })
    }

    fn recognised(&self, _: SourceIx) {}
}

impl InPlace {
    fn commit_now(&self, report: &Report) -> Result<Receipt, LedgerError> {
        let mut state = self.state.lock().expect("no test panics in here");
        let receipt = state
            .take_in(report, &|no| self.journal.session(no).map_err(|e| e.to_string())?.ok_or("missing".to_owned()))
            .map_err(|error| LedgerError::Contradicts(error.to_string()))?;
        self.journal.commit(&mut state).map_err(|error| LedgerError::Unsaved(error.to_string()))?;
        state.committed();
        if self.checks.load(Ordering::Relaxed) {
            assert_eq!(broken_invariants(&state), [""; 0]);
        }
        Ok(receipt)
    }
}

#[derive(Default)]
pub struct Noted {
    pub throttled: AtomicU64,
    /// Requests for lists of sessions.
    pub lists: AtomicU64,
    /// Requests for events.
    pub events: AtomicU64,
    pub failed_discoveries: AtomicU64,
    /// Sessions that waited to be read at the same time, at most.
    pub most_waiting: AtomicUsize,
    /// Since when the session was unread that had waited longest, whenever that changed.
    pub oldest_unread: Mutex<Vec<(Instant, Option<Timestamp>)>>,
    /// How fast the source was asked, whenever that was told.
    pub paces: Mutex<Vec<(Instant, Pace)>>,
    /// How far the platform's clock was ahead of ours at last, in whole seconds.
    pub skew: AtomicI64,
}

impl Noted {
    /// Forgets what was noted each time that it changed.
    pub fn forget(&self) {
        *self.oldest_unread.lock().expect("no test panics in here") = Vec::new();
        *self.paces.lock().expect("no test panics in here") = Vec::new();
    }
}

impl Witness for Noted {
    fn requested(&self, endpoint: &'static str, _: &str, _: Duration, _: u64) {
        match endpoint {
            "sessions" => self.lists.fetch_add(1, Ordering::Relaxed),
            "events" => self.events.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
    fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }
    fn succeeded(&self, _: &'static str, _: Timestamp) {}
    fn unread(&self, _: &Failure) {}
    fn discovered(&self, outcome: Result<(), &Failure>, _: Timestamp) {
        if outcome.is_err() {
            self.failed_discoveries.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn backlog(&self, waiting: usize, _: usize) {
        self.most_waiting.fetch_max(waiting, Ordering::Relaxed);
    }
    fn oldest_unread(&self, since: Option<Timestamp>) {
        self.oldest_unread.lock().expect("no test panics in here").push((Instant::now(), since));
    }
    fn paced(&self, pace: Pace, _: Timestamp) {
        self.paces.lock().expect("no test panics in here").push((Instant::now(), pace));
    }
    fn skew(&self, seconds: f64) {
        self.skew.store(seconds.round() as i64, Ordering::Relaxed);
    }
}

/// A simulator and an exporter's inside, sharing one virtual clock.
pub struct Bench<W: Site = World> {
    pub clock: VirtualClock,
    pub simulator: Arc<Simulator<W>>,
    pub ledger: Arc<InPlace>,
    pub witness: Arc<Noted>,
    pub count_from: Timestamp,
    pub disk: Disk,
    /// What went over the wire.
    pub stopwatch: Arc<Stopwatch>,
    /// The budget.
    pub requests_per_second: f64,
    pub rhythm: Rhythm,
    transport: Arc<IntoSimulator<W>>,
    source: SourceIx,
    platform: &'static Descriptor,
    /// The platform's own settings that are not what they are by default.
    pub settings: Vec<(&'static str, String)>,
    /// Traces are wanted.
    pub traces: bool,
}

impl Bench {
    /// H, counting from the beginning of time.
    pub fn new(options: SimulateOptions) -> Self {
        let key = options.api_key.clone();
        Self::around(Simulator::new(options, START).expect("valid options"), key, &hcompany::DESCRIPTOR)
    }
}

impl Bench<simulator::everruns::World> {
    /// Everruns, counting from the beginning of time.
    pub fn everruns(options: SimulateOptions) -> Self {
        let key = options.api_key.clone();
        Self::around(Simulator::everruns(options, START).expect("valid options"), key, &everruns::DESCRIPTOR)
    }
}

impl<W: Site> Bench<W> {
    fn around(simulator: Simulator<W>, key: String, platform: &'static Descriptor) -> Self {
        let clock = VirtualClock::start();
        let count_from = Timestamp::from_micros(0);
        let simulator = Arc::new(simulator.with_clock(Arc::new(move || clock.micros())));
        let stopwatch: Arc<Stopwatch> = Arc::default();
        let seconds = Duration::from_secs;
        let disk = Disk::default();
        let platter = disk.clone();
        let journal = Journal::with_backend(move || platter.clone(), policy()).expect("a fresh journal");
        let mut state = journal.load(clock.now()).expect("an empty state");
        let source = state.add_source(record(platform, count_from));
        state.attach(source, platform.capabilities, PATIENCE);
        Self {
            clock,
            transport: Arc::new(IntoSimulator {
                clock,
                stopwatch: Arc::clone(&stopwatch),
                ..IntoSimulator::new(Arc::clone(&simulator), key)
            }),
            stopwatch,
            requests_per_second: 1000.0,
            rhythm: Rhythm { poll: seconds(5), sweep: seconds(120), limits: Some(seconds(60)), concurrency: 4 },
            simulator,
            ledger: Arc::new(InPlace { state: Mutex::new(state), journal, checks: AtomicBool::new(true) }),
            witness: Arc::default(),
            count_from,
            disk,
            source,
            platform,
            settings: Vec::new(),
            traces: false,
        }
    }

    /// Turns that are silent for longer than this are given up from now on.
    pub fn patience(&mut self, patience: Duration) {
        let mut state = self.ledger.state.lock().expect("no test panics in here");
        state.attach(self.source, self.platform.capabilities, Some(patience.into()));
    }

    /// Takes away what settled and was quiet until now, as retention does.
    pub fn expire(&mut self) -> usize {
        let mut state = self.ledger.state.lock().expect("no test panics in here");
        let mut gone = 0;
        loop {
            let expired = self.ledger.journal.expire(&state, self.clock.now()).expect("a sound journal");
            expired.sessions.iter().for_each(|(ix, id)| state.forget(*ix, id));
            state.count_after(&expired.newest);
            gone += expired.sessions.len();
            if !expired.more {
                break;
            }
        }
        gone
    }

    /// Begins to count only now, as a first start does by default.
    pub fn start_counting(&mut self, from: Timestamp) {
        self.count_from = from;
        let mut state = self.ledger.state.lock().expect("no test panics in here");
        let record = SourceRecord { count_from: from, ..state.source(self.source).clone() };
        state.update_source(self.source, record);
    }

    /// Goes on with what is on another disk.
    pub fn go_on_with(&mut self, disk: Disk) {
        let platter = disk.clone();
        let journal = Journal::with_backend(move || platter.clone(), policy()).expect("a journal");
        let state = Mutex::new(State::new(policy(), []));
        self.ledger = Arc::new(InPlace { state, journal, checks: AtomicBool::new(true) });
        self.disk = disk;
        self.restart();
    }

    /// Forgets everything in memory, as a kill does, and reads it back.
    pub fn restart(&mut self) {
        let mut state = self.ledger.journal.load(self.clock.now()).expect("the journal is whole");
        if state.source_count() == 0 {
            // Killed before anything was committed.
            state.add_source(record(self.platform, self.count_from));
        }
        state.attach(self.source, self.platform.capabilities, PATIENCE);
        let journal = self.ledger.journal.clone();
        self.ledger = Arc::new(InPlace { state: Mutex::new(state), journal, checks: AtomicBool::new(true) });
    }

    fn access(&self, per_second: f64) -> Access {
        Access {
            transport: Arc::clone(&self.transport) as _,
            limiter: Limiter::new(per_second),
            request_timeout: Duration::from_secs(30),
            clock: Arc::new(self.clock),
            witness: Arc::clone(&self.witness) as _,
        }
    }

    fn account(&self) -> Account {
        let mut account = Account { traces: self.traces, ..Account::new(self.count_from) };
        for setting in self.platform.settings {
            account.settings.insert(setting.key, setting.default.to_owned());
        }
        account.settings.extend(self.settings.iter().cloned());
        account
    }

    fn poller(&self) -> Poller {
        Poller {
            source: self.source,
            platform: (self.platform.connect)(self.account()),
            access: self.access(self.requests_per_second),
            ledger: Arc::clone(&self.ledger) as _,
            recognise: Vec::new(),
            walks: self.ledger.state.lock().expect("no test panics in here").walks(self.source),
        }
    }

    /// Asks the platform for its word on sessions, so many a second, and compares.
    pub async fn audit(&self, extent: Extent, per_second: f64) -> Audit {
        let watched = Watched {
            ix: self.source,
            name: "sim".into(),
            platform: (self.platform.connect)(self.account()),
            access: self.access(per_second),
            concurrency: 4,
        };
        audit(&self.ledger.journal, watched, extent, policy()).await.expect("a readable journal")
    }

    /// Polls for so long, and then stops in the middle of whatever it is doing.
    pub async fn poll_for(&self, how_long: Duration) -> Pass {
        let stop = CancellationToken::new();
        let alarm = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(how_long).await;
            alarm.cancel();
        });
        self.poller().run(self.rhythm, false, stop).await
    }

    /// One complete pass.
    pub async fn poll_once(&self) -> Pass {
        self.poller().run(self.rhythm, true, CancellationToken::new()).await
    }

    /// Each session that is stored, with the one that started it.
    pub fn parents(&self) -> BTreeMap<String, Option<String>> {
        let read = |no| self.ledger.journal.session(SessionNo(no)).expect("a sound journal");
        let told = |session: Session| (session.id.to_string(), session.parent.map(|parent| parent.to_string()));
        (0..).map_while(read).map(told).collect()
    }

    /// The word for its platform.
    pub fn platform(&self) -> &'static str {
        self.platform.name
    }

    /// From now on the platform refuses everything for so long.
    pub fn refuse_for(&self, how_long: Duration) {
        let micros = i64::try_from(how_long.as_micros()).expect("a test is short");
        self.transport.storm_until.store(self.clock.micros() + micros, Ordering::Relaxed);
    }

    /// From now on the platform refuses every call of this kind, and asks for that pause.
    pub fn refuse_kind(&self, endpoint: &'static str, pause: Duration) {
        *self.transport.refused_kind.lock().expect("no test panics in here") = Some((endpoint, pause));
    }

    pub fn requests(&self) -> u64 {
        self.transport.requests.load(Ordering::Relaxed)
    }

    pub fn snapshot(&self) -> Snapshot {
        self.ledger.state.lock().expect("no test panics in here").snapshot()
    }
}

fn record(platform: &Descriptor, count_from: Timestamp) -> SourceRecord {
    SourceRecord { account: "http://simulator".into(), count_from, ..source_record("simulated", platform.name) }
}
