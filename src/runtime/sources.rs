//! The sources that are watched: each has a poller that is looked after, and all of them can be exchanged while others
//! go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use xxhash_rust::xxh3::xxh3_64;

use super::{RESTART_AFTER, RuntimeError};
use crate::config::{SourceConfig, Start};
use crate::domain::{Clock, Timestamp};
use crate::engine::{Attached, EngineHandle, Entrant};
use crate::ingest::access::Access;
use crate::ingest::limiter::Limiter;
use crate::ingest::platforms::{Account, DISCOVERED, Platform};
use crate::ingest::poller::{Pass, Poller};
use crate::ingest::schedule::Rhythm;
use crate::ingest::transport::{Http, Transport};
use crate::projection::{Origin, SourceRecord};
use crate::telemetry::{Health, Instruments, broken_off};
use crate::witness::{EngineLedger, SourceWitness};

/// How often limits are asked for.
const LIMITS_EVERY: Duration = Duration::from_secs(60);
/// How long a platform has to say what time it is by its clock, before ours has to do.
const TIME_TO_TELL: Duration = Duration::from_secs(5);
/// The header that tells it counts whole seconds: what differs less than this, and half of the time that an answer took,
/// is the same.
const SAME_TIME: f64 = 2.0;

/// What every source is wired to.
#[derive(Clone)]
pub(super) struct Wiring {
    pub(super) handle: EngineHandle,
    pub(super) instruments: Instruments,
    pub(super) health: Arc<Health>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) once: bool,
    pub(super) sends_traces: bool,
}

/// How a list of sources differs from the one before, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: Vec<String>,
    pub(super) changed: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// The sources that are watched now.
pub(super) struct Sources {
    wiring: Wiring,
    /// Ends all of them.
    stop: CancellationToken,
    watched: HashMap<Id, Watched>,
    tasks: JoinSet<Pass>,
}

struct Watched {
    config: SourceConfig,
    stop: CancellationToken,
}

impl Sources {
    /// None yet.
    pub(super) fn new(wiring: Wiring, stop: CancellationToken) -> Self {
        Self { wiring, stop, watched: HashMap::new(), tasks: JoinSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next source whose watching is over, and its last pass; `None` when none is left. By itself only a single
    /// pass ends.
    pub(super) async fn next_over(&mut self) -> Option<(String, Pass)> {
        let over = self.tasks.join_next_with_id().await?;
        let id = match &over {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.watched.remove(&id).map_or_else(String::new, |watched| watched.config.name);
        let pass = over.map(|(_, pass)| pass).unwrap_or_else(|error| {
            tracing::error!(source = name, error = broken_off(&error), "a source's supervisor has failed");
            Pass { discovered: false, failures: 1 }
        });
        Some((name, pass))
    }

    /// Watches these sources, and no others: those that are watched as they are wanted go on undisturbed. If one of
    /// the others cannot be, nothing changes.
    pub(super) async fn watch(&mut self, mut wanted: Vec<SourceConfig>) -> Result<Difference, RuntimeError> {
        for source in &mut wanted {
            source.traces &= self.wiring.sends_traces;
        }
        let difference = difference(self.watched.values().map(|watched| &watched.config), &wanted);
        let is_new = |source: &SourceConfig| {
            difference.added.contains(&source.name) || difference.changed.contains(&source.name)
        };
        let mut coming = Vec::new();
        for config in wanted.into_iter().filter(is_new) {
            coming.push(SourcePart { config, wiring: self.wiring.clone() }.prepare().await?);
        }
        self.end(&difference).await;
        for name in &difference.removed {
            self.wiring.handle.detach(name).await.map_err(|_| RuntimeError::EngineStopped)?;
            self.wiring.health.remove_source(name);
        }
        for source in coming {
            self.begin(source).await?;
        }
        Ok(difference)
    }

    /// Ends what is removed or changed, after what was read of it is committed.
    async fn end(&mut self, difference: &Difference) {
        let is_meant = |name| difference.removed.contains(name) || difference.changed.contains(name);
        let mut ending = 0;
        for watched in self.watched.values().filter(|watched| is_meant(&watched.config.name)) {
            watched.stop.cancel();
            ending += 1;
        }
        for _ in 0..ending {
            self.next_over().await;
        }
    }

    async fn begin(&mut self, source: PreparedSource) -> Result<(), RuntimeError> {
        let config = source.part.config.clone();
        let Wiring { health, instruments, .. } = &self.wiring;
        health.add_source(&config.name, config.platform.name, config.poll_interval.into());
        instruments.request_budget(&config.name, config.requests_per_second);
        if !source.asks_time {
            let attached = source.part.attach(self.wiring.clock.now()).await?;
            if let Some((_, at)) = attached.walks.iter().find(|(walk, _)| walk == DISCOVERED) {
                health.restored_fresh(&config.name, *at);
            }
        }
        let stop = self.stop.child_token();
        let id = self.tasks.spawn(source.watch_over(stop.clone())).id();
        self.watched.insert(id, Watched { config, stop });
        Ok(())
    }
}

fn difference<'a>(now: impl Iterator<Item = &'a SourceConfig>, wanted: &[SourceConfig]) -> Difference {
    let mut difference = Difference::default();
    let mut now: HashMap<&str, &SourceConfig> = now.map(|source| (source.name.as_str(), source)).collect();
    for source in wanted {
        match now.remove(source.name.as_str()) {
            None => difference.added.push(source.name.clone()),
            Some(before) if before != source => difference.changed.push(source.name.clone()),
            Some(_) => {}
        }
    }
    difference.removed = now.into_keys().map(str::to_owned).collect();
    difference.removed.sort();
    difference
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
    wiring: Wiring,
}

struct PreparedSource {
    part: SourcePart,
    transport: Arc<Http>,
    /// It is new and counts from now: by its platform's clock, which has to be asked for.
    asks_time: bool,
}

impl SourcePart {
    fn platform(&self, count_from: Timestamp) -> Arc<dyn Platform> {
        (self.config.platform.connect)(account(&self.config, count_from))
    }

    async fn attach(&self, now: Timestamp) -> Result<Attached, RuntimeError> {
        let count_from = match self.config.start {
            Start::Now => now,
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
        let attached = self.wiring.handle.attach(entrant).await.map_err(|_| RuntimeError::EngineStopped)?;
        if attached.account != account_name(&self.config) {
            // Something of the account before was read after all, in the last moment.
            return Err(RuntimeError::OtherAccount { name: self.config.name.clone(), before: attached.account });
        }
        Ok(attached)
    }

    /// Finds out whether it can be watched, and changes nothing yet.
    async fn prepare(self) -> Result<PreparedSource, RuntimeError> {
        let name = self.config.name.clone();
        let before = self.wiring.handle.known(&name).await.map_err(|_| RuntimeError::EngineStopped)?;
        // Under a wrong address nothing was read, and it may be corrected.
        let before = before.and_then(|(record, was_read)| was_read.then_some(record));
        let asks_time = before.is_none() && self.config.start == Start::Now;
        if let Some(before) = before.filter(|before| before.account != account_name(&self.config)) {
            return Err(RuntimeError::OtherAccount { name, before: before.account });
        }
        let config = &self.config;
        let headers = self.platform(self.wiring.clock.now()).headers();
        let transport = Http::new(config.base_url.as_str(), config.api_key.clone(), &headers, config.request_timeout)
            .map_err(|error| RuntimeError::Client { name: name.clone(), error })?;
        Ok(PreparedSource { part: self, transport: Arc::new(transport), asks_time })
    }
}

impl PreparedSource {
    /// By how many seconds the platform's clock is ahead of ours, if it tells and that is more than nothing. Its sessions
    /// have no other times.
    async fn skew(&self) -> Option<f64> {
        let clock = &self.part.wiring.clock;
        let (asked_at, asked) = (clock.now(), tokio::time::Instant::now());
        let first = self.part.platform(asked_at).checks(asked_at).into_iter().next();
        let request = first.and_then(|check| check.requests.into_iter().next())?;
        let answer = tokio::time::timeout(TIME_TO_TELL, self.transport.get(&request)).await.ok()?.ok()?;
        let skew = answer.skew(asked_at, clock.now())?;
        (skew.abs() > SAME_TIME + asked.elapsed().as_secs_f64() / 2.0).then_some(skew)
    }

    /// Enters, a new one with what time it is at its platform.
    async fn enter(&self) -> Result<Attached, RuntimeError> {
        let skew = if self.asks_time { self.skew().await } else { None };
        let now = self.part.wiring.clock.now();
        let Some(skew) = skew else { return self.part.attach(now).await };
        let there = Timestamp::from_micros(now.micros().saturating_add((skew * 1e6) as i64));
        let attached = self.part.attach(there).await?;
        if attached.count_from == there {
            tracing::warn!(
                source = self.part.config.name,
                ahead_seconds = skew.round(),
                "the platform's clock is not ours: counting begins now by the platform's"
            );
        }
        Ok(attached)
    }

    /// Polls; after a bug of ours starts over from what is committed.
    async fn watch_over(self, shutdown: CancellationToken) -> Pass {
        let name = self.part.config.name.clone();
        let task = format!("poller {name}");
        self.part.wiring.instruments.register_task(&task);
        loop {
            // A store that fails just now would keep it waiting.
            let attached = tokio::select! {
                attached = self.enter() => attached,
                () = shutdown.cancelled() => return Pass { discovered: false, failures: 0 },
            };
            let attached = match attached {
                Ok(attached) => attached,
                Err(error) => {
                    tracing::error!(source = name, %error, "the source is not watched");
                    self.part.wiring.health.cycle_failed(&name, "not watched: see the log");
                    return Pass { discovered: false, failures: 1 };
                }
            };
            let poller = self.poller(&attached);
            let rhythm = Rhythm {
                poll: self.part.config.poll_interval,
                sweep: self.part.config.sweep_interval,
                limits: Some(LIMITS_EVERY.max(self.part.config.poll_interval)),
                concurrency: self.part.config.concurrency,
            };
            let span = tracing::info_span!("source", name);
            let polling = poller.run(rhythm, self.part.wiring.once, shutdown.clone()).instrument(span);
            match tokio::spawn(polling).await {
                Ok(pass) => return pass,
                Err(error) => {
                    tracing::error!(
                        source = name,
                        error = broken_off(&error),
                        "polling broke off by a bug; it starts over"
                    );
                    self.part.wiring.instruments.task_restarted(&task);
                    self.part.wiring.health.cycle_failed(&name, "polling broke off and starts over");
                    if self.part.wiring.once {
                        return Pass { discovered: false, failures: 1 };
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
                clock: Arc::clone(&self.part.wiring.clock),
                witness: Arc::new(SourceWitness::new(
                    config.name.clone(),
                    config.platform.endpoints,
                    self.part.wiring.instruments.clone(),
                    Arc::clone(&self.part.wiring.health),
                )),
            },
            ledger: Arc::new(EngineLedger::new(self.part.wiring.handle.clone(), print)),
            walks: attached.walks.clone(),
            recognise: if is_new_key { attached.known.clone() } else { Vec::new() },
        }
    }
}
