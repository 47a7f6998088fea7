//! The metrics of the exporter about itself: its sources, its requests, its store, its process.

use super::{Origin, Row, Unit};
use crate::projection::Metric;

const NONE: &[&str] = &[];
const SIGNAL: &[&str] = &["signal"];
const SIGNAL_REASON: &[&str] = &["signal", "reason"];
const SOURCE: &[&str] = &["source"];
const ENDPOINT: &[&str] = &["source", "endpoint"];
const METRIC: &[&str] = &["metric"];

/// All of them, but for the process.
pub static EXPORTER: &[Row] = &[
    // A gauge in both formats: text 0.0.4 has no info type, and under OpenMetrics' the family would lose its `_info`,
    // so that the two formats would disagree about its name and type.
    Row::gauge(
        "agent_session_exporter_build_info",
        &["version", "revision"],
        "Always 1; which build of the exporter is running",
    ),
    Row::gauge(
        "agent_session_exporter_source_up",
        &["source", "platform"],
        "Whether the last pass over the source's lists succeeded: 1, or 0 when it failed or none is over yet",
    ),
    Row::gauge(
        "agent_session_exporter_source_last_success_timestamp_seconds",
        &["source", "stage"],
        "When a stage of polling the source (sessions: its lists, events: any one session, limits) last succeeded, in \
         seconds since the Unix epoch; no value before it did, and events grow old while no session moves",
    )
    .in_unit(Unit::Seconds),
    Row::gauge(
        "agent_session_exporter_source_event_watermark_timestamp_seconds",
        SOURCE,
        "The platform's time of the newest event taken in from the source, in seconds since the Unix epoch",
    )
    .in_unit(Unit::Seconds)
    .folded(Metric::EventWatermark),
    Row::gauge(
        "agent_session_exporter_source_backlog_sessions",
        SOURCE,
        "Sessions known to have moved and still waiting to be read; sessions and not events, as no platform tells how \
         many events wait",
    ),
    Row::gauge(
        "agent_session_exporter_source_reading_sessions",
        SOURCE,
        "Sessions that are being read now: at most the source's concurrency, and fewer where its pace is too slow for more",
    ),
    Row::gauge(
        "agent_session_exporter_source_oldest_unread_timestamp_seconds",
        SOURCE,
        "Since when that session is known to have moved which waits longest to be read, in seconds since the Unix epoch; \
         no value while none waits, and sessions that had ended before polling began are left out",
    )
    .in_unit(Unit::Seconds),
    Row::gauge(
        "agent_session_exporter_source_clock_skew_seconds",
        SOURCE,
        "How far the platform's clock is ahead of ours, in seconds; negative when it is behind",
    )
    .in_unit(Unit::Seconds),
    Row::gauge(
        "agent_session_exporter_source_request_budget_per_second",
        SOURCE,
        "Requests per second that the source is configured to be asked at most",
    ),
    Row::gauge(
        "agent_session_exporter_source_request_pace_per_second",
        SOURCE,
        "Requests per second that polling of the source allows itself, as of its last request: the budget, or less where \
         the platform had refused some",
    ),
    Row::gauge(
        "agent_session_exporter_source_paused_until_timestamp_seconds",
        SOURCE,
        "Until when nothing is asked of the source because the platform had refused requests, in seconds since the Unix \
         epoch; in the past when it is asked again, and no value before the first time",
    )
    .in_unit(Unit::Seconds),
    Row::counter(
        "agent_session_exporter_api_requests_total",
        &["source", "endpoint", "code"],
        "Requests to the platform's API, by endpoint and by HTTP status code or kind of failure",
    ),
    Row::histogram(
        "agent_session_exporter_api_request_duration_seconds",
        ENDPOINT,
        "Seconds from a request to the platform's API to the end of its answer",
    ),
    Row::counter(
        "agent_session_exporter_api_response_bytes_total",
        SOURCE,
        "Bytes of answers received from the platform's API, after decompression",
    )
    .in_unit(Unit::Bytes),
    Row::counter(
        "agent_session_exporter_api_throttled_total",
        SOURCE,
        "Requests that the platform's API refused because there were too many (status 429)",
    ),
    Row::counter(
        "agent_session_exporter_events_ingested_total",
        SOURCE,
        "Events of session streams taken in and counted",
    )
    .folded(Metric::EventsIngested),
    Row::counter("agent_session_exporter_events_duplicate_total", SOURCE, "Events that came again and were dropped"),
    Row::counter(
        "agent_session_exporter_events_lost_total",
        SOURCE,
        "Events that the platform had dropped before they could be read",
    )
    .folded(Metric::EventsLost),
    Row::counter(
        "agent_session_exporter_events_undecoded_total",
        &["source", "reason"],
        "Events of known type whose content could not be understood, by reason",
    )
    .folded(Metric::EventsUndecoded),
    Row::counter(
        "agent_session_exporter_events_unknown_total",
        SOURCE,
        "Events of a type or kind that this version does not know",
    )
    .folded(Metric::EventsUnknown),
    Row::counter(
        "agent_session_exporter_usage_decreases_total",
        SOURCE,
        "Reports of a session's running totals that were lower than an earlier report; what was counted stays counted",
    )
    .folded(Metric::UsageDecreases),
    Row::gauge(
        "agent_session_exporter_sessions_tracked",
        &["source", "phase"],
        "Sessions known to the exporter, by phase: active ones are still being read, settled ones are not",
    )
    .folded(Metric::SessionsTracked),
    Row::counter(
        "agent_session_exporter_sessions_reopened_total",
        SOURCE,
        "Sessions that had ended and were taken up again",
    )
    .folded(Metric::SessionsReopened),
    Row::counter(
        "agent_session_exporter_sessions_gone_total",
        SOURCE,
        "Sessions that the platform no longer knows though they had not been read to the end",
    )
    .folded(Metric::SessionsGone),
    Row::gauge(
        "agent_session_exporter_usage_mismatch_tokens",
        SOURCE,
        "Tokens by which our sums differ from the platform's own, over all sessions at rest; not zero for longer than \
         the platform takes to add up means that something was lost or doubled",
    )
    .in_unit(Unit::Tokens)
    .folded(Metric::UsageMismatch),
    Row::counter(
        "agent_session_exporter_negative_durations_total",
        SOURCE,
        "Durations that came out negative from the platform's times and were counted as zero",
    )
    .folded(Metric::NegativeDurations),
    Row::gauge("agent_session_exporter_journal_bytes", NONE, "Size of the store on disk, in bytes")
        .in_unit(Unit::Bytes),
    Row::gauge("agent_session_exporter_journal_events", NONE, "Events kept in the store"),
    Row::histogram(
        "agent_session_exporter_journal_commit_duration_seconds",
        NONE,
        "Seconds that commits to the store took until they were durable",
    ),
    Row::counter("agent_session_exporter_journal_commits_total", NONE, "Commits to the store that became durable"),
    Row::counter(
        "agent_session_exporter_journal_commit_failures_total",
        NONE,
        "Commits to the store that failed; nothing of them is counted and their events are polled again",
    ),
    Row::gauge(
        "agent_session_exporter_series",
        METRIC,
        "Label sets in use of a metric, counted as its limit counts them: values that the platform enumerates, such \
         as a status, do not multiply them",
    )
    .from(Origin::Snapshot),
    Row::gauge(
        "agent_session_exporter_series_limit",
        METRIC,
        "Label sets that a metric may have; what comes later is counted in its overflow series (agent __overflow__)",
    )
    .from(Origin::Snapshot),
    Row::counter(
        "agent_session_exporter_series_overflow_total",
        METRIC,
        "Times that a metric's number went to its overflow series, as its limit was reached",
    )
    .from(Origin::Snapshot),
    Row::counter(
        "agent_session_exporter_otlp_exported_total",
        SIGNAL,
        "Points, or spans, that the OpenTelemetry collector took, by signal; only while something is pushed",
    ),
    Row::counter(
        "agent_session_exporter_otlp_rejected_total",
        SIGNAL,
        "Points, or spans, that the collector answered not to have taken, by signal",
    ),
    Row::counter(
        "agent_session_exporter_otlp_failures_total",
        SIGNAL_REASON,
        "Messages, attempts included, that the collector did not take, by signal and reason",
    ),
    Row::counter(
        "agent_session_exporter_otlp_dropped_total",
        SIGNAL_REASON,
        "Spans that were given up before a collector took them, by signal and reason: outbox full, or refused for good",
    ),
    Row::gauge(
        "agent_session_exporter_otlp_outbox_spans",
        NONE,
        "Spans that wait in the outbox until a collector takes them; only while spans are sent",
    ),
    Row::counter(
        "agent_session_exporter_task_restarts_total",
        &["task"],
        "Tasks of the exporter that ended unexpectedly and were started again",
    ),
    Row::gauge(
        "agent_session_exporter_config_last_reload_successful",
        NONE,
        "Whether the configuration that was read last is the one that runs: 1, or 0 while an older one goes on",
    ),
    Row::gauge(
        "agent_session_exporter_config_last_reload_success_timestamp_seconds",
        NONE,
        "When a configuration was last taken over, at the start too, in seconds since the Unix epoch",
    )
    .in_unit(Unit::Seconds),
    Row::gauge(
        "agent_session_exporter_web_config_last_reload_successful",
        NONE,
        "Whether the web configuration that was read last is in use: 1, or 0 while an older one goes on; only with \
         `--web.config.file`",
    ),
];

/// What the operating system tells of this process, under the names that every exporter uses; Linux only.
pub static PROCESS: &[Row] = &[
    Row::counter("process_cpu_seconds_total", NONE, "Processor time used by the process, in seconds")
        .in_unit(Unit::Seconds)
        .from(Origin::Process),
    Row::gauge("process_resident_memory_bytes", NONE, "Memory of the process that is resident, in bytes")
        .in_unit(Unit::Bytes)
        .from(Origin::Process),
    Row::gauge("process_virtual_memory_bytes", NONE, "Virtual memory of the process, in bytes")
        .in_unit(Unit::Bytes)
        .from(Origin::Process),
    Row::gauge("process_open_fds", NONE, "File descriptors that the process has open").from(Origin::Process),
    Row::gauge("process_max_fds", NONE, "File descriptors that the process may have open").from(Origin::Process),
    Row::gauge("process_start_time_seconds", NONE, "When the process started, in seconds since the Unix epoch")
        .in_unit(Unit::Seconds)
        .from(Origin::Process),
];
