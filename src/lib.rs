//! agent-session-exporter: what agent sessions do on managed platforms, as metrics.

pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod ingest;
pub mod journal;
pub mod projection;
pub mod simulator;
