//! Wires the parts together, starts them in order, watches over them, and stops them in reverse.

mod push;
mod reload;
mod sources;
mod web;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::reload::{Fixed, ReloadError};
use self::sources::{Difference, Sources, Wiring};
use crate::config::{Config, ConfigError, WebConfigFile};
use crate::domain::{Clock, Span};
use crate::engine::{Engine, EngineHandle, Keep};
use crate::ingest::transport::HttpError;
use crate::journal::{Journal, JournalError};
use crate::projection::{LabelPolicy, Snapshot};
use crate::push::{OwnTraces, Push, PushError, PushTraces};
use crate::server::{About, App, Door, Line, ListenError};
use crate::telemetry::{Health, Instruments, WallClock, broken_off, trace_own_work};
use crate::views::prometheus::{Exposition, Hold};
use crate::witness::{Shelf, SpanOutbox, StoreObserver};

pub use self::reload::{ReloadHandle, Reloads};
pub use self::sources::{account, account_name};

/// How often it is made sure that the engine is alive.
const LOOK_AFTER_ENGINE: Duration = Duration::from_millis(500);
/// A source that failed by a bug of ours starts over after this.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// The file that tells `sessions` and `show` where the exporter on this folder listens.
pub const URL_FILE: &str = "exporter.url";

/// Why the exporter cannot run.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The store.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A listening socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket that was handed over.
    #[error("cannot use the socket that systemd has handed over: {0}")]
    Socket(std::io::Error),
    /// Who is let in.
    #[error(transparent)]
    Web(#[from] ConfigError),
    /// A client.
    #[error("source {name}: {error}")]
    Client {
        /// Of which source.
        name: String,
        /// Why.
        error: HttpError,
    },
    /// The configuration does not fit the store.
    #[error(
        "source {name} was another account before ({before}): give it another name, or the exporter another \
         --storage.path"
    )]
    OtherAccount {
        /// Which source.
        name: String,
        /// What the store knows under that name.
        before: String,
    },
    /// Nothing can be pushed.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The writer has died.
    #[error("the engine has stopped; see the log")]
    EngineStopped,
    /// The store failed to the end.
    #[error("stopped while the store was failing: {0}; what is not in it is read again after the next start")]
    Unsaved(JournalError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// A pass over a source failed.
    #[error("not every source could be read: {0}")]
    Incomplete(String),
}

/// What a run is like, besides its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// One complete pass over every source, and no server.
    pub once: bool,
    /// The platforms are simulated; every page says so.
    pub simulated: bool,
}

/// An exporter that is ready to run: store open, sockets bound.
pub struct Runtime {
    config: Config,
    fixed: Fixed,
    sends_traces: bool,
    manner: Manner,
    listeners: Vec<TcpListener>,
    door: Door,
    web_file: Option<WebConfigFile>,
    engine: std::thread::JoinHandle<Result<(), JournalError>>,
    handle: EngineHandle,
    shown: Arc<ArcSwap<Snapshot>>,
    journal: Journal,
    instruments: Instruments,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    url_file: Option<PathBuf>,
    metrics: Option<Push>,
    own_traces: Option<OwnTraces>,
    traces: Option<PushTraces<SpanOutbox>>,
}

impl Runtime {
    /// Binds, opens and loads; whatever can be wrong here is said before anything runs. With sockets that were handed
    /// over it listens on these and no others.
    pub async fn prepare(
        mut config: Config,
        manner: Manner,
        inherited: Option<Vec<std::net::TcpListener>>,
    ) -> Result<Self, RuntimeError> {
        let fixed = Fixed::of(&config);
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let (door, web_file) = web::open(config.web.config_file.as_deref(), clock.now())?;
        let mut listeners = Vec::new();
        match inherited {
            _ if manner.once => {}
            Some(sockets) => {
                for socket in sockets {
                    listeners.push(TcpListener::from_std(socket).map_err(RuntimeError::Socket)?);
                }
            }
            None => {
                for address in &config.web.listen_addresses {
                    listeners.push(crate::server::listen(&address.to_string(), &address.candidates()).await?);
                }
            }
        }
        let instruments = Instruments::new(env!("CARGO_PKG_VERSION"), revision());
        instruments.reloaded(clock.now());
        let health = Arc::new(Health::new(instruments.clone()));
        for source in &config.sources {
            health.add_source(&source.name, source.platform.name, source.poll_interval.into());
        }
        let policy =
            LabelPolicy { max_length: config.labels.max_length, max_series: config.labels.max_series_per_metric };
        let journal = Journal::open(&config.storage.path, policy)?;
        let otlp = config.otlp.take();
        let to_traces = otlp.as_ref().and_then(|otlp| otlp.traces.as_ref());
        let keep = Keep {
            sessions: Some(Span::from(config.storage.retention)),
            spans: to_traces.map(|to| to.outbox_limit as u64),
        };
        let sends_traces = to_traces.is_some();
        let observer =
            Box::new(StoreObserver::new(instruments.clone(), Arc::clone(&health), &journal, to_traces.is_some()));
        let (mut engine, handle, shown) = Engine::open(journal.clone(), Arc::clone(&clock), observer, keep)?;
        engine.expect(config.sources.iter().map(|source| source.name.as_str()));
        health.restored();
        let (mut metrics, mut traces, mut own_traces) = (None, None, None);
        if let Some(otlp) = otlp {
            let sender = push::sender(otlp.attributes, &config.storage.path)?;
            if let Some(to) = otlp.traces {
                if otlp.self_traces {
                    own_traces = Some(push::own_traces(&to, &sender, &instruments)?);
                }
                let outbox = SpanOutbox::new(journal.clone(), handle.clone(), engine.waiting_spans());
                let (sender, shown) = (sender.clone(), Arc::clone(&shown));
                traces = Some(push::traces(to, sender, shown, instruments.clone(), outbox)?);
            }
            if let Some(to) = otlp.metrics {
                let (shown, clock) = (Arc::clone(&shown), Arc::clone(&clock));
                metrics = Some(push::metrics(to, &config.storage.path, sender, shown, instruments.clone(), clock)?);
            }
        }
        let engine = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || engine.run())
            .map_err(RuntimeError::Thread)?;
        let url = listeners.first().and_then(|listener| local_url(listener, door.has_tls()));
        let url_file = url.and_then(|url| write_url(&config.storage.path, &url));
        Ok(Self {
            config,
            fixed,
            sends_traces,
            manner,
            listeners,
            door,
            web_file,
            engine,
            handle,
            shown,
            journal,
            instruments,
            health,
            clock,
            url_file,
            metrics,
            own_traces,
            traces,
        })
    }

    /// Where it listens, as URLs that work on this machine.
    pub fn urls(&self) -> Vec<String> {
        self.listeners.iter().filter_map(|listener| local_url(listener, self.door.has_tls())).collect()
    }

    /// Runs until told to stop, or for one pass. With `reloads`, follows new configurations meanwhile.
    pub async fn run(self, shutdown: CancellationToken, mut reloads: Option<Reloads<'_>>) -> Result<(), RuntimeError> {
        let serving = CancellationToken::new();
        let mut servers = JoinSet::new();
        let app = Arc::new(App {
            about: About {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                revision: revision().to_owned(),
                telemetry_path: self.config.web.telemetry_path.clone(),
                simulated: self.manner.simulated,
            },
            snapshot: Arc::clone(&self.shown),
            exposition: Exposition::new(Hold::after_restart(
                self.config.web.new_series_hold.into(),
                &self.shown.load(),
                self.clock.now(),
            )),
            instruments: self.instruments.clone(),
            health: Arc::clone(&self.health),
            archive: Arc::new(Shelf::new(self.journal.clone())),
            clock: Arc::clone(&self.clock),
            reload: reloads.as_ref().and_then(Reloads::served_handle),
            door: ArcSwap::from_pointee(self.door),
            line: Line::default(),
        });
        if let Some(file) = self.web_file {
            servers.spawn(web::keep_up(file, Arc::clone(&app), serving.clone()));
        }
        for listener in self.listeners {
            servers.spawn(crate::server::serve(listener, Arc::clone(&app), serving.clone()));
        }

        let pushing = CancellationToken::new();
        let mut pushes = JoinSet::new();
        if let Some(metrics) = self.metrics {
            pushes.spawn(metrics.run(pushing.clone()));
        }

        if let Some(own) = &self.own_traces {
            trace_own_work(Some(own.tracer()));
        }
        let sending = CancellationToken::new();
        let mut senders = JoinSet::new();
        if let Some(traces) = self.traces {
            senders.spawn(send_traces(Arc::new(traces), sending.clone(), self.instruments.clone()));
        }

        let polling = shutdown.child_token();
        let wiring = Wiring {
            handle: self.handle.clone(),
            instruments: self.instruments.clone(),
            health: Arc::clone(&self.health),
            clock: Arc::clone(&self.clock),
            once: self.manner.once,
            sends_traces: self.sends_traces,
        };
        let mut sources = Sources::new(wiring, polling.clone());
        // A store that fails just now would keep it waiting.
        tokio::select! {
            watching = sources.watch(self.config.sources) => drop(watching?),
            () = shutdown.cancelled() => {}
        }
        let mut incomplete = Vec::new();
        let mut look = tokio::time::interval(LOOK_AFTER_ENGINE);
        let outcome = loop {
            tokio::select! {
                over = sources.next_over() => match over {
                    Some((name, pass)) => {
                        if self.manner.once && (!pass.discovered || pass.failures > 0) {
                            incomplete.push(name);
                        }
                    }
                    None => break Ok(()),
                },
                request = asked(reloads.as_mut()) => {
                    let outcome = match reloads.as_mut().map(|reloads| reloads.load(&self.fixed)) {
                        Some(Ok(config)) => tokio::select! {
                            watching = sources.watch(config.sources) => watching.map_err(ReloadError::from),
                            // It may be waiting for a store that fails. Whoever asked is told that we are stopping.
                            () = shutdown.cancelled() => continue,
                        },
                        Some(Err(error)) => Err(error),
                        None => Ok(Difference::default()),
                    };
                    if outcome.is_ok() {
                        self.instruments.reloaded(self.clock.now());
                    } else {
                        self.instruments.reload_failed();
                    }
                    self.health.configuration_works(outcome.is_ok());
                    request.answer(outcome);
                }
                _ = look.tick() => {
                    if self.engine.is_finished() && !sources.is_empty() {
                        break Err(RuntimeError::EngineStopped);
                    }
                }
            }
        };
        // Pollers first: then the engine has heard everything, commits it and ends; pages to the last.
        polling.cancel();
        while sources.next_over().await.is_some() {}
        // Then spans, while there is an engine to take note of what was sent.
        sending.cancel();
        while senders.join_next().await.is_some() {}
        // Held until here: an engine that ends because nobody is left must not look like one that has died.
        drop((self.handle, sources));
        let engine = self.engine;
        let saved = match tokio::task::spawn_blocking(move || engine.join()).await {
            Ok(Ok(saved)) => saved.map_err(RuntimeError::Unsaved),
            _ => {
                tracing::error!("the engine has failed");
                Ok(())
            }
        };
        // After the engine: the last message has what it committed last.
        pushing.cancel();
        while pushes.join_next().await.is_some() {}
        if let Some(own) = self.own_traces {
            trace_own_work(None);
            own.stop().await;
        }
        serving.cancel();
        while servers.join_next().await.is_some() {}
        if let Some(file) = self.url_file {
            // Left behind it only makes `sessions` ask in vain.
            let _ = std::fs::remove_file(file);
        }
        outcome?;
        saved?;
        if incomplete.is_empty() { Ok(()) } else { Err(RuntimeError::Incomplete(incomplete.join(", "))) }
    }
}

/// The next request for a new configuration, where there can be one.
async fn asked(reloads: Option<&mut Reloads<'_>>) -> reload::Request {
    match reloads {
        Some(reloads) => reloads.asked().await,
        None => std::future::pending().await,
    }
}

/// Sends spans; after a bug of ours starts over with what waits.
async fn send_traces(traces: Arc<PushTraces<SpanOutbox>>, stop: CancellationToken, instruments: Instruments) {
    const TASK: &str = "sender of traces";
    instruments.register_task(TASK);
    loop {
        let (sender, until) = (Arc::clone(&traces), stop.clone());
        let Err(error) = tokio::spawn(async move { sender.run(until).await }).await else { return };
        tracing::error!(error = broken_off(&error), "sending of traces broke off by a bug; it starts over");
        instruments.task_restarted(TASK);
        tokio::time::sleep(RESTART_AFTER).await;
    }
}

/// The revision that was built, where the build says so.
fn revision() -> &'static str {
    option_env!("ASE_REVISION").unwrap_or("unknown")
}

fn local_url(listener: &TcpListener, secured: bool) -> Option<String> {
    let address = listener.local_addr().ok()?;
    let host = match address.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let scheme = if secured { "https" } else { "http" };
    Some(format!("{scheme}://{host}:{}", address.port()))
}

fn write_url(folder: &Path, url: &str) -> Option<PathBuf> {
    let file = folder.join(URL_FILE);
    let unfinished = folder.join(format!("{URL_FILE}.new"));
    // Only a convenience for commands on the same machine; whoever reads it finds all of it or nothing.
    std::fs::write(&unfinished, url).ok()?;
    std::fs::rename(&unfinished, &file).ok()?;
    Some(file)
}
