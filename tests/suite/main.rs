//! Tests of the exporter from outside its modules, in one binary: decoding, folding and keeping piece by piece, whole
//! simulations in virtual time, and the program itself.

mod support;

mod alerts;
mod bad_input;
mod dashboards;
mod decode;
mod engine;
mod everruns;
mod everruns_decode;
mod everruns_jobs;
mod everruns_laws;
mod everruns_recorded;
mod jobs;
mod journal;
mod kinship;
mod laws;
mod outbox;
mod pacing;
mod program;
mod push;
mod push_client;
mod secrets;
mod simulation;
mod sources;
mod span_laws;
mod span_lives;
mod traces;
