//! A connection that says arbitrary bytes. What must hold stands in `fuzz/src/connection.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent_session_exporter_fuzz::connection::run(data));
