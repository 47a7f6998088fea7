//! Single values of arbitrary text. What must hold stands in `fuzz/src/values.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent_session_exporter_fuzz::values::run(data));
