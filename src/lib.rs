//! agent-session-exporter: what agent sessions do on managed platforms, as metrics.

pub mod domain;
pub mod projection;
pub mod server;
pub mod telemetry;
pub mod views;
