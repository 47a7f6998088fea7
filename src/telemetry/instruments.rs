//! The exporter's own live instruments, on a registry of their own; what is folded from events is not among them.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::process::Process;
use crate::domain::{Span, Timestamp};

const PREFIX: &str = "agent_session_exporter";

/// Help texts are in the catalogue of the views, which is what is shown; the crate insists on some text.
pub(super) const HELP: &str = "described in the catalogue";

/// Answers of an API: quick ones take tens of milliseconds, and after a minute the client gives up.
const REQUEST_SECONDS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Commits: one or two milliseconds on a healthy disk, seconds on one in trouble.
const COMMIT_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// All instruments. Clones share them.
#[derive(Clone, Debug)]
pub struct Instruments {
    registry: Registry,
    source_up: IntGaugeVec,
    last_success: GaugeVec,
    backlog: IntGaugeVec,
    reading: IntGaugeVec,
    clock_skew: GaugeVec,
    request_budget: GaugeVec,
    request_pace: GaugeVec,
    paused_until: GaugeVec,
    oldest_unread: GaugeVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    response_bytes: IntCounterVec,
    throttled: IntCounterVec,
    duplicates: IntCounterVec,
    journal_bytes: IntGauge,
    journal_events: IntGauge,
    commit_duration: Histogram,
    commits: IntCounter,
    commit_failures: IntCounter,
    task_restarts: IntCounterVec,
    pushed: IntCounterVec,
    push_rejected: IntCounterVec,
    push_failures: IntCounterVec,
    push_dropped: IntCounterVec,
    outbox_spans: IntGaugeVec,
    reload_worked: IntGauge,
    reloaded_at: Gauge,
    web_reload_worked: IntGaugeVec,
}

/// Names and labels are constants, so making an instrument cannot fail in a way that a test would not have shown.
const VALID: &str = "names and labels are valid, as every test that makes instruments shows";

fn opts(name: &str) -> Opts {
    Opts::new(format!("{PREFIX}_{name}"), HELP)
}

fn added<C: Collector + Clone + 'static>(registry: &Registry, instrument: prometheus::Result<C>) -> C {
    let instrument = instrument.expect(VALID);
    registry.register(Box::new(instrument.clone())).expect(VALID);
    instrument
}

/// Takes away the series of one source.
fn forget<T: MetricVecBuilder>(instruments: &MetricVec<T>, source: &str) {
    for family in instruments.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if labels.get("source") == Some(&source) {
                // Gone already is gone.
                let _ = instruments.remove(&labels);
            }
        }
    }
}

impl Instruments {
    /// All instruments at zero, for this build of the exporter.
    pub fn new(version: &str, revision: &str) -> Self {
        let registry = Registry::new();
        let build_info = added(&registry, IntGaugeVec::new(opts("build_info"), &["version", "revision"]));
        build_info.with_label_values(&[version, revision]).set(1);
        registry.register(Box::new(Process)).expect(VALID);
        let counters = |name, labels: &[&str]| added(&registry, IntCounterVec::new(opts(name), labels));
        let gauges = |name, labels: &[&str]| added(&registry, GaugeVec::new(opts(name), labels));
        let durations = |name, bounds: &[f64]| HistogramOpts::from(opts(name)).buckets(bounds.to_vec());
        Self {
            source_up: added(&registry, IntGaugeVec::new(opts("source_up"), &["source", "platform"])),
            last_success: gauges("source_last_success_timestamp_seconds", &["source", "stage"]),
            backlog: added(&registry, IntGaugeVec::new(opts("source_backlog_sessions"), &["source"])),
            reading: added(&registry, IntGaugeVec::new(opts("source_reading_sessions"), &["source"])),
            clock_skew: gauges("source_clock_skew_seconds", &["source"]),
            request_budget: gauges("source_request_budget_per_second", &["source"]),
            request_pace: gauges("source_request_pace_per_second", &["source"]),
            paused_until: gauges("source_paused_until_timestamp_seconds", &["source"]),
            oldest_unread: gauges("source_oldest_unread_timestamp_seconds", &["source"]),
            requests: counters("api_requests_total", &["source", "endpoint", "code"]),
            request_duration: added(
                &registry,
                HistogramVec::new(durations("api_request_duration_seconds", REQUEST_SECONDS), &["source", "endpoint"]),
            ),
            response_bytes: counters("api_response_bytes_total", &["source"]),
            throttled: counters("api_throttled_total", &["source"]),
            duplicates: counters("events_duplicate_total", &["source"]),
            journal_bytes: added(&registry, IntGauge::with_opts(opts("journal_bytes"))),
            journal_events: added(&registry, IntGauge::with_opts(opts("journal_events"))),
            commit_duration: added(
                &registry,
                Histogram::with_opts(durations("journal_commit_duration_seconds", COMMIT_SECONDS)),
            ),
            commits: added(&registry, IntCounter::with_opts(opts("journal_commits_total"))),
            commit_failures: added(&registry, IntCounter::with_opts(opts("journal_commit_failures_total"))),
            task_restarts: counters("task_restarts_total", &["task"]),
            pushed: counters("otlp_exported_total", &["signal"]),
            push_rejected: counters("otlp_rejected_total", &["signal"]),
            push_failures: counters("otlp_failures_total", &["signal", "reason"]),
            push_dropped: counters("otlp_dropped_total", &["signal", "reason"]),
            reload_worked: added(&registry, IntGauge::with_opts(opts("config_last_reload_successful"))),
            reloaded_at: added(&registry, Gauge::with_opts(opts("config_last_reload_success_timestamp_seconds"))),
            outbox_spans: added(&registry, IntGaugeVec::new(opts("otlp_outbox_spans"), &[])),
            web_reload_worked: added(&registry, IntGaugeVec::new(opts("web_config_last_reload_successful"), &[])),
            registry,
        }
    }

    /// Everything as it is now, for the view.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Makes what can be told of a source exist at zero: a counter's first increment only shows if 0 was seen before.
    pub fn register_source(&self, source: &str, platform: &str) {
        self.source_up.with_label_values(&[source, platform]).set(0);
        self.backlog(source, 0, 0);
        for counter in [&self.response_bytes, &self.throttled, &self.duplicates] {
            counter.with_label_values(&[source]);
        }
    }

    /// Takes away everything that is told of a source.
    pub fn forget_source(&self, source: &str) {
        forget(&self.source_up, source);
        forget(&self.last_success, source);
        forget(&self.backlog, source);
        forget(&self.reading, source);
        for gauge in
            [&self.clock_skew, &self.request_budget, &self.request_pace, &self.paused_until, &self.oldest_unread]
        {
            forget(gauge, source);
        }
        forget(&self.requests, source);
        forget(&self.request_duration, source);
        for counter in [&self.response_bytes, &self.throttled, &self.duplicates] {
            forget(counter, source);
        }
    }

    /// The same for one of its endpoints, with the codes that its requests are likely to end with.
    pub fn register_endpoint(&self, source: &str, endpoint: &str, codes: &[&str]) {
        self.request_duration.with_label_values(&[source, endpoint]);
        for code in codes {
            self.requests.with_label_values(&[source, endpoint, code]);
        }
    }

    /// The same for a supervised task.
    pub fn register_task(&self, task: &str) {
        self.task_restarts.with_label_values(&[task]);
    }

    /// The same for a signal that is pushed to a collector.
    pub fn register_signal(&self, signal: &str) {
        self.pushed.with_label_values(&[signal]);
        self.push_rejected.with_label_values(&[signal]);
        for reason in ["cannot connect", "timed out", "unavailable", "refused"] {
            self.push_failures.with_label_values(&[signal, reason]);
        }
    }

    /// A collector took so many points, or spans, and rejected so many.
    pub fn pushed(&self, signal: &str, accepted: u64, rejected: u64) {
        self.pushed.with_label_values(&[signal]).inc_by(accepted);
        self.push_rejected.with_label_values(&[signal]).inc_by(rejected);
    }

    /// A message was not taken.
    pub fn push_failed(&self, signal: &str, reason: &str) {
        self.push_failures.with_label_values(&[signal, reason]).inc();
    }

    /// So much was given up before a collector took it.
    pub fn push_dropped(&self, signal: &str, reason: &str, count: u64) {
        self.push_dropped.with_label_values(&[signal, reason]).inc_by(count);
    }

    /// Makes what can be told of the outbox exist, where spans are sent: so many wait in it.
    pub fn register_outbox(&self, waiting: u64) {
        for reason in ["outbox full", "refused"] {
            self.push_dropped.with_label_values(&["traces", reason]);
        }
        self.outbox(waiting, 0);
    }

    /// So many spans wait in the outbox now, and so many had to leave it.
    pub fn outbox(&self, waiting: u64, dropped: u64) {
        self.outbox_spans.with_label_values(&[] as &[&str]).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        if dropped > 0 {
            self.push_dropped("traces", "outbox full", dropped);
        }
    }

    pub(super) fn source_up(&self, source: &str, platform: &str, up: bool) {
        self.source_up.with_label_values(&[source, platform]).set(i64::from(up));
    }

    pub(super) fn last_success(&self, source: &str, stage: &str, at: Timestamp) {
        self.last_success.with_label_values(&[source, stage]).set(at.seconds());
    }

    /// Sessions of a source that wait to be read, and those that are being read.
    pub fn backlog(&self, source: &str, waiting: usize, reading: usize) {
        for (gauge, sessions) in [(&self.backlog, waiting), (&self.reading, reading)] {
            gauge.with_label_values(&[source]).set(i64::try_from(sessions).unwrap_or(i64::MAX));
        }
    }

    /// How far the platform's clock is ahead of ours.
    pub fn clock_skew(&self, source: &str, seconds: f64) {
        self.clock_skew.with_label_values(&[source]).set(seconds);
    }

    /// Since when the session of a source is unread that has waited longest; `None` while none waits.
    pub fn oldest_unread(&self, source: &str, since: Option<Timestamp>) {
        match since {
            Some(since) => self.oldest_unread.with_label_values(&[source]).set(since.seconds()),
            // Without a value there is nothing to remove.
            None => drop(self.oldest_unread.remove_label_values(&[source])),
        }
    }

    /// What polling of a source is configured to at most; until the platform refuses something that is its pace.
    pub fn request_budget(&self, source: &str, per_second: f64) {
        self.request_budget.with_label_values(&[source]).set(per_second);
        self.request_pace(source, per_second, None);
        // A pause that was made before the source was configured anew is nobody's any more; without one there is none.
        drop(self.paused_until.remove_label_values(&[source]));
    }

    /// What polling of a source is held to now, and until when it is paused, if it is.
    pub fn request_pace(&self, source: &str, per_second: f64, paused_until: Option<Timestamp>) {
        self.request_pace.with_label_values(&[source]).set(per_second);
        if let Some(until) = paused_until {
            self.paused_until.with_label_values(&[source]).set(until.seconds());
        }
    }

    /// A request is over. `code` is its HTTP status, or the kind of failure that kept it from having one; both from a
    /// closed set, as is `endpoint`.
    pub fn request(&self, source: &str, endpoint: &str, code: &str, took: Span) {
        self.requests.with_label_values(&[source, endpoint, code]).inc();
        self.request_duration.with_label_values(&[source, endpoint]).observe(took.seconds());
    }

    /// Bytes of an answer were received.
    pub fn response_bytes(&self, source: &str, bytes: u64) {
        self.response_bytes.with_label_values(&[source]).inc_by(bytes);
    }

    /// A request was refused because there were too many.
    pub fn throttled(&self, source: &str) {
        self.throttled.with_label_values(&[source]).inc();
    }

    /// Events came again.
    pub fn duplicates(&self, source: &str, events: u64) {
        self.duplicates.with_label_values(&[source]).inc_by(events);
    }

    /// The size of the store.
    pub fn journal_size(&self, bytes: u64, events: u64) {
        self.journal_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.journal_events.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// A commit became durable.
    pub fn committed(&self, took: Span) {
        self.commits.inc();
        self.commit_duration.observe(took.seconds());
    }

    /// A commit failed.
    pub fn commit_failed(&self) {
        self.commit_failures.inc();
    }

    /// The configuration that was read last is the one that runs.
    pub fn reloaded(&self, at: Timestamp) {
        self.reload_worked.set(1);
        self.reloaded_at.set(at.seconds());
    }

    /// The configuration that was read last is not taken over.
    pub fn reload_failed(&self) {
        self.reload_worked.set(0);
    }

    /// Whether the web configuration that was read last is in use.
    pub fn web_reloaded(&self, worked: bool) {
        self.web_reload_worked.with_label_values(&[] as &[&str]).set(i64::from(worked));
    }

    /// A task ended unexpectedly and was started again.
    pub fn task_restarted(&self, task: &str) {
        self.task_restarts.with_label_values(&[task]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(instruments: &Instruments, name: &str) -> usize {
        let families = instruments.gather();
        let name = format!("{PREFIX}_{name}");
        families.iter().find(|family| family.name() == name).map_or(0, |family| family.get_metric().len())
    }

    #[test]
    fn sources_exist_at_zero_from_the_start() {
        let instruments = Instruments::new("1.2.3", "abc");
        assert_eq!(series(&instruments, "source_up"), 0);
        instruments.register_source("prod", "hcompany");
        instruments.register_endpoint("prod", "sessions", &["200", "429"]);
        for name in ["source_up", "source_backlog_sessions", "api_throttled_total", "events_duplicate_total"] {
            assert_eq!(series(&instruments, name), 1, "{name}");
        }
        assert_eq!(series(&instruments, "api_requests_total"), 2);
        let never = "source_last_success_timestamp_seconds";
        assert_eq!(series(&instruments, never), 0, "a time that has not come has no value");
        instruments.last_success("prod", "sessions", Timestamp::from_micros(1));
        assert_eq!(series(&instruments, never), 1);
    }

    #[test]
    fn what_waits_has_a_time_and_nothing_has_none() {
        let instruments = Instruments::new("1.2.3", "abc");
        let name = "source_oldest_unread_timestamp_seconds";
        for (since, expected) in [(None, 0), (Some(Timestamp::from_micros(1)), 1), (None, 0)] {
            instruments.oldest_unread("prod", since);
            assert_eq!(series(&instruments, name), expected);
        }
        instruments.request_budget("prod", 10.0);
        assert_eq!(instruments.request_pace.with_label_values(&["prod"]).get(), 10.0);
        assert_eq!(series(&instruments, "source_paused_until_timestamp_seconds"), 0, "it never was");
        instruments.request_pace("prod", 7.0, Some(Timestamp::from_micros(5_000_000)));
        instruments.request_pace("prod", 7.0, None);
        assert_eq!(instruments.paused_until.with_label_values(&["prod"]).get(), 5.0, "it says itself that it is over");
    }

    #[test]
    fn of_a_source_that_is_forgotten_nothing_is_told_and_of_the_others_everything() {
        let instruments = Instruments::new("1.2.3", "abc");
        let told = |source: &str| {
            let is_its = |metric: &prometheus::proto::Metric| {
                metric.get_label().iter().any(|label| label.name() == "source" && label.value() == source)
            };
            instruments.gather().iter().filter(|family| family.get_metric().iter().any(is_its)).count()
        };
        for source in ["kept", "gone"] {
            instruments.register_source(source, "hcompany");
            instruments.register_endpoint(source, "sessions", &["200"]);
            instruments.last_success(source, "sessions", Timestamp::from_micros(1));
            instruments.clock_skew(source, 0.5);
            instruments.request_budget(source, 10.0);
            instruments.request_pace(source, 7.0, Some(Timestamp::from_micros(1)));
            instruments.oldest_unread(source, Some(Timestamp::from_micros(1)));
        }
        let before = told("kept");
        assert_eq!((before, told("gone")), (14, 14));
        instruments.forget_source("gone");
        assert_eq!((told("kept"), told("gone")), (14, 0));
    }

    #[test]
    fn a_source_that_is_configured_anew_has_its_new_budget_and_no_pause() {
        let instruments = Instruments::new("1.2.3", "abc");
        instruments.request_pace("prod", 1.0, Some(Timestamp::from_micros(1)));
        instruments.request_budget("prod", 4.0);
        assert_eq!(instruments.request_pace.with_label_values(&["prod"]).get(), 4.0);
        assert_eq!(series(&instruments, "source_paused_until_timestamp_seconds"), 0);
    }

    #[test]
    fn registering_twice_keeps_counts() {
        let instruments = Instruments::new("1.2.3", "abc");
        instruments.register_source("prod", "hcompany");
        instruments.duplicates("prod", 7);
        instruments.clone().register_source("prod", "hcompany");
        assert_eq!(instruments.duplicates.with_label_values(&["prod"]).get(), 7);
    }
}
