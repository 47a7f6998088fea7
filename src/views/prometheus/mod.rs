//! The Prometheus view: text 0.0.4, OpenMetrics 1.0 and protobuf, straight over a snapshot.
//!
//! The samples of both text formats are the same bytes (`le="1.0"` in both, counters end in `_total` in both), so a
//! scraper that switches formats continues the same series; only the lines about families differ, and OpenMetrics has
//! exemplars behind its buckets. Protobuf tells the same numbers, and of each histogram the exponential buckets as well.
//! A scrape copies labels that were rendered once and writes whole numbers behind them. No sample carries a timestamp (it
//! is the present value, however long ago it was polled; freshness has metrics of its own) and text has no `_created`
//! lines, which older servers would store as series; in protobuf, where they are no series, series tell when they began.

mod folded;
mod instruments;
mod labels;
mod protobuf;
mod told;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::proto::MetricFamily;

use self::labels::LabelCache;
use self::write::Dialect;
use crate::domain::{Span, Timestamp};
use crate::projection::{Head, Snapshot};

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' messages in protobuf, each behind its length.
    Protobuf,
}

impl Format {
    /// The value of the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// For how long a new series is shown as 0, so that `increase()` sees its first increment: Prometheus takes the first
/// value it ever sees of a series for the starting point, whatever it is.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// How long. Shorter than a scrape interval it may be over before anybody has seen the 0.
    pub span: Span,
    /// When the process started. Older series were shown before the restart and are not held again.
    pub since: Timestamp,
}

impl Hold {
    /// For a process that starts now with what is restored. What that has was shown before, whatever the clock said when it
    /// was born.
    pub fn after_restart(span: Span, restored: &Snapshot, now: Timestamp) -> Self {
        let born = restored.families.iter().flat_map(|family| family.heads()).map(|head| head.born);
        Self { span, since: born.max().map_or(now, |newest| newest.max(now)) }
    }

    /// Whether a series born then is still shown as 0.
    fn holds(self, born: Timestamp, now: Timestamp) -> bool {
        born > self.since && now < born.plus(self.span)
    }
}

/// Renders snapshots. One per process, as it remembers what it has rendered of labels.
#[derive(Debug)]
pub struct Exposition {
    hold: Hold,
    memory: Mutex<Memory>,
}

/// What one rendering leaves to the next.
#[derive(Debug)]
struct Memory {
    text: Remembered,
    protobuf: Remembered,
    time: Passing,
}

/// A clock that follows another one and is never set back: a series that was shown is not held again.
#[derive(Clone, Copy, Debug, Default)]
struct Passing {
    passed: Timestamp,
    seen: Timestamp,
}

impl Passing {
    /// It is never before the latest birth either: one that came while the clock was ahead for less than it takes to ask
    /// again would be held until the clock is there.
    fn goes_on_to(&mut self, now: Timestamp, latest_birth: Timestamp) -> Timestamp {
        self.passed = self.passed.plus(now.since(self.seen).unwrap_or(Span::ZERO)).max(latest_birth);
        self.seen = now;
        self.passed
    }
}

#[derive(Debug)]
struct Remembered {
    labels: LabelCache,
    /// Bytes of the last rendering: the next one will not be much longer.
    length: usize,
}

impl Default for Memory {
    fn default() -> Self {
        let fresh = |label| Remembered { labels: LabelCache::new(label), length: 0 };
        Self { text: fresh(write::label), protobuf: fresh(protobuf::label), time: Passing::default() }
    }
}

/// What is shown of the folded series.
#[derive(Clone, Copy)]
struct Shown<'a> {
    snapshot: &'a Snapshot,
    labels: &'a LabelCache,
    hold: Hold,
    now: Timestamp,
}

impl Shown<'_> {
    /// Of a source that is watched.
    fn is_attached(&self, head: &Head) -> bool {
        self.snapshot.sources.get(usize::from(head.key.source.0)).is_some_and(|source| source.attached)
    }

    /// Whether a series is still shown as 0.
    fn is_held(&self, head: &Head) -> bool {
        self.hold.holds(head.born, self.now)
    }
}

impl Exposition {
    /// Nothing rendered yet.
    pub fn new(hold: Hold) -> Self {
        Self { hold, memory: Mutex::default() }
    }

    /// Everything there is to show at `now`: the snapshot, and the families gathered from the exporter's instruments.
    ///
    /// Takes milliseconds of processor time when there are many series. Renderings wait for each other, and for
    /// nothing else.
    pub fn render(&self, snapshot: &Snapshot, own: &[MetricFamily], format: Format, now: Timestamp) -> Vec<u8> {
        let mut memory = self.memory();
        let births = snapshot.families.iter().flat_map(|family| family.heads()).map(|head| head.born);
        let born = births.filter(|born| *born > self.hold.since).max();
        let now = memory.time.goes_on_to(now, born.unwrap_or_default());
        let memory = match format {
            Format::Text | Format::OpenMetrics => &mut memory.text,
            Format::Protobuf => &mut memory.protobuf,
        };
        memory.labels.bring_up_to(snapshot);
        let mut out = Vec::with_capacity(memory.length + memory.length / 8 + 4096);
        let shown = Shown { snapshot, labels: &memory.labels, hold: self.hold, now };
        match format {
            Format::Text => text(&mut out, shown, own, Dialect::Text),
            Format::OpenMetrics => text(&mut out, shown, own, Dialect::OpenMetrics),
            Format::Protobuf => protobuf::write(&mut out, shown, own),
        }
        memory.length = out.len();
        out
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            // A rendering panicked half-way; what it remembered cannot be relied on.
            let mut memory = poisoned.into_inner();
            *memory = Memory::default();
            self.memory.clear_poison();
            memory
        })
    }
}

fn text(out: &mut Vec<u8>, shown: Shown<'_>, own: &[MetricFamily], dialect: Dialect) {
    folded::write(out, shown, dialect);
    told::write(out, shown.snapshot, dialect);
    instruments::write(out, own, dialect);
    if dialect == Dialect::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}
