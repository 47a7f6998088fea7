//! agent-session-exporter: what agent sessions do on managed platforms, as metrics and traces.
//!
//! It is event-sourced, and data flows in one direction:
//!
//! ```text
//!  platform API          reports               one writer                     snapshot
//!  ingest::platforms ->  ingest::poller  ->    engine: projection::State  ->  views   <- server <- scrape
//!   jobs, decode (pure)                        journal: one transaction   ->  outbox -> push -> collector
//! ```
//!
//! Foreign pages are decoded into facts ([`ingest`]), facts and cursor are committed together ([`journal`]), and
//! every number and span that leaves the process is a fold of committed facts ([`projection`]). Nothing is shown or sent
//! that is not durable, so totals never go back and spans never change, whatever is killed when.

#![forbid(unsafe_code)]

pub mod domain;

pub mod tls;

pub mod connection;

pub mod ingest;

pub mod projection;

pub mod journal;

pub mod engine;

pub mod views;

pub mod push;

pub mod server;

pub mod telemetry;

pub mod simulator;

pub mod audit;

pub mod config;

pub mod witness;

pub mod runtime;

pub mod cli;

pub mod commands;
