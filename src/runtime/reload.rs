//! A new configuration while the exporter runs: who may ask for one, when its files have changed, and what of it cannot
//! be taken over without a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval};
use xxhash_rust::xxh3::xxh3_64;

use super::RuntimeError;
use super::sources::Difference;
use crate::config::{Config, ConfigError, Problem};
use crate::server::Reload;

/// How often files are looked at. By their content, as neither times nor notifications can be trusted on all file
/// systems, and a ConfigMap changes by a link that is exchanged above them.
const LOOK_AT_FILES: Duration = Duration::from_secs(10);
/// Requests that may wait.
const QUEUE: usize = 8;

/// Why the configuration from before goes on.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The new one cannot be read or is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It changes what is fixed while the exporter runs.
    #[error("{} cannot be changed while the exporter runs: restart it, or take the change back", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    /// A source cannot be watched as it says.
    #[error(transparent)]
    Source(#[from] RuntimeError),
}

/// Asked for by somebody who may wait for what came of it.
pub(super) struct Request {
    pub(super) by: &'static str,
    reply: Option<oneshot::Sender<Result<(), String>>>,
}

/// How others ask for the configuration to be read again.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
}

impl ReloadHandle {
    /// Asks for it and does not wait.
    pub fn ask(&self, by: &'static str) {
        // So many are waiting already that one more changes nothing.
        let _ = self.requests.try_send(Request { by, reply: None });
    }
}

impl Reload for ReloadHandle {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let stopping = |_| "the exporter is stopping".to_owned();
            self.requests.send(Request { by: "a request", reply: Some(reply) }).await.map_err(|_| stopping(()))?;
            answer.await.map_err(|_| stopping(()))?
        })
    }
}

/// Reads a configuration again.
pub type Load<'a> = &'a (dyn Fn() -> Result<Config, ConfigError> + Sync);

/// The runtime's side of it.
pub struct Reloads<'a> {
    load: Load<'a>,
    requests: mpsc::Receiver<Request>,
    handle: ReloadHandle,
    served: bool,
    watch: Option<Watch>,
    told: Vec<Problem>,
}

impl<'a> Reloads<'a> {
    /// Reads the configuration by `load` when asked by a handle.
    pub fn new(load: Load<'a>) -> Self {
        let (sender, requests) = mpsc::channel(QUEUE);
        Self { load, requests, handle: ReloadHandle { requests: sender }, served: false, watch: None, told: Vec::new() }
    }

    /// Also when asked over HTTP.
    #[must_use]
    pub fn served(self) -> Self {
        Self { served: true, ..self }
    }

    /// Also when one of these files has changed.
    #[must_use]
    pub fn watching(self, files: &BTreeSet<PathBuf>) -> Self {
        Self { watch: Some(Watch::new(files)), ..self }
    }

    /// Logs what a configuration should not stay like, each once.
    pub fn tell(&mut self, remarks: &[Problem]) {
        for remark in remarks {
            if !self.told.contains(remark) {
                tracing::warn!("{remark}");
                self.told.push(remark.clone());
            }
        }
    }

    /// By which it is asked.
    pub fn handle(&self) -> ReloadHandle {
        self.handle.clone()
    }

    pub(super) fn served_handle(&self) -> Option<Arc<dyn Reload>> {
        self.served.then(|| Arc::new(self.handle()) as _)
    }

    /// Waits until a new configuration is to be taken over.
    pub(super) async fn asked(&mut self) -> Request {
        let request = match &mut self.watch {
            None => self.requests.recv().await,
            Some(watch) => tokio::select! {
                request = self.requests.recv() => request,
                () = watch.changed() => Some(Request { by: "a changed file", reply: None }),
            },
        };
        request.expect("there is a handle as long as this is there")
    }

    /// The configuration as it is now, if it can follow the one that runs.
    pub(super) fn load(&mut self, running: &Fixed) -> Result<Config, ReloadError> {
        let config = (self.load)()?;
        if let Some(watch) = &mut self.watch {
            watch.look_at(&config.files);
        }
        self.tell(&config.remarks);
        let differing = running.differing(&config);
        if differing.is_empty() { Ok(config) } else { Err(ReloadError::NeedsRestart(differing)) }
    }
}

impl Request {
    /// Says what came of it, in the log and to whoever waits.
    pub(super) fn answer(self, outcome: Result<Difference, ReloadError>) {
        let by = self.by;
        match &outcome {
            Ok(Difference { added, changed, removed }) => {
                tracing::info!(by, ?added, ?changed, ?removed, "the configuration was read again");
            }
            Err(error) => {
                tracing::error!(by, %error, "the new configuration is not taken over, the one from before goes on");
            }
        }
        if let Some(reply) = self.reply {
            // Whoever asked has given up.
            let _ = reply.send(outcome.map(drop).map_err(|error| error.to_string()));
        }
    }
}

/// What of a configuration stays as it was at the start.
pub(super) struct Fixed(Config);

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        Self(config.clone())
    }

    /// The keys that this one has otherwise.
    fn differing(&self, other: &Config) -> Vec<&'static str> {
        // Taken apart, so that a new section is not forgotten.
        let Config { sources: _, storage, web, labels, otlp, files: _, remarks: _ } = &self.0;
        let sections = [
            ("storage", *storage == other.storage),
            ("web", *web == other.web),
            ("labels", *labels == other.labels),
            ("otlp", *otlp == other.otlp),
        ];
        sections.into_iter().filter_map(|(name, is_same)| (!is_same).then_some(name)).collect()
    }
}

/// Tells when a file has another content than before.
struct Watch {
    every: Interval,
    prints: BTreeMap<PathBuf, Option<u64>>,
}

impl Watch {
    fn new(files: &BTreeSet<PathBuf>) -> Self {
        let mut every = interval(LOOK_AT_FILES);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Self { every, prints: BTreeMap::new() };
        watch.look_at(files);
        watch
    }

    async fn changed(&mut self) {
        loop {
            self.every.tick().await;
            let mut changed = false;
            for (file, before) in &mut self.prints {
                let now = print(file);
                changed |= now != *before;
                *before = now;
            }
            if changed {
                return;
            }
        }
    }

    /// These files from now on, as they are now.
    fn look_at(&mut self, files: &BTreeSet<PathBuf>) {
        self.prints = files.iter().map(|file| (file.clone(), print(file))).collect();
    }
}

/// A fingerprint of a file's content; `None` where it cannot be read.
fn print(file: &Path) -> Option<u64> {
    std::fs::read(file).ok().map(|content| xxh3_64(&content))
}
