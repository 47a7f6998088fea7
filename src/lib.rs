//! agent-session-exporter: what agent sessions do on managed platforms, as metrics.

pub mod simulator;
