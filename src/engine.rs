//! The single writer: takes reports from the pollers, folds and commits them, shows what is durable, and answers.
//!
//! It lives on a thread of its own, because the store blocks. Reports that wait together are committed together: one
//! sync for all of them. Whatever goes wrong, memory is never ahead of the file: the state is then read back from it,
//! and the pollers repeat what was not acknowledged. While it cannot be read back, nothing else is served, as there is
//! nothing to serve from.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::domain::{Capabilities, Clock, Receipt, Report, SourceIx, Span, Timestamp};
use crate::journal::{CommitStats, Journal, JournalError};
use crate::projection::{IntakeError, Snapshot, SourceRecord, State, broken_invariants};

/// Reports committed together at most: bounds how long the first of them waits.
const GROUP: usize = 128;
/// Commands that may wait; past it pollers wait with their next request.
const QUEUE: usize = 256;
/// Under a steady stream of commits, what is shown is renewed this often; an idle engine shows everything at once.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// How often old sessions are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// A store that failed is opened again after this, then after twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest that a store which failed is left alone.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Why a report was not committed. The poller begins again from what is committed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The report contradicts what is committed.
    #[error(transparent)]
    Report(#[from] IntakeError),
    /// The store failed; the state was read back from it.
    #[error("nothing was committed: {0}")]
    Store(Arc<JournalError>),
    /// Its sessions are those of another source of this process.
    #[error("its sessions are those of source {0}: two sources on one account would count everything twice")]
    CountedTwice(String),
    /// The engine has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// A source that enters.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// What is stored of it.
    pub record: SourceRecord,
    /// What its platform can tell.
    pub capabilities: &'static Capabilities,
    /// After how much silence a turn that is not over is given up; `None` where every turn ends.
    pub abandon_turns_after: Option<Span>,
    /// Its sessions are told as spans.
    pub traced: bool,
}

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Sessions that are over are kept for so long; for ever without it.
    pub sessions: Option<Span>,
    /// So many spans wait for a collector; any number without it.
    pub spans: Option<u64>,
}

/// What a source needs to know when it starts.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its number.
    pub ix: SourceIx,
    /// Which account its numbers are of.
    pub account: String,
    /// Nothing before this is counted.
    pub count_from: Timestamp,
    /// How far its walks have come.
    pub walks: Vec<(String, Timestamp)>,
    /// The account and key fingerprint of the time before, where the source was known.
    pub before: Option<SourceRecord>,
    /// A few of its sessions, the last discovered first, to recognise the account by.
    pub known: Vec<crate::domain::SessionId>,
}

enum Command {
    Attach { entrant: Box<Entrant>, reply: oneshot::Sender<Attached> },
    Known { name: String, reply: oneshot::Sender<Option<(SourceRecord, bool)>> },
    Detach { name: String },
    Rekey { ix: SourceIx, key_print: u64 },
    Report { report: Report, reply: oneshot::Sender<Result<Receipt, EngineError>> },
    Sent { before: u64 },
    Settle { reply: oneshot::Sender<()> },
}

/// How others speak to the engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
}

impl EngineHandle {
    /// Enters a source, or finds it again by its name.
    pub async fn attach(&self, entrant: Entrant) -> Result<Attached, EngineError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Attach { entrant: Box::new(entrant), reply };
        self.commands.send(command).await.map_err(|_| EngineError::Stopped)?;
        answer.await.map_err(|_| EngineError::Stopped)
    }

    /// What is stored of a source, if it was ever watched, and whether anything was read of it.
    pub async fn known(&self, name: &str) -> Result<Option<(SourceRecord, bool)>, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Known { name: name.to_owned(), reply }).await.map_err(|_| EngineError::Stopped)?;
        answer.await.map_err(|_| EngineError::Stopped)
    }

    /// Watches a source no longer: it is kept, and shown no more until it is attached again.
    pub async fn detach(&self, name: &str) -> Result<(), EngineError> {
        self.commands.send(Command::Detach { name: name.to_owned() }).await.map_err(|_| EngineError::Stopped)
    }

    /// Remembers a new key of a source whose account was recognised.
    pub async fn rekey(&self, ix: SourceIx, key_print: u64) -> Result<(), EngineError> {
        self.commands.send(Command::Rekey { ix, key_print }).await.map_err(|_| EngineError::Stopped)
    }

    /// Takes everything before this number from the outbox: the collector has it, or will never have it. Nobody has to
    /// wait until that is durable: what is sent again after a crash is the same.
    pub async fn sent(&self, before: u64) -> Result<(), EngineError> {
        self.commands.send(Command::Sent { before }).await.map_err(|_| EngineError::Stopped)
    }

    /// Comes back when everything sent before is committed and shown.
    pub async fn settle(&self) -> Result<(), EngineError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Settle { reply }).await.map_err(|_| EngineError::Stopped)?;
        answer.await.map_err(|_| EngineError::Stopped)
    }

    /// Commits a report. The answer comes when it is durable.
    pub async fn report(&self, report: Report) -> Result<Receipt, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Report { report, reply }).await.map_err(|_| EngineError::Stopped)?;
        answer.await.map_err(|_| EngineError::Stopped)?
    }
}

/// Told of every commit, for the exporter's own metrics.
pub trait Observer: Send {
    /// A commit is durable.
    fn committed(&self, stats: &CommitStats, journal: &Journal);
    /// A commit failed.
    fn failed(&self, error: &JournalError);
    /// So many events came again since the last call.
    fn duplicates(&self, source: &str, count: u64);
}

/// The engine.
pub struct Engine {
    journal: Journal,
    state: State,
    shown: Arc<ArcSwap<Snapshot>>,
    commands: mpsc::Receiver<Command>,
    /// Commands that came and are not served yet, the oldest first.
    held: VecDeque<Command>,
    /// The store failed and could not be read back: how long until that is tried again.
    broken: Option<Duration>,
    /// The store failed, and nothing was committed since.
    failing: bool,
    clock: Arc<dyn Clock>,
    observer: Box<dyn Observer>,
    keep: Keep,
    /// What the collector has, as long as that is not committed: a failed commit must not forget it.
    sent: Option<u64>,
    /// The spans that wait, once what is shown has their names.
    waiting: watch::Sender<Range<u64>>,
    /// Every source of this process, in the order of entry.
    attached: Vec<Entrant>,
    shown_at: Instant,
    expired_at: Option<Instant>,
}

impl Engine {
    /// Loads the state and shows it. Run it with [`Engine::run`] on a thread of its own.
    pub fn open(
        journal: Journal,
        clock: Arc<dyn Clock>,
        observer: Box<dyn Observer>,
        keep: Keep,
    ) -> Result<(Self, EngineHandle, Arc<ArcSwap<Snapshot>>), JournalError> {
        let mut state = journal.load(clock.now())?;
        state.limit_outbox(keep.spans.unwrap_or(u64::MAX));
        let waiting = watch::Sender::new(state.outbox().waiting());
        let shown = Arc::new(ArcSwap::from_pointee(state.snapshot()));
        let (sender, commands) = mpsc::channel(QUEUE);
        let engine = Self {
            journal,
            state,
            shown: Arc::clone(&shown),
            commands,
            held: VecDeque::new(),
            broken: None,
            failing: false,
            clock,
            observer,
            keep,
            sent: None,
            waiting,
            attached: Vec::new(),
            shown_at: Instant::now(),
            expired_at: None,
        };
        Ok((engine, EngineHandle { commands: sender }, shown))
    }

    /// Shows at once what is stored of these sources, which are about to enter: a scrape in between finds nothing missing.
    pub fn expect<'a>(&mut self, sources: impl IntoIterator<Item = &'a str>) {
        sources.into_iter().for_each(|name| self.state.expect(name));
        self.show();
    }

    /// The numbers of the spans in the outbox that wait and can be told: what is shown knows their names.
    pub fn waiting_spans(&self) -> watch::Receiver<Range<u64>> {
        self.waiting.subscribe()
    }

    /// Serves until every handle is dropped; everything that was sent before is committed, unless the store fails to
    /// the end. Blocks: for a thread of its own.
    pub fn run(self) -> Result<(), JournalError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a timer alone needs nothing of the system").block_on(self.serve_on())
    }

    /// The same on the caller's task and clock. It blocks while it commits.
    pub async fn serve_on(mut self) -> Result<(), JournalError> {
        loop {
            match self.broken {
                Some(wait) => {
                    let is_last = self.wait_for_store(wait).await;
                    if let Err(error) = self.read_back(true) {
                        if is_last {
                            return Err(error);
                        }
                        continue;
                    }
                }
                None if self.held.is_empty() => match self.commands.recv().await {
                    Some(first) => self.held.push_back(first),
                    None => break,
                },
                None => {}
            }
            while self.held.len() < GROUP
                && let Ok(next) = self.commands.try_recv()
            {
                self.held.push_back(next);
            }
            self.serve();
            if self.broken.is_some() {
                continue;
            }
            if self.commands.is_empty() || self.shown_at.elapsed() >= SHOW_EVERY {
                self.show();
            }
            self.expire();
        }
        self.show();
        Ok(())
    }

    /// Waits before the store is tried again; what comes meanwhile is held. `true` if nobody is left who could speak to
    /// the engine: then there is one try more.
    async fn wait_for_store(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while self.held.len() < QUEUE {
            match timeout(until.saturating_duration_since(Instant::now()), self.commands.recv()).await {
                Ok(Some(command)) => self.held.push_back(command),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        // Whoever sends more waits with it; that all have gone shows a little later.
        tokio::time::sleep_until(until).await;
        self.commands.is_closed()
    }

    /// Serves what is held, or as much of it as there is a store for.
    fn serve(&mut self) {
        let mut answers = Vec::with_capacity(self.held.len());
        let mut settling = Vec::new();
        while let Some(command) = self.held.pop_front() {
            match command {
                Command::Attach { entrant, reply } => {
                    let attached = self.attach(*entrant);
                    // A source that gave up waiting has ended; there is nobody to tell.
                    let _ = reply.send(attached);
                }
                Command::Known { name, reply } => {
                    let state = &self.state;
                    let found = state.find_source(&name);
                    let known = found.map(|ix| (state.source(ix).clone(), state.was_read(ix)));
                    // Whoever asked has given up.
                    let _ = reply.send(known);
                }
                Command::Detach { name } => {
                    self.attached.retain(|known| known.record.name != name);
                    self.state.find_source(&name).into_iter().for_each(|ix| self.state.detach(ix));
                }
                Command::Rekey { ix, key_print } => {
                    let record = SourceRecord { key_print, ..self.state.source(ix).clone() };
                    self.state.update_source(ix, record);
                }
                Command::Sent { before } => {
                    self.sent = self.sent.max(Some(before));
                    self.state.sent(before);
                }
                Command::Settle { reply } => settling.push(reply),
                Command::Report { report, reply } => {
                    if let Some(other) = self.state.counted_twice(&report) {
                        let _ = reply.send(Err(EngineError::CountedTwice(other)));
                        continue;
                    }
                    let duplicates = self.state.duplicates();
                    match self.take_in(&report) {
                        Ok(receipt) => answers.push((receipt, reply)),
                        Err(error) => {
                            // What came before it may be folded in part: it is not committed but repeated. What comes
                            // after it is not touched yet.
                            tracing::warn!(%error, "a report does not continue what is committed");
                            let _ = reply.send(Err(error.into()));
                            let reason = JournalError::Store("another report was in error".into());
                            refuse(std::mem::take(&mut answers), &Arc::new(reason));
                            if self.read_back(false).is_err() {
                                break;
                            }
                            continue;
                        }
                    }
                    let again = self.state.duplicates() - duplicates;
                    if again > 0 {
                        self.observer.duplicates(&self.state.source(report.source).name, again);
                    }
                }
            }
        }
        if self.broken.is_none() && self.state.has_changes() {
            let reports = i64::try_from(answers.len()).expect("a group is small");
            let committing = tracing::debug_span!("commit", reports).entered();
            let committed = self.journal.commit(&mut self.state);
            drop(committing);
            match committed {
                Ok(stats) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the store takes commits again; nothing is lost");
                    }
                    self.sent = None;
                    self.state.committed();
                    self.observer.committed(&stats, &self.journal);
                }
                Err(error) => {
                    tracing::error!(%error, "a commit failed; nothing of it is shown, it will be repeated");
                    self.failing = true;
                    self.observer.failed(&error);
                    refuse(std::mem::take(&mut answers), &Arc::new(error));
                    // If that fails, too, it is tried again until it works.
                    let _ = self.read_back(true);
                }
            }
        }
        if self.broken.is_some() {
            // They wait for what is committed.
            self.held.extend(settling.into_iter().map(|reply| Command::Settle { reply }));
            return;
        }
        debug_assert_eq!(broken_invariants(&self.state), [""; 0], "an invariant does not hold");
        for (receipt, reply) in answers {
            // A poller that gave up waiting finds its cursor moved on when it comes back.
            let _ = reply.send(Ok(receipt));
        }
        if !settling.is_empty() {
            self.show();
        }
        for reply in settling {
            // Whoever asked has given up.
            let _ = reply.send(());
        }
    }

    fn take_in(&mut self, report: &Report) -> Result<Receipt, IntakeError> {
        let journal = &self.journal;
        self.state.take_in(report, &|no| match journal.session(no) {
            Ok(Some(session)) => Ok(session),
            Ok(None) => Err("it is not there".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    fn attach(&mut self, entrant: Entrant) -> Attached {
        let found = self.state.find_source(&entrant.record.name);
        let before = found.map(|ix| self.state.source(ix).clone());
        // Who is started over after a failure, or with another configuration, attaches again.
        match self.attached.iter_mut().find(|known| known.record.name == entrant.record.name) {
            Some(known) => *known = entrant.clone(),
            None => self.attached.push(entrant.clone()),
        }
        let ix = self.enter(entrant);
        Attached {
            ix,
            account: self.state.source(ix).account.clone(),
            count_from: self.state.source(ix).count_from,
            walks: self.state.walks(ix),
            before,
            known: self.state.recent_sessions(ix, 3),
        }
    }

    fn enter(&mut self, entrant: Entrant) -> SourceIx {
        let ix = match self.state.find_source(&entrant.record.name) {
            None => self.state.add_source(entrant.record),
            Some(ix) => {
                // Of a wrong address nothing was ever read: what is asked in its place begins anew.
                if self.state.source(ix).account != entrant.record.account && !self.state.was_read(ix) {
                    self.state.update_source(ix, entrant.record);
                }
                ix
            }
        };
        self.state.attach(ix, entrant.capabilities, entrant.abandon_turns_after);
        self.state.trace(ix, entrant.traced);
        ix
    }

    /// Reads the state back from the file, which after an error of its own has to be opened anew. Until that works
    /// nothing else is served.
    fn read_back(&mut self, reopen: bool) -> Result<(), JournalError> {
        let reopen = reopen || self.broken.is_some();
        let opened = if reopen { self.journal.reopen() } else { Ok(()) };
        match opened.and_then(|()| self.journal.load(self.clock.now())) {
            Ok(state) => {
                self.state = state;
                self.state.limit_outbox(self.keep.spans.unwrap_or(u64::MAX));
                self.sent.into_iter().for_each(|before| self.state.sent(before));
                // A source whose first commit failed is not in the file: it is entered again, under the same
                // number, since its poller knows it by that.
                for entrant in self.attached.clone() {
                    self.enter(entrant);
                }
                self.broken = None;
                Ok(())
            }
            Err(error) => {
                let wait = self.broken.map_or(FIRST_RETRY, |wait| (wait * 2).min(LAST_RETRY));
                tracing::error!(%error, retry_in = ?wait, "the state cannot be read back");
                self.observer.failed(&error);
                (self.broken, self.failing) = (Some(wait), true);
                Err(error)
            }
        }
    }

    fn show(&mut self) {
        self.shown.store(Arc::new(self.state.snapshot()));
        let waiting = self.state.outbox().waiting();
        self.waiting.send_if_modified(|known| std::mem::replace(known, waiting.clone()) != waiting);
        self.shown_at = Instant::now();
    }

    fn expire(&mut self) {
        let Some(retention) = self.keep.sessions else { return };
        if self.expired_at.is_some_and(|at| at.elapsed() < EXPIRE_EVERY) || self.state.has_changes() {
            return;
        }
        let horizon = self.clock.now().minus(retention);
        match self.journal.expire(&self.state, horizon) {
            Ok(expired) => {
                for (ix, id) in &expired.sessions {
                    self.state.forget(*ix, id);
                }
                if !expired.sessions.is_empty() {
                    self.state.count_after(&expired.newest);
                    tracing::info!(sessions = expired.sessions.len(), %horizon, "retention is over for old sessions");
                }
                self.expired_at = (!expired.more).then(Instant::now);
            }
            Err(error) => {
                tracing::error!(%error, "old sessions cannot be taken away");
                self.observer.failed(&error);
                self.expired_at = Some(Instant::now());
                // Whether it was written is not certain; if that cannot be found out, it is tried again until it can.
                let _ = self.read_back(true);
            }
        }
    }
}

fn refuse(answers: Vec<(Receipt, oneshot::Sender<Result<Receipt, EngineError>>)>, error: &Arc<JournalError>) {
    for (_, reply) in answers {
        let _ = reply.send(Err(EngineError::Store(Arc::clone(error))));
    }
}
