//! The Prometheus view: text 0.0.4 and OpenMetrics 1.0 from one encoder, straight over a snapshot.
//!
//! The samples of both formats are the same bytes (`le="1.0"` in both, counters end in `_total` in both), so a scraper
//! that switches formats continues the same series; only the lines about families differ. A scrape copies label bytes
//! that were escaped once and writes whole numbers behind them. No sample carries a timestamp (it is the present value,
//! however long ago it was polled; freshness has metrics of its own) and there are no `_created` lines, which older
//! servers would store as series.

mod folded;
mod instruments;
mod labels;
mod limits;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::proto::MetricFamily;

use self::labels::LabelCache;
use crate::domain::{Span, Timestamp};
use crate::projection::Snapshot;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
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
#[derive(Debug, Default)]
struct Memory {
    labels: LabelCache,
    /// Bytes of the last rendering: the next one will not be much longer.
    length: usize,
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
        memory.labels.bring_up_to(snapshot);
        let mut out = Vec::with_capacity(memory.length + memory.length / 8 + 4096);
        folded::write(&mut out, snapshot, &memory.labels, self.hold, format, now);
        limits::write(&mut out, snapshot, format);
        instruments::write(&mut out, own, format);
        if format == Format::OpenMetrics {
            out.extend_from_slice(b"# EOF\n");
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
