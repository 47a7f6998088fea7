//! Tests of the exporter from outside its modules, in one binary: decoding, folding and keeping piece by piece, whole
//! simulations in virtual time, and the program itself.

mod support;

mod alerts;
mod audit;
mod bad_input;
mod damage;
mod dashboards;
mod decode;
mod engine;
mod everruns;
mod everruns_decode;
mod everruns_jobs;
mod everruns_laws;
mod everruns_recorded;
mod export;
mod handshakes;
mod jobs;
mod journal;
mod kills;
mod kinship;
mod laws;
mod limited;
mod outbox;
mod outgoing;
mod pacing;
mod panics;
mod platform_faults;
mod program;
mod push;
mod push_client;
mod reliability;
mod reload;
mod secrets;
mod seeds;
mod simulation;
mod sources;
mod span_laws;
mod span_lives;
mod store_faults;
mod traces;
mod upkeep;
mod verify;
mod web;
mod web_changes;
