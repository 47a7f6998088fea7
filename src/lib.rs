//! agent-session-exporter: what agent sessions do on managed platforms, as metrics.

pub mod domain;
pub mod ingest;
pub mod projection;
