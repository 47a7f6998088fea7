//! Wires the parts together, starts them in order, watches over them, and stops them in reverse.

mod push;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::{Config, SourceConfig, Start};
use crate::domain::{Clock, Span, Timestamp};
use crate::engine::{Attached, Engine, EngineHandle, Entrant, Keep};
use crate::ingest::access::Access;
use crate::ingest::limiter::Limiter;
use crate::ingest::platforms::{Account, DISCOVERED, Platform};
use crate::ingest::poller::{Pass, Poller};
use crate::ingest::schedule::Rhythm;
use crate::ingest::transport::{Http, HttpError};
use crate::journal::{Journal, JournalError};
use crate::projection::{LabelPolicy, Origin, Snapshot, SourceRecord};
use crate::push::{OwnTraces, Push, PushError, PushTraces};
use crate::server::{About, App, ListenError};
use crate::telemetry::{Health, Instruments, WallClock, trace_own_work};
use crate::views::prometheus::{Exposition, Hold};
use crate::witness::{EngineLedger, Shelf, SourceWitness, SpanOutbox, StoreObserver};

/// How often limits are asked for.
const LIMITS_EVERY: Duration = Duration::from_secs(60);
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
    manner: Manner,
    listeners: Vec<TcpListener>,
    engine: std::thread::JoinHandle<()>,
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
    /// Binds, opens and loads; whatever can be wrong here is said before anything runs.
    pub async fn prepare(mut config: Config, manner: Manner) -> Result<Self, RuntimeError> {
        let mut listeners = Vec::new();
        for address in config.web.listen_addresses.iter().filter(|_| !manner.once) {
            listeners.push(crate::server::listen(&address.to_string(), &address.candidates()).await?);
        }
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let instruments = Instruments::new(env!("CARGO_PKG_VERSION"), revision());
        let health = Arc::new(Health::new(instruments.clone()));
        for source in &config.sources {
            health.add_source(&source.name, source.platform.name, source.poll_interval.into());
            instruments.request_budget(&source.name, source.requests_per_second);
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
        for source in &mut config.sources {
            source.traces &= to_traces.is_some();
        }
        let observer = Box::new(StoreObserver::new(instruments.clone(), &journal, to_traces.is_some()));
        let (engine, handle, shown) = Engine::open(journal.clone(), Arc::clone(&clock), observer, keep)?;
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
        let url_file = listeners.first().and_then(|listener| write_url(&config.storage.path, listener));
        Ok(Self {
            config,
            manner,
            listeners,
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
        self.listeners.iter().filter_map(local_url).collect()
    }

    /// Runs until told to stop, or for one pass.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RuntimeError> {
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
            exposition: Exposition::new(Hold { span: self.config.web.new_series_hold.into(), since: self.clock.now() }),
            instruments: self.instruments.clone(),
            health: Arc::clone(&self.health),
            archive: Arc::new(Shelf::new(self.journal.clone())),
            clock: Arc::clone(&self.clock),
        });
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

        let mut sources = JoinSet::new();
        let polling = shutdown.child_token();
        for config in self.config.sources {
            let part = SourcePart {
                config,
                handle: self.handle.clone(),
                instruments: self.instruments.clone(),
                health: Arc::clone(&self.health),
                clock: Arc::clone(&self.clock),
                once: self.manner.once,
            };
            let prepared = part.prepare().await?;
            sources.spawn(prepared.watch_over(polling.clone()));
        }
        let mut incomplete = Vec::new();
        let mut look = tokio::time::interval(LOOK_AFTER_ENGINE);
        let outcome = loop {
            tokio::select! {
                over = sources.join_next() => match over {
                    Some(Ok((name, pass))) => {
                        if self.manner.once && (!pass.discovered || pass.failures > 0) {
                            incomplete.push(name);
                        }
                    }
                    Some(Err(error)) => tracing::error!(%error, "a source's supervisor has failed"),
                    None => break Ok(()),
                },
                _ = look.tick() => {
                    if self.engine.is_finished() && !sources.is_empty() {
                        break Err(RuntimeError::EngineStopped);
                    }
                }
            }
        };
        // Pollers first: then the engine has heard everything, commits it and ends; pages to the last.
        polling.cancel();
        while sources.join_next().await.is_some() {}
        // Then spans, while there is an engine to take note of what was sent.
        sending.cancel();
        while senders.join_next().await.is_some() {}
        // Held until here: an engine that ends because nobody is left must not look like one that has died.
        drop(self.handle);
        let engine = self.engine;
        let ended = tokio::task::spawn_blocking(move || engine.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!("the engine has failed");
        }
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
        if incomplete.is_empty() { Ok(()) } else { Err(RuntimeError::Incomplete(incomplete.join(", "))) }
    }
}

/// Sends spans; after a bug of ours starts over with what waits.
async fn send_traces(traces: Arc<PushTraces<SpanOutbox>>, stop: CancellationToken, instruments: Instruments) {
    const TASK: &str = "sender of traces";
    instruments.register_task(TASK);
    loop {
        let (sender, until) = (Arc::clone(&traces), stop.clone());
        let Err(error) = tokio::spawn(async move { sender.run(until).await }).await else { return };
        tracing::error!(%error, "sending of traces broke off by a bug; it starts over");
        instruments.task_restarted(TASK);
        tokio::time::sleep(RESTART_AFTER).await;
    }
}

/// The revision that was built, where the build says so.
fn revision() -> &'static str {
    option_env!("ASE_REVISION").unwrap_or("unknown")
}

fn local_url(listener: &TcpListener) -> Option<String> {
    let address = listener.local_addr().ok()?;
    let host = match address.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Some(format!("http://{host}:{}", address.port()))
}

fn write_url(folder: &Path, listener: &TcpListener) -> Option<PathBuf> {
    let file = folder.join(URL_FILE);
    let unfinished = folder.join(format!("{URL_FILE}.new"));
    // Only a convenience for commands on the same machine; whoever reads it finds all of it or nothing.
    std::fs::write(&unfinished, local_url(listener)?).ok()?;
    std::fs::rename(&unfinished, &file).ok()?;
    Some(file)
}

/// A fingerprint that tells keys apart and from which none can be found again: it is far shorter than any key.
fn key_print(config: &SourceConfig) -> u64 {
    xxh3_64(config.api_key.expose_secret().as_bytes()) & 0xffff_ffff
}

/// The account that a source watches, as its platform is told of it.
pub fn account(config: &SourceConfig, count_from: Timestamp) -> Account {
    let agents = config.agents.clone();
    Account {
        settings: config.settings.clone(),
        base_url: config.base_url.as_str().to_owned(),
        admits: Arc::new(move |agent| agents.admits(agent)),
        count_from,
        traces: config.traces,
    }
}

/// Which account a source watches: a text that differs between accounts and holds no secret.
pub fn account_name(config: &SourceConfig) -> String {
    let mut name = format!("{} {}", config.platform.name, config.base_url.as_str());
    for setting in config.platform.settings.iter().filter(|setting| setting.tells_accounts_apart) {
        let value = config.settings.get(setting.key).filter(|value| !value.is_empty());
        name.extend(value.map(|value| format!(" {}={value}", setting.key)));
    }
    name
}

/// One source's share of the wiring.
struct SourcePart {
    config: SourceConfig,
    handle: EngineHandle,
    instruments: Instruments,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    once: bool,
}

struct PreparedSource {
    part: SourcePart,
    transport: Arc<Http>,
    witness: Arc<SourceWitness>,
}

impl SourcePart {
    fn platform(&self, count_from: Timestamp) -> Arc<dyn Platform> {
        (self.config.platform.connect)(account(&self.config, count_from))
    }

    async fn attach(&self) -> Result<Attached, RuntimeError> {
        let count_from = match self.config.start {
            Start::Now => self.clock.now(),
            Start::Beginning => Timestamp::from_micros(0),
            Start::At(time) => Timestamp::from_micros(time.as_microsecond()),
        };
        let turn_names = self.config.platform.capabilities.turn_names;
        let origin = Origin {
            server: self.config.base_url.host().to_owned(),
            turn_attribute: turn_names.map_or_else(String::new, |names| names.attribute.to_owned()),
            turn_prefix: turn_names.map_or_else(String::new, |names| names.prefix.to_owned()),
        };
        let record = SourceRecord {
            name: self.config.name.clone(),
            platform: self.config.platform.name.to_owned(),
            account: account_name(&self.config),
            key_print: key_print(&self.config),
            count_from,
            origin,
        };
        let capabilities = self.config.platform.capabilities;
        let abandon_turns_after = self.platform(count_from).abandon_turns_after();
        let entrant = Entrant { record, capabilities, abandon_turns_after, traced: self.config.traces };
        self.handle.attach(entrant).await.map_err(|_| RuntimeError::EngineStopped)
    }

    async fn prepare(self) -> Result<PreparedSource, RuntimeError> {
        let name = self.config.name.clone();
        let attached = self.attach().await?;
        if let Some(before) = &attached.before
            && before.account != account_name(&self.config)
        {
            return Err(RuntimeError::OtherAccount { name, before: before.account.clone() });
        }
        if let Some((_, at)) = attached.walks.iter().find(|(walk, _)| walk == DISCOVERED) {
            self.health.restored_fresh(&name, *at);
        }
        let config = &self.config;
        let headers = self.platform(attached.count_from).headers();
        let transport = Http::new(config.base_url.as_str(), config.api_key.clone(), &headers, config.request_timeout)
            .map_err(|error| RuntimeError::Client { name: name.clone(), error })?;
        let witness =
            SourceWitness::new(name, config.platform.endpoints, self.instruments.clone(), Arc::clone(&self.health));
        Ok(PreparedSource { part: self, transport: Arc::new(transport), witness: Arc::new(witness) })
    }
}

impl PreparedSource {
    /// Polls; after a bug of ours starts over from what is committed.
    async fn watch_over(self, shutdown: CancellationToken) -> (String, Pass) {
        let name = self.part.config.name.clone();
        let task = format!("poller {name}");
        self.part.instruments.register_task(&task);
        loop {
            let Ok(attached) = self.part.attach().await else {
                return (name, Pass { discovered: false, failures: 1 });
            };
            let poller = self.poller(&attached);
            let rhythm = Rhythm {
                poll: self.part.config.poll_interval,
                sweep: self.part.config.sweep_interval,
                limits: Some(LIMITS_EVERY.max(self.part.config.poll_interval)),
                concurrency: self.part.config.concurrency,
            };
            let span = tracing::info_span!("source", name);
            let polling = poller.run(rhythm, self.part.once, shutdown.clone()).instrument(span);
            match tokio::spawn(polling).await {
                Ok(pass) => return (name, pass),
                Err(error) => {
                    tracing::error!(source = name, %error, "polling broke off by a bug; it starts over");
                    self.part.instruments.task_restarted(&task);
                    self.part.health.cycle_failed(&name, "polling broke off and starts over");
                    if self.part.once {
                        return (name, Pass { discovered: false, failures: 1 });
                    }
                    tokio::time::sleep(RESTART_AFTER).await;
                }
            }
        }
    }

    fn poller(&self, attached: &Attached) -> Poller {
        let config = &self.part.config;
        let print = key_print(config);
        let is_new_key = attached.before.as_ref().is_some_and(|before| before.key_print != print);
        Poller {
            source: attached.ix,
            platform: self.part.platform(attached.count_from),
            access: Access {
                transport: Arc::clone(&self.transport) as _,
                limiter: Limiter::new(config.requests_per_second),
                request_timeout: config.request_timeout,
                clock: Arc::clone(&self.part.clock),
                witness: Arc::clone(&self.witness) as _,
            },
            ledger: Arc::new(EngineLedger::new(self.part.handle.clone(), print)),
            walks: attached.walks.clone(),
            recognise: if is_new_key { attached.known.clone() } else { Vec::new() },
        }
    }
}
