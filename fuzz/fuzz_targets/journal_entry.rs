//! Log entries of arbitrary bytes. What must hold stands in `fuzz/src/journal_entry.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent_session_exporter_fuzz::journal_entry::run(data));
