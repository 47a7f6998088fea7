//! What is fuzzed, and what must hold for every input: one module for each target, with a function that takes bytes.
//!
//! The fuzzer calls these with what it makes up (`.ci/fuzz`), `cargo test` with the corpus that it left
//! (`tests/suite/corpus.rs`). So they use nothing but the exporter's public interface.

pub mod configuration;
pub mod connection;
pub mod decode_everruns;
pub mod decode_hcompany;
pub mod journal_entry;
pub mod values;
