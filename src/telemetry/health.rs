//! How each source is doing: what the pollers report, and what readiness and the landing page are read from.
//!
//! Pollers report here only; the gauges `source_up` and `source_last_success_timestamp_seconds` follow from it, so that
//! a page and a metric cannot say different things.

use std::sync::{Mutex, MutexGuard, PoisonError};

use smol_str::SmolStr;
use thiserror::Error;

use super::Instruments;
use crate::domain::{Span, Timestamp};

/// What a poller does in a pass over its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Lists sessions.
    Sessions,
    /// Reads their events.
    Events,
    /// Asks for the account's limits.
    Limits,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 3] = [Self::Sessions, Self::Events, Self::Limits];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Events => "events",
            Self::Limits => "limits",
        }
    }
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceHealth {
    /// Its name.
    pub name: SmolStr,
    /// Its platform.
    pub platform: SmolStr,
    /// Whether its last pass succeeded; `None` before the first is over.
    pub up: Option<bool>,
    /// What went wrong in its last pass, in a few words without secrets.
    pub problem: Option<SmolStr>,
    /// Why the latest reading of a session failed; `None` since one succeeded.
    pub unread: Option<SmolStr>,
    /// When each stage last succeeded, in the order of [`Stage::ALL`].
    pub last_success: [Option<Timestamp>; Stage::ALL.len()],
    poll_interval: Span,
    /// Whether what is shown of it may be taken for what its platform says.
    had_pass: bool,
    restored: Option<Timestamp>,
}

impl SourceHealth {
    /// When any stage last succeeded.
    pub fn newest_success(&self) -> Option<Timestamp> {
        self.last_success.into_iter().flatten().max()
    }

    /// Three intervals: two passes may be late or fail before what was restored counts as stale.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let limit = Span::from_micros(self.poll_interval.micros().saturating_mul(3));
        self.restored.is_some_and(|at| now < at.plus(limit))
    }
}

/// Why the exporter is not ready: what it shows is not yet what the platforms say.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotReady {
    /// The store is still being read.
    #[error("the state is still being restored from the store")]
    Restoring,
    /// A source was never read, or too long ago.
    #[error("the first pass over source {0} is not finished")]
    FirstPass(SmolStr),
    /// A source could not be read yet.
    #[error("the first pass over source {name} failed: {problem}")]
    Failed {
        /// Which source.
        name: SmolStr,
        /// What went wrong in its last pass.
        problem: SmolStr,
    },
}

/// What is wrong with the exporter itself, for whoever opens the landing page; why, the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The latest commit failed.
    Store,
    /// The latest configuration was refused.
    Configuration,
    /// The latest web configuration was refused.
    WebConfiguration,
}

#[derive(Debug, Default)]
struct Known {
    is_restored: bool,
    troubles: Vec<Trouble>,
    sources: Vec<SourceHealth>,
}

/// The health of everything, shared between pollers and the server.
#[derive(Debug)]
pub struct Health {
    instruments: Instruments,
    known: Mutex<Known>,
}

impl Health {
    /// No sources, nothing restored.
    pub fn new(instruments: Instruments) -> Self {
        Self { instruments, known: Mutex::default() }
    }

    /// A configured source; before any poller reports on it. One that is there already was configured anew: it is asked
    /// with another key perhaps, or at another pace, and how it is doing will show.
    pub fn add_source(&self, name: &str, platform: &str, poll_interval: Span) {
        let mut known = self.known();
        if let Some(source) = known.sources.iter_mut().find(|source| source.name == name) {
            source.poll_interval = poll_interval;
            return;
        }
        self.instruments.register_source(name, platform);
        // Nobody waits for one that comes while the others are served.
        let had_pass = known.is_restored;
        known.sources.push(SourceHealth {
            name: name.into(),
            platform: platform.into(),
            up: None,
            problem: None,
            unread: None,
            last_success: [None; Stage::ALL.len()],
            poll_interval,
            had_pass,
            restored: None,
        });
    }

    /// A source that is configured no longer, after its poller has ended: nothing is told of it any more.
    pub fn remove_source(&self, name: &str) {
        self.known().sources.retain(|source| source.name != name);
        self.instruments.forget_source(name);
    }

    /// The state was read back from the store, or there was none.
    pub fn restored(&self) {
        self.known().is_restored = true;
    }

    /// The restored state holds this source as it was at `last_success`: fresh enough, if that is not long ago.
    pub fn restored_fresh(&self, source: &str, last_success: Timestamp) {
        self.change(source, |source| source.restored = source.restored.max(Some(last_success)));
    }

    /// A stage of the present pass succeeded.
    pub fn stage_done(&self, source: &str, stage: Stage, now: Timestamp) {
        self.change(source, |source| {
            source.last_success[stage as usize] = Some(now);
            if stage == Stage::Events {
                source.unread = None;
            }
        });
        self.instruments.last_success(source, stage.as_str(), now);
    }

    /// A pass over the source succeeded. True if the one before had failed.
    pub fn cycle_done(&self, source: &str) -> bool {
        let mut was_down = false;
        self.change(source, |source| {
            was_down = source.up == Some(false);
            source.up = Some(true);
            source.problem = None;
            source.had_pass = true;
        });
        was_down
    }

    /// A commit succeeded or failed.
    pub fn store_works(&self, works: bool) {
        self.trouble(Trouble::Store, !works);
    }

    /// A new configuration was taken over or refused.
    pub fn configuration_works(&self, works: bool) {
        self.trouble(Trouble::Configuration, !works);
    }

    /// A new web configuration was taken over or refused.
    pub fn web_configuration_works(&self, works: bool) {
        self.trouble(Trouble::WebConfiguration, !works);
    }

    fn trouble(&self, trouble: Trouble, is_there: bool) {
        let mut known = self.known();
        known.troubles.retain(|other| *other != trouble);
        known.troubles.extend(is_there.then_some(trouble));
    }

    /// What is wrong now.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.known().troubles.clone()
    }

    /// A pass over the source failed. `problem` is shown to whoever opens the landing page: a few words, no secrets.
    pub fn cycle_failed(&self, source: &str, problem: &str) {
        self.change(source, |source| {
            source.up = Some(false);
            source.problem = Some(problem.into());
        });
    }

    /// A session could not be read. The lists may be fine, so this says nothing of whether the source is up. `problem` is
    /// shown like that of a pass.
    pub fn session_unread(&self, source: &str, problem: &str) {
        self.change(source, |source| source.unread = Some(problem.into()));
    }

    /// Every source as it is now.
    pub fn sources(&self) -> Vec<SourceHealth> {
        self.known().sources.clone()
    }

    /// Whether what is shown is what the platforms say: the state is restored, and every source was read once since
    /// the start or was restored fresh. A source that fails later, or comes later, does not take this back, as then
    /// the metrics about the failure would be the first to go.
    pub fn ready(&self, now: Timestamp) -> Result<(), NotReady> {
        let known = self.known();
        if !known.is_restored {
            return Err(NotReady::Restoring);
        }
        let Some(source) = known.sources.iter().find(|source| !source.had_pass && !source.is_fresh(now)) else {
            return Ok(());
        };
        let name = source.name.clone();
        Err(match source.problem.clone() {
            Some(problem) => NotReady::Failed { name, problem },
            None => NotReady::FirstPass(name),
        })
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut SourceHealth)) {
        let mut known = self.known();
        let Some(source) = known.sources.iter_mut().find(|source| source.name == name) else {
            debug_assert!(false, "source {name} was never added");
            return;
        };
        change(source);
        // While the lock is held, so that the gauge tells what was reported last.
        self.instruments.source_up(&source.name, &source.platform, source.up == Some(true));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is a few assignments: a panic elsewhere leaves nothing half-done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Span = Span::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn health() -> Health {
        let health = Health::new(Instruments::new("1.2.3", "abc"));
        health.add_source("a", "hcompany", MINUTE);
        health.add_source("b", "everruns", MINUTE);
        health
    }

    fn up(health: &Health, source: &str) -> f64 {
        let families = health.instruments.gather();
        let family = families.iter().find(|family| family.name().ends_with("_source_up")).unwrap();
        let is_meant = |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|l| l.value() == source);
        family.get_metric().iter().find(is_meant).unwrap().get_gauge().get_value()
    }

    #[test]
    fn ready_after_the_first_pass_over_every_source() {
        let health = health();
        assert_eq!(health.ready(at(0)), Err(NotReady::Restoring));
        health.restored();
        health.cycle_done("a");
        health.cycle_failed("b", "401 unauthorized");
        let error = health.ready(at(0)).unwrap_err().to_string();
        assert_eq!(error, "the first pass over source b failed: 401 unauthorized");
        health.cycle_done("b");
        assert_eq!(health.ready(at(0)), Ok(()));
        health.cycle_failed("a", "timed out");
        assert_eq!(health.ready(at(9999)), Ok(()), "or nobody would scrape that it is down");
    }

    #[test]
    fn a_fresh_state_is_ready_until_it_is_stale() {
        let health = health();
        health.restored();
        health.cycle_done("a");
        health.restored_fresh("b", at(1000));
        assert_eq!(health.ready(at(1179)), Ok(()));
        assert!(health.ready(at(1180)).is_err());
    }

    #[test]
    fn a_source_that_comes_later_does_not_take_readiness_back_and_one_that_goes_leaves_nothing() {
        let health = health();
        health.restored();
        health.remove_source("b");
        health.cycle_done("a");
        assert_eq!(health.ready(at(0)), Ok(()), "nobody waits for what is gone");
        health.add_source("c", "hcompany", MINUTE);
        health.cycle_failed("c", "401 unauthorized");
        assert_eq!(health.ready(at(0)), Ok(()));
        assert_eq!(up(&health, "c"), 0.0);
        health.stage_done("c", Stage::Events, at(5));
        health.remove_source("c");
        let families = health.instruments.gather();
        let labels = families.iter().flat_map(|family| family.get_metric()).flat_map(|metric| metric.get_label());
        let sources: std::collections::BTreeSet<_> =
            labels.filter(|label| label.name() == "source").map(|label| label.value()).collect();
        assert_eq!(Vec::from_iter(sources), ["a"]);
    }

    #[test]
    fn a_session_that_cannot_be_read_is_told_until_one_can() {
        let health = health();
        health.cycle_done("a");
        health.session_unread("a", "server error");
        let source = health.sources()[0].clone();
        assert_eq!((source.up, source.unread.as_deref()), (Some(true), Some("server error")));
        health.stage_done("a", Stage::Sessions, at(5));
        assert_eq!(health.sources()[0].unread.as_deref(), Some("server error"));
        health.stage_done("a", Stage::Events, at(6));
        assert_eq!(health.sources()[0].unread, None);
    }

    #[test]
    fn troubles_are_told_as_long_as_they_last() {
        let health = health();
        health.store_works(false);
        health.store_works(false);
        health.configuration_works(false);
        assert_eq!(health.troubles(), [Trouble::Store, Trouble::Configuration]);
        health.store_works(true);
        assert_eq!(health.troubles(), [Trouble::Configuration]);
        health.configuration_works(true);
        assert_eq!(health.troubles(), []);
    }

    #[test]
    fn that_a_source_is_back_is_known_once() {
        let health = health();
        assert!(!health.cycle_done("a"), "it was not away");
        health.cycle_failed("a", "timed out");
        assert!(health.cycle_done("a"));
        assert!(!health.cycle_done("a"));
    }

    #[test]
    fn the_gauge_follows() {
        let health = health();
        assert_eq!((up(&health, "a"), up(&health, "b")), (0.0, 0.0));
        health.cycle_done("a");
        health.stage_done("a", Stage::Events, at(5));
        assert_eq!((up(&health, "a"), up(&health, "b")), (1.0, 0.0));
        assert_eq!(health.sources()[0].newest_success(), Some(at(5)));
        health.cycle_failed("a", "timed out");
        assert_eq!(up(&health, "a"), 0.0);
        assert_eq!(health.sources()[0].problem.as_deref(), Some("timed out"));
    }
}
