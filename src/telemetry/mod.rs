//! The exporter about itself: its clock, its logs, its instruments, its health.

mod clock;
mod health;
mod instruments;
mod logs;
mod own;
mod panics;
mod process;

pub use clock::WallClock;
pub use health::{Health, NotReady, SourceHealth, Stage, Trouble};
pub use instruments::Instruments;
pub use logs::{LogError, LogFormat, init};
pub use own::trace_own_work;
pub use panics::{broken_off, keep_panics_discreet};
