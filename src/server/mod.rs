//! The HTTP server: metrics for Prometheus, health for supervisors, a page and an API for people.
//!
//! It only reads: the latest snapshot, the health of the sources, the archive of sessions. A scrape never waits for
//! the engine, so `/metrics` answers while a platform, the disk or the engine is in trouble, and says so.
//!
//! Nor does it wait for who is slow or greedy. A request comes through three gates: its connection has a seat
//! ([`guests`]), the [`Door`] lets it in, and what takes the processor stands in a [`Line`] that nobody fills alone.

mod api;
mod archive;
mod caller;
mod connection;
mod door;
mod guests;
mod landing;
mod line;
mod listen;
mod metrics;
mod negotiate;
mod respond;
mod route;
mod users;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use archive::{Archive, ArchiveError, SessionQuery};
pub use connection::{converse, serve};
pub use door::Door;
pub use line::Line;
pub use listen::{ListenError, inherited, listen};

use crate::domain::Clock;
use crate::projection::Snapshot;
use crate::telemetry::{Health, Instruments};
use crate::views::prometheus::Exposition;

/// What the pages say of the exporter.
#[derive(Clone, Debug)]
pub struct About {
    /// Its version.
    pub version: String,
    /// The revision it was built from.
    pub revision: String,
    /// Where the metrics are.
    pub telemetry_path: String,
    /// Whether the platforms are simulated: the numbers are then nobody's.
    pub simulated: bool,
}

/// Everything that answers are made of.
pub struct App {
    /// What the pages say of the exporter.
    pub about: About,
    /// The latest numbers, replaced after each commit.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Renders them.
    pub exposition: Exposition,
    /// The exporter's own instruments.
    pub instruments: Instruments,
    /// How the sources are doing.
    pub health: Arc<Health>,
    /// The sessions behind the numbers.
    pub archive: Arc<dyn Archive>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Reads the configuration again, where that may be asked for over HTTP.
    pub reload: Option<Arc<dyn Reload>>,
    /// Who is let in, and how connections are secured.
    pub door: ArcSwap<Door>,
    /// For answers that take time to make.
    pub line: Line,
}

/// Reads the configuration again.
pub trait Reload: Send + Sync {
    /// Comes back when the new configuration runs, or with why the one from before goes on.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}
